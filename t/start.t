# Copyright (C) Conduit for NGINX authors
#
# conduit_gateway_start and the argument "since": where a client without a
# position starts.  The rules have their tables in t/unit/test_start.c.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Metrics;
use Conduit::Proxy;
use Test::More;

my $REDIS = "redis://127.0.0.1:$Conduit::REDIS_PORT";

sub location {
    my ($path, @directives) = @_;

    return "location /$path/ { conduit_gateway $REDIS;"
           . 'conduit_gateway_auth off; conduit_gateway_key "s:$arg_run";'
           . 'conduit_gateway_drain 300ms;'
           . join('', map { "conduit_gateway_$_;" } @directives) . "}\n";
}

write_file("$Conduit::TMP/less", "secret");

my $nginx = nginx_start(log_level => 'info', server => pages()
    . join '', map { location(@$_) }
      (map { [$_, 'format text', "start $_"] } qw(oldest turn latest)),
      ['turn-conduit', 'start turn'],
      ['turn-payload', 'format payload', 'start turn'],
      ['turn-json', 'format json', 'start turn'],
      ['turn-steps', 'format text', 'start turn', 'read_count 3'],
      ['turn-poll', 'format text', 'start turn', 'wakeup poll 20ms'],
      ['turn-stop', 'format text', 'start turn', 'after_end stop'],
      ['turn-resume', 'format text', 'start turn', 'resume_only on'],
      ['latest-resume', 'format text', 'start latest', 'resume_only on'],
      ['latest-stop', 'format text', 'start latest', 'after_end stop'],
      ['tiny', 'format text', 'start turn', 'window 1', 'read_count 1',
       'buffer_size 1'],
      ['quiet', 'format text', 'start latest', 'coalesce 200ms'],
      ['less', 'format text', 'start latest', 'redis_user less',
       "redis_password_file $Conduit::TMP/less"]);

my $runs = 0;

# the argument of a new stream, and its key
sub run {
    my $run = 'run-' . ++$runs;

    return ($run, "s:$run");
}

sub listen_to {
    my ($path, $run, %o) = @_;

    return sse_open($nginx, path => "/$path/x?run=$run"
                                    . (defined $o{since}
                                       ? "&since=$o{since}" : ''),
                    headers => defined $o{id} ? { 'Last-Event-ID' => $o{id} }
                                              : {});
}

sub add { return redis('XADD', @_) }

# entries N-0, those whose N is negative end a turn
sub fill {
    my ($key, @n) = @_;

    add($key, abs($_) . '-0', data => abs $_, $_ < 0 ? (end => 1) : ())
        for @n;
}

