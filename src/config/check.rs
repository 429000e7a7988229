//! Checks across several settings, and the values behind `"auto"` on this machine.

use std::path::{Component, Path, PathBuf};

use super::field::quoted;
use super::problem::{ConfigErrors, Problem, SettingOrigin};
use super::raw::{self, AUTO, ModelProfile, OFF, Raw};
use super::{
    AsrPlan, AudioPlan, ConfigEntry, DetectPlan, DevicesPlan, Environment, LlmPlan, MemoryPlan, ModelsPlan, Plan,
    Sampling, TtsPlan, TurnPlan, WakeWordPlan,
};
use crate::types::{Bytes, Ms};

/// Rule that `smaller` must not exceed `larger`, nor equal it where `strictly`.
struct Order {
    smaller: &'static str,
    larger: &'static str,
    strictly: bool,
}

const ORDERS: [Order; 7] = [
    Order { smaller: "detect.silence_threshold", larger: "detect.speech_threshold", strictly: true },
    Order { smaller: "detect.min_speech_ms", larger: "detect.max_turn_ms", strictly: false },
    Order { smaller: "detect.min_silence_ms", larger: "detect.max_turn_ms", strictly: false },
    Order { smaller: "turn.likely_silence_ms", larger: "turn.possible_silence_ms", strictly: false },
    Order { smaller: "turn.possible_silence_ms", larger: "turn.unlikely_silence_ms", strictly: false },
    Order { smaller: "turn.unlikely_silence_ms", larger: "turn.incomplete_silence_ms", strictly: false },
    Order { smaller: "llm.max_tokens", larger: "llm.context", strictly: false },
];

/// Checks the values against each other.
pub fn orders(entries: &[ConfigEntry], errors: &mut ConfigErrors) {
    let entry = |path: &str| entries.iter().find(|entry| entry.path == path);
    for order in &ORDERS {
        if let (Some(smaller), Some(larger)) = (entry(order.smaller), entry(order.larger)) {
            order.check(smaller, larger).into_iter().for_each(|problem| errors.push(problem));
        }
    }
}

impl Order {
    fn check(&self, smaller: &ConfigEntry, larger: &ConfigEntry) -> Option<Problem> {
        let (low, high) = (smaller.value.as_f64()?, larger.value.as_f64()?);
        if low < high || (low == high && !self.strictly) {
            return None;
        }
        // The value that was set last is reported.
        let (blamed, word, other) = match (smaller.origin >= larger.origin, self.strictly) {
            (true, true) => (smaller, "below", larger),
            (true, false) => (smaller, "at most", larger),
            (false, true) => (larger, "above", smaller),
            (false, false) => (larger, "at least", smaller),
        };
        let message = format!(
            "{} is {}; must be {word} {}, which is {} ({})",
            blamed.path, blamed.value, other.path, other.value, other.origin
        );
        Some(Problem::at(&blamed.origin, message))
    }
}

/// Catalogue names behind `"auto"`.
struct Names {
    detect: &'static str,
    end_of_turn: &'static str,
    asr: &'static str,
    llm: &'static str,
    voice: &'static str,
}

impl ModelProfile {
    pub fn name(self) -> &'static str {
        match self {
            ModelProfile::Starter => "starter",
            ModelProfile::Qwen => "qwen",
        }
    }

    fn models(self) -> Names {
        let starter = Names {
            detect: "silero-vad",
            end_of_turn: "smart-turn",
            asr: "whisper-base",
            llm: "qwen2.5-coder-0.5b",
            voice: "piper-joe",
        };
        match self {
            ModelProfile::Starter => starter,
            ModelProfile::Qwen => Names { llm: "qwen3.5-0.8b", ..starter },
        }
    }
}

/// Numbers of threads where the user leaves them to Sotto. The language model runs alone and its
/// threads sleep when they wait, so it gains from up to four. Whisper's threads wait in a busy
/// loop: with one per core they take 0.6 of the time of half as many on an idle machine, but beside
/// another program they spend the time waiting for each other (measured: 7.0 s instead of 1.4 s for
/// a question of 9 s), so there is a number for each case. The synthesizer runs while the language
/// model still writes, so on a small machine it gets one.
struct Threads {
    alone: usize,
    half: usize,
    beside: usize,
}

