# Copyright (C) Conduit for NGINX authors
#
# A reply of Redis that is too large for the memory of a worker.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Test::More;

my $nginx = nginx_start(server =>
    # a reply of 64m takes its time on a slow machine
    gateway_location('conduit_gateway_auth off; conduit_gateway_timeout 300s;'));
my ($worker) = $nginx->workers;

my $LIMIT = 64 << 20;


sub lines {
    my $re = shift;

    return grep { /\[error\]/ && /$re/ }
           split /\n/, read_file($nginx->root . '/logs/error.log');
}

# what a worker had at most, in bytes
sub peak {
    return 1024 * (read_file("/proc/$worker/status") =~ /VmHWM:\s+(\d+)/)[0];
}


# --- entries that are too many for one reply

my $many = uuid();
my $message = message(channel_id => $many,
                      payload => { text => 'x' x (2 << 20) });

my @ids = map { redis('XADD', stream_key($ORG, $many), '*', 'data', $message) }
          1 .. 40;
my $url = "http://127.0.0.1:" . $nginx->port . events_path(channel_id => $many);

open my $curl, '-|', 'curl', '-sSN', '--max-time', 900, $url
    or die "curl: $!";

# the IDs of the next n events
sub next_ids {
    my $n = shift;
    my @got;

    while (@got < $n && defined(my $line = <$curl>)) {
        push @got, $1 if $line =~ /^id: (\S+)/;
    }

    return \@got;
}

is_deeply next_ids(40), \@ids,
    'entries of 80m in all are delivered by smaller replies';

# replies have their size again after some that were smaller, as their entries were
# larger

kill 'STOP', $worker;
stopped($worker) or die 'the worker does not stop';
redis('CONFIG', 'RESETSTAT');
@ids = map { xadd(channel_id => $many, sequence => $_) } 1 .. 90;
kill 'CONT', $worker;

is_deeply next_ids(90), \@ids, 'what follows is delivered';
like redis('INFO', 'commandstats'), qr/cmdstat_xread:calls=1?\d,/,
    'by replies of the usual size, after some of fewer entries';

@ids = xadd(channel_id => $many, phase => 'END');
is_deeply next_ids(2), \@ids, 'the response ends with END';
close $curl;
cmp_ok scalar(lines('a reply of more than 64m')), '>=', 1,
    'the reply that was too large is logged';


# --- one entry that is

my $huge = uuid();
my $other = sse_open($nginx);

ok $other->status == 200, 'another stream is open';

redis('XADD', stream_key($ORG, $huge), '*', 'data', 'y' x (96 << 20));

my $sse = sse_open($nginx, channel_id => $huge);
my $event = $sse->event(300);

is $event && $event->{event}, 'error',
    'a client that gets such an entry gets an error';
ok $sse->end(300), 'the response ends after the error';
is scalar(lines('an entry of "stream:\S+" is too large')), 1,
    'an entry that is too large is logged';

my $id = xadd(sequence => 1);
is $other->event(300)->{id}, $id, 'the stream of another channel goes on';

SKIP: {
    skip 'memory is not the worker\'s own here', 1
        if $ENV{CONDUIT_CHECKED} || $ENV{TEST_NGINX_USE_VALGRIND};

    cmp_ok peak(), '<', 5 * $LIMIT, 'the worker takes no more than it must';
}

is_deeply [$nginx->workers], [$worker], 'the worker lives';
redis('DEL', stream_key($ORG, $_)) for $many, $huge;

done_testing;
