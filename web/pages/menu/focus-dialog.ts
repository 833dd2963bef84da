import { make } from '../shared/dom.js';
import { MIDDLE, moved, partOf, type Focus } from './focus.js';

/** One press of an arrow key. */
const STEP = 0.02;

const ARROWS: Record<string, readonly [number, number]> = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };

/**
 * Shows a picture before it is sent and asks what of it must be seen. The frame shows what the menu will.
 * Answers with the point; with nothing if the file is not to be sent; with the middle if this browser cannot show it: the server says what is the matter with it.
 */
export function askFocus(file: File, shape: string): Promise<Focus | undefined> {
  return new Promise((resolve) => {
    let focus = MIDDLE;
    const url = URL.createObjectURL(file);
    const image = make('img', { alt: '' });
    const frame = make('span', { class: 'frame', 'aria-hidden': 'true' });
    const point = make('span', { class: 'point', 'aria-hidden': 'true' });
    const stage = make('div', { class: 'stage', tabindex: '0', role: 'group', 'aria-label': 'The picture. Arrow keys move the point that must be seen.' }, image, frame, point);
    const send = make('button', { type: 'button', class: 'main' }, 'Upload');
    const leave = make('button', { type: 'button', class: 'plain' }, 'Leave out');
    const title = make('h2', { id: 'focus-title' }, 'What must be seen?');
    const dialog = make(
      'dialog',
      { class: 'focus', 'aria-labelledby': title.id },
      title,
      make('p', { class: 'hint' }, 'Tap the best part of the dish. The menu shows what is inside the frame.'),
      stage,
      make('p', { class: 'file' }, file.name),
      make('div', { class: 'line' }, leave, send),
    );
    const end = (answer: Focus | undefined) => {
      dialog.close();
      dialog.remove();
      URL.revokeObjectURL(url);
      resolve(answer);
    };
    const draw = () => {
      const part = partOf(image.naturalWidth, image.naturalHeight, shape, focus);
      const percent = (fraction: number) => `${(fraction * 100).toFixed(2)}%`;
      Object.assign(frame.style, { left: percent(part.left), top: percent(part.top), width: percent(part.width), height: percent(part.height) });
      Object.assign(point.style, { left: percent(focus.x), top: percent(focus.y) });
    };
    const take = (event: PointerEvent) => {
      const box = image.getBoundingClientRect();
      focus = moved({ x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height }, 0, 0);
      draw();
    };
    stage.onpointerdown = (event) => {
      stage.setPointerCapture(event.pointerId);
      take(event);
    };
    stage.onpointermove = (event) => {
      if (stage.hasPointerCapture(event.pointerId)) take(event);
    };
    stage.onkeydown = (event) => {
      const step = ARROWS[event.key];
      if (!step) return;
      event.preventDefault();
      focus = moved(focus, ...step);
      draw();
    };
    send.onclick = () => end(focus);
    leave.onclick = () => end(undefined);
    dialog.oncancel = (event) => {
      event.preventDefault();
      end(undefined);
    };
    image.onload = () => {
      draw();
      document.body.append(dialog);
      dialog.showModal();
      stage.focus();
    };
    image.onerror = () => end(MIDDLE);
    image.src = url;
  });
}
