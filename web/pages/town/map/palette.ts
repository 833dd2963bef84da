/** Colours on the map, by light. They stand in the page's style sheet too, for the legend. */
export interface Palette {
  readonly available: string;
  readonly busy: string;
  readonly finishing: string;
  readonly rim: string;
  readonly number: string;
  readonly numberText: string;
  readonly fence: string;
  readonly chosen: string;
  readonly free: string;
  readonly dense: string;
  readonly slow: string;
  readonly jam: string;
}

/** Reads them from the style sheet, where each stands once for light and once for dark. */
export function readPalette(): Palette {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    available: of('courier-available'),
    busy: of('courier-busy'),
    finishing: of('courier-finishing'),
    rim: of('courier-rim'),
    number: of('brand'),
    numberText: of('surface'),
    fence: of('fence'),
    chosen: of('ink'),
    free: of('traffic-free'),
    dense: of('traffic-dense'),
    slow: of('traffic-slow'),
    jam: of('traffic-jam'),
  };
}
