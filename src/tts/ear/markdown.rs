//! Markdown's marks go; what they marked stays.

use super::rewrite::{pattern, rewrite};

/// Reads Markdown (and the little HTML models mix into it) as plain text on one line. Code blocks are dropped: nobody
/// wants them read out. A fence that never closes takes the rest of the text.
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

/// The fence a line opens or closes. One that is opened and closed on the same line is inline code.
fn fence_mark(line: &str) -> Option<&'static str> {
    let line = line.trim_start();
    ["```", "~~~"].into_iter().find(|mark| line.strip_prefix(mark).is_some_and(|rest| !rest.contains(mark)))
}

/// Lines joined into running text. A block (heading, list item, table row, paragraph) ends as a sentence does, or the
/// voice would run it into the next.
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
            // A full stop would make an initial of a letter: "Vitamin C".
            let stop = if pattern!(r"(?:\b|[0-9])\p{Lu}$").is_match(said) { "; " } else { ". " };
            self.text.push_str(if (block || self.pause) && open { stop } else { " " });
        }
        self.text.push_str(body);
        self.pause = block;
    }
}

/// Takes the marks off the start of a line; says whether it was a block of its own.
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
    // A step's number is worth hearing, its dot would end a sentence.
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
    // Once more, for an image inside a link.
    let text = pattern!(r"!?\[([^\[\]]*)\]\((?:[^()]|\([^()]*\))*\)").replace_all(&text, "$1");
    let text = pattern!(r"\[([^\[\]]*\p{L}[^\[\]]*)\]\[[^\[\]]*\]").replace_all(&text, "$1");
    let text = pattern!(r"\[\^?[0-9]+\]|\[\^[^\]]*\]").replace_all(&text, "");
    let text = pattern!(r"<((?:https?://|mailto:)?[^\s<>]+[.@][^\s<>]+)>").replace_all(&text, "$1");
    let text = pattern!(r"</?[A-Za-z][A-Za-z0-9-]*(?:\s[^<>]*)?/?>|<!--.*?-->").replace_all(&text, "");
    let text = pattern!(r"\\([!-/:-@\[-`{-~])").replace_all(&entities(&text), "$1").into_owned();
    emphasis(&text)
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

/// Stars, underscores, ticks and tildes that dress words go; those that calculate are kept as words.
fn emphasis(text: &str) -> String {
    let text = pattern!(r"([0-9])\*\*([0-9])").replace_all(text, "$1^$2");
    let text = pattern!(r"([0-9])\*([0-9])").replace_all(&text, "$1 × $2");
    let text = pattern!(r"([\p{L}0-9)]) \* ([\p{L}0-9(])").replace_all(&text, "$1 × $2");
    let text = pattern!(r"[*`]|~~").replace_all(&text, "");
    // An underscore inside a word may belong to an address; it is read later.
    pattern!(r"\b_+|_+\b").replace_all(&text, "").into_owned()
}
