//! Conversations with the machine's commands, for the tests of recordings.

pub(crate) use super::checker::Told;

use proptest::strategy::Strategy;

use super::properties;
use super::world::{World, settings, spoken};
use crate::turn::{Control, Machine, PlaybackEvent, TurnInput, TurnSettings, TurnStage};

/// Conversation of arbitrary inputs at arbitrary times, nonsense included.
pub(crate) fn any_conversation() -> impl Strategy<Value = (TurnSettings, Vec<Told>)> {
    properties::any_conversation()
}

/// Conversation of 15 s: a question, a cough over its answer, another question that interrupts it,
/// a transcriber that fails, and a muted microphone.
pub(crate) fn interrupted_conversation() -> (TurnSettings, Vec<Told>) {
    let script = [
        spoken(500.0, 1_500.0, "How is the weather?"),
        spoken(2_600.0, 2_900.0, ""),
        spoken(4_100.0, 5_100.0, "What about Paris?"),
        spoken(11_000.0, 11_800.0, "Thank you very much."),
    ];
    let failed = TurnInput::StageFailed { stage: TurnStage::Transcriber, turn: None };
    let mut world = World::new(settings(), &script)
        .at(10_000.0, TurnInput::Control(Control::Mute))
        .at(10_200.0, TurnInput::Control(Control::Unmute))
        .at(11_900.0, failed);
    world.run(15_000.0);
    let inputs = world.checked.told.into_iter().enumerate().filter(|(n, told)| is_worth_keeping(*n, told));
    let mut machine = Machine::new(settings());
    let told = inputs.map(|(_, (at, input, _))| (at, input.clone(), machine.on(at, input)));
    (settings(), told.collect())
}

/// Keeps the conversation short: a tick that does nothing is dropped, and so are nine of ten
/// positions of the loudspeaker.
fn is_worth_keeping(n: usize, (_, input, commands): &Told) -> bool {
    match input {
        TurnInput::Tick => !commands.is_empty(),
        TurnInput::Playback { event: PlaybackEvent::Played { .. }, .. } => !commands.is_empty() || n.is_multiple_of(10),
        _ => true,
    }
}
