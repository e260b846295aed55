//! `cargo bench --bench whole_process`: what a whole call costs, beside what others do with the same bytes.
//!
//! Each row runs the two programs in turn, so that a machine that slows down slows both. The server
//! sends what was rendered before. Nothing is asserted: the figures are for a person to read.

#![allow(dead_code, reason = "the tests use the rest of the shared modules")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stdout)]

#[path = "it/authority.rs"]
mod authority;
#[path = "it/server.rs"]
mod server;

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use authority::{Authority, Front};

const HAIKU: &str = env!("CARGO_BIN_EXE_haiku");

/// Where the certificates of a Debian system are.
const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

fn main() {
    let args: Vec<String> = env::args().collect();
    if let [_, flag, port] = &args[..]
        && flag == "--bare"
    {
        return bare_call(port.parse().unwrap());
    }
    let place = Place::new();
    println!("| work | against | CPU ms | theirs | wall ms | theirs | CPU ratio | at most |");
    println!("|---|---|---|---|---|---|---|---|");
    place.row(
        "--version",
        60,
        &Call::haiku(&["--version"]),
        &[("true", Call::new("true", &[]), 2.0)],
    );
    let small = place.haiku("small", &["-n", "hi"]);
    let curl = place.curl("small", &[]);
    let jq = Call::shell(&format!("{} | jq -r '.content[0].text'", curl.line()));
    let bare = Call::new(
        env::current_exe().unwrap().to_str().unwrap(),
        &["--bare", &place.port.to_string()],
    );
    place.row(
        "small reply, plain HTTP",
        60,
        &small,
        &[
            ("a bare socket", bare, 2.0),
            ("curl -s", curl, 0.30),
            ("curl -s, jq", jq, 0.08),
        ],
    );
    place.row("small reply, plain HTTP", 40, &small, &place.others());
    if let Some((ours, theirs)) = place.tls() {
        place.row(
            "small reply, TLS",
            40,
            &ours,
            &[("curl -s --cacert", theirs, 0.20)],
        );
    }
    let stream = place.haiku("stream", &["-n", "--stream", "hi"]);
    place.row(
        "small stream",
        40,
        &stream,
        &[("curl -sN", place.curl("stream", &["-N"]), 0.35)],
    );
    let long = place.haiku("long", &["-n", "--stream", "hi"]);
    place.row(
        "5 MB in 230,000 events",
        8,
        &long,
        &[("curl -sN", place.curl("long", &["-N"]), 1.0)],
    );
    let prompt = place.haiku("small", &[]).stdin(place.file("prompt"));
    place.row(
        "10 MB prompt",
        10,
        &prompt,
        &[("curl --data-binary", place.upload(), 2.5)],
    );

    println!("\n| figure | measured | at most |");
    println!("|---|---|---|");
    println!(
        "| first text after its bytes came in | {:.2} ms | 1 ms |",
        place.first_text() * 1e3
    );
    println!(
        "| binary | {:.2} MB | 3.0 MB |",
        fs::metadata(HAIKU).unwrap().len() as f64 / 1e6
    );
    let stream = place.haiku("20MB", &["-n", "--stream", "hi"]);
    let lines = place.haiku("20MB", &["-n", "--stream", "--json", "hi"]);
    for (what, call, most) in [
        ("small reply", &small, 6),
        ("20 MB stream", &stream, 8),
        ("20 MB stream as JSON Lines", &lines, 8),
        ("10 MB prompt", &prompt, 35),
    ] {
        let peak = call
            .peak_megabytes()
            .map_or("-".into(), |peak| format!("{peak:.1} MB"));
        println!("| peak memory, {what} | {peak} | {most} MB |");
    }
}

/// What one call is, so that it can be made again and again.
#[derive(Clone)]
struct Call {
    program: String,
    args: Vec<String>,
    variables: Vec<(String, String)>,
    stdin: Option<PathBuf>,
}

