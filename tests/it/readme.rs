//! The README and the recipes: their code blocks, and their transcripts, typed into a terminal and compared with what
//! they print.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::generated::help;
use crate::support::mock_server::{
    Request, Server, Step, event_stream, events, examples, json_response, message,
};
use crate::support::pty::terminal;
use crate::support::{TOKEN, has};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Replies of the transcripts that are not in the model's documentation, by the end of the prompt.
const REPLIES: [(&str, &str); 2] = [
    (
        "+attempts = 3\n\nWrite a commit message of one line.",
        "Retry uploads after a lost connection",
    ),
    (
        "What changed? One sentence.",
        "The new version needs Rust 1.88 and no longer supports Windows.",
    ),
];

/// A fenced block of code.
pub struct Block {
    pub heading: String,
    pub language: String,
    pub text: String,
}

/// The text of the README, and then of the recipes.
pub fn pages() -> String {
    let page = |name| fs::read_to_string(Path::new(ROOT).join(name)).unwrap();
    page("README.md") + &page("man/recipes.md")
}

pub fn blocks() -> Vec<Block> {
    let pages = pages();
    let mut blocks: Vec<Block> = Vec::new();
    let mut heading = "";
    let mut is_open = false;
    for line in pages.lines() {
        if is_open && line != "```" {
            blocks.last_mut().unwrap().text += &format!("{line}\n");
        } else if let Some(language) = line.strip_prefix("```") {
            is_open = !is_open;
            if is_open {
                blocks.push(Block {
                    heading: heading.into(),
                    language: language.into(),
                    text: String::new(),
                });
            }
        } else if line.starts_with('#') {
            heading = line.trim_start_matches(['#', ' ']);
        }
    }
    blocks
}

/// The only block of code in `language` under the heading that begins with `heading`.
#[track_caller]
pub fn block(heading: &str, language: &str) -> String {
    let mut found = blocks()
        .into_iter()
        .filter(|block| block.heading.starts_with(heading) && block.language == language);
    let block = found.next().expect("the block is there");
    assert!(found.next().is_none(), "more than one {heading:?}");
    block.text
}

/// The prompt of a request, with its text blocks joined by blank lines.
pub fn prompt(request: &Request) -> String {
    last_text(&request.json()["messages"])
}

fn last_text(messages: &Value) -> String {
    let content = &messages.as_array().unwrap().last().unwrap()["content"];
    match content {
        Value::String(text) => text.clone(),
        blocks => {
            let blocks = blocks.as_array().unwrap().iter();
            let texts: Vec<_> = blocks.filter_map(|block| block["text"].as_str()).collect();
            texts.join("\n\n")
        }
    }
}

/// A folder to run commands in, with the program on the PATH.
pub struct Place {
    pub folder: TempDir,
    tools: TempDir,
    pub server: Server,
}

impl Place {
    pub fn new(server: Server) -> Place {
        let place = Place {
            folder: tempfile::tempdir().unwrap(),
            tools: tempfile::tempdir().unwrap(),
            server,
        };
        let haiku = place.tools.path().join("haiku");
        symlink(env!("CARGO_BIN_EXE_haiku"), haiku).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, in a folder that is created if necessary.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn write_private(&self, name: &str, text: &str) {
        self.write(name, text);
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).unwrap();
    }

