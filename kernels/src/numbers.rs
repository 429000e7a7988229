//! Numbers as bytes in memory order, for states that are written and read back on the same kind of
//! machine.

use std::io::{self, Read, Write};

use half::f16;

/// A number type without padding, for which every bit pattern is a value.
pub trait Number: sealed::Number {}

mod sealed {
    /// Sealed: other crates cannot add types for which the conversions below are invalid.
    pub trait Number: Copy + Send + Sync + 'static {
        const ZERO: Self;
    }
}
pub(crate) use sealed::Number as Zero;

macro_rules! numbers {
    ($($type:ty: $zero:expr),*) => {$(
        impl sealed::Number for $type {
            const ZERO: $type = $zero;
        }
        impl Number for $type {}
    )*};
}
numbers!(u8: 0, f16: f16::ZERO, f32: 0.0, f64: 0.0);

/// Writes `values` in the byte order of the machine.
pub fn write_numbers<T: Number>(values: &[T], to: &mut impl Write) -> io::Result<()> {
    // SAFETY: the bytes are those of the slice, and a `Number` has no padding, so that all of them
    // are initialised.
    to.write_all(unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) })
}

/// Fills `values` with the output of [`write_numbers`]. After an error some of them are filled and
/// the others unchanged.
pub fn read_numbers<T: Number>(values: &mut [T], from: &mut impl Read) -> io::Result<()> {
    // SAFETY: the bytes are those of the slice, which is borrowed for as long, and any bytes
    // written to them are a value of a `Number`.
    from.read_exact(unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let (floats, doubles) = ([1.5f32, -0.0, f32::MIN_POSITIVE], [f64::MAX, -7.0]);
        let mut bytes = Vec::new();
        write_numbers(&floats, &mut bytes).unwrap();
        write_numbers(&doubles, &mut bytes).unwrap();
        assert_eq!(bytes.len(), 3 * 4 + 2 * 8);
        let (mut first, mut second, mut from) = ([0.0; 3], [0.0; 2], &bytes[..]);
        read_numbers(&mut first, &mut from).unwrap();
        read_numbers(&mut second, &mut from).unwrap();
        assert_eq!((first.map(f32::to_bits), second), (floats.map(f32::to_bits), doubles));
        assert!(read_numbers(&mut second, &mut from).is_err());
    }
}
