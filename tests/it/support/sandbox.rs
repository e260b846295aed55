//! Runs the program as another user, or with mounts, limits or a network of its own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Folder, HAIKU, has};

pub const NOBODY: u32 = 65534;

/// `command` as the last arguments of `wrapper`, with the same environment and a PATH.
pub fn wrap(wrapper: &[&str], command: &Command) -> Command {
    let mut wrapped = Command::new(wrapper[0]);
    wrapped
        .args(&wrapper[1..])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null());
    wrapped
}

/// A shell script, in which `"$@"` is `command`.
pub fn in_shell(script: &str, command: &Command) -> Command {
    wrap(&["/bin/sh", "-ec", script, "sh"], command)
}

/// The same with a private copy of what `option` of unshare names: `-m` for mounts, `-n` for the network.
pub fn unshared(option: &str, script: &str, command: &Command) -> Command {
    wrap(&["unshare", option, "/bin/sh", "-ec", script, "sh"], command)
}

/// `command` with `text` in place of the hosts file. Takes a private copy of the mounts.
pub fn with_hosts(folder: &Folder, text: &str, command: &Command) -> Command {
    let script = format!("mount --bind {} /etc/hosts; exec \"$@\"", folder.write("hosts", text));
    unshared("-m", &script, command)
}

/// Whether this user and this system allow it. Containers often do not.
pub fn can_unshare(option: &str) -> bool {
    is_root()
        && has("unshare")
        && Command::new("unshare")
            .args([option, "true"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether another user can run the program: root may switch, and others may enter its folder.
pub fn can_switch_user() -> bool {
    is_root()
        && Command::new(HAIKU)
            .arg("--version")
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .is_ok_and(|output| output.status.success())
}

pub fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Runs a tool that the test depends on, and returns its output.
#[track_caller]
pub fn tool(name: &str, args: &[&str], path: &Path) -> String {
    let output = Command::new(name).args(args).arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
