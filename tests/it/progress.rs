//! The progress line, on pseudo-terminals: the bytes that are written, and the screen that they leave.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{Action, Winsize, tcflow, tcsetwinsize};

use crate::support::mock_server::{Server, Step, http, json_response, message, unfinished_stream};
use crate::support::pty::{read_all, screen, terminal};
use crate::support::{Folder, has, process, shell};

const ERASE: &str = "\r\x1b[K";

/// The line after a second and after two, of a call that waits.
const FIRST: &str = "\r\x1b[Khaiku: waiting for 127.0.0.1, 1 s";
const SECOND: &str = "\r\x1b[Khaiku: waiting for 127.0.0.1, 2 s";

/// Takes `seconds` to reply "late".
fn slow(seconds: f64) -> Server {
    let reply = json_response(200, message("late", "end_turn").to_string());
    Server::always(vec![Step::Wait(Duration::from_secs_f64(seconds)), Step::Send(reply)])
}

/// Never replies.
fn stalled() -> Server {
    Server::always(vec![Step::Hold])
}

/// A program whose standard error is a terminal.
struct Call {
    child: Child,
    master: File,
    /// What has been read from the terminal.
    shown: String,
    started: Instant,
}

impl Call {
    fn start(server: &Server, args: &[&str]) -> Call {
        let mut command = process(server);
        command.args(args);
        Call::with(command)
    }

    fn with(command: Command) -> Call {
        let (master, slave) = terminal();
        Call::on(master, slave, command)
    }

    /// Standard output is the command's own.
    fn on(master: File, slave: File, mut command: Command) -> Call {
        command.env("TERM", "xterm").stderr(slave);
        let started = Instant::now();
        Call { child: command.spawn().unwrap(), master, shown: String::new(), started }
    }

    /// The command has standard input and standard output on the terminal as well.
    fn wholly(mut command: Command) -> Call {
        let (master, slave) = terminal();
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap());
        Call::on(master, slave, command)
    }

    /// Reads until the terminal has been sent `text`.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        while !self.shown.contains(text) {
            let mut bytes = [0; 1000];
            let length = self.master.read(&mut bytes).unwrap_or(0);
            assert!(length > 0, "no {text:?} in {:?}", self.shown);
            self.shown += std::str::from_utf8(&bytes[..length]).unwrap();
        }
    }

    fn kill(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Everything that the terminal was sent.
    fn end(mut self) -> (ExitStatus, String) {
        let rest = read_all(self.master);
        (self.child.wait().unwrap(), self.shown + &rest)
    }
}

#[test]
fn the_line_is_redrawn_every_second_and_erased_before_the_reply() {
    let server = slow(2.5);
    let mut command = process(&server);
    command.arg("hi");
    let mut call = Call::wholly(command);
    call.wait_for(FIRST);
    let elapsed = call.started.elapsed();
    assert!(elapsed >= Duration::from_secs(1), "{elapsed:?}");
    let (status, shown) = call.end();
    assert_eq!((status.code(), shown), (Some(0), format!("{FIRST}{SECOND}{ERASE}late\n")));
}

#[test]
fn the_line_is_erased_before_anything_else_is_printed() {
    let busy = http(503, &[("retry-after-ms", "1000")], "");
    let reject = http(400, &[], "");
    let slow = Step::Wait(Duration::from_millis(1500));
    let server = Server::new(move |n, _| {
        if n == 0 {
            vec![slow.clone(), Step::Send(busy.clone())]
        } else {
            vec![Step::Send(reject.clone())]
        }
    });
    let (status, shown) = Call::start(&server, &["-v", "hi"]).end();
    assert_eq!(status.code(), Some(3));
    let retry = "haiku: HTTP 503: no message from the server; retrying in 1 s (1 of 2)\n";
    let delay = format!("{ERASE}haiku: retrying in 1 s{ERASE}");
    let start = format!("{FIRST}{ERASE}{retry}{delay}haiku: HTTP 400");
    assert!(shown.starts_with(&start), "{shown:?}");
    let rows = screen(&shown, 80);
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows[1].contains("gave up after 1 retry"), "{rows:?}");
    assert!(rows[2].starts_with("haiku: total 2"), "{rows:?}");
}

#[test]
fn sending_says_how_much_of_how_much() {
    let folder = Folder::new();
    let body = folder.write("prompt", vec![b'x'; 10_000_000]);
    let server = Server::unresponsive();
    let mut command = process(&server);
    command.args(["--timeout", "2.5"]).stdin(File::open(body).unwrap());
    let (status, shown) = Call::with(command).end();
    assert_eq!(status.code(), Some(4));
    let lines: Vec<_> = shown.split(ERASE).collect();
    assert_eq!(lines.len(), 4, "{shown:?}");
    for line in &lines[1..3] {
        let sent = line.strip_prefix("haiku: sending ").unwrap();
        let sent: f64 = sent.strip_suffix(" of 10.0 MB").unwrap().parse().unwrap();
        assert!(sent > 0.0 && sent < 10.0, "{shown:?}");
    }
    let error = "haiku: timed out after 2.5 s while sending to 127.0.0.1; raise --timeout\n";
    assert_eq!(lines[3], error);
}

