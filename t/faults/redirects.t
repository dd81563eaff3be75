# Copyright (C) Conduit for NGINX authors
#
# MOVED and ASK without a host name: "MOVED 1234 :7001" (unknown-endpoint), or
# "?" (a host name is preferred and none is announced).  The command goes to the
# host that answered, at the port that the reply names.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Fake;
use Conduit::Metrics qw(metrics pages);
use Conduit::Servers;
use Test::More;

plan skip_all => 'Redis 6 always tells an address'
    if redis_version() < 7_000_000;

my $cluster = Conduit::Servers->cluster(masters => 2, replicas => 0);
my ($here, $there) = $cluster->masters;

# a name that nobody has (RFC 2606)
my $STRANGER = 'redis-0.redis.invalid';

my ($nginx, $worker, $seed);

# NGINX with a seed that tells of the first master only, by its name and
# address.

sub start {
    my ($name, @values) = @_;

    $seed = Conduit::Servers->new->pretender(CLUSTER => [
        [0, 16383, [$name, $here, \('0' x 40), \@values]]]);

    my @redis = (redis => "redis+cluster://127.0.0.1:$seed");

    $nginx = nginx_start(server =>
        pages() . publish_location('conduit_publish_rate off;', @redis)
        . gateway_location('conduit_gateway_drain 200ms;', @redis));
    ($worker) = $nginx->workers;
}

sub stop {
    is_deeply [$nginx->workers], [$worker], 'the worker lives';
    is scalar(grep { /\[(?:error|crit|alert)\]/ } split /^/, $nginx->error_log),
        0, 'no error is logged';
    is $nginx->stop, 0, 'NGINX quits';
}

sub channel_on {
    my $port = shift;
    my $id = $cluster->channel_on($port);

    return { id => $id, key => stream_key($ORG, $id), ids => [] };
}

sub post {
    my ($ch, $title) = @_;

    my $r = http($nginx, 'POST', "/publish/$ORG/$ch->{id}",
                 body => message(channel_id => $ch->{id}),
                 headers => { Authorization => 'Bearer ' . publish_token() });

    is $r->{status}, 200, $title;
    push @{ $ch->{ids} }, $r->{body};
}

sub redirects { return metrics($nginx, $_[0])->{redis_redirects_total} }

# the connections of gateways that hear of new messages
sub bells { return grep { $_->{flags} eq 'P' } $cluster->clients($_[0]) }

sub answer {
    my ($port, $key) = @_;

    return eval { $cluster->command($port, 'XLEN', $key) }
           // $@ =~ /^redis: (.*)\n/ && $1;
}

# Publishes to a channel of which the first master says that it is elsewhere,
# and reads it.

sub follows {
    my ($title, $ch, $redirect) = @_;

    is answer($here, $ch->{key}), $redirect, "$title: Redis says $redirect";

    my $before = redirects('publish');

    post($ch, "$title: a message is taken");
    is redirects('publish'), $before + 1, 'a message is redirected once';

    my $sse = sse_open($nginx, channel_id => $ch->{id});

    is_deeply [map { $_->{id} } $sse->events(1, 20)], $ch->{ids},
        'the message is streamed';
    cmp_ok redirects('gateway'), '>=', 1, 'a stream is redirected';

    post($ch, 'another one is taken');
    is_deeply [map { $_->{id} } $sse->events(1, 20)], [$ch->{ids}[1]],
        'the second message is streamed';
    $sse->close;
}

my %TYPES = ('unknown-endpoint' => '', hostname => '?');

for my $type (sort keys %TYPES) {
    my $host = $TYPES{$type};

    $cluster->command($_, qw(CONFIG SET cluster-preferred-endpoint-type),
                      $type) for $here, $there;

    start(\'127.0.0.1');

    my $ch = channel_on($there);
    my $slot = $cluster->slot($ch->{key});

    follows("MOVED, host \"$host\"", $ch, "MOVED $slot $host:$there");
    is answer($there, $ch->{key}), 2, 'both are at the second master';
    stop();

    # the slot is on its way, and what is new goes ahead

    start(\'127.0.0.1');

    $ch = channel_on($here);
    $slot = $cluster->slot($ch->{key});

    my $step = $cluster->migration($ch->{key}, $there);

    $step->open;
    follows("ASK, host \"$host\"", $ch, "ASK $slot $host:$there");
    is_deeply $cluster->command($here, qw(CLUSTER GETKEYSINSLOT), $slot, 10),
        [], 'nothing is at the source';
    $step->close;
    is answer($there, $ch->{key}), 2, 'both are at the target';
    stop();
}

