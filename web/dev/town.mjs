// A made-up town on a river: streets in a bent grid, blocks, parks, two bridges. For the development mock only.

const ORIGIN = { lat: 41.1496, lon: -8.6109 };
const STEP_LAT = 0.00135;
const STEP_LON = 0.0018;
const COLUMNS = 19;
const ROWS = 17;
/** Rows between which the river runs. */
const RIVER_ROW = 6;
const BRIDGES = [5, 13];

/** A crossing, as [lon, lat]. Bent a little, so that it looks grown rather than drawn. */
export function crossing(column, row) {
  const bend = Math.sin(column * 0.55) * 0.35 + Math.sin(row * 0.8 + column * 0.2) * 0.22;
  const lean = Math.cos(row * 0.5) * 0.4 + Math.sin(column * 0.9 + row) * 0.12;
  return [
    round(ORIGIN.lon + (column - COLUMNS / 2 + lean) * STEP_LON),
    round(ORIGIN.lat + (row - ROWS / 2 + bend) * STEP_LAT + (row > RIVER_ROW ? STEP_LAT * 1.3 : 0)),
  ];
}

export function streets() {
  const features = [];
  const add = (kind, geometry) => features.push({ type: 'Feature', properties: { kind }, geometry });
  for (let column = 0; column < COLUMNS; column += 1) {
    for (let row = 0; row < ROWS; row += 1) {
      if (row !== RIVER_ROW && column < COLUMNS - 1 && row < ROWS - 1) add(isPark(column, row) ? 'park' : 'block', polygon(column, row));
    }
  }
  add('water', river());
  for (let row = 0; row < ROWS; row += 1) add(row % 5 === 2 ? 'main' : 'street', line(range(COLUMNS).map((column) => crossing(column, row))));
  for (let column = 0; column < COLUMNS; column += 1) {
    const kind = BRIDGES.includes(column) ? 'main' : 'street';
    add(kind, line(range(RIVER_ROW + 1).map((row) => crossing(column, row))));
    add(kind, line(range(ROWS - RIVER_ROW - 1).map((row) => crossing(column, row + RIVER_ROW + 1))));
    if (BRIDGES.includes(column)) add('bridge', line([crossing(column, RIVER_ROW), crossing(column, RIVER_ROW + 1)]));
  }
  return { type: 'FeatureCollection', attribution: 'A made-up town', features };
}

/** Along the streets from one crossing to another: rows first on the near side, over a bridge if need be. */
export function route([fromColumn, fromRow], [toColumn, toRow]) {
  const points = [];
  let [column, row] = [fromColumn, fromRow];
  const walkColumn = (target) => {
    while (column !== target) points.push(crossing((column += Math.sign(target - column)), row));
  };
  const walkRow = (target) => {
    while (row !== target) points.push(crossing(column, (row += Math.sign(target - row))));
  };
  points.push(crossing(column, row));
  const crosses = row > RIVER_ROW !== toRow > RIVER_ROW;
  if (crosses) walkColumn(BRIDGES.reduce((best, bridge) => (Math.abs(bridge - column) < Math.abs(best - column) ? bridge : best)));
  walkRow(toRow);
  walkColumn(toColumn);
  return points;
}

function isPark(column, row) {
  return (column >= 8 && column <= 10 && (row === 10 || row === 11)) || (column === 2 && row === 3) || (column === 15 && row >= 13);
}

function polygon(column, row) {
  const corners = [crossing(column, row), crossing(column + 1, row), crossing(column + 1, row + 1), crossing(column, row + 1)];
  return { type: 'Polygon', coordinates: [[...corners, corners[0]]] };
}

function river() {
  const south = range(COLUMNS + 8).map((at) => shift(crossing(at - 4, RIVER_ROW), 0.0009));
  const north = range(COLUMNS + 8).map((at) => shift(crossing(at - 4, RIVER_ROW + 1), -0.0009)).reverse();
  return { type: 'Polygon', coordinates: [[...south, ...north, south[0]]] };
}

function shift([lon, lat], by) {
  return [lon, round(lat + by)];
}

function line(coordinates) {
  return { type: 'LineString', coordinates };
}

function range(length) {
  return Array.from({ length }, (_, at) => at);
}

function round(degrees) {
  return Math.round(degrees * 1e6) / 1e6;
}
