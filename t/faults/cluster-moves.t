# Copyright (C) Conduit for NGINX authors
#
# Replies of a cluster's node that arrive after their channel has left that
# node: when no node serves the slot, when a node serves it again, after an ASK.
# Whatever the replies are, no worker crashes and no client misses a message.

use strict;
use warnings;

use lib 't/lib', 't/faults';

use Conduit;
use Conduit::Servers;
use Faults;
use Test::More;
use Time::HiRes qw(sleep);

# what asks for a stretch of a stream
my $FULL = redis_version() >= 7_000_000 ? 'EVALSHA_RO' : 'EVALSHA';

# no node counts as failed, whatever stands still for a while

my $cluster = Conduit::Servers->cluster(
    masters => 2, replicas => 0,
    options => ['--cluster-node-timeout', 60000,
                '--cluster-require-full-coverage', 'no']);

# by their slots
my ($first, $second) = map { $_->[2] }
                       sort { $a->[0] <=> $b->[0] } $cluster->slots;

# A way to each node on which replies come late, and which the cluster names as
# the node's own port.

my %way = map { $_ => Late->start("127.0.0.1:$_") } $first, $second;

for my $port ($first, $second) {
    my @announce = ('cluster-announce-port', $way{$port}{port});

    if (redis_version() >= 7_000_000) {
        $cluster->command($port, 'CONFIG', 'SET', @announce);
        next;
    }

    # Redis 6 looks at it when it starts

    push @{ $cluster->{servers}{$port}{command} }, "--$announce[0]",
        $announce[1], '--cluster-announce-bus-port', $port + 10000;
    $cluster->kill($port, 'TERM');
    $cluster->run($port);
}

$cluster->agree;

ok wait_for(60, sub {
    join(' ', map { sort $cluster->masters($_) } $first, $second)
        eq join(' ', (sort map { $way{$_}{port} } $first, $second) x 2)
}), 'the cluster names the ways';

my $url = 'redis+cluster://' . join ',', map { "127.0.0.1:$way{$_}{port}" }
                                         $first, $second;

sub raw { unpack 'H*', join "\r\n", @_, '' }

# What a node may say instead of what it was asked for.

sub replies {
    my $slot = shift;

    return (
        data => undef,
        nil => raw('*-1'),
        nothing => raw('*0'),
        status => raw('+OK'),
        number => raw(':1'),
        wrongtype => raw('-WRONGTYPE Operation against a key'),
        noperm => raw('-NOPERM this user has no permissions'),
        err => raw('-ERR something'),
        clusterdown => raw('-CLUSTERDOWN Hash slot not served'),
        tryagain => raw('-TRYAGAIN Multiple keys request'),
        loading => raw('-LOADING Redis is loading'),
        moved => raw("-MOVED $slot 127.0.0.1:$way{$second}{port}"),
        stays => raw("-MOVED $slot 127.0.0.1:$way{$first}{port}"),
        nameless => raw("-MOVED $slot :$way{$second}{port}"),
        stranger => raw("-MOVED $slot elsewhere:$way{$second}{port}"),
        ask => raw("-ASK $slot 127.0.0.1:$way{$second}{port}"),
        ask_nameless => raw("-ASK $slot :$way{$second}{port}"),
    );
}


# --- channels of the first node, each with clients that have asked it something

my @KINDS = sort keys %{ { replies(0) } };

sub add {
    my ($ch, $port) = @_;

    my $sequence = ++$ch->{sequence};

    push @{ $ch->{ids} }, $cluster->command($port, 'XADD', $ch->{key}, '*',
        'data', message(channel_id => $ch->{id}, sequence => $sequence,
                        payload => { text => 'x' x 100 }));
}

sub channel {
    my $kind = shift;

    while (1) {
        my $id = uuid();
        my $key = stream_key($ORG, $id);
        my $slot = $cluster->command($first, 'CLUSTER', 'KEYSLOT', $key);

        next if $slot >= 8192;

        my $ch = { kind => $kind, id => $id, key => $key, slot => $slot };

        add($ch, $first) for 1 .. 20;
        return $ch;
    }
}

