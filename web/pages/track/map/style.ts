import type { LayerSpecification, StyleSpecification } from 'maplibre-gl';

/** The colours of a town in one light. */
interface Palette {
  land: string;
  block: string;
  park: string;
  water: string;
  street: string;
  streetEdge: string;
  main: string;
  mainEdge: string;
  bridge: string;
  bridgeEdge: string;
}

const LIGHT: Palette = {
  land: '#f0ece2',
  block: '#e7e1d4',
  park: '#d3e4c8',
  water: '#b4d6de',
  street: '#ffffff',
  streetEdge: '#ded7c8',
  main: '#fff6df',
  mainEdge: '#d9c9a4',
  bridge: '#ffffff',
  bridgeEdge: '#a9a08c',
};

const DARK: Palette = {
  land: '#141c1f',
  block: '#1a2427',
  park: '#182b20',
  water: '#10313d',
  street: '#2c393d',
  streetEdge: '#11181a',
  main: '#3d4a4c',
  mainEdge: '#11181a',
  bridge: '#465559',
  bridgeEdge: '#0b1012',
};

export const STREETS_SOURCE = 'streets';

/** Our own style: streets and shapes from one GeoJSON source, no fonts, no sprites, nothing to download. */
export function townStyle(streets: GeoJSON.FeatureCollection, dark: boolean): StyleSpecification {
  const palette = dark ? DARK : LIGHT;
  return {
    version: 8,
    sources: { [STREETS_SOURCE]: { type: 'geojson', data: streets } },
    layers: [
      { id: 'land', type: 'background', paint: { 'background-color': palette.land } },
      area('block', palette.block),
      area('park', palette.park),
      area('water', palette.water),
      line('street-edge', 'street', palette.streetEdge, [1.2, 9, 26]),
      line('main-edge', 'main', palette.mainEdge, [2.4, 14, 38]),
      line('street', 'street', palette.street, [0.7, 6.5, 22]),
      line('main', 'main', palette.main, [1.6, 11, 33]),
      line('bridge-edge', 'bridge', palette.bridgeEdge, [3, 15, 40]),
      line('bridge', 'bridge', palette.bridge, [1.6, 11, 33]),
    ],
  };
}

function area(kind: string, color: string): LayerSpecification {
  return {
    id: kind,
    type: 'fill',
    source: STREETS_SOURCE,
    filter: ['==', ['get', 'kind'], kind],
    paint: { 'fill-color': color },
  };
}

/** `widths` in pixels at zoom 12, 16 and 18. */
function line(id: string, kind: string, color: string, widths: [number, number, number]): LayerSpecification {
  return {
    id,
    type: 'line',
    source: STREETS_SOURCE,
    filter: ['all', ['==', ['geometry-type'], 'LineString'], ['==', ['get', 'kind'], kind]],
    layout: { 'line-cap': 'round', 'line-join': 'round' },
    paint: {
      'line-color': color,
      'line-width': ['interpolate', ['exponential', 1.6], ['zoom'], 12, widths[0], 16, widths[1], 18, widths[2]],
    },
  };
}
