//! The recipes of the README and of man/recipes.md, run as they are printed there, against awkward replies and every exit status.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::readme::{Place, block, blocks, pages, prompt, succeeds};
use crate::support::mock_server::{Server, Step, http, json_response, message};
use crate::support::{TOKEN, has};

/// Replies that break a careless script.
const REPLIES: [&str; 10] = [
    "# Heading\n\ntext",
    "```sh\nrm -r build\n```\n",
    "it's \"quoted\" `id` $HOME $(id) \\n",
    "100 % of %s %n",
    "-n --version",
    "- item",
    "; semicolon",
    "\u{1b}[31mred\u{1b}[0m \u{9b}2J",
    "\ttab and é 日本 🦀\n\n",
    "right \u{202e}to left\u{2066} and zero\u{200b} width\u{feff}",
];

/// A blank reply counts as unfinished.
const BLANK: i32 = 50;

const FAILURES: [i32; 6] = [1, 2, 3, 4, 5, BLANK];

/// A place in which a call ends with `status`.
fn failing(status: i32) -> Place {
    let place = Place::new(match status {
        3 => Server::json(401, "{}"),
        4 => Server::sending(http(503, &[("x-should-retry", "false")], "{}")),
        5 => Server::message("half a", "max_tokens"),
        BLANK => Server::message(" \n", "end_turn"),
        _ => Server::documented(),
    });
    if status < 3 {
        // Neither happens by itself in a recipe that is used as printed.
        place.tool("haiku", &format!("#!/bin/sh\nexit {status}\n"));
    }
    place
}

fn exit_status(failure: i32) -> i32 {
    if failure == BLANK { 5 } else { failure }
}

fn replying(text: &str) -> Place {
    Place::new(Server::message(text, "end_turn"))
}

/// What `-o` writes.
fn with_newline(text: &str) -> String {
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{newline}")
}

/// Checks a recipe that writes the reply to `file`: exactly the reply if the call succeeds, and
/// nothing, with the exit status that `expected` makes of the call's, if it fails.
fn check_file(
    file: &str,
    prepare: impl Fn(&Place),
    run: impl Fn(&Place) -> Output,
    expected: impl Fn(i32) -> i32,
) {
    for reply in REPLIES {
        let place = replying(reply);
        prepare(&place);
        succeeds(&run(&place));
        assert_eq!(place.read(file), with_newline(reply));
    }
    for failure in FAILURES {
        let place = failing(failure);
        prepare(&place);
        let output = run(&place);
        let expected = expected(exit_status(failure));
        assert_eq!(output.status.code(), Some(expected), "{failure} {output:?}");
        assert!(!place.path(file).exists(), "{failure}");
    }
}

#[test]
fn recipes_pass_shellcheck() {
    if !has("shellcheck") {
        return;
    }
    let place = replying("");
    let mut scripts: Vec<(String, String)> = blocks()
        .into_iter()
        .filter(|block| ["sh", "bash"].contains(&block.language.as_str()))
        .map(|block| (block.language, block.text))
        .collect();
    assert!(scripts.len() > 15);
    scripts.push(("sh".into(), cron_command()));
    let make = block("make", "make").replace("$@", "a").replace("$<", "b");
    scripts.push(("sh".into(), make.lines().nth(1).unwrap().into()));
    for (shell, script) in scripts {
        place.write("script", &script);
        // SC2016: `$HOME` in single quotes is for the shells that parallel starts.
        let output = place
            .command("shellcheck")
            .args(["-e", "SC2016", "-s", &shell, "script"])
            .output()
            .unwrap();
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{script}\n{report}");
    }
}

/// A repository with a staged file and the commit hook.
fn prepare_commit(place: &Place) {
    succeeds(&place.git(&["init", "-q"]));
    place.write_script(".git/hooks/prepare-commit-msg", &block("Commit messages", "sh"));
    place.write("file", "content of the file\n");
    succeeds(&place.git(&["add", "file"]));
}

/// Commits with an editor that writes a message where there is none.
fn commit(place: &Place, args: &[&str]) -> Output {
    let editor = "core.editor=sed -i '1s/^$/written by hand/'";
    place.git(&[&["-c", editor, "commit", "-q"], args].concat())
}

