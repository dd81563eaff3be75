# Copyright (C) Conduit for NGINX authors

package Conduit::Proxy;

# A proxy in front of Redis, in a process of its own, that understands the
# protocol: it knows which questions are asked about a key, whatever their
# command, and which reply belongs to which question.
#
#     my $proxy = Conduit::Proxy->start($port);
#     $proxy->url
#
# A question is a command with a stream's key among its words.  The link is the
# connection that sends questions, the bell the one on which Redis reports
# changes.  Commands and replies are held one by one; whatever follows on the
# same connection waits behind them, as in a real network.  Replicas and
# Sentinels may use it, too; what is sent to a replica is passed as it is.
#
#     hold KEY N       holds the reply to the Nth question about the key from
#                      now on
#     before KEY N     holds the Nth question itself: Redis does not get it
#     ring KEY         holds notifications that the key has changed
#     held             how many of these have been met
#     step             passes on the first that each connection holds
#     release          passes on all that is held, and holds no more
#
#     wait ROLE MS     delays each reply ("link"), message ("bell") or command
#                      ("ask") by a random time of up to so many ms
#     split 0|1        sends all data in pieces
#     error TEXT       answers questions with this error; "" ends this
#     error-for KEY TEXT   the same for questions about one key
#     cut ROLE         closes connections of the role, and cuts a reply short
#     freeze           holds what Redis sends to its replicas
#     calm             ends all of these
#
#     stats            { key => { n, flight, errors } }: questions asked, the
#                      most of them at one time, those answered with an error
#     seed N           sets the seed of what is random
#     forget           sets these numbers to 0 again

use strict;
use warnings;

use parent 'Conduit::Way';

use IO::Socket::INET;
use JSON::PP ();
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(time);

my $JSON = JSON::PP->new->utf8->allow_nonref;


sub first { 'calm' }


# Sends the proxy words, and returns its answer.

sub tell {
    my ($self, @words) = @_;

    syswrite $self->{control}, join("\t", @words) . "\n";

    my $answer = '';
    while ($answer !~ /\n\z/) {
        sysread $self->{control}, $answer, 1 << 16, length $answer
            or die 'no proxy';
    }

    return $JSON->decode($answer);
}


sub held { $_[0]->tell('held') }

sub stats { $_[0]->tell('stats') }


# --- in its process

sub run {
    my $self = shift;

    $self->{listener} = IO::Socket::INET->new(
        LocalAddr => "127.0.0.1:$self->{port}", Listen => 64, ReuseAddr => 1)
        or die "listen: $!";

    @$self{qw(pairs ends stats traps held)} = ([], {}, {}, [], 0);

    while (1) {
        my ($read, $now) = ('', time);
        my $timeout = 10;

        for my $s ($self->{control}, $self->{listener},
                   map { @$_{qw(client server)} } @{ $self->{pairs} })
        {
            vec($read, fileno $s, 1) = 1;
        }

        for my $lane (map { @$_{qw(up down)} } @{ $self->{pairs} }) {
            my $head = $lane->[0] or next;
            next if $head->{held};
            my $left = $head->{due} - $now;
            $timeout = $left if $left < $timeout;
        }

        select $read, undef, undef, $timeout > 0 ? $timeout : 0;

        return if vec($read, fileno $self->{control}, 1) && !$self->control;
        $self->accept if vec $read, fileno $self->{listener}, 1;

        for my $pair (@{ $self->{pairs} }) {
            for my $side (qw(client server)) {
                $self->data($pair, $side)
                    if !$pair->{closed} && vec $read, fileno $pair->{$side}, 1;
            }
        }

        $self->flush($_) for grep { !$_->{closed} } @{ $self->{pairs} };

        if (grep { $_->{closed} } @{ $self->{pairs} }) {
            $self->{pairs} = [grep { !$_->{closed} } @{ $self->{pairs} }];
        }
    }
}


