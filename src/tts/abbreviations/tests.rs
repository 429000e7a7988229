use super::*;

#[test]
fn full_stops_are_told_by_what_follows() {
    for (before, after, stop) in [
        ("Gen", " Lee", Stop::Shortens),
        ("approx", " Ten", Stop::Shortens),
        ("in the apt", " B", Stop::Shortens),
        ("On Jan", " 5", Stop::Shortens),
        ("in Jan", " We", Stop::Ends),
        ("Mon", " Jan. 5", Stop::Shortens),
        ("the Sun", " It", Stop::Ends),
        ("add 3 tbsp", " sugar", Stop::Shortens),
        ("add 3 tbsp", " Stir", Stop::Ends),
        ("5lbs", " of", Stop::Shortens),
        ("5 in", " tall", Stop::Shortens),
        ("he came in", " then", Stop::Ends),
        ("No", " 5", Stop::Shortens),
        ("See Eq", " (4)", Stop::Shortens),
        ("no", " (4)", Stop::Shortens),
        ("No", " II", Stop::Shortens),
        ("No", " I did", Stop::Ends),
        ("at 5 p.m", " We", Stop::Ends),
        ("at 5 p.m", " Monday", Stop::Shortens),
        ("at 5 p.m", " on", Stop::Shortens),
        ("J", " K. Rowling", Stop::Shortens),
        ("J.R.R", " Tolkien", Stop::Shortens),
        ("vitamin C", " It", Stop::Ends),
        ("vitamin C", " it", Stop::Ends),
        ("W", " van Gogh", Stop::Shortens),
        ("E", " coli", Stop::Shortens),
        ("the U S", " troops", Stop::Ends),
        ("blood type O", " Plan", Stop::Ends),
        ("72°F", " Rain", Stop::Ends),
        ("Louis C. K", " is", Stop::Shortens),
        ("So did I", " Good", Stop::Ends),
        ("the U.S", " Senate", Stop::Shortens),
        ("the U.S", " He", Stop::Ends),
        ("the U.S", " GDP", Stop::Shortens),
        ("(b", " 1950)", Stop::Shortens),
        ("plan b", " It", Stop::Ends),
        ("the U.S", " troops", Stop::Shortens),
        ("on Main St", " They", Stop::Ends),
        ("on Main St", " NW", Stop::Shortens),
        ("near St", " They", Stop::Shortens),
        ("Ask Dr", " The", Stop::Shortens),
        ("5th Ave", " is", Stop::Shortens),
        ("on 5th St", " It", Stop::Ends),
        ("King Jr", " Day", Stop::Shortens),
        ("King Jr", " He", Stop::Ends),
        ("Los Angeles, CA", " He", Stop::Ends),
        ("max", " Five", Stop::Ends),
        ("max", " five", Stop::Shortens),
        ("etc", " (see", Stop::Shortens),
        ("etc", "", Stop::Ends),
        ("dogs", " they", Stop::Ends),
    ] {
        assert_eq!(full_stop(before, After::whole(after)), stop, "{before:?}.{after:?}");
    }
}

/// Compares the judgement of a growing text, once there is one, with that of the whole.
#[test]
fn growing_text_is_judged_as_the_whole() {
    let befores =
        ["No", "at 5 p.m", "J", "the U.S", "on Main St", "King Jr", "Acme Inc", "3 tbsp", "Mon", "max", "C.S"];
    let afters = [
        " It was", " Italy", " Monday", " Mond", " (5)", " (x", " V", " VI b", " A b", " Senate", " The", " Theo",
        " 5", " \"So", " Day", " Days", " I am", " van", " GDP", " GDp", " vans", " it", " NW", " ( 5", " ",
    ];
    for (before, after) in befores.iter().flat_map(|before| afters.map(|after| (before, after))) {
        let judged: Vec<Stop> = (0..=after.len()).map(|end| full_stop(before, After::growing(&after[..end]))).collect();
        let certain: Vec<&Stop> = judged.iter().skip_while(|stop| **stop == Stop::Unknown).collect();
        assert!(certain.iter().all(|stop| *stop == certain[0]), "{before:?}.{after:?}: {judged:?}");
    }
}

#[test]
fn every_abbreviation_is_found() {
    for known in ABBREVIATIONS {
        let head = match known.role {
            AbbreviationRole::Measure => "5 ",
            _ => "(",
        };
        assert_eq!(find(head, known.written).map(|found| found.said), Some(known.said), "{}", known.written);
    }
}
