//! Files as people have them, good and broken.

use std::fs;

use super::*;

/// Writes a WAV file field by field, so that each can be made wrong.
#[derive(Clone)]
struct Wav {
    tag: u16,
    channels: u16,
    rate: u32,
    container: u16,
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
        bits: container * 8,
        extensible: false,
        between: Vec::new(),
        stated: None,
        data: data.to_vec(),
    }
}

impl Wav {
    fn bytes(&self) -> Vec<u8> {
        let frame = self.container.wrapping_mul(self.channels);
        let mut format = Vec::new();
        format.extend((if self.extensible { 0xFFFE } else { self.tag }).to_le_bytes());
        format.extend(self.channels.to_le_bytes());
        format.extend(self.rate.to_le_bytes());
        format.extend(self.rate.wrapping_mul(u32::from(frame)).to_le_bytes());
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

/// At the file's own rate, if it has one.
fn load(path: &Path, limit: Ms) -> Result<Clip, AudioError> {
    let header = File::open(path).ok().and_then(|mut file| read_header(&mut file).ok());
    load_at(path, limit, header.map_or(SampleRate::HEARING, |header| SampleRate(header.rate)))
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
    for (wav, encoding) in [
        (pcm(1, &[128, 192, 0]), Encoding::U8),
        (pcm(2, &[0, 0, 0, 64, 0, 128]), Encoding::I16),
        (pcm(3, &[0, 0, 0, 0, 0, 64, 0, 0, 128]), Encoding::I24),
        (pcm(4, &words), Encoding::I32),
        (Wav { bits: 24, ..pcm(4, &words) }, Encoding::I32),
        (Wav { tag: 3, ..pcm(4, &floats) }, Encoding::F32),
        (Wav { tag: 3, ..pcm(8, &doubles) }, Encoding::F64),
    ] {
        for extensible in [false, true] {
            let clip = load_bytes(&Wav { extensible, ..wav.clone() }.bytes()).unwrap();
            assert_eq!(clip.samples, [0.0, 0.5, -1.0], "{encoding:?} {extensible}");
            assert_eq!((clip.rate, clip.note), (SampleRate(16_000), None));
        }
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
    assert_eq!(clip.samples, [0.0, 1.0, -1.0, 1.0, -1.0, 0.25]);
}

#[test]
fn what_writers_to_a_pipe_leave_is_understood() {
    for stated in [0, u32::MAX] {
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
fn what_cannot_be_heard_is_refused_with_a_reason() {
    let good = pcm(2, &[0, 64]);
    let table: &[(Vec<u8>, &str)] = &[
        (vec![], "is empty"),
        (b"RIFF".to_vec(), "broken WAV header"),
        (b"RI".to_vec(), "looks like"),
        (b"RIFF\0\0\0\0WA".to_vec(), "broken WAV header"),
        (b"RIFF\0\0\0\0AVI LIST".to_vec(), "RIFF file of another kind"),
        (b"ID3\x04rest of it".to_vec(), "MP3"),
        (b"\xFF\xFB\x90\x64rest".to_vec(), "MP3"),
        (b"fLaC\0\0\0\x22rest".to_vec(), "FLAC"),
        (b"OggS\0\x02rest".to_vec(), "Ogg"),
        (b"\0\0\0\x20ftypM4A rest".to_vec(), "M4A"),
        (b"Hello, this is text".to_vec(), "text"),
        (b"\x7FELF\x02\x01\x01".to_vec(), "no sound"),
        (good.bytes()[..30].to_vec(), "broken WAV header"),
        (good.bytes()[..36].to_vec(), "no chunk of sound"),
        (Wav { data: vec![], ..good.clone() }.bytes(), "no sound after it"),
        (Wav { data: vec![1], ..good.clone() }.bytes(), "no sound after it"),
        (Wav { channels: 0, ..good.clone() }.bytes(), "0 channels"),
        (Wav { channels: 33, ..good.clone() }.bytes(), "33 channels"),
        (Wav { rate: 0, ..good.clone() }.bytes(), "0 samples per second"),
        (Wav { rate: 400_000, ..good.clone() }.bytes(), "400000 samples per second"),
        (Wav { bits: 32, ..good.clone() }.bytes(), "32 bits do not fit"),
        (Wav { tag: 7, ..good.clone() }.bytes(), "µ-law"),
        (Wav { tag: 0x55, ..good.clone() }.bytes(), "MP3"),
        (Wav { container: 5, bits: 40, ..good.clone() }.bytes(), "5 bytes"),
        (b"RIFF\0\0\0\0WAVEdata\x02\0\0\0ab".to_vec(), "before its format"),
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

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(start in 0..64usize, noise in proptest::collection::vec(0..=255u8, 0..64)) {
        let mut bytes = Wav { extensible: true, ..pcm(2, &[0; 64]) }.bytes();
        let end = (start + noise.len()).min(bytes.len());
        bytes[start..end].copy_from_slice(&noise[..end - start]);
        let _ = load_bytes(&bytes);
    }
}
