//! The mel filters that Whisper was trained with, as its feature extractor defines them: Slaney's scale and area
//! normalisation (M. Slaney, Auditory Toolbox, 1998) over the bins of a 400-point transform at 16 kHz. They are written
//! into the models of whisper.cpp, and Smart Turn, which was made from Whisper, sees through them too.

/// Bands, as in every Whisper but the third large one.
pub const MELS: usize = 80;
/// Samples at 16 kHz that are transformed together: 25 ms.
pub const WINDOW: usize = 400;
/// Bins of their transform.
pub const BINS: usize = WINDOW / 2 + 1;
/// Hertz from one bin to the next: 16 000 / 400.
const BIN_WIDTH: f64 = 40.0;
const HIGHEST: f64 = 8000.0;

/// Slaney's scale is linear below 1 kHz (3 mels per 200 Hz) and logarithmic above (27 mels per factor of 6.4).
const LINEAR_HZ_PER_MEL: f64 = 200.0 / 3.0;
const BREAK_HZ: f64 = 1000.0;
const BREAK_MEL: f64 = BREAK_HZ / LINEAR_HZ_PER_MEL;
const MELS_PER_FACTOR: f64 = 27.0;
const FACTOR: f64 = 6.4;

/// `[80, 201]` row by row: how much each bin adds to each band. Computed in double precision, then rounded once.
pub fn filters() -> Vec<f32> {
    let top = mel_of(HIGHEST);
    let edges: Vec<f64> = (0..MELS + 2).map(|i| hz_of(top * i as f64 / (MELS + 1) as f64)).collect();
    let triangle = |band: usize, bin: usize| {
        let (low, centre, high) = (edges[band], edges[band + 1], edges[band + 2]);
        let hz = bin as f64 * BIN_WIDTH;
        let height = ((hz - low) / (centre - low)).min((high - hz) / (high - centre)).max(0.0);
        (height * 2.0 / (high - low)) as f32
    };
    (0..MELS).flat_map(|band| (0..BINS).map(move |bin| (band, bin))).map(|(band, bin)| triangle(band, bin)).collect()
}

fn mel_of(hz: f64) -> f64 {
    if hz < BREAK_HZ {
        hz / LINEAR_HZ_PER_MEL
    } else {
        BREAK_MEL + MELS_PER_FACTOR * (hz / BREAK_HZ).ln() / FACTOR.ln()
    }
}

fn hz_of(mel: f64) -> f64 {
    if mel < BREAK_MEL { mel * LINEAR_HZ_PER_MEL } else { BREAK_HZ * FACTOR.powf((mel - BREAK_MEL) / MELS_PER_FACTOR) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures are those of the filters that OpenAI ships.
    #[test]
    fn filters_are_those_of_the_training() {
        let filters = filters();
        assert_eq!(filters.len(), MELS * BINS);
        assert_eq!(filters.iter().filter(|&&weight| weight != 0.0).count(), 391);
        let highest = filters.iter().copied().fold(0.0, f32::max);
        assert!((highest - 0.025881).abs() < 1e-6, "{highest}");
        assert!(filters.iter().all(|&weight| weight >= 0.0));
    }

    #[test]
    fn the_scale_turns_back() {
        for hz in [0.0, 440.0, 999.9, 1000.0, 4000.0, 8000.0] {
            assert!((hz_of(mel_of(hz)) - hz).abs() < 1e-9, "{hz}");
        }
    }
}
