# Copyright (C) Conduit for NGINX authors
#
# conduit_gateway_format durable: the read side of the Durable Streams protocol.
# What readers get in one response, by long polls and by event streams; from
# where they continue, and what they are told if they can't; and how they learn
# that a stream is closed.  The protocol's own tests run in
# t/e2e/durable.test.mjs.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Metrics;
use Conduit::Proxy;
use Test::More;

my $REDIS = "redis://127.0.0.1:$Conduit::REDIS_PORT";
my $proxy = Conduit::Proxy->start($Conduit::REDIS_PORT);
my $TEXT = 'durable_type text/plain';
my $BYTES = 'durable_type image/png';

# users of Redis who may not do all, so that a question has another form: XINFO
# and XREAD instead of a script, XREAD alone

my %RIGHTS = (apart => ['-@scripting'], bare => ['-@scripting', '-xinfo']);

redis('ACL', 'SETUSER', $_, 'on', '>secret', '~*', '&*', '+@all',
      @{ $RIGHTS{$_} }) for sort keys %RIGHTS;

sub location {
    my ($path, $redis, @directives) = @_;

    return "location /$path/ { conduit_gateway $redis;"
           . 'conduit_gateway_format durable; conduit_gateway_key "stream:$arg_run";'
           . 'conduit_gateway_drain 300ms;'
           . join('', map { "conduit_gateway_$_;" }
                  grep({ /^require_claim/ } @directives) ? () : 'auth off',
                  @directives) . "}\n";
}

# the system takes little for the clients of the second server

my $slow_port = free_port();
my $slow_server = "server { listen 127.0.0.1:$slow_port sndbuf=8k;"
                  . location('json', $REDIS) . '}';

