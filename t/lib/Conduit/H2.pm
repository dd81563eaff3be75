# Copyright (C) Conduit for NGINX authors

package Conduit::H2;

# A client of HTTP/2 that does what it is told, frame by frame: it reads only
# when asked to, and its windows are what the test wants them to be.
#
#     my $h2 = Conduit::H2->connect($nginx->port, window => 100);
#     my $sse = $h2->get(events_path());
#     my @events = $sse->events(3);
#     $sse->reset;
#
# A stream reads as a Conduit::SSE does: status, headers, body, events, end.
# Options of connect(): window (of each stream, 65535), connection_window (more
# than the 65535 of every connection), update (0: windows are not opened again
# as data comes), parse (0: the body alone, its events are not looked at),
# rcvbuf (bytes), tls.

use strict;
use warnings;

use Conduit::SSE ();
use IO::Select;
use Socket qw(SOL_SOCKET SO_LINGER);
use Time::HiRes qw(time);

use constant {
    DATA => 0, HEADERS => 1, RST_STREAM => 3, SETTINGS => 4, PING => 6,
    GOAWAY => 7, WINDOW_UPDATE => 8, CONTINUATION => 9,
    END_STREAM => 1, ACK => 1, END_HEADERS => 4, PADDED => 8, PRIORITY => 32,
    CANCEL => 8,
};

# names of the static table (RFC 7541, appendix A) that have no value, and the
# values of those that NGINX sends as a whole
my @NAMES = (
    '', qw(:authority :method :method :path :path :scheme :scheme),
    (':status') x 7, qw(
    accept-charset accept-encoding accept-language accept-ranges accept
    access-control-allow-origin age allow authorization cache-control
    content-disposition content-encoding content-language content-length
    content-location content-range content-type cookie date etag expect expires
    from host if-match if-modified-since if-none-match if-range
    if-unmodified-since last-modified link location max-forwards
    proxy-authenticate proxy-authorization range referer refresh retry-after
    server set-cookie strict-transport-security transfer-encoding user-agent
    vary via www-authenticate));

my %VALUES = (8 => 200, 9 => 204, 10 => 206, 11 => 304, 12 => 400, 13 => 404,
              14 => 500);

