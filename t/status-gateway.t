# Copyright (C) Conduit for NGINX authors
#
# The metrics of the gateway: each event moves its counters by one, and no
# others; gauges show the present state.

use strict;
use warnings;

use lib 't/lib', 't/faults';

use Conduit;
use Conduit::Metrics;
use Faults ();
use IO::Select;
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_RCVBUF inet_aton pack_sockaddr_in);
use Test::More;
use Time::HiRes qw(time);

my $NODE = "127.0.0.1:$Conduit::REDIS_PORT";

my %LOCATIONS = (
    open => '',
    window => 'conduit_gateway_window 1;',
    alive => 'conduit_gateway_keepalive 50ms;',
    short => 'conduit_gateway_max_duration 300ms;',
    told => 'conduit_gateway_max_duration 300ms;'
            . 'conduit_gateway_drain_event on;',
    large => 'conduit_gateway_window 4m; conduit_gateway_buffer_size 4m;',
    stuck => 'conduit_gateway_window 4m; conduit_gateway_buffer_size 4m;'
             . 'conduit_gateway_retry 501ms; send_timeout 500ms;',
    poll => 'conduit_gateway_wakeup poll 20ms;',
    stop => 'conduit_gateway_after_end stop;',
);

my $locations = pages()
    . gateway_location()
    . gateway_location('conduit_gateway_expire on;') =~ s{events}{expire}r
    . gateway_location() =~ s{events}{kid}r
                         =~ s{(jwt_key_file \S+);}{$1 kid=one;}r
    . join '', map { gateway_location("conduit_gateway_auth off;"
                                      . $LOCATIONS{$_}) =~ s{events}{$_}r }
      sort keys %LOCATIONS;

my $small_port = free_port();
my $nginx = nginx_start(server => $locations, http => <<"EOC");
    conduit_gateway_drain 200ms;
    conduit_gateway_outage 1s;
    conduit_gateway_keepalive off;

    server {
        listen 127.0.0.1:$small_port sndbuf=8k;
$locations
    }
EOC


sub outcome { return qq(requests_total{outcome="$_[0]"}) }

sub denied { return qq(auth_failures_total{reason="$_[0]"}) }

sub lost { return qq(history_lost_total{reason="$_[0]"}) }

sub closed { return qq(closed_total{reason="$_[0]"}) }

sub pulled { return qq(pulls_total{result="$_[0]"}) }

