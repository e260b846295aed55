//! The folder that a path leads to, held open, and a name in it: no link can lead a later step elsewhere.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fcntl_getfl, fstat, open, openat, readlinkat, stat,
    statat, unlinkat,
};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::geteuid;

/// The kernel follows no more symbolic links than this in one path.
const MAX_SYMLINKS: usize = 40;

/// The descriptors of this process.
const DESCRIPTORS: &str = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };

#[cfg(target_os = "linux")]
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// A name in a folder.
#[derive(Debug)]
pub struct Place {
    pub folder: OwnedFd,
    pub name: OsString,
    /// None if there is no file of that name. In /proc it is not known.
    pub kind: Option<FileType>,
    pub is_in_proc: bool,
}

impl Place {
    /// Follows the symbolic links in `path`.
    ///
    /// # Errors
    /// Those of the system, for folders too, and EACCES for a link that [`may_follow`] rejects.
    pub fn find(path: &Path) -> io::Result<Place> {
        let mut folder = start(path.as_os_str())?;
        // What is left to be walked, the next name last.
        let mut names: Vec<_> = components(path.as_os_str()).collect();
        let mut links = 0;
        while let Some(name) = names.pop() {
            let is_last = names.is_empty();
            let (is_in_proc, has_links) = mount(&folder)?;
            let here = |folder, name, kind| Ok(Place { folder, name, kind, is_in_proc });
            if is_in_proc {
                // Links there are open files, and their text need not be a path: the kernel follows them.
                if is_last {
                    return here(folder, name, Some(FileType::Unknown));
                }
                folder = openat(&folder, &name, FOLDER, Mode::empty())?;
                continue;
            }
            let flags = FOLDER | OFlags::NOFOLLOW;
            if !is_last && let Ok(next) = openat(&folder, &name, flags, Mode::empty()) {
                folder = next;
                continue;
            }
            let (found, link) = match look(&folder, &name) {
                Err(Errno::NOENT) if is_last => return here(folder, name, None),
                Err(Errno::NOENT) if [".", ".."].map(OsStr::new).contains(&&*names[0]) => {
                    return Err(Errno::ISDIR.into());
                }
                found => found?,
            };
            match FileType::from_raw_mode(found.st_mode) {
                FileType::Symlink => {}
                FileType::Directory if is_last => return Err(Errno::ISDIR.into()),
                kind if is_last => return here(folder, name, Some(kind)),
                _ => return Err(Errno::NOTDIR.into()),
            }
            links += 1;
            if links > MAX_SYMLINKS || !has_links {
                return Err(Errno::LOOP.into());
            }
            if !may_follow(&found, &fstat(&folder)?) {
                return Err(Errno::ACCESS.into());
            }
            if link.as_bytes().starts_with(b"/") {
                folder = start(&link)?;
            }
            names.extend(components(&link));
        }
        Err(Errno::NOENT.into())
    }

    /// Opens the file itself for writing, and waits for nothing.
    pub fn open(&self, flags: OFlags) -> rustix::io::Result<File> {
        let flags = flags | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
        let follow = if self.is_in_proc { OFlags::empty() } else { OFlags::NOFOLLOW };
        let mode = Mode::RUSR | Mode::WUSR;
        openat(&self.folder, &self.name, flags | follow, mode).map(File::from)
    }

