# Copyright (C) Conduit for NGINX authors

package Conduit::SSE;

# An HTTP/1.1 response that is read as it comes, and the events in it.
#
#     my $sse = sse_open($nginx);
#     my @events = $sse->events(3);       # waits for three, 10 s for each
#     ok $sse->end, 'the response ends cleanly';
#
# An event is a hash: event, id, data, and json, the decoded data.  A response in
# gzip is read by one inflate, as a browser does.

use strict;
use warnings;

use Compress::Raw::Zlib ();
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use Socket qw(SOL_SOCKET SO_RCVBUF pack_sockaddr_in inet_aton);
use Time::HiRes qw(time);


# Sends the request and waits for the response header; with "later", the header
# is read by the next call that waits for something.

sub open {
    my ($class, $port, $method, $path, %o) = @_;

    my $self = bless {
        raw => '', body => '', parsed => 0, events => [], taken => 0,
        comments => [],
    }, $class;

    my %headers = (Host => 'localhost', %{ $o{headers} // {} });
    $headers{'Content-Length'} = length $o{body} if defined $o{body};

    $self->{socket} = plain_socket($port, $o{rcvbuf});

    my $request = join "\r\n", "$method $path HTTP/1.1",
        (map { "$_: $headers{$_}" } sort keys %headers), '', $o{body} // '';

    $self->{method} = $method;
    $self->{socket}->print($request);
    $self->{socket}->flush;

    $o{later}
        or $self->until($o{timeout} // 20, sub { $self->parse_header })
        or die "no response to $method $path";

    return $self;
}


# the size of the receive buffer must be known before the connection is made

sub plain_socket {
    my ($port, $rcvbuf) = @_;

    my $socket = IO::Socket::INET->new(Proto => 'tcp') or die "socket: $!";

    setsockopt $socket, SOL_SOCKET, SO_RCVBUF, pack 'i', $rcvbuf if $rcvbuf;
    CORE::connect $socket, pack_sockaddr_in($port, inet_aton('127.0.0.1'))
        or die "connect to port $port: $!";

    return $socket;
}


# Sends a request, as a text, on a connection that the test has made, and waits
# for the response header; "again" sends the next one on the same connection.

sub on {
    my ($class, $socket, $request) = @_;

    return bless({ socket => $socket }, $class)->again($request);
}

sub again {
    my ($self, $request) = @_;

    %$self = (raw => $self->{raw} // '', body => '', parsed => 0,
              events => [], taken => 0, comments => [],
              socket => $self->{socket}, eof => $self->{eof},
              method => $request =~ /^(\S+)/ ? $1 : 'GET');

    $self->{socket}->print($request);
    $self->{socket}->flush;
    $self->until(20, sub { $self->parse_header }) or die 'no response';
    return $self;
}


sub status { $_[0]{status} }

sub headers { $_[0]{headers} }

# all that came so far, without the chunks of the transfer encoding
sub body { $_[0]{body} }

# the same, decompressed
sub text { ${ $_[0]->plain } }

# whether a response in gzip has ended with the right checksum and length, and
# nothing after them
sub intact {
    my $self = shift;

    return $self->{gzip}{done} && $self->{gzip}{rest} eq '';
}

# the value of the last "retry:" line
sub retry { $_[0]{retry} }

# the comment lines so far, without the colon
sub comments { @{ $_[0]{comments} } }

sub socket { $_[0]{socket} }


# The next n events, or fewer if none arrives for so many seconds.

sub events {
    my ($self, $n, $seconds) = @_;

    my $wanted = $self->{taken} + $n;
    my $seen = -1;

    while ($seen < @{ $self->{events} } && @{ $self->{events} } < $wanted) {
        $seen = @{ $self->{events} };
        $self->until($seconds // 30, sub { @{ $self->{events} } > $seen });
    }

    my $have = @{ $self->{events} } - $self->{taken};
    $n = $have if $have < $n;

    my $from = $self->{taken};
    $self->{taken} += $n;

    return @{ $self->{events} }[$from .. $from + $n - 1];
}


# The next event, or undef.

sub event {
    my ($self, $seconds) = @_;

    return ($self->events(1, $seconds))[0];
}


# Waits for a comment line that comes after those seen so far.

sub comment {
    my ($self, $seconds) = @_;

    my $seen = @{ $self->{comments} };

    return $self->until($seconds // 30,
                        sub { @{ $self->{comments} } > $seen });
}


# Waits until the response has ended cleanly, as HTTP defines it; false if
# nothing but comments came for so many seconds, or if the connection was cut
# off.

sub end {
    my ($self, $seconds) = @_;
    my $over = sub { $self->{ended} || $self->{eof} };
    my $came;

    do {
        my ($events, $bytes) = (scalar @{ $self->{events} },
                                length($self->{raw} // ''));

        $came = $self->until($seconds // 20, sub {
            $over->() || @{ $self->{events} } > $events
                || length($self->{raw} // '') > $bytes
        });
    } while $came && !$over->();

    return $self->{ended} ? 1 : 0;
}


# Waits until the connection is closed, cleanly or not.

sub eof {
    my ($self, $seconds) = @_;

    return $self->until($seconds // 20, sub { $self->{eof} });
}


sub close {
    my $self = shift;

    $self->{socket}->close if $self->{socket};
    $self->{socket} = undef;
}


# Reads until a condition holds, or the connection or the time ends.

sub until {
    my ($self, $seconds, $condition) = @_;

    my $deadline = time + $seconds * ($ENV{TEST_NGINX_USE_VALGRIND} ? 10 : 1);
    my $select = IO::Select->new($self->{socket} // ());

    while (!$condition->()) {
        my $left = $deadline - time;
        return 0 if $left <= 0 || $self->{eof} || !$self->{socket};

        next if !$select->can_read($left);

        my $n = $self->{socket}->sysread($self->{raw}, 65536,
                                         length($self->{raw} // ''));
        $self->{eof} = 1 if !$n;
        $self->{headers} ? $self->parse_body : $self->parse_header;
    }

    return 1;
}


sub parse_header {
    my $self = shift;

    return 1 if $self->{headers};
    return 0 if $self->{raw} !~ s/\A(.*?)\r\n\r\n//s;

    my ($line, @lines) = split /\r\n/, $1;

    ($self->{status}) = $line =~ m{^HTTP/(?:1\.[01]|3) (\d+)} or die "not HTTP: $line";
    $self->{headers} = { map { /^([^:]+):\s*(.*)/ ? (lc $1 => $2) : () }
                         @lines };

    $self->parse_body;
    return 1;
}


sub parse_body {
    my $self = shift;
    my $h = $self->{headers};

    if (($h->{'transfer-encoding'} // '') eq 'chunked') {
        $self->parse_chunks;

    } elsif (defined $h->{'content-length'} || $self->{method} eq 'HEAD'
             || $self->{status} == 204 || $self->{status} == 304)
    {
        my $length = $self->{method} eq 'HEAD' ? 0
                     : $h->{'content-length'} // 0;
        $self->{body} .= substr $self->{raw}, 0,
                             $length - length $self->{body}, '';
        $self->{ended} = 1 if length $self->{body} == $length;

    } else {
        $self->{body} .= substr $self->{raw}, 0, length $self->{raw}, '';
        $self->{ended} = $self->{eof};
    }

    $self->parse_events;
}


sub parse_chunks {
    my $self = shift;

    while ($self->{raw} =~ /\A([0-9a-fA-F]+)\r\n/) {
        my ($size, $at) = (hex $1, $+[0]);

        last if length $self->{raw} < $at + $size + 2;

        $self->{body} .= substr $self->{raw}, $at, $size;
        substr $self->{raw}, 0, $at + $size + 2, '';

        if ($size == 0) {
            $self->{ended} = 1;
            last;
        }
    }
}


# A reference to the body received so far, decompressed.

sub plain {
    my $self = shift;

    return \$self->{body}
        if ($self->{headers}{'content-encoding'} // '') ne 'gzip';

    my $z = $self->{gzip} //= {
        text => '', read => 0, rest => '',
        inflate => scalar Compress::Raw::Zlib::Inflate->new(
            AppendOutput => 1, ConsumeInput => 1,
            WindowBits => Compress::Raw::Zlib::WANT_GZIP()),
    };

    $z->{rest} .= substr $self->{body}, $z->{read};
    $z->{read} = length $self->{body};

    if ($z->{rest} ne '' && !$z->{done}) {
        my $status = $z->{inflate}->inflate($z->{rest}, $z->{text});

        $z->{done} = $status == Compress::Raw::Zlib::Z_STREAM_END();

        die "not gzip: $status" if !$z->{done}
            && $status != Compress::Raw::Zlib::Z_OK()
            && $status != Compress::Raw::Zlib::Z_BUF_ERROR();
    }

    return \$z->{text};
}


# The lines of the event stream, as the HTML standard reads them.

sub parse_events {
    my $self = shift;
    my $text = $self->plain;

    while (1) {
        my $at = index $$text, "\n", $self->{parsed};
        last if $at < 0;

        my $line = substr $$text, $self->{parsed}, $at - $self->{parsed};
        $self->{parsed} = $at + 1;

        if ($line eq '') {
            $self->dispatch;
            next;
        }

        my ($name, $value) = $line =~ /^([^:]*)(?::\x20?(.*))?$/s;
        $value //= '';

        if ($name eq '') {
            push @{ $self->{comments} }, $value;
        } elsif ($name eq 'retry') {
            $self->{retry} = $value;
        } elsif ($name eq 'data') {
            push @{ $self->{current}{lines} }, $value;
        } else {
            $self->{current}{$name} = $value;
        }
    }
}


sub dispatch {
    my $self = shift;

    my $event = delete $self->{current} or return;
    my $lines = delete $event->{lines} or return;

    $event->{event} //= 'message';
    $event->{data} = join "\n", @$lines;
    $event->{json} = eval {
        JSON::PP->new->utf8->allow_nonref->decode($event->{data})
    };

    push @{ $self->{events} }, $event;
}

1;
