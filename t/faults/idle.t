# Copyright (C) Conduit for NGINX authors
#
# A connection that Redis closes because it is idle ("timeout") is no outage: it
# is made again at once, and commands wait for it meanwhile.

use strict;
use warnings;

use lib 't/lib', 't/faults';

use Conduit;
use Conduit::Metrics;
use Faults;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep);

my $IDLE = qr/closed while idle \(Server closed the connection\), next try in 1ms/;

# Redis counts in whole seconds, and the module takes 0.9 s for idle
my $A_WHILE = 1.2;

# The worker finds its connections closed by Redis, and what a function does
# happens before it looks.
sub closed_meanwhile {
    my ($what) = @_;

    kill 'STOP', $worker;
    stopped($worker) or die 'the worker does not stop';
    redis('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    $what->();
    kill 'CONT', $worker;
}


subtest 'TEST 1: the "timeout" of Redis' => sub {
    start();
    my $client = client();
    goes_on(1, $client);

    redis('CONFIG', 'SET', 'timeout', 1);

    for my $role (qw(publish reader)) {
        ok(wait_for(30, sub {
            lines(qr/ $role: connected again after \d+ms/)
        }), "$role: a connection is closed and made again");
        ok(scalar(lines(qr/\[info\].* $role: $IDLE/)), "$role: as it is idle");
    }

    is_deeply([lines(qr/\[(?:warn|error|crit|alert|emerg)\]/)], [],
              'the log has no warning');

    # the connection of the tests was closed, too
    eval { redis('PING') };
    redis('CONFIG', 'SET', 'timeout', 0);
    goes_on(2, $client);
    stop();
};


subtest 'TEST 2: messages and clients that come meanwhile wait' => sub {
    my $patient = 'conduit_X_connect_timeout 20s; conduit_X_timeout 20s;';

    start(publish => $patient =~ s/_X_/_publish_/gr,
          events => $patient =~ s/_X_/_gateway_/gr);
    my $client = client();
    goes_on(1, $client);

    # Redis has closed them, and takes a while for new ones

    sleep $A_WHILE;
    closed_meanwhile(\&redis_pause);

    ok(wait_for(20, sub { lines(qr/ publish: (?:closed|connection lost)/) }),
       'the worker sees it');

    my $post = post_start(sequence => 2);
    my $late = client();

    is($late->status, 200, 'a client is answered');
    redis_resume();

    is(http_end($post)->{status}, 200, 'a message is stored');
    is(line_of($client->event(20) // ()), 2,
        'the message arrives at the client that was there');
    is(line_of($late->events(2, 20)), '1 2',
        'the messages arrive at the client that came meanwhile');
    is_deeply([lines(qr/\[(?:error|crit|alert|emerg)\].* publish: /)], [],
              'without an error');
    stop();
};


subtest 'TEST 3: a message that comes before the worker sees it' => sub {
    start();

    my $s = IO::Socket::INET->new('127.0.0.1:' . $nginx->port)
        or die "connect: $!";
    my $taken = sub {
        my $answer = '';

        while ($answer !~ /\r\n\r\n\d+-\d+\z/) {
            $s->sysread($answer, 4096, length $answer) or last;
            last if $answer =~ m{\AHTTP/1\.1 [^2]};
        }

        return $answer =~ m{\AHTTP/1\.1 (\d+)} ? $1 : 'none';
    };
    my $body = message();
    my $request = "POST /publish/$ORG/$CHANNEL HTTP/1.1\r\nHost: a\r\n"
                  . 'Content-Length: ' . length($body) . "\r\n\r\n$body";

    $s->syswrite($request);
    is($taken->(), 200, 'a message is stored');
    sleep $A_WHILE;

    # it is there first, and the end of the connection after it

    kill 'STOP', $worker;
    stopped($worker) or die 'the worker does not stop';
    $s->syswrite($request);
    redis('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    kill 'CONT', $worker;

    is($taken->(), 200, 'the next request on the connection is taken');
    is(redis('XLEN', stream_key()), 2, 'each of them once');
    is_deeply([lines(qr/\[(?:error|crit|alert|emerg)\]/)], [],
              'without an error');
    close $s;
    stop();
};


subtest 'TEST 4: a Redis that goes is an outage' => sub {
    start();
    is(post(sequence => 1)->{status}, 200, 'a message is stored');
    sleep $A_WHILE;

    redis_stop();
    ok(wait_for(20, sub {
        lines(qr/\[error\].* publish: connect failed \(\d+: Connec/)
    }), 'Redis can not be connected to');
    is(scalar(lines(qr/\[error\].* publish: connection lost/)), 1,
       'the connection is lost');
    is_told(post(), 503, $UNREACHABLE, 'a publisher is told');

    redis_start();
    ok(wait_for(20, sub { post()->{status} == 200 }),
        'messages are taken when Redis is back');
    is_logged_once('publish');
    stop();
};


subtest 'TEST 5: a connection that was not idle is an outage' => sub {
    start();

    for (1 .. 20) {
        is(post(sequence => 1)->{status}, 200, 'a message is stored');
        closed_meanwhile(sub { });

        wait_for(20, sub { lines(qr/ publish: connected again/) });
        last if lines(qr/\[error\].* publish: connection lost/);
    }

    ok(scalar(lines(qr/\[error\].* publish: connection lost/)), 'an error');
    stop();
};


subtest 'TEST 6: the metrics do not count it as a loss' => sub {
    $nginx = nginx_start(server => pages()
        . publish_location('conduit_publish_auth off;'
                           . 'conduit_publish_rate off;'));
    ($worker) = $nginx->workers;

    my $count = sub { metrics($nginx, 'publish')->{"redis_$_[0]_total"} };

    is(post(sequence => 1)->{status}, 200, 'a message is stored');
    sleep $A_WHILE;
    closed_meanwhile(sub { });
    ok(wait_for(20, sub { $count->('connects') == 2 }),
        'the connection is made again');
    is($count->('connections_lost'), 0, 'no connection counts as lost');
    is($nginx->stop, 0, 'NGINX quits');
};


done_testing();
