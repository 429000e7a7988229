use super::super::gguf::testing::Builder;
use super::super::testing::{self, CONTROLS};
use super::pieces::byte_alphabet;
use super::*;

#[test]
fn the_byte_alphabet_is_that_of_gpt2() {
    let byte_of = byte_alphabet();
    assert_eq!(byte_of.len(), 256);
    for (c, byte) in [('!', b'!'), ('Ġ', b' '), ('Ċ', b'\n'), ('ĉ', b'\t'), ('Ã', 0xc3), ('Ń', 0xad), ('ÿ', 0xff)]
    {
        assert_eq!(byte_of[&c], byte, "{c}");
    }
}

#[test]
fn text_goes_to_tokens_and_back() {
    let tokenizer = testing::tokenizer("qwen2");
    for text in ["", "the theme", "naïve 日本語 🙂\r\n\t x", "\u{0}\u{ad}"] {
        let tokens = tokenizer.encode(text).unwrap();
        let bytes: Vec<u8> = tokens.iter().flat_map(|&t| tokenizer.bytes(t)).copied().collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }
    assert_eq!(tokenizer.encode("the").unwrap().len(), 1, "merges apply");
}

#[test]
fn qwen_composes_accents_first() {
    for cut in ["qwen2", "qwen35"] {
        let tokenizer = testing::tokenizer(cut);
        assert_eq!(tokenizer.encode("cafe\u{301}").unwrap(), tokenizer.encode("café").unwrap(), "{cut}");
    }
}

#[test]
fn an_unknown_cut_or_model_is_refused_by_name() {
    for (key, value) in [("tokenizer.ggml.pre", "qwen9"), ("tokenizer.ggml.model", "unigram9")] {
        let pairs = [("tokenizer.ggml.pre", "qwen2"), ("tokenizer.ggml.model", "gpt2")];
        let file =
            pairs.iter().fold(Builder::default(), |file, &(k, v)| file.text(k, if k == key { value } else { v }));
        let message = Tokenizer::from_gguf(&testing::open(&file)).err().unwrap().to_string();
        assert!(message.contains(value) && message.contains("supported"), "{message}");
    }
}

#[test]
fn broken_tables_are_refused() {
    let table = |tokens: &[&str], merges: &[&str], types: &[i32]| {
        let file = Builder::default().text("tokenizer.ggml.model", "gpt2");
        let file = file.texts("tokenizer.ggml.tokens", tokens).texts("tokenizer.ggml.merges", merges);
        file.i32s("tokenizer.ggml.token_type", types)
    };
    for (case, file) in [
        ("fewer types than tokens", table(&["a", "b"], &[], &[1])),
        ("a merge longer than every token", table(&["aa", "bb"], &["aa bb"], &[1, 1])),
        ("a merge of one part", table(&["a"], &["a"], &[1])),
        ("a merge that makes a control token", table(&["a", "b", "ab"], &["a b"], &[1, 1, 3])),
        ("no tables", Builder::default().text("tokenizer.ggml.model", "gpt2")),
    ] {
        let refused = Tokenizer::from_gguf(&testing::open(&file)).err().unwrap();
        assert!(matches!(refused, LlmError::Damaged { .. } | LlmError::DamagedTokenizer { .. }), "{case}: {refused}");
    }
}

#[test]
fn characters_are_held_back_until_whole() {
    let cases: [(&[&[u8]], &[&str]); 5] = [
        (&[b"a", b"b"], &["a", "b", ""]),
        (&[&[0xf0, 0x9f], &[0x99], &[0x82, b'!']], &["", "", "🙂!", ""]),
        (&[&[0xc3, 0xa9, 0xc3], &[0xa9]], &["é", "é", ""]),
        (&[&[0xff, b'x'], &[0xc3, b'y']], &["\u{fffd}x", "\u{fffd}y", ""]),
        (&[&[0xe6, 0x97]], &["", "\u{fffd}"]),
    ];
    for (pushes, wanted) in cases {
        let mut detokenizer = Detokenizer::default();
        let mut pieces = Vec::new();
        for bytes in pushes {
            let mut text = String::new();
            detokenizer.push(bytes, &mut text);
            pieces.push(text);
        }
        let mut rest = String::new();
        detokenizer.finish(&mut rest);
        pieces.push(rest);
        assert_eq!(pieces, wanted);
    }
}

