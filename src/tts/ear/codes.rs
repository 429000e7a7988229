//! Numbers that are no amounts but strings of digits, and are read digit by digit: codes, cards,
//! postal codes, and the numbers of emergency services. The words around them decide.

use super::english::digits;
use super::rewrite::{Site, pattern, rewrite};
use crate::tts::abbreviations::holds;

/// Numbers of emergency services and help lines in some country.
const EMERGENCY: &str = "\
    000 100 101 102 103 105 108 110 111 112 113 115 116 117 118 119 120 122 123 133 144 190 191 192 \
    193 199 211 311 411 511 611 711 811 911 988 995 997 998 999";

/// Reads every such number in `text`.
pub(super) fn codes(text: &str) -> String {
    let text = emergency(&short_codes(&cards(&named(text))));
    // State and ZIP code: `CA 90210`.
    let state = pattern!(
        r"\b(A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT",
        r"|V[AT]|W[AIVY]),? ([0-9]{5}(?:-[0-9]{4})?)\b"
    );
    rewrite(&text, state, |site| Some(format!("{} {}", site.group(1), each(site.group(2)))))
}

/// Reads the number after its name: `PIN 9808`, `ZIP codes 90210 and 10001`.
fn named(text: &str) -> String {
    let code = pattern!(
        r"(?i)\b((?:zip|pin|ssn|otp|cvv|cvc|iban|imei|isbn|upc|passcode|password|postcode|extension|ext\.?",
        r"|(?:postal|area|access|security|entry|door|gate|error|status|country|verification|confirmation|booking",
        r"|sort|zip|pin|pass|dialing) codes?|(?:account|routing|serial|order|card|tracking|reference|confirmation",
        r"|ticket|case|invoice|model|policy|member|membership|customer|license|registration|social security",
        r"|student|employee|insurance|passport|pin|id) (?:numbers?|no\.|ids?|#)|(?:code|password|pin) (?:is|was)",
        r"|combination|ending in|ends in|last (?:four|4)(?: digits)?)(?:s\b)?",
        r"(?: (?:codes?|numbers?|is|was|are|will be|of|to|as|for|be))*[:=]? ?#?)",
        r"([0-9]{3,}(?:-[0-9]{2,}| [0-9]{3,})*(?:(?:,? (?:and|or)|,) [0-9]{3,}\b)*)"
    );
    rewrite(text, code, |site| {
        // An amount is followed by a noun, a sign or decimals.
        let amount = pattern!(r"^(?:[.,:][0-9]|%| ?[€£]| (?:percent|dollars|euros|pounds|people|times|characters))");
        (!amount.is_match(site.after) && !glued(site)).then(|| {
            let name = pattern!(r"(?i)\bno\.").replace(site.group(1), "number");
            format!("{name}{}", each(site.group(2)))
        })
    })
}

/// Reads the number to which a word is sent: `Text HOME to 741741`.
fn short_codes(text: &str) -> String {
    rewrite(text, pattern!(r#"\b([Tt]ext ["']?\p{L}+["']? to )([0-9]{5,6})\b"#), |site| {
        Some(format!("{}{}", site.group(1), digits(site.group(2))))
    })
}

/// Reads cards in groups of four digits (one kind has six and five), and account numbers such as
/// `DE89 3704 0044`.
fn cards(text: &str) -> String {
    let card = pattern!(
        r"\b(?:[0-9]{4}(?:[ -][0-9]{4}){3}|3[0-9]{3}[ -][0-9]{6}[ -][0-9]{5}|[0-9]{16})\b",
        r"|\b[A-Z]{2}[0-9]{2}(?: [0-9A-Z]{4}){3,7}(?: [0-9A-Z]{1,4})?\b"
    );
    // Address of a network card, or a colour.
    let hexadecimal = pattern!(r"(?i)\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b|#[0-9a-f]{6}\b");
    let text = rewrite(text, hexadecimal, |site| {
        let groups: Vec<String> =
            site.group(0).trim_start_matches('#').split(':').map(|group| each(&group.to_uppercase())).collect();
        Some(groups.join(", "))
    });
    rewrite(&text, card, |site| {
        let groups: Vec<String> = site.group(0).split([' ', '-']).map(each).collect();
        Some(groups.join(", "))
    })
}

/// Reads `Call 999 or 112`, and `911` where it is called.
fn emergency(text: &str) -> String {
    let called = pattern!(
        r"(?i)\b((?:call|calls|called|calling|dial|dials|dialed|dialing|phone|ring|text|press|number|hotline|helpline",
        r"|lifeline|ambulance|police|fire department|emergency services?)",
        r"(?: (?:is|are|at|on|the number|number|using))*:? \(?)([0-9]{3}(?:(?: \([^()]*\))?(?:,? or|,? and|,|/) ?[0-9]{3}\b)*)\b"
    );
    let text = rewrite(text, called, |site| {
        let known = site.group(2).split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
        let counted = pattern!(
            r"^(?:-[0-9]|[.,:/%][0-9]|%",
            r"| (?:people|times|customers|friends|employees|patients|users|of|more|other|different))"
        );
        // Such a number is rarely a telephone's.
        let vague = pattern!(r"(?i)^(?:press|number)").is_match(site.group(1));
        let listed = if vague { "000 112 911 988 995 999" } else { EMERGENCY };
        let emergency = known.into_iter().all(|number| holds(listed, number)) && !counted.is_match(site.after);
        emergency.then(|| format!("{}{}", site.group(1), each(site.group(2))))
    });
    let alone = pattern!(
        r"\b(911|112|999|988|000)( \((?:the )?[A-Z]| (?:operator|dispatcher|call|calls|is the|is for|emergency|in an emergency|Suicide",
        r"|Crisis|Lifeline)\b)"
    );
    rewrite(&text, alone, |site| {
        let prior = site.before.ends_with([',', '.', '$', '-', '/']);
        (!prior).then(|| format!("{}{}", digits(site.group(1)), site.group(2)))
    })
}

/// Whether a number continues in letters.
fn glued(site: &Site) -> bool {
    site.next().is_some_and(char::is_alphanumeric)
}

/// Reads each digit and each capital by its name, with a pause between groups; words stay.
pub(super) fn each(text: &str) -> String {
    let spelled = pattern!(r"\b[0-9A-Z]+\b").replace_all(text, |group: &regex::Captures| {
        let names = group[0].chars().map(|c| if c.is_ascii_digit() { digits(&c.to_string()) } else { c.to_string() });
        names.collect::<Vec<_>>().join(" ")
    });
    // Only a space or a dash separates two groups.
    pattern!(r"\b(zero|one|two|three|four|five|six|seven|eight|nine|[A-Z])-").replace_all(&spelled, "$1, ").into_owned()
}
