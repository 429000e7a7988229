//! Advice from the measurements. Each line names the measured figure and the setting to change.

use super::models::{TimedModel, Work};
use super::{Machine, Report};
use crate::audio::front::LONGEST_DELAY;
use crate::audio::probe::{EchoMeasurement, Findings};
use crate::config::{BargeInMode, EchoMode as Canceller, Noise, Plan};
use crate::types::Ms;

/// Noise level in dBFS above which words are lost. A voice at arm's length reaches about -26 dBFS,
/// and recognition needs it 20 dB above the noise.
const NOISY: f32 = -45.0;
/// Noise level in dBFS from which the stronger noise suppression is worth its cost.
const VERY_NOISY: f32 = -35.0;
/// Echo level in dB, relative to the played sound. With a louder echo the canceller removes most of
/// the voice of a person who talks at the same time ([`crate::audio::front`]).
const STRONG_ECHO: f32 = 0.0;
/// Longest acceptable time for each step of an answer. The steps together should take less than a
/// second.
const SLOW_RECOGNITION: Ms = Ms(600.0);
const SLOW_JUDGEMENT: Ms = Ms(150.0);
const SLOW_FIRST_SOUND: Ms = Ms(400.0);
/// Minimum speeds in tokens per second. A voice speaks about 3.5, and a first sentence of ten
/// tokens should be ready in half a second.
const TOO_SLOW_TO_SPEAK: f64 = 5.0;
const SLOW_TO_BEGIN: f64 = 20.0;
/// Minimum speed, as a multiple of real time, at which a model keeps up beside the others.
const HEADROOM: f64 = 1.5;
/// Number of clipped samples above which they are no accident.
const CLIPPED: usize = 16;

pub fn of(report: &Report, plan: &Plan) -> Vec<String> {
    let mut advice = Vec::new();
    if let Err(error) = &report.devices {
        advice.push(error.to_string());
    }
    if let Ok(found) = &report.sound {
        of_devices(found, &mut advice);
        of_room(found, plan, &mut advice);
        of_echo(found, plan, &mut advice);
    }
    report.models.iter().for_each(|model| advice.extend(of_model(model, plan)));
    of_memory(&report.machine, &mut advice);
    advice
}

fn of_devices(found: &Findings, advice: &mut Vec<String>) {
    let missing = [found.microphone.as_ref().err(), found.speaker.as_ref().err()];
    advice.extend(missing.into_iter().flatten().map(ToString::to_string));
    if found.interruptions.any() {
        advice.push("sound was interrupted: close programs that keep the processor busy".to_owned());
    }
    if found.clipped > CLIPPED {
        advice.push(format!("{} samples are clipped: lower the level of the microphone or the volume", found.clipped));
    }
}

fn of_room(found: &Findings, plan: &Plan, advice: &mut Vec<String>) {
    let Ok(noise) = found.noise else { return };
    if noise == f32::NEG_INFINITY && !found.chirps_heard() {
        advice
            .push("the microphone gives nothing but zeros: unmute it, or choose another with --microphone".to_owned());
    }
    let wanted = match noise {
        noise if noise > VERY_NOISY => "high",
        noise if noise > NOISY => "low",
        _ => return,
    };
    if plan.audio.noise == Noise::Off {
        advice.push(format!(
            "the room's noise is {noise:.0} dBFS: come closer to the microphone, or set audio.noise = \"{wanted}\" if words are misheard"
        ));
    }
}

fn of_echo(found: &Findings, plan: &Plan, advice: &mut Vec<String>) {
    if let Ok(echo @ EchoMeasurement::Heard { delay, level, chirps, spread, .. }) = &found.echo {
        if *level > STRONG_ECHO {
            advice.push(format!(
                "the echo is {level:.0} dB above what is played: lower the volume, move the speaker away from the microphone, or \
                 use headphones"
            ));
        }
        if delay.0 > LONGEST_DELAY.0 {
            advice.push(format!(
                "the echo comes after {delay}, and the canceller finds it up to {LONGEST_DELAY}: use a wired speaker, or headphones \
                 with audio.echo = \"off\""
            ));
        }
        if !echo.is_steady() {
            advice.push(format!(
                "the delay is not certain ({chirps} of 3 chirps, {:.0} ms apart): be quiet during the check and run it again; if it \
                 stays so, use another device",
                spread.0
            ));
        }
    }
    if found.loss.as_ref().is_ok_and(|loss| !loss.full_duplex) && plan.turn.barge_in == BargeInMode::On {
        let first = match plan.audio.echo {
            Canceller::Off => "set audio.echo = \"aec3\"",
            Canceller::Aec3 => "lower the volume",
        };
        advice.push(format!(
            "Sotto hears itself, so only half duplex will do: {first}, use headphones, or set turn.barge_in = \"stop\""
        ));
    }
}

