//! The store against a model hub on this machine: what must arrive, and what must never be taken as
//! good.

#[path = "common/hub.rs"]
mod hub;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use hub::{Act, COMMIT, FakeHub};
use sotto::store::progress::Silent;
use sotto::store::{Catalogue, DownloadTask, FileState, HubEnv, HubTimeouts, Pin, Pip, Progress, Store, StoreError};
use sotto::types::Bytes;

const PATH: &str = "/org/repo/resolve/main/sub/model.bin";

/// A scratch folder with a cache, a models folder and a hub that has one file of 300,000 bytes.
struct Bench {
    hub: FakeHub,
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { hub: FakeHub::start(), dir: tempfile::tempdir().unwrap(), bytes: noise(300_000) };
        bench.hub.put(PATH, &bench.bytes, &bench.digest());
        bench
    }

    fn digest(&self) -> String {
        sha256(&self.bytes)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn blob(&self) -> PathBuf {
        self.path("hf/models--org--repo/blobs").join(self.digest())
    }

    fn env(&self) -> HubEnv {
        hub_env(&self.hub.endpoint, &self.path("hf"))
    }

    fn store(&self) -> Store {
        self.store_with(self.env())
    }

    fn store_with(&self, env: HubEnv) -> Store {
        Store::open(catalogue(&self.bytes, "main"), self.path("models"), env).unwrap()
    }

    fn pull(&self) -> Result<PathBuf, StoreError> {
        pull(&self.store())
    }

    /// What must hold after every refusal: no model, no blob, nothing outside the two folders.
    fn assert_nothing_is_taken_as_good(&self) {
        assert!(!self.path("models/tiny").exists());
        assert!(!self.blob().exists());
        let store = self.store();
        assert!(store.locate("tiny").unwrap_err().is_model_missing_or_damaged());
        let outside: Vec<_> = fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(outside.iter().all(|name| name == "hf" || name == "models"), "{outside:?}");
    }
}

fn hub_env(endpoint: &str, cache: &Path) -> HubEnv {
    let vars = BTreeMap::from([
        ("HF_ENDPOINT", endpoint.to_owned()),
        ("HF_HUB_CACHE", cache.to_str().unwrap().to_owned()),
        ("HF_TOKEN", "hf_secret".to_owned()),
        ("HOME", "/nonexistent".to_owned()),
    ]);
    let patience = HubTimeouts {
        connect: Duration::from_secs(5),
        stall: Duration::from_millis(500),
        tries: 3,
        pause: Duration::from_millis(10),
    };
    HubEnv { patience, ..HubEnv::read(|name| vars.get(name).map(Into::into)) }
}

fn catalogue(bytes: &[u8], revision: &str) -> Catalogue {
    let (size, sha) = (bytes.len(), sha256(bytes));
    Catalogue::parse(&format!(
        r#"
        [[model]]
        name = "tiny"
        kind = "llm"
        about = "a test"
        licence = "MIT"
        revision = "1"
        loaded_bytes = 10
        file = [{{ name = "model.gguf", size = {size}, sha256 = "{sha}" }}]
        [[model.source]]
        type = "hub"
        repo = "org/repo"
        revision = "{revision}"
        files = [{{ from = "sub/model.bin", to = "model.gguf", size = {size}, sha256 = "{sha}" }}]
        "#
    ))
    .unwrap()
}

fn pull(store: &Store) -> Result<PathBuf, StoreError> {
    let entry = store.catalogue().find("tiny").unwrap().clone();
    store.pull(&entry, &Silent).map(|installed| installed.file("model.gguf"))
}

fn sha256(bytes: &[u8]) -> String {
    Pin::of(bytes).unwrap().sha256.to_string()
}

/// Bytes that repeat nowhere nearby.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..len).map(next).collect()
}

#[test]
fn a_fresh_download_fills_both_the_store_and_the_shared_cache() {
    let bench = Bench::new();
    let path = bench.pull().unwrap();
    assert_eq!(path, bench.path("models/tiny/model.gguf"));
    assert_eq!(fs::read(&path).unwrap(), bench.bytes);
    let repo = bench.path("hf/models--org--repo");
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    let snapshot = repo.join("snapshots").join(COMMIT).join("sub/model.bin");
    assert_eq!(fs::read_link(&snapshot).unwrap(), Path::new("../../../blobs").join(bench.digest()));
    assert_eq!(fs::read(snapshot).unwrap(), bench.bytes);
    let asked = bench.hub.asked().len();
    bench.pull().unwrap();
    assert_eq!(bench.hub.asked().len(), asked, "a second pull asks nobody");
    assert!(!bench.path("models/.work/tiny").exists());
}

