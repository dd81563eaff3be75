# Copyright (C) Conduit for NGINX authors
#
# How long NGINX waits before it tries to connect to Redis again, and how often
# it logs that a connection fails: waits start at about 50 ms, grow to 3 s at
# most, and differ between connections; the reason is logged again after a
# minute.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Test::More;
use Time::HiRes qw(sleep);

# Locations with times of their own have connections of their own; nobody
# listens at the port.

my $port = free_port();
my $LINKS = 32;

# the log is read again and again, for a minute

my $nginx = nginx_start(log_level => 'info', server => join '', map {
    publish_location('conduit_publish_auth off; conduit_publish_rate off;'
                     . 'conduit_publish_timeout ' . (500 + $_) . 'ms;',
                     redis => "redis://127.0.0.1:$port")
        =~ s{/publish/}{/publish-$_/}r
} 1 .. $LINKS);

for my $n (1 .. $LINKS) {
    my $r = http($nginx, 'POST', "/publish-$n/$ORG/$CHANNEL",
                 body => message());
    is $r->{status}, 503, "$n: no message is taken";
}

# 50 + 100 + 200 ... ms, and from then on as long as it gets

sub waits {
    return $nginx->error_log =~ /connect failed .* next try in (\d+)ms/g;
}

ok wait_for(60, sub { grep({ $_ >= 1600 } waits()) >= 3 * $LINKS }),
    'connections try again until waits are long';

my @waits = sort { $a <=> $b } waits();
my %distinct = map { $_ => 1 } grep { $_ >= 1600 } @waits;

cmp_ok $waits[0], '>=', 25, 'the first waits are not shorter than 25 ms';
cmp_ok $waits[0], '<=', 75, 'the first waits are not longer than 75 ms';
cmp_ok $waits[-1], '<=', 3000, 'no wait is longer than 3 s';
cmp_ok $waits[-1], '>', 2500, 'some waits are close to 3 s';
cmp_ok keys %distinct, '>', $LINKS, 'long waits differ';

# each of them says at error level why, and again after a minute

sub errors {
    my @lines = $nginx->error_log
        =~ /^\S+ (\d+:\d+:\d+) \[error\].* connect failed /mg;

    return map { my ($h, $m, $s) = split /:/; $h * 3600 + $m * 60 + $s } @lines;
}

ok wait_for(120, sub { sleep 0.2; errors() >= 2 * $LINKS }),
    'the reason is logged again';

my @errors = errors();

cmp_ok(($errors[$LINKS] - $errors[0]) % 86400, '>=', 59,
       'the reason is not logged again before a minute is over');

is $nginx->stop, 0, 'NGINX quits';
done_testing();
