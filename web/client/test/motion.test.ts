import { describe, expect, it } from 'vitest';
import { beginMotion, continueMotion, distance_m, isSettled, placeAt, predict, turn, type Line, type Motion, type Sample } from '../src/motion.js';

const T0 = 1_763_686_800_000;
const driving: Sample = { lat: 41.1414, lon: -8.6186, heading_deg: 90, speed_mps: 10, t_ms: T0 };

describe('prediction', () => {
  it('carries on along the heading', () => {
    const place = predict(driving, T0 + 2_000);
    expect(distance_m(driving, place)).toBeCloseTo(20, 1);
    expect(place.lat).toBeCloseTo(driving.lat, 6);
    expect(place.lon).toBeGreaterThan(driving.lon);
  });

  it('stops after twelve seconds worth of way, slowing down to it', () => {
    expect(distance_m(driving, predict(driving, T0 + 60_000))).toBeCloseTo(120, 1);
    const last = distance_m(predict(driving, T0 + 13_900), predict(driving, T0 + 14_000));
    expect(last).toBeLessThan(0.1);
  });

  it('stands still without a heading, without speed, and before its time', () => {
    for (const sample of [{ ...driving, heading_deg: undefined }, { ...driving, speed_mps: 0.2 }, { ...driving, t_ms: T0 + 9_000 }]) {
      expect(distance_m(sample, predict(sample, T0 + 3_000))).toBe(0);
    }
  });
});

describe('correction', () => {
  const corrected: Sample = { lat: 41.1416, lon: -8.6180, heading_deg: 60, speed_mps: 10, t_ms: T0 + 3_000 };

  it('does not jump, and is gone after a second', () => {
    const before = beginMotion(driving, T0);
    const now_ms = T0 + 3_200;
    const after = continueMotion(before, corrected, now_ms);
    expect(distance_m(placeAt(before, now_ms), placeAt(after, now_ms))).toBeLessThan(0.01);
    expect(turn(placeAt(before, now_ms).heading_deg!, placeAt(after, now_ms).heading_deg!)).toBeCloseTo(0, 5);
    expect(distance_m(placeAt(after, now_ms + 1_000), predict(corrected, now_ms + 1_000))).toBeLessThan(0.01);
    expect(placeAt(after, now_ms + 1_000).heading_deg).toBeCloseTo(60, 5);
  });

  it('moves smoothly through a whole drive of noisy positions', () => {
    let motion: Motion = beginMotion(driving, T0);
    let drawn = placeAt(motion, T0);
    for (let now_ms = T0 + 16; now_ms < T0 + 30_000; now_ms += 16) {
      const second = Math.floor((now_ms - T0) / 1000);
      if (second % 3 === 0 && motion.sample.t_ms !== T0 + second * 1000) {
        const along = predict({ ...driving, t_ms: T0 }, T0 + 1000);
        const sample = { ...driving, lon: driving.lon + (along.lon - driving.lon) * second, lat: driving.lat + (second % 2) * 0.0002, heading_deg: 80 + (second % 4) * 10, t_ms: T0 + second * 1000 };
        motion = continueMotion(motion, sample, now_ms);
      }
      const next = placeAt(motion, now_ms);
      expect(distance_m(drawn, next)).toBeLessThan(1.5); // 90 m/s at the very most while blending; a jump would be tens of metres in one frame
      drawn = next;
    }
  });

  it('jumps beyond 200 m', () => {
    const far = { ...driving, lat: driving.lat + 0.01, t_ms: T0 + 1_000 };
    const motion = continueMotion(beginMotion(driving, T0), far, T0 + 1_000);
    expect(distance_m(placeAt(motion, T0 + 1_000), far)).toBeLessThan(0.01);
  });

  it('follows the line, and fades to another one', () => {
    const bend: Line = [[-8.6190, 41.1414], [-8.6183, 41.1414], [-8.6183, 41.1424]];
    const motion = beginMotion(driving, T0, bend);
    expect(placeAt(motion, T0 + 6_000).heading_deg).toBeCloseTo(0, 3);
    expect(placeAt(motion, T0 + 6_000).lat).toBeGreaterThan(41.1416);
    const straight = continueMotion(motion, driving, T0 + 6_000);
    expect(distance_m(placeAt(motion, T0 + 6_000), placeAt(straight, T0 + 6_000))).toBeLessThan(0.01);
    expect(distance_m(placeAt(straight, T0 + 7_000), predict(driving, T0 + 7_000))).toBeLessThan(0.01);
  });

  it('turns the short way', () => {
    const motion = continueMotion(beginMotion({ ...driving, heading_deg: 350 }, T0), { ...driving, heading_deg: 10 }, T0);
    const half = placeAt(motion, T0 + 500).heading_deg!;
    expect(Math.min(half, 360 - half)).toBeLessThan(1e-6);
    expect(turn(350, 10)).toBe(20);
    expect(turn(10, 350)).toBe(-20);
  });

  it('keeps the last heading where a position has none', () => {
    const motion = continueMotion(beginMotion(driving, T0), { lat: driving.lat, lon: driving.lon, t_ms: T0 + 5_000 }, T0 + 5_000);
    expect(placeAt(motion, T0 + 9_000).heading_deg).toBe(90);
  });

  it('crosses the antimeridian without a way round the world', () => {
    const west: Sample = { lat: -17, lon: 179.9999, heading_deg: 90, speed_mps: 20, t_ms: T0 };
    const there = predict(west, T0 + 3_000);
    expect(there.lon).toBeLessThan(-179);
    expect(distance_m(west, there)).toBeCloseTo(60, 0);
    const motion = continueMotion(beginMotion(west, T0), { ...west, lon: -179.9995, t_ms: T0 + 3_000 }, T0 + 3_000);
    for (let now_ms = T0 + 3_000; now_ms < T0 + 5_000; now_ms += 100) {
      expect(distance_m(placeAt(motion, now_ms), west)).toBeLessThan(200);
    }
  });
});

it('knows when nothing will move any more', () => {
  const motion = beginMotion(driving, T0);
  expect(isSettled(motion, T0 + 3_000)).toBe(false);
  expect(isSettled(motion, T0 + 13_000)).toBe(false);
  expect(isSettled(motion, T0 + 14_000)).toBe(true);
  expect(isSettled(beginMotion({ ...driving, speed_mps: 0 }, T0), T0 + 1_000)).toBe(true);
});
