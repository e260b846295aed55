//! `--output FILE`: the complete new file, or the old one unchanged.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use assert_cmd::assert::Assert;

use crate::support::mock_server::{Server, Step, event_stream, events, json_response, message};
use crate::support::{Folder, check, haiku_at, one_line};

const OLD: &str = "old\ncontent\n";

/// A folder with an old reply.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("reply.txt", OLD);
    folder
}

#[track_caller]
fn output(server: &Server, file: impl AsRef<Path>, args: &[&str]) -> Assert {
    check(haiku_at(server).arg("-o").arg(file.as_ref()).args(args))
}

/// Asserts that there is nothing but the old reply.
#[track_caller]
fn is_unchanged(folder: &Folder) {
    assert_eq!(folder.read("reply.txt"), OLD);
    assert_eq!(folder.names(), ["reply.txt"]);
}

#[test]
fn a_finished_reply_replaces_the_file_and_keeps_its_permissions() {
    for option in ["--no-stream", "--stream"] {
        let folder = folder();
        let file = folder.path("reply.txt");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let result = output(&Server::documented(), &file, &[option, "hi there"]);
        result.success().stdout("").stderr("");
        assert_eq!(folder.read("reply.txt"), "hi there\n");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(folder.names(), ["reply.txt"]);
    }
}

#[test]
fn a_file_name_without_a_folder_is_relative() {
    let folder = Folder::new();
    let mut command = haiku_at(&Server::documented());
    command.current_dir(folder.path("")).args(["-o", "bare.txt", "hi"]);
    check(&mut command).success();
    assert_eq!(folder.names(), ["bare.txt"]);
}

#[test]
fn json_is_written_to_the_file() {
    let folder = folder();
    let server = Server::message("text", "tool_use");
    let result = output(&server, folder.path("reply.txt"), &["--json", "hi"]);
    result.success().stdout("").stderr("");
    let body = message("text", "tool_use");
    assert_eq!(folder.read("reply.txt"), format!("{body}\n"));
}

#[test]
fn control_characters_are_written_unchanged_and_nothing_is_streamed() {
    let folder = folder();
    let server = Server::documented();
    output(&server, folder.path("reply.txt"), &["\u{1b}[31m"]).success();
    assert_eq!(folder.read("reply.txt"), "\u{1b}[31m\n");
    assert_eq!(server.request().json().get("stream"), None);
}

#[test]
fn an_unfinished_reply_goes_to_standard_output() {
    let folder = folder();
    for (server, option) in [
        (Server::message("cut", "max_tokens"), "--no-stream"),
        (Server::stream(&["c", "ut"], "max_tokens"), "--stream"),
    ] {
        for name in ["reply.txt", "new.txt"] {
            output(&server, folder.path(name), &[option, "hi"])
                .code(5)
                .stdout("cut\n")
                .stderr(one_line(&["max_tokens", "the rest"]));
        }
        is_unchanged(&folder);
    }
}

#[test]
fn a_failed_call_leaves_the_file_unchanged() {
    let folder = folder();
    let half = event_stream(&events(&["half"], "end_turn")[..4]);
    let body = message("whole", "end_turn").to_string();
    for (server, code) in [
        (Server::json(401, "{}"), 3),
        (Server::json(503, "{}"), 4),
        (Server::sending(json_response(200, &body[..50])), 4),
        (Server::sending(half.clone()), 4),
        (Server::always(vec![Step::Send(half), Step::Hold]), 4),
        (Server::always(vec![Step::Hold]), 4),
    ] {
        for option in ["-n", "--json", "--stream"] {
            let args = ["--retries", "0", "--timeout", "0.5", option, "hi"];
            output(&server, folder.path("reply.txt"), &args).code(code).stdout("");
            is_unchanged(&folder);
        }
    }
}

#[test]
fn a_usage_error_leaves_the_file_unchanged() {
    let folder = folder();
    let file = folder.path("reply.txt");
    for args in [&["-t", "7", "hi"][..], &["-"], &["--token-file", "/", "hi"]] {
        output(&Server::documented(), &file, args).code(2);
        is_unchanged(&folder);
    }
}

#[test]
fn a_forbidden_file_is_detected_before_the_request() {
    if rustix::process::geteuid().is_root() {
        // Permissions do not apply to root.
        return;
    }
    let folder = folder();
    let server = Server::documented();
    let file = folder.path("reply.txt");
    fs::set_permissions(&file, Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(folder.path(""), Permissions::from_mode(0o555)).unwrap();
    for name in ["reply.txt", "new.txt"] {
        output(&server, folder.path(name), &["hi"])
            .code(1)
            .stdout("")
            .stderr(one_line(&["Permission denied"]));
    }
    fs::set_permissions(folder.path(""), Permissions::from_mode(0o755)).unwrap();
    assert!(server.requests().is_empty());
    is_unchanged(&folder);
}

#[test]
fn a_symbolic_link_is_followed_and_kept() {
    let folder = folder();
    let link = |name: &str, target: &str| symlink(target, folder.path(name)).unwrap();
    fs::create_dir(folder.path("inner")).unwrap();
    link("inner/relative", "../reply.txt");
    link("inner/absolute", folder.path("inner/relative").to_str().unwrap());
    link("inner/dangling", "../new.txt");
    for (name, target) in [
        ("inner/relative", "reply.txt"),
        ("inner/absolute", "reply.txt"),
        ("inner/dangling", "new.txt"),
    ] {
        let file = folder.path(name);
        output(&Server::documented(), &file, &[name]).success().stderr("");
        assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
        assert_eq!(folder.read(target), format!("{name}\n"));
    }
    assert_eq!(folder.names(), ["inner", "new.txt", "reply.txt"]);
}

#[test]
fn devices_are_written_to() {
    let server = Server::documented();
    for (file, printed) in
        [("-", "hi\n"), ("/dev/stdout", "hi\n"), ("/dev/fd/1", "hi\n"), ("/dev/null", "")]
    {
        output(&server, file, &["hi"]).success().stdout(printed).stderr("");
    }
    let null = fs::metadata("/dev/null").unwrap();
    assert!(null.file_type().is_char_device());
    output(&server, "/dev/full", &["hi"])
        .code(1)
        .stdout("hi\n")
        .stderr(one_line(&["/dev/full: No space left", "the reply is on standard output"]));
}
