//! TCP connections: the race for the first address that answers, and reading and writing with time limits.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{SendFlags, send};
use socket2::{Domain, Protocol, Socket, Type};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Error, Timeout};

use super::watch::Watch;

/// How long an address may stay silent before the next one is tried as well: the "Connection
/// Attempt Delay" that RFC 8305 recommends.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// The same once an address has been silent that long, also recommended there.
const NEXT_DELAY: Duration = Duration::from_millis(100);

/// If there are many addresses, the further delays are shortened to this sum, so that dead
/// addresses cost less than half a second however many they are.
const NEXT_DELAYS: Duration = Duration::from_millis(200);

/// How long a socket may not be writable until input that has arrived is read first: longer than a
/// busy server or a bad link pauses, and short enough that somebody still waits for an answer.
const MAX_STALL: Duration = Duration::from_secs(10);

/// The shortest wait in one read: zero would mean no limit.
const MIN_READ_WAIT: Duration = Duration::from_millis(1);

/// The longest wait in one read. Linux may end a read late, by an eighth of its limit.
const MAX_READ_WAIT: Duration = Duration::from_secs(1);

/// Connects to the first address that answers, unless a proxy has been connected to already.
#[derive(Debug)]
pub struct TcpConnector {
    watch: Arc<Watch>,
}

impl TcpConnector {
    pub fn new(watch: Arc<Watch>) -> TcpConnector {
        TcpConnector { watch }
    }
}

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, TcpTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        if let Some(transport) = chained {
            return Ok(Some(Either::A(transport)));
        }
        let stream = connect(&details.addrs, self.watch.limit())?;
        // Only the race of the addresses needs sockets that do not block.
        stream.set_nonblocking(false)?;
        // A request goes out in few large writes, so that waiting for more gains nothing.
        stream.set_nodelay(true)?;
        let config = details.config;
        Ok(Some(Either::B(TcpTransport {
            stream,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            backlog: VecDeque::new(),
        })))
    }
}

/// Races the addresses (RFC 8305, section 5). Attempts go on while further ones are started; the
/// first to connect is used, and the others are dropped.
fn connect(addresses: &[SocketAddr], limit: Instant) -> Result<TcpStream, Error> {
    let mut untried = addresses.iter();
    let mut attempts = Vec::new();
    let mut delay = FIRST_DELAY;
    let mut last_error = None;
    loop {
        if let Some(address) = untried.next() {
            match start_connecting(*address) {
                Ok(socket) => attempts.push(socket),
                Err(error) => {
                    last_error = Some(error);
                    continue;
                }
            }
        } else if attempts.is_empty() {
            return Err(last_error.map_or(Error::HostNotFound, Error::Io));
        }
        let until = match untried.len() {
            0 => limit,
            _ => limit.min(Instant::now() + delay),
        };
        match first_finished(&mut attempts, until)? {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => last_error = Some(error),
            None if Instant::now() >= limit => return Err(Error::Timeout(Timeout::Connect)),
            None => delay = next_delay(addresses.len()),
        }
    }
}

/// The delay before the third address and each one after it, of `count` addresses.
fn next_delay(count: usize) -> Duration {
    let further = u32::try_from(count.saturating_sub(2)).unwrap_or(u32::MAX);
    NEXT_DELAY.min(NEXT_DELAYS / further.max(1))
}

fn start_connecting(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
        _ => Ok(socket),
    }
}

/// Takes the first of `attempts` that has connected or failed, or nothing if all are still
/// pending at `until`.
fn first_finished(
    attempts: &mut Vec<Socket>,
    until: Instant,
) -> io::Result<Option<io::Result<TcpStream>>> {
    let mut polled: Vec<_> =
        attempts.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLOUT)).collect();
    wait(&mut polled, until)?;
    let Some(index) = polled.iter().position(|fd| fd.any() == Some(true)) else {
        return Ok(None);
    };
    let socket = attempts.remove(index);
    Ok(Some(match socket.take_error()? {
        Some(error) => Err(error),
        None => Ok(socket.into()),
    }))
}

