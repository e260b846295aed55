//! Decides whether a server's certificate is trusted: the CA certificates, and the checks that webpki leaves out.

use std::collections::HashSet;
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use webpki::{EndEntityCert, anchor_from_trusted_cert};
use x509_cert::certificate::{Certificate, Version};
use x509_cert::der::Decode;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_SERVER_AUTH};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use super::bounded_file::BoundedFile;
use crate::output::stderr::reason;

const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// The CA certificates of this process, read when the first TLS connection needs them.
static STORE: OnceLock<Store> = OnceLock::new();

/// Reads the CA certificates, unless that has been done.
///
/// # Errors
/// The file that SSL_CERT_FILE names cannot be read before `deadline`.
pub fn load(deadline: Instant) -> Result<&'static Store, rustls::Error> {
    if let Some(store) = STORE.get() {
        return Ok(store);
    }
    let sources = Sources::from_environment().unwrap_or_else(Sources::of_the_system);
    let store = Store::read(&sources, deadline)?;
    Ok(STORE.get_or_init(|| store))
}

/// The verifier for one connection: the platform's own, except on Linux or if the environment
/// names certificates.
///
/// # Errors
/// The platform's verifier cannot be set up.
pub fn verifier(
    provider: &Arc<CryptoProvider>,
    deadline: Instant,
) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    #[cfg(not(target_os = "linux"))]
    if Sources::from_environment().is_none() {
        let verifier = rustls_platform_verifier::Verifier::new(provider.clone())?;
        return Ok(Arc::new(verifier));
    }
    Ok(Arc::new(StoreVerifier { algorithms: provider.signature_verification_algorithms, deadline }))
}

/// Says in plain words why the certificate of `host` is not trusted, and what helps.
pub fn describe(error: &CertificateError, host: &str) -> String {
    let words = match error {
        CertificateError::UnknownIssuer => {
            "unknown issuer; for a private CA, set SSL_CERT_FILE to its certificate"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet"
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "it has no subjectAltName with a host name"
        }
        CertificateError::NotValidForNameContext { expected, .. } => {
            return format!("it is not valid for {}", expected.to_str());
        }
        CertificateError::NotValidForName => return format!("it is not valid for {host}"),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not a server certificate"
        }
        CertificateError::Revoked => "it has been revoked",
        CertificateError::BadEncoding => "it is malformed",
        CertificateError::UnhandledCriticalExtension => {
            "it has a critical extension that is not supported"
        }
        CertificateError::BadSignature => "a signature does not match",
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its signature algorithm is not supported"
        }
        CertificateError::Other(OtherError(other)) => {
            if let Some(error) = other.downcast_ref::<TrustError>() {
                return error.to_string();
            }
            other.downcast_ref::<webpki::Error>().map_or("it cannot be verified", describe_webpki)
        }
        _ => "it cannot be verified",
    };
    words.into()
}

/// The errors that rustls has no variant for.
fn describe_webpki(error: &webpki::Error) -> &'static str {
    use webpki::Error;
    match error {
        Error::CaUsedAsEndEntity => "it is a CA certificate, not a server certificate",
        Error::EndEntityUsedAsCa => "an issuer in its chain is not a CA",
        Error::EmptyEkuExtension => "it is not a server certificate",
        Error::NameConstraintViolation => "its issuer may not issue certificates for this name",
        Error::PathLenConstraintViolated => "its chain is longer than an issuer allows",
        Error::UnsupportedCertVersion => "it is not an X.509 version 3 certificate",
        Error::UnsupportedCriticalExtension => "it has a critical extension that is not supported",
        Error::MaximumNameConstraintComparisonsExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded => "its chain is too complex",
        Error::ExtensionValueInvalid
        | Error::MalformedDnsIdentifier
        | Error::MalformedExtensions
        | Error::MalformedNameConstraint
        | Error::SignatureAlgorithmMismatch => "it is malformed",
        _ => "it cannot be verified",
    }
}

