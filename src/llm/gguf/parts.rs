//! Models split into several files, as llama.cpp does with large ones.
//!
//! Part `n` of `m` ends in `-n-of-m.gguf`, both with five digits, and repeats this in its metadata:
//! `split.no`, from 0, and `split.count`. All other metadata are in the first part; each part has
//! the table of its own tensors.

use std::path::{Path, PathBuf};

use super::{Blocks, Gguf, GgufFault, GgufValue, Header, MAX_TENSORS, Mapped, capped};
use crate::llm::LlmError;

/// Limit of parts of a model: one of 1 TB in parts of 2 GB has 500.
const MAX_PARTS: u64 = 1024;
const ENDING: &str = ".gguf";

/// Position of a file among the parts of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Split {
    /// Number of the part, from 0.
    number: u64,
    count: u64,
}

impl Split {
    /// Reads the split metadata; `None` for a file that is a whole model.
    fn of(header: &Header) -> Result<Option<Split>, GgufFault> {
        let number = |key: &str| match header.metadata.get(key) {
            None => Ok(0),
            Some(&GgufValue::Unsigned(n)) => Ok(n),
            Some(&GgufValue::Signed(n)) if n >= 0 => Ok(n as u64),
            Some(_) => Err(GgufFault::WrongType { key: key.to_owned(), wanted: "a whole number" }),
        };
        let split =
            Split { number: number("split.no")?, count: capped("split.count", number("split.count")?, MAX_PARTS)? };
        if split.count > 1 && split.number >= split.count {
            let limit = format!("there are {} parts, counted from 0", split.count);
            return Err(GgufFault::BadValue { key: "split.no".to_owned(), value: split.number.to_string(), limit });
        }
        Ok((split.count > 1).then_some(split))
    }

    /// Path of part `number`, if `path` follows the naming of parts.
    fn sibling(self, path: &Path, number: u64) -> Option<PathBuf> {
        let name = path.file_name()?.to_str()?;
        let stem = name.strip_suffix(&self.suffix(self.number))?;
        Some(path.with_file_name(format!("{stem}{}", self.suffix(number))))
    }

    fn suffix(self, number: u64) -> String {
        format!("-{:05}-of-{:05}{ENDING}", number + 1, self.count)
    }

    fn lacks(self, path: &Path, why: String) -> LlmError {
        LlmError::Part { path: path.to_owned(), number: self.number + 1, count: self.count, why }
    }
}

/// Opens the model that consists of `file`, or that `file` is a part of.
pub(super) fn gather(file: Mapped, header: Header) -> Result<Gguf, LlmError> {
    let damaged = |path: &Path, fault| LlmError::Damaged { path: path.to_owned(), fault };
    let Some(split) = Split::of(&header).map_err(|fault| damaged(&file.path, fault))? else {
        return Ok(Gguf { files: vec![file], header, blocks: Blocks::default() });
    };
    let (path, mut opened) = (file.path.clone(), Some((file, header)));
    let mut whole: Option<Gguf> = None;
    for number in 0..split.count {
        let (file, header) = match opened.take_if(|_| number == split.number) {
            Some(own) => own,
            None => open(split, &path, number)?,
        };
        match &mut whole {
            None => whole = Some(Gguf { files: vec![file], header, blocks: Blocks::default() }),
            Some(gguf) => gguf.add(file, header).map_err(|(path, fault)| damaged(&path, fault))?,
        }
    }
    Ok(whole.expect("a split has at least two parts"))
}

/// Opens part `number` of the model that `path` is another part of.
fn open(split: Split, path: &Path, number: u64) -> Result<(Mapped, Header), LlmError> {
    let misnamed =
        || format!("its name does not end in {:?}, by which the others are found", split.suffix(split.number));
    let sibling = split.sibling(path, number).ok_or_else(|| split.lacks(path, misnamed()))?;
    if !sibling.is_file() {
        let name = sibling.file_name().unwrap_or_default().to_string_lossy();
        return Err(split.lacks(path, format!("{name} is not beside it")));
    }
    let (file, header) = Mapped::open(&sibling)?;
    match Split::of(&header) {
        Ok(Some(other)) if other == (Split { number, ..split }) => Ok((file, header)),
        _ => Err(split.lacks(path, format!("{} is not part {} of it", sibling.display(), number + 1))),
    }
}

impl Gguf {
    /// Adds the tensors of the next part. No two parts may share a tensor name.
    fn add(&mut self, file: Mapped, header: Header) -> Result<(), (PathBuf, GgufFault)> {
        let number = self.files.len();
        let all = (self.header.tensors.len() + header.tensors.len()) as u64;
        capped("tensor count", all, MAX_TENSORS).map_err(|fault| (file.path.clone(), fault))?;
        for (name, mut tensor) in header.tensors {
            tensor.file = number;
            if self.header.tensors.insert(name.clone(), tensor).is_some() {
                return Err((file.path, GgufFault::Duplicate { what: "tensor", name }));
            }
        }
        self.files.push(file);
        Ok(())
    }
}

