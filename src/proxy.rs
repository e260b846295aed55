//! Which proxy a connection goes through: the variables that curl reads, read as curl reads them.

use std::ffi::OsString;
use std::net::IpAddr;

use ureq::http::Uri;

use crate::error::Failure;

/// The schemes that curl knows, with the port that each has where none is given.
const SCHEMES: [(&str, u16); 6] = [
    ("http", 1080),
    ("https", 443),
    ("socks4", 1080),
    ("socks4a", 1080),
    ("socks5", 1080),
    ("socks5h", 1080),
];

/// A proxy to go through.
pub struct Proxy {
    /// The whole address; it may hold a password, and is never shown.
    pub address: ureq::Proxy,
    /// Host and port, for messages.
    pub name: String,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// The proxy that the variables name for a connection to `host` over https, or none.
///
/// # Errors
/// Exit status 2 for a variable that is no proxy's address.
pub fn choose(
    host: &str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Proxy>, Failure> {
    let first = |names: [&'static str; 2]| {
        let value = |name| Some((name, variable(name)?.to_string_lossy().into_owned()));
        names.into_iter().find_map(value)
    };
    let proxy = first(["https_proxy", "HTTPS_PROXY"]).or_else(|| first(["all_proxy", "ALL_PROXY"]));
    let Some((name, address)) = proxy else {
        return Ok(None);
    };
    let exceptions = first(["no_proxy", "NO_PROXY"]);
    if exceptions.is_some_and(|(_, list)| is_exempt(host, &list)) {
        return Ok(None);
    }
    // The value is not repeated: it may hold a password.
    let wrong = || {
        Failure::usage(format!("{name} is no proxy's address"))
            .advice("it looks like http://host:port, https://, socks5:// or socks5h://")
    };
    parse(&address).ok_or_else(wrong).map(Some)
}

/// The address with its scheme and port, which may both be left out.
fn parse(address: &str) -> Option<Proxy> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
    let scheme = scheme.to_ascii_lowercase();
    let (scheme, port) = SCHEMES.iter().find(|(known, _)| *known == scheme)?;
    let uri: Uri = format!("{scheme}://{rest}").parse().ok()?;
    let authority = uri.authority()?;
    let (credentials, place) = match authority.as_str().rsplit_once('@') {
        Some((credentials, place)) => (format!("{credentials}@"), place),
        None => (String::new(), authority.as_str()),
    };
    let host = authority.host();
    let name = match place.strip_prefix(host)? {
        _ if host.is_empty() => return None,
        "" => format!("{host}:{port}"),
        port => format!("{host}:{}", port.strip_prefix(':')?.parse::<u16>().ok()?),
    };
    let address = ureq::Proxy::new(&format!("{scheme}://{credentials}{name}")).ok()?;
    Some(Proxy { address, name })
}

/// Whether `host` is in a list like `example.com, .example.org,10.0.0.0/8`; a name covers its
/// subdomains, and `*` alone is every host.
fn is_exempt(host: &str, list: &str) -> bool {
    let host = host
        .trim_matches(['[', ']'])
        .trim_end_matches('.')
        .to_ascii_lowercase();
    list.trim() == "*"
        || list
            .split([',', ' ', '\t'])
            .map(|entry| {
                entry
                    .trim_matches(['[', ']'])
                    .trim_end_matches('.')
                    .to_ascii_lowercase()
            })
            .filter(|entry| !entry.is_empty())
            .any(|entry| match host.parse::<IpAddr>() {
                Ok(address) => covers_address(&entry, address),
                Err(_) => covers_name(entry.trim_start_matches('.'), &host),
            })
}

fn covers_name(entry: &str, host: &str) -> bool {
    host.strip_suffix(entry)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// `entry` is an address, or a network in CIDR notation.
fn covers_address(entry: &str, address: IpAddr) -> bool {
    let (network, length) = match entry.split_once('/') {
        Some((network, length)) => (network, length.parse().ok()),
        None => (entry, Some(128)),
    };
    let (Ok(network), Some(length)) = (network.parse::<IpAddr>(), length) else {
        return false;
    };
    let (ours, theirs, width) = match (address, network) {
        (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
            (u128::from(ours.to_bits()), u128::from(theirs.to_bits()), 32)
        }
        (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits(), theirs.to_bits(), 128),
        _ => return false,
    };
    let free = u32::saturating_sub(width, length);
    (ours ^ theirs).checked_shr(free).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(host: &str, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let variable = |name: &str| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(value))
        };
        choose(host, variable)
            .map(|proxy| {
                proxy.map(|proxy| {
                    proxy
                        .address
                        .uri()
                        .to_string()
                        .trim_end_matches('/')
                        .to_owned()
                })
            })
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn variables_in_curls_order() {
        let all = [
            ("HTTP_PROXY", "http://no:1"),
            ("ALL_PROXY", "http://d:1"),
            ("all_proxy", "http://c:1"),
            ("HTTPS_PROXY", "http://b:1"),
            ("https_proxy", "http://a:1"),
        ];
        for (count, expected) in [
            (5, Some("http://a:1")),
            (4, Some("http://b:1")),
            (3, Some("http://c:1")),
            (2, Some("http://d:1")),
            (1, None),
        ] {
            assert_eq!(
                chosen("x.example", &all[..count]).unwrap().as_deref(),
                expected
            );
        }
    }

    #[test]
    fn addresses() {
        for (address, expected) in [
            ("http://p:3128", "http://p:3128"),
            ("p:3128", "http://p:3128"),
            ("p", "http://p:1080"),
            ("HTTPS://p/", "https://p:443"),
            ("socks5h://u:s%40x@p", "socks5h://u:s%40x@p:1080"),
            ("socks4://10.0.0.1:9", "socks4://10.0.0.1:9"),
            ("http://[::1]:3128", "http://[::1]:3128"),
        ] {
            assert_eq!(
                chosen("x.example", &[("ALL_PROXY", address)])
                    .unwrap()
                    .as_deref(),
                Some(expected)
            );
        }
        for address in [
            "ftp://p:1",
            "http://",
            "http://p:port",
            "http://p:",
            "://",
            "http://p:99999",
            "http://secret@",
            "http://:80",
            "a b",
        ] {
            let why = chosen("x.example", &[("HTTPS_PROXY", address)]).unwrap_err();
            assert!(
                why.starts_with("HTTPS_PROXY is no proxy's address") && !why.contains("secret"),
                "{address}: {why}"
            );
        }
        let proxy = parse("http://user:secret@p:1").unwrap();
        assert_eq!(format!("{proxy:?}"), "p:1");
    }

    #[test]
    fn exceptions() {
        for (host, list, expected) in [
            ("api.example.com", "example.com", true),
            ("example.com", "example.com", true),
            ("API.Example.COM.", "other, eXample.com", true),
            ("api.example.com", ".example.com", true),
            ("example.com", ".example.com", true),
            ("notexample.com", "example.com", false),
            ("example.com.evil", "example.com", false),
            ("example.com", "api.example.com", false),
            ("a.b", "x y,\ta.b", true),
            ("a.b", "*", true),
            ("a.b", " * ", true),
            ("a.b", "*,c", false),
            ("a.b", "", false),
            ("a.b", ",,", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "1.2.3", false),
            ("10.1.2.3", "10.0.0.0/x", false),
            ("[fe80::1]", "fe80::/10", true),
            ("[::1]", "[::1]", true),
            ("[::1]", "::2", false),
            ("::1", "0.0.0.0/0", false),
        ] {
            assert_eq!(is_exempt(host, list), expected, "{host} in {list:?}");
        }
    }
}
