//! Answers of a session: from the question to the language model, over the sentences to the
//! synthesizer, to the exchange in the history.

use super::Session;
use super::spoken_answer::{AskedQuestion, SpokenAnswer};
use crate::engine::stage::{ChatTurn, PastExchange};
use crate::engine::work::{AnswerJob, StageMessage, StageResult, SynthesisJob};
use crate::observe::{EventKind, Exchange, Milestone, Timings};
use crate::tts::Sentences;
use crate::turn::{AnswerEvent, Ending, Reply, TurnInput};
use crate::types::{Ms, TurnId};

impl Session {
    /// Begins an answer: by the language model if one of the voices speaks the language of the
    /// question, otherwise in fixed words. No text is spoken by a voice made for another language.
    pub(super) fn prepare(&mut self, turn: TurnId, reply: Reply) {
        self.output_path.prepare();
        self.answering.set(turn);
        if std::mem::take(&mut self.fresh) {
            self.history.clear();
        }
        match reply {
            Reply::To { text, language } if language.is_empty() || self.engine.languages().contains(&language) => {
                self.ask(turn, text, language);
            }
            Reply::To { .. } => self.answer_with(turn, &self.plan.tts.no_voice_reply.clone()),
            Reply::AskAgain => self.answer_with(turn, &self.plan.asr.unclear_reply.clone()),
        }
    }

    fn ask(&mut self, turn: TurnId, text: String, language: String) {
        let prompt = self.history.question(&text, &language);
        let (session, history) = (self.id, self.history.exchanges());
        self.engine.answer(AnswerJob {
            turn: ChatTurn { session, history, question: prompt.clone() },
            language: language.clone(),
            begun: self.messages.begun_in.clone(),
            reply: self.reply_to(turn, &self.answering),
        });
        self.begin_answer(turn, Some(AskedQuestion { text, prompt }), language);
    }

    /// Answers in fixed words, in the language of the main voice.
    fn answer_with(&mut self, turn: TurnId, words: &str) {
        self.begin_answer(turn, None, String::new());
        let sentences = Sentences::cut(words).into_iter().map(StageResult::Sentence);
        let results = [StageResult::SentenceEndScored(None), StageResult::Piece(words.to_owned())];
        let at = self.now();
        for result in results.into_iter().chain(sentences).chain([StageResult::Written]) {
            let _own_inbox = self.messages.to_inbox.send(StageMessage { turn, at, result });
        }
    }

    fn begin_answer(&mut self, turn: TurnId, question: Option<AskedQuestion>, language: String) {
        let glitches = self.output_path.glitches();
        self.answer = Some(SpokenAnswer::new(turn, question, self.spoken, language, glitches));
    }

    pub(super) fn drop_answer(&mut self) {
        self.answering.clear();
        self.output_path.break_off(self.now());
        self.answer = None;
    }

    pub(super) fn end(&mut self, turn: TurnId, how: Ending, heard: usize) {
        let answer = self.answer.take().filter(|answer| answer.turn == turn);
        self.answering.clear();
        match how {
            Ending::Done => self.output_path.fall_silent(),
            _ => self.output_path.break_off(self.now()),
        }
        let Some(answer) = answer else { return };
        let heard = answer.heard(heard).to_owned();
        self.remember(&answer, how, &heard);
        self.reach(turn, self.now(), Milestone::Done);
        let milestones = self.milestones.iter().filter(|(of, ..)| *of == turn);
        let milestones: Vec<_> = milestones.map(|(_, milestone, at)| (*milestone, *at)).collect();
        let exchange = Exchange {
            question: answer.question.map(|question| question.text).unwrap_or_default(),
            spoken: answer.spoken,
            heard,
            how,
            timings: Timings::from_milestones(&milestones),
            glitches: self.output_path.glitches() - answer.glitches,
            echo_loss: self.front.echo_loss().enhancement(),
        };
        self.happen(Some(turn), EventKind::Exchange(exchange));
    }

    /// Adds an exchange to the history: all of an answer that is done, what was heard of another.
    /// An answer that failed before anything was heard leaves the history as it was.
    fn remember(&mut self, answer: &SpokenAnswer, how: Ending, heard: &str) {
        let kept = match how {
            Ending::Done => answer.text(),
            Ending::Interrupted => heard,
            Ending::Failed if !heard.is_empty() => heard,
            Ending::Failed | Ending::Revised => return,
        };
        if let Some(question) = &answer.question {
            let exchange = PastExchange { question: question.prompt.clone(), answer: kept.to_owned() };
            self.history.push(exchange, &answer.language);
        }
    }

    pub(super) fn sentence(&mut self, turn: TurnId, at: Ms, sentence: &str) {
        let begun = self.answer.as_ref().is_some_and(|answer| answer.turn == turn && answer.is_silent());
        self.follow(turn, |answer| answer.sentence(sentence));
        if begun {
            self.reach(turn, at, Milestone::FirstSentence);
            self.tell(TurnInput::Answer { turn, event: AnswerEvent::FirstSentence });
        }
        self.send_sentences();
    }

    /// Sends the next sentences to the synthesizer, as far as there is room for their sound.
    pub(super) fn send_sentences(&mut self) {
        while self.output_path.has_room()
            && let Some(answer) = &mut self.answer
            && let Some(next) = answer.next_sentence()
        {
            let (turn, language) = (answer.turn, answer.language.clone());
            self.engine.speak(SynthesisJob {
                sentence: next.text,
                language,
                words_before: next.words_before,
                begun: self.messages.begun.clone(),
                reply: self.reply_to(turn, &self.answering),
            });
        }
    }

    /// Tells the machine when all sound of the answer has arrived.
    pub(super) fn look_whether_made(&mut self, turn: TurnId) {
        if self.answer.as_ref().is_some_and(|answer| answer.turn == turn && answer.is_made()) {
            self.output_path.complete();
            self.tell(TurnInput::Answer { turn, event: AnswerEvent::Complete });
        }
    }
}
