import { describe, expect, it } from 'vitest';
import { age, duration } from '../src/age.js';
import { Backoff } from '../src/backoff.js';
import { downOfClose } from '../src/close-codes.js';
import { parseCursor } from '../src/cursor.js';
import { ServerClock } from '../src/server-clock.js';
import { SseParser } from '../src/sse-parser.js';
import { ManualClock } from './clocks.js';

it('backs off from 1 s to 30 s, with full jitter', () => {
  const clock = new ManualClock();
  const backoff = new Backoff(clock);
  expect([1, 2, 3, 4, 5, 6, 7].map(() => backoff.next_ms())).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  clock.chance = 0;
  expect(backoff.next_ms()).toBe(0);
  backoff.reset();
  clock.chance = 0.5;
  expect(backoff.next_ms()).toBe(500);
});

describe('close codes', () => {
  it.each([
    [1006, 'retry', false],
    [4000, 'retry', true],
    [4004, 'retry', true],
  ])('%i: come back', (code, kind, serverSpoke) => expect(downOfClose(code, '', 700)).toMatchObject({ kind, serverSpoke, retry_after_ms: 700 }));
  it.each([4100, 4101, 4150])('%i: with a new token', (code) => expect(downOfClose(code, '').kind).toBe('token'));
  it.each([4200, 4201, 4202, 4299])('%i: stay away', (code) => expect(downOfClose(code, '').kind).toBe('stop'));
});

it('reads cursors, and nothing that only looks like one', () => {
  expect(parseCursor('1763686800000.41')).toEqual({ epoch: 1_763_686_800_000, seq: 41 });
  for (const text of ['', '1', '1.', '.1', '1.2.3', '-1.2', '1.2e3', '9999999999999999.1']) expect(parseCursor(text)).toBeUndefined();
});

describe('the SSE parser', () => {
  it('reads events however they are cut', () => {
    const text = 'retry: 1000\r\n\r\n: comment\n\nevent: delta\r\nid: 1.2,-\r\ndata: {"a":\r\ndata: 1}\r\n\r\ndata:x\n\n';
    for (let cut = 1; cut <= text.length; cut += 1) {
      const parser = new SseParser();
      const events = [];
      for (let at = 0; at < text.length; at += cut) events.push(...parser.push(text.slice(at, at + cut)));
      expect(events).toEqual([
        { name: 'delta', data: '{"a":\n1}', id: '1.2,-' },
        { name: 'message', data: 'x', id: '1.2,-' },
      ]);
    }
  });
});

describe("the server's clock", () => {
  it('is the smallest difference seen', () => {
    const clock = new ManualClock();
    const server = new ServerClock(clock);
    expect(server.now()).toBe(clock.now());
    server.observe(clock.now() - 9_000);
    server.observe(clock.now() - 5_300);
    server.observe(clock.now() - 7_000);
    expect(server.difference_ms).toBe(5_300);
  });

  it('forgets after ten minutes', () => {
    const clock = new ManualClock();
    const server = new ServerClock(clock);
    server.observe(clock.now() + 60_000);
    for (let minute = 0; minute < 12; minute += 1) {
      clock.step(60_000);
      server.observe(clock.now() - 200);
    }
    expect(server.difference_ms).toBe(200);
  });
});

it('tells ages in whole units', () => {
  expect(age(1_000, 1_900)).toBe('just now');
  expect(age(0, 4_900)).toBe('4 s ago');
  expect(duration(-5)).toBe('0 s');
  expect(duration(125_000)).toBe('2 min');
  expect(duration(3_600_000)).toBe('1 h');
  expect(duration(3_900_000)).toBe('1 h 5 min');
});
