/** As much of OpenAPI 3.1 as is shown. Everything is optional: a gap in the description is no reason to show nothing. */
export interface OpenApi {
  info?: { title?: string; version?: string; description?: string };
  tags?: { name: string; description?: string }[];
  paths?: Record<string, PathItem>;
  security?: Record<string, string[]>[];
  components?: Record<string, Record<string, unknown>>;
}

export type PathItem = { parameters?: Parameter[] } & Partial<Record<Method, RawOperation>>;

export const METHODS = ['get', 'post', 'put', 'patch', 'delete', 'head', 'options'] as const;
export type Method = (typeof METHODS)[number];

interface RawOperation {
  tags?: string[];
  operationId?: string;
  summary?: string;
  description?: string;
  deprecated?: boolean;
  parameters?: Parameter[];
  requestBody?: Body;
  responses?: Record<string, Body>;
  security?: Record<string, string[]>[];
  'x-roles'?: string[];
}

export interface Parameter {
  name: string;
  in: string;
  required?: boolean;
  description?: string;
  schema?: Schema;
}

export interface Body {
  description?: string;
  required?: boolean;
  content?: Record<string, { schema?: Schema; example?: unknown; examples?: Record<string, { value?: unknown }> }>;
}

export type Schema = boolean | SchemaObject;
export interface SchemaObject {
  $ref?: string;
  type?: string | string[];
  format?: string;
  title?: string;
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: Schema;
  allOf?: Schema[];
  oneOf?: Schema[];
  anyOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  example?: unknown;
  [keyword: string]: unknown;
}

/** One call, with all that concerns it in one place. */
export interface Operation {
  readonly id: string;
  readonly method: Method;
  readonly path: string;
  readonly tag: string;
  readonly summary: string;
  readonly description: string;
  readonly deprecated: boolean;
  readonly parameters: readonly Parameter[];
  readonly body: Body | undefined;
  readonly responses: readonly (readonly [status: string, response: Body])[];
  /** Undefined: not said. Empty: anyone, without a token. */
  readonly roles: readonly string[] | undefined;
}

export interface Group {
  readonly name: string;
  readonly description: string;
  readonly operations: readonly Operation[];
}

const OTHER = 'Other';

/** Groups in the order of `tags`, then those that are only mentioned; calls in the order they are written. */
export function groupsOf(api: OpenApi): Group[] {
  const described = api.tags ?? [];
  const operations = operationsOf(api);
  const names = new Set([...described.map(({ name }) => name), ...operations.map(({ tag }) => tag)]);
  return [...names]
    .map((name) => ({
      name,
      description: described.find((tag) => tag.name === name)?.description ?? '',
      operations: operations.filter(({ tag }) => tag === name),
    }))
    .filter((group) => group.operations.length > 0)
    .sort((a, b) => Number(a.name === OTHER) - Number(b.name === OTHER));
}

export function operationsOf(api: OpenApi): Operation[] {
  return Object.entries(api.paths ?? {}).flatMap(([path, item]) =>
    METHODS.flatMap((method) => {
      const raw = item[method];
      return raw ? [operation(api, path, method, raw, item.parameters ?? [])] : [];
    }),
  );
}

function operation(api: OpenApi, path: string, method: Method, raw: RawOperation, shared: Parameter[]): Operation {
  const own = (raw.parameters ?? []).map((parameter) => resolve<Parameter>(api, parameter));
  const inherited = shared.map((parameter) => resolve<Parameter>(api, parameter));
  const overridden = (parameter: Parameter) => own.some(({ name, in: place }) => name === parameter.name && place === parameter.in);
  return {
    id: raw.operationId ?? `${method}${path}`.replace(/[^\w]+/g, '-').replace(/-$/, ''),
    method,
    path,
    tag: raw.tags?.[0] ?? OTHER,
    summary: raw.summary ?? '',
    description: raw.description ?? '',
    deprecated: raw.deprecated === true,
    parameters: [...inherited.filter((parameter) => !overridden(parameter)), ...own],
    body: raw.requestBody && resolve<Body>(api, raw.requestBody),
    responses: Object.entries(raw.responses ?? {}).map(([status, response]) => [status, resolve<Body>(api, response)] as const),
    roles: rolesOf(raw['x-roles'], raw.security ?? api.security),
  };
}

function rolesOf(told: string[] | undefined, security: Record<string, string[]>[] | undefined): string[] | undefined {
  if (told) return told;
  if (!security) return undefined;
  const roles = [...new Set(security.flatMap((requirement) => Object.values(requirement).flat()))];
  // A scheme without scopes wants some token, and does not say whose.
  return roles.length === 0 && security.some((requirement) => Object.keys(requirement).length > 0) ? undefined : roles;
}

/** Follows `$ref` inside the document; what cannot be found is left as it is. */
export function resolve<Kind>(api: OpenApi, value: unknown): Kind {
  let found: unknown = value;
  for (let hops = 0; hops < 16; hops += 1) {
    const ref = (found as { $ref?: unknown } | null)?.$ref;
    if (typeof ref !== 'string' || !ref.startsWith('#/')) break;
    const target = pointer(api, ref);
    if (target === undefined) break;
    found = target;
  }
  return found as Kind;
}

export function refName(schema: Schema | undefined): string | undefined {
  return typeof schema === 'object' && typeof schema.$ref === 'string' ? schema.$ref.split('/').pop() : undefined;
}

function pointer(root: unknown, ref: string): unknown {
  return ref
    .slice(2)
    .split('/')
    .map((part) => decodeURIComponent(part).replace(/~1/g, '/').replace(/~0/g, '~'))
    .reduce<unknown>((value, part) => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[part] : undefined), root);
}

/** Every word must occur somewhere in the call. */
export function matches(operation: Operation, query: string): boolean {
  const text = [operation.method, operation.path, operation.tag, operation.summary, operation.description, operation.id, ...(operation.roles ?? []), ...operation.parameters.map(({ name }) => name)]
    .join(' ')
    .toLowerCase();
  return query
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
