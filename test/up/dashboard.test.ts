import { render } from 'ink-testing-library';
import { createElement } from 'react';
import { expect, test } from 'vitest';
import { Dashboard } from '../../src/daemons/up/dashboard.ts';
import type { ViewInput } from '../../src/daemons/up/view.ts';
import type { Snapshot } from '../../src/daemons/up/watch.ts';

const input: ViewInput = {
  snapshot: {
    ws: { acknowledged: { trades: 11_753, quotes: 17_589 }, gaps: { open: 1, repaired: 3, unrepaired: 0 } },
    ta: {
      tasks: [{ partition: 0, positions: {}, watermark: '2026-03-10T13:40:59Z' }],
      bars_out: 3697,
      signals_out: 3960,
      latest: [
        { symbol: 'IBM', event_ts: '2026-03-10T13:40:59Z', c: 284.57 },
        { symbol: 'AAPL', event_ts: '2026-03-10T13:40:59Z', c: 260.06 },
      ],
    },
    sink: { rows: { signals: 3914 } },
    trade: {
      decisions: { submitted: 82, rejected: 991 },
      orders_open: 2,
      reject_reasons: { shorts_not_allowed: 353, cooldown_active: 213 },
      positions: [{ symbol: 'IBM', qty: '300' }],
    },
    answeredAtMs: {},
  } as unknown as Snapshot,
  isUp: (name) => name !== 'trade',
  marketNowNs: BigInt(Date.parse('2026-03-10T13:41:01Z')) * 1_000_000n,
  speed: 6.9,
  maximumSpeed: 30,
  lagMs: 10_800,
  phase: 'running',
  restarts: [{ process: 'ws', cause: 'killed', at_market: '2026-03-10T13:35:00Z' }],
  rates: { trades: 53, quotes: 78 },
  closes: new Map([['IBM', [285, 284.8, 284.57]]]),
  home: '/home/me/.torghut/runs/x',
};

test('the screen shows rates, lag, watermark, bars, positions, orders and health', () => {
  const { lastFrame, unmount } = render(createElement(Dashboard, { input }));
  const frame = lastFrame() ?? '';
  unmount();
  expect(frame).toContain('2026-03-10 13:41:01 UTC');
  expect(frame).toContain('6.9x of 30x');
  expect(frame).toContain('● ws');
  expect(frame).toContain('○ trade');
  expect(frame).toMatch(/11,753 trades \(53\/s\)/);
  expect(frame).toContain('gaps 1 open, 3 repaired');
  expect(frame).toContain('watermark 13:40:59 UTC');
  expect(frame).toContain('lag 10.8 s');
  expect(frame).toMatch(/82 submitted\s+991 rejected\s+2 open\s+shorts_not_allowed 353/);
  expect(frame).toContain('IBM 300');
  expect(frame).toContain('-15.1 bp');
  expect(frame).toContain('█▅▁');
  expect(frame.indexOf('AAPL')).toBeLessThan(frame.indexOf('IBM  '));
  expect(frame).toContain('restarts 1 (last: ws, killed)');
});
