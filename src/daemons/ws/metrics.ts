/**
 * Metrics of ws (spec ingest 4.3), prefix `torghut_ws_`. Labels never hold order ids or free text.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { createHealthMetrics, type HealthMetrics } from './health-metrics.ts';

export interface WsMetrics extends HealthMetrics {
  registry: Registry;
  lagMs: Histogram<'feed' | 'channel'>;
  anyLagMs: Histogram;
  commitSeconds: Histogram;
  commitErrors: Counter<'error_class'>;
  produced: Counter<'topic'>;
  providerMessages: Counter<'feed' | 'channel'>;
  drops: Counter<'feed' | 'reason'>;
  decodeFailures: Counter<'reason'>;
  dlq: Counter<'reason'>;
  shed: Counter<'channel'>;
  gaps: Counter<'feed' | 'channel' | 'repaired'>;
  repairedRecords: Counter<'channel' | 'late'>;
  connects: Counter<'stream'>;
  connectErrors: Counter<'stream' | 'error_class'>;
  restRetries: Counter<'status'>;
  queueBytes: Gauge;
  spoolBytes: Gauge;
  activeSockets: Gauge<'feed'>;
  ready: Gauge;
  gates: Gauge<'gate'>;
}

const LAG_BUCKETS = [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 60_000];

export function createWsMetrics(): WsMetrics {
  const registry = new Registry();
  const registers = [registry];
  const name = (text: string) => `torghut_ws_${text}`;
  return {
    ...createHealthMetrics(registers, name),
    registry,
    lagMs: new Histogram({
      name: name('market_data_lag_ms'),
      help: 'market ms from the event to our receipt, live messages (a sample)',
      labelNames: ['feed', 'channel'],
      buckets: LAG_BUCKETS,
      registers,
    }),
    anyLagMs: new Histogram({
      name: name('lag_ms'),
      help: 'market ms from the event to our receipt over all channels (a sample)',
      buckets: LAG_BUCKETS,
      registers,
    }),
    commitSeconds: new Histogram({
      name: name('kafka_send_latency_seconds'),
      help: 'time of one commit, machine seconds, failures included',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5],
      registers,
    }),
    commitErrors: new Counter({
      name: name('kafka_send_errors_total'),
      help: 'failed commits',
      labelNames: ['error_class'],
      registers,
    }),
    produced: new Counter({
      name: name('kafka_produce_success_total'),
      help: 'durable records',
      labelNames: ['topic'],
      registers,
    }),
    providerMessages: new Counter({
      name: name('provider_messages_total'),
      help: 'messages received',
      labelNames: ['feed', 'channel'],
      registers,
    }),
    drops: new Counter({
      name: name('market_data_drops_total'),
      help: 'messages left out',
      labelNames: ['feed', 'reason'],
      registers,
    }),
    decodeFailures: new Counter({
      name: name('decode_failures_total'),
      help: 'frames and messages that could not be read',
      labelNames: ['reason'],
      registers,
    }),
    dlq: new Counter({
      name: name('dlq_total'),
      help: 'records written to the dead-letter topic',
      labelNames: ['reason'],
      registers,
    }),
    shed: new Counter({
      name: name('shed_total'),
      help: 'messages left out because queue and spool were full; repaired later',
      labelNames: ['channel'],
      registers,
    }),
    gaps: new Counter({
      name: name('gaps_total'),
      help: 'gaps of a partition and channel, by outcome',
      labelNames: ['feed', 'channel', 'repaired'],
      registers,
    }),
    repairedRecords: new Counter({
      name: name('repaired_records_total'),
      help: 'records taken from REST',
      labelNames: ['channel', 'late'],
      registers,
    }),
    connects: new Counter({
      name: name('ws_connect_success_total'),
      help: 'sessions that became ready',
      labelNames: ['stream'],
      registers,
    }),
    connectErrors: new Counter({
      name: name('ws_connect_errors_total'),
      help: 'sessions that ended, by class',
      labelNames: ['stream', 'error_class'],
      registers,
    }),
    restRetries: new Counter({
      name: name('rest_retries_total'),
      help: 'REST answers that had to be asked for again',
      labelNames: ['status'],
      registers,
    }),
    queueBytes: new Gauge({ name: name('queue_bytes'), help: 'bytes waiting for the log', registers }),
    spoolBytes: new Gauge({ name: name('spool_bytes'), help: 'bytes waiting on disk', registers }),
    activeSockets: new Gauge({
      name: name('active_sockets'),
      help: 'market sockets that are up',
      labelNames: ['feed'],
      registers,
    }),
    ready: new Gauge({ name: name('readyz_status'), help: '1 when ready', registers }),
    gates: new Gauge({
      name: name('readyz_gate_status'),
      help: '1 when the gate is open',
      labelNames: ['gate'],
      registers,
    }),
  };
}
