# Copyright (C) Conduit for NGINX authors

package Conduit::Random::Oracle;

# Compares what a client got with what was in its stream.  The promises:
#
#   P1  no silent gap: if entries after its position were trimmed, or the worker
#       had seen them in a stream that is gone, the client is told before the
#       next event; entries that are still there are not skipped
#   P2  no false alarm: on servers that count the entries of a stream, a client
#       is told only if entries are gone
#   P3  nothing twice, and in order, except for streams that were rolled back
#
# A life of a stream is the time from its creation to its deletion.  Returns
# faults, each [promise, kind, text].  Cases in which the gateway can't know
# what has happened are not judged:
#
# - an entry that was deleted by XDEL, or lost by a rollback, before it was read
# - entries of an earlier life of the stream that no client had received
# - a position that a client sends, and whose entry is gone
# - a position of an earlier life whose ID may exist in the new life, too
# - as many entries added after a rollback as it has removed; a new life with as
#   many entries as the one before, some of them deleted by XDEL
# - entries that were trimmed, if others were deleted by XDEL before they were
#   read: the counters of the server are the same
# - the same with a window that has no entry: the remaining entries of the
#   stream are sent again
# - before Redis 7, a stream that was created again and trimmed before it is
#   read for the first time.  A stream looks like such a one if it was rolled
#   back, or if XDEL took all entries of the window, which has few of them when
#   a client has just connected

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

    # the position may be past an entry that is not a message

    my ($id) = $item->{id} =~ /^(\d+)-0$/;
    my $entry = $at->{entry};

    $self->fault('P2', 'id', $item, "told with the ID $item->{id}")
        if !$at->{first} && !$self->back_at($id, $item)
           && !grep { $_->{id} == $id }
              $entry, grep { $_->{junk} } @{ $self->{stream}{entries} };

    $self->{told} = $item;
}


# Whether the stream has lost all entries after an ID that the client has
# received, so that this ID is now the client's position.

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


# how often the stream was rolled back since an entry was added

sub anew {
    my ($self, $entry) = @_;

    return scalar grep { $_ > $entry->{at} } @{ $self->{stream}{anew} };
}


# Whether the worker may have read this life of the stream again from its oldest
# entry, because its window had no entry to compare with: XDEL took entries, and
# the window is tiny; or XDEL took the entry of the client's position, and
# others that nobody had read (before Redis 7, that entry alone is enough); or
# the window is small or tiny, and the client was told "gone": it was served
# from a new life, or the stream had been rolled back further than the window
# reaches, before the worker knew.

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


# How an entry was removed, at least once until now; undef if it was there all
# the time.  Clients are told of a trimmed entry, but not of one removed by XDEL
# or a rollback.

sub went {
    my ($entry, $item) = @_;

    my @how = map { $_->[0] } grep { $_->[1] <= $item->{clock} }
              @{ $entry->{gone} };

    return (first { $_ eq 'xdel' || $_ eq 'rollback' } @how) // $how[0];
}


# The entries between an ID and an entry.  Those that were added after this
# entry are left out: they came when a rollback had removed it.

sub between {
    my ($self, $from, $entry) = @_;

    return grep { $_->{id} > $from && $_->{id} < $entry->{id}
                  && $_->{at} < $entry->{at} }
           @{ $self->{life}{entries} };
}


sub messages { grep { !$_->{junk} } @_ }


# for a client without a position, or with one that no entry ever had

