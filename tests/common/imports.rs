//! Names in the imports of Rust code. Shared by the tests of the rooms and of their modules.

/// Names behind a path, at the beginning of `rest`: one, or those of a list in braces, without what
/// is nested in them.
pub fn names(rest: &str) -> Vec<&str> {
    let word = |text: &str| text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let Some(list) = rest.strip_prefix('{') else { return vec![&rest[..word(rest)]] };
    let (mut depth, mut fresh, mut found) = (0, true, Vec::new());
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            _ if fresh && !letter.is_whitespace() => {
                found.push(&list[at..][..word(&list[at..])]);
                fresh = false;
            }
            _ => {}
        }
    }
    found
}
