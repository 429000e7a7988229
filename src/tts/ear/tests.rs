use super::for_ear;

/// Checks a table of the text that a model writes and the text for the voice.
fn check(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .map(|(written, expected)| (written, expected, for_ear(written)))
        .filter(|(_, expected, heard)| heard != *expected)
        .map(|(written, expected, heard)| format!("{written:?}\n  expected {expected:?}\n  heard    {heard:?}"))
        .collect();
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), table.len(), wrong.join("\n"));
}

#[test]
fn markdown_leaves_only_its_text() {
    check(&[
        ("", ""),
        ("   \n\t ", ""),
        ("# Title", "Title"),
        ("## Title ##\nText follows", "Title. Text follows"),
        ("This is *really* **very** ***good***.", "This is really very good."),
        ("This is _really_ __very__ good.", "This is really very good."),
        ("un**believ**able", "unbelievable"),
        ("- one thing\n- another", "one thing. another"),
        ("* [x] done\n* [ ] open", "done. open"),
        ("1. Mix.\n2. Bake.", "one, Mix. two, Bake."),
        ("2.", "two."),
        ("> quoted", "quoted"),
        ("Run `cargo test` now.", "Run cargo test now."),
        ("Set `max_width` first.", "Set max width first."),
        ("Here:\n```rust\nfn main() {}\n```\nDone.", "Here: Done."),
        ("Here:\n```\nnever closed", "Here:"),
        ("Use ```this``` now", "Use this now"),
        ("| Name | Age |\n|---|:-:|\n| Ann | 30 |", "Name, Age. Ann, thirty"),
        ("Read [the book](https://example.com/a_(b)).", "Read the book."),
        ("![a red cat](cat.png)", "a red cat"),
        ("[![logo](l.png)](https://x.org) here", "logo here"),
        ("See [this][1] and that[2].", "See this and that."),
        ("[1]: https://example.com", ""),
        ("Line one<br>line two, <b>bold</b> &amp; free", "Line one line two, bold and free"),
        ("Above\n\n---\n\nBelow", "Above. Below"),
        ("~~old~~ new", "old new"),
        ("A soft\nwrap stays one.", "A soft wrap stays one."),
        ("2 * 3 = 6 and 2*3", "two times three equals six and two times three"),
        (r"Not \*bold\*", "Not bold"),
    ]);
}

#[test]
fn addresses_are_read_by_what_matters() {
    check(&[
        ("Write to ann@example.com.", "Write to ann at example dot com."),
        (
            "Write to first_last-x@mail.example.org!",
            "Write to first underscore last dash x at mail dot example dot org!",
        ),
        ("See https://www.example.com/a/b?c=1#d.", "See example dot com."),
        ("See https://example.org/a_(b) here", "See example dot org here"),
        ("See https://example.com.", "See example dot com."),
        ("(http://localhost:8080/x)", "localhost"),
        ("Go to www.rust-lang.org, then stop.", "Go to rust dash lang dot org, then stop."),
        ("Try docs.rs or example.org/me today", "Try docs dot rs or example dot org today"),
        ("Open <https://example.com/x>", "Open example dot com"),
        ("Edit main.rs and Cargo.toml.", "Edit main dot rs and Cargo dot toml."),
        ("Node.js and .NET", "Node dot js and dot NET"),
        ("It ended.Then it began.", "It ended. Then it began."),
        ("Ping 192.168.1.1", "Ping one hundred ninety-two dot one hundred sixty-eight dot one dot one"),
    ]);
}

#[test]
fn telephones_are_read_digit_by_digit() {
    check(&[
        ("Call 555-123-4567.", "Call five five five, one two three, four five six seven."),
        ("(555) 123-4567", "five five five, one two three, four five six seven"),
        ("+1 555 123 4567", "plus one, five five five, one two three, four five six seven"),
        ("+44 20 7946 0958", "plus four four, two zero, seven nine four six, zero nine five eight"),
        ("020 7946 0958", "zero two zero, seven nine four six, zero nine five eight"),
        ("1-800-555-0199", "one, eight zero zero, five five five, zero one nine nine"),
        ("Dial 911 now", "Dial nine one one now"),
        ("call 555-1234", "call five five five, one two three four"),
    ]);
}

