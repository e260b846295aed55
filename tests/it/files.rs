//! `-o FILE`: the new file whole, or the old one byte for byte.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::server::{
    Server, Step, chunk, event_stream, event_stream_head, events, json_response, message,
};
use crate::{Run, at, process, run};

const OLD: &str = "old\ncontent\n";

/// A folder with an old file in it.
fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reply.txt");
    fs::write(&file, OLD).unwrap();
    (folder, file)
}

fn output(server: &Server, file: &Path, args: &[&str]) -> Run {
    run(at(server).arg("-o").arg(file).args(args))
}

/// Asserts that nothing but `names` is in the folder.
#[track_caller]
fn holds(folder: &TempDir, names: &[&str]) {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, names);
}

#[test]
fn a_finished_reply_replaces_the_file() {
    for args in [&["hi there"][..], &["--stream", "hi there"]] {
        let (folder, file) = folder();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let server = Server::documented();
        output(&server, &file, args).ends(0).quiet().prints("");
        assert_eq!(fs::read_to_string(&file).unwrap(), "hi there\n");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        holds(&folder, &["reply.txt"]);
    }
}

#[test]
fn a_new_file_is_made_as_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.txt");
    let plain = folder.path().join("plain.txt");
    fs::write(&plain, "").unwrap();
    output(&Server::documented(), &file, &["hi"])
        .ends(0)
        .quiet();
    assert_eq!(fs::read_to_string(&file).unwrap(), "hi\n");
    let mode = |path| fs::metadata(path).unwrap().mode();
    assert_eq!(mode(&file), mode(&plain));
    holds(&folder, &["new.txt", "plain.txt"]);
    // A bare name is a file in this folder.
    run(at(&Server::documented())
        .current_dir(&folder)
        .args(["-o", "bare.txt", "hi"]))
    .ends(0);
    holds(&folder, &["bare.txt", "new.txt", "plain.txt"]);
}

#[test]
fn json_goes_into_the_file_too() {
    let (_folder, file) = folder();
    let reply = message("text", "tool_use").to_string();
    let server = Server::sending(json_response(200, &reply));
    output(&server, &file, &["--json", "hi"])
        .ends(0)
        .quiet()
        .prints("");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{reply}\n"));
}

#[test]
fn an_unfinished_reply_goes_to_standard_output() {
    for (server, args) in [
        (
            Server::sending(json_response(200, message("cut", "max_tokens").to_string())),
            &["hi"][..],
        ),
        (
            Server::sending(event_stream(&events(&["c", "ut"], "max_tokens"))),
            &["--stream", "hi"],
        ),
    ] {
        let (folder, file) = folder();
        output(&server, &file, args)
            .ends(5)
            .prints("cut\n")
            .says(&["--max-tokens"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), OLD);
        holds(&folder, &["reply.txt"]);
        let missing = folder.path().join("missing");
        output(&server, &missing, args).ends(5).prints("cut\n");
        holds(&folder, &["reply.txt"]);
    }
}

#[test]
fn a_failure_leaves_the_file_as_it_was() {
    let half = event_stream(&events(&["half"], "end_turn")[..4]);
    let body = message("whole", "end_turn").to_string();
    for (server, code) in [
        (Server::sending(json_response(401, "{}")), 3),
        (Server::sending(json_response(503, "{}")), 4),
        (Server::sending(json_response(200, &body[..50])), 4),
        (Server::sending(half.clone()), 4),
        (Server::always(vec![Step::Send(half), Step::Hold]), 4),
        (Server::always(vec![Step::Hold]), 4),
    ] {
        for form in [&["hi"][..], &["--json", "hi"], &["--stream", "hi"]] {
            let (folder, file) = folder();
            let limits = ["--retries", "0", "--timeout", "0.5"];
            output(&server, &file, &[&limits, form].concat())
                .ends(code)
                .prints("");
            assert_eq!(fs::read_to_string(&file).unwrap(), OLD);
            holds(&folder, &["reply.txt"]);
        }
    }
    let (folder, file) = folder();
    output(&Server::documented(), &file, &["-t", "7", "hi"]).ends(2);
    run(at(&Server::documented())
        .env_remove("CLOUDFLARE_API_TOKEN")
        .arg("-o")
        .arg(&file)
        .arg("hi"))
    .ends(2);
    output(&Server::documented(), &file, &["-"]).ends(2);
    assert_eq!(fs::read_to_string(&file).unwrap(), OLD);
    holds(&folder, &["reply.txt"]);
}

#[test]
fn what_cannot_be_written_is_found_out_before_the_request() {
    let (folder, file) = folder();
    let looped = folder.path().join("loop");
    symlink(&looped, &looped).unwrap();
    let server = Server::documented();
    for (path, says) in [
        (
            folder.path().join("no/such/reply.txt"),
            "No such file or directory",
        ),
        (folder.path().to_owned(), "directory"),
        (file.join("below"), "Not a directory"),
        (looped, "symbolic links"),
        (PathBuf::from("/proc/nothing"), ""),
    ] {
        output(&server, &path, &["hi"])
            .ends(1)
            .prints("")
            .says(&["cannot write to", says]);
    }
    assert!(server.requests().is_empty());
    holds(&folder, &["loop", "reply.txt"]);
}

