//! SHA-256 digests: parsed from text, and computed over files and streams.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::types::Bytes;

/// Bytes read at a time while hashing or copying.
pub(super) const CHUNK: usize = 256 * 1024;

/// SHA-256 digest; as text, 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Error for a text that is not 64 hexadecimal digits.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{0:?} is not a SHA-256 digest (64 hexadecimal digits)")]
pub struct NotADigest(String);

/// Expected size and digest of a file, as the catalogue pins them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    pub size: Bytes,
    pub sha256: Digest,
}

/// Difference between a file and its [`Pin`].
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Mismatch {
    #[error("it has {found} bytes, the catalogue says {expected}")]
    Size { found: u64, expected: u64 },
    #[error("its sha256 is {found}, the catalogue says {expected}")]
    Sha256 { found: Digest, expected: Digest },
}

impl Pin {
    /// Computes size and digest of everything that `reader` yields.
    pub fn of(mut reader: impl Read) -> io::Result<Pin> {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; CHUNK];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(hasher.finish()),
                n => hasher.update(&buffer[..n]),
            }
        }
    }

    /// Computes size and digest of a file by reading all of it.
    pub fn of_file(path: &Path) -> io::Result<Pin> {
        Pin::of(File::open(path)?)
    }

    /// Compares the size and digest that were found with this pin.
    pub fn check(&self, found: Pin) -> Result<(), Mismatch> {
        if found.size != self.size {
            return Err(Mismatch::Size { found: found.size.0, expected: self.size.0 });
        }
        match found.sha256 == self.sha256 {
            true => Ok(()),
            false => Err(Mismatch::Sha256 { found: found.sha256, expected: self.sha256 }),
        }
    }
}

/// Hasher that also counts the bytes.
#[derive(Clone, Default)]
pub struct Hasher {
    sha: Sha256,
    size: u64,
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha.update(bytes);
        self.size += bytes.len() as u64;
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn finish(self) -> Pin {
        Pin { size: Bytes(self.size), sha256: Digest(self.sha.finalize().into()) }
    }
}

impl std::str::FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let refuse = || NotADigest(text.chars().take(80).collect());
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| refuse())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| refuse())?;
        }
        Ok(Digest(digest))
    }
}

impl TryFrom<String> for Digest {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Self, NotADigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digest of "abc", the example of FIPS 180-4.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_known_answer_comes_out() {
        let pin = Pin::of(&b"abc"[..]).unwrap();
        assert_eq!((pin.size, pin.sha256.to_string().as_str()), (Bytes(3), ABC));
        assert_eq!(ABC.to_uppercase().parse::<Digest>().unwrap(), pin.sha256);
    }

    #[test]
    fn what_is_not_a_digest_is_refused() {
        for text in ["", "ab", &ABC[1..], &format!("{ABC}0"), &ABC.replace('b', "g"), &"ä".repeat(32), "../.."] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_difference_is_named() {
        let abc = Pin::of(&b"abc"[..]).unwrap();
        assert_eq!(abc.check(abc), Ok(()));
        let short = abc.check(Pin::of(&b"ab"[..]).unwrap()).unwrap_err();
        assert_eq!(short, Mismatch::Size { found: 2, expected: 3 });
        assert!(abc.check(Pin::of(&b"abd"[..]).unwrap()).unwrap_err().to_string().contains(ABC));
    }
}
