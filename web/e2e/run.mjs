// Browser tests against a running demo server. Starts nothing itself:
//   WAYFARE_URL=http://127.0.0.1:8080 node e2e/run.mjs
// WAYFARE_TRACK_URL: the page of a courier under way, where it is not to be found in /demo/orders.json.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DESKTOP, launchBrowser, PHONE } from './browser.mjs';
import { fakeWebSocket } from './fake-websocket.mjs';
import { BEFORE_PICKUP, orderIn, UNDER_WAY } from './orders.mjs';
import { eventually, watchPage } from './watching.mjs';

const base = process.env.WAYFARE_URL?.replace(/\/+$/, '');
if (!base) throw new Error('WAYFARE_URL is not set: the origin of a running demo server');
const origin = new URL(base).origin;
const results = fileURLToPath(new URL('../test-results/', import.meta.url));

let browser;
before(async () => {
  await mkdir(results, { recursive: true });
  browser = await launchBrowser();
});
after(() => browser?.close());

/** A page of its own for each test, closed whatever happens. */
async function onPage(device, act, options = {}) {
  const context = await (options.browser ?? browser).newContext({ ...device, ...options.context });
  try {
    const page = await context.newPage();
    const watched = await watchPage(page, origin);
    await act(page, watched);
  } finally {
    await context.close();
  }
}

const at = (url) => new URL(url, base).href;
const screenshot = (page, name) => page.screenshot({ path: `${results}${name}.png` });
const body = (page, name, value) => page.waitForFunction(([key, wanted]) => document.body.dataset[key] === wanted, [name, value], { timeout: 30_000 });
const transport = (page, wanted, timeout = 30_000) =>
  page.waitForFunction((name) => document.querySelector('#badge')?.dataset.transport === name, wanted, { timeout });
const drawnAt = (page) =>
  page.evaluate(() => {
    const { lat, lon } = document.querySelector('.courier')?.dataset ?? {};
    return lat === undefined ? undefined : `${lat} ${lon}`;
  });

async function assertMoves(page, within_ms = 30_000) {
  const first = await eventually('a marker', () => drawnAt(page));
  await eventually('the marker moves', async () => (await drawnAt(page)) !== first, within_ms);
}

async function underWayUrl() {
  return process.env.WAYFARE_TRACK_URL ?? at((await orderIn(base, UNDER_WAY)).url);
}

