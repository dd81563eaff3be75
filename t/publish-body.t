# Copyright (C) Conduit for NGINX authors
#
# Only a complete body is taken as a message.
#
# NGINX takes the part of a body that has arrived for all of it when a request
# comes to conduit_publish from another location that had begun to read or
# discard the body: "error_page", "post_action", proxy_pass without buffering.
# Each body here starts with a complete message, so that its first part would be
# accepted.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::H2;
use Conduit::Metrics;
use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);

my $REDIS = "redis://127.0.0.1:$Conduit::REDIS_PORT";

my ($port, $h2_port, $dead, $hung, $early_port) = map { free_port() } 1 .. 5;
my $old = nginx_version() < 1025001 ? ' http2' : '';
my $early = nginx_version() >= 1031005;

# a server that accepts and never answers
my $backend = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$hung",
                                    Listen => 16, ReuseAddr => 1)
    or die "listen: $!";

my $locations = <<"EOC";
    client_max_body_size 200;

    location /publish/ {
        conduit_publish $REDIS;
        conduit_publish_auth off;
        error_page 413 = \@big;
        error_page 400 = \@big;
    }
    location /plain/ {
        conduit_publish $REDIS;
        conduit_publish_auth off;
        error_page 413 \@big;
    }
    location /mirrored/ {
        mirror /sink;
        conduit_publish $REDIS;
        conduit_publish_auth off;
        error_page 413 = \@big;
    }
    location = /sink { internal; return 204; }
    location /proxied/ {
        proxy_pass http://127.0.0.1:$dead;
        error_page 413 502 504 = \@big;
    }
    location /unbuffered/ {
        client_max_body_size 1m;
        proxy_pass http://127.0.0.1:$dead;
        proxy_http_version 1.1;
        proxy_request_buffering off;
        error_page 502 504 = \@big;
    }
    location /consumed/ {
        client_max_body_size 1m;
        proxy_pass http://127.0.0.1:$hung;
        proxy_read_timeout 100ms;
        proxy_http_version 1.1;
        proxy_request_buffering off;
        error_page 502 504 = \@big;
    }
    location /static/ {
        root $Conduit::TMP;
        error_page 404 405 = \@big;
    }
    location /left/ {
        client_max_body_size 1m;
        proxy_pass http://127.0.0.1:$dead;
        post_action \@big;
    }
    location /after/ {
        client_max_body_size 1m;
        proxy_pass http://127.0.0.1:$port/ok;
        post_action \@big;
    }
    location /ok { return 200 ok; }
    location \@big {
        client_max_body_size 1m;
        conduit_publish $REDIS;
        conduit_publish_auth off;
        conduit_publish_rate off;
    }
EOC

my $nginx = nginx_start(
    port => $port,
    http => "
    @{[$old ? '' : 'http2 on;']}
    map \$http_x_early \$early { 1 1; }
    log_format ends '\$request_uri \$uri \$status';
    access_log logs/ends.log ends;
    server { listen 127.0.0.1:$h2_port$old; $locations }
    server {
        listen 127.0.0.1:$early_port;
        client_max_body_size 1m;
        @{[$early ? 'client_body_early_read $early;' : '']}
        location / {
            conduit_publish $REDIS;
            conduit_publish_auth off;
        }
    }",
    server => $locations . pages());

my ($worker) = $nginx->workers;


# a field that no PublishRequest has, of so many bytes: skipped when decoded
sub padding { return "\x7a" . Conduit::varint($_[0]) . 'x' x $_[0] }

sub chunk { return sprintf "%x\r\n%s\r\n", length $_[0], $_[0] }

sub stored { return redis('XLEN', stream_key(undef, $_[0])) }

sub head {
    my ($path, @headers) = @_;

    return join "\r\n", "POST $path HTTP/1.1", 'Host: localhost', @headers,
                '', '';
}

# Sends the parts of a request, each after NGINX has read those before it;
# returns the socket.
sub send_parts { return send_to($port, @_) }

sub send_to {
    my ($to, @parts) = @_;

    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$to")
        or die "connect: $!";

    while (@parts) {
        $s->syswrite(shift @parts);
        wait_for(20, sub { left_unread($s) == 0 }) or die 'NGINX does not read'
            if @parts;
    }

    return $s;
}

