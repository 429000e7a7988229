//! WAV files as they occur, good and broken. `tests/sounds.rs` has the other containers.

use std::fs;

use super::*;

/// Writes a WAV file field by field, so that each can be made wrong.
#[derive(Clone, Debug)]
struct Wav {
    tag: u16,
    channels: u16,
    rate: u32,
    container: u16,
    /// Block align and byte rate, where they are wrong on purpose.
    frame: Option<u16>,
    byte_rate: Option<u32>,
    bits: u16,
    extensible: bool,
    /// Chunks between format and sound.
    between: Vec<u8>,
    stated: Option<u32>,
    data: Vec<u8>,
}

fn pcm(container: u16, data: &[u8]) -> Wav {
    Wav {
        tag: 1,
        channels: 1,
        rate: 16_000,
        container,
        frame: None,
        byte_rate: None,
        bits: container * 8,
        extensible: false,
        between: Vec::new(),
        stated: None,
        data: data.to_vec(),
    }
}

impl Wav {
    fn bytes(&self) -> Vec<u8> {
        let frame = self.frame.unwrap_or(self.container.wrapping_mul(self.channels));
        let byte_rate = self.byte_rate.unwrap_or(self.rate.wrapping_mul(u32::from(frame)));
        let mut format = Vec::new();
        format.extend((if self.extensible { 0xFFFE } else { self.tag }).to_le_bytes());
        format.extend(self.channels.to_le_bytes());
        format.extend(self.rate.to_le_bytes());
        format.extend(byte_rate.to_le_bytes());
        format.extend(frame.to_le_bytes());
        format.extend(self.bits.to_le_bytes());
        if self.extensible {
            format.extend(22u16.to_le_bytes());
            format.extend(self.bits.to_le_bytes());
            format.extend(4u32.to_le_bytes());
            format.extend(self.tag.to_le_bytes());
            format.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71]);
        }
        let mut file = Vec::from(*b"RIFF\xFF\xFF\xFF\xFFWAVEfmt ");
        file.extend((format.len() as u32).to_le_bytes());
        file.extend(format);
        file.extend(&self.between);
        file.extend(b"data");
        file.extend(self.stated.unwrap_or(self.data.len() as u32).to_le_bytes());
        file.extend(&self.data);
        file
    }
}

/// Loads a file at its own rate, if it has one.
fn load(path: &Path, limit: Ms) -> Result<Clip, AudioError> {
    let rate = SoundInput::open(path).and_then(|input| Survey::new(&input, LONGEST)).map(|survey| survey.rate);
    load_at(path, limit, rate.unwrap_or(SampleRate::HEARING))
}

fn load_bytes(bytes: &[u8]) -> Result<Clip, AudioError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound.wav");
    fs::write(&path, bytes).unwrap();
    load(&path, LONGEST)
}

