//! Writer of ONNX graphs, as far as the conversion of weights needs it: nodes, weights, inputs and
//! outputs. Field numbers are those of `onnx.proto3`.

use super::wire::{put_bytes, put_float, put_number};

/// Versions of the file format and of the operator sets: ONNX's own operators, and the fused ones
/// of ONNX Runtime.
const IR_VERSION: u64 = 9;
const OPERATIONS: u64 = 20;
const FUSED: (&str, u64) = ("com.microsoft", 1);

/// Field numbers of `ModelProto`.
mod model {
    pub const IR_VERSION: u64 = 1;
    pub const GRAPH: u64 = 7;
    pub const OPERATIONS: u64 = 8;
}
/// Field numbers of `GraphProto`.
pub mod graph {
    pub const NODE: u64 = 1;
    pub const NAME: u64 = 2;
    pub const INITIALIZER: u64 = 5;
    pub const INPUT: u64 = 11;
    pub const OUTPUT: u64 = 12;
    pub const VALUE_INFO: u64 = 13;
}
/// Field numbers of `NodeProto`.
pub mod node {
    pub const INPUT: u64 = 1;
    pub const OUTPUT: u64 = 2;
    pub const OPERATION: u64 = 4;
    pub const ATTRIBUTE: u64 = 5;
    pub const DOMAIN: u64 = 7;
}
/// Field numbers of `TensorProto`.
pub mod tensor {
    pub const DIMENSIONS: u64 = 1;
    pub const ELEMENT: u64 = 2;
    pub const NAME: u64 = 8;
    pub const DATA: u64 = 9;
}
/// Field number of `ValueInfoProto.name`.
pub const VALUE_NAME: u64 = 1;

/// Element type of a tensor, with ONNX's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element {
    F32 = 1,
    I8 = 3,
    I64 = 7,
}