fn of_model(model: &TimedModel, plan: &Plan) -> Option<String> {
    let TimedModel { part, name, speed } = model;
    let work = match speed {
        Ok(speed) => speed.work,
        Err(why) => return Some(format!("{} was not measured: {why}", part.task())),
    };
    let slow = |what: String, cure: &str| Some(format!("{name} {what}: {cure}"));
    let lags = work.times_real_time().is_some_and(|times| times < HEADROOM);
    match work {
        Work::Frames { .. } if lags => slow("does not keep up with the microphone".to_owned(), "close other programs"),
        Work::Judgements { each } if each.0 > SLOW_JUDGEMENT.0 => {
            slow(format!("takes {each} for a pause"), "set detect.end_of_turn = \"off\"")
        }
        Work::Recognition { took, .. } if took.0 > SLOW_RECOGNITION.0 => match name.contains("tiny") {
            true => slow(
                format!("takes {took} for a question"),
                "set asr.threads to the number of cores, or close other programs",
            ),
            false if plan.asr.language.as_deref() == Some("en") || name.contains(".en") => {
                slow(format!("takes {took} for a question"), "set asr.model = \"whisper-tiny.en\"")
            }
            false => slow(
                format!("takes {took} for a question"),
                "set asr.model = \"whisper-tiny.en\" if English is enough, as that understands nothing else",
            ),
        },
        Work::Tokens { written, .. } if written < TOO_SLOW_TO_SPEAK => slow(
            format!("writes {written:.1} tokens/s, more slowly than it is spoken"),
            "set llm.model to a smaller one (\"sotto models list\")",
        ),
        Work::Tokens { written, .. } if written < SLOW_TO_BEGIN => slow(
            format!("writes {written:.1} tokens/s, so answers begin late"),
            "set llm.model to a smaller one (\"sotto models list\") if that is too long",
        ),
        Work::Speech { .. } if lags => slow(
            "does not keep up with its own speech".to_owned(),
            "set tts.voice to a smaller one, such as a \"low\" one of Piper",
        ),
        Work::Speech { first, .. } if first.0 > SLOW_FIRST_SOUND.0 => slow(
            format!("begins to speak after {first}"),
            "set tts.threads to the number of cores, or close other programs",
        ),
        _ => None,
    }
}

fn of_memory(machine: &Machine, advice: &mut Vec<String>) {
    let Machine { memory, planned, budget, .. } = machine;
    let Ok(planned) = planned else { return };
    if planned > budget {
        advice.push(format!(
            "the pipeline plans {planned}: set memory.budget to at least that, or llm.model to a smaller one"
        ));
    }
    if memory.is_some_and(|memory| *planned > memory) {
        advice.push(format!("the pipeline plans {planned}, more than the machine has: set llm.model to a smaller one"));
    } else if memory.is_some_and(|memory| *budget > memory) {
        advice.push(format!("the budget of {budget} is more than the machine has: lower memory.budget"));
    }
}

#[cfg(test)]
mod tests {
    use cpal::SampleFormat;

    use super::super::models::Speed;
    use super::super::print;
    use super::*;
    use crate::audio::device::{Direction, StreamFormat};
    use crate::audio::probe::{EchoLossMeasurement, Interruptions, Opened, Unmeasured};
    use crate::engine::ModelPart;
    use crate::types::Bytes;

    fn plan() -> Plan {
        crate::config::load(&crate::config::Sources { cores: 2, ..Default::default() }).unwrap().plan
    }

