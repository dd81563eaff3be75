# Copyright (C) Conduit for NGINX authors
#
# Random operations on streams, random clients, and random faults of the
# connection to Redis: what each client gets is judged by what was in its stream
# (the promises are in Conduit::Random::Oracle).  This suite has one Redis,
# t/random-cluster.t and t/random-sentinel.t have several; REDIS_SERVER names
# another version, or Valkey.  The location "json" has another format than the
# others.
#
#     CONDUIT_RANDOM_SERVER    single, cluster or sentinel, in place of what the
#                              suite has
#     CONDUIT_RANDOM_SECONDS   duration (60; the other two suites: 15)
#     CONDUIT_RANDOM_SEED      repeats rounds with this seed: the operations are
#                              the same, their moments are not
#     CONDUIT_SEED             the seed of the first round (1), which each round
#                              increments; "random" draws one
#     CONDUIT_RANDOM_MODE      append, delete, rollback, lossy, links, all; with
#                              several servers also moves (all in turn)
#     CONDUIT_RANDOM_WHERE     events, small, tiny, poll, json; all (at once)
#     CONDUIT_RANDOM_STRICT    known failures fail the test
#     CONDUIT_RANDOM_STORIES   failures of a kind that are printed in full (1)
#     CONDUIT_RANDOM_DEBUG     NGINX logs at level debug
#     CONDUIT_KEEP             keeps the log after a failure

use strict;
use warnings;

use lib 't/lib';

use Conduit::Random::Suite;

run('single', 60, qw(all append delete links lossy rollback));
