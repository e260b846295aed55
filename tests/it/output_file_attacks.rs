//! `--output FILE` against other users, access control lists, mounts, limits and changes during the request.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, chown, lchown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use assert_cmd::assert::Assert;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::mock_server::{Server, Step, json_response, message};
use crate::support::sandbox::{
    NOBODY, can_switch_user, can_unshare, in_shell, is_root, set_mode, tool, unshared, wrap,
};
use crate::support::{Folder, check, has, one_line, process};

const OLD: &str = "old content\n";
const ON_STDOUT: &str = "; the reply is on standard output instead";

/// A folder with an old reply, which every user may enter.
fn folder() -> Folder {
    let folder = Folder::new();
    set_mode(folder.path(""), 0o755);
    folder.write("reply.txt", OLD);
    folder
}

fn response(text: &str) -> Vec<u8> {
    json_response(200, message(text, "end_turn").to_string())
}

/// A server that replies "reply" once `meanwhile` has been done.
fn server(meanwhile: impl Fn() + Send + Sync + 'static) -> Server {
    Server::new(move |_, _| {
        meanwhile();
        vec![Step::Send(response("reply"))]
    })
}

fn haiku(server: &Server, file: impl AsRef<Path>) -> Command {
    let mut command = process(server);
    command.args(["-n", "-o"]).arg(file.as_ref()).arg("hi");
    command
}

fn as_nobody(server: &Server, file: impl AsRef<Path>) -> Command {
    let mut command = haiku(server, file);
    command.uid(NOBODY).gid(NOBODY);
    command
}

#[track_caller]
fn succeeds(mut command: Command) {
    check(&mut command).success().stdout("").stderr("");
}

/// Asserts that the file could not be replaced, and that neither it nor the reply was lost.
#[track_caller]
fn replacing_fails(result: Assert, reason: &str, folder: &Folder) {
    let error = one_line(&["cannot write to ", reason, ON_STDOUT]);
    result.code(1).stdout("reply\n").stderr(error);
    assert_eq!(folder.read("reply.txt"), OLD);
    assert_eq!(folder.names(), ["reply.txt"]);
}

/// Asserts that FILE is rejected. That no request was sent remains to be asserted.
#[track_caller]
fn is_rejected(mut command: Command, reason: &str) {
    let error = one_line(&["cannot write to ", reason]);
    check(&mut command).code(1).stdout("").stderr(error);
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn owner(path: impl AsRef<Path>) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

fn acl(path: &Path) -> String {
    tool("getfacl", &["--omit-header", "--absolute-names", "--numeric"], path)
}

fn fifo(folder: &Folder) -> std::path::PathBuf {
    let fifo = folder.path("fifo");
    tool("mkfifo", &[], &fifo);
    fifo
}

#[test]
fn the_owner_is_kept_and_with_it_set_id_bits() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let file = folder.path("reply.txt");
    chown(&file, Some(NOBODY), Some(1)).unwrap();
    set_mode(&file, 0o6751);
    succeeds(haiku(&server(|| ()), &file));
    assert_eq!(folder.read("reply.txt"), "reply\n");
    assert_eq!((owner(&file), mode(&file)), ((NOBODY, 1), 0o6751));
}