# the IDs of the next n events
sub ids {
    my ($sse, $n) = @_;

    return join ' ', map { $_->{id} =~ s/-0$//r } $sse->events($n);
}

# all that a client gets until its response ends
sub all_ids {
    my $sse = listen_to(@_);

    $sse->end or die "no end of $_[0]";
    return join ' ', map { $_->{id} =~ s/-0$//r } $sse->events(99, 0.1);
}

sub lost { return scalar grep { ($_->{event} // '') eq 'control' } @_ }


# --- oldest, which is the default of all locations

my ($run, $key) = run();

fill($key, 1, 2, -3, 4, 5);
is all_ids('oldest', $run), '1 2 3', 'oldest: the first turn, and its end';


# --- turn: the one that is running

for my $path (qw(turn turn-steps turn-poll turn-json tiny)) {
    my $sse = listen_to($path, $run);

    is ids($sse, 2), '4 5', "$path: what follows the last END";
    is_deeply [$sse->body =~ /^id: (\S+)\n\n/mg], [],
        "$path: no line with the position alone";

    $sse->close;
}

my $live = listen_to('turn', $run);

is ids($live, 2), '4 5', 'turn: a client that stays';
fill($key, 6);
is ids($live, 1), '6', 'turn: the response goes on';

# the window of the channel that is open has the answer

my $before = metrics($nginx, 'gateway')->{searches_total};
my $tab = listen_to('turn', $run);

is ids($tab, 3), '4 5 6', 'turn: a second tab joins';
is metrics($nginx, 'gateway')->{searches_total}, $before,
    'turn: Redis is not asked where the turn begins when the window knows';

fill($key, -7);
ok $_->end, 'turn: its end ends the response' for $live, $tab;

is all_ids('turn', $run), '4 5 6 7',
    'turn: an END that nothing follows ends the last turn, not the next one';
is all_ids('turn-stop', $run), '4 5 6 7', 'turn: likewise with stop';

my $waits = listen_to('turn', $run, id => '7-0');

fill($key, 8);
is ids($waits, 1), '8', 'turn: a client that has a position goes on there';
is ids(listen_to('turn', $run), 1), '8', 'turn: the next turn';
$waits->close;

# a stream of one turn, and none

for my $path (qw(turn turn-steps turn-poll tiny)) {
    my ($run, $key) = run();
    my $early = listen_to($path, $run);

    fill($key, 1, 2);
    is ids($early, 2), '1 2', "$path: a stream that does not exist yet";
    is ids(listen_to($path, $run), 2), '1 2', "$path: without an END, all";
    $early->close;
}

# an END of a message

for my $format (qw(conduit payload)) {
    my ($run, $key) = run();

    add($key, '1-0', data => message(payload => { n => 1 }));
    add($key, '2-0', data => message(phase => 'END'));
    add($key, '3-0', data => message(phase => 'START',
                                     payload => { n => 3 }));

    my $sse = listen_to("turn-$format", $run);

    is $sse->event->{id}, '3-0', "turn: END of format $format";
    $sse->close;
}

# more entries than one step has, or the window; the END is the oldest

($run, $key) = run();
fill($key, -1, 2 .. 350);

for my $path (qw(turn turn-steps)) {
    my $sse = listen_to($path, $run);

    is ids($sse, 349), join(' ', 2 .. 350), "$path: a long turn";
    $sse->close;
}

# a turn of more entries than are looked at begins with the newest 10,000

($run, $key) = run();
redis('EVAL', 'for i = 1, 10500 do redis.call("XADD", KEYS[1], i .. "-0", '
      . '"data", i) end redis.call("XADD", KEYS[1], "10501-0", "data", 1)',
      1, $key);

my $long = listen_to('turn', $run);
is $long->event->{id}, '502-0', 'turn: at most 10,000 entries';
$long->close;


# a step whose reply is larger than a reply may be (64 MB): the next ones are
# smaller

($run, $key) = run();
redis('EVAL', 'local x = string.rep("x", 1000 * 1000) for i = 1, 70 do '
      . 'redis.call("XADD", KEYS[1], i .. "-0", "data", x) end', 1, $key);
fill($key, -71, 72);

my $large = listen_to('turn', $run);
is $large->event(60)->{id}, '72-0', 'turn: a stream of large entries';
$large->close;
redis('DEL', $key);


# --- latest: what comes after the client

($run, $key) = run();
fill($key, 1, 2, -3, 4);

my $latest = listen_to('latest', $run);
my $again = listen_to('latest', $run);

is $latest->until(5, sub { $latest->body =~ /^id: 4-0\n\n/m }), 1,
    'latest: the client is told its position';
like $again->body, qr/\Aretry: 500\n\n/, 'latest: after the first line';

fill($key, 5);
is ids($latest, 1), '5', 'latest: what comes is sent';
is ids($again, 1), '5', 'latest: to all';
is_deeply [lost($again->events(9, 0.1))], [0], 'latest: nothing is lost';

$before = metrics($nginx, 'gateway')->{searches_total};
my $third = listen_to('latest', $run);
is $third->until(5, sub { $third->body =~ /^id: 5-0\n\n/m }), 1,
    'latest: of a channel that is open';
is metrics($nginx, 'gateway')->{searches_total}, $before,
    'latest: the window knows it';

fill($key, -6);
ok $_->end, 'latest: END ends the response' for $latest, $again, $third;

is listen_to('latest-stop', $run)->status, 204,
    'latest: nothing follows the END, and after_end is stop';

my $after = listen_to('latest', $run);
is $after->until(5, sub { $after->body =~ /^id: 6-0\n\n/m }), 1,
    'latest: after an END it waits';
fill($key, 7);
is ids($after, 1), '7', 'latest: for the next turn';
$after->close;

# no stream yet: a client that comes back with 0-0 misses nothing

($run, $key) = run();
$latest = listen_to('latest', $run);
is $latest->until(5, sub { $latest->body =~ /^id: 0-0\n\n/m }), 1,
    'latest: before the stream exists';
$latest->close;
fill($key, 1, 2);
is ids(listen_to('latest', $run, id => '0-0'), 2), '1 2',
    'latest: the position before the first entry';

$latest = listen_to('quiet', $run);
is $latest->until(5, sub { $latest->body =~ /^id: 2-0\n\n/m }), 1,
    'latest: with coalesce';
fill($key, 3, 4);
is ids($latest, 2), '3 4', 'latest: with coalesce, what comes';
$latest->close;


# --- a stream that is trimmed, deleted, made anew: no alarm for what the client
# never had, and one for what it has

($run, $key) = run();
fill($key, 1 .. 5);
$latest = listen_to('latest', $run);
$latest->until(5, sub { $latest->body =~ /^id: 5-0\n\n/m });
redis('XTRIM', $key, 'MAXLEN', 1);
fill($key, 6);

my @events = $latest->events(1);

is_deeply [map { $_->{id} } @events], ['6-0'], 'latest: trimmed behind it';
$latest->close;

redis('XTRIM', $key, 'MAXLEN', 0);
$latest = listen_to('latest', $run, id => '4-0');
fill($key, 7);
is $latest->event->{json}{control_type}, 'history_lost',
    'a client that has a position is told of what is lost';
$latest->close;

redis('DEL', $key);
$latest = listen_to('latest', $run);
$latest->until(5, sub { $latest->body =~ /^id: 0-0\n\n/m });
fill($key, 1);
is $latest->event->{id}, '1-0', 'latest: a stream made anew';
$latest->close;


# --- since

($run, $key) = run();
my $now = int(1000 * redis('TIME')->[0]);

add($key, "$_-0", data => $_) for $now - 7_200_000, $now - 60_000;
add($key, $now - 59_000 . "-$_", data => $_) for 5, 6;

sub since_ids {
    my ($since, $n) = @_;

    my $sse = listen_to('oldest', $run, since => $since);
    my @ids = map { $_->{id} } $sse->events($n);

    $sse->close;
    return "@ids";
}

my @all = ($now - 7_200_000 . '-0', $now - 60_000 . '-0',
           $now - 59_000 . '-5', $now - 59_000 . '-6');

is since_ids('-1h', 3), "@all[1 .. 3]", 'since: an hour';
is since_ids('-3h', 4), "@all", 'since: longer than the stream';
is since_ids('-1000d', 4), "@all", 'since: days';
is since_ids('0', 4), "@all", 'since: the epoch';
is since_ids($now - 60_000, 3), "@all[1 .. 3]",
    'since: the millisecond of an entry, which is included';
is since_ids($now - 59_999, 2), "@all[2, 3]", 'since: the next one';
is since_ids($now - 59_000, 2), "@all[2, 3]",
    'since: all entries of a millisecond';

my @t = gmtime(($now - 59_500) / 1000);
my $rfc = sprintf '%04d-%02d-%02dT%02d:%02d:%02d.%03d', $t[5] + 1900,
                  $t[4] + 1, @t[3, 2, 1, 0], ($now - 59_500) % 1000;

is since_ids($rfc . 'Z', 2), "@all[2, 3]", 'since: RFC 3339';
is since_ids($rfc . '%2B00:00', 2), "@all[2, 3]", 'since: an offset';
is since_ids($rfc . '+00:00', 2), "@all[2, 3]",
    'since: a plus that is not encoded';

my $since = listen_to('oldest', $run, since => '-1s');

is $since->until(5, sub { $since->body =~ /^id: \Q$all[3]\E\n\n/m }), 1,
    'since: nothing came since, the client is told its position';
my $id = add($key, '*', data => 'x');
is $since->event->{id}, $id, 'since: what comes is sent';
$since->close;

$since = listen_to('turn', $run, since => '-3h');
is $since->event->{id}, $all[0], 'since: instead of the start of the location';
$since->close;

$since = listen_to('oldest', $run, since => 'x', id => $all[2]);
is $since->event->{id}, $all[3], 'since: a position wins';
$since->close;

for my $bad ('x', '-', '-5', '-s', '--5s', '-5w', '-5+s', '5s', '-5.5s',
             '2026-01-09', '2026-02-30T00:00:00Z', '1e3', '$now',
             '99999999999999999999', '-99999999999999999999s', '1&since=2',
             '%zz')
{
    my $r = http($nginx, 'GET', "/oldest/x?run=$run&since=$bad");

    is "$r->{status} $r->{body}", '400 Invalid since', "since: $bad";
}

for my $future ($now + 3_600_000, '9999-12-31T23:59:59Z',
                '18446744073709551615')
{
    my $r = http($nginx, 'GET', "/oldest/x?run=$run&since=$future");

    is "$r->{status} $r->{body}", '400 since is in the future',
        "since: $future";
}

$since = listen_to('oldest', $run, since => $now + 30_000);
is $since->until(5, sub { $since->body =~ /^id: \Q$id\E\n\n/m }), 1,
    'since: a clock that is fast by less than a minute';
$since->close;

is http($nginx, 'HEAD', "/oldest/x?run=$run&since=-5m")->{status}, 200,
    'since: HEAD';


# --- a user of Redis who may not use XREVRANGE: clients wait, the log says why

redis('ACL', 'SETUSER', 'less', 'reset', 'on', '>secret', 'allkeys',
      'allchannels', '+@all', '-xrevrange');
($run, $key) = run();
fill($key, 1);

$latest = listen_to('less', $run);
ok wait_for(20, sub {
    $nginx->error_log =~ /reading "s:\$arg_run" failed: NOPERM .*'xrevrange'/;
}), 'NOPERM: the error is logged';

my $resumes = listen_to('less', $run, id => '0-0');
is ids($resumes, 1), '1', 'NOPERM: who has a position needs it not';
$resumes->close;

redis('ACL', 'SETUSER', 'less', '+xrevrange');
is $latest->until(20, sub { $latest->body =~ /^id: 1-0\n\n/m }), 1,
    'NOPERM: the client starts as soon as it may';
$latest->close;


# --- a worker that quits, and an outage

($run, $key) = run();
fill($key, 1, -2);

my $drained = listen_to('latest', $run);
$drained->until(5, sub { $drained->body =~ /^id: 2-0\n\n/m });
$nginx->reload;
ok $drained->end, 'drain: the response ends';
fill($key, 3);
is ids(listen_to('latest', $run, id => '2-0'), 1), '3',
    'drain: the client misses nothing';

redis_stop();
my $down = listen_to('latest', $run);
my $turn = listen_to('turn', $run);

is $_->status, 200, 'outage: the client waits' for $down, $turn;
redis_start();
is $down->until(10, sub { $down->body =~ /^id: 0-0\n\n/m }), 1,
    'outage: then it starts';
fill($key, -1, 2);
is ids($down, 1), '1', 'outage: what comes is sent';
is ids($turn, 1), '1', 'outage: likewise of the turn';
$_->close for $down, $turn;

# --- with conduit_gateway_resume_only

($run, $key) = run();

for my $path (qw(turn-resume latest-resume)) {
    is listen_to($path, $run)->status, 204, "$path: no stream";
}

fill($key, 1, 2, -3);

for my $path (qw(turn-resume latest-resume)) {
    is listen_to($path, $run)->status, 204, "$path: a turn that has ended";
}

fill($key, 4, 5);

{
    my $running = listen_to('turn-resume', $run);
    my $next = listen_to('latest-resume', $run);

    is ids($running, 2), '4 5', 'turn-resume: the running turn';
    is $next->status, 200, 'latest-resume: a turn is running';

    fill($key, -6);
    is ids($running, 1), '6', 'turn-resume: the end of the turn';
    ok $running->end, 'turn-resume: the response ends with the turn';
    is ids($next, 1), '6', 'latest-resume: what comes next';
    ok $next->end, 'latest-resume: the response ends with the turn';
}

# one who searches is there before one who resumes, in a new channel

($run, $key) = run();
fill($key, 1, -2, 3);

{
    my @both = map { listen_to($_, $run) } qw(turn turn-resume turn turn-resume);

    is ids($_, 1), '3', 'turn, turn-resume: together in a new channel' for @both;
}


# --- a turn begins, and the ring for it is on its way

{
    my $proxy = Conduit::Proxy->start($Conduit::REDIS_PORT);
    my $slow = nginx_start(server => pages()
        . 'location /stop/ { conduit_gateway ' . $proxy->url . ';'
        . 'conduit_gateway_auth off; conduit_gateway_key "stream:$arg_run";'
        . 'conduit_gateway_format text; conduit_gateway_max_size 16m;'
        . 'conduit_gateway_start turn; conduit_gateway_after_end stop;'
        . 'conduit_gateway_window 1;'

        # the proxy passes a reply on when it has all of it
        . 'conduit_gateway_timeout 60s; }');

    add('stream:ring', '1-0', data => 'x' x 9_000_000);
    add('stream:ring', '2-0', data => 2, end => 1);

    # a client that takes nothing keeps the channel, which has read the END

    my $reader = sse_open($slow, path => '/stop/x?run=ring');

    ok wait_for(60, sub {
        metrics($slow, 'gateway')->{slow_subscribers} == 1
    }), 'a client does not take a long entry';

    $proxy->tell('ring', 'stream:ring');
    add('stream:ring', '3-0', data => 3);
    ok wait_for(60, sub { $proxy->held == 1 }), 'Redis rings for the next turn';

    my $next = sse_open($slow, path => '/stop/x?run=ring');

    is $next->status, 200, 'turn: 200, though the ring has not arrived';

    $proxy->tell('release');
    is $next->event->{id}, '3-0', 'turn: the turn that has begun';
    $_->close for $reader, $next;
}


# --- a client's start is found to be of a stream that was deleted, while that of
# another client is searched

{
    my $proxy = Conduit::Proxy->start($Conduit::REDIS_PORT);
    my $slow = nginx_start(server => pages()
        . 'location /new/ { conduit_gateway ' . $proxy->url . ';'
        . 'conduit_gateway_auth off; conduit_gateway_key "stream:$arg_run";'
        . 'conduit_gateway_format text; conduit_gateway_start latest;'
        . 'conduit_gateway_timeout 60s; }');

    my $ask = sub {
        Conduit::SSE->open($slow->port, 'GET', "/new/x?run=$_[0]", later => 1);
    };
    my $is_told = sub {
        my ($sse, $id) = @_;
        return $sse->until(20, sub { $sse->body =~ /^id: \Q$id\E\n\n/m });
    };

    # Redis has the worker's script then

    my $other = $ask->('other');
    ok $is_told->($other, '0-0'),
        'another stream: a client of one without entries';
    $other->close;

    # the first question is the search, which finds 9-0; the second one is asked
    # after that, of another stream then; so two more follow

    fill('stream:new', 9);
    $proxy->tell('before', 'stream:new', $_) for 2, 3;

    my $at_end = $ask->('new');
    ok wait_for(60, sub { $proxy->held == 1 }),
        'another stream: a start is found';

    redis('DEL', 'stream:new');
    fill('stream:new', 1 .. 3);
    $proxy->tell('step');
    ok wait_for(60, sub { $proxy->held == 2 }),
        'another stream: the worker asks again';

    my $before = metrics($slow, 'gateway')->{searches_total};
    my $at_two = $ask->('new&since=2');
    ok wait_for(60, sub {
        metrics($slow, 'gateway')->{searches_total} == $before + 1
    }), 'another stream: a second start is searched';

    $proxy->tell('release');

    is ids($at_two, 2), '2 3',
        'another stream: the second client has its start';
    ok $is_told->($at_end, '3-0'),
        'another stream: the first client starts at the latest entry there';
    fill('stream:new', 4);
    is ids($at_end, 1), '4', 'another stream: it gets what comes after that';
    $_->close for $at_end, $at_two;
}


done_testing();
