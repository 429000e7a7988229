//! Checks the documents against the repository: links lead somewhere, and the paths, settings
//! and targets that are named exist.

use std::fs;
use std::path::{Path, PathBuf};

/// The most lines of the README.
const README_LINES: usize = 150;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Finds every Markdown file of the repository, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in ["", "docs", "benches", "tests/golden", "tests/corpus"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "md") {
                let text = read(&path);
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 5, "only {} documents were found", found.len());
    found
}

/// Yields what stands between `open` and `close`, each time, on one line.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.lines()
        .flat_map(move |line| line.match_indices(open).map(move |(at, _)| &line[at + open.len()..]))
        .filter_map(move |rest| rest.split_once(close).map(|(inner, _)| inner))
}

/// The anchor that a heading gets, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-')
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn leads_somewhere(from: &Path, link: &str) -> bool {
    let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
    let to = if file.is_empty() { from.to_owned() } else { from.parent().unwrap().join(file) };
    let has = |anchored: &str| read(&to).lines().any(|line| line.starts_with('#') && anchor(line) == anchored);
    to.exists() && (fragment.is_empty() || has(fragment))
}

#[test]
fn relative_links_lead_somewhere() {
    for (path, text) in documents() {
        for link in between(&text, "](", ')').filter(|link| !link.contains("://")) {
            assert!(leads_somewhere(&path, link), "{}: {link} leads nowhere", path.display());
        }
    }
}

#[test]
fn named_paths_exist() {
    let folders = ["src/", "kernels/", "tests/", "benches/", "examples/", "scripts/", "models/", "docs/"];
    for (path, text) in documents() {
        for named in between(&text, "`", '`').filter(|quoted| folders.iter().any(|folder| quoted.starts_with(folder))) {
            let whole = !named.contains([' ', '*', '<']);
            assert!(!whole || root().join(named).exists(), "{}: there is no {named}", path.display());
        }
    }
}

#[test]
fn named_settings_exist() {
    let settings: toml::Table = read(&root().join("pipeline.toml")).parse().unwrap();
    let mut checked = 0;
    for (path, text) in documents() {
        for quoted in between(&text, "`", '`').chain(between(&text, "--set ", '=')) {
            let name = quoted.split([' ', '=']).next().unwrap_or_default();
            let Some((section, key)) = name.split_once('.') else { continue };
            if let Some(section) = settings.get(section).and_then(toml::Value::as_table) {
                assert!(section.contains_key(key), "{}: there is no setting {name}", path.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "only {checked} settings were found");
}

#[test]
fn named_make_targets_exist() {
    let makefile = read(&root().join("Makefile"));
    for (path, text) in documents() {
        for quoted in between(&text, "`make ", '`') {
            let target = quoted.split(' ').next().unwrap_or_default();
            let rule = format!("{target}:");
            assert!(makefile.lines().any(|line| line.starts_with(&rule)), "{}: make {target}", path.display());
        }
    }
}

#[test]
fn readme_is_short() {
    let lines = read(&root().join("README.md")).lines().count();
    assert!(lines <= README_LINES, "{lines} lines of {README_LINES}; move what is not for a newcomer to docs/");
}
