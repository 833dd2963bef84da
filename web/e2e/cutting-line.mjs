// A line to the house that is cut again and again in the middle of what is sent, by turns as a dead phone does (RST) and as a proxy does (FIN).
import { connect, createServer } from 'node:net';
import { bind } from './bad-line.mjs';

/**
 * The first `cuts` connections that carry more than `HEAD_BYTES` are cut after a random number of bytes, such that `bytes` are never all sent before the last cut.
 * @param {string} target origin of the house
 */
export async function cuttingLine(target, { cuts, bytes, seed }) {
  const { hostname, port } = new URL(target);
  const sockets = new Set();
  const done = { reset: 0, closed: 0 };
  let random = seed;
  /** The same in every run. */
  const roll = () => {
    random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
    return random / 2 ** 32;
  };
  let connections = 0;

  const server = createServer((near) => {
    connections += 1;
    const far = connect({ host: hostname, port: Number(port) });
    bind(near, far, sockets);
    const isDue = () => done.reset + done.closed < cuts;
    // Beyond the head of a request, so that some of its body goes with it.
    let left = HEAD_BYTES + Math.floor(roll() * ((1.6 * bytes) / cuts));
    far.pipe(near);
    near.on('data', (piece) => {
      if (!isDue() || piece.length < left) {
        left -= piece.length;
        if (!far.write(piece)) {
          near.pause();
          far.once('drain', () => near.resume());
        }
        return;
      }
      near.pause();
      // What came before the cut has left: it is in the house, or on the way.
      far.write(piece.subarray(0, left), () => {
        if (!isDue()) return;
        if (roll() < 0.5) {
          done.reset += 1;
          near.resetAndDestroy();
          far.resetAndDestroy();
        } else {
          done.closed += 1;
          near.destroy();
          far.end();
        }
      });
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cuts: done,
    connections: () => connections,
    async close() {
      sockets.forEach((socket) => socket.destroy());
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A request without a body is shorter. */
const HEAD_BYTES = 2_000;
