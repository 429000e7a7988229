//! Echo and talkers in simulated rooms.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use sonora::config::EchoCanceller as Sonora;
use sonora::{AudioProcessing, Config, StreamConfig};
use sotto::audio::front::{Aec3, BLOCK, EchoCanceller, EchoLoss, ProcessedBlock};
use sotto::types::Ms;

use crate::simulated::{RATE, SimulatedRoom, TALKER_DB, decibel, kept, power, scale};
use crate::voice::Voice;
use crate::{read, recordings, through};

/// The echo alone, then a talker over it, then the talker alone. Seconds.
const ECHO: Range<usize> = 0..16;
const BOTH: Range<usize> = 16..28;
const TALKER: Range<usize> = 29..34;

pub fn print(folder: &Path, mut voice: Option<&mut Voice>) -> Result<()> {
    let files = recordings(folder)?;
    let (far, near) = files.split_at(files.len() / 2);
    let (played, talker) = (voices(far, ECHO.start..BOTH.end)?, voices(near, BOTH.start..TALKER.end)?);
    for (name, make) in subjects() {
        println!("{name}: echo loss in dB from 1 to 3 s, 10 to 14 s, worst second after that");
        println!("   running measure; talker kept over the echo (correlation, gain; correlation before), and alone");
        println!("   frames of echo that are speech to voice activity, before and after, in percent; µs per block");
        for room in table() {
            println!("{}", measure(&*make, &room, &played, &talker, voice.as_deref_mut())?);
        }
    }
    Ok(())
}

type Make = Box<dyn Fn() -> Box<dyn EchoCanceller>>;

fn subjects() -> [(&'static str, Make); 2] {
    [("aec3", Box::new(|| Box::new(Aec3::new()))), ("sonora", Box::new(|| Box::new(Other::new())))]
}

/// One thing changed at a time.
fn table() -> Vec<SimulatedRoom> {
    let base = SimulatedRoom::default();
    let mut rooms = vec![base];
    rooms.extend([60, 250].map(|tail_ms| SimulatedRoom { tail_ms, ..base }));
    rooms.extend([20, 200, 480].map(|delay_ms| SimulatedRoom { delay_ms, ..base }));
    rooms.extend([-20.0, 0.0, 10.0].map(|echo_db| SimulatedRoom { echo_db, ..base }));
    rooms.extend([50.0, 100.0, 200.0].map(|drift_ppm| SimulatedRoom { drift_ppm, ..base }));
    rooms.extend([-40, 60].map(|jump_ms| SimulatedRoom { jump_ms, ..base }));
    rooms.extend([0.0, 4.0].map(|drive| SimulatedRoom { drive, ..base }));
    rooms.push(SimulatedRoom { floor_db: -50.0, ..base });
    rooms.push(SimulatedRoom { drive: 4.0, drift_ppm: 200.0, tail_ms: 250, echo_db: 0.0, ..base });
    rooms.push(SimulatedRoom { delay_ms: 600, ..base });
    rooms
}

/// Recordings one after another within `seconds`, silence around.
fn voices(files: &[PathBuf], seconds: Range<usize>) -> Result<Vec<f32>> {
    let mut sound = vec![0.0; seconds.start * RATE];
    for file in files.iter().cycle() {
        if sound.len() >= seconds.end * RATE {
            break;
        }
        let mut voice = read(file)?;
        scale(&mut voice, TALKER_DB);
        sound.extend(voice);
        sound.extend([0.0; RATE / 5]);
    }
    sound.truncate(seconds.end * RATE);
    sound.resize(TALKER.end * RATE, 0.0);
    Ok(sound)
}

fn span(seconds: Range<usize>) -> Range<usize> {
    seconds.start * RATE..seconds.end * RATE
}

fn measure(
    make: &dyn Fn() -> Box<dyn EchoCanceller>,
    room: &SimulatedRoom,
    played: &[f32],
    talker: &[f32],
    voice: Option<&mut Voice>,
) -> Result<String> {
    let heard: Vec<f32> = room.echo(played).iter().zip(talker).map(|(a, b)| (a + b).clamp(-1.0, 1.0)).collect();
    let (mut canceller, mut loss, mut running) = (make(), EchoLoss::new(), None);
    let start = Instant::now();
    let mut blocks = 0;
    let out = through(&heard, played, |block, played| {
        let before = *block;
        canceller.process(block, played);
        loss.update(&before, block, played);
        blocks += 1;
        if blocks * BLOCK == ECHO.end * RATE {
            running = loss.enhancement();
        }
    });
    let each = start.elapsed().as_secs_f64() * 1e6 / blocks as f64;
    // The canceller's own delay and filters, without any echo, are no fault.
    let mut other = make();
    let alone = through(talker, &vec![0.0; talker.len()], |block, played| other.process(block, played));
    let erle = |range: Range<usize>| decibel(power(&heard[range.clone()])) - decibel(power(&out[range]));
    let worst = (10 * 5..15 * 5).map(|fifth| erle(fifth * RATE / 5..(fifth + 5) * RATE / 5)).fold(f64::MAX, f64::min);
    let ((found, gain), (before, _)) =
        (kept(&out[span(BOTH)], &alone[span(BOTH)]), kept(&heard[span(BOTH)], &talker[span(BOTH)]));
    let lone = kept(&out[span(TALKER)], &alone[span(TALKER)]);
    let speech = match voice {
        Some(voice) => {
            let late = span(4..ECHO.end);
            format!("{:3.0} {:3.0} %", voice.share(&heard[late.clone()])?, voice.share(&out[late])?)
        }
        None => "-".to_owned(),
    };
    let SimulatedRoom { tail_ms, delay_ms, jump_ms, echo_db, drift_ppm, drive, floor_db } = room;
    Ok(format!(
        "tail {tail_ms:3} ms, delay {delay_ms:3} ms, jump {jump_ms:3} ms, echo {echo_db:3} dB, drift {drift_ppm:3} ppm, \
         drive {drive}, floor {floor_db} dB | {:5.1} {:5.1} {worst:5.1} | {:5.1} | {found:.2} {gain:.2} ({before:.2}) | \
         {:.2} {:.2} | {speech} | {each:.0}",
        erle(span(1..3)),
        erle(span(10..14)),
        running.unwrap_or(f32::NAN),
        lone.0,
        lone.1,
    ))
}

/// The canceller of the crate `sonora`.
struct Other(AudioProcessing);

impl Other {
    fn new() -> Self {
        let config = Config { echo_canceller: Some(Sonora::default()), ..Config::default() };
        let mono = || StreamConfig::new(RATE as u32, 1);
        Other(AudioProcessing::builder().config(config).capture_config(mono()).render_config(mono()).build())
    }
}

impl EchoCanceller for Other {
    fn process(&mut self, microphone: &mut ProcessedBlock, played: &ProcessedBlock) {
        let (heard, mut unused) = (*microphone, [0.0; BLOCK]);
        self.0.process_render_f32(&[played], &mut [&mut unused]).expect("a block is 10 ms");
        self.0.process_capture_f32(&[&heard], &mut [microphone]).expect("a block is 10 ms");
    }

    fn reset(&mut self) {
        *self = Self::new();
    }

    fn delay(&self) -> Ms {
        Ms(self.0.statistics().delay_ms.map_or(0.0, f64::from))
    }
}
