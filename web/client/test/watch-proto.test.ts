import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../src/merge-patch.js';
import { mergePatch } from '../src/merge-patch.js';
import { patchOf } from '../src/position-step.js';
import { ProtoReader } from '../src/proto-bytes.js';
import { readMessages, SEQ_BITS, writeMessage } from '../src/watch-proto.js';

/** What the server's own reader made of bytes that its writer wrote; `crates/wire` writes the file. */
const vectors = JSON.parse(readFileSync(new URL('./vectors/watch-proto.json', import.meta.url), 'utf8')) as { bytes: string; told: JsonObject[] }[];

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));

it('reads what the server writes exactly as the server reads it', () => {
  const held = new Map<number, { seq: number; state: JsonObject }>();
  let moves = 0;
  for (const { bytes, told } of vectors) {
    const read = readMessages(bytesOf(bytes)).map((message) => {
      if (message.type === 'snapshot') held.set(message.alias, { seq: Number(message.cursor.split('.')[1]), state: mergePatch({}, message.state) as JsonObject });
      if (message.type !== 'move') return message;
      moves += 1;
      const topic = held.get(message.alias)!;
      topic.seq += 1;
      expect(message.seqBits).toBe(topic.seq % SEQ_BITS);
      const patch = patchOf(message.step, topic.state)!;
      topic.state = mergePatch(topic.state, patch) as JsonObject;
      return { type: 'delta', alias: message.alias, seq: topic.seq, patch };
    });
    expect(read).toEqual(told);
  }
  expect(moves).toBe(59);
});

describe('bytes that are no message', () => {
  it('are refused wherever they are cut', () => {
    const whole = bytesOf(vectors.find(({ told }) => told[0]?.['type'] === 'snapshot')!.bytes);
    for (let cut = 1; cut < whole.length; cut += 1) expect(() => readMessages(whole.subarray(0, cut))).toThrow();
  });

  it('never do worse than throw', () => {
    let dice = 1;
    for (let turn = 0; turn < 20_000; turn += 1) {
      const bytes = Uint8Array.from({ length: turn % 40 }, () => (dice = (dice * 48271) % 2147483647) & 255);
      try {
        readMessages(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }
  });

  it('are refused when they are nested without end', () => {
    let value: number[] = [];
    for (let depth = 0; depth < 60; depth += 1) value = [0x32, ...lengthOf(value.length + 1 + lengthOf(value.length).length), 0x0a, ...lengthOf(value.length), ...value];
    const event = [0x1a, ...lengthOf(value.length), ...value];
    const frame = [0x2a, ...lengthOf(event.length), ...event];
    expect(() => readMessages(Uint8Array.from([0x0a, ...lengthOf(frame.length), ...frame]))).toThrow('too deep');
  });
});

it('passes over fields and frames of a later version', () => {
  const pong = [0x0a, 0x02, 0x62, 0x00];
  expect(readMessages(Uint8Array.from([...pong, 0x78, 0x05, 0x0a, 0x03, 0xa2, 0x06, 0x00, 0x7d, 1, 2, 3, 4, 0x79, 1, 2, 3, 4, 5, 6, 7, 8, ...pong]))).toEqual([{ type: 'pong' }, { type: 'pong' }]);
});

it('writes what the server reads', () => {
  expect(writeMessage({ type: 'ping' })).toEqual(Uint8Array.of(0x22, 0));
  const bytes = writeMessage({ type: 'subscribe', topics: [{ topic: 'a', cursor: '7.9', interval_ms: 300 }, { topic: 'b' }] });
  expect([...bytes]).toEqual([0x12, 16, 0x0a, 11, 0x0a, 1, 97, 0x12, 3, 55, 46, 57, 0x18, 0xac, 2, 0x0a, 3, 0x0a, 1, 98].map((byte, at) => (at === 1 ? bytes.length - 2 : byte)));
  expect(writeMessage({ type: 'auth', token: 'x'.repeat(300) }).length).toBe(306);
});

it('reads numbers of any size', () => {
  const read = (...bytes: number[]) => new ProtoReader(Uint8Array.from(bytes));
  expect(read(0xac, 0x02).varint()).toBe(300);
  expect(read(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01).int64()).toBe(-1);
  expect(read(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01).zigzag()).toBe(-9223372036854775808);
  expect(() => read(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01).varint()).toThrow();
});

function lengthOf(length: number): number[] {
  return length < 128 ? [length] : [(length % 128) + 128, Math.floor(length / 128)];
}
