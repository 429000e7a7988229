//! End to end: the program as a person starts it, on real models.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn sotto(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sotto")).args(arguments).output().expect("sotto starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{:?}: {}", output.status, text(&output.stderr));
    text(&output.stdout)
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&succeeded(output)).expect("stdout is one JSON object")
}

fn sample() -> String {
    common::fixture("speech-sample/speech.wav").to_str().unwrap().to_owned()
}

fn wav(dir: &Path, name: &str, spec: hound::WavSpec, samples: impl Iterator<Item = i32>) -> PathBuf {
    let path = dir.join(name);
    let mut writer = hound::WavWriter::create(&path, spec).unwrap();
    samples.for_each(|sample| writer.write_sample(sample).unwrap());
    writer.finalize().unwrap();
    path
}

fn spec(channels: u16, sample_rate: u32, bits_per_sample: u16) -> hound::WavSpec {
    hound::WavSpec { channels, sample_rate, bits_per_sample, sample_format: hound::SampleFormat::Int }
}

/// Words of a text, for comparing what was said with what was heard.
fn words(text: &str) -> Vec<String> {
    let plain: String = text.chars().filter(|c| c.is_alphanumeric() || c.is_whitespace()).collect();
    plain.to_lowercase().split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_spoken_question_gets_a_spoken_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (question, answer) = (path("question.wav"), path("answer.wav"));
    succeeded(&sotto(&["say", "What is the capital of France?", "-o", &question]));
    let once = json(&sotto(&["once", &question, "-o", &answer, "--json", "--realtime", "--set", "llm.temperature=0"]));

    assert!(once["transcript"].as_str().unwrap().contains("capital of France"), "{once}");
    assert!(once["reply"].as_str().unwrap().contains("Paris"), "{once}");
    assert!(once["heard_ms"].as_f64().unwrap() > 500.0, "{once}");
    for stage in ["turn_end", "transcript", "first_token", "first_sentence", "first_audio", "done"] {
        assert!(once["timings"][stage].is_f64(), "{stage} is missing: {once}");
    }
    assert!(once["timings"]["first_audio"].as_f64() <= once["timings"]["done"].as_f64(), "{once}");

    // What the voice said is what the reply says. Letters are compared: "France is" and "Frances"
    // sound the same.
    let heard = json(&sotto(&["transcribe", &answer, "--json"]));
    let (said, heard) = (words(once["reply"].as_str().unwrap()), words(heard["text"].as_str().unwrap()));
    let likeness = strsim::normalized_levenshtein(&said.concat(), &heard.concat());
    assert!(likeness > 0.8, "said {said:?}, heard {heard:?}");
}

#[test]
fn a_recorded_person_is_understood_and_answered() {
    let once = json(&sotto(&["once", &sample(), "--whole", "--json"]));
    let transcript = words(once["transcript"].as_str().unwrap());
    for word in ["tried", "failed", "again", "better"] {
        assert!(transcript.contains(&word.to_owned()), "{word} is missing: {once}");
    }
    assert!(!words(once["reply"].as_str().unwrap()).is_empty(), "{once}");
    // Its pauses do not make it six questions.
    assert!(once["heard_ms"].as_f64().unwrap() > 7000.0, "{once}");
}

#[test]
fn the_doctor_times_every_model_and_pretends_no_sound() {
    let told = json(&sotto(&["doctor", "--no-sound", "--json"]));
    assert!(told["sound"]["not_measured"].as_str().unwrap().contains("--no-sound"), "{told:#}");
    let models = told["models"].as_array().unwrap();
    let figures = ["frame_us", "judgement_ms", "compute_ms", "decode_tokens_per_second", "first_audio_ms"];
    assert_eq!(models.len(), figures.len(), "{told:#}");
    for (model, figure) in models.iter().zip(figures) {
        assert!(model[figure].as_f64().is_some_and(|figure| figure > 0.0), "{figure}: {model:#}");
    }
    assert!(told["machine"]["cores"].as_u64().unwrap() > 0 && told["advice"].is_array(), "{told:#}");

    // Where nothing is installed, each model is named with the next step.
    let empty = tempfile::tempdir().unwrap();
    let elsewhere = format!("models.dir={}", empty.path().display());
    let told = json(&sotto(&["doctor", "--no-sound", "--json", "--set", &elsewhere]));
    for model in told["models"].as_array().unwrap() {
        let why = model["not_measured"].as_str().unwrap();
        assert!(why.contains("is not installed") && why.contains("sotto models pull"), "{why}");
    }
}

