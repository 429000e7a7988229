//! Tests with a small made-up checkpoint: it is converted, and then damaged in every way a file can
//! be.

use std::fs;
use std::path::Path;

use half::f16;

use super::*;
use crate::mel;
use crate::store::import::onnx::graph;
use crate::store::import::wire::{Wire, WireField};

const WIDTH: usize = 4;
const TOKENS: usize = 5;
const VOCABULARY: &str = "a\nĠb\n<|endoftext|>\n<|0.00|>\n<|0.02|>\n";

/// Writer of the `ct2` format from its description, independent of the reader.
#[derive(Default)]
struct Writer {
    count: u32,
    body: Vec<u8>,
    /// Offsets at which a field starts or ends.
    edges: Vec<usize>,
}

impl Writer {
    fn string(&mut self, text: &str) {
        self.body.extend((text.len() as u16 + 1).to_le_bytes());
        self.body.extend(text.as_bytes());
        self.body.push(0);
        self.edges.push(self.body.len());
    }

    fn variable(&mut self, name: &str, shape: &[usize], kind: u8, data: &[u8]) {
        self.count += 1;
        self.string(name);
        self.body.push(shape.len() as u8);
        shape.iter().for_each(|&dimension| self.body.extend((dimension as u32).to_le_bytes()));
        self.body.push(kind);
        self.body.extend((data.len() as u32).to_le_bytes());
        self.edges.push(self.body.len());
        self.body.extend(data);
        self.edges.push(self.body.len());
    }

    /// Writes numbers that show their origin: the count of the variable, and the index within it.
    fn floats(&mut self, name: &str, shape: &[usize]) {
        let seed = self.count as f32;
        let count: usize = shape.iter().product();
        let data: Vec<u8> =
            (0..count).flat_map(|i| f16::from_f32(seed + (i % 64) as f32 / 64.0).to_le_bytes()).collect();
        self.variable(name, shape, 4, &data);
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.floats(&format!("{name}/weight"), &[outputs, inputs]);
        self.floats(&format!("{name}/bias"), &[outputs]);
    }

    fn norm(&mut self, name: &str) {
        self.floats(&format!("{name}/gamma"), &[WIDTH]);
        self.floats(&format!("{name}/beta"), &[WIDTH]);
    }

    fn finish(mut self) -> (Vec<u8>, Vec<usize>) {
        let mut file = Vec::from(6u32.to_le_bytes());
        file.extend(12u16.to_le_bytes());
        file.extend(b"WhisperSpec\0");
        file.extend(3u32.to_le_bytes());
        file.extend(self.count.to_le_bytes());
        let start = file.len();
        self.body.extend(1u32.to_le_bytes());
        self.string("decoder/projection/weight");
        self.string("decoder/embeddings/weight");
        file.extend(self.body);
        (file, self.edges.iter().map(|edge| edge + start).collect())
    }
}

fn checkpoint() -> Writer {
    let mut out = Writer::default();
    out.floats("encoder/conv1/weight", &[WIDTH, MELS, 3]);
    out.floats("encoder/conv1/bias", &[WIDTH]);
    out.floats("encoder/conv2/weight", &[WIDTH, WIDTH, 3]);
    out.floats("encoder/conv2/bias", &[WIDTH]);
    out.floats("decoder/embeddings/weight", &[TOKENS, WIDTH]);
    for (side, positions) in [("encoder", AUDIO_POSITIONS), ("decoder", TEXT_POSITIONS)] {
        out.variable(&format!("{side}/num_heads"), &[], 2, &2u16.to_le_bytes());
        out.floats(&format!("{side}/position_encodings/encodings"), &[positions, WIDTH]);
        out.norm(&format!("{side}/layer_norm"));
        let layer = format!("{side}/layer_0");
        out.linear(&format!("{layer}/self_attention/linear_0"), 3 * WIDTH, WIDTH);
        out.linear(&format!("{layer}/self_attention/linear_1"), WIDTH, WIDTH);
        out.norm(&format!("{layer}/self_attention/layer_norm"));
        out.linear(&format!("{layer}/ffn/linear_0"), 4 * WIDTH, WIDTH);
        out.linear(&format!("{layer}/ffn/linear_1"), WIDTH, 4 * WIDTH);
        out.norm(&format!("{layer}/ffn/layer_norm"));
    }
    out.linear("decoder/layer_0/attention/linear_0", WIDTH, WIDTH);
    out.linear("decoder/layer_0/attention/linear_1", 2 * WIDTH, WIDTH);
    out.linear("decoder/layer_0/attention/linear_2", WIDTH, WIDTH);
    out.norm("decoder/layer_0/attention/layer_norm");
    out
}

