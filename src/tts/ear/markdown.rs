//! Removal of Markdown's marks; the marked text stays.

use super::rewrite::{pattern, rewrite};

/// Turns Markdown (and the little HTML that models mix into it) into plain text on one line. Code
/// blocks are dropped, since they are not worth hearing. A fence that never closes takes the rest
/// of the text.
pub(super) fn strip(text: &str) -> String {
    let mut prose = Prose::default();
    let mut fence: Option<&str> = None;
    let text = pattern!(r"(?i)<br\s*/?>").replace_all(text, "\n");
    for line in text.lines() {
        let mark = fence_mark(line);
        match (fence, mark) {
            (None, Some(_)) => fence = mark,
            (Some(open), Some(close)) if open == close => fence = None,
            (Some(_), _) => {}
            (None, None) => prose.push(line),
        }
        if mark.is_some() {
            prose.pause();
        }
    }
    prose.text
}

/// Fence that a line opens or closes. One that is opened and closed on the same line is inline
/// code.
fn fence_mark(line: &str) -> Option<&'static str> {
    let line = line.trim_start();
    ["```", "~~~"].into_iter().find(|mark| line.strip_prefix(mark).is_some_and(|rest| !rest.contains(mark)))
}

/// Lines joined into running text. A block (heading, list item, table row, paragraph) ends like a
/// sentence, or the voice would run it into the next.
#[derive(Default)]
struct Prose {
    text: String,
    pause: bool,
}

impl Prose {
    fn pause(&mut self) {
        self.pause = true;
    }

    fn push(&mut self, line: &str) {
        let (body, block) = block(line);
        let body = inline(&body);
        let body = body.trim();
        if body.is_empty() {
            self.pause();
            return;
        }
        if !self.text.is_empty() {
            let said = self.text.trim_end_matches(['"', '\'', ')', ' ']);
            let open = !said.ends_with(['.', ',', ';', ':', '?', '!']);
            // A full stop would turn a letter into an initial: "Vitamin C".
            let stop = if pattern!(r"(?:\b|[0-9])\p{Lu}$").is_match(said) { "; " } else { ". " };
            self.text.push_str(if (block || self.pause) && open { stop } else { " " });
        }
        self.text.push_str(body);
        self.pause = block;
    }
}

/// Removes the marks from the start of a line; returns the text and whether it was a block of its
/// own.
fn block(line: &str) -> (String, bool) {
    let rule = pattern!(r"^[\s>]*(?:(?:[-_*=]\s*){3,}|[-=]{2,}|[|:\s-]*\|[|:\s-]*|\[[^\]]+\]:\s*\S+.*)$");
    if rule.is_match(line) {
        return (String::new(), true);
    }
    let quoted = pattern!(r"^\s*(?:>\s?)+").replace(line, "");
    if let Some(heading) = pattern!(r"^\s*#{1,6}\s+(.*?)[\s#]*$").captures(&quoted) {
        return (heading[1].to_owned(), true);
    }
    if let Some(item) = pattern!(r"^\s*[-*+•‣◦▪]\s+(?:\[[ xX]\]\s+)?(.*)$").captures(&quoted) {
        return (item[1].to_owned(), true);
    }
    // The number of a step is kept; its dot would end a sentence.
    if let Some(step) = pattern!(r"^\s*([0-9]{1,3})[.)]\s+(\S.*)$").captures(&quoted) {
        return (format!("{}, {}", &step[1], &step[2]), true);
    }
    if quoted.contains('|') {
        let cells: Vec<&str> = quoted.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
        return (cells.join(", "), true);
    }
    (quoted.into_owned(), false)
}

fn inline(text: &str) -> String {
    let text = pattern!(r"!?\[([^\[\]]*)\]\((?:[^()]|\([^()]*\))*\)").replace_all(text, "$1");
    // A second pass, for an image inside a link.
    let text = pattern!(r"!?\[([^\[\]]*)\]\((?:[^()]|\([^()]*\))*\)").replace_all(&text, "$1");
    let text = pattern!(r"\[([^\[\]]*\p{L}[^\[\]]*)\]\[[^\[\]]*\]").replace_all(&text, "$1");
    let text = pattern!(r"\[\^?[0-9]+\]|\[\^[^\]]*\]").replace_all(&text, "");
    let text = pattern!(r"<((?:https?://|mailto:)?[^\s<>]+[.@][^\s<>]+)>").replace_all(&text, "$1");
    let text = tags(&text);
    let text = pattern!(r"\\([!-/:-@\[-`{-~])").replace_all(&entities(&text), "$1").into_owned();
    emphasis(&placeholders(&text))
}

