//! Simulated surroundings of the machine: people who speak by a script, stages with latency, and a
//! loudspeaker. Everything runs on a virtual clock in steps of 10 ms.

use super::checker::Checked;
use crate::turn::{
    AnswerEvent, EndOfTurn, Ending, Notice, PlaybackEvent, Reply, SessionState, TurnCommand, TurnInput, TurnSettings,
    TurnTranscript, TurnVerdict, VoiceEvent,
};
use crate::types::{Ms, TurnId};

const STEP: f64 = 10.0;
/// Timing of the voice activity detector in milliseconds: a frame, the speech that confirms a
/// voice, the silence that it reports as a pause, and those that end a segment or a candidate.
const FRAME: f64 = 32.0;
const MIN_SPEECH: f64 = 200.0;
const PAUSE: f64 = 64.0;
const FORGOTTEN: f64 = 128.0;
const END: f64 = 320.0;

/// Stretch of sound that the detector takes for a voice. Without words it is noise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spoken {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) words: &'static str,
}

pub(super) const fn spoken(from: f64, to: f64, words: &'static str) -> Spoken {
    Spoken { from, to, words }
}

/// One exchange as the history keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exchange {
    pub(super) question: String,
    pub(super) heard: String,
    pub(super) how: Ending,
}

pub(super) struct World {
    pub(super) checked: Checked,
    script: Vec<Spoken>,
    /// Inputs to send, with their times.
    agenda: Vec<(f64, TurnInput)>,
    /// Latency of the transcriber.
    pub(super) recognition: f64,
    /// Time from the request of an answer to its first sound.
    pub(super) thinking: f64,
    /// Score of the turn detector at every pause.
    pub(super) score: Option<f32>,
    /// Estimate of the language model for every question, if it is asked.
    pub(super) weighed: Option<f32>,
    /// Estimate of the transcriber that the words end a sentence.
    pub(super) ending: Option<f32>,
    /// Similarity of all transcribed sound to the played sound.
    pub(super) likeness: f32,
    /// Text of each piece of the answer; each piece lasts a second.
    pub(super) reply: Vec<&'static str>,
    answer: Option<Playing>,
    pub(super) history: Vec<Exchange>,
}

struct Playing {
    turn: TurnId,
    question: String,
    confirmed: bool,
    paused: bool,
    /// Length of the sound so far, and the position that has left the loudspeaker.
    length: f64,
    position: f64,
    complete: bool,
}

/// Default settings, with silences far enough apart to be distinguished from each other and from
/// all latencies.
pub(super) fn settings() -> TurnSettings {
    let end = EndOfTurn {
        likely_silence: Ms(200.0),
        possible_silence: Ms(400.0),
        unlikely_silence: Ms(700.0),
        ..EndOfTurn::default()
    };
    TurnSettings { end, ..TurnSettings::default() }
}

impl World {
    pub(super) fn new(settings: TurnSettings, script: &[Spoken]) -> World {
        let mut world = World {
            checked: Checked::new(settings),
            script: script.to_vec(),
            agenda: Vec::new(),
            recognition: 150.0,
            thinking: 200.0,
            score: None,
            weighed: None,
            ending: None,
            likeness: 0.0,
            reply: vec!["It is sunny today.", "Tomorrow it will rain.", "Take an umbrella with you."],
            answer: None,
            history: Vec::new(),
        };
        world.plan_voices();
        world
    }

    /// Schedules the events of the voice activity detector for the script.
    fn plan_voices(&mut self) {
        let mut before = f64::NEG_INFINITY;
        for (n, Spoken { from, to, .. }) in self.script.clone().into_iter().enumerate() {
            let next = self.script.get(n + 1).map_or(f64::INFINITY, |spoken| spoken.from);
            let mut tell = |at, event| self.agenda.push((at, TurnInput::Voice(event)));
            if from - before < END {
                tell(from + FRAME, VoiceEvent::Resumed { since: Ms(from) });
            } else {
                tell(from + FRAME, VoiceEvent::Seen { since: Ms(from) });
                if to - from < MIN_SPEECH {
                    tell(to + FORGOTTEN, VoiceEvent::Lost);
                    continue;
                }
                tell(from + MIN_SPEECH, VoiceEvent::Confirmed { since: Ms(from) });
            }
            before = to;
            if next - to >= PAUSE {
                tell(to + PAUSE, VoiceEvent::Paused { since: Ms(to) });
            }
            if next - to >= END {
                tell(to + END, VoiceEvent::Ended { since: Ms(to) });
            }
        }
    }

