/**
 * `trade arm-live` over a real ledger. The broker is stood in for: a live account is only ever behind the one host that
 * no test may reach; its reads are the few that the command makes.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Decimal } from 'decimal.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ArmOptions, armLive, makeConfirmationKey } from '../../src/daemons/trade/arm-live.ts';
import { confirmationReader } from '../../src/daemons/trade/live.ts';
import { settingsOf } from '../../src/daemons/trade/settings.ts';
import { tradeVariables } from '../../src/daemons/trade/variables.ts';
import type { TradingReads } from '../../src/lib/alpaca/trading-rest.ts';
import type { StrategyEntry } from '../../src/lib/ledger/contract.ts';
import { toJsonb } from '../../src/lib/ledger/jsonb.ts';
import { type OrderLedger, openLedger } from '../../src/lib/ledger/open.ts';
import { type OperatorLedger, openOperatorLedger } from '../../src/lib/ledger/operator.ts';
import { loadConfig } from '../../src/lib/service/config.ts';
import { sessionMs, testClock } from '../ledger/support/fixtures.ts';
import { query, startTestPostgres, type TestPostgres } from '../ledger/support/postgres.ts';

const home = mkdtempSync(join(tmpdir(), 'torghut-arm-'));
const keyFile = join(home, 'second.pem');
const publicKey = makeConfirmationKey(keyFile);
const closeMs = sessionMs + 6 * 3_600_000;
const clock = testClock();
let postgres: TestPostgres;
let dsn: string;
let ledger: OrderLedger;
let control: OperatorLedger;

const live = {
  TRADING_MODE: 'live',
  TRADING_ENABLED: 'true',
  APCA_API_BASE_URL: 'https://api.alpaca.markets',
  TRADING_ACCOUNT_ID: '9ABC',
  TRADING_LIVE_CONFIRMATION_KEY: publicKey,
  TRADING_MAX_NOTIONAL_PER_TRADE: '1000',
  TRADING_SUBMIT_LOOKUP_SECONDS: '60',
};
const broker = {
  account: () => Promise.resolve({ id: 'uuid-1', accountNumber: '9ABC' }),
  clock: () =>
    Promise.resolve({
      isOpen: true,
      nextOpenNs: BigInt(closeMs + 17 * 3_600_000) * 1_000_000n,
      nextCloseNs: BigInt(closeMs) * 1_000_000n,
    }),
} as unknown as TradingReads;

beforeAll(async () => {
  postgres = await startTestPostgres();
  dsn = await postgres.newLedgerDatabase();
  ledger = openLedger({ dsn, clock });
  control = openOperatorLedger(dsn);
  const leadership = await ledger.acquireLeadership({ accountLabel: 'live' });
  const entry: StrategyEntry = {
    name: 's',
    enabled: true,
    baseTimeframe: '1Min',
    universeType: 'static',
    universeSymbols: ['IBM'],
    maxPositionPctEquity: new Decimal('0.05'),
    catalogMeta: toJsonb({}),
  };
  await ledger.write(leadership, (tx) =>
    tx.strategies.applyCatalog({ entries: [entry], digest: 'd'.repeat(64), mode: 'sync', actor: 'test' }),
  );
  await leadership.release();
  const drill = { action: 'stop_verified', reason: 'drill', actor: 'anna', atMs: sessionMs - 86_400_000 };
  await control.audit({ ...drill, after: toJsonb({ accountLabel: 'live', seconds: 4.2 }) });
});
afterAll(async () => {
  await control?.close();
  await ledger?.close();
  await postgres?.close();
  rmSync(home, { recursive: true, force: true });
});

const told: string[] = [];
const attested = ['paper_record', 'slo_met', 'backup_restored', 'alerts_fired'];
function arm(change: Partial<ArmOptions> = {}, env: Record<string, string> = {}) {
  const config = loadConfig(tradeVariables, { ...live, ...env }).values;
  const operator = { accountLabel: 'live', clock, config, control, ledger, broker: () => broker };
  return armLive(operator, {
    home,
    env: {},
    reason: 'first session',
    actor: 'anna',
    confirm: undefined,
    dryRun: false,
    untilMs: undefined,
    keyFile: undefined,
    disarm: false,
    attested,
    changeRecord: 'CR-7',
    paperAccount: 'paper',
    tell: (line) => told.push(line),
    ...change,
  });
}
const planOf = async (change: Partial<ArmOptions> = {}) =>
  String((await arm({ ...change, dryRun: true })).report.plan_id);
const controls = () => ledger.read.account.controls('live');
/** What the loop of this home makes of the confirmation now. */
const judged = async () => {
  const config = loadConfig(tradeVariables, live).values;
  const { liveArmedUntilMs: armedUntilMs } = await controls();
  return confirmationReader(
    home,
    settingsOf(config, 'live'),
    config,
    clock,
  )({ accountIds: ['uuid-1', '9ABC'], armedUntilMs });
};

