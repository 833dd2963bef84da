import { systemClock, type Clock } from './clock.js';
import { LogReader } from './log-reader.js';
import { observeStamps, type Codec, type LineContext, type Transport, type WebSocketConstructor } from './lines/line.js';
import type { JsonObject } from './merge-patch.js';
import type { TopicFrame, WayfareError } from './messages.js';
import { patchOf } from './position-step.js';
import { StateReplica, type Counters } from './replica.js';
import { ServerClock } from './server-clock.js';
import { Session, type Status } from './session.js';
import { TokenSource, type TokenOption } from './token.js';

export interface WayfareOptions {
  /** Origin of the server, `https://…`. */
  url: string;
  /** A token, or a function that gives one and is asked again whenever the last one is refused or about to expire. */
  token: TokenOption;
  /** From best to last resort. */
  transports?: readonly Transport[];
  /** What is offered on a WebSocket; the server takes the first that it speaks. */
  codecs?: readonly Codec[];
  /** For tests and other surroundings than a browser. */
  clock?: Clock;
  fetch?: typeof fetch;
  WebSocket?: WebSocketConstructor;
}

export interface StateInfo {
  readonly topic: string;
  readonly cursor: string;
  /** What it took to get here: the whole state, or a patch to the last one. */
  readonly kind: 'snapshot' | 'delta';
  readonly patch?: JsonObject;
  /** By the local clock. */
  readonly arrived_ms: number;
}

interface CommonHandlers {
  /** The subscription is over and will not come back by itself. */
  onError?(error: WayfareError): void;
  onStatus?(status: Status): void;
}

export interface StateHandlers<State> extends CommonHandlers {
  onState?(state: State, info: StateInfo): void;
  /** The house cannot hear the topic just now: what is shown may be old. `onState` follows as soon as it can. */
  onStale?(): void;
  /** The final state. Nothing follows. */
  onEnd?(state: State): void;
  /** News at most this often, where that is enough; 60,000 at most. Of several who watch a topic the most eager counts. */
  interval_ms?: number;
}

export interface LogHandlers<Event> extends CommonHandlers {
  onEvent?(event: Event, info: { topic: string; cursor: string }): void;
  /** What lies before `cursor` could not be continued and is to be read elsewhere. */
  onReset?(info: { topic: string; cursor: string }): void;
  onEnd?(): void;
  /** `start`: from the oldest event kept. Otherwise from now. */
  from?: 'start';
}

export interface Subscription {
  readonly topic: string;
  readonly counters: Readonly<Counters>;
  stop(): void;
}

type StateTopic = { kind: 'state'; replica: StateReplica; handlers: Set<StateHandlers<any>>; current: StateInfo | undefined };
type LogTopic = { kind: 'log'; replica: LogReader; handlers: Set<LogHandlers<any>> };

/** The least interval that all who watch a topic can live with; undefined: every change. */
function intervalOf(entry: StateTopic | LogTopic | undefined): number | undefined {
  if (entry?.kind !== 'state') return undefined;
  const wishes = [...entry.handlers].map(({ interval_ms }) => interval_ms ?? 0);
  return wishes.length === 0 ? undefined : Math.min(...wishes) || undefined;
}

/**
 * Watches topics of a Wayfare server. All of them share one connection; whoever watches the same topic twice gets
 * one subscription.
 */
export class Wayfare {
  /** The server's clock, as well as it is known. */
  readonly serverClock: ServerClock;
  readonly #clock: Clock;
  readonly #topics = new Map<string, StateTopic | LogTopic>();
  readonly #statusListeners = new Set<(status: Status) => void>();
  readonly #noticeListeners = new Set<(error: WayfareError) => void>();
  readonly #session: Session;

