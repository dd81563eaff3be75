# Copyright (C) Conduit for NGINX authors
#
# Readers that are slower than their stream: how much memory one takes, what it
# gets when it reads on, and when it is told that it lost events.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use IO::Select;
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_RCVBUF inet_aton pack_sockaddr_in);
use Test::More;
use Time::HiRes qw(sleep time);

my $SLOW = $ENV{TEST_NGINX_USE_VALGRIND} ? 10 : 1;
my $LIMIT = 20;

# what the system takes for a slow reader, on both sides, by and large
my $SYSTEM = 48 * 1024;

my %LOCATIONS = (
    events => '',
    small => 'conduit_gateway_window 16k; conduit_gateway_buffer_size 8k;'
             . 'conduit_gateway_read_count 20;',
    one => 'conduit_gateway_window 1; conduit_gateway_buffer_size 1;'
           . 'conduit_gateway_read_count 1;',
    stuck => 'conduit_gateway_window 16k; conduit_gateway_buffer_size 8k;'
             . 'send_timeout 2s;',
    large => 'conduit_gateway_window 4m; conduit_gateway_buffer_size 4m;'
             . 'send_timeout 2s;',
    idle => 'conduit_gateway_keepalive 100ms;',
);

package Quiet {
    our @ISA = 'Conduit::Nginx';

    sub conf { return shift->SUPER::conf(@_) =~ s/log debug;/log info;/r }
}

