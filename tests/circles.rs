//! The modules of a room form no circle: who reads one from the bottom up meets nothing that is
//! explained further up.

#[path = "common/imports.rs"]
mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use imports::names;

/// Rooms that still have circles. `llm`: its one error knows the faults of every format, and every
/// format returns that error; `model`, `source` and `state` know each other. `kernels`: the
/// reference takes the shapes that the operations define, and the operations fall back on the
/// reference. A room that is free of circles leaves the list.
const NOT_YET: [&str; 2] = ["kernels", "llm"];

/// Modules of one room, with the modules that each imports from.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The text without comment lines and without what is compiled for tests alone.
fn code(text: &str) -> String {
    let mut lines = Vec::new();
    let mut source = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = source.next() {
        if line.trim() != "#[cfg(test)]" {
            lines.push(line);
            continue;
        }
        let item = source.next().unwrap_or_default();
        // The tests at the end of a file.
        if item.starts_with("mod ") && item.ends_with('{') {
            break;
        }
        // A use, a module in a file of its own, or a function or block, which ends where it is
        // indented as it began.
        let indent = item.len() - item.trim_start().len();
        if !item.trim_end().ends_with(';') {
            let _item = source.find(|line| line.starts_with(&format!("{}}}", " ".repeat(indent))));
        }
    }
    lines.join("\n")
}

/// Names that the root of a room takes from its modules, with the module of each.
fn exports(root: &str, modules: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for statement in root.split(';') {
        let Some((_, path)) = statement.split_once("use ") else { continue };
        let module: String = path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if modules.contains(&module) {
            let words = path.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            exports.extend(words.filter(|word| !word.is_empty()).map(|word| (word.to_owned(), module.clone())));
        }
    }
    modules.iter().for_each(|module| drop(exports.insert(module.clone(), module.clone())));
    exports
}

/// Names that code takes from the root of its room. The root is `supers` levels up.
fn taken<'c>(code: &'c str, room: &str, supers: usize) -> Vec<&'c str> {
    let (absolute, relative) = (room.to_owned(), "super::".repeat(supers));
    let mut found = Vec::new();
    for path in [absolute, relative] {
        for (at, _) in code.match_indices(&path) {
            let (before, rest) = (&code[..at], &code[at + path.len()..]);
            if !before.ends_with("super::") && !rest.starts_with("super::") {
                found.extend(names(rest));
            }
        }
    }
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The graph of a room in `folder` with the root file `root`, called `room` in paths.
fn graph(folder: &Path, root: &str, room: &str) -> Graph {
    let root_code = code(&fs::read_to_string(folder.join(root)).unwrap());
    let declared = root_code.lines().filter_map(|line| {
        let line = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        line.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
    });
    let modules: BTreeSet<String> = declared.collect();
    let exports = exports(&root_code, &modules);
    let mut graph: Graph = modules.iter().map(|module| (module.clone(), BTreeSet::new())).collect();
    for path in files(folder).into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")) {
        let inner = path.strip_prefix(folder).unwrap().with_extension("");
        let parts: Vec<String> = inner.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        let is_test = parts.iter().any(|part| part.starts_with("test") || part.ends_with("tests"));
        let Some(edges) = graph.get_mut(&parts[0]).filter(|_| !is_test) else { continue };
        let supers = if parts.last().is_some_and(|last| last == "mod") { parts.len() - 1 } else { parts.len() };
        let code = code(&fs::read_to_string(&path).unwrap());
        let names = taken(&code, room, supers);
        edges.extend(names.iter().filter_map(|name| exports.get(*name)).filter(|to| **to != parts[0]).cloned());
    }
    graph
}

/// The first circle, as the modules on it.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    graph.keys().find_map(|start| follow(graph, start, &mut Vec::new(), &mut done))
}

fn follow(graph: &Graph, at: &str, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<Vec<String>> {
    if let Some(from) = way.iter().position(|module| module == at) {
        return Some(way[from..].to_vec());
    }
    if !done.insert(at.to_owned()) {
        return None;
    }
    way.push(at.to_owned());
    let found = graph.get(at).into_iter().flatten().find_map(|next| follow(graph, next, way, done));
    way.pop();
    found
}

#[test]
fn circles_are_found() {
    let graph = |edges: &[(&str, &[&str])]| -> Graph {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        edges.iter().map(|(from, to)| ((*from).to_owned(), names(to))).collect()
    };
    assert_eq!(circle(&graph(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])), None);
    let found = circle(&graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])])).unwrap();
    assert_eq!(found, ["b", "c"]);

    let modules = ["host", "stage"].map(str::to_owned).into();
    let exports = exports("mod host;\nmod stage;\npub use stage::{Result, work::Job};", &modules);
    let of = |name: &str| exports.get(name).map(String::as_str);
    assert_eq!((of("Job"), of("Result"), of("host"), of("Host")), (Some("stage"), Some("stage"), Some("host"), None));
    let taken = |code| taken(code, "crate::engine::", 2);
    assert_eq!(taken("use super::super::host::Host;\nuse super::other;"), ["host"]);
    assert_eq!(taken("use crate::engine::{stage::{A, B}, Job};\nuse super::super::super::x;"), ["stage", "Job"]);
    let kept = code("use a;\n#[cfg(test)]\nuse b;\n// use c;\nfn d() {}\n#[cfg(test)]\nmod tests {\nuse e;\n}\n");
    assert_eq!(kept, "use a;\nfn d() {}");
}

#[test]
fn no_modules_go_in_circles() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rooms = fs::read_dir(root.join("src")).unwrap().map(|entry| entry.unwrap().path());
    let rooms = rooms.filter(|path| path.join("mod.rs").exists());
    let mut wrong = Vec::new();
    let mut look = |name: &str, graph: Graph| {
        assert!(!graph.is_empty(), "{name} has no modules");
        match circle(&graph) {
            Some(circle) if !NOT_YET.contains(&name) => wrong.push(format!("{name}: {}", circle.join(" -> "))),
            None if NOT_YET.contains(&name) => wrong.push(format!("{name} is free of circles: take it off the list")),
            _ => {}
        }
    };
    for path in rooms {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        look(&name, graph(&path, "mod.rs", &format!("crate::{name}::")));
    }
    look("kernels", graph(&root.join("kernels/src"), "lib.rs", "crate::"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
