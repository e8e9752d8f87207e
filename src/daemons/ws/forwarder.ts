/**
 * From received message to lane: reads the time, journals what REST cannot return, counts, and drives the repair of gaps when
 * the connection comes and goes.
 * Guarantees: every lane holds while the stream is not complete; a repair belongs to one connection and ends with it; a message
 * that cannot be read goes to the dead-letter topic and never stops the others.
 */
import type { Logger } from 'pino';
import { isUp } from '../../lib/alpaca/connection-state.ts';
import { emptyMessage, type ScannedMessage, scanMessage } from '../../lib/alpaca/frame-scanner.ts';
import type { MarketRest } from '../../lib/alpaca/market-rest.ts';
import type { StateChange } from '../../lib/alpaca/reconnect.ts';
import { type EventTime, readEventTime } from '../../lib/market/event-time.ts';
import { type Clock, NS_PER_MS } from '../../lib/service/clock.ts';
import { describeError } from '../../lib/service/errors.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import type { AgeWatch } from './age-watch.ts';
import type { DeadLetters } from './dead-letters.ts';
import type { Journal } from './journal.ts';
import type { Lane } from './lane.ts';
import type { WsMetrics } from './metrics.ts';
import type { ProgressTeller } from './progress.ts';
import type { Publisher } from './publisher.ts';
import { channelOfType, counterOfChannel, type RecordMaker, type Slots } from './records.ts';
import { type RepairResult, repairLane } from './repair.ts';
import type { StatusReporter } from './status-reporter.ts';
import type { LaneTail } from './tail.ts';

export interface ForwarderOptions {
  feed: string;
  component: string;
  symbols: readonly string[];
  batchSize: number;
  startNs: bigint | undefined;
  gapLimitMs: number;
  clock: Clock;
  log: Logger;
  lanes: readonly Lane[];
  slots: Slots;
  records: RecordMaker;
  publisher: Publisher;
  journal: Journal;
  rest: MarketRest;
  progress: ProgressTeller;
  status: StatusReporter;
  deadLetters: DeadLetters;
  age: AgeWatch;
  metrics: WsMetrics;
  readTail(partition: number): Promise<LaneTail>;
}

export interface GapTotals {
  open: number;
  repaired: number;
  unrepaired: number;
}

