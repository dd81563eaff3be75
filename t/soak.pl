#!/usr/bin/perl
# Copyright (C) Conduit for NGINX authors

# Faults at random, for as long as it is told to, while messages flow.
#
#     SOAK_SECONDS=120 SOAK_TOPOLOGY=cluster SOAK_SEED=7 perl t/soak.pl
#
# A real Redis (or a cluster of three masters with a replica each), NGINX with
# two workers, a publisher that posts numbered messages to some channels and
# notes what it was told about each, and several hundred clients that come back
# with Last-Event-ID.  Meanwhile connections are killed, servers stopped and
# restarted, workers told to go, slots moved.  At the end faults stop, each
# channel gets an END, and all that was noted must fit together:
#
# - what was acknowledged is in Redis, what was refused is not, nothing is there
#   twice; messages that a failover of the cluster drops are counted apart
# - each client got all that is in Redis, in its order, each message once,
#   unless it was told that history was lost
# - NGINX lives, its log has no alert, its workers are as small as before, and
#   have no connection left but those to Redis
#
# Exit status 1 otherwise.  The environment:
#
#     SOAK_SECONDS    of faults (120)
#     SOAK_TOPOLOGY   "one" or "cluster" (one)
#     SOAK_SEED       of the choice of faults (by chance; it is printed)
#     SOAK_CLIENTS, SOAK_CHANNELS   how many (400, 20)
#     SOAK_RATE       messages a second and channel (5)
#     SOAK_FAULTS     kinds, separated by commas (all)
#     SOAK_VERBOSE    each fault is printed
#     CONDUIT_KEEP    logs are kept after a failure

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Conduit;
use Conduit::Servers;
use Fcntl qw(F_GETFL F_SETFL O_NONBLOCK);
use IO::Handle;
use List::Util qw(max min sum0 shuffle);
use POSIX qw(EINPROGRESS);
use Socket;
use Storable ();
use Time::HiRes qw(sleep time);

