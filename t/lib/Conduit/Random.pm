# Copyright (C) Conduit for NGINX authors

package Conduit::Random;

# A round of random operations on streams, random clients of these streams, and
# random faults of the connections between them; a seed determines all of it
# before the round begins.
#
#     my $random = Conduit::Random->new('cluster');      # or single, sentinel
#     my @faults = $random->round('all', 4711);
#     $random->stop;
#
# A fault is a hash: promise, kind, where (the location), text, and story: all
# that was done to the stream, and what its client got.

use strict;
use warnings;

use Conduit;
use Conduit::Random::Client;
use Conduit::Random::Oracle;
use Conduit::Random::Server;
use Conduit::Random::Stream;
use List::Util qw(max min);
use Time::HiRes qw(sleep time);

# seconds of operations, and the number of streams in a round
our $LENGTH = $ENV{CONDUIT_RANDOM_LENGTH} || 1.5;
our $STREAMS = $ENV{CONDUIT_RANDOM_STREAMS} || 24;

# seconds within which the entry that is added last must arrive: without a slow
# sweep, and with one
my $PROMPT = 8;
my $SWEPT = 28;

# the most questions about a stream that may be answered with an error: each
# change and each client may cause one, and retries cause some each second
my $REFUSED = 40;

# locations that differ in how the worker learns of a change, in what it keeps,
# and in the format
our %LOCATIONS = (
    events => '',
    small => 'conduit_gateway_window 4k; conduit_gateway_read_count 2;',
    tiny => 'conduit_gateway_window 1; conduit_gateway_read_count 1;'
            . 'conduit_gateway_buffer_size 1;',
    poll => 'conduit_gateway_wakeup poll 50ms;',
    json => 'conduit_gateway_format json;',
);

# operations on a stream, each with its relative frequency
my %APPEND = (add => 60, burst => 6, trim => 10, addmax => 8, ttl => 1);
my %DELETE = (%APPEND, xdel => 12, del => 4, expire => 2, 'rename-out' => 1,
              'rename-in' => 2, xsetid => 2);
my %BACK = (%APPEND, dump => 8, restore => 5);

our %MODES = (
    append => { ops => \%APPEND },
    delete => { ops => \%DELETE },
    rollback => { ops => \%BACK },
    links => { ops => \%APPEND, links => 1 },
    all => { ops => { %DELETE, %BACK }, links => 1, servers => 1 },

    # moves: slots move, and a replica takes over that has all entries; lossy: a
    # failover or a restart loses the last entries
    moves => { ops => \%APPEND, links => 1, servers => 1 },
    lossy => { ops => \%APPEND, links => 1, servers => 1 },
);

my %PASSING = (
    LOADING => 'LOADING Redis is loading the dataset in memory',
    BUSY => 'BUSY Redis is busy running a script.',
    MASTERDOWN => 'MASTERDOWN Link with MASTER is down',
    CLUSTERDOWN => 'CLUSTERDOWN The cluster is down',
);