  constructor(options: WayfareOptions) {
    this.#clock = options.clock ?? systemClock;
    this.serverClock = new ServerClock(this.#clock);
    const context: LineContext = {
      url: options.url,
      clock: this.#clock,
      serverClock: this.serverClock,
      fetch: options.fetch ?? globalThis.fetch.bind(globalThis),
      WebSocket: options.WebSocket ?? (globalThis as { WebSocket?: WebSocketConstructor }).WebSocket,
      codecs: options.codecs ?? ['proto', 'json'],
      tokens: new TokenSource(options.token),
      cursorOf: (topic) => this.#topics.get(topic)?.replica.resumeFrom,
      intervalOf: (topic) => intervalOf(this.#topics.get(topic)),
    };
    this.#session = new Session(options.transports ?? ['websocket', 'sse', 'polling'], context, {
      topics: () => [...this.#topics.keys()],
      onFrame: (topic, frame) => this.#frame(topic, frame),
      onNewLine: (how) => this.#newLine(how),
      onStatus: (status) => this.#status(status),
      onNotice: (error) => this.#noticeListeners.forEach((listener) => listener(error)),
      onStopped: (error) => this.#stopped(error),
    });
  }

  get status(): Status {
    return this.#session.status;
  }

  /** How often a line was opened, given up for a lesser transport, and regained. */
  get counters(): Readonly<{ connects: number; falls: number; climbs: number }> {
    return this.#session.counters;
  }

  /** Watch a state topic. `onState` comes with every change, and at once if the topic is already held. */
  watch<State = JsonObject>(topic: string, handlers: StateHandlers<State>): Subscription {
    const known = this.#topics.get(topic);
    if (known?.kind === 'log') throw new Error(`${topic} is already followed as a log`);
    const entry = known ?? { kind: 'state', replica: new StateReplica(), handlers: new Set(), current: undefined };
    this.#enter(topic, entry, handlers);
    if (entry.current) handlers.onState?.(entry.replica.state as State, entry.current);
    return this.#subscription(topic, entry, handlers);
  }

  /** Follow a log topic, event by event. */
  follow<Event = JsonObject>(topic: string, handlers: LogHandlers<Event>): Subscription {
    const known = this.#topics.get(topic);
    if (known?.kind === 'state') throw new Error(`${topic} is already watched as a state`);
    const entry = known ?? { kind: 'log', replica: new LogReader(handlers.from ?? 'now'), handlers: new Set() };
    this.#enter(topic, entry, handlers);
    return this.#subscription(topic, entry, handlers);
  }

  onStatus(listener: (status: Status) => void): () => void {
    this.#statusListeners.add(listener);
    return () => this.#statusListeners.delete(listener);
  }

  /** Errors that are about no topic and stop nothing: for a log. */
  onNotice(listener: (error: WayfareError) => void): () => void {
    this.#noticeListeners.add(listener);
    return () => this.#noticeListeners.delete(listener);
  }

  /** Call it when the network is back or the page is shown again: waits are cut short. */
  wake(): void {
    this.#session.wake();
  }

  close(): void {
    this.#topics.clear();
    this.#session.close();
  }

  #enter(topic: string, entry: StateTopic | LogTopic, handlers: StateHandlers<any> | LogHandlers<any>): void {
    const before = intervalOf(this.#topics.get(topic));
    (entry.handlers as Set<unknown>).add(handlers);
    if (this.#topics.has(topic)) {
      if (intervalOf(entry) !== before) this.#session.resubscribe(topic);
      return;
    }
    this.#topics.set(topic, entry);
    const { connection, error } = this.#session.status;
    if (connection === 'stopped') {
      this.#leave(topic);
      handlers.onError?.(error ?? { code: 'client_stopped', message: 'this client was closed' });
    } else this.#session.add(topic);
  }

  #subscription(topic: string, entry: StateTopic | LogTopic, handlers: any): Subscription {
    return {
      topic,
      counters: entry.replica.counters,
      stop: () => {
        const before = intervalOf(entry);
        entry.handlers.delete(handlers);
        if (this.#topics.get(topic) !== entry) return;
        if (entry.handlers.size > 0) {
          if (intervalOf(entry) !== before) this.#session.resubscribe(topic);
          return;
        }
        this.#leave(topic);
        this.#session.remove(topic, false);
      },
    };
  }

  #leave(topic: string): StateTopic | LogTopic | undefined {
    const entry = this.#topics.get(topic);
    this.#topics.delete(topic);
    return entry;
  }

