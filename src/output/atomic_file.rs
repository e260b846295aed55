//! The target of `--output`: a file that is replaced atomically, or a device or FIFO that is written to.

use std::ffi::OsString;
use std::fs::{File, Metadata, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, XattrFlags, fcntl_setfl, fgetxattr, fremovexattr, fsetxattr,
    getxattr, openat, renameat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::place::Place;
use super::{cannot_write, terminal};
use crate::error::{Error, ExitStatus};
use crate::signals::BlockedSignals;
use crate::wait::BlockingFile;

/// The extended attribute that holds a file's access control list. Only Linux has it.
const ACL: &str = "system.posix_acl_access";
const MAX_XATTR_BYTES: usize = 65_536;

const PRIVATE: Mode = Mode::from_raw_mode(0o600);
/// The umask restricts it.
const NEW: Mode = Mode::from_raw_mode(0o666);

/// Where `--output` writes.
#[derive(Debug)]
pub enum Target {
    /// A regular file, or none yet.
    File(Place, Attributes),
    /// A device or a FIFO.
    Stream(File),
    /// A FIFO that has no reader yet.
    Fifo(Place),
    /// A descriptor that the caller opened.
    Descriptor(File),
}

impl Target {
    /// Checks that `path` can be written, without changing what is there. None is standard output.
    ///
    /// # Errors
    /// Exit status 1.
    pub fn check(path: &Path) -> Result<Option<Target>, Error> {
        let cannot_write = |error| cannot_write(&path.display().to_string(), &error);
        let place = Place::find(path).map_err(cannot_write)?;
        if let Some((number, file)) = place.descriptor().map_err(cannot_write)? {
            return Ok((number != 1).then_some(Target::Descriptor(file)));
        }
        if let Some(reason) = place.refusal(path) {
            let message = format!("cannot replace {}: {reason}", path.display());
            return Err(Error::new(ExitStatus::OutputFailed, message));
        }
        Target::at(place).map(Some).map_err(cannot_write)
    }

    fn at(place: Place) -> io::Result<Target> {
        let attributes = if place.kind.is_none() {
            // Those of any new file there: umask, the folder's set-group-id bit and its default ACL
            // determine them.
            temporary(&place, NEW, false, |file| Attributes::of(file))?
        } else {
            // CREATE although the file exists: only then does the kernel apply its protection of
            // files and FIFOs in sticky folders.
            let file = match place.open(OFlags::CREATE | OFlags::NONBLOCK) {
                // The kernel has checked the permissions, but there is no reader yet.
                Err(Errno::NXIO) if place.kind == Some(FileType::Fifo) => {
                    return Ok(Target::Fifo(place));
                }
                file => file?,
            };
            if !file.metadata()?.is_file() || place.is_in_proc {
                fcntl_setfl(&file, OFlags::APPEND)?;
                return Ok(Target::Stream(file));
            }
            Attributes::of(&file)?
        };
        temporary(&place, PRIVATE, false, |file| fill(file, &attributes, b""))?;
        Ok(Target::File(place, attributes))
    }

    /// Writes `bytes`. A regular file is replaced by them, or untouched if that fails.
    pub fn write(self, bytes: &[u8]) -> io::Result<()> {
        let file = match self {
            Target::File(place, attributes) => return replace(&place, &attributes, bytes),
            Target::Stream(file) | Target::Descriptor(file) => file,
            Target::Fifo(place) => {
                let file = place.open(OFlags::empty())?;
                if !file.metadata()?.file_type().is_fifo() {
                    return Err(changed());
                }
                file
            }
        };
        let is_terminal = file.is_terminal();
        terminal::write(&mut BlockingFile(file), bytes, is_terminal)
    }
}

/// Replaces a file by one that has this content and these attributes. Fails if it has different
/// attributes by now: neither those nor the old ones would be right.
fn replace(place: &Place, attributes: &Attributes, bytes: &[u8]) -> io::Result<()> {
    match place.open(OFlags::NONBLOCK).map(|file| Attributes::of(&file)) {
        Err(Errno::NOENT) => {}
        Ok(Ok(found)) if found == *attributes => {}
        _ => return Err(changed()),
    }
    temporary(place, PRIVATE, true, |file| fill(file, attributes, bytes))
}

/// Creates a file in the folder of `place`, lets `fill` complete it, and puts it in that place, or
/// removes it if it is not `kept` or something fails.
fn temporary<T>(
    place: &Place,
    mode: Mode,
    kept: bool,
    fill: impl FnOnce(&mut File) -> io::Result<T>,
) -> io::Result<T> {
    let _blocked = BlockedSignals::new();
    // The standard library seeds its hash maps from the system's random source.
    let number = RandomState::new().build_hasher().finish();
    let (folder, name) = (&place.folder, OsString::from(format!(".haiku-{number:016x}")));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(openat(folder, &name, flags, mode)?);
    let mut result = fill(&mut file);
    if kept && result.is_ok() {
        match renameat(folder, &name, folder, &place.name) {
            Ok(()) => return result,
            Err(error) => result = Err(error.into()),
        }
    }
    let removed = unlinkat(folder, &name, AtFlags::empty());
    // The first error is the one to report.
    result.and_then(|value| Ok(removed.map(|()| value)?))
}

fn fill(file: &mut File, attributes: &Attributes, bytes: &[u8]) -> io::Result<()> {
    // Some file systems do not heed the mode that a file is created with.
    check_permissions(file, attributes.mode_for(&file.metadata()?))?;
    file.write_all(bytes)?;
    attributes.apply(file)?;
    is_done(file.sync_all()).map(|_| ())
}

/// Whether the system did it, or cannot: by its file system or by a sandbox.
fn is_done(result: io::Result<()>) -> io::Result<bool> {
    const CANNOT: [Errno; 5] =
        [Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL];
    match result {
        Err(error) if Errno::from_io_error(&error).is_some_and(|e| CANNOT.contains(&e)) => {
            Ok(false)
        }
        result => result.map(|()| true),
    }
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
    fn of(file: &File) -> io::Result<Attributes> {
        let metadata = file.metadata()?;
        let (uid, gid, mut mode) = (metadata.uid(), metadata.gid(), metadata.mode());
        let mut acl = Vec::with_capacity(MAX_XATTR_BYTES);
        let acl = match fgetxattr(file, ACL, spare_capacity(&mut acl)) {
            Ok(_) => Some(acl),
            // The group's permissions may be the mask of a list that a sandbox hides.
            Err(Errno::PERM | Errno::ACCESS) => {
                mode = group_as_others(mode);
                None
            }
            Err(error) if has_no_acl(error) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Attributes { uid, gid, mode, acl })
    }

    /// Gives `file`, which only its owner can read so far, these attributes, or fewer permissions if
    /// the system does not allow it. The owner comes first, because set-id bits are for the old owner
    /// alone.
    fn apply(&self, file: &File) -> io::Result<()> {
        if fchown(file, Some(self.uid), Some(self.gid)).is_err() {
            // Only root can keep another owner, but users can keep a group that they belong to.
            let _ = fchown(file, None, Some(self.gid));
        }
        let metadata = file.metadata()?;
        let mode = self.mode_for(&metadata);
        let (set, fallback) = match &self.acl {
            Some(acl) if metadata.gid() == self.gid => {
                (fsetxattr(file, ACL, acl, XattrFlags::empty()), mode & 0o1700)
            }
            // The folder's default ACL, which the new mode would bring into effect.
            _ => match fremovexattr(file, ACL) {
                Err(error) if has_no_acl(error) => (Ok(()), mode),
                removed => (removed, group_as_others(mode)),
            },
        };
        let mode = if is_done(set.map_err(Into::into))? { mode } else { fallback };
        if file.metadata()?.mode() & 0o7777 != mode {
            is_done(file.set_permissions(Permissions::from_mode(mode)))?;
        }
        check_permissions(file, mode)
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

/// `mode` without what the group may do and others may not.
fn group_as_others(mode: u32) -> u32 {
    mode & (!0o070 | (mode & 0o007) << 3)
}

fn has_no_acl(error: Errno) -> bool {
    !cfg!(target_os = "linux") || [Errno::NODATA, Errno::OPNOTSUPP, Errno::NOSYS].contains(&error)
}

/// Whether the access control list of a file, if it has one, lets others read or write it: more than
/// the caller and one reader, whom somebody has named on purpose. Its mask, which stat shows as the
/// group's permissions, says less. The format is that of Linux's `posix_acl_xattr.h`.
pub fn acl_lets_others_in(path: &Path) -> Option<bool> {
    const USER: u16 = 0x02;
    const MASK: u16 = 0x10;
    const OTHER: u16 = 0x20;
    let mut acl = Vec::with_capacity(MAX_XATTR_BYTES);
    getxattr(path, ACL, spare_capacity(&mut acl)).ok()?;
    let number = |entry: &[u8], at| u16::from_le_bytes([entry[at], entry[at + 1]]);
    let entries = acl.get(4..)?.chunks_exact(8);
    let entries = entries.map(|entry| (number(entry, 0), number(entry, 2), &entry[4..]));
    let mask = entries.clone().find(|(tag, ..)| *tag == MASK).map_or(0o7, |(_, mask, _)| mask);
    let caller = geteuid().as_raw().to_le_bytes();
    let others: Vec<_> = entries
        .filter(|(tag, _, id)| *tag > 1 && *tag != MASK && (*tag, *id) != (USER, &caller))
        .map(|(tag, bits, _)| (tag, if tag == OTHER { bits } else { bits & mask } & 0o6))
        .filter(|(_, bits)| *bits != 0)
        .collect();
    Some(!matches!(others[..], [] | [(USER, 0o4)]))
}

/// Checks that the file system gave nobody but the owner permissions that are not in `mode`.
fn check_permissions(file: &File, mode: u32) -> io::Result<()> {
    match file.metadata()?.mode() & 0o6077 & !mode {
        0 => Ok(()),
        _ => Err(io::Error::other("its file system would let more people access it")),
    }
}
