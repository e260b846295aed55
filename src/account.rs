//! Options and variables to where the request goes and what it carries: URL, token, headers.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ureq::http::Uri;

use crate::args::{self, Args};
use crate::error::Failure;
use crate::input;
use crate::proxy::{self, Proxy};

const DEFAULT_BASE_URL: &str = "https://api.cloudflare.com/client/v4";

/// Far more than any token has, in bytes; a wrong file is not read to its end.
const TOKEN_LIMIT: u64 = 64 * 1024;

/// Headers that are this program's own, or the connection's.
const OURS: [&str; 8] = [
    "accept",
    "accept-encoding",
    "cf-aig-cache-ttl",
    "cf-aig-gateway-id",
    "cf-aig-skip-cache",
    "host",
    "transfer-encoding",
    "user-agent",
];

/// Headers that carry a credential: every user of the machine can see arguments.
const CREDENTIALS: [&str; 5] = [
    "authorization",
    "cf-aig-authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
];

/// The API token. Debug does not show it, and there is no Display.
pub struct Token(String);

impl Token {
    fn new(text: &str, source: &str) -> Result<Token, Failure> {
        let token = text.trim_matches(['\r', '\n']);
        if token.is_empty() {
            return Err(Failure::usage(format!("{source} holds no token")));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::usage(format!(
                "the token in {source} has a character that no token has: \
                 a blank, a line end in its middle, or one that is not ASCII"
            )));
        }
        Ok(Token(token.into()))
    }

    /// What the Authorization header says. The only place that the token leaves this type.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// `text` without the token, should a server send it back.
    pub fn blot(&self, text: &str) -> String {
        text.replace(&self.0, "[token]")
    }

    /// The failure without the token in the server's words.
    pub fn blot_failure(&self, failure: Failure) -> Failure {
        failure.map_said(|said| self.blot(said))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[token]")
    }
}

/// Where the request goes and with which headers.
#[derive(Debug)]
pub struct Account {
    /// The whole URL.
    pub url: String,
    /// The URL's host, to name in messages.
    pub host: String,
    /// The credential, and what a message calls its source.
    pub token: Token,
    /// The variable or option that the token came from.
    pub token_source: String,
    /// Every other header that is ours or the user's.
    pub headers: Vec<(String, String)>,
    /// What the connection goes through.
    pub proxy: Option<Proxy>,
    /// What the user should know of the token's file.
    pub warning: Option<String>,
}

impl Account {
    /// Where the connection leads, as a message names it.
    pub fn route(&self) -> String {
        match &self.proxy {
            Some(proxy) => format!("{} through the proxy {}", self.host, proxy.name),
            None => self.host.clone(),
        }
    }

    /// Puts together what options and variables say; an option beats its variable, and an empty
    /// variable counts as absent.
    ///
    /// # Errors
    /// Exit status 2 for what is missing or breaks a rule, naming what to set.
    pub fn new(
        args: &Args,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Account, Failure> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let checked = |name: &'static str| {
            let value = variable(name)?;
            let value = args::identifier(&value.to_string_lossy());
            Some(value.map_err(|rule| Failure::usage(format!("{name}: {rule}"))))
        };
        let base = match &args.base_url {
            Some(url) => (url.clone(), "--base-url"),
            None => match variable("CLOUDFLARE_API_BASE_URL") {
                Some(url) => (url.to_string_lossy().into(), "CLOUDFLARE_API_BASE_URL"),
                None => (DEFAULT_BASE_URL.into(), "the default URL"),
            },
        };
        let (base, host) = parse_base_url(&base.0, base.1)?;
        let gateway = match &args.gateway {
            Some(id) => id.clone(),
            None => checked("CLOUDFLARE_GATEWAY_ID").unwrap_or(Ok("default".into()))?,
        };
        let headers = headers(args, gateway)?;
        let account =
            match &args.account_id {
                Some(id) => id.clone(),
                None => checked("CLOUDFLARE_ACCOUNT_ID").unwrap_or_else(|| {
                    Err(Failure::usage(
                        "no account: set CLOUDFLARE_ACCOUNT_ID or give --account-id",
                    )
                    .advice("the dashboard shows it at dash.cloudflare.com, under Account home"))
                })?,
            };
        // Plain http is for this machine alone, whatever the variables say.
        let proxy = match base.starts_with("https:") {
            true => proxy::choose(&host, variable)?,
            false => None,
        };
        let Credential {
            token,
            source: token_source,
            warning,
        } = credential(args, variable)?;
        Ok(Account {
            url: format!("{base}/accounts/{account}/ai/v1/messages"),
            host,
            token,
            token_source,
            headers,
            proxy,
            warning,
        })
    }
}

