/**
 * The metrics of ws that tell about its streams, gates, channels and symbols (spec ingest 4.3). Symbols are labels nowhere;
 * error classes, codes, feeds and channels are few.
 */
import { Counter, Gauge, type Registry } from 'prom-client';

export interface HealthMetrics {
  reconnects: Counter;
  marketReconnects: Counter<'feed'>;
  marketConnects: Counter<'feed'>;
  marketConnectErrors: Counter<'feed' | 'error_class'>;
  orderConnects: Counter;
  orderConnectErrors: Counter<'error_class'>;
  produceErrors: Counter<'topic' | 'error_class'>;
  metadataErrors: Counter<'error_class'>;
  readinessErrors: Counter<'error_class'>;
  readinessClass: Gauge<'error_class'>;
  duplicates: Counter<'feed' | 'channel'>;
  orderDuplicates: Counter<'channel'>;
  symbolFetches: Counter;
  symbolFailures: Counter<'reason'>;
  symbolsDegraded: Gauge;
  symbolsFetched: Gauge;
  symbolsFailed: Gauge;
  channel: Gauge<'feed' | 'channel' | 'field'>;
  sessionActive: Gauge;
  lastErrorCode: Gauge<'code'>;
  lastCloseCode: Gauge;
  clockSkew: Gauge;
  loopLag: Gauge;
  seqRegressions: Counter;
  build: Gauge<'version' | 'commit'>;
}

export function createHealthMetrics(registers: Registry[], name: (text: string) => string): HealthMetrics {
  const counter = <L extends string = never>(text: string, help: string, ...labelNames: L[]) =>
    new Counter<L>({ name: name(text), help, labelNames, registers });
  const gauge = <L extends string = never>(text: string, help: string, ...labelNames: L[]) =>
    new Gauge<L>({ name: name(text), help, labelNames, registers });
  return {
    reconnects: counter('reconnects_total', 'connections of any stream that ended and are dialled again'),
    marketReconnects: counter('market_data_reconnects_total', 'market connections that ended', 'feed'),
    marketConnects: counter('market_data_connect_success_total', 'market sessions that became ready', 'feed'),
    marketConnectErrors: counter(
      'market_data_connect_errors_total', 'market sessions that ended, by class', 'feed', 'error_class',
    ), // biome-ignore format: one list
    orderConnects: counter('trade_updates_connect_success_total', 'order-event sessions that became ready'),
    orderConnectErrors: counter('trade_updates_connect_errors_total', 'order-event sessions that ended', 'error_class'),
    produceErrors: counter(
      'kafka_produce_errors_total', 'records in commits that failed, each to be tried again', 'topic', 'error_class',
    ), // biome-ignore format: one list
    metadataErrors: counter(
      'kafka_metadata_errors_total',
      'commits that failed for the cluster, not the records',
      'error_class',
    ),
    readinessErrors: counter('readiness_errors_total', 'times readiness was lost, by class', 'error_class'),
    readinessClass: gauge('readyz_error_class', '1 for the class that keeps ws from being ready', 'error_class'),
    orderDuplicates: counter('dedup_drops_total', 'order events that were given before', 'channel'),
    duplicates: counter('market_data_dedup_drops_total', 'trades and bars that were given before', 'feed', 'channel'),
    symbolFetches: counter('desired_symbols_fetch_success_total', 'polls of the symbol service that were taken'),
    symbolFailures: counter('desired_symbols_fetch_failures_total', 'polls that were not taken', 'reason'),
    symbolsDegraded: gauge('desired_symbols_fetch_degraded', '1 while the last poll was not taken'),
    symbolsFetched: gauge('desired_symbols_fetch_last_success_ts_seconds', 'market time of the last poll taken'),
    symbolsFailed: gauge('desired_symbols_fetch_last_failure_ts_seconds', 'market time of the last poll not taken'),
    channel: gauge('market_data_channel', 'freshness of a channel, by field', 'feed', 'channel', 'field'),
    sessionActive: gauge('session_active', '1 while the calendar lets data of this feed be expected'),
    lastErrorCode: gauge('last_error_code', '1 for the code of the last connection that failed', 'code'),
    lastCloseCode: gauge('last_close_code', 'close code or HTTP status of the last connection that ended; 0 before'),
    clockSkew: gauge('clock_skew_ms', 'market ms by which the provider is ahead of our clock; 0 when it is not'),
    loopLag: gauge('event_loop_lag_seconds', 'worst delay of the event loop in the last seconds, machine time'),
    seqRegressions: counter('seq_regressions_total', 'starts whose clock was behind the sequence of the one before'),
    build: gauge('build_info', 'always 1', 'version', 'commit'),
  };
}
