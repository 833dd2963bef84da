// The browser tests against the development mock: tells whether they, and the pages, work before there is a server.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { startMock } from '../dev/mock.mjs';

const mock = await startMock();
const run = spawn(process.execPath, [fileURLToPath(new URL('./run.mjs', import.meta.url))], {
  stdio: 'inherit',
  env: { ...process.env, WAYFARE_URL: mock.url },
});
run.on('exit', async (code) => {
  await mock.close();
  process.exit(code ?? 1);
});
