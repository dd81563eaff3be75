# Copyright (C) Conduit for NGINX authors
#
# How NGINX ends responses: on reload, upgrade, QUIT and TERM, when a time limit
# is over, when a token expires, and when Redis stays away.  Responses end
# cleanly and not all at once, and clients that come back miss no event.  A
# client whose token will be refused by then gets "server_draining", which tells
# it to get a new one.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::H2;
use Test::More;
use Time::HiRes qw(sleep time);

my $TMP = $Conduit::TMP;
my $SLOW = $ENV{TEST_NGINX_USE_VALGRIND} ? 10 : 1;
my $old = nginx_version() < 1025001 ? ' http2' : '';

my $LOG = <<'EOC';
    log_format close '$status $conduit_gateway_close $msec $request_time '
                     '$conduit_channel_id $arg_as';
    access_log logs/close.log close;
EOC

my $DRAINING = qr/event:\ control\n(?:id:\ [0-9]+-[0-9]+\n)?
                  data:\ \{"event_type":"control","message_id":"[0-9a-f-]{36}",
                  "control_type":"server_draining"\}\n\n\z/x;

# half a second, a quarter more or less; with a keepalive before it, or not
my $RETRY = qr/\n(?::\n)*retry:\ (?:37[5-9]|3[89]\d|[45]\d\d|6[01]\d|62[0-5])
               \n\n\z/x;

my $OUTAGE = qr/event:\ error\nretry:\ 3000\n
                data:\ Too\ many\ errors,\ closing\ stream\n\n/x;

my $path = events_path();


# so many lines of the access log; they are written after the end
sub log_lines {
    my ($nginx, $n, $pattern) = @_;

    my @lines;

    wait_for(20, sub {
        @lines = grep { /$pattern/ }
                 split /\n/, read_file($nginx->root . '/logs/close.log');
        @lines >= $n;
    });

    return @lines;
}

sub open_many {
    my ($nginx, $n, $where) = @_;

    my $p = defined $where ? $path =~ s/events/$where/r : $path;

    return map { sse_open($nginx, path => $p) } 1 .. $n;
}

# how many responses have ended cleanly, with a text at their end
sub ended {
    my ($pattern, @clients) = @_;

    return scalar grep { $_->end(20) && $_->body =~ $pattern } @clients;
}

sub left {
    my ($nginx, $seconds, @pids) = @_;

    return wait_for($seconds, sub {
        my %now = map { $_ => 1 } $nginx->workers;
        return !grep { $now{$_} } @pids;
    });
}