/// Removes HTML's tags, but not text that only looks like one.
fn tags(text: &str) -> String {
    let tag = pattern!(
        r"(?i)<!--.*?-->|</?(?:a|abbr|b|big|blockquote|body|caption|center|cite|code|dd|del|details|div|dl|dt|em|font",
        r"|footer|h[1-6]|head|header|hr|html|i|iframe|img|ins|kbd|li|main|mark|nav|ol|p|pre|q|s|samp|section|small",
        r"|span|strike|strong|sub|summary|sup|table|tbody|td|tfoot|th|thead|tr|tt|u|ul|var|wbr)",
        r"(?:\s+[a-z-]+\s*=\s*[^<>]*)?\s*/?>"
    );
    tag.replace_all(text, "").into_owned()
}

/// Reads `<Enter>`, a key, and `<name>`, a gap to fill, as their words. In `a<b` the sign stays.
fn placeholders(text: &str) -> String {
    let text = rewrite(text, pattern!(r"</?(\p{L}[\p{L}\p{N} _/.+-]*)>"), |site| {
        let free = !site.previous().is_some_and(char::is_alphanumeric);
        free.then(|| site.group(1).to_owned())
    });
    // Arguments of a type, `Map<K, V>`, unless single letters are compared.
    let arguments = pattern!(r"(\p{L}{2,})<(\p{L}[\p{L}\p{N}_]*(?:, ?\p{L}[\p{L}\p{N}_]*)*)>");
    rewrite(&text, arguments, |site| Some(format!("{} {}", site.group(1), site.group(2))))
}

fn entities(text: &str) -> String {
    rewrite(text, pattern!(r"&(amp|lt|gt|quot|nbsp|#39|apos|deg|mdash|ndash|hellip);"), |site| {
        let plain = match site.group(1) {
            "amp" => "&",
            "lt" => "<",
            "gt" => ">",
            "#39" | "apos" => "'",
            "quot" => "\"",
            "deg" => "°",
            "mdash" => "—",
            "ndash" => "–",
            "hellip" => "...",
            _ => " ",
        };
        Some(plain.to_owned())
    })
}

/// Removes asterisks, underscores, backticks and tildes that mark words; those that are operators
/// are kept as words.
fn emphasis(text: &str) -> String {
    let text = pattern!(r"\b([0-9]+|[a-z])\*\*([0-9]+|[a-z]\b)").replace_all(text, "$1^$2");
    let text = products(&text);
    let text = pattern!(r"[*`]|~~").replace_all(&text, "");
    // An underscore inside a word may belong to an address, which is read later.
    pattern!(r"\b_+|_+\b").replace_all(&text, "").into_owned()
}

/// Reads an asterisk between two factors as a product, if one of them is a number, a single letter
/// or in brackets (`2*pi*r`); also one between words that has no partner or stands in an equation.
fn products(text: &str) -> String {
    let text = pattern!(r"([0-9)]|\b[a-z]) \*\* ([0-9(]|[a-z]\b)").replace_all(text, "$1^$2");
    let text = pattern!(r"([\p{L}0-9)\]]) \* ([\p{L}0-9(\[])").replace_all(&text, "$1 × $2");
    let text = rewrite(&text, pattern!(r"[^\s*]+(?:\*[^\s*]+)+"), |site| {
        let factors: Vec<&str> = site.group(0).split('*').collect();
        let dressed = site.previous() == Some('*') || site.next() == Some('*');
        let product = factors.windows(2).all(|pair| is_factor(pair[0], true) || is_factor(pair[1], false));
        (product && !dressed && factors.iter().all(|factor| is_operand(factor))).then(|| factors.join(" × "))
    });
    if text.matches('*').count() == 1 || text.contains(" = ") {
        return pattern!(r"([\p{L}0-9)])\*([\p{L}0-9(])").replace_all(&text, "$1 × $2").into_owned();
    }
    text
}

/// Whether the text before (or after) an asterisk is a number, a single letter or a bracket there.
fn is_factor(part: &str, before: bool) -> bool {
    let edge = if before { part.chars().next_back() } else { part.chars().next() };
    let inner = if before { part.chars().rev().nth(1) } else { part.chars().nth(1) };
    let bracket = if before { [')', ']'] } else { ['(', '['] };
    let single = !inner.is_some_and(char::is_alphabetic);
    edge.is_some_and(|c| bracket.contains(&c) || c.is_ascii_digit() || (c.is_alphabetic() && single))
}

/// Whether a part may be an operand of an asterisk that multiplies.
fn is_operand(part: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '(' | ')' | '[' | ']' | '_'));
    ends(part.chars().next()) && ends(part.trim_end_matches(['.', ',', ';', ':', '?', '!']).chars().next_back())
}