my $SECONDS = $ENV{SOAK_SECONDS} || 120;
my $CLUSTER = ($ENV{SOAK_TOPOLOGY} // 'one') eq 'cluster';
my $SEED = $ENV{SOAK_SEED} // int(time * 1000) % 1_000_000;
my $CLIENTS = $ENV{SOAK_CLIENTS} || 400;
my $CHANNELS = $ENV{SOAK_CHANNELS} || 20;
my $RATE = $ENV{SOAK_RATE} || 5;

# s after the end of a fault in which each client must have a new message
my $STALL = 15;

# s in which a request to publish must have an answer
my $PATIENCE = 15;

# kB that a worker may have more at the end than at the beginning
my $GROWTH = 8192;

# marks history_lost among the messages of a client
my $LOST = 0xffffffff;

my @AOF = ('--appendonly', 'yes', '--appendfsync', 'always');

STDOUT->autoflush(1);
srand $SEED;
print "soak: seed $SEED, ", $CLUSTER ? 'cluster' : 'one Redis',
      ", ${SECONDS}s, $CLIENTS clients, $CHANNELS channels\n";

my @channels = map { uuid() } 1 .. $CHANNELS;
my ($cluster, $nginx, $publisher, $clients);
my (@windows, %done, %leaving, %problem, @notes);
my ($faults, $stalls) = (0, 0);


# --- servers

sub start_servers {
    my $url;

    if ($CLUSTER) {
        $cluster = Conduit::Servers->cluster(options => \@AOF);
        $url = $cluster->url;

    } else {
        redis_stop();

        # below the ports that connections take while it is away
        $Conduit::REDIS_PORT = low_port();
        redis_start(@AOF);
        $url = "redis://127.0.0.1:$Conduit::REDIS_PORT";
    }

    $nginx = Soak::Nginx->start(workers => 2, server =>
        publish_location('conduit_publish_rate off; '
                         . 'conduit_publish_max_len 10000000; '
                         . 'conduit_publish_idle_ttl 1d; '
                         . 'conduit_publish_end_ttl 1d; '
                         . 'conduit_publish_timeout 2s;', redis => $url)
        . gateway_location('conduit_gateway_keepalive 2s; '
                           . 'conduit_gateway_window 16k; '
                           . 'conduit_gateway_timeout 2s; '
                           . 'conduit_gateway_outage 3s; '
                           . 'conduit_gateway_drain 2s;', redis => $url));
}


sub low_port {
    for (1 .. 100) {
        my $port = 20000 + int rand 12000;

        return $port if IO::Socket::INET->new(Listen => 1, ReuseAddr => 1,
                                         LocalAddr => "127.0.0.1:$port");
    }

    die 'no free port';
}


sub redis_ports { $CLUSTER ? $cluster->ports : $Conduit::REDIS_PORT }

sub live_ports { $CLUSTER ? $cluster->answering : $Conduit::REDIS_PORT }

sub command {
    my ($port, @args) = @_;

    return $CLUSTER ? $cluster->command($port, @args) : redis(@args);
}


# The connections of NGINX to a server, of a kind.

sub links {
    my ($port, $kind) = @_;

    my @links;

    for my $line (split /\n/, command($port, 'CLIENT', 'LIST')) {
        my %c = map { split /=/, $_, 2 } split ' ', $line;

        my $is = $c{sub} || $c{cmd} eq 'subscribe' ? 'bell'
                 : $c{flags} =~ /t/ ? 'reader'
                 : $c{cmd} eq 'evalsha' ? 'publish'
                 : $c{cmd} =~ /^cluster/ ? 'topology' : '';

        push @links, $c{id} if $is eq $kind;
    }

    return @links;
}


# --- workers

sub proc {
    my $file = shift;

    return eval { read_file("/proc/$file") } // '';
}

# those that take connections
sub workers {
    return grep { !$leaving{$_}
                  && proc("$_/cmdline") =~ /worker process(?! is shutting)/ }
           $nginx->workers;
}

sub rss { proc("$_[0]/status") =~ /^VmRSS:\s+(\d+)/m ? $1 : 0 }


# The descriptors of a process: those of clients, those to Redis, others.

sub descriptors {
    my $pid = shift;

    my %redis = map { $_ => 1 } redis_ports();
    my %port;

    for (split /\n/, proc("$pid/net/tcp")) {
        my (undef, $local, $remote, undef, undef, undef, undef, undef, undef,
            $inode) = split;
        next if $local !~ /:/;

        my ($from, $to) = map { hex((split /:/)[1]) } $local, $remote;

        $port{$inode} = $redis{$to} ? 'redis'
                        : $from == $nginx->port && $to ? 'clients' : 'others';
    }

    my %n = (clients => 0, redis => 0, others => 0);

    for my $fd (glob "/proc/$pid/fd/*") {
        my $name = readlink $fd // next;

        $n{ $name =~ /^socket:\[(\d+)/ && $port{$1} || 'others' }++;
    }

    return \%n;
}


# --- processes of this suite

# Runs a function in a process of its own, with a socket to this one.

sub child {
    my $code = shift;

    socketpair my $here, my $there, AF_UNIX, SOCK_STREAM, 0
        or die "socketpair: $!";
    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        close $here;
        $there->autoflush(1);
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
        eval { $code->($there); 1 } or print STDERR "soak: $@";
        POSIX::_exit(0);
    }

    close $there;
    $here->autoflush(1);

    return { pid => $pid, socket => $here, text => '' };
}

sub tell_child {
    my ($child, $line) = @_;

    print { $child->{socket} } "$line\n";
}


# Waits for a line from a child; false when the time is up.

sub hear {
    my ($child, $line, $seconds) = @_;

    my $until = time + $seconds;

    while ($child->{text} !~ s/\A(?:.*\n)?\Q$line\E\n//s) {
        my $left = $until - time;
        return 0 if $left <= 0;

        my $set = '';
        vec($set, fileno $child->{socket}, 1) = 1;
        next if !select $set, undef, undef, $left;

        sysread $child->{socket}, $child->{text}, 4096, length $child->{text}
            or die "a process of the suite is gone\n";
    }

    return 1;
}


# A connection to NGINX, from an address whose ports no server here wants.

sub connection {
    socket my $s, AF_INET, SOCK_STREAM, 0 or die "socket: $!";
    bind $s, pack_sockaddr_in(0, inet_aton('127.0.0.2')) or die "bind: $!";
    fcntl $s, F_SETFL, O_NONBLOCK or die "fcntl: $!";

    return undef if !connect($s, pack_sockaddr_in($nginx->port,
                                                  INADDR_LOOPBACK))
                    && $! != EINPROGRESS;
    return $s;
}


# How many bytes the text of a message has: mostly few, sometimes many.

sub pad {
    my $sequence = shift;

    return $sequence % 53 ? $sequence * 37 % 200 : 6000;
}


# --- the publisher

# One connection and one message at a time for each channel: what comes later is
# posted after the answer to what came before.  A sequence is never repeated.

sub publish_all {
    my $control = shift;

    srand $SEED + 1;

    my $token = publish_token(exp => int(time) + $SECONDS + 3600);
    my @log;
    my $ending = 0;
    my @all = map { { n => $_, sequence => 0, at => time + rand 1, text => '',
                      burst => 0 } } 0 .. $#channels;

    my $post = sub {
        my ($p, $now) = @_;

        $p->{sequence}++;
        $p->{end} = $ending;
        $p->{sent} = $now;

        # an idle connection may have been closed by a worker that left

        if ($p->{socket} && defined sysread $p->{socket}, my $byte, 1) {
            $p->{socket} = undef;
        }

        $p->{socket} //= connection();

        my $body = message(channel_id => $channels[$p->{n}],
                           sequence => $p->{sequence},
                           phase => $ending ? 'END' : 'DELTA',
                           payload => { check => "$p->{n}-$p->{sequence}",
                                        pad => 'x' x pad($p->{sequence}) });

        $p->{out} = join "\r\n",
            "POST /publish/$ORG/$channels[$p->{n}] HTTP/1.1",
            'Host: localhost', "Authorization: Bearer $token",
            'Content-Type: application/x-protobuf',
            'Content-Length: ' . length $body, '', $body;
    };

    my $answer = sub {
        my ($p, $kind, $status, $id) = @_;

        push @log, [$p->{n}, $p->{sequence}, $kind, $status, $id, time];
        $p->{done} = 1 if $p->{end} && $kind eq 'acknowledged';
        $p->{sent} = undef;
        $p->{text} = '';

        $p->{burst} = $p->{burst} ? $p->{burst} - 1 : rand() < 0.02 ? 10 : 0;
        $p->{at} = time + ($p->{burst} ? 0 : (0.5 + rand) / $RATE);
    };

    my $drop = sub {
        my ($p, $kind, $status) = @_;

        close $p->{socket} if $p->{socket};
        $p->{socket} = undef;
        $answer->($p, $kind, $status);
    };

    while (grep { !$_->{done} } @all) {
        my ($now, $read, $write) = (time, '', '');

        vec($read, fileno $control, 1) = 1;

        for my $p (@all) {
            $post->($p, $now) if !$p->{sent} && !$p->{done}
                                 && ($ending || $p->{at} <= $now);

            if ($p->{sent} && $now - $p->{sent} > $PATIENCE) {
                $drop->($p, 'unknown', 'unanswered');

            } elsif ($p->{sent} && !$p->{socket}) {
                $answer->($p, 'refused', 'no connection');

            } elsif ($p->{sent}) {
                vec($read, fileno $p->{socket}, 1) = 1;
                vec($write, fileno $p->{socket}, 1) = 1 if length $p->{out};
            }
        }

        select $read, $write, undef, 0.02;

        if (vec $read, fileno $control, 1) {
            sysread $control, my $line, 64 or return;
            $ending = 1;
        }

        for my $p (@all) {
            next if !$p->{sent} || !$p->{socket};

            my $fd = fileno $p->{socket};

            if (vec $write, $fd, 1) {
                my $n = syswrite $p->{socket}, $p->{out};

                if (!$n && !$!{EAGAIN}) {
                    $drop->($p, 'unknown', 'broken');
                    next;
                }

                substr $p->{out}, 0, $n // 0, '';
            }

            next if !vec $read, $fd, 1;

            my $n = sysread $p->{socket}, $p->{text}, 4096, length $p->{text};

            if (!$n) {
                $drop->($p, 'unknown', 'broken') if defined $n || !$!{EAGAIN};
                next;
            }

            my ($status, $length, $body) = $p->{text} =~
                m{\AHTTP/1.1 (\d+).*?\ncontent-length: (\d+)\r.*?\r\n\r\n(.*)}si
                or next;

            next if length $body < $length;

            if ($p->{text} =~ /^connection: close\r$/im) {
                close $p->{socket};
                $p->{socket} = undef;
            }

            $answer->($p, $status == 200 ? 'acknowledged'
                      : $body =~ /may have been stored/ ? 'unknown'
                      : 'refused', $status, $body);
        }
    }

    Storable::nstore(\@log, "$Conduit::TMP/published");
    print $control "done\n";
    sysread $control, my $line, 64;
}


# --- the clients

# All in one process.  Half of them act as conduit-client does when a worker
# drains, half as a plain EventSource; half have their position in the header,
# half in the query.

sub read_all {
    my $control = shift;

    srand $SEED + 2;

    my %s = (events => 0, ended => 0, left => 0, broken => 0, drained => 0,
             outages => 0, status => {}, wrong => [], recovery => {},
             unclean => 0,
             history_lost => 0);
    my (@ids, @sequences, @index, $fault);
    my $waiting = 0;

    my @path = map { events_path(channel_id => $_, token => gateway_token(
                         channel_id => $_, exp => int(time) + $SECONDS + 3600))
                   } @channels;

    my @all = map { { n => $_, channel => $_ % @channels, got => '',
                      at => time + rand 1, retry => 0.5 } } 0 .. $CLIENTS - 1;

    my $wrong = sub {
        push @{ $s{wrong} }, join ' ', @_ if @{ $s{wrong} } < 20;
    };

    my $open = sub {
        my $c = shift;

        my $path = $path[$c->{channel}];
        my $last = $c->{last};
        my $header = '';

        if (defined $last && $c->{n} & 1) {
            $header = "Last-Event-ID: $last\r\n";
        } elsif (defined $last) {
            $path .= "&last_event_id=$last";
        }

        @$c{qw(raw text chunk status ended since retries)}
            = ('', '', 0, undef, 0, time, 0);
        $c->{socket} = connection();
        $c->{out} = "GET $path HTTP/1.1\r\nHost: localhost\r\n$header\r\n";
        $c->{at} = $c->{socket} ? undef : time + 0.1;
    };

    my $shut = sub {
        my ($c, $after) = @_;

        close $c->{socket};
        $c->{socket} = undef;
        $c->{at} = $c->{end} ? undef : time + $after;
    };

    my $recovered = sub {
        my ($c, $id) = @_;

        return if (split /-/, $id)[0] < $fault->{end} * 1000;

        push @{ $s{recovery}{ $fault->{kind} } }, time - $fault->{end};
        $c->{fault} = 0;
        print $control "recovered $fault->{n}\n" if --$waiting == 0;
    };

    my $message = sub {
        my ($c, $id, $data) = @_;

        my $k = $c->{channel};
        my ($sequence) = $data =~ /"sequence":(\d+)/;

        $wrong->("client $c->{n}: $id is not of channel $k:",
                 substr $data, 0, 300)
            if $data !~ /"check":"$k-$sequence"/
               || $data !~ /"pad":"(x*)"/ || length $1 != pad($sequence);

        my $i = $index[$k]{$id};

        if (!defined $i) {
            push @{ $ids[$k] }, $id;
            push @{ $sequences[$k] }, $sequence;
            $i = $index[$k]{$id} = $#{ $ids[$k] };
        }

        $wrong->("client $c->{n}: $id is $sequences[$k][$i] and $sequence")
            if $sequences[$k][$i] != $sequence;

        $c->{got} .= pack 'N', $i;
        $c->{last} = $id;
        $c->{end} = 1 if $data =~ /"phase":"PHASE_END"/;
        $s{events}++;

        $recovered->($c, $id) if $c->{fault};
    };

    my $event = sub {
        my ($c, $block) = @_;

        $c->{retry} = $1 / 1000 if $block =~ /^retry: (\d+)$/m;

        my ($type) = $block =~ /^event: (.*)$/m;

        if (!defined $type) {
            # the first one is how a response begins, another one how it ends
            $s{drained}++ if $block =~ /^retry: /m && $c->{retries}++;
            return;
        }

        my ($data) = $block =~ /^data: (.*)$/m;

        if ($type eq 'stream' && $block =~ /^id: (\S+)$/m) {
            $message->($c, $1, $data);

        } elsif ($type eq 'error') {
            $s{outages}++;

        } elsif ($block =~ /"server_draining"/) {
            $s{drained}++;
            $c->{leave} = 1 if $c->{n} & 2;

        } elsif ($block =~ /"history_lost"/) {
            $s{history_lost}++;
            $c->{got} .= pack 'N', $LOST;

        } else {
            $wrong->("client $c->{n}: event", $block);
        }
    };

    # takes the chunks off; an event that is not complete stays

    my $parse = sub {
        my $c = shift;

        if (!defined $c->{status}) {
            $c->{raw} =~ s{\AHTTP/1.1 (\d+).*?\r\n\r\n}{}s or return;
            $c->{status} = $1;
            $s{status}{$1}++;

            if ($c->{status} != 200) {
                $shut->($c, 1);
                return;
            }
        }

        while (length $c->{raw}) {
            if ($c->{chunk} > 2) {
                my $text = substr $c->{raw}, 0, $c->{chunk} - 2, '';

                $c->{text} .= $text;
                $c->{chunk} -= length $text;

            } elsif ($c->{chunk}) {
                my $n = min($c->{chunk}, length $c->{raw});

                substr $c->{raw}, 0, $n, '';
                $c->{chunk} -= $n;

            } else {
                $c->{raw} =~ s/\A([0-9a-f]+)\r\n//i or last;
                $c->{chunk} = hex($1) + 2;
                $c->{ended} = 1, last if hex($1) == 0;
            }
        }

        my $at = 0;

        while ((my $end = index $c->{text}, "\n\n", $at) >= 0) {
            $event->($c, substr $c->{text}, $at, $end - $at);
            $at = $end + 2;
        }

        substr $c->{text}, 0, $at, '';

        if ($c->{leave}) {
            $c->{leave} = 0;
            $s{left}++;
            $shut->($c, 0);

        } elsif ($c->{ended}) {
            $s{ended}++;
            $shut->($c, $c->{retry});
        }
    };

    my $order = sub {
        my ($word, @args) = split ' ', $_[0];

        if ($word eq 'fault') {
            $fault = { n => $args[0], kind => $args[1], end => $args[2] };
            $_->{fault} = 1 for @all;
            $waiting = @all;

        } elsif ($word eq 'cut') {
            my @open = shuffle(grep { $_->{socket} } @all);

            for my $c (splice @open, 0, $args[0]) {
                setsockopt $c->{socket}, SOL_SOCKET, SO_LINGER, pack 'II', 1, 0
                    if rand() < 0.5;
                $s{broken}++;
                $shut->($c, 0.1 + rand 1);
            }

            print $control "cut\n";

        } elsif ($word eq 'who') {
            my @late = grep { $_->{fault} } @all;

            print STDERR 'soak: ' . @late . " clients wait after ",
                "$fault->{kind}:\n",
                map { sprintf "  client %d of channel %s, connected %s, "
                      . "status %s, last ID %s\n", $_->{n},
                      $channels[$_->{channel}],
                      $_->{socket} ? sprintf('%.1fs ago', time - $_->{since})
                                   : 'not', $_->{status} // 'none',
                      $_->{last} // 'none' } @late[0 .. min($#late, 9)];

        } elsif ($word eq 'stop') {
            Storable::nstore({ %s, ids => \@ids, sequences => \@sequences,
                               got => [map { $_->{got} } @all],
                               open => scalar grep { !$_->{end} } @all },
                             "$Conduit::TMP/delivered");
            print $control "stored\n";
        }
    };

    my $orders = '';
    my $finished = 0;

    while (1) {
        my ($now, $read, $write) = (time, '', '');

        vec($read, fileno $control, 1) = 1;

        for my $c (@all) {
            $open->($c) if defined $c->{at} && $c->{at} <= $now;
            next if !$c->{socket};

            vec($read, fileno $c->{socket}, 1) = 1;
            vec($write, fileno $c->{socket}, 1) = 1 if length $c->{out};
        }

        select $read, $write, undef, 0.02;

        for my $c (@all) {
            my $fd = $c->{socket} ? fileno $c->{socket} : next;

            if (vec $write, $fd, 1) {
                my $n = syswrite $c->{socket}, $c->{out};
                substr $c->{out}, 0, $n, '' if $n;
            }

            next if !vec $read, $fd, 1;

            my $n = sysread $c->{socket}, $c->{raw}, 65536, length $c->{raw};

            if ($n) {
                $parse->($c);

            } elsif (defined $n || !$!{EAGAIN}) {
                $s{broken}++;
                $s{unclean}++ if $c->{end};
                $shut->($c, $c->{retry});
            }
        }

        if (!$finished && !grep { !$_->{end} || $_->{socket} } @all) {
            $finished = 1;
            print $control "finished\n";
        }

        if (vec $read, fileno $control, 1) {
            sysread $control, $orders, 4096, length $orders or return;
            $order->($1) while $orders =~ s/\A(.*)\n//;
        }
    }
}


# --- faults

sub any { $_[rand @_] }

sub kill_links {
    my $kind = shift;

    my @found = map { my $port = $_; map { [$port, $_] } links($port, $kind) }
                live_ports();
    return 'none' if !@found;

    @found = any(@found) if rand() < 0.5;
    eval { command($_->[0], qw(CLIENT KILL ID), $_->[1]) } for @found;

    return scalar @found;
}


# A worker that takes connections; another one has to be there.

sub signal_worker {
    my $signal = shift;

    wait_for(20, sub { workers() >= 2 }) or die "no second worker\n";

    my $pid = any(workers());
    $leaving{$pid} = 1;
    kill $signal, $pid;

    return $pid;
}


sub reload {
    my @old = workers();

    $leaving{$_} = 1 for @old;
    $nginx->reload;

    return scalar @old;
}


sub script_flush {
    eval { command($_, qw(SCRIPT FLUSH)) } for live_ports();
}


sub cut {
    my $n = 1 + int rand $CLIENTS / 2;

    tell_child($clients, "cut $n");
    hear($clients, 'cut', 10);

    return $n;
}


# Redis hangs; what it gets meanwhile it does afterwards.

sub stop {
    my $seconds = 0.2 + rand 3.8;

    redis_pause();
    sleep $seconds;
    redis_resume();

    return sprintf '%.1fs', $seconds;
}


sub restart {
    my $signal = shift;
    my $seconds = rand 2;

    redis_stop($signal);
    sleep $seconds;
    redis_start(@AOF);

    return sprintf '%.1fs', $seconds;
}


# In a cluster, acknowledged messages may be lost when a replica takes over that
# has not got them: those of this time.

sub losing {
    my ($from, $to) = @_;

    push @windows, [$from - 1, $to + 3];
}


sub node_stop {
    my ($least, $most) = @_;

    my $port = any($cluster->masters);
    my $seconds = $least + rand $most - $least;
    my $from = time;

    $cluster->pause($port);
    sleep $seconds;
    $cluster->resume($port);
    losing($from, time);

    return sprintf '%d %.1fs', $port, $seconds;
}


# A master that comes back at once has all that it had.

sub node_restart {
    my $port = any($cluster->masters);
    my $from = time;

    $cluster->kill($port);
    run_again($port);
    losing($from, time) if !grep { $_ == $port } $cluster->masters;

    return $port;
}


sub node_lost {
    my $port = any($cluster->masters);
    my $from = time;

    $cluster->kill($port);
    wait_for(20, sub { !grep { $_ == $port } $cluster->masters })
        or die "no replica takes over from $port\n";
    losing($from, time);

    return $port;
}


# Its port may have been taken meanwhile, for a moment.

sub run_again {
    my $port = shift;

    for (1 .. 20) {
        return if eval { $cluster->run($port); 1 };
        sleep 0.5;
    }

    die "the server of port $port does not start again: $@";
}


sub failover {
    my ($replica) = map { $cluster->replicas($_) } any($cluster->masters);
    return 'none' if !$replica;

    command($replica, qw(CLUSTER FAILOVER));
    wait_for(10, sub {
        $cluster->info($replica, 'replication')->{role} eq 'master'
    }) or return 'refused';

    return $replica;
}


sub migrate {
    my $key = stream_key($ORG, any(@channels));
    my $from = $cluster->owner($key);
    my $step = $cluster->migration($key, any(grep { $_ != $from }
                                             $cluster->masters));

    $step->open;
    sleep rand 0.5;
    $step->move;
    sleep rand 0.5;
    $step->close;

    return $step->from . ' to ' . $step->to;
}


# Each is over when its function returns.  Another one may come on top of those
# that are light.

my %LIGHT = (
    'bell-killed'    => sub { kill_links('bell') },
    'reader-killed'  => sub { kill_links('reader') },
    'publish-killed' => sub { kill_links('publish') },
    'script-flush'   => \&script_flush,
    'reload'         => \&reload,
    'worker-term'    => sub { signal_worker('TERM') },
    'worker-quit'    => sub { signal_worker('QUIT') },
    'clients-cut'    => \&cut,
);

my %HEAVY = $CLUSTER ? (
    'node-short-stop' => sub { node_stop(0.2, 0.8) },
    'node-stop'       => sub { node_stop(1.5, 4) },
    'node-restart'    => \&node_restart,
    'node-lost'       => \&node_lost,
    'failover'        => \&failover,
    'slot-migration'  => \&migrate,
    'topology-killed' => sub { kill_links('topology') },
) : (
    'redis-stop'    => \&stop,
    'redis-restart' => sub { restart('TERM') },
    'redis-kill-9'  => sub { restart('KILL') },
);


# Has the clients measure how long the next message takes.

sub measure {
    my ($kind, $end) = @_;

    tell_child($clients, "fault " . ++$faults . " $kind $end");
}


sub recover {
    my $kind = shift;

    return if hear($clients, "recovered $faults", $STALL);

    $stalls++;
    tell_child($clients, 'who');
    hear($clients, "recovered $faults", 45)
        or print "soak: some clients do not recover from $kind\n";
}


# Before the next fault, all servers have to be there again.

sub settle {
    return if !$CLUSTER;

    run_again($_) for grep { $cluster->gone($_) } $cluster->ports;
    $cluster->agree;
}


sub run_faults {
    my %kinds = (%LIGHT, %HEAVY);
    my @kinds = sort keys %kinds;

    if ($ENV{SOAK_FAULTS}) {
        @kinds = split /,/, $ENV{SOAK_FAULTS};
        exists $kinds{$_} or die "no such fault: $_\n" for @kinds;
    }

    my $started = time;
    my @next;

    while (time - $started < $SECONDS) {
        @next = shuffle(@kinds) if !@next;

        my $kind = shift @next;
        my $from = time;
        my $what = $kinds{$kind}->();
        my $end = time;

        $done{$kind}++;
        measure($kind, $end);
        settle() if $HEAVY{$kind};

        printf "%6.1f %s %s (%.1fs)\n", $from - $started, $kind, $what // '',
            $end - $from if $ENV{SOAK_VERBOSE};

        if ($LIGHT{$kind} && rand() < 0.25) {
            sleep rand 0.1;
            next;
        }

        recover($kind);
        sleep rand 0.5;
    }

    measure('nothing', time);
    $done{nothing}++;
    recover('the last fault');
}


# --- what was noted

sub problem {
    my ($kind, $text) = @_;

    $problem{$kind}++;
    push @notes, "$kind: $text" if $problem{$kind} <= 5;
}


# An ID as text that sorts.

sub sortable { sprintf '%020d-%020d', split /-/, $_[0] }


# What Redis has of each channel: [id, sequence] in order.

sub stored {
    my $key = stream_key($ORG, $_[0]);
    my $port = $CLUSTER ? $cluster->owner($key) : undef;
    my @entries;
    my $from = '-';

    while (1) {
        my $reply = command($port, 'XRANGE', $key, $from, '+', 'COUNT', 1000);

        push @entries, map { [$_->[0], $_->[1][1] =~ /check.*?\d+-(\d+)/s] }
                       @$reply;
        return @entries if @$reply < 1000;
        $from = "($entries[-1][0]";
    }
}


# Publisher against Redis; returns the counts.

sub check_published {
    my ($published, $stored) = @_;

    my %n = map { $_ => 0 } qw(acknowledged refused unknown kept dropped);
    my (%status, @has, @at);

    for my $k (0 .. $#channels) {
        for my $e (@{ $stored->[$k] }) {
            problem('twice in Redis', "channel $k: sequence $e->[1], $e->[0]")
                if $has[$k]{$e->[1]}++;
            $at[$k]{$e->[0]} = $e->[1];
        }
    }

    for my $p (@$published) {
        my ($k, $sequence, $kind, $status, $id, $time) = @$p;

        $n{$kind}++;
        $status{$status}++;

        problem('no answer', "channel $k: sequence $sequence")
            if $status eq 'unanswered';
        problem('status', "$status: $id") if $status =~ /^(?!200|50[0-4])\d/;

        $n{kept}++ if $kind eq 'unknown' && $has[$k]{$sequence};

        problem('stored though refused',
                "channel $k: sequence $sequence, $status")
            if $kind eq 'refused' && $has[$k]{$sequence};

        next if $kind ne 'acknowledged'
                || ($at[$k]{$id} // 0) == $sequence;

        if (grep { $_->[0] <= $time && $time <= $_->[1] } @windows) {
            $n{dropped}++;
        } else {
            problem('lost', "channel $k: sequence $sequence, $id");
        }
    }

    $n{status} = join ' ', map { "$_:$status{$_}" } sort keys %status;
    return \%n;
}


# Clients against Redis.

sub check_delivered {
    my ($d, $stored) = @_;

    my %n = (excused => 0, gone => 0);
    my (@all, @is);

    for my $k (0 .. $#channels) {
        $is[$k] = { map { $_->[0] => $_->[1] } @{ $stored->[$k] } };

        for my $i (0 .. $#{ $d->{ids}[$k] // [] }) {
            my ($id, $sequence) = ($d->{ids}[$k][$i], $d->{sequences}[$k][$i]);

            next if ($is[$k]{$id} // 0) == $sequence;

            $n{gone}++;
            problem('delivered, but not in Redis', "channel $k: $id, $sequence")
                if !$CLUSTER;
        }
    }

    for my $c (0 .. $#{ $d->{got} }) {
        my $k = $c % @channels;
        my $ids = $d->{ids}[$k];
        my (%seen, @told);
        my $last = '';

        for my $i (unpack 'N*', $d->{got}[$c]) {
            if ($i == $LOST) {
                push @told, 'z';
                next;
            }

            my $id = sortable($ids->[$i]);

            $_ = $id for grep { $_ eq 'z' } @told;

            problem('repeats', "client $c, channel $k: $ids->[$i]")
                if $seen{$ids->[$i]}++;
            problem('out of order', "client $c, channel $k: $ids->[$i] "
                    . "after $last") if $id lt $last
                                        && !($CLUSTER && @told);
            $last = $id;
        }

        for my $e (@{ $stored->[$k] }) {
            last if $seen{$e->[0]} && sortable($e->[0]) eq $last;
            next if $seen{$e->[0]};

            # told before a message that came after it

            my $id = sortable($e->[0]);

            if ($CLUSTER && grep { $_ gt $id } @told) {
                $n{excused}++;
            } else {
                problem('gaps', "client $c, channel $k: $e->[0], sequence "
                                . "$e->[1]");
            }
        }
    }

    problem('corrupt', $_) for @{ $d->{wrong} };
    problem('status', "$_ for events") for grep { $_ != 200 }
                                           keys %{ $d->{status} };
    problem('no END', "$d->{open} clients") if $d->{open};
    problem('no clean end', "$d->{unclean} clients") if $d->{unclean};
    problem('history_lost for nothing', "$d->{history_lost} times")
        if !$CLUSTER && $d->{history_lost};

    return \%n;
}


# NGINX at the end, with nobody there any more.

sub check_nginx {
    my $before = shift;

    wait_for(20, sub { $nginx->workers == 2 })
        or problem('workers', join ' ', $nginx->workers);

    my @workers = $nginx->workers;

    wait_for(10, sub { !grep { descriptors($_)->{clients} } @workers });

    my $nodes = () = redis_ports();
    my $rss = max(0, map { rss($_) } @workers);

    for my $pid (@workers) {
        my $fds = descriptors($pid);

        problem('descriptors', "worker $pid: $fds->{clients} of clients")
            if $fds->{clients};
        problem('descriptors', "worker $pid: $fds->{redis} to Redis")
            if $fds->{redis} > ($CLUSTER ? 3 * $nodes + 2 : 3);
        problem('descriptors', "worker $pid: $fds->{others} others, "
                               . "$before->{others} before")
            if $fds->{others} > $before->{others} + 4;

        push @{ $before->{after} }, join '/', @$fds{qw(clients redis others)};
    }

    problem('memory', "$rss kB, $before->{rss} kB before")
        if $rss > $before->{rss} + $GROWTH;
    $before->{end} = $rss;

    my $status = $nginx->stop('QUIT', 20);

    problem('exit', $status // 'NGINX does not quit') if $status // 1;

    my $log = $nginx->error_log;

    for (split /\n/, $log) {
        problem('alerts', $_) if /\[(?:alert|emerg)\]|exited on signal/;
        $before->{errors}{$1}++ if /\[(error|crit)\]/;
    }
}


sub summary {
    my ($p, $d, $n, $nginx_is, $seconds) = @_;

    printf "\npublished     %d acknowledged, %d refused, %d unknown (%d of them"
           . " stored); %s\n",
           @$p{qw(acknowledged refused unknown kept status)};
    printf "delivered     %d to %d clients in %.0fs\n", $d->{events},
        scalar @{ $d->{got} }, $seconds;
    printf "reconnects    %d: %d after an end, %d before it, %d broken; "
           . "told of %d drains, %d outages\n",
           $d->{ended} + $d->{left} + $d->{broken},
           @$d{qw(ended left broken drained outages)};
    printf "gaps %d  repeats %d  lost %d  history_lost %d\n",
        map({ $problem{$_} // 0 } qw(gaps repeats lost)), $d->{history_lost};
    printf "failovers     dropped %d acknowledged, %d delivered; %d gaps were "
           . "told\n", $p->{dropped}, @$n{qw(gone excused)} if $CLUSTER;
    printf "workers       RSS %d kB at the beginning, %d kB at most, %d kB at "
           . "the end; descriptors %s; log: %s\n",
           @$nginx_is{qw(rss peak end)}, join(', ', @{ $nginx_is->{after} }),
           join(', ', map { "$nginx_is->{errors}{$_} $_" }
                      sort keys %{ $nginx_is->{errors} // {} }) || 'quiet';

    printf "\n%-18s %6s %9s %9s   s until the next message\n", 'recovery from',
        'faults', 'median', 'max';

    for my $kind (sort keys %done) {
        my @t = sort { $a <=> $b } @{ $d->{recovery}{$kind} // [] };

        printf "%-18s %6d %9s %9s\n", $kind, $done{$kind},
            @t ? map { sprintf '%.3f', $_ } @t[@t / 2, -1] : ('-', '-');
    }

    problem('stalls', "$stalls faults with clients that got nothing for "
                      . "${STALL}s") if $stalls;

    print "\n", map { "$_\n" } @notes;
    print 'soak: ', %problem ? join(', ', map { "$problem{$_} $_" }
                                         sort keys %problem)
                             : 'all is well', ", seed $SEED\n";
}


# --- all of it

start_servers();

wait_for(10, sub { workers() >= 2 }) or die "no two workers\n";

my ($worker) = workers();
my %is = (others => descriptors($worker)->{others}, peak => 0);

$clients = child(\&read_all);
$publisher = child(\&publish_all);

my $started = time;

# the first messages, then a few without any fault

for (1 .. 3) {
    measure('nothing', time);
    $done{nothing}++;
    hear($clients, "recovered $faults", 60) or die "no messages arrive\n";
}

$is{rss} = max(map { rss($_) } workers());

my $ran = eval { run_faults(); settle(); 1 };
problem('the suite', $@ =~ s/\n.*//sr) if !$ran;

$is{peak} = max($is{rss}, map { rss($_) } workers());

tell_child($publisher, 'end');
hear($publisher, 'done', 60) or problem('publisher', 'no END is acknowledged');
hear($clients, 'finished', 30);
tell_child($clients, 'stop');
hear($clients, 'stored', 60) or die "no result of the clients\n";

my $seconds = time - $started;
my @stored = map { [stored($_)] } @channels;

close $_->{socket} for $publisher, $clients;
waitpid $_->{pid}, 0 for $publisher, $clients;

my $p = check_published(Storable::retrieve("$Conduit::TMP/published"),
                        \@stored);
my $d = Storable::retrieve("$Conduit::TMP/delivered");
my $n = check_delivered($d, \@stored);

check_nginx(\%is);
summary($p, $d, $n, \%is, $seconds);

exit(%problem ? 1 : 0);


package Soak::Nginx;

# Its log without debug lines.

our @ISA;
BEGIN { @ISA = 'Conduit::Nginx' }

sub conf {
    my $text = shift->SUPER::conf(@_);

    $text =~ s{error\.log debug;}{error.log notice;};
    $text =~ s{access_log [^;]+;}{access_log off;};

    return $text;
}
