//! An address on loopback that does not answer attempts to connect.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

pub struct DeadHost {
    pub address: SocketAddr,
    _listener: OwnedFd,
    _queue: Vec<TcpStream>,
}

impl DeadHost {
    pub fn new(address: SocketAddr) -> DeadHost {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let listener = socket(family, SocketType::STREAM, None).unwrap();
        bind(&listener, &address).unwrap();
        listen(&listener, 0).unwrap();
        let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
        // Once the queue is full, the system ignores further connections.
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let queue = (0..3).filter_map(connect).collect();
        DeadHost { address, _listener: listener, _queue: queue }
    }
}
