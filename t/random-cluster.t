# Copyright (C) Conduit for NGINX authors
#
# t/random.t on a Redis Cluster: slots move, replicas take over.  It has the
# settings.

use strict;
use warnings;

use lib 't/lib';

use Conduit::Random::Suite;

run('cluster', 15, qw(moves lossy all delete rollback append links));