#[test]
fn receiving_is_shown_unless_the_terminal_may_show_the_reply() {
    let slow_stream = || {
        let steps =
            [Step::Send(unfinished_stream("half")), Step::Wait(Duration::from_millis(1500))];
        Server::always(steps.into())
    };
    let (server, folder) = (slow_stream(), Folder::new());
    let start = |stdout: Stdio, args: &[&str]| {
        let mut command = process(&server);
        command.args(args).stdout(stdout);
        Call::with(command)
    };
    let path = folder.path("kept").into_os_string().into_string().unwrap();
    let file = File::create(folder.path("reply")).unwrap();
    let hidden = [
        start(file.into(), &["--stream", "hi"]),
        start(Stdio::piped(), &["hi"]),
        start(Stdio::piped(), &["--stream", "-o", &path, "hi"]),
    ];
    let piped = start(Stdio::piped(), &["--stream", "hi"]);
    let mut command = process(&server);
    command.arg("hi");
    let on_terminal = Call::wholly(command);

    let error = "haiku: truncated reply";
    for call in hidden {
        let (_, shown) = call.end();
        let start = format!("{ERASE}haiku: receiving, 1 KB, 1 s{ERASE}{error}");
        assert!(shown.starts_with(&start), "{shown:?}");
    }
    let (_, shown) = piped.end();
    assert!(shown.starts_with(&format!("\n{error}")), "{shown:?}");
    let (_, shown) = on_terminal.end();
    assert!(shown.starts_with(&format!("half\n{error}")), "{shown:?}");
}

#[test]
fn an_error_never_shares_a_line_with_text_from_a_pipe() {
    let server = Server::sending(unfinished_stream("half"));
    let mut call = Call::wholly(shell(&server, "\"$HAIKU\" --stream hi | cat"));
    call.wait_for("closed the connection\n");
    let (_, shown) = call.end();
    let rows = screen(&shown, 80);
    assert!(rows.contains(&"half".to_owned()), "{rows:?}");
    assert!(rows.iter().any(|row| row.starts_with("haiku: truncated reply")), "{rows:?}");
}

#[test]
fn an_error_begins_with_no_line_break_if_there_is_no_unfinished_line() {
    let folder = Folder::new();
    let file = || File::create(folder.path("reply")).unwrap();
    let half = |text| Server::sending(unfinished_stream(text));
    for (server, stdout, option) in [
        (half("half"), Stdio::from(file()), "--stream"),
        (half("whole line\n"), Stdio::piped(), "--stream"),
        (half("half"), Stdio::piped(), "--no-stream"),
        (Server::json(400, "{}"), Stdio::piped(), "--stream"),
    ] {
        let mut command = process(&server);
        command.args([option, "hi"]).stdout(stdout);
        let (_, shown) = Call::with(command).end();
        assert!(shown.starts_with("haiku: "), "{shown:?}");
    }
}

