//! Conversion of formulas in LaTeX, as language models write them, to plain text for the later
//! passes: `\frac{a}{b}` is "a over b", `\times` is "times". Commands are read anywhere, because
//! the splitter may have separated a formula from its dollar signs.
//!
//! MathCAT (speech for MathML) was considered and rejected: it needs a converter from LaTeX before
//! it, and folders of rules beside it, for the few dozen commands that occur in answers.

mod table;

use table::{KNOWN, STRUCTURES};

use super::rewrite::pattern;
use crate::tts::abbreviations::holds;

/// Deepest nesting of groups; deeper ones are read without their structure.
const DEEPEST: usize = 12;

/// Reads the formulas of `text`; the rest stays unchanged.
pub(super) fn read(text: &str) -> String {
    if !text.contains(['\\', '$']) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '$']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = formula(rest, &mut out).or_else(|| command(rest, &mut out)).unwrap_or_else(|| {
            let end = if rest.starts_with(r"\$") { 2 } else { 1 };
            out.push_str(&rest[..end]);
            &rest[end..]
        });
    }
    out + rest
}

/// Reads a formula with its delimiters at the start of `text`; returns the text after it.
fn formula<'t>(text: &'t str, out: &mut String) -> Option<&'t str> {
    for (open, close) in [("$$", "$$"), (r"\[", r"\]"), (r"\(", r"\)")] {
        let Some(inner) = text.strip_prefix(open) else { continue };
        let end = inner.find(close)?;
        spaced(&said(&inner[..end], 0), out);
        return Some(&inner[end + close.len()..]);
    }
    if text.starts_with(r"\begin{") {
        let (inner, after) = text.split_once(r"\end{")?;
        spaced(&said(inner, 0), out);
        return Some(after.split_once('}').map_or("", |(_, after)| after));
    }
    let inner = text.strip_prefix('$')?;
    let end = inner.find('$')?;
    let after = &inner[end + 1..];
    (is_formula(&inner[..end]) && !after.starts_with(|c: char| c.is_ascii_digit())).then(|| {
        spaced(&said(&inner[..end], 0), out);
        after
    })
}

/// Reads a command at the start of a text that is no formula; returns the text after it.
fn command<'t>(text: &'t str, out: &mut String) -> Option<&'t str> {
    let (name, rest) = command_name(text)?;
    let known = KNOWN.iter().any(|(known, _)| *known == name) || holds(STRUCTURES, name);
    // Elsewhere a backslash may separate the folders of a path.
    let path =
        out.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ':' | '\\')) && !out.ends_with(char::is_numeric);
    (known && !path).then(|| {
        let mut reader = Reader { rest, depth: 0 };
        let words = reader.command(name);
        if words == "°" && out.ends_with('^') {
            out.pop();
        }
        spaced(words.trim(), out);
        reader.rest
    })
}

/// Whether the text between two dollar signs is a formula, and not a text between two prices.
fn is_formula(inner: &str) -> bool {
    let whole = !inner.is_empty() && inner.len() <= 400 && inner.trim() == inner && !inner.contains('\n');
    let closed =
        inner.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ')' | ']' | '}' | '\'' | '!' | '|' | '%'));
    let words = pattern!(r"[A-Za-z]{4,}").is_match(inner);
    let signs = inner.contains(['^', '_', '=', '+', '<', '>', '*', '/', '-', '(']) || !inner.contains(' ');
    whole && closed && (inner.contains('\\') || (signs && !words))
}

/// Plain text of a formula.
fn said(formula: &str, depth: usize) -> String {
    let mut reader = Reader { rest: formula, depth };
    let mut words = String::new();
    while !reader.rest.is_empty() {
        let item = reader.item();
        spaced(&item, &mut words);
    }
    let words = pattern!(r"\s+").replace_all(&words, " ");
    words.trim().replace(" ,", ",")
}

/// Appends words, with a space before them.
fn spaced(words: &str, out: &mut String) {
    if !out.is_empty() && !out.ends_with([' ', '(', '"']) && !words.starts_with(['^', ',', ')', '°']) {
        out.push(' ');
    }
    out.push_str(words);
}

/// Reader of the rest of a formula.
struct Reader<'t> {
    rest: &'t str,
    /// Number of open groups and commands around it.
    depth: usize,
}

