//! `sotto bench`: measures single models and whole turns on this machine.

mod llm;
pub(super) mod machine;
mod pauses;
mod turn;

use super::args::Bench;
use super::context::AppContext;
use crate::engine::Result;

pub fn run(args: &Bench, context: &AppContext) -> Result<()> {
    match args {
        Bench::Llm(args) => llm::run(args, context),
        Bench::Turn(args) => turn::run(args, context),
    }
}
