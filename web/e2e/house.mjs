// A house of the test's own, in a folder that goes with it. WAYFARE_BIN names another binary than the debug build's.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const BINARY = process.env.WAYFARE_BIN ?? fileURLToPath(new URL('../../target/debug/wayfare', import.meta.url));

export async function startHouse() {
  const folder = await mkdtemp(join(tmpdir(), 'wayfare-e2e-'));
  const surroundings = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('WAYFARE_')));
  const house = spawn(BINARY, ['serve'], {
    cwd: folder,
    // Variables of ours stand for keys of the configuration, and those of the test for none.
    env: { ...surroundings, WAYFARE_DATA_DIR: folder, WAYFARE_HTTP_LISTEN: '127.0.0.1:0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise((resolve) => house.once('exit', resolve));
  const log = [];
  createInterface({ input: house.stderr }).on('line', (line) => log.push(line));
  let key;
  const url = await new Promise((resolve, reject) => {
    house.once('error', reject);
    void ended.then(() => reject(new Error(`the house ended before it was open:\n${log.join('\n')}`)));
    createInterface({ input: house.stdout }).on('line', (line) => {
      if (/^eyJ\S+$/.test(line)) key = line;
      const at = /http:\/\/[\d.:]+/.exec(line);
      if (at) resolve(at[0]);
    });
  }).catch(async (cause) => {
    await rm(folder, { recursive: true, force: true });
    throw cause;
  });

  return {
    url,
    /** Where it keeps what it is told. */
    folder,
    /** Asks the house itself, whatever line the browser is on. */
    async ask(method, path, body) {
      const response = await fetch(url + path, {
        method,
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
        ...(body && { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      assert.ok(response.ok, `${method} ${path} answered ${response.status}: ${text}`);
      return text === '' ? {} : JSON.parse(text);
    },
    assertCleanLog() {
      assert.deepEqual(log.filter((line) => / ERROR | WARN |panicked/.test(line)), []);
    },
    async close() {
      house.kill('SIGTERM');
      const hard = setTimeout(() => house.kill('SIGKILL'), 20_000);
      await ended;
      clearTimeout(hard);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
