# Copyright (C) Conduit for NGINX authors
#
# Many short channels in a row, each with a few messages and a client that reads
# up to END: nothing is left of them, neither in the worker nor in Redis.

use strict;
use warnings;

use lib 't/lib', 't/load';

use Conduit;
use IO::Socket::INET;
use Load;
use Test::More;
use Time::HiRes qw(time);

my $CHANNELS = size(2000, 100_000);

# clients at one time, connections of publishers
my $CLIENTS = 100;
my $PUBLISHERS = 4;

my $MOST_KB = 512;

my $ANSWER = qr/\AHTTP.{4} (\d+) .*?^Content-Length: (\d+).*?\r\n\r\n/ms;

my $nginx = load_nginx(server =>
    publish_location('conduit_publish_end_ttl 10s;')
    . gateway_location('conduit_gateway_auth off;'));
my ($worker) = $nginx->workers;

warm_up($nginx);

my $authorization = 'Authorization: Bearer '
                    . publish_token(exp => int(time) + 3600);
my @publishers = map {
    IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $nginx->port)
        or die "connect: $!"
} 1 .. $PUBLISHERS;

# the parts of a message are the same for all channels but the channel's name
my @messages = map {
    message(channel_id => channel_name(0), phase => $_->[0],
            sequence => $_->[1], payload => { value => 'p' x 100 })
} ['START', 1], ['DELTA', 2], ['END', 3];


sub requests {
    my $name = channel_name(shift);

    return join '', map {
        my $body = $_;
        substr $body, 2, 36, $name;
        join "\r\n", "POST /publish/1/$name HTTP/1.1", 'Host: localhost',
            $authorization, 'Content-Type: application/x-protobuf',
            'Content-Length: ' . length $body, '', $body;
    } @messages;
}


# Publishes channels from first to last; returns how many answers were a 200.

sub publish_channels {
    my ($first, $last) = @_;

    my @of = map { [] } @publishers;
    push @{ $of[$_ % $PUBLISHERS] }, $_ for $first .. $last;

    for my $i (0 .. $#publishers) {
        $publishers[$i]->print(map { requests($_) } @{ $of[$i] });
        $publishers[$i]->flush;
    }

    my $good = 0;

    for my $i (0 .. $#publishers) {
        my $expected = @messages * @{ $of[$i] };
        my ($in, $answers) = ('', 0);

        while ($answers < $expected) {
            sysread $publishers[$i], $in, 65536, length $in
                or die 'no answer';

            while ($in =~ $ANSWER
                   && length $in >= $+[0] + $2)
            {
                $good++ if $1 == 200;
                $answers++;
                substr $in, 0, $+[0] + $2, '';
            }
        }
    }

    return $good;
}


# what Redis has allocated, when it has let go what it lets go

sub redis_kb {
    settled(sub { redis('DBSIZE') });
    redis('INFO', 'memory') =~ /^used_memory:(\d+)/m;

    return int($1 / 1024);
}


my $load = load($nginx, -n => $CLIENTS, -w => $CHANNELS, -r => 4000);
my $redis_before = redis_kb();
my $started = time;
my ($published, $good, $quarter, $middle) = (0, 0);
my $stat;

# a client has a channel before it is published: those that are over and one
# for each client

wait_for(170, sub {
    $stat = $load->stat;

    if (!$quarter && $stat->{finished} >= $CHANNELS / 4) {
        $quarter = rss_kb($worker);
    }

    my $last = $stat->{finished} + $CLIENTS;
    $last = $CHANNELS if $last > $CHANNELS;

    if ($published < $last) {
        $good += publish_channels($published, $last - 1);
        $published = $last;
    }

    return $stat->{finished} >= $CHANNELS;
});

my $took = time - $started;
my $end = rss_kb($worker);

is $good, 3 * $CHANNELS, "every message of $CHANNELS channels is published";
is_deeply { map { $_ => $stat->{$_} } qw(finished events gaps repeats refused
            broken) },
          { finished => $CHANNELS, events => 3 * $CHANNELS, gaps => 0,
            repeats => 0, refused => 0, broken => 0 },
          'every client reads from START to END, and the response ends';

cmp_ok $end - $quarter, '<=', $MOST_KB,
    "after all of them the worker has $MOST_KB kB more at most than after a"
    . ' quarter';

$load->ends;

ok wait_for(60, sub { redis('DBSIZE') == 0 }), 'Redis forgets the channels';

my $redis_after = redis_kb();
cmp_ok $redis_after - $redis_before, '<=', $MOST_KB,
    "after all of them Redis has $MOST_KB kB more at most than before";

my ($tracked) = redis('INFO', 'stats') =~ /^tracking_total_keys:(\d+)/m;
is $tracked, 0, 'after all of them Redis tracks no key for the gateway';

diag sprintf '%d channels in %.1f s: worker %d kB after a quarter, %d kB at '
     . 'the end; Redis %d kB before, %d kB after', $CHANNELS, $took, $quarter,
     $end, $redis_before, $redis_after;

is_deeply [$nginx->workers], [$worker], 'the worker is the same all the time';
log_is_quiet($nginx, 'nothing is wrong in the log');

done_testing();
