# Copyright (C) Conduit for NGINX authors
#
# When and why a client is told that it has lost history.
#
#   trimmed   entries after its position were removed from its stream
#   gone      the stream of its position no longer exists: nobody can tell
#             whether anything followed there
#
# A client is told once, before the next event, with its position as the ID.  A
# client without a position is not told, nor is one that had all events that the
# worker has seen of the stream.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use IO::Select;
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_RCVBUF inet_aton pack_sockaddr_in);
use Test::More;

my $LIMIT = 20;

# locations that differ in how the worker learns of a change, and what it keeps
my %LOCATIONS = (
    events => '',
    small => 'conduit_gateway_window 4k; conduit_gateway_read_count 2;',
    tiny => 'conduit_gateway_window 1; conduit_gateway_read_count 1;'
            . 'conduit_gateway_buffer_size 1;',
    poll => 'conduit_gateway_wakeup poll 50ms;',
);

# the second address is for a client that does not read
my $slow_port = free_port();

my $nginx = nginx_start(
    server => join '', "listen 127.0.0.1:$slow_port sndbuf=8k;", map {
        my $name = $_;
        gateway_location("conduit_gateway_auth off; $LOCATIONS{$name}")
            =~ s{/events/}{/$name/}r
    } sort keys %LOCATIONS);

my ($worker) = $nginx->workers;

# Redis counts the entries of a stream from version 7 on.  Before, a stream that
# was trimmed and one that was made anew look the same: all is "trimmed".
my $counts = redis('INFO', 'server') =~ /^redis_version:(?:[7-9]|\d\d)/m;


# --- helpers

my $where;
my $channel;

sub new_channel { return $channel = uuid() }

sub key { return stream_key($ORG, $channel) }

# Adds messages of these sequence numbers, at IDs <life>-<number>: "2-5" is the
# fifth of the second life of the stream.
sub fill {
    my ($life, $first, $last, %o) = @_;

    xadd(channel_id => $channel, sequence => $_, id => "$life-$_", %o)
        for $first .. $last;
}

sub at_once {
    redis('MULTI');
    $_->() for @_;
    redis('EXEC');
}

sub path {
    my $after = shift;

    return "/$where/$ORG?channel_id=$channel"
           . (defined $after ? "&last_event_id=$after" : '');
}

sub ask { return sse_open($nginx, path => path(@_)) }

