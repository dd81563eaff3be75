# Copyright (C) Conduit for NGINX authors
#
# conduit_gateway_coalesce: events of a channel that come shortly after one
# another are sent in one write; START, ERROR, END and the first event after a
# silence do not wait.
#
# Writes are counted by the gateway, and by the client as TCP segments.  A clock
# is used to find events that are too late.

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

# seconds that the machine may need, in the best of several tries
my $SLACK = $ENV{TEST_NGINX_USE_VALGRIND} ? 2 : 0.2;

my %LOCATIONS = (
    off => '',
    long => 'conduit_gateway_coalesce 1s;',
    short => 'conduit_gateway_coalesce 100ms;',
    tiny => 'conduit_gateway_coalesce 1s; conduit_gateway_window 16k;',
    huge => 'conduit_gateway_coalesce 1s;'
            . 'conduit_gateway_window 4611686018427387904;',
    alive => 'conduit_gateway_coalesce 1s; conduit_gateway_keepalive 100ms;',
    brief => 'conduit_gateway_coalesce 1s; conduit_gateway_max_duration 3s;',
    told => 'conduit_gateway_coalesce 1s; conduit_gateway_drain_event on;',
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

    is writes() - $before, 10, 'off: each event has a write';
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

    cmp_ok $writes, '<=', 2 + 2 * $took / $time,
        "$where: no more writes than times began";
    cmp_ok $writes, '<', $n, "$where: fewer writes than events";

    # what is held is held no longer than the time: so many writes there are

    cmp_ok $writes, '>=', 2,
        "$where: the first event is written alone, the others afterwards";

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
    ok $held || time - $from > $LONG, 'events that follow soon wait';

    add($c, 5, 5, phase => 'START');
    is got($client, 4), '2 3 4 5', 'START takes the events along that wait';
    cmp_ok time - $from, '<', $LONG,
        'START does not wait for the time of the others'
        if $held && time - $from < 20;

    add($c, 6, 7);
    is got($client, 2), '6 7',
        'events that wait come when their time is over';

    sleep $LONG * 1.2;
    $from = time;
    add($c, 8, 8);
    is got($client, 1), '8', 'an event after a silence goes at once';
    my $silence = time - $from;
    cmp_ok $silence, '<', $LONG, 'an event after a silence does not wait';

    $from = time;
    add($c, 9, 10);
    add($c, 11, 11, phase => 'ERROR');
    is got($client, 3), '9 10 11', 'ERROR takes the events along that wait';
    cmp_ok time - $from, '<', $LONG,
        'ERROR does not wait for the time of the others';

    my $before = writes();
    $from = time;
    add($c, 12, 14);
    add($c, 15, 15, phase => 'END');
    is got($client, 4), '12 13 14 15',
        'END comes with the events that wait for it';
    ok $client->end, 'END ends the response';
    cmp_ok time - $from, '<', $LONG, 'END is not held back';
    cmp_ok writes() - $before, '<=', 2,
        'END and the events that wait are one write';
}


# END is not held back by a full second, whatever came before: many channels,
# each with a delta a moment ago

{
    my @channels = map { channel() } 1 .. 20;
    my @clients = map { come('long', $_) } @channels;

    add($_, 1, 1) for @channels;
    is got($_, 1), '1', 'each of 20 channels has its first event' for @clients;

    my ($late, $from);

    for my $i (0 .. $#channels) {
        $from = time;
        add($channels[$i], 2, 3);
        add($channels[$i], 4, 4, phase => 'END');
        $clients[$i]->end;
        $late++ if time - $from >= $LONG;
    }

    is $late // 0, 0, 'no END of 20 channels waits for the time';
    is got($_, 3), '2 3 4',
        'the events that waited come before END' for @clients;
}


# --- positions that are not at the end

{
    my $c = channel();
    my $first = come('long', $c);

    add($c, 1, 1);
    is got($first, 1), '1', 'a client has the first event';
    my $from = time;
    add($c, 2, 5);
    my $held = nothing($first);

    my $second = come('long', $c);
    is got($second, 5), '1 2 3 4 5',
        'a client that connects gets at once all there is';
    cmp_ok time - $from, '<', $LONG,
        'a client that connects does not wait for the time of others' if $held;

    is got($first, 4), '2 3 4 5',
        'a client that has its position waits until the time is over';

    add($c, 6, 7);
    is got($_, 2), '6 7',
        'clients at the same position get events together' for $first, $second;
    $_->close for $first, $second;
}


# --- events that are sent together are counted one by one

# The worker stands still while events are added and a client comes, whose
# request is therefore younger than they are: their delivery to it is not timed.

