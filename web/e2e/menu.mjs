// Browser tests of the menu page, against a house of their own: they need a store, and a line that can be cut.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { badLine } from './bad-line.mjs';
import { DESKTOP, launchBrowser, PHONE } from './browser.mjs';
import { startHouse } from './house.mjs';
import { commented, halves, heic, photograph } from './photographs.mjs';
import { eventually, watchPage } from './watching.mjs';

const results = fileURLToPath(new URL('../test-results/', import.meta.url));
const PIECE_BYTES = 256 * 1024;

let folder;
let house;
let browser;
before(async () => {
  await mkdir(results, { recursive: true });
  folder = await mkdtemp(join(tmpdir(), 'wayfare-e2e-files-'));
  house = await startHouse();
  browser = await launchBrowser();
});
after(async () => {
  await browser?.close();
  await house?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** A store of its own for each test, and a page on the way to it over a line that may be bad. */
async function onMenu(device, act) {
  const store = (await house.ask('POST', '/v1/stores', { name: 'Tasca do Zé & Filhos', lat: 41.15, lon: -8.61 })).id;
  const { token } = await house.ask('POST', '/v1/tokens', { role: 'store', sub: store });
  const line = await badLine(house.url);
  const context = await browser.newContext(device);
  try {
    const page = await context.newPage();
    const watched = await watchPage(page, line.url);
    await act({
      page, watched, line, store, token,
      link: (...items) => `${line.url}/menu/#${new URLSearchParams([...items.map((item) => ['item', item]), ['token', token]])}`,
      images: async (item) => (await house.ask('GET', `/v1/stores/${store}/menu/${item}/images`)).images,
    });
    house.assertCleanLog();
  } finally {
    await context.close();
    await line.close();
  }
}

const screenshot = (page, name) => page.screenshot({ path: `${results}${name}.png`, fullPage: true });
const choose = (page, item, files) => page.locator(`[data-item="${item}"] input[type=file]`).setInputFiles(files);
const row = (page, file) => page.locator(`.upload[data-file="${file}"]`);
const inPhase = (page, file, phase) => page.waitForSelector(`.upload[data-file="${file}"][data-phase="${phase}"]`, { timeout: 60_000 });

/** So many pictures of the dish are there to be seen. */
const shows = (page, item, count) =>
  page.waitForFunction(
    ([name, wanted]) => {
      const all = [...document.querySelectorAll(`[data-item="${name}"] .pictures img`)];
      return all.length === wanted && all.every((image) => image.complete && image.naturalWidth > 0 && image.closest('.picture').dataset.loaded === 'yes');
    },
    [item, count],
    { timeout: 60_000 },
  );

async function assertFits(page) {
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${overflow} px wider than the screen`);
}

describe('the menu page', () => {
  for (const [name, device] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
    test(`on a ${name}: a line that is cut in the middle is waited out, and the picture comes`, async () => {
      await onMenu(device, async ({ page, line, link, images, watched }) => {
        const offsets = [];
        let id;
        page.on('request', (request) => {
          if (request.method() !== 'PATCH') return;
          id = request.url().split('/').at(-1);
          offsets.push(Number(request.headers()['upload-offset']));
        });
        await page.goto(link('bacalhau', 'caldo-verde'));
        await page.waitForSelector('#badge[data-status="live"]');
        assert.equal(await page.textContent('#store'), 'Tasca do Zé & Filhos');
        await assertFits(page);
        watched.assertClean();
        await screenshot(page, `${name}-menu-empty`);

        line.holdAfter(3 * PIECE_BYTES);
        const file = await photograph(page);
        await choose(page, 'bacalhau', file);
        await inPhase(page, file.name, 'sending');
        const kept = await eventually('bytes that are kept', async () => id && (await house.ask('GET', `/v1/uploads/${id}`)).received);
        assert.ok(kept < file.buffer.length, 'the line was to be held in the middle');
        await eventually('the bar tells of it', async () => (await row(page, file.name).locator('progress').getAttribute('value')) > 0);
        await assertFits(page);
        await screenshot(page, `${name}-menu-sending`);

        line.cut();
        await inPhase(page, file.name, 'cut');
        assert.match(await row(page, file.name).textContent(), /The line is down\. \d+ % is safe\. Goes on by itself/);
        await screenshot(page, `${name}-menu-cut`);

        // Nobody touches anything: it goes on by itself.
        line.mend();
        await shows(page, 'bacalhau', 1);
        await page.waitForSelector('.upload', { state: 'detached' });
        assert.equal(offsets[0], 0);
        assert.ok(offsets.at(-1) >= PIECE_BYTES, `went on at byte ${offsets.at(-1)}`);
        const [image, ...others] = await images('bacalhau');
        assert.equal(others.length, 0);
        assert.equal(image.upload, id, 'it is the same upload');
        const shown = page.locator('[data-item="bacalhau"] .pictures li');
        assert.ok((await shown.locator('canvas').evaluate((canvas) => canvas.width)) > 0, 'a likeness stood there before');
        assert.equal(await shown.locator('source').getAttribute('srcset'), image.sources[0].srcset);
        assert.match(await shown.locator('img').evaluate((img) => img.currentSrc), /\.webp$/);
        assert.match(await page.textContent('#announcer'), /bacalhau\.jpg: On the menu/);
        await assertFits(page);
        await screenshot(page, `${name}-menu-done`);
        await page.emulateMedia({ colorScheme: 'dark' });
        await screenshot(page, `${name}-menu-dark`);
      });
    });
  }

  test('what is refused says why, in the words of the server', async () => {
    await onMenu(PHONE, async ({ page, link, images }) => {
      await page.goto(link('francesinha'));
      const phone = await heic();
      await choose(page, 'francesinha', [phone, { name: 'menu.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('Francesinha 12,50\n'.repeat(40)) }]);
      for (const file of [phone.name, 'menu.jpg']) {
        await inPhase(page, file, 'failed');
        assert.equal(await row(page, file).getAttribute('data-code'), 'unsupported_format');
        assert.equal(await row(page, file).getByRole('button', { name: 'Try again' }).count(), 0, 'the same file would fail again');
      }
      assert.match(await row(page, phone.name).locator('.state').textContent(), /HEIC/);
      await choose(page, 'francesinha', { name: 'empty.jpg', mimeType: 'image/jpeg', buffer: Buffer.alloc(0) });
      await inPhase(page, 'empty.jpg', 'failed');
      assert.match(await row(page, 'empty.jpg').locator('.state').textContent(), /0 bytes/);
      await screenshot(page, 'phone-menu-refused');
      await row(page, phone.name).getByRole('button', { name: 'Dismiss' }).click();
      await row(page, phone.name).waitFor({ state: 'detached' });
      assert.deepEqual(await images('francesinha'), []);
      await assertFits(page);
    });
  });

  test('taken back while a worker has it: nothing comes to the menu', async () => {
    await onMenu(DESKTOP, async ({ page, link, images }) => {
      let id;
      page.on('request', (request) => request.method() === 'PATCH' && (id = request.url().split('/').at(-1)));
      await page.goto(link('polvo'));
      const file = await photograph(page);
      // Pressed by the page itself, in the moment in which the row says that the bytes are there: a picture takes less than a second.
      await page.evaluate(() => {
        new MutationObserver(() => {
          const row = document.querySelector('.upload:is([data-phase="sent"], [data-phase="queued"], [data-phase="decoding"], [data-phase="encoding"])');
          const cancel = [...(row?.querySelectorAll('button:not([hidden])') ?? [])].find((button) => button.textContent === 'Cancel');
          if (cancel && !window.pressedIn) {
            window.pressedIn = row.dataset.phase;
            cancel.click();
          }
        }).observe(document.body, { subtree: true, childList: true, attributes: true });
      });
      await choose(page, 'polvo', file);
      await inPhase(page, file.name, 'cancelled');
      assert.ok(await page.evaluate(() => window.pressedIn));
      assert.equal((await house.ask('GET', `/v1/uploads/${id}`)).state, 'cancelled');
      assert.deepEqual(await images('polvo'), []);
    });
  });

  test('several at once, dropped; put first, removed and undone, by keyboard', async () => {
    await onMenu(DESKTOP, async ({ page, link, images, watched }) => {
      await page.goto(link('bifana'));
      const { buffer } = await photograph(page);
      // Different bytes in the name of a comment: pictures of their own.
      const files = [1, 2, 3].map((number) => ({ name: `bifana-${number}.jpg`, base64: commented(buffer, number).toString('base64') }));
      const transfer = await page.evaluateHandle((list) => {
        const made = new DataTransfer();
        for (const { name, base64 } of list) made.items.add(new File([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], name, { type: 'image/jpeg' }));
        return made;
      }, files);
      for (const kind of ['dragenter', 'dragover', 'drop']) await page.dispatchEvent('[data-item="bifana"]', kind, { dataTransfer: transfer });
      await page.waitForSelector('.upload');
      await screenshot(page, 'desktop-menu-several');
      await shows(page, 'bifana', 3);
      const before = (await images('bifana')).map(({ upload }) => upload);

      const last = page.locator('.pictures li').nth(2);
      await last.getByRole('button', { name: 'Make picture 3 of bifana the first' }).focus();
      await page.keyboard.press('Enter');
      const turned = [before[2], before[0], before[1]];
      await eventually('the order', async () => String((await images('bifana')).map(({ upload }) => upload)) === String(turned));
      await eventually('the order on the page', async () => (await page.locator('.pictures li').first().getAttribute('data-upload')) === turned[0]);

      await page.getByRole('button', { name: 'Remove picture 1 of bifana' }).focus();
      await page.keyboard.press('Enter');
      await shows(page, 'bifana', 2);
      assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Undo', 'the focus is not lost');
      await page.keyboard.press('Enter');
      await shows(page, 'bifana', 3);
      assert.deepEqual((await images('bifana')).map(({ upload }) => upload), turned);
      await screenshot(page, 'desktop-menu-gallery');
      watched.assertClean();
    });
  });

  test('cancelled on the way: nothing comes to the menu; the page loaded anew goes on with the same upload', async () => {
    await onMenu(PHONE, async ({ page, line, link, images }) => {
      const ids = [];
      page.on('request', (request) => request.method() === 'PATCH' && ids.push(request.url().split('/').at(-1)));
      const reading = async () => ids.length > 0 && house.ask('GET', `/v1/uploads/${ids.at(-1)}`);
      await page.goto(link('tripas'));
      line.holdAfter(3 * PIECE_BYTES);
      // On the disk, because a file made in the page would be another one each time.
      const file = await photograph(page);
      const path = join(folder, file.name);
      await writeFile(path, file.buffer);
      await choose(page, 'tripas', path);
      await eventually('bytes', async () => (await reading()).received > 0);
      await row(page, file.name).getByRole('button', { name: 'Cancel' }).click();
      await inPhase(page, file.name, 'cancelled');
      await eventually('it is taken back', async () => (await reading()).state === 'cancelled');

      await row(page, file.name).getByRole('button', { name: 'Try again' }).click();
      await eventually('another upload', async () => new Set(ids).size === 2 && (await reading()).received > 0);
      page.on('dialog', (dialog) => void dialog.accept());
      await page.reload();
      await page.waitForSelector('[data-item="tripas"]');
      line.mend();
      await choose(page, 'tripas', path);
      await shows(page, 'tripas', 1);
      assert.equal(new Set(ids).size, 2, 'the file went on where it was');
      assert.equal((await images('tripas'))[0].upload, ids.at(-1));
    });
  });

  test('a server that says later, and a proxy in trouble, are waited out with the same upload', async () => {
    await onMenu(DESKTOP, async ({ page, line, link, images }) => {
      const ids = new Set();
      const answered = { POST: 0, HEAD: 0 };
      page.on('request', (request) => request.method() === 'PATCH' && ids.add(request.url().split('/').at(-1)));
      await page.route('**/v1/uploads**', (route) => {
        const method = route.request().method();
        if (!(method in answered)) return route.continue();
        answered[method] += 1;
        if (answered[method] > 1) return route.continue();
        if (method === 'HEAD') return route.fulfill({ status: 502, body: '' });
        const refusal = { code: 'rate_limited', message: '10 uploads of this user are unfinished, up to 10 are possible', retry: true, retry_after_ms: 1_500 };
        return route.fulfill({ status: 429, json: refusal });
      });
      await page.goto(link('alheira'));
      line.holdAfter(3 * PIECE_BYTES);
      const file = await photograph(page);
      await choose(page, 'alheira', file);
      await inPhase(page, file.name, 'cut');
      assert.match(await row(page, file.name).textContent(), /Not now: 10 uploads of this user are unfinished/);
      const kept = async () => ids.size === 1 && (await house.ask('GET', `/v1/uploads/${[...ids][0]}`)).received > 0;
      await eventually('bytes that are kept', kept);
      line.cut();
      await inPhase(page, file.name, 'cut');
      line.mend();
      await shows(page, 'alheira', 1);
      assert.ok(answered.HEAD >= 2 && answered.POST === 2, JSON.stringify(answered));
      assert.equal((await images('alheira'))[0].upload, [...ids][0]);
      assert.equal(ids.size, 1, 'a proxy in trouble is no reason to begin anew');
    });
  });

  for (const [name, device] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
    test(`on a ${name}: opened without a dish, the page lists those that have pictures`, async () => {
      await onMenu(device, async ({ page, link, images, token, watched }) => {
        await page.goto(link());
        await page.waitForSelector('#shelf:visible');
        assert.match(await page.textContent('#shelf'), /No dish has a picture yet/);
        const { buffer } = await photograph(page);
        const send = async (item, number) => {
          const form = new FormData();
          form.set('item', item);
          form.set('file', new Blob([commented(buffer, number)]), 'a.jpg');
          const answer = await fetch(`${house.url}/v1/uploads`, { method: 'POST', headers: { authorization: `Bearer ${token}` }, body: form });
          assert.equal(answer.status, 201, await answer.clone().text());
          const { id } = await answer.json();
          return eventually('the picture', async () => (await house.ask('GET', `/v1/uploads/${id}`)).state === 'done');
        };
        // From another tablet, while the page is open.
        await send('caldo-verde', 1);
        await send('bacalhau', 2);
        await send('bacalhau', 3);
        await send('arroz.doce', 4);
        const tiles = async () => (await page.locator('.tile').allTextContents()).join();
        await eventually('the list', async () => (await tiles()) === 'arroz.doce1 picture,bacalhau2 pictures,caldo-verde1 picture');
        await page.waitForFunction(() => [...document.querySelectorAll('.tile .picture')].every(({ dataset }) => dataset.loaded === 'yes'));
        await assertFits(page);
        await screenshot(page, `${name}-menu-shelf`);

        await page.locator('.tile', { hasText: 'bacalhau' }).click();
        await shows(page, 'bacalhau', 2);
        assert.equal(await tiles(), 'arroz.doce1 picture,caldo-verde1 picture');
        await assertFits(page);
        await screenshot(page, `${name}-menu-shelf-open`);
        // A reload shows the same: what was opened, and the rest of the menu.
        await page.reload();
        await shows(page, 'bacalhau', 2);
        await eventually('the list', async () => (await tiles()) === 'arroz.doce1 picture,caldo-verde1 picture');
        await page.getByRole('button', { name: 'Remove picture 1 of bacalhau' }).click();
        await shows(page, 'bacalhau', 1);
        await page.getByRole('button', { name: 'Hide bacalhau' }).click();
        await eventually('it goes back', async () => (await tiles()) === 'arroz.doce1 picture,bacalhau1 picture,caldo-verde1 picture');
        assert.equal((await images('bacalhau')).length, 1);
        watched.assertClean();
      });
    });

    test(`on a ${name}: who points at what must be seen gets it`, async () => {
      await onMenu(device, async ({ page, link, images, watched }) => {
        await page.goto(link('mousse'));
        const file = await halves(page);
        await page.locator('[data-item="mousse"] select').selectOption('1:1');
        await page.getByText('Let me point at what must be seen').click();
        await choose(page, 'mousse', file);
        await page.waitForSelector('dialog.focus[open]');
        const frame = () => page.locator('.stage .frame').evaluate((element) => [element.style.left, element.style.width].join());
        assert.equal(await frame(), '33.33%,33.33%', 'the middle, as long as nobody points');
        await assertFits(page);
        const box = await page.locator('.stage').boundingBox();
        const at = { x: box.width * 0.9, y: box.height * 0.5 };
        await (device.hasTouch ? page.locator('.stage').tap({ position: at }) : page.locator('.stage').click({ position: at }));
        assert.equal(await frame(), '66.67%,33.33%');
        // By keyboard too.
        for (let press = 0; press < 50; press += 1) await page.keyboard.press('ArrowLeft');
        assert.equal(await frame(), '0%,33.33%');
        await (device.hasTouch ? page.locator('.stage').tap({ position: at }) : page.locator('.stage').click({ position: at }));
        await screenshot(page, `${name}-menu-focus`);
        await page.getByRole('button', { name: 'Upload', exact: true }).click();
        await shows(page, 'mousse', 1);
        const [image] = await images('mousse');
        const { width, height } = image.sources[0].files[0];
        assert.equal(width, height);
        assert.match(image.colour, /^#[0-3].[0-3].[c-f].$/, 'nothing but the blue third');

        // The same file with the other point is another picture; what is left out is not sent.
        await choose(page, 'mousse', file);
        await page.waitForSelector('dialog.focus[open]');
        await page.keyboard.press('Escape');
        await page.waitForSelector('dialog.focus', { state: 'detached' });
        assert.equal(await page.locator('.upload').count(), 0);
        await choose(page, 'mousse', file);
        await page.waitForSelector('dialog.focus[open]');
        for (let press = 0; press < 50; press += 1) await page.keyboard.press('ArrowLeft');
        await page.getByRole('button', { name: 'Upload', exact: true }).click();
        await shows(page, 'mousse', 2);
        assert.match((await images('mousse'))[1].colour, /^#[c-f].[0-3].[0-3].$/, 'nothing but the red third');
        // What this browser cannot show goes on its way, and is refused in the words of the server.
        await choose(page, 'mousse', await heic());
        await inPhase(page, 'IMG_0042.HEIC', 'failed');
        watched.assertClean();
      });
    });
  }

  for (const transport of ['sse', 'polling']) {
    test(`followed by ${transport} where a network allows no more`, async () => {
      await onMenu(PHONE, async ({ page, link }) => {
        await page.addInitScript(() => {
          window.WebSocket = function () {
            throw new Error('blocked by the test');
          };
        });
        if (transport === 'polling') await page.route('**/v1/watch/sse*', (route) => route.abort());
        await page.goto(link('sardinhas'));
        await page.waitForSelector(`#badge[data-transport="${transport}"]`, { timeout: 60_000 });
        // The page's own end comes by the topic, not by looking at the menu.
        const seen = page.waitForFunction(() => document.querySelector('#announcer').textContent.includes('On the menu'), null, { timeout: 60_000 });
        await choose(page, 'sardinhas', await photograph(page));
        await shows(page, 'sardinhas', 1);
        await seen;
        await page.waitForSelector('.upload', { state: 'detached' });
      });
    });
  }

  test('asks for a token, and says why one will not do', async () => {
    await onMenu(PHONE, async ({ page, line, store, token }) => {
      await page.goto(`${line.url}/menu/`);
      await page.waitForSelector('#door:visible');
      await page.fill('#token', `${token.slice(0, -8)}AAAAAAAA`);
      await page.click('#door button');
      await page.waitForSelector('#door-problem:visible');
      assert.match(await page.textContent('#door-problem'), /refused/);
      await screenshot(page, 'phone-menu-door');
      // An admin is of no store, and names one.
      const admin = await house.ask('POST', '/v1/tokens', { role: 'admin', sub: 'ana' });
      await page.fill('#token', admin.token);
      await page.fill('#store-id', store);
      await page.click('#door button');
      await page.waitForSelector('#add:visible');
      await page.fill('#item', 'sopa da pedra');
      await page.keyboard.press('Enter');
      await page.waitForSelector('#item-problem:visible');
      await page.fill('#item', 'sopa-da-pedra');
      await page.keyboard.press('Enter');
      await page.waitForSelector('[data-item="sopa-da-pedra"]');
      await page.reload();
      await page.waitForSelector('[data-item="sopa-da-pedra"]');
      const policy = (await fetch(`${line.url}/menu/`)).headers.get('content-security-policy') ?? '';
      assert.ok(policy.includes("default-src 'self'"), `the policy is "${policy}"`);
    });
  });
});
