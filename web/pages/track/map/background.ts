/** What lies under the markers: the streets of the server, or a map of the operator's own. */
export interface Background {
  readonly streets: GeoJSON.FeatureCollection;
  readonly basemapStyleUrl: string | undefined;
  readonly attribution: string | undefined;
}

const NOTHING: GeoJSON.FeatureCollection = { type: 'FeatureCollection', features: [] };

/** Never fails: without streets the markers stand on plain ground. `onServerTime` hears the clock of the answers. */
export async function fetchBackground(onServerTime: (t_ms: number) => void): Promise<Background> {
  const config = await fetchJson('/v1/web-config', onServerTime);
  const basemapStyleUrl = text(config?.['basemap_style_url']);
  // With a map of their own the streets are not drawn, so they are not fetched either.
  const streets = basemapStyleUrl === undefined ? await fetchJson('/v1/streets', onServerTime) : undefined;
  const usable = streets?.['type'] === 'FeatureCollection' && Array.isArray(streets['features']);
  const properties = streets?.['properties'] as Record<string, unknown> | undefined;
  return {
    streets: usable ? (streets as unknown as GeoJSON.FeatureCollection) : NOTHING,
    basemapStyleUrl,
    attribution: text(streets?.['attribution']) ?? text(properties?.['attribution']) ?? text(config?.['attribution']),
  };
}

async function fetchJson(path: string, onServerTime: (t_ms: number) => void): Promise<Record<string, unknown> | undefined> {
  try {
    const response = await fetch(path);
    const date_ms = Date.parse(response.headers.get('date') ?? '');
    // An answer out of the browser's cache carries the date of back then.
    if (Number.isFinite(date_ms) && !response.headers.has('age')) onServerTime(date_ms);
    return response.ok ? ((await response.json()) as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
