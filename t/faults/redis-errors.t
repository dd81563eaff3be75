# Copyright (C) Conduit for NGINX authors
#
# What a Redis may refuse, and streams that start anew: what publishers and
# clients are told, how often it is logged, and that the service goes on.

use strict;
use warnings;

use lib 't/lib', 't/faults';

use Conduit;
use Conduit::Metrics;
use Conduit::Servers;
use Faults;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);

# what a command of a script meets, as Redis 6 and 7 put it
my %IN_SCRIPT = (
    OOM => "command not allowed when used memory > 'maxmemory'.",
    READONLY => "You can't write against a read only replica.",
    NOREPLICAS => 'Not enough good replicas to write.',
    MISCONF => 'Redis is configured to save RDB snapshots, but it is'
               . ' currently not able to persist on disk.',
);

my $SHA = 'f_' . '0' x 40;

my %PASSING = (
    LOADING => 'LOADING Redis is loading the dataset in memory',
    BUSY => 'BUSY Redis is busy running a script.',
    READONLY => "READONLY You can't write against a read only replica.",
    MASTERDOWN => 'MASTERDOWN Link with MASTER is down',
    CLUSTERDOWN => 'CLUSTERDOWN The cluster is down',
);

sub slow_script {
    my $s = IO::Socket::INET->new($REDIS) or die "connect: $!";

    redis('CONFIG', 'SET', 'lua-time-limit', 1);
    $s->syswrite("EVAL \"while true do end\" 0\r\n");
    ok(wait_for(20, sub { !eval { redis('PING') } }), 'Redis is busy');

    return $s;
}

sub slow_script_ends {
    redis('SCRIPT', 'KILL');
    wait_for(20, sub { eval { redis('PING') } });
}


# when an error has passed: each of these is one line, connections are what they
# were, and the client that was there missed nothing

sub it_passed {
    my ($client, $held, @errors) = @_;

    errors_are(@errors);
    nothing_is_left($held);
    got_all($client, kept());
    stop();
}


subtest 'TEST 1: memory is full' => sub {
    start();

    my @ids = map { post(sequence => $_)->{body} } 1 .. 3;
    my $client = client();
    is(line_of($client->events(3)), '1 2 3', 'messages arrive');

    my $held = held();
    redis('CONFIG', 'SET', 'maxmemory', 1);

    is_told(post(), 503, 'Redis is out of memory, the message was not stored',
            'a publisher is told') for 1 .. 5;

    is(line_of(client()->events(3)), '1 2 3', 'a client is served');
    is(line_of(client(last_event_id => $ids[1])->event), 3,
       'a client that resumes is served');

    redis('CONFIG', 'SET', 'maxmemory', 0);
    goes_on(4, $client);
    it_passed($client, $held, refused('OOM '));
};


subtest 'TEST 2: errors that pass, to a publisher' => sub {
    start(proxy => 1);

    my $client = client();
    my $sequence = 0;
    goes_on($sequence, $client);
    my $held = held();

    for my $name (sort keys %PASSING) {
        $proxy->tell('answer', 'EVALSHA', $PASSING{$name});
        is_told(post(), 503, 'Redis is busy, the message was not stored',
                "$name: a publisher is told");
        $proxy->tell('pass');
        goes_on(++$sequence, $client);
    }

    # not one for each
    it_passed($client, $held, refused($PASSING{BUSY}));
};


subtest 'TEST 3: errors of a command in the script, by version' => sub {
    start(proxy => 1, publish => '', pages => 1);

    for my $code (sort keys %IN_SCRIPT) {
        my $text = "$code $IN_SCRIPT{$code}";
        my $series = sprintf 'unavailable_total{reason="%s"}', lc $code;

        for my $error ("ERR Error running script (call to $SHA): "
                       . "\@user_script:14: \@user_script: 14: -$text ",
                       "$text script: $SHA, on \@user_script:14.")
        {
            my $before = metrics($nginx, 'publish')->{$series};

            $proxy->tell('answer', 'EVALSHA', $error);
            is_told(post(), 503, $code eq 'OOM'
                    ? 'Redis is out of memory, the message was not stored'
                    : 'Redis is busy, the message was not stored',
                    "$code: a publisher is told to try again");
            $proxy->tell('pass');

            is(metrics($nginx, 'publish')->{$series}, $before + 1,
               "$code: the reason is counted");
        }
    }

    stop();
};


