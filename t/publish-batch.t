# Copyright (C) Conduit for NGINX authors
#
# Several messages in one request, one on each line: all are stored or none.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use JSON::PP ();
use Test::More;

my $nginx = nginx_start(server =>
    publish_location('conduit_publish_rate 1000r/m;
                      conduit_publish_max_size 64k; client_max_body_size 1m;
                      conduit_publish_idle_ttl 50s; conduit_publish_end_ttl 1h;')
    . gateway_location()
    . publish_location('conduit_publish_batch 3; conduit_publish_rate off;')
      =~ s{/publish/}{/three/}r
    . publish_location('conduit_publish_rate 5r/m;') =~ s{/publish/}{/rate/}r
    . publish_location('conduit_publish_rate 5r/m; conduit_publish_batch 1000;')
      =~ s{/publish/}{/large/}r);


sub post {
    my ($channel, $body, %o) = @_;

    $body = join '', map { "$_\n" } @$body if ref $body;

    return http($nginx, 'POST', ($o{path} // '/publish') . "/$ORG/$channel",
                body => $body,
                headers => { 'Content-Type' => 'application/x-ndjson',
                             Authorization => 'Bearer ' . publish_token(),
                             %{ $o{headers} // {} } });
}

sub ids {
    return [map { $_->[0] } @{ redis('XRANGE', stream_key($ORG, shift), '-',
                                     '+') }];
}

sub rate_key { return 'conduit:rate:{' . stream_key($ORG, shift) . '}' }


subtest 'a batch is stored in its order' => sub {
    my $channel = uuid();
    my @messages = ('{"phase":"START","payload":{"n":0}}',
                    (map { qq({"payload":{"n":$_}}) } 1 .. 98),
                    '{"phase":"END"}');
    my $r = post($channel, \@messages);

    is($r->{status}, 200, 'a batch is stored');
    is($r->{headers}{'content-type'}, 'text/plain', 'the answer is text');
    is($r->{body}, join('', map { "$_\n" } @{ ids($channel) }),
       'the IDs, one a line');
    is(scalar @{ ids($channel) }, 100, 'a hundred');
    is(redis('GET', rate_key($channel)), 100, 'each is counted');
    is($r->{headers}{ratelimit} =~ s/t=\d+//r, '"channel";r=900;',
       'the answer says so');

    my $ttl = redis('PTTL', stream_key($ORG, $channel));

    ok($ttl > 3_590_000 && $ttl <= 3_600_000, "the last one gives the life: $ttl");

    my $sse = sse_open($nginx, channel_id => $channel);

    ok($sse->end(20), 'the stream ends');

    my @data = map { JSON::PP->new->utf8->decode($_) }
               $sse->body =~ /^data: (.*)$/mg;

    is_deeply([map { $_->{sequence} } @data], [1 .. 100],
              'the gateway sends it, sequences rise by one');
    is_deeply([map { $_->{payload} ? $_->{payload}{n} : () } @data],
              [0 .. 98], 'in the order of the lines');
    is(scalar keys %{ { map { $_->{message_id} => 1 } @data } }, 100,
       'each has a message_id');
    $sse->close;
};


subtest 'sequences that are given and those that are not' => sub {
    my $channel = uuid();
    my $r = post($channel, [qw( {} {"sequence":9} {} {"sequence":3} {} )],
                 headers => { Accept => 'application/json' });
    my $list = JSON::PP->new->decode($r->{body});

    is($r->{headers}{'content-type'}, 'application/json', 'an answer in JSON');
    is_deeply([map { $_->{id} } @$list], ids($channel),
        'the answer has the IDs');
    is_deeply([map { $_->{sequence} } @$list], [1, 9, 10, 3, 11],
              'the answer has the sequences');
    is($r->{headers}{'conduit-sequence'}, undef, 'there is not one for all');
    like($list->[4]{message_id}, qr/^[0-9a-f-]{36}$/,
        'the answer has the message_ids');
};


subtest 'a message a line, empty lines are skipped' => sub {
    for my $case (["{}", 1], ["{}\n", 1], ["\n\n{}\r\n \t\r\n{}\n\n", 2],
                  ["{}\n{}", 2], [' {"payload":{"a":"\\n"}} ', 1])
    {
        my ($body, $n) = @$case;
        my $channel = uuid();
        my $r = post($channel, $body);

        is("$r->{status} " . @{ ids($channel) }, "200 $n",
           "$n messages in " . length($body) . ' bytes');
    }
};


subtest 'one invalid line refuses the whole batch' => sub {
    my %wrong = (
        "{}\n{}\n{\"phase\":\n" =>
            'Invalid JSON, line 3, column 9: unexpected end of the text',
        "{}\n\n{\"phase\":7.5}\n{}\n" =>
            'Invalid message in line 3: phase is not a known phase',
        "{}\n{}{}\n" =>
            'Invalid JSON, line 2, column 3: unexpected data after the object',
        "{}\n{\"channel_id\":\"" . uuid() . "\"}" =>
            'Invalid message in line 2: channel_id differs from the one in '
            . 'the path',
        "{\n}" =>
            'Invalid JSON, line 1, column 1: unexpected end of the text',
        '' => 'No message in the batch',
        " \n\r\n" => 'No message in the batch',
    );

    for my $body (sort keys %wrong) {
        my $channel = uuid();
        my $r = post($channel, $body);

        is("$r->{status} $r->{body}", "400 $wrong{$body}", $wrong{$body});
        is_deeply(redis('KEYS', "*$channel*"), [], 'nothing is written');
    }
};


subtest 'a batch over a limit is refused with 413' => sub {
    my $channel = uuid();
    my @r = map { post($channel, "{}\n" x $_, path => '/three') } 3, 4;

    is_deeply([map { $_->{status} } @r], [200, 413], 'three, and no more');
    is($r[1]{body}, 'Batch exceeds the limit of 3 messages',
       'the answer tells the limit of a batch');
    is(scalar @{ ids($channel) }, 3, 'none of the second batch is stored');

    is(post($channel, '{}' . "\n" . '{"payload":{"a":"' . 'x' x 17_000 . '"}}',
            path => '/three')->{status}, 413, 'conduit_publish_max_size');
    is(post(uuid(), [('{}') x 101])->{status}, 413, '100 unless set');

    # it has 20 bytes a number as protobuf, two in JSON

    my $r = post($channel, ['{}', '{"payload":{"a":[' . '1,' x 6_000 . '1]}}']);

    is($r->{status}, 413, 'a message that is larger as protobuf');
    like($r->{body}, qr/^Message of 66\d\d\d bytes is over the limit of 65536/,
         'the answer tells the size of the message');
    is(scalar @{ ids($channel) }, 3, 'nothing is stored');
};


subtest 'the rate counts each message of a batch' => sub {
    my $channel = uuid();
    my @r = map { post($channel, "{}\n" x $_, path => '/rate') }
            3, 3, 2, 1;

    is_deeply([map { $_->{status} } @r], [200, 429, 200, 429],
              'counts what is stored');
    is(scalar @{ ids($channel) }, 5, 'five');
    is(redis('GET', rate_key($channel)), 5, 'refused batches are not counted');
    is($r[0]{headers}{ratelimit} =~ s/t=\d+//r, '"channel";r=2;', 'two are left');

    my $r = post(uuid(), "{}\n" x 6, path => '/large');

    is("$r->{status} $r->{body}",
       '413 Batch exceeds the limit of 5 messages',
       'more than the rate never fits');

    # a counter that lost its life gets one

    redis('PERSIST', rate_key($channel));
    is(post($channel, '{}', path => '/rate')->{status}, 429,
        'the rate is over as before');

    my $ttl = redis('PTTL', rate_key($channel));

    ok($ttl > 0 && $ttl <= 60_000, "a counter without a life gets one: $ttl");
};


subtest 'a script refused midway stores nothing' => sub {
    my $channel = uuid();

    redis('SET', stream_key($ORG, $channel), 'x');
    is(post($channel, ['{}', '{}'])->{status}, 500, 'a foreign value');
    is(redis('GET', stream_key($ORG, $channel)), 'x', 'stays');
};

done_testing();
