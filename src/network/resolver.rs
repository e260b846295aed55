//! Looks up the addresses of a host, and puts them into the order in which they are tried.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::ResolvedSocketAddrs;
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

use super::watch::Watch;
use crate::signals::BlockedSignals;

/// The most addresses that [`ResolvedSocketAddrs`] holds.
const MAX_ADDRESSES: usize = 16;

/// Resolves the host of a server or a proxy within the limit of the watch.
#[derive(Debug)]
pub struct Resolver(pub Arc<Watch>);

impl ureq::unversioned::resolver::Resolver for Resolver {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?;
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default_port);
        let found = match known_addresses(host) {
            Some(addresses) => {
                addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()
            }
            None => look_up(host, port, self.0.limit())?,
        };
        let mut addresses = self.empty();
        for address in interleave(found).into_iter().take(MAX_ADDRESSES) {
            addresses.push(address);
        }
        if addresses.is_empty() {
            return Err(Error::HostNotFound);
        }
        Ok(addresses)
    }
}

/// The addresses of a host that need no look-up: an IP address in digits, or localhost, which is
/// the loopback address whatever a hosts file or a name server says (RFC 6761, 6.3).
fn known_addresses(host: &str) -> Option<Vec<IpAddr>> {
    if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let address = host.trim_matches(['[', ']']).parse().ok()?;
    Some(vec![address])
}

/// Asks the system. Its look-up cannot be interrupted, so it runs in a thread that is abandoned
/// at `limit`.
fn look_up(host: &str, port: u16, limit: Instant) -> Result<Vec<SocketAddr>, Error> {
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    // An abandoned thread must not take a signal that the main thread has blocked.
    let blocked = BlockedSignals::new();
    let thread = thread::Builder::new().spawn(move || sender.send(ask_system(&name, port)));
    drop(blocked);
    // The system may allow no further thread; a look-up without a time limit is better than none.
    if thread.is_err() {
        return Ok(ask_system(host, port)?);
    }
    match receiver.recv_timeout(limit.saturating_duration_since(Instant::now())) {
        Ok(addresses) => Ok(addresses?),
        Err(RecvTimeoutError::Timeout) => Err(Error::Timeout(Timeout::Resolve)),
        Err(RecvTimeoutError::Disconnected) => Err(Error::HostNotFound),
    }
}

fn ask_system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
}

/// Alternates between the two address families, starting with that of the first address
/// (RFC 8305, section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let starts_with_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == starts_with_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut interleaved = Vec::new();
    while first.len() + second.len() > 0 {
        interleaved.extend(first.next());
        interleaved.extend(second.next());
    }
    interleaved
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use ureq::unversioned::resolver::Resolver as _;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn address_families_alternate() {
        let cases: [(&[&str], &[&str]); 4] = [
            (&[], &[]),
            (&["192.0.2.1:1", "192.0.2.2:1"], &["192.0.2.1:1", "192.0.2.2:1"]),
            (
                &["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1", "192.0.2.1:1"],
                &["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "[2001:db8::3]:1"],
            ),
            (
                &["192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.2:1", "[2001:db8::2]:1"],
                &["192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.2:1", "[2001:db8::2]:1"],
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(interleave(addresses(given)), addresses(expected));
        }
    }

    #[test]
    fn addresses_and_localhost_need_no_look_up() {
        // A look-up would end at this limit.
        let resolver = Resolver(Watch::new(Instant::now()));
        for (url, expected) in [
            ("http://127.0.0.1/", &["127.0.0.1:80"][..]),
            ("https://192.0.2.1/", &["192.0.2.1:443"]),
            ("https://[2001:db8::1]:8443/", &["[2001:db8::1]:8443"]),
            ("http://localhost:81/", &["127.0.0.1:81", "[::1]:81"]),
            ("https://LocalHost./", &["127.0.0.1:443", "[::1]:443"]),
        ] {
            let uri = url.parse().unwrap();
            let found = resolver.resolve(&uri, &Config::default(), NextTimeout::default()).unwrap();
            assert_eq!(found.to_vec(), addresses(expected), "{url}");
        }
        for other in ["localhost.example.com", "notlocalhost", "127.1", "1.2.3.4.5"] {
            assert_eq!(known_addresses(other), None, "{other}");
        }
    }

    #[test]
    fn a_look_up_ends_at_the_limit() {
        let error = look_up("name.invalid", 1, Instant::now()).unwrap_err();
        assert!(matches!(error, Error::Timeout(Timeout::Resolve)), "{error}");
        let limit = Instant::now() + Duration::from_secs(10);
        assert_eq!(look_up("192.0.2.1", 1, limit).unwrap(), addresses(&["192.0.2.1:1"]));
    }
}
