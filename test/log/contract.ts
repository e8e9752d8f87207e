/**
 * What every adapter of the log port must do, each case with at least two operating-system processes. The adapter is made by a
 * factory and handed to the children as data (children/protocol.ts), so the same suite runs over the embedded log and Kafka.
 */
import { afterEach, beforeEach, describe } from 'vitest';
import { openEventLog } from '../../src/lib/log/open.ts';
import { openClock } from '../../src/lib/service/clock.ts';
import { peerPool } from './children/driver.ts';
import { commitCases } from './contract-commits.ts';
import { groupCases } from './contract-groups.ts';
import { readingCases } from './contract-reading.ts';
import { type ContractContext, isFull, type LogUnderTest } from './contract-support.ts';
import { describeAgainstModel } from './model.ts';

export { killInsideCommits } from './contract-commits.ts';
export { freshName, type LogUnderTest, readAll, startAt, topic } from './contract-support.ts';

/** Runs the contract over one adapter. */
export function describeLogContract(name: string, makeFactory: () => Promise<LogUnderTest>): void {
  describe(`the log contract on ${name}`, () => {
    // Filled before each case.
    const at = {} as ContractContext;
    at.pool = peerPool(() => at.under.argument);
    at.open = () => {
      const { home, env, clock } = at.under.argument;
      return openEventLog({ home, env, clock: openClock(clock) });
    };

    beforeEach(async () => {
      at.under = await makeFactory();
      at.log = await at.open();
    });

    afterEach(async () => {
      await at.pool.endAll();
      await at.log.close();
      await at.under.close();
    });

    commitCases(at);
    readingCases(at);
    groupCases(at);
    describeAgainstModel({ log: () => at.log, pool: at.pool, isFull });
  });
}
