/** Prometheus metrics of the engine, read from the tasks when they are asked for. */
import { Counter, Gauge, Registry } from 'prom-client';
import type { TaskCounters } from './task-state.ts';

export interface MetricsSource {
  counters(): TaskCounters;
  tasks(): { partition: number; watermarkMs: number | null }[];
  marketNowMs(): number;
}

/** Every metric name begins with torghut_ta_. */
export function createTaMetrics(source: MetricsSource): Registry {
  const registry = new Registry();
  const counter = (name: string, help: string, read: (counters: TaskCounters) => number) =>
    new Counter({
      name: `torghut_ta_${name}_total`,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(read(source.counters()));
      },
    });
  counter('records', 'input records applied', (c) => c.records);
  counter('microbars', '1-second bars given out, revisions included', (c) => c.bars);
  counter('signals', 'signals given out, revisions included', (c) => c.signals);
  counter('revisions', 'bars and signals that revise an earlier one', (c) => c.revisions);
  counter('late_events', 'events too late to change anything', (c) => c.late);
  counter('duplicate_events', 'events that were there already', (c) => c.duplicates);
  counter('rejected_records', 'records that could not be used', (c) => c.rejected);
  new Gauge({
    name: 'torghut_ta_watermark_lag_ms',
    help: 'market ms from the watermark of a partition to now',
    labelNames: ['partition'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { partition, watermarkMs } of source.tasks()) {
        if (watermarkMs !== null)
          this.set({ partition: String(partition) }, Math.max(0, source.marketNowMs() - watermarkMs));
      }
    },
  });
  return registry;
}
