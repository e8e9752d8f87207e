/**
 * The users of the signal store, each with no more than it needs (spec ta 4.6), as statements.
 * Guarantees: a password is read from a file and reaches the server only as a salted hash; what is shown has a mark in the hash's
 * place; statements are idempotent; rights are added and none is taken away, while the limits of a user that has any
 * here become exactly these.
 * Facts: dropping a partition needs ALTER DELETE; a materialized view writes with the rights of the user who made it, so the
 * writer needs none on what it feeds; `default` is defined in the server's own files, where SQL cannot change it.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { planIdOf } from '../runbook/plan.ts';
import { refusedError, usageError } from '../service/errors.ts';
import { type Layout, onCluster } from './layout.ts';
import { quoteLiteral } from './sql-text.ts';
import { tables } from './tables.ts';

interface StoreUser {
  name: string;
  /** Rights with what they are on. */
  grants(database: string): string[];
  settings: readonly string[];
}

const changeOnly = [
  'CREATE TABLE',
  'CREATE VIEW',
  'DROP TABLE',
  'DROP VIEW',
  'ALTER',
  'INSERT',
  'SELECT',
  'OPTIMIZE',
  'TRUNCATE',
];

export const storeUsers: readonly StoreUser[] = [
  {
    name: 'torghut_ta',
    // It reads what it stored last, and whether the schema is its own.
    grants: (database) => [...tables.map(({ name }) => `INSERT ON ${database}.${name}`), `SELECT ON ${database}.*`],
    settings: [],
  },
  { name: 'torghut_read', grants: (database) => [`SELECT ON ${database}.*`], settings: ['readonly = 2'] },
  {
    name: 'torghut_ops',
    grants: (database) => [
      'SYSTEM RESTORE REPLICA, SYSTEM SYNC REPLICA, SYSTEM RESTART REPLICA ON *.*',
      `ALTER DELETE ON ${database}.*`,
      `SELECT ON ${database}.*`,
      'SELECT ON system.*',
      'TRUNCATE, DROP TABLE ON system.*',
    ],
    settings: [],
  },
  {
    name: 'torghut_ddl',
    grants: (database) => [
      'CREATE DATABASE ON *.*',
      `${changeOnly.join(', ')} ON ${database}.*`,
      `SYSTEM SYNC REPLICA ON ${database}.*`,
      'CLUSTER, REMOTE ON *.*',
      'SELECT ON system.*',
    ],
    settings: [],
  },
  {
    name: 'torghut_notebook',
    grants: (database) => [`SELECT ON ${database}.*`],
    settings: [
      'readonly = 1',
      'max_execution_time = 30',
      'max_result_rows = 100000',
      'max_memory_usage = 2147483648',
      'max_threads = 4',
    ],
  },
  {
    name: 'signal_publisher',
    grants: () => ['INSERT, SELECT ON signal.*'],
    settings: ['insert_quorum = 2', 'insert_quorum_timeout = 60000', 'select_sequential_consistency = 1'],
  },
  {
    name: 'bayn',
    grants: () => ['SELECT ON signal.*'],
    settings: [
      'readonly = 1',
      'max_execution_time = 60',
      'max_result_rows = 1000000',
      "result_overflow_mode = 'throw'",
      'max_memory_usage = 2147483648',
      'select_sequential_consistency = 1',
    ],
  },
];

const networks = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'].map(quoteLiteral).join(', ');

export interface GrantStep {
  user: string;
  /** With `…` where the hash of the password stands. */
  statement: string;
}

export interface GrantPlan {
  id: string;
  database: string;
  cluster: string | null;
  steps: GrantStep[];
  /** Users that are not there and have no password file: their statements are shown and not run. */
  without_password: string[];
  notes: string[];
}

const hashMark = '…';

/** @param existing users that the server has @param passwords users with a password file */
export function planGrants(
  database: string,
  layout: Layout,
  existing: readonly string[],
  passwords: readonly string[],
): GrantPlan {
  const on = onCluster(layout);
  const steps = storeUsers.flatMap(({ name, grants, settings }): GrantStep[] => {
    const made = existing.includes(name)
      ? []
      : [
          `CREATE USER IF NOT EXISTS ${name}${on} IDENTIFIED WITH sha256_hash BY '${hashMark}' SALT '${hashMark}' HOST IP ${networks}`,
        ];
    // A profile as CONST: the user cannot lift its own limits.
    const limits = settings.map((setting) => `${setting} CONST`).join(', ');
    return [
      ...made,
      ...(settings.length === 0 ? [] : [`ALTER USER ${name}${on} SETTINGS ${limits}`]),
      ...grants(database).map((right) => `GRANT${on} ${right} TO ${name}`),
    ].map((statement) => ({ user: name, statement }));
  });
  const content = {
    database,
    cluster: layout.cluster ?? null,
    steps,
    without_password: storeUsers
      .map(({ name }) => name)
      .filter((name) => !existing.includes(name) && !passwords.includes(name)),
  };
  return {
    id: planIdOf({ ...content, steps: steps.map((step) => ({ ...step })) }),
    ...content,
    notes: ['the user `default` is defined in the files of the server: give it a password and no network there'],
  };
}

/** @throws errors of the client */
export async function readUsers(client: ClickHouseClient): Promise<string[]> {
  const result = await client.query({ query: 'SELECT name FROM system.users ORDER BY name', format: 'JSONEachRow' });
  return z
    .array(z.object({ name: z.string() }))
    .parse(await result.json())
    .map(({ name }) => name);
}

/** The passwords in a folder with one file for each user, as a mounted secret has them. @throws `passwords_unreadable` (exit 2) */
export function readPasswords(folder: string | undefined): Map<string, string> {
  const found = new Map<string, string>();
  if (folder === undefined) return found;
  for (const { name } of storeUsers) {
    let text: string;
    try {
      text = readFileSync(join(folder, name), 'utf8').replace(/\r?\n$/, '');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw usageError({
        code: 'passwords_unreadable',
        what: `cannot read ${join(folder, name)}`,
        why: (error as Error).message,
        next: 'give a folder with one file for each user, named after it',
      });
    }
    if (text.length >= 12) found.set(name, text);
    else {
      throw usageError({
        code: 'passwords_unreadable',
        what: `the password of ${name} is too short`,
        next: 'use 12 characters or more',
      });
    }
  }
  if (found.size > 0) return found;
  throw usageError({
    code: 'passwords_unreadable',
    what: `${folder} has no file named after a user`,
    next: `give a folder with files like ${storeUsers[0]?.name}`,
  });
}

/** The statements that can be run: those of users that are there or have a password. */
export function runnableSteps(plan: GrantPlan): GrantStep[] {
  return plan.steps.filter(({ user }) => !plan.without_password.includes(user));
}

/** Runs the plan; the statements that make users get their hash here, and nothing of it is kept. */
export async function runGrants(
  client: ClickHouseClient,
  plan: GrantPlan,
  passwords: ReadonlyMap<string, string>,
): Promise<void> {
  for (const { user, statement } of runnableSteps(plan)) {
    await client.command({
      query: statement.includes(hashMark) ? withHash(statement, passwords.get(user)) : statement,
    });
  }
}

function withHash(statement: string, password: string | undefined): string {
  if (password === undefined) {
    throw refusedError({ code: 'plan_changed', what: 'a password file is gone', next: 'read the plan again' });
  }
  const salt = randomBytes(16).toString('hex');
  const hash = createHash('sha256')
    .update(password + salt)
    .digest('hex')
    .toUpperCase();
  return statement.replace(hashMark, hash).replace(hashMark, salt);
}
