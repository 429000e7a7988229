//! Layout of strips with split 8-bit codes: high five bits, scales, low three bits.
//!
//! | bytes of 32 columns | contents |
//! |---|---|
//! | 320 | the high five bits, in the layout of 5-bit codes of a strip ([`crate::interleaved`]) |
//! | 192 | the low three bits, in the layout of 3-bit codes of a strip |
//!
//! A strip begins with the high bits of all columns, followed by all scales in their usual layout
//! and, aligned to a cache line, the low bits.

use crate::BlockType;
use crate::interleaved::{
    BitPlanes, Five, ForFormat, Format, InterleavedLayout, LowThree, PART, STRIP, Scales, for_format,
};
use crate::isa::{Isa, Portable};

/// Number of bits of the low part.
pub(super) const LOW_BITS: u32 = 3;
/// Value that the coarse product assumes for the low part.
pub(super) const MIDDLE: f32 = 3.5;

/// Layout of split strips. A strip has as many bytes as before it was split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitPlaneLayout {
    strips: InterleavedLayout,
    scales_at: usize,
    low_at: usize,
}

impl BitPlaneLayout {
    /// Creates a layout; `None` for codes that do not have 8 bits, or without codes.
    pub(crate) fn new(strips: &InterleavedLayout) -> Option<BitPlaneLayout> {
        (for_format(strips.kind(), HasBytes)? && strips.cols() > 0).then(|| {
            let parts = strips.cols() / PART;
            let low_at = strips.strip_bytes() - parts * LowThree::BYTES;
            BitPlaneLayout { strips: *strips, scales_at: parts * Five::BYTES, low_at }
        })
    }

    pub fn kind(&self) -> BlockType {
        self.strips.kind()
    }

    pub fn rows(&self) -> usize {
        self.strips.rows()
    }

    pub fn cols(&self) -> usize {
        self.strips.cols()
    }

    pub fn strips(&self) -> usize {
        self.strips.strips()
    }

    pub fn strip_bytes(&self) -> usize {
        self.strips.strip_bytes()
    }

    pub fn bytes(&self) -> usize {
        self.strips.bytes()
    }

    /// Returns the layout of the first `rows` rows alone, as [`InterleavedLayout::top`] does.
    pub(crate) fn top(&self, rows: usize) -> BitPlaneLayout {
        BitPlaneLayout { strips: self.strips.top(rows), ..*self }
    }

    /// Offset of the scales in a strip.
    pub(super) fn scales_at(&self) -> usize {
        self.scales_at
    }

    /// Offset of the low bits of the codes in a strip.
    pub(super) fn low_at(&self) -> usize {
        self.low_at
    }

    /// Splits a strip in place and computes the bounds of its rows.
    pub(super) fn part(&self, strip: &mut [u8], bounds: &mut [f32]) {
        for_format(self.kind(), Part { layout: self, strip, bounds });
    }

    /// Unpacks a row as [`InterleavedLayout::unpack_row`] does.
    pub(crate) fn unpack_row(&self, data: &[u8], row: usize, dst: &mut [f32]) {
        assert!(row < self.rows() && dst.len() == self.cols(), "a row of {}, {row} of {}", self.cols(), self.rows());
        let strip = &data[row / STRIP * self.strip_bytes()..][..self.strip_bytes()];
        for_format(self.kind(), Unpack { layout: self, strip, row: row % STRIP, dst });
    }
}

struct HasBytes;

impl ForFormat for HasBytes {
    type Out = bool;

    fn quantised<F: Format>(self) -> bool {
        F::BitPlanes::BITS == 8 && F::Scales::GROUP == PART
    }
}

struct Part<'a> {
    layout: &'a BitPlaneLayout,
    strip: &'a mut [u8],
    bounds: &'a mut [f32],
}