describe('the customer page', () => {
  test('before pick-up: says who does what, and shows no position', async () => {
    const order = await orderIn(base, BEFORE_PICKUP);
    await onPage(PHONE, async (page, watched) => {
      await page.goto(at(order.url));
      await body(page, 'map', 'ready');
      const seen = await eventually('the phase', () =>
        page.evaluate(() => {
          const { phase } = document.body.dataset;
          return phase && { phase, headline: document.querySelector('#headline').textContent, couriers: document.querySelectorAll('.courier').length, pins: document.querySelectorAll('.pin').length };
        }),
      );
      if (BEFORE_PICKUP.includes(seen.phase)) assert.equal(seen.couriers, 0, `a courier is shown in ${seen.phase}`);
      assert.ok(seen.headline.length > 5);
      assert.ok(seen.pins >= 1, 'no pins');
      await screenshot(page, 'phone-before-pickup');
      watched.assertClean();
    });
  });

  for (const [name, device] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
    test(`under way, on a ${name}: moves, tells the time, is live, asks nobody else`, async () => {
      const url = await underWayUrl();
      await onPage(device, async (page, watched) => {
        await page.goto(url);
        await transport(page, 'websocket');
        assert.equal(await page.getAttribute('#badge', 'data-status'), 'live');
        await body(page, 'map', 'ready');
        await assertMoves(page);
        await page.waitForSelector('#eta-clock:visible');
        assert.match(await page.textContent('#eta-clock'), /\d{1,2}.\d{2}/);
        assert.match(await page.textContent('#eta-relative'), /min|moment|expected/);
        assert.match(await page.textContent('#fix'), /position|no signal/);
        assert.equal(await page.locator('#steps [aria-current="step"]').count(), 1);
        assert.ok((await page.textContent('#announcer')).length > 5);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `${overflow} px wider than the screen`);
        await screenshot(page, `${name}-under-way`);
        watched.assertClean();
      });
    });
  }

  test('in the dark', async () => {
    const url = await underWayUrl();
    await onPage(
      PHONE,
      async (page, watched) => {
        await page.goto(url);
        await body(page, 'map', 'ready');
        await eventually('a marker', () => drawnAt(page));
        await screenshot(page, 'phone-dark');
        watched.assertClean();
      },
      { context: { colorScheme: 'dark', reducedMotion: 'reduce' } },
    );
  });

  test('moved by hand: offers to recentre, and does', async () => {
    const url = await underWayUrl();
    await onPage(DESKTOP, async (page) => {
      await page.goto(url);
      await body(page, 'map', 'ready');
      await eventually('a marker', () => drawnAt(page));
      await page.mouse.move(800, 300);
      await page.mouse.down();
      await page.mouse.move(600, 500, { steps: 6 });
      await page.mouse.up();
      await page.click('#recentre', { timeout: 10_000 });
      await page.waitForSelector('#recentre', { state: 'hidden' });
    });
  });

  test('without WebSocket by SSE, without SSE by polling, and back up again', async () => {
    const url = await underWayUrl();
    await onPage(DESKTOP, async (page) => {
      await page.addInitScript(() => {
        const Real = window.WebSocket;
        window.webSocketBlocked = true;
        window.WebSocket = function (...options) {
          if (window.webSocketBlocked) throw new Error('blocked by the test');
          return new Real(...options);
        };
      });
      let sseBlocked = false;
      await page.route('**/v1/watch/sse*', (route) => (sseBlocked ? route.abort() : route.continue()));

      await page.goto(url);
      await transport(page, 'sse');
      assert.equal(await page.getAttribute('#badge', 'data-status'), 'live');
      await assertMoves(page);

      sseBlocked = true;
      await page.goto('about:blank');
      await page.goto(url);
      await transport(page, 'polling');
      assert.equal(await page.getAttribute('#badge', 'data-status'), 'polling');
      await assertMoves(page);
      await screenshot(page, 'desktop-polling');

      sseBlocked = false;
      // What the browser says when the network has changed: the next climb need not be waited for.
      await page.evaluate(() => window.dispatchEvent(new Event('online')));
      await transport(page, 'sse');
      await page.evaluate(() => (window.webSocketBlocked = false));
      await transport(page, 'websocket', 90_000);
      await assertMoves(page);
    });
  });

  test('hostile names are text, and the end is calm', async () => {
    const payload = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';
    const t_ms = Date.now();
    const state = {
      phase: 'to_dropoff',
      position: { lat: 41.15, lon: -8.61, heading_deg: 90, speed_mps: 5, accuracy_m: 5, t_ms },
      eta: { at_ms: t_ms + 420_000, low_ms: t_ms + 240_000, high_ms: t_ms + 700_000 },
      stops_left: 0,
      pickup: { lat: 41.148, lon: -8.612, name: `pickup ${payload}` },
      dropoff: { lat: 41.153, lon: -8.605, name: `door ${payload}` },
      driver: { name: `Mallory ${payload}`, vehicle: 'car' },
      reference: payload,
    };
    await onPage(PHONE, async (page, watched) => {
      await page.addInitScript(fakeWebSocket, { topic: 'trip:trp_fake', state });
      await page.route('**/v1/web-config', (route) => route.fulfill({ json: { basemap_style_url: null, attribution: payload } }));
      await page.route('**/v1/streets', (route) => route.fulfill({ json: { type: 'FeatureCollection', attribution: payload, features: [] } }));
      await page.goto(at('/track/#trip=trp_fake&token=fake'));
      await body(page, 'map', 'ready');
      await eventually('a marker', () => drawnAt(page));
      assert.ok((await page.textContent('#headline')).includes(`Mallory ${payload}`));
      assert.ok((await page.textContent('#sentence')).includes(`pickup ${payload}`));
      assert.equal(await page.textContent('#attribution'), payload);
      assert.ok((await page.textContent('.pin[data-kind="dropoff"]')).includes(payload));
      assert.equal(await page.locator('img:not([src="/favicon.svg"]), body script').count(), 0);
      await screenshot(page, 'phone-hostile-names');

      await page.evaluate(
        (end) => window.fakeSocket.say({ type: 'end', alias: 1, state: end }),
        { ...state, phase: 'delivered', phase_since_ms: t_ms, position: null, eta: null },
      );
      await body(page, 'final', 'delivered');
      assert.equal(await page.locator('.courier').count(), 0);
      assert.match(await page.textContent('#headline'), /^Delivered at/);
      assert.equal(await page.evaluate(() => window.hacked), undefined);
      await screenshot(page, 'phone-delivered');
      watched.assertClean();
    });
  });

  test('without WebGL the text is enough', async () => {
    const plain = await launchBrowser(['--disable-3d-apis']);
    try {
      const url = await underWayUrl();
      await onPage(
        PHONE,
        async (page) => {
          await page.goto(url);
          await body(page, 'map', 'off');
          await page.waitForSelector('#headline:visible');
          await page.waitForSelector('#eta-clock:visible');
          await screenshot(page, 'phone-no-webgl');
        },
        { browser: plain },
      );
    } finally {
      await plain.close();
    }
  });

  test('a link without its fragment says so', async () => {
    await onPage(PHONE, async (page, watched) => {
      await page.goto(at('/track/'));
      await body(page, 'final', 'problem');
      assert.match(await page.textContent('#headline'), /incomplete/);
      watched.assertClean();
    });
  });
});

