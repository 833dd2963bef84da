import { getHexagonAreaAvg, latLngToCell, polygonToCells, UNITS } from 'h3-js';

/** What a screen shows, in degrees. West may lie beyond -180 and east beyond 180: the map counts on when it goes round. */
export interface View {
  south: number;
  west: number;
  north: number;
  east: number;
}

/** Which `area:` topics show a view. */
export interface Cover {
  /** Markers of single couriers, or numbers of parts of cells. */
  readonly shows: 'couriers' | 'numbers';
  readonly cells: string[];
}

/** Resolutions of `area:` topics, from fine to coarse, and how far from its centre a cell's content may lie, in degrees. */
const STEPS = [
  { resolution: 7, reach_deg: 0.02 },
  // Parts of a coarse cell stick out of it a little.
  { resolution: 5, reach_deg: 0.14 },
  { resolution: 3, reach_deg: 1 },
  { resolution: 1, reach_deg: 7 },
];

/** Well below the topics of one connection, so that those just left may stay for a moment. */
export const CELLS_MAX = 60;

/** Nobody delivers beyond, and the map does not show it. */
const LATITUDE_MAX = 85;
/** Wider boxes may be taken for their complement. */
const WIDEST_DEG = 60;

/** The finest cells of which a moderate number covers the view. */
export function cover(view: View): Cover {
  for (const { resolution, reach_deg } of STEPS) {
    const boxes = boxesOf(grown(view, reach_deg));
    if (roughCount(boxes, resolution) > CELLS_MAX * 1.3) continue;
    const cells = new Set(boxes.flatMap((box) => polygonToCells(ring(box), resolution, true)));
    cells.add(latLngToCell((view.south + view.north) / 2, wrap((view.west + view.east) / 2), resolution));
    if (cells.size <= CELLS_MAX) return { shows: resolution === 7 ? 'couriers' : 'numbers', cells: [...cells] };
  }
  // More than the map can be zoomed out to: as much of its middle as there are topics for.
  const keep = (from: number, to: number) => [from + (to - from) * 0.15, to - (to - from) * 0.15] as const;
  const [south, north] = keep(Math.max(view.south, -LATITUDE_MAX), Math.min(view.north, LATITUDE_MAX));
  const [west, east] = keep(view.west, view.east);
  return cover({ south, north, west, east });
}

function grown({ south, west, north, east }: View, by_deg: number): View {
  const lat = Math.min(LATITUDE_MAX, Math.max(Math.abs(south), Math.abs(north)));
  const lon_deg = by_deg / Math.cos((lat * Math.PI) / 180);
  return {
    south: Math.max(-LATITUDE_MAX, south - by_deg),
    north: Math.min(LATITUDE_MAX, north + by_deg),
    west: west - lon_deg,
    east: Math.min(east + lon_deg, west - lon_deg + 360),
  };
}

/** The same in boxes that neither cross the antimeridian nor are too wide. */
function boxesOf({ south, west, north, east }: View): View[] {
  const boxes: View[] = [];
  for (let from = west; from < east; ) {
    const turns = Math.floor((from + 180) / 360) * 360;
    const to = Math.min(east, from + WIDEST_DEG, turns + 180);
    boxes.push({ south, north, west: from - turns, east: to - turns });
    from = to;
  }
  return boxes;
}

function roughCount(boxes: View[], resolution: number): number {
  const EARTH_KM2 = 510_065_600;
  const share = (lat: number) => Math.sin((lat * Math.PI) / 180) / 2;
  const areas_km2 = boxes.map(({ south, north, west, east }) => EARTH_KM2 * (share(north) - share(south)) * ((east - west) / 360));
  return areas_km2.reduce((sum, area) => sum + area, 0) / getHexagonAreaAvg(resolution, UNITS.km2);
}

/** As GeoJSON has it: longitude first. */
function ring({ south, west, north, east }: View): [number, number][] {
  return [
    [west, south],
    [east, south],
    [east, north],
    [west, north],
    [west, south],
  ];
}

function wrap(lon: number): number {
  return ((((lon + 180) % 360) + 360) % 360) - 180;
}
