/**
 * Client order ids (spec 4.2): `tg1-<first 40 hex of the decision hash>-<attempt>`. The attempt is 1: one POST per claim, for
 * ever (design 5).
 */
const pattern = /^tg1-[0-9a-f]{40}-[1-9]\d*$/;

/** @throws Error when the hash is no sha256 hex (a mistake in the program) */
export function clientOrderIdOf(decisionHash: string, attempt = 1): string {
  if (!/^[0-9a-f]{64}$/.test(decisionHash)) throw new Error('the decision hash is not 64 hex digits');
  return `tg1-${decisionHash.slice(0, 40)}-${attempt}`;
}

/** Was this id made by us? */
export function isOurClientOrderId(clientOrderId: string): boolean {
  return pattern.test(clientOrderId);
}
