//! Settings as the program finds them, with nothing of this process among them.

use std::fs;
use std::path::PathBuf;

use sotto::config::{self, Flag, Loaded, Sources};

/// Sources that see nothing of the process: an empty folder, no variables, two cores.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub sources: Sources,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sources = Sources { working_dir: dir.path().to_owned(), cores: 2, ..Sources::default() };
        Bench { dir, sources }
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub fn file(mut self, text: impl AsRef<[u8]>) -> Self {
        self.sources.file = Some(self.write("given.toml", text));
        self
    }

    pub fn env(mut self, variables: &[(&str, &str)]) -> Self {
        self.sources.env = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        self
    }

    pub fn flags(mut self, flags: &[(&str, &str)]) -> Self {
        let flag = |(path, value): &(&str, &str)| Flag {
            path: (*path).to_owned(),
            value: (*value).to_owned(),
            name: format!("--set {path}"),
        };
        self.sources.flags = flags.iter().map(flag).collect();
        self
    }

    pub fn loaded(&self) -> Loaded {
        config::load(&self.sources).unwrap_or_else(|errors| panic!("{errors}"))
    }

    pub fn refusal(&self) -> String {
        let refusal = config::load(&self.sources).expect_err("should be refused").to_string();
        refusal.replace(&format!("{}/", self.dir.path().display()), "")
    }
}

pub fn origin(loaded: &Loaded, path: &str) -> String {
    loaded.entries.iter().find(|entry| entry.path == path).unwrap().origin.to_string()
}
