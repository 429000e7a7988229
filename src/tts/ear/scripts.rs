//! Letters that a voice can say: those of the script of its language. A phonemizer names any other
//! letter one by one, with the name of its script, so they are left out.

use regex::Regex;

use super::rewrite::{pattern, rewrite};

/// Placeholder for removed text until the punctuation around it is handled; folding lets no such
/// character through.
const LEFT_OUT: &str = "\u{E000}";

/// Removes what an English voice cannot say. A single Greek letter stays: it is a symbol and has a
/// name.
pub(super) fn latin(text: &str) -> String {
    // A pronunciation in phonetic letters only repeats the word before it.
    let phonetic = pattern!(r"[/\[(]?[\p{Latin}ˈˌː.]*[\x{250}-\x{2AF}ˈˌː][\p{Latin}ˈˌː.]*[/\])]?");
    let said = rewrite(&phonetic.replace_all(text, " "), pattern!(r"[\p{L}\p{M}--\p{Latin}]+"), |site| {
        let letters = site.group(0);
        let symbol = letters.chars().count() == 1 && greek(letters).is_some();
        Some(if symbol { letters } else { LEFT_OUT }.to_owned())
    });
    // Brackets around removed text go with it.
    let emptied = pattern!(r#"[(\[“"]?[\s,]*\x{E000}[\s,\x{E000}]*[)\]”"]?"#);
    emptied.replace_all(&said, " ").into_owned()
}

/// Removes what a voice of `language` cannot say. Latin letters always stay: the phonemizer reads
/// them as English. For a language whose script is not known here everything stays.
pub(super) fn of_language<'t>(text: &'t str, language: &str) -> std::borrow::Cow<'t, str> {
    match foreign_to(language) {
        Some(foreign) => foreign.replace_all(text, " "),
        None => text.into(),
    }
}

/// Pattern of letters that no word of the language has.
fn foreign_to(language: &str) -> Option<&'static Regex> {
    Some(match language {
        "ru" | "uk" | "be" | "bg" | "sr" | "mk" | "kk" | "ky" | "mn" | "tt" | "ba" | "cv" => {
            pattern!(r"[\p{L}\p{M}--[\p{Latin}\p{Cyrillic}\p{Inherited}]]+")
        }
        "el" => pattern!(r"[\p{L}\p{M}--[\p{Latin}\p{Greek}\p{Inherited}]]+"),
        "ar" | "fa" | "ur" | "ku" | "ug" | "ps" | "sd" => {
            pattern!(r"[\p{L}\p{M}--[\p{Latin}\p{Arabic}\p{Inherited}]]+")
        }
        "he" | "yi" => pattern!(r"[\p{L}\p{M}--[\p{Latin}\p{Hebrew}\p{Inherited}]]+"),
        "hi" | "mr" | "ne" | "sa" | "kok" => pattern!(r"[\p{L}\p{M}--[\p{Latin}\p{Devanagari}\p{Inherited}]]+"),
        "th" => pattern!(r"[\p{L}\p{M}--[\p{Latin}\p{Thai}\p{Inherited}]]+"),
        "ko" => pattern!(r"[\p{L}\p{M}--[\p{Latin}\p{Hangul}\p{Han}\p{Inherited}]]+"),
        "ja" => pattern!(r"[\p{L}\p{M}--[\p{Latin}\p{Hiragana}\p{Katakana}\p{Han}\p{Inherited}ー々〆]]+"),
        "zh" | "yue" => pattern!(r"[\p{L}\p{M}--[\p{Latin}\p{Han}\p{Bopomofo}\p{Inherited}々〆]]+"),
        "en" | "de" | "fr" | "es" | "it" | "pt" | "nl" | "sv" | "da" | "no" | "fi" | "is" | "pl" | "cs" | "sk"
        | "sl" | "hr" | "bs" | "hu" | "ro" | "tr" | "az" | "et" | "lv" | "lt" | "ca" | "gl" | "eu" | "ga" | "cy"
        | "sq" | "mt" | "lb" | "af" | "sw" | "vi" | "id" | "ms" | "tl" | "eo" | "la" => {
            pattern!(r"[\p{L}\p{M}--[\p{Latin}\p{Inherited}]]+")
        }
        _ => return None,
    })
}

/// Name of a Greek letter.
pub(super) fn greek(letter: &str) -> Option<&'static str> {
    Some(match letter {
        "α" | "Α" => "alpha",
        "β" | "Β" => "beta",
        "γ" | "Γ" => "gamma",
        "δ" | "Δ" => "delta",
        "ε" | "Ε" | "ϵ" => "epsilon",
        "ζ" | "Ζ" => "zeta",
        "η" | "Η" => "eta",
        "θ" | "Θ" | "ϑ" => "theta",
        "ι" | "Ι" => "iota",
        "κ" | "Κ" => "kappa",
        "λ" | "Λ" => "lambda",
        "μ" | "Μ" => "mu",
        "ν" | "Ν" => "nu",
        "ξ" | "Ξ" => "xi",
        "π" | "Π" => "pi",
        "ρ" | "Ρ" => "rho",
        "σ" | "ς" | "Σ" => "sigma",
        "τ" | "Τ" => "tau",
        "υ" | "Υ" => "upsilon",
        "φ" | "Φ" | "ϕ" => "phi",
        "χ" | "Χ" => "chi",
        "ψ" | "Ψ" => "psi",
        "ω" | "Ω" => "omega",
        _ => return None,
    })
}

/// Names the remaining Greek letters: `Δt` is "delta t".
pub(super) fn name_greek(text: &str) -> String {
    rewrite(text, pattern!(r"\p{Greek}"), |site| Some(format!(" {} ", greek(site.group(0)).unwrap_or_default())))
}