{
    my $c = channel();
    my @clients = map { come('long', $c) } 1, 2;

    add($c, 1, 1);
    is got($_, 1), '1', 'counted: a client has the first event' for @clients;

    my $before = metrics($nginx, 'gateway');

    kill 'STOP', $worker;
    stopped($worker) or die 'the worker does not stop';

    my @ids = map { xadd(channel_id => $c, sequence => $_, phase => 'DELTA',
                         payload => {}) } 2 .. 4;
    my $late = Conduit::SSE->open(
        $nginx->port, 'GET', "/long/$ORG?channel_id=$c", later => 1,
        headers => { 'Last-Event-ID' => $clients[0]{events}[0]{id} });
    my ($ms) = $ids[-1] =~ /^(\d+)/;

    wait_for(20, sub {
        my ($s, $us) = @{ redis('TIME') };
        return $s * 1000 + $us / 1000 >= $ms + 300;
    }) or die 'time stands still';

    kill 'CONT', $worker;

    is got($_, 3), '2 3 4', 'counted: a client has three more events'
        for @clients, $late;
    is $clients[0]{events}[-1]{id}, $ids[-1],
        'counted: the last event has the ID of its entry';

    my $now = metrics($nginx, 'gateway');
    my $moved = sub { $now->{$_[0]} - $before->{$_[0]} };

    is $moved->('writes_total'), 3, 'counted: three clients have a write each';
    is $moved->('events_total'), 9, 'counted: three clients have three events';
    is $moved->('delivery_seconds_count'), 6,
        'counted: three events are timed for the two clients that waited';
    is $moved->('delivery_seconds_bucket{le="0.25"}'), 0,
        'counted: none of the times is shorter than it was';
    cmp_ok $moved->('delivery_seconds_sum'), '>=', 6 * 0.3,
        'counted: the sum has the time of each event';

    # the listeners are after the last event, and get the next one

    add($c, 5, 5, phase => 'START');
    is got($_, 1), '5', 'counted: a client has the event that follows'
        for @clients, $late;
    $_->close for @clients, $late;
}


# --- a window that is small

{
    my $c = channel();
    my $client = come('tiny', $c);

    add($c, 1, 1);
    is got($client, 1), '1', 'small window: the first event';

    # 50 kB in all: less than the window may have while somebody is to be sent
    # it, however many of them a read has

    my $reads = metrics($nginx, 'gateway')->{catch_up_reads_total};

    add($c, 2, 200, size => 100);
    is got($client, 199), join(' ', 2 .. 200),
        'small window: none of 199 events is lost';
    is metrics($nginx, 'gateway')->{catch_up_reads_total}, $reads,
        'small window: no event is read from Redis a second time';
    $client->close;
}


# --- a window that is meant to be no limit: four times its size is no number

{
    my $c = channel();
    my $client = come('huge', $c);

    add($c, 1, 1);
    is got($client, 1), '1', 'huge window: the first event';

    my $reads = metrics($nginx, 'gateway')->{catch_up_reads_total};

    add($c, 2, 20);
    is got($client, 19), join(' ', 2 .. 20),
        'huge window: none of 19 events is lost';
    is metrics($nginx, 'gateway')->{catch_up_reads_total}, $reads,
        'huge window: no event is read from Redis a second time';
    is join(' ', $nginx->workers), $worker, 'huge window: the worker lives';
    $client->close;
}


# --- the stream is cut, trimmed, deleted

{
    my $c = channel();
    my $client = come('long', $c);

    add($c, 1, 1);
    is got($client, 1), '1', 'deleted stream: the first event';
    my $frames = metrics($nginx, 'gateway')->{frames_total};

    add($c, 2, 3);
    ok wait_for(20, sub {
        metrics($nginx, 'gateway')->{frames_total} == $frames + 2
    }), 'deleted stream: the worker has read two more events';

    redis('DEL', stream_key($ORG, $c));
    xadd(channel_id => $c, sequence => 9, phase => 'DELTA', payload => {},
         id => '1-0');

    my @got = split ' ', got($client, 5, 5);
    is_deeply [grep { $_ ne 'history_lost' } @got], [2, 3, 9],
        'deleted stream: what waited comes before what is added anew';
    $client->close;
}


# --- keepalive

{
    my $c = channel();
    my $client = come('alive', $c);

    add($c, 1, 1);
    is got($client, 1), '1', 'keepalive: the first event';

    my $from = time;
    add($c, 2, 2);
    ok $client->comment(20),
        'keepalive: a comment comes while an event is held back';
    my $comments = $client->{events};
    ok @$comments == 1 || time - $from > $LONG,
        'keepalive: a comment does not wait for the event that is held back';
    is got($client, 1), '2',
        'keepalive: the event that is held back comes after the comment';
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

    ok $client->{ended}, "a response ends by its time, after $n events";

    my $last = $client->{events}[-1]{json}{sequence};
    my $id = $client->{events}[-1]{id};

    # one more may have been added since

    cmp_ok $n - $last, '<=', 2,
        'a response that ends by its time has the events that waited';
    is got($client, $last), join(' ', 1 .. $last),
        'a response that ends by its time has all events in order';

    my $again = come('off', $c, headers => { 'Last-Event-ID' => $id });
    add($c, $n + 1, $n + 1, phase => 'END');
    is got($again, $n + 1 - $last), join(' ', $last + 1 .. $n + 1),
        'a client that comes back gets the events after its position';
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
    is got($off, 3), '2 3 4',
        'two locations: without coalescing events come at once';
    ok nothing($long) || time - $from > $LONG,
        'two locations: with coalescing events wait';
    is got($long, 3), '2 3 4',
        'two locations: with coalescing events come after their time';
    $_->close for $off, $long;
}


