# Copyright (C) Conduit for NGINX authors

package Conduit::Random::Stream;

# A stream, the operations on it, and all entries that were ever in it.
#
# It is stored in a Conduit::Random::Server.  Its clock counts the operations.
# An entry is a hash: serial (its message's sequence number), id (the first half
# of its ID, the second one is 0), life (of the stream), at (when it was added),
# junk (no message), end, seen (when the first client had it), and gone: a list
# of [how, from, to], to undef for ever.

use strict;
use warnings;

use Conduit;
use Time::HiRes qw(sleep time);


sub new {
    my ($class, %o) = @_;

    my $self = bless {
        %o, channel => $o{channel}, key => stream_key($ORG, $o{channel}),
        entries => [], lives => [], anew => [], log => [], clock => 0,
        dumps => [], queue => undef,
    }, $class;

    $self->new_life(1000);
    return $self;
}


sub key { $_[0]{key} }

sub channel { $_[0]{channel} }

sub clock { $_[0]{clock} }

sub entry { $_[0]{entries}[$_[1]] }

sub life { $_[0]{lives}[$_[1]] }


# Records an operation, for whoever has to understand a failure.

sub note {
    my ($self, $text) = @_;

    $self->{clock}++;
    push @{ $self->{log} }, [$self->{clock}, time, $text];
}


sub new_life {
    my ($self, $next) = @_;

    if (my $before = $self->{lives}[-1]) {
        $before->{ended} = $self->{clock};
    }

    push @{ $self->{lives} }, { n => scalar @{ $self->{lives} },
                                entries => [], min => undef, max => 0 };
    $self->{next} = $next;
    $self->{present} = [];
    $self->{dumps} = [];
}


sub gone {
    my ($self, $how, @entries) = @_;

    for my $e (@entries) {
        push @{ $e->{gone} }, [$how, $self->{clock}, undef];
    }

    my %gone = map { $_->{serial} => 1 } @entries;
    $self->{present} = [grep { !$gone{$_->{serial}} } @{ $self->{present} }];
}


# Sends commands; those between begin() and commit() in one transaction.

sub begin { $_[0]{queue} = [] }

sub commit {
    my $self = shift;

    my $queue = delete $self->{queue} or return;

    $self->{server}->at_once($self->key, @$queue);
}

sub command {
    my ($self, @command) = @_;

    return $self->{server}->command($self->key, @command);
}

sub send {
    my ($self, @command) = @_;

    push(@{ $self->{queue} }, \@command), return if $self->{queue};
    return $self->command(@command);
}


# --- what can be done: $stream->do(NAME, ARGUMENT)

sub do {
    my ($self, $what, $arg) = @_;

    my $method = "do_$what" =~ tr/-/_/r;

    if ($what =~ /^(?:expire|dump|restore|rename-in)$/) {
        my $queued = $self->{queue};
        $self->commit;
        $self->$method($arg);
        $self->begin if $queued;
        return;
    }

    $self->$method($arg);
}


