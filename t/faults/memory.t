# Copyright (C) Conduit for NGINX authors
#
# Allocations that fail.  While a worker publishes, each allocation fails in
# turn: a message that can't be published is answered with an error, and a reply
# never goes to another message (hiredis sends a command even if it has no
# memory for its callback).  A channel that can't move to another server for
# lack of memory moves later.  Allocations that are counted: what all readers of a
# Durable Stream are sent has its memory once.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Fake;
use Conduit::Servers;
use Test::More;

plan skip_all => 'allocations are the sanitizer\'s, or valgrind\'s'
    if $ENV{CONDUIT_CHECKED} || $ENV{TEST_NGINX_USE_VALGRIND};

my $library = "$Conduit::TMP/no_memory.so";
my $orders = "$Conduit::TMP/orders";

system(qw(cc -Wall -Wextra -Werror -O1 -shared -fPIC -o), $library,
       't/no_memory.c') == 0 or die 'cc failed';

write_file($orders, pack 'i3', 0, 0, 0);

sub start {
    local $ENV{LD_PRELOAD} = $library;
    local $ENV{CONDUIT_NO_MEMORY} = $orders;

    return nginx_start(expect => qr/\[emerg\].* (?:malloc|posix_memalign)\(/,
                       @_);
}

open my $file, '+<', $orders or die "$orders: $!";

# the allocation of that number fails, of those of that size, or any size
sub fail_at {
    my ($n, $from, $to) = @_;

    sysseek $file, 0, 0;
    syswrite $file, pack 'i3', $n, $from // 0, $to // 0x7fffffff;
}

sub has_failed {
    sysseek $file, 0, 0;
    sysread $file, my $left, 4;
    return unpack('i', $left) == 0;
}


# --- each allocation of a worker that publishes

my $nginx = start();
my ($worker) = $nginx->workers;

# the milliseconds of the IDs that each channel's messages get: in the future, so
# that Redis goes on with them
my %starts = (uuid() => '9000000000000', uuid() => '9100000000000');
my $token = publish_token();

redis('XADD', stream_key($ORG, $_), "$starts{$_}-0", 'data', '')
    for keys %starts;

sub begin {
    my $channel = shift;

    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $nginx->port)
        or die "connect: $!";
    # checking a message takes memory only if there is a group in it, sending it
    # to Redis only if it is large
    my $body = message(channel_id => $channel, sequence => 1,
                       payload => { value => 'x' x 5000 }) . "\x7b\x7c";

    $socket->print("POST /publish/$ORG/$channel HTTP/1.0\r\n",
                   "Authorization: Bearer $token\r\n",
                   'Content-Length: ', length $body, "\r\n\r\n", $body);

    return $socket;
}

# the status of a response, "cut" if there is none, "mixed up" if the message of
# another channel was confirmed
sub result {
    my ($channel, $socket) = @_;

    my $response = do { local $/; <$socket> } // '';
    my ($status) = $response =~ m{^HTTP/1\.1 (\d+)} or return 'cut';

    return $status != 200 || $response =~ /\b$starts{$channel}-\d+\b/
           ? $status : 'mixed up';
}

sub publish_one { return result($_[0], begin($_[0])) }

my ($channel, $other) = sort keys %starts;

is publish_one($channel), 200, 'a message is stored';

my (%results, $n, $alone);

for ($n = 1; ; $n++) {

    # both are sent to Redis before the first is answered

    kill 'STOP', $worker;
    stopped($worker) or die 'the worker does not stop';

    my @sockets = map { begin($_) } $channel, $other;

    fail_at($n);
    kill 'CONT', $worker;

    $results{$_}++ for result($channel, $sockets[0]),
                       result($other, $sockets[1]);

    last if !has_failed();

    $alone++ if !wait_for(20, sub { publish_one($channel) == 200 });
}

fail_at(0);

note join ', ', map { "$_: $results{$_}" } sort keys %results;

