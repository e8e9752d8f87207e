/** What the user sees while `up` runs: the dashboard on a terminal, a plain line every 5 machine seconds elsewhere. */
import type { ServiceName } from '../../lib/service/home.ts';
import { machineMs } from '../../lib/service/machine.ts';
import { openDashboard, type RunningDashboard } from './dashboard.ts';
import { plainLine, type ViewInput } from './view.ts';
import type { Snapshot } from './watch.ts';

export interface DisplayState {
  snapshot: Snapshot;
  isUp(name: ServiceName): boolean;
  marketNowNs: bigint;
  speed: number;
  maximumSpeed: number;
  lagMs: number;
  phase: string;
  restarts: ViewInput['restarts'];
  home: string;
}

const lineEveryMs = 5_000;
const rateEveryMs = 1_000;
const closesKept = 48;

export class Display {
  private readonly isScreen: boolean;
  private dashboard: RunningDashboard | undefined;
  private readonly closes = new Map<string, number[]>();
  private rates: Record<string, number> = {};
  private counts: Record<string, number> = {};
  private ratesAtMs = machineMs();
  private lineAtMs = 0;

  constructor(isScreen: boolean) {
    this.isScreen = isScreen;
  }

  /** @param isLineDue writes a plain line now, whenever the last one was */
  show(state: DisplayState, isLineDue = false): void {
    const now = machineMs();
    if (now - this.ratesAtMs >= rateEveryMs) this.measure(state.snapshot, now);
    const input: ViewInput = { ...state, rates: this.rates, closes: this.closes };
    if (this.isScreen) {
      if (this.dashboard) this.dashboard.draw(input);
      else this.dashboard = openDashboard(input);
    } else if (isLineDue || now - this.lineAtMs >= lineEveryMs) {
      this.lineAtMs = now;
      process.stderr.write(`${plainLine(input)}\n`);
    }
  }

  /** Rates per machine second, and the newest close of each symbol for its line. */
  private measure(snapshot: Snapshot, now: number): void {
    const counts = snapshot.ws?.acknowledged ?? {};
    const elapsedMs = now - this.ratesAtMs;
    this.rates = Object.fromEntries(
      Object.entries(counts).map(([name, count]) => [
        name,
        ((count - (this.counts[name] ?? count)) * 1000) / elapsedMs,
      ]),
    );
    this.counts = { ...counts };
    this.ratesAtMs = now;
    for (const bar of snapshot.ta?.latest ?? []) {
      const closes = this.closes.get(bar.symbol) ?? [];
      closes.push(bar.c);
      if (closes.length > closesKept) closes.shift();
      this.closes.set(bar.symbol, closes);
    }
  }

  close(): void {
    this.dashboard?.close();
  }
}
