//! Loads the stages that the plan names, each under a permit of the memory budget.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context;

use super::models::SharedLanguageModel;
use super::stage::{Result, StageLoader, Stages, TurnDetector, WakeWordDetector};
use crate::asr::Whisper;
use crate::config::{self, Backend, Plan};
use crate::detect::{SileroVad, SmartTurn, WakeFeatures, WakeWordModel};
use crate::llm::checkpoint::CONFIG;
use crate::llm::{Chat, ChatSettings, Llm, PromptCache, prompts_dir};
use crate::memory::{self, Budget, Permit};
use crate::onnx::Onnx;
use crate::store::{Store, StoreError, TurnModels};
use crate::tts::{TtsError, Voice, Voices};
use crate::turn::TurnWeights;
use crate::types::Bytes;

/// A part of the pipeline that holds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelPart {
    /// The library that the detector, the turn detector and the speaker run on.
    Runtime,
    VoiceActivityDetector,
    TurnDetector,
    /// Feature extractor that all wake words share.
    WakeFeatures,
    WakeWord,
    Transcriber,
    LanguageModel,
    Voice,
}

impl ModelPart {
    /// In the order in which they are loaded one after the other.
    const ALL: [ModelPart; 8] = [
        ModelPart::Runtime,
        ModelPart::VoiceActivityDetector,
        ModelPart::TurnDetector,
        ModelPart::WakeFeatures,
        ModelPart::WakeWord,
        ModelPart::Transcriber,
        ModelPart::LanguageModel,
        ModelPart::Voice,
    ];

    /// The parts that `plan` wants for `purpose`, in the order in which they are loaded one after
    /// the other.
    pub fn of(plan: &Plan, purpose: Purpose) -> Vec<ModelPart> {
        let wanted = |part: &ModelPart| match part {
            ModelPart::TurnDetector => plan.detect.end_of_turn.is_some(),
            ModelPart::WakeFeatures | ModelPart::WakeWord => {
                purpose == Purpose::Conversation && plan.detect.wake_word.is_some()
            }
            _ => true,
        };
        ModelPart::ALL.into_iter().filter(wanted).collect()
    }

    /// Task of the part, for a person.
    pub fn task(self) -> &'static str {
        match self {
            ModelPart::Runtime => "ONNX Runtime",
            ModelPart::VoiceActivityDetector => "voice activity",
            ModelPart::TurnDetector => "end of turn",
            ModelPart::WakeFeatures => "wake word features",
            ModelPart::WakeWord => "wake word",
            ModelPart::Transcriber => "speech recognition",
            ModelPart::LanguageModel => "language model",
            ModelPart::Voice => "voice",
        }
    }

    /// The catalogue name of the model that does it, or its path; empty where the plan does
    /// without.
    pub fn model(self, plan: &Plan) -> &str {
        match self {
            ModelPart::Runtime => RUNTIME,
            ModelPart::VoiceActivityDetector => &plan.detect.voice_activity,
            ModelPart::TurnDetector => plan.detect.end_of_turn.as_deref().unwrap_or_default(),
            ModelPart::WakeFeatures => WAKE_FEATURES,
            ModelPart::WakeWord => plan.detect.wake_word.as_ref().map(|word| word.model.as_str()).unwrap_or_default(),
            ModelPart::Transcriber => &plan.asr.model,
            ModelPart::LanguageModel => &plan.llm.model,
            ModelPart::Voice => &plan.tts.voice,
        }
    }
}

/// Use for which the parts are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Questions from files, in which nobody says a wake word.
    Questions,
    /// A conversation with a microphone.
    Conversation,
}

/// The catalogue name of the library that runs the ONNX models.
const RUNTIME: &str = "onnxruntime";
/// Address space that whisper.cpp maps beyond what it holds, roughly. It ends the program where it
/// gets nothing, so it is asked for before.
const WHISPER_CPP_SLACK: Bytes = Bytes::mib(512);
/// Catalogue name of the feature extractor that all wake words share.
const WAKE_FEATURES: &str = "openwakeword";

/// Memory of a part once it is loaded.
#[derive(Clone, Debug)]
pub struct ModelPartPlan {
    pub part: ModelPart,
    pub model: String,
    pub planned: Bytes,
    /// Whether the figure was read off the installed files, or is the catalogue's.
    pub installed: bool,
}

