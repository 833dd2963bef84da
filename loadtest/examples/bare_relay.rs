//! What the system's calls cost by themselves: a relay that passes on what it reads, unread. One thread, one poll loop, one `read` for a
//! fix and one `write` for a watcher; no validation, no library for WebSockets, nothing kept. No server of fixes can be cheaper.
//!
//! `cargo run --release -p wayfare-loadtest --example bare_relay -- 9004`, then `loadtest closed --speaks relay` against it.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const LISTENER: Token = Token(usize::MAX);

struct Socket {
    stream: TcpStream,
    /// Known once it was upgraded.
    room: Option<String>,
    /// What came in part.
    begun: Vec<u8>,
}

fn main() -> anyhow::Result<()> {
    let port = std::env::args().nth(1).map_or(Ok(9004), |port| port.parse())?;
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut sockets, mut rooms) = (HashMap::<Token, Socket>::new(), HashMap::<String, Vec<Token>>::new());
    let (mut next, mut buffer) = (0, vec![0; 64 * 1024]);
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            anyhow::ensure!(error.kind() == io::ErrorKind::Interrupted, error);
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    poll.registry().register(&mut stream, Token(next), Interest::READABLE)?;
                    sockets.insert(Token(next), Socket { stream, room: None, begun: Vec::new() });
                    next += 1;
                }
                continue;
            }
            let token = event.token();
            let Some(mut socket) = sockets.remove(&token) else { continue };
            let open = loop {
                match socket.stream.read(&mut buffer) {
                    Ok(0) => break false,
                    Ok(count) => {
                        take(&mut socket, &buffer[..count], token, &mut sockets, &mut rooms)?;
                        // Less than there is room for: that was all.
                        if count < buffer.len() {
                            break true;
                        }
                    }
                    Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
                }
            };
            match open {
                true => drop(sockets.insert(token, socket)),
                false => rooms.values_mut().for_each(|watchers| watchers.retain(|watcher| *watcher != token)),
            }
        }
    }
}

fn take(
    socket: &mut Socket,
    bytes: &[u8],
    token: Token,
    sockets: &mut HashMap<Token, Socket>,
    rooms: &mut HashMap<String, Vec<Token>>,
) -> io::Result<()> {
    let gathered = (!socket.begun.is_empty()).then(|| [&socket.begun, bytes].concat());
    let mut rest = gathered.as_deref().unwrap_or(bytes);
    let Some(room) = &socket.room else {
        socket.begun = rest.to_vec();
        if rest.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&std::mem::take(&mut socket.begun)).into_owned();
            upgrade(socket, &head, token, rooms)?;
        }
        return Ok(());
    };
    let mut out = Vec::new();
    while let Some((payload, mask, after)) = frame(rest) {
        out.extend_from_slice(&[0x81]);
        match payload.len() {
            short @ ..126 => out.push(short as u8),
            long => {
                out.push(126);
                out.extend_from_slice(&(long as u16).to_be_bytes());
            }
        }
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        rest = after;
    }
    if socket.begun != rest {
        socket.begun = rest.to_vec();
    }
    if !out.is_empty() {
        for watcher in rooms.get(room).into_iter().flatten() {
            if let Some(watcher) = sockets.get_mut(watcher) {
                // Who does not keep up loses: this measures calls, nothing else.
                let _ = watcher.stream.write(&out);
            }
        }
    }
    Ok(())
}

/// A masked frame's payload and mask, and what comes behind it; `None` if it is not all there. Of at most 64 KiB.
fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (head, length) = match bytes.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        length => (2, usize::from(length)),
    };
    let end = head + 4 + length;
    (bytes.len() >= end).then(|| (&bytes[head + 4..end], &bytes[head..head + 4], &bytes[end..]))
}

fn upgrade(socket: &mut Socket, head: &str, token: Token, rooms: &mut HashMap<String, Vec<Token>>) -> io::Result<()> {
    let value = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
        line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.trim().to_owned())
    };
    let accept = derive_accept_key(value("sec-websocket-key").unwrap_or_default().as_bytes());
    let path = head.split(' ').nth(1).unwrap_or_default();
    let mut parts = path.split('/').skip(1);
    let (role, room) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default().to_owned());
    if role == "watch" {
        rooms.entry(room.clone()).or_default().push(token);
    }
    socket.room = Some(room);
    write!(
        socket.stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}