# the server that answers is known by a name, which no worker looks up: "the same
# host" is its address

$cluster->command($_, qw(CONFIG SET cluster-preferred-endpoint-type
                         unknown-endpoint)) for $here, $there;
start(\$STRANGER, \'ip', \'127.0.0.1');

my $ch = channel_on($there);
my $slot = $cluster->slot($ch->{key});

follows('MOVED by a server with a name', $ch, "MOVED $slot :$there");
stop();

# what MOVED told is used while nobody tells more: the seed, which tells of the
# first master only, does not answer any more

my $silent = "$Conduit::TMP/silent";
my $fake = Conduit::Fake->start(sub {
    my $name = uc $_[0];

    return "+PONG\r\n" if $name eq 'PING';
    return Conduit::Fake::encode([
        [0, 16383, [\'127.0.0.1', $here, \('0' x 40), []]]]) if !-e $silent;

    write_file("$silent-asked", '');
    return;
});

$nginx = nginx_start(server => pages() . publish_location(
    'conduit_publish_rate off;',
    redis => 'redis+cluster://127.0.0.1:' . $fake->port));
($worker) = $nginx->workers;

publish($nginx);
$ch = channel_on($there);
write_file($silent, '');
ok wait_for(20, sub { -e "$silent-asked" }), 'the seed is asked again';
publish($nginx, channel_id => $ch->{id});

my $before = redirects('publish');

publish($nginx, channel_id => $ch->{id});
is redirects('publish'), $before,
    'the second message goes straight to the second master';
$nginx->stop;
$fake->stop;

# a slot that no server holds, by the map: MOVED is the first that tells of it

my $moved;
$fake = Conduit::Fake->start(sub {
    my ($name) = map { uc } @_;

    return "-MOVED 16383 127.0.0.1:$here\r\n" if $name =~ /^EVAL/;
    return Conduit::Fake::encode([
        [0, 16382, [\'127.0.0.1', $moved, \('0' x 40), []]]])
        if $name eq 'CLUSTER';

    return $name eq 'PING' ? "+PONG\r\n" : "+OK\r\n";
}, port => $moved = Conduit::Servers::unused_port());

$nginx = nginx_start(server => pages() . publish_location(
    'conduit_publish_rate off;', redis => "redis+cluster://127.0.0.1:$moved"));
($worker) = $nginx->workers;

$ch = channel_on($here);
post($ch, 'MOVED with a slot that is not in the map: the message is taken');
is redirects('publish'), 1, 'it is redirected once';
is answer($here, $ch->{key}), 1, 'it is at the server that MOVED names';
stop();
$fake->stop;

# nothing is at the second master, says the seed: the gateway leaves it once it
# reads nothing there

start(\'127.0.0.1');
$ch = channel_on($there);
post($ch, 'a message is taken');

my $client = sse_open($nginx, channel_id => $ch->{id});

ok $client->event(20), 'a client of the second master is served';
ok wait_for(20, sub { bells($there) }), 'the second master is connected to';
$client->close;
ok wait_for(20, sub { !bells($there) }), 'the connection to the second master is closed after it';
stop();

# a migration that was broken off: either server sends what is new to the other
# one

start(\'127.0.0.1');

$ch = channel_on($here);
$slot = $cluster->slot($ch->{key});
$cluster->command($here, 'CLUSTER', 'SETSLOT', $slot, 'MIGRATING',
                  $cluster->command($there, 'CLUSTER', 'MYID'));

is answer($here, $ch->{key}), "ASK $slot :$there", 'the source says ASK';
is answer($there, $ch->{key}), "MOVED $slot :$here", 'the target says MOVED';

my $resumes = eval {
    sse_open($nginx, channel_id => $ch->{id},
             headers => { 'Last-Event-ID' => '1-1' });
};

is $resumes && $resumes->status, 200, 'a client that resumes has its header';

$cluster->command($here, 'CLUSTER', 'SETSLOT', $slot, 'STABLE');
post($ch, 'a message is taken when that is settled');

# its position is one that the stream does not know

my @events = $resumes ? $resumes->events(2, 20) : ();
is_deeply [map { "$_->{event} $_->{id}" } @events],
    ['control 1-1', "stream $ch->{ids}[0]"], 'the client gets it';
stop();

done_testing();
