# Copyright (C) Conduit for NGINX authors
#
# A Redis Cluster loses a master: by a manual failover, a killed master, a hung
# master.  Messages that were acknowledged and replicated arrive, in the
# response that was open before.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Servers;
use Test::More;
use Time::HiRes qw(sleep time);

# the slots of the other masters are served while one has none

my $cluster = Conduit::Servers->cluster(
    options => ['--cluster-require-full-coverage', 'no']);

sub start_nginx {
    my @redis = (redis => shift);

    return nginx_start(server =>
        publish_location('conduit_publish_rate 10000r/s;'
                         . 'conduit_publish_timeout 2s;', @redis)
        . gateway_location('conduit_gateway_outage 60s;'
                           . 'conduit_gateway_drain 500ms;', @redis));
}

my $nginx = start_nginx($cluster->url);

# s, from the moment that a node names the new master until a message arrives;
# about one second at rest
my $SOON = $ENV{CONDUIT_CHECKED} ? 50 : 10;


# --- channels

sub channel_on {
    my $port = shift;
    my $id = $cluster->channel_on($port);

    return { id => $id, key => stream_key($ORG, $id), sequence => 0,
             acked => [], unknown => {}, got => [], other => [] };
}


# Publishes; keeps what was acknowledged, and what may have been stored.

sub try_publish {
    my $ch = shift;

    my $sequence = ++$ch->{sequence};

    my $r = http($nginx, 'POST', "/publish/$ORG/$ch->{id}",
                 body => message(channel_id => $ch->{id},
                                 sequence => $sequence),
                 headers => { Authorization => 'Bearer ' . publish_token() });

    if ($r->{status} == 200) {
        push @{ $ch->{acked} }, "$r->{body} $sequence";

    } elsif ($r->{body} =~ /may have been stored/) {
        $ch->{unknown}{$sequence} = 1;
    }

    return $r->{status};
}


sub open_stream {
    my ($ch, %o) = @_;

    return sse_open($nginx, channel_id => $ch->{id}, %o);
}


# Takes what has arrived: messages, and what else.

sub take {
    my ($ch, @events) = @_;

    for my $event (@events) {
        if (defined $event->{id}) {
            push @{ $ch->{got} }, "$event->{id} $event->{json}{sequence}";
        } else {
            push @{ $ch->{other} }, $event->{data};
        }
    }
}

# Reads until the last acknowledged message has arrived.

