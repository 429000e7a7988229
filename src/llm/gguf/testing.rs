//! Builder of GGUF files for tests, field by field, so that each hostile file differs from a good
//! one in one place.

/// ggml's number for f32 tensors.
pub const F32: u32 = 0;

pub const U32: u32 = 4;
pub const I32: u32 = 5;
pub const TEXT: u32 = 8;
pub const ARRAY: u32 = 9;

/// A file under construction.
#[derive(Clone, Default)]
pub struct Builder {
    /// Metadata entries by key, with the key.
    metadata: Vec<(String, Vec<u8>)>,
    /// Table entries by name, with the name.
    table: Vec<(String, Vec<u8>)>,
    data: Vec<u8>,
}

impl Builder {
    pub fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.metadata.push((key.to_owned(), [&string(key), &kind.to_le_bytes()[..], value].concat()));
        self
    }

    /// Removes the key or the tensor called `name`.
    pub fn without(mut self, name: &str) -> Self {
        let before = self.metadata.len() + self.table.len();
        self.metadata.retain(|(key, _)| key != name);
        self.table.retain(|(tensor, _)| tensor != name);
        assert!(self.metadata.len() + self.table.len() < before, "there is no {name}");
        self
    }

    pub fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, U32, &value.to_le_bytes())
    }

    pub fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, TEXT, &string(value))
    }

    pub fn texts<S: AsRef<str>>(self, key: &str, values: &[S]) -> Self {
        let mut list = array(TEXT, values.len() as u64);
        list.extend(values.iter().flat_map(|value| string(value.as_ref())));
        self.raw(key, ARRAY, &list)
    }

    pub fn i32s(self, key: &str, values: &[i32]) -> Self {
        let mut list = array(I32, values.len() as u64);
        list.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.raw(key, ARRAY, &list)
    }

    pub fn flags(self, key: &str, values: &[bool]) -> Self {
        let mut list = array(7, values.len() as u64);
        list.extend(values.iter().map(|&value| u8::from(value)));
        self.raw(key, ARRAY, &list)
    }

    /// Adds an f32 tensor after the others, padded to the default alignment.
    pub fn tensor(mut self, name: &str, dims: &[u64], values: &[f32]) -> Self {
        let offset = self.data.len().next_multiple_of(32);
        self.data.resize(offset, 0);
        self.data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.tensor_entry(name, dims, F32, offset as u64)
    }

    pub fn flag(self, key: &str, value: bool) -> Self {
        self.raw(key, 7, &[u8::from(value)])
    }

    /// Adds only the table entry, true or not.
    pub fn tensor_entry(mut self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
        let mut entry = string(name);
        entry.extend((dims.len() as u32).to_le_bytes());
        entry.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        entry.extend(kind.to_le_bytes());
        entry.extend(offset.to_le_bytes());
        self.table.push((name.to_owned(), entry));
        self
    }

    pub fn build(&self) -> Vec<u8> {
        self.build_claiming(self.table.len() as u64, self.metadata.len() as u64)
    }

    pub fn build_claiming(&self, tensors: u64, entries: u64) -> Vec<u8> {
        let mut file = head(3, tensors, entries);
        file.extend(self.metadata.iter().chain(&self.table).flat_map(|(_, bytes)| bytes));
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(&self.data);
        file
    }
}

pub fn head(version: u32, tensors: u64, entries: u64) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend(version.to_le_bytes());
    file.extend(tensors.to_le_bytes());
    file.extend(entries.to_le_bytes());
    file
}

pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// Encodes the start of an array value: element type and count.
pub fn array(kind: u32, count: u64) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend(count.to_le_bytes());
    bytes
}
