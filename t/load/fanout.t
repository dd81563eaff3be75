# Copyright (C) Conduit for NGINX authors
#
# What an event costs the worker, by the number of its subscribers.

use strict;
use warnings;

use lib 't/lib', 't/load';

use Conduit;
use Load;
use Test::More;

# subscribers and messages
my @SIZES = ([1, 2000], [100, 400], [size(1000, 10_000), 50]);

splice @SIZES, 2, 0, [1000, 100] if full();

my $PAYLOAD = { value => 'token ' x 20 };

my $nginx = load_nginx();
my ($worker) = $nginx->workers;
my $idle = warm_up($nginx);

for my $size (@SIZES) {
    my ($clients, $messages) = @$size;
    my $name = "$clients subscribers";

    redis('FLUSHALL');

    my $load = load($nginx, -n => $clients, -r => 4000);

    is $load->reaches('connected', $clients)->{connected}, $clients,
        "$name are connected";

    my $cpu = cpu_us($worker);
    my $reads = reads();

    # one message after the other, as they come: a batch would be cheaper

    for my $n (1 .. $messages) {
        publish_many(first => $n, last => $n, payload => $PAYLOAD);
        $load->reaches('events', $n * $clients) if $clients > 1;
    }

    my $stat = $load->reaches('events', $clients * $messages);

    $cpu = cpu_us($worker) - $cpu;
    $reads = reads() - $reads;

    is_deeply { map { $_ => $stat->{$_} } qw(events gaps repeats refused ended
                first_min first_max last_min last_max) },
              { events => $clients * $messages, gaps => 0, repeats => 0,
                refused => 0, ended => 0, first_min => 1, first_max => 1,
                last_min => $messages, last_max => $messages },
              "$name get $messages messages, each once and in order";

    diag sprintf '%s, %d messages of %d bytes: %.1f us of CPU an event, '
         . '%d reads of Redis; after %d, %d, %d ms (median, 99%%, longest)',
         $name, $messages, $stat->{bytes} / $stat->{events},
         $cpu / $stat->{events}, $reads, @$stat{qw(p50_ms p99_ms max_ms)};

    $load->ends;
    wait_for(30, sub { connections_of($worker) == $idle });
}

is_deeply [$nginx->workers], [$worker], 'the worker has not been replaced';
log_is_quiet($nginx, 'nothing is wrong in the log');

done_testing();
