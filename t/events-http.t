# Copyright (C) Conduit for NGINX authors
#
# Every way to carry an event stream delivers the same bytes and the same end:
# HTTP/1.0, HTTP/1.1, HTTP/2, with TLS, compressed, limited in rate, and through
# a proxy.  Other methods, request bodies, pipelining, and clients that leave
# are tested here, too.

use strict;
use warnings;

use lib 't/lib';

use Compress::Raw::Zlib;
use Conduit;
use Conduit::H2;
use Conduit::SSE;
use IO::Socket::INET;
use IO::Socket::SSL;
use Test::More;

my ($h2c, $tls) = (free_port(), free_port());
my $old = nginx_version() < 1025001 ? ' http2' : '';
my $TMP = $Conduit::TMP;

system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
       . " -keyout $TMP/tls.key -out $TMP/tls.crt 2>/dev/null") == 0
    or die 'openssl failed';

# without comment lines: a client that goes is not noticed by writing to it
my $off = 'conduit_gateway_keepalive off;';
my $events = gateway_location($off);

sub location { return gateway_location("$off $_[1]") =~ s/events/$_[0]/r }

my $locations = join '', $events,
    location(gzip => 'gzip on; gzip_types text/event-stream;'),
    location(slow => 'limit_rate 20k;'),
    location(limited => 'limit_conn channel 1;'), <<"EOC";
    location /ok { return 200 ok; }
    location /ssi/ { ssi on; root $TMP; }
    location /guarded/ { auth_request /events/$ORG; }
EOC

my $nginx = nginx_start(server => $locations, http => <<"EOC");
    log_format close '\$conduit_channel_id \$status \$conduit_gateway_close '
                     '\$conduit_gateway_events';
    log_format token '\$request|\$request_uri|\$args|\$query_string|'
                     '\$arg_token|\$http_referer';
    access_log logs/close.log close;
    access_log logs/token.log token;
    limit_conn_zone \$conduit_channel_id zone=channel:1m;
    @{[$old ? '' : 'http2 on;']}
    server { listen 127.0.0.1:$h2c$old; $locations }
    server {
        listen 127.0.0.1:$tls ssl$old;
        ssl_certificate $TMP/tls.crt;
        ssl_certificate_key $TMP/tls.key;
        $locations
    }
EOC

# its defaults: HTTP/1.0 to the server behind it, with buffering
my $front = nginx_start(server => 'location / { proxy_pass http://127.0.0.1:'
                                  . $nginx->port . '; }');
logs_tokens(qr{^\Q${\$front->root}\E/}, 'a proxy quotes what it passes on');

my ($worker) = $nginx->workers;


# a response whose body is compressed
package Zip {
    our @ISA = 'Conduit::SSE';

    sub body { $_[0]->text }
}


sub connected {
    my ($port, %o) = @_;

    my $socket = Conduit::SSE::plain_socket($port, $o{rcvbuf});

    return $socket if !$o{tls};
    return IO::Socket::SSL->start_SSL($socket, SSL_verify_mode => 0)
           // die "TLS: $IO::Socket::SSL::SSL_ERROR";
}

