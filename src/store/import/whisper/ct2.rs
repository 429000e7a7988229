//! Reader of CTranslate2's `model.bin`, version 6: a table of named, row-major variables,
//! little-endian throughout.
//!
//! A string is its length as u16 (the final NUL counted), its bytes, and NUL. The file is: u32
//! version; string, the kind of model; u32 revision; u32 number of variables; then each variable as
//! string name, u8 rank, that many u32 dimensions, u8 type, u32 number of bytes, data. Aliases
//! follow; the conversion of Whisper does not need them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use super::ImportError;

const VERSION: u32 = 6;
const KIND: &str = "WhisperSpec";
const MAX_VARIABLES: u32 = 10_000;
const MAX_RANK: u8 = 4;
const MAX_ALIASES: u32 = 10_000;
/// Number of elements that are converted at a time.
const CHUNK: usize = 32 * 1024;

/// Open checkpoint, with its table in memory and the numbers still on disk.
pub struct Ct2Checkpoint {
    path: PathBuf,
    file: BufReader<File>,
    variables: BTreeMap<String, Variable>,
}

#[derive(Clone, Debug)]
struct Variable {
    shape: Vec<usize>,
    kind: Ct2ValueKind,
    /// Offset of the data in the file.
    offset: u64,
}

/// Storage format of a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ct2ValueKind {
    F32,
    I8,
    I16,
    I32,
    F16,
    BF16,
}

impl Ct2ValueKind {
    fn from_code(code: u8) -> Option<Self> {
        [
            Ct2ValueKind::F32,
            Ct2ValueKind::I8,
            Ct2ValueKind::I16,
            Ct2ValueKind::I32,
            Ct2ValueKind::F16,
            Ct2ValueKind::BF16,
        ]
        .get(usize::from(code))
        .copied()
    }

    fn bytes(self) -> usize {
        match self {
            Ct2ValueKind::I8 => 1,
            Ct2ValueKind::I16 | Ct2ValueKind::F16 | Ct2ValueKind::BF16 => 2,
            Ct2ValueKind::F32 | Ct2ValueKind::I32 => 4,
        }
    }
}

impl Ct2Checkpoint {
    /// Reads the table and checks that every variable lies inside the file.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let io = |source| ImportError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut table = Table { file: BufReader::new(file), position: 0, length };
        let variables = table.read().map_err(|trouble| trouble.at(path))?;
        Ok(Ct2Checkpoint { path: path.to_owned(), file: table.file, variables })
    }

    /// Returns the dimensions of a variable, which must exist.
    pub fn shape(&self, name: &str) -> Result<&[usize], ImportError> {
        self.variable(name).map(|variable| &variable.shape[..])
    }

    /// Reads an integer variable of rank 0.
    pub fn scalar(&mut self, name: &str) -> Result<usize, ImportError> {
        let variable = self.variable(name)?.clone();
        if !variable.shape.is_empty()
            || !matches!(variable.kind, Ct2ValueKind::I8 | Ct2ValueKind::I16 | Ct2ValueKind::I32)
        {
            return Err(self.refuse(format!("{name} is not a whole number")));
        }
        let mut data = [0; 4];
        self.read_at(variable.offset, &mut data[..variable.kind.bytes()])?;
        // A negative value becomes a large one here; the limits of the caller refuse it.
        Ok(u32::from_le_bytes(data) as usize)
    }

    /// Counts the layers `side/layer_0`, `side/layer_1` … that the file has without a gap.
    pub fn layers(&self, side: &str) -> usize {
        let present = |layer: &usize| {
            self.variables.contains_key(&format!("{side}/layer_{layer}/self_attention/linear_0/weight"))
        };
        (0..self.variables.len()).take_while(present).count()
    }

    /// Passes `rows` (of the first dimension) of a variable to `sink`, in order, some thousand
    /// numbers at a time. `shape` is the expected shape of the whole variable.
    pub fn rows(
        &mut self,
        name: &str,
        shape: &[usize],
        rows: Range<usize>,
        sink: &mut dyn FnMut(&[f32]) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let variable = self.variable(name)?.clone();
        if variable.shape != shape {
            return Err(self.refuse(format!("{name} is {:?}, but must be {shape:?}", variable.shape)));
        }
        let row: usize = shape[1..].iter().product();
        let size = variable.kind.bytes();
        let mut left = rows.len() * row;
        let mut offset = variable.offset + (rows.start * row * size) as u64;
        let (mut bytes, mut numbers) = (vec![0; CHUNK * size], Vec::with_capacity(CHUNK));
        while left > 0 {
            let count = left.min(CHUNK);
            let bytes = &mut bytes[..count * size];
            self.read_at(offset, bytes)?;
            widen(variable.kind, bytes, &mut numbers).map_err(|why| self.refuse(format!("{name} {why}")))?;
            sink(&numbers)?;
            left -= count;
            offset += bytes.len() as u64;
        }
        Ok(())
    }

    /// Reads rows as [`Self::rows`] does, but returns all of them at once.
    pub fn numbers(&mut self, name: &str, shape: &[usize], rows: Range<usize>) -> Result<Vec<f32>, ImportError> {
        let mut numbers = Vec::new();
        self.rows(name, shape, rows, &mut |more| {
            numbers.extend_from_slice(more);
            Ok(())
        })?;
        Ok(numbers)
    }

    pub fn refuse(&self, why: String) -> ImportError {
        ImportError::Format { path: self.path.clone(), why }
    }

    fn variable(&self, name: &str) -> Result<&Variable, ImportError> {
        self.variables.get(name).ok_or_else(|| self.refuse(format!("the variable {name} is missing")))
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), ImportError> {
        let io = |source| ImportError::Io { path: self.path.clone(), source };
        self.file.seek(SeekFrom::Start(offset)).map_err(io)?;
        self.file.read_exact(buffer).map_err(io)
    }
}

