// The server's side of crates/wire/proto/watch.proto, for the mock: what the product does in Rust, once more and plainly.

function varint(number) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(number));
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) + 128);
    rest >>= 7n;
  }
  return [...bytes, Number(rest)];
}

const zigzag = (number) => (BigInt(number) << 1n) ^ (BigInt(number) >> 63n);
const num = (field, number) => [...varint(field * 8), ...varint(number)];
const block = (field, bytes) => [...varint(field * 8 + 2), ...varint(bytes.length), ...bytes];
const text = (field, value) => block(field, [...Buffer.from(String(value))]);
const maybe = (field, value, write) => (value === undefined || value === null ? [] : write(field, value));

function cursor(field, value) {
  const [epoch, seq] = value.split('.').map(Number);
  return block(field, [...num(1, epoch), ...num(2, seq)]);
}

function object(members) {
  return Object.entries(members).flatMap(([name, value]) =>
    block(1, [...text(1, name), ...(value === null ? [] : block(2, valueOf(value, name)))]),
  );
}

function valueOf(value, name) {
  if (typeof value === 'boolean') return num(1, value ? 1 : 0);
  if (typeof value === 'string') return text(5, value);
  if (Array.isArray(value)) return block(6, value.flatMap((each) => block(1, each === null ? [] : valueOf(each))));
  if (typeof value === 'object') {
    if (name === 'position' && isPosition(value)) return block(8, position(value));
    return block(7, object(value));
  }
  if (Number.isSafeInteger(value)) return num(2, zigzag(value));
  for (let places = 1; places <= 7; places += 1) {
    const mantissa = Math.round(value * 10 ** places);
    if (mantissa / 10 ** places === value && Number.isSafeInteger(mantissa)) return block(3, [...num(1, zigzag(mantissa)), ...num(2, places)]);
  }
  const double = Buffer.alloc(8);
  double.writeDoubleLE(value);
  return [...varint(4 * 8 + 1), ...double];
}

const MEMBERS = ['lat', 'lon', 'speed_mps', 'accuracy_m', 't_ms'];
const isPosition = (value) => Object.keys(value).length === 6 && 'heading_deg' in value && MEMBERS.every((name) => typeof value[name] === 'number');

const fixed = ({ lat, lon, heading_deg, speed_mps, accuracy_m, t_ms }) => ({
  lat: Math.round(lat * 1e6), lon: Math.round(lon * 1e6), heading: heading_deg, speed: Math.round(speed_mps * 10), accuracy: accuracy_m, t_ms,
});

function position(value) {
  const { lat, lon, heading, speed, accuracy, t_ms } = fixed(value);
  return [...num(1, zigzag(lat)), ...num(2, zigzag(lon)), ...maybe(3, heading, num), ...num(4, speed), ...num(5, accuracy), ...num(6, t_ms)];
}

/** A delta as a move, if it is one. `before`: the position held before. */
function move({ alias, seq, patch }, before) {
  const next = patch.position;
  if (Object.keys(patch).length !== 1 || !next || !before || !isPosition(next) || !isPosition(before)) return undefined;
  const [a, b] = [fixed(before), fixed(next)];
  const later = b.t_ms - a.t_ms;
  if (later < 0 || (a.heading === null) !== (b.heading === null)) return undefined;
  const turn = ((((b.heading ?? 0) - (a.heading ?? 0) + 180) % 360) + 360) % 360 - 180;
  const turned = turn !== 0 || a.speed !== b.speed;
  const wider = a.accuracy !== b.accuracy;
  const numbers = [
    alias, (seq % 32) * 4 + (turned ? 1 : 0) + (wider ? 2 : 0), later % 1000 === 0 ? later / 500 : later * 2 + 1, zigzag(b.lat - a.lat), zigzag(b.lon - a.lon),
    ...(turned ? [zigzag(turn), zigzag(b.speed - a.speed)] : []),
    ...(wider ? [zigzag(b.accuracy - a.accuracy)] : []),
  ];
  return block(2, numbers.flatMap(varint));
}

const FRAMES = {
  welcome: [1, (m) => [...num(1, m.version), ...num(2, m.heartbeat_ms), ...num(3, m.max_topics), ...num(4, m.expires_at_ms)]],
  subscribed: [2, (m) => [...text(1, m.topic), ...num(2, m.alias), ...cursor(3, m.cursor)]],
  snapshot: [3, (m) => [...num(1, m.alias), ...cursor(2, m.cursor), ...block(3, object(m.state))]],
  delta: [4, (m) => [...num(1, m.alias), ...num(2, m.seq), ...block(3, object(m.patch))]],
  event: [5, (m) => [...num(1, m.alias), ...cursor(2, m.cursor), ...block(3, valueOf(m.event))]],
  reset: [6, (m) => [...num(1, m.alias), ...cursor(2, m.cursor)]],
  stale: [7, (m) => num(1, m.alias)],
  end: [8, (m) => [...num(1, m.alias), ...block(2, object(m.state))]],
  unsubscribed: [9, (m) => text(1, m.topic)],
  error: [10, (m) => [...text(1, m.code), ...text(2, m.message), ...num(3, m.retry ? 1 : 0), ...maybe(4, m.retry_after_ms, num), ...maybe(5, m.field, text), ...maybe(6, m.topic, text)]],
  heartbeat: [11, () => []],
  pong: [12, () => []],
  bye: [13, (m) => [...num(1, m.code), ...text(2, m.reason), ...maybe(3, m.retry_after_ms, num)]],
};

/** A message of the server as bytes. */
export function encode(message, before) {
  const moved = message.type === 'delta' ? move(message, before) : undefined;
  if (moved) return Buffer.from(moved);
  const [field, write] = FRAMES[message.type];
  return Buffer.from(block(1, block(field, write(message))));
}

/** A message of a client, read. */
export function decode(bytes) {
  const [[kind, body]] = fields(bytes);
  if (kind === 1) return { type: 'auth', token: String(fields(body)[0]?.[1] ?? '') };
  if (kind === 2) return { type: 'subscribe', topics: fields(body).map(([, wanted]) => subscription(wanted)) };
  if (kind === 3) return { type: 'unsubscribe', topics: fields(body).map(([, topic]) => String(topic)) };
  return { type: 'ping' };
}

function subscription(bytes) {
  const wanted = /** @type {any} */ ({});
  for (const [field, value] of fields(bytes)) {
    if (field === 1) wanted.topic = String(value);
    if (field === 2) wanted.cursor = String(value);
    if (field === 3) wanted.interval_ms = Number(value);
  }
  return wanted;
}

/** @returns {[number, any][]} */
function fields(bytes) {
  const found = /** @type {[number, any][]} */ ([]);
  let at = 0;
  const next = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = next();
    if ((key & 7) === 0) {
      found.push([key >> 3, next()]);
      continue;
    }
    const length = next();
    found.push([key >> 3, Buffer.from(bytes.subarray(at, at + length))]);
    at += length;
  }
  return found;
}
