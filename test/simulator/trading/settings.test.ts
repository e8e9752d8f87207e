import { describe, expect, it } from 'vitest';
import { parseOrderRequest } from '../../../src/simulator/trading/order-request.ts';
import { loadTradingSettings } from '../../../src/simulator/trading/variables.ts';
import { FakeTape } from './fake-tape.ts';
import { bareBroker, temporaryFolder } from './test-exchange.ts';

describe('settings', () => {
  it('come from the environment and list every mistake', () => {
    expect(loadTradingSettings({})).toMatchObject({ cash: '100000', multiplier: 2, requestsPerMinute: 100_000 });
    expect(loadTradingSettings({ SIMULATOR_CASH: '2500.5', SIMULATOR_NOT_SHORTABLE: 'aig, BAC' })).toMatchObject({
      cash: '2500.5',
      notShortable: ['AIG', 'BAC'],
    });
    expect(() => loadTradingSettings({ SIMULATOR_CASH: 'much', SIMULATOR_MULTIPLIER: '4' })).toThrow(
      /SIMULATOR_CASH .*SIMULATOR_MULTIPLIER/,
    );
  });

  it('a cash account spends its cash alone and cannot sell short', () => {
    const folder = temporaryFolder();
    const tape = new FakeTape(['IBM']);
    tape.quote('IBM', [100, 500], [100, 500]);
    const bare = bareBroker(folder.path, tape, '1000', 1);
    const submit = (given: Record<string, unknown>) =>
      bare.broker.submit(
        parseOrderRequest({ symbol: 'IBM', side: 'buy', type: 'market', time_in_force: 'day', ...given }),
      );
    expect(() => submit({ qty: '11' })).toThrow('insufficient buying power');
    expect(() => submit({ side: 'sell', qty: '1' })).toThrow('account is not allowed to short');
    submit({ qty: '10' });
    expect(bare.state.account.cash.toString()).toBe('0');
    bare.journal.close();
    folder.remove();
  });
});
