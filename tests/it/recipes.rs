//! The README's recipes, run as they are printed there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::mock_server::{Request, Server, Step, json_response, message};
use crate::support::{TOKEN, has};

/// The first block of code in `language` under the heading that begins with `heading`.
fn recipe(heading: &str, language: &str) -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let heading = format!("\n### {heading}");
    let section = readme.split(&heading).nth(1).unwrap_or_else(|| panic!("no {heading:?}"));
    let section = section.split("\n### ").next().unwrap();
    let block = section.split(&format!("```{language}\n")).nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

/// A folder to run a recipe in, with the program on the PATH.
struct Place {
    folder: TempDir,
    tools: TempDir,
    server: Server,
}

impl Place {
    fn new(server: Server) -> Place {
        let place = Place {
            folder: tempfile::tempdir().unwrap(),
            tools: tempfile::tempdir().unwrap(),
            server,
        };
        symlink(env!("CARGO_BIN_EXE_haiku"), place.tools.path().join("haiku")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Puts a script on the PATH.
    fn tool(&self, name: &str, script: &str) {
        executable(&self.tools.path().join(name), script);
    }

    fn command(&self, program: &str) -> Command {
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

    /// Runs a recipe as a script.
    fn run(&self, script: &str, args: &[&str]) -> Output {
        let file = self.tools.path().join("recipe");
        fs::write(&file, script).unwrap();
        self.command("sh").arg(file).args(args).output().unwrap()
    }

    fn git(&self, args: &[&str]) -> Output {
        let mut git = self.command("git");
        git.args([
            "-c",
            "user.name=Me",
            "-c",
            "user.email=me@example.com",
            "-c",
            "init.defaultBranch=main",
        ]);
        git.args(args).output().unwrap()
    }
}

fn executable(path: &Path, script: &str) {
    fs::write(path, script).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn prompt(request: &Request) -> String {
    let body = request.json();
    let last = body["messages"].as_array().unwrap().last().unwrap().clone();
    last["content"].as_str().unwrap().to_owned()
}

#[test]
fn recipes_pass_shellcheck() {
    if !has("shellcheck") {
        return;
    }
    let cron = recipe("Every morning", "crontab");
    let cron = cron.splitn(6, ' ').nth(5).unwrap().to_owned();
    let make = recipe("A file that", "make")
        .lines()
        .nth(1)
        .unwrap()
        .replace("$@", "SUMMARY.md")
        .replace("$<", "report.txt");
    let scripts = [
        recipe("A commit message", "sh"),
        recipe("A look before pushing", "sh"),
        recipe("A loop", "sh"),
        recipe("Many files", "sh"),
        recipe("A script that knows", "sh"),
        recipe("Data out of prose", "sh"),
        recipe("A conversation", "sh"),
        cron,
        make,
    ];
    let folder = tempfile::tempdir().unwrap();
    for script in scripts {
        let file = folder.path().join("script");
        fs::write(&file, &script).unwrap();
        let output = Command::new("shellcheck").args(["-s", "sh"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn commit_message_hook_writes_the_message_and_never_blocks_the_commit() {
    if !has("git") {
        return;
    }
    let hook = recipe("A commit message", "sh");
    let repository = |server: Server| {
        let place = Place::new(server);
        succeeds(&place.git(&["init", "-q"]));
        executable(&place.path(".git/hooks/prepare-commit-msg"), &hook);
        place.write("file", "content of the file\n");
        succeeds(&place.git(&["add", "file"]));
        place
    };
    let subject = |place: &Place| succeeds(&place.git(&["log", "-1", "--format=%s"]));
    let commit = |place: &Place, args: &[&str]| {
        let editor = ["-c", "core.editor=sed -i '1s/^$/written by hand/'", "commit", "-q"];
        place.git(&[&editor, args].concat())
    };

    let place = repository(Server::message("Add the file", "end_turn"));
    succeeds(&commit(&place, &[]));
    assert_eq!(subject(&place), "Add the file\n");
    let asked = prompt(&place.server.request());
    assert!(asked.contains("+content of the file\n\nWrite the commit message."), "{asked}");

    // No request is sent if a message is given or nothing is staged.
    succeeds(&commit(&place, &["--allow-empty", "-m", "mine"]));
    assert_eq!(subject(&place), "mine\n");
    succeeds(&commit(&place, &["--allow-empty"]));
    assert_eq!(subject(&place), "written by hand\n");
    assert_eq!(place.server.requests().len(), 1);

    // A failed call does not prevent the commit.
    let place = repository(Server::json(401, "{}"));
    let output = commit(&place, &[]);
    succeeds(&output);
    assert_eq!(subject(&place), "written by hand\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("haiku: HTTP 401"));
}

#[test]
fn pre_push_hook_reviews_what_is_pushed() {
    if !has("git") {
        return;
    }
    let place = Place::new(Server::message("Why this file?", "end_turn"));
    succeeds(&place.git(&["init", "-q", "--bare", "remote"]));
    succeeds(&place.git(&["clone", "-q", "remote", "work"]));
    let git = |args: &[&str]| place.git(&[&["-C", "work"], args].concat());
    executable(&place.path("work/.git/hooks/pre-push"), &recipe("A look before pushing", "sh"));
    succeeds(&git(&["commit", "-q", "--allow-empty", "-m", "first"]));
    succeeds(&git(&["push", "-q", "-u", "origin", "HEAD"]));
    assert!(place.server.requests().is_empty());
    place.write("work/file", "x\n");
    succeeds(&git(&["add", "file"]));
    succeeds(&git(&["commit", "-q", "-m", "Add one file"]));
    let pushed = git(&["push", "-q"]);
    succeeds(&pushed);
    assert!(String::from_utf8_lossy(&pushed.stderr).contains("Why this file?"), "{pushed:?}");
    let asked = prompt(&place.server.request());
    assert!(asked.contains("Add one file") && asked.contains("file | 1 +"), "{asked}");
    assert!(!asked.contains("first") && !asked.contains("refs/heads"), "{asked}");
}

#[test]
fn loop_answers_each_line_and_stops_at_an_error() {
    let place = Place::new(Server::documented());
    place.write("cities.txt", "Rome\nNew York\nKyoto\n");
    succeeds(&place.run(&recipe("A loop", "sh"), &[]));
    for city in ["Rome", "New York", "Kyoto"] {
        assert_eq!(place.read(&format!("{city}.txt")), format!("One sentence about {city}.\n"));
    }
    let place = Place::new(Server::json(403, "{}"));
    place.write("cities.txt", "Rome\nKyoto\n");
    place.run(&recipe("A loop", "sh"), &[]);
    assert_eq!(place.server.requests().len(), 1);
}

#[test]
fn parallel_calls_write_one_reply_for_each_file() {
    let place = Place::new(Server::message("A picture.", "end_turn"));
    for i in 0..9 {
        fs::write(place.path(&format!("picture {i}.png")), b"\x89PNG\r\n\x1a\n").unwrap();
    }
    succeeds(&place.run(&recipe("Many files", "sh"), &[]));
    for i in 0..9 {
        assert_eq!(place.read(&format!("picture {i}.png.txt")), "A picture.\n");
    }
    assert_eq!(place.server.requests().len(), 9);
}

#[test]
fn cron_job_is_silent_and_writes_its_file() {
    let place = Place::new(Server::message("Haste makes waste.", "end_turn"));
    fs::create_dir_all(place.path(".cargo/bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_haiku"), place.path(".cargo/bin/haiku")).unwrap();
    place.write(".haiku-token", &format!("{TOKEN}\n"));
    fs::set_permissions(place.path(".haiku-token"), Permissions::from_mode(0o600)).unwrap();
    let line = recipe("Every morning", "crontab");
    let (times, command) = line.trim_end().split_at(10);
    assert_eq!(times, "0 7 * * * ");
    assert!(!command.contains('%'), "cron ends the line there");
    let output = Command::new("/bin/sh")
        .args(["-c", command])
        .env_clear()
        .env("HOME", place.folder.path())
        .env("PATH", "/usr/bin:/bin")
        .env("CLOUDFLARE_API_BASE_URL", place.server.url())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    succeeds(&output);
    assert_eq!((output.stdout, output.stderr), (vec![], vec![]));
    assert_eq!(place.read("proverb"), "Haste makes waste.\n");
    let request = place.server.request();
    assert_eq!(request.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
}

#[test]
fn script_retries_temporary_failures_only() {
    let script = recipe("A script that knows", "sh");
    // Temporary failures, then a reply. `sleep` only records how long it was told to wait.
    let busy = json_response(503, "{}");
    let done = json_response(200, message("short", "end_turn").to_string());
    let place = Place::new(Server::sequence(vec![busy.clone(), busy.clone(), busy.clone(), done]));
    place.tool("sleep", "#!/bin/sh\necho \"$1\" >>slept\n");
    place.write("report.txt", "long\n");
    succeeds(&place.run(&script, &[]));
    assert_eq!(place.read("slept"), "600\n");
    assert_eq!(place.read("summary.txt"), "short\n");

    let place = Place::new(Server::json(402, "{}"));
    place.tool("sleep", "#!/bin/sh\necho \"$1\" >>slept\n");
    place.write("report.txt", "long\n");
    assert_eq!(place.run(&script, &[]).status.code(), Some(1));
    assert!(!place.path("slept").exists());
    assert_eq!(place.server.requests().len(), 1);
}

#[test]
fn schema_recipe_extracts_a_number() {
    if !has("jq") {
        return;
    }
    let place = Place::new(Server::message(r#"{"total": 12.5}"#, "end_turn"));
    let schema = recipe("Data out of prose", "json");
    place.write("invoice.json", &schema);
    place.write("mail.txt", "You owe me twelve and a half.\n");
    assert_eq!(succeeds(&place.run(&recipe("Data out of prose", "sh"), &[])), "12.5\n");
    let body = place.server.request().json();
    assert_eq!(
        body["output_config"]["format"]["schema"],
        serde_json::from_str::<Value>(&schema).unwrap()
    );
}

#[test]
fn conversation_keeps_complete_replies_only() {
    if !has("jq") {
        return;
    }
    let script = recipe("A conversation", "sh");
    let place = Place::new(Server::new(|n, request| {
        let count = request.json()["messages"].as_array().unwrap().len();
        vec![Step::Send(match n {
            2 => json_response(401, "{}"),
            3 => json_response(200, message("half", "max_tokens").to_string()),
            _ => {
                // The recipe finds the message with and without an envelope.
                let answer = message(&format!("answer to {count}"), "end_turn");
                let wrapped = json!({"success": true, "errors": [], "result": answer});
                let body = if n == 1 { wrapped } else { answer };
                json_response(200, body.to_string())
            }
        })]
    }));
    assert_eq!(succeeds(&place.run(&script, &["What is \"it\"?"])), "answer to 1\n");
    assert_eq!(succeeds(&place.run(&script, &["And then?"])), "answer to 3\n");
    let kept = place.read("chat.jsonl");
    // A failed call or an unfinished reply leaves the conversation unchanged.
    assert_eq!(place.run(&script, &["lost?"]).status.code(), Some(3));
    assert_eq!(place.run(&script, &["lost?"]).status.code(), Some(5));
    assert_eq!(place.read("chat.jsonl"), kept);
    assert_eq!(succeeds(&place.run(&script, &["Go on."])), "answer to 5\n");
    let last = place.server.requests()[4].json();
    assert_eq!(last["messages"][0], json!({"role": "user", "content": "What is \"it\"?"}));
    assert_eq!(
        last["messages"][1],
        json!({"role": "assistant", "content": [{"type": "text", "text": "answer to 1"}]})
    );
    assert_eq!(last["messages"][4], json!({"role": "user", "content": "Go on."}));
}

#[test]
fn makefile_rule_asks_only_when_the_source_changes() {
    if !has("make") {
        return;
    }
    let place = Place::new(Server::sequence(vec![
        json_response(200, message("short", "end_turn").to_string()),
        json_response(401, "{}"),
    ]));
    place.write("Makefile", &recipe("A file that", "make"));
    place.write("report.txt", "long\n");
    let make = || place.command("make").output().unwrap();
    succeeds(&make());
    assert_eq!(place.read("SUMMARY.md"), "short\n");
    succeeds(&make());
    assert_eq!(place.server.requests().len(), 1);
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    fs::File::options()
        .append(true)
        .open(place.path("report.txt"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    assert!(!make().status.success());
    assert_eq!(place.read("SUMMARY.md"), "short\n");
    assert_eq!(place.server.requests().len(), 2);
}
