//! A WebSocket that a shard owns: reading through the shard's one buffer, writing without waiting, and the clocks that tell when it
//! is silent, stalled or stuck. What the messages mean is the owner's business.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use socket2::SockRef;
use tokio::io::{AsyncRead as _, Interest, ReadBuf, Ready};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use wayfare_wire::CloseCode;

use super::handshake::{Raw, Socket};
use super::read::{Flow, Incoming, Reader, Violation};
use super::secure::Secure;
use super::{Opcode, write};
use crate::bucket::{Bucket, Rate};
use crate::serve::Permit;

/// Bytes that may wait for a blocked socket. Beyond it the client is not reading at all.
const UNSENT_MAX: usize = 128 * 1024;

/// An unfinished frame may stay so for this long, seconds.
const STALL_S: u32 = 10;

/// After the goodbye the client has this long to leave, seconds.
const LINGER_S: u32 = 2;

/// The half of a socket that a connection's task waits on.
pub enum ReadHalf {
    /// Bytes as they are.
    Plain(OwnedReadHalf),
    /// TLS.
    Tls(Rc<Secure>),
}

/// The half that the shard writes.
enum WriteHalf {
    Plain(OwnedWriteHalf),
    Tls(Rc<Secure>),
}

impl ReadHalf {
    /// Waits until the socket can be read, or written.
    ///
    /// # Errors
    /// The reactor is gone.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Plain(half) => half.ready(interest).await,
            Self::Tls(secure) => secure.ready(interest).await,
        }
    }

    /// Reads what is there; 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock`, or the connection is gone.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(half) => half.try_read(buffer),
            Self::Tls(secure) => secure.try_read(buffer),
        }
    }
}

impl WriteHalf {
    fn try_write(&self, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(half) => send(half, buffers),
            Self::Tls(secure) => secure.try_write(buffers),
        }
    }

    /// Whether bytes that count as written wait for the socket.
    fn is_behind(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(secure) => secure.is_behind(),
        }
    }

    fn flush(&self) -> io::Result<(usize, bool)> {
        match self {
            Self::Plain(_) => Ok((0, true)),
            Self::Tls(secure) => secure.flush(),
        }
    }
}

/// Asks the kernel at once. What the runtime has noted of a socket lies in memory of its own, cold for each of thousands of sockets in a turn.
fn send(half: &OwnedWriteHalf, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
    let socket = SockRef::from(half.as_ref());
    let sent = match buffers {
        [one] => socket.send(one),
        several => socket.send_vectored(several),
    };
    match sent {
        // Once more by way of the runtime, which then waits for the socket.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => half.try_write_vectored(buffers),
        other => other,
    }
}

/// See the module. Seconds are the owner's own count.
pub struct Link {
    stream: WriteHalf,
    /// Wakes the connection's task: the socket blocked, or the connection is to end.
    pub wake: Rc<Notify>,
    reader: Reader,
    unsent: Vec<u8>,
    /// When the socket last took something while bytes waited.
    moved_s: u32,
    /// When something was last sent.
    pub sent_s: u32,
    /// When something was last heard.
    pub heard_s: u32,
    /// When a ping last went out because nothing was heard: a client that only listens must be asked, however much it is sent.
    pinged_s: u32,
    stalled_s: Option<u32>,
    messages: Bucket,
    closing_until_s: Option<u32>,
    _permit: Permit,
}

/// Bounds and rhythms by which a link is looked over.
#[derive(Debug, Clone, Copy)]
pub struct LinkLimits {
    /// Something is sent at least this often, and something heard at least every two and a half times this long, seconds.
    pub heartbeat_s: u32,
    /// A socket that takes nothing for this long while bytes wait is cut, seconds.
    pub slow_s: u32,
    /// What a client may send.
    pub messages: Rate,
}

/// What looking over found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Well,
    /// Nothing was sent, or nothing heard, for a while: send a ping and a heartbeat.
    Quiet,
    /// End it, saying why.
    End(CloseCode),
    /// End it without a word: nothing would arrive.
    Cut(CloseCode),
}

