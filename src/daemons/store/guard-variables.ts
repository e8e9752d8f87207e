/** Settings of `torghut clickhouse guard`: the names of the exporter contract (spec ta 5.3); the store's own are TA_CLICKHOUSE_*. */
import { kind, type Variable } from '../../lib/service/config.ts';
import { usageError } from '../../lib/service/errors.ts';
import type { FreshnessMode } from '../../lib/signals/disk/probes.ts';

export const guardVariables = {
  CLICKHOUSE_DISK_NAME: {
    parse: kind.text,
    default: 'default',
    describe: 'The disk whose space is exported',
  } satisfies Variable<string>,
  CLICKHOUSE_REPLICATED_TABLES: {
    parse: kind.csv,
    default: ['ta_signals', 'ta_microbars'],
    describe: 'Tables whose replicas must take rows',
  } satisfies Variable<readonly string[]>,
  CLICKHOUSE_FRESHNESS_QUERY_MODE: {
    parse: kind.oneOf('auto', 'precise', 'low_memory'),
    default: 'auto' as FreshnessMode,
    describe:
      'How the newest row is found: from the rows, from the parts’ metadata, or the second when the first fails',
  } satisfies Variable<FreshnessMode>,
  EXPORTER_PORT: {
    parse: kind.integer(0, 65_535),
    default: 9_108,
    describe: 'Port of metrics, health and status; 0 picks a free one',
  } satisfies Variable<number>,
  SCRAPE_INTERVAL_SECONDS: {
    parse: kind.number(0.1, 3_600),
    default: 30,
    time: 'machine',
    describe: 'Machine seconds between two looks at the store',
  } satisfies Variable<number>,
};

/** Names of the contract for what has a TA_ name here. */
const contractNames = {
  CLICKHOUSE_URL: 'TA_CLICKHOUSE_URL',
  CLICKHOUSE_USER: 'TA_CLICKHOUSE_USERNAME',
  CLICKHOUSE_PASSWORD: 'TA_CLICKHOUSE_PASSWORD',
  CLICKHOUSE_CLUSTER: 'TA_CLICKHOUSE_CLUSTER',
} as const;

/** The environment with the contract's names as ours. @throws `config_invalid` (exit 2) when two names disagree */
export function withContractNames(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const merged = { ...env };
  for (const [theirs, ours] of Object.entries(contractNames)) {
    const value = env[theirs];
    if (value === undefined || value === '') continue;
    if (env[ours] && env[ours] !== value) {
      throw usageError({
        code: 'config_invalid',
        what: `${theirs} and ${ours} name the same setting but have different values`,
        next: 'set one of them',
      });
    }
    merged[ours] = value;
  }
  return merged;
}