    pub fn write_script(&self, name: &str, script: &str) {
        self.write(name, script);
        fs::set_permissions(self.path(name), Permissions::from_mode(0o755)).unwrap();
    }

    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Puts a script on the PATH, before anything of the same name.
    pub fn tool(&self, name: &str, script: &str) {
        let path = self.tools.path().join(name);
        // Not written through the link to the program.
        let _ = fs::remove_file(&path);
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    pub fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or("/usr/bin:/bin".into());
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:{path}", self.tools.path().display()))
            .env("HOME", self.folder.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("CLOUDFLARE_API_BASE_URL", self.server.url())
            .env("CLOUDFLARE_ACCOUNT_ID", "x")
            .env("CLOUDFLARE_API_TOKEN", TOKEN)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }

    /// Runs a script with `shell`.
    pub fn run(&self, shell: &str, script: &str, args: &[&str]) -> Output {
        let file = self.tools.path().join("script");
        fs::write(&file, script).unwrap();
        self.command(shell).arg(file).args(args).output().unwrap()
    }

    pub fn git(&self, args: &[&str]) -> Output {
        let config = "[user]\nname = Me\nemail = me@example.com\n[init]\ndefaultBranch = main\n";
        self.write(".gitconfig", config);
        self.command("git").args(args).output().unwrap()
    }
}

#[track_caller]
pub fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Replies as documented; `max_tokens` is taken for four characters each.
fn reply(request: &Request) -> Vec<u8> {
    let body = request.json();
    let prompt = last_text(&body["messages"]);
    let examples = examples();
    let documented = examples
        .iter()
        .find(|example| last_text(&example["input"]["messages"]) == prompt)
        .map(|example| example["text"].as_str().unwrap());
    let other = || REPLIES.iter().find(|(end, _)| prompt.ends_with(end));
    let text = documented.or_else(|| other().map(|(_, reply)| *reply));
    let text = text.unwrap_or_else(|| panic!("no reply to {prompt:?}"));
    let max_chars = 4 * body["max_tokens"].as_u64().unwrap() as usize;
    let cut: String = text.chars().take(max_chars).collect();
    let stop_reason = if cut == text { "end_turn" } else { "max_tokens" };
    if body["stream"] == json!(true) {
        event_stream(&events(&[&cut], stop_reason))
    } else {
        json_response(200, message(&cut, stop_reason).to_string())
    }
}

/// The files that the transcripts name.
fn place_of_transcripts() -> Place {
    let place = Place::new(Server::new(|_, request| vec![Step::Send(reply(request))]));
    succeeds(&place.git(&["init", "-q"]));
    place.write("upload.toml", "attempts = 3\n");
    succeeds(&place.git(&["add", "upload.toml"]));
    let examples = examples();
    let conversation = examples.iter().find(|example| example["name"] == "multi-turn");
    let messages = conversation.unwrap()["input"]["messages"].as_array().unwrap();
    let lines: Vec<String> = messages[..2].iter().map(ToString::to_string).collect();
    place.write("trip.jsonl", lines.join("\n") + "\n");
    place.write("old.md", "Needs Rust 1.80. For Linux, macOS and Windows.\n");
    place.write("new.md", "Needs Rust 1.88. For Linux and macOS.\n");
    place
}

/// A shell in a terminal.
struct Session {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shell: Child,
}

impl Session {
    fn start(place: &Place) -> Session {
        let (master, slave) = terminal();
        let shell = place
            .command("bash")
            .args(["--norc", "--noprofile", "--noediting", "-i"])
            .env("PS1", "$ ")
            .env("PS2", "> ")
            .env("LC_ALL", "C.UTF-8")
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave)
            .spawn()
            .unwrap();
        let keyboard = master.try_clone().unwrap();
        let session = Session { keyboard, screen: chunks(master), shell };
        // Without a controlling terminal, bash says that there is no job control.
        session.screen_to_prompt();
        session
    }

    /// Types a command, and returns what the terminal shows of it and after it.
    fn run(&mut self, command: &str) -> String {
        let mut shown = "$ ".to_owned();
        for line in command.lines() {
            writeln!(self.keyboard, "{line}").unwrap();
            shown += &self.screen_to_prompt();
        }
        shown.strip_suffix("$ ").unwrap().to_owned()
    }

    fn screen_to_prompt(&self) -> String {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).replace('\r', "");
            if ["$ ", "\n$ ", "\n> "].iter().any(|prompt| text.ends_with(prompt)) {
                return text;
            }
            let chunk = self.screen.recv_timeout(Duration::from_secs(30));
            bytes.extend(chunk.unwrap_or_else(|_| panic!("no prompt after {text:?}")));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// What arrives from a terminal, read by a thread so that waiting for it can be bounded.
fn chunks(mut master: File) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = master.read(&mut buffer) {
            if sender.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The commands of a transcript, each with the lines that it prints.
fn commands(transcript: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in transcript.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push((format!("{command}\n"), String::new()));
        } else if let Some(more) = line.strip_prefix("> ") {
            commands.last_mut().unwrap().0 += &format!("{more}\n");
        } else {
            commands.last_mut().unwrap().1 += &format!("{line}\n");
        }
    }
    commands
}

