import { describe, expect, test } from 'vitest';
import { loadWsConfig, wsVariables } from '../../src/daemons/ws/variables.ts';
import { exitCode, TorghutError } from '../../src/lib/service/errors.ts';

const good = { APCA_API_KEY_ID: 'K', APCA_API_SECRET_KEY: 'very-secret', SYMBOLS: 'nvda, AMD,nvda' };

const mistakesOf = (env: Record<string, string>): string => {
  try {
    loadWsConfig(env, 'system');
  } catch (error) {
    if (!(error instanceof TorghutError)) throw error;
    expect(error.exitCode).toBe(exitCode.usage);
    return error.why ?? '';
  }
  return '';
};

describe('settings of ws', () => {
  test('the least that is needed', () => {
    const config = loadWsConfig(good, 'system');
    expect(config).toMatchObject({
      key: 'K',
      secret: 'very-secret',
      symbols: ['NVDA', 'AMD'],
      isOrderStreamOn: false,
      pingMs: 1_000,
    });
    const simulator = { ALPACA_STREAM_URL: 'ws://127.0.0.1:1', ALPACA_BASE_URL: 'http://127.0.0.1:1' };
    expect(loadWsConfig({ ...good, ...simulator }, 'virtual').pingMs).toBe(50);
    expect(() => loadWsConfig(good, 'virtual')).toThrow(/on a virtual clock/);
  });

  test('ALPACA_* overrides the common keys; an order stream address turns order events on', () => {
    const env = { ...good, ALPACA_KEY_ID: 'OTHER', ALPACA_TRADE_STREAM_URL: 'ws://127.0.0.1:1/stream' };
    expect(loadWsConfig(env, 'system')).toMatchObject({ key: 'OTHER', secret: 'very-secret', isOrderStreamOn: true });
    expect(loadWsConfig({ ...env, ENABLE_TRADE_UPDATES: 'false' }, 'system').isOrderStreamOn).toBe(false);
  });

  test('a service alone is enough; shards split the symbols, and only the first holds the order stream', () => {
    const polled = { ...good, SYMBOLS: '', JANGAR_SYMBOLS_URL: 'http://symbols/list' };
    expect(loadWsConfig(polled, 'system')).toMatchObject({ symbols: [], SYMBOLS_URL: 'http://symbols/list' });
    const shards = [0, 1].map((index) =>
      loadWsConfig(
        { ...good, SHARD_COUNT: '2', SHARD_INDEX: String(index), ALPACA_CONNECTION_LIMIT: '2',
          KAFKA_BOOTSTRAP: 'k:9092', ALPACA_TRADE_STREAM_URL: 'ws://127.0.0.1:1/stream' },
        'system',
      ),
    ); // biome-ignore format: one list
    expect(shards.map(({ symbols }) => symbols)).toEqual([['AMD'], ['NVDA']]);
    expect(shards.map(({ isOrderStreamOn }) => isOrderStreamOn)).toEqual([true, false]);
  });

  test('the limit of the plan counts trades and quotes; other channels are free', () => {
    const many = Array.from({ length: 16 }, (_, i) => `S${i}`).join();
    expect(
      loadWsConfig({ ...good, SYMBOLS: many, ALPACA_MARKET_DATA_CHANNELS: 'trades,bars' }, 'system').symbols,
    ).toHaveLength(16);
    expect(loadWsConfig({ ...good, SYMBOLS: many, ALPACA_SYMBOL_LIMIT: '0' }, 'system').pairLimit).toBeUndefined();
  });

  test.each([
    [{ SYMBOLS: '' }, 'SYMBOLS names no symbol'],
    [{ SYMBOLS: 'a b' }, 'SYMBOLS holds "A B", which is no symbol'],
    [{ APCA_API_KEY_ID: '' }, 'ALPACA_KEY_ID is not set'],
    [{ ALPACA_FEED: 'best' }, 'ALPACA_FEED must be one of'],
    [{ ALPACA_STREAM_URL: 'http://x' }, 'ALPACA_STREAM_URL must be a URL with ws: or wss:'],
    [{ ALPACA_MARKET_DATA_CHANNELS: 'trades,ticks' }, 'ALPACA_MARKET_DATA_CHANNELS must be a list'],
    [{ RECONNECT_BASE_MS: '5x' }, 'RECONNECT_BASE_MS must be a whole number'],
    [{ RECONNECT_BASE_MS: '900', RECONNECT_MAX_MS: '100' }, 'RECONNECT_MAX_MS is below'],
    [{ ENABLE_TRADE_UPDATES: 'yes' }, 'ENABLE_TRADE_UPDATES needs ALPACA_TRADE_STREAM_URL'],
    [{ SYMBOLS_ALLOWLIST: 'A,B,C,D,E,F,G,H,I,J,K,L,M' }, 'SYMBOLS_ALLOWLIST may hold at most 12'],
    [{ SYMBOLS: 'A,B,C,D,E,F,G,H,I,J,K,L,M,N,O,P' }, 'the iex feed grants 30'],
    [{ SHARD_COUNT: '2' }, 'ALPACA_CONNECTION_LIMIT allows 1'],
    [{ SHARD_COUNT: '2', ALPACA_CONNECTION_LIMIT: '2' }, 'SHARD_COUNT above 1 needs KAFKA_BOOTSTRAP'],
    [{ SHARD_INDEX: '1' }, 'SHARD_INDEX must be below'],
    [{ MARKET_DATA_UNIVERSE_ID: 'a' }, 'go together'],
    [{ SYMBOLS: 'MU,AMD', MARKET_DATA_UNIVERSE_ID: 'a', MARKET_DATA_UNIVERSE_SYMBOL_HASH: 'x' }, 'must be sorted'],
    [{ SYMBOLS_URL: 'http://a', JANGAR_SYMBOLS_URL: 'http://b' }, 'different values'],
    [{ SYMBOLS: 'A,B,C', ALPACA_SYMBOL_LIMIT: '4' }, 'grants 4 over trades and quotes'],
    [{ INGEST_START_TS: 'soon' }, 'INGEST_START_TS must be a point of time'],
    [{ TOPIC_TRADES: 'a b' }, 'TOPIC_TRADES must be a topic name'],
  ])('%j is refused with the name of the variable', (change, text) => {
    const why = mistakesOf({ ...good, ...change });
    expect(why).toContain(text);
    expect(why).not.toContain('very-secret');
  });

  test('every mistake is told at once', () => {
    const why = mistakesOf({ ...good, INGEST_COMMIT_MS: '0', HEALTH_PORT: '70000' });
    expect(why).toContain('INGEST_COMMIT_MS');
    expect(why).toContain('HEALTH_PORT');
  });

  test('every variable says what it is for', () => {
    for (const [name, variable] of Object.entries(wsVariables)) {
      expect(variable.describe.length, name).toBeGreaterThan(10);
      if (name.endsWith('_MS')) expect((variable as { time?: string }).time, name).toMatch(/^(machine|market)$/);
    }
  });
});
