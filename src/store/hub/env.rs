//! Environment variables that `huggingface_hub` reads: the address of the hub, the token, the cache
//! folder.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Hub to use when `HF_ENDPOINT` names no other.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// Longest token that is read from a file, in bytes.
const MAX_TOKEN: u64 = 4096;

#[derive(Clone, Debug)]
pub struct HubEnv {
    pub endpoint: String,
    /// Folder that holds `models--ORG--NAME`.
    pub cache: PathBuf,
    pub token: Option<HubToken>,
    /// Whether to send no request; the cache is still read.
    pub offline: bool,
    pub patience: HubTimeouts,
}

/// Access token; it is never shown in logs.
#[derive(Clone)]
pub struct HubToken(pub(super) String);

/// Timeouts and retries for requests to a hub.
#[derive(Clone, Copy, Debug)]
pub struct HubTimeouts {
    /// Time to resolve the host name and connect.
    pub connect: Duration,
    /// Time to wait for the next byte.
    pub stall: Duration,
    /// Number of attempts without a single new byte before the hub counts as unreachable.
    pub tries: u32,
    /// Wait before the second attempt; it doubles with each further one.
    pub pause: Duration,
}

impl Default for HubTimeouts {
    fn default() -> Self {
        HubTimeouts {
            connect: Duration::from_secs(8),
            stall: Duration::from_secs(20),
            tries: 4,
            pause: Duration::from_millis(500),
        }
    }
}

impl HubEnv {
    /// Reads the environment of this process.
    pub fn from_env() -> HubEnv {
        HubEnv::read(|name| std::env::var_os(name))
    }

    /// Reads an environment. An empty variable counts as absent.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> HubEnv {
        let var = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let text = |name: &str| var(name).and_then(|value| value.into_string().ok());
        let home = var("HOME").map(PathBuf::from).unwrap_or_else(std::env::temp_dir);
        let path = |name: &str| var(name).map(|value| expand(Path::new(&value), &home));
        let user_cache = path("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"));
        let hf_home = path("HF_HOME").unwrap_or_else(|| user_cache.join("huggingface"));
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token"));
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.into());
        HubEnv {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: cache.unwrap_or_else(|| hf_home.join("hub")),
            token: text("HF_TOKEN").and_then(HubToken::new).or_else(|| HubToken::read(&token_file)),
            offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
                .into_iter()
                .any(|name| text(name).is_some_and(says_yes)),
            patience: HubTimeouts::default(),
        }
    }
}

impl HubToken {
    /// Accepts a token if it holds only plain characters, since it is sent in a header.
    pub fn new(text: impl AsRef<str>) -> Option<HubToken> {
        let text = text.as_ref().trim();
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        plain.then(|| HubToken(text.to_owned()))
    }

    fn read(path: &Path) -> Option<HubToken> {
        let meta = std::fs::metadata(path).ok()?;
        let sane = meta.is_file() && meta.len() <= MAX_TOKEN;
        HubToken::new(sane.then(|| std::fs::read_to_string(path).ok())??)
    }
}

impl fmt::Debug for HubToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Whether `huggingface_hub` reads a value as true.
fn says_yes(text: String) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&text.to_ascii_uppercase().as_str())
}

fn expand(path: &Path, home: &Path) -> PathBuf {
    match path.strip_prefix("~") {
        Ok(rest) => home.join(rest),
        Err(_) => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> HubEnv {
        let vars = vars.to_vec();
        HubEnv::read(move |name| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_cache_is_where_other_programs_look() {
        for (vars, cache) in [
            (&[("HOME", "/h")][..], "/h/.cache/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/hf")], "/hf/hub"),
            (&[("HOME", "/h"), ("HF_HOME", "~/hf")], "/h/hf/hub"),
            (&[("HOME", "/h"), ("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/hub")], "/hub"),
            (&[("HOME", "/h"), ("HF_HOME", ""), ("HF_HUB_CACHE", "")], "/h/.cache/huggingface/hub"),
        ] {
            assert_eq!(read(vars).cache, Path::new(cache), "{vars:?}");
        }
    }

    #[test]
    fn offline_is_said_in_four_words() {
        for (value, offline) in [("1", true), ("true", true), ("Yes", true), ("ON", true), ("0", false), ("", false)] {
            assert_eq!(read(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
        }
    }

    #[test]
    fn a_token_is_found_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        std::fs::write(dir.path().join("token"), "hf_file\n").unwrap();
        let token = |vars: &[(&str, &str)]| read(vars).token.map(|t| t.0);
        assert_eq!(token(&[("HF_HOME", home)]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[("HF_HOME", home), ("HF_TOKEN", "hf_env")]).as_deref(), Some("hf_env"));
        assert_eq!(token(&[("HF_TOKEN_PATH", &format!("{home}/token"))]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[("HF_TOKEN", "a\r\nX-Evil: 1"), ("HF_HOME", "/nowhere")]), None);
        assert!(!format!("{:?}", read(&[("HF_TOKEN", "hf_env")])).contains("hf_env"));
    }

    #[test]
    fn the_endpoint_has_no_slash_at_its_end() {
        assert_eq!(read(&[("HF_ENDPOINT", "http://127.0.0.1:1/")]).endpoint, "http://127.0.0.1:1");
    }
}
