//! What files may suffer on their way.

use proptest::prelude::*;

/// What may happen to a file on its way.
#[derive(Clone, Debug)]
pub enum Damage {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Cut(prop::sample::Index),
    /// A number somewhere in a text becomes another.
    Number(prop::sample::Index, u64),
    /// Eight bytes become a number, as counts and offsets are written.
    Word(prop::sample::Index, u64),
}

impl Damage {
    pub fn any() -> impl Strategy<Value = Damage> {
        let at = any::<prop::sample::Index>;
        let number = || prop_oneof![0u64..300, any::<u64>()];
        prop_oneof![
            4 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
            1 => (at(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
            1 => (at(), 1usize..64).prop_map(|(at, count)| Damage::Remove(at, count)),
            1 => at().prop_map(Damage::Cut),
            4 => (at(), number()).prop_map(|(at, n)| Damage::Number(at, n)),
            1 => (at(), number()).prop_map(|(at, n)| Damage::Word(at, n)),
        ]
    }

    pub fn do_to(&self, file: &mut Vec<u8>) {
        if file.is_empty() {
            return;
        }
        match self {
            Damage::Set(at, byte) => *at.get_mut(file.as_mut_slice()) = *byte,
            Damage::Insert(at, bytes) => {
                let at = at.index(file.len());
                file.splice(at..at, bytes.iter().copied());
            }
            Damage::Remove(at, count) => {
                let at = at.index(file.len());
                file.drain(at..(at + count).min(file.len()));
            }
            Damage::Cut(at) => file.truncate(at.index(file.len())),
            Damage::Number(at, n) => {
                let from = at.index(file.len());
                let Some(start) = file[from..].iter().position(u8::is_ascii_digit).map(|found| from + found) else {
                    return;
                };
                let end =
                    file[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(file.len(), |n| start + n);
                file.splice(start..end, n.to_string().into_bytes());
            }
            Damage::Word(at, n) => {
                let at = at.index(file.len());
                file.iter_mut().skip(at).zip(n.to_le_bytes()).for_each(|(byte, new)| *byte = new);
            }
        }
    }
}

/// Which part of a file is damaged.
#[derive(Clone, Copy, Debug)]
pub enum ModelPart {
    All,
    /// The JSON of a safetensors header, a small part of the file. Its length is made right again,
    /// so that what the JSON says is read.
    Header,
}

pub fn damages(most: usize) -> impl Strategy<Value = Vec<(ModelPart, Damage)>> {
    let part = prop_oneof![1 => Just(ModelPart::All), 2 => Just(ModelPart::Header)];
    prop::collection::vec((part, Damage::any()), 0..most)
}

pub fn damage_weights(file: &mut Vec<u8>, (part, damage): &(ModelPart, Damage)) {
    let length = file.first_chunk().map(|length| u64::from_le_bytes(*length));
    let Some(end) = length.and_then(|length| usize::try_from(length).ok()?.checked_add(8)) else {
        return damage.do_to(file);
    };
    match part {
        ModelPart::Header if end <= file.len() => {
            let data = file.split_off(end);
            let mut json = file.split_off(8);
            damage.do_to(&mut json);
            *file = [&(json.len() as u64).to_le_bytes()[..], &json, &data].concat();
        }
        _ => damage.do_to(file),
    }
}
