# Copyright (C) Conduit for NGINX authors
#
# Clients that reconnect: from which event they go on, and what they get.
#
# A position is served in one of three ways: from the window of a channel that
# the worker has in memory ("warm"), by reads of Redis for a client that is
# below the window, and by the first read of a channel that the worker does not
# have ("cold").  No way may lose an event, or send one twice.
#
# The random part draws the same each time; CONDUIT_SEED sets another seed.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(sleep time);

my $SLOW = $ENV{TEST_NGINX_USE_VALGRIND} ? 10 : 1;
my $LIMIT = 20;

# locations that differ in how much is read at once, and kept; there is another
# one of each, stop-..., whose clients are told to stop after END
my %LOCATIONS = (
    events => '',
    small => 'conduit_gateway_window 4k; conduit_gateway_read_count 7;',
    tiny => 'conduit_gateway_window 1; conduit_gateway_read_count 1;'
            . 'conduit_gateway_buffer_size 1;',
    poll => 'conduit_gateway_wakeup poll 50ms; conduit_gateway_window 2k;'
            . 'conduit_gateway_read_count 5;',
);

package Quiet {
    our @ISA = 'Conduit::Nginx';

    sub conf { return shift->SUPER::conf(@_) =~ s/log debug;/log info;/r }
}

# a client that need not wait for its response, and can be slow
package Client {
    our @ISA = 'Conduit::SSE';

    sub ask {
        my ($class, $port, $path, %o) = @_;

        my $s = IO::Socket::INET->new(Proto => 'tcp') or die "socket: $!";

        setsockopt $s, Socket::SOL_SOCKET(), Socket::SO_RCVBUF(),
                   pack 'i', $o{rcvbuf} if $o{rcvbuf};
        connect $s, Socket::pack_sockaddr_in($port,
                                             Socket::inet_aton('127.0.0.1'))
            or die "connect: $!";

        my $header = defined $o{header} ? "Last-Event-ID: $o{header}\r\n" : '';
        $s->syswrite("GET $path HTTP/1.1\r\nHost: localhost\r\n$header\r\n");

        return bless { raw => '', body => '', parsed => 0, events => [],
                       taken => 0, comments => [], method => 'GET',
                       socket => $s }, $class;
    }

    # what is there, as the socket says
    sub pump {
        my $self = shift;

        $self->{eof} = 1 if !$self->{socket}->sysread($self->{raw}, 65536,
                                                      length $self->{raw});
        $self->{headers} ? $self->parse_body : $self->parse_header;
    }

    sub until {
        my ($self, $seconds, $condition) = @_;

        return $self->SUPER::until($seconds, sub {
            $self->parse_header && $condition->() });
    }

    sub status {
        my $self = shift;

        $self->until(30, sub { 1 });
        return $self->{status};
    }

    # JSON is looked at elsewhere
    sub dispatch {
        my $self = shift;

        my $event = delete $self->{current} or return;
        my $data = join "\n", @{ $event->{lines} // [] };

        $event->{data} = $data;
        ($event->{sequence}) = $data =~ /"sequence":(\d+)/;
        ($event->{sequence}) = $data =~ /"reason":"(\w+)"/
            if ($event->{event} // '') eq 'control';
        $event->{end} = 1 if $data =~ /"phase":"PHASE_END"/;

        push @{ $self->{events} }, $event;
    }
}

my $locations = join '', map {
    my $name = $_;
    my $location = gateway_location("conduit_gateway_auth off;"
                                    . $LOCATIONS{$name});

    ($location =~ s{/events/}{/$name/}r,
     $location =~ s{/events/}{/stop-$name/}r
               =~ s/auth off;/auth off; conduit_gateway_after_end stop;/r)
} sort keys %LOCATIONS;

# the second server is for clients that do not read: the system takes little
# for them; the channels are those of the first one
my $slow_port = free_port();

my $nginx = Quiet->start(
    http => <<"EOC",
    log_format ends '\$arg_n \$status \$conduit_gateway_events '
                    '\$conduit_gateway_close';
    access_log logs/ends.log ends;

    server {
        listen 127.0.0.1:$slow_port sndbuf=8k;
$locations
    }
EOC
    server => publish_location("conduit_publish_rate off;"
                               . "conduit_publish_max_len 1000000;")
              . $locations);

my ($channels, $requests) = (0, 0);


# --- helpers

sub channel { return sprintf '%08x-0000-4000-8000-000000000000', ++$channels }

# Asks for a channel's events at a location: after => the position, as an
# argument; polyfill => likewise, as "lastEventId"; header => likewise, as a
# header; rcvbuf => 4096: for a slow one.
sub ask {
    my ($where, $channel, %o) = @_;

    my $path = "/$where/$ORG?channel_id=$channel&n=" . ++$requests;
    $path .= "&last_event_id=$o{after}" if defined $o{after};
    $path .= "&lastEventId=$o{polyfill}" if defined $o{polyfill};

    my $client = Client->ask($o{rcvbuf} ? $slow_port : $nginx->port, $path,
                             %o);
    $client->{n} = $requests;

    return $client;
}

# the entry of a sequence number has the ID 1000-<number>
sub id { return '1000-' . shift }

# Adds messages of these sequence numbers, without waiting for each reply.
sub fill {
    my ($channel, $first, $last, %o) = @_;

    our ($raw, $of);
    ($raw, $of) = (IO::Socket::INET->new("127.0.0.1:$Conduit::REDIS_PORT"), $$)
        if !$raw || $of != $$;

    $raw->print(join '', map { command(
        'XADD', stream_key($ORG, $channel), $o{id} ? $o{id}->($_) : id($_),
        'data', message(channel_id => $channel, sequence => $_,
                        phase => $o{phase} // 'DELTA',
                        payload => { value => 'x' x ($o{size} // 20) }))
    } $first .. $last);
    $raw->flush;

    for ($first .. $last) {
        (<$raw> // '') =~ /^\$/ or die 'no ID';
        <$raw>;
    }
}

sub command {
    return join '', '*' . @_ . "\r\n",
                map { '$' . length($_) . "\r\n$_\r\n" } @_;
}

# the last message of a stream
sub finish {
    my ($channel, $sequence) = @_;
    fill($channel, $sequence, $sequence, phase => 'END');
}

# all that a response has to its clean end
sub whole {
    my $client = shift;

    my $end = $client->end($LIMIT) ? '' : ', no end';

    $client->close;
    return ranges(map { $_->{sequence} } @{ $client->{events} }) . $end;
}

sub got {
    my ($client, $n) = @_;
    return ranges(map { $_->{sequence} } $client->events($n, $LIMIT));
}

# "204 0 end": status, events and $conduit_gateway_close of a request
sub logged {
    my $client = shift;
    my $line;

    wait_for(20, sub {
        ($line) = read_file($nginx->root . '/logs/ends.log')
                  =~ /^$client->{n} (.*)$/m;
    });

    return $line;
}

sub calls {
    my $command = shift;

    # Redis 6 does not tell subcommands

    return redis('INFO', 'commandstats')
           =~ /^cmdstat_$command(?:\|stream)?:calls=(\d+)/m
           ? $1 : 0;
}


# --- where the position stands

# Redis counts the entries of a stream from version 7 on; before, a stream made
# anew passes for one that was trimmed

my $GONE = redis_version() >= 7_000_000 ? 'gone' : 'trimmed';

for my $where (sort keys %LOCATIONS) {
    my $c = channel();
    fill($c, 1, 9);
    finish($c, 10);

    is whole(ask($where, $c)), '1..10', "$where: all without a position";
    is whole(ask($where, $c, header => id(4))), '5..10',
        "$where: strictly after the position in the header";
    is whole(ask($where, $c, after => id(4))), '5..10',
        "$where: strictly after the position in the argument";
    is whole(ask($where, $c, after => id(2), header => id(7))), '8..10',
        "$where: the header goes before the argument";
    is whole(ask($where, $c, after => id(7), header => id(2))), '3..10',
        "$where: an older header goes before the argument";
    is whole(ask($where, $c, header => id(9))), '10',
        "$where: the position before END gets END";
    is whole(ask($where, $c, header => '1000-0')), "$GONE 1..10",
        "$where: a position that no entry ever had is one of another stream";
    is whole(ask($where, $c, header => '1000')), "$GONE 1..10",
        "$where: a position without its second part is its first";
    is whole(ask($where, $c, header => '0-0')), '1..10',
        "$where: the position 0-0 is the beginning";

    my $client = ask($where, $c, header => id(4));
    whole($client);
    is logged($client), '200 6 end', "$where: \$conduit_gateway_close is end";
}


# --- positions that are none: no 400, after which an EventSource is deaf

my $live = channel();
fill($live, 1, 3);

my @MALFORMED = ('x', '-', '5-', '-5', '5-x', 'x-5', '5-5-5', '5--5', '+5-0',
                 '0x5-0', '5.0', '5 -0', '18446744073709551616-0',
                 '0-18446744073709551616', '$', '9' x 200, "\xc3\xa9",
                 "\xff\xfe", "1000-1\xe2\x80\xa6", '1000-1,1000-2', '0x5');

for my $id (@MALFORMED) {
    my $encoded = $id =~ s/([^A-Za-z0-9.-])/sprintf '%%%02x', ord $1/ger;
    my $title = length $id < 30 ? $encoded : 'of 200 digits';

    is first($live, header => $id), '1', "the header $title is no position";
    is first($live, after => $encoded), '1',
        "the argument $title is no position";
    is first($live, polyfill => $encoded), '1',
        "lastEventId=$title is no position";
    is first($live, header => $id, after => id(2)), '3',
        "an argument counts beside the header $title";
    is first($live, polyfill => $encoded, after => id(2)), '3',
        "last_event_id counts beside lastEventId=$title";
    is first($live, after => $encoded, header => id(2)), '3',
        "the header counts beside the argument $title";
}

# the sequence number of the first event
sub first {
    my ($channel, @position) = @_;

    my $client = ask('events', $channel, @position);
    my $sequence = $client->status == 200 ? got($client, 1) : $client->status;

    $client->close;
    return $sequence;
}

is first($live), '1', 'without a position the oldest event is the first';
is first($live, header => '', after => id(2)), '3',
    'an empty header is none: the argument counts';
is first($live, header => '', polyfill => '', after => id(2)), '3',
    'an empty lastEventId is none: last_event_id counts';
is first($live, after => '', polyfill => id(2)), '3',
    'an empty last_event_id is none: lastEventId counts';
is first($live, polyfill => id(1)), '2', 'lastEventId is a position';
is first($live, after => id(1), polyfill => id(2)), '3',
    'lastEventId, which is new with each reconnect, goes before last_event_id';
is first($live, header => id(2), after => id(1), polyfill => '0-0'), '3',
    'the header goes before both arguments';
is first($live, after => id(2) . '&last_event_id=' . id(2)), '1',
    'an argument that is given twice is no position';
is first($live, after => id(2) . '%'), '1',
    'an argument whose encoding is broken is no position';
is first($live, polyfill => '1000%2D2'), '3', 'an argument is decoded';

like $nginx->error_log,
    qr/\[info\].*client sent "$_" that is not a stream ID, it is ignored/,
    "a $_ that is no position is logged"
    for qw(Last-Event-ID lastEventId last_event_id);
unlike $nginx->error_log, qr/\[(?:warn|error|alert)\].*no stream ID/,
    'an unreadable position is no fault of the server';


# --- at END, and after it

sub refused {
    my ($title, $client) = @_;

    is $client->status, 204, "$title: 204";
    ok $client->end, "$title: the response ends";
    is $client->body, '', "$title: the response has no body";
    is logged($client), '204 0 end',
        "$title: the log has the end of the stream as the reason";
    $client->close;
}

for my $where (map { "stop-$_" } sort keys %LOCATIONS) {
    my $c = channel();

    fill($c, 1, 59, size => 8000);
    finish($c, 60);

    refused("$where, cold, at END", ask($where, $c, header => id(60)));
    refused("$where, cold, after END", ask($where, $c, after => '1000-61'));
    refused("$where, cold, long after END", ask($where, $c, after => '2000-0'));

    my $stalled = ask($where, $c, rcvbuf => 4096, after => id(1));
    is $stalled->status, 200, "$where: a client before END is served";

    # the worker has the channel while that client does not read on

    is whole(ask($where, $c, header => id(58))), '59..60',
        "$where: a position before the last two gets them";

    # what it has not finished with yet, it may ask for

    my $asked = 0;
    wait_for(20, sub {
        my $before = $asked;

        $asked = calls('xinfo') || die 'no XINFO';
        sleep 0.2;
        return $asked == $before;
    });

    refused("$where, warm, at END", ask($where, $c, header => id(60)));

    # while a poll is under way, it is asked for

    is calls('xinfo'), $asked,
        "$where: a client at END costs no question to Redis"
        if $where ne 'stop-poll';
    refused("$where, warm, after END", ask($where, $c, after => '1000-61'));
    is whole(ask($where, $c, header => id(59))), '60',
        "$where: the position before END gets END, from memory";

    is whole($stalled), '2..60', "$where: a slow client gets END";

    # what comes after END is a stream again

    fill($c, 61, 61);
    my $after = ask($where, $c, header => id(60));
    is got($after, 1), '61', "$where: what follows an END is delivered";
    finish($c, 62);
    is whole($after), '61..62', "$where: up to the next END";
}

# unless they are told to stop, they wait for the next turn

for my $where (sort keys %LOCATIONS) {
    for my $at (id(60), '1000-61', '2000-0') {
        my $c = channel();

        fill($c, 58, 59);
        finish($c, 60);

        my $cold = ask($where, $c, header => $at);
        is $cold->status, 200, "$where, cold, at $at after END 60: 200";

        my $asked = calls('xinfo');
        my $warm = ask($where, $c, after => $at);
        is $warm->status, 200, "$where, warm, at $at after END 60: 200";
        is calls('xinfo'), $asked,
            "$where: a client at END costs no question to Redis"
            if $at eq id(60);

        fill($c, 61, 61);
        finish($c, 62);

        # the stream has not given out the others: they are of another one

        my $told = $at eq id(60) ? '' : 'gone ';
        is whole($_), "${told}61..62",
            "$where: what follows END is delivered at $at, up to the next END"
            for $cold, $warm;
        is logged($_), '200 2 end',
            "$where: the log has both events and the end, at $at"
            for $cold, $warm;
    }

    # while the worker keeps what comes before the END, and sends it

    my $c = channel();
    fill($c, 1, 59, size => 8000);
    finish($c, 60);

    my $stalled = ask($where, $c, rcvbuf => 4096);
    is $stalled->status, 200, "$where: a client that does not read is there";
    is whole(ask($where, $c, header => id(58))), '59..60',
        "$where: a client that reads has END";

    my @waiting = map { ask($where, $c, after => $_) } id(60), '1000-61';
    is $_->status, 200,
        "$where: a client that has END waits for more" for @waiting;

    fill($c, 61, 61);
    finish($c, 62);
    is whole($waiting[0]), '61..62',
        "$where: a client at END gets what follows";
    is whole($waiting[1]), 'gone 61..62',
        "$where: a client beyond END is told that its stream is gone";
    is whole($stalled), '1..60',
        "$where: the first END ends the response of the client that stalled";
}

# a stream that expires after its END, and begins anew

{
    my $c = channel();
    fill($c, 1, 2);
    finish($c, 3);

    my $waits = ask('events', $c, header => id(3));
    is $waits->status, 200,
        'a client waits after END while its stream is there';
    redis('DEL', stream_key($ORG, $c));

    my $comes = ask('events', $c, header => id(3));
    is $comes->status, 200, 'a client waits after END when its stream is gone';

    fill($c, 4, 4, id => sub { "1001-$_[0]" });
    fill($c, 5, 5, id => sub { "1001-$_[0]" }, phase => 'END');

    # both had all; Redis 6 can't tell that nothing was trimmed before 1001-4

    my $told = redis_version() >= 7_000_000 ? qr// : qr/(?:trimmed )?/;

    like whole($_), qr/\A${told}4\.\.5\z/,
        'what comes after the stream is gone is delivered'
        for $waits, $comes;
}


# --- a position below the window

for my $where (sort keys %LOCATIONS) {
    my $c = channel();
    my $keeper = ask($where, $c);

    fill($c, 1, 600, size => 200);
    is got($keeper, 600), '1..600', "$where: a client has all events";

    my $xrange = calls('xrange');
    my @clients = map { ask($where, $c, after => id($_)) } 10, 11, 300, 500;

    is got($clients[0], 590), '11..600',
        "$where: a position below the window gets what follows";
    is got($clients[1], 589), '12..600',
        "$where: the position after it gets what follows";
    is got($clients[2], 300), '301..600',
        "$where: a position in the middle gets what follows";
    is got($clients[3], 100), '501..600',
        "$where: a position near the window gets what follows";

    my $reads = calls('xrange') - $xrange;

    if ($where eq 'events') {
        is $reads, 0, "$where: all events were in memory";
    } else {
        cmp_ok $reads, '>', 10, "$where: the events took several reads";
    }

    fill($c, 601, 700, size => 200);
    finish($c, 701);

    is whole($_->[0]), $_->[1],
        "$where: clients that caught up get later events, up to END"
        for [$keeper, '1..701'], [$clients[0], '11..701'],
            [$clients[1], '12..701'], [$clients[2], '301..701'],
            [$clients[3], '501..701'];
}


# --- large entries

{
    my $c = channel();
    my $client = ask('events', $c);

    fill($c, 1, 2, size => 16_000);
    is got($client, 2), '1..2', 'large entries: the first ones come';

    my $reads = calls('xread') + calls('xrange');

    # all at once, so that one read would get them
    redis('EVAL', "for i, data in ipairs(ARGV) do redis.call('XADD', KEYS[1],"
                  . " '1000-' .. i + 2, 'data', data) end",
          1, stream_key($ORG, $c),
          map { message(channel_id => $c, sequence => $_,
                        payload => { value => 'x' x 16_000 }) } 3 .. 42);

    is got($client, 40), '3..42', 'large entries: all come';
    cmp_ok calls('xread') + calls('xrange') - $reads, '>=', 5,
        'large entries: 640k are read in portions of 128k';
}


# --- a position below the window that no entry has

for my $where (sort keys %LOCATIONS) {
    my $c = channel();
    my $keeper = ask($where, $c);

    fill($c, 1, 100, size => 200);
    is got($keeper, 100), '1..100', "$where: a client has all events";
    redis('XDEL', stream_key($ORG, $c), id(20), id(21));

    my $client = ask($where, $c, after => id(20));

    # a worker that has what was deleted in memory sends it

    is got($client, 79), $where eq 'events' ? '21..99' : '22..100',
        "$where: after a position that was deleted, what follows is sent";
    $client->close;

    # nothing is there after the position

    redis('XDEL', stream_key($ORG, $c), map { id($_) } 50 .. 100);
    sleep 0.1;

    $client = ask($where, $c, after => id(60));
    is $client->status, 200,
        "$where: a position with nothing after it is accepted";
    fill($c, 101, 101);
    wait_for(20, sub { got($client, 1) eq '101' });
    is $client->{events}[-1]{sequence}, 101,
        "$where: a position with nothing after it gets what is new";
    $_->close for $client, $keeper;
}


# --- many at once, at distinct positions

for my $where (sort keys %LOCATIONS) {
    for my $kind ('cold', 'warm') {
        my ($c, $last, $keeper) = (channel(), 400);

        fill($c, 1, $last, size => 100);

        if ($kind eq 'warm') {
            $keeper = ask($where, $c);
            got($keeper, $last);
        }

        # the stream goes on while they come

        my %clients;
        for my $n (1 .. 80) {
            my $from = 5 * ($n * 37 % 80) + 1;
            $clients{$from} = ask($where, $c, after => id($from));
            fill($c, $last + 1, $last += 5, size => 100) if $n % 4 == 0;
        }

        finish($c, ++$last);

        my @wrong = grep { $_ } map {
            my $got = whole($clients{$_});
            $got eq ($_ + 1) . "..$last" ? '' : "from $_: $got, not $last";
        } sort { $a <=> $b } keys %clients;

        is join("\n", @wrong), '',
            "$where, $kind: 80 clients at 80 positions get what follows";
        is whole($keeper), "1..$last",
            "$where, $kind: the client before them gets all events"
            if $keeper;
    }
}


# --- streams that are not what they were

for my $where (sort keys %LOCATIONS) {
    my $c = channel();

    my $early = ask($where, $c, after => '99999-5');
    is $early->status, 200,
        "$where: a client with a position waits for a stream that is not there";

    fill($c, 1, 50);
    is got($early, 51), 'gone 1..50',
        "$where: a client with a position gets a new stream from its start";

    my $future = ask($where, $c, header => '99999-5');
    is got($future, 51), 'gone 1..50',
        "$where: a position in the future, warm: the stream from its start";

    redis('DEL', stream_key($ORG, $c));
    fill($c, 1, 30, id => sub { "7-$_[0]" });

    is got($early, 30), '1..30',
        "$where: a client that stays gets the stream made anew";
    is got($future, 30), '1..30',
        "$where: a client of a future position gets the stream made anew";

    my $again = ask($where, $c, header => id(50));
    is got($again, 30), '1..30',
        "$where: a position of the stream before, warm: the new one's start";
    $_->close for $early, $future, $again;

    # the worker has the channel no more when its log lines are there

    logged($_) for $early, $future, $again;

    $again = ask($where, $c, header => id(50));
    is got($again, 31), 'gone 1..30',
        "$where: a position of the stream before, cold: the new one's start";

    fill($c, 31, 31, id => sub { "7-$_[0]" });
    is got($again, 1), '31',
        "$where: a client of a stream made anew gets what follows";
    $again->close;
    is logged($again), '200 31 client',
        "$where: a client that leaves is logged as such";

    $future = ask($where, $c,
                  header => join '-', ('18446744073709551615') x 2);
    is got($future, 32), 'gone 1..31',
        "$where: the largest position there is, cold: the stream's start";
    $future->close;

}


# --- END, and a read under way

# what the read will tell may follow the END: who is at END meanwhile is let go
# when nothing does, and not before that is known

for my $follows (0, 1) {
    my $c = channel();
    my $where = 'stop-events';
    my $title = 'at END, a read under way, '
                . ($follows ? 'an entry follows' : 'nothing follows');
    my ($worker) = $nginx->workers;

    fill($c, 1, 59, size => 8000);
    finish($c, 60);

    my $stalled = ask($where, $c, rcvbuf => 4096, after => id(1));
    is $stalled->status, 200, "$title: a client that does not read is there";
    is whole(ask($where, $c, header => id(58))), '59..60',
        "$title: the worker has read END";

    # a ring reaches the worker, whose read is not answered

    kill 'STOP', $worker;
    stopped($worker);
    $follows ? fill($c, 61, 61)
             : redis('EXPIRE', stream_key($ORG, $c), 100);
    redis_pause();
    kill 'CONT', $worker;

    ok wait_for(20, sub { redis_input() }), "$title: a read is under way";

    my $asked = redis_input();
    my $client = ask($where, $c, header => id(60));
    ok wait_for(20, sub { redis_input() > $asked }),
        "$title: the position of the client is looked up";
    redis_resume();

    if ($follows) {
        is $client->status, 200, "$title: 200";
        finish($c, 62);
        is whole($client), '61..62', "$title: the client gets what follows";
        is logged($client), '200 2 end',
            "$title: the log has both events and the end";

    } else {
        refused($title, $client);
    }

    is whole($stalled), '2..60', "$title: a slow client gets all events";
}


# --- at random

my $seed = draw_by_seed();
my $SECONDS = 8;

random_test();

is $nginx->stop, 0, 'NGINX quits';
done_testing();


# Publishes until the time is up, then END: bursts to Redis itself, single ones
# through the publish module.

sub publisher {
    my @channels = @_;

    my %last = map { $_ => 0 } @channels;
    my $until = time + $SECONDS;
    my $any = sub { '*' };

    while (time < $until) {
        my $c = $channels[rand @channels];
        my $size = rand() < 0.1 ? 2000 : 50;

        if (rand() < 0.3) {
            publish($nginx, channel_id => $c, sequence => ++$last{$c},
                    payload => { value => 'y' x $size });
        } else {
            my $n = rand() < 0.05 ? 40 : 1 + int rand 6;
            fill($c, $last{$c} + 1, $last{$c} + $n, id => $any, size => $size);
            $last{$c} += $n;
        }

        sleep rand() * 0.02;
    }

    fill($_, $last{$_} + 1, $last{$_} + 1, id => $any, phase => 'END')
        for @channels;
}


# A session: the IDs it has, by sequence number, the number it goes on after,
# and what is wrong.

sub connect_session {
    my $s = shift;

    my @where = sort keys %LOCATIONS;
    my ($have, $dice, %o) = ($s->{have}, rand);

    # mostly where it was, or some way back, or anew

    if ($dice < 0.3 && $have) {
        my $back = $dice < 0.05 ? $have : 60;
        $have -= int rand($back < $have ? $back : $have);
    } elsif ($dice > 0.98) {
        $have = 0;
    }

    $o{$dice * 100 % 2 ? 'after' : 'header'} = $s->{ids}[$have] if $have;
    $o{rcvbuf} = 4096 if rand() < 0.3;

    @$s{qw(have seen sleep_until)} = ($have, 0, 0);
    $s->{where} = $where[rand @where];
    $s->{client} = ask($s->{where}, $s->{channel}, %o);
    $s->{close_at} = time + rand() ** 2 * 1.5;
    $s->{connections}++;
}

sub take {
    my $s = shift;
    my $client = $s->{client};

    while ($s->{seen} < @{ $client->{events} }) {
        my $event = $client->{events}[$s->{seen}++];
        my $want = $s->{have} + 1;

        if (($event->{sequence} // 0) != $want) {
            push @{ $s->{wrong} }, "$s->{where}: request $client->{n} has "
                . ($event->{sequence} // $event->{data}) . ", not $want";
            $s->{have} = $event->{sequence} // $s->{have};
            next;
        }

        $s->{events}++;
        $s->{have}++;
        $s->{ids}[$s->{have}] = $event->{id};
        $s->{ended} = $s->{have} if $event->{end};
    }
}

sub random_test {
    my @channels = map { channel() } 1 .. 4;

    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        srand $seed + 1;
        eval { publisher(@channels); 1 } or print STDERR "# publisher: $@";
        POSIX::_exit($@ ? 1 : 0);
    }

    my @sessions = map { { channel => $channels[$_ % 4], have => 0, ids => [],
                           connections => 0, events => 0, wrong => [] } }
                   0 .. 23;

    connect_session($_) for @sessions;

    my $quiet_at = time + $SECONDS + 1;
    my $deadline = time + ($SECONDS + $LIMIT) * $SLOW;

    while (grep { !$_->{ended} } @sessions) {
        last if time > $deadline;

        my $now = time;
        my @open = grep { !$_->{ended} } @sessions;
        my %by = map { fileno $_->{client}->socket => $_ }
                 grep { $_->{sleep_until} < $now } @open;
        my $select = IO::Select->new(map { $_->{client}->socket }
                                     values %by);

        for my $socket ($select->can_read(0.02)) {
            my $s = $by{fileno $socket};

            $s->{client}->pump;
            take($s);

            $s->{sleep_until} = $now + rand() * 0.3 if rand() < 0.02;
            $s->{close_at} = 0 if $s->{client}{eof} || $s->{client}{ended};
        }

        for my $s (grep { !$_->{ended} } @open) {
            next if $s->{close_at} > $now
                    || ($s->{close_at} && $now > $quiet_at);

            $s->{client}->close;
            connect_session($s);
        }
    }

    waitpid $pid, 0;
    is $?, 0, 'messages were published all the time';

    my ($connections, $events) = (0, 0);

    for my $i (0 .. $#sessions) {
        my $s = $sessions[$i];
        my $length = redis('XLEN', stream_key($ORG, $s->{channel}));

        $connections += $s->{connections};
        $events += $s->{events};

        is join("\n", @{ $s->{wrong} }), '',
            "session $i: every event once and in order";
        is $s->{ended}, $length, "session $i: every event up to the last one";

        my $ids = join ' ', map { $_->[0] } @{ redis('XRANGE',
            stream_key($ORG, $s->{channel}), '-', '+') };
        is join(' ', map { $_ // '?' } @{ $s->{ids} }[1 .. $#{ $s->{ids} }]),
            $ids, "session $i: every event has the ID that Redis gave";

        my $client = ask("stop-$s->{where}", $s->{channel},
                         header => $s->{ids}[-1]);
        is $client->status, 204, "session $i: a last reconnect gets 204";
        $client->close;
        $s->{client}->close;
    }

    diag "$connections connections, $events events";
    cmp_ok $connections, '>', 20, 'clients reconnected many times';
}
