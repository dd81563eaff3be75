# Copyright (C) Conduit for NGINX authors
#
# No cache keeps a response that must not be kept: each response has exactly one
# Cache-Control header, whatever "expires" in the location says.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::H2;
use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);

logs_tokens(qr{ HTTP/1\.0" 200 0 }, 'a proxied location passes its query on');

my $REDIS = "redis://127.0.0.1:$Conduit::REDIS_PORT";

my ($h2_port, $hung_port, $accel_port) = map { free_port() } 1 .. 3;
my $old = nginx_version() < 1025001 ? ' http2' : '';

# what "expires" and others make of a location; "off" has none
my %SERVERS = (
    off => '',
    '1h' => 'expires 1h;',
    '-1' => 'expires -1;',
    epoch => 'expires epoch;',
    max => 'expires max;',
    variable => 'expires $expires;',
);

my $locations = publish_location() . gateway_location() . <<"EOC";
    location /unread/ {
        conduit_publish $REDIS;
        conduit_publish_auth off;
    }
    location /limited/ {
        conduit_gateway $REDIS;
        conduit_gateway_auth off;
        limit_req zone=requests;
    }
    location /guarded/ {
        conduit_gateway $REDIS;
        conduit_gateway_auth off;
        auth_request /refuse;
    }
    location /denied/ {
        conduit_gateway $REDIS;
        conduit_gateway_auth off;
        deny all;
    }
    location /first/ {
        conduit_gateway $REDIS;
        conduit_gateway_auth off;
        auth_request /refuse;
        error_page 401 = \@second;
    }
    location \@second {
        conduit_gateway $REDIS;
        conduit_gateway_auth off;
    }
    location /added/ {
        conduit_gateway $REDIS;
        conduit_gateway_auth off;
        add_header Cache-Control "public, max-age=60" always;
    }
    location /accel/ { proxy_pass http://127.0.0.1:$accel_port/; }
    location = /refuse { return 401; }
    location = /status { conduit_gateway_status; }
    location = /live { conduit_publish_health live; }
    location = /ready { conduit_gateway_health ready; }
    location /hung/ {
        conduit_publish redis://127.0.0.1:$hung_port;
        conduit_publish_auth off;
    }
EOC

my %ports = map { $_ => free_port() } keys %SERVERS;
my $servers = join '', map { <<"EOC" } sort keys %SERVERS;
    server {
        listen 127.0.0.1:$ports{$_};
        $SERVERS{$_}
$locations
    }
EOC

my $cache_port = free_port();

my $nginx = nginx_start(http => <<"EOC", server => $locations);
    map \$uri \$expires { default 1h; }
    limit_req_zone \$server_port zone=requests:1m rate=1r/m;
    proxy_cache_path $Conduit::TMP/cache keys_zone=cache:1m;
    log_format cache '\$server_port \$uri \$sent_http_cache_control';
    access_log logs/cache.log cache;
    @{[$old ? '' : 'http2 on;']}
$servers
    server {
        listen 127.0.0.1:$h2_port$old;
        expires 1h;
$locations
    }
    server {
        listen 127.0.0.1:$accel_port;
        add_header X-Accel-Redirect \$uri?\$args;
        add_header Cache-Control "private, max-age=60";
        add_header Expires "Thu, 31 Dec 2037 23:55:55 GMT";
        return 200;
    }
    server {
        listen 127.0.0.1:$cache_port;
        location / {
            proxy_pass http://127.0.0.1:$ports{'1h'};
            proxy_http_version 1.1;
            proxy_cache cache;
            proxy_cache_key \$request_uri;
            proxy_cache_methods GET HEAD POST;
            proxy_cache_valid any 1h;
            add_header X-Cache \$upstream_cache_status always;
        }
    }
EOC

my ($worker) = $nginx->workers;


# The status and the lines of the header that caches look at, of a request; the
# connection is closed when the header is there.
sub ask {
    my ($port, $method, $path, %o) = @_;

    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port")
        or die "connect: $!";
    my $body = $o{body} // '';
    my $select = IO::Select->new($s);
    my $deadline = time + 20;
    my $got = '';

    $s->syswrite(join "\r\n", "$method $path HTTP/1.1", 'Host: localhost',
        $method eq 'POST' ? 'Content-Length: ' . length $body : (),
        map({ "$_: $o{headers}{$_}" } keys %{ $o{headers} // {} }), '', $body);

    while ($got !~ /\r\n\r\n/ && time < $deadline) {
        next if !$select->can_read(1);
        $s->sysread($got, 65536, length $got) or last;
    }

    my ($status) = $got =~ m{^HTTP/1.1 (\d+)};
    my ($header) = $got =~ /^(.*?\r\n)\r\n/s;

    return ($status, $header =~ /^((?:Cache-Control|Expires): [^\r]*)/gmi);
}

my $NO_STORE = 'Cache-Control: no-store';
my %bearer = (Authorization => 'Bearer ' . publish_token());

# each response that is not a stream: title, status, arguments of ask()
my @RESPONSES = (
    ['a message that is taken', 200, 'POST', "/publish/$ORG/$CHANNEL",
     headers => \%bearer, body => message()],
    ['a message without a token', 401, 'POST', "/publish/$ORG/$CHANNEL"],
    ['a message that is none', 400, 'POST', "/publish/$ORG/$CHANNEL",
     headers => \%bearer, body => 'x'],
    ['a message of another method', 405, 'GET', "/publish/$ORG/$CHANNEL"],
    ['a message that is too large', 413, 'POST', "/unread/$ORG/$CHANNEL",
     body => 'x' x 20000],
    ['a message without a channel', 400, 'POST', "/publish/$ORG"],
    ['a message that Redis does not get', 503, 'POST', "/hung/$ORG/$CHANNEL",
     body => message()],
    ['a client without a token', 400, 'GET',
     "/events/$ORG?channel_id=$CHANNEL"],
    ['a client with a bad token', 401, 'GET',
     "/events/$ORG?channel_id=$CHANNEL&token=x"],
    ['a client with the token of another channel', 403, 'GET',
     "/events/$ORG?channel_id=" . uuid() . '&token=' . gateway_token()],
    ['a client of another method', 405, 'PUT', events_path()],
    ['a preflight', 204, 'OPTIONS', events_path()],
    ['a client that a guard refuses', 401, 'GET',
     "/guarded/$ORG?channel_id=$CHANNEL"],
    ['a client whose address is denied', 403, 'GET',
     "/denied/$ORG?channel_id=$CHANNEL"],
    ['a page of metrics', 200, 'GET', '/status'],
    ['a page of metrics, by another method', 405, 'POST', '/status'],
    ['a page of health', 200, 'GET', '/live'],
);

for my $server (sort keys %SERVERS) {
    for (@RESPONSES) {
        my ($title, $status, @request) = @$_;

        is_deeply [ask($ports{$server}, @request)], [$status, $NO_STORE],
            "expires $server: $title is not to be stored";
    }

    my ($status, @lines) = ask($ports{$server}, 'GET', events_path());

    is $status, 200, "expires $server: a stream begins";
    is scalar @lines, 1, "expires $server: a stream has one line for caches";
    like $lines[0], qr/^Cache-Control: no-cache/,
        "expires $server: a stream is not to be cached";

    my ($head, @same) = ask($ports{$server}, 'HEAD', events_path());

    is_deeply [$head, @same], [200, @lines],
        "expires $server: the answer to HEAD has the same line";
}

# limit_req: the first request takes the turn of the minute
for my $server (sort keys %SERVERS) {
    my $path = "/limited/$ORG?channel_id=$CHANNEL";

    ask($ports{$server}, 'GET', $path);
    is_deeply [ask($ports{$server}, 'GET', $path)], [503, $NO_STORE],
        "expires $server: what limit_req refuses is not to be stored";
}

# a client that has seen the end of its stream
{
    my $channel = uuid();
    my $end = xadd(channel_id => $channel, phase => 'END');
    my $path = events_path(channel_id => $channel);

    my ($status, @lines) = ask($ports{'1h'}, 'GET',
                               $path . "&last_event_id=$end");

    ok $status == 204 && "@lines" eq $NO_STORE
       || $status == 200 && "@lines" =~ /^Cache-Control: no-cache[^:]*\z/,
        'what a client gets after END is not to be cached';
}


# --- with others

is_deeply [(ask($ports{off}, 'GET', "/first/$ORG?channel_id=$CHANNEL"))[0]],
    [200], 'a client that comes from another location gets a stream';

{
    my (undef, @lines) = ask($ports{'1h'}, 'GET',
                             "/first/$ORG?channel_id=$CHANNEL");

    is scalar @lines, 1,
        'a stream after error_page has one line for caches';
    like $lines[0], qr/^Cache-Control: no-cache/,
        'a stream after error_page has the line of a stream';
}

for my $server ('off', '1h') {
    my ($status, @lines) = ask($ports{$server}, 'GET',
                               '/accel' . events_path());

    is $status, 200, "expires $server: a stream begins by X-Accel-Redirect";
    is scalar @lines, 1,
        "expires $server: nothing of the first response stays for caches";
    like $lines[0], qr/^Cache-Control: no-cache/,
        "expires $server: the line is that of a stream";
}

{
    my ($status, @lines) = ask($ports{'1h'}, 'GET', "/added/$ORG");

    is_deeply [$status, sort @lines],
        [400, $NO_STORE, 'Cache-Control: public, max-age=60'],
        'add_header adds its line, which does not take no-store away';
}

{
    my $client = Conduit::H2->connect($h2_port);
    my $preflight = $client->get(events_path(), method => 'OPTIONS');
    my $stream = $client->get(events_path());

    $client->until(20, sub { $preflight->status && $stream->status });

    is_deeply [$preflight->status, @{ $preflight->headers }
                                   {qw(cache-control expires)}],
        [204, 'no-store', undef], 'HTTP/2: a preflight is not to be stored';
    like $stream->headers->{'cache-control'}, qr/^no-cache/,
        'HTTP/2: a stream is not to be cached';
    is $stream->headers->{expires}, undef, 'HTTP/2: a stream does not expire';
    $client->close;
}

# a cache that keeps whatever it may, in front of a server with "expires"
for (['GET', "/events/$ORG?channel_id=$CHANNEL", 400],
     ['GET', "/guarded/$ORG?channel_id=$CHANNEL", 401],
     ['POST', "/publish/$ORG/$CHANNEL", 401],
     ['POST', "/unread/$ORG/$CHANNEL", 200, message()])
{
    my ($method, $path, $status, $body) = @$_;
    my @got = map {
        my $r = http(bless({ port => $cache_port }, 'Conduit::Nginx'),
                     $method, $path, body => $body // '');
        [$r->{status}, $r->{headers}{'x-cache'}]
    } 1 .. 2;

    is_deeply \@got, [([$status, 'MISS']) x 2],
        "a cache in front does not keep the $status of a $method";
}

like read_file($nginx->root . '/logs/cache.log'),
    qr{^$ports{off} /publish/$ORG/$CHANNEL no-store$}m,
    '$sent_http_cache_control has the value';

is((grep { $_ == $worker } $nginx->workers), 1,
   'the worker is the same all the time');

done_testing();
