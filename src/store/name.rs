//! Type for names from outside that become paths: files of a model, members of a hub repository,
//! ETags, commits.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longest accepted name, and longest accepted component. File systems stop at 255 bytes per
/// component.
const MAX_NAME: usize = 512;
const MAX_COMPONENT: usize = 200;

/// Relative path that cannot leave the folder it is joined to:
/// `^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$`, and no component is `.` or `..`. Every name from a
/// catalogue, a server or a package is checked here before it is used as a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlobName(String);

/// Reason why a text is not a [`BlobName`].
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{name:?} cannot be the name of a file: {why}")]
pub struct BadName {
    pub name: String,
    pub why: &'static str,
}

impl BlobName {
    pub fn new(name: impl Into<String>) -> Result<BlobName, BadName> {
        let name = name.into();
        match flaw(&name) {
            None => Ok(BlobName(name)),
            Some(why) => Err(BadName { name: name.chars().take(80).collect(), why }),
        }
    }

    /// Accepts a name only if it is a single component, as an ETag, a commit or the name of a model
    /// must be.
    pub fn single(name: impl Into<String>) -> Result<BlobName, BadName> {
        let name = BlobName::new(name)?;
        match name.is_single() {
            true => Ok(name),
            false => Err(BadName { name: name.0, why: "it holds a \"/\"" }),
        }
    }

    pub fn is_single(&self) -> bool {
        !self.0.contains('/')
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Number of folders above the last component.
    pub fn depth(&self) -> usize {
        self.0.matches('/').count()
    }

    /// Joins this name to `folder`.
    pub fn below(&self, folder: &Path) -> PathBuf {
        folder.join(&self.0)
    }
}

fn flaw(name: &str) -> Option<&'static str> {
    if name.len() > MAX_NAME {
        return Some("it is longer than 512 bytes");
    }
    name.split('/').find_map(|component| match component {
        "" => Some("it is empty, absolute or has an empty component"),
        "." | ".." => Some("it holds a \".\" or \"..\" component"),
        long if long.len() > MAX_COMPONENT => Some("a component is longer than 200 bytes"),
        odd if !odd.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) => {
            Some("only letters, digits, \".\", \"_\" and \"-\" may stand in it")
        }
        _ => None,
    })
}

impl TryFrom<String> for BlobName {
    type Error = BadName;

    fn try_from(name: String) -> Result<Self, BadName> {
        BlobName::new(name)
    }
}

impl From<BlobName> for String {
    fn from(name: BlobName) -> String {
        name.0
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_stay_inside_are_taken() {
        for name in ["model.gguf", "a/b/c.onnx", "en/en_US/joe/medium/en_US-joe-medium.onnx", ".gitattributes", "a..b"]
        {
            let blob = BlobName::new(name).unwrap();
            assert_eq!(blob.below(Path::new("/cache")), Path::new("/cache").join(name));
        }
        assert_eq!(BlobName::new("a/b/c").unwrap().depth(), 2);
    }

    #[test]
    fn names_that_would_leave_are_refused() {
        let long = "x".repeat(201);
        let longer = "x/".repeat(300) + "x";
        for name in [
            "",
            "/",
            "/etc/passwd",
            "..",
            ".",
            "../x",
            "a/..",
            "a/../../b",
            "a/./b",
            "a//b",
            "a/",
            "a\\b",
            "C:x",
            "a b",
            "a\0b",
            "a\nb",
            "~",
            "~/x",
            "%2e%2e",
            "sha256:ab",
            "ä",
            "*",
            &long,
            &longer,
        ] {
            assert!(BlobName::new(name).is_err(), "{name:?}");
        }
        assert!(BlobName::single("a/b").is_err());
        assert!(serde_json::from_str::<BlobName>("\"../x\"").is_err());
    }
}
