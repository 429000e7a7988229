//! `sotto devices`: lists the microphones and speakers of this machine.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::audio::device::{Card, DeviceError, DeviceInfo, Direction, Hardware, SystemClock};
use crate::engine::Result;

pub fn run(as_json: bool) -> Result<()> {
    let devices = Hardware::new(SystemClock::start()).devices()?;
    if devices.is_empty() {
        return Err(DeviceError::NoSoundSystem { why: "no device can be opened".to_owned() }.into());
    }
    match as_json {
        true => super::print_json(&as_value(&devices)),
        false => super::print_text(&as_text(&devices)),
    }
}

pub(super) fn as_value(devices: &[DeviceInfo]) -> Value {
    let of = |direction| -> Vec<Value> {
        let devices = devices.iter().filter(|device| device.direction == direction);
        devices
            .map(|device| {
                json!({
                    "name": device.name,
                    "description": device.description,
                    "default": device.is_default,
                    "rate": device.format.map(|format| format.rate.0),
                    "channels": device.format.map(|format| format.channels),
                    "format": device.format.map(|format| format.sample.to_string()),
                })
            })
            .collect()
    };
    json!({ "inputs": of(Direction::Input), "outputs": of(Direction::Output) })
}

pub(super) fn as_text(devices: &[DeviceInfo]) -> String {
    let mut text = String::new();
    let width = devices.iter().map(|device| device.name.chars().count()).max().unwrap_or(0);
    for direction in [Direction::Input, Direction::Output] {
        // Writing to memory does not fail.
        let _ = writeln!(text, "{direction}s");
        for device in devices.iter().filter(|device| device.direction == direction) {
            let mark = if device.is_default { '*' } else { ' ' };
            let format = device.format.map(|format| format.to_string()).unwrap_or_default();
            let _ = writeln!(text, "{mark} {:<width$}  {format}  {}", device.name, device.description);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::device::{Simulated, SimulatedRoom};

    #[test]
    fn the_default_is_marked() {
        let devices = Simulated::usual(SimulatedRoom::HEADPHONES).devices().unwrap();
        let text = as_text(&devices);
        assert!(text.contains("microphones\n* mic  48000 Hz, 2 channels, i16"), "{text}");
        let value = as_value(&devices);
        assert_eq!((&value["outputs"][0]["name"], &value["outputs"][0]["default"]), (&json!("spk"), &json!(true)));
        assert_eq!(value["inputs"][0]["rate"], 48_000);
    }
}
