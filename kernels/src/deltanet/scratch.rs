//! Working memory of a thread for one head after another.

use std::sync::Mutex;

use super::{CHUNK, WIDEST};
use crate::conv::HeadLayout;
use crate::pool::lock;

/// Working memory of [`delta_rule`](crate::delta_rule); one for each thread, allocated at first
/// use.
#[derive(Default)]
pub struct DeltaScratch {
    rooms: Vec<Mutex<HeadScratch>>,
}

impl DeltaScratch {
    pub(super) fn rooms(&mut self, heads: &HeadLayout, taps: usize, threads: usize) -> &[Mutex<HeadScratch>] {
        let fits = |room: &Mutex<HeadScratch>| lock(room).is_for == (*heads, taps);
        if self.rooms.len() < threads || !self.rooms.iter().all(fits) {
            self.rooms = (0..threads).map(|_| Mutex::new(HeadScratch::new(heads, taps))).collect();
        }
        &self.rooms
    }
}

pub(super) struct HeadScratch {
    is_for: (HeadLayout, usize),
    /// Number of channels of a key head (q, k, then v of its value heads), rounded up to whole
    /// vectors of every variant.
    pub width: usize,
    /// Taps of these channels `[taps, width]`
    pub taps: Vec<f32>,
    /// Input of the convolution `[taps - 1 + CHUNK, width]`
    pub raw: Vec<f32>,
    /// Output of the convolution `[CHUNK, width]`
    pub mixed: Vec<f32>,
    /// Products kⱼ·kᵢ and kⱼ·qᵢ `[CHUNK, 2, CHUNK]`
    pub dots: Vec<f32>,
    /// Products S₀ᵀ kᵢ and S₀ᵀ qᵢ `[CHUNK, 2, stride]`
    pub reads: Vec<f32>,
    /// Keys times their remaining decay up to the end of the chunk `[key_dim, CHUNK]`
    pub faded: Vec<f32>,
    /// Value v of one token, then its output o `[stride]`
    pub row: Vec<f32>,
    /// Normed output o `[value_dim]`
    pub normed: Vec<f32>,
    /// Key head that was prefetched last.
    pub asked: Option<usize>,
}

impl HeadScratch {
    pub fn new(heads: &HeadLayout, taps: usize) -> HeadScratch {
        let stride = heads.value_dim.next_multiple_of(WIDEST);
        let width = heads.width_of_parts().next_multiple_of(WIDEST);
        HeadScratch {
            is_for: (*heads, taps),
            width,
            taps: vec![0.0; taps * width],
            raw: vec![0.0; (taps - 1 + CHUNK) * width],
            mixed: vec![0.0; CHUNK * width],
            dots: vec![0.0; 2 * CHUNK * CHUNK],
            reads: vec![0.0; 2 * CHUNK * stride],
            faded: vec![0.0; heads.key_dim * CHUNK],
            row: vec![0.0; stride],
            normed: vec![0.0; heads.value_dim],
            asked: None,
        }
    }
}
