# Copyright (C) Conduit for NGINX authors
#
# Many channels in one worker, one client on each, all idle most of the time:
# memory, the work without messages, and how long it takes until all are back
# after they, or Redis, were disconnected.  The clients use HTTP/2, a hundred on
# a connection, so that the limit of open files does not limit their number.
# They have no tokens.

use strict;
use warnings;

use lib 't/lib', 't/load';

use Conduit;
use IO::Poll qw(POLLIN);
use IO::Socket::INET;
use Load;
use Test::More;
use Time::HiRes qw(time);

my $CHANNELS = size(2000, 100_000);
my $ON_EACH = 100;

# bytes of a channel and its client, in the worker and in Redis
my $MOST = 12_288;
my $MOST_REDIS = 1024;

# the sweep reads each channel once in that time, but not more in a second
my $CYCLE = 20;
my $MOST_READS = 1000;

my $h2_port = free_port();
my $nginx = load_nginx(config => sub {
    my $text = shift;

    $text =~ s/(listen 127\.0\.0\.1:\d+ .*?;)/$1
        listen 127.0.0.1:$h2_port http2 backlog=4096;/
        or die 'no listen';
    return $text;
});
my ($worker) = $nginx->workers;

warm_up($nginx);

# by channel: the id of its last event, how many it had
my (@last_id, @events, @sockets, $answers, $strange);


# --- HTTP/2

sub frame {
    my ($type, $flags, $stream, $data) = @_;

    return pack('CnCCN', length($data) >> 16, length($data) & 0xffff, $type,
                $flags, $stream) . $data;
}


# a string of HPACK shorter than 127 bytes, not compressed

sub hpack { return chr(length $_[0]) . $_[0] }


sub field { return "\0" . hpack($_[0]) . hpack($_[1]) }


my $fixed = field(':method', 'GET') . field(':scheme', 'http')
            . field(':authority', 'localhost')
            . field('accept', 'text/event-stream');


sub request {
    my ($channel, $stream) = @_;

    my $id = $last_id[$channel];

    return frame(1, 0x5, $stream, $fixed . field(':path', load_path($channel))
                 . (defined $id ? field('last-event-id', $id) : ''));
}


# Connects a client for each channel; returns how long it took until all had a
# response.

sub connect_all {
    my $started = time;

    ($answers, $strange) = (0, 0);

    for (my $first = 0; $first < $CHANNELS; $first += $ON_EACH) {
        my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$h2_port")
            or die "connect: $!";
        my $n = @sockets;

        # wide windows: nothing waits for the client

        my $out = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            . frame(4, 0, 0, pack 'nN', 4, 0x3fffffff)
            . frame(8, 0, 0, pack 'N', 0x3fff0000)
            . join '', map { request($first + $_, 2 * $_ + 1) }
              0 .. $ON_EACH - 1;

        syswrite($s, $out) == length $out or die "write: $!";
        $s->blocking(0);
        push @sockets, { socket => $s, first => $first, in => '' };

        take(0) if $n % 10 == 9;
    }

    wait_for(120, sub { take(0.1); return $answers >= $CHANNELS });

    return time - $started;
}


sub disconnect_all {
    for my $c (@sockets) {
        $c->{socket}->close;
    }

    @sockets = ();
}


# Reads what has come, and waits for it if there is nothing.

my ($poll, %by_fd);

sub take {
    my $seconds = shift;

    if (keys %by_fd != @sockets) {
        $poll = IO::Poll->new;
        %by_fd = map { (fileno $_->{socket}, $_) } @sockets;
        $poll->mask($_->{socket}, POLLIN) for @sockets;
    }

    $poll->poll($seconds);

    for my $s ($poll->handles(POLLIN)) {
        my $c = $by_fd{fileno $s};

        sysread $s, $c->{in}, 262_144, length $c->{in}
            or die 'the server has closed a connection';
        frames($c);
    }
}


sub frames {
    my $c = shift;

    my $at = 0;

    while (length($c->{in}) - $at >= 9) {
        my ($high, $low, $type, $flags, $stream)
            = unpack 'CnCCN', substr $c->{in}, $at, 9;
        my $length = $high << 16 | $low;

        last if length($c->{in}) - $at < 9 + $length;

        my $data = substr $c->{in}, $at + 9, $length;
        $at += 9 + $length;

        # the first field of a header block: 0x88 is ":status: 200"

        if ($type == 1) {
            ord $data == 0x88 ? $answers++ : $strange++;

        } elsif ($type == 0) {
            data($c->{first} + ($stream - 1) / 2, $data);
            $strange++ if $flags & 1;

        } elsif ($type == 3 || $type == 7) {
            $strange++;
        }
    }

    substr $c->{in}, 0, $at, '';
}


# an event is in one frame, as it is small

sub data {
    my ($channel, $data) = @_;

    while ($data =~ /^id: (\S+)\ndata: (.*)\n/mg) {
        my ($id, $event) = ($1, $2);

        $last_id[$channel] = $id;
        $events[$channel]++;
        $strange++ if index($event, channel_name($channel)) == -1;
    }
}


# how many channels have had exactly so many events