my $nginx = nginx_start(log_level => 'info', http => $slow_server,
                        server => pages()
    . 'conduit_gateway_jwt_issuer sentry;'
    . 'conduit_gateway_jwt_audience conduit;'
    . 'conduit_gateway_durable_wait 60s;'
    . "conduit_gateway_jwt_key_file $Conduit::TMP/key.pub;"
    . join '', map { location(@$_) }
      ['json', $REDIS], ['text', $REDIS, $TEXT], ['bytes', $REDIS, $BYTES],
      ['utf8', $REDIS, 'durable_type "application/json; charset=utf-8"'],
      ['short', $REDIS, 'durable_wait 1ms'],
      ['few', $REDIS, 'read_count 2'],
      ['tiny', $REDIS, 'read_count 1', 'window 1', 'buffer_size 1'],
      ['polls', $REDIS, 'wakeup poll 50ms'],
      ['rare', $REDIS, 'wakeup poll 60s', 'read_count 1', 'window 1'],
      ['field', $REDIS, 'field token', 'end_field last'],
      ['endless', $REDIS, 'end_field off'],
      ['small', $REDIS, 'max_size 4'],
      ['alive', $REDIS, 'keepalive 100ms'],
      ['ends', $REDIS, 'max_duration 300ms'],
      ['holds', $REDIS, 'coalesce 300ms'],
      ['claims', $REDIS, 'require_claim run $arg_run'],
      ['pages', $REDIS, 'cors https://app.example.com'],
      ['apart', $REDIS =~ s{//}{//apart:secret\@}r],
      ['bare', $REDIS =~ s{//}{//bare:secret\@}r],
      ['way', $proxy->url, 'outage 1s'],
      ['no-outage', $proxy->url, 'outage 0']);

my $runs = 0;

# the argument of a new stream, and its key
sub run {
    my $run = 'run-' . ++$runs;

    return ($run, "stream:$run");
}

sub add { return redis('XADD', @_) }

# a stream that has no entry yet
sub make {
    my ($run, $key) = run();

    redis('XGROUP', 'CREATE', $key, 'g', '$', 'MKSTREAM');
    redis('XGROUP', 'DESTROY', $key, 'g');
    return ($run, $key);
}

# a stream with n numbers as entries
sub filled {
    my ($run, $key) = run();

    add($key, "$_-0", data => $_) for 1 .. $_[0];
    return ($run, $key);
}

sub offset { return sprintf '%020d-%020d', $_[0], $_[1] // 0 }

sub get {
    my ($path, $run, $args, %o) = @_;

    return http($nginx, $o{method} // 'GET',
                "/$path/x?run=$run" . ($args ? "&$args" : ''), %o);
}

# status, body, then the headers of the protocol
sub is_read {
    my ($title, $r, $status, $body, $next, $marks) = @_;

    my $h = $r->{headers};

    is join(' ', $r->{status}, $r->{body}, $h->{'stream-next-offset'} // '-',
            map({ $h->{"stream-$_"} ? "$_=" . $h->{"stream-$_"} : () }
                'up-to-date', 'closed')),
       join(' ', $status, $body, $next, $marks // ()), $title;
}

my ($ALL, $END) = ('up-to-date=true', 'up-to-date=true closed=true');

sub sse {
    my ($path, $run, $args, %o) = @_;

    return Conduit::SSE->open($nginx->port, 'GET',
                              "/$path/x?run=$run&live=sse&$args", %o);
}

sub poll {
    my ($path, $run, $args, %o) = @_;

    return Conduit::SSE->open($nginx->port, 'GET',
                              "/$path/x?run=$run&live=long-poll&$args",
                              later => 1, %o);
}

sub answer {
    my $poll = shift;

    $poll->end or die 'no answer';
    $poll->close;
    return { status => $poll->status, headers => $poll->headers,
             body => $poll->body };
}

# waits until so many clients wait
sub waiting { becomes($nginx, 'gateway', 'subscribers', @_) }

# one event as text: the kind, and the data, with the cursor as a word
sub shown {
    return join ' ', map { "$_->{event} "
                           . ($_->{data} =~ s/"streamCursor":"\d+"/CURSOR/r) }
                     @_;
}

# which of the control events say that the client is up to date
sub marks {
    return [map { $_->{json}{upToDate} ? 1 : 0 }
            grep { $_->{event} eq 'control' } @_];
}

sub control {
    my ($ms, @rest) = @_;

    return 'control {"streamNextOffset":"' . offset($ms) . '",'
           . join(',', @rest) . '}';
}

my @MORE = ('CURSOR');
my @TAIL = ('CURSOR', '"upToDate":true');
my @CLOSED = ('"upToDate":true', '"streamClosed":true');


# --- no stream

{
    my ($run) = run();

    for my $args ('', 'offset=-1', 'offset=now', 'offset=1-0',
                  map { ("offset=-1&live=$_", "offset=now&live=$_") }
                  qw(sse long-poll))
    {
        my $r = get('json', $run, $args);

        is_read("$args: no stream is 404", $r, 404, 'Stream not found', '-');
        is $r->{headers}{'cache-control'}, 'no-store', "$args: it is not kept";
        is $r->{headers}{'x-content-type-options'}, 'nosniff',
            "$args: browsers do not guess its type";
        is $r->{headers}{'cross-origin-resource-policy'}, 'cross-origin',
            "$args: pages of other sites may load it";
    }

    is get('json', $run, '', method => 'HEAD')->{status}, 404,
        'HEAD: no stream is 404';
    is get('json', $run, '', method => 'PUT')->{status}, 405,
        'streams are not written';
}


# --- a stream, read in one piece

{
    my ($run, $key) = make();
    my $zero = offset(0);

    is_read('an empty stream is an empty array', get('json', $run), 200, '[]',
            $zero, $ALL);
    is_read('an empty stream has no bytes', get('text', $run), 200, '', $zero,
            $ALL);
    is_read('HEAD of an empty stream', get('json', $run, '', method => 'HEAD'),
            200, '', $zero);

    add($key, '5-0', data => '{ "a": 1 }');
    add($key, '7-3', data => '[2]', other => 'x');
    add($key, '10-0', data => '"three"');

    my %from = ('' => '[{"a":1},[2],"three"]',
                'offset=-1' => '[{"a":1},[2],"three"]',
                "offset=$zero" => '[{"a":1},[2],"three"]',
                'offset=5-0' => '[[2],"three"]',
                'offset=' . offset(7, 3) => '["three"]',
                'offset=10-0' => '[]', 'offset=now' => '[]');

    for my $args (sort keys %from) {
        my $r = get('json', $run, $args);

        is_read("$args: entries after it as an array", $r, 200, $from{$args},
                offset(10), $ALL);
        is $r->{headers}{'content-type'}, 'application/json', "$args: the type";
    }

    is get('utf8', $run)->{headers}{'content-type'},
        'application/json; charset=utf-8', 'the type keeps its parameters';
    is get('utf8', $run, 'offset=7-3')->{body}, '["three"]',
        'a type with parameters is JSON, too';

    my $r = get('text', $run, 'offset=5-0&other=1');

    is_read('text: values are joined', $r, 200, '[2]"three"', offset(10), $ALL);
    is $r->{headers}{'content-type'}, 'text/plain', 'text: the type';
    is $r->{headers}{'content-length'}, 10, 'text: its length is told';

    $r = get('json', $run, '', method => 'HEAD');
    is_read('HEAD tells the end of the stream', $r, 200, '', offset(10));
    is $r->{headers}{'content-type'}, 'application/json', 'HEAD: the type';
    is $r->{headers}{'cache-control'}, 'no-store', 'HEAD is not kept';

    is_read('entries are read again at each request, in one worker or another',
            get('json', $run, 'offset=' . offset(split /-/,
                                      add($key, '11-0', data => 11) && '10-0')),
            200, '[11]', offset(11), $ALL);
}

{
    my ($run, $key) = run();

    add($key, '1-0', data => "a\r\0\xff");
    add($key, '2-0', data => '');
    add($key, '3-0', data => "\n");
    is_read('bytes are sent as they are', get('bytes', $run), 200,
            "a\r\0\xff\n", offset(3), $ALL);
    is get('bytes', $run)->{headers}{'content-type'}, 'image/png',
        'bytes: the type';
}

for my $way ('apart', 'polls') {
    my ($run) = filled(3);

    is_read("$way: read in one piece", get($way, $run, 'offset=1-0'), 200,
            '[2,3]', offset(3), $ALL);
    is_read("$way: HEAD", get($way, $run, '', method => 'HEAD'), 200, '',
            offset(3));
    is get($way, 'none')->{status}, 404, "$way: no stream is 404";
}

{
    my ($run) = filled(3);

    is get('bare', $run)->{status}, 503,
        'without XINFO it is not known whether there is a stream';
}


# --- pages

for my $path ('few', 'tiny') {
    my ($run) = filled(7);
    my ($next, @got) = ('-1');

    for (1 .. 20) {
        my $r = get($path, $run, "offset=$next");

        push @got, $r->{body} =~ /(\d+)/g;
        $next = $r->{headers}{'stream-next-offset'};

        is $r->{headers}{'stream-up-to-date'}, @got < 7 ? undef : 'true',
            "$path: up to date after " . @got . ' of 7'
            if @got < 7 || $r->{headers}{'stream-up-to-date'};
        last if $r->{headers}{'stream-up-to-date'};
    }

    is "@got", '1 2 3 4 5 6 7', "$path: page by page, each entry is read once";
}

{
    my ($run, $key) = run();

    add($key, "$_-0", data => '"' . 'x' x 700_000 . '"') for 1 .. 3;

    my $r = get('json', $run);

    is $r->{headers}{'stream-next-offset'}, offset(2),
        'a body of a megabyte gets no other entry';
    is $r->{headers}{'stream-up-to-date'}, undef, 'a large body: more follows';
    is length get('json', $run, 'offset=2-0')->{body}, 700_004,
        'a large body: the next one has the rest';
}


# --- arguments

{
    my ($run) = filled(1);

    my %bad = (
        'offset=' => 'Invalid offset', 'offset=1' => 'Invalid offset',
        'offset=1-0&offset=1-0' => 'Invalid offset',
        'offset=a' => 'Invalid offset', 'offset=-2' => 'Invalid offset',
        'offset=1%2C0' => 'Invalid offset', 'offset=1-0%20' => 'Invalid offset',
        'offset=%zz' => 'Invalid offset',
        'live=sse' => 'Missing offset', 'live=long-poll' => 'Missing offset',
        'offset=-1&live=' => 'Invalid live',
        'offset=-1&live=poll' => 'Invalid live',
        'offset=-1&live=sse&live=sse' => 'Invalid live',
    );

    for my $args (sort keys %bad) {
        my $r = get('json', $run, $args);

        is_read("$args: is refused", $r, 400, $bad{$args}, '-');
        is $r->{headers}{'x-content-type-options'}, 'nosniff',
            "$args: browsers do not guess its type";
    }

    is get('json', $run, $_)->{status}, 200, "$_: is ignored"
        for 'cursor=x', 'cursor=', 'cursor=99999999999999999999', 'x=1',
            'last_event_id=1-0';
}


# --- entity tags

{
    my ($run, $key) = filled(2);

    my $tag = sub { get('json', $run, @_)->{headers}{etag} };
    my $again = sub {
        return get('json', $run, '', headers => { 'If-None-Match' => $_[0] });
    };
    my $first = $tag->();
    my $r = get('json', $run);

    is $first, '"-1:' . offset(2) . '"', 'an entity tag has both offsets';
    is $r->{headers}{'cache-control'},
        'private, max-age=60, stale-while-revalidate=300',
        'entries may be kept by the browser';
    is $tag->('offset=1-0'), '"' . offset(1) . ':' . offset(2) . '"',
        'another offset has another tag';
    is $tag->('offset=now'), undef, '"now" has no tag';

    $r = $again->($first);
    is $r->{status}, 304, 'nothing new is 304';
    is $r->{body}, '', '304 has no body';
    is $r->{headers}{etag}, $first, '304 has the tag';
    is $r->{headers}{'stream-next-offset'}, offset(2), '304 has the offset';
    is $again->('"x"')->{status}, 200, 'another tag is 200';

    $r = get('json', $run, 'offset=2-0');
    is $r->{headers}{'cache-control'}, 'private, no-cache',
        'a body without entries is asked for again';

    add($key, '3-0', data => 3);
    is $again->($first)->{status}, 200, 'after a new entry it is 200';

    my $third = $tag->();

    add($key, '4-0', end => 1);
    is $again->($third)->{status}, 200, 'after the end it is 200';
    is $tag->(), '"-1:' . offset(4) . ':c"', 'the tag tells the end';
    is get('short', $run, 'offset=-1&live=long-poll',
           headers => { 'If-None-Match' => $tag->() })->{status}, 200,
        'a long poll is never 304';
}


# --- the end

{
    my ($run, $key) = filled(3);

    add($key, '4-0', data => 4, end => '');

    is_read('the end with the last entry', get('json', $run, 'offset=2-0'),
            200, '[3,4]', offset(4), $END);
    is_read('the end alone', get('json', $run, 'offset=4-0'), 200, '[]',
            offset(4), $END);
    is_read('the end is not told before', get('few', $run, 'offset=-1'),
            200, '[1,2]', offset(2));
    is_read('HEAD tells the end', get('json', $run, '', method => 'HEAD'),
            200, '', offset(4), 'closed=true');
    is_read('"now" tells the end', get('json', $run, 'offset=now'), 200, '[]',
            offset(4), $END);

    for my $from ('4-0', 'now') {
        my $r = get('json', $run, "offset=$from&live=long-poll&cursor=5");

        is_read("$from: a long poll does not wait after the end", $r, 204, '',
                offset(4), $END);
        is $r->{headers}{'stream-cursor'}, undef, "$from: there is no cursor";

        my $sse = sse('json', $run, "offset=$from");

        ok $sse->end, "$from: an event stream ends after the end";
        is shown($sse->events(1)), control(4, @CLOSED),
            "$from: it says that there is no more";
    }

    my $r = get('json', $run, 'offset=3-0&live=long-poll');

    is_read('a long poll gets the end with the last entry', $r, 200, '[4]',
            offset(4), $END);

    my $sse = sse('json', $run, 'offset=2-0');

    ok $sse->end, 'an event stream ends with the end';
    is shown($sse->events(4)), join(' ', 'data [3]', control(3, @MORE),
                                    'data [4]', control(4, @CLOSED)),
        'an event stream tells the end after its entry';

    # what does not belong there

    add($key, '5-0', data => 5);
    is_read('nothing is read after the end', get('json', $run), 200,
            '[1,2,3,4]', offset(4), $END);
    is_read('a reader at the end stays there', get('json', $run, 'offset=4-0'),
            200, '[]', offset(4), $END);
}

{
    my ($run, $key) = filled(2);

    add($key, '3-0', end => 1);

    is_read('an end without a value', get('json', $run, 'offset=2-0'), 200,
            '[]', offset(3), $END);
    is_read('an end without a value: a long poll does not wait',
            get('json', $run, 'offset=2-0&live=long-poll'), 204, '', offset(3),
            $END);

    my $sse = sse('json', $run, 'offset=2-0');

    ok $sse->end, 'an end without a value ends an event stream';
    is shown($sse->events(1)), control(3, @CLOSED),
        'an end without a value is a control event';
    is_read('without end field nothing ends', get('endless', $run,
                                                  'offset=1-0'),
            200, '[2]', offset(3), $ALL);
}

{
    my ($run, $key) = run();

    add($key, '1-0', token => '"a"', data => 1, end => 1);
    add($key, '2-0', token => '"b"', last => 1);
    is_read('fields have the names set', get('field', $run), 200, '["a","b"]',
            offset(2), $END);
}


# --- entries that can't be sent

{
    my ($run, $key) = run();

    add($key, '1-0', data => '{');
    add($key, '2-0', other => 1);
    add($key, '3-0', data => 3);
    add($key, '4-0', data => '12345');
    add($key, '5-0', data => 'x', end => 1);

    is_read('entries that are not JSON are skipped', get('json', $run), 200,
            '[3,12345]', offset(5), $END);
    is_read('entries that are too large are skipped', get('small', $run), 200,
            '[3]', offset(5), $END);

    my $sse = sse('small', $run, 'offset=-1');

    $sse->end;
    is shown($sse->events(3)), join(' ', 'data [3]', control(3, @MORE),
                                    control(5, @CLOSED)),
        'an event stream skips them, too';
    like $nginx->error_log, qr/entry 1-0 of "stream:\$arg_run" is skipped: not JSON/,
        'the log says so';
}

{
    my ($run, $key) = run();

    add($key, "$_-0", data => '{') for 1 .. 5;
    add($key, '6-0', data => 6);
    is_read('a long poll goes on after entries that are skipped',
            get('tiny', $run, 'offset=-1&live=long-poll'), 200, '[6]',
            offset(6));
}


# --- entries that take longer than a turn of the event loop

{
    my ($run, $key) = run();
    my $value = '[' . join(',', ('[]') x 8000) . ']';
    my $n = 5;

    add($key, "$_-0", data => $value) for 1 .. $n;

    my $sse = sse('json', $run, 'offset=-1');
    my @events = $sse->events(2 * $n);

    $sse->close;
    is scalar(grep { $_->{data} eq "[$value]" } @events), $n,
        'slow entries: an event stream has all';
    is_deeply marks(@events), [(0) x ($n - 1), 1],
        'slow entries: an event stream is up to date after the last one';

    my ($r, $offset, @values) = (undef, '-1');

    for (1 .. $n) {
        $r = get('json', $run, "offset=$offset");
        $offset = $r->{headers}{'stream-next-offset'};
        push @values, substr $r->{body}, 1, -1;
        last if $r->{headers}{'stream-up-to-date'};
    }

    is join(',', @values), join(',', ($value) x $n),
        'slow entries: a read is not up to date before it has the last one';
    is $offset, offset($n), 'slow entries: a read goes on to the last one';
}


# --- an entry of which the worker has no notice yet

{
    my ($run, $key) = filled(3);
    my @clients = sse('rare', $run, 'offset=-1');

    is_deeply marks($clients[0]->events(6)), [0, 0, 1],
        'an event stream is up to date after the third entry';

    # older entries are read for this one, and the fourth comes with them

    add($key, '4-0', data => 4);
    push @clients, sse('rare', $run, 'offset=-1');
    is_deeply marks($clients[1]->events(8)), [0, 0, 0, 1],
        'another one is not up to date before the fourth';
    is_deeply marks($clients[0]->events(2)), [1],
        'the first one gets the fourth, too';
    $_->close for @clients;
}


# --- a socket that is full

{
    my ($run, $key) = run();

    add($key, '1-0', data => '"' . 'x' x 900_000 . '"');

    my $slow = metrics($nginx, 'gateway')->{slow_total};
    my $sse = Conduit::SSE->open($slow_port, 'GET',
                                 "/json/x?run=$run&live=sse&offset=-1",
                                 rcvbuf => 4096);

    becomes($nginx, 'gateway', 'slow_total', $slow + 1,
            'the socket of a client that does not read is full');
    is_deeply marks($sse->events(3)), [0, 1],
        'it is up to date when it has read on to the end';
    $sse->close;
}


# --- offsets that are not kept

{
    my ($run, $key) = filled(9);

    redis('XTRIM', $key, 'MAXLEN', 3);

    # Redis before 7 does not say that entries were removed

    for my $args ('offset=3-0', 'offset=5-0', 'offset=10-0',
                  'offset=3-0&live=sse', 'offset=3-0&live=long-poll',
                  redis_version() >= 7_000_000 ? 'offset=' . offset(0) : ())
    {
        is_read("$args: is gone", get('json', $run, $args), 410,
                'Offset is not kept any more', '-');
    }

    is_read('after the oldest, entries are read',
            get('json', $run, 'offset=7-0'), 200, '[8,9]', offset(9), $ALL);
    is_read('the start is the oldest entry', get('json', $run, 'offset=-1'),
            200, '[7,8,9]', offset(9), $ALL);

    redis('XDEL', $key, '9-0');
    is_read('the last entry is deleted: a reader there has all',
            get('json', $run, 'offset=9-0'), 200, '[]', offset(9), $ALL);
    is_read('the last entry is deleted: the end is where it was',
            get('json', $run, 'offset=8-0'), 200, '[]', offset(9), $ALL);

    redis('DEL', $key);
    add($key, '2-0', data => 2);
    is_read('a stream made anew: offsets of the old one are gone',
            get('json', $run, 'offset=9-0'), 410,
            'Offset is not kept any more', '-');
}


# --- long polls

{
    my ($run, $key) = filled(2);
    my $r = get('short', $run, 'offset=2-0&live=long-poll');

    is_read('a long poll ends when its time is over', $r, 204, '', offset(2),
            $ALL);
    is $r->{headers}{'cache-control'}, 'no-store', '204 is not kept';
    like $r->{headers}{'stream-cursor'}, qr/^[1-9]\d+$/, '204 has a cursor';

    my $cursor = $r->{headers}{'stream-cursor'};

    $r = get('short', $run, "offset=2-0&live=long-poll&cursor=$cursor");
    cmp_ok $r->{headers}{'stream-cursor'}, '>', $cursor, 'cursors grow';

    is_read('a long poll does not wait for what is there',
            get('json', $run, 'offset=1-0&live=long-poll'), 200, '[2]',
            offset(2), $ALL);

    my $reads;

    # how many turns of the event loop the polls take, and so how often Redis is
    # asked, is a matter of luck on a busy machine

    for my $n (3 .. 7) {
        my $last = $n - 1;
        my @polls = map { poll('json', $run, "offset=$_") }
                    ("$last-0") x 10, ('now') x 10;

        waiting(20, '20 long polls wait');

        my $asked = metrics($nginx, 'gateway')->{look_ups_total};

        add($key, "$n-0", data => $n);

        is_read('an entry wakes up a long poll', answer($_), 200, "[$n]",
                offset($n), $ALL) for @polls;
        waiting(0, 'those that were answered wait no more');

        $reads = metrics($nginx, 'gateway')->{look_ups_total} - $asked;
        last if $reads <= 10;
    }

    cmp_ok $reads, '<=', 10,
        'long polls that wake up together share what is read';
}

{
    my ($run, $key) = make();
    my @polls = map { poll($_, $run, 'offset=' . offset(0)) }
                'json', 'polls', 'apart';

    waiting(3, 'long polls wait at an empty stream');
    add($key, '1-0', data => 1, end => 1);
    is_read('the first entry wakes them up', answer($_), 200, '[1]', offset(1),
            $END) for @polls;

    ($run, $key) = filled(1);
    @polls = map { poll('json', $run, $_) } 'offset=1-0', 'offset=now';
    waiting(2, 'long polls wait for the end');
    add($key, '2-0', end => 1);
    is_read('the end wakes up a long poll', answer($_), 204, '', offset(2),
            $END) for @polls;
}

{
    my ($run) = filled(1);
    my $poll = poll('json', $run, 'offset=1-0');

    waiting(1, 'a client waits');
    $poll->close;
    waiting(0, 'a client that leaves is not waited for');
}

{
    my ($run, $key) = filled(3);
    my ($next, @got) = ('-1');

    for my $n (4 .. 23) {
        my $poll = poll('json', $run, "offset=$next");

        add($key, "$n-0", data => $n) if $n % 3;
        $poll->close, next if $n % 3 == 0 && @got && !$poll->end(0.1);

        my $r = answer($poll);

        push @got, $r->{body} =~ /(\d+)/g;
        $next = $r->{headers}{'stream-next-offset'};
    }

    push @got, get('json', $run, "offset=$next")->{body} =~ /(\d+)/g;
    is "@got", join(' ', grep { $_ <= 3 || $_ % 3 } 1 .. 23),
        'long polls in a row get each entry once';
}


# --- event streams

{
    my ($run, $key) = filled(2);
    my $sse = sse('json', $run, 'offset=-1');

    is shown($sse->events(4)), join(' ', 'data [1]', control(1, @MORE),
                                    'data [2]', control(2, @TAIL)),
        'an event stream sends what is there';
    is $sse->headers->{'content-type'}, 'text/event-stream', 'its type';
    is $sse->headers->{'cache-control'}, 'no-cache, no-transform',
        'it is not kept';
    is $sse->headers->{'stream-sse-data-encoding'}, undef, 'it has no encoding';
    is $sse->headers->{'x-content-type-options'}, 'nosniff',
        'browsers do not guess its type';

    my $now = sse('json', $run, 'offset=now');
    my $tail = sse('json', $run, 'offset=2-0');

    is shown($_->events(1)), control(2, @TAIL),
        'a reader that has all is told so' for $now, $tail;

    add($key, '3-0', data => '{"a": "b\n"}');
    is shown($_->events(2)), 'data [{"a":"b\n"}] ' . control(3, @TAIL),
        'an event stream sends what is added' for $sse, $now, $tail;

    add($key, '4-0', data => 4, end => 1);

    for ($sse, $now, $tail) {
        ok $_->end, 'an event stream ends with the end';
        is shown($_->events(2)), 'data [4] ' . control(4, @CLOSED),
            'an event stream: the last events';
    }
}

{
    my ($run, $key) = run();

    add($key, '1-0', data => "a\r\n b\r\rc\n\nevent: x");
    add($key, '2-0', data => "\xff\0", end => 1);

    my $sse = sse('text', $run, 'offset=-1');

    $sse->end;
    is $sse->body =~ s/"streamCursor":"\d+"/CURSOR/r, <<"E",
:
event: data
data:a
data:  b
data:
data:c
data:
data:event: x

event: control
data:{"streamNextOffset":"@{[ offset(1) ]}",CURSOR}

event: data
data:\xef\xbf\xbd\0

event: control
data:{"streamNextOffset":"@{[ offset(2) ]}","upToDate":true,"streamClosed":true}

E
        'text: an event has a line for each line';

    $sse = sse('bytes', $run, 'offset=1-0');
    $sse->end;
    is $sse->headers->{'stream-sse-data-encoding'}, 'base64',
        'bytes: the encoding is told';
    is shown($sse->events(2)), 'data /wA= ' . control(2, @CLOSED),
        'bytes: an event has base64';
}

{
    my ($run) = filled(1);
    my ($first) = sse('json', $run, 'offset=-1')->body
                  =~ /"streamCursor":"(\d+)"/;
    my $sse = sse('json', $run, 'offset=1-0');

    my $cursor = $sse->event->{json}{streamCursor};
    my $ahead = $cursor + 1000;

    $sse = sse('json', $run, "offset=1-0&cursor=$ahead");
    cmp_ok $sse->event->{json}{streamCursor}, '>', $ahead,
        'a cursor is greater than that of the request';
    $sse = sse('json', $run, 'offset=-1&cursor=1');
    cmp_ok abs(($sse->events(2))[1]{json}{streamCursor} - $cursor), '<', 10,
        'a cursor that is past does not count';
}

# what Redis is asked for comes out even with what it has, or not

# a reader that begins in the middle of the stream is told no sooner, though the
# worker leaves an entry in the stream until it knows how many there were

for my $case (map { [$_, -1, 1], [$_, '1-0', 2], [$_, '2-0', 3] } 5 .. 8) {
    my ($n, $from, $first) = @$case;
    my ($run) = filled($n);
    my $sse = sse('few', $run, "offset=$from");
    my @events;

    do {
        push @events, $sse->event // die "no event";
    } until $events[-1]{data} =~ /upToDate/;

    is join(' ', map { @{ $_->{json} } } grep { $_->{event} eq 'data' }
                 @events), join(' ', $first .. $n),
        "$n entries, from $from: a reader is not told before that it has all";
    is $events[-1]{json}{streamNextOffset}, offset($n),
        "$n entries, from $from: it is told then";
}

for my $path ('json', 'tiny', 'few', 'polls', 'apart', 'holds', 'ends') {
    my ($run, $key) = filled(5);
    my ($next, $n, @got) = ('-1', 5);

    # each connection reads three entries, while five are added

    for (1 .. 40) {
        my $sse = sse($path, $run, "offset=$next");
        my $until = @got + 3;

        add($key, ++$n . '-0', data => $n, $n == 60 ? (end => 1) : ())
            for 1 .. ($n < 60 ? 5 : 0);

        while (@got < $until) {
            my $data = $sse->event or last;

            # at first, if it had all
            $data = $sse->event if $data->{event} eq 'control';

            push @got, @{ $data->{json} };
            $next = $sse->event->{json}{streamNextOffset};
        }

        $sse->close;
        last if @got >= 60;
    }

    is "@got", join(' ', 1 .. 60),
        "$path: a reader that reconnects gets each entry once";
}

{
    my ($run) = filled(1);
    my $sse = sse('ends', $run, 'offset=-1');

    ok $sse->end, 'an event stream ends when its time is over';
    is shown($sse->events(9, 0)), 'data [1] ' . control(1, @TAIL),
        'an event stream that ends says nothing more';

    $sse = sse('alive', $run, 'offset=1-0');
    ok $sse->comment, 'a comment keeps an idle event stream alive';
    $sse->close;
}

{
    my ($run, $key) = filled(2);
    my $sse = sse('json', $run, 'offset=2-0');

    is shown($sse->event), control(2, @TAIL), 'a reader is at the end';

    redis('MULTI');
    add($key, "$_-0", data => $_) for 3 .. 6;
    redis('XTRIM', $key, 'MAXLEN', 2);
    redis('EXEC');

    ok $sse->end, 'an event stream ends where entries are missing';
    is shown($sse->events(9, 0)), '', 'no entry is sent after those missing';
    is get('json', $run, 'offset=2-0&live=sse')->{status}, 410,
        'the reader learns why when it comes back';
}


# --- who may read

{
    my ($run) = filled(1);
    my $token = sub { gateway_token(run => $run, @_) };

    for my $args ('', '&offset=-1&live=long-poll') {
        is get('claims', $run, "token=@{[ $token->() ]}$args")->{status}, 200,
            "a token for the stream$args";
        is get('claims', $run,
               "token=@{[ $token->(run => 'other') ]}$args")->{status},
            403, "a token for another stream$args";
        is get('claims', $run,
               "token=@{[ $token->(exp => time - 100) ]}$args")->{status},
            401, "a token that has expired$args";
        is get('claims', $run, "x=1$args")->{status}, 400, "no token$args";
    }

    is get('claims', 'none', 'token=' . gateway_token(run => 'none'))
        ->{status}, 404, 'a token for a stream that is not there';

    my %origin = (headers => { Origin => 'https://app.example.com' });
    my $r = get('pages', $run, '', %origin);

    is $r->{headers}{'access-control-allow-origin'},
        'https://app.example.com', 'a page may read';
    like $r->{headers}{'access-control-expose-headers'},
        qr/Stream-Next-Offset.*Stream-Closed.*ETag/,
        'a page may read the headers of the protocol';
    is get('pages', $run, '', method => 'OPTIONS', %origin)->{status}, 204,
        'a preflight is answered';
}


# --- Redis fails

{
    my ($run, $key) = filled(2);

    is get('way', $run)->{body}, '[1,2]', 'Redis answers';

    $proxy->tell('error-for', $key, 'BUSY a script runs');

    my $r = get('way', $run);

    is $r->{status}, 503, 'an error of Redis is 503 in the end';
    is $r->{headers}{'retry-after'}, 1, 'it asks the client to come back';
    is $r->{headers}{'cache-control'}, 'no-store', 'it is not kept';
    is scalar(() = $nginx->error_log
                   =~ /\[error\].* reading "stream:\$arg_run" failed: BUSY /g),
        1, 'the log has the error once, however often it is asked';

    $proxy->tell('error-for', $key, '');

    is get('way', $run)->{body}, '[1,2]', 'Redis answers again';

    $proxy->tell('hold', $key, 1);

    my $later = poll('way', $run, 'offset=-1');

    wait_for(20, sub { $proxy->tell('held') });
    $proxy->tell('cut', 'link');
    $proxy->tell('release');
    is_read('a question that is lost is asked again', answer($later), 200,
            '[1,2]', offset(2), $ALL);
    $proxy->tell('calm');

    is get('no-outage', $run)->{body}, '[1,2]',
        'conduit_gateway_outage 0: a server that is up has time to reply';
}


# --- the worker quits

{
    my ($run, $key) = filled(1);
    my $poll = poll('json', $run, 'offset=1-0');
    my $sse = sse('json', $run, 'offset=1-0');
    my $other = poll('text', $run, 'offset=now');

    waiting(3, 'clients wait');
    $nginx->reload;

    is_read('a reload: a long poll ends early', answer($poll), 204, '',
            offset(1), $ALL);
    is answer($other)->{status}, 204, 'a reload: of text, too';
    ok $sse->end, 'a reload: an event stream ends';
    is shown($sse->events(9, 0)), control(1, @TAIL),
        'a reload: it says nothing more';

    add($key, '2-0', data => 2);
    is_read('a reload: the reader goes on', get('json', $run, 'offset=1-0'),
            200, '[2]', offset(2), $ALL);
}

{
    my ($run) = filled(1);

    ok wait_for(20, sub { $nginx->workers == 1 }),
        'a reload: the worker before has left';

    my ($worker) = $nginx->workers;

    redis_pause();

    my $late = Conduit::SSE->open($nginx->port, 'GET',
                                  "/json/x?run=$run&offset=-1&live=sse",
                                  later => 1);

    ok wait_for(20, \&redis_input), 'a reload: an event stream is asked for';
    $nginx->reload;
    ok wait_for(20, sub {
        $nginx->error_log =~ /$worker#$worker: gracefully shutting down/
    }), 'a reload: the worker begins to quit';
    redis_resume();

    my $r = answer($late);

    is "$r->{status} $r->{headers}{'retry-after'} $r->{body}",
        "503 1 Stream can't be read now",
        'a reload: an event stream that comes too late is refused for now';
}

unlike $nginx->error_log, qr/\[(?:alert|emerg|crit)\]/, 'the log has no alert';


# --- many readers at different offsets wait for Redis

{
    my ($run, $key) = run();
    my $many = 300;

    $nginx = nginx_start(server => location('late', $REDIS, 'outage 60s'));
    is get('late', $run)->{status}, 404, 'Redis answers before it goes';
    redis_stop();

    my @polls = map { poll('late', $run, "offset=$_-0") } 1 .. $many;

    ok wait_for(60, sub { !unread($nginx->port) }),
        "the requests of $many readers are read without Redis";
    redis_start();
    add($key, $_ . '-0', data => $_) for 1, $many + 1;

    is join(' ', grep { $_ != 200 } map { answer($_)->{status} } @polls), '',
        "each of $many readers is answered when Redis is back";

    my @done = $nginx->error_log =~ /had a turn: (\d+) done/g;

    is join(' ', grep { $_ > 128 } @done), '',
        'their questions do not take more than a slice of a turn';
}

done_testing();
