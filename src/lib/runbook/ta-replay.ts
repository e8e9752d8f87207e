/**
 * May a replay of ta begin (spec ta R7)? Pure: facts in, the feasibility object out.
 * Guarantees: what is not known blocks; every reason is named with what to do; a replay that ends the live run is judged by more
 * than one beside it. `non_destructive_replay_admission` is the verdict for a replay beside the live run whatever was asked.
 */

/** Why a replay is refused, as the runbook page lists them. */
export const replayBlocks = [
  'source_retention', 'window_open', 'clickhouse_ttl', 'replay_id_used', 'disk', 'session_open', 'trading_not_paused',
  'ta_running', 'inputs_missing', 'repair_too_large', 'market_data_keys',
] as const; // biome-ignore format: one list
export type ReplayBlock = (typeof replayBlocks)[number];

export interface ReplayFacts {
  method: 'm1t' | 'm2' | 'm3' | 'm5';
  /** Market ms. */
  nowMs: number;
  fromMs: number;
  /** Null where the run goes on with the replay. */
  toMs: number | null;
  /** The latest end whose rows can no longer change, market ms; null when nothing is settled. */
  settledMs: number | null;
  /** Are trades, quotes and bars there, with one number of partitions? */
  hasInputs: boolean;
  /** Warm-up needed before `fromMs`, market ms. */
  leadMs: number;
  source: {
    /** Time of the oldest record that every input still holds from, market ms; null when nothing was ever removed. */
    cutMs: number | null;
    /** Rows of the live store inside the window that end before the log begins. */
    rowsBefore: number;
  };
  ttlDays: number | null;
  /** It will never be promoted: its database has no TTL. */
  isKeptApart: boolean;
  idUsedBy: readonly string[];
  disk: { freeBytes: number | null; level: string; estimateBytes: number };
  session: string;
  duringSession: boolean;
  trading: 'none' | 'paused' | 'running' | 'unknown';
  /** Processes and group members of ta that would work against a replay that ends the live run. */
  running: readonly string[];
  repairRecords: number;
  repairLimit: number;
  hasMarketDataKeys: boolean;
  coverage: { days: number; requiredDays: number; rows: number; gaps: number };
}

export interface RequiredAction {
  block: ReplayBlock;
  why: string;
  next: string;
}

export interface ReplayFeasibility {
  /** The live store covers the window already: an export of it needs no replay (M0). */
  exact_replay_capture_ready: boolean;
  non_destructive_replay_admission: boolean;
  /** May this very replay begin? */
  admission: boolean;
  status: 'admitted' | 'blocked';
  required_actions: RequiredAction[];
}

const DAY_MS = 86_400_000;
const iso = (ms: number): string => new Date(ms).toISOString();
const gib = (bytes: number): string => `${(bytes / 1024 ** 3).toFixed(1)} GiB`;

export function judgeReplay(facts: ReplayFacts): ReplayFeasibility {
  const required = actionsFor(facts, facts.method);
  const beside = facts.method === 'm5' ? 'm5' : 'm2';
  const { rows, gaps, days, requiredDays } = facts.coverage;
  return {
    exact_replay_capture_ready: rows > 0 && gaps === 0 && days >= requiredDays,
    non_destructive_replay_admission: actionsFor(facts, beside).length === 0,
    admission: required.length === 0,
    status: required.length === 0 ? 'admitted' : 'blocked',
    required_actions: required,
  };
}

function actionsFor(facts: ReplayFacts, method: ReplayFacts['method']): RequiredAction[] {
  const found: RequiredAction[] = [];
  const block = (name: ReplayBlock, why: string, next: string) => void found.push({ block: name, why, next });
  const endsLive = method === 'm1t' || method === 'm3';
  const isFetched = method === 'm5';
  const { source, fromMs, toMs, nowMs, settledMs, ttlDays, disk } = facts;
  if (!facts.hasInputs)
    block('inputs_missing', 'the topics of trades, quotes and bars are not there', 'torghut log topics: has ws begun?');
  if (!isFetched && method !== 'm3') {
    if (source.cutMs !== null && source.cutMs > fromMs - facts.leadMs) {
      block(
        'source_retention',
        `with ${facts.leadMs / 1_000} s to warm up, input is needed from ${iso(fromMs - facts.leadMs)}; the log holds it from ${iso(source.cutMs)}`,
        'a later --from, or --method m5, which fetches the input from the provider',
      );
    } else if (source.rowsBefore > 0) {
      block(
        'source_retention',
        `${source.rowsBefore} stored rows of the window are older than the first record of the log`,
        'a later --from, or --method m5, which fetches the input from the provider',
      );
    }
  }
  if (!endsLive && (settledMs === null || (toMs ?? Number.POSITIVE_INFINITY) > settledMs)) {
    block(
      'window_open',
      settledMs === null ? 'nothing is settled yet' : `rows after ${iso(settledMs)} may still be revised`,
      settledMs === null ? 'wait for 20 minutes of market time' : `--to ${iso(settledMs)} or earlier`,
    );
  }
  if (ttlDays !== null && fromMs < nowMs - ttlDays * DAY_MS && !(facts.isKeptApart && !endsLive)) {
    block(
      'clickhouse_ttl',
      `the store keeps rows for ${ttlDays} days: those of ${iso(fromMs)} would be merged away`,
      endsLive
        ? 'raise it with `torghut clickhouse migrate --ttl-days`'
        : 'raise it with `torghut clickhouse migrate --ttl-days`, or add --keep-apart: a database without TTL that is never promoted',
    );
  }
  if (facts.idUsedBy.length > 0)
    block('replay_id_used', `the id has ${facts.idUsedBy.join(', ')}`, 'a new --replay-id: one is never used twice');
  if (disk.level === 'critical' || disk.level === 'emergency' || disk.level === 'unknown') {
    block(
      'disk',
      disk.freeBytes === null
        ? 'the free space of the store is not known'
        : `${gib(disk.freeBytes)} are free, the replay may take ${gib(disk.estimateBytes)}: that would be ${disk.level}`,
      'torghut clickhouse disk --plan',
    );
  }
  if (endsLive && facts.session === 'regular' && !facts.duringSession)
    block(
      'session_open',
      'the market session is open',
      'wait for its end, or add --during-session and confirm the new plan',
    );
  if (facts.trading === 'running' || facts.trading === 'unknown') {
    block(
      'trading_not_paused',
      facts.trading === 'running' ? 'trading is not paused' : 'whether trading is paused cannot be told',
      'torghut trade pause --reason "replaying ta" --wait',
    );
  }
  if (endsLive && facts.running.length > 0)
    block('ta_running', `${facts.running.join(', ')} still run`, 'end torghut up, or torghut ta, on every machine');
  if (!isFetched && facts.repairRecords > facts.repairLimit) {
    block(
      'repair_too_large',
      `${facts.repairRecords} repaired records lie in the window; ${facts.repairLimit} are held in memory at most`,
      'replay shorter windows',
    );
  }
  if (isFetched && !facts.hasMarketDataKeys)
    block('market_data_keys', 'there are no keys for the market data', 'set APCA_API_KEY_ID and APCA_API_SECRET_KEY');
  return found;
}
