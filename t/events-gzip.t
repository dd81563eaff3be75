# Copyright (C) Conduit for NGINX authors
#
# conduit_gateway_gzip: responses in gzip whose pieces are compressed once for
# all clients.  zlib decompresses all that a client gets with one inflate
# stream, and the result is what a client without gzip gets, byte for byte.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::H2;
use Conduit::Metrics;
use IO::Socket::INET;
use Test::More;

my $TOKENS = 24;                  # events of a stream of tokens
my $LARGE = 150_000;              # bytes of a large payload
my $BINARY = $ENV{TEST_NGINX_BINARY} || '/usr/sbin/nginx';
my $built = `$BINARY -V 2>&1`;
my $old = nginx_version() < 1025001 ? ' http2' : '';
my $h2_port = free_port();

my %LOCATIONS = (
    off => 'conduit_gateway_gzip off;',
    gzip => '',
    small => 'conduit_gateway_window 16k;',
    alive => 'conduit_gateway_keepalive 100ms;',
    long => 'conduit_gateway_coalesce 1s;',
    brief => 'conduit_gateway_max_duration 1s;',
    told => 'conduit_gateway_max_duration 1s;'
          . ' conduit_gateway_drain_event on;',
    slow => 'conduit_gateway_buffer_size 8k;',
    # NGINX's own, which must leave it alone
    twice => 'gzip on; gzip_types *; gzip_min_length 1; gzip_vary on;',
    gunzip => $built =~ /with-http_gunzip_module/ ? 'gunzip on;' : '',
);

my $locations = pages() . join '', map {
    my $name = $_;
    gateway_location("conduit_gateway_auth off; conduit_gateway_drain 0;"
                     . $LOCATIONS{$name})
        =~ s{/events/}{/$name/}r
} sort keys %LOCATIONS;

my $nginx = nginx_start(server => "conduit_gateway_gzip on; $locations",
    http => <<"EOC" . ($old ? '' : 'http2 on;')
    gzip off;
    log_format gzip '\$uri \$conduit_gateway_bytes \$body_bytes_sent '
                    '\$sent_http_content_encoding \$conduit_gateway_close '
                    '\$conduit_gateway_events';
    access_log logs/gzip.log gzip;
    server {
        listen 127.0.0.1:$h2_port$old;
        conduit_gateway_gzip on;
        $locations
    }
EOC
);
my ($worker) = $nginx->workers;
my $channels = 0;
my $sequence = 0;


# --- helpers

sub channel { return sprintf '%08x-0000-4000-8000-00000000c0a1', ++$channels }

sub path { return "/$_[0]/$ORG?channel_id=$_[1]" . ($_[2] // '') }

sub come {
    my ($where, $channel, $after, %headers) = @_;

    return sse_open($nginx,
        path => path($where, $channel, $after && "&last_event_id=$after"),
        headers => { 'Accept-Encoding' => 'gzip', %headers });
}

# adds a message; what a number of bytes names is a payload that large
sub add {
    my ($channel, %o) = @_;

    my $size = delete $o{size};
    my $random = delete $o{random};
    my $text = defined $random
        ? join '', map { chr 33 + int rand 90 } 1 .. $random
        : defined $size ? substr "token $sequence " x ($size / 6), 0, $size
        : " word$sequence";

    return xadd(channel_id => $channel, sequence => ++$sequence,
                payload => { value => $text }, %o);
}

# whether a client has got what another one has; both have got n events
sub same {
    my ($n, $client, $plain, $title) = @_;

    my $got = () = $client->events($n, 20);

    is $got, $n, "$title: all events come";
    is $client->text, $plain, "$title: the bytes are those without gzip"
        or diag length($client->text) . ' and ' . length $plain;
}

# the text of n events that a client without gzip gets
sub plain {
    my ($channel, $n, $after) = @_;

    my $client = come('off', $channel, $after);
    my $got = () = $client->events($n, 20);

    is $got, $n, 'a client without gzip gets all events';

    my $text = $client->body;
    $client->close;

    return $text;
}

sub ends {
    my ($client, $title) = @_;

    ok $client->end(20), "$title: the response ends cleanly";
    ok $client->intact, "$title: checksum and length at its end are right";
}

sub gateway { return metrics($nginx, 'gateway')->{$_[0]} }


# --- who gets it

{
    my $c = channel();
    add($c, phase => 'START');

    my @rows = (
        ['gzip', 'gzip', 1], ['gzip', 'br, gzip;q=0.5', 1],
        ['gzip', 'deflate, br', 0], ['gzip', 'gzip;q=0', 0],
        ['gzip', '*', 0], ['gzip', undef, 0], ['off', 'gzip', 0],
    );

    for (@rows) {
        my ($where, $accept, $gzip) = @$_;
        my $client = sse_open($nginx, path => path($where, $c), headers =>
            defined $accept ? { 'Accept-Encoding' => $accept } : {});
        my $title = "gzip is $where, Accept-Encoding "
                    . ($accept // 'is not sent');

        is $client->headers->{'content-encoding'}, $gzip ? 'gzip' : undef,
            "$title: Content-Encoding";
        is $client->headers->{vary}, $where eq 'off' ? undef
                                                     : 'Accept-Encoding',
            "$title: Vary";
        ok $client->event, "$title: the event comes";
        like $client->text, qr/\Aretry: 500\n\nevent: stream\n/,
            "$title: its text";
        like $client->body, $gzip ? qr/\A\x1f\x8b\x08/ : qr/\Aretry/,
            "$title: its bytes";
        $client->close;
    }

    # two lines of one header are one list
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1:'
                                                   . $nginx->port);
    print $socket "HEAD " . path('gzip', $c) . " HTTP/1.1\r\nHost: a\r\n"
        . "Accept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    my $reply = do { local $/; <$socket> };
    like $reply, qr/\AHTTP\S+ 200 .*^Vary: Accept-Encoding\r$/ms,
        'HEAD: 200, with Vary';
    unlike $reply, qr/^Content-Encoding/m, 'HEAD: no Content-Encoding';

    $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $nginx->port);
    print $socket "GET " . path('gzip', $c) . " HTTP/1.0\r\n"
        . "Accept-Encoding: gzip\r\n\r\n";
    $reply = '';
    1 while $reply !~ /\n\n\z/ && sysread $socket, $reply, 65536, length $reply;
    unlike $reply, qr/^Content-Encoding/m,
        'a client of HTTP/1.0 gets no gzip';
    close $socket;

    $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $nginx->port);
    print $socket "GET " . path('gzip', $c) . " HTTP/1.1\r\nHost: a\r\n"
        . "Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n\r\n";
    $reply = '';
    1 while $reply !~ /\r\n\r\n/ && sysread $socket, $reply, 65536,
                                            length $reply;
    like $reply, qr/^Content-Encoding: gzip\r$/m,
        'a second line of Accept-Encoding counts, too';
    close $socket;
}