describe('the town', () => {
  const data = (page, name) => page.evaluate((key) => Number(document.body.dataset[key] ?? 0), name);
  const near = (lon, lat) => [lon - 0.004, lat - 0.002, lon + 0.004, lat + 0.002];

  /** Answers for the layers, so that they are seen whatever this server has learned. */
  async function fixedLayers(page) {
    const boxOf = (url) => new URL(url).searchParams.get('bbox').split(',').map(Number);
    const middle = ([w, s, e, n]) => [(w + e) / 2, (s + n) / 2];
    const answer = (route, features) => route.fulfill({ json: { type: 'FeatureCollection', features } });
    await page.route('**/v1/traffic?*', (route) => {
      const [w, s, e, n] = near(...middle(boxOf(route.request().url())));
      const way = (lat, ratio) => ({
        type: 'Feature',
        geometry: { type: 'LineString', coordinates: [[w, lat], [e, lat]] },
        properties: { speed_kmh: 30 * ratio, free_kmh: 30, ratio, class: 'residential' },
      });
      return answer(route, [way(s, 0.2), way((s + n) / 2, 0.7), way(n, 1)]);
    });
    await page.route('**/v1/fences?*', (route) => {
      const [w, s, e, n] = near(...middle(boxOf(route.request().url())));
      const ring = [[w, s], [e, s], [e, n], [w, n], [w, s]];
      return answer(route, [{ type: 'Feature', geometry: { type: 'Polygon', coordinates: [ring] }, properties: { name: 'Old town' } }]);
    });
  }

  for (const [name, device] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
    test(`on a ${name}: from the start page to one courier`, async () => {
      await onPage(device, async (page, watched) => {
        await fixedLayers(page);
        await page.goto(at('/'));
        await page.waitForSelector('#town[href*="token="]');
        await page.click('#town');
        await body(page, 'map', 'ready');
        await transport(page, 'websocket');
        await eventually('couriers', async () => (await data(page, 'couriers')) > 1);
        await page.waitForSelector('.list button');
        assert.match(await page.textContent('#summary'), /couriers? in view/);
        await page.locator('.list button').first().focus();
        await page.keyboard.press('Enter');
        await page.waitForSelector('#chosen:visible');
        const facts = await page.textContent('#chosen');
        for (const word of ['Vehicle', 'Status', 'Speed', 'Position', 'drv_']) assert.ok(facts.includes(word), `${word} in ${facts}`);
        await eventually('a name', async () => (await page.textContent('#chosen h2')) !== 'Courier');
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `${overflow} px wider than the screen`);
        await screenshot(page, `${name}-town`);
        watched.assertClean();
      });
    });
  }

  test('moved by pointer and keys, zoomed out to numbers and back to couriers', async () => {
    await onPage(DESKTOP, async (page, watched) => {
      await fixedLayers(page);
      const asked = [];
      page.on('request', (request) => request.url().includes('/v1/traffic') && asked.push(request.url()));
      const { url } = await (await fetch(at('/demo/town.json'))).json();
      await page.goto(at(url));
      await body(page, 'map', 'ready');
      await eventually('couriers', async () => (await data(page, 'couriers')) > 1);
      await eventually('traffic', () => asked.length > 0);
      const moved = async (what, act) => {
        const before = asked.at(-1);
        await act();
        await eventually(`another view by ${what}`, () => asked.at(-1) !== before);
      };
      await moved('dragging', async () => {
        await page.mouse.move(900, 300);
        await page.mouse.down();
        await page.mouse.move(800, 350, { steps: 5 });
        await page.mouse.up();
      });
      await moved('the wheel', async () => page.mouse.wheel(0, 200));
      await moved('an arrow key', async () => {
        await page.locator('.map canvas').focus();
        await page.keyboard.press('ArrowLeft');
      });
      for (let step = 0; step < 8 && (await page.getAttribute('body', 'data-shows')) === 'couriers'; step += 1) {
        await moved('the button', () => page.click('#zoom-out'));
      }
      await body(page, 'shows', 'numbers');
      await eventually('numbers', async () => (await data(page, 'numbers')) > 1);
      await screenshot(page, 'desktop-town-numbers');
      for (let step = 0; step < 8 && (await page.getAttribute('body', 'data-shows')) === 'numbers'; step += 1) {
        await moved('the button', () => page.click('#zoom-in'));
      }
      await eventually('couriers again', async () => (await data(page, 'couriers')) > 1);
      watched.assertClean();
    });
  });

  test('asks for a token, and says so when one will not do', async () => {
    await onPage(PHONE, async (page) => {
      await page.goto(at('/town/'));
      await page.waitForSelector('#door:visible');
      await screenshot(page, 'phone-town-door');
      const order = await orderIn(base, UNDER_WAY);
      const share = new URLSearchParams(new URL(order.url, base).hash.slice(1)).get('token');
      await page.fill('#token', share);
      await page.click('#door button');
      await page.waitForSelector('#door-problem:visible');
      assert.match(await page.textContent('#door-problem'), /not of the staff|refused/);
      assert.equal(await data(page, 'couriers'), 0);
    });
  });
});

