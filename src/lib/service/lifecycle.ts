/**
 * Life of a daemon: one AbortController handed to everybody, closers run in reverse order, and a drain limit in machine time.
 * Guarantees: a child of `up` (TORGHUT_PARENT=stdin) ends when its parent dies, because the pipe on stdin closes; correctness
 * never depends on the closers having run.
 */
import type { Logger } from 'pino';
import { describeError, exitCode, TorghutError } from './errors.ts';
import { withdrawAllServices } from './home.ts';

export interface Lifecycle {
  /** Aborted when the process has to end. */
  readonly signal: AbortSignal;
  /** Registers work to do at the end; run last-registered first, or at once when the end has been. */
  onClose(name: string, close: () => Promise<void> | void): void;
  /** Begins the end with a reason; the first call wins. */
  stop(reason: string, code?: number): void;
  /** Resolves with the exit code after every closer has run or the drain limit has passed. */
  readonly done: Promise<number>;
}

export interface LifecycleOptions {
  log: Logger;
  /** Machine ms that all closers together may take. */
  drainMs?: number;
  /** Install signal handlers and the parent watch (false in tests). */
  attach?: boolean;
}

export function createLifecycle(options: LifecycleOptions): Lifecycle {
  const { log, drainMs = 20_000, attach = true } = options;
  const controller = new AbortController();
  const closers: { name: string; close: () => Promise<void> | void }[] = [];
  let resolveDone: (code: number) => void = () => undefined;
  const done = new Promise<number>((resolve) => {
    resolveDone = resolve;
  });

  let isOver = false;
  const runCloser = async ({ name, close }: { name: string; close: () => Promise<void> | void }) => {
    try {
      await close();
    } catch (error) {
      log.warn({ closer: name, err: describeError(error) }, 'closing failed');
    }
  };
  const runClosers = async (code: number) => {
    for (const closer of closers.reverse()) await runCloser(closer);
    isOver = true;
    resolveDone(code);
  };
  const onClose = (name: string, close: () => Promise<void> | void) => {
    // What was still being opened when the end came is closed as soon as it is there.
    if (isOver) void runCloser({ name, close });
    else closers.push({ name, close });
  };

  const stop = (reason: string, code: number = exitCode.ok) => {
    if (controller.signal.aborted) return;
    log.info({ reason }, 'stopping');
    controller.abort(reason);
    const limit = setTimeout(() => {
      log.warn({ drainMs }, 'drain limit reached');
      resolveDone(code === exitCode.ok ? exitCode.unexpected : code);
    }, drainMs);
    limit.unref();
    void runClosers(code).finally(() => clearTimeout(limit));
  };

  if (attach) {
    let signals = 0;
    for (const name of ['SIGTERM', 'SIGINT'] as const) {
      process.on(name, () => {
        signals += 1;
        if (signals > 1) process.exit(exitCode.unexpected);
        stop(name, name === 'SIGINT' ? exitCode.interrupted : exitCode.ok);
      });
    }
    watchParent(() => stop('parent_gone', exitCode.unexpected));
  }
  return { signal: controller.signal, onClose, stop, done };
}

/**
 * Calls back when the parent has died. `up` starts its children with a pipe on stdin and TORGHUT_PARENT=stdin; the kernel
 * closes the pipe whatever killed the parent. The process is ended by force 2 machine seconds later (design: all within 3 s).
 */
export function watchParent(onGone: () => void): void {
  if (process.env.TORGHUT_PARENT !== 'stdin') return;
  const gone = () => {
    setTimeout(() => process.exit(exitCode.unexpected), 2_000).unref();
    // First of all: what is left of an endpoint after its parent's death tells the next `up` who was killed.
    withdrawAllServices();
    onGone();
  };
  process.stdin.on('end', gone);
  process.stdin.on('error', gone);
  process.stdin.resume();
  // The pipe must not keep an otherwise finished process alive.
  (process.stdin as unknown as { unref?: () => void }).unref?.();
}

/** Runs a daemon's main function and ends the process with its code; a TorghutError ends it with its own. */
export async function runDaemon(lifecycle: Lifecycle, log: Logger, main: () => Promise<void>): Promise<number> {
  try {
    await main();
  } catch (error) {
    endBy(error, lifecycle, log);
  }
  return lifecycle.done;
}

/** Ends a daemon by an error: a TorghutError with its own code, any other as unexpected. */
export function endBy(error: unknown, lifecycle: Lifecycle, log: Logger): void {
  if (error instanceof TorghutError) {
    log.error({ code: error.code, why: error.why, next: error.next }, error.what);
    lifecycle.stop(error.code, error.exitCode);
  } else {
    log.error({ err: error }, 'unexpected error');
    lifecycle.stop('unexpected', exitCode.unexpected);
  }
}

/** Resolves when the signal aborts, at once when it has. */
export function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
