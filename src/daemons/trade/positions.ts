/** Positions of the recorded fills beside the broker's own, symbol by symbol. Read-only. */
import { describeError } from '../../lib/service/errors.ts';
import type { Operator } from './operator.ts';

export interface PositionsView {
  rows: Record<string, unknown>[];
  /** Symbols whose quantities differ. */
  drift: string[];
  /** Why the broker could not be asked; undefined when it was. */
  brokerFailure: string | undefined;
}

export async function readPositions(operator: Operator): Promise<PositionsView> {
  const mine = new Map(
    (await operator.ledger.read.orders.positions(operator.accountLabel)).map((held) => [held.symbol, held]),
  );
  let brokerFailure: string | undefined;
  const read = async () => new Map((await operator.broker().positions()).map((held) => [held.symbol, held]));
  const theirs = await read().catch((error: unknown) => {
    brokerFailure = describeError(error);
    return undefined;
  });
  const drift: string[] = [];
  const rows = [...new Set([...mine.keys(), ...(theirs?.keys() ?? [])])].sort().map((symbol) => {
    const ours = mine.get(symbol);
    const held = theirs?.get(symbol);
    const ledgerQty = ours?.quantity.toFixed() ?? '0';
    const brokerQty = theirs ? (held?.quantity.toFixed() ?? '0') : null;
    if (brokerQty !== null && brokerQty !== ledgerQty) drift.push(symbol);
    return {
      symbol,
      ledger_qty: ledgerQty,
      broker_qty: brokerQty,
      agrees: brokerQty === null ? null : brokerQty === ledgerQty,
      avg_entry_price: ours?.avgEntryPrice.toDecimalPlaces(8).toFixed() ?? null,
      broker_avg_entry_price: held?.avgEntryPrice.toFixed() ?? null,
      current_price: held?.currentPrice?.toFixed() ?? null,
      market_value: held?.marketValue?.toFixed() ?? null,
      unrealized_pl: held?.unrealizedPl?.toFixed() ?? null,
      account_label: operator.accountLabel,
    };
  });
  return { rows, drift, brokerFailure };
}