sub new {
    my ($class, $kind) = @_;

    my $self = bless { slow_port => free_port() }, $class;

    $self->{server} = Conduit::Random::Server->of($kind // 'single');

    my $level = $ENV{CONDUIT_RANDOM_DEBUG} ? 'debug' : 'info';

    $self->{nginx} = nginx_start(
        log_level => $level,
        server => join '', "listen 127.0.0.1:$self->{slow_port} sndbuf=8k;",
        map {
            my $name = $_;
            gateway_location('conduit_gateway_auth off;'
                             . 'conduit_gateway_drain 200ms;'
                             . $LOCATIONS{$name},
                             redis => $self->{server}->url)
                =~ s{/events/}{/$name/}r
        } sort keys %LOCATIONS);

    return $self;
}


sub stop {
    my $self = shift;

    my $status = $self->{nginx}->stop('QUIT', 20);

    $self->{server}->stop;
    return $status;
}


# --- what is to be done

sub pick {
    my %weights = @_;

    my $left = rand List::Util::sum(values %weights);

    for my $what (sort keys %weights) {
        return $what if ($left -= $weights{$what}) < 0;
    }

    return (sort keys %weights)[0];
}


sub size { return rand() < 0.1 ? 500 + int rand 3000 : int rand 60 }

sub kept { return rand() < 0.3 ? 0 : int 8 * rand() ** 2 }

sub next_ids { return ('larger', 'larger', 'smaller', 'same')[rand 4] }


sub argument {
    my $what = shift;

    return $what eq 'add' ? { size => size(), junk => rand() < 0.06,
                              end => rand() < 0.02,
                              skip => rand() < 0.2 ? int rand 5 : 0 }
         : $what eq 'addmax' ? { size => size(), max => kept() + 1 }
         : $what eq 'burst' ? { n => 3 + int rand 40, size => size() }
         : $what eq 'trim' ? kept()
         : $what eq 'xdel' ? (0, 1, 1, rand)[rand 4]
         : $what eq 'xsetid' ? int rand 50
         : $what eq 'rename-in' ? { next => next_ids(), n => 1 + int rand 6 }
         : $what eq 'restore' ? { which => rand,
                                  next => rand() < 0.5 ? 'the same' : 'other' }
         : next_ids();
}


# The operations on a stream: [time, method, ...], in groups with the same time;
# Redis executes some groups in one transaction.

sub plan_stream {
    my ($ops, $clients) = @_;

    my @plan;

    for (1 .. 6 + int rand 25) {
        my $at = rand $LENGTH;
        my $n = rand() < 0.4 ? 2 + int rand 5 : 1;
        my @group = map { [$_, argument($_)] } map { pick(%$ops) } 1 .. $n;

        push @plan, [$at, 'ops', rand() < 0.5, @group];
    }

    for my $n (0 .. $clients - 1) {
        my $at = rand($LENGTH / 3);
        my $how = rand() < 0.6 ? 'none' : way_back();

        push @plan, [$at, 'connect', $n, $how, rand];

        for (1 .. int 4 * rand() ** 2) {
            $at += rand($LENGTH / 3);
            push @plan, rand() < 0.4
                ? ([$at, 'stall', $n], [$at + rand($LENGTH / 2), 'read_on', $n])
                : ([$at, 'shut', $n],
                   [$at + rand() ** 3 * 0.5, 'connect', $n, way_back(), rand]);
        }
    }

    return @plan;
}


sub way_back {
    return pick(own => 55, older => 15, earlier => 12, future => 5, zero => 3,
                none => 10);
}


# Faults of the connection to Redis.

sub plan_links {
    my ($single) = @_;

    my @plan;

    push @plan, [0, 'way', 'wait', $_, int 60 * rand() ** 2]
        for grep { rand() < 0.7 } qw(link bell ask);
    push @plan, [0, 'way', 'split', 1] if rand() < 0.5;

    for (1 .. int rand 4) {
        my $at = rand $LENGTH;
        my $what = pick(cut => 4, kill => 3, error => 3,
                        replica => $single,
                        calm => 1);

        push @plan,
            $what eq 'cut' ? [$at, 'way', 'cut', ('link', 'bell')[rand 2]]
            : $what eq 'kill' ? [$at, 'kill', ('pubsub', 'normal')[rand 2]]
            : $what eq 'calm' ? [$at, 'way', 'calm']
            : $what eq 'replica' ? [$at, 'server', 'replica', rand 0.3]
            : ([$at, 'way', 'error', $PASSING{(sort keys %PASSING)[rand 4]}],
               [$at + 0.1 + rand 0.5, 'way', 'error', '']);
    }

    return @plan;
}


# --- a round

sub round {
    my ($self, $mode, $seed) = @_;

    my $settings = $MODES{$mode} or die "no mode $mode";
    my @where = split ' ', $ENV{CONDUIT_RANDOM_WHERE}
                           || join ' ', sort keys %LOCATIONS;

    srand $seed;
    @$self{qw(streams clients faults mode seed ways)}
        = ([], [], [], $mode, $seed, []);

    my $server = $self->{server};
    my @plan = $settings->{links} ? plan_links($server->lacks('moves') ? 1 : 0)
                                  : ();

    for my $n (0 .. $STREAMS - 1) {
        my $stream = Conduit::Random::Stream->new(
            n => $n, where => $where[$n % @where], channel => uuid(),
            server => $server);
        my @clients = map {
            Conduit::Random::Client->new(
                stream => $stream, n => $_, slow => rand() < 0.25,
                port => $self->{nginx}->port, slow_port => $self->{slow_port})
        } 0 .. int rand 4;

        push @{ $self->{streams} }, $stream;
        push @{ $self->{clients} }, @clients;
        push @plan, map { $_->[2] = $clients[$_->[2]] if $_->[1] ne 'ops';
                          [@$_[0, 1], $stream, @$_[2 .. $#$_]] }
                    plan_stream($settings->{ops}, scalar @clients);
    }

    if ($settings->{servers}) {
        push @plan, map { [$_->[0], 'server', @$_[1 .. $#$_]] }
                    $server->plan($mode, $LENGTH, @{ $self->{streams} });
        $_->{lost_next} = next_ids() for @{ $self->{streams} };
    }

    $server->ready;
    $server->tell('forget');
    $server->tell('seed', $seed);
    $self->play(sort { $a->[0] <=> $b->[0] } @plan);
    $self->finish;
    $self->judge;

    return @{ $self->{faults} };
}


sub play {
    my ($self, @plan) = @_;

    my $start = time;

    while (@plan) {
        my $left = $start + $plan[0][0] - time;

        if ($left > 0) {
            $self->read($left);
            next;
        }

        my ($at, $what, @o) = @{ shift @plan };
        $self->$what(@o);
        $self->read(0);
    }
}


# Reads what arrives at clients, for some time; returns after the first data.  A
# client whose response has ended comes back a moment later.

sub read {
    my ($self, $seconds) = @_;

    my $now = time;
    my $until = $now + $seconds;
    my $vec = '';

    for my $client (@{ $self->{clients} }) {
        if (defined $client->{back} && $now >= $client->{back}) {
            $client->{back} = undef;
            $client->connect('own', 1) if !$client->is_open;
        }

        $until = $client->{back}
            if defined $client->{back} && $client->{back} < $until;

        vec($vec, fileno $client->{socket}, 1) = 1
            if $client->is_open && !$client->{stalled};
    }

    my $left = $until - $now;

    select $vec, undef, undef, $left > 0 ? $left : 0;

    for my $client (@{ $self->{clients} }) {
        next if !$client->is_open || $client->{stalled}
                || !vec $vec, fileno $client->{socket}, 1;

        $client->take;
        $client->{back} = time + 0.05 if !$client->is_open;
    }
}


sub ops {
    my ($self, $stream, $at_once, @group) = @_;

    $stream->begin if $at_once && @group > 1;
    $stream->do(@$_) for @group;
    $stream->commit;
}


sub connect {
    my ($self, $stream, $client, @how) = @_;

    $client->{stalled} = 0;
    $client->{back} = undef;
    $client->connect(@how);
}

sub shut {
    my ($self, $stream, $client) = @_;

    $client->note('leaves') if $client->is_open;
    $client->{back} = undef;
    $client->shut;
}

sub stall { $_[2]{stalled} = 1 }

sub read_on { $_[2]{stalled} = 0 }


sub way {
    my ($self, @what) = @_;

    push @{ $self->{ways} }, [time, "proxy: @what"];
    $self->{server}->tell(@what);
}

sub kill {
    my ($self, $type) = @_;

    push @{ $self->{ways} }, [time, "CLIENT KILL TYPE $type"];
    $self->{server}->kill($type);
}


# Something happens to a server.  Clients read on meanwhile.

sub server {
    my ($self, $what, @o) = @_;

    push @{ $self->{ways} }, [time, "server: $what @o"];

    my %gone = map { $_ => 1 } $self->{server}->$what(sub {
        my ($seconds, $condition) = @_;

        my $until = time + $seconds;

        while (time < $until) {
            return 1 if eval { $condition->() };
            $self->read(min(0.05, max(0, $until - time)));
        }

        return 0;
    }, @o);

    push @{ $self->{ways} }, [time, "server: $what is done"];
    $_->taken_over for grep { $gone{$_->key} } @{ $self->{streams} };
}


# Ends all faults, waits until all clients are connected, and adds one more
# entry, which must reach each of them.

sub finish {
    my $self = shift;

    $self->{server}->calm;
    $self->way('calm');

    for my $client (@{ $self->{clients} }) {
        $client->{stalled} = 0;
        $client->{back} //= time if !$client->is_open;
    }

    my $slow = $ENV{TEST_NGINX_USE_VALGRIND} ? 10 : 1;

    $self->settled(time + $PROMPT * $slow);

    for my $stream (@{ $self->{streams} }) {
        $stream->{marker} = $stream->put($stream->key, end => 1);
    }

    my $start = time;

    my @late = $self->await($start + $PROMPT * $slow);
    my $swept = @late ? $self->await($start + $SWEPT * $slow) : 0;

    for my $client (@late) {
        my $came = $client->{done};

        $self->fault($client, 'P4', $came ? 'late' : 'wedge',
                     $came ? 'the last entry came with the sweep'
                           : 'the last entry never came');
    }

    for my $client (@{ $self->{clients} }) {
        $client->shut;
        $client->{back} = undef;
    }
}


# Reads until all clients have all entries, because no further notification will
# come for these.

sub settled {
    my ($self, $until) = @_;

    while (1) {
        my @late = grep { $_->lacks } @{ $self->{clients} };

        return if !@late;

        if (time > $until) {
            $self->fault($_, 'P4', 'held back', 'the last entry did not come, '
                         . 'and nothing was to be waited for') for @late;
            return;
        }

        $self->read(0.1);
    }
}


# Reads until all clients have the last entry; returns those who have not.

sub await {
    my ($self, $until) = @_;

    while (1) {
        for my $client (grep { !$_->{done} } @{ $self->{clients} }) {
            next if !$client->{last}
                    || $client->{last} != $client->{stream}{marker};
            $client->{done} = 1;
            $client->{back} = undef;
            $client->shut;
        }

        my @late = grep { !$_->{done} } @{ $self->{clients} };

        return @late if !@late || time > $until;
        $self->read(0.2);
    }
}


sub judge {
    my $self = shift;

    for my $client (@{ $self->{clients} }) {
        $self->fault($client, @$_) for Conduit::Random::Oracle->judge($client);
    }

    my $stats = $self->{server}->stats;

    for my $stream (@{ $self->{streams} }) {
        my $s = $stats->{$stream->key} or next;
        my @clients = grep { $_->{stream} == $stream } @{ $self->{clients} };
        my $asked = grep { $_->{what} eq 'open' } map { @{ $_->{log} } }
                    @clients;

        # a channel that was closed with its last client may leave a question
        # behind, whose answer nobody waits for

        my $left = grep { $_->{what} =~ /^(?:leaves|end|cut)$/ }
                   map { @{ $_->{log} } } @clients;

        $self->{flight} = max($self->{flight} // 0, $s->{flight});
        $self->fault($clients[0], 'P6', 'questions',
                     "$s->{flight} questions at one time")
            if $s->{flight} > 2 + 2 * $left;

        my $most = $REFUSED + 4 * ($asked + $stream->clock);
        $self->fault($clients[0], 'P5', 'loop',
                     "$s->{errors} questions answered with an error, "
                     . "for $asked clients, of $s->{n}")
            if ($s->{errors} // 0) > $most;
    }
}


sub fault {
    my ($self, $client, $promise, $kind, $text) = @_;

    push @{ $self->{faults} }, {
        promise => $promise, kind => $kind, where => $client->{stream}{where},
        text => $text, story => sub { $self->story($client) },
    };
}


# What was done to the stream and what the client got, in the order of time.

sub story {
    my ($self, $client) = @_;

    my $stream = $client->{stream};
    my @lines = map { [$_->[1], "[$_->[0]] $_->[2]"] } @{ $stream->{log} };

    push @lines, map { [$_->[0], "     $_->[1]"] } @{ $self->{ways} };

    for my $item (@{ $client->{log} }) {
        my $what = $item->{what};
        my $e = $item->{entry};

        push @lines, [$item->{time}, "        client: " . (
            $what eq 'open'
                ? 'connects ' . (defined $item->{after}
                                 ? "after $item->{after}" : '')
                  . ($e ? " of life $e->{life}" : '')
            : $what eq 'event' ? "$e->{id} (life $e->{life})"
            : $what eq 'told' ? "history_lost $item->{reason} ($item->{id})"
            : "$what " . ($item->{text} // ''))];
    }

    @lines = sort { $a->[0] <=> $b->[0] } @lines;
    my $start = @lines ? $lines[0][0] : 0;

    return join '', "mode $self->{mode}, seed $self->{seed}, "
                    . "stream $stream->{n} at $stream->{where}, "
                    . "client $client->{n}"
                    . ($client->{slow} ? ', slow' : '')
                    . ", $stream->{key}\n",
        joined(map { sprintf "%7.1f ms %s\n", 1000 * ($_->[0] - $start),
                     $_->[1] } @lines);
}


# Joins consecutive additions, and consecutive events, into one line each.

sub joined {
    my @out;
    my $before = '';

    for (@_) {
        my ($what, $text) = /ms ( *(?:\[\d+\] XADD|client:)) (\d.*)\n/;
        $what =~ s/\[\d+\]// if defined $what;

        if (defined $what && $what eq $before && length $out[-1] < 100) {
            $out[-1] =~ s/\n/, $text\n/;
        } else {
            push @out, $_;
        }

        $before = $what // '';
    }

    return @out;
}

1;
