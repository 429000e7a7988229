//! The tokenizers of the starter models against the `tokenizers` crate, on text of many kinds.

#[path = "common/mod.rs"]
mod common;
#[path = "common/peer.rs"]
mod peer;

use peer::Peer;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sotto::llm::Tokenizer;
use sotto::llm::gguf::Gguf;

const MODELS: [&str; 2] = ["qwen2.5-coder-0.5b", "smollm2-135m"];
/// The class of ordinary tokens in a GGUF.
const NORMAL: i64 = 1;

const TEXTS: &[&str] = &[
    "It was the best of times, it wasn't the WORST of times; we'd've said so ourselves.",
    "Donaudampfschifffahrtsgesellschaftskapitän, Straße, ÜBERGRÖSSE",
    "L'été où naïvement les garçons étaient à Orléans… « déjà vu »",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "私は昨日、東京駅で友達に会いました。ラーメンを食べた！",
    "我们明天早上八点在火车站见面，好吗？",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "नमस्ते, आप कैसे हैं? दुनिया बहुत बड़ी है।",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق",
    "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם",
    "สวัสดีครับ วันนี้อากาศดีมาก",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng",
    "🙂🙃👩‍👩‍👧‍👦🇩🇪🏳️‍🌈 ok 👍🏽!!!",
    "fn main() {\n\tlet x: Vec<u8> = vec![0x1F; 1_000];\r\n    println!(\"{x:?}\");\n}\n\n\n",
    "3.14159 2026-11-21T16:48:27Z 1,000,000 ½ Ⅷ ١٢٣",
    "https://example.org/a/b?c=d&e=%20f#g  <html lang=\"en\">&nbsp;</html>",
    "e\u{301}\u{327} \u{1100}\u{1161}\u{11a8} \u{212b} \u{fb01} \u{200b}\u{feff}\u{ad}",
    "<|im_start|>system\n<think></think><tool_call><|im_end|>",
];

fn both(model: &str) -> (Tokenizer, Peer) {
    let gguf = Gguf::open(&common::model_file(model, "model.gguf")).unwrap();
    let tokens = gguf.texts("tokenizer.ggml.tokens").unwrap().unwrap();
    let merges = gguf.texts("tokenizer.ggml.merges").unwrap().unwrap();
    let classes = gguf.numbers("tokenizer.ggml.token_type").unwrap().unwrap();
    let ordinary = tokens.into_iter().zip(0..).zip(classes).filter(|(_, class)| *class == NORMAL);
    let cut = gguf.text("tokenizer.ggml.pre").unwrap().unwrap();
    let peer = Peer::new(cut, ordinary.map(|(token, _)| token), merges.into_iter());
    (Tokenizer::from_gguf(&gguf).unwrap(), peer)
}

/// A piece of one of the texts.
fn piece() -> impl Strategy<Value = String> {
    (select(TEXTS), any::<(Index, Index)>()).prop_map(|(text, (from, to))| {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let (from, to) = (*from.get(&places), *to.get(&places));
        text[from.min(to)..from.max(to)].to_owned()
    })
}

#[test]
fn tokens_are_those_of_the_crate() {
    for model in MODELS {
        let (ours, peer) = both(model);
        let long = ["antidisestablishmentarianism", "ー", "ab", "\u{1f642}"].map(|part| part.repeat(5_000));
        for text in TEXTS.iter().copied().chain(long.iter().map(String::as_str)) {
            assert_eq!(ours.encode(text).unwrap(), peer.encode(text), "{model}: {text:?}");
        }
        let texts = proptest::collection::vec(prop_oneof![4 => piece(), 1 => any::<String>()], 1..8);
        let mut runner = proptest::test_runner::TestRunner::default();
        let same = |parts: Vec<String>| {
            let text = parts.concat();
            prop_assert_eq!(ours.encode(&text).unwrap(), peer.encode(&text), "{}: {:?}", model, text);
            Ok(())
        };
        runner.run(&texts, same).unwrap();
    }
}
