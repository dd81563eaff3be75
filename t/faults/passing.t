# Copyright (C) Conduit for NGINX authors
#
# Temporary errors (a server is busy, is loading, or has lost its master): a
# command that got one is sent again after a delay, not in a closed loop.

use strict;
use warnings;

use lib 't/lib', 't/faults';

use Conduit;
use Faults;
use Test::More;
use Time::HiRes qw(sleep time);

my %PASSING = (
    LOADING => 'LOADING Redis is loading the dataset in memory',
    BUSY => 'BUSY Redis is busy running a script.',
    MASTERDOWN => 'MASTERDOWN Link with MASTER is down',
    CLUSTERDOWN => 'CLUSTERDOWN The cluster is down',
);

# how often a command was called, or refused

sub calls {
    my ($command, $what) = @_;

    $what //= 'calls';

    my ($line) = redis('INFO', 'commandstats')
                 =~ /^cmdstat_$command(?:\|stream)?:(.*)/m;

    return ($line // '') =~ /\b$what=(\d+)/ ? $1 : 0;
}

# what asks where a client stands
my $FULL = redis_version() >= 7_000_000 ? 'EVALSHA_RO' : 'EVALSHA';

# the proxy makes a script of each command that it answers
sub refusals { return calls('eval') }

# Each client's look-up is tried again twice a second; without the pause this
# would be hundreds.  A slow machine has more of the seconds.

sub are_few {
    my ($count, $started, $title) = @_;

    cmp_ok($count, '<=', 12 + 6 * (time - $started), $title);
}


for my $name (sort keys %PASSING) {
    subtest "TEST 1: look-ups while there is $name" => sub {
        start(proxy => 1);

        my @ids = map { xadd(sequence => $_) } 1 .. 4;
        my $live = client();

        is(line_of($live->events(4)), '1 2 3 4', 'a client is served');

        redis('CONFIG', 'RESETSTAT');
        my $started = time;
        $proxy->tell('answer', $FULL, $PASSING{$name});

        my $future = client(last_event_id => '99999999999999-0');
        my $resumed = client(last_event_id => $ids[1]);

        is(line_of($resumed->events(2)), '3 4',
           'a client at a known position goes on');

        # the retry reads as well

        ok(wait_for(20, sub { calls('xread') >= 4 }),
            'the read is tried again');
        cmp_ok(refusals(), '>=', 3, 'a look-up each time');
        are_few(refusals(), $started, 'look-ups come a few times a second');

        xadd(sequence => 5);
        is(line_of($_->event(30)), 5, 'who is there is served meanwhile')
            for $live, $resumed;

        $proxy->tell('pass');
        like(line_of($future->events(6, 20)), qr/1 2 3 4 5\z/,
             'a client whose position was looked up is served when the error '
             . 'has passed');

        stop();
    };
}


subtest 'TEST 2: a replica that has lost its master' => sub {
    start();

    my $other = uuid();
    my @ids = map { xadd(channel_id => $other, sequence => $_) } 1 .. 4;
    my $live = client();

    xadd(sequence => 1);
    is(line_of($live->event), 1, 'a client is served');

    redis('CONFIG', 'SET', 'replica-serve-stale-data', 'no');
    redis('REPLICAOF', '127.0.0.1', free_port());
    redis('CONFIG', 'RESETSTAT');

    my $started = time;
    my $behind = client(channel_id => $other, last_event_id => $ids[1]);
    is($behind->status, 200, 'a client that resumes gets 200');

    # Redis 6.2 refuses the script itself, later versions what it calls

    my $asked = sub { calls(lc $FULL) + calls(lc $FULL, 'rejected_calls') };

    ok(wait_for(20, sub { $asked->() >= 3 }), 'its look-up is tried again');
    are_few($asked->(), $started,
            'look-ups of one that resumes come a few times a second');

    # a connection that is made now

    eval { redis('CLIENT', 'KILL', 'TYPE', $_, 'SKIPME', 'yes') }
        for 'pubsub', 'normal';

    ok(wait_for(20, sub { peers($READER) && peers($BELL) }),
       'links are made although PING is refused');

    redis('REPLICAOF', 'NO', 'ONE');
    redis('CONFIG', 'SET', 'replica-serve-stale-data', 'yes');

    is(line_of($behind->events(2, 20)), '3 4',
       'all is sent when it has passed');
    xadd(sequence => 2);
    is(line_of($live->event(20)), 2, 'streams go on');
    is(scalar(lines(qr/connect failed/)), 0, 'no connection failed');

    stop();
};


subtest 'TEST 3: history that is refused is not asked for with each message' =>
    sub
{
    start(proxy => 1);

    my @ids = map { xadd(sequence => $_) } 1 .. 5;
    my $live = client(last_event_id => $ids[3]);

    is(line_of($live->event), 5, 'a client is at the end');

    redis('CONFIG', 'RESETSTAT');
    my $started = time;
    $proxy->tell('answer', $FULL, $PASSING{LOADING});

    my $behind = client(last_event_id => $ids[0]);
    ok(wait_for(20, sub { refusals() }), 'the history is refused');

    for my $n (6 .. 105) {
        xadd(sequence => $n);
        is(line_of($live->event(30)), $n, 'a message arrives')
            or last;
    }

    are_few(refusals(), $started, 'few of them ask for the history');

    $proxy->tell('pass');
    is(line_of($behind->events(104, 20)), join(' ', 2 .. 105),
       'the history is sent when the error has passed');

    stop();
};


subtest 'TEST 4: a read that is refused is not polled for' => sub {
    start(proxy => 1, events => 'conduit_gateway_wakeup poll 10ms;');

    xadd(sequence => 1);
    my $client = client();

    is(line_of($client->event), 1, 'a client is served');

    $proxy->tell('answer', 'XREAD', $PASSING{LOADING});
    ok(wait_for(20, sub { refusals() }), 'reading fails');

    my ($before, $start) = (refusals(), time);

    ok(wait_for(20, sub { refusals() - $before >= 3 }),
        'the refused read is tried again');
    cmp_ok((refusals() - $before) / (time - $start), '<', 30,
           'some times a second');

    xadd(sequence => 2);
    $proxy->tell('pass');
    is(line_of($client->event(20)), 2, 'the client goes on');

    stop();
};


# once in ten seconds: what is refused before these are over is not logged

subtest 'TEST 5: history that is refused, and later again, is logged twice' =>
    sub
{
    start(proxy => 1);

    my @ids = map { xadd(sequence => $_) } 1 .. 3;
    my $live = client(last_event_id => $ids[1]);

    is(line_of($live->event), 3, 'a client is at the end');

    my $logged = sub { return scalar(lines(failed($PASSING{LOADING}))) };
    my @served;

    ok(wait_for(30, sub {
        $proxy->tell('once', $FULL, $PASSING{LOADING});

        my $behind = client(last_event_id => $ids[0]);

        push @served, line_of($behind->events(2, 20));
        $behind->close;

        return $logged->() == 2;
    }), 'the second error is logged, too');

    is($logged->(), 2, 'the errors between the two are not logged');
    is_deeply([grep { $_ ne '2 3' } @served], [],
              'each client that resumes is served when its error has passed');
    cmp_ok(scalar @served, '>', 2, 'more errors came than were logged');

    xadd(sequence => 4);
    is(line_of($live->event(20)), 4, 'the live client goes on');

    stop();
};

done_testing();
