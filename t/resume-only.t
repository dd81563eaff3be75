# Copyright (C) Conduit for NGINX authors
#
# conduit_gateway_resume_only: a client without a position gets the stream while
# something is running, 204 otherwise.  For each such client, NGINX asks Redis
# after the client has connected.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Metrics;
use Conduit::Proxy;
use Test::More;

my $REDIS = "redis://127.0.0.1:$Conduit::REDIS_PORT";
my $proxy = Conduit::Proxy->start($Conduit::REDIS_PORT);

my %WINDOWS = (
    large => '',
    tiny => 'window 1; read_count 1; buffer_size 1',
    small => 'window 1k; read_count 7',
    polls => 'wakeup poll 50ms; read_count 5',
    stops => 'after_end stop',
);

# users of Redis who may not do all, so that questions have another form: XINFO
# and XREAD instead of a script, XREAD alone

my %RIGHTS = (apart => ['-@scripting'], bare => ['-@scripting', '-xinfo']);

redis('ACL', 'SETUSER', $_, 'on', '>secret', '~*', '&*', '+@all',
      @{ $RIGHTS{$_} }) for sort keys %RIGHTS;

sub location {
    my ($path, $redis, $format, @directives) = @_;

    return "location /$path/ { conduit_gateway $redis;"
           . 'conduit_gateway_auth off; conduit_gateway_key "stream:$arg_run";'
           . "conduit_gateway_format $format; conduit_gateway_drain 300ms;"
           . join('', map { "conduit_gateway_$_;" } @directives) . "}\n";
}