/// What keeps a certificate from being trusted that rustls knows nothing of.
#[derive(Debug)]
enum TrustError {
    Unreadable(PathBuf, io::Error),
    /// Nothing was found in the place that is named.
    NoCertificates(String),
    /// The store has the issuer, but it may not issue.
    UnsuitableIssuer(CertificateError),
    NotCa,
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustError::Unreadable(path, error) if error.kind() == io::ErrorKind::TimedOut => {
                write!(
                    f,
                    "cannot read SSL_CERT_FILE {}: no data within the time limit",
                    path.display()
                )
            }
            TrustError::Unreadable(path, error) => {
                write!(f, "cannot read SSL_CERT_FILE {}: {}", path.display(), reason(error))
            }
            TrustError::NoCertificates(place) => write!(
                f,
                "no CA certificates found in {place}; install ca-certificates or set SSL_CERT_FILE"
            ),
            TrustError::UnsuitableIssuer(error) => {
                write!(f, "its issuer cannot be used: {}", describe(error, ""))
            }
            TrustError::NotCa => f.write_str("it is not a CA certificate"),
        }
    }
}

impl std::error::Error for TrustError {}

impl From<TrustError> for CertificateError {
    fn from(error: TrustError) -> Self {
        CertificateError::Other(OtherError(Arc::new(error)))
    }
}

impl From<TrustError> for rustls::Error {
    fn from(error: TrustError) -> Self {
        CertificateError::from(error).into()
    }
}

