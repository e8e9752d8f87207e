// Completes package-lock.json with the platform packages that the registry in use did not offer.
//
// npm leaves an optional platform package out of the lock when it cannot resolve it, and `npm ci` then fails with EUSAGE.
// For every such name an entry {version, os, cpu, libc?, optional} is added, without resolved and integrity: `npm ci`
// skips it where the platform differs or the package is missing, and installs it where it exists.
//   node scripts/lock-platforms.mjs          completes the lock
//   node scripts/lock-platforms.mjs --check  exits 1 when it is incomplete
import { readFileSync, writeFileSync } from 'node:fs';

const path = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(path, 'utf8'));
const systems = ['linux', 'darwin', 'win32', 'freebsd', 'openbsd', 'netbsd', 'android', 'sunos', 'aix', 'openharmony'];
const processors = ['x64', 'arm64', 'arm', 'ia32', 'ppc64', 's390x', 'riscv64', 'loong64', 'mips64el', 'ppc64le'];

/** os, cpu and libc as npm names them, read from a package name such as `@biomejs/cli-linux-x64-musl`. */
function platformOf(name) {
  const words = name.split(/[^a-z0-9_]+/i).flatMap((word) => word.split('_'));
  const has = (list) => list.filter((item) => words.includes(item));
  const os = has(systems);
  if (os.length === 0 && words.includes('windows')) os.push('win32');
  const cpu = has(processors);
  const libc = words.includes('musl') ? ['musl'] : words.includes('gnu') || words.includes('glibc') ? ['glibc'] : [];
  return { ...(os.length && { os }), ...(cpu.length && { cpu }), ...(libc.length && { libc }) };
}

const added = [];
for (const [where, entry] of Object.entries(lock.packages)) {
  for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
    const nested = where === '' ? `node_modules/${name}` : `${where}/node_modules/${name}`;
    if (lock.packages[`node_modules/${name}`] || lock.packages[nested]) continue;
    const version = String(range).replace(/^[\^~]/, '');
    if (!/^\d+\.\d+\.\d+/.test(version)) continue;
    lock.packages[`node_modules/${name}`] = {
      version,
      ...platformOf(name),
      ...(entry.dev && { dev: true }),
      optional: true,
    };
    added.push(`${name}@${version}`);
  }
}
if (process.argv.includes('--check')) {
  if (added.length > 0) {
    console.error(`package-lock.json lacks ${added.length} platform packages: ${added.join(', ')}`);
    console.error('run: node scripts/lock-platforms.mjs');
    process.exit(1);
  }
} else if (added.length > 0) {
  const root = lock.packages[''];
  lock.packages = {
    '': root,
    ...Object.fromEntries(
      Object.entries(lock.packages)
        .filter(([name]) => name !== '')
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    ),
  };
  writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
  console.error(`added ${added.length} platform packages to package-lock.json`);
}
