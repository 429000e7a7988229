//! `sotto transcribe`: speech recognition alone, for files of any length.

use std::path::Path;

use serde_json::{Value, json};

use super::args::Transcribe;
use super::exit::Several;
use super::house::House;
use crate::asr::{Cancel, Segment, Transcript, Verdict, Whisper};
use crate::audio;
use crate::hear::{SileroVad, speech_spans};
use crate::pipeline::Result;

pub fn run(args: &Transcribe, house: &House) -> Result<()> {
    let loader = house.loader()?;
    let mut detector = loader.detector()?;
    let mut whisper = loader.recogniser()?;
    let mut failures = Vec::new();
    let mut objects = Vec::new();
    for path in &args.files {
        match transcribe(path, house, &mut detector, &mut whisper) {
            Ok(transcript) if args.format.json => objects.push(as_json(path, &transcript)),
            Ok(transcript) => print_text(path, args.files.len() > 1, &transcript, house)?,
            // One bad file must not lose the others' transcripts.
            Err(error) if args.files.len() > 1 => {
                house.talk().error(&error);
                failures.push(error);
            }
            Err(error) => return Err(error),
        }
    }
    match (args.format.json, args.files.len()) {
        (true, 1) => super::print_json(&objects[0])?,
        (true, _) => super::print_json(&json!({ "files": objects }))?,
        (false, _) => {}
    }
    let Some(first) = failures.first() else { return Ok(()) };
    let summary = format!("{} of {} files could not be transcribed", failures.len(), args.files.len());
    Err(Several::new(summary, first).into())
}

fn transcribe(path: &Path, house: &House, detector: &mut SileroVad, whisper: &mut Whisper) -> Result<Transcript> {
    let clip = audio::load_speech(path, audio::LONGEST)?;
    clip.note.iter().for_each(|note| house.talk().note(note));
    let samples = clip.samples;
    let spans = speech_spans(&samples, &house.plan().hear, detector)?;
    Ok(whisper.transcribe_spans(&samples, &spans, &Cancel::default())?)
}

fn print_text(path: &Path, named: bool, transcript: &Transcript, house: &House) -> Result<()> {
    match &transcript.verdict {
        Verdict::Certain => {}
        Verdict::Doubtful(why) => house.talk().note(&format!("{}: doubtful: {why}", path.display())),
        Verdict::Nothing(why) => house.talk().note(&format!("{}: no speech: {why}", path.display())),
    }
    let text = transcript.text.trim();
    super::print_line(&if named { format!("{}\t{text}", path.display()) } else { text.to_owned() })
}

fn as_json(path: &Path, transcript: &Transcript) -> Value {
    json!({
        "file": path,
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
