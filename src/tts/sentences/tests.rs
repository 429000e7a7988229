use proptest::prelude::*;

use super::*;

/// Cuts `text`, in which every `|` is an expected cut, and compares.
fn check(language: &str, table: &[&str]) {
    for row in table {
        let pieces: Vec<_> = row.split('|').map(str::trim).filter(|piece| !piece.is_empty()).collect();
        let text = row.replace("| ", "").replace('|', "");
        assert_eq!(Sentences::expecting(language).cut_all(&text), pieces, "{text:?}");
    }
}

#[test]
fn sentences_are_cut_where_they_end() {
    let table: &[(&str, &[&str])] = &[
        ("", &[]),
        ("Hello", &["Hello"]),
        ("Paris. It is big.", &["Paris.", "It is big."]),
        ("Dr. Smith met Mr. Jones. They left.", &["Dr. Smith met Mr. Jones.", "They left."]),
        ("Pi is 3.14 or so. Yes!", &["Pi is 3.14 or so.", "Yes!"]),
        ("See example.com for more. Bye.", &["See example.com for more.", "Bye."]),
        ("He said \"Stop!\" Then he left.", &["He said \"Stop!\"", "Then he left."]),
        ("Fruit, e.g. apples, is good. Eat it.", &["Fruit, e.g. apples, is good.", "Eat it."]),
        (
            "J. R. Tolkien wrote it. I did. So did I. Good.",
            &["J. R. Tolkien wrote it.", "I did.", "So did I.", "Good."],
        ),
        ("Wait... what? No!", &["Wait...", "what?", "No!"]),
        ("First:\n1. Wake up.\n2. Go.", &["First:", "1. Wake up.", "2. Go."]),
        ("The capital of France is Paris, and it is old.", &["The capital of France is Paris,", "and it is old."]),
        ("Yes, it is, as far as I know.", &["Yes,", "it is, as far as I know."]),
        ("Sure, I can help you with that, Sir.", &["Sure,", "I can help you", "with that, Sir."]),
        ("I'm sorry, but I cannot. Sure, why?", &["I'm sorry,", "but I cannot.", "Sure, why?"]),
        ("Sure! Yes, it is.", &["Sure!", "Yes, it is."]),
        ("Apples, pears and nuts.", &["Apples, pears and nuts."]),
        ("It is a small town in the north of Italy.", &["It is a small town", "in the north of Italy."]),
        ("你好。今天好吗？好！", &["你好。", "今天好吗？", "好！"]),
        ("<think>Hmm. Let me see.</think>Four.", &["Four."]),
        ("Try this:\n```rust\nfn main() {}\n```\nIt works.", &["Try this:", "It works."]),
        ("😀 🎉", &[]),
        ("a < b and b <thin", &["a < b and b <thin"]),
        ("Yes. On Jan. 5 we met. In Feb. We parted.", &["Yes.", "On Jan. 5 we met.", "In Feb.", "We parted."]),
        ("Add 3 tbsp. sugar and 2 oz. butter. Stir.", &["Add 3 tbsp. sugar", "and 2 oz. butter.", "Stir."]),
        ("Bake it for 20 min. Then eat.", &["Bake it for 20 min.", "Then eat."]),
        ("J. K. Rowling, J.R.R. Tolkien, C. S. Lewis.", &["J. K. Rowling, J.R.R. Tolkien,", "C. S. Lewis."]),
        ("He weighs about 160 lbs. and costs much.", &["He weighs about 160 lbs", "and costs much."]),
        ("He is only 5 ft. 4 in. tall.", &["He is only 5 ft. 4 in. tall."]),
        ("Eat vitamin C. It helps.", &["Eat vitamin C.", "It helps."]),
        ("No. I do not. See No. 5.", &["No.", "I do not.", "See No. 5."]),
        ("At 5 p.m. Monday or 6 p.m. We left.", &["At 5 p.m. Monday", "or 6 p.m.", "We left."]),
        ("The U.S. Senate met in the U.S. He won.", &["The U.S. Senate met", "in the U.S.", "He won."]),
        ("Apples, etc. They are red. Pears, etc. are not.", &["Apples, etc.", "They are red.", "Pears, etc. are not."]),
        ("St. John's St. is near Dr. King Jr. Dr.", &["St. John's St. is near Dr. King Jr. Dr."]),
        ("I live on Main St. It is long.", &["I live on Main St.", "It is long."]),
        ("See Fig. 3, Eq. (4) and Vol. II. Done.", &["See Fig. 3, Eq. (4)", "and Vol. II.", "Done."]),
        ("It was on May 5, 2024, or so.", &["It was on May 5, 2024,", "or so."]),
    ];
    for (text, pieces) in table {
        assert_eq!(Sentences::cut(text), *pieces, "{text:?}");
    }
}

