//! One line on a terminal that says what a call is waiting for, redrawn in place and erased at the end.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, fmt, fs, mem};

use rustix::event::PollFlags;
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level};

use super::terminal::escape_controls;
use crate::error::redact;
use crate::signals::BlockedSignals;
use crate::wait::wait_for;

const INTERVAL: Duration = Duration::from_secs(1);

/// Back to the first column, clear the line.
const ERASE: &str = "\r\x1b[K";

/// The progress line, if there is to be one. A thread of its own draws it, so that every wait is
/// covered, whatever it waits for.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Mutex<State>>>);

#[derive(Default)]
struct State {
    drawing: Option<Drawing>,
    is_shown: bool,
}

struct Drawing {
    thread: JoinHandle<()>,
    /// Writing to it ends the thread.
    wake: UnixStream,
    has_stopped: Arc<AtomicBool>,
    /// The signal that is to end the program, or 0.
    signal: Arc<AtomicUsize>,
}

impl Progress {
    pub fn new(is_wanted: bool) -> Progress {
        let is_dumb = || env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        Progress((is_wanted && !is_dumb()).then(Arc::default))
    }

    /// Shows what `status` says, once a second, from the second second on. A machine that gives no
    /// thread gets no progress.
    pub fn start(&self, status: impl Fn() -> String + Send + 'static) {
        let Some(state) = &self.0 else {
            return;
        };
        if let Ok(drawing) = draw(state.clone(), status) {
            lock(state).drawing = Some(drawing);
        }
    }

    /// Erases the line while `print` prints something else.
    pub fn erase_for(&self, print: impl FnOnce()) {
        match &self.0 {
            Some(state) => {
                let mut state = lock(state);
                state.erase();
                print();
            }
            None => print(),
        }
    }

    /// Erases the line for good. From then on signals do what they do by default.
    pub fn stop(&self) {
        let Some(state) = &self.0 else {
            return;
        };
        let drawing = lock(state).drawing.take();
        if let Some(mut drawing) = drawing {
            let _ = drawing.wake.write_all(b"x");
            let _ = drawing.thread.join();
            drawing.has_stopped.store(true, Ordering::SeqCst);
            // It may have come after the thread looked for it.
            end_by(&drawing.signal);
            lock(state).erase();
        }
    }
}

impl State {
    fn erase(&mut self) {
        if mem::take(&mut self.is_shown) && is_in_foreground() {
            write(ERASE);
        }
    }

    fn show(&mut self, status: &str) {
        if is_in_foreground() && is_writable() {
            let line = format!("haiku: {}", escape_controls(&redact(status), ""));
            let line: String = line.chars().take(max_columns()).collect();
            write(&format!("{ERASE}{line}"));
            self.is_shown = true;
        }
    }
}

/// Starts the thread. A signal that ends the program erases the line first.
fn draw(
    state: Arc<Mutex<State>>,
    status: impl Fn() -> String + Send + 'static,
) -> io::Result<Drawing> {
    let (events, wake) = UnixStream::pair()?;
    let has_stopped = Arc::new(AtomicBool::new(false));
    let signal = Arc::new(AtomicUsize::new(0));
    let caught = signal.clone();
    // None must come between the three actions that are registered for it.
    let _blocked = BlockedSignals::new();
    let thread = thread::Builder::new().spawn(move || {
        while !is_over(&events) {
            lock(&state).show(&status());
        }
        // A signal must not have to wait for a terminal that takes nothing.
        if is_writable()
            && let Ok(mut state) = state.try_lock()
        {
            state.erase();
        }
        end_by(&caught);
    })?;
    let ignored = ignored_signals();
    for number in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        if ignored >> (number - 1) & 1 == 0 {
            flag::register_conditional_default(number, has_stopped.clone())?;
            flag::register_usize(number, signal.clone(), number as usize)?;
            low_level::pipe::register(number, wake.try_clone()?)?;
        }
    }
    Ok(Drawing { thread, wake, has_stopped, signal })
}

/// Waits for the next second; true if the thread is to end instead.
fn is_over(events: &UnixStream) -> bool {
    let events = wait_for(events, PollFlags::IN, Instant::now() + INTERVAL);
    events.map_or(true, |events| !events.is_empty())
}

/// Ends the program as `signal` does, if there is one.
fn end_by(signal: &AtomicUsize) {
    if let Ok(signal @ 1..) = i32::try_from(signal.load(Ordering::SeqCst)) {
        let _ = low_level::emulate_default_handler(signal);
    }
}

/// The signals that the caller has set to be ignored, as `nohup` and `trap '' INT` do, and a script
/// for what it starts in the background: one bit for each. A handler would end that. Only Linux tells.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line that reached the last column might wrap, and could not be erased any more.
fn max_columns() -> usize {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col) - 1,
        _ => usize::MAX,
    }
}

/// In the background, the line would end up among what is typed at the shell's prompt. A terminal that
/// does not control this process has no foreground.
fn is_in_foreground() -> bool {
    tcgetpgrp(io::stderr()).map_or(true, |foreground| foreground == getpgrp())
}

/// False while output is stopped, as Ctrl-S does.
fn is_writable() -> bool {
    let events = wait_for(io::stderr(), PollFlags::OUT, Instant::now());
    events.is_ok_and(|events| !events.is_empty())
}

fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Progress({})", self.0.is_some())
    }
}