cmp_ok $n, '>', 10, 'many allocations have failed';
is_deeply [grep { !/^(?:200|500|503|cut)$/ } sort keys %results], [],
    'no message is confirmed by the reply to another one';
cmp_ok $results{500}, '>', 0, 'some requests end with 500';
cmp_ok $results{503}, '>', 0, 'some requests end with 503';
is $alone, undef, 'messages are stored again after each of them';
is_deeply [$nginx->workers], [$worker], 'the worker lives';
is publish_one($other), 200, 'the worker publishes';
$nginx->stop;


# --- compressed events: with each allocation that fails

$nginx = start(server => gateway_location('conduit_gateway_gzip on;'));
($worker) = $nginx->workers;

# the state of zlib, of which each part is more than this; then a form of an
# event, or what describes its forms, which nothing else is as large as

my $size = 3000;
my $word = 'x' x $size;
my $first = sse_open($nginx, headers => { 'Accept-Encoding' => 'gzip' });
my $sequence = 0;

sub put {
    my $text = shift;

    xadd(sequence => ++$sequence, payload => { value => $text });
    $first->event(20);
}

for my $part (1 .. 4) {
    fail_at($part, 30_000, 140_000);
    put("state $part");
    ok has_failed(), "no memory for the state of zlib: part $part of it";
}

fail_at(0);
put('the state is there');

for my $n (1 .. 8) {
    fail_at($n, 50, 400);
    put("event $n");
}

fail_at(0);
put($_) for 'as before', $word;
put("$word $_") for 1 .. 3;

my $second = sse_open($nginx, headers => {});
my $count = () = $second->events($sequence, 20);

is $count, $sequence, 'no event is lost for lack of memory';
is $first->text, $second->body,
    'events that there is no memory to compress are sent, and the ones after '
    . 'them are right';

xadd(sequence => ++$sequence, phase => 'END');
ok $first->end(20), 'a response with such events ends cleanly';
ok $first->intact, 'a response with such events: checksum and length are right';
is_deeply [$nginx->workers], [$worker], 'the worker that had no memory lives';
$nginx->stop;


# --- events that are sent together, uncompressed, in several blocks

# A client does not read, and the worker drops the bundle while it still has to
# send most of it.  What is freed is overwritten, or is no memory any more.

my $slow_port = free_port();

{
    local $ENV{MALLOC_PERTURB_} = 165;

    $nginx = start(server => "listen 127.0.0.1:$slow_port sndbuf=8k;"
        . gateway_location('conduit_gateway_auth off; conduit_gateway_gzip on;'
            . 'conduit_gateway_coalesce 1s; conduit_gateway_buffer_size 1m;'
            . 'conduit_gateway_window 2m;'));
}

($worker) = $nginx->workers;

# the two have three blocks of 65535 bytes, and one of less than 4 KB, which is
# copied

sub put_both {
    my $id = shift;

    redis('MULTI');
    xadd(channel_id => $id, sequence => $_, phase => 'DELTA',
         payload => { value => 'x' x 98_600 })
        for 2, 3;
    redis('EXEC');
}

# the buffer for such events is allocated before, so that only the parts of the
# state of zlib are of the size that fails

my ($before, $together) = (uuid(), uuid());
my $reader = sse_open($nginx, path => events_path(channel_id => $before),
                      headers => {});

put_both($before);
$count = () = $reader->events(2, 20);
is $count, 2, 'two large events come while there is memory';
$reader->close;

$reader = sse_open($nginx, path => events_path(channel_id => $together),
                   headers => {});

my $slow = Conduit::SSE->on(Conduit::SSE::plain_socket($slow_port, 4096),
    join "\r\n", 'GET ' . events_path(channel_id => $together) . ' HTTP/1.1',
    'Host: a', 'Accept-Encoding: gzip', '', '');

# clients that wait get both events as a bundle, those that join do not

