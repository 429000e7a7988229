use super::{Listed, SentenceRules, Shortening};

pub(super) static FRENCH: SentenceRules = SentenceRules {
    code: "fr",
    shortening: Shortening::Listed(Listed {
        words: &[
            "mm", "mme", "mmes", "mlle", "mlles", "dr", "pr", "mgr", "st", "ste", "p.ex", "ex", "c.-à-d", "c-à-d",
            "av", "apr", "env", "chap", "vol", "fig", "tél", "bd", "boul", "cf", "vs", "min", "max", "hab", "éd",
            "janv", "févr", "juil", "sept", "oct", "nov", "déc",
        ],
        at_the_end: &["etc"],
        ordinals: None,
    }),
    joints: &[
        "et", "mais", "ou", "parce", "car", "qui", "que", "quand", "où", "lorsque", "avec", "pour", "dans", "sur",
        "par", "depuis", "afin", "tandis", "en", "sans",
    ],
    openers: &[
        "oui",
        "non",
        "bien",
        "bien sûr",
        "d'accord",
        "d’accord",
        "certainement",
        "absolument",
        "bonjour",
        "salut",
        "merci",
        "désolé",
        "désolée",
        "je suis désolé",
        "je suis désolée",
        "malheureusement",
        "exactement",
        "eh bien",
    ],
    frequent: &[
        "le", "les", "est", "et", "des", "une", "vous", "je", "il", "elle", "dans", "pour", "avec", "sur", "nous",
        "qui", "ce", "sont", "pas", "du", "au", "ne", "plus", "être", "ou", "votre", "mais",
    ],
};
