import { byId, make, setText, showText } from '../shared/dom.js';
import type { PhaseText } from './texts.js';
import type { BadgeView, Step, TripView } from './view.js';

/** Writes views into the page. The only place that knows the panel's elements. */
export class Panel {
  readonly #steps = byId('steps');
  #stepsShown = '';

  show(view: TripView): void {
    const { body } = document;
    body.dataset['state'] = view.final ? 'final' : 'under-way';
    body.dataset['final'] = view.final ?? '';
    body.dataset['phase'] = view.phase;
    this.#showText(view);
    showText(byId('reference'), view.reference);
    byId('eta').hidden = view.eta === undefined;
    if (view.eta) {
      setText(byId('eta-clock'), view.eta.clock);
      setText(byId('eta-relative'), view.eta.relative);
      showText(byId('eta-interval'), view.eta.interval);
      showText(byId('eta-cause'), view.eta.cause);
    }
    showText(byId('stops'), view.stops);
    showText(byId('fix'), view.fix?.text);
    byId('fix').dataset['tone'] = view.fix?.tone ?? '';
    this.#showSteps(view.steps);
  }

  /** Nothing of the trip can be shown. */
  problem(text: PhaseText): void {
    document.body.dataset['state'] = 'problem';
    document.body.dataset['final'] = 'problem';
    this.#showText(text);
    for (const id of ['eta', 'stops', 'fix', 'steps', 'reference', 'badge']) byId(id).hidden = true;
  }

  badge(view: BadgeView | undefined, transport: string | undefined): void {
    const badge = byId('badge');
    badge.hidden = view === undefined;
    badge.dataset['status'] = view?.state ?? '';
    badge.dataset['transport'] = transport ?? '';
    setText(byId('badge-label'), view?.label ?? '');
  }

  #showText({ headline, sentence }: PhaseText): void {
    setText(byId('headline'), headline);
    showText(byId('sentence'), sentence || undefined);
    const title = `${headline} · Wayfare`;
    if (document.title !== title) document.title = title;
  }

  #showSteps(steps: readonly Step[]): void {
    this.#steps.hidden = steps.length === 0;
    const shown = JSON.stringify(steps);
    if (shown === this.#stepsShown) return;
    this.#stepsShown = shown;
    this.#steps.replaceChildren(
      ...steps.map(({ label, state }) =>
        make('li', { 'data-state': state, 'aria-current': state === 'current' ? 'step' : undefined }, make('span', {}, label), state === 'done' && make('span', { class: 'visually-hidden' }, ', done')),
      ),
    );
  }
}