# an event is its ID, "trimmed(<id>)" or "gone(<id>)", "2-5!" for no message
sub text {
    my $event = shift;
    my ($id, $json) = ($event->{id} // '', $event->{json});

    return ($json->{reason} // $json->{control_type}) . "($id)"
        if $event->{event} eq 'control';

    return $json->{sequence} == ($id =~ /-(\d+)/)[0] ? $id : "$id!";
}

# "2-1..5" for IDs that follow each other
sub id_ranges {
    my @out;

    for my $text (@_) {
        my ($life, $n) = $text =~ /^(\d+)-(\d+)$/;

        if (defined $n && @out && $out[-1] =~ /^$life-(?:\d+\.\.)?(\d+)$/
            && $n == $1 + 1)
        {
            $out[-1] =~ s/(?:\.\.\d+)?$/..$n/;
        } else {
            push @out, $text;
        }
    }

    return join ' ', @out;
}

# the next events, to the one of this ID
sub upto {
    my ($client, $id) = @_;
    my @out;

    while (my $event = $client->event($LIMIT)) {
        push @out, text($event);
        last if $out[-1] eq $id;
    }

    return id_ranges(@out);
}

# what comes within a moment
sub rest {
    my $client = shift;

    return id_ranges(map { text($_) } $client->events(
        0 + $client->until(0.5, sub {
            @{ $client->{events} } > $client->{taken} })));
}

# all that a response has to its end
sub whole {
    my $client = shift;

    my $end = $client->end($LIMIT) ? '' : ', no end';
    return id_ranges(map { text($_) } @{ $client->{events} }) . $end;
}

# Stops Redis, and has it delete the stream as the first thing that it does
# afterwards: it takes its connections in the order in which they had something
# to read.  Returns the connection, which must have been accepted before.
sub pause_and_delete {
    my $s = IO::Socket::INET->new("127.0.0.1:$Conduit::REDIS_PORT")
        or die "connect: $!";

    $s->syswrite("PING\r\n");
    $s->sysread(my $pong, 7);

    redis_pause();
    my $before = redis_input();

    $s->syswrite("DEL " . key() . "\r\n");
    asked($before) or die 'no DEL';
    return $s;
}

# waits until more is in the connections to Redis
sub asked {
    my $before = shift;
    return wait_for($LIMIT, sub { redis_input() > $before });
}

# waits until the worker knows that the stream ended
sub noticed {
    my $n = shift // 1;

    return wait_for($LIMIT, sub {
        my $seen = () = $nginx->error_log
                        =~ /"\Q${\key()}\E" was deleted or recreated/g;
        return $seen >= $n;
    });
}

# one that does not read, nor wait for its header
sub start {
    my $s = IO::Socket::INET->new(Proto => 'tcp') or die "socket: $!";

    setsockopt $s, SOL_SOCKET, SO_RCVBUF, pack 'i', 4096;
    connect $s, pack_sockaddr_in($slow_port, inet_aton('127.0.0.1'))
        or die "connect: $!";
    $s->syswrite('GET ' . path(@_) . " HTTP/1.1\r\nHost: localhost\r\n\r\n");

    return bless { raw => '', body => '', parsed => 0, events => [],
                   taken => 0, comments => [], method => 'GET',
                   socket => $s }, 'Conduit::SSE';
}

# one that is a subscriber, as its first bytes show, and does not read on
sub stall {
    my $client = start(@_);

    IO::Select->new($client->socket)->can_read($LIMIT) or die 'no response';
    return $client;
}

# reads on, to the end
sub read_on {
    my $client = shift;

    $client->until($LIMIT, sub { $client->parse_header }) or die 'no header';
    return whole($client);
}


# --- entries that were trimmed

for (sort keys %LOCATIONS) {
    $where = $_;
    new_channel();
    fill(1, 1, 9);
    redis('XTRIM', key(), 'MAXLEN', '=', 4);

    my $cold = ask('1-3');
    is upto($cold, '1-9'), 'trimmed(1-3) 1-6..9',
        "$where: a position before the oldest entry of a trimmed stream";

    my $warm = ask('1-2');
    is upto($warm, '1-9'), 'trimmed(1-2) 1-6..9', "$where: another one, warm";

    my $quiet = ask('1-6');
    is upto($quiet, '1-9'), '1-7..9', "$where: the oldest entry kept is no loss";

    fill(1, 10, 10);
    is upto($_, '1-10'), '1-10', 'nobody is told twice'
        for $cold, $warm, $quiet;

    # while the worker stands still, the stream goes on and is trimmed

    kill 'STOP', $worker;
    stopped($worker);
    fill(1, 11, 20);
    redis('XTRIM', key(), 'MAXLEN', '=', 2);
    kill 'CONT', $worker;

    is upto($_, '1-20'), 'trimmed(1-10) 1-19..20',
        "$where: one that has to be told live has its position as the ID"
        for $cold, $warm, $quiet;

    $_->close for $cold, $warm, $quiet;
}


# --- entries that were deleted

for (sort keys %LOCATIONS) {
    $where = $_;

    for my $n (1, 4, 9) {
        new_channel();
        fill(1, 1, 9);
        redis('XDEL', key(), "1-$n");

        my $client = ask("1-$n");
        fill(1, 10, 10);

        # before Redis 7, nobody knows how many were removed before the oldest

        my $told = $n == 1 && !$counts ? 'trimmed(1-1) ' : '';
        my $after = $n + 1;
        is upto($client, '1-10'),
            $told . ($after == 10 ? '1-10' : "1-$after..10"),
            "$where: the entry $n that was deleted is a position without loss";
        $client->close;
    }

    new_channel();
    fill(1, 1, 9);
    redis('XDEL', key(), '1-1', '1-2');
    my $client = ask('1-1');
    is upto($client, '1-9'), 'trimmed(1-1) 1-3..9',
        "$where: one more that was deleted behind it is a loss";
    $client->close;
}


# --- no stream any more, for a worker that knows nothing of it

for (sort keys %LOCATIONS) {
    $where = $_;
    new_channel();

    my @clients = map { ask($_) } '1-9', '1-4', '9-1', '0-0', undef, '';
    is rest($clients[0]), '', "$where: nothing is told before something comes";

    fill(2, 1, 1);
    is upto($clients[0], '2-1'), 'gone(1-9) 2-1',
        "$where: a position when there was no stream";
    is upto($clients[1], '2-1'), 'gone(1-4) 2-1', "$where: one in the middle";
    is upto($clients[2], '2-1'), 'gone(9-1) 2-1', "$where: a larger one";
    is upto($clients[$_], '2-1'), '2-1', "$where: no position" for 3 .. 5;

    fill(2, 2, 3);
    is upto($_, '2-3'), '2-2..3', 'nobody is told twice' for @clients;

    kill 'STOP', $worker;
    stopped($worker);
    fill(2, 4, 9);
    redis('XTRIM', key(), 'MAXLEN', '=', 2);
    kill 'CONT', $worker;

    is upto($_, '2-9'), 'trimmed(2-3) 2-8..9',
        "$where: what is trimmed later is said to be" for @clients;
    $_->close for @clients;
}


# --- another stream already, for a worker that knows neither

for (sort keys %LOCATIONS) {
    $where = $_;

    # as a run whose channel is that of each of its turns

    new_channel();
    fill(1, 1, 3);
    fill(1, 4, 4, phase => 'END');
    is whole(ask()), '1-1..4', "$where: a turn with its END";
    redis('PEXPIRE', key(), 1);
    ok wait_for($LIMIT, sub { !redis('EXISTS', key()) }), 'its stream expires';
    fill(2, 1, 3);

    my $reason = $counts ? 'gone' : 'trimmed';
    my @clients = map { ask($_) } '1-4', '1-2', undef;
    is upto($clients[0], '2-3'), "$reason(1-4) 2-1..3",
        "$where: the END of the turn before is a position of another stream";
    is upto($clients[1], '2-3'), "$reason(1-2) 2-1..3",
        "$where: one in it is, when the worker has the channel";
    is upto($clients[2], '2-3'), '2-1..3', "$where: none is no loss";
    fill(2, 4, 4);
    is upto($_, '2-4'), '2-4', 'nobody is told twice' for @clients;
    $_->close for @clients;

    new_channel();
    fill(2, 1, 9);
    redis('XTRIM', key(), 'MAXLEN', '=', 4);
    my $client = ask('1-4');
    is upto($client, '2-9'), 'trimmed(1-4) 2-6..9',
        "$where: of another stream that was trimmed some are known to be gone";
    $client->close;

    new_channel();
    fill(2, 1, 9);
    @clients = map { ask($_) } '3-4', '2-10';
    is upto($clients[0], '2-9'), 'gone(3-4) 2-1..9',
        "$where: a position after all there is";
    is upto($clients[1], '2-9'), 'gone(2-10) 2-1..9', "$where: the next one";
    $_->close for @clients;

    # it waits for what follows the END, and is told then

    new_channel();
    fill(2, 1, 3);
    fill(2, 4, 4, phase => 'END');
    @clients = map { ask($_) } '3-4', '2-5', '2-4';
    is rest($_), '', "$where: nobody is told at an END" for @clients;
    fill(2, 5, 5);
    is upto($clients[$_], '2-5'), 'gone(2-4) 2-5',
        "$where: a position after an END that the stream has not given out"
        for 0, 1;
    is upto($clients[2], '2-5'), '2-5', "$where: that of the END is no loss";
    fill(2, 6, 6);
    is upto($_, '2-6'), '2-6', 'nobody is told twice' for @clients;
    $_->close for @clients;

    new_channel();
    fill(2, 1, 3);
    redis('XTRIM', key(), 'MAXLEN', '=', 0);
    $client = ask('2-3');
    fill(2, 4, 4);
    is upto($client, '2-4'), ($counts ? '' : 'trimmed(2-3) ') . '2-4',
        "$where: the last one given out is none";
    $client->close;
}


# --- a stream that the worker saw to its end

my %ENDS = (
    deleted => sub { redis('DEL', key()) },
    expired => sub { redis('PEXPIRE', key(), 1) },
    renamed => sub { redis('RENAME', key(), 'elsewhere') },
);

for (sort keys %LOCATIONS) {
    $where = $_;

    for my $end (sort keys %ENDS) {
        for my $life (2, 1, 0) {
            my $name = "$where, $end, life $life";

            # the third one has the IDs that the first one has, too, or smaller

            my $n = $life == 1 ? 3 : 5;

            new_channel();
            my $stays = ask();
            fill(1, 1, 5);
            is upto($stays, '1-5'), '1-1..5', "$name: a client has all";

            my $came = ask('1-5');
            $ENDS{$end}->();
            ok noticed(), 'the end of the stream is noticed';

            my @before = map { ask($_) } '1-5', '1-3', undef;

            if ($life == 2) {
                is rest($_), '', "$name: nobody is told before it goes on"
                    for $stays, $before[1];
            }

            fill($life, 1, $n);
            my $last = "$life-$n";

            is upto($_, $last), "$life-1..$n",
                "$name: who had all is not told" for $stays, $came;
            is upto($before[0], $last), "$life-1..$n",
                'a client that resumed at the end, before it goes on, is not '
                . 'told';
            is upto($before[1], $last), "gone(1-3) $life-1..$n",
                'a client that resumed before the end is told';
            is upto($before[2], $last), "$life-1..$n",
                'a client without a position is not told';

            fill($life, $n + 1, $n + 1);
            $last = "$life-" . ($n + 1);
            is upto($_, $last), $last, 'nobody is told twice'
                for $stays, $came, @before;

            # positions of one life are as good as those of another, where they
            # have the same IDs

            if ($life != 1) {
                my $all = "$life-1..6";
                my $after = ask('1-5');
                is upto($after, $last), $all,
                    "$name: one that had all comes back";
                $after->close;

                my $told = !$counts && $life == 2 ? 'trimmed' : 'gone';

                $after = ask('1-3');
                is upto($after, $last), "$told(1-3) $all",
                    "$name: one that had not comes back";
                $after->close;
            }

            $_->close for $stays, $came, @before;
        }
    }
}


# --- a stream that is made anew and ended, with smaller IDs

for (sort keys %LOCATIONS) {
    $where = $_;
    new_channel();

    my $stays = ask();
    fill(5, 1, 3);
    is upto($stays, '5-3'), '5-1..3', "$where: a client has all";

    at_once(sub { redis('DEL', key()) }, sub { fill(3, 1, 2) },
            sub { fill(3, 3, 3, phase => 'END') });
    is upto($stays, '3-3'), '3-1..3', "$where: it gets the new one to its END";
    ok $stays->end($LIMIT), 'its response ends there';

    my $client = ask('5-2');
    is rest($client), '', "$where: one that comes back waits";
    fill(3, 4, 4);
    is upto($client, '3-4'), 'gone(3-3) 3-4', "$where: it is told";
    $_->close for $stays, $client;
}


# --- a position that is only what a client said

for (sort keys %LOCATIONS) {
    $where = $_;
    new_channel();
    redis('XGROUP', 'CREATE', key(), 'group', '$', 'MKSTREAM');
    redis('XSETID', key(), '5-0');

    my $reason = $counts ? 'gone' : 'trimmed';
    my $first = ask('1-5');
    fill(6, 1, 1);
    is upto($first, '6-1'), "$reason(1-5) 6-1",
        "$where: a position before a stream that had no entry";

    my $second = ask('1-5');
    is upto($second, '6-1'), "$reason(1-5) 6-1",
        "$where: the same one again is not taken for one that was seen";
    $_->close for $first, $second;
}


# --- a worker that sees the end and what follows at once

for (sort keys %LOCATIONS) {
    $where = $_;
    new_channel();

    my $stays = ask();
    fill(1, 1, 5);
    is upto($stays, '1-5'), '1-1..5', "$where: a client has all";

    at_once(sub { redis('DEL', key()) }, sub { fill(2, 1, 5) });

    # before Redis 7, this looks like a trim

    my $told = $counts ? '' : 'trimmed(1-5) ';
    is upto($stays, '2-5'), "${told}2-1..5",
        "$where: it is not told of a stream made anew at once";

    my $all = ask('1-5');
    is upto($all, '2-5'), "${told}2-1..5",
        "$where: one that comes back with all of it is not told";

    # what is in memory may come first

    my $some = ask('1-3');
    like upto($some, '2-5'), $counts
        ? qr/^gone\(1-3\) 2-1\.\.5$/
        : qr/^(?:1-4\.\.5 trimmed\(1-5\)|trimmed\(1-3\)) 2-1\.\.5$/,
        "$where: one that comes back without all of it is told";

    $_->close for $stays, $all, $some;

    # what the new one has is counted from its start

    next if !$counts;

    new_channel();
    $stays = ask();
    fill(1, 1, 5);
    is upto($stays, '1-5'), '1-1..5', "$where: a client has all";
    at_once(sub { redis('DEL', key()) }, sub { fill(2, 1, 5) });
    is upto($stays, '2-5'), '2-1..5', "$where: it has all of the next one";
    at_once(sub { redis('XTRIM', key(), 'MAXLEN', '=', 0) },
            sub { fill(2, 6, 7) });
    is upto($stays, '2-7'), '2-6..7', "$where: a trim of that is no loss";
    $stays->close;
}


# --- one life after the other

for (sort keys %LOCATIONS) {
    $where = $_;
    new_channel();

    my $stays = ask();
    fill(1, 1, 2);
    is upto($stays, '1-2'), '1-1..2', "$where: the first life";

    redis('DEL', key());
    ok noticed(1), 'its end is noticed';
    my $behind = ask('1-1');
    fill(2, 1, 2);
    is upto($stays, '2-2'), '2-1..2', "$where: the second life";
    is upto($behind, '2-2'), 'gone(1-1) 2-1..2',
        "$where: a client of the first life is told";
    redis('DEL', key());
    ok noticed(2), 'the end of the second stream is noticed';

    # had all of the first, nothing of the second

    my $first = ask('1-2');
    my $second = ask('2-2');
    fill(3, 1, 1);
    is upto($stays, '3-1'), '3-1', "$where: the third life";
    is upto($behind, '3-1'), '3-1', 'nobody is told of what was told';
    is upto($first, '3-1'), 'gone(1-2) 3-1',
        "$where: one that had all of the first is told";
    is upto($second, '3-1'), '3-1',
        "$where: one that had all of the second is not told";
    $_->close for $stays, $behind, $first, $second;
}


# --- readers that are slower than their stream

my %SLOW = (
    'ends, and begins again' => sub {
        redis('DEL', key());
        noticed();
        fill($_[0], 1, 3);
    },
    'is made anew at once' => sub {
        my $life = shift;
        at_once(sub { redis('DEL', key()) }, sub { fill($life, 1, 3) });
    },
    'ends twice' => sub {
        my $other = shift->[1];

        redis('DEL', key());
        noticed(1);
        fill(7, 1, 2);
        upto($other, '7-2');
        redis('DEL', key());
        noticed(2);
        fill(8, 1, 3);
    },
);

for (sort keys %LOCATIONS) {
    $where = $_;

    for my $how (sort keys %SLOW) {
        for my $life ($how eq 'ends twice' ? 8 : (2, 0)) {
            my $name = "$where: a stream that $how, life $life";

            new_channel();
            my $slow = stall();
            my $other = ask();

            # those without and with a position that have got nothing so far

            my $text = { value => 'x' x 1000 };
            fill(1, 1, 300, payload => $text);
            is upto($other, '1-300'), '1-1..300', "$name: one has all";

            $SLOW{$how}->($how eq 'ends twice' ? [$life, $other] : $life);
            is upto($other, "$life-3"),
                ($counts || $how ne 'is made anew at once' || $life == 0
                 ? '' : 'trimmed(1-300) ') . "$life-1..3",
                "$name: a client that had all is told of no loss";

            fill($life, 4, 4, phase => 'END');

            # what is still in memory may be given, too: no gap without a word,
            # no word without a gap

            my $got = read_on($slow);
            my ($had, $told) = $got =~ /^1-1\.\.(\d+) (.*)$/;
            my $new = "$life-1..4";

            $told = '' if !defined $told;
            $told =~ s/^(trimmed)/gone/
                if !$counts && $how eq 'is made anew at once';

            # after it, what memory has of the lives that are over

            $told =~ s/^(gone\(1-\d+\) )(?:1-(?:\d+\.\.)?300 )?(?:7-1\.\.2 )?/$1/;

            is $told, ($had // 0) == 300 && $told !~ /gone/ ? $new
                      : "gone(1-$had) $new",
                'the slow one is told when there is a gap';
            cmp_ok $had // 300, '<', 300, 'there was one'
                if $how ne 'is made anew at once' || $where ne 'events';

            $_->close for $slow, $other;
        }
    }
}


# --- a slow reader, and a stream made anew around the end of the one before

for (grep { $_ ne 'tiny' } sort keys %LOCATIONS) {
    $where = $_;
    new_channel();

    my $slow = stall();
    my $other = ask();
    fill(1, 1, 300, payload => { value => 'x' x 1000 });
    is upto($other, '1-300'), '1-1..300', "$where: one has all";

    # the worker has the entry 1-299, and it is another message

    at_once(sub { redis('DEL', key()) },
            map { my @f = @$_; sub { fill(1, $f[0], $f[0], @f[1 .. $#f]) } }
                [299, sequence => 7], [301, sequence => 8],
                [302, sequence => 9, phase => 'END']);

    is whole($other), '1-1..300 1-299! 1-301! 1-302!',
        "$where: it is not told, and gets the new one";

    my ($had, $told) = read_on($slow) =~ /^1-1\.\.(\d+) (.*)$/;
    $told =~ s/^(gone\(1-\d+\) )1-(?:\d+\.\.)?300 /$1/;
    is $told, "gone(1-$had) 1-299! 1-301! 1-302!",
        "$where: the slow one is told";
    cmp_ok $had, '<', 300, "$where: there was a gap";
    $_->close for $slow, $other;
}


# --- a stream that ends while somebody waits for a read of it

for my $name ('small', 'tiny') {
    $where = $name;
    new_channel();

    my $slow = stall();
    my $other = ask();
    fill(1, 1, 300, payload => { value => 'x' x 1000 });
    is upto($other, '1-300'), '1-1..300', "$where: one has all";

    # the worker asks whether the stream is there, and for what is missing

    my $delete = pause_and_delete();
    my $before = redis_input();
    my $resumed = start('1-3');
    ok asked($before), 'a position is looked up';

    $before = redis_input();
    ok wait_for($LIMIT, sub {
        $slow->until(0.05, sub { $slow->parse_header && 0 });
        redis_input() > $before;
    }), "$where: a slow one that reads on is behind";
    my $none = ask();

    redis_resume();
    ok noticed(), 'the stream is gone';
    fill(2, 1, 3);
    is upto($other, '2-3'), '2-1..3', "$where: who had all is not told";
    is upto($none, '2-3'), '2-1..3', "$where: who has no position is not told";
    $resumed->until($LIMIT, sub { $resumed->parse_header });

    # a probe of the worker may be on its connection before the DEL is on
    # another: Redis then reads the client's question before the DEL, too, and
    # the client gets entries before it is told of the gap

    like upto($resumed, '2-3'),
        qr/^(?:gone\(1-3\)|1-4 gone\(1-4\)|1-4\.\.(\d+) gone\(1-\1\)) 2-1\.\.3$/,
        "$where: who had come before is told";

    fill(2, 4, 4, phase => 'END');
    my ($had, $told) = read_on($slow) =~ /^1-1\.\.(\d+) (.*)$/;
    $told =~ s/^(gone\(1-\d+\) )1-(?:\d+\.\.)?300 /$1/;
    is $told, "gone(1-$had) 2-1..4", "$where: the slow one is told";
    cmp_ok $had, '<', 300, "$where: there was a gap";
    $_->close for $slow, $other, $resumed, $none;
}


# --- one that comes back to the end of a stream while that goes

{
    $where = 'events';
    new_channel();

    fill(1, 1, 299, payload => { value => 'x' x 1000 });
    fill(1, 300, 300, phase => 'END');

    # one that does not read keeps the channel; its read is under way

    my $slow = stall('1-1');
    is whole(ask('1-298')), '1-299..300', 'the worker has seen the END';

    kill 'STOP', $worker;
    stopped($worker);
    redis('EXPIRE', key(), 1000);
    my $delete = pause_and_delete();
    my $before = redis_input();
    kill 'CONT', $worker;
    ok asked($before), 'a read is under way';

    $before = redis_input();
    my $client = start('1-300');
    ok asked($before), 'a client at END is looked up';
    redis_resume();
    ok noticed(), 'the stream is gone';

    fill(2, 1, 1);
    fill(2, 2, 2, phase => 'END');
    is read_on($client), '2-1..2', 'a client that had all events is not told';
    my ($had, $told) = read_on($slow) =~ /^1-2\.\.(\d+) (.*)$/;
    like $told, qr/^gone\(1-$had\) 1-\d+\.\.300$/,
        'the slow one is told, and gets the END that memory has';
    $_->close for $client, $slow;
}


# --- a stream that goes while Redis is slower than the poll

{
    $where = 'poll';
    new_channel();

    my $client = ask();
    fill(1, 1, 3);
    is upto($client, '1-3'), '1-1..3', 'a client has all';

    kill 'STOP', $worker;
    stopped($worker);
    my $delete = pause_and_delete();
    my $before = redis_input();
    kill 'CONT', $worker;
    ok asked($before), 'a read is under way';
    sleep 1;                          # 20 polls are due
    redis_resume();

    ok noticed(), 'that the stream is gone is noticed';
    fill(0, 1, 2);
    is upto($client, '0-2'), '0-1..2',
        'another stream with smaller IDs is sent';
    $client->close;
}


# --- streams that lose their end, or get another one, and clients that have all

for (sort keys %LOCATIONS) {
    $where = $_;
    new_channel();

    my $client = ask();
    fill(1, 1, 5);
    my $dump = redis('DUMP', key());
    fill(1, 6, 8);
    my $late = ask('1-7');
    is upto($client, '1-8'), '1-1..8', "$where: a client has all";
    is upto($late, '1-8'), '1-8', "$where: another one has all, too";

    redis('RESTORE', key(), 0, $dump, 'REPLACE');
    wait_for($LIMIT, sub { $nginx->error_log =~
        /"\Q${\key()}\E" (?:has lost its entries|was deleted or recr)/ });
    my $again = ask('1-8');
    fill(1, 9, 9);
    unlike upto($_, '1-9'), qr/gone|trimmed/,
        "$where: an end that is lost is not told of" for $client, $late, $again;
    $_->close for $client, $late, $again;

    # the stream's counter is set, and nothing else

    new_channel();
    $client = ask();
    fill(1, 1, 5);
    is upto($client, '1-5'), '1-1..5', "$where: a client has all";
    redis('XSETID', key(), '2-0');
    my $resumed = ask('1-5');
    fill(3, 1, 1);
    is upto($_, '3-1'), '3-1', 'a last ID that was set is no loss'
        for $client, $resumed;
    $_->close for $client, $resumed;

    # another stream comes in its place

    new_channel();
    $client = ask();
    fill(1, 1, 5);
    is upto($client, '1-5'), '1-1..5', "$where: a client has all";
    my $key = key();
    my $here = $channel;
    new_channel();
    fill(2, 1, 3);
    redis('RENAME', key(), $key);
    $channel = $here;

    my $told = $counts ? '' : 'trimmed(1-5) ';
    is upto($client, '2-3'), "${told}2-1..3",
        'it is not told of a stream that is renamed to this one';
    $resumed = ask('1-2');
    like upto($resumed, '2-3'), $counts
        ? qr/^gone\(1-2\) 2-1\.\.3$/
        : qr/^(?:1-3\.\.5 trimmed\(1-5\)|trimmed\(1-2\)) 2-1\.\.3$/,
        "$where: one that had not all of the one before is told";
    $_->close for $client, $resumed;
}


# --- a Redis that comes back without its data

{
    $where = 'events';
    new_channel();

    my $client = ask();
    fill(1, 1, 5);
    is upto($client, '1-5'), '1-1..5', 'a client has all';

    redis_stop();
    redis_start();
    ok noticed(), 'a Redis without data has no stream';

    my $some = ask('1-3');
    my $all = ask('1-5');
    fill(2, 1, 1);
    is upto($client, '2-1'), '2-1', 'a client that had all events is not told';
    is upto($all, '2-1'), '2-1',
        'a client that had all events and reconnects is not told';
    is upto($some, '2-1'), 'gone(1-3) 2-1',
        'a client that had not all events is told';
    $_->close for $client, $some, $all;
}


# --- an entry that is no message at the end

for (sort keys %LOCATIONS) {
    $where = $_;
    new_channel();

    my $client = ask();
    fill(1, 1, 2);
    redis('XADD', key(), '1-3', 'data', 'no message');
    is upto($client, '1-2'), '1-1..2', "$where: a client has all messages";
    ok wait_for($LIMIT, sub { $nginx->error_log
                              =~ /entry 1-3 of "\Q${\key()}\E"/ }),
        'the entry behind them is skipped';

    redis('DEL', key());
    ok noticed(), 'the stream ends';
    my $all = ask('1-2');
    my $some = ask('1-1');
    fill(2, 1, 1);
    is upto($_, '2-1'), '2-1', "$where: who had all messages is not told"
        for $client, $all;
    is upto($some, '2-1'), 'gone(1-1) 2-1',
        "$where: who had one message less is told";
    $_->close for $client, $all, $some;
}


# --- a worker that leaves

{
    $where = 'events';
    new_channel();

    my $client = ask('1-7');
    is rest($client), '', 'a client waits for a stream that is gone';
    $nginx->reload;
    ok $client->end($LIMIT), 'its response ends when the worker leaves';

    my @control = grep { $_->{event} eq 'control' } @{ $client->{events} };
    is $_->{id}, '1-7', 'it keeps its position when it is sent away'
        for @control;
    $client->close;
}

is $nginx->stop, 0, 'NGINX quits';
done_testing();