    fn fine() -> Report {
        let opened = |device: &str| {
            Ok(Opened { device: device.to_owned(), format: StreamFormat::new(48_000, 2, SampleFormat::I16).unwrap() })
        };
        let (delay, spread, told) = (Ms(84.0), Ms(0.2), Some(Ms(60.0)));
        let model = |part, name: &str, work| TimedModel {
            part,
            name: name.to_owned(),
            speed: Ok(Speed { load: Ms(120.0), work }),
        };
        Report {
            machine: Machine {
                cpu: "a processor".to_owned(),
                cores: 2,
                kernels: "avx2".to_owned(),
                memory: Some(Bytes::mib(8_000)),
                planned: Ok(Bytes::mib(1_000)),
                budget: Bytes::mib(1_600),
            },
            devices: Ok(Vec::new()),
            sound: Ok(Findings {
                microphone: opened("mic"),
                speaker: opened("spk"),
                noise: Ok(-62.0),
                echo: Ok(EchoMeasurement::Heard { chirps: 3, delay, spread, told, level: -18.0 }),
                loss: Ok(EchoLossMeasurement { enhancement: 33.0, full_duplex: true }),
                clipped: 0,
                interruptions: Interruptions::default(),
            }),
            models: vec![
                model(ModelPart::VoiceActivityDetector, "silero-vad", Work::Frames { each: Ms(0.1), sound: Ms(32.0) }),
                model(ModelPart::TurnDetector, "smart-turn", Work::Judgements { each: Ms(40.0) }),
                model(
                    ModelPart::Transcriber,
                    "whisper-base",
                    Work::Recognition { sound: Ms(4_000.0), took: Ms(400.0) },
                ),
                model(ModelPart::LanguageModel, "qwen", Work::Tokens { read: 200.0, written: 30.0 }),
                model(
                    ModelPart::Voice,
                    "piper-joe",
                    Work::Speech { sound: Ms(5_000.0), took: Ms(900.0), first: Ms(90.0) },
                ),
            ],
        }
    }

    fn sound(report: &mut Report) -> &mut Findings {
        report.sound.as_mut().unwrap()
    }

    fn set(report: &mut Report, part: ModelPart, work: Work) {
        let model = report.models.iter_mut().find(|model| model.part == part).unwrap();
        model.speed = Ok(Speed { load: Ms(1.0), work });
    }

    fn mute(report: &mut Report, echo: Result<EchoMeasurement, Unmeasured>) {
        (sound(report).noise, sound(report).echo) = (Ok(f32::NEG_INFINITY), echo);
    }