/// Returns the single model that `files` form: the only file, or the first of a complete list of
/// parts.
pub fn first_of(mut files: Vec<PathBuf>) -> Option<PathBuf> {
    files.sort();
    let first = files.first()?.clone();
    let split = Split { number: 0, count: files.len() as u64 };
    let fits = |(number, file): (u64, &PathBuf)| split.sibling(&first, number).as_ref() == Some(file);
    (files.len() == 1 || (0..).zip(&files).all(fits)).then_some(first)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::llm::ModelSource;
    use crate::llm::gguf::testing::Builder;

    /// Builds part `number` of `count` with one tensor called `tensor`; the first also has a key.
    fn part(number: u32, count: u32, tensor: &str) -> Vec<u8> {
        let file = Builder::default().u32("split.no", number).u32("split.count", count);
        let file = if number == 0 { file.u32("own", 7) } else { file };
        file.tensor(tensor, &[4], &[number as f32; 4]).build()
    }

    fn name(number: u32, count: u32) -> String {
        format!("model-{number:05}-of-{count:05}.gguf")
    }

    #[test]
    fn any_part_opens_the_whole_model() {
        let dir = tempfile::tempdir().unwrap();
        let path = |number| dir.path().join(name(number, 3));
        for number in 1..=3 {
            fs::write(path(number), part(number - 1, 3, &format!("t{number}"))).unwrap();
        }
        for asked in [path(1), path(2), path(3)] {
            let gguf = Gguf::open(&asked).unwrap();
            assert_eq!(gguf.paths().collect::<Vec<_>>(), [path(1), path(2), path(3)]);
            assert_eq!(gguf.number("own").unwrap(), Some(7));
            for (value, tensor) in ["t1", "t2", "t3"].into_iter().enumerate() {
                assert_eq!(gguf.bytes(gguf.tensor(tensor).unwrap())[..4], (value as f32).to_le_bytes());
            }
        }
        assert_eq!(ModelSource::open(dir.path()).unwrap().path(), path(1), "the folder is the model");
    }

    #[test]
    fn a_part_alone_names_those_that_are_missing() {
        let whole = Builder::default().u32("split.no", 0).u32("split.count", 1).tensor("t", &[1], &[0.0]).build();
        type Files<'a> = &'a [(&'a str, Vec<u8>)];
        let cases: [(&str, Files, &[&str]); 6] = [
            ("first", &[(&name(1, 2), part(0, 2, "a"))], &["part 1 of 2", &name(2, 2), "--merge"]),
            ("second", &[(&name(2, 2), part(1, 2, "a"))], &["part 2 of 2", &name(1, 2), "--merge"]),
            ("renamed", &[("m.gguf", part(0, 2, "a"))], &["part 1 of 2", "-00001-of-00002.gguf"]),
            ("swapped", &[(&name(1, 2), part(0, 2, "a")), (&name(2, 2), part(0, 2, "b"))], &["is not part 2"]),
            ("twice", &[(&name(1, 2), part(0, 2, "a")), (&name(2, 2), part(1, 2, "a"))], &["\"a\" appears twice"]),
            ("beyond", &[("m.gguf", part(2, 2, "a"))], &["split.no", "2 parts"]),
        ];
        for (case, files, words) in cases {
            let dir = tempfile::tempdir().unwrap();
            files.iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).unwrap());
            let message = Gguf::open(&dir.path().join(files[0].0)).err().expect(case).to_string();
            assert!(words.iter().all(|word| message.contains(word)), "{case}: {message}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("m.gguf"), whole).unwrap();
        assert!(Gguf::open(&dir.path().join("m.gguf")).is_ok(), "one of one is whole");
    }

    #[test]
    fn hostile_counts_of_parts_are_refused() {
        for count in [MAX_PARTS as u32 + 1, u32::MAX] {
            let path = tempfile::NamedTempFile::new().unwrap();
            fs::write(path.path(), part(0, count, "t")).unwrap();
            let message = Gguf::open(path.path()).err().unwrap().to_string();
            assert!(message.contains("split.count") && message.contains("the limit is 1024"), "{message}");
        }
    }

    #[test]
    fn a_folder_of_parts_is_one_model() {
        let files = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        for (names, first) in [
            (&["m.gguf"][..], Some("m.gguf")),
            (&["m-00002-of-00002.gguf", "m-00001-of-00002.gguf"], Some("m-00001-of-00002.gguf")),
            (&["m-00001-of-00002.gguf", "n-00002-of-00002.gguf"], None),
            (&["m-00001-of-00003.gguf", "m-00002-of-00003.gguf"], None),
            (&["m.gguf", "n.gguf"], None),
            (&[], None),
        ] {
            assert_eq!(first_of(files(names)), first.map(PathBuf::from), "{names:?}");
        }
    }
}