#[test]
fn every_encoding_gives_the_same_sound() {
    let floats: Vec<u8> = [0.0f32, 0.5, -1.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let doubles: Vec<u8> = [0.0f64, 0.5, -1.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let words: Vec<u8> = [0i32, 1 << 30, i32::MIN].iter().flat_map(|x| x.to_le_bytes()).collect();
    for wav in [
        pcm(1, &[128, 192, 0]),
        pcm(2, &[0, 0, 0, 64, 0, 128]),
        pcm(3, &[0, 0, 0, 0, 0, 64, 0, 0, 128]),
        pcm(4, &words),
        Wav { bits: 24, ..pcm(4, &words) },
        Wav { bits: 12, ..pcm(2, &[0, 0, 0, 64, 0, 128]) },
        Wav { tag: 3, ..pcm(4, &floats) },
        Wav { tag: 3, ..pcm(8, &doubles) },
    ] {
        for extensible in [false, true] {
            let wav = Wav { extensible, ..wav.clone() };
            let clip = load_bytes(&wav.bytes()).unwrap();
            assert_eq!(clip.samples, [0.0, 0.5, -1.0], "{wav:?}");
            assert_eq!((clip.rate, clip.note), (SampleRate(16_000), None));
        }
    }
}

#[test]
fn big_endian_files_give_the_same_sound() {
    let file = |tag: u16, bits: u16, data: &[u8]| {
        let mut file = Vec::from(*b"RIFX\0\0\0\0WAVEfmt \0\0\0\x10");
        file.extend([tag.to_be_bytes(), 1u16.to_be_bytes()].concat());
        file.extend([16_000u32.to_be_bytes(), (16_000 * u32::from(bits) / 8).to_be_bytes()].concat());
        file.extend([(bits / 8).to_be_bytes(), bits.to_be_bytes()].concat());
        file.extend(b"data");
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(data);
        file
    };
    let floats: Vec<u8> = [0.0f32, 0.5, -1.0].iter().flat_map(|x| x.to_be_bytes()).collect();
    for bytes in [file(1, 16, &[0, 0, 64, 0, 128, 0]), file(3, 32, &floats), file(1, 8, &[128, 192, 0])] {
        assert_eq!(load_bytes(&bytes).unwrap().samples, [0.0, 0.5, -1.0]);
    }
}

#[test]
fn wrong_block_align_gives_the_sound_all_the_same() {
    let good = Wav { channels: 2, ..pcm(2, &[0, 64, 0, 64]) };
    for (frame, byte_rate) in [(0, None), (3, None), (32, None), (32, Some(0)), (2, Some(64_000)), (4, Some(0))] {
        let wav = Wav { frame: Some(frame), byte_rate, ..good.clone() };
        assert_eq!(load_bytes(&wav.bytes()).unwrap().samples, [0.5], "{frame}, {byte_rate:?}");
    }
}

#[test]
fn channels_are_mixed_and_half_a_frame_is_dropped() {
    let stereo = Wav { channels: 2, rate: 44_100, ..pcm(2, &[0, 64, 0, 0, 0, 64, 0, 64, 9]) };
    let clip = load_bytes(&stereo.bytes()).unwrap();
    assert_eq!(clip.samples, [0.25, 0.5]);
    let many = Wav { channels: 32, ..pcm(1, &[192; 64]) };
    assert_eq!(load_bytes(&many.bytes()).unwrap().samples, [0.5, 0.5]);
}

#[test]
fn floats_that_are_no_sound_become_sound() {
    let wild = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -7.0, 0.25];
    let data: Vec<u8> = wild.iter().flat_map(|x| x.to_le_bytes()).collect();
    let clip = load_bytes(&Wav { tag: 3, ..pcm(4, &data) }.bytes()).unwrap();
    assert_eq!(clip.samples, [0.0, 0.0, 0.0, 0.0, -1.0, 0.25]);
}

#[test]
fn what_writers_to_a_pipe_leave_is_understood() {
    for stated in [0, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFDB, u32::MAX] {
        let clip = load_bytes(&Wav { stated: Some(stated), ..pcm(2, &[0, 64, 0, 64]) }.bytes()).unwrap();
        assert_eq!((clip.samples, clip.note), (vec![0.5, 0.5], None), "{stated}");
    }
}

#[test]
fn a_file_cut_short_gives_what_is_there_and_says_so() {
    let clip = load_bytes(&Wav { stated: Some(100), ..pcm(2, &[0, 64, 0, 64]) }.bytes()).unwrap();
    assert_eq!(clip.samples, [0.5, 0.5]);
    assert!(clip.note.unwrap().contains("96 bytes"));
}

#[test]
fn other_chunks_are_skipped_also_odd_ones_and_those_after_the_sound() {
    let mut wav = Wav { between: b"LIST\x03\0\0\0abc\0junk\0\0\0\0".to_vec(), ..pcm(2, &[0, 64]) };
    let mut bytes = wav.bytes();
    bytes.extend(b"LIST\x04\0\0\0abcd");
    assert_eq!(load_bytes(&bytes).unwrap().samples, [0.5]);
    wav.between = b"LIST\xFF\xFF\xFF\x7Fabc".to_vec();
    assert!(matches!(load_bytes(&wav.bytes()), Err(AudioError::Header { .. })));
}

#[test]
fn odd_chunk_without_pad_byte_is_skipped() {
    let between = b"inst\x07\0\0\0\x3C\0\0\0\x7F\0\x7F".to_vec();
    assert_eq!(load_bytes(&Wav { between, ..pcm(2, &[0, 64]) }.bytes()).unwrap().samples, [0.5]);
}

#[test]
fn second_chunk_of_sound_is_read_and_second_format_is_not() {
    let mut bytes = Wav { between: b"fmt \x10\0\0\0\x01\0\x02\0rest of it..".to_vec(), ..pcm(2, &[0, 64]) }.bytes();
    bytes.extend(b"LIST\x04\0\0\0abcddata\x02\0\0\0\0\xC0");
    assert_eq!(load_bytes(&bytes).unwrap().samples, [0.5, -0.5]);
}

#[test]
fn empty_sound_before_other_chunks_is_told_from_an_unknown_size() {
    let empty = [pcm(2, &[]).bytes(), b"LIST\x04\0\0\0abcdid3 \x03\0\0\0abc\0".to_vec()].concat();
    assert!(matches!(load_bytes(&empty), Err(AudioError::NoSound { .. })));
    let unknown = Wav { stated: Some(0), ..pcm(2, b"LIST\x09\0\0\0abcd") }.bytes();
    assert_eq!(load_bytes(&unknown).unwrap().samples.len(), 6);
}

#[test]
fn files_beyond_four_gigabytes_say_where_their_sound_ends() {
    for magic in [b"RF64", b"BW64"] {
        let mut bytes = Wav { stated: Some(u32::MAX), ..pcm(2, &[0, 64, 0, 64]) }.bytes();
        bytes.extend(b"axml\x04\0\0\0<a/>");
        bytes[..4].copy_from_slice(magic);
        let mut sizes = b"ds64\x1C\0\0\0".to_vec();
        sizes.extend([0u64, 4, 2].iter().flat_map(|size| size.to_le_bytes()));
        sizes.extend([0; 4]);
        bytes.splice(12..12, sizes);
        assert_eq!(load_bytes(&bytes).unwrap().samples, [0.5, 0.5]);
    }
}

/// One second of loud and soft sound, like speech.
fn voice(level: f32) -> Vec<f32> {
    (0..16_000).map(|n| if n % 4_000 < 2_000 { level * (n as f32 * 0.3).sin() } else { 0.0 }).collect()
}

/// A file of floats of all `channels`, frame by frame.
fn float_file(channels: &[Vec<f32>]) -> Vec<u8> {
    let frames = (0..channels[0].len()).flat_map(|n| channels.iter().map(move |channel| channel[n]));
    let data: Vec<u8> = frames.flat_map(f32::to_le_bytes).collect();
    Wav { tag: 3, channels: channels.len() as u16, ..pcm(4, &data) }.bytes()
}

#[test]
fn a_voice_in_any_channels_is_kept() {
    let (voice, silence) = (voice(0.5), vec![0.0; 16_000]);
    let by = |factor: f32, offset: f32| voice.iter().map(|sample| sample * factor + offset).collect::<Vec<_>>();
    let hiss: Vec<f32> = (0..16_000).map(|n| 0.4 * ((n * n) as f32 * 0.7).sin()).collect();
    let other: Vec<f32> = voice.iter().rev().map(|sample| sample * 0.5).collect();
    let both: Vec<f32> = voice.iter().zip(&other).map(|(a, b)| (a + b) / 2.0).collect();
    for (channels, wanted) in [
        (vec![by(1.0, 0.0), by(-1.0, 0.0)], &voice),
        (vec![by(1.0, 0.3), by(-1.0, 0.3)], &voice),
        (vec![silence.clone(), by(1.0, 0.0)], &voice),
        ([vec![hiss; 6], vec![silence, by(1.0, 0.0)]].concat(), &voice),
        (vec![by(1.0, 0.0), other], &both),
    ] {
        let clip = load_bytes(&float_file(&channels)).unwrap();
        let furthest =
            |sign: f32| clip.samples.iter().zip(wanted).map(|(a, b)| (a * sign - b).abs()).fold(0.0, f32::max);
        assert!(furthest(1.0).min(furthest(-1.0)) < 1e-6, "{} channels", channels.len());
    }
}

#[test]
fn floats_of_integer_size_are_divided_and_told() {
    for (level, bits) in
        [(0.9, None), (1.3, None), (9_000.0, Some("16 bits")), (3e6, Some("24 bits")), (1e9, Some("32 bits"))]
    {
        let clip = load_bytes(&float_file(&[voice(level)])).unwrap();
        let peak = clip.samples.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
        assert!((0.2..=1.0).contains(&peak), "{level}: {peak}");
        assert_eq!(clip.note.is_some(), bits.is_some(), "{level}");
        assert!(clip.note.unwrap_or_default().contains(bits.unwrap_or_default()), "{level}");
    }
}

#[test]
fn what_cannot_be_heard_is_refused_with_a_reason() {
    let good = pcm(2, &[0, 64]);
    let table: &[(Vec<u8>, &str)] = &[
        (vec![], "is empty"),
        (b"RIFF".to_vec(), "broken WAV file"),
        (b"RI".to_vec(), "looks like"),
        (b"RIFF\0\0\0\0WA".to_vec(), "broken WAV file"),
        (b"RIFF\0\0\0\0AVI LIST".to_vec(), "RIFF file of another kind"),
        (b"ID3\x04rest of it".to_vec(), "broken MP3 file"),
        (b"\xFF\xFB\x90\x64rest".to_vec(), "broken MP3 file"),
        (b"fLaC\0\0\0\x22rest".to_vec(), "broken FLAC file"),
        (b"OggS\0\x02rest".to_vec(), "broken Ogg file"),
        (b"\0\0\0\x20ftypM4A rest".to_vec(), "broken MP4 file"),
        (b"caff\0\x01\0\0desc".to_vec(), "broken CAF file"),
        (b"FORM\0\0\0\x20AIFFCOMM".to_vec(), "broken AIFF file"),
        (b"\x1A\x45\xDF\xA3rest".to_vec(), "broken Matroska or WebM file"),
        (b"#!AMR\nrest".to_vec(), "looks like AMR"),
        (b"riff\x2E\x91\xCF\x11".to_vec(), "W64"),
        (b"Hello, this is text".to_vec(), "text"),
        (b"\x7FELF\x02\x01\x01".to_vec(), "no sound"),
        (good.bytes()[..30].to_vec(), "ends inside it"),
        (
            Wav { between: b"LIST\xFF\0\0\0".to_vec(), ..good.clone() }.bytes(),
            "\"LIST\" of 255 bytes at 44 reaches beyond",
        ),
        (good.bytes()[..36].to_vec(), "no chunk of sound"),
        (Wav { data: vec![], ..good.clone() }.bytes(), "no sound after it"),
        (Wav { data: vec![1], ..good.clone() }.bytes(), "no sound after it"),
        (Wav { channels: 0, ..good.clone() }.bytes(), "0 channels"),
        (Wav { channels: 33, ..good.clone() }.bytes(), "33 channels"),
        (Wav { rate: 0, ..good.clone() }.bytes(), "0 samples per second"),
        (Wav { rate: 400_000, ..good.clone() }.bytes(), "400000 samples per second"),
        (Wav { bits: 32, ..good.clone() }.bytes(), "32 bits do not fit"),
        (Wav { bits: 0, frame: Some(0), ..good.clone() }.bytes(), "samples of 0 bits"),
        (Wav { tag: 0x55, ..good.clone() }.bytes(), "MP3"),
        (Wav { tag: 0x31, ..good.clone() }.bytes(), "GSM 6.10"),
        (Wav { tag: 3, ..good.clone() }.bytes(), "floats of 2 bytes"),
        (Wav { tag: 0x1234, ..good.clone() }.bytes(), "format tag 0x1234"),
        (Wav { tag: 2, frame: Some(3), ..good.clone() }.bytes(), "blocks of 3 bytes"),
        (Wav { container: 5, bits: 40, ..good.clone() }.bytes(), "5 bytes"),
        (b"RIFF\0\0\0\0WAVEdata\x02\0\0\0ab".to_vec(), "format of the sound"),
    ];
    for (bytes, said) in table {
        let why = load_bytes(bytes).unwrap_err().to_string();
        assert!(why.contains(said) && why.contains("sound.wav"), "{why:?} does not say {said:?}");
    }
}

#[test]
fn a_missing_file_and_a_directory_are_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(load(folder.path(), LONGEST), Err(AudioError::Directory { .. })));
    let error = load(&folder.path().join("none.wav"), LONGEST).unwrap_err();
    assert!(error.to_string().contains("none.wav"), "{error}");
}

