import { expect, test } from 'vitest';
import { kind, loadConfig, optional } from '../../src/lib/service/config.ts';
import { TorghutError } from '../../src/lib/service/errors.ts';
import { maskSecrets } from '../../src/lib/service/logging.ts';

const table = {
  TRADING_POLL_MS: { parse: kind.integer(1), default: 5000, describe: 'cycle period', time: 'market' as const },
  TRADING_ENABLED: { parse: kind.boolean, default: false, describe: 'loop master' },
  DB_DSN: {
    parse: optional(kind.text),
    default: undefined,
    describe: 'ledger',
    secret: true,
    aliases: ['DATABASE_URL'],
  },
};

test('every mistake is listed at once, by name', () => {
  const load = () => loadConfig(table, { TRADING_POLL_MS: 'soon', TRADING_ENABLED: 'maybe' });
  expect(load).toThrow(TorghutError);
  try {
    load();
  } catch (error) {
    const { why, exitCode } = error as TorghutError;
    expect(why).toContain('TRADING_POLL_MS must be a whole number');
    expect(why).toContain('TRADING_ENABLED must be true or false');
    expect(exitCode).toBe(2);
  }
});

test('an unknown name of ours is warned about with the nearest known one', () => {
  const { warnings } = loadConfig(table, { TRADING_POL_MS: '1', HOME: '/x' });
  expect(warnings).toEqual(['unknown variable TRADING_POL_MS; did you mean TRADING_POLL_MS?']);
});

test('two names of one setting with different values are an error, with the same value they are not', () => {
  expect(() => loadConfig(table, { DB_DSN: 'postgres://a', DATABASE_URL: 'postgres://b' })).toThrow(/setting is wrong/);
  expect(loadConfig(table, { DB_DSN: 'postgres://a', DATABASE_URL: 'postgres://a' }).values.DB_DSN).toBe(
    'postgres://a',
  );
});

test('the source of each value is told and a secret is masked there and in every log line', () => {
  const { values, sources } = loadConfig(table, { DATABASE_URL: 'postgres://user:hunter2@db' });
  expect(values.DB_DSN).toBe('postgres://user:hunter2@db');
  expect(sources.find((source) => source.name === 'DB_DSN')).toMatchObject({
    value: '[masked]',
    source: 'environment',
    from: 'DATABASE_URL',
  });
  expect(sources.find((source) => source.name === 'TRADING_POLL_MS')).toMatchObject({
    source: 'default',
    time: 'market',
  });
  expect(maskSecrets('dsn postgres://user:hunter2@db failed')).toBe('dsn [masked] failed');
});

test('a decimal stays text and a wrong one is refused', () => {
  expect(kind.decimal('0.05')).toBe('0.05');
  expect(() => kind.decimal('5e3')).toThrow(/decimal/);
  expect(() => kind.url('https:')('http://x')).toThrow(/https/);
  expect(kind.url('http:')('http://x/')).toBe('http://x');
});
