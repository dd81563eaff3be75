# Coalescing: the events of a channel that come one soon after the other go out
# together, and nothing waits that must not.
#
# How many writes there were is counted by the gateway, and seen by the client
# in what its system counts of segments.  Nothing is measured by a clock but what
# is late by much.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Metrics;
use Socket qw(IPPROTO_TCP);
use Test::More;
use Time::HiRes qw(sleep time);

# seconds of a channel whose events wait so long that no machine is as slow
my $LONG = 1;

my %LOCATIONS = (
    off => '',
    long => 'conduit_gateway_coalesce 1s;',
    short => 'conduit_gateway_coalesce 100ms;',
    tiny => 'conduit_gateway_coalesce 1s; conduit_gateway_window 16k;',
    alive => 'conduit_gateway_coalesce 1s; conduit_gateway_keepalive 100ms;',
    brief => 'conduit_gateway_coalesce 1s; conduit_gateway_max_duration 3s;',
    slow => 'conduit_gateway_coalesce 100ms; conduit_gateway_buffer_size 8k;',
);

my $locations = pages() . join '', map {
    my $name = $_;
    gateway_location("conduit_gateway_auth off; $LOCATIONS{$name}")
        =~ s{/events/}{/$name/}r
} sort keys %LOCATIONS;

my $nginx = nginx_start(server => $locations, http => 'gzip off;');
my ($worker) = $nginx->workers;
my $channels = 0;


# --- helpers

sub channel { return sprintf '%08x-0000-4000-8000-00000000c0a1', ++$channels }

sub come {
    my ($where, $channel, %o) = @_;

    return sse_open($nginx, path => "/$where/$ORG?channel_id=$channel", %o);
}