sub put {
    my ($self, $key, %o) = @_;

    my $serial = @{ $self->{entries} };
    my $id = $self->{next};

    $self->{next} += 1 + ($o{skip} // 0);
    $self->note("XADD $id" . ($o{junk} ? ' junk' : '') . ($o{end} ? ' END' : '')
                . (defined $o{max} ? " MAXLEN $o{max}" : ''));

    my @fields = $self->fields($serial, 'x' x ($o{size} // 0), %o);

    $self->send('XADD', $key, defined $o{max} ? ('MAXLEN', '=', $o{max}) : (),
                "$id-0", @fields);

    my $life = $self->{lives}[-1];
    my $e = { serial => $serial, id => $id, life => $life->{n}, gone => [],
              at => $self->{clock}, junk => $o{junk}, end => $o{end} };

    push @{ $self->{entries} }, $e;
    push @{ $self->{present} }, $e;
    push @{ $life->{entries} }, $e;
    $life->{min} //= $id;
    $life->{max} = $id if $id > $life->{max};
    return $e;
}


# An entry, as the format of the location wants it.

sub fields {
    my ($self, $serial, $value, %o) = @_;

    return (data => "no message $serial") if $o{junk};

    return (data => qq({ "sequence":$serial,\n"value" : "$value" }),
            $o{end} ? (end => 1) : ())
        if $self->{where} eq 'json';

    return (data => message(
        channel_id => $self->channel, sequence => $serial,
        message_id => sprintf('00000000-0000-4000-8000-%012x', $serial),
        phase => $o{end} ? 'END' : 'DELTA', payload => { value => $value }));
}


sub keep {
    my ($self, $n) = @_;

    my @there = @{ $self->{present} };

    $self->gone('trim', @there[0 .. $#there - $n]);
}


sub do_add { $_[0]->put($_[0]->key, %{ $_[1] }) }

sub do_addmax {
    my ($self, $o) = @_;

    $self->put($self->key, %$o);
    $self->keep($o->{max});
}

sub do_burst {
    my ($self, $o) = @_;

    $self->put($self->key, size => $o->{size}) for 1 .. $o->{n};
}

sub do_trim {
    my ($self, $n) = @_;

    $self->note("XTRIM MAXLEN $n");
    $self->send('XTRIM', $self->key, 'MAXLEN', '=', $n);
    $self->keep($n);
}


# which: a fraction that selects an entry of the stream: 0 the oldest, 1 the
# newest

sub do_xdel {
    my ($self, $which) = @_;

    my $present = $self->{present};
    my $e = $present->[$which * $#$present] or return;

    $self->note("XDEL $e->{id}");
    $self->send('XDEL', $self->key, "$e->{id}-0");
    $self->gone('xdel', $e);
}


# The next life begins with larger, smaller, or the same IDs.

sub next_id {
    my ($self, $how) = @_;

    my $life = $self->{lives}[-1];
    my $min = $life->{min} // $self->{next};

    return $how eq 'larger' ? $self->{next} + 100
         : $how eq 'smaller' ? ($min > 300 ? $min - 200 : $min)
         : $min + int(($life->{max} - $min) / 2);
}


sub do_del {
    my ($self, $next) = @_;

    $self->note("DEL, next $next");
    $self->send('DEL', $self->key);
    $self->end_life('del', $next);
}


sub end_life {
    my ($self, $how, $next) = @_;

    $self->gone($how, @{ $self->{present} });
    $self->new_life($self->next_id($next));
}


sub do_expire {
    my ($self, $next) = @_;

    my $there = $self->command('PEXPIRE', $self->key, 1);
    my $until = time + 20;

    sleep 0.001 while $self->command('EXISTS', $self->key) && time < $until;
    $self->note("expired, next $next");
    $self->end_life('expire', $next) if $there;
}


sub do_ttl {
    my $self = shift;

    $self->note('EXPIRE 1000');
    $self->send('EXPIRE', $self->key, 1000);
}


# Another key in the slot of the stream's key, for commands that name both.

sub other {
    my ($self, $name) = @_;

    $self->{server}->keep_together($self->key);
    return '{' . $self->key . "}:$name";
}


sub do_rename_out {
    my ($self, $next) = @_;

    return if !@{ $self->{present} };

    $self->note("RENAME from here, next $next");
    $self->send('RENAME', $self->key, $self->other('gone'));
    $self->end_life('rename', $next);
}


sub do_rename_in {
    my ($self, $o) = @_;

    my $other = $self->other('new');

    $self->note("RENAME to here, next $o->{next}");
    $self->command('DEL', $other);
    $self->end_life('rename', $o->{next});
    $self->put($other, size => 10) for 1 .. $o->{n};
    $_->{at} = $self->{clock} for @{ $self->{present} };
    $self->command('RENAME', $other, $self->key);
}


sub do_xsetid {
    my ($self, $skip) = @_;

    return if !@{ $self->{present} };

    $self->{next} += $skip;
    my $id = $self->{next}++;
    $self->note("XSETID $id");
    $self->send('XSETID', $self->key, "$id-0");
    $self->{lives}[-1]{max} = $id;
}


sub do_dump {
    my $self = shift;

    my $dump = $self->command('DUMP', $self->key) // return;

    $self->note('DUMP');
    push @{ $self->{dumps} }, {
        clock => $self->{clock},
        dump => $dump, present => [@{ $self->{present} }],
        next => $self->{next},
    };
}


# Restores a dump of this life, as if a server came back with an older file.
# The next IDs are those of the lost entries again, or others.

sub do_restore {
    my ($self, $o) = @_;

    my $dumps = $self->{dumps};
    my $dump = $dumps->[$o->{which} * $#$dumps] or return;

    $self->note("RESTORE, $o->{next} IDs follow");
    $self->command('RESTORE', $self->key, 0, $dump->{dump}, 'REPLACE');
    push @{ $self->{anew} }, $self->{clock};

    my %there = map { $_->{serial} => 1 } @{ $dump->{present} };

    # what was trimmed since then never was in this one

    $self->gone('rollback', grep { !$there{$_->{serial}}
                                   && $_->{at} > $dump->{clock} }
                            @{ $self->{lives}[-1]{entries} });

    for my $e (@{ $dump->{present} }) {
        $e->{gone}[-1][2] //= $self->{clock} if @{ $e->{gone} };
    }

    $self->{present} = [@{ $dump->{present} }];
    $self->{next} = $dump->{next} if $o->{next} eq 'the same';
    $self->{dumps} = [];
}


# Another server has taken over that may lack the last operations, or the same
# one came back with an older file, as if an older dump was restored.  Reads
# which entries it has; the serial of an entry is in its message.

sub taken_over {
    my ($self) = @_;

    if (!$self->command('EXISTS', $self->key)) {
        return if !@{ $self->{lives}[-1]{entries} };
        $self->note("lost, next $self->{lost_next}");
        $self->{server}{counts}{'streams lost'}++;
        return $self->end_life('del', $self->{lost_next});
    }

    my %there = map { $_ => 1 }
                map { join(' ', @{ $_->[1] })
                      =~ /no\ message\ (\d+)|"sequence":(\d+)
                          |00000000-0000-4000-8000-([0-9a-f]{12})/x
                      ? $1 // $2 // hex $3 : die "whose is @$_?" }
                @{ $self->command('XRANGE', $self->key, '-', '+') };
    my @before = @{ $self->{present} };
    my %before = map { $_->{serial} => 1 } @before;
    my @lost = grep { !$there{$_->{serial}} } @before;
    my @back = grep { !$before{$_} } sort { $a <=> $b } keys %there;
    my %info = @{ $self->command('XINFO', 'STREAM', $self->key) };
    my ($last) = $info{'last-generated-id'} =~ /^(\d+)-/;

    # entries that were trimmed on the old server were never on the new one

    my @never = grep { !$there{$_->{serial}} && $_->{id} > $last }
                @{ $self->{lives}[-1]{entries} };

    return if !@lost && !@back && !@never;

    $self->note('taken over: lost '
                . (join(', ', map { $_->{id} } @lost) || 'nothing')
                . ', back ' . (join(', ', map { $self->entry($_)->{id} } @back)
                               || 'nothing'));
    push @{ $self->{anew} }, $self->{clock};
    $self->{server}{counts}{'streams set back'}++;
    $self->gone('rollback', @never);

    for my $e (map { $self->entry($_) } @back) {
        $e->{gone}[-1][2] //= $self->{clock};
    }

    $self->{present} = [grep { $there{$_->{serial}} }
                        @{ $self->{lives}[-1]{entries} }];
    $self->{next} = $last + 1 if $self->{lost_next} eq 'same';
    $self->{dumps} = [];
}

1;
