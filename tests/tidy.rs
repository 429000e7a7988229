//! The house keeps its own rules: invariants of the design that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms in the order imports may point: a room imports only from lower layers and from the rooms named beside it.
const LAYERS: &[(u8, &[&str])] = &[
    (0, &["types"]),
    (1, &["config", "turn"]),
    (2, &["memory", "onnx", "observe"]),
    (3, &["audio", "hear", "asr", "llm", "tts", "store"]),
    (4, &["pipeline"]),
    (5, &["serve"]),
    (6, &["cli"]),
];

/// The only files outside `kernels/` that may hold `unsafe`, each at a C border without a safe wrapper.
const C_BORDERS: &[&str] = &[
    "src/memory/measure.rs",
    "src/memory/release.rs",
    "src/cli/signals.rs",
    "src/asr/",
    "src/llm/",
    "src/store/import/",
];

/// Longest file, tables and tests aside.
const MAX_LINES: usize = 600;

fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "{dir} holds no Rust file");
    found
}

/// The code before the file's tests, without comment lines.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn layer(room: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, rooms)| rooms.contains(&room)).map(|(layer, _)| *layer)
}

fn room_of(path: &Path) -> String {
    let inner = path.strip_prefix("src").unwrap();
    inner.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Names right after `crate::` in a line.
fn imported(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("crate::").map(|(at, found)| {
        let rest = &line[at + found.len()..];
        &rest[..rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())]
    })
}

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let room = room_of(&path);
        let Some(own) = layer(&room) else {
            assert!(["lib", "main"].contains(&room.as_str()), "{} stands in no room", path.display());
            continue;
        };
        for (n, line) in code(&text) {
            for other in imported(line).filter(|other| *other != room) {
                if layer(other).is_some_and(|other| other >= own) {
                    wrong.push(format!("{}:{n}: {room} imports {other}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_stands_only_at_the_borders_and_says_why() {
    for (path, text) in sources("src") {
        let name = path.to_str().unwrap();
        for (n, line) in code(&text) {
            let block = line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl");
            assert!(!block || C_BORDERS.iter().any(|border| name.starts_with(border)), "{name}:{n}: unsafe");
        }
    }
}

#[test]
fn rooms_know_nothing_of_what_is_not_theirs() {
    let forbidden: &[(&str, &[&str])] = &[
        ("llm", &["SampleRate", "hound", "rubato", "whisper_rs", "ort::"]),
        ("audio", &["tokenizers", "whisper_rs", "String::from_utf8_lossy"]),
        ("turn", &["std::time", "std::thread", "async ", "std::fs", "Instant"]),
        ("config", &["thread::spawn", "ureq"]),
    ];
    for (path, text) in sources("src") {
        let room = room_of(&path);
        for (_, words) in forbidden.iter().filter(|(of, _)| *of == room) {
            for (n, line) in code(&text) {
                let found = words.iter().find(|word| line.contains(**word));
                assert!(found.is_none(), "{}:{n}: {room} knows of {found:?}", path.display());
            }
        }
    }
}

#[test]
fn only_the_pipeline_starts_threads_of_the_graph() {
    // The kernels' pool is the engine's; the store's and the command line's threads are no part of a conversation.
    for (path, text) in sources("src") {
        if ["pipeline", "store", "cli", "tts"].contains(&room_of(&path).as_str()) {
            continue;
        }
        for (n, line) in code(&text) {
            assert!(!line.contains("thread::spawn") && !line.contains("thread::Builder"), "{}:{n}", path.display());
        }
    }
}

#[test]
fn nothing_is_left_lying_about() {
    for (path, text) in sources("src").into_iter().chain(sources("kernels/src")) {
        let own = code(&text).count();
        assert!(own <= MAX_LINES, "{}: {own} lines of code; is it one room?", path.display());
        for (n, line) in code(&text) {
            for word in ["todo!(", "unimplemented!(", "dbg!(", "unreachable_unchecked"] {
                assert!(!line.contains(word), "{}:{n}: {word}", path.display());
            }
        }
        for (n, line) in text.lines().enumerate() {
            assert!(!line.contains("TODO") && !line.contains("FIXME"), "{}:{}", path.display(), n + 1);
        }
    }
}

#[test]
fn every_error_of_a_missing_model_names_the_next_step() {
    let (_, text) = sources("src/store")
        .into_iter()
        .find(|(_, text)| text.contains("enum StoreError"))
        .expect("the store's errors stand in the store");
    assert!(text.contains("sotto models pull"), "the store's errors do not say how to get a model");
}
