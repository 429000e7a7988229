use super::*;

#[test]
fn sentences_hang_or_are_finished() {
    use Completeness::{Finished, Incomplete, Unknown};
    for (text, language, expected) in [
        ("What time is it?", "en", Finished),
        ("Turn it on.", "en", Finished),
        ("Yes, please.", "en", Finished),
        ("Tell me where I am.", "en", Finished),
        ("Turn on the light", "en", Unknown),
        ("", "en", Unknown),
        ("Turn on the.", "en", Incomplete),
        ("I would like to", "en", Incomplete),
        ("Could you please", "en", Incomplete),
        ("Well, the weather is.", "en", Incomplete),
        ("I was thinking, and.", "en", Incomplete),
        ("Milk, eggs,", "en", Incomplete),
        ("So I thought...", "en", Incomplete),
        ("Set a timer for ten.", "en", Incomplete),
        ("My number is 0 7 9", "en", Incomplete),
        ("What is five plus seven?", "en", Unknown),
        ("“Is it raining?”", "en", Finished),
        ("Wie spät ist es?", "de", Finished),
        ("Che ore sono?", "it", Unknown),
        ("Ich möchte,", "de", Incomplete),
        ("What time is it?", "", Finished),
    ] {
        assert_eq!(completeness(text, language), expected, "{text}");
    }
}

#[test]
fn nods_are_whole_utterances() {
    for (text, language, nod) in [
        ("Mhm.", "en", true),
        ("Uh-huh.", "en", true),
        ("Yeah, okay, right.", "en", true),
        ("I see.", "en", true),
        ("Okay, stop.", "en", false),
        ("Right now.", "en", false),
        ("No.", "en", false),
        ("", "en", false),
        ("Ach so!", "de", true),
        ("Genau, aber warte.", "de", false),
        ("うんうん。", "ja", true),
        ("好的。", "zh", true),
        ("ครับ", "th", true),
        ("D’accord.", "fr", true),
        ("Ja.", "en", false),
        ("Ja.", "", true),
    ] {
        assert_eq!(is_backchannel(text, language), nod, "{text}");
    }
    for (text, stop) in
        [("Stop!", true), ("Stop, stop.", true), ("Stop the timer.", false), ("停止。", true), ("", false)]
    {
        assert_eq!(is_stop(text), stop, "{text}");
    }
}

#[test]
fn our_own_words_are_an_echo() {
    let said = "The capital of France is Paris. It lies on the river Seine. Would you like tea or coffee?";
    for (heard, short_too, echo) in [
        ("The capital of France is Paris.", true, true),
        ("capital of Trance is Paris", true, true),
        ("lies on the river", false, true),
        ("What is the capital of Germany?", true, false),
        ("the river the tea", true, false),
        ("It lies on the river, stop!", true, false),
        ("It lies on the river Seine, but how long?", true, false),
        ("Coffee.", false, false),
        ("Coffee.", true, true),
        ("Stop.", true, false),
        ("", true, false),
    ] {
        assert_eq!(is_echo(heard, said, short_too), echo, "{heard}");
    }
    assert!(!is_echo("hello", "", true));
}

#[test]
fn seven_languages_hang_and_finish() {
    use Completeness::{Finished, Incomplete, Unknown};
    let table: &[(&str, &[(&str, Completeness)])] = &[
        (
            "de",
            &[
                ("Mach das Licht an.", Finished),
                ("Was ist das?", Finished),
                ("Sag mir, wie spät es ist.", Finished),
                ("Licht aus, bitte.", Finished),
                ("Könntest du bitte.", Incomplete),
                ("Ich möchte mit dem.", Incomplete),
                ("Milch und.", Incomplete),
                ("Was ist der Unterschied zwischen", Incomplete),
                ("Wo bin ich?", Finished),
                ("Stell den Timer auf zehn.", Incomplete),
                ("Was ist fünf plus sieben?", Unknown),
                ("Meine Nummer ist null sieben neun", Incomplete),
                ("Mach das Licht", Unknown),
                ("„Regnet es?“", Finished),
            ],
        ),
        (
            "fr",
            &[
                ("Quelle heure est-il ?", Finished),
                ("Prends-le.", Finished),
                ("Allume la.", Incomplete),
                ("Je voudrais aller à", Incomplete),
                ("Dis-moi où il est.", Finished),
                ("Je pense que.", Incomplete),
                ("Il faut de l’", Incomplete),
                ("Qu'est-ce que c'est ?", Finished),
                ("Un minuteur de dix.", Incomplete),
                ("Allume la lumière", Unknown),
            ],
        ),
        (
            "es",
            &[
                ("¿Qué hora es?", Finished),
                ("¿Y qué?", Finished),
                ("Enciende la luz.", Finished),
                ("Enciende la.", Incomplete),
                ("Quiero que", Incomplete),
                ("Pon un temporizador de diez", Incomplete),
                ("Creo que sí.", Finished),
                ("Vamos con", Incomplete),
                ("Enciende la luz", Unknown),
            ],
        ),
        (
            "th",
            &[
                ("วันนี้อากาศเป็นยังไงครับ", Finished),
                ("เปิดไฟหน่อย", Finished),
                ("ตอนนี้กี่โมงแล้ว", Unknown),
                ("ฉันอยากไปเที่ยวกับ", Incomplete),
                ("ฉันชอบแมวและ", Incomplete),
                ("กรุงเทพอยู่ที่ไหน", Finished),
                ("เบอร์คือ 0 8 1", Incomplete),
            ],
        ),
        (
            "zh",
            &[
                ("现在几点了？", Finished),
                ("打开灯。", Finished),
                ("我想去北京因为", Incomplete),
                ("我喜欢苹果和。", Incomplete),
                ("我昨天看到的", Incomplete),
                ("这是我的。", Unknown),
                ("你叫什么", Finished),
                ("打开灯", Unknown),
                ("电话是零七九", Incomplete),
                ("今天天气好吗", Finished),
            ],
        ),
        (
            "ja",
            &[
                ("今何時ですか。", Finished),
                ("電気をつけて。", Finished),
                ("電気をつけて、", Incomplete),
                ("お名前は？", Finished),
                ("私の名前は", Incomplete),
                ("東京タワーを。", Incomplete),
                ("明日の天気を教えて", Finished),
                ("東京の", Incomplete),
                ("電話番号は零三五", Incomplete),
                ("明日の天気", Unknown),
                ("「そうですか。」", Finished),
            ],
        ),
    ];
    for (language, rows) in table {
        for (text, expected) in *rows {
            assert_eq!(completeness(text, language), *expected, "{text}");
        }
    }
}

