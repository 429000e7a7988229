//! `sotto transcribe`: speech recognition alone, for files of any length.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::args::Transcribe;
use super::console::Console;
use super::context::AppContext;
use super::exit::Several;
use super::{files, signals};
use crate::asr::{Cancel, Transcript, TranscriptSegment, Verdict, Whisper};
use crate::detect::{SileroVad, speech_spans};
use crate::engine::Result;
use crate::types::{Ms, SampleRate};

pub fn run(args: &Transcribe, context: &AppContext) -> Result<()> {
    if args.files.iter().filter(|file| files::is_standard(file)).count() > 1 {
        return Err(super::Usage("standard input is named twice; it can be read once".to_owned()).into());
    }
    let mut work = Work::new(args, context)?;
    let mut failures = Vec::new();
    for path in &args.files {
        match work.transcribe(path) {
            Ok(transcript) => work.progress().add(path, &transcript)?,
            // One bad file must not lose the transcripts of the others.
            Err(error) if args.files.len() > 1 => {
                context.console().error(&error);
                failures.push(error);
            }
            Err(error) => return Err(error),
        }
    }
    work.progress().finish(failures.is_empty())?;
    let Some(first) = failures.first() else { return Ok(()) };
    let summary = format!("{} of {} files could not be transcribed", failures.len(), args.files.len());
    Err(Several::new(summary, first).into())
}

/// Loaded models, and the progress so far.
struct Work<'h> {
    context: &'h AppContext,
    detector: SileroVad,
    whisper: Whisper,
    progress: Arc<Mutex<Progress>>,
}

impl<'h> Work<'h> {
    /// Loads the models. From now on an interrupt prints what is ready.
    fn new(args: &Transcribe, context: &'h AppContext) -> Result<Self> {
        let loader = context.loader()?;
        let (detector, whisper) = (loader.voice_activity()?, loader.transcriber()?);
        let progress = Progress {
            as_json: args.format.json,
            many: args.files.len() > 1,
            console: context.console().clone(),
            ..Progress::default()
        };
        let progress = Arc::new(Mutex::new(progress));
        let ready = progress.clone();
        signals::before_end(move || lock(&ready).interrupt());
        Ok(Work { context, detector, whisper, progress })
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        lock(&self.progress)
    }