impl Call {
    fn new(program: &str, args: &[&str]) -> Call {
        Call {
            // With its whole path a program is started the same cheap way, whoever it is.
            program: find(program)
                .unwrap_or(program.into())
                .display()
                .to_string(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            variables: vec![("PATH".into(), env::var("PATH").unwrap_or_default())],
            stdin: None,
        }
    }

    fn haiku(args: &[&str]) -> Call {
        Call::new(HAIKU, args)
    }

    fn shell(line: &str) -> Call {
        Call::new("sh", &["-c", line])
    }

    fn set(mut self, name: &str, value: &str) -> Call {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn stdin(mut self, file: PathBuf) -> Call {
        self.stdin = Some(file);
        self
    }

    /// As a line for a shell.
    fn line(&self) -> String {
        let quoted = self.args.iter().map(|arg| format!(" '{arg}'"));
        self.program.clone() + &quoted.collect::<String>()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.variables.iter().cloned());
        command.stdin(match &self.stdin {
            Some(file) => File::open(file).unwrap().into(),
            None => Stdio::null(),
        });
        command
    }

    /// CPU and wall time of one run, in seconds.
    fn run(&self) -> (f64, f64) {
        let cpu = || {
            let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
            (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
        };
        let (before, start) = (cpu(), Instant::now());
        let mut command = self.command(&self.program);
        let status = command
            .args(&self.args)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        let wall = start.elapsed().as_secs_f64();
        assert!(status.success(), "{}", self.line());
        (cpu() - before, wall)
    }

    fn peak_megabytes(&self) -> Option<f64> {
        let mut command = self.command("/usr/bin/time");
        command.args(["-f", "%M", &self.program]).args(&self.args);
        let output = command.stdout(Stdio::null()).output().ok()?;
        let kilobytes: f64 = String::from_utf8(output.stderr)
            .ok()?
            .lines()
            .last()?
            .parse()
            .ok()?;
        Some(kilobytes * 1024.0 / 1e6)
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut files = env::split_paths(&path).map(|folder| folder.join(program));
    files.find(|file| file.is_file())
}

/// The server, the files, and the calls that use them.
struct Place {
    folder: tempfile::TempDir,
    port: u16,
    /// When the server sent its first delta.
    sent: mpsc::Receiver<Instant>,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let line = "Ten megabytes of a \"prompt\", with a line end each.\n";
        fs::write(
            folder.path().join("prompt"),
            line.repeat(10_000_000 / line.len()),
        )
        .unwrap();
        for (name, prompt) in [
            ("small.json", "hi"),
            ("prompt.json", &line.repeat(10_000_000 / line.len())),
        ] {
            let body = serde_json::json!({
                "model": "anthropic/claude-haiku-4.5",
                "messages": [{"role": "user", "content": prompt.trim_end()}],
                "max_tokens": 8192,
            });
            fs::write(folder.path().join(name), body.to_string()).unwrap();
        }
        let (note, sent) = mpsc::channel();
        Place {
            folder,
            port: serve(note),
            sent,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self, answer: &str) -> String {
        format!("http://127.0.0.1:{}/{answer}", self.port)
    }

    fn haiku(&self, answer: &str, args: &[&str]) -> Call {
        Call::haiku(args)
            .set("CLOUDFLARE_API_BASE_URL", &self.url(answer))
            .set("CLOUDFLARE_ACCOUNT_ID", "x")
            .set("CLOUDFLARE_API_TOKEN", "x")
    }

    fn curl(&self, answer: &str, args: &[&str]) -> Call {
        let body = format!("@{}", self.file("small.json").display());
        let url = self.url(answer);
        let fixed = [
            "-s",
            "-H",
            "Authorization: Bearer x",
            "-H",
            "Content-Type: application/json",
            "--data-binary",
            &body,
            &url,
        ];
        Call::new("curl", &[args, &fixed].concat())
    }

    fn upload(&self) -> Call {
        let body = format!("@{}", self.file("prompt.json").display());
        Call::new(
            "curl",
            &[
                "-s",
                "-H",
                "Content-Type: application/json",
                "--data-binary",
                &body,
                &self.url("small"),
            ],
        )
    }

    /// Peers that not every machine has.
    fn others(&self) -> Vec<(&'static str, Call, f64)> {
        let mut others = Vec::new();
        if find("xh").is_some() {
            let body = fs::read_to_string(self.file("small.json")).unwrap();
            let args = [
                "--ignore-stdin",
                "--body",
                "POST",
                &self.url("small"),
                "--raw",
                &body,
            ];
            others.push(("xh", Call::new("xh", &args), 1.0));
        }
        if find("aichat").is_some() {
            let url = self.url("small");
            let config = format!(
                "model: claude:haiku\nsave: false\nclients:\n- type: claude\n  api_base: {url}\n  api_key: x\n  \
                 models:\n  - name: haiku\n    max_output_tokens: 8192\n    require_max_tokens: true\n"
            );
            fs::write(self.file("config.yaml"), config).unwrap();
            let folder = self.folder.path().to_str().unwrap();
            let call = Call::new("aichat", &["-S", "hi"])
                .set("AICHAT_CONFIG_DIR", folder)
                .set("HOME", folder);
            others.push(("aichat", call, 1.0));
        }
        others
    }

    /// Both programs trust a bundle of the system's certificates and one of ours.
    fn tls(&self) -> Option<(Call, Call)> {
        let system = fs::read_to_string(SYSTEM_BUNDLE).ok()?;
        let authority = Authority::new();
        let own = fs::read_to_string(authority.file()).unwrap();
        let bundle = self.file("bundle.pem");
        fs::write(&bundle, system + &own).unwrap();
        let front = Front::new(authority.issue(|_| {}), self.port);
        let url = format!("https://localhost:{}/small", front.port);
        let ours = self
            .haiku("small", &["-n", "hi"])
            .set("CLOUDFLARE_API_BASE_URL", &url)
            .set("SSL_CERT_FILE", bundle.to_str()?);
        let mut theirs = self.curl("small", &["--cacert", bundle.to_str()?]);
        *theirs.args.last_mut()? = url;
        Some((ours, theirs))
    }

    /// Runs ours and each of theirs in turn, and prints a line for each.
    fn row(&self, work: &str, runs: usize, ours: &Call, theirs: &[(&str, Call, f64)]) {
        for (name, call, most) in theirs {
            if !Path::new(&call.program).is_file() {
                println!("| {work} | {name} | - | not here | - | - | - | {most} |");
                continue;
            }
            let mut figures = [vec![], vec![], vec![], vec![]];
            for _ in 0..runs {
                let ((cpu, wall), (their_cpu, their_wall)) = (ours.run(), call.run());
                for (list, figure) in figures.iter_mut().zip([cpu, their_cpu, wall, their_wall]) {
                    list.push(figure * 1e3);
                }
            }
            let [cpu, their_cpu, wall, their_wall] = figures.map(median);
            let ratio = cpu / their_cpu;
            println!(
                "| {work} | {name} | {cpu:.2} | {their_cpu:.2} | {wall:.2} | {their_wall:.2} | {ratio:.2} | {most:.2} |"
            );
        }
    }

    /// The median time from the moment that a delta is sent until its text is read, in seconds.
    fn first_text(&self) -> f64 {
        let call = self.haiku("slow", &["-n", "--stream", "hi"]);
        let once = |_| {
            let mut command = call.command(&call.program);
            let mut child = command
                .args(&call.args)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child
                .stdout
                .as_mut()
                .unwrap()
                .read_exact(&mut [0; 4])
                .unwrap();
            let read = Instant::now();
            let sent = self.sent.recv().unwrap();
            assert!(child.wait().unwrap().success());
            read.duration_since(sent).as_secs_f64()
        };
        median((0..20).map(once).collect())
    }
}

/// Answers by the first part of the path, with what was rendered beforehand.
fn serve(note: mpsc::Sender<Instant>) -> u16 {
    // As prose has it, one delta in ten ends a line.
    let prose = |count| {
        let text = |i| {
            if i % 10 == 9 {
                "and there it ends .\n\n"
            } else {
                "word and another word "
            }
        };
        (0..count).map(text).collect::<Vec<_>>()
    };
    let reply = server::message("The answer is short.", "end_turn").to_string();
    let stream = |pieces: &[&str]| server::event_stream(&server::events(pieces, "end_turn"));
    let answers: Arc<[(&str, Vec<u8>)]> = Arc::new([
        ("small", server::json_response(200, reply)),
        ("stream", stream(&["The ", "answer ", "is ", "short."])),
        ("long", stream(&prose(230_000))),
        ("20MB", stream(&prose(110_000))),
    ]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (answers, note) = (answers.clone(), note.clone());
            thread::spawn(move || answer(client, &answers, &note));
        }
    });
    port
}

fn answer(mut client: TcpStream, answers: &[(&str, Vec<u8>)], note: &mpsc::Sender<Instant>) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut first = String::new();
    let mut length = 0;
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "expect: 100-continue" {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).unwrap();
    let name = first.split('/').nth(1).unwrap_or_default();
    let name = name.split_whitespace().next().unwrap_or_default();
    if name == "slow" {
        let events = server::events(&["text"], "end_turn");
        let mut head = server::event_stream_head();
        head.extend(server::chunk(events[..3].concat()));
        let delta = server::chunk(&events[3]);
        client.write_all(&head).unwrap();
        thread::sleep(Duration::from_millis(50));
        note.send(Instant::now()).unwrap();
        client.write_all(&delta).unwrap();
        client
            .write_all(&server::chunk(events[4..].concat()))
            .unwrap();
        client.write_all(b"0\r\n\r\n").unwrap();
    } else if let Some((_, bytes)) = answers.iter().find(|(known, _)| *known == name) {
        // A client that leaves early has what it wants.
        let _ = client.write_all(bytes);
    }
}

/// The least that any program does for such a call: connect, send, read, print.
fn bare_call(port: u16) {
    let body = r#"{"model":"anthropic/claude-haiku-4.5","messages":[{"role":"user","content":"hi"}],"max_tokens":8192}"#;
    let request = format!(
        "POST /small HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    server.write_all(request.as_bytes()).unwrap();
    let mut reply = Vec::new();
    server.read_to_end(&mut reply).unwrap();
    std::io::stdout().write_all(&reply).unwrap();
}
