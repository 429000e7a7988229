//! Conversation on a terminal: a frame at the bottom, with finished exchanges scrolled above it as
//! plain lines.
//!
//! The terminal is restored however the program ends: at the end of the conversation, on an error,
//! a panic or a signal. Between two frames the cursor is hidden at the first column of the frame.
//! So to restore the terminal it is enough to clear everything after the cursor. A terminal that
//! rewraps its lines when it gets narrower moves the cursor along.

use std::io::{self, Stdout, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event as TerminalEvent, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{Clear, ClearType, disable_raw_mode, enable_raw_mode};
use ratatui::layout::{Position, Rect, Size};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Widget;
use ratatui::{Terminal, TerminalOptions, Viewport};
use unicode_width::UnicodeWidthStr;

use super::layout::{self, Layout, wrap};
use super::plain::{ConsoleLine, lines};
use super::user_command::UserCommand;
use super::{Event, EventKind, Frontend, Result, StatusSnapshot};
use crate::cli::signals;
use crate::memory::resident;
use crate::types::Bytes;

/// Time between two frames: 20 per second follow a voice.
const FRAME: Duration = Duration::from_millis(50);
/// Interval at which the memory use is read: this reads a system file.
const WEIGHED: Duration = Duration::from_secs(1);

/// Whether the terminal is in raw mode and drawn by this program.
static OURS: AtomicBool = AtomicBool::new(false);
/// Lock that is held while a frame is written.
static WRITING: Mutex<()> = Mutex::new(());
/// Longest wait for the frame that is being written before the terminal is restored, in
/// milliseconds.
const WHOLE_FRAME: usize = 100;

/// Restores the terminal, if it is in use by this program.
fn give_back() {
    // The wait is bounded: the thread that writes may be the one that panics, or it may be blocked
    // on a terminal that accepts no more output.
    let _whole = (0..WHOLE_FRAME).find_map(|_| {
        let free = WRITING.try_lock().ok();
        if free.is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        free
    });
    if OURS.swap(false, Ordering::SeqCst) {
        let _nothing_better = execute!(stdout(), Clear(ClearType::FromCursorDown), Show);
        let _nothing_better = disable_raw_mode();
    }
}

/// Restores the terminal before the message of a panic is printed.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
    });
}

type Drawn = Terminal<CrosstermBackend<Stdout>>;

/// Reserves the rows of the frame, from the row of the cursor on.
fn take_place() -> io::Result<Drawn> {
    let viewport = Viewport::Inline(layout::ROWS);
    Terminal::with_options(CrosstermBackend::new(stdout()), TerminalOptions { viewport })
}

/// Frontend that draws on a terminal.
pub struct TerminalView {
    terminal: Drawn,
    /// Size of the whole terminal.
    size: Size,
    layout: Layout,
    /// Times of the next frame and of the next reading of the memory use.
    next_frame: Instant,
    next_weighing: Instant,
}

impl Drop for TerminalView {
    fn drop(&mut self) {
        give_back();
    }
}

impl TerminalView {
    /// Takes over the terminal. Returns an error if the terminal does not report its cursor
    /// position.
    pub fn open(budget: Bytes, name: Option<String>) -> io::Result<TerminalView> {
        signals::before_end(give_back);
        give_back_on_panic();
        enable_raw_mode()?;
        OURS.store(true, Ordering::SeqCst);
        let place = take_place().and_then(|terminal| Ok((terminal.size()?, terminal)));
        let ((size, terminal), now) = (place.inspect_err(|_| give_back())?, Instant::now());
        Ok(TerminalView { terminal, size, layout: Layout::new(budget, name), next_frame: now, next_weighing: now })
    }

    /// Adapts to a new size of the terminal. Without this, the library would clear all scrolled
    /// lines.
    fn follow_size(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        if size != self.size {
            execute!(stdout(), Clear(ClearType::FromCursorDown))?;
            (self.terminal, self.size) = (take_place()?, size);
        }
        Ok(())
    }

    /// Writes to the terminal while this program uses it, and moves the cursor back to its place.
    fn write(&mut self, writing: impl FnOnce(&mut Self) -> io::Result<()>) -> Result<()> {
        let _whole = WRITING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if OURS.load(Ordering::SeqCst) {
            writing(self)?;
            let area = self.terminal.get_frame().area();
            self.terminal.set_cursor_position(Position::new(area.x, area.y))?;
        }
        Ok(())
    }