#[test]
fn dates_and_times_are_said_as_people_say_them() {
    check(&[
        ("2024-03-05", "March fifth, twenty twenty-four"),
        ("On 2024-03-05T14:05:00Z it ran", "On March fifth, twenty twenty-four, at fourteen oh five it ran"),
        ("2024-13-05", "two zero two four, one three, zero five"),
        ("in 2024-03", "in March twenty twenty-four"),
        ("March 5, 2024", "March fifth, twenty twenty-four"),
        ("March 5th", "March fifth"),
        ("Sept. 5 and Dec 31", "September fifth and December thirty-first"),
        ("on 5 March 2024", "on the fifth of March, twenty twenty-four"),
        ("the 21st of June", "the twenty-first of June"),
        ("July 4-6", "July fourth to sixth"),
        ("3/5/2024", "March fifth, twenty twenty-four"),
        ("25/12/2024", "December twenty-fifth, twenty twenty-four"),
        ("at 7:30", "at seven thirty"),
        ("at 14:05.", "at fourteen oh five."),
        ("at 10:00 am", "at ten a m"),
        ("at 10:00", "at ten o'clock"),
        ("at 10:00 a.m. we go", "at ten a m we go"),
        ("We go at 10 a.m. Be there at 5 P.M.", "We go at ten a m. Be there at five p m."),
        ("at 12:00 noon", "at twelve noon"),
        ("Is it a.m. or p.m.?", "Is it a m or p m?"),
        ("7pm", "seven p m"),
        ("9am-5pm", "nine a m to five p m"),
        ("9:00–17:30", "nine o'clock to seventeen thirty"),
        ("9-5 pm", "nine to five p m"),
        ("15:00 and 0:00", "fifteen hundred and midnight"),
        ("a 16:9 screen", "a sixteen to nine screen"),
        ("odds of 3:1", "odds of three to one"),
        ("the 1990s and the '80s", "the nineteen nineties and the eighties"),
        ("I am 5 and he is", "I am five and he is"),
    ]);
}

#[test]
fn prices_have_their_currency() {
    check(&[
        ("$3.50", "three dollars and fifty cents"),
        ("$1", "one dollar"),
        ("$1.01", "one dollar and one cent"),
        ("$0.50", "fifty cents"),
        ("$5.00", "five dollars"),
        ("$1,234.56", "one thousand two hundred thirty-four dollars and fifty-six cents"),
        ("€20 and £5", "twenty euros and five pounds"),
        ("£1.20", "one pound and twenty pence"),
        ("20 € or 20 EUR", "twenty euros or twenty euros"),
        ("$2 million", "two million dollars"),
        ("$2.5M or $50k", "two point five million dollars or fifty thousand dollars"),
        ("I paid 5$ for it", "I paid five dollars for it"),
        ("-$5", "minus five dollars"),
        ("$5-10", "five to ten dollars"),
        ("$5-$10", "five dollars to ten dollars"),
        ("$10/month", "ten dollars per month"),
        ("¥500", "five hundred yen"),
    ]);
}

#[test]
fn quantities_have_their_units() {
    check(&[
        ("50%", "fifty percent"),
        ("-2.5 %", "minus two point five percent"),
        ("10-20%", "ten to twenty percent"),
        ("5 km", "five kilometers"),
        ("1 m", "one meter"),
        ("1,500 m", "one thousand five hundred meters"),
        ("a 5-km run", "a five kilometer run"),
        ("20 °C", "twenty degrees Celsius"),
        ("-5°C", "minus five degrees Celsius"),
        ("68℉", "sixty-eight degrees Fahrenheit"),
        ("1°", "one degree"),
        ("3.5 GB", "three point five gigabytes"),
        ("60 mph", "sixty miles per hour"),
        ("100 km/h", "one hundred kilometers per hour"),
        ("9.8 m/s²", "nine point eight meters per second squared"),
        ("10-20 km", "ten to twenty kilometers"),
        ("50 m²", "fifty square meters"),
        ("10kg.", "ten kilograms."),
        ("1/2 km", "one half of a kilometer"),
        ("1 1/2 km and 3/4 oz", "one and a half kilometers and three quarters of an ounce"),
        ("3/4 tsp salt", "three quarters teaspoon salt"),
        ("1 tsp. vanilla", "one teaspoon vanilla"),
        ("It weighs 5 lb. Then", "It weighs five pounds. Then"),
        ("5 ft 10 in tall", "five feet ten inches tall"),
        ("24 hours/day", "twenty-four hours per day"),
        ("5'10\" tall", "five foot ten tall"),
        ("10k users on 4K", "ten thousand users on four K"),
        ("5 apples", "five apples"),
        ("at 5 in the morning", "at five in the morning"),
    ]);
}

#[test]
fn numbers_are_words() {
    check(&[
        ("0", "zero"),
        ("42", "forty-two"),
        ("100", "one hundred"),
        ("1,234,567", "one million two hundred thirty-four thousand five hundred sixty-seven"),
        ("3.14", "three point one four"),
        ("3.10", "three point one zero"),
        (".5", "point five"),
        ("-7", "minus seven"),
        ("−7", "minus seven"),
        ("1.2.3", "one point two point three"),
        ("v2.0", "version two point zero"),
        ("007", "zero zero seven"),
        (
            "12345678901234567890",
            "one two three four five six seven eight nine zero one two three four five six seven eight nine zero",
        ),
        ("1,2,3", "one, two, three"),
    ]);
}

