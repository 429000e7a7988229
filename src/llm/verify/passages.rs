//! Built-in text for the comparison: about five hundred tokens of typical input of an assistant.
//! Written for this purpose, so that no model was trained on it.

pub const PASSAGES: [&str; 7] = [
    "The lighthouse keeper's daughter had learned to tell the weather by the sound of the pump. When it coughed twice \
     before drawing water, rain would come from the west before evening; when it ran smoothly, the fishing boats could \
     stay out past the second buoy. Nobody in the village believed her until the autumn in which she was right eleven \
     times out of twelve.",
    "User: Could you remind me to take the bread out of the oven in forty minutes?\nAssistant: Of course. I have set a \
     timer for forty minutes, so it will ring at about ten past six. Shall I also turn off the oven light?\nUser: No, \
     thanks. How many grams are there in half a pound?\nAssistant: Half a pound is roughly 227 grams.",
    "A heat pump moves warmth instead of making it. A refrigerant evaporates outside at a low pressure, takes up heat \
     from the air even at minus five degrees, is compressed until it is hot, and gives that heat to the water of the \
     radiators. For each kilowatt hour of electricity it delivers about three and a half of warmth; the colder the air \
     outside, the fewer.",
    "Am Mittwoch, dem 14. Mai, fährt der Zug nach Lindau erst um 7:52 Uhr, weil zwischen Immenstadt und Oberstaufen \
     gebaut wird. Wer den Anschluss an das Schiff erreichen will, nimmt besser den Bus, der vor dem Bahnhof wartet.",
    "fn median(values: &mut [f64]) -> Option<f64> {\n    values.sort_by(f64::total_cmp);\n    let middle = values.len() \
     / 2;\n    match values.len() {\n        0 => None,\n        n if n % 2 == 1 => Some(values[middle]),\n        _ => \
     Some((values[middle - 1] + values[middle]) / 2.0),\n    }\n}\n",
    "{\"name\": \"set_thermostat\", \"arguments\": {\"room\": \"kitchen\", \"target\": 20.5, \"unit\": \"celsius\", \
     \"until\": \"22:30\", \"days\": [\"mon\", \"tue\", \"fri\"], \"notify\": false}}",
    "Tout le monde était d'accord pour partir tôt, mais la clé de la grange restait introuvable ; on finit par la \
     découvrir dans la poche du manteau que grand-mère avait prêté au facteur.",
];

/// Prompts of the answers that are compared token by token.
pub const PROMPTS: [&str; 4] = [
    "The three largest cities of Italy are",
    "To make a pot of strong black tea, first",
    "User: What is seventeen plus twenty-six?\nAssistant:",
    "def is_leap_year(year):\n",
];
