# Copyright (C) Conduit for NGINX authors

package Conduit::Random::Server::Sentinel;

# A master, a replica, and three Sentinels.  What happens to them:
#
#     failover             manual, when the replica has all data
#     freeze, lose         the replica gets no more data, and later the Sentinels
#                          make it the master: what was added since is lost

use strict;
use warnings;

use parent 'Conduit::Random::Server';

use Conduit;
use Conduit::Servers;
use Time::HiRes qw(time);

# seconds to wait for a failover
my $PATIENCE = 90;

# seconds after which a manual failover is tried again
my $RETRY = 15;


sub new {
    my ($class) = @_;

    my $set = Conduit::Servers->sentinel(ways => 1);
    my @data = $set->data;

    return bless { set => $set, data => \@data, master => $set->master,
                   ways => [map { $set->way($_) } @data], keys => {} }, $class;
}


sub lacks { 0 }

sub url { $_[0]{set}->url }

sub command {
    my ($self, $key, @command) = @_;

    $self->{keys}{$key} = 1 if defined $key;
    return $self->{set}->command($self->{master}, @command);
}

sub at_once {
    my ($self, $key, @commands) = @_;

    my $s = $self->{set};

    $self->{keys}{$key} = 1;

    # on one connection; command() makes a new one each time

    $s->Conduit::Servers::command($self->{master}, @$_)
        for ['MULTI'], @commands, ['EXEC'];
}


sub other { (grep { $_ != $_[0]{master} } @{ $_[0]{data} })[0] }

sub follows {
    my $self = shift;

    my $info = $self->{set}->info($self->other, 'replication');

    return $info->{role} eq 'slave' && $info->{master_link_status} eq 'up'
           && $self->{set}->behind($info->{master_port}) == $self->{master};
}


# Waits until the Sentinels agree about the master, have no failover in
# progress, and know its replica as a replica.

sub at_peace {
    my $self = shift;

    my $set = $self->{set};

    for my $port ($set->sentinels) {
        my %h = @{ $set->command($port, qw(SENTINEL MASTER mymaster)) };

        return 0 if $h{flags} ne 'master'
                    || $set->behind($h{port}) != $self->{master};

        for my $reply (@{ $set->command($port, qw(SENTINEL REPLICAS
                                                  mymaster)) })
        {
            my %r = @$reply;
            return 0 if $r{flags} ne 'slave' || $r{'master-link-status'} ne 'ok';
        }
    }

    return $self->follows;
}


sub ready {
    my $self = shift;

    $self->{keys} = {};
    wait_for($Conduit::Servers::PATIENCE, sub { $self->at_peace })
        or die 'the Sentinels do not agree';
    $self->command(undef, 'FLUSHALL');
}


sub kill {
    my ($self, $type) = @_;

    for my $port (@{ $self->{data} }) {
        eval { $self->{set}->command($port, 'CLIENT', 'KILL', 'TYPE', $type,
                                     'SKIPME', 'yes') };
    }
}


sub plan {
    my ($self, $mode, $length) = @_;

    return if rand() > ($mode eq 'all' ? 0.2 : 0.6);

    my $at = rand $length;

    return $mode eq 'lossy' ? $self->plan_loss($at) : [$at, 'failover'];
}


sub calm { delete $_[0]{frozen} }


# Waits until the Sentinels have made the replica the master.

sub change {
    my ($self, $wait, $how) = @_;

    my $set = $self->{set};
    my ($master, $next) = ($self->{master}, $self->other);
    my @told = (($set->sentinels)[-1], qw(SENTINEL FAILOVER mymaster));

    if ($how eq 'kill') {
        $set->kill($master);

    } elsif ($how eq 'hang') {
        $set->pause($master);

    } else {
        eval { $set->command(@told) } or return;
    }

    my $sent = time;

    $wait->($PATIENCE, sub {
        if ($how eq 'told' && time > $sent + $RETRY) {
            $sent = time;
            eval { $set->command(@told) };
        }

        return $set->master == $next
               && $set->info($next, 'replication')->{role} eq 'master';
    }) or die 'no failover';

    $set->run($master) if $how eq 'kill';
    $set->resume($master) if $how eq 'hang';

    $self->{counts}{"failover: $how"}++;
    $self->{master} = $next;
    return 1;
}


sub failover {
    my ($self, $wait) = @_;

    return if !$wait->(10, sub { $self->at_peace });

    $self->{set}->settle($self->{master});
    $self->change($wait, 'told');
    return;
}


sub freeze {
    my ($self, $wait) = @_;

    return if !$wait->(10, sub { $self->at_peace });

    $self->{frozen} = 1;
    $self->{set}->way($self->{master})->tell('freeze');
    return;
}


sub lose {
    my ($self, $wait, $how) = @_;

    return if !delete $self->{frozen} && !$wait->(10, sub { $self->at_peace });
    return $self->change($wait, $how) ? keys %{ $self->{keys} } : ();
}

1;
