//! Reader of little-endian fields from a GGUF header, with bounds checks.

use std::ops::Range;

use super::{GgufFault, GgufValue, List, MAX_ARRAY, MAX_NAME, MAX_STRING, capped};

/// Type of a metadata value, numbered as in the GGUF specification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ValueKind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl ValueKind {
    fn from_code(code: u32) -> Option<Self> {
        use ValueKind::*;
        const KINDS: [ValueKind; 13] = [U8, I8, U16, I16, U32, I32, F32, Bool, Text, Array, U64, I64, F64];
        KINDS.get(usize::try_from(code).ok()?).copied()
    }

    /// Fewest bytes that one value of this kind can take.
    fn min_bytes(self) -> u64 {
        match self {
            ValueKind::U8 | ValueKind::I8 | ValueKind::Bool => 1,
            ValueKind::U16 | ValueKind::I16 => 2,
            ValueKind::U32 | ValueKind::I32 | ValueKind::F32 => 4,
            ValueKind::Text | ValueKind::U64 | ValueKind::I64 | ValueKind::F64 => 8,
            ValueKind::Array => 12,
        }
    }
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn take(&mut self, wanted: u64, what: &'static str) -> Result<&'a [u8], GgufFault> {
        let left = (self.bytes.len() - self.at) as u64;
        if wanted > left {
            return Err(GgufFault::Truncated { what, wanted, left });
        }
        let taken = &self.bytes[self.at..self.at + wanted as usize];
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufFault> {
        let mut field = [0; N];
        field.copy_from_slice(self.take(N as u64, what)?);
        Ok(field)
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, GgufFault> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, GgufFault> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Reads a short string that is a name.
    pub fn name(&mut self, what: &'static str) -> Result<&'a str, GgufFault> {
        let len = capped(what, self.u64(what)?, MAX_NAME)?;
        std::str::from_utf8(self.take(len, what)?).map_err(|_| GgufFault::NotUtf8 { what })
    }

    /// Reads the byte range of a string value.
    fn text(&mut self) -> Result<Range<usize>, GgufFault> {
        let len = capped("string length", self.u64("string length")?, MAX_STRING)?;
        self.take(len, "string")?;
        Ok(self.at - len as usize..self.at)
    }

    pub fn value(&mut self, key: &str) -> Result<GgufValue, GgufFault> {
        match self.kind(key)? {
            ValueKind::Array => self.list(key).map(GgufValue::List),
            kind => self.scalar(kind),
        }
    }

    fn kind(&mut self, key: &str) -> Result<ValueKind, GgufFault> {
        let code = self.u32("value type")?;
        ValueKind::from_code(code).ok_or_else(|| GgufFault::ValueType { key: key.to_owned(), code })
    }

    fn list(&mut self, key: &str) -> Result<List, GgufFault> {
        let of = self.kind(key)?;
        if of == ValueKind::Array {
            return Err(GgufFault::NestedArray { key: key.to_owned() });
        }
        let count = capped("array length", self.u64("array length")?, MAX_ARRAY)?;
        let start = self.at;
        // Refused before reading the elements: the shortest such array would already exceed the
        // file.
        let fewest = count * of.min_bytes();
        let left = (self.bytes.len() - self.at) as u64;
        if fewest > left {
            return Err(GgufFault::Truncated { what: "array", wanted: fewest, left });
        }
        match of {
            ValueKind::Text => (0..count).try_for_each(|_| self.text().map(drop))?,
            _ => drop(self.take(fewest, "array")?),
        }
        Ok(List { of, len: count as usize, span: start..self.at })
    }

    fn scalar(&mut self, kind: ValueKind) -> Result<GgufValue, GgufFault> {
        const WHAT: &str = "metadata value";
        Ok(match kind {
            ValueKind::U8 => GgufValue::Unsigned(u64::from(self.array::<1>(WHAT)?[0])),
            ValueKind::I8 => GgufValue::Signed(i64::from(i8::from_le_bytes(self.array(WHAT)?))),
            ValueKind::U16 => GgufValue::Unsigned(u64::from(u16::from_le_bytes(self.array(WHAT)?))),
            ValueKind::I16 => GgufValue::Signed(i64::from(i16::from_le_bytes(self.array(WHAT)?))),
            ValueKind::U32 => GgufValue::Unsigned(u64::from(self.u32(WHAT)?)),
            ValueKind::I32 => GgufValue::Signed(i64::from(i32::from_le_bytes(self.array(WHAT)?))),
            ValueKind::U64 => GgufValue::Unsigned(self.u64(WHAT)?),
            ValueKind::I64 => GgufValue::Signed(i64::from_le_bytes(self.array(WHAT)?)),
            ValueKind::F32 => GgufValue::Float(f64::from(f32::from_le_bytes(self.array(WHAT)?))),
            ValueKind::F64 => GgufValue::Float(f64::from_le_bytes(self.array(WHAT)?)),
            ValueKind::Bool => GgufValue::Bool(self.array::<1>(WHAT)?[0] != 0),
            ValueKind::Text => GgufValue::Text(self.text()?),
            ValueKind::Array => unreachable!("arrays are read by `list`"),
        })
    }
}

impl List {
    /// Elements as text; `None` if they are not, or one is not UTF-8.
    pub(super) fn texts<'a>(&self, file: &'a [u8]) -> Option<Vec<&'a str>> {
        if self.of != ValueKind::Text {
            return None;
        }
        let mut reader = Reader::new(&file[self.span.clone()]);
        let mut texts = Vec::with_capacity(self.len);
        for _ in 0..self.len {
            let len = reader.u64("string length").ok()?;
            texts.push(std::str::from_utf8(reader.take(len, "string").ok()?).ok()?);
        }
        Some(texts)
    }

    /// Elements as flags; `None` if they are not.
    pub(super) fn flags(&self, file: &[u8]) -> Option<Vec<bool>> {
        let bytes = &file[self.span.clone()];
        (self.of == ValueKind::Bool).then(|| bytes.iter().map(|&byte| byte != 0).collect())
    }

    /// Elements as whole numbers; `None` if they are not.
    pub(super) fn numbers(&self, file: &[u8]) -> Option<Vec<i64>> {
        let mut reader = Reader::new(&file[self.span.clone()]);
        let mut numbers = Vec::with_capacity(self.len);
        for _ in 0..self.len {
            numbers.push(match reader.scalar(self.of).ok()? {
                GgufValue::Unsigned(n) => i64::try_from(n).ok()?,
                GgufValue::Signed(n) => n,
                _ => return None,
            });
        }
        Some(numbers)
    }
}
