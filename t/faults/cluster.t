# Copyright (C) Conduit for NGINX authors
#
# A Redis Cluster: channels on all masters, slots that move while messages are
# published and streamed, slots that no node serves, and seeds that are gone.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Servers;
use Test::More;
use Time::HiRes qw(sleep time);

# no failover here, whatever stands still for a while

my $cluster = Conduit::Servers->cluster(
    options => ['--cluster-node-timeout', 5000]);
my @masters = $cluster->masters;
my @replicas = map { $cluster->replicas($_) } @masters;


# Two ways to publish: with a rate, which is kept in a key of its own, and
# without.

sub locations {
    my $url = shift;
    my @redis = (redis => $url);

    return publish_location('conduit_publish_rate 10000r/s;', @redis)
           . publish_location('conduit_publish_rate off;', @redis)
             =~ s{/publish/}{/free/}r
           . gateway_location('conduit_gateway_outage 30s;'
                              . 'conduit_gateway_drain 500ms;', @redis);
}

my $nginx = nginx_start(server => locations($cluster->url(@masters[0, 1])));


# --- channels

# A new channel whose stream the given master has.

sub channel_on {
    my $port = shift;
    my $id = $cluster->channel_on($port);

    return { id => $id, key => stream_key($ORG, $id), sequence => 0,
             acked => [], got => [] };
}

sub another_than {
    my $port = shift;

    return (grep { $_ != $port } @masters)[0];
}


sub try_publish {
    my ($ch, $path, $server) = @_;

    my $sequence = ++$ch->{sequence};

    my $r = http($server // $nginx, 'POST', "/$path/$ORG/$ch->{id}",
                 body => message(channel_id => $ch->{id},
                                 sequence => $sequence),
                 headers => { Authorization => 'Bearer ' . publish_token() });

    push @{ $ch->{acked} }, "$r->{body} $sequence" if $r->{status} == 200;

    return $r;
}

# Publishes once in both ways; returns the status codes.

sub publish_both {
    my ($ch) = @_;

    return join ' ', map { try_publish($ch, $_)->{status} } qw(publish free);
}

sub rate_key { "conduit:rate:{$_[0]{key}}" }