#[test]
fn set_id_bits_do_not_pass_to_another_owner() {
    if !can_switch_user() {
        return;
    }
    for (group, before, after) in [
        // The group is kept, because it is one of the user's.
        (NOBODY, 0o7777, 0o1777),
        (NOBODY, 0o4660, 0o0660),
        // It is not kept: the new group does not get the permissions of the old one.
        (0, 0o7777, 0o1707),
        (0, 0o0666, 0o0606),
        // Nor does a member of the old group get those of others.
        (0, 0o0626, 0o0602),
        (0, 0o0606, 0o0600),
    ] {
        let folder = folder();
        let file = folder.path("reply.txt");
        chown(folder.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
        chown(&file, Some(0), Some(group)).unwrap();
        set_mode(&file, before);
        succeeds(as_nobody(&server(|| ()), &file));
        assert_eq!(owner(&file), (NOBODY, NOBODY));
        assert_eq!(mode(&file), after, "{before:o}");
    }
}

#[test]
fn the_group_is_kept_if_it_is_one_of_the_users_groups() {
    if !can_switch_user() || !has("setpriv") {
        return;
    }
    let folder = folder();
    let file = folder.path("reply.txt");
    chown(folder.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
    chown(&file, Some(0), Some(1)).unwrap();
    set_mode(&file, 0o6664);
    let server = server(|| ());
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--groups=1"];
    succeeds(wrap(&user, &haiku(&server, &file)));
    assert_eq!((owner(&file), mode(&file)), ((NOBODY, 1), 0o664));
}

#[test]
fn root_that_cannot_change_owners_creates_no_set_id_file() {
    if !is_root() || !has("setpriv") {
        return;
    }
    let folder = folder();
    let file = folder.path("reply.txt");
    chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
    set_mode(&file, 0o6755);
    let server = server(|| ());
    succeeds(wrap(&["setpriv", "--bounding-set=-chown"], &haiku(&server, &file)));
    assert_eq!((owner(&file), mode(&file)), ((0, 0), 0o705));
}

/// The metadata of the temporary file, while there is one.
fn temporary_file(folder: &Folder) -> Option<Metadata> {
    let mut entries = fs::read_dir(folder.path("")).unwrap().flatten();
    let entry = entries.find(|entry| entry.file_name().to_string_lossy().starts_with(".haiku-"));
    entry?.metadata().ok()
}

/// A server that replies with `text`, and whether it has. Before that, there is only an empty
/// file that tests the folder.
fn noting_server(text: &str) -> (Server, Arc<AtomicBool>) {
    let replied = Arc::new(AtomicBool::new(false));
    let (note, response) = (replied.clone(), response(text));
    let server = Server::new(move |_, _| {
        note.store(true, Ordering::SeqCst);
        vec![Step::Send(response.clone())]
    });
    (server, replied)
}

#[test]
fn the_temporary_file_is_private_until_it_is_complete() {
    let folder = folder();
    let file = folder.path("reply.txt");
    set_mode(&file, 0o640);
    let size = 10_000_000;
    let (server, replied) = noting_server(&"x".repeat(size - 1));
    let mut seen = 0;
    let mut child = haiku(&server, &file).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        if !replied.load(Ordering::SeqCst) {
            continue;
        }
        if let Some(metadata) = temporary_file(&folder) {
            seen += 1;
            let is_complete = metadata.len() as usize == size;
            let permitted = if is_complete { 0o640 } else { 0o600 };
            assert_eq!(metadata.mode() & 0o777 & !permitted, 0, "{metadata:?}");
        }
    }
    assert!(seen > 0);
    assert_eq!(mode(&file), 0o640);
    assert_eq!(folder.names(), ["reply.txt"]);
}

#[test]
fn a_signal_leaves_no_temporary_file() {
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM] {
        let folder = folder();
        let text = "x".repeat(4_000_000);
        let (server, replied) = noting_server(&text);
        let mut child = haiku(&server, folder.path("reply.txt")).spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            if replied.load(Ordering::SeqCst) && temporary_file(&folder).is_some() {
                kill_process(Pid::from_child(&child), signal).unwrap();
                break;
            }
        }
        child.wait().unwrap();
        assert_eq!(folder.read("reply.txt"), format!("{text}\n"));
        assert_eq!(folder.names(), ["reply.txt"]);
    }
}

#[test]
fn an_access_control_list_is_kept() {
    if !has("setfacl") {
        return;
    }
    let folder = folder();
    let file = folder.path("reply.txt");
    set_mode(&file, 0o640);
    tool("setfacl", &["-m", "u:1:r,g::-,g:2:rw,m::r"], &file);
    let before = acl(&file);
    succeeds(haiku(&server(|| ()), &file));
    assert_eq!(folder.read("reply.txt"), "reply\n");
    assert_eq!(acl(&file), before);
}