    fn draw(&mut self) -> Result<()> {
        self.next_frame = Instant::now() + FRAME;
        self.write(|screen| {
            screen.follow_size()?;
            let layout = &screen.layout;
            screen.terminal.draw(|frame| frame.render_widget(layout, frame.area())).map(drop)
        })
    }

    /// Scrolls lines above the frame.
    fn scroll(&mut self, said: &[ConsoleLine]) -> Result<()> {
        // Drawing first adapts to a new size.
        self.draw()?;
        self.write(|screen| {
            let width = screen.terminal.get_frame().area().width;
            let lines: Vec<Line> = said.iter().flat_map(|said| scrolled(said, width)).collect();
            let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
            screen.terminal.insert_before(height, |frame| {
                lines.iter().zip(frame.area.rows()).for_each(|(line, row)| line.render(row, frame));
                hide_covered(frame);
            })
        })?;
        self.draw()
    }
}

/// Empties the cell after each wide character, which covers it. Otherwise scrolled lines would show
/// an extra space there.
fn hide_covered(frame: &mut Buffer) {
    let Rect { width, .. } = frame.area;
    for at in 1..frame.content.len() {
        if at % usize::from(width) > 0 && frame.content[at - 1].symbol().width() > 1 {
            frame.content[at].set_symbol("");
        }
    }
}

impl Frontend for TerminalView {
    fn tell(&mut self, event: &Event) -> Result<()> {
        match &event.kind {
            EventKind::Partial(transcript) => self.layout.ask(&transcript.text, true),
            EventKind::Understood(transcript) => self.layout.ask(&transcript.text, false),
            EventKind::Exchange(exchange) => {
                self.layout.question.clear();
                self.layout.latency = exchange.timings.as_ref().and_then(|timings| timings.first_audio);
            }
            // No question came of it.
            EventKind::State(view) if view.is_at_rest() => self.layout.question.clear(),
            _ => {}
        }
        // The frame shows the state.
        let said = if matches!(event.kind, EventKind::State(_)) { Vec::new() } else { lines(&event.kind, None) };
        if said.is_empty() { Ok(()) } else { self.scroll(&said) }
    }

    fn note(&mut self, line: &str) -> Result<()> {
        self.scroll(&[ConsoleLine::Note(line.to_owned())])
    }

    fn show(&mut self, glance: StatusSnapshot) -> Result<()> {
        let now = Instant::now();
        if now < self.next_frame {
            return Ok(());
        }
        if now >= self.next_weighing {
            self.layout.memory = resident();
            self.next_weighing = now + WEIGHED;
        }
        self.layout.see(glance);
        self.draw()
    }

    fn user_command(&mut self) -> Result<Option<UserCommand>> {
        while OURS.load(Ordering::SeqCst) && event::poll(Duration::ZERO)? {
            if let TerminalEvent::Key(key) = event::read()?
                && let Some(user_command) = asked(key)
            {
                return Ok(Some(user_command));
            }
        }
        Ok(None)
    }
}

/// Command for a key.
fn asked(key: KeyEvent) -> Option<UserCommand> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        _ if key.kind != KeyEventKind::Press => None,
        KeyCode::Char('c') if control => Some(UserCommand::Interrupt),
        KeyCode::Char(_) if control => None,
        KeyCode::Char('m' | 'M') => Some(UserCommand::ToggleMute),
        KeyCode::Char('q' | 'Q') => Some(UserCommand::Quit),
        KeyCode::Char(' ') | KeyCode::Enter => Some(UserCommand::Stop),
        _ => None,
    }
}

/// Wraps the lines of a message to `width` columns.
fn scrolled(said: &ConsoleLine, width: u16) -> Vec<Line<'static>> {
    let (text, style) = match said {
        ConsoleLine::Note(text) => (text, Style::new().add_modifier(Modifier::DIM)),
        ConsoleLine::Chart(text) => (text, Style::new().add_modifier(Modifier::DIM)),
        ConsoleLine::Exchange(text) => (text, Style::new()),
    };
    let mut scrolled = Vec::new();
    for row in text.lines().map(layout::plain) {
        let mut rows = wrap(&row, width.into());
        if matches!(said, ConsoleLine::Chart(_)) {
            rows.truncate(1);
        }
        scrolled.extend(rows.into_iter().map(|part| Line::styled(row[part].to_owned(), style)));
    }
    scrolled
}