# a client that need not wait for its response, and need not read it
package Client {
    our @ISA = 'Conduit::SSE';

    sub ask {
        my ($class, $port, $n, $path, %o) = @_;

        my $s = IO::Socket::INET->new(Proto => 'tcp') or die "socket: $!";

        setsockopt $s, main::SOL_SOCKET, main::SO_RCVBUF, pack 'i', 4096
            if $o{slow};
        connect $s, main::pack_sockaddr_in($port, main::inet_aton('127.0.0.1'))
            or die "connect: $!";

        my $header = defined $o{after} ? "Last-Event-ID: $o{after}\r\n" : '';
        $s->syswrite("GET $path HTTP/1.1\r\nHost: localhost\r\n$header\r\n");

        return bless { raw => '', body => '', parsed => 0, events => [],
                       taken => 0, comments => [], method => 'GET',
                       socket => $s, n => $n }, $class;
    }

    sub until {
        my ($self, $seconds, $condition) = @_;

        return $self->SUPER::until($seconds, sub {
            $self->parse_header && $condition->() });
    }

    # the response's header, and no more of it than comes along
    sub started { $_[0]->until(30, sub { 1 }); return $_[0]{status} }

    # an event is its sequence number, "lost", or its text
    sub dispatch {
        my $self = shift;

        my $event = delete $self->{current} or return;
        my $data = $event->{data} = join "\n", @{ $event->{lines} // [] };

        if (($event->{event} // '') eq 'control') {
            push @{ $self->{control} },
                { %$event, position => $self->{position} };

        } elsif (exists $event->{id}) {
            $self->{position} = $event->{id};
        }

        push @{ $self->{events} },
            $data =~ /^\{"event_type":"stream".*?"sequence":(\d+)/ ? $1
            : $data =~ /"control_type":"history_lost"/ ? 'lost' : $data;
    }
}

my $locations = join '', map {
    my $name = $_;
    gateway_location("conduit_gateway_auth off; $LOCATIONS{$name}")
        =~ s{/events/}{/$name/}r
} sort keys %LOCATIONS;

# the second server is for slow readers: the system takes little for them; the
# channels are those of the first one
my $slow_port = free_port();

my $nginx = Quiet->start(http => <<"EOC", server => $locations);
    log_format ends '\$arg_n \$status \$conduit_gateway_close '
                    '\$conduit_gateway_events \$conduit_gateway_bytes '
                    '\$conduit_gateway_losses';
    access_log logs/ends.log ends;

    server {
        listen 127.0.0.1:$slow_port sndbuf=8k;
$locations
    }
EOC

my ($worker) = $nginx->workers;
my ($channels, $requests) = (0, 0);

# memory says nothing where a tool has its own
my $measures = !$ENV{TEST_NGINX_USE_VALGRIND}
               && read_file("/proc/$worker/maps") !~ /asan|clang_rt/;


# --- helpers

sub channel { return sprintf '%08x-0000-4000-8000-000000000000', ++$channels }

sub ask {
    my ($where, $channel, %o) = @_;

    return Client->ask($o{slow} ? $slow_port : $nginx->port, ++$requests,
                       "/$where/$ORG?channel_id=$channel&n=$requests", %o);
}

# one that has its header, and does not read on
sub stall {
    my $client = ask(@_, slow => 1);
    return $client->started == 200 ? $client : die 'no 200';
}

# the entry of a sequence number has the ID 1000-<number>
sub id { return '1000-' . shift }

# Adds messages of these sequence numbers, without waiting for each reply.
# trim: of the stream, to that many, with each.
sub fill {
    my ($channel, $first, $last, %o) = @_;

    our $raw //= IO::Socket::INET->new("127.0.0.1:$Conduit::REDIS_PORT");

    # one message is made, the number in it replaced
    my $message = message(channel_id => $channel, sequence => undef,
                          phase => $o{phase} // 'DELTA',
                          payload => { value => 'x' x ($o{size} // 20) });
    my @head = ('XADD', stream_key($ORG, $channel),
                $o{trim} ? ('MAXLEN', $o{trim}) : ());

    for ($first .. $last) {
        my @args = (@head, $o{id} ? $o{id}->($_) : id($_), 'data',
                    $message . Conduit::pb_varint(5, $_));
        print $raw '*' . @args . "\r\n",
                   map { '$' . length($_) . "\r\n$_\r\n" } @args;
    }

    $raw->flush;

    for ($first .. $last) {
        (<$raw> // '') =~ /^\$/ or die 'no ID';
        <$raw>;
    }
}

sub finish { fill($_[0], $_[1], $_[1], phase => 'END') }

sub trim { return redis('XTRIM', stream_key($ORG, shift), 'MAXLEN', shift) }

# what a client gets up to an event
sub upto {
    my ($client, $last) = @_;
    my $from = $client->{taken};

    1 while ($client->event($LIMIT) // $last) ne $last;

    return ranges(@{ $client->{events} }[$from .. $client->{taken} - 1]);
}

# all that a response has to its clean end
sub whole {
    my $client = shift;

    my $end = $client->end($LIMIT) ? '' : ', no end';

    $client->close;
    return ranges(@{ $client->{events} }) . $end;
}

# status, $conduit_gateway_close, events and bytes of a request that is over
sub logged {
    my $client = shift;
    my $line;

    wait_for(20, sub {
        ($line) = read_file($nginx->root . '/logs/ends.log')
                  =~ /^$client->{n} (.*)$/m;
    });

    return split ' ', $line // 'none';
}
sub ended { return join ' ', (logged(shift))[0, 1] }

# waits until a number that is not 0 stays the same for a while
sub settled {
    my $value = shift;
    my ($last, $same) = (0, 0);

    wait_for(20, sub {
        my $now = $value->();
        $same = $now && $now == $last ? $same + 1 : 0;
        $last = $now;
        return $same == 20;
    });

    return $last;
}

# how often Redis was asked about a stream, once that is over
sub looks {
    return settled(sub { redis('INFO', 'commandstats')
        =~ /^cmdstat_xinfo(?:\|stream)?:calls=(\d+)/m ? $1 : 0 });
}

# waits until nothing more gets into the sockets of a reader
sub full {
    my $client = shift;
    settled(sub {
        ioctl $client->socket, 0x541b, my $bytes = pack 'i', 0
            or die "FIONREAD: $!";
        return unpack 'i', $bytes;
    });
}

sub rss_kb {
    return read_file("/proc/$worker/status") =~ /^VmRSS:\s+(\d+)/m ? $1 : 0;
}

sub no_growth {
    my ($before, $limit, $title) = @_;
    my $grown = rss_kb() - $before;

    diag "$title: $grown kB";
    cmp_ok $grown, '<', $limit, $title if $measures;
}


# --- what a reader that stops costs

my $MANY = 4000;

for my $where ('events', 'small') {
    # the first round makes the worker's memory as large as it gets

    for my $round (1, 2) {
        my $c = channel();
        my $stalled = stall($where, $c);
        my @others = map { ask($where, $c) } 1 .. 2;

        $_->started for @others;
        my ($rss, $had) = (rss_kb(), 0);

        for my $part (0 .. 7) {
            my $first = $part * $MANY / 8 + 1;
            my $last = ($part + 1) * $MANY / 8;

            fill($c, $first, $last, size => 2000);
            $had += grep { upto($_, $last) eq "$first..$last" } @others;
        }

        is $had, 16, "$where: clients that read have all events, part by part";
        no_growth($rss, 2048, "$where: 8M past a stalled reader stay out of"
                  . ' the worker') if $round == 2;

        finish($c, $MANY + 1);
        is whole($_), '1..' . ($MANY + 1),
            "$where: clients that read have all events up to the end"
            for @others;
        is ended($others[0]), '200 end',
            "$where: a client that had all events is logged as ended";

        is whole($stalled), '1..' . ($MANY + 1),
            "$where: a stalled client, when it reads, has all events in order";
        is ended($stalled), '200 end',
            "$where: a stalled client that read on is logged as ended";
    }
}


# --- what the history of a stream leaves behind

{
    my ($empty, $c) = (channel(), channel());
    my $holder = ask('events', $c);

    fill($c, 1, 200);
    is upto($holder, 200), '1..200', 'small events are published';

    # a client costs as much after it got 200 of them as one that got none

    my @kept;
    my $clients = sub {
        my ($channel, $n) = @_;
        my $before = rss_kb();

        for (1 .. 200) {
            my $client = ask('events', $channel);

            $client->started;
            push @kept, $client;
            next if !$n || upto($client, $n) eq "1..$n";

            fail "each client gets $n events";
            last;
        }

        return rss_kb() - $before;
    };

    $clients->($c, 200);
    my ($without, $with) = ($clients->($empty, 0), $clients->($c, 200));

    diag "200 clients: $without kB without events, $with kB after 200 events";
    cmp_ok $with - $without, '<', 1500,
        'a client that got 200 small events keeps no memory for them'
        if $measures;
    $_->close for @kept, $holder;
}


# --- events that are copied, and events that are not

# sizes of values: events of up to 4096 bytes are copied if others are beside
# them, into at most 16 KB and one event more
my @SIZES = ((20) x 3, 5000, 20, 5000, 5000, map({ 3600 + 5 * $_ } 0 .. 100),
             5000, (3000) x 7, 20_000, 20, 70_000, (20) x 300);

for my $where (qw(events small one)) {
    my $c = channel();
    my $live = ask($where, $c);

    $live->started;
    for my $n (1 .. @SIZES) {
        fill($c, $n, $n, size => $SIZES[$n - 1]);
        upto($live, $n) if $n % 7 == 0;
    }
    finish($c, @SIZES + 1);

    my @late = (ask($where, $c), ask($where, $c, slow => 1));
    my $all = '1..' . (@SIZES + 1);

    is whole($_), $all, "$where: events of all sizes, in order"
        for $live, @late;
    is join(' ', map { $_->body eq $live->body ? 'same' : 'other' } @late),
        'same same', "$where: events of all sizes, the same bytes for all";
}


# --- how much is unsent

{
    my $c = channel();
    my $other = ask('events', $c);
    my %bytes;

    fill($c, 1, 1000, size => 1000);
    is upto($other, 1000), '1..1000',
        'a megabyte is published, and read by another client';

    my $large = channel();

    fill($large, 1, 100, size => 10_000);

    my $reader = ask('events', $large);
    is upto($reader, 100), '1..100', 'another megabyte, of larger events';

    for my $where (qw(events small one large)) {
        my @what = $where eq 'large' ? ('events', $large) : ($where, $c);
        my $stalled = stall(@what);

        # clients at the same place take turns: when a later one has an event,
        # the stalled one has been given all that it gets

        my $later = ask(@what);
        is upto($later, 1), '1', "$where: a later client has an event";
        $later->close;

        full($stalled);
        $stalled->close;

        (my ($status, $close, $events), $bytes{$where}) = logged($stalled);
        is "$status $close", '200 client',
            "$where: a client that never read and leaves is logged as such";
        cmp_ok $events, '<', 200,
            "$where: a client that never read had few of the events";
    }

    diag 'bytes handed over: ',
        join ', ', map { "$_ $bytes{$_}" } sort keys %bytes;

    cmp_ok $bytes{small}, '<', 8192 + 2000 + $SYSTEM,
        'no more than conduit_gateway_buffer_size is unsent in a worker';
    cmp_ok $bytes{one}, '<', 2000 + $SYSTEM,
        'no more than one event is unsent with the smallest buffer size';
    cmp_ok $bytes{large}, '>', 65536,
        'a client that stalls gets as much as its buffer size';
    cmp_ok $bytes{large}, '<', 65536 + 11_000 + $SYSTEM,
        'a client that stalls gets no more than its buffer size';
    cmp_ok $bytes{events}, '>', 12288,
        'a client that stalls gets as many small events as are copied at once';
    cmp_ok $bytes{events}, '<', 16384 + $SYSTEM,
        'a client that stalls gets no more small events than are copied';
    $_->close for $other, $reader;
}


# --- events that are larger

for my $where ('small', 'one') {
    my $c = channel();
    my $stalled = stall($where, $c);
    my $reads = ask($where, $c);

    fill($c, 1, 20, size => 16000);
    fill($c, 21, 21, size => 1_000_000);
    finish($c, 22);

    is whole($reads), '1..22',
        "$where: events over conduit_gateway_buffer_size are delivered";
    is length(($reads->body =~ /"value":"(x{17000,})"/)[0]), 1_000_000,
        "$where: events over conduit_gateway_buffer_size are not cut";
    is whole($stalled), '1..22',
        "$where: a slow client gets events over conduit_gateway_buffer_size";
}


# --- a loss

my $CONTROL = qr/\{"event_type":"control","message_id":"
                 [0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}
                 -[0-9a-f]{12}","control_type":"history_lost","reason":"trimmed"\}/x;

for my $where ('events', 'small', 'one') {
    my $c = channel();
    my $stalled = stall($where, $c);
    my $other = ask($where, $c);

    fill($c, 1, 2000, size => 2000);
    is upto($other, 2000), '1..2000',
        "$where: a client that reads has all before the trimming";

    trim($c, 50);

    # what the worker still has in its window may be given, too

    like upto($stalled, 2000), qr/^1\.\.\d+ lost 1\d\d\d\.\.2000$/,
        "$where: a stalled client that was trimmed past is told once";

    fill($c, 2001, 2010);
    is upto($stalled, 2010), '2001..2010',
        "$where: a client that was told goes on without another word";

    fill($c, 2011, 4000, size => 2000);
    is upto($other, 4000), '2001..4000',
        "$where: a client that reads has all before the second trimming";
    trim($c, 50);
    finish($c, 4001);

    like whole($stalled), qr/^1\.\.\d+ lost 1\d+\.\.\d+ lost 3\d+\.\.4001$/,
        "$where: a client that loses events again is told again";

    my @events = @{ $stalled->{control} // [] };
    is scalar(@events), 2,
        "$where: a client that loses events twice is told twice in all";
    like $_->{data}, qr/^$CONTROL$/,
        "$where: a loss is told with the event of the contract"
        for @events;
    is $_->{id}, $_->{position},
        "$where: a loss is told with the position of the client as ID"
        for @events;
    isnt $events[0]{data}, $events[1]{data},
        "$where: each loss is told with another message_id";
    unlike whole($other), qr/lost/,
        "$where: a client that reads has lost nothing";
}

for my $where ('events', 'small', 'one') {
    my $c = channel();
    fill($c, 1, 1000);
    trim($c, 100);

    # the first one has the worker read the channel, another is there meanwhile

    my @clients = map { ask($where, $c, after => id($_)) } 300, 700;
    is upto($_, 1000), 'lost 901..1000',
        "$where: a position that was trimmed away is a loss" for @clients;

    for my $from (299, 300, 301, 700, 899) {
        push @clients, ask($where, $c, after => id($from));
        is upto($clients[-1], 1000), 'lost 901..1000',
            "$where, warm: the position $from, which was trimmed, is a loss";
    }

    fill($c, 1001, 1010);
    is upto($_, 1010), '1001..1010',
        "$where: a client that was told of its loss goes on" for @clients;
    $_->close for @clients;
    is((logged($_))[4], 1, "$where: a loss is counted once") for @clients;

    # nothing is left, and there was something

    trim($c, 0);
    my $client = ask($where, $c, after => id(1009));
    $client->started;
    finish($c, 1011);
    is whole($client), 'lost 1011',
        "$where: a position before the last entry of an empty stream is a loss";
}


# --- no loss, unless the position is of another stream

for my $where ('events', 'small', 'one') {
    for my $warm (0, 1) {
        my $c = channel();
        my $name = $where . ($warm ? ', warm' : ', cold');
        my $keeper = $warm && ask($where, $c);

        fill($c, 1, 300);
        upto($keeper, 300) if $warm;

        my $none = sub {
            my ($title, $after, $first, $last, $told) = @_;

            my $client = ask($where, $c,
                             defined $after ? (after => $after) : ());
            is upto($client, $last),
                ($told // '') . ranges($first .. $last), "$name: $title";
            $client->close;
            logged($client);
        };

        $none->('a stream that is all there', id(1), 2, 300);
        $none->('a position before a stream that is all there', '5-0', 1, 300,
                'lost ');

        trim($c, 100);

        $none->('the position of the oldest entry kept', id(201), 202, 300);
        $none->('the position after the oldest entry kept', id(202), 203, 300);
        $none->('a position in the middle', id(250), 251, 300);
        $none->('the position of the last entry but one', id(299), 300, 300);

        # what the worker has in memory is given, too

        my $first = $warm && $where eq 'events' ? 1 : 201;

        $none->('no position', undef, $first, 300);
        $none->('the position 0-0', '0-0', $first, 300);
        $none->('a position in the future', '2000-0', $first, 300, 'lost ');

        my $last = ask($where, $c, after => id(300));
        $last->started;
        fill($c, 301, 310);
        is upto($last, 310), '301..310',
            "$name: the position of the last entry";

        # entries go when they were delivered, which the worker looks into

        my $looks = looks();
        trim($c, 0);
        ok wait_for(20, sub { looks() > $looks }),
            "$name: all entries are gone";

        my $empty = ask($where, $c, after => id(310));
        $empty->started;
        fill($c, 311, 320);

        # Redis 6 does not count what a stream had: others may have been there

        my $told = redis_version() >= 7_000_000 ? '' : 'lost ';

        is upto($empty, 320), "${told}311..320",
            "$name: the position of the last entry, which is gone since";
        is upto($last, 320), "${told}311..320",
            "$name: a client that stayed while the entries went";

        $_->close, logged($_) for grep { $_ } $keeper, $last, $empty;
        redis('DEL', stream_key($ORG, $c));
        fill($c, 1, 50, id => sub { "7-$_[0]" }, trim => 20);

        my $anew = $warm && ask($where, $c);
        upto($anew, 50) if $warm;
        $none->('a stream made anew, and trimmed', id(310), 31, 50, 'lost ');
    }
}


# --- a slow reader, and trimming near its position

# What a reader gets says itself whether it lost something: a gap.  One entry
# more or less decides.

{
    my ($told, $quiet, $place, @wrong) = (0, 0);

    for my $from (undef, -12 .. 12) {
        my $c = channel();
        my $stalled = stall('small', $c);
        my $other = ask('small', $c);

        fill($c, 1, 300, size => 1000);
        upto($other, 300);
        $other->close;

        # the first one is to find where readers stand

        if (!defined $from) {
            $stalled->close;
            $place = (logged($stalled))[2];
            next;
        }

        redis('XTRIM', stream_key($ORG, $c), 'MINID', id($place + $from));
        finish($c, 301);

        my $got = whole($stalled);
        my $gap = $got =~ /^1\.\.(\d+) lost (\d+)\.\.301$/ && $1 + 1 < $2;

        $gap ? $told++ : $quiet++;
        push @wrong, $got if !$gap && $got ne '1..301';
    }

    diag "told $told, not told $quiet, of position $place";
    is join("\n", @wrong), '', 'a loss is told when there is a gap, else not';
    ok $told && $quiet,
        'there were losses that were told, and clients without a loss';
}


# --- trimming while the worker is busy with something else

for my $kept (50, 500) {
    my $c = channel();
    my $client = ask('events', $c);

    fill($c, 1, 5);
    is upto($client, 5), '1..5', 'a client has all before the worker stops';
    kill 'STOP', $worker;
    stopped($worker);
    fill($c, 6, 1000);
    trim($c, $kept);
    kill 'CONT', $worker;

    is upto($client, 1000), 'lost ' . (1001 - $kept) . '..1000',
        "a worker that comes late to a stream of $kept tells of the loss";
    $client->close;
}


# --- trimming between the look at a position and its read

{
    my $c = channel();
    fill($c, 1, 400, size => 200);

    my $keeper = ask('small', $c);
    is upto($keeper, 400), '1..400',
        'a client with all events has moved the window beyond the first ones';

    # the answer to the look lies there, not read yet, when the stream changes

    redis_pause();
    my $client = ask('small', $c, after => id(10));
    ok wait_for(20, sub { redis_input() }), 'a position is looked up';

    kill 'STOP', $worker;
    stopped($worker);
    redis_resume();
    redis('PING');
    is trim($c, 5), 395, 'the stream is trimmed before the reply is read';
    kill 'CONT', $worker;

    finish($c, 401);
    like whole($client), qr/\A11\.\.\d+ lost 396\.\.401\z/,
        'what the reply had is sent, and the loss behind it is told';
    is whole($keeper), '1..401',
        'a client that had all events is told of no loss';
}


# --- trimming all the time, many positions

for my $where ('events', 'small', 'one') {
    my $c = channel();
    my $last = 500;
    my %clients;

    fill($c, 1, $last, size => 100);

    for my $n (1 .. 60) {
        my $from = $last - 7 * ($n * 23 % 60);

        my $client = ask($where, $c, after => id($from), slow => $n % 3 == 0);
        $clients{"$n from $from"} = [$from, $client];
        fill($c, $last + 1, $last += 25, size => 100, trim => 300);
    }

    finish($c, ++$last);

    my @wrong;
    for my $name (sort keys %clients) {
        my ($at, $client) = @{ $clients{$name} };
        my $got = whole($client);
        my $bad = $got !~ /^(?:lost )?[\d.]+(?: lost [\d.]+)*$/
                  || $client->{events}[-1] ne $last;

        for my $event (@{ $client->{events} }) {
            $bad = 1 if $event ne 'lost' && $at ne 'lost' && $event != $at + 1;
            $at = $event;
        }

        push @wrong, "$name: $got" if $bad;
    }

    is join("\n", @wrong), '',
        "$where: in a stream that is trimmed all the time no gap is silent";
}


# --- a long stream to one client

{
    my $c = channel();
    my $total = 100_000;
    my ($rss, $next, $count, $tail) = (0, 1, 0, '');
    my $client = ask('events', $c);

    is $client->started, 200, 'a client of a long stream';

    for my $part (1 .. 50) {
        my $to = $part * $total / 50;
        fill($c, $to - $total / 50 + 1, $to, trim => 5000, size => 50);
        $rss = rss_kb() if $part == 5;

        my $deadline = time + $LIMIT * $SLOW;
        my $select = IO::Select->new($client->socket);

        while ($next <= $to && time < $deadline && $select->can_read(1)) {
            sysread($client->socket, $tail, 262144, length $tail) or last;
            $tail =~ s/\r\n[0-9a-f]+\r\n//g;

            while ($tail =~ s/\A[^\n]*\n//) {
                $& =~ /"sequence":(\d+)/ or next;
                $count++ if $1 == $next;
                $next = $1 + 1;
            }
        }
    }

    is $count, $total,
        'a client of a long stream has 100,000 events, each once and in order';
    no_growth($rss, 1024, '90,000 events leave nothing in the worker');
    $client->close;

    is join(' ', (logged($client))[0 .. 2]), "200 client $total",
        'the log has the number of events of a long stream';
}


# --- readers that are stuck

# reads a little at a time with one client, until another one is closed
sub outlasts {
    my ($slow, $stuck) = @_;

    my $taken = sub { length($slow->{raw}) + length $slow->{body} };

    for (1 .. 600 * $SLOW) {
        my $before = $taken->();

        $slow->until(0.01, sub { $taken->() > $before });
        sleep 0.1;
        return 1 if read_file($nginx->root . '/logs/ends.log')
                    =~ /^$stuck->{n} /m;
    }

    return 0;
}

{
    my $c = channel();
    my $stuck = stall('stuck', $c);
    my $slow = stall('stuck', $c);
    my $other = ask('stuck', $c);

    fill($c, 1, 300, size => 1000);
    is upto($other, 300), '1..300', 'a client that reads has all events';

    # one takes a little all the time, one nothing

    ok outlasts($slow, $stuck),
        'a reader that takes nothing is closed after send_timeout';
    is ended($stuck), '200 timeout',
        'a client that takes nothing is logged as timed out';
    ok !$stuck->end, 'the response of a client that takes nothing is cut off';
    finish($c, 301);
    is whole($slow), '1..301',
        'a client that takes a little at a time gets all events';
    is whole($other), '1..301',
        'a client that reads gets all events beside one that is stuck';

    is ended($slow), '200 end',
        'a client that takes a little at a time is logged as ended';
}

# all that there is goes to the system with the first write, which takes it in
# pieces: each begins send_timeout anew

{
    my $c = channel();
    my $other = ask('large', $c);

    fill($c, 1, 200, size => 8000);
    is upto($other, 200), '1..200', 'a client has events for a large write';

    my $slow = stall('large', $c);
    my $stuck = stall('large', $c);

    ok outlasts($slow, $stuck),
        'a reader that takes nothing of a large write is closed';
    is ended($stuck), '200 timeout',
        'a client that takes nothing of a large write is logged as timed out';
    finish($c, 201);
    is whole($slow), '1..201',
        'a client that takes a large write a little at a time gets all of it';
    is ended($slow), '200 end', 'a large write ends with the response';
    $other->close;
}

# --- a client that is stuck, and one that is idle, beside each other

# What the worker does meanwhile is counted by the comments of the idle one: it
# need not run but for these, a sweep, and a probe now and then.

sub worked {
    my @stat = split ' ', (read_file("/proc/$worker/stat") =~ /\) (.*)/)[0];
    my ($naps) = read_file("/proc/$worker/status")
                 =~ /^voluntary_ctxt_switches:\s+(\d+)/m;

    return ($stat[11] + $stat[12], $naps);       # utime and stime, in ticks
}

{
    my ($full, $quiet) = (channel(), channel());
    my $stuck = stall('idle', $full);
    my $idle = ask('idle', $quiet);

    fill($full, 1, 500, size => 1000);
    full($stuck);
    is $idle->started, 200, 'an idle client comes to a stuck one';
    ok $idle->comment(20), 'the idle client gets a comment';

    my $COMMENTS = 40;
    my ($ticks, $naps) = worked();

    my $had = 0;
    $had++ while $had < $COMMENTS && $idle->comment(20);
    is $had, $COMMENTS,
        'an idle client gets its comments beside one that is stuck';

    my @now = worked();
    $ticks = $now[0] - $ticks;
    $naps = $now[1] - $naps;

    diag "the worker woke up $naps times, and ran for $ticks ticks";
    cmp_ok $naps, '<', 20 * $COMMENTS,
        'a worker with a stuck client wakes up seldom';
    cmp_ok $ticks, '<', $COMMENTS,
        'a worker with a stuck client does little' if $measures;

    # messages for the one that is stuck are no reason for more

    fill($full, 501, 520);
    fill($quiet, 1, 1);
    is upto($idle, 1), '1', 'a message gets through to the idle client';
    finish($_, 521) for $full, $quiet;
    is whole($idle), '1 521', 'END gets through to the idle client';
    is whole($stuck), '1..521', 'a stuck client, when it reads, has all events';
}

is $nginx->stop, 0, 'NGINX quits';
done_testing();