sub read_on {
    my $ch = shift;

    my $last = $ch->{acked}[-1];

    while (!@{ $ch->{got} } || $ch->{got}[-1] ne $last) {
        take($ch, $ch->{sse}->event(30) // last);
    }
}

# Whether all acknowledged messages arrived, once and in order.  Those that may
# have been stored may be among them.

sub all_arrive {
    my ($ch, $title) = @_;

    read_on($ch);

    is_deeply [grep { !$ch->{unknown}{(split)[1]} } @{ $ch->{got} }],
        $ch->{acked}, $title;
    is_deeply $ch->{other}, [], 'no loss is told of';
}


# A channel of a master, and one of another, both read.

sub channels {
    my $master = shift;

    my ($other) = grep { $_ != $master } $cluster->masters;
    my @channels = (channel_on($master), channel_on($other));

    for my $ch (@channels) {
        try_publish($ch) for 1 .. 5;
        $ch->{sse} = open_stream($ch);
        read_on($ch);
        try_publish($ch) for 1 .. 5;
    }

    $cluster->settle($_) for $master, $other;

    return @channels;
}


# Publishes all the time, to a channel that has lost its master and to another
# one; returns the seconds from when a node named a new master until a message
# was taken, and until one of those taken since arrived.

sub publish_through {
    my ($ch, $other, $old) = @_;

    my ($witness) = grep { $_ != $old } $cluster->answering;
    my ($named, $taken, $arrived);
    my %since;
    my %others;

    wait_for(90, sub {
        $named //= time
            if $cluster->owner($ch->{key}, $witness) != $old;

        $others{try_publish($other)}++;

        if (try_publish($ch) == 200 && $named) {
            $taken //= time;
            $since{$ch->{acked}[-1]} = 1;
        }

        $ch->{sse}->until(0.02, sub {
            @{ $ch->{sse}{events} } > $ch->{sse}{taken} });

        take($ch, $ch->{sse}->events(1000, 0));
        $arrived //= time if $since{$ch->{got}[-1] // ''};

        return $arrived;
    });

    is_deeply [keys %others], [200], 'other masters are not touched';

    return map { defined $_ && $named ? $_ - $named : undef }
           $taken, $arrived;
}


sub lives_through {
    my ($how, $ch, $other, $old) = @_;
    my ($taken, $arrived) = publish_through($ch, $other, $old);

    $arrived //= 1000;

    cmp_ok $arrived, '<', $SOON, "$how: messages arrive from the new master";
    note sprintf "$how: taken %.2fs, arrived %.2fs after a node named the "
                 . 'new master', $taken // -1, $arrived;

    try_publish($_) for $ch, $other;
    all_arrive($ch, 'nothing acknowledged is lost, or comes twice');
    all_arrive($other, 'nothing is lost, or comes twice, in another slot');

    ok !$ch->{sse}{eof}, 'the client has stayed';
}


# The IDs that a server has of a channel.

sub kept {
    my ($ch, $port) = @_;

    my $entries = $cluster->command($port, 'XRANGE', $ch->{key}, '-', '+');

    return [map { $_->[0] } @$entries];
}


# Whether a client that comes with an old ID, or none, gets what the new master
# has.

sub resumes {
    my ($ch, $port) = @_;

    my $ids = kept($ch, $port);

    for my $from ([undef, @$ids], [@$ids[2 .. $#$ids]]) {
        my ($last, @expected) = @$from;
        my $sse = open_stream($ch, last_event_id => $last);

        is_deeply [map { $_->{id} } $sse->events(scalar @expected)],
            \@expected, 'the new master serves old positions';
        $sse->close;
    }
}


# Each error is said once: a connection that is down says why, not how often it
# tried.

sub said_once {
    my ($from, $how) = @_;

    my ($errors, $again) = $nginx->redis_errors($from);

    is_deeply $again, [], "$how: no error line says what was said before";
    note substr $_, 0, 200 for @$errors[0 .. ($#$errors > 9 ? 9 : $#$errors)];
}


# --- a failover by hand

my $master = ($cluster->slots)[0][2];
my ($replica) = $cluster->replicas($master);
my ($ch, $other) = channels($master);

my $at = length $nginx->error_log;

$cluster->command($replica, 'CLUSTER', 'FAILOVER');
lives_through('a failover by hand', $ch, $other, $master);
$cluster->agree(6);

is $cluster->owner($ch->{key}), $replica, 'the replica is the master';
resumes($ch, $replica);

said_once($at, 'a failover by hand');

# but by its own master, which has a ping for it, too

ok wait_for(20, sub {
    !grep { $_->{flags} !~ /M/
            && $_->{cmd} =~ /^(?:subscribe|xread|xinfo|ping|eval)/ }
     $cluster->clients($master);
}), 'the old master is left';


# --- a killed master

$master = $replica;
($replica) = $cluster->replicas($master);
($ch, $other) = channels($master);
$at = length $nginx->error_log;

$cluster->kill($master);

ok wait_for(20, sub { try_publish($ch) == 503 }),
    'without a master, a message is refused with 503';

my $late = open_stream($ch);
is $late->status, 200, 'a client that comes without a master gets a 200';

lives_through('a killed master', $ch, $other, $master);

is_deeply [map { "$_->{id} $_->{json}{sequence}" }
           $late->events(scalar @{ $ch->{acked} })], $ch->{acked},
    'a client that came without a master gets all messages';
$late->close;

said_once($at, 'a killed master');

resumes($ch, $replica);
$cluster->run($master);
$cluster->agree(6);


# --- a hung master

$master = $replica;
($replica) = $cluster->replicas($master);
($ch, $other) = channels($master);
$at = length $nginx->error_log;

$cluster->pause($master);
lives_through('a hung master', $ch, $other, $master);
resumes($ch, $replica);

said_once($at, 'a hung master');

$cluster->resume($master);
$cluster->agree(6);

is try_publish($ch), 200, 'when it is back, messages are taken';
all_arrive($ch, 'the messages are streamed');


# --- the last messages were not replicated

$master = $replica;
($replica) = $cluster->replicas($master);
($ch, $other) = channels($master);
all_arrive($ch, 'a client is up to date');

# a replica that is cut off, and not let in again

$cluster->command($master, 'CONFIG', 'SET', 'requirepass', 'x');
$cluster->command($master, 'CLIENT', 'KILL', 'TYPE', 'replica');

is try_publish($ch), 200, 'messages are taken that the replica does not get'
    for 1 .. 3;
all_arrive($ch, 'the messages are streamed');

my $kept = @{ $ch->{got} } - 3;

$cluster->kill($master);

ok wait_for(60, sub { ($cluster->owner($ch->{key}, $replica) // 0) == $replica
                    }), 'the replica becomes the master';

my $id = $cluster->command($replica, 'XADD', $ch->{key}, '*', 'data',
                           message(channel_id => $ch->{id}, sequence => 100));

is scalar(@{ kept($ch, $replica) }), $kept + 1, 'without them';

# a client whose position is after all that the new master has starts over; one
# that has seen nothing of it by then goes on

push @{ $ch->{acked} }, "$id 100";
read_on($ch);

my @came = @{ $ch->{got} }[$kept + 3 .. $#{ $ch->{got} }];
my @again = @{ $ch->{got} }[0 .. $kept - 1];

is_deeply [@came], [@came == 1 ? () : @again, "$id 100"],
    'what is published then is streamed to the same client';
is_deeply $ch->{other}, [], 'nothing was trimmed, and no loss is told of';
note scalar(@came), ' came after the loss';

ok wait_for(20, sub { try_publish($ch) == 200 }), 'a message is taken';
read_on($ch);
is $ch->{got}[-1], $ch->{acked}[-1], 'the messages are streamed';

is $nginx->stop, 0, 'NGINX quits';
$cluster->run($master);
$cluster->agree(6);


# --- a node that has lost touch, and tells what was

$master = $replica;
($replica) = $cluster->replicas($master);

my ($third) = grep { $_ != $master } $cluster->masters;
my $pretender = Conduit::Servers->new->pretender(
    CLUSTER => $cluster->command($third, 'CLUSTER', 'SLOTS'));

$nginx = start_nginx($cluster->url($pretender, $third));
($ch, $other) = channels($master);

$cluster->kill($master);
lives_through('a node that has lost touch', $ch, $other, $master);

is $nginx->stop, 0, 'NGINX quits';
$cluster->run($master);
$cluster->agree(6);


# --- all seeds are gone, then a master: the others, which no URL names, know the
# new one

$master = $replica;
($replica) = $cluster->replicas($master);

my @seeds = map { $cluster->replicas($_) } grep { $_ != $master }
            $cluster->masters;

$nginx = start_nginx($cluster->url(@seeds));
($ch, $other) = channels($master);
$cluster->kill($_) for @seeds;

is try_publish($_), 200, 'without seeds, messages are taken' for $ch, $other;
read_on($_) for $ch, $other;
$cluster->settle($master);

$cluster->kill($master);
lives_through('a master killed without seeds', $ch, $other, $master);
is $cluster->owner($ch->{key}), $replica, 'the replica is the master';
is scalar(@{ kept($ch, $replica) }), @{ $ch->{got} },
    'the replica has all that was received';

is $nginx->stop, 0, 'NGINX quits';
done_testing();