#[test]
fn numbers_stand_in_relations() {
    check(&[
        ("1/2", "one half"),
        ("3/4 of it", "three quarters of it"),
        ("2/3", "two thirds"),
        ("1 1/2 cups", "one and a half cups"),
        ("2½ cups", "two and a half cups"),
        ("8/10", "eight out of ten"),
        ("50/50", "fifty fifty"),
        ("5 000 000", "five million"),
        ("3 × 10^8 m/s", "three times ten to the eighth power meters per second"),
        ("3x - 5", "three x minus five"),
        ("978-3-16-148410-0", "nine seven eight, three, one six, one four eight four one zero, zero"),
        ("4.5/5 stars", "four point five out of five stars"),
        ("100,000 - 200,000", "one hundred thousand to two hundred thousand"),
        ("24/7", "twenty-four seven"),
        ("5/37", "five over thirty-seven"),
        ("1st 2nd 3rd 12th 22nd 100th", "first second third twelfth twenty-second one hundredth"),
        ("10-20", "ten to twenty"),
        ("10 – 20", "ten to twenty"),
        ("1939-1945", "nineteen thirty-nine to nineteen forty-five"),
        ("5 - 3 = 2", "five minus three equals two"),
        ("1999", "nineteen ninety-nine"),
        ("2005", "two thousand five"),
        ("1905", "nineteen oh five"),
        ("1900", "nineteen hundred"),
        ("2000", "two thousand"),
        ("2,005", "two thousand five"),
        ("2100", "two thousand one hundred"),
        ("3000", "three thousand"),
        ("GPT-4", "GPT four"),
        ("H2O", "H two O"),
        ("a 24-hour day", "a twenty-four-hour day"),
        ("1920x1080", "nineteen twenty by one thousand eighty"),
        ("6.02e23", "six point zero two times ten to the power of twenty-three"),
        ("10^6 and x²", "ten to the sixth power and x squared"),
        ("１２", "twelve"),
    ]);
}

#[test]
fn abbreviations_are_said_in_full() {
    check(&[
        ("Dr. Lee met Mr. and Mrs. Ray.", "Doctor Lee met Mister and Missus Ray."),
        ("Ms. Poe and Prof. Li", "Miz Poe and Professor Li"),
        ("St. Paul", "Saint Paul"),
        ("on Main St.", "on Main Street."),
        ("on Main St. today", "on Main Street today"),
        ("12 Elm Dr. is it", "twelve Elm Drive is it"),
        ("fruit, e.g. apples", "fruit, for example, apples"),
        ("fruit, e.g., apples", "fruit, for example, apples"),
        ("it, i.e. that", "it, that is, that"),
        ("pens, etc. are here", "pens, et cetera are here"),
        ("pens, etc.", "pens, et cetera."),
        ("cats vs. dogs vs birds", "cats versus dogs versus birds"),
        ("approx. 5", "approximately five"),
        ("No. 5 is alive", "number five is alive"),
        ("No. I do not.", "No. I do not."),
        ("King Jr. and Sr.", "King junior and senior."),
        ("the U.S. is", "the U S is"),
        ("J.R.R. Tolkien", "J R R Tolkien"),
        ("with a Ph.D. in it", "with a P H D in it"),
        ("coffee w/ milk w/o sugar", "coffee with milk without sugar"),
        ("NASA and the FBI", "NASA and the FBI"),
    ]);
}

#[test]
fn signs_are_named_or_dropped() {
    check(&[
        ("salt & pepper", "salt and pepper"),
        ("2 + 2 = 4", "two plus two equals four"),
        ("C++ and C#", "C plus plus and C sharp"),
        ("me @ home", "me at home"),
        ("we're #1", "we're number one"),
        ("3 × 4 ÷ 2", "three times four divided by two"),
        ("and/or he/she", "and or he or she"),
        ("TCP/IP and I/O", "TCP IP and I O"),
        ("in /usr/bin", "in slash usr slash bin"),
        ("in ~/notes", "in home slash notes"),
        ("day/night", "day or night"),
        ("~20", "about twenty"),
        ("a < b > c", "a less than b greater than c"),
        ("x >= 3", "x is greater than or equal to three"),
        ("Wait… what", "Wait. what"),
        ("Wait...", "Wait."),
        ("“Fancy” ‘quotes’ don’t hurt", "Fancy quotes don't hurt"),
        ("a — b—c – d", "a, b, c, d"),
        ("this (and that) too", "this, and that, too"),
        ("the file(s)", "the files"),
        ("well-known", "well-known"),
        ("A → B", "A to B"),
        ("Hi 👋🏽 there 😀!", "Hi there!"),
        ("🎉", ""),
        ("👨‍👩‍👧 🇺🇸 ℹ️ ™ ©", ""),
        ("1️⃣ first", "one first"),
        ("What?! No!!!", "What? No!"),
        ("too   many\tspaces", "too many spaces"),
        ("...", ""),
        ("====", ""),
        ("Café naïve 東京", "Café naïve"),
        ("--verbose", "verbose"),
    ]);
}
