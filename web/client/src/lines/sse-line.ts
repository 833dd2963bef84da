import { Timer } from '../clock.js';
import { downOfClose, downOfError, type Down } from '../close-codes.js';
import type { ServerMessage } from '../messages.js';
import { SseParser, type SseEvent } from '../sse-parser.js';
import { refusal, TOPICS_PER_REQUEST, watchUrl } from './http.js';
import {
  clientError,
  DEFAULT_HEARTBEAT_MS,
  isLast,
  observeStamps,
  OPEN_WITHIN_MS,
  SILENT_HEARTBEATS,
  type Line,
  type LineContext,
  type LineEvents,
} from './line.js';

/**
 * Server-sent events, read by `fetch` because EventSource cannot send an Authorization header. A stream's topics are
 * fixed by its URL, so a change of topics opens the stream they are in anew, from their cursors.
 */
export class SseLine implements Line {
  readonly transport = 'sse';
  readonly #context: LineContext;
  readonly #events: LineEvents;
  readonly #streams: SseStream[] = [];
  #opened = false;
  #over = false;

  constructor(context: LineContext, events: LineEvents) {
    this.#context = context;
    this.#events = events;
  }

  start(topics: readonly string[]): void {
    for (const topic of topics) this.add(topic);
  }

  add(topic: string): void {
    const stream = this.#streams.find((candidate) => candidate.topics.size < TOPICS_PER_REQUEST) ?? this.#newStream();
    stream.topics.add(topic);
    stream.restart();
  }

  remove(topic: string): void {
    for (const stream of this.#streams) if (stream.topics.delete(topic)) stream.restart();
  }

  resubscribe(topic: string): void {
    this.#streams.find((stream) => stream.topics.has(topic))?.restart();
  }

  close(): void {
    this.#over = true;
    for (const stream of this.#streams) stream.stop();
  }

  #newStream(): SseStream {
    const stream = new SseStream(this.#context, {
      onOpen: () => {
        if (!this.#opened) this.#events.onOpen();
        this.#opened = true;
      },
      onFrame: (topic, frame) => {
        // What is over for good must not be asked for again with the others.
        if (isLast(frame)) stream.topics.delete(topic);
        this.#events.onFrame(topic, frame);
      },
      onNotice: (error) => this.#events.onNotice(error),
      onDown: (down) => this.#streamDown(down),
    });
    this.#streams.push(stream);
    return stream;
  }

  #streamDown(down: Down): void {
    if (this.#over) return;
    const live = this.#streams.some((stream) => stream.topics.size > 0);
    if (down.kind === 'finished' && live) return;
    this.close();
    this.#events.onDown(down);
  }
}

/** One request and its endless answer. */
class SseStream {
  readonly topics = new Set<string>();
  readonly #context: LineContext;
  readonly #events: LineEvents;
  readonly #watchdog: Timer;
  readonly #start: Timer;
  #abort: AbortController | undefined;

  constructor(context: LineContext, events: LineEvents) {
    this.#context = context;
    this.#events = events;
    this.#watchdog = new Timer(context.clock);
    this.#start = new Timer(context.clock);
  }

  /** Open anew, once, however many topics come and go in this turn. */
  restart(): void {
    this.stop();
    if (this.topics.size > 0) this.#start.arm(0, () => void this.#run());
  }

  stop(): void {
    this.#start.disarm();
    this.#watchdog.disarm();
    this.#abort?.abort();
    this.#abort = undefined;
  }

  async #run(): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    // Covers the token, the answer's head, and a proxy that holds the body back.
    this.#watchdog.arm(OPEN_WITHIN_MS, () => this.#down(abort, lost('timeout', 'no event came through in time')));
    const topics = [...this.topics];
    try {
      const token = await this.#context.tokens.get();
      if (abort.signal.aborted) return;
      const response = await this.#context.fetch(watchUrl(this.#context, '/v1/watch/sse', topics), {
        headers: { Authorization: `Bearer ${token}`, Accept: 'text/event-stream' },
        cache: 'no-store',
        signal: abort.signal,
      });
      if (abort.signal.aborted) return;
      if (!response.ok || !response.body) return await this.#refused(abort, response, topics);
      this.#context.tokens.accepted();
      await this.#read(abort, response.body, topics);
    } catch (cause) {
      this.#down(abort, lost('network', String(cause)));
    }
  }

  async #refused(abort: AbortController, response: Response, topics: string[]): Promise<void> {
    const down = await refusal(response, topics, this.#events.onFrame);
    if (abort.signal.aborted) return;
    if (down) return this.#down(abort, down);
    if (this.topics.size > 0) this.restart();
    else this.#down(abort, { kind: 'finished' });
  }

  async #read(abort: AbortController, body: ReadableStream<Uint8Array>, topics: string[]): Promise<void> {
    const parser = new SseParser();
    const decoder = new TextDecoder();
    const reader = body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (abort.signal.aborted) return;
      if (done) break;
      this.#watchdog.arm(SILENT_HEARTBEATS * DEFAULT_HEARTBEAT_MS, () => this.#down(abort, lost('silent', 'nothing heard for 2.5 heartbeats')));
      this.#events.onOpen();
      for (const event of parser.push(decoder.decode(value, { stream: true }))) {
        this.#take(abort, event, topics);
        if (abort.signal.aborted) return;
      }
    }
    this.#down(abort, this.topics.size === 0 ? { kind: 'finished' } : lost('network', 'the stream ended'));
  }

  #take(abort: AbortController, event: SseEvent, topics: string[]): void {
    let message: ServerMessage;
    try {
      message = { ...JSON.parse(event.data), type: event.name } as ServerMessage;
    } catch {
      return this.#down(abort, lost('malformed', 'an event that is no JSON'));
    }
    switch (message.type) {
      case 'error':
        return this.#error(abort, message);
      case 'bye':
        return this.#down(abort, downOfClose(message.code, message.reason, message.retry_after_ms));
      case 'subscribed':
      case 'snapshot':
      case 'delta':
      case 'event':
      case 'reset':
      case 'stale':
      case 'end': {
        const topic = topics[message.alias];
        if (message.type === 'delta') observeStamps(this.#context.serverClock, message.patch);
        if (topic !== undefined && this.topics.has(topic)) this.#events.onFrame(topic, message);
      }
    }
  }

  #error(abort: AbortController, error: Extract<ServerMessage, { type: 'error' }>): void {
    const verdict = error.topic !== undefined && error.retry_after_ms === undefined && error.code !== 'unauthorized';
    if (verdict) return this.#events.onFrame(error.topic as string, { type: 'error', error });
    this.#down(abort, downOfError(0, error, true));
  }

  #down(abort: AbortController, down: Down): void {
    if (abort.signal.aborted) return;
    this.stop();
    this.#events.onDown(down);
  }
}

function lost(code: string, message: string): Down {
  return { kind: 'retry', serverSpoke: false, error: clientError(code, message) };
}
