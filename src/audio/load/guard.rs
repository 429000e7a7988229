//! Guard that keeps a panic in a foreign decoder from ending the program.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on damaged input. Returns `None` where it panics, and prints nothing of it.
/// `symphonia` 0.6 panics at MP4 files whose fragments point far beyond the file.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    be_silent_while_guarded();
    let outer = GUARDED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    outcome.ok()
}

fn be_silent_while_guarded() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |about| {
            if !GUARDED.get() {
                before(about);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_while_guarded_becomes_none() {
        assert_eq!(guarded(|| 7), Some(7));
        assert_eq!(
            guarded(|| -> u8 { guarded(|| -> u8 { panic!("inner") }).unwrap_or_else(|| panic!("outer")) }),
            None
        );
        assert!(!GUARDED.get());
    }
}
