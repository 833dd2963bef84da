// A relay on Socket.IO with rooms, over WebSocket alone: node peers/socketio.js PORT
import { createServer } from "node:http";
import { Server } from "socket.io";
import { isFix } from "./fix.js";

const http = createServer();
const io = new Server(http, { transports: ["websocket"] });
io.on("connection", (socket) => {
  const { role, room } = socket.handshake.query;
  if (role === "watch") socket.join(room);
  socket.on("fix", (fix) => {
    if (isFix(fix)) socket.to(room).emit("fix", fix);
  });
});
http.listen(Number(process.argv[2] ?? 9002), "127.0.0.1");
