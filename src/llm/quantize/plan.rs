//! Plan of a quantisation: input, output and config.json, all known before the first byte is
//! written.

use serde_json::{Map, Value, json};

use super::error::QuantizeError;
use super::recipe::{Recipe, Scheme};
use crate::llm::checkpoint::header::{CheckpointTensor, Dtype};
use crate::llm::checkpoint::inventory::{Needed, draft_inventory, inventory};
use crate::llm::checkpoint::names::{self, TensorKind, module};
use crate::llm::checkpoint::writer::TensorSpec;
use crate::llm::checkpoint::{Checkpoint, CheckpointFault};

/// Prefix of the names of the text model, and the name of the head, as in mlx-lm.
const PREFIX: &str = "language_model.model.";
const HEAD_PREFIX: &str = "language_model.";

/// Jobs for every tensor.
pub struct QuantizePlan {
    pub jobs: Vec<QuantizeJob>,
    /// Jobs of the draft block, which goes into a file of its own.
    pub draft_jobs: Vec<QuantizeJob>,
    /// Number of values of all weights, in any format.
    pub parameters: u64,
    tied: bool,
    base: Scheme,
    /// Modules in config.json that differ from the default format: path and scheme, or `None` if
    /// not quantised.
    overrides: Vec<(String, Option<Scheme>)>,
    source_bytes: u64,
}

/// One tensor of the source.
#[derive(Debug, PartialEq)]
pub struct QuantizeJob {
    /// Name below the prefix.
    pub source: String,
    pub task: QuantizeTask,
    /// Tensors written for it, in this order.
    pub entries: Vec<TensorSpec>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QuantizeTask {
    /// Copy byte for byte.
    Copy,
    /// Turn a zero-centred norm into one that multiplies as it is.
    AddOne,
    /// Convert any float to f32.
    Widen,
    Pack(Scheme),
}

impl QuantizePlan {
    pub fn new(checkpoint: &Checkpoint, recipe: &Recipe) -> Result<QuantizePlan, QuantizeError> {
        let source_tied = checkpoint.tied();
        let needed = inventory(checkpoint.model_config(), source_tied);
        checkpoint.refuse_all_but(&needed)?;
        let mut plan = QuantizePlan {
            jobs: Vec::new(),
            draft_jobs: Vec::new(),
            parameters: 0,
            tied: source_tied && !recipe.separates_head(),
            base: recipe.base(),
            overrides: Vec::new(),
            source_bytes: 0,
        };
        for needed in &needed {
            let full = if needed.name == names::HEAD { HEAD_PREFIX } else { PREFIX }.to_owned() + &needed.name;
            let job = plan.job(checkpoint, recipe, needed, (&needed.name, full), checkpoint.raw())?;
            plan.jobs.push(job);
            if needed.name == names::EMBEDDING && source_tied && !plan.tied {
                let head = (names::HEAD, format!("{HEAD_PREFIX}{}", names::HEAD));
                let job = plan.job(checkpoint, recipe, needed, head, checkpoint.raw())?;
                plan.jobs.push(job);
            }
        }
        if checkpoint.drafts() {
            let raw = checkpoint.drafts_raw()?;
            for needed in &draft_inventory(checkpoint.model_config()) {
                let job = plan.job(checkpoint, recipe, needed, (&needed.name, needed.name.clone()), raw)?;
                plan.draft_jobs.push(job);
            }
        }
        Ok(plan)
    }

    /// Job that writes the tensor `needed` of the source as `name`, or `full` with its prefix.
    /// Norms are zero-centred if `raw`.
    fn job(
        &mut self,
        checkpoint: &Checkpoint,
        recipe: &Recipe,
        needed: &Needed,
        (name, full): (&str, String),
        raw: bool,
    ) -> Result<QuantizeJob, QuantizeError> {
        let tensor = source(checkpoint, needed)?;
        let whole = |dtype: Dtype, dims: &[usize]| vec![TensorSpec::new(full.clone(), dtype, dims)];
        let (dtype, dims) = (tensor.dtype.clone(), &needed.dims[..]);
        let (task, entries) = match (needed.kind, recipe.scheme(name, dims[dims.len() - 1])) {
            (TensorKind::Matrix, scheme) => {
                if scheme != Some(self.base) {
                    self.overrides.push((module(&full).to_owned(), scheme));
                }
                match scheme {
                    Some(scheme) => (QuantizeTask::Pack(scheme), packed(&full, dims, scheme)),
                    None => (QuantizeTask::Copy, whole(dtype, dims)),
                }
            }
            (TensorKind::Norm, _) if raw => (QuantizeTask::AddOne, whole(dtype, dims)),
            // The bytes are in the same order, only the shape differs.
            (TensorKind::Convolution, _) => (QuantizeTask::Copy, whole(dtype, &[dims[0], dims[2], dims[1]])),
            (TensorKind::Decay, _) => (QuantizeTask::Widen, whole(Dtype::F32, dims)),
            (TensorKind::Norm | TensorKind::GatedNorm | TensorKind::Bias, _) => {
                (QuantizeTask::Copy, whole(dtype, dims))
            }
        };
        self.parameters += dims.iter().map(|&dim| dim as u64).product::<u64>();
        self.source_bytes += tensor.span.len() as u64;
        Ok(QuantizeJob { source: needed.name.clone(), task, entries })
    }

