//! The CA certificates that servers are checked against, by rustls and webpki, and P-521 beside ring's algorithms.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::memmem;
use p521::ecdsa::signature::hazmat::PrehashVerifier;
use p521::ecdsa::{DerSignature, VerifyingKey};
use ring::digest;
use rustls::AlertDescription::{self, self as A};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use rustls::{CertificateError, SignatureScheme};
use rustls_native_certs::{CertificateResult, ErrorKind, load_certs_from_paths};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::environment::variable;
use crate::error::{Error, Retry, reason};

/// How ureq is to check certificates: against what SSL_CERT_FILE and SSL_CERT_DIR name, or else the system's.
///
/// # Errors
/// Exit status 3 if SSL_CERT_FILE cannot be read, or no certificate is found.
pub fn tls_config() -> Result<TlsConfig, Error> {
    let anchors = anchors()?;
    let anchors = anchors.iter().map(|anchor| Certificate::from_der(anchor).to_owned()).collect();
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(anchors)))
        .unversioned_rustls_crypto_provider(Arc::new(provider()))
        .build())
}

fn anchors() -> Result<Vec<CertificateDer<'static>>, Error> {
    let file = variable("SSL_CERT_FILE").map(PathBuf::from);
    let folders = variable("SSL_CERT_DIR");
    let (found, place) = match (&file, &folders) {
        (None, None) => of_the_system(),
        _ => named(file.as_deref(), folders),
    };
    for error in found.errors {
        if let (ErrorKind::Io { inner, path }, true) = (error.kind, file.is_some()) {
            let (path, reason) = (path.display(), reason(&inner));
            return Err(Error::rejected(format!("cannot read SSL_CERT_FILE {path}: {reason}")));
        }
    }
    // webpki takes every anchor for a CA.
    let anchors: Vec<_> = found.certs.into_iter().filter(|found| !says_not_ca(found)).collect();
    if anchors.is_empty() {
        return Err(Error::rejected(format!("no CA certificates found in {place}"))
            .advice("install ca-certificates or set SSL_CERT_FILE"));
    }
    Ok(anchors)
}

/// What the variables name, and their names for messages.
fn named(file: Option<&Path>, folders: Option<OsString>) -> (CertificateResult, String) {
    let mut found = load_certs_from_paths(file, None);
    let mut places = Vec::from_iter(file.map(|file| format!("SSL_CERT_FILE {}", file.display())));
    let folders = folders.unwrap_or_default();
    for folder in env::split_paths(&folders).filter(|folder| folder != "") {
        // A folder may hold what only others can read; its other files still count.
        found.certs.extend(load_certs_from_paths(None, Some(&folder)).certs);
        places.push(format!("SSL_CERT_DIR {}", folder.display()));
    }
    (found, places.join(" or "))
}

/// The system's bundle, or a folder only if there is none: it holds the same certificates in a file for each.
#[cfg(target_os = "linux")]
fn of_the_system() -> (CertificateResult, String) {
    let found = openssl_probe::probe();
    let folder = found.cert_dir.first().filter(|_| found.cert_file.is_none());
    let place = found.cert_file.as_ref().or(folder);
    let place = place.map_or("the usual places".into(), |path| path.display().to_string());
    (load_certs_from_paths(found.cert_file.as_deref(), folder.map(PathBuf::as_path)), place)
}

#[cfg(not(target_os = "linux"))]
fn of_the_system() -> (CertificateResult, String) {
    (rustls_native_certs::load_native_certs(), "the system's store".into())
}

/// Whether BasicConstraints (RFC 5280, 4.2.1.9) say CA:FALSE, critical or not, by default or in so many words.
fn says_not_ca(certificate: &[u8]) -> bool {
    const OID: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x13];
    const CRITICAL: &[u8] = &[0x01, 0x01, 0xff];
    const NOT_CA: [&[u8]; 2] =
        [&[0x04, 0x02, 0x30, 0x00], &[0x04, 0x05, 0x30, 0x03, 0x01, 0x01, 0x00]];
    memmem::find(certificate, OID).is_some_and(|at| {
        let value = &certificate[at + OID.len()..];
        let value = value.strip_prefix(CRITICAL).unwrap_or(value);
        NOT_CA.iter().any(|not_ca| value.starts_with(not_ca))
    })
}

/// What a server refuses for good during the TLS handshake (RFC 8446, 6.2).
const REFUSALS: [(AlertDescription, &str); 8] = [
    (A::HandshakeFailure, "the server refuses the TLS handshake (handshake_failure)"),
    (A::ProtocolVersion, "the server supports no TLS version offered (protocol_version)"),
    (A::InsufficientSecurity, "the server requires other cipher suites (insufficient_security)"),
    (A::CertificateRequired, "the server requires a client certificate (certificate_required)"),
    (A::BadCertificate, "the server requires a client certificate (bad_certificate)"),
    (A::UnknownCA, "the server requires a client certificate of a CA it knows (unknown_ca)"),
    (A::AccessDenied, "the server denies access (access_denied)"),
    (A::UnrecognisedName, "the server does not know this host name (unrecognized_name)"),
];