    #[test]
    fn where_all_is_well_nothing_is_advised() {
        assert_eq!(of(&fine(), &plan()), Vec::<String>::new());
        let text = print::as_text(&fine(), &[]);
        for part in ["-62 dBFS", "-18 dB of what is played, after 84.0 ms", "33 dB by the canceller; full duplex"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(text.contains("nothing to change") && text.contains("10.0 times real time"), "{text}");
    }

    #[test]
    fn each_finding_has_its_cure() {
        type Spoil = fn(&mut Report);
        let cases: [(Spoil, &str); 19] = [
            (|r| sound(r).noise = Ok(-40.0), "audio.noise = \"low\""),
            (|r| sound(r).noise = Ok(-30.0), "audio.noise = \"high\""),
            (|r| mute(r, Ok(EchoMeasurement::Silent)), "unmute"),
            (|r| mute(r, Err(Unmeasured::TakesNoSound)), "unmute"),
            (
                |r| sound(r).loss = Ok(EchoLossMeasurement { enhancement: 3.0, full_duplex: false }),
                "turn.barge_in = \"stop\"",
            ),
            (|r| sound(r).clipped = 100, "clipped"),
            (|r| sound(r).interruptions.underruns = 1, "interrupted"),
            (|r| sound(r).echo = Ok(heard(6.0, 84.0, 0.1)), "lower the volume"),
            (|r| sound(r).echo = Ok(heard(-6.0, 600.0, 0.1)), "finds it up to 480 ms"),
            (|r| sound(r).echo = Ok(heard(-6.0, 84.0, 20.0)), "the delay is not certain"),
            (|r| sound(r).microphone = Err(Unmeasured::NotOpen(Direction::Input)), "microphone did not open"),
            (|r| r.machine.planned = Ok(Bytes::mib(1_700)), "set memory.budget"),
            (|r| r.machine.memory = Some(Bytes::mib(900)), "more than the machine has: set llm.model"),
            (|r| r.machine.memory = Some(Bytes::mib(1_200)), "lower memory.budget"),
            (
                |r| set(r, ModelPart::Transcriber, Work::Recognition { sound: Ms(4_000.0), took: Ms(900.0) }),
                "asr.model = \"whisper-tiny.en\"",
            ),
            (
                |r| set(r, ModelPart::LanguageModel, Work::Tokens { read: 9.0, written: 2.0 }),
                "more slowly than it is spoken",
            ),
            (|r| set(r, ModelPart::LanguageModel, Work::Tokens { read: 9.0, written: 9.0 }), "begin late"),
            (|r| set(r, ModelPart::TurnDetector, Work::Judgements { each: Ms(300.0) }), "detect.end_of_turn = \"off\""),
            (
                |r| set(r, ModelPart::Voice, Work::Speech { sound: Ms(5e3), took: Ms(6e3), first: Ms(90.0) }),
                "does not keep up with its own speech",
            ),
        ];
        for (spoil, cure) in cases {
            let mut report = fine();
            spoil(&mut report);
            let advice = of(&report, &plan());
            assert!(advice.len() == 1 && advice[0].contains(cure), "{cure}: {advice:#?}");
        }
    }

    fn heard(level: f32, delay: f64, spread: f64) -> EchoMeasurement {
        EchoMeasurement::Heard { chirps: 3, delay: Ms(delay), spread: Ms(spread), told: None, level }
    }

    #[test]
    fn a_microphone_that_heard_a_chirp_is_not_mute() {
        let (mut virtual_one, mut dead) = (fine(), fine());
        sound(&mut virtual_one).noise = Ok(f32::NEG_INFINITY);
        assert_eq!(of(&virtual_one, &plan()), Vec::<String>::new());
        mute(&mut dead, Ok(EchoMeasurement::Silent));
        for (report, says, says_not) in [
            (&virtual_one, "none at all: zeros between the sounds", "nothing but zeros"),
            (&dead, "nothing but zeros", "between the sounds"),
        ] {
            let text = print::as_text(report, &[]);
            assert!(text.contains(says) && !text.contains(says_not), "{text}");
        }
    }

    #[test]
    fn what_is_switched_off_is_not_advised_to_be() {
        let mut report = fine();
        sound(&mut report).loss = Ok(EchoLossMeasurement { enhancement: 3.0, full_duplex: false });
        let mut plan = plan();
        plan.turn.barge_in = BargeInMode::Stop;
        assert_eq!(of(&report, &plan), Vec::<String>::new());
    }

    #[test]
    fn what_was_not_measured_is_said_with_its_reason_and_is_no_figure() {
        let mut report = fine();
        report.models[2].speed =
            Err("whisper-base is not installed; run \"sotto models pull whisper-base\"".to_owned());
        sound(&mut report).noise = Err(Unmeasured::Deaf);
        sound(&mut report).loss = Ok(EchoLossMeasurement { enhancement: f32::INFINITY, full_duplex: true });
        let advice = of(&report, &plan());
        assert!(advice.len() == 1 && advice[0].contains("sotto models pull whisper-base"), "{advice:?}");
        let value = print::as_json(&report, &advice);
        assert_eq!(value["sound"]["noise_dbfs"], serde_json::Value::Null);
        assert!(value["sound"]["not_measured"]["noise_dbfs"].as_str().unwrap().contains("no whole sound"));
        assert_eq!((&value["sound"]["echo_loss_db"], &value["sound"]["full_duplex"]), (&().into(), &true.into()));
        assert!(value["models"][2]["not_measured"].is_string() && value["models"][2].get("compute_ms").is_none());
        assert_eq!(value["models"][0]["frame_us"], 100.0);
        report.sound = Err("--no-sound was asked for".to_owned());
        assert!(print::as_text(&report, &[]).contains("not measured: --no-sound"));
    }
}