impl Link {
    /// Takes a socket into the calling thread's runtime. The half that reads is the connection's task's, together with the bytes that
    /// came right behind the handshake.
    ///
    /// # Errors
    /// The reactor refuses the socket.
    pub fn new(socket: Socket, limits: &LinkLimits, now_s: u32) -> io::Result<(Self, ReadHalf, bytes::Bytes)> {
        let (half, stream) = match socket.raw {
            Raw::Plain(stream) => {
                let (half, stream) = TcpStream::from_std(stream)?.into_split();
                (ReadHalf::Plain(half), WriteHalf::Plain(stream))
            }
            Raw::Tls(stream, tls) => {
                let secure = Rc::new(Secure::new(stream, *tls)?);
                (ReadHalf::Tls(Rc::clone(&secure)), WriteHalf::Tls(secure))
            }
        };
        let link = Self {
            stream,
            wake: Rc::new(Notify::new()),
            reader: Reader::default(),
            unsent: Vec::new(),
            moved_s: now_s,
            sent_s: now_s,
            heard_s: now_s,
            pinged_s: now_s,
            stalled_s: None,
            messages: Bucket::full(limits.messages, Instant::now()),
            closing_until_s: None,
            _permit: socket.permit,
        };
        Ok((link, half, socket.early))
    }

    /// Whether bytes wait for the socket.
    pub fn is_blocked(&self) -> bool {
        !self.unsent.is_empty() || self.stream.is_behind()
    }

    /// Whether the goodbye was said.
    pub fn is_closing(&self) -> bool {
        self.closing_until_s.is_some()
    }

    /// Whether the task should end now.
    pub fn is_over(&self, now_s: u32) -> bool {
        self.closing_until_s.is_some_and(|until_s| until_s <= now_s)
    }

