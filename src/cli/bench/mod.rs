//! `sotto bench`: the measures of the parts on this machine, and of the whole.

mod llm;
pub(super) mod machine;
mod pauses;
mod turn;

use super::args::Bench;
use super::house::House;
use crate::pipeline::Result;

pub fn run(args: &Bench, house: &House) -> Result<()> {
    match args {
        Bench::Llm(args) => llm::run(args, house),
        Bench::Turn(args) => turn::run(args, house),
    }
}
