/**
 * `torghut up`: the whole pipeline on this machine, each part a process of its own.
 * Guarantees: the virtual clock moves only while this process lives; what dies is started again and counted with its cause;
 * the same arguments resume a run, also after this process was killed; at the end everything is waited for before the
 * summary speaks.
 */
import { mkdirSync } from 'node:fs';
import type { Logger } from 'pino';
import { openEventLog } from '../../lib/log/open.ts';
import { defaultTopics } from '../../lib/log/topics.ts';
import { formatTimestampNs, parseTimestampNs } from '../../lib/market/time.ts';
import { type ClockOwner, ownClockFile, systemClock } from '../../lib/service/clock.ts';
import { describeError, exitCode, TorghutError } from '../../lib/service/errors.ts';
import {
  announceService,
  deadServices,
  findService,
  homePaths,
  type ServiceName,
  withdrawService,
} from '../../lib/service/home.ts';
import type { Lifecycle } from '../../lib/service/lifecycle.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import { childArgs, childEnvironment, childrenInOrder, freePort } from './children.ts';
import { Display } from './display.ts';
import { finishRun, runOutNs } from './finish.ts';
import { FreeSpace } from './free-space.ts';
import { govern, tradeToRowLagMs } from './governor.ts';
import { endLeftovers, refuseSecondUp } from './leftovers.ts';
import { accountProfile, type ChildProfile, describeProfile, simulatorProfile } from './profile.ts';
import { type Restart, type RunFile, writeRunFile } from './run-file.ts';
import { withSignalStore, writeSummary } from './summary.ts';
import { Supervisor } from './supervisor.ts';
import { Watch } from './watch.ts';

export interface UpOptions {
  home: string;
  run: RunFile;
  isNew: boolean;
  /** Arguments of `torghut simulator`; undefined when the broker is a configured Alpaca. */
  simulatorArgs?: string[];
  symbols: readonly string[];
  /** First instant of the input, market nanoseconds. */
  startNs: bigint;
  speed: number;
  exitAtEnd: boolean;
  /** 'json': one object on stdout at the end; 'screen': dashboard on a terminal; 'lines': plain lines. */
  show: 'json' | 'screen' | 'lines';
  lifecycle: Lifecycle;
  log: Logger;
}

const readyLimitMs = 60_000;
/** Runs until the end of the input (exitAtEnd) or until stopped. @returns the summary when the run has ended */
export async function runUp(options: UpOptions): Promise<Record<string, unknown> | undefined> {
  return new UpRun(options).run();
}

class UpRun {
  private readonly options: UpOptions;
  private readonly watch: Watch;
  private readonly supervisor: Supervisor;
  private readonly startedMs = machineMs();
  private readonly earlierSeconds: number;
  private clock: ClockOwner | undefined;
  private phase = 'starting';
  private fatal: string | undefined;
  private readonly space: FreeSpace;
  private spaceWarning: string | undefined;
  private readonly display: Display;
  /** What the children inherit; with our own simulator nothing that points elsewhere. */
  private readonly environment: NodeJS.ProcessEnv;

  constructor(options: UpOptions) {
    this.options = options;
    this.earlierSeconds = options.run.wall_seconds;
    this.environment = childEnvironment(options.simulatorArgs !== undefined);
    this.watch = new Watch(options.home, (name, url) => this.supervisor.keepPort(name, url));
    this.display = new Display(options.show === 'screen');
    this.space = new FreeSpace(options.home, options.log);
    this.supervisor = new Supervisor({
      home: options.home,
      log: options.log,
      onRestart: (restart) => this.noteRestart(restart),
      onFatal: (name, code, lastLine) => {
        this.fatal = `${name} ended with exit ${code}: ${lastLine}`;
      },
    });
  }