impl<'t> Reader<'t> {
    /// Reads the next letter, number, group, command or sign.
    fn item(&mut self) -> String {
        if let Some((name, rest)) = command_name(self.rest) {
            self.rest = rest;
            return self.command(name);
        }
        let Some(first) = self.rest.chars().next() else { return String::new() };
        match first {
            '{' => return self.argument(),
            '0'..='9' => return self.take(|c| c.is_ascii_digit() || matches!(c, '.' | ',')).to_owned(),
            _ if first.is_alphabetic() => return self.letters(),
            _ => self.rest = &self.rest[first.len_utf8()..],
        }
        match first {
            '^' => self.power(),
            '_' => format!(" {} ", self.argument()),
            '\\' => self.escaped(),
            '-' => " minus ".to_owned(),
            '*' => " × ".to_owned(),
            '/' => " over ".to_owned(),
            '!' => " factorial ".to_owned(),
            '\'' => " prime ".to_owned(),
            '&' | '}' | '|' | '~' | '$' => " ".to_owned(),
            '(' | ')' | '[' | ']' => first.to_string(),
            _ => format!(" {first} "),
        }
    }

    /// Reads the sign after a backslash: most of them are spaces.
    fn escaped(&mut self) -> String {
        match self.take_first() {
            "\\" => ", ".to_owned(),
            sign @ ("%" | "$" | "#" | "&") => format!(" {sign} "),
            _ => " ".to_owned(),
        }
    }

    /// Reads letters. Names of functions and words stay; in other short runs each letter is a
    /// variable.
    fn letters(&mut self) -> String {
        let run = self.take(char::is_alphabetic);
        let function =
            matches!(run, "sin" | "cos" | "tan" | "log" | "ln" | "exp" | "max" | "min" | "lim" | "gcd" | "mod");
        if run.chars().count() > 3 || function {
            return run.to_owned();
        }
        let letters: Vec<String> = run.chars().map(String::from).collect();
        let applied = self.rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        match applied.filter(|(inner, _)| matches!(run, "f" | "g" | "h" | "P" | "F") && !inner.contains('(')) {
            Some((inner, rest)) => {
                self.rest = rest;
                format!("{run} of {}", said(inner, self.depth + 1))
            }
            None => letters.join(" "),
        }
    }

    /// Reads the exponent after a `^`.
    fn power(&mut self) -> String {
        let exponent = self.argument();
        match exponent.trim() {
            "∘" | "°" => "°".to_owned(),
            "prime" => " prime ".to_owned(),
            power if power.bytes().all(|b| b.is_ascii_digit()) || power.len() == 1 => format!("^{power} "),
            power => match power.strip_prefix("minus ") {
                Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => format!("^-{digits} "),
                _ => format!(" to the power of {power} "),
            },
        }
    }

    /// Reads the argument of a command or a sign: a group in braces, else the next digit, letter or
    /// command.
    fn argument(&mut self) -> String {
        self.rest = self.rest.trim_start();
        let group = self.rest.starts_with('{');
        if self.depth >= DEEPEST {
            let raw = if group { self.group() } else { self.take_first() };
            return raw.replace(['\\', '{', '}', '$'], " ");
        }
        if group {
            let depth = self.depth + 1;
            return said(self.group(), depth);
        }
        if self.rest.starts_with(|c: char| c.is_alphanumeric()) {
            return self.take_first().to_owned();
        }
        self.depth += 1;
        let item = self.item();
        self.depth -= 1;
        item
    }

    /// Reads the text of a group in braces; one that never closes extends to the end.
    fn group(&mut self) -> &'t str {
        let mut depth = 0;
        for (at, c) in self.rest.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => {
                    let inner = &self.rest[1..at];
                    self.rest = &self.rest[at + 1..];
                    return inner;
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
        let (_, inner) = self.rest.split_at(1);
        self.rest = "";
        inner
    }

