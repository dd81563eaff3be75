# Copyright (C) Conduit for NGINX authors

package Conduit::Random::Oracle;

# Judges what a client got by what was in its stream.  The promises:
#
#   P1  no silent gap: where entries after its position were trimmed, or went
#       with a stream of which the worker had seen them, it was told before the
#       next event; what is there is not skipped
#   P2  no false alarm: on servers that count the entries of a stream it is told
#       only where some are gone
#   P3  nothing twice, and in order, but for streams that went back
#
# Returns faults, each [promise, kind, text].  What can't be told apart is not
# judged:
#
# - an entry that was deleted by XDEL, or lost by a rollback, before it was read
# - entries of an earlier life of the stream that nobody had
# - a position that a client names, and whose entry is gone
# - one of an earlier life that the new one may have given out, too
# - as many entries lost after a rollback as by it; as many added to a new life,
#   of which XDEL took some
# - entries that were trimmed, where others were deleted by XDEL before they were
#   read: the numbers that a server tells are the same
# - likewise with a window that has no entry: what is left of the stream comes
#   again
# - before Redis 7, a stream that was made anew and is trimmed before it is read
#   for the first time; one that went back, or of which XDEL took all that the
#   window has, which is little where a client has just come, is taken for such a
#   one

use strict;
use warnings;

use Conduit ();
use List::Util qw(first max);


sub judge {
    my ($class, $client) = @_;

    my $self = bless { stream => $client->{stream}, faults => [],
                       counts => Conduit::redis_version() >= 7_000_000,
                       got => {} }, $class;

    for my $item (@{ $client->{log} }) {
        my $what = $item->{what};

        if ($what eq 'open') {
            $self->{got} = {} if !$item->{own};
            $self->{told} = undef;
            $self->{came} = $item->{clock};
            $self->{at} = { entry => $item->{entry}, after => $item->{after},
                            first => 1, clock => $item->{clock} };

        } elsif ($what eq 'told') {
            $self->is_told($item);

        } elsif ($what eq 'event') {
            $self->step($item);
            $self->{got}{$item->{entry}{serial}}++;
            $self->{told} = undef;
            $self->{at} = { entry => $item->{entry}, first => 0,
                            clock => $item->{clock} };

        } elsif ($what eq 'odd') {
            $self->fault('P3', 'odd', $item, "got $item->{text}");
        }
    }

    return @{ $self->{faults} };
}


sub fault {
    my ($self, $promise, $kind, $item, $text) = @_;

    push @{ $self->{faults} }, [$promise, $kind, "at $item->{clock}: $text"];
}


sub is_told {
    my ($self, $item) = @_;

    my $at = $self->{at};

    $self->fault('P2', 'twice', $item, 'told twice') if $self->{told};
    $self->fault('P2', 'no position', $item, 'told without a position')
        if $at->{first} && !defined $at->{after};

    # entries that are no messages may be behind it

    my ($id) = $item->{id} =~ /^(\d+)-0$/;
    my $entry = $at->{entry};

    $self->fault('P2', 'id', $item, "told with the ID $item->{id}")
        if !$at->{first} && !$self->back_at($id, $item)
           && !grep { $_->{id} == $id }
              $entry, grep { $_->{junk} } @{ $self->{stream}{entries} };

    $self->{told} = $item;
}


# Whether the stream has lost what the client has of it after an ID, so that this
# is its position now.

