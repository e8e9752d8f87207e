/**
 * From a signal row that is in the store to the POST that the broker receives: the shipped daemon as a process of its own on
 * a real engine, a real Postgres and the simulator's trading side. One order at a time, with pauses that drift against the
 * poll, so that every phase of it is met. What is beyond the poll interval is the program's.
 * The reference in the same run is a bare POST over the same loopback to the same exchange.
 */
import { query } from '../test/ledger/support/postgres.ts';
import { KEY, SECRET } from '../test/simulator/trading/test-exchange.ts';
import { openAccount } from '../test/trade/matrix/account.ts';
import { postsOf } from '../test/trade/matrix/verdict.ts';
import { openMatrixWorld } from '../test/trade/matrix/world.ts';

const POLL_MS = 250;

const quantile = (sorted: readonly number[], part: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
const round = (value: number): number => Math.round(value * 10) / 10;
const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

export interface LatencyReport {
  orders: number;
  poll_ms: number;
  signal_to_post_ms: { p50: number; p99: number };
  beyond_poll_ms: { p50: number; p99: number };
  reference_bare_post_ms: { p50: number; p99: number };
}

/** @param orders how many; each takes about a machine second */
export async function measureLatency(orders: number): Promise<LatencyReport> {
  const world = await openMatrixWorld();
  const account = await openAccount(world, { seconds: 0, agoSeconds: 200 });
  try {
    const daemon = account.start(undefined, {
      TRADING_POLL_MS: String(POLL_MS),
      TRADING_RECONCILE_MS: '1000',
      TRADING_SIGNAL_BATCH_SIZE: '500',
    });
    while (((await daemon.status())?.cycles ?? 0) < 3) await pause(50);
    // Whichever side comes first: after two seconds the next row always trades.
    await account.feed(2, ['IBM']);
    while (((await daemon.status())?.decisions_total ?? 0) < 2) await pause(50);
    await pause(500);
    const first = (await postsOf(account)).length;
    const sentAt: number[] = [];
    for (let i = 0; i < orders + 5; i++) {
      await account.feed(1, ['IBM']);
      sentAt.push(Date.now());
      const before = first + sentAt.length;
      for (let waited = 0; (await postsOf(account)).length < before; waited += 5) {
        if (waited > 20_000) throw new Error(`no order for signal ${i}: ${daemon.stderr()}`);
        await pause(5);
      }
      // The other side is refused while this order may still fill.
      while ((await query(account.dsn, "select 1 from executions where status <> 'filled'")).length > 0)
        await pause(20);
      await pause(20 + ((i * 37) % POLL_MS));
    }
    const received = (await postsOf(account)).slice(first).map((post) => Date.parse(post.machine_at));
    // The first few pay for code that was never run before.
    const waits = received.map((at, i) => at - (sentAt[i] ?? at)).slice(5);
    waits.sort((a, b) => a - b);
    const bare: number[] = [];
    for (let i = 0; i < orders; i++) {
      const startedAt = performance.now();
      await fetch(`${account.exchange.url}/v2/orders`, {
        method: 'POST',
        headers: { 'APCA-API-KEY-ID': KEY, 'APCA-API-SECRET-KEY': SECRET, 'content-type': 'application/json' },
        body: JSON.stringify({ symbol: 'REST', qty: '1', side: 'buy', type: 'market', time_in_force: 'day' }),
      }).then((answer) => answer.arrayBuffer());
      bare.push(performance.now() - startedAt);
    }
    bare.sort((a, b) => a - b);
    const open = await query(account.dsn, "select 1 from trade_decisions where status = 'planned'");
    if (open.length > 0) throw new Error('decisions were left open');
    const [p50, p99] = [quantile(waits, 0.5), quantile(waits, 0.99)];
    return {
      orders: waits.length,
      poll_ms: POLL_MS,
      signal_to_post_ms: { p50: round(p50), p99: round(p99) },
      // On average half a poll is waited for, at worst a whole one.
      beyond_poll_ms: { p50: round(p50 - POLL_MS / 2), p99: round(p99 - POLL_MS) },
      reference_bare_post_ms: { p50: round(quantile(bare, 0.5)), p99: round(quantile(bare, 0.99)) },
    };
  } finally {
    await account.close();
    await world.close();
  }
}
