//! Cancellation of a recognition from another thread.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ort::session::RunOptions;

/// Handle that stops a recognition from another thread. Clones stop the same one; a new recognition
/// takes a new handle.
#[derive(Clone, Default)]
pub struct Cancel(Arc<State>);

#[derive(Default)]
struct State {
    cancelled: AtomicBool,
    /// Current run of ONNX Runtime: it has to be told to stop, because it never checks.
    running: Mutex<Option<Arc<RunOptions>>>,
}

/// Guard during which cancelling stops a run of ONNX Runtime.
pub(super) struct Watched<'c>(&'c Cancel);

impl Cancel {
    /// Cancels the recognition, which ends with
    /// [`AsrError::Cancelled`](super::AsrError::Cancelled): at once in ONNX Runtime, after the
    /// current encoder pass or token in whisper.cpp.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        if let Some(run) = &*self.running() {
            // It fails only for invalid options.
            let _ = run.terminate();
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    pub(super) fn flag(&self) -> &AtomicBool {
        &self.0.cancelled
    }

    /// Lets cancelling stop the runs with these options from now on, including those that have not
    /// begun.
    pub(super) fn watch(&self, run: &Arc<RunOptions>) -> Watched<'_> {
        *self.running() = Some(run.clone());
        // A cancel before this call found nothing to stop.
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
