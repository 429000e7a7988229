//! Events of the sessions, with their times: one stream that views, `--json`, the waterfall and the
//! tests read.

mod event;
mod waterfall;

pub use event::{Event, EventKind, Exchange, Milestone, Privacy};
pub use waterfall::{Timings, Waterfall};