#[test]
fn sound_without_speech_is_no_question() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = 1u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i16 as i32 / 8
    };
    let files = [
        wav(dir.path(), "silence.wav", spec(1, 16_000, 16), (0..48_000).map(|_| 0)),
        wav(dir.path(), "noise.wav", spec(1, 16_000, 16), (0..48_000).map(|_| noise())),
        wav(dir.path(), "one.wav", spec(1, 16_000, 16), [1000].into_iter()),
    ];
    for file in files {
        let answer = dir.path().join("answer.wav");
        let output = sotto(&["once", file.to_str().unwrap(), "-o", answer.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{}", file.display());
        let said = text(&output.stderr);
        assert!(said.contains("nothing to answer") && said.contains(file.to_str().unwrap()), "{said}");
        assert!(!answer.exists() && text(&output.stdout).is_empty(), "{}", file.display());
    }
}

#[test]
fn the_question_may_come_in_any_wav() {
    let dir = tempfile::tempdir().unwrap();
    let sample = hound::WavReader::open(sample()).unwrap();
    let from = sample.spec();
    let bits = from.bits_per_sample;
    let mono: Vec<f64> = sample
        .into_samples::<i32>()
        .step_by(usize::from(from.channels))
        .map(|sample| f64::from(sample.unwrap()) / f64::from(1i32 << (bits - 1)))
        .collect();
    let at = |rate: u32| {
        let count = mono.len() as u64 * u64::from(rate) / u64::from(from.sample_rate);
        (0..count as usize).map(move |n| n as f64 * f64::from(from.sample_rate) / f64::from(rate))
    };
    let linear = |position: f64| {
        let (whole, part) = (position as usize, position.fract());
        let next = mono.get(whole + 1).copied().unwrap_or(0.0);
        mono.get(whole).copied().unwrap_or(0.0) * (1.0 - part) + next * part
    };
    let stereo = at(44_100).flat_map(|p| [(linear(p) * 8_000_000.0) as i32, 0]);
    let eight = at(22_050).map(|p| (linear(p) * 127.0) as i32);
    let files = [
        wav(dir.path(), "stereo-24-bit.wav", spec(2, 44_100, 24), stereo),
        wav(dir.path(), "8-bit.wav", spec(1, 22_050, 8), eight),
    ];
    let expected = words(json(&sotto(&["transcribe", &self::sample(), "--json"]))["text"].as_str().unwrap());
    for file in files {
        let heard = json(&sotto(&["transcribe", file.to_str().unwrap(), "--json"]));
        let heard = words(heard["text"].as_str().unwrap());
        let found = expected.iter().filter(|word| heard.contains(word)).count();
        assert!(found * 10 >= expected.len() * 8, "{}: {heard:?} is not {expected:?}", file.display());
    }
}

#[test]
fn soft_humming_and_cancelling_recordings_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let mut sample = hound::WavReader::open(sample()).unwrap();
    let question: Vec<f64> = sample.samples::<i16>().map(|sample| f64::from(sample.unwrap())).collect();
    let hum = |n: usize| 10_000.0 * (n as f64 * std::f64::consts::TAU * 50.0 / 16_000.0).sin();
    let file = |name, channels, frame: &dyn Fn(usize, f64) -> Vec<f64>| {
        let samples = question.iter().enumerate().flat_map(|(n, sample)| frame(n, *sample));
        wav(dir.path(), name, spec(channels, 16_000, 16), samples.map(|sample| sample.round() as i32))
    };
    let files = [
        file("plain.wav", 1, &|_, sample| vec![sample]),
        file("soft.wav", 1, &|_, sample| vec![sample * 0.005]),
        file("offset.wav", 1, &|_, sample| vec![sample * 0.5 - 13_000.0]),
        file("hum.wav", 1, &|n, sample| vec![sample * 0.5 + hum(n)]),
        file("cancelling.wav", 2, &|_, sample| vec![sample, -sample]),
        file("one-of-eight.wav", 8, &|_, sample| [vec![sample], vec![0.0; 7]].concat()),
    ];
    let mut arguments = vec!["transcribe", "--json"];
    arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
    let heard = json(&sotto(&arguments));
    let heard: Vec<_> =
        heard["files"].as_array().unwrap().iter().map(|file| words(file["text"].as_str().unwrap())).collect();
    for (file, heard_words) in files.iter().zip(&heard) {
        let found = heard[0].iter().filter(|word| heard_words.contains(word)).count();
        assert!(found * 10 >= heard[0].len() * 8, "{}: {heard_words:?}", file.display());
    }
    assert!(heard[0].len() > 5, "{:?}", heard[0]);
}

