//! Events of the sessions, with their times: one stream that views, `--json`, the waterfall and the
//! tests read. Recordings of a conversation, and their replay.

mod event;
mod milestone;
mod recording;
mod replay;
mod waterfall;

pub use event::{Event, EventKind, Exchange, Privacy};
pub use milestone::Milestone;
pub use recording::{RecordedConversation, RecordedInput, Recorder, RecordingError};
pub use replay::{Replay, ReplayEvent, ReplayEventKind};
pub use waterfall::{Timings, Waterfall};
