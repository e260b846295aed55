//! Signals: an interrupted call ends as the signal does and leaves nothing behind.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::mock_server::{Server, Step, unfinished_stream};
use crate::support::{Folder, check, process};

fn stalled_stream() -> Server {
    Server::always(vec![Step::Send(unfinished_stream("half")), Step::Hold])
}

#[track_caller]
fn ends_quietly_with(signal: Signal, child: Child) {
    kill_process(Pid::from_child(&child), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(signal.as_raw()));
    check(output).stdout("").stderr("");
}

#[test]
fn an_interrupted_call_ends_as_the_signal_does() {
    for signal in [Signal::INT, Signal::TERM] {
        let server = stalled_stream();
        let mut child = process(&server).args(["--stream", "hi"]).spawn().unwrap();
        let stdout = child.stdout.as_mut().unwrap();
        stdout.read_exact(&mut [0; 4]).unwrap();
        ends_quietly_with(signal, child);
    }
}

#[test]
fn an_interrupted_call_leaves_the_output_file_unchanged() {
    let folder = Folder::new();
    let file = folder.write("reply.txt", "old");
    let server = stalled_stream();
    let mut command = process(&server);
    let child = command.args(["--stream", "-o", &file, "hi"]).spawn().unwrap();
    while server.requests().is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(50));
    ends_quietly_with(Signal::TERM, child);
    assert_eq!(folder.read("reply.txt"), "old");
    assert_eq!(folder.names(), ["reply.txt"]);
}
