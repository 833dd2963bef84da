import { make } from '../shared/dom.js';
import { refName, resolve, type OpenApi, type Schema, type SchemaObject } from './openapi.js';
import { inline } from './prose.js';

const LIMITS: [keyword: string, text: (value: unknown) => string][] = [
  ['minimum', (value) => `≥ ${String(value)}`],
  ['exclusiveMinimum', (value) => `> ${String(value)}`],
  ['maximum', (value) => `≤ ${String(value)}`],
  ['exclusiveMaximum', (value) => `< ${String(value)}`],
  ['minLength', (value) => `at least ${String(value)} characters`],
  ['maxLength', (value) => `at most ${String(value)} characters`],
  ['minItems', (value) => `at least ${String(value)}`],
  ['maxItems', (value) => `at most ${String(value)}`],
  ['pattern', (value) => String(value)],
];

/** One line about a type: `array of Trip`, `string or null`, `integer (int64)`. */
export function typeName(api: OpenApi, schema: Schema | undefined): string {
  const name = refName(schema);
  if (name !== undefined) return name;
  if (typeof schema !== 'object') return schema === false ? 'nothing' : 'anything';
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return [...new Set(choices.map((choice) => typeName(api, choice)))].join(' or ');
  if (schema.allOf?.length === 1) return typeName(api, schema.allOf[0]);
  const types = typeof schema.type === 'string' ? [schema.type] : (schema.type ?? []);
  const named = types.map((type) => (type === 'array' && schema.items !== undefined ? `array of ${typeName(api, schema.items)}` : type));
  const text = named.join(' or ') || (schema.properties || schema.allOf ? 'object' : schema.const !== undefined ? JSON.stringify(schema.const) : 'anything');
  return schema.format === undefined ? text : `${text} (${schema.format})`;
}

/** Limits and values of a schema in words, on one line. */
export function limits(api: OpenApi, schema: Schema | undefined): string | undefined {
  const object = resolve<Schema | undefined>(api, schema);
  if (typeof object !== 'object') return undefined;
  const found = LIMITS.filter(([keyword]) => object[keyword] !== undefined).map(([keyword, text]) => text(object[keyword]));
  if (object.enum) found.unshift(`one of ${object.enum.map((value) => JSON.stringify(value)).join(', ')}`);
  if (object.default !== undefined && object.default !== null) found.push(`default ${JSON.stringify(object.default)}`);
  return found.join(' · ') || undefined;
}

export function limitsLine(api: OpenApi, schema: Schema | undefined): HTMLElement | undefined {
  const text = limits(api, schema);
  return text === undefined ? undefined : make('p', { class: 'note' }, text);
}

/** A schema as a nested list of its members. A type inside itself is named, not opened again. */
export function schemaTree(api: OpenApi, schema: Schema | undefined, above: readonly string[] = []): HTMLElement | undefined {
  const name = refName(schema);
  if (name !== undefined && above.includes(name)) return undefined;
  const path = name === undefined ? above : [...above, name];
  const object = resolve<Schema | undefined>(api, schema);
  if (typeof object !== 'object') return undefined;
  if (object.items !== undefined && !object.properties) return schemaTree(api, object.items, path);
  const choices = object.oneOf ?? object.anyOf;
  const members = membersOf(api, object, path);
  if (members.size === 0 && choices) return choiceTree(api, choices, path);
  if (members.size === 0) return undefined;
  return make('ul', { class: 'members' }, ...[...members].map(([member, { schema: inner, required }]) => memberItem(api, member, inner, required, path)));
}

type Members = Map<string, { schema: Schema; required: boolean }>;

/** With those of `allOf`, which only says the same in pieces. */
function membersOf(api: OpenApi, object: SchemaObject, above: readonly string[]): Members {
  const members: Members = new Map();
  for (const part of object.allOf ?? []) {
    const name = refName(part);
    if (name !== undefined && above.includes(name)) continue;
    const resolved = resolve<Schema>(api, part);
    if (typeof resolved !== 'object') continue;
    for (const [member, value] of membersOf(api, resolved, name === undefined ? above : [...above, name])) members.set(member, value);
  }
  for (const [member, schema] of Object.entries(object.properties ?? {})) {
    members.set(member, { schema, required: object.required?.includes(member) ?? false });
  }
  if (typeof object.additionalProperties === 'object') members.set('…', { schema: object.additionalProperties, required: false });
  return members;
}

function memberItem(api: OpenApi, name: string, schema: Schema, required: boolean, path: readonly string[]): HTMLElement {
  const resolved = resolve<Schema>(api, schema);
  const description = (typeof schema === 'object' && schema.description) || (typeof resolved === 'object' && resolved.description) || '';
  return make(
    'li',
    {},
    make('div', { class: 'member' }, make('code', { class: 'name' }, name), make('span', { class: 'type' }, typeName(api, schema)), required && make('span', { class: 'required' }, 'required')),
    description !== '' && make('p', {}, ...inline(description)),
    limitsLine(api, schema),
    schemaTree(api, schema, path),
  );
}

function choiceTree(api: OpenApi, choices: readonly Schema[], path: readonly string[]): HTMLElement | undefined {
  const items = choices.flatMap((choice) => {
    const tree = schemaTree(api, choice, path);
    return tree ? [make('li', {}, make('div', { class: 'member' }, make('span', { class: 'type' }, typeName(api, choice))), tree)] : [];
  });
  return items.length === 0 ? undefined : make('ul', { class: 'members' }, ...items);
}
