import { describe, expect, it } from 'vitest';
import type { Phase, TripState } from '@wayfare/client';
import { ArrivalMove } from '../pages/track/arrival-move.js';
import { Announcements } from '../pages/track/announcements.js';
import { readLink } from '../pages/track/link.js';
import { phaseText, problemText } from '../pages/track/texts.js';
import { badgeView, clockFormat, tripView } from '../pages/track/view.js';

const NOW = Date.UTC(2025, 10, 21, 18, 35, 10);
const MINUTE = 60_000;
const clock = clockFormat('en-GB', 'UTC');

function trip(more: Partial<TripState> = {}): TripState {
  return {
    phase: 'to_dropoff',
    phase_since_ms: NOW - 5 * MINUTE,
    position: { lat: 41.1, lon: -8.6, t_ms: NOW - 4_200 },
    eta: { at_ms: NOW + 7 * MINUTE, low_ms: NOW + 4 * MINUTE, high_ms: NOW + 12 * MINUTE },
    stops_left: 1,
    pickup: { lat: 41, lon: -8, name: 'Trattoria da Rosa' },
    dropoff: { lat: 41.2, lon: -8.7, name: 'Rua do Almada 12' },
    driver: { name: 'Nina', vehicle: 'bicycle' },
    ...more,
  };
}

const view = (more: Partial<TripState> = {}, now = NOW) => tripView(trip(more), now, clock);

describe('the time of arrival', () => {
  it('is a time of day, a time left and an interval', () => {
    expect(view().eta).toMatchObject({ clock: '18:42', relative: 'in 7 min', interval: 'between 18:39 and 18:47' });
  });

  it('counts down by itself', () => {
    const at = (later_ms: number) => view({}, NOW + later_ms).eta?.relative;
    expect(at(3 * MINUTE)).toBe('in 4 min');
    expect(at(6.2 * MINUTE)).toBe('in 1 min');
    expect(at(6.5 * MINUTE)).toBe('any moment now');
    expect(at(9 * MINUTE)).toBe('any moment now');
    expect(at(11 * MINUTE)).toBe('later than expected');
  });

  it('is left away where it is not known, or says nothing', () => {
    expect(view({ eta: undefined }).eta).toBeUndefined();
    expect(view({ eta: { at_ms: NOW + MINUTE } }).eta?.interval).toBeUndefined();
    expect(view({ phase: 'arrived' }).eta).toBeUndefined();
    expect(view({ eta: { at_ms: NOW + 90 * MINUTE } }).eta?.relative).toBe('in 1 h 30 min');
  });

  it('is written as the reader writes times', () => {
    expect(clockFormat('en-US', 'UTC')(NOW).replace(/\s/u, ' ')).toBe('6:35 PM');
    expect(clockFormat('de', 'UTC')(NOW - 12 * 60 * MINUTE)).toBe('06:35');
  });
});

describe('the cause of a change', () => {
  const cause = (cause: 'traffic' | 'detour' | 'waiting' | null | undefined, moved_ms?: number, phase: Phase = 'to_dropoff') =>
    tripView(trip({ phase, eta: { at_ms: NOW + MINUTE, cause } }), NOW, clock, moved_ms).eta?.cause;

  it('is said in words, traffic by whether it is for the better', () => {
    expect(cause('traffic', 4 * MINUTE)).toBe('Traffic is slower than usual');
    expect(cause('traffic', -4 * MINUTE)).toBe('Traffic is lighter than expected');
    expect(cause('traffic')).toBe('Traffic is not as expected');
    expect(cause('detour', 4 * MINUTE)).toBe('The courier is taking another way');
  });

  it('says where the courier waits before pick-up', () => {
    expect(cause('waiting', MINUTE)).toBe('Waiting');
    for (const phase of ['to_pickup', 'at_pickup'] as const) expect(cause('waiting', MINUTE, phase)).toBe('Waiting at the restaurant');
  });

  it('is gone with the cause', () => {
    expect(cause(null, MINUTE)).toBeUndefined();
    expect(cause(undefined, MINUTE)).toBeUndefined();
    expect(cause('something new' as never, MINUTE)).toBeUndefined();
  });

  it('compares arrivals as they were told, however often a state comes', () => {
    const move = new ArrivalMove();
    const after = (at_ms: number | undefined) => move.after({ eta: at_ms === undefined ? undefined : { at_ms } });
    expect([10, 10, 25, 25, undefined, 25, 20].map(after)).toEqual([undefined, undefined, 15, 15, 15, 15, -5]);
  });
});

