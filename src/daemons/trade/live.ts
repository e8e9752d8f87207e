/**
 * What pins a process to its account (spec trading 3.4): the account that answers must be the one of the environment, and
 * the confirmation of a live account is read from its file whenever it is asked for, because it may come later.
 */
import { join } from 'node:path';
import type { Clock } from '../../lib/service/clock.ts';
import { refusedError, TorghutError } from '../../lib/service/errors.ts';
import type { CyclePorts } from '../../lib/trading/cycle.ts';
import { judgeConfirmation, readConfirmation, readPublicKey } from '../../lib/trading/live-confirmation.ts';
import type { BrokerView } from '../../lib/trading/ports.ts';
import type { TradingSettings } from '../../lib/trading/settings.ts';
import type { TradeConfig } from './variables.ts';

/** Where the confirmation of this home is. */
export function confirmationPath(home: string, config: TradeConfig): string {
  return config.TRADING_LIVE_CONFIRMATION_FILE ?? join(home, 'live-confirmation.json');
}

export function confirmationReader(
  home: string,
  settings: TradingSettings,
  config: TradeConfig,
  clock: Clock,
): CyclePorts['confirmation'] {
  const path = confirmationPath(home, config);
  const { confirmationKey } = settings.live;
  const publicKey = confirmationKey === undefined ? undefined : readPublicKey(confirmationKey);
  return ({ accountIds, armedUntilMs }) =>
    judgeConfirmation(readConfirmation(path), {
      accountLabel: settings.accountLabel,
      accountIds,
      armedUntilMs,
      nowMs: clock.nowMs(),
      publicKey,
    });
}

/** Nothing is led for another account than the pinned one. @throws `account_mismatch` (exit 4) */
export async function demandAccount(broker: Pick<BrokerView, 'account'>, settings: TradingSettings): Promise<void> {
  const { accountId } = settings.live;
  if (accountId === undefined) return;
  let ids: readonly string[];
  try {
    ({ ids } = await broker.account());
  } catch (error) {
    // A broker that is away or refuses says nothing about the account: the gates ask again in every cycle.
    if (error instanceof TorghutError) return;
    throw error;
  }
  if (ids.includes(accountId)) return;
  throw refusedError({
    code: 'account_mismatch',
    what: 'the keys belong to another account than the pinned one',
    why: `TRADING_ACCOUNT_ID is ${accountId}; the broker answers for ${ids.join(', ')}`,
    next: 'correct the keys or TRADING_ACCOUNT_ID',
  });
}
