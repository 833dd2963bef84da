// Clients of tus as they are, over a line that is cut fifty times at random places in the middle of their requests: in the end the house has the file byte for byte.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Upload } from 'tus-js-client';
import { cuttingLine } from './cutting-line.mjs';
import { startHouse } from './house.mjs';
import { pictureOnDisk } from './photographs.mjs';
import { eventually } from './watching.mjs';

const CUTS = 50;
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
/** `cargo xtask test` installs it. */
const PYTHON = process.env.TUSPY_PYTHON ?? here('../../target/tools/python/bin/python');

let folder;
let house;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wayfare-e2e-files-'));
  house = await startHouse();
});
after(async () => {
  await house?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** Has `send` upload a photograph to a store of its own, and compares what is kept with it. */
async function overBadLine(number, send) {
  const store = (await house.ask('POST', '/v1/stores', { name: 'Tasca', lat: 41.15, lon: -8.61 })).id;
  const { token } = await house.ask('POST', '/v1/tokens', { role: 'store', sub: store });
  // A picture of its own for each client.
  const bytes = await pictureOnDisk(number);
  const path = join(folder, `${number}.jpg`);
  await writeFile(path, bytes);
  const line = await cuttingLine(house.url, { cuts: CUTS, bytes: bytes.length, seed: number });
  try {
    const url = await send({ endpoint: `${line.url}/v1/uploads`, token, path, bytes });
    const id = url.split('/').at(-1);
    const record = await eventually('the picture', async () => {
      const upload = await house.ask('GET', `/v1/uploads/${id}`);
      return upload.ended_ms && upload;
    });
    assert.equal(record.state, 'done', JSON.stringify(record));
    assert.equal(record.received, bytes.length);
    assert.equal(line.cuts.reset + line.cuts.closed, CUTS);
    assert.ok(line.cuts.reset > 10 && line.cuts.closed > 10, JSON.stringify(line.cuts));
    const name = createHash('sha256').update(bytes).digest('hex');
    const kept = await readFile(join(house.folder, 'files/stores', store, 'originals', name));
    assert.ok(kept.equals(bytes), 'the file is another');
    const items = (await house.ask('GET', `/v1/stores/${store}/menu`)).items;
    assert.deepEqual(items.map(({ item, images }) => [item, images.map(({ upload }) => upload)]), [['bacalhau', [id]]]);
    house.assertCleanLog();
    console.log(`  ${bytes.length} bytes, ${line.cuts.reset} resets and ${line.cuts.closed} ends, ${line.connections()} connections`);
  } finally {
    await line.close();
  }
}

describe('a line that is cut fifty times', () => {
  test('tus-js-client goes on by itself', { timeout: 120_000 }, () =>
    overBadLine(1, ({ endpoint, token, bytes }) =>
      new Promise((resolve, reject) => {
        const upload = new Upload(bytes, {
          endpoint,
          headers: { authorization: `Bearer ${token}` },
          metadata: { item: 'bacalhau', filename: 'IMG_0042.jpg' },
          onSuccess: () => resolve(upload.url),
          onError: reject,
        });
        upload.start();
      }),
    ),
  );

  test('tuspy goes on by itself', { timeout: 120_000 }, () =>
    overBadLine(2, ({ endpoint, token, path }) =>
      new Promise((resolve, reject) => {
        assert.ok(existsSync(PYTHON), `${PYTHON} is not there: \`cargo xtask test\` installs tuspy`);
        const child = spawn(PYTHON, [here('tuspy-upload.py'), endpoint, path, String(CUTS)], { env: { TOKEN: token }, stdio: ['ignore', 'pipe', 'inherit'] });
        let said = '';
        child.stdout.on('data', (piece) => (said += piece));
        child.once('error', reject);
        child.once('exit', (code) => (code === 0 ? resolve(said.trim()) : reject(new Error(`tuspy ended with ${code}`))));
      }),
    ),
  );
});