#[test]
fn a_download_goes_on_where_it_broke_off() {
    let bench = Bench::new();
    bench.hub.on_get([Act::Truncate(100_000), Act::Truncate(50_000)]);
    assert_eq!(fs::read(bench.pull().unwrap()).unwrap(), bench.bytes);
    let ranges: Vec<_> = bench.hub.gets().into_iter().map(|asked| asked.range).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-".into()), Some("bytes=150000-".into())]);
}

#[test]
fn a_server_that_cannot_resume_starts_again() {
    let bench = Bench::new();
    bench.hub.on_get([Act::Truncate(100_000), Act::IgnoreRange]);
    assert_eq!(fs::read(bench.pull().unwrap()).unwrap(), bench.bytes);
}

#[test]
fn what_another_program_left_unfinished_is_finished_or_thrown_away() {
    for (left, gets) in [(noise(1000), 1), (vec![b'!'; 1000], 2), (vec![b'!'; 400_000], 1)] {
        let bench = Bench::new();
        fs::create_dir_all(bench.blob().parent().unwrap()).unwrap();
        fs::write(bench.path(&format!("hf/models--org--repo/blobs/{}.incomplete", bench.digest())), &left).unwrap();
        assert_eq!(fs::read(bench.pull().unwrap()).unwrap(), bench.bytes);
        assert_eq!(bench.hub.gets().len(), gets, "{} bytes left", left.len());
    }
}

#[test]
fn a_digest_that_the_hub_itself_denies_costs_no_download() {
    let bench = Bench::new();
    bench.hub.put(PATH, &bench.bytes, &sha256(b"something else"));
    let error = bench.pull().unwrap_err().to_string();
    assert!(error.contains("sha256"), "{error}");
    assert!(bench.hub.gets().is_empty());
    bench.assert_nothing_is_taken_as_good();
}

