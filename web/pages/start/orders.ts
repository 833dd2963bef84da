export interface DemoOrder {
  title: string;
  url: string;
  phase?: string;
}

/** What `/demo/orders.json` lists; entries that are no orders, or lead away from this server, are left out. */
export function readOrders(json: unknown, origin: string): DemoOrder[] {
  if (!Array.isArray(json)) return [];
  return json.flatMap((entry: unknown) => {
    const { title, url, phase } = (entry ?? {}) as Record<string, unknown>;
    if (typeof title !== 'string' || typeof url !== 'string' || !URL.canParse(url, origin)) return [];
    const target = new URL(url, origin);
    if (target.origin !== origin) return [];
    return [{ title, url: target.href, ...(typeof phase === 'string' && { phase }) }];
  });
}

/** The link of `/demo/town.json` or `/demo/menu.json`, unless it leads away from this server. */
export function readLink(json: unknown, origin: string): string | undefined {
  const { url } = (json ?? {}) as Record<string, unknown>;
  if (typeof url !== 'string' || !URL.canParse(url, origin)) return undefined;
  const target = new URL(url, origin);
  return target.origin === origin ? target.href : undefined;
}