/// A connected socket. Reading blocks, which takes less time than waiting and then reading; writing does not.
#[derive(Debug)]
pub struct TcpTransport {
    stream: TcpStream,
    buffers: LazyBuffers,
    /// Output that is sent while waiting for input, because the server answers instead of reading.
    backlog: VecDeque<u8>,
}

impl TcpTransport {
    /// Sends the backlog as the socket takes it, until there is input or the time is up.
    fn send_backlog(&mut self, until: Instant) -> io::Result<()> {
        while !self.backlog.is_empty() {
            match write_now(&self.stream, self.backlog.as_slices().0) {
                Ok(written) => drop(self.backlog.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let events = PollFlags::POLLIN | PollFlags::POLLOUT;
                    if wait_for(&self.stream, events, until)? != PollFlags::POLLOUT {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Reading tells what has become of the connection.
                Err(_) => self.backlog.clear(),
            }
        }
        Ok(())
    }
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let until = end_of(timeout);
        let mut rest = &self.buffers.output()[..amount];
        while !rest.is_empty() && self.backlog.is_empty() {
            match write_now(&self.stream, rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match wait_until_writable(&self.stream, until)? {
                        Writable::Yes => {}
                        Writable::Stalled => break,
                        Writable::TimedOut => return Err(Error::Timeout(timeout.reason)),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.backlog.extend(rest);
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let until = end_of(timeout);
        loop {
            self.send_backlog(until)?;
            let left = until.saturating_duration_since(Instant::now());
            self.stream.set_read_timeout(Some(left.clamp(MIN_READ_WAIT, MAX_READ_WAIT)))?;
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(length) => {
                    self.buffers.input_appended(length);
                    return Ok(length > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() >= until {
                        return Err(Error::Timeout(timeout.reason));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Each attempt has a connection of its own.
    fn is_open(&mut self) -> bool {
        false
    }
}

fn write_now(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(send(stream, bytes, SendFlags::DONTWAIT)?)
}

fn end_of(timeout: NextTimeout) -> Instant {
    // A timeout that never happens is further away than any Instant.
    const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
    Instant::now() + A_DAY.min(*timeout.after)
}

enum Writable {
    Yes,
    /// Not for a while, but there is input. It may be the answer of a server that reads no more
    /// of the request, or mere session tickets of TLS.
    Stalled,
    TimedOut,
}

fn wait_until_writable(stream: &TcpStream, until: Instant) -> io::Result<Writable> {
    let stalled = until.min(Instant::now() + MAX_STALL);
    if !wait_for(stream, PollFlags::POLLOUT, stalled)?.is_empty() {
        return Ok(Writable::Yes);
    }
    let events = wait_for(stream, PollFlags::POLLOUT | PollFlags::POLLIN, until)?;
    Ok(if events.is_empty() {
        Writable::TimedOut
    } else if events == PollFlags::POLLIN {
        Writable::Stalled
    } else {
        Writable::Yes
    })
}

/// What has happened to the socket; nothing by `until` if empty.
fn wait_for(stream: &TcpStream, events: PollFlags, until: Instant) -> io::Result<PollFlags> {
    let mut polled = [PollFd::new(stream.as_fd(), events)];
    wait(&mut polled, until)?;
    Ok(polled[0].revents().unwrap_or(events))
}

fn wait(polled: &mut [PollFd], until: Instant) -> io::Result<()> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let milliseconds = left.as_nanos().div_ceil(1_000_000);
        let timeout = PollTimeout::from(u16::try_from(milliseconds).unwrap_or(u16::MAX));
        match poll(polled, timeout) {
            Ok(0) if Instant::now() < until => {}
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    const SOON: Duration = Duration::from_millis(200);

    fn live() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn refusing() -> SocketAddr {
        live().1
    }

    /// An address that does not answer, because the queue of its listener is full.
    struct Dead {
        listener: Socket,
        address: SocketAddr,
        _queued: TcpStream,
    }

    impl Dead {
        fn new() -> Dead {
            let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            listener.bind(&any_port.into()).unwrap();
            listener.listen(0).unwrap();
            let address = listener.local_addr().unwrap().as_socket().unwrap();
            Dead { listener, address, _queued: TcpStream::connect(address).unwrap() }
        }
    }

    fn race(addresses: &[SocketAddr], limit: Duration) -> (Result<SocketAddr, Error>, Duration) {
        let start = Instant::now();
        let result = connect(addresses, start + limit);
        let elapsed = start.elapsed();
        (result.map(|stream| stream.peer_addr().unwrap()), elapsed)
    }

    #[test]
    fn every_address_is_tried_within_half_a_second() {
        for (count, milliseconds) in [(2, 250), (3, 350), (4, 450), (7, 450), (16, 450)] {
            let all = FIRST_DELAY + next_delay(count) * (count as u32 - 2);
            let expected = Duration::from_millis(milliseconds);
            assert!(all <= expected && all + Duration::from_millis(1) > expected);
        }
        // RFC 8305: the delay must never be shorter.
        assert!(next_delay(16) >= Duration::from_millis(10));
    }

    #[test]
    fn a_live_first_address_is_the_only_one_tried() {
        let (first, second) = (live(), live());
        let (connected, elapsed) = race(&[first.1, second.1], 10 * SOON);
        assert_eq!(connected.unwrap(), first.1);
        assert!(elapsed < SOON, "{elapsed:?}");
        assert!(second.0.accept().is_err());
    }

    #[test]
    fn dead_addresses_cost_no_more_than_half_a_second() {
        for count in [1, 4, 15] {
            let dead: Vec<_> = (0..count).map(|_| Dead::new()).collect();
            let live = live();
            let mut addresses: Vec<_> = dead.iter().map(|dead| dead.address).collect();
            addresses.push(live.1);
            let (connected, elapsed) = race(&addresses, 20 * SOON);
            assert_eq!(connected.unwrap(), live.1);
            assert!(elapsed >= FIRST_DELAY && elapsed < 4 * SOON, "{elapsed:?}");
        }
    }

    #[test]
    fn a_late_answer_behind_dead_addresses_is_still_heard() {
        let dead: Vec<_> = (0..6).map(|_| Dead::new()).collect();
        let late = Dead::new();
        let mut addresses: Vec<_> = dead.iter().map(|dead| dead.address).collect();
        addresses.push(late.address);
        let (connected, elapsed) = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(5 * SOON);
                late.listener.accept().unwrap();
            });
            race(&addresses, 50 * SOON)
        });
        assert_eq!(connected.unwrap(), late.address);
        assert!(elapsed >= 5 * SOON, "{elapsed:?}");
    }

    #[test]
    fn after_a_refusal_the_next_address_is_tried_at_once() {
        let live = live();
        let (connected, elapsed) = race(&[refusing(), refusing(), live.1], 10 * SOON);
        assert_eq!(connected.unwrap(), live.1);
        assert!(elapsed < SOON, "{elapsed:?}");
        let (connected, elapsed) = race(&[refusing(), refusing()], 10 * SOON);
        let Err(Error::Io(error)) = connected else {
            panic!("{connected:?}");
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(elapsed < SOON, "{elapsed:?}");
    }

    #[test]
    fn a_dead_host_ends_at_the_limit() {
        let dead = [Dead::new(), Dead::new()];
        let addresses = [dead[0].address, dead[1].address, refusing()];
        let (connected, elapsed) = race(&addresses, 3 * SOON);
        assert!(matches!(connected, Err(Error::Timeout(Timeout::Connect))));
        assert!(elapsed >= 3 * SOON && elapsed < 5 * SOON, "{elapsed:?}");
    }
}
