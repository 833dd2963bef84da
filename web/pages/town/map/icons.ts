import type { Palette } from './palette.js';

/** Drawn at twice the size, for sharp screens. */
export const PIXEL_RATIO = 2;

/** A courier's drop, whose tip points up; a disc while no heading is known. */
export function courierIcon(colour: string, rim: string, pointed: boolean): ImageData {
  return draw(30, (context) => {
    context.translate(15, 15.5);
    context.beginPath();
    if (pointed) {
      context.moveTo(0, -13.5);
      context.bezierCurveTo(2.5, -9, 9.5, -6, 9.5, 1);
      context.arc(0, 1, 9.5, 0, Math.PI);
      context.bezierCurveTo(-9.5, -6, -2.5, -9, 0, -13.5);
    } else context.arc(0, 0, 8.5, 0, 2 * Math.PI);
    context.closePath();
    context.fillStyle = colour;
    context.strokeStyle = rim;
    context.lineWidth = 2.2;
    context.shadowColor = 'rgb(0 0 0 / 35%)';
    context.shadowBlur = 5;
    context.fill();
    context.shadowColor = 'transparent';
    context.stroke();
    if (!pointed) return;
    context.beginPath();
    context.moveTo(0, -6);
    context.lineTo(4, 5);
    context.lineTo(0, 3);
    context.lineTo(-4, 5);
    context.closePath();
    context.fillStyle = rim;
    context.fill();
  });
}

/** A disc with a number: the map has no fonts of its own. */
export function numberIcon(number: string, palette: Palette): ImageData {
  const radius = 13 + 3 * number.length;
  return draw(2 * radius + 6, (context) => {
    const middle = radius + 3;
    context.beginPath();
    context.arc(middle, middle, radius, 0, 2 * Math.PI);
    context.fillStyle = palette.number;
    context.shadowColor = 'rgb(0 0 0 / 35%)';
    context.shadowBlur = 6;
    context.fill();
    context.shadowColor = 'transparent';
    context.lineWidth = 2;
    context.strokeStyle = palette.numberText;
    context.stroke();
    context.fillStyle = palette.numberText;
    context.font = `600 14px ${getComputedStyle(document.documentElement).getPropertyValue('--font')}`;
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.fillText(number, middle, middle + 0.5);
  });
}

/** "950", "1.2k": four signs at most. */
export function shortNumber(number: number): string {
  if (number < 1_000) return String(number);
  const thousands = number / 1_000;
  return thousands < 9.95 ? `${thousands.toFixed(1)}k` : `${Math.round(thousands)}k`;
}

function draw(size: number, paint: (context: CanvasRenderingContext2D) => void): ImageData {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = size * PIXEL_RATIO;
  const context = canvas.getContext('2d');
  if (!context) throw new Error('this browser draws nothing');
  context.scale(PIXEL_RATIO, PIXEL_RATIO);
  paint(context);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}
