/**
 * The processes that `up` starts: their order, their arguments and what they inherit.
 */
import { createServer } from 'node:net';
import type { ServiceName } from '../../lib/service/home.ts';

/** Stores first, then the exchange, then the pipeline from its source to its end. */
export const childrenInOrder: ServiceName[] = ['postgres', 'clickhouse', 'simulator', 'ws', 'ta', 'sink', 'trade'];
/** Words of the CLI for each; the simulator's depend on the input. */
export const childArgs: Record<string, string[]> = {
  postgres: ['embedded', 'postgres'],
  clickhouse: ['embedded', 'clickhouse'],
  ws: ['ws'],
  ta: ['ta', '--only', 'engine'],
  sink: ['ta', '--only', 'sink'],
  trade: ['trade'],
};

/**
 * The caller's environment for children. Under our own simulator every setting that points elsewhere is left out: simulated
 * market data and orders must never reach a configured Kafka, ClickHouse, Postgres or broker.
 */
export function childEnvironment(isOwnSimulator: boolean): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env };
  if (isOwnSimulator) {
    for (const name of Object.keys(env)) {
      if (
        /^(APCA_|ALPACA_|TRADING_|LLM_|INGEST_|SYMBOLS|SHARD_|TA_|KAFKA_|TOPIC_|DB_DSN|DB_URL|DATABASE_URL)/.test(name)
      )
        delete env[name];
    }
  }
  return env;
}

/** A port that is free now; the simulator binds it a moment later. */
export async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
