// Writes docs/errors.md: every error code of the sources with its exit code, what it says and what to do next.
//   node scripts/error-page.mjs          writes the page
//   node scripts/error-page.mjs --check  exits 1 when the page lacks a code or holds an old text
import { globSync, readFileSync, writeFileSync } from 'node:fs';

const page = new URL('../docs/errors.md', import.meta.url);
const exitOf = { usageError: '2', unreachableError: '3', refusedError: '4', TorghutError: '1' };
const named = {
  unexpected: '1',
  usage: '2',
  unreachable: '3',
  refused: '4',
  problemFound: '10',
  cannotDetermine: '11',
};

/** The text of a string or template literal that begins at an index; parts in ${} become `…`. */
function literalAt(text, start) {
  const quote = text[start];
  if (!'\'"`'.includes(quote)) return undefined;
  let out = '';
  for (let i = start + 1; i < text.length; i++) {
    const character = text[i];
    if (character === '\\') {
      out += text[++i];
    } else if (character === quote) {
      return out;
    } else if (quote === '`' && character === '$' && text[i + 1] === '{') {
      let depth = 1;
      i += 2;
      while (depth > 0 && i < text.length) {
        if (text[i] === '{') depth += 1;
        if (text[i] === '}') depth -= 1;
        if (depth > 0) i += 1;
      }
      out += '…';
    } else out += character;
  }
  return undefined;
}

/** The value of `key:` inside an object literal, when it is text. */
function field(object, key) {
  const match = new RegExp(`\\b${key}:\\s*`).exec(object);
  return match ? literalAt(object, match.index + match[0].length) : undefined;
}

/** The object literal around an index. */
function enclosing(text, index) {
  let start = index;
  for (let depth = 0; start > 0; start--) {
    if (text[start] === '}') depth += 1;
    if (text[start] === '{' && depth-- === 0) break;
  }
  let end = start + 1;
  for (let depth = 1; depth > 0 && end < text.length; end++) {
    if (text[end] === '{') depth += 1;
    if (text[end] === '}') depth -= 1;
  }
  return { start, text: text.slice(start, end) };
}

const errors = new Map();
for (const file of globSync('src/**/*.ts').sort()) {
  const text = readFileSync(file, 'utf8');
  for (const match of text.matchAll(/\bcode: '([a-z][a-z0-9_]+)'/g)) {
    const object = enclosing(text, match.index);
    const call = /(usageError|unreachableError|refusedError|TorghutError)\(\s*$/.exec(text.slice(0, object.start))?.[1];
    if (!call) continue;
    const exit = /exitCode:\s*exitCode\.(\w+)/.exec(object.text)?.[1];
    const number = /exitCode:\s*(\d+)/.exec(object.text)?.[1];
    const known = errors.get(match[1]);
    const entry = {
      exit: exit ? (named[exit] ?? exit) : (number ?? exitOf[call]),
      what: field(object.text, 'what') ?? '…',
      next: field(object.text, 'next') ?? '',
    };
    if (!known) errors.set(match[1], entry);
    else if (known.what === '…') errors.set(match[1], entry);
  }
}
if (errors.size < 20) throw new Error(`only ${errors.size} error codes were found: the reading itself is broken`);
const cell = (text) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
const lines = [
  '# Error codes',
  '',
  'Every error that a person may see carries one of these codes. Each says what happened, why where that is known, and what to',
  'do next; `…` stands for what the message names. Written by `node scripts/error-page.mjs` from the sources.',
  '',
  '| code | exit | what it says | what to do |',
  '|---|---|---|---|',
  ...[...errors]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([code, { exit, what, next }]) => `| \`${code}\` | ${exit} | ${cell(what)} | ${cell(next)} |`),
  '',
].join('\n');
if (process.argv.includes('--check')) {
  let current = '';
  try {
    current = readFileSync(page, 'utf8');
  } catch {
    // No page yet.
  }
  if (current !== lines) {
    const missing = [...errors.keys()].filter((code) => !current.includes(`\`${code}\``));
    console.error(`docs/errors.md is not up to date${missing.length > 0 ? `; it lacks ${missing.join(', ')}` : ''}`);
    console.error('run: node scripts/error-page.mjs');
    process.exit(1);
  }
} else writeFileSync(page, lines);
console.log(`errors: ${errors.size} codes`);
