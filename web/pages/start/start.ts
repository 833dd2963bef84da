import { byId, make } from '../shared/dom.js';
import { readLink, readOrders, type DemoOrder } from './orders.js';

const PHASES: Record<string, string> = {
  unassigned: 'Looking for a courier',
  assigned: 'Courier assigned',
  to_pickup: 'To the pick-up',
  at_pickup: 'At the pick-up',
  to_dropoff: 'On the way',
  arriving: 'Almost there',
  arrived: 'At the door',
  delivered: 'Delivered',
  cancelled: 'Cancelled',
  failed: 'Not delivered',
};

async function start(): Promise<void> {
  const orders = await fetchOrders();
  byId('orders').replaceChildren(...orders.map(orderItem));
  byId('demo').hidden = orders.length === 0;
  byId('plain').hidden = orders.length > 0;
  // Of a demo these doors stand open; elsewhere the pages ask for a token.
  for (const page of ['town', 'menu']) {
    const link = await fetchLink(`/demo/${page}.json`);
    if (link !== undefined) byId(page).setAttribute('href', link);
  }
}

async function fetchLink(path: string): Promise<string | undefined> {
  try {
    const response = await fetch(path, { cache: 'no-store' });
    return response.ok ? readLink(await response.json(), location.origin) : undefined;
  } catch {
    return undefined;
  }
}

async function fetchOrders(): Promise<DemoOrder[]> {
  try {
    const response = await fetch('/demo/orders.json', { cache: 'no-store' });
    return response.ok ? readOrders(await response.json(), location.origin) : [];
  } catch {
    return [];
  }
}

function orderItem(order: DemoOrder): HTMLElement {
  const phase = order.phase === undefined ? undefined : (PHASES[order.phase] ?? order.phase);
  return make('li', {}, make('a', { href: order.url }, make('strong', {}, order.title), phase !== undefined && make('span', {}, phase)));
}

void start();
