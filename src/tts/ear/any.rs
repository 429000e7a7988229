//! Text for voices of languages other than English: characters that no voice can say are removed,
//! and nothing is put into words. Numbers stay digits, which the phonemizer reads in its own
//! language.

use super::rewrite::{pattern, rewrite};
use super::{fold, markdown, scripts};

/// Prepares a text for a voice of `language`. Markdown's marks, emoji, symbols and letters of
/// foreign scripts are removed, and a link becomes its host; digits and the punctuation of every
/// script stay.
pub(super) fn read(text: &str, language: &str) -> String {
    let text = markdown::strip(&fold::letters(text));
    let text =
        rewrite(&text, pattern!(r"(?i)\b(?:https?|ftp)://(?:www\.)?([\p{L}0-9.-]+)[^\s<>()，。、）」]*"), |link| {
            Some(link.group(1).trim_end_matches('.').to_owned())
        });
    let text = pattern!(r"[\p{Cf}\p{Cc}--\s]+").replace_all(&text, "");
    let text = pattern!(
        r#"[^\p{L}\p{M}\p{N}\s.,;:?!'’"“”„‘‚«»()%€$£¥°+=/&@…—–¿¡。，、；：？！．・「」『』（）《》〈〉।؟،۔-]+"#
    )
    .replace_all(&text, " ");
    let text = scripts::of_language(&text, language);
    let text = pattern!(r"\s+").replace_all(&text, " ");
    let text = text.trim();
    if text.chars().any(char::is_alphanumeric) { text.to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn only_what_can_be_said_is_left_and_nothing_becomes_english() {
        for (language, text, said) in [
            ("de", "**Berlin** hat 3,7 Mio. Einwohner 😀.", "Berlin hat 3,7 Mio. Einwohner ."),
            ("de", "Das kostet 5 € (ca. 6 $).", "Das kostet 5 € (ca. 6 $)."),
            ("de", "Siehe [hier](https://example.de/a?b=c).", "Siehe hier."),
            ("de", "Siehe https://www.example.de/pfad/x.html bitte.", "Siehe example.de bitte."),
            ("es", "¿Qué tal? ¡Bien!", "¿Qué tal? ¡Bien!"),
            ("fr", "« Oui » — 14 h 30", "« Oui » — 14 h 30"),
            ("zh", "今天是10月3日，「好」。🎉", "今天是10月3日，「好」。"),
            ("ja", "# 手順\n1. お湯を沸かす", "手順. 1, お湯を沸かす"),
            ("th", "ราคา 250 บาท\u{200b}ครับ 👍🏽", "ราคา 250 บาทครับ"),
            ("de", "😀 🎉", ""),
            ("de", "```rust\nfn main() {}\n```", ""),
            ("de", "𝐇𝐚𝐥𝐥𝐨 Ｗｅｌｔ, 5 m² und ½", "Hallo Welt, 5 m² und ½"),
            ("th", "ทำอะไร ｶ", "ทำอะไร"),
            ("ja", "ＡＢＣ！はい", "ABC！はい"),
            ("ru", "Привет, Hello, שלום!", "Привет, Hello, !"),
            ("de", "Das heißt привет oder 你好 hier.", "Das heißt oder hier."),
            ("xx", "Das heißt привет.", "Das heißt привет."),
            ("ja", "コーヒー과 人々", "コーヒー 人々"),
        ] {
            assert_eq!(read(text, language), said, "{text}");
        }
    }
}
