//! Standard output: a full disk, a reader that leaves, one write.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::server::{
    Server, Step, chunk, delta, event, event_stream_head, events, json_response, message,
};
use crate::{Run, checked, process};

fn command(server: &Server) -> Command {
    let mut command = process(server);
    command.stderr(Stdio::piped());
    command
}

fn finish(command: &mut Command) -> Run {
    checked(&command.output().unwrap())
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

#[test]
fn a_full_disk_is_exit_1() {
    let server = Server::documented();
    for args in [
        &["hi"][..],
        &["--stream", "hi"],
        &["--json", "hi"],
        &["--json", "--stream", "hi"],
        &["--dry-run", "hi"],
        &["--help"],
        &["--version"],
    ] {
        finish(command(&server).args(args).stdout(full()))
            .ends(1)
            .says(&["cannot write to standard output: No space left on device"]);
    }
}

#[test]
fn a_standard_error_that_cannot_be_written_changes_nothing() {
    let server = Server::documented();
    assert_eq!(
        finish(
            command(&server)
                .args(["-v", "hi"])
                .stderr(full())
                .stdout(Stdio::piped())
        )
        .code,
        0
    );
    assert_eq!(
        finish(command(&server).args(["-t", "9", "hi"]).stderr(full())).code,
        2
    );
}

#[test]
fn a_reader_that_left_ends_it_quietly() {
    let server = Server::documented();
    for args in [
        &["hi"][..],
        &["--stream", "hi"],
        &["--json", "hi"],
        &["-v", "hi"],
        &["--dry-run", "hi"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        finish(command(&server).args(args).stdout(writer))
            .ends(141)
            .quiet();
    }
}

#[test]
fn a_reader_that_leaves_in_mid_stream_ends_it_and_the_connection() {
    let mut steps = vec![Step::Send(event_stream_head())];
    steps.push(Step::Send(chunk(
        events(&["one\n"], "end_turn")[..4].concat(),
    )));
    steps.push(Step::Repeat(chunk(event(&delta("and on and on\n")))));
    let server = Server::always(steps);
    let mut child = command(&server)
        .args(["--stream", "hi"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 4]).unwrap();
    drop(out);
    assert_eq!(child.wait().unwrap().code(), Some(141));
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!(err, "");
    let patience = Instant::now();
    while !server.client_left() {
        assert!(
            patience.elapsed() < Duration::from_secs(10),
            "the connection is still open"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_unstreamed_reply_leaves_in_one_write() {
    // A datagram socket keeps the bounds of each write.
    for (args, text) in [
        (&["hi"][..], "line\nline\nno end"),
        (&["--json", "hi"], "x\ny"),
    ] {
        let reply = message(text, "end_turn").to_string();
        let server = Server::sending(json_response(200, &reply));
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let theirs: std::os::fd::OwnedFd = theirs.into();
        finish(command(&server).args(args).stdout(theirs))
            .ends(0)
            .quiet();
        let mut datagram = [0; 10_000];
        let length = ours.recv(&mut datagram).unwrap();
        let expected = if args.len() == 1 {
            format!("{text}\n")
        } else {
            format!("{reply}\n")
        };
        assert_eq!(String::from_utf8_lossy(&datagram[..length]), expected);
        ours.set_nonblocking(true).unwrap();
        assert!(ours.recv(&mut datagram).is_err(), "a second write");
    }
}

#[test]
fn what_has_come_together_is_written_together() {
    let all = events(&["a", "b", "c"], "end_turn");
    let mut bytes = event_stream_head();
    for piece in &all {
        bytes.extend(chunk(piece));
    }
    // The head is sent first, so that all the chunks are read from the socket at once.
    let server = Server::always(vec![Step::Send(bytes)]);
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let theirs: std::os::fd::OwnedFd = theirs.into();
    finish(command(&server).args(["--stream", "hi"]).stdout(theirs)).ends(0);
    let mut datagram = [0; 100];
    let length = ours.recv(&mut datagram).unwrap();
    assert_eq!(&datagram[..length], b"abc");
    let length = ours.recv(&mut datagram).unwrap();
    assert_eq!(&datagram[..length], b"\n");
}

#[test]
fn an_interrupt_ends_it_as_the_signal_does() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::os::unix::process::ExitStatusExt;

    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15)] {
        let mut steps = vec![Step::Send(event_stream_head())];
        steps.push(Step::Send(chunk(
            events(&["one\n"], "end_turn")[..4].concat(),
        )));
        steps.push(Step::Hold);
        let server = Server::always(steps);
        let mut child = command(&server)
            .args(["--stream", "hi"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut [0; 4])
            .unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(number));
        let mut err = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        assert_eq!(err, "");
    }
}

#[test]
fn every_write_is_exact_under_a_slow_reader() {
    let text = "0123456789\n".repeat(100_000);
    let server = Server::sending(json_response(200, message(&text, "end_turn").to_string()));
    let mut child = command(&server)
        .arg("hi")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut collected = Vec::new();
    let mut piece = [0; 50_000];
    loop {
        let length = out.read(&mut piece).unwrap();
        if length == 0 {
            break;
        }
        collected.write_all(&piece[..length]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(collected, text.as_bytes());
}
