// Holds the arrows of the house: which room may import which, and no wall clock or random number in the rooms that must not
// have them. Prints every breach with file and line; exits 1 when there is one.
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, sep } from 'node:path';

const files = globSync('src/**/*.{ts,tsx}').map((file) => file.split(sep).join('/'));
if (files.length < 20) throw new Error(`only ${files.length} source files found: is this the checkout's root?`);

/** For files of a room (by prefix, longest first): what their imports may start with. Packages are named `npm:`, Node's `node:`. */
const rooms = [
  { room: 'src/lib/ta/', may: ['src/lib/ta/'] },
  { room: 'src/lib/risk/', may: ['src/lib/risk/', 'src/lib/market/', 'npm:decimal.js', 'npm:zod'] },
  {
    room: 'src/lib/strategy/',
    // The catalog parser and the identity hash are pure; only the reload reads a file.
    may: [
      'src/lib/strategy/',
      'src/lib/risk/order.ts',
      'src/lib/market/',
      'src/lib/service/',
      'npm:decimal.js',
      'npm:zod',
      'npm:yaml',
      'node:crypto',
      'node:fs',
    ],
  },
  { room: 'src/lib/service/', may: ['src/lib/service/', 'npm:', 'node:'] },
  { room: 'src/lib/', may: ['src/lib/', 'npm:', 'node:'] },
  {
    room: 'src/simulator/',
    may: ['src/simulator/', 'src/lib/service/', 'src/lib/market/time.ts', 'src/lib/market/calendar', 'npm:', 'node:'],
  },
  { room: 'src/embedded/', may: ['src/embedded/', 'src/lib/', 'npm:', 'node:'] },
  {
    room: 'src/daemons/',
    may: [
      'src/daemons/',
      'src/embedded/connect',
      'src/embedded/nodes',
      'src/embedded/parts',
      'src/embedded/variables',
      'src/lib/',
      'npm:',
      'node:',
    ],
  },
  {
    room: 'src/commands/',
    may: ['src/commands/', 'src/daemons/', 'src/embedded/', 'src/simulator/', 'src/lib/', 'npm:', 'node:'],
  },
  {
    room: 'src/cli.ts',
    may: ['src/commands/table.ts', 'src/commands/configure.ts', 'src/lib/service/', 'npm:commander'],
  },
];

const importPattern = /(?:\bfrom\s+|\bimport\s+|\bimport\s*\(\s*)(['"])([^'"]+)\1/g;
const breaches = [];
let seen = 0;
for (const file of files) {
  const text = readFileSync(file, 'utf8');
  const rule = rooms.find(({ room }) => file.startsWith(room));
  if (!rule) {
    breaches.push(`${file}: belongs to no room`);
    continue;
  }
  for (const match of text.matchAll(importPattern)) {
    const line = text.slice(0, match.index).split('\n').length;
    const lineText = text.split('\n')[line - 1].trim();
    if (lineText.startsWith('*') || lineText.startsWith('//')) continue;
    seen += 1;
    const name = match[2];
    const target = name.startsWith('.')
      ? normalize(join(dirname(file), name))
          .split(sep)
          .join('/')
      : name.startsWith('node:')
        ? name
        : `npm:${name}`;
    if (!rule.may.some((prefix) => target.startsWith(prefix)))
      breaches.push(`${file}:${line}: may not import ${target}`);
  }
  // Market time comes from the Clock, machine time from service/machine, random numbers from a seed.
  const isClock = file === 'src/lib/service/clock.ts';
  if (!isClock && /^src\/(lib|daemons|simulator)\//.test(file)) {
    text.split('\n').forEach((lineText, i) => {
      if (/^\s*(\*|\/\/)/.test(lineText)) return;
      if (/Date\.now\(|new Date\(\)|Math\.random\(/.test(lineText))
        breaches.push(`${file}:${i + 1}: wall clock or random number`);
    });
  }
}
if (seen < 50) breaches.push(`only ${seen} imports were seen: the check itself is broken`);
for (const breach of breaches) console.error(breach);
if (breaches.length > 0) process.exit(1);
console.log(`imports: ${seen} in ${files.length} files keep the arrows`);
