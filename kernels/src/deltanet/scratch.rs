//! Where a thread works on one head after another.

use std::sync::Mutex;

use super::{CHUNK, WIDEST};
use crate::conv::HeadLayout;
use crate::pool::lock;

/// Room that [`delta_rule`](crate::delta_rule) works in; one for each thread, made when it is first
/// needed.
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
    /// Channels of a key head (q, k, then v of its value heads), filled up to whole vectors of
    /// every variant.
    pub width: usize,
    /// `[taps, width]`
    pub taps: Vec<f32>,
    /// What the convolution sees `[taps - 1 + CHUNK, width]`
    pub raw: Vec<f32>,
    /// What it gives `[CHUNK, width]`
    pub mixed: Vec<f32>,
    /// kⱼ·kᵢ and kⱼ·qᵢ `[CHUNK, 2, CHUNK]`
    pub dots: Vec<f32>,
    /// S₀ᵀ kᵢ and S₀ᵀ qᵢ `[CHUNK, 2, stride]`
    pub reads: Vec<f32>,
    /// Keys times what is left of them at the end of the chunk `[key_dim, CHUNK]`
    pub faded: Vec<f32>,
    /// One token's v, then o `[stride]`
    pub row: Vec<f32>,
    /// o normed `[value_dim]`
    pub normed: Vec<f32>,
    /// The key head whose memory was asked for last.
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
