//! Loads the stages that the plan names, each under a permit of the memory budget.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context;

use super::stage::{Result, Stages};
use crate::asr::Whisper;
use crate::config::{self, Backend, Plan};
use crate::hear::SileroVad;
use crate::llm::checkpoint::CONFIG;
use crate::llm::{Chat, ChatSettings, Conversation, Llm, PromptCache, prompts_dir};
use crate::memory::{Budget, Permit};
use crate::onnx::Onnx;
use crate::store::{Store, StoreError};
use crate::tts::Voice;
use crate::types::Bytes;

/// A part of the pipeline that holds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The library that the detector and the speaker run on.
    Runtime,
    Detector,
    Recogniser,
    Thinker,
    Speaker,
}

impl Part {
    /// In the order in which they are loaded one after the other.
    pub const ALL: [Part; 5] = [Part::Runtime, Part::Detector, Part::Recogniser, Part::Thinker, Part::Speaker];

    /// What the part does, for a person.
    pub fn task(self) -> &'static str {
        match self {
            Part::Runtime => "ONNX Runtime",
            Part::Detector => "voice activity",
            Part::Recogniser => "speech recognition",
            Part::Thinker => "language model",
            Part::Speaker => "voice",
        }
    }

    /// The catalogue name of the model that does it.
    pub fn model(self, plan: &Plan) -> &str {
        match self {
            Part::Runtime => RUNTIME,
            Part::Detector => &plan.hear.model,
            Part::Recogniser => &plan.asr.model,
            Part::Thinker => &plan.llm.model,
            Part::Speaker => &plan.tts.voice,
        }
    }
}

/// The catalogue name of the library that runs the voice and voice activity.
const RUNTIME: &str = "onnxruntime";

/// What a part will hold when it is loaded.
#[derive(Clone, Debug)]
pub struct PartPlan {
    pub part: Part,
    pub model: String,
    pub planned: Bytes,
    /// Whether the figure was read off the installed files, or is the catalogue's.
    pub installed: bool,
}

/// Finds, admits and loads models.
pub struct Loader {
    plan: Plan,
    /// The language model of the profile, where another stands in for it because it is not installed.
    absent: Option<String>,
    store: Store,
    budget: Budget,
    /// The library stays for the life of the process, and so does its permit.
    onnx: Mutex<Option<(Onnx, Permit)>>,
    notes: Mutex<Vec<String>>,
}

impl Loader {
    /// Where the profile's language model is not installed and the one that may stand in for it is, that is the one.
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

    /// What there is to say to a person about the loading so far.
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// What is loaded: as the user wants it, but for a stand-in.
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

    /// Refuses a pipeline that names a model nobody knows, whether or not its models are here.
    pub fn check_names(&self) -> Result<()> {
        for part in Part::ALL {
            let model = part.model(&self.plan);
            if local(part, model).is_none() {
                self.store.catalogue().find(model)?;
            }
        }
        Ok(())
    }

    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What `part` will hold. A model that is not installed is planned with the catalogue's figure.
    pub fn planned(&self, part: Part) -> Result<PartPlan> {
        let model = part.model(&self.plan);
        if let Some(path) = local(part, model) {
            let planned = self.planned_from_files(part)?;
            return Ok(PartPlan { part, model: model.to_owned(), planned, installed: path.exists() });
        }
        let entry = self.store.catalogue().find(model)?;
        let installed = self.store.locate(model).is_ok();
        let planned = if installed { self.planned_from_files(part)? } else { entry.loaded_bytes() };
        Ok(PartPlan { part, model: model.to_owned(), planned, installed })
    }

    /// Refuses what does not fit as a whole, before anything is loaded.
    pub fn admit(&self, parts: &[Part]) -> Result<()> {
        let plans = parts.iter().map(|part| self.planned(*part)).collect::<Result<Vec<_>>>()?;
        let wanted = Bytes(plans.iter().map(|plan| plan.planned.0).sum());
        let each: Vec<_> = plans.iter().map(|plan| format!("{} {}", plan.model, plan.planned)).collect();
        let _fits = self.budget.reserve(&format!("the pipeline ({})", each.join(", ")), wanted)?;
        Ok(())
    }

    /// Loads every stage. The voice, which takes longest, loads beside the others. `loaded` hears of each.
    pub fn stages(&self, loaded: &(dyn Fn(Part) + Sync)) -> Result<Stages> {
        self.admit(&Part::ALL)?;
        std::thread::scope(|scope| {
            let speaker = scope.spawn(|| self.speaker().inspect(|_| loaded(Part::Speaker)));
            let detector = self.detector().inspect(|_| loaded(Part::Detector))?;
            let recogniser = self.recogniser().inspect(|_| loaded(Part::Recogniser))?;
            let thinker = self.thinker().inspect(|_| loaded(Part::Thinker))?;
            let speaker = speaker.join().map_err(|_| anyhow::anyhow!("loading the voice panicked"))??;
            Ok(Stages {
                detector: Box::new(detector),
                recogniser: Box::new(recogniser),
                thinker: Box::new(thinker),
                speaker: Box::new(speaker),
            })
        })
    }

