//! Products of strips of weights and activations: each vector of codes is loaded once for as many
//! tokens as have their sums in registers. No sum crosses lanes, and a token's product is
//! bit-identical for any other tokens in the call.

use super::activations::{Activations, Tile, tiles};
use super::tiled::quads_of;
use crate::interleaved::{BitPlanes, ForFormat, Format, InterleavedLayout, PART, STRIP, Scales, for_format};
use crate::isa::{Isa, Kernel};
use crate::pool::SharedMut;
use crate::tiles::Tiles;
use std::ops::Range;

/// Prefetch distance in bytes of codes; for scales it is a strip.
const AHEAD: usize = 8192;
const CACHE_LINE: usize = 64;

/// y`[n, stride]`: the rows of `strips` of a matrix.
pub(crate) struct Product<'a, 'y> {
    pub layout: &'a InterleavedLayout,
    /// Bytes of all strips of the matrix.
    pub data: &'a [u8],
    pub strips: Range<usize>,
    pub x: &'a Activations,
    /// Whole result, `[n, rows of the matrix]`; this call writes the columns of its rows.
    pub y: SharedMut<'y, f32>,
    /// Tile instructions for tokens that were rounded to fill tiles.
    pub tiles: Option<Tiles>,
}

impl Kernel for Product<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        assert!(self.strips.end <= self.layout.strips() && self.data.len() == self.layout.bytes());
        for_format(self.layout.kind(), ProductOn { isa, work: self });
    }
}

struct ProductOn<'a, 'y, I> {
    isa: I,
    work: Product<'a, 'y>,
}

impl<I: Isa> ForFormat for ProductOn<'_, '_, I> {
    type Out = ();

    #[inline(always)]
    fn quantised<F: Format>(self) {
        let ProductOn { isa, work } = self;
        let bytes = work.layout.strip_bytes();
        let session = work.tiles.filter(|_| work.x.wide_tokens() > 0).map(|tiles| tiles.begin(quads_of::<F>()));
        for strip in work.strips.clone() {
            let data = &work.data[strip * bytes..][..bytes];
            if let Some(session) = &session {
                work.wide::<I, F>(isa, session, data, strip * STRIP);
            }
            for lane in (0..STRIP).step_by(I::LANES) {
                work.rows::<I, F>(isa, data, strip * STRIP + lane, lane);
            }
        }
    }
}

impl Product<'_, '_> {
    /// Multiplies as many rows as there are lanes, from `row` on, which is row `lane` of `strip`.
    #[inline(always)]
    fn rows<I: Isa, F: Format>(&self, isa: I, strip: &[u8], row: usize, lane: usize) {
        if row >= self.layout.rows() {
            return;
        }
        let wide = self.x.wide_tokens();
        for (token, width) in tiles(I::TOKENS, self.x.tokens() - wide).map(|(token, width)| (wide + token, width)) {
            // Widths that do not occur in the variant are never compiled: TOKENS is a constant.
            match width {
                8 if I::TOKENS >= 8 => self.put(isa, row, token, self.tile::<I, F, 8>(isa, strip, lane, token)),
                4 if I::TOKENS >= 4 => self.put(isa, row, token, self.tile::<I, F, 4>(isa, strip, lane, token)),
                2 => self.put(isa, row, token, self.tile::<I, F, 2>(isa, strip, lane, token)),
                _ => self.put(isa, row, token, self.tile::<I, F, 1>(isa, strip, lane, token)),
            }
        }
    }

    /// Computes the products of T tokens.
    #[inline(always)]
    fn tile<I: Isa, F: Format, const T: usize>(
        &self,
        isa: I,
        strip: &[u8],
        lane: usize,
        token: usize,
    ) -> [I::Floats; T] {
        let x = self.x.tile(token, T);
        let (parts, scales_at) = (self.layout.cols() / PART, self.layout.scales_at);
        // The first tile loads the strip into the cache for the others.
        let ask = token == 0 && lane == 0;
        let mut totals = [isa.zero(); T];
        for part in 0..parts {
            let (span, col) = (part * PART / F::Scales::SPAN, part * PART % F::Scales::SPAN);
            let at = part * F::BitPlanes::BYTES;
            if ask {
                for line in (0..F::BitPlanes::BYTES).step_by(CACHE_LINE) {
                    isa.prefetch(strip.as_ptr().wrapping_add(at + AHEAD + line));
                }
                let scales = scales_at + part * F::Scales::BYTES * PART / F::Scales::SPAN;
                for line in (0..F::Scales::BYTES * PART / F::Scales::SPAN).step_by(CACHE_LINE) {
                    isa.prefetch(strip.as_ptr().wrapping_add(scales + strip.len() + line));
                }
            }
            // SAFETY: `strip` has the codes of all parts and the scales of all spans (see
            // `InterleavedLayout`), and `lane` is below STRIP; the tile has T tokens of as many
            // columns.
            unsafe {
                let codes = strip.as_ptr().add(at + 4 * lane);
                let span = strip.as_ptr().add(scales_at + span * F::Scales::BYTES);
                add_part::<I, F, T>(isa, codes, span, lane, col, x.part(part, PART / F::Scales::GROUP), &mut totals);
            }
        }
        totals
    }

