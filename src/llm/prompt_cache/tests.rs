use std::fs;
use std::os::unix::fs::PermissionsExt;

use sotto_kernels::Pool;

use super::*;
use crate::llm::model::Model;
use crate::llm::testing;

struct Bench {
    dir: tempfile::TempDir,
    model: Model,
    stamp: Stamp,
}

const FORM: (usize, KvCacheType) = (256, KvCacheType::F16);

impl Bench {
    fn new(family: &str) -> Bench {
        let gguf = testing::open(&testing::model(family));
        let model = Model::bind(&mut gguf.binder(), ModelConfig::from_gguf(&gguf).unwrap(), Pool::new(1)).unwrap();
        Bench { dir: tempfile::tempdir().unwrap(), model, stamp: Stamp::of_bytes([7; 32]) }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("prompts")
    }

    fn cache(&self, limit: Bytes) -> PromptCache {
        PromptCache::open(&self.path(), limit)
    }

    fn computed(&mut self, tokens: &[u32]) -> (SystemPrompt, SequenceState) {
        let mut state = SequenceState::new(self.model.model_config(), FORM.0);
        self.model.forward(&mut state, tokens);
        (SystemPrompt(tokens.to_vec()), state)
    }

    fn put(&mut self, cache: &PromptCache, tokens: &[u32]) {
        let (prompt, state) = self.computed(tokens);
        cache.put(&self.stamp, &prompt, &state).unwrap();
    }

    fn get(&self, cache: &PromptCache, tokens: &[u32]) -> CachedState {
        cache.get(&self.stamp, self.model.model_config(), FORM, tokens)
    }

    fn files(&self) -> Vec<PathBuf> {
        let listed = fs::read_dir(self.path()).into_iter().flatten();
        listed.map(|entry| entry.unwrap().path()).collect()
    }
}

fn prompt(n: u32) -> Vec<u32> {
    (0..n).map(|i| i * 37 % 251).collect()
}

#[test]
fn the_longest_stored_beginning_is_found_and_gone_on_from_to_the_bit() {
    for family in ["llama", "qwen2", "qwen35"] {
        let mut bench = Bench::new(family);
        let cache = bench.cache(Bytes::mib(8));
        assert!(bench.get(&cache, &prompt(90)).state.is_none());
        let mut other = prompt(60);
        other[59] += 1;
        [&prompt(40), &prompt(70), &other, &prompt(100)].into_iter().for_each(|tokens| bench.put(&cache, tokens));
        let found = bench.get(&cache, &prompt(90));
        let (mut state, (_, mut straight)) = (found.state.unwrap(), bench.computed(&prompt(70)));
        assert!(found.notes.is_empty());
        assert_eq!(state.tokens(), prompt(70));
        for state in [&mut state, &mut straight] {
            bench.model.forward(state, &prompt(90)[70..]);
            (0..20).for_each(|token| bench.model.forward(state, &[token]));
            // Rolls back to the prompt, as a new conversation does.
            bench.model.rollback(state, 69);
            bench.model.forward(state, &[1, 2, 3]);
        }
        let both = [&mut state, &mut straight].map(|state| {
            bench.model.recompute_logits(state);
            bench.model.logits(state).unwrap().to_vec()
        });
        assert_eq!(both[0], both[1], "{family}");
        assert_eq!(bench.get(&cache, &prompt(39)).state.map(|state| state.len()), None);
    }
}

#[test]
fn other_models_kinds_and_contexts_find_nothing_and_delete_nothing() {
    let mut bench = Bench::new("qwen35");
    let cache = bench.cache(Bytes::mib(8));
    bench.put(&cache, &prompt(70));
    // The name begins the same and the rest differs: the whole stamp is compared.
    let mut near = [7; 32];
    near[31] = 8;
    for (stamp, form) in [
        (Stamp::of_bytes([8; 32]), FORM),
        (Stamp::of_bytes(near), FORM),
        (bench.stamp, (256, KvCacheType::Q8)),
        (bench.stamp, (69, KvCacheType::F16)),
    ] {
        let found = cache.get(&stamp, bench.model.model_config(), form, &prompt(80));
        assert!(found.state.is_none() && found.notes.is_empty());
    }
    assert!(bench.get(&cache, &prompt(70)).state.is_some());
}