sub back_at {
    my ($self, $id, $item) = @_;

    my $entry = $self->{at}{entry} or return 0;
    my @after = grep { $_->{id} > $id && $_->{id} <= $entry->{id}
                       && $_->{at} <= $entry->{at} }
                @{ $self->{stream}->life($entry->{life})->{entries} };

    return @after && !grep { (went($_, $item) // '') !~ /^(?:xdel|rollback)$/ }
                      @after;
}


# Whether XDEL took anything of this life of the stream.

sub deleted {
    my ($self, $item) = @_;

    return grep { (went($_, $item) // '') eq 'xdel' }
           @{ $self->{life}{entries} };
}


sub step {
    my ($self, $item) = @_;

    my ($at, $entry, $stream) = ($self->{at}, $item->{entry}, $self->{stream});
    my $from = $at->{entry};

    $self->{life} = $stream->life($entry->{life});

    if (my $n = $self->{got}{$entry->{serial}}) {
        $self->fault('P3', 'twice', $item, "$entry->{id} came again")
            if $n > $self->anew($entry) && !$self->bare($item);
    }

    return $self->from_start($item) if !$from;
    return $self->from_before($item) if $from->{life} != $entry->{life};

    if ($entry->{id} <= $from->{id}) {
        $self->fault('P3', 'order', $item, "$entry->{id} after $from->{id}")
            if !$self->anew($from) && !$self->bare($item);
        return $self->moved_back($item);
    }

    $self->forward($item);
}


# how often the stream went back since an entry was added

sub anew {
    my ($self, $entry) = @_;

    return scalar grep { $_ > $entry->{at} } @{ $self->{stream}{anew} };
}


# Whether this life of the stream may have been read again from its oldest entry:
# the window had no entry, as a small one, or that of one who came to the end of
# the stream; that of its position was deleted, and others which nobody had read
# (or, before Redis 7, no other).
# Likewise when it was served from a new life, or after the stream had gone back
# further than a small window goes, before that was known.

sub bare {
    my ($self, $item) = @_;

    my $from = $self->{at}{entry};
    my $again = \$self->{again}{$self->{life}{n}};

    $$again ||= ($self->{life}{n} || @{ $self->{stream}{anew} })
                && $self->{told} && $self->{told}{reason} eq 'gone'
        if $self->{stream}{where} =~ /^(?:small|tiny)$/;
    $$again ||= $self->deleted($item) if $self->{stream}{where} eq 'tiny';
    $$again ||= (went($from, $item) // '') eq 'xdel'
                && (!$self->{counts}
                    || grep { $_->{id} > $from->{id} && !defined $_->{seen} }
                       $self->deleted($item))
        if $from;

    return $$again;
}


# How an entry went, at least once until now: trimmed, or what counts as that,
# is told; undef if it is there all the time.

sub went {
    my ($entry, $item) = @_;

    my @how = map { $_->[0] } grep { $_->[1] <= $item->{clock} }
              @{ $entry->{gone} };

    return (first { $_ eq 'xdel' || $_ eq 'rollback' } @how) // $how[0];
}


# What is between an ID and an entry.  What came later than that one came when
# it had been lost by a rollback.

sub between {
    my ($self, $from, $entry) = @_;

    return grep { $_->{id} > $from && $_->{id} < $entry->{id}
                  && $_->{at} < $entry->{at} }
           @{ $self->{life}{entries} };
}


sub messages { grep { !$_->{junk} } @_ }


# one without a position, or with one that never was

sub from_start {
    my ($self, $item) = @_;

    my $entry = $item->{entry};
    my $after = $self->{at}{after} // 0;
    my $life = $self->{life};
    my ($end) = sort { $b <=> $a } map { $_->{id} } grep { $_->{end} }
                @{ $life->{entries} };

    # in the future once, it is where the stream has come to, or at its END

    $after = $life->{max} < $after ? 0 : $after;
    $after = $end if $self->{at}{after} && defined $end && $end > $after;

    my ($e) = grep { !defined went($_, $item) }
              messages($self->between($after, $entry));

    $self->fault('P1', 'start', $item, "$e->{id} never came") if $e;
}


sub forward {
    my ($self, $item) = @_;

    my ($from, $told) = ($self->{at}{entry}, $self->{told});
    my @missed = $self->between($from->{id}, $item->{entry});

    for my $e (messages(@missed)) {
        my $how = went($e, $item);

        next if $self->alike($item, @missed)
                || defined $how && $how eq 'trim' && $self->unread($item);

        if (!defined $how) {
            $self->fault('P1', 'skipped', $item, "$e->{id} never came");

        } elsif ($how eq 'trim' && !$told && !$self->{got}{$e->{serial}}) {
            $self->fault('P1', $self->anew($from) ? 'untold, back' : 'untold',
                         $item, "$e->{id} was trimmed after $from->{id}");

        } elsif ($how !~ /^(?:xdel|rollback|trim)$/ && !$told) {
            $self->fault('P1', 'skipped', $item, "$e->{id} never came");

        } else {
            next;
        }

        last;
    }

    return if !$told || !$self->{counts} || $self->anew($from);

    # a slow one that misses the middle of a life that is over may get the end of
    # that from memory

    if ($told->{reason} eq 'gone') {
        return if $self->{at}{first} && went($from, $item)
                  || grep { defined went($_, $item) } messages(@missed);
        $self->fault('P2', 'gone', $item, "gone in the life of $from->{id}");

    } elsif (!@missed && !($self->{at}{first} && went($from, $item))
             && !$self->deleted($item))
    {
        $self->fault('P2', 'trimmed', $item,
                     "nothing is between $from->{id} and $item->{entry}{id}");
    }
}


# Whether the stream may have been taken for a new one, of which a server that does
# not count does not tell what it had before.

sub unread {
    my ($self, $item) = @_;

    return !$self->{counts}
           && ($self->anew($self->{at}{entry}) || $self->deleted($item));
}


# The stream went back, and has lost as many entries again as it had before: the
# number of those that it ever had is the same.  What XDEL took before it was read
# was perhaps not counted.

sub alike {
    my ($self, $item, @missed) = @_;

    my $from = $self->{at}{entry};

    return 0 if !$self->anew($from);

    my ($back) = grep { $_ <= $item->{clock} }
                 reverse @{ $self->{stream}{anew} } or return 0;
    my @lost = grep {
        grep { $_->[0] eq 'rollback' && $_->[1] == $back } @{ $_->{gone} }
    } @{ $self->{life}{entries} };
    my $lost = grep { $_->{id} <= $from->{id} } @lost;
    my $missed = grep { $_->{at} > $back } @missed;

    # what is no message, and came after it, the worker may have read

    for my $e (grep { $_->{id} > $from->{id} } @lost) {
        last if $lost == $missed || !$e->{junk};
        $lost++;
    }

    my $uncounted = grep { $_->{id} <= $from->{id} && !defined $_->{seen}
                           && grep { $_->[0] eq 'xdel' } @{ $_->{gone} } }
                    @{ $self->{life}{entries} };

    return $lost >= $missed && $lost - $missed <= $uncounted;
}


# The stream went back to before the position: what is new in it is not skipped.

sub moved_back {
    my ($self, $item) = @_;

    my $after = $self->after_end($item);

    for my $e (messages($self->between($after, $item->{entry}))) {
        next if $self->{got}{$e->{serial}} || @{ $e->{gone} }
                || $e->{at} < $self->{stream}{anew}[0];
        $self->fault('P1', 'back', $item, "$e->{id} never came");
    }
}


# The stream was made anew, and had as many entries again as before, of which some
# were deleted: what a server counts does not tell it from the one before.

sub as_many {
    my ($self, $item, $before) = @_;

    my $from = $self->{at}{entry};
    my $had = grep { $_->{id} <= $from->{id} } @{ $before->{entries} };

    return $self->deleted($item)
           && $had == grep { $_->{id} < $item->{entry}{id} }
                      @{ $self->{life}{entries} };
}


# One that comes with a position after an END waits for what follows that: the
# END's ID, or 0.

sub after_end {
    my ($self, $item) = @_;

    my $from = $self->{at}{entry};

    return 0 if !$self->{at}{first};
    return max(0, map { $_->{id} }
                  grep { $_->{end} && $_->{id} < $from->{id}
                         && $_->{id} < $item->{entry}{id} }
                  @{ $self->{life}{entries} });
}


# The position is of an earlier life of the stream.

sub from_before {
    my ($self, $item) = @_;

    my ($at, $entry, $told) = ($self->{at}, $item->{entry}, $self->{told});
    my $from = $at->{entry};
    my $before = $self->{stream}->life($from->{life});
    my @missed = grep { $_->{id} > $from->{id} }
                 messages(@{ $before->{entries} });

    if ($entry->{life} < $from->{life}) {
        $self->fault('P3', 'order', $item, 'of a life before');
        return;
    }

    my $given = $from->{id} >= $self->{life}{min}
                && $from->{id} <= $self->{life}{max};

    # with larger IDs, a server that does not count can't tell it from before

    my $unclear = ($at->{first} && $given) || !$self->{counts};

    # nor can the worker, that the ID of its place is that of another entry,
    # where it has not kept the one before

    my $same = grep { $_->{id} == $from->{id} } @{ $self->{life}{entries} };

    $unclear ||= $same && $self->{stream}{where} eq 'tiny';

    my $after = max($unclear ? $from->{id} : 0, $self->after_end($item));
    my ($e) = grep { !defined went($_, $item) }
              messages($self->between($after, $entry));

    return if $e && $self->as_many($item, $before);

    $self->fault('P1', $same ? 'anew, same ID' : 'anew', $item,
                 "$e->{id} of the new life never came")
        if $e;

    # it was not there when the life ended, or others had more of that; what was
    # seen before it came, its worker may not know any more

    my @seen = grep {
        defined $_->{seen} && $_->{seen} <= $before->{ended}
        && $_->{seen} > $self->{came}
        && !grep { $_->[0] eq 'xdel' || $_->[0] eq 'rollback' } @{ $_->{gone} }
    } @missed;

    $self->fault('P1', 'gone untold', $item,
                 "$seen[0]{id} of the life before never came")
        if @seen && !$told && !$unclear && !$at->{first};

    # where entries were removed from the new life, too, or others were between
    # the two, some may have been lost

    # what was dropped from a small window may have been no messages

    my $dropped = $self->{stream}{where} =~ /^(?:small|tiny)$/
                  && grep { $_->{id} > $from->{id} } @{ $before->{entries} };

    return if !$told || !$self->{counts} || $at->{first} || $self->anew($from)
              || @missed || $dropped
              || grep({ went($_, $item) } @{ $self->{life}{entries} })
              || grep({ @{ $_->{entries} } } map { $self->{stream}->life($_) }
                      $from->{life} + 1 .. $entry->{life} - 1);

    $self->fault('P2', "$told->{reason} anew", $item,
                 "it had all of the life of $from->{id}");
}

1;
