//! Drivers in: WebSocket and HTTP to engine to bus.
