//! The layers of a connection: proxy, socket, time limit, TLS, and what tells the watch of its progress.

use std::sync::Arc;

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, RustlsConnector,
    SocksConnector, Transport,
};

use super::socket::TcpConnector;
use super::watch::{Phase, Watch};

/// Everything from the socket to TLS. `through_proxy` tells whether the agent has a proxy.
pub fn connector(watch: &Arc<Watch>, through_proxy: bool) -> impl Connector<()> + use<> {
    let base: () = ();
    base.chain(SocksConnector::default())
        .chain(ConnectProxyConnector::default())
        .chain(TcpConnector(watch.clone()))
        .chain(WatchConnector { watch: watch.clone(), layer: Layer::Limit })
        .chain(RustlsConnector::default())
        .chain(WatchConnector { watch: watch.clone(), layer: Layer::Meter { through_proxy } })
}

/// Wraps a connection in a [`Watched`].
#[derive(Debug)]
struct WatchConnector {
    watch: Arc<Watch>,
    layer: Layer,
}

#[derive(Clone, Copy, Debug)]
enum Layer {
    /// Below TLS: ends every wait at the limit.
    Limit,
    /// On top: tells the watch of what is sent and received, or of what a proxy answers.
    Meter { through_proxy: bool },
}

impl<In: Transport> Connector<In> for WatchConnector {
    type Out = Watched<In>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        // The connection to a CONNECT proxy is made by the same chain, with a configuration
        // without a proxy. The one that goes on through the proxy is yet to come.
        let has_proxy = details.config.proxy().is_some();
        let is_whole =
            matches!(self.layer, Layer::Meter { through_proxy } if through_proxy == has_proxy);
        Ok(chained.map(|transport| {
            if is_whole {
                self.watch.connected();
            }
            Watched { transport, watch: self.watch.clone(), layer: self.layer, is_whole }
        }))
    }
}

/// A connection that the watch limits or follows.
#[derive(Debug)]
struct Watched<T> {
    transport: T,
    watch: Arc<Watch>,
    layer: Layer,
    /// It leads to the server.
    is_whole: bool,
}

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if matches!(self.layer, Layer::Limit) {
            return self.transport.transmit_output(amount, self.watch.shorten(timeout)?);
        }
        self.transport.transmit_output(amount, timeout)?;
        if self.is_whole {
            self.watch.add_sent(amount);
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if matches!(self.layer, Layer::Limit) {
            return self.transport.await_input(self.watch.shorten(timeout)?);
        }
        if !self.is_whole {
            let has_input = self.transport.await_input(timeout)?;
            if self.watch.phase() == Phase::Connecting {
                self.watch.proxy_answered(self.transport.buffers().input());
            }
            return Ok(has_input);
        }
        self.watch.request_is_sent();
        // A read without room would look like the end. Only a chunk's size can be that long.
        if self.buffers().input_append_buf().is_empty() {
            return Err(Error::Other("the input buffer is full".into()));
        }
        let before = self.buffers().input().len();
        let has_input = self.transport.await_input(timeout)?;
        if has_input {
            let length = self.buffers().input().len() - before;
            self.watch.add_received(length);
        }
        Ok(has_input)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use super::super::resolver::Resolver;
    use super::super::watch::CONNECT_TIMEOUT;
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;
    use std::time::{Duration, Instant};
    use ureq::Agent;

    const MINUTE: Duration = Duration::from_secs(60);
    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

    #[test]
    fn the_watch_follows_a_call() {
        let deadline = Instant::now() + MINUTE;
        let watch = Watch::new(deadline);
        assert_eq!(watch.phase(), Phase::Connecting);
        assert!(watch.limit() <= Instant::now() + CONNECT_TIMEOUT);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let watched = watch.clone();
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"body") {
                let mut piece = [0; 1000];
                let length = client.read(&mut piece).unwrap();
                request.extend_from_slice(&piece[..length]);
            }
            while watched.phase() == Phase::Sending {
                thread::yield_now();
            }
            assert_eq!((watched.phase(), watched.bytes()), (Phase::Waiting, request.len()));
            client.write_all(RESPONSE).unwrap();
        });

        let agent = Agent::with_parts(
            Agent::config_builder().proxy(None).build(),
            connector(&watch, false),
            Resolver(watch.clone()),
        );
        agent.post(&url).send("body").unwrap();
        server.join().unwrap();
        assert_eq!(watch.phase(), Phase::Receiving);
        assert_eq!(watch.bytes(), RESPONSE.len());
        assert_eq!(watch.limit(), deadline);
    }
}
