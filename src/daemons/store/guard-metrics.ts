/**
 * The gauges of the exporter contract (spec ta 5.3), prefix torghut_clickhouse_guardrails_, and the level of the disk.
 * Guarantee: a replica that does not answer keeps its last values and has `clickhouse_up` 0, so that no series vanishes.
 */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { DiskLevel } from '../../lib/signals/disk/level.ts';
import type { NodeReport } from '../../lib/signals/disk/node-report.ts';
import type { FreshnessMode } from '../../lib/signals/disk/probes.ts';
import type { Asked } from '../../lib/signals/disk/report.ts';

const prefix = 'torghut_clickhouse_guardrails_';
/** As a number: `unknown` counts as critical (spec ta 5.2). */
const levelNumber: Record<DiskLevel, number> = { ok: 0, warn: 1, critical: 2, unknown: 2, emergency: 3 };

export interface GuardMetricsOptions {
  registry: Registry;
  diskName: string;
  replicatedTables: readonly string[];
  freshnessMode: FreshnessMode;
}

export class GuardMetrics {
  readonly #options: GuardMetricsOptions;
  readonly #up: Gauge<'replica'>;
  readonly #free: Gauge<'replica'>;
  readonly #total: Gauge<'replica'>;
  readonly #ratio: Gauge<'replica'>;
  readonly #level: Gauge<'replica'>;
  readonly #readonly: Gauge<'replica'>;
  readonly #signals: Gauge<'replica'>;
  readonly #microbars: Gauge<'replica'>;
  readonly #lowMemory: Gauge<'replica' | 'table'>;
  readonly #lowMemoryTotal: Counter<'table'>;
  readonly #fallbackTotal: Counter<'table'>;
  readonly #success: Gauge;
  readonly #at: Gauge;

  constructor(options: GuardMetricsOptions) {
    this.#options = options;
    const registers = [options.registry];
    const gauge = <L extends string = never>(name: string, help: string, labelNames: L[] = []) =>
      new Gauge<L>({ name: `${prefix}${name}`, help, labelNames, registers });
    const counter = (name: string, help: string) =>
      new Counter({ name: `${prefix}${name}`, help, labelNames: ['table'] as const, registers });
    this.#up = gauge('clickhouse_up', '1 while the replica answers', ['replica']);
    this.#free = gauge('disk_free_bytes', 'Free bytes of the disk', ['replica']);
    this.#total = gauge('disk_total_bytes', 'Size of the disk', ['replica']);
    this.#ratio = gauge('disk_free_ratio', 'Free share of the disk', ['replica']);
    this.#level = gauge('disk_level', '0 ok, 1 warn, 2 critical or unknown, 3 emergency', ['replica']);
    this.#readonly = gauge('any_replica_readonly', '1 while a replicated table of the replica takes no rows', [
      'replica',
    ]);
    this.#signals = gauge('ta_signals_max_event_ts_seconds', 'Newest signal, market time', ['replica']);
    this.#microbars = gauge('ta_microbars_max_window_end_seconds', 'Newest bar, market time', ['replica']);
    this.#lowMemory = gauge('freshness_low_memory_mode', '1 where the newest row came from metadata', [
      'replica',
      'table',
    ]);
    this.#lowMemoryTotal = counter('freshness_low_memory_total', 'Looks at metadata instead of rows');
    this.#fallbackTotal = counter('freshness_fallback_total', 'Looks at metadata because the rows could not be read');
    this.#success = gauge('last_scrape_success', '1 when every replica answered the last time');
    this.#at = gauge('last_scrape_ts_seconds', 'Machine time of the last look, epoch seconds');
    for (const table of ['ta_signals', 'ta_microbars']) {
      this.#lowMemoryTotal.inc({ table }, 0);
      this.#fallbackTotal.inc({ table }, 0);
    }
  }

  /** @param atSeconds machine time of the look, epoch seconds */
  record(asked: readonly Asked[], nodes: readonly NodeReport[], atSeconds: number): void {
    const { diskName, replicatedTables, freshnessMode } = this.#options;
    for (const { replica, facts } of asked) {
      this.#up.set({ replica }, facts ? 1 : 0);
      this.#level.set({ replica }, levelNumber[nodes.find((node) => node.replica === replica)?.level ?? 'unknown']);
      if (!facts) continue;
      const disk = facts.disks.find(({ name }) => name === diskName);
      if (disk) {
        this.#free.set({ replica }, disk.free_bytes);
        this.#total.set({ replica }, disk.total_bytes);
        this.#ratio.set({ replica }, disk.total_bytes > 0 ? disk.free_bytes / disk.total_bytes : 0);
      }
      const isReadOnly = facts.replicas.some(
        ({ table, is_readonly }) => is_readonly && replicatedTables.includes(table),
      );
      this.#readonly.set({ replica }, isReadOnly ? 1 : 0);
      for (const { table, newestSeconds, mode } of facts.freshness) {
        const newest = table === 'ta_signals' ? this.#signals : this.#microbars;
        if (newestSeconds !== null) newest.set({ replica }, newestSeconds);
        this.#lowMemory.set({ replica, table }, mode === 'low_memory' ? 1 : 0);
        if (mode === 'low_memory') this.#lowMemoryTotal.inc({ table });
        if (mode === 'low_memory' && freshnessMode === 'auto') this.#fallbackTotal.inc({ table });
      }
    }
    this.#success.set(asked.every(({ facts }) => facts !== undefined) ? 1 : 0);
    this.#at.set(atSeconds);
  }

  /** A look that found no node at all. */
  fail(atSeconds: number): void {
    this.#success.set(0);
    this.#at.set(atSeconds);
  }
}
