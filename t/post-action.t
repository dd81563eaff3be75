# Copyright (C) Conduit for NGINX authors
#
# Locations with "post_action": when a request has ended, or its client has
# left, NGINX goes on with it in another location, without its contexts and
# without having run its cleanup handlers.  No subscriber may be left in a
# channel.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::H2;
use Conduit::Metrics;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::SSL;
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;

my $REDIS = "redis://127.0.0.1:$Conduit::REDIS_PORT";
my $TMP = $Conduit::TMP;

my ($h1, $tls, $h2, $hung) = map { free_port() } 1 .. 4;
my $old = nginx_version() < 1025001 ? ' http2' : '';

system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
       . " -keyout $TMP/tls.key -out $TMP/tls.crt 2>/dev/null") == 0
    or die 'openssl failed';

# a server that accepts and never answers
my $backend = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$hung",
                                    Listen => 64, ReuseAddr => 1)
    or die "listen: $!";

my %AFTER = (
    static => '/after/static',
    missing => '/after/missing',
    proxied => '/after/proxied',
    hung => '/after/hung',
    named => '@named',
);

# one channel's memory alone does not keep the frames of a slow client
my $gateway = "conduit_gateway $REDIS; conduit_gateway_auth off;"
              . 'conduit_gateway_keepalive off; conduit_gateway_window 1k;';

my $locations = join '', map({ <<"EOC" } sort keys %AFTER), <<"EOC";
    location /$_/ { $gateway post_action $AFTER{$_}; }
EOC
    location /timeout/ {
        $gateway
        send_timeout 500ms;
        post_action /after/proxied;
    }
    location /publish/ {
        conduit_publish $REDIS;
        conduit_publish_auth off;
        post_action /after/proxied;
    }
    location /plain/ {
        return 200 "ok\\n";
        post_action \@events;
    }
    location /after/ { internal; root $TMP; }
    location /after/proxied {
        internal;
        proxy_pass http://127.0.0.1:$h1/answer;
    }
    location /after/hung {
        internal;
        proxy_pass http://127.0.0.1:$hung;
    }
    location = /answer { access_log off; return 200 "answered\\n"; }
    location \@named { return 204; }
    location \@events { $gateway }
EOC

mkdir "$TMP/after";
write_file("$TMP/after/static", "static\n");

my $nginx = nginx_start(
    server => pages() . "location /events/ { $gateway }", http => <<"EOC");
    @{[$old ? '' : 'http2 on;']}
    log_format after '\$request_uri \$uri';
    access_log logs/after.log after;
    server { listen 127.0.0.1:$h1 sndbuf=8k; $locations }
    server { listen 127.0.0.1:$h2$old sndbuf=8k; $locations }
    server {
        listen 127.0.0.1:$tls ssl sndbuf=8k;
        ssl_certificate $TMP/tls.crt;
        ssl_certificate_key $TMP/tls.key;
        $locations
    }
EOC

my ($worker) = $nginx->workers;
my $sequence = 0;

sub path { return "/$_[0]/$ORG?channel_id=$_[1]" }

sub add {
    my ($n, $channel) = @_;

    xadd(channel_id => $channel, sequence => ++$sequence,
         payload => { value => "$sequence " x 1500 }) for 1 .. $n;
}

# how often a request went on after its end
sub went_on {
    my $path = shift;

    my $n = () = read_file($nginx->root . '/logs/after.log')
                 =~ /^\Q$path\E /gm;

    return $n;
}

# A client of HTTP/1.1 that has sent its request; it reads little.
sub client {
    my ($port, $path) = @_;

    my $s = Conduit::SSE::plain_socket($port, 4096);

    $s = IO::Socket::SSL->start_SSL($s, SSL_verify_mode => 0)
        // die "TLS: $IO::Socket::SSL::SSL_ERROR" if $port == $tls;

    $s->syswrite("GET $path HTTP/1.1\r\nHost: localhost\r\n\r\n");

    return bless { raw => '', body => '', parsed => 0, events => [],
                   taken => 0, comments => [], method => 'GET',
                   socket => $s }, 'Conduit::SSE';
}

