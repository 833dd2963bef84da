import { Timer } from '../clock.js';
import type { Down } from '../close-codes.js';
import type { PollAnswer, PolledTopic, TopicFrame } from '../messages.js';
import { refusal, TOPICS_PER_REQUEST, watchUrl } from './http.js';
import { clientError, OPEN_WITHIN_MS, type Line, type LineContext, type LineEvents } from './line.js';

const DEFAULT_INTERVAL_MS = 3_000;
/** Whatever the server says, a page shall neither hammer it nor fall asleep. */
const SHORTEST_INTERVAL_MS = 250;
const LONGEST_INTERVAL_MS = 60_000;
/** How long the server may keep an answer back until there is news: below what proxies bear. */
const WAIT_S = 20;

/**
 * Asks again and again. Works through anything that lets a plain request through. Once carried, the server keeps an answer back until there is
 * news; topics that do not fit into one request are asked for at the pace the server tells.
 */
export class PollingLine implements Line {
  readonly transport = 'polling';
  readonly #context: LineContext;
  readonly #events: LineEvents;
  readonly #topics = new Set<string>();
  readonly #timer: Timer;
  readonly #deadline: Timer;
  /** ETag by the topics it was given for. */
  readonly #etags = new Map<string, string>();
  #interval_ms = DEFAULT_INTERVAL_MS;
  #abort: AbortController | undefined;
  /** The server keeps the answer back. */
  #waiting = false;
  #opened = false;
  #over = false;

  constructor(context: LineContext, events: LineEvents) {
    this.#context = context;
    this.#events = events;
    this.#timer = new Timer(context.clock);
    this.#deadline = new Timer(context.clock);
  }

  start(topics: readonly string[]): void {
    for (const topic of topics) this.#topics.add(topic);
    this.#soon(0);
  }

  add(topic: string): void {
    this.#topics.add(topic);
    this.#soon(0);
  }

  remove(topic: string): void {
    this.#topics.delete(topic);
  }

  resubscribe(): void {
    this.#etags.clear();
    this.#soon(0);
  }

  close(): void {
    this.#over = true;
    this.#timer.disarm();
    this.#deadline.disarm();
    this.#abort?.abort();
  }

  #soon(delay_ms: number): void {
    // Who waits cannot know that something else is wanted now.
    if (this.#waiting) this.#abort?.abort();
    // A round under way plans the next one itself.
    else if (!this.#over && !this.#abort) this.#timer.arm(delay_ms, () => void this.#round());
  }

  /** Whether one request can wait for all: an answer waits for what is beyond a cursor. */
  #canWait(): boolean {
    const topics = [...this.#topics];
    return this.#opened && topics.length <= TOPICS_PER_REQUEST && topics.every((topic) => this.#context.cursorOf(topic) !== undefined);
  }

  async #round(): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    this.#waiting = this.#canWait();
    const wait_s = this.#waiting ? WAIT_S : 0;
    const asked = [...this.#topics];
    let more = false;
    try {
      for (let at = 0; at < asked.length; at += TOPICS_PER_REQUEST) {
        this.#deadline.arm(OPEN_WITHIN_MS + wait_s * 1000, () => this.#down(lost('timeout', 'the poll was not answered in time')));
        more = (await this.#poll(asked.slice(at, at + TOPICS_PER_REQUEST), wait_s, abort)) || more;
        if (this.#over) return;
      }
    } catch (cause) {
      // We have broken it off ourselves, for something new.
      if (!this.#waiting || !abort.signal.aborted) return this.#down(lost('network', String(cause)));
      more = true;
    }
    this.#deadline.disarm();
    this.#abort = undefined;
    this.#waiting = false;
    if (this.#topics.size === 0) return this.#down({ kind: 'finished' });
    const late = [...this.#topics].some((topic) => !asked.includes(topic));
    this.#soon(more || late ? 0 : this.#canWait() ? SHORTEST_INTERVAL_MS : this.#interval_ms);
  }

  async #poll(topics: string[], wait_s: number, abort: AbortController): Promise<boolean> {
    const token = await this.#context.tokens.get();
    if (this.#over) return false;
    const key = topics.join(',');
    // An ETag is only good for the cursors it was made of: after a fault everything is wanted again.
    const etag = topics.every((topic) => this.#context.cursorOf(topic) !== undefined) ? this.#etags.get(key) : undefined;
    const wait = wait_s > 0 ? `&wait=${wait_s}` : '';
    const response = await this.#context.fetch(watchUrl(this.#context, '/v1/watch/poll', topics) + wait, {
      headers: { Authorization: `Bearer ${token}`, ...(etag !== undefined && { 'If-None-Match': etag }) },
      cache: 'no-store',
      signal: abort.signal,
    });
    if (this.#over) return false;
    if (response.status === 304) {
      this.#carried();
      return false;
    }
    if (!response.ok) {
      const down = await refusal(response, topics, (topic, frame) => this.#last(topic, frame));
      if (down) this.#down(down);
      return false;
    }
    const answer = (await response.json()) as PollAnswer;
    if (this.#over) return false;
    this.#carried();
    const fresh = response.headers.get('etag');
    if (fresh === null) this.#etags.delete(key);
    else this.#etags.set(key, fresh);
    this.#interval_ms = clamp(answer.retry_after_ms ?? DEFAULT_INTERVAL_MS, SHORTEST_INTERVAL_MS, LONGEST_INTERVAL_MS);
    for (const topic of answer.topics) this.#take(topic);
    return answer.topics.some((topic) => topic.more === true);
  }

  #take(polled: PolledTopic): void {
    const { topic, cursor } = polled;
    if (!this.#topics.has(topic)) return;
    if (polled.ended) return this.#last(topic, { type: 'end', state: polled.state });
    if (polled.reset && cursor !== undefined) this.#events.onFrame(topic, { type: 'reset', cursor });
    for (const { cursor: at, event } of polled.events ?? []) this.#events.onFrame(topic, { type: 'event', cursor: at, event });
    if (cursor !== undefined) this.#events.onFrame(topic, { type: 'subscribed', cursor });
    if (polled.state && cursor !== undefined) this.#events.onFrame(topic, { type: 'snapshot', cursor, state: polled.state });
  }

  /** The topic is over for good, and not asked for again. */
  #last(topic: string, frame: TopicFrame): void {
    this.#topics.delete(topic);
    this.#events.onFrame(topic, frame);
  }

  #carried(): void {
    this.#context.tokens.accepted();
    if (!this.#opened) this.#events.onOpen();
    this.#opened = true;
  }

  #down(down: Down): void {
    if (this.#over) return;
    this.close();
    this.#events.onDown(down);
  }
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}

function lost(code: string, message: string): Down {
  return { kind: 'retry', serverSpoke: false, error: clientError(code, message) };
}
