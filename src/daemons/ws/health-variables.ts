/** The settings of ws that concern its health endpoint and what it says about itself (spec ingest 3.5). */
import { kind, optional, type VariableTable } from '../../lib/service/config.ts';

export const healthVariables = {
  HEALTH_PORT: {
    parse: kind.integer(0, 65_535),
    default: 8080,
    describe: 'port of /healthz, /readyz, /metrics, /status',
  },
  HEALTH_HOST: {
    parse: kind.text,
    default: '127.0.0.1',
    describe: 'address of the health endpoint; 0.0.0.0 in a pod, where the probes come from outside',
  },
  METRICS_PORT: {
    parse: optional(kind.integer(0, 65_535)),
    default: undefined as number | undefined,
    describe: 'port of a second endpoint for /metrics; default: the health port alone',
  },
  TORGHUT_WS_VERSION: {
    parse: kind.optionalText,
    default: undefined as string | undefined,
    describe: 'version shown in status and metrics, where the image names one',
  },
  TORGHUT_WS_COMMIT: {
    parse: kind.optionalText,
    default: undefined as string | undefined,
    describe: 'commit shown in status and metrics, where the image names one',
  },
} satisfies VariableTable;
