//! A network whose router forgets silent connections, as home routers and firewalls do.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

/// Runs `call` in a network of its own, in which packets of a connection that was silent for `memory` are dropped.
/// Returns nothing if this user or this system cannot have one.
pub fn in_forgetful_network<T: Send>(
    memory: Duration,
    call: impl FnOnce() -> T + Send,
) -> Option<T> {
    thread::scope(|scope| {
        // The network of one thread, and of the threads and processes that it starts.
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).ok()?;
            run("ip", "link set lo up")?;
            run("iptables", "-A INPUT -m conntrack --ctstate INVALID -j DROP")?;
            // Once forgotten, a connection is not picked up again.
            set("tcp_loose", 0)?;
            set("tcp_timeout_established", memory.as_secs())?;
            Some(call())
        });
        thread.join().expect("the call")
    })
}

fn run(program: &str, arguments: &str) -> Option<()> {
    let output = Command::new(program).args(arguments.split(' ')).output().ok()?;
    output.status.success().then_some(())
}

fn set(name: &str, value: u64) -> Option<()> {
    // These are the calling thread's.
    fs::write(format!("/proc/sys/net/netfilter/nf_conntrack_{name}"), value.to_string()).ok()
}