#[test]
fn what_permissions_forbid_is_found_out_before_the_request() {
    if rustix::process::geteuid().is_root() {
        // Nothing is forbidden to root: this runs as anybody else.
        return;
    }
    let (folder, file) = folder();
    let server = Server::documented();
    fs::set_permissions(&file, Permissions::from_mode(0o444)).unwrap();
    output(&server, &file, &["hi"])
        .ends(1)
        .prints("")
        .says(&["Permission denied"]);
    fs::set_permissions(&folder, Permissions::from_mode(0o555)).unwrap();
    output(&server, &folder.path().join("new"), &["hi"])
        .ends(1)
        .says(&["Permission denied"]);
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    assert!(server.requests().is_empty());
    assert_eq!(fs::read_to_string(&file).unwrap(), OLD);
}

#[test]
fn a_symbolic_link_stays_one() {
    let (folder, file) = folder();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let relative = inner.join("relative");
    let absolute = inner.join("absolute");
    let dangling = inner.join("dangling");
    symlink("../reply.txt", &relative).unwrap();
    symlink(&relative, &absolute).unwrap();
    symlink("../made.txt", &dangling).unwrap();
    for (link, target) in [
        (&relative, &file),
        (&absolute, &file),
        (&dangling, &folder.path().join("made.txt")),
    ] {
        let server = Server::documented();
        let prompt = link.display().to_string();
        output(&server, link, &[&prompt]).ends(0).quiet();
        assert!(fs::symlink_metadata(link).unwrap().file_type().is_symlink());
        assert_eq!(fs::read_to_string(target).unwrap(), format!("{prompt}\n"));
    }
    holds(&folder, &["inner", "made.txt", "reply.txt"]);
}

#[test]
fn what_is_no_regular_file_is_written_to() {
    let server = Server::documented();
    run(at(&server).args(["-o", "-", "hi"]))
        .ends(0)
        .quiet()
        .prints("hi\n");
    run(at(&server).args(["-o", "/dev/stdout", "hi"]))
        .ends(0)
        .quiet()
        .prints("hi\n");
    run(at(&server).args(["-o", "/dev/fd/1", "hi"]))
        .ends(0)
        .quiet()
        .prints("hi\n");
    run(at(&server).args(["-o", "/dev/null", "hi"]))
        .ends(0)
        .quiet()
        .prints("");
    assert!(
        fs::metadata("/dev/null")
            .unwrap()
            .file_type()
            .is_char_device()
    );
    run(at(&server).args(["-o", "/dev/full", "hi"]))
        .ends(1)
        .says(&["cannot write to /dev/full: No space left"]);
}

#[test]
fn standard_output_that_is_a_file_is_not_replaced() {
    let (folder, file) = folder();
    let server = Server::documented();
    for (name, expected) in [("/dev/stdout", "hi\n"), ("/dev/fd/1", "hi\n")] {
        let out = File::create(&file).unwrap();
        let inode = out.metadata().unwrap().ino();
        let status = process(&server)
            .args(["-n", "-o", name, "hi"])
            .stdout(out)
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(fs::read_to_string(&file).unwrap(), expected);
        assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
    }
    holds(&folder, &["reply.txt"]);
}

#[test]
fn a_fifo_is_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let status = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(status.success());
    let path = fifo.clone();
    let reader = std::thread::spawn(move || fs::read_to_string(path).unwrap());
    output(&Server::documented(), &fifo, &["hi"])
        .ends(0)
        .quiet()
        .prints("");
    assert_eq!(reader.join().unwrap(), "hi\n");
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    holds(&folder, &["fifo"]);
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    use rustix::process::{Pid, Signal, kill_process};

    let (folder, file) = folder();
    let mut steps = vec![Step::Send(event_stream_head())];
    steps.push(Step::Send(chunk(
        events(&["half"], "end_turn")[..4].concat(),
    )));
    steps.push(Step::Hold);
    let server = Server::always(steps);
    let mut child = process(&server)
        .args(["-n", "--stream", "hi", "-o"])
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    while server.requests().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(50));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(!child.wait().unwrap().success());
    let mut out = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .unwrap();
    assert_eq!(out, "");
    assert_eq!(fs::read_to_string(&file).unwrap(), OLD);
    holds(&folder, &["reply.txt"]);
}

#[test]
fn a_file_that_does_not_fit_leaves_the_old_one() {
    let (folder, file) = folder();
    let server = Server::documented();
    let output = Command::new("/bin/sh")
        .args(["-c", "ulimit -f 8; exec \"$HAIKU\" -o \"$FILE\""])
        .env_clear()
        .env("HAIKU", env!("CARGO_BIN_EXE_haiku"))
        .env("FILE", &file)
        .env("CLOUDFLARE_API_BASE_URL", server.url())
        .env("CLOUDFLARE_ACCOUNT_ID", "x")
        .env("CLOUDFLARE_API_TOKEN", "x")
        .stdin(File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert_eq!(server.requests().len(), 1);
    assert_eq!(fs::read_to_string(&file).unwrap(), OLD);
    holds(&folder, &["reply.txt"]);
}

#[test]
fn a_file_is_no_terminal() {
    let (_folder, file) = folder();
    let server = Server::documented();
    output(&server, &file, &["\u{1b}[31m"]).ends(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "\u{1b}[31m\n");
    assert_eq!(server.request().json().get("stream"), None);
}
