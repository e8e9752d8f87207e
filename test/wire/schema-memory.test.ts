/** What the home remembers of a schema registry: a fact is known whole, for its very registry, or not at all. */
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { homePaths } from '../../src/lib/service/home.ts';
import { openSchemaMemory } from '../../src/lib/wire/schema-memory.ts';

const url = 'http://registry:8081';
let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'torghut-schemas-'));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const files = () => readdirSync(homePaths.schemas(home)).map((name) => join(homePaths.schemas(home), name));

test('an id is known to a later process, for the same registry, subject and schema alone', () => {
  openSchemaMemory(home, url).keepId('a-value', '"x"', 7);
  openSchemaMemory(home, 'http://other:8081').keepId('b-value', '"x"', 8);
  const memory = openSchemaMemory(home, url);
  expect(memory.idOf('a-value', '"x"')).toBe(7);
  expect(memory.idOf('a-value', '"y"')).toBeUndefined();
  expect(memory.idOf('b-value', '"x"')).toBeUndefined();
  expect(openSchemaMemory(home, 'http://other:8081').idOf('a-value', '"x"')).toBeUndefined();
  memory.keepId('a-value', '"x"', 9);
  expect(openSchemaMemory(home, url).idOf('a-value', '"x"')).toBe(9);
});

test('a schema is known by its id, of the same registry alone', () => {
  openSchemaMemory(home, url).keepSchema(7, '"x"');
  expect(openSchemaMemory(home, url).schemaOf(7)).toBe('"x"');
  expect(openSchemaMemory(home, url).schemaOf(8)).toBeUndefined();
  expect(openSchemaMemory(home, 'http://other:8081').schemaOf(7)).toBeUndefined();
});

test('a file that is torn, changed, empty or not its own is not known', () => {
  const memory = openSchemaMemory(home, url);
  memory.keepId('a-value', '"x"', 7);
  const [path] = files() as [string];
  const text = readFileSync(path, 'utf8');
  const damages = [
    text.replace('"id":7', '"id":8'),
    text.replace('a-value', 'b-value'),
    text.slice(0, -20),
    '',
    '{}',
    'null',
  ];
  for (const damaged of damages) {
    expect(damaged).not.toBe(text);
    writeFileSync(path, damaged);
    expect(memory.idOf('a-value', '"x"')).toBeUndefined();
  }
  memory.keepId('a-value', '"x"', 7);
  expect(memory.idOf('a-value', '"x"')).toBe(7);
  memory.keepId('b-value', '"x"', 9);
  const other = files().find((name) => name !== path) as string;
  renameSync(other, path);
  expect(memory.idOf('a-value', '"x"')).toBeUndefined();
  expect(files()).toEqual([path]);
});

test('a home that cannot be written loses nothing but the memory', () => {
  writeFileSync(homePaths.schemas(home), 'a file where the folder should be');
  const memory = openSchemaMemory(home, url);
  memory.keepId('a-value', '"x"', 7);
  expect(memory.idOf('a-value', '"x"')).toBeUndefined();
});
