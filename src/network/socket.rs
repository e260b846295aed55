//! TCP connections: the race for the first address that answers, and reading and writing with time limits.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Error, Timeout};

use super::watch::Watch;
use crate::wait::{wait_for, wait_for_any};

/// How long an address may stay silent before the next one is tried as well: the "Connection
/// Attempt Delay" that RFC 8305 recommends.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// The same once an address has been silent that long, also recommended there.
const NEXT_DELAY: Duration = Duration::from_millis(100);

/// If there are many addresses, the further delays are shortened to this sum, so that dead
/// addresses cost less than half a second however many they are.
const NEXT_DELAYS: Duration = Duration::from_millis(200);

/// How long a socket may not be writable until input that has arrived is read: longer than a busy
/// server or a bad link pauses, and short enough that somebody still waits for an answer.
const MAX_STALL: Duration = Duration::from_secs(10);

/// The shortest wait in one read: zero would mean no limit.
const MIN_READ_WAIT: Duration = Duration::from_millis(1);

/// The longest wait in one read. Linux may end a read late, by an eighth of its limit.
const MAX_READ_WAIT: Duration = Duration::from_secs(1);

/// A home router forgets a silent connection after a minute or more; a peer that is gone is noticed
/// after a minute or so.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(10))
    .with_retries(4);

/// Connects to the first address that answers, unless a proxy has been connected to already.
#[derive(Debug)]
pub struct TcpConnector(pub Arc<Watch>);

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
        let stream = connect(&details.addrs, self.0.limit())?;
        // Only the race of the addresses needs sockets that do not block.
        stream.set_nonblocking(false)?;
        // A request goes out in few large writes, so that waiting for more gains nothing.
        stream.set_nodelay(true)?;
        let config = details.config;
        Ok(Some(Either::B(TcpTransport {
            stream,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            backlog: VecDeque::new(),
            half_time: None,
            is_broken: false,
            read_wait: Duration::ZERO,
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
        let next = Instant::now() + delay;
        let until = if untried.len() == 0 { limit } else { limit.min(next) };
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
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    match socket.connect(&address.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
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
        attempts.iter().map(|socket| PollFd::new(socket, PollFlags::OUT)).collect();
    wait_for_any(&mut polled, until)?;
    let Some(index) = polled.iter().position(|fd| !fd.revents().is_empty()) else {
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
    /// Output that is sent while waiting for input, because the server may have answered instead of reading.
    backlog: VecDeque<u8>,
    /// When half of the time for the request is gone.
    half_time: Option<Instant>,
    /// Nothing more can be sent.
    is_broken: bool,
    /// The limit of a read that the socket has: to set it takes as long as to read.
    read_wait: Duration,
}

impl TcpTransport {
    /// Sends the backlog until `until`, or until there is input and nothing could be sent for `patience`.
    /// If nothing can be sent any more, the rest is dropped: reading decides what has become of the connection.
    fn send_backlog(&mut self, patience: Duration, until: Instant) -> io::Result<()> {
        let mut progress = Instant::now();
        while !self.backlog.is_empty() && !self.is_broken {
            match send(&self.stream, self.backlog.as_slices().0, SendFlags::DONTWAIT) {
                Ok(sent) => {
                    self.backlog.drain(..sent);
                    progress = Instant::now();
                }
                Err(Errno::AGAIN) => {
                    let half_time = self.half_time.unwrap_or(until).min(until);
                    let heard_from = half_time.min(progress + patience);
                    let is_patient = Instant::now() < heard_from;
                    let (events, end) = match is_patient {
                        true => (PollFlags::OUT, heard_from),
                        false => (PollFlags::OUT | PollFlags::IN, until),
                    };
                    let events = wait_for(&self.stream, events, end)?;
                    if !is_patient && (events.is_empty() || events == PollFlags::IN) {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET | Errno::CONNABORTED | Errno::NOTCONN) => {
                    self.is_broken = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    /// An answer that comes before the whole request has been sent is read when nothing could be sent for
    /// a while, or half of the time is gone; before that, input may be mere session tickets of TLS.
    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = &self.buffers.output()[..amount];
        if !self.backlog.is_empty() {
            self.backlog.extend(output);
            return Ok(());
        }
        // What the socket takes at once needs no copy, and an error is met again.
        let sent = send(&self.stream, output, SendFlags::DONTWAIT).unwrap_or(0);
        self.backlog.extend(&output[sent..]);
        let until = end_of(timeout);
        let left = until.saturating_duration_since(Instant::now());
        self.half_time.get_or_insert(until - left / 2);
        self.send_backlog(MAX_STALL, until)?;
        if self.backlog.is_empty() || Instant::now() < until {
            return Ok(());
        }
        Err(Error::Timeout(timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let until = end_of(timeout);
        loop {
            self.send_backlog(Duration::ZERO, until)?;
            let left = until.saturating_duration_since(Instant::now());
            let wait = left.clamp(MIN_READ_WAIT, MAX_READ_WAIT);
            if wait != mem::replace(&mut self.read_wait, wait) {
                self.stream.set_read_timeout(Some(wait))?;
            }
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(length) => {
                    self.buffers.input_appended(length);
                    return Ok(length > 0);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if Instant::now() >= until {
                        return Err(Error::Timeout(timeout.reason));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Each attempt has a connection of its own.
    fn is_open(&mut self) -> bool {
        false
    }
}

fn end_of(timeout: NextTimeout) -> Instant {
    // A timeout that never happens is further away than any Instant.
    const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
    Instant::now() + A_DAY.min(*timeout.after)
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
    fn a_connection_is_kept_alive() {
        let live = live();
        let stream = connect(&[live.1], Instant::now() + 10 * SOON).unwrap();
        let socket = socket2::SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
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
