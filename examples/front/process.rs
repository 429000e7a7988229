//! Recordings through the front end, for the word error rate and for voice activity.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use sotto::audio::WavWriter;
use sotto::audio::front::Front;
use sotto::config::{AudioPlan, EchoMode, Gain, Noise};
use sotto::types::SampleRate;

use crate::simulated::{RATE, SimulatedRoom, TALKER_DB, active_power, power, scale};
use crate::voice::Voice;
use crate::{read, through};

/// Kept after each recording: the front end delays by less than 20 ms.
const TRAIL: usize = RATE / 10;

#[derive(Args)]
pub struct Process {
    /// Has a `transcripts.tsv`, as the example `wer` reads it.
    folder: PathBuf,
    out: PathBuf,
    #[arg(long)]
    echo: bool,
    #[arg(long, value_enum, default_value = "off")]
    noise: Level,
    #[arg(long)]
    gain: bool,
    /// Noise that is added, from a recording.
    #[arg(long, requires = "snr")]
    with: Option<PathBuf>,
    /// How far the voice is above the noise, in dB.
    #[arg(long)]
    snr: Option<f32>,
    /// Level of an echo that is added, beside the voice, in dB: the other recordings, as if Sotto
    /// spoke.
    #[arg(long, allow_negative_numbers = true)]
    over: Option<f32>,
    /// How long the room with its echo dies away, in milliseconds.
    #[arg(long, requires = "over", default_value_t = SimulatedRoom::default().tail_ms)]
    tail: usize,
    /// How much faster the speaker's clock runs than the microphone's, in parts per million.
    #[arg(long, requires = "over", default_value_t = SimulatedRoom::default().drift_ppm)]
    drift: f64,
    /// How far the speaker is driven: from 1 on loud syllables are squeezed.
    #[arg(long, requires = "over", default_value_t = SimulatedRoom::default().drive)]
    drive: f32,
    /// Seconds that are heard before each recording, so that canceller and suppressor know the
    /// room.
    #[arg(long, default_value_t = 5)]
    lead: usize,
    /// Write what words are read from, not what voices are listened for in.
    #[arg(long)]
    words: bool,
    /// Level of the voice in dB of full scale.
    #[arg(long, allow_negative_numbers = true, default_value_t = TALKER_DB)]
    level: f32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Off,
    Low,
    High,
}

impl Process {
    pub fn run(&self, mut voice: Option<&mut Voice>) -> Result<()> {
        fs::create_dir_all(&self.out)?;
        let list = self.folder.join("transcripts.tsv");
        let text = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
        fs::write(self.out.join("transcripts.tsv"), &text)?;
        let files: Vec<_> = text.lines().skip(1).filter_map(|line| line.split('\t').next()).collect();
        let hum = self.with.as_deref().map(read).transpose()?;
        let (mut same, mut missed, mut added, mut frames) = (0, 0, 0, 0);
        for (at, file) in files.iter().enumerate() {
            let other = &files[(at + files.len() / 2) % files.len()];
            let clean = read(&self.folder.join(file))?;
            let processed = self.one(&clean, &read(&self.folder.join(other))?, hum.as_deref());
            let target = self.out.join(file);
            fs::create_dir_all(target.parent().unwrap_or(&self.out))?;
            let mut wav = WavWriter::create(&target, SampleRate::HEARING)?;
            wav.write(&processed)?;
            wav.finish()?;
            if let Some(voice) = voice.as_deref_mut() {
                for pair in voice.frames(&clean)?.into_iter().zip(voice.frames(&processed)?) {
                    frames += 1;
                    match pair {
                        (true, false) => missed += 1,
                        (false, true) => added += 1,
                        _ => same += 1,
                    }
                }
            }
        }
        if frames > 0 {
            let share = |count: i32| 100.0 * f64::from(count) / f64::from(frames);
            let (same, missed, added) = (share(same), share(missed), share(added));
            println!(
                "voice activity: {same:.1} % of frames as in the clean sound, {missed:.1} % missed, {added:.1} % added"
            );
        }
        Ok(())
    }

    fn one(&self, clean: &[f32], other: &[f32], hum: Option<&[f32]>) -> Vec<f32> {
        let mut voice = clean.to_vec();
        scale(&mut voice, self.level);
        let lead = self.lead * RATE;
        let mut heard = [vec![0.0; lead], voice, vec![0.0; TRAIL]].concat();
        let mut played = vec![0.0; heard.len()];
        if let Some(echo_db) = self.over {
            played.iter_mut().zip(other.iter().cycle()).for_each(|(to, from)| *to = *from);
            let echo_db = echo_db + self.level - TALKER_DB;
            let (tail_ms, drift_ppm, drive) = (self.tail, self.drift, self.drive);
            add(
                &mut heard,
                &SimulatedRoom { echo_db, tail_ms, drift_ppm, drive, ..SimulatedRoom::default() }.echo(&played),
            );
        }
        if let (Some(hum), Some(snr)) = (hum, self.snr) {
            let voice_power = active_power(&heard[lead..]);
            let gain = (voice_power / power(hum).max(1e-12) / 10f64.powf(f64::from(snr) / 10.0)).sqrt() as f32;
            let hum: Vec<f32> = hum.iter().cycle().take(heard.len()).map(|x| gain * x).collect();
            add(&mut heard, &hum);
        }
        let mut front = Front::new(&self.settings());
        let out = through(&heard, &played, |block, played| {
            front.process(block, played);
            if self.words {
                *block = *front.words();
            }
        });
        out[lead..].to_vec()
    }

    fn settings(&self) -> AudioPlan {
        AudioPlan {
            echo: if self.echo { EchoMode::Aec3 } else { EchoMode::Off },
            noise: match self.noise {
                Level::Off => Noise::Off,
                Level::Low => Noise::Low,
                Level::High => Noise::High,
            },
            gain: if self.gain { Gain::On } else { Gain::Off },
        }
    }
}

fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}
