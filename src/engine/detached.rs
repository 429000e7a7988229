//! Threads for jobs that may hang in a sound system.

use std::sync::Arc;
use std::thread;

use crate::audio::device::Spawn;

/// Runs each job on a thread of its own. The thread is never joined, so a job that hangs is left
/// behind.
pub fn detached() -> Spawn {
    Arc::new(|job| {
        // If the system refuses even a thread, the attempt counts as hanging: the device does not
        // open, and the caller tries again later.
        let _refused = thread::Builder::new().name("sotto-device".to_owned()).spawn(job);
    })
}
