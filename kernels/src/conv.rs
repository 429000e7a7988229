//! What stands between a DeltaNet layer's projection and its rule: a short causal convolution over each channel, SiLU,
//! and queries and keys brought to length 1.

use std::io::{self, Read, Write};

use crate::deltanet::{CHUNK, Place};
use crate::elementwise::{scale, sum_of_squares, zeros};
use crate::isa::{Isa, Kernel, silu};
use crate::numbers::{read_numbers, write_numbers};
use crate::pool::SharedMut;
use crate::{Pool, Simd};

/// Added to the sum of squares of a query or key before the root; a constant of the architecture.
const LENGTH_EPS: f64 = 1e-6;

/// How the channels of a DeltaNet layer are divided: all queries, then all keys, then all values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLayout {
    pub key_heads: usize,
    /// A multiple of `key_heads`.
    pub value_heads: usize,
    pub key_dim: usize,
    pub value_dim: usize,
    /// Whether value head h belongs to key head h mod `key_heads`, and not to h / (`value_heads` / `key_heads`).
    pub tiled: bool,
}

impl HeadLayout {
    /// Values of all keys (or queries) of a token.
    pub fn key_width(&self) -> usize {
        self.key_heads * self.key_dim
    }

    /// Values of all values of a token.
    pub fn value_width(&self) -> usize {
        self.value_heads * self.value_dim
    }

    pub fn channels(&self) -> usize {
        2 * self.key_width() + self.value_width()
    }

    /// The key head that a value head belongs to.
    pub fn key_head(&self, value_head: usize) -> usize {
        match self.tiled {
            true => value_head % self.key_heads,
            false => value_head / (self.value_heads / self.key_heads),
        }
    }

    pub(crate) fn value_heads_of(&self, key_head: usize) -> impl Iterator<Item = usize> {
        let group = self.value_heads / self.key_heads;
        let (first, step) = if self.tiled { (key_head, self.key_heads) } else { (key_head * group, 1) };
        (0..group).map(move |j| first + j * step)
    }
}

/// The raw inputs of the convolution that later tokens still see: those of the chunk of the last position and the
/// `taps - 1` before it, so that one can go back within the chunk, as in [`DeltaState`](crate::DeltaState).
#[derive(Clone)]
pub struct ConvState {
    channels: usize,
    /// Rows before the border.
    before: usize,
    place: Place,
    /// `[before + CHUNK, channels]`; row `before` is that of position `border`.
    rows: Vec<f32>,
}

impl ConvState {
    /// Zeros stand before the first token. Panics without taps, or if the size overflows.
    pub fn new(channels: usize, taps: usize) -> ConvState {
        let bytes = ConvState::planned_bytes(channels, taps).expect("taps, and rows that fit in memory");
        ConvState { channels, before: taps - 1, place: Place::default(), rows: zeros(bytes / size_of::<f32>()) }
    }

    /// Bytes that [`ConvState::new`] takes; `None` if they overflow.
    pub fn planned_bytes(channels: usize, taps: usize) -> Option<usize> {
        taps.checked_sub(1)?.checked_add(CHUNK)?.checked_mul(channels)?.checked_mul(size_of::<f32>())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.rows.len() * size_of::<f32>()
    }

    /// The `taps - 1` rows before the next position, `[taps - 1, channels]`.
    pub fn last_rows(&self) -> &[f32] {
        &self.rows[self.place.entries() * self.channels..][..self.before * self.channels]
    }

    /// The `taps - 1` rows before the border, for a later [`ConvState::set_rows`].
    pub fn border_rows(&self) -> &[f32] {
        &self.rows[..self.before * self.channels]
    }

    /// As [`DeltaState::truncate`](crate::DeltaState::truncate).
    pub fn truncate(&mut self, len: usize) {
        self.place.truncate(len);
    }

    /// Goes to the border `position`, before which `rows` stood. Panics if it is none, or if `rows` has another size.
    pub fn set_rows(&mut self, position: usize, rows: &[f32]) {
        assert_eq!(rows.len(), self.before * self.channels, "rows are [{}, {}]", self.before, self.channels);
        self.place = Place::new(position, position);
        self.rows[..rows.len()].copy_from_slice(rows);
    }

    /// Back to before the first token.
    pub fn clear(&mut self) {
        self.rows.fill(0.0);
        self.place = Place::default();
    }

    /// Bytes that [`ConvState::write_to`] writes.
    pub fn written_bytes(&self) -> usize {
        self.used() * size_of::<f32>()
    }

    /// Writes the rows that are still seen.
    pub fn write_to(&self, to: &mut impl Write) -> io::Result<()> {
        write_numbers(&self.rows[..self.used()], to)
    }

    /// Becomes what [`ConvState::write_to`] wrote after `len` positions with the border at `border`. On an error it is
    /// of no use until it is cleared. Panics unless `border` is one, and at most [`CHUNK`] before `len`.
    pub fn read_from(&mut self, border: usize, len: usize, from: &mut impl Read) -> io::Result<()> {
        self.place = Place::new(border, len);
        let used = self.used();
        read_numbers(&mut self.rows[..used], from)
    }

