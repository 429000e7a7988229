//! Products of split strips and activations, with tokens that were rounded separately.

use super::layout::{BitPlaneLayout, LOW_BITS, MIDDLE};
use crate::interleaved::{BitPlanes, Five, ForFormat, Format, LowThree, PART, STRIP, Scales, for_format};
use crate::isa::{Isa, Kernel};
use crate::matmul::activations::{Activations, Tile};
use crate::pool::SharedMut;
use std::ops::Range;

/// Prefetch distance in bytes of codes; as in the product of strips.
const AHEAD: usize = 8192;
const CACHE_LINE: usize = 64;

/// Computes upper bounds of the products in each strip, for as many strips as `uppers`.
pub(super) struct Coarse<'a> {
    pub layout: &'a BitPlaneLayout,
    /// Bytes of all strips of the matrix.
    pub data: &'a [u8],
    pub first: usize,
    pub x: &'a Activations,
    /// Bounds of the rows of these strips.
    pub bounds: &'a [f32],
    /// Upper bound of the norm of x.
    pub reach: f32,
    pub uppers: &'a mut [f32],
}

/// Computes the products of the rows of strips `of(i)` for i in `which`; prefetches `of(which.end)`
/// too.
pub(super) struct Exact<'a, 'y, F> {
    pub layout: &'a BitPlaneLayout,
    pub data: &'a [u8],
    pub which: Range<usize>,
    pub of: F,
    pub x: &'a Activations,
    /// Result `[tokens, rows]`; this call writes the rows of its strips.
    pub y: SharedMut<'y, f32>,
}

/// Repeats the body once for each quad, written out so that shifts are constants; see the product
/// of strips.
macro_rules! for_quads {
    ($quad:ident => $body:block) => {
        for_quads!(@ $quad, $body, 0, 4, 1, 5, 2, 6, 3, 7)
    };
    (@ $quad:ident, $body:block, $($number:literal),*) => {
        $({
            let $quad: usize = $number;
            $body
        })*
    };
}

impl Kernel for Coarse<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let end = self.first + self.uppers.len();
        assert!(end <= self.layout.strips() && self.data.len() == self.layout.bytes());
        assert!(self.bounds.len() == self.uppers.len() * STRIP && self.x.tokens() == 1);
        for_format(self.layout.kind(), CoarseOn { isa, work: self });
    }
}

struct CoarseOn<'a, I> {
    isa: I,
    work: Coarse<'a>,
}

impl<I: Isa> ForFormat for CoarseOn<'_, I> {
    type Out = ();

    #[inline(always)]
    fn quantised<F: Format>(self) {
        if F::BitPlanes::BITS != 8 {
            return;
        }
        let CoarseOn { isa, work: Coarse { layout, data, first, x, bounds, reach, uppers } } = self;
        let (bytes, x) = (layout.strip_bytes(), x.tile(0, 1));
        for (number, (upper, bounds)) in uppers.iter_mut().zip(bounds.chunks_exact(STRIP)).enumerate() {
            let strip = &data[(first + number) * bytes..][..bytes];
            *upper = f32::NEG_INFINITY;
            for lane in (0..STRIP).step_by(I::LANES) {
                let total = coarse::<I, F>(isa, layout, strip, lane, x);
                let most = isa.mul_add(isa.load(&bounds[lane..]), isa.splat(reach), total);
                // NaN must not be excluded.
                let most = isa.min(isa.add(most, isa.splat(super::TINY)), isa.splat(f32::MAX));
                *upper = upper.max(isa.largest(most));
            }
        }
    }
}

/// Computes the coarse products of as many rows as there are lanes.
#[inline(always)]
fn coarse<I: Isa, F: Format>(isa: I, layout: &BitPlaneLayout, strip: &[u8], lane: usize, x: Tile) -> I::Floats {
    let (parts, scales_at) = (layout.cols() / PART, layout.scales_at());
    let scale_bytes = F::Scales::BYTES * PART / F::Scales::SPAN;
    let mut total = isa.zero();
    for part in 0..parts {
        let (span, col) = (part * PART / F::Scales::SPAN, part * PART % F::Scales::SPAN);
        let at = part * Five::BYTES;
        if lane == 0 {
            for line in (0..Five::BYTES).step_by(CACHE_LINE) {
                // The high bits of the next strip are prefetched after those of this one.
                let ahead = at + AHEAD + line;
                let ahead = if ahead < scales_at { ahead } else { strip.len() + ahead - scales_at };
                isa.prefetch(strip.as_ptr().wrapping_add(ahead));
            }
            for line in (0..scale_bytes).step_by(CACHE_LINE) {
                isa.prefetch(strip.as_ptr().wrapping_add(strip.len() + scales_at + part * scale_bytes + line));
            }
        }
        // SAFETY: `strip` has the high bits of all parts and the scales of all spans (see
        // `BitPlaneLayout`), `lane` is below STRIP; the tile has one token of as many columns.
        unsafe {
            let high = strip.as_ptr().add(at + 4 * lane);
            let x = x.part(part, 1);
            let (mut even, mut odd) = (isa.start_quads(0), isa.start_quads(0));
            for_quads!(quad => {
                let w = Five::quad(isa, high, quad);
                if quad.is_multiple_of(2) {
                    even = isa.add_quads(w, x.quads.add(4 * quad), even);
                } else {
                    odd = isa.add_quads(w, x.quads.add(4 * quad), odd);
                }
            });
            let sum = isa.to_floats(isa.sum_quads(isa.join_quads(even, odd)));
            let span = strip.as_ptr().add(scales_at + span * F::Scales::BYTES);
            let (scale, min) = F::Scales::load(isa, span, lane, col);
            let added = isa.mul_add(scale, isa.splat(MIDDLE - F::OFFSET as f32), min);
            let scale = isa.mul(scale, isa.splat((1 << LOW_BITS) as f32 * *x.scales));
            total = isa.mul_add(sum, scale, total);
            total = isa.mul_add(added, isa.splat(*x.sums), total);
        }
    }
    total
}

