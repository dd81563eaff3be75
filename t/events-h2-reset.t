# Copyright (C) Conduit for NGINX authors
#
# HTTP/2 streams that are reset, and connections that are closed, in the middle
# of a frame.
#
# Data that a client has not read yet stays in the worker: behind a closed
# window, or in a frame of which TCP took only the first part.  NGINX goes on to
# send that frame after it has cleaned up the request.  If a worker frees such
# data too early, the client gets overwritten bytes (freed memory is overwritten
# here), or a build with a sanitizer stops.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::H2;
use Test::More;
use Time::HiRes qw(sleep);

my $ROUNDS = $ENV{TEST_NGINX_USE_VALGRIND} ? 2 : 8;
my $HELLO = "retry: 500\n\n";

# glibc fills what is freed with it
$ENV{MALLOC_PERTURB_} = 85;

my $debug = `$ENV{TEST_NGINX_BINARY} -V 2>&1` =~ /--with-debug/;
my $h2 = nginx_version() >= 1025001 ? 0 : 1;
my ($plain, $tls) = (free_port(), free_port());

system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
       . " -keyout $Conduit::TMP/tls.key -out $Conduit::TMP/tls.crt"
       . " 2>/dev/null") == 0 or die 'openssl failed';

# small buffers of the system and of a channel, so that frames are written in
# parts, and the worker alone does not keep the frames that are behind
my $location = gateway_location('conduit_gateway_window 1k;');

my $nginx = nginx_start(server => $location, http => join "\n",
    $h2 ? () : 'http2 on;',
    map { my ($port, $ssl) = @$_; <<"EOC" } [$plain, ''], [$tls, ' ssl']);
    server {
        listen 127.0.0.1:$port$ssl sndbuf=8k@{[$h2 ? ' http2' : '']};
        ssl_certificate $Conduit::TMP/tls.crt;
        ssl_certificate_key $Conduit::TMP/tls.key;
        send_timeout 60s;
$location
    }
EOC

my ($worker) = $nginx->workers;

open my $log, '<', $nginx->root . '/logs/error.log' or die "error.log: $!";

# a response whose events are not looked at, which takes time
package Bytes {
    our @ISA = 'Conduit::SSE';

    sub parse_events {}
}


# what a pattern catches in the debug log since it was asked last
sub logged {
    my $pattern = shift;

    my @found;

    seek $log, 0, 1;

    while (<$log>) {
        push @found, $1 if /$pattern/;
    }

    return @found;
}

# waits for what shows in the debug log alone; returns it
sub wait_logged {
    my ($n, $pattern) = @_;

    if (!$debug) {
        sleep 0.3;
        return (1) x $n;
    }

    my @seen;

    wait_for(20, sub { push @seen, logged($pattern); @seen >= $n });

    return @seen;
}

# Waits until TCP takes no more; returns the stream of the half-written frame.
# The buffer of TLS takes frames as a whole now and then.
sub wait_full {
    my $tls = shift;

    my $partial = 'http2:(\d+) DATA frame \S+ was sent partially';
    my @ids = wait_logged(1, $tls ? "$partial|SSL_get_error: (3)" : $partial);

    return if !@ids;
    return (grep { defined } reverse @ids)[0] // 1;
}

# adds large events to channels; no two are alike
my $sequence = 0;

sub add {
    my ($n, @channels) = @_;

    for my $channel (@channels) {
        for (1 .. $n) {
            my $text = sprintf '%07d ', ++$sequence;
            xadd(channel_id => $channel, sequence => $sequence,
                 payload => { value => $text x 1500 });
        }
    }
}

# the path of a channel's events; a token takes time to sign
my %paths;