# The code of the strings is canonical: the symbols of each length, in order,
# have consecutive codes.  Longer codes stand for symbols that no header of the
# tests contains.
my %SYMBOLS = (
    5 => [qw(0 1 2 a c e i o s t)],
    6 => [' ', qw(% - . / 3 4 5 6 7 8 9 = A _ b d f g h l m n p r u)],
    7 => [':', 'B' .. 'W', qw(Y j k q v w x y z)],
    8 => [qw(& *), ',', ';', qw(X Z)],
    10 => [qw/! " ( ) ?/],
    11 => [qw(' + |)],
    12 => ['#', '>'],
    13 => ["\0", qw($ @ [ ] ~)],
);

my %CODES;


sub connect {
    my ($class, $port, %o) = @_;

    my $self = bless {
        in => '', streams => {}, next => 1, update => $o{update} // 1,
        parse => $o{parse} // 1,
    }, $class;

    $self->{socket} = Conduit::SSE::plain_socket($port, $o{rcvbuf});
    $self->start_tls if $o{tls};
    $self->{tls} = $o{tls};

    $self->write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    $self->frame(SETTINGS, 0, 0, pack 'nNnN', 2, 0, 4, $o{window} // 65535);
    $self->frame(WINDOW_UPDATE, 0, 0, pack 'N', $o{connection_window})
        if $o{connection_window};

    return $self;
}


sub start_tls {
    my $self = shift;

    require IO::Socket::SSL;

    IO::Socket::SSL->start_SSL($self->{socket}, SSL_alpn_protocols => ['h2'],
                               SSL_verify_mode => 0)
        or die "TLS: $IO::Socket::SSL::SSL_ERROR";

    $self->{alpn} = $self->{socket}->alpn_selected;
    $self->{socket}->blocking(0);
}


# the protocol that the server chose

sub alpn { $_[0]{alpn} // '' }

# the answers to PINGs so far
sub pongs { $_[0]{pongs} // 0 }

# whether the server has announced the end of the connection (GOAWAY)
sub goaway { $_[0]{goaway} }

sub eof { $_[0]{eof} }


# --- sending

# A GET on a new stream; returns it without waiting.  Options: method, headers
# (a reference to a list of names and values).

sub get {
    my ($self, $path, %o) = @_;

    my $id = $self->{next};
    $self->{next} += 2;

    my @fields = (':method', $o{method} // 'GET', ':scheme',
                  $self->{tls} ? 'https' : 'http', ':path', $path,
                  ':authority', 'localhost', @{ $o{headers} // [] });
    my $block = '';

    while (my ($name, $value) = splice @fields, 0, 2) {
        $block .= "\0" . string($name) . string($value);
    }

    $self->frame(HEADERS, END_HEADERS | ($o{open} ? 0 : END_STREAM), $id,
                 $block);

    return $self->{streams}{$id} = Conduit::H2::Stream->new($self, $id);
}


# a string as it is, its length before it (RFC 7541, 5.1 and 5.2)

sub string {
    my $s = shift;
    my $n = length $s;

    return chr($n) . $s if $n < 127;

    my $length = chr 127;

    for ($n -= 127; $n > 127; $n >>= 7) {
        $length .= chr($n & 127 | 128);
    }

    return $length . chr($n) . $s;
}


sub frame {
    my ($self, $type, $flags, $id, $payload) = @_;

    $self->write(substr(pack('N', length $payload), 1)
                 . pack('CCN', $type, $flags, $id) . $payload);
}


sub write {
    my ($self, $data) = @_;

    while (length $data) {
        my $n = $self->{socket} && $self->{socket}->syswrite($data);

        if ($n) {
            substr $data, 0, $n, '';
        } elsif ($self->{tls} && $!{EAGAIN}) {
            IO::Select->new($self->{socket})->can_write(1);
        } else {
            $self->{eof} = 1;
            return;
        }
    }
}


sub ping { $_[0]->frame(PING, 0, 0, 'pingpong') }

# opens the window of the connection, or of a stream, by so many bytes
sub open_window {
    my ($self, $bytes, $id) = @_;

    $self->frame(WINDOW_UPDATE, 0, $id // 0, pack 'N', $bytes);
}

sub say_goaway {
    my $self = shift;

    $self->frame(GOAWAY, 0, 0, pack 'NN', 0, 0);
}


# closes the connection, at once and with a RST when "abort" is given

sub close {
    my ($self, $abort) = @_;

    my $socket = delete $self->{socket} or return;

    setsockopt $socket, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0 if $abort;

    if ($self->{tls}) {
        $socket->close(SSL_no_shutdown => 1);
    } else {
        CORE::close $socket;
    }

    $self->{eof} = 1;
}


# --- receiving

# Reads until a condition holds, or the connection or the time ends.

sub until {
    my ($self, $seconds, $condition) = @_;

    my $deadline = time + $seconds * ($ENV{TEST_NGINX_USE_VALGRIND} ? 10 : 1);

    while (!$condition->()) {
        my $left = $deadline - time;
        return 0 if $left <= 0 || $self->{eof};

        $self->read($left);
    }

    return 1;
}


sub read {
    my ($self, $seconds) = @_;

    my $socket = $self->{socket};

    return if !($self->{tls} && $socket->pending)
              && !IO::Select->new($socket)->can_read($seconds);

    my $n = $socket->sysread($self->{in}, 65536, length $self->{in});

    if (!$n) {
        return if !defined $n && $!{EAGAIN};
        $self->{eof} = 1;
        $_->{eof} = 1 for values %{ $self->{streams} };
        return;
    }

    while (length $self->{in} >= 9) {
        my ($high, $low, $type, $flags, $id) = unpack 'CnCCN', $self->{in};
        my $length = $high << 16 | $low;

        last if length $self->{in} < 9 + $length;

        my $payload = substr $self->{in}, 9, $length;
        substr $self->{in}, 0, 9 + $length, '';

        $self->take($type, $flags, $id, $payload);
    }
}


sub take {
    my ($self, $type, $flags, $id, $payload) = @_;

    my $stream = $self->{streams}{$id};

    if ($type == DATA) {
        die "padded DATA\n" if $flags & PADDED;
        $stream->{frames}++;
        $stream->{body} .= $payload;
        $stream->{ended} = 1 if $flags & END_STREAM;
        $self->opened($id, length $payload) if $self->{update};
        $stream->parse_events if $self->{parse};

    } elsif ($type == HEADERS) {
        die "HEADERS with flags $flags\n"
            if !($flags & END_HEADERS) || $flags & (PADDED | PRIORITY);
        my %fields = fields($payload);

        # header blocks without a status are trailers

        if (defined $fields{':status'}) {
            $stream->{status} = delete $fields{':status'};
            $stream->{headers} = \%fields;
        }

        $stream->{ended} = 1 if $flags & END_STREAM;

    } elsif ($type == SETTINGS) {
        $self->frame(SETTINGS, ACK, 0, '') if !($flags & ACK);

    } elsif ($type == RST_STREAM) {
        $stream->{broken} = unpack 'N', $payload if $stream;

    } elsif ($type == PING) {
        $self->{pongs}++ if $flags & ACK;

    } elsif ($type == GOAWAY) {
        $self->{goaway} = [unpack 'NN', $payload];
    }
}


# gives back the window that data has taken

sub opened {
    my ($self, $id, $bytes) = @_;

    return if !$bytes;

    $self->open_window($bytes);
    $self->open_window($bytes, $id) if !$self->{streams}{$id}{ended};
}


# the fields of a header block (RFC 7541, 6); NGINX uses no dynamic table

sub fields {
    my $block = shift;
    my %fields;

    while (length $block) {
        my $first = ord $block;

        if ($first & 0x80) {
            my $i = integer(\$block, 7);
            $fields{$NAMES[$i]} = $VALUES{$i} // '';

        } elsif (($first & 0xe0) == 0x20) {
            integer(\$block, 5);

        } else {
            my $i = integer(\$block, $first & 0x40 ? 6 : 4);
            my $name = $i ? $NAMES[$i] : text(\$block);
            $fields{$name} = text(\$block);
        }
    }

    return %fields;
}


sub integer {
    my ($block, $bits) = @_;

    my $max = (1 << $bits) - 1;
    my $n = ord(substr $$block, 0, 1, '') & $max;

    return $n if $n < $max;

    for (my $shift = 0; ; $shift += 7) {
        my $byte = ord substr $$block, 0, 1, '';
        $n += ($byte & 127) << $shift;
        return $n if $byte < 128;
    }
}


sub text {
    my $block = shift;

    my $coded = ord($$block) & 0x80;
    my $n = integer($block, 7);
    my $s = substr $$block, 0, $n, '';

    return $s if !$coded;

    codes() if !%CODES;

    my ($code, $text) = ('', '');

    for my $bit (split //, unpack 'B*', $s) {
        $code .= $bit;
        next if !defined $CODES{$code};
        $text .= $CODES{$code};
        $code = '';
    }

    die "a code that is not known: $code\n" if $code =~ /0/;
    return $text;
}


sub codes {
    my ($code, $last) = (0, 5);

    for my $length (sort { $a <=> $b } keys %SYMBOLS) {
        $code <<= $length - $last;
        $last = $length;

        $CODES{sprintf '%0*b', $length, $code++} = $_
            for @{ $SYMBOLS{$length} };
    }
}


# --- a stream

package Conduit::H2::Stream;

use strict;
use warnings;

use Conduit::SSE;

our @ISA = 'Conduit::SSE';


sub new {
    my ($class, $h2, $id) = @_;

    return bless { h2 => $h2, id => $id, body => '', parsed => 0, events => [],
                   taken => 0, comments => [], frames => 0 }, $class;
}


sub id { $_[0]{id} }

# the DATA frames so far
sub frames { $_[0]{frames} }

# the code of the RST_STREAM that the server sent
sub broken { $_[0]{broken} }


# Waits for the response header.

sub header {
    my ($self, $seconds) = @_;

    return $self->until($seconds // 20, sub { $self->{headers} });
}


sub until {
    my ($self, @args) = @_;

    return $self->{h2}->until(@args);
}


sub reset {
    my $self = shift;

    $self->{h2}->frame(Conduit::H2::RST_STREAM, 0, $self->{id},
                       pack 'N', Conduit::H2::CANCEL);
}


sub close { $_[0]->reset }

1;
