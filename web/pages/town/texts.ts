import { age, duration, type DriverState, type Outage } from '@wayfare/client';
import type { Courier } from './townsfolk.js';

/** Fixes come every half a minute from those who wait; who is older than two of them may be anywhere. */
export const OLD_MS = 90_000;

export const STATUS: Record<string, string> = { available: 'Free', busy: 'Busy', finishing: 'Finishing' };

export function isOld(courier: Courier, now_ms: number): boolean {
  return now_ms - courier.t_ms > OLD_MS;
}

export function speedText(courier: Courier): string {
  if (courier.standing) return 'standing';
  return `${Math.round((courier.speed_mps ?? 0) * 3.6)} km/h`;
}

const OUTAGES: Record<Outage['reason'], string> = {
  location_off: 'location is switched off',
  permission: 'the app may not see the location',
  airplane: 'airplane mode',
  app_gone: 'the app was ended',
  battery: 'battery empty',
  stopped: 'the driver stopped sending',
  other: 'the phone says so',
};

/** Why nothing comes, or since when; `undefined` while all is well. */
export function outageText({ outage, silent_since_ms }: DriverState, now_ms: number): string | undefined {
  if (outage) return `${OUTAGES[outage.reason] ?? OUTAGES.other}, for ${duration(now_ms - outage.since_ms)}`;
  return silent_since_ms === undefined ? undefined : `silent for ${duration(now_ms - silent_since_ms)}, nobody said why`;
}

export function batteryText({ phone }: DriverState): string | undefined {
  if (phone?.battery_pct === undefined) return undefined;
  return `${phone.battery_pct} %${phone.charging ? ', charging' : ''}`;
}

export function ageText(courier: Courier, now_ms: number): string {
  return age(courier.t_ms, now_ms);
}

export function vehicleText(courier: Courier): string {
  const vehicle = String(courier.vehicle);
  return vehicle === 'foot' ? 'On foot' : vehicle.charAt(0).toUpperCase() + vehicle.slice(1);
}

/** What is in view, in one sentence. */
export function summaryText(shows: 'couriers' | 'numbers', couriers: readonly Courier[], total: number): string {
  if (shows === 'numbers') return total === 0 ? 'No courier in view.' : `${total} ${plural(total)} in view. Come closer to see each.`;
  if (couriers.length === 0) return 'No courier in view.';
  const count = (status: string) => couriers.filter((courier) => courier.status === status).length;
  const parts = [
    [count('available'), 'free'],
    [count('busy'), 'busy'],
    [count('finishing'), 'finishing'],
  ] as const;
  const told = parts.filter(([number]) => number > 0).map(([number, word]) => `${number} ${word}`);
  return `${couriers.length} ${plural(couriers.length)} in view: ${told.join(', ')}.`;
}

function plural(number: number): string {
  return number === 1 ? 'courier' : 'couriers';
}