# a location of another name, with other directives
sub location { return gateway_location($_[1] // '') =~ s/events/$_[0]/r }

sub crashed { return scalar(() = $_[0]->error_log =~ /exited on signal/g) }


# --- a reload

my $h2_port = free_port();
my $drain = gateway_location('conduit_gateway_drain 3s;');
my $nginx = nginx_start(workers => 2, main => 'worker_shutdown_timeout 60s;',
    server => $drain, http => $LOG . ($old ? '' : 'http2 on;')
    . "server { listen 127.0.0.1:$h2_port$old; $drain }");

my @clients = open_many($nginx, 60);
my $h2 = Conduit::H2->connect($h2_port);
push @clients, my @streams = map { $h2->get($path) } 1 .. 20;
$h2->until(30, sub { !grep { $_->body eq '' } @streams });

my @workers = $nginx->workers;

$nginx->reload;

is ended($RETRY, @clients), 80,
    'a reload ends each response cleanly, and says when to come back';
is scalar(grep { $_->body =~ /server_draining/ } @clients), 0,
    'a reload: a client with a good token is not told to get a new one';
is scalar(grep { defined $_->{broken} } @streams), 0,
    'a reload resets no stream of HTTP/2';
ok $h2->goaway, 'a reload: the HTTP/2 connection gets a GOAWAY';
$h2->close;
ok left($nginx, 20, @workers), 'a reload: the old workers exit';
my $gone = time;

my @times = sort { $a <=> $b }
            map { (split)[2] } log_lines($nginx, 80, qr/^200 drain /);

is scalar(@times), 80,
    'a reload: the log has "drain" as the reason of each end';

my $tenth = grep { $_ - $times[0] < 0.3 } @times;
my $half = grep { $_ - $times[0] < 1.5 } @times;

cmp_ok $tenth, '<', 40,
    'a drain: not all responses end in the first tenth of its time';
cmp_ok $half, '>', 16,
    'a drain: some responses end in the first half of its time';
cmp_ok $half, '<', 64,
    'a drain: some responses end in the second half of its time';
cmp_ok $times[-1] - $times[0], '<', 6 * $SLOW,
    'a drain: all responses end within about the time that was set';
cmp_ok $gone - $times[-1], '<', 5 * $SLOW,
    'a drain: workers exit soon after their last response';
unlike $nginx->error_log, qr/\[alert\]|\[crit\]/,
    'a drain: the error log has no alert';
is crashed($nginx), 0, 'a drain: no worker crashes';

my ($sse) = open_many($nginx, 1);
my $id = xadd(sequence => 1);
is $sse->event->{id}, $id, 'after a reload, the new workers serve';


# --- a client that is behind, a request that comes late, during a drain

@workers = $nginx->workers;
my $channel = uuid();
my $slow_path = events_path(channel_id => $channel);
my $h2_slow = Conduit::H2->connect($h2_port, window => 5000, update => 0);
my $slow = $h2_slow->get($slow_path);

$h2_slow->until(30, sub { $slow->body ne '' });
xadd(channel_id => $channel, sequence => $_, payload => { v => 'x' x 3000 })
    for 1 .. 5;
$h2_slow->until(30, sub { length $slow->body == 5000 });

my $late = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $nginx->port)
    or die "connect: $!";
$late->print("GET $path HTTP/1.1\r\nHost: localhost\r\nX-Part: 1\r\n");
wait_for(20, sub { $nginx->error_log =~ /http header: "X-Part: 1"/ })
    or sleep 0.5;                           # without a debugging log

$nginx->reload;
my $quitting = join '|', map { "$_#$_: gracefully shutting down" } @workers;
wait_for(20, sub { 2 == (() = $nginx->error_log =~ /$quitting/g) })
    or die 'the workers are not told to quit';

$late->print("\r\n");
my $answer = do { local $/; <$late> };

my ($head, $body) = split /\r\n\r\n/, $answer, 2;
like $head, qr{^HTTP/1\.1 200 .*^Content-Type: text/event-stream\r$}ms,
    'a request that comes while the worker drains is answered with 200';
my ($retry) = $body =~ /^[0-9a-f]+\r\nretry: (\d+)\n\n\r\n0\r\n\r\n\z/;
ok defined $retry && $retry >= 375 && $retry <= 625,
    'a request during a drain gets "retry:" alone, half a second with jitter';

is ended($RETRY, $sse), 1,
    'a client that was there before the drain is drained';

# its end is decided, what it has to get first is not sent
my $finalized = qr/http finalize request: 0, "[^"]*\Q$channel\E/;
wait_for(20, sub { $nginx->error_log =~ $finalized });

$h2_slow->open_window(1 << 20, $slow->id);
is ended($RETRY, $slow), 1,
    'a client that is behind gets what was on its way, and when to come back';
my @got = $slow->events(9, 0);
cmp_ok scalar(@got), '>=', 2, 'an event that has been begun is finished';
$sse = sse_open($nginx, path => "$slow_path&last_event_id=$got[-1]{id}");
is_deeply [map { $_->{json}{sequence} } @got, $sse->events(5 - @got)],
    [1 .. 5], 'a client that is behind gets the rest from the new worker';
$sse->close;
$h2_slow->close;
ok left($nginx, 20, @workers),
    'the old worker exits when its last client is gone';


# --- QUIT

@clients = open_many($nginx, 10);
my $started = time;
is $nginx->stop('QUIT', 30), 0, 'QUIT: NGINX exits';
cmp_ok time - $started, '<', 15 * $SLOW,
    'QUIT: NGINX exits when the drain is over';
is ended($RETRY, @clients), 10,
    'QUIT: each response ends cleanly, and says when to come back';


