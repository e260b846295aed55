//! File types, told by the content.

use memchr::memmem;

/// How a file begins, `?` being any byte, what it is then, and its media type if the model takes it.
const SIGNATURES: [(&[u8], &str, Option<&str>); 10] = [
    (b"\x89PNG\r\n\x1a\n", "a PNG", Some("image/png")),
    (b"\xff\xd8\xff", "a JPEG", Some("image/jpeg")),
    (b"GIF8?a", "a GIF", Some("image/gif")),
    (b"RIFF????WEBP", "a WebP", Some("image/webp")),
    (b"????ftyphe", "a HEIC", None),
    (b"????ftypm?f1", "a HEIF", None),
    (b"????ftypavi", "an AVIF", None),
    (b"II*\0", "a TIFF", None),
    (b"MM\0*", "a TIFF", None),
    (b"BM????\0\0\0\0", "a BMP", None),
];

/// The beginning that may hold a PDF's header, in bytes (ISO 32000-1, annex H.3).
const PDF_HEADER_WITHIN: usize = 1024;

/// What may stand right before a PDF's header. Elsewhere in a line, a text speaks of it.
const BEFORE_PDF_HEADER: [&[u8]; 4] = [b"\n", b"\r", b"\0", b"\xef\xbb\xbf"];

/// What the bytes say, whatever the name says: what the file is, its media type if the model takes it,
/// and where in it the data begins.
pub fn file_type(bytes: &[u8]) -> Option<(&'static str, Option<&'static str>, usize)> {
    let begins = |signature: &[u8]| {
        let mut pairs = signature.iter().zip(bytes);
        bytes.len() >= signature.len() && pairs.all(|(want, byte)| want == byte || *want == b'?')
    };
    let found = SIGNATURES.iter().find(|(signature, ..)| begins(signature));
    if let Some(&(_, name, media_type)) = found {
        return Some((name, media_type, 0));
    }
    let head = &bytes[..bytes.len().min(PDF_HEADER_WITHIN)];
    let is_header =
        |at: &usize| *at == 0 || BEFORE_PDF_HEADER.iter().any(|end| head[..*at].ends_with(end));
    let start = memmem::find_iter(head, b"%PDF-").find(is_header)?;
    Some(("a PDF", Some("application/pdf"), start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_by_the_first_bytes() {
        for (bytes, expected) in [
            (&b"\x89PNG\r\n\x1a\nrest"[..], Some(("a PNG", Some("image/png")))),
            (b"\xff\xd8\xff\xe0", Some(("a JPEG", Some("image/jpeg")))),
            (b"GIF87a", Some(("a GIF", Some("image/gif")))),
            (b"GIF89a", Some(("a GIF", Some("image/gif")))),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some(("a WebP", Some("image/webp")))),
            (b"RIFF\0\0\0\0WAVE", None),
            (b"RIFF", None),
            (b"%PDF-1.7", Some(("a PDF", Some("application/pdf")))),
            (b"\0\0\0\x18ftypheic\0\0\0\0", Some(("a HEIC", None))),
            (b"\0\0\0\x18ftyphevc\0\0\0\0", Some(("a HEIC", None))),
            (b"\0\0\0\x18ftypmif1\0\0\0\0", Some(("a HEIF", None))),
            (b"\0\0\0\x1cftypavif\0\0\0\0", Some(("an AVIF", None))),
            (b"\0\0\0\x1cftypisom\0\0\0\0", None),
            (b"II*\0\x08\0\0\0", Some(("a TIFF", None))),
            (b"MM\0*\0\0\0\x08", Some(("a TIFF", None))),
            (b"BM\x8a\x04\0\0\0\0\0\0\x8a", Some(("a BMP", None))),
            (b"BMW and others", None),
            (b"<svg>", None),
            (b"", None),
        ] {
            assert_eq!(file_type(bytes), expected.map(|(name, kind)| (name, kind, 0)), "{bytes:?}");
        }
    }

    #[test]
    fn a_pdf_header_is_one_at_the_beginning_of_a_line_near_the_beginning_of_the_file() {
        let after = |length, end: &str| "x".repeat(length - end.len()) + end;
        for (before, is_pdf) in [
            ("\n", true),
            ("\r", true),
            ("\r\n", true),
            ("\u{feff}", true),
            ("\0", true),
            ("\x1b%-12345X@PJL\r\n", true),
            ("it says %PDF-1.4\n", true),
            (&after(1019, "\n"), true),
            (&after(1020, "\n"), false),
            (" ", false),
            ("it begins with ", false),
            ("a \"", false),
        ] {
            let bytes = format!("{before}%PDF-1.4\n");
            let expected = is_pdf.then_some(("a PDF", Some("application/pdf"), before.len()));
            assert_eq!(file_type(bytes.as_bytes()), expected, "{before:?}");
        }
    }
}
