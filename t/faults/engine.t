# Copyright (C) Conduit for NGINX authors
#
# Changes while the engine waits for a reply: at each command about a stream,
# before Redis gets it and before its reply comes back, something else happens
# to the stream or its clients.  Any command with the stream's key counts.
#
# The log of each client is judged as in t/random.t: no loss that it is not told
# of, no report of a loss that did not happen, no event twice, no delay.
#
#     CONDUIT_ENGINE           runs only tests whose titles match it

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Random;
use Test::More;
use Time::HiRes qw(sleep time);

# s in which an entry comes without the slow sweep
my $PROMPT = 8;

# questions about a stream for which nothing happens, in a quarter of a second:
# one of the sweep, a retry
my $IDLE = 3;

my $random = Conduit::Random->new;
my ($proxy) = @{ $random->{server}{ways} };
my ($stream, %fates);

# Before Redis 7, XDEL and a rollback are taken for another stream where a window
# has no entry to compare; what is trimmed of that before it is read for the first
# time, nobody can tell.
my %UNTOLD = map { $_ => 'before Redis 7' } redis_version() >= 7_000_000 ? () : (
    'tiny: the entry at the cursor is deleted, then the stream trimmed',
    'tiny: the end of the stream is lost, then it is trimmed',
);

my %PASSING = (
    LOADING => 'LOADING Redis is loading the dataset in memory',
    BUSY => 'BUSY Redis is busy running a script.',
    MASTERDOWN => 'MASTERDOWN Link with MASTER is down',
    CLUSTERDOWN => 'CLUSTERDOWN The cluster is down',
);


# --- helpers

