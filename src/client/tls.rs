//! TLS over the connection that the connectors before it have made.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{self, Instant};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection};
use ureq::Error;
use ureq::unversioned::transport::time::{Duration, Instant as Started};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};

use super::trust;

/// How long CA certificates are waited for if connecting has no time limit.
const MAX_READ_TIME: time::Duration = time::Duration::from_secs(10);

/// Wraps a connection in TLS if the URL's scheme is https.
#[derive(Debug, Default)]
pub struct TlsConnector;

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        match chained {
            Some(transport) if details.needs_tls() && !transport.is_tls() => {
                let transport = TlsTransport::connect(details, transport)?;
                Ok(Some(Either::B(transport)))
            }
            other => Ok(other.map(Either::A)),
        }
    }
}

/// A TLS connection whose handshake is complete.
pub struct TlsTransport {
    buffers: LazyBuffers,
    connection: ClientConnection,
    socket: TransportAdapter,
}

impl TlsTransport {
    fn connect(details: &ConnectionDetails, transport: impl Transport) -> Result<Self, Error> {
        let timeout = time_left(details);
        let deadline = match timeout.after {
            Duration::Exact(left) => Instant::now() + left,
            Duration::NotHappening => Instant::now() + MAX_READ_TIME,
        };
        let config = config(deadline).map_err(tls_error)?;
        let mut connection =
            ClientConnection::new(config, server_name(details)?).map_err(tls_error)?;
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        socket.set_timeout(timeout);
        send_records(&mut connection, &mut socket)?;
        // While the server answers.
        trust::load(deadline).map_err(tls_error)?;
        connection.complete_io(&mut socket).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                io::Error::other("the connection was closed during the TLS handshake")
            }
            _ => error,
        })?;
        Ok(TlsTransport {
            buffers: LazyBuffers::new(
                details.config.input_buffer_size(),
                details.config.output_buffer_size(),
            ),
            connection,
            socket,
        })
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.socket.set_timeout(timeout);
        let mut output = &self.buffers.output()[..amount];
        while !output.is_empty() {
            let accepted = self.connection.writer().write(output)?;
            send_records(&mut self.connection, &mut self.socket)?;
            output = &output[accepted..];
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.socket.set_timeout(timeout);
        let input = self.buffers.input_append_buf();
        let amount = receive(&mut self.connection, &mut self.socket, input)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.socket.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTransport").field("inner", &self.socket.inner()).finish()
    }
}

/// Says in plain words why there is no TLS connection to `host`.
pub fn describe(error: &rustls::Error, host: &str) -> String {
    let words = match error {
        rustls::Error::InvalidCertificate(error) => {
            let why = trust::describe(error, host);
            return format!("the certificate of {host} is not trusted: {why}");
        }
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS on this port",
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity,
        ) => "the server supports no TLS version or cipher suite that haiku does",
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the server does not know this host name"
        }
        rustls::Error::AlertReceived(alert) => {
            return format!("the server sent TLS alert {}", u8::from(*alert));
        }
        rustls::Error::NoCertificatesPresented => "the server has no certificate",
        _ => "the server broke the TLS protocol",
    };
    words.into()
}

/// What is left of the time for connecting: the connectors before this one have used some.
fn time_left(details: &ConnectionDetails) -> NextTimeout {
    let mut timeout = details.timeout;
    if let (Duration::Exact(limit), Started::Exact(started)) = (timeout.after, details.now) {
        timeout.after = limit.saturating_sub(started.elapsed()).into();
    }
    timeout
}

fn server_name(details: &ConnectionDetails) -> Result<ServerName<'static>, Error> {
    let host = details.uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned()).map_err(|_| Error::BadUri(host.into()))
}

fn config(deadline: Instant) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = trust::verifier(&provider, deadline)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // Each connection carries one request.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Sends what rustls has encrypted. Nothing of it stays with rustls, so that a failure here does
/// not keep an answer that has already arrived from being read.
fn send_records(connection: &mut ClientConnection, socket: &mut impl Write) -> io::Result<()> {
    let mut records = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut records)?;
    }
    socket.write_all(&records)
}

fn receive(
    connection: &mut ClientConnection,
    socket: &mut (impl Read + Write),
    buffer: &mut [u8],
) -> io::Result<usize> {
    loop {
        let progress = connection.process_new_packets();
        match connection.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => progress.map_err(invalid)?,
            Err(error) if is_end(&error) => return Err(truncated()),
            result => return result,
        };
        // A request for new keys is answered. A server that no longer reads may still have sent
        // something.
        let _ = send_records(connection, socket);
        if let Err(error) = connection.read_tls(socket) {
            return Err(if is_end(&error) { truncated() } else { error });
        }
    }
}

/// What ureq takes for the end of a body that has no length.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
    )
}

fn truncated() -> io::Error {
    io::Error::other("the server closed the connection without a TLS close_notify")
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

fn tls_error(error: rustls::Error) -> Error {
    Error::Io(invalid(error))
}
