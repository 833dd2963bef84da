import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { groupsOf, matches, operationsOf, type OpenApi } from '../pages/docs/openapi.js';
import { limits, typeName } from '../pages/docs/schema.js';
import { readOrders } from '../pages/start/orders.js';

const api = JSON.parse(readFileSync(new URL('../dev/openapi.json', import.meta.url), 'utf8')) as OpenApi;
const find = (summary: string) => operationsOf(api).find((operation) => operation.summary === summary)!;

it('groups calls by tag, in the order of the description', () => {
  expect(groupsOf(api).map(({ name, operations }) => [name, operations.length])).toEqual([
    ['Trips', 4],
    ['Drivers', 1],
    ['Other', 1],
  ]);
});

it('takes what a path says for all its calls', () => {
  expect(find('Read a trip').parameters.map(({ name }) => name)).toEqual(['id']);
});

it('finds roles wherever they are told', () => {
  expect(find('Create a trip').roles).toEqual(['admin', 'service']);
  expect(find('List trips').roles).toEqual(['support', 'admin', 'service']);
  expect(find('Whether the process lives').roles).toEqual([]);
  expect(find('Read a trip').roles).toBeUndefined();
});

it('searches by every word', () => {
  expect(operationsOf(api).filter((operation) => matches(operation, 'trip post')).map(({ summary }) => summary)).toEqual(['Create a trip']);
  expect(operationsOf(api).filter((operation) => matches(operation, 'driver')).map(({ summary }) => summary)).toEqual(['Send fixes']);
  expect(operationsOf(api).every((operation) => matches(operation, ''))).toBe(true);
});

it('names types and limits', () => {
  expect(typeName(api, { type: 'array', items: { $ref: '#/components/schemas/Trip' } })).toBe('array of Trip');
  expect(typeName(api, { type: ['string', 'null'] })).toBe('string or null');
  expect(typeName(api, { anyOf: [{ $ref: '#/x/Place' }, { type: 'null' }] })).toBe('Place or null');
  expect(typeName(api, { type: 'integer', format: 'int64' })).toBe('integer (int64)');
  expect(limits(api, { minimum: 1, maximum: 9, default: 3 })).toBe('≥ 1 · ≤ 9 · default 3');
  expect(limits(api, { $ref: '#/components/schemas/Phase' })).toContain('"delivered"');
});

it('lists orders of this server only', () => {
  const origin = 'https://here.example';
  expect(readOrders([{ title: 'A', url: '/track/#trip=t&token=x', phase: 'arriving', trip: 't' }], origin)).toEqual([
    { title: 'A', url: 'https://here.example/track/#trip=t&token=x', phase: 'arriving' },
  ]);
  expect(readOrders([{ title: 'B', url: 'https://elsewhere.example/' }, { title: 'C', url: 'javascript:alert(1)' }, { url: '/x' }, null, 3], origin)).toEqual([]);
  expect(readOrders({}, origin)).toEqual([]);
});
