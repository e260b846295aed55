//! Images and documents to content blocks: told by their first bytes, base64 on the wire.

use std::path::{Path, PathBuf};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::error::Failure;
use crate::input;

/// The largest image the API takes, in bytes: its 5 MB are counted in units of 1024.
const IMAGE_LIMIT: usize = 5 * 1024 * 1024;

/// One file, as a content block before the prompt's text.
#[derive(Debug)]
pub struct Attachment {
    media_type: &'static str,
    bytes: Vec<u8>,
}

impl Attachment {
    /// The block's `type`.
    fn kind(&self) -> &'static str {
        if self.media_type == "application/pdf" {
            "document"
        } else {
            "image"
        }
    }

    /// The length of the block in the body, in bytes, but for its few words.
    pub fn encoded_len(&self) -> usize {
        self.bytes.len().div_ceil(3) * 4
    }
}

/// Reads every file, in order.
///
/// # Errors
/// Exit status 2 for a file that cannot be read, is none of the kinds the model takes, or is
/// larger than the API takes.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Attachment>, Failure> {
    let mut room = input::LIMIT;
    let mut attachments = Vec::new();
    for path in paths {
        let attachment = read_one(path)?;
        room = room.checked_sub(attachment.encoded_len()).ok_or_else(|| {
            Failure::usage(format!(
                "with --attach {} the request is over 32 MB, the most that the API takes",
                path.display()
            ))
        })?;
        attachments.push(attachment);
    }
    Ok(attachments)
}

fn read_one(path: &Path) -> Result<Attachment, Failure> {
    let name = format!("--attach {}", path.display());
    let bytes = input::read_file_bytes(path, "--attach")?;
    let media_type = media_type(&bytes).ok_or_else(|| {
        Failure::usage(format!("{name} is no png, jpeg, gif, webp or pdf"))
            .advice("text goes in on standard input")
    })?;
    let attachment = Attachment { media_type, bytes };
    if attachment.kind() == "image" && attachment.bytes.len() > IMAGE_LIMIT {
        return Err(Failure::usage(format!(
            "{name} is {:.1} MB; the API takes images of at most 5 MB",
            attachment.bytes.len() as f64 / 1e6
        ))
        .advice("make it smaller"));
    }
    Ok(attachment)
}

/// What the first bytes say, whatever the name says.
fn media_type(bytes: &[u8]) -> Option<&'static str> {
    let begins = |magic: &[u8]| bytes.starts_with(magic);
    if begins(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if begins(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if begins(b"GIF87a") || begins(b"GIF89a") {
        Some("image/gif")
    } else if begins(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some("image/webp")
    } else if begins(b"%PDF-") {
        Some("application/pdf")
    } else {
        None
    }
}

impl Serialize for Attachment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut block = serializer.serialize_map(Some(2))?;
        block.serialize_entry("type", self.kind())?;
        block.serialize_entry("source", &Source(self))?;
        block.end()
    }
}

struct Source<'a>(&'a Attachment);

impl Serialize for Source<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut source = serializer.serialize_map(Some(3))?;
        source.serialize_entry("type", "base64")?;
        source.serialize_entry("media_type", self.0.media_type)?;
        source.serialize_entry("data", &Data(&self.0.bytes))?;
        source.end()
    }
}

/// Bytes that become base64 straight in the body, without a copy in between.
struct Data<'a>(&'a [u8]);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_first_bytes() {
        for (bytes, expected) in [
            (&b"\x89PNG\r\n\x1a\nrest"[..], Some("image/png")),
            (b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            (b"GIF87a", Some("image/gif")),
            (b"GIF89a", Some("image/gif")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\0\0\0\0WAVE", None),
            (b"RIFF", None),
            (b"%PDF-1.7", Some("application/pdf")),
            (b"<svg>", None),
            (b"", None),
        ] {
            assert_eq!(media_type(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn the_block_is_as_documented() {
        let attachment = Attachment {
            media_type: "image/png",
            bytes: b"\xff\xfe\xfdab".to_vec(),
        };
        assert_eq!(
            serde_json::to_string(&attachment).unwrap(),
            r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"//79YWI="}}"#
        );
        assert_eq!(attachment.encoded_len(), 8);
    }
}
