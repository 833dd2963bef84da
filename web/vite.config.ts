import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** What is bundled, with the libraries' own libraries. */
const TERMS = [
  ['MapLibre GL JS', 'maplibre-gl/LICENSE.txt'],
  ['h3-js', 'h3-js/LICENSE'],
  ['tus-js-client', 'tus-js-client/LICENSE'],
  ['js-base64', 'js-base64/LICENSE.md'],
  ['url-parse', 'url-parse/LICENSE'],
  ['requires-port', 'requires-port/LICENSE'],
  ['querystringify', 'querystringify/LICENSE'],
] as const;

/** The libraries' terms go with their code, which the bundler strips of comments. */
function licenses(): Plugin {
  return {
    name: 'licenses',
    generateBundle() {
      const source = TERMS.map(([name, file]) => `${name}\n\n${readFileSync(here(`./node_modules/${file}`), 'utf8')}`).join('\n\n');
      // The package of ThumbHash brings no file with its terms.
      const thumbhash = 'thumbhash\n\nCopyright (c) 2023 Evan Wallace. MIT License, whose text stands above with tus-js-client.';
      this.emitFile({ type: 'asset', fileName: 'licenses.txt', source: `${source}\n\n${thumbhash}\n` });
    },
  };
}

export default defineConfig({
  plugins: [licenses()],
  root: here('./pages'),
  publicDir: here('./pages/public'),
  resolve: { alias: { '@wayfare/client': here('./client/src/index.ts') } },
  // `/docs/` is a folder with its own index; an unknown path is no page.
  appType: 'mpa',
  build: {
    outDir: here('./dist'),
    emptyOutDir: true,
    target: 'es2022',
    // Everything is a file of its own: nothing depends on `data:` being allowed.
    assetsInlineLimit: 0,
    // The map library is one big chunk by nature, and is loaded by the track page alone.
    chunkSizeWarningLimit: 1_300,
    rolldownOptions: {
      input: [here('./pages/index.html'), here('./pages/track/index.html'), here('./pages/town/index.html'), here('./pages/menu/index.html'), here('./pages/docs/index.html')],
    },
  },
});