#[test]
fn nothing_but_the_system_prompt_is_ever_written() {
    let mut bench = Bench::new("qwen35");
    let cache = bench.cache(Bytes::mib(8));
    let (prompt, mut state) = bench.computed(&prompt(50));
    let clean = state.fork();
    bench.model.forward(&mut state, &[104, 105]);
    assert!(matches!(cache.put(&bench.stamp, &prompt, &state), Err(CacheNote::NotThePrompt)));
    bench.model.rollback(&mut state, 49);
    assert!(matches!(cache.put(&bench.stamp, &prompt, &state), Err(CacheNote::NotThePrompt)));
    assert_eq!(bench.files(), [] as [PathBuf; 0]);

    // Positions that were rolled back leave no trace in the bytes.
    bench.model.rollback(&mut state, 0);
    bench.model.forward(&mut state, prompt.tokens());
    let bytes = |state: &SequenceState| {
        let mut bytes = Vec::new();
        state.write_to(&bench.stamp, CheckpointRange::None, &mut bytes).map(|()| bytes).unwrap()
    };
    assert!(bytes(&state) == bytes(&clean));
}

#[test]
fn files_are_for_their_owner_alone_and_links_are_not_followed() {
    let mut bench = Bench::new("llama");
    let cache = bench.cache(Bytes::mib(8));
    bench.put(&cache, &prompt(10));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = bench.files().remove(0);
    assert_eq!((mode(&bench.path()), mode(&file)), (0o700, 0o600));
    let elsewhere = bench.dir.path().join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    let found = bench.get(&cache, &prompt(20));
    assert!(found.state.is_none() && found.notes.is_empty() && elsewhere.exists());
}

#[test]
fn what_is_damaged_is_told_deleted_and_replaced_by_the_next_best() {
    let mut bench = Bench::new("qwen35");
    let cache = bench.cache(Bytes::mib(8));
    bench.put(&cache, &prompt(40));
    let good = bench.files();
    bench.put(&cache, &prompt(70));
    let longer = bench.files().into_iter().find(|file| !good.contains(file)).unwrap();
    let bytes = fs::read(&longer).unwrap();
    let foreign = bench.path().join("notes.txt");
    fs::write(&foreign, "mine").unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() - 100] ^= 4;
    for (case, damage) in [
        &flipped[..],
        &bytes[..bytes.len() - 1],
        &bytes[..50],
        b"",
        b"something else entirely, but long enough for a header of 88 bytes; so here is some more of it",
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(&longer, damage).unwrap();
        let found = bench.get(&cache, &prompt(90));
        assert_eq!(found.state.map(|state| state.len()), Some(40), "case {case}");
        let [CacheNote::Deleted { path, .. }] = &found.notes[..] else { panic!("case {case}: {:?}", found.notes) };
        assert_eq!(path, &longer);
        assert!(!longer.exists() && foreign.exists());
    }
}

#[test]
fn those_used_longest_ago_go_first_and_the_limit_holds() {
    let mut bench = Bench::new("qwen35");
    let size = bench.computed(&prompt(60)).1.written_bytes(CheckpointRange::None) as u64;
    let limit = Bytes(3 * size + 100);
    let cache = bench.cache(limit);
    let prompts: Vec<Vec<u32>> = (0..5).map(|n| prompt(60).iter().map(|token| token + n).collect()).collect();
    for (n, tokens) in prompts.iter().enumerate() {
        bench.put(&cache, tokens);
        bench.put(&cache, tokens);
        // The first is used again after each of the others.
        assert!(bench.get(&cache, &prompts[0]).state.is_some(), "after {n}");
        let total: u64 = bench.files().iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(total <= limit.0);
        std::thread::sleep(std::time::Duration::from_millis(15));
    }
    let kept = prompts.iter().map(|tokens| bench.get(&cache, tokens).state.is_some()).collect::<Vec<_>>();
    assert_eq!(kept, [true, false, false, true, true]);

    let (prompt, state) = bench.computed(&prompts[0]);
    let refused = bench.cache(Bytes(size - 1)).put(&bench.stamp, &prompt, &state).unwrap_err();
    assert!(refused.to_string().contains("[llm] prompt_cache"), "{refused}");
}

