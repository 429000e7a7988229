//! Writer of 16-bit mono WAV files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::AudioError;
use super::riff::RATES;
use crate::types::SampleRate;

/// Sizes in a WAV header are 32 bits wide; some room is left for the header itself.
const MAX_SAMPLES: u64 = (u32::MAX as u64 - 1024) / 2;

/// Target of a WAV file, checked before the sound or its rate is known. The file grows beside its
/// target and takes its name in [`WavWriter::finish`]. If it is dropped before, no file is left.
pub struct WavTarget {
    target: PathBuf,
    file: NamedTempFile,
    /// Destination of the complete file.
    end: End,
}

/// Destination of a complete file.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// The file replaces its target.
    Replace,
    /// The target is a pipe or a device, which cannot be replaced, so it gets the bytes.
    Fill,
    /// Standard output gets the bytes.
    Stdout,
}

/// Writer of a WAV file.
pub struct WavWriter {
    place: WavTarget,
    wav: hound::WavWriter<BufWriter<File>>,
    written: u64,
}

impl WavTarget {
    pub fn claim(path: &Path) -> Result<Self, AudioError> {
        let fail = |source| AudioError::Write { path: path.to_owned(), source };
        // A link is followed, so that its target is replaced and not the link.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let end = match fs::metadata(&target) {
            Ok(about) if about.is_dir() => return Err(fail(io::ErrorKind::IsADirectory.into())),
            Ok(about) if !about.is_file() => End::Fill,
            _ => End::Replace,
        };
        let folder = if end == End::Fill { std::env::temp_dir() } else { folder_of(&target).to_owned() };
        let file = temporary(&folder).map_err(fail)?;
        Ok(WavTarget { target, file, end })
    }

    /// Makes a file that is written to standard output once it is complete, so that its header has
    /// the true sizes.
    pub fn to_stdout() -> Result<Self, AudioError> {
        let target = PathBuf::from("standard output");
        let fail = |source| AudioError::Write { path: target.clone(), source };
        let file = temporary(&std::env::temp_dir()).map_err(fail)?;
        Ok(WavTarget { target, file, end: End::Stdout })
    }

    /// Path at which the file grows until it is finished. It is removed with its owner; a killed
    /// program leaves it.
    pub fn temporary(&self) -> &Path {
        self.file.path()
    }

    /// Begins the file, at `rate`.
    pub fn write_at(self, rate: SampleRate) -> Result<WavWriter, AudioError> {
        if !RATES.contains(&rate.0) {
            return Err(AudioError::rates(rate, rate));
        }
        let handle = BufWriter::new(self.file.reopen().map_err(|error| self.fail(error))?);
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: rate.0,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let wav = hound::WavWriter::new(handle, spec).map_err(|error| self.fail(io_of(error)))?;
        Ok(WavWriter { place: self, wav, written: 0 })
    }

    fn fail(&self, source: io::Error) -> AudioError {
        AudioError::Write { path: self.target.clone(), source }
    }
}

impl WavWriter {
    pub fn create(path: &Path, rate: SampleRate) -> Result<Self, AudioError> {
        WavTarget::claim(path)?.write_at(rate)
    }

    /// Appends samples in -1.0..=1.0; larger ones are clipped.
    pub fn write(&mut self, samples: &[f32]) -> Result<(), AudioError> {
        self.written += samples.len() as u64;
        if self.written > MAX_SAMPLES {
            return Err(AudioError::TooLarge { path: self.place.target.clone(), limit: MAX_SAMPLES });
        }
        for &sample in samples {
            // A NaN casts to 0.
            let level = (sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16;
            self.wav.write_sample(level).map_err(|error| self.place.fail(io_of(error)))?;
        }
        Ok(())
    }

    /// Completes the header and moves the file to its place.
    pub fn finish(self) -> Result<(), AudioError> {
        let WavWriter { place: WavTarget { target, file, end }, wav, .. } = self;
        let fail = |source| AudioError::Write { path: target.clone(), source };
        wav.finalize().map_err(|error| fail(io_of(error)))?;
        let fill = |out: &mut dyn io::Write| {
            io::copy(&mut file.reopen()?, out)?;
            out.flush()
        };
        match end {
            End::Replace => file.persist(&target).map(drop).map_err(|error| error.error),
            End::Fill => fs::OpenOptions::new().write(true).open(&target).and_then(|mut out| fill(&mut out)),
            End::Stdout => fill(&mut io::stdout().lock()),
        }
        .map_err(fail)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a hidden file with the permissions of any new file.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(".sotto-").suffix(".wav.part").tempfile_in(folder)
}

fn io_of(error: hound::Error) -> io::Error {
    match error {
        hound::Error::IoError(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::load_at;
    use crate::types::Ms;

    fn names(folder: &Path) -> Vec<std::ffi::OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answer.wav");
        let mut wav = WavWriter::create(&path, SampleRate(22_050)).unwrap();
        wav.write(&[0.0, 0.5, -0.5]).unwrap();
        wav.write(&[2.0, -2.0, f32::NAN, f32::INFINITY]).unwrap();
        assert!(!path.exists());
        wav.finish().unwrap();
        assert_eq!(names(folder.path()), ["answer.wav"]);
        assert_eq!(hound::WavReader::open(&path).unwrap().spec().sample_rate, 22_050);
        let clip = load_at(&path, Ms(1000.0), SampleRate(22_050)).unwrap();
        for (read, wanted) in clip.samples.iter().zip([0.0, 0.5, -0.5, 1.0, -1.0, 0.0, 1.0]) {
            assert!((read - wanted).abs() < 1e-4, "{read} {wanted}");
        }
    }

    #[test]
    fn a_file_that_is_not_finished_never_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answer.wav");
        fs::write(&path, "before").unwrap();
        let mut wav = WavWriter::create(&path, SampleRate(16_000)).unwrap();
        wav.write(&[0.1; 100_000]).unwrap();
        drop(wav);
        assert_eq!(names(folder.path()), ["answer.wav"]);
        assert_eq!(fs::read(&path).unwrap(), b"before");
    }

    #[test]
    fn a_target_that_cannot_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("missing/answer.wav")] {
            let Err(error) = WavTarget::claim(&path) else { panic!("{}", path.display()) };
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let mut wav = WavWriter::create(Path::new("/dev/null"), SampleRate(16_000)).unwrap();
        wav.write(&[0.1; 10]).unwrap();
        wav.finish().unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.wav"), folder.path().join("link.wav"));
        fs::write(&real, "before").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        WavWriter::create(&link, SampleRate(16_000)).unwrap().finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(&fs::read(&real).unwrap()[..4], b"RIFF");
    }
}
