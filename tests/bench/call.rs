//! A command that the benchmark runs again and again, and what can be measured about it.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// The cost of one run, in milliseconds.
pub struct Cost {
    pub cpu: f64,
    pub wall: f64,
}

#[derive(Clone)]
pub struct Call {
    program: PathBuf,
    args: Vec<String>,
    variables: Vec<(String, String)>,
    stdin: Option<PathBuf>,
    exit_code: i32,
}

impl Call {
    pub fn new(program: &str, args: &[&str]) -> Call {
        Call {
            // With an absolute path, every program is started in the same cheap way.
            program: find(program).unwrap_or(program.into()),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            variables: vec![("PATH".into(), env::var("PATH").unwrap_or_default())],
            stdin: None,
            exit_code: 0,
        }
    }

    pub fn shell(line: &str) -> Call {
        Call::new("sh", &["-c", line])
    }

    pub fn set(mut self, name: &str, value: &str) -> Call {
        self.variables.push((name.into(), value.into()));
        self
    }

    pub fn stdin(mut self, file: PathBuf) -> Call {
        self.stdin = Some(file);
        self
    }

    pub fn fails_with(mut self, exit_code: i32) -> Call {
        self.exit_code = exit_code;
        self
    }

    pub fn is_available(&self) -> bool {
        self.program.is_file()
    }

    pub fn as_shell_line(&self) -> String {
        let quoted = self.args.iter().map(|arg| format!(" '{arg}'"));
        self.program.display().to_string() + &quoted.collect::<String>()
    }

    /// One run with its output into a pipe, as in a pipeline: writing to /dev/null would cost nothing.
    pub fn run(&self) -> Cost {
        let cpu = || {
            let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
            (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e3
        };
        let (before, start) = (cpu(), Instant::now());
        let mut child = self.spawn(Stdio::piped());
        let mut output = child.stdout.take().unwrap();
        let mut piece = vec![0; 64 * 1024];
        while output.read(&mut piece).unwrap() > 0 {}
        let status = child.wait().unwrap();
        let wall = start.elapsed().as_secs_f64() * 1e3;
        assert_eq!(status.code(), Some(self.exit_code), "{}", self.as_shell_line());
        Cost { cpu: cpu() - before, wall }
    }

    pub fn spawn(&self, stdout: Stdio) -> Child {
        self.command(&[]).stdout(stdout).spawn().unwrap()
    }

    /// The largest resident set, in megabytes.
    pub fn peak_memory(&self) -> Option<f64> {
        let report = self.run_under(&["time", "-f", "%M"])?;
        let kilobytes: f64 = report.lines().last()?.parse().ok()?;
        Some(kilobytes * 1024.0 / 1e6)
    }

    /// The number of instructions executed in user space.
    pub fn instructions(&self) -> Option<f64> {
        let report =
            self.run_under(&["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"])?;
        let (_, collected) = report.split_once("Collected : ")?;
        collected.split_whitespace().next()?.parse().ok()
    }

    /// The number of files that it opens or tries to open.
    pub fn files_opened(&self) -> Option<usize> {
        let report = self.run_under(&["strace", "-f", "-qq", "-e", "trace=open,openat"])?;
        Some(report.lines().filter(|line| line.contains("open")).count())
    }

    /// What `tool`, a program with its options, writes to standard error about one run.
    fn run_under(&self, tool: &[&str]) -> Option<String> {
        find(tool[0])?;
        let output = self.command(tool).stderr(Stdio::piped()).output().ok()?;
        String::from_utf8(output.stderr).ok()
    }

    fn command(&self, prefix: &[&str]) -> Command {
        let program = self.program.to_str().unwrap();
        let args = self.args.iter().map(String::as_str);
        let mut words = prefix.iter().copied().chain([program]).chain(args);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .env_clear()
            .envs(self.variables.iter().cloned())
            .stdin(match &self.stdin {
                Some(file) => File::open(file).unwrap().into(),
                None => Stdio::null(),
            })
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// The memory that `child` has for itself, and its share of what it has in common with others, in megabytes.
pub fn proportional_memory(child: &Child) -> f64 {
    let maps = fs::read_to_string(format!("/proc/{}/smaps_rollup", child.id())).unwrap();
    let line = maps.lines().find(|line| line.starts_with("Pss:")).unwrap();
    let kilobytes: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024.0 / 1e6
}

/// An executable in `PATH`; a path is taken as it is.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut files = env::split_paths(&path).map(|folder| folder.join(Path::new(program)));
    files.find(|file| file.is_file())
}

pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
