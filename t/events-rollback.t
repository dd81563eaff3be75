# Streams that lose their last entries, as they do when a server fails before
# its replica has them.  RESTORE of an earlier DUMP does the same to one server.
#
# What was sent can't be taken back, what is sent again is noise, and what comes
# next must not be missed: its IDs may be smaller than those that are lost.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(sleep);

# locations that differ in how the worker learns of it, and in what it keeps
my %LOCATIONS = (
    events => '',
    small => 'conduit_gateway_window 4k; conduit_gateway_read_count 2;',
    poll => 'conduit_gateway_wakeup poll 50ms;',
    tiny => 'conduit_gateway_window 1;',
    stop => 'conduit_gateway_after_end stop;',
);

# the second address is for a client that does not read
my $slow_port = free_port();

my $nginx = nginx_start(server => join '',
                        "listen 127.0.0.1:$slow_port sndbuf=8k;", map {
    my $name = $_;
    gateway_location("conduit_gateway_auth off; $LOCATIONS{$name}")
        =~ s{/events/}{/$name/}r
} sort keys %LOCATIONS);

# Redis 6 does not count the entries that a stream had.  Of one that is empty it
# cannot be told whether others came and went after the last that was sent, and
# clients are told so.
my @UNSURE = redis_version() >= 7_000_000 ? () : 'history_lost';


# --- helpers

my $where;
my $channel;

sub new_channel { return $channel = uuid() }

sub key { return stream_key($ORG, $channel) }

sub id { return '1000-' . shift }

# adds messages of these sequence numbers, at IDs of the same numbers
sub fill {
    my ($first, $last, %o) = @_;

    xadd(channel_id => $channel, sequence => $_, id => id($_), %o)
        for $first .. $last;
}

sub dump_stream { return redis('DUMP', key()) }

sub restore { return redis('RESTORE', key(), 0, shift, 'REPLACE') }

sub ask {
    my $after = shift;

    my $path = "/$where/$ORG?channel_id=$channel";
    $path .= '&last_event_id=' . id($after) if defined $after;

    return sse_open($nginx, path => $path);
}

