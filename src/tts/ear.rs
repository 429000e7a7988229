//! Text for the ear (interim).

pub fn for_ear(text: &str) -> String {
    text.replace("*", "")
}
