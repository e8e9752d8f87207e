import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { settingsOf } from '../../src/daemons/trade/settings.ts';
import { tradeVariables } from '../../src/daemons/trade/variables.ts';
import { loadConfig } from '../../src/lib/service/config.ts';
import { checkCatalogFile } from '../../src/lib/trading/catalog-file.ts';

const configured = (env: Record<string, string>) => loadConfig(tradeVariables, env).values;
const settings = (env: Record<string, string>) => settingsOf(configured(env), 'live');
const refusal = (env: Record<string, string>): string => {
  try {
    settings(env);
    return 'accepted';
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe('the environment of trade', () => {
  it('is safe when nothing is set: disabled, kill switch on, paper, nothing tradable, no shorts', () => {
    expect(settings({})).toMatchObject({
      isEnabled: false,
      killSwitch: true,
      mode: 'paper',
      accountLabel: 'paper',
      universe: [],
      allowShorts: false,
      allowCrypto: false,
      stops: { isEnabled: true },
    });
  });

  it.each([
    [{ TRADING_MODE: 'live' }, 'live_trading_refused'],
    [{ TRADING_MODE: 'demo' }, 'config_invalid'],
    [{ TRADING_MAX_POSITION_PCT_EQUITY: '5' }, 'config_invalid'],
    [{ TRADING_MAX_NOTIONAL_PER_TRADE: '-1' }, 'config_invalid'],
    [{ TRADING_DEFAULT_QTY: '0' }, 'config_invalid'],
    [{ TRADING_STATIC_SYMBOLS: 'IBM,not a symbol' }, 'config_invalid'],
    [{ TRADING_ACCOUNT_LABEL: 'a label' }, 'config_invalid'],
    [{ TRADING_SUBMIT_LOOKUP_SECONDS: '10' }, 'config_invalid'],
  ])('refuses %j with %s', (env, code) => {
    expect(refusal(env)).toBe(code);
  });

  it('keeps a limit of 0, which allows nothing', () => {
    expect(settings({ TRADING_MAX_NOTIONAL_PER_TRADE: '0' }).maxNotionalPerTrade?.toFixed()).toBe('0');
  });

  it('intersects the universe with the allowlist', () => {
    const universe = (list: string, allow: string) =>
      settings({ TRADING_STATIC_SYMBOLS: list, TRADING_UNIVERSE_SYMBOL_ALLOWLIST: allow }).universe;
    expect(universe('ibm, mu', 'MU')).toEqual(['MU']);
    expect(universe('*', 'MU')).toEqual(['MU']);
    expect(universe('MU', '')).toEqual(['MU']);
    expect(universe('*', '')).toBe('all');
  });
});

describe('the shipped catalogs', () => {
  const folder = join(import.meta.dirname, '../../config');
  it.each(readdirSync(folder).filter((name) => name.endsWith('.yaml')))('%s is valid', async (name) => {
    const check = await checkCatalogFile(join(folder, name));
    expect(check.ok ? [] : check.mistakes).toEqual([]);
  });

  it('up-strategies.yaml has all limits set and one entry that is always over its own', async () => {
    const check = await checkCatalogFile(join(folder, 'up-strategies.yaml'));
    if (!check.ok) throw new Error('invalid');
    for (const entry of check.catalog.entries) {
      expect(entry.maxNotionalPerTrade?.gt(0)).toBe(true);
      expect(entry.maxPositionPctEquity?.gt(0)).toBe(true);
      expect(entry.strategy.cooldownSeconds).toBe(5);
      expect(entry.timeframe).toBe('1Sec');
    }
  });

  it('a file that is not there, or of another kind, is refused by name', async () => {
    await expect(checkCatalogFile('/nowhere/x.yaml')).rejects.toMatchObject({
      code: 'strategy_catalog_unreadable',
      exitCode: 2,
    });
    await expect(checkCatalogFile('catalog.toml')).rejects.toMatchObject({ why: expect.stringContaining('.toml') });
  });
});
