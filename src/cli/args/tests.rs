use super::*;

#[test]
fn the_command_line_is_consistent_and_explains_every_argument() {
    let mut root = Args::described();
    root.build();
    let mut commands = vec![&root];
    while let Some(command) = commands.pop() {
        assert!(command.get_about().is_some(), "{} has no help", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {} has no help", command.get_name(), argument.get_id());
        }
        commands.extend(command.get_subcommands());
    }
    Args::described().debug_assert();
}

#[test]
fn the_contract_parses() {
    let lines = [
        "once q.wav",
        "once q.wav -o a.wav --json --realtime --budget 1GiB",
        "run --record a.jsonl --json",
        "replay a.jsonl",
        "replay - --json",
        "transcribe a.wav b.wav --json",
        "say hello -o a.wav --json",
        "say -",
        "chat",
        "chat hello --json",
        "check",
        "check p.toml",
        "plan --budget 1500MiB --json",
        "config show --origin --json",
        "config schema",
        "models list --json",
        "models pull",
        "models pull a b",
        "models pull --profile starter",
        "models verify a --json",
        "models path a",
        "models path a f.onnx --json",
        "models import whisper a b",
        "quantize a b",
        "quantize a b --format int4 --group 32 --force --json",
        "verify a --reference b --text c --json --budget 5GiB --min-top1 97.5 --max-perplexity 1 --max-kl 0.1",
        "verify a --against b --device cpu --chunk 1 --json --max-logit-error 1e-3 --max-state-error 1e-4",
        "bench llm",
        "bench llm m.gguf -p 128 -g 256 --depth 2048 --threads 2 --repeat 3 --profile --json --budget 5GiB",
        "bench turn a b.wav --turns 9 --pause-every 3 --weights w.toml --json",
        "bench turn a --pauses",
        "devices",
        "devices --json",
        "doctor",
        "doctor --microphone a --speaker b --no-sound --json --budget 1GiB",
        "completions bash",
        "man",
        "man models pull",
        "--config p.toml -q once q.wav --set llm.top_k=1 --set llm.seed=7",
        "once q.wav --config p.toml --quiet",
    ];
    for line in lines {
        let words = std::iter::once("sotto").chain(line.split(' '));
        assert!(Args::read(words).is_ok(), "sotto {line}");
    }
}

#[test]
fn misuse_ends_with_code_2() {
    let lines = [
        "once",
        "replay",
        "replay a b",
        "transcribe",
        "say",
        "models pull a --profile b",
        "once q.wav --set llm",
        "run q.wav",
        "check a --config b",
        "quantize a",
        "quantize a b --format int3",
        "verify",
        "verify a --against b --chunk 0",
        "verify a --chunk 3",
        "verify a --min-top1 nan",
        "verify a --against b --reference c",
        "bench",
        "bench llm -p 0",
        "bench llm -g 0",
        "bench llm --depth -1",
        "bench llm --repeat 0",
        "bench turn a --pauses --json",
        "bench turn a --pauses --weights w.toml",
    ];
    for line in lines {
        let error = Args::read(std::iter::once("sotto").chain(line.split(' '))).unwrap_err();
        assert_eq!(error.exit_code(), 2, "sotto {line}");
    }
}

#[test]
fn settings_before_and_behind_a_command_add_up() {
    for line in
        ["--set a=1 models --set a=2 pull --set b=3 x --set b=4", "--set a=1 --set a=2 models pull --set b=3 --set b=4"]
    {
        let flags = Args::read(std::iter::once("sotto").chain(line.split(' '))).unwrap().flags();
        let values: Vec<_> = flags.iter().map(|flag| flag.value.as_str()).collect();
        assert_eq!(values, ["1", "2", "3", "4"], "sotto {line}");
    }
}

#[test]
fn the_budget_flag_wins_over_set() {
    let words = ["sotto", "plan", "--budget", "1GiB", "--set", "memory.budget=2GiB"];
    let flags = Args::read(words).unwrap().flags();
    let names: Vec<_> = flags.iter().map(|flag| (flag.name.as_str(), flag.value.as_str())).collect();
    assert_eq!(names, [("--set memory.budget", "2GiB"), ("--budget", "1GiB")]);
}

#[test]
fn a_device_that_is_named_with_run_wins_over_the_file() {
    let words = ["sotto", "run", "--microphone", "mic", "--speaker", "spk", "--set", "audio.microphone=other"];
    let flags = Args::read(words).unwrap().flags();
    let settings: Vec<_> = flags.iter().map(|flag| (flag.path.as_str(), flag.value.as_str())).collect();
    assert_eq!(settings, [("audio.microphone", "other"), ("audio.microphone", "mic"), ("audio.speaker", "spk")]);
    assert!(Args::read(["sotto", "run"]).unwrap().flags().is_empty());
}

#[test]
fn a_recording_begins_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("talk.jsonl");
    let recorder = |words: &[&str]| {
        let Command::Run(run) = Args::read(words).unwrap().command else { panic!("{words:?}") };
        run.recorder(&TurnSettings::default())
    };
    assert!(recorder(&["sotto", "run"]).unwrap().is_none());
    let asked = ["sotto", "run", "--record", file.to_str().unwrap()];
    assert!(recorder(&asked).unwrap().is_some() && file.exists());
    assert!(matches!(recorder(&asked), Err(RecordingError::Exists { .. })));
}