subtest 'TEST 4: errors that pass, to a gateway' => sub {
    for my $name (sort keys %PASSING) {
        start(proxy => 1);

        my @ids = map { xadd(sequence => $_) } 1 .. 3;
        my $live = client();
        is(line_of($live->events(3)), '1 2 3', "$name: a client is served");

        $proxy->tell('answer', 'XREAD', $PASSING{$name});
        xadd(sequence => 4);
        ok(wait_for(20, sub {
            lines(qr/\[error\].*reading "[^"]+" failed: $name /) }),
           'the log says so');

        my $other = client(channel_id => uuid());

        $proxy->tell('answer', redis_version() >= 7_000_000 ? 'EVALSHA_RO'
                                                           : 'EVALSHA',
                     $PASSING{$name});
        my $resumed = client(last_event_id => $ids[0]);
        is($resumed->status, 200, 'a client that comes meanwhile gets 200');

        $proxy->tell('pass');
        is(line_of($live->event(20)), 4, 'streams go on');
        is(line_of($resumed->events(3, 20)), '2 3 4', 'all of them');

        errors_are(failed($PASSING{$name}));
        got_all($live, kept());
        stop();
    }
};


subtest 'TEST 5: Redis loads its data while links connect' => sub {
    start(proxy => 1);
    $proxy->tell('answer', 'PING', $PASSING{LOADING});

    is_told(post(), 503, $UNREACHABLE, 'a publisher is told');

    my $client = client();
    is($client->status, 200, 'a client gets 200');

    my $before = connections_made();

    for my $role (qw(publish bell reader)) {
        ok(wait_for(20, sub {
            lines(qr/ $role: connect failed \(PING refused: LOADING/) >= 3 }),
           "$role: tries again and again");
        is(scalar(lines(qr/\[error\].* $role: /)), 1, 'one error is logged');
    }

    cmp_ok(connections_made() - $before, '<', 25, 'attempts become rarer');

    $proxy->tell('pass');
    goes_on(1, $client);
    is_logged_once('publish', 'bell', 'reader');
    stop();
};


subtest 'TEST 6: a slow script' => sub {
    start();
    my $client = client();
    goes_on(1, $client);

    my $held = held();
    my $script = slow_script();

    is_told(post(), 503, 'Redis is busy, the message was not stored',
            'a publisher is told');
    my $late = client();
    my $other = client(channel_id => uuid());
    ok(wait_for(20, sub { lines(qr/\[error\].*reading .*: BUSY/) }),
       'reading fails');
    slow_script_ends();

    goes_on(2, $client);
    is(line_of($late->events(2, 20)), '1 2',
        'a client that came while reading failed gets all messages');
    close $script;
    it_passed($client, $held, refused('BUSY '), failed('BUSY '));
};


subtest 'TEST 7: a replica whose master is away' => sub {
    start();
    my $client = client();
    goes_on(1, $client);

    my $held = held();
    redis('REPLICAOF', '127.0.0.1', free_port());
    is(line_of(client()->event), 1, 'what it has is served');
    is_told(post(), 503, 'Redis is busy, the message was not stored',
            'a publisher is told');

    redis('CONFIG', 'SET', 'replica-serve-stale-data', 'no');
    my $late = client(channel_id => uuid());
    ok(wait_for(20, sub { lines(qr/\[error\].*reading .*: MASTERDOWN/) }),
       'until it may not be');
    is_told(post(), 503, 'Redis is busy, the message was not stored',
            'a publisher is told that Redis is busy');

    redis('REPLICAOF', 'NO', 'ONE');
    redis('CONFIG', 'SET', 'replica-serve-stale-data', 'yes');
    goes_on(2, $client);
    it_passed($client, $held, refused('READONLY '), failed('MASTERDOWN '));
};


subtest 'TEST 8: a key of another type' => sub {
    for my $events ('', 'conduit_gateway_wakeup poll 50ms;') {
        start(events => $events);

        my $id = xadd(sequence => 1);
        my $client = client();
        is(line_of($client->event), 1, 'a message arrives');
        redis('SET', stream_key(), 'x');

        is_told(post(), 500, 'Redis refused the message',
                'a publisher is told') for 1 .. 3;
        ok(wait_for(20, sub { lines(qr/reading .* failed: WRONGTYPE/) }),
           'reading fails');

        my $late = client(last_event_id => $id);
        is($late->status, 200, 'a client that comes gets 200');

        redis('DEL', stream_key());
        xadd(id => '5-1', sequence => 2);
        is(line_of($_->event(20)), 2, 'what comes in its place arrives')
            for $client, $late;

        errors_are(refused('WRONGTYPE '), failed('WRONGTYPE '));
        got_all($client, $id, kept());
        stop();
    }
};


subtest 'TEST 9: a password that is changed' => sub {
    redis('ACL', 'SETUSER', 'one', 'reset', 'on', '>right', '~*', '&*',
          '+@all');
    start(redis => "redis://one:right\@$REDIS");

    my $client = client();
    goes_on(1, $client);

    redis('ACL', 'SETUSER', 'one', 'resetpass', '>other');
    redis('CLIENT', 'KILL', 'USER', 'one');

    my $before = connections_made();
    ok(wait_for(20, sub { post()->{status} == 503 }), 'a publisher is told');
    sleep 2;

    # 50 ms, doubled each time: six times in two seconds
    cmp_ok(connections_made() - $before, '<', 30, 'there is no storm');

    for my $role (qw(publish bell reader)) {
        ok(wait_for(20, sub { lines(qr/ $role: .*AUTH refused: /) >= 3 }),
           "$role: tries again and again");
        is(scalar(lines(qr/\[error\].* $role: .*AUTH refused: WRONGPASS/)),
           1, 'one error has the reason');
    }

    redis('ACL', 'SETUSER', 'one', '>right');
    goes_on(2, $client);
    is_logged_once('publish', 'bell', 'reader');

    stop();
    redis('ACL', 'DELUSER', 'one');
};


subtest 'TEST 10: a publisher without a permission' => sub {
    redis('ACL', 'SETUSER', 'one', 'reset', 'on', '>x', '~*', '+ping', '+eval',
          '+evalsha', '+pexpire');
    start(redis => "redis://one:x\@$REDIS");

    my $before = connections_made();

    is_told(post(), 500, 'Redis refused the message', 'is told')
        for 1 .. 10;
    is(scalar(lines(qr/\[error\].*refused to publish.*(?:NOPERM|ACL|can't run)/)),
       1, 'one error is logged');
    is(connections_made() - $before, 1, 'one connection is made');

    redis('ACL', 'SETUSER', 'one', '+xadd');
    is(post()->{status}, 200, 'a permission is effective at once');

    stop();
    redis('ACL', 'DELUSER', 'one');
};


subtest 'TEST 11: Redis loads its data for a long time' => sub {
    my $dump = "$Conduit::TMP/dump.rdb";

    start(events => 'conduit_gateway_keepalive 200ms;'
                    . 'conduit_gateway_outage 60s;');

    my $client = client();
    goes_on($_, $client) for 1 .. 3;

    my $held = held();

    # a minute, unless it is told to hurry; Redis 6 cannot be told: 12 seconds,
    # in which it answers once in 2 MB

    my $is_told = redis_version() >= 7_000_000;
    my ($n, $size, $delay, @options) = $is_told
        ? (600, 2000, 100_000, '--loading-process-events-interval-bytes', 1024)
        : (40, 1 << 20, 300_000);

    redis('SET', "filler:$_", 'x' x $size) for 1 .. $n;
    redis('CONFIG', 'SET', 'rdbcompression', 'no');
    redis('SAVE');
    redis_stop('KILL');
    Conduit::redis_spawn($Conduit::REDIS_PORT, '--key-load-delay', $delay,
                         @options);
    ok(wait_for(20, sub { !eval { redis('PING') } && $@ =~ /LOADING/ }),
       'Redis is loading');

    for my $role (qw(publish bell reader)) {
        ok(wait_for(20, sub {
            lines(qr/\[info\].* $role: connect failed \(PING refused: LOADING/)
        }), "$role: waits");
        is(scalar(lines(qr/\[error\].* $role: .*PING refused: LOADING/)), 1,
           'one error has the reason');
    }

    is_told(post(sequence => 4), 503, $UNREACHABLE, 'a publisher is told');
    ok($client->comment, 'responses stay open');
    is(client(channel_id => uuid())->status, 200, 'others are opened');

    redis('CONFIG', 'SET', 'key-load-delay', 0) if $is_told;
    goes_on(4, $client);

    is_logged_once('publish', 'bell', 'reader');
    it_passed($client, $held, map { lost($_, '.*') } 'publish', 'bell',
                                                     'reader');

    unlink $dump or die "$dump: $!";
    redis_stop();
    redis_start();
};


subtest 'TEST 12: a node without slots' => sub {
    my $node = Conduit::Servers->new;
    my $port = $node->start('--cluster-enabled', 'yes',
                            '--cluster-config-file', 'nodes.conf');
    my $slots = sub { $node->command($port, 'CLUSTER', $_[0], 0 .. 16383) };

    $slots->('ADDSLOTS');
    start(redis => "redis://127.0.0.1:$port");

    my $client = client();
    goes_on(1, $client);
    $slots->('DELSLOTS');

    ok(wait_for(20, sub { post()->{status} == 503 }), 'the cluster is down');
    is_told(post(), 503, 'Redis is busy, the message was not stored',
            'a publisher is told');

    my $other = client(channel_id => uuid());
    is($other->status, 200, 'a client gets 200');
    ok(wait_for(20, sub { lines(failed('CLUSTERDOWN ')) }), 'reading fails');

    $slots->('ADDSLOTS');
    goes_on(2, $client);

    errors_are(refused('CLUSTERDOWN '), failed('CLUSTERDOWN '));
    is(scalar(grep { $_->{cmd} !~ /^client(?:\|list)?$/ }
                     $node->clients($port)), 3,
       'connections are what they were');

    my $entries = $node->command($port, 'XRANGE', stream_key(), '-', '+');
    is(scalar(@$entries), 2, 'what was refused is not there');
    got_all($client, map { $_->[0] } @$entries);
    stop();
};


subtest 'TEST 13: a script that is forgotten under way' => sub {
    start();

    my $client = client();
    goes_on(0, $client);
    my $held = held();

    # before twenty that come at once

    for my $round (1 .. 3) {
        redis('SCRIPT', 'FLUSH');
        redis_pause();
        my @posts = map { post_start(sequence => $_) } 1 .. 20;
        ok(wait_for(20, \&redis_input), 'messages are on their way');
        redis_resume();

        is(scalar(grep { http_end($_)->{status} == 200 } @posts), 20,
           'the messages are taken');
        is(scalar(my @events = $client->events(20, 20)), 20,
            'the messages arrive');
    }

    is(redis('XLEN', stream_key()), 61, 'no message is stored twice');
    it_passed($client, $held);
};


subtest 'TEST 14: the last ID of all' => sub {
    my $max = 18446744073709551615;

    start();
    my $client = client();
    goes_on(1, $client);
    my $held = held();
    my @ids = kept();

    push @ids, xadd(id => "$max-$max", sequence => 2);
    is(line_of($client->event), 2, 'arrives');

    is_told(post(), 500, 'Redis refused the message', 'none follows')
        for 1 .. 3;

    redis('DEL', stream_key());
    goes_on(3, $client);

    errors_are(refused(''));
    like((lines(refused('')))[0], qr/exhausted|smaller/,
        'the log says why a message is refused');
    nothing_is_left($held);
    got_all($client, @ids, kept());
    stop();
};


# --- the stream goes, and comes back with smaller IDs: it was deleted, the
# database flushed, the clock stepped back

for my $wakeup ('tracking', 'poll 50ms') {
    subtest "TEST 14: a stream that is made anew, $wakeup" => sub {
        my %ways = (
            'DEL' => sub { redis('DEL', stream_key()) },
            'FLUSHALL' => sub { redis('FLUSHALL') },
            'UNLINK' => sub { redis('UNLINK', stream_key()) },
            'RENAME' => sub { redis('RENAME', stream_key(), 'stream:old') },
            'PEXPIRE' => sub {
                redis('PEXPIRE', stream_key(), 1);
                wait_for(20, sub { !redis('EXISTS', stream_key()) });
            },
            'a script' => sub {
                redis('EVAL', 'redis.call("DEL", KEYS[1])'
                      . ' redis.call("XADD", KEYS[1], "3-1", "data", ARGV[1])',
                      1, stream_key(), message(sequence => 10));
            },
        );

        for my $way (sort keys %ways) {
            start(events => "conduit_gateway_wakeup $wakeup;");

            my $live = client();
            my @ids = map { xadd(sequence => $_) } 1 .. 3;
            is(line_of($live->events(3)), '1 2 3', "$way: messages arrive");

            $ways{$way}->();
            xadd(id => '3-1', sequence => 10) if $way ne 'a script';
            xadd(id => '4-1', sequence => 11);

            is(line_of($live->events(2, 20)), '10 11',
               'the new stream is followed from its start');
            is(line_of(client(last_event_id => $ids[1])->events(3, 20)),
               'history_lost 10 11',
                   'a client that resumes gets the new stream, and is told');

            xadd(sequence => 12);
            is(line_of($live->event), 12, 'the live client goes on');

            errors_are();
            got_all($live, @ids, kept());
            $nginx->stop;
        }
    };
}

# the clock of Redis steps back by a day while a stream goes on, and is deleted

for my $wakeup ('tracking', 'poll 50ms') {
    subtest "TEST 15: IDs ahead of the clock, $wakeup" => sub {
        start(events => "conduit_gateway_wakeup $wakeup;");

        my $client = client();
        my $ahead = int((time + 86400) * 1000);
        my @ids = xadd(id => "$ahead-0", sequence => 1);

        is(line_of($client->event(20)), 1, 'a message arrives');

        for my $n (1 .. 3) {
            push @ids, post(sequence => $n + 1)->{body};
            is($ids[-1], "$ahead-$n", 'IDs go on from the last one');
            is(line_of($client->event(20)), $n + 1,
                'events arrive with these IDs');
        }

        ok(!eval { xadd(id => $ahead - 1 . '-0') },
           'an ID before the last one is refused');

        my $held = held();
        redis('DEL', stream_key());
        goes_on(5, $client);
        cmp_ok((split /-/, (kept())[0])[0], '<', $ahead,
               'a new stream starts with the present time');

        my $resumed = client(last_event_id => $ids[-1]);
        is(line_of($resumed->event(20)), 5,
           'a new stream is sent to a client that resumes');
        $resumed->close;

        errors_are();
        nothing_is_left($held);
        got_all($client, @ids, kept());
        stop();
    };
}

# errors of the same millisecond are one line; it depends on which one that is

subtest 'TEST 15: many errors at once' => sub {
    for my $round (1 .. 6) {
        start();
        goes_on(1, client());
        redis('CONFIG', 'SET', 'maxmemory', 1);
        redis_pause();

        my @posts = map { post_start() } 1 .. 20;

        ok(wait_for(20, sub { redis_input() > 20 * length message() }),
           'twenty messages wait for Redis');
        redis_resume();
        is(scalar(grep { http_end($_)->{status} == 503 } @posts), 20,
           'all are refused');

        redis('CONFIG', 'SET', 'maxmemory', 0);
        errors_are(refused('OOM '));
        stop();
    }
};

done_testing();
