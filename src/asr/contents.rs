//! Check that a ggml file is complete. whisper.cpp does not check: it takes missing data at the end
//! for zeros, and ends the process when the vocabulary lacks a token that it needs.

use std::fs::File;
use std::io::{BufReader, Read, Seek};

/// Number of bins of the mel filters.
const BINS: usize = 201;
const MAX_TOKEN: usize = 1 << 10;
const MAX_NAME: usize = 128;
const MAX_RANK: usize = 4;
/// Largest number of elements in a tensor of any Whisper model.
const MAX_ELEMENTS: u64 = 1 << 31;
/// Token for a space, which whisper.cpp suppresses by name at the start of a text.
const SPACE: &[u8] = b" ";

/// Checks the data after the header: filters of `mels` bands, at most `vocabulary` tokens, and
/// `tensors` tensors that end where the file ends. The error describes the fault.
pub fn check(file: File, start: u64, mels: usize, vocabulary: usize, tensors: usize) -> Result<(), String> {
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut walk = Walk { file: BufReader::new(file), position: 0, length };
    walk.skip(start)?;
    walk.filters(mels)?;
    walk.tokens(vocabulary)?;
    for _ in 0..tensors {
        walk.tensor()?;
    }
    match walk.length - walk.position {
        0 => Ok(()),
        rest => Err(format!("{rest} bytes follow its {tensors} tensors")),
    }
}

/// Text tokens of such a file, as bytes.
pub fn tokens(file: File, start: u64, mels: usize, vocabulary: usize) -> Result<Vec<Vec<u8>>, String> {
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut walk = Walk { file: BufReader::new(file), position: 0, length };
    walk.skip(start)?;
    walk.filters(mels)?;
    walk.tokens(vocabulary)
}

struct Walk<R> {
    file: BufReader<R>,
    position: u64,
    length: u64,
}

impl<R: Read + Seek> Walk<R> {
    fn filters(&mut self, mels: usize) -> Result<(), String> {
        let (bands, bins) = (self.size(mels)?, self.size(BINS)?);
        if (bands, bins) != (mels, BINS) {
            return Err(format!("its mel filters are {bands} x {bins}, not {mels} x {BINS}"));
        }
        self.skip((bands * bins * 4) as u64)
    }

    fn tokens(&mut self, vocabulary: usize) -> Result<Vec<Vec<u8>>, String> {
        let count = self.size(vocabulary)?;
        let mut tokens = Vec::with_capacity(count);
        for _ in 0..count {
            let length = self.size(MAX_TOKEN)?;
            let mut token = vec![0; length];
            self.fill(&mut token)?;
            tokens.push(token);
        }
        if tokens.iter().any(|token| token == SPACE) {
            Ok(tokens)
        } else {
            Err("its vocabulary has no space".to_owned())
        }
    }

    fn tensor(&mut self) -> Result<(), String> {
        let (rank, name, kind) = (self.size(MAX_RANK)?, self.size(MAX_NAME)?, self.size(64)?);
        let mut elements = 1u64;
        for _ in 0..rank {
            elements = elements.saturating_mul(self.size(MAX_ELEMENTS as usize)? as u64);
        }
        if elements > MAX_ELEMENTS {
            return Err(format!("a tensor of {elements} numbers is no part of Whisper"));
        }
        self.skip(name as u64)?;
        let (numbers, bytes) = block(kind).ok_or(format!("a tensor has the unknown type {kind}"))?;
        self.skip(elements.div_ceil(numbers) * bytes)
    }

    /// Reads a count from the file, at most `most`.
    fn size(&mut self, most: usize) -> Result<usize, String> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        let size = i32::from_le_bytes(bytes);
        let fits = usize::try_from(size).ok().filter(|&size| size <= most);
        fits.ok_or(format!("byte {} states a size of {size}, at most {most} is possible", self.position - 4))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), String> {
        self.room(buffer.len() as u64)?;
        self.file.read_exact(buffer).map_err(|error| error.to_string())?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    fn skip(&mut self, count: u64) -> Result<(), String> {
        self.room(count)?;
        self.position += count;
        self.file.seek_relative(count as i64).map_err(|error| error.to_string())
    }

    fn room(&self, count: u64) -> Result<(), String> {
        if count > self.length - self.position {
            return Err(format!("it is cut short after {} bytes", self.length));
        }
        Ok(())
    }
}

/// Numbers per block and bytes per block of a ggml type that whisper.cpp's files use.
fn block(kind: usize) -> Option<(u64, u64)> {
    match kind {
        0 => Some((1, 4)),
        1 => Some((1, 2)),
        2 => Some((32, 18)),
        3 => Some((32, 20)),
        6 => Some((32, 22)),
        7 => Some((32, 24)),
        8 => Some((32, 34)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Makes one mel band, the given tokens, and one tensor of 2 x 3 in f16.
    fn file(tokens: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let numbers = |bytes: &mut Vec<u8>, numbers: &[i32]| bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
        numbers(&mut bytes, &[1, BINS as i32]);
        bytes.extend([0; BINS * 4]);
        numbers(&mut bytes, &[tokens.len() as i32]);
        for token in tokens {
            numbers(&mut bytes, &[token.len() as i32]);
            bytes.extend(*token);
        }
        numbers(&mut bytes, &[2, 4, 1, 3, 2]);
        bytes.extend(b"name");
        bytes.extend([0; 12]);
        bytes
    }

    fn check_bytes(bytes: &[u8]) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.ggml");
        fs::write(&path, bytes).unwrap();
        check(File::open(path).unwrap(), 0, 1, 9, 1)
    }

    #[test]
    fn a_whole_file_is_whole_and_one_cut_anywhere_is_not() {
        let whole = file(&[b"a", b" ", b""]);
        assert_eq!(check_bytes(&whole), Ok(()));
        for length in 0..whole.len() {
            assert!(check_bytes(&whole[..length]).is_err(), "{length}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(check_bytes(&longer).unwrap_err().contains("1 bytes follow"));
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        assert!(check_bytes(&file(&[b"a"])).unwrap_err().contains("no space"));
        let whole = file(&[b" "]);
        for at in (0..8).chain(8 + BINS * 4..whole.len() - 16) {
            let mut broken = whole.clone();
            broken[at] ^= 0xA5;
            let _ = check_bytes(&broken);
            if at % 4 == 3 {
                assert!(at > whole.len() - 17 || check_bytes(&broken).is_err(), "{at}");
            }
        }
    }
}
