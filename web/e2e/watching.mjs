// What a test may not overlook while a page is open: requests to elsewhere, errors, refused policies.
import assert from 'node:assert/strict';

/** Watches `page` from before its first request. */
export async function watchPage(page, origin) {
  const foreign = [];
  const errors = [];
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (!['blob:', 'data:'].includes(url.protocol) && url.origin !== origin) foreign.push(request.url());
  });
  page.on('websocket', (socket) => {
    if (new URL(socket.url()).host !== new URL(origin).host) foreign.push(socket.url());
  });
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  page.on('pageerror', (error) => errors.push(error.message));
  await page.exposeFunction('reportViolation', (what) => errors.push(`policy: ${what}`));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => window.reportViolation(`${event.violatedDirective} ${event.blockedURI}`));
  });
  return {
    assertClean() {
      assert.deepEqual(foreign, [], 'requests to elsewhere');
      assert.deepEqual(errors, [], 'errors on the page');
    },
  };
}

/** Asks `probe` until it gives something, with a deadline instead of a sleep. */
export async function eventually(what, probe, within_ms = 30_000) {
  const deadline_ms = Date.now() + within_ms;
  let last;
  for (;;) {
    try {
      const found = await probe();
      if (found) return found;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline_ms) throw new Error(`not within ${within_ms / 1000} s: ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
