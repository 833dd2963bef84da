import type { JsonObject } from './merge-patch.js';
import type { PositionStep } from './position-step.js';

/** What went wrong, in the words of the server (`code` as in the protocol) or of this library (`code` starting with `client_`). */
export interface WayfareError {
  readonly code: string;
  readonly message: string;
  readonly retry?: boolean;
  readonly retry_after_ms?: number;
  readonly field?: string;
  readonly topic?: string;
  /** With `ended`: the final state. */
  readonly state?: JsonObject;
}

/** Messages from the server on a WebSocket, and events of an SSE stream. */
export type ServerMessage =
  | { type: 'welcome'; version: number; heartbeat_ms: number; max_topics: number; max_areas?: number; expires_at_ms: number }
  | { type: 'subscribed'; topic: string; alias: number; cursor: string }
  | { type: 'snapshot'; alias: number; cursor: string; state: JsonObject }
  | { type: 'delta'; alias: number; seq: number; patch: JsonObject }
  | { type: 'event'; alias: number; cursor: string; event: JsonObject }
  | { type: 'reset'; alias: number; cursor: string }
  | { type: 'stale'; alias: number }
  | { type: 'end'; alias: number; state: JsonObject }
  | { type: 'unsubscribed'; topic: string }
  | ({ type: 'error' } & WayfareError)
  | { type: 'bye'; code: number; reason: string; retry_after_ms?: number }
  | { type: 'heartbeat' }
  | { type: 'pong' };

/** Messages to the server on a WebSocket. */
export type ClientMessage =
  | { type: 'auth'; token: string }
  | { type: 'subscribe'; topics: { topic: string; cursor?: string; interval_ms?: number }[] }
  | { type: 'unsubscribe'; topics: string[] }
  | { type: 'ping' };

/** A body of `GET /v1/watch/poll`. */
export interface PollAnswer {
  cursor: string;
  retry_after_ms?: number;
  topics: PolledTopic[];
}

export interface PolledTopic {
  topic: string;
  cursor?: string;
  state?: JsonObject;
  ended?: boolean;
  events?: { cursor: string; event: JsonObject }[];
  reset?: boolean;
  more?: boolean;
}

/** What any transport says about one topic, once aliases are resolved. */
export type TopicFrame =
  | { type: 'subscribed'; cursor: string }
  | { type: 'snapshot'; cursor: string; state: JsonObject }
  | { type: 'delta'; seq: number; patch: JsonObject }
  /** A delta whose patch follows from the state before it. */
  | { type: 'move'; seq: number; step: PositionStep }
  | { type: 'event'; cursor: string; event: JsonObject }
  | { type: 'reset'; cursor: string }
  | { type: 'stale' }
  | { type: 'end'; state?: JsonObject }
  | { type: 'unsubscribed' }
  | { type: 'error'; error: WayfareError };
