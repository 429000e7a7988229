//! `sotto say`: speaks a text with the synthesizer alone.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::json;

use super::Usage;
use super::args::Say;
use super::context::AppContext;
use super::files;
use crate::engine::Result;
use crate::tts::Sentences;
use crate::types::{Bytes, Ms};

/// Longest text that is spoken at once: a few hours of sound.
const LONGEST: Bytes = Bytes(1 << 20);

pub fn run(args: &Say, context: &AppContext) -> Result<()> {
    let Some(output) = &args.output else {
        return Err(Usage("name a file for the speech: sotto say TEXT -o FILE.wav".to_owned()).into());
    };
    files::check_output(output, args.format.json)?;
    if args.text == "-" {
        files::keep_apart(Path::new("-"), output)?;
    }
    let text = text_of(&args.text)?;
    let place = files::claim(output)?;
    let mut voice = context.loader()?.voice_of(args.language.as_deref())?;
    let mut writer = place.write_at(voice.rate())?;
    let started = Instant::now();
    let (mut samples, mut first_sound) = (0, None);
    for sentence in Sentences::expecting(voice.language()).cut_all(&text) {
        let mut failed = None;
        voice.speak(&sentence, &mut |sound| {
            first_sound.get_or_insert_with(|| Ms::from(started.elapsed()));
            samples += sound.samples.len();
            match writer.write(sound.samples) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    if samples == 0 {
        bail!("there is nothing to say in {text:?}: no word is left when symbols and emoji are taken out");
    }
    writer.finish()?;
    let length = voice.rate().duration(samples);
    if args.format.json {
        return super::print_json(&json!({
            "audio": files::json(output),
            "audio_ms": length.0.round(),
            "first_audio_ms": first_sound.map(|ms| (ms.0 * 10.0).round() / 10.0),
            "compute_ms": Ms::from(started.elapsed()).0.round(),
        }));
    }
    let place = if files::is_standard(output) { "standard output".to_owned() } else { output.display().to_string() };
    context.console().note(&format!("wrote {:.1} s of speech to {place}", length.0 / 1000.0));
    Ok(())
}

/// Returns the text itself, or standard input for `-`.
fn text_of(argument: &str) -> Result<String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut text = String::new();
    let limit = LONGEST.0 + 1;
    std::io::stdin().take(limit).read_to_string(&mut text).context("standard input is not UTF-8 text")?;
    if text.len() as u64 == limit {
        bail!("the text is longer than {LONGEST}: cut it into several files");
    }
    Ok(text)
}
