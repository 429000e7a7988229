//! Expected tensors: results of another implementation with the same weights.
//!
//! A folder holds `ref_f64.safetensors` (computed in f64) or `golden.safetensors` (by transformers
//! in f32), or both; the first takes precedence. A folder of an MLX checkpoint holds a
//! `golden.safetensors` of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;

use super::VerifyError;
use crate::llm::checkpoint::header::{self, CheckpointTensor, Dtype};
use crate::llm::checkpoint::{folder_of, map_file};

const EXACT: &str = "ref_f64.safetensors";
const GOLDEN: &str = "golden.safetensors";

/// Several files of expected tensors. For equal names, the earlier file counts.
pub struct Expected {
    files: Vec<Tensors>,
}

struct Tensors {
    path: PathBuf,
    map: Mmap,
    tensors: HashMap<String, CheckpointTensor>,
}

/// One expected tensor, not yet read.
#[derive(Clone, Copy)]
pub struct ExpectedTensor<'a> {
    file: &'a Tensors,
    tensor: &'a CheckpointTensor,
}

impl Expected {
    /// Opens the expected tensors of a model: in the folder `against`, else in its parent folder;
    /// if `against` is a file, only in that.
    pub fn of_model(against: &Path) -> Result<Expected, VerifyError> {
        let found = std::fs::metadata(against);
        if found.map_err(|why| VerifyError::Unreadable { path: against.to_owned(), why })?.is_file() {
            return Expected::open(&[against.to_owned()]);
        }
        // The file in an MLX folder uses other tensor names, so nothing is taken from it by
        // mistake.
        let in_folder = |dir: PathBuf| [EXACT, GOLDEN].map(|name| dir.join(name));
        Expected::open(&[against.to_owned(), around(against)].map(in_folder).concat())
    }

    /// Opens the expected tensors of an MLX checkpoint in `model`: from `against` itself, the
    /// folder in it of the same name, or `model`; if `against` is a file, only from that.
    pub fn of_mlx(against: &Path, model: &Path) -> Result<Expected, VerifyError> {
        if against.is_file() {
            return Expected::of_model(against);
        }
        let mut paths = vec![against.join(GOLDEN)];
        if let Some(name) = model.canonicalize().ok().as_deref().and_then(Path::file_name) {
            paths.push(against.join(name).join(GOLDEN));
        }
        paths.push(model.join(GOLDEN));
        Expected::open(&paths)
    }

    /// Opens the expected tensors in the folder of `against`, whether it is a file or a folder.
    pub fn beside(against: &Path) -> Result<Expected, VerifyError> {
        match against.is_file() {
            true => Expected::of_model(folder_of(against)),
            false => Expected::of_model(against),
        }
    }

    /// Opens the files of `paths` that exist.
    fn open(paths: &[PathBuf]) -> Result<Expected, VerifyError> {
        let mut files: Vec<Tensors> = Vec::new();
        for path in paths.iter().filter(|path| path.is_file()) {
            if files.iter().all(|file| file.path != *path) {
                files.push(Tensors::open(path)?);
            }
        }
        Ok(Expected { files })
    }

    pub fn get(&self, name: &str) -> Option<ExpectedTensor<'_>> {
        let in_file = |file: &'_ Tensors| file.tensors.contains_key(name);
        let file = self.files.iter().find(|file| in_file(file))?;
        Some(ExpectedTensor { file, tensor: &file.tensors[name] })
    }

    /// Names of all tensors, each once, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.files.iter().flat_map(|file| file.tensors.keys().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Paths for a message.
    pub fn places(&self) -> String {
        let paths: Vec<String> = self.files.iter().map(|file| file.path.display().to_string()).collect();
        if paths.is_empty() { "no file that is there".to_owned() } else { paths.join(", ") }
    }
}

/// Parent folder of `path`.
fn around(path: &Path) -> PathBuf {
    match path.canonicalize().ok().as_deref().and_then(Path::parent) {
        Some(dir) => dir.to_owned(),
        None => path.join(".."),
    }
}

impl Tensors {
    fn open(path: &Path) -> Result<Tensors, VerifyError> {
        let map = map_file(path).map_err(|why| VerifyError::Unreadable { path: path.to_owned(), why })?;
        let damaged = |fault| VerifyError::Damaged { path: path.to_owned(), fault };
        let tensors = header::parse(&map).map_err(damaged)?;
        let tensors = tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        Ok(Tensors { path: path.to_owned(), map, tensors })
    }
}

impl ExpectedTensor<'_> {
    pub fn name(&self) -> &str {
        &self.tensor.name
    }

    pub fn path(&self) -> &Path {
        &self.file.path
    }

    pub fn dims(&self) -> &[usize] {
        &self.tensor.dims
    }

    /// Reads all values; refused if they are not numbers or the shape is not `dims`.
    pub fn values(&self, dims: &[usize]) -> Result<Vec<f32>, VerifyError> {
        if self.dims() != dims {
            return Err(self.misfit(format!("{dims:?}")));
        }
        let bytes = &self.file.map[self.tensor.span.clone()];
        Ok(match self.tensor.dtype {
            Dtype::F32 => words(bytes, f32::from_le_bytes),
            Dtype::F16 => words(bytes, |word| f16::from_le_bytes(word).to_f32()),
            Dtype::BF16 => words(bytes, |word| bf16::from_le_bytes(word).to_f32()),
            Dtype::Other(ref name) if name == "F64" => words(bytes, |word| f64::from_le_bytes(word) as f32),
            _ => return Err(self.misfit(format!("{dims:?} of floats"))),
        })
    }

    /// Reads a list of tokens of a vocabulary.
    pub fn tokens(&self, vocabulary: usize) -> Result<Vec<u32>, VerifyError> {
        let bytes = &self.file.map[self.tensor.span.clone()];
        let ids: Vec<i64> = match &self.tensor.dtype {
            Dtype::U32 => words(bytes, |word| i64::from(u32::from_le_bytes(word))),
            Dtype::Other(name) if name == "I32" => words(bytes, |word| i64::from(i32::from_le_bytes(word))),
            Dtype::Other(name) if name == "I64" => words(bytes, i64::from_le_bytes),
            _ => return Err(self.misfit("a list of whole numbers".to_owned())),
        };
        let known = |id: i64| u32::try_from(id).ok().filter(|&id| (id as usize) < vocabulary);
        let tokens: Option<Vec<u32>> = ids.into_iter().map(known).collect();
        tokens.filter(|tokens| !tokens.is_empty()).ok_or_else(|| self.misfit(format!("tokens below {vocabulary}")))
    }

    pub fn misfit(&self, wanted: String) -> VerifyError {
        let CheckpointTensor { name, dtype, dims, .. } = self.tensor;
        VerifyError::Misfit { tensor: name.clone(), found: format!("{} {dims:?}", dtype.name()), wanted }
    }
}

fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|word| read(*word)).collect()
}