#[test]
fn recordings_without_speech_are_told_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let tone = |n: usize| (9_000.0 * (n as f64 * 0.17).sin()) as i32;
    let beeps = |n: usize| if n % 8_000 < 4_000 { tone(n) } else { 0 };
    for (name, sound, why) in [
        ("silence.wav", &(|_| 0) as &dyn Fn(usize) -> i32, "the sound is silent"),
        ("tone.wav", &tone, "a steady noise"),
        ("beeps.wav", &beeps, "there is no voice in the sound"),
    ] {
        let file = wav(dir.path(), name, spec(1, 16_000, 16), (0..160_000).map(sound));
        let output = sotto(&["transcribe", file.to_str().unwrap()]);
        assert_eq!(succeeded(&output).trim(), "", "{name}");
        assert!(text(&output.stderr).contains(why), "{name}: {}", text(&output.stderr));
    }
}

#[test]
fn what_is_no_sound_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.wav");
    fs::write(&broken, b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0").unwrap();
    let folder = dir.path().join("folder.wav");
    fs::create_dir(&folder).unwrap();
    let empty = dir.path().join("empty.wav");
    fs::write(&empty, b"").unwrap();
    for path in [broken, folder, empty, dir.path().join("missing.wav")] {
        for mode in ["once", "transcribe"] {
            let output = sotto(&[mode, path.to_str().unwrap()]);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{mode} {}: {said}", path.display());
            assert!(said.contains(path.to_str().unwrap()) && !said.contains("panicked"), "{said}");
        }
    }
}

#[test]
fn a_recording_that_is_too_long_is_refused_and_told_where_to_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut sample = hound::WavReader::open(sample()).unwrap();
    let (spec, once): (_, Vec<i16>) = (sample.spec(), sample.samples().map(Result::unwrap).collect());
    let times = 40 * spec.sample_rate as usize / once.len() + 1;
    let long = wav(
        dir.path(),
        "long.wav",
        spec,
        once.iter().map(|&s| i32::from(s)).collect::<Vec<_>>().repeat(times).into_iter(),
    );
    let answer = dir.path().join("answer.wav");
    let refused = sotto(&["once", "--whole", long.to_str().unwrap(), "-o", answer.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    let told = text(&refused.stderr);
    assert!(told.contains("max_turn_ms") && told.contains("sotto transcribe"), "{told}");
    assert!(!answer.exists());
}

#[test]
fn exit_codes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_sotto"))
            .args(arguments)
            .env("SOTTO_MODELS_DIR", dir.path())
            .output()
            .expect("sotto starts")
    };
    assert_eq!(sotto(&["--version"]).status.code(), Some(0));
    assert_eq!(sotto(&["once"]).status.code(), Some(2));
    assert_eq!(sotto(&["say", "hello"]).status.code(), Some(2));
    assert_eq!(sotto(&["plan", "--set", "hear.onsett=1"]).status.code(), Some(2));
    assert_eq!(sotto(&["models", "import", "nonsense", "a", "b"]).status.code(), Some(2));

    assert_eq!(sotto(&["check"]).status.code(), Some(0));
    let unknown = sotto(&["check", "--set", "asr.model=whisper-bass"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown.stderr));
    assert!(text(&unknown.stderr).contains("whisper-base"), "{}", text(&unknown.stderr));

    let installed = common::model_file("piper-joe", "voice.json");
    let voice = dir.path().join("voice");
    fs::create_dir(&voice).unwrap();
    for name in ["encoder.onnx", "voice.json"] {
        fs::copy(installed.with_file_name(name), voice.join(name)).unwrap();
    }
    fs::write(voice.join("decoder.onnx"), b"not a graph").unwrap();
    let whisper = dir.path().join("whisper.ggml");
    fs::write(&whisper, b"not a model").unwrap();
    let (voice, whisper) = (format!("tts.voice={}", voice.display()), format!("asr.model={}", whisper.display()));
    let spoken = dir.path().join("spoken.wav").to_str().unwrap().to_owned();
    for (arguments, code) in [
        (&["say", "hello", "-o", &spoken, "--set", &voice][..], 3),
        (&["transcribe", &sample(), "--set", &whisper], 3),
        (&["transcribe", &sample(), "--set", "asr.model=whisper-tiny.en", "--set", "asr.language=de"], 2),
        (&["once", &sample(), "-o", "/nowhere/answer.wav", "--set", &voice], 1),
    ] {
        let refused = sotto(arguments);
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {}", text(&refused.stderr));
    }

    let missing = elsewhere(&["chat", "hello"]);
    assert_eq!(missing.status.code(), Some(3), "{}", text(&missing.stderr));
    assert!(text(&missing.stderr).contains("sotto models pull"), "{}", text(&missing.stderr));

    for mode in [&["once", &sample()][..], &["plan"], &["chat", "hello"]] {
        let refused = sotto(&[mode, &["--budget", "20MiB"]].concat());
        assert_eq!(refused.status.code(), Some(5), "{mode:?}: {}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains("budget of"), "{mode:?}: {}", text(&refused.stderr));
    }
}

