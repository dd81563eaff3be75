# Copyright (C) Conduit for NGINX authors
#
# Messages in JSON: what is accepted, what is filled in, what is stored in
# Redis, and what the gateway sends.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use JSON::PP ();
use Test::More;

my $UUID = qr/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/;

my $nginx = nginx_start(server =>
    publish_location('conduit_publish_rate off;')
    . gateway_location()
    . publish_location('conduit_publish_rate off; conduit_publish_idle_ttl 50s;
                        conduit_publish_end_ttl 1h;')
      =~ s{/publish/}{/lives/}r
    . publish_location('conduit_publish_rate 3r/m;') =~ s{/publish/}{/rate/}r);


sub post {
    my ($channel, $body, %o) = @_;

    $body = JSON::PP->new->utf8->encode($body) if ref $body;

    return http($nginx, 'POST', ($o{path} // '/publish') . "/$ORG/$channel",
                body => $body,
                headers => { 'Content-Type' => 'application/json',
                             Authorization => 'Bearer ' . publish_token(),
                             %{ $o{headers} // {} } });
}

# the bytes of all entries of a stream

sub entries {
    my $channel = shift;

    return map { $_->[1][1] }
           @{ redis('XRANGE', stream_key($ORG, $channel), '-', '+') };
}

# what a subscriber gets of a stream that has ended

sub events {
    my $channel = shift;

    my $sse = sse_open($nginx, channel_id => $channel);

    $sse->end(20) or die 'the response has no end';
    my @data = map { JSON::PP->new->utf8->decode($_) }
               $sse->body =~ /^data: (\{"event_type":"stream".*)$/mg;
    $sse->close;
    return @data;
}

sub sequence_key { return 'conduit:sequence:{' . stream_key($ORG, shift) . '}' }

sub refused {
    my ($body, $text, $name) = @_;

    my $channel = uuid();
    my $r = post($channel, $body);

    is("$r->{status} $r->{body}", "400 $text", $name);
    is(redis('EXISTS', stream_key($ORG, $channel)), 0, "$name: not stored");
}


subtest 'a payload alone is a message' => sub {
    my $channel = uuid();
    my $r = post($channel, '{"payload": {"value": "hello"}}');

    is($r->{status}, 200, 'a payload alone is stored');
    is($r->{headers}{'content-type'}, 'text/plain', 'the answer is text');
    is($r->{headers}{'conduit-sequence'}, 1, 'its sequence is the first one');
    is($r->{headers}{'ratelimit'}, undef, 'no rate, no header of it');

    my $entry = redis('XRANGE', stream_key($ORG, $channel), '-', '+')->[0];

    is($r->{body}, $entry->[0], 'the answer is the ID of the entry');

    my ($id) = $entry->[1][1] =~ /\A\x0a\x24\Q$channel\E\x12\x24($UUID)/;

    ok($id, 'message_id is a random UUID');
    is($entry->[1][1],
       message(channel_id => $channel, message_id => $id, sequence => undef,
               payload => { value => 'hello' }) . "\x28\x01",
       'the entry is a PublishRequest, its sequence at the end');

    post($channel, '{"phase": "END"}');

    is_deeply([events($channel)], [
        { event_type => 'stream', channel_id => $channel, message_id => $id,
          phase => 'PHASE_DELTA', sequence => 1,
          payload => { value => 'hello' } },
        { event_type => 'stream', channel_id => $channel,
          message_id => (events($channel))[1]{message_id},
          phase => 'PHASE_END', sequence => 2, payload => undef },
    ], 'the gateway sends it');
};


subtest 'a message with all of its fields' => sub {
    my $channel = uuid();
    my $message_id = uuid();
    my %message = (
        channel_id => uc $channel, message_id => $message_id =~ s/-//gr,
        client_timestamp => '2026-01-09T21:51:07+01:00', phase => 'START',
        sequence => '18446744073709551615',
        payload => { a => [1, 2.5, undef, JSON::PP::true(), "\x{20ac}", {}] },
    );
    my $r = post($channel, \%message,
                 headers => { 'Content-Type' =>
                              'Application/JSON ; charset=utf-8' });

    is($r->{status}, 200, 'a message with all fields is stored');
    is($r->{headers}{'conduit-sequence'}, '18446744073709551615',
       'a message with all fields keeps its sequence');
    is((entries($channel))[0],
       message(channel_id => $channel, message_id => $message_id,
               client_timestamp => 1767991867, phase => 'START',
               sequence => undef)
       . "\x28" . "\xff" x 9 . "\x01"
       . Conduit::pb_bytes(6, Conduit::pb_struct(
             { a => [1 + 0.0, 2.5, undef, JSON::PP::true(), "\x{20ac}", {}] })),
       'byte for byte as protobuf has it, ids in lower case');
};


subtest 'an answer in JSON' => sub {
    my $channel = uuid();
    my $message_id = uuid();
    my $r = post($channel, { message_id => $message_id, sequence => 5 },
                 headers => { Accept => 'text/html, Application/JSON;q=0.5' });

    is($r->{headers}{'content-type'}, 'application/json', 'the answer is JSON');

    my $id = redis('XRANGE', stream_key($ORG, $channel), '-', '+')->[0][0];

    is($r->{body}, qq({"id":"$id","sequence":5,"message_id":"$message_id"}),
       'the answer has ID, sequence and message_id');

    for my $accept ('application/json;q=0', 'application/json; a=b; Q=0.00',
                    '*/*', 'application/jsonx', ',;,')
    {
        $r = post($channel, '{}', headers => { Accept => $accept });
        is($r->{headers}{'content-type'}, 'text/plain', "Accept: $accept");
    }
};


subtest 'sequences go on' => sub {
    my $channel = uuid();
    my $next = sub {
        return post($channel, '{}')->{headers}{'conduit-sequence'};
    };
    my $given = sub { post($channel, { sequence => shift }) };

    is_deeply([map { $next->() } 1 .. 3], [1, 2, 3], 'by one');

    $given->(300);
    is($next->(), 301, 'above one that was given');
    $given->(7);
    is($next->(), 302, 'above the greatest one');

    xadd(channel_id => $channel, sequence => 16_383);
    is($next->(), 16_384, 'above one of another publisher');
    is((entries($channel))[-1] =~ /(\x28[\x80-\xff]*[\0-\x7f])\z/ && $1,
       "\x28\x80\x80\x01", 'a sequence of three bytes');

    xadd(channel_id => $channel, sequence => 3);
    is($next->(), 16_385, 'another publisher goes back, the stream does not');

    # as a decoder reads them: unknown fields of all kinds, the last one counts

    xadd(channel_id => $channel, data =>
         "\x28\x05" . message(channel_id => $channel, sequence => undef)
         . "\xfa\x01\x02\x28\x7f" . "\xf9\x01" . "\x28" x 8
         . "\xfd\x01" . "\x28" x 4 . "\xf8\x01\x28" . "\x28\x90\xce\x00");
    is($next->(), 16_386, 'the entry has 10000');

    xadd(channel_id => $channel, data =>
         "\x28\x05" . message(channel_id => $channel, sequence => undef)
         . "\xfa\x01\x02\x28\x7f" . "\xf9\x01" . "\x28" x 8
         . "\xfd\x01" . "\x28" x 4 . "\xf8\x01\x28" . "\x28\xa0\x8d\x06");
    is($next->(), 100_001, 'the entry has 100000');

    for my $data ("\x28", "\x28\xff", "\x0a\xff", "\x0a\xff\x7f", "\x2b\x28\x7f",
                  "\x80" x 20, '', 'x')
    {
        my $n = $next->();

        xadd(channel_id => $channel, data => $data);
        is($next->(), $n + 1, 'after an entry that is no message');
    }

    redis('DEL', stream_key($ORG, $channel));
    is($next->(), 100_018, 'a stream that was deleted goes on');

    redis('DEL', sequence_key($channel));
    is($next->(), 100_019, 'without the key, from the last entry');

    redis('DEL', sequence_key($channel), stream_key($ORG, $channel));
    is($next->(), 1, 'without both, from one');
};


subtest 'the last entry does not hold up Redis' => sub {
    my $channel = uuid();
    my $next = sub {
        my $fields = shift;

        redis('DEL', sequence_key($channel));
        xadd(channel_id => $channel, data => "\xf8\x01\x00" x $fields
                                             . "\x28\x07");
        return post($channel, '{}')->{headers}{'conduit-sequence'};
    };

    is($next->(99), 8, 'its first 100 fields are looked at');
    is($next->(100), 1, 'those behind them are not');
};


subtest 'sequences that a double does not hold' => sub {
    my $channel = uuid();
    my $next = sub { post($channel, '{}') };

    post($channel, { sequence => '9007199254740991' });
    xadd(channel_id => $channel, sequence => 9_007_199_254_740_991);
    is($next->()->{headers}{'conduit-sequence'}, 1, 'are stepped over');

    post($channel, { sequence => '9007199254740990' });
    is($next->()->{headers}{'conduit-sequence'}, '9007199254740991',
       'the greatest one that is given');

    my $length = redis('XLEN', stream_key($ORG, $channel));
    my $r = $next->();

    is($r->{status}, 409, 'after the greatest sequence there is none');
    like($r->{body}, qr/^The stream has no further sequence/,
         'the answer says that no sequence is left');
    is(redis('XLEN', stream_key($ORG, $channel)), $length, 'nothing is stored');
    like($nginx->error_log, qr/\[info\] .*without a sequence, and the seq/,
         'the log says so');
    is(post($channel, { sequence => 1 })->{status}, 200, 'one may be given');
};


subtest 'sequence and stream live equally long' => sub {
    my $channel = uuid();
    my $life = sub {
        my ($phase, $min, $max) = @_;

        post($channel, { phase => $phase }, path => '/lives');

        for my $key (stream_key($ORG, $channel), sequence_key($channel)) {
            my $ms = redis('PTTL', $key);

            ok($ms > $min && $ms <= $max, "$phase: $ms ms of $key");
        }
    };

    $life->('START', 40_000, 50_000);
    $life->('END', 3_590_000, 3_600_000);
    $life->(77, 40_000, 50_000);
};


subtest 'the answer to invalid JSON says where the fault is' => sub {
    refused('', 'Invalid JSON, line 1, column 1: unexpected end of the text',
            'nothing');
    refused("{\n  \"payload\": {,\n}", 'Invalid JSON, line 2, column 15: '
            . 'syntax error', 'a comma too much');
    refused('{"payload":{"a":1,"a":2}}', 'Invalid JSON, line 1, column 21: '
            . 'duplicate member', 'a key given twice');
    refused('{"payload":{"a":1e400}}', 'Invalid JSON, line 1, column 21: '
            . 'a number exceeds the range of a double',
            'a number beyond doubles');
    refused('[]', 'Invalid JSON, line 1, column 1: a message must be an object',
            'a list');
    refused('{"payload":{"a":"' . "\xff" . '"}}',
            'Invalid JSON, line 1, column 17: invalid UTF-8',
            'bytes of no text');
    refused('{"payload":{"list":[0,{"x":' . '[' x 100 . ']' x 100 . '}]}}',
            'Invalid message: payload.list[1].x' . '[0]' x 61
            . ' is nested deeper than 100 levels', 'too deep');
    refused('{"text":"hello"}', 'Invalid message: text is not known',
            'a field that is not known');
    refused('{"phase":"DONE"}', 'Invalid message: phase is not a known phase',
            'a phase that is none');
    refused('{"payload":"hello"}', 'Invalid message: payload is not an object',
            'a payload that is a text');
    refused({ channel_id => uuid() },
            'Invalid message: channel_id differs from the one in the path',
            'another channel');
    refused('{"messageId":"1"}', 'Invalid message: messageId is not a UUID',
            'a message_id that is no UUID');
    refused(message(), 'Invalid JSON, line 2, column 1: syntax error',
            'protobuf');

    unlike($nginx->error_log, qr/payload\.|list\[|text is not/,
           'names of members are in no log');
    like($nginx->error_log, qr/\[info\].*invalid message in JSON: is not known/,
         'the fault is');
    unlike($nginx->error_log, qr/\[error\]/, 'a client is no error');
};


subtest 'max_size limits the JSON and the protobuf' => sub {
    my $channel = uuid();
    my $r = post($channel, '{"payload":{"a":"' . 'x' x 16_384 . '"}}');

    is($r->{status}, 413, 'JSON over the limit');
    is($r->{body}, 'Message of 16404 bytes is over the limit of 16384 bytes',
       'the answer says its size');

    $r = post($channel, '{"payload":{"a":[' . '1,' x 2000 . '1]}}');

    is($r->{status}, 413, 'a message over the limit');
    like($r->{body}, qr/^Message of 221\d\d bytes is over the limit of 16384/,
         'the answer says the size in protobuf');
    is(redis('EXISTS', stream_key($ORG, $channel)), 0, 'nothing is stored');
};


subtest 'the rate counts messages in JSON' => sub {
    my $channel = uuid();
    my @r = map { post($channel, '{}', path => '/rate') } 1 .. 4;

    is_deeply([map { $_->{status} } @r], [200, 200, 200, 429],
        'the fourth message over a rate of three is refused');

    my $protobuf = http($nginx, 'POST', "/rate/$ORG/$channel",
                        body => message(channel_id => $channel),
                        headers => { Authorization => 'Bearer '
                                                      . publish_token() });

    is($protobuf->{status}, 429,
        'a message in protobuf counts for the same rate');
    is(redis('XLEN', stream_key($ORG, $channel)), 3, 'three are stored');
};


subtest 'another type is protobuf' => sub {
    for my $type ('application/x-protobuf', 'text/json', 'application/jsonx',
                  'application/json+x', '')
    {
        my $channel = uuid();
        my $message = message(channel_id => $channel);
        my $r = post($channel, $message, headers => { 'Content-Type' => $type });

        is($r->{status}, 200, "Content-Type: $type");
        is_deeply([entries($channel)], [$message], 'byte for byte');
        is(redis('EXISTS', sequence_key($channel)), 0, 'no sequence is kept');
    }
};


subtest 'a script that Redis has lost is loaded again' => sub {
    my $channel = uuid();

    redis('SCRIPT', 'FLUSH');
    is(post($channel, '{}')->{headers}{'conduit-sequence'}, 1, 'JSON');
    is(post($channel, '{}')->{headers}{'conduit-sequence'}, 2, 'once more');
    publish($nginx, channel_id => $channel, sequence => 9);
    is(post($channel, '{}')->{headers}{'conduit-sequence'}, 10, 'protobuf');
};


subtest 'a key of another type in the place of a stream is a 500' => sub {
    my $channel = uuid();

    redis('SET', stream_key($ORG, $channel), 'x');
    is(post($channel, '{}')->{status}, 500,
        'a message for such a key is refused with 500');
    is(redis('EXISTS', sequence_key($channel)), 0, 'nothing is written');
};

done_testing();
