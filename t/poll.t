# Copyright (C) Conduit for NGINX authors
#
# "Accept: application/json" at conduit_gateway: the events after a position as
# a JSON array, at once, or with "wait" when the first one comes.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::H2;
use Conduit::Metrics;
use Conduit::Proxy;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

my $REDIS = "redis://127.0.0.1:$Conduit::REDIS_PORT";
my $JSON = JSON::PP->new->utf8->allow_nonref;
my $proxy = Conduit::Proxy->start($Conduit::REDIS_PORT);
my $old = nginx_version() < 1025001 ? ' http2' : '';
my $h2_port = free_port();

sub location {
    my ($path, @directives) = @_;

    my $redis = $path =~ /^held/ ? $proxy->url : $REDIS;

    return "location /$path/ { conduit_gateway $redis;"
           . 'conduit_gateway_auth off; conduit_gateway_key "stream:$arg_run";'
           . 'conduit_gateway_drain 300ms;'
           . join('', map { "conduit_gateway_$_;" } @directives) . "}\n";
}

my $SERVER = join '', pages(), map { location(@$_) }
    (map { [$_, "format $_"] } qw(conduit payload json text)),
    ['turn', 'format text', 'start turn'],
    ['latest', 'format text', 'start latest'],
    ['stop', 'format text', 'after_end stop'],
    ['rare', 'format text', 'after_end stop', 'wakeup poll 60s'],
    ['resume', 'format text', 'resume_only on'],
    ['small', 'format text', 'buffer_size 100'],
    ['tiny', 'format text', 'window 1', 'read_count 1', 'buffer_size 60'],
    ['few', 'format text', 'read_count 1'],
    ['held-few', 'format text', 'read_count 1', 'wakeup poll 60s'],
    ['coalesce', 'format text', 'coalesce 200ms'],
    ['hold', 'format text', 'coalesce 1s'],
    ['polls', 'format text', 'wakeup poll 50ms'],
    ['short', 'format text', 'max_wait 300ms'],
    ['no-wait', 'format text', 'max_wait 0'],
    ['no-cors', 'format text', 'cors off'],
    ['held', 'format text', 'outage 500ms'],
    ['held-none', 'format text', 'outage 0'],
    ['held-long', 'format text', 'outage 60s'];

my $nginx = nginx_start(
    log_level => 'info',
    http => ($old ? '' : 'http2 on;') . <<'EOC'
    log_format ends '$arg_n $status $conduit_gateway_events '
                    '$conduit_gateway_bytes $conduit_gateway_losses '
                    '$conduit_gateway_close';
    access_log logs/ends.log ends;
    limit_conn_zone $arg_limit zone=limit:1m;
    limit_conn limit 1;
EOC
    . "server { listen 127.0.0.1:$h2_port$old; $SERVER }",
    server => $SERVER . gateway_location('conduit_gateway_expire on;') . <<'EOC'
    location /again/ {
        return 404;
        error_page 404 = /text/x?$args;
    }
    location /sub/ {
        add_before_body /text/x;
        empty_gif;
    }
EOC
    . location('action') =~ s/\}$/conduit_gateway_format text;
                                   post_action \/text\/x?\$args; }/r);

my ($runs, $requests) = (0, 0);

# the argument of a new stream, and its key
sub run {
    my $run = 'run-' . ++$runs;

    return ($run, "stream:$run");
}

sub add { return redis('XADD', @_) }

