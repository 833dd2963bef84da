import { describe, expect, test } from 'vitest';
import { focusText, moved, partOf } from '../pages/menu/focus.js';
import { refusalOf, type UploadNews } from '../pages/menu/house.js';
import { hear, isOver, isSending, view, type Journey } from '../pages/menu/journey.js';
import { readLink, writeLink } from '../pages/menu/link.js';
import { causeText, sizeText, waitText } from '../pages/menu/texts.js';
import { Turns } from '../pages/menu/turns.js';

const claims = (body: object) => `e30.${btoa(JSON.stringify(body)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}.sig`;

describe('the link', () => {
  test("a store's own token names the store", () => {
    expect(readLink(`#token=${claims({ role: 'store', sub: 'sto_1', name: 'ÿÿ?' })}&item=a&item=b&item=a`)).toMatchObject({ store: 'sto_1', items: ['a', 'b'] });
  });

  test('others name it in the link, or it is not known', () => {
    const admin = claims({ role: 'admin', sub: 'sto_1' });
    expect(readLink(`#token=${admin}`)?.store).toBe('');
    expect(readLink(`#token=${admin}&store=sto_2`)?.store).toBe('sto_2');
    expect(readLink('#token=nonsense')?.store).toBe('');
    expect(readLink('#store=sto_2')).toBeUndefined();
  });

  test('what is no name of a dish is left out; what is written is read again', () => {
    const link = { token: 't+/=&', store: 'sto_1', items: ['caldo-verde', 'n.7_b'] };
    expect(readLink(writeLink(link))).toEqual(link);
    expect(readLink(`#token=t&item=${encodeURIComponent('<b>')}&item=${'x'.repeat(65)}`)?.items).toEqual([]);
  });
});

describe('the frame', () => {
  // The same cases as in `media-worker/src/crop.rs`: what the page shows is what the workers make.
  test('has the shape, and stands as near to the focus as the edges allow', () => {
    expect(partOf(4000, 3000, '4:3', { x: 0, y: 1 })).toEqual({ left: 0, top: 0, width: 1, height: 1 });
    expect(partOf(4000, 2000, '1:1', { x: 0.5, y: 0.5 })).toEqual({ left: 0.25, top: 0, width: 0.5, height: 1 });
    expect(partOf(4000, 2000, '1:1', { x: 1, y: 0 })).toEqual({ left: 0.5, top: 0, width: 0.5, height: 1 });
    expect(partOf(1000, 2000, '1:1', { x: 0.9, y: 0.4 })).toMatchObject({ left: 0, width: 1, height: 0.5 });
    expect(partOf(1000, 2000, '1:1', { x: 0.9, y: 0.4 }).top).toBeCloseTo(0.15);
    expect(partOf(999, 333, 'none', { x: 0.9, y: 0.4 })).toEqual({ left: 0, top: 0, width: 1, height: 1 });
  });

  test('the point stays in the picture, and is told in the words of the server', () => {
    expect(moved({ x: 0.99, y: 0.01 }, 0.02, -0.02)).toEqual({ x: 1, y: 0 });
    expect(focusText({ x: 1 / 3, y: 1 })).toBe('0.333,1.000');
  });
});

describe('refusals', () => {
  test('no answer is a dead line, which comes back', () => {
    expect(refusalOf(0, '')).toMatchObject({ code: 'client_line', retry: true });
  });

  test('the words of the house are kept', () => {
    const body = JSON.stringify({ code: 'rate_limited', message: 'too many', retry: true, retry_after_ms: 10_000 });
    expect(refusalOf(429, body)).toMatchObject({ code: 'rate_limited', message: 'too many', retry: true, retry_after_ms: 10_000 });
    expect(refusalOf(422, JSON.stringify({ code: 'invalid', message: 'no', retry: false }))).toMatchObject({ code: 'invalid', retry: false });
  });

  test.each([409, 423, 429, 460, 500, 502, 503])('%i passes', (status) => expect(refusalOf(status, '<html>').retry).toBe(true));
  test.each([400, 401, 403, 404, 410, 413, 422])('%i does not', (status) => expect(refusalOf(status, '').retry).toBe(false));

  test('an answer to HEAD has its code by its status; a proxy may say when', () => {
    expect(refusalOf(410, '').code).toBe('ended');
    expect(refusalOf(503, 'busy', '7').retry_after_ms).toBe(7_000);
  });
});

