//! `--attach`: what is read, what is sent, what is rejected.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::mock_server::Server;
use crate::support::{Folder, ask, check, dry_run, error_line, haiku, one_line};

const FILES: [(&str, &[u8], &str, &str); 5] = [
    ("a.png", b"\x89PNG\r\n\x1a\n and more", "image", "image/png"),
    ("b.jpg", b"\xff\xd8\xff\xe0 and more", "image", "image/jpeg"),
    ("c.gif", b"GIF89a and more", "image", "image/gif"),
    ("d.webp", b"RIFF\x10\0\0\0WEBPVP8 ", "image", "image/webp"),
    ("e.pdf", b"%PDF-1.7 and more", "document", "application/pdf"),
];

fn block(kind: &str, media_type: &str, bytes: &[u8]) -> Value {
    let data = STANDARD.encode(bytes);
    json!({"type": kind, "source": {"type": "base64", "media_type": media_type, "data": data}})
}

fn messages(args: &[&str], stdin: &str) -> Value {
    dry_run(args, stdin)["messages"].take()
}

#[test]
fn files_are_content_blocks_before_the_text_whatever_their_names() {
    let folder = Folder::new();
    let mut args = Vec::new();
    let mut content = Vec::new();
    for (name, bytes, kind, media_type) in FILES {
        args.extend(["-a".into(), folder.write(&format!("{name}.txt"), bytes)]);
        content.push(block(kind, media_type, bytes));
    }
    content.push(json!({"type": "text", "text": "in\n\nWhat is it?"}));
    args.push("What is it?".into());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let expected = json!([{"role": "user", "content": content}]);
    assert_eq!(messages(&args, "in\n"), expected);
}

#[test]
fn attachments_need_no_prompt() {
    let folder = Folder::new();
    let (name, bytes, kind, media_type) = FILES[0];
    let file = folder.write(name, bytes);
    let expected = json!([{"role": "user", "content": [block(kind, media_type, bytes)]}]);
    for (args, stdin) in
        [(&["-a", &file][..], ""), (&["-n", "-a", &file], "unread"), (&["-a", &file, " "], "\n")]
    {
        assert_eq!(messages(args, stdin), expected, "{args:?}");
    }
    check(haiku().args(["--dry-run", "-a", &file, "-"]))
        .code(2)
        .stderr(one_line(&["standard input is empty"]));
}

