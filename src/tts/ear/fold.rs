//! Folding of the many forms of one character into one, and removal of what no voice can say.

use unicode_normalization::UnicodeNormalization;

use super::rewrite::pattern;

/// Folds typographic variants into the plain characters that the later passes expect. It comes
/// before everything else, so that no pass needs to know about curly quotes or styled letters, and
/// so that a dropped emoji cannot join two words later.
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut raised = false;
    for c in text.chars() {
        let superscript = superscript(c);
        if superscript.is_some() && !raised {
            folded.push('^');
        }
        raised = superscript.is_some();
        if let Some(digit) = superscript {
            folded.push(digit);
        } else if let Some(fraction) = fraction(c) {
            // The space keeps `1½` apart as `1 1/2`.
            folded.push_str(if folded.ends_with(|c: char| c.is_ascii_digit()) { " " } else { "" });
            folded.push_str(fraction);
        } else if let Some(long) = spelled(c) {
            folded.push_str(long);
        } else if !is_invisible(c) {
            fold_letter(c, &mut folded);
        }
    }
    let folded: String = folded.nfc().collect();
    // Accents left over after NFC belong to letters that have none.
    let folded = pattern!(r"(\p{Latin})\p{M}+").replace_all(&folded, "$1");
    pattern!(r"[^\p{L}\p{M}\p{N}\p{ASCII}€£¥₹₩¢°×÷±≈≠≤≥√∞→←↔⇒⇔∑∏∫∂∇∈∉∪∩⊂∅∝∴≡·⋅‰–—•‣◦▪§]")
        .replace_all(&folded, " ")
        .into_owned()
}

/// Folds only styled letters and digits, as needed for a text of any language.
pub(super) fn letters(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        match unstyled(c) {
            Some(letter) => folded.push(letter),
            None if c.is_alphanumeric() && is_styled(c) => fold_letter(c, &mut folded),
            None => folded.push(c),
        }
    }
    folded
}

/// Whether a letter belongs to the blocks of Unicode that only repeat others in another style.
fn is_styled(c: char) -> bool {
    matches!(c, '\u{2100}'..='\u{214F}' | '\u{2460}'..='\u{24FF}' | '\u{FB00}'..='\u{FB06}' | '\u{FF01}'..='\u{FFEF}'
        | '\u{1D400}'..='\u{1D7FF}' | '\u{1F110}'..='\u{1F189}')
}

/// Whether a mark changes how a character looks (emoji selectors, the keycap, joiners), not its
/// meaning.
fn is_invisible(c: char) -> bool {
    matches!(c, '\r' | '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{20E3}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{E0000}'..='\u{E01EF}')
}

/// Adds a character in its plain form: full-width, bold, circled and other styled letters become
/// the letters they are.
fn fold_letter(c: char, folded: &mut String) {
    let c = plain(c);
    match unstyled(c) {
        Some(letter) => folded.push(letter),
        // Numbers in circles are separate words.
        None if c.is_numeric() && ('\u{2460}'..='\u{24FF}').contains(&c) => {
            folded.push(' ');
            folded.extend(c.nfkc());
            folded.push(' ');
        }
        None if has_plain_form(c) => folded.extend(c.nfkc().map(plain)),
        None => folded.push(c),
    }
}

/// Whether compatibility decomposition (NFKC) gives the same text in plain letters. Punctuation and
/// signs keep their form: the passes know them.
fn has_plain_form(c: char) -> bool {
    !c.is_ascii()
        && (c.is_alphanumeric() && !matches!(c, 'ª' | 'º')
            || matches!(c, '\u{3300}'..='\u{33FF}' | '\u{FF01}'..='\u{FF5E}' | '\u{2474}'..='\u{249B}'))
}

/// Plain form of styled letters for which Unicode has none: small capitals, and white letters on
/// black.
fn unstyled(c: char) -> Option<char> {
    const SMALL_CAPITALS: &str = "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡ\u{0}ʏᴢ";
    let nth = |first: char, at: u32| char::from_u32(u32::from(first) + at);
    match c {
        '\u{1F150}'..='\u{1F169}' => nth('A', u32::from(c) - 0x1F150),
        '\u{1F170}'..='\u{1F189}' => nth('A', u32::from(c) - 0x1F170),
        '\0' => None,
        _ if c.is_ascii() => None,
        _ => SMALL_CAPITALS.chars().position(|small| small == c).and_then(|at| nth('a', at as u32)),
    }
}

fn plain(c: char) -> char {
    match c {
        '‘' | '’' | '‛' | 'ʼ' | '＇' | '′' => '\'',
        '“' | '”' | '„' | '‟' | '«' | '»' | '″' => '"',
        '‐' | '‑' | '−' | '﹣' | '－' => '-',
        '‒' => '–',
        '―' => '—',
        'µ' => 'μ',
        '∗' | '⁎' => '*',
        '∕' | '⁄' => '/',
        '∶' => ':',
        '。' => '.',
        '、' => ',',
        '∆' => 'Δ',
        'Ω' => 'Ω',
        '⩽' => '≤',
        '⩾' => '≥',
        '\u{2028}' | '\u{2029}' | '\u{85}' => '\n',
        // Letters by their class, signs by their use.
        'ℹ' | '™' | '℠' => ' ',
        '\n' => c,
        _ if c.is_whitespace() || c.is_control() => ' ',
        _ => c,
    }
}

fn superscript(c: char) -> Option<char> {
    match c {
        '¹' => Some('1'),
        '²' => Some('2'),
        '³' => Some('3'),
        '\u{2070}' | '\u{2074}'..='\u{2079}' => char::from_digit(u32::from(c) - 0x2070, 10),
        '⁻' => Some('-'),
        _ => None,
    }
}

fn fraction(c: char) -> Option<&'static str> {
    Some(match c {
        '½' => "1/2",
        '⅓' => "1/3",
        '⅔' => "2/3",
        '¼' => "1/4",
        '¾' => "3/4",
        '⅕' => "1/5",
        '⅖' => "2/5",
        '⅗' => "3/5",
        '⅘' => "4/5",
        '⅙' => "1/6",
        '⅚' => "5/6",
        '⅐' => "1/7",
        '⅛' => "1/8",
        '⅜' => "3/8",
        '⅝' => "5/8",
        '⅞' => "7/8",
        '⅑' => "1/9",
        '⅒' => "1/10",
        _ => return None,
    })
}

fn spelled(c: char) -> Option<&'static str> {
    Some(match c {
        '℃' => "°C",
        '℉' => "°F",
        '№' => "No. ",
        '…' => "...",
        '‽' => "?!",
        '‼' => "!!",
        _ => return None,
    })
}