fn last_message(place: &Place) -> String {
    let log = succeeds(&place.git(&["log", "-1", "--format=%B"]));
    log.trim_end_matches('\n').to_owned()
}

fn subject_and_body(subject: &str, body: &str) -> Place {
    let reply = json!({"subject": subject, "body": body});
    let place = replying(&reply.to_string());
    prepare_commit(&place);
    place
}

#[test]
fn commit_hook_writes_the_message() {
    if !has("git") || !has("jq") {
        return;
    }
    let place = subject_and_body("Add the file", "Because.\nIt was missing.");
    succeeds(&commit(&place, &[]));
    assert_eq!(last_message(&place), "Add the file\n\nBecause.\nIt was missing.");
    let request = place.server.request();
    assert!(prompt(&request).contains("+content of the file\n\nWrite the commit message"));
    let format = &request.json()["output_config"]["format"];
    assert_eq!(format["schema"]["required"], json!(["subject", "body"]));
}

#[test]
fn commit_hook_survives_every_reply_and_comment_character() {
    if !has("git") || !has("jq") {
        return;
    }
    for (name, comment) in [
        ("core.commentChar", "#"),
        ("core.commentChar", ";"),
        ("core.commentChar", "auto"),
        ("core.commentChar", "-"),
        ("core.commentString", "//"),
    ] {
        for (subject, body, expected) in [
            ("## Add it", "", "Add it"),
            ("- ; Add it", "", "Add it"),
            ("```", "", "written by hand"),
            ("", "", "written by hand"),
            ("Add\nit", " \n", "Add it"),
            ("Print 100 % of %s \"it\" `id` $(id)", "", "Print 100 % of %s \"it\" `id` $(id)"),
            ("\u{1b}[31mAdd\u{9b}2J it", "", "[31mAdd2J it"),
            ("// Add\u{202e}\u{200b} it", "// Why\u{2066}", "Add it\n\n // Why"),
            (
                "Add it",
                "# Why\n```\ncode\n```\n- item\n; x\n# ------------------------ >8 ------------------------\nend",
                "Add it\n\n # Why\n ```\ncode\n ```\n - item\n ; x\n # ------------------------ >8 ------------------------\nend",
            ),
        ] {
            let place = subject_and_body(subject, body);
            succeeds(&place.git(&["config", name, comment]));
            succeeds(&commit(&place, &["-v"]));
            assert_eq!(last_message(&place), expected, "{comment} {subject:?}");
        }
    }
}

#[test]
fn commit_hook_takes_any_encoding_and_any_size() {
    if !has("git") || !has("jq") || !has("iconv") {
        return;
    }
    let place = subject_and_body("Add the files", "");
    place.write("latin-1", b"caf\xe9 cr\xe8me\n");
    // Cut within a character: each has three bytes.
    place.write("lock", format!("x{}\n", "\u{65e5}".repeat(200_000)));
    succeeds(&place.git(&["add", "latin-1", "lock"]));
    succeeds(&commit(&place, &[]));
    assert_eq!(last_message(&place), "Add the files");
    let prompt = prompt(&place.server.request());
    assert!(prompt.contains("+content of the file\n") && prompt.contains("+caf crme\n"));
    assert!(prompt.len() < 201_000);
}

