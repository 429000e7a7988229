//! Strict parsing of untrusted JSON: a duplicate key is refused, because two readers could use
//! different values.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::CheckpointFault;
use crate::sniff;

/// Limit of a parser message in bytes: it quotes its input, which may be megabytes.
const MAX_MESSAGE: usize = 200;
/// Limit of a key in bytes: tensor names stay under 100.
const MAX_KEY: usize = 256;

pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CheckpointFault> {
    serde_json::from_slice(bytes)
        .map_err(|error| CheckpointFault::Json(error.to_string().chars().take(MAX_MESSAGE).collect()))
}

/// Parses a whole file, with or without a byte order mark. Names the format of a file that is
/// something else.
pub fn parse_file<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CheckpointFault> {
    parse(sniff::without_mark(bytes)).map_err(|fault| sniff::known(bytes).map_or(fault, CheckpointFault::OtherFile))
}

/// Reads a key of an object, of a bounded length and not seen before.
pub fn next_key<'de, A: MapAccess<'de>>(map: &mut A, seen: &mut HashSet<String>) -> Result<Option<String>, A::Error> {
    let Some(key) = map.next_key::<String>()? else { return Ok(None) };
    if key.len() > MAX_KEY {
        return Err(A::Error::custom(format_args!("a key of {} bytes, the limit is {MAX_KEY}", key.len())));
    }
    if !seen.insert(key.clone()) {
        return Err(A::Error::custom(format_args!("the key {key:?} appears twice")));
    }
    Ok(Some(key))
}

/// An object whose values are all of one type, in the order of the file.
#[derive(Debug)]
pub struct Entries<T>(pub Vec<(String, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Entries(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let (mut seen, mut entries) = (HashSet::new(), Vec::new());
        while let Some(key) = next_key(&mut map, &mut seen)? {
            entries.push((key, map.next_value()?));
        }
        Ok(Entries(entries))
    }
}

/// Any JSON value without duplicate keys in its objects. The parser limits its depth.
pub struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Strict(values.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
        let (mut seen, mut object) = (HashSet::new(), Map::new());
        while let Some(key) = next_key(&mut map, &mut seen)? {
            let Strict(value) = map.next_value()?;
            object.insert(key, value);
        }
        Ok(Strict(object.into()))
    }
}