fn convert_bytes(folder: &Path, model: &[u8]) -> Result<Vec<u8>, ImportError> {
    convert_to(folder, model, "out.ggml")
}

fn convert_to(folder: &Path, model: &[u8], name: &str) -> Result<Vec<u8>, ImportError> {
    let target = folder.join(name);
    fs::write(folder.join("model.bin"), model).unwrap();
    fs::write(folder.join("vocabulary.txt"), VOCABULARY).unwrap();
    let done = convert(folder, &target);
    let written = fs::read(&target);
    let _ = fs::remove_file(&target);
    assert_eq!(done.is_ok(), written.is_ok(), "the target appears exactly when the conversion succeeds");
    done.map(|()| written.unwrap())
}

/// Reads the tensors of a ggml file: name, dimensions as stored, numbers.
fn tensors_of(file: &[u8]) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let mut rest = file;
    let mut take = |count: usize| {
        let (head, tail) = rest.split_at(count);
        rest = tail;
        head
    };
    let number = |bytes: &[u8]| i32::from_le_bytes(bytes.try_into().unwrap()) as usize;
    take(12 * 4 + 2 * 4 + MELS * mel::BINS * 4);
    for _ in 0..number(take(4)) {
        let length = number(take(4));
        take(length);
    }
    let mut left = file.len() - (12 * 4 + 2 * 4 + MELS * mel::BINS * 4 + 4 + 4 + 1 + 4 + 2);
    let mut tensors = Vec::new();
    while left > 0 {
        let (rank, name, precision) = (number(take(4)), number(take(4)), number(take(4)));
        let shape: Vec<usize> = (0..rank).map(|_| number(take(4))).collect();
        let title = String::from_utf8(take(name).to_vec()).unwrap();
        let count: usize = shape.iter().product();
        let size = if precision == 1 { 2 } else { 4 };
        let data = take(count * size);
        let numbers = match precision {
            1 => data.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            _ => data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        };
        left -= 12 + 4 * rank + name + count * size;
        tensors.push((title, shape, numbers));
    }
    tensors
}

#[test]
fn every_tensor_arrives_where_whisper_cpp_looks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = convert_bytes(folder.path(), &checkpoint().finish().0).unwrap();
    let header: Vec<i32> = file[..48].as_chunks().0.iter().map(|&b| i32::from_le_bytes(b)).collect();
    assert_eq!(header, [0x67676d6c, 5, 1500, 4, 2, 1, 448, 4, 2, 1, 80, 1]);
    let tensors = tensors_of(&file);
    assert_eq!(tensors.len(), 11 + 15 + 24);
    let find = |name: &str| tensors.iter().find(|(title, ..)| title == name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(find("encoder.conv1.weight").1, [3, MELS, WIDTH]);
    assert_eq!(find("encoder.conv1.bias").1, [1, WIDTH]);
    let (_, shape, query) = find("encoder.blocks.0.attn.query.weight");
    let (.., value) = find("encoder.blocks.0.attn.value.weight");
    assert_eq!(shape, &[WIDTH, WIDTH]);
    // Rows 0..4 and 8..12 of one variable of 12 rows: 32 numbers apart, 1/64 each.
    assert_eq!(value[0] - query[0], 0.5);
    assert!(!tensors.iter().any(|(title, ..)| title.ends_with("key.bias")));
}

#[test]
fn the_same_source_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = checkpoint().finish();
    let first = convert_bytes(folder.path(), &model).unwrap();
    assert_eq!(first, convert_bytes(folder.path(), &model).unwrap());
}

/// Reads the names of a graph's inputs or outputs, and the number of bytes of all its weights.
fn read_graph(file: &[u8], list: u64) -> (Vec<String>, usize) {
    let of_graph = |field: &WireField| field.number == 7;
    let graph = Wire::new(file).map(Result::unwrap).find(of_graph).unwrap();
    let fields: Vec<WireField> = Wire::new(graph.message().unwrap()).map(Result::unwrap).collect();
    let named = fields.iter().filter(|field| field.number == list).map(|field| field.string_at(1).unwrap().to_owned());
    let weights = fields.iter().filter(|field| field.number == graph::INITIALIZER).map(|field| field.raw.len()).sum();
    (named.collect(), weights)
}

