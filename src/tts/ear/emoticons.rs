//! Removal of emoticons and hearts, which have no words.

use super::rewrite::pattern;

pub(super) fn strip(text: &str) -> String {
    let face = pattern!(
        r"(^|\s)(?:[:;=]['^]?-?[()\[\]DPpOo3|*$]+|[:;]-?[/\\]|<3+|</3|[xX]D|\^_*\^|[-oOT>][_.]+[-oOT<]",
        r"|¯?\\?_*\([^()]{0,5}\)_*/¯?)($|[\s.,!?])"
    );
    // Two in a row share the space between them.
    let once = face.replace_all(text, "$1$2");
    let twice = face.replace_all(&once, "$1$2");
    pattern!(r"\([^\p{L}\p{N}()]*[°^•·;_>-][^\p{L}\p{N}()]*[°^•·;_<-][^\p{L}\p{N}()]*\)")
        .replace_all(&twice, " ")
        .into_owned()
}