sub control {
    my $self = shift;

    sysread $self->{control}, my $line, 65536 or return 0;
    chomp $line;

    my ($what, @o) = split /\t/, $line, -1;
    my $answer = 1;

    if ($what =~ /^(?:hold|before|ring)$/) {
        push @{ $self->{traps} }, { what => $what, key => $o[0],
                                    n => $o[1] // 1 };

    } elsif ($what eq 'held') {
        $answer = $self->{held};

    } elsif ($what eq 'step') {
        for my $lane (map { @$_{qw(up down)} } @{ $self->{pairs} }) {
            $lane->[0]{held} = 0 if @$lane;
        }

    } elsif ($what eq 'release') {
        $self->release;

    } elsif ($what eq 'wait') {
        $self->{wait}{$o[0]} = $o[1] / 1000;

    } elsif ($what eq 'split') {
        $self->{split} = $o[0];

    } elsif ($what eq 'error') {
        $self->{error} = $o[0];

    } elsif ($what eq 'error-for') {
        $self->{error_for}{$o[0]} = $o[1];

    } elsif ($what eq 'cut') {
        $self->cut($_) for grep { ($_->{role} // '') eq $o[0] }
                           @{ $self->{pairs} };

    } elsif ($what eq 'freeze') {
        $self->{frozen} = 1;

    } elsif ($what eq 'calm') {
        $self->{wait} = {};
        $self->{frozen} = 0;
        $self->{error_for} = {};
        $self->{error} = '';
        $self->{split} = 0;
        $self->release;

    } elsif ($what eq 'seed') {
        srand $o[0];

    } elsif ($what eq 'stats') {
        $answer = $self->{stats};

    } elsif ($what eq 'forget') {
        $_ = { now => $_->{now}, flight => $_->{now}, n => 0 }
            for values %{ $self->{stats} };

    } else {
        die "$what?";
    }

    syswrite $self->{control}, $JSON->encode($answer) . "\n";
    return 1;
}


sub release {
    my $self = shift;

    @$self{qw(traps held)} = ([], 0);

    for my $lane (map { @$_{qw(up down)} } @{ $self->{pairs} }) {
        $_->{held} = 0 for @$lane;
    }
}


sub accept {
    my $self = shift;

    my $client = $self->{listener}->accept or return;
    my $server = IO::Socket::INET->new("127.0.0.1:$self->{redis}")
        or return;

    setsockopt $_, IPPROTO_TCP, TCP_NODELAY, 1 for $client, $server;

    push @{ $self->{pairs} }, {
        client => $client, server => $server, closed => 0,
        in => { client => '', server => '' }, up => [], down => [],
        pending => [],
    };
}


# what is on its way is cut in two

sub cut {
    my ($self, $pair) = @_;

    my $head = $pair->{down}[0];

    $self->write($pair->{client}, substr $head->{data}, 0,
                                      length($head->{data}) / 2)
        if $head && !$head->{held};
    $self->close($pair);
}


sub close {
    my ($self, $pair) = @_;

    return if $pair->{closed}++;

    $self->{stats}{$_}{now}-- for grep { defined }
        map({ $_->{key} } @{ $pair->{pending} }),
        map({ $_->{question} } @{ $pair->{down} });
    CORE::close($pair->{$_}) for qw(client server);
}


sub data {
    my ($self, $pair, $side) = @_;

    my $in = \$pair->{in}{$side};

    sysread $pair->{$side}, $$in, 1 << 20, length $$in
        or return $self->close($pair);

    return $self->replicate($pair, $side, $in) if $pair->{replica};

    while (defined(my $end = complete($$in))) {
        my $data = substr $$in, 0, $end, '';

        $side eq 'client' ? $self->command($pair, $data)
                          : $self->reply($pair, $data);
    }
}


# The traffic between a master and a replica does not consist of commands and
# replies.

sub replicate {
    my ($self, $pair, $side, $in) = @_;

    push @{ $pair->{$side eq 'client' ? 'up' : 'down'} },
        { data => $$in, due => 0,
          held => $side eq 'server' && $self->{frozen} };
    $$in = '';
}


# Where the first value in these bytes ends; undef if it is not complete.

sub complete {
    my $at = 0;
    my $left = 1;

    while ($left) {
        my $eol = index $_[0], "\r\n", $at;
        return undef if $eol < 0;

        my $type = substr $_[0], $at, 1;
        my $n = $type eq '*' || $type eq '$' || $type eq '>'
                ? substr $_[0], $at + 1, $eol - $at - 1 : 0;

        $at = $eol + 2;
        $left--;

        if ($type eq '$') {
            $at += $n + 2 if $n >= 0;
            return undef if length $_[0] < $at;
        } elsif ($type eq '*' || $type eq '>') {
            $left += $n if $n > 0;
        }
    }

    return $at;
}


sub command {
    my ($self, $pair, $data) = @_;

    my ($key) = $data =~ /\r\n(stream:[^\r]*)\r\n/;
    my $item = { data => $data, due => $self->due('ask'), held => 0,
                 key => $key };

    if ($data =~ /^\*\d+\r\n\$9\r\nSUBSCRIBE\r\n.*__redis__:invalidate/is) {
        $pair->{role} = 'bell';
    } elsif ($data =~ /^\*\d+\r\n\$5\r\nPSYNC\r\n/i) {
        $pair->{replica} = 1;
    } elsif (defined $key) {
        $pair->{role} //= 'link';
    }

    if (defined $key) {
        my $stats = $self->{stats}{$key} //= { now => 0, flight => 0 };

        $stats->{n}++;
        $stats->{flight} = $stats->{now} if ++$stats->{now} > $stats->{flight};

        my $error = $self->{error_for}{$key} || $self->{error};

        if ($error) {
            $item->{data} = join '', "*4\r\n",
                map { '$' . length($_) . "\r\n$_\r\n" }
                'EVAL', 'return {err=ARGV[1]}', 0, $error;
        }

        $self->trap($item, 'before', $key);

        for my $trap (grep { $_->{what} eq 'hold' && $_->{key} eq $key }
                      @{ $self->{traps} })
        {
            $item->{hold} = 1 if --$trap->{n} == 0;
        }
    }

    push @{ $pair->{pending} }, $item if ($pair->{role} // '') ne 'bell';
    push @{ $pair->{up} }, $item;
}


sub trap {
    my ($self, $item, $what, $key) = @_;

    for my $trap (grep { $_->{what} eq $what && $_->{key} eq $key }
                  @{ $self->{traps} })
    {
        next if --$trap->{n};
        $item->{held} = 1;
        $self->{held}++;
    }
}


sub reply {
    my ($self, $pair, $data) = @_;

    my $role = $pair->{role} // 'link';
    my $item = { data => $data, due => $self->due($role), held => 0 };

    if ($role eq 'bell') {
        $self->trap($item, 'ring', $1)
            while $data =~ /\r\n(stream:[^\r]*)\r\n/g;

    } else {
        my $question = shift @{ $pair->{pending} } // {};

        if (defined $question->{key}) {
            $item->{question} = $question->{key};
            $self->{stats}{$question->{key}}{errors}++ if $data =~ /^-/;

            if ($question->{hold}) {
                $item->{held} = 1;
                $self->{held}++;
            }
        }
    }

    push @{ $pair->{down} }, $item;
}


sub due {
    my ($self, $role) = @_;

    my $most = $self->{wait}{$role} or return 0;
    return time + rand() ** 3 * $most;
}


sub flush {
    my ($self, $pair) = @_;

    for my $lane (['up', 'server'], ['down', 'client']) {
        my $items = $pair->{$lane->[0]};
        my $now = time;
        my $data = '';

        while (@$items && !$items->[0]{held} && $items->[0]{due} <= $now) {
            my $item = shift @$items;

            # a question is open until its reply is on its way
            $self->{stats}{$item->{question}}{now}--
                if defined $item->{question};
            $data .= $item->{data};
        }

        $self->write($pair->{$lane->[1]}, $data) if length $data;
        return if $pair->{closed};
    }
}


sub write {
    my ($self, $to, $data) = @_;

    while (length $data) {
        my $size = $self->{split} && rand() < 0.2 ? 1 + int rand 20 : 1 << 16;
        my $n = syswrite $to, $data, $size or return;
        substr $data, 0, $n, '';
    }
}

1;
