//! Windows of a sound. Whisper takes at most 30 s at once; longer sound is cut where it is
//! quietest.

use std::ops::Range;

/// Longest window: 28 s at 16 kHz, which with the margin of the encoder context fits in the 30 s.
pub const LONGEST: usize = 28 * 16_000;
/// Part at the end of a window in which a cut is searched: 10 s.
const SEARCH: usize = 10 * 16_000;
/// Step over which loudness is compared, 20 ms; and the number of steps that make a pause, 200 ms.
const STEP: usize = 320;
const PAUSE: usize = 10;
/// Distance in which a cut is searched, 300 ms: the precision of Whisper's times.
const NEAR: usize = 4_800;

/// Cuts all of `samples` into windows of at most 28 s, in order, without gaps.
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

/// First window at or after sample `from` that holds the `spans` of voice (in order, not
/// overlapping) and as little else as possible: neighbours share it while it stays short enough, a
/// longer span is cut where it is quietest.
pub fn next(samples: &[f32], spans: &[Range<usize>], from: usize) -> Option<Range<usize>> {
    let rest = |span: &Range<usize>| span.start.max(from)..span.end.min(samples.len());
    let mut rest = spans.iter().map(rest).filter(|span| span.start < span.end);
    let first = rest.next()?;
    let piece = cut(&samples[first.clone()]).into_iter().next()?;
    let mut window = first.start..first.start + piece.end;
    if window.end < first.end {
        return Some(window);
    }
    for span in rest.take_while(|span| span.end - first.start <= LONGEST) {
        window.end = span.end;
    }
    Some(window)
}

/// Quietest position within 300 ms of sample `at`.
pub fn quietest_near(samples: &[f32], at: usize) -> usize {
    let range = at.saturating_sub(NEAR)..(at + NEAR).min(samples.len());
    if range.len() < PAUSE * STEP { at.min(samples.len()) } else { quietest(samples, range) }
}

/// Middle of the quietest 200 ms in `range`.
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

    /// Noise with half a second of silence at each of the given seconds.
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
        let (mut windows, mut from) = (Vec::new(), 0);
        while let Some(window) = next(&samples, &spans, from) {
            from = window.end;
            windows.push(window);
        }
        assert_eq!(windows[..2], [seconds(1..9), seconds(26..33)]);
        assert_eq!(windows.len(), 4);
        assert!(windows.iter().all(|window| window.len() <= LONGEST));
        assert_eq!(next(&samples, &spans, 7 * SECOND), Some(7 * SECOND..33 * SECOND));
        assert_eq!(next(&samples, &[seconds(100..200)], 0), None);
    }

    #[test]
    fn a_cut_near_a_time_is_in_the_pause() {
        let samples = sound(10, &[5]);
        let cut = quietest_near(&samples, 5 * SECOND - 1_000);
        assert!((5 * SECOND..5 * SECOND + SECOND / 2).contains(&cut), "{cut}");
        assert_eq!(quietest_near(&samples[..100], 500), 100);
    }
}
