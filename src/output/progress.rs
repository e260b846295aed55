//! One line on a terminal that says what a call is waiting for, redrawn in place and erased at the end.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level};

use super::terminal::escape_controls;

const INTERVAL: Duration = Duration::from_secs(1);

/// Back to the first column, clear the line.
const ERASE: &str = "\r\x1b[K";

/// A line that reaches the last column would wrap, and could not be erased any more.
const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";

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
}

impl Progress {
    pub fn new(is_wanted: bool) -> Progress {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        Progress((is_wanted && !is_dumb).then(Arc::default))
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

    /// Erases the line for good.
    pub fn stop(&self) {
        let Some(state) = &self.0 else {
            return;
        };
        let drawing = lock(state).drawing.take();
        if let Some(mut drawing) = drawing {
            drawing.has_stopped.store(true, Ordering::SeqCst);
            let _ = drawing.wake.write_all(b"x");
            let _ = drawing.thread.join();
            lock(state).erase();
        }
    }
}

impl State {
    fn erase(&mut self) {
        if self.is_shown {
            self.is_shown = false;
            write(ERASE);
        }
    }

    fn show(&mut self, status: &str) {
        self.is_shown = true;
        let status = escape_controls(status, "");
        write(&format!("{ERASE}{WRAP_OFF}haiku: {status}{WRAP_ON}"));
    }
}

/// Starts the thread. A signal that ends the program erases the line first.
fn draw(
    state: Arc<Mutex<State>>,
    status: impl Fn() -> String + Send + 'static,
) -> io::Result<Drawing> {
    let (mut events, wake) = UnixStream::pair()?;
    let has_stopped = Arc::new(AtomicBool::new(false));
    let signal = Arc::new(AtomicUsize::new(0));
    let caught = signal.clone();
    let thread = thread::Builder::new().spawn(move || {
        while !wait(&mut events) {
            lock(&state).show(&status());
        }
        lock(&state).erase();
        let signal = caught.load(Ordering::SeqCst);
        if let Ok(signal @ 1..) = i32::try_from(signal) {
            let _ = low_level::emulate_default_handler(signal);
        }
    })?;
    for number in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        flag::register_conditional_default(number, has_stopped.clone())?;
        flag::register_usize(number, signal.clone(), number as usize)?;
        low_level::pipe::register(number, wake.try_clone()?)?;
    }
    Ok(Drawing { thread, wake, has_stopped })
}

/// Waits for the next second; true if the drawing is to end.
fn wait(events: &mut UnixStream) -> bool {
    let timeout = PollTimeout::try_from(INTERVAL).unwrap_or(PollTimeout::MAX);
    let ready = poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLIN)], timeout);
    matches!(ready, Ok(1..)) && events.read(&mut [0]).is_ok()
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Progress({})", self.0.is_some())
    }
}
