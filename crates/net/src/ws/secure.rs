//! A TLS connection whose socket a shard owns: reading and writing without waiting, as with a plain one.
//!
//! Bytes that are encrypted and not sent yet count as a blocked socket: nothing more is encrypted until they are gone. So what may wait
//! is bounded, and what is conflated is conflated as plain text.

use std::io::{self, Read as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;

use super::handshake::Raw;

/// See the module. The lock is there for hand-overs between threads; a shard never waits for it.
pub struct Secure {
    tcp: TcpStream,
    tls: Mutex<ServerConnection>,
}

/// The socket as the TLS library wants to see it.
struct Direct<'a>(&'a TcpStream);

impl io::Read for Direct<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl io::Write for Direct<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Secure {
    /// Takes both into the calling thread's runtime.
    ///
    /// # Errors
    /// The reactor refuses the socket.
    pub fn new(tcp: std::net::TcpStream, tls: ServerConnection) -> io::Result<Self> {
        Ok(Self { tcp: TcpStream::from_std(tcp)?, tls: Mutex::new(tls) })
    }

    /// Takes them out of it again.
    ///
    /// # Errors
    /// As [`TcpStream::into_std`].
    pub fn release(self) -> io::Result<Raw> {
        let tls = self.tls.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Raw::Tls(self.tcp.into_std()?, Box::new(tls)))
    }

    /// Waits until the socket can be read, or written.
    ///
    /// # Errors
    /// The reactor is gone.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.tcp.ready(interest).await
    }

    /// Whether encrypted bytes wait for the socket.
    pub fn is_behind(&self) -> bool {
        self.tls().wants_write()
    }

    /// Sends what is encrypted: how many bytes went, and whether that was all.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn flush(&self) -> io::Result<(usize, bool)> {
        self.flush_locked(&mut self.tls())
    }

    /// Encrypts and sends as much as may be taken now, if nothing waits.
    ///
    /// # Errors
    /// `WouldBlock`, or the connection is gone.
    pub fn try_write(&self, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let mut tls = self.tls();
        if !self.flush_locked(&mut tls)?.1 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = tls.writer().write_vectored(buffers)?;
        self.flush_locked(&mut tls)?;
        Ok(taken)
    }

    /// Reads what is there; 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock`, or the connection is gone.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut tls = self.tls();
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An end that was not announced is an end all the same: a WebSocket has a close frame of its own.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            if tls.read_tls(&mut Direct(&self.tcp))? == 0 {
                return Ok(0);
            }
            let processed = tls.process_new_packets();
            // Alerts, tickets, answers to a new key.
            self.flush_locked(&mut tls)?;
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// The same, and wakes the task when there is more.
    ///
    /// # Errors
    /// As [`Self::try_read`].
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.tcp.poll_read_ready(cx))?,
                read => return Poll::Ready(read),
            }
        }
    }

    fn flush_locked(&self, tls: &mut ServerConnection) -> io::Result<(usize, bool)> {
        let mut sent = 0;
        while tls.wants_write() {
            match tls.write_tls(&mut Direct(&self.tcp)) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((sent, false)),
                Err(error) => return Err(error),
            }
        }
        Ok((sent, true))
    }

    fn tls(&self) -> MutexGuard<'_, ServerConnection> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