    /// Schedules another input.
    pub(super) fn at(mut self, at: f64, input: TurnInput) -> World {
        self.agenda.push((at, input));
        self
    }

    /// Advances the simulation to `until`.
    pub(super) fn run(&mut self, until: f64) {
        let mut now = self.checked.now.0;
        while now < until {
            now += STEP;
            self.play(now);
            // One at a time: an input that the first one cancels must not arrive.
            while let Some(input) = self.next_due(now) {
                self.have_sound(&input);
                let commands = self.checked.on(now, input);
                self.obey(now, commands);
            }
            let commands = self.checked.pass(now);
            self.obey(now, commands);
        }
    }

    fn next_due(&mut self, now: f64) -> Option<TurnInput> {
        let due = self.agenda.iter().enumerate().filter(|(_, (at, _))| *at <= now);
        let (first, _) = due.min_by(|(_, a), (_, b)| a.0.total_cmp(&b.0))?;
        Some(self.agenda.remove(first).1)
    }

    fn have_sound(&mut self, input: &TurnInput) {
        let (Some(answer), TurnInput::Answer { turn, event }) = (&mut self.answer, input) else { return };
        assert_eq!(answer.turn, *turn, "what was cancelled goes on");
        match event {
            AnswerEvent::Sound { length, .. } => answer.length += length.0,
            AnswerEvent::Complete => answer.complete = true,
            AnswerEvent::FirstSentence => {}
        }
    }

