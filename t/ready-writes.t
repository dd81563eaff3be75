# Copyright (C) Conduit for NGINX authors
#
# A Redis that answers but refuses writes, because it is out of memory or is a
# replica: "ready" answers 503, the metrics and the log say why, and alerts can
# tell it from a Redis that is not reachable or does not answer.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Metrics;
use Test::More;

my $ready = join '', map { "location = /ready/$_ { conduit_${_}_health ready; }" }
            qw(publish gateway);

my $nginx = nginx_start(server => pages() . $ready
    . publish_location('conduit_publish_auth off; conduit_publish_rate off;')
    . gateway_location('conduit_gateway_auth off;'));

# one that asks for nothing
my $plain = nginx_start(server => pages() . publish_location()
                                  . gateway_location());

sub turns {
    my ($module, $status, $title) = @_;

    my $last;

    ok wait_for(20, sub {
        ($last = http($nginx, 'GET', "/ready/$module")->{status}) == $status;
    }), "$module: $title" or diag "it is $last";

    is metrics($nginx, $module)->{ready}, $status == 200 ? 1 : 0,
        "$module: $title: the metric ready";
    my $json = http($nginx, 'GET', "/json/$module")->{body};
    like $json, qr/^  "ready": @{[$status == 200 ? 1 : 0]},$/m,
        "$module: $title: ready in JSON";
}

sub post { http($nginx, 'POST', "/publish/$ORG/$CHANNEL", body => message()) }

sub refused { qq(checks_refused_total{reason="$_[0]"}) }

sub checked {
    my ($module, $reason) = @_;

    return metrics($nginx, $module)->{refused($reason)};
}

for my $module (qw(publish gateway)) {
    turns $module, 200, 'ready with a Redis that writes';
    ok !exists metrics($plain, $module)->{ready},
        'nothing is said where nobody looks';
}

is_deeply redis('KEYS', 'stream:*'), [], 'the check leaves nothing in Redis';

my %FAULTS = (
    oom => {
        on => sub { redis('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
                    redis('CONFIG', 'SET', 'maxmemory', '1mb') },
        off => sub { redis('CONFIG', 'SET', 'maxmemory', '0') },
        error => 'OOM command not allowed',
    },
    readonly => {
        on => sub { redis('REPLICAOF', '127.0.0.1', free_port()) },
        off => sub { redis('REPLICAOF', 'NO', 'ONE') },
        error => "READONLY You can't write against a read only replica",
    },
);

# one megabyte is less than Redis takes by itself, from 7.0 on
redis('SET', 'filler', 'x' x 2_000_000);

for my $name (sort keys %FAULTS) {
    my $fault = $FAULTS{$name};

    is post()->{status}, 200, "$name: a message is stored before";
    $fault->{on}->();

    for my $module (qw(publish gateway)) {
        turns $module, 503, "red, Redis says $name";
        ok wait_for(20, sub { checked($module, $name) > 0 }),
            "$name: $module counts the reason";

        my $log = $nginx->error_log;
        my $line = qr/the\ check\ of\ "conduit_${module}_health"\ failed:
                      \ \Q$fault->{error}\E/x;

        like $log, qr/\[error\] [^\n]*$line/, "$name: $module logs the reason";
        is scalar(() = $log =~ /$line/g), 1,
            "$name: $module logs the reason once";
    }

    my $r = post();

    is $r->{status}, 503, "$name: a message is refused";
    is metrics($nginx, 'publish')->{qq(unavailable_total{reason="$name"})}, 1,
        "$name: a message is refused for the same reason";

    $fault->{off}->();

    turns $_, 200, "green when $name is over" for qw(publish gateway);
    is post()->{status}, 200, "$name: a message is stored again";
}

# who may not write that key is served all the same, as before

redis('ACL', 'SETUSER', 'default', 'resetkeys', '~conduit:*');

my $before = metrics($nginx, 'publish')->{redis_commands_total};

ok wait_for(20, sub {
    metrics($nginx, 'publish')->{redis_commands_total} > $before + 3;
}), 'checks go on without the right to write the key of the check';
turns 'publish', 200, 'a user who may not write streams';
redis('ACL', 'SETUSER', 'default', 'allkeys');

is join(' ', grep { metrics($nginx, 'publish')->{refused($_)} }
        qw(other loading busy cluster masterdown noreplicas misconf)), '',
    'no message was refused for any other reason';

done_testing();
