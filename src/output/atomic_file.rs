//! The target of `--output`: a file that is replaced atomically, or a device or FIFO that is written to.

use std::fs::{self, File, Metadata, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, XattrFlags, fcntl_setfl, fremovexattr, fsetxattr, lgetxattr, open};
use rustix::io::Errno;

use super::terminal;

/// The kernel follows no more symbolic links than this in one path.
const MAX_SYMLINKS: usize = 40;

/// The extended attribute that holds a file's access control list.
const ACL: &str = "system.posix_acl_access";
const MAX_XATTR_BYTES: usize = 65_536;

/// Where `--output` writes.
#[derive(Debug)]
pub enum Target {
    /// A regular file, or none yet. The path is absolute and not a symbolic link.
    File(PathBuf, Attributes),
    /// A device, a FIFO or a file descriptor. A FIFO that has no reader yet is not open.
    Stream(PathBuf, Option<File>),
}

impl Target {
    /// Checks that `path` can be written, without changing what is there.
    pub fn check(path: &Path) -> io::Result<Target> {
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = resolve(path)?;
                let attributes = probe(&path)?;
                return Ok(Target::File(path, attributes));
            }
            metadata => metadata?,
        };
        // The path as given, not as resolved, and CREATE although the file exists: only then does
        // the kernel apply its protection of symbolic links, files and FIFOs in sticky folders.
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
        let flags = flags | OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = match open(path, flags, Mode::RUSR | Mode::WUSR) {
            // The kernel has checked the permissions, but there is no reader yet.
            Err(Errno::NXIO) if metadata.file_type().is_fifo() => {
                return Ok(Target::Stream(path.to_owned(), None));
            }
            file => File::from(file?),
        };
        let resolved = resolve(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || resolved.starts_with("/proc") {
            fcntl_setfl(&file, OFlags::APPEND)?;
            return Ok(Target::Stream(path.to_owned(), Some(file)));
        }
        let found = fs::symlink_metadata(&resolved)?;
        if (found.dev(), found.ino()) != (metadata.dev(), metadata.ino()) {
            return Err(changed());
        }
        let attributes = Attributes::of(&resolved)?;
        probe(&resolved)?;
        Ok(Target::File(resolved, attributes))
    }

    /// Writes `bytes`. A regular file is replaced by them, or untouched if that fails.
    pub fn write(self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Target::File(path, attributes) => replace(&path, &attributes, bytes),
            Target::Stream(path, file) => {
                let file = file.map_or_else(|| File::options().append(true).open(path), Ok);
                let mut file = file?;
                let is_terminal = file.is_terminal();
                terminal::write(&mut file, bytes, is_terminal)
            }
        }
    }
}

/// Follows symbolic links to the file that they lead to, or that does not exist yet.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_SYMLINKS {
        let bytes = path.as_os_str().as_bytes();
        let name = path.file_name();
        // Path ignores these endings, the kernel does not.
        let name = name.filter(|_| !bytes.ends_with(b"/") && !bytes.ends_with(b"/."));
        let name = name.ok_or(Errno::ISDIR)?;
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.canonicalize()?,
            _ => Path::new(".").canonicalize()?,
        };
        path = folder.join(name);
        match fs::read_link(&path) {
            // Links in /proc are open files; their text need not be a path.
            Ok(link) if !folder.starts_with("/proc") => path = folder.join(link),
            _ => return Ok(path),
        }
    }
    Err(Errno::LOOP.into())
}

/// Creates and removes a file in the folder of `path`. Its attributes are those of any new file
/// there: umask, the folder's set-group-id bit and its default ACL determine them.
fn probe(path: &Path) -> io::Result<Attributes> {
    let _blocked = BlockedSignals::new();
    let probe = sibling(path);
    File::create_new(&probe)?;
    let attributes = Attributes::of(&probe);
    fs::remove_file(&probe)?;
    attributes
}

/// A new name in the same folder, and so on the same file system.
fn sibling(path: &Path) -> PathBuf {
    // The standard library seeds its hash maps from the system's random source.
    let number = RandomState::new().build_hasher().finish();
    path.with_file_name(format!(".haiku-{number:016x}"))
}