#[test]
fn commit_hook_never_blocks_a_commit() {
    if !has("git") || !has("jq") {
        return;
    }
    let goes_on = |place: Place| {
        prepare_commit(&place);
        succeeds(&commit(&place, &[]));
        assert_eq!(last_message(&place), "written by hand");
    };
    for reply in REPLIES.into_iter().chain(["7", "{}", r#"{"subject": "x"}"#]) {
        goes_on(replying(reply));
    }
    for failure in FAILURES.into_iter().chain([127]) {
        goes_on(failing(failure));
    }
    let place = replying(r#"{"subject": "x", "body": ""}"#);
    place.tool("jq", "#!/bin/sh\nexit 127\n");
    goes_on(place);
}

#[test]
fn commit_hook_keeps_a_message_that_is_there() {
    if !has("git") || !has("jq") {
        return;
    }
    let place = subject_and_body("Not asked for", "");
    succeeds(&commit(&place, &["-m", "mine"]));
    assert_eq!(last_message(&place), "mine");
    succeeds(&commit(&place, &["--amend", "--allow-empty"]));
    place.write("template", "from a template\n");
    let editor = "core.editor=sed -i '1s/^/edited: /'";
    succeeds(&place.git(&["-c", editor, "commit", "-q", "--allow-empty", "-t", "template"]));
    assert_eq!(last_message(&place), "edited: from a template");
    succeeds(&place.git(&["checkout", "-q", "-b", "side", "HEAD~1"]));
    succeeds(&commit(&place, &["--allow-empty", "-m", "on the side"]));
    place.write("other", "x\n");
    succeeds(&place.git(&["add", "other"]));
    succeeds(&commit(&place, &["-m", "other"]));
    succeeds(&place.git(&["checkout", "-q", "main"]));
    succeeds(&place.git(&["merge", "-q", "--no-edit", "side"]));
    assert_eq!(last_message(&place), "Merge branch 'side'");
    succeeds(&place.git(&["reset", "-q", "--hard", "HEAD~1"]));
    succeeds(&place.git(&["merge", "-q", "--squash", "side"]));
    succeeds(&commit(&place, &[]));
    assert!(last_message(&place).contains("Squashed commit"));
    // An empty commit: there is nothing to describe.
    succeeds(&commit(&place, &["--allow-empty"]));
    assert_eq!(last_message(&place), "written by hand");
    assert!(place.server.requests().is_empty());
}

#[test]
fn commit_hook_knows_the_pre_commit_framework() {
    if !has("git") || !has("jq") {
        return;
    }
    for (source, requests) in [(None, 1), (Some(""), 1), (Some("merge"), 0)] {
        let place = subject_and_body("Add it", "");
        place.write("message", "\n# Please enter it.\n");
        // The framework passes the file alone.
        let mut hook = place.command("sh");
        hook.args([".git/hooks/prepare-commit-msg", "message"]);
        hook.envs(source.map(|source| ("PRE_COMMIT_COMMIT_MSG_SOURCE", source)));
        succeeds(&hook.output().unwrap());
        let is_added = place.read("message") == "Add it\n\n# Please enter it.\n";
        assert_eq!(is_added, requests == 1, "{source:?}");
        assert_eq!(place.server.requests().len(), requests, "{source:?}");
    }
}

#[test]
fn questions_about_one_text_share_the_cache() {
    let script = block("Many questions", "sh");
    let printed = block("Many questions", "text");
    let place = Place::new(Server::new(|n, _| {
        let mut reply = message("A reply.", "end_turn");
        let cached = ["cache_creation_input_tokens", "cache_read_input_tokens"][n.min(1)];
        reply["usage"] = json!({"input_tokens": 31 - 2 * n, "output_tokens": 12, cached: 6120});
        let headers = [
            ("content-type", "application/json"),
            ("cf-aig-cache-status", "MISS"),
            ("cf-aig-log-id", "01JADMCQQQBWH3NXZ5GCRN98DP"),
        ];
        vec![Step::Send(http(200, &headers, reply.to_string()))]
    }));
    place.write("manual.txt", "The long manual.\n");
    place.write("questions.txt", "--version\n\nHow do I reset it, \"quickly\"?");
    let output = place.run("sh", &script, &[]);
    assert_eq!(succeeds(&output), "A reply.\nA reply.\n");
    assert_eq!(without_times(&String::from_utf8(output.stderr).unwrap()), without_times(&printed));
    let requests = place.server.requests();
    assert_eq!(requests.len(), 2);
    let blocks = |n: usize| requests[n].json()["messages"][0]["content"].clone();
    assert_eq!(blocks(0)[0], blocks(1)[0]);
    assert_eq!(blocks(0)[0]["text"], "The long manual.");
    assert_eq!(blocks(0)[0]["cache_control"]["ttl"], "5m");
    assert_eq!(blocks(0)[1]["text"], "--version");
    assert_eq!(blocks(1)[1]["text"], "How do I reset it, \"quickly\"?");

    for failure in FAILURES {
        let place = failing(failure);
        place.write("manual.txt", "The long manual.\n");
        place.write("questions.txt", "One?\nTwo?\n");
        place.run("sh", &script, &[]);
        assert_eq!(place.server.requests().len(), usize::from(failure > 2));
    }
}

/// `total 0.84 s` becomes `total N s`.
fn without_times(text: &str) -> String {
    let is_time = |word: &str| word.contains('.') && word.parse::<f64>().is_ok();
    let words = text.split(' ').map(|word| if is_time(word) { "N" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn receipt_becomes_json() {
    if !has("jq") {
        return;
    }
    let script = block("JSON out of a receipt", "sh");
    let schema = block("JSON out of a receipt", "json");
    let run = |place: &Place| {
        place.write("receipt.json", &schema);
        place.write("receipt.png", b"\x89PNG\r\n\x1a\n");
        place.run("sh", &script, &[])
    };
    let place = replying(r#"{"total": 12.5}"#);
    assert_eq!(succeeds(&run(&place)), "12.5\n");
    let body = place.server.request().json();
    assert_eq!(
        body["output_config"]["format"]["schema"],
        serde_json::from_str::<Value>(&schema).unwrap()
    );
    assert_eq!(body["messages"][0]["content"][0]["type"], "image");
    // JSON, but without a total.
    assert!(!run(&replying("{}")).status.success());
    for reply in REPLIES {
        assert_eq!(run(&replying(reply)).status.code(), Some(5), "{reply}");
    }
    for failure in FAILURES {
        let code = run(&failing(failure)).status.code();
        assert_eq!(code, Some(exit_status(failure)));
    }
}

#[test]
fn condition_holds_if_the_answer_is_true() {
    if !has("git") || !has("jq") {
        return;
    }
    let script = block("A condition", "sh");
    let run = |place: &Place| {
        succeeds(&place.git(&["init", "-q"]));
        place.write("file", "content of the file\n");
        succeeds(&place.git(&["add", "file"]));
        place.write("answer.json", block("A condition", "json"));
        succeeds(&place.run("sh", &script, &[]))
    };
    let place = replying(r#"{"answer": true}"#);
    assert_eq!(run(&place), "Add a line to CHANGELOG.md.\n");
    let request = place.server.request();
    assert!(prompt(&request).contains("+content of the file\n\nDoes this"));
    assert_eq!(request.json()["output_config"]["format"]["schema"]["required"], json!(["answer"]));
    for reply in REPLIES.into_iter().chain([r#"{"answer": false}"#, "{}"]) {
        assert_eq!(run(&replying(reply)), "", "{reply}");
    }
    for failure in FAILURES {
        assert_eq!(run(&failing(failure)), "", "{failure}");
    }
}

#[test]
fn fenced_code_is_taken_out_of_a_reply() {
    let script = block("Fenced code", "sh");
    for (reply, code) in [
        ("# Title\n\n```python\na = 1\n\n# b\n```\n\n```\nsecond\n```\n", "a = 1\n\n# b\n"),
        ("~~~\n```\n~~~\n", "```\n"),
        ("````md\n```sh\nls\n```\n````", "```sh\nls\n```\n"),
        ("```\n%s \"x\" \\n -n\n", "%s \"x\" \\n -n\n"),
        (REPLIES[1], "rm -r build\n"),
    ] {
        assert_eq!(succeeds(&replying(reply).run("sh", &script, &[])), code);
    }
    for reply in REPLIES.into_iter().filter(|reply| !reply.contains("```")) {
        let output = replying(reply).run("sh", &script, &[]);
        assert_eq!((output.status.code(), output.stdout), (Some(1), vec![]));
    }
    for failure in FAILURES {
        let output = failing(failure).run("sh", &script, &[]);
        assert_eq!(output.status.code(), Some(exit_status(failure)));
    }
    let documented = Place::new(Server::documented()).run("sh", &script, &[]);
    assert!(succeeds(&documented).starts_with("def factorial(n):\n"));
}

#[test]
fn conversation_is_kept() {
    if !has("jq") {
        return;
    }
    let script = block("A conversation that is kept", "sh");
    for reply in REPLIES {
        let place = replying(reply);
        let shown = succeeds(&place.run("sh", &script, &["What is \"it\"?"]));
        let is_unsafe = |c: char| {
            c.is_control() && c != '\n' && c != '\t'
                || "\u{202e}\u{2066}\u{200b}\u{feff}".contains(c)
        };
        assert_eq!(shown, with_newline(reply).replace(is_unsafe, "?"));
        assert_eq!(succeeds(&place.run("sh", &script, &["--version"])), shown);
        assert_eq!(
            place.server.requests()[1].json()["messages"],
            json!([
                {"role": "user", "content": "What is \"it\"?"},
                {"role": "assistant", "content": with_newline(reply)},
                {"role": "user", "content": "--version"},
            ])
        );
        let kept = place.read("chat.jsonl");
        assert_eq!(kept.lines().count(), 4);
        assert!(!place.run("sh", &script, &[]).status.success());
        assert_eq!(place.read("chat.jsonl"), kept);
    }
    for failure in FAILURES {
        let place = failing(failure);
        let code = place.run("sh", &script, &["lost?"]).status.code();
        assert_eq!(code, Some(exit_status(failure)));
        assert_eq!(place.read("chat.jsonl"), "");
    }
}

#[test]
fn wrapper_sets_defaults() {
    let script = block("Defaults", "sh");
    let run = |place: &Place, args: &[&str]| place.run("sh", &script, args);
    let place = Place::new(Server::documented());
    succeeds(&run(&place, &["Is it prime?"]));
    succeeds(&run(&place, &["-t", "1", "--", "-x  \"y\""]));
    let requests = place.server.requests();
    assert_eq!(requests[0].json()["temperature"], json!(0));
    assert_eq!(requests[1].json()["temperature"], json!(1));
    assert_eq!(prompt(&requests[1]), "-x  \"y\"");
    assert_eq!(run(&place, &["--top-p", "1", "x"]).status.code(), Some(2));
    for reply in REPLIES {
        assert_eq!(succeeds(&run(&replying(reply), &["x"])), with_newline(reply));
    }
    for failure in FAILURES {
        let code = run(&failing(failure), &["x"]).status.code();
        assert_eq!(code, Some(exit_status(failure)));
    }
}

#[test]
fn token_comes_from_a_password_manager() {
    for shell in ["bash", "zsh"] {
        if !has(shell) {
            continue;
        }
        let script = block("A token from a password manager", "bash");
        let run = |place: &Place| {
            let pass =
                format!("#!/bin/sh\n[ \"$*\" = 'show cloudflare/haiku' ] && echo '{TOKEN}'\n");
            place.tool("pass", &pass);
            place.write("script", &script);
            let mut command = place.command(shell);
            command.arg("script").env_remove("CLOUDFLARE_API_TOKEN");
            command.output().unwrap()
        };
        for reply in REPLIES {
            let place = replying(reply);
            let output = run(&place);
            assert_eq!(succeeds(&output), with_newline(reply));
            assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
            let request = place.server.request();
            let expected = format!("Bearer {TOKEN}");
            assert_eq!(request.header("authorization"), Some(expected.as_str()));
        }
        for failure in FAILURES {
            let code = run(&failing(failure)).status.code();
            assert_eq!(code, Some(exit_status(failure)));
        }
    }
}

#[test]
fn vim_filters_the_text() {
    if !has("vim") {
        return;
    }
    let pages = pages();
    let section = pages.split("\n## vim\n").nth(1).unwrap();
    let calls: Vec<&str> = section.split('`').filter(|code| code.starts_with(':')).collect();
    let vim = |place: &Place, commands: &[&str]| {
        place.write("text", "some\ntekst\n");
        let mut vim = place.command("vim");
        vim.args(["-Nu", "NONE", "-es", "text"]);
        for command in commands {
            vim.args(["-c", command.trim_start_matches(':')]);
        }
        vim.args(["-c", "wq"]);
        succeeds(&vim.output().unwrap())
    };
    for reply in REPLIES {
        let place = replying(reply);
        vim(&place, &[calls[0]]);
        assert_eq!(place.read("text"), with_newline(reply));
        assert!(prompt(&place.server.request()).starts_with("some\ntekst\n\nCorrect"));
        vim(&place, &[calls[1]]);
        assert_eq!(place.read("text"), "some\ntekst\n");
    }
    for failure in FAILURES {
        let place = failing(failure);
        vim(&place, &[calls[0], "u"]);
        assert_eq!(place.read("text"), "some\ntekst\n");
    }
}

#[test]
fn make_keeps_a_summary_up_to_date() {
    if !has("make") {
        return;
    }
    let make = |place: &Place| place.command("make").output().unwrap();
    let prepare = |place: &Place| {
        place.write("Makefile", block("make", "make"));
        place.write("report.txt", "long\n");
    };
    check_file("SUMMARY.md", prepare, make, |_| 2);

    let ok = json_response(200, message("short", "end_turn").to_string());
    let place = Place::new(Server::sequence(vec![ok, json_response(401, "{}")]));
    prepare(&place);
    succeeds(&make(&place));
    succeeds(&make(&place));
    assert_eq!(place.server.requests().len(), 1);
    let report = File::options().append(true).open(place.path("report.txt"));
    let later = SystemTime::now() + Duration::from_secs(5);
    report.unwrap().set_modified(later).unwrap();
    assert!(!make(&place).status.success());
    assert_eq!(place.read("SUMMARY.md"), "short\n");
    assert_eq!(place.server.requests().len(), 2);
}

#[test]
fn temporary_failures_are_tried_again_later() {
    let script = block("Try again later", "sh");
    // Waiting is only recorded, three times at most.
    let sleep = "#!/bin/sh\necho \"$1\" >>slept\n[ \"$(wc -l <slept)\" -lt 3 ] || kill $PPID\n";
    let prepare = |place: &Place| {
        place.tool("sleep", sleep);
        place.write("report.txt", "long\n");
    };
    for reply in REPLIES {
        let place = replying(reply);
        prepare(&place);
        succeeds(&place.run("sh", &script, &[]));
        assert_eq!(place.read("summary.txt"), with_newline(reply));
        assert_eq!(place.server.request().header("cf-aig-cache-ttl"), Some("3600"));
    }
    for failure in FAILURES {
        let place = failing(failure);
        prepare(&place);
        let output = place.run("sh", &script, &[]);
        if failure == 4 {
            assert_eq!(place.read("slept"), "600\n600\n600\n");
        } else {
            assert_eq!(output.status.code(), Some(exit_status(failure)));
            assert!(!place.path("slept").exists());
        }
        assert!(!place.path("summary.txt").exists());
    }
}

/// A third of the calls fail. The recipe is run until it succeeds; every file then has its reply,
/// none was asked for again after it had one, and the pace was kept.
fn check_parallel(heading_part: &str, prepare: impl Fn(&Place)) {
    if !has("parallel") {
        return;
    }
    let script = blocks()
        .into_iter()
        .find(|block| block.language == "sh" && block.text.contains(heading_part))
        .unwrap();
    let calls = Arc::new(Mutex::new(BTreeMap::<String, (usize, usize)>::new()));
    let times = Arc::new(Mutex::new(Vec::new()));
    let (recorded, started) = (calls.clone(), times.clone());
    let place = Place::new(Server::new(move |n, request| {
        started.lock().unwrap().push(Instant::now());
        let name = prompt(request);
        let mut calls = recorded.lock().unwrap();
        let (ok, failed) = calls.entry(name.clone()).or_default();
        if n % 3 == 1 {
            *failed += 1;
            return vec![Step::Send(json_response(503, "{}"))];
        }
        *ok += 1;
        let reply = format!("{} {name}", REPLIES[n % REPLIES.len()]);
        vec![Step::Send(json_response(200, message(&reply, "end_turn").to_string()))]
    }));
    prepare(&place);
    let names = ["a", "b c", "d'e", "f\"g", "$(id)", "-n", "100%", "é", "sub/x"];
    for name in names {
        place.write(&format!("{name}.txt"), format!("text {name}\n"));
    }
    let mut runs = 0;
    while !place.run("sh", &script.text, &[]).status.success() {
        runs += 1;
        assert!(runs < 10, "still failing");
    }
    assert!(runs > 0);
    let calls = calls.lock().unwrap();
    assert_eq!(calls.len(), names.len());
    assert!(calls.values().all(|(ok, _)| *ok == 1), "{calls:?}");
    assert!(calls.values().any(|(_, failed)| *failed > 0));
    for name in names {
        assert!(place.read(&format!("{name}.md")).contains(&format!("text {name}")));
    }
    let times = times.lock().unwrap();
    let total = times[times.len() - 1] - times[0];
    let per_minute = 60.0 * (times.len() - 1) as f64 / total.as_secs_f64();
    assert!(per_minute < 200.0, "{per_minute}");
}

#[test]
fn parallel_repeats_failed_calls_only() {
    check_parallel("--jobs 4", |_| ());
}

#[test]
fn parallel_runs_on_several_machines() {
    check_parallel("--sshloginfile", |place| {
        place.write("machines", "2/:\n2/:\n");
        place.write_private(".cloudflare-token", TOKEN);
    });
}

#[test]
fn xargs_stops_when_no_call_can_succeed() {
    let script = block("Many inputs: xargs", "sh");
    let prepare = |place: &Place| {
        for i in 0..12 {
            place.write(&format!("picture {i}.png"), b"\x89PNG\r\n\x1a\n");
        }
    };
    let replies = |place: &Place| {
        let has_reply = |i: &i32| place.path(&format!("picture {i}.png.txt")).exists();
        (0..12).filter(has_reply).count()
    };
    for reply in REPLIES {
        let place = replying(reply);
        prepare(&place);
        place.write("picture 0.png.txt", "done before\n");
        succeeds(&place.run("sh", &script, &[]));
        assert_eq!(replies(&place), 12);
        assert_eq!(place.server.requests().len(), 11);
        assert_eq!(place.read("picture 0.png.txt"), "done before\n");
        assert_eq!(place.read("picture 7.png.txt"), with_newline(reply));
    }
    for failure in FAILURES {
        let place = failing(failure);
        prepare(&place);
        let output = place.run("sh", &script, &[]);
        assert_eq!(replies(&place), 0);
        let requests = place.server.requests().len();
        match failure {
            3 => assert!(output.status.code() == Some(124) && requests < 8, "{requests}"),
            4.. => assert_eq!((output.status.code(), requests), (Some(123), 12)),
            _ => assert_eq!(output.status.code(), Some(123)),
        }
    }
}

#[test]
fn slurm_task_is_requeued_after_a_temporary_failure() {
    let script = block("Many inputs: a Slurm array", "sh");
    let prepare = |place: &Place| {
        place.write("inputs.txt", "one.txt\nsome dir/two $x.txt\n");
        place.write("some dir/two $x.txt", "long\n");
        place.tool("scontrol", "#!/bin/sh\necho \"$@\" >>scontrol.log\n");
    };
    let run = |place: &Place, restarts: &str| {
        place.write("job", &script);
        place
            .command("sh")
            .arg("job")
            .env("SLURM_ARRAY_TASK_ID", "2")
            .env("SLURM_ARRAY_JOB_ID", "77")
            .env("SLURM_RESTART_COUNT", restarts)
            .output()
            .unwrap()
    };
    let file = "some dir/two $x.txt.md";
    check_file(file, prepare, |place| run(place, "0"), |status| status);
    for (failure, restarts, requeued) in
        [(4, "", true), (4, "4", true), (4, "5", false), (3, "", false)]
    {
        let place = failing(failure);
        prepare(&place);
        run(&place, restarts);
        assert_eq!(place.path("scontrol.log").exists(), requeued);
        if requeued {
            assert_eq!(place.read("scontrol.log"), "requeue 77_2\n");
        }
    }
    // A task that is run again after its success asks for nothing.
    let place = replying("A summary.");
    prepare(&place);
    succeeds(&run(&place, ""));
    succeeds(&run(&place, ""));
    place.server.request();
}

/// The command of the crontab, without its schedule.
fn cron_command() -> String {
    let crontab = block("Every morning: cron", "crontab");
    let line = crontab.lines().nth(1).unwrap();
    line.strip_prefix("0 7 * * * ").unwrap().to_owned()
}

#[test]
fn cron_job_needs_nothing_from_its_environment() {
    if !has("flock") {
        return;
    }
    let crontab = block("Every morning: cron", "crontab");
    let (name, value) = crontab.lines().next().unwrap().split_once('=').unwrap();
    let command = cron_command();
    assert!(!command.contains('%'), "cron ends the command there");
    let prepare = |place: &Place| {
        fs::create_dir_all(place.path(".local/bin")).unwrap();
        let found = place.command("sh").args(["-c", "command -v haiku"]).output();
        let haiku = succeeds(&found.unwrap());
        symlink(haiku.trim_end(), place.path(".local/bin/haiku")).unwrap();
        place.write_private(".cloudflare-token", &format!("{TOKEN}\n"));
    };
    let run = |place: &Place| {
        let mut shell = place.command("/bin/sh");
        shell
            .args(["-c", &command])
            .env_clear()
            .env("HOME", place.folder.path())
            .env("PATH", "/usr/bin:/bin")
            .env("CLOUDFLARE_API_BASE_URL", place.server.url())
            .env(name, value);
        shell.output().unwrap()
    };
    check_file("proverb", prepare, run, |status| status);

    // Nothing to mail after a success, the account and the token of the recipe, one call at a time.
    let place = replying("Haste makes waste.");
    prepare(&place);
    let output = run(&place);
    assert_eq!((output.stdout, output.stderr), (vec![], vec![]));
    let request = place.server.request();
    assert!(request.line.contains(&format!("/accounts/{value}/")));
    let token = format!("Bearer {TOKEN}");
    assert_eq!(request.header("authorization"), Some(token.as_str()));
    let lock = File::open(place.path(".proverb.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(run(&place).status.code(), Some(1));
    assert_eq!(place.server.requests().len(), 1);
}

/// The two units, the service first.
fn units() -> [String; 2] {
    let units = blocks().into_iter().filter(|block| block.language == "ini");
    let units: Vec<String> = units.map(|block| block.text).collect();
    units.try_into().expect("two units")
}

#[test]
fn systemd_units_are_valid() {
    if !has("systemd-analyze") {
        return;
    }
    let place = replying("");
    let [service, timer] = units();
    let service = service.replace("/usr/bin/haiku", env!("CARGO_BIN_EXE_haiku"));
    place.write("proverb.service", service);
    place.write("proverb.timer", timer);
    let output = place
        .command("systemd-analyze")
        .args(["verify", "--man=no", "./proverb.service", "./proverb.timer"])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !report.contains("proverb"), "{report}");
}

#[test]
fn systemd_service_tries_again_after_a_temporary_failure_only() {
    let [service, _] = units();
    let setting = |name: &str| {
        let found = service.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or_else(|| panic!("no {name}")).to_owned()
    };
    let command = setting("ExecStart=").replace("/usr/bin/haiku", "haiku");
    let (account, id) = {
        let assignment = setting("Environment=");
        let (name, value) = assignment.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    };
    let prepare = |place: &Place| {
        place.write_private("credentials/token", TOKEN);
        place.write("state/readme", "");
    };
    // The same as in a shell: words in double quotes, variables in braces.
    let run = |place: &Place| {
        let mut shell = place.command("sh");
        shell
            .args(["-c", &command])
            .env_remove("CLOUDFLARE_API_TOKEN")
            .env("CREDENTIALS_DIRECTORY", place.path("credentials"))
            .env("STATE_DIRECTORY", place.path("state"))
            .env(&account, &id);
        shell.output().unwrap()
    };
    check_file("state/proverb", prepare, run, |status| status);
    assert_eq!(setting("Restart="), "on-failure");
    assert_eq!(setting("RestartPreventExitStatus="), "1 2 3 5");
}

#[test]
fn kubernetes_job_retries_a_temporary_failure_only() {
    let manifest = block("Every morning: a Kubernetes CronJob", "yaml");
    let value = |name: &str| -> Value {
        let line = manifest.lines().find_map(|line| line.trim().strip_prefix(name));
        serde_json::from_str(line.unwrap()).unwrap()
    };
    let rule = ["- action: FailJob", "onExitCodes:", "operator: NotIn", "values: [4]"];
    let lines: Vec<&str> = manifest.lines().map(str::trim).collect();
    assert!(lines.windows(rule.len()).any(|window| window == rule));
    let command = value("command: ");
    let mount = "/run/secrets/haiku";
    assert!(manifest.contains(&format!("mountPath: {mount}\n")));
    let run = |place: &Place| {
        place.write_private("token", TOKEN);
        let words = command.as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        let words = words.map(|word| word.replace(mount, place.folder.path().to_str().unwrap()));
        let words: Vec<String> = words.collect();
        let mut container = place.command(&words[0]);
        container.args(&words[1..]).env_remove("CLOUDFLARE_API_TOKEN");
        container.stdin(Stdio::null()).output().unwrap()
    };
    for reply in REPLIES {
        assert_eq!(succeeds(&run(&replying(reply))), with_newline(reply));
    }
    for failure in FAILURES {
        let code = run(&failing(failure)).status.code();
        assert_eq!(code, Some(exit_status(failure)));
    }
}
