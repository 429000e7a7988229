//! Arguments of the commands that work on model files: `sotto models`, `sotto quantize` and `sotto
//! verify`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args as Group, Subcommand};

use super::{Format, Memory};
use crate::llm::quantize;

#[derive(Debug, Subcommand)]
pub enum Models {
    /// List the models of the catalogue, and which of them are here
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Fetch models
    ///
    /// Without names, the models that the pipeline uses. A download that was cut off goes on where
    /// it stopped.
    Pull {
        /// The models to fetch
        #[arg(value_name = "NAME")]
        names: Vec<String>,

        /// Fetch every model of this profile, such as "starter"
        #[arg(long, value_name = "PROFILE", conflicts_with = "names")]
        profile: Option<String>,

        #[command(flatten)]
        format: Format,
    },
    /// Check fetched models against the digests of the catalogue
    Verify {
        /// The models to check; without names, all that are here
        #[arg(value_name = "NAME")]
        names: Vec<String>,

        #[command(flatten)]
        format: Format,
    },
    /// Print where a model is kept
    Path {
        /// The model
        #[arg(value_name = "NAME")]
        name: String,

        /// One file of it; without it, the folder
        #[arg(value_name = "FILE")]
        file: Option<String>,

        #[command(flatten)]
        format: Format,
    },
    /// Convert a model into the form that Sotto loads
    ///
    /// "sotto models pull" does this by itself; use it for a model of your own, and give its path
    /// as asr.model or tts.voice: --set asr.model=DST/whisper.ggml, --set tts.voice=./DST
    Import {
        /// Kind of the model: "whisper" or "piper"
        #[arg(value_name = "KIND")]
        kind: String,

        /// The model as it was published: for "whisper" the folder of a CTranslate2 model, for
        /// "piper" the .onnx file with its .onnx.json beside it
        #[arg(value_name = "SRC")]
        source: PathBuf,

        /// The folder for the converted model
        #[arg(value_name = "DST")]
        destination: PathBuf,
    },
}

#[derive(Debug, Group)]
pub struct Quantize {
    /// The checkpoint as it was published: a folder
    #[arg(value_name = "SRC")]
    pub source: PathBuf,

    /// The folder for the smaller one
    #[arg(value_name = "DST")]
    pub destination: PathBuf,

    /// How many bits: "mixed" gives sensitive weights more, "int8" is nearly exact, "int4" the
    /// smallest
    #[arg(long, value_enum, default_value = "mixed")]
    pub format: quantize::QuantFormat,

    /// How many weights share a scale: 32, 64 or 128; smaller groups are larger files and smaller
    /// errors
    ///
    /// Without it 64, and 32 for "int8". "mixed" chooses for each weight.
    #[arg(long, value_name = "N")]
    pub group: Option<usize>,

    /// Replace DST if there is a model already
    #[arg(long)]
    pub force: bool,

    /// Print one JSON object, for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Group)]
pub struct Verify {
    /// The model: a GGUF file, or the folder of a checkpoint as published or as MLX writes it
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// The checkpoint that MODEL was made of, as it was published; without it MODEL itself, if its
    /// weights are floats
    #[arg(long, value_name = "DIR", conflicts_with = "against")]
    pub reference: Option<PathBuf>,

    /// The text to compare over, in UTF-8; without it a few passages that Sotto brings along
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    pub text: Option<PathBuf>,

    /// Compare with the expected tensors in this folder: ref_f64.safetensors, golden.safetensors
    ///
    /// The kind of MODEL decides which tensors apply: "logits" and states for weights in floats,
    /// "gguf_q8_0.logits" for a GGUF file in Q8_0, "logits_f32run" of its own golden.safetensors
    /// for a checkpoint of MLX.
    #[arg(long, value_name = "DIR")]
    pub against: Option<PathBuf>,

    /// With --against: feed the tokens so many at a time; 1 computes as an answer is computed
    #[arg(long, value_name = "N", requires = "against")]
    pub chunk: Option<NonZeroUsize>,

    /// Device to compute on
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: String,

    /// With --against: the largest error of a logit; without it 0.002, and 0.003 for a checkpoint
    /// of MLX
    #[arg(long, value_name = "ERROR", requires = "against", value_parser = parse_limit)]
    pub max_logit_error: Option<f64>,

    /// With --against: the largest error of a state, relative to the largest value of its tensor;
    /// without it 0.0001
    #[arg(long, value_name = "ERROR", requires = "against", value_parser = parse_limit)]
    pub max_state_error: Option<f64>,

    /// The likeliest token must be the same at so many percent of the tokens; without it, by the
    /// bits of the weights
    #[arg(long, value_name = "PERCENT", conflicts_with = "against", value_parser = parse_limit)]
    pub min_top1: Option<f64>,

    /// The perplexity may be so many percent higher; without it, by the bits of the weights
    #[arg(long, value_name = "PERCENT", conflicts_with = "against", value_parser = parse_limit)]
    pub max_perplexity: Option<f64>,

    /// The mean Kullback-Leibler divergence may be so many nats; without it, any
    #[arg(long, value_name = "NATS", conflicts_with = "against", value_parser = parse_limit)]
    pub max_kl: Option<f64>,

    #[command(flatten)]
    pub memory: Memory,

    #[command(flatten)]
    pub format: Format,
}

fn parse_limit(text: &str) -> Result<f64, String> {
    let limit = text.parse::<f64>().ok().filter(|limit| limit.is_finite() && *limit >= 0.0);
    limit.ok_or_else(|| "write a number that is not negative, as in 0.002".to_owned())
}
