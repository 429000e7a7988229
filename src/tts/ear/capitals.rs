//! Words in capitals. A phonemizer spells short ones, `RED` as "R E D", unless they are in small
//! letters; for abbreviations that is right.

use super::rewrite::{Site, pattern, rewrite};
use crate::tts::abbreviations::holds;

/// Words of two and three letters that are hardly ever abbreviations. Longer ones are read as words
/// anyway.
const SHORT_WORDS: &str = "\
    ace act add age ago aid aim air ale all and ant any ape apt are ark arm art ash ask ate awe \
    axe bad bag ban bar bat bay bed bee beg bet bid big bin bit bow box boy bud bug bun bus but \
    buy bye cab can cap car cat cop cow cry cub cue cup cut dad dam day den did die dig dim dip \
    dog dry due dug ear eat egg ego elf end eve eye fan far fat fee few fig fin fit fix fly foe \
    fog for fox fry fun fur gap gas get gin god got gum gun gut guy gym had ham has hat hay her \
    hey hid him hip his hit hot how hub hug hut ice ill ink inn its jam jar jaw jet job jog joy \
    key kid kit lab lad lap law lay leg let lid lie lip lit log lot low mad man map may men met \
    mix mob mom mud mug nap new nod nor not now nut oak odd off oil old one our out owe owl own \
    pad pan pay pea pen pet pie pig pit pop pot pub put ran rat raw red rib rid rip rob rod rot \
    row rub rug run sad saw say sea see set sex she shy sim sip sir sit six ski sky sly sob son \
    spy sum sun tab tag tan tap tar tax tea ten the tie tin tip toe ton too top toy try tub two \
    use van vow wan war was way web wet who why win wit won wow yes yet you zip zoo am an as at \
    be by do go he if in is me my no of oh on or so to up we lan pin ram";

/// Turns words in capitals for emphasis into small letters. `IT` and `US` are taken for words only
/// among others in capitals.
pub(super) fn capitals(text: &str) -> String {
    rewrite(text, pattern!(r"\b\p{Lu}{2,3}\b"), |site| {
        let small = site.group(0).to_lowercase();
        let word = match site.group(0) {
            "WHO" => return pattern!(r"(?i)\bthe $").is_match(site.before).then(|| "W H O".to_owned()),
            "IT" | "US" | "ACT" | "AM" => is_shouted(site),
            // American states, after a town: "Portland, OR".
            "IN" | "ME" | "OH" | "OR" => !site.before.ends_with(", "),
            _ => holds(SHORT_WORDS, &small),
        };
        let part = site.previous() == Some('-') || matches!(site.next(), Some('-' | '\''));
        (word && !part).then_some(small)
    })
}

/// Whether the words around are in capitals too.
fn is_shouted(site: &Site) -> bool {
    let capital = |word: &str| {
        let letters: Vec<char> = word.chars().filter(|c| c.is_alphabetic()).collect();
        letters.iter().all(|c| c.is_uppercase()) && (letters.len() > 1 || letters == ['I'])
    };
    let before = site.before.split_whitespace().next_back();
    let after = site.after.split_whitespace().next();
    let clause_ends = site.after.trim_start().is_empty() || site.after.starts_with([',', '.', '!', '?', ';', ':']);
    let article = before.is_some_and(|word| word.eq_ignore_ascii_case("the"));
    match (before, after) {
        _ if article => false,
        (Some(before), _) if clause_ends => capital(before),
        (Some(before), Some(after)) => capital(before) && capital(after),
        (None, Some(after)) => site.group(0) == "IT" && capital(after),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::capitals;

    #[test]
    fn shouted_words_are_no_abbreviations() {
        for (written, said) in [
            ("a BIG RED flag, NOT a SAD one", "a big red flag, not a sad one"),
            ("CALL US NOW. STOP IT!", "CALL us now. STOP it!"),
            ("IT WORKS", "it WORKS"),
            ("the US Army and IT support", "the US Army and IT support"),
            ("IN THE US NAVY", "in the US NAVY"),
            ("the WHO says; WHO are you", "the W H O says; WHO are you"),
            ("NASA, the FBI, a CPU and RAM", "NASA, the FBI, a CPU and ram"),
        ] {
            assert_eq!(capitals(written), said);
        }
    }
}
