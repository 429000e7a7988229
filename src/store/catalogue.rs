//! The catalogue: every model with its files, digests, sources, licence and bytes when loaded.
//!
//! `models/catalogue.toml` is built into the program. Architecture invariant: every model of the
//! catalogue is pinned; each byte that a source delivers is checked against a size and a SHA-256
//! written there.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::catalogue_error::CatalogueError;
use super::digest::{Digest, Pin};
use super::name::BlobName;
use super::turn_weights::TurnWeightsTable;
use crate::types::Bytes;

/// The sets of models that can be fetched together. `[models] profile` may name the first two; the
/// third holds what the project's tests need besides the starter's models.
pub const PROFILES: [&str; 3] = ["starter", "qwen", "tests"];
/// Largest file that a catalogue may list.
const MAX_FILE: u64 = 16 << 30;
/// A folder of an installed model holds this file beside the model's own.
pub(super) const MANIFEST: &str = "manifest.json";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    #[serde(rename = "model")]
    models: Vec<CatalogueEntry>,
    #[serde(default)]
    turn_weights: TurnWeightsTable,
}

/// One model, as one platform installs it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    pub name: BlobName,
    pub kind: ModelKind,
    pub about: String,
    #[serde(default)]
    pub profiles: Vec<String>,
    pub licence: String,
    /// Changes when the installed files change.
    pub revision: String,
    /// Approximate memory of the loaded model; its loader computes it exactly.
    loaded_bytes: u64,
    /// `OS-ARCH` as Rust names them, when the model differs between platforms.
    pub platform: Option<String>,
    #[serde(default)]
    pub import: Import,
    /// Files that are installed.
    #[serde(rename = "file")]
    pub files: Vec<InstalledFile>,
    /// Sources, in the order in which they are tried.
    #[serde(rename = "source")]
    pub sources: Vec<DownloadSource>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    Asr,
    Llm,
    Turn,
    Vad,
    Voice,
    Runtime,
    Recording,
    /// A wake word.
    Wake,
    /// Feature extractor that all wake words share.
    Features,
}

impl ModelKind {
    /// As the catalogue writes it.
    pub fn name(self) -> &'static str {
        match self {
            ModelKind::Asr => "asr",
            ModelKind::Llm => "llm",
            ModelKind::Turn => "turn",
            ModelKind::Vad => "vad",
            ModelKind::Voice => "voice",
            ModelKind::Runtime => "runtime",
            ModelKind::Recording => "recording",
            ModelKind::Wake => "wake",
            ModelKind::Features => "features",
        }
    }
}

/// How the files of a source become the installed ones.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Import {
    /// Downloaded files are installed as they are.
    #[default]
    None,
    /// CTranslate2's Whisper becomes whisper.cpp's, and two ONNX graphs.
    WhisperCt2,
    /// A Piper voice is cut into encoder and decoder.
    PiperSplit,
    /// A published checkpoint of a language model becomes one with fewer bits.
    QuantizeMixed,
    QuantizeInt8,
}

/// A file of an installed model. The digest of a converted file may be left out: then the one that
/// the conversion gave is recorded when it is installed, and the files that went into it are the
/// ones that are pinned.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct InstalledFile {
    pub name: BlobName,
    size: Option<u64>,
    sha256: Option<Digest>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum DownloadSource {
    Hub(HubSource),
    Pip(PipSource),
}

/// A repository of a model hub.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct HubSource {
    /// `organisation/name`.
    pub repo: BlobName,
    /// A branch, tag or commit.
    pub revision: BlobName,
    pub files: Vec<Member>,
}

/// Packages of the Python package index that the machine's pip is configured for.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PipSource {
    pub wheels: Vec<Wheel>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    pub package: String,
    pub version: String,
    /// Size of the wheel, for the progress bar.
    pub download_bytes: u64,
    /// For packages with a wheel per platform: which one.
    pub target: Option<WheelTarget>,
    pub files: Vec<Member>,
}