    pub fn detector(&self) -> Result<SileroVad> {
        let onnx = self.onnx()?;
        let permit = self.permit(Part::Detector)?;
        Ok(SileroVad::load(&onnx, &self.file(Part::Detector)?, permit)?)
    }

    pub fn recogniser(&self) -> Result<Whisper> {
        let (model, plan) = (self.file(Part::Recogniser)?, &self.plan.asr);
        if !self.runs_graphs(&model) {
            return Ok(Whisper::load(&model, plan, self.permit(Part::Recogniser)?)?);
        }
        let onnx = self.onnx()?;
        Ok(Whisper::load_graphs(&onnx, &model, plan, self.permit(Part::Recogniser)?)?)
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
    pub fn thinker(&self) -> Result<Conversation> {
        let mut conversation = Conversation::new(self.llm()?)?;
        match prompts_dir(|name| std::env::var_os(name)) {
            Some(dir) => self.note(&conversation.warm_up_from(&PromptCache::open(&dir, self.plan.llm.prompt_cache))),
            None => drop(conversation.warm_up()?),
        }
        Ok(conversation)
    }

    /// The language model alone, for work on tokens.
    pub fn llm(&self) -> Result<Llm> {
        let permit = self.permit(Part::Thinker)?;
        Ok(Llm::load(&self.file(Part::Thinker)?, &self.plan.llm, permit)?)
    }

    /// The language model alone, for messages.
    pub fn chat(&self) -> Result<Chat> {
        let config::Llm { threads, context, kv, speculation, prompt_cache, .. } = self.plan.llm;
        let settings = ChatSettings {
            threads,
            context: Some(context),
            kv,
            speculation,
            budget: self.budget.clone(),
            prompt_cache: prompts_dir(|name| std::env::var_os(name)).map(|dir| (dir, prompt_cache)),
        };
        Ok(Chat::from_pretrained(self.file(Part::Thinker)?, settings)?)
    }

    pub fn speaker(&self) -> Result<Voice> {
        let onnx = self.onnx()?;
        let permit = self.permit(Part::Speaker)?;
        let mut voice = Voice::load(&onnx, &self.file(Part::Speaker)?, &self.plan.tts, permit)?;
        voice.warm_up()?;
        Ok(voice)
    }

    /// The library, opened under its permit when first asked for.
    pub fn onnx(&self) -> Result<Onnx> {
        let mut opened = self.onnx.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((onnx, _permit)) = &*opened {
            return Ok(onnx.clone());
        }
        let permit = self.permit(Part::Runtime)?;
        let onnx = Onnx::open(&self.file(Part::Runtime)?)?;
        *opened = Some((onnx.clone(), permit));
        Ok(onnx)
    }

    fn permit(&self, part: Part) -> Result<Permit> {
        Ok(self.budget.reserve(part.model(&self.plan), self.planned(part)?.planned)?)
    }

    fn planned_from_files(&self, part: Part) -> Result<Bytes> {
        let file = self.file(part)?;
        Ok(match part {
            Part::Runtime => self.store.catalogue().find(RUNTIME)?.loaded_bytes(),
            Part::Detector => SileroVad::planned_bytes(),
            Part::Recogniser if self.runs_graphs(&file) => Whisper::planned_bytes_of_graphs(&file)?,
            Part::Recogniser => Whisper::planned_bytes(&file)?,
            Part::Thinker => Llm::planned_bytes(&file, &self.plan.llm)?,
            Part::Speaker => Voice::planned_bytes(&file)?,
        })
    }

    /// The file to load, or for a voice or a checkpoint the folder of its files.
    fn file(&self, part: Part) -> Result<PathBuf> {
        let model = part.model(&self.plan);
        if let Some(path) = local(part, model) {
            return Ok(path);
        }
        let installed = self.store.locate(model).with_context(|| format!("{} needs {model}", part.task()))?;
        Ok(match part {
            Part::Speaker => installed.dir,
            Part::Thinker if installed.names().any(|name| name == CONFIG) => installed.dir,
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
pub fn local(part: Part, model: &str) -> Option<PathBuf> {
    let may = matches!(part, Part::Recogniser | Part::Thinker | Part::Speaker);
    (may && model.contains(['/', std::path::MAIN_SEPARATOR])).then(|| PathBuf::from(model))
}
