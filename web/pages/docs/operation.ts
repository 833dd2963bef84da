import { make } from '../shared/dom.js';
import type { Body, OpenApi, Operation, Parameter } from './openapi.js';
import { inline, prose } from './prose.js';
import { limitsLine, schemaTree, typeName } from './schema.js';

/** A call as a folded card: method, path and summary outside, everything else inside. */
export function operationCard(api: OpenApi, operation: Operation): HTMLDetailsElement {
  const card = make('details', { class: 'call', id: operation.id, 'data-method': operation.method });
  card.append(
    make(
      'summary',
      {},
      make('span', { class: 'method' }, operation.method.toUpperCase()),
      make('code', { class: 'path' }, ...breakable(operation.path)),
      make('span', { class: 'summary' }, operation.summary),
      operation.deprecated && make('span', { class: 'required' }, 'deprecated'),
    ),
  );
  // Hundreds of schemas need not be drawn before someone looks at one.
  card.addEventListener('toggle', () => card.childElementCount === 1 && card.append(details(api, operation)));
  return card;
}

function details(api: OpenApi, operation: Operation): HTMLElement {
  return make(
    'div',
    { class: 'inside' },
    ...prose(operation.description),
    roles(operation.roles),
    operation.parameters.length > 0 && parameters(api, operation.parameters),
    operation.body && body(api, 'Request body', operation.body),
    operation.responses.length > 0 && make('section', {}, make('h4', {}, 'Responses'), ...operation.responses.map(([status, response]) => answer(api, status, response))),
  );
}

function roles(roles: readonly string[] | undefined): HTMLElement | false {
  if (roles === undefined) return false;
  const who = roles.length === 0 ? ['anyone'] : roles;
  return make('p', { class: 'roles' }, 'For ', ...who.map((role) => make('span', { class: 'role' }, role)));
}

function parameters(api: OpenApi, list: readonly Parameter[]): HTMLElement {
  const items = list.map((parameter) =>
    make(
      'li',
      {},
      make(
        'div',
        { class: 'member' },
        make('code', { class: 'name' }, parameter.name),
        make('span', { class: 'type' }, typeName(api, parameter.schema)),
        make('span', { class: 'place' }, `in ${parameter.in}`),
        parameter.required === true && make('span', { class: 'required' }, 'required'),
      ),
      parameter.description !== undefined && make('p', {}, ...inline(parameter.description)),
      limitsLine(api, parameter.schema),
    ),
  );
  return make('section', {}, make('h4', {}, 'Parameters'), make('ul', { class: 'members' }, ...items));
}

function body(api: OpenApi, title: string, { description, content, required }: Body): HTMLElement {
  return make(
    'section',
    {},
    make('h4', {}, title, required === true && make('span', { class: 'required' }, 'required')),
    description !== undefined && make('p', {}, ...inline(description)),
    ...Object.entries(content ?? {}).flatMap(([type, media]) => mediaParts(api, type, media)),
  );
}

function answer(api: OpenApi, status: string, { description, content }: Body): HTMLElement {
  const parts = Object.entries(content ?? {}).flatMap(([type, media]) => mediaParts(api, type, media));
  const line = [make('code', { class: 'status', 'data-class': status.charAt(0) }, status), make('span', {}, ...inline(description ?? ''))];
  if (parts.length === 0) return make('div', { class: 'answer' }, ...line);
  return make('details', { class: 'answer' }, make('summary', {}, ...line), ...parts);
}

function mediaParts(api: OpenApi, type: string, media: NonNullable<Body['content']>[string]): Node[] {
  const example = media.example ?? Object.values(media.examples ?? {})[0]?.value;
  const tree = schemaTree(api, media.schema);
  return [
    make('p', { class: 'media' }, make('code', {}, type), media.schema !== undefined && ` ${typeName(api, media.schema)}`),
    ...(tree ? [tree] : []),
    ...(example === undefined ? [] : [make('pre', {}, typeof example === 'string' ? example : JSON.stringify(example, null, 2))]),
  ];
}

/** Long paths may break after a slash. */
function breakable(path: string): (Node | string)[] {
  return path.split(/(?<=\/)/).flatMap((part) => [part, document.createElement('wbr')]);
}