#[test]
fn a_sound_beyond_the_limit_is_refused_with_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.wav");
    fs::write(&path, pcm(2, &vec![0; 2 * 16_001]).bytes()).unwrap();
    assert_eq!(load(&path, Ms(1001.0)).unwrap().samples.len(), 16_001);
    for result in [load(&path, Ms(1000.0)), load_at(&path, Ms(1000.0), SampleRate(8_000))] {
        let why = result.unwrap_err().to_string();
        assert!(why.contains("longer than the 1 s"), "{why}");
    }
}

#[test]
fn loading_at_a_rate_is_loading_and_resampling() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tone.wav");
    let data: Vec<u8> = (0..44_100).flat_map(|i| (((i as f32 * 0.05).sin() * 9000.0) as i16).to_le_bytes()).collect();
    fs::write(&path, Wav { rate: 44_100, ..pcm(2, &data) }.bytes()).unwrap();
    let clip = load_at(&path, LONGEST, SampleRate::HEARING).unwrap();
    let whole = load(&path, LONGEST).unwrap();
    let resampled = crate::audio::resample(&whole.samples, whole.rate, SampleRate::HEARING).unwrap();
    assert_eq!(clip.samples, resampled);
    assert_eq!(clip.samples.len(), 16_000);
}

#[test]
fn clipped_sound_stays_in_range_when_resampled() {
    let square: Vec<u8> = (0..8_000).flat_map(|n| if n % 20 < 10 { [0xFF, 0x7F] } else { [0, 0x80] }).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("square.wav");
    fs::write(&path, Wav { rate: 8_000, ..pcm(2, &square) }.bytes()).unwrap();
    let clip = load_at(&path, LONGEST, SampleRate::HEARING).unwrap();
    assert!(clip.samples.iter().all(|sample| (-1.0..=1.0).contains(sample)));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(start in 0..64usize, noise in proptest::collection::vec(0..=255u8, 0..64)) {
        let mut bytes = Wav { extensible: true, ..pcm(2, &[0; 64]) }.bytes();
        let end = (start + noise.len()).min(bytes.len());
        bytes[start..end].copy_from_slice(&noise[..end - start]);
        let _ = load_bytes(&bytes);
    }
}
