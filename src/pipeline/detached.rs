//! Threads for what may hang in a sound system.

use std::sync::Arc;
use std::thread;

use crate::audio::device::Spawn;

/// Gives each job a thread of its own. Nobody waits for it: one that hangs is left behind.
pub fn detached() -> Spawn {
    Arc::new(|job| {
        // Where the system refuses even a thread, the attempt counts as hanging: the device does
        // not open, and whoever needs it tries again later.
        let _refused = thread::Builder::new().name("sotto-device".to_owned()).spawn(job);
    })
}