#[test]
fn a_disk_without_room_costs_no_download() {
    const PARTS: u64 = 20_000;
    const PART: u64 = 16 << 30;
    let bench = Bench::new();
    let (sha, size) = (bench.digest(), PARTS * PART);
    let parts =
        (0..PARTS).map(|n| format!("{{ from = \"part{n}\", to = \"model.gguf\", size = {PART}, sha256 = \"{sha}\" }}"));
    let parts = parts.collect::<Vec<_>>().join(", ");
    let catalogue = Catalogue::parse(&format!(
        r#"
        [[model]]
        name = "tiny"
        kind = "llm"
        about = "a test"
        licence = "MIT"
        revision = "1"
        loaded_bytes = 10
        file = [{{ name = "model.gguf", size = {size}, sha256 = "{sha}" }}]
        source = [{{ type = "hub", repo = "org/repo", revision = "main", files = [{parts}] }}]
        "#
    ))
    .unwrap();
    let store = Store::open(catalogue, bench.path("models"), bench.env()).unwrap();
    let error = pull(&store).unwrap_err().to_string();
    for part in ["no room on the disk", bench.path("hf").to_str().unwrap(), "327680000 MiB are needed"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(bench.hub.gets().is_empty());
    bench.assert_nothing_is_taken_as_good();
}

#[test]
fn wrong_short_and_long_files_are_never_renamed() {
    for act in [Act::Garble, Act::TooLong, Act::Truncate(10)] {
        let bench = Bench::new();
        bench.hub.for_ever(act.clone());
        bench.hub.on_head([Act::Serve]);
        let error = bench.pull().unwrap_err();
        assert!(!error.is_model_missing_or_damaged(), "{act:?}: {error}");
        bench.assert_nothing_is_taken_as_good();
    }
    let bench = Bench::new();
    bench.hub.put(PATH, &bench.bytes[1..], &bench.digest());
    let error = bench.pull().unwrap_err().to_string();
    assert!(error.contains("299999 bytes"), "{error}");
    bench.assert_nothing_is_taken_as_good();
}

#[test]
fn names_from_the_hub_cannot_leave_the_cache() {
    for (etag, commit) in [("../../../evil", COMMIT), ("/tmp/evil", COMMIT), ("ok", "../../evil"), ("ok", "a/b")] {
        let bench = Bench::new();
        bench.hub.put(PATH, &bench.bytes, etag);
        bench.hub.commit(commit);
        let error = bench.pull().unwrap_err().to_string();
        assert!(error.contains("cannot be the name of a file"), "{error}");
        bench.assert_nothing_is_taken_as_good();
    }
}

#[test]
fn the_token_never_travels_to_another_host() {
    let (bench, cdn) = (Bench::new(), FakeHub::start());
    cdn.put("/blob?signature=x", &bench.bytes, "cdn");
    let away = Act::Redirect(format!("{}/blob?signature=x", cdn.endpoint));
    bench.hub.on_head([Act::Redirect(PATH.into()), away.clone()]);
    bench.hub.on_get([Act::Redirect(PATH.into()), away]);
    assert_eq!(fs::read(bench.pull().unwrap()).unwrap(), bench.bytes);
    assert_eq!(bench.hub.asked().len(), 4);
    assert!(bench.hub.asked().iter().all(|asked| asked.token.as_deref() == Some("Bearer hf_secret")));
    assert_eq!(cdn.asked().iter().map(|asked| asked.method.as_str()).collect::<Vec<_>>(), ["GET"]);
    assert!(cdn.asked().iter().all(|asked| asked.token.is_none()));
}

#[test]
fn redirects_end() {
    let bench = Bench::new();
    bench.hub.for_ever(Act::Redirect(PATH.into()));
    let error = bench.pull().unwrap_err().to_string();
    assert!(error.contains("redirects"), "{error}");
    assert_eq!(bench.hub.asked().len(), 6);
}

#[test]
fn a_busy_hub_is_asked_again_and_a_broken_one_not_for_ever() {
    let bench = Bench::new();
    bench.hub.on_head([Act::Status(503)]);
    bench.hub.on_get([Act::Status(500), Act::Status(429)]);
    assert_eq!(fs::read(bench.pull().unwrap()).unwrap(), bench.bytes);

    let broken = Bench::new();
    broken.hub.for_ever(Act::Status(500));
    let error = broken.pull().unwrap_err().to_string();
    assert!(error.contains("cannot be reached") && error.contains("500"), "{error}");
    assert_eq!(broken.hub.asked().len(), 3);
    broken.assert_nothing_is_taken_as_good();
}

#[test]
fn a_plain_no_is_final() {
    for status in [401, 403, 404] {
        let bench = Bench::new();
        bench.hub.for_ever(Act::Status(status));
        let error = bench.pull().unwrap_err().to_string();
        assert!(error.contains(&status.to_string()), "{error}");
        assert_eq!(bench.hub.asked().len(), 1);
    }
}

#[test]
fn a_hub_that_falls_silent_is_left_and_resumed() {
    let bench = Bench::new();
    bench.hub.on_get([Act::Stall(40_000)]);
    assert_eq!(fs::read(bench.pull().unwrap()).unwrap(), bench.bytes);
    assert_eq!(bench.hub.gets()[1].range.as_deref(), Some("bytes=40000-"));

    let silent = Bench::new();
    silent.hub.on_get([Act::Stall(0), Act::Stall(0), Act::Stall(0)]);
    let error = silent.pull().unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    silent.assert_nothing_is_taken_as_good();
}

#[test]
fn offline_asks_nobody_and_still_finds_what_is_there() {
    let bench = Bench::new();
    let offline = || HubEnv { offline: true, ..bench.env() };
    let error = pull(&bench.store_with(offline())).unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE"), "{error}");
    assert!(bench.hub.asked().is_empty());

    let snapshot = bench.path("hf/models--org--repo/snapshots").join(COMMIT).join("sub");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(bench.blob().parent().unwrap()).unwrap();
    // Small files carry a git hash as ETag, so the blob's name says nothing: the snapshot has to be
    // followed.
    fs::write(bench.blob().with_file_name("a94a8fe5"), &bench.bytes).unwrap();
    std::os::unix::fs::symlink("../../../blobs/a94a8fe5", snapshot.join("model.bin")).unwrap();
    assert_eq!(fs::read(pull(&bench.store_with(offline())).unwrap()).unwrap(), bench.bytes);
    assert!(bench.hub.asked().is_empty());
}

#[test]
fn a_link_out_of_the_cache_is_not_followed() {
    let bench = Bench::new();
    let snapshot = bench.path("hf/models--org--repo/snapshots").join(COMMIT).join("sub");
    fs::create_dir_all(&snapshot).unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x"), &bench.bytes).unwrap();
    std::os::unix::fs::symlink(outside.path().join("x"), snapshot.join("model.bin")).unwrap();
    pull(&bench.store_with(HubEnv { offline: true, ..bench.env() })).unwrap_err();
    bench.assert_nothing_is_taken_as_good();
}

#[test]
fn four_at_once_fetch_once() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..4).map(|_| scope.spawn(|| bench.pull().unwrap())).collect();
        for pull in pulls {
            assert_eq!(fs::read(pull.join().unwrap()).unwrap(), bench.bytes);
        }
    });
    assert_eq!(bench.hub.gets().len(), 1);
}

#[test]
fn a_commit_as_revision_needs_no_reference() {
    let bench = Bench::new();
    bench.hub.put(&PATH.replace("main", COMMIT), &bench.bytes, &bench.digest());
    let store = Store::open(catalogue(&bench.bytes, COMMIT), bench.path("models"), bench.env()).unwrap();
    pull(&store).unwrap();
    assert!(!bench.path("hf/models--org--repo/refs").exists());
}

