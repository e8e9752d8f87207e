/** What a user may get wrong: a clear error, the exit code of the design, nothing lost. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { freshHome, torghut } from '../support/torghut.ts';

const trade = (second: number, price: number) =>
  `{"T":"t","S":"AIG","i":${second},"x":"N","p":${price},"s":100,"c":[" "],"t":"2013-10-08T13:30:${String(second).padStart(2, '0')}Z","z":"A"}`;
const lines = Array.from({ length: 50 }, (_, i) => trade(i, 48.5 + i / 100)).join('\n');

async function upWith(file: string, content: Buffer | string, extra: string[] = []) {
  const folder = freshHome();
  const path = join(folder, file);
  writeFileSync(path, content);
  return torghut(['up', '--data', path, '--exit-at-end', '-o', 'json', ...extra], {
    TORGHUT_HOME: join(folder, 'home'),
  });
}

test('a missing data file is named', async () => {
  const finished = await torghut(['up', '--data', 'no-such-file.ndjson'], { TORGHUT_HOME: freshHome() });
  expect(finished.code).toBe(2);
  expect(finished.stderr).toContain('no-such-file.ndjson');
  expect(finished.stderr).not.toMatch(/\n\s+at /);
});

test('a half-written file is refused before anything starts', async () => {
  const packed = gzipSync(lines);
  const finished = await upWith('half.ndjson.gz', packed.subarray(0, packed.length - 20));
  expect(finished.code).toBe(2);
  expect(finished.stderr).toContain('half.ndjson.gz');
});

test('a broken line is named with its number', async () => {
  const finished = await upWith('broken.ndjson', `${trade(1, 48)}\n{"T":"t","S":\n${trade(2, 48)}\n`);
  expect(finished.code).toBe(2);
  expect(finished.stderr).toMatch(/broken\.ndjson.*2|line 2/);
});

test('an unknown symbol suggests the nearest', async () => {
  const finished = await upWith('good.ndjson', lines, ['--symbols', 'AIGG']);
  expect(finished.code).toBe(2);
  expect(finished.stderr).toContain('AIG');
});

test.each([
  [['--speed', 'fast'], 'bad_speed'],
  [['--synthetic', '7'], 'two_sources|source_needed'],
  [['--from', 'noon'], 'time_invalid'],
  [['--from', '09:40', '--to', '09:35'], 'time_order'],
])('%j is a usage mistake', async (extra, code) => {
  const finished = await upWith('good.ndjson', lines, extra);
  expect(finished.code).toBe(2);
  expect(finished.stderr).toMatch(new RegExp(`code: (${code})`));
});

test('an unknown command or option is named with the nearest one', async () => {
  const command = await torghut(['upp']);
  expect(command.code).toBe(2);
  expect(command.stderr).toContain("did you mean 'up'");
  const option = await torghut(['up', '--speeed', '3']);
  expect(option.code).toBe(2);
  expect(option.stderr).toContain('--speed');
});

test('a home of a newer version and a folder that is no home are left alone', async () => {
  const home = join(freshHome(), 'run');
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, 'run.json'), JSON.stringify({ version: 99 }));
  const newer = await torghut(['up', '--synthetic', '1', '--home', home]);
  expect(newer.code).toBe(4);
  expect(newer.stderr).toContain('home_newer');
  const foreign = freshHome();
  writeFileSync(join(foreign, 'thesis.txt'), 'years of work');
  const refused = await torghut(['up', '--synthetic', '1', '--home', foreign, '--fresh']);
  expect(refused.code).toBe(4);
  expect(refused.stderr).toContain('thesis.txt');
});

test('a port in use is said so', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const finished = await torghut([
    'simulator',
    '--synthetic',
    '1',
    '--port',
    String(port),
    '--home',
    join(freshHome(), 'run'),
  ]);
  server.close();
  expect(finished.code).toBe(2);
  expect(finished.stderr).toContain(String(port));
});
