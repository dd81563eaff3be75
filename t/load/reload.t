# Copyright (C) Conduit for NGINX authors
#
# Many reloads in a row while messages are published and clients reconnect: no
# client loses an event or gets one twice, no worker crashes, and nothing is
# leaked.

use strict;
use warnings;

use lib 't/lib', 't/load';

use Conduit;
use Load;
use Test::More;
use Time::HiRes qw(sleep time);

my $RELOADS = size(20, 1000);
my $CLIENTS = size(200, 500);
my $CHANNELS = 10;

# old workers at one time; growth
my $OLD = 10;
my $MOST_KB = 1024;

my $nginx = load_nginx(gateway => 'conduit_gateway_drain 100ms;');
my $master = $nginx->pid;
my @channels = (0 .. $CHANNELS - 1);

warm_up($nginx);

my $load = load($nginx, -n => $CLIENTS, -c => $CHANNELS, -r => 4000,
                -k => undef);

is $load->reaches('connected', $CLIENTS)->{connected}, $CLIENTS,
    "$CLIENTS clients are connected";

my $started = time;
my ($sequence, $slowest, $master_quarter, $worker_quarter) = (0, 0);

for my $n (1 .. $RELOADS) {
    my $from = time;

    $nginx->reload;
    $slowest = time - $from if time - $from > $slowest;

    $sequence++;
    publish_many(first => $sequence, last => $sequence,
                 channels => \@channels);

    wait_for(30, sub { $nginx->workers <= $OLD })
        or die "old workers stay:\n" . $nginx->error_log;

    if ($n == int($RELOADS / 4)) {
        $master_quarter = rss_kb($master);
        $worker_quarter = quiet_worker();
    }
}

my $took = time - $started;


# RSS of the worker when it is the only one and has all clients

sub quiet_worker {
    return wait_for(30, sub {
        my @workers = $nginx->workers;

        return @workers == 1 && $load->stat->{connected} == $CLIENTS
               && rss_kb($workers[0]);
    });
}


my $worker_end = quiet_worker();
my $master_end = rss_kb($master);

ok $worker_end, 'after all of them there is one worker, with all clients';
wait_for(20, sub { links() == 2 });
is links(), 2, 'after all of them one worker alone is connected to Redis';

$sequence++;
publish_many(first => $sequence, last => $sequence, channels => \@channels);

my $stat = $load->reaches('last_min', $sequence);

is_deeply { map { $_ => $stat->{$_} } qw(first_min first_max last_min last_max
            events gaps repeats history_lost refused) },
          { first_min => 1, first_max => 1, last_min => $sequence,
            last_max => $sequence, events => $CLIENTS * $sequence, gaps => 0,
            repeats => 0, history_lost => 0, refused => 0 },
          "each client has each of $sequence messages, once and in order";

is $stat->{broken}, 0, 'no response was cut off';
is $stat->{drained} + $stat->{turned}, $stat->{ended},
    "the $stat->{ended} that ended were told to reconnect, or turned away at"
    . ' once';
cmp_ok $stat->{turned}, '<=', $stat->{ended} / 10,
    'responses that were turned away by a worker that was leaving are few';
cmp_ok $stat->{ended}, '>=', $CLIENTS,
    'each client was told to reconnect at least once';

is $nginx->pid, $master, 'the master is the one that was started';
cmp_ok $master_end - $master_quarter, '<=', $MOST_KB,
    "the master takes $MOST_KB kB more at most than after a quarter of the "
    . "reloads";
cmp_ok $worker_end - $worker_quarter, '<=', $MOST_KB,
    "the last worker takes $MOST_KB kB more at most than after a quarter";

diag sprintf '%d reloads in %.1f s, %d ms the slowest, %d reconnects, %d'
     . ' turned away; master %d kB after a quarter, %d kB at the end;'
     . ' worker %d kB, %d kB',
     $RELOADS, $took, 1000 * $slowest, @$stat{qw(ended turned)},
     $master_quarter, $master_end, $worker_quarter, $worker_end;

$load->ends;
log_is_quiet($nginx, 'no alert, no signal, no error in the log');
is $nginx->stop, 0, 'NGINX quits';

done_testing();