#[test]
fn attachments_follow_the_conversation() {
    let folder = Folder::new();
    let (name, bytes, kind, media_type) = FILES[4];
    let file = folder.write(name, bytes);
    let chat = folder.write("chat", r#"{"role":"user","content":"hi"}"#);
    let (hi, pdf) = (json!({"role": "user", "content": "hi"}), block(kind, media_type, bytes));
    assert_eq!(
        messages(&["-q", "--messages", &chat, "-a", &file], "unread"),
        json!([hi, {"role": "user", "content": [pdf]}])
    );
    let text = json!({"type": "text", "text": "sum up"});
    assert_eq!(
        messages(&["--messages", &chat, "-a", &file, "sum up"], ""),
        json!([hi, {"role": "user", "content": [pdf, text]}])
    );
}

#[test]
fn unsupported_and_unreadable_files_are_rejected() {
    let folder = Folder::new();
    let server = Server::documented();
    for (name, bytes) in [
        ("a.png", "\u{7}\0....."),
        ("empty.png", ""),
        ("blank.txt", " \n"),
        ("bin", "a\0"),
        ("bom", "\u{feff}"),
    ] {
        let file = folder.write(name, bytes);
        ask(&server, &["-a", &file, "hi"]).code(2).stderr(one_line(&["--attach", &file]));
    }
    for (file, part) in [("/missing.png", "/missing.png: No such file"), ("/", "directory")] {
        ask(&server, &["-a", file, "hi"]).code(2).stderr(one_line(&[part]));
    }
    assert!(server.requests().is_empty());
}

#[test]
fn files_over_the_size_limits_are_rejected() {
    let folder = Folder::new();
    let server = Server::documented();
    let large = |name: &str, start: &[u8], length| {
        let mut bytes = start.to_vec();
        bytes.resize(length, 0);
        folder.write(name, bytes)
    };
    // 10 MiB of base64.
    let image = large("largest.png", FILES[0].1, 7_864_320);
    check(haiku().args(["--dry-run", "-a", &image, "hi"])).success();
    let image = large("large.png", FILES[0].1, 7_864_321);
    let why = "large.png is larger than 10 MiB in base64, the limit for an image";
    ask(&server, &["-a", &image, "hi"]).code(2).stderr(one_line(&[why]));
    let pdf = large("large.pdf", FILES[4].1, 15_000_000);
    check(haiku().args(["--dry-run", "-a", &pdf, "hi"])).success();
    ask(&server, &["-a", &pdf, "-a", &pdf, "hi"]).code(2).stderr(one_line(&["large.pdf", "32 MB"]));
    assert!(server.requests().is_empty());
}

#[test]
fn text_that_is_not_utf8_is_rejected() {
    let folder = Folder::new();
    let latin_1 = folder.write("latin-1.txt", b"caf\xe9");
    let parts = ["--attach", "latin-1.txt", "offset 3", "iconv"];
    check(haiku().args(["--dry-run", "-a", &latin_1])).code(2).stderr(one_line(&parts));
    let utf_16 = folder.write("utf-16.txt", b"\xff\xfea\0");
    let parts = ["--attach", "utf-16.txt", "offset 0", "iconv -f UTF-16"];
    check(haiku().args(["--dry-run", "-a", &utf_16])).code(2).stderr(one_line(&parts));
}

#[test]
fn a_pdf_is_sent_from_its_header_on() {
    let folder = Folder::new();
    let after = |length: usize| [vec![b' '; length - 1], b"\n%PDF-1.4\n".to_vec()].concat();
    for (bytes, start) in [
        (&include_bytes!("../data/cases/newline.pdf")[..], 1),
        (include_bytes!("../data/cases/newline-ascii.pdf"), 2),
        (b"\xef\xbb\xbf%PDF-1.4\n", 3),
        (b"\0\0%PDF-1.4\n\xff", 2),
        (b"Content-Type: application/pdf\r\n\r\n%PDF-1.4\n", 33),
        (b"\x01\xff %PDF- \r%PDF-1.4\n", 10),
        (&after(1019), 1019),
    ] {
        let file = folder.write("file", bytes);
        let expected = block("document", "application/pdf", &bytes[start..]);
        assert_eq!(messages(&["-a", &file], "")[0]["content"], json!([expected]), "{bytes:?}");
    }
    for text in ["It begins with %PDF-1.4.\n", " %PDF-1.4\n", str::from_utf8(&after(1020)).unwrap()]
    {
        let file = folder.write("file", text);
        let source = json!({"type": "text", "media_type": "text/plain", "data": text});
        assert_eq!(messages(&["-a", &file], "")[0]["content"][0]["source"], source);
    }
}

#[test]
fn images_of_other_types_are_named() {
    let folder = Folder::new();
    for (bytes, kind) in [
        (&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..], "a HEIC"),
        (b"\0\0\0\x18ftyphevc\0\0\0\0", "a HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "a HEIF"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "an AVIF"),
        (b"II*\0\x08\0\0\0", "a TIFF"),
        (b"MM\0*\0\0\0\x08", "a TIFF"),
        (b"BM\x8a\x04\0\0\0\0\0\0\x8a\0\0\0", "a BMP"),
    ] {
        let file = folder.write("photo.png", bytes);
        let line = format!("haiku: --attach {file} is {kind} file; convert it to JPEG or PNG\n");
        check(haiku().args(["--dry-run", "-a", &file, "hi"])).code(2).stderr(line);
    }
    let text = folder.write("text", "BMW, II and MM");
    check(haiku().args(["--dry-run", "-a", &text, "hi"])).success();
}

#[test]
fn a_name_that_says_nothing_is_no_title() {
    let folder = Folder::new();
    let name = OsStr::from_bytes(b"caf\xe9");
    fs::write(folder.path("").join(name), "text").unwrap();
    fs::write(folder.path("notes.md"), "text").unwrap();
    for (name, title) in [
        (name, json!(null)),
        (OsStr::new("notes.md"), json!("notes.md")),
        (OsStr::new("./notes.md"), json!("notes.md")),
        (OsStr::new("/dev/stdin"), json!(null)),
        (OsStr::new("/dev/fd/0"), json!(null)),
        (OsStr::new("/proc/self/fd/0"), json!(null)),
        (OsStr::new("-"), json!("standard input")),
    ] {
        let mut command = haiku();
        command.args(["--dry-run", "-a"]).arg(name).current_dir(folder.path(""));
        let printed = check(command.write_stdin("text")).success();
        let body: Value = serde_json::from_slice(&printed.get_output().stdout).unwrap();
        let block = &body["messages"][0]["content"][0];
        assert_eq!((&block["source"]["data"], &block["title"]), (&json!("text"), &title));
        assert!(title != json!(null) || block.get("title").is_none(), "{block}");
    }
}

#[test]
fn a_prompt_word_that_names_a_file_causes_a_warning() {
    let folder = Folder::new();
    for name in ["a.md", "b.md", "c\u{1b}.md", "-"] {
        folder.write(name, "text");
    }
    let warning = "haiku: warning: 'b.md' is sent as text, but is the name of a file; ";
    for (args, part) in [
        (&["-a", "a.md", "b.md", "c\u{1b}.md"][..], warning),
        (&["-a", "a.md", "What", "is", "b.md"], warning),
        (&["-a", "a.md", "--", "c\u{1b}.md"], "'c^[.md'"),
        (&["-a", "a.md", "-a", "b.md", "What is b.md?"], ""),
        (&["-a", "a.md", "-"], ""),
        (&["-a", "a.md", "."], ""),
        (&["-q", "-a", "a.md", "b.md"], ""),
        (&["b.md"], ""),
    ] {
        let mut command = haiku();
        command.arg("--dry-run").args(args).write_stdin("in").current_dir(folder.path(""));
        check(&mut command).success().stderr(error_line(part));
    }
}