# --- a worker whose commands are done, or need not be waited for

# a deadline of a minute keeps no worker, once the answer is there
for my $signal ('HUP', 'QUIT') {
    $nginx = nginx_start(server =>
        publish_location('conduit_publish_rate off;'
                         . 'conduit_publish_timeout 60s;')
        . gateway_location('conduit_gateway_timeout 60s;'
                           . 'conduit_gateway_drain 200ms;'));

    my $turn = uuid();
    ($sse) = sse_open($nginx, path => events_path(channel_id => $turn));
    like publish($nginx, channel_id => $turn, phase => 'END'), qr/^\d+-\d+$/,
        "$signal: a message is published";
    ok $sse->end(20), "$signal: the message is read";

    @workers = $nginx->workers;
    $nginx->signal($signal);
    ok left($nginx, 20, @workers),
        "$signal: a worker whose commands are answered leaves at once";
    $nginx->stop if $signal eq 'HUP';
}

# no more does a read for the gateway, whose clients go without its reply
$nginx = nginx_start(server => gateway_location(
    'conduit_gateway_timeout 60s; conduit_gateway_drain 200ms;'));
($sse) = open_many($nginx, 1);
$sse->events(1);
redis_pause();
my $asking = sse_open($nginx, path => events_path(channel_id => uuid()));
ok wait_for(20, sub { redis_input() }), 'a read is under way';

@workers = $nginx->workers;
$nginx->signal('QUIT');
ok left($nginx, 20, @workers),
    'QUIT: a worker does not wait for the answer to a read';
is ended($RETRY, $sse, $asking), 2,
    'QUIT: the clients of a read that is not answered are drained';
redis_resume();


# --- whose token is good on return, and whose is not

$nginx = nginx_start(http => $LOG, server => join '',
    gateway_location('conduit_gateway_drain 1s;'),
    location(later => 'conduit_gateway_drain 1s; conduit_gateway_retry 60s;'),
    location(on => 'conduit_gateway_drain 1s; conduit_gateway_drain_event on;'),
    location(off => 'conduit_gateway_drain 1s; conduit_gateway_retry 60s;'
                    . 'conduit_gateway_drain_event off;'),
    location(open => 'conduit_gateway_auth off; conduit_gateway_drain 1s;'),
    location(brief => 'conduit_gateway_max_duration 500ms;'
                      . 'conduit_gateway_retry 60s;'));

# within the tolerance of 60 seconds: good for 8 seconds more, and for 40
my $run = uuid();
my ($ends, $forty, $good) = map {
    events_path(channel_id => $run,
                token => gateway_token(channel_id => $run, exp => int(time) + $_))
} -53, -20, 600;

# a minute, a quarter more or less
my $LONG = qr/\nretry: (?:4[5-9]|[56]\d|7[0-5])\d{3}\n\n\z/;

