import { describe, expect, it } from 'vitest';
import { askConsent } from '../../src/lib/runbook/confirm.ts';
import { TorghutError } from '../../src/lib/service/errors.ts';

const plan = { what: 'drop everything', planId: 'abc123', isDestructive: false };

async function refusal(options: Partial<Parameters<typeof askConsent>[0]>): Promise<TorghutError> {
  try {
    await askConsent({ ...plan, ...options });
  } catch (error) {
    if (error instanceof TorghutError) return error;
    throw error;
  }
  throw new Error('was allowed');
}

describe('consent without a terminal', () => {
  it('needs a flag, and the refusal names it', async () => {
    expect(await refusal({})).toMatchObject({
      code: 'confirmation_needed',
      exitCode: 4,
      next: 'pass --yes, or --confirm abc123',
    });
    expect(await refusal({ isDestructive: true, yes: true })).toMatchObject({
      code: 'confirmation_needed',
      next: 'pass --confirm abc123',
    });
  });

  it('is given by --yes where nothing can be destroyed, and by the id of this very plan', async () => {
    expect(await askConsent({ ...plan, yes: true })).toBe(true);
    expect(await askConsent({ ...plan, isDestructive: true, confirm: 'abc123' })).toBe(true);
    expect(await refusal({ confirm: 'abc124', yes: true })).toMatchObject({ code: 'plan_changed' });
  });

  it('is never given in a dry run', async () => {
    expect(await askConsent({ ...plan, dryRun: true, yes: true, confirm: 'abc123' })).toBe(false);
  });
});
