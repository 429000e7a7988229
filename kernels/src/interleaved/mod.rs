//! Quantised weights in the layout of the kernels.
//!
//! A strip is [`STRIP`] rows. In it the same column of all rows is stored together, four columns of
//! a row in four bytes, so that a vector of 64 bytes is a quad of columns of every row: it is
//! multiplied by a quad of activations in one instruction, sums stay apart in its lanes, and scales
//! are loaded as vectors too. The codes of all columns come first, then all scales:
//!
//! | codes of 32 columns | bytes | vector `v`, row `r`, column `c` of a quad at `64 v + 4 r + c` |
//! |---|---|---|
//! | 2 bits | 128 | two vectors: bit pair `j` of vector `u` belongs to quad `4 u + j` |
//! | 3 bits | 192 | the vectors of 2 bits; one with bit `q` the third bit of quad `q` |
//! | 4 bits | 256 | low half: quad `v`, high half: quad `4 + v` |
//! | 5 bits | 320 | the vectors of 4 bits; one with bit `q` the fifth bit of quad `q` |
//! | 6 bits | 384 | the vectors of 4 bits; two with pair `j` of vector `u` for quad `4 u + j` |
//! | 8 bits | 512 | quad `v` |
//!
//! Codes are unsigned: signed codes of the file are shifted by [`Format::OFFSET`]. Scales are as
//! exact as in the file; see [`scales`]. If the rows are not a whole number of strips, the missing
//! rows of the last strip are zero.

mod format;
mod planes;
mod scales;

use crate::BlockType;
pub(crate) use format::{ForFormat, Format, for_format};
pub(crate) use planes::{BitPlanes, Five, LowThree};
pub(crate) use scales::Scales;

/// Number of rows of a strip: the lanes of the widest vector.
pub const STRIP: usize = 16;
/// Number of columns whose codes are stored together.
pub(crate) const PART: usize = 32;
/// Alignment of strips: whole cache lines.
const LINE: usize = 64;

/// Layout of the strips of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterleavedLayout {
    kind: BlockType,
    rows: usize,
    cols: usize,
    /// Offset of the scales in a strip.
    pub(crate) scales_at: usize,
    strip_bytes: usize,
}

impl InterleavedLayout {
    /// Creates a layout; `None` for weights that are not quantised, for columns that are not whole
    /// blocks, and for sizes that overflow.
    pub fn new(kind: BlockType, rows: usize, cols: usize) -> Option<InterleavedLayout> {
        if !cols.is_multiple_of(kind.block_len()) {
            return None;
        }
        let (code_bytes, scale_bytes) = for_format(kind, Sizes { cols })??;
        let strip_bytes = code_bytes.checked_add(scale_bytes)?.checked_next_multiple_of(LINE)?;
        strip_bytes.checked_mul(rows.div_ceil(STRIP))?;
        Some(InterleavedLayout { kind, rows, cols, scales_at: code_bytes, strip_bytes })
    }

    pub fn kind(&self) -> BlockType {
        self.kind
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    pub fn strips(&self) -> usize {
        self.rows.div_ceil(STRIP)
    }

    /// Bytes of a strip.
    pub fn strip_bytes(&self) -> usize {
        self.strip_bytes
    }

    /// Bytes of all strips.
    pub fn bytes(&self) -> usize {
        self.strips() * self.strip_bytes
    }

    /// Returns the layout of the first `rows` rows alone.
    ///
    /// Panics if there are fewer.
    pub(crate) fn top(&self, rows: usize) -> InterleavedLayout {
        assert!(rows <= self.rows, "{rows} of {} rows", self.rows);
        InterleavedLayout { rows, ..*self }
    }

    /// Packs strip `strip` from its rows in the file's layout: up to [`STRIP`] rows of blocks, one
    /// after another.
    ///
    /// Panics if `rows` are not exactly the rows of the strip or `dst` not exactly
    /// [`InterleavedLayout::strip_bytes`].
    pub fn pack(&self, strip: usize, rows: &[u8], dst: &mut [u8]) {
        let row_bytes = self.cols / self.kind.block_len() * self.kind.block_bytes();
        let count = STRIP.min(self.rows - strip * STRIP);
        assert_eq!(rows.len(), count * row_bytes, "strip {strip} has {count} rows of {row_bytes} bytes");
        assert_eq!(dst.len(), self.strip_bytes, "bytes of a strip");
        dst.fill(0);
        for_format(self.kind, Pack { layout: self, rows, row_bytes, dst });
    }

    /// Unpacks the values of row `row` from the bytes of all strips, bit-identical to
    /// [`crate::unpack_row`] on the file's layout.
    ///
    /// Panics beyond the last row, or if `dst` does not have the length of a row.
    pub fn unpack_row(&self, data: &[u8], row: usize, dst: &mut [f32]) {
        assert!(row < self.rows && dst.len() == self.cols, "a row of {} values, {row} of {}", self.cols, self.rows);
        let strip = &data[row / STRIP * self.strip_bytes..][..self.strip_bytes];
        for_format(self.kind, Unpack { layout: self, strip, row: row % STRIP, dst });
    }
}

/// Bytes of the codes and of the scales of a strip.
struct Sizes {
    cols: usize,
}

impl ForFormat for Sizes {
    type Out = Option<(usize, usize)>;

    fn quantised<F: Format>(self) -> Self::Out {
        let codes = (self.cols / PART).checked_mul(F::BitPlanes::BYTES)?;
        Some((codes, (self.cols / F::Scales::SPAN).checked_mul(F::Scales::BYTES)?))
    }
}

struct Pack<'a> {
    layout: &'a InterleavedLayout,
    rows: &'a [u8],
    row_bytes: usize,
    dst: &'a mut [u8],
}

impl ForFormat for Pack<'_> {
    type Out = ();

    fn quantised<F: Format>(self) {
        let Pack { layout, rows, row_bytes, dst } = self;
        let (codes, scales) = dst.split_at_mut(layout.scales_at);
        let (len, bytes) = (F::KIND.block_len(), F::KIND.block_bytes());
        for (part, codes) in codes.chunks_exact_mut(F::BitPlanes::BYTES).enumerate() {
            let mut all = [[0; PART]; STRIP];
            for (row, all) in rows.chunks_exact(row_bytes).zip(&mut all) {
                let block = &row[part * PART / len * bytes..][..bytes];
                *all = F::codes(block, part % (len / PART));
            }
            F::BitPlanes::put(&all, codes);
        }
        for (span, scales) in scales.chunks_exact_mut(F::Scales::BYTES).take(layout.cols / len).enumerate() {
            for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
                F::put_scales(&row[span * bytes..][..bytes], r, scales);
            }
        }
    }
}

struct Unpack<'a> {
    layout: &'a InterleavedLayout,
    strip: &'a [u8],
    row: usize,
    dst: &'a mut [f32],
}

impl ForFormat for Unpack<'_> {
    type Out = ();

    fn quantised<F: Format>(self) {
        let Unpack { layout, strip, row, dst } = self;
        let (codes, scales) = strip.split_at(layout.scales_at);
        let spans = dst.chunks_exact_mut(F::Scales::SPAN).zip(scales.chunks_exact(F::Scales::BYTES));
        for (span, (dst, scales)) in spans.enumerate() {
            for (i, value) in dst.iter_mut().enumerate() {
                let at = span * F::Scales::SPAN + i;
                let code = F::BitPlanes::code(&codes[at / PART * F::BitPlanes::BYTES..], row, at % PART);
                *value = F::Scales::value(scales, row, i, i32::from(code) - F::OFFSET);
            }
        }
    }
}