impl ForFormat for Part<'_> {
    type Out = ();

    fn quantised<F: Format>(self) {
        let Part { layout, strip, bounds } = self;
        let before = strip.to_vec();
        let (codes, scales) = before.split_at(layout.strips.scales_at);
        strip.fill(0);
        let (high, rest) = strip.split_at_mut(layout.scales_at);
        let (kept, low) = rest.split_at_mut(layout.low_at - layout.scales_at);
        let len = kept.len().min(scales.len());
        kept[..len].copy_from_slice(&scales[..len]);
        let planes = high.chunks_exact_mut(Five::BYTES).zip(low.chunks_exact_mut(LowThree::BYTES));
        let mut sizes = [Sizes::default(); STRIP];
        for (part, ((high, low), codes)) in planes.zip(codes.chunks_exact(F::BitPlanes::BYTES)).enumerate() {
            let mut all = [[0; PART]; STRIP];
            for (row, all) in all.iter_mut().enumerate() {
                all.iter_mut().enumerate().for_each(|(col, code)| *code = F::BitPlanes::code(codes, row, col));
            }
            let (span, col) = (part * PART / F::Scales::SPAN, part * PART % F::Scales::SPAN);
            let groups = scales_of::<F>(&scales[span * F::Scales::BYTES..][..F::Scales::BYTES], col);
            for ((sizes, codes), (scale, min)) in sizes.iter_mut().zip(&all).zip(groups) {
                sizes.add(codes, F::OFFSET, f64::from(scale), f64::from(min));
            }
            LowThree::put(&all.map(|row| row.map(|code| code & ((1 << LOW_BITS) - 1))), low);
            Five::put(&all.map(|row| row.map(|code| code >> LOW_BITS)), high);
        }
        let groups = layout.cols() / PART;
        bounds.iter_mut().zip(sizes).for_each(|(bound, sizes)| *bound = sizes.bound(groups));
    }
}

/// Scale and minimum of each row.
fn scales_of<F: Format>(span: &[u8], col: usize) -> [(f32, f32); STRIP] {
    let isa = Portable;
    let (mut scales, mut mins) = ([0.0; STRIP], [0.0; STRIP]);
    for row in (0..STRIP).step_by(Portable::LANES) {
        // SAFETY: a whole span is there, and `row` a multiple of the lanes.
        let (scale, min) = unsafe { F::Scales::load(isa, span.as_ptr(), row, col) };
        isa.store(scale, &mut scales[row..]);
        isa.store(min, &mut mins[row..]);
    }
    std::array::from_fn(|row| (scales[row], mins[row]))
}

/// Squares of the norms in the bound of a row.
#[derive(Clone, Copy, Default)]
struct Sizes {
    residual: f64,
    /// Norms of the exact product: codes, minima.
    exact: [f64; 2],
    /// Norms of the coarse product: codes, added constants.
    coarse: [f64; 2],
}

impl Sizes {
    fn add(&mut self, codes: &[u8; PART], offset: i32, scale: f64, min: f64) {
        let middle = f64::from(MIDDLE);
        let squares = |of: &dyn Fn(u8) -> f64| codes.iter().map(|&code| of(code).powi(2)).sum::<f64>();
        let low = |code: u8| f64::from(code % (1 << LOW_BITS));
        let scale2 = scale * scale;
        self.residual += scale2 * squares(&|code| low(code) - middle);
        self.exact[0] += scale2 * squares(&|code| f64::from(i32::from(code) - offset));
        self.exact[1] += PART as f64 * min * min;
        self.coarse[0] += scale2 * squares(&|code| f64::from(code) - low(code));
        self.coarse[1] += PART as f64 * (scale * (middle - f64::from(offset)) + min).powi(2);
    }

    /// Bound of a row; see [`super`].
    fn bound(&self, groups: usize) -> f32 {
        let rounded = (2 * groups + 8) as f64 * f64::from(f32::EPSILON) / 2.0;
        let gamma = rounded / (1.0 - rounded);
        let size = self.exact.iter().chain(&self.coarse).map(|square| square.sqrt()).sum::<f64>();
        // f64 itself rounds, and so do the product and the sum that use the bound.
        let bound = (self.residual.sqrt() + gamma * size) * (1.0 + 2f64.powi(-20));
        let sound = size < f64::from(super::HUGE) && rounded < 0.5;
        if sound { (bound as f32).next_up() } else { f32::INFINITY }
    }
}

struct Unpack<'a> {
    layout: &'a BitPlaneLayout,
    strip: &'a [u8],
    row: usize,
    dst: &'a mut [f32],
}

impl ForFormat for Unpack<'_> {
    type Out = ();

    fn quantised<F: Format>(self) {
        let Unpack { layout, strip, row, dst } = self;
        let (high, low) = strip.split_at(layout.low_at);
        let spans = high[layout.scales_at..].chunks_exact(F::Scales::BYTES);
        for (span, (dst, scales)) in dst.chunks_exact_mut(F::Scales::SPAN).zip(spans).enumerate() {
            for (i, value) in dst.iter_mut().enumerate() {
                let at = span * F::Scales::SPAN + i;
                let high = Five::code(&high[at / PART * Five::BYTES..], row, at % PART);
                let low = LowThree::code(&low[at / PART * LowThree::BYTES..], row, at % PART);
                let code = i32::from(high << LOW_BITS | low);
                *value = F::Scales::value(scales, row, i, code - F::OFFSET);
            }
        }
    }
}