sub have {
    my $n = shift;

    return scalar grep { ($_ // 0) == $n } @events[0 .. $CHANNELS - 1];
}


# --- what is used

sub redis_info {
    my ($section, $name) = @_;

    redis('INFO', $section) =~ /^$name:(\d+)/m or die "no $name";
    return $1;
}


my $redis = redis_info('server', 'process_id');


# the CPU time of the worker and of Redis that a piece of work takes, in ms

sub cpu_of {
    my $work = shift;

    my @before = map { cpu_us($_) } $worker, $redis;
    $work->();

    return map { (cpu_us($_->[0]) - $_->[1]) / 1000 }
           [$worker, $before[0]], [$redis, $before[1]];
}


# --- the channels

my @before = (pss_kb($worker), redis_info('memory', 'used_memory'));
my $took;
my @cpu = cpu_of(sub { $took = connect_all() });

is_deeply [$answers, $strange], [$CHANNELS, 0],
    "$CHANNELS clients on as many channels get a response";
diag sprintf '%d channels: connected in %.1f s; worker %.1f us of CPU time a '
     . 'client, Redis %.1f us', $CHANNELS, $took,
     map { $_ * 1000 / $CHANNELS } @cpu;

settled(sub { pss_kb($worker) });

my $each = (pss_kb($worker) - $before[0]) * 1024 / $CHANNELS;
my $each_redis = (redis_info('memory', 'used_memory') - $before[1])
                 / $CHANNELS;

diag sprintf 'a channel with a client: worker %.0f bytes, Redis %.0f bytes '
     . 'without messages', $each, $each_redis;
cmp_ok $each, '<=', $MOST, "a channel and its client take $MOST bytes at most";
cmp_ok $each_redis, '<=', $MOST_REDIS,
    "in Redis a channel without messages takes $MOST_REDIS bytes at most";


# --- an event on each

@cpu = cpu_of(sub {
    my $started = time;

    for (my $first = 0; $first < $CHANNELS; $first += 1000) {
        publish_many(first => 1, last => 1,
                     channels => [$first .. $first + 999]);
        take(0);
    }

    wait_for(120, sub { take(0.1); return have(1) == $CHANNELS });
    $took = time - $started;
});

is have(1), $CHANNELS, 'each client gets the event of its channel, once';
is $strange, 0, 'no client gets that of another channel, or is disconnected';
diag sprintf 'an event on each channel: %.1f s; worker %.1f us of CPU time an '
     . 'event, Redis %.1f us with its XADD', $took,
     map { $_ * 1000 / $CHANNELS } @cpu;

my $tracked = redis_info('stats', 'tracking_total_keys');
cmp_ok $tracked, '>=', $CHANNELS, 'Redis tracks each channel for the worker';
diag sprintf 'Redis tracks %d keys; %.0f bytes a channel with one message',
     $tracked, (redis_info('memory', 'used_memory') - $before[1]) / $CHANNELS;


# --- nothing but the sweep and the comments

my $seconds = size(3, 2 * $CYCLE);
my $reads = reads();

@cpu = cpu_of(sub {
    my $end = time + $seconds;
    take(0.1) while time < $end;
});

$reads = (reads() - $reads) / $seconds;

diag sprintf 'without messages: worker %.2f%% of a processor, Redis %.2f%%; '
     . '%.0f reads a second', (map { $_ / 10 / $seconds } @cpu), $reads;
my $due = $CHANNELS / $CYCLE;
$due = $MOST_READS if $due > $MOST_READS;
cmp_ok abs($reads - $due), '<=', 0.3 * $due + 10,
    'the sweep reads each channel in 20 s, or 1,000 channels a second';


# --- all disconnected: clients, then Redis

disconnect_all();
wait_for(60, sub { connections_of($worker) < 20 });

@cpu = cpu_of(sub { $took = connect_all() });

is_deeply [$answers, $strange], [$CHANNELS, 0],
    'after all have lost their connections, all get a response again';
is have(1), $CHANNELS, 'who comes back with its position gets no event twice';
diag sprintf 'all clients back: %.1f s; worker %.1f us of CPU time a client, '
     . 'Redis %.1f us', $took, map { $_ * 1000 / $CHANNELS } @cpu;

# a message that comes meanwhile is read when the connections are back

@cpu = cpu_of(sub {
    redis('CLIENT', 'KILL', 'TYPE', 'pubsub');
    publish_many(first => 2, last => 2, channels => [$CHANNELS - 1]);

    my $started = time;
    wait_for(120, sub {
        take(0.1);
        return ($events[$CHANNELS - 1] // 0) == 2;
    });
    $took = time - $started;

    settled(sub { reads() });
});

is $events[$CHANNELS - 1], 2,
    'after the connection for notifications was lost, events arrive';
is have(1), $CHANNELS - 1, 'after that no client gets an event twice';
diag sprintf 'connection for notifications back: an event after %.1f s; worker %.0f ms '
     . 'of CPU time, Redis %.0f ms', $took, @cpu;

is_deeply [$nginx->workers], [$worker], 'the worker is the same all the time';

done_testing();
