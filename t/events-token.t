# Copyright (C) Conduit for NGINX authors
#
# Tokens that are not in the URL (conduit_gateway_token), and pages of other
# origins that may read, with or without cookies (conduit_gateway_cors).

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::H2;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);

my $APP = 'https://app.example.com';
my $OTHER = 'http://127.0.0.1:8080';
my $LIST = "conduit_gateway_cors $APP $OTHER;";
my $CREDENTIALS = "$LIST conduit_gateway_cors_credentials on;";
my $COOKIE = 'conduit_gateway_token $cookie_conduit;';

# a token that is part of the configuration
my $fixed = gateway_token();

my $auth_port = free_port();
my $h2_port = free_port();
my $old = nginx_version() < 1025001 ? ' http2' : '';

sub place {
    my ($name, $extra) = @_;

    return gateway_location($extra) =~ s{/events/}{$name}r;
}

my $nginx = nginx_start(
    http => 'limit_req_zone $server_port zone=full:1m rate=1r/m;'
    . 'map $http_x_from $map_token { cookie $cookie_conduit; }'
    . 'log_format line \'$request_uri "$request" $args $status '
    . '[$conduit_verified_org_id] [$cookie_conduit_not]\';'
    . 'access_log logs/lines.log line;'
    . "server { listen 127.0.0.1:$auth_port; location / {"
    . ' add_header X-Token $http_x_session always; return 204; } }'
    . "server { listen 127.0.0.1:$h2_port$old; @{[$old ? '' : 'http2 on;']}"
    . place('/argument/', 'conduit_gateway_token $arg_jwt;') . '}',
    server => gateway_location($COOKIE)
    . place('@second', $COOKIE)
    . place('@none')
    . place('/limited/', "$COOKIE limit_req zone=full; limit_req_status 429;
                          error_page 429 = \@second;")
    . place('/denied/', "$COOKIE deny all; error_page 403 = \@second;")
    . place('/lost/', "$COOKIE deny all; error_page 403 = \@none;")
    . place('/argument/', 'conduit_gateway_token $arg_jwt;')
    . place('/argument-twice/', 'conduit_gateway_token $arg_jwt; deny all;
                                 error_page 403 = @argument;')
    . place('@argument', 'conduit_gateway_token $arg_jwt;')
    . place('/rewritten/', 'set $jwt $arg_jwt; set $channel $arg_channel_id;
                            rewrite ^(/rewritten/.*)$ $1? break;
                            conduit_gateway_token $jwt;'
                           . "conduit_gateway_org_id $ORG;"
                           . 'conduit_gateway_channel_id $channel;')
    . place('/header/', 'conduit_gateway_token $http_x_jwt;')
    . place('/map/', 'conduit_gateway_token $map_token;')
    . place('/circle/', 'conduit_gateway_token
                             $conduit_verified_org_id$cookie_conduit;')
    . place('/fixed/', "conduit_gateway_token $fixed;")
    . place('/empty/', 'conduit_gateway_token "";')
    . place('/session/', 'conduit_gateway_token $session; auth_request /auth;
                          auth_request_set $session
                              $upstream_http_x_token;')
    . place('/verified/', "$COOKIE limit_req zone=verified;")
      =~ s{\s*limit_req zone=verified;}{add_header X-Verified
          "[\$conduit_verified_org_id][\$conduit_verified_channel_id]"
          always;}r
    . "location /outer/ { $COOKIE" . place('/outer/inner/') . '}'
    . place('/list/', $LIST)
    . place('/both/', "$COOKIE $CREDENTIALS")
    . place('/off/', 'conduit_gateway_cors off;')
    . place('/any/', 'conduit_gateway_cors *;')
    . place('/both-denied/', "$CREDENTIALS deny all;")
    . place('/both-limited/', "$CREDENTIALS limit_req zone=full;")
    . place('/both-to-any/', "$CREDENTIALS deny all; error_page 403 = \@none;")
    . place('/any-to-both/', 'deny all; error_page 403 = @both;')
    . place('@both', "$COOKIE $CREDENTIALS")
    . place('/open/', $CREDENTIALS)
      =~ s{conduit_gateway_jwt_key_file \S+;}{conduit_gateway_auth off;}r
    . "
    location = /auth {
        internal;
        proxy_pass http://127.0.0.1:$auth_port;
        proxy_set_header X-Session \$http_x_session;
    }");

xadd();

my $query = "channel_id=$CHANNEL";

# The response header as it comes, its end included, over a connection that is
# closed then; headers are pairs.
sub header_of {
    my ($method, $path, @headers) = @_;

    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $nginx->port,
                                  Timeout => 20) or die "connect: $!";
    my $text = "$method $path HTTP/1.1\r\nHost: localhost\r\n"
               . "Connection: close\r\n";

    while (my ($name, $value) = splice @headers, 0, 2) {
        $text .= "$name: $value\r\n";
    }

    $s->print("$text\r\n");
    $s->flush;

    my $answer = '';
    my $select = IO::Select->new($s);

    while ($answer !~ /\r\n\r\n/) {
        $select->can_read(20) && $s->sysread($answer, 65536, length $answer)
            or die "no answer to $method $path";
    }

    return $answer =~ s/(?<=\r\n\r\n).*//sr;
}

sub status_of { return header_of(@_) =~ m{^HTTP/1\.1 (\d+)} ? $1 : 0 }

sub cookie { return (Cookie => "a=b; conduit=$_[0]; c=d") }

sub bearer { return (Authorization => "Bearer $_[0]") }

sub is_refused {
    my ($path, $headers, $status, $body, $name) = @_;

    my $r = http($nginx, 'GET', $path, headers => { @$headers });

    is "$r->{status} $r->{body}", "$status $body", $name;
}

sub is_streamed {
    my ($path, $headers, $name) = @_;

    my $sse = sse_open($nginx, path => $path, headers => { @$headers });

    is $sse->status, 200, $name;
    ok $sse->status == 200 && $sse->event, "$name: events arrive";
    $sse->close;
}


# --- where a token is from, and what goes before what

my $good = gateway_token();
my $bad = 'a.b.c';
my $at = "/events/$ORG?$query";

is_streamed $at, [cookie($good)], 'a cookie has the token';

is_refused $at, [], 400, 'Missing token', 'without a cookie there is no token';
is_refused $at, [cookie('')], 400, 'Missing token',
    'an empty cookie is no token';
is_refused $at, [Cookie => "conduits=$good"], 400, 'Missing token',
    'another cookie is no token';
is_refused "/empty/$ORG?$query", [cookie($good)], 400, 'Missing token',
    'an empty value is no token';
is_streamed "/outer/inner/$ORG?$query", [cookie($good)],
    'the directive is inherited';
is_refused "/list/$ORG?$query", [cookie($good)], 400, 'Missing token',
    'without the directive a cookie is no token';
is_refused $at, [cookie($bad)], 401, 'Invalid token', 'a bad cookie is refused';
is_refused $at, [cookie(gateway_token(exp => int(time) - 100))], 401,
    'Token expired', 'an expired cookie is refused as expired';
is_refused $at, [cookie(gateway_token(channel_id => uuid()))], 403,
    'Invalid token claims',
        'a cookie with a token of another channel is refused';

is_streamed "$at&token=$good", [cookie($bad)],
    'the argument goes before the cookie';
is_refused "$at&token=$bad", [cookie($good)], 401, 'Invalid token',
    'a bad argument is not made good by a cookie';
is_refused "$at&token=$good&token=$good", [cookie($good)], 400,
    'Invalid token argument',
        'an argument that comes twice is not made good by a cookie';
is_streamed "$at&token=", [cookie($good)],
    'an empty argument is no token: the cookie counts';

is_streamed $at, [bearer($good), cookie($bad)],
    'the header goes before the cookie';
is_refused $at, [bearer($bad), cookie($good)], 401, 'Invalid token',
    'a bad header is not made good by a cookie';
is_streamed $at, [Authorization => 'Basic eDp5', cookie($good)],
    'a password of the site is no token';
is_streamed $at, [Authorization => 'Bearer', cookie($good)],
    'the word Bearer alone is no token';

is_streamed "/header/$ORG?$query", ['X-JWT' => $good],
    'a token can come from a header of another name';
is_streamed "/map/$ORG?$query", ['X-From' => 'cookie', cookie($good)],
    'a token can come from a map';
is_refused "/map/$ORG?$query", [cookie($good)], 400, 'Missing token',
    'a map without a value for a request has no token';
is_streamed "/session/$ORG?$query", ['X-Session' => $good],
    'a token can come from what the access phase has set';
is_refused "/session/$ORG?$query", [], 400, 'Missing token',
    'a value that the access phase has not set is no token';

is_streamed "/fixed/$ORG?$query", [],
    "a token can be a constant, request $_" for 1 .. 3;

is_streamed "/circle/$ORG?$query", [cookie($good)],
    'a value that asks what the token says is told nothing';
is_streamed "/circle/$ORG?$query&token=$good", [cookie($bad)],
    "a value that asks what the token says is not used beside an argument";

is_streamed "/open/$ORG?$query", [cookie($bad)],
    'a location that needs no token looks at none';


# --- redirects, variables, logs

is_streamed "/limited/$ORG?$query", [cookie($good)],
    'a request within a limit';

for my $name (qw(limited denied)) {
    is_streamed "/$name/$ORG?$query", [cookie($good)],
        "the cookie counts behind /$name/";
    is_refused "/$name/$ORG?$query", [cookie($bad)], 401, 'Invalid token',
        "a bad cookie is refused behind /$name/";
    is_refused "/$name/$ORG?$query&token=$bad", [cookie($good)], 401,
        'Invalid token', "the argument goes before the cookie behind /$name/";
}

is_refused "/lost/$ORG?$query", [cookie($good)], 400, 'Missing token',
    'a redirect: the location that answers takes its own value';

for my $name (qw(argument argument-twice rewritten)) {
    is_streamed "/$name/$ORG?jwt=$good&$query", [], "/$name/: of an argument";
    is_refused "/$name/$ORG?$query&jwt=" . gateway_token(exp => 1), [], 401,
        'Token expired', "/$name/: an expired token in an argument is refused";
}

# NGINX makes up the line of a request that comes by HTTP/2

my $h2 = Conduit::H2->connect($h2_port);
my $stream = $h2->get("/argument/$ORG?jwt=$good&$query");

ok $h2->until(20, sub { $stream->body =~ /^data:/m }),
    'HTTP/2: of an argument, events arrive';
$h2->close;

my $verified = "[$ORG][$CHANNEL]";
like header_of(GET => "/verified/$ORG?$query", cookie($good)),
    qr/^X-Verified: \Q$verified\E\r$/m, 'variables have what a cookie says';
like header_of(GET => "/verified/$ORG?$query", cookie($bad)),
    qr/^X-Verified: \[\]\[\]\r$/m,
        'variables have nothing of a cookie that is not valid';

my $log = $nginx->root . '/logs/lines.log';
ok wait_for(20, sub { read_file($log) =~ /"GET \S+jwt=x+&\S+ $_"/ }),
    "$_: an argument is masked in the logs" for 'HTTP/1.1', 'HTTP/2.0';
unlike read_file($log), qr/jwt=(?!x+\b)/,
    'a token in an argument is masked as a whole';


# --- other origins

# the headers of CORS, and Vary, a line each in the order of the alphabet
sub cors_of {
    return join ' | ', sort grep { /^(?:Access-Control-|Vary:)/i }
                            split /\r\n/, header_of(@_);
}

my $ANY = 'Access-Control-Allow-Origin: *';
my $ALLOWED = "Access-Control-Allow-Origin: $APP";
my $WITH = 'Access-Control-Allow-Credentials: true';
my $VARY = 'Vary: Origin';
my $MAX = 'Access-Control-Max-Age: 86400';
my $METHODS = 'Access-Control-Allow-Methods: GET, HEAD';
my @app = (Origin => $APP);

# what is asked, and the status of the answer
my @requests = (
    [200, GET => '', cookie($good), bearer($good)],
    [200, HEAD => '', cookie($good), bearer($good)],
    [401, GET => '', bearer($bad)],
    [400, GET => ''],
    [400, GET => '&token=x&token=y'],
    [403, GET => '', bearer(gateway_token(channel_id => uuid()))],
    [405, POST => '', bearer($good)],
);

for my $request (@requests) {
    my ($status, $method, $more, @headers) = @$request;
    my $on = sub { ($method, "/$_[0]/$ORG?$query$more", @headers) };

    is status_of($on->('both'), @app), $status, "$method$more: $status";

    is cors_of($on->('both'), @app), join(' | ', $WITH, $ALLOWED, $VARY),
        'an origin of the list may read, with cookies';
    is cors_of($on->('both'), Origin => $OTHER),
        join(' | ', $WITH, "Access-Control-Allow-Origin: $OTHER", $VARY),
        'another origin of the list may read, with cookies';
    is cors_of($on->('list'), @app), join(' | ', $ALLOWED, $VARY),
        'without credentials there is no header for them';

    for my $origin ('https://evil.example', 'http://app.example.com',
                    "$APP.evil.example", "$APP:8443", "$APP/", uc $APP,
                    'null', '*', '')
    {
        is cors_of($on->($_), Origin => $origin), $VARY,
            "\"$origin\" may not read ($_)" for qw(both list);
    }

    is cors_of($on->($_)), $VARY,
        "a request without origin is allowed none ($_)"
        for qw(both list);

    is cors_of($on->('off'), @app), '', 'cors off: there are no headers';

    is cors_of($on->($_), @app), $ANY, "all may read /$_/"
        for qw(events any);
    is cors_of($on->('events')), $ANY, 'all may read where no origin is named';
}


# preflights

my @preflight = ('Access-Control-Request-Method' => 'GET',
                 'Access-Control-Request-Headers' => 'authorization,x-trace');
my $NAMES = 'Access-Control-Allow-Headers';

sub preflight { return (OPTIONS => "/$_[0]/$ORG?$query", @preflight) }

is status_of(preflight($_), @app), 204, "a preflight of /$_/ is answered"
    for qw(both list off any events);
is status_of(preflight('both'), Origin => 'https://evil.example'), 204,
    'a preflight is answered for any origin';

is cors_of(preflight('both'), @app),
    join(' | ', $WITH, "$NAMES: authorization,x-trace", $METHODS, $ALLOWED,
         $MAX, $VARY),
             'a preflight with credentials names the headers that were asked '
             . 'for';
is cors_of(OPTIONS => "/both/$ORG?$query", @app),
    join(' | ', $WITH, $METHODS, $ALLOWED, $MAX, $VARY),
    'a preflight with credentials names no headers when none were asked for';
is cors_of(preflight('list'), @app),
    join(' | ', "$NAMES: *, Authorization", $METHODS, $ALLOWED, $MAX, $VARY),
    'a preflight without credentials allows all headers';
is cors_of(preflight($_), Origin => 'https://evil.example'), $VARY,
    "a preflight allows nothing to other origins (/$_/)" for qw(both list);
is cors_of(preflight('off'), @app), '',
    'a preflight allows nothing with cors off';
is cors_of(preflight('events'), @app),
    join(' | ', "$NAMES: *, Authorization", $METHODS, $ANY, $MAX),
    'a preflight allows all by default';


# what NGINX refuses, and redirects: each header comes once

is status_of(GET => "/both-denied/$ORG?$query", @app), 403,
    'a request may be denied by NGINX';
is cors_of(GET => "/both-denied/$ORG?$query", @app),
    join(' | ', $WITH, $ALLOWED, $VARY),
        'a page may read that NGINX denied its request';
is status_of(GET => "/both-limited/$ORG?$query", @app), 503,
    'a request may be over a limit of NGINX';
is cors_of(GET => "/both-limited/$ORG?$query", @app),
    join(' | ', $WITH, $ALLOWED, $VARY),
        'a page may read that its request is over a limit';

is status_of(preflight('both-limited'), @app), 503,
    'a preflight may be over a limit';
is cors_of(preflight('both-limited'), @app),
    join(' | ', $WITH, "$NAMES: authorization,x-trace", $METHODS, $ALLOWED,
         $MAX, $VARY),
             'a preflight over a limit has the headers of one that is not';

is cors_of(GET => "/both-to-any/$ORG?$query&token=$good", @app),
    join(' | ', $ANY, $VARY),
        'a redirect: the location that answers decides about origins';
is cors_of(GET => "/any-to-both/$ORG?$query", cookie($good), @app),
    join(' | ', $WITH, $ALLOWED, $VARY),
        'a redirect in the other direction: the location that answers decides';


done_testing();