sub open_stream {
    my ($ch, %o) = @_;

    return sse_open($o{nginx} // $nginx, channel_id => $ch->{id}, %o);
}

# Whether all acknowledged messages have arrived, once and in order, in the
# response that was opened with the first.

sub all_arrive {
    my ($ch, $title, $seconds) = @_;

    my $missing = @{ $ch->{acked} } - @{ $ch->{got} };

    push @{ $ch->{got} }, map { "$_->{id} $_->{json}{sequence}" }
                          $ch->{sse}->events($missing, $seconds // 10);

    is_deeply $ch->{got}, $ch->{acked}, $title;
}


# The connections to a server, without the one that asks and replication.

sub connections {
    my $port = shift;

    my %count;

    $count{$_->{cmd} =~ s/\|.*//r}++
        for grep { $_->{flags} !~ /[SM]/ && $_->{cmd} ne 'client|list' }
            $cluster->clients($port);

    return \%count;
}


# --- all masters are used, each when there is something for it

my @channels = map { channel_on($_) } @masters;

is publish_both($_), '200 200', 'messages are stored' for @channels;
is $cluster->command($masters[$_], 'XLEN', $channels[$_]{key}), 2,
    'messages are stored on the master that has their slot' for 0 .. 2;

my ($first, @others) = @channels;

$first->{sse} = open_stream($first);
all_arrive($first, 'the history of a channel is streamed');

is_deeply [map { connections($_)->{subscribe} // 0 } @masters], [1, 0, 0],
    'only the master that is read from has a bell';

for my $ch (@others) {
    $ch->{sse} = open_stream($ch);
    all_arrive($ch, 'the history of a channel of another master is streamed');
}

is publish_both($_), '200 200', 'messages are taken' for @channels;
all_arrive($_, 'the messages are streamed live') for @channels;

for my $ch (@channels) {
    my ($id) = split ' ', $ch->{acked}[1];
    my $late = open_stream($ch, last_event_id => $id);

    is_deeply [map { "$_->{id} $_->{json}{sequence}" } $late->events(2)],
        [@{ $ch->{acked} }[2, 3]], 'a client resumes after its last event';
    $late->close;
}

my @counts = map { connections($_) } @masters;
my $links = 0;
$links += $_->{cluster} // 0 for @counts;

is_deeply [map { $_->{subscribe} } @counts], [1, 1, 1],
    'a worker has one bell at each master';
is_deeply [map { $_->{evalsha} // $_->{eval} } @counts], [1, 1, 1],
    'a worker has one link for publishing at each master';
is_deeply [map { ($_->{xread} // 0) + ($_->{xrange} // 0) + ($_->{xinfo} // 0)
                 + ($_->{ping} // 0) } @counts],
    [1, 1, 1], 'a worker has one reader at each master';
is $links, 2, 'a worker asks on one link for publishing, and one for streaming';



# --- a slot moves: its stream exists and is read

my $ch = $channels[0];
my $from = $masters[0];
my $to = $masters[1];
my $step = $cluster->migration($ch->{key}, $to);

$cluster->command($from, 'SET', rate_key($ch), 1, 'PX', 60000);
$step->open;

is publish_both($ch), '200 200', 'while a slot migrates, messages are taken';

$cluster->command($from, 'DEL', rate_key($ch));
is publish_both($ch), '200 200',
    'messages are taken with one of two keys missing';
is $cluster->command($from, 'XLEN', $ch->{key}), 8,
    'messages are stored where the stream is';
all_arrive($ch, 'the messages are streamed');

is_deeply [$step->move], [$ch->{key}], 'a migration moves the stream';

is publish_both($ch), '200 200', 'messages are taken with no key left behind';
all_arrive($ch, 'the messages are streamed from where the stream is now');

my $new = open_stream($ch);
is scalar(my @history = $new->events(10)), 10,
    'a client that comes during a migration gets the history';

$step->close;

is publish_both($ch), '200 200',
    'messages are taken when the slot has its new master';
all_arrive($ch, 'the messages are streamed');
is scalar(@history = $new->events(2)), 2,
    'a client that came during a migration gets the messages';
$new->close;

is $cluster->command($to, 'XLEN', $ch->{key}), 12,
    'messages are stored at the new master';


# --- a slot moves back under load, the stream before the key of the rate

$cluster->command($to, 'SET', rate_key($ch), 1, 'PX', 60000);
$step = $cluster->migration($ch->{key}, $from);

my %steps = (
    10 => sub { $step->open }, 20 => sub { $step->move($ch->{key}) },
    30 => sub { $step->move }, 40 => sub { $step->close },
);

my %statuses;

for my $n (1 .. 60) {
    $steps{$n}->() if $steps{$n};
    $statuses{try_publish($ch, $n % 2 ? 'publish' : 'free')->{status}}++;
}

is_deeply \%statuses, { 200 => 60 }, 'no step of a migration costs a message';
all_arrive($ch,
           'no step of a migration costs a client an event, or repeats one');


# --- a slot moves while one of a channel's two keys is elsewhere or nowhere:
# Redis 7 says TRYAGAIN, Redis 6 says ASK, although the stream may be at the
# source; there is one stream all the time

my %apart = (
    'the key of the rate has expired' => {
        leave => sub { $cluster->command($from, 'DEL', rate_key($_[0])) },
        source => ['stream'], target => [],
    },
    'the key of the rate has gone ahead' => {
        leave => sub { $_[1]->move(rate_key($_[0])) },
        source => ['stream'], target => ['rate'],
    },
    'the stream has gone ahead' => {
        leave => sub { $_[1]->move($_[0]{key}) },
        source => ['rate'], target => ['stream'],
    },
);

# which of a channel's two keys a server has

sub keys_at {
    my ($ch, $port) = @_;

    my %name = ($ch->{key} => 'stream', rate_key($ch) => 'rate');
    my $keys = $cluster->command($port, qw(CLUSTER GETKEYSINSLOT),
                                 $cluster->slot($ch->{key}), 1000);

    return [sort map { $name{$_} // () } @$keys];
}

for my $way (sort keys %apart) {
    my $ch = channel_on($from);
    my $step = $cluster->migration($ch->{key}, $to);

    publish_both($ch);
    $cluster->command($from, 'SET', rate_key($ch), 1, 'PX', 600_000);
    $ch->{sse} = open_stream($ch);

    $step->open;
    $apart{$way}{leave}->($ch, $step);

    is publish_both($ch), '200 200', "$way: messages are taken";
    is_deeply keys_at($ch, $from), $apart{$way}{source},
        "$way: the source has what was left there";
    is_deeply keys_at($ch, $to), $apart{$way}{target},
        "$way: the target has what went ahead";
    all_arrive($ch, "$way: the messages arrive");

    ok eval { $step->move; 1 }, "$way: what is left moves" or diag $@;
    is publish_both($ch), '200 200', "$way: messages are taken at the target";
    $step->close;
    is publish_both($ch), '200 200',
        "$way: messages are taken when the target has the slot";

    is $cluster->command($to, 'XLEN', $ch->{key}), 8,
        "$way: all messages are in one stream";
    is_deeply keys_at($ch, $from), [], "$way: nothing is left at the source";
    all_arrive($ch, "$way: each message arrives once and in order");
    $ch->{sse}->close;
}


# --- a slot moves before its stream exists: nothing rings

my $none = channel_on($from);
$none->{sse} = open_stream($none);
ok wait_for(20, sub { connections($from)->{xinfo} || connections($from)->{xread}
                   }), 'a stream that does not exist is looked for';

$step = $cluster->migration($none->{key}, $to);
$step->open;

is publish_both($none), '200 200',
    'the first message of a stream goes to the target of its slot';
is $cluster->command($to, 'CLUSTER', 'COUNTKEYSINSLOT',
                     $cluster->slot($none->{key})) > 0, 1,
    'the target has the key before it has the slot';

my $started = time;
all_arrive($none, 'the first message of a stream arrives', 15);
note sprintf 'a stream made on the way arrived after %.1fs', time - $started;

$step->close;
is publish_both($none), '200 200',
    'messages are taken after the slot has moved';
all_arrive($none, 'messages arrive after the slot has moved', 15);

my $quiet = channel_on($from);
$quiet->{sse} = open_stream($quiet);

$step = $cluster->migration($quiet->{key}, $to);
$step->open;
$step->close;

is publish_both($quiet), '200 200',
    'a message is taken after a move that nothing told of';
$started = time;
all_arrive($quiet, 'a message arrives after a move that nothing told of', 15);
note sprintf 'a stream made after the move arrived after %.1fs',
    time - $started;


# --- a slot moves while nothing is published

my $idle = channel_on($from);
publish_both($idle);
$idle->{sse} = open_stream($idle);
all_arrive($idle, 'a stream is read to its end');

$step = $cluster->migration($idle->{key}, $to);
$step->open;
$step->move;
$step->close;

ok wait_for(20, sub { $cluster->owner($idle->{key}, $_) == $to ? 1 : 0 }),
    'the slot of an idle stream moves' for $from, $to;

is publish_both($idle), '200 200', 'a message is taken after an idle move';
$started = time;
all_arrive($idle, 'a message arrives after an idle move', 15);
note sprintf 'after an idle move a message arrived after %.1fs',
    time - $started;

all_arrive($_, 'the other channels have what they had') for @channels;


# --- a migration that is given up

my $stays = channel_on($from);

$step = $cluster->migration($stays->{key}, $to);
$step->open;

# a client that comes now is sent to the target, where nothing is

$stays->{sse} = open_stream($stays);
is $stays->{sse}->status, 200, 'a client comes while a slot migrates';

$step->cancel;

is publish_both($stays), '200 200',
    'when the migration is given up, messages are taken';
is $cluster->command($from, 'XLEN', $stays->{key}), 2,
    'when the migration is given up, messages are stored at the old master';

$started = time;
all_arrive($stays, 'when the migration is given up, messages are streamed', 15);
note sprintf 'after a migration that was given up a message arrived after '
             . '%.1fs', time - $started;


# --- a slot that nobody serves

my ($lost, $other) = @channels[2, 1];
my $slot = $cluster->slot($lost->{key});

$cluster->command($_, 'CONFIG', 'SET', 'cluster-require-full-coverage', 'no')
    for $cluster->ports;
$cluster->command($_, 'CLUSTER', 'DELSLOTS', $slot) for $cluster->ports;

ok wait_for(20, sub { try_publish($lost, 'publish')->{status} == 503 }),
    'without a master of its slot a message is refused with 503';

my $r = try_publish($lost, 'free');
is $r->{status}, 503, 'a slot that nobody serves: 503 again';
is $r->{headers}{'retry-after'}, 1,
    'a slot that nobody serves: when to try again';
like $r->{body}, qr/not stored/,
    'a slot that nobody serves: the message was not stored';

is publish_both($other), '200 200', 'other slots go on';
all_arrive($other, 'clients of other slots go on');

my $waiting = open_stream($lost);
is $waiting->status, 200, 'a client of the lost slot gets a 200';

# --- full coverage wanted: all of the cluster is down

$cluster->command($_, 'CONFIG', 'SET', 'cluster-require-full-coverage', 'yes')
    for $cluster->ports;
$cluster->command($_, 'CLUSTER', 'DELSLOTS', $slot - 1) for $cluster->ports;

ok wait_for(20, sub {
    $r = try_publish($other, 'publish');
    return $r->{status} == 503;
}), 'a cluster that is down is a 503';
is $r->{headers}{'retry-after'}, 1,
    'a cluster that is down: when to try again';

$cluster->command($masters[2], 'CLUSTER', 'ADDSLOTS', $slot - 1, $slot);

for my $ch ($lost, $other) {
    ok wait_for(60, sub { try_publish($ch, 'publish')->{status} == 200 }),
        'when the slot is served again, messages are taken';
    all_arrive($ch, 'messages are streamed in the old response', 15);
}

is scalar(my @late = $waiting->events(scalar @{ $lost->{acked} }, 10)),
    scalar @{ $lost->{acked} },
        'a client that waited for the slot gets the messages';
$waiting->close;

# a node that has not heard yet that the slot is served refuses what is for its
# own slots

$cluster->agree;


# --- the log

my ($errors, $again) = $nginx->redis_errors(0);

is_deeply $again, [], 'no error line says what was said before';
note "error log: $_" for @$errors;

is $nginx->stop, 0, 'NGINX quits';


# --- seeds that are gone

my @dead = map { Conduit::Servers::unused_port() } 1 .. 2;

$nginx = nginx_start(server => locations($cluster->url(@dead, $masters[2])));

$ch = channel_on($masters[0]);
$started = time;
$ch->{sse} = open_stream($ch);
is $ch->{sse}->status, 200, 'one seed of three is there: a stream is opened';

is try_publish($ch, 'publish')->{status}, 200,
    'one seed of three is there: a message is taken';
all_arrive($ch, 'the messages are streamed');
note sprintf 'with two dead seeds this took %.1fs', time - $started;

is $nginx->stop, 0, 'NGINX quits';

# it is waited for for a second; a machine that stands still so long is given
# another try

for my $try (1 .. 5) {
    $nginx = nginx_start(server => locations($cluster->url(@dead,
                                                           $masters[2])));
    $cluster->pause_for($masters[2], 0.3);
    $started = time;
    $r = try_publish($ch, 'publish');
    last if $r->{status} == 200 || time - $started < 0.9;
    $nginx->stop;
}

is $r->{status}, 200, 'a message waits for a seed that answers late';
is $nginx->stop, 0, 'NGINX quits';


# --- all seeds go when the masters are known: any of these is asked then

my @seeds = @replicas[0, 1];

$nginx = nginx_start(server => locations($cluster->url(@seeds)));

$ch = channel_on($masters[0]);
is publish_both($ch), '200 200', 'two replicas tell where to publish';
$ch->{sse} = open_stream($ch);
all_arrive($ch, 'two replicas tell where to read');

# those who ask the masters, one for publishing and one for streaming

sub topology_links {
    my $n = 0;

    $n += connections($_)->{cluster} // 0 for @_;
    return $n;
}

is topology_links(@masters), 0, 'no master is asked while the seeds are there';

$cluster->kill($_) for @seeds;

ok wait_for(20, sub { topology_links(@masters) == 2 }),
    'masters are asked when all seeds are gone';

is publish_both($ch), '200 200', 'messages are taken when all seeds are gone';
all_arrive($ch, 'messages are streamed when all seeds are gone');

my $moves = channel_on($masters[0]);
is publish_both($moves), '200 200',
    'messages of a new channel are taken when all seeds are gone';
$moves->{sse} = open_stream($moves);
all_arrive($moves, 'a new channel is read');

# the reader may be told of this by a reply, the publisher sends nothing

$step = $cluster->migration($moves->{key}, $masters[1]);
$step->open;
$step->move;
$step->close;

ok wait_for(20, sub { $nginx->error_log =~ /slots have moved/ }),
    'a master tells that a slot has moved';

is publish_both($moves), '200 200', 'messages are taken at its new master';
all_arrive($moves, 'messages are read at its new master');
is $cluster->command($masters[1], 'XLEN', $moves->{key}), 4,
    'the new master has all four';

is $nginx->stop, 0, 'NGINX quits';

done_testing();