/// Finds, admits and loads models.
pub struct Loader {
    plan: Plan,
    /// The language model of the profile, where another stands in for it because it is not
    /// installed.
    absent: Option<String>,
    store: Store,
    budget: Budget,
    /// The library stays for the life of the process, and so does its permit.
    onnx: Mutex<Option<(Onnx, Permit)>>,
    notes: Mutex<Vec<String>>,
}

impl Loader {
    /// Stand-in: where the profile's language model is not installed and the one that may replace
    /// it is, that is the one.
    pub fn new(mut plan: Plan, store: Store) -> Self {
        let budget = Budget::new(plan.memory.budget);
        let stand_in = stand_in(&plan, &store);
        let absent = stand_in.map(|other| std::mem::replace(&mut plan.llm.model, other));
        Loader { plan, absent, store, budget, onnx: Mutex::new(None), notes: Mutex::default() }
    }

    fn note(&self, notes: &[impl ToString]) {
        let mut own = self.notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        own.extend(notes.iter().map(ToString::to_string));
    }

    /// Notes for a person about the loading so far.
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// Plan that is loaded: the user's, except for a stand-in.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The line for a person whose profile's language model is not the one that answers.
    pub fn stand_in_note(&self) -> Option<String> {
        let (absent, present) = (self.absent.as_ref()?, &self.plan.llm.model);
        Some(format!(
            "{absent} is not installed, so {present} answers; \"sotto models pull\" fetches it from the model hub"
        ))
    }

