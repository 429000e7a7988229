//! Piper voice in two graphs: the encoder makes latent frames of a whole sentence, the decoder
//! makes sound of a few frames at a time, so that the first sound does not wait for the length of
//! the sentence.

use std::collections::HashMap;
use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use ort::session::{Session, SessionOutputs};
use ort::value::TensorRef;
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

use super::phonemes::Phonemizer;
use super::{TtsError, for_ear_in};
use crate::config;
use crate::memory::Permit;
use crate::onnx::Onnx;
use crate::sniff;
use crate::types::{Bytes, Ms, SampleRate};

/// Numbers in one latent frame, and samples per frame.
const LATENT: usize = 192;
const HOP: usize = 256;
/// Frames decoded at a time (279 ms at 22,050 Hz), half as many at first, and frames around them
/// that the decoder needs: with 12 on each side the sound equals that of the whole sentence to 130
/// dB.
const FIRST_CHUNK: usize = 12;
const CHUNK: usize = 24;
const CONTEXT: usize = 12;
/// Most phonemes of one sentence: about a minute of speech. A longer one is spoken in several
/// parts.
const MAX_PHONEMES: usize = 800;
/// Most frames of a sentence: two minutes.
const MAX_FRAMES: usize = 120 * 22_050 / HOP;
/// Most bytes of a voice's settings, which have 5 KB.
const MAX_SETTINGS: u64 = 1 << 20;
/// Bytes that a loaded voice holds beside its files: ONNX Runtime's working memory for the longest
/// sentence.
const SCRATCH: u64 = 96 << 20;

/// Silence after a piece, so that sentences do not run into each other.
const AFTER_SENTENCE: Ms = Ms(180.0);
const AFTER_CLAUSE: Ms = Ms(60.0);

/// Silence that is left before a piece, and the level of silence: below -50 dBFS.
const BREATH: Ms = Ms(5.0);
const AUDIBLE: f32 = 0.003;

/// Loaded voice.
pub struct Voice {
    encoder: Session,
    decoder: Session,
    folder: PathBuf,
    settings: Settings,
    scales: [f32; 3],
    phonemizer: Phonemizer,
    _permit: Permit,
}

/// Part of the sound of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound<'a> {
    /// Samples in -1.0..=1.0.
    pub samples: &'a [f32],
    /// Part of the text that it says: 0 is its beginning, 1 its end. The silence after the text
    /// counts as its end.
    pub says: Range<f64>,
}

/// Result of speaking a text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spoken {
    /// Number of samples handed over.
    pub samples: usize,
    /// Number of phonemes that the voice does not know; they were left out.
    pub unknown: usize,
    /// Whether the callback ended it.
    pub cancelled: bool,
}

/// Settings from `voice.json`, as Piper writes it.
#[derive(Debug, Deserialize)]
struct Settings {
    audio: AudioSettings,
    espeak: EspeakSettings,
    /// Language; older voices do without it.
    language: Option<LanguageSettings>,
    inference: InferenceSettings,
    phoneme_id_map: HashMap<String, Vec<i64>>,
}

#[derive(Debug, Deserialize)]
struct AudioSettings {
    sample_rate: u32,
}

#[derive(Debug, Deserialize)]
struct EspeakSettings {
    voice: String,
}

#[derive(Debug, Deserialize)]
struct LanguageSettings {
    /// Two-letter code of the language.
    family: String,
}

#[derive(Debug, Deserialize)]
struct InferenceSettings {
    noise_scale: f32,
    length_scale: f32,
    noise_w: f32,
}

/// Latent frames of a sentence, channel by channel: f32 `[192, frames]`.
struct Latent {
    numbers: Vec<f32>,
    frames: usize,
}

impl Voice {
    /// Bytes that the voice in `folder` will hold: its graphs, which ONNX Runtime keeps a second
    /// time in its order of computation, and its working memory.
    pub fn planned_bytes(folder: &Path) -> Result<Bytes, TtsError> {
        let mut bytes = SCRATCH;
        for name in ["encoder.onnx", "decoder.onnx"] {
            let file = folder.join(name);
            let about = fs::metadata(&file).map_err(|error| TtsError::Voice { file, why: error.to_string() })?;
            bytes += about.len() + about.len() / 2;
        }
        Ok(Bytes(bytes))
    }