  async run(): Promise<Record<string, unknown> | undefined> {
    const { home, lifecycle, log, run, isNew, startNs } = this.options;
    refuseSecondUp(home);
    announceService(home, 'up', { url: 'http://127.0.0.1:0' });
    lifecycle.onClose('up endpoint', () => withdrawService(home, 'up'));
    mkdirSync(homePaths.logs(home), { recursive: true });
    const dead = deadServices(home);
    await endLeftovers(home, log);
    const isVirtual = this.options.simulatorArgs !== undefined;
    // The clock stands at the start until everything is ready.
    if (isVirtual) this.clock = ownClockFile(homePaths.clock(home), startNs, 0);
    // A sitting that was stopped is no fault; one that died is.
    if (!isNew && !run.stopped_cleanly) {
      this.noteRestart({ process: 'up', cause: 'resumed' });
      // Who was killed so shortly before `up` that it could not note it any more.
      const noted = new Set(run.restarts.map(({ pid }) => pid));
      for (const { name, pid } of dead) {
        if (name !== 'up' && !noted.has(pid)) this.noteRestart({ process: name, cause: 'killed', pid });
      }
    }
    run.stopped_cleanly = false;
    writeRunFile(home, run);
    lifecycle.onClose('children', async () => {
      this.display.close();
      await this.supervisor.stop();
      run.stopped_cleanly = true;
      run.wall_seconds = this.wallSeconds();
      writeRunFile(home, run);
    });
    await this.startChildren();
    const renewing = setInterval(() => this.clock?.renew(), 50);
    lifecycle.onClose('clock', () => {
      clearInterval(renewing);
      this.clock?.close();
    });
    await this.waitReady();
    if (lifecycle.signal.aborted) return undefined;
    for (const name of childrenInOrder) {
      const endpoint = findService(home, name);
      if (endpoint) log.info({ process: name, url: endpoint.url }, 'ready');
    }
    this.clock?.setSpeed(this.options.speed);
    this.phase = 'running';
    return this.followInput();
  }

  private async startChildren(): Promise<void> {
    const { home, run, symbols, startNs, simulatorArgs, log } = this.options;
    const port = simulatorArgs === undefined ? 0 : await freePort();
    let profile: ChildProfile;
    if (simulatorArgs === undefined) {
      profile = accountProfile(run.run_id);
      log.info(
        'profile up: broker is Alpaca as configured; every safe default holds (trading off, kill switch on, paper)',
      );
      log.info('profile up: TRADING_ENABLED=true and TRADING_KILL_SWITCH_ENABLED=false let it trade on paper');
    } else {
      profile = simulatorProfile({
        runId: run.run_id,
        clockFile: homePaths.clock(home),
        simulatorPort: port,
        symbols,
        startNs,
      });
      for (const line of describeProfile(profile)) log.info(line);
    }
    for (const name of childrenInOrder) {
      const env = { ...this.environment, ...profile[name] };
      if (name === 'simulator') {
        if (simulatorArgs) this.supervisor.start({ name, args: ['simulator', ...simulatorArgs], env }, port);
      } else {
        this.supervisor.start({ name, args: childArgs[name] as string[], env });
      }
    }
  }

  private async waitReady(): Promise<void> {
    const { lifecycle, log } = this.options;
    const needed = childrenInOrder.filter((name) => name !== 'simulator' || this.options.simulatorArgs !== undefined);
    const limit = machineMs() + readyLimitMs;
    let saidMs = machineMs();
    for (;;) {
      this.throwFatal();
      if (lifecycle.signal.aborted) return;
      await this.watch.refresh(lifecycle.signal);
      const { ws, ta, trade } = this.watch.snapshot;
      const missing = needed.filter((name) => !this.watch.isUp(name));
      if (ws && ws.state !== 'ready') missing.push('ws');
      if (ta && ta.tasks.length === 0) missing.push('ta');
      if (trade && !trade.leader) missing.push('trade');
      if (missing.length === 0) return;
      if (machineMs() - saidMs > 5_000) {
        saidMs = machineMs();
        log.info({ waiting_for: [...new Set(missing)] }, 'starting');
      }
      this.spaceWarning = this.space.check();
      if (machineMs() > limit) {
        const name = missing[0] as ServiceName;
        throw new TorghutError({
          code: 'start_timeout',
          what: `${[...new Set(missing)].join(', ')} not ready after ${readyLimitMs / 1000} s`,
          why: this.spaceWarning ?? this.supervisor.lastLogLine(name),
          next: `read ${homePaths.logs(this.options.home)}/${name}.log`,
          exitCode: exitCode.problemFound,
        });
      }
      await sleep(100, lifecycle.signal);
    }
  }

