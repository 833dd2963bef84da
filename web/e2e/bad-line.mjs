// A line to the house that can be held and cut, as in a tunnel. Plain TCP: the browser and the house notice nothing else.
import { connect, createServer } from 'node:net';

/** @param {string} target origin of the house */
export async function badLine(target) {
  const { hostname, port } = new URL(target);
  const sockets = new Set();
  let down = false;
  let upBytesMax = Infinity;

  const server = createServer((near) => {
    if (down) return near.destroy();
    const far = connect({ host: hostname, port: Number(port) });
    let upBytes = 0;
    bind(near, far, sockets);
    far.pipe(near);
    near.on('data', (bytes) => {
      upBytes += bytes.length;
      if (!far.write(bytes)) {
        near.pause();
        far.once('drain', () => upBytes < upBytesMax && near.resume());
      }
      // Held: what follows waits in the browser, and the line looks alive.
      if (upBytes >= upBytesMax) near.pause();
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const end = () => sockets.forEach((socket) => socket.destroy());

  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** Each connection carries at most so many bytes (and what was read with them) to the house, and then waits. */
    holdAfter(bytes) {
      upBytesMax = bytes;
    },
    cut() {
      down = true;
      end();
    },
    mend() {
      down = false;
      upBytesMax = Infinity;
    },
    async close() {
      down = true;
      end();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Both halves of a line end together; `sockets` are those that are open. */
export function bind(near, far, sockets) {
  for (const [from, to] of [[near, far], [far, near]]) {
    sockets.add(from);
    from.on('error', () => {});
    from.on('close', () => {
      sockets.delete(from);
      to.destroy();
    });
  }
}
