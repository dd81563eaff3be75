# Copyright (C) Conduit for NGINX authors
#
# One organization cannot use up what belongs to another: variables that only a
# valid token sets, limits by these variables, and how often a token is
# verified.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Metrics;
use Test::More;

logs_tokens(qr{/(?:neither|open-events)/},
            'where no token is asked for nothing is masked');

my $redis = "redis://127.0.0.1:$Conduit::REDIS_PORT";
my $other = "$Conduit::TMP/other";

system("openssl genrsa -out $other.pem 2048 2>/dev/null && openssl rsa"
       . " -in $other.pem -pubout -out $other.pub 2>/dev/null") == 0
    or die 'openssl failed';
write_file("$other.secret", 'a secret that none of the locations has');

my $ID = 'add_header X-Request $request_id always;';
my $HEADER = 'add_header X-Verified "[$conduit_verified_org_id]'
             . '[$conduit_verified_channel_id]" always;' . $ID;


# a location with the name and keys of the contract, which is somewhere else

sub events {
    my ($name, $extra) = @_;

    $extra = "$HEADER\n$extra" if $extra !~ /X-Request/;

    return gateway_location($extra) =~ s{/events/}{$name}r;
}

sub publishing {
    my ($name, $extra) = @_;

    $extra = "$HEADER\n$extra" if $extra !~ /X-Request/;

    return publish_location("conduit_publish_rate off;\n$extra")
           =~ s{/publish/}{$name}r;
}


# Everything that is the same whichever module is loaded first.

