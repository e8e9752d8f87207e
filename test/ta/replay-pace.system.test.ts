/** How a replay waits for the live run: while it is behind, and counted once however many partitions wait. */
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { holdAboveMs, Pace } from '../../src/daemons/ta/replay/pace.ts';
import { announceService, withdrawService } from '../../src/lib/service/home.ts';
import { machineMs, sleep } from '../../src/lib/service/machine.ts';
import { type Feed, openFeed } from './feed.ts';

let feed: Feed;
let lagMs = 0;
const now = Date.UTC(2013, 9, 8, 14);
const iso = (ms: number) => new Date(ms).toISOString();
/** What a live engine says that has one record to read. */
const engine = createServer((_, response) => {
  const task = { watermark: iso(now - lagMs), positions: { t: '0' }, ends: { t: '1' } };
  response.end(JSON.stringify({ market_now: iso(now), phase: 'running', tasks: [task] }));
});

beforeEach(async () => {
  feed = await openFeed();
  engine.listen(0, '127.0.0.1');
  await once(engine, 'listening');
  const { port } = engine.address() as { port: number };
  announceService(feed.home, 'ta', { url: `http://127.0.0.1:${port}` });
});
afterEach(async () => {
  withdrawService(feed.home, 'ta');
  engine.closeAllConnections();
  engine.close();
  await feed.close();
  rmSync(feed.home, { recursive: true, force: true });
});

it('stands still while the live run is behind, and counts the time once for all partitions', async () => {
  const pace = new Pace({ home: feed.home, log: feed.log, outputs: [] });
  lagMs = holdAboveMs + 500;
  const startedAt = machineMs();
  let waiting = 3;
  const wait = async () => {
    await pace.hold(undefined);
    waiting -= 1;
  };
  const holds = [wait(), wait(), wait()];
  await sleep(700);
  expect(waiting).toBe(3);
  lagMs = 0;
  await Promise.all(holds);
  const elapsed = machineMs() - startedAt;
  expect(pace.heldMs).toBeGreaterThan(400);
  expect(pace.heldMs).toBeLessThanOrEqual(elapsed);
  expect(pace.worstMs).toBe(holdAboveMs + 500);
});

it('does not wait for a live run that keeps up', async () => {
  const pace = new Pace({ home: feed.home, log: feed.log, outputs: [] });
  lagMs = holdAboveMs - 500;
  await pace.hold(undefined);
  expect(pace.heldMs).toBe(0);
});
