//! Many ways to write one character become one way, and what no voice can say goes.

use super::rewrite::pattern;

/// Folds typographic variants into the plain characters the later passes look for. Done before everything else, so that
/// no pass needs to know about curly quotes, and so that a dropped emoji cannot join two words after the fact.
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
        } else if let Some(long) = spelled(c) {
            folded.push_str(long);
        } else if !is_invisible(c) {
            folded.push(plain(c));
        }
    }
    pattern!(r"[^\p{L}\p{M}\p{N}\p{ASCII}€£¥₹₩¢°×÷±≈≠≤≥√∞→←⇒–—•‣◦▪§]").replace_all(&folded, " ").into_owned()
}

/// Marks that change how a character looks (emoji selectors, the keycap, joiners), not what it says.
fn is_invisible(c: char) -> bool {
    matches!(c, '\r' | '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{206F}' | '\u{20E3}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{E0000}'..='\u{E01EF}')
}

fn plain(c: char) -> char {
    match c {
        '‘' | '’' | '‛' | 'ʼ' | '＇' | '′' => '\'',
        '“' | '”' | '„' | '‟' | '«' | '»' | '″' => '"',
        '‐' | '‑' | '−' => '-',
        '‒' => '–',
        '―' => '—',
        'µ' => 'μ',
        '∗' => '*',
        '\u{2028}' | '\u{2029}' | '\u{85}' => '\n',
        // A letter by its class, an emoji by its use.
        'ℹ' => ' ',
        '\u{FF10}'..='\u{FF19}' => digit(c, 0xFF10),
        '\u{2080}'..='\u{2089}' => digit(c, 0x2080),
        '\u{1D7CE}'..='\u{1D7FF}' => digit(c, 0x1D7CE),
        '\n' => c,
        _ if c.is_whitespace() || c.is_control() => ' ',
        _ => c,
    }
}

fn digit(c: char, zero: u32) -> char {
    char::from_digit((u32::from(c) - zero) % 10, 10).unwrap_or(' ')
}

fn superscript(c: char) -> Option<char> {
    match c {
        '¹' => Some('1'),
        '²' => Some('2'),
        '³' => Some('3'),
        '\u{2070}' | '\u{2074}'..='\u{2079}' => Some(digit(c, 0x2070)),
        '⁻' => Some('-'),
        _ => None,
    }
}

fn spelled(c: char) -> Option<&'static str> {
    Some(match c {
        // The space keeps `1½` apart as `1 1/2`.
        '½' => " 1/2",
        '⅓' => " 1/3",
        '⅔' => " 2/3",
        '¼' => " 1/4",
        '¾' => " 3/4",
        '⅕' => " 1/5",
        '⅖' => " 2/5",
        '⅗' => " 3/5",
        '⅘' => " 4/5",
        '⅙' => " 1/6",
        '⅛' => " 1/8",
        '⅜' => " 3/8",
        '⅝' => " 5/8",
        '⅞' => " 7/8",
        '℃' => "°C",
        '℉' => "°F",
        '№' => "No. ",
        '…' => "...",
        _ => return None,
    })
}