# how many bytes of a connection lie in NGINX's socket
sub left_unread {
    my $s = shift;

    my $from = sprintf '0100007F:%04X 0100007F:%04X', $s->peerport,
                       $s->sockport;

    open my $fh, '<', '/proc/net/tcp' or die "/proc/net/tcp: $!";

    while (<$fh>) {
        my (undef, $local, $remote, undef, $queues) = split;
        return hex((split /:/, $queues)[1]) if "$local $remote" eq $from;
    }

    return -1;
}

# the status and the body of the response, which may be on a connection that
# stays open
sub answer {
    my $s = shift;

    my $select = IO::Select->new($s);
    my $deadline = time + 20;
    my $got = '';

    my ($header, $body);

    while (time < $deadline) {
        ($header, $body) = $got =~ /^(.*?)\r\n\r\n(.*)/s;

        my ($length) = ($header // '') =~ /^Content-Length: (\d+)/mi;
        last if defined $length && length $body >= $length;

        next if !$select->can_read(1);
        $s->sysread($got, 65536, length $got) or last;
    }

    my ($status) = ($header // '') =~ m{^HTTP/1.1 (\d+)};

    return [$status, $body];
}

sub message_of { return message(channel_id => $_[0]) }

my $INCOMPLETE = [400, 'Incomplete request body'];

# Posts what is to be refused as a part of a body.
sub is_refused {
    my ($title, $path, @parts) = @_;

    my $channel = uuid();
    my $message = message_of($channel);
    my ($head, @body) = map { ref ? $_->($message) : $_ } @parts;

    $head = head("/$path/$ORG/$channel", split /\n/, $head);

    my $expected = ref $parts[-1] eq 'ARRAY' ? pop @parts : $INCOMPLETE;
    pop @body if ref $body[-1];

    is_deeply answer(send_parts($head, @body)), $expected, $title;
    is stored($channel), 0, "$title: nothing is stored";
}


# --- a body that is too large, or broken, after its first part

my $CHUNKED = 'Transfer-Encoding: chunked';
my $first = sub { chunk($_[0]) };

moves $nginx, 'publish', 'a refused part is counted as incomplete', sub {
    is_refused('a body in chunks grows over client_max_body_size',
               'publish', $CHUNKED, $first, chunk(padding(300)) . chunk(''));
}, 'requests_total{outcome="invalid"}' => 1,
   'invalid_total{reason="incomplete"}' => 1;

my $LINE = 'the request body was not read completely before the request was '
           . 'redirected to this location';

like $nginx->error_log, qr/\[info\] .* conduit: $LINE, client: /,
    'a body that is refused as incomplete is logged';

is_refused('a body grows over the limit while a mirror reads it',
           'mirrored', $CHUNKED, $first, chunk(padding(300)) . chunk(''));

is_refused('a body grows over the limit while a proxied request reads it',
           'proxied', $CHUNKED, $first, chunk(padding(300)) . chunk(''));

is_refused('a chunk of a body is broken', 'publish', $CHUNKED, $first,
           "no chunk\r\n");

{
    my $channel = uuid();
    my $s = send_parts(head("/plain/$ORG/$channel", $CHUNKED),
                       chunk(message_of($channel)), chunk(padding(300)));

    is_deeply answer($s), [413, $INCOMPLETE->[1]],
        'error_page without "=" keeps the status 413';
    is stored($channel), 0, 'a part of a body is not stored with 413, either';
}

# announced, over the limit: NGINX discards it before the first location runs
for my $all (0, 1) {
    my $channel = uuid();
    my $body = message_of($channel) . padding(300);

    is_deeply answer(send_parts(
        head("/publish/$ORG/$channel", 'Content-Length: ' . length $body)
        . substr $body, 0, $all ? length $body : 100)),
        $INCOMPLETE, 'a body that was discarded '
                     . ($all ? 'whole' : 'in part') . ' is no message';
    is stored($channel), 0, 'what was discarded is not stored';
}


# --- HTTP/2

for my $last (0, 1) {
    my $channel = uuid();
    my $title = 'HTTP/2: a body grows over the limit'
                . ($last ? ' with its last frame' : '');
    my $client = Conduit::H2->connect($h2_port);
    my $stream = $client->get("/publish/$ORG/$channel", method => 'POST',
                              open => 1);
    my $pongs = 0;

    # an answer to a PING: what came before it was read, and its event has run
    my $settle = sub {
        for (1 .. 2) {
            $client->ping;
            $pongs++;
            $client->until(20, sub { $client->pongs >= $pongs });
        }
    };

    $settle->();
    $client->frame(0, 0, $stream->id, message_of($channel));
    $settle->();
    $client->frame(0, $last, $stream->id, padding(300));
    $client->until(20, sub { $stream->{ended} });

    is_deeply [$stream->status, $stream->body], $INCOMPLETE, $title;
    is stored($channel), 0, "$title: nothing is stored";
    $client->close;
}


# --- a body that another location did not finish, or gave away

{
    my $channel = uuid();
    my $message = message_of($channel);
    my $s = send_parts(head("/unbuffered/$ORG/$channel",
                            'Content-Length: ' . (300 + length $message))
                       . $message);

    is_deeply answer($s), $INCOMPLETE,
        'a proxied request fails while its body comes in unbuffered';
    is stored($channel), 0, 'what has come by then is not stored';
}

{
    my $channel = uuid();
    my $message = message_of($channel);
    my $s = send_parts(head("/consumed/$ORG/$channel", $CHUNKED),
                       chunk($message), chunk(padding(20)) . chunk(''));

    is_deeply answer($s), $INCOMPLETE,
        'a body that was sent to another server, unbuffered, is no message';
    is stored($channel), 0, 'what is left of it is not stored';
}

{
    my $channel = uuid();
    my $message = message_of($channel);
    my $uri = "/left/$ORG/$channel";
    my $s = send_parts(head($uri, 'Content-Length: 2000'), $message, '');

    close $s;

    ok wait_for(20, sub {
        read_file($nginx->root . '/logs/ends.log') =~ /^\Q$uri\E /m
    }), 'a client leaves in the middle of its body';
    is stored($channel), 0,
        'post_action: what a client sent before it left is not stored';
}


# --- whole bodies, read or not by another location

for (['buffered, in a location that failed', 'proxied'],
     ['unbuffered, for a server that cannot be reached', 'unbuffered'],
     ['not read, in a location that takes no POST', 'static'])
{
    my ($title, $path) = @$_;
    my $channel = uuid();
    my $message = message_of($channel);
    my $head = head("/$path/$ORG/$channel",
                    'Content-Length: ' . length $message);

    is answer(send_parts($head . $message))->[0], 200, "a whole body, $title";
    is stored($channel), 1, "$title: it is stored";

    $head = head("/$path/$ORG/$channel", $CHUNKED);

    is answer(send_parts($head . chunk($message) . chunk('')))->[0], 200,
        "a whole body in chunks, $title";
    is stored($channel), 2, "$title: it is stored from chunks, too";
}

{
    my $channel = uuid();
    my $r = http($nginx, 'POST', "/after/$ORG/$channel",
                 body => message_of($channel));

    is_deeply [@$r{qw(status body)}], [200, 'ok'],
        'post_action: the response is that of the location';
    ok wait_for(20, sub { stored($channel) }),
        'post_action: a whole body is stored after it';
}

is answer(send_parts(head("/publish/$ORG/" . uuid(), 'Content-Length: 0')))
   ->[1], 'Invalid channel_id in the message',
    'an empty body is a whole one, without a channel';

is answer(send_parts(head("/publish/$ORG/" . uuid())))->[1],
    'Invalid channel_id in the message', 'no body is an empty one';


# --- a body that NGINX read before it chose a location

SKIP: {
    skip 'NGINX before 1.31.5 has no client_body_early_read', 8 if !$early;

    # the limits of NGINX are those of the server then
    for my $chunked (0, 1) {
        my $post = sub {
            my ($channel, $body) = @_;

            my $how = $chunked ? $CHUNKED : 'Content-Length: ' . length $body;
            my $head = head("/publish/$ORG/$channel", 'X-Early: 1', $how);

            return answer(send_to($early_port, $head
                . ($chunked ? chunk($body) . chunk('') : $body)));
        };
        my $how = $chunked ? 'in chunks' : 'with its length';
        my $channel = uuid();

        is $post->($channel, message_of($channel))->[0], 200,
            "a body read early, $how, is a message";
        is stored($channel), 1, "what was read early, $how, is stored";

        my $body = message_of($channel) . padding(17000);

        is_deeply $post->($channel, $body),
            [413, 'Message of ' . length($body) . ' bytes is over the limit'
                  . ' of 16384 bytes'],
            "conduit_publish_max_size holds for a body read early, $how";
        is stored($channel), 1, "a body over the limit, $how, is not stored";
    }
}

is_deeply [$nginx->workers], [$worker], 'the worker is the same all the time';

done_testing();
