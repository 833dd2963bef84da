import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** The libraries' terms go with their code, which the bundler strips of comments. */
function licenses(): Plugin {
  return {
    name: 'licenses',
    generateBundle() {
      const read = (name: string) => readFileSync(here(`./node_modules/${name}`), 'utf8');
      const source = `MapLibre GL JS\n\n${read('maplibre-gl/LICENSE.txt')}\n\nh3-js\n\n${read('h3-js/LICENSE')}`;
      this.emitFile({ type: 'asset', fileName: 'licenses.txt', source });
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
      input: [here('./pages/index.html'), here('./pages/track/index.html'), here('./pages/town/index.html'), here('./pages/docs/index.html')],
    },
  },
});