sub from_start {
    my ($self, $item) = @_;

    my $entry = $item->{entry};
    my $after = $self->{at}{after} // 0;
    my $life = $self->{life};
    my ($end) = sort { $b <=> $a } map { $_->{id} } grep { $_->{end} }
                @{ $life->{entries} };

    # for a position in the future, the client continues from the end of the
    # stream, or from its END

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

    # a slow client that misses the middle of a past life may get the end of
    # that life from memory

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


# Whether the worker may have taken the stream for a new one: a server that does
# not count entries does not tell which ones a new stream has lost.

sub unread {
    my ($self, $item) = @_;

    return !$self->{counts}
           && ($self->anew($self->{at}{entry}) || $self->deleted($item));
}


# Whether the stream was rolled back, and then got as many entries as it had
# lost: the number of entries that it ever had is the same, so the worker can't
# notice.  Entries that XDEL took before they were read may not have been
# counted.

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

    # the worker may have read entries after the position that are no messages

    for my $e (grep { $_->{id} > $from->{id} } @lost) {
        last if $lost == $missed || !$e->{junk};
        $lost++;
    }

    my $uncounted = grep { $_->{id} <= $from->{id} && !defined $_->{seen}
                           && grep { $_->[0] eq 'xdel' } @{ $_->{gone} } }
                    @{ $self->{life}{entries} };

    return $lost >= $missed && $lost - $missed <= $uncounted;
}


# The stream was rolled back to before the position: new entries must not be
# skipped.

sub moved_back {
    my ($self, $item) = @_;

    my $after = $self->after_end($item);

    for my $e (messages($self->between($after, $item->{entry}))) {
        next if $self->{got}{$e->{serial}} || @{ $e->{gone} }
                || $e->{at} < $self->{stream}{anew}[0];
        $self->fault('P1', 'back', $item, "$e->{id} never came");
    }
}


# The stream was created again and got as many entries as before, some of which
# were deleted: the counters of the server do not tell it from the previous
# stream.

sub as_many {
    my ($self, $item, $before) = @_;

    my $from = $self->{at}{entry};
    my $had = grep { $_->{id} <= $from->{id} } @{ $before->{entries} };

    return $self->deleted($item)
           && $had == grep { $_->{id} < $item->{entry}{id} }
                      @{ $self->{life}{entries} };
}


# A client whose position is after an END waits for entries after that END.
# Returns the END's ID, or 0.

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

    # if the new life has larger IDs, a server that does not count entries can't
    # tell it from the previous one

    my $unclear = ($at->{first} && $given) || !$self->{counts};

    # with a tiny window the worker can't tell that the ID of the position now
    # belongs to another entry, because it has not kept the previous one

    my $same = grep { $_->{id} == $from->{id} } @{ $self->{life}{entries} };

    $unclear ||= $same && $self->{stream}{where} eq 'tiny';

    my $after = max($unclear ? $from->{id} : 0, $self->after_end($item));
    my ($e) = grep { !defined went($_, $item) }
              messages($self->between($after, $entry));

    return if $e && $self->as_many($item, $before);

    $self->fault('P1', $same ? 'anew, same ID' : 'anew', $item,
                 "$e->{id} of the new life never came")
        if $e;

    # entries that clients had received before that life ended, and after this
    # client came: its worker may have forgotten those that were read before

    my @seen = grep {
        defined $_->{seen} && $_->{seen} <= $before->{ended}
        && $_->{seen} > $self->{came}
        && !grep { $_->[0] eq 'xdel' || $_->[0] eq 'rollback' } @{ $_->{gone} }
    } @missed;

    $self->fault('P1', 'gone untold', $item,
                 "$seen[0]{id} of the life before never came")
        if @seen && !$told && !$unclear && !$at->{first};

    # a small window may have dropped later entries, even if they were no
    # messages

    my $dropped = $self->{stream}{where} =~ /^(?:small|tiny)$/
                  && grep { $_->{id} > $from->{id} } @{ $before->{entries} };

    # no false alarm either if entries were removed from the new life, too, or
    # if lives between the two had entries: these may have been lost

    return if !$told || !$self->{counts} || $at->{first} || $self->anew($from)
              || @missed || $dropped
              || grep({ went($_, $item) } @{ $self->{life}{entries} })
              || grep({ @{ $_->{entries} } } map { $self->{stream}->life($_) }
                      $from->{life} + 1 .. $entry->{life} - 1);

    $self->fault('P2', "$told->{reason} anew", $item,
                 "it had all of the life of $from->{id}");
}

1;
