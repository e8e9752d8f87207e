/**
 * `torghut ws gaps`: the gaps that ws has recorded on its status topic, by channel and symbol, with what became of them. A record
 * that is older than the topic's retention is gone.
 */
import { z } from 'zod';
import type { EventLog } from '../../lib/log/port.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';
import { readToEnd, readValue } from './tail.ts';

export interface GapRow extends Record<string, unknown> {
  /** Market time of the record. */
  at: string;
  component: string;
  channel: string;
  symbol: string;
  from: string;
  to: string;
  count: number;
  /**
   * `repaired`: in the bars. `late`: came after the live data had to go on, in the repair topic, not in the bars. `lost`: not
   * to be had. `backfilled`: written to the repair topic by `ws backfill`.
   */
  state: 'repaired' | 'late' | 'lost' | 'backfilled';
  detail: string | null;
}

export const BACKFILL_COMPONENT = 'ws:backfill';

const payloadSchema = z.looseObject({
  status: z.literal('gap'),
  detail: z.string().nullish(),
  gap: z.object({
    channel: z.string(),
    symbol: z.string(),
    from: z.string(),
    to: z.string(),
    count: z.number(),
    repaired: z.boolean(),
  }),
});

export interface GapFilter {
  symbol: string | undefined;
  channel: string | undefined;
  /** Only what is not in the bars. */
  isOpenOnly: boolean;
  /** Market ns; gaps that ended before are left out. */
  sinceNs: bigint | undefined;
}

/** Oldest first. */
export async function readGaps(log: EventLog, statusTopic: string, filter: GapFilter): Promise<GapRow[]> {
  const [topic] = await log.describeTopics([statusTopic]);
  const rows: GapRow[] = [];
  for (const { partition, earliest, latest } of topic?.partitions ?? []) {
    await readToEnd(log, { topic: statusTopic, partition }, earliest, latest, (record) => {
      const { value } = readValue(record);
      const parsed = payloadSchema.safeParse(value?.payload);
      if (value === undefined || !parsed.success) return;
      const { gap, detail } = parsed.data;
      const state =
        value.symbol === BACKFILL_COMPONENT
          ? 'backfilled'
          : gap.repaired
            ? 'repaired'
            : gap.count > 0
              ? 'late'
              : 'lost';
      rows.push({ at: value.event_ts, component: value.symbol, ...gap, state, detail: detail ?? null });
    });
  }
  const isWanted = (row: GapRow) =>
    (filter.symbol === undefined || row.symbol === filter.symbol || row.symbol === '*') &&
    (filter.channel === undefined || row.channel === filter.channel || row.channel === 'all') &&
    (!filter.isOpenOnly || row.state === 'late' || row.state === 'lost') &&
    (filter.sinceNs === undefined || (parseTimestampNs(row.to) ?? 0n) >= filter.sinceNs);
  return rows
    .filter(isWanted)
    .map(({ repaired: _, ...row }) => row as GapRow)
    .sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
}
