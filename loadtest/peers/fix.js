// What each relay asks of a fix before it passes it on: the ranges our own door asks of it.

const within = (number, least, most) => typeof number === "number" && number >= least && number <= most;

export const isFix = (fix) =>
  within(fix.lat, -90, 90) &&
  within(fix.lon, -180, 180) &&
  Number.isSafeInteger(fix.t_ms) &&
  within(fix.accuracy_m, 0, 1e6) &&
  within(fix.speed_mps, 0, 1e3) &&
  within(fix.heading_deg, 0, 360);