#[test]
fn a_changed_file_is_hashed_again_and_found_out() {
    let bench = Bench::new();
    let (path, store) = (bench.pull().unwrap(), bench.store());
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let mut flipped = bench.bytes.clone();
    flipped[1000] ^= 1;
    fs::write(&path, &flipped).unwrap();
    let error = store.locate("tiny").unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("sotto models pull tiny"), "{error}");

    // Size and time say that nothing happened: only `verify` sees it.
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    store.locate("tiny").unwrap();
    assert!(matches!(store.verify("tiny"), Err(StoreError::Damaged { .. })));

    fs::write(&path, &bench.bytes[1..]).unwrap();
    let entry = store.catalogue().find("tiny").unwrap();
    assert!(matches!(store.state(entry), Ok(FileState::Damaged(why)) if why.contains("299999")));
    assert_eq!(fs::read(bench.pull().unwrap()).unwrap(), bench.bytes, "pulling cures it");
    assert_eq!(store.state(entry).unwrap(), FileState::Installed);
}

#[test]
fn a_model_without_a_manifest_is_taken_over_only_if_it_is_right() {
    let bench = Bench::new();
    let path = bench.pull().unwrap();
    let manifest = path.with_file_name("manifest.json");
    for text in ["", "{", "{\"revision\": \"1\", \"files\": {\"../../x\": {}}}"] {
        fs::write(&manifest, text).unwrap();
        bench.store().locate("tiny").unwrap();
        assert!(fs::read_to_string(&manifest).unwrap().contains("model.gguf"), "it is written anew");
    }
    fs::remove_file(&manifest).unwrap();
    fs::write(&path, vec![0; bench.bytes.len()]).unwrap();
    assert!(matches!(bench.store().locate("tiny"), Err(StoreError::Damaged { .. })));
}

#[test]
fn the_bar_goes_from_nothing_to_all() {
    #[derive(Default)]
    struct Watched(Mutex<Vec<u64>>);
    struct Watch<'a>(&'a Watched);
    impl DownloadTask for Watch<'_> {
        fn advance(&self, more: Bytes) {
            let mut at = self.0.0.lock().unwrap();
            let now = at.last().copied().unwrap_or(0) + more.0;
            at.push(now);
        }
        fn stand_at(&self, position: Bytes) {
            self.0.0.lock().unwrap().push(position.0);
        }
        fn done(self: Box<Self>) {}
    }
    impl Progress for &'static Watched {
        fn start(&self, _what: &str, total: Option<Bytes>) -> Box<dyn DownloadTask> {
            assert_eq!(total, Some(Bytes(300_000)));
            Box::new(Watch(self))
        }
        fn note(&self, line: &str) {
            panic!("{line}");
        }
    }
    let bench = Bench::new();
    bench.hub.on_get([Act::Truncate(100_000)]);
    let watched: &'static Watched = Box::leak(Box::default());
    let store = bench.store();
    store.pull(&store.catalogue().find("tiny").unwrap().clone(), &watched).unwrap();
    let at = watched.0.lock().unwrap();
    assert!(at.contains(&100_000) && at.last() == Some(&300_000) && at.iter().all(|at| *at <= 300_000), "{at:?}");
}

/// Not a test of its own: `a_killed_download_is_resumed` starts it in a process that it can kill.
#[test]
#[ignore = "started by a_killed_download_is_resumed"]
fn a_process_that_pulls() {
    let var = |name: &str| std::env::var(name).unwrap();
    let bytes = fs::read(var("TEST_BYTES")).unwrap();
    let env = HubEnv { patience: HubTimeouts::default(), ..hub_env(&var("TEST_HUB"), Path::new(&var("TEST_CACHE"))) };
    let store = Store::open(catalogue(&bytes, "main"), var("TEST_MODELS").into(), env).unwrap();
    let _ = pull(&store.with_pip(Pip::default()));
}

#[test]
fn a_killed_download_is_resumed() {
    let (bench, bytes) = (Bench::new(), tempfile::NamedTempFile::new().unwrap());
    fs::write(bytes.path(), &bench.bytes).unwrap();
    bench.hub.on_get([Act::Stall(120_000)]);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_pulls", "--ignored"])
        .env("TEST_BYTES", bytes.path())
        .env("TEST_HUB", &bench.hub.endpoint)
        .env("TEST_CACHE", bench.path("hf"))
        .env("TEST_MODELS", bench.path("models"))
        .spawn()
        .unwrap();
    let incomplete = bench.blob().with_extension("incomplete");
    while !fs::metadata(&incomplete).is_ok_and(|meta| meta.len() == 120_000) {
        std::thread::sleep(Duration::from_millis(10));
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    bench.assert_nothing_is_taken_as_good();
    assert_eq!(fs::read(bench.pull().unwrap()).unwrap(), bench.bytes);
    assert_eq!(bench.hub.gets()[1].range.as_deref(), Some("bytes=120000-"));
}
