# Copyright (C) Conduit for NGINX authors

package Conduit::Random::Server;

# The Redis of a random test: one server, and what all kinds of servers share.
#
#     my $server = Conduit::Random::Server->of('cluster');
#     $server->url                     for NGINX, through proxies that can fail
#     $server->command($key, WORD...)  to the server that has the key
#     $server->at_once($key, COMMAND...)
#     $server->keep_together($key)     from now on commands may also name other
#                                      keys of its slot
#     $server->ready                   at the beginning of a round: all serve,
#                                      and are empty
#     $server->tell(WORD...)           tells all proxies, see Conduit::Proxy
#     $server->stats                   of all proxies
#     $server->kill($type)             closes connections of others
#     $server->plan($mode, $seconds, @streams)
#                                      what happens to servers: a list of
#                                      [time, method, ...]
#     $server->calm                    ends what is in progress
#
# {counts} has how often each event happened.  A method that waits gets a
# function, wait(SECONDS, CONDITION), that reads from clients meanwhile.  A
# method that may lose entries returns the keys of their streams.

use strict;
use warnings;

use Conduit;
use Conduit::Proxy;
use List::Util qw(max sum0);


sub of {
    my ($class, $kind) = @_;

    return $class->new if $kind eq 'single';

    my %kinds = (cluster => 'Cluster', sentinel => 'Sentinel');
    my $name = $kinds{$kind} or die "no server of the kind $kind";

    require "Conduit/Random/Server/$name.pm";
    return "Conduit::Random::Server::$name"->new;
}


sub new {
    my ($class) = @_;

    return bless { ways => [Conduit::Proxy->start($Conduit::REDIS_PORT)] },
                 $class;
}


# whether this kind of server can't run a mode
sub lacks { return $_[1] eq 'moves' }

sub url { $_[0]{ways}[0]->url }

sub command {
    my ($self, $key, @command) = @_;

    $self->{keys}{$key} = 1;
    return redis(@command);
}

sub at_once {
    my ($self, $key, @commands) = @_;

    $self->{keys}{$key} = 1;
    redis('MULTI');
    redis(@$_) for @commands;
    redis('EXEC');
}

sub keep_together { }

sub ready {
    my $self = shift;

    $self->{keys} = {};
    unlink "$Conduit::TMP/dump.rdb";
    redis('FLUSHALL');
}

sub plan {
    my ($self, $mode, $length) = @_;

    return if $mode ne 'lossy' || rand() < 0.2;

    my $at = rand $length;

    return (rand() < 0.7 ? [$at / 2, 'save'] : (),
            [$at, 'restart', ('KILL', 'TERM')[rand 2]]);
}

sub calm { }

# Ways in which a master is replaced by its replica, which may have been frozen
# before: the replica is told to take over, or the master is killed or hangs.

sub plan_loss {
    my ($self, $at, @which) = @_;

    my $how = ('told', 'told', 'kill', 'hang')[rand 4];

    return (rand() < 0.7 ? [$at / 2, 'freeze', @which] : (),
            [$at, 'lose', $how, @which]);
}


# The proxies were started one after the other, and each inherited the sockets
# of those before it: the last one must be stopped first.

sub stop { $_->stop for reverse @{ $_[0]{ways} } }

sub tell {
    my ($self, @what) = @_;

    $_->tell(@what) for @{ $self->{ways} };
}

sub stats {
    my $self = shift;

    my (%all, %of);

    for my $stats (map { $_->stats } @{ $self->{ways} }) {
        push @{ $all{$_} }, $stats->{$_} for keys %$stats;
    }

    for my $key (keys %all) {
        my @s = @{ $all{$key} };

        $of{$key} = { n => sum0(map { $_->{n} } @s),
                      errors => sum0(map { $_->{errors} // 0 } @s),
                      flight => max(map { $_->{flight} } @s) };
    }

    return \%of;
}

sub kill {
    my ($self, $type) = @_;

    eval { redis('CLIENT', 'KILL', 'TYPE', $type, 'SKIPME', 'yes') };
}


# Stops Redis with a signal; it comes back with the data of its last save.

sub save {
    my $self = shift;

    redis('SAVE');
    return;
}

sub restart {
    my ($self, $wait, $signal) = @_;

    $self->{counts}{restarts}++;
    redis_stop($signal);
    $wait->(0.1, sub { 0 });
    redis_start();

    return keys %{ $self->{keys} };
}


# Makes Redis a replica without a master for some time: nothing can be read or
# written.

sub replica {
    my ($self, $wait, $seconds) = @_;

    $self->{counts}{replica}++;
    redis('CONFIG', 'SET', 'replica-serve-stale-data', 'no');
    redis('REPLICAOF', '127.0.0.1', free_port());
    $wait->($seconds, sub { 0 });
    redis('REPLICAOF', 'NO', 'ONE');
    redis('CONFIG', 'SET', 'replica-serve-stale-data', 'yes');
    return;
}

1;
