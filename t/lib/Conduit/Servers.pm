# Copyright (C) Conduit for NGINX authors

package Conduit::Servers;

# Several Redis servers: a cluster, or a master that Sentinels watch.
#
#     use Conduit;
#     use Conduit::Servers;
#
#     my $cluster = Conduit::Servers->cluster;      # 3 masters, 3 replicas
#     my $port = $cluster->owner($key);
#     $cluster->command($port, 'XLEN', $key);
#     $cluster->kill($port);
#
#     my $step = $cluster->migration($key, $to);    # of the key's slot
#     $step->open; $step->move; $step->close;
#
#     my $set = Conduit::Servers->sentinel;         # 3 Sentinels
#     $set->master;
#
# A server is known by its port.  All are stopped at the end, by their ids.

use strict;
use warnings;

use Conduit::Fake;
use Conduit::Proxy;
use IO::Socket::INET;
use POSIX ();
use Socket qw(SOL_SOCKET SO_RCVTIMEO);
use Time::HiRes ();

# s; a server starts, a cluster agrees
our $PATIENCE = 60;

my $owner = $$;
my %running;     # the ids of all processes => 1
my %used;        # ports


# --- servers

sub new {
    my $class = shift;

    return bless { servers => {}, sockets => {} }, $class;
}


# Starts a redis-server with the options given; returns its port.  Where an
# option is "TLS_PORT", a free port stands instead, see tls_port(); "WAY_PORT":
# that of a Conduit::Proxy to this server, see way().

sub start {
    my ($self, @options) = @_;

    my $port = unused_port();
    my $dir = "$Conduit::TMP/redis-$port";

    mkdir $dir or die "$dir: $!";

    my $tls = grep({ $_ eq 'TLS_PORT' } @options) && unused_port();
    my $way = grep({ $_ eq 'WAY_PORT' } @options) && Conduit::Proxy->start($port);
    @options = map { $_ eq 'TLS_PORT' ? $tls
                     : $_ eq 'WAY_PORT' ? $way->port : $_ } @options;

    $self->{behind}{$way->port} = $port if $way;

    $self->{servers}{$port} = {
        dir => $dir,
        tls => $tls,
        way => $way,
        command => ['--port', $port, '--bind', '127.0.0.1', '--dir', $dir,
                    '--save', '', '--appendonly', 'no', @options],
    };

    $self->run($port);

    return $port;
}


# Runs a server, again after a stop or a kill: what it held is lost, but for
# what it keeps about its cluster.

sub run {
    my ($self, $port) = @_;

    my $server = $self->{servers}{$port};
    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$server->{dir}/log";
        open STDERR, '>&', \*STDOUT;
        exec $ENV{REDIS_SERVER} || '/usr/bin/redis-server',
            @{ $server->{command} } or POSIX::_exit(127);
    }

    $server->{pid} = $pid;
    $running{$pid} = 1;

    Conduit::wait_for($PATIENCE, sub { $self->gone($port)
                                       || Conduit::redis_answers($port) });

    die "redis-server did not start:\n"
        . Conduit::read_file("$server->{dir}/log") if !$server->{pid};
}


# A free port whose port of the cluster bus, 10000 above, is free, too.

sub unused_port {
    for (1 .. 1000) {
        my $port = Conduit::free_port();

        next if $port > 55535 || $used{$port} || $used{$port + 10000};

        my $bus = IO::Socket::INET->new(
            LocalAddr => '127.0.0.1:' . ($port + 10000), Listen => 1,
            ReuseAddr => 1) or next;

        $used{$port} = $used{$port + 10000} = 1;
        return $port;
    }

    die "no free port";
}


sub gone {
    my ($self, $port) = @_;

    my $server = $self->{servers}{$port};

    return 1 if !$server->{pid};
    return 0 if waitpid($server->{pid}, POSIX::WNOHANG()) == 0;

    delete $running{$server->{pid}};
    $server->{pid} = undef;

    return 1;
}


# Ends a server; with KILL it can't close its connections in order.

sub kill {
    my ($self, $port, $signal) = @_;

    my $pid = $self->{servers}{$port}{pid} or return;

    delete $self->{sockets}{$port};

    CORE::kill $signal // 'KILL', $pid;
    CORE::kill 'CONT', $pid;

    Conduit::wait_for(20, sub { $self->gone($port) })
        or die "redis-server $pid does not leave";
}


# Connections stay open, and nothing is answered.

sub pause {
    my ($self, $port) = @_;

    delete $self->{sockets}{$port};
    $self->{servers}{$port}{paused} = 1;
    CORE::kill 'STOP', $self->{servers}{$port}{pid};
    Conduit::stopped($self->{servers}{$port}{pid})
        or die 'redis-server does not stop';
}

