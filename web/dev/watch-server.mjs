// A small server of the watch protocol (PROTOCOL.md, sections 3 to 5, 8 and 9) for tests and for looking at the
// pages. It keeps topics in memory and can be told to misbehave. No part of the product.
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';
import { decode, encode } from './watch-proto.mjs';

const SUBPROTOCOLS = ['wayfare.watch.v1.proto', 'wayfare.watch.v1.json'];

/** @typedef {{ kind: 'state'|'log', epoch: number, seq: number, state: any, ended: boolean, events: { seq: number, event: any }[] }} Topic */

export class WatchServer {
  /** Knobs; turn them at any time. */
  refuseWebSocket = false;
  /** What it speaks, the one it prefers first. */
  subprotocols = SUBPROTOCOLS;
  /** `false`, a status, or `'hang'`: the head is answered, the body held back. */
  refuseSse = /** @type {false | number | 'hang'} */ (false);
  refusePoll = /** @type {false | number} */ (false);
  /** Body of a refusal over HTTP; null: none, as a proxy would. */
  refusalBody = /** @type {any} */ (null);
  heartbeat_ms = 20_000;
  /** How often one is sent, where that is not what is told; 0: never. */
  beat_every_ms = /** @type {number | undefined} */ (undefined);
  retry_after_ms = 3_000;
  /** How long a second is for who polls and waits, where time runs faster. */
  second_ms = 1_000;
  expires_at_ms = () => Date.now() + 3_600_000;
  checkToken = /** @type {(token: string) => boolean} */ (() => true);

  /** What was asked, for tests. */
  log = /** @type {{ how: string, topic?: string, cursor?: string, interval_ms?: number, token?: string, url?: string }[]} */ ([]);
  /** @type {Map<string, Topic>} */
  topics = new Map();
  /** @type {Set<Watcher>} */
  #watchers = new Set();
  #wss = new WebSocketServer({ noServer: true, handleProtocols: (offered) => this.subprotocols.find((each) => offered.has(each)) ?? false });

  /** @param {(request: import('node:http').IncomingMessage, response: import('node:http').ServerResponse, url: URL) => void} [other] answers what is not of the protocol */
  constructor(other) {
    this.http = createServer((request, response) => {
      const url = new URL(request.url ?? '/', 'http://host');
      if (url.pathname === '/v1/watch/sse') this.#sse(request, response, url);
      else if (url.pathname === '/v1/watch/poll') this.#poll(request, response, url);
      else if (other) other(request, response, url);
      else response.writeHead(404).end();
    });
    this.http.on('upgrade', (request, socket, head) => {
      this.log.push({ how: 'upgrade', url: request.url });
      if (this.refuseWebSocket || !request.url?.startsWith('/v1/watch')) return void socket.destroy();
      this.#wss.handleUpgrade(request, socket, head, (ws) => this.#ws(ws));
    });
  }

  /** @returns {Promise<string>} the origin */
  listen(port = 0, host = '127.0.0.1') {
    return new Promise((resolve) =>
      this.http.listen(port, host, () => resolve(`http://${host}:${/** @type {any} */ (this.http.address()).port}`)),
    );
  }

  close() {
    this.cut();
    this.http.closeAllConnections();
    return new Promise((resolve) => this.http.close(resolve));
  }

  // Topics

  createState(name, state, epoch = Date.now()) {
    this.topics.set(name, { kind: 'state', epoch, seq: 1, state, ended: false, events: [] });
  }

  createLog(name, generation = 1) {
    this.topics.set(name, { kind: 'log', epoch: generation, seq: 0, state: null, ended: false, events: [] });
  }

  /** Top-level members of `patch` replace those of the state. `lose`: the watchers are not told. */
  publish(name, patch, { lose = false } = {}) {
    const topic = this.#topic(name);
    topic.seq += 1;
    const before = topic.state?.position;
    topic.state = { ...topic.state, ...patch };
    if (!lose) this.send(name, { type: 'delta', seq: topic.seq, patch }, before);
  }

  append(name, event) {
    const topic = this.#topic(name);
    topic.seq += 1;
    topic.events.push({ seq: topic.seq, event });
    this.send(name, { type: 'event', cursor: cursorOf(topic), event });
  }

