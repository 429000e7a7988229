//! Output of the findings.

use std::fmt::{Display, Write};

use serde_json::{Value, json};

use super::super::devices;
use super::models::TimedModel;
use super::{Machine, Report};
use crate::audio::probe::{EchoLossMeasurement, EchoMeasurement, Findings, Opened};
use crate::types::Bytes;

/// Line for a person: the value, or the reason why there is none.
fn or_why<T, E: Display>(measured: &Result<T, E>, text: impl Fn(&T) -> String) -> String {
    measured.as_ref().map_or_else(|why| format!("not measured: {why}"), text)
}

/// Figure for JSON; an infinite one becomes null.
fn figure(decibels: f32) -> Value {
    if decibels.is_finite() { json!((f64::from(decibels) * 10.0).round() / 10.0) } else { Value::Null }
}

fn why<T, E: Display>(measured: &Result<T, E>) -> Option<String> {
    measured.as_ref().err().map(ToString::to_string)
}

pub fn as_text(report: &Report, advice: &[String]) -> String {
    let mut text = machine_text(&report.machine);
    // Writing to memory does not fail.
    let _ = match &report.devices {
        Ok(found) => writeln!(text, "\n{}", devices::as_text(found).trim_end()),
        Err(error) => writeln!(text, "\ndevices\n  none: {error}"),
    };
    let _ = match &report.sound {
        Ok(found) => writeln!(text, "\nsound check\n{}", sound_text(found)),
        Err(why) => writeln!(text, "\nsound check\n  not measured: {why}"),
    };
    let _ = writeln!(text, "\nmodels");
    report.models.iter().for_each(|model| text.push_str(&model_text(model)));
    let _ = writeln!(text, "\nadvice");
    for line in advice {
        let _ = writeln!(text, "- {line}");
    }
    if advice.is_empty() {
        let _ = writeln!(text, "  nothing to change: all that was measured is well");
    }
    text
}

fn machine_text(machine: &Machine) -> String {
    let Machine { cpu, cores, kernels, memory, planned, budget } = machine;
    let memory = memory.map_or("not told by the system".to_owned(), |memory| memory.to_string());
    let planned = planned.as_ref().map_or_else(Clone::clone, Bytes::to_string);
    format!(
        "machine\n  processor   {cpu}, {cores} cores, {kernels} kernels\n  memory      {memory}; the pipeline plans {planned} \
         of its budget of {budget}\n"
    )
}

fn sound_text(found: &Findings) -> String {
    let opened = |device: &Opened| format!("{}: {}", device.device, device.format);
    let noise = |dbfs: &f32| match dbfs.is_finite() {
        true => format!("{dbfs:.0} dBFS"),
        false if found.chirps_heard() => "none at all: zeros between the sounds, as a virtual device gives".to_owned(),
        false => "none at all: the microphone gives nothing but zeros".to_owned(),
    };
    let Findings { interruptions: not, .. } = found;
    let lines = [
        ("microphone", or_why(&found.microphone, opened)),
        ("speaker", or_why(&found.speaker, opened)),
        ("room noise", or_why(&found.noise, noise)),
        ("echo", or_why(&found.echo, echo_text)),
        ("echo loss", or_why(&found.loss, loss_text)),
        (
            "trouble",
            format!(
                "{} frames not read in time, {} samples missing, {} times run dry, {} interruptions, {} samples clipped",
                not.overruns, not.missing, not.underruns, not.xruns, found.clipped
            ),
        ),
    ];
    lines.map(|(what, text)| format!("  {what:<12}{text}")).join("\n")
}

fn echo_text(echo: &EchoMeasurement) -> String {
    let EchoMeasurement::Heard { chirps, delay, spread, told, level } = echo else {
        return "none: the chirps were not heard".to_owned();
    };
    let told = told.map_or(String::new(), |told| format!(", of which the speaker itself tells {told}"));
    let agreed = match echo.is_steady() {
        true => format!("within {:.1} ms in {chirps} of 3 chirps", spread.0),
        false => format!("not certain: {chirps} of 3 chirps were heard, {:.1} ms apart", spread.0),
    };
    format!("{level:.0} dB of what is played, after {:.1} ms{told}; {agreed}", delay.0)
}

