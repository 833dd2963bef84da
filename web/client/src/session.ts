import { Backoff } from './backoff.js';
import { Timer } from './clock.js';
import type { Down } from './close-codes.js';
import { isLast, type Line, type LineContext, type LineEvents, type Transport } from './lines/line.js';
import { PollingLine } from './lines/polling-line.js';
import { SseLine } from './lines/sse-line.js';
import { WebSocketLine } from './lines/websocket-line.js';
import type { TopicFrame, WayfareError } from './messages.js';

const CLIMB_FIRST_MS = 30_000;
const CLIMB_LONGEST_MS = 300_000;
const CLIMB_DEADLINE_MS = 15_000;
/** A line that lives this long was no false start. */
const GOOD_LIFE_MS = 10_000;
/** So many false starts in a row, and the network seems to dislike the transport. */
const FALSE_STARTS = 3;
/** The best transport has proved itself: the next climb may be prompt again. */
const PROVEN_LIFE_MS = 60_000;

/** `live`: messages come as they happen. `polling`: we ask every few seconds. */
export type Connection = 'idle' | 'connecting' | 'live' | 'polling' | 'reconnecting' | 'stopped';

export interface Status {
  readonly connection: Connection;
  readonly transport: Transport | undefined;
  /** When this began, by the local clock. */
  readonly since_ms: number;
  /** Why it is not as it should be. */
  readonly error: WayfareError | undefined;
}

/** What the session tells its owner, who keeps the topics. */
export interface SessionHost {
  topics(): string[];
  onFrame(topic: string, frame: TopicFrame): void;
  onNewLine(how: 'fresh' | 'handover'): void;
  onStatus(status: Status): void;
  onNotice(error: WayfareError): void;
  /** For good. */
  onStopped(error: WayfareError): void;
}

/** A better line being tried while the current one goes on. */
interface Candidate {
  readonly line: Line;
  readonly rung: number;
  readonly unanswered: Set<string>;
  readonly frames: [string, TopicFrame][];
}

/**
 * Keeps one line up: walks down the ladder of transports when a network refuses one, and back up when it no longer
 * does, waits as long as it was told, and gives up only where the server says so.
 */
export class Session {
  readonly counters = { connects: 0, falls: 0, climbs: 0 };
  readonly #ladder: readonly Transport[];
  readonly #context: LineContext;
  readonly #host: SessionHost;
  readonly #backoff: Backoff;
  readonly #wait: Timer;
  readonly #climb: Timer;
  readonly #climbDeadline: Timer;
  #rung = 0;
  #line: Line | undefined;
  #opened_ms: number | undefined;
  #falseStarts = 0;
  #candidate: Candidate | undefined;
  #climbDelay_ms = CLIMB_FIRST_MS;
  #status: Status;

  constructor(ladder: readonly Transport[], context: LineContext, host: SessionHost) {
    this.#ladder = ladder;
    this.#context = context;
    this.#host = host;
    this.#backoff = new Backoff(context.clock);
    this.#wait = new Timer(context.clock);
    this.#climb = new Timer(context.clock);
    this.#climbDeadline = new Timer(context.clock);
    this.#status = { connection: 'idle', transport: undefined, since_ms: context.clock.now(), error: undefined };
  }

  get status(): Status {
    return this.#status;
  }

  add(topic: string): void {
    if (this.#status.connection === 'stopped') return;
    this.#line?.add(topic);
    if (this.#candidate) {
      this.#candidate.unanswered.add(topic);
      this.#candidate.line.add(topic);
    }
    if (this.#status.connection === 'idle') {
      this.#tell('connecting');
      // At the end of this turn, so that topics watched together are asked for together.
      this.#wait.arm(0, () => this.#connect());
    }
  }

  /** `told`: the server has already been told, or has told us. */
  remove(topic: string, told: boolean): void {
    if (!told) this.#line?.remove(topic);
    if (this.#candidate) {
      this.#candidate.line.remove(topic);
      this.#candidate.unanswered.delete(topic);
    }
    if (this.#host.topics().length === 0 && this.#status.connection !== 'stopped') this.#rest();
  }

  resubscribe(topic: string): void {
    this.#line?.resubscribe(topic);
  }

  /** The network is back, or the page is looked at again: whatever is being waited for is tried now. */
  wake(): void {
    if (this.#wait.armed) {
      this.#backoff.reset();
      this.#connect();
    } else if (this.#climb.armed) this.#tryClimb();
  }

  close(): void {
    this.#rest();
    this.#tell('stopped');
  }

  #rest(): void {
    this.#wait.disarm();
    this.#dropCandidate();
    this.#climb.disarm();
    this.#line?.close();
    this.#line = undefined;
    this.#tell('idle');
  }

  #connect(): void {
    this.#wait.disarm();
    this.#line?.close();
    this.#opened_ms = undefined;
    this.#host.onNewLine('fresh');
    this.counters.connects += 1;
    const line: Line = this.#newLine(this.#rung, {
      onOpen: () => this.#line === line && this.#opened(),
      onFrame: (topic, frame) => this.#line === line && this.#host.onFrame(topic, frame),
      onNotice: (error) => this.#host.onNotice(error),
      onDown: (down) => this.#line === line && this.#lineDown(down),
    });
    this.#line = line;
    line.start(this.#host.topics());
  }

