/** The watch protocol in Protocol Buffers: `crates/wire/proto/watch.proto` says how, PROTOCOL.md says what. */

import type { Json, JsonObject } from './merge-patch.js';
import type { ClientMessage, ServerMessage } from './messages.js';
import type { PositionStep } from './position-step.js';
import { ProtoReader, ProtoWriter, unzigzag } from './proto-bytes.js';

/** A delta that only moves a position. It carries the low five bits of its number. */
export interface MoveMessage {
  readonly type: 'move';
  readonly alias: number;
  readonly seqBits: number;
  readonly step: PositionStep;
}

export const SEQ_BITS = 32;
const TURNED = 1;
const ACCURACY = 2;
/** Deeper than any value of the protocol. */
const DEPTH_MAX = 32;

/** What one message holds; throws where it is none. */
export function readMessages(bytes: Uint8Array): (ServerMessage | MoveMessage)[] {
  const messages: (ServerMessage | MoveMessage)[] = [];
  const moves: number[] = [];
  new ProtoReader(bytes).fields((field, reader) => {
    if (field === 1) {
      const frame = readFrame(reader.message());
      if (frame) messages.push(frame);
    } else if (field === 2) {
      const packed = reader.message();
      while (!packed.done) moves.push(packed.varint());
    } else return false;
    return true;
  });
  for (let at = 0; at < moves.length; ) {
    const next = (): number => {
      const number = moves[at];
      if (number === undefined) throw new RangeError('a move that is cut short');
      at += 1;
      return number;
    };
    messages.push(readMove(next));
  }
  return messages;
}

function readMove(next: () => number): MoveMessage {
  const alias = next();
  const head = next();
  const later = next();
  const signed = (): number => unzigzag(next());
  const [lat_e6, lon_e6] = [signed(), signed()];
  const [turn_deg, faster_dmps] = head & TURNED ? [signed(), signed()] : [0, 0];
  const wider_m = head & ACCURACY ? signed() : 0;
  const later_ms = later % 2 === 1 ? (later - 1) / 2 : later * 500;
  return { type: 'move', alias, seqBits: head >>> 2, step: { later_ms, lat_e6, lon_e6, turn_deg, faster_dmps, wider_m } };
}

type Members = Record<string, unknown>;
type Field = [name: string, read: (reader: ProtoReader) => unknown];

const number = (reader: ProtoReader): number => reader.varint();
const text = (reader: ProtoReader): string => reader.text();
const cursor = (reader: ProtoReader): string => {
  let [epoch, seq] = [0, 0];
  reader.message().fields((field, inner) => {
    if (field === 1) epoch = inner.varint();
    else if (field === 2) seq = inner.varint();
    else return false;
    return true;
  });
  return `${epoch}.${seq}`;
};
const object = (reader: ProtoReader): JsonObject => readObject(reader.message(), 0);

/** By number in `Frame`: the type, what is there even if it is not told, and the members by number. */
const FRAMES: Record<number, [type: ServerMessage['type'], defaults: Members, fields: Record<number, Field>]> = {
  1: ['welcome', { version: 0, heartbeat_ms: 0, max_topics: 0, max_areas: 0, expires_at_ms: 0 }, { 1: ['version', number], 2: ['heartbeat_ms', number], 3: ['max_topics', number], 4: ['expires_at_ms', (reader) => reader.int64()], 5: ['max_areas', number] }],
  2: ['subscribed', { topic: '', alias: 0, cursor: '0.0' }, { 1: ['topic', text], 2: ['alias', number], 3: ['cursor', cursor] }],
  3: ['snapshot', { alias: 0, cursor: '0.0', state: {} }, { 1: ['alias', number], 2: ['cursor', cursor], 3: ['state', object] }],
  4: ['delta', { alias: 0, seq: 0, patch: {} }, { 1: ['alias', number], 2: ['seq', number], 3: ['patch', object] }],
  5: ['event', { alias: 0, cursor: '0.0', event: null }, { 1: ['alias', number], 2: ['cursor', cursor], 3: ['event', (reader) => readValue(reader.message(), 0)] }],
  6: ['reset', { alias: 0, cursor: '0.0' }, { 1: ['alias', number], 2: ['cursor', cursor] }],
  7: ['stale', { alias: 0 }, { 1: ['alias', number] }],
  8: ['end', { alias: 0, state: {} }, { 1: ['alias', number], 2: ['state', object] }],
  9: ['unsubscribed', { topic: '' }, { 1: ['topic', text] }],
  10: ['error', { code: '', message: '', retry: false }, { 1: ['code', text], 2: ['message', text], 3: ['retry', (reader) => reader.bool()], 4: ['retry_after_ms', number], 5: ['field', text], 6: ['topic', text] }],
  11: ['heartbeat', {}, {}],
  12: ['pong', {}, {}],
  13: ['bye', { code: 0, reason: '' }, { 1: ['code', number], 2: ['reason', text], 3: ['retry_after_ms', number] }],
};

