//! Which proxy a connection uses: the variables that curl reads, read as curl reads them.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use anyhow::anyhow;
use ipnet::IpNet;
use ureq::http::Uri;

/// The schemes that curl knows.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

pub struct Proxy {
    /// The whole address. It may hold a password, and is never shown.
    pub address: ureq::Proxy,
    /// Host and port, for messages.
    pub name: String,
}

impl Proxy {
    pub fn has_credentials(&self) -> bool {
        self.address.username().is_some() || self.address.password().is_some()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The proxy that the variables name for a connection to `host` over https, if any.
///
/// # Errors
/// A variable that is not a proxy URL.
pub fn choose(
    host: &str,
    variables: &dyn Fn(&str) -> Option<OsString>,
) -> anyhow::Result<Option<Proxy>> {
    let first = |names: [&'static str; 2]| {
        let value = |name| Some((name, variables(name)?.to_string_lossy().into_owned()));
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
    let invalid = || {
        anyhow!(
            "invalid proxy URL in {name}; expected http://host:port, https://, socks5:// or socks5h://"
        )
    };
    parse(&address).ok_or_else(invalid).map(Some)
}

/// Parses an address whose scheme and port may be missing.
fn parse(address: &str) -> Option<Proxy> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
    let scheme = SCHEMES.iter().find(|known| known.eq_ignore_ascii_case(scheme))?;
    let port = if *scheme == "https" { 443 } else { 1080 };
    // With a slash in the password, a part of it would pass for host and port.
    if rest.split_once(['/', '?', '#']).is_some_and(|(_, after)| after.contains('@')) {
        return None;
    }
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

/// Whether `host` is in a list such as `example.com, .example.org,10.0.0.0/8`. A name covers its
/// subdomains; `*` alone covers every host.
fn is_exempt(host: &str, list: &str) -> bool {
    let is_separator = |c: char| c == ',' || c.is_ascii_whitespace();
    let mut entries = list.split(is_separator).filter(|entry| !entry.is_empty());
    match host.trim_matches(['[', ']']).parse() {
        _ if list == "*" => true,
        Ok(address) => entries.any(|entry| covers_address(entry, address)),
        Err(_) => entries.any(|entry| covers_name(entry, host)),
    }
}

fn covers_name(entry: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let entry = entry.strip_suffix('.').unwrap_or(entry);
    let entry = entry.strip_prefix('.').unwrap_or(entry).to_ascii_lowercase();
    host.strip_suffix(&entry).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// `entry` is an address, or a network in CIDR notation. curl takes `/0` for a single address.
fn covers_address(entry: &str, address: IpAddr) -> bool {
    let single = entry.strip_suffix("/0").unwrap_or(entry);
    match single.parse::<IpAddr>() {
        Ok(single) => single == address,
        Err(_) => entry.parse().is_ok_and(|network: IpNet| network.contains(&address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(host: &str, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let variable = |name: &str| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(value))
        };
        choose(host, &variable)
            .map(|proxy| {
                proxy.map(|proxy| proxy.address.uri().to_string().trim_end_matches('/').to_owned())
            })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn variables_are_tried_in_curls_order() {
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
            assert_eq!(chosen("x.example", &all[..count]).unwrap().as_deref(), expected);
        }
    }

    #[test]
    fn addresses_may_lack_scheme_and_port() {
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
                chosen("x.example", &[("ALL_PROXY", address)]).unwrap().as_deref(),
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
            "http://user:12/secret@p:1",
            "http://user:12?secret@p:1",
            "http://:80",
            "a b",
        ] {
            let why = chosen("x.example", &[("HTTPS_PROXY", address)]).unwrap_err();
            assert!(
                why.starts_with("invalid proxy URL in HTTPS_PROXY") && !why.contains("secret"),
                "{address}: {why}"
            );
        }
        let proxy = parse("http://user:secret@p:1").unwrap();
        assert_eq!(format!("{proxy:?}"), "p:1");
    }

    #[test]
    fn no_proxy_is_read_as_curl_reads_it() {
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
            ("a.b", "* ", false),
            ("a.b", "*.b", false),
            ("api.example", "..example", false),
            ("api.example", "example..", false),
            ("a.b", "*,c", false),
            ("a.b", "", false),
            ("a.b", ",,", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("10.1.2.3", "0.0.0.0/0", false),
            ("10.1.2.3", "10.1.2.3/0", true),
            ("10.1.2.3", "10.1.2.3.", false),
            ("10.1.2.3", "10.0.0.0/33", false),
            ("10.1.2.3", "10.1.2.2/31", true),
            ("10.1.2.3", "1.2.3", false),
            ("10.1.2.3", "10.0.0.0/x", false),
            ("[fe80::1]", "fe80::/10", true),
            ("[::1]", "[::1]", false),
            ("[::1]", "0::1", true),
            ("[::1]", "::/0", false),
            ("[2001:db8::1]", "2001:db8::/32", true),
            ("[::1]", "::2", false),
            ("::1", "0.0.0.0/0", false),
        ] {
            assert_eq!(is_exempt(host, list), expected, "{host} in {list:?}");
        }
    }
}