/// Converts `bytes` to f32 and replaces the contents of `numbers` with them.
fn widen(kind: Ct2ValueKind, bytes: &[u8], numbers: &mut Vec<f32>) -> Result<(), String> {
    numbers.clear();
    match kind {
        Ct2ValueKind::F32 => numbers.extend(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
        Ct2ValueKind::F16 => numbers.extend(bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32())),
        Ct2ValueKind::BF16 => numbers.extend(bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32())),
        Ct2ValueKind::I8 | Ct2ValueKind::I16 | Ct2ValueKind::I32 => {
            return Err(format!("is quantised ({kind:?}); only float checkpoints are converted"));
        }
    }
    Ok(())
}

/// File while its table is read. No position ever passes `length`.
struct Table {
    file: BufReader<File>,
    position: u64,
    length: u64,
}

enum Trouble {
    Io(io::Error),
    Format(String),
}

impl Trouble {
    fn at(self, path: &Path) -> ImportError {
        match self {
            Trouble::Io(source) => ImportError::Io { path: path.to_owned(), source },
            Trouble::Format(why) => ImportError::Format { path: path.to_owned(), why },
        }
    }
}

fn refuse<T>(why: String) -> Result<T, Trouble> {
    Err(Trouble::Format(why))
}

impl Table {
    fn read(&mut self) -> Result<BTreeMap<String, Variable>, Trouble> {
        let version = self.number()?;
        if version != VERSION {
            return refuse(format!("version {version} is not CTranslate2's version {VERSION}"));
        }
        let kind = self.string()?;
        if kind != KIND {
            return refuse(format!("it holds a {kind:?}, not a {KIND}"));
        }
        let _revision = self.number()?;
        let count = self.number()?;
        if count > MAX_VARIABLES {
            return refuse(format!("{count} variables are more than the accepted {MAX_VARIABLES}"));
        }
        let mut variables = BTreeMap::new();
        for _ in 0..count {
            let (name, variable) = self.variable()?;
            if variables.contains_key(&name) {
                return refuse(format!("the variable {name} stands in it twice"));
            }
            variables.insert(name, variable);
        }
        self.skip_aliases()?;
        Ok(variables)
    }

    fn variable(&mut self) -> Result<(String, Variable), Trouble> {
        let name = self.string()?;
        let [rank] = self.bytes()?;
        if rank > MAX_RANK {
            return refuse(format!("{name} has {rank} dimensions, more than the accepted {MAX_RANK}"));
        }
        let shape = (0..rank).map(|_| Ok(self.number()? as usize)).collect::<Result<Vec<_>, Trouble>>()?;
        let [code] = self.bytes()?;
        let Some(kind) = Ct2ValueKind::from_code(code) else {
            return refuse(format!("{name} has the unknown type {code}"));
        };
        let stated = self.number()?;
        let due = shape.iter().try_fold(kind.bytes(), |size, &dimension| size.checked_mul(dimension));
        if due != Some(stated as usize) {
            return refuse(format!("{name} {shape:?} of {kind:?} states {stated} bytes"));
        }
        let offset = self.position;
        self.skip(u64::from(stated), &name)?;
        Ok((name, Variable { shape, kind, offset }))
    }

    /// Skips the aliases, so that a truncated file is noticed, and refuses anything after them.
    fn skip_aliases(&mut self) -> Result<(), Trouble> {
        let count = self.number()?;
        if count > MAX_ALIASES {
            return refuse(format!("{count} aliases are more than the accepted {MAX_ALIASES}"));
        }
        for _ in 0..2 * count {
            self.string()?;
        }
        match self.length - self.position {
            0 => Ok(()),
            rest => refuse(format!("{rest} bytes follow its end")),
        }
    }

    fn skip(&mut self, count: u64, what: &str) -> Result<(), Trouble> {
        let left = self.length - self.position;
        if count > left {
            return refuse(format!("it ends inside {what}: {left} of {count} bytes are there"));
        }
        self.file.seek_relative(count as i64).map_err(Trouble::Io)?;
        self.position += count;
        Ok(())
    }

    fn number(&mut self) -> Result<u32, Trouble> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn string(&mut self) -> Result<String, Trouble> {
        let length = usize::from(u16::from_le_bytes(self.bytes()?));
        let mut text = vec![0; length];
        self.fill(&mut text)?;
        if text.pop() != Some(0) {
            return refuse(format!("a string of {length} bytes does not end in NUL"));
        }
        String::from_utf8(text).or_else(|_| refuse("a string is not UTF-8".to_owned()))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Trouble> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Trouble> {
        let left = self.length - self.position;
        if buffer.len() as u64 > left {
            return refuse(format!("it ends after {} bytes, inside its table", self.length));
        }
        self.file.read_exact(buffer).map_err(Trouble::Io)?;
        self.position += buffer.len() as u64;
        Ok(())
    }
}
