import { byId, make, setText } from '../shared/dom.js';
import { groupsOf, matches, type Group, type OpenApi, type Operation } from './openapi.js';
import { operationCard } from './operation.js';
import { prose } from './prose.js';

interface Shown {
  readonly operation: Operation;
  readonly card: HTMLDetailsElement;
  readonly entry: HTMLElement;
}

async function start(): Promise<void> {
  try {
    const response = await fetch('/openapi.json');
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    show((await response.json()) as OpenApi);
  } catch (cause) {
    setText(byId('count'), `The description of the API could not be loaded: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

function show(api: OpenApi): void {
  const title = api.info?.title ?? 'API reference';
  setText(byId('title'), api.info?.version === undefined ? title : `${title} · v${api.info.version.replace(/^v/, '')}`);
  byId('about').append(...prose(api.info?.description ?? ''));
  const shown = groupsOf(api).map((group) => groupSection(api, group));
  byId('groups').append(...shown.map(({ section }) => section));
  byId('contents').append(...shown.map(({ contents }) => contents));

  const search = byId<HTMLInputElement>('search');
  search.addEventListener('input', () => filter(search.value.trim()));
  addEventListener('hashchange', openLinked);
  filter('');
  openLinked();

  function filter(query: string): void {
    let count = 0;
    for (const { section, contents, calls } of shown) {
      const visible = calls.filter(({ operation, card, entry }) => {
        const hit = matches(operation, query);
        card.hidden = entry.hidden = !hit;
        return hit;
      });
      section.hidden = contents.hidden = visible.length === 0;
      count += visible.length;
    }
    setText(byId('count'), count === 0 ? `Nothing matches “${query}”.` : `${count} ${count === 1 ? 'call' : 'calls'}`);
  }
}

function groupSection(api: OpenApi, group: Group): { section: HTMLElement; contents: HTMLElement; calls: Shown[] } {
  const calls = group.operations.map((operation): Shown => ({
    operation,
    card: operationCard(api, operation),
    entry: make(
      'li',
      {},
      make('a', { href: `#${operation.id}`, 'data-method': operation.method }, make('span', { class: 'method' }, operation.method.toUpperCase()), make('span', {}, operation.summary || operation.path)),
    ),
  }));
  return {
    section: make('section', { class: 'group' }, make('h2', {}, group.name), ...prose(group.description), ...calls.map(({ card }) => card)),
    contents: make('section', {}, make('h3', {}, group.name), make('ul', {}, ...calls.map(({ entry }) => entry))),
    calls,
  };
}

/** A link to a call opens it. */
function openLinked(): void {
  const card = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!(card instanceof HTMLDetailsElement)) return;
  card.open = true;
  card.scrollIntoView();
  card.querySelector('summary')?.focus({ preventScroll: true });
}

void start();
