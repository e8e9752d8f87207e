/**
 * No path to the broker without the gates, shown by the compiler (spec trading 3.5): the real TypeScript compiler over
 * programs that try one way around each. Every one must be refused, with the error and for the type that is meant; the one
 * that goes the proper way must pass, or the refusals would prove nothing.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'torghut-paths-'));

/** Names that the programs may use: real ones, of the real modules. */
const prelude = `
import type { ApprovedOrder, Decision, OrderTerms, ReduceOnlyOrder, RefusedOrder } from '@src/lib/risk/order.ts';
import type { Reviewer } from '@src/lib/review/reviewer.ts';
import { evaluateRisk, screenDecision } from '@src/lib/risk/evaluate.ts';
import { evaluateReduction } from '@src/lib/risk/reduction.ts';
import type { RiskLimits, RiskSnapshot } from '@src/lib/risk/snapshot.ts';
import type { OrderDesk } from '@src/lib/orders/contract.ts';
import type { OrderFirewall } from '@src/lib/orders/firewall.ts';
import type { TradingMutations } from '@src/lib/alpaca/trading-mutations.ts';
declare const decision: Decision;
declare const terms: OrderTerms;
declare const snapshot: RiskSnapshot;
declare const limits: RiskLimits;
declare const approved: ApprovedOrder;
declare const reduction: ReduceOnlyOrder;
declare const desk: OrderDesk;
declare const firewall: OrderFirewall;
declare const mutations: TradingMutations;
`;

/** A way around the gates, the compiler's error for it, and a word of its message. */
const ways: Record<string, { program: string; error: number; says: string }> = {
  'a decision that no gate has seen': {
    program: 'await desk.submit(decision);',
    error: 2739,
    says: 'ApprovedOrder',
  },
  'an approved order written down by hand': {
    program: 'await desk.submit({ decision, terms, approvedAtMs: 0 });',
    error: 2741,
    says: 'ApprovedOrder',
  },
  'a change of the terms after the approval': {
    program: 'approved.terms = terms;',
    error: 2540,
    says: 'read-only',
  },
  'the result of risk without asking whether it is well': {
    program: 'await desk.submit(evaluateRisk(decision, snapshot, limits).order);',
    error: 2339,
    says: 'order',
  },
  'a refused order': {
    program: 'declare const refused: RefusedOrder; await desk.submit(refused);',
    error: 2739,
    says: 'ApprovedOrder',
  },
  'the screening before the review': {
    program: 'await desk.submit(screenDecision(decision, snapshot, limits));',
    error: 2739,
    says: 'ApprovedOrder',
  },
  'a reduce-only order as one that may open': {
    program: 'await desk.submit(reduction);',
    error: 2741,
    says: 'ApprovedOrder',
  },
  'an order that may open as a reduction, past the switches': {
    program: 'await desk.submitReduction(approved);',
    error: 2741,
    says: 'ReduceOnlyOrder',
  },
  'the firewall with terms of its own': {
    program: "await firewall.submit({ accountLabel: 'paper', clientOrderId: 'tg1-x', terms });",
    error: 2739,
    says: 'SendableOrder',
  },
  'the firewall with an order that has no claim': {
    program: 'await firewall.submit(approved);',
    error: 2739,
    says: 'SendableOrder',
  },
  'the client without the capability': {
    program: "await mutations.submitOrder({}, terms, 'tg1-x');",
    error: 2741,
    says: 'MutationCapability',
  },
  'a cancel without the capability': {
    program: "await mutations.cancelOrder(undefined, 'id');",
    error: 2345,
    says: 'MutationCapability',
  },
  'the brand of an approved order by its name': {
    program: "import { approved as brand } from '@src/lib/risk/order.ts'; void brand;",
    error: 2459,
    says: 'approved',
  },
  'a reviewer that enlarges': {
    program:
      "const r: Reviewer = { name: 'x', review: async () => ({ verdict: 'enlarge', quantity: decision.quantity }) }; void r;",
    error: 2322,
    says: 'enlarge',
  },
  'a reviewer that makes an order': {
    program: "const r: Reviewer = { name: 'x', review: async () => approved }; void r;",
    error: 2322,
    says: 'Review',
  },
};

