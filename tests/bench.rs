//! `sotto bench llm` as a script sees it: what it prints, and what it refuses.

mod common;

use std::process::{Command, Output};

use serde_json::Value;

const SMOLLM: &str = "smollm2-135m";
/// Of SmolLM2's metadata: the positions it was trained for.
const TRAINED_FOR: usize = 8192;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sotto"));
    // A folder without a pipeline file, and no settings of whoever runs the tests.
    command.current_dir(std::env::temp_dir()).args(["bench", "llm"]).args(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SOTTO_") && name != "SOTTO_MODELS_DIR") {
        command.env_remove(name);
    }
    command.env("SOTTO_CONFIG", concat!(env!("CARGO_MANIFEST_DIR"), "/pipeline.toml")).output().unwrap()
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} is no number in {value:#}"))
}

#[test]
fn the_json_holds_what_scripts_read_and_the_figures_agree() {
    let file = common::model_file(SMOLLM, "model.gguf");
    let size = file.metadata().unwrap().len() as f64;
    let flags = ["-p", "16", "-g", "4", "--depth", "70", "--threads", "1", "--repeat", "3", "--profile", "--json"];
    let output = bench(&[&[SMOLLM], &flags[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();

    for (what, tokens) in [("prompt", 16.0), ("decode", 4.0)] {
        let at = |key: &str| number(&value, &format!("/{what}/{key}"));
        assert_eq!(at("tokens"), tokens);
        assert!(0.0 < at("least") && at("least") <= at("tokens_per_second"), "{what}");
        assert!(at("tokens_per_second") <= at("most") && at("most") < 1e6, "{what}");
        assert_eq!(value[what]["runs"].as_array().unwrap().len(), 3);
    }
    for (path, expected) in [("/threads", 1.0), ("/depth", 70.0), ("/repeats", 3.0)] {
        assert_eq!(number(&value, path), expected, "{path}");
    }
    // The file is its matrices, some vectors and the vocabulary's words; the head is the embedding.
    let weights = number(&value, "/weight_bytes_per_token");
    assert!(0.95 * size < weights && weights < size, "{weights} of {size}");
    // 30 layers, keys and values of 3 heads of 64 as f16, behind 72 positions.
    assert_eq!(number(&value, "/state_bytes_per_token"), (30 * 2 * 3 * 64 * 2 * 72) as f64);
    assert_eq!(number(&value, "/bytes_per_token"), weights + number(&value, "/state_bytes_per_token"));
    assert!(number(&value, "/limit/tokens_per_second") * weights <= number(&value, "/limit/bytes_per_second"));
    let (resident, planned) = (number(&value, "/resident_bytes"), number(&value, "/planned_bytes"));
    assert!(weights < resident && resident < planned + (32 << 20) as f64, "{resident} resident, {planned} planned");
    assert_eq!(value["format"], "Q4_1");
    // 20 bytes for 32 weights, and more in the embedding.
    assert!((5.5..6.0).contains(&number(&value, "/bits_per_weight")), "{}", value["bits_per_weight"]);
    assert!(!value["machine"]["cpu"].as_str().unwrap().is_empty());
    let parts = value["profile"].as_object().unwrap();
    assert_eq!(parts.len(), 6);
    assert!(number(&value, "/profile/mlp/step_seconds") > number(&value, "/profile/attention/step_seconds"));
    assert_eq!(number(&value, "/profile/conv+delta/prompt_seconds"), 0.0);
}

#[test]
fn a_person_reads_a_table_and_talk_stays_on_stderr() {
    let file = common::model_file(SMOLLM, "model.gguf");
    let output = bench(&[file.to_str().unwrap(), "-p", "2", "-g", "2", "--repeat", "1", "--profile"]);
    let (out, talk) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    for words in ["prompt", "answer, behind 0", "tokens/s", "resident", "mlp", "head"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(talk.contains("measuring") && !out.contains("measuring"), "{talk}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let too_deep = TRAINED_FOR.to_string();
    let cases: [(&[&str], i32, &str); 9] = [
        (&[SMOLLM, "-p", "0"], 2, "--prompt"),
        (&[SMOLLM, "-g", "0"], 2, "--generate"),
        (&[SMOLLM, "--threads", "0"], 2, "--threads"),
        (&[SMOLLM, "-g", "1", "--depth", &too_deep], 2, "--depth 8192 and -g 1 make 8193 positions"),
        (&[SMOLLM, "-p", "9000"], 2, "-p 9000 make 9000 positions"),
        (&[SMOLLM, "--depth", "18446744073709551615"], 2, "was trained for 8192"),
        (&["no-such-model"], 2, "no-such-model"),
        (&["no-such-file.gguf"], 3, "no-such-file.gguf"),
        (&[SMOLLM, "--budget", "64MiB"], 5, "--budget"),
    ];
    for (arguments, code, words) in cases {
        let output = bench(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words) && output.stdout.is_empty(), "{arguments:?}: {said}");
    }
}
