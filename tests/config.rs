//! From files, variables and flags to a checked plan, and everything that can be wrong on the way.

#[path = "common/settings.rs"]
mod settings;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use settings::{Bench, origin};
use sotto::config::{self, BargeInMode, Environment, SettingOrigin, Sources};
use sotto::types::{Bytes, Ms};

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

// ----------------------------------------------------------------
// What is wrong with a file

/// The files of `tests/configs`, and everything that is to be said of each, without its name in
/// front.
const BROKEN: &[(&str, &[&str])] = &[
    ("byte-order-mark", &["2:9: tts.speed is 9; must be between 0.5 and 2"]),
    (
        "control-characters",
        &[
            r#"2:1: unknown key detect.on\u{1b}[31mset\n; [detect] has voice_activity, end_of_turn, wake_word, wake_threshold, speech_threshold, silence_threshold, min_speech_ms, min_silence_ms, speech_pad_ms, max_turn_ms"#,
            r#"4:11: models.profile is "a\u{7}b"; must be one of "starter", "qwen""#,
        ],
    ),
    (
        "cross-lengths",
        &[
            "4:15: detect.max_turn_ms is 2000; must be at least detect.min_speech_ms, which is 2500 (cross-lengths.toml:3)",
            "4:15: detect.max_turn_ms is 2000; must be at least detect.min_silence_ms, which is 3000 (cross-lengths.toml:2)",
            "8:14: llm.max_tokens is 1025; must be at most llm.context, which is 1024 (cross-lengths.toml:7)",
        ],
    ),
    ("cross-not-concluded", &["3:20: detect.speech_threshold is 1.5; must be between 0 and 1"]),
    (
        "cross-thresholds",
        &[
            "3:21: detect.silence_threshold is 0.6; must be below detect.speech_threshold, which is 0.4 (cross-thresholds.toml:2)",
        ],
    ),
    (
        "cross-threshold-below-default",
        &["2:20: detect.speech_threshold is 0.2; must be above detect.silence_threshold, which is 0.35 (default)"],
    ),
    (
        "cross-silences",
        &[
            "2:21: turn.likely_silence_ms is 900; must be at most turn.possible_silence_ms, which is 800 (default)",
            "3:23: turn.unlikely_silence_ms is 300; must be at least turn.possible_silence_ms, which is 800 (default)",
        ],
    ),
    ("deep-key", &[" is nested too deeply; write [section] and key = value"]),
    ("deep-list", &["2:100: is nested too deeply; write [section] and key = value"]),
    ("duplicate-key", &[r#"4:1: "speech_threshold" stands here a second time; keep one of them"#]),
    ("duplicate-section", &[r#"5:2: "detect" stands here a second time; keep one of them"#]),
    ("key-outside-section", &["1:1: unknown key temperature outside a section; did you mean llm.temperature?"]),
    ("latin-1", &["2:11: byte 0xfc is not UTF-8; save the file as UTF-8"]),
    (
        "long-prompt",
        &[
            r#"2:17: llm.system_prompt is "la la la la la la la la la la la la la la la la la la la la …"; must be text of at most 8000 characters"#,
        ],
    ),
    ("no-value", &["2:19: the value is missing", "3:19: key with no value, expected `=`"]),
    (
        "not-toml",
        &[
            "1:7: invalid unquoted key, expected letters, numbers, `-`, `_`",
            "1:8: key with no value, expected `=`",
            "2:21: key with no value, expected `=`",
        ],
    ),
    ("open-section", &["1:8: unclosed table, expected `]`"]),
    ("open-string", &[r#"2:31: invalid basic string, expected `"`"#]),
    (
        "out-of-range",
        &[
            "4:20: detect.speech_threshold is 1.5; must be between 0 and 1",
            "5:20: detect.min_speech_ms is -1; must be between 0 and 5000",
            "6:19: detect.max_turn_ms is 99999; must be between 1000 and 30000",
            r#"8:11: asr.threads is 0; must be between 1 and 64, or "auto""#,
            "9:15: asr.min_logprob is 0.1; must be between -10 and 0",
            "11:15: llm.temperature is nan; must be between 0 and 2",
            "12:9: llm.top_p is inf; must be between 0 and 1",
            "13:9: llm.top_k is 340282366920938463463374607431768211456; must be between 0 and 1000",
            r#"14:8: llm.seed is 0x100000000; must be between 0 and 4294967295, or "auto""#,
            "16:9: tts.speed is 3; must be between 0.5 and 2",
        ],
    ),
    ("section-is-a-list", &["1:3: detect must be a section: write [detect] on a line of its own, and its keys below"]),
    ("section-is-a-value", &["1:1: detect must be a section: write [detect] on a line of its own, and its keys below"]),
    (
        "three-at-once",
        &[
            "2:20: detect.speech_threshold is 2; must be between 0 and 1",
            "4:1: unknown key llm.max_token; did you mean llm.max_tokens?",
            r#"6:9: tts.speed is "fast", a string; must be a number between 0.5 and 2"#,
        ],
    ),
    (
        "unknown-key",
        &[
            "2:1: unknown key detect.speech_treshold; did you mean detect.speech_threshold?",
            "5:4: unknown key llm.end_silence_ms; [llm] has model, system_prompt, threads, priority, context, kv_cache, speculative_decoding, prompt_cache, max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, seed",
            "6:1: unknown key llm.speed; did you mean tts.speed?",
            "7:1: unknown key llm.zzzzzzzz; [llm] has model, system_prompt, threads, priority, context, kv_cache, speculative_decoding, prompt_cache, max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, seed",
        ],
    ),
    (
        "unknown-section",
        &[
            "1:2: unknown section [detcet]; did you mean [detect]?",
            "4:2: unknown section [kitchen]; there are [models], [memory], [audio], [detect], [turn], [asr], [llm], [tts]",
        ],
    ),
    ("utf-16", &[" is UTF-16 text; save it as UTF-8"]),
    (
        "wide-letters",
        &[
            r#"2:9: tts.voice is "für"; must be a model's name, or the path of a model with a "/" in it, or "auto""#,
            "3:1: unknown key tts.größe; [tts] has voice, voices, no_voice_reply, threads, speed",
        ],
    ),
    (
        "voices",
        &[
            r#"2:10: tts.voices is "./de", a string; must be a list of models' names and of paths with a "/" in them"#,
            r#"3:18: tts.no_voice_reply is 1, a whole number; must be text of 1 to 500 characters"#,
        ],
    ),
    (
        "windows-lines",
        &[
            r#"3:10: tts.voice is 7, a whole number; must be a model's name, or the path of a model with a "/" in it, or "auto""#,
        ],
    ),
    (
        "wrong-type",
        &[
            r#"2:11: models.profile is 3, a whole number; must be one of "starter", "qwen""#,
            r#"3:7: models.dir is false; must be the path of a folder, or "auto""#,
            r#"6:10: memory.budget is 1500, which needs a unit; must be a whole number above 0 and its unit, such as "1500MiB" or "2GiB""#,
            r#"9:20: detect.speech_threshold is "high", a string; must be a number between 0 and 1"#,
            "10:17: detect.min_speech_ms is 200.5, a number; must be a whole number between 0 and 5000",
            "11:17: detect.speech_pad_ms is 2026-11-01, a date; must be a whole number between 0 and 2000",
            r#"14:12: asr.language is a list; must be the two-letter code of a language that Whisper knows, such as "en", or "auto""#,
            r#"15:11: asr.threads is "many", a string; must be a whole number between 1 and 64, or "auto""#,
            r#"17:1: llm.context is a section; must be a whole number between 128 and 262144, or "auto""#,
        ],
    ),
    (
        "wrong-words",
        &[
            r#"2:11: models.profile is "startr"; must be one of "starter", "qwen""#,
            r#"3:7: models.dir is ""; must be the path of a folder, or "auto""#,
            r#"6:10: memory.budget is "lots"; must be a whole number above 0 and its unit, such as "1500MiB" or "2GiB""#,
            r#"9:9: asr.model is "Whisper Base"; must be a model's name, or the path of a model with a "/" in it, or "auto""#,
            r#"10:12: asr.language is "english"; must be the two-letter code of a language that Whisper knows, such as "en", or "auto""#,
            r#"13:9: tts.voice is "Piper Joe"; must be a model's name, or the path of a model with a "/" in it, or "auto""#,
        ],
    ),
    (
        "zero-budget",
        &[r#"1:17: memory.budget is "0MiB"; must be a whole number above 0 and its unit, such as "1500MiB" or "2GiB""#],
    ),
];

/// Broken in ways that a table does not show well; each has a test of its own below.
const ELSEWHERE: [&str; 1] = ["hundreds"];

#[test]
fn every_broken_file_is_refused_with_all_its_messages() {
    let folder = project().join("tests/configs");
    for (name, messages) in BROKEN {
        let path = folder.join(name).with_extension("toml");
        let sources = Sources { file: Some(path.clone()), ..Bench::new().sources };
        let refusal = config::load(&sources).expect_err(name).to_string();
        let expected: Vec<_> = messages.iter().map(|message| format!("{}:{message}", path.display())).collect();
        // A message may name the file a second time: where the other value stands.
        let expected = expected.join("\n").replace(&format!("({name}.toml"), &format!("({}", path.display()));
        assert_eq!(refusal, expected, "{name}");
    }
}

#[test]
fn every_file_of_the_folder_is_expected() {
    let mut found: Vec<_> = fs::read_dir(project().join("tests/configs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
        .collect();
    found.sort();
    let mut expected: Vec<_> = BROKEN.iter().map(|(name, _)| *name).chain(ELSEWHERE).collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn of_very_many_problems_fifty_are_told_and_the_rest_counted() {
    let path = project().join("tests/configs/hundreds.toml");
    let refusal = config::load(&Sources { file: Some(path), ..Bench::new().sources }).unwrap_err();
    assert_eq!(refusal.problems().len(), 50);
    assert!(refusal.to_string().ends_with("\nand 10 more"), "{refusal}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let bench = Bench::new();
    let refused = |path: &str| {
        let sources = Sources { file: Some(bench.dir.path().join(path)), ..bench.sources.clone() };
        let refusal = config::load(&sources).unwrap_err().to_string();
        refusal.replace(&format!("{}/", bench.dir.path().display()), "")
    };
    assert_eq!(refused("none.toml"), "none.toml: no such file; name another one, or leave it out for the defaults");
    fs::create_dir(bench.dir.path().join("folder")).unwrap();
    assert_eq!(refused("folder"), "folder: is a folder; name a file in it, such as pipeline.toml");
    bench.write("large.toml", vec![b'#'; (1 << 20) + 1]);
    assert_eq!(refused("large.toml"), "large.toml: is longer than 1 MiB; a configuration is a few kilobytes of TOML");
    bench.write("largest.toml", vec![b'#'; 1 << 20]);
    let sources = Sources { file: Some(bench.dir.path().join("largest.toml")), ..bench.sources.clone() };
    assert!(config::load(&sources).is_ok());
}

#[test]
fn a_large_file_that_is_not_toml_costs_one_message() {
    for text in ["a\n".repeat(1 << 19), "[".repeat(1 << 20), "a=1\n".repeat(1 << 18), "a.".repeat(1 << 19)] {
        let refusal = Bench::new().file(&text).refusal();
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
}

// ----------------------------------------------------------------
// The documented file, the schema and the defaults say the same

#[test]
fn the_documented_file_equals_the_defaults_and_names_every_setting() {
    let mut bench = Bench::new();
    let defaults = bench.loaded();
    bench.sources.file = Some(project().join("pipeline.toml"));
    let documented = bench.loaded();
    assert_eq!(documented.plan, defaults.plan);
    for (documented, default) in documented.entries.iter().zip(&defaults.entries) {
        assert_eq!((&documented.path, &documented.value), (&default.path, &default.value));
        assert!(matches!(documented.origin, SettingOrigin::File { .. }), "{} is not in pipeline.toml", documented.path);
    }
}

#[test]
fn the_documented_file_explains_every_key_and_names_its_schema() {
    let text = fs::read_to_string(project().join("pipeline.toml")).unwrap();
    assert_eq!(text.lines().next(), Some("#:schema ./pipeline.schema.json"));
    let lines: Vec<_> = text.lines().collect();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        assert!(lines[at - 1].starts_with("# "), "no comment above {line:?}");
    }
}

#[test]
fn the_committed_schema_is_current() {
    let committed = fs::read_to_string(project().join("pipeline.schema.json")).unwrap();
    assert_eq!(committed, config::schema(), "run \"sotto config schema > pipeline.schema.json\"");
}

#[test]
fn the_schema_describes_every_setting_with_its_default() {
    let schema: serde_json::Value = serde_json::from_str(&config::schema()).unwrap();
    for entry in &Bench::new().loaded().entries {
        let property = &schema["properties"][entry.section()]["properties"][entry.key()];
        assert!(property["description"].as_str().is_some_and(|text| text.ends_with('.')), "{}", entry.path);
        assert_eq!(property["default"], entry.value, "{}", entry.path);
    }
}

#[test]
fn the_defaults_make_a_plan() {
    let plan = Bench::new().loaded().plan;
    let models = [&plan.detect.voice_activity, &plan.asr.model, &plan.llm.model, &plan.tts.voice];
    assert_eq!(models, ["silero-vad", "whisper-base", "qwen2.5-coder-0.5b", "piper-joe"]);
    assert_eq!((plan.memory.budget, plan.models.dir), (Bytes::mib(1600), None));
    assert_eq!((plan.llm.kv_cache, plan.llm.prompt_cache), (config::KvType::F16, Bytes::mib(256)));
    assert_eq!(plan.detect.end_of_turn.as_deref(), Some("smart-turn"));
    let audio = config::AudioPlan { echo: config::EchoMode::Aec3, noise: config::Noise::Off, gain: config::Gain::Off };
    assert_eq!(plan.audio, audio);
    assert_eq!((plan.devices.microphone.as_str(), plan.devices.speaker.as_str()), ("default", "default"));
    let turn = &plan.turn;
    let silences = [turn.likely_silence, turn.possible_silence, turn.unlikely_silence, turn.incomplete_silence];
    assert_eq!(
        (silences, turn.barge_in, turn.earcons),
        ([510.0, 800.0, 850.0, 1250.0].map(Ms), BargeInMode::On, false)
    );
    assert_eq!((plan.detect.min_silence, plan.detect.max_turn), (Ms(320.0), Ms(30_000.0)));
    assert_eq!((plan.asr.threads_beside, plan.llm.threads, plan.tts.threads), (1, 2, 1));
    assert_eq!((plan.asr.language.as_deref(), plan.llm.sampling.seed), (Some("en"), None));
}

#[test]
fn the_model_for_ends_of_turns_can_be_named_and_left_out() {
    let end_of_turn = |name| Bench::new().flags(&[("detect.end_of_turn", name)]).loaded().plan.detect.end_of_turn;
    assert_eq!((end_of_turn("off"), end_of_turn("other")), (None, Some("other".to_owned())));
}

#[test]
fn the_wake_word_can_be_named_and_said() {
    let wake_word = |name| Bench::new().flags(&[("detect.wake_word", name)]).loaded().plan.detect.wake_word;
    assert_eq!(wake_word("off"), None);
    for (name, spoken) in [("hey_jarvis", "hey jarvis"), ("/words/okay-computer.onnx", "okay computer")] {
        let word = wake_word(name).unwrap();
        assert_eq!((word.model.as_str(), word.spoken().as_str(), word.threshold), (name, spoken, 0.5));
    }
    let refused = Bench::new().flags(&[("detect.wake_word", "auto")]).refusal();
    assert!(refused.contains("detect.wake_word is \"auto\"; must be \"off\", the name of a wake word"), "{refused}");
}

#[test]
fn the_profile_chooses_what_auto_leaves_open() {
    let plan = |flags: &[(&str, &str)]| Bench::new().flags(flags).loaded().plan;
    assert_eq!(plan(&[("models.profile", "qwen")]).llm.model, "qwen3.5-0.8b");
    assert_eq!(plan(&[("models.profile", "qwen"), ("llm.model", "smollm2-135m")]).llm.model, "smollm2-135m");
    let stand_in = |flags: &[(&str, &str)]| plan(flags).models.stand_in;
    assert_eq!(stand_in(&[("models.profile", "qwen")]).as_deref(), Some("qwen2.5-coder-0.5b"));
    assert_eq!(stand_in(&[]), None);
    assert_eq!(stand_in(&[("models.profile", "qwen"), ("llm.model", "qwen3.5-0.8b")]), None, "it was named");
    assert_eq!(plan(&[("asr.language", "auto")]).asr.language, None);
    let small = plan(&[("llm.kv_cache", "q8"), ("llm.prompt_cache", "0")]).llm;
    assert_eq!((small.kv_cache, small.prompt_cache), (config::KvType::Q8, Bytes(0)));
    assert_eq!(plan(&[("llm.seed", "7")]).llm.sampling.seed, Some(7));
}

// ----------------------------------------------------------------
// Layers

#[test]
fn the_models_folder_has_two_variables_and_the_usual_order() {
    let (short, usual, flag) =
        (("SOTTO_MODELS_DIR", "/short"), ("SOTTO_MODELS__DIR", "/usual"), ("models.dir", "/flag"));
    let file = "[models]\ndir = \"/file\"\n";
    for (env, flags, dir, from) in [
        (&[][..], &[][..], "/file", "given.toml:2"),
        (&[short], &[], "/short", "SOTTO_MODELS_DIR"),
        (&[usual, short], &[], "/usual", "SOTTO_MODELS__DIR"),
        (&[short], &[flag], "/flag", "--set models.dir"),
    ] {
        let loaded = Bench::new().file(file).env(env).flags(flags).loaded();
        assert_eq!(loaded.plan.models.dir.as_deref(), Some(Path::new(dir)));
        assert!(origin(&loaded, "models.dir").contains(from), "{}", origin(&loaded, "models.dir"));
    }
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let file = "[llm]\nmax_tokens = 10\ntop_k = 11\ntemperature = 0\n";
    let env = [("SOTTO_LLM__MAX_TOKENS", "20"), ("SOTTO_LLM__TOP_K", "21"), ("HOME", "/h")];
    let bench = Bench::new().file(file).env(&env).flags(&[("llm.max_tokens", "30"), ("llm.max_tokens", "31")]);
    let loaded = bench.loaded();
    let llm = &loaded.plan.llm;
    assert_eq!((llm.max_tokens, llm.sampling.top_k, llm.sampling.temperature, llm.sampling.top_p), (31, 21, 0.0, 0.9));
    assert_eq!(origin(&loaded, "llm.max_tokens"), "flag --set llm.max_tokens");
    assert_eq!(origin(&loaded, "llm.top_k"), "env SOTTO_LLM__TOP_K");
    assert!(origin(&loaded, "llm.temperature").ends_with("given.toml:4"));
    assert_eq!(origin(&loaded, "llm.top_p"), "default");
}

#[test]
fn a_wrong_value_is_refused_even_where_a_later_layer_overrides_it() {
    let bench = Bench::new().file("[tts]\nspeed = 9").flags(&[("tts.speed", "1")]);
    assert_eq!(bench.refusal(), "given.toml:2:9: tts.speed is 9; must be between 0.5 and 2");
}

#[test]
fn all_layers_tell_their_problems_at_once() {
    let bench = Bench::new()
        .file("[tts]\nsped = 1")
        .env(&[("SOTTO_DETECT__SPEECH_THRESHOLD", "0.2"), ("SOTTO_LLM_TOP_K", "1")])
        .flags(&[("llm.top_p", "much"), ("llm.topk", "1"), ("budget", "1GiB")]);
    let expected = [
        "given.toml:2:1: unknown key tts.sped; did you mean tts.speed?",
        "SOTTO_LLM_TOP_K: no such setting; did you mean SOTTO_LLM__TOP_K?",
        r#"--set llm.top_p: llm.top_p is "much"; must be a number between 0 and 1"#,
        "--set llm.topk: unknown key llm.topk; did you mean llm.top_k?",
        "--set budget: unknown key budget outside a section; did you mean memory.budget?",
        "SOTTO_DETECT__SPEECH_THRESHOLD: detect.speech_threshold is 0.2; must be above detect.silence_threshold, which is 0.35 (default)",
    ];
    assert_eq!(bench.refusal(), expected.join("\n"));
}

#[test]
fn other_variables_and_empty_ones_are_left_alone() {
    let variables = [
        ("SOTTO_MODELS_DIR", ""),
        ("SOTTO_KERNELS", "avx2"),
        ("SOTTO_TTS__SPEED", ""),
        ("SOTTO_CONFIG", ""),
        ("SOTTOVOCE", "1"),
        ("PATH", "/bin"),
    ];
    assert_eq!(Bench::new().env(&variables).loaded().plan, Bench::new().loaded().plan);
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let mut bench = Bench::new();
    let name = OsString::from("SOTTO_LLM__MODEL");
    bench.sources.env = Environment::from_iter([(name, OsString::from_vec(vec![0xff]))]);
    assert_eq!(bench.refusal(), "SOTTO_LLM__MODEL: llm.model is not UTF-8 text");
}

// ----------------------------------------------------------------
// Places

#[test]
fn the_file_is_looked_for_in_order() {
    let mut bench = Bench::new();
    let dir = bench.dir.path().to_str().unwrap().to_owned();
    let at = |name: &str| format!("{dir}/{name}");
    let variables = [("XDG_CONFIG_HOME", at("xdg")), ("HOME", at("home"))];
    let service = ("CONFIGURATION_DIRECTORY", at("etc"));
    let config = ("SOTTO_CONFIG", at("named.toml"));
    let environment = |more: &[(&str, String)]| -> Environment {
        variables.iter().chain(more).map(|(name, value)| (name.into(), value.into())).collect()
    };
    let mut found = |env: Environment| {
        bench.sources.env = env;
        let file = bench.loaded().file;
        file.map(|file| file.strip_prefix(bench.dir.path()).unwrap().display().to_string())
    };
    let write = |name: &str| {
        let path = Path::new(&dir).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    };

    assert_eq!(found(environment(&[])), None);
    write("home/.config/sotto/pipeline.toml");
    assert_eq!(found(environment(&[])), None, "XDG_CONFIG_HOME stands in for ~/.config");
    write("xdg/sotto/pipeline.toml");
    assert_eq!(found(environment(&[])).as_deref(), Some("xdg/sotto/pipeline.toml"));
    write("etc/pipeline.toml");
    assert_eq!(found(environment(std::slice::from_ref(&service))).as_deref(), Some("etc/pipeline.toml"));
    write("pipeline.toml");
    assert_eq!(found(environment(&[service])).as_deref(), Some("pipeline.toml"));
    write("named.toml");
    assert_eq!(found(environment(std::slice::from_ref(&config))).as_deref(), Some("named.toml"));
    write("given.toml");
    bench.sources.file = Some(at("given.toml").into());
    bench.sources.env = environment(&[config]);
    assert_eq!(bench.loaded().file, Some(at("given.toml").into()));
}

#[test]
fn a_file_named_in_the_environment_must_be_there() {
    let refusal = Bench::new().env(&[("SOTTO_CONFIG", "/nowhere/pipeline.toml")]).refusal();
    assert!(refusal.starts_with("/nowhere/pipeline.toml: no such file"), "{refusal}");
}

#[test]
fn the_folder_of_the_models_counts_from_where_it_was_written() {
    let dir = |bench: &Bench| bench.loaded().plan.models.dir;
    let bench = Bench::new().file("models.dir = \"weights\"");
    assert_eq!(dir(&bench), Some(bench.dir.path().join("weights")));
    let bench = Bench::new().flags(&[("models.dir", "/srv/weights")]);
    assert_eq!(dir(&bench), Some("/srv/weights".into()));
    let bench = Bench::new().env(&[("HOME", "/home/ann"), ("SOTTO_MODELS__DIR", "~/weights")]);
    assert_eq!(dir(&bench), Some("/home/ann/weights".into()));
}

#[test]
fn paths_of_models_count_from_where_they_were_written() {
    let settings = ["asr.model", "llm.model", "tts.voice", "tts.voices", "detect.wake_word"];
    let models = |bench: &Bench| {
        let plan = bench.loaded().plan;
        [
            plan.asr.model,
            plan.llm.model,
            plan.tts.voice,
            plan.tts.voices[0].clone(),
            plan.detect.wake_word.unwrap().model,
        ]
    };
    let value =
        |setting: &str, path: &str| if setting == "tts.voices" { format!("[{path:?}]") } else { format!("{path:?}") };
    for (written, found) in [
        ("./m/x", "DIR/m/x"),
        ("m/x", "DIR/m/x"),
        ("../x", "DIR/../x"),
        (".//x", "DIR/x"),
        ("~/m/x", "/home/ann/m/x"),
        ("/srv/x", "/srv/x"),
        ("alexa", "alexa"),
    ] {
        let file: String =
            settings.iter().map(|setting| format!("{setting} = {}\n", value(setting, written))).collect();
        let bench = Bench::new().file(file).env(&[("HOME", "/home/ann")]);
        let found = found.replace("DIR", bench.dir.path().to_str().unwrap());
        assert_eq!(models(&bench), [found.as_str(); 5], "{written}");
    }
    let flags = settings.map(|setting| (setting, "./m/x"));
    let mut bench = Bench::new().flags(&flags);
    bench.sources.working_dir = PathBuf::new();
    assert_eq!(models(&bench), ["./m/x"; 5], "a flag counts from where one stands");
    let homeless = Bench::new().file("llm.model = \"~/x\"").refusal();
    assert!(homeless.contains("given.toml:1:13: llm.model is \"~/x\", but HOME is not set"), "{homeless}");
}

// ----------------------------------------------------------------
// What is shown

#[test]
fn what_is_shown_reads_back_to_the_same() {
    let prompt = "say \"hi\"\n\ttab \\ back \u{7f} \u{1b} é 😀";
    let bench = Bench::new().flags(&[("llm.system_prompt", prompt), ("tts.speed", "2"), ("llm.seed", "5")]);
    let loaded = bench.loaded();
    assert_eq!(loaded.plan.llm.system_prompt, prompt);
    for origin in [false, true] {
        let again = Bench::new().file(config::show(&loaded, origin)).loaded();
        assert_eq!(again.plan, loaded.plan);
    }
}

#[test]
fn what_is_shown_says_where_it_came_from_and_what_auto_means() {
    let bench = Bench::new().env(&[("SOTTO_LLM__TOP_K", "3")]);
    let text = config::show(&bench.loaded(), true);
    for line in ["top_k = 3                            # env SOTTO_LLM__TOP_K", "# default; auto: whisper-base"] {
        assert!(text.contains(line), "{text}");
    }
    let json = config::show_json(&bench.loaded(), true);
    assert_eq!(json["config"]["llm"]["top_k"], 3);
    assert_eq!(json["origins"]["llm"]["top_k"], "env SOTTO_LLM__TOP_K");
    assert_eq!(json["chosen"]["asr"]["model"], "whisper-base");
    assert!(config::show_json(&bench.loaded(), false).get("origins").is_none());
}

// ----------------------------------------------------------------
// Hostile input

/// Pieces of TOML, right and wrong, from which odd files are put together.
fn piece() -> impl Strategy<Value = String> {
    let words = "[detect]|[llm]|[[tts]]|speech_threshold|silence_threshold|model|threads|=|=|\n|\n|0.5|1e999|-1|\"a|\"auto\"|{|}|[|]|.|,|#|'|\"\"\"|\u{feff}|é|0x|inf|2026-01-01|\r|\0";
    prop_oneof![
        4 => proptest::sample::select(words.split('|').map(str::to_owned).collect::<Vec<_>>()),
        1 => any::<String>(),
    ]
}

fn is_answered(bytes: &[u8]) {
    match config::load(&Bench::new().file(bytes).sources) {
        Ok(loaded) => assert!(loaded.plan.detect.silence_threshold < loaded.plan.detect.speech_threshold),
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

proptest! {
    #[test]
    fn random_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        is_answered(&bytes);
    }

    #[test]
    fn odd_files_are_answered(pieces in proptest::collection::vec(piece(), 0..40)) {
        is_answered(pieces.concat().as_bytes());
    }

    #[test]
    fn odd_flags_are_answered(path in "\\PC{0,20}|(llm|detect|asr)\\.(top_k|speech_threshold|language|model|seed)", value in any::<String>()) {
        let _ = config::load(&Bench::new().flags(&[(&path, &value)]).sources);
    }

    #[test]
    fn a_value_in_range_is_taken_and_one_beyond_is_not(speed in 0.0_f64..3.0) {
        let loaded = config::load(&Bench::new().file(format!("tts.speed = {speed:?}")).sources);
        prop_assert_eq!(loaded.is_ok(), (0.5..=2.0).contains(&speed));
    }
}