sub request_of {
    my ($path, %o) = @_;

    return sprintf "%s %s HTTP/%s\r\nHost: localhost\r\n%s\r\n%s",
        $o{method} // 'GET', $path, $o{version} // '1.1',
        join('', map { "$_\r\n" } @{ $o{headers} // [] }), $o{body} // '';
}

# the ways to get a stream; each takes a path and returns a response
my %ways = (
    'HTTP/1.0' => sub {
        Conduit::SSE->on(connected($nginx->port),
                         request_of($_[0], version => '1.0'))
    },
    'HTTP/1.1' => sub {
        Conduit::SSE->on(connected($nginx->port), request_of($_[0]))
    },
    'HTTP/1.1, TLS' => sub {
        Conduit::SSE->on(connected($tls, tls => 1), request_of($_[0]))
    },
    'HTTP/2' => sub { h2($_[0], $h2c) },
    'HTTP/2, TLS' => sub { h2($_[0], $tls, tls => 1) },
    'gzip' => sub {
        Zip->on(connected($nginx->port),
                request_of($_[0] =~ s/events/gzip/r,
                           headers => ['Accept-Encoding: gzip']))
    },
    'limit_rate' => sub {
        Conduit::SSE->on(connected($nginx->port),
                         request_of($_[0] =~ s/events/slow/r))
    },
    'limit_rate, HTTP/2' => sub { h2($_[0] =~ s/events/slow/r, $h2c) },
    'proxy' => sub {
        Conduit::SSE->on(connected($front->port), request_of($_[0]))
    },
);

my @ways = sort keys %ways;

sub h2 {
    my ($path, $port, %o) = @_;

    my $stream = Conduit::H2->connect($port, %o)->get($path);

    $stream->header or die 'no response';
    return $stream;
}

# the bytes of an event, as the contract has them
sub bytes_of {
    my ($id, %f) = @_;

    return "event: stream\nid: $id\ndata: {\"event_type\":\"stream\","
           . "\"message_id\":\"$f{message_id}\",\"channel_id\":\"$f{channel_id}"
           . "\",\"phase\":\"PHASE_$f{phase}\",\"sequence\":$f{sequence},"
           . "\"payload\":{\"value\":\"$f{payload}{value}\"}}\n\n";
}

# waits for the line of a channel in the access log
sub closed_as {
    my $channel = shift;

    my $line;

    wait_for(20, sub {
        ($line) = read_file($nginx->root . '/logs/close.log')
                  =~ /^$channel (.*)$/m;
    });

    return $line;
}


# --- the same bytes, the same end

my $text = "retry: 500\n\n";
my $sequence = 0;

sub say_it {
    my ($phase, $value) = @_;

    my %f = (message_id => uuid(), channel_id => $CHANNEL, phase => $phase,
             sequence => ++$sequence, payload => { value => $value });

    $text .= bytes_of(xadd(%f), %f);
}

say_it('START', 'first');
say_it('DELTA', 'k' x 30_000);

my %streams = map { $_ => $ways{$_}->(events_path()) } @ways;

for my $way (@ways) {
    my $h = $streams{$way}->headers;

    is_deeply [$streams{$way}->status, @$h{qw(content-type cache-control
                                              access-control-allow-origin)}],
        [200, 'text/event-stream', 'no-cache, no-transform', '*'],
        "$way: the response's header";
}

my %arrived = map { $_ => 0 } @ways;
my $round = 0;

for my $value ('small', 'l' x 20_000, 'last but one') {
    say_it('DELTA', $value);
    $round++;

    # each event before the next one is published
    for my $way (@ways) {
        my $stream = $streams{$way};
        $arrived{$way}++
            if $arrived{$way} == $round - 1
               && $stream->until(30, sub { $stream->body eq $text });
    }
}

say_it('END', 'last');

for my $way (@ways) {
    my $stream = $streams{$way};

    is $arrived{$way}, 3, "$way: an event arrives at once";
    ok $stream->end(20), "$way: after END the response ends cleanly";
    ok $stream->body eq $text, "$way: the bytes are those of the contract";
}

my $ends = 0;
wait_for(20, sub {
    $ends = () = read_file($nginx->root . '/logs/close.log')
                 =~ /^$CHANNEL 200 end 6$/mg;
    $ends >= @ways;
});
is $ends, @ways,
    'the log has for each response how it ended, after how many events';

is $streams{'HTTP/1.0'}->headers->{'transfer-encoding'}, undef,
    'HTTP/1.0: nothing is chunked';
ok $streams{'HTTP/1.0'}->eof, 'HTTP/1.0: the connection is closed';
ok !$streams{$_}{eof}, "$_: the connection stays open"
    for grep { !/1\.0/ } @ways;

is $streams{'HTTP/1.1'}->headers->{'x-accel-buffering'}, 'no',
    'a proxy is told not to buffer';
is $streams{'gzip'}->headers->{'content-encoding'}, 'gzip',
    'gzip: the response is compressed';
ok $streams{'gzip'}->intact, 'gzip: its trailer comes with the end';
is $streams{'HTTP/2, TLS'}{h2}->alpn, 'h2', 'HTTP/2 is agreed on by ALPN';

for my $way ('HTTP/1.1', 'HTTP/1.1, TLS') {
    my $wire = $streams{$way};

    is $wire->again(request_of('/ok'))->body, 'ok',
        "$way: the connection takes another request after END";

    $wire->again(request_of(events_path()));
    ok $wire->end, "$way: the connection takes another stream after END";
    ok $wire->body eq $text, "$way: the other stream has the same bytes";
}

my ($end) = $text =~ /.*^id: (.*?)$/ms;
is $streams{'HTTP/1.1'}->again(request_of(
       events_path(last_event_id => $end)))->status, 200,
    'a client that has had END may wait for what follows';


# --- many streams on a connection

my @channels = map { uuid() } 1 .. 50;
my $connection = Conduit::H2->connect($tls, tls => 1);
my @many = map { $connection->get(events_path(channel_id => $_)) } @channels;
my @expected = ("retry: 500\n\n") x @channels;

sub all_as_expected {
    return $connection->until(20, sub {
        !grep { $many[$_]->body ne $expected[$_] } 0 .. $#many
    });
}

ok all_as_expected(), '50 streams of a connection begin';

for my $round (1 .. 3) {
    for my $i (map { $_ * 7 % @channels } 0 .. $#channels) {
        my %f = (message_id => uuid(), channel_id => $channels[$i],
                 phase => $round == 3 && $i % 2 ? 'END' : 'DELTA',
                 sequence => $round, payload => { value => "$i.$round" });

        $expected[$i] .= bytes_of(xadd(%f), %f);
    }
}

ok all_as_expected(),
    'each of 50 streams gets the events of its channel and no others';
ok $connection->until(30, sub {
       25 == grep { $many[$_ * 2 + 1]{ended} } 0 .. 24
   }), 'streams with an END end';
is scalar(grep { $_->{ended} } @many), 25, 'streams without an END go on';

$connection->close;


# --- clients that go

my %going = (
    (map { my $way = $_; ($way => sub {
        my $stream = $ways{$way}->(shift);
        $stream->{h2} ? $stream->{h2}->close : $stream->close;
    }) } @ways),

    'HTTP/1.1, a RST' => sub {
        my $wire = $ways{'HTTP/1.1'}->(shift);
        setsockopt $wire->socket, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
        $wire->close;
    },
    'HTTP/1.1, half' => sub {
        my $wire = $ways{'HTTP/1.1'}->(shift);
        $wire->socket->shutdown(1);
        return $wire;
    },
    'HTTP/1.1, with its request' => sub {
        my $socket = connected($nginx->port);
        $socket->print(request_of(shift));
        $socket->close;
    },
    'HTTP/1.1, another request in the pipeline' => sub {
        my $socket = connected($nginx->port);
        my $wire = Conduit::SSE->on($socket,
                                    request_of(shift) . request_of('/ok'));
        $wire->close;
    },
    'TLS, without a close notify' => sub {
        my $wire = $ways{'HTTP/1.1, TLS'}->(shift);
        $wire->socket->close(SSL_no_shutdown => 1);
        $wire->{socket} = undef;
    },
    'HTTP/2, RST_STREAM' => sub {
        my $stream = $ways{'HTTP/2'}->(shift);
        $stream->reset;
        return $stream;
    },
    'HTTP/2, TLS, RST_STREAM' => sub {
        my $stream = $ways{'HTTP/2, TLS'}->(shift);
        $stream->reset;
        return $stream;
    },
    'HTTP/2, a body that does not end' => sub {
        my $client = Conduit::H2->connect($h2c);
        my $stream = $client->get(shift, open => 1);
        $stream->header or die;
        $client->frame(Conduit::H2::DATA, 0, $stream->id, 'part of a body');
        $stream->reset;
        return $stream;
    },
);

for my $how (sort keys %going) {
    my $channel = uuid();
    my $kept = $going{$how}->(events_path(channel_id => $channel));

    like closed_as($channel) // 'nothing', qr/^(?:200|499) client 0$/,
        "$how: a client that goes is noticed";
}

# one that does not read: what it gets is in the way

for my $way ('HTTP/1.1', 'HTTP/1.1, TLS') {
    my $channel = uuid();
    my $with_tls = $way =~ /TLS/;
    my $socket = connected($with_tls ? $tls : $nginx->port,
                           tls => $with_tls, rcvbuf => 4096);
    my $wire = Conduit::SSE->on(
        $socket, request_of(events_path(channel_id => $channel)));

    xadd(channel_id => $channel, payload => { value => 'x' x 1_000_000 })
        for 1 .. 8;

    # when another one has all, this one is behind
    my $other = sse_open($nginx, channel_id => $channel);
    $other->until(20, sub { length $other->body > 8_000_000 });
    $other->close;
    closed_as($channel);

    $socket->close($with_tls ? (SSL_no_shutdown => 1) : ());
    ok wait_for(20, sub {
        2 == (() = read_file($nginx->root . '/logs/close.log')
                   =~ /^$channel 200 client/mg)
    }), "$way: a client that is behind and leaves is noticed";
    redis('DEL', stream_key(undef, $channel));
}


# one whose socket gets full in the middle of an event, again and again

{
    my $channel = uuid();
    my $wire = Conduit::SSE->on(
        connected($nginx->port, rcvbuf => 4096),
        request_of(events_path(channel_id => $channel)));
    my $expected = "retry: 500\n\n";

    for my $n (1 .. 1000) {
        my %f = (message_id => uuid(), channel_id => $channel,
                 phase => 'DELTA', sequence => $n,
                 payload => { value => 'y' x 3000 });

        $expected .= bytes_of(xadd(%f), %f);
    }

    # when another one has all, this one is behind
    my $other = sse_open($nginx, channel_id => $channel);
    $other->until(120, sub { length $other->body >= length $expected });
    $other->close;

    # it is slow, and may take as long as it goes on

    for my $part (1 .. 20) {
        $wire->until(120, sub {
            length $wire->body >= length($expected) * $part / 20;
        }) or last;
    }

    is length $wire->body, length $expected,
        'a client whose socket was full gets as many bytes as others';
    ok $wire->body eq $expected,
        'a client whose socket was full gets all bytes, and once';
    $wire->close;
    redis('DEL', stream_key(undef, $channel));
}


# --- requests of all kinds

my $channel = uuid();
my $path = events_path(channel_id => $channel);
my $token = $path =~ /token=([^&]+)/ ? $1 : die;
my $tokenless = $path =~ s/token=[^&]+&//r;

my $wire = Conduit::SSE->on(connected($nginx->port),
                            request_of($path, method => 'HEAD'));
is_deeply [$wire->status, $wire->headers->{'content-type'}],
    [200, 'text/event-stream'], 'HEAD has the header of a stream';
is $wire->headers->{'transfer-encoding'}, undef, 'HEAD has no body';
is $wire->again(request_of('/ok'))->body, 'ok',
    'the connection takes another request after HEAD';

for my $header (['If-Match' => '"x"'], ['If-None-Match' => '*'],
                ['If-Unmodified-Since' => 'Thu, 01 Jan 2015 00:00:00 GMT'])
{
    $wire = Conduit::SSE->on(connected($nginx->port),
                             request_of($path, method => 'HEAD',
                                        headers => [join ': ', @$header]));
    is $wire->status, 200, "a stream has no version ($header->[0])";
}

my $stream = Conduit::H2->connect($h2c)->get($path, method => 'HEAD');
ok $stream->end, 'HEAD over HTTP/2 ends';
is_deeply [$stream->status, $stream->body], [200, ''],
    'HEAD over HTTP/2 has no body';

for my $method (qw(POST PUT PATCH DELETE)) {
    my $r = http($nginx, $method, $path, body => 'text');

    is_deeply [$r->{status}, $r->{headers}{allow}, $r->{body},
               $r->{headers}{'access-control-allow-origin'}],
        [405, 'GET, HEAD, OPTIONS', 'Method not allowed', '*'],
        "$method is not allowed";
}

# what a page may send: anything; "*" does not stand for Authorization
my $HEADERS = '*, Authorization';
my %preflight = (Origin => 'https://app.example.com',
                 'Access-Control-Request-Method' => 'GET',
                 'Access-Control-Request-Headers' => 'authorization');
my $r = http($nginx, 'OPTIONS', $tokenless, headers => \%preflight);

is $r->{status}, 204, 'OPTIONS is answered without a token';
is_deeply { map { /^access-control-(.*)/ ? ($1 => $r->{headers}{$_}) : () }
            keys %{ $r->{headers} } },
    { 'allow-origin' => '*', 'allow-methods' => 'GET, HEAD',
      'allow-headers' => $HEADERS,
      'max-age' => 86400 },
    'OPTIONS is answered with what a preflight asks for';

$stream = Conduit::H2->connect($h2c)->get($tokenless, method => 'OPTIONS');
ok $stream->end, 'OPTIONS over HTTP/2 ends';
is $stream->headers->{'access-control-allow-headers'},
    $HEADERS, 'OPTIONS over HTTP/2 allows the same headers';

for my $case (
    [400, $tokenless], [401, $path =~ s/(token=...)/$1x/r],
    [403, events_path(channel_id => $channel, token => gateway_token())])
{
    my $r = http($nginx, 'GET', $case->[1]);

    is_deeply [$r->{status}, $r->{headers}{'access-control-allow-origin'}],
        [$case->[0], '*'], "a page may read a $case->[0]";
}

xadd(channel_id => $channel, sequence => 7);

for my $bearer ('Bearer', 'bearer') {
    my $sse = sse_open($nginx, path => $tokenless,
                       headers => { Authorization => "$bearer $token" });
    is $sse->event->{json}{sequence}, 7, "\"$bearer\" may hold the token";
}

$stream = Conduit::H2->connect($tls, tls => 1)->get($tokenless,
    headers => [authorization => "Bearer $token"]);
is $stream->event->{json}{sequence}, 7,
    'a token in a header counts over HTTP/2';

is http($nginx, 'GET', $tokenless,
        headers => { Authorization => "Bearer ${token}x" })->{status}, 401,
    'a wrong one is refused';


# --- bodies and pipelines

for my $case (['Content-Length: 10', 'part'],
              ['Transfer-Encoding: chunked', "5\r\npa"])
{
    $wire = Conduit::SSE->on(connected($nginx->port),
                             request_of($path, headers => [$case->[0]],
                                        body => $case->[1]));
    ok $wire->end, "a body that does not end ends the response ($case->[0])";
    is_deeply [$wire->status, $wire->body], [400, 'Unexpected request body'],
        "a body that does not end is refused ($case->[0])";
}

# what follows a broken chunk is part of the body, and no request
for my $case (['GET', $path], ['GET', $path =~ s/(token=...)/$1x/r],
              ['POST', $path])
{
    my ($method, $where) = @$case;
    $wire = Conduit::SSE->on(connected($nginx->port),
        request_of($where, method => $method,
                   headers => ['Transfer-Encoding: chunked'],
                   body => "no size\r\n" . request_of('/ok')));
    ok $wire->end, "a broken chunk ends the response ($method)";
    is $wire->status, 400, "a broken chunk is refused ($method)";
    is $wire->headers->{connection}, 'close',
        "a broken chunk ends the connection ($method)";
}

$wire = Conduit::SSE->on(connected($nginx->port),
                         request_of($path, headers => ['Content-Length: 4'],
                                    body => 'text'));
is $wire->event->{json}{sequence}, 7, 'a body that is complete does no harm';

$wire = Conduit::SSE->on(connected($nginx->port),
                         request_of($path) . request_of('/ok'));
is $wire->event->{json}{sequence}, 7,
    'a stream starts with a request behind it in the pipeline';

xadd(channel_id => $channel, phase => 'END', sequence => 8);
is $wire->event->{json}{sequence}, 8,
    'a stream goes on with a request behind it';
ok $wire->end, 'a stream ends with a request behind it';
is $wire->again('')->body, 'ok',
    'a request behind a stream is answered after its end';


# --- in a subrequest

mkdir "$TMP/ssi";
write_file("$TMP/ssi/page.html",
           qq{before <!--# include virtual="/events/$ORG" --> after});

$r = http($nginx, 'GET', '/ssi/page.html');
is $r->{status}, 200, 'a page that includes a stream is sent';
like $r->{body}, qr/^before .*500 Internal Server Error.* after$/s,
    'a page that includes a stream has an error in its place';

is http($nginx, 'GET', '/guarded/')->{status}, 500,
    'a stream cannot authorize a request';
is scalar(() = $nginx->error_log
               =~ /\[error\] .*"conduit_gateway" can't be used in a sub/g), 2,
    'the log says that a stream is not for subrequests';


# --- limit_conn

sub limited { events_path(channel_id => $_[0]) =~ s/events/limited/r }

my ($one, $two) = (uuid(), uuid());
my $first = sse_open($nginx, path => limited($one));

is $first->status, 200, 'one client of a channel is let in';
is http($nginx, 'GET', limited($one))->{status}, 503,
    'a second client of a channel is not let in';
is sse_open($nginx, path => limited(uc $one))->status, 503,
    'a channel in capitals is the same to the limit';
is sse_open($nginx, path => limited($two))->status, 200,
    'another channel has its own limit';

$first->close;
ok wait_for(20, sub { sse_open($nginx, path => limited($one))->status == 200 }),
    'the place is free when the client has gone';


# --- the token is in no log

SKIP: {
    my $log = $nginx->error_log;

    skip 'an NGINX without debug log', 2 if $log !~ /\[debug\]/;

    like $log, qr/ send: fd:\d+ (\d+) of \1\b/,
        'a small event over HTTP/1.1 is sent by send()';
    like $log, qr/ writev: \d+ of /,
        'a large event over HTTP/1.1 is sent by writev()';
}

is_deeply [$nginx->workers], [$worker], 'the worker is the same all the time';

my $logs = $nginx->root . '/logs';
my @parts = split /\./, $token;
my $header = substr $parts[0], 0, 20;       # of all tokens of the suite

for my $log (qw(access token)) {
    my @lines = split /\n/, read_file("$logs/$log.log");

    is scalar(grep { /\Q$header\E/ } @lines), 0,
        "no token is in the access log \"$log\"";
    cmp_ok scalar(grep { /token=x{100,}/ } @lines), '>', 0,
        "the access log \"$log\" has other letters in the token's place";
}

my @lines = split /\n/, $nginx->error_log;

is scalar(grep { /\Q$header\E/ && !/\[debug\]/ } @lines), 0,
    'no token is in the error log';
is scalar(grep { /\Q$header\E/ && /conduit:/ } @lines), 0,
    'no token is in the debug lines of the module';
cmp_ok scalar(grep { /request: "GET [^"]*token=x{100,}/ } @lines), '>', 0,
    "a request line in the error log has other letters in the token's place";

$_->close for values %streams;
is $nginx->stop('QUIT', 30), 0, 'NGINX quits';

done_testing();