#[test]
fn no_line_is_shown_where_none_is_wanted() {
    let server = slow(1.5);
    let command = |term: Option<&str>, args: &[&str]| {
        let mut command = process(&server);
        command.args(args).envs(term.map(|term| ("TERM", term)));
        command
    };
    let start = |mut command: Command| {
        let (master, slave) = terminal();
        (master, command.stderr(slave).spawn().unwrap())
    };
    let on_terminal = [
        start(command(Some("xterm"), &["-q", "hi"])),
        start(command(Some("xterm"), &["-v", "-q", "hi"])),
        start(command(Some("dumb"), &["hi"])),
        start(command(None, &["hi"])),
    ];
    let piped = command(Some("xterm"), &["hi"]).spawn().unwrap();
    for (master, mut child) in on_terminal {
        assert_eq!(read_all(master), "");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    let output = piped.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn a_narrow_terminal_gets_as_much_of_the_line_as_fits() {
    let server = slow(2.5);
    let (master, slave) = terminal();
    let resize = |columns| {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).unwrap();
    };
    resize(20);
    let mut command = process(&server);
    command.arg("hi");
    let mut call = Call::on(master, slave.try_clone().unwrap(), command);
    call.wait_for("waiting");
    assert_eq!(call.shown, "\r\x1b[Khaiku: waiting for ");
    resize(34);
    drop(slave);
    let (_, shown) = call.end();
    assert_eq!(shown, format!("\r\x1b[Khaiku: waiting for {SECOND}{ERASE}"));
    assert!(screen(&shown, 34).is_empty());
}

#[test]
fn a_signal_ends_the_call_and_erases_the_line() {
    let folder = Folder::new();
    let file = folder.write("reply", "old");
    let server = stalled();
    let signals = [Signal::INT, Signal::TERM, Signal::HUP];
    let calls = signals.map(|signal| (signal, Call::start(&server, &["-o", &file, "hi"])));
    for (signal, mut call) in calls {
        call.wait_for("1 s");
        call.kill(signal);
        let (status, shown) = call.end();
        assert_eq!(status.signal(), Some(signal.as_raw()));
        assert!(shown.ends_with(&format!(" s{ERASE}")), "{shown:?}");
        assert!(screen(&shown, 80).is_empty(), "{shown:?}");
    }
    assert_eq!(folder.names(), ["reply"]);
    assert_eq!(folder.read("reply"), "old");
}

#[test]
fn a_signal_ends_the_call_before_there_is_a_line() {
    let server = stalled();
    let call = Call::start(&server, &["hi"]);
    while server.requests().is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    call.kill(Signal::INT);
    let (status, shown) = call.end();
    assert_eq!((status.signal(), shown.as_str()), (Some(Signal::INT.as_raw()), ""));
}

#[test]
fn a_signal_ends_a_call_whose_output_is_blocked() {
    let reply = message(&"x".repeat(1_000_000), "end_turn").to_string();
    let server = Server::sending(json_response(200, reply));
    let (mut reader, writer) = io::pipe().unwrap();
    let mut command = process(&server);
    command.arg("hi").stdout(writer);
    let call = Call::with(command);
    reader.read_exact(&mut [0]).unwrap();
    call.kill(Signal::INT);
    let (status, _) = call.end();
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()));
}

#[test]
fn a_terminal_that_is_stopped_holds_up_no_signal_and_keeps_the_order() {
    let servers = [stalled(), slow(1.5)];
    let mut calls = servers.each_ref().map(|server| {
        let (master, slave) = terminal();
        let mut command = process(server);
        command.arg("hi").stdout(slave.try_clone().unwrap());
        (Call::on(master, slave.try_clone().unwrap(), command), slave)
    });
    for (call, slave) in &mut calls {
        call.wait_for(FIRST);
        tcflow(slave, Action::OOff).unwrap();
    }
    thread::sleep(Duration::from_millis(1200));
    let [(mut interrupted, _slave), (late, slave)] = calls;
    interrupted.kill(Signal::TERM);
    assert_eq!(interrupted.child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    tcflow(&slave, Action::OOn).unwrap();
    drop(slave);
    assert_eq!(late.end().1, format!("{FIRST}{ERASE}late\n"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_the_caller_ignores_stays_ignored() {
    let server = slow(1.5);
    let mut command = shell(&server, "trap '' INT; exec \"$HAIKU\" hi");
    command.stdout(Stdio::null());
    let mut call = Call::with(command);
    call.wait_for(FIRST);
    call.kill(Signal::INT);
    let (status, shown) = call.end();
    assert_eq!((status.code(), shown), (Some(0), format!("{FIRST}{ERASE}")));
}

/// A shell with job control, of which the terminal is the controlling one.
fn interactive(server: &Server, script: &str) -> Call {
    let shell = shell(server, script);
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "/bin/sh", "-m"]).args(shell.get_args());
    command.env_clear().envs(shell.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Call::wholly(command)
}

#[test]
fn a_call_in_the_background_leaves_the_terminal_alone() {
    if !has("setsid") {
        return;
    }
    let server = slow(1.5);
    let foreground = interactive(&server, "\"$HAIKU\" hi");
    let background = interactive(&server, "\"$HAIKU\" hi & wait");
    assert_eq!(foreground.end().1, format!("{FIRST}{ERASE}late\n"));
    assert_eq!(background.end().1, "late\n");
}

#[test]
fn keys_interrupt_stop_and_continue_a_call() {
    if !has("setsid") {
        return;
    }
    let server = slow(2.5);
    let mut interrupted = interactive(&server, "trap : INT; \"$HAIKU\" hi; echo \"status $?\"");
    let mut stopped = interactive(&server, "\"$HAIKU\" hi; echo \"status $?\"; fg");
    interrupted.wait_for(FIRST);
    stopped.wait_for(FIRST);
    interrupted.master.write_all(b"\x03").unwrap();
    stopped.master.write_all(b"\x1a").unwrap();
    let (_, shown) = interrupted.end();
    assert_eq!(screen(&shown, 80), ["status 130"], "{shown:?}");
    stopped.wait_for("status ");
    let (status, shown) = stopped.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(screen(&shown, 80).last().unwrap(), "late", "{shown:?}");
}
