//! Watchers out: bus to WebSocket, SSE, polling.
