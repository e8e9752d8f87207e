import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type DecisionIdentity, decisionHash } from '../../src/lib/trading/identity.ts';

const identity: DecisionIdentity = {
  accountLabel: 'paper',
  strategyName: 'macd_rsi_default',
  symbol: 'IBM',
  timeframe: '1Sec',
  eventTsMs: Date.UTC(2013, 9, 8, 13, 30, 1),
  action: 'buy',
  intent: 'entry',
};

describe('decision identity', () => {
  it('is the sha256 of the seven fields joined by 0x1f', () => {
    const text = ['paper', 'macd_rsi_default', 'IBM', '1Sec', '2013-10-08T13:30:01.000Z', 'buy', 'entry'].join('\x1f');
    expect(decisionHash(identity)).toBe(createHash('sha256').update(text).digest('hex'));
  });

  it.each([
    ['accountLabel', 'live'],
    ['strategyName', 'other'],
    ['symbol', 'AIG'],
    ['timeframe', '1Min'],
    ['eventTsMs', identity.eventTsMs + 1],
    ['action', 'sell'],
    ['intent', 'exit'],
  ])('changes with %s', (field, value) => {
    expect(decisionHash({ ...identity, [field]: value })).not.toBe(decisionHash(identity));
  });

  it('never maps two different identities to one text, whatever the names are', () => {
    const name = fc.string({ maxLength: 12 }).filter((text) => !text.includes('\x1f'));
    fc.assert(
      fc.property(name, name, name, name, (a, b, c, d) => {
        fc.pre(a !== c || b !== d);
        const one = decisionHash({ ...identity, accountLabel: a, strategyName: b });
        expect(one).not.toBe(decisionHash({ ...identity, accountLabel: c, strategyName: d }));
      }),
    );
  });

  it('refuses a field with the separator', () => {
    expect(() => decisionHash({ ...identity, strategyName: 'a\x1fb' })).toThrow('separator');
  });
});
