//! Buffer of the machine's commands, and source of turn numbers.

use super::command::TurnCommand;
use crate::types::{Ms, TurnId};

#[derive(Clone, Debug, Default)]
pub(super) struct CommandBuffer {
    last: TurnId,
    out: Vec<TurnCommand>,
}

impl CommandBuffer {
    /// Returns a number that was never used before.
    pub(super) fn number(&mut self) -> TurnId {
        self.last = TurnId(self.last.0 + 1);
        self.last
    }

    pub(super) fn say(&mut self, command: TurnCommand) {
        self.out.push(command);
    }

    pub(super) fn take(&mut self) -> Vec<TurnCommand> {
        std::mem::take(&mut self.out)
    }
}

pub(super) fn after(at: Ms, span: Ms) -> Ms {
    Ms(at.0 + span.0)
}

pub(super) fn latest(a: Ms, b: Ms) -> Ms {
    Ms(a.0.max(b.0))
}
