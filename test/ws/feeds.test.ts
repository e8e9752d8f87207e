import { describe, expect, test } from 'vitest';
import { loadWsConfig } from '../../src/daemons/ws/variables.ts';
import { createEnvelopeWriter } from '../../src/lib/market/envelope-text.ts';
import { historyFeedOf, historyPathOf, isCryptoFeed, streamPathOf } from '../../src/lib/market/feeds.ts';

const keys = { APCA_API_KEY_ID: 'K', APCA_API_SECRET_KEY: 'S' };

describe('feeds', () => {
  test('every feed has its stream and its history', () => {
    expect((['iex', 'sip', 'delayed_sip', 'test', 'overnight', 'us', 'eu-1'] as const).map(streamPathOf)).toEqual([
      'v2/iex', 'v2/sip', 'v2/delayed_sip', 'v2/test', 'v1beta1/overnight', 'v1beta3/crypto/us', 'v1beta3/crypto/eu-1',
    ]); // biome-ignore format: one list
    expect(historyPathOf('sip', 'bars')).toBe('v2/stocks/bars');
    expect(historyPathOf('us', 'trades')).toBe('v1beta3/crypto/us/trades');
    expect(['sip', 'overnight', 'us'].map(historyFeedOf)).toEqual(['sip', 'boats', undefined]);
    expect(['us', 'us-1', 'eu-1', 'sip'].map(isCryptoFeed)).toEqual([true, true, true, false]);
  });

  test('crypto is named by its location and asks for its own channels', () => {
    const config = loadWsConfig({ ...keys, SYMBOLS: 'BTC/USD', ALPACA_MARKET_TYPE: 'crypto' }, 'system');
    expect(config.ALPACA_FEED).toBe('us');
    expect(config.ALPACA_MARKET_DATA_CHANNELS).toEqual(['trades', 'quotes', 'bars']);
    const halts = {
      ...keys,
      SYMBOLS: 'BTC/USD',
      ALPACA_MARKET_TYPE: 'crypto',
      ALPACA_MARKET_DATA_CHANNELS: 'statuses',
    };
    expect(() => loadWsConfig(halts, 'system')).toThrow(/crypto has no statuses/);
  });

  test('crypto knows no session of the stock market', () => {
    const clock = { kind: 'virtual' as const, nowNs: () => 0n, nowMs: () => 0, sleepUntil: async () => undefined };
    const textOf = (feed: string) =>
      createEnvelopeWriter({ feed, clock, lastSeq: 0 }).market({
        channel: 'trades',
        symbol: 'X',
        eventTs: '2026-03-10T14:30:00Z',
        session: 'regular',
        payload: '{}',
        source: 'ws',
        isFinal: true,
      });
    expect(JSON.parse(textOf('us'))).toMatchObject({ feed: 'us', market_session: null, delay_class: null });
    expect(JSON.parse(textOf('sip'))).toMatchObject({ market_session: 'regular' });
  });
});
