//! `sotto doctor`: measures this machine, its devices and the sound around it, and says what to
//! change.
//!
//! A measurement that fails is reported with the reason, and the examination goes on. Only a
//! machine without any sound device ends it with an error, after everything else is reported.

mod advice;
mod models;
mod print;
mod sound;

use super::args::Doctor;
use super::bench::machine;
use super::context::AppContext;
use crate::audio::device::{Card, DeviceError, DeviceInfo, Hardware, SystemClock};
use crate::audio::probe::Findings;
use crate::engine::{Loader, ModelPart, Purpose, Result};
use crate::types::Bytes;
use models::TimedModel;

/// Results of all measurements.
struct Report {
    machine: Machine,
    devices: std::result::Result<Vec<DeviceInfo>, DeviceError>,
    /// Result of the sound check, or the reason why there is none.
    sound: std::result::Result<Findings, String>,
    models: Vec<TimedModel>,
}

struct Machine {
    cpu: String,
    cores: usize,
    kernels: String,
    /// Size of the main memory; `None` where the system does not report it.
    memory: Option<Bytes>,
    /// Planned memory of the pipeline, or the reason why it is not known.
    planned: std::result::Result<Bytes, String>,
    budget: Bytes,
}

pub fn run(args: &Doctor, context: &AppContext) -> Result<()> {
    let (console, loader) = (context.console(), context.loader_with_language_model()?);
    loader.check_names()?;
    let hardware = Hardware::new(SystemClock::start());
    let devices = hardware.devices().and_then(|devices| match devices.is_empty() {
        true => Err(DeviceError::NoSoundSystem { why: "no device can be opened".to_owned() }),
        false => Ok(devices),
    });
    let (models, speech) = models::examine(loader, &context.store()?, console);
    let sound = match &devices {
        _ if args.no_sound => Err("--no-sound was asked for".to_owned()),
        Err(error) => Err(error.to_string()),
        Ok(_) => sound::check(hardware, context.plan(), &speech, console),
    };
    let report = Report { machine: look_at_machine(loader), devices, sound, models };
    let advice = advice::of(&report, loader.plan());
    match args.format.json {
        true => super::print_json(&print::as_json(&report, &advice))?,
        false => super::print_text(&print::as_text(&report, &advice))?,
    }
    match report.devices {
        Err(error) if !args.no_sound => Err(error.into()),
        _ => Ok(()),
    }
}

fn look_at_machine(loader: &Loader) -> Machine {
    let parts = ModelPart::of(loader.plan(), Purpose::Conversation);
    let planned = parts.into_iter().map(|part| Ok(loader.planned(part)?.planned.0)).sum::<Result<u64>>();
    Machine {
        cpu: machine::cpu(),
        cores: machine::cores(),
        kernels: machine::kernels(),
        memory: machine::memory(),
        planned: planned.map(Bytes).map_err(|error| crate::cli::console::error_text(&error)),
        budget: loader.plan().memory.budget,
    }
}
