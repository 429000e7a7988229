//! Objects that every command needs: the checked plan, the store and a loader. The loader is
//! created once, on first use.

use std::cell::OnceCell;
use std::sync::Arc;

use super::console::Console;
use crate::config::Plan;
use crate::engine::{EngineQuantizer, Loader, Result};
use crate::store::{Catalogue, HubEnv, Store, models_dir};

pub struct AppContext {
    plan: Plan,
    console: Console,
    loader: OnceCell<Arc<Loader>>,
}

impl AppContext {
    pub fn new(plan: Plan, console: Console) -> Self {
        AppContext { plan, console, loader: OnceCell::new() }
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn console(&self) -> &Console {
        &self.console
    }

    pub fn store(&self) -> Result<Store> {
        let dir = models_dir(self.plan.models.dir.as_deref(), |name| std::env::var_os(name))?;
        let store = Store::open(Catalogue::builtin(), dir, HubEnv::from_env())?;
        Ok(store.with_quantizer(EngineQuantizer { unfinished: super::signals::unfinished }))
    }

    /// Returns the loader for a command that uses the language model. Prints a note if a stand-in
    /// model replaces the configured one.
    pub fn loader_with_language_model(&self) -> Result<&Arc<Loader>> {
        let loader = self.loader()?;
        loader.stand_in_note().iter().for_each(|note| self.console.note(note));
        Ok(loader)
    }

    /// The loader, for a mode that takes turns: a second line says so where the weights were fitted
    /// to other models.
    pub fn loader_for_turns(&self) -> Result<&Arc<Loader>> {
        let loader = self.loader_with_language_model()?;
        loader.weights_note().iter().for_each(|note| self.console.note(note));
        Ok(loader)
    }

    pub fn loader(&self) -> Result<&Arc<Loader>> {
        if let Some(loader) = self.loader.get() {
            return Ok(loader);
        }
        let loader = Arc::new(Loader::new(self.plan.clone(), self.store()?));
        Ok(self.loader.get_or_init(|| loader))
    }
}