fn loss_text(loss: &EchoLossMeasurement) -> String {
    let judged = if loss.full_duplex { "full duplex: it can be talked over" } else { "half duplex only" };
    match loss.enhancement.is_finite() {
        true => format!("{:.0} dB by the canceller; {judged}", loss.enhancement),
        false => format!("no echo above the room's noise; {judged}"),
    }
}

fn model_text(model: &TimedModel) -> String {
    let speed = or_why(&model.speed, |speed| format!("{}; loaded in {}", speed.work.as_text(), speed.load));
    format!("  {:<20}{}: {speed}\n", model.part.task(), model.name)
}

pub fn as_json(report: &Report, advice: &[String]) -> Value {
    let Machine { cpu, cores, kernels, memory, planned, budget } = &report.machine;
    json!({
        "machine": {
            "cpu": cpu,
            "cores": cores,
            "kernels": kernels,
            "memory_bytes": memory.map(|memory| memory.0),
            "planned_bytes": planned.as_ref().ok().map(|planned| planned.0),
            "budget_bytes": budget.0,
        },
        "devices": match &report.devices {
            Ok(found) => devices::as_value(found),
            Err(error) => json!({ "inputs": [], "outputs": [], "not_measured": error.to_string() }),
        },
        "sound": match &report.sound {
            Ok(found) => sound_json(found),
            Err(why) => json!({ "not_measured": why }),
        },
        "models": report.models.iter().map(model_json).collect::<Vec<_>>(),
        "advice": advice,
    })
}

fn sound_json(found: &Findings) -> Value {
    let device = |device: &Opened| {
        json!({
            "device": device.device,
            "rate": device.format.rate.0,
            "channels": device.format.channels,
            "format": device.format.sample.to_string(),
        })
    };
    let Findings { interruptions, .. } = found;
    json!({
        "microphone": found.microphone.as_ref().ok().map(device),
        "speaker": found.speaker.as_ref().ok().map(device),
        "noise_dbfs": found.noise.as_ref().ok().map(|noise| figure(*noise)),
        "echo": found.echo.as_ref().ok().map(echo_json),
        "echo_loss_db": found.loss.as_ref().ok().map(|loss| figure(loss.enhancement)),
        "full_duplex": found.loss.as_ref().ok().map(|loss| loss.full_duplex),
        "clipped": found.clipped,
        "overruns": interruptions.overruns,
        "missing": interruptions.missing,
        "underruns": interruptions.underruns,
        "xruns": interruptions.xruns,
        "not_measured": {
            "microphone": why(&found.microphone),
            "speaker": why(&found.speaker),
            "noise_dbfs": why(&found.noise),
            "echo": why(&found.echo),
            "echo_loss_db": why(&found.loss),
        },
    })
}

fn echo_json(echo: &EchoMeasurement) -> Value {
    let EchoMeasurement::Heard { chirps, delay, spread, told, level } = echo else { return json!({ "chirps": 0 }) };
    json!({
        "chirps": chirps,
        "delay_ms": delay.0,
        "spread_ms": spread.0,
        "steady": echo.is_steady(),
        "speaker_latency_ms": told.map(|told| told.0),
        "level_db": figure(*level),
    })
}

fn model_json(model: &TimedModel) -> Value {
    let mut value = json!({ "task": model.part.task(), "model": model.name });
    match &model.speed {
        Ok(speed) => {
            value["load_ms"] = json!(speed.load.0.round());
            if let (Some(value), Value::Object(work)) = (value.as_object_mut(), speed.work.as_json()) {
                value.extend(work);
            }
        }
        Err(why) => value["not_measured"] = json!(why),
    }
    value
}