/// Checks what the options alone say, for a call that needs no account.
///
/// # Errors
/// Exit status 2 for what breaks a rule.
pub fn check_options(args: &Args) -> Result<(), Failure> {
    if let Some(url) = &args.base_url {
        parse_base_url(url, "--base-url")?;
    }
    headers(args, String::new()).map(drop)
}

/// The token, where it came from, and what should be said of that.
struct Credential {
    token: Token,
    source: String,
    warning: Option<String>,
}

fn credential(
    args: &Args,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Credential, Failure> {
    const VARIABLE: &str = "CLOUDFLARE_API_TOKEN";
    const FILE_VARIABLE: &str = "CLOUDFLARE_API_TOKEN_FILE";
    if let Some(path) = &args.token_file {
        credential_in(path, "--token-file")
    } else if let Some(text) = variable(VARIABLE) {
        Ok(Credential {
            token: Token::new(&text.to_string_lossy(), VARIABLE)?,
            source: VARIABLE.into(),
            warning: None,
        })
    } else if let Some(path) = variable(FILE_VARIABLE) {
        credential_in(Path::new(&path), FILE_VARIABLE)
    } else {
        Err(Failure::usage(format!("no token: set {VARIABLE} or give --token-file"))
            .advice("make one with the permission Workers AI Read at dash.cloudflare.com/profile/api-tokens"))
    }
}

fn credential_in(path: &Path, option: &str) -> Result<Credential, Failure> {
    let source = format!("{option} {}", path.display());
    let mut bytes = Vec::new();
    let read = |bytes| {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        file.take(TOKEN_LIMIT).read_to_end(bytes)?;
        Ok(metadata)
    };
    let metadata: fs::Metadata = read(&mut bytes).map_err(|error: io::Error| {
        Failure::usage(format!("cannot read {source}: {}", input::plain(&error)))
    })?;
    let token = Token::new(&String::from_utf8_lossy(&bytes), &source)?;
    let mode = metadata.permissions().mode() & 0o7777;
    let exposed = metadata.is_file() && mode & 0o044 != 0;
    let warning = exposed.then(|| {
        let path = path.display();
        format!("warning: others can read {source} (mode {mode:04o}); chmod 600 {path} ends that")
    });
    Ok(Credential {
        token,
        source,
        warning,
    })
}

/// The URL without final slashes, and its host.
fn parse_base_url(text: &str, source: &str) -> Result<(String, String), Failure> {
    // The URL itself is not repeated: it may hold a password.
    let wrong = |what: &str| Failure::usage(format!("{source}: {what}"));
    let uri: Uri = text
        .parse()
        .map_err(|_| wrong("not a URL like https://api.cloudflare.com/client/v4"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong("not a URL like https://api.cloudflare.com/client/v4"));
    };
    // Wherever it stands: a password with a slash in it does not end up in the authority.
    if text.contains('@') {
        return Err(wrong("a URL with a user name or a password is not taken"));
    }
    if uri.query().is_some() || text.contains('#') {
        return Err(wrong("the URL must end with its path: no ? and no #"));
    }
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host).unwrap_or_default();
    if !port.is_empty() && authority.port_u16().is_none() {
        return Err(wrong("what follows the host's colon is no port"));
    }
    match scheme {
        "https" => {}
        "http" if is_loopback(host) => {}
        "http" => {
            return Err(wrong("plain http would show the token to the network")
                .advice("use https, or a loopback address"));
        }
        _ => return Err(wrong("the URL must begin with https://")),
    }
    Ok((text.trim_end_matches('/').into(), host.into()))
}

