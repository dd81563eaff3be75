# Copyright (C) Conduit for NGINX authors

package Conduit::Random::Client;

# A client of a stream: connects and reads when it is told to, and records what
# it got, with the time of the stream's clock.
#
#     open    after  the position it said, or undef; entry  what is there
#     event   entry
#     told    reason, id
#     end, cut

use strict;
use warnings;

use parent 'Conduit::SSE';

use Conduit;
use Fcntl qw(F_SETFL O_NONBLOCK);
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_RCVBUF inet_aton pack_sockaddr_in);
use Time::HiRes qw(time);


sub new {
    my ($class, %o) = @_;

    return bless { %o, log => [], stalled => 0, back => undef }, $class;
}


sub note {
    my ($self, $what, %o) = @_;

    push @{ $self->{log} }, { what => $what, clock => $self->{stream}->clock,
                              time => time, %o };
}


# how: the kind of position to send: none, own, older, earlier, future, zero,
# where a fraction selects the entry; or "given", the ID in {position}.

sub connect {
    my ($self, $how, $which) = @_;

    $self->shut;

    my $stream = $self->{stream};
    my ($after, $entry) = $self->position($how, $which);

    @$self{qw(raw body parsed events taken comments method)}
        = ('', '', 0, [], 0, [], 'GET');
    delete @$self{qw(headers status ended eof current)};

    $self->note('open', after => $after, entry => $entry,
                own => $how eq 'own' ? 1 : 0);

    my $s = IO::Socket::INET->new(Proto => 'tcp') or die "socket: $!";

    setsockopt $s, SOL_SOCKET, SO_RCVBUF, pack 'i', 4096 if $self->{slow};
    connect $s, pack_sockaddr_in($self->{slow} ? $self->{slow_port}
                                               : $self->{port},
                                 inet_aton('127.0.0.1'))
        or die "connect: $!";
    $s->syswrite("GET /$stream->{where}/$ORG?channel_id="
                 . $stream->channel . " HTTP/1.1\r\nHost: localhost\r\n"
                 . (defined $after ? "Last-Event-ID: $after-0\r\n" : '')
                 . "\r\n");
    fcntl $s, F_SETFL, O_NONBLOCK or die "fcntl: $!";
    $self->{socket} = $s;
}


sub position {
    my ($self, $how, $which) = @_;

    my $stream = $self->{stream};
    my @had = grep { $_->{entry} } @{ $self->{log} };
    my @known = $how eq 'own' ? $had[-1] && $had[-1]{entry}
              : $how eq 'older' ? map { $_->{entry} } @had
              : $how eq 'earlier' ? grep { !$_->{junk} && defined $_->{seen} }
                                    @{ $stream->{entries} }
              : ();
    if ($how eq 'given' && defined(my $id = $self->{position})) {
        return ($id, grep { $_->{id} == $id } @{ $stream->{entries} });
    }

    my $entry = @known ? $known[$which * $#known] : undef;

    return ($entry->{id}, $entry) if $entry;

    return $how eq 'future' ? $stream->{next} + 1 + int(500 * $which)
         : $how eq 'zero' ? 0 : undef;
}


sub shut {
    my $self = shift;

    $self->{socket}->close if $self->{socket};
    $self->{socket} = undef;
}


# Whether the client still lacks the last message of the stream: it has not
# received it, and its position is not after it.  Also true while the client
# reconnects, or has not got its response header.

sub lacks {
    my $self = shift;

    return 1 if defined $self->{back} || $self->is_open && !$self->{headers};

    my ($entry) = grep { !$_->{junk} } reverse @{ $self->{stream}{present} };

    return 0 if !$entry;

    for my $item (reverse @{ $self->{log} }) {
        # an event that was added later counts as well, since the stream may
        # have been rolled back

        return 0 if $item->{what} eq 'event'
                    && $item->{entry}{at} >= $entry->{at};
        return 0 if $item->{entry} && $item->{entry} == $entry;
        return !defined $item->{after} || $item->{after} < $entry->{id}
            if $item->{what} eq 'open';
    }

    return 0;
}


sub is_open { defined $_[0]{socket} }


# Takes what there is to read.

sub take {
    my $self = shift;

    my $n = sysread $self->{socket}, $self->{raw}, 65536, length $self->{raw};

    return if !defined $n && $!{EAGAIN};

    $self->{eof} = 1 if !$n;
    $self->{headers} ? $self->parse_body : $self->parse_header;

    # a body that has been read is of no use

    substr $self->{body}, 0, $self->{parsed}, '';
    $self->{parsed} = 0;

    if ($self->{ended} || $self->{eof}) {
        $self->note($self->{ended} ? 'end' : 'cut');
        $self->shut;
    }
}


sub dispatch {
    my $self = shift;

    my $event = delete $self->{current} or return;
    my $data = join "\n", @{ $event->{lines} // return };
    my $stream = $self->{stream};

    if (($event->{event} // 'stream') eq 'stream') {
        my ($serial) = $data =~ /"sequence":(\d+)/;
        my $entry = defined $serial ? $stream->entry($serial) : undef;

        return $self->note('odd', text => $data)
            if !$entry || $event->{id} ne "$entry->{id}-0";

        $entry->{seen} //= $stream->clock;
        $self->{last} = $entry;
        return $self->note('event', entry => $entry);
    }

    return $self->note('told', reason => $1, id => $event->{id})
        if $data =~ /"history_lost","reason":"(\w+)"/;

    $self->note('other', text => $data);
}

1;
