//! Stopping a recognition from another thread.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ort::session::RunOptions;

/// Stops a recognition from another thread. Clones stop the same one; a new recognition takes a new
/// one.
#[derive(Clone, Default)]
pub struct Cancel(Arc<State>);

#[derive(Default)]
struct State {
    cancelled: AtomicBool,
    /// What ONNX Runtime runs at this moment: it is told, because it asks nobody.
    running: Mutex<Option<Arc<RunOptions>>>,
}

/// While it lives, cancelling stops a run of ONNX Runtime.
pub(super) struct Watched<'c>(&'c Cancel);

impl Cancel {
    /// The recognition ends with [`AsrError::Cancelled`](super::AsrError::Cancelled): at once in
    /// ONNX Runtime, after the encoder pass or token it is at in whisper.cpp.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        if let Some(run) = &*self.running() {
            // It fails only for options that are none.
            let _ = run.terminate();
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    pub(super) fn flag(&self) -> &AtomicBool {
        &self.0.cancelled
    }

    /// From now on cancelling stops the runs with these options, those included that have not
    /// begun.
    pub(super) fn watch(&self, run: &Arc<RunOptions>) -> Watched<'_> {
        *self.running() = Some(run.clone());
        // Whoever cancelled before found nothing to stop.
        if self.is_cancelled() {
            let _ = run.terminate();
        }
        Watched(self)
    }

    fn running(&self) -> MutexGuard<'_, Option<Arc<RunOptions>>> {
        self.0.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        *self.0.running() = None;
    }
}
