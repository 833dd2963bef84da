import { latLngToCell } from 'h3-js';
import { describe, expect, test } from 'vitest';
import { CELLS_MAX, cover, type View } from '../pages/town/cells.js';
import { requestBoxes } from '../pages/town/feeds.js';
import { readToken } from '../pages/town/link.js';
import { courierFeatures, numberFeatures } from '../pages/town/map/features.js';
import { shortNumber } from '../pages/town/map/icons.js';
import { batteryText, outageText, summaryText } from '../pages/town/texts.js';
import { Townsfolk, type Courier } from '../pages/town/townsfolk.js';
import { readLink } from '../pages/start/orders.js';

const around = (lat: number, lon: number, height: number, width: number): View => ({
  south: lat - height / 2,
  north: lat + height / 2,
  west: lon - width / 2,
  east: lon + width / 2,
});
const STEP_OF = [7, 5, 3, 1] as const;
/** The cell of the topic in which something at a place is told. */
const topicCell = (lat: number, lon: number, step: (typeof STEP_OF)[number]) => latLngToCell(lat, lon, step);

describe('the cover of a view', () => {
  const check = (view: View, shows: string) => {
    const covered = cover(view);
    expect(covered.shows).toBe(shows);
    expect(covered.cells.length).toBeGreaterThan(0);
    expect(covered.cells.length).toBeLessThanOrEqual(CELLS_MAX);
    return covered;
  };

  test('a street shows couriers, a country numbers, and never too many topics', () => {
    check(around(41.15, -8.61, 0.002, 0.003), 'couriers');
    check(around(41.15, -8.61, 0.05, 0.1), 'couriers');
    check(around(41.15, -8.61, 0.5, 1), 'numbers');
    check(around(41.15, -8.61, 6, 12), 'numbers');
    check(around(30, 0, 60, 110), 'numbers');
    check({ south: -85, north: 85, west: -190, east: 190 }, 'numbers');
  });

  test('everything in view lies in a cell of it, across the antimeridian too', () => {
    for (const [lat, lon] of [[41.15, -8.61], [0, 180], [-17.7, 179.9], [64, 10.5], [52, -180]] as const) {
      for (const size of [0.004, 0.06, 0.5, 3]) {
        const view = around(lat, lon, size, size * 1.5);
        const { cells } = cover(view);
        const step = STEP_OF.find((step) => cells.includes(topicCell(lat, ((lon + 540) % 360) - 180, step)));
        expect(step, `${lat} ${lon} ${size}`).toBeDefined();
        for (const [n, e] of [[0.5, 0.5], [-0.5, 0.5], [0.5, -0.5], [-0.5, -0.5], [0.2, -0.3]] as const) {
          const wrapped = ((((lon + e * size * 1.5 + 180) % 360) + 360) % 360) - 180;
          expect(cells).toContain(topicCell(lat + n * size, wrapped, step ?? 7));
        }
      }
    }
  });
});

const marker = (t_ms: number, lat: number, status = 'busy') => ({ lat, lon: -8.6, t_ms, standing: false, vehicle: 'car', status }) as Courier;

describe('all who are told', () => {
  test('who stands in two areas is one, and the newer counts', () => {
    const folk = new Townsfolk();
    folk.take('area:a', { drv_1: marker(10, 41.1), drv_2: marker(10, 41.2) });
    folk.take('area:b', { drv_1: marker(20, 41.3) });
    expect([...folk.couriers().values()].map(({ id, lat }) => [id, lat])).toEqual([['drv_1', 41.3], ['drv_2', 41.2]]);
    folk.change('area:b', { drv_1: null, drv_3: marker(30, 41.4) });
    expect([...folk.couriers().keys()]).toEqual(['drv_1', 'drv_2', 'drv_3']);
    folk.leave('area:a');
    expect([...folk.couriers().keys()]).toEqual(['drv_3']);
    folk.change('area:a', { drv_9: marker(1, 1) });
    expect(folk.couriers().has('drv_9')).toBe(false);
  });

  test('numbers of all who count are added up, part by part', () => {
    const folk = new Townsfolk();
    folk.take('area:c', { 'x.node-1-0': 3, 'x.node-1-1': 4, 'y.node-1-0': 1 });
    folk.change('area:c', { 'y.node-1-0': null, 'z.node-2-0': 2, nonsense: 5 });
    expect([...folk.numbers()]).toEqual([['x', 7], ['z', 2]]);
  });
});

