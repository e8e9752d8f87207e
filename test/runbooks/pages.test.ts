/** The runbook pages against the program: commands and options exist, and checks carry the names of the code. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { findCommand } from '../../src/commands/table.ts';
import { pauseCheckIds } from '../../src/daemons/ta/pause.ts';
import { ledgerCheckNames } from '../../src/lib/ledger/check.ts';
import { orderClasses } from '../../src/lib/orders/classify.ts';
import { liveReasons } from '../../src/lib/risk/live-gate.ts';
import { rollbackCheckIds } from '../../src/lib/runbook/strategy-rollback.ts';
import { replayBlocks } from '../../src/lib/runbook/ta-replay.ts';
import { goLiveCheckIds } from '../../src/lib/runbook/trade-arm.ts';
import { cancelCheckId, flattenCheckIds, resumeCheckIds } from '../../src/lib/runbook/trade-controls.ts';
import { reconcileCheckIds } from '../../src/lib/runbook/trade-reconcile.ts';
import { verifyCheckIds } from '../../src/lib/runbook/trade-verify.ts';
import { stopKinds } from '../../src/lib/trading/stops.ts';

const folder = join(import.meta.dirname, '../../runbooks');
const pages = readdirSync(folder).filter((name) => name.endsWith('.md'));
const text = (page: string) => readFileSync(join(folder, page), 'utf8');

/** Command lines of the sh blocks, and of inline code that begins with `torghut`. Continued lines are joined. */
function commandLines(page: string): string[] {
  const content = text(page);
  const blocks = [...content.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block]) =>
    (block as string)
      .replace(/\\\n\s*/g, '')
      .split('\n')
      .map((line) => line.trim())
      .filter(Boolean),
  );
  const inline = [...content.replace(/```[\s\S]*?```/g, '').matchAll(/`(torghut [^`]+)`/g)].map(
    ([, line]) => line as string,
  );
  return [...blocks, ...inline];
}

/** Words of a command line: quotes group, NAME=value before the command is its environment. */
function words(line: string): string[] {
  // What the shell does with the output is not the program's.
  const found = [...line.replace(/\s+(>|\|)\s.*$/, '').matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
    ([, a, b, c]) => a ?? b ?? c ?? '',
  );
  return found.slice(found.findIndex((word) => !/^[A-Z_]+=/.test(word)));
}

/** What is wrong with a line; undefined when the program takes it. */
async function mistake(line: string): Promise<string | undefined> {
  const [program, ...argv] = words(line);
  if (program !== 'torghut') return `${line}: is no torghut command`;
  const found = findCommand(argv);
  if (found.kind !== 'command') return `${line}: there is no such command`;
  const command = new Command('test').exitOverride().configureOutput({ writeErr: () => undefined });
  (await found.entry.load()).configure(command);
  // The action is not what is tested: parse, then stop.
  command.action(() => undefined);
  try {
    await command.parseAsync(argv.slice(found.words.length), { from: 'user' });
    return undefined;
  } catch (error) {
    return `${line}: ${(error as Error).message}`;
  }
}

/** First column of the table under a heading. */
function namesUnder(page: string, heading: string): string[] {
  const section = text(page).split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  return [...section.matchAll(/^\| `([a-z_]+)` \|/gm)].map(([, name]) => name as string);
}

describe('the test of the pages', () => {
  it('finds a wrong command, a wrong option and a missing one', async () => {
    expect(await mistake('torghut db fly')).toContain('no such command');
    expect(await mistake('torghut trade fly')).toContain('no such command');
    expect(await mistake('torghut db migrate --everything')).toContain('--everything');
    expect(await mistake('rm -rf x')).toContain('no torghut command');
    expect(await mistake('DB_DSN=x torghut db migrate --yes')).toBeUndefined();
  });
});

describe.each(pages)('runbooks/%s', (page) => {
  it('names only commands and options that exist', async () => {
    const lines = commandLines(page);
    expect(lines.length).toBeGreaterThan(0);
    const mistakes = await Promise.all(lines.map(mistake));
    expect(mistakes.filter((item) => item !== undefined)).toEqual([]);
  });

  it('links only to pages that are there', () => {
    const links = [...text(page).matchAll(/\]\(([^)#:]+)\)/g)].map(([, link]) => link as string);
    expect(links.filter((link) => !pages.includes(link))).toEqual([]);
  });
});

describe('README.md', () => {
  it('names only commands that exist, and every page', async () => {
    const readme = text('../README.md');
    const indented = [...readme.matchAll(/^ {4}\.\/bin\/(torghut [^#\n]+)/gm)].map(([, line]) =>
      (line as string).trim(),
    );
    const lines = [...commandLines('../README.md'), ...indented];
    expect(indented.length).toBeGreaterThan(4);
    expect(lines.length).toBeGreaterThan(25);
    const mistakes = await Promise.all(lines.filter((line) => line !== 'torghut --help').map(mistake));
    // It names commands; what they need is on their pages.
    const real = mistakes.filter((item) => item !== undefined && !/not specified|missing required argument/.test(item));
    expect(real).toEqual([]);
    const named = [...readme.matchAll(/`runbooks\/([a-z0-9-]+\.md)`/g)].map(([, page]) => page as string);
    expect([...new Set(named)].sort()).toEqual([...pages].sort());
  });
});

describe('the checks on the pages', () => {
  it.each([
    ['emergency-stop.md', 'Checks', [...verifyCheckIds('stop'), cancelCheckId, ...flattenCheckIds]],
    ['emergency-stop.md', 'When the loop stops itself', [...stopKinds]],
    ['go-live.md', 'Conditions', [...goLiveCheckIds]],
    ['go-live.md', 'What holds an order of a live account', [...liveReasons]],
    ['pause-and-resume.md', 'Conditions of a resume', [...resumeCheckIds]],
    ['pause-and-resume.md', 'Checks of --wait', [...verifyCheckIds('pause'), ...verifyCheckIds('resume')]],
    ['reconcile-after-outage.md', 'Classes', [...orderClasses]],
    ['reconcile-after-outage.md', 'Checks', [...reconcileCheckIds]],
    ['strategy-rollback.md', 'Checks', [...rollbackCheckIds]],
    ['failed-migration.md', 'Checks', [...ledgerCheckNames]],
    ['ta-replay-and-recovery.md', 'Refusals', [...replayBlocks]],
    ['ta-replay-and-recovery.md', 'Checks of ta pause --wait', [...pauseCheckIds]],
  ])('%s, %s, are those of the code', (page, heading, names) => {
    expect(namesUnder(page, heading).sort()).toEqual([...names].sort());
  });
});