fail_at(1, 65_536, 65_536);
xadd(channel_id => $together, sequence => 1);
ok $_->event(20), 'a client of the bundle waits for events' for $reader, $slow;

fail_at(1, 65_536, 65_536);
put_both($together);
$count = () = $reader->events(2, 20);
is $count, 2, 'a client that reads gets both events';
ok has_failed(), 'no memory to compress both events';
fail_at(0);

$count = () = $slow->events(2, 20);
is $count, 2, 'a client that does not read gets both events later';
ok $slow->text eq $reader->body,
    'a client that does not read gets the bytes that the worker has dropped';
cmp_ok length $slow->body, '>', 3 * 65_535,
    'both events are sent uncompressed, in several blocks';
is_deeply [$nginx->workers], [$worker],
    'the worker that sent several blocks lives';
$_->close for $slow, $reader;
$nginx->stop;


# --- a request for JSON: with each allocation that fails

my $ends = "$Conduit::TMP/ends.log";

$nginx = start(
    http => "log_format ends '\$status \$conduit_gateway_close';"
            . "access_log $ends ends;",
    server => gateway_location('conduit_gateway_auth off;'));
($worker) = $nginx->workers;

# the status of the answer, "cut" if there is none
sub pull {
    my $args = shift;

    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $nginx->port)
        or die "connect: $!";

    $socket->print("GET /events/$ORG?$args HTTP/1.0\r\n",
                   "Accept: application/json\r\n\r\n");

    my $response = do { local $/; <$socket> } // '';
    return $response =~ m{^HTTP/1\.1 (\d+)} ? $1 : 'cut';
}

# what a worker allocates once, for the first request that needs it: the memory in
# which messages are decoded, and what it knows of a server

is pull('channel_id=x'), 400, 'JSON: the worker is ready';

for (['messages', 65536, 65536], ['a server', 560, 660]) {
    my ($what, @size) = @$_;

    fail_at(1, @size);
    is pull("channel_id=$channel"), 500,
        "JSON: without memory for $what, a request ends with 500";
    ok has_failed(), "JSON: there is no memory for $what";
}

fail_at(0);

xadd(channel_id => $channel);
is pull("channel_id=$channel"), 200, 'JSON: an answer while there is memory';

# up to the allocations that come after the channel's

for ($n = 1; $n < 100; $n++) {
    fail_at($n);
    my $status = pull('channel_id=' . uuid());
    my $failed = has_failed();
    fail_at(0);

    last if $status !~ /^(?:500|cut)$/ || !$failed;
}

# only the argument is of that size

fail_at(1, 5000, 6000);
is pull('channel_id=' . uuid() . '&wait=' . '%30' x 1700), 500,
    'JSON: an argument that there is no memory for is no other one';
ok has_failed(), 'JSON: there is no memory for the argument';
fail_at(0);

is pull('channel_id=' . uuid()), 200, 'JSON: an answer as before';
is_deeply [$nginx->workers], [$worker], 'JSON: the worker lives';
$nginx->stop;

my @ends = split /\n/, read_file($ends);

ok grep({ $_ eq '500 error' } @ends),
    'JSON: without memory for a channel, the request ends with an error';
is_deeply [@ends[1, 2]], ['500 error', '500 error'],
    'JSON: without memory for messages or a server, the request ends with an '
    . 'error';
is_deeply [grep { /^500/ && !/ (?:-|error)$/ } @ends], [],
    'JSON: a request without memory has no other end';


# --- the control events of a Durable Stream: one allocation for all readers

my $READERS = 200;
my $COUNT = 1_000_000;            # more allocations than there are

$nginx = start(
    server => "location /durable/ { conduit_gateway redis://127.0.0.1:"
              . "$Conduit::REDIS_PORT; conduit_gateway_auth off;"
              . 'conduit_gateway_format durable;'
              . 'conduit_gateway_key durable; conduit_gateway_drain 0; }');

redis('XADD', 'durable', '1-0', 'data', 1);