# the next n events in a line: sequence numbers and types of control
sub got {
    my ($client, $n) = @_;

    return join ' ', map { $_->{json}{sequence} // $_->{json}{control_type} }
                     $client->events($n);
}

# what comes within a moment
sub rest {
    my $client = shift;

    return got($client, 0 + $client->until(0.7, sub {
        @{ $client->{events} } > $client->{taken}
    }));
}

sub rolled_back {
    my $n = () = $nginx->error_log =~ /"\Q${\key()}\E" has lost its entries/g;
    return $n;
}

sub restarted {
    my $n = () = $nginx->error_log =~ /"\Q${\key()}\E" was deleted or recr/g;
    return $n;
}


# --- entries that are lost, and what comes instead of them

for (grep { !/tiny|stop/ } sort keys %LOCATIONS) {
    $where = $_;
    new_channel();

    my $early = ask();
    fill(1, 20);
    my $dump = dump_stream();

    fill(21, 25);
    my $late = ask(19);

    is got($early, 25), join(' ', 1 .. 25), "$where: a client has got all";
    is got($late, 6), join(' ', 20 .. 25), 'so has one that resumed';

    restore($dump);
    ok wait_for(20, sub { rolled_back() || restarted() }),
        'the loss of the tail is noticed';
    is rest($early), '', 'nothing is repeated for the first';
    is rest($late), '', 'nor for the second';

    # positions in the stretch that is lost, before it, after it

    my $gone = ask(25);
    my $middle = ask(22);
    my $last = ask(20);
    my $before = ask(18);

    is got($before, 2), '19 20', "$where: one from before gets what is kept";
    is rest($gone), '', 'one whose position is lost gets nothing again';
    is rest($_), '', 'nor does another one' for $middle, $last;

    # smaller IDs, and those that were given out before

    fill(21, 21, sequence => 101);
    is got($_, 1), '101', "$where: what takes a lost ID's place arrives"
        for $early, $late, $gone, $middle, $last, $before;

    fill(22, 30, sequence => 102);
    is got($_, 9), join(' ', (102) x 9), 'and what follows'
        for $early, $late, $gone, $middle, $last, $before;

    is got(ask(28), 2), '102 102', 'the new IDs are positions as any other';

    is restarted(), 0, 'the stream was never read from its start';
    is rolled_back(), 1, 'the log tells of the loss once';
    $_->close for $early, $late, $gone, $middle, $last, $before;
}


# --- lost again, and again

$where = 'events';
new_channel();

{
    my $client = ask();
    my @dumps;

    fill(1, 3);
    is got($client, 3), '1 2 3', 'a client has all there is';

    for my $from (4, 6, 5) {
        push @dumps, dump_stream();
        fill($from, 9, sequence => $from);
        is got($client, 10 - $from), join(' ', ($from) x (10 - $from)),
            "a tail from $from on is delivered";

        # from the second on, the stream has a bit of the tail before

        restore($dumps[0]);
        is rest($client), '', 'and lost';
        my $late = ask(9);
        fill(4, 4, sequence => 40);
        is got($client, 1), '40', 'what is new arrives';
        is got($late, 1), '40', 'also for one whose position is lost';
        fill(5, 5, sequence => 50) if $from == 4;
        is got($_, $from == 4), $from == 4 ? '50' : '', 'and more'
            for $client, $late;
        $late->close;

        restore($dumps[0]);
        is rest($client), '', 'which is lost in its turn';
    }

    is restarted(), 0, 'and nothing was sent twice';
}


# --- new entries are there before the worker looks

sub replace {
    my ($dump, @fills) = @_;

    redis('MULTI');
    $dump ? restore($dump) : redis('DEL', key());
    fill(@$_) for @fills;
    redis('EXEC');
}

for (sort keys %LOCATIONS) {
    $where = $_;

    my @cases = (
        ['before the cursor', 4, 5, 7],
        ['around it', 4, 6, 7, 9, 10, 11],
        ['after it', 9 .. 12],
        ['far more than are read at once', 4, 6, 7, 10 .. 130],
    );

    for my $case (@cases) {
        my ($title, @new) = @$case;

        last if $where eq 'tiny';

        new_channel();
        my $client = ask();
        fill(1, 3);
        my $dump = dump_stream();
        fill($_, $_) for 5, 8;
        my $late = ask(5);
        is got($client, 5), '1 2 3 5 8', "$where, $title: a client has all";
        is got($late, 1), '8', 'another one, too';

        replace($dump, map { [$_, $_] } @new);
        is got($_, scalar @new), "@new",
            'what takes the place of the tail arrives' for $client, $late;

        # 8 was rolled back, which the worker remembers when 8 is not in
        # memory any more

        my $gone = ask(8);
        is got($gone, scalar @new), "@new",
            'also for one that resumes there';

        fill(200, 200);
        is got($_, 1), '200', 'and what is live'
            for $client, $late, $gone;
        is restarted(), 0, 'the stream was not read from its start';
        is rolled_back(), 1, 'the loss was noticed';
        $_->close for $client, $late, $gone;
    }

    # another stream, around the cursor of the one before

    new_channel();
    my $client = ask();
    fill(1, 5);
    is got($client, 5), '1 2 3 4 5', "$where: a client has all";
    replace(undef, [2, 3, sequence => 7], [8, 9, sequence => 7]);

    is got($client, 4), '7 7 7 7', 'a stream made anew is sent as a whole';

    fill(10, 10);
    is got($client, 1), '10', 'and goes on';
    is rolled_back(), 0, 'it was not taken for the one it was';
    $client->close;

    # its IDs are others

    new_channel();
    $client = ask();
    fill($_, $_) for 1, 3, 5;
    is got($client, 3), '1 3 5', "$where: a client has all";
    replace(undef, [4, 4, sequence => 7], [6, 6, sequence => 7]);
    is got($client, 1), '7', 'what comes after its position arrives';
    $client->close;

    # it ends before the cursor, and begins in the window

    new_channel();
    $client = ask();
    fill($_, $_) for 1, 3, 5;
    is got($client, 3), '1 3 5', "$where: a client has all";
    replace(undef, [4, 4, sequence => 7]);
    is got($client, 1), '7', 'a stream made anew that ends before';
    $client->close;

    # entries are deleted; Redis 6 does not tell that from a rollback, when the
    # worker has none of those that are left in memory

    next if @UNSURE && $where eq 'tiny';

    new_channel();
    $client = ask();
    fill(1, 5);
    is got($client, 5), '1 2 3 4 5', "$where: a client has all";
    redis('XDEL', key(), id(4), id(5));
    fill(6, 6);
    is got($client, 1), '6', 'nothing is repeated when the last are deleted';
    redis('XDEL', key(), id(6));
    is rest($client), '', 'nor when nothing follows';
    fill(7, 7);
    is got($client, 1), '7', 'until something does';
    redis('XDEL', key(), id($_)) for 1 .. 3, 7;
    is rest($client), '', 'nor when all are';
    fill(8, 8);
    is got($client, @UNSURE + 1), join(' ', @UNSURE, 8),
        'and then something follows';
    $client->close;
}


# --- an END that is lost

for ('events', 'stop') {
    $where = $_;
    new_channel();

    fill(1, 58, payload => { value => 'x' x 8000 });
    my $dump = dump_stream();
    fill(59, 59);
    fill(60, 60, phase => 'END');

    # one that does not read on keeps the channel

    my $stalled = IO::Socket::INET->new(Proto => 'tcp') or die "socket: $!";
    setsockopt $stalled, SOL_SOCKET, SO_RCVBUF, pack 'i', 4096;
    connect $stalled, Socket::pack_sockaddr_in(
        $slow_port, Socket::inet_aton('127.0.0.1')) or die "connect: $!";
    $stalled->syswrite("GET /$where/$ORG?channel_id=$channel HTTP/1.1\r\n"
                       . "Host: localhost\r\n\r\n");

    my $client = ask(57);
    is got($client, 3), '58 59 60', "$where: a stream has ended";
    ok $client->end(20), "$where: and the response";

    my $waits = ask(60);
    is $waits->status, $where eq 'stop' ? 204 : 200,
        "$where: a client at the END is let go, or waits";

    restore($dump);
    ok wait_for(20, sub { rolled_back() || restarted() }),
        "$where: the END is lost";

    $client = ask(60);
    is $client->status, 200, "$where: then such a client waits";
    is rest($client), '', "$where: for it gets nothing again";

    fill(59, 59, sequence => 590);
    is got($client, 1), '590', "$where: but what is new";
    fill(60, 60, phase => 'END', sequence => 600);
    is got($client, 1), '600', "$where: up to the new END";
    ok $client->end(20), "$where: its response ends there";

    is got($waits, 2), '590 600', 'the one that waited all the time gets it, too'
        if $where ne 'stop';
    close $stalled;
}

$where = 'events';


# --- another stream, which may have the same IDs

new_channel();

{
    my $client = ask();
    fill(1, 5);
    is got($client, 5), '1 2 3 4 5', 'a client has all there is';

    redis('MULTI');
    redis('DEL', key());
    fill(1, 3, sequence => 7);
    redis('EXEC');

    is got($client, 3), '7 7 7', 'a stream made anew is sent from its start';
    is rolled_back(), 0, 'and not taken for the one it was';

    my $future = ask(5);
    is got($future, 3), '7 7 7', 'also to one with a position of that one';

    redis('DEL', key());
    fill(1, 1, sequence => 8);
    is got($client, 1), '8', 'and once more';
}


# --- nobody knows the position

new_channel();

{
    fill(1, 3);
    my $client = ask(5);
    is got($client, 4), 'history_lost 1 2 3',
        'a position that this worker never saw is one of another stream';
}


# --- what is no longer in memory can't be compared

$where = 'tiny';
new_channel();

{
    my $client = ask();
    fill(1, 3);
    my $dump = dump_stream();
    fill(4, 5);
    is got($client, 5), '1 2 3 4 5', 'without a window, a client has all';

    restore($dump);
    is got($client, 3), '1 2 3', 'and gets again what is kept';
}


# --- what was lost is not said to be trimmed

$where = 'events';
new_channel();

{
    my $client = ask();
    fill(1, 9);
    is got($client, 9), join(' ', 1 .. 9), 'a client has all there was';

    redis('XTRIM', key(), 'MAXLEN', '=', 5);
    my $dump = dump_stream();
    fill(10, 12);
    is got($client, 3), '10 11 12', 'and what came then';

    restore($dump);
    is rest($client), '', 'the tail is lost';

    redis('XTRIM', key(), 'MAXLEN', '=', 0);
    fill(10, 10, sequence => 100);
    is got($client, @UNSURE + 1), join(' ', @UNSURE, 100),
        'a trim of all that it had is no loss to it';
}

is $nginx->stop, 0, 'NGINX quits';
done_testing();
