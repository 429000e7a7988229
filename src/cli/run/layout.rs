//! Layout of a conversation on the terminal: a frame of a few rows, for a terminal of any size.
//!
//! Architecture invariant: no clock and no terminal; the same layout draws the same frame.

use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::plain::waiting;
use crate::engine::StatusSnapshot;
use crate::turn::SessionState;
use crate::types::Bytes;

/// Rows of the whole frame: a rule, the state, the question, the answer, the figures, the keys.
pub const ROWS: u16 = 1 + 1 + QUESTION + ANSWER + 1 + 1;
const QUESTION: u16 = 2;
const ANSWER: u16 = 4;
/// Lowest level that the meter shows, in dBFS: the noise of a quiet room.
const FLOOR: f32 = -60.0;
/// Longest meter, in columns.
const METER: usize = 24;
/// Name of the speaker, in front of each text.
const YOU: &str = "You    ";
const SOTTO: &str = "Sotto  ";
/// Blocks that fill a column, from none of it to all of it.
const EIGHTHS: [&str; 9] = [" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];

const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);

/// Everything that the frame shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    pub view: SessionState,
    /// Wake word that the session waits for, if one is set.
    pub name: Option<String>,
    /// Level of the microphone in dBFS.
    pub level: f32,
    /// Transcript of the question, and whether it may still change (`partial`).
    pub question: String,
    pub partial: bool,
    /// Part of the answer that was heard, and the text that follows it.
    pub heard: String,
    pub ahead: String,
    /// Time from the last speech sample of the last question to the first sound heard of its
    /// answer, in milliseconds.
    pub latency: Option<f64>,
    pub memory: Option<Bytes>,
    pub budget: Bytes,
}

impl Widget for &Layout {
    fn render(self, area: Rect, frame: &mut Buffer) {
        let area = area.intersection(frame.area);
        let rule = vec![Line::styled("─".repeat(usize::from(area.width)), FAINT)];
        let rows = [
            rule,
            vec![self.state(area.width)],
            filled(self.said(area.width), QUESTION),
            filled(self.answer(area.width), ANSWER),
            vec![Line::styled(fitting(&self.figures(), area.width), FAINT)],
            vec![Line::styled(fitting(&self.keys(), area.width), FAINT)],
        ];
        let rows = rows.iter().flatten().zip(area.rows());
        rows.for_each(|(line, row)| line.render(row, frame));
    }
}

impl Layout {
    /// Creates the layout of a session that has not begun.
    pub fn new(budget: Bytes, name: Option<String>) -> Layout {
        Layout {
            view: SessionState::NoDevice,
            name,
            level: f32::NEG_INFINITY,
            question: String::new(),
            partial: false,
            heard: String::new(),
            ahead: String::new(),
            latency: None,
            memory: None,
            budget,
        }
    }

    /// Takes over the current status.
    pub fn see(&mut self, glance: StatusSnapshot) {
        (self.view, self.level) = (glance.view, glance.level);
        glance.heard.clone_into(&mut self.heard);
        glance.ahead.clone_into(&mut self.ahead);
    }

    /// Shows a transcript of the question, which may be partial.
    pub fn ask(&mut self, question: &str, partial: bool) {
        question.trim().clone_into(&mut self.question);
        self.partial = partial;
    }

