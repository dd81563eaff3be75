# Copyright (C) Conduit for NGINX authors

package Conduit::Random::Server::Cluster;

# A Redis Cluster of three masters with a replica each.  What happens to it:
#
#     open, move, close    the steps of the migration of a slot to another
#                          master, with operations and clients in between
#     failover             manual: nothing is lost
#     freeze, lose         a replica gets no more data, and later replaces its
#                          master: entries added since then are lost

use strict;
use warnings;

use parent 'Conduit::Random::Server';

use Conduit;
use Conduit::Servers;
use Time::HiRes qw(sleep time);

# seconds to wait: for a command that is redirected or gets a temporary error,
# and for a failover
my $PATIENCE = 90;

# seconds after which a manual failover is tried again
my $RETRY = 6;


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


# runs the commands in a transaction, or one by one if their slot is moving

sub at_once {
    my ($self, $key, @commands) = @_;

    my $one_by_one = $self->{steps}{$self->slot($key)};

    # EXISTS comes first, to follow redirects to the right server

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

    # the slots of the streams move, some of them several times

    for my $key ($mode eq 'lossy' ? () : map { $_->key } @streams) {
        my $at = rand $length / 2;

        while (rand() < 0.4) {
            push @plan, [$at, 'open', $key, int rand 2];
            $at += rand() ** 2 * $length / 2;
            push @plan, [$at, 'move', $key];
            $at += rand() ** 2 * $length / 2;
            push @plan, [$at, 'close', $key];
            $at += rand() ** 3 * $length / 2;
        }
    }

    if (rand() < ($mode eq 'all' ? 0.3 : 0.7)) {
        my $at = rand $length;

        push @plan, $mode eq 'lossy' ? $self->plan_loss($at, int rand 3)
                                     : [$at, 'failover', int rand 3];
    }

    return @plan;
}


sub open {
    my ($self, $wait, $key, $which) = @_;

    my $cluster = $self->{cluster};
    my $slot = $self->slot($key);
    my $from = $self->owner($key);

    return if $self->{steps}{$slot} || $self->{frozen} || !$from;

    my $to = (grep { $_ != $from } $cluster->masters)[$which] or return;

    $self->{steps}{$slot} = $cluster->migration($key, $to, $from);
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


# A replica that takes over announces only the slots that it knows of.  So
# before that, all nodes must have the same map, and no slot may be moving.

sub at_peace {
    my ($self, $wait) = @_;

    $self->end_step($_) for keys %{ $self->{steps} };

    return $wait->(10, sub { $self->{cluster}->agreed });
}


sub is_master {
    my ($self, $port) = @_;

    return $self->{cluster}->info($port, 'replication')->{role} eq 'master';
}


# a master, and the replica that is to take its place

sub pair {
    my ($self, $wait, $which) = @_;

    my $cluster = $self->{cluster};

    return if !$self->at_peace($wait);

    my $master = ($cluster->masters)[$which] or return;
    my ($replica) = $cluster->replicas($master) or return;

    return { master => $master, replica => $replica };
}


sub failover {
    my ($self, $wait, $which) = @_;

    my $cluster = $self->{cluster};
    my $pair = $self->pair($wait, $which) or return;

    my $sent = 0;

    # Redis gives a failover up after 5 s, for example on a busy machine: try
    # again

    $wait->($PATIENCE, sub {
        return $cluster->agreed if $self->is_master($pair->{replica});

        if (time > $sent + $RETRY) {
            $sent = time;
            $cluster->command($pair->{replica}, 'CLUSTER', 'FAILOVER');
        }

        return 0;
    }) or die 'the cluster does not agree about a failover';

    $self->{counts}{failovers}++;
    $self->{owner} = {};
    return;
}


sub freeze {
    my ($self, $wait, $which) = @_;

    $self->{frozen} = $self->pair($wait, $which) or return;
    $self->{cluster}->way($self->{frozen}{master})->tell('freeze');
    return;
}


# Returns all keys of the master, because its successor may lack their last
# changes.

sub lose {
    my ($self, $wait, $how, $which) = @_;

    my $pair = delete $self->{frozen} // $self->pair($wait, $which) or return;
    my $cluster = $self->{cluster};
    my ($master, $replica) = @$pair{qw(master replica)};
    my @keys = grep { $self->owner($_) == $master } keys %{ $self->{slots} };

    $how eq 'kill' ? $cluster->kill($master)
    : $how eq 'hang' ? $cluster->pause($master)
    : $cluster->command($replica, 'CLUSTER', 'FAILOVER', 'TAKEOVER');

    $wait->($PATIENCE, sub { $self->is_master($replica) })
        or die 'the replica does not take over';

    $cluster->run($master) if $how eq 'kill';
    $cluster->resume($master) if $how eq 'hang';

    $self->{counts}{"lost: $how"}++;
    $self->{owner} = {};
    $self->{owner}{$self->slot($_)} = $replica for @keys;

    return @keys;
}

1;
