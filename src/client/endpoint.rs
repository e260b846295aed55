//! Where the request goes and with which headers, from options and environment variables.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use ureq::http::{HeaderName, HeaderValue, Uri, header};

use super::proxy::{self, Proxy};
use super::token::{MAX_TOKEN_BYTES, Token};
use crate::cli::args::{self, Args};
use crate::utf8::argument;
use crate::wait::read_to_end;

const DEFAULT_BASE_URL: &str = "https://api.cloudflare.com/client/v4";
pub const USER_AGENT: &str = concat!("haiku/", env!("CARGO_PKG_VERSION"));

const ACCOUNT: &str = "CLOUDFLARE_ACCOUNT_ID";
const TOKEN: &str = "CLOUDFLARE_API_TOKEN";
const TOKEN_FILE: &str = "CLOUDFLARE_API_TOKEN_FILE";
const GATEWAY: &str = "CLOUDFLARE_GATEWAY_ID";
const BASE_URL: &str = "CLOUDFLARE_API_BASE_URL";

/// Headers that are haiku's own, or the connection's.
const RESERVED: [&str; 9] = [
    "accept",
    "accept-encoding",
    "cf-aig-cache-ttl",
    "cf-aig-gateway-id",
    "cf-aig-skip-cache",
    "connection",
    "host",
    "transfer-encoding",
    "user-agent",
];

const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "set-cookie"];
const CREDENTIAL_SUFFIXES: [&str; 4] = ["-key", "-token", "-secret", "-authorization"];

/// How newer API tokens and the global keys begin.
const TOKEN_PREFIXES: [&[u8]; 3] = [b"cfut_", b"cfat_", b"cfk_"];

/// Where the request goes, and what it carries beside the body.
#[derive(Debug)]
pub struct Endpoint {
    pub url: String,
    /// The URL's host, for messages.
    pub host: String,
    pub is_https: bool,
    pub token: Token,
    /// All but the Authorization header.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub proxy: Option<Proxy>,
}

/// What needs neither an account nor a token.
struct Address {
    base_url: BaseUrl,
    headers: Vec<(HeaderName, HeaderValue)>,
}

struct BaseUrl {
    /// Without trailing slashes.
    text: String,
    host: String,
    is_https: bool,
}

/// A variable's value; an empty one counts as absent.
type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Endpoint {
    /// Collects the settings; an option overrides its variable. The second value is a warning.
    ///
    /// # Errors
    /// A setting that is missing or breaks a rule.
    pub fn new(args: &Args, variables: Variables) -> anyhow::Result<(Endpoint, Option<String>)> {
        let Address { base_url, headers } = Address::new(args, variables)?;
        let account = account(args, variables)?;
        let account = match (account, has_token(args, variables)) {
            (Some(account), true) => account,
            (None, true) => bail!(
                "no account ID: set {ACCOUNT} or use --account-id (find it at dash.cloudflare.com under Account home)"
            ),
            (Some(_), false) => bail!(
                "no API token: set {TOKEN} or use --token-file (create one with the permission Workers AI Read at dash.cloudflare.com/profile/api-tokens)"
            ),
            (None, false) => bail!(
                "no account ID and no API token: set {ACCOUNT} and {TOKEN}, or use --account-id and --token-file"
            ),
        };
        // Plain http is for loopback alone, whatever the variables say.
        let is_https = base_url.is_https;
        let proxy = if is_https { proxy::choose(&base_url.host, variables)? } else { None };
        let (token, warning) = token(args, variables)?;
        let url = url(&base_url, &account);
        let endpoint = Endpoint { url, host: base_url.host, is_https, token, headers, proxy };
        Ok((endpoint, warning))
    }

    /// Where the connection leads, for messages.
    pub fn route(&self) -> String {
        match &self.proxy {
            Some(proxy) => format!("{} through the proxy {}", self.host, proxy.name),
            None => self.host.clone(),
        }
    }
}

