# Copyright (C) Conduit for NGINX authors

package Conduit::Random::Suite;

# What t/random.t and the suites like it run: one round after another, each in
# one mode and with a seed of its own.  The head of t/random.t lists the
# settings.
#
#     run('cluster', $seconds, MODE...);

use strict;
use warnings;

use Conduit;
use Conduit::Random;
use Exporter 'import';
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = qw(run);

# Promises that the engine can't always keep, by promise or by promise and kind,
# with the modes in which that happens: such failures do not fail the test.  In
# modes that only add and trim entries, whatever the faults of the links, every
# failure fails it.
my %KNOWN = (
    P1 => {
        modes => 'delete rollback all lossy',
        why => 'an older dump is restored (or a replica that has no more takes'
               . ' over), its clients have had what it has, and other entries get'
               . ' the IDs of those that were lost: who had them is taken for one'
               . ' who has these',
    },
    P2 => {
        modes => 'delete rollback all lossy',
        why => 'likewise, for one who has them',
    },
    P3 => {
        modes => 'delete rollback all',
        why => 'XDEL takes the entry at the cursor, and others that were not read'
               . ' yet: Redis does not tell that from another stream',
    },
);

my $STORIES = $ENV{CONDUIT_RANDOM_STORIES} // 1;


# why a kind of failure is no fault in any of these modes
sub known {
    my ($kind, @modes) = @_;

    my ($promise) = $kind =~ /^(\S+)/;
    my $known = $KNOWN{$kind} // $KNOWN{$promise};
    return undef if !$known || $ENV{CONDUIT_RANDOM_STRICT};

    my %in = map { $_ => 1 } split ' ', $known->{modes};
    return (grep { !$in{$_} } @modes) ? undef : $known->{why};
}


# a failure is printed in any case, a known one only in verbose runs
sub report {
    my ($known, $text) = @_;

    defined $known ? note $text : diag $text;
}


sub run {
    my ($kind, $seconds, @modes) = @_;

    $kind = $ENV{CONDUIT_RANDOM_SERVER} || $kind;
    $seconds = $ENV{CONDUIT_RANDOM_SECONDS} || $seconds;

    my $seed = draw_by_seed('CONDUIT_RANDOM_SEED');
    my $same = defined $ENV{CONDUIT_RANDOM_SEED};
    my $random = Conduit::Random->new($kind);

    @modes = split ' ', $ENV{CONDUIT_RANDOM_MODE} if $ENV{CONDUIT_RANDOM_MODE};
    @modes = grep { !$random->{server}->lacks($_) } @modes;

    my ($worker) = $random->{nginx}->workers;
    my $deadline = time + $seconds;
    my (%rounds, %kinds, %seeds, %told, %events);

    # at least two modes, however slow the machine is

    for (my $n = 0; $n < 2 || time < $deadline; $n++) {
        my $mode = $modes[$n % @modes];

        $rounds{$mode}++;

        for my $fault ($random->round($mode, $seed)) {
            my $kind = "$fault->{promise} $fault->{kind}";

            $kinds{$kind}{"$mode/$fault->{where}"}++;
            $seeds{$kind}{"$mode:$seed"}++;

            next if $told{$kind}++ >= $STORIES;
            report(known($kind, $mode),
                   "$kind: $fault->{text}\n" . $fault->{story}->());
        }

        $events{$mode} += grep { $_->{what} eq 'event' }
                          map { @{ $_->{log} } } @{ $random->{clients} };
        $seed++ if !$same;
    }

    for my $mode (@modes) {
        ok($events{$mode}, "$mode: clients got events") if $rounds{$mode};
        note "$mode: ", $rounds{$mode} // 0, ' rounds, ', $events{$mode} // 0,
             ' events';
    }

    for my $kind (sort keys %kinds) {
        local $TODO = known($kind, map { m{^(\w+)/} } keys %{ $kinds{$kind} });

        ok(0, "$kind: never") or report($TODO, join "\n",
            (map { "$_: $kinds{$kind}{$_}" } sort keys %{ $kinds{$kind} }),
            'seeds: ' . join ' ', grep { defined }
                                  (sort keys %{ $seeds{$kind} })[0 .. 9]);
    }

    my $counts = $random->{server}{counts} // {};

    note "$_: $counts->{$_}" for sort keys %$counts;
    note 'questions about a stream at one time: ', $random->{flight} // 0;

    is_deeply([$random->{nginx}->workers], [$worker], 'the worker lives');
    is($random->stop, 0, 'NGINX quits');
    done_testing();
}

1;
