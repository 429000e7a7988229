use super::{Listed, SentenceRules, Shortening};

pub(super) static SPANISH: SentenceRules = SentenceRules {
    code: "es",
    shortening: Shortening::Listed(Listed {
        words: &[
            "sr", "sra", "srta", "sres", "dr", "dra", "dres", "ud", "uds", "vd", "vds", "dña", "p.ej", "ej", "ee",
            "núm", "nro", "pág", "págs", "tel", "tfno", "aprox", "av", "avda", "gral", "ing", "lic", "prof", "profa",
            "sto", "sta", "cía", "vol", "cap", "art", "máx", "mín", "fig", "vs", "admón", "depto",
        ],
        at_the_end: &["etc", "uu", "ee.uu"],
        ordinals: None,
    }),
    joints: &[
        "y", "pero", "o", "porque", "que", "cuando", "donde", "mientras", "aunque", "con", "para", "desde", "en",
        "por", "sobre", "como", "sin",
    ],
    openers: &[
        "sí",
        "no",
        "bueno",
        "bien",
        "claro",
        "claro que sí",
        "por supuesto",
        "vale",
        "de acuerdo",
        "hola",
        "gracias",
        "lo siento",
        "perdón",
        "desde luego",
        "exacto",
        "lamentablemente",
    ],
    frequent: &[
        "el", "los", "las", "es", "y", "en", "una", "por", "con", "para", "del", "se", "su", "está", "como", "más",
        "pero", "son", "muy", "al", "lo", "puedo", "usted", "hay", "fue",
    ],
};