/** Undefined for a frame of a later version. */
function readFrame(reader: ProtoReader): ServerMessage | undefined {
  let message: Members | undefined;
  reader.fields((kind) => {
    const frame = FRAMES[kind];
    if (!frame) return false;
    const [type, defaults, fields] = frame;
    const members: Members = { type, ...defaults };
    const inner = reader.message();
    inner.fields((place) => {
      const field = fields[place];
      if (!field) return false;
      members[field[0]] = field[1](inner);
      return true;
    });
    message = members;
    return true;
  });
  return message as ServerMessage | undefined;
}

function readObject(reader: ProtoReader, depth: number): JsonObject {
  const members = new Map<string, Json>();
  reader.fields((field) => {
    if (field !== 1) return false;
    const member = reader.message();
    let [name, value]: [string, Json] = ['', null];
    member.fields((place) => {
      if (place === 1) name = member.text();
      else if (place === 2) value = readValue(member.message(), depth + 1);
      else return false;
      return true;
    });
    members.set(name, value);
    return true;
  });
  return Object.fromEntries(members);
}

function readValue(reader: ProtoReader, depth: number): Json {
  if (depth > DEPTH_MAX) throw new RangeError('a value that is too deep');
  let value: Json = null;
  reader.fields((kind) => {
    if (kind === 1) value = reader.bool();
    else if (kind === 2) value = reader.zigzag();
    else if (kind === 3) value = readDecimal(reader.message());
    else if (kind === 4) value = reader.double();
    else if (kind === 5) value = reader.text();
    else if (kind === 6) value = readList(reader.message(), depth);
    else if (kind === 7) value = readObject(reader.message(), depth);
    else if (kind === 8) value = readPosition(reader.message());
    else return false;
    return true;
  });
  return value;
}

function readDecimal(reader: ProtoReader): number {
  let [mantissa, places] = [0, 0];
  reader.fields((field) => {
    if (field === 1) mantissa = reader.zigzag();
    else if (field === 2) places = reader.varint();
    else return false;
    return true;
  });
  // One division of two exact numbers: the number that JSON's text gives.
  return mantissa / 10 ** places;
}

function readList(reader: ProtoReader, depth: number): Json[] {
  const values: Json[] = [];
  reader.fields((field) => {
    if (field !== 1) return false;
    values.push(readValue(reader.message(), depth + 1));
    return true;
  });
  return values;
}

function readPosition(reader: ProtoReader): JsonObject {
  const position: JsonObject = { lat: 0, lon: 0, heading_deg: null, speed_mps: 0, accuracy_m: 0, t_ms: 0 };
  reader.fields((field) => {
    if (field === 1) position['lat'] = reader.zigzag() / 1e6;
    else if (field === 2) position['lon'] = reader.zigzag() / 1e6;
    else if (field === 3) position['heading_deg'] = reader.varint();
    else if (field === 4) position['speed_mps'] = reader.varint() / 10;
    else if (field === 5) position['accuracy_m'] = reader.varint();
    else if (field === 6) position['t_ms'] = reader.int64();
    else return false;
    return true;
  });
  return position;
}

/** A message of ours. */
export function writeMessage(message: ClientMessage): Uint8Array<ArrayBuffer> {
  const writer = new ProtoWriter();
  switch (message.type) {
    case 'auth':
      writer.message(1, (auth) => auth.text(1, message.token));
      break;
    case 'subscribe':
      writer.message(2, (subscribe) => {
        for (const { topic, cursor, interval_ms } of message.topics) {
          subscribe.message(1, (wanted) => {
            wanted.text(1, topic);
            if (cursor !== undefined) wanted.text(2, cursor);
            if (interval_ms !== undefined) wanted.number(3, interval_ms);
          });
        }
      });
      break;
    case 'unsubscribe':
      writer.message(3, (unsubscribe) => message.topics.forEach((topic) => unsubscribe.text(1, topic)));
      break;
    case 'ping':
      writer.message(4, () => {});
  }
  return writer.bytes;
}