/// What a TLS error means for a call to `host`. rustls has words for what a user cannot mend.
pub fn handshake_failed(error: &rustls::Error, host: &str) -> Error {
    use CertificateError as C;
    use rustls::Error as E;
    let cannot_connect = |why: &str| format!("cannot connect to {host}: {why}");
    let why = match error {
        E::InvalidCertificate(error) => {
            let why = match error {
                C::UnknownIssuer => {
                    "unknown issuer; for a private CA, set SSL_CERT_FILE to its certificate"
                }
                C::Expired | C::ExpiredContext { .. } => "it has expired",
                C::NotValidYet | C::NotValidYetContext { .. } => {
                    "it is not valid yet; check the clock"
                }
                C::NotValidForNameContext { expected, .. } => {
                    &format!("it is not valid for {}", expected.to_str())
                }
                other => &other.to_string(),
            };
            let message = format!("the certificate of {host} is not trusted: {why}");
            return Error::rejected(message);
        }
        E::PeerIncompatible(_) => {
            let why = "no TLS version or cipher suite in common with the server";
            return Error::rejected(cannot_connect(why));
        }
        E::AlertReceived(alert) => match REFUSALS.iter().find(|(known, _)| known == alert) {
            Some((_, why)) => return Error::rejected(cannot_connect(why)),
            None => format!("the server sent TLS alert {}", u8::from(*alert)),
        },
        E::InvalidMessage(_) => "the server does not speak TLS on this port".into(),
        other => other.to_string(),
    };
    Error::temporary(cannot_connect(&why)).retry(Retry::Backoff)
}

/// ECDSA on P-521, which ring lacks and some companies' CAs use: with which digest, by its name and as
/// it is computed.
#[derive(Debug)]
struct EcdsaP521(AlgorithmIdentifier, &'static digest::Algorithm);

/// With the schemes that announce them. TLS 1.2 takes any curve with any digest (RFC 8422, 5.1.1).
static P521: [(SignatureScheme, EcdsaP521); 3] = [
    (SignatureScheme::ECDSA_NISTP521_SHA512, EcdsaP521(alg_id::ECDSA_SHA512, &digest::SHA512)),
    (SignatureScheme::ECDSA_NISTP384_SHA384, EcdsaP521(alg_id::ECDSA_SHA384, &digest::SHA384)),
    (SignatureScheme::ECDSA_NISTP256_SHA256, EcdsaP521(alg_id::ECDSA_SHA256, &digest::SHA256)),
];

impl SignatureVerificationAlgorithm for EcdsaP521 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = DerSignature::from_bytes(signature).map_err(|_| InvalidSignature)?;
        let digest = digest::digest(self.1, message);
        key.verify_prehash(digest.as_ref(), &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0
    }
}

/// ring's cryptography, and P-521. Its lists live as long as the process.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    let ring = provider.signature_verification_algorithms;
    let mut all = ring.all.to_vec();
    let mut mapping: Vec<_> =
        ring.mapping.iter().map(|(scheme, algorithms)| (*scheme, algorithms.to_vec())).collect();
    for (scheme, algorithm) in &P521 {
        all.push(algorithm);
        match mapping.iter_mut().find(|(known, _)| known == scheme) {
            Some((_, algorithms)) => algorithms.push(algorithm),
            None => mapping.push((*scheme, vec![algorithm])),
        }
    }
    let mapping = mapping.into_iter().map(|(scheme, algorithms)| (scheme, &*algorithms.leak()));
    provider.signature_verification_algorithms =
        WebPkiSupportedAlgorithms { all: all.leak(), mapping: Vec::from_iter(mapping).leak() };
    provider
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_says_it_is_no_ca_is_recognized() {
        for (value, expected) in [
            ("30 0f 06 03 55 1d 13 04 02 30 00", true),
            ("30 0f 06 03 55 1d 13 01 01 ff 04 02 30 00", true),
            ("06 03 55 1d 13 04 05 30 03 01 01 00", true),
            ("06 03 55 1d 13 01 01 ff 04 05 30 03 01 01 ff", false),
            ("06 03 55 1d 13 01 01 ff 04 08 30 06 01 01 ff 02 01 00", false),
            ("06 03 55 1d 0f 04 02 30 00", false),
            ("06 03 55 1d 13", false),
            ("", false),
        ] {
            let bytes = value.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap());
            assert_eq!(says_not_ca(&Vec::from_iter(bytes)), expected, "{value}");
        }
    }

    #[test]
    fn p_521_comes_after_the_curves_that_tls_1_3_has_for_a_scheme() {
        let algorithms = provider().signature_verification_algorithms;
        for (scheme, curves) in [
            (SignatureScheme::ECDSA_NISTP256_SHA256, 3),
            (SignatureScheme::ECDSA_NISTP384_SHA384, 3),
            (SignatureScheme::ECDSA_NISTP521_SHA512, 1),
        ] {
            let (_, list) = algorithms.mapping.iter().find(|(known, _)| *known == scheme).unwrap();
            assert_eq!(list.len(), curves);
            assert_eq!(list[curves - 1].public_key_alg_id(), alg_id::ECDSA_P521);
        }
    }
}
