//! Internet addresses: e-mail, links, names with dots in them.

use super::rewrite::{pattern, rewrite};

/// Reads e-mail addresses: `ann@example.com` is "ann at example dot com".
pub(super) fn emails(text: &str) -> String {
    // A repository by SSH is an address and a path: `git@example.com:org/repo.git`.
    let remote = pattern!(r"\b([\p{L}0-9_.-]+)@([\p{L}0-9.-]+):([\p{L}_~][\p{L}0-9_./~-]*[\p{L}0-9])");
    let text = rewrite(text, remote, |site| {
        let path = site.group(3).replace('/', " slash ");
        Some(format!("{} at {}, {}", dots(site.group(1)), dots(site.group(2)), dots(&path)))
    });
    let text = pattern!(r"\b([0-9]{1,3}(?:\.[0-9]{1,3}){3}):([0-9]{1,5})\b").replace_all(&text, "$1 port $2");
    let address = pattern!(r"(?:mailto:)?([\p{L}0-9][\p{L}0-9._%+-]*)@([\p{L}0-9-]+(?:\.[\p{L}0-9-]+)+)");
    rewrite(&text, address, |site| Some(format!("{} at {}", dots(site.group(1)), dots(site.group(2)))))
}

/// Reads a link by its host; the rest is not worth hearing. Bare hosts are recognised by their
/// ending.
pub(super) fn links(text: &str) -> String {
    let link = pattern!(
        r"(?i)\b(?:[a-z][a-z0-9+.-]*://(?:[^\s/@]*@)?(?:www\.)?([\p{L}0-9.-]+)",
        r"|www\.([\p{L}0-9-]+(?:\.[\p{L}0-9-]+)+)",
        r"|((?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov|io|dev|ai|app|info|co|uk|de|fr|eu|us|ca|au|tv|me))\b)",
        r#"(?::[0-9]+\b)?([/?#](?:[^\s<>()\[\]"]|\([^\s()]*\))*)?"#
    );
    rewrite(text, link, |site| {
        let host = [1, 2, 3].into_iter().map(|index| site.group(index)).find(|host| !host.is_empty())?;
        let last = if site.group(4).is_empty() { host } else { site.group(4) };
        let tail = &last[last.trim_end_matches(['.', ',', ';', ':', '?', '!', '\'']).len()..];
        Some(format!("{}{tail}", dots(host.trim_end_matches('.'))))
    })
}

/// Reads file names: `src/main.rs` is "src slash main dot rs". A full stop that only lost its space
/// gets it back.
pub(super) fn file_names(text: &str) -> String {
    let path = pattern!(r"(?:[\p{L}0-9_.~-]*/)+[\p{L}0-9_-]*\p{L}[\p{L}0-9_-]*\.[a-z][a-z0-9]{0,4}\b");
    let text = rewrite(text, path, |site| {
        let home = site.group(0).strip_prefix("~/").map(|rest| format!("home/{rest}"));
        Some(home.as_deref().unwrap_or(site.group(0)).replace("../", "up ").replace("./", "").replace('/', " slash "))
    });
    let text = rewrite(&text, pattern!(r"\.([a-z][a-z0-9]*|[A-Z]{2,})\b"), |site| {
        let word: String = site.before.chars().rev().take_while(|c| !c.is_whitespace()).collect();
        let named = word.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-')).count();
        // One letter before the dot is an abbreviation (`e.g.`), unless the name is longer
        // (`a.tar.gz` has been read).
        let start = word.is_empty() || word.ends_with(['(', '"', '/']) && named == 0;
        (named > 1 && word.starts_with(char::is_alphanumeric) || start).then(|| format!(" dot {}", site.group(1)))
    });
    rewrite(&text, pattern!(r"(\p{Ll})([.?!])(\p{Lu}\p{Ll})"), |site| {
        Some(format!("{}{} {}", site.group(1), site.group(2), site.group(3)))
    })
}

fn dots(name: &str) -> String {
    name.chars().fold(String::new(), |mut words, c| {
        match c {
            '.' => words.push_str(" dot "),
            '-' => words.push_str(" dash "),
            '_' => words.push_str(" underscore "),
            '+' => words.push_str(" plus "),
            '%' => words.push_str(" percent "),
            _ => words.push(c),
        }
        words
    })
}