sub path { $paths{$_[0]} //= events_path(channel_id => $_[0]) }

sub add_end { xadd(channel_id => $_[0], phase => 'END') }

# all bytes of a channel's events, as a client of HTTP/1.1 gets them
sub reference {
    my ($channel, $n) = @_;

    my $sse = Bytes->open($nginx->port, 'GET', path($channel));
    $sse->until(20, sub { events_of($sse) >= $n });
    $sse->close;

    return $sse->body;
}

sub events_of {
    my $n = () = $_[0]->body =~ /\n\n/g;

    return $n - 1;                          # without the "retry:"
}

# Opens streams on a connection, in turn of two channels, and waits until all of
# them have begun.
sub open_streams {
    my ($client, $n, @channels) = @_;

    my @streams = map {
        my $s = $client->get(path($_));
        $s->{channel} = $_;
        $s;
    } map { $channels[$_ % @channels] } 0 .. $n - 1;

    $client->until(30, sub {
        !grep { length $_->body < length $HELLO } @streams
    }) or die 'the streams did not begin';

    return @streams;
}

# every second pair of a list, so that both channels are in each part
sub halves {
    my @all = @_;

    return ([@all[grep { !($_ & 2) } 0 .. $#all]],
            [@all[grep { $_ & 2 } 0 .. $#all]]);
}

sub reset_all {
    my ($client, @streams) = @_;

    my $pongs = $client->pongs;

    $_->reset for @streams;
    $client->ping;
    return $pongs + 1;
}

# whether streams have exactly the bytes of their channel
sub intact {
    my ($reference, @streams) = @_;

    return !grep { $_->body ne $reference->{$_->{channel}} } @streams;
}

sub beginnings {
    my ($reference, @streams) = @_;

    return !grep { index($reference->{$_->{channel}}, $_->body) != 0 } @streams;
}

sub drop_channels { redis('DEL', map { stream_key(undef, $_) } @_) }

# resident memory of the worker, in KB
sub memory {
    return read_file("/proc/$worker/status") =~ /^VmRSS:\s+(\d+)/m ? $1 : die;
}


# --- a frame of which TCP has taken a part

# A round: eight streams fall behind, and some are reset, the one of the frame
# first of all: nobody else has its events.  Of the others one reaches its END,
# the rest goes on.  Then the connection is dropped with half a frame, by a FIN
# or by a RST.

sub half_written {
    my ($round, %o) = @_;

    my @channels = map { uuid() } 1 .. 7;
    my $client = Conduit::H2->connect($o{port}, tls => $o{tls},
        parse => 0, update => 0, rcvbuf => 4096,
        window => 1 << 24, connection_window => 1 << 26);
    my @streams = open_streams($client, 8, @channels[0 .. 6, 6]);
    my %fault;

    logged('');
    add(4, @channels);

    my $half = wait_full($o{tls});
    $fault{'no frame is half-written'} = 1 if !$half;

    my ($gone, $rest) = ([], []);
    push @{ $_->id == ($half // 1) || ($_->id + $round) % 3 == 0
            ? $gone : $rest }, $_ for @streams;

    reset_all($client, @$gone);
    $fault{'a reset is not seen'} = 1
        if wait_logged(scalar @$gone, '(http2 RST_STREAM frame, sid:)')
           < @$gone;

    add(4, @channels);
    add_end($rest->[0]{channel});

    my %reference = map {
        $_ => reference($_, $_ eq $rest->[0]{channel} ? 9 : 8)
    } @channels;

    $client->until(20, sub {
        !grep { length $_->body < length $reference{$_->{channel}} } @$rest
    });

    $fault{'other streams are not intact'} = 1 if !intact(\%reference, @$rest);
    $fault{'a reset stream has other bytes than its events'} = 1
        if !beginnings(\%reference, @$gone);
    $fault{'a stream does not end after END'} = 1 if !$rest->[0]->end(20);

    # streams go on where others were reset

    my $one = $rest->[1];
    my $body = length $one->body;

    logged('');
    add(8, $one->{channel});
    $client->until(30, sub { length $one->body > $body });
    $fault{'a stream does not go on'} = 1 if length $one->body <= $body;

    wait_full($o{tls});
    $client->say_goaway if $round % 4 == 3;
    $client->close($round % 2);
    add(2, $one->{channel});

    drop_channels(@channels);

    return keys %fault;
}


# --- a window that closes in the middle of a frame

# A round: all streams stop after as many bytes as their window has.  Half are
# reset; the others get their bytes in small portions, then all.

sub closed_windows {
    my ($round, %o) = @_;

    my @channels = (uuid(), uuid());
    my $window = 1000 + 777 * $round;
    my $client = Conduit::H2->connect($o{port}, tls => $o{tls},
        parse => 0, update => 0,
        window => $window, connection_window => 1 << 26);
    my @streams = open_streams($client, 12, @channels);
    my ($gone, $rest) = halves(@streams);
    my %fault;

    my $have = sub {
        my ($bytes, @of) = @_;

        return $client->until(20, sub {
            !grep { length $_->body < $bytes } @of
        });
    };

    add(3, @channels);
    $fault{'a stream does not get what its window allows'} = 1
        if !$have->($window, @streams);

    $client->open_window(37, $_->id) for @streams;
    $have->($window + 37, @streams);

    my $pong = reset_all($client, @$gone);
    $client->until(30, sub { $client->pongs >= $pong });

    add(3, @channels);
    my %reference = map { $_ => reference($_, 6) } @channels;

    $fault{'a window is not kept'} = 1
        if grep { length $_->body != $window + 37 } @streams;

    $client->open_window(37, $_->id) for @$rest;
    $have->($window + 74, @$rest);
    $client->open_window(1 << 20, $_->id) for @$rest;
    $have->(length $reference{$channels[0]}, @$rest);

    $fault{'other streams are not intact'} = 1 if !intact(\%reference, @$rest);
    $fault{'a reset stream has other bytes than its events'} = 1
        if !beginnings(\%reference, @$gone)
           || grep { length $_->body != $window + 37 } @$gone;

    $client->close($round % 2);
    drop_channels(@channels);

    return keys %fault;
}


# --- the window of the connection

# A round: the streams share the 65535 bytes of a connection.  When they are
# used up, half of the streams are reset.

sub closed_connection {
    my ($round, %o) = @_;

    my @channels = (uuid(), uuid());
    my $client = Conduit::H2->connect($o{port}, tls => $o{tls},
        parse => 0, update => 0, window => 1 << 24);
    my @streams = open_streams($client, 8, @channels);
    my ($gone, $rest) = halves(@streams);
    my %fault;

    my $bytes = sub {
        my $sum = 0;
        $sum += length $_->body for @streams;
        return $sum;
    };

    add(3, @channels);
    $fault{'the window of the connection is not used up'} = 1
        if !$client->until(20, sub { $bytes->() == 65535 });

    my $pong = reset_all($client, @$gone);
    $client->until(30, sub { $client->pongs >= $pong });

    add(3, @channels);
    my %reference = map { $_ => reference($_, 6) } @channels;

    $fault{'the window of the connection is not kept'} = 1
        if $bytes->() != 65535;

    $client->open_window(1 << 26);
    $client->until(20, sub {
        !grep { length $_->body < length $reference{$_->{channel}} } @$rest
    });

    $fault{'other streams are not intact'} = 1 if !intact(\%reference, @$rest);
    $fault{'a reset stream has other bytes than its events'} = 1
        if !beginnings(\%reference, @$gone);

    $client->close($round % 2);
    drop_channels(@channels);

    return keys %fault;
}


# --- rounds

my @cases = (
    [\&half_written, 'reset with half a frame written, the others are intact'],
    [\&closed_windows, 'reset with a closed window, the others are intact'],
    [\&closed_connection,
     'reset with the connection\'s window closed, the others are intact'],
);

sub rounds {
    my $rounds = shift;

    my %faults;

    for my $case (0 .. $#cases) {
        for my $round (0 .. $rounds - 1) {
            for my $port ($plain, $tls) {
                my @faults = $cases[$case][0]->(
                    $round, port => $port, tls => $port == $tls);
                $faults{$case}{$port}{$_}++ for @faults;
            }
        }
    }

    return \%faults;
}

rounds(2);                                  # as much memory as it takes
my $before = memory();

my $faults = rounds($ROUNDS);

for my $port ($plain, $tls) {
    for my $case (0 .. $#cases) {
        is_deeply $faults->{$case}{$port} // {}, {},
            ($port == $tls ? 'TLS: ' : 'plain: ') . $cases[$case][1];
    }
}

SKIP: {
    skip 'memory of a build with a checker', 1
        if $ENV{TEST_NGINX_USE_VALGRIND}
           || read_file("/proc/$worker/maps") =~ /lib[a-z]san/;

    cmp_ok memory() - $before, '<', 1024, 'the worker\'s memory stays as it is';
}


# --- thousands of resets

# NGINX lets a connection open only so many at a time, hence the PINGs.

my $client = Conduit::H2->connect($plain, parse => 0);
my ($stays) = open_streams($client, 1, $CHANNEL);

for my $round (1 .. 20) {
    my @streams = map { $client->get(path($CHANNEL)) } 1 .. 40;

    add(1, $CHANNEL) if $round % 4 == 0;

    my $pong = reset_all($client, @streams);
    $client->until(30, sub { $client->pongs >= $pong }) or last;
}

is $client->pongs, 20,
    'a connection lives through 800 streams that are reset at once';

add(1, $CHANNEL);
$client->until(30, sub { events_of($stays) >= 6 });
ok $stays->body eq reference($CHANNEL, 6),
    'a stream beside those that are reset gets its events';

$client->close;

is_deeply [$nginx->workers], [$worker], 'resets leave the worker running';
is $nginx->stop('QUIT', 30), 0, 'the worker quits after all resets';

done_testing();