# --- clients that join a stream at each event

{
    my $c = channel();
    my (@clients, @ids);

    for my $n (0 .. $TOKENS - 1) {
        push @clients, come('gzip', $c, $ids[-1]);
        push @ids, add($c, phase => $n ? 'DELTA' : 'START');
        $_->event(20) for @clients;
    }

    my $plain = plain($c, $TOKENS);
    my $head = "retry: 500\n\n";
    my @events = substr($plain, length $head) =~ /(.*?\n\n)/gs;

    is_deeply [map { $_->text } @clients],
        [map { $head . join '', @events[$_ .. $#events] } 0 .. $#clients],
        'a client that joins at any event reads the same as without gzip';

    # those that come later are at the same place as others, or are not

    for my $from (0 .. $TOKENS - 2) {
        my $client = come('gzip', $c, $ids[$from]);
        my $n = () = $client->events($TOKENS - 1 - $from, 20);

        is $client->text, $head . join('', @events[$from + 1 .. $#events]),
            "a client that resumes after event $from reads the rest";
        push @clients, $client;
    }

    add($c, phase => 'END');
    ends($_, 'a client that joined or resumed, at END') for @clients;
    is scalar(grep { $_->text =~ /PHASE_END[^\n]*\n\n\z/ } @clients),
        scalar @clients, 'the last event of each is END';
}


# --- compressed once

{
    my $c = channel();
    my $before = metrics($nginx, 'gateway');
    my @clients = map { come('gzip', $c) } 1 .. 5;
    my @ids;

    for (1 .. $TOKENS) {
        push @ids, add($c);
        $_->event(20) for @clients;
    }

    my $now = metrics($nginx, 'gateway');
    my %moved = map { $_ => $now->{$_} - $before->{$_} } keys %$now;
    my ($client) = @clients;
    my ($sent, $read) = (length $client->body, length $client->text);

    is $moved{'gzip_frames_total{form="alone"}'}, 1,
        'many clients: the first event is compressed alone, once';
    is $moved{'gzip_frames_total{form="chained"}'}, $TOKENS - 1,
        'many clients: each later event is compressed once, after the one '
        . 'before it';
    is $moved{'gzip_frames_total{form="stored"}'}, 0,
        'many clients: no event is stored';
    is $moved{bytes_total}, 5 * $sent,
        'bytes_total counts compressed bytes';

    # the header, and two blocks for the first line
    is $moved{gzip_saved_bytes_total}, 5 * ($read - $sent + 10 + 5),
        'gzip_saved_bytes_total counts what was not sent of events';

    cmp_ok 3 * $sent, '<', $read,
        'a stream of tokens: a third of the bytes or less';

    my $late = come('gzip', $c);
    my $n = () = $late->events($TOKENS, 20);

    is $late->body, $client->body,
        'a client that is late gets the same bytes as those before it';
    is gateway('gzip_frames_total{form="chained"}'),
        $now->{'gzip_frames_total{form="chained"}'},
        'a client that is late: nothing is compressed again';

    # a resumed one is not where the others are, once

    my $resumed = come('gzip', $c, $ids[0]);
    $n = () = $resumed->events($TOKENS - 1, 20);

    $now = metrics($nginx, 'gateway');
    is $now->{'gzip_frames_total{form="alone"}'}
       - $before->{'gzip_frames_total{form="alone"}'}, 2,
        'a client that resumes: its first event is compressed alone';
    is $now->{'gzip_frames_total{form="chained"}'}
       - $before->{'gzip_frames_total{form="chained"}'}, $TOKENS - 1,
        'a client that resumes shares the other events';

    $_->close for @clients, $late, $resumed;
}


# --- what does not compress, and what is large

srand 1;

for my $where ('gzip', 'slow') {
    my $c = channel();
    my $live = come($where, $c);
    my @sizes = ([size => 10], [size => $LARGE], [random => 4000], [size => 9],
                 [size => 33_000], [random => 100_000], [random => 20],
                 [size => 32_768], [size => 20]);

    for (@sizes) {
        add($c, @$_);
        $live->event(20);
    }

    my $plain = plain($c, scalar @sizes);
    is $live->text, $plain, "$where: large events are read as without gzip";

    my $late = come($where, $c);
    same(scalar @sizes, $late, $plain, "$where: large events in one go");

    add($c, phase => 'END');
    ends($_, "$where: large events") for $live, $late;
}


# --- comments, control events

{
    my $c = channel();
    my $client = come('alive', $c);

    for (1 .. 4) {
        ok $client->comment(20), "comment $_ comes as bytes of the text";
        add($c);
        add($c);
        my $n = () = $client->events(2, 20);
        is $n, 2, "events after comment $_ come";
    }

    my $plain = plain($c, 8);
    (my $text = $client->text) =~ s/^:\n//mg;
    is $text, $plain, 'comments between events: the rest is as without gzip';

    add($c, phase => 'END');
    ends($client, 'comments between events');
}

{
    my $c = channel();
    my @ids = map { add($c) } 1 .. 6;

    redis('XTRIM', stream_key($ORG, $c), 'MAXLEN', 3);

    my @clients = map { come($_, $c, $ids[0]) } 'gzip', 'off';
    my @texts = map {
        my $n = () = $_->events(4, 20);
        $_->text =~ s/"message_id":"[^"]*","control_type/"control_type/r;
    } @clients;

    like $texts[1], qr/history_lost/, 'lost history is told';
    is $texts[0], $texts[1], 'lost history is told in gzip as without';

    add($c, phase => 'END');
    ends($clients[0], 'lost history');
}


# --- events that are sent together

{
    my %forms;

    # on a busy machine, the events may not be decoded in one turn of the event
    # loop: they are not sent together then

    for (1 .. 5) {
        my $c = channel();
        my $client = come('long', $c);
        my $before = metrics($nginx, 'gateway');

        # all at once, so that the gateway reads them together
        redis('EVAL', "for _, data in ipairs(ARGV) do redis.call('XADD',"
                      . " KEYS[1], '*', 'data', data) end", 1,
              stream_key($ORG, $c),
              map { message(channel_id => $c, sequence => $_,
                            phase => $_ == 8 ? 'END' : 'DELTA',
                            payload => { value => "word $_" }) } 1 .. 8);

        my $n = () = $client->events(8, 20);
        is $n, 8, 'a bundle: all events come';
        ends($client, 'a bundle');

        my $now = metrics($nginx, 'gateway');

        %forms = map { /^gzip_frames_total/ ? ($_ => $now->{$_} - $before->{$_})
                                            : () } keys %$now;
        last if !$forms{'gzip_frames_total{form="chained"}'};
    }

    is_deeply \%forms, { 'gzip_frames_total{form="alone"}' => 1,
                         'gzip_frames_total{form="chained"}' => 0,
                         'gzip_frames_total{form="stored"}' => 0 },
        'a bundle is compressed as one piece';
}


{
    my $c = channel();
    my $client = come('long', $c);
    my @late;

    for my $round (1 .. 3) {
        add($c) for 1 .. 8;
        push @late, come('long', $c);

        # the first event after a silence comes alone, the rest as a bundle
        my $n = () = $client->events(8, 20);
        is $n, 8, "round $round: events sent together come";
        add($c, phase => 'ERROR');
        $client->event(20);
    }

    my $plain = plain($c, 27);
    is $client->text, $plain, 'events sent together are as without gzip';

    for (@late) {
        my $n = () = $_->events(27, 20);
        is $_->text, $plain,
            'a client that comes while events wait reads all of them';
    }

    add($c) for 1 .. 3;
    add($c, phase => 'END');
    ends($_, 'events sent together') for $client, @late;
}


# --- slow readers

{
    my $c = channel();
    my @socks = map {
        my $h2 = Conduit::H2->connect($h2_port, rcvbuf => 4096,
                                      window => 1000, update => 0);
        [$h2, $h2->get(path($_, $c), headers => ['accept-encoding', 'gzip'])];
    } 'gzip', 'slow';

    my $live = come('gzip', $c);

    for my $n (1 .. 60) {
        add($c, $n % 7 ? (size => 50 * $n) : (random => 9000));
        $live->event(20);
    }

    add($c, phase => 'END');
    ends($live, 'beside slow readers');

    for (@socks) {
        my ($h2, $stream) = @$_;

        # in small steps, so that frames end at any byte of the pieces

        for (1 .. 10) {
            my $n = 999 + length $stream->body;
            $h2->open_window(999, $stream->id);
            $stream->until(20, sub { length $stream->body >= $n });
        }

        $h2->open_window(10_000_000, $_) for 0, $stream->id;
        ok $stream->end(20), 'a slow reader of HTTP/2: the stream ends';
        ok $stream->intact, 'a slow reader of HTTP/2: checksum and length';
        is $stream->text, $live->text,
            'a slow reader of HTTP/2 reads the same as a fast one';
        $h2->close;
    }
}


# --- the memory of a window has the compressed forms, too

{
    my ($with, $without) = (channel(), channel());
    my $gzip = come('small', $with);
    my $plain = sse_open($nginx, path => path('small', $without));
    my %ids;

    for (1 .. 60) {
        push @{ $ids{$with} }, add($with);
        push @{ $ids{$without} }, add($without);
        $_->event(20) for $gzip, $plain;
    }

    for ([$without, 0, 'all'], [$with, 1, 'fewer']) {
        my ($c, $reads, $what) = @$_;
        my $before = gateway('catch_up_reads_total');
        my $client = come('small', $c, $ids{$c}[0]);
        my $n = () = $client->events(59, 20);

        is gateway('catch_up_reads_total') - $before, $reads,
            "a window of 16k: $what of the events are in memory";
        is $n, 59, "a window of 16k, of which $what is there: all events come";
    }
}


# --- other ends of a response

for my $where ('brief', 'told') {
    my $c = channel();
    add($c);
    my $client = come($where, $c);

    ends($client, "$where: a response that is ended early");
    like $client->text, $where eq 'told' ? qr/server_draining[^\n]*\n\n\z/
                                         : qr/\nretry: \d+\n\n\z/,
        "$where: its last line comes";
}


# --- NGINX's filters

{
    my $c = channel();
    add($c, size => 5000);
    add($c, phase => 'END');

    my $client = come('twice', $c);
    ends($client, 'beside "gzip on"');
    like $client->text, qr/PHASE_END/, '"gzip on" does not compress it again';
    is $client->headers->{'content-encoding'}, 'gzip',
        'beside "gzip on": one Content-Encoding';

    SKIP: {
        skip 'this NGINX has no gunzip filter', 3
            if $LOCATIONS{gunzip} eq '';

        # NGINX does not take a request through a proxy for one that may get
        # gzip: its filter decompresses

        my $plain = come('gunzip', $c, undef, Via => '1.1 proxy');
        ok $plain->end(20), '"gunzip on": the response ends cleanly';
        is $plain->headers->{'content-encoding'}, undef,
            '"gunzip on": there is no Content-Encoding';
        is $plain->body, $client->text,
            '"gunzip on": it reads the same';
    }
}


# --- variables

{
    my $c = channel();
    add($c);
    add($c);
    add($c, phase => 'END');

    my $client = come('gzip', $c);
    ends($client, 'a logged response');

    my $bytes = length $client->body;
    my $line = "/gzip/$ORG $bytes";
    my @lines;

    wait_for(20, sub {
        @lines = grep { /^\Q$line\E / }
                 split /\n/, read_file($nginx->root . '/logs/gzip.log');
    });

    like $lines[0] // '', qr/^\S+ $bytes \d+ gzip end 3$/,
        'the log: the compressed bytes, Content-Encoding, the events';
}


# --- a worker that leaves

{
    my $c = channel();
    my @clients = map { come('gzip', $c) } 1 .. 3;
    add($c);
    $_->event(20) for @clients;

    $nginx->reload;

    ends($_, 'a worker that leaves') for @clients;
    like $clients[0]->text, qr/\nretry: \d+\n\n\z/,
        'a worker that leaves says when to come back';
}

unlike $nginx->error_log, qr/exited on signal/, 'no worker crashes';

done_testing;
