import type { Eta, Phase, TripState } from '@wayfare/client';

/** Every sentence about a phase in one place, for whoever translates them. */
export interface PhaseText {
  readonly headline: string;
  readonly sentence: string;
}

export interface Names {
  readonly courier: string;
  readonly pickup: string;
  readonly dropoff: string | undefined;
}

export function namesOf(trip: TripState): Names {
  return {
    courier: trip.driver?.name || 'Your courier',
    pickup: trip.pickup?.name || 'the pick-up',
    dropoff: trip.dropoff?.name || undefined,
  };
}

export const STEPS = ['Courier', 'To pick‑up', 'Pick‑up', 'On the way', 'At the door'] as const;

/** Index into `STEPS` of the one a phase is in. */
export const STEP_OF_PHASE: Partial<Record<Phase, number>> = {
  unassigned: 0,
  assigned: 0,
  to_pickup: 1,
  at_pickup: 2,
  to_dropoff: 3,
  arriving: 3,
  arrived: 4,
};

export function phaseText(phase: Phase | undefined, { courier, pickup, dropoff }: Names): PhaseText {
  switch (phase) {
    case 'unassigned':
      return { headline: 'Looking for a courier', sentence: `Your order from ${pickup} is waiting for a free courier.` };
    case 'assigned':
      return {
        headline: `${courier} will bring your order`,
        sentence: `${courier} will set off to ${pickup} soon. The position is shown from pick-up on.`,
      };
    case 'to_pickup':
      return {
        headline: `${courier} is on the way to ${pickup}`,
        sentence: 'The position is shown on the map from pick-up on.',
      };
    case 'at_pickup':
      return { headline: `${courier} is at ${pickup}`, sentence: 'Your order is being picked up.' };
    case 'to_dropoff':
      return { headline: `${courier} is on the way to you`, sentence: `Your order from ${pickup} was picked up.` };
    case 'arriving':
      return { headline: `${courier} is almost there`, sentence: 'Your order will be with you in a moment.' };
    case 'arrived':
      return { headline: `${courier} is at your door`, sentence: dropoff === undefined ? 'Your order is here.' : `Your order is at ${dropoff}.` };
    case 'delivered':
      return { headline: 'Delivered', sentence: `Your order from ${pickup} has arrived. Enjoy!` };
    case 'cancelled':
      return { headline: 'This order was cancelled', sentence: `Nothing is on its way to you. Questions? ${pickupOrShop(pickup)} can help.` };
    case 'failed':
      return {
        headline: 'This order could not be delivered',
        sentence: `We are sorry. Please get in touch with ${pickup === 'the pick-up' ? 'the shop' : pickup}.`,
      };
    default:
      return { headline: 'Your delivery', sentence: '' };
  }
}

/** Why the arrival moved by much. `moved_ms` is above 0 if it is later, unknown to who just opened the page. */
export function causeText(cause: Eta['cause'], phase: Phase | undefined, moved_ms: number | undefined): string | undefined {
  switch (cause) {
    case 'traffic':
      if (moved_ms === undefined) return 'Traffic is not as expected';
      return moved_ms > 0 ? 'Traffic is slower than usual' : 'Traffic is lighter than expected';
    case 'detour':
      return 'The courier is taking another way';
    case 'waiting':
      return phase === 'assigned' || phase === 'to_pickup' || phase === 'at_pickup' ? 'Waiting at the restaurant' : 'Waiting';
    default:
      return undefined;
  }
}

/** What to say of a courier of whom nothing is heard, `since` being how long. */
export function silenceText(reason: TripState['silent_reason'], since: string): string {
  switch (reason) {
    case 'offline':
      return `the courier's phone has been offline for ${since}`;
    case 'paused':
      return `the courier's position has not been shared for ${since}`;
    default:
      return `no signal from the courier for ${since}`;
  }
}

/** Why nothing can be shown, by the code of the error. */
export function problemText(code: string, message: string): PhaseText {
  if (code === 'client_no_link') {
    return { headline: 'This link is incomplete', sentence: 'Please open the whole link from the message you were sent.' };
  }
  if (code === 'not_found') {
    return { headline: 'Nothing to show here', sentence: 'This delivery does not exist, or was over some time ago.' };
  }
  if (code === 'unauthorized' || /^close_41/.test(code)) {
    return { headline: 'This link has expired', sentence: 'Links to a delivery are valid for a limited time.' };
  }
  if (code === 'forbidden' || /^close_42/.test(code)) {
    return { headline: 'This link was withdrawn', sentence: 'Whoever sent it to you can send you a new one.' };
  }
  return { headline: 'Something went wrong', sentence: message };
}

function pickupOrShop(pickup: string): string {
  return pickup === 'the pick-up' ? 'The shop' : pickup;
}
