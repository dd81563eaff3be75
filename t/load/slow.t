# Copyright (C) Conduit for NGINX authors
#
# Readers that stall among others that do not: the others get all events at
# once, the worker keeps no more for a stalled one than its buffer, and when it
# reads again it goes on with what Redis still has.

use strict;
use warnings;

use lib 't/lib', 't/load';

use Conduit;
use Load;
use Test::More;

my $STALLED = size(200, 2000);
my $FAST = 20;
my $CLIENTS = $STALLED + $FAST;
my $PAYLOAD = { value => 'p' x 10_000 };
my $PROMPT_MS = 1000;
my $LONGEST_MS = 10_000;         # on a machine that stands still in between
my $BATCH = 50;

# what describes the bytes that are in flight, for each; and for all together
# the frames that they are at, and those that are being read
my $MOST_KB = $STALLED * 2 + 4 * 1024;

my $nginx;


# slow(name, messages, kept): Redis keeps the last of them when they read again.

sub slow {
    my ($name, $messages, $kept) = @_;

    redis('FLUSHALL');

    $nginx = load_nginx(listen => 'backlog=4096 sndbuf=16k',
                        gateway => 'conduit_gateway_buffer_size 16k;'
                                   . 'send_timeout 10m;');

    my $idle = warm_up($nginx);
    my ($worker) = $nginx->workers;

    my $load = load($nginx, -n => $CLIENTS, -z => $STALLED, -b => 16_384,
                    -r => 4000);
    my $one = sse_open($nginx, path => load_path(0));

    ok wait_for(30, sub { connections_of($worker) == $idle + $CLIENTS + 1 }),
        "$name: $STALLED readers that stall and $FAST others are connected";
    $load->reaches('connected', $FAST);

    my $before = rss_kb($worker);
    my $reads = reads();
    my $cpu = cpu_us($worker);

    # no faster than the others take it: what they wait for is the stalled ones

    my $stat;

    for (my $n = 0; $n < $messages; $n += $BATCH) {
        publish_many(first => $n + 1, last => $n + $BATCH,
                     payload => $PAYLOAD);
        $stat = $load->reaches('events', $FAST * ($n + $BATCH));
    }

    is_deeply [@$stat{qw(events gaps repeats)}], [$FAST * $messages, 0, 0],
        "$name: the others get all $messages messages, once and in order";
    cmp_ok $stat->{p50_ms}, '<', $PROMPT_MS,
        "$name: most within $PROMPT_MS ms after they were stored";
    cmp_ok $stat->{max_ms}, '<', $LONGEST_MS,
        "$name: none later than $LONGEST_MS ms";

    diag sprintf '%s: %d stalled, %.0f MB published; others after %d, %d, %d ms'
         . ' (median, 99%%, longest), worker %d MB and %d MB more, %d reads, '
         . '%.0f ms of CPU', $name, $STALLED, $messages * 10_000 / 1e6,
         @$stat{qw(p50_ms p99_ms max_ms)}, $before / 1024,
         (peak_kb($worker) - $before) / 1024, reads() - $reads,
         (cpu_us($worker) - $cpu) / 1000;

    cmp_ok peak_kb($worker) - $before, '<=', $MOST_KB,
        "$name: the worker takes $MOST_KB kB more at most";

    redis('XTRIM', stream_key(1, channel_name(0)), 'MAXLEN', $kept);

    my $lost = $kept < $messages ? 1 : 0;
    my $first = $messages - $kept + 1;

    # one of them in detail

    my @sequences;

    wait_for(60, sub {
        my $event = $one->event(10);
        push @sequences, $event->{json}{sequence}
                         // $event->{json}{control_type} if $event;
        return $event && $sequences[-1] eq $messages;
    });

    my @had = 1 .. ($lost ? (grep { $sequences[$_] eq 'history_lost' }
                             0 .. $#sequences)[0] // 0 : 0);

    is_deeply \@sequences, [@had, ('history_lost') x $lost,
                            $first .. $messages],
        "$name: one that reads again goes on with "
        . ($lost ? "what is left, and is told" : "what it missed");

    # all of them

    $reads = reads();
    $load->tell('m');
    $load->tell('r');
    $stat = $load->reaches('last_min', $messages, 100);

    is_deeply { map { $_ => $stat->{$_} } qw(first_min first_max last_min
                last_max gaps history_lost repeats ended) },
              { first_min => 1, first_max => 1, last_min => $messages,
                last_max => $messages, gaps => $lost * $STALLED,
                history_lost => $lost * $STALLED, repeats => 0, ended => 0 },
              "$name: so do all, to the last message";

    my $again = reads() - $reads;

    diag sprintf '%s: %d MB read again in %d ms, %d reads, worker %d MB more '
         . 'at the most', $name, $stat->{events} * 10_000 / 1e6,
         $stat->{since_mark_ms}, $again, (peak_kb($worker) - $before) / 1024;

    cmp_ok peak_kb($worker) - $before, '<=', $MOST_KB,
        "$name: the worker has not taken more for that";

    $one->close;
    $load->ends;

    is_deeply [$nginx->workers], [$worker], "$name: it is the same worker";
    log_is_quiet($nginx, "$name: nothing is wrong in the log");
    is $nginx->stop, 0, "$name: NGINX quits";
}


slow('all kept', size(300, 200), size(300, 200));
slow('trimmed', size(1200, 4000), 100);

done_testing();