# a new stream at a location, with so many entries, 1000, 1001 and so on
sub stage {
    my ($where, $n, %o) = @_;

    $proxy->tell('calm');
    $proxy->tell('forget');
    @$random{qw(faults ways clients mode seed)} = ([], [], [], 'test', 0);
    $stream = Conduit::Random::Stream->new(n => 0, where => $where,
                                           channel => uuid(),
                                           server => $random->{server});
    $random->{streams} = [$stream];
    $stream->do('burst', { n => $n, size => $o{size} // 10 }) if $n;
}

# a client that connects: none, or after which ID
sub client {
    my ($after, %o) = @_;

    my $client = Conduit::Random::Client->new(
        stream => $stream, n => scalar @{ $random->{clients} },
        slow => $o{slow}, port => $random->{nginx}->port,
        slow_port => $random->{slow_port});

    push @{ $random->{clients} }, $client;
    come($client, $after);
    return $client;
}

sub come {
    my ($client, $after) = @_;

    $client->{position} = $after;
    $client->connect('given');
}

# reads until a condition holds
sub read_until {
    my ($seconds, $condition) = @_;

    return wait_for($seconds, sub { $random->read(0.01);
                                    $condition->() });
}

# until a client has the last entry, and the worker is done with it
sub has_all {
    my $client = shift;

    my $last = $stream->{present}[-1];
    read_until(20, sub { $client->{last} && $client->{last} == $last })
        or die 'a client has not got all';
    quiet();
}

sub asked { return ($proxy->stats->{$stream->key} // {})->{n} // 0 }

sub errors { return ($proxy->stats->{$stream->key} // {})->{errors} // 0 }

# until nothing is asked for a moment; what is polled for is never so
sub quiet {
    return $random->read(0.2) if $stream->{where} eq 'poll';

    my $n = -1;
    wait_for(3, sub {
        my $before = $n;
        $n = asked();
        my $end = time + 0.05;
        $random->read(0.02) while time < $end;
        return $n == $before;
    });
}

# Nothing is asked in the end; one that asks for ever does so all the time.
sub busy {
    my $n;

    for (1 .. 20) {
        my ($before, $end) = (asked(), time + 0.25);
        $random->read(0.05) while time < $end;
        $n = asked() - $before;
        return if $n <= $IDLE;
    }

    fault('P5', 'idle', "$n questions for nothing");
}

# a fault that is none of a client
sub fault { push @{ $random->{faults} }, { promise => $_[0], kind => $_[1],
                                           text => $_[2] } }

# The end of each: all is let through, one more entry comes to all clients.
# Returns the kinds of faults.
sub ends {
    my $idle = shift;

    $proxy->tell('calm');

    busy() if $idle && $stream->{where} ne 'poll';

    $random->{clients} = [grep { $_->is_open || defined $_->{back} }
                          @{ $random->{clients} }];
    $random->settled(time + $PROMPT);

    my $marker = $stream->put($stream->key);

    $stream->{marker} = $marker;
    $_->{done} = 0 for @{ $random->{clients} };

    for my $client ($random->await(time + $PROMPT)) {
        $random->fault($client, 'P4', 'late', 'the last entry did not come');
    }

    for my $client (@{ $random->{clients} }) {
        $random->fault($client, @$_)
            for Conduit::Random::Oracle->judge($client);
        $client->shut;
    }

    return @{ $random->{faults} };
}

# waits until the worker knows that a client has left
sub left {
    my $lines = () = $random->{nginx}->access_log =~ /\n/g;
    $_->shut for @_;
    wait_for(20, sub {
        @_ + $lines <= (() = $random->{nginx}->access_log =~ /\n/g)
    });
}

# Does one thing, which makes the worker ask, another one at each question and
# each reply, and looks at what all clients got.
sub crossing {
    my ($name, $where, %o) = @_;

    return if !wanted($name, $where);

    my ($met, %bad) = (0);

    for my $way (qw(before hold)) {
        for my $n (1 .. $o{most} // 4) {
            $o{stage}->($where, $n);
            $proxy->tell($way, $stream->key, $n);
            $o{first}->($n);
            my $held = read_until(0.4, sub { $proxy->held });
            $met += $held ? 1 : 0;
            $o{then}->($n);
            $random->read(0.02) for 1 .. 3;
            $proxy->tell('release');
            $o{last}->($n) if $o{last};

            for my $fault (ends()) {
                my $kind = "$fault->{promise} $fault->{kind}";

                $bad{$kind} //= "$way $n: $fault->{text}\n"
                                . ($fault->{story} ? $fault->{story}->() : '');
            }

            last if !$held;
        }
    }

    ok($met, "$where: $name: it was asked") if !$o{may_not_ask};

    local $TODO = $UNTOLD{"$where: $name"};

    is(join(', ', sort keys %bad), '', "$where: $name")
        or $TODO ? note values %bad : diag values %bad;
    $fates{$name}{$where} = join ', ', sort keys %bad;
}

# Something is done at a location; what all clients got is looked at.
sub scene {
    my ($name, $where, $code) = @_;

    return if !wanted($name, $where);

    $code->();

    my %bad;

    for my $fault (ends('idle')) {
        $bad{"$fault->{promise} $fault->{kind}"}
            //= "$fault->{text}\n"
                . ($fault->{story} ? $fault->{story}->() : '');
    }

    is(join(', ', sort keys %bad), '', "$where: $name") or diag values %bad;
    $fates{$name}{$where} = join ', ', sort keys %bad;
}

sub wanted {
    my ($name, $where) = @_;

    return "$where: $name" =~ ($ENV{CONDUIT_ENGINE} // '.');
}

sub own { $stream->do(@$_) for @_ }

sub at_once {
    $stream->begin;
    own(@_);
    $stream->commit;
}

my @EVERYWHERE = sort keys %Conduit::Random::LOCATIONS;
my @RUNG = grep { $_ ne 'poll' } @EVERYWHERE;
my @DIFFERENT = qw(events poll tiny);


# --- the entry at the cursor goes, and others after it

for my $where (@DIFFERENT) {
    my $client;
    my $stage = sub { stage($where, 5); has_all($client = client()) };

    crossing('the entry at the cursor is deleted, then the stream trimmed',
        $where, stage => $stage,
        first => sub { at_once(['xdel', 1], ['add', {}]) },
        then => sub { own(['burst', { n => 2 }], ['trim', 1]) });

    crossing('the stream is trimmed before the cursor is missed', $where,
        stage => $stage,
        first => sub { own(['add', {}]) },
        then => sub { own(['xdel', 1], ['burst', { n => 3 }], ['trim', 2]) });

    crossing('the end of the stream is lost, then it is trimmed', $where,
        stage => sub {
            stage($where, 3);
            own(['dump'], ['burst', { n => 3 }]);
            has_all($client = client());
        },
        first => sub { own(['restore', { which => 1, next => 'other' }],
                           ['burst', { n => 2 }]) },
        # not as many as were lost: what can be counted would be the same
        then => sub { own(['burst', { n => 4 }], ['trim', 1]) });
}


# --- clients that come meanwhile

for my $where (@DIFFERENT) {
    for my $after (1002, 1004) {
        crossing("a client resumes at $after while a gap is found", $where,
            stage => sub { stage($where, 5); has_all(client()) },
            first => sub { at_once(['burst', { n => 3 }], ['trim', 1],
                                   ['xdel', 1], ['add', {}]) },
            then => sub {
                client($after);
                $random->read(0.02) for 1 .. 3;
                own(['burst', { n => 2 }], ['trim', 1]);
            });
    }

    crossing('a client resumes, the one that was there leaves', $where,
        stage => sub {
            stage($where, 5);
            has_all(client());
        },
        first => sub { at_once(['xdel', 1], ['add', {}]) },
        then => sub {
            left(@{ $random->{clients} });
            own(['add', {}]);
            client(1004);
            $random->read(0.05);
        });

    crossing('all leave while it is asked, another one comes', $where,
        stage => sub { stage($where, 5); has_all(client()) },
        first => sub { own(['add', {}]) },
        then => sub {
            left(@{ $random->{clients} });
            client();
            $random->read(0.05);
        });

    crossing('a client resumes, the stream is made anew', $where,
        may_not_ask => 1,
        stage => sub { stage($where, 5); has_all(client()) },
        first => sub { client(1002) },
        then => sub { own(['del', 'smaller'], ['burst', { n => 3 }]) });
}


# --- a reply that nobody waits for

for my $where (@RUNG) {
    for my $after (undef, 1004) {
        scene('the reply comes when nobody is there, '
              . ($after ? 'one resumes' : 'another one comes'), $where, sub
        {
            stage($where, 5);
            has_all(client());

            # a ring, and what a client at another place asks for

            $proxy->tell('hold', $stream->key, $_) for 1, 2;
            own(['add', {}]);
            read_until(5, sub { asked() });
            client(5000);
            read_until(0.5, sub { $proxy->held > 1 || asked() > 2 });
            left(@{ $random->{clients} });
            $proxy->tell('step');
            sleep 0.05;
            client($after);
            $random->read(0.02) for 1 .. 3;
        });
    }
}


# --- streams made anew

for my $where (@EVERYWHERE) {
    scene('trimmed, then made anew with smaller IDs', $where, sub {
        stage($where, 5);
        has_all(client());
        own(['trim', 0]);

        my $asked = asked();
        read_until(3, sub { asked() > $asked + 3 }) if $where eq 'poll';

        quiet();
        own(['del', 'smaller']);
        quiet();
        own(['burst', { n => 2 }]);
    });

    for my $n (3, 5) {
        scene("made anew at once with smaller IDs, $n of them", $where, sub {
            stage($where, 5);
            has_all(client());
            at_once(['del', 'smaller'], ['burst', { n => $n }]);
        });

        scene("made anew with $n smaller IDs, then larger ones", $where, sub {
            stage($where, 5);
            has_all(client());
            $stream->begin;
            own(['del', 'smaller'], ['burst', { n => $n }]);
            $stream->{next} = 1500;
            own(['burst', { n => 2 }]);
            $stream->commit;
        });
    }

    scene('made anew with larger IDs, a slow client', $where, sub {
        stage($where, 0);

        my ($slow, $fast) = (client(undef, slow => 1), client());

        $random->read(0.05) for 1 .. 3;
        $slow->{stalled} = 1;
        own(['burst', { n => 300, size => 1000 }]);
        has_all($fast);
        own(['del', 'larger']);
        quiet();
        own(['burst', { n => 3 }]);
        read_until(5, sub { $fast->{last} == $stream->{present}[-1] });
        $slow->{stalled} = 0;
    });
}


# --- streams that lose their end

for my $where (@EVERYWHERE) {
    for my $next ('the same', 'other') {
        scene("the end is lost while a client is slow, $next IDs follow",
            $where, sub
        {
            stage($where, 3);
            own(['dump']);

            my ($slow, $fast) = (client(undef, slow => 1), client());

            has_all($fast);
            $slow->{stalled} = 1;
            own(['burst', { n => 300, size => 1000 }]);
            has_all($fast);
            own(['restore', { which => 1, next => $next }]);
            quiet();
            own(['burst', { n => 3 }]);
            read_until(5, sub { $fast->{last} == $stream->{present}[-1] });
            $slow->{stalled} = 0;
        });
    }
}

# What a client resumes by is newer than what the worker has read, and is lost
# before that is read.

for my $where (@RUNG) {
    scene('entries are lost of which only a batch knew', $where, sub {
        stage($where, 5);
        own(['dump']);
        has_all(client());
        $proxy->tell('before', $stream->key, $_) for 1, 2;
        client(1002);
        read_until(5, sub { $proxy->held });
        own(['burst', { n => 2 }]);
        $random->read(0.02) for 1 .. 5;
        $proxy->tell('step');
        read_until(2, sub { $proxy->held > 1 });
        own(['restore', { which => 1, next => 'the same' }]);
        $proxy->tell('release');
        quiet();
    });
}


# More clients read a batch than have a turn at once; before the rest have one,
# the stream is found to be another, and the window is dropped.

scene('made anew while many read a batch', 'tiny', sub {
    stage('tiny', 30);
    has_all(client());
    $proxy->tell('hold', $stream->key, $_) for 1, 2;
    client(1002) for 1 .. 300;
    read_until(5, sub { $proxy->held });
    $random->read(0.02) for 1 .. 20;
    $proxy->tell('step');
    read_until(5, sub { $proxy->held > 1 });
    own(['del', 'smaller'], ['burst', { n => 30 }]);
    $random->read(0.02) for 1 .. 3;
    $proxy->tell('release');
    quiet();
});


# --- false alarms

for my $where (@EVERYWHERE) {
    scene('the first trim that a worker sees', $where, sub {
        stage($where, 5);
        has_all(client());
        own(['trim', 0]);
        quiet();
        own(['add', {}]);
    });

    scene('the first trim that a worker sees, with the next entry', $where, sub
    {
        stage($where, 5);
        has_all(client());
        at_once(['trim', 0], ['add', {}]);
    });
}

# a client behind the window reads on from where the stream begins now

for my $where (qw(small tiny)) {
    crossing('a stream is trimmed to where a batch ends', $where,
        stage => sub { stage($where, 30); has_all(client()) },
        first => sub { client(1000) },
        then => sub { own(['trim', 30 - 2 * $_[0] + 1]) });
}


# --- questions

for my $where (@RUNG) {
    scene('questions at a time', $where, sub {
        stage($where, 30);
        has_all(client());
        $proxy->tell('hold', $stream->key, 1);
        at_once(['xdel', 1], ['add', {}]);
        read_until(5, sub { $proxy->held });
        client($_) for 1001, 1002, 5000;
        $random->read(0.02) for 1 .. 5;
        $proxy->tell('release');
        quiet();
        own(['xdel', 1], ['add', {}]);
        quiet();

        my $flight = $proxy->stats->{$stream->key}{flight};
        fault('P6', 'questions', "$flight at a time") if $flight > 2;
    });

    for my $name (sort keys %PASSING) {
        scene("questions while there is $name", $where, sub {
            stage($where, 5);
            has_all(client());
            $proxy->tell('error-for', $stream->key, $PASSING{$name});
            client(1001);
            client(5000);
            own(['add', {}]);
            read_until(5, sub { errors() > 2 });
            $proxy->tell('forget');

            my $end = time + 1;
            $random->read(0.05) while time < $end;

            my $n = errors();
            fault('P5', 'loop', "$n errors in a second") if $n > 30;
        });
    }
}

for my $name (sort keys %fates) {
    note join "\n    ", $name, map { "$_: $fates{$name}{$_}" }
                               grep { $fates{$name}{$_} } @EVERYWHERE;
}

is($random->stop, 0, 'NGINX quits');
done_testing();