describe('a journey', () => {
  const begun: Journey = { phase: 'sending', length: 1_000_000, sent: 900_000 };
  const walk = (...news: UploadNews[]) => news.reduce(hear, begun);

  test('what is kept counts, not what was handed to the network', () => {
    expect(view(begun).text).toBe('Uploading, 90 % of 1 MB');
    expect(view(walk({ state: 'receiving', received: 262_144 })).text).toBe('Uploading, 26 % of 1 MB');
  });

  test('goes through the server without leading back', () => {
    const steps: UploadNews[] = [
      { state: 'receiving', received: 0 },
      { state: 'receiving', received: 1_000_000 },
      { state: 'queued', received: 1_000_000, ahead: 3 },
      { state: 'decoding', received: 1_000_000, ahead: null, waiting: null },
      { state: 'encoding', made: 2, variants: 6 },
      { state: 'storing' },
    ];
    let last = -1;
    let journey = begun;
    for (const step of steps) {
      journey = hear(journey, step);
      const { share } = view(journey);
      expect(share).toBeGreaterThanOrEqual(last);
      last = share ?? 0;
    }
    expect(view(walk(...steps.slice(0, 3))).text).toBe('Uploaded, 3 pictures before it');
    expect(view(walk(...steps.slice(0, 5))).text).toBe('Making it ready for the web, 2 of 6');
    expect(hear(journey, { state: 'queued', ahead: 1 }).phase).toBe('storing');
    const over = hear(journey, { state: 'failed', error: { code: 'damaged', message: 'The file is damaged.' } });
    expect(isOver(over)).toBe(true);
    expect(hear(over, { state: 'done' })).toBe(over);
    expect(view(over)).toMatchObject({ text: 'The file is damaged.', tone: 'bad', mayCancel: false, mayRetry: false });
  });

  test('a late word of bytes changes nothing once all are there', () => {
    const sent: Journey = { phase: 'sent', length: 10, sent: 10, kept: 10 };
    expect(hear(sent, { state: 'receiving', received: 5 })).toMatchObject({ phase: 'sent', kept: 10 });
    expect(isSending(sent)).toBe(false);
  });

  test('a cut says what is safe, and may be tried at once', () => {
    const cut: Journey = { ...begun, kept: 450_000, phase: 'cut', again_ms: 2_000, cause: { code: 'client_line', message: '' } };
    expect(view(cut)).toMatchObject({ text: 'The line is down. 45 % is safe. Goes on by itself.', tone: 'warn', mayRetry: true, mayCancel: true });
    const later: Journey = { ...cut, kept: 0, again_ms: 3_600_000, cause: { code: 'rate_limited', message: 'too many in a day' } };
    expect(view(later).text).toBe('Not now: Too many in a day. Goes on by itself in 60 minutes.');
  });

  test.each([['processing_failed', true], ['expired', true], ['unsupported_format', false], ['unauthorized', false]])('%s with the same file: another try helps: %s', (code, helps) => {
    expect(view({ ...begun, phase: 'failed', cause: { code, message: 'x' } }).mayRetry).toBe(helps);
  });
});

test('sentences begin large and end with a stop', () => {
  expect(causeText({ code: 'too_large', message: 'the file has 9 bytes, up to 8 are possible' })).toBe('The file has 9 bytes, up to 8 are possible.');
  expect(causeText({ code: 'unsupported_format', message: 'This is HEIC. Please share it as JPEG.' })).toBe('This is HEIC. Please share it as JPEG.');
  expect([sizeText(0), sizeText(1), sizeText(721_093), sizeText(2_913_134), sizeText(20_000_000)]).toEqual(['0 kB', '1 kB', '722 kB', '2.9 MB', '20 MB']);
  expect(waitText(500)).toBe('Goes on by itself.');
});

describe('turns', () => {
  test('so many at a time, in their order, also when one is given up or given back twice', () => {
    const turns = new Turns(2);
    const begun: string[] = [];
    const take = (name: string) => turns.take(() => begun.push(name));
    const [a, b, c] = ['a', 'b', 'c'].map(take);
    take('d');
    take('e');
    expect(begun).toEqual(['a', 'b']);
    c?.();
    a?.();
    a?.();
    expect(begun).toEqual(['a', 'b', 'd']);
    b?.();
    expect(begun).toEqual(['a', 'b', 'd', 'e']);
  });
});