    fn play(&mut self, now: f64) {
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.confirmed && !answer.paused) else { return };
        if answer.position < answer.length {
            answer.position = (answer.position + STEP).min(answer.length);
            let (turn, position) = (answer.turn, Ms(answer.position));
            let commands =
                self.checked.on(now, TurnInput::Playback { turn, event: PlaybackEvent::Played { position } });
            self.obey(now, commands);
        } else if answer.complete {
            let turn = answer.turn;
            let commands = self.checked.on(now, TurnInput::Playback { turn, event: PlaybackEvent::Drained });
            self.obey(now, commands);
        }
    }

    fn obey(&mut self, now: f64, commands: Vec<TurnCommand>) {
        for command in commands {
            match command {
                TurnCommand::BeginRecognition { turn, .. } => {
                    self.agenda.push((now, TurnInput::LikePlayed { turn, likeness: self.likeness }));
                }
                TurnCommand::Recognise { turn, from, to } => self.recognise(now, turn, from.0, to.0),
                TurnCommand::Prepare { turn, reply } => self.prepare(now, turn, reply),
                TurnCommand::Discard { turn } | TurnCommand::CancelRecognition { turn } => self.cancel(turn),
                TurnCommand::Confirm { .. } => self.playing().confirmed = true,
                TurnCommand::Pause { .. } => self.playing().paused = true,
                TurnCommand::Resume { from, .. } => {
                    self.playing().paused = false;
                    self.playing().position = from.0;
                }
                TurnCommand::End { turn, how, heard } => self.end(turn, how, heard),
                _ => {}
            }
        }
    }

    fn playing(&mut self) -> &mut Playing {
        self.answer.as_mut().expect("the checker has seen to it")
    }

    fn recognise(&mut self, now: f64, turn: TurnId, from: f64, to: f64) {
        if let Some(probability) = self.score {
            self.agenda.push((now + 50.0, TurnInput::EndOfTurnScore { turn, probability }));
        }
        self.agenda.push((now, TurnInput::LikePlayed { turn, likeness: self.likeness }));
        let text: Vec<_> = self.script.iter().map(|spoken| said_between(spoken, from, to)).collect();
        let text = text.join(" ").trim().to_owned();
        let verdict = if text.is_empty() { TurnVerdict::Nothing } else { TurnVerdict::Certain };
        let transcript = TurnTranscript { text, language: "en".to_owned(), verdict, ending: self.ending };
        self.agenda.push((now + self.recognition, TurnInput::Recognised { turn, transcript }));
    }

    fn prepare(&mut self, now: f64, turn: TurnId, reply: Reply) {
        let question = match reply {
            Reply::To { text, .. } => {
                self.agenda.push((now + 60.0, TurnInput::SentenceEndScore { turn, probability: self.weighed }));
                text
            }
            Reply::AskAgain => "?".to_owned(),
        };
        let mut at = 0;
        let mut tell = |wait, event| self.agenda.push((now + wait, TurnInput::Answer { turn, event }));
        for (n, text) in self.reply.iter().enumerate() {
            let wait = self.thinking + 100.0 * n as f64;
            tell(wait, AnswerEvent::Sound { length: Ms(1_000.0), at, text: (*text).to_owned() });
            at += text.len() + 1;
        }
        tell(self.thinking + 100.0 * self.reply.len() as f64, AnswerEvent::Complete);
        self.answer = Some(Playing {
            turn,
            question,
            confirmed: false,
            paused: false,
            length: 0.0,
            position: 0.0,
            complete: false,
        });
    }

    fn cancel(&mut self, turn: TurnId) {
        self.answer.take_if(|answer| answer.turn == turn);
        self.agenda.retain(|(_, input)| !is_of(input, turn));
    }

    fn end(&mut self, turn: TurnId, how: Ending, heard: usize) {
        let question = std::mem::take(&mut self.playing().question);
        let reply = self.reply.join(" ");
        let heard = reply.get(..heard.min(reply.len())).expect("on a letter's border").to_owned();
        self.history.push(Exchange { question, heard, how });
        self.cancel(turn);
    }

    /// Every exchange that counts, as question and the part of the answer that was heard.
    pub(super) fn exchanges(&self) -> Vec<(&str, &str, Ending)> {
        let kept = self.history.iter().filter(|exchange| exchange.how != Ending::Revised);
        kept.map(|exchange| (exchange.question.as_str(), exchange.heard.as_str(), exchange.how)).collect()
    }

    /// Time of the first command of this kind, from `from` on.
    pub(super) fn when(&self, from: f64, wanted: impl Fn(&TurnCommand) -> bool) -> Option<f64> {
        self.checked.said.iter().find(|(at, command)| at.0 >= from && wanted(command)).map(|(at, _)| at.0)
    }

    pub(super) fn count(&self, wanted: impl Fn(&TurnCommand) -> bool) -> usize {
        self.checked.said.iter().filter(|(_, command)| wanted(command)).count()
    }

    pub(super) fn views(&self) -> Vec<SessionState> {
        let shown = self.checked.said.iter().filter_map(|(_, command)| match command {
            TurnCommand::Show(view) => Some(*view),
            _ => None,
        });
        shown.collect()
    }

    pub(super) fn notices(&self) -> Vec<Notice> {
        let told = self.checked.said.iter().filter_map(|(_, command)| match command {
            TurnCommand::Notice(notice) => Some(*notice),
            _ => None,
        });
        told.collect()
    }
}

/// Words of `spoken` that lie between the two times.
fn said_between(spoken: &Spoken, from: f64, to: f64) -> String {
    let words: Vec<_> = spoken.words.split_whitespace().collect();
    let length = spoken.to - spoken.from;
    let index = |at: f64| ((at - spoken.from) / length * words.len() as f64).clamp(0.0, words.len() as f64).floor();
    let (first, last) = (index(from) as usize, index(to) as usize);
    words[first..last.max(first)].join(" ")
}

fn is_of(input: &TurnInput, number: TurnId) -> bool {
    match input {
        TurnInput::Recognised { turn, .. }
        | TurnInput::EndOfTurnScore { turn, .. }
        | TurnInput::LikePlayed { turn, .. }
        | TurnInput::SentenceEndScore { turn, .. }
        | TurnInput::Answer { turn, .. } => *turn == number,
        _ => false,
    }
}
