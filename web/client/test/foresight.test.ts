import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { carryOn, placeOn } from '../src/foresight.js';
import { distance_m } from '../src/motion.js';
import { decodePolyline6 } from '../src/polyline.js';

interface Case {
  position: { lat: number; lon: number; heading_deg: number | null; speed_mps: number; t_ms: number };
  polyline6: string | null;
  seen: { age_ms: number; lat: number; lon: number }[];
}

/** What the server says that watchers see; `crates/wire` writes the file. */
const cases = JSON.parse(readFileSync(new URL('./vectors/foresight.json', import.meta.url), 'utf8')) as Case[];

it('sees couriers exactly where the server says that they are seen', () => {
  let onLine = 0;
  for (const { position, polyline6, seen } of cases) {
    const sample = { ...position, heading_deg: position.heading_deg ?? undefined };
    const on = placeOn(polyline6 === null ? undefined : decodePolyline6(polyline6)!, sample);
    onLine += on ? 1 : 0;
    for (const { age_ms, lat, lon } of seen) {
      expect(distance_m(carryOn(sample, on, sample.t_ms + age_ms), { lat, lon })).toBeLessThan(0.001);
    }
  }
  expect(cases.length).toBe(120);
  expect(onLine).toBeGreaterThan(30);
});

it('turns with the line', () => {
  const sample = { lat: 0, lon: 0, heading_deg: 5, speed_mps: 10, t_ms: 0 };
  const on = placeOn([[0, -0.001], [0, 0.0003], [0.001, 0.0003]], sample);
  expect(carryOn(sample, on, 2_000).heading_deg).toBe(5);
  expect(carryOn(sample, on, 5_000).heading_deg).toBeCloseTo(90, 6);
});
