import { describe, expect, it } from 'vitest';
import { decodePolyline6 } from '../src/polyline.js';

/** As the server encodes. */
function encode(points: readonly [number, number][]): string {
  let [text, lat, lon] = ['', 0, 0];
  for (const point of points) {
    const next = { lon: Math.round(point[0] * 1e6), lat: Math.round(point[1] * 1e6) };
    for (const difference of [next.lat - lat, next.lon - lon]) {
      let rest = difference < 0 ? -2 * difference - 1 : 2 * difference;
      for (; rest >= 32; rest = Math.floor(rest / 32)) text += String.fromCharCode((rest % 32) + 95);
      text += String.fromCharCode(rest + 63);
    }
    ({ lat, lon } = next);
  }
  return text;
}

describe('an encoded polyline', () => {
  it('is read as the server wrote it', () => {
    expect(decodePolyline6('_izlhA~rlgdF_{geC~ywl@_kwzCn`{nI')).toEqual([[-120.2, 38.5], [-120.95, 40.7], [-126.453, 43.252]]);
    expect(decodePolyline6('')).toEqual([]);
  });

  it('survives the way there and back, over the whole Earth', () => {
    const lines: [number, number][][] = [
      [[0, 0], [-0.000001, 0.000001], [0, 0]],
      [[-180, -90], [180, 90], [-180, -90]],
      [[-8.610912, 41.149612], [-8.6109, 41.1496], [-8.61, 41.15]],
    ];
    for (const line of lines) expect(decodePolyline6(encode(line))).toEqual(line);
  });

  it('is refused where it is cut off, has foreign characters, or leaves the Earth', () => {
    const whole = '_izlhA~rlgdF';
    for (let length = 1; length < whole.length; length += 1) expect(decodePolyline6(whole.slice(0, length))).toBeNull();
    for (const text of ['??>?', '?? ?', '??ü?', '??\u{1f6b2}?', '\u0000', '~'.repeat(40), `${'~'.repeat(12)}??`, encode([[0, 91]]), encode([[181, 0]])]) {
      expect(decodePolyline6(text)).toBeNull();
    }
  });
});
