//! A conversation for programs: one JSON object a line on stdout.

use serde_json::{Value, json};

use super::plain::told;
use super::{Face, Happening, Result};
use crate::cli::print_line;
use crate::cli::talk::Talk;
use crate::pipeline::Exchange;
use crate::turn::View;

/// Talks, and has a name or none.
pub struct Json<'a>(pub &'a Talk, pub Option<String>);

impl Face for Json<'_> {
    fn tell(&mut self, happening: &Happening) -> Result<()> {
        print_line(&line(happening, self.1.as_deref()).to_string())
    }

    fn note(&mut self, line: &str) -> Result<()> {
        self.0.note(line);
        Ok(())
    }
}

fn line(happening: &Happening, name: Option<&str>) -> Value {
    match happening {
        Happening::Device(change) => json!({ "device": change.to_string() }),
        Happening::View(View::Waiting) => json!({ "state": "waiting", "for": name }),
        Happening::View(view) => json!({ "state": format!("{view:?}").to_lowercase() }),
        Happening::Partial(transcript) => json!({ "partial": transcript.text.trim() }),
        Happening::Understood(transcript) => json!({
            "understood": transcript.text.trim(),
            "verdict": transcript.verdict.name(),
            "confidence": transcript.confidence,
        }),
        Happening::Answered(Exchange { question, heard, how, timings, glitches, echo_loss, .. }) => json!({
            "question": question,
            "heard": heard,
            "ended": format!("{how:?}").to_lowercase(),
            "timings": timings,
            "glitches": glitches,
            "echo_loss_db": echo_loss,
        }),
        Happening::Notice(notice) => json!({ "notice": told(*notice) }),
        Happening::Failed(why) => json!({ "failed": why }),
    }
}