#[test]
fn seven_languages_nod_and_stop() {
    for (language, nods, stops, neither) in [
        (
            "en",
            &["Mhm.", "Yeah, right."][..],
            &["Stop, please.", "Please stop!"][..],
            &["Please.", "Stop the music."][..],
        ),
        (
            "de",
            &["Ja, genau.", "Ach so, klar."],
            &["Stopp!", "Hör auf, bitte.", "Halt, bitte."],
            &["Ja, aber.", "Halt mir den Platz frei."],
        ),
        (
            "fr",
            &["Ouais, d’accord.", "Bien sûr."],
            &["Arrête !", "Tais-toi.", "Stop, s'il te plaît."],
            &["Arrête la musique.", "Oui, mais."],
        ),
        (
            "es",
            &["Vale, vale.", "Sí, claro."],
            &["¡Para!", "Ya basta.", "Cállate, por favor."],
            &["Para mañana.", "Por favor."],
        ),
        ("th", &["ครับ", "อืม ใช่"], &["หยุด", "หยุดครับ", "พอแล้วค่ะ"], &["หยุดเพลง", "ไม่ใช่"]),
        ("zh", &["嗯，好的。", "对，没错"], &["停！", "请停止。", "别说了"], &["停车场在哪里？", "不对"]),
        (
            "ja",
            &["うん、なるほど。", "はいはい"],
            &["ストップ！", "やめてください。", "ちょっと止めて"],
            &["止まらないで", "いいえ"],
        ),
    ] {
        for nod in nods {
            assert!(is_backchannel(nod, language) && !is_stop(nod), "{nod}");
        }
        for stop in stops {
            assert!(is_stop(stop) && !is_backchannel(stop, language), "{stop}");
        }
        for other in neither {
            assert!(!is_stop(other) && !is_backchannel(other, language), "{other}");
        }
    }
}

#[test]
fn letters_are_compared_where_there_are_no_words() {
    let chinese = "法国的首都是巴黎，它位于塞纳河畔。您要喝茶还是咖啡？";
    let japanese = "日本の首都は東京です。東京タワーはとても有名です。";
    let thai = "เมืองหลวงของประเทศไทยคือกรุงเทพมหานคร เป็นเมืองที่ใหญ่ที่สุด";
    for (heard, said, short_too, echo) in [
        ("法国的首都是巴黎。", chinese, false, true),
        ("法国的手都是巴黎", chinese, false, true),
        ("德国的首都在哪里？", chinese, true, false),
        ("它位于塞纳河畔，停！", chinese, true, false),
        ("咖啡。", chinese, false, false),
        ("咖啡。", chinese, true, true),
        ("要茶", chinese, true, false),
        ("東京タワーはとても有名です。", japanese, false, true),
        ("東京タワーはとってもゆう名です", japanese, false, true),
        ("東京タワーの高さは？", japanese, true, false),
        ("日本の首都はどこですか", japanese, true, false),
        ("やめて", japanese, true, false),
        ("ประเทศไทยคือกรุงเทพมหานคร", thai, false, true),
        ("ภูเก็ตอยู่ที่ไหนครับ", thai, true, false),
    ] {
        assert_eq!(is_echo(heard, said, short_too), echo, "{heard}");
    }
    for (text, words) in [("", 0), ("Stop it.", 2), ("停", 1), ("停止", 1), ("ストップ", 2), ("OK 停止", 2)] {
        assert_eq!(word_count(text), words, "{text}");
    }
}

#[test]
fn who_asks_to_stop_is_heard_among_other_words() {
    let said = "The next train to Hamburg leaves at ten. It will stop in Bremen.";
    for heard in [
        "Be quiet!",
        "Okay, stop.",
        "No, please tell me about Berlin instead. Stop.",
        "Hey, stop it!",
        "Sotto, be quiet please.",
        "the next train be quiet to Hamburg",
        "Hör auf. Ich rede mit ihr.",
        "停！我在说话。",
    ] {
        assert!(asks_to_stop(heard, "The next train to Hamburg leaves at ten."), "{heard}");
    }
    for heard in ["", "Don't stop.", "We can't stop looking, can we?", "Stop the music.", "It will stop in Bremen."] {
        assert!(!asks_to_stop(heard, said), "{heard}");
    }
}
