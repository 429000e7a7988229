//! ONNX Runtime as the catalogue brings it for this system.

use sotto::onnx::Onnx;

use super::common;

pub fn runtime() -> Onnx {
    let library = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };
    Onnx::open(&common::model_file("onnxruntime", library)).unwrap()
}
