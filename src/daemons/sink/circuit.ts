/**
 * The sink's view of the store: closed (it takes rows), open (it cannot, until somebody acts), half open (one probe under way).
 * Rows are never given up: the batch is kept and tried again, with growing pauses in machine time.
 */
import { codeOf, describeError, refusedError, TorghutError } from '../../lib/service/errors.ts';
import { backoffMs, machineMs, sleep } from '../../lib/service/machine.ts';
import { kindOfStoreError } from '../../lib/signals/errors.ts';

export interface CircuitOptions {
  /** First and longest pause between tries, machine ms (spec ta 4.5: 500 to 30,000). */
  baseMs: number;
  maxMs: number;
  /** For the jitter of the pauses. */
  random: () => number;
  onError(error: unknown, kind: 'retry' | 'halt', waitMs: number): void;
}

/** A replica that is read only (code 242) passes by itself for so long, then it needs a person. */
const readOnlyLimitMs = 60_000;

export class StoreCircuit {
  readonly #options: CircuitOptions;
  state: 'closed' | 'open' | 'half_open' = 'closed';
  /** Why it is not closed, or why the last try failed. */
  error: string | undefined;

  constructor(options: CircuitOptions) {
    this.#options = options;
  }

  /**
   * Runs the work until it succeeds.
   * @returns false when a signal ended it before
   * @throws `sink_store_rejects` (exit 4) when the store will never take it
   */
  async run(work: () => Promise<void>, signal: AbortSignal): Promise<boolean> {
    let readOnlySince: number | undefined;
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        if (this.state === 'open') this.state = 'half_open';
        await work();
        this.state = 'closed';
        this.error = undefined;
        return true;
      } catch (error) {
        // A refusal of our own (another run, another schema) is no matter of waiting.
        if (error instanceof TorghutError && !error.canRetry) throw error;
        let kind = kindOfStoreError(error);
        this.error = `${codeOf(error) ?? 'error'}: ${describeError(error).slice(0, 300)}`;
        if (kind === 'fatal') {
          throw refusedError({
            code: 'sink_store_rejects',
            what: 'ClickHouse will not take the rows of the ta topics',
            why: this.error,
            next: 'compare the schema with this version of torghut and check the user; no row is lost, they stay in the log',
            cause: error,
          });
        }
        if (codeOf(error) === '242') {
          readOnlySince ??= machineMs();
          if (machineMs() - readOnlySince > readOnlyLimitMs) kind = 'halt';
        }
        if (kind === 'halt' || this.state === 'half_open') this.state = 'open';
        const waitMs = backoffMs(attempt, this.#options.baseMs, this.#options.maxMs, this.#options.random);
        this.#options.onError(error, kind, waitMs);
        await sleep(waitMs, signal);
      }
    }
    return false;
  }
}
