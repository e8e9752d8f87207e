/** The ledger of a home or of DB_DSN for commands that only read it: opened, checked, closed in one place. */
import { openLedger as findLedger } from '../../embedded/connect.ts';
import { type OrderLedger, openLedger } from '../../lib/ledger/open.ts';
import { systemClock } from '../../lib/service/clock.ts';

/** @throws `ledger_unreachable`, `ledger_schema_pending` (exit 3), `ledger_schema_newer` (exit 4) */
export async function withLedger<T>(home: string, read: (ledger: OrderLedger) => Promise<T>): Promise<T> {
  const found = await findLedger({ home });
  const ledger = openLedger({
    dsn: found.dsn,
    clock: systemClock(),
    applicationName: 'torghut-cli',
    maxConnections: 1,
  });
  try {
    await ledger.check();
    return await read(ledger);
  } finally {
    await ledger.close();
    await found.close();
  }
}
