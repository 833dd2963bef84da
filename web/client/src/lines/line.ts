import type { Clock } from '../clock.js';
import type { Down } from '../close-codes.js';
import type { TopicFrame, WayfareError } from '../messages.js';
import type { ServerClock } from '../server-clock.js';
import type { TokenSource } from '../token.js';

export type Transport = 'websocket' | 'sse' | 'polling';

/** The part of the browser's WebSocket that is used. */
export interface WebSocketLike {
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  /** The subprotocol that the server took. */
  readonly protocol: string;
  binaryType: any;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** How messages become bytes on a WebSocket. */
export type Codec = 'proto' | 'json';

export interface LineContext {
  /** Origin of the server, perhaps with a path before `/v1`. */
  readonly url: string;
  readonly clock: Clock;
  readonly serverClock: ServerClock;
  readonly fetch: typeof fetch;
  readonly WebSocket: WebSocketConstructor | undefined;
  readonly codecs: readonly Codec[];
  readonly tokens: TokenSource;
  /** Where to go on from; asked anew at every (re)subscription. */
  cursorOf(topic: string): string | undefined;
  /** News of it at most this often; undefined: as they happen. */
  intervalOf(topic: string): number | undefined;
}

export interface LineEvents {
  /** The transport carries: not only a connection, but an answer of the server came through it. */
  onOpen(): void;
  onFrame(topic: string, frame: TopicFrame): void;
  /** An error that is about no topic and leaves the line as it was. */
  onNotice(error: WayfareError): void;
  /** The line is gone. Said once, and not after `close`. */
  onDown(down: Down): void;
}

/** One connection, or one series of polls, that carries some topics. It lives once: after `onDown` a new one is made. */
export interface Line {
  readonly transport: Transport;
  start(topics: readonly string[]): void;
  add(topic: string): void;
  remove(topic: string): void;
  /** Ask for the topic again, with the cursor as it is now. */
  resubscribe(topic: string): void;
  close(): void;
}

/** How long a transport may take until it carries. */
export const OPEN_WITHIN_MS = 10_000;
/** Silence of this many heartbeats means the line is dead. */
export const SILENT_HEARTBEATS = 2.5;
export const DEFAULT_HEARTBEAT_MS = 20_000;

/** Nothing follows for the topic; a line that passes such a frame on has forgotten the topic by itself. */
export function isLast(frame: TopicFrame): boolean {
  return frame.type === 'end' || frame.type === 'error' || frame.type === 'unsubscribed';
}

export function endpoint(url: string, path: string): string {
  return url.replace(/\/+$/, '') + path;
}

export function clientError(code: string, message: string): WayfareError {
  return { code: `client_${code}`, message };
}

/** A position or a phase that has just been sent tells the server's time. */
export function observeStamps(serverClock: ServerClock, patch: Record<string, unknown>): void {
  const position = patch['position'] as { t_ms?: unknown } | null | undefined;
  if (typeof position?.t_ms === 'number') serverClock.observe(position.t_ms);
  if (typeof patch['phase_since_ms'] === 'number') serverClock.observe(patch['phase_since_ms']);
}
