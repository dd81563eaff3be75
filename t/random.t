# Random operations on streams, random clients, random faults of the way to
# Redis: what each client gets is judged by what was in its stream
# (Conduit::Random::Oracle has the promises).
# The location "json" has another format than the others.
#
#     CONDUIT_RANDOM_SECONDS   how long (60)
#     CONDUIT_RANDOM_SEED      rounds with this seed alone, again and again:
#                              what is decided is the same, the moments are not
#     CONDUIT_SEED             the seed of the first round (1), the next ones have
#                              those after it; "random": by chance
#     CONDUIT_RANDOM_MODE      append, delete, rollback, links, all (by turns)
#     CONDUIT_RANDOM_WHERE     events, small, tiny, poll, json (all at once)
#     CONDUIT_RANDOM_STRICT    what is known to fail does fail the test
#     CONDUIT_RANDOM_STORIES   so many failures of a kind are told in full (1)
#     CONDUIT_RANDOM_DEBUG     NGINX logs at level debug
#     CONDUIT_KEEP             its log is kept after a failure

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Random;
use Test::More;
use Time::HiRes qw(time);

# What the engine can't keep always, by promise or by promise and kind, with the
# modes: this does not fail the test.  Where entries are added and trimmed only, on
# whatever links, all but one kind does.
my %KNOWN = (
    'P2 trimmed' => {
        modes => 'append delete rollback links all',
        why => 'trimmed to where a client is that has come back, before the worker'
               . ' has read the stream to its end once, and so knows how many'
               . ' entries it had',
    },
    P1 => {
        modes => 'delete rollback all',
        why => 'an older dump is restored, its clients have had what it has, and'
               . ' other entries get the IDs of those that were lost: who had'
               . ' them is taken for one who has these',
    },
    P2 => {
        modes => 'delete rollback all',
        why => 'likewise, for one who has them',
    },
    P3 => {
        modes => 'delete rollback all',
        why => 'XDEL takes the entry at the cursor, and others that were not read'
               . ' yet: Redis does not tell that from another stream',
    },
);

my $SECONDS = $ENV{CONDUIT_RANDOM_SECONDS} || 60;
my $STORIES = $ENV{CONDUIT_RANDOM_STORIES} // 1;

my @modes = split ' ', $ENV{CONDUIT_RANDOM_MODE}
                       || join ' ', sort keys %Conduit::Random::MODES;
my $seed = draw_by_seed('CONDUIT_RANDOM_SEED');
my $same = defined $ENV{CONDUIT_RANDOM_SEED};

# why a kind of failure is no fault in any of these modes
sub known {
    my ($kind, @modes) = @_;

    my ($promise) = $kind =~ /^(\S+)/;
    my $known = $KNOWN{$kind} // $KNOWN{$promise};
    return if !$known || $ENV{CONDUIT_RANDOM_STRICT};

    my %in = map { $_ => 1 } split ' ', $known->{modes};
    return (grep { !$in{$_} } @modes) ? undef : $known->{why};
}

# a failure is told of where it is seen, what is known where it is asked for
sub report {
    my ($known, $text) = @_;

    defined $known ? note $text : diag $text;
}

my $random = Conduit::Random->new;
my ($worker) = $random->{nginx}->workers;
my $deadline = time + $SECONDS;
my (%rounds, %kinds, %seeds, %told, %events);

for (my $n = 0; !$n || time < $deadline; $n++) {
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

note 'questions about a stream at one time: ', $random->{flight} // 0;

is_deeply([$random->{nginx}->workers], [$worker], 'the worker lives');
is($random->stop, 0, 'NGINX quits');
done_testing();