# adds messages of these numbers, one after the other
sub add {
    my ($channel, $first, $last, %o) = @_;

    for my $n ($first .. $last) {
        xadd(channel_id => $channel, sequence => $n,
             phase => $o{phase} // 'DELTA',
             payload => { value => 'x' x ($o{size} // 20) });
        sleep $o{pause} if $o{pause};
    }
}

# the numbers of the next n events; what is no message by its kind
sub got {
    my ($client, $n, $seconds) = @_;

    return join ' ', map { $_->{json}{sequence} // $_->{json}{control_type} }
                     $client->events($n, $seconds // 20);
}

# whether a client has not got anything that it did not take
sub nothing {
    my $client = shift;

    $client->until(0.05, sub { 0 });
    return @{ $client->{events} } == $client->{taken};
}

sub writes { return metrics($nginx, 'gateway')->{writes_total} }

# segments with data that a client has got: tcpi_data_segs_in
sub segments {
    my $client = shift;

    my $info = getsockopt $client->socket, IPPROTO_TCP, 11 or return 0;
    return length $info >= 156 ? unpack 'x152 L', $info : 0;
}

sub since { return sprintf '%.2f s', time - shift }


# --- off

{
    my $c = channel();
    my $client = come('off', $c);
    my $before = writes();

    for my $n (1 .. 10) {
        add($c, $n, $n);
        is got($client, 1), $n, "off: event $n comes alone";
    }

    is writes() - $before, 10, 'with a write each';
    $client->close;
}


# --- the events of a second

for my $where ('long', 'short') {
    my $c = channel();
    my @clients = map { come($where, $c) } 1 .. 3;
    my ($before, $from) = (writes(), time);
    my $segments = segments($clients[0]);

    # 30 events in 1.5 s at the least, each within the time after the one before

    my $pause = $where eq 'long' ? 0.05 : 0.02;
    my $n = 30;

    add($c, 1, $n, pause => $pause);
    my $took = time - $from;

    is got($_, $n), join(' ', 1 .. $n), "$where: all come, in order"
        for @clients;

    my $time = $where eq 'long' ? 1 : 0.1;
    my $writes = (writes() - $before) / @clients;

    diag "$where: $n events, $writes writes a client, in " . since($from);

    # the first one, then one for each time that began; a pause of the machine
    # of more than the time makes a silence, and an event that is written alone

    cmp_ok $writes, '<=', 2 + 2 * $took / $time, "$where: a write a time";
    cmp_ok $writes, '<', $n, "$where: fewer than events";

    # what is held is held no longer than the time: so many writes there are

    cmp_ok $writes, '>=', 2, "$where: one at once, the others afterwards";

    if ($segments) {
        cmp_ok segments($clients[0]) - $segments, '<=', $writes,
            "$where: a write is one segment";
    }

    $_->close for @clients;
}


# --- what goes at once

# The gateway's own order tells: the first event is there while another one, that
# came after it, is not.

{
    my $c = channel();
    my $client = come('long', $c);

    add($c, 1, 1);
    is got($client, 1), '1', 'the first event goes at once';

    my $from = time;
    add($c, 2, 4);
    my $held = nothing($client);
    ok $held || time - $from > $LONG, 'those that follow soon wait';

    add($c, 5, 5, phase => 'START');
    is got($client, 4), '2 3 4 5', 'START takes them along';
    cmp_ok time - $from, '<', $LONG, 'before their time is over'
        if $held && time - $from < 20;

    add($c, 6, 7);
    is got($client, 2), '6 7', 'others come when it is';

    sleep $LONG * 1.2;
    $from = time;
    add($c, 8, 8);
    is got($client, 1), '8', 'one after a silence goes at once';
    my $silence = time - $from;
    cmp_ok $silence, '<', $LONG, 'not after the time';

    $from = time;
    add($c, 9, 10);
    add($c, 11, 11, phase => 'ERROR');
    is got($client, 3), '9 10 11', 'what is neither START nor delta nor END';
    cmp_ok time - $from, '<', $LONG, 'does not wait either';

    my $before = writes();
    $from = time;
    add($c, 12, 14);
    add($c, 15, 15, phase => 'END');
    is got($client, 4), '12 13 14 15', 'END comes with what waits for it';
    ok $client->end, 'and ends the response';
    cmp_ok time - $from, '<', $LONG, 'END is not held back';
    cmp_ok writes() - $before, '<=', 2, 'in one write with them';
}


# END is not held back by a full second, whatever came before: many channels,
# each with a delta a moment ago

{
    my @channels = map { channel() } 1 .. 20;
    my @clients = map { come('long', $_) } @channels;

    add($_, 1, 1) for @channels;
    is got($_, 1), '1', 'a first one' for @clients;

    my ($late, $from);

    for my $i (0 .. $#channels) {
        $from = time;
        add($channels[$i], 2, 3);
        add($channels[$i], 4, 4, phase => 'END');
        $clients[$i]->end;
        $late++ if time - $from >= $LONG;
    }

    is $late // 0, 0, 'no END of 20 was late by the time';
    is got($_, 3), '2 3 4', 'and what came before it is there' for @clients;
}


# --- positions that are not at the end

{
    my $c = channel();
    my $first = come('long', $c);

    add($c, 1, 1);
    is got($first, 1), '1', 'a client has one';
    my $from = time;
    add($c, 2, 5);
    my $held = nothing($first);

    my $second = come('long', $c);
    is got($second, 5), '1 2 3 4 5', 'one that comes has all there is at once';
    cmp_ok time - $from, '<', $LONG, 'no later' if $held;

    is got($first, 4), '2 3 4 5', 'the other one when the time is over';

    add($c, 6, 7);
    is got($_, 2), '6 7', 'then they are together' for $first, $second;
    $_->close for $first, $second;
}


# --- a window that is small

{
    my $c = channel();
    my $client = come('tiny', $c);

    add($c, 1, 1);
    is got($client, 1), '1', 'a small window: the first';

    # 50 kB in all: less than the window may have while somebody is to be sent
    # it, however many of them a read has

    my $reads = metrics($nginx, 'gateway')->{catch_up_reads_total};

    add($c, 2, 200, size => 100);
    is got($client, 199), join(' ', 2 .. 200), 'none is lost of many';
    is metrics($nginx, 'gateway')->{catch_up_reads_total}, $reads,
        'nor read from Redis a second time: what waits fits into the window';
    $client->close;
}


# --- the stream is cut, trimmed, deleted

{
    my $c = channel();
    my $client = come('long', $c);

    add($c, 1, 1);
    is got($client, 1), '1', 'a stream that will be gone';
    my $frames = metrics($nginx, 'gateway')->{frames_total};

    add($c, 2, 3);
    ok wait_for(20, sub {
        metrics($nginx, 'gateway')->{frames_total} == $frames + 2
    }), 'the worker has read two more';

    redis('DEL', stream_key($ORG, $c));
    xadd(channel_id => $c, sequence => 9, phase => 'DELTA', payload => {},
         id => '1-0');

    my @got = split ' ', got($client, 5, 5);
    is_deeply [grep { $_ ne 'history_lost' } @got], [2, 3, 9],
        'what waited comes before what is of the next life';
    $client->close;
}


# --- keepalive

{
    my $c = channel();
    my $client = come('alive', $c);

    add($c, 1, 1);
    is got($client, 1), '1', 'a channel with keepalives';

    my $from = time;
    add($c, 2, 2);
    ok $client->comment(20), 'a comment comes';
    my $comments = $client->{events};
    ok @$comments == 1 || time - $from > $LONG,
        'and does not wait for the event that is held back';
    is got($client, 1), '2', 'which comes, too';
    $client->close;
}


# --- the end of a response

{
    my $c = channel();
    my $client = come('brief', $c);
    my $n = 0;

    # it ends somewhere between 2.25 and 3.75 s, within a time of coalescing

    until ($client->{ended} || $n == 400) {
        $n++;
        add($c, $n, $n);
        $client->until(0.02, sub { $client->{ended} });
    }

    ok $client->{ended}, "a response ends by its time, of $n events";

    my $last = $client->{events}[-1]{json}{sequence};
    my $id = $client->{events}[-1]{id};

    # one more may have been added since

    cmp_ok $n - $last, '<=', 2, 'and has what waited, up to the end';
    is got($client, $last), join(' ', 1 .. $last), 'all of it in order';

    my $again = come('off', $c, headers => { 'Last-Event-ID' => $id });
    add($c, $n + 1, $n + 1, phase => 'END');
    is got($again, $n + 1 - $last), join(' ', $last + 1 .. $n + 1),
        'one that comes back has the others';
}


# --- two locations of one channel

{
    my $c = channel();
    my $off = come('off', $c);
    my $long = come('long', $c);

    add($c, 1, 1);
    is got($_, 1), '1', 'two locations: both have the first'
        for $off, $long;

    my $from = time;
    add($c, 2, 4);
    is got($off, 3), '2 3 4', 'without coalescing the others come at once';
    ok nothing($long) || time - $from > $LONG, 'with it they wait';
    is got($long, 3), '2 3 4', 'and come';
    $_->close for $off, $long;
}


# --- a slow reader

{
    my $c = channel();
    my $slow = come('slow', $c, rcvbuf => 4096);
    my $other = come('slow', $c);
    my $n = 400;

    add($c, 1, $n, size => 5000);
    is got($other, $n), join(' ', 1 .. $n), 'one that reads has all';
    add($c, $n + 1, $n + 1, phase => 'END');
    ok $other->end, 'and the end';
    is got($slow, $n + 1), join(' ', 1 .. $n + 1),
        'so has a slow one, when it reads';
    ok $slow->end, 'to the end';
}


# --- a worker that is busy coalesces by itself

{
    my $c = channel();
    my @clients = map { come('off', $c) } 1 .. 10;

    add($c, 1, 1);
    is got($_, 1), '1', 'coalescing is off' for @clients;

    my $before = writes();
    kill 'STOP', $worker;
    stopped($worker);
    add($c, 2, 101);
    kill 'CONT', $worker;

    is got($_, 100), join(' ', 2 .. 101), 'a worker that was away sends all'
        for @clients;

    my $writes = (writes() - $before) / @clients;
    diag "100 events in $writes writes a client";
    cmp_ok $writes, '<=', 10, 'in few writes';
    $_->close for @clients;
}


# --- a worker that quits while events wait

for my $how ('reload', 'quit') {
    my $c = channel();
    my @clients = map { come('long', $c) } 1 .. 5;

    add($c, 1, 1);
    is got($_, 1), '1', "$how: all have the first" for @clients;
    add($c, 2, 4);

    my ($pid) = $nginx->workers;
    $how eq 'reload' ? kill 'HUP', $nginx->pid : kill 'QUIT', $pid;

    ok $_->end(20), "$how: a response ends" for @clients;
    is got($_, 3), '2 3 4', 'with what waited' for @clients;
    wait_for(20, sub { !grep { $_ == $pid } $nginx->workers });
    wait_for(20, sub { $nginx->accepts });
}

is $nginx->stop, 0, 'NGINX quits';
done_testing();
