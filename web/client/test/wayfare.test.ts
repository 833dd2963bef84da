import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { WatchServer } from '../../dev/watch-server.mjs';
import { Wayfare, type Codec, type Position, type Status, type StateInfo, type TripState, type WayfareError, type WayfareOptions } from '../src/index.js';
import type { WebSocketConstructor } from '../src/lines/line.js';
import { fastClock, stopClocks, until } from './clocks.js';

const TRIP = 'trip:trp_1';
/** Half a minute passes in 300 ms. */
const FAST = 100;

let server: WatchServer;
let url: string;
let open: Wayfare[];
/** What is offered on WebSockets. */
let codecs: Codec[] | undefined;

beforeEach(async () => {
  server = new WatchServer();
  server.beat_every_ms = 20_000 / FAST;
  server.second_ms = 1_000 / FAST;
  server.createState(TRIP, { phase: 'to_pickup', stops_left: 2, position: null }, 7);
  url = await server.listen();
  open = [];
  codecs = undefined;
});

afterEach(async () => {
  for (const wayfare of open) wayfare.close();
  stopClocks();
  await server.close();
});

function connect(options: Partial<WayfareOptions> = {}): Wayfare {
  const wayfare = new Wayfare({
    url,
    token: 'good',
    clock: fastClock(FAST),
    WebSocket: WebSocket as unknown as WebSocketConstructor,
    ...(codecs && { codecs }),
    ...options,
  });
  open.push(wayfare);
  return wayfare;
}

/** Watches the trip and remembers all it is told. */
function watch(wayfare: Wayfare, topic = TRIP) {
  const seen = { states: [] as TripState[], infos: [] as StateInfo[], ends: [] as TripState[], errors: [] as WayfareError[], statuses: [] as Status[] };
  const subscription = wayfare.watch<TripState>(topic, {
    onState: (state, info) => {
      seen.states.push(state);
      seen.infos.push(info);
    },
    onEnd: (state) => seen.ends.push(state),
    onError: (error) => seen.errors.push(error),
    onStatus: (status) => seen.statuses.push(status),
  });
  return { ...seen, subscription, counters: subscription.counters, last: () => seen.states.at(-1) };
}

/** A courier on a curve, by whole numbers of the protocol. */
function position(turn: number): Position {
  const north_e6 = 41_141_400 + turn * 37;
  const east_e6 = -8_618_600 + turn * turn;
  return { lat: north_e6 / 1e6, lon: east_e6 / 1e6, heading_deg: (350 + turn * 7) % 360, speed_mps: (80 + (turn % 9)) / 10, accuracy_m: 5 + (turn % 3), t_ms: 1_763_686_800_000 + turn * 1000 + (turn % 4) };
}

const faultless = { gaps: 0, duplicates: 0, backward: 0 };
const stops = (seen: { last(): TripState | undefined }, count: number) => () => seen.last()?.stops_left === count;

