/** The element with this id; it is in the page's own HTML, so its absence is a mistake of ours. */
export function byId<Kind extends HTMLElement = HTMLElement>(id: string): Kind {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no element #${id}`);
  return element as Kind;
}

type Content = Node | string | undefined | false;

/** A new element. Strings become text nodes: data never turns into markup. */
export function make<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Record<string, string | undefined> = {},
  ...content: Content[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  setAttributes(element, attributes);
  element.append(...content.filter((part): part is Node | string => part !== undefined && part !== false));
  return element;
}

const SVG = 'http://www.w3.org/2000/svg';

export function makeSvg(name: string, attributes: Record<string, string>, ...content: Node[]): SVGElement {
  const element = document.createElementNS(SVG, name);
  setAttributes(element, attributes);
  element.append(...content);
  return element;
}

/** Writes only what differs, so that nothing is announced or laid out anew without reason. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Text, or not there at all. */
export function showText(element: HTMLElement, text: string | undefined): void {
  if (text !== undefined) setText(element, text);
  element.hidden = text === undefined;
}

function setAttributes(element: Element, attributes: Record<string, string | undefined>): void {
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) element.setAttribute(name, value);
}