  #newLine(how: 'fresh' | 'handover'): void {
    for (const { replica } of this.#topics.values()) {
      if (how === 'fresh') replica.beginLine();
      else replica.beginHandover();
    }
  }

  #frame(topic: string, frame: TopicFrame): void {
    const entry = this.#topics.get(topic);
    if (!entry) return;
    switch (frame.type) {
      case 'error':
        return this.#over(topic, (handlers) => handlers.onError?.(frame.error));
      case 'unsubscribed':
        return this.#over(topic, (handlers) => handlers.onError?.({ code: 'not_found', message: 'no longer to be watched', topic }));
      case 'subscribed':
        return entry.replica.subscribed(frame.cursor);
    }
    if (entry.kind === 'state') this.#stateFrame(topic, entry, frame);
    else this.#logFrame(topic, entry, frame);
  }

  #stateFrame(topic: string, entry: StateTopic, frame: TopicFrame): void {
    const { replica } = entry;
    if (frame.type === 'end') {
      replica.end(frame.state);
      return this.#over(topic, (handlers) => (handlers as StateHandlers<JsonObject>).onEnd?.(replica.state));
    }
    if (frame.type === 'stale') {
      for (const handlers of [...entry.handlers]) handlers.onStale?.();
      return;
    }
    if (frame.type !== 'snapshot' && frame.type !== 'delta' && frame.type !== 'move') return;
    let patch: JsonObject | undefined;
    if (frame.type === 'delta') patch = frame.patch;
    if (frame.type === 'move') patch = patchOf(frame.step, replica.state);
    const outcome = frame.type === 'snapshot' ? replica.snapshot(frame.cursor, frame.state) : replica.delta(frame.seq, patch);
    if (outcome === 'fault') this.#session.resubscribe(topic);
    if (outcome !== 'applied') return;
    const info: StateInfo = {
      topic,
      cursor: replica.held ?? '',
      kind: frame.type === 'snapshot' ? 'snapshot' : 'delta',
      arrived_ms: this.#clock.now(),
      ...(patch && { patch }),
    };
    if (frame.type === 'move' && patch) observeStamps(this.serverClock, patch);
    entry.current = info;
    for (const handlers of [...entry.handlers]) handlers.onState?.(replica.state, info);
  }

  #logFrame(topic: string, entry: LogTopic, frame: TopicFrame): void {
    switch (frame.type) {
      case 'event':
        if (entry.replica.event(frame.cursor) !== 'applied') return;
        for (const handlers of [...entry.handlers]) handlers.onEvent?.(frame.event, { topic, cursor: frame.cursor });
        return;
      case 'reset':
        entry.replica.reset(frame.cursor);
        for (const handlers of [...entry.handlers]) handlers.onReset?.({ topic, cursor: frame.cursor });
        return;
      case 'end':
        return this.#over(topic, (handlers) => (handlers as LogHandlers<JsonObject>).onEnd?.());
    }
  }

  #over(topic: string, tell: (handlers: StateHandlers<any> | LogHandlers<any>) => void): void {
    const entry = this.#leave(topic);
    this.#session.remove(topic, true);
    for (const handlers of [...(entry?.handlers ?? [])]) tell(handlers);
  }

  #status(status: Status): void {
    for (const listener of [...this.#statusListeners]) listener(status);
    for (const { handlers } of [...this.#topics.values()]) for (const each of [...handlers]) each.onStatus?.(status);
  }

  #stopped(error: WayfareError): void {
    const entries = [...this.#topics.values()];
    this.#topics.clear();
    for (const { handlers } of entries) for (const each of [...handlers]) each.onError?.(error);
  }
}
