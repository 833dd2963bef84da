import { Timer } from '../clock.js';
import { downOfClose, type Down } from '../close-codes.js';
import { parseCursor } from '../cursor.js';
import type { ClientMessage, ServerMessage, TopicFrame } from '../messages.js';
import { readMessages, SEQ_BITS, writeMessage, type MoveMessage } from '../watch-proto.js';
import {
  clientError,
  DEFAULT_HEARTBEAT_MS,
  endpoint,
  isLast,
  observeStamps,
  OPEN_WITHIN_MS,
  SILENT_HEARTBEATS,
  type Line,
  type LineContext,
  type LineEvents,
  type WebSocketLike,
} from './line.js';

const SUBPROTOCOL = { proto: 'wayfare.watch.v1.proto', json: 'wayfare.watch.v1.json' };
/** Timers of browsers overflow beyond 24.8 days; a day is looked at again. */
const LONGEST_TIMER_MS = 86_400_000;
const RENEW_BEFORE_MS = 60_000;
/** Should the clocks disagree so much that every new token seems old, it is still not asked for all the time. */
const RENEW_SOONEST_MS = 5_000;
const RENEW_RETRY_MS = 10_000;
const TOPIC_RETRY_MS = 3_000;

/** All topics on one WebSocket. The token goes in the first message, so it never stands in a URL. */
export class WebSocketLine implements Line {
  readonly transport = 'websocket';
  readonly #context: LineContext;
  readonly #events: LineEvents;
  readonly #watchdog: Timer;
  readonly #renewal: Timer;
  readonly #retries = new Map<string, Timer>();
  readonly #topicOfAlias = new Map<number, string>();
  /** Number of the last frame: moves carry only some of its bits. */
  readonly #seqOfAlias = new Map<number, number>();
  readonly #topics = new Set<string>();
  /** Asked for and left in this turn of the page: told in one message each, as messages are counted. */
  readonly #wanted = new Set<string>();
  readonly #unwanted = new Set<string>();
  #socket: WebSocketLike | undefined;
  #binary = false;
  #heartbeat_ms = DEFAULT_HEARTBEAT_MS;
  #welcomed = false;
  #over = false;
  #bye: Extract<ServerMessage, { type: 'bye' }> | undefined;

  constructor(context: LineContext, events: LineEvents) {
    this.#context = context;
    this.#events = events;
    this.#watchdog = new Timer(context.clock);
    this.#renewal = new Timer(context.clock);
  }

  start(topics: readonly string[]): void {
    for (const topic of topics) this.#topics.add(topic);
    this.#watchdog.arm(OPEN_WITHIN_MS, () => this.#fail('timeout', 'the WebSocket did not open in time'));
    void this.#open();
  }

  add(topic: string): void {
    this.#topics.add(topic);
    this.#unwanted.delete(topic);
    this.#wanted.add(topic);
    this.#tellSoon();
  }

  remove(topic: string): void {
    this.#topics.delete(topic);
    this.#retries.get(topic)?.disarm();
    this.#wanted.delete(topic);
    this.#unwanted.add(topic);
    this.#tellSoon();
  }

