import { describe, expect, it } from 'vitest';
import { unwrapped, wayAhead, type Way } from '../pages/track/map/way-ahead.js';

/** At the equator, where 0.001 degrees are 111.195 m either way. */
const CORNER: Way = { points: [[0, 0], [0.001, 0], [0.001, 0.001]], done_m: 0 };

const rounded = (points: readonly (readonly [number, number])[]) => points.map(([lon, lat]) => [Number(lon.toFixed(6)), Number(lat.toFixed(6))]);

describe('the way ahead', () => {
  it('begins where the courier is, on the line', () => {
    const { points, way } = wayAhead(CORNER, [0.0004, 0.00005]);
    expect(rounded(points)).toEqual([[0.0004, 0], [0.001, 0], [0.001, 0.001]]);
    expect(way.done_m).toBeCloseTo(44.5, 0);
  });

  it('is all of it before the beginning, and nothing but its end behind the end', () => {
    expect(rounded(wayAhead(CORNER, [-0.001, 0]).points)).toEqual([[0, 0], [0.001, 0], [0.001, 0.001]]);
    expect(rounded(wayAhead(CORNER, [0.001, 0.002]).points)).toEqual([[0.001, 0.001], [0.001, 0.001]]);
  });

  it('does not jump to where the line comes back past itself', () => {
    const thereAndBack: Way = { points: [[0, 0], [0.01, 0], [0.01, 0.0001], [0, 0.0001]], done_m: 0 };
    const there = wayAhead(thereAndBack, [0.004, 0.00006]);
    expect(there.way.done_m).toBeCloseTo(445, 0);
    expect(there.points).toHaveLength(4);
    const back = wayAhead({ ...thereAndBack, done_m: 1_700 }, [0.004, 0.00004]);
    expect(back.points).toHaveLength(2);
  });

  it('goes on across the antimeridian', () => {
    const line = unwrapped([[179.999, 0], [-179.999, 0]]);
    const { points, way } = wayAhead({ points: line, done_m: 0 }, [-179.9995, 0]);
    expect(rounded(points)).toEqual([[180.0005, 0], [180.001, 0]]);
    expect(way.done_m).toBeCloseTo(166.8, 0);
  });

  it('is empty without a line, and survives points that are the same', () => {
    expect(wayAhead({ points: [], done_m: 0 }, [0, 0]).points).toEqual([]);
    expect(wayAhead({ points: [[1, 1]], done_m: 0 }, [0, 0]).points).toEqual([]);
    expect(wayAhead({ points: [[1, 1], [1, 1]], done_m: 0 }, [1, 1]).points).toEqual([[1, 1], [1, 1]]);
  });
});