/// Replaces `path` with a file that has this content and these attributes. Fails if the file at
/// `path` has different attributes by now: neither those nor the old ones would be right.
fn replace(path: &Path, attributes: &Attributes, bytes: &[u8]) -> io::Result<()> {
    match Attributes::of(path) {
        Ok(found) if found == *attributes => {}
        Ok(_) => return Err(changed()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let _blocked = BlockedSignals::new();
    let temporary = sibling(path);
    let mut private = File::options();
    private.write(true).create_new(true).mode(0o600);
    let file = private.open(&temporary)?;
    let result = fill(file, attributes, bytes).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn fill(mut file: File, attributes: &Attributes, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    attributes.apply(&file)?;
    file.sync_all()
}

fn changed() -> io::Error {
    io::Error::other("its type, owner or permissions changed in the meantime")
}

/// Who may do what with a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Attributes {
    uid: u32,
    gid: u32,
    /// File type and permissions.
    mode: u32,
    acl: Option<Vec<u8>>,
}

impl Attributes {
    fn of(path: &Path) -> io::Result<Attributes> {
        let metadata = fs::symlink_metadata(path)?;
        let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode());
        Ok(Attributes { uid, gid, mode, acl: read_acl(path)? })
    }

    /// Gives `file`, which only its owner can read so far, these attributes. The owner comes
    /// first, because set-id bits are for the old owner alone.
    fn apply(&self, file: &File) -> io::Result<()> {
        if fchown(file, Some(self.uid), Some(self.gid)).is_err() {
            // Only root can keep another owner, but users can keep a group that they belong to.
            let _ = fchown(file, None, Some(self.gid));
        }
        let metadata = file.metadata()?;
        match &self.acl {
            Some(acl) if metadata.gid() == self.gid => {
                fsetxattr(file, ACL, acl, XattrFlags::empty())?;
            }
            // The folder's default ACL, which the new mode would bring into effect.
            _ => remove_acl(file)?,
        }
        file.set_permissions(Permissions::from_mode(self.mode_for(&metadata)))
    }

    /// The permissions that remain under the owner and group of `metadata`: none that somebody
    /// did not have before.
    fn mode_for(&self, metadata: &Metadata) -> u32 {
        let mode = self.mode & 0o7777;
        if metadata.gid() != self.gid {
            // Members of the old group, or users in the ACL, count as others from now on.
            let others = self.acl.as_ref().map_or((mode >> 3) & mode & 0o7, |_| 0);
            return (mode & 0o1700) | others;
        }
        if metadata.uid() != self.uid {
            return mode & 0o1777;
        }
        mode
    }
}

/// The access control list of a file, if it has one. Only Linux keeps it in an extended attribute.
fn read_acl(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    let mut acl = Vec::with_capacity(MAX_XATTR_BYTES);
    match lgetxattr(path, ACL, spare_capacity(&mut acl)) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        length => Ok(length.map(|_| Some(acl))?),
    }
}

fn remove_acl(file: &File) -> io::Result<()> {
    match fremovexattr(file, ACL) {
        Err(error)
            if cfg!(target_os = "linux") && ![Errno::NODATA, Errno::OPNOTSUPP].contains(&error) =>
        {
            Err(error.into())
        }
        _ => Ok(()),
    }
}

/// Makes a write beyond `ulimit -f` an error instead of a fatal signal. Threads inherit this, so
/// it is called before any is started.
pub fn block_file_size_signal() {
    // A valid set cannot be refused.
    let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
}

/// Blocks all signals in this thread until it is dropped, so that none leaves a temporary file
/// behind. A thread that is started meanwhile keeps them blocked.
pub struct BlockedSignals {
    previous: Option<SigSet>,
}

impl BlockedSignals {
    pub fn new() -> BlockedSignals {
        let previous = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
        BlockedSignals { previous: previous.ok() }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        if let Some(previous) = self.previous {
            // It was valid before.
            let _ = previous.thread_set_mask();
        }
    }
}
