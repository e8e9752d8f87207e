/**
 * The third source of live trading (spec trading 3.4): a confirmation that a second person signed with a key of their own
 * (ed25519). The process that trades knows the public key only, so neither its environment nor the database can make one.
 * Guarantees: it holds for one account, one arming (its very end), and not a moment longer.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { ConfirmationState } from '../risk/live-gate.ts';
import { usageError } from '../service/errors.ts';

const statementSchema = z.strictObject({
  account_label: z.string().min(1),
  account_id: z.string().min(1),
  /** RFC 3339: the end of the arming that it confirms. */
  armed_until: z.iso.datetime(),
  armed_by: z.string().min(1),
  confirmed_by: z.string().min(1),
  reason: z.string().min(1),
});
export type LiveStatement = z.infer<typeof statementSchema>;

const confirmationSchema = z.strictObject({ statement: statementSchema, signature: z.base64() });
export type LiveConfirmation = z.infer<typeof confirmationSchema>;

/** The signed bytes: the fields in the order of their names. */
function bytesOf(statement: LiveStatement): Buffer {
  return Buffer.from(JSON.stringify(Object.entries(statement).sort(([a], [b]) => (a < b ? -1 : 1))));
}

function keyError(what: string, why: string) {
  return usageError({
    code: 'confirmation_key_invalid',
    what,
    why,
    next: 'make a pair with `torghut trade arm-live --new-key <file>`',
  });
}

/** @throws `confirmation_key_invalid` (exit 2) */
export function readPublicKey(text: string): KeyObject {
  try {
    const pem = text.includes('BEGIN') ? text : `-----BEGIN PUBLIC KEY-----\n${text.trim()}\n-----END PUBLIC KEY-----`;
    const key = createPublicKey(pem);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // Whatever it is, it is no key.
  }
  throw keyError(
    'TRADING_LIVE_CONFIRMATION_KEY is no ed25519 public key',
    'it is neither PEM nor the base64 inside it',
  );
}

/** @throws `confirmation_key_invalid` (exit 2) */
export function readPrivateKey(pem: string): KeyObject {
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // The message of the parser could carry a part of the key.
  }
  throw keyError('the file is no ed25519 private key', 'it is not in PEM form');
}

/** A pair: the private key as PEM, the public one as the value of TRADING_LIVE_CONFIRMATION_KEY. */
export function newKeyPair(): { privatePem: string; publicText: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privatePem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicText: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
  };
}

export function signStatement(statement: LiveStatement, privateKey: KeyObject): LiveConfirmation {
  return { statement, signature: sign(null, bytesOf(statement), privateKey).toString('base64') };
}

export interface ConfirmationFacts {
  accountLabel: string;
  /** The broker's id and number of the account that answered. */
  accountIds: readonly string[];
  /** End of the arming in the control row, market ms. */
  armedUntilMs: number | undefined;
  nowMs: number;
  publicKey: KeyObject | undefined;
}

/** What a confirmation is worth now. @param text of the file; undefined when there is none */
export function judgeConfirmation(text: string | undefined, facts: ConfirmationFacts): ConfirmationState {
  if (text === undefined) return 'missing';
  const parsed = confirmationSchema.safeParse(parseJson(text));
  if (!parsed.success || facts.publicKey === undefined) return 'invalid';
  const { statement, signature } = parsed.data;
  if (!verify(null, bytesOf(statement), facts.publicKey, Buffer.from(signature, 'base64'))) return 'invalid';
  const untilMs = Date.parse(statement.armed_until);
  if (facts.nowMs >= untilMs) return 'expired';
  const isOurs =
    statement.account_label === facts.accountLabel &&
    facts.accountIds.includes(statement.account_id) &&
    untilMs === facts.armedUntilMs &&
    statement.armed_by !== statement.confirmed_by;
  return isOurs ? 'valid' : 'invalid';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The file's text; undefined when it cannot be read. */
export function readConfirmation(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
