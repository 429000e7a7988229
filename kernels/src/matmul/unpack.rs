//! Weights to f32.

use super::format::{ForFormat, Plain, Quantised, for_format, offset, widen};
use crate::isa::{Isa, Kernel};
use crate::{Affine, BlockType, reference};

/// `dst[i]` = value `i` of the blocks `src`.
pub(crate) struct Unpack<'a> {
    pub kind: BlockType,
    pub src: &'a [u8],
    pub dst: &'a mut [f32],
}

impl Kernel for Unpack<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        for_format(self.kind, UnpackOn { isa, src: self.src, dst: self.dst });
    }
}

struct UnpackOn<'a, I> {
    isa: I,
    src: &'a [u8],
    dst: &'a mut [f32],
}

impl<I: Isa> ForFormat for UnpackOn<'_, I> {
    type Out = ();

    #[inline(always)]
    fn plain<P: Plain>(self) {
        let UnpackOn { isa, src, dst } = self;
        let (mut from, mut to) = (src.chunks_exact(P::BYTES * I::LANES), dst.chunks_exact_mut(I::LANES));
        for (from, to) in (&mut from).zip(&mut to) {
            isa.store(P::load(isa, from), to);
        }
        for (from, to) in from.remainder().chunks_exact(P::BYTES).zip(to.into_remainder()) {
            *to = P::load_one(from);
        }
    }

    #[inline(always)]
    fn quantised<Q: Quantised>(self) {
        let UnpackOn { isa, src, dst } = self;
        let blocks = src.chunks_exact(Q::KIND.block_bytes());
        for (block, values) in blocks.zip(dst.chunks_exact_mut(Q::KIND.block_len())) {
            let all = Q::scales(isa, block);
            for part in 0..Q::KIND.block_len() / 32 {
                let codes = Q::codes(isa, block, part);
                for i in 0..32 / I::LANES {
                    let at = 32 * part + I::LANES * i;
                    let scale = isa.splat(all.scales[at / Q::GROUP]);
                    let quants = isa.sub(widen::<I, Q>(isa, codes, i), isa.splat(offset::<I, Q>()));
                    let scaled = isa.mul(quants, scale);
                    let value = if Q::HAS_MIN { isa.sub(scaled, isa.splat(all.mins[part])) } else { scaled };
                    isa.store(value, &mut values[at..]);
                }
            }
        }
    }

    #[inline(always)]
    fn affine(self, kind: Affine) {
        reference::unpack(BlockType::Affine(kind), self.src, self.dst);
    }
}
