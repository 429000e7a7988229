//! The house keeps its own rules: invariants of the design that no compiler checks.

#[path = "common/imports.rs"]
mod imports;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use imports::names;

/// Rooms in the order imports may point: a room imports only from lower layers and from the rooms
/// named beside it.
const LAYERS: &[(u8, &[&str])] = &[
    (0, &["types", "marks", "sniff"]),
    (1, &["config", "turn", "disk"]),
    (2, &["memory", "onnx", "priority", "level", "mel"]),
    (3, &["audio", "detect", "asr", "llm", "tts", "store"]),
    (4, &["observe"]),
    (5, &["engine"]),
    (6, &["serve"]),
    (7, &["cli"]),
];

/// The only files outside `kernels/` that may hold `unsafe`, each at a C border without a safe
/// wrapper.
const C_BORDERS: &[&str] = &[
    "src/memory/measure.rs",
    "src/memory/release.rs",
    "src/cli/signals.rs",
    "src/asr/",
    "src/llm/",
    "src/store/import/",
];

/// Longest file, with its comments and its tests.
const MAX_LINES: usize = 600;
/// Where there is code.
const CODE: [&str; 5] = ["src", "tests", "examples", "kernels/src", "kernels/examples"];

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

/// The code before the file's tests, without comment lines. Tests in a file of their own leave the
/// rest of this one.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.match_indices("#[cfg(test)]\nmod ").map(|(at, _)| at).find(|&at| {
        let declared = text[at..].lines().nth(1).unwrap_or_default();
        declared.ends_with('{')
    });
    text[..end.unwrap_or(text.len())]
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

/// The rooms that `code` names: right after `crate::`, or in the braces behind it, which may go
/// over several lines.
fn imported(code: &str) -> Vec<&str> {
    let behind = code.match_indices("crate::").map(|(at, found)| &code[at + found.len()..]);
    behind.flat_map(names).collect()
}

#[test]
fn what_stands_behind_tests_and_in_braces_is_seen() {
    let seen = |text| code(text).map(|(n, _)| n).collect::<Vec<_>>();
    assert_eq!(seen("a\n#[cfg(test)]\nmod tests;\nb\n"), [1, 2, 3, 4]);
    assert_eq!(seen("a\n#[cfg(test)]\nmod tests;\n// c\nb\n#[cfg(test)]\nmod more {\n}\n"), [1, 2, 3, 5]);
    for (code, rooms) in [
        ("use crate::audio::Clip;", &["audio"][..]),
        ("use crate::{\n    asr::{Cancel, Verdict},\n    types::Ms, llm,\n};\nuse std::io;", &["asr", "types", "llm"]),
        ("fn f() -> crate::tts::Voice { crate::onnx::open() }", &["tts", "onnx"]),
    ] {
        assert_eq!(imported(code), rooms);
    }
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
        let code: Vec<_> = code(&text).map(|(_, line)| line).collect();
        for other in imported(&code.join("\n")).into_iter().filter(|other| *other != room) {
            if layer(other).is_some_and(|other| other >= own) {
                wrong.push(format!("{}: {room} imports {other}", path.display()));
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
fn only_the_engine_starts_threads() {
    // The kernels' pool is the engine's; the store's and the command line's threads are no part of
    // a conversation.
    for (path, text) in sources("src") {
        if ["engine", "store", "cli", "tts"].contains(&room_of(&path).as_str()) {
            continue;
        }
        for (n, line) in code(&text) {
            assert!(!line.contains("thread::spawn") && !line.contains("thread::Builder"), "{}:{n}", path.display());
        }
    }
}

/// A stranger's clone stands alone: a path that climbs out of it leads to nothing there.
#[test]
fn no_path_leads_out_of_the_clone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts = ["Makefile", ".ci/run"].map(|name| (PathBuf::from(name), fs::read_to_string(root.join(name)).unwrap()));
    let scripts = ["scripts", "benches"].iter().flat_map(|dir| fs::read_dir(root.join(dir)).unwrap());
    let scripts =
        scripts.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), fs::read_to_string(path).unwrap()));
    for (path, text) in scripts.chain(texts).chain(CODE.iter().flat_map(|dir| sources(dir))) {
        let climbs = ["MANIFEST_DIR\"), \"/..", "join(\"../", "$(CURDIR)/..", " ../"];
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.contains("let climbs")) {
            let found = climbs.iter().find(|climb| line.contains(**climb));
            assert!(found.is_none(), "{}:{}: {line}", path.display(), n + 1);
        }
    }
}