    /// Values of the rows before the border and of those since.
    fn used(&self) -> usize {
        (self.before + self.place.entries()) * self.channels
    }

    /// Takes over the rows of `x` `[before + n, channels]`, the first of which are [`ConvState::last_rows`].
    fn remember(&mut self, x: &[f32], n: usize) {
        let then = self.place.after(n);
        let (from, to) = match then.border == self.place.border {
            true => (self.before, self.before + self.place.entries()),
            false => (then.border - self.place.len, 0),
        };
        let new = &x[from * self.channels..];
        self.rows[to * self.channels..][..new.len()].copy_from_slice(new);
        self.place = then;
    }
}

/// mixed`[n, channels]` = silu(Σⱼ taps[j] · x[t + j]) for the next `n` tokens, queries and keys then divided by
/// sqrt(Σ² + 1e-6), and queries by sqrt(key_dim) as well.
///
/// `x` is `[taps - 1 + n, channels]`: the caller has filled in the last `n` rows, the first come from `state`. `taps` is
/// `[taps, channels]`, the newest token's last. Heads run in parallel. Panics if the lengths disagree.
#[allow(clippy::too_many_arguments)]
pub fn mix_heads(
    pool: &Pool,
    simd: Simd,
    heads: &HeadLayout,
    taps: &[f32],
    state: &mut ConvState,
    x: &mut [f32],
    mixed: &mut [f32],
) {
    let channels = heads.channels();
    let n = mixed.len() / channels;
    let rows = state.before + 1;
    assert_eq!((state.channels, taps.len()), (channels, rows * channels), "taps are [{rows}, {channels}]");
    assert_eq!(
        (x.len(), mixed.len()),
        ((state.before + n) * channels, n * channels),
        "x and mixed are of [{n}, {channels}]"
    );
    x[..state.before * channels].copy_from_slice(state.last_rows());
    let (x, out) = (&*x, SharedMut::new(mixed));
    pool.run(2 * heads.key_heads + heads.value_heads, |head, _| {
        let keys = 2 * heads.key_heads;
        let (first, dim, length) = match head {
            _ if head < heads.key_heads => {
                (head * heads.key_dim, heads.key_dim, Some(1.0 / (heads.key_dim as f64).sqrt()))
            }
            _ if head < keys => (head * heads.key_dim, heads.key_dim, Some(1.0)),
            _ => (keys * heads.key_dim + (head - keys) * heads.value_dim, heads.value_dim, None),
        };
        simd.run(MixHead { channels, taps, x, n, first, dim, length, out });
    });
    state.remember(x, n);
}

/// One head: channels `first..first + dim`.
struct MixHead<'a> {
    channels: usize,
    taps: &'a [f32],
    x: &'a [f32],
    n: usize,
    first: usize,
    dim: usize,
    /// The length of the result; `None` leaves it as it is.
    length: Option<f64>,
    out: SharedMut<'a, f32>,
}

impl Kernel for MixHead<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let MixHead { channels, first, dim, length, .. } = self;
        for t in 0..self.n {
            // SAFETY: these channels belong to this task.
            let out = unsafe { self.out.slice(t * channels + first, dim) };
            let x = &self.x[t * channels + first..];
            let taps = &self.taps[first..];
            let whole = dim / I::LANES * I::LANES;
            for at in (0..whole).step_by(I::LANES) {
                convolve(isa, &x[at..], &taps[at..], channels, self.taps.len() / channels, &mut out[at..]);
            }
            self.tail(isa, x, taps, whole, out);
            if let Some(length) = length {
                let by = (length / (sum_of_squares(isa, out) + LENGTH_EPS).sqrt()) as f32;
                scale(isa, by, out);
            }
        }
    }
}

impl MixHead<'_> {
    /// The channels that do not fill a vector, in one that is filled up with zeros.
    #[inline(always)]
    fn tail<I: Isa>(&self, isa: I, x: &[f32], taps: &[f32], whole: usize, out: &mut [f32]) {
        const STRIDE: usize = 16;
        let (count, rows) = (self.dim - whole, self.taps.len() / self.channels);
        if count == 0 {
            return;
        }
        let (mut y, mut sum) = ([0.0; STRIDE], isa.zero());
        for j in 0..rows {
            let (mut a, mut b) = ([0.0; STRIDE], [0.0; STRIDE]);
            a[..count].copy_from_slice(&x[j * self.channels + whole..][..count]);
            b[..count].copy_from_slice(&taps[j * self.channels + whole..][..count]);
            sum = isa.mul_add(isa.load(&a), isa.load(&b), sum);
        }
        isa.store(silu(isa, sum), &mut y);
        out[whole..].copy_from_slice(&y[..count]);
    }
}

/// One vector of channels of one token.
#[inline(always)]
fn convolve<I: Isa>(isa: I, x: &[f32], taps: &[f32], channels: usize, rows: usize, out: &mut [f32]) {
    let mut sum = isa.zero();
    for j in 0..rows {
        sum = isa.mul_add(isa.load(&x[j * channels..]), isa.load(&taps[j * channels..]), sum);
    }
    isa.store(silu(isa, sum), out);
}