#[test]
fn graphs_take_and_give_what_the_transcriber_names() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = checkpoint().finish();
    let encoder = convert_to(folder.path(), &model, onnx::FILES[0]).unwrap();
    assert_eq!(read_graph(&encoder, graph::INPUT).0, ["mel"]);
    assert_eq!(read_graph(&encoder, graph::OUTPUT).0, ["cross_k_0", "cross_v_0"]);
    let decoder = convert_to(folder.path(), &model, onnx::FILES[1]).unwrap();
    let inputs = ["tokens", "places", "rows", "past_k_0", "past_v_0", "cross_k_0", "cross_v_0"];
    assert_eq!(read_graph(&decoder, graph::INPUT).0, inputs);
    let (outputs, weights) = read_graph(&decoder, graph::OUTPUT);
    assert_eq!(outputs, ["present_k_0", "present_v_0", "logits"]);
    // Positions take f32; everything else except vectors takes a byte each; the embeddings are
    // there once.
    let most = TEXT_POSITIONS * WIDTH * 4 + (4 + 2 + 8) * WIDTH * WIDTH + TOKENS * WIDTH;
    assert!((most..most + 4_000).contains(&weights), "{weights}");
    assert_eq!(convert_to(folder.path(), &model, onnx::FILES[1]).unwrap(), decoder);
}

#[test]
fn a_checkpoint_without_a_layer_gives_no_graph() {
    let folder = tempfile::tempdir().unwrap();
    let (model, edges) = checkpoint().finish();
    for name in onnx::FILES {
        for &cut in &edges[..edges.len() - 1] {
            assert!(convert_to(folder.path(), &model[..cut], name).is_err(), "{name} cut at {cut}");
        }
        let mut wrong = Writer::default();
        wrong.floats("encoder/conv1/weight", &[WIDTH, MELS, 3]);
        let why = convert_to(folder.path(), &wrong.finish().0, name).unwrap_err().to_string();
        assert!(why.contains("decoder/embeddings/weight is missing"), "{why}");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (model, edges) = checkpoint().finish();
    let cuts = (0..40).chain(edges.iter().flat_map(|&edge| edge.saturating_sub(2)..edge + 2)).chain([model.len() - 1]);
    for cut in cuts.filter(|&cut| cut < model.len()) {
        assert!(convert_bytes(folder.path(), &model[..cut]).is_err(), "cut at {cut}");
    }
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["model.bin", "vocabulary.txt"]);
}

#[test]
fn a_byte_changed_anywhere_in_the_table_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let (model, edges) = checkpoint().finish();
    for at in (0..34).chain(edges.iter().flat_map(|&edge| edge.saturating_sub(6)..edge)) {
        let mut broken = model.clone();
        broken[at] ^= 0xFF;
        let _ = convert_bytes(folder.path(), &broken);
    }
}

#[test]
fn what_is_not_whisper_is_refused_by_name() {
    let change = |edit: &dyn Fn(&mut Writer)| {
        let mut out = checkpoint();
        edit(&mut out);
        out.finish().0
    };
    let mut other_kind = checkpoint().finish().0;
    other_kind[6..17].copy_from_slice(b"MarianSpec ");
    let mut trailing = checkpoint().finish().0;
    trailing.push(0);
    let mut only_heads = Writer::default();
    only_heads.variable("encoder/num_heads", &[], 2, &[2, 0]);
    for (model, said) in [
        (vec![], "ends after 0 bytes"),
        (b"GGUF\x03\0\0\0".to_vec(), "it is a GGUF file"),
        (b"\x07\0\0\0\0\0\0\0".to_vec(), "version"),
        (other_kind, "MarianSpec"),
        (trailing, "1 bytes follow"),
        (only_heads.finish().0, "encoder/conv1/weight is missing"),
        (change(&|out| out.floats("encoder/conv1/bias", &[WIDTH])), "twice"),
        (change(&|out| out.variable("x", &[1 << 31, 1 << 31, 1 << 31, 1 << 31], 0, &[])), "states 0 bytes"),
        (change(&|out| out.variable("x", &[1], 9, &[])), "unknown type 9"),
        (change(&|out| out.variable("x", &[1, 1, 1, 1, 1], 1, &[0])), "5 dimensions"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let why = convert_bytes(folder.path(), &model).unwrap_err().to_string();
        assert!(why.contains(said), "{why:?} does not say {said:?}");
    }
}

#[test]
fn a_missing_source_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = convert(folder.path(), &folder.path().join("out.ggml")).unwrap_err();
    assert!(error.to_string().contains("model.bin"), "{error}");
}
