/** What a diagnosis rests on, wherever it came from; nothing of it is secret. */
import type { CredentialReport } from '../../../lib/alpaca/credential-test.ts';
import type { ClusterFacts } from '../../../lib/cluster/ws-deployment.ts';
import type { WsFacts } from '../status-client.ts';

/** Another forwarder of this machine with the same key on the same address. */
export interface LocalHolder {
  home: string;
  pid: number;
}

export interface DiagnosisFacts {
  ws: WsFacts | undefined;
  /** Why ws does not answer. */
  wsSilence: string | undefined;
  cluster: ClusterFacts | undefined;
  /** Error classes and codes in the last lines of the log, newest last; only where ws does not answer. */
  logged: readonly { errorClass: string; code: number | undefined }[];
  localHolders: readonly LocalHolder[];
  /** The ws of this home went without saying so. */
  hasDied: boolean;
  /** undefined: not tested, or ws could not. */
  credentials: CredentialReport | undefined;
  /** Epoch ms, for the ages of what a cluster tells. */
  nowMs: number;
}

/** The refusal that the diagnosis begins with. */
export interface LastError {
  errorClass: string;
  code: number | undefined;
  from: 'market stream' | 'order stream' | 'log';
}

/** Newest error of the stream that is down. */
export function lastErrorOf(facts: DiagnosisFacts): LastError | undefined {
  const { ws } = facts;
  if (ws === undefined) {
    const last = facts.logged.at(-1);
    return last && { ...last, from: 'log' };
  }
  const market = ws.readiness.alpaca_market_data_ws;
  if (!ws.readiness.gates.alpaca_ws) {
    const { last_end } = ws.status.connection;
    const errorClass = market.error_class ?? last_end?.error_class;
    if (errorClass === undefined) return undefined;
    return { errorClass, code: market.error_code ?? last_end?.code ?? undefined, from: 'market stream' };
  }
  const orders = ws.readiness.trade_updates;
  if (ws.readiness.gates.trade_updates === false && orders?.error_class) {
    return { errorClass: orders.error_class, code: orders.error_code ?? undefined, from: 'order stream' };
  }
  return undefined;
}

/** Does the decision need the test of the keys? */
export function needsCredentials(error: LastError | undefined): boolean {
  return error !== undefined && !/^alpaca_(406|symbol|entitlement|protocol|slow)/.test(error.errorClass);
}
