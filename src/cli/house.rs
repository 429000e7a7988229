//! What every mode needs: the checked plan, the store and a loader, made once and when first asked for.

use std::cell::OnceCell;

use super::talk::Talk;
use crate::config::Plan;
use crate::pipeline::{EngineQuantizer, Loader, Result};
use crate::store::{Catalogue, HubEnv, Store, models_dir};

pub struct House {
    plan: Plan,
    talk: Talk,
    loader: OnceCell<Loader>,
}

impl House {
    pub fn new(plan: Plan, talk: Talk) -> Self {
        House { plan, talk, loader: OnceCell::new() }
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn talk(&self) -> &Talk {
        &self.talk
    }

    pub fn store(&self) -> Result<Store> {
        let dir = models_dir(self.plan.models.dir.as_deref(), |name| std::env::var_os(name))?;
        let store = Store::open(Catalogue::builtin(), dir, HubEnv::from_env())?;
        Ok(store.with_quantizer(EngineQuantizer { unfinished: super::signals::unfinished }))
    }

    /// The loader, for a mode that uses the language model: a line says so where another one answers.
    pub fn loader_with_thinker(&self) -> Result<&Loader> {
        let loader = self.loader()?;
        loader.stand_in_note().iter().for_each(|note| self.talk.note(note));
        Ok(loader)
    }

    /// The loader, for a mode that takes turns: a second line says so where the weights were fitted
    /// to other models.
    pub fn loader_for_turns(&self) -> Result<&Loader> {
        let loader = self.loader_with_thinker()?;
        loader.weights_note().iter().for_each(|note| self.talk.note(note));
        Ok(loader)
    }

    pub fn loader(&self) -> Result<&Loader> {
        if let Some(loader) = self.loader.get() {
            return Ok(loader);
        }
        let loader = Loader::new(self.plan.clone(), self.store()?);
        Ok(self.loader.get_or_init(|| loader))
    }
}