/// Splits `text` into words, before the merges.
fn words<'t>(tokenizer: &Tokenizer, text: &'t str) -> Vec<&'t str> {
    tokenizer.words.of(text).collect()
}

#[test]
fn qwen35_cuts_words_as_published() {
    let tokenizer = testing::tokenizer("qwen35");
    let cases: [(&str, &[&str]); 22] = [
        ("Hello, world!", &["Hello", ",", " world", "!"]),
        ("don't DON'T I'LL we've", &["don", "'t", " DON", "'T", " I", "'LL", " we", "'ve"]),
        ("in 2026: 3.14", &["in", " ", "2", "0", "2", "6", ":", " ", "3", ".", "1", "4"]),
        ("１２½", &["１", "２", "½"]),
        ("नमस्ते दुनिया", &["नमस्ते", " दुनिया"]),
        ("สวัสดีครับ", &["สวัสดีครับ"]),
        ("e\u{301}te\u{301} x\u{323}", &["e\u{301}te\u{301}", " x\u{323}"]),
        ("\u{301}a", &["\u{301}a"]),
        ("!\u{301}", &["!\u{301}"]),
        ("你好，世界！", &["你好", "，世界", "！"]),
        ("שָׁלוֹם", &["שָׁלוֹם"]),
        ("   leading", &["  ", " leading"]),
        ("trailing   ", &["trailing", "   "]),
        ("a  b\t\tc", &["a", " ", " b", "\t", "\tc"]),
        ("  1", &[" ", " ", "1"]),
        ("a\n\nb", &["a", "\n\n", "b"]),
        ("a \n  b", &["a", " \n", " ", " b"]),
        ("a.\r\n\r\nb", &["a", ".\r\n\r\n", "b"]),
        ("\r\n \n x", &["\r\n \n", " x"]),
        ("f(x) = \"y\"", &["f", "(x", ")", " =", " \"", "y", "\""]),
        ("🙂🙂 ok", &["🙂🙂", " ok"]),
        ("a\u{a0}b\u{3000}\u{3000}c", &["a", "\u{a0}b", "\u{3000}", "\u{3000}c"]),
    ];
    for (text, wanted) in cases {
        assert_eq!(words(&tokenizer, text), wanted, "{text:?}");
    }
}

#[test]
fn marks_are_what_qwen2_cuts_otherwise() {
    let cut = words(&testing::tokenizer("qwen2"), "नमस्ते");
    assert_eq!(cut, ["नमस", "्त", "े"]);
}

#[test]
fn long_runs_are_cut_like_short_ones() {
    let tokenizer = testing::tokenizer("qwen35");
    for (run, last) in [(" ", " x"), ("\n", "x"), ("\t", "\tx"), ("é", "x")] {
        let text = run.repeat(50_000) + "x";
        let cut = words(&tokenizer, &text);
        assert_eq!(cut.concat(), text);
        let wanted = if run == "é" { &text } else { last };
        assert_eq!(*cut.last().unwrap(), wanted, "{run:?}");
    }
}

proptest::proptest! {
    /// Only the chat format inserts control tokens; no user text becomes one.
    #[test]
    fn no_text_becomes_a_control_token(parts in proptest::collection::vec(spoken_or_hostile(), 0..12)) {
        let text = parts.concat();
        for cut in ["qwen2", "qwen35", "smollm", "gpt-2", "llama-bpe"] {
            let tokenizer = testing::tokenizer(cut);
            for token in tokenizer.encode(&text).unwrap() {
                proptest::prop_assert_eq!(tokenizer.kind(token), Kind::Text, "{:?} gave {}", text, token);
            }
        }
    }
}

fn spoken_or_hostile() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    prop_oneof![
        any::<String>(),
        proptest::sample::select([&CONTROLS[..], &MARKERS[..]].concat()).prop_map(str::to_owned),
        "[<|>imstaredn_ ]{0,14}"
    ]
}