impl Threads {
    fn of(cores: usize) -> Threads {
        Threads { alone: cores.clamp(1, 4), half: (cores / 2).clamp(1, 4), beside: if cores >= 4 { 2 } else { 1 } }
    }
}

/// Folders from which a relative path and `~/` count.
pub struct Places<'a> {
    pub entries: &'a [ConfigEntry],
    pub working_dir: &'a Path,
    pub env: &'a Environment,
}

/// Makes the plan from settings that have all been checked.
pub fn plan(raw: &Raw, places: &Places, cores: usize) -> Result<Plan, Problem> {
    let names = raw.models.profile.models();
    let threads = Threads::of(cores);
    // Accepted texts are sizes, so this error cannot occur.
    let size = |text: &str| text.parse::<Bytes>().map_err(|error| Problem::at(&SettingOrigin::Default, error));
    let (budget, prompt_cache) = (size(&raw.memory.budget)?, size(&raw.llm.prompt_cache)?);
    let profile = raw.models.profile;
    // The starter profile's models are available everywhere.
    let starter = ModelProfile::Starter.models().llm;
    let stand_in = (raw.llm.model == AUTO && names.llm != starter).then(|| starter.to_owned());
    let dir = (raw.models.dir != AUTO).then(|| places.resolve("models.dir", &raw.models.dir)).transpose()?;
    let mut plan = Plan {
        models: ModelsPlan { profile: profile.name().to_owned(), stand_in, dir },
        memory: MemoryPlan { budget },
        devices: DevicesPlan { microphone: raw.audio.microphone.clone(), speaker: raw.audio.speaker.clone() },
        audio: AudioPlan { echo: raw.audio.echo, noise: raw.audio.noise, gain: raw.audio.gain },
        detect: detect(&raw.detect, &names),
        turn: turn(&raw.turn),
        asr: asr(&raw.asr, &names, &threads),
        llm: llm(&raw.llm, &names, &threads, prompt_cache),
        tts: TtsPlan {
            voice: or(&raw.tts.voice, names.voice),
            voices: raw.tts.voices.clone(),
            no_voice_reply: raw.tts.no_voice_reply.clone(),
            threads: raw.tts.threads.map_or(threads.beside, |n| n as usize),
            speed: raw.tts.speed as f32,
        },
    };
    find_models(&mut plan, places)?;
    Ok(plan)
}

/// Resolves the path of each model that is named by one.
fn find_models(plan: &mut Plan, places: &Places) -> Result<(), Problem> {
    let wake_word = plan.detect.wake_word.as_mut().map(|word| ("detect.wake_word", &mut word.model));
    let single =
        [("asr.model", &mut plan.asr.model), ("llm.model", &mut plan.llm.model), ("tts.voice", &mut plan.tts.voice)];
    let voices = plan.tts.voices.iter_mut().map(|voice| ("tts.voices", voice));
    for (setting, model) in wake_word.into_iter().chain(single).chain(voices) {
        *model = places.model(setting, std::mem::take(model))?;
    }
    Ok(())
}

fn ms(n: u32) -> Ms {
    Ms(f64::from(n))
}

fn detect(raw: &raw::RawHear, names: &Names) -> DetectPlan {
    DetectPlan {
        voice_activity: or(&raw.voice_activity, names.detect),
        end_of_turn: (raw.end_of_turn != OFF).then(|| or(&raw.end_of_turn, names.end_of_turn)),
        wake_word: (raw.wake_word != OFF)
            .then(|| WakeWordPlan { model: raw.wake_word.clone(), threshold: raw.wake_threshold as f32 }),
        speech_threshold: raw.speech_threshold as f32,
        silence_threshold: raw.silence_threshold as f32,
        min_speech: ms(raw.min_speech_ms),
        min_silence: ms(raw.min_silence_ms),
        speech_pad: ms(raw.speech_pad_ms),
        max_turn: ms(raw.max_turn_ms),
    }
}