my $nginx = nginx_start(
    log_level => 'info',
    http => <<'EOC',
    log_format ends '$arg_n $status $conduit_gateway_events '
                    '$conduit_gateway_close';
    access_log logs/ends.log ends;
EOC
    server => pages() . join '',
        (map { my $format = $_;
               map { location("$format-$_", $REDIS, $format,
                              'resume_only on',
                              split /; /, $WINDOWS{$_}) }
               sort keys %WINDOWS } qw(conduit payload json text)),
        (map { location("json-$_", $REDIS =~ s{//}{//$_:secret\@}r, 'json',
                        'resume_only on') } sort keys %RIGHTS),
        location('asks', $REDIS, 'json', 'resume_only $arg_resume'),
        location('off', $REDIS, 'json', 'resume_only off'),
        location('held', $proxy->url, 'json', 'resume_only $arg_resume',
                 'retry 50ms'));

my ($runs, $requests) = (0, 0);

# the argument of a new stream, and its key
sub run {
    my $run = 'run-' . ++$runs;

    return ($run, "stream:$run");
}

sub add { return redis('XADD', @_) }

# a client; with later => 1 its response may take its time
sub come {
    my ($path, $run, %o) = @_;

    my $n = ++$requests;
    my $sse = Conduit::SSE->open(
        $nginx->port, 'GET',
        "/$path/x?run=$run&n=$n" . ($o{args} // ''), later => $o{later},
        headers => defined $o{id} ? { 'Last-Event-ID' => $o{id} } : {});

    $sse->{n} = $n;
    return $sse;
}

# what the log says: status, events, $conduit_gateway_close
sub logged {
    my $sse = shift;
    my $line;

    wait_for(20, sub {
        ($line) = read_file($nginx->root . '/logs/ends.log')
                  =~ /^$sse->{n} (.*)$/m;
    });

    return $line;
}

sub is_204 {
    my ($title, $sse) = @_;

    $sse->until(20, sub { $sse->parse_header });
    is $sse->status, 204, "$title: 204";
    is $sse->headers->{'access-control-allow-origin'}, '*',
        "$title: pages of any origin may read it";
    is $sse->headers->{'cache-control'}, 'no-store', "$title: no cache keeps it";
    is logged($sse), '204 0 end', "$title: the log says so";
    $sse->close;
}

# the IDs of the first n events
sub ids { return join ' ', map { $_->{id} } $_[0]->events($_[1]) }

sub whole {
    my ($path, $run, %o) = @_;

    my $sse = come($path, $run, %o);

    $sse->end or die "no end of $path";
    return join ' ', map { $_->{id} } @{ $sse->{events} };
}

my %ENTRY = map {
    my $format = $_;
    my $messages = /conduit|payload/;

    ($format => sub {
        my $end = shift;

        return $messages
               ? (data => message(phase => $end ? 'END' : 'DELTA',
                                  payload => { a => 1 }))
               : (data => '1', $end ? (end => 1) : ());
    });
} qw(conduit payload json text);


# When a worker's links are not up in time, as on a busy machine, a response
# begins before Redis has answered.  So they are up before what is tested.

sub connected {
    my $path = shift;
    my ($run, $key) = run();

    add($key, '1-1', $ENTRY{ $path =~ /^(conduit|payload)/ ? $1 : 'json' }->());

    my $sse = come($path, $run, id => '0-1');

    $sse->event or die "no event of $path";
    $sse->close;
}


# --- each format, with windows of each size

for my $path ((map { my $f = $_; map { "$f-$_" } sort keys %WINDOWS }
               sort keys %ENTRY), map { "json-$_" } sort keys %RIGHTS)
{
    my ($run, $key) = run();
    my $entry = $ENTRY{$path =~ s/-.*//r};

    connected($path);
    is_204("$path: no stream", come($path, $run));

    # the turn runs

    add($key, "$_-1", $entry->()) for 1 .. 20;

    my $sse = come($path, $run);
    my $all = join ' ', map { "$_-1" } 1 .. 22;

    is $sse->status, 200, "$path: something is running";
    add($key, '21-1', $entry->());

    # this one joins those who are there

    my $other = come($path, $run);

    is ids($_, 21), $all =~ s/ 22-1//r, "$path: all of it, from its start"
        for $sse, $other;

    add($key, '22-1', $entry->(1));
    ok $_->end, "$path: the END ends it" for $sse, $other;
    is $sse->events(1, 1)->{id}, '22-1', "$path: and was sent";
    is logged($sse), '200 22 end', "$path: the log says so";

    # it has ended

    is_204("$path: it has ended", come($path, $run));
    is whole($path, $run, id => '20-1'), '21-1 22-1',
        "$path: a client with a position gets the rest";

    next if $path =~ /stops/;

    # somebody waits for the next turn: what is known of the stream is in memory

    my $waits = come($path, $run, id => '22-1');

    is_204("$path: it has ended, for others, too", come($path, $run))
        for 1 .. 2;

    add($key, '23-1', $entry->());
    is whole_start($path, $run), '1-1', "$path: the next turn runs";
    is $waits->event->{id}, '23-1', "$path: who waits gets it";

    # the stream is no more

    redis('DEL', $key);
    is_204("$path: it is deleted", come($path, $run));
    add($key, '5-1', $entry->());
    is whole_start($path, $run), '5-1', "$path: it is made anew";
    is $waits->event->{id}, '5-1', "$path: who waits gets that";
    $waits->close;
}

# the ID of the first event of a stream that does not end
sub whole_start {
    my $sse = come(@_);
    my $id = $sse->event->{id};

    $sse->close;
    return $id;
}


# --- an empty stream, and one whose newest entries are deleted

my ($run, $key) = run();

add($key, '1-1', data => 1);
redis('XDEL', $key, '1-1');
is_204('an empty stream', come($_, $run))
    for qw(json-large json-tiny json-apart json-bare);

add($key, "$_-1", data => 1) for 2 .. 9;
add($key, '10-1', data => 1, end => 1);
is_204('a stream that has ended', come('json-large', $run));
redis('XDEL', $key, '10-1');
is ids(my $sse = come('json-large', $run), 8),
    join(' ', map { "$_-1" } 2 .. 9), 'its END is deleted: it runs';

redis('XTRIM', $key, 'MAXLEN', 0);
is_204('all is trimmed, while somebody reads', come('json-large', $run));
$sse->close;


# --- which clients are asked whether anything is running

($run, $key) = run();
add($key, '1-1', data => 1, end => 1);

connected('asks');

is_204("resume=$_", come('asks', $run, args => "&resume=$_"))
    for qw(1 on yes 00);
is whole('asks', $run, args => $_), '1-1', "\"$_\" is no: all is sent"
    for '', '&resume=', '&resume=0', '&resume=off';
is whole('off', $run), '1-1', 'off: all is sent';

$sse = come('asks', (run())[0]);
is $sse->status, 200, 'no: a stream that does not exist is waited for';
$sse->close;

$sse = come('asks', $run, args => '&resume=1', id => '1-1');
is $sse->status, 200, 'a client with a position waits, as after_end says';
add($key, '2-1', data => 1);
is $sse->event->{id}, '2-1', 'a client with a position gets what follows';
$sse->close;

is(come('json-stops', $run, id => '2-1')->status, 200,
    'after_end stop: it runs, and the client has all of it');


# --- Redis is asked after the client has come

sub silent {
    my $sse = shift;

    vec(my $bits = '', fileno $sse->socket, 1) = 1;
    return select($bits, undef, undef, 0) == 0;
}

sub held {
    my $n = shift;

    return wait_for(20, sub { $proxy->held >= $n });
}

sub status_of {
    my $sse = shift;

    $sse->until(20, sub { $sse->parse_header });
    return $sse->status;
}

connected('held');

for my $runs (0, 1) {
    my $title = $runs ? 'runs' : 'rests';
    my ($run, $key) = run();

    # the first question

    $proxy->tell('hold', $key, 1);
    $sse = come('held', $run, args => '&resume=1', later => 1);
    held(1);

    # two come while it is out: its answer may be from before they came

    my @others = map { come('held', $run, args => '&resume=1', later => 1) }
                 1 .. 2;

    ok wait_for(20, sub {
        metrics($nginx, 'gateway')->{subscribers} == 3
    }), "$title: all three are counted";
    ok silent($sse), "$title: no status before the answer";

    add($key, '1-1', data => 1) if $runs;
    $proxy->tell('release');

    # the answer that was held says that there is no stream

    is status_of($sse), 204, "$title: by the answer to its own question";
    is status_of($_), $runs ? 200 : 204, "$title: by the answer to a later one"
        for @others;
    is $_->event->{id}, '1-1', "$title: what there is" for $runs ? @others : ();
    $_->close for $sse, @others;
}

# the doorbell is late, or lost

($run, $key) = run();
add($key, '1-1', data => 1, end => 1);

my $waits = come('held', $run, id => '1-1');
is_204('it has ended', come('held', $run, args => '&resume=1'));

$proxy->tell('ring', $key);
add($key, '2-1', data => 2);

$sse = come('held', $run, args => '&resume=1');
is $sse->status, 200, 'the bell is late: Redis is asked';
is $sse->event->{id}, '1-1', 'the bell is late: the stream is sent';
$_->close for $sse, $waits;
$proxy->tell('release');


# --- a question that fails: the header is sent, as nothing may come for long

for my $runs (0, 1) {
    my $title = $runs ? 'fails, runs' : 'fails, rests';
    my ($run, $key) = run();

    $proxy->tell('error-for', $key, 'ERR not now');

    $sse = come('held', $run, args => '&resume=1');
    is $sse->status, 200, "$title: 200";

    add($key, '1-1', data => 1) if $runs;
    $proxy->tell('error-for', $key, '');

    if ($runs) {
        is $sse->event->{id}, '1-1', "$title: it goes on";
        $sse->close;
        next;
    }

    ok $sse->end, "$title: the response ends";
    is_deeply [$sse->events(1, 0)], [], "$title: without an event";
    is logged($sse), '200 0 end', "$title: the log says so";
}


# --- a link that is cut: the question is asked again

($run, $key) = run();
$proxy->tell('hold', $key, 1);
$sse = come('held', $run, args => '&resume=1', later => 1);
held(1);
$proxy->tell('cut', 'link');
$proxy->tell('release');
like status_of($sse), qr/^20[04]$/, 'a cut link: there is an answer';
ok $sse->end, 'a cut link: which ends';


# --- clients that go, a worker that goes

($run, $key) = run();
$proxy->tell('hold', $key, 1);
$sse = come('held', $run, args => '&resume=1', later => 1);
held(1);
$sse->close;
ok wait_for(20, sub { metrics($nginx, 'gateway')->{subscribers} == 0 }),
    'a client that goes meanwhile is not counted any more';

my $last = come('held', $run, args => '&resume=1', later => 1);

ok wait_for(20, sub { metrics($nginx, 'gateway')->{subscribers} == 1 }),
    'another one has come';
$nginx->reload;
is status_of($last), 200, 'the worker quits: 200';
ok $last->end, 'the worker quits: the response ends';
like $last->body, qr/retry: \d+\n\n\z/, 'the worker quits: to come back';
$proxy->tell('release');
connected('held');
is_204('the next worker', come('held', $run, args => '&resume=1'));

done_testing();
