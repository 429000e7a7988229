//! Products of strips of weights and sixteen tokens at a time, on a processor that multiplies
//! tiles. Uses integers, and adds results in the order of [`Product`]: they are bit-identical.

use super::activations::Tile;
use super::product::{Product, with_quads};
use crate::interleaved::{BitPlanes, Format, PART, STRIP, Scales};
use crate::isa::Isa;
use crate::tiles::{Session, Sums, TILE};
use std::ops::Range;

/// Number of tiles of tokens per unpacking of weights: 128 tokens, whose totals are 8 KiB.
const BLOCK: usize = 8;
/// Number of parts of columns that are unpacked together, in 8 KiB.
const CHUNK: usize = 16;
const QUADS: usize = PART / 4;
/// Number of bytes of the unpacked codes of a part.
const CODES: usize = PART * STRIP;

#[repr(align(64))]
struct Codes([u8; CHUNK * CODES]);

/// Number of quads in a product of tiles: those that share a scale.
pub(crate) const fn quads_of<F: Format>() -> usize {
    F::Scales::GROUP / 4
}

impl Product<'_, '_> {
    /// Multiplies all tokens that fill tiles by the strip whose first row is `row`.
    #[inline(always)]
    pub(super) fn wide<I: Isa, F: Format>(&self, isa: I, session: &Session, strip: &[u8], row: usize) {
        let (parts, tiles) = (self.layout.cols() / PART, self.x.wide_tokens() / TILE);
        let mut codes = Codes([0; CHUNK * CODES]);
        for first in (0..tiles).step_by(BLOCK) {
            let mut totals = [[[0.0; STRIP]; TILE]; BLOCK];
            let totals = &mut totals[..BLOCK.min(tiles - first)];
            for start in (0..parts).step_by(CHUNK) {
                let parts = start..(start + CHUNK).min(parts);
                self.unpack::<I, F>(isa, strip, parts.clone(), &mut codes);
                for (tile, totals) in totals.iter_mut().enumerate() {
                    self.add_parts::<I, F>(isa, session, strip, parts.clone(), &codes, (first + tile) * TILE, totals);
                }
            }
            for (t, totals) in totals.as_flattened().iter().enumerate() {
                self.put_row(row, first * TILE + t, totals);
            }
        }
    }

    /// Unpacks the codes of some parts to `[part][quad][row][4]`.
    #[inline(always)]
    fn unpack<I: Isa, F: Format>(&self, isa: I, strip: &[u8], parts: Range<usize>, codes: &mut Codes) {
        for (part, to) in parts.zip(codes.0.chunks_exact_mut(CODES)) {
            let from = &strip[part * F::BitPlanes::BYTES..][..F::BitPlanes::BYTES];
            for lane in (0..STRIP).step_by(I::LANES) {
                with_quads!(QUADS, 0, quad => {
                    // SAFETY: `from` is a part; a quad of all rows is 64 bytes of `to`.
                    unsafe {
                        let codes = F::BitPlanes::quad(isa, from.as_ptr().add(4 * lane), quad);
                        isa.store_quads(codes, to.as_mut_ptr().add(4 * (quad * STRIP + lane)));
                    }
                });
            }
        }
    }

    /// Adds the products of some parts for the sixteen tokens from `token` on.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    fn add_parts<I: Isa, F: Format>(
        &self,
        isa: I,
        session: &Session,
        strip: &[u8],
        parts: Range<usize>,
        codes: &Codes,
        token: usize,
        totals: &mut [[f32; STRIP]; TILE],
    ) {
        let x = self.x.tile(token, TILE);
        let groups = PART / F::Scales::GROUP;
        let mut sums = Sums::default();
        for (part, codes) in parts.zip(codes.0.chunks_exact(CODES)) {
            let (span, col) = (part * PART / F::Scales::SPAN, part * PART % F::Scales::SPAN);
            // SAFETY: the tile has as many parts as the strip, which has the scales of all spans
            // (see `InterleavedLayout`); groups stay within a part.
            unsafe {
                let (x, span) =
                    (x.part(part, groups), strip.as_ptr().add(self.layout.scales_at + span * F::Scales::BYTES));
                for group in 0..groups {
                    let codes = codes.as_ptr().add(group * F::Scales::GROUP * STRIP);
                    session.multiply(codes, x.bytes(group, F::Scales::GROUP), &mut sums);
                    add_sums::<I, F>(isa, &sums, span, col + group * F::Scales::GROUP, x, group, totals);
                }
            }
        }
    }
}

/// Adds the sums of a group of columns.
///
/// # Safety
/// The conditions of `add_part` of [`super::product`] apply; `x` has sixteen tokens, and column
/// `col` of the span begins group `group`.
#[inline(always)]
unsafe fn add_sums<I: Isa, F: Format>(
    isa: I,
    sums: &Sums,
    span: *const u8,
    col: usize,
    x: Tile,
    group: usize,
    totals: &mut [[f32; STRIP]; TILE],
) {
    for lane in (0..STRIP).step_by(I::LANES) {
        // SAFETY: guaranteed by the caller; `lane` is a multiple of the lanes and below STRIP.
        let (scales, min) = unsafe { F::Scales::load(isa, span, lane, col) };
        for (t, totals) in totals.iter_mut().enumerate() {
            let at = group * TILE + t;
            // SAFETY: the group has the numbers of sixteen tokens.
            let (scale, sum, start) = unsafe { (*x.scales.add(at), *x.sums.add(at), *x.starts.add(at)) };
            let codes = isa.to_floats(isa.sum_bytes(&sums.high[t][lane..], &sums.low[t][lane..], start));
            let mut total = isa.mul_add(codes, isa.mul(scales, isa.splat(scale)), isa.load(&totals[lane..]));
            if F::Scales::HAS_MIN {
                total = isa.mul_add(min, isa.splat(sum), total);
            }
            isa.store(total, &mut totals[lane..]);
        }
    }
}
