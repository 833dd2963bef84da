/**
 * Reads an encoded polyline with six decimals: differences of whole micro-degrees, five bits a character. Points are
 * `[lon, lat]`, as maps want them. `null` if the text is cut off, has a character that is none of its own, or leaves the Earth.
 */
export function decodePolyline6(text: string): [number, number][] | null {
  const points: [number, number][] = [];
  let [at, lat, lon] = [0, 0, 0];
  const take = (): number => {
    // No bit operators: a difference may have more than the 32 bits they work on.
    for (let value = 0, weight = 1, step = 0; step < MOST_CHARACTERS; weight *= 32, step += 1) {
      const bits = text.charCodeAt(at) - 63;
      at += 1;
      if (!(bits >= 0 && bits < 64)) return NaN;
      value += (bits % 32) * weight;
      if (bits < 32) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
    }
    return NaN;
  };
  while (at < text.length) {
    lat += take();
    lon += take();
    if (!(Math.abs(lat) <= 90e6 && Math.abs(lon) <= 180e6)) return null;
    points.push([lon / 1e6, lat / 1e6]);
  }
  return points;
}

/** Of one difference; 360 degrees need six. */
const MOST_CHARACTERS = 9;