/// Whether `host`, as it stands in a URL, is this machine, whatever a name server says.
fn is_loopback(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(v6) => v6.parse() == Ok(Ipv6Addr::LOCALHOST),
        None => {
            host.eq_ignore_ascii_case("localhost")
                || host.parse().is_ok_and(|v4: Ipv4Addr| v4.is_loopback())
        }
    }
}

fn headers(args: &Args, gateway: String) -> Result<Vec<(String, String)>, Failure> {
    let mut headers = vec![("cf-aig-gateway-id".to_owned(), gateway)];
    if let Some(seconds) = args.cache_ttl {
        headers.push(("cf-aig-cache-ttl".into(), seconds.to_string()));
    }
    if args.skip_cache {
        headers.push(("cf-aig-skip-cache".into(), "true".into()));
    }
    for (i, header) in args.header.iter().enumerate() {
        let name = format!("header {} of --header", i + 1);
        headers.push(parse_header(input::utf8_argument(header, &name)?, &name)?);
    }
    Ok(headers)
}

/// Name and value of one `-H`. No message repeats the value: it may be a secret.
fn parse_header(text: &str, which: &str) -> Result<(String, String), Failure> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let (name, value) = text
        .split_once(':')
        .filter(|(name, _)| !name.is_empty() && name.chars().all(is_token))
        .ok_or_else(|| Failure::usage(format!("{which} is not 'NAME: VALUE'")))?;
    let lower = name.to_ascii_lowercase();
    if CREDENTIALS.contains(&lower.as_str()) {
        return Err(Failure::usage(format!(
            "--header may not carry a credential ({name}): every user of this machine can see arguments"
        ))
        .advice("the token goes into CLOUDFLARE_API_TOKEN or --token-file"));
    }
    if OURS.contains(&lower.as_str()) || lower.starts_with("content-") {
        return Err(Failure::usage(format!(
            "--header may not set {name}, which haiku sets itself"
        )));
    }
    let value = value.trim_matches([' ', '\t']);
    if !value
        .bytes()
        .all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
    {
        return Err(Failure::usage(format!(
            "the value of --header {name} has a line end, a control character, or one that is not ASCII"
        )));
    }
    Ok((name.into(), value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn account(list: &[&str], variables: &[(&str, &str)]) -> Result<Account, String> {
        let args = Args::try_parse_from([&["haiku"], list].concat()).unwrap();
        let variable = |name: &str| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(value))
        };
        Account::new(&args, variable).map_err(|failure| failure.to_string())
    }

    const SET: [(&str, &str); 2] = [
        ("CLOUDFLARE_ACCOUNT_ID", "acc"),
        ("CLOUDFLARE_API_TOKEN", "tok\n"),
    ];

    #[test]
    fn options_beat_variables() {
        let plain = account(&[], &SET).unwrap();
        assert_eq!(
            plain.url,
            "https://api.cloudflare.com/client/v4/accounts/acc/ai/v1/messages"
        );
        assert_eq!(plain.token.bearer(), "Bearer tok");
        assert_eq!(
            plain.headers,
            [("cf-aig-gateway-id".into(), "default".into())]
        );
        let variables = [
            SET[0],
            SET[1],
            ("CLOUDFLARE_GATEWAY_ID", "gw"),
            ("CLOUDFLARE_API_BASE_URL", "http://localhost:1/v4//"),
        ];
        let from_variables = account(&[], &variables).unwrap();
        assert_eq!(
            from_variables.url,
            "http://localhost:1/v4/accounts/acc/ai/v1/messages"
        );
        assert_eq!(from_variables.headers[0].1, "gw");
        let options = [
            "--account-id",
            "me",
            "-g",
            "mine",
            "--base-url",
            "https://x.example:8443",
        ];
        let from_options = account(&options, &variables).unwrap();
        assert_eq!(
            from_options.url,
            "https://x.example:8443/accounts/me/ai/v1/messages"
        );
        assert_eq!(from_options.host, "x.example");
        assert_eq!(from_options.headers[0].1, "mine");
    }

    #[test]
    fn what_is_missing_is_named() {
        let why = account(&[], &[("CLOUDFLARE_ACCOUNT_ID", ""), SET[1]]).unwrap_err();
        assert!(
            why.contains("CLOUDFLARE_ACCOUNT_ID or give --account-id"),
            "{why}"
        );
        let why = account(&[], &[SET[0]]).unwrap_err();
        assert!(
            why.contains("CLOUDFLARE_API_TOKEN or give --token-file"),
            "{why}"
        );
        let why = account(&[], &[("CLOUDFLARE_ACCOUNT_ID", "a/b"), SET[1]]).unwrap_err();
        assert!(
            why.starts_with("CLOUDFLARE_ACCOUNT_ID: only letters"),
            "{why}"
        );
    }

    #[test]
    fn a_token_is_visible_ascii_and_never_shown() {
        for token in ["se cret", "se\ncret", "sécret", "secret\t", "\n"] {
            let why = account(&[], &[SET[0], ("CLOUDFLARE_API_TOKEN", token)]).unwrap_err();
            assert!(
                why.contains("CLOUDFLARE_API_TOKEN") && !why.contains("cret"),
                "{why}"
            );
        }
        let account = account(&[], &SET).unwrap();
        assert!(!format!("{account:?}").contains("tok\""));
        assert_eq!(account.token.blot("a tok b tok"), "a [token] b [token]");
    }

    #[test]
    fn plain_http_goes_to_this_machine_only() {
        for url in [
            "http://127.0.0.1:8080",
            "http://127.9.9.9/",
            "http://localhost",
            "http://LOCALHOST:1",
            "http://[::1]:1",
            "https://example.com/v4",
        ] {
            assert!(account(&["--base-url", url], &SET).is_ok(), "{url}");
        }
        for url in [
            "http://example.com",
            "http://127.0.0.1.evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1@evil.example",
            "https://user:secret@example.com",
            "https://user:secret/@example.com",
            "https://example.com:secret",
            "https://example.com:",
            "http://128.0.0.1",
            "http://[::2]",
            "ftp://localhost",
            "localhost:8080",
            "/v4",
            "",
            "https://",
            "https://example.com/?x",
            "https://example.com/#x",
            "https://exa mple.com",
        ] {
            let why = account(&["--base-url", url], &SET).unwrap_err();
            assert!(
                why.starts_with("--base-url: ") && !why.contains("secret"),
                "{url}: {why}"
            );
        }
    }

    #[test]
    fn headers_that_are_not_the_users_are_refused() {
        for header in [
            "User-Agent: x",
            "host: x",
            "Content-Type: x",
            "content-encoding: x",
            "Transfer-Encoding: x",
            "CF-AIG-Gateway-ID: x",
            "Accept: x",
        ] {
            let why = account(&["-H", header], &SET).unwrap_err();
            assert!(why.contains("haiku sets itself"), "{header}: {why}");
        }
        for header in [
            "Authorization: secret",
            "x-API-key: secret",
            "cf-aig-authorization: secret",
        ] {
            let why = account(&["-H", header], &SET).unwrap_err();
            assert!(
                why.contains("credential") && !why.contains("secret"),
                "{header}: {why}"
            );
        }
        for header in [
            "secret",
            ": secret",
            "a b: secret",
            "x-a: sec\r\nret: secret",
            "x: é secret",
        ] {
            let why = account(&["-H", header], &SET).unwrap_err();
            assert!(!why.contains("secret"), "{header:?}: {why}");
        }
        let account = account(
            &[
                "-H",
                "X-A:  b c ",
                "-H",
                "X-A:",
                "--skip-cache",
                "--cache-ttl",
                "60",
            ],
            &SET,
        )
        .unwrap();
        let headers: Vec<_> = account
            .headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            headers[1..],
            [
                ("cf-aig-cache-ttl", "60"),
                ("cf-aig-skip-cache", "true"),
                ("X-A", "b c"),
                ("X-A", "")
            ]
        );
    }
}
