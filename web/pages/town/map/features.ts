import { cellToLatLng } from 'h3-js';
import { predict } from '@wayfare/client';
import { isOld } from '../texts.js';
import type { Courier } from '../townsfolk.js';
import { shortNumber } from './icons.js';

/** Couriers where they are by now: carried on along their heading for some seconds, unless `still`. */
export function courierFeatures(
  couriers: Iterable<Courier>,
  now_ms: number,
  still: boolean,
  chosen: string | undefined,
): GeoJSON.FeatureCollection {
  const features = Array.from(couriers, (courier): GeoJSON.Feature => {
    const { lat, lon } = still || courier.standing ? courier : predict(courier, now_ms);
    const pointed = typeof courier.heading_deg === 'number';
    return {
      type: 'Feature',
      geometry: { type: 'Point', coordinates: [lon, lat] },
      properties: {
        id: courier.id,
        icon: `courier-${courier.status}-${pointed ? 'pointed' : 'round'}`,
        heading: pointed ? courier.heading_deg : 0,
        old: isOld(courier, now_ms),
        chosen: courier.id === chosen,
      },
    };
  });
  return { type: 'FeatureCollection', features };
}

/** A number in the middle of each cell. */
export function numberFeatures(numbers: ReadonlyMap<string, number>): GeoJSON.FeatureCollection {
  const features = Array.from(numbers, ([cell, number]): GeoJSON.Feature => {
    const [lat, lon] = cellToLatLng(cell);
    return {
      type: 'Feature',
      geometry: { type: 'Point', coordinates: [lon, lat] },
      properties: { cell, number, icon: `number-${shortNumber(number)}` },
    };
  });
  return { type: 'FeatureCollection', features };
}
