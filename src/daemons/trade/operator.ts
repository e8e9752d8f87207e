/**
 * What the operator's commands of trade rest on: the ledger, the running daemon, the broker, the signal store of a home.
 * Guarantees: everything is opened when it is first asked for and closed together; the broker is checked like the daemon's
 * own; a desk that is opened here holds the leadership and sends nothing but the reduce-only orders of a flatten.
 */
import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { type LedgerSource, ledgerSource, type SignalStoreSource, signalStoreSource } from '../../embedded/connect.ts';
import { storeVariables } from '../../embedded/variables.ts';
import { checkBrokerHost } from '../../lib/alpaca/trading-host.ts';
import { openTradingReads, type TradingReads } from '../../lib/alpaca/trading-rest.ts';
import type { Leadership } from '../../lib/ledger/contract.ts';
import { type OrderLedger, openLedger } from '../../lib/ledger/open.ts';
import { type OperatorLedger, openOperatorLedger } from '../../lib/ledger/operator.ts';
import type { OrderDesk } from '../../lib/orders/contract.ts';
import { type Clock, openClock } from '../../lib/service/clock.ts';
import { loadConfig } from '../../lib/service/config.ts';
import { refusedError, TorghutError, unreachableError, usageError } from '../../lib/service/errors.ts';
import { findService, homePaths } from '../../lib/service/home.ts';
import { createLogger } from '../../lib/service/logging.ts';
import { createSignalReader, type SignalReader } from '../../lib/signals/reader.ts';
import { readRunFile } from '../up/run-file.ts';
import { readTradeStatus } from './client.ts';
import { brokerBudget, openDesk } from './desk.ts';
import { otherNames, type TradeConfig, tradeVariables } from './variables.ts';

export interface OperatorOptions {
  home: string;
  env?: NodeJS.ProcessEnv;
  /** Label of the account; default the running daemon's, else TRADING_ACCOUNT_LABEL, else the mode. */
  account?: string | undefined;
  /** Address of the daemon, when it is not one of this home. */
  url?: string | undefined;
}

export interface HeldDesk {
  desk: OrderDesk;
  leadership: Leadership;
  close(): Promise<void>;
}

export interface Operator {
  readonly home: string;
  readonly accountLabel: string;
  readonly runId: string;
  readonly clock: Clock;
  readonly config: TradeConfig;
  readonly ledger: OrderLedger;
  readonly control: OperatorLedger;
  /** Address of the running daemon; undefined when none is known. */
  readonly daemonUrl: string | undefined;
  readStatus(): Promise<Record<string, unknown>>;
  signals(): SignalReader;
  /** @throws `broker_unknown` (exit 2), `broker_host_refused` (exit 4) */
  broker(): TradingReads;
  /**
   * Leads the account with the kill switch on for this process: claims are resolved, orders cancelled, positions closed.
   * @throws `account_led_elsewhere` (exit 4) while another process leads
   */
  holdDesk(): Promise<HeldDesk>;
  close(): Promise<void>;
}

/** Machine ms that an expired leadership may take to be taken over: lease, and the wait for its transactions. */
const LEAD_WAIT_MS = 20_000;

/** Who acts, for the audit trail: as given, else the user of this machine. */
export function actorName(given: string | undefined): string {
  const name = (given ?? userInfo().username).trim();
  if (/^[\w.@-]{1,64}$/.test(name)) return name;
  throw usageError({
    code: 'actor_invalid',
    what: '--actor is no name',
    why: 'it may hold up to 64 letters, digits, _ . @ and -',
    next: 'give the name of the person who acts',
  });
}

