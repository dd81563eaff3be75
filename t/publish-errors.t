# Copyright (C) Conduit for NGINX authors
#
# Errors that a program can read: problem details (RFC 9457), what is wrong with
# a token, whether a message was stored, and how much of the rate is left.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use JSON::PP ();
use Test::More;

my $refused = free_port();

my $nginx = nginx_start(server =>
    publish_location('conduit_publish_timeout 700ms;')
    . gateway_location()
    . publish_location('conduit_publish_rate 3r/m; conduit_publish_org_claim on;')
      =~ s{/publish/}{/minute/}r
    . publish_location('conduit_publish_rate off;') =~ s{/publish/}{/off/}r
    . publish_location('conduit_publish_idempotency 1m;')
      =~ s{/publish/}{/once/}r
    . publish_location() =~ s{/publish/}{/kid/}r =~ s{/secret}{/secret kid=a}r
    . publish_location('', redis => "redis://127.0.0.1:$refused")
      =~ s{/publish/}{/down/}r);

my $PROBLEM = 'application/problem+json';


sub post {
    my %o = (channel => uuid(), path => '/publish', @_);

    my $headers = { Authorization => 'Bearer ' . ($o{token} // publish_token()),
                    'Content-Type' => 'application/x-protobuf',
                    %{ $o{headers} // {} } };

    delete $headers->{$_} for grep { !defined $headers->{$_} } keys %$headers;

    return http($nginx, $o{method} // 'POST', "$o{path}/$ORG/$o{channel}",
                headers => $headers,
                body => $o{body} // message(channel_id => $o{channel}));
}

# the same request with and without a header that asks for a problem

sub problem {
    my ($name, $status, $type, $title, $detail, $stored, %o) = @_;

    my $text = post(%o);

    is("$text->{status} $text->{headers}{'content-type'} $text->{body}",
       "$status text/plain $detail", "$name: a text");

    for my $accept ($PROBLEM, 'application/json', "text/html, $PROBLEM;q=0.1") {
        my $r = post(%o, headers => { %{ $o{headers} // {} },
                                      Accept => $accept });

        is("$r->{status} $r->{headers}{'content-type'}", "$status $PROBLEM",
           "$name: a problem for $accept");
        is($r->{headers}{'content-length'}, length $r->{body},
           "$name: its length");
        is_deeply(JSON::PP->new->utf8->decode($r->{body}),
                  { type => "urn:conduit:problem:$type", title => $title,
                    status => $status, detail => $detail, stored => $stored },
                  "$name: its members");
        is($r->{headers}{'cache-control'}, 'no-store', "$name: no cache");
    }
}

my %OTHER = (body => message(channel_id => uuid()));


subtest 'errors are problems of RFC 9457 for those who accept JSON' => sub {
    problem('no token', 401, 'unauthorized', 'Unauthorized',
            'Missing authorization header', 'no',
            headers => { Authorization => undef });
    problem('another scheme', 401, 'unauthorized', 'Unauthorized',
            'Invalid authorization format', 'no',
            headers => { Authorization => 'Basic eA==' });
    problem('another organization', 403, 'forbidden', 'Forbidden',
            'Invalid token claims', 'no', path => '/minute',
            token => publish_token(org_id => 7));
    problem('GET', 405, 'method', 'Method Not Allowed', 'Method not allowed',
            'no', method => 'GET', body => '');
    problem('another channel', 400, 'invalid', 'Bad Request',
            'Channel_id of the message is not the one of the path', 'no',
            %OTHER);
    problem('no channel', 400, 'invalid', 'Bad Request', 'Invalid channel_id',
            'no', channel => 'x');
    problem('no protobuf', 400, 'invalid', 'Bad Request', 'Invalid protobuf',
            'no', body => 'x');
    problem('bad JSON', 400, 'invalid', 'Bad Request',
            'Invalid message: a?b? is not known', 'no',
            headers => { 'Content-Type' => 'application/json' },
            body => '{"a\\"b\\\\":1}');
    problem('too large', 413, 'too-large', 'Content Too Large',
            'Message of 16385 bytes is over the limit of 16384 bytes', 'no',
            body => 'x' x 16_385);
    problem('no Redis', 503, 'unavailable', 'Service Unavailable',
            'Redis is not reachable, the message was not stored', 'no',
            path => '/down');
};


subtest 'what Redis makes of a message is a problem, too' => sub {
    my $channel = uuid();

    redis('SET', stream_key($ORG, $channel), 'x');
    problem('another type of key', 500, 'refused', 'Internal Server Error',
            'Redis refused the message', 'no', channel => $channel);

    my %json = (channel => uuid(), path => '/off', body => '{}',
                headers => { 'Content-Type' => 'application/json' });

    post(%json, body => '{"sequence":"9007199254740990"}');
    is(post(%json)->{headers}{'conduit-sequence'}, '9007199254740991',
       'the last sequence is given');
    problem('no sequence is left', 409, 'no-sequence', 'Conflict',
            'The stream has no further sequence, the message must contain one',
            'no',
            %json);

    my %once = (channel => uuid(), path => '/once',
                headers => { 'Idempotency-Key' => 'a' });

    is(post(%once)->{status}, 200, 'a request with a key is stored');
    problem('another body', 422, 'idempotency-key', 'Unprocessable Content',
            'Idempotency-Key was used with another body', 'no', %once,
            body => message(channel_id => $once{channel}, sequence => 2));
};


subtest 'a body with Content-Encoding is refused with 415' => sub {
    for my $encoding ('gzip', 'deflate', 'identity, gzip', 'br') {
        problem($encoding, 415, 'unsupported', 'Unsupported Media Type',
                'Content-Encoding is not supported', 'no',
                headers => { 'Content-Encoding' => $encoding });
    }

    like($nginx->error_log, qr/\[info\] .*a body with Content-Encoding/,
         'the log says so');
    is(post(headers => { 'Content-Encoding' => 'gzip' })
           ->{headers}{'accept-encoding'}, 'identity', 'what may be sent');
    is(post(headers => { 'Content-Encoding' => $_ })->{status}, 200,
       "'$_' is none") for 'identity', 'Identity', '';
    is(post(headers => { 'Content-Encoding' => 'gzip' }, token => 'x')
           ->{status}, 401, 'the token goes first');
};


subtest 'WWW-Authenticate says what is wrong with a token' => sub {
    my %token = (
        'the token has expired' => publish_token(exp => int(time) - 100),
        'the token is not valid yet' => publish_token(nbf => int(time) + 100),
        'the token is malformed' => 'x.y',
        'no key has the algorithm of the token'
            => publish_token(-alg => 'HS512'),
        'the signature of the token is wrong' => publish_token(-key => 'x' x 32),
        'the issuer of the token is missing or does not match'
            => publish_token(iss => 'x'),
        'the audience of the token is missing or does not match'
            => publish_token(aud => undef),
        'a claim of the token is missing or of a wrong type'
            => publish_token(sub => 1),
    );

    for my $text (sort keys %token) {
        my $r = post(token => $token{$text});

        is($r->{status}, 401, $text);
        is($r->{headers}{'www-authenticate'},
           qq(Bearer error="invalid_token", error_description="$text"),
           "WWW-Authenticate has the reason: $text");
        is($r->{body}, $text =~ /expired/ ? 'Token expired'
                                          : 'Token validation failed',
           'the text does not say more than it did');
    }

    is(post(headers => { Authorization => $_ })->{headers}{'www-authenticate'},
       'Bearer', 'nothing is said where there is no token')
        for undef, 'Basic eA==';

    for my $kid ('b', '', 'aa') {
        my $r = post(path => '/kid', token => publish_token(-kid => $kid));

        is("$r->{status} $r->{body}", '401 Token validation failed',
           "no key has the ID '$kid'");
        is($r->{headers}{'www-authenticate'},
           'Bearer error="invalid_token", error_description="no key has the'
           . ' key id of the token"', 'the header says so');
    }
};


subtest 'RateLimit says how many messages are left' => sub {
    my $channel = uuid();
    my @r = map {
        post(channel => $channel, path => '/minute', body => '{}',
             token => publish_token(org_id => 0 + $ORG),
             headers => { 'Content-Type' => 'application/json' })
    } 1 .. 4;

    is_deeply([map { $_->{headers}{'ratelimit-policy'} } @r],
              [('"channel";q=3;w=60') x 4], 'the policy');
    like($r[$_]{headers}{ratelimit}, qr/^"channel";r=@{[2 - $_]};t=(?:60|[3-5]\d)$/,
         "what is left after $_") for 0 .. 2;
    is($r[3]{status}, 429, 'the fourth is refused');
    is($r[3]{headers}{ratelimit},
       qq("channel";r=0;t=$r[3]{headers}{'retry-after'}), 'nothing is left');

    problem('over the rate', 429, 'rate-limited', 'Too Many Requests',
            'Rate limit of 3 messages per 60 seconds exceeded', 'no',
            channel => $channel, path => '/minute',
            token => publish_token(org_id => 0 + $ORG));

    my $r = post(channel => $channel, path => '/minute',
                 token => publish_token(org_id => 0 + $ORG));

    is("$r->{status} $r->{headers}{'ratelimit-policy'}",
       '429 "channel";q=3;w=60',
           'a publisher of protobuf gets the policy in the header');

    $r = post();
    is($r->{headers}{"ratelimit$_"}, undef, "protobuf, stored: no RateLimit$_")
        for '', '-policy';

    $r = post(path => '/off', body => '{}',
              headers => { 'Content-Type' => 'application/json' });
    is($r->{headers}{"ratelimit$_"}, undef, "no rate: no RateLimit$_")
        for '', '-policy';
};


subtest 'Conduit-Stored says whether the message was stored' => sub {
    is(post(path => '/down')->{headers}{'conduit-stored'}, 'no',
       'Redis is not there');
    is(post(body => 'x')->{headers}{'conduit-stored'}, undef,
       'a client is told by the status');
    is(post()->{status}, 200, 'Redis is there');

    my $channel = uuid();

    redis('SET', stream_key($ORG, $channel), 'x');
    is(post(channel => $channel)->{headers}{'conduit-stored'}, 'no',
       'Redis refuses');

    for my $type ('application/x-protobuf', 'application/json') {
        my $body = $type =~ /json/ ? '{}' : undef;

        redis_pause();
        my $r = post(headers => { Accept => $PROBLEM, 'Content-Type' => $type },
                     body => $body);
        redis_resume();

        is("$r->{status} $r->{headers}{'conduit-stored'}", '504 unknown',
           "$type: Redis does not answer");
        is_deeply(JSON::PP->new->decode($r->{body}),
                  { type => 'urn:conduit:problem:timeout',
                    title => 'Gateway Timeout', status => 504,
                    detail => 'Redis did not answer in time, the message may '
                              . 'have been stored', stored => 'unknown' },
                  "$type: as a problem");

        ok(wait_for(20, sub { post()->{status} == 200 }), 'Redis is back');
    }
};

done_testing();
