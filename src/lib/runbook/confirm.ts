/**
 * The one form of consent to a change (design 6): the plan is printed with its id, then a person answers, or a script
 * passes --confirm <plan-id>, or --yes where nothing can be destroyed; --dry-run prints only.
 * Guarantee: without a terminal and without a flag nothing is changed, and the refusal names the flag.
 */
import { refusedError } from '../service/errors.ts';

export interface ConsentOptions {
  /** What would be done, in one line. */
  what: string;
  planId: string;
  /** Given with --confirm. */
  confirm?: string | undefined;
  /** Given with --yes. */
  yes?: boolean | undefined;
  dryRun?: boolean | undefined;
  /** --yes is not enough: something can be destroyed. */
  isDestructive: boolean;
}

/** May the change be made? false: not now (dry run, or the person said no). @throws `plan_changed`, `confirmation_needed` (exit 4) */
export async function askConsent(options: ConsentOptions): Promise<boolean> {
  const { what, planId, confirm, isDestructive } = options;
  if (options.dryRun) return false;
  if (confirm !== undefined) {
    if (confirm === planId) return true;
    throw refusedError({
      code: 'plan_changed',
      what: `the plan is ${planId}, not ${confirm}`,
      why: 'the facts that the confirmed plan rested on have changed',
      next: 'read the plan again and confirm its new id',
    });
  }
  if (options.yes && !isDestructive) return true;
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw refusedError({
      code: 'confirmation_needed',
      what: `not done without consent: ${what}`,
      why: 'there is no terminal to ask on',
      next: isDestructive ? `pass --confirm ${planId}` : `pass --yes, or --confirm ${planId}`,
    });
  }
  const { confirm: ask } = await import('@inquirer/prompts');
  return ask({ message: `${what}?`, default: false }, { output: process.stderr });
}