fn turn(raw: &raw::RawTurn) -> TurnPlan {
    TurnPlan {
        likely_silence: ms(raw.likely_silence_ms),
        possible_silence: ms(raw.possible_silence_ms),
        unlikely_silence: ms(raw.unlikely_silence_ms),
        incomplete_silence: ms(raw.incomplete_silence_ms),
        wake_window: ms(raw.wake_window_ms),
        follow_up: ms(raw.follow_up_ms),
        barge_in: raw.barge_in,
        earcons: raw.earcons == raw::Earcons::On,
    }
}

fn asr(raw: &raw::RawAsr, names: &Names, threads: &Threads) -> AsrPlan {
    AsrPlan {
        model: or(&raw.model, names.asr),
        backend: raw.backend,
        language: (raw.language != AUTO).then(|| raw.language.clone()),
        threads: raw.threads.map_or(threads.alone, |n| n as usize),
        threads_beside: raw.threads.map_or(threads.half, |n| n as usize),
        min_logprob: raw.min_logprob as f32,
        max_no_speech: raw.max_no_speech as f32,
        unclear_reply: raw.unclear_reply.clone(),
    }
}

fn llm(raw: &raw::RawLlm, names: &Names, threads: &Threads, prompt_cache: Bytes) -> LlmPlan {
    LlmPlan {
        model: or(&raw.model, names.llm),
        system_prompt: raw.system_prompt.clone(),
        threads: raw.threads.map_or(threads.alone, |n| n as usize),
        priority: raw.priority,
        context: raw.context.map(|n| n as usize),
        kv_cache: raw.kv_cache,
        speculative_decoding: raw.speculative_decoding,
        prompt_cache,
        max_tokens: raw.max_tokens as usize,
        sampling: Sampling {
            temperature: raw.temperature as f32,
            top_k: raw.top_k as usize,
            top_p: raw.top_p as f32,
            min_p: raw.min_p as f32,
            repetition_penalty: raw.repetition_penalty as f32,
            presence_penalty: raw.presence_penalty as f32,
            seed: raw.seed.map(u64::from),
        },
    }
}

fn or(written: &str, chosen: &str) -> String {
    if written == AUTO { chosen.to_owned() } else { written.to_owned() }
}

fn is_here(part: &Component) -> bool {
    *part == Component::CurDir
}

/// Prefix of a path in the home folder.
const HOME: &str = "~/";

impl Places<'_> {
    /// Resolves a path written at `setting`: a relative one counts from the folder of the file that
    /// holds it, else from the working directory.
    fn resolve(&self, setting: &str, written: &str) -> Result<PathBuf, Problem> {
        let entry = self.entries.iter().find(|entry| entry.path == setting);
        let origin = entry.map_or(&SettingOrigin::Default, |entry| &entry.origin);
        if written == "~" || written.starts_with(HOME) {
            let home = self.env.path("HOME").ok_or_else(|| {
                Problem::at(
                    origin,
                    format!("{setting} is {}, but HOME is not set; write the whole path", quoted(written)),
                )
            })?;
            return Ok(home.join(written.trim_start_matches('~').trim_start_matches('/')));
        }
        let base = match origin {
            SettingOrigin::File { path, .. } => path.parent().unwrap_or(self.working_dir),
            _ => self.working_dir,
        };
        match base.as_os_str().is_empty() {
            true => Ok(PathBuf::from(written)),
            false => Ok(base.join(Path::new(written).components().skip_while(is_here).collect::<PathBuf>())),
        }
    }

    /// Model for the plan: its catalogue name, or its resolved path.
    fn model(&self, setting: &str, written: String) -> Result<String, Problem> {
        if !written.contains('/') {
            return Ok(written);
        }
        let path = self.resolve(setting, &written)?.into_os_string().into_string();
        path.map_err(|path| {
            let message = format!("{setting} leads to {}, which is not UTF-8 text; move it", path.display());
            Problem::at(&SettingOrigin::Default, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_follow_the_machine() {
        for (cores, alone, beside) in [(0, 1, 1), (1, 1, 1), (2, 2, 1), (4, 4, 2), (64, 4, 2)] {
            let threads = Threads::of(cores);
            assert_eq!((threads.alone, threads.beside), (alone, beside), "{cores} cores");
        }
    }
}