sub listen_to {
    my ($ch, %o) = @_;

    # the header of one that resumes waits for a reply, too

    return Conduit::SSE->open($nginx->port, 'GET',
        "/events/$ORG?channel_id=$ch->{id}", later => defined $o{after},
        headers => $o{after} ? { 'Last-Event-ID' => $o{after} } : {});
}

# A channel of each kind with a client that has had all, and a window that does
# not reach back to the first entry.

sub begin {
    my %o = @_;

    start(redis => $url, events => 'conduit_gateway_window 1k;'
          . 'conduit_gateway_timeout 300s; conduit_gateway_outage 600s;'
          . ($o{events} // ''));

    my @channels = map { channel($_) } @{ $o{kinds} // \@KINDS };

    for my $ch (@channels) {
        $ch->{live} = listen_to($ch);
        is scalar(my @events = $ch->{live}->events(20, 60)), 20,
            "$ch->{kind}: history";
    }

    return @channels;
}

# Both questions of each channel are under way: what is new (XREAD), and what is
# where a client resumes, or older than the window (a script).

sub ask {
    my @channels = @_;

    $way{$first}->tell('hold');

    for my $ch (@channels) {
        add($ch, $first);

        $ch->{resumed} = listen_to($ch, after => $ch->{ids}[0]);
        $ch->{oldest} = listen_to($ch);
    }

    are_held($first, 'the node is asked', 'XREAD', $FULL, @channels);
}

sub are_held {
    my ($port, $name, @names) = @_;
    my @channels = grep { ref } @names;
    my @wanted = map { my $ch = $_; map { "$_:$ch->{key}" }
                                    grep { !ref } @names } @channels;

    my @missing;

    ok wait_for(60, sub {
        my %held = map { $_ => 1 } $way{$port}->held;
        @missing = grep { !$held{$_} } @wanted;
        return !@missing;
    }), $name or diag "not asked: @missing";
}

# The replies come, those of each channel of its kind.

sub answer {
    my ($port, @channels) = @_;

    for my $ch (@channels) {
        my %replies = replies($ch->{slot});
        $way{$port}->tell('replace', $ch->{key}, $replies{$ch->{kind}} // ());
    }

    $way{$port}->tell('release');
}

# The first node sends all to the second one, where replies come late, too.

sub sent_on {
    my @channels = @_;

    $way{$second}->tell('hold');

    for my $ch (@channels) {
        $way{$first}->tell('replace', $ch->{key},
            raw("-ASK $ch->{slot} 127.0.0.1:$way{$second}{port}"));
    }

    $way{$first}->tell('release');
    are_held($second, 'the other node is asked', $FULL, @channels);
}

# The slots are served by a node, or by none, all from the same moment on; NGINX
# knows.

sub slots_of {
    my ($to, @channels) = @_;

    my $told = () = $nginx->error_log =~ /slots have moved/g;
    my @slots = keys %{ { map { $_->{slot} => 1 } @channels } };

    # those of them that a node believes somebody, or the one named, has
    my $of = sub {
        my ($port, $owner) = @_;
        my @ranges = grep { !$owner || $_->[2] == $way{$owner}{port} }
                     $cluster->slots($port);

        return grep { my $slot = $_;
                      grep { $_->[0] <= $slot && $slot <= $_->[1] } @ranges }
               @slots;
    };

    if (!$to) {
        ok wait_for(60, sub {

            # one may have heard of the old owner since

            for my $port ($first, $second) {
                my @left = $of->($port) or next;
                $cluster->command($port, 'CLUSTER', 'DELSLOTS', @left);
            }

            return !$of->($first) && !$of->($second);
        }), 'nobody has the slots';

    } else {
        $cluster->command($to, 'CLUSTER', 'ADDSLOTS', @slots);

        # newer than what the other one knows
        $cluster->command($to, 'CLUSTER', 'BUMPEPOCH');

        ok wait_for(60, sub {
            $of->($first, $to) == @slots && $of->($second, $to) == @slots
        }), 'a node has the slots';
    }

    ok wait_for(60, sub {
        my $times = () = $nginx->error_log =~ /slots have moved/g;
        return $times > $told;
    }), 'NGINX knows';
}

# The channels are where they were, and nothing is missing.

sub all_arrives {
    my @channels = @_;

    is join(' ', $nginx->workers), $worker, 'the worker lives' or return;

    add($_, $first) for @channels;

    for my $ch (@channels) {
        my @ids = @{ $ch->{ids} };

        for (['live', 20], ['resumed', 1], ['oldest', 0]) {
            my ($who, $from) = @$_;

            $ch->{$who}->events(@ids - $from, 60);
            is_deeply [$ch->{$who}->body =~ /^id: (\S+)$/mg],
                [@ids[($who eq 'live' ? 0 : $from) .. $#ids]],
                "$ch->{kind}: who is $who has all, once and in order";
            unlike $ch->{$who}->body, qr/^event: (?!stream)/m,
                'nothing else comes';
        }
    }

    ends(@channels);
}

sub ends {
    my @channels = @_;

    $_->close for map { @$_{qw(live resumed oldest)} } @channels;
    stop();
    unlike $nginx->error_log, qr/\[(?:alert|emerg)\]/, 'no alert is logged';
}


subtest 'TEST 1: replies to channels that are nowhere' => sub {
    my @channels = begin();

    ask(@channels);
    slots_of(undef, @channels);
    answer($first, @channels);

    # what the last of them says is dealt with when this one is answered
    is http($nginx, 'GET', '/none')->{status}, 404, 'NGINX answers';
    is listen_to($_)->status, 200, "$_->{kind}: a client gets 200"
        for @channels;

    slots_of($first, @channels);
    all_arrives(@channels);
};


for my $way ('drop', 'large') {
    subtest "TEST 2: $way: channels that are nowhere lose their connection"
        => sub
    {
        my @channels = begin();

        ask(@channels);
        slots_of(undef, @channels);
        $way{$first}->tell($way);
        ok wait_for(60, sub { lines(qr/reader: connection lost/) }),
            'the connection is lost';

        slots_of($first, @channels);
        all_arrives(@channels);
    };
}


# The least is asked for, so that the reply would count as one too large entry.

subtest 'TEST 2: large: a channel that is nowhere takes no reply for its own'
    => sub
{
    my ($ch) = begin(kinds => ['data'],
                     events => 'conduit_gateway_read_count 1;');

    ask($ch);
    slots_of(undef, $ch);
    $way{$first}->tell('large');
    ok wait_for(60, sub { lines(qr/a reply of more than 64m/) }),
        'the log says so';

    slots_of($first, $ch);
    all_arrives($ch);
    is scalar(lines(qr/an entry of "\Q$ch->{key}\E" is too large/)), 0,
        'its clients stay';
};


subtest 'TEST 3: replies to channels that have come back from nowhere' => sub {
    my @channels = begin();

    ask(@channels);
    slots_of(undef, @channels);
    slots_of($first, @channels);
    answer($first, @channels);
    all_arrives(@channels);
};


subtest 'TEST 4: replies to channels that nobody has, after an ASK' => sub {
    my @channels = begin();

    ask(@channels);
    sent_on(@channels);
    slots_of(undef, @channels);
    answer($second, @channels);
    is http($nginx, 'GET', '/none')->{status}, 404, 'NGINX answers';

    slots_of($first, @channels);
    all_arrives(@channels);
};


# The streams of the other node are others: what the first one still says is of
# no use there.

subtest 'TEST 5: replies to channels that are at another node' => sub {
    my @channels = begin();

    ask(@channels);
    slots_of(undef, @channels);
    slots_of($second, @channels);
    answer($first, @channels);
    is http($nginx, 'GET', '/none')->{status}, 404, 'NGINX answers';

    # to the clients, a stream made anew

    add($_, $second) for @channels;

    for my $ch (@channels) {
        for my $who (qw(live oldest)) {
            my $event = $ch->{$who}->event(20);

            # for Redis 6 it may as well be one that was trimmed

            $event = $ch->{$who}->event(20)
                if $who eq 'live' && redis_version() < 7_000_000
                   && ($event->{json}{control_type} // '') eq 'history_lost';

            is $event->{id}, $ch->{ids}[-1],
                "$ch->{kind}: $who gets what is there, and nothing else";
        }
    }

    is join(' ', $nginx->workers), $worker, 'the worker lives';
    slots_of(undef, @channels);
    $cluster->command($second, 'FLUSHALL');
    slots_of($first, @channels);
    ends(@channels);
};


subtest 'TEST 6: a worker that leaves while another node owes replies' => sub {
    my @channels = begin();

    ask(@channels);
    sent_on(@channels);
    slots_of(undef, @channels);
    slots_of($first, @channels);

    is $nginx->stop('TERM'), 0, 'NGINX leaves';
    unlike $nginx->error_log, qr/\[(?:alert|emerg)\]/, 'without an alert';
    $way{$_}->tell('drop') for $first, $second;
};

# the second one has been given what the first one listens to

$way{$_}->stop for $second, $first;
done_testing();


# A way to a node on which replies may come late:
#
#   hold                 those to XREAD and the script are kept, and all that
#                        come after them
#   replace KEY BYTES    what is kept for a key becomes something else (in
#                        hexadecimal), for each command
#   release              what is kept is sent, and what comes passes
#   drop                 the connections that wait for it are closed
#   large                the first one of each connection is a reply of 500 MB,
#                        sent until NGINX has hung up
#
# held() returns what is kept, as COMMAND:KEY.

package Late;

use strict;
use warnings;

our @ISA;

# which word of a command is its key
our %KEY;

BEGIN {
    @ISA = 'Faults::Proxy';
    %KEY = (XREAD => -2, EVALSHA_RO => 3, EVALSHA => 3);
}


sub held {
    my $self = shift;
    my $text = '';

    syswrite $self->{control}, "held\n";

    while ($text !~ /\.\z/) {
        sysread $self->{control}, $text, 65536, length $text or die 'no way';
    }

    chop $text;
    return split ' ', $text;
}


sub mode {
    my ($self, $mode, @o) = @_;

    my %pairs = map { $_ => $_ } values %{ $self->{ends} };
    my @late = grep { @{ $_->{late} // [] } } values %pairs;

    if ($mode eq 'held') {
        syswrite $self->{control}, join ' ', map { "$_->[0]:$_->[1]" }
                                             map { @{ $_->{late} } } @late;
        return;
    }

    if ($mode eq 'replace') {
        $self->{replace}{$o[0]} = $o[1];
        return;
    }

    $self->{holding} = $mode eq 'hold';

    if ($mode eq 'large') {
        my $mb = 'x' x 1_000_000;

        for my $pair (@late) {
            $self->send($pair->{client}, "\$500000000\r\n");

            # closed here with a command unread, what is still on the way would
            # be lost

            for (1 .. 500) {
                syswrite $pair->{client}, $mb or last;
            }
        }
    }

    if ($mode eq 'drop' || $mode eq 'large') {
        $self->close($_) for @late;

    } elsif ($mode eq 'release') {
        for my $pair (@late) {
            $self->send($pair->{client}, join '', map {
                my ($name, $key, $reply) = @$_;
                my $other = $KEY{$name} && $self->{replace}{$key};
                $other ? pack 'H*', $other : $reply;
            } splice @{ $pair->{late} });
        }
    }

    $self->{replace} = {} if !$self->{holding};

    return $self->SUPER::mode('pass');
}


# takes note of commands: names, and keys of those that are of interest

sub commands {
    my ($self, $pair) = @_;

    while (my ($command, @words)
               = Conduit::Fake::take_command(\$pair->{input}))
    {
        my $name = uc $words[0];

        $pair->{bell} = 1 if $name eq 'SUBSCRIBE';

        push @{ $pair->{asked} },
            [$name, $KEY{$name} ? $words[$KEY{$name}] : '-'];

        $self->send($pair->{server}, $command);
    }
}


sub answers {
    my ($self, $pair) = @_;

    while (defined(my $reply = Conduit::Fake::take_reply(\$pair->{output}))) {
        my ($name, $key) = @{ shift @{ $pair->{asked} } // ['?', '?'] };

        if (!$pair->{bell} && (@{ $pair->{late} //= [] }
                               || ($self->{holding} && $KEY{$name})))
        {
            push @{ $pair->{late} }, [$name, $key, $reply];
        } else {
            $self->send($pair->{client}, $reply);
        }
    }
}
