//! Reason why a catalogue cannot be used.

/// Why a catalogue is not one.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("the catalogue cannot be read: {0}")]
    Syntax(#[from] toml::de::Error),
    #[error("the catalogue's entry {model}: {why}")]
    CatalogueEntry { model: String, why: String },
}
