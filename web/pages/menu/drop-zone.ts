import { make } from '../shared/dom.js';
import { sizeText } from './texts.js';

/** What the server takes. What a file really is, it finds in the bytes, so this is no more than a help in the picker. */
const ACCEPT = 'image/jpeg,image/png,image/webp,image/gif';

/** Files by picker, camera, or dropped. The whole `target` is where they may be dropped. */
export function dropZone(item: string, bytesMax: number | undefined, target: HTMLElement, onFiles: (files: File[]) => void): HTMLElement {
  const id = `files-${item}`;
  const input = make('input', { id, type: 'file', accept: ACCEPT, multiple: '', class: 'visually-hidden' });
  input.onchange = () => {
    onFiles([...(input.files ?? [])]);
    // The same file may be chosen again.
    input.value = '';
  };
  let depth = 0;
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false;
  const over = (change: number) => {
    depth = Math.max(0, depth + change);
    target.dataset['over'] = depth > 0 ? 'yes' : 'no';
  };
  target.addEventListener('dragenter', (event) => hasFiles(event) && over(1));
  target.addEventListener('dragleave', (event) => hasFiles(event) && over(-1));
  target.addEventListener('dragover', (event) => {
    if (hasFiles(event)) event.preventDefault();
  });
  target.addEventListener('drop', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(-depth);
    onFiles([...(event.dataTransfer?.files ?? [])]);
  });
  return make(
    'div',
    { class: 'zone' },
    input,
    make('label', { for: id }, make('strong', {}, 'Choose pictures'), make('span', { class: 'visually-hidden' }, ` for ${item}`)),
    make('p', { class: 'hint' }, make('span', { class: 'if-mouse' }, 'or drop them here. '), `JPEG, PNG, WebP or GIF${bytesMax === undefined ? '' : `, up to ${sizeText(bytesMax)} each`}.`),
  );
}
