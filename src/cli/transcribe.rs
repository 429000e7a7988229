//! `sotto transcribe`: speech recognition alone, for files of any length.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::args::Transcribe;
use super::exit::Several;
use super::house::House;
use super::talk::Talk;
use super::{files, signals};
use crate::asr::{Cancel, Segment, Transcript, Verdict, Whisper};
use crate::hear::{SileroVad, speech_spans};
use crate::pipeline::Result;
use crate::types::{Ms, SampleRate};

pub fn run(args: &Transcribe, house: &House) -> Result<()> {
    if args.files.iter().filter(|file| files::is_standard(file)).count() > 1 {
        return Err(super::Usage("standard input is named twice; it can be read once".to_owned()).into());
    }
    let mut work = Work::new(args, house)?;
    let mut failures = Vec::new();
    for path in &args.files {
        match work.transcribe(path) {
            Ok(transcript) => work.told().add(path, &transcript)?,
            // One bad file must not lose the others' transcripts.
            Err(error) if args.files.len() > 1 => {
                house.talk().error(&error);
                failures.push(error);
            }
            Err(error) => return Err(error),
        }
    }
    work.told().finish()?;
    let Some(first) = failures.first() else { return Ok(()) };
    let summary = format!("{} of {} files could not be transcribed", failures.len(), args.files.len());
    Err(Several::new(summary, first).into())
}

/// The models at work, and what has come of it.
struct Work<'h> {
    house: &'h House,
    detector: SileroVad,
    whisper: Whisper,
    told: Arc<Mutex<Told>>,
}

impl<'h> Work<'h> {
    /// Loads the models. An interrupt from now on tells what is ready.
    fn new(args: &Transcribe, house: &'h House) -> Result<Self> {
        let loader = house.loader()?;
        let (detector, whisper) = (loader.detector()?, loader.recogniser()?);
        let told = Told {
            as_json: args.format.json,
            many: args.files.len() > 1,
            talk: house.talk().clone(),
            ..Told::default()
        };
        let told = Arc::new(Mutex::new(told));
        let ready = told.clone();
        signals::before_end(move || lock(&ready).interrupt());
        Ok(Work { house, detector, whisper, told })
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.told)
    }

    fn transcribe(&mut self, path: &Path) -> Result<Transcript> {
        let samples = files::read_sound(path, self.house)?;
        let length = SampleRate::HEARING.duration(samples.len());
        let bar = self.house.talk().sound_bar(&files::name(path), length);
        self.told().begin(path, length, bar.clone());
        let spans = speech_spans(&samples, &self.house.plan().hear, &mut self.detector)?;
        let told = self.told.clone();
        let watch = &mut |end: usize, so_far: Transcript| {
            let at = SampleRate::HEARING.duration(end);
            bar.set_position(at.0 as u64);
            lock(&told).go_on(at, so_far);
        };
        let transcript = self.whisper.transcribe_spans_watched(&samples, &spans, &Cancel::default(), watch);
        bar.finish_and_clear();
        Ok(transcript?)
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What is printed: of each file when it is done, and of the one at work when the program is interrupted.
#[derive(Default)]
struct Told {
    as_json: bool,
    /// Whether there are several files.
    many: bool,
    talk: Talk,
    /// Of the files that are done.
    objects: Vec<Value>,
    current: Option<Current>,
}

/// A file under way.
struct Current {
    path: PathBuf,
    length: Ms,
    /// Up to where it is read, and what was said until there.
    so_far: Option<(Ms, Transcript)>,
    bar: indicatif::ProgressBar,
}

impl Told {
    fn begin(&mut self, path: &Path, length: Ms, bar: indicatif::ProgressBar) {
        self.current = Some(Current { path: path.to_owned(), length, so_far: None, bar });
    }

    fn go_on(&mut self, at: Ms, so_far: Transcript) {
        if let Some(current) = &mut self.current {
            current.so_far = Some((at, so_far));
        }
    }

    /// A file is done.
    fn add(&mut self, path: &Path, transcript: &Transcript) -> Result<()> {
        self.current = None;
        if self.as_json {
            self.objects.push(as_json(path, transcript, true));
            return Ok(());
        }
        match &transcript.verdict {
            Verdict::Certain => {}
            Verdict::Doubtful(why) => self.talk.note(&format!("{}: doubtful: {why}", files::name(path))),
            Verdict::Nothing(why) => self.talk.note(&format!("{}: no speech: {why}", files::name(path))),
        }
        self.print_text(path, transcript)
    }

    fn print_text(&self, path: &Path, transcript: &Transcript) -> Result<()> {
        let text = transcript.text.trim();
        super::print_line(&if self.many { format!("{}\t{text}", files::name(path)) } else { text.to_owned() })
    }

    /// All files are done.
    fn finish(&mut self) -> Result<()> {
        match (self.as_json, self.many) {
            (true, false) => self.objects.iter().try_for_each(super::print_json),
            (true, true) => super::print_json(&json!({ "files": self.objects })),
            (false, _) => Ok(()),
        }
    }

    /// Prints what is ready, and says that it is not all.
    fn interrupt(&mut self) {
        let Some(Current { path, length, so_far, bar }) = self.current.take() else { return };
        bar.finish_and_clear();
        let name = files::name(&path);
        let read = so_far.as_ref().map_or(Ms(0.0), |(at, _)| *at);
        let printed = match so_far {
            Some((_, transcript)) if self.as_json => {
                self.objects.push(as_json(&path, &transcript, false));
                Ok(())
            }
            Some((_, transcript)) => self.print_text(&path, &transcript),
            None => Ok(()),
        };
        // A reader that has gone hears nothing more; the program ends in any case.
        let _unheard = printed.and_then(|()| self.finish());
        let (read, length) = (read.0 / 1000.0, length.0 / 1000.0);
        self.talk
            .note(&format!("interrupted: {name} is read up to {read:.0} s of {length:.0} s, so this is not all of it"));
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

fn segment_json(segment: &Segment) -> Value {
    json!({
        "start_ms": segment.start.0.round(),
        "end_ms": segment.end.0.round(),
        "text": segment.text.trim(),
        "confidence": segment.confidence,
        "no_speech": segment.no_speech,
    })
}
