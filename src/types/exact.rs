//! Serde of floating-point numbers that keeps each to the bit. JSON knows neither NaN nor
//! infinities: they are the strings "nan", "inf" and "-inf". An `f32` is written as the `f64` of
//! the same value, because reading fewer digits would round twice.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Number that an `f64` holds without loss.
pub trait Exact: Copy {
    fn widen(self) -> f64;
    /// The number nearest to `wide`.
    fn narrow(wide: f64) -> Self;
    fn is_finite(self) -> bool;
}

impl Exact for f64 {
    fn widen(self) -> f64 {
        self
    }

    fn narrow(wide: f64) -> f64 {
        wide
    }

    fn is_finite(self) -> bool {
        self.is_finite()
    }
}

impl Exact for f32 {
    fn widen(self) -> f64 {
        f64::from(self)
    }

    fn narrow(wide: f64) -> f32 {
        wide as f32
    }

    fn is_finite(self) -> bool {
        self.is_finite()
    }
}

pub fn serialize<N: Exact, S: Serializer>(number: &N, serializer: S) -> Result<S::Ok, S::Error> {
    Written(number.widen()).serialize(serializer)
}

pub fn deserialize<'de, N: Exact, D: Deserializer<'de>>(deserializer: D) -> Result<N, D::Error> {
    narrow(Written::deserialize(deserializer)?)
}

/// Serde of a number that may be missing: null.
pub mod option {
    use super::*;

    pub fn serialize<N: Exact, S: Serializer>(number: &Option<N>, serializer: S) -> Result<S::Ok, S::Error> {
        number.map(|number| Written(number.widen())).serialize(serializer)
    }

    pub fn deserialize<'de, N: Exact, D: Deserializer<'de>>(deserializer: D) -> Result<Option<N>, D::Error> {
        Option::<Written>::deserialize(deserializer)?.map(narrow).transpose()
    }
}

/// Refuses a finite number that only an infinity is near to.
fn narrow<N: Exact, E: Error>(Written(wide): Written) -> Result<N, E> {
    let number = N::narrow(wide);
    match number.is_finite() || !wide.is_finite() {
        true => Ok(number),
        false => Err(E::custom(format_args!("the number {wide} is too large"))),
    }
}

struct Written(f64);

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            number if number.is_finite() => serializer.serialize_f64(number),
            number if number.is_nan() => serializer.serialize_str("nan"),
            number if number > 0.0 => serializer.serialize_str("inf"),
            _ => serializer.serialize_str("-inf"),
        }
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, \"nan\", \"inf\" or \"-inf\"")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Written, E> {
        Ok(Written(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Written, E> {
        Ok(Written(number as f64))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Written, E> {
        Ok(Written(number as f64))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Written, E> {
        match name {
            "nan" => Ok(Written(f64::NAN)),
            "inf" => Ok(Written(f64::INFINITY)),
            "-inf" => Ok(Written(f64::NEG_INFINITY)),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Numbers {
        #[serde(with = "super")]
        wide: f64,
        #[serde(with = "super")]
        narrow: f32,
        #[serde(with = "super::option")]
        perhaps: Option<f32>,
    }

    fn read(narrow: &str) -> Result<Numbers, serde_json::Error> {
        serde_json::from_str(&format!("{{\"wide\":0,\"narrow\":{narrow},\"perhaps\":null}}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn numbers_are_read_as_they_were_written(wide: u64, narrow: u32, perhaps: Option<u32>) {
            let written = Numbers {
                wide: f64::from_bits(wide),
                narrow: f32::from_bits(narrow),
                perhaps: perhaps.map(f32::from_bits),
            };
            let read: Numbers = serde_json::from_str(&serde_json::to_string(&written).unwrap()).unwrap();
            // A NaN is one of many, and all are the same to the machine.
            let bits = |number: f32| if number.is_nan() { 0x7fc0_0000 } else { number.to_bits() };
            prop_assert!(read.wide.to_bits() == wide || (read.wide.is_nan() && written.wide.is_nan()));
            prop_assert_eq!(bits(read.narrow), bits(written.narrow));
            prop_assert_eq!(read.perhaps.map(bits), written.perhaps.map(bits));
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for (text, number) in [("1", 1.0), ("-2", -2.0), ("0.5", 0.5), ("\"-inf\"", f32::NEG_INFINITY)] {
            assert_eq!(read(text).unwrap().narrow, number);
        }
        for text in ["1e39", "1e999", "null", "true", "\"NaN\"", "[]", "\"1\""] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
