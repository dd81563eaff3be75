# Copyright (C) Conduit for NGINX authors
#
# t/random.t on a master that Sentinels watch, and its replica, which takes
# over.  The head of t/random.t lists the settings.

use strict;
use warnings;

use lib 't/lib';

use Conduit::Random::Suite;

run('sentinel', 15, qw(moves lossy all delete rollback append links));
