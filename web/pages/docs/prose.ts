import { make } from '../shared/dom.js';

/** Text with `code` and **strong** in it. The rest of Markdown stays as it was written, which is readable too. */
export function inline(text: string): (Node | string)[] {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.length > 2 && part.startsWith('`') && part.endsWith('`')) return make('code', {}, part.slice(1, -1));
    if (part.length > 4 && part.startsWith('**') && part.endsWith('**')) return make('strong', {}, part.slice(2, -2));
    return part;
  });
}

/** Paragraphs, and lists whose lines begin with a dash. */
export function prose(text: string): HTMLElement[] {
  return text
    .split(/\n\s*\n/)
    .map((block) => block.trim())
    .filter((block) => block !== '')
    .map((block) => {
      const lines = block.split('\n');
      if (lines.every((line) => /^\s*[-*] /.test(line))) {
        return make('ul', {}, ...lines.map((line) => make('li', {}, ...inline(line.replace(/^\s*[-*] /, '')))));
      }
      return make('p', {}, ...inline(block.replace(/^#+ /, '')));
    });
}
