//! Check of the boxes of a fragmented MP4 file before `symphonia` reads them: it counts to the
//! number of samples that a fragment states, which takes nine seconds where a damaged one states
//! four thousand million.

use std::io::{self, Read, Seek, SeekFrom};

/// Boxes inside boxes: a fragment (`moof`) holds tracks (`traf`), which hold runs of samples
/// (`trun`).
const NESTED: [&[u8; 4]; 2] = [b"moof", b"traf"];
/// Largest number of boxes examined. A fragment of a second has about eight.
const MAX_BOXES: usize = 1_000_000;

/// Whether a run of samples states more of them than the file, of `length` bytes, can hold.
pub fn overstates_samples(file: &mut (impl Read + Seek), length: u64) -> io::Result<bool> {
    let mut at = 0;
    for _ in 0..MAX_BOXES {
        // A box may end the file in its header.
        if length.saturating_sub(at) < 16 {
            return Ok(false);
        }
        file.seek(SeekFrom::Start(at))?;
        let mut head = [0; 16];
        file.read_exact(&mut head)?;
        let number = |from: usize| u32::from_be_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]]);
        let kind = [head[4], head[5], head[6], head[7]];
        if &kind == b"trun" && u64::from(number(12)) > length {
            return Ok(true);
        }
        let size = match u64::from(number(0)) {
            0 => return Ok(false),
            1 => u64::from_be_bytes([head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15]]),
            size => size,
        };
        let head = if number(0) == 1 { 16 } else { 8 };
        at = at.saturating_add(if NESTED.contains(&&kind) { head } else { size.max(8) });
    }
    Ok(true)
}
