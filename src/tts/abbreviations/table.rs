//! Tables of abbreviations, and of the words that decide what their full stop does, in lists
//! separated by spaces.

use super::Abbreviation;
use super::AbbreviationRole::{Before, Clipped, Counter, Date, Measure, Noun, TitleOrRoad};

const fn entry(written: &'static str, said: &'static str, role: super::AbbreviationRole) -> Abbreviation {
    Abbreviation { written, said, role }
}

pub(super) const MONTHS: &str = "\
    January February March April May June July August September October November December Jan \
    Feb Mar Apr Jun Jul Aug Sept Sep Oct Nov Dec";

/// Words that continue a sentence after `a.m.` and `p.m.`: days, months and time zones.
const WHEN: &str = "\
    Monday Tuesday Wednesday Thursday Friday Saturday Sunday Mon Tue Tues Wed Thu Thurs Fri Sat \
    Sun January February March April June July August September October November December EST \
    EDT ET CST CDT CT MST MDT MT PST PDT PT GMT UTC BST CET CEST IST JST Eastern Central \
    Mountain Pacific Greenwich";

/// Words that continue a sentence after `Jr.`: things named after people.
const NAMED_AFTER: &str = "\
    Day Dr Drive Blvd Boulevard Ave Avenue St Street Way High School Park Memorial Center \
    Library Building";

/// Words that continue a sentence after a company's `Inc.` or `Co.`.
const COMPANY: &str = "Inc Ltd LLC Chairman CEO CFO President Chief Magazine";

