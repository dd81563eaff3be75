package Conduit::Random::Server::Cluster;

# A Redis Cluster of three masters with a replica each.  What happens to it:
#
#     open, move, close    the steps of a slot's way to another master, with
#                          operations and clients in between
#     failover             by hand: nothing is lost
#     freeze, take_over    a replica gets nothing more, and later takes its
#                          master's place: what came since is lost

use strict;
use warnings;

use parent 'Conduit::Random::Server';

use Conduit;
use Conduit::Servers;
use Time::HiRes qw(sleep time);

# s, of a command that is redirected, or refused for what passes
my $PATIENCE = 60;


sub new {
    my ($class) = @_;

    my $cluster = Conduit::Servers->cluster(ways => 1);
    my @nodes = $cluster->ports;

    return bless {
        cluster => $cluster, nodes => \@nodes, owner => {}, steps => {},
        ways => [map { $cluster->way($_) } @nodes],
    }, $class;
}


sub lacks { 0 }

sub url { $_[0]{cluster}->url }

sub slot { $_[0]{slots}{$_[1]} //= $_[0]{cluster}->slot($_[1]) }

sub owner {
    my ($self, $key) = @_;

    return $self->{owner}{$self->slot($key)} //= $self->{cluster}->owner($key);
}


# Follows redirects, as a client does.

sub command {
    my ($self, $key, @command) = @_;

    my $cluster = $self->{cluster};
    my $slot = $self->slot($key);
    my $until = time + $PATIENCE;
    my $ask;

    while (1) {
        my $port = $ask // $self->owner($key);

        if (defined $port) {
            my $reply = eval {
                $cluster->command($port, 'ASKING') if $ask;
                [$cluster->command($port, @command)];
            };

            return $reply->[0] if $reply;
        }

        $ask = undef;

        if ($@ =~ /^redis: ASK \d+ \S+:(\d+)/) {
            $ask = $cluster->behind($1);

        } elsif ($@ =~ /^redis: MOVED \d+ \S+:(\d+)/) {
            $self->{owner}{$slot} = $cluster->behind($1);

        } elsif (defined $port
                 && $@ !~ /^redis:\ (?:CLUSTERDOWN|TRYAGAIN|READONLY|LOADING
                                      |MASTERDOWN)/x)
        {
            die $@;

        } else {
            delete $self->{owner}{$slot};
            sleep 0.02;
        }

        die "no end of redirects: $@" if time > $until;
    }
}


# where a slot is under way, one after the other

sub at_once {
    my ($self, $key, @commands) = @_;

    my $one_by_one = $self->{steps}{$self->slot($key)};

    # the first one finds the place

    @commands = (['EXISTS', $key], ['MULTI'], @commands, ['EXEC'])
        if !$one_by_one;

    $self->command($key, @$_) for @commands;
}


sub keep_together {
    my ($self, $key) = @_;

    my $slot = $self->slot($key);

    $self->end_step($slot) if $self->{steps}{$slot};
}


sub ready {
    my $self = shift;

    my $cluster = $self->{cluster};

    $cluster->agree(scalar @{ $self->{nodes} });
    $self->{owner} = {};
    $self->{slots} = {};
    $cluster->command($_, 'FLUSHALL') for $cluster->masters;
}


sub kill {
    my ($self, $type) = @_;

    for my $port (@{ $self->{nodes} }) {
        eval { $self->{cluster}->command($port, 'CLIENT', 'KILL', 'TYPE', $type,
                                         'SKIPME', 'yes') };
    }
}


# --- what happens

sub plan {
    my ($self, $mode, $length, @streams) = @_;

    my @plan;

    for my $stream (grep { $mode ne 'lossy' && rand() < 0.4 } @streams) {
        my $at = rand $length;
        my ($move, $close) = map { rand() ** 2 * $length / 2 } 1 .. 2;

        push @plan, [$at, 'open', $stream->key, int rand 2],
                    [$at + $move, 'move', $stream->key],
                    [$at + $move + $close, 'close', $stream->key];
    }

    if (rand() < ($mode eq 'all' ? 0.3 : 0.7)) {
        my $at = rand $length;

        push @plan, $mode eq 'lossy'
            ? ([$at / 2, 'freeze', int rand 3], [$at, 'take_over'])
            : [$at, 'failover', int rand 3];
    }

    return @plan;
}


sub open {
    my ($self, $wait, $key, $which) = @_;

    my $cluster = $self->{cluster};
    my $slot = $self->slot($key);
    my $from = $cluster->owner($key);

    return if $self->{steps}{$slot} || $self->{frozen} || !$from;

    my $to = (grep { $_ != $from } $cluster->masters)[$which] or return;

    $self->{steps}{$slot} = $cluster->migration($key, $to);
    $self->{steps}{$slot}->open;
    $self->{counts}{'slots moved'}++;
    return;
}

sub move {
    my ($self, $wait, $key) = @_;

    my $step = $self->{steps}{$self->slot($key)} or return;

    $step->move;
    return;
}

sub close {
    my ($self, $wait, $key) = @_;

    my $slot = $self->slot($key);

    $self->end_step($slot) if $self->{steps}{$slot};
    return;
}

sub end_step {
    my ($self, $slot) = @_;

    my $step = delete $self->{steps}{$slot};

    $step->move;
    $step->close;
    $self->{owner}{$slot} = $step->to;
}


sub calm {
    my $self = shift;

    $self->end_step($_) for keys %{ $self->{steps} };
    delete $self->{frozen};
}


# A replica that takes slots says so of those that it has heard of: before, all
# have the same map, and no slot is under way.

sub at_peace {
    my ($self, $wait) = @_;

    $self->end_step($_) for keys %{ $self->{steps} };

    return $wait->(10, sub { $self->{cluster}->agreed });
}


sub is_master {
    my ($self, $port) = @_;

    return $self->{cluster}->info($port, 'replication')->{role} eq 'master';
}


sub failover {
    my ($self, $wait, $which) = @_;

    my $cluster = $self->{cluster};

    return if $self->{frozen} || !$self->at_peace($wait);

    my $master = ($cluster->masters)[$which] or return;
    my ($replica) = $cluster->replicas($master) or return;

    eval { $cluster->command($replica, 'CLUSTER', 'FAILOVER') } or return;
    $wait->(20, sub { $self->is_master($replica) });
    $self->{counts}{failovers}++;
    $self->{owner} = {};
    return;
}


sub freeze {
    my ($self, $wait, $which) = @_;

    my $cluster = $self->{cluster};

    return if !$self->at_peace($wait);

    my $master = ($cluster->masters)[$which] or return;
    my ($replica) = $cluster->replicas($master) or return;

    $self->{frozen} = { master => $master, replica => $replica };
    $cluster->way($master)->tell('freeze');
    return;
}


# All keys of the master: its successor lacks the last of what it took.

sub take_over {
    my ($self, $wait) = @_;

    my $frozen = delete $self->{frozen} or return;
    my $cluster = $self->{cluster};
    my @keys = grep { $self->owner($_) == $frozen->{master} }
               keys %{ $self->{slots} };

    $cluster->command($frozen->{replica}, 'CLUSTER', 'FAILOVER', 'TAKEOVER');
    $wait->(20, sub { $self->is_master($frozen->{replica}) })
        or die 'the replica does not take over';
    $self->{counts}{'taken over'}++;
    $self->{owner}{$self->slot($_)} = $frozen->{replica} for @keys;

    return @keys;
}

1;
