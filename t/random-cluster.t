# Copyright (C) Conduit for NGINX authors
#
# t/random.t on a Redis Cluster: slots move, replicas take over.  The head of
# t/random.t lists the settings.

use strict;
use warnings;

use lib 't/lib';

use Conduit::Random::Suite;

run('cluster', 15, qw(moves lossy all delete rollback append links));