/// Abbreviations sorted by role. The same letters may stand for two things: the first one that fits
/// is meant.
pub(super) const ABBREVIATIONS: &[Abbreviation] = &[
    entry("Dr", "Doctor", TitleOrRoad),
    entry("St", "Saint", TitleOrRoad),
    entry("Mr", "Mister", Before),
    entry("Mrs", "Missus", Before),
    entry("Ms", "Miz", Before),
    entry("Messrs", "Messrs", Before),
    entry("Prof", "Professor", Before),
    entry("Gen", "General", Before),
    entry("Col", "Colonel", Before),
    entry("Maj", "Major", Before),
    entry("Capt", "Captain", Before),
    entry("Lt", "Lieutenant", Before),
    entry("Sgt", "Sergeant", Before),
    entry("Cpl", "Corporal", Before),
    entry("Pvt", "Private", Before),
    entry("Adm", "Admiral", Before),
    entry("Cmdr", "Commander", Before),
    entry("Rev", "Reverend", Before),
    entry("Fr", "Father", Before),
    entry("Msgr", "Monsignor", Before),
    entry("Hon", "Honorable", Before),
    entry("Sen", "Senator", Before),
    entry("Sens", "Senators", Before),
    entry("Rep", "Representative", Before),
    entry("Reps", "Representatives", Before),
    entry("Gov", "Governor", Before),
    entry("Pres", "President", Before),
    entry("Supt", "Superintendent", Before),
    entry("Amb", "Ambassador", Before),
    entry("Det", "Detective", Before),
    entry("Mt", "Mount", Before),
    entry("Mts", "Mountains", Before),
    entry("Ft", "Fort", Before),
    entry("Pt", "Point", Before),
    entry("vs", "versus", Before),
    entry("approx", "approximately", Before),
    entry("ca", "circa", Before),
    entry("cf", "compare", Before),
    entry("e.g", "for example,", Before),
    entry("i.e", "that is,", Before),
    entry("viz", "namely", Before),
    entry("esp", "especially", Before),
    entry("incl", "including", Before),
    entry("excl", "excluding", Before),
    entry("dept", "department", Before),
    entry("univ", "university", Before),
    entry("bldg", "building", Before),
    entry("apt", "apartment", Before),
    entry("ste", "suite", Before),
    entry("rm", "room", Before),
    entry("vol", "volume", Before),
    entry("vols", "volumes", Before),
    entry("chap", "chapter", Before),
    entry("eq", "equation", Before),
    entry("eqs", "equations", Before),
    entry("figs", "figures", Before),
    entry("nos", "numbers", Before),
    entry("nr", "number", Before),
    entry("pp", "pages", Before),
    entry("rte", "route", Before),
    entry("ext", "extension", Before),
    entry("tel", "telephone", Before),
    entry("no", "number", Counter),
    entry("p", "page", Counter),
    entry("fig", "figure", Counter),
    entry("ch", "chapter", Counter),
    entry("ver", "version", Counter),
    entry("est", "established", Counter),
    entry("art", "article", Counter),
    entry("par", "paragraph", Counter),
    entry("para", "paragraph", Counter),
    entry("b", "born", Counter),
    entry("d", "died", Counter),
    entry("c", "circa", Counter),
    entry("fl", "flourished", Counter),
    entry("op", "opus", Counter),
    entry("ref", "reference", Counter),
    entry("ex", "example", Counter),
    entry("sect", "section", Counter),
    entry("in", "inches", Measure),
    entry("mi", "miles", Measure),
    entry("ft", "feet", Measure),
    entry("min", "minutes", Measure),
    entry("sec", "seconds", Measure),
    entry("sec", "section", Counter),
    entry("gal", "gallons", Measure),
    entry("pt", "pints", Measure),
    entry("wk", "weeks", Measure),
    entry("mo", "months", Measure),
    entry("doz", "dozen", Measure),
    entry("lb", "pound", Noun("")),
    entry("lbs", "pounds", Noun("")),
    entry("oz", "ounces", Noun("")),
    entry("tsp", "teaspoon", Noun("")),
    entry("tsps", "teaspoons", Noun("")),
    entry("tbsp", "tablespoon", Noun("")),
    entry("tbsps", "tablespoons", Noun("")),
    entry("qt", "quarts", Noun("")),
    entry("qts", "quarts", Noun("")),
    entry("pts", "points", Noun("")),
    entry("pkg", "package", Noun("")),
    entry("yd", "yards", Noun("")),
    entry("yds", "yards", Noun("")),
    entry("hr", "hour", Noun("")),
    entry("hrs", "hours", Noun("")),
    entry("mins", "minutes", Noun("")),
    entry("secs", "seconds", Noun("")),
    entry("yr", "year", Noun("")),
    entry("yrs", "years", Noun("")),
    entry("wks", "weeks", Noun("")),
    entry("mos", "months", Noun("")),
    entry("Jan", "January", Date("")),
    entry("Feb", "February", Date("")),
    entry("Mar", "March", Date("")),
    entry("Apr", "April", Date("")),
    entry("Jun", "June", Date("")),
    entry("Jul", "July", Date("")),
    entry("Aug", "August", Date("")),
    entry("Sept", "September", Date("")),
    entry("Sep", "September", Date("")),
    entry("Oct", "October", Date("")),
    entry("Nov", "November", Date("")),
    entry("Dec", "December", Date("")),
    entry("Mon", "Monday", Date(MONTHS)),
    entry("Tue", "Tuesday", Date(MONTHS)),
    entry("Tues", "Tuesday", Date(MONTHS)),
    entry("Wed", "Wednesday", Date(MONTHS)),
    entry("Thu", "Thursday", Date(MONTHS)),
    entry("Thur", "Thursday", Date(MONTHS)),
    entry("Thurs", "Thursday", Date(MONTHS)),
    entry("Fri", "Friday", Date(MONTHS)),
    entry("Sat", "Saturday", Date(MONTHS)),
    entry("Sun", "Sunday", Date(MONTHS)),
    entry("a.m", "a m", Noun(WHEN)),
    entry("p.m", "p m", Noun(WHEN)),
    entry("a.k.a", "a k a", Before),
    entry("ph.d", "P H D", Noun("")),
    entry("etc", "et cetera", Noun("")),
    entry("al", "al", Noun("")),
    entry("Jr", "junior", Noun(NAMED_AFTER)),
    entry("Sr", "senior", Noun(NAMED_AFTER)),
    entry("Esq", "esquire", Noun("")),
    entry("Inc", "incorporated", Noun(COMPANY)),
    entry("Ltd", "limited", Noun(COMPANY)),
    entry("Corp", "corporation", Noun(COMPANY)),
    entry("Co", "company", Noun(COMPANY)),
    entry("Bros", "brothers", Noun("Pictures Entertainment Records Discovery Animation")),
    entry("Assn", "association", Noun("")),
    entry("Ave", "avenue", Noun(ROAD_FOLLOWERS)),
    entry("Blvd", "boulevard", Noun(ROAD_FOLLOWERS)),
    entry("Rd", "road", Noun(ROAD_FOLLOWERS)),
    entry("Ln", "lane", Noun(ROAD_FOLLOWERS)),
    entry("Ct", "court", Noun(ROAD_FOLLOWERS)),
    entry("Pl", "place", Noun(ROAD_FOLLOWERS)),
    entry("Sq", "square", Noun(ROAD_FOLLOWERS)),
    entry("Hwy", "highway", Noun(ROAD_FOLLOWERS)),
    entry("Pkwy", "parkway", Noun(ROAD_FOLLOWERS)),
    entry("max", "maximum", Clipped),
    entry("min", "minimum", Clipped),
    entry("temp", "temperature", Clipped),
    entry("misc", "miscellaneous", Clipped),
    entry("gov", "government", Clipped),
    entry("govt", "government", Clipped),
    entry("corp", "corporation", Clipped),
    entry("inc", "incorporated", Clipped),
    entry("ave", "avenue", Clipped),
    entry("blvd", "boulevard", Clipped),
];