/// The platform a wheel is for, in the words of its file name. Fixed, whatever Python runs pip: the
/// digests are of the files of exactly this wheel.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct WheelTarget {
    pub python: String,
    pub abi: String,
    pub platform: String,
}

/// A file inside a repository or wheel. Several members with the same `to` are joined in the order
/// of the list.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub from: BlobName,
    pub to: BlobName,
    size: u64,
    sha256: Digest,
}

/// Files that a Whisper model is converted to for ONNX Runtime.
pub const WHISPER_GRAPHS: [&str; 2] = ["encoder.onnx", "decoder.onnx"];

/// Why a name leads to no model of this catalogue.
#[derive(Debug, thiserror::Error)]
pub enum NoSuchModel {
    #[error("there is no model {name:?}{}; run \"sotto models list\"", suggestion.as_ref().map(|s| format!(": did you mean {s:?}?")).unwrap_or_default())]
    Unknown { name: String, suggestion: Option<String> },
    #[error("{name} is not to be had for {platform}")]
    Platform { name: String, platform: String },
    #[error(
        "there is no wake word {name:?}: set [detect] wake_word to one of {known}, to \"off\", or to the path of a classifier \
         with a \"/\" in it"
    )]
    WakeWord { name: String, known: String },
}

impl Catalogue {
    /// The catalogue that is built into the program.
    pub fn builtin() -> Catalogue {
        Catalogue::parse(include_str!("../../models/catalogue.toml")).expect("the built-in catalogue is tested")
    }

    pub fn parse(text: &str) -> Result<Catalogue, CatalogueError> {
        let catalogue: Catalogue = toml::from_str(text)?;
        catalogue.check()?;
        Ok(catalogue)
    }

    /// Every model that this platform can install.
    pub fn models(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.models.iter().filter(|entry| entry.fits_here())
    }

    /// The models of a profile that this platform can install, in the order of the catalogue.
    pub fn profile(&self, profile: &str) -> Vec<&CatalogueEntry> {
        self.models().filter(|entry| entry.profiles.iter().any(|p| p == profile)).collect()
    }

    pub fn find(&self, name: &str) -> Result<&CatalogueEntry, NoSuchModel> {
        self.models().find(|entry| entry.name.as_str() == name).ok_or_else(|| self.explain_absence(name))
    }

