//! Networks that the machine does not have: dead addresses, a long round trip, a trusted test CA.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::api::listen;
use crate::call::find;

/// Set in the process that has namespaces of its own.
const ISOLATED: &str = "BENCH_ISOLATED";

const UNSHARE: [&str; 3] = ["--map-root-user", "--net", "--mount"];

/// Arguments of `ip`: a cable whose far end drops everything.
const VETH: &str = "link add bench0 type veth peer name bench1";

pub fn is_isolated() -> bool {
    env::var_os(ISOLATED).is_some()
}

/// Runs the whole benchmark in network and mount namespaces of its own, if the user may create them.
pub fn rerun_isolated() -> Option<ExitStatus> {
    let mut trial = Command::new("unshare");
    trial.args(UNSHARE).arg("ip").args(VETH.split(' '));
    trial.stdout(Stdio::null()).stderr(Stdio::null());
    if is_isolated() || !trial.status().is_ok_and(|status| status.success()) {
        return None;
    }
    let mut again = Command::new("unshare");
    again.args(UNSHARE).arg(env::current_exe().unwrap());
    Some(again.env(ISOLATED, "1").status().unwrap())
}

/// Gives `host` two IPv6 addresses that never answer, and then 127.0.0.1.
pub fn add_dead_addresses(host: &str, folder: &Path) {
    ip("link set lo up");
    ip(VETH);
    ip("link set bench0 up");
    ip("link set bench1 up");
    ip("address add 2001:db8::1/64 dev bench0 nodad");
    let mut hosts = "127.0.0.1 localhost\n".to_owned();
    for address in ["2001:db8::2", "2001:db8::3"] {
        // With a link-layer address, the kernel sends packets instead of reporting an unreachable host.
        ip(&format!("neighbour add {address} lladdr 02:00:00:00:00:02 dev bench0"));
        hosts += &format!("{address} {host}\n");
    }
    hosts += &format!("127.0.0.1 {host}\n");
    let file = folder.join("hosts");
    fs::write(&file, hosts).unwrap();
    mount_over(&file, "/etc/hosts");
}

/// Shows `file` to every program of this namespace in the place of `target`.
pub fn mount_over(file: &Path, target: &str) {
    let mut mount = Command::new("mount");
    mount.arg("--bind").arg(file).arg(target);
    assert!(mount.status().unwrap().success(), "mount over {target}");
}

fn ip(args: &str) {
    let program = find("ip").unwrap();
    let status = Command::new(program).args(args.split(' ')).status();
    assert!(status.unwrap().success(), "ip {args}");
}

/// The port of a relay to `port` that behaves as if the server were `round_trip` away.
///
/// It needs neither root nor a kernel with `tc netem`.
pub fn distant(port: u16, round_trip: Duration) -> u16 {
    listen(move |client| {
        // The TCP handshake, which the loopback interface completes at once.
        thread::sleep(round_trip);
        let server = TcpStream::connect(("127.0.0.1", port))?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = (client.try_clone()?, client);
        let (from_server, to_server) = (server.try_clone()?, server);
        thread::spawn(move || forward(from_server, to_client, round_trip / 2));
        forward(from_client, to_server, round_trip / 2)
    })
}

fn forward(mut from: TcpStream, mut to: TcpStream, delay: Duration) -> io::Result<()> {
    let (sender, in_transit) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        for (due, bytes) in in_transit {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            to.write_all(&bytes)?;
        }
        to.shutdown(Shutdown::Write)
    });
    let mut buffer = [0; 1 << 16];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        let packet = (Instant::now() + delay, buffer[..length].to_vec());
        sender.send(packet).map_err(io::Error::other)?;
    }
}