    /// Bytes of all data to write.
    pub fn bytes(&self) -> u64 {
        bytes(&self.jobs) + bytes(&self.draft_jobs)
    }

    pub fn source_bytes(&self) -> u64 {
        self.source_bytes
    }

    /// config.json of the source without the parts left out, and with the quantisation. The draft
    /// block is not mentioned: the files it describes hold none.
    pub fn config(&self, checkpoint: &Checkpoint) -> Value {
        let mut file = checkpoint.config().clone();
        let mut text = match file.get("text_config") {
            Some(Value::Object(text)) => text.clone(),
            _ => std::mem::take(&mut file),
        };
        for config in [&mut file, &mut text] {
            config.insert("tie_word_embeddings".to_owned(), self.tied.into());
        }
        text.insert("model_type".to_owned(), "qwen3_5_text".into());
        text.insert("mtp_num_hidden_layers".to_owned(), 0.into());
        file.insert("model_type".to_owned(), "qwen3_5".into());
        file.entry("architectures").or_insert(json!(["Qwen3_5ForConditionalGeneration"]));
        file.shift_remove("vision_config");
        let quantization = self.quantization();
        file.insert("quantization".to_owned(), quantization.clone());
        file.insert("quantization_config".to_owned(), quantization);
        file.insert("text_config".to_owned(), text.into());
        file.into()
    }

    fn quantization(&self) -> Value {
        let of = |scheme: Scheme| json!({ "group_size": scheme.group, "bits": scheme.bits });
        let mut all: Map<String, Value> = of(self.base).as_object().cloned().unwrap_or_default();
        all.insert("mode".to_owned(), "affine".into());
        for (module, scheme) in &self.overrides {
            all.insert(module.clone(), scheme.map_or(Value::Bool(false), of));
        }
        all.into()
    }
}

/// Entries that these jobs write.
pub fn entries(jobs: &[QuantizeJob]) -> Vec<TensorSpec> {
    jobs.iter().flat_map(|job| job.entries.iter().cloned()).collect()
}

/// Bytes of the data of [`entries`].
pub fn bytes(jobs: &[QuantizeJob]) -> u64 {
    jobs.iter().flat_map(|job| &job.entries).map(TensorSpec::bytes).sum()
}

/// Returns the tensor of the source, checked against its expected shape.
fn source<'a>(checkpoint: &'a Checkpoint, needed: &Needed) -> Result<&'a CheckpointTensor, QuantizeError> {
    let (tensor, _) = checkpoint.find(&needed.name)?;
    if tensor.dtype == Dtype::U32 {
        return Err(QuantizeError::Packed { path: checkpoint.dir().to_owned(), tensor: tensor.name.clone() });
    }
    checkpoint.float(&needed.name)?;
    let same = match needed.kind {
        // The layout was determined when the checkpoint was opened.
        TensorKind::Convolution => tensor.dims[0] == needed.dims[0],
        _ => tensor.dims == needed.dims,
    };
    match same {
        true => Ok(tensor),
        false => {
            let (found, wanted) = (format!("{:?}", tensor.dims), format!("{:?}", needed.dims));
            let fault = CheckpointFault::Mismatch { tensor: tensor.name.clone(), found, wanted };
            Err(checkpoint.damaged_at(&needed.name, fault).into())
        }
    }
}

fn packed(full: &str, dims: &[usize], scheme: Scheme) -> Vec<TensorSpec> {
    let (rows, cols) = (dims[0], dims[1]);
    let (module, parameters) = (module(full), [rows, cols / scheme.group]);
    vec![
        TensorSpec::new(full, Dtype::U32, &[rows, cols / 32 * scheme.bits]),
        TensorSpec::new(format!("{module}.scales"), Dtype::BF16, &parameters),
        TensorSpec::new(format!("{module}.biases"), Dtype::BF16, &parameters),
    ]
}