const proper = `
const result = evaluateRisk(decision, snapshot, limits);
if (result.ok) await desk.submit(result.order);
const closing = evaluateReduction(decision, snapshot);
if (closing.ok) await desk.submitReduction(closing.order);
`;

/** `path(line,column): error TS1234: text`, and the indented lines that explain it. */
function diagnosticsOf(output: string, file: string): { code: number; text: string }[] {
  return output
    .split(/\n(?=\S)/)
    .filter((part) => part.includes(`${file}(`))
    .map((part) => {
      const [, code, text] = /error TS(\d+): ([\s\S]*)/.exec(part) ?? [];
      return { code: Number(code), text: text ?? part };
    });
}

const fileOf = (name: string) => join(folder, `${name.replace(/\W+/g, '-')}.ts`);
let diagnostics: Map<string, { code: number; text: string }[]>;

beforeAll(() => {
  const programs = {
    ...Object.fromEntries(Object.entries(ways).map(([name, { program }]) => [name, program])),
    proper,
  };
  for (const [name, program] of Object.entries(programs)) {
    const text = `${prelude}\n${program}\nexport {};\n`.replaceAll('@src/', `${relative(folder, join(root, 'src'))}/`);
    writeFileSync(fileOf(name), text);
  }
  // The project's own options: what is refused here is refused in the project.
  const config = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: { noEmit: true, noUnusedLocals: false, typeRoots: [join(root, 'node_modules/@types')] },
    files: Object.keys(programs).map(fileOf),
    include: [],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module' }));
  const tsc = join(root, 'node_modules/.bin/tsc');
  const { stdout } = spawnSync(process.execPath, [tsc, '-p', folder, '--pretty', 'false'], {
    encoding: 'utf8',
    cwd: folder,
  });
  diagnostics = new Map(Object.keys(programs).map((name) => [name, diagnosticsOf(stdout, basename(fileOf(name)))]));
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the compiler refuses', () => {
  it.each(Object.entries(ways))('%s', (name, { error, says }) => {
    const found = diagnostics.get(name) ?? [];
    expect(found.map(({ code }) => code)).toEqual([error]);
    expect(found[0]?.text).toContain(says);
  });

  it('nothing of the proper way', () => {
    expect(diagnostics.get('proper')).toEqual([]);
  });
});

describe('in the sources', () => {
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => ({ name, text: readFileSync(join(root, 'src', name), 'utf8') }));
  const importers = (symbol: string, from: string) =>
    sources
      .filter(({ text }) => new RegExp(`\\b${symbol}\\b[^;]*from '[^']*${from}'`).test(text))
      .map(({ name }) => name.split('\\').join('/'))
      .sort();

  it.each([
    ['approve', 'approved\\.ts', ['lib/risk/evaluate.ts']],
    ['approveReduction', 'approved\\.ts', ['lib/risk/reduction.ts']],
    ['fromRisk', 'sendable\\.ts', ['lib/orders/submit.ts']],
    ['fromClaim', 'sendable\\.ts', ['lib/orders/submit.ts']],
    ['issueMutationCapability', 'trading-mutations\\.ts', ['lib/orders/firewall.ts']],
    ['evaluateReduction', 'reduction\\.ts', ['lib/trading/flatten.ts']],
  ])('%s of %s is for %j alone', (symbol, from, expected) => {
    expect(importers(symbol, from)).toEqual(expected);
  });

  it('nobody casts to an order that may leave', () => {
    const casts = sources
      .filter(({ text }) =>
        /\bas (unknown as )?(ApprovedOrder|ReduceOnlyOrder|SendableOrder|MutationCapability)\b/.test(text),
      )
      .map(({ name }) => name.split('\\').join('/'))
      .sort();
    expect(casts).toEqual(['lib/alpaca/trading-mutations.ts', 'lib/orders/sendable.ts', 'lib/risk/approved.ts']);
  });

  it('nobody else speaks to the broker: no other POST, PATCH or DELETE of orders or positions', () => {
    const writers = sources
      .filter(({ name }) => !name.startsWith('simulator'))
      .filter(({ text }) => /'(POST|PATCH|DELETE)'[^\n]*\/v2\/(orders|positions)/.test(text))
      .map(({ name }) => name.split('\\').join('/'));
    expect(writers).toEqual(['lib/alpaca/trading-mutations.ts']);
  });
});
