/** A node with something of every class that the disk plan knows. */
import type { NodeFacts } from '../../src/lib/signals/disk/classes.ts';
import type { PlanQuestion } from '../../src/lib/signals/disk/plan.ts';
import type { StoreFacts } from '../../src/lib/signals/disk/probes.ts';

const day = (table: string, partition: string, bytes = 100) => ({
  database: 'torghut',
  table,
  partition,
  partition_id: partition.replaceAll('-', ''),
  bytes,
  rows: 1,
  parts: 1,
  all_bytes: bytes,
  age_days: null,
});
const days = ['2026-01-01', '2026-01-02', '2026-01-03', '2026-01-04', '2026-01-05'];
const total = { min_partition: '', max_partition: '', rows: 1, parts: 1, quiet_seconds: 90_000 };

export const facts: StoreFacts = {
  nowSeconds: 1_800_000_000,
  disks: [],
  tables: [
    { database: 'torghut_sim_a', table: 'x', bytes: 100, all_bytes: 100, ...total },
    { database: 'torghut_sim_a', table: 'y', bytes: 50, all_bytes: 50, ...total },
    { database: 'torghut', table: 'ta_signals', bytes: 500, all_bytes: 500, ...total },
    { database: 'torghut', table: 'ta_signals__replicated_migration_v2', bytes: 100, all_bytes: 100, ...total },
  ],
  partitions: [
    ...days.map((each) => day('ta_microbars', each)),
    ...days.map((each) => day('ta_signals', each)),
    ...days.map((each) => day('ta_signal_log', each)),
    ...[2, 3, 4, 7, 8].flatMap((age) =>
      ['hyperliquid_raw', 'hyperliquid_trades', 'options_surface_features'].map((table) => ({
        ...day(table, `2026-01-1${9 - age}`),
        age_days: age,
      })),
    ),
    { ...day('intraday_trades_v1', '202501'), database: 'signal', age_days: 300 },
  ],
  replicated: [],
  runDatabases: [{ database: 'torghut_sim_a', runId: 'sim-a' }],
  migrating: [],
  busy: [],
  inactive: { bytes: 7, parts: 1 },
  detached: ['ignored', 'clone', 'broken', '', 'covered-by-broken', 'noquorum'].map((reason) => ({
    database: 'torghut',
    table: "o'x",
    name: `${reason}_all_1'1`,
    reason,
    bytes: 100,
  })),
  merges: [],
  mutations: [],
  logTables: ['query_log', 'query_log_0', 'trace_log'].map((table) => ({ table, bytes: 100, rows: 1 })),
  expired: [],
  ttlDays: 35,
  growth: { bytes_24h: 0, history_seconds: 0 },
  errors: [],
  replicas: [],
  keeperError: undefined,
  partLog: null,
  freshness: [],
};

const expired = facts.partitions.filter(({ table, partition }) => table === 'ta_signals' && partition === days[0]);
facts.expired.push(...expired);

/** What a plan over this one node asks for: everything. */
export const everything = {
  database: 'torghut',
  level: 'emergency',
  runs: new Map([['sim-a', true]]),
  liveDays: true,
  targetFreeRatio: 0.9,
  spaces: [{ replica: 'local', freeBytes: 0, totalBytes: 1e6 }],
  issuedSeconds: facts.nowSeconds,
} satisfies PlanQuestion;

export const oneNode = (changes: Partial<StoreFacts> = {}): NodeFacts[] => [
  { replica: 'local', facts: { ...facts, ...changes } },
];
