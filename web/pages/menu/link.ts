/** What a link `/menu/#store=…&item=…&item=…&token=…` says: in the fragment, which browsers keep to themselves. */
export interface MenuLink {
  readonly token: string;
  readonly store: string;
  readonly items: readonly string[];
}

export const ITEM = /^[A-Za-z0-9._-]{1,64}$/;

/** A store's own token names the store; others need it in the link. `store` is empty if neither does. */
export function readLink(fragment: string): MenuLink | undefined {
  const members = new URLSearchParams(fragment.replace(/^#/, ''));
  const token = members.get('token')?.trim();
  if (!token) return undefined;
  const store = members.get('store')?.trim() || storeOfToken(token) || '';
  const items = [...new Set(members.getAll('item'))].filter((item) => ITEM.test(item));
  return { token, store, items };
}

export function writeLink({ token, store, items }: MenuLink): string {
  const members = new URLSearchParams();
  if (store) members.set('store', store);
  for (const item of items) members.append('item', item);
  members.set('token', token);
  return `#${members}`;
}

/** Reads the claims without checking them: whether the token is good is for the server to say. */
function storeOfToken(token: string): string | undefined {
  try {
    const claims = atob((token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/'));
    const { role, sub } = JSON.parse(claims) as { role?: unknown; sub?: unknown };
    return role === 'store' && typeof sub === 'string' ? sub : undefined;
  } catch {
    return undefined;
  }
}
