use super::Language;

pub(super) static ENGLISH: Language = Language {
    code: "en",
    shortened: &[
        "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "e.g", "i.e", "approx", "no", "fig", "inc",
        "ltd", "co", "corp", "dept", "est", "min", "max", "gen", "col", "sgt", "capt", "lt", "mt", "ph.d", "a.m",
        "p.m",
    ],
    shortened_at_the_end: &[],
    shortens_to_a_letter: false,
    ordinals: None,
    joints: &[
        "and", "but", "or", "because", "which", "who", "that", "when", "where", "while", "with", "for", "from", "to",
        "in", "on", "by",
    ],
    frequent: &[
        "the", "and", "is", "are", "of", "to", "that", "it", "you", "with", "this", "was", "have", "for", "not", "be",
        "your", "i", "they", "can",
    ],
};