/** Provider times may be ahead of our clock by so much (market ms): what is further ahead would hold back every window. */
const MAX_AHEAD_MS = 5_000;
/** Market ms between two observations of the lag: one costs as much as ten messages. */
const LAG_INTERVAL_MS = 10;
/** Quotes that REST gave are expected on the stream this long after the repair (machine ms). */
const OWED_MS = 3_000;

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly received: Record<string, number> = {};
  readonly gaps: GapTotals = { open: 0, repaired: 0, unrepaired: 0 };
  #isUp = false;
  #connection = new AbortController();
  readonly #repairs = new Map<Lane, Promise<void>>();
  #isStopping = false;
  lastEvent: EventTime | undefined;
  #lastLagMs: number | undefined;
  #lastDataMs = 0;
  #sample = 0;
  #observedMs = 0;

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.gaps.open = options.lanes.length;
    options.records.seenTrades.hold = true;
  }

  /** Market ms of our receipt of the newest message. */
  get lastDataMs(): number {
    return this.#lastDataMs;
  }

  /** Market ms between event and receipt of a recent message. */
  get lagMs(): number | undefined {
    return this.#lastLagMs;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  onMessage(message: ScannedMessage): void {
    const { clock, deadLetters, metrics, slots, lanes } = this.#options;
    const channel = channelOfType[message.type];
    if (channel === undefined) {
      deadLetters.write('unknown_type', message.raw, `message type ${JSON.stringify(message.type)}`, message.symbol);
      return;
    }
    const counter = counterOfChannel[channel] as string;
    this.received[counter] = (this.received[counter] ?? 0) + 1;
    const time = readEventTime(message.time);
    if (message.symbol === '' || time === undefined) {
      const reason = message.symbol === '' ? 'schema' : 'invalid_event_ts';
      deadLetters.write(reason, message.raw, reason === 'schema' ? 'no symbol' : 'no readable t', message.symbol);
      return;
    }
    const nowMs = clock.nowMs();
    if (time.ms - nowMs > MAX_AHEAD_MS) {
      const detail = `t is ${time.ms - nowMs} ms ahead of our clock`;
      deadLetters.write('invalid_event_ts', message.raw, detail, message.symbol);
      return;
    }
    this.#lastDataMs = nowMs;
    if (this.lastEvent === undefined || time.ms >= this.lastEvent.ms) this.lastEvent = time;
    this.#sample += 1;
    if ((this.#sample & 15) === 0) {
      this.#lastLagMs = nowMs - time.ms;
      const isTick = message.type === 't' || message.type === 'q';
      if (isTick) this.#options.age.observe(this.#lastLagMs, nowMs);
      if (isTick && nowMs - this.#observedMs >= LAG_INTERVAL_MS) {
        this.#observedMs = nowMs;
        metrics.lagMs.observe({ feed: this.#options.feed, channel }, Math.max(0, this.#lastLagMs));
        metrics.anyLagMs.observe(Math.max(0, this.#lastLagMs));
      }
    }
    if (message.type === 's' || message.type === 'l') {
      // Halts and LULD wait for nothing: their topic is not merged with the market data.
      this.#publishStatus(message, time, this.#options.journal.append('market', message.raw, nowMs));
      return;
    }
    const journalId =
      message.type === 'c' || message.type === 'x' ? this.#options.journal.append('market', message.raw, nowMs) : 0;
    (lanes[slots.partitionOf(message.symbol)] as Lane).accept(message, time, journalId);
  }

  #publishStatus(message: ScannedMessage, time: EventTime, journalId: number): void {
    const { records, publisher, journal } = this.#options;
    const record = records.record(message, time, 'ws');
    if (journalId !== 0) {
      record.headers = { spool_id: journal.idOf(journalId) };
      record.onDurable = () => journal.settle(journalId);
    }
    publisher.enqueue(record);
  }

  /** Publishes a message that an earlier process had journalled and not committed. */
  restore(raw: string, journalId: number): void {
    const { lanes, slots } = this.#options;
    const message = emptyMessage();
    scanMessage(raw, 0, message);
    const time = readEventTime(message.time);
    if (time === undefined) throw new Error('a journalled message has lost its time');
    if (message.type === 's' || message.type === 'l') this.#publishStatus(message, time, journalId);
    else (lanes[slots.partitionOf(message.symbol)] as Lane).restore(raw, journalId);
  }

  onState(change: StateChange): void {
    const { status, metrics, log, lanes, component, feed, progress } = this.#options;
    const level = change.end ? 'warn' : 'info';
    log[level]({ from: change.from, to: change.to, attempt: change.attempt, ...change.end }, 'market stream');
    if (change.end) metrics.connectErrors.inc({ stream: 'market', error_class: change.end.errorClass });
    const wasUp = this.#isUp;
    this.#isUp = isUp(change.to);
    metrics.activeSockets.set({ feed }, this.#isUp ? 1 : 0);
    status.change(component, change);
    if (this.#isUp && !wasUp) {
      metrics.connects.inc({ stream: 'market' });
      this.#connection = new AbortController();
      this.#options.age.begin();
      for (const lane of lanes) this.#startRepair(lane);
    } else if (!this.#isUp && wasUp) {
      this.#connection.abort();
      progress.forget();
      if (change.to !== 'draining') for (const lane of lanes) this.#open(lane);
    }
  }

  #open(lane: Lane): void {
    if (!lane.isHolding) this.gaps.open += 1;
    this.#options.records.seenTrades.hold = true;
    lane.hold();
  }

  /** Called regularly: moves what waits, and turns a cut lane into a gap once its line is empty. */
  pump(): void {
    for (const lane of this.#options.lanes) {
      lane.pump();
      if (lane.isCut && !lane.isHolding && lane.waiting === 0 && this.#isUp && !this.#options.publisher.isStuck) {
        this.#open(lane);
        this.#startRepair(lane);
      }
    }
  }

  #startRepair(lane: Lane): void {
    const signal = this.#connection.signal;
    // The repair of the last connection, if any, was aborted with it: wait for its end, then begin.
    const before = this.#repairs.get(lane) ?? Promise.resolve();
    const run = before.then(() => this.#repair(lane, signal));
    this.#repairs.set(lane, run);
  }

  async #repair(lane: Lane, signal: AbortSignal): Promise<void> {
    if (signal.aborted || this.#isStopping) return;
    const { options, startMs } = { options: this.#options, startMs: machineMs() };
    const shed = lane.uncut();
    for (const { channel, symbol, count, fromMs, toMs } of shed) {
      const [fromNs, toNs] = [BigInt(fromMs) * NS_PER_MS, BigInt(toMs + 1) * NS_PER_MS];
      const gap = { channel, symbol, fromNs, toNs, count, repaired: false };
      options.status.gap(options.component, gap, 'left out because queue and spool were full; repair begins');
    }
    const left = shed.reduce((sum, item) => sum + item.count, 0);
    try {
      const result = await repairLane(
        {
          lane,
          symbols: options.symbols.filter((symbol) => options.slots.partitionOf(symbol) === lane.partition),
          batchSize: options.batchSize,
          rest: options.rest,
          records: options.records,
          publisher: options.publisher,
          clock: options.clock,
          limitMs: options.gapLimitMs,
          readTail: () => options.readTail(lane.partition),
          startNs: options.startNs,
        },
        signal,
      );
      if (signal.aborted) return;
      this.#closeGap(lane, result, machineMs() - startMs, left);
    } catch (error) {
      options.log.error({ partition: lane.partition, err: describeError(error) }, 'the repair of a gap failed');
      if (signal.aborted) return;
      if (!lane.isHolding) return this.#countClosed(lane, false);
      // It never got as far as to release the lane: nothing is lost yet, begin again.
      await sleep(1_000, signal);
      if (!signal.aborted) this.#startRepair(lane);
    }
  }

  #countClosed(lane: Lane, isRepaired: boolean): void {
    const { metrics, lanes, records } = this.#options;
    this.gaps.open -= 1;
    this.gaps[isRepaired ? 'repaired' : 'unrepaired'] += 1;
    // A gap of a partition is one of each of its channels.
    for (const channel of ['trades', 'quotes', 'bars']) {
      metrics.gaps.inc({ feed: this.#options.feed, channel, repaired: String(isRepaired) });
    }
    if (!lanes.some((other) => other.isHolding)) records.seenTrades.hold = false;
    setTimeout(() => {
      if (!lane.isHolding) lane.owed.clear();
    }, OWED_MS).unref();
  }

  #closeGap(lane: Lane, result: RepairResult, ms: number, shed: number): void {
    const { status, component, metrics, log } = this.#options;
    const isRepaired = result.failure === undefined && result.late.length === 0;
    this.#countClosed(lane, isRepaired);
    const fromNs = result.fromNs ?? result.toNs;
    for (const [list, repaired] of [
      [result.repaired, true],
      [result.late, false],
    ] as const) {
      for (const { channel, symbol, count } of list) {
        metrics.repairedRecords.inc({ channel, late: String(!repaired) }, count);
        status.gap(component, { channel, symbol, fromNs, toNs: result.toNs, count, repaired });
      }
    }
    if (result.failure !== undefined) {
      const gap = { channel: 'all', symbol: '*', fromNs, toNs: result.toNs, count: 0, repaired: false };
      status.gap(component, gap, `partition ${lane.partition}: ${result.failure}; not in the bars`);
    }
    const records = result.repaired.reduce((sum, item) => sum + item.count, 0);
    const late = result.late.reduce((sum, item) => sum + item.count, 0);
    const facts = { partition: lane.partition, records, late, shed, ms: Math.round(ms), failure: result.failure };
    log[isRepaired ? 'info' : 'warn'](facts, isRepaired ? 'gap repaired' : 'gap not repaired in time');
  }

  /** Ends the repairs; what waits is repaired by the next start. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#connection.abort();
    await Promise.all(this.#repairs.values());
  }
}
