/** The point of a picture that must be seen, as fractions of its width and height. */
export interface Focus {
  readonly x: number;
  readonly y: number;
}

export const MIDDLE: Focus = { x: 0.5, y: 0.5 };

/** A part of a picture, as fractions of its width and height. */
export interface Part {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** What is shown of a picture: the largest part of that shape, as near to the focus as the edges allow. The workers do the same (`media-worker/src/crop.rs`). */
export function partOf(width: number, height: number, shape: string, focus: Focus): Part {
  const [across, down] = shape.split(':').map(Number);
  const ratio = across && down ? across / down : width / height;
  const wide = width > height * ratio;
  const part = wide ? { width: (height * ratio) / width, height: 1 } : { width: 1, height: width / ratio / height };
  return { left: place(focus.x, part.width), top: place(focus.y, part.height), ...part };
}

export function moved({ x, y }: Focus, right: number, down: number): Focus {
  return { x: clamp(x + right), y: clamp(y + down) };
}

/** As an upload says it. */
export function focusText({ x, y }: Focus): string {
  return `${x.toFixed(3)},${y.toFixed(3)}`;
}

function place(focus: number, part: number): number {
  return Math.min(Math.max(focus - part / 2, 0), 1 - part);
}

function clamp(fraction: number): number {
  return Math.min(1, Math.max(0, fraction));
}