sub begun {
    my $sse = shift;

    return $sse->until(20, sub {
        $sse->isa('Conduit::H2::Stream') || $sse->parse_header;
        length $sse->body
    });
}

# The ways to leave: title, port, what makes a client, what makes it leave.
my @WAYS = (
    ['HTTP/1.1, FIN', \&client, $h1, sub { $_[0]->close }],
    ['HTTP/1.1, RST', \&client, $h1, sub {
        setsockopt $_[0]->socket, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
        $_[0]->close;
    }],
    ['TLS', \&client, $tls, sub { $_[0]->close }],
    ['HTTP/2, RST_STREAM', \&stream, $h2, sub {
        my $client = $_[0]{connection};

        $_[0]->reset;
        $client->ping;
        $client->until(20, sub { $client->pongs });
    }],
    ['HTTP/2, a closed connection', \&stream, $h2, sub {
        $_[0]{connection}->close(1);
    }],
);

sub stream {
    my ($port, $path) = @_;

    my $client = Conduit::H2->connect($port, rcvbuf => 4096);
    my $stream = $client->get($path);

    $stream->{connection} = $client;
    return $stream;
}

# in what state a client leaves: with nothing to get, or with much
my %STATES = (
    idle => sub { },
    blocked => sub {
        my ($sse, $channel, $witness) = @_;

        add(60, $channel);
        $witness->events(60, 20);
        becomes($nginx, 'gateway', 'slow_subscribers', 1,
                'a client is blocked');
    },
);


# --- clients that leave

for my $way (@WAYS) {
    my ($title, $make, $port, $leave) = @$way;

    for my $after (sort keys %AFTER) {
        for my $state (sort keys %STATES) {
            my $channel = uuid();
            my $path = path($after, $channel) . "&n=$port";
            my $name = "$title, $state, $after";

            my $witness = Conduit::SSE->open($nginx->port, 'GET',
                                             path('events', $channel));
            my $sse = $make->($port, $path);

            begun($sse) or die "$name: no response";
            $STATES{$state}->($sse, $channel, $witness);

            $leave->($sse);

            # NGINX goes on until this connection is closed
            my $held = $after eq 'hung' ? $backend->accept : undef;

            becomes($nginx, 'gateway', 'subscribers', 1,
                    "$name: the client has left its channel");
            add(3, $channel);
            is scalar(my @events = $witness->events(3, 20)), 3,
                "$name: another client of the channel gets its events";

            # a frame of which TCP took a part keeps NGINX from ending
            $sse->{connection}->close(1) if $sse->{connection};

            if ($held) {
                is went_on($path), 0, "$name: NGINX is not done by then";
                undef $held;
            }

            ok wait_for(20, sub { went_on($path) }),
                "$name: NGINX has gone on with the request";

            add(1, $channel);
            ok $witness->event(20), "$name: events go on afterwards";

            $witness->close;
            becomes($nginx, 'gateway', 'subscribers', 0,
                    "$name: nobody is left");
        }
    }
}


# --- requests that end by themselves

{
    my $channel = uuid();
    my $path = path('timeout', $channel);
    my $witness = Conduit::SSE->open($nginx->port, 'GET',
                                     path('events', $channel));
    my $sse = client($h1, $path);

    begun($sse);
    add(60, $channel);
    becomes($nginx, 'gateway', 'closed_total{reason="timeout"}', 1,
            'a client that takes nothing is closed after send_timeout');

    add(3, $channel);
    is scalar(my @events = $witness->events(63, 20)), 63,
        'another client of its channel gets all events';

    # what is buffered keeps NGINX for another send_timeout
    $sse->close;
    ok wait_for(20, sub { went_on($path) }),
        'NGINX goes on after send_timeout';
    $witness->close;
}

# a connection that stays: the response, and one to the next request
{
    my $channel = uuid();
    my $path = path('proxied', $channel);
    my $socket = Conduit::SSE::plain_socket($h1);
    my $wire = Conduit::SSE->on($socket,
                                "GET $path HTTP/1.1\r\nHost: x\r\n\r\n");

    xadd(channel_id => $channel, phase => 'END');
    ok $wire->end(20), 'a response ends with the stream';
    ok wait_for(20, sub { went_on($path) }),
        'NGINX goes on after the end of a stream';

    $wire->again("GET /answer HTTP/1.1\r\nHost: x\r\n\r\n");
    $wire->end(20);
    is $wire->body, "answered\n",
        'the connection serves another request afterwards';
    $wire->close;
}