/// The request's head for `--dry-run -v`, a line each: the token redacted, what is not set as `{token}`.
///
/// # Errors
/// A setting that breaks a rule.
pub fn preview(args: &Args, stream: bool, variables: Variables) -> anyhow::Result<Vec<String>> {
    let Address { base_url, headers } = Address::new(args, variables)?;
    let account = account(args, variables)?.unwrap_or("{account}".into());
    let token = if has_token(args, variables) { "[redacted]" } else { "{token}" };
    let mut lines = vec![
        format!("POST {}", url(&base_url, &account)),
        format!("authorization: Bearer {token}"),
        format!("accept-encoding: {}", accept_encoding(stream)),
    ];
    let headers = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    lines.extend(headers);
    Ok(lines)
}

/// A compressed stream would come in blocks, not as it is written.
pub fn accept_encoding(stream: bool) -> &'static str {
    if stream { "identity" } else { "gzip" }
}

impl Address {
    fn new(args: &Args, variables: Variables) -> anyhow::Result<Address> {
        let base_url = match (&args.base_url, variables(BASE_URL)) {
            (Some(url), _) => BaseUrl::parse(url).context("--base-url")?,
            (None, Some(url)) => BaseUrl::parse(&url.to_string_lossy()).context(BASE_URL)?,
            (None, None) => BaseUrl::parse(DEFAULT_BASE_URL)?,
        };
        let gateway = match (&args.gateway, variables(GATEWAY)) {
            (Some(id), _) => id.clone(),
            (None, Some(id)) => identifier(GATEWAY, &id)?,
            (None, None) => "default".into(),
        };
        Ok(Address { base_url, headers: headers(args, &gateway)? })
    }
}

fn url(base_url: &BaseUrl, account: &str) -> String {
    format!("{}/accounts/{account}/ai/v1/messages", base_url.text)
}

fn account(args: &Args, variables: Variables) -> anyhow::Result<Option<String>> {
    match (&args.account_id, variables(ACCOUNT)) {
        (Some(id), _) => account_id("--account-id", id.as_ref()).map(Some),
        (None, Some(id)) => account_id(ACCOUNT, &id).map(Some),
        (None, None) => Ok(None),
    }
}

/// An account ID becomes part of the URL, which is no place for a token.
fn account_id(name: &str, value: &OsStr) -> anyhow::Result<String> {
    let is_token = TOKEN_PREFIXES.iter().any(|prefix| value.as_bytes().starts_with(prefix));
    ensure!(!is_token, "{name} holds an API token, not an account ID");
    identifier(name, value)
}

fn identifier(name: &str, value: &OsStr) -> anyhow::Result<String> {
    args::identifier(&value.to_string_lossy()).map_err(|rule| anyhow!("{name} {rule}"))
}

/// Hides the token from every line on standard error, also if the call never comes so far as to read
/// it. A file that is not a regular one is left alone: what a pipe delivers, it delivers once.
pub fn hide_token(arguments: &[OsString], variables: Variables) {
    let by_option = arguments.iter().enumerate().filter_map(|(at, argument)| {
        match argument.as_bytes().strip_prefix(b"--token-file")? {
            [] => arguments.get(at + 1).cloned(),
            [b'=', path @ ..] => Some(OsStr::from_bytes(path).into()),
            _ => None,
        }
    });
    for path in by_option.chain(variables(TOKEN_FILE)).map(PathBuf::from) {
        if path.is_file()
            && let Ok(text) = File::open(path).and_then(|file| read_to_end(&file, MAX_TOKEN_BYTES))
        {
            let _ = Token::new(&String::from_utf8_lossy(&text), TOKEN_FILE);
        }
    }
    let _ = Token::new(&variables(TOKEN).unwrap_or_default().to_string_lossy(), TOKEN);
}

fn has_token(args: &Args, variables: Variables) -> bool {
    args.token_file.is_some() || [TOKEN, TOKEN_FILE].iter().any(|name| variables(name).is_some())
}

