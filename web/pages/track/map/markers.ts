import { make, makeSvg, setText } from '../../shared/dom.js';

/** A pin with its name above it. */
export function pinElement(kind: 'pickup' | 'dropoff'): HTMLElement {
  return make('div', { class: 'pin', 'data-kind': kind }, make('span', { class: 'pin-label' }), make('span', { class: 'pin-dot' }));
}

export function namePin(pin: HTMLElement, name: string): void {
  const label = pin.querySelector<HTMLElement>('.pin-label');
  if (label) setText(label, name);
}

/** The courier: a drop whose tip points up, turned by the map; just the disc while no heading is known. */
export function courierElement(): HTMLElement {
  const svg = makeSvg(
    'svg',
    { viewBox: '0 0 48 48', width: '48', height: '48', 'aria-hidden': 'true' },
    makeSvg('path', { class: 'tip', d: 'M24 3c3.5 6.5 15 11 15 22a15 15 0 0 1-30 0C9 14 20.5 9.5 24 3z' }),
    makeSvg('circle', { class: 'disc', cx: '24', cy: '25', r: '15' }),
    makeSvg('path', { class: 'arrow', d: 'M24 16l6 14.5-6-3-6 3z' }),
  );
  return make('div', { class: 'courier', role: 'img', 'data-heading': '' }, svg);
}
