//! Roman numerals: `Louis XIV` is "Louis the fourteenth", `World War II` "World War two".
//!
//! Many are also words, initials or sizes (`CD`, `MIX`, `I`, `XL`). So a numeral counts only after
//! a word for something numbered or after a name, and the shorter it is, the more certain that word
//! must be.

use super::english::{cardinal, ordinal, year};
use super::rewrite::{Site, pattern, rewrite};
use crate::tts::abbreviations::{holds, is_name};

/// Words for things that are numbered: after these even a single letter is a numeral.
const COUNTED: &str = "\
    Act Amendment Annex Apollo Appendix Article Bowl Book Canto Category Chapter Class Corps \
    Division Episode Factor Fantasy Figure Form Godfather Grade Group Level Olympiad Opus Part \
    Phase Quadrant Rambo Region Rocky Rule Scene Schedule Season Section Stage Step Symphony \
    Table Tier Title Type Unit Vatican Volume War Wars WrestleMania Zone";

/// Words of the list above after which "I" may be the pronoun: "the Book I read".
const SPOKEN_OF: &str = "Book Chapter Episode Figure Form Part Rule Scene Season Step Table";

/// Titles before a ruler's name.
const TITLES: &str = "\
    Archduke Caliph Count Czar Duke Earl Emperor Empress Kaiser Khan King Patriarch Pharaoh Pope \
    Prince Princess Queen Shah Sultan Tsar";

/// Names of rulers and popes, and first names of people who are the second or third of that name.
const NAMES: &str = "\
    Abbas Abdulhamid Abdullah Adolf Albert Alexander Alexios Alfonso Amenhotep Andrew Anne \
    Antiochus Artaxerxes Arthur August Augustus Baldwin Basil Bela Benedict Boniface Boris Carl \
    Carlos Catherine Celestine Charles Christian Christopher Clement Cleopatra Conrad \
    Constantine Cyrus Daniel Darius David Edmund Edward Elizabeth Emmanuel Eric Erik Eugene \
    Faisal Farouk Felipe Ferdinand Francis Franz Frederick Friedrich George Gregory Gustav \
    Haakon Harald Harold Harry Hassan Heinrich Henri Henry Howard Hugh Hussein Innocent Isabella \
    Ivan James Jean John Johann Joseph Juan Julius Karl Kenneth Leo Leopold Louis Ludwig Magnus \
    Mahmud Manuel Margaret Margrethe Martin Mary Maximilian Mehmed Michael Mohammed Muhammad \
    Murad Napoleon Nicholas Olaf Olav Oscar Otto Paul Pedro Peter Philip Philippe Pius Ptolemy \
    Rama Rameses Ramesses Ramses Richard Robert Rudolf Samuel Sancho Selim Seti Sigismund Sixtus \
    Stephen Suleiman Theodore Thomas Thutmose Thurston Umberto Urban Victor Victoria Vittorio \
    Vladimir Walter Wilhelm Willem William Xerxes";

/// Nouns after a numeral that is an ordinal: `the XIX century`.
const ORDERED: &str = "century centuries dynasty Dynasty Olympiad Amendment Corps Legion Congress";

/// Numerals that are also words, sizes or initials of other things: a name alone does not make them
/// numbers.
const AMBIGUOUS: &str = "\
    I V X C D L M CC CD CI CL CM CV CX DC DI DIV DL DM DV DX LI LV MC MD MI MIX ML MM MV MX XL \
    XX XXL XXX LIV MIDI MILL CIVIC IV VI";

pub(super) fn numerals(text: &str) -> String {
    let text = rewrite(text, pattern!(r"\b([IVXLCDM]+)( [A-Za-z]+)"), |site| {
        let ordered = holds(ORDERED, site.group(2).trim());
        let value =
            value(site.group(1)).filter(|_| ordered && !matches!(site.group(1), "I" | "C" | "D" | "L" | "M"))?;
        Some(format!("{}{}", ordinal(value), site.group(2)))
    });
    let text = rewrite(&text, pattern!(r"\bWW(II?|[12])\b"), |site| {
        let number = if matches!(site.group(1), "I" | "1") { "one" } else { "two" };
        Some(format!("World War {number}"))
    });
    let text = listed(&text);
    rewrite(&text, pattern!(r"\b(\p{Lu}[\p{L}'.]*) ([IVXLCDM]+)\b('s)?"), |site| {
        let number = behind_name(site)?;
        Some(format!("{} {number}{}", site.group(1), site.group(3)))
    })
}

