//! One connection of the generator.

use std::io::{self, Read as _, Write as _};

use mio::net::TcpStream;

use super::super::client::Opened;

/// Whose connection it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    Driver {
        ride: usize,
    },
    Watcher {
        ride: usize,
        /// `t_ms` of the newest fix it was told.
        seen_ms: i64,
    },
    /// A map of all drivers.
    Map,
    /// Held open and not counted.
    Nobody,
}

/// A socket, and what did not fit.
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    pub(super) who: Who,
    /// The beginning of a frame whose rest has not come.
    pub(super) partial: Vec<u8>,
    unsent: Vec<u8>,
    open: bool,
}

impl Conn {
    pub(super) fn new(opened: Opened, who: Who) -> Self {
        Self { stream: TcpStream::from_std(opened.stream), who, partial: opened.early, unsent: Vec::new(), open: true }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// The server is gone; true the first time.
    pub(super) fn close(&mut self) -> bool {
        std::mem::replace(&mut self.open, false)
    }

    /// Whether the kernel has not taken all yet.
    pub(super) fn is_behind(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Writes as much as fits; the rest goes when there is room.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return;
        }
        let written = self.try_write(bytes);
        self.unsent.extend_from_slice(&bytes[written..]);
    }

    pub(super) fn flush(&mut self) {
        if self.unsent.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.unsent);
        let written = self.try_write(&bytes);
        self.unsent.extend_from_slice(&bytes[written..]);
    }

    /// What the kernel took. A broken line shows itself at the next read.
    fn try_write(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.stream.write(&bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return bytes.len(),
            }
        }
        written
    }

    /// Reads once. `None`: nothing there now; 0: the line is over.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            match self.stream.read(buffer) {
                Ok(count) => return Some(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => return Some(0),
            }
        }
    }
}
