import type { ExpressionSpecification, LayerSpecification } from 'maplibre-gl';
import type { Palette } from './palette.js';

/** Sources of the page's own data, from bottom to top. */
export const SOURCES = ['fences', 'traffic', 'numbers', 'couriers'] as const;
export type SourceName = (typeof SOURCES)[number];

/** Layers over the background, from bottom to top. */
export function townLayers(palette: Palette): LayerSpecification[] {
  return [
    { id: 'fence-fill', type: 'fill', source: 'fences', paint: { 'fill-color': palette.fence, 'fill-opacity': 0.12 } },
    { id: 'fence-edge', type: 'line', source: 'fences', paint: { 'line-color': palette.fence, 'line-width': 1.8, 'line-dasharray': [3, 2] } },
    {
      id: 'traffic',
      type: 'line',
      source: 'traffic',
      layout: { 'line-cap': 'round', 'line-join': 'round' },
      paint: {
        'line-color': trafficColour(palette),
        'line-width': ['interpolate', ['exponential', 1.6], ['zoom'], 11, 1.4, 15, 4, 18, 11],
        'line-opacity': 0.85,
      },
    },
    {
      id: 'numbers',
      type: 'symbol',
      source: 'numbers',
      layout: { 'icon-image': ['get', 'icon'], 'icon-allow-overlap': true, 'symbol-sort-key': ['get', 'number'] },
    },
    {
      id: 'chosen',
      type: 'circle',
      source: 'couriers',
      filter: ['get', 'chosen'],
      paint: { 'circle-radius': 20, 'circle-color': 'transparent', 'circle-stroke-color': palette.chosen, 'circle-stroke-width': 2.5 },
    },
    {
      id: 'couriers',
      type: 'symbol',
      source: 'couriers',
      layout: {
        'icon-image': ['get', 'icon'],
        'icon-rotate': ['get', 'heading'],
        'icon-rotation-alignment': 'map',
        'icon-allow-overlap': true,
        'icon-ignore-placement': true,
        'icon-size': ['interpolate', ['linear'], ['zoom'], 10, 0.55, 13, 0.85, 16, 1.15],
      },
      paint: { 'icon-opacity': ['case', ['get', 'old'], 0.4, 1] },
    },
  ];
}

/** By the share of the free speed that is driven now. */
function trafficColour({ jam, slow, dense, free }: Palette): ExpressionSpecification {
  return ['step', ['coalesce', ['get', 'ratio'], 1], jam, 0.35, slow, 0.6, dense, 0.85, free];
}
