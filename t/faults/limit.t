# Copyright (C) Conduit for NGINX authors
#
# A reply of Redis that is too large for the memory of a worker.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Metrics;
use Conduit::Proxy;
use Test::More;

# a reply of 64m takes its time on a slow machine
my $OPTIONS = 'conduit_gateway_auth off; conduit_gateway_timeout 300s;';
my $proxy = Conduit::Proxy->start($Conduit::REDIS_PORT);

my $nginx = nginx_start(server => pages() . gateway_location($OPTIONS)
    . (gateway_location("$OPTIONS conduit_gateway_window 1k;",
                        redis => $proxy->url)
       =~ s{/events/}{/proxy/}r));
my ($worker) = $nginx->workers;

my $LIMIT = 64 << 20;


sub lines {
    my $re = shift;

    return grep { /\[error\]/ && /$re/ }
           split /\n/, read_file($nginx->root . '/logs/error.log');
}

# what a worker had at most, in bytes
sub peak {
    return 1024 * (read_file("/proc/$worker/status") =~ /VmHWM:\s+(\d+)/)[0];
}


# --- entries that are too many for one reply

my $many = uuid();
my $message = message(channel_id => $many,
                      payload => { text => 'x' x (2 << 20) });

my @ids = map { redis('XADD', stream_key($ORG, $many), '*', 'data', $message) }
          1 .. 40;

sub curl {
    my $path = shift;

    open my $curl, '-|', 'curl', '-sN', '--max-time', 900,
        'http://127.0.0.1:' . $nginx->port . $path or die "curl: $!";

    return $curl;
}

# the IDs of the next n events
sub next_ids {
    my ($curl, $n) = @_;
    my @got;

    while (@got < $n && defined(my $line = <$curl>)) {
        push @got, $1 if $line =~ /^id: (\S+)/;
    }

    return \@got;
}

my $curl = curl(events_path(channel_id => $many));

is_deeply next_ids($curl, 40), \@ids,
    'entries of 80m in all are delivered by smaller replies';

# replies have their size again after some that were smaller, as their entries were
# larger

kill 'STOP', $worker;
stopped($worker) or die 'the worker does not stop';
redis('CONFIG', 'RESETSTAT');
@ids = map { xadd(channel_id => $many, sequence => $_) } 1 .. 90;
kill 'CONT', $worker;

is_deeply next_ids($curl, 90), \@ids, 'what follows is delivered';
like redis('INFO', 'commandstats'), qr/cmdstat_xread:calls=1?\d,/,
    'by replies of the usual size, after some of fewer entries';

@ids = xadd(channel_id => $many, phase => 'END');
is_deeply next_ids($curl, 2), \@ids, 'the response ends with END';
close $curl;
cmp_ok scalar(lines('a reply of more than 64m')), '>=', 1,
    'the reply that was too large is logged';


# --- one entry that is

my $huge = uuid();
my $other = sse_open($nginx);

ok $other->status == 200, 'another stream is open';

redis('XADD', stream_key($ORG, $huge), '*', 'data', 'y' x (96 << 20));

my $sse = sse_open($nginx, channel_id => $huge);
my $event = $sse->event(300);

is $event && $event->{event}, 'error',
    'a client that gets such an entry gets an error';
ok $sse->end(300), 'the response ends after the error';
is scalar(lines('an entry of "stream:\S+" is too large')), 1,
    'an entry that is too large is logged';

my $id = xadd(sequence => 1);
is $other->event(300)->{id}, $id, 'the stream of another channel goes on';

SKIP: {
    skip 'memory is not the worker\'s own here', 1
        if $ENV{CONDUIT_CHECKED} || $ENV{TEST_NGINX_USE_VALGRIND};

    cmp_ok peak(), '<', 5 * $LIMIT, 'the worker takes no more than it must';
}


# --- many entries after one that was large

# The question about the newest entries is sent while entries count as small; the
# reply before it has a large one, so that the next question asks for one entry.

my $grown = uuid();
my $key = stream_key($ORG, $grown);
my $path = events_path(channel_id => $grown) =~ s{/events/}{/proxy/}r;
my $logged = lines('a reply of more than 64m');

sub add {
    my $size = shift;

    return redis('XADD', $key, '*', 'data',
                 message(channel_id => $grown,
                         payload => { text => 'x' x $size }));
}

# how many questions about the stream there were
sub asked { return $proxy->stats->{$key}{n} }

@ids = map { add($_) } 300_000, 1, 1;

my $live = curl("$path&last_event_id=$ids[1]");

is_deeply next_ids($live, 1), [$ids[2]], 'a client gets the newest entry';

# another one wants the large one, too; the reply to that comes late

$proxy->tell('hold', $key, 1);

my $behind = curl($path);

ok wait_for(60, sub { $proxy->held == 1 }),
    'another client asks for older entries';

my $asked = asked();

kill 'STOP', $worker;
stopped($worker) or die 'the worker does not stop';
push @ids, map { add(2 << 20) } 1 .. 40;
kill 'CONT', $worker;

ok wait_for(60, sub { asked() > $asked }), 'what is new is asked for meanwhile';
$proxy->tell('release');

is_deeply next_ids($live, 40), [@ids[3 .. 42]],
    'entries that are many, not large, are delivered by smaller replies';
is_deeply next_ids($behind, 3), [@ids[0 .. 2]],
    'the other client gets its entries';
cmp_ok scalar(lines('a reply of more than 64m')), '>', $logged,
    'a reply was too large';
is scalar(lines("an entry of \"\Q$key\E\" is too large")), 0,
    'no entry counts as too large';
close $behind;


# --- the same for a client that reads older entries

# so many small entries at once that entries count as small again

sub fill {
    my $n = shift;

    kill 'STOP', $worker;
    stopped($worker) or die 'the worker does not stop';

    my @new = map { add(1) } 1 .. $n;

    push @ids, @new;
    kill 'CONT', $worker;

    is_deeply next_ids($live, $n), \@new, "$n small entries are delivered";
}

fill(90);
$logged = lines('a reply of more than 64m');
$proxy->tell('hold', $key, 1);
push @ids, add(300_000);

ok wait_for(60, sub { $proxy->held == 1 }), 'what is new is asked for';

$asked = asked();
$behind = curl($path);

ok wait_for(60, sub { asked() > $asked }),
    'all that is older is asked for meanwhile';
$proxy->tell('release');

is_deeply next_ids($behind, scalar @ids), \@ids,
    'older entries are delivered by smaller replies';
is_deeply next_ids($live, 1), [$ids[-1]], 'the other client goes on';
cmp_ok scalar(lines('a reply of more than 64m')), '>', $logged,
    'their first reply was too large';
is scalar(lines("an entry of \"\Q$key\E\" is too large")), 0,
    'no older entry counts as too large';
close $behind;

fill(90);

my $reads = metrics($nginx, 'gateway')->{catch_up_reads_total};

$behind = curl("$path&last_event_id=$ids[-91]");

is_deeply next_ids($behind, 90), [@ids[-90 .. -1]],
    'a client reads 90 small entries again';
is metrics($nginx, 'gateway')->{catch_up_reads_total}, $reads + 1,
    'by one reply of the usual size';

close $_ for $live, $behind;

is_deeply [$nginx->workers], [$worker], 'the worker lives';
redis('DEL', stream_key($ORG, $_)) for $many, $huge, $grown;

done_testing;