# --- a gateway's location as the one that NGINX goes on in

for my $port ($h1, $h2) {
    my $channel = uuid();
    my $path = path('plain', $channel);
    my $title = $port == $h1 ? 'HTTP/1.1' : 'HTTP/2';

    xadd(channel_id => $channel);

    if ($port == $h1) {
        my $socket = Conduit::SSE::plain_socket($h1);
        my $request = "GET $path HTTP/1.1\r\nHost: x\r\n\r\n";
        my $wire = Conduit::SSE->on($socket, $request);

        $wire->end(20);
        is $wire->body, "ok\n", "$title: the response is the first location's";

        $wire->again($request);
        $wire->end(20);
        is_deeply [$wire->status, $wire->body, $wire->{raw}],
            [200, "ok\n", ''],
            "$title: no events are sent between two responses";
        $wire->close;

    } else {
        my $client = Conduit::H2->connect($h2);

        for my $n (1, 2) {
            my $stream = $client->get($path);

            $stream->end(20);
            is_deeply [$stream->status, $stream->body], [200, "ok\n"],
                "$title: response $n is the first location's";
        }

        $client->close;
    }

    ok wait_for(20, sub { went_on($path) == 2 }),
        "$title: both requests have ended";
    is metrics($nginx, 'gateway')->{subscribers}, 0,
        "$title: nobody has become a subscriber";
}


# --- publishers that wait for Redis

for my $leaves (0, 1) {
    my $channel = uuid();
    my $uri = "/publish/$ORG/$channel";
    my $body = message(channel_id => $channel);
    my $title = $leaves ? 'a publisher that has left' : 'a publisher';

    # a connection that is up
    redis_pause();

    my $input = redis_input();
    my $s = Conduit::SSE::plain_socket($h1);

    $s->syswrite("POST $uri HTTP/1.1\r\nHost: x\r\nContent-Length: "
                 . length($body) . "\r\n\r\n$body");
    ok wait_for(20, sub { redis_input() > $input }),
        "$title: its message is on its way to Redis";
    close $s if $leaves;

    redis_resume();

    ok wait_for(20, sub { went_on($uri) }),
        "$title: NGINX goes on when Redis has answered";
    is redis('XLEN', stream_key(undef, $channel)), 1,
        "$title: its message is stored once";
}

is_deeply [$nginx->workers], [$worker], 'the worker is the same all the time';


# --- a worker that is told to leave at once

{
    my $channel = uuid();
    my $leaving = nginx_start(
        main => 'worker_shutdown_timeout 300ms;',
        server => "location /events/ { $gateway conduit_gateway_drain 60s;"
                  . 'post_action /after; } location /after { return 204; }'
                  . "location /publish/ { conduit_publish $REDIS;"
                  . 'conduit_publish_auth off; conduit_publish_timeout 60s;'
                  . 'post_action /after; }');
    my ($before) = $leaving->workers;

    publish($leaving, channel_id => $channel);

    my @clients = map {
        Conduit::SSE->open($leaving->port, 'GET', path('events', $channel))
    } 1 .. 3;

    $_->event(20) for @clients;
    redis_pause();

    my $input = redis_input();
    my $body = message(channel_id => $channel);
    my $s = Conduit::SSE::plain_socket($leaving->port);

    $s->syswrite("POST /publish/$ORG/$channel HTTP/1.1\r\nHost: x\r\n"
                 . 'Content-Length: ' . length($body) . "\r\n\r\n$body");
    wait_for(20, sub { redis_input() > $input });

    $leaving->reload;
    ok wait_for(20, sub { !grep { $_ == $before } $leaving->workers }),
        'worker_shutdown_timeout: the worker leaves with its clients';
    redis_resume();

    $_->close for @clients;
    is $leaving->stop('QUIT', 30), 0, 'worker_shutdown_timeout: NGINX quits';
}

done_testing();
