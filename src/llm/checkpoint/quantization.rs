//! Declarations of quantised tensors in config.json, in the variants that writers of MLX files use.
//!
//! `quantization` (mirrored as `quantization_config`) holds `bits`, `group_size` and `mode` for all
//! modules, and under the path of a module an object of its own, or `false` for one that is not
//! quantised. Other files have `quantization_bits` and `quantization_group_size`, or only the text
//! "int8". The actual contents are read from the shapes of the tensors and compared with the
//! declaration.

use std::collections::HashMap;

use serde_json::Value;

use super::config::{Fields, shown};
use super::names;
use crate::llm::LlmError;

const MODES: &str = "affine";

/// Declarations of a file; empty if it has none.
#[derive(Debug, Default)]
pub struct Quantization {
    all: Declared,
    /// Declarations by the path of the module below its prefix.
    modules: HashMap<String, Module>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Module {
    Float,
    Affine(Declared),
}

/// Bits of a code and values of a group, as far as they are declared.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Declared {
    bits: Option<u64>,
    group: Option<u64>,
}

impl Quantization {
    pub fn parse(top: &Fields, text: &Fields) -> Result<Self, LlmError> {
        let mut found = Quantization::default();
        let places = [
            (top, "quantization"),
            (text, "quantization"),
            (top, "quantization_config"),
            (text, "quantization_config"),
        ];
        if let Some((fields, key)) = places.into_iter().find(|(fields, key)| fields.get(key).is_some()) {
            found = Quantization::read(fields, key)?;
        }
        for fields in [text, top] {
            let flat =
                Declared { bits: fields.whole("quantization_bits")?, group: fields.whole("quantization_group_size")? };
            found.all = Declared { bits: flat.bits.or(found.all.bits), group: flat.group.or(found.all.group) };
        }
        Ok(found)
    }

    fn read(fields: &Fields, key: &str) -> Result<Self, LlmError> {
        match fields.get(key) {
            Some(Value::Object(object)) => Quantization::read_object(&fields.of(object)),
            Some(Value::String(name)) => {
                let bits = name.strip_prefix("int").and_then(|bits| bits.parse().ok());
                let bits = bits.ok_or_else(|| {
                    fields.unsupported(
                        format!("the quantisation {}", shown(&name.as_str().into())),
                        "int4, int5, int6, int8",
                    )
                })?;
                Ok(Quantization { all: Declared { bits: Some(bits), group: None }, ..Quantization::default() })
            }
            Some(other) => Err(fields.bad(key, shown(other), "it must be an object".to_owned())),
            None => Ok(Quantization::default()),
        }
    }

    fn read_object(object: &Fields) -> Result<Self, LlmError> {
        object.only("quant_method", "quantisation by", &["affine", "mlx"], "affine quantisation as MLX has it")?;
        let mut modules = HashMap::new();
        for (path, value) in object.iter() {
            let module = match value {
                Value::Object(own) => Module::Affine(declared(&object.of(own))?),
                Value::Bool(false) => Module::Float,
                // True adds nothing to the declaration for all modules.
                _ => continue,
            };
            modules.insert(names::below_prefix(path).to_owned(), module);
        }
        Ok(Quantization { all: declared(object)?, modules })
    }

    /// Describes how a module quantised to `bits` in groups of `group` contradicts its declaration;
    /// `None` if it does not.
    pub fn contradicts(&self, module: &str, bits: usize, group: usize) -> Option<String> {
        let declared = match self.modules.get(names::below_prefix(module)) {
            Some(Module::Float) => return Some("not quantised".to_owned()),
            Some(Module::Affine(own)) => own,
            None => &self.all,
        };
        let differs = |said: Option<u64>, is: usize| said.is_some_and(|said| said != is as u64);
        if differs(declared.bits, bits) || differs(declared.group, group) {
            let said = |n: Option<u64>| n.map_or("any".to_owned(), |n| n.to_string());
            return Some(format!("{} bits in groups of {}", said(declared.bits), said(declared.group)));
        }
        None
    }
}

fn declared(object: &Fields) -> Result<Declared, LlmError> {
    object.only("mode", "the quantisation mode", &[MODES], MODES)?;
    Ok(Declared { bits: object.whole("bits")?, group: object.whole("group_size")? })
}
