import { thumbHashToRGBA } from 'thumbhash';
import { make } from '../shared/dom.js';
import type { Image } from './house.js';

/** The picture with what stands there until it is loaded: its colour at once, then its blurred likeness. */
export function pictureOf(image: Image, alt: string, sizes: string): HTMLElement {
  const { width, height } = image.sources[0]?.files.at(-1) ?? image;
  const frame = make('span', { class: 'picture', 'data-loaded': 'no' });
  if (/^#[0-9a-f]{6}$/i.test(image.colour)) frame.style.backgroundColor = image.colour;
  frame.style.aspectRatio = `${width} / ${height}`;
  const blurred = likeness(image.placeholder);
  if (blurred) frame.append(blurred);
  const img = make('img', { alt, sizes, width: String(width), height: String(height), decoding: 'async' });
  img.onload = () => (frame.dataset['loaded'] = 'yes');
  img.onerror = () => (frame.dataset['loaded'] = 'failed');
  // The address last: a browser that sees it first would load what the sources offer better.
  const sources = image.sources.filter(({ type }) => type !== 'image/jpeg');
  const jpeg = image.sources.find(({ type }) => type === 'image/jpeg');
  if (jpeg) img.srcset = jpeg.srcset;
  frame.append(make('picture', {}, ...sources.map(({ type, srcset }) => make('source', { type, srcset, sizes })), img));
  img.src = image.src;
  return frame;
}

function likeness(placeholder: string): HTMLCanvasElement | undefined {
  try {
    const { w, h, rgba } = thumbHashToRGBA(Uint8Array.from(atob(placeholder), (letter) => letter.charCodeAt(0)));
    const canvas = make('canvas', { width: String(w), height: String(h), 'aria-hidden': 'true' });
    canvas.getContext('2d')?.putImageData(new ImageData(new Uint8ClampedArray(rgba), w, h), 0, 0);
    return canvas;
  } catch {
    // The colour has to do.
    return undefined;
  }
}