#[test]
fn a_limit_of_nothing_is_off_and_a_folder_that_cannot_be_is_told() {
    let mut bench = Bench::new("llama");
    bench.put(&bench.cache(Bytes(0)), &prompt(10));
    assert!(!bench.path().exists());
    fs::write(bench.path(), "a file").unwrap();
    let cache = bench.cache(Bytes::mib(1));
    let (prompt, state) = bench.computed(&prompt(10));
    assert!(matches!(cache.put(&bench.stamp, &prompt, &state), Err(CacheNote::Unusable { .. })));
    let found = bench.get(&cache, prompt.tokens());
    assert!(found.state.is_none() && matches!(found.notes[..], [CacheNote::Unusable { .. }]));
}

#[test]
fn abandoned_drafts_go_and_young_ones_stay() {
    let mut bench = Bench::new("llama");
    let cache = bench.cache(Bytes::mib(8));
    bench.put(&cache, &prompt(10));
    let [old, young] = ["old", "young"].map(|name| bench.path().join(format!(".draft-{name}")));
    for draft in [&old, &young] {
        fs::write(draft, "x").unwrap();
    }
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    bench.put(&cache, &prompt(11));
    assert!(!old.exists() && young.exists());
}

#[test]
fn many_at_once_read_whole_states_or_none() {
    let mut bench = Bench::new("qwen35");
    let prompts: Vec<Vec<u32>> = (0..6).map(|n| prompt(40).iter().map(|token| token + n).collect()).collect();
    let states: Vec<_> = prompts.iter().map(|tokens| bench.computed(tokens)).collect();
    let limit = Bytes(3 * states[0].1.written_bytes(CheckpointRange::None) as u64);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (bench, states, prompts) = (&bench, &states, &prompts);
            scope.spawn(move || {
                let cache = bench.cache(limit);
                for n in 0..40 {
                    let (prompt, state) = &states[(n * 5 + worker) % 6];
                    cache.put(&bench.stamp, prompt, state).unwrap();
                    let found = bench.get(&cache, &prompts[(n + worker) % 6]);
                    assert!(found.notes.is_empty(), "{:?}", found.notes);
                }
            });
        }
    });
}

#[test]
fn a_system_prompt_is_made_of_configuration_and_tools_alone() {
    let tokenizer = testing::tokenizer("qwen2");
    let format = testing::chatml(&tokenizer);
    let prompt = SystemPrompt::new(&format, &tokenizer, "Be brief.", &[]).unwrap().unwrap();
    assert_eq!(prompt.tokens(), format.system(&tokenizer, "Be brief.").unwrap());
    let tool = Tool(serde_json::json!({ "name": "light", "parameters": {} }));
    assert_eq!(SystemPrompt::new(&format, &tokenizer, "Be brief.", &[tool]).unwrap(), None);
}

#[test]
fn prompts_lie_in_a_folder_of_ones_own() {
    for (variables, expected) in [
        (&[("HOME", "/h")][..], Some("/h/.cache/sotto/prompts")),
        (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], Some("/x/sotto/prompts")),
        (&[("HOME", "/h"), ("XDG_CACHE_HOME", "x")], Some("/h/.cache/sotto/prompts")),
        (&[("HOME", "/h"), ("CACHE_DIRECTORY", "/c/sotto:/d")], Some("/c/sotto/prompts")),
        (&[("HOME", "")], None),
    ] {
        let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        assert_eq!(prompts_dir(lookup), expected.map(PathBuf::from), "{variables:?}");
    }
}
