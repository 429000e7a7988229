//! Guard against repetition. Whisper sometimes repeats itself without end, more often with a
//! smaller encoder context. The guard watches the tokens as they come and forces the end of the
//! text when they repeat.

use std::ffi::{c_int, c_void};

use whisper_rs::{WhisperSysContext, WhisperSysState, WhisperTokenData};

/// Longest period of a repetition that is detected, in tokens.
const MAX_PERIOD: usize = 24;

/// Number of rounds in a row that make a repetition. People do say "no no no no", and a sentence
/// twice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RetryLimit {
    /// Few rounds, with a small encoder context, where repetitions are likely and another attempt
    /// follows.
    Short,
    /// More rounds, with the whole context.
    Long,
}

impl RetryLimit {
    fn copies(self, period: usize) -> usize {
        let copies = match period {
            1 => 6,
            2..=3 => 4,
            _ => 3,
        };
        if self == RetryLimit::Long { copies + 3 } else { copies }
    }
}

/// Period of the repetition at the end of `tokens`; `None` if there is none.
pub fn circle(tokens: &[i32], patience: RetryLimit) -> Option<usize> {
    (1..=MAX_PERIOD).find(|&period| {
        let span = period * patience.copies(period);
        tokens.len() >= span && {
            let tail = &tokens[tokens.len() - span..];
            tail[period..].iter().zip(tail).all(|(later, earlier)| later == earlier)
        }
    })
}

/// Number of `tokens` left when a repetition at their end is reduced to one round.
pub fn without_circle(tokens: &[i32], patience: RetryLimit) -> usize {
    let Some(period) = circle(tokens, patience) else { return tokens.len() };
    let first = &tokens[tokens.len() - period..];
    let copies = tokens.rchunks_exact(period).take_while(|&copy| copy == first).count();
    tokens.len() - (copies - 1) * period
}

/// Data for the filter; whisper.cpp passes it back with each token.
pub struct Guard {
    pub patience: RetryLimit,
    /// Token that ends the text; all below it are text.
    pub end_of_text: i32,
    pub vocabulary: usize,
}

/// Logits filter of whisper.cpp.
///
/// # Safety
/// `tokens` must point to `count` tokens, `logits` to as many floats as the guard's vocabulary has,
/// and `guard` to a [`Guard`] that is not changed meanwhile. whisper.cpp promises the first two;
/// the caller of `full` gives the third.
pub unsafe extern "C" fn filter(
    _: *mut WhisperSysContext,
    _: *mut WhisperSysState,
    tokens: *const WhisperTokenData,
    count: c_int,
    logits: *mut f32,
    guard: *mut c_void,
) {
    if count <= 0 || tokens.is_null() || logits.is_null() {
        return;
    }
    // SAFETY: promised by the caller, see above; `count` is positive.
    let (guard, tokens) = unsafe { (&*guard.cast::<Guard>(), std::slice::from_raw_parts(tokens, count as usize)) };
    // Only the tail of the text matters, and it fits on the stack. Timestamps are left out, since
    // they differ in every round.
    let mut tail = [0; MAX_PERIOD * 9];
    let text = tokens.iter().rev().map(|token| token.id).filter(|id| *id < guard.end_of_text);
    let kept = tail.iter_mut().rev().zip(text).map(|(place, id)| *place = id).count();
    if circle(&tail[MAX_PERIOD * 9 - kept..], guard.patience).is_some() {
        // SAFETY: promised by the caller, see above.
        let logits = unsafe { std::slice::from_raw_parts_mut(logits, guard.vocabulary) };
        logits.fill(f32::NEG_INFINITY);
        if let Some(end) = logits.get_mut(guard.end_of_text as usize) {
            *end = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_and_what_people_say_is_not() {
        for (tokens, short, long) in [
            (vec![], None, None),
            (vec![1, 2, 3, 4, 5, 6, 7], None, None),
            (vec![9, 7, 7, 7, 7, 7], None, None),
            (vec![9, 7, 7, 7, 7, 7, 7], Some(1), None),
            ([1, 2].repeat(4), Some(2), None),
            ([1, 2, 3, 4, 5].repeat(2), None, None),
            ([1, 2, 3, 4, 5].repeat(3), Some(5), None),
            ([1, 2, 3, 4, 5].repeat(6), Some(5), Some(5)),
            ((0..24).collect::<Vec<_>>().repeat(3), Some(24), None),
            ((0..25).collect::<Vec<_>>().repeat(3), None, None),
        ] {
            assert_eq!(circle(&tokens, RetryLimit::Short), short, "{tokens:?}");
            assert_eq!(circle(&tokens, RetryLimit::Long), long, "{tokens:?}");
        }
    }

    #[test]
    fn a_circle_is_told_once() {
        let tokens = [&[8, 9][..], &[1, 2, 3, 4].repeat(3)].concat();
        assert_eq!(without_circle(&tokens, RetryLimit::Short), 6);
        assert_eq!(without_circle(&[1; 6], RetryLimit::Short), 1);
        assert_eq!(without_circle(&[1, 2, 3], RetryLimit::Short), 3);
    }

    #[test]
    fn the_filter_leaves_only_the_end_once_it_goes_in_circles() {
        let guard = Guard { patience: RetryLimit::Short, end_of_text: 3, vocabulary: 5 };
        // SAFETY: a token is a plain C struct of numbers, for which zero is a value.
        let token = |id| WhisperTokenData { id, ..unsafe { std::mem::zeroed() } };
        for (ids, wanted) in [
            (vec![1, 2, 1], [0.5; 5]),
            (vec![1; 6], [f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY]),
        ] {
            let tokens: Vec<_> = ids.iter().map(|&id| token(id)).collect();
            let mut logits = [0.5f32; 5];
            let user = std::ptr::from_ref(&guard).cast_mut().cast();
            let (context, state) = (std::ptr::null_mut(), std::ptr::null_mut());
            // SAFETY: the pointers are to live values of the stated lengths.
            unsafe { filter(context, state, tokens.as_ptr(), tokens.len() as c_int, logits.as_mut_ptr(), user) };
            assert_eq!(logits, wanted);
        }
    }
}
