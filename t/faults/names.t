# Copyright (C) Conduit for NGINX authors
#
# Servers that Sentinels or nodes announce by name, or without a name.  A worker
# resolves no names: those in the URL were resolved with the configuration.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Servers;
use Test::More;
use Time::HiRes qw(sleep);

# the servers named are this one, whoever answers for the deployment
my $PORT = $Conduit::REDIS_PORT;

# a name that nobody has (RFC 2606)
my $STRANGER = 'redis-0.redis.invalid';

my $servers = Conduit::Servers->new;
my $sequence = 0;

# what a Sentinel says of the master
sub sentinel {
    my $host = shift;

    return $servers->pretender(SENTINEL => [\$host, \"$PORT"]);
}

# what a node of a cluster says of the master of all slots
sub cluster {
    my ($host, @values) = @_;

    return $servers->pretender(CLUSTER => [
        [0, 16383, [$host, $PORT, \('0' x 40), @values]]]);
}

sub start {
    my $url = shift;

    return nginx_start(server =>
        publish_location('conduit_publish_rate off;'
                         . 'conduit_publish_timeout 2s;', redis => $url)
        . gateway_location('conduit_gateway_drain 200ms;'
                           . 'conduit_gateway_outage 2s;', redis => $url));
}

sub try_publish {
    my $nginx = shift;

    return http($nginx, 'POST', "/publish/$ORG/$CHANNEL",
                body => message(sequence => ++$sequence),
                headers => { Authorization => 'Bearer ' . publish_token() });
}

sub is_found {
    my ($title, $url) = @_;

    my $nginx = start($url);

    is try_publish($nginx)->{status}, 200, "$title: a message is taken";

    my $sse = sse_open($nginx);
    my ($event) = ($sse->events($sequence))[-1];

    is $event && $event->{json}{sequence}, $sequence,
        "$title: a message is streamed";
    unlike $nginx->error_log, qr/\[error\]/, "$title: no error is logged";

    $nginx->stop;
    redis('FLUSHALL');
    $sequence = 0;
}

sub is_unknown {
    my ($title, $url, $advice) = @_;

    my $nginx = start($url);

    is try_publish($nginx)->{status}, 503, "$title: a message is not taken";

    my $sse = sse_open($nginx);
    is $sse->status, 200, "$title: a stream is opened";
    ok $sse->end(20), "$title: the stream ends";
    like $sse->body, qr/Too many errors/,
        "$title: the stream ends as in an outage";

    is try_publish($nginx)->{status}, 503,
        "$title: a second message is not taken";
    sleep 1.5;

    my @lines = $nginx->error_log =~ /^.*\[error\].* conduit: redis .*$/mg;

    is scalar(@lines), 2,
        "$title: one line is logged for publishing, one for reading";
    is scalar(grep { /"\Q$STRANGER\E".*\($advice/ } @lines), 2,
        "$title: the lines name the host, and say what to do";
    note $_ for @lines;

    is $nginx->stop, 0, 'NGINX quits';
    $sequence = 0;
}


# --- a Sentinel

my $s = sentinel('localhost');

is_found('Sentinel, a name of the URL',
         "redis+sentinel://localhost:$s/mymaster");
is_found('Sentinel, a name of the URL in another case',
         "redis+sentinel://LocalHost:$s/mymaster");
is_found('Sentinel, a name that is not the first one',
         "redis+sentinel://127.0.0.1:$s,localhost:$s/mymaster");
is_found('Sentinel, an address',
         'redis+sentinel://localhost:' . sentinel('127.0.0.1') . '/mymaster');
is_unknown('Sentinel, a name that is not in the URL',
           'redis+sentinel://127.0.0.1:' . sentinel($STRANGER) . '/mymaster',
           'sentinel announce-hostnames no');


# --- another Sentinel may know better; chance says which one is asked first

for my $names (['127.0.0.1', $STRANGER], [$STRANGER, '127.0.0.1']) {
    my $list = join ',', map { '127.0.0.1:' . sentinel($_) } @$names;
    my $nginx = start("redis+sentinel://$list/mymaster");

    ok wait_for(20, sub { try_publish($nginx)->{status} == 200 }),
        'Sentinel: the next Sentinel is asked';
    my $sse = sse_open($nginx);
    is $sse->status, 200,
        'Sentinel: a stream is opened after the next Sentinel was asked';
    ok $sse->event,
        'Sentinel: a stream is served after the next Sentinel was asked';
    $nginx->stop;
    redis('FLUSHALL');
    $sequence = 0;
}


# --- a cluster

my $ip = [\'ip', \'127.0.0.1'];
my $elsewhere = [\'ip', \'127.0.0.77'];

is_found("Cluster, $_->[0]", 'redis+cluster://127.0.0.1:' . cluster(@$_[1, 2]))
    for ['an address', \'127.0.0.1', []],
        ['a name and its address', \$STRANGER, $ip],
        ['a name, and nothing as address', \$STRANGER, [\'ip', \'']],
        ['nil, which is where the answer came from', undef, []],
        ['nil, whatever the address', undef, $elsewhere],
        ['an empty name, which is where the answer came from', \'', []],
        ['a "?", which is where the answer came from', \'?', []],
        ['a "?" with nothing as address', \'?', [\'ip', \'']],
        ['a "?" with an address', \'?', $ip],
        ['no values', undef],
        ['a "?", no values', \'?'];

is_found('Cluster, a name of the URL',
         'redis+cluster://localhost:' . cluster(\'localhost', []));
is_unknown('Cluster, a name that is not in the URL',
           'redis+cluster://127.0.0.1:' . cluster(\$STRANGER, []),
           'cluster-preferred-endpoint-type ip');


# --- a "?" for each of several servers: their addresses tell them apart

{
    my $slot = 8192;
    my $node = $servers->pretender(CLUSTER => [
        [0, $slot - 1, [\'?', $PORT, \'a', $ip]],
        [$slot, 16383, [\'?', $PORT, \'b', [\'ip', \'127.0.0.2']]]]);
    my $nginx = start("redis+cluster://127.0.0.1:$node");
    my %statuses;

    for (1 .. 20) {
        my $channel = uuid();
        my $r = http($nginx, 'POST', "/publish/$ORG/$channel",
                     body => message(channel_id => $channel),
                     headers => { Authorization =>
                                  'Bearer ' . publish_token() });
        $statuses{$r->{status}}++;
    }

    is_deeply [sort keys %statuses], [200, 503],
        'two servers without names are two servers';
    $nginx->stop;
}

done_testing();
