/**
 * `torghut clickhouse guard`: looks at every replica again and again, exports the contract of spec ta 5.3, keeps samples for the
 * growth, and tells trade to open nothing new while the disk is in an emergency (trade asks /status, guard-watch.ts).
 * Guarantees: read-only; a silent store ends nothing; an emergency is over only when every replica says so.
 */
import { Registry } from 'prom-client';
import { openStoreNodes, type StoreNodes } from '../../embedded/nodes.ts';
import { storeVariables } from '../../embedded/variables.ts';
import { loadConfig } from '../../lib/service/config.ts';
import { describeError } from '../../lib/service/errors.ts';
import { announceService, withdrawService } from '../../lib/service/home.ts';
import { serveEndpoint } from '../../lib/service/http.ts';
import { createLifecycle, runDaemon } from '../../lib/service/lifecycle.ts';
import { createLogger } from '../../lib/service/logging.ts';
import { machineEpochSeconds, machineMs, sleep } from '../../lib/service/machine.ts';
import { readSamples, recordSamples } from '../../lib/signals/disk/history.ts';
import { type DiskLevel, worst } from '../../lib/signals/disk/level.ts';
import { type NodeReport, reportNode, silentNode } from '../../lib/signals/disk/node-report.ts';
import { askNodes } from '../../lib/signals/disk/report.ts';
import { GuardMetrics } from './guard-metrics.ts';
import { guardVariables, withContractNames } from './guard-variables.ts';

export interface GuardOptions {
  home: string;
  env?: NodeJS.ProcessEnv;
  /** Overrides EXPORTER_PORT. */
  port?: number | undefined;
}

/** What the guard holds to be so. */
export class GuardState {
  level: DiskLevel = 'unknown';
  reasons: string[] = ['not looked yet'];
  nodes: NodeReport[] = [];
  /** Why trade may open nothing new; null while it may. */
  noNewExposure: string | null = null;
  looks = 0;
  error: string | null = null;

  /** Takes a look into account. */
  note(nodes: NodeReport[]): void {
    const verdict = worst(nodes);
    this.nodes = nodes;
    this.level = verdict.level;
    this.reasons = verdict.reasons;
    this.looks += 1;
    this.error = null;
    // A replica that is silent now has not got better: what held before holds on.
    if (verdict.level === 'emergency') this.noNewExposure = verdict.reasons.join('; ');
    else if (nodes.every(({ error }) => error === null)) this.noNewExposure = null;
  }

  status(): Record<string, unknown> {
    return {
      level: this.level,
      reasons: this.reasons,
      no_new_exposure: this.noNewExposure,
      looks: this.looks,
      error: this.error,
      replicas: this.nodes.map(({ replica, level, error, disks, growth, replication }) => ({
        replica,
        level,
        error,
        free_bytes: disks[0]?.free_bytes ?? null,
        total_bytes: disks[0]?.total_bytes ?? null,
        days_to_full: growth.days_to_full,
        replication: replication.status,
      })),
    };
  }
}

/** Runs until it is told to stop; returns the exit code. */
export async function runGuard(options: GuardOptions): Promise<number> {
  const env = withContractNames(options.env ?? process.env);
  const logger = createLogger('guard');
  const { values } = loadConfig(guardVariables, env, Object.keys(storeVariables));
  const lifecycle = createLifecycle({ log: logger });
  return runDaemon(lifecycle, logger, async () => {
    const { home } = options;
    const { signal } = lifecycle;
    const registry = new Registry();
    const freshnessMode = values.CLICKHOUSE_FRESHNESS_QUERY_MODE;
    const metrics = new GuardMetrics({
      registry,
      diskName: values.CLICKHOUSE_DISK_NAME,
      replicatedTables: values.CLICKHOUSE_REPLICATED_TABLES,
      freshnessMode,
    });
    const state = new GuardState();
    const endpoint = await serveEndpoint(
      {
        isAlive: () => true,
        readiness: () => ({ ready: state.looks > 0 && state.error === null, level: state.level, error: state.error }),
        status: () => state.status(),
        metrics: registry,
      },
      options.port ?? values.EXPORTER_PORT,
    );
    lifecycle.onClose('endpoint', () => endpoint.close());
    announceService(home, 'guard', { url: endpoint.url });
    lifecycle.onClose('announcement', () => withdrawService(home, 'guard'));
    logger.info({ url: endpoint.url }, 'the guard of the signal store is running');
    while (!signal.aborted) {
      const began = machineMs();
      let store: StoreNodes | undefined;
      try {
        // Anew each time: a replica that was added or moved is found.
        store = await openStoreNodes({ home, env, signal, mayStart: false });
        await look(store, state, metrics, home, freshnessMode);
      } catch (error) {
        state.error = describeError(error).slice(0, 300);
        metrics.fail(machineEpochSeconds());
        logger.warn({ err: state.error }, 'the store could not be looked at');
      } finally {
        await store?.close();
      }
      await sleep(Math.max(100, values.SCRAPE_INTERVAL_SECONDS * 1_000 - (machineMs() - began)), signal);
    }
  });
}

async function look(
  store: StoreNodes,
  state: GuardState,
  metrics: GuardMetrics,
  home: string,
  freshnessMode: Parameters<typeof askNodes>[2],
): Promise<void> {
  const asked = await askNodes(store.nodes, store.database, freshnessMode);
  const samples = readSamples(home);
  const nodes = asked.map(({ replica, facts, error }) =>
    facts ? reportNode({ replica, facts, isLocal: store.isEmbedded, samples }) : silentNode(replica, error),
  );
  state.note(nodes);
  metrics.record(asked, nodes, machineEpochSeconds());
  recordSamples(
    home,
    asked.flatMap(({ replica, facts }) =>
      facts
        ? [
            {
              at_seconds: facts.nowSeconds,
              replica,
              used_bytes: facts.disks.reduce((sum, disk) => sum + disk.total_bytes - disk.free_bytes, 0),
            },
          ]
        : [],
    ),
  );
}
