// Copyright (C) Conduit for NGINX authors
//
// The conformance tests of the protocol, for vitest.

import { runConformanceTests }
  from '@durable-streams/server-conformance-tests';

runConformanceTests({
  baseUrl: process.env.DURABLE_URL,
  longPollTimeoutMs: Number(process.env.DURABLE_WAIT),
});