    /// Loads `encoder.onnx`, `decoder.onnx` and `voice.json` from `folder`.
    pub fn load(onnx: &Onnx, folder: &Path, plan: &config::TtsPlan, permit: Permit) -> Result<Self, TtsError> {
        let settings = Settings::read(&folder.join("voice.json"))?;
        let phonemizer = Phonemizer::find(&settings.espeak.voice)?;
        let inference = &settings.inference;
        let scales = [inference.noise_scale, inference.length_scale / plan.speed, inference.noise_w];
        Ok(Voice {
            encoder: onnx.session(&folder.join("encoder.onnx"), plan.threads)?,
            decoder: onnx.session(&folder.join("decoder.onnx"), plan.threads)?,
            folder: folder.to_owned(),
            settings,
            scales,
            phonemizer,
            _permit: permit,
        })
    }

    /// Two-letter code of the language that the voice in `folder` speaks.
    pub fn language_of(folder: &Path) -> Result<String, TtsError> {
        Ok(Settings::read(&folder.join("voice.json"))?.language().to_owned())
    }

    /// Two-letter code of its language.
    pub fn language(&self) -> &str {
        self.settings.language()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn rate(&self) -> SampleRate {
        SampleRate(self.settings.audio.sample_rate)
    }

    /// Synthesizes a sound that is discarded, so that the first sentence does not pay for one-time
    /// costs.
    pub fn warm_up(&mut self) -> Result<(), TtsError> {
        self.speak("Hello, I am ready to speak.", &mut |_| ControlFlow::Continue(()))?;
        Ok(())
    }

    /// Speaks `text`, handing over samples in -1.0..=1.0 as they are made; `Break` ends it. A text
    /// without a word, such as one of emoji alone, is no error and gives no sound.
    pub fn speak(
        &mut self,
        text: &str,
        on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>,
    ) -> Result<Spoken, TtsError> {
        let text = for_ear_in(text, self.settings.language());
        let phonemes: Vec<char> = self.phonemizer.phonemes(&text)?.nfd().collect();
        let spoken = self.speak_phonemes(&phonemes, on_sound);
        self.phonemizer.prepare();
        spoken
    }

    fn speak_phonemes(
        &mut self,
        phonemes: &[char],
        on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>,
    ) -> Result<Spoken, TtsError> {
        let mut spoken = Spoken::default();
        let (mut begin, all) = (0, phonemes.len() as f64);
        for part in parts(phonemes) {
            let ids = self.settings.ids(part, &mut spoken.unknown);
            let latent = self.encode(&ids)?;
            let says = begin as f64 / all..(begin + part.len()) as f64 / all;
            begin += part.len();
            if self.say(&latent, &says, &mut spoken.samples, on_sound)?.is_break() {
                spoken.cancelled = true;
                return Ok(spoken);
            }
        }
        if spoken.samples > 0 {
            let clause = phonemes.last().is_some_and(|mark| matches!(mark, ',' | ';' | ':'));
            let pause = vec![0.0; self.rate().samples(if clause { AFTER_CLAUSE } else { AFTER_SENTENCE })];
            spoken.samples += pause.len();
            spoken.cancelled = on_sound(Sound { samples: &pause, says: 1.0..1.0 }).is_break();
        }
        Ok(spoken)
    }

    fn say(
        &mut self,
        latent: &Latent,
        says: &Range<f64>,
        samples: &mut usize,
        on_sound: &mut dyn FnMut(Sound) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, TtsError> {
        // Weighted so that the last position is exactly `says.end`: the parts of a text join
        // without a gap.
        let place = |frame: usize| {
            let part = frame as f64 / latent.frames as f64;
            says.start * (1.0 - part) + says.end * part
        };
        let (mut frames, mut begun, mut from) = (0..FIRST_CHUNK.min(latent.frames), false, says.start);
        while !frames.is_empty() {
            let sound = self.decode(latent, frames.clone())?;
            let heard_from = if begun { Some(0) } else { behind_breath(&sound, self.rate()) };
            if let Some(first) = heard_from {
                let to = place(frames.end);
                *samples += sound.len() - first;
                if on_sound(Sound { samples: &sound[first..], says: from..to }).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                (begun, from) = (true, to);
            }
            let length = if begun { CHUNK } else { FIRST_CHUNK };
            frames = frames.end..(frames.end + length).min(latent.frames);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Makes the latent frames of a sentence.
    fn encode(&mut self, ids: &[i64]) -> Result<Latent, TtsError> {
        let failed = |why: String| TtsError::run(self.folder.join("encoder.onnx"), why);
        let outputs = run_encoder(&mut self.encoder, ids, &self.scales).map_err(|error| failed(error.to_string()))?;
        let (shape, numbers) = outputs[0].try_extract_tensor::<f32>().map_err(|error| failed(error.to_string()))?;
        match shape[..] {
            [1, channels, frames] if channels == LATENT as i64 && (0..=MAX_FRAMES as i64).contains(&frames) => {
                Ok(Latent { numbers: numbers.to_vec(), frames: frames as usize })
            }
            _ => Err(failed(format!(
                "it made frames of the shape {shape:?}; at most [1, {LATENT}, {MAX_FRAMES}] are used"
            ))),
        }
    }

    /// Makes the sound of the frames `wanted`.
    fn decode(&mut self, latent: &Latent, wanted: Range<usize>) -> Result<Vec<f32>, TtsError> {
        let failed = |why: String| TtsError::run(self.folder.join("decoder.onnx"), why);
        let seen = wanted.start.saturating_sub(CONTEXT)..(wanted.end + CONTEXT).min(latent.frames);
        let window = latent.window(&seen);
        let outputs = run_decoder(&mut self.decoder, &window, seen.len()).map_err(|error| failed(error.to_string()))?;
        let (_, sound) = outputs[0].try_extract_tensor::<f32>().map_err(|error| failed(error.to_string()))?;
        let from = (wanted.start - seen.start) * HOP;
        let sound = sound.get(from..from + wanted.len() * HOP);
        let sound = sound.ok_or_else(|| failed(format!("it made too little sound of {} frames", seen.len())))?;
        Ok(sound.iter().map(|sample| sample.clamp(-1.0, 1.0)).collect())
    }
}

fn run_encoder<'s>(session: &'s mut Session, ids: &[i64], scales: &[f32; 3]) -> ort::Result<SessionOutputs<'s>> {
    let lengths = [ids.len() as i64];
    session.run(ort::inputs![
        "input" => TensorRef::from_array_view(([1, ids.len()], ids))?,
        "input_lengths" => TensorRef::from_array_view(([1usize], &lengths[..]))?,
        "scales" => TensorRef::from_array_view(([3usize], &scales[..]))?,
    ])
}

fn run_decoder<'s>(session: &'s mut Session, window: &[f32], frames: usize) -> ort::Result<SessionOutputs<'s>> {
    session.run(ort::inputs![TensorRef::from_array_view(([1, LATENT, frames], window))?])
}