describe('arming', () => {
  it('shows every condition and changes nothing in a dry run', async () => {
    const { report, exitCode } = await arm({ dryRun: true, attested: [] });
    expect(exitCode).toBe(10);
    expect(report.checks.filter(({ verdict }) => verdict !== 'ok').map(({ id }) => id)).toEqual(attested);
    expect(await controls()).not.toHaveProperty('liveArmedUntilMs');
  });

  it.each<[string, Partial<ArmOptions>, Record<string, string>]>([
    ['paper_record', { attested: ['slo_met', 'backup_restored', 'alerts_fired'] }, {}],
    ['change_record', { changeRecord: undefined }, {}],
    ['account_pinned', {}, { TRADING_ACCOUNT_ID: 'another' }],
    ['endpoint_pinned', {}, { TRADING_MODE: 'paper', APCA_API_BASE_URL: 'https://paper-api.alpaca.markets' }],
    ['shorts_off', {}, { TRADING_ALLOW_SHORTS: 'true' }],
    ['reviewer_harmless', { env: { LLM_ENABLED: 'true' } }, {}],
  ])('is refused without %s, and what is wrong cannot be attested away', async (id, change, env) => {
    const everything = change.attested ?? [...attested, id];
    await expect(arm({ ...change, attested: everything }, env)).rejects.toMatchObject({
      code: 'arming_refused',
      exitCode: 4,
      why: expect.stringContaining(`${id}:`),
    });
    expect(await controls()).not.toHaveProperty('liveArmedUntilMs');
  });

  it('needs the id of its plan, and ends with the session at the latest', async () => {
    await expect(arm()).rejects.toMatchObject({ code: 'confirmation_needed', exitCode: 4 });
    await expect(arm({ confirm: 'an-old-id' })).rejects.toMatchObject({ code: 'plan_changed', exitCode: 4 });
    await expect(arm({ untilMs: closeMs + 1 })).rejects.toMatchObject({ code: 'arming_too_long', exitCode: 4 });
    await expect(arm({ untilMs: sessionMs })).rejects.toMatchObject({ code: 'arming_too_long' });
  });

  it('cannot be confirmed before anybody armed', async () => {
    await expect(arm({ actor: 'bert', keyFile })).rejects.toMatchObject({ code: 'live_not_armed', exitCode: 4 });
  });

  it('writes the control row with reason and end, and by itself opens nothing', async () => {
    const { report } = await arm({ confirm: await planOf() });
    expect(report).toMatchObject({ applied: true, armed_by: 'anna', armed_until: new Date(closeMs).toISOString() });
    expect(await controls()).toMatchObject({ liveArmedUntilMs: closeMs, actor: 'anna', reason: 'first session' });
    expect(await judged()).toBe('missing');
  });
});

describe('confirming', () => {
  it('is refused to the person who armed', async () => {
    await expect(arm({ keyFile })).rejects.toMatchObject({
      code: 'arming_refused',
      why: expect.stringContaining('two_persons'),
    });
  });

  it('is a file that only the holder of the key can make, for this arming', async () => {
    const who = { actor: 'bert', keyFile };
    const { report } = await arm({ ...who, confirm: await planOf(who) });
    const path = String(report.confirmation);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await judged()).toBe('valid');
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.replace('bert', 'carl'));
    expect(await judged()).toBe('invalid');
    writeFileSync(path, text);
    // A switch that moves meanwhile changes nothing about it; another arming does.
    await control.changeControls('live', { paused: true }, { reason: 'x', actor: 'carl', atMs: sessionMs });
    expect(await judged()).toBe('valid');
  });

  it('does not outlive a new arming', async () => {
    const shorter = { untilMs: closeMs - 60_000 };
    await arm({ ...shorter, confirm: await planOf(shorter) });
    expect(await judged()).toBe('missing');
  });

  it('leaves an audit event for each step', async () => {
    const rows = await query<{ action: string; actor: string }>(
      dsn,
      "select action, actor from audit_events where action like 'live_%' order by id",
    );
    expect(rows.map(({ action, actor }) => `${action} ${actor}`)).toEqual([
      'live_arm anna',
      'live_confirm bert',
      'live_arm anna',
    ]);
  });
});

it('disarming needs one word and no conditions, and leaves nothing behind', async () => {
  const { report, exitCode } = await arm({ disarm: true, attested: [], changeRecord: undefined });
  expect([exitCode, report.applied, report.armed_until]).toEqual([0, true, null]);
  expect(existsSync(join(home, 'live-confirmation.json'))).toBe(false);
});

it('a key file that is there is never written over', () => {
  expect(() => makeConfirmationKey(keyFile)).toThrow(/no key was written/);
  expect(statSync(keyFile).mode & 0o777).toBe(0o600);
});

describe('a live process', () => {
  it.each([
    ['TRADING_ACCOUNT_ID', /pins no account/],
    ['TRADING_LIVE_CONFIRMATION_KEY', /nobody who confirms/],
    ['TRADING_MAX_NOTIONAL_PER_TRADE', /sets no cap/],
  ])('does not start without %s', (name, why) => {
    const { [name]: _left, ...env } = live as Record<string, string>;
    const start = () => settingsOf(loadConfig(tradeVariables, env).values, 'live');
    expect(start).toThrow(
      expect.objectContaining({ code: 'live_trading_refused', exitCode: 4, why: expect.stringMatching(why) }),
    );
  });

  it('starts with them, with every flag still off, and believes a price for 15 s', () => {
    const settings = settingsOf(loadConfig(tradeVariables, live).values, 'live');
    expect(settings).toMatchObject({ mode: 'live', killSwitch: true, maxPriceAgeSeconds: 15 });
    expect(settings.live).toMatchObject({ simpleSubmitEnabled: false, liveSubmitEnabled: false });
  });
});
