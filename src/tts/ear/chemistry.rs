//! Chemical formulas, letter by letter: a voice would read `CO` in `CO2` as a word.

use super::rewrite::{pattern, rewrite};

pub(super) fn formulas(text: &str) -> String {
    let formula = pattern!(
        r"\b(?:(?:He|Li|Be|Ne|Na|Mg|Al|Si|Cl|Ar|Ca|Sc|Ti|Cr|Mn|Fe|Co|Ni|Cu|Zn|Ga|Ge|As|Se|Br|Kr|Rb|Sr|Zr|Nb|Mo|Ag|Cd",
        r"|Sn|Sb|Te|Xe|Cs|Ba|La|Ce|Pt|Au|Hg|Tl|Pb|Bi|Rn|Ra|Th|Pu|[HBCNOFPSKVYIWU])[0-9]{0,3}){2,}e?\b"
    );
    rewrite(text, formula, |site| {
        let whole = site.group(0);
        let digits = whole.contains(|c: char| c.is_ascii_digit());
        let named = pattern!(r"^[A-Z]{3,}[0-9]+$").is_match(whole) && !pattern!(r"O[0-9]$").is_match(whole);
        let small = whole.chars().filter(|c| c.is_lowercase()).count();
        let elements = whole.chars().filter(|c| c.is_uppercase()).count();
        // No element appears twice in a row: `WW2`.
        let twice = whole.as_bytes().windows(2).any(|pair| pair[0] == pair[1] && pair[0].is_ascii_uppercase());
        // Without a number it must not resemble anything else: `NaCl`.
        let formula = if digits { !named && !twice } else { small > 0 && elements > 1 && whole.len() < 6 };
        formula.then(|| pattern!(r"([A-Z])|([a-z])|([0-9]+)").replace_all(whole, letter).trim().to_owned())
    })
}

fn letter(part: &regex::Captures) -> String {
    format!("{} ", part[0].to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::formulas;

    #[test]
    fn formulas_are_told_from_names() {
        for (written, said) in [
            ("CO2, H2O, CO2e and C6H12O6", "C O 2, H 2 O, C O 2 E and C 6 H 12 O 6"),
            ("HNO3 or NaCl", "H N O 3 or N A C L"),
            ("COP28, WW2, MP3, A4, USB, Neo, HBO, PhD, LaTeX", "COP28, WW2, MP3, A4, USB, Neo, HBO, PhD, LaTeX"),
        ] {
            assert_eq!(formulas(written), said);
        }
    }
}