    fn transcribe(&mut self, path: &Path) -> Result<Transcript> {
        self.progress().begin(path);
        let samples = files::read_sound(path, self.context)?;
        let length = SampleRate::HEARING.duration(samples.len());
        let bar = self.context.console().sound_bar(&files::name(path), length);
        self.progress().measure(length, bar.clone());
        let spans = speech_spans(&samples, &self.context.plan().detect, &mut self.detector)?;
        let progress = self.progress.clone();
        let watch = &mut |end: usize, so_far: Transcript| {
            let at = SampleRate::HEARING.duration(end);
            bar.set_position(at.0 as u64);
            lock(&progress).go_on(at, so_far);
        };
        let transcript = self.whisper.transcribe_spans_watched(&samples, &spans, &Cancel::default(), watch);
        bar.finish_and_clear();
        Ok(transcript?)
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Results to print: those of each finished file, and the partial one of the current file when the
/// program is interrupted.
#[derive(Default)]
struct Progress {
    as_json: bool,
    /// Whether there are several files.
    many: bool,
    console: Console,
    /// JSON of the finished files.
    objects: Vec<Value>,
    current: Option<Current>,
}

/// File that is being transcribed.
struct Current {
    path: PathBuf,
    /// Length of the sound, once the file is read.
    length: Option<Ms>,
    /// Position that transcription has reached, and the transcript up to there.
    so_far: Option<(Ms, Transcript)>,
    bar: indicatif::ProgressBar,
}

impl Progress {
    fn begin(&mut self, path: &Path) {
        let bar = indicatif::ProgressBar::hidden();
        self.current = Some(Current { path: path.to_owned(), length: None, so_far: None, bar });
    }

    fn measure(&mut self, length: Ms, bar: indicatif::ProgressBar) {
        if let Some(current) = &mut self.current {
            (current.length, current.bar) = (Some(length), bar);
        }
    }

    fn go_on(&mut self, at: Ms, so_far: Transcript) {
        if let Some(current) = &mut self.current {
            current.so_far = Some((at, so_far));
        }
    }

    /// Records the transcript of a finished file.
    fn add(&mut self, path: &Path, transcript: &Transcript) -> Result<()> {
        self.current = None;
        if self.as_json {
            self.objects.push(as_json(path, transcript, true));
            return Ok(());
        }
        match &transcript.verdict {
            Verdict::Certain => {}
            Verdict::Doubtful(why) => self.console.note(&format!("{}: doubtful: {why}", files::name(path))),
            Verdict::Nothing(why) => self.console.note(&format!("{}: no speech: {why}", files::name(path))),
        }
        self.print_text(path, transcript)
    }

    fn print_text(&self, path: &Path, transcript: &Transcript) -> Result<()> {
        super::print_line(&self.line(path, transcript))
    }

    fn line(&self, path: &Path, transcript: &Transcript) -> String {
        let text = transcript.text.trim();
        if self.many { format!("{}\t{text}", files::name(path)) } else { text.to_owned() }
    }

    /// Ends the work after the last file.
    fn finish(&mut self, complete: bool) -> Result<()> {
        self.current = None;
        self.object(complete).map_or(Ok(()), |object| super::print_json(&object))
    }

    /// Takes the JSON of all files so far; they are not printed again.
    fn object(&mut self, complete: bool) -> Option<Value> {
        let mut objects = std::mem::take(&mut self.objects);
        match self.many && self.as_json {
            true => Some(json!({ "complete": complete, "files": objects })),
            false => objects.pop(),
        }
    }

    /// Prints what is ready, and says that it is incomplete.
    fn interrupt(&mut self) {
        if let Some(current) = &self.current {
            current.bar.finish_and_clear();
        }
        let (ready, note) = self.broken_off();
        // If the reader has gone, the output is lost; the program ends in any case.
        let _unheard = ready.map(|ready| super::print_line(&ready));
        note.iter().for_each(|note| self.console.note(note));
    }

    /// Remaining output of interrupted work, and the note that explains it.
    fn broken_off(&mut self) -> (Option<String>, Option<String>) {
        let mut ready = None;
        let note = self.current.take().map(|Current { path, length, so_far, .. }| {
            let read = so_far.as_ref().map_or(Ms(0.0), |(at, _)| *at);
            match so_far {
                Some((_, transcript)) if self.as_json => self.objects.push(as_json(&path, &transcript, false)),
                Some((_, transcript)) => ready = Some(self.line(&path, &transcript)),
                None => {}
            }
            let (name, read) = (files::name(&path), read.0 / 1000.0);
            let length = length.map_or("an unknown length".to_owned(), |length| format!("{:.0} s", length.0 / 1000.0));
            format!("interrupted: {name} is read up to {read:.0} s of {length}, so this is not all of it")
        });
        let anything = note.is_some() || !self.objects.is_empty();
        let object = anything.then(|| self.object(false)).flatten();
        (ready.or(object.map(|object| format!("{object:#}"))), note)
    }
}

fn as_json(path: &Path, transcript: &Transcript, complete: bool) -> Value {
    json!({
        "file": files::json(path),
        "complete": complete,
        "text": transcript.text.trim(),
        "language": transcript.language,
        "confidence": transcript.confidence,
        "verdict": transcript.verdict.name(),
        "segments": transcript.segments.iter().map(segment_json).collect::<Vec<_>>(),
    })
}

fn segment_json(segment: &TranscriptSegment) -> Value {
    json!({
        "start_ms": segment.start.0.round(),
        "end_ms": segment.end.0.round(),
        "text": segment.text.trim(),
        "confidence": segment.confidence,
        "no_speech": segment.no_speech,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(text: &str) -> Transcript {
        Transcript {
            text: text.to_owned(),
            language: "en".into(),
            confidence: 0.9,
            ending: None,
            segments: Vec::new(),
            verdict: Verdict::Certain,
        }
    }

    /// Progress with one of two files finished, and 28 s of a minute of the other transcribed.
    fn progress(json: bool, many: bool, so_far: Option<&str>) -> Progress {
        let mut progress = Progress { as_json: json, many, ..Progress::default() };
        if many && json {
            progress.objects.push(as_json(Path::new("a.wav"), &transcript("Whole."), true));
        }
        progress.begin(Path::new("b.wav"));
        progress.measure(Ms(60_000.0), indicatif::ProgressBar::hidden());
        so_far.iter().for_each(|text| progress.go_on(Ms(28_000.0), transcript(text)));
        progress
    }

    #[test]
    fn work_that_is_broken_off_tells_what_is_ready() {
        let (text, note) = progress(false, false, Some(" Half. ")).broken_off();
        assert_eq!(text.as_deref(), Some("Half."));
        assert_eq!(note.as_deref(), Some("interrupted: b.wav is read up to 28 s of 60 s, so this is not all of it"));
        assert_eq!(progress(false, true, Some("Half.")).broken_off().0.as_deref(), Some("b.wav\tHalf."));
        let (text, note) = progress(false, true, None).broken_off();
        assert!(text.is_none() && note.unwrap().contains("up to 0 s"));

        let object =
            |progress: &mut Progress| -> Value { serde_json::from_str(&progress.broken_off().0.unwrap()).unwrap() };
        let one = object(&mut progress(true, false, Some("Half.")));
        assert_eq!((&one["complete"], &one["text"]), (&false.into(), &"Half.".into()));
        let mut both = progress(true, true, Some("Half."));
        let files = object(&mut both);
        let complete = |of: &Value| of["complete"].as_bool().unwrap();
        assert_eq!(
            [complete(&files), complete(&files["files"][0]), complete(&files["files"][1])],
            [false, true, false]
        );
        assert_eq!(both.broken_off(), (None, None), "it is told once");
        assert_eq!(progress(true, false, None).broken_off().0, None);
    }

    #[test]
    fn files_that_are_done_are_not_lost_between_two() {
        let mut progress = progress(true, true, None);
        progress.current = None;
        let (ready, note) = progress.broken_off();
        assert!(ready.unwrap().contains("Whole.") && note.is_none());
    }
}