describe.each<Codec>(['proto', 'json'])('speaking %s', (codec) => {
  beforeEach(() => (codecs = [codec]));

  describe('on a WebSocket', () => {
    it('authenticates by its first message, never in the URL, and follows the state', async () => {
      const wayfare = connect();
      const seen = watch(wayfare);
      await until('snapshot', () => seen.states.length === 1);
      server.publish(TRIP, { phase: 'to_dropoff', position: { lat: 1, lon: 2, t_ms: 3 } });
      await until('delta', () => seen.states.length === 2);
      expect(seen.last()).toEqual({ phase: 'to_dropoff', stops_left: 2, position: { lat: 1, lon: 2, t_ms: 3 } });
      expect(seen.infos.map(({ kind, cursor }) => [kind, cursor])).toEqual([['snapshot', '7.1'], ['delta', '7.2']]);
      expect(server.log[0]).toEqual({ how: 'upgrade', url: '/v1/watch' });
      expect(server.log[1]).toEqual({ how: 'auth', token: 'good' });
      expect(wayfare.status).toMatchObject({ connection: 'live', transport: 'websocket' });
    });

    it('says that what is shown may be old, until a snapshot comes, even the same', async () => {
      const wayfare = connect();
      const heard: string[] = [];
      wayfare.watch<TripState>(TRIP, { onState: (_, { cursor }) => heard.push(cursor), onStale: () => heard.push('stale') });
      await until('snapshot', () => heard.length === 1);
      server.send(TRIP, { type: 'stale' });
      server.snapshot(TRIP);
      await until('snapshot', () => heard.length === 3);
      expect(heard).toEqual(['7.1', 'stale', '7.1']);
    });

    it('carries all topics on one connection, and two watchers of one topic on one subscription', async () => {
      server.createState('trip:trp_2', { stops_left: 9 }, 7);
      const wayfare = connect();
      const [one, two, again] = [watch(wayfare), watch(wayfare, 'trip:trp_2'), watch(wayfare)];
      await until('all', () => [one, two, again].every(({ states }) => states.length > 0));
      const late = watch(wayfare);
      expect(late.states).toHaveLength(1);
      expect(server.log.filter(({ how }) => how === 'upgrade')).toHaveLength(1);
      expect(server.log.filter(({ how }) => how === 'websocket').map(({ topic }) => topic)).toEqual([TRIP, 'trip:trp_2']);
      one.subscription.stop();
      server.publish(TRIP, { stops_left: 1 });
      await until('delta', stops(again, 1));
      expect(one.states).toHaveLength(1);
    });

    it('comes back with its cursor after a cut, and needs no snapshot', async () => {
      const seen = watch(connect());
      await until('snapshot', () => seen.states.length === 1);
      server.cut();
      await until('two subscriptions', () => server.log.filter(({ how }) => how === 'websocket').length === 2);
      expect(server.log.at(-1)).toMatchObject({ topic: TRIP, cursor: '7.1' });
      server.publish(TRIP, { stops_left: 1 });
      await until('delta', stops(seen, 1));
      expect(seen.infos.map(({ kind }) => kind)).toEqual(['snapshot', 'delta']);
      expect(seen.statuses.map(({ connection }) => connection)).toEqual(['connecting', 'live', 'reconnecting', 'live'].slice(seen.statuses[0]?.connection === 'live' ? 1 : 0));
    });

    it('never applies a delta over a gap, and asks for a snapshot', async () => {
      const seen = watch(connect());
      await until('snapshot', () => seen.states.length === 1);
      server.publish(TRIP, { stops_left: 1 }, { lose: true });
      server.publish(TRIP, { phase: 'arriving' });
      await until('whole again', () => seen.last()?.phase === 'arriving');
      expect(seen.last()).toMatchObject({ stops_left: 1 });
      expect(seen.infos.map(({ kind }) => kind)).toEqual(['snapshot', 'snapshot']);
      expect(seen.counters).toMatchObject({ gaps: 1, duplicates: 0, backward: 0 });
      expect(server.log.at(-1)).toEqual({ how: 'websocket', topic: TRIP, cursor: undefined });
    });

    it('counts repeated and backward frames', async () => {
      const seen = watch(connect());
      await until('snapshot', () => seen.states.length === 1);
      server.send(TRIP, { type: 'delta', seq: 1, patch: { phase: 'wrong' } });
      await until('resynchronised', () => seen.states.length === 2);
      server.send(TRIP, { type: 'delta', seq: 0, patch: { phase: 'wrong' } });
      await until('again', () => seen.states.length === 3);
      expect(seen.counters).toMatchObject({ gaps: 0, duplicates: 1, backward: 1 });
      expect(seen.states.every(({ phase }) => phase === 'to_pickup')).toBe(true);
    });

    it('ends with the final state, and hangs up when nothing is left', async () => {
      const wayfare = connect();
      const seen = watch(wayfare);
      await until('snapshot', () => seen.states.length === 1);
      server.end(TRIP, { phase: 'delivered' });
      await until('end', () => seen.ends.length === 1);
      expect(seen.ends[0]).toEqual({ phase: 'delivered' });
      await until('gone', () => server.watching.length === 0);
      expect(wayfare.status.connection).toBe('idle');
      const late = watch(wayfare);
      await until('end for who comes late', () => late.ends.length === 1);
    });

    it('takes the line for dead after 2.5 heartbeats of silence', async () => {
      server.beat_every_ms = 0;
      const wayfare = connect();
      const seen = watch(wayfare);
      await until('dead and back', () => wayfare.counters.connects >= 2);
      expect(seen.statuses.find(({ connection }) => connection === 'reconnecting')?.error?.code).toBe('client_silent');
    });

    it('stays while heartbeats come', async () => {
      const wayfare = connect();
      watch(wayfare);
      await new Promise((resolve) => setTimeout(resolve, 120_000 / FAST));
      expect(wayfare.counters.connects).toBe(1);
    });

    it('is told of a topic that is not there, and goes on with the others', async () => {
      const wayfare = connect();
      const [seen, missing] = [watch(wayfare), watch(wayfare, 'trip:none')];
      await until('both answered', () => seen.states.length === 1 && missing.errors.length === 1);
      expect(missing.errors[0]).toMatchObject({ code: 'not_found', topic: 'trip:none' });
      expect(wayfare.status.connection).toBe('live');
    });

    it('asks again where the server was not ready for the topic', async () => {
      const seen = watch(connect());
      await until('snapshot', () => seen.states.length === 1);
      const asked = server.log.length;
      server.send(TRIP, { type: 'error', code: 'not_ready', message: 'waking up', retry: true, retry_after_ms: 400, topic: TRIP });
      await until('asked again', () => server.log.length > asked);
      expect(seen.errors).toEqual([]);
    });
  });

  describe('close codes', () => {
    it('4000s: comes back after the time it was told', async () => {
      const wayfare = connect();
      const seen = watch(wayfare);
      await until('snapshot', () => seen.states.length === 1);
      const before_ms = Date.now();
      server.bye(4000, 20_000);
      await until('back', () => wayfare.counters.connects === 2 && wayfare.status.connection === 'live');
      expect(Date.now() - before_ms).toBeGreaterThanOrEqual(20_000 / FAST - 5);
      expect(wayfare.counters.falls).toBe(0);
    });

    it('4100s: comes back with a new token', async () => {
      let asked = 0;
      const wayfare = connect({ token: async () => `token ${(asked += 1)}` });
      const seen = watch(wayfare);
      await until('snapshot', () => seen.states.length === 1);
      server.bye(4100);
      await until('back', () => server.log.filter(({ how }) => how === 'auth').length === 2);
      expect(server.log.filter(({ how }) => how === 'auth').map(({ token }) => token)).toEqual(['token 1', 'token 2']);
    });

    it('a fixed token that is refused is tried once more, then reported', async () => {
      server.checkToken = () => false;
      const wayfare = connect();
      const seen = watch(wayfare);
      await until('stopped', () => seen.errors.length === 1);
      expect(seen.errors[0]?.code).toBe('close_4101');
      expect(server.log.filter(({ how }) => how === 'auth')).toHaveLength(2);
      expect(wayfare.status.connection).toBe('stopped');
    });

    it('4200s: stays away', async () => {
      const wayfare = connect();
      const seen = watch(wayfare);
      await until('snapshot', () => seen.states.length === 1);
      server.bye(4201);
      await until('stopped', () => seen.errors.length === 1);
      await new Promise((resolve) => setTimeout(resolve, 60_000 / FAST));
      expect(wayfare.counters.connects).toBe(1);
      expect(watch(wayfare).errors).toHaveLength(1);
    });
  });

  it('renews its token before it expires, on the same connection', async () => {
    let asked = 0;
    server.expires_at_ms = () => clock.now() + 120_000;
    const clock = fastClock(FAST);
    const wayfare = connect({ clock, token: () => `token ${(asked += 1)}` });
    watch(wayfare);
    await until('renewed twice', () => server.log.filter(({ how }) => how === 'auth').length === 3);
    expect(server.log.filter(({ how }) => how === 'upgrade')).toHaveLength(1);
    expect(asked).toBe(3);
  });

  describe('down the ladder and up again', () => {
    it('falls to SSE, with the token in a header, and climbs back without losing a frame', async () => {
      server.refuseWebSocket = true;
      const wayfare = connect();
      const seen = watch(wayfare);
      await until('snapshot', () => seen.states.length === 1);
      expect(wayfare.status).toMatchObject({ connection: 'live', transport: 'sse' });
      const request = server.log.find(({ how }) => how === 'sse request');
      expect(request).toMatchObject({ token: 'good' });
      expect(request?.url).not.toContain('good');
      server.publish(TRIP, { stops_left: 3 });
      await until('delta by SSE', stops(seen, 3));

      server.refuseWebSocket = false;
      let count = 3;
      const ticking = setInterval(() => server.publish(TRIP, { stops_left: (count += 1) }), 2);
      await until('climbed', () => wayfare.status.transport === 'websocket');
      await new Promise((resolve) => setTimeout(resolve, 30));
      clearInterval(ticking);
      await until('the last', stops(seen, count));
      expect(seen.counters).toMatchObject(faultless);
      const numbers = seen.states.map(({ stops_left }) => stops_left ?? 0);
      expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
      expect(seen.statuses.some(({ connection }) => connection === 'reconnecting')).toBe(false);
      expect(server.watching).toEqual(['websocket']);
    });

    it.each<[string, number | 'hang']>([
      ['refused by a proxy', 403],
      ['buffered by a proxy', 'hang'],
    ])('falls to polling when SSE is %s', async (_, how) => {
      server.refuseWebSocket = true;
      server.refuseSse = how;
      const wayfare = connect();
      const seen = watch(wayfare);
      await until('polled', () => seen.states.length === 1);
      expect(wayfare.status).toMatchObject({ connection: 'polling', transport: 'polling' });
      server.publish(TRIP, { stops_left: 1 });
      await until('polled again', stops(seen, 1));
      expect(seen.counters).toMatchObject(faultless);

      server.refuseSse = false;
      await until('climbed to SSE', () => wayfare.status.transport === 'sse');
      server.refuseWebSocket = false;
      await until('climbed to WebSocket', () => wayfare.status.transport === 'websocket');
      server.publish(TRIP, { stops_left: 5 });
      await until('delta', stops(seen, 5));
      expect(seen.counters).toMatchObject(faultless);
      expect(wayfare.counters.climbs).toBe(2);
    });

    it('keeps the lesser transport while climbing fails, and tries less and less often', async () => {
      server.refuseWebSocket = true;
      const clock = fastClock(FAST);
      const wayfare = connect({ clock });
      const seen = watch(wayfare);
      const upgrades = () => server.log.filter(({ how }) => how === 'upgrade').length;
      const at_ms: number[] = [];
      await until('three tries to climb', () => {
        if (upgrades() > at_ms.length) at_ms.push(clock.now());
        return at_ms.length === 4;
      });
      expect(at_ms[2]! - at_ms[1]!).toBeGreaterThan(1.5 * (at_ms[1]! - at_ms[0]!));
      expect(wayfare.counters.connects).toBe(2);
      expect(seen.statuses.filter(({ connection }) => connection === 'live')).toHaveLength(1);
    });

    it('leaves a transport on which connections do not last', async () => {
      const wayfare = connect();
      const seen = watch(wayfare);
      const cutting = setInterval(() => server.cut('websocket'), 5);
      await until('SSE', () => wayfare.status.transport === 'sse');
      clearInterval(cutting);
      expect(seen.counters).toMatchObject(faultless);
    });

    it('goes around while nothing answers, and finds the server when it is back', async () => {
      server.refuseWebSocket = true;
      server.refuseSse = 502;
      server.refusePoll = 502;
      const wayfare = connect();
      const seen = watch(wayfare);
      await until('several rounds', () => wayfare.counters.connects >= 7);
      expect(wayfare.status.connection).toBe('reconnecting');
      Object.assign(server, { refuseWebSocket: false, refuseSse: false, refusePoll: false });
      await until('back', () => seen.states.length === 1);
    });

    it('waits as told when the server itself says so', async () => {
      server.refuseWebSocket = true;
      server.refuseSse = 503;
      server.refusalBody = { code: 'not_ready', message: 'waking up', retry: true, retry_after_ms: 20_000 };
      const wayfare = connect();
      await until('asked', () => watch(wayfare) && server.log.some(({ how }) => how === 'sse request'));
      const at_ms = Date.now();
      await until('asked again', () => server.log.filter(({ how }) => how === 'sse request').length === 2);
      expect(Date.now() - at_ms).toBeGreaterThan(15_000 / FAST);
      expect(server.log.some(({ how }) => how === 'poll')).toBe(false);
    });
  });

  describe.each(['sse', 'polling'] as const)('by %s alone', (transport) => {
    it('carries state and log topics, reports what is missing, and ends', async () => {
      server.createLog('store:sto_1', 3);
      server.append('store:sto_1', { id: 'a' });
      const wayfare = connect({ transports: [transport] });
      const [seen, missing] = [watch(wayfare), watch(wayfare, 'trip:none')];
      const events: unknown[] = [];
      wayfare.follow('store:sto_1', { from: 'start', onEvent: (event) => events.push(event) });
      await until('answered', () => seen.states.length >= 1 && missing.errors.length === 1 && events.length === 1);
      server.append('store:sto_1', { id: 'b' });
      server.publish(TRIP, { stops_left: 1 });
      await until('news', () => seen.last()?.stops_left === 1 && events.length === 2);
      server.end(TRIP, { phase: 'delivered' });
      await until('end', () => seen.ends.length === 1);
      expect(seen.ends[0]).toEqual({ phase: 'delivered' });
      server.append('store:sto_1', { id: 'c' });
      await until('the log goes on', () => events.length === 3);
      expect(events).toEqual([{ id: 'a' }, { id: 'b' }, { id: 'c' }]);
      expect(seen.counters).toMatchObject(faultless);
    });

    it('comes back with its cursor, and hears the end of a trip that ended meanwhile', async () => {
      const wayfare = connect({ transports: [transport] });
      const seen = watch(wayfare);
      await until('snapshot', () => seen.states.length === 1);
      server.cut();
      server.publish(TRIP, { stops_left: 1 });
      await until('resumed', stops(seen, 1));
      expect(server.log.some(({ url }) => url?.includes('cursor=7.1'))).toBe(true);
      server.cut();
      server.end(TRIP, { phase: 'cancelled' });
      await until('end', () => seen.ends.length === 1);
      expect(seen.ends[0]).toEqual({ phase: 'cancelled' });
      expect(seen.counters).toMatchObject(faultless);
    });

    it('gets a new token when the old one is refused', async () => {
      server.checkToken = (token) => token !== 'token 1';
      let asked = 0;
      const seen = watch(connect({ transports: [transport], token: () => `token ${(asked += 1)}` }));
      await until('snapshot', () => seen.states.length === 1);
      expect(asked).toBe(2);
    });

    it('stops where the server forbids', async () => {
      Object.assign(server, { refuseSse: 403, refusePoll: 403, refusalBody: { code: 'forbidden', message: 'revoked', retry: false } });
      const seen = watch(connect({ transports: [transport] }));
      await until('error', () => seen.errors.length === 1);
      expect(seen.errors[0]).toMatchObject({ code: 'forbidden' });
    });

    it('asks for more than eight topics in several requests', async () => {
      const topics = Array.from({ length: 11 }, (_, place) => `trip:many_${place}`);
      for (const topic of topics) server.createState(topic, { stops_left: 1 }, 7);
      const wayfare = connect({ transports: [transport] });
      const all = topics.map((topic) => watch(wayfare, topic));
      await until('all', () => all.every(({ states }) => states.length === 1));
      for (const { url } of server.log.filter(({ url }) => url)) expect(url!.split(',').length).toBeLessThanOrEqual(8);
    });
  });

  it('polls with the ETag it was given', async () => {
    const answers: number[] = [];
    const counting: typeof fetch = async (...call) => {
      const response = await fetch(...call);
      answers.push(response.status);
      return response;
    };
    const seen = watch(connect({ transports: ['polling'], fetch: counting }));
    await until('a few polls', () => answers.length >= 3);
    expect(answers.slice(0, 3)).toEqual([200, 304, 304]);
    server.publish(TRIP, { stops_left: 1 });
    await until('news', stops(seen, 1));
  });

  it('waits for news by polling, and breaks the wait off for another topic', async () => {
    server.createState('trip:other', { stops_left: 4 }, 7);
    const wayfare = connect({ transports: ['polling'] });
    const seen = watch(wayfare);
    const waits = () => server.log.filter(({ url }) => url?.includes('wait='));
    await until('a wait', () => waits().length === 1 && server.watching.includes('poll'));
    expect(server.log.find(({ url }) => url)?.url, 'the first is answered at once').not.toContain('wait=');
    server.publish(TRIP, { stops_left: 1 });
    await until('news', stops(seen, 1));
    await until('another wait', () => waits().length >= 2 && server.watching.includes('poll'));
    const other = watch(wayfare, 'trip:other');
    await until('the other', stops(other, 4));
    await until('a wait for both', () => waits().some(({ url }) => url!.includes('other')) && server.watching.includes('poll'));
    server.publish('trip:other', { stops_left: 3 });
    server.end(TRIP, { phase: 'delivered' });
    await until('both', () => stops(other, 3)() && seen.ends.length === 1);
    expect(wayfare.status.connection).toBe('polling');
    expect([...seen.statuses, ...other.statuses].some(({ connection }) => connection === 'reconnecting')).toBe(false);
    expect(seen.counters).toMatchObject(faultless);
    expect(other.counters).toMatchObject(faultless);
  });

  describe('a log', () => {
    it('starts from now, resumes after a cut, and tells of a reset', async () => {
      server.createLog('store:sto_1', 3);
      server.append('store:sto_1', { id: 'before' });
      const wayfare = connect();
      const events: { id: string }[] = [];
      const resets: string[] = [];
      wayfare.follow<{ id: string }>('store:sto_1', { onEvent: (event) => events.push(event), onReset: ({ cursor }) => resets.push(cursor) });
      await until('subscribed', () => server.log.some(({ topic }) => topic === 'store:sto_1'));
      server.cut();
      server.append('store:sto_1', { id: 'while away' });
      await until('resumed', () => events.length === 1);
      server.append('store:sto_1', { id: 'live' });
      await until('live', () => events.length === 2);
      expect(events.map(({ id }) => id)).toEqual(['while away', 'live']);
      server.createLog('store:sto_1', 4);
      server.cut();
      await until('reset', () => resets.length === 1);
      expect(resets).toEqual(['4.0']);
      server.append('store:sto_1', { id: 'anew' });
      await until('anew', () => events.length === 3);
    });
  });

  it('holds the publisher\'s state through cuts, refusals and a change of epoch', async () => {
    const wayfare = connect();
    const seen = watch(wayfare);
    await until('snapshot', () => seen.states.length === 1);
    for (let turn = 0; turn < 60; turn += 1) {
      server.publish(TRIP, { stops_left: turn, position: { lat: turn, lon: turn, t_ms: turn } });
      if (turn % 7 === 3) server.cut();
      if (turn === 20) server.refuseWebSocket = true;
      if (turn === 40) server.refuseWebSocket = false;
      if (turn === 50) {
        server.createState(TRIP, { phase: 'arriving', stops_left: turn }, 8);
        server.snapshot(TRIP); // what a server owes to those who are connected
      }
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
    await until('in step', stops(seen, 59));
    expect(seen.last()).toEqual(server.topics.get(TRIP)!.state);
    expect(seen.counters).toMatchObject(faultless);
  });
});

describe('a least interval', () => {
  const wished = () => server.log.filter(({ how }) => how === 'websocket').map(({ interval_ms }) => interval_ms);

  it('is that of the most eager, and asked for anew when it changes', async () => {
    const wayfare = connect();
    const slow = wayfare.watch(TRIP, { interval_ms: 5_000 });
    await until('asked', () => wished().length === 1);
    const faster = wayfare.watch(TRIP, { interval_ms: 1_000 });
    await until('faster', () => wished().length === 2);
    const eager = wayfare.watch(TRIP, {});
    await until('every change', () => wished().length === 3);
    eager.stop();
    await until('faster again', () => wished().length === 4);
    slow.stop();
    faster.stop();
    await until('gone', () => server.watching.length === 0);
    expect(wished()).toEqual([5_000, 1_000, undefined, 1_000]);
  });

  it('goes into the URL of a stream', async () => {
    connect({ transports: ['sse'] }).watch(TRIP, { interval_ms: 5_000 });
    await until('asked', () => server.log.some(({ url }) => url?.includes('/v1/watch/sse') && url.endsWith('&interval_ms=5000')));
  });
});

describe('what is agreed on', () => {
  it('is JSON where the server speaks nothing else', async () => {
    server.subprotocols = ['wayfare.watch.v1.json'];
    const wayfare = connect();
    const seen = watch(wayfare);
    await until('snapshot', () => seen.states.length === 1);
    expect(wayfare.status).toMatchObject({ connection: 'live', transport: 'websocket' });
  });

  it('may change from line to line', async () => {
    server.subprotocols = ['wayfare.watch.v1.json'];
    server.publish(TRIP, { position: position(0) });
    const seen = watch(connect());
    await until('snapshot', () => seen.states.length === 1);
    server.subprotocols = ['wayfare.watch.v1.proto'];
    server.cut();
    await until('two subscriptions', () => server.log.filter(({ how }) => how === 'websocket').length === 2);
    // What was held came in JSON, and the move starts from it.
    server.publish(TRIP, { position: position(1) });
    await until('delta', () => seen.states.length === 2);
    expect(seen.last()?.position).toEqual(position(1));
    expect(seen.counters).toMatchObject(faultless);
  });
});

describe('a move', () => {
  it('is the delta that it stands for', async () => {
    server.publish(TRIP, { position: position(0) });
    const seen = watch(connect());
    await until('snapshot', () => seen.states.length === 1);
    for (let turn = 1; turn <= 200; turn += 1) server.publish(TRIP, { position: position(turn) });
    await until('all', () => seen.states.length === 201);
    expect(seen.states.map((state) => state.position)).toEqual(Array.from({ length: 201 }, (_, turn) => position(turn)));
    expect(seen.infos.at(-1)).toMatchObject({ kind: 'delta', cursor: '7.202', patch: { position: position(200) } });
    expect(seen.counters).toMatchObject(faultless);
  });

  it.each([1, 5, 31])('shows that %i before it are missing', async (missing) => {
    server.publish(TRIP, { position: position(0) });
    const seen = watch(connect());
    await until('snapshot', () => seen.states.length === 1);
    for (let turn = 1; turn <= missing; turn += 1) server.publish(TRIP, { position: position(turn) }, { lose: true });
    server.publish(TRIP, { position: position(40) });
    await until('whole again', () => seen.states.length === 2);
    expect(seen.infos.map(({ kind }) => kind)).toEqual(['snapshot', 'snapshot']);
    expect(seen.counters).toMatchObject({ gaps: 1, duplicates: 0, backward: 0 });
  });
});
