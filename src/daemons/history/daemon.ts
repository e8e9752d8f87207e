/**
 * `torghut history`: the read-only HTTP API over bars, signals, decisions and executions (spec ta 9). Loopback by default.
 * Guarantees: GET only; nothing is ever written; an error names itself: 400 a wrong parameter, 503 a store that is away, 500 a
 * query that fails (a missing table means the wrong database).
 */

import { existsSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ledgerSource, signalStoreSource } from '../../embedded/connect.ts';
import { storeVariables } from '../../embedded/variables.ts';
import { type LedgerHistory, openLedgerHistory } from '../../lib/ledger/history.ts';
import { loadConfig } from '../../lib/service/config.ts';
import { exitCode, TorghutError } from '../../lib/service/errors.ts';
import { announceService, homePaths, withdrawService } from '../../lib/service/home.ts';
import { sendJson, serveEndpoint } from '../../lib/service/http.ts';
import { createLifecycle, runDaemon, whenAborted } from '../../lib/service/lifecycle.ts';
import { createLogger } from '../../lib/service/logging.ts';
import { createSignalHistory } from '../../lib/signals/history.ts';
import { historyRoutes } from './routes.ts';
import { historyVariables } from './variables.ts';

export interface HistoryOptions {
  home: string;
  env?: NodeJS.ProcessEnv;
  /** Overrides TORGHUT_HISTORY_PORT. */
  port?: number | undefined;
  /** Whose decisions and executions. */
  account?: string | undefined;
}

/** Runs until it is told to stop; returns the exit code. */
export async function runHistory(options: HistoryOptions): Promise<number> {
  const { home, env = process.env } = options;
  const logger = createLogger('history');
  const { values } = loadConfig(historyVariables, env, Object.keys(storeVariables));
  const account = options.account ?? (env.TRADING_ACCOUNT_LABEL || env.TRADING_MODE || 'paper');
  const lifecycle = createLifecycle({ log: logger });
  return runDaemon(lifecycle, logger, async () => {
    const { signal } = lifecycle;
    const store = signalStoreSource({ home, env, signal });
    lifecycle.onClose('store', () => store.close());
    // A home that never traded has no ledger to start.
    const hasLedger = env.DB_DSN !== undefined || existsSync(homePaths.postgres(home));
    const ledgers = ledgerSource({ home, env, signal, mayStart: hasLedger });
    lifecycle.onClose('ledger', () => ledgers.close());
    let open: { dsn: string; history: LedgerHistory } | undefined;
    lifecycle.onClose('history', async () => open?.history.close());
    const ledger = async (): Promise<LedgerHistory> => {
      const dsn = await ledgers.dsn();
      if (open?.dsn === dsn) return open.history;
      const former = open;
      open = { dsn, history: openLedgerHistory(dsn, account) };
      void former?.history.close().catch(() => undefined);
      return open.history;
    };
    const signals = createSignalHistory({ client: () => store.client(), database: store.database });
    const routes = historyRoutes({ signals, ledger });
    const endpoint = await serveEndpoint(
      {
        isAlive: () => true,
        readiness: () => ({ ready: true }),
        status: () => ({ database: store.database, account, routes: Object.keys(routes) }),
        routes: Object.fromEntries(Object.entries(routes).map(([name, handle]) => [name, withErrors(handle)])),
      },
      options.port ?? values.TORGHUT_HISTORY_PORT,
      values.TORGHUT_HISTORY_HOST,
    );
    lifecycle.onClose('endpoint', () => endpoint.close());
    announceService(home, 'history', { url: endpoint.url });
    lifecycle.onClose('announcement', () => withdrawService(home, 'history'));
    logger.info({ url: endpoint.url, database: store.database, account }, 'the history API is running');
    await whenAborted(signal);
  });
}

type Handler = (request: IncomingMessage, response: ServerResponse, url: URL) => Promise<void>;

const statusOf = (error: TorghutError): number => {
  if (error.code === 'signal_tables_missing' || error.code === 'ledger_schema_pending') return 500;
  if (error.exitCode === exitCode.usage) return 400;
  return error.exitCode === exitCode.unreachable ? 503 : 500;
};

function withErrors(handle: Handler): Handler {
  return async (request, response, url) => {
    try {
      await handle(request, response, url);
    } catch (error) {
      if (!(error instanceof TorghutError)) throw error;
      const { code, what, why, next } = error;
      sendJson(response, statusOf(error), {
        ok: false,
        error: { code, message: what, why: why ?? null, next: next ?? null },
      });
    }
  };
}