    /// The wake word of that name.
    pub fn wake_word(&self, name: &str) -> Result<&CatalogueEntry, NoSuchModel> {
        let words = || self.models().filter(|entry| entry.kind == ModelKind::Wake);
        words().find(|entry| entry.name.as_str() == name).ok_or_else(|| {
            let known: Vec<_> = words().map(|entry| format!("{:?}", entry.name.as_str())).collect();
            NoSuchModel::WakeWord { name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// The weights of turn taking, by the models they were fitted to.
    pub fn turn_weights(&self) -> &TurnWeightsTable {
        &self.turn_weights
    }

    fn explain_absence(&self, name: &str) -> NoSuchModel {
        let owned = name.to_owned();
        if self.models.iter().any(|entry| entry.name.as_str() == name) {
            return NoSuchModel::Platform { name: owned, platform: platform() };
        }
        let near = |candidate: &&str| strsim::jaro_winkler(candidate, name) > 0.8;
        let suggestion = self
            .models()
            .map(|entry| entry.name.as_str())
            .filter(near)
            .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        NoSuchModel::Unknown { name: owned, suggestion: suggestion.map(str::to_owned) }
    }

    fn check(&self) -> Result<(), CatalogueError> {
        let mut seen = BTreeSet::new();
        for key in self.models.iter().map(|e| (&e.name, &e.platform)) {
            if !seen.insert(key) {
                return Err(CatalogueError::CatalogueEntry {
                    model: key.0.to_string(),
                    why: "it is listed twice".into(),
                });
            }
        }
        self.turn_weights.check()?;
        let known = |name: &BlobName| self.models.iter().any(|entry| entry.name == *name);
        if let Some(name) = self.turn_weights.models().find(|name| !known(name)) {
            return Err(CatalogueError::CatalogueEntry {
                model: name.to_string(),
                why: "weights are for it, but it is none".into(),
            });
        }
        self.models.iter().try_for_each(|entry| {
            entry.check().map_err(|why| CatalogueError::CatalogueEntry { model: entry.name.to_string(), why })
        })
    }
}

/// Name of this platform in the catalogue.
pub fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

impl CatalogueEntry {
    pub fn loaded_bytes(&self) -> Bytes {
        Bytes(self.loaded_bytes)
    }

    /// Approximate download size of the first source when nothing is there yet.
    pub fn download_bytes(&self) -> Bytes {
        self.sources.first().map_or(Bytes(0), DownloadSource::download_bytes)
    }

    /// Bytes of the installed files, as far as the catalogue knows them.
    pub fn installed_bytes(&self) -> Bytes {
        let sizes = self.files.iter().filter_map(|file| file.size);
        Bytes(sizes.fold(0, u64::saturating_add))
    }

    fn fits_here(&self) -> bool {
        self.platform.as_ref().is_none_or(|p| *p == platform())
    }

    fn check(&self) -> Result<(), String> {
        if !self.name.is_single() {
            return Err("its name holds a \"/\"".into());
        }
        if let Some(odd) = self.profiles.iter().find(|p| !PROFILES.contains(&p.as_str())) {
            return Err(format!("there is no profile {odd:?}"));
        }
        if self.files.is_empty() || self.sources.is_empty() {
            return Err("it needs a file and a source".into());
        }
        self.files.iter().try_for_each(|file| file.check(self.import))?;
        self.import.check_outcome(&self.files)?;
        self.sources.iter().try_for_each(|source| self.check_source(source))
    }

    fn check_source(&self, source: &DownloadSource) -> Result<(), String> {
        source.check_names()?;
        let members: Vec<&Member> = source.members().collect();
        if let Some(odd) = members.iter().find(|m| m.size == 0 || m.size > MAX_FILE || !m.to.is_single()) {
            return Err(format!("{}: its size or its \"to\" is impossible", odd.from));
        }
        let given: BTreeSet<&str> = members.iter().map(|m| m.to.as_str()).collect();
        let wanted = self.import.wants(&self.files);
        if given != wanted {
            return Err(format!("a source brings {given:?} instead of {wanted:?}"));
        }
        match self.import {
            Import::None => self.files.iter().try_for_each(|file| file.agrees_with(&members)),
            _ => Ok(()),
        }
    }
}

/// Index of a checkpoint, the file of each tensor; a quantised one has its own, so nobody needs to
/// bring it.
const CHECKPOINT_INDEX: &str = "model.safetensors.index.json";
/// Files that a quantised checkpoint has at least.
const CHECKPOINT: [&str; 4] = ["config.json", "model.safetensors", CHECKPOINT_INDEX, "tokenizer.json"];

impl Import {
    /// The format that a checkpoint is quantised to, where that is what happens.
    pub fn quantized(self) -> Option<&'static str> {
        match self {
            Import::QuantizeMixed => Some("mixed"),
            Import::QuantizeInt8 => Some("int8"),
            Import::None | Import::WhisperCt2 | Import::PiperSplit => None,
        }
    }

    /// The files that a source must bring.
    fn wants(self, files: &[InstalledFile]) -> BTreeSet<&str> {
        let installed = files.iter().map(|file| file.name.as_str());
        match self {
            Import::None => installed.collect(),
            Import::QuantizeMixed | Import::QuantizeInt8 => {
                installed.filter(|name| *name != CHECKPOINT_INDEX).collect()
            }
            Import::WhisperCt2 => BTreeSet::from(["config.json", "model.bin", "vocabulary.txt"]),
            Import::PiperSplit => BTreeSet::from(["voice.json", "voice.onnx"]),
        }
    }

    fn check_outcome(self, files: &[InstalledFile]) -> Result<(), String> {
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let right = match self {
            Import::None => true,
            Import::WhisperCt2 => {
                let (first, graphs) = names.split_first().unwrap_or((&"", &[]));
                first.ends_with(".ggml") && graphs == WHISPER_GRAPHS
            }
            Import::PiperSplit => names == ["encoder.onnx", "decoder.onnx", "voice.json"],
            Import::QuantizeMixed | Import::QuantizeInt8 => CHECKPOINT.iter().all(|needed| names.contains(needed)),
        };
        right.then_some(()).ok_or_else(|| format!("{self:?} does not make {names:?}"))
    }
}

impl InstalledFile {
    /// Digest that the file must have, where the catalogue gives one.
    pub fn pin(&self) -> Option<Pin> {
        Some(Pin { size: Bytes(self.size?), sha256: self.sha256? })
    }

    fn check(&self, import: Import) -> Result<(), String> {
        let name = self.name.as_str();
        if !self.name.is_single() || name.starts_with('.') || name == MANIFEST {
            return Err(format!("{name} cannot be the name of an installed file"));
        }
        match self.pin() {
            None if import == Import::None || self.size.is_some() || self.sha256.is_some() => {
                Err(format!("{name} needs a size and a sha256"))
            }
            _ => Ok(()),
        }
    }

    /// Without a conversion, what is brought is what is installed.
    fn agrees_with(&self, members: &[&Member]) -> Result<(), String> {
        let parts: Vec<_> = members.iter().filter(|m| m.to == self.name).collect();
        let sum = parts.iter().map(|m| m.size).sum::<u64>();
        let same = parts.len() != 1 || Some(parts[0].sha256) == self.sha256;
        match Some(sum) == self.size && same {
            true => Ok(()),
            false => Err(format!("what a source brings as {} is not what is installed", self.name)),
        }
    }
}

impl DownloadSource {
    /// Download size of this source when nothing is there yet.
    pub fn download_bytes(&self) -> Bytes {
        Bytes(match self {
            DownloadSource::Hub(hub) => hub.files.iter().map(|member| member.size).sum(),
            DownloadSource::Pip(pip) => pip.wheels.iter().map(|wheel| wheel.download_bytes).sum(),
        })
    }

    fn members(&self) -> Box<dyn Iterator<Item = &Member> + '_> {
        match self {
            DownloadSource::Hub(hub) => Box::new(hub.files.iter()),
            DownloadSource::Pip(pip) => Box::new(pip.wheels.iter().flat_map(|wheel| &wheel.files)),
        }
    }

    fn check_names(&self) -> Result<(), String> {
        match self {
            DownloadSource::Hub(hub) if hub.repo.depth() != 1 => Err(format!("{} is not organisation/name", hub.repo)),
            DownloadSource::Hub(_) => Ok(()),
            DownloadSource::Pip(pip) => pip.wheels.iter().try_for_each(Wheel::check),
        }
    }
}

impl Wheel {
    /// Requirement that pip is given.
    pub fn requirement(&self) -> String {
        format!("{}=={}", self.package, self.version)
    }

    /// Checks the texts that become arguments of a command: none may look like an option.
    fn check(&self) -> Result<(), String> {
        let plain = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+!".contains(&b))
        };
        let target = self.target.iter().flat_map(|t| [&t.python, &t.abi, &t.platform]);
        match [&self.package, &self.version].into_iter().chain(target).find(|text| !plain(text)) {
            Some(odd) => Err(format!("{odd:?} cannot name a package, version or platform")),
            None => Ok(()),
        }
    }
}

impl Member {
    pub fn pin(&self) -> Pin {
        Pin { size: Bytes(self.size), sha256: self.sha256 }
    }
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