    /// Puts a command into words, with its arguments, after its name was read.
    fn command(&mut self, name: &str) -> String {
        match name {
            "frac" | "dfrac" | "tfrac" | "cfrac" => self.fraction(),
            "binom" | "dbinom" => {
                let of = self.argument();
                format!("{of} choose {}", self.argument())
            }
            "sqrt" => self.root(),
            "text" | "textbf" | "textit" | "textrm" | "mathrm" | "operatorname" | "mbox" => self.text(),
            "boxed" | "mathbf" | "mathbb" | "mathcal" | "mathit" | "mathsf" | "boldsymbol" => self.argument(),
            "hat" | "bar" | "overline" | "dot" | "tilde" | "widehat" => {
                let sign = if name == "overline" { "bar" } else { name.trim_start_matches("wide") };
                format!("{} {sign}", self.argument())
            }
            "vec" => format!("vector {}", self.argument()),
            "begin" | "end" => {
                self.text();
                String::new()
            }
            "left" | "right" => {
                self.rest = self.rest.strip_prefix('.').unwrap_or(self.rest);
                String::new()
            }
            "sum" => self.range("the sum"),
            "prod" => self.range("the product"),
            "int" | "oint" => self.range("the integral"),
            "lim" => self.range("the limit").replace(" from ", " as ").replace(" to ", " approaches "),
            _ => KNOWN.iter().find(|(known, _)| *known == name).map_or(name, |(_, words)| words).to_owned(),
        }
    }

    fn fraction(&mut self) -> String {
        let (top, bottom) = (self.argument(), self.argument());
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits(&top) && digits(&bottom) { format!("{top}/{bottom}") } else { format!("{top} over {bottom}") }
    }

    fn root(&mut self) -> String {
        let degree = self.rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let of = match degree {
            None => "the square root of",
            Some((degree, rest)) => {
                self.rest = rest;
                match degree.trim() {
                    "3" => "the cube root of",
                    "4" => "the fourth root of",
                    _ => "the root of",
                }
            }
        };
        format!("{of} {}", self.argument())
    }

    /// Reads a group of words unchanged.
    fn text(&mut self) -> String {
        if self.rest.starts_with('{') { self.group().to_owned() } else { String::new() }
    }

    /// Reads the limits of a sum and puts them into words.
    fn range(&mut self, what: &str) -> String {
        let mut words = what.to_owned();
        for _ in 0..2 {
            let rest = self.rest.trim_start();
            let Some(mark) = rest.chars().next().filter(|c| matches!(c, '_' | '^')) else { break };
            self.rest = &rest[1..];
            words += if mark == '_' { " from " } else { " to " };
            words += &self.argument();
        }
        words + " of"
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn take_first(&mut self) -> &'t str {
        let end = self.rest.chars().next().map_or(0, char::len_utf8);
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }
}

fn command_name(text: &str) -> Option<(&str, &str)> {
    let letters = text.strip_prefix('\\')?;
    let end = letters.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(letters.len());
    (end > 0).then(|| letters.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn formulas_become_text() {
        for (written, text) in [
            (r"Solve $5x + 3 = 13$ for $x$.", "Solve 5 x + 3 = 13 for x."),
            (r"$$E = mc^2$$", "E = m c^2"),
            (r"\( \frac{1}{2} \) and \frac{a+b}{2c}", "1/2 and a + b over 2 c"),
            (r"$\sqrt{x^2 - 1}$, $\sqrt[3]{8}$", "the square root of x^2 minus 1, the cube root of 8"),
            (r"$x_1 \leq x_{max}$", "x 1 ≤ x max"),
            (r"$\sum_{i=1}^{n} i$", "the sum from i = 1 to n of i"),
            (r"$\lim_{x \to 0} f(x)$", "the limit as x approaches 0 of f of x"),
            (r"$10^{-3}$ and $2^{n+1}$", "10^-3 and 2 to the power of n + 1"),
            (r"$\text{area} = \pi r^2$", "area = pi r^2"),
            (r"$90^\circ$ or 90^\circ", "90° or 90°"),
            ("It costs $5 and $10, or $5-$10.", "It costs $5 and $10, or $5-$10."),
            (r"\begin{align} x &= 5 \\ y &= 6 \end{align} too", "x = 5, y = 6 too"),
            (r"C:\temp\int and \$5 or \$6", r"C:\temp\int and \$5 or \$6"),
            ("$HOME/bin:$PATH", "$HOME/bin:$PATH"),
            (r"\unknown stays", r"\unknown stays"),
        ] {
            assert_eq!(read(written), text, "{written}");
        }
    }

    #[test]
    fn deep_and_broken_formulas_end() {
        for written in
            [r"\frac{".repeat(5000), r"\sqrt".repeat(5000), "$".repeat(5000), "{".repeat(5000), r"$\frac".into()]
        {
            assert!(read(&written).len() <= written.len() * 4 + 64);
        }
    }
}
