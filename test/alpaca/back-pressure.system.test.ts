/** A reader that is behind rests its socket in short stretches, and nothing is lost. */
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { openSocket } from '../../src/lib/alpaca/socket.ts';
import { systemClock } from '../../src/lib/service/clock.ts';
import { machineMs, sleep } from '../../src/lib/service/machine.ts';

test('frames wait while the reader is congested, none is lost, and pongs come through afterwards', async () => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await new Promise((resolve) => server.once('listening', resolve));
  const frame = 'x'.repeat(65_536);
  const count = 60;
  server.on('connection', (client) => {
    for (let i = 0; i < count; i++) client.send(`${i} ${frame}`);
  });
  let isCongested = true;
  let pongs = 0;
  const got: number[] = [];
  const socket = openSocket({
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    clock: systemClock(),
    pingMs: 20,
    pongTimeoutMs: 5_000,
    connectTimeoutMs: 5_000,
    onOpen: () => undefined,
    onFrame: (data) => got.push(Number.parseInt(data.toString('latin1', 0, 8), 10)),
    isCongested: () => isCongested,
    onPong: () => {
      pongs += 1;
    },
    onEnd: () => undefined,
  });
  try {
    const startMs = machineMs();
    while (got.length === 0) await sleep(5);
    await sleep(600);
    // Held back, not stopped.
    expect(got.length).toBeGreaterThan(1);
    expect(got.length).toBeLessThan(count);
    isCongested = false;
    while ((got.length < count || pongs === 0) && machineMs() - startMs < 10_000) await sleep(5);
    expect(got).toEqual(Array.from({ length: count }, (_, i) => i));
    expect(pongs).toBeGreaterThan(0);
  } finally {
    await socket.close(1_000);
    server.close();
  }
});
