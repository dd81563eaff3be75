# Copyright (C) Conduit for NGINX authors
#
# Limits of publishing: the size of a message, and the rate of a channel.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Blocks;
use Test::More import => [qw(subtest cmp_ok)];
use Test::Nginx::Socket 'no_plan';


# a message of exactly so many bytes

sub sized {
    my ($size, $channel) = @_;
    my ($text, $message) = ('');

    for (1 .. 10) {
        $message = message(channel_id => $channel, payload => { a => $text });
        last if length $message == $size;
        $text = 'x' x ($size - length($message) + length $text);
    }

    length $message == $size or die "no message of $size bytes";
    return $message;
}

sub rate_key { return 'conduit:rate:{' . stream_key(@_) . '}' }

sub post {
    my ($nginx, $channel, $org) = @_;

    return http($nginx, 'POST', '/publish/' . ($org // $ORG) . "/$channel",
                body => message(channel_id => $channel),
                headers => { Authorization => 'Bearer ' . publish_token() });
}

# so many messages to a new channel at once, until one is refused: a limit by the
# second is met by those within a second, for which a slow machine has some tries;
# returns the channel and the replies, those that refuse last

sub burst {
    my ($nginx, $n) = @_;
    my ($channel, @replies);

    for (1 .. 20) {
        $channel = uuid();

        my %request = (
            later => 1,
            body => message(channel_id => $channel),
            headers => { Authorization => 'Bearer ' . publish_token() });

        my @sent = map { Conduit::SSE->open($nginx->port, 'POST',
                             "/publish/$ORG/$channel", %request) } 1 .. $n;

        @replies = sort { $a->{status} <=> $b->{status} } map {
            $_->end or die 'no reply to a message';
            { status => $_->status, headers => $_->headers, body => $_->body }
        } @sent;

        last if $replies[-1]{status} != 200;
    }

    return $channel, @replies;
}

sub statuses {
    my %n;

    $n{$_->{status}}++ for @_;
    return \%n;
}

# the life of a counter of a second; -2 is one that is over

sub lives_a_second {
    my $ttl = redis('PTTL', rate_key(@_));

    ok($ttl == -2 || $ttl > 0 && $ttl <= 1000,
       "the counter lives a second: $ttl ms");
}

run_tests();

my $nginx = nginx_start(server =>
    publish_location() . '
    location ~ ^/minute/(?<org>.+)/(?<channel>.+) {
        conduit_publish redis://127.0.0.1:' . $Conduit::REDIS_PORT . ';
        conduit_publish_auth off;
        conduit_publish_rate 5r/m;
    }
    location /off/ {
        conduit_publish redis://127.0.0.1:' . $Conduit::REDIS_PORT . ';
        conduit_publish_auth off;
        conduit_publish_rate off;
    }
    location /huge/ {
        client_max_body_size 0;
        conduit_publish redis://127.0.0.1:' . $Conduit::REDIS_PORT . ';
        conduit_publish_auth off;
        conduit_publish_max_size 9223372036854775807;
    }');

subtest 'TEST 13: 20 messages a second are taken, the 21st is refused' => sub {
    my ($channel, @replies) = burst($nginx, 21);
    my $last = $replies[20];

    is_deeply(statuses(@replies[0 .. 19]), { 200 => 20 }, '20 are taken');
    is($last->{status}, 429, 'the 21st is refused');
    is($last->{headers}{'content-type'}, 'text/plain', 'the refusal is a text');
    is($last->{headers}{'retry-after'}, '1',
       'the refusal tells the time to wait');
    is($last->{body}, 'Rate limit of 20 messages per 1 second exceeded',
       'the refusal says the limit');

    lives_a_second(123, $channel);

    is(redis('XLEN', stream_key(123, $channel)), 20,
       'a message over the rate is not stored');
    like($nginx->error_log, qr/\[warn\].*over the rate of 20 in 1000ms/,
         'a message over the rate is logged');

    is(post($nginx, uuid())->{status}, 200, 'another channel is free');
    is(post($nginx, $channel, 124)->{status}, 200,
       'the channel of another organization is free');

    ok(wait_for(20, sub { !redis('EXISTS', rate_key(123, $channel)) }),
       'the window ends');
    is(post($nginx, $channel)->{status}, 200, 'the channel is free again');
};

subtest 'TEST 14: the limit by the minute' => sub {
    my $channel = uuid();
    my @replies = map {
        http($nginx, 'POST', "/minute/123/$channel",
             body => message(channel_id => $channel))
    } 1 .. 6;

    is_deeply(statuses(@replies), { 200 => 5, 429 => 1 }, 'the 6th is refused');
    is($replies[5]{body}, 'Rate limit of 5 messages per 60 seconds exceeded',
       'the refusal tells the limit by the minute');

    my $wait = $replies[5]{headers}{'retry-after'};

    ok($wait >= 30 && $wait <= 60, "Retry-After of $wait s is 30 to 60");
    ok($wait * 1000 >= redis('PTTL', rate_key(123, $channel)),
       'it is not shorter than the window');
};

subtest 'TEST 20: a rate by the minute goes to the locations below' => sub {
    my $redis = "redis://127.0.0.1:$Conduit::REDIS_PORT";
    my $minute = 'conduit_publish_rate 3r/m;';
    my $second = 'conduit_publish_rate 5r/s;';

    my %levels = (
        http => { http => $minute, server => '', location => '' },
        server => { http => $second, server => $minute, location => '' },
        location => { http => $second, server => $second,
                      location => $minute },
    );

    for my $level (sort keys %levels) {
        my %o = %{ $levels{$level} };

        my $nginx = nginx_start(
            http => "$o{http} conduit_publish_auth off;",
            server => "$o{server}
            location /outer/ {
                conduit_publish $redis;
                $o{location}
                location ~ ^/outer/inner/(?<org>.+)/(?<channel>.+) {
                    conduit_publish $redis;
                    conduit_publish_org_id \$org;
                    conduit_publish_channel_id \$channel;
                }
            }");

        my $channel = uuid();
        my @replies = map {
            http($nginx, 'POST', "/outer/inner/123/$channel",
                 body => message(channel_id => $channel))
        } 1 .. 5;

        is(join(' ', map { $_->{status} } @replies), '200 200 200 429 429',
           "$level: the 4th is refused");
        is($replies[3]{body},
           'Rate limit of 3 messages per 60 seconds exceeded',
           "$level: with limit and window");

        my $wait = $replies[3]{headers}{'retry-after'};

        ok($wait >= 30 && $wait <= 60,
           "$level: Retry-After of $wait s is 30 to 60");
        is(redis('XLEN', stream_key(123, $channel)), 3, "$level: 3 are stored");
        is($nginx->stop, 0, 'NGINX quits');
    }
};

subtest 'TEST 15: without a limit' => sub {
    my $channel = uuid();
    my @replies = map {
        http($nginx, 'POST', "/off/123/$channel",
             body => message(channel_id => $channel))
    } 1 .. 60;

    is_deeply(statuses(@replies), { 200 => 60 }, 'all are taken');
    is(redis('EXISTS', rate_key(123, $channel)), 0, 'nothing is counted');
};

subtest 'TEST 16: a counter that lost its life gets one' => sub {
    my $channel = uuid();
    my $key = rate_key(123, $channel);

    redis('SET', $key, 20);

    is(post($nginx, $channel)->{status}, 429, 'the limit holds');

    lives_a_second(123, $channel);
    ok(wait_for(20, sub { !redis('EXISTS', $key) }), 'the counter dies');
    is(post($nginx, $channel)->{status}, 200, 'the channel is free again');

    redis('SET', $key, 5);

    is(http($nginx, 'POST', "/minute/123/$channel",
            body => message(channel_id => $channel))->{status}, 429,
       'a limit by the minute holds');

    my $left = redis('PTTL', $key);

    ok($left > 30_000 && $left <= 60_000,
       "its counter lives a minute: $left ms");
};

subtest 'TEST 17: refused messages count, but do not prolong the window' => sub {
    my $channel = uuid();
    my $key = rate_key(123, $channel);

    redis('SET', $key, 20, 'PX', 3_600_000);

    is_deeply(statuses(map { post($nginx, $channel) } 1 .. 3), { 429 => 3 },
              'messages are refused');
    is(redis('GET', $key), 23, 'they count');

    # one that began anew would be over in a second

    my $left = redis('PTTL', $key);

    cmp_ok($left, '>', 1_800_000, 'the window is not a new one');
    cmp_ok($left, '<=', 3_600_000, 'the window is not longer');
};

subtest 'TEST 18: messages that are not valid do not count' => sub {
    my $channel = uuid();
    my $r = http($nginx, 'POST', "/publish/123/$channel", body => 'x',
                 headers => { Authorization => 'Bearer ' . publish_token() });

    is($r->{status}, 400, 'such a message is refused');
    is(redis('EXISTS', rate_key(123, $channel)), 0,
       'such a message is not counted');
};

subtest 'TEST 22: a size of as many digits as there can be' => sub {

    # payloads that have to be merged, for which memory is needed

    my $channel = uuid();
    my $body = message(channel_id => $channel)
        . join '', map { Conduit::pb_bytes(6, Conduit::pb_struct(
                             { $_ => 'x' x 40000 })) } 'a', 'b';

    my $r = http($nginx, 'POST', "/huge/$ORG/$channel", body => $body);

    is($r->{status}, 200, 'a message is taken');

    my ($entry) = @{ redis('XRANGE', stream_key($ORG, $channel), '-', '+') };
    ok($entry && $entry->[1][1] eq $body, 'the message is stored as it came');
};

subtest 'TEST 19: a body over the limit is refused before it is sent' => sub {
    my $r = http($nginx, 'POST', '/publish/123/' . uuid(), headers => {
                     Authorization => 'Bearer ' . publish_token(),
                     'Content-Length' => 999999 });

    is($r->{status}, 413, 'the body is refused with 413');
    is($r->{body}, 'Message of 999999 bytes is over the limit of 16384 bytes',
       'the refusal has the size announced');
};

__DATA__

=== TEST 1: a message of 16384 bytes is taken
--- publish eval: { body => ::sized(16384, channel(1)) }
--- error_code: 200
--- stored
--- no_error_log
[error]



=== TEST 2: a message of 16385 bytes is refused, the reply says both
--- publish eval: { body => ::sized(16385, channel(2)) }
--- error_code: 413
--- response_headers
Content-Type: text/plain
--- response_body chop
Message of 16385 bytes is over the limit of 16384 bytes
--- not_stored
--- error_log
client sent a message of 16385 bytes, the limit is 16384
--- no_error_log
[error]



=== TEST 3: a message of 16384 bytes in chunks is taken
--- publish eval
{ body => ::sized(16384, channel(3)), wire => sub { chunked($_[0], 1000) },
  headers => { 'Transfer-Encoding' => 'chunked', 'Content-Length' => undef } }
--- error_code: 200
--- stored



=== TEST 4: a message of 16385 bytes in chunks is refused
--- publish eval
{ body => ::sized(16385, channel(4)), wire => sub { chunked($_[0], 1000) },
  headers => { 'Transfer-Encoding' => 'chunked', 'Content-Length' => undef } }
--- error_code: 413
--- response_headers
Content-Type: text/plain
--- response_body chop
Message of 16385 bytes is over the limit of 16384 bytes
--- not_stored



=== TEST 5: chunks without end stop at client_max_body_size
--- location: client_max_body_size 32k;
--- publish eval
{ body => 'x' x 40000, wire => sub { chunked($_[0], 8000) },
  headers => { 'Transfer-Encoding' => 'chunked', 'Content-Length' => undef } }
--- error_code: 413
--- not_stored
--- error_log
client intended to send too large chunked body



=== TEST 6: over client_max_body_size the refusal is NGINX's own
--- location: client_max_body_size 8k;
--- publish eval: { body => ::sized(10000, channel(6)) }
--- error_code: 413
--- response_headers
Content-Type: text/html
--- not_stored



=== TEST 7: a larger limit: 1 MiB is taken
--- location
conduit_publish_max_size 1m;
client_max_body_size 2m;
--- publish eval: { body => ::sized(1048576, channel(7)) }
--- error_code: 200
--- stored



=== TEST 8: a larger limit: a byte more is refused
--- location
conduit_publish_max_size 1m;
client_max_body_size 2m;
--- publish eval: { body => ::sized(1048577, channel(8)) }
--- error_code: 413
--- response_body chop
Message of 1048577 bytes is over the limit of 1048576 bytes
--- not_stored



=== TEST 9: a smaller limit
--- location: conduit_publish_max_size 100;
--- publish eval: { body => ::sized(101, channel(9)) }
--- error_code: 413
--- response_body chop
Message of 101 bytes is over the limit of 100 bytes
--- not_stored



=== TEST 10: the 20th message of a second is taken
--- init
redis('SET', ::rate_key(123, channel(10)), 19, 'PX', 60000);
--- publish eval: {}
--- error_code: 200
--- stored



=== TEST 11: the 21st message of a second is refused until the window ends
--- init
redis('SET', ::rate_key(123, channel(11)), 20, 'PX', 60000);
--- publish eval: {}
--- error_code: 429
--- response_headers
Content-Type: text/plain
--- raw_response_headers_like: Retry-After: (?:[1-5]\d|60)\r\n
--- response_body chop
Rate limit of 20 messages per 1 second exceeded
--- not_stored
--- error_log
[warn]
message over the rate of 20 in 1000ms
--- no_error_log
[error]



=== TEST 12: the window of a limit by the minute lasts a minute
--- location: conduit_publish_rate 5r/m;
--- publish eval: {}
--- key eval: ::rate_key(123, channel(12))
--- error_code: 200
--- ttl: 50000-60000



=== TEST 21: a limit of as many digits as there can be
--- location: conduit_publish_rate 9200000000000000000r/m;
--- init
redis('SET', ::rate_key(123, channel(21)), '9220000000000000000', 'PX', 60000);
--- publish eval: {}
--- error_code: 429
--- response_body chop
Rate limit of 9200000000000000000 messages per 60 seconds exceeded
--- not_stored
