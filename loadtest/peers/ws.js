// A relay on the library ws: node peers/ws.js PORT
import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { isFix } from "./fix.js";

const rooms = new Map();
const server = createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on("connection", (socket, request) => {
  const [, role, room] = request.url.split("/");
  if (!rooms.has(room)) rooms.set(room, new Set());
  const watchers = rooms.get(room);
  if (role === "watch") {
    watchers.add(socket);
    socket.on("close", () => watchers.delete(socket));
  }
  socket.on("message", (bytes) => {
    const fix = JSON.parse(bytes);
    if (!isFix(fix)) return;
    const text = JSON.stringify(fix);
    for (const watcher of watchers) watcher.send(text);
  });
});
server.listen(Number(process.argv[2] ?? 9003), "127.0.0.1");