my @readers = map {
    Conduit::SSE->open($nginx->port, 'GET', '/durable/x?live=sse&offset=-1')
} 1 .. $READERS;

# the data and the control event of each entry
sub is_sent {
    my $entry = shift;

    is scalar(grep { my @got = $_->events(2, 20);
                     @got == 2 && $got[0]{data} eq "[$entry]" } @readers),
        $READERS, "Durable Streams: each reader gets entry $entry";
}

is_sent(1);

# a block of a pool, from which a request has its buffers, is larger
fail_at($COUNT, 0, 500);
redis('XADD', 'durable', '2-0', 'data', 2);
is_sent(2);

sysseek $file, 0, 0;
sysread $file, my $left, 4;
$left = unpack 'i', $left;
fail_at(0);

note $COUNT - $left, " allocations for $READERS readers";
cmp_ok $left, '<', $COUNT, 'Durable Streams: allocations are counted';
cmp_ok $COUNT - $left, '<', $READERS,
    'Durable Streams: an entry and its control event take no memory for each '
    . 'reader';
$nginx->stop;


# --- the memory for a server that is the master now

my $servers = Conduit::Servers->new;
my ($old, $new) = map { $servers->start } 1 .. 2;
my $master = "$Conduit::TMP/master";

write_file($master, $old);

my $sentinel = Conduit::Fake->start(sub {
    my ($name, @words) = map { uc } @_;

    return $name eq 'PING' ? "+PONG\r\n"
           : $name eq 'SUBSCRIBE'
             ? Conduit::Fake::encode(['subscribe', '+switch-master', 1])
           : Conduit::Fake::encode(['127.0.0.1', \read_file($master)]);
});

$nginx = start(server => gateway_location('conduit_gateway_timeout 60s;',
    redis => 'redis+sentinel://127.0.0.1:' . $sentinel->port . '/mymaster'));

sub add {
    my ($id, @ports) = @_;

    my $message = message();

    $servers->command($_, 'XADD', stream_key(), $id, 'data', $message)
        for @ports;
}

add('1-1', $old, $new);
my $client = sse_open($nginx, last_event_id => '0-0');
my $event = $client->event(20);
is $event && $event->{id}, '1-1', 'a client of the old master is served';

# what a worker keeps of a server; nothing else of that size is allocated
# without a request

fail_at(1, 1500, 2040);
write_file($master, $new);
ok wait_for(20, \&has_failed), 'there is no memory for the new master';

add('1-2', $new);
$event = $client->event(20);
is $event && $event->{id}, '1-2', 'the client is served by it later';
is $nginx->stop, 0, 'NGINX quits';


# --- a location that fails, and sends its requests to one of Durable Streams

# the first location has a start of its own, and no server is asked: there is no
# memory for the map of the slots, 16384 pointers
my $rest = '; conduit_gateway_auth off; conduit_gateway_key "stream:$arg_run";';

$nginx = start(server => <<"EOC");
    location /events/ {
        conduit_gateway redis+cluster://127.0.0.1:1$rest
        conduit_gateway_start latest;
        error_page 500 = \@durable;
    }

    location \@durable {
        conduit_gateway redis://127.0.0.1:$Conduit::REDIS_PORT$rest
        conduit_gateway_format durable;
    }
EOC

redis('XADD', 'stream:old', "$_-0", 'data', qq({"n":$_})) for 1, 2;

my $slots = 16384 * length pack 'J', 0;

fail_at(1, $slots, $slots);
$client = Conduit::SSE->open($nginx->port, 'GET',
                             '/events/?run=old&live=sse&offset=-1');
ok has_failed(), 'Durable Streams: there is no memory in the first location';
$client->until(20, sub { $client->body =~ /"n":2/ });
is_deeply [$client->body =~ /"n":(\d)/g], [1, 2],
    'Durable Streams: a client of the second location starts at its offset';
$client->close;
is $nginx->stop, 0, 'NGINX quits';

done_testing();
