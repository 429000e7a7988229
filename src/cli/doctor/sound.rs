//! Sound check with the machine's own devices.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::audio::device::Hardware;
use crate::audio::probe::{Findings, SoundCheck};
use crate::cli::console::Console;
use crate::config::Plan;
use crate::engine::detached;

/// Interval at which the devices are polled.
const TICK: Duration = Duration::from_millis(4);

/// Plays and records, after a line that announces it. An error is the reason why there are no
/// findings.
pub fn check(card: Hardware, plan: &Plan, speech: &[f32], console: &Console) -> Result<Findings, String> {
    let (microphone, speaker) = (&plan.devices.microphone, &plan.devices.speaker);
    let opened = SoundCheck::open(Arc::new(card), microphone, speaker, &plan.audio, speech, detached());
    let mut check = opened.map_err(|error| error.to_string())?;
    let what = if speech.is_empty() { "noise like speech" } else { "the voice" };
    let seconds = check.length().0 / 1000.0;
    console
        .note(&format!("now the speaker plays: quiet, three chirps and {what}, {seconds:.0} s; please do not speak"));
    loop {
        if let Some(findings) = check.step() {
            return Ok(findings);
        }
        thread::sleep(TICK);
    }
}
