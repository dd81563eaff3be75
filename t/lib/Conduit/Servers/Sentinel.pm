# Copyright (C) Conduit for NGINX authors

package Conduit::Servers::Sentinel;

# A master, its replicas, and the Sentinels that watch them.
#
#     my $set = Conduit::Servers->sentinel;         # 3 Sentinels
#     $set->master;

use strict;
use warnings;

our @ISA = 'Conduit::Servers';


# Options: replicas (1), sentinels (3), name (mymaster), ways (whether all but this
# test reach each server with data by a Conduit::Proxy).

sub create {
    my ($class, %o) = @_;

    my $self = $class->new;

    $self->{name} = $o{name} // 'mymaster';

    my $replicas = $o{replicas} // 1;
    my @options = ('--repl-diskless-sync', 'yes',
                   '--repl-diskless-sync-delay', 0,
                   $o{ways} ? ('--replica-announce-port', 'WAY_PORT') : ());

    my $master = $self->start(@options);

    $self->start(@options, '--replicaof', '127.0.0.1',
                 $self->way_port($master))
        for 1 .. $replicas;

    $self->{data} = [$self->ports];

    Conduit::wait_for($Conduit::Servers::PATIENCE, sub {
        $self->info($master, 'replication')->{connected_slaves} == $replicas
    }) or die "no replica";

    $self->settle($master) if $replicas;

    $self->{sentinels} = [map { $self->start_sentinel($master) }
                          1 .. $o{sentinels} // 3];

    $self->know_each_other;

    return $self;
}


sub start_sentinel {
    my ($self, $master) = @_;

    my $port = Conduit::Servers::unused_port();
    my $dir = "$Conduit::TMP/sentinel-$port";
    my $name = $self->{name};
    my $way = $self->way_port($master);

    mkdir $dir or die "$dir: $!";

    # a Sentinel writes what it learns to this file

    Conduit::write_file("$dir/sentinel.conf", <<"EOC");
port $port
bind 127.0.0.1
dir $dir
sentinel monitor $name 127.0.0.1 $way 2
sentinel down-after-milliseconds $name 2500
sentinel failover-timeout $name 5000
sentinel parallel-syncs $name 1
EOC

    $self->{servers}{$port} = { dir => $dir,
                                command => ["$dir/sentinel.conf",
                                            '--sentinel'] };
    $self->run($port);

    # from Redis 7 on, the periods of a Sentinel can be shortened

    eval { $self->command($port, qw(SENTINEL DEBUG info-period 500
                                    publish-period 200 ask-period 200)) };

    return $port;
}


# Opens a new connection for each command, because a Sentinel closes all
# connections to a server whose role it changes: one that only reads is sent
# again if that happens before its reply.

my $READS = qr/^(?:INFO|CLIENT LIST|XLEN|XRANGE)\b/;

sub command {
    my ($self, $port, @args) = @_;

    for my $left (reverse 0 .. ("@args" =~ $READS ? 4 : 0)) {
        delete $self->{sockets}{$port};

        my $reply = eval { $self->SUPER::command($port, @args) };

        return $reply if !$@;
        die $@ if !$left || $@ !~ /^redis: connection closed/;
    }
}


sub know_each_other {
    my $self = shift;

    my @sentinels = $self->sentinels;

    for my $port (@sentinels) {
        Conduit::wait_for($Conduit::Servers::PATIENCE, sub {
            my $reply = $self->command($port, qw(SENTINEL MASTER),
                                       $self->{name});
            my %h = @$reply;

            return $h{'num-other-sentinels'} == @sentinels - 1
                   && $h{'num-slaves'} == @{ $self->{data} } - 1
                   && $h{flags} eq 'master';
        }) or die "the Sentinels do not know each other";
    }
}


# The URL, with the Sentinels given, or all.

sub url {
    my ($self, @ports) = @_;

    @ports = $self->sentinels if !@ports;

    return 'redis+sentinel://' . join(',', map { "127.0.0.1:$_" } @ports)
           . "/$self->{name}";
}


sub sentinels { @{ $_[0]{sentinels} } }

# the servers with data
sub data { @{ $_[0]{data} } }


# The port of the master, as a Sentinel (or the last one) says.

sub master {
    my ($self, $port) = @_;

    $port //= (grep { $self->{servers}{$_}{pid} } $self->sentinels)[-1];

    return $self->behind($self->command($port,
               qw(SENTINEL GET-MASTER-ADDR-BY-NAME), $self->{name})->[1]);
}

1;