  private async followInput(): Promise<Record<string, unknown> | undefined> {
    const { lifecycle, exitAtEnd, speed } = this.options;
    for (;;) {
      this.throwFatal();
      if (lifecycle.signal.aborted) return undefined;
      await this.watch.refresh(lifecycle.signal);
      const lagMs = tradeToRowLagMs(this.watch.snapshot, this.marketNowMs());
      if (this.clock) govern(this.clock, speed, lagMs);
      this.spaceWarning = this.space.check();
      this.show(lagMs);
      if (this.inputHasPassed()) {
        if (exitAtEnd) return this.finish();
        this.phase = 'the input has ended; the system goes on';
      }
      await sleep(200, lifecycle.signal);
    }
  }

  /** The input is over and everything that follows the last event in market time has had its time. */
  private inputHasPassed(): boolean {
    const { simulator } = this.watch.snapshot;
    if (!simulator?.end_of_input || !this.watch.isUp('simulator')) return false;
    const lastNs = simulator.last_event_ts ? parseTimestampNs(simulator.last_event_ts) : undefined;
    return lastNs === undefined || (this.clock !== undefined && this.clock.nowNs() >= lastNs + runOutNs);
  }

  private async finish(): Promise<Record<string, unknown>> {
    const { home, run, lifecycle, log, startNs } = this.options;
    // From here on the market only has to move, not to race.
    this.clock?.setSpeed(Math.min(this.options.speed, 5));
    const refreshing = setInterval(() => void this.watch.refresh(lifecycle.signal), 150);
    const eventLog = await openEventLog({ home, env: this.environment, clock: this.clock ?? systemClock() });
    try {
      const problems = await finishRun({
        home,
        watch: this.watch,
        log: eventLog,
        withStore: (use) => withSignalStore(home, use),
        topics: {
          inputs: [defaultTopics.trades, defaultTopics.quotes, defaultTopics.bars],
          outputs: [defaultTopics.taBars, defaultTopics.taSignals],
        },
        signal: lifecycle.signal,
        onPhase: (name) => {
          this.phase = `finishing: ${name}`;
          log.info({ phase: name }, 'finishing');
          this.show(0, true);
        },
      });
      const lastNs = parseTimestampNs(this.watch.snapshot.simulator?.last_event_ts ?? '') ?? startNs;
      run.wall_seconds = this.wallSeconds();
      return await writeSummary({
        home,
        run,
        snapshot: this.watch.snapshot,
        problems,
        wallSeconds: run.wall_seconds,
        virtualSeconds: Number(lastNs - startNs) / 1e9,
      });
    } finally {
      clearInterval(refreshing);
      await eventLog.close();
    }
  }

  private wallSeconds(): number {
    return this.earlierSeconds + (machineMs() - this.startedMs) / 1000;
  }

  private throwFatal(): void {
    if (this.fatal === undefined) return;
    throw new TorghutError({
      code: 'child_failed',
      what: 'a part of the pipeline cannot run',
      why: this.fatal,
      next: `correct that, then repeat the command; the logs are in ${homePaths.logs(this.options.home)}`,
      exitCode: exitCode.problemFound,
    });
  }

  private marketNowMs(): number {
    return this.clock?.nowMs() ?? systemClock().nowMs();
  }

  private noteRestart(restart: Omit<Restart, 'at_market'>): void {
    const { run, home, log } = this.options;
    run.restarts.push({ ...restart, at_market: formatTimestampNs(BigInt(this.marketNowMs()) * 1_000_000n) });
    try {
      writeRunFile(home, run);
    } catch (error) {
      log.warn({ err: describeError(error) }, 'cannot write run.json');
    }
    log.warn({ process: restart.process, cause: restart.cause, detail: restart.detail }, 'started again');
  }

  private show(lagMs: number, isLineDue = false): void {
    const { home, run, speed } = this.options;
    this.display.show(
      {
        snapshot: this.watch.snapshot,
        isUp: (name) => this.watch.isUp(name),
        marketNowNs: BigInt(this.marketNowMs()) * 1_000_000n,
        speed: this.clock?.speed ?? 1,
        maximumSpeed: speed,
        lagMs,
        phase: this.spaceWarning ?? this.phase,
        restarts: run.restarts,
        home,
      },
      isLineDue,
    );
  }
}
