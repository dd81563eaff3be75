# Random operations on streams, random clients, random faults of the way to
# Redis: what each client gets is judged by what was in its stream
# (Conduit::Random::Oracle has the promises).  Here on one Redis, in
# t/random-cluster.t and t/random-sentinel.t on more; REDIS_SERVER names another
# version, or Valkey.
# The location "json" has another format than the others.
#
#     CONDUIT_RANDOM_SERVER    single, cluster, sentinel: what it runs on, instead of
#                              that of the suite
#     CONDUIT_RANDOM_SECONDS   how long (60; the other suites: 15)
#     CONDUIT_RANDOM_SEED      rounds with this seed alone, again and again:
#                              what is decided is the same, the moments are not
#     CONDUIT_SEED             the seed of the first round (1), the next ones have
#                              those after it; "random": by chance
#     CONDUIT_RANDOM_MODE      append, delete, rollback, lossy, links, all; but for one
#                              Redis moves, too (by turns)
#     CONDUIT_RANDOM_WHERE     events, small, tiny, poll, json (all at once)
#     CONDUIT_RANDOM_STRICT    what is known to fail does fail the test
#     CONDUIT_RANDOM_STORIES   so many failures of a kind are told in full (1)
#     CONDUIT_RANDOM_DEBUG     NGINX logs at level debug
#     CONDUIT_KEEP             its log is kept after a failure

use strict;
use warnings;

use lib 't/lib';

use Conduit::Random::Suite;

run('single', 60, qw(all append delete links lossy rollback));