  #newLine(rung: number, events: LineEvents): Line {
    switch (this.#ladder[rung]) {
      case 'sse':
        return new SseLine(this.#context, events);
      case 'polling':
        return new PollingLine(this.#context, events);
      default:
        return new WebSocketLine(this.#context, events);
    }
  }

  #opened(): void {
    if (this.#opened_ms === undefined) this.#opened_ms = this.#context.clock.now();
    this.#tell(this.#ladder[this.#rung] === 'polling' ? 'polling' : 'live');
    if (this.#rung > 0 && !this.#climb.armed && !this.#candidate) this.#planClimb();
  }

  #lineDown(down: Down): void {
    const lived_ms = this.#opened_ms === undefined ? undefined : this.#context.clock.now() - this.#opened_ms;
    this.#line = undefined;
    this.#climb.disarm();
    if (lived_ms !== undefined && lived_ms >= GOOD_LIFE_MS) {
      this.#backoff.reset();
      this.#falseStarts = 0;
    }
    if (lived_ms !== undefined && lived_ms >= PROVEN_LIFE_MS && this.#rung === 0) this.#climbDelay_ms = CLIMB_FIRST_MS;
    switch (down.kind) {
      case 'finished':
        return this.#finished();
      case 'stop':
        return this.#stop(down.error);
      case 'token':
        if (!this.#context.tokens.refused()) return this.#stop(down.error);
        return this.#comeBack(down.error, this.#backoff.next_ms());
      case 'retry':
        return this.#retry(down, lived_ms);
    }
  }

  #retry(down: Extract<Down, { kind: 'retry' }>, lived_ms: number | undefined): void {
    const last = this.#rung === this.#ladder.length - 1;
    if (down.serverSpoke) {
      // The server was reached, so the way down the ladder was not the network's doing.
      if (lived_ms === undefined) this.#rung = 0;
      return this.#comeBack(down.error, down.retry_after_ms ?? this.#backoff.next_ms());
    }
    if (lived_ms === undefined) {
      if (last) this.#rung = 0;
      else this.#fall();
      return this.#comeBack(down.error, last ? (down.retry_after_ms ?? this.#backoff.next_ms()) : 0);
    }
    if (lived_ms < GOOD_LIFE_MS) this.#falseStarts += 1;
    if (this.#falseStarts >= FALSE_STARTS && !last) this.#fall();
    this.#comeBack(down.error, down.retry_after_ms ?? this.#backoff.next_ms());
  }

  #fall(): void {
    this.#rung += 1;
    this.#falseStarts = 0;
    this.counters.falls += 1;
  }

  #comeBack(error: WayfareError, delay_ms: number): void {
    // Falling down the ladder at the start is still part of connecting.
    this.#tell(this.#status.connection === 'connecting' && delay_ms === 0 ? 'connecting' : 'reconnecting', error);
    // A candidate on its way decides; if it fails, it comes back here.
    if (!this.#candidate) this.#wait.arm(delay_ms, () => this.#connect());
  }

  #finished(): void {
    if (this.#host.topics().length === 0) return this.#rest();
    this.#wait.arm(0, () => this.#connect());
  }

  #stop(error: WayfareError): void {
    this.#rest();
    this.#tell('stopped', error);
    this.#host.onStopped(error);
  }

  #planClimb(): void {
    this.#climb.arm(this.#climbDelay_ms, () => this.#tryClimb());
  }

  #tryClimb(rung = 0): void {
    this.#climb.disarm();
    if (rung >= this.#rung) {
      this.#climbDelay_ms = Math.min(CLIMB_LONGEST_MS, this.#climbDelay_ms * 2);
      return this.#planClimb();
    }
    const topics = this.#host.topics();
    const line = this.#newLine(rung, {
      onOpen: () => {
        if (this.#candidate !== candidate && this.#line === line) this.#opened();
      },
      onFrame: (topic, frame) => {
        if (this.#line === line) this.#host.onFrame(topic, frame);
        else if (this.#candidate === candidate) this.#candidateFrame(candidate, topic, frame);
      },
      onNotice: (error) => this.#host.onNotice(error),
      onDown: (down) => {
        if (this.#line === line) this.#lineDown(down);
        else if (this.#candidate === candidate) this.#candidateFailed(candidate);
      },
    });
    const candidate: Candidate = { line, rung, unanswered: new Set(topics), frames: [] };
    this.#candidate = candidate;
    this.#climbDeadline.arm(CLIMB_DEADLINE_MS, () => this.#candidateFailed(candidate));
    line.start(topics);
  }

  #candidateFrame(candidate: Candidate, topic: string, frame: TopicFrame): void {
    candidate.frames.push([topic, frame]);
    if (frame.type === 'subscribed' || isLast(frame)) candidate.unanswered.delete(topic);
    if (candidate.unanswered.size === 0) this.#promote(candidate);
  }

  /** The better line carries every topic: it takes over, and what it brought meanwhile is gone through. */
  #promote(candidate: Candidate): void {
    this.#candidate = undefined;
    this.#climbDeadline.disarm();
    this.#wait.disarm();
    this.#line?.close();
    this.#line = candidate.line;
    this.#rung = candidate.rung;
    this.#falseStarts = 0;
    this.counters.climbs += 1;
    this.#opened_ms = undefined;
    this.#opened();
    this.#host.onNewLine('handover');
    for (const [topic, frame] of candidate.frames) this.#host.onFrame(topic, frame);
  }

  #candidateFailed(candidate: Candidate): void {
    this.#dropCandidate();
    // The line it was to replace may have gone down in the meantime.
    if (this.#line) this.#tryClimb(candidate.rung + 1);
    else this.#wait.arm(this.#backoff.next_ms(), () => this.#connect());
  }

  #dropCandidate(): void {
    this.#candidate?.line.close();
    this.#candidate = undefined;
    this.#climbDeadline.disarm();
  }

  #tell(connection: Connection, error?: WayfareError): void {
    const transport = connection === 'live' || connection === 'polling' ? this.#ladder[this.#rung] : undefined;
    if (connection === this.#status.connection && transport === this.#status.transport) return;
    this.#status = { connection, transport, since_ms: this.#context.clock.now(), error };
    this.#host.onStatus(this.#status);
  }
}
