//! Files that a command reads and writes, where "-" stands for a standard stream.

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::Usage;
use super::context::AppContext;
use super::signals;
use crate::audio::{self, WavTarget};
use crate::engine::Result;
use crate::types::Bytes;

/// Most bytes read from standard input. Half an hour at 48 kHz in stereo floats has 690 MB.
const MOST: Bytes = Bytes::mib(1024);

/// Whether `path` stands for standard input or standard output.
pub fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// Name of an input file, for messages.
pub fn name(path: &Path) -> String {
    if is_standard(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Path for JSON, which must be UTF-8: bytes that are not valid UTF-8 are replaced.
pub fn json(path: &Path) -> Value {
    path.to_string_lossy().into()
}

/// Reads the sound in a file or from standard input in the form that the transcriber needs: mono at
/// 16 kHz, without DC offset and hum, and amplified if it is too soft.
pub fn read_sound(path: &Path, context: &AppContext) -> Result<Vec<f32>> {
    let clip = if is_standard(path) { sound_from_stdin()? } else { audio::load_speech(path, audio::LONGEST)? };
    clip.note.iter().for_each(|note| context.console().note(note));
    Ok(clip.samples)
}

/// Copies standard input to a temporary file first, because the sound decoders seek.
fn sound_from_stdin() -> Result<audio::Clip> {
    let mut stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Usage("standard input is a terminal; pipe a sound file into it, or name one".to_owned()).into());
    }
    let mut file = NamedTempFile::new().context("no temporary file for standard input")?;
    let read = io::copy(&mut stdin.by_ref().take(MOST.0 + 1), &mut file).context("standard input")?;
    if read > MOST.0 {
        bail!("standard input is larger than the {MOST} that are accepted; cut the sound into pieces");
    }
    // Errors must name standard input, not the temporary file.
    let (copy, own) = (file.path().display().to_string(), name(Path::new("-")));
    let mut clip = audio::load_speech(file.path(), audio::LONGEST)
        .map_err(|error| anyhow!(error.to_string().replace(&copy, &own)))?;
    clip.note = clip.note.map(|note| note.replace(&copy, &own));
    Ok(clip)
}

/// Prepares the target of a WAV file. An interrupt leaves an existing file unchanged.
pub fn claim(path: &Path) -> Result<WavTarget> {
    let place = match is_standard(path) {
        true => WavTarget::to_stdout()?,
        false => WavTarget::claim(path)?,
    };
    signals::unfinished(place.temporary().to_owned());
    Ok(place)
}

/// Refuses to write sound to a terminal, or to a stream that also gets the JSON.
pub fn check_output(output: &Path, as_json: bool) -> Result<()> {
    let refused = match is_standard(output) {
        true if as_json => "the sound and the JSON cannot both go to standard output; name a file with -o",
        true if io::stdout().is_terminal() => {
            "standard output is a terminal; name a file with -o, or pipe the sound on"
        }
        _ => return Ok(()),
    };
    Err(Usage(refused.to_owned()).into())
}

/// Refuses to overwrite the file that is read, whether it is named by its own path, by a link or as
/// standard input.
pub fn keep_apart(input: &Path, output: &Path) -> Result<()> {
    let identity = |path: &Path| fs::metadata(path).ok().filter(|about| about.is_file() || about.is_dir());
    let read = identity(if is_standard(input) { Path::new("/dev/stdin") } else { input });
    let written = identity(output).filter(|_| !is_standard(output));
    match read.zip(written) {
        Some((read, written)) if (read.dev(), read.ino()) == (written.dev(), written.ino()) => {
            let other_name = if input == output { String::new() } else { format!(" as {}", name(input)) };
            let written = output.display();
            Err(Usage(format!("{written} is read itself{other_name}; name another place to write to")).into())
        }
        _ => Ok(()),
    }
}

/// Prints the path itself, whatever bytes it contains.
pub fn print(path: &Path) -> Result<()> {
    let line = [path.as_os_str().as_encoded_bytes(), b"\n"].concat();
    Ok(io::stdout().write_all(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_told_from_an_input_by_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("folder")).unwrap();
        fs::write(path("q.wav"), "question").unwrap();
        fs::write(path("other.wav"), "question").unwrap();
        std::os::unix::fs::symlink(path("q.wav"), path("link.wav")).unwrap();
        fs::hard_link(path("q.wav"), path("hard.wav")).unwrap();
        for (output, fine) in [
            (path("q.wav"), false),
            (path("folder/../q.wav"), false),
            (path("link.wav"), false),
            (path("hard.wav"), false),
            (path("other.wav"), true),
            (path("new.wav"), true),
            (path("folder"), true),
            ("-".into(), true),
        ] {
            let refused = keep_apart(&path("q.wav"), &output).err();
            assert_eq!(refused.is_none(), fine, "{}", output.display());
            assert!(refused.is_none_or(|error| error.to_string().contains("q.wav")));
        }
        assert!(keep_apart(&path("folder"), &path("folder/.")).is_err());
        assert!(keep_apart(Path::new("/dev/null"), Path::new("/dev/null")).is_ok(), "a device holds nothing");
    }

    #[test]
    fn a_name_that_is_not_utf8_is_replaced() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"q\xff.wav"));
        assert_eq!(json(path), "q\u{fffd}.wav");
    }
}