#[test]
fn german() {
    check(
        "de",
        &[
            "Obst, z. B. Äpfel | und Birnen, ist gesund. | Iss mehr davon.",
            "Ja. | Viele Länder, z.B. Österreich, sprechen Deutsch.",
            "Ja. | Das ist neu, d. h. noch nicht erprobt. | Vorsicht!",
            "Ja. | Dr. Müller und Prof. Schmidt kommen am Montag. | Gut.",
            "Gut. | Am 3. Oktober feiert Deutschland die Einheit. | Schön.",
            "Gut. | Der 2. Weltkrieg endete 1945. | Danach kam der Frieden.",
            "Gut. | Das war am 24. Dezember 1999. | Es schneite.",
            "Gut. | Ludwig XIV. regierte lange. | Sehr lange.",
            "Gut. | Im 19. Jahrhundert war das anders. | Heute nicht.",
            "Gut. | Sie ist 12. | Er ist 40.",
            "Pi ist etwa 3,14. | Mehr braucht man selten.",
            "Gut. | Das kostet 1.299,50 Euro. | Teuer!",
            "Gut. | Er sagte: „Komm her.“ | Dann ging er.",
            "Gut. | »Wirklich?« | Sie nickte.",
            "Gut. | Wir treffen uns um 14.30 Uhr. | Bis dann!",
            "Gut. | Es gibt Hunde, Katzen usw. | Alle sind lieb.",
            "Gut. | Es gibt Hunde, Katzen usw. auf dem Hof. | Alle sind lieb.",
            "Gut. | Die Strecke ist ca. 300 km lang bzw. etwas mehr. | Fahr los.",
            "Die Hauptstadt von Frankreich ist Paris.",
            "Natürlich, | das ist Paris.",
            "Die Hauptstadt von Deutschland ist Berlin, | und sie ist groß.",
            "Berlin ist eine große Stadt | mit vielen Museen.",
            "Gut. | Das Buch hat 300 Seiten, vgl. Nr. 5 oben. | Lies es.",
            "Gut. | Am 3. 10. 1990 war es so weit. | Fertig.",
            "Schritte:\n | 1. Wasser kochen.\n | 2. Tee ziehen lassen.",
        ],
    );
}

#[test]
fn french() {
    check(
        "fr",
        &[
            "Bonjour ! | Comment allez-vous ? | Je vais bien.",
            "Bonjour\u{a0}! | Comment ça va\u{202f}? | Très bien.",
            "Oui. | M. Dupont et Mme Martin arrivent demain. | Attendez-les.",
            "Oui. | Il a dit : « Venez ici. » | Puis il est parti.",
            "Oui. | « Vraiment ? » | Elle sourit.",
            "Oui. | Des fruits, p. ex. des pommes, sont bons. | Mangez-en.",
            "Oui. | Il y a des chats, des chiens, etc. | Ils sont gentils.",
            "Oui. | Des chats, des chiens, etc. vivent ici. | Ils dorment.",
            "Pi vaut environ 3,14. | C’est suffisant.",
            "Oui. | Le train part à 14 h 30. | Ne tardez pas.",
            "Oui. | Mlle Petit et le Dr. Roux sont là. | Entrez.",
            "La capitale de la France est Paris, | et c'est une grande ville.",
            "Paris est une grande ville | qui attire beaucoup de monde.",
            "Bien sûr ; c'est possible.",
            "Bien sûr, | c'est possible.",
            "Il est arrivé hier soir ; | il repart demain.",
            "Oui. | J. Verne est né en 1828. | Il a beaucoup écrit.",
            "Voici :\n | 1. Lavez les pommes.\n | 2. Coupez-les.",
            "Oui. | Cela coûte 1 299,50 euros. | C'est cher !",
            "Oui. | Louis XIV est mort en 1715. | Il avait 76 ans.",
        ],
    );
}