sub config {
    return (
        http => '
        log_format verified "$request_id $conduit_verified_org_id"
                            " $conduit_verified_channel_id";
        access_log logs/verified.log verified;

        limit_req_status 429;
        limit_conn_status 429;
        limit_req_zone $conduit_verified_org_id zone=org:1m rate=1r/m;
        limit_req_zone $conduit_verified_channel_id zone=channel:1m rate=1r/m;
        limit_req_zone $server_name$arg_address zone=address:1m rate=1r/m;
        limit_req_zone $conduit_verified_org_id zone=delayed:1m rate=5r/s;
        limit_conn_zone $conduit_verified_org_id zone=conn:1m;',
        server => 'set $server_seen "[$conduit_verified_org_id]";'
        . "conduit_gateway_jwt_key_file $Conduit::TMP/key.pub;"
        . pages()
        . events('/events/', '')
        . publishing('/publish/', '')
        . publishing('/claim/', 'conduit_publish_org_claim on;')
        . events('/events-org/', 'limit_req zone=org;')
        . events('/events-channel/', 'limit_req zone=channel;')
        . events('/events-conn/', 'limit_conn conn 1;')
        . events('/events-both/', "$ID limit_req zone=address;
                                   limit_req zone=org burst=1000 nodelay;")
        . events('/events-delayed/', 'limit_req zone=delayed burst=5;')
        . events('/events-all/', 'limit_req zone=org burst=1000 nodelay;
                                  limit_req zone=channel burst=1000 nodelay;
                                  limit_conn conn 1000;')
        . publishing('/publish-org/', 'limit_req zone=org;')
        . publishing('/publish-channel/', 'limit_req zone=channel;')
        . publishing('/publish-conn/', 'limit_conn conn 1;')
        . publishing('/publish-both/', "$ID limit_req zone=address;
                                        limit_req zone=org burst=1000 nodelay;")
        . publishing('/publish-all/', 'limit_req zone=org burst=1000 nodelay;
                                       limit_req zone=channel burst=1000 nodelay;
                                       limit_conn conn 1000;')
        . events('/early/', 'if ($conduit_verified_org_id = 66) {
                                 return 403 early;
                             }
                             set $seen "$conduit_verified_org_id";
                             add_header X-Seen "$seen";')
        . publishing('/publish-early/', 'if ($conduit_verified_org_id = 66) {
                                             return 403 early;
                                         }')
        . events('/guarded/', 'auth_request /guard;')
        . events('/first/', 'limit_req zone=org burst=1000 nodelay; deny all;
                             error_page 403 = @second;')
            =~ s{conduit_gateway_jwt_key.*}{}r
        . events('@second', 'limit_req zone=channel burst=1000 nodelay;')
            =~ s{conduit_gateway_jwt_key.*}{}r
        . events('/first-other/', 'limit_req zone=org burst=1000 nodelay;
                                   deny all; error_page 403 = @other;')
        . events('@other', '') =~ s{\S+key\.pub}{$other.pub}r
        . events('/own-org/', 'conduit_gateway_org_id
                                   $conduit_verified_org_id;')
        . publishing('/cycle/', 'conduit_publish_org_id
                                     $conduit_verified_org_id;')
        . publishing('/claim-cycle/', 'conduit_publish_org_claim on;
                                       conduit_publish_org_id
                                           $conduit_verified_org_id;')
        . publishing('/channel-cycle/', 'conduit_publish_channel_id
                                             $conduit_verified_channel_id;')
        . "
        location /open/ {
            conduit_publish $redis;
            conduit_publish_auth off;
            conduit_publish_rate off;
            $HEADER
        }
        location /open-events/ {
            conduit_gateway $redis;
            conduit_gateway_auth off;
            $HEADER
        }
        location /neither/ {
            $HEADER
            limit_req zone=org;
            return 200;
        }
        location = /guard {
            internal;
            limit_conn conn 1;
            if (\$conduit_verified_org_id != 8) {
                return 403;
            }
            return 204;
        }");
}

my $nginx;
my $other_channel = uuid();


sub get {
    my ($location, %o) = @_;

    my $org = $o{org} // 7;
    my $channel = $o{channel} // $CHANNEL;
    my $token = exists $o{token} ? $o{token}
        : gateway_token(org_id => 0 + $org, channel_id => $channel,
                        @{ $o{claims} // [] });
    my $query = join '&', "channel_id=$channel",
        defined $token ? "token=$token" : (), $o{args} // ();

    # a stream does not end by itself

    my $sse = sse_open($nginx, path => "/$location/$org?$query");
    $sse->close if !$o{open};

    return { status => $sse->status, headers => $sse->headers, sse => $sse };
}


sub post {
    my ($location, %o) = @_;

    my $org = $o{org} // 7;
    my $channel = $o{channel} // $CHANNEL;
    my $token = exists $o{token} ? $o{token}
        : publish_token(org_id => 0 + $org, @{ $o{claims} // [] });

    return http($nginx, 'POST', "/$location/$org/$channel"
                . ($o{args} ? "?$o{args}" : ''),
                body => message(channel_id => $channel),
                headers => { defined $token
                             ? (Authorization => "Bearer $token") : () });
}


# what the header of a response says, and what is logged at its end

sub is_verified {
    my ($r, $status, $org, $channel, $name) = @_;

    is join(' ', $r->{status}, $r->{headers}{'x-verified'}, logged($r)),
        join(' ', $status, "[$org][$channel]", map { $_ eq '' ? '-' : $_ }
                                               $org, $channel),
        $name;
}

sub logged {
    my $r = shift;

    my $line;

    wait_for(20, sub {
        ($line) = read_file($nginx->root . '/logs/verified.log')
                  =~ /^$r->{headers}{'x-request'} (.*)$/m;
    }) or die 'the request is not logged';

    return $line;
}

sub is_status {
    my ($r, $status, $name) = @_;

    is $r->{status}, $status, $name;
}

sub is_said {
    my ($r, $text, $name) = @_;

    is "$r->{status} $r->{body}", $text, $name;
}


# tokens of an organization that it did not get

sub forged_client {
    my $org = shift;

    return gateway_token(org_id => $org, -key => "$other.pem");
}

sub forged_publisher {
    my $org = shift;

    return publish_token(org_id => $org, -key => read_file("$other.secret"));
}


# How many tokens were looked at and found bad: each is logged once.

sub looked_at {
    my $code = shift;

    my $before = () = $nginx->error_log =~ /sent an invalid token/g;
    $code->();
    my $after = () = $nginx->error_log =~ /sent an invalid token/g;

    return $after - $before;
}

# How many were looked at at all; an NGINX without debugging does not tell.

sub verified {
    my $code = shift;

    my $before = () = $nginx->error_log =~ /conduit: token verified: /g;
    $code->();
    my $after = () = $nginx->error_log =~ /conduit: token verified: /g;

    return $nginx->error_log =~ /\[debug\]/ ? $after - $before : undef;
}


sub is_once {
    my ($code, $name) = @_;

    my $n = verified($code);

    SKIP: {
        skip 'NGINX was built without --with-debug', 1 if !defined $n;
        is $n, 1, $name;
    }
}


sub test_variables {

    # gateway

    is_verified get('events'), 200, 7, $CHANNEL, 'a valid token has its ids';
    is_verified get('events', token => forged_client(7)), 401, '', '',
        'a forged token has no ids';
    is_verified get('events', claims => [exp => time - 100]), 401, '', '',
        'an expired token has no ids';
    is_verified get('events', claims => [iss => 'x']), 401, '', '',
        'a token of another issuer has no ids';
    is_verified get('events', token => undef), 400, '', '',
        'a request without a token has no ids';
    is_verified get('events', token => 'x&token=y'), 400, '', '',
        'a request with two tokens has no ids';
    is_verified get('events', claims => [org_id => 5]), 403, 5, $CHANNEL,
        'a token for another organization has its own ids';
    is_verified get('events', claims => [channel_id => uc $other_channel]),
        403, 7, $other_channel, 'a token for another channel has its own ids';
    is_verified get('open-events', token => gateway_token()), 200, '', '',
        'where clients need no token there are no ids';

    my $sse = sse_open($nginx, path => "/events/7?channel_id=$CHANNEL", headers
        => { Authorization => 'Bearer ' . gateway_token(org_id => 7) });

    is $sse->headers->{'x-verified'}, "[7][$CHANNEL]",
        'a token in a header counts as well';
    $sse->close;

    # publish

    is_verified post('publish'), 200, 7, $CHANNEL,
        'a token of a publisher has its ids';
    is_verified post('publish', claims => [org_id => 5]), 200, 5, $CHANNEL,
        'a token with an organization has this one as verified';
    is_verified post('publish', claims => [org_id => undef]), 200, 7, $CHANNEL,
        'a token for all organizations has that of the path as verified';
    is_verified post('publish', org => '007', claims => [org_id => undef]),
        200, 7, $CHANNEL, 'a verified organization has one spelling';
    is_verified post('publish', token => forged_publisher(7)), 401, '', '',
        'a forged token of a publisher has no ids';
    is_verified post('publish', claims => [exp => time - 100]), 401, '', '',
        'an expired token of a publisher has no ids';
    is_verified post('publish', token => undef), 401, '', '',
        'a publisher without a token has no ids';
    is_verified post('publish', channel => 'x', claims => [org_id => undef]),
        400, '', '', 'a path without a channel has no ids';
    is_verified post('claim'), 200, 7, $CHANNEL,
        'a claim that is asked for is verified';
    is_verified post('claim', claims => [org_id => 5]), 403, '', '',
        'a claim that the location refuses is not verified';
    is_verified post('claim', claims => [org_id => undef]), 401, '', '',
        'a token without the claim that is asked for has no ids';
    is_verified post('open'), 200, '', '',
        'where publishers need no token there are no ids';

    # elsewhere

    is_verified get('neither', token => gateway_token()), 200, '', '',
        'a location of neither module has no ids';
    is_verified get('neither'), 200, '', '',
        'a request without ids is not limited';

    # early, late, more than once

    is_status get('early', org => 66), 403,
        'a rewrite can refuse a client by its organization';
    is_verified get('early'), 200, 7, $CHANNEL,
        'a rewrite lets a client of another organization on';
    is_verified get('early', token => forged_client(66)), 401, '', '',
        'a forged client is not known to a rewrite';
    is_status post('publish-early', org => 66), 403,
        'a rewrite can refuse a publisher by its organization';
    is_verified post('publish-early'), 200, 7, $CHANNEL,
        'a rewrite lets a publisher of another organization on';
    is_verified post('publish-early', token => forged_publisher(66)), 401, '',
        '', 'a forged publisher is not known to a rewrite';

    is_once sub { logged(get('events-all')) },
        'a token of a client is verified once';
    is_once sub { logged(get('early')) },
        'a token that a rewrite asks for is verified once';
    is_once sub { logged(post('publish-all')) },
        'a token of a publisher is verified once';
    is looked_at(sub { logged(get('events-all', token => forged_client(7))) }),
        1, 'a forged token of a client is verified once';
    is looked_at(sub { logged(post('publish-all',
                                   token => forged_publisher(7))) }),
        1, 'a forged token of a publisher is verified once';

    # the parent's token, in a subrequest

    is_verified get('guarded', org => 8), 200, 8, $CHANNEL,
        'a subrequest sees the organization';
    is_status get('guarded'), 403,
        'a subrequest can refuse another organization';
    is_status get('guarded', token => forged_client(8)), 403,
        'a subrequest can refuse a forged client';

    # redirects

    is_once sub { logged(get('first', org => 30)) },
        'a redirect to a location with the same keys verifies nothing again';
    is_verified get('first', org => 31), 200, 31, $CHANNEL,
        'the ids go with a redirect';
    is_verified get('first-other', org => 32), 401, '', '',
        'a redirect to a location with other keys takes the ids away';
    is_verified get('first-other', token => forged_client(7)), 200, 7,
        $CHANNEL, 'a redirect to a location with other keys can bring ids';

    # ids from the token

    my $r = get('own-org', org => 'x', token => gateway_token(org_id => 9));
    is_verified $r, 200, 9, $CHANNEL,
        'the organization of a stream can be the one of the token';
    is_status post('cycle', org => 'x', token => publish_token(org_id => 9)),
        200, 'the organization of a message can be the one of the token';
    is_status post('claim-cycle', org => 'x',
                   token => publish_token(org_id => 9)), 200,
        'the organization of a message can be that of a claim that is asked '
        . 'for';
    is_said post('cycle', org => 'x', token => publish_token()),
        '400 Missing org_id', 'a token without an organization names no stream';
    is_said post('claim-cycle', org => 'x', token => publish_token()),
        '400 Missing org_id',
            'a token without an organization names no stream where it is '
            . 'asked for';
    is_said post('channel-cycle'), '400 Missing channel_id',
        'a token of a publisher names no channel';
}


sub test_counters {
    moves($nginx, 'gateway', 'a forged token of a client is counted once', sub {
        get('events-all', token => forged_client(7));
    }, 'requests_total{outcome="unauthorized"}' => 1,
       'auth_failures_total{reason="signature"}' => 1);

    moves($nginx, 'publish', 'a forged token of a publisher is counted once',
          sub { post('publish-all', token => forged_publisher(7)) },
          'requests_total{outcome="unauthorized"}' => 1,
          'auth_failures_total{reason="signature"}' => 1);
}


sub test_limits {
    for my $n (1 .. 3) {
        is_status get('events-org', org => 10, token => forged_client(10)), 401,
            "forged client $n of organization 10 is refused for its token";
        is_status get('events-org', org => 11,
                      token => gateway_token(org_id => 11, exp => time - 100)),
            401,
                "expired client $n of organization 11 is refused for its token";
    }

    is_status get('events-org', org => 10), 200,
        'a client of organization 10 is let in';
    is_status get('events-org', org => 10), 429,
        'the next client of organization 10 is over the limit';
    is_status get('events-org', org => 11), 200,
        'a client of organization 11 is let in';
    is_status get('events-org', org => 10, claims => [org_id => 12]), 403,
        'a client with a token of organization 12 is refused at organization '
        . '10';
    is_status get('events-org', org => 12), 429,
        'that client has used up the limit of organization 12';

    for my $n (1 .. 3) {
        is_status post('publish-org', org => 20, token => forged_publisher(20)),
            401, "forged publisher $n of organization 20 is refused";
    }

    is_status post('publish-org', org => 20), 200,
        'a publisher of organization 20 is let in';
    is_status post('publish-org', org => 20), 429,
        'the next publisher of organization 20 is over the limit';
    is_status post('publish-org', org => 21), 200,
        'a publisher of organization 21 is let in';
    is_status post('publish-org', org => 22, claims => [org_id => undef]), 200,
        'a publisher for all is let in to organization 22';
    is_status post('publish-org', org => 22, claims => [org_id => undef]), 429,
        'the next publisher for all to organization 22 is over the limit';
    is_status post('publish-org', org => 23, claims => [org_id => undef]), 200,
        'a publisher for all is let in to organization 23';

    my ($one, $two) = (uuid(), uuid());

    is_status get('events-channel', channel => $one,
                  token => gateway_token(channel_id => $one,
                                         -key => "$other.pem")), 401,
        'a forged client of a channel is refused for its token';
    is_status get('events-channel', channel => $one), 200,
        'a client of a channel is let in';
    is_status get('events-channel', channel => uc $one), 429,
        'the next client of the same channel is over the limit';
    is_status get('events-channel', channel => $two), 200,
        'a client of another channel is let in';
    is_status post('publish-channel', channel => $one), 429,
        'publishers of a channel share the zone';

    # at one time

    my $held = get('events-conn', org => 40, open => 1);

    is_status $held, 200, 'a stream of organization 40 is let in';
    is_status get('events-conn', org => 40), 429,
        'a second stream of organization 40 is over the limit';
    is_status get('events-conn', org => 40, token => forged_client(40)), 401,
        'a forged client is not told that organization 40 has a stream';
    is_status get('events-conn', org => 41), 200,
        'a stream of another organization is let in';
    is_status post('publish-conn', org => 40), 429,
        'a publisher of organization 40 shares its limit';
    is_status post('publish-conn', org => 42), 200,
        'a publisher of another organization is let in';

    $held->{sse}->close;

    ok wait_for(20, sub { get('events-conn', org => 40)->{status} == 200 }),
        'a client that left makes room';

    for my $n (1 .. 2) {
        is_status get('events-delayed', org => 43), 200,
            "client $n of a limit that delays is let in";
    }
}


sub test_addresses {
    my %a = (args => 'address=1');
    my %b = (args => 'address=2');

    is looked_at(sub {
        is_status get('events-both', token => forged_client(50), %a), 401,
            'a forged client within the limit of its address is refused';
    }), 1, 'a forged client within the limit of its address costs a signature';

    is looked_at(sub {
        my $r = get('events-both', token => forged_client(50), %a);

        is_status $r, 429,
            'a forged client over the limit of its address is refused';
        is logged($r), '- -',
            'a forged client over the limit of its address has no ids in the '
            . 'log';
    }), 0, 'a forged client over the limit of its address costs no signature';

    is looked_at(sub {
        is_status post('publish-both', token => forged_publisher(50), %b), 401,
            'a forged publisher within the limit of its address is refused';
    }), 1, 'a forged publisher within its limit costs a signature';

    is looked_at(sub {
        my $r = post('publish-both', token => forged_publisher(50), %b);

        is_status $r, 429,
            'a forged publisher over the limit of its address is refused';
        is logged($r), '- -',
            'a forged publisher over the limit has no ids in the log';
    }), 0, 'a forged publisher over the limit costs no signature';

    my $r = get('events-both', token => gateway_token(), %a);

    is_status $r, 429, 'a valid token over the limit of its address is refused';
    is logged($r), '- -',
        'a valid token over the limit is not verified for the log';
}


for my $class ('Conduit::Nginx', 'Reversed::Nginx') {
    subtest $class eq 'Conduit::Nginx' ? 'the gateway is loaded last'
                                       : 'the publish module is loaded last'
    => sub {
        $nginx = $class->start(config());

        subtest 'variables' => \&test_variables;
        subtest 'counters' => \&test_counters;
        subtest 'limits' => \&test_limits;
        subtest 'limits by address' => \&test_addresses;

        my @lines = grep { /\[(?:warn|error|crit)\]/ } split /^/,
                    $nginx->error_log;

        is grep({ !/limiting |delaying |forbidden by rule|unexpected status/
                  && !/cycle while evaluating/ } @lines), 0,
            'no other line is above the level of a client\'s fault';
        is grep({ /eyJ/ } @lines), 0, 'no line has a token';
    };
}

done_testing();


# the modules in the other order

package Reversed::Nginx;

use parent -norequire, 'Conduit::Nginx';

sub conf {
    my ($self, @o) = @_;

    return $self->SUPER::conf(@o) =~ s/^(load_module .*\n)(load_module .*\n)/$2$1/mr;
}