    /// The number of the descriptor that this is, and a duplicate of it. To open it anew would give
    /// a second offset, and fail for a socket.
    pub fn descriptor(&self) -> io::Result<Option<(RawFd, File)>> {
        let (folder, ours) = (fstat(&self.folder)?, stat(DESCRIPTORS));
        let is_ours =
            ours.is_ok_and(|ours| (ours.st_dev, ours.st_ino) == (folder.st_dev, folder.st_ino));
        let number = self.name.to_str().and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|_| is_ours) else {
            return Ok(None);
        };
        // It is looked for first: what carries it takes numbers, too.
        let found = statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        let file = found.map_err(Into::into).and_then(|_| duplicate(number));
        let writes = OFlags::WRONLY | OFlags::RDWR;
        match file {
            Ok(file) if fcntl_getfl(&file)?.intersects(writes) => Ok(Some((number, file))),
            _ => Err(io::Error::other("it is not open for writing")),
        }
    }

    /// Why the system would not let a regular file be replaced, or a new one be removed again, and
    /// what to do. `path` is what the user calls it.
    pub fn refusal(&self, path: &Path) -> Option<String> {
        if self.is_in_proc || self.kind.is_some_and(|kind| !kind.is_file()) {
            return None;
        }
        if let Some(reason) = self.obstacle() {
            let redirected = if reason.ends_with('>') { path } else { Path::new("") };
            return Some(format!("{reason}{}", redirected.display()));
        }
        // To remove a file as a folder fails in any case, and with EPERM if removing it is forbidden.
        match unlinkat(&self.folder, &self.name, AtFlags::REMOVEDIR) {
            Err(Errno::PERM) => Some(match fstat(&self.folder) {
                Ok(folder) if Mode::from_raw_mode(folder.st_mode).contains(Mode::SVTX) => {
                    "it belongs to another user, and its folder is sticky; choose another name"
                        .into()
                }
                _ => "the system does not permit it".into(),
            }),
            _ => None,
        }
    }

    #[cfg(target_os = "linux")]
    fn obstacle(&self) -> Option<&'static str> {
        use rustix::fs::{StatxAttributes as Attributes, StatxFlags, statx};
        let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let [folder, file] = [OsStr::new(""), &self.name].map(|name| {
            let found = statx(&self.folder, name, flags, StatxFlags::empty());
            found.map_or(Attributes::empty(), |found| found.stx_attributes)
        });
        let mount_point = "it is a mount point; mount its folder instead, or use >";
        let reasons = [
            (folder, Attributes::IMMUTABLE, "its folder is immutable; choose another folder"),
            (folder, Attributes::APPEND, "its folder is append-only; choose another folder"),
            (file, Attributes::IMMUTABLE, "it is immutable; choose another name"),
            (file, Attributes::APPEND, "it is append-only; use >>"),
            (file, Attributes::MOUNT_ROOT, mount_point),
        ];
        let reason = reasons.into_iter().find(|(found, attribute, _)| found.contains(*attribute));
        reason.map(|(_, _, reason)| reason)
    }

    #[cfg(not(target_os = "linux"))]
    fn obstacle(&self) -> Option<&'static str> {
        None
    }
}

/// The folder that a path begins in.
fn start(path: &OsStr) -> rustix::io::Result<OwnedFd> {
    open(if path.as_bytes().starts_with(b"/") { "/" } else { "." }, FOLDER, Mode::empty())
}

/// The names of a path, the last one first. A slash at its end is followed by a folder.
fn components(path: &OsStr) -> impl Iterator<Item = OsString> {
    let names = path.as_bytes().rsplit(|byte| *byte == b'/');
    names.map(|name| OsStr::from_bytes(if name.is_empty() { b"." } else { name }).to_owned())
}

/// A file, and its text if it is a link.
fn look(folder: &OwnedFd, name: &OsStr) -> rustix::io::Result<(Stat, OsString)> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    // One descriptor, so that the link which is judged is the one which is read.
    #[cfg(target_os = "linux")]
    let path = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    let (folder, name, flags) =
        (&openat(folder, name, path, Mode::empty())?, OsStr::new(""), flags | AtFlags::EMPTY_PATH);
    let found = statat(folder, name, flags)?;
    let link = match FileType::from_raw_mode(found.st_mode) {
        FileType::Symlink => readlinkat(folder, name, Vec::new())?.into_bytes(),
        _ => Vec::new(),
    };
    Ok((found, OsStr::from_bytes(&link).to_owned()))
}

/// The rule of fs.protected_symlinks, for links anywhere in a path: in a sticky folder that others
/// can write to, only the caller's own and those of the folder's owner.
fn may_follow(link: &Stat, folder: &Stat) -> bool {
    !Mode::from_raw_mode(folder.st_mode).contains(Mode::SVTX | Mode::WOTH)
        || [geteuid().as_raw(), folder.st_uid].contains(&link.st_uid)
}

/// Whether a folder is in /proc, and whether links in it may be followed at all (nosymfollow).
#[cfg(target_os = "linux")]
fn mount(folder: &OwnedFd) -> rustix::io::Result<(bool, bool)> {
    const ST_NOSYMFOLLOW: u64 = 0x2000;
    let mount = rustix::fs::fstatfs(folder)?;
    let has_links = mount.f_flags as u64 & ST_NOSYMFOLLOW == 0;
    Ok((mount.f_type == rustix::fs::PROC_SUPER_MAGIC, has_links))
}

#[cfg(not(target_os = "linux"))]
fn mount(_: &OwnedFd) -> rustix::io::Result<(bool, bool)> {
    Ok((false, true))
}

/// Duplicates a descriptor that is known by number alone: a socket carries it.
fn duplicate(number: RawFd) -> io::Result<File> {
    let (ours, theirs) = UnixDatagram::pair()?;
    let (data, numbers) = ([IoSlice::new(b"-")], [number]);
    let message = [ControlMessage::ScmRights(&numbers)];
    sendmsg::<()>(ours.as_raw_fd(), &data, &message, MsgFlags::empty(), None)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&theirs, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::empty())?;
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    Ok(received.ok_or(Errno::BADF)?.into())
}
