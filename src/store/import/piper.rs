//! Splits a Piper voice in two, so that playback can start after a short piece, however long the
//! sentence is.
//!
//! A Piper voice is one ONNX graph from phonemes to samples. Its last part, the decoder, is a stack
//! of convolutions over a sequence of latent frames, each of which becomes 256 samples, so it can
//! run on a few frames at a time. The graph is cut at the tensor that enters the decoder ([`CUT`]):
//! the first file computes the frames of a whole sentence, the second turns any range of frames
//! into sound.
//!
//! An ONNX file is protobuf. Nodes and weights are copied byte for byte; only the lists that hold
//! them are rebuilt, so fields that this code does not know are kept.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use super::ImportError;
use super::onnx::{self, Dimension, Element, VALUE_NAME, graph, node, tensor};
use super::wire::{Wire, WireField, put_bytes};

/// Name of the tensor of latent frames: f32 `[1, 192, frames]`.
const CUT: &str = "/Mul_7_output_0";

/// Largest accepted voice, in bytes: Piper's high-quality voices have 110 MB.
const MAX_FILE: u64 = 1 << 30;
/// Most nodes of a graph; a medium voice has about 2,000.
const MAX_NODES: usize = 100_000;

/// Field number of `ModelProto.graph`.
const MODEL_GRAPH: u64 = 7;

/// Files of a voice that is split in two.
pub const FILES: [&str; 3] = ["encoder.onnx", "decoder.onnx", "voice.json"];

/// Writes the voice `onnx` into `folder`, with its settings, which Piper publishes beside it as
/// `NAME.onnx.json`.
pub fn convert(onnx: &Path, folder: &Path) -> Result<(), ImportError> {
    let mut settings = onnx.as_os_str().to_owned();
    settings.push(".json");
    let settings = Path::new(&settings);
    split(onnx, folder)?;
    let copied = fs::copy(settings, folder.join(FILES[2]));
    copied.map(drop).map_err(|source| ImportError::Io { path: settings.to_owned(), source })
}

/// Writes the two halves of the voice `onnx` into `folder`.
pub(super) fn split(onnx: &Path, folder: &Path) -> Result<(), ImportError> {
    let io = |source| ImportError::Io { path: onnx.to_owned(), source };
    let refuse = |why: String| ImportError::Format { path: onnx.to_owned(), why };
    let length = fs::metadata(onnx).map_err(io)?.len();
    if length > MAX_FILE {
        return Err(refuse(format!("it has {length} bytes; a voice has at most {MAX_FILE}")));
    }
    let bytes = fs::read(onnx).map_err(io)?;
    let model = Model::read(&bytes).map_err(|why| refuse(why).named())?;
    for (name, half) in [(FILES[0], model.encoder()), (FILES[1], model.decoder())] {
        super::write_whole(&folder.join(name), &half.map_err(refuse)?)?;
    }
    Ok(())
}

/// Parsed model: the fields around the graph, and the lists of the graph.
struct Model<'a> {
    around: Vec<WireField<'a>>,
    nodes: Vec<Node<'a>>,
    /// All fields of the graph except its nodes.
    rest: Vec<WireField<'a>>,
}

struct Node<'a> {
    bytes: &'a [u8],
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
}

type Parsed<T> = Result<T, String>;

impl<'a> Model<'a> {
    fn read(bytes: &'a [u8]) -> Parsed<Self> {
        let mut model = Model { around: Vec::new(), nodes: Vec::new(), rest: Vec::new() };
        for field in Wire::new(bytes) {
            let field = field?;
            match field.number {
                MODEL_GRAPH => model.read_graph(field.message()?)?,
                _ => model.around.push(field),
            }
        }
        if model.nodes.is_empty() {
            return Err("it holds no graph; is it an ONNX file?".to_owned());
        }
        if !model.nodes.iter().any(|node| node.outputs.contains(&CUT)) {
            return Err(format!("no node makes the tensor {CUT}, where Piper's voices are cut"));
        }
        Ok(model)
    }

    fn read_graph(&mut self, graph: &'a [u8]) -> Parsed<()> {
        for field in Wire::new(graph) {
            let field = field?;
            if field.number != graph::NODE {
                self.rest.push(field);
                continue;
            }
            if self.nodes.len() == MAX_NODES {
                return Err(format!("its graph has more than {MAX_NODES} nodes"));
            }
            self.nodes.push(Node::read(field.message()?)?);
        }
        Ok(())
    }