#[test]
fn no_file_is_longer_than_can_be_read() {
    for (path, text) in CODE.iter().flat_map(|dir| sources(dir)) {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{}: {lines} lines; is it one room?", path.display());
    }
}

#[test]
fn nothing_is_left_lying_about() {
    for (path, text) in sources("src").into_iter().chain(sources("kernels/src")) {
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

/// Longest comment line, its indentation included.
const MAX_COMMENT: usize = 100;

#[test]
fn comments_fit_100_columns() {
    for (path, text) in CODE.iter().flat_map(|dir| sources(dir)) {
        let mut drawing = false;
        for (n, line) in text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//")) {
            let comment = line.trim_start().trim_start_matches(['/', '!']).trim_start();
            drawing ^= comment.starts_with("```");
            // Neither a drawing nor a row of a table can be broken.
            let columns = if drawing || comment.starts_with('|') { 0 } else { line.chars().count() };
            assert!(columns <= MAX_COMMENT, "{}:{}: {columns} columns", path.display(), n + 1);
        }
    }
}

/// Words with which no doc comment begins: a noun or a verb that names the subject stands there
/// instead.
const NO_SUBJECT: [&str; 18] = [
    "What", "Who", "Whose", "Whoever", "Which", "Where", "Of", "That", "Those", "These", "This", "They", "Their", "It",
    "Its", "So many", "So much", "The same",
];

#[test]
fn doc_comments_begin_with_their_subject() {
    let doc = |line: &str| {
        let line = line.trim_start();
        line.strip_prefix("///").or(line.strip_prefix("//!")).map(|text| text.trim().to_owned())
    };
    for (path, text) in sources("src").into_iter().chain(sources("kernels/src")) {
        let mut paragraph = false;
        for (n, line) in text.lines().enumerate() {
            let comment = doc(line);
            let begins = !paragraph && comment.as_ref().is_some_and(|text| !text.is_empty());
            paragraph = comment.as_ref().is_some_and(|text| !text.is_empty());
            let found = NO_SUBJECT.iter().find(|word| {
                let rest = comment.as_ref().and_then(|text| text.strip_prefix(*word));
                begins && rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
            });
            assert!(found.is_none(), "{}:{}: begins with {found:?}", path.display(), n + 1);
        }
    }
}

#[test]
fn public_types_have_names_of_their_own() {
    let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
    let mut owners = HashMap::<String, PathBuf>::new();
    let is_test = |path: &Path| path.to_string_lossy().contains("test");
    for (path, text) in sources("src").into_iter().filter(|(path, _)| !is_test(path)) {
        for (n, line) in code(&text).filter(|(_, line)| line.starts_with("pub")) {
            let Some(rest) = kinds.iter().find_map(|kind| line.split_once(kind)).map(|(_, rest)| rest) else {
                continue;
            };
            let declares = line.split_whitespace().find(|word| !word.starts_with("pub")).unwrap_or_default();
            if !kinds.iter().any(|kind| kind.trim() == declares) {
                continue;
            }
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if let Some(owner) = owners.insert(name.clone(), path.clone()) {
                panic!("{}:{n}: {name} is the name of a type in {}, too", path.display(), owner.display());
            }
        }
    }
    assert!(owners.len() > 300, "{} public types are too few; are they found?", owners.len());
}
