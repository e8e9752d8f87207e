/** A client whose changes are looked at before they go out, and a sample of steps for tests that restart the engine for each. */
import type { ClickHouseClient } from '@clickhouse/client';

/** The same client; `before` sees the text of every statement that changes something and of every insert, and may hold it up. */
export function recording(
  client: ClickHouseClient,
  before: (statement: string) => void | Promise<void>,
): ClickHouseClient {
  return new Proxy(client, {
    get: (target, name) => {
      if (name === 'command') {
        return async (params: Parameters<ClickHouseClient['command']>[0]) => {
          await before(params.query);
          return target.command(params);
        };
      }
      if (name === 'insert') {
        return async (params: Parameters<ClickHouseClient['insert']>[0]) => {
          await before(`INSERT INTO ${params.table}`);
          return target.insert(params);
        };
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Some of the steps, others in each run; the seed is printed so that a failure can be repeated with TORGHUT_TEST_FULL. */
export function sampled<T>(steps: readonly T[], count: number): T[] {
  const offset = Math.floor(Math.random() * steps.length);
  const stride = Math.max(1, Math.floor(steps.length / count));
  const chosen = Array.from({ length: Math.min(count, steps.length) }, (_, i) => (offset + i * stride) % steps.length);
  console.info(`steps ${chosen.join(', ')} of ${steps.length}`);
  return chosen.map((i) => steps[i] as T);
}
