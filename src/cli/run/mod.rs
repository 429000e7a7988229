//! `sotto run`: a hands-free conversation with a microphone and a speaker.
//!
//! What happens is shown by a [`Face`]: a view for who watches a terminal, plain lines where there is none or colours are
//! not wanted, JSON for programs. Orders come by keys of the view, and as lines on stdin.

mod json;
mod order;
mod plain;
mod scene;
mod view;

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::sync::Arc;

use super::args::Run;
use super::house::House;
use super::signals;
use super::talk::Talk;
use crate::audio::device::{Hardware, SystemClock};
use crate::config::WakeWord;
use crate::observe::Journal;
use crate::pipeline::{Devices, Glance, Happening, Live, Purpose, Result, TICK};
use crate::turn::Control;
use json::Json;
use order::Order;
use plain::Plain;

/// Who shows the conversation.
trait Face {
    /// Something happened.
    fn tell(&mut self, happening: &Happening) -> Result<()>;

    /// Something that is no part of the conversation.
    fn note(&mut self, line: &str) -> Result<()>;

    /// How things are; called every [`TICK`].
    fn show(&mut self, _: Glance) -> Result<()> {
        Ok(())
    }

    /// What a key asks for.
    fn order(&mut self) -> Result<Option<Order>> {
        Ok(None)
    }
}

pub fn run(args: &Run, house: &House) -> Result<()> {
    let stages = house.talk().loading(house.loader_for_turns()?, Purpose::Conversation)?;
    let card = Arc::new(Hardware::new(SystemClock::start()));
    let named = &house.plan().devices;
    let devices = Devices { card, microphone: named.microphone.clone(), speaker: named.speaker.clone() };
    let mut live = Live::start(stages, house.plan(), devices, Journal::default())?;
    // Dropped before the conversation, whose stages may take a while to end.
    let (mut face, keys) = face(args, house);
    let commands = (!keys || !stdin().is_terminal()).then(order::commands);
    let mut muted = false;
    loop {
        for happening in live.step(TICK)? {
            face.tell(&happening)?;
        }
        while let Some(order) = face.order()? {
            if !obey(order, &mut live, &mut muted) {
                return Ok(());
            }
        }
        for command in commands.iter().flat_map(|commands| commands.try_iter()) {
            match command {
                Ok(order) if !obey(order, &mut live, &mut muted) => return Ok(()),
                Ok(_) => {}
                Err(why) => face.note(&why)?,
            }
        }
        face.show(live.glance())?;
    }
}

/// Who shows it, and whether that reads the keys.
fn face<'a>(args: &Run, house: &'a House) -> (Box<dyn Face + 'a>, bool) {
    let (talk, plan) = (house.talk(), house.plan());
    let name = plan.hear.wake_word.as_ref().map(WakeWord::spoken);
    if args.json {
        return (Box::new(Json(talk, name)), false);
    }
    if is_watched(talk) {
        match view::Screen::open(plan.memory.budget, name.clone()) {
            Ok(screen) => return (Box::new(screen), true),
            Err(why) => talk.note(&format!("plain lines, because the terminal cannot be drawn on: {why}")),
        }
    }
    if stdin().is_terminal() {
        talk.note(&format!("commands: {}", Order::NAMES));
    }
    (Box::new(Plain(talk, name)), false)
}

/// Whether a person sees what is drawn, and wants it drawn.
fn is_watched(talk: &Talk) -> bool {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let colours = variable("NO_COLOR").is_none() && variable("TERM").is_some_and(|term| term != "dumb");
    colours && talk.watched() && stdout().is_terminal() && stderr().is_terminal() && signals::in_foreground()
}

/// Whether the conversation goes on.
fn obey(order: Order, live: &mut Live, muted: &mut bool) -> bool {
    match order {
        Order::Mute | Order::Unmute | Order::ToggleMute => {
            *muted = order == Order::Mute || (order == Order::ToggleMute && !*muted);
            live.control(if *muted { Control::Mute } else { Control::Unmute });
        }
        Order::Stop => live.control(Control::Stop),
        Order::Quit => return false,
        Order::Interrupt => signals::interrupt(),
    }
    true
}