#[test]
fn errors_are_said_once_and_however_quiet() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (one, other, made) = (path("one.wav"), path("other.wav"), path("made"));
    for (arguments, said) in [
        (&["transcribe", &one][..], &[&one][..]),
        (&["transcribe", "-q", &one, &other], &[&one, &other]),
        (&["models", "import", "whisper", &one, &made], &[&one]),
    ] {
        let output = sotto(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stderr));
        for said in said {
            assert_eq!(text(&output.stderr).matches(*said).count(), 1, "{arguments:?}: {}", text(&output.stderr));
        }
        assert_eq!(text(&output.stderr).matches("os error").count(), said.len(), "{}", text(&output.stderr));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left of an import that failed");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_error_is_no_panic() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_sotto")).arg("check").stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_voice_and_a_transcriber_may_lie_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let spoken = dir.path().join("spoken.wav").to_str().unwrap().to_owned();
    let voice = common::model_file("piper-joe", "voice.json");
    let whisper = common::model_file("whisper-tiny.en", "whisper-tiny.en.ggml");
    let voice = format!("tts.voice={}", voice.parent().unwrap().display());
    succeeded(&sotto(&["say", "Good morning.", "-o", &spoken, "--set", &voice]));
    let heard = succeeded(&sotto(&["transcribe", &spoken, "--set", &format!("asr.model={}", whisper.display())]));
    assert!(words(&heard).contains(&"morning".to_owned()), "{heard}");
}

#[test]
fn the_plan_is_near_what_is_measured() {
    let plan = json(&sotto(&["plan", "--json"]));
    assert!(plan["minimum_budget_bytes"].as_u64().unwrap() > 100 << 20, "{plan}");
    assert_eq!(plan["phases"].as_array().unwrap().len(), 3);
    // A promise: no part holds noticeably more than it asked for. The pages of the ONNX Runtime
    // library are first touched by whoever runs on it, so the library is counted with its first
    // user.
    let parts = plan["parts"].as_array().unwrap();
    let bytes = |part: &Value, which: &str| part[which].as_f64().unwrap();
    let runtime = |which| bytes(&parts[0], which) + bytes(&parts[1], which);
    assert!(runtime("measured_bytes") <= runtime("planned_bytes") * 1.1 + 4e6, "{plan}");
    for part in &parts[2..] {
        assert!(bytes(part, "measured_bytes") <= bytes(part, "planned_bytes") * 1.05 + 4e6, "{part}");
    }
}

#[test]
fn text_is_spoken_and_chat_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let speech = dir.path().join("speech.wav");
    let said =
        json(&sotto(&["say", "Good morning. It is 7:30 and 12 °C outside.", "-o", speech.to_str().unwrap(), "--json"]));
    assert!(said["audio_ms"].as_f64().unwrap() > 1500.0, "{said}");
    let heard = succeeded(&sotto(&["transcribe", speech.to_str().unwrap()]));
    assert!(words(&heard).contains(&"morning".to_owned()), "{heard}");

    let nothing = sotto(&["say", "🎉", "-o", dir.path().join("none.wav").to_str().unwrap()]);
    assert_eq!(nothing.status.code(), Some(1), "{}", text(&nothing.stderr));
    assert!(!dir.path().join("none.wav").exists());

    let chat = json(&sotto(&["chat", "What is the capital of France?", "--json", "--set", "llm.temperature=0"]));
    assert!(chat["reply"].as_str().unwrap().contains("Paris"), "{chat}");
}