    fn state(&self, width: u16) -> Line<'_> {
        let (name, color) = named(self.view);
        let waiting = self.name.as_deref().map(|name| format!("● {}", plain(&waiting(Some(name)))));
        // A column wide enough for every state, so that the meter does not move.
        let column = waiting.as_ref().map_or(0, |text| text.width() + 2).clamp(17, usize::from(u16::MAX));
        let state = waiting.filter(|_| self.view == SessionState::Waiting).unwrap_or_else(|| format!("● {name}"));
        let mut spans = vec![Span::styled(state, STRONG.fg(color))];
        let left = usize::from(width).saturating_sub(column);
        if left >= 6 {
            let length = (left - 2).min(METER);
            let gap = column.saturating_sub(spans[0].width());
            let meter =
                if self.view == SessionState::NoDevice { " ".repeat(length) } else { meter(self.level, length) };
            spans.push(Span::raw(format!("{}▕{meter}▏", " ".repeat(gap))));
        }
        Line::from(spans)
    }

    fn said(&self, width: u16) -> Vec<Line<'static>> {
        let text = plain(&self.question);
        let lines = wrap(&text, columns(width, YOU));
        let shown = window(lines.len(), lines.len(), QUESTION.into());
        let style = if self.partial { FAINT } else { Style::new() };
        lines[shown]
            .iter()
            .map(|line| text[line.clone()].to_owned())
            .enumerate()
            .map(|(n, text)| Line::from(vec![Span::styled(speaker(YOU, n), FAINT), Span::styled(text, style)]))
            .collect()
    }

    /// Lines of the answer around the current position; the part that was heard is bold.
    fn answer(&self, width: u16) -> Vec<Line<'static>> {
        let (heard, ahead) = (plain(&self.heard), plain(&self.ahead));
        let text = heard.clone() + &ahead;
        let lines = wrap(&text, columns(width, SOTTO));
        let at = lines.partition_point(|line| line.end < heard.len());
        let shown = window(lines.len(), at, ANSWER.into());
        let line = |(n, line): (usize, &Range<usize>)| {
            let edge = heard.len().clamp(line.start, line.end);
            let (before, behind) = (text[line.start..edge].to_owned(), text[edge..line.end].to_owned());
            Line::from(vec![
                Span::styled(speaker(SOTTO, n), FAINT),
                Span::styled(before, STRONG),
                Span::styled(behind, FAINT),
            ])
        };
        lines[shown].iter().enumerate().map(line).collect()
    }

    fn figures(&self) -> [String; 3] {
        let memory = self.memory.map(|memory| format!("memory {memory} of {}", self.budget));
        let short = self.memory.map(|memory| format!("{} of {}", mib(memory), mib(self.budget)));
        let latency = self.latency.map(|ms| format!("first sound heard after {ms:.0} ms"));
        let brief = self.latency.map(|ms| format!("{ms:.0} ms"));
        let joined = |parts: [&Option<String>; 2]| parts.into_iter().flatten().cloned().collect::<Vec<_>>().join(" · ");
        [joined([&latency, &memory]), joined([&brief, &memory]), joined([&brief, &short])]
    }

    fn keys(&self) -> [String; 2] {
        let mute = if self.view == SessionState::Muted { "unmute" } else { "mute" };
        [format!("m {mute} · space stop speaking · q quit"), "m · space · q".to_owned()]
    }
}

fn named(view: SessionState) -> (&'static str, Color) {
    match view {
        SessionState::Waiting => ("waiting", Color::Blue),
        SessionState::Listening => ("listening", Color::Green),
        SessionState::Hearing => ("hearing", Color::LightGreen),
        SessionState::Thinking => ("thinking", Color::Yellow),
        SessionState::Speaking => ("speaking", Color::Cyan),
        SessionState::Interrupted => ("interrupted", Color::Magenta),
        SessionState::Muted => ("muted", Color::Red),
        SessionState::NoDevice => ("no device", Color::Red),
        SessionState::Closed => ("ended", Color::DarkGray),
    }
}

/// Bar of `length` columns for a level in dBFS.
fn meter(level: f32, length: usize) -> String {
    let part = ((level - FLOOR) / -FLOOR).clamp(0.0, 1.0);
    // NaN counts as silence.
    let eighths = (part * (8 * length) as f32) as usize;
    (0..length).map(|column| EIGHTHS[eighths.saturating_sub(8 * column).min(8)]).collect()
}

fn speaker(name: &str, line: usize) -> String {
    if line == 0 { name.to_owned() } else { " ".repeat(name.len()) }
}

fn columns(width: u16, name: &str) -> usize {
    usize::from(width).saturating_sub(name.len())
}

fn mib(bytes: Bytes) -> u64 {
    bytes.0.div_ceil(Bytes::MIB)
}

