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
        .chain(TcpConnector::new(watch.clone()))
        .chain(GuardConnector(watch.clone()))
        .chain(RustlsConnector::default())
        .chain(MeterConnector { watch: watch.clone(), through_proxy })
}

/// Puts a [`Guard`] between a connection and TLS.
#[derive(Debug)]
struct GuardConnector(Arc<Watch>);

impl<In: Transport> Connector<In> for GuardConnector {
    type Out = Guard<In>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|transport| Guard { transport, watch: self.0.clone() }))
    }
}

/// Ends every wait at the limit.
#[derive(Debug)]
struct Guard<T> {
    transport: T,
    watch: Arc<Watch>,
}

impl<T: Transport> Transport for Guard<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = self.watch.shorten(timeout)?;
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = self.watch.shorten(timeout)?;
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}

/// Puts a [`Meter`] on top of the finished connection.
#[derive(Debug)]
struct MeterConnector {
    watch: Arc<Watch>,
    through_proxy: bool,
}

impl<In: Transport> Connector<In> for MeterConnector {
    type Out = Meter<In>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        // The connection to a CONNECT proxy is made by the same chain, with a configuration
        // without a proxy. The one that goes on through the proxy is yet to come.
        let is_whole = details.config.proxy().is_some() == self.through_proxy;
        Ok(chained.map(|transport| {
            if is_whole {
                self.watch.connected();
            }
            Meter { transport, watch: self.watch.clone(), is_whole }
        }))
    }
}

/// Tells the watch of what is sent and received, or of what a proxy answers.
#[derive(Debug)]
struct Meter<T> {
    transport: T,
    watch: Arc<Watch>,
    is_whole: bool,
}

impl<T: Transport> Transport for Meter<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.transport.transmit_output(amount, timeout)?;
        if self.is_whole {
            self.watch.add_sent(amount);
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
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
            let waiting = (watched.phase(), watched.sent(), watched.received());
            assert_eq!(waiting, (Phase::Waiting, request.len(), 0));
            client.write_all(RESPONSE).unwrap();
        });

        let agent = Agent::with_parts(
            Agent::config_builder().proxy(None).build(),
            connector(&watch, false),
            Resolver::new(watch.clone()),
        );
        agent.post(&url).send("body").unwrap();
        server.join().unwrap();
        assert_eq!(watch.phase(), Phase::Receiving);
        assert_eq!(watch.received(), RESPONSE.len());
        assert_eq!(watch.limit(), deadline);
    }
}