#[test]
fn spanish() {
    check(
        "es",
        &[
            "¡Hola! | ¿Cómo estás? | Bien.",
            "Claro que sí, | con mucho gusto.",
            "Sí. | El Sr. García y la Dra. López llegan hoy. | Espérelos.",
            "Sí. | Los EE. UU. tienen cincuenta estados. | Son muchos.",
            "Sí. | Vive en EE. UU. | Le gusta mucho.",
            "Sí. | Los EE.UU. son grandes. | México también.",
            "Sí. | Frutas, p. ej. manzanas, son buenas. | Cómalas.",
            "Sí. | Hay gatos, perros, etc. | Todos duermen.",
            "Sí. | Hay gatos, perros, etc. en la casa. | Todos duermen.",
            "Pi es más o menos 3,14. | Eso basta.",
            "Sí. | Cuesta 1.299,50 euros. | ¡Qué caro!",
            "Sí. | Dijo: «Ven aquí». | Luego se fue.",
            "Sí. | «¿De verdad?» | Ella sonrió.",
            "La capital de España es Madrid, | y es muy grande.",
            "Madrid es una ciudad grande | con muchos museos.",
            "Sí. | Como Ud. sabe, el aprox. 5 por ciento no vota. | Es poco.",
            "Sí. | Roma fue fundada en el s. VIII a. C. según la leyenda. | Es antigua.",
            "Sí. | Nació el 3 de mayo de 1980. | Vive en Lima.",
            "Pasos:\n | 1. Hierva el agua.\n | 2. Espere.",
        ],
    );
}

#[test]
fn thai() {
    check(
        "th",
        &[
            "สวัสดีครับ | ผมชื่อสมชาย",
            "สวัสดีค่ะ | วันนี้มีอะไรให้ช่วยไหมคะ",
            "เมืองหลวงของประเทศไทยคือกรุงเทพมหานคร | เป็นเมืองที่มีประชากรมากที่สุด",
            "วันนี้ อากาศดีมากในกรุงเทพ | ท้องฟ้าแจ่มใส",
            "ราคาสินค้าทั้งหมดคือ 250 บาทเท่านั้นนะครับ | ขอบคุณครับ",
            "ปีนี้คือปี พ.ศ. 2567 ตามปฏิทินไทย",
            "ดร. สมศักดิ์เป็นอาจารย์ที่มหาวิทยาลัย | เขาสอนวิชาฟิสิกส์",
            "เขาใช้ iPhone และคอมพิวเตอร์ทุกวัน",
            "อาหารอร่อยมาก ๆ เลยนะครับ | ลองชิมดูสิ",
            "จริงเหรอ? | ไม่น่าเชื่อเลย!",
            "ค่าพายมีค่าประมาณ 3.14 เท่านั้น",
            "ขั้นตอน:\n | 1. ต้มน้ำ\n | 2. ใส่ชา",
            "ได้ครับ | เดี๋ยวผมจะเปิดไฟให้",
            "ภาษาไทยเป็นภาษาที่สวยงาม | \"สวัสดี\" แปลว่า hello",
            "ประเทศไทยมีผลไม้มากมาย | เช่น มะม่วง ทุเรียน | มังคุด",
        ],
    );
}

