# Copyright (C) Conduit for NGINX authors

package Conduit::Constructs::Client;

# One HTTP/1.1 request whose bytes the test chooses, and a response that is read
# as it comes: chunked or not, compressed or not.
#
#     my $c = Conduit::Constructs::Client->send($port, "GET / HTTP/1.1\r\n...");
#     $c->header or die 'no answer';
#     $c->sees(qr/text/);          # waits until the body has it
#     $c->end;                     # waits until the response is complete
#     $c->reset;                   # closes with a RST

use strict;
use warnings;

use Compress::Raw::Zlib ();
use IO::Select;
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_LINGER);
use Time::HiRes qw(time);

# s
our $PATIENCE = 20;


sub send {
    my ($class, $port, $bytes) = @_;

    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port",
                                       Timeout => $PATIENCE)
        or die "connect to port $port: $!\n";

    $socket->syswrite($bytes);

    return bless { socket => $socket, head => $bytes =~ /\AHEAD / ? 1 : 0,
                   raw => '', rest => '', body => '', lines => [] }, $class;
}


sub status { $_[0]{status} // 0 }

# the body so far, as the server meant it
sub body { $_[0]{body} }

# the values of all headers of that name
sub values_of {
    my ($self, $name) = @_;

    return map { /^\Q$name\E:\s*(.*)/i ? $1 : () } @{ $self->{lines} };
}


sub header {
    my $self = shift;

    return $self->until(sub { $self->{status} });
}

sub sees {
    my ($self, $text) = @_;

    return $self->until(sub { $self->{body} =~ $text });
}

# false when the connection broke off, or the time was up
sub end {
    my $self = shift;

    $self->until(sub { $self->{ended} || $self->{eof} });
    return $self->{ended} ? 1 : 0;
}

sub eof {
    my $self = shift;

    return $self->until(sub { $self->{eof} });
}

# what came after the end of the response
sub rest { $_[0]{ended} ? $_[0]{rest} : '' }


sub close {
    my $self = shift;

    my $socket = delete $self->{socket} or return;
    $socket->close;
}

sub reset {
    my $self = shift;

    my $socket = delete $self->{socket} or return;
    setsockopt $socket, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
    CORE::close $socket;
}


sub until {
    my ($self, $condition) = @_;

    my $deadline = time + $PATIENCE
                   * ($ENV{TEST_NGINX_USE_VALGRIND} ? 10 : 1);
    my $select = IO::Select->new($self->{socket} // ());

    while (1) {
        my $value = $condition->();
        return $value if $value;

        my $left = $deadline - time;
        return 0 if $left <= 0 || $self->{eof} || !$self->{socket};

        next if !$select->can_read($left);

        $self->{eof} = 1
            if !$self->{socket}->sysread($self->{raw}, 65536,
                                         length $self->{raw});
        $self->parse;
    }
}


sub parse {
    my $self = shift;

    if (!$self->{status}) {
        return if $self->{raw} !~ s/\A(.*?)\r\n\r\n//s;

        (my $line, @{ $self->{lines} }) = split /\r\n/, $1;
        ($self->{status}) = $line =~ m{^HTTP/1\.[01] (\d+)}
            or die "not HTTP: $line\n";

        $self->{chunked} = ($self->values_of('Transfer-Encoding'))[0];
        ($self->{length}) = $self->values_of('Content-Length');
        $self->{length} = 0 if $self->{head} || $self->{status} =~ /^(204|304)/;

        $self->{inflate} = Compress::Raw::Zlib::Inflate->new(
            -WindowBits => Compress::Raw::Zlib::WANT_GZIP(),
            -AppendOutput => 1)
            if !$self->{head}
               && ($self->values_of('Content-Encoding'))[0];
    }

    if ($self->{ended}) {
        $self->{rest} .= $self->{raw};

    } elsif (defined $self->{length}) {
        $self->{taken} += length $self->{raw};
        my $over = $self->{taken} - $self->{length};
        $self->{rest} = substr $self->{raw}, -$over, $over, '' if $over > 0;
        $self->take($self->{raw});
        $self->{ended} = 1 if $over >= 0;

    } elsif ($self->{chunked}) {
        $self->parse_chunks;
        return;

    } else {
        $self->take($self->{raw});
        $self->{ended} = $self->{eof};
    }

    $self->{raw} = '';
}


sub parse_chunks {
    my $self = shift;

    while ($self->{raw} =~ /\A([0-9a-fA-F]+)\r\n/) {
        my ($size, $at) = (hex $1, $+[0]);

        last if length $self->{raw} < $at + $size + 2;

        $self->take(substr $self->{raw}, $at, $size);
        substr $self->{raw}, 0, $at + $size + 2, '';

        if ($size == 0) {
            $self->{ended} = 1;
            $self->{rest} = $self->{raw};
            $self->{raw} = '';
            last;
        }
    }
}


sub take {
    my ($self, $bytes) = @_;

    if ($self->{inflate}) {
        $self->{inflate}->inflate($bytes, $self->{body});
    } else {
        $self->{body} .= $bytes;
    }
}

1;