# --- how long an event waits

for my $where ('long', 'short') {
    my $c = channel();
    my $client = come($where, $c);
    my $time = $where eq 'long' ? 1 : 0.1;
    my ($n, $took) = (0, 0);

    # a busy machine makes the wait longer, or makes a silence between the two
    # events: then the second one does not wait

    for (1 .. 10) {
        add($c, ++$n, $n);
        is got($client, 1), $n, "$where: an event after a silence" or last;

        my $from = time;

        add($c, ++$n, $n);
        is got($client, 1), $n, "$where: an event that waits" or last;
        $took = time - $from;
        last if $took > 0.9 * $time && $took < $time + $SLACK;

        # a silence, so that the next event is sent at once
        sleep 1.1 * $time;
    }

    ok $took > 0.9 * $time && $took < $time + $SLACK,
        "$where: an event waits for the time, and no longer"
        or diag "it waited for $took s";
    $client->close;
}


# --- a slow reader

{
    my $c = channel();
    my $before = metrics($nginx, 'gateway')->{slow_total};
    my $slow = come('slow', $c, rcvbuf => 4096);
    my $other = come('slow', $c);
    my $n = 400;

    add($c, 1, $n, size => 15_000);
    is got($other, $n), join(' ', 1 .. $n),
        'slow reader: a client that reads has all events';
    cmp_ok metrics($nginx, 'gateway')->{slow_total}, '>', $before,
        'slow reader: a socket is full';
    add($c, $n + 1, $n + 1, phase => 'END');
    ok $other->end, 'slow reader: the response of a client that reads ends';
    is got($slow, $n + 1), join(' ', 1 .. $n + 1),
        'slow reader: a client that reads late has all events';
    ok $slow->end, 'slow reader: the response of a client that reads late ends';
}


# --- a worker that is busy coalesces by itself

{
    my $c = channel();
    my @clients = map { come('off', $c) } 1 .. 10;

    add($c, 1, 1);
    is got($_, 1), '1',
        'busy worker: all clients have the first event' for @clients;

    # on a busy machine, it may take many turns of the event loop to decode them

    my $writes;

    for my $first (2, 102, 202, 302, 402) {
        my $last = $first + 99;
        my $before = writes();

        kill 'STOP', $worker;
        stopped($worker) or die 'the worker does not stop';
        add($c, $first, $last);
        kill 'CONT', $worker;

        is got($_, 100), join(' ', $first .. $last),
            'busy worker: all events are sent' for @clients;

        $writes = (writes() - $before) / @clients;
        diag "100 events in $writes writes a client";
        last if $writes <= 10;
    }

    cmp_ok $writes, '<=', 10, 'busy worker: the events are sent in few writes';
    $_->close for @clients;
}


# --- the position of a client after events that were sent together

{
    my $c = channel();
    my $client = come('told', $c);

    add($c, 1, 1);
    is got($client, 1), '1', 'position: the first event';

    my $before = writes();

    kill 'STOP', $worker;
    stopped($worker) or die 'the worker does not stop';
    add($c, 2, 4);
    kill 'CONT', $worker;

    is got($client, 3), '2 3 4', 'position: three more events';
    is writes() - $before, 1, 'position: they came together';

    my $id = $client->{events}[-1]{id};

    my ($old) = $nginx->workers;
    $nginx->reload;
    ok $client->end(20), 'position: the response ends';
    is got($client, 1), 'server_draining', 'position: the client is told so';
    is $client->{events}[-1]{id}, $id,
        'position: the client comes back after the last of the events';
    wait_for(20, sub { !grep { $_ == $old } $nginx->workers });
    wait_for(20, sub { $nginx->accepts });
}


# --- a worker that quits while events wait

for my $how ('reload', 'quit') {
    my $c = channel();
    my @clients = map { come('long', $c) } 1 .. 5;

    add($c, 1, 1);
    is got($_, 1), '1', "$how: all have the first" for @clients;

    # an event waits once the worker has read it

    my $frames = metrics($nginx, 'gateway')->{frames_total};

    add($c, 2, 4);
    ok wait_for(20, sub {
        metrics($nginx, 'gateway')->{frames_total} == $frames + 3
    }), "$how: the worker has the others";

    my ($pid) = $nginx->workers;
    $how eq 'reload' ? kill 'HUP', $nginx->pid : kill 'QUIT', $pid;

    ok $_->end(20), "$how: a response ends" for @clients;
    is got($_, 3), '2 3 4',
        "$how: a response that ends has the events that waited" for @clients;
    wait_for(20, sub { !grep { $_ == $pid } $nginx->workers });
    wait_for(20, sub { $nginx->accepts });
}

is $nginx->stop, 0, 'NGINX quits';
done_testing();