    /// Writes as much of whole frames as the socket takes now, in one system call; the rest is the caller's to keep or to drop at a
    /// frame's end ([`Self::keep`]). Nothing may be waiting.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn try_write(&mut self, buffers: &[io::IoSlice<'_>], now_s: u32) -> io::Result<usize> {
        debug_assert!(!self.is_blocked(), "what waits goes first");
        self.sent_s = now_s;
        match self.stream.try_write(buffers) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => {
                self.note_behind(now_s);
                other
            }
        }
    }

    /// What is encrypted and waits is for the connection's task to send.
    fn note_behind(&mut self, now_s: u32) {
        if self.stream.is_behind() {
            self.moved_s = now_s;
            self.wake.notify_one();
        }
    }

    /// Keeps the rest of a frame that was begun; it goes out before anything else. An empty rest marks the socket as full all the
    /// same: an empty ping waits, and when it is gone there is room again.
    pub fn keep(&mut self, rest: &[u8], now_s: u32) {
        if self.unsent.is_empty() {
            self.moved_s = now_s;
        }
        if rest.is_empty() && self.unsent.is_empty() {
            write::frame(&mut self.unsent, Opcode::Ping, b"");
        }
        self.unsent.extend_from_slice(rest);
        self.wake.notify_one();
    }

    /// Sends whole frames: now, or behind what already waits. A client that takes nothing any more is cut.
    pub fn send(&mut self, frames: &[u8], now_s: u32) {
        self.sent_s = now_s;
        let mut taken = 0;
        if self.unsent.is_empty() {
            match self.stream.try_write(&[io::IoSlice::new(frames)]) {
                Ok(count) if count == frames.len() => return self.note_behind(now_s),
                Ok(count) => taken = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return self.cut(),
            }
            self.moved_s = now_s;
        }
        if self.unsent.len() + frames.len() - taken > UNSENT_MAX {
            return self.cut();
        }
        self.unsent.extend_from_slice(&frames[taken..]);
        self.wake.notify_one();
    }

    /// The socket takes bytes again. False when the connection is gone.
    pub fn drain(&mut self, now_s: u32) -> bool {
        match self.stream.flush() {
            Ok((sent, all)) => {
                if sent > 0 {
                    self.moved_s = now_s;
                }
                if !all || self.unsent.is_empty() {
                    return true;
                }
            }
            Err(_) => return false,
        }
        match self.stream.try_write(&[io::IoSlice::new(&self.unsent)]) {
            Ok(count) => {
                self.unsent.drain(..count);
                if self.unsent.is_empty() {
                    self.unsent = Vec::new();
                }
                self.moved_s = now_s;
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Ends without another word.
    pub fn cut(&mut self) {
        self.closing_until_s = Some(0);
        self.wake.notify_one();
    }

    /// Sends the goodbye (`bye` is a whole message) and a close frame, then lets the client leave. Only the first is said.
    pub fn close(&mut self, code: CloseCode, opcode: Opcode, bye: &[u8], now_s: u32) {
        if self.is_closing() {
            return;
        }
        let mut frames = Vec::with_capacity(bye.len() + 64);
        write::frame(&mut frames, opcode, bye);
        write::close(&mut frames, code.number(), code.word());
        self.send(&frames, now_s);
        self.closing_until_s.get_or_insert(now_s + LINGER_S);
        self.wake.notify_one();
    }

    /// Looks at the clocks.
    pub fn health(&mut self, limits: &LinkLimits, now_s: u32) -> Health {
        if self.is_closing() {
            return Health::Well;
        }
        if self.is_blocked() && now_s >= self.moved_s + limits.slow_s {
            return Health::Cut(CloseCode::Slow);
        }
        let stalled = self.stalled_s.is_some_and(|since_s| now_s >= since_s + STALL_S);
        if stalled || (now_s - self.heard_s) * 2 > limits.heartbeat_s * 5 {
            return Health::End(CloseCode::Silent);
        }
        let unheard = now_s >= self.heard_s.max(self.pinged_s) + limits.heartbeat_s;
        if !self.is_blocked() && (unheard || now_s >= self.sent_s + limits.heartbeat_s) {
            self.pinged_s = now_s;
            return Health::Quiet;
        }
        Health::Well
    }

    /// Takes the reader out while its messages are handled by someone who needs the link too; see [`Self::settle`].
    pub fn take_reader(&mut self, now_s: u32) -> Reader {
        self.heard_s = now_s;
        std::mem::take(&mut self.reader)
    }

    /// Puts the reader back.
    pub fn settle(&mut self, reader: Reader, now_s: u32) {
        self.stalled_s = reader.is_waiting().then(|| self.stalled_s.unwrap_or(now_s));
        self.reader = reader;
    }

    /// Handles what every protocol has in common: pings, closing, floods, messages that are no text. What is left is a text message.
    ///
    /// # Errors
    /// The code to close with.
    pub fn common<'a>(
        &mut self,
        incoming: Incoming<'a>,
        limits: &LinkLimits,
        now_s: u32,
    ) -> Result<Common<'a>, CloseCode> {
        if let Incoming::Close(_) = incoming {
            if !self.is_closing() {
                let mut frame = Vec::new();
                write::close(&mut frame, CloseCode::Normal.number(), "");
                self.send(&frame, now_s);
            }
            return Ok(Common::Handled(Flow::Stop));
        }
        if self.is_closing() {
            return Ok(Common::Handled(Flow::On)); // what comes after our goodbye is not read any more
        }
        if !self.messages.take(limits.messages, Instant::now()) {
            return Err(CloseCode::Flood);
        }
        match incoming {
            Incoming::Text(text) => return Ok(Common::Text(text)),
            Incoming::Binary(bytes) => return Ok(Common::Binary(bytes)),
            Incoming::Ping(payload) => {
                let mut frame = Vec::new();
                write::frame(&mut frame, Opcode::Pong, payload);
                self.send(&frame, now_s);
            }
            Incoming::Pong(_) | Incoming::Close(_) => {}
        }
        Ok(Common::Handled(Flow::On))
    }
}

/// See [`Link::common`].
pub enum Common<'a> {
    /// A message of the protocol.
    Text(&'a str),
    /// A message of bytes; whose codec has none closes with [`CloseCode::Unsupported`].
    Binary(&'a [u8]),
    /// Nothing left to do.
    Handled(Flow),
}

/// The close code for a violation of the framing.
pub fn code_of(violation: Violation) -> CloseCode {
    match violation {
        Violation::Protocol(_) => CloseCode::Protocol,
        Violation::NotText => CloseCode::InvalidText,
        Violation::TooBig => CloseCode::TooBig,
    }
}

/// Reads once into `buffer`, which may be shared: it is only touched while bytes are there. A read that does not fill it tells the
/// reactor that the socket is empty, which saves the second system call of asking.
pub fn poll_read(half: &mut ReadHalf, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    let half = match half {
        ReadHalf::Plain(half) => half,
        ReadHalf::Tls(secure) => return secure.poll_read(cx, buffer),
    };
    let mut read = ReadBuf::new(buffer);
    ready!(Pin::new(half).poll_read(cx, &mut read))?;
    Poll::Ready(Ok(read.filled().len()))
}
