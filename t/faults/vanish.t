# Copyright (C) Conduit for NGINX authors
#
# Entries that are removed between two commands of the gateway, for a client
# that had all events before: the stream is trimmed just before the worker's
# first, second, third… command about it, in the same connection.  The client
# misses nothing without being told, and is not told of a loss that did not
# happen.

use strict;
use warnings;

use lib 't/lib', 't/faults';

use Conduit;
use Faults ();
use Test::More;

my $proxy = Faults::Proxy->start("127.0.0.1:$Conduit::REDIS_PORT");

my %LOCATIONS = (
    events => '',
    few => 'conduit_gateway_read_count 5;',
    tiny => 'conduit_gateway_read_count 5; conduit_gateway_window 1;',
    poll => 'conduit_gateway_wakeup poll 20ms;',
);

my $nginx = nginx_start(server => join '', map {
    gateway_location("conduit_gateway_auth off; $LOCATIONS{$_}",
                     redis => $proxy->url) =~ s{/events/}{/$_/}r
} sort keys %LOCATIONS);

my ($worker) = $nginx->workers;

# the entry of a sequence number has the ID 1000-<number>
sub fill {
    my ($channel, $first, $last, %o) = @_;

    redis('MULTI');
    xadd(channel_id => $channel, sequence => $_, id => "1000-$_", %o)
        for $first .. $last;
    redis('EXEC');
}