#[test]
fn chinese() {
    check(
        "zh",
        &[
            "你好。|今天天气很好！|要出去吗？",
            "法国的首都是巴黎，|它是一座古老的城市。",
            "当然，我可以帮你。",
            "圆周率约为3.14。|这已经够用了。",
            "他说：“你好。”|然后走了。",
            "“真的吗？”|她笑了。",
            "「你好。」|他说。",
            "水果有苹果、香蕉、|橙子等等。",
            "好的!|我马上来。",
            "我今天很忙很累,|没有时间。",
            "步骤如下：\n|1. 烧水。\n|2. 泡茶。",
            "今天是2024年10月3日；|明天是周五。",
            "请访问example.com了解更多。|谢谢！",
            "iPhone 15有多种颜色，|你可以选择。",
            "太棒了！！|真的？！|是的。",
            "（他笑了。）|我们继续吧。",
            "《红楼梦》是一部小说。|作者是曹雪芹。",
        ],
    );
}

#[test]
fn japanese() {
    check(
        "ja",
        &[
            "こんにちは。|お元気ですか？|はい！",
            "日本の首都は東京です。|とても大きな都市です。",
            "東京は日本の首都で、|人口が最も多い都市です。",
            "はい、そうです。|何かお手伝いしましょうか。",
            "彼は「はい。」と言いました。|そして帰りました。",
            "「本当ですか？」|彼女は笑いました。",
            "『吾輩は猫である。』って知っていますか？|夏目漱石の小説です。",
            "円周率は約3.14です。|それで十分です。",
            "わかりました!|すぐに行きます。",
            "手順：\n|1. お湯を沸かす。\n|2. お茶を入れる。",
            "今日は10月3日です。|明日は金曜日です。",
            "（笑いながら。）|では、始めましょう。",
            "すごい！！|本当に？！|はい。",
            "うーん…そうですね。|考えてみます。",
            "iPhoneを使っていますか。|便利ですよ。",
            "詳しくはexample.comをご覧ください。|どうぞ。",
        ],
    );
}

#[test]
fn a_text_tells_its_language_better_than_who_asked() {
    for (expected, text, pieces) in [
        ("en", "Der Termin ist am 3. Oktober. Gut.", &["Der Termin ist am 3. Oktober.", "Gut."][..]),
        ("de", "In the end it was 40. They left.", &["In the end it was 40.", "They left."]),
        (
            "fr",
            "The cats and the dogs that live on St. Mary Rd.",
            &["The cats and the dogs", "that live on St. Mary Rd."],
        ),
        ("it", "Va bene. Fine.", &["Va bene.", "Fine."]),
        ("", "Nosotros vivimos en una casa, con el Sr. Paz.", &["Nosotros vivimos en una casa,", "con el Sr. Paz."]),
    ] {
        assert_eq!(Sentences::expecting(expected).cut_all(text), pieces);
    }
}

#[test]
fn a_sentence_is_handed_on_as_soon_as_it_is_certain() {
    let mut sentences = Sentences::new();
    assert!(sentences.push("It is Paris.").is_empty(), "a quote may follow");
    assert_eq!(sentences.push(" "), ["It is Paris."]);
    assert!(sentences.push("In the U.S. ").is_empty(), "a small letter may follow");
    assert_eq!(sentences.push("It"), ["In the U.S."]);
    assert_eq!(sentences.finish().as_deref(), Some("It"));
    assert_eq!(sentences.finish(), None);

    let mut sentences = Sentences::expecting("ja");
    assert_eq!(sentences.push("東京は日本の首都で、"), ["東京は日本の首都で、"], "nothing can change that");
    let mut sentences = Sentences::expecting("th");
    assert!(sentences.push("สวัสดีครับ ").is_empty(), "a number may follow");
    assert_eq!(sentences.push("ผม"), ["สวัสดีครับ"]);
}

#[test]
fn an_endless_text_is_cut_at_spaces() {
    let text = "word ".repeat(200);
    let pieces = Sentences::cut(&text);
    assert!(pieces.len() >= 4 && pieces.iter().all(|piece| piece.len() <= LONGEST), "{pieces:?}");
    assert_eq!(pieces.join(" "), text.trim());
    assert!(Sentences::cut(&"x".repeat(2000)).iter().all(|piece| piece.len() <= LONGEST));
}

