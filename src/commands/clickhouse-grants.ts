/** `torghut clickhouse grants`: the users of the signal store with their rights, as a plan; --apply makes them. */
import type { Command } from 'commander';
import { openSignalStore } from '../embedded/connect.ts';
import { askConsent } from '../lib/runbook/confirm.ts';
import { refusedError, usageError } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { storeFailure } from '../lib/signals/errors.ts';
import { planGrants, readPasswords, readUsers, runGrants, runnableSteps } from '../lib/signals/grants.ts';
import { layoutOf } from '../lib/signals/layout.ts';
import { readRecord } from '../lib/signals/run-record.ts';
import { parseOutputFormat, print, renderObject } from '../lib/ui/output.ts';

interface Options {
  home?: string;
  cluster?: string;
  passwordsDir?: string;
  apply: boolean;
  dryRun: boolean;
  yes: boolean;
  confirm?: string;
  output: string;
}

export function configure(command: Command): void {
  command
    .option('--passwords-dir <dir>', 'folder with one file for each user, named after it, that holds its password')
    .option('--cluster <name>', 'on every replica of this cluster (default: as the database is recorded)')
    .option('--apply', 'make the users and give the rights', false)
    .option('--dry-run', 'print the plan only, also with --apply', false)
    .option('--yes', 'do not ask: nothing is taken away', false)
    .option('--confirm <plan-id>', 'do it only if the plan still has this id')
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nPasswords are read from files and sent as salted hashes; neither is printed. A user that is not there and has no file\n' +
        'is named, and its statements are shown only. The embedded engine has one user: there the plan is for another server.\n' +
        '\nExamples:\n  torghut clickhouse grants\n' +
        '  torghut clickhouse grants --passwords-dir secrets/clickhouse --cluster default --apply --yes',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const passwords = readPasswords(options.passwordsDir);
      const store = await openSignalStore({ home: resolveRunHome(options.home) });
      try {
        const recorded = (await readRecord(store.client, store.database))?.cluster;
        const layout = layoutOf(options.cluster ?? recorded);
        // The embedded engine does not say who its users are.
        const users = store.embedded ? [] : await readUsers(store.client);
        const plan = planGrants(store.database, layout, users, [...passwords.keys()]);
        let isDone = false;
        if (options.apply) {
          if (store.embedded) {
            throw refusedError({
              code: 'grants_not_here',
              what: 'the embedded engine has one user, and takes no others',
              next: 'set TA_CLICKHOUSE_URL to the server whose users you mean',
            });
          }
          const steps = runnableSteps(plan);
          if (steps.length === 0) {
            throw usageError({
              code: 'passwords_missing',
              what: 'no user is there and none has a password',
              next: 'give --passwords-dir with a file for each user that shall be made',
            });
          }
          const what = `run ${steps.length} statements about users of ${plan.database}`;
          process.stderr.write(`plan ${plan.id}: ${what}\n`);
          if (await askConsent({ ...options, what, planId: plan.id, isDestructive: false })) {
            await runGrants(store.client, plan, passwords);
            isDone = true;
          }
        }
        const { id, steps, ...rest } = plan;
        const statements = steps.map(({ statement }) => statement);
        const shown = { plan_id: id, done: isDone, ...rest };
        if (format !== 'table') return print(renderObject({ ...shown, statements }, format));
        print(`${renderObject(shown, format)}\n\n${statements.map((text) => `${text};`).join('\n')}`);
      } catch (error) {
        throw storeFailure(error);
      } finally {
        await store.close();
      }
    });
}