    /// Model from the voice's own inputs to the cut.
    fn encoder(&self) -> Parsed<Vec<u8>> {
        let needed = self.needed_for(CUT, None);
        self.half(&needed, &|_| true, &[(graph::OUTPUT, cut_value())], graph::OUTPUT)
    }

    /// Model from the cut to the voice's own output.
    fn decoder(&self) -> Parsed<Vec<u8>> {
        let output = self.named(graph::OUTPUT)?.first().copied().ok_or("its graph has no output")?;
        let needed = self.needed_for(output, Some(CUT));
        let own_inputs: HashSet<_> = self.named(graph::INPUT)?.into_iter().collect();
        let leftover = needed.iter().flat_map(|&n| &self.nodes[n].inputs).find(|name| own_inputs.contains(**name));
        if let Some(input) = leftover {
            return Err(format!(
                "behind {CUT} the graph still needs its input {input:?}; only one-speaker voices can be cut"
            ));
        }
        self.half(&needed, &|_| false, &[(graph::INPUT, cut_value())], graph::INPUT)
    }

    /// Indices of the nodes that are needed to compute `tensor`, in file order, if the tensor
    /// `given` is available.
    fn needed_for(&self, tensor: &'a str, given: Option<&str>) -> Vec<usize> {
        let made_by: HashMap<_, _> = self
            .nodes
            .iter()
            .enumerate()
            .flat_map(|(n, node)| node.outputs.iter().map(move |name| (*name, n)))
            .collect();
        let mut needed = HashSet::new();
        let mut wanted = vec![tensor];
        while let Some(name) = wanted.pop() {
            if Some(name) == given {
                continue;
            }
            if let Some(&n) = made_by.get(name)
                && needed.insert(n)
            {
                wanted.extend(&self.nodes[n].inputs);
            }
        }
        let mut needed: Vec<_> = needed.into_iter().collect();
        needed.sort_unstable();
        needed
    }

    /// Builds a model of the `needed` nodes with the weights they use. `added` takes the place of
    /// the list `replaced`.
    fn half(
        &self,
        needed: &[usize],
        keep_inputs: &dyn Fn(&str) -> bool,
        added: &[(u64, Vec<u8>)],
        replaced: u64,
    ) -> Parsed<Vec<u8>> {
        let used: HashSet<&str> = needed.iter().flat_map(|&n| &self.nodes[n].inputs).copied().collect();
        let mut out = Vec::new();
        for &n in needed {
            put_bytes(&mut out, graph::NODE, self.nodes[n].bytes);
        }
        for field in &self.rest {
            let keep = match field.number {
                number if number == replaced => false,
                graph::INITIALIZER => used.contains(field.string_at(tensor::NAME)?),
                graph::INPUT => keep_inputs(field.string_at(VALUE_NAME)?),
                // ONNX Runtime infers the shapes of intermediate tensors again when it loads the
                // graph.
                graph::VALUE_INFO => false,
                _ => true,
            };
            if keep {
                out.extend_from_slice(field.raw);
            }
        }
        for (number, value) in added {
            put_bytes(&mut out, *number, value);
        }
        let mut model: Vec<u8> = self.around.iter().flat_map(|field| field.raw).copied().collect();
        put_bytes(&mut model, MODEL_GRAPH, &out);
        Ok(model)
    }

    fn named(&self, list: u64) -> Parsed<Vec<&'a str>> {
        self.rest.iter().filter(|field| field.number == list).map(|field| field.string_at(VALUE_NAME)).collect()
    }
}

impl<'a> Node<'a> {
    fn read(bytes: &'a [u8]) -> Parsed<Self> {
        let mut node = Node { bytes, inputs: Vec::new(), outputs: Vec::new() };
        for field in Wire::new(bytes) {
            let field = field?;
            match field.number {
                node::INPUT => node.inputs.push(field.string()?),
                node::OUTPUT => node.outputs.push(field.string()?),
                _ => {}
            }
        }
        Ok(node)
    }
}

/// Declaration of the cut as a `ValueInfoProto`: its name and its type, f32 `[1, 192, frames]`.
fn cut_value() -> Vec<u8> {
    onnx::value(CUT, Element::F32, &[Dimension::Of(1), Dimension::Of(192), Dimension::Named("frames")])
}
