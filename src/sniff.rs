//! Identification, by its first bytes, of a file that should have been a model, for a helpful
//! error.

/// Number of bytes that are enough for [`known`].
pub const ENOUGH: usize = 512;

const LFS_POINTER: &str =
    "a Git LFS pointer: fetch the file itself, with \"git lfs pull\" or from the page of the model";
const WEB_PAGE: &str =
    "a web page, as a server sends it in place of a file: fetch the file itself, signed in if need be";

/// First bytes of kinds of files, and the description of each.
const KINDS: [(&[u8], &str); 10] = [
    (b"version https://git-lfs.github.com/spec/", LFS_POINTER),
    (b"version https://hawser.github.com/spec/", LFS_POINTER),
    (b"GGUF", "a GGUF file: name it where a language model is expected"),
    (b"PK\x03\x04", "a zip archive or a PyTorch file: fetch the model as GGUF or safetensors"),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ\0", "compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"),
    (b"lmgg", "a model in an old format of ggml: fetch it as GGUF"),
    (b"tjgg", "a model in an old format of ggml: fetch it as GGUF"),
];

/// Description of a file that begins with `start`, and what to do about it; `None` for an unknown
/// kind.
pub fn known(start: &[u8]) -> Option<&'static str> {
    let page = || {
        let text = without_mark(start).trim_ascii_start();
        let begins = |tag: &[u8]| text.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag));
        (begins(b"<!doctype html") || begins(b"<html")).then_some(WEB_PAGE)
    };
    KINDS.iter().find(|(begin, _)| start.starts_with(begin)).map(|(_, what)| *what).or_else(page)
}

/// Description of the file at `path`, if it can be read and its kind is known.
pub fn file(path: &std::path::Path) -> Option<&'static str> {
    use std::io::Read;
    let mut start = Vec::new();
    let regular = std::fs::metadata(path).is_ok_and(|about| about.is_file());
    let file = regular.then(|| std::fs::File::open(path).ok()).flatten()?;
    file.take(ENOUGH as u64).read_to_end(&mut start).ok()?;
    known(&start)
}

/// Removes the byte order mark that some editors put in front of UTF-8 text.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_model_is_known_by_its_first_bytes() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n";
        for (start, words) in [
            (pointer, Some("Git LFS pointer: fetch the file itself")),
            ("<!DOCTYPE html><html>", Some("web page")),
            ("\n <HTML lang=en>", Some("web page")),
            ("\u{feff}<!doctype HTML>", Some("web page")),
            ("PK\u{3}\u{4}", Some("zip")),
            ("lmgg and so on", Some("old format")),
            ("version 2", None),
            ("{\"a\": 1}", None),
            ("<ht", None),
            ("", None),
        ] {
            let found = known(start.as_bytes());
            assert_eq!(found.is_some(), words.is_some(), "{start:?}");
            assert!(words.is_none_or(|words| found.unwrap().contains(words)), "{start:?}: {found:?}");
        }
    }

    #[test]
    fn a_mark_is_left_out_once() {
        for (text, rest) in [("\u{feff}{}", "{}"), ("{}", "{}"), ("\u{feff}\u{feff}", "\u{feff}"), ("", "")] {
            assert_eq!(without_mark(text.as_bytes()), rest.as_bytes());
        }
    }
}
