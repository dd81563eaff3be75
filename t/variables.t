# Copyright (C) Conduit for NGINX authors
#
# The variables of the modules in logs, in headers and as keys of limits, and
# the directives that take the organization and the channel from elsewhere.

use strict;
use warnings;

use lib 't/lib';

# blocks load what they are about
BEGIN { $ENV{TEST_NGINX_LOAD_MODULES} = ' ' }

use Conduit;
use Test::More import => [qw(subtest cmp_ok)];
use Test::Nginx::Socket 'no_plan';
use Time::HiRes qw(time);

our $PUBLISH = "load_module $Conduit::MODULES/ngx_conduit_publish_module.so;\n";
our $GATEWAY = "load_module $Conduit::MODULES/ngx_conduit_gateway_module.so;\n";

# the ids in a header of every response
our $HEADER = 'add_header X-Ids "$conduit_org_id $conduit_channel_id" always;';

our $VERIFIED = 'add_header X-Verified "[$conduit_verified_org_id]'
                . '[$conduit_verified_channel_id]" always;';

run_tests();

my $redis = "redis://127.0.0.1:$Conduit::REDIS_PORT";
my $open = "conduit_publish $redis; conduit_publish_auth off;";

my $nginx = nginx_start(
    http => '
    log_format ids "$request_id $conduit_org_id $conduit_channel_id"
        " $conduit_publish_id $conduit_publish_phase $conduit_redis_time";
    access_log logs/ids.log ids;
    add_header X-Request $request_id always;

    limit_conn_zone $conduit_org_id zone=conn_org:1m;
    limit_conn_zone $conduit_channel_id zone=conn_channel:1m;
    limit_req_zone $conduit_org_id zone=req_org:1m rate=1r/m;
    limit_req_zone $conduit_channel_id zone=req_channel:1m rate=1r/m;',
    server => publish_location('conduit_publish_rate 2r/m;
                                conduit_publish_timeout 1s;')
    . gateway_location() . "
    location /open/ {
        $open
    }
    location /here/ {
        return 200 here;
    }
    location ~ ^/v2/orgs/(?<org>[^/]+)/channels/(?<channel>[^/]+)/publish\$ {
        $open
        conduit_publish_org_id \$org;
        conduit_publish_channel_id \$channel;
    }
    location = /arguments {
        $open
        conduit_publish_org_id \$arg_org;
        conduit_publish_channel_id \$arg_channel;
    }
    location /fixed/ {
        $open
        conduit_publish_org_id 42;
    }
    location ~ ^/v2/(?<org>[^/]+)/(?<channel>[^/]+)/events\$ {
        conduit_gateway $redis;
        conduit_gateway_auth off;
        conduit_gateway_org_id \$org;
        conduit_gateway_channel_id \$channel;
    }
    location /conn-org/ {
        conduit_gateway $redis;
        conduit_gateway_auth off;
        limit_conn conn_org 2;
        limit_conn_status 429;
    }
    location /conn-channel/ {
        conduit_gateway $redis;
        conduit_gateway_auth off;
        limit_conn conn_channel 1;
        limit_conn_status 429;
    }
    location /publish-conn/ {
        $open
        limit_conn conn_org 1;
        limit_conn_status 429;
    }
    location /req-org/ {
        $open
        limit_req zone=req_org;
        limit_req_status 429;
    }
    location /req-channel/ {
        $open
        limit_req zone=req_channel;
        limit_req_status 429;
    }
    location /if/ {
        $open
        if (\$conduit_org_id = 7) {
            return 403 seven;
        }
    }
    location /header/ {
        $open
        add_header X-Published \"\$conduit_publish_id \$conduit_publish_phase\";
    }
    location /early/ {
        set \$early \$conduit_org_id;
        rewrite ^/early/(.*) /open/\$1 last;
    }");

sub post {
    my ($path, %o) = @_;
    my $body = delete $o{body} // message(%o);

    return http($nginx, 'POST', $path, body => $body, headers => {
                    Authorization => 'Bearer ' . publish_token() });
}

# the line of the log for a response: org, channel, ID, phase, time

sub logged {
    my $r = shift;
    my $line;

    wait_for(20, sub {
        ($line) = read_file($nginx->root . '/logs/ids.log')
                  =~ /^$r->{headers}{'x-request'} (.*)\n/m;
    }) or die 'the request is not logged';

    return split / /, $line;
}

sub is_logged {
    my ($r, $status, @values) = @_;

    is($r->{status}, $status, "answered with $status");
    is(join(' ', logged($r)), join(' ', @values), "logged as @values");
}


subtest 'TEST 10: a message that is stored' => sub {
    my $c = uuid();
    my $r = post("/publish/$ORG/$c", channel_id => $c, phase => 'START');
    my @values = logged($r);

    is($r->{status}, 200, 'answered with 200');
    is_deeply([@values[0 .. 3]], [$ORG, $c, $r->{body}, 'PHASE_START'],
              'organization, channel, ID and phase are logged');
    like($values[4], qr/\A\d+\.\d{3}\z/, 'the time is logged, in seconds');
};


subtest 'TEST 11: ids have one spelling' => sub {
    my $c = uuid();
    my $r = post('/publish/00123/' . uc $c, channel_id => $c);

    is_deeply([(logged($r))[0, 1]], [123, $c], 'no zeros, lower case');

    $r = post('/publish/123/{' . uc($c) . '}', channel_id => $c);
    is_deeply([(logged($r))[0, 1]], [123, $c], 'no braces');

    $r = post("/publish/123/urn:uuid:$c", channel_id => $c);
    is_deeply([(logged($r))[0, 1]], [123, $c], 'no URN');

    $r = post('/publish/123/' . $c =~ s/-//gr, channel_id => $c);
    is_deeply([(logged($r))[0, 1]], [123, $c], 'hyphens');
};


subtest 'TEST 12: phases by their names' => sub {
    for my $case ([START => 'PHASE_START'], [DELTA => 'PHASE_DELTA'],
                  [END => 'PHASE_END'], [ERROR => 'PHASE_ERROR'],
                  [undef, 'PHASE_UNSPECIFIED'], [9, 'PHASE_UNSPECIFIED'])
    {
        my ($phase, $name) = @$case;
        my $c = uuid();
        my $r = post("/open/1/$c", channel_id => $c, phase => $phase);

        is((logged($r))[3], $name, $name);
    }
};


subtest 'TEST 13: where nothing is published' => sub {
    is_logged(http($nginx, 'GET', '/here/'), 200, qw(- - - - -));
    is_logged(http($nginx, 'GET', '/nowhere'), 404, qw(- - - - -));
};


subtest 'TEST 14: requests that are refused' => sub {
    my $c = uuid();

    is_logged(http($nginx, 'POST', "/publish/7/$c", body => message()),
              401, 7, $c, qw(- - -));
    is_logged(http($nginx, 'GET', "/publish/7/$c"), 405, 7, $c, qw(- - -));
    is_logged(post("/publish/x/$c"), 400, '-', $c, qw(- - -));
    is_logged(post('/publish/7/x'), 400, 7, '-', qw(- - -));
    is_logged(post('/publish/'), 400, '-', '-', qw(- - -));
    is_logged(post("/publish/7/$c", body => 'x'), 400, 7, $c, qw(- - -));
    is_logged(post("/publish/7/$c", body => 'x' x 20000), 413, 7, $c, qw(- - -));
    is_logged(post("/publish/7/$c", channel_id => uuid()),
              400, 7, $c, qw(- PHASE_DELTA -));
};


subtest 'TEST 15: a message over the rate' => sub {
    my $c = uuid();

    post("/publish/7/$c", channel_id => $c) for 1 .. 2;

    my $r = post("/publish/7/$c", channel_id => $c);
    my @values = logged($r);

    is($r->{status}, 429, 'answered with 429');
    is_deeply([@values[0 .. 3]], [7, $c, '-', 'PHASE_DELTA'],
        'a message over the rate has no ID');
    like($values[4], qr/\A\d+\.\d{3}\z/, 'Redis was asked');
};


subtest 'TEST 16: a Redis that does not answer' => sub {
    my $c = uuid();

    redis_pause();
    my $r = post("/publish/7/$c", channel_id => $c);
    redis_resume();

    my @values = logged($r);

    is($r->{status}, 504, 'answered with 504');
    is_deeply([@values[0 .. 3]], [7, $c, '-', 'PHASE_DELTA'], 'no ID');
    cmp_ok($values[4], '>=', 0.99, 'the time is that of waiting');
    cmp_ok($values[4], '<', 10, 'the time is not much more than that');

    wait_for(20, sub {
        post("/publish/8/$c", channel_id => $c)->{status} == 200
    });
};


subtest 'TEST 17: what a client listens to' => sub {
    my $c = uuid();

    is_logged(http($nginx, 'GET', "/events/009?token=x&channel_id=" . uc $c),
              401, 9, $c, qw(- - -));
    is_logged(http($nginx, 'GET', "/events/9?token=x&channel_id=x"),
              400, 9, qw(- - - -));
    is_logged(http($nginx, 'GET', '/events/x?token=x'), 400, qw(- - - - -));
};


subtest 'TEST 18: in a header of the response' => sub {
    my $c = uuid();
    my $r = post("/header/1/$c", channel_id => $c, phase => 'END');

    is($r->{headers}{'x-published'}, "$r->{body} PHASE_END", 'ID and phase');
};


subtest 'TEST 19: in a condition' => sub {
    my $c = uuid();

    is(post("/if/7/$c", channel_id => $c)->{status}, 403,
        'a condition holds for organization 7');
    is(post("/if/8/$c", channel_id => $c)->{status}, 200,
        'a condition does not hold for organization 8');
};


subtest 'TEST 20: ids from captures' => sub {
    my $c = uuid();
    my $r = post("/v2/orgs/77/channels/$c/publish", channel_id => $c);

    is($r->{status}, 200, 'a message is taken');
    is(redis('XLEN', stream_key(77, $c)), 1, 'the message is in its stream');
    is_deeply([(logged($r))[0, 1]], [77, $c], 'the variables have the same');

    $r = post("/v2/orgs/x/channels/$c/publish", channel_id => $c);
    is("$r->{status} $r->{body}", '400 Invalid org_id', 'a bad organization');

    $r = post('/v2/orgs/7/channels/x/publish');
    is("$r->{status} $r->{body}", '400 Invalid channel_id', 'a bad channel');

    my $sse = sse_open($nginx, path => "/v2/77/$c/events");
    is($sse->event->{json}{channel_id}, $c, 'a client listens to it');
};


subtest 'TEST 21: ids from arguments' => sub {
    my $c = uuid();
    my $r = post("/arguments?org=5&channel=$c", channel_id => $c);

    is($r->{status}, 200, 'a message is taken');
    is(redis('XLEN', stream_key(5, $c)), 1, 'the message is in its stream');

    $r = post("/arguments?channel=$c", channel_id => $c);
    is("$r->{status} $r->{body}", '400 Missing org_id', 'no organization');

    $r = post('/arguments?org=5');
    is("$r->{status} $r->{body}", '400 Missing channel_id', 'no channel');
};


subtest 'TEST 22: one id from a text, the other from the path' => sub {
    my $c = uuid();

    is(post("/fixed/$c", channel_id => $c)->{status}, 200,
       'a message is taken');
    is(redis('XLEN', stream_key(42, $c)), 1, 'the message is in its stream');
};


subtest 'TEST 23: clients of an organization are limited' => sub {
    my ($one, $two) = map { sse_open($nginx, path => "/conn-org/$_?channel_id="
                                                     . uuid()) } 31, '0031';

    is($_->status, 200, 'a client within the limit') for $one, $two;

    my $path = '?channel_id=' . uuid();

    is(http($nginx, 'GET', "/conn-org/31$path")->{status}, 429,
       'a client over the limit is refused');
    is(http($nginx, 'GET', "/conn-org/00031$path")->{status}, 429,
       'zeros before the organization do not evade the limit');
    is(sse_open($nginx, path => "/conn-org/32$path")->status, 200,
       'another organization');

    $one->close;

    ok(wait_for(20, sub {
        my $sse = sse_open($nginx, path => "/conn-org/31$path");
        $sse->close;
        $sse->status == 200;
    }), 'a client that left makes room');
};


subtest 'TEST 24: clients of a channel are limited' => sub {
    my $c = uuid();
    my $sse = sse_open($nginx, path => "/conn-channel/1?channel_id=$c");

    is($sse->status, 200, 'the first');
    is(http($nginx, 'GET',
       '/conn-channel/1?channel_id=' . uc $c)->{status}, 429,
       'a client over the limit of a channel is refused');
    is(sse_open($nginx, path => '/conn-channel/1?channel_id=' . uuid())->status,
       200, 'another channel');
};


subtest 'TEST 25: publishers of an organization are limited' => sub {
    my $c = uuid();
    my $sse = sse_open($nginx, path => "/conn-org/41?channel_id=$c");

    is($sse->status, 200, 'a client is there');
    is(post("/publish-conn/041/$c", channel_id => $c)->{status}, 429,
       'publishers share the zone with it');
    is(post("/publish-conn/42/$c", channel_id => $c)->{status}, 200,
       'another organization');
};


subtest 'TEST 26: requests of an organization and of a channel are limited' => sub {
    my ($c, $d) = (uuid(), uuid());

    is(post("/req-org/51/$c", channel_id => $c)->{status}, 200, 'the first');
    is(post("/req-org/051/$d", channel_id => $d)->{status}, 429, 'the second');
    is(post("/req-org/52/$c", channel_id => $c)->{status}, 200,
       'another organization');

    is(post("/req-channel/1/$c", channel_id => $c)->{status}, 200, 'the first');
    is(post('/req-channel/1/' . uc $c, channel_id => $c)->{status}, 429,
       'the second');
    is(post("/req-channel/1/$d", channel_id => $d)->{status}, 200,
       'another channel');
};


subtest 'TEST 27: a value asked for too early is asked for again' => sub {
    my $c = uuid();
    my $r = post("/early/61/$c", channel_id => $c);

    is($r->{status}, 200, 'a message is taken');
    is_deeply([(logged($r))[0, 1]], [61, $c], 'the log has its ids');
};

__DATA__

=== TEST 1: the ids, with the publish module alone
--- main_config eval: $::PUBLISH
--- config eval: publish_location($::HEADER)
--- raw_request eval: publish_request(path => '/publish/0123/' . uc $CHANNEL)
--- response_headers
X-Ids: 123 97f58c19-ce38-4c6b-8a5b-47f3405691f0
--- error_code: 200
--- no_error_log
[error]



=== TEST 2: the ids, with the gateway module alone
--- main_config eval: $::GATEWAY
--- config eval: gateway_location($::HEADER)
--- request
GET /events/0123?token=x&channel_id=97F58C19-CE38-4C6B-8A5B-47F3405691F0
--- response_headers
X-Ids: 123 97f58c19-ce38-4c6b-8a5b-47f3405691f0
--- error_code: 401



=== TEST 3: the ids of a publisher, with both modules
--- main_config eval: $::PUBLISH . $::GATEWAY
--- config eval: publish_location($::HEADER) . gateway_location($::HEADER)
--- raw_request eval: publish_request(org => 5)
--- response_headers
X-Ids: 5 97f58c19-ce38-4c6b-8a5b-47f3405691f0
--- error_code: 200



=== TEST 4: the ids of a client, with both modules
--- main_config eval: $::PUBLISH . $::GATEWAY
--- config eval: publish_location($::HEADER) . gateway_location($::HEADER)
--- request
GET /events/5?token=x&channel_id=97f58c19-ce38-4c6b-8a5b-47f3405691f0
--- response_headers
X-Ids: 5 97f58c19-ce38-4c6b-8a5b-47f3405691f0
--- error_code: 401



=== TEST 5: the ids of a publisher, with both modules in the other order
--- main_config eval: $::GATEWAY . $::PUBLISH
--- config eval: publish_location($::HEADER) . gateway_location($::HEADER)
--- raw_request eval: publish_request(org => 5)
--- response_headers
X-Ids: 5 97f58c19-ce38-4c6b-8a5b-47f3405691f0
--- error_code: 200



=== TEST 6: the ids of a client, with both modules in the other order
--- main_config eval: $::GATEWAY . $::PUBLISH
--- config eval: publish_location($::HEADER) . gateway_location($::HEADER)
--- request
GET /events/5?token=x&channel_id=97f58c19-ce38-4c6b-8a5b-47f3405691f0
--- response_headers
X-Ids: 5 97f58c19-ce38-4c6b-8a5b-47f3405691f0
--- error_code: 401



=== TEST 7: where neither module is on, the ids are empty
--- main_config eval: $::PUBLISH . $::GATEWAY
--- config
location /x/ {
    add_header X-Ids "[$conduit_org_id][$conduit_channel_id]";
    return 204;
}
--- request
GET /x/5/97f58c19-ce38-4c6b-8a5b-47f3405691f0?channel_id=97f58c19-ce38-4c6b-8a5b-47f3405691f0
--- response_headers
X-Ids: [][]
--- error_code: 204



=== TEST 8: variables of a module that is not loaded are unknown
--- main_config eval: $::PUBLISH
--- config
location /x/ {
    return 200 $conduit_gateway_close;
}
--- must_die
--- suppress_stderr
--- error_log
[emerg]
unknown "conduit_gateway_close" variable



=== TEST 9: a zone by a variable, with the gateway module alone
--- main_config eval: $::GATEWAY
--- http_config
limit_req_zone $conduit_channel_id zone=channel:1m rate=1r/m;
--- config eval: gateway_location('limit_req zone=channel; limit_req_status 429;')
--- request eval
["GET " . events_path(token => 'x', channel_id => lc 'A0000000-0000-4000-8000-000000000009'),
 "GET " . events_path(token => 'x', channel_id => 'A0000000-0000-4000-8000-000000000009'),
 "GET " . events_path(token => 'x', channel_id => 'B0000000-0000-4000-8000-000000000009')]
--- error_code eval: [401, 429, 401]



=== TEST 28: what a valid token says, with the publish module alone
--- main_config eval: $::PUBLISH
--- config eval: publish_location($::VERIFIED)
--- raw_request eval: publish_request(token => publish_token(org_id => 7))
--- response_headers
X-Verified: [7][97f58c19-ce38-4c6b-8a5b-47f3405691f0]
--- error_code: 200
--- no_error_log
[error]



=== TEST 29: what a valid token says, with the gateway module alone
--- main_config eval: $::GATEWAY
--- config eval: gateway_location($::VERIFIED)
--- request eval: "GET " . events_path(org => 5, token => gateway_token())
--- response_headers
X-Verified: [123][97f58c19-ce38-4c6b-8a5b-47f3405691f0]
--- error_code: 403
--- no_error_log
[error]



=== TEST 30: a token that is not valid says nothing, with the publish module alone
--- main_config eval: $::PUBLISH
--- config eval: publish_location($::VERIFIED)
--- raw_request eval: publish_request(token => publish_token(-key => 'x'))
--- response_headers
X-Verified: [][]
--- error_code: 401



=== TEST 31: a token that is not valid says nothing, with the gateway module alone
--- main_config eval: $::GATEWAY
--- config eval: gateway_location($::VERIFIED)
--- request eval: "GET " . events_path(token => gateway_token(exp => time - 100))
--- response_headers
X-Verified: [][]
--- error_code: 401



=== TEST 32: a zone by what a valid token says, with the gateway module alone
--- main_config eval: $::GATEWAY
--- http_config
limit_req_zone $conduit_verified_org_id zone=org:1m rate=1r/m;
--- config eval: gateway_location('limit_req zone=org; limit_req_status 429;')
--- request eval
my $wrong = gateway_token(org_id => 9);
["GET " . events_path(org => 9, token => 'x'),
 "GET " . events_path(org => 9, token => 'x'),
 "GET " . events_path(org => 8, token => $wrong),
 "GET " . events_path(org => 8, token => $wrong),
 "GET " . events_path(org => 9, token => 'x')]
--- error_code eval: [401, 401, 403, 429, 401]
