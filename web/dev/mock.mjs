// A development aid: serves web/dist with simulated couriers that speak the watch protocol, so that the pages can be
// looked at without the real server. `npm run build && npm run dev`, then open http://127.0.0.1:8787/.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { MockCourier } from './courier.mjs';
import { serveFile } from './static-files.mjs';
import { crossing, route, streets } from './town.mjs';
import { WatchServer } from './watch-server.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const MINUTE_MS = 60_000;

const OVER = ['delivered', 'cancelled', 'failed'];

const ORDERS = [
  { name: 'Trattoria da Rosa', courier: 'Nina', vehicle: 'bicycle', phase: 'to_dropoff', from: [3, 4], to: [14, 13], share: 0.25, stops_left: 1 },
  { name: 'Trattoria da Rosa', courier: 'Nina', vehicle: 'bicycle', phase: 'to_pickup', from: [3, 4], to: [14, 13], stops_left: 1 },
  { name: 'Bäckerei Morgenrot & Söhne, Filiale am Marktplatz', courier: 'Jean-Baptiste', vehicle: 'motorbike', phase: 'arriving', from: [4, 12], to: [12, 9], share: 0.7, stops_left: 0 },
  { name: 'Noodle House', courier: 'Ade', vehicle: 'car', phase: 'to_dropoff', from: [16, 14], to: [5, 3], share: 0.1, stops_left: 3, silent: true },
  { name: 'Noodle House', courier: 'Ade', vehicle: 'car', phase: 'unassigned', from: [16, 14], to: [5, 3], stops_left: 0 },
  { name: 'Green Bowl', courier: 'Mira', vehicle: 'foot', phase: 'delivered', from: [8, 9], to: [10, 12], stops_left: 0 },
  { name: 'Green Bowl', courier: 'Mira', vehicle: 'foot', phase: 'cancelled', from: [8, 9], to: [10, 12], stops_left: 0 },
  { name: 'Green Bowl', courier: 'Mira', vehicle: 'foot', phase: 'failed', from: [8, 9], to: [10, 12], stops_left: 0 },
];

/** @returns {Promise<{ url: string, server: WatchServer, close(): Promise<unknown> }>} */
export async function startMock({ port = 0, host = '127.0.0.1' } = {}) {
  const dist = here('../dist');
  const couriers = [];
  const list = [];
  const server = new WatchServer(async (request, response, { pathname }) => {
    const json = (body) => response.writeHead(200, { 'content-type': 'application/json' }).end(typeof body === 'string' ? body : JSON.stringify(body));
    if (pathname === '/v1/streets') json(streets());
    else if (pathname === '/v1/web-config') json({ basemap_style_url: null, attribution: 'A made-up town' });
    else if (pathname === '/demo/orders.json') json(list);
    else if (pathname === '/openapi.json') json(await readFile(here('./openapi.json'), 'utf8'));
    else await serveFile(dist, pathname, response);
  });
  server.checkToken = (token) => token.startsWith('mock-');
  ORDERS.forEach((order, number) => {
    const trip = `trp_mock${number}`;
    const topic = `trip:${trip}`;
    list.push({ title: `Order ${17 + number}: ${order.name}`, trip, phase: order.phase, url: `/track/#trip=${trip}&token=mock-${number}` });
    server.createState(topic, firstState(order, number));
    if (OVER.includes(order.phase)) return server.end(topic, server.topics.get(topic).state);
    if (order.share === undefined) return;
    const courier = new MockCourier(server, topic, route(order.from, order.to));
    courier.start(order.share);
    if (order.silent) courier.stop();
    couriers.push(courier);
  });
  const url = await server.listen(port, host);
  return {
    url,
    server,
    close: () => {
      for (const courier of couriers) courier.stop();
      return server.close();
    },
  };
}

function firstState(order, number) {
  const now_ms = Date.now();
  const place = ([column, row], name) => ({ lat: crossing(column, row)[1], lon: crossing(column, row)[0], name });
  const at_ms = Math.floor((now_ms + 19 * MINUTE_MS) / 1000) * 1000;
  const under_way = order.phase !== 'unassigned' && !OVER.includes(order.phase);
  return {
    phase: order.phase,
    phase_since_ms: now_ms - 4 * MINUTE_MS,
    position: null,
    eta: under_way ? { at_ms, low_ms: at_ms - 4 * MINUTE_MS, high_ms: at_ms + 6 * MINUTE_MS, pickup_at_ms: at_ms - 11 * MINUTE_MS, distance_m: 2100, basis: 'straight_line' } : null,
    stops_left: order.stops_left,
    ...(order.silent && { silent_since_ms: now_ms - 2 * MINUTE_MS }),
    pickup: place(order.from, order.name),
    dropoff: place(order.to, 'Rua do Almada 12'),
    ...(order.phase !== 'unassigned' && { driver: { name: order.courier, vehicle: order.vehicle } }),
    reference: `A-${1042 + number}`,
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await startMock({ port: Number(process.env.PORT ?? 8787) });
  console.log(`${url}/`);
}