test('pages are served with a policy that keeps them to themselves', async () => {
  // Without it the other tests would find no violation, whatever the pages did.
  for (const path of ['/', '/track/', '/town/', '/menu/', '/docs/']) {
    const response = await fetch(at(path));
    const policy = response.headers.get('content-security-policy') ?? '';
    assert.ok(policy.includes("default-src 'self'"), `${path} has the policy "${policy}"`);
    assert.ok(!/script-src[^;]*'unsafe-inline'/.test(policy), `${path} allows inline scripts`);
  }
});

test('the start page leads to the orders', async () => {
  await onPage(DESKTOP, async (page, watched) => {
    await page.goto(at('/'));
    await page.waitForSelector('#orders a');
    await screenshot(page, 'desktop-start');
    watched.assertClean();
    await page.click('#orders a');
    await page.waitForURL(/\/track\//);
  });
});

test('the start page of a demo leads into the menu of a restaurant', async () => {
  await onPage(PHONE, async (page, watched) => {
    await page.goto(at('/'));
    await page.waitForSelector('#menu[href*="token="]');
    await page.click('#menu');
    await page.waitForSelector('#shelf:visible');
    assert.ok((await page.textContent('#store')).length > 2, 'the name of the restaurant');
    await screenshot(page, 'phone-menu-demo');
    watched.assertClean();
  });
});

test('the start page without a demo says what this is', async () => {
  await onPage(PHONE, async (page) => {
    await page.route('**/demo/orders.json', (route) => route.fulfill({ status: 404, body: '' }));
    await page.goto(at('/'));
    await page.waitForSelector('#plain:visible');
    assert.equal(await page.locator('a[href="/docs/"]').count(), 1);
    assert.equal(await page.locator('a[href="/openapi.json"]').count(), 1);
  });
});

test('the reference lists, searches and opens calls', async () => {
  await onPage(DESKTOP, async (page, watched) => {
    await page.goto(at('/docs/'));
    await page.waitForSelector('.call');
    const all = await page.locator('.call:visible').count();
    await page.locator('.call summary').first().click();
    await page.waitForSelector('.call[open] .inside');
    await screenshot(page, 'desktop-docs');
    await page.fill('#search', 'no call is like this');
    await eventually('nothing found', async () => (await page.locator('.call:visible').count()) === 0, 5_000);
    await page.fill('#search', '');
    await eventually('all again', async () => (await page.locator('.call:visible').count()) === all, 5_000);
    watched.assertClean();
  });
});