fn token(args: &Args, variables: Variables) -> anyhow::Result<(Token, Option<String>)> {
    if let Some(path) = &args.token_file {
        return Token::read(path, "--token-file");
    }
    match (variables(TOKEN), variables(TOKEN_FILE)) {
        (None, Some(path)) => Token::read(Path::new(&path), TOKEN_FILE),
        (text, _) => Ok((Token::new(&text.unwrap_or_default().to_string_lossy(), TOKEN)?, None)),
    }
}

impl BaseUrl {
    /// No message repeats the URL: it may hold a password.
    fn parse(text: &str) -> anyhow::Result<BaseUrl> {
        const EXPECTED: &str = "expected a URL such as https://api.cloudflare.com/client/v4";
        let uri: Uri = text.parse().map_err(|_| anyhow!(EXPECTED))?;
        let scheme = uri.scheme_str().context(EXPECTED)?;
        let authority = uri.authority().context(EXPECTED)?;
        // Wherever it stands: a password with a slash in it does not end up in the authority.
        ensure!(!text.contains('@'), "a URL with a user name or a password is not allowed");
        ensure!(
            uri.query().is_none() && !text.contains('#'),
            "the URL must not have a query or a fragment"
        );
        let host = authority.host();
        let port = authority.as_str().strip_prefix(host).unwrap_or_default();
        ensure!(port.is_empty() || authority.port_u16().is_some(), "invalid port");
        match scheme {
            "https" => {}
            "http" if is_loopback(host) => {}
            "http" => bail!(
                "plain http would send the token unencrypted; use https (http is allowed only for loopback addresses)"
            ),
            _ => bail!("the URL must begin with https://"),
        }
        Ok(BaseUrl {
            text: text.trim_end_matches('/').into(),
            host: host.into(),
            is_https: scheme == "https",
        })
    }
}

/// Whether `host`, as it stands in a URL, is this machine, whatever a name server says.
fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(v6) => v6.parse() == Ok(Ipv6Addr::LOCALHOST),
        None => {
            host.eq_ignore_ascii_case("localhost")
                || host.parse().is_ok_and(|v4: Ipv4Addr| v4.is_loopback())
        }
    }
}

fn headers(args: &Args, gateway: &str) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
    let mut headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::USER_AGENT, HeaderValue::from_static(USER_AGENT)),
        (HeaderName::from_static("cf-aig-gateway-id"), HeaderValue::from_str(gateway)?),
    ];
    if let Some(seconds) = args.cache_ttl {
        headers.push((HeaderName::from_static("cf-aig-cache-ttl"), seconds.into()));
    }
    if args.skip_cache {
        headers
            .push((HeaderName::from_static("cf-aig-skip-cache"), HeaderValue::from_static("true")));
    }
    for text in &args.header {
        headers.push(parse_header(argument(text, "--header")?)?);
    }
    Ok(headers)
}

