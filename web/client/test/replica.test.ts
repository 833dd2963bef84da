import { describe, expect, it } from 'vitest';
import { LogReader } from '../src/log-reader.js';
import { StateReplica } from '../src/replica.js';

function following(): StateReplica {
  const replica = new StateReplica();
  replica.subscribed('7.40');
  replica.snapshot('7.40', { phase: 'to_dropoff', stops_left: 2 });
  return replica;
}

describe('a state replica', () => {
  it('applies a delta to the state before it', () => {
    const replica = following();
    expect(replica.delta(41, { stops_left: 1 })).toBe('applied');
    expect(replica.state).toEqual({ phase: 'to_dropoff', stops_left: 1 });
    expect(replica.resumeFrom).toBe('7.41');
  });

  it('takes nulls of a snapshot as absent members', () => {
    const replica = new StateReplica();
    replica.snapshot('7.1', { phase: 'assigned', position: null, pickup: { lat: 1, name: null } });
    expect(replica.state).toEqual({ phase: 'assigned', pickup: { lat: 1 } });
  });

  it.each([
    ['a gap', 43, { gaps: 1, duplicates: 0, backward: 0 }],
    ['a duplicate', 40, { gaps: 0, duplicates: 1, backward: 0 }],
    ['a step back', 38, { gaps: 0, duplicates: 0, backward: 1 }],
  ])('never applies %s, counts it once and asks for a snapshot', (_, seq, counted) => {
    const replica = following();
    expect(replica.delta(seq, { phase: 'wrong' })).toBe('fault');
    expect(replica.delta(seq + 1, { phase: 'wrong' })).toBe('covered'); // still under way from before
    expect(replica.state['phase']).toBe('to_dropoff');
    expect(replica.resumeFrom).toBeUndefined();
    expect(replica.counters).toMatchObject(counted);
    replica.subscribed('7.50');
    replica.snapshot('7.50', { phase: 'arriving' });
    expect(replica.delta(51, { stops_left: 1 })).toBe('applied');
    expect(replica.counters).toMatchObject(counted);
  });

  it('takes a delta before the promised snapshot for a gap', () => {
    const replica = following();
    replica.subscribed('7.45');
    expect(replica.delta(46, {})).toBe('fault');
    expect(replica.counters.gaps).toBe(1);
  });

  it('goes on without a snapshot when its cursor was current', () => {
    const replica = following();
    replica.beginLine();
    replica.subscribed('7.40');
    expect(replica.delta(41, { stops_left: 1 })).toBe('applied');
  });

  it('counts a snapshot that lies behind, and takes it all the same', () => {
    const replica = following();
    expect(replica.snapshot('7.39', { phase: 'at_pickup' })).toBe('applied');
    expect(replica.counters.backward).toBe(1);
    expect(replica.snapshot('8.1', { phase: 'to_dropoff' })).toBe('applied');
    expect(replica.counters.backward).toBe(1);
  });

  it('passes over what the old connection had brought when a new one takes over', () => {
    const replica = following();
    replica.delta(41, { stops_left: 1 });
    replica.delta(42, { phase: 'arriving' });
    replica.beginHandover();
    replica.subscribed('7.40');
    expect(replica.delta(41, {})).toBe('covered');
    expect(replica.delta(42, {})).toBe('covered');
    expect(replica.delta(43, { phase: 'arrived' })).toBe('applied');
    expect(replica.state).toEqual({ phase: 'arrived', stops_left: 1 });
    expect(replica.counters).toMatchObject({ gaps: 0, duplicates: 0, backward: 0, covered: 2 });
    expect(replica.delta(43, {})).toBe('fault'); // the handover is over
  });

  it('does not go back to an older snapshot of a connection that takes over', () => {
    const replica = following();
    replica.beginHandover();
    replica.subscribed('7.39');
    expect(replica.snapshot('7.39', { phase: 'at_pickup' })).toBe('covered');
    expect(replica.delta(40, {})).toBe('covered');
    expect(replica.delta(41, { phase: 'arriving' })).toBe('applied');
  });
});

describe('a log reader', () => {
  it('gives each event once, over connections that overlap', () => {
    const reader = new LogReader('now');
    reader.subscribed('1.5');
    expect(reader.resumeFrom).toBe('1.5');
    expect(reader.event('1.6')).toBe('applied');
    reader.beginHandover();
    expect(reader.event('1.6')).toBe('covered');
    expect(reader.event('1.9')).toBe('applied');
    expect(reader.counters).toMatchObject({ duplicates: 0, covered: 1 });
  });

  it('starts from the oldest if asked, and goes on from where it is', () => {
    const reader = new LogReader('start');
    expect(reader.resumeFrom).toBe('start');
    reader.event('1.1');
    expect(reader.resumeFrom).toBe('1.1');
    reader.reset('2.10');
    expect(reader.resumeFrom).toBe('2.10');
    expect(reader.event('2.11')).toBe('applied');
  });
});