impl<Of: Fn(usize) -> usize> Kernel for Exact<'_, '_, Of> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        assert_eq!(self.data.len(), self.layout.bytes());
        for_format(self.layout.kind(), ExactOn { isa, work: self });
    }
}

struct ExactOn<'a, 'y, I, Of> {
    isa: I,
    work: Exact<'a, 'y, Of>,
}

impl<I: Isa, Of: Fn(usize) -> usize> ForFormat for ExactOn<'_, '_, I, Of> {
    type Out = ();

    #[inline(always)]
    fn quantised<F: Format>(self) {
        if F::BitPlanes::BITS != 8 {
            return;
        }
        let ExactOn { isa, work: Exact { layout, data, which, of, x, y } } = self;
        let bytes = layout.strip_bytes();
        for i in which {
            let (number, next) = (of(i), data.as_ptr().wrapping_add(of(i + 1) * bytes));
            let (first, strip) = (number * STRIP, &data[number * bytes..][..bytes]);
            for token in 0..x.tokens() {
                // The next strip is prefetched once.
                let next = (token == 0).then_some(next);
                let mut products = [0.0; STRIP];
                for lane in (0..STRIP).step_by(I::LANES) {
                    isa.store(exact::<I, F>(isa, layout, strip, next, lane, x.tile(token, 1)), &mut products[lane..]);
                }
                let rows = STRIP.min(layout.rows() - first);
                // SAFETY: a strip belongs to one call.
                unsafe { y.slice(token * layout.rows() + first, rows) }.copy_from_slice(&products[..rows]);
            }
        }
    }
}

/// Computes the products of as many rows as there are lanes, in the order and rounding of the
/// product of strips.
#[inline(always)]
fn exact<I: Isa, F: Format>(
    isa: I,
    layout: &BitPlaneLayout,
    strip: &[u8],
    next: Option<*const u8>,
    lane: usize,
    x: Tile,
) -> I::Floats {
    let (parts, scales_at, low_at) = (layout.cols() / PART, layout.scales_at(), layout.low_at());
    let share = layout.strip_bytes() / parts;
    let mut total = isa.zero();
    for part in 0..parts {
        let (span, col) = (part * PART / F::Scales::SPAN, part * PART % F::Scales::SPAN);
        if let (0, Some(next)) = (lane, next) {
            for line in (0..share).step_by(CACHE_LINE) {
                isa.prefetch(next.wrapping_add(part * share + line));
            }
        }
        // SAFETY: as in `coarse`, and `strip` has the low bits of all parts.
        unsafe {
            let high = strip.as_ptr().add(part * Five::BYTES + 4 * lane);
            let low = strip.as_ptr().add(low_at + part * LowThree::BYTES + 4 * lane);
            let x = x.part(part, 1);
            let (mut even, mut odd) = (isa.start_quads(*x.starts), isa.start_quads(0));
            for_quads!(quad => {
                let (high, low) = (Five::quad(isa, high, quad), LowThree::quad(isa, low, quad));
                let w = isa.quads_or(isa.quads_left(high, LOW_BITS, 0xff << LOW_BITS), low);
                if quad.is_multiple_of(2) {
                    even = isa.add_quads(w, x.quads.add(4 * quad), even);
                } else {
                    odd = isa.add_quads(w, x.quads.add(4 * quad), odd);
                }
            });
            let sum = isa.to_floats(isa.sum_quads(isa.join_quads(even, odd)));
            let span = strip.as_ptr().add(scales_at + span * F::Scales::BYTES);
            let (scale, min) = F::Scales::load(isa, span, lane, col);
            total = isa.mul_add(sum, isa.mul(scale, isa.splat(*x.scales)), total);
            if F::Scales::HAS_MIN {
                total = isa.mul_add(min, isa.splat(*x.sums), total);
            }
        }
    }
    total
}
