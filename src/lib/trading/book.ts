/**
 * The account as the gates see it: broker's account and positions, and every order that may still change them.
 * Guarantees: our pending orders are read before the broker is, so a fill in between counts twice and never not at all; what
 * is submitted afterwards is added here in full until the next reading, because no reading shows it yet.
 */
import { Decimal } from 'decimal.js';
import type { LedgerReads, OpenOrder } from '../ledger/contract.ts';
import type { OrderTerms } from '../risk/order.ts';
import { buyingPowerNeed } from '../risk/projection.ts';
import type { HoldingView, PendingOrder, PriceView } from '../risk/snapshot.ts';
import { TorghutError } from '../service/errors.ts';
import { machineMs } from '../service/machine.ts';
import type { BrokerAccount, BrokerPosition, BrokerView } from './ports.ts';

export interface Book {
  /** undefined when the broker refused to say (for example 401). */
  account: BrokerAccount | undefined;
  /** undefined likewise; a symbol that is not in it is flat. */
  positions: ReadonlyMap<string, BrokerPosition> | undefined;
  pending: readonly PendingOrder[];
  /** Machine ms of the reading. */
  readAtMachineMs: number;
}

/** Signed quantity of a symbol; undefined when the positions are not known. */
export function positionOf(book: Book, symbol: string): Decimal | undefined {
  return book.positions === undefined ? undefined : (book.positions.get(symbol)?.quantity ?? new Decimal(0));
}

/** Everything held, each at its newest price: the bar's where it is known, else the broker's own. */
export function holdingsOf(book: Book, prices: ReadonlyMap<string, PriceView>): HoldingView[] | undefined {
  return (
    book.positions &&
    [...book.positions.values()].map(({ symbol, quantity, currentPrice }) => ({
      symbol,
      quantity,
      price: prices.get(symbol)?.price ?? currentPrice,
    }))
  );
}

/** Errors that may pass stop the cycle (it is tried again); definite refusals mean "not known". */
async function knownOrUndefined<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if (error instanceof TorghutError && !error.canRetry) return undefined;
    throw error;
  }
}

/** A claim whose POST may not have reached the broker's figures yet. */
function pendingOf(order: OpenOrder): PendingOrder {
  const terms = { side: order.side, type: order.type, quantity: order.remainingQty, limitPrice: order.limitPrice };
  const isUnseen = order.stage !== 'open' && order.intent !== 'exit' && order.price !== undefined;
  return {
    symbol: order.symbol,
    side: order.side,
    remaining: order.remainingQty,
    type: order.type,
    ...(order.limitPrice === undefined ? {} : { limitPrice: order.limitPrice }),
    ...(order.price === undefined ? {} : { price: order.price }),
    ...(isUnseen && order.price !== undefined ? { unseenCost: buyingPowerNeed(terms, order.price) } : {}),
  };
}

/** @throws retryable errors of ledger and broker */
export async function readBook(accountLabel: string, ledger: LedgerReads, broker: BrokerView): Promise<Book> {
  const readAtMachineMs = machineMs();
  const open = await ledger.orders.openOrders(accountLabel);
  const [account, positions] = await Promise.all([
    knownOrUndefined(broker.account()),
    knownOrUndefined(broker.positions()),
  ]);
  return {
    account,
    positions: positions && new Map(positions.map((position) => [position.symbol, position])),
    pending: open.map(pendingOf),
    readAtMachineMs,
  };
}

/** The book after an order was submitted, or may have been. */
export function withSubmitted(book: Book, terms: OrderTerms, price: Decimal | undefined, isClosing: boolean): Book {
  const pending: PendingOrder = {
    symbol: terms.symbol,
    side: terms.side,
    remaining: terms.quantity,
    type: terms.type,
    ...(terms.limitPrice === undefined ? {} : { limitPrice: terms.limitPrice }),
    ...(price === undefined ? {} : { price }),
    ...(isClosing || price === undefined ? {} : { unseenCost: buyingPowerNeed(terms, price) }),
  };
  return { ...book, pending: [...book.pending, pending] };
}
