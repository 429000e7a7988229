//! Reader of `vocabulary.txt`: one token per line, each byte written as a character of GPT-2's byte
//! alphabet.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::ImportError;

/// Largest accepted file, in bytes: Whisper's own is under half a megabyte.
const MAX_FILE: u64 = 16 << 20;
/// First token after those that stand for text. whisper.cpp adds it and the tokens above it by
/// itself.
const END_OF_TEXT: &str = "<|endoftext|>";

/// Reads the bytes of every text token, in order of their ids. `size` is the total number of tokens
/// of the model.
pub fn read(path: &Path, size: usize) -> Result<Vec<Vec<u8>>, ImportError> {
    let text = read_capped(path)?;
    parse(&text, size).map_err(|why| ImportError::Format { path: path.to_owned(), why })
}

fn read_capped(path: &Path) -> Result<String, ImportError> {
    let fail = |source| ImportError::Io { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).map_err(fail)?.take(MAX_FILE + 1).read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > MAX_FILE {
        let why = format!("it is larger than the accepted {} MiB", MAX_FILE >> 20);
        return Err(ImportError::Format { path: path.to_owned(), why });
    }
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

fn parse(text: &str, size: usize) -> Result<Vec<Vec<u8>>, String> {
    let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
    if lines.len() != size {
        return Err(format!("it has {} tokens, but model.bin has {size}", lines.len()));
    }
    let end = lines.iter().position(|&line| line == END_OF_TEXT).ok_or(format!("{END_OF_TEXT} is missing"))?;
    let bytes_of = |(number, line): (usize, &&str)| {
        line.chars().map(byte_of).collect::<Option<Vec<u8>>>().ok_or(format!("line {}: not a token", number + 1))
    };
    lines[..end].iter().enumerate().map(bytes_of).collect()
}

/// Decodes GPT-2's byte alphabet: printable bytes stand for themselves, the other 68 are numbered
/// from U+0100 in order.
fn byte_of(letter: char) -> Option<u8> {
    let code = u32::from(letter);
    match code {
        0x100..=0x143 => (0..=u8::MAX).filter(|&byte| !prints(byte)).nth(code as usize - 0x100),
        _ => u8::try_from(code).ok().filter(|&byte| prints(byte)),
    }
}

fn prints(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_reaches_every_byte_once() {
        let mut bytes: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=u8::MAX).collect::<Vec<_>>());
        for (letter, byte) in [('Ġ', b' '), ('Ċ', b'\n'), ('a', b'a'), ('Ń', 0xAD)] {
            assert_eq!(byte_of(letter), Some(byte), "{letter}");
        }
        assert_eq!(byte_of(' '), None);
    }

    #[test]
    fn tokens_end_where_text_ends() {
        let tokens = parse("a\nĠb\n\n<|endoftext|>\n<|0.00|>\n", 5).unwrap();
        assert_eq!(tokens, [b"a".to_vec(), b" b".to_vec(), Vec::new()]);
    }

    #[test]
    fn a_vocabulary_that_does_not_fit_is_refused() {
        for (text, size, said) in [
            ("a\nb\n", 2, "endoftext"),
            ("a\n<|endoftext|>\n", 3, "has 2 tokens, but model.bin has 3"),
            ("a b\n<|endoftext|>\n", 2, "line 1"),
            ("", 1, "endoftext"),
        ] {
            let why = parse(text, size).unwrap_err();
            assert!(why.contains(said), "{text:?}: {why}");
        }
    }
}