/// What the terminal shows of a whole transcript.
fn screen(session: &mut Session, transcript: &str) -> String {
    let run = |(command, _): (String, String)| session.run(&command);
    commands(transcript).into_iter().map(run).collect()
}

#[test]
fn transcripts_show_what_a_terminal_shows() {
    if !has("git") || !has("jq") {
        return;
    }
    let place = place_of_transcripts();
    let mut session = Session::start(&place);
    let transcripts: Vec<_> =
        blocks().into_iter().filter(|block| block.language == "console").collect();
    assert!(transcripts.len() >= 7);
    for block in transcripts {
        let shown = screen(&mut session, &block.text);
        // A line of three dots stands for the rest of the output.
        match block.text.strip_suffix("...\n") {
            Some(beginning) => assert!(shown.starts_with(beginning), "{shown}\n{beginning}"),
            None => assert_eq!(shown, block.text),
        }
    }
}

#[test]
fn the_picture_shows_the_first_transcript() {
    if !has("git") {
        return;
    }
    let place = place_of_transcripts();
    let transcript = &blocks()[0].text;
    let shown = screen(&mut Session::start(&place), transcript);
    assert_eq!(&shown, transcript);
    let path = Path::new(ROOT).join("man/terminal.svg");
    let picture = picture(&shown);
    if fs::read_to_string(&path).unwrap_or_default() != picture {
        fs::write(&path, picture).unwrap();
        panic!("man/terminal.svg was out of date and has been rewritten: commit it");
    }
}

/// A terminal window as SVG.
fn picture(shown: &str) -> String {
    const LINE: usize = 20;
    const TOP: usize = 56;
    let columns = shown.lines().map(|line| line.chars().count()).max().unwrap();
    let (width, height) = (columns * 9 + 32, shown.lines().count() * LINE + TOP);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">
<rect width="{width}" height="{height}" rx="8" fill="#1d2330"/>
<circle cx="20" cy="18" r="6" fill="#e5645b"/>
<circle cx="40" cy="18" r="6" fill="#e6b450"/>
<circle cx="60" cy="18" r="6" fill="#5fb96f"/>
<g font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" fill="#b8c0cf" xml:space="preserve">
"##
    );
    for (i, line) in shown.lines().enumerate() {
        let y = TOP + i * LINE;
        let text = line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let fill = match line {
            _ if line.starts_with("$ ") => r##" fill="#ffffff""##,
            _ if line.starts_with("haiku: ") => r##" fill="#e6b450""##,
            _ => "",
        };
        svg += &format!("<text x=\"16\" y=\"{y}\"{fill}>{text}</text>\n");
    }
    svg + "</g>\n</svg>\n"
}

#[test]
fn installs_man_page_and_completions_without_root() {
    let place = Place::new(Server::documented());
    let blocks = blocks().into_iter().filter(|block| block.heading == "Install");
    let script = blocks.map(|block| block.text).find(|text| text.contains("--generate"));
    succeeds(&place.run("sh", &script.unwrap(), &[]));
    for (installed, committed) in [
        (".local/share/man/man1/haiku.1", "man/haiku.1"),
        (".local/share/bash-completion/completions/haiku", "completions/haiku.bash"),
        (".local/share/zsh/site-functions/_haiku", "completions/_haiku"),
        (".config/fish/completions/haiku.fish", "completions/haiku.fish"),
    ] {
        let expected = fs::read_to_string(Path::new(ROOT).join(committed)).unwrap();
        assert_eq!(place.read(installed), expected, "{committed}");
    }
}

#[test]
fn lists_every_exit_status() {
    let readme = pages();
    for (status, meaning, remedy) in help::EXIT_STATUS {
        let row = format!("\n| {status} | {meaning} | {remedy} |\n");
        assert!(readme.contains(&row), "{row}");
    }
}

#[test]
fn the_readme_is_short_enough_to_be_read() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    assert!(readme.lines().count() <= 330, "{}", readme.lines().count());
}
