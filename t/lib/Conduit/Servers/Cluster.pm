# Copyright (C) Conduit for NGINX authors

package Conduit::Servers::Cluster;

# A Redis Cluster, and the migration of its slots between masters.
#
#     my $cluster = Conduit::Servers->cluster;      # 3 masters, 3 replicas
#     my $port = $cluster->owner($key);
#     my $channel = $cluster->channel_on($port);
#     $cluster->command($port, 'XLEN', $key);
#
#     my $step = $cluster->migration($key, $to);    # of the key's slot
#     $step->open; $step->move; $step->close;

use strict;
use warnings;

our @ISA = 'Conduit::Servers';

# ms without a reply after which a node counts as failed: short, so that a
# killed node is noticed soon, but long enough for one that is only slow
our $NODE_TIMEOUT = 2500;


# Starts masters, each with a replica unless "replicas" says 0, that share the
# slots evenly.  Other options: masters, options (a reference to a list, for
# redis-server), ways (whether all but this test reach each node by a
# Conduit::Proxy).

sub create {
    my ($class, %o) = @_;

    my $self = $class->new;

    my @options = ('--cluster-enabled', 'yes',
                   '--cluster-config-file', 'nodes.conf',
                   '--cluster-node-timeout', $NODE_TIMEOUT,
                   '--cluster-replica-validity-factor', 0,
                   '--repl-ping-replica-period', 1,
                   '--repl-diskless-sync', 'yes',
                   '--repl-diskless-sync-delay', 0,
                   $o{ways} ? ('--cluster-announce-port', 'WAY_PORT') : (),
                   @{ $o{options} // [] });

    my $n = $o{masters} // 3;
    my @masters = map { $self->start(@options) } 1 .. $n;
    my @replicas = map { $self->start(@options) }
                   1 .. ($o{replicas} // 1) * $n;
    my @all = (@masters, @replicas);

    for my $i (0 .. $#masters) {
        my $first = int 16384 * $i / $n;
        my $last = int(16384 * ($i + 1) / $n) - 1;

        $self->command($masters[$i], 'CLUSTER', 'SET-CONFIG-EPOCH', $i + 1);
        $self->command($masters[$i], 'CLUSTER', 'ADDSLOTS', $first .. $last);
    }

    # every node meets every other one: gossip would take longer

    for my $i (0 .. $#all) {
        $self->command($all[$i], 'CLUSTER', 'MEET', '127.0.0.1', $_)
            for @all[$i + 1 .. $#all];
    }

    # REPLICATE is refused until the replica knows the node as a master

    for my $i (0 .. $#replicas) {
        my $id = $self->id($masters[$i % $n]);

        Conduit::wait_for($Conduit::Servers::PATIENCE, sub {
            eval { $self->command($replicas[$i], 'CLUSTER', 'REPLICATE', $id) };
        }) or die "no replica: $@";
    }

    $self->agree(scalar @all);

    return $self;
}


# The URL, with the nodes given or all masters as seeds.

sub url {
    my ($self, @ports) = @_;

    @ports = $self->masters if !@ports;

    return 'redis+cluster://' . join ',',
           map { '127.0.0.1:' . $self->way_port($_) } @ports;
}


sub id {
    my ($self, $port) = @_;

    return $self->command($port, 'CLUSTER', 'MYID');
}


# Which master has which slots, according to a node (or any that runs): a list
# of [first, last, port of the master, ports of its replicas].

sub slots {
    my ($self, $port) = @_;

    $port //= ($self->answering)[0];

    return map { my ($first, $last, @nodes) = @$_;
                 [$first, $last, map { $self->behind($_->[1]) } @nodes] }
           @{ $self->command($port, 'CLUSTER', 'SLOTS') };
}


sub masters {
    my ($self, $port) = @_;

    my %seen = map { $_->[2] => 1 } $self->slots($port);

    return sort { $a <=> $b } keys %seen;
}


sub slot {
    my ($self, $key) = @_;

    return $self->command(($self->answering)[0], 'CLUSTER', 'KEYSLOT', $key);
}


# The port of the master of a key, according to a node (or any that runs); undef
# if no node serves its slot.

sub owner {
    my ($self, $key, $port) = @_;

    my $slot = $self->slot($key);
    my ($range) = grep { $_->[0] <= $slot && $slot <= $_->[1] }
                  $self->slots($port);

    return $range && $range->[2];
}


# A new channel whose stream belongs to the master at a port.

sub channel_on {
    my ($self, $port) = @_;

    while (1) {
        my $id = Conduit::uuid();
        my $key = Conduit::stream_key($Conduit::ORG, $id);

        return $id if $self->owner($key) == $port;
    }
}


# The ports of a master's replicas.

sub replicas {
    my ($self, $master) = @_;

    my %seen = map { $_ => 1 } map { my (undef, undef, $port, @others) = @$_;
                                     $port == $master ? @others : () }
               $self->slots;

    return sort { $a <=> $b } keys %seen;
}


# Waits until all running nodes know each other, serve, have the same map of the
# slots, and have replicas that follow.

sub agree {
    my ($self, $nodes) = @_;

    Conduit::wait_for($Conduit::Servers::PATIENCE,
                      sub { $self->agreed($nodes) })
        or die "the cluster does not agree";
}


# Whether they do.

sub agreed {
    my ($self, $nodes) = @_;

    my %maps;

    for my $port ($self->answering) {
        my $info = { map { /^(\w+):(.*)/ ? ($1 => $2) : () }
                     split /\r\n/,
                     $self->command($port, 'CLUSTER', 'INFO') };

        return 0 if $info->{cluster_state} ne 'ok'
                    || $nodes && $info->{cluster_known_nodes} != $nodes;

        my $r = $self->info($port, 'replication');

        return 0 if ($r->{master_link_status} // 'up') ne 'up';

        $maps{join ' ', sort map { my ($first, $last, $master, @others) = @$_;
                                   join ',', $first, $last, $master,
                                       sort @others }
                        $self->slots($port)} = 1;
    }

    my ($map) = keys %maps;

    return keys %maps == 1
           && (!$nodes || $nodes == keys %{ { map { $_ => 1 }
                   map { (split /,/)[2 .. ($_ =~ tr/,//)] }
                   split ' ', $map } });
}


# A live migration of a key's slot, from its owner or the node given (a replica
# may not know the owner yet); see Conduit::Servers::Migration.

sub migration {
    my ($self, $key, $to, $from) = @_;

    return bless { cluster => $self, slot => $self->slot($key), to => $to,
                   from => $from // $self->owner($key) },
                 'Conduit::Servers::Migration';
}


package Conduit::Servers::Migration;

# The steps of the migration of a slot from one master to another.

use strict;
use warnings;


# From now on the source answers commands for keys that it does not have with an
# ASK to the target.

sub open {
    my $self = shift;
    my $c = $self->{cluster};

    $c->command($self->{to}, qw(CLUSTER SETSLOT), $self->{slot}, 'IMPORTING',
                $c->id($self->{from}));
    $c->command($self->{from}, qw(CLUSTER SETSLOT), $self->{slot}, 'MIGRATING',
                $c->id($self->{to}));
}


# Moves the keys given, or all of the slot; returns their names.

sub move {
    my ($self, @keys) = @_;
    my $c = $self->{cluster};

    @keys = @{ $c->command($self->{from}, qw(CLUSTER GETKEYSINSLOT),
                           $self->{slot}, 1000) } if !@keys;

    for my $key (@keys) {

        # a key that has expired meanwhile is answered with +NOKEY

        $c->command($self->{from}, 'MIGRATE', '127.0.0.1', $self->{to}, $key,
                    0, 5000);
    }

    return @keys;
}


# Makes the target the owner: the target is told first, then the source, then
# the others.

sub close {
    my $self = shift;
    my $c = $self->{cluster};

    my %masters = map { $_ => 1 } $c->masters;
    my @others = grep { $masters{$_} && $_ != $self->{to}
                        && $_ != $self->{from} } $c->answering;

    $c->command($_, qw(CLUSTER SETSLOT), $self->{slot}, 'NODE',
                $c->id($self->{to})) for $self->{to}, $self->{from}, @others;
}


# Cancels the migration, before any key has moved.

sub cancel {
    my $self = shift;

    $self->{cluster}->command($_, qw(CLUSTER SETSLOT), $self->{slot}, 'STABLE')
        for $self->{from}, $self->{to};
}


sub from { $_[0]{from} }

sub to { $_[0]{to} }

1;