/// Name and value of one `-H`. No message repeats the value: it may be a secret.
fn parse_header(text: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    const EXPECTED: &str = "--header expects 'NAME: VALUE'";
    let (name, value) = text.split_once(':').context(EXPECTED)?;
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| anyhow!(EXPECTED))?;
    let is_credential = CREDENTIALS.contains(&name.as_str())
        || CREDENTIAL_SUFFIXES.iter().any(|suffix| name.as_str().ends_with(suffix));
    ensure!(
        !is_credential || name == "cf-aig-cache-key",
        "--header must not carry a credential ({name}): command-line arguments are visible to every user; the token goes into {TOKEN} or --token-file"
    );
    ensure!(
        !RESERVED.contains(&name.as_str()) && !name.as_str().starts_with("content-"),
        "--header must not set {name}: haiku sets it itself"
    );
    let value = value.trim_matches([' ', '\t']);
    ensure!(
        value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)),
        "the value of --header {name} contains a line break, a control character or a non-ASCII character"
    );
    Ok((name, HeaderValue::from_str(value)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn endpoint(list: &[&str], variables: &[(&str, &str)]) -> Result<Endpoint, String> {
        let args = Args::try_parse_from([&["haiku"], list].concat()).unwrap();
        let variable = |name: &str| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(value)).filter(|value| !value.is_empty())
        };
        let endpoint = Endpoint::new(&args, &variable);
        endpoint.map(|(endpoint, _)| endpoint).map_err(|error| format!("{error:#}"))
    }

    const SET: [(&str, &str); 2] = [(ACCOUNT, "acc"), (TOKEN, "tok\n")];

    #[test]
    fn options_override_variables() {
        let plain = endpoint(&[], &SET).unwrap();
        assert_eq!(plain.url, "https://api.cloudflare.com/client/v4/accounts/acc/ai/v1/messages");
        assert_eq!(plain.token.bearer(), "Bearer tok");
        let variables = [SET[0], SET[1], (GATEWAY, "gw"), (BASE_URL, "http://localhost:1/v4//")];
        let from_variables = endpoint(&[], &variables).unwrap();
        assert_eq!(from_variables.url, "http://localhost:1/v4/accounts/acc/ai/v1/messages");
        assert_eq!(from_variables.headers[2].1, "gw");
        let options = ["--account-id", "me", "-g", "mine", "--base-url", "HTTPS://x.example:8443"];
        let from_options = endpoint(&options, &variables).unwrap();
        assert_eq!(from_options.url, "HTTPS://x.example:8443/accounts/me/ai/v1/messages");
        assert_eq!(from_options.host, "x.example");
        assert_eq!(from_options.headers[2].1, "mine");
    }

    #[test]
    fn missing_settings_are_named_in_one_line() {
        for (variables, expected) in [
            (
                &[(ACCOUNT, ""), SET[1]][..],
                "no account ID: set CLOUDFLARE_ACCOUNT_ID or use --account-id",
            ),
            (&[SET[0]], "no API token: set CLOUDFLARE_API_TOKEN or use --token-file"),
            (
                &[],
                "no account ID and no API token: set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN",
            ),
            (
                &[(ACCOUNT, "a/b"), SET[1]],
                "CLOUDFLARE_ACCOUNT_ID must be non-empty and contain only letters, digits, - and _",
            ),
        ] {
            let error = endpoint(&[], variables).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_token_is_visible_ascii_and_never_shown() {
        for token in ["se cret", "se\ncret", "sécret", "secret\t"] {
            let error = endpoint(&[], &[SET[0], (TOKEN, token)]).unwrap_err();
            assert!(error.contains(TOKEN) && !error.contains("cret:"), "{error}");
        }
        let endpoint = endpoint(&[], &SET).unwrap();
        assert!(!format!("{endpoint:?}").contains("tok\""));
    }

    #[test]
    fn proxies_are_chosen_by_the_parsed_scheme() {
        let variables = [SET[0], SET[1], ("HTTPS_PROXY", "http://p:1")];
        let proxy = |url: &str| endpoint(&["--base-url", url], &variables).unwrap().proxy.is_some();
        assert!(proxy("https://x.example") && proxy("HTTPS://x.example"));
        assert!(!proxy("http://127.0.0.1:1") && !proxy("HTTP://localhost:1"));
    }

    #[test]
    fn headers_that_carry_credentials_or_are_reserved_are_rejected() {
        for name in [
            "Authorization",
            "Cookie",
            "Set-Cookie",
            "Proxy-Authorization",
            "X-Auth-Key",
            "api-key",
            "x-api-key",
            "CF-Access-Client-Secret",
            "CF-Access-Token",
            "cf-aig-authorization",
            "Host",
            "Content-Length",
            "Transfer-Encoding",
            "User-Agent",
            "cf-aig-gateway-id",
        ] {
            let error = parse_header(&format!("{name}: secret")).unwrap_err().to_string();
            assert!(
                error.contains(&name.to_ascii_lowercase()) && !error.contains(" secret"),
                "{error}"
            );
        }
        for header in ["cf-aig-cache-key: a b", "X-A:b", "X-Keyboard: c", "X-Empty:"] {
            assert!(parse_header(header).is_ok(), "{header}");
        }
        for header in ["no colon", ": x", "a b: c", "X-A: a\r\nX-B: b", "X-A: é"] {
            assert!(parse_header(header).is_err(), "{header}");
        }
    }
}
