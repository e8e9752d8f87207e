/** Step 6 of the table: what the test of the keys means (spec ingest 6.2). Pure. */
import type { CredentialReport } from '../../../lib/alpaca/credential-test.ts';

export interface CredentialVerdict {
  case: 'D' | 'E' | 'J';
  finding: string;
  certainty: 'certain' | 'likely';
}

/** What the answers mean once the stream has refused the keys. */
export function judgeCredentials(report: CredentialReport): CredentialVerdict {
  const asked = [report.account, report.bars].filter((answer) => answer !== null);
  const refused = asked.filter(({ outcome }) => outcome === 'refused').length;
  if (refused === asked.length) return { case: 'D', finding: 'the keys are refused everywhere', certainty: 'certain' };
  if (asked.every(({ outcome }) => outcome === 'unreachable')) {
    return { case: 'J', finding: 'the provider cannot be reached: name resolution or egress', certainty: 'certain' };
  }
  if (refused > 0) {
    const where = report.account?.outcome === 'refused' ? 'trading address' : 'market-data address';
    const finding = `the keys are good, but not for the ${where}: another environment`;
    return { case: 'E', finding, certainty: 'certain' };
  }
  if (report.probe?.outcome === 'ok') {
    const finding = 'the keys are good for REST and for the test stream, not for this feed or address';
    return { case: 'E', finding, certainty: 'certain' };
  }
  return {
    case: 'E',
    finding: 'REST takes the keys and the stream does not: address or feed of the stream belong to another environment',
    certainty: report.probe === null ? 'likely' : 'certain',
  };
}

export interface CredentialEvidence {
  what: string;
  found: string;
  verdict: 'ok' | 'problem' | 'unknown';
}

export function credentialEvidence(report: CredentialReport): CredentialEvidence[] {
  const answers = [
    { what: 'account (trading REST)', answer: report.account, absent: 'no address is set' },
    { what: 'one bar (market-data REST)', answer: report.bars, absent: '' },
    { what: 'authentication on the test stream', answer: report.probe, absent: 'not made (--probe)' },
  ];
  return answers.map(({ what, answer, absent }) => {
    if (answer === null) return { what, found: absent, verdict: 'unknown' };
    const code = answer.code === null ? '' : `, code ${answer.code}`;
    return { what, found: `${answer.outcome}${code}`, verdict: answer.outcome === 'ok' ? 'ok' : 'problem' };
  });
}