sub entry { return add($_[0], "$_[1]-0", data => $_[2], @_[3 .. $#_]) }

# entries N-0, those whose N is negative end a turn
sub fill {
    my ($key, @n) = @_;

    add($key, abs($_) . '-0', data => abs $_, $_ < 0 ? (end => 1) : ())
        for @n;
}

# sends a request; its response is read with answer()
sub ask {
    my ($path, $run, %o) = @_;

    my $n = ++$requests;
    my $args = join '', map { defined $o{$_} ? "&$_=$o{$_}" : () }
               qw(wait since last_event_id limit);

    my $c = Conduit::SSE->open(
        $nginx->port, $o{method} // 'GET', "/$path/x?run=$run&n=$n$args",
        later => 1,
        headers => { Accept => $o{accept} // 'application/json',
                     defined $o{id} ? ('Last-Event-ID' => $o{id}) : (),
                     %{ $o{headers} // {} } });

    $c->{n} = $n;
    return $c;
}

# its status, headers, body, the decoded array, the data of the events
sub answer {
    my $c = shift;

    $c->end(30) or die 'no answer';

    my %a = (n => $c->{n}, status => $c->status, headers => $c->headers,
             body => $c->body);

    $c->close;

    if (($a{headers}{'content-type'} // '') eq 'application/json'
        && $c->{method} ne 'HEAD')
    {
        $a{events} = $JSON->decode($a{body});
        $a{data} = join ' ', map { ref $_->{data} ? '{}' : $_->{data} // 'null' }
                   @{ $a{events} };
    }

    $a{next} = $a{headers}{'conduit-next-id'};
    $a{all} = $a{headers}{'conduit-up-to-date'} // '';
    $a{ended} = $a{headers}{'conduit-stream-ended'} // '';

    return \%a;
}

sub pull { return answer(ask(@_)) }

# waits until a worker has so many pulls that wait
sub waiting {
    my ($n, $title) = @_;

    becomes($nginx, 'gateway', 'pulls', $n, $title // "so many wait: $n");
}

# what the log says of a request: status, events, bytes, losses, close
sub logged {
    my $a = shift;
    my $line;

    wait_for(20, sub {
        ($line) = read_file($nginx->root . '/logs/ends.log')
                  =~ /^$a->{n} (.*)$/m;
    });

    return $line;
}


# --- an answer at once

my ($run, $key) = run();

my $a = pull('text', $run);

is $a->{status}, 200, 'no stream: 200';
is $a->{body}, "[]\n", 'no stream: an empty array';
is $a->{next}, '0-0', 'no stream: the next position is the beginning';
is $a->{all}, 'true', 'no stream: that is all';
is $a->{headers}{'content-length'}, 3, 'the length is known';
is $a->{headers}{'cache-control'}, 'no-store', 'no cache keeps an answer';
is $a->{headers}{'vary'}, 'Accept', 'caches are told that Accept decides';
is $a->{headers}{'access-control-allow-origin'}, '*',
    'pages of any origin may read an answer';
like $a->{headers}{'access-control-expose-headers'}, qr/\bConduit-Next-Id\b/,
    'pages of any origin may read where to go on';
is $a->{headers}{'content-encoding'}, undef, 'an answer is not compressed';
is logged($a), '200 0 3 0 answered', 'the log says what was sent';

fill($key, 1, 2, 3);
$a = pull('text', $run);

is_deeply $a->{events}, [map { { id => "$_-0", data => "$_" } } 1 .. 3],
    'without a position: all that is kept';
is $a->{next}, '3-0', 'the next position is the last event';
is $a->{all}, 'true', 'all: there is no more';
is $a->{ended}, '', 'a stream without END has not ended';
is logged($a), '200 3 ' . length($a->{body}) . ' 0 answered',
    'the log says how many events were sent';

is pull('text', $run, id => '1-0')->{data}, '2 3', 'after Last-Event-ID';
is pull('text', $run, last_event_id => '2-0')->{data}, '3',
    'after the argument last_event_id';
is pull('text', $run, last_event_id => '0-0')->{data}, '1 2 3',
    'after 0-0: all';
is pull('text', $run, id => '3-0')->{body}, "[]\n", 'after the last: none';
is pull('text', $run, id => '3-0')->{next}, '3-0',
    'no event: the position stays';

$a = pull('text', $run, since => '-1s');
is $a->{body}, "[]\n", 'the argument since: nothing is that new';
is $a->{next}, '3-0', 'the argument since: the next request has a position';


# --- which requests get JSON

my @ACCEPT = (
    ['application/json' => 'json'],
    ['application/JSON; charset=utf-8' => 'json'],
    ['application/json, text/plain, */*' => 'json'],
    ['text/html, application/json;q=0.1' => 'json'],
    ['application/json, text/event-stream;q=0.9' => 'json'],
    ['application/json;q=0.9, text/event-stream;q=0.8' => 'json'],
    ['application/json, text/event-stream' => 'sse'],
    ['application/json;q=0.5, text/event-stream;q=0.5' => 'sse'],
    ['application/json;q=0.5, text/event-stream' => 'sse'],
    ['application/json;q=0' => 'sse'],
    ['text/event-stream' => 'sse'],
    ['application/*' => 'sse'],
    ['application/json5' => 'sse'],
    ['*/*' => 'sse'],
    ['' => 'sse'],
);

for my $case (@ACCEPT) {
    my ($accept, $wanted) = @$case;
    my $c = ask('text', $run, accept => $accept);

    $c->until(20, sub { $c->parse_header });
    is $c->headers->{'content-type'},
        $wanted eq 'json' ? 'application/json' : 'text/event-stream',
        "Accept \"$accept\": $wanted";
    $c->close;
}

my $c = Conduit::SSE->open($nginx->port, 'GET', "/text/x?run=$run&wait=x");

is $c->headers->{'content-type'}, 'text/event-stream', 'without Accept: SSE';
is $c->status, 200, 'an event stream does not look at the argument wait';
$c->close;


# --- the formats

my %message = (phase => 'DELTA', sequence => 7, payload => { t => "a\"\n" });

($run, $key) = run();
entry($key, 1, message(%message));
entry($key, 2, 'no message');
entry($key, 3, message(phase => 'END'));
entry($key, 4, message(%message));

$a = pull('conduit', $run);

is_deeply [map { [@$_{qw(id event)}, $_->{data}{phase}, $_->{data}{payload}] }
           @{ $a->{events} }],
    [['1-0', 'stream', 'PHASE_DELTA', { t => "a\"\n" }],
     ['3-0', 'stream', 'PHASE_END', undef]],
    'conduit: an object for each message, up to END';
is_deeply [sort keys %{ $a->{events}[0]{data} }],
    [qw(channel_id event_type message_id payload phase sequence)],
    'conduit: the envelope is that of the event stream';
is $a->{ended}, 'true', 'END is told';
is $a->{all}, '', 'END: there is more';
like logged($a), qr/^200 2 \d+ 0 end$/, 'the log has the end of the stream';

$a = pull('conduit', $run, id => $a->{next});
is $a->{events}[0]{id}, '4-0', 'after END there is the next turn';
is $a->{ended}, '', 'the next turn has not ended';

is_deeply pull('payload', $run)->{events},
    [{ id => '1-0', data => { t => "a\"\n" } },
     { id => '3-0', data => '[DONE]' }],
    'payload: payloads, and [DONE] as a string';

($run, $key) = run();
entry($key, 1, qq( {"a" :\t[1, 2.50,\n"\\u0000"]} ));
entry($key, 2, '{');
entry($key, 3, 'null');
entry($key, 4, '5', end => 1);

$a = pull('json', $run);
is $a->{body}, '[{"id":"1-0","data":{"a":[1,2.50,"\u0000"]}},'
    . qq({"id":"3-0","data":null},{"id":"4-0","data":5}]\n),
    'json: values are copied without their white space';
is $a->{ended}, 'true', 'json: the end field is told';

($run, $key) = run();
entry($key, 1, "a\"b\\c\td\0\x1f\x7f");
entry($key, 2, "one\ntwo\r\nthree\rfour\n");
entry($key, 3, "\xc3\xa9\xff\xf0\x9f\x98\x80");
entry($key, 4, '');
redis('XADD', $key, '5-0', 'end', 1);

$a = pull('text', $run);
is_deeply [map { $_->{data} } @{ $a->{events} }],
    ["a\"b\\c\td\0\x1f\x7f", "one\ntwo\nthree\nfour\n",
     "\x{e9}\x{fffd}\x{1f600}", ''],
    'text: values are strings, and an END without a value is no event';
is $a->{next}, '5-0', 'an END without a value moves the position';
is $a->{ended}, 'true', 'an END without a value is told';


# --- bounds

($run, $key) = run();
fill($key, 1 .. 30);

$a = pull('small', $run);
my $first = @{ $a->{events} };
cmp_ok $first, '<', 30, 'an answer is bounded by conduit_gateway_buffer_size';
cmp_ok length $a->{body}, '>=', 100, 'the bound is reached';
cmp_ok length $a->{body}, '<', 150, 'the bound is passed by one event at most';
is $a->{next}, "$first-0", 'the answer goes on after its last event';
is $a->{all}, '', 'an answer that was cut is not up to date';

for my $path (qw(small tiny polls coalesce)) {
    my ($next, @all, $n) = ('0-0');

    do {
        $a = pull($path, $run, id => $next, wait => '1s');
        push @all, map { $_->{data} } @{ $a->{events} };
        $next = $a->{next};
    } while (!$a->{all} && ++$n < 60);

    is "@all", join(' ', 1 .. 30), "$path: many answers have each event once";
    is $a->{all}, 'true', "$path: the last answer is up to date";
}


# --- the argument wait

for my $wait ('x', '-1', '1y', '20s20s', '1s;', '%32%30%', '1&wait=1') {
    $a = pull('text', $run, wait => $wait);
    is $a->{status}, 400, "wait=$wait: 400";
    is $a->{body}, 'Invalid wait', "wait=$wait: the reply says why";
}

for my $wait ('', '0', '0s') {
    is pull('text', $run, id => '30-0', wait => $wait)->{body}, "[]\n",
        "wait=$wait: an answer at once";
}

is pull('no-wait', $run, id => '30-0', wait => '1h')->{body}, "[]\n",
    'conduit_gateway_max_wait 0: an answer at once';
is pull('text', $run, wait => '60s')->{all}, 'true',
    'there are events already: an answer at once';

my $start = time;

$a = pull('text', $run, id => '30-0', wait => '300ms');
cmp_ok time - $start, '>=', 0.3, 'wait=300ms: no answer before that';
is $a->{body}, "[]\n", 'nothing came: an empty array';
is $a->{status}, 200, 'nothing came: 200';
is $a->{next}, '30-0', 'nothing came: the position stays';
is $a->{all}, 'true', 'nothing came: the client is up to date';
like logged($a), qr/^200 0 3 0 answered$/, 'nothing came: the log says so';

{
    my ($held, $held_key) = run();
    my $sse = sse_open($nginx, path => "/hold/x?run=$held");
    my $n = 0;

    # the first event is sent at once, the next one a second later.  On a busy
    # machine, the request may be over before that event is there

    for (1 .. 5) {
        fill($held_key, ++$n);
        $sse->event;

        my $decoded = metrics($nginx, 'gateway')->{frames_total};
        my $started = time;

        $c = ask('hold', $held, id => "$n-0", wait => '700ms');
        fill($held_key, ++$n);
        becomes($nginx, 'gateway', 'frames_total', $decoded + 1,
                'an event is held back');

        my $early = time - $started < 0.6;

        $a = answer($c);
        $sse->event;
        last if $early && $a->{body} eq "[]\n";
    }

    is $a->{body}, "[]\n", 'an event is held back: an empty array';
    is $a->{all}, '', 'an event is held back: the client is not up to date';
    $sse->close;
}

$start = time;
is pull('short', $run, id => '30-0', wait => '60')->{body}, "[]\n",
    'conduit_gateway_max_wait: a longer wait is cut';
cmp_ok time - $start, '<', 30, 'conduit_gateway_max_wait: the wait is cut';

my $last = 30;

for my $path (qw(text polls coalesce)) {
    $c = ask($path, $run, id => "$last-0", wait => '60s');
    waiting(1, "$path: the request waits");
    fill($key, ++$last);
    $a = answer($c);
    is $a->{data}, $last, "$path: a waiting request is woken by an event";
    is $a->{all}, 'true', "$path: a woken request is up to date";
    waiting(0, "$path: nothing waits");
}

# entries that take longer than a turn of the event loop: a request that waits
# may get the first ones
{
    my ($slow, $slow_key) = run();
    my $value = '[' . join(',', ('[]') x 8000) . ']';

    add($slow_key, '1-0', data => 1);
    $c = ask('json', $slow, id => '1-0', wait => '60s');
    waiting(1, 'slow entries: the request waits');
    redis('EVAL', "for n = 2, 6 do redis.call('XADD', KEYS[1], n .. '-0',"
                  . " 'data', ARGV[1]) end", 1, $slow_key, $value);

    $a = answer($c);

    my $n = @{ $a->{events} };

    is $a->{all}, $n == 5 ? 'true' : '',
        "slow entries: $n of 5 are sent, and up to date is told accordingly";
    is $a->{next}, 1 + $n . '-0', 'slow entries: the position is the last one';
}

my ($fresh, $fresh_key) = run();

$c = ask('text', $fresh, wait => '60s');
waiting(1, 'a stream that does not exist is waited for');
fill($fresh_key, 1);
is answer($c)->{data}, '1', 'a new stream wakes the request';

# several wait, and a subscriber of the same channel
my $sse = sse_open($nginx, path => "/text/x?run=$fresh");
my @many = map { ask('text', $fresh, id => '1-0', wait => '1m') } 1 .. 20;

waiting(20);
fill($fresh_key, 2);
is join(' ', map { answer($_)->{data} } @many), join(' ', (2) x 20),
    'one event wakes all who wait';
is join(' ', map { $_->{data} } $sse->events(2)), '1 2',
    'the subscriber of the same channel gets it, too';

fill($fresh_key, 3);
is pull('text', $fresh, id => '2-0')->{data}, '3',
    'beside a subscriber: what was published before the request is there';
is pull('text', $fresh, id => '2-0', wait => '60s')->{data}, '3',
    'beside a subscriber: a request that may wait gets it, too';
$sse->close;


# --- where a client starts

($run, $key) = run();

$a = pull('latest', $run);
is $a->{body}, "[]\n", 'start latest, no stream: no event';
is $a->{next}, '0-0', 'start latest, no stream: the beginning is the position';
fill($key, 1, 2);
is pull('latest', $run, id => $a->{next})->{data}, '1 2',
    'start latest: what was published between two requests is not lost';

$a = pull('latest', $run);
is $a->{body}, "[]\n", 'start latest: no event that is there';
is $a->{next}, '2-0', 'start latest: the newest is the position';

$c = ask('latest', $run, wait => '60s');
waiting(1);
fill($key, 3);
is answer($c)->{data}, '3', 'start latest: the next event wakes';

fill($key, -4, 5, 6);
is pull('turn', $run)->{data}, '5 6', 'start turn: what is running';

$a = pull('stop', $run, id => '3-0');
is $a->{ended}, 'true', 'after_end stop: END is told';
is pull('stop', $run, id => '4-0')->{data}, '5 6',
    'after_end stop: another turn follows';
fill($key, -7);
$a = pull('stop', $run, id => '7-0', wait => '60s');
is $a->{status}, 204, 'after_end stop: 204 at the END';
is $a->{next}, '7-0', 'after_end stop: 204 has the position';
like logged($a), qr/^204 0 0 0 end$/, 'after_end stop: the log says so';
is pull('resume', $run)->{status}, 204, 'resume_only: 204, nothing is running';
fill($key, 8);
is pull('resume', $run)->{data}, '1 2 3 4', 'resume_only: something is running';

# a worker that reads a stream once a minute has its END, as a client that does
# not read keeps the channel
{
    my ($rare, $rare_key) = run();

    entry($rare_key, $_, 'x' x 900_000) for 1 .. 8;
    fill($rare_key, -9);

    my $slow = metrics($nginx, 'gateway')->{slow_total};
    my $client = sse_open($nginx, path => "/rare/x?run=$rare", rcvbuf => 4096);

    becomes($nginx, 'gateway', 'slow_total', $slow + 1,
            'after_end stop: a client does not read');
    is pull('rare', $rare, id => '9-0')->{status}, 204,
        'after_end stop: 204 at the END that the worker has read';
    fill($rare_key, 10);
    is pull('rare', $rare, id => '9-0')->{data}, '10',
        'after_end stop: what follows the END that the worker has read';
    $client->close;
}

# lost history
redis('XTRIM', $key, 'MAXLEN', '=', 2);
$a = pull('text', $run, id => '3-0');
is $a->{events}[0]{event}, 'control', 'a loss is told before the next event';
is $a->{events}[0]{id}, '3-0', 'a loss has the position of the client';
is $a->{events}[0]{data}{control_type}, 'history_lost', 'it is history_lost';
is $a->{events}[0]{data}{reason}, 'trimmed', 'entries were trimmed';
is $a->{events}[1]{data}, '7', 'the oldest entry that is kept follows';
like logged($a), qr/^200 1 \d+ 1 end$/, 'the log counts a loss';
$a = pull('tiny', $run, id => '3-0');
is "@{[map { $_->{id} } @{ $a->{events} }]}", '3-0 7-0',
    'a loss alone fills no answer';
is pull('tiny', $run, id => $a->{next})->{data}, '8', 'a loss is told once';

redis('DEL', $key);
fill($key, 9);
$a = pull('text', $run, id => '5-0');
# before 7.0, Redis does not tell how many entries a stream has had
is $a->{events}[0]{data}{reason},
    redis_version() < 7_000_000 ? 'trimmed' : 'gone',
    'a stream made anew is gone';
is $a->{events}[1]{data}, '9', 'its oldest entry follows';


# --- HEAD, CORS, errors

$a = pull('text', $run, method => 'HEAD', wait => '60s');
is $a->{status}, 200, 'HEAD: 200 at once';
is $a->{next}, '9-0', 'HEAD: the position';
cmp_ok $a->{headers}{'content-length'}, '>', 3, 'HEAD: the length';
is $a->{body}, '', 'HEAD: no body';

$a = pull('no-cors', $run);
is $a->{headers}{'access-control-expose-headers'}, undef,
    'conduit_gateway_cors off: no header of CORS';

$a = pull('text', $run, method => 'POST');
is $a->{status}, 405, 'POST: 405';
is pull('text', $run, since => 'x')->{status}, 400, 'a bad since: 400';

($run, $key) = run();
fill($key, 1);
$a = pull('text', $run, headers => { 'If-Match' => '"x"',
                                     'If-None-Match' => '*',
                                     Range => 'bytes=0-1' });
is $a->{status}, 200, 'conditions and ranges are not applied';
is $a->{data}, '1', 'conditions do not change an answer';

$c = ask('text', $run, id => '1-0', wait => '60s', limit => 'one');
waiting(1);
is pull('text', $run, limit => 'one')->{status}, 503,
    'limit_conn counts a request that waits';
$c->close;
waiting(0, 'a client that has gone does not wait any more');
is pull('text', $run, limit => 'one')->{status}, 200,
    'limit_conn: it is not counted any more';

# pipelined requests on one connection
my $pipe = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $nginx->port);
$pipe->print(join '', map { "GET /text/x?run=$run&wait=60s&"
    . "last_event_id=$_-0 HTTP/1.1\r\nHost: x\r\n"
    . "Accept: application/json\r\n\r\n" } 0 .. 2);
waiting(1, 'pipelined requests: the second one waits');
fill($key, 2);
waiting(1, 'pipelined requests: the third one waits');
fill($key, 3);
my $got = '';
wait_for(20, sub { $pipe->blocking(0); $pipe->sysread($got, 4096, length $got);
                   $got =~ /"3"/ });
is_deeply [$got =~ /"data":"(\d)"/g], [1, 2, 3],
    'pipelined requests: each gets its answer';
close $pipe;

# HTTP/2
my $h2 = Conduit::H2->connect($h2_port);
my @h2 = map { $h2->get("/text/x?run=$run&wait=60s&last_event_id=$_-0",
                        headers => [accept => 'application/json']) } 2, 3, 3;
waiting(2, 'HTTP/2: two wait');
fill($key, 4);
ok !(grep { !$_->end(20) } @h2), 'HTTP/2: all are answered';
is join(' ', map { $_->body } @h2[1, 2]),
    join(' ', (qq([{"id":"4-0","data":"4"}]\n)) x 2),
    'HTTP/2: each has the event';
@h2 = map { $h2->get("/text/x?run=$run&wait=60s&last_event_id=4-0",
                     headers => [accept => 'application/json']) } 1, 2;
waiting(2, 'HTTP/2: two more wait');
$h2[0]->reset;
waiting(1, 'HTTP/2: a stream that was reset does not wait');
$h2->close;
waiting(0, 'HTTP/2: a connection that was closed has nothing that waits');

# an internal redirect, "post_action", and a subrequest
is pull('again', $run, last_event_id => '4-0')->{status}, 200,
    'a request that error_page redirects to the location is answered';
is pull('action', $run)->{data}, '1 2 3 4', 'post_action: the answer';
waiting(0, 'post_action: nothing waits');

is pull('sub', $run)->{status}, 200,
    'add_before_body with this location does not end the worker';


# --- tokens

my $path = events_path();

for my $case ([$path => 200], ["$path&wait=x" => 400],
              ["/events/$ORG?token=x&channel_id=$CHANNEL" => 401],
              [events_path(org => 7) =~ s/7\?/8?/r => 403])
{
    my ($to, $status) = @$case;
    my $r = http($nginx, 'GET', $to,
                 headers => { Accept => 'application/json' });

    is $r->{status}, $status, "a request with a token gets $status";
}

my $r = http($nginx, 'GET', "/events/$ORG?channel_id=$CHANNEL&wait=100ms",
             headers => { Accept => 'application/json', Authorization =>
                          'Bearer ' . gateway_token(org_id => 0 + $ORG,
                                                    channel_id => $CHANNEL) });

is $r->{body}, "[]\n", 'a token in the header Authorization';

# the leeway is 60 s
$start = time;
my $short = gateway_token(org_id => 0 + $ORG, channel_id => $CHANNEL,
                          exp => int(time) - 58);
$r = http($nginx, 'GET', events_path(token => $short) . '&wait=60s',
          headers => { Accept => 'application/json' });
is $r->{body}, "[]\n", 'conduit_gateway_expire: the answer comes';
cmp_ok time - $start, '<', 30,
    'conduit_gateway_expire: it comes when the token expires';


# --- Redis is away

($run, $key) = run();
fill($key, 1);

# the second question is that of a channel whose worker is connected

pull('held-none', $run);
$proxy->tell('hold', $key, 1);
$c = ask('held-none', $run);
wait_for(20, sub { $proxy->tell('held') });
$proxy->tell('release');
is answer($c)->{data}, '1',
    'conduit_gateway_outage 0: a server that is up has time to reply';

# more entries come at once than Redis is asked for: what was read is answered, and
# the client is up to date when it has all

{
    my ($run, $key) = run();
    my ($next, @got) = ('1-0');

    fill($key, 1);
    $c = ask('few', $run, id => $next, wait => '60s');
    waiting(1, 'few: the request waits');
    redis('EVAL', "for i = 2, 9 do redis.call('XADD', KEYS[1], i .. '-0', "
                  . "'data', i) end", 1, $key);

    for (1 .. 9) {
        $a = answer($c);
        push @got, split / /, $a->{data};
        $next = $a->{next};

        is $a->{all}, @got < 8 ? '' : 'true',
            'few: up to date after ' . @got . ' of 8' if @got < 8 || $a->{all};
        last if $a->{all};
        $c = ask('few', $run, id => $next);
    }

    is "@got", '2 3 4 5 6 7 8 9', 'few: each entry is answered once';
}

# another stream has the key, which is read from its beginning, an entry at a time,
# while one of the replies is held

for my $n (1 .. 6) {
    my ($run, $key) = run();
    fill($key, 1 .. 5);

    my $sse = sse_open($nginx, path => "/held-few/x?run=$run");
    $sse->events(5);

    redis('EVAL', "redis.call('DEL', KEYS[1]) for i = 1, 3 do redis.call("
                  . "'XADD', KEYS[1], i .. '-0', 'data', 'new ' .. i) end",
          1, $key);
    $proxy->tell('hold', $key, $n);
    $c = ask('held-few', $run, id => '5-0');
    wait_for(20, sub {
        $c->until(0.01, sub { $c->{ended} }) || $proxy->tell('held');
    });
    $proxy->tell('release');

    $a = answer($c);
    is $a->{data}, 'new 1 new 2 new 3',
        "reply $n is held: all there was before the request is answered";
    is $a->{all}, 'true', "reply $n is held: the client is up to date";
    $sse->close;
}

is pull('held', $run)->{data}, '1', 'through the proxy';

$c = ask('held', $run, id => '1-0', wait => '60s');
waiting(1);
redis_stop();
$a = answer($c);
is $a->{status}, 200, 'Redis goes: who waited is answered after the outage';
is $a->{body}, "[]\n", 'Redis goes: no event';
is $a->{next}, '1-0', 'Redis goes: the position stays';
is $a->{all}, '', 'Redis goes: nobody knows whether that is all';
like logged($a), qr/ outage$/, 'Redis goes: the log says so';

$a = pull('held', $run, id => '1-0');
is $a->{status}, 503, 'without Redis: 503';
is $a->{headers}{'retry-after'}, 1, 'without Redis: Retry-After';
is $a->{body}, 'Redis is not available', 'without Redis: the reply says why';
is $a->{headers}{'cache-control'}, 'no-store', 'without Redis: not cached';
is $a->{next}, '1-0', 'without Redis: the position stays';
like logged($a), qr/^503 0 \d+ 0 outage$/, 'without Redis: the log says so';
is pull('held', $run)->{next}, '0-0',
    'without Redis: a client without a position starts with the oldest';
is pull('held', $run, wait => '60s')->{status}, 503,
    'without Redis: who waits gets 503 after the outage';

my @back = map { ask('held-long', $run, id => '0-0', wait => '60s') } 1 .. 3;

waiting(3, 'without Redis: a request waits for it');
redis_start();

# one entry: they may be answered before a second one is added

fill($key, 1);
is join(' ', map { answer($_)->{data} } @back), '1 1 1',
    'Redis is back: who waits is answered';


# --- many requests while others publish

for my $path (qw(text small tiny polls)) {
    my ($run, $key) = run();
    my $n = 300;
    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        my $socket = IO::Socket::INET->new(
            PeerAddr => "127.0.0.1:$Conduit::REDIS_PORT");

        for my $i (1 .. $n) {
            my $end = $i % 50 ? '' : ' end 1';

            $socket->print("XADD $key * data $i$end\r\n");
            $socket->sysread(my $reply, 4096);
        }

        $socket->print("XADD $key * data last\r\n");
        $socket->sysread(my $reply, 4096);
        POSIX::_exit(0);
    }

    my ($next, @data) = ('0-0');

    while (!@data || $data[-1] ne 'last') {
        $a = pull($path, $run, id => $next, wait => '10s');
        $next = $a->{next};
        push @data, map { $_->{data} } @{ $a->{events} };
        last if $a->{body} eq "[]\n";
    }

    waitpid $pid, 0;

    is "@data", join(' ', 1 .. $n, 'last'),
        "$path: polls while others publish get each event once, in order";
}


# --- the worker leaves

($run, $key) = run();
fill($key, 1);

my @leave = map { ask('text', $run, id => '1-0', wait => '60s') } 1 .. 10;
my @blank = map { ask('latest', $run, wait => '60s') } 1 .. 2;

waiting(12);

my %workers = map { $_ => 1 } $nginx->workers;

$nginx->reload;

for my $a (map { answer($_) } @leave) {
    is "$a->{status} $a->{body}", "200 []\n", 'reload: an answer without event';
    is $a->{next}, '1-0', 'reload: the position stays';
    is $a->{all}, '', 'reload: the answer is not up to date';
    like logged($a), qr/^200 0 3 0 drain$/, 'reload: the log says so';
}

is join(' ', map { answer($_)->{next} } @blank), '1-0 1-0',
    'reload: the start that was found is the position';
ok wait_for(20, sub { !grep { $workers{$_} } $nginx->workers }),
    'reload: the old worker leaves';
fill($key, 2);
is pull('text', $run, id => '1-0')->{data}, '2',
    'reload: the next request goes on';

$c = ask('text', $run, id => '2-0', wait => '60s');
waiting(1);
$nginx->stop('QUIT');
is answer($c)->{body}, "[]\n", 'QUIT: who waits is answered';

done_testing;