#[test]
fn where_there_are_no_spaces_it_is_cut_between_words_or_syllables() {
    let last = |text: &str| Sentences::cut(&text.repeat(40)).first().unwrap().chars().next_back().unwrap();
    assert_eq!(last("東京タワーと「コーヒー」"), 'と', "not in a word of katakana, nor behind what opens");
    assert_eq!(last("ภาษาเขียน"), 'า', "before a vowel that begins a syllable");
    assert_eq!(Sentences::cut(&"é".repeat(300)).concat(), "é".repeat(300));
    let accents = "e\u{301}".repeat(200);
    assert!(Sentences::cut(&accents).iter().all(|piece| piece.starts_with('e')), "not between a letter and its accent");
}

/// Texts that language models write in seven languages, and some that they should not.
const PROSE: [&str; 10] = [
    "On Jan. 5, 2024, Mr. J. K. Lee of Main St. NW ate 3 tbsp. of it, No. 5, Fig. (4), at 5 p.m. Monday, Inc. (so) \
     U.S. Senate. King Jr. Day. vitamin C. It was. Vol. II. No. I do, etc. They left the U.S. In Feb. We met J.R.R. \
     Tolkien. The U.S. GDP, e.g. so. W. van Gogh, 5 ft. 4 in. tall, ate 160 lbs. and left. plan b. c. 1900 ",
    "Dr. Smith paid $3.14 (i.e. \"too much\"). Really?! Yes, because he could, and so on...\n1. One.\n",
    "Am 3. Oktober, d. h. übermorgen, kommt Hr. Maier ca. um 14.30 Uhr. „Gut.“ Sie ist 12. Er usw. »Ja?« ",
    "M. Dupont a dit : « Venez ici. » Puis, p. ex. hier, etc. Vraiment ? Oui\u{a0}! 3,14 ",
    "¡Hola! ¿Qué tal? El Sr. Paz vive en EE. UU. desde el s. XX, etc. Dijo: «Sí». ",
    "สวัสดีครับ ผมชื่อสมชาย ราคา 250 บาท พ.ศ. 2567 มาก ๆ ค่ะ ภาษาไทยเป็นภาษาที่สวยงาม จริงเหรอ? ",
    "你好。法国的首都是巴黎，它很古老；“真的吗？”她说!好的,我来……《红楼梦》（好。）",
    "「はい。」と言いました。東京は日本の首都で、人口が多い。うーん…そうですね。コーヒー『本？』",
    "<think>x</think>```a.```e\u{301}\u{302} 👩‍👩‍👧 ",
    "नमस्ते। हाँ। مرحبا؟ ",
];

fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

prop_compose! {
    /// Random stretches of the prose above.
    fn prose()(parts in prop::collection::vec((0..PROSE.len(), 0usize..120, 1usize..60), 0..8)) -> String {
        let part = |(n, from, length): &(usize, usize, usize)| -> String {
            PROSE[*n].chars().cycle().skip(*from).take(*length).collect()
        };
        parts.iter().map(part).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_split_gives_the_same_pieces(
        text in prop_oneof![prose(), "[a-zA-Z0-9 .,!?\"')\n<`。ü]{0,600}"],
        expected in prop::sample::select(vec!["", "en", "de", "fr", "es", "th", "zh", "ja"]),
        lengths in prop::collection::vec(1usize..9, 1..9),
    ) {
        let mut sentences = Sentences::expecting(expected);
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        for length in lengths.iter().cycle() {
            let end = rest.char_indices().nth(*length).map_or(rest.len(), |(at, _)| at);
            pieces.extend(sentences.push(&rest[..end]));
            rest = &rest[end..];
            if rest.is_empty() {
                break;
            }
        }
        pieces.extend(sentences.finish());
        prop_assert_eq!(pieces, Sentences::expecting(expected).cut_all(&text));
    }

    #[test]
    fn no_letter_is_lost(text in prop_oneof![prose(), "[a-zA-Z0-9 .,!?\"')\n。ü]{0,600}"]) {
        let plain = text.replace(['<', '`'], "");
        let pieces = Sentences::cut(&plain);
        prop_assert_eq!(letters(&squeezed(&pieces.concat())), letters(&plain));
        prop_assert!(pieces.iter().all(|piece| piece.len() <= LONGEST + LOOKAHEAD));
    }
}