describe('the position', () => {
  it('says how old it is', () => {
    expect(view().fix).toEqual({ text: 'position 4 s ago', tone: 'fresh' });
    expect(view({}, NOW + 40_000).fix).toEqual({ text: 'position 44 s ago', tone: 'old' });
  });

  it('says that nothing is heard', () => {
    const silent = (silent_reason?: 'offline' | 'paused') => view({ silent_since_ms: NOW - 130_000, silent_reason }).fix;
    expect(silent()).toEqual({ text: 'no signal from the courier for 2 min', tone: 'silent' });
    expect(silent('offline')).toEqual({ text: "the courier's phone has been offline for 2 min", tone: 'silent' });
    expect(silent('paused')).toEqual({ text: "the courier's position has not been shared for 2 min", tone: 'silent' });
  });

  it('is not mentioned while it is hidden', () => {
    expect(view({ position: undefined }).fix).toBeUndefined();
  });
});

describe('the story', () => {
  it('names the pick-up before pick-up, and says when the position is shown', () => {
    const { headline, sentence } = view({ phase: 'to_pickup', position: undefined });
    expect(headline).toBe('Nina is on the way to Trattoria da Rosa');
    expect(sentence).toContain('from pick-up on');
  });

  it('has words for every phase, with and without names', () => {
    const phases: Phase[] = ['unassigned', 'assigned', 'to_pickup', 'at_pickup', 'to_dropoff', 'arriving', 'arrived', 'delivered', 'cancelled', 'failed'];
    for (const phase of phases) {
      const bare = tripView({ phase }, NOW, clock);
      for (const text of [view({ phase }).headline, bare.headline, bare.sentence]) {
        expect(text.length).toBeGreaterThan(5);
        expect(text).not.toMatch(/undefined|null/);
      }
    }
    expect(tripView({ phase: 'something new' as Phase }, NOW, clock).headline).toBe('Your delivery');
    expect(phaseText(undefined, { courier: 'N', pickup: 'P', dropoff: undefined }).headline).toBe('Your delivery');
  });

  it('marks one step as current', () => {
    expect(view({ phase: 'at_pickup' }).steps.map(({ state }) => state)).toEqual(['done', 'done', 'current', 'ahead', 'ahead']);
    expect(view({ phase: 'arriving' }).steps.filter(({ state }) => state === 'current')).toHaveLength(1);
  });

  it('counts the stops before the reader', () => {
    expect(view({ stops_left: 0 }).stops).toBeUndefined();
    expect(view({ stops_left: 1 }).stops).toBe('1 stop before you');
    expect(view({ stops_left: 3 }).stops).toBe('3 stops before you');
    for (const phase of ['to_pickup', 'arriving'] as const) expect(view({ stops_left: 2, phase }).stops).toBeUndefined();
  });

  it.each(['delivered', 'cancelled', 'failed'] as const)('ends calmly: %s', (phase) => {
    const end = view({ phase, position: undefined });
    expect(end).toMatchObject({ final: phase, steps: [], eta: undefined, fix: undefined, stops: undefined });
    if (phase === 'delivered') expect(end.headline).toBe('Delivered at 18:30');
  });
});

it('announces phases and changes of minutes, not positions and not the countdown', () => {
  const announcements = new Announcements();
  expect(announcements.next(view(), NOW)).toBe('Nina is on the way to you. Arrival about 18:42, in 7 min.');
  expect(announcements.next(view({}, NOW + 30_000), NOW + 30_000)).toBeUndefined();
  const later = { eta: { at_ms: NOW + 12 * MINUTE } };
  expect(announcements.next(view(later, NOW + 40_000), NOW + 40_000)).toBeUndefined();
  expect(announcements.next(view(later, NOW + 70_000), NOW + 70_000)).toBe('Arrival about 18:47, in 11 min.');
  expect(announcements.next(view({ phase: 'arrived' }), NOW + 80_000)).toBe('Nina is at your door.');
});

it('calls SSE live, polling polling, and everything else by its name', () => {
  const badge = (connection: Parameters<typeof badgeView>[0]['connection']) =>
    badgeView({ connection, transport: undefined, since_ms: 0, error: undefined })?.state;
  expect(['live', 'polling', 'connecting', 'reconnecting', 'stopped', 'idle'].map((each) => badge(each as never))).toEqual([
    'live',
    'polling',
    'reconnecting',
    'reconnecting',
    'off',
    undefined,
  ]);
});

it('reads links, and takes no topic but a trip', () => {
  expect(readLink('#token=a.b.c&trip=trp_1')).toEqual({ topic: 'trip:trp_1', token: 'a.b.c' });
  expect(readLink('#trip=trp_1&token=a')).toBeDefined();
  for (const fragment of ['', '#', '#token=a', '#trip=trp_1', '#token=a&trip=trp_1,driver:drv_1', '#token=a&trip=x:ops', '#token=&trip=x']) {
    expect(readLink(fragment)).toBeUndefined();
  }
});

it('explains what went wrong without codes', () => {
  for (const code of ['client_no_link', 'not_found', 'unauthorized', 'close_4100', 'close_4201', 'forbidden', 'internal']) {
    expect(problemText(code, 'a message').headline).not.toMatch(/\d|_/);
  }
});
