//! Whisper hears at most 30 s at once. Longer sound is cut where it is quietest.

use std::ops::Range;

/// 28 s at 16 kHz: with the margin of the encoder context it fits in the 30 s.
pub const LONGEST: usize = 28 * 16_000;
/// A cut is looked for in the last 10 s of a window.
const SEARCH: usize = 10 * 16_000;
/// 20 ms: what is compared; and how many of them in a row, 200 ms, a pause is judged by.
const STEP: usize = 320;
const PAUSE: usize = 10;

/// Windows of at most 28 s that cover all of `samples`, in order, without gaps.
pub fn cut(samples: &[f32]) -> Vec<Range<usize>> {
    let mut windows = Vec::new();
    let mut start = 0;
    while samples.len() - start > LONGEST {
        let end = quietest(samples, start + LONGEST - SEARCH..start + LONGEST);
        windows.push(start..end);
        start = end;
    }
    if start < samples.len() {
        windows.push(start..samples.len());
    }
    windows
}

/// Windows that hold the `spans` of voice (in order, not overlapping) and as little else as possible: neighbours share a
/// window while it stays short enough, longer spans are cut where they are quietest.
pub fn gather(samples: &[f32], spans: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut windows: Vec<Range<usize>> = Vec::new();
    for span in spans {
        let span = span.start.min(samples.len())..span.end.min(samples.len());
        for piece in cut(&samples[span.clone()]) {
            let piece = span.start + piece.start..span.start + piece.end;
            match windows.last_mut() {
                Some(last) if piece.start >= last.end && piece.end - last.start <= LONGEST => last.end = piece.end,
                _ => windows.push(piece),
            }
        }
    }
    windows
}

/// The middle of the quietest 200 ms in `range`.
fn quietest(samples: &[f32], range: Range<usize>) -> usize {
    let powers: Vec<f32> =
        samples[range.clone()].chunks_exact(STEP).map(|step| step.iter().map(|s| s * s).sum()).collect();
    let sums = powers.windows(PAUSE).map(|pause| pause.iter().sum::<f32>());
    let best = sums.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(index, _)| index);
    range.start + (best + PAUSE / 2) * STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: usize = 16_000;

    /// Noise with silence of half a second at the given seconds.
    fn sound(seconds: usize, pauses: &[usize]) -> Vec<f32> {
        let loud = |i: usize| (i as f32 * 12.9898).sin() * 0.1;
        let quiet = |i: usize| pauses.iter().any(|&at| (at * SECOND..at * SECOND + SECOND / 2).contains(&i));
        (0..seconds * SECOND).map(|i| if quiet(i) { 0.0 } else { loud(i) }).collect()
    }

    #[test]
    fn short_sound_is_one_window() {
        for length in [0, 1, SECOND, LONGEST] {
            let whole = (length > 0).then_some(0..length);
            assert_eq!(cut(&vec![0.0; length]), Vec::from_iter(whole));
        }
    }

    #[test]
    fn long_sound_is_cut_in_its_pauses_and_nothing_is_lost() {
        let samples = sound(70, &[5, 25, 40, 47]);
        let windows = cut(&samples);
        for (end, pause) in windows.iter().map(|window| window.end).zip([25, 47]) {
            assert!((pause * SECOND..pause * SECOND + SECOND / 2).contains(&end), "{windows:?}");
        }
        assert_eq!((windows[0].start, windows.last().unwrap().end), (0, samples.len()));
        assert!(windows.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(windows.iter().all(|window| window.len() <= LONGEST));
    }

    #[test]
    fn spans_of_voice_share_windows() {
        let samples = sound(90, &[70]);
        let seconds = |range: Range<usize>| range.start * SECOND..range.end * SECOND;
        let spans: Vec<_> = [1..4, 6..9, 26..31, 31..33, 60..89].into_iter().map(seconds).collect();
        let windows = gather(&samples, &spans);
        assert_eq!(windows[..2], [seconds(1..9), seconds(26..33)]);
        assert_eq!(windows.len(), 4);
        assert!(windows.iter().all(|window| window.len() <= LONGEST));
        assert!(gather(&samples, &[seconds(100..200)]).is_empty());
    }
}