test('the sentence about what is in view counts right', () => {
  const couriers = [marker(0, 41, 'available'), marker(0, 41), marker(0, 41)];
  expect(summaryText('couriers', couriers, 0)).toBe('3 couriers in view: 1 free, 2 busy.');
  expect(summaryText('couriers', [], 0)).toBe('No courier in view.');
  expect(summaryText('numbers', [], 1)).toBe('1 courier in view. Come closer to see each.');
});

test('why nothing comes is said in words', () => {
  expect(outageText({}, 0)).toBeUndefined();
  expect(outageText({ outage: { reason: 'airplane', since_ms: 0 } }, 130_000)).toBe('airplane mode, for 2 min');
  expect(outageText({ outage: { reason: 'tunnel' as 'other', since_ms: 0 }, silent_since_ms: 0 }, 130_000)).toBe('the phone says so, for 2 min');
  expect(outageText({ silent_since_ms: 0 }, 130_000)).toBe('silent for 2 min, nobody said why');
  expect(batteryText({})).toBeUndefined();
  expect(batteryText({ phone: { battery_pct: 7 } })).toBe('7 %');
  expect(batteryText({ phone: { battery_pct: 70, charging: true } })).toBe('70 %, charging');
});

test('couriers are drawn where they are by now, old ones as old', () => {
  const moving = { ...marker(100_000, 41.15), id: 'drv_1', heading_deg: 0, speed_mps: 10 };
  const draw = (now_ms: number, still: boolean) => courierFeatures([moving], now_ms, still, 'drv_1').features[0]!;
  const at = (feature: GeoJSON.Feature) => (feature.geometry as GeoJSON.Point).coordinates[1];
  expect(at(draw(102_000, true))).toBe(41.15);
  expect(at(draw(102_000, false))).toBeCloseTo(41.15 + 20 / 111_195, 6);
  expect(draw(102_000, false).properties).toMatchObject({ icon: 'courier-busy-pointed', heading: 0, old: false, chosen: true });
  expect(draw(200_000, false).properties).toMatchObject({ old: true });
  const numbers = numberFeatures(new Map([[latLngToCell(41.15, -8.61, 7), 1234]])).features[0]!;
  expect(numbers.properties).toMatchObject({ number: 1234, icon: 'number-1.2k' });
});

test('numbers are short', () => {
  expect([7, 999, 1000, 9949, 9950, 123_456].map(shortNumber)).toEqual(['7', '999', '1.0k', '9.9k', '10k', '123k']);
});

test('a box of the map is asked for in longitudes of one turn', () => {
  expect(requestBoxes(around(41, -8.5, 2, 1))).toEqual(['-9.00000,40.00000,-8.00000,42.00000']);
  expect(requestBoxes({ south: -1, north: 1, west: 179, east: 181 })).toEqual([
    '179.00000,-1.00000,180.00000,1.00000',
    '-180.00000,-1.00000,-179.00000,1.00000',
  ]);
  expect(requestBoxes({ south: -91, north: 91, west: -200, east: 200 })).toEqual(['-180.00000,-90.00000,180.00000,90.00000']);
});

test('the token comes out of the fragment, the door out of the demo', () => {
  expect(readToken('#token=abc.def')).toBe('abc.def');
  expect(readToken('#token=%20')).toBeUndefined();
  expect(readToken('')).toBeUndefined();
  expect(readLink({ url: '/town/#token=x' }, 'http://here')).toBe('http://here/town/#token=x');
  expect(readLink({ url: 'https://elsewhere/' }, 'http://here')).toBeUndefined();
  expect(readLink(null, 'http://here')).toBeUndefined();
});