export async function openOperator(options: OperatorOptions): Promise<Operator> {
  const env = options.env ?? process.env;
  const { home } = options;
  const { values: config } = loadConfig(tradeVariables, env, [...Object.keys(storeVariables), ...otherNames]);
  const clockFile = homePaths.clock(home);
  const clock = openClock(env.TORGHUT_CLOCK || (existsSync(clockFile) ? clockFile : undefined));
  const daemonUrl = options.url ?? findService(home, 'trade')?.url;
  const status =
    daemonUrl === undefined ? undefined : await readTradeStatus({ home, url: daemonUrl }).catch(() => undefined);
  const text = (value: unknown) => (typeof value === 'string' ? value : undefined);
  const accountLabel =
    options.account ?? text(status?.account_label) ?? config.TRADING_ACCOUNT_LABEL ?? config.TRADING_MODE;
  const runId = text(status?.run_id) ?? env.TORGHUT_RUN_ID ?? readRunFile(home)?.run_id ?? 'live';

  const ledgers: LedgerSource = ledgerSource({ home, env });
  const dsn = await ledgers.dsn();
  const ledger = openLedger({ dsn, clock, applicationName: 'torghut-operator', maxConnections: 3 });
  const control = openOperatorLedger(dsn);
  let store: SignalStoreSource | undefined;
  let connection: ReturnType<typeof brokerConnection> | undefined;
  const broker = () => {
    connection ??= brokerConnection(config, clock, home);
    return connection;
  };
  const close = async () => {
    await Promise.allSettled([ledger.close(), control.close(), store?.close()]);
    await ledgers.close();
  };
  try {
    await ledger.check();
  } catch (error) {
    await close();
    throw error;
  }

  return {
    home,
    accountLabel,
    runId,
    clock,
    config,
    ledger,
    control,
    daemonUrl,
    readStatus: () => readTradeStatus({ home, url: options.url }),
    signals: () => {
      store ??= signalStoreSource({ home, env });
      const source = store;
      return createSignalReader({
        client: () => source.client(),
        database: source.database,
        runId,
        partitions: config.TORGHUT_PARTITIONS,
      });
    },
    broker: () => broker().reads,
    holdDesk: async () => {
      const { reads, address, budget } = broker();
      const leader = await control.leader(accountLabel);
      if (leader?.isLive) throw ledElsewhere(accountLabel, leader.owner);
      const leadership = await ledger
        .acquireLeadership({ accountLabel, signal: AbortSignal.timeout(LEAD_WAIT_MS) })
        .catch((error: unknown) => {
          const isOver = error instanceof TorghutError && error.code === 'leadership_wait_aborted';
          throw isOver ? ledElsewhere(accountLabel, 'a process that began meanwhile') : error;
        });
      const desk = openDesk({
        config,
        accountLabel,
        address,
        budget,
        reads,
        ledger,
        leadership,
        clock,
        log: createLogger('trade'),
        isKillSwitchOn: () => true,
      });
      return { desk, leadership, close: () => leadership.release() };
    },
    close,
  };
}

/** The configured broker; without keys the simulator of this very home. */
function brokerConnection(config: TradeConfig, clock: Clock, home: string) {
  const simulator = findService(home, 'simulator')?.url;
  const { APCA_API_KEY_ID, APCA_API_SECRET_KEY, APCA_API_BASE_URL, TRADING_MODE: mode } = config;
  const isConfigured = APCA_API_KEY_ID !== undefined && APCA_API_SECRET_KEY !== undefined;
  if (!isConfigured && simulator === undefined) {
    throw unreachableError({
      code: 'broker_unknown',
      what: 'there is no broker to ask',
      why: 'APCA_API_KEY_ID and APCA_API_SECRET_KEY are not set, and no simulator of this home is running',
      next: 'set the keys of the account and APCA_API_BASE_URL',
      canRetry: false,
    });
  }
  const keyId = isConfigured ? APCA_API_KEY_ID : 'SIM-OPERATOR';
  const secretKey = isConfigured ? APCA_API_SECRET_KEY : 'SIM-OPERATOR-LOCAL';
  const baseUrl = isConfigured ? APCA_API_BASE_URL : (simulator as string);
  const checked = checkBrokerHost({ baseUrl, mode, keyId, clockKind: clock.kind });
  const budget = brokerBudget(config, checked.isSimulator);
  const address = { baseUrl: checked.baseUrl, keyId, secretKey, isSimulator: checked.isSimulator };
  return { address, budget, reads: openTradingReads({ ...address, budget, readTries: 2 }) };
}

function ledElsewhere(accountLabel: string, owner: string): TorghutError {
  return refusedError({
    code: 'account_led_elsewhere',
    what: `the account ${accountLabel} is led by ${owner}`,
    why: 'one process at a time may write its orders',
    next: 'run the command in the home of that process, or name its address with --url',
  });
}