/// Pads the lines to exactly `rows`, so that the rows below do not move.
fn filled(mut lines: Vec<Line<'_>>, rows: u16) -> Vec<Line<'_>> {
    lines.resize(rows.into(), Line::default());
    lines
}

/// Picks the first text that fits into `width` columns, or the last if none fits. The texts come
/// longest first.
fn fitting(texts: &[String], width: u16) -> String {
    let fits = texts.iter().find(|text| text.width() <= usize::from(width));
    fits.or(texts.last()).cloned().unwrap_or_default()
}

/// Range of the `count` lines that is shown in `rows`. It includes line `at` and the next one.
fn window(count: usize, at: usize, rows: usize) -> Range<usize> {
    let end = (at + 2).max(rows).min(count);
    end.saturating_sub(rows)..end
}

/// Text on one line: control characters become spaces.
pub fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Breaks a text into lines of `columns` columns, as ranges of its bytes. A line ends after a
/// space, which may extend past the last column, or after a wide character. A word longer than a
/// line is broken.
pub fn wrap(text: &str, columns: usize) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    if text.is_empty() || columns == 0 {
        return lines;
    }
    let (mut start, mut breaks, mut width) = (0, 0, 0);
    for (at, letter) in text.grapheme_indices(true) {
        let (space, wide) = (letter == " ", letter.width());
        // The rest after a break may still be too wide together with this character.
        while width + wide > columns && at > start && !space {
            let end = if breaks > start { breaks } else { at };
            lines.push(start..end);
            (start, width) = (end, text[end..at].width());
        }
        width += wide;
        if space || wide > 1 {
            breaks = at + letter.len();
        }
    }
    lines.push(start..text.len());
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    const MIB: u64 = Bytes::MIB;

    fn layout() -> Layout {
        Layout {
            name: None,
            view: SessionState::Speaking,
            level: -30.0,
            question: "What is the capital of France, and why is it famous?".to_owned(),
            partial: false,
            heard: "Paris is the capital of France.".to_owned(),
            ahead: " It is famous for the Eiffel tower.".to_owned(),
            latency: Some(641.3),
            memory: Some(Bytes(812 * MIB)),
            budget: Bytes(1600 * MIB),
        }
    }

    fn drawn(layout: &Layout, width: u16, height: u16) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| frame.render_widget(layout, frame.area())).unwrap();
        terminal.backend().buffer().clone()
    }

    fn rows(frame: &Buffer) -> Vec<String> {
        let row = |y| (0..frame.area.width).map(|x| frame[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..frame.area.height).map(row).collect()
    }

    #[test]
    fn everything_stands_in_its_row() {
        let expected = [
            "────────────────────────────────────────────────────────────",
            "● speaking       ▕████████████            ▏",
            "You    What is the capital of France, and why is it famous?",
            "",
            "Sotto  Paris is the capital of France. It is famous for the",
            "       Eiffel tower.",
            "",
            "",
            "first sound heard after 641 ms · memory 812 MiB of 1600 MiB",
            "m mute · space stop speaking · q quit",
        ];
        let frame = drawn(&layout(), 60, ROWS);
        assert_eq!(rows(&frame), expected);
        let modifier = |x: u16, y: u16| frame[(x, y)].modifier;
        assert_eq!((modifier(37, 4), modifier(39, 4)), (Modifier::BOLD, Modifier::DIM), "what was heard stands out");
        assert_eq!(modifier(8, 5), Modifier::DIM);
    }

    #[test]
    fn words_that_are_still_being_said_are_faint() {
        for (partial, modifier) in [(true, Modifier::DIM), (false, Modifier::empty())] {
            let frame = drawn(&Layout { partial, ..layout() }, 60, ROWS);
            assert_eq!((frame[(7, 2)].symbol(), frame[(7, 2)].modifier), ("W", modifier));
        }
    }

    #[test]
    fn a_narrow_terminal_shows_the_end_of_the_question_and_where_the_answer_is() {
        let expected = [
            "────────────────────",
            "● speaking",
            "You    why is it",
            "       famous?",
            "Sotto  is the",
            "       capital of",
            "       France. It is",
            "       famous for",
            "641 ms · 812 of 1600",
            "m · space · q",
        ];
        let longer = Layout { heard: format!("Well, well, well. {}", layout().heard), ..layout() };
        assert_eq!(rows(&drawn(&longer, 20, ROWS)), expected);
    }

    #[test]
    fn each_state_has_a_name_and_the_keys_say_what_they_do() {
        for view in [
            SessionState::Waiting,
            SessionState::Listening,
            SessionState::Hearing,
            SessionState::Thinking,
            SessionState::Speaking,
            SessionState::Interrupted,
        ] {
            let rows = rows(&drawn(&Layout { view, ..layout() }, 60, ROWS));
            assert_eq!(rows[1].split(' ').nth(1), Some(format!("{view:?}").to_lowercase().as_str()));
            assert!(rows[9].starts_with("m mute"));
        }
        let muted = rows(&drawn(&Layout { view: SessionState::Muted, ..layout() }, 60, ROWS));
        assert!(muted[1].starts_with("● muted") && muted[9].starts_with("m unmute"));
        let gone = rows(&drawn(&Layout { view: SessionState::NoDevice, level: 0.0, ..layout() }, 60, ROWS));
        assert_eq!(gone[1], format!("● no device      ▕{}▏", " ".repeat(METER)));
    }

    #[test]
    fn who_waits_says_for_what_and_the_meter_does_not_move() {
        let name = Some("hey jarvis".to_owned());
        let row = |view| rows(&drawn(&Layout { view, name: name.clone(), ..layout() }, 60, ROWS))[1].clone();
        let (waiting, listening) = (row(SessionState::Waiting), row(SessionState::Listening));
        assert!(
            waiting.starts_with("● waiting for \"hey jarvis\"  ▕") && listening.starts_with("● listening  "),
            "{waiting}"
        );
        assert_eq!(waiting.split('▕').nth(1), listening.split('▕').nth(1));
        assert_eq!(waiting.chars().position(|c| c == '▕'), listening.chars().position(|c| c == '▕'));
    }

    #[test]
    fn the_meter_follows_the_level_and_bears_nonsense() {
        for (level, full) in [(f32::NEG_INFINITY, 0), (-60.0, 0), (-30.0, 4), (0.0, 8), (9.0, 8), (f32::NAN, 0)] {
            assert_eq!(meter(level, 8), format!("{:<8}", "█".repeat(full)), "{level}");
        }
        assert_eq!((meter(-59.0, 8), meter(-10.0, 0)), ("▏       ".to_owned(), String::new()));
    }

    #[test]
    fn lines_end_behind_words_and_wide_letters() {
        let lines = |text: &str, columns| -> Vec<String> {
            wrap(text, columns).into_iter().map(|line| text[line].trim_end().to_owned()).collect()
        };
        assert_eq!(lines("one two three", 7), ["one two", "three"]);
        assert_eq!(lines("incomprehensible", 6), ["incomp", "rehens", "ible"]);
        assert_eq!(lines("今日は天気", 5), ["今日", "は天", "気"]);
        assert_eq!(lines("a 今日は", 4), ["a 今", "日は"]);
        assert_eq!(lines("今日", 1), ["今", "日"]);
        assert_eq!(lines("a bc今", 3), ["a", "bc", "今"]);
        assert_eq!(lines(" aaa今", 4), ["", "aaa", "今"]);
        assert!(wrap("anything", 0).is_empty() && wrap("", 9).is_empty());
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_drawn() {
        let sly = Layout { question: "\u{1b}[2Jhi\r\nthere\u{9b}31m".to_owned(), ..layout() };
        assert_eq!(rows(&drawn(&sly, 60, ROWS))[2], "You     [2Jhi  there 31m");
    }

    proptest! {
        #[test]
        fn any_scene_is_drawn_in_any_size(
            (width, height) in (0..90u16, 0..14u16), level in any::<f32>(), question in "\\PC{0,80}",
            heard in any::<String>(), ahead in "[a-z今日 \u{301}👩‍👩‍👧]{0,300}", memory in any::<Option<u64>>(),
        ) {
            let memory = memory.map(Bytes);
            let layout = Layout { level, question, heard, ahead, memory, ..layout() };
            drawn(&layout, width, height);
        }

        /// The lines together are the text, and none is too wide except by the spaces at its end.
        #[test]
        fn wrapping_loses_nothing(text in "[a-z今日 \u{301}]{0,200}", columns in 2..30usize) {
            let lines = wrap(&text, columns);
            prop_assert_eq!(lines.iter().map(|line| &text[line.clone()]).collect::<String>(), text.clone());
            prop_assert!(lines.iter().all(|line| text[line.clone()].trim_end_matches(' ').width() <= columns));
        }
    }
}