/// Where CA certificates are looked for.
#[derive(Debug, Default)]
struct Sources {
    file: Option<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Sources {
    /// What SSL_CERT_FILE and SSL_CERT_DIR name, if either does.
    fn from_environment() -> Option<Sources> {
        let value = |name| env::var_os(name).filter(|value| !value.is_empty());
        let file = value("SSL_CERT_FILE").map(PathBuf::from);
        let folders: Vec<PathBuf> =
            value("SSL_CERT_DIR").map(|list| env::split_paths(&list).collect()).unwrap_or_default();
        (file.is_some() || !folders.is_empty()).then_some(Sources { file, folders })
    }

    /// The system's bundle, or a folder only if there is none: it holds the same certificates in
    /// a file for each.
    #[cfg(target_os = "linux")]
    fn of_the_system() -> Sources {
        let found = openssl_probe::probe();
        let folder = found.cert_dir.into_iter().next();
        Sources {
            folders: folder.filter(|_| found.cert_file.is_none()).into_iter().collect(),
            file: found.cert_file,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn of_the_system() -> Sources {
        Sources::default()
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for path in self.file.iter().chain(&self.folders) {
            write!(f, "{separator}{}", path.display())?;
            separator = " or ";
        }
        if separator.is_empty() {
            f.write_str("the usual places")?;
        }
        Ok(())
    }
}

/// The certificates that were found, not yet checked.
#[derive(Debug)]
pub struct Store {
    certificates: Vec<CertificateDer<'static>>,
    /// Where they were looked for.
    place: String,
}

impl Store {
    fn read(sources: &Sources, deadline: Instant) -> Result<Store, TrustError> {
        let mut certificates = Vec::new();
        if let Some(path) = &sources.file {
            read_certificates(path, deadline, &mut certificates)
                .map_err(|error| TrustError::Unreadable(path.clone(), error))?;
        }
        for path in certificate_files(&sources.folders) {
            // A folder may hold what only others can read; its other files still count.
            let _ = read_certificates(&path, deadline, &mut certificates);
        }
        Ok(Store { certificates, place: sources.to_string() })
    }

    /// The trust anchors for a chain: the certificates that may have issued a certificate of it.
    /// Also why others that have the right name are not among them.
    fn anchors<'c>(
        &self,
        chain: impl IntoIterator<Item = &'c CertificateDer<'c>>,
        now: UnixTime,
    ) -> (RootCertStore, Option<CertificateError>) {
        let chain: Vec<EndEntityCert<'_>> = chain
            .into_iter()
            .filter_map(|certificate| EndEntityCert::try_from(certificate).ok())
            .collect();
        let mut anchors = RootCertStore::empty();
        let mut rejection = None;
        for certificate in &self.certificates {
            let Ok(anchor) = anchor_from_trusted_cert(certificate) else {
                continue;
            };
            if !chain.iter().any(|issued| issued.issuer() == &*anchor.subject) {
                continue;
            }
            match check_issuer(certificate, now) {
                Ok(()) => anchors.roots.push(anchor.to_owned()),
                Err(error) => rejection = Some(error),
            }
        }
        (anchors, rejection)
    }
}

fn read_certificates(
    path: &Path,
    deadline: Instant,
    certificates: &mut Vec<CertificateDer<'static>>,
) -> io::Result<()> {
    let file = BoundedFile::open(path, MAX_FILE_BYTES, deadline)?;
    for certificate in CertificateDer::pem_reader_iter(file) {
        match certificate {
            Ok(certificate) => certificates.push(certificate),
            Err(pem::Error::Io(error)) => return Err(error),
            // The others in the file still count.
            Err(_) => {}
        }
    }
    Ok(())
}

/// The regular files in `folders` with a name that OpenSSL reads, each once: a folder usually
/// holds a file under its name and under its hash.
fn certificate_files(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.filter_map(Result::ok))
        .filter(|entry| is_certificate_name(&entry.file_name()))
        .map(|entry| entry.path())
        .filter(|path| {
            fs::metadata(path)
                .is_ok_and(|file| file.is_file() && seen.insert((file.dev(), file.ino())))
        })
        .collect()
}

/// `*.pem`, `*.crt`, or the hash of a subject and a number, as in `0123abcd.0`.
fn is_certificate_name(name: &OsStr) -> bool {
    let path = Path::new(name);
    let (Some(stem), Some(extension)) =
        (path.file_stem().and_then(OsStr::to_str), path.extension().and_then(OsStr::to_str))
    else {
        return false;
    };
    let is_hash = stem.len() == 8 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_number = !extension.is_empty() && extension.bytes().all(|byte| byte.is_ascii_digit());
    matches!(extension, "pem" | "crt") || is_hash && is_number
}

/// Trusts what the store vouches for.
#[derive(Debug)]
struct StoreVerifier {
    algorithms: WebPkiSupportedAlgorithms,
    deadline: Instant,
}

impl ServerCertVerifier for StoreVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let store = load(self.deadline)?;
        if store.certificates.is_empty() {
            return Err(TrustError::NoCertificates(store.place.clone()).into());
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        // Like curl, accept a server's own certificate, from any issuer, CA or not.
        if store.certificates.contains(end_entity) {
            let certificate = parse(end_entity)?;
            check_validity(&certificate, now)?;
            check_purpose(&certificate)?;
        } else {
            let chain = intermediates.iter().chain([end_entity]);
            let (anchors, rejection) = store.anchors(chain, now);
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &anchors,
                intermediates,
                now,
                self.algorithms.all,
            )
            .map_err(|error| match (error, rejection) {
                (
                    rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
                    Some(rejection),
                ) => TrustError::UnsuitableIssuer(rejection).into(),
                (error, _) => error,
            })?;
        }
        verify_server_name(&parsed, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, CertificateError> {
    Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)
}

/// Whether a certificate of the store may vouch for others. webpki takes any for a trust anchor.
fn check_issuer(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let certificate = parse(certificate)?;
    check_validity(&certificate, now)?;
    check_purpose(&certificate)?;
    let constraints: Option<BasicConstraints> = extension(&certificate)?;
    let usage: Option<KeyUsage> = extension(&certificate)?;
    let may_sign = usage.is_none_or(|usage| usage.key_cert_sign());
    let is_ca = match constraints {
        Some(constraints) => constraints.ca && may_sign,
        None if is_old_root(&certificate) => true,
        None => usage.is_some() && may_sign,
    };
    if is_ca { Ok(()) } else { Err(TrustError::NotCa.into()) }
}

/// Whether a certificate is from before version 3, which brought the extensions, and self-issued.
fn is_old_root(certificate: &Certificate) -> bool {
    let certificate = certificate.tbs_certificate();
    certificate.version() == Version::V1 && certificate.issuer() == certificate.subject()
}

fn check_validity(certificate: &Certificate, now: UnixTime) -> Result<(), CertificateError> {
    let validity = certificate.tbs_certificate().validity();
    let now = Duration::from_secs(now.as_secs());
    if now < validity.not_before.to_unix_duration() {
        return Err(CertificateError::NotValidYet);
    }
    if now > validity.not_after.to_unix_duration() {
        return Err(CertificateError::Expired);
    }
    Ok(())
}

fn check_purpose(certificate: &Certificate) -> Result<(), CertificateError> {
    let purposes: Option<ExtendedKeyUsage> = extension(certificate)?;
    let is_for_servers = purposes.is_none_or(|purposes| {
        [ID_KP_SERVER_AUTH, ANY_EXTENDED_KEY_USAGE]
            .iter()
            .any(|purpose| purposes.0.contains(purpose))
    });
    if is_for_servers { Ok(()) } else { Err(CertificateError::InvalidPurpose) }
}

fn extension<'c, T: Decode<'c> + AssociatedOid>(
    certificate: &'c Certificate,
) -> Result<Option<T>, CertificateError> {
    match certificate.tbs_certificate().get_extension() {
        Ok(found) => Ok(found.map(|(_critical, value)| value)),
        Err(_) => Err(CertificateError::BadEncoding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Self-signed, version 1, valid until 2126.
    const OLD_ROOT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBGjCBwQIUPWovsl5wbM4gg4agyG0Szuun0WswCgYIKoZIzj0EAwIwDzENMAsG
A1UEAwwEcm9vdDAgFw0yNjExMjUxNDQ1NTJaGA8yMTI2MTEwMTE0NDU1MlowDzEN
MAsGA1UEAwwEcm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABHunz43BlRWx
eD2PBAIlFD0Vm3wTglESGEhVEXC8a87UDOKeHWDahBdNcVA1oNw43yVK2MSjy20L
WRNOHlmc4S8wCgYIKoZIzj0EAwIDSAAwRQIhALj6jUifNTcFRD0UNWxBTgj4h8g7
u4J/y1y1DuCMvAqWAiAk6/fkN9ASSySRfIXbt/xPlNyY/v5zBiVW0zVjOAR48g==
-----END CERTIFICATE-----
";

    /// Version 1, issued by OLD_ROOT.
    const OLD_LEAF: &str = "\
-----BEGIN CERTIFICATE-----
MIIBGzCBwQIUEXbwK+qLWzzeVJzuoBPGBzGyD9IwCgYIKoZIzj0EAwIwDzENMAsG
A1UEAwwEcm9vdDAgFw0yNjExMjUxNDQ1NTJaGA8yMTI2MTEwMTE0NDU1MlowDzEN
MAsGA1UEAwwEbGVhZjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDpKcViAyKkr
aC7f9hu+rHqfKdXAZKMQBh8T3TYZq7hmD7gw0m7aTGE0h99EVNQsFwIcesH9zPIl
I+rYodTW2yAwCgYIKoZIzj0EAwIDSQAwRgIhAOyhxeoJTlN871nKEjaEUlfCXNZ8
ZuhHKwZknID6RppXAiEA/ZbkT5Yde3fLjnfv3GJenv+4/MGKQAaCeEuOrQmLBHw=
-----END CERTIFICATE-----
";

    fn is_suitable(pem: &str) -> bool {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        // 2030
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000));
        check_issuer(&certificate, now).is_ok()
    }

    #[test]
    fn a_version_1_certificate_is_an_issuer_only_if_it_is_a_root() {
        assert!(is_suitable(OLD_ROOT));
        assert!(!is_suitable(OLD_LEAF));
    }

    #[test]
    fn no_certificate_error_is_described_by_a_debug_text() {
        for error in [
            webpki::Error::CaUsedAsEndEntity,
            webpki::Error::PathLenConstraintViolated,
            webpki::Error::MalformedExtensions,
            webpki::Error::CertDistrusted,
        ] {
            let debug = format!("{error:?}");
            let error = CertificateError::Other(OtherError(Arc::new(error)));
            assert!(!describe(&error, "localhost").contains(&debug), "{debug}");
        }
    }
}
