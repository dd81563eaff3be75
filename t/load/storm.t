# Copyright (C) Conduit for NGINX authors
#
# All clients lose their connections at once and come back together, each with
# the ID of its last event: they get what they missed, with few reads of Redis.

use strict;
use warnings;

use lib 't/lib', 't/load';

use Conduit;
use Load;
use Test::More;

my $CLIENTS = size(1000, 10_000);
my $MANY = size(100, 1000);

my $nginx = load_nginx();
my ($worker) = $nginx->workers;

my $idle = warm_up($nginx);


# storm(name, channels, watcher): with a watcher, a client that stays, the
# worker remembers the channel; without, it begins anew.

sub storm {
    my ($name, $channels, $watched) = @_;

    redis('FLUSHALL');

    my @channels = (0 .. $channels - 1);
    my $load = load($nginx, -n => $CLIENTS, -c => $channels, -r => 5000,
                    -e => 50);

    my $watcher = $watched ? sse_open($nginx, path => load_path(0)) : undef;

    is $load->reaches('connected', $CLIENTS)->{connected}, $CLIENTS,
        "$name: $CLIENTS clients are connected";

    publish_many(first => 1, last => 10, channels => \@channels);

    is $load->reaches('events', 10 * $CLIENTS)->{events}, 10 * $CLIENTS,
        "$name: they have 10 events";

    $load->tell('c');
    my $left = $idle + ($watched ? 1 : 0);

    ok wait_for(30, sub { connections_of($worker) == $left }),
        "$name: then their connections are lost";

    publish_many(first => 11, last => 60, channels => \@channels);

    my $reads = settled(sub { reads() });
    my $xreads = calls('xread');
    my $cpu = cpu_us($worker);

    $load->tell('g');
    my $stat = $load->reaches('complete', $CLIENTS);

    $cpu = cpu_us($worker) - $cpu;
    $reads = reads() - $reads;
    $xreads = calls('xread') - $xreads;

    is $stat->{complete}, $CLIENTS, "$name: all get the 50 that they missed";
    cmp_ok $xreads, '<=', 2 * $channels,
        "$name: from $xreads XREAD, 2 a channel at most";

    # the question about the cursor reads twice, XINFO and XRANGE, and its
    # answer places all who come with one position

    cmp_ok $reads, '<=', 4 * $channels,
        "$name: and $reads reads of Redis of any kind, 4 a channel at most";

    diag sprintf '%s: %d clients, %d channels: 50 events each after %d ms, '
         . '%d reads, %d of them XREAD, worker %.0f ms of CPU', $name,
         $CLIENTS, $channels, $stat->{since_mark_ms}, $reads, $xreads,
         $cpu / 1000;

    publish_many(first => 61, last => 61, channels => \@channels);
    $stat = $load->reaches('events', 51 * $CLIENTS);

    is $stat->{events}, 51 * $CLIENTS, "$name: and the next one";
    is_deeply { map { $_ => $stat->{$_} } qw(gaps repeats refused broken
                first_min first_max last_min last_max history_lost) },
              { gaps => 0, repeats => 0, refused => 0, broken => 0,
                first_min => 1, first_max => 1, last_min => 61, last_max => 61,
                history_lost => 0 },
              "$name: each event once, in order, 1 to 61";

    if ($watched) {
        is_deeply [map { $_->{json}{sequence} } $watcher->events(61)],
                  [1 .. 61], "$name: so does the client that stayed";
        $watcher->close;
    }

    $load->ends;

    ok wait_for(30, sub { connections_of($worker) == $idle }),
        "$name: nothing is left of them";
}


storm('one channel', 1, 0);
storm('one watched channel', 1, 1);
storm('many channels', $MANY, 0);

is_deeply [$nginx->workers], [$worker], 'the worker has not been replaced';
log_is_quiet($nginx, 'nothing is wrong in the log');

done_testing();