impl Latent {
    /// Copies the frames `range` of every channel.
    fn window(&self, range: &Range<usize>) -> Vec<f32> {
        let channels = self.numbers.chunks_exact(self.frames.max(1));
        channels.flat_map(|channel| &channel[range.clone()]).copied().collect()
    }
}

impl Settings {
    fn read(file: &Path) -> Result<Self, TtsError> {
        let refuse = |why: String| TtsError::Voice { file: file.to_owned(), why };
        let length = fs::metadata(file).map_err(|error| refuse(error.to_string()))?.len();
        if length > MAX_SETTINGS {
            return Err(refuse(format!("it has {length} bytes; at most {MAX_SETTINGS} are read")));
        }
        let text = fs::read(file).map_err(|error| refuse(error.to_string()))?;
        let other =
            |error: serde_json::Error| sniff::known(&text).map_or(error.to_string(), |what| format!("it is {what}"));
        let settings: Settings =
            serde_json::from_slice(sniff::without_mark(&text)).map_err(|error| refuse(other(error)))?;
        settings.check().map_err(refuse)?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        let rate = self.audio.sample_rate;
        if !(8_000..=48_000).contains(&rate) {
            return Err(format!("its sample rate is {rate}; 8000 to 48000 can be played"));
        }
        let inference = &self.inference;
        let scales = [inference.noise_scale, inference.length_scale, inference.noise_w];
        if scales.iter().any(|scale| !(0.0..=10.0).contains(scale)) || inference.length_scale == 0.0 {
            return Err(format!("its scales are {scales:?}; each must be between 0 and 10"));
        }
        let missing = ["^", "_", "$"].into_iter().find(|mark| !self.phoneme_id_map.contains_key(*mark));
        missing.map_or(Ok(()), |mark| Err(format!("its phoneme_id_map has no {mark:?}")))
    }

    /// Two-letter code of the language: as the voice states it, else from espeak-ng's name of it.
    fn language(&self) -> &str {
        if let Some(language) = &self.language {
            return &language.family;
        }
        match self.espeak.voice.split(['-', '_']).next().unwrap_or_default() {
            "cmn" => "zh",
            "nb" => "no",
            code => code,
        }
    }

