import { age, duration, type Phase, type Status, type TripState } from '@wayfare/client';
import { causeText, namesOf, phaseText, silenceText, STEP_OF_PHASE, STEPS } from './texts.js';

/** What the panel shows at one moment: texts only, so that it can be tested without a browser. */
export interface TripView {
  readonly phase: string;
  readonly headline: string;
  readonly sentence: string;
  readonly steps: readonly Step[];
  readonly eta: EtaView | undefined;
  readonly stops: string | undefined;
  readonly fix: FixView | undefined;
  readonly reference: string | undefined;
  readonly final: 'delivered' | 'cancelled' | 'failed' | undefined;
}

export interface Step {
  readonly label: string;
  readonly state: 'done' | 'current' | 'ahead';
}

export interface EtaView {
  readonly clock: string;
  readonly relative: string;
  readonly interval: string | undefined;
  /** Why it moved by much since it was told before. */
  readonly cause: string | undefined;
  readonly at_ms: number;
}

export interface FixView {
  readonly text: string;
  readonly tone: 'fresh' | 'old' | 'silent';
}

/** A courier that stands is heard of every 10 s; well beyond that a position deserves a doubt. */
const OLD_FIX_MS = 30_000;
const LATE_MS = 3 * 60_000;

export type ClockFormat = (at_ms: number) => string;

/** Hours and minutes as the reader writes them. */
export function clockFormat(locale?: string, timeZone?: string): ClockFormat {
  const { hour12 } = new Intl.DateTimeFormat(locale, { hour: 'numeric' }).resolvedOptions();
  // "6:42 PM", but "06:42".
  const format = new Intl.DateTimeFormat(locale, { hour: hour12 ? 'numeric' : '2-digit', minute: '2-digit', timeZone });
  return (at_ms) => format.format(at_ms);
}

/** `moved_ms`: by how much the arrival moved when it was last told, above 0 if later. */
export function tripView(trip: TripState, now_ms: number, clock: ClockFormat, moved_ms?: number): TripView {
  const final = finalOf(trip.phase);
  const text = phaseText(trip.phase, namesOf(trip));
  const overSince = final === 'delivered' && trip.phase_since_ms !== undefined ? ` at ${clock(trip.phase_since_ms)}` : '';
  return {
    phase: trip.phase ?? '',
    headline: text.headline + overSince,
    sentence: text.sentence,
    steps: final ? [] : steps(trip.phase),
    eta: final || trip.phase === 'arrived' ? undefined : etaView(trip, now_ms, clock, moved_ms),
    stops: final ? undefined : stopsText(trip),
    fix: final ? undefined : fixView(trip, now_ms),
    reference: trip.reference ? `Order ${trip.reference}` : undefined,
    final,
  };
}

export function finalOf(phase: Phase | undefined): TripView['final'] {
  return phase === 'delivered' || phase === 'cancelled' || phase === 'failed' ? phase : undefined;
}

function steps(phase: Phase | undefined): Step[] {
  const current = phase === undefined ? -1 : (STEP_OF_PHASE[phase] ?? -1);
  return STEPS.map((label, place) => ({ label, state: place < current ? 'done' : place === current ? 'current' : 'ahead' }));
}

function etaView({ eta, phase }: TripState, now_ms: number, clock: ClockFormat, moved_ms: number | undefined): EtaView | undefined {
  if (!eta) return undefined;
  const { at_ms, low_ms, high_ms } = eta;
  const low = low_ms === undefined ? undefined : clock(low_ms);
  const high = high_ms === undefined ? undefined : clock(high_ms);
  return {
    at_ms,
    clock: clock(at_ms),
    relative: relative(at_ms - now_ms),
    interval: low === undefined || high === undefined || low === high ? undefined : `between ${low} and ${high}`,
    cause: causeText(eta.cause, phase, moved_ms),
  };
}

function relative(left_ms: number): string {
  if (left_ms < -LATE_MS) return 'later than expected';
  if (left_ms < 45_000) return 'any moment now';
  const minutes = Math.max(1, Math.round(left_ms / 60_000));
  return minutes < 60 ? `in ${minutes} min` : `in ${duration(minutes * 60_000)}`;
}

function stopsText({ stops_left, phase }: TripState): string | undefined {
  const before = stops_left ?? 0;
  // Until pick-up the count has the pick-up itself in it, which is no detour; at the door nobody counts any more.
  if (before < 1 || phase !== 'to_dropoff') return undefined;
  return before === 1 ? '1 stop before you' : `${before} stops before you`;
}

function fixView({ position, silent_since_ms, silent_reason }: TripState, now_ms: number): FixView | undefined {
  if (silent_since_ms !== undefined) {
    return { text: silenceText(silent_reason, duration(now_ms - silent_since_ms)), tone: 'silent' };
  }
  if (!position) return undefined;
  return { text: `position ${age(position.t_ms, now_ms)}`, tone: now_ms - position.t_ms > OLD_FIX_MS ? 'old' : 'fresh' };
}

export interface BadgeView {
  readonly state: 'live' | 'polling' | 'reconnecting' | 'off';
  readonly label: string;
}

export function badgeView(status: Status): BadgeView | undefined {
  switch (status.connection) {
    case 'idle':
      return undefined;
    case 'live':
      return { state: 'live', label: 'Live' };
    case 'polling':
      return { state: 'polling', label: 'Every few seconds' };
    case 'stopped':
      return { state: 'off', label: 'Not connected' };
    case 'connecting':
      return { state: 'reconnecting', label: 'Connecting' };
    case 'reconnecting':
      return { state: 'reconnecting', label: 'Reconnecting' };
  }
}
