//! Sound files of the containers and codecs that people have, whole and damaged.

#[path = "checkpoint/memory.rs"]
mod memory;

use std::fs;
use std::path::{Path, PathBuf};

use memory::measured;
use proptest::prelude::*;
use sotto::audio::{AudioError, Clip, LONGEST, load_at};
use sotto::types::SampleRate;

/// What one thread may hold at a time over a file of a few kilobytes: room for the largest packet
/// that is accepted.
const MOST_MEMORY: usize = 64 << 20;

/// Files that are read, written by `tests/sounds/make.sh`: 0.4 s of 440 Hz.
const READ: [&str; 16] = [
    "a-law.wav",
    "adpcm-ima.wav",
    "adpcm-ms.wav",
    "alac.caf",
    "alac.m4a",
    "flac.mkv",
    "flac.ogg",
    "fragments.mp4",
    "mu-law.wav",
    "tone.aac",
    "tone.aiff",
    "tone.caf",
    "tone.flac",
    "tone.m4a",
    "tone.mp2",
    "tone.mp3",
];
/// The same where half of the first 100 ms is lost to the codec.
const READ_LATE: [&str; 2] = ["vorbis.ogg", "vorbis.webm"];

fn sound(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sounds").join(name)
}

fn load(path: &Path) -> Result<Clip, AudioError> {
    load_at(path, LONGEST, SampleRate::HEARING)
}

/// The share of the power of `samples` that a sine of `hertz` has.
fn share(samples: &[f32], hertz: f32) -> f32 {
    let turn = std::f32::consts::TAU * hertz / 16_000.0;
    let (mut real, mut imaginary, mut power) = (0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let (sine, cosine) = (turn * n as f32).sin_cos();
        real += sample * cosine;
        imaginary += sample * sine;
        power += sample * sample;
    }
    2.0 * (real * real + imaginary * imaginary) / (power * samples.len() as f32)
}

#[test]
fn every_codec_gives_the_tone() {
    for name in READ.into_iter().chain(READ_LATE) {
        let clip = load(&sound(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let length = clip.samples.len();
        assert!((6_000..8_600).contains(&length), "{name}: {length} samples");
        let middle = &clip.samples[2_000..5_500];
        let peak = middle.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
        assert!((0.11..0.15).contains(&peak), "{name}: peak {peak}");
        assert!(share(middle, 440.0) > 0.98, "{name}: {}", share(middle, 440.0));
        assert_eq!(clip.note, None, "{name}");
    }
}

#[test]
fn undecoded_codecs_are_named_with_a_way_out() {
    for (name, said) in [
        ("opus.ogg", "Opus"),
        ("opus.webm", "Opus"),
        ("ac3.mkv", "AC-3"),
        ("mp3.wav", "MP3 coded sound in a WAV wrapper"),
        ("tone.w64", "W64"),
        ("make.sh", "text"),
    ] {
        let why = load(&sound(name)).unwrap_err().to_string();
        assert!(why.contains(name) && why.contains(said) && why.contains("ffmpeg"), "{why}");
    }
}

#[test]
fn cut_files_give_their_beginning_or_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    for name in READ.into_iter().chain(READ_LATE) {
        let whole = fs::read(sound(name)).unwrap();
        for part in 1..20 {
            let path = folder.path().join(name);
            fs::write(&path, &whole[..whole.len() * part / 20]).unwrap();
            match load(&path) {
                Ok(clip) => assert!(clip.samples.len() <= 8_600, "{name}, {part}: {}", clip.samples.len()),
                Err(error) => assert!(error.to_string().contains(name), "{error}"),
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn pipe_gives_what_the_file_gives() {
    for name in ["tone.m4a", "mu-law.wav"] {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let bytes = fs::read(sound(name)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| fs::write(&pipe, bytes).unwrap());
            assert_eq!(load(&pipe).unwrap().samples, load(&sound(name)).unwrap().samples, "{name}");
        });
    }
}

/// What may happen to a file on its way.
#[derive(Clone, Debug)]
enum Damage {
    Set(prop::sample::Index, u8),
    /// Four bytes become a number, as sizes and counts are written.
    Number(prop::sample::Index, u32),
    Cut(prop::sample::Index),
}

impl Damage {
    fn any() -> impl Strategy<Value = Damage> {
        let at = any::<prop::sample::Index>;
        let number = prop_oneof![0..300u32, Just(u32::MAX), Just(0x7FFF_FFFF), any::<u32>()];
        prop_oneof![
            4 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
            4 => (at(), number).prop_map(|(at, number)| Damage::Number(at, number)),
            1 => at().prop_map(Damage::Cut),
        ]
    }

    /// Damages the first `reach` bytes of `file`.
    fn do_to(&self, file: &mut Vec<u8>, reach: usize) {
        let reach = reach.min(file.len());
        match self {
            Damage::Set(at, byte) if reach > 0 => file[at.index(reach)] = *byte,
            Damage::Number(at, number) if reach > 0 => {
                let from = at.index(reach);
                file[from..].iter_mut().zip(number.to_be_bytes()).for_each(|(byte, new)| *byte = new);
            }
            Damage::Cut(at) if reach > 0 => file.truncate(at.index(file.len())),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_are_read_in_bounds_or_refused(
        name in prop::sample::select([&READ[..], &READ_LATE].concat()),
        reach in prop_oneof![Just(300usize), Just(usize::MAX)],
        damages in prop::collection::vec(Damage::any(), 1..6),
    ) {
        let mut bytes = fs::read(sound(name)).unwrap();
        damages.iter().for_each(|damage| damage.do_to(&mut bytes, reach));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, &bytes).unwrap();
        let (outcome, held) = measured(|| load(&path));
        prop_assert!(held < MOST_MEMORY, "{} bytes were held", held);
        match outcome {
            Ok(clip) => prop_assert!(clip.samples.iter().all(|sample| (-1.0..=1.0).contains(sample))),
            Err(error) => prop_assert!(error.to_string().contains(name), "{}", error),
        }
    }
}