  end(name, state) {
    const topic = this.#topic(name);
    Object.assign(topic, { ended: true, state, seq: topic.seq + 1 });
    this.send(name, { type: 'end', state });
    for (const watcher of this.#watchers) watcher.forget(name);
  }

  snapshot(name) {
    const topic = this.#topic(name);
    this.send(name, { type: 'snapshot', cursor: cursorOf(topic), state: topic.state });
  }

  /** Any frame at all, to whoever watches the topic. */
  send(name, frame, before) {
    for (const watcher of [...this.#watchers]) watcher.frame(name, frame, before);
  }

  // Connections

  get watching() {
    return [...this.#watchers].map((watcher) => watcher.how);
  }

  /** As if a cable was pulled. */
  cut(how) {
    for (const watcher of [...this.#watchers]) if (!how || watcher.how === how) watcher.cut();
  }

  bye(code, retry_after_ms) {
    for (const watcher of [...this.#watchers]) watcher.bye(code, retry_after_ms);
  }

  #topic(name) {
    const topic = this.topics.get(name);
    if (!topic) throw new Error(`no topic ${name}`);
    return topic;
  }

  #enter(watcher) {
    this.#watchers.add(watcher);
    const every_ms = this.beat_every_ms ?? this.heartbeat_ms;
    const beat = every_ms > 0 ? setInterval(() => watcher.heartbeat(), every_ms) : undefined;
    return () => {
      clearInterval(beat);
      this.#watchers.delete(watcher);
    };
  }

  #ws(ws) {
    const binary = ws.protocol === 'wayfare.watch.v1.proto';
    const write = (message, before) => ws.send(binary ? encode(message, before) : JSON.stringify(message));
    const watcher = new Watcher('websocket', write, () => ws.terminate());
    watcher.heartbeat = () => watcher.write({ type: 'heartbeat' });
    watcher.bye = (code, retry_after_ms) => {
      watcher.write({ type: 'bye', code, reason: `code ${code}`, retry_after_ms });
      ws.close(code);
    };
    ws.on('close', this.#enter(watcher));
    let welcome = false;
    ws.on('message', (data) => {
      const message = binary ? decode(data) : JSON.parse(String(data));
      if (message.type === 'auth') {
        this.log.push({ how: 'auth', token: message.token });
        if (!this.checkToken(message.token)) return watcher.bye(4101);
        welcome = true;
        const { heartbeat_ms } = this;
        return watcher.write({ type: 'welcome', version: 1, heartbeat_ms, max_topics: 100, expires_at_ms: this.expires_at_ms() });
      }
      if (!welcome) return watcher.bye(4101);
      if (message.type === 'ping') return watcher.write({ type: 'pong' });
      if (message.type === 'subscribe') for (const { topic, cursor, interval_ms } of message.topics) this.#subscribe(watcher, topic, cursor, interval_ms);
      if (message.type === 'unsubscribe') {
        for (const topic of message.topics) {
          watcher.forget(topic);
          watcher.write({ type: 'unsubscribed', topic });
        }
      }
    });
  }

  #subscribe(watcher, name, cursor, interval_ms) {
    this.log.push({ how: watcher.how, topic: name, cursor, ...(interval_ms && { interval_ms }) });
    const topic = this.topics.get(name);
    if (!topic) return watcher.write({ type: 'error', code: 'not_found', message: `no topic ${name}`, retry: false, topic: name });
    const alias = watcher.know(name);
    if (topic.ended) {
      watcher.write({ type: 'subscribed', topic: name, alias, cursor: cursorOf(topic) });
      watcher.write({ type: 'end', alias, state: topic.state });
      return watcher.forget(name);
    }
    if (topic.kind === 'state') {
      watcher.write({ type: 'subscribed', topic: name, alias, cursor: cursorOf(topic) });
      if (cursor !== cursorOf(topic)) watcher.write({ type: 'snapshot', alias, cursor: cursorOf(topic), state: topic.state });
      return;
    }
    const { after, reset } = logStart(topic, cursor);
    watcher.write({ type: 'subscribed', topic: name, alias, cursor: `${topic.epoch}.${after}` });
    if (reset) watcher.write({ type: 'reset', alias, cursor: `${topic.epoch}.${after}` });
    for (const { seq, event } of topic.events) if (seq > after) watcher.write({ type: 'event', alias, cursor: `${topic.epoch}.${seq}`, event });
  }

  /** Answers the refusals that SSE and polling share; true if it did. */
  #refused(request, response, refuse, names, how) {
    const token = request.headers.authorization?.replace('Bearer ', '') ?? '';
    this.log.push({ how, token, url: request.url });
    const answer = (status, body) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(body ? JSON.stringify(body) : 'no');
      return true;
    };
    if (typeof refuse === 'number') return answer(refuse, this.refusalBody);
    if (!this.checkToken(token)) return answer(401, { code: 'unauthorized', message: 'token', retry: false });
    const unknown = names.find((name) => !this.topics.has(name));
    if (unknown) return answer(404, { code: 'not_found', message: `no topic ${unknown}`, retry: false, topic: unknown });
    if (names.every((name) => this.#topic(name).ended)) {
      return answer(410, { code: 'ended', message: 'over', retry: false, state: names.length === 1 ? this.#topic(names[0]).state : undefined });
    }
    return false;
  }

  #sse(request, response, url) {
    const names = (url.searchParams.get('topics') ?? '').split(',');
    const cursors = (url.searchParams.get('cursor') ?? '').split(',');
    if (this.#refused(request, response, this.refuseSse === 'hang' ? false : this.refuseSse, names, 'sse request')) return;
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.flushHeaders();
    if (this.refuseSse === 'hang') return;
    response.write('retry: 1000\n\n');
    const watcher = new Watcher('sse', (message) => {
      const { type, ...data } = message;
      const id = names.map((name) => cursorOf(this.#topic(name))).join(',');
      response.write(`event: ${type}\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`);
    }, () => response.destroy());
    watcher.heartbeat = () => response.write(': \n\n');
    watcher.bye = (code, retry_after_ms) => {
      watcher.write({ type: 'bye', code, reason: `code ${code}`, retry_after_ms });
      response.end();
    };
    response.on('close', this.#enter(watcher));
    names.forEach((name, place) => {
      watcher.aliases.set(name, place);
      this.#subscribe(watcher, name, cursors[place] === '-' ? undefined : cursors[place]);
    });
    watcher.onAllForgotten = () => response.end();
  }

  #poll(request, response, url) {
    const names = (url.searchParams.get('topics') ?? '').split(',');
    const cursors = (url.searchParams.get('cursor') ?? '').split(',');
    if (this.#refused(request, response, this.refusePoll, names, 'poll')) return;
    const wait_s = Number(url.searchParams.get('wait') ?? 0);
    if (wait_s === 0 || names.some((name, place) => cursorOf(this.#topic(name)) !== cursors[place])) return this.#answer(request, response, names, cursors);
    // Woken by whatever is told of a topic, or when the time is over.
    const wake = () => {
      leave();
      clearTimeout(over);
      if (!response.destroyed && !response.writableEnded) this.#answer(request, response, names, cursors, 0);
    };
    const watcher = new Watcher('poll', wake, () => response.destroy());
    for (const name of names) watcher.know(name);
    const leave = this.#enter(watcher);
    const over = setTimeout(wake, wait_s * this.second_ms);
    response.on('close', wake);
  }

  #answer(request, response, names, cursors, retry_after_ms = this.retry_after_ms) {
    const joined = names.map((name) => cursorOf(this.#topic(name))).join(',');
    const headers = { etag: `"${joined}"`, 'content-type': 'application/json', 'cache-control': 'no-store' };
    if (request.headers['if-none-match'] === headers.etag) return void response.writeHead(304, headers).end();
    const topics = names.map((name, place) => this.#polled(name, this.#topic(name), cursors[place]));
    response.writeHead(200, headers);
    response.end(JSON.stringify({ cursor: joined, retry_after_ms, topics }));
  }

  #polled(name, topic, cursor) {
    if (topic.ended) return { topic: name, ended: true, state: topic.state };
    if (topic.kind === 'state') return { topic: name, cursor: cursorOf(topic), ...(cursor !== cursorOf(topic) && { state: topic.state }) };
    const { after, reset } = logStart(topic, cursor);
    const events = topic.events.filter(({ seq }) => seq > after).map(({ seq, event }) => ({ cursor: `${topic.epoch}.${seq}`, event }));
    return { topic: name, cursor: cursorOf(topic), events, reset, more: false };
  }
}

/** One connection that is kept open. */
class Watcher {
  aliases = new Map();
  heartbeat = () => {};
  bye = /** @type {(code: number, retry_after_ms?: number) => void} */ (() => {});
  onAllForgotten = () => {};
  #next = 1;

  constructor(how, write, cut) {
    this.how = how;
    this.write = write;
    this.cut = cut;
  }

  know(name) {
    if (!this.aliases.has(name)) this.aliases.set(name, this.#next++);
    return this.aliases.get(name);
  }

  forget(name) {
    if (this.aliases.delete(name) && this.aliases.size === 0) this.onAllForgotten();
  }

  frame(name, frame, before) {
    const alias = this.aliases.get(name);
    if (alias !== undefined) this.write({ alias, ...frame }, before);
  }
}

function cursorOf(topic) {
  return `${topic.epoch}.${topic.seq}`;
}

function logStart(topic, cursor) {
  if (cursor === undefined || cursor === '' || cursor === '-') return { after: topic.seq, reset: false };
  if (cursor === 'start') return { after: 0, reset: false };
  const [epoch, seq] = cursor.split('.').map(Number);
  const known = epoch === topic.epoch && seq <= topic.seq;
  return { after: known ? seq : topic.seq, reset: !known };
}