sub resume {
    my ($self, $port) = @_;

    $self->{servers}{$port}{paused} = 0;
    CORE::kill 'CONT', $self->{servers}{$port}{pid};
}


# Pauses a server for so many seconds, and returns at once.

sub pause_for {
    my ($self, $port, $seconds) = @_;

    $self->pause($port);

    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        Time::HiRes::sleep($seconds);
        $self->resume($port);
        POSIX::_exit(0);
    }

    $running{$pid} = 1;
    $self->{servers}{$port}{paused} = 0;
}


# the port where a server expects TLS
sub tls_port { $_[0]{servers}{$_[1]}{tls} }

# the proxy to a server, and the port for others to use
sub way { $_[0]{servers}{$_[1]}{way} }

sub way_port {
    my ($self, $port) = @_;

    my $way = $self->way($port);

    return $way ? $way->port : $port;
}

# the port of the server that others know by this one
sub behind { $_[0]{behind}{$_[1]} // $_[1] }

sub ports { sort { $a <=> $b } keys %{ $_[0]{servers} } }

# those that run
sub live { grep { $_[0]{servers}{$_}{pid} } $_[0]->ports }

# those that run and are not paused
sub answering { grep { !$_[0]{servers}{$_}{paused} } $_[0]->live }

sub log_of {
    my ($self, $port) = @_;

    return Conduit::read_file("$self->{servers}{$port}{dir}/log");
}


# Sends a command to a server; replies and errors are those of
# Conduit::redis().

sub command {
    my ($self, $port, @args) = @_;

    my $s = $self->{sockets}{$port} //= connection($port);

    $s->syswrite(join '', '*' . @args . "\r\n",
                 map { '$' . length($_) . "\r\n$_\r\n" } @args);

    my $reply = eval { Conduit::redis_reply($s) };

    if ($@) {
        delete $self->{sockets}{$port} if $@ =~ /^redis: connection/;
        die $@;
    }

    return $reply;
}


sub connection {
    my $port = shift;

    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 20)
        or die "redis: connection to port $port: $!\n";

    setsockopt $s, SOL_SOCKET, SO_RCVTIMEO, pack 'l!l!', 10, 0;

    return $s;
}


# A section of INFO as a hash.

sub info {
    my ($self, $port, $section) = @_;

    return { map { /^(\w+):(.*)/ ? ($1 => $2) : () }
             split /\r\n/, $self->command($port, 'INFO', $section) };
}


# The connections to a server, from NGINX or from here, as a list of hashes.

sub clients {
    my ($self, $port) = @_;

    return map { +{ map { split /=/, $_, 2 } split } }
           split /\n/, $self->command($port, 'CLIENT', 'LIST');
}


# Waits until a server's replicas have all that was written there until now.

sub settle {
    my ($self, $port) = @_;

    my $target = $self->info($port, 'replication')->{master_repl_offset};

    Conduit::wait_for($PATIENCE, sub {
        my $info = $self->info($port, 'replication');

        for my $n (0 .. $info->{connected_slaves} - 1) {
            my ($offset) = $info->{"slave$n"} =~ /offset=(\d+)/;
            return 0 if $offset < $target;
        }

        return $info->{connected_slaves};
    }) or die "the replicas of port $port do not follow: ",
        $self->command($port, 'INFO', 'replication');
}


# Starts a process that answers like a server with outdated knowledge: to the
# commands given (upper case) with the replies given, as command() returns them;
# to PING and SUBSCRIBE as Redis does.  Returns its port.

sub pretender {
    my ($self, %replies) = @_;

    my $port = unused_port();
    my $fake = Conduit::Fake->start(sub {
        my ($name, @words) = @_;

        return exists $replies{uc $name}
                   ? Conduit::Fake::encode($replies{uc $name})
             : uc $name eq 'SUBSCRIBE'
                   ? Conduit::Fake::encode(['subscribe', $words[0], 1])
             : uc $name eq 'PING' ? "+PONG\r\n" : "-ERR unknown\r\n";
    }, port => $port);

    $self->{servers}{$port} = { pid => $fake->pid };

    return $port;
}


# --- what they form, see Conduit::Servers::Cluster and ::Sentinel

sub cluster {
    my ($class, %o) = @_;

    require Conduit::Servers::Cluster;
    return Conduit::Servers::Cluster->create(%o);
}


sub sentinel {
    my ($class, %o) = @_;

    require Conduit::Servers::Sentinel;
    return Conduit::Servers::Sentinel->create(%o);
}


END {
    if ($$ == $owner) {
        my $status = $?;

        for my $pid (keys %running) {
            CORE::kill 'KILL', $pid;
            waitpid $pid, 0;
        }

        $? = $status;
    }
}

1;