/// Dimension of an input or output.
#[derive(Clone, Copy, Debug)]
pub enum Dimension {
    Of(usize),
    /// Size that is known only when the graph runs.
    Named(&'static str),
}

/// Value of an attribute of a node.
#[derive(Clone, Copy, Debug)]
pub enum Attribute<'a> {
    Int(&'static str, i64),
    Ints(&'static str, &'a [i64]),
    Float(&'static str, f32),
}

/// Name of a tensor in the graph under construction. The empty name is an omitted input.
pub type AttributeValue = String;

/// Operation: one of ONNX's own, or one of ONNX Runtime's.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Standard(&'static str),
    Fused(&'static str),
}

/// Graph under construction.
#[derive(Default)]
pub struct Graph {
    /// Repeated fields of the graph message, in any order.
    lists: Vec<u8>,
    values: usize,
}

impl Graph {
    pub fn input(&mut self, name: &str, element: Element, shape: &[Dimension]) -> AttributeValue {
        put_bytes(&mut self.lists, graph::INPUT, &value(name, element, shape));
        name.to_owned()
    }

    /// Makes the tensor `made` an output called `name`.
    pub fn output(&mut self, made: AttributeValue, name: &str, element: Element, shape: &[Dimension]) {
        put_bytes(&mut self.lists, graph::OUTPUT, &value(name, element, shape));
        self.put_node(Operation::Standard("Identity"), &[&made], &[name], &[]);
    }

    /// Adds a node with one output.
    pub fn node(
        &mut self,
        operation: Operation,
        inputs: &[&AttributeValue],
        attributes: &[Attribute],
    ) -> AttributeValue {
        let [made] = self.nodes(operation, inputs, attributes);
        made
    }

    /// Adds a node with several outputs.
    pub fn nodes<const N: usize>(
        &mut self,
        operation: Operation,
        inputs: &[&AttributeValue],
        attributes: &[Attribute],
    ) -> [AttributeValue; N] {
        let made = std::array::from_fn(|_| self.fresh());
        self.put_node(operation, inputs, &made.each_ref().map(String::as_str), attributes);
        made
    }

    pub fn floats(&mut self, shape: &[usize], numbers: &[f32]) -> AttributeValue {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.weight(Element::F32, shape, &bytes)
    }

    pub fn whole(&mut self, numbers: &[i64]) -> AttributeValue {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.weight(Element::I64, &[numbers.len()], &bytes)
    }

    pub fn bytes(&mut self, shape: &[usize], numbers: &[i8]) -> AttributeValue {
        let bytes: Vec<u8> = numbers.iter().map(|&number| number as u8).collect();
        self.weight(Element::I8, shape, &bytes)
    }

    fn weight(&mut self, element: Element, shape: &[usize], data: &[u8]) -> AttributeValue {
        let name = self.fresh();
        let mut out = Vec::with_capacity(data.len() + 64);
        shape.iter().for_each(|&size| put_number(&mut out, tensor::DIMENSIONS, size as u64));
        put_number(&mut out, tensor::ELEMENT, element as u64);
        put_bytes(&mut out, tensor::NAME, name.as_bytes());
        put_bytes(&mut out, tensor::DATA, data);
        put_bytes(&mut self.lists, graph::INITIALIZER, &out);
        name
    }

    fn fresh(&mut self) -> AttributeValue {
        self.values += 1;
        format!("t{}", self.values)
    }

    fn put_node(
        &mut self,
        operation: Operation,
        inputs: &[&AttributeValue],
        outputs: &[&str],
        attributes: &[Attribute],
    ) {
        let (name, domain) = match operation {
            Operation::Standard(name) => (name, ""),
            Operation::Fused(name) => (name, FUSED.0),
        };
        let mut out = Vec::new();
        inputs.iter().for_each(|input| put_bytes(&mut out, node::INPUT, input.as_bytes()));
        outputs.iter().for_each(|output| put_bytes(&mut out, node::OUTPUT, output.as_bytes()));
        put_bytes(&mut out, node::OPERATION, name.as_bytes());
        attributes.iter().for_each(|attribute| put_bytes(&mut out, node::ATTRIBUTE, &attribute.message()));
        put_bytes(&mut out, node::DOMAIN, domain.as_bytes());
        put_bytes(&mut self.lists, graph::NODE, &out);
    }

    /// Encodes the whole file.
    pub fn finish(self) -> Vec<u8> {
        let mut graph = self.lists;
        put_bytes(&mut graph, graph::NAME, b"sotto");
        let mut out = Vec::with_capacity(graph.len() + 64);
        put_number(&mut out, model::IR_VERSION, IR_VERSION);
        for (domain, version) in [("", OPERATIONS), FUSED] {
            let mut set = Vec::new();
            put_bytes(&mut set, 1, domain.as_bytes());
            put_number(&mut set, 2, version);
            put_bytes(&mut out, model::OPERATIONS, &set);
        }
        put_bytes(&mut out, model::GRAPH, &graph);
        out
    }
}

impl Attribute<'_> {
    /// Encodes an `AttributeProto`: name, value, and the kind of the value in field 20.
    fn message(&self) -> Vec<u8> {
        const NAME: u64 = 1;
        const KIND: u64 = 20;
        let mut out = Vec::new();
        let (name, kind) = match *self {
            Attribute::Float(name, number) => {
                put_float(&mut out, 2, number);
                (name, 1)
            }
            Attribute::Int(name, number) => {
                put_number(&mut out, 3, number as u64);
                (name, 2)
            }
            Attribute::Ints(name, numbers) => {
                numbers.iter().for_each(|&number| put_number(&mut out, 8, number as u64));
                (name, 7)
            }
        };
        put_bytes(&mut out, NAME, name.as_bytes());
        put_number(&mut out, KIND, kind);
        out
    }
}

/// Encodes a `ValueInfoProto`: name, element type and shape of a tensor.
pub fn value(name: &str, element: Element, shape: &[Dimension]) -> Vec<u8> {
    let mut dimensions = Vec::new();
    for dimension in shape {
        let mut out = Vec::new();
        match dimension {
            Dimension::Of(size) => put_number(&mut out, 1, *size as u64),
            Dimension::Named(name) => put_bytes(&mut out, 2, name.as_bytes()),
        }
        put_bytes(&mut dimensions, 1, &out);
    }
    let mut tensor = Vec::new();
    put_number(&mut tensor, 1, element as u64);
    put_bytes(&mut tensor, 2, &dimensions);
    let mut kind = Vec::new();
    put_bytes(&mut kind, 1, &tensor);
    let mut value = Vec::new();
    put_bytes(&mut value, VALUE_NAME, name.as_bytes());
    put_bytes(&mut value, 2, &kind);
    value
}
