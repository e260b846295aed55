//! Attached files: images, PDFs and texts, told apart by their content.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};

use super::media_type::media_type;
use super::read::{self as source, MAX_REQUEST_BYTES, decode, is_blank, is_utf16};

/// The API counts the 5 MB of an image in units of 1024.
const MAX_IMAGE_BYTES: usize = 5 * 1024 * 1024;

/// One file, which becomes a content block before the prompt's text.
#[derive(Debug, PartialEq, Eq)]
pub enum Attachment {
    Image { media_type: &'static str, bytes: Vec<u8> },
    Pdf(Vec<u8>),
    Text { title: String, text: String },
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
        let left = room.checked_sub(attachment.encoded_len());
        let Some(left) = left else {
            bail!(
                "with --attach {} the request is larger than 32 MB, the API's limit",
                path.display()
            );
        };
        room = left;
        attachments.push(attachment);
    }
    Ok(attachments)
}

fn read_one(path: &Path) -> anyhow::Result<Attachment> {
    let name = source::name(path, "--attach");
    let bytes = source::bytes(path, "--attach")?;
    match media_type(&bytes) {
        Some("application/pdf") => Ok(Attachment::Pdf(bytes)),
        Some(media_type) => {
            ensure!(
                bytes.len() <= MAX_IMAGE_BYTES,
                "{name} is {:.1} MB; the API's limit for an image is 5 MB",
                bytes.len() as f64 / 1e6
            );
            Ok(Attachment::Image { media_type, bytes })
        }
        None => {
            ensure!(
                !bytes.contains(&0) || is_utf16(&bytes),
                "{name} is neither a PNG, JPEG, GIF, WebP or PDF file nor text"
            );
            let text = decode(bytes, &name)?;
            ensure!(!is_blank(&text), "{name} is empty");
            Ok(Attachment::Text { title: title(path, &name)?, text })
        }
    }
}

fn title(path: &Path, name: &str) -> anyhow::Result<String> {
    match path.file_name() {
        Some(title) if path != "-" => {
            Ok(source::argument(title, &format!("the file name of {name}"))?.into())
        }
        _ => Ok("standard input".into()),
    }
}
