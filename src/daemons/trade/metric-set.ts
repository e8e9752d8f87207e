/** The metrics of one registry, each read where its value lives when somebody asks: a scrape copies, nothing is counted twice. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Clock } from '../../lib/service/clock.ts';

const PREFIX = 'torghut_trading_';

export const flag = (value: unknown): number => (value ? 1 : 0);
/** Market seconds since an instant (ms); -1 before the first. */
export const secondsSince = (clock: Clock, atMs: number | undefined): number =>
  atMs === undefined ? -1 : (clock.nowMs() - atMs) / 1_000;

export interface MetricSet {
  total(name: string, help: string, read: () => number): void;
  /** @param read counts by the values of the labels, which are joined by a blank; the last one may hold blanks */
  labelled(name: string, help: string, labels: readonly string[], read: () => Readonly<Record<string, number>>): void;
  gauge(name: string, help: string, read: () => number): void;
}

export function metricSet(registry: Registry): MetricSet {
  const registers = [registry];
  return {
    total: (name, help, read) => {
      new Counter({
        name: `${PREFIX}${name}`,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(read());
        },
      });
    },
    labelled: (name, help, labels, read) => {
      new Counter({
        name: `${PREFIX}${name}`,
        help,
        labelNames: [...labels],
        registers,
        collect() {
          this.reset();
          for (const [key, value] of Object.entries(read())) this.labels(labelsOf(labels, key)).inc(value);
        },
      });
    },
    gauge: (name, help, read) => {
      new Gauge({
        name: `${PREFIX}${name}`,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    },
  };
}

function labelsOf(labels: readonly string[], key: string): Record<string, string> {
  const parts = key.split(' ');
  return Object.fromEntries(
    labels.map((label, i) => [label, i < labels.length - 1 ? (parts[i] ?? '') : parts.slice(i).join(' ')]),
  );
}
