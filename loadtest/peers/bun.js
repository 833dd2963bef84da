// A relay on Bun's own WebSocket server and its native publish: bun peers/bun.js PORT
import { isFix } from "./fix.js";

Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2] ?? 9001),
  fetch(request, server) {
    const [, role, room] = new URL(request.url).pathname.split("/");
    return server.upgrade(request, { data: { role, room } }) ? undefined : new Response("a WebSocket, please", { status: 426 });
  },
  websocket: {
    open(socket) {
      if (socket.data.role === "watch") socket.subscribe(socket.data.room);
    },
    message(socket, text) {
      const fix = JSON.parse(text);
      if (isFix(fix)) socket.publish(socket.data.room, JSON.stringify(fix));
    },
  },
});
