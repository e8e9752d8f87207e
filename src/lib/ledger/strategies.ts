/**
 * Strategies as the catalog last said (spec 2.1, 2.2): upserted by name, disabled when a synced catalog drops them, never
 * deleted, because decisions point at them.
 */
import { randomUUID } from 'node:crypto';
import type { Selectable } from 'kysely';
import { addCatalogVersion, catalogVersion, catalogVersions } from './catalogs.ts';
import type { StrategyRow, StrategyWrites } from './contract.ts';
import { toJsonb } from './jsonb.ts';
import type { LedgerDb, LedgerTables } from './tables.ts';
import { defined, optionalDecimal, optionalNumeric } from './values.ts';

function rowOf(row: Selectable<LedgerTables['strategies']>): StrategyRow {
  return defined({
    id: row.id,
    name: row.name,
    enabled: row.enabled,
    description: row.description ?? undefined,
    baseTimeframe: row.base_timeframe,
    universeType: row.universe_type,
    universeSymbols: Array.isArray(row.universe_symbols) ? row.universe_symbols.map(String) : [],
    maxPositionPctEquity: optionalDecimal(row.max_position_pct_equity),
    maxNotionalPerTrade: optionalDecimal(row.max_notional_per_trade),
    catalogMeta: row.catalog_meta,
    catalogDigest: row.catalog_digest.trim(),
  });
}

export interface StrategyContext {
  /** Of the leader that writes. */
  epoch: bigint;
  /** Market ms. */
  nowMs(): number;
  /** Writes the audit row of a catalog that changed something. */
  audit(actor: string, action: string, after: unknown): Promise<void>;
}

export function strategyRepository(db: LedgerDb, { epoch, nowMs, audit }: StrategyContext): StrategyWrites {
  const all = async () => {
    const rows = await db.selectFrom('strategies').selectAll().orderBy('name').execute();
    return rows.map(rowOf);
  };
  return {
    all,
    ensure: async (name, description) => {
      await db
        .insertInto('strategies')
        .values({
          id: randomUUID(),
          name,
          description,
          enabled: false,
          base_timeframe: 'none',
          universe_type: 'static',
          universe_symbols: toJsonb([]),
          max_position_pct_equity: null,
          max_notional_per_trade: null,
          catalog_meta: toJsonb({ made_by: 'trade' }),
          catalog_digest: '',
        })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
      const found = db.selectFrom('strategies').select('id').where('name', '=', name);
      return (await found.executeTakeFirstOrThrow()).id;
    },
    versions: (limit) => catalogVersions(db, limit),
    version: (version) => catalogVersion(db, version),
    applyCatalog: async ({ entries, digest, mode, actor, source }) => {
      const known = new Map((await all()).map((row) => [row.name, row]));
      let inserted = 0;
      let updated = 0;
      for (const entry of entries) {
        const columns = {
          name: entry.name,
          description: entry.description ?? null,
          enabled: entry.enabled,
          base_timeframe: entry.baseTimeframe,
          universe_type: entry.universeType,
          universe_symbols: toJsonb(entry.universeSymbols),
          max_position_pct_equity: optionalNumeric(entry.maxPositionPctEquity),
          max_notional_per_trade: optionalNumeric(entry.maxNotionalPerTrade),
          catalog_meta: entry.catalogMeta,
          catalog_digest: digest,
        };
        const before = known.get(entry.name);
        if (!before) {
          await db
            .insertInto('strategies')
            .values({ id: randomUUID(), ...columns })
            .execute();
          inserted += 1;
        } else if (before.catalogDigest !== digest || before.enabled !== entry.enabled) {
          await db.updateTable('strategies').set(columns).where('name', '=', entry.name).execute();
          updated += 1;
        }
      }
      const listed = new Set(entries.map((entry) => entry.name));
      const absent = [...known.values()].filter((row) => row.enabled && !listed.has(row.name)).map((row) => row.name);
      let disabled = 0;
      if (mode === 'sync' && absent.length > 0) {
        const result = await db
          .updateTable('strategies')
          .set({ enabled: false, catalog_digest: digest })
          .where('name', 'in', absent)
          .executeTakeFirst();
        disabled = Number(result.numUpdatedRows);
      }
      if (inserted + updated + disabled > 0) {
        await audit(actor, 'strategy_catalog_applied', { digest, mode, inserted, updated, disabled, absent });
      }
      const changes = { inserted, updated, disabled };
      if (source === undefined) return { ...changes, rows: await all() };
      const { text: content, strategies } = source;
      const added = { digest, content, mode, strategies, ...changes, actor, epoch, appliedAtMs: nowMs() };
      const version = await addCatalogVersion(db, added);
      return { ...changes, rows: await all(), version };
    },
  };
}