    /// The models that say whether a turn is over.
    pub fn turn_models(&self) -> TurnModels<'_> {
        let Plan { detect, asr, llm, .. } = &self.plan;
        TurnModels { end_of_turn: detect.end_of_turn.as_deref(), asr: &asr.model, llm: &llm.model }
    }

    /// The weights of turn taking that were fitted to these models, if some were.
    pub fn turn_weights(&self) -> Option<TurnWeights> {
        self.store.catalogue().turn_weights().find(self.turn_models())
    }

    /// The line for a person whose models have no weights.
    pub fn weights_note(&self) -> Option<String> {
        let unfitted = self.turn_weights().is_none();
        unfitted.then(|| {
            format!(
                "the weights of turn taking were not fitted to {}: a turn ends after possible_silence_ms of [turn] at the earliest",
                self.turn_models()
            )
        })
    }

    /// Refuses a pipeline that names a model nobody knows, whether or not its models are here.
    pub fn check_names(&self) -> Result<()> {
        for part in ModelPart::of(&self.plan, Purpose::Conversation) {
            let model = part.model(&self.plan);
            match part {
                _ if local(part, model).is_some() => {}
                ModelPart::WakeWord => drop(self.store.catalogue().wake_word(model)?),
                _ => drop(self.store.catalogue().find(model)?),
            }
        }
        for voice in self.voices().filter(|voice| local(ModelPart::Voice, voice).is_none()) {
            self.store.catalogue().find(voice)?;
        }
        Ok(())
    }

    /// Refuses a fixed language that no voice speaks.
    pub fn check_language(&self) -> Result<()> {
        match &self.plan.asr.language {
            Some(language) => self.voice_for(language).map(drop).context("[asr] language cannot be answered"),
            None => Ok(()),
        }
    }

    /// The first voice that speaks `language`.
    fn voice_for(&self, language: &str) -> Result<&str> {
        let mut known = Vec::new();
        for voice in self.voices() {
            let speaks = Voice::language_of(&self.voice_folder(voice)?)?;
            if speaks == language {
                return Ok(voice);
            }
            known.push(format!("{voice} speaks \"{speaks}\""));
        }
        Err(TtsError::NobodySpeaks { language: language.to_owned(), voices: known.join(", ") }.into())
    }

    /// Whether every voice is here.
    pub fn has_voices(&self) -> bool {
        self.voices().all(|voice| self.voice_folder(voice).is_ok_and(|folder| folder.exists()))
    }

    /// The voices' settings, the main one first.
    fn voices(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.plan.tts.voice).chain(&self.plan.tts.voices).map(String::as_str)
    }

    fn voice_folder(&self, voice: &str) -> Result<PathBuf> {
        if let Some(path) = local(ModelPart::Voice, voice) {
            return Ok(path);
        }
        let installed =
            self.store.locate(voice).with_context(|| format!("{} needs {voice}", ModelPart::Voice.task()))?;
        Ok(installed.dir)
    }

    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Memory of `part`. A model that is not installed is planned with the catalogue's figure.
    pub fn planned(&self, part: ModelPart) -> Result<ModelPartPlan> {
        if part == ModelPart::Voice {
            return self.planned_voices();
        }
        let model = part.model(&self.plan);
        if let Some(path) = local(part, model) {
            let planned = self.planned_from_files(part)?;
            return Ok(ModelPartPlan { part, model: model.to_owned(), planned, installed: path.exists() });
        }
        let entry = self.store.catalogue().find(model)?;
        let installed = self.store.locate(model).is_ok();
        let planned = if installed { self.planned_from_files(part)? } else { entry.loaded_bytes() };
        Ok(ModelPartPlan { part, model: model.to_owned(), planned, installed })
    }

    /// All of them together: which one is needed is known when a question comes, and loading takes
    /// longer than a person waits for an answer.
    fn planned_voices(&self) -> Result<ModelPartPlan> {
        let plans = self.voices().map(|voice| self.planned_voice(voice)).collect::<Result<Vec<_>>>()?;
        let model = self.voices().collect::<Vec<_>>().join(", ");
        let planned = Bytes(plans.iter().map(|(bytes, _)| bytes.0).sum());
        Ok(ModelPartPlan {
            part: ModelPart::Voice,
            model,
            planned,
            installed: plans.iter().all(|(_, installed)| *installed),
        })
    }

    /// Memory of one voice, and whether it is installed.
    fn planned_voice(&self, voice: &str) -> Result<(Bytes, bool)> {
        if local(ModelPart::Voice, voice).is_none() && self.store.locate(voice).is_err() {
            return Ok((self.store.catalogue().find(voice)?.loaded_bytes(), false));
        }
        Ok((Voice::planned_bytes(&self.voice_folder(voice)?)?, true))
    }

    /// Refuses what does not fit as a whole, before anything is loaded.
    pub fn admit(&self, parts: &[ModelPart]) -> Result<()> {
        let plans = parts.iter().map(|part| self.planned(*part)).collect::<Result<Vec<_>>>()?;
        let wanted = Bytes(plans.iter().map(|plan| plan.planned.0).sum());
        let each: Vec<_> = plans.iter().map(|plan| format!("{} {}", plan.model, plan.planned)).collect();
        let _fits = self.reserve(&format!("the pipeline ({})", each.join(", ")), wanted)?;
        Ok(())
    }

    /// Loads every stage; a stage that fails later loads its model in the same way. The voice,
    /// which takes longest, loads beside the others. `loaded` hears of each.
    pub fn stages(self: &Arc<Self>, purpose: Purpose, loaded: &(dyn Fn(ModelPart) + Sync)) -> Result<Stages> {
        let parts = ModelPart::of(&self.plan, purpose);
        self.check_language()?;
        self.admit(&parts)?;
        std::thread::scope(|scope| {
            let synthesizer = scope.spawn(|| self.synthesizer().inspect(|_| loaded(ModelPart::Voice)));
            let voice_activity = self.voice_activity().inspect(|_| loaded(ModelPart::VoiceActivityDetector))?;
            let turn_detector = parts
                .contains(&ModelPart::TurnDetector)
                .then(|| self.turn_detector().inspect(|_| loaded(ModelPart::TurnDetector)))
                .transpose()?;
            let wake_word =
                parts.contains(&ModelPart::WakeWord).then(|| self.wake_word_detector(loaded)).transpose()?;
            let transcriber = self.transcriber().inspect(|_| loaded(ModelPart::Transcriber))?;
            let language_model = self.language_model().inspect(|_| loaded(ModelPart::LanguageModel))?;
            let synthesizer = synthesizer.join().map_err(|_| anyhow::anyhow!("loading the voice panicked"))??;
            Ok(Stages {
                voice_activity: self.reloading(Box::new(voice_activity), |it| Ok(Box::new(it.voice_activity()?))),
                turn_detector: turn_detector.map(|model| {
                    self.reloading::<dyn TurnDetector>(Box::new(model), |it| Ok(Box::new(it.turn_detector()?)))
                }),
                wake_word: wake_word.map(|model| {
                    self.reloading::<dyn WakeWordDetector>(Box::new(model), |it| {
                        Ok(Box::new(it.wake_word_detector(&|_| ())?))
                    })
                }),
                transcriber: self.reloading(Box::new(transcriber), |it| Ok(Box::new(it.transcriber()?))),
                language_model: self.reloading(Box::new(language_model), |it| Ok(Box::new(it.language_model()?))),
                synthesizer: self.reloading(Box::new(synthesizer), |it| Ok(Box::new(it.synthesizer()?))),
                turn_weights: self.turn_weights(),
            })
        })
    }

    /// A loaded model, which `load` loads again where that is needed.
    fn reloading<M: ?Sized + 'static>(
        self: &Arc<Self>,
        model: Box<M>,
        load: impl Fn(&Loader) -> Result<Box<M>> + Send + Sync + 'static,
    ) -> StageLoader<M> {
        let loader = Arc::clone(self);
        StageLoader::loaded(model, move || load(&loader))
    }

    pub fn voice_activity(&self) -> Result<SileroVad> {
        let onnx = self.onnx()?;
        let permit = self.permit(ModelPart::VoiceActivityDetector)?;
        Ok(SileroVad::load(&onnx, &self.file(ModelPart::VoiceActivityDetector)?, permit)?)
    }

    pub fn turn_detector(&self) -> Result<SmartTurn> {
        let onnx = self.onnx()?;
        let permit = self.permit(ModelPart::TurnDetector)?;
        Ok(SmartTurn::load(&onnx, &self.file(ModelPart::TurnDetector)?, permit)?)
    }

    pub fn wake_features(&self) -> Result<WakeFeatures> {
        let onnx = self.onnx()?;
        let permit = self.permit(ModelPart::WakeFeatures)?;
        Ok(WakeFeatures::load(&onnx, &self.file(ModelPart::WakeFeatures)?, permit)?)
    }

    /// The wake word, heard through `features`.
    pub fn wake_word(&self, features: WakeFeatures) -> Result<WakeWordModel> {
        let onnx = self.onnx()?;
        let permit = self.permit(ModelPart::WakeWord)?;
        Ok(WakeWordModel::load(&onnx, features, &self.file(ModelPart::WakeWord)?, permit)?)
    }

    fn wake_word_detector(&self, loaded: &(dyn Fn(ModelPart) + Sync)) -> Result<WakeWordModel> {
        let features = self.wake_features().inspect(|_| loaded(ModelPart::WakeFeatures))?;
        self.wake_word(features).inspect(|_| loaded(ModelPart::WakeWord))
    }

    pub fn transcriber(&self) -> Result<Whisper> {
        let (model, plan) = (self.file(ModelPart::Transcriber)?, &self.plan.asr);
        if !self.runs_graphs(&model) {
            let permit = self.permit(ModelPart::Transcriber)?;
            memory::check_room(&plan.model, Bytes(permit.bytes().0 + WHISPER_CPP_SLACK.0))?;
            return Ok(Whisper::load(&model, plan, permit)?);
        }
        let onnx = self.onnx()?;
        Ok(Whisper::load_graphs(&onnx, &model, plan, self.permit(ModelPart::Transcriber)?)?)
    }

    /// Whether the Whisper model is run by ONNX Runtime.
    fn runs_graphs(&self, model: &Path) -> bool {
        match self.plan.asr.backend {
            Backend::Auto => Whisper::has_graphs(model),
            Backend::Onnx => true,
            Backend::WhisperCpp => false,
        }
    }

    /// The language model with the system prompt computed.
    pub fn language_model(&self) -> Result<SharedLanguageModel> {
        let mut llm = self.llm()?;
        if let Some(dir) = prompts_dir(|name| std::env::var_os(name)) {
            llm.set_prompt_cache(PromptCache::open(&dir, self.plan.llm.prompt_cache));
        }
        let mut model = SharedLanguageModel::new(llm, &self.plan.llm)?;
        self.note(&model.take_cache_notes());
        Ok(model)
    }

    /// The language model alone, for work on tokens.
    pub fn llm(&self) -> Result<Llm> {
        let permit = self.permit(ModelPart::LanguageModel)?;
        let llm = Llm::load(&self.file(ModelPart::LanguageModel)?, &self.plan.llm, permit)?;
        self.note(llm.notes());
        Ok(llm)
    }

    /// The language model alone, for messages.
    pub fn chat(&self) -> Result<Chat> {
        memory::check_room(&self.plan.llm.model, self.planned(ModelPart::LanguageModel)?.planned)?;
        let config::LlmPlan { threads, context, kv_cache, speculative_decoding, prompt_cache, .. } = self.plan.llm;
        let settings = ChatSettings {
            threads,
            context,
            kv_cache,
            speculative_decoding,
            budget: self.budget.clone(),
            prompt_cache: prompts_dir(|name| std::env::var_os(name)).map(|dir| (dir, prompt_cache)),
        };
        Ok(Chat::from_pretrained(self.file(ModelPart::LanguageModel)?, settings)?)
    }

    /// Every voice.
    pub fn synthesizer(&self) -> Result<Voices> {
        let main = self.load_voice(&self.plan.tts.voice)?;
        let others = self.plan.tts.voices.iter().map(|voice| self.load_voice(voice)).collect::<Result<_>>()?;
        Ok(Voices::new(main, others)?)
    }

    /// The voice for `language` alone, or the main one.
    pub fn voice_of(&self, language: Option<&str>) -> Result<Voice> {
        self.load_voice(language.map_or(Ok(self.plan.tts.voice.as_str()), |language| self.voice_for(language))?)
    }

    fn load_voice(&self, voice: &str) -> Result<Voice> {
        let onnx = self.onnx()?;
        let permit = self.reserve(voice, self.planned_voice(voice)?.0)?;
        let mut voice = Voice::load(&onnx, &self.voice_folder(voice)?, &self.plan.tts, permit)?;
        voice.warm_up()?;
        Ok(voice)
    }

    /// The library, opened under its permit when first asked for.
    pub fn onnx(&self) -> Result<Onnx> {
        let mut opened = self.onnx.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((onnx, _permit)) = &*opened {
            return Ok(onnx.clone());
        }
        let permit = self.permit(ModelPart::Runtime)?;
        let onnx = Onnx::open(&self.file(ModelPart::Runtime)?)?;
        *opened = Some((onnx.clone(), permit));
        Ok(onnx)
    }

    fn permit(&self, part: ModelPart) -> Result<Permit> {
        self.reserve(part.model(&self.plan), self.planned(part)?.planned)
    }

    /// Asks the budget, and the system where it limits this process.
    fn reserve(&self, what: &str, bytes: Bytes) -> Result<Permit> {
        let permit = self.budget.reserve(what, bytes)?;
        memory::check_room(what, bytes)?;
        Ok(permit)
    }

    fn planned_from_files(&self, part: ModelPart) -> Result<Bytes> {
        let file = self.file(part)?;
        Ok(match part {
            ModelPart::Runtime => self.store.catalogue().find(RUNTIME)?.loaded_bytes(),
            ModelPart::VoiceActivityDetector => SileroVad::planned_bytes(),
            ModelPart::TurnDetector => SmartTurn::planned_bytes(),
            ModelPart::WakeFeatures => WakeFeatures::planned_bytes(),
            ModelPart::WakeWord => WakeWordModel::planned_bytes(),
            ModelPart::Transcriber if self.runs_graphs(&file) => Whisper::planned_bytes_of_graphs(&file)?,
            ModelPart::Transcriber => Whisper::planned_bytes(&file)?,
            ModelPart::LanguageModel => Llm::planned_bytes(&file, &self.plan.llm)?,
            ModelPart::Voice => self.planned_voices()?.planned,
        })
    }

    /// The file to load, or the folder of its files for a voice, a checkpoint and what wake words
    /// are heard through.
    fn file(&self, part: ModelPart) -> Result<PathBuf> {
        let model = part.model(&self.plan);
        if let Some(path) = local(part, model) {
            return Ok(path);
        }
        let installed = self.store.locate(model).with_context(|| format!("{} needs {model}", part.task()))?;
        Ok(match part {
            ModelPart::WakeFeatures => installed.dir,
            ModelPart::LanguageModel if installed.names().any(|name| name == CONFIG) => installed.dir,
            _ => installed.first_file(),
        })
    }
}