  resubscribe(topic: string): void {
    if (this.#welcomed && this.#topics.has(topic)) this.#subscribe([topic]);
  }

  close(): void {
    this.#release();
    this.#socket?.close(1000);
  }

  async #open(): Promise<void> {
    const { WebSocket, url, codecs, tokens } = this.#context;
    try {
      if (!WebSocket) throw new Error('no WebSocket here');
      const token = await tokens.get();
      if (this.#over) return;
      const offered = codecs.map((codec) => SUBPROTOCOL[codec]);
      const socket = new WebSocket(endpoint(url, '/v1/watch').replace(/^http/, 'ws'), offered);
      this.#socket = socket;
      socket.binaryType = 'arraybuffer';
      socket.onopen = () => {
        this.#binary = socket.protocol === SUBPROTOCOL.proto;
        this.#send({ type: 'auth', token });
      };
      socket.onmessage = (event) => this.#receive(event.data);
      socket.onclose = (event) => this.#closed(event.code, event.reason);
      socket.onerror = () => {}; // `close` follows and says more
    } catch (cause) {
      this.#fail('unavailable', String(cause));
    }
  }

  #receive(data: unknown): void {
    if (this.#over) return;
    this.#watchdog.arm(SILENT_HEARTBEATS * this.#heartbeat_ms, () => this.#fail('silent', 'nothing heard for 2.5 heartbeats'));
    let messages: (ServerMessage | MoveMessage)[];
    try {
      messages = this.#binary ? readMessages(new Uint8Array(data as ArrayBuffer)) : [JSON.parse(String(data)) as ServerMessage];
    } catch {
      return this.#fail('malformed', 'a message that cannot be read');
    }
    for (const message of messages) if (!this.#over) this.#take(message);
  }

  #take(message: ServerMessage | MoveMessage): void {
    switch (message.type) {
      case 'welcome':
        return this.#welcome(message);
      case 'subscribed':
        this.#topicOfAlias.set(message.alias, message.topic);
        this.#stand(message.alias, message.cursor);
        return this.#frame(message.topic, message);
      case 'move':
        return this.#frame(this.#topicOfAlias.get(message.alias), { type: 'move', seq: this.#seqOf(message), step: message.step });
      case 'delta':
        this.#seqOfAlias.set(message.alias, message.seq);
        observeStamps(this.#context.serverClock, message.patch);
        return this.#frame(this.#topicOfAlias.get(message.alias), message);
      case 'snapshot':
        this.#stand(message.alias, message.cursor);
        return this.#frame(this.#topicOfAlias.get(message.alias), message);
      case 'event':
      case 'reset':
      case 'stale':
        return this.#frame(this.#topicOfAlias.get(message.alias), message);
      case 'end': {
        const topic = this.#topicOfAlias.get(message.alias);
        this.#topicOfAlias.delete(message.alias);
        return this.#frame(topic, message);
      }
      case 'unsubscribed':
        return this.#frame(message.topic, message);
      case 'error':
        return this.#error(message);
      case 'bye':
        this.#bye = message;
    }
  }

  #stand(alias: number, cursor: string): void {
    this.#seqOfAlias.set(alias, parseCursor(cursor)?.seq ?? 0);
  }

  /** The next number, unless its low bits say that some are missing: then the replica sees the gap. */
  #seqOf({ alias, seqBits }: MoveMessage): number {
    const expected = (this.#seqOfAlias.get(alias) ?? 0) + 1;
    const seq = expected + ((seqBits - (expected % SEQ_BITS) + SEQ_BITS) % SEQ_BITS);
    this.#seqOfAlias.set(alias, seq);
    return seq;
  }

  #welcome(message: Extract<ServerMessage, { type: 'welcome' }>): void {
    this.#heartbeat_ms = message.heartbeat_ms || DEFAULT_HEARTBEAT_MS;
    this.#context.tokens.accepted();
    this.#planRenewal(message.expires_at_ms);
    if (this.#welcomed) return; // the answer to a renewal
    this.#welcomed = true;
    this.#events.onOpen();
    this.#wanted.clear();
    this.#unwanted.clear();
    if (this.#topics.size > 0) this.#subscribe([...this.#topics]);
  }

  #planRenewal(expires_at_ms: number): void {
    if (!this.#context.tokens.renewable || !expires_at_ms) return;
    const left_ms = expires_at_ms - this.#context.serverClock.now();
    const delay_ms = Math.max(RENEW_SOONEST_MS, left_ms - Math.min(RENEW_BEFORE_MS, left_ms / 4));
    if (delay_ms > LONGEST_TIMER_MS) this.#renewal.arm(LONGEST_TIMER_MS, () => this.#planRenewal(expires_at_ms));
    else this.#renewal.arm(delay_ms, () => void this.#renew());
  }

  async #renew(): Promise<void> {
    try {
      const token = await this.#context.tokens.renew();
      if (!this.#over) this.#send({ type: 'auth', token });
    } catch (cause) {
      if (this.#over) return;
      this.#events.onNotice(clientError('token', String(cause)));
      this.#renewal.arm(RENEW_RETRY_MS, () => void this.#renew());
    }
  }

  #error(error: Extract<ServerMessage, { type: 'error' }>): void {
    const topic = error.topic;
    if (!topic) return this.#events.onNotice(error);
    if (error.code === 'ended') return this.#frame(topic, { type: 'end', state: error.state });
    if (error.retry === true || error.retry_after_ms !== undefined) {
      // Not a verdict on the topic: the server is not ready for it yet.
      const timer = this.#retries.get(topic) ?? new Timer(this.#context.clock);
      this.#retries.set(topic, timer);
      return timer.arm(error.retry_after_ms ?? TOPIC_RETRY_MS, () => this.resubscribe(topic));
    }
    this.#frame(topic, { type: 'error', error });
  }

  #frame(topic: string | undefined, frame: TopicFrame): void {
    // Frames of a topic just unsubscribed may still be under way.
    if (topic === undefined || !this.#topics.has(topic)) return;
    if (isLast(frame)) this.#topics.delete(topic);
    this.#events.onFrame(topic, frame);
  }

  #tellSoon(): void {
    // The first of a turn speaks for all of them.
    if (this.#welcomed && this.#wanted.size + this.#unwanted.size === 1) queueMicrotask(() => this.#tell());
  }

  #tell(): void {
    if (this.#over || !this.#welcomed) return;
    if (this.#unwanted.size > 0) this.#send({ type: 'unsubscribe', topics: [...this.#unwanted] });
    if (this.#wanted.size > 0) this.#subscribe([...this.#wanted]);
    this.#unwanted.clear();
    this.#wanted.clear();
  }

  #subscribe(topics: string[]): void {
    const subscriptions = topics.map((topic) => {
      const cursor = this.#context.cursorOf(topic);
      const interval_ms = this.#context.intervalOf(topic);
      return { topic, ...(cursor !== undefined && { cursor }), ...(interval_ms !== undefined && { interval_ms }) };
    });
    this.#send({ type: 'subscribe', topics: subscriptions });
  }

  #send(message: ClientMessage): void {
    this.#socket?.send(this.#binary ? writeMessage(message) : JSON.stringify(message));
  }

  #closed(code: number, reason: string): void {
    if (this.#over) return;
    this.#down(downOfClose(this.#bye?.code ?? code, this.#bye?.reason ?? reason, this.#bye?.retry_after_ms));
  }

  #fail(code: string, message: string): void {
    if (this.#over) return;
    const socket = this.#socket;
    this.#down({ kind: 'retry', serverSpoke: false, error: clientError(code, message) });
    socket?.close();
  }

  #down(down: Down): void {
    this.#release();
    this.#events.onDown(down);
  }

  #release(): void {
    this.#over = true;
    this.#watchdog.disarm();
    this.#renewal.disarm();
    for (const timer of this.#retries.values()) timer.disarm();
  }
}
