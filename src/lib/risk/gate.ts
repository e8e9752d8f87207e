/** What a gate of risk is: a pure question about one order that answers with the reasons why it refuses. */
import type { Decimal } from 'decimal.js';
import type { Decision, OrderTerms } from './order.ts';
import type { RiskLimits, RiskSnapshot } from './snapshot.ts';

export interface GateInput {
  decision: Decision;
  /** Terms after clamping. */
  terms: OrderTerms;
  snapshot: RiskSnapshot;
  limits: RiskLimits;
  /** The order lowers |position| and cannot flip it. */
  isClosing: boolean;
  /** 1 before review (cheap), 2 after it (authoritative). */
  stage: 1 | 2;
  /** First parsable of newest price, limit price, stop price; USD. */
  price: Decimal | undefined;
}

export interface Gate {
  name: string;
  entriesOnly: boolean;
  check(input: GateInput): readonly string[];
}

export const when = (refuses: boolean, reason: string): readonly string[] => (refuses ? [reason] : []);

/** Finite and not negative: anything else is no account state. */
export function isAmount(value: Decimal | undefined): value is Decimal {
  return value?.isFinite() === true && !value.isNegative();
}

export const gate = (name: string, check: Gate['check'], entriesOnly = false): Gate => ({ name, check, entriesOnly });
export const entryGate = (name: string, check: Gate['check']): Gate => gate(name, check, true);
