//! The graph: it starts the stages, joins them with bounded queues and follows a turn through them. [`Pipeline`] answers
//! a question from a file, [`Live`] holds a conversation with a microphone and a speaker, and a [`Rehearsal`] says recorded
//! questions to such a conversation and times it (`sotto bench turn`). [`elsewhere`] gives a thread to whoever opens devices
//! without a graph, as `sotto doctor` does for its sound check.
//!
//! Architecture invariant: this is the only room that starts threads of the graph.

mod asked;
mod elsewhere;
mod latest;
mod listen;
mod live;
mod load;
mod models;
mod once;
mod quantizer;
mod rehearse;
mod stage;
mod tongue;
mod worker;

#[cfg(test)]
mod tests;

pub use elsewhere::elsewhere;
pub use listen::Pace;
pub use live::{Answered as Exchange, Devices, Glance, Happening, Live, TICK};
pub use load::{Loader, Part, PartPlan, Purpose, local};
pub use once::{Answered, Outcome, Pipeline, Sink};
pub use quantizer::{EngineQuantizer, QuantizeProgress};
pub use rehearse::{Fate, Kind as PauseKind, Pause, Recording, Rehearsal, Rehearsed, without_ends};
pub use stage::{Detector, Judge, Name, Recogniser, Result, Speaker, Stages, Thinker};