my %by = (
    'a token that is over' => [$ends, $DRAINING],
    'a good token' => [$good, $RETRY],
    'a token that lasts longer than "retry"' => [$forty, $RETRY],
    'a token that does not' => [$forty =~ s/events/later/r, $DRAINING],
    'a good token, and a long "retry"' => [$good =~ s/events/later/r, $LONG],
    'no token' => [$good =~ s/events/open/r =~ s/token=[^&]*&//r, $RETRY],
    'drain_event on' => [$good =~ s/events/on/r, $DRAINING],
    'drain_event off' => [$forty =~ s/events/off/r, $LONG],
);

my $first = xadd(channel_id => $run, sequence => 1);
$_->[2] = sse_open($nginx, path => $_->[0] . "&last_event_id=$first")
    for values %by;
$id = xadd(channel_id => $run, sequence => 2);
is scalar(grep { ($_->[2]->event // { id => '' })->{id} eq $id } values %by), 8,
    'clients with all kinds of tokens are there';

# the end of a duration, meanwhile
my ($over) = map { sse_open($nginx, path => $_) } $forty =~ s/events/brief/r;
is ended($DRAINING, $over), 1,
    'max_duration: a client whose token does not last is told';
($over) = map { sse_open($nginx, path => $_) } $good =~ s/events/brief/r;
is ended($LONG, $over), 1,
    'max_duration: a client whose token lasts is not told';

sub status {
    my $client = sse_open($nginx, path => shift);
    $client->close;
    return $client->status;
}

wait_for(30, sub { status($ends) == 401 }) or die 'the token is not over';
$nginx->reload;

for my $title (sort keys %by) {
    my (undef, $pattern, $client) = @{ $by{$title} };

    is ended($pattern, $client), 1, "a reload, $title: as it should end";
    is(($client->events(9, 0))[-1]{id}, $id,
       "a reload, $title: it keeps the client's position")
        if $pattern eq $DRAINING;
}

# the first one is refused from now on, the others come back
is status("$by{$_}[0]&last_event_id=$id"), /over/ ? 401 : 200,
    "$_: the status when it comes back" for sort keys %by;

$nginx->stop('TERM');


# --- ten reloads while messages are published

system('gcc', '-O2', '-o', "$TMP/sse_load", "$Conduit::ROOT/t/load/sse_load.c")
    == 0 or die 'sse_load.c does not compile';

$nginx = nginx_start(workers => 2,
    server => gateway_location('conduit_gateway_auth off;'
                               . 'conduit_gateway_drain 400ms;'));

my $result;
my $port = $nginx->port;
my @load = map { sprintf '00000000-0000-4000-8000-%012x', $_ } 0 .. 3;

open my $load, '-|', "$TMP/sse_load", '-p', $port, '-n', 80, '-c', 4,
    '-t', 240, '-e', 300, '-k' or die "sse_load: $!";

for my $n (1 .. 300) {
    xadd(org => 1, channel_id => $_, sequence => $n) for @load;
    sleep 0.01;
    $nginx->reload if $n % 30 == 15;
}

$result = JSON::PP::decode_json(do { local $/; <$load> });
close $load;

is_deeply { map { $_ => $result->{$_} }
            qw(complete events gaps repeats failed refused history_lost) },
    { complete => 80, events => 80 * 300, gaps => 0, repeats => 0, failed => 0,
      refused => 0, history_lost => 0 },
    'ten reloads: 80 clients get 300 messages each, once and in order';
cmp_ok $result->{drained}, '>', 0,
    'ten reloads: clients were told to come again';
ok wait_for(20, sub { $nginx->workers == 2 }),
    'ten reloads: the old workers exit';
is crashed($nginx), 0, 'ten reloads: no worker crashes';


# --- TERM

@clients = open_many($nginx, 10);
$h2 = Conduit::H2->connect($port);          # a connection without a request
$started = time;
is $nginx->stop('TERM', 30), 0, 'TERM: NGINX exits';
cmp_ok time - $started, '<', 5 * $SLOW, 'TERM: NGINX exits at once';
is scalar(grep { $_->eof(20) } @clients), 10, 'TERM: the clients are cut off';
is crashed($nginx), 0, 'TERM: no worker crashes';
$h2->close;


# --- worker_shutdown_timeout

$nginx = nginx_start(main => 'worker_shutdown_timeout 1s;',
    server => gateway_location('conduit_gateway_drain 60s;'));

@clients = open_many($nginx, 30);
@workers = $nginx->workers;
$started = time;
$nginx->reload;

ok left($nginx, 20, @workers),
    'a worker_shutdown_timeout that is shorter than the drain is respected';
cmp_ok time - $started, '>', 0.9,
    'worker_shutdown_timeout: workers do not exit before it';
is scalar(grep { $_->eof(20) } @clients), 30,
    'worker_shutdown_timeout: the clients are cut off';
cmp_ok scalar(grep { $_->{ended} && $_->body !~ $RETRY } @clients), '==', 0,
    'worker_shutdown_timeout: no client gets a clean end that is not one';
is crashed($nginx), 0, 'worker_shutdown_timeout: no worker crashes';

($sse) = open_many($nginx, 1);
$sse->events(1);
$id = xadd(sequence => 2);
is $sse->event->{id}, $id, 'worker_shutdown_timeout: the new worker serves';
$sse->close;
$nginx->stop('TERM');


# --- an upgrade of the binary

# In the foreground NGINX takes no USR2.  So it runs in the background here, and
# is known by its pid file.

$nginx = nginx_start(server => gateway_location('conduit_gateway_drain 1s;'));
$nginx->stop;

my $root = $nginx->root;
write_file("$root/nginx.conf",
           read_file("$root/nginx.conf") =~ s/daemon off/daemon on/r);

sub master { return (eval { read_file("$root/$_[0]") } // '') =~ /(\d+)/
                    ? $1 : 0 }

sub alive { return $_[0] && -d "/proc/$_[0]" ? 1 : 0 }

my @command = ($ENV{TEST_NGINX_BINARY}, '-p', $root, '-c', "$root/nginx.conf",
               '-e', "$root/logs/error.log");
unshift @command, 'valgrind', '-q', split ' ', $ENV{TEST_NGINX_USE_VALGRIND}
    if $ENV{TEST_NGINX_USE_VALGRIND};
my $own = $$;

# whatever happens, none stays behind
END {
    if (defined $own && $$ == $own && defined $root) {
        kill 'KILL', grep { alive($_) } map { master($_) }
                     qw(nginx.pid nginx.pid.oldbin);
    }
}

system("@command > /dev/null 2>&1 < /dev/null") == 0 or die 'nginx: no start';
wait_for(20, sub { IO::Socket::INET->new(
    PeerAddr => '127.0.0.1:' . $nginx->port) }) or die 'nginx: no start';

my $before = master('nginx.pid');
@clients = open_many($nginx, 10);
my $last = ($clients[0]->events(2))[-1]{id};

kill 'USR2', $before;
ok wait_for(20, sub { my $pid = master('nginx.pid');
                      $pid && $pid != $before && alive($pid) }),
    'USR2: a new NGINX runs';
my $after = master('nginx.pid');

kill 'QUIT', $before;
is ended($RETRY, @clients), 10,
    'an upgrade: when the old NGINX quits, each response says when to come '
    . 'back';
$id = xadd(sequence => 3);
ok wait_for(20, sub { !alive($before) }), 'an upgrade: the old NGINX exits';

@clients = map { sse_open($nginx, path => "$path&last_event_id=$last") } 1 .. 9;
is scalar(grep { ($_->event // { id => '' })->{id} eq $id } @clients), 9,
    'an upgrade: clients get from the new NGINX what they missed';

kill 'QUIT', $after;
is ended($RETRY, @clients), 9,
    'an upgrade: the new NGINX drains its clients on QUIT';
ok wait_for(20, sub { !alive($after) }),
    'an upgrade: the new NGINX exits on QUIT';
is crashed($nginx), 0, 'an upgrade: no worker crashes';


# --- times that are over

$nginx = nginx_start(http => $LOG, server => join '',
    gateway_location('conduit_gateway_keepalive 200ms;'),
    location(brief => 'conduit_gateway_max_duration 2s;'),
    location(expiring => 'conduit_gateway_expire on;'),
    location(quiet => 'conduit_gateway_expire on;'
                      . 'conduit_gateway_drain_event off;'),
    location(outage => 'conduit_gateway_outage 1s; conduit_gateway_drain 3s;'
                       . 'conduit_gateway_retry 30s;'),
    location(silent => 'conduit_gateway_outage 1s;'
                       . 'conduit_gateway_drain_event off;'));

@clients = open_many($nginx, 20, 'brief');
is scalar(grep { ($_->events(3))[-1]{id} eq $id } @clients), 20,
    'max_duration: clients get what there is';
is ended($RETRY, @clients), 20,
    'max_duration: each response ends cleanly, and says when to come back';

my @lasted = sort { $a <=> $b } map { (split)[3] }
             log_lines($nginx, 20, qr/^200 duration /);
is scalar(@lasted), 20, 'max_duration: the log has the reason';
cmp_ok $lasted[0], '>', 1.4,
    'max_duration: no response ends before three quarters of the time';
cmp_ok $lasted[-1], '<', 6 * $SLOW,
    'max_duration: no response ends long after the time';
cmp_ok $lasted[-1] - $lasted[0], '>', 0.1,
    'max_duration: not all responses end at once';

$sse = sse_open($nginx, path => ($path =~ s/events/brief/r)
                                . "&last_event_id=$id");
$id = xadd(sequence => 4);
is $sse->event->{id}, $id,
    'max_duration: a client that comes back gets the next event';
$sse->close;

# accepted for 60 seconds after "exp"
my $exp = int(time) - 53;
my $token = gateway_token(exp => $exp);
my $expiring = events_path(token => $token);
my $stays = sse_open($nginx, path => $expiring);
$sse = sse_open($nginx, path => $expiring =~ s/events/expiring/r);
my $quiet = sse_open($nginx, path => $expiring =~ s/events/quiet/r);

is ended($DRAINING, $sse), 1,
    'expire: the response ends with its token, the client is to get a new one';
is(($sse->events(9, 0))[-1]{id}, $id,
   'expire: the response keeps the position');
is ended($RETRY, $quiet), 1,
    'drain_event off: a client whose token expires is not told';
my @expired = map { (split)[2] - $exp } log_lines($nginx, 2, qr/^200 expired /);
is scalar(@expired), 2, 'expire: the log has the reason';
is scalar(grep { $_ < 60 } @expired), 0,
    'expire: no response ends before the tolerance of 60 seconds is over';
is scalar(grep { $_ > 60 + 15 * $SLOW } @expired), 0,
    'expire: no response ends long after the tolerance';

ok wait_for(20, sub {
    http($nginx, 'GET', $expiring =~ s/events/expiring/r)->{status} == 401
}), 'expire: the token is refused when its tolerance is over';
is http($nginx, 'GET', $expiring)->{body}, 'Token expired',
    'expire: the token is refused as expired';
ok $stays->comment(30) && !$stays->{ended},
    'without "expire" a response outlives its token';


# --- Redis stays away

# tokens that are good for 8 seconds more: not when their clients come back
my $soon = events_path(token => gateway_token(exp => int(time) - 52));
my @told = map { sse_open($nginx, path => $soon =~ s/events/outage/r
                                            . '&as=told') } 1 .. 20;
my $silent = sse_open($nginx, path => $soon =~ s/events/silent/r);

@clients = open_many($nginx, 10, 'outage');
$_->events(4) for @clients, @told, $silent, $stays;
$started = time;
redis_stop();

is ended(qr/\n\n$OUTAGE\z/, @clients), 10,
    'outage: each response ends with the error event';
is ended(qr/\n\n$OUTAGE$DRAINING/, @told), 20,
    'outage: a client whose token is no longer good gets server_draining';
is scalar(grep { ($_->events(9, 0))[-1]{id} eq $id } @told), 20,
    'outage: server_draining keeps the position of the client';
is ended(qr/\n\n$OUTAGE\z/, $silent), 1,
    'outage: with drain_event off, no server_draining follows';

my %outage = map { $_ => [] } 'good', 'told';

for (log_lines($nginx, 31, qr/^200 outage /)) {
    my (undef, undef, $at, undef, undef, $where) = split;
    push @{ $outage{$where =~ /told/ ? 'told' : 'good'} }, $at - $started;
}

is scalar(map { @$_ } values %outage), 31, 'outage: the log has the reason';
is scalar(grep { $_ < 0.9 } map { @$_ } values %outage), 0,
    'outage: no response ends before the time that was set';
is scalar(grep { $_ > 10 * $SLOW } map { @$_ } values %outage), 0,
    'outage: no response ends long after the time that was set';

my @paced = sort { $a <=> $b } @{ $outage{told} };
cmp_ok $paced[-1] - $paced[0], '>', 0.5,
    'outage: clients do not all ask for a new token at once';

redis_start();
$id = xadd(id => '5-5', sequence => 5);
ok !$stays->{ended}, 'outage: with a longer time the response stays open';
is $stays->event(30)->{id}, $id,
    'outage: a response that stays open goes on when Redis is back';

is $nginx->stop('QUIT', 30), 0, 'NGINX quits';

done_testing();
