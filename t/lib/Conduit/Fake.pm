# Copyright (C) Conduit for NGINX authors

package Conduit::Fake;

# A process that answers instead of Redis, and the bytes of commands and
# replies.
#
#     my $fake = Conduit::Fake->start(sub {
#         my ($name, @arguments) = @_;
#         return $name eq 'PING' ? "+PONG\r\n" : undef;
#     });
#
#     my $url = 'redis://127.0.0.1:' . $fake->port;
#
# It acts on whole commands, however they arrive.  All fakes are stopped at the
# end of the suite.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use POSIX ();

my $owner = $$;
my %running;    # pid => 1


# Starts a process that sends what a function makes of each command: bytes, or
# undef for silence.  Options: ports (how many it listens at, 1), port.

sub start {
    my ($class, $answer, %o) = @_;

    my @listen = map {
        IO::Socket::INET->new(LocalAddr => '127.0.0.1:' . ($o{port} // 0),
                              Listen => 64, ReuseAddr => 1)
            or die "listen: $!"
    } 1 .. $o{ports} // 1;

    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        eval { serve($answer, @listen); 1 } or warn "fake: $@";
        POSIX::_exit(0);
    }

    $running{$pid} = 1;

    return bless { pid => $pid, ports => [map { $_->sockport } @listen] },
                 $class;
}

sub pid { $_[0]{pid} }

sub port { $_[0]{ports}[0] }

sub ports { @{ $_[0]{ports} } }


sub stop {
    my $self = shift;

    kill 'KILL', $self->{pid};
    waitpid $self->{pid}, 0;
    delete $running{$self->{pid}};
}


sub serve {
    my ($answer, @listen) = @_;

    my $select = IO::Select->new(@listen);
    my %listens = map { $_ => 1 } @listen;
    my %input;

    while (1) {
        for my $s ($select->can_read) {
            if ($listens{$s}) {
                my $client = $s->accept or next;

                $select->add($client);
                $input{$client} = '';
                next;
            }

            if (!$s->sysread($input{$s}, 65536, length $input{$s})) {
                delete $input{$s};
                $select->remove($s);
                $s->close;
                next;
            }

            while (my (undef, @words) = take_command(\$input{$s})) {
                $s->syswrite($answer->(@words) // '');
            }
        }
    }
}


# Takes the first command off what has been read, if all of it is there: its
# bytes and its words.

sub take_command {
    my $input = shift;

    my $command = take_reply($input) // return;
    my @words;
    my $at = index($command, "\r\n") + 2;

    while (substr($command, $at) =~ /\A\$(\d+)\r\n/) {
        $at += $+[0];
        push @words, substr $command, $at, $1;
        $at += $1 + 2;
    }

    return $command, @words;
}


# Takes the first reply likewise: its bytes.

sub take_reply {
    my $input = shift;

    my $end = end_of($input, 0) // return undef;

    return substr $$input, 0, $end, '';
}


# where the value that begins at an offset ends; undef if it is not complete

sub end_of {
    my ($input, $at) = @_;

    my $end = index $$input, "\r\n", $at;
    return undef if $end < 0;

    my ($type, $n) = (substr($$input, $at, 1),
                      substr($$input, $at + 1, $end - $at - 1));
    $end += 2;

    if ($type eq '$' && $n >= 0) {
        $end += $n + 2;

    } elsif ($type eq '*') {
        for (1 .. $n) {
            $end = end_of($input, $end) // return undef;
        }
    }

    return $end <= length $$input ? $end : undef;
}


# Encodes in RESP what Conduit::redis() would return: digits as a number, a
# reference to digits as a string.

sub encode {
    my $value = shift;

    return "\$-1\r\n" if !defined $value;
    return '*' . @$value . "\r\n" . join '', map { encode($_) } @$value
        if ref $value eq 'ARRAY';

    return ":$value\r\n" if !ref $value && $value =~ /^\d+$/;

    $value = $$value if ref $value;
    return '$' . length($value) . "\r\n$value\r\n";
}


END {
    if ($$ == $owner) {
        my $status = $?;

        for my $pid (keys %running) {
            kill 'KILL', $pid;
            waitpid $pid, 0;
        }

        $? = $status;
    }
}

1;
