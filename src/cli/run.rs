//! `sotto run`: a hands-free conversation with a microphone and a speaker.

use std::sync::Arc;

use serde_json::json;

use super::args::Run;
use super::house::House;
use super::talk::Talk;
use super::{print_line, print_text};
use crate::audio::device::{Hardware, SystemClock};
use crate::observe::{Journal, Waterfall};
use crate::pipeline::{Devices, Exchange, Happening, Live, Result, TICK};
use crate::turn::{Ending, Notice, Stage, View};

pub fn run(args: &Run, house: &House) -> Result<()> {
    let talk = house.talk();
    let stages = talk.loading(house.loader_with_thinker()?)?;
    let card = Arc::new(Hardware::new(SystemClock::start()));
    let devices = Devices { card, microphone: args.microphone.clone(), speaker: args.speaker.clone() };
    let mut live = Live::start(stages, house.plan(), devices, Journal::default())?;
    loop {
        for happening in live.step(TICK)? {
            if args.json {
                print_json(&happening)?;
            } else {
                print(&happening, talk)?;
            }
        }
    }
}

fn print(happening: &Happening, talk: &Talk) -> Result<()> {
    match happening {
        Happening::Device(change) => talk.note(&change.to_string()),
        Happening::View(View::Listening) => talk.note("listening"),
        Happening::View(_) | Happening::Understood(_) => {}
        Happening::Answered(Exchange { question, heard, how, timings, .. }) => {
            if *how == Ending::Revised {
                return Ok(());
            }
            let cut = if *how == Ending::Interrupted { " -" } else { "" };
            print_text(&format!("You:    {question}\nSotto:  {heard}{cut}"))?;
            timings.iter().for_each(|timings| talk.block(&Waterfall(timings).to_string()));
        }
        Happening::Notice(notice) => talk.note(told(*notice)),
        Happening::Failed(why) => talk.note(why),
    }
    Ok(())
}

fn told(notice: Notice) -> &'static str {
    match notice {
        Notice::StageFailed(stage) => match stage {
            Stage::Ears => "listening failed; go on speaking",
            Stage::Recogniser => "that could not be recognised; say it again",
            Stage::LanguageModel => "no answer could be made; ask again",
            Stage::Voice => "the voice failed; ask again",
            Stage::Playback => "the speaker failed; ask again",
        },
        Notice::StageHangs(_) => "that took too long and was given up; ask again",
        Notice::AnswerTooLong => "the answer was too long and was ended",
        Notice::IsMuted => "the microphone is muted; unmute it first",
        Notice::IsWithoutDevice => "there is no device to talk with; \"sotto devices\" lists what there is",
    }
}

fn print_json(happening: &Happening) -> Result<()> {
    let line = match happening {
        Happening::Device(change) => json!({ "device": change.to_string() }),
        Happening::View(view) => json!({ "state": format!("{view:?}").to_lowercase() }),
        Happening::Understood(transcript) => json!({
            "understood": transcript.text.trim(),
            "verdict": transcript.verdict.name(),
            "confidence": transcript.confidence,
        }),
        Happening::Answered(Exchange { question, heard, how, timings, glitches, echo_loss, .. }) => json!({
            "question": question,
            "heard": heard,
            "ended": format!("{how:?}").to_lowercase(),
            "timings": timings,
            "glitches": glitches,
            "echo_loss_db": echo_loss,
        }),
        Happening::Notice(notice) => json!({ "notice": told(*notice) }),
        Happening::Failed(why) => json!({ "failed": why }),
    };
    print_line(&line.to_string())
}