    /// Writes the results of one token for the rows of a strip.
    pub(super) fn put_row(&self, row: usize, token: usize, totals: &[f32; STRIP]) {
        let count = STRIP.min(self.layout.rows() - row);
        // SAFETY: the rows of a strip belong to the one call that has the strip.
        unsafe { self.y.slice(token * self.layout.rows() + row, count) }.copy_from_slice(&totals[..count]);
    }

    #[inline(always)]
    fn put<I: Isa, const T: usize>(&self, isa: I, row: usize, token: usize, totals: [I::Floats; T]) {
        let (stride, count) = (self.layout.rows(), I::LANES.min(self.layout.rows() - row));
        for (t, total) in totals.into_iter().enumerate() {
            // SAFETY: the rows of a strip belong to the one call that has the strip.
            let y = unsafe { self.y.slice((token + t) * stride + row, count) };
            if count == I::LANES {
                isa.store(total, y);
            } else {
                let mut all = [0.0; STRIP];
                isa.store(total, &mut all);
                y.copy_from_slice(&all[..count]);
            }
        }
    }
}

/// Repeats the body once for each quad of a group; written out, so that shifts are constants and
/// codes stay in registers. Quads in the two halves of the same bytes are consecutive.
macro_rules! with_quads {
    ($count:expr, $first:expr, $quad:ident => $body:block) => {
        if $count == 8 {
            with_quads!(@ $first, $quad, $body, 0, 4, 1, 5, 2, 6, 3, 7);
        } else {
            with_quads!(@ $first, $quad, $body, 0, 1, 2, 3);
        }
    };
    (@ $first:expr, $quad:ident, $body:block, $($number:literal),*) => {
        $({
            let $quad: usize = $first + $number;
            $body
        })*
    };
}

pub(super) use with_quads;

/// Adds the products of 32 columns.
///
/// # Safety
/// `codes` must point at row `lane` of a part, `span` at the span of its scales, which begins `col`
/// columns before; `x` must have T tokens of 32 columns.
#[inline(always)]
unsafe fn add_part<I: Isa, F: Format, const T: usize>(
    isa: I,
    codes: *const u8,
    span: *const u8,
    lane: usize,
    col: usize,
    x: Tile,
    totals: &mut [I::Floats; T],
) {
    const QUADS: usize = PART / 4;
    let groups = PART / F::Scales::GROUP;
    for group in 0..groups {
        // SAFETY: guaranteed by the caller; quads and groups stay within 32 columns.
        unsafe {
            let (mut sums, mut others) = ([isa.start_quads(0); T], isa.start_quads(0));
            for (t, sums) in sums.iter_mut().enumerate() {
                *sums = isa.start_quads(*x.starts.add(group * T + t));
            }
            with_quads!(QUADS / groups, group * (QUADS / groups), quad => {
                let w = F::BitPlanes::quad(isa, codes, quad);
                // A single token would wait for each sum before the next; with two sums it waits
                // half as long.
                if T == 1 && quad % 2 == 1 {
                    others = isa.add_quads(w, x.quads.add(4 * quad), others);
                } else {
                    for (t, sums) in sums.iter_mut().enumerate() {
                        *sums = isa.add_quads(w, x.quads.add(4 * (quad * T + t)), *sums);
                    }
                }
            });
            if T == 1 {
                sums[0] = isa.join_quads(sums[0], others);
            }
            let (scale, min) = F::Scales::load(isa, span, lane, col + group * F::Scales::GROUP);
            for (t, total) in totals.iter_mut().enumerate() {
                let sum = isa.to_floats(isa.sum_quads(sums[t]));
                let scale = isa.mul(scale, isa.splat(*x.scales.add(group * T + t)));
                *total = isa.mul_add(sum, scale, *total);
                if F::Scales::HAS_MIN {
                    *total = isa.mul_add(min, isa.splat(*x.sums.add(group * T + t)), *total);
                }
            }
        }
    }
}
