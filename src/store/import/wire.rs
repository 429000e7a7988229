//! Protobuf's wire format, as far as copying fields needs it: numbers, lengths and the bytes
//! between.

/// Field of a message.
#[derive(Clone, Copy, Debug)]
pub struct WireField<'a> {
    pub number: u64,
    /// Bytes of the whole field, key included.
    pub raw: &'a [u8],
    /// Contents of a length-delimited field.
    payload: Option<&'a [u8]>,
}

impl<'a> WireField<'a> {
    /// Returns the message or bytes that the field holds.
    pub fn message(&self) -> Result<&'a [u8], String> {
        self.payload.ok_or_else(|| format!("field {} is no message", self.number))
    }

    pub fn string(&self) -> Result<&'a str, String> {
        std::str::from_utf8(self.message()?).map_err(|_| format!("field {} is not UTF-8", self.number))
    }

    /// Returns the string field `number` of the message in this field; empty where it is absent.
    pub fn string_at(&self, number: u64) -> Result<&'a str, String> {
        for field in Wire::new(self.message()?) {
            let field = field?;
            if field.number == number {
                return field.string();
            }
        }
        Ok("")
    }
}

/// Iterator over the fields of a message, in order. It ends after the first error.
pub struct Wire<'a> {
    rest: &'a [u8],
}

impl<'a> Wire<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Wire { rest: message }
    }

    fn field(&mut self) -> Result<WireField<'a>, String> {
        let start = self.rest;
        let key = self.varint()?;
        let payload = match key & 7 {
            0 => {
                self.varint()?;
                None
            }
            1 => self.take(8).map(|_| None)?,
            2 => {
                let length = self.varint()?;
                Some(self.take(length)?)
            }
            5 => self.take(4).map(|_| None)?,
            other => return Err(format!("it has a field of the unknown wire type {other}")),
        };
        Ok(WireField { number: key >> 3, raw: &start[..start.len() - self.rest.len()], payload })
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let available = self.rest.len();
        let length = usize::try_from(length).ok().filter(|length| *length <= available);
        let (taken, rest) = self.rest.split_at(length.ok_or("it ends inside a field")?);
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("it has a number of more than 64 bits".to_owned())
    }
}

impl<'a> Iterator for Wire<'a> {
    type Item = Result<WireField<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Appends a length-delimited field.
pub fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends an integer field.
pub fn put_number(out: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(out, number << 3);
    put_varint(out, value);
}

/// Appends a single-precision field.
pub fn put_float(out: &mut Vec<u8>, number: u64, value: f32) {
    put_varint(out, number << 3 | 5);
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_are_written() {
        let mut message = vec![3 << 3, 0xac, 0x02];
        put_bytes(&mut message, 300, b"name");
        let fields: Vec<_> = Wire::new(&message).map(Result::unwrap).collect();
        assert_eq!(fields.iter().map(|field| field.number).collect::<Vec<_>>(), [3, 300]);
        assert_eq!(fields[1].string(), Ok("name"));
        assert_eq!(fields.iter().flat_map(|field| field.raw).copied().collect::<Vec<_>>(), message);
    }

    #[test]
    fn damage_is_an_error_and_the_end() {
        for damaged in
            [&[0x0a][..], &[0x0a, 5, 1], &[0x80; 11], &[0x0b], &[0x09, 1, 2], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff]]
        {
            let read: Vec<_> = Wire::new(damaged).collect();
            assert!(read.len() == 1 && read[0].is_err(), "{damaged:?}: {read:?}");
        }
    }
}
