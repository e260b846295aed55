//! Attached files: images, PDFs and texts, told apart by their content.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::read::{self as source, MAX_REQUEST_BYTES};
use crate::media_type::file_type;
use crate::utf8::{decode, is_blank, is_utf16};

/// The most of an image in base64 that any server is known to take. Each knows its own limit.
const MAX_IMAGE_BASE64_BYTES: usize = 10 * 1024 * 1024;

/// One file, which becomes a content block before the prompt's text.
#[derive(Debug, PartialEq, Eq)]
pub enum Attachment {
    Image { media_type: &'static str, bytes: Vec<u8> },
    Pdf(Vec<u8>),
    Text { title: Option<String>, text: String },
}

impl Attachment {
    /// The length of its data in the body, in bytes; escapes in text come on top.
    pub fn encoded_len(&self) -> usize {
        match self {
            Attachment::Image { bytes, .. } | Attachment::Pdf(bytes) => bytes.len().div_ceil(3) * 4,
            Attachment::Text { text, .. } => text.len(),
        }
    }
}

/// Reads every file, in order.
///
/// # Errors
/// A file that cannot be read, is of no type that the model takes, or is too large.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Attachment>> {
    let mut room = MAX_REQUEST_BYTES;
    let mut attachments = Vec::new();
    for path in paths {
        let attachment = read_one(path)?;
        let too_large = || {
            format!(
                "with --attach {} the request is larger than 32 MB, the API's limit",
                path.display()
            )
        };
        room = room.checked_sub(attachment.encoded_len()).with_context(too_large)?;
        attachments.push(attachment);
    }
    Ok(attachments)
}

fn read_one(path: &Path) -> anyhow::Result<Attachment> {
    let name = source::name(path, "--attach");
    let mut bytes = source::bytes(path, "--attach")?;
    let kind = match file_type(&bytes) {
        Some((_, Some("application/pdf"), start)) => {
            bytes.drain(..start);
            return Ok(Attachment::Pdf(bytes));
        }
        Some((_, Some(media_type), _)) => {
            let image = Attachment::Image { media_type, bytes };
            ensure!(
                image.encoded_len() <= MAX_IMAGE_BASE64_BYTES,
                "{name} is larger than 10 MiB in base64, the limit for an image"
            );
            return Ok(image);
        }
        other => other.map(|(name, ..)| name),
    };
    match kind {
        _ if !bytes.contains(&0) || is_utf16(&bytes) => {}
        Some(kind) => bail!("{name} is {kind} file; convert it to JPEG or PNG"),
        None => bail!("{name} is neither a PNG, JPEG, GIF, WebP or PDF file nor text"),
    }
    let text = decode(bytes, &name)?;
    ensure!(!is_blank(&text), "{name} is empty");
    Ok(Attachment::Text { title: title(path), text })
}

/// The file's name, unless it is a descriptor's path, as of `<(cmd)`, or not UTF-8.
fn title(path: &Path) -> Option<String> {
    if path == "-" {
        return Some("standard input".into());
    }
    let is_descriptor = |folder: &Path| {
        folder.ends_with("fd") && (folder.starts_with("/dev") || folder.starts_with("/proc"))
    };
    if path == "/dev/stdin" || path.parent().is_some_and(is_descriptor) {
        return None;
    }
    Some(path.file_name()?.to_str()?.into())
}