/// Words that continue a sentence after a road: `Main St. NW`.
pub(super) const ROAD_FOLLOWERS: &str = "\
    NW NE SW SE North South East West Station Bridge Theatre Theater Bakery Apt Suite Ste Unit \
    Journal Market Hospital School Church Park Pier Hotel Cafe";

/// Acronyms of a country, a place or a degree, as opposed to a person's initials.
pub(super) const ACRONYMS: &str = "\
    U.S U.S.A U.K U.N E.U U.A.E U.S.S.R D.C N.Y N.Y.C L.A B.C A.D B.C.E C.E M.D J.D D.D.S B.A \
    B.S B.Sc M.A M.S M.Sc M.B.A R.I.P P.S R.N D.I.Y A.M P.M C.E.O A.I T.V F.B.I C.I.A N.A.S.A \
    R.S.V.P P.O";

/// Words that continue a sentence after such an acronym: `U.S. Senator`.
pub(super) const ACRONYM_FOLLOWERS: &str = "\
    Agency Air Ambassador Army Assembly Attorney Bank Box Bureau Capitol Census Centers Chamber \
    Charter Christmas Citizenship Civil Climate Coast Code Commerce Commission Committee \
    Congress Constitution Convention Council Court Customs Declaration Defense Democrat \
    Democratic Democrats Department District Dollar Dollars Economic Education Embassy Energy \
    English Environmental Fed Federal Fish Food Forces Forest General Geological Government \
    Grand Highway House Human Independence Justice Labor Marine Marines Marshal Marshals Masters \
    Men Military Mint National Naval Navy News Olympic Olympics Open Parliament Patent Postal \
    President Presidential Presidents Prime Representative Representatives Republican \
    Republicans Route Secretary Security Senate Senator Senators Soccer Space State States Steel \
    Supreme Territories Territory Trade Treasuries Treasury Vice Virgin Women";

/// Words after which a letter is a name of its own and no initial: `vitamin C`.
pub(super) const LABELS: &str = "\
    answer apartment appendix block building category chapter choice class column drive exhibit \
    factor figure gate gen generation grade group hepatitis influenza key letter level line \
    model note option part phase plan point question room row schedule section series size suite \
    table team terminal type unit variable version vitamin zone";

/// Words with a small letter that follow an initial: in names of people, and of species.
pub(super) const NAME_PARTS: &str = "\
    van von de del della der den da di du dos la le ter ten bin ibn al el y coli sapiens rex \
    elegans aureus pylori cerevisiae melanogaster erectus pneumoniae subtilis difficile \
    botulinum albicans vulgaris officinalis lupus catus";

/// Words that begin many sentences and are hardly anybody's name.
pub(super) const STARTERS: &str = "\
    A About According After All Also Although An And Another Are As At Because Before Both But \
    By Can Could Did Do Does During Each Even Every Finally First For From Given Has Have He Her \
    Here His How However I If In Instead Is It Its Later Let Like Many Maybe More Most My Next \
    No Not Now Of On Once One Only Or Other Our Over Perhaps Please She Should Since So Some \
    Such Take That The Their Then There Therefore These They This Those Though Through Thus To \
    Today Two Under Unlike Until Was We Were What When Where Whether Which While Who Why With \
    Without Would Yes You Your";