# the status of an answer in JSON
sub pull {
    my ($where, $channel, $args) = @_;

    my $r = http($nginx, 'GET', path($where, $channel) . ($args // ''),
                 headers => { Accept => 'application/json' });

    return $r->{status};
}

sub counts {
    my ($title, $code, %expected) = @_;

    moves($nginx, 'gateway', $title, $code, %expected);
}

# links are named by server and role
sub links { return qq(redis_links{node="$_[0]",link="$_[1]"}) }

sub up { return links(@_) =~ s/links/links_up/r }

sub gauge {
    my ($name, $value, $title) = @_;

    becomes($nginx, 'gateway', $name, $value, $title);
}

# a location that asks for no token
sub path {
    my ($where, $channel) = @_;

    return "/$where/$ORG?channel_id=$channel";
}

sub subscribe {
    my ($where, $channel, $after) = @_;

    return sse_open($nginx, path => path($where, $channel),
                    headers => defined $after ? { 'Last-Event-ID' => $after }
                                              : {});
}

# Entries 1000-<first> to 1000-<last>; returns their IDs.
sub fill {
    my ($channel, $first, $last, %f) = @_;

    return map { xadd(channel_id => $channel, sequence => $_, id => "1000-$_",
                      %f) } $first .. $last;
}

sub line_of {
    return join ' ', map { $_->{json}{sequence} // $_->{json}{control_type}
                           // $_->{event} } @_;
}

# Has the hub of a location connected.
sub warm_up {
    my $where = shift;
    my $channel = uuid();

    xadd(channel_id => $channel, phase => 'END');
    ok subscribe($where, $channel)->end(20), "/$where is connected to Redis";
}

warm_up($_) for sort keys %LOCATIONS;


# --- refusals

my $path = events_path();
my ($query) = $path =~ /\?(.*)/;

sub get {
    my ($path, %o) = @_;

    return http($nginx, $o{method} // 'GET', $path, timeout => 20,
                headers => $o{headers} // {}, body => $o{body})->{status};
}

for my $case (
    ['no channel', "/open/$ORG", {}],
    ['an org that is none', "/open/x?channel_id=$CHANNEL", {}],
    ['a body', path('open', $CHANNEL),
     { headers => { 'Content-Length' => 100 }, body => undef }])
{
    my ($name, $path, $o) = @$case;

    counts($name, sub { is get($path, %$o), 400 }, outcome('invalid') => 1);
}

counts('no token', sub { is get("/events/$ORG?channel_id=$CHANNEL"), 400 },
       outcome('invalid') => 1, denied('missing') => 1);
counts('two tokens', sub { is get("$path&token=x"), 400 },
       outcome('invalid') => 1, denied('format') => 1);

for my $case (
    [expired => exp => int(time) - 3600],
    [not_yet_valid => nbf => int(time) + 3600],
    [algorithm => -alg => 'HS256'],
    [issuer => iss => 'another'],
    [audience => aud => 'another'],
    [claim => org_id => undef],
    [claim => channel_id => 'x'])
{
    my ($name, %claims) = @$case;
    my $token = gateway_token(%claims);

    counts("a token: $name", sub { is get(events_path(token => $token)), 401 },
           outcome('unauthorized') => 1, denied($name) => 1);
}

counts('a token: malformed', sub { is get(events_path(token => 'a.b')), 401 },
       outcome('unauthorized') => 1, denied('malformed') => 1);
counts('a token: kid', sub {
    my $token = gateway_token(-kid => 'two');
    is get(events_path(token => $token) =~ s/events/kid/r), 401;
}, outcome('unauthorized') => 1, denied('kid') => 1);
counts('a token: signature', sub {
    my ($text, $sign) = gateway_token() =~ /(.*\.)(.*)/;
    my ($other) = gateway_token(exp => int(time) + 60) =~ /.*\.(.*)/;
    is get(events_path(token => "$text$other")), 401;
}, outcome('unauthorized') => 1, denied('signature') => 1);
counts('a token of another channel', sub {
    is get(events_path(token => gateway_token(channel_id => uuid()))), 403;
}, outcome('forbidden') => 1, denied('org_or_channel') => 1);

counts('a wrong method', sub { is get($path, method => 'PUT'), 405 },
       outcome('method') => 1);
counts('a preflight', sub { is get($path, method => 'OPTIONS'), 204 },
       outcome('preflight') => 1);
counts('a HEAD', sub { is get($path, method => 'HEAD'), 200 },
       outcome('turned_away') => 1);


# --- a subscriber, and what it gets

my $channel = uuid();
my ($sse, $second, $before, $now, $id);

gauge('subscribers', 0, 'nobody is there');

counts('a subscriber', sub { $sse = subscribe('open', $channel) },
       outcome('accepted') => 1, look_ups_total => 1);
gauge('subscribers', 1);
gauge('channels', 1);

counts('another one of the channel',
       sub { $second = subscribe('open', $channel) },
       outcome('accepted') => 1);
gauge('subscribers', 2);
gauge('channels', 1);

$before = metrics($nginx, 'gateway');
my $start = time;

# the workers stand still until Redis' clock is 300 ms past the entry's ID
counts('an event for both', sub {
    my @workers = $nginx->workers;

    kill 'STOP', @workers;
    stopped($_) or die 'a worker does not stop' for @workers;

    my ($ms) = xadd(channel_id => $channel, sequence => 7) =~ /^(\d+)/;

    wait_for(20, sub {
        my ($s, $us) = @{ redis('TIME') };
        return $s * 1000 + $us / 1000 >= $ms + 300;
    }) or die 'time stands still';

    kill 'CONT', @workers;
    is line_of($_->event(20)), 7 for $sse, $second;
}, events_total => 2, writes_total => 2, frames_total => 1,
   doorbells_total => 1,
   look_ups_total => 1, delivery_seconds_count => 2);

my $took = time - $start;
$now = metrics($nginx, 'gateway');

# a message's delivery is from Redis' millisecond on
my $sum = $now->{delivery_seconds_sum} - $before->{delivery_seconds_sum};
cmp_ok $sum, '>=', 2 * 0.3, 'times of delivery are not shorter than they were';
cmp_ok $sum, '<=', 2 * ($took + 0.1),
    'times of delivery are not longer than they were';

my @buckets = buckets($now, 'delivery_seconds');
is scalar(@buckets), 15, 'times of delivery have 15 buckets';
is $now->{delivery_seconds_count},
    $now->{'delivery_seconds_bucket{le="+Inf"}'},
        'the last bucket has all times of delivery';

counts('an entry that is no message', sub {
    redis('XADD', stream_key($ORG, $channel), '*', 'data', 'x');
}, skipped_total => 1, doorbells_total => 1, reads_total => 1);

counts('a ring for nothing', sub {
    redis('PEXPIRE', stream_key($ORG, $channel), 600_000);
}, doorbells_total => 1, doorbells_spurious_total => 1, reads_total => 1);

counts('a client that goes', sub { $second->close }, closed('client') => 1);
gauge('subscribers', 1);
gauge('channels', 1);

counts('the end', sub {
    xadd(channel_id => $channel, phase => 'END', sequence => 8);
    ok $sse->end(20);
}, closed('end') => 1, events_total => 1, writes_total => 1, frames_total => 1,
   doorbells_total => 1, reads_total => 1, delivery_seconds_count => 1);
gauge('subscribers', 0);
gauge('channels', 0);

# the bytes of a response are all of it, but for the chunks

$channel = uuid();
my @ids = fill($channel, 1, 9);
xadd(channel_id => $channel, phase => 'END', id => '1000-10');
$before = metrics($nginx, 'gateway');
$sse = subscribe('open', $channel);
ok $sse->end(20), 'a stream is read from its history';
$now = metrics($nginx, 'gateway');

is $now->{bytes_total} - $before->{bytes_total}, length $sse->body,
    'bytes are counted as they are in the body';
is $now->{events_total} - $before->{events_total}, 10, 'ten events are counted';
is $now->{delivery_seconds_count}, $before->{delivery_seconds_count},
    'a delivery of what is older than the request is not timed';

counts('a position at the end', sub {
    is subscribe('stop', $channel, '1000-10')->status, 204;
}, outcome('accepted') => 1, closed('end') => 1, look_ups_total => 1);

counts('a client that waits after the end', sub {
    $sse = subscribe('open', $channel, '1000-10');
    is $sse->status, 200;
}, outcome('accepted') => 1, look_ups_total => 1);
$sse->close;
gauge('subscribers', 0);


# --- positions, behind and lost

$channel = uuid();
fill($channel, 1, 5);

counts('a position', sub {
    $sse = subscribe('open', $channel, '1000-3');
    is line_of($sse->events(2, 20)), '4 5';
}, outcome('accepted') => 1, look_ups_total => 1, events_total => 2,
   writes_total => 1, frames_total => 2);

counts('a stream that was deleted', sub {
    redis('DEL', stream_key($ORG, $channel));
}, doorbells_total => 1, look_ups_total => 2, restarts_total => 1,
   reads_total => 1);

counts('a stream made anew', sub {
    fill($channel, 1, 1);
    is line_of($sse->events(1, 20)), 1;
}, doorbells_total => 1, look_ups_total => 1, events_total => 1,
   writes_total => 1,
   frames_total => 1, delivery_seconds_count => 0);
$sse->close;
gauge('subscribers', 0);

fill($channel, 2, 5);
redis('XTRIM', stream_key($ORG, $channel), 'MAXLEN', '=', 2);

# what is kept comes after a gap: it is asked for again, as one who is behind
counts('a position that was trimmed', sub {
    $sse = subscribe('open', $channel, '1000-1');
    is line_of($sse->events(3, 20)), 'history_lost 4 5';
}, outcome('accepted') => 1, lost('trimmed') => 1, events_total => 2,
   writes_total => 1,
   frames_total => 4, look_ups_total => 1, catch_up_reads_total => 1);
$sse->close;
gauge('subscribers', 0);

counts('a position of a stream that is no more', sub {
    $sse = subscribe('open', $channel, '2000-1');
    is line_of($sse->events(3, 20)), 'history_lost 4 5';
}, outcome('accepted') => 1, lost('gone') => 1, events_total => 2,
   writes_total => 1,
   frames_total => 2, look_ups_total => 2, catch_up_reads_total => 1);
$sse->close;
gauge('subscribers', 0);

$channel = uuid();
fill($channel, 1, 5);
$sse = subscribe('window', $channel);
is line_of($sse->events(5, 20)), '1 2 3 4 5',
    'a client is at the end of its stream';

counts('one that is behind', sub {
    $second = subscribe('window', $channel);
    is line_of($second->events(5, 20)), '1 2 3 4 5';
}, outcome('accepted') => 1, catch_up_reads_total => 1, events_total => 5,
   writes_total => 1, frames_total => 5);
$_->close for $sse, $second;
gauge('subscribers', 0);


# --- idle ones, slow ones

$channel = uuid();
$before = metrics($nginx, 'gateway');
$sse = subscribe('alive', $channel);
ok $sse->comment(20), 'an idle client gets a comment' for 1 .. 2;
xadd(channel_id => $channel, phase => 'END');
ok $sse->end(20), 'a client that had comments gets the end';
$now = metrics($nginx, 'gateway');
is $now->{keepalives_total} - $before->{keepalives_total},
    scalar(my @comments = $sse->comments), 'comments are counted';
is $now->{bytes_total} - $before->{bytes_total}, length $sse->body,
    'the bytes of comments are counted';

# A client that does not read, with room for little on both sides.
sub stall {
    my ($where, $channel) = @_;
    my $s = IO::Socket::INET->new(Proto => 'tcp') or die "socket: $!";

    setsockopt $s, SOL_SOCKET, SO_RCVBUF, pack 'i', 4096;
    connect $s, pack_sockaddr_in($small_port, inet_aton('127.0.0.1'))
        or die "connect: $!";
    $s->syswrite('GET ' . path($where, $channel)
                 . " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    return $s;
}

# another client has brought all into the window: the slow one is given it at
# once

$channel = uuid();
fill($channel, 1, 40, payload => { v => 'x' x 10000 });
$sse = subscribe('large', $channel);
$sse->events(40, 20);
$before = metrics($nginx, 'gateway');
my $slow = stall('large', $channel);

gauge('slow_subscribers', 1);
$now = metrics($nginx, 'gateway');
is $now->{slow_total} - $before->{slow_total}, 1,
    'a slow client is counted once';
is $now->{events_total} - $before->{events_total}, 40,
    'all events for a slow client are counted when they are under way';

my $n = 0;

while ($n < 400_000 && IO::Select->new($slow)->can_read(20)) {
    $n += sysread $slow, my $data, 65536 or last;
}

cmp_ok $n, '>=', 400_000, 'a slow client reads on';
gauge('slow_subscribers', 0);
is metrics($nginx, 'gateway')->{slow_total} - $before->{slow_total}, 1,
    'a slow client that has caught up is still counted once';
counts('a slow client goes', sub { close $slow }, closed('client') => 1);
$sse->close;
gauge('subscribers', 0);

$before = metrics($nginx, 'gateway');
$slow = stall('stuck', $channel);
gauge(closed('timeout'), $before->{closed('timeout')} + 1,
      'a client that never reads times out');
gauge('slow_subscribers', 0);
gauge('subscribers', 0);
close $slow;


# --- answers in JSON

$channel = uuid();

counts('an array without an event',
       sub { is pull('open', $channel), 200, 'an array without an event' },
       outcome('accepted') => 1, pulled('empty') => 1, look_ups_total => 1);
xadd(channel_id => $channel, phase => $_) for qw(START DELTA END);
counts('an array of events',
       sub { is pull('open', $channel), 200, 'an array of events' },
       outcome('accepted') => 1, pulled('events') => 1, events_total => 3,
       frames_total => 3, look_ups_total => 1);

my $end = xadd(channel_id => $channel, phase => 'END');

counts('an array that has nothing to wait for',
       sub { is pull('stop', $channel, "&last_event_id=$end"), 204,
             'an array that has nothing to wait for' },
       outcome('accepted') => 1, pulled('end') => 1, look_ups_total => 1);
counts('an invalid time to wait',
       sub { is pull('open', $channel, '&wait=x'), 400,
             'an invalid time to wait' },
       outcome('invalid') => 1);

my $poll = Conduit::SSE->open($nginx->port, 'GET',
                              path('open', uuid()) . '&wait=60s', later => 1,
                              headers => { Accept => 'application/json' });

gauge('pulls', 1, 'a request that waits is counted');
gauge('subscribers', 0, 'a request that waits is no subscriber');
gauge('channels', 1, 'a request that waits has a channel');
$poll->close;
gauge('pulls', 0, 'a request that waits no more is not counted');
gauge('channels', 0, 'a request that waits no more has no channel');


# --- ends

$channel = uuid();

counts('a time that is over',
       sub { ok subscribe('short', $channel)->end(20) },
       outcome('accepted') => 1, closed('duration') => 1,
       look_ups_total => 1);
counts('a time that is over, with a token that does not last',
       sub { ok subscribe('told', $channel)->end(20) },
       outcome('accepted') => 1, closed('duration') => 1,
       server_draining_total => 1, look_ups_total => 1);

my $token = gateway_token(exp => int(time) - 53);
my $expire = events_path(token => $token) =~ s/events/expire/r;
$before = metrics($nginx, 'gateway');
ok sse_open($nginx, path => $expire)->end(20), 'a response ends with its token';
gauge(closed('expired'), $before->{closed('expired')} + 1);

my @clients = map { subscribe('open', $channel) } 1 .. 3;
$before = metrics($nginx, 'gateway');
my @old = $nginx->workers;
$nginx->reload;
ok $_->end(20), 'a reload ends a response' for @clients;
wait_for(20, sub { !grep { my $w = $_; grep { $_ == $w } @old }
                   $nginx->workers }) or die 'the old worker stays';

$now = metrics($nginx, 'gateway');
is $now->{closed('drain')} - $before->{closed('drain')}, 3,
    'responses that a reload ends are counted';
is_deeply { map { $_ => $now->{$_} - $before->{$_} }
            grep { !/^redis_/ && $now->{$_} != $before->{$_} } keys %$now },
    { closed('drain') => 3, subscribers => -3, channels => -1 },
    'a reload keeps the other counters, not the gauges';
ok !exists $now->{links($NODE, 'bell')},
    'a reload takes the links of the old worker away';

$nginx->stop;


# --- two workers

$nginx = nginx_start(workers => 2, expect => qr/exited on signal 9/, server =>
    pages() . gateway_location('conduit_gateway_auth off;'
                               . 'conduit_gateway_drain 200ms;'));

@clients = ();
ok wait_for(60, sub {
    push @clients, subscribe('events', $channel);
    metrics($nginx, 'gateway')->{channels} == 2;
}), 'both workers have subscribers of a channel';

gauge('subscribers', scalar @clients,
      'subscribers of both workers are added up');
gauge(up($NODE, $_), 2, "each worker has a $_") for qw(bell reader);

my ($one) = $nginx->workers;
kill 'KILL', $one;
ok wait_for(20, sub { my @w = $nginx->workers;
                      @w == 2 && !grep { $_ == $one } @w }),
    'a worker is killed, another one starts';

gauge('channels', 1, 'the channel of a killed worker is gone');
my $left = grep { !$_->eof(0.2) } @clients;

cmp_ok $left, '>', 0, 'some subscribers are at the worker that is left';
cmp_ok $left, '<', @clients, 'some subscribers were at the killed worker';
gauge('subscribers', $left,
      'only subscribers of the worker that is left are counted');
gauge(links($NODE, $_), 1, "one $_ is left") for qw(bell reader);
is metrics($nginx, 'gateway')->{outcome('accepted')}, scalar @clients,
    'counters keep what a killed worker has counted';

$_->close for @clients;
gauge('subscribers', 0);
$nginx->stop;


# --- a Redis that does not ring, and one that goes

my $proxy = Faults::Proxy->start($NODE);
my $node = $proxy->url =~ s{redis://}{}r;

$nginx = nginx_start(server => pages() . gateway_location(
    'conduit_gateway_auth off; conduit_gateway_keepalive off;'
    . 'conduit_gateway_timeout 30s; conduit_gateway_outage 1s;',
    redis => $proxy->url));

my @channels = map { uuid() } 1 .. 40;
@clients = map { subscribe('events', $_) } @channels;

gauge('subscribers', 40);
gauge('channels', 40);
gauge(links($node, $_), 1, "one $_") for qw(bell reader);
gauge(up($node, $_), 1, "the $_ is up") for qw(bell reader);

# all has been read once, and waits for a ring
xadd(channel_id => $_) for @channels;
ok $_->event(20), 'each client gets an event after a ring' for @clients;

$proxy->tell('bell');
$before = metrics($nginx, 'gateway');
xadd(channel_id => $_) for @channels;

my %moved;
ok wait_for(30, sub {
    $now = metrics($nginx, 'gateway');
    %moved = map { $_ => $now->{$_} - $before->{$_} } keys %$now;
    $moved{sweeps_found_total} >= 5
    && $moved{sweeps_found_total} == $moved{events_total};
}), 'entries that did not ring are found by sweeps';

is $moved{doorbells_total}, 0, 'sweeps find entries without a ring';
cmp_ok $moved{sweeps_total}, '>=', $moved{sweeps_found_total},
    'each entry without a ring takes one sweep';
cmp_ok $moved{sweeps_total}, '<=', 40,
    'sweeps find five entries in less than a round';
is $moved{reads_total}, $moved{sweeps_total}, 'each sweep is a read';

$before = metrics($nginx, 'gateway');
$proxy->tell('close');

gauge(up($node, $_), 0, "the $_ is lost") for qw(bell reader);
ok $_->end(20), 'an outage ends a response' for @clients;
gauge('subscribers', 0);

$now = metrics($nginx, 'gateway');
is $now->{closed('outage')} - $before->{closed('outage')}, 40,
    'responses that an outage ends are counted';
is $now->{doorbells_lost_total} - $before->{doorbells_lost_total}, 1,
    'an outage loses one doorbell';
is $now->{redis_connections_lost_total}
   - $before->{redis_connections_lost_total}, 2,
       'an outage loses two connections';
ok wait_for(20, sub {
    metrics($nginx, 'gateway')->{redis_connect_failures_total}
    > $before->{redis_connect_failures_total}
}), 'connections that fail are tried again';

$proxy->tell('pass');
gauge(up($node, $_), 1, "the $_ is back") for qw(bell reader);
is metrics($nginx, 'gateway')->{redis_connects_total},
    $before->{redis_connects_total} + 2,
        'each connection is made once when Redis is back';

$nginx->stop;
$proxy->stop;

done_testing;