    /// Converts phonemes to the voice's numbers: `^`, then each phoneme, then `$`, with `_` between
    /// all of them, as Piper's voices are trained: without the first `_` short sentences lose their
    /// first sound. Unknown phonemes are counted.
    fn ids(&self, phonemes: &[char], unknown: &mut usize) -> Vec<i64> {
        let of = |mark: &str| self.phoneme_id_map.get(mark).map_or(&[][..], Vec::as_slice);
        let mut ids = [of("^"), of("_")].concat();
        let mut name = [0; 4];
        for phoneme in phonemes {
            match self.phoneme_id_map.get(phoneme.encode_utf8(&mut name) as &str) {
                Some(known) => ids.extend(known.iter().chain(of("_"))),
                None => *unknown += 1,
            }
        }
        ids.extend(of("$"));
        ids
    }
}

/// Position of the first sample of `sound` to play; `None` where nothing in it is audible. A voice
/// is silent for some 50 ms before it speaks, at times for half a second; only [`BREATH`] of it is
/// kept.
fn behind_breath(sound: &[f32], rate: SampleRate) -> Option<usize> {
    let speech = sound.iter().position(|sample| sample.abs() >= AUDIBLE)?;
    Some(speech.saturating_sub(rate.samples(BREATH)))
}

/// Cuts a very long sentence at spaces.
fn parts(phonemes: &[char]) -> Vec<&[char]> {
    let mut parts = Vec::new();
    let mut rest = phonemes;
    while rest.len() > MAX_PHONEMES {
        let space = rest[..MAX_PHONEMES].iter().rposition(|c| *c == ' ').filter(|at| *at > 0);
        let (part, more) = rest.split_at(space.unwrap_or(MAX_PHONEMES));
        parts.push(part);
        rest = more;
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        serde_json::from_str(
            r#"{"audio": {"sample_rate": 22050}, "espeak": {"voice": "en-us"},
                "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
                "phoneme_id_map": {"^": [1], "_": [0], "$": [2], "a": [14], "b": [15, 16]}}"#,
        )
        .unwrap()
    }

    #[test]
    fn phonemes_become_padded_numbers() {
        let mut unknown = 0;
        assert_eq!(settings().ids(&['a', '?', 'b'], &mut unknown), [1, 0, 14, 0, 15, 16, 0, 2]);
        assert_eq!(unknown, 1);
    }

    #[test]
    fn a_voice_names_its_language() {
        let mut settings = settings();
        for (espeak, family, code) in
            [("en-us", None, "en"), ("cmn", None, "zh"), ("de", None, "de"), ("cmn", Some("zh"), "zh")]
        {
            settings.espeak.voice = espeak.to_owned();
            settings.language = family.map(|family: &str| LanguageSettings { family: family.to_owned() });
            assert_eq!(settings.language(), code);
        }
    }

    #[test]
    fn impossible_settings_are_refused() {
        let broken = |change: &dyn Fn(&mut Settings)| {
            let mut settings = settings();
            change(&mut settings);
            settings.check().unwrap_err()
        };
        assert!(broken(&|s| s.audio.sample_rate = 1).contains("sample rate"));
        assert!(broken(&|s| s.inference.length_scale = 0.0).contains("scales"));
        assert!(broken(&|s| s.inference.noise_w = f32::NAN).contains("scales"));
        assert!(broken(&|s| drop(s.phoneme_id_map.remove("^"))).contains("phoneme_id_map"));
    }

    #[test]
    fn long_sentences_are_parted_at_spaces() {
        let phonemes: Vec<char> = "abc ".repeat(500).chars().collect();
        let parts = parts(&phonemes);
        assert_eq!(parts.concat(), phonemes);
        assert!(parts.len() == 3 && parts.iter().all(|part| part.len() <= MAX_PHONEMES));
        assert!(parts[1..].iter().all(|part| part[0] == ' '));
        assert!(super::parts(&[]).is_empty());
        assert_eq!(super::parts(&['a'; 2000]).len(), 3);
    }

    #[test]
    fn silence_before_speech_is_left_out() {
        let rate = SampleRate(1000);
        let speaks_at = |at: usize| (0..100).map(|n| if n < at { 0.002 } else { -0.004 }).collect::<Vec<f32>>();
        for (at, first) in [(0, Some(0)), (3, Some(0)), (50, Some(45)), (99, Some(94)), (100, None)] {
            assert_eq!(behind_breath(&speaks_at(at), rate), first);
        }
    }

    #[test]
    fn a_window_takes_the_same_frames_of_every_channel() {
        let latent = Latent { numbers: (0..12).map(|n| n as f32).collect(), frames: 4 };
        assert_eq!(latent.window(&(1..3)), [1.0, 2.0, 5.0, 6.0, 9.0, 10.0]);
    }
}
