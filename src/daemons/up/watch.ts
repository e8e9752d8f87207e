/**
 * What `up` knows of its children: their /status, asked every 200 machine ms and parsed once. A child that does not answer
 * keeps its last status and counts as down.
 */
import { z } from 'zod';
import { findService, type ServiceName } from '../../lib/service/home.ts';
import { machineMs } from '../../lib/service/machine.ts';

const counts = z.record(z.string(), z.number()).default({});

export const simulatorStatus = z.looseObject({
  input: counts,
  end_of_input: z.boolean(),
  last_event_ts: z.string().nullable(),
  orders: z.unknown().optional(),
});
export const wsStatus = z.looseObject({
  state: z.string(),
  received: counts,
  acknowledged: counts,
  queued: z.number().default(0),
  spooled: z.number().default(0),
  gaps: z.looseObject({ open: z.number(), repaired: z.number(), unrepaired: z.number() }),
  last_event_ts: z.string().nullable().default(null),
});
const barSchema = z.looseObject({
  symbol: z.string(),
  event_ts: z.string(),
  c: z.number(),
  v: z.number().optional(),
});
export const taStatus = z.looseObject({
  tasks: z.array(
    z.looseObject({
      partition: z.number(),
      positions: z.record(z.string(), z.string()),
      watermark: z.string().nullable(),
    }),
  ),
  bars_out: z.number(),
  signals_out: z.number(),
  late: z.number().default(0),
  trades_without_price: z.number().default(0),
  latest: z.array(barSchema).default([]),
});
export const sinkStatus = z.looseObject({
  positions: z.record(z.string(), z.record(z.string(), z.string())),
  rows: counts,
  newest_event_ts: z.string().nullable(),
  circuit: z.string(),
});
export const tradeStatus = z.looseObject({
  leader: z.boolean(),
  cursor: z.record(z.string(), z.string()),
  decisions: counts,
  reject_reasons: counts.optional(),
  orders_open: z.number().default(0),
  unknown_claims: z.number(),
  positions: z.array(z.looseObject({ symbol: z.string(), qty: z.string() })).default([]),
  draining: z.boolean().default(false),
  drained: z.boolean(),
});

const schemas = { simulator: simulatorStatus, ws: wsStatus, ta: taStatus, sink: sinkStatus, trade: tradeStatus };
const statusPaths: Partial<Record<ServiceName, string>> = { simulator: '/_sim/status' };

export interface Snapshot {
  simulator?: z.infer<typeof simulatorStatus>;
  ws?: z.infer<typeof wsStatus>;
  ta?: z.infer<typeof taStatus>;
  sink?: z.infer<typeof sinkStatus>;
  trade?: z.infer<typeof tradeStatus>;
  /** Machine ms of the last answer of each; missing when it never answered. */
  answeredAtMs: Partial<Record<ServiceName, number>>;
}

export class Watch {
  readonly snapshot: Snapshot = { answeredAtMs: {} };
  private readonly home: string;
  private readonly onEndpoint: (name: ServiceName, url: string) => void;

  constructor(home: string, onEndpoint: (name: ServiceName, url: string) => void) {
    this.home = home;
    this.onEndpoint = onEndpoint;
  }

  /** Did the child answer within the last second? */
  isUp(name: ServiceName): boolean {
    const at = this.snapshot.answeredAtMs[name];
    return at !== undefined && machineMs() - at < 1_000;
  }

  /** Asks every child once. */
  async refresh(signal: AbortSignal): Promise<void> {
    const asked = (Object.keys(schemas) as (keyof typeof schemas)[]).map((name) => this.ask(name, signal));
    for (const name of ['clickhouse', 'postgres'] as const) {
      const endpoint = findService(this.home, name);
      if (endpoint) {
        this.snapshot.answeredAtMs[name] = machineMs();
        this.onEndpoint(name, endpoint.url);
      }
    }
    await Promise.all(asked);
  }

  private async ask(name: keyof typeof schemas, signal: AbortSignal): Promise<void> {
    const endpoint = findService(this.home, name);
    if (!endpoint) return;
    this.onEndpoint(name, endpoint.url);
    try {
      const response = await fetch(`${endpoint.url}${statusPaths[name] ?? '/status'}`, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(2_000)]),
      });
      if (!response.ok) return;
      const parsed = schemas[name].safeParse(await response.json());
      if (!parsed.success) return;
      Object.assign(this.snapshot, { [name]: parsed.data });
      this.snapshot.answeredAtMs[name] = machineMs();
    } catch {
      // It is starting, stopping or killed; the next round asks again.
    }
  }
}
