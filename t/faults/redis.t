# Copyright (C) Conduit for NGINX authors
#
# What may happen to one Redis and its connections: it is away, it hangs, it
# comes back.  What publishers and clients are told, how often it is logged, and
# that the service goes on with nothing leaked.

use strict;
use warnings;

use lib 't/lib', 't/faults';

use Conduit;
use Faults;
use IO::Socket::INET;
use IO::Socket::IP;
use Test::More;
use Time::HiRes qw(sleep time);

# what a connection that Redis closes is lost for
my $CLOSED = '(?:Server closed the connection|Connection reset by peer)';

my @APPEND = ('--appendonly', 'yes', '--appendfsync', 'always');

sub forget {
    redis('FLUSHALL');
    redis_stop();
    redis_start();
}

sub rss {
    return read_file("/proc/$worker/status") =~ /^VmRSS:\s+(\d+)/m ? $1 : 0;
}


# --- Redis is not there

subtest 'TEST 1: connections are refused' => sub {
    start(proxy => 1, workers => 2, events => 'conduit_gateway_outage 1s;');
    $proxy->tell('close');

    my @workers = $nginx->workers;
    my @clients = map { client() } 1 .. 16;

    is(scalar(grep { $_->status == 200 } @clients), 16,
       'clients are answered with 200');
    is(scalar(grep { $_->{status} == 503 } map { post() } 1 .. 16), 16,
       'publishers with 503');

    is(scalar(grep { $_->end(20) } @clients), 16, 'responses end');
    is(scalar(grep { $_->body eq "retry: 500\n\n$ERROR_EVENT" } @clients), 16,
       'the response ends with the error event');

    for my $role (qw(publish bell reader)) {
        my %lines;

        $lines{(/ (\d+)#/)[0]}++ for lines(qr/\[error\].* $role: /);

        is_deeply([sort { $a <=> $b } values %lines],
                  [(1) x keys %lines], "$role: one error a worker");
        is(scalar(lines(qr/\[error\].* $role: connect failed \(\d+: Connec/)),
           scalar(keys %lines), "$role: the error says why");
        ok(!grep({ my $pid = $_; !grep { $_ == $pid } @workers } keys %lines),
           "$role: each worker logs its error itself");
    }

    is(scalar(lines(qr/\[(?:crit|alert|emerg)\]/)), 0,
       'nothing is logged as crit, alert or emerg');

    $proxy->tell('pass');
    ok(wait_for(20, sub { post(sequence => 5)->{status} == 200 }),
       'messages are taken again');
    ok(wait_for(20, sub { line_of(client()->event // ()) eq 5 }),
       'messages arrive when clients come back');

    stop();
};


subtest 'TEST 2: bytes are swallowed' => sub {
    start(proxy => 1, events => 'conduit_gateway_timeout 2s;'
                                . 'conduit_gateway_outage 2s;',
          publish => 'conduit_publish_timeout 2s;'
                     . 'conduit_publish_connect_timeout 500ms;');

    my $client = client();
    goes_on(1, $client);
    $client->close;
    $client = client();
    is(line_of($client->event(20)), 1, 'a client comes');

    my $held = held();

    $proxy->tell('swallow');
    is_told(post(sequence => 2), 504, $LATE, 'a publisher is told');
    is_told(post(sequence => 2), 503, $UNREACHABLE,
        'the next publisher is told that Redis is not reachable');

    # a sign of life is asked for every 5 seconds

    ok($client->end(20), 'a response ends');
    ok($client->body =~ /\Q$ERROR_EVENT\E\z/,
       'the response ends with the error event');

    $client = client();
    is($client->status, 200, 'a client that comes meanwhile gets 200');

    $proxy->tell('close');
    $proxy->tell('pass');
    ok(wait_for(20, sub { lines(qr/reader: connected again/)
                          && lines(qr/bell: connected again/) }),
       'connections are made again');
    $client->close;

    $client = client(last_event_id => '0-1');
    is(line_of($client->events(2, 20)), 'history_lost 1',
       'a client that resumes is served');
    goes_on(3, $client);

    is_logged_once('publish', 'reader', 'bell');

    # the bell's probe may come after the proxy has closed it

    errors_are(unanswered(),
               (map { lost($_, 'no reply in time') } 'publish', 'reader'),
               lost('bell', "(?:no reply in time|$CLOSED)"));
    nothing_is_left($held);
    stop();
};


subtest 'TEST 3: Redis hangs' => sub {
    start(events => 'conduit_gateway_timeout 2s;'
                    . 'conduit_gateway_keepalive 200ms;',
          publish => 'conduit_publish_timeout 2s;'
                     . 'conduit_publish_connect_timeout 500ms;');

    my $client = client();
    goes_on(1, $client);

    my $held = held();
    redis_pause();

    # a stream that nobody has read shows it at once

    my $late = client(channel_id => uuid());
    is($late->status, 200, 'a client is answered');
    is_told(post(sequence => 2), 504, $LATE, 'a publisher is told');
    is_told(post(sequence => 3), 503, $UNREACHABLE,
        'the next publisher is told that Redis is not reachable');
    ok(wait_for(20, sub { lines(qr/reader: connection lost \(no reply/) }),
       'the gateway notices');
    ok($client->comment, 'the gateway keeps responses open');

    redis_resume();
    $late->close;

    # it was in the connection when that was given up

    is(line_of($client->event(20)), 2, 'what was stored nevertheless arrives');
    goes_on(4, $client);

    is_logged_once('publish', 'reader');
    is(scalar(lines(unanswered())), 1, 'one error is logged for the message');
    nothing_is_left($held);
    got_all($client, kept());
    stop();
};


subtest 'TEST 4: a connection is cut within an answer' => sub {
    start(proxy => 1);

    my $client = client();
    goes_on(1, $client);

    my $held = held();

    # the ID of the entry

    $proxy->tell('cut', '$1');
    is_told(post(sequence => 2), 503, $LOST, 'a publisher is told');
    is(redis('XLEN', stream_key()), 2, 'the message was stored, in fact');
    is(line_of($client->event), 2, 'the message arrives');
    is_logged_once('publish');

    # the reader's answer, then the bell's message

    my $at = 3;

    for my $text ('x' x 100, 'invalidate') {
        $proxy->tell('cut', $text);
        xadd(sequence => $at++, payload => { text => 'x' x 20000 });
        xadd(sequence => $at++);

        is(line_of($client->events(2, 20)), join(' ', $at - 2, $at - 1),
           'messages arrive once');
    }

    is_logged_once('reader', 'bell');

    # history, read in parts

    my $channel = uuid();

    xadd(channel_id => $channel, sequence => $_) for 1 .. 400;
    my $id = redis('XRANGE', stream_key($ORG, $channel), '-', '+')->[9][0];

    for my $round (1 .. 3) {
        $proxy->tell('cut', 'data');
        my $client = client(channel_id => $channel, last_event_id => $id);

        is(line_of($client->events(390, 20)), join(' ', 11 .. 400),
           'the history is read over a connection that is cut');
        $client->close;
    }

    is(scalar(lines(unanswered())), 1, 'one error is logged for the message');
    nothing_is_left($held);
    got_all($client, kept());
    stop();
};


subtest 'TEST 5: Redis comes back empty' => sub {
    start(events => 'conduit_gateway_keepalive 200ms;');

    my $client = client();
    goes_on(1, $client);
    xadd(sequence => 2);

    my $position = $client->event->{id};
    my @ids = kept();
    my $held = held();

    redis_stop('KILL');
    ok(wait_for(20, sub { lines(lost('publish', '.*')) }), 'the link is lost');
    is_told(post(), 503, $UNREACHABLE, 'a publisher is told');
    redis_start();

    my $resumed = client(last_event_id => $position);

    xadd(id => '5-1', sequence => 3);
    is(line_of($_->event(20)), 3, 'a new life of the stream is followed')
        for $client, $resumed;
    goes_on(4, $client, $resumed);
    $resumed->close;

    is_logged_once('publish', 'bell', 'reader');
    errors_are(map { lost($_, $CLOSED) } 'publish', 'bell', 'reader');
    nothing_is_left($held);
    got_all($client, @ids, kept());
    stop();
};


subtest 'TEST 6: Redis comes back with what it had' => sub {
    redis_stop();
    redis_start(@APPEND);
    start(events => 'conduit_gateway_keepalive 200ms;');

    my $client = client();
    my @ids = map { post(sequence => $_)->{body} } 1 .. 5;
    is(line_of($client->events(5)), '1 2 3 4 5', 'messages arrive');

    my $held = held();

    redis_stop('KILL');
    ok(wait_for(20, sub { lines(lost('publish', '.*')) }), 'the link is lost');
    is_told(post(sequence => 6), 503, $UNREACHABLE, 'publishers are told')
        for 1 .. 5;
    ok(wait_for(20, sub { lines(lost('reader', '.*')) })
       && $client->comment, 'responses stay open');
    redis_start(@APPEND);

    my $resumed = client(last_event_id => $ids[1]);
    is(line_of($resumed->events(3, 20)), '3 4 5',
       'a client that resumes is served');
    $resumed->close;
    goes_on(6, $client);

    is_logged_once('publish', 'bell', 'reader');
    errors_are(map { lost($_, $CLOSED) } 'publish', 'bell', 'reader');
    nothing_is_left($held);

    is_deeply([(kept())[0 .. 4]], \@ids, 'Redis has what it had');
    got_all($client, kept());
    stop();
    forget();
};


subtest 'TEST 7: Redis is killed with answers under way' => sub {
    redis_stop();
    redis_start(@APPEND);
    start();

    my $client = client();
    goes_on(1, $client);

    my $held = held();
    my $sleep = IO::Socket::INET->new($REDIS) or die "connect: $!";

    $sleep->syswrite("DEBUG SLEEP 60\r\n");
    ok(wait_for(20, sub { !redis_input() }), 'Redis sleeps');

    # a read, then a message

    my $late = client(channel_id => uuid());
    ok(wait_for(20, \&redis_input), 'a stream is asked for');

    my $read = redis_input();
    my $post = post_start(sequence => 2);
    ok(wait_for(20, sub { redis_input() > $read + length message() }),
       'a message is on its way');

    redis_stop('KILL');
    is_told(http_end($post), 503, $LOST, 'its publisher is told');
    is_told(post(sequence => 2), 503, $UNREACHABLE,
        'the next publisher is told that Redis is not reachable');
    redis_start(@APPEND);

    goes_on(3, $client);
    $late->close;

    is_logged_once('publish', 'bell', 'reader');
    errors_are(unanswered(),
               map { lost($_, $CLOSED) } 'publish', 'bell', 'reader');
    nothing_is_left($held);
    got_all($client, kept());
    stop();
    forget();
};


subtest 'TEST 8: Redis is killed within an answer' => sub {
    redis_stop();
    redis_start(@APPEND);

    # the worker is stopped for as long as the rest takes: a reply that is late
    # is not what is tested

    start(publish => 'conduit_publish_timeout 60s;',
          events => 'conduit_gateway_timeout 60s;');

    # 20m in fields that nobody knows

    my $channel = uuid();
    my $data = message(channel_id => $channel)
               . Conduit::pb_bytes(100, 'x' x 200_000);
    my @ids = map { xadd(channel_id => $channel, data => $data) } 1 .. 100;

    my $client = client();
    goes_on(1, $client);
    my $held = held();

    # NGINX does not take it: some is sent, the rest waits

    redis_pause();
    my $late = client(channel_id => $channel);
    ok(wait_for(20, \&redis_input), 'a stream is asked for');

    kill 'STOP', $worker;
    stopped($worker);
    redis_resume();

    my $waits = wait_for(20, sub {
        redis('CLIENT', 'LIST') =~ / omem=([1-9]\d*) .* redir=[1-9]/
            && $1 < 100 * length $data && $1
    });
    ok($waits, "$waits bytes are not sent");

    redis_stop('KILL');
    kill 'CONT', $worker;
    redis_start(@APPEND);

    is_deeply([map { $_->{id} } $late->events(100, 60)], \@ids,
              'each entry arrives once and in order');
    goes_on(2, $client);
    is_deeply([$late->body =~ /^id: (\S+)$/mg], \@ids, 'no entry comes twice');
    $late->close;

    is_logged_once('publish', 'bell', 'reader');
    errors_are(map { lost($_, $CLOSED) } 'publish', 'bell', 'reader');
    nothing_is_left($held);
    got_all($client, kept());
    stop();
    forget();
};


# --- one of the connections

subtest 'TEST 9: bell and reader are lost while messages come' => sub {
    start();
    my $client = client();
    goes_on(0, $client);

    my $held = held();
    my $sequence = 0;

    for my $round (1 .. 4) {
        for my $kind ($BELL, $READER) {
            xadd(sequence => ++$sequence) for 1 .. 10;

            my @ids;
            wait_for(20, sub { @ids = peers($kind) });
            redis('CLIENT', 'KILL', 'ID', $_) for @ids;

            xadd(sequence => ++$sequence) for 1 .. 10;
        }
    }

    is(line_of($client->events(160, 20)), join(' ', 1 .. 160),
       'each arrives once');

    # a reader may have been idle, when all of this takes its time

    is(scalar(lines(qr/ $_: (?:connection lost|closed while idle)/)), 4,
       "$_: one line for each loss") for qw(bell reader);

    ok(wait_for(20, sub {
        lines(qr/\[warn\].* bell: connected again/) == 4
            && lines(qr/ reader: connected again/) == 4 }),
       'one for the end of each');
    nothing_is_left($held);
    stop();
};


subtest 'TEST 10: Redis closes a bell that does not keep up' => sub {
    redis('CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 1 0 0');
    start();

    my @channels = map { uuid() } 1 .. 300;
    my @clients = map { client(channel_id => $_) } @channels;
    my @keys = map { stream_key($ORG, $_) } @channels;

    # a publisher that none of them gets ahead of: 300 rings at once

    is(scalar(grep { defined } map { $_->status } @clients), 300,
       'clients of 300 streams');
    ok(wait_for(60, sub {
        redis('INFO', 'stats') =~ /^tracking_total_keys:(\d+)/m && $1 >= 300
    }), 'Redis is asked about each of them');
    redis('EVAL', 'for i, k in ipairs(KEYS) do'
                  . ' redis.call("XADD", k, "*", "data", ARGV[i]) end',
          300, @keys, map { message(channel_id => $_) } @channels);

    is(scalar(grep { $_->event(20) } @clients), 300, 'all get their message');
    ok(wait_for(20, sub { lines(qr/bell: connection lost/) }),
       'though the bell was lost');

    $_->close for @clients;
    redis('CONFIG', 'SET', 'client-output-buffer-limit',
          'pubsub 33554432 8388608 60');
    redis('DEL', @keys);
    is_logged_once('bell');
    stop();
};


subtest 'TEST 11: a bell that nothing comes through any more' => sub {
    start(proxy => 1);

    my $client = client();
    goes_on(1, $client);
    my $held = held();

    $proxy->tell('bell');
    xadd(sequence => 2);

    my $started = time;
    is(line_of($client->event(16)), 2, 'an entry that did not ring arrives');
    note sprintf 'after %.1fs', time - $started;

    $proxy->tell('pass');
    ok(wait_for(20, sub { lines(qr/bell: connected again/) }),
       'the bell is connected again');
    xadd(sequence => 3);
    is(line_of($client->event), 3, 'rings again');

    is_logged_once('bell');
    nothing_is_left($held);
    stop();
};


# --- again and again

subtest 'TEST 12: outages leave nothing behind' => sub {
    start(proxy => 1);

    my @clients = map { client(channel_id => uuid()) } 1 .. 20;
    my $client = client();
    my ($held, $rss);

    for my $round (1 .. 7) {
        my @posts = map { post_start(channel_id => uuid()) } 1 .. 20;

        $proxy->tell('close');
        my %statuses = map { (http_end($_)->{status} => 1) } @posts;
        delete @statuses{200, 503};
        is(join(' ', keys %statuses), '', 'messages are taken or refused');

        $proxy->tell('pass');
        goes_on($round, $client);

        if ($round == 2) {
            ($held, $rss) = (held(), rss());
        }
    }

    nothing_is_left($held);
    # a sanitizer keeps what is freed for a while
    cmp_ok(rss() - $rss, '<', defined $ENV{ASAN_OPTIONS} ? 262144 : 2048,
           'no memory, either');
    stop();
};


subtest 'TEST 13: a host of two addresses, the first without a Redis' => sub {
    my $binary = Faults::with_hosts("::1 localhost twofold\n"
                                    . "127.0.0.1 localhost twofold\n")
        or plan(skip_all => 'needs the right to mount');

    local $ENV{TEST_NGINX_BINARY} = $binary;

    start(redis => "redis://twofold:$Conduit::REDIS_PORT");

    is(post(sequence => 1)->{status}, 200, 'a message is stored');
    is(line_of(client()->event // ()), 1, 'the message is sent');
    is_deeply([lines(qr/\[error\]/)], [], 'the log has no error');

    redis('CLIENT', 'KILL', 'TYPE', $_) for qw(normal pubsub);
    ok(wait_for(20, sub { post(sequence => 2)->{status} == 200 }),
       'after a loss, one is stored');
    ok(wait_for(20, sub { lines(qr/connection lost|closed while idle/) == 3 }),
       'each loss is a line');
    is(scalar(lines(qr/\[error\].* connect failed/)), 0,
       'an address that refuses is none');
    stop();
};


subtest 'TEST 14: the first of two addresses says nothing' => sub {
    my $binary = Faults::with_hosts("::1 localhost twofold\n"
                                    . "127.0.0.1 localhost twofold\n")
        or plan(skip_all => 'needs the right to mount');

    # connections are made, and nobody reads from them
    my $silent = IO::Socket::IP->new(LocalHost => '::1', Listen => 16,
                                     LocalPort => $Conduit::REDIS_PORT)
        or plan(skip_all => 'needs IPv6');

    local $ENV{TEST_NGINX_BINARY} = $binary;
    my @way = (redis => "redis://twofold:$Conduit::REDIS_PORT",
               publish => 'conduit_publish_connect_timeout 1s;'
                          . 'conduit_publish_timeout 20s;',
               events => 'conduit_gateway_connect_timeout 1s;'
                         . 'conduit_gateway_timeout 20s;');
    my $started = time;

    start(@way);
    is(post(sequence => 1)->{status}, 200, 'a message waits for the second');
    cmp_ok(time - $started, '>=', 0.9,
        'the message waited as long as the first may take');
    is(line_of(client()->event(20) // ()), 1,
       'a client waits for the second server');
    stop();

    # a message that waits: its worker has a connection to the first

    $silent->blocking(0);

    my $waits = sub {
        start(@way);
        while ($silent->accept) { }

        my $post = post_start(sequence => shift);
        wait_for(20, sub { $silent->accept }) or die 'no connection';
        return $post;
    };

    # who asked may be gone before there is another

    my $post = $waits->(2);
    my $client = client();

    $post->close;
    $client->close;
    stop();
    ok(wait_for(20, sub { (redis('XLEN', stream_key()) // 0) == 1 }),
       'a message is stored though its publisher has left');

    $post = $waits->(3);
    stop();
    is(http_end($post)->{status}, 200, 'a worker that quits waits, too');
};


done_testing();