# A client that has 1..3 of a channel; the worker stands while 4..20 come and
# some code runs, and goes on to find that the stream begins with 15, from its
# n-th command about it on.  Returns what the client gets, "lost" and numbers,
# and whether there was an n-th command before all was delivered.
sub vanish {
    my ($where, $after, $n, $code) = @_;

    my $channel = uuid();
    my $key = stream_key($ORG, $channel);

    fill($channel, 1, 3);
    my $client = sse_open($nginx, path => "/$where/$ORG?channel_id=$channel"
                                          . "&last_event_id=" . ($after ? "1000-$after" : "0-0"));
    is join(' ', map { $_->{json}{sequence} } $client->events(3 - $after, 20)),
        join(' ', $after + 1 .. 3), "$where: a client has all";

    kill 'STOP', $worker;
    stopped($worker) or die 'the worker does not stop';
    fill($channel, 4, 20);
    $code->($key);
    $proxy->tell('before', $n, $key, 'XTRIM', $key, 'MINID', '1000-15');
    kill 'CONT', $worker;

    my @got;

    while (!@got || $got[-1] ne 20) {
        my $event = $client->event(20) or last;
        push @got, $event->{json}{sequence}
                   // ($event->{json}{control_type} eq 'history_lost'
                       ? 'lost' : 'other');
    }

    my $trimmed = redis('XRANGE', $key, '-', '+', 'COUNT', 1)->[0][0]
                  eq '1000-15';
    $proxy->tell('pass');

    # nothing else is told later

    fill($channel, 21, 21, phase => 'END');
    my @rest = $client->end(20) ? $client->events(9, 0) : ();
    is join(' ', map { $_->{json}{sequence} // $_->{event} } @rest), 21,
        "$where: END is the next event, and the last one";
    $client->close;

    return (\@got, $trimmed);
}

# what is wrong with what a client gets that is to get all from 4 to 20, or from
# another number to another: it has "lost" where numbers are missing, and nowhere
# else
sub wrong { return wrong_from(4, 20, @_) }

sub wrong_from {
    my ($next, $last, @got) = @_;

    my $lost;

    for my $n (@got) {
        if ($n eq 'lost') {
            return 'told twice' if $lost;
            $lost = 1;
            next;
        }

        return "$n after " . ($next - 1) if $n !~ /^\d+$/ || $n < $next;
        return "no word of $next before $n" if $n > $next && !$lost;
        return "told of a loss before $n" if $n == $next && $lost;
        ($next, $lost) = ($n + 1, 0);
    }

    return $next == $last + 1 ? '' : "ends before $next";
}

my %BEFORE = (
    'nothing' => sub { },
    'the entry at the cursor' => sub { redis('XTRIM', $_[0], 'MINID', '1000-4') },
    'some after the cursor' => sub { redis('XTRIM', $_[0], 'MINID', '1000-6') },
    'the entry at the cursor, deleted,' => sub { redis('XDEL', $_[0], '1000-3') },
);

# Redis 6 does not count what a stream had: when the entry at the cursor was
# trimmed, others may have been

my $counts = redis_version() >= 7_000_000;

for my $where (sort keys %LOCATIONS) {
    for my $after (0, 3) {
        test($where, $after, $_) for sort keys %BEFORE;
    }
}

sub test {
    my ($where, $after, $before) = @_;

    my $title = "$where, from $after, $before is gone before";
    my $losses = 0;

    for my $n (1 .. 5) {
        my ($got, $trimmed) = vanish($where, $after, $n, $BEFORE{$before});
        my $line = join ' ', @$got;

        if ($n == 1) {
            ok $trimmed, "$title: there is a first command";
            is $line, 'lost ' . join(' ', 15 .. 20),
                "$title: what is lost before it is told";
        }

        $losses += grep { $_ eq 'lost' } @$got;

        next if !$counts && $before ne 'nothing' && $n > 1;

        is wrong(@$got), '', "$title: trimmed before command $n: $line";
    }

    cmp_ok $losses, '>=', $before eq 'nothing' ? 1 : 2,
        "$title: trimming came in time";
}

# --- a client that comes back to the middle of a stream which is longer than a
# reply: it is trimmed between the replies, perhaps just up to the entry that was
# read last

{
    my $exactly = 0;

    for my $n (2, 3) {
        for my $oldest (12 .. 24) {
            my ($got, $trimmed) = resume($n, 30, 'XTRIM', 'KEY',
                                         'MINID', "1000-$oldest");
            my $line = join ' ', @$got;

            is wrong_from(11, 30, @$got), '',
                "few, from 10 of 30, trimmed up to $oldest before command $n: "
                . $line;

            $exactly++ if $trimmed && $line eq join ' ', 11 .. 30;
        }
    }

    # other entries than those that were read before are gone in most cases

    cmp_ok $exactly, '<', 26, 'some of the entries are lost';
}

# likewise when an entry is added, as the only one that is left: nothing is lost
# where all others were read, though their number may not be known yet

SKIP: {
    skip 'the server does not count what a stream had', 9 if !$counts;

    my %lines;

    # the proxy is told in a line of text

    my $add = "redis.call('XADD', KEYS[1], 'MAXLEN', '=', 1, '1000-31', 'data',"
              . " (ARGV[1]:gsub('..', function (hex)"
              . ' return string.char(tonumber(hex, 16)) end)))';

    for my $n (2 .. 8) {
        my ($got) = resume($n, 31, 'EVAL', $add, 1, 'KEY', sub {
            unpack 'H*', message(channel_id => $_[0], sequence => 31);
        });

        $lines{"@$got"}++;

        is wrong_from(11, 31, @$got), '',
            "few, from 10 of 30, 31 is all there is before command $n: @$got";
    }

    ok $lines{join ' ', 11 .. 31}, 'nothing is lost once all others were read';
    cmp_ok scalar(keys %lines), '>', 1, 'something is lost before that';
}

# A client that has 10 of 30 comes back, and the stream is changed by a command, in
# which KEY stands for its key, before the n-th command about it.  Returns what the
# client gets up to the last, and whether the stream was trimmed.
sub resume {
    my ($n, $last, @words) = @_;

    my $channel = uuid();
    my $key = stream_key($ORG, $channel);
    my @change = map { ref ? $_->($channel) : $_ eq 'KEY' ? $key : $_ } @words;

    fill($channel, 1, 30);
    $proxy->tell('before', $n, $key, @change);

    my $client = sse_open($nginx, path => "/few/$ORG?channel_id=$channel"
                                          . '&last_event_id=1000-10');
    my @got;

    while (!@got || $got[-1] ne $last) {
        my $event = $client->event(20) or last;
        push @got, $event->{json}{sequence}
                   // ($event->{json}{control_type} eq 'history_lost'
                       ? 'lost' : 'other');

        # there is no such command: it is changed all the same

        redis(@change) if $got[-1] eq 30 && $last > 30
                          && redis('XINFO', 'STREAM', $key)->[1] == 30;
    }

    my $trimmed = redis('XRANGE', $key, '-', '+', 'COUNT', 1)->[0][0] ne '1000-1';

    $proxy->tell('pass');
    $client->close;

    return (\@got, $trimmed);
}

is $nginx->stop('QUIT', 20), 0, 'NGINX quits';
$proxy->stop;

done_testing;