#[test]
fn an_access_control_list_that_cannot_be_kept_leaves_access_to_the_owner_alone() {
    if !can_switch_user() || !has("setfacl") {
        return;
    }
    let folder = folder();
    let file = folder.path("reply.txt");
    chown(folder.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
    set_mode(&file, 0o666);
    // User 1 is the only one who may not read the file.
    tool("setfacl", &["-m", "u:1:-,g:2:r"], &file);
    succeeds(as_nobody(&server(|| ()), &file));
    assert_eq!(acl(&file), "user::rw-\ngroup::---\nother::---\n\n");
}

#[test]
fn the_default_acl_of_the_folder_does_not_open_an_old_file() {
    if !has("setfacl") {
        return;
    }
    let folder = folder();
    let file = folder.path("reply.txt");
    set_mode(&file, 0o664);
    let before = acl(&file);
    tool("setfacl", &["-d", "-m", "u:65534:rw,g:1:rw,o::rw"], &folder.path(""));
    succeeds(haiku(&server(|| ()), &file));
    assert_eq!(folder.read("reply.txt"), "reply\n");
    assert_eq!(acl(&file), before);
}

#[test]
fn a_new_file_is_created_as_the_shell_creates_one() {
    let folder = folder();
    if is_root() {
        // With the set-group-id bit, the group is the folder's.
        chown(folder.path(""), None, Some(1)).unwrap();
        set_mode(folder.path(""), 0o2755);
    }
    let (plain, file) = (folder.path("reply.txt"), folder.path("new.txt"));
    let has_acl = has("setfacl");
    for (umask, default_acl) in [("022", ""), ("077", ""), ("0", ""), ("077", "u:1:rw,g::r,o::-")] {
        if !default_acl.is_empty() {
            if !has_acl {
                continue;
            }
            tool("setfacl", &["-d", "-m", default_acl], &folder.path(""));
        }
        let server = server(|| ());
        fs::remove_file(&plain).unwrap();
        let script = format!("umask {umask}; >reply.txt; exec \"$@\"");
        let mut shell = in_shell(&script, &haiku(&server, &file));
        shell.current_dir(folder.path(""));
        succeeds(shell);
        assert_eq!(folder.read("new.txt"), "reply\n");
        assert_eq!((owner(&file), mode(&file)), (owner(&plain), mode(&plain)));
        if has_acl {
            assert_eq!(acl(&file), acl(&plain));
        }
        assert_eq!(folder.names(), ["new.txt", "reply.txt"]);
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn what_cannot_be_written_is_rejected_before_the_request() {
    let folder = folder();
    fs::create_dir(folder.path("folder")).unwrap();
    symlink("missing/", folder.path("link")).unwrap();
    symlink("loop", folder.path("loop")).unwrap();
    symlink("folder", folder.path("to-folder")).unwrap();
    let _socket = UnixListener::bind(folder.path("socket")).unwrap();
    let server = server(|| ());
    for (path, reason) in [
        ("newdir/", "Is a directory"),
        ("newdir/.", "Is a directory"),
        ("newdir/..", "Is a directory"),
        ("link", "Is a directory"),
        ("folder", "Is a directory"),
        ("folder/", "Is a directory"),
        ("to-folder", "Is a directory"),
        (".", "Is a directory"),
        ("reply.txt/", "Not a directory"),
        ("reply.txt/.", "Not a directory"),
        ("reply.txt/new", "Not a directory"),
        ("missing/new", "No such file or directory"),
        ("loop", "Too many levels of symbolic links"),
        ("socket", "No such device or address"),
        ("/proc/nothing", ""),
    ] {
        let mut command = haiku(&server, path);
        command.current_dir(folder.path(""));
        is_rejected(command, &format!("cannot write to {path}: {reason}"));
    }
    assert!(server.requests().is_empty());
    assert_eq!(folder.read("reply.txt"), OLD);
    assert_eq!(folder.names(), ["folder", "link", "loop", "reply.txt", "socket", "to-folder"]);
}

#[test]
fn what_permissions_forbid_is_rejected_before_the_request() {
    if !can_switch_user() {
        return;
    }
    let folder = folder();
    chown(folder.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
    fifo(&folder);
    let _socket = UnixListener::bind(folder.path("socket")).unwrap();
    fs::create_dir(folder.path("folder")).unwrap();
    folder.write("folder/file", OLD);
    set_mode(folder.path("folder/file"), 0o666);
    for name in ["fifo", "socket", "reply.txt"] {
        set_mode(folder.path(name), 0o644);
    }
    let server = server(|| ());
    for name in ["fifo", "socket", "reply.txt", "folder/new", "folder/file"] {
        is_rejected(as_nobody(&server, folder.path(name)), "Permission denied");
    }
    if Path::new("/dev/kmsg").exists() {
        is_rejected(as_nobody(&server, "/dev/kmsg"), "Permission denied");
    }
    assert!(server.requests().is_empty());
    assert_eq!(folder.read("reply.txt"), OLD);
    assert_eq!(folder.names(), ["fifo", "folder", "reply.txt", "socket"]);
    let inner: Vec<_> = fs::read_dir(folder.path("folder")).unwrap().collect();
    assert_eq!(inner.len(), 1, "{inner:?}");
}

#[test]
fn a_read_only_file_system_is_detected_before_the_request() {
    if !can_unshare("-m") {
        return;
    }
    let folder = folder();
    let server = server(|| ());
    for name in ["reply.txt", "new"] {
        let script = "mount --bind . .; mount -o remount,bind,ro .; exec \"$@\"";
        let mut command = unshared("-m", script, &haiku(&server, folder.path(name)));
        command.current_dir(folder.path(""));
        is_rejected(command, "Read-only file system");
    }
    assert!(server.requests().is_empty());
    assert_eq!(folder.read("reply.txt"), OLD);
}

#[test]
fn the_kernel_rejects_a_symbolic_link_before_it_is_resolved() {
    if !can_unshare("-m") {
        return;
    }
    let folder = folder();
    fs::create_dir(folder.path("links")).unwrap();
    let server = server(|| ());
    for target in ["reply.txt", "new"] {
        // Such a mount does for every link what a sticky folder does for those of other users.
        let script = format!(
            "mount -t tmpfs -o nosymfollow none links; ln -s {} links/link; exec \"$@\"",
            folder.path(target).display()
        );
        let mut command = unshared("-m", &script, &haiku(&server, folder.path("links/link")));
        command.current_dir(folder.path(""));
        is_rejected(command, "symbolic links");
    }
    assert!(server.requests().is_empty());
    assert_eq!(folder.read("reply.txt"), OLD);
    assert_eq!(folder.names(), ["links", "reply.txt"]);
}

#[test]
fn the_protection_of_sticky_folders_is_respected() {
    let protects = |what: &str| {
        let value = fs::read_to_string(format!("/proc/sys/fs/protected_{what}"));
        value.is_ok_and(|value| value.trim() != "0")
    };
    if !is_root() {
        return;
    }
    let folder = folder();
    set_mode(folder.path(""), 0o1777);
    symlink(folder.path("reply.txt"), folder.path("link")).unwrap();
    folder.write("regular", "");
    fifo(&folder);
    let server = server(|| ());
    for (name, what) in [("link", "symlinks"), ("regular", "regular"), ("fifo", "fifos")] {
        lchown(folder.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
        if protects(what) {
            is_rejected(haiku(&server, folder.path(name)), "Permission denied");
        }
    }
    assert!(server.requests().is_empty());
    assert_eq!(folder.read("reply.txt"), OLD);
}

#[test]
fn a_fifo_is_not_waited_for_before_the_request() {
    let folder = folder();
    let fifo = fifo(&folder);
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    let server = server(move || sender.lock().unwrap().send(()).unwrap());
    let child = haiku(&server, &fifo).spawn().unwrap();
    receiver.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(fs::read_to_string(&fifo).unwrap(), "reply\n");
    check(child.wait_with_output().unwrap()).success().stdout("").stderr("");
    assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
}

/// Opens a FIFO for reading before anything writes to it.
fn open_fifo(fifo: &Path) -> File {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(fifo).unwrap()
}

#[test]
fn the_reader_of_a_fifo_receives_the_reply_and_no_early_end() {
    let folder = folder();
    let fifo = fifo(&folder);
    let mut reader = open_fifo(&fifo);
    let text = "x".repeat(1_000_000);
    let server = Server::sending(response(&text));
    let child = haiku(&server, &fifo).spawn().unwrap();
    while server.requests().is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    // The pipe is full by now, and the rest has to wait.
    thread::sleep(Duration::from_millis(200));
    fcntl_setfl(&reader, OFlags::empty()).unwrap();
    let mut content = String::new();
    reader.read_to_string(&mut content).unwrap();
    assert_eq!(content, format!("{text}\n"));
    check(child.wait_with_output().unwrap()).success().stdout("").stderr("");
}

#[test]
fn the_reply_is_not_lost_if_the_reader_of_a_fifo_leaves() {
    let folder = folder();
    let fifo = fifo(&folder);
    let reader = Mutex::new(Some(open_fifo(&fifo)));
    let server = server(move || {
        drop(reader.lock().unwrap().take());
        // A child that another test is starting may still have it open.
        thread::sleep(Duration::from_millis(300));
    });
    // If the FIFO were not kept open, haiku would wait for another reader.
    check(&mut wrap(&["timeout", "20"], &haiku(&server, &fifo)))
        .code(1)
        .stdout("reply\n")
        .stderr(one_line(&["Broken pipe", ON_STDOUT]));
}

#[test]
fn a_file_descriptor_is_written_to_under_every_name() {
    let server = server(|| ());
    for (name, current_folder) in [
        ("/dev/stdout", "/"),
        ("/dev/fd/1", "/"),
        ("fd/1", "/dev"),
        ("/proc/self/fd/1", "/"),
        ("1", "/proc/self/fd"),
        ("/dev/./fd//1", "/"),
    ] {
        let folder = folder();
        let file = folder.path("reply.txt");
        let stdout = File::options().append(true).open(&file).unwrap();
        let inode = stdout.metadata().unwrap().ino();
        let script = format!("cd {current_folder}; exec \"$@\"");
        let mut shell = in_shell(&script, &haiku(&server, name));
        check(shell.stdout(stdout)).success();
        assert_eq!(folder.read("reply.txt"), format!("{OLD}reply\n"), "{name}");
        assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
        assert_eq!(folder.names(), ["reply.txt"]);
    }
}

/// Asserts that FILE is refused before the request, and that the folder is as it was.
#[track_caller]
fn is_refused(command: &mut Command, server: &Server, folder: &Folder, name: &str, why: &str) {
    let line = format!("haiku: cannot replace {}: {why}\n", folder.path(name).display());
    check(command).code(1).stdout("").stderr(line);
    assert!(server.requests().is_empty());
    assert_eq!(folder.read("reply.txt"), OLD);
    assert_eq!(folder.names(), ["reply.txt"]);
}

#[test]
fn a_mount_point_is_rejected_before_the_request() {
    if !can_unshare("-m") {
        return;
    }
    let folder = folder();
    let server = server(|| ());
    let file = folder.path("reply.txt");
    let script = "mount --bind reply.txt reply.txt; exec \"$@\"";
    let mut command = unshared("-m", script, &haiku(&server, &file));
    let why = "it is a mount point; mount its folder instead, or use >";
    let why = format!("{why}{}", file.display());
    command.current_dir(folder.path(""));
    is_refused(&mut command, &server, &folder, "reply.txt", &why);
    // A device may be one: it is not replaced.
    let script = "mount --bind /dev/null reply.txt; exec \"$@\"";
    let mut command = unshared("-m", script, &haiku(&server, &file));
    succeeds({
        command.current_dir(folder.path(""));
        command
    });
}

#[test]
fn a_full_disk_leaves_the_old_file_and_the_reply_is_not_lost() {
    if !can_unshare("-m") {
        return;
    }
    let folder = folder();
    let text = "x".repeat(100_000);
    let server = Server::sending(response(&text));
    // The mount ends with the shell, so that it has to show what is there.
    let script = "mount -t tmpfs -o size=64k none \"$PWD\"; cd \"$PWD\"; echo old >reply.txt; \
                  \"$@\" || echo \"exit $?\"; ls -A; cat reply.txt";
    let mut command = unshared("-m", script, &haiku(&server, folder.path("reply.txt")));
    check(command.current_dir(folder.path("")))
        .success()
        .stdout(format!("{text}\nexit 1\nreply.txt\nold\n"))
        .stderr(one_line(&["No space left on device", ON_STDOUT]));
}

#[test]
fn a_file_of_another_user_in_a_sticky_folder_is_rejected_before_the_request() {
    if !can_switch_user() || !has("setpriv") {
        return;
    }
    let folder = folder();
    chown(folder.path(""), Some(1), None).unwrap();
    set_mode(folder.path(""), 0o1777);
    set_mode(folder.path("reply.txt"), 0o666);
    let file = folder.path("reply.txt");
    let server = server(|| ());
    let why = "it belongs to another user, and its folder is sticky; choose another name";
    is_refused(&mut as_nobody(&server, &file), &server, &folder, "reply.txt", why);
    chown(&file, Some(NOBODY), None).unwrap();
    let mut powerless = wrap(&["setpriv", "--bounding-set=-fowner"], &haiku(&server, &file));
    is_refused(&mut powerless, &server, &folder, "reply.txt", why);
    succeeds(as_nobody(&server, &file));
}

#[test]
fn what_is_append_only_or_immutable_is_rejected_before_the_request() {
    if !is_root() || !has("chattr") {
        return;
    }
    for (flag, is_folder, why) in [
        ("a", false, "it is append-only; use >>FILE"),
        ("i", false, "it is immutable; choose another name"),
        ("a", true, "its folder is append-only; choose another folder"),
        ("i", true, "its folder is immutable; choose another folder"),
    ] {
        let folder = folder();
        let path = folder.path(if is_folder { "" } else { "reply.txt" });
        let chattr = |sign: &str| {
            Command::new("chattr").arg(format!("{sign}{flag}")).arg(&path).output().unwrap()
        };
        if !chattr("+").status.success() {
            // Not every file system has these flags.
            return;
        }
        let server = server(|| ());
        let results: Vec<_> = ["reply.txt", "new.txt"]
            .iter()
            .take(if is_folder { 2 } else { 1 })
            .map(|name| (folder.path(name), haiku(&server, folder.path(name)).output().unwrap()))
            .collect();
        let names = folder.names();
        chattr("-");
        for (file, output) in results {
            let why = why.replace("FILE", file.to_str().unwrap());
            let line = format!("haiku: cannot replace {}: {why}\n", file.display());
            check(output).code(1).stdout("").stderr(line);
        }
        assert!(server.requests().is_empty());
        assert_eq!(names, ["reply.txt"]);
        assert_eq!(folder.read("reply.txt"), OLD);
    }
}

/// The call under strace, which has a system call fail.
fn injected(calls: &str, error: &str, command: &Command) -> Command {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error={error}"));
    let strace = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    wrap(&strace, command)
}

/// Whether system calls can be made to fail here.
fn can_inject() -> bool {
    has("strace") && injected("fsync", "EIO", &Command::new("true")).status().unwrap().success()
}

const CHMOD: &str = "chmod,fchmod,fchmodat";
const GETXATTR: &str = "getxattr,lgetxattr,fgetxattr";
const SETXATTR: &str = "setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr";

#[test]
fn what_a_file_system_cannot_do_is_no_failure() {
    if !can_inject() {
        return;
    }
    for (calls, error, before, after) in [
        // Already as wanted.
        (CHMOD, "EPERM", 0o600, 0o600),
        (CHMOD, "EOPNOTSUPP", 0o600, 0o600),
        // Fewer permissions than before.
        (CHMOD, "EPERM", 0o644, 0o600),
        ("fchown,fchownat,chown", "EPERM", 0o644, 0o644),
        ("fsync,fdatasync", "EINVAL", 0o640, 0o640),
        ("fsync,fdatasync", "ENOSYS", 0o640, 0o640),
        ("fsync,fdatasync", "EOPNOTSUPP", 0o640, 0o640),
        (GETXATTR, "ENOSYS", 0o640, 0o640),
        (GETXATTR, "EOPNOTSUPP", 0o640, 0o640),
        // There may be a list, and then the group's permissions are not what they seem.
        (GETXATTR, "EPERM", 0o644, 0o644),
        (GETXATTR, "EPERM", 0o664, 0o644),
        (SETXATTR, "EPERM", 0o644, 0o644),
        (SETXATTR, "EOPNOTSUPP", 0o664, 0o664),
        ("statx", "ENOSYS", 0o640, 0o640),
    ] {
        let folder = folder();
        let file = folder.path("reply.txt");
        set_mode(&file, before);
        succeeds(injected(calls, error, &haiku(&server(|| ()), &file)));
        assert_eq!(folder.read("reply.txt"), "reply\n");
        assert_eq!(mode(&file), after, "{calls} {error}");
        assert_eq!(folder.names(), ["reply.txt"]);
    }
}

#[test]
fn a_file_that_would_be_open_to_more_people_is_rejected_before_the_request() {
    if !can_inject() || !has("setfacl") {
        return;
    }
    for (acl, default_acl, result) in [
        ("u:1:-,o::r", "u:2:rw", "user::rw-\ngroup::---\nother::---\n\n"),
        // Removing it fails, so that it must not come into effect.
        ("o::-", "u:2:rw", "user::rw-\nuser:2:rw-\t#effective:---\n"),
    ] {
        let folder = folder();
        let file = folder.path("reply.txt");
        set_mode(&file, 0o640);
        tool("setfacl", &["-m", acl], &file);
        if acl == "o::-" {
            tool("setfacl", &["-d", "-m", default_acl], &folder.path(""));
        }
        succeeds(injected(SETXATTR, "EPERM", &haiku(&server(|| ()), &file)));
        assert!(self::acl(&file).starts_with(result), "{}", self::acl(&file));
    }
    // Whatever else fails, fails before the request.
    for (calls, error) in [("fsync", "EIO"), (CHMOD, "EIO"), (SETXATTR, "EIO"), (GETXATTR, "EIO")] {
        let folder = folder();
        set_mode(folder.path("reply.txt"), 0o640);
        let server = server(|| ());
        let command = haiku(&server, folder.path("reply.txt"));
        is_rejected(injected(calls, error, &command), "Input/output error");
        assert!(server.requests().is_empty());
        assert_eq!(folder.names(), ["reply.txt"]);
    }
}

#[test]
fn a_link_of_another_user_in_a_sticky_folder_is_never_followed() {
    if !can_switch_user() {
        return;
    }
    let folder = folder();
    fs::create_dir(folder.path("sticky")).unwrap();
    fs::create_dir(folder.path("inner")).unwrap();
    let sticky = |name: &str| folder.path("sticky").join(name);
    set_mode(folder.path("sticky"), 0o1777);
    set_mode(folder.path("reply.txt"), 0o600);
    // A link to a folder is one, too.
    symlink(folder.path("inner"), sticky("folder")).unwrap();
    lchown(sticky("folder"), Some(NOBODY), None).unwrap();
    is_rejected(haiku(&server(|| ()), sticky("folder").join("new")), "Permission denied");
    // The caller's own and those of the folder's owner are followed.
    symlink(folder.path("inner"), sticky("own")).unwrap();
    succeeds(haiku(&server(|| ()), sticky("own").join("new")));
    assert_eq!(folder.read("inner/new"), "reply\n");

    let script = "cd \"$1\"; while :; do ln -s ../reply.txt link; mv -f link out; \
                  : >file; mv -f file out; rm -f out; done 2>/dev/null";
    let mut attacker = Command::new("/bin/sh");
    attacker.args(["-c", script, "sh"]).arg(folder.path("sticky")).uid(NOBODY).gid(NOBODY);
    let mut attacker = attacker.spawn().unwrap();
    for _ in 0..100 {
        let _ = fs::remove_file(sticky("out"));
        let server = server(|| ());
        let status = haiku(&server, sticky("out")).output().unwrap().status.code();
        assert!(matches!(status, Some(0 | 1)), "{status:?}");
        assert_eq!(folder.read("reply.txt"), OLD);
    }
    attacker.kill().unwrap();
    attacker.wait().unwrap();
}

#[test]
fn a_descriptor_is_not_opened_anew() {
    let folder = folder();
    let server = server(|| ());
    symlink("/proc/self/fd/3", folder.path("link")).unwrap();
    // What follows, be it a line of our own or of the shell, does not overwrite the reply.
    for (descriptor, name) in [
        (2, "/dev/stderr"),
        (2, "/dev/fd/2"),
        (3, "/proc/self/fd/3"),
        (3, "link"),
        (1, "/dev/fd/1"),
    ] {
        let mut haiku = process(&server);
        haiku.args(["-nv", "-o", name, "hi"]);
        let script = format!(
            "exec {descriptor}>log; echo first >&{descriptor}; \"$@\"; echo last >&{descriptor}"
        );
        in_shell(&script, &haiku).current_dir(folder.path("")).output().unwrap();
        let log = folder.read("log");
        assert!(log.starts_with("first\nreply\n") && log.ends_with("\nlast\n"), "{name}: {log}");
        assert_eq!(log.contains("haiku: "), descriptor == 2, "{name}: {log}");
    }
}

#[test]
fn a_descriptor_can_be_a_socket_and_its_reader_may_leave() {
    let server = server(|| ());
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut command = haiku(&server, "/dev/stderr");
    let status = command.stderr(OwnedFd::from(theirs)).status().unwrap();
    drop(command);
    let mut received = String::new();
    ours.read_to_string(&mut received).unwrap();
    assert_eq!((status.code(), received.as_str()), (Some(0), "reply\n"));
    for name in ["/dev/stderr", "/dev/stdout", "/dev/fd/1"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = haiku(&server, name);
        if name == "/dev/stderr" {
            command.stderr(writer);
        } else {
            command.stdout(writer);
        }
        check(&mut command).code(141).stdout("").stderr("");
    }
}

#[test]
fn a_descriptor_that_is_not_open_for_writing_is_rejected_before_the_request() {
    let server = server(|| ());
    for (redirection, name) in [
        ("", "/dev/stdin"),
        ("3</dev/null", "/dev/fd/3"),
        ("1</dev/null", "/dev/stdout"),
        ("", "/dev/fd/3"),
        ("", "/dev/fd/4"),
        ("", "/proc/self/fd/5"),
        ("", "/dev/fd/99"),
    ] {
        let script = format!("exec \"$@\" {redirection}");
        is_rejected(in_shell(&script, &haiku(&server, name)), "it is not open for writing");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_change_during_the_request_is_detected() {
    type Change = fn(&Path, &Path);
    let changes: [Change; 5] = [
        |file, _| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        },
        |file, other| {
            fs::remove_file(file).unwrap();
            symlink(other, file).unwrap();
        },
        // By somebody who wants to read the reply.
        |file, other| {
            set_mode(other, 0o666);
            fs::rename(other, file).unwrap();
        },
        |file, _| set_mode(file, 0o644),
        |file, _| set_mode(file, 0o400),
    ];
    for change in changes {
        let folder = folder();
        let (file, other) = (folder.path("reply.txt"), folder.path("other"));
        folder.write("other", "other\n");
        set_mode(&file, 0o600);
        let server = {
            let file = file.clone();
            server(move || change(&file, &other))
        };
        check(&mut haiku(&server, &file))
            .code(1)
            .stdout("reply\n")
            .stderr(one_line(&["changed", ON_STDOUT]));
        let content = fs::read_to_string(&file);
        assert!(content.is_err() || [OLD, "other\n"].contains(&content.unwrap().as_str()));
    }
}

#[test]
fn a_file_that_appears_during_the_request_is_unchanged() {
    let folder = folder();
    let file = folder.path("reply.txt");
    fs::remove_file(&file).unwrap();
    let server = {
        let file = file.clone();
        server(move || {
            fs::write(&file, OLD).unwrap();
            set_mode(&file, 0o600);
        })
    };
    replacing_fails(check(&mut haiku(&server, &file)), "changed", &folder);
    assert_eq!(mode(&file), 0o600);
}

#[test]
fn the_last_of_two_calls_wins() {
    for is_new in [false, true] {
        let folder = folder();
        let file = folder.path("reply.txt");
        if is_new {
            fs::remove_file(&file).unwrap();
        }
        let server = {
            let file = file.clone();
            Server::new(move |n, request| {
                if n == 0 {
                    let url = format!("http://{}/client/v4", request.header("host").unwrap());
                    let mut second = haiku(&Server::unresponsive(), &file);
                    second.env("CLOUDFLARE_API_BASE_URL", url);
                    succeeds(second);
                }
                vec![Step::Send(response(["last", "first"][n]))]
            })
        };
        succeeds(haiku(&server, &file));
        assert_eq!(folder.read("reply.txt"), "last\n");
        assert_eq!(folder.names(), ["reply.txt"]);
    }
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_not_a_signal() {
    let folder = folder();
    let server = server(|| ());
    let limited = |redirection: &str, args: &[&str]| {
        let mut haiku = process(&server);
        let script = format!("ulimit -f 0; exec \"$@\" {redirection}");
        check(in_shell(&script, haiku.args(args)).current_dir(folder.path("")))
    };
    let result = limited("", &["-n", "-o", "reply.txt", "hi"]);
    replacing_fails(result, "File too large", &folder);
    let on_stdout = one_line(&["cannot write to standard output: File too large"]);
    limited(">out", &["-n", "hi"]).code(1).stderr(on_stdout);
    let neither = one_line(&["cannot write to reply.txt: File too large", "the reply is lost"]);
    limited(">out", &["-n", "-o", "reply.txt", "hi"]).code(1).stderr(neither);
    assert_eq!(folder.read("reply.txt"), OLD);
    assert_eq!(folder.names(), ["out", "reply.txt"]);
}
