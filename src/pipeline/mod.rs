//! The graph: it starts the stages, joins them with bounded queues and follows a turn through them.
//! [`Pipeline`] answers a question from a file, [`Live`] holds a conversation with a microphone and
//! a loudspeaker, and a [`TurnBenchmark`] plays recorded questions to such a conversation and times
//! it (`sotto bench turn`). [`detached()`] gives a thread to whoever opens devices without a graph,
//! as `sotto doctor` does for its sound check.
//!
//! Architecture invariant: this is the only room that starts threads of the graph.

mod active_question;
mod detached;
mod latest;
mod listen;
mod live;
mod load;
mod models;
mod once;
mod quantizer;
mod response_language;
mod stage;
mod turn_benchmark;
mod worker;

#[cfg(test)]
mod tests;

pub use detached::detached;
pub use listen::PlaybackPace;
pub use live::{Exchange, Live, SessionDevices, SessionEvent, StatusSnapshot, TICK};
pub use load::{Loader, ModelPart, ModelPartPlan, Purpose, local};
pub use once::{OnceAnswer, OnceOutcome, Pipeline, Sink};
pub use quantizer::{EngineQuantizer, QuantizeProgress};
pub use stage::{
    LanguageModel, Result, Stages, Synthesizer, Transcriber, TurnDetector, VoiceActivityDetector, WakeWordDetector,
};
pub use turn_benchmark::{
    BenchmarkedTurn, PauseFeatures, PauseKind, Recording, TurnBenchmark, TurnOutcome, without_ends,
};
