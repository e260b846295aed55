//! Standard output: a full disk, a reader that leaves, and the number of writes.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::mock_server::{
    Server, Step, chunk, delta, event, event_stream_head, events, message, unfinished_stream,
};
use crate::support::{Folder, check, one_line, process, shell};

fn full_disk() -> File {
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
        let mut command = process(&server);
        command.args(args).stdout(full_disk());
        check(&mut command)
            .code(1)
            .stdout("")
            .stderr(one_line(&["standard output: No space left on device"]));
    }
}

#[test]
fn dev_null_is_written_to_however_it_is_opened() {
    let server = Server::documented();
    for args in
        ["-n hi", "-n --stream hi", "-n --json hi", "-n --dry-run hi", "--help", "--version"]
    {
        // As a shell, Python's DEVNULL, Node's 'ignore' and daemon(3) open it, and as Rust's runtime does.
        for redirection in [">/dev/null", "1<>/dev/null", ">&-"] {
            let mut command = shell(&server, &format!("exec \"$HAIKU\" {args} {redirection}"));
            check(&mut command).success().stdout("").stderr("");
        }
    }
    let folder = Folder::new();
    let mut command = shell(&server, "exec \"$HAIKU\" -n -o \"$FILE\" hi >&-");
    check(command.env("FILE", folder.path("reply.txt"))).success().stderr("");
    assert_eq!(folder.read("reply.txt"), "hi\n");
}

#[test]
fn an_unwritable_standard_error_changes_nothing() {
    let server = Server::documented();
    for (args, code, printed) in [(["-v", "hi"], 0, "hi\n"), (["-t=9", "hi"], 2, "")] {
        let mut command = process(&server);
        command.args(args).stderr(full_disk());
        check(&mut command).code(code).stdout(printed);
    }
}

#[test]
fn a_closed_pipe_ends_the_call_quietly() {
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
        let mut command = process(&server);
        command.args(args).stdout(writer);
        check(&mut command).code(141).stderr("");
    }
}

#[test]
fn a_pipe_closed_within_a_stream_ends_the_call_and_the_connection() {
    let server = Server::always(vec![
        Step::Send(unfinished_stream("one\n")),
        Step::Repeat(chunk(event(&delta("and on and on\n")))),
    ]);
    let mut child = process(&server).args(["--stream", "hi"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 4]).unwrap();
    drop(stdout);
    check(child.wait_with_output().unwrap()).code(141).stderr("");
    let start = Instant::now();
    while !server.client_left() {
        assert!(start.elapsed() < Duration::from_secs(10), "still connected");
        thread::sleep(Duration::from_millis(10));
    }
}

/// What each write to standard output contained: a datagram socket keeps their boundaries.
fn writes(server: &Server, options: &[&str]) -> Vec<String> {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let mut command = process(server);
    command.args(options).arg("hi").stdout(OwnedFd::from(theirs));
    check(&mut command).success().stderr("");
    ours.set_nonblocking(true).unwrap();
    let mut writes = Vec::new();
    let mut datagram = [0; 10_000];
    while let Ok(length @ 1..) = ours.recv(&mut datagram) {
        writes.push(String::from_utf8_lossy(&datagram[..length]).into_owned());
    }
    writes
}

#[test]
fn an_unstreamed_reply_is_one_write() {
    let text = "line\nline\nno end";
    let server = Server::message(text, "end_turn");
    assert_eq!(writes(&server, &[]), [format!("{text}\n")]);
    let body = message(text, "end_turn");
    assert_eq!(writes(&server, &["--json"]), [format!("{body}\n")]);
}

#[test]
fn deltas_that_arrive_together_are_written_together() {
    let chunks = events(&["a", "b", "c"], "end_turn");
    let chunks: Vec<_> = chunks.iter().flat_map(chunk).collect();
    let server = Server::sending([event_stream_head(), chunks].concat());
    assert_eq!(writes(&server, &["--stream"]), ["abc", "\n"]);
}

#[test]
fn a_slow_reader_receives_every_byte() {
    let text = "0123456789\n".repeat(100_000);
    let server = Server::message(&text, "end_turn");
    let mut child = process(&server).arg("hi").spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut received = Vec::new();
    let mut piece = [0; 50_000];
    while let length @ 1.. = stdout.read(&mut piece).unwrap() {
        received.write_all(&piece[..length]).unwrap();
        thread::sleep(Duration::from_millis(2));
    }
    check(child.wait_with_output().unwrap()).success().stderr("");
    assert!(received == text.as_bytes());
}

#[test]
fn nonblocking_standard_streams_are_waited_for() {
    // Far more than a socket keeps.
    let text = "0123456789\n".repeat(100_000);
    let server = Server::message(&text, "end_turn");
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let mut command = process(&server);
    command.arg("hi").stdout(OwnedFd::from(theirs));
    let child = command.spawn().unwrap();
    drop(command);
    thread::sleep(Duration::from_millis(300));
    let mut received = String::new();
    ours.read_to_string(&mut received).unwrap();
    check(child.wait_with_output().unwrap()).success().stderr("");
    assert!(received == text);

    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let child = process(&Server::documented()).arg("-").stdin(OwnedFd::from(theirs)).spawn();
    for piece in ["one ", "two"] {
        thread::sleep(Duration::from_millis(100));
        ours.write_all(piece.as_bytes()).unwrap();
    }
    drop(ours);
    check(child.unwrap().wait_with_output().unwrap()).success().stdout("one two\n").stderr("");
}