fn stand_in(plan: &Plan, store: &Store) -> Option<String> {
    let other = plan.models.stand_in.as_ref()?;
    let absent = matches!(store.locate(&plan.llm.model), Err(StoreError::Missing { .. }));
    (absent && store.locate(other).is_ok()).then(|| other.clone())
}

/// A model that lies somewhere of its own: its setting is a path and no name of the catalogue.
pub fn local(part: ModelPart, model: &str) -> Option<PathBuf> {
    let may =
        matches!(part, ModelPart::WakeWord | ModelPart::Transcriber | ModelPart::LanguageModel | ModelPart::Voice);
    (may && model.contains(['/', std::path::MAIN_SEPARATOR])).then(|| PathBuf::from(model))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{Flag, Sources};
    use crate::store::{Catalogue, HubEnv};

    /// A loader with voices of these languages in folders of their own, the first of them the main
    /// one.
    fn loader(home: &std::path::Path, asr: &str, languages: &[&str]) -> Loader {
        let voice = |language: &&str| {
            let folder = home.join(language);
            fs::create_dir_all(&folder).unwrap();
            let settings = format!(
                r#"{{"audio": {{"sample_rate": 22050}}, "espeak": {{"voice": "{language}"}},
                "inference": {{"noise_scale": 0.6, "length_scale": 1, "noise_w": 0.8}},
                "phoneme_id_map": {{"^": [1], "_": [0], "$": [2]}}}}"#
            );
            fs::write(folder.join("voice.json"), settings).unwrap();
            for half in ["encoder.onnx", "decoder.onnx"] {
                fs::write(folder.join(half), [0; 1000]).unwrap();
            }
            folder.to_str().unwrap().to_owned()
        };
        let voices: Vec<_> = languages.iter().map(voice).collect();
        let settings =
            [("asr.language", asr.to_owned()), ("tts.voice", voices[0].clone()), ("tts.voices", voices[1..].join(","))];
        let flag = |(path, value): (&str, String)| Flag { path: path.to_owned(), value, name: path.to_owned() };
        let flags = settings.map(flag).to_vec();
        let plan = config::load(&Sources { flags, cores: 1, ..Sources::default() }).unwrap().plan;
        let hub = HubEnv::from_env();
        Loader::new(plan, Store::open(Catalogue::builtin(), home.join("models"), hub).unwrap())
    }

    #[test]
    fn a_fixed_language_needs_a_voice() {
        let home = tempfile::tempdir().unwrap();
        for (asr, languages, fine) in [
            ("de", &["en-us", "de"][..], true),
            ("en", &["de", "en-us"], true),
            ("zh", &["cmn"], true),
            ("auto", &["en-us"], true),
            ("de", &["en-us", "fr"], false),
        ] {
            assert_eq!(loader(home.path(), asr, languages).check_language().is_ok(), fine, "{asr} {languages:?}");
        }
        let refusal = format!("{:#}", loader(home.path(), "de", &["en-us"]).check_language().unwrap_err());
        for part in ["[asr] language", "\"de\"", "en-us speaks \"en\"", "sotto models import piper", "[tts] voices"] {
            assert!(refusal.contains(part), "{refusal}");
        }
        assert!(loader(home.path(), "de", &["en-us"]).has_voices());
    }

    #[test]
    fn weights_hold_for_the_models_they_were_fitted_to() {
        let home = tempfile::tempdir().unwrap();
        let loader = |settings: &[(&str, &str)]| {
            let flag =
                |&(path, value): &(&str, &str)| Flag { path: path.into(), value: value.into(), name: path.into() };
            let flags = settings.iter().map(flag).collect();
            let plan = config::load(&Sources { flags, cores: 1, ..Sources::default() }).unwrap().plan;
            Loader::new(plan, Store::open(Catalogue::builtin(), home.path().into(), HubEnv::from_env()).unwrap())
        };
        let starter = loader(&[]);
        assert!(starter.turn_weights().is_some());
        assert_eq!(starter.weights_note(), None);
        for (path, model) in
            [("llm.model", "./own.gguf"), ("asr.model", "whisper-tiny.en"), ("llm.model", "smollm2-135m")]
        {
            let other = loader(&[(path, model)]);
            assert_eq!(other.turn_weights(), None, "{model}");
            let note = other.weights_note().unwrap();
            assert!(note.contains(model) && note.contains("possible_silence_ms"), "{note}");
        }
    }

    #[test]
    fn every_voice_counts() {
        let home = tempfile::tempdir().unwrap();
        let planned = |languages: &[&str]| loader(home.path(), "auto", languages).planned(ModelPart::Voice).unwrap();
        let (one, two) = (planned(&["en-us"]), planned(&["en-us", "de"]));
        assert_eq!(two.planned.0, 2 * one.planned.0);
        assert!(two.installed && two.model.contains("en-us, "), "{}", two.model);
    }
}
