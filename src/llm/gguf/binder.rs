//! The tensors of a GGUF file, as a model binds them.

use std::collections::HashSet;

use sotto_kernels::unpack_row;

use super::{Gguf, GgufFault, Tensor};
use crate::llm::LlmError;
use crate::llm::tensors::{Tensors, Weight};

pub struct Binder<'a> {
    gguf: &'a Gguf,
    bound: HashSet<String>,
}

impl Gguf {
    pub fn binder(&self) -> Binder<'_> {
        Binder { gguf: self, bound: HashSet::new() }
    }
}

impl Tensors for Binder<'_> {
    fn has(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight, LlmError> {
        let gguf = self.gguf;
        let Tensor { kind, span, .. } = self.tensor(name, |dims| dims == [cols, rows], format!("[{cols}, {rows}]"))?;
        let (kind, span) = (*kind, span.clone());
        Ok(Weight::mapped(kind, rows, cols, gguf.map(), span).expect("the header gave each tensor its exact bytes"))
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LlmError> {
        let gguf = self.gguf;
        let tensor = self.tensor(name, |dims| dims.iter().product::<usize>() == len, format!("[{len}]"))?;
        let mut values = vec![0.0; len];
        unpack_row(tensor.kind, &gguf.map()[tensor.span.clone()], &mut values);
        Ok(values)
    }

    fn refuse_the_rest(&self) -> Result<(), LlmError> {
        // The first by name, so that the same file always gives the same message.
        let unbound = self.gguf.tensors().map(|tensor| &tensor.name).filter(|name| !self.bound.contains(*name)).min();
        match unbound {
            Some(name) => Err(self.gguf.unsupported(format!("the tensor {name:?}"), "plain llama and qwen2 layers")),
            None => Ok(()),
        }
    }
}

impl Binder<'_> {
    fn tensor(&mut self, name: &str, fits: impl Fn(&[usize]) -> bool, wanted: String) -> Result<&Tensor, LlmError> {
        let missing = || self.gguf.damaged(GgufFault::MissingTensor { tensor: name.to_owned() });
        let tensor = self.gguf.tensor(name).ok_or_else(missing)?;
        if !fits(&tensor.dims) {
            let found = format!("{:?}", tensor.dims);
            return Err(self.gguf.damaged(GgufFault::TensorMismatch { tensor: name.to_owned(), found, wanted }));
        }
        self.bound.insert(name.to_owned());
        Ok(tensor)
    }
}
