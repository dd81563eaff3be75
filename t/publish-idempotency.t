# Copyright (C) Conduit for NGINX authors
#
# Idempotency-Key: a request that is sent again does not store its message
# again.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use JSON::PP ();
use Test::More;

my $nginx = nginx_start(server =>
    publish_location('conduit_publish_idempotency 50s;')
    . gateway_location()
    . publish_location('') =~ s{/publish/}{/off/}r
    . publish_location('conduit_publish_idempotency 120s;
                        conduit_publish_rate 2r/m;') =~ s{/publish/}{/rate/}r
    . publish_location('conduit_publish_idempotency 1h;
                        conduit_publish_timeout 700ms;')
      =~ s{/publish/}{/slow/}r);

my %TYPE = (json => 'application/json', ndjson => 'application/x-ndjson',
            protobuf => 'application/x-protobuf');


sub post {
    my ($channel, $key, $body, %o) = @_;

    my $type = $o{type} // 'json';

    return http($nginx, 'POST', ($o{path} // '/publish') . "/$ORG/$channel",
                body => $body,
                headers => { 'Content-Type' => $TYPE{$type},
                             Authorization => 'Bearer ' . publish_token(),
                             defined $key ? ('Idempotency-Key' => $key) : (),
                             %{ $o{headers} // {} } });
}

sub stored { return redis('XLEN', stream_key($ORG, shift)) }

sub request_key {
    my ($channel, $key) = @_;

    return 'conduit:request:{' . stream_key($ORG, $channel) . "}:$key";
}


for my $type (sort keys %TYPE) {
    subtest "$type sent again" => sub {
        my $channel = uuid();
        my $key = uuid();
        my $body = $type eq 'protobuf' ? message(channel_id => $channel)
                 : $type eq 'json' ? '{"payload":{"a":1}}' : "{}\n{}\n{}\n";
        my $first = post($channel, $key, $body, type => $type);
        my $n = stored($channel);

        is($first->{status}, 200, 'the first one is stored');
        is($first->{headers}{'idempotency-replayed'}, undef,
           'the first one is no repeat');
        is($n, $type eq 'ndjson' ? 3 : 1, 'the first request is stored once');

        for my $k ($key, qq("$key"), " $key ") {
            my $r = post($channel, $k, $body, type => $type);

            is($r->{status}, 200, 'the next one is answered');
            is($r->{headers}{'idempotency-replayed'}, 'true',
               'the next one is a repeat');
            is($r->{body}, $first->{body},
                'a repeat has the IDs of the first request');
            is($r->{headers}{'conduit-sequence'},
               $first->{headers}{'conduit-sequence'},
               'a repeat has the sequence of the first request');
            is(stored($channel), $n, 'nothing is added');
        }

        is(redis('XRANGE', stream_key($ORG, $channel), '-', '+')->[0][1][1],
           $body, 'protobuf is stored byte for byte') if $type eq 'protobuf';

        my $ms = redis('PTTL', request_key($channel, $key));

        ok($ms > 40_000 && $ms <= 50_000, "a key is remembered for $ms ms");

        is(post($channel, uuid(), $body, type => $type)->{status}, 200,
           'another key');
        is(stored($channel), 2 * $n, 'another key is another request');
        is(post($channel, undef, $body, type => $type)->{status}, 200, 'no key');
        is(stored($channel), 3 * $n,
            'a request without a key is another request');
    };
}


subtest 'the answer in JSON is the first one' => sub {
    my $channel = uuid();
    my @r = map { post($channel, 'k', '{}',
                       headers => { Accept => 'application/json' }) } 1, 2;

    is($r[1]{body}, $r[0]{body}, 'a repeat has the message_id of the first');
    like($r[0]{body}, qr/"message_id":"[0-9a-f-]{36}"/,
         'the message_id was made');
};


subtest 'a key with another body is refused with 422' => sub {
    my $channel = uuid();

    post($channel, 'k', '{}');

    my $r = post($channel, 'k', '{} ');

    is("$r->{status} $r->{body}",
       '422 Idempotency-Key was used with another body',
           'a key with another body is refused');
    is(stored($channel), 1, 'another body is not stored');
    like($nginx->error_log, qr/\[info\] .* Idempotency-Key that was used with/,
         'the log says so');
    is(post($channel, 'k', '{}')->{headers}{'idempotency-replayed'}, 'true',
       'the first is still known');

    $r = post($channel, 'k', '{} ', headers => { Accept => 'application/json' });
    is(JSON::PP->new->decode($r->{body})->{type},
       'urn:conduit:problem:idempotency-key',
           'a key with another body is a problem');
};


subtest 'keys are of one channel' => sub {
    my @channels = (uuid(), uuid());

    is(post($_, 'k', '{}')->{headers}{'idempotency-replayed'}, undef, 'new')
        for @channels;
    is(stored($_), 1, 'stored') for @channels;
};


subtest 'an invalid key is refused with 400' => sub {
    my $channel = uuid();
    my %keys = ('' => 'is empty', '""' => 'is empty', '  ' => 'is empty',
                'x' x 256 => 'is longer than 255 characters');

    for my $key (sort keys %keys) {
        my $r = post($channel, $key, '{}');

        is("$r->{status} $r->{body}", "400 Idempotency-Key $keys{$key}",
           $keys{$key});
    }

    is(stored($channel), 0, 'nothing is stored');

    for my $key ('x' x 255, '"' . 'y' x 255 . '"', '"', "}{:\xff*", '"a') {
        is(post($channel, $key, '{}')->{status}, 200, 'a key');
        is(post($channel, $key, '{}')->{headers}{'idempotency-replayed'},
           'true', 'a key is known when it is used again');
    }

    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $nginx->port);

    print $socket "POST /publish/$ORG/$channel HTTP/1.0\r\n"
        . "Content-Length: 2\r\nContent-Type: application/json\r\n"
        . 'Authorization: Bearer ' . publish_token() . "\r\n"
        . "Idempotency-Key: a\r\nIdempotency-Key: a\r\n\r\n{}";

    like(join('', <$socket>), qr/^HTTP.* 400.*Idempotency-Key is given twice/s,
         'two of them');
};


subtest 'the header is ignored when idempotency is off' => sub {
    my $channel = uuid();

    for my $n (1, 2) {
        my $r = post($channel, 'k', '{}', path => '/off');

        is("$r->{status} " . stored($channel), "200 $n", 'each is stored');
        is($r->{headers}{'idempotency-replayed'}, undef,
            'no request is a repeat');
    }

    is(post($channel, '', '{}', path => '/off')->{status}, 200,
       'the header is not looked at');
    is_deeply(redis('KEYS', "conduit:request:*$channel*"), [],
              'the key is not kept');
};


subtest 'a repeat is not counted by the rate' => sub {
    my $channel = uuid();
    my @r = map { post($channel, $_, '{}', path => '/rate') } qw(a a a b c a);

    is_deeply([map { $_->{status} } @r], [200, 200, 200, 200, 429, 200],
              'two are stored, the third is refused');
    is(stored($channel), 2, 'two');
    is(redis('EXISTS', request_key($channel, 'c')), 0,
       'a request that was refused is not remembered');
    is($r[1]{headers}{ratelimit}, undef, 'a repeat tells nothing of the rate');
};


subtest 'a request that was not stored is not remembered' => sub {
    my $channel = uuid();

    is(post($channel, 'k', '{')->{status}, 400, 'bad JSON');

    redis('SET', stream_key($ORG, $channel), 'x');
    is(post($channel, 'k', '{}')->{status}, 500, 'Redis refuses');
    redis('DEL', stream_key($ORG, $channel));

    my $r = post($channel, 'k', '{"sequence":4}');

    is($r->{status}, 200, 'the next one is stored');
    is($r->{headers}{'idempotency-replayed'}, undef,
        'the next request is no repeat');
};


subtest 'a request repeated after a 504 is stored once' => sub {
    for my $type ('json', 'protobuf') {
        my $channel = uuid();
        my $body = $type eq 'json' ? '{}' : message(channel_id => $channel);
        my @request = ($channel, 'k', $body, type => $type, path => '/slow');

        ok(wait_for(20, sub { post(uuid(), 'k', '{}', path => '/slow')
                                  ->{status} == 200 }), 'Redis answers');
        redis_pause();
        my $r = post(@request);
        redis_resume();

        is("$r->{status} $r->{headers}{'conduit-stored'}", '504 unknown',
           'a request that times out may be stored');
        ok(wait_for(20, sub { post(@request)->{status} == 200 }),
           'the repeat is answered');
        is(stored($channel), 1, 'a request that was repeated is stored once');
    }
};


subtest 'a full Redis refuses new requests and answers repeats' => sub {
    my $channel = uuid();

    post($channel, 'known', '{}');
    redis('CONFIG', 'SET', 'maxmemory', 1);

    my $r = post($channel, 'new', "{}\n{}\n", type => 'ndjson');

    is("$r->{status} $r->{headers}{'conduit-stored'}", '503 no',
       'takes nothing');
    is(post($channel, 'known', '{}')->{headers}{'idempotency-replayed'},
       'true', 'a full Redis still knows an older request');

    redis('CONFIG', 'SET', 'maxmemory', 0);
    is(stored($channel), 1, 'nothing is stored');

    $r = post($channel, 'new', "{}\n{}\n", type => 'ndjson');
    is("$r->{status} " . stored($channel), '200 3',
        'a batch is stored when Redis has room');
    is($r->{headers}{'idempotency-replayed'}, undef,
        'a batch that was refused is no repeat');
};


subtest 'the protobuf sequence moves the one that is kept' => sub {
    my $channel = uuid();

    post($channel, 'k', message(channel_id => $channel, sequence => 41),
         type => 'protobuf');
    xadd(channel_id => $channel, sequence => 2);
    is(post($channel, undef, '{}')->{headers}{'conduit-sequence'}, 42,
        'the sequence goes on from the entry of a request with a key');
};

done_testing();
