// Picks orders of the demo by their phase, as the page itself will show it.
import { eventually } from './watching.mjs';

export const BEFORE_PICKUP = ['to_pickup', 'assigned', 'at_pickup', 'unassigned'];
export const UNDER_WAY = ['to_dropoff', 'arriving'];

export async function orderIn(origin, phases, within_ms = 120_000) {
  return eventually(
    `an order in ${phases.join(', ')}`,
    async () => {
      const response = await fetch(`${origin}/demo/orders.json`);
      if (!response.ok) throw new Error(`/demo/orders.json answered ${response.status}`);
      const orders = await response.json();
      // In the order of the phases: the first named is liked best.
      return phases.flatMap((phase) => orders.filter((order) => order.phase === phase))[0];
    },
    within_ms,
  );
}