/// Reads numerals after the thing they number: `Parts I, II and IV`.
fn listed(text: &str) -> String {
    let list = pattern!(r"\b(\p{L}+) ([IVXLCDM]+(?:(?:,? (?:and|or|to|through|&)|,| ?[-–/]) ?[IVXLCDM]+)*)\b");
    rewrite(text, list, |site| {
        let word = site.group(1);
        let mut letters = word.strip_suffix('s').filter(|one| holds(COUNTED, one)).unwrap_or(word).chars();
        let capital: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
        let singles = !pattern!(r"\b[CDLM]\b").is_match(site.group(2));
        // "Part I was" is one, "in this part I was" is not.
        let counted = holds(COUNTED, &capital) && (word.starts_with(char::is_uppercase) || site.group(2).len() > 1);
        let goes_on = matches!(site.next(), Some('\'' | '-')) && !site.after.starts_with("'s");
        let speaker = site.group(2) == "I" && holds(SPOKEN_OF, word) && !is_followed_as_number(site.after);
        if !counted || !singles || goes_on || speaker {
            return None;
        }
        let list = pattern!(r" ?[-–/] ?").replace_all(site.group(2), " to ");
        let said = rewrite(&list, pattern!(r"[IVXLCDM]+"), |one| value(one.group(0)).map(cardinal));
        Some(format!("{word} {said}"))
    })
}

/// Number of a numeral after a capitalised word that is not in the list of numbered things.
fn behind_name(site: &Site) -> Option<String> {
    let (name, numeral) = (site.group(1), site.group(2));
    let value = value(numeral).filter(|_| is_name(name) || holds(TITLES, name))?;
    let earlier: Vec<&str> = site.before.split_whitespace().rev().take(3).collect();
    let titled = earlier.iter().any(|word| holds(TITLES, word));
    let capitals = earlier.iter().take_while(|word| word.starts_with(char::is_uppercase));
    let person = holds(NAMES, name) || capitals.clone().any(|word| holds(NAMES, word));
    let sure = match numeral {
        "I" => titled || person && (!site.group(3).is_empty() || is_followed_as_number(site.after)),
        "V" | "X" => titled || holds(NAMES, name) && site.before.split_whitespace().next_back() != Some("and"),
        "IV" | "VI" => true,
        _ => !holds(AMBIGUOUS, numeral) || titled,
    };
    match numeral.len() {
        _ if !sure => None,
        4.. if value >= 1000 => Some(year(value)),
        _ if titled || person => Some(format!("the {}", ordinal(value))),
        1 => None,
        _ => Some(cardinal(value)),
    }
}

/// Whether the text after an `I` shows that it is a number, and not the pronoun.
fn is_followed_as_number(after: &str) -> bool {
    let follows = pattern!(
        r"^(?:$|[.,;:)!?]| (?:of|was|is|and|to|reigned|ruled|became|died|succeeded|ascended|abdicated|begins|began",
        r"|ended|starts|covers)\b)"
    );
    follows.is_match(after)
}

/// Value of a Roman numeral in its usual form, up to 3999.
fn value(numeral: &str) -> Option<u64> {
    let usual = pattern!(r"^M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})$");
    if numeral.is_empty() || !usual.is_match(numeral) {
        return None;
    }
    let digit = |letter| match letter {
        'I' => 1,
        'V' => 5,
        'X' => 10,
        'L' => 50,
        'C' => 100,
        'D' => 500,
        _ => 1000,
    };
    let digits: Vec<u64> = numeral.chars().map(digit).collect();
    let signed = digits.iter().enumerate().map(|(at, digit)| {
        let before_larger = digits.get(at + 1).is_some_and(|next| next > digit);
        if before_larger { -(*digit as i64) } else { *digit as i64 }
    });
    u64::try_from(signed.sum::<i64>()).ok()
}

#[cfg(test)]
mod tests {
    use super::{numerals, value};

    #[test]
    fn numerals_have_values_in_their_usual_form() {
        for (numeral, number) in
            [("XIV", Some(14)), ("LVIII", Some(58)), ("MCMXCIX", Some(1999)), ("IIX", None), ("", None)]
        {
            assert_eq!(value(numeral), number, "{numeral}");
        }
    }

    #[test]
    fn numerals_count_only_behind_names_and_counted_words() {
        for (written, said) in [
            ("World War II ended", "World War two ended"),
            ("World Wars I and II, WWII", "World Wars one and two, World War two"),
            ("Louis XIV and Henry VIII's wives", "Louis the fourteenth and Henry the eighth's wives"),
            ("Queen Elizabeth I died", "Queen Elizabeth the first died"),
            ("Pope John Paul II", "Pope John Paul the second"),
            ("Thurston Howell III", "Thurston Howell the third"),
            ("Final Fantasy VII and Rocky IV", "Final Fantasy seven and Rocky four"),
            ("type II diabetes, Type I too", "type two diabetes, Type one too"),
            ("Chapter V, Part X", "Chapter five, Part ten"),
            ("the XIX century", "the nineteenth century"),
            ("Copyright MCMXCIX", "Copyright nineteen ninety-nine"),
            ("Charles V ruled", "Charles the fifth ruled"),
            ("Malcolm X, Mary and I, a CD, Vitamin C, Plan D", "Malcolm X, Mary and I, a CD, Vitamin C, Plan D"),
            ("With Mary I went. In this part I sing.", "With Mary I went. In this part I sing."),
            ("Washington DC, size XL, John MD", "Washington DC, size XL, John MD"),
        ] {
            assert_eq!(numerals(written), said);
        }
    }
}
