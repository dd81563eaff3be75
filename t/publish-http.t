# Copyright (C) Conduit for NGINX authors
#
# conduit_publish as an HTTP handler: methods, ways in which a body arrives,
# protocols, subrequests, and clients that leave.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket ();
use Test::More;
use Time::HiRes qw(time);

my $REDIS = "redis://127.0.0.1:$Conduit::REDIS_PORT";

my $port = free_port();
my $h2_port = free_port();
my $h2 = nginx_version() >= 1_025_001
         ? "listen 127.0.0.1:$h2_port; http2 on;"
         : "listen 127.0.0.1:$h2_port http2;";

my $nginx = nginx_start(
    port => $port,
    http => "
    client_max_body_size 2m;
    conduit_publish_rate off;
    server {
        $h2
" . publish_location('conduit_publish_max_size 1m;') . "
    }",
    server => publish_location('conduit_publish_max_size 1m;') . "
    location /open/ {
        conduit_publish $REDIS;
        conduit_publish_auth off;
    }
    location /file/ {
        conduit_publish $REDIS;
        conduit_publish_auth off;
        client_body_in_file_only clean;
    }
    location /small/ {
        conduit_publish $REDIS;
        conduit_publish_auth off;
        client_body_buffer_size 1k;
    }
    location /single/ {
        conduit_publish $REDIS;
        conduit_publish_auth off;
        client_body_in_single_buffer on;
        client_body_buffer_size 32k;
    }
    location /mirrored/ {
        mirror /sink;
        conduit_publish $REDIS;
        conduit_publish_auth off;
    }
    location = /sink {
        internal;
        return 204;
    }
    location /mirror/ {
        mirror /open/123/00000000-0000-4000-8000-000000000001;
        proxy_pass http://127.0.0.1:$port/answer;
    }
    location = /answer {
        return 200 'answered';
    }
    location /auth/ {
        auth_request /open/123/00000000-0000-4000-8000-000000000002;
        proxy_pass http://127.0.0.1:$port/answer;
    }
    location /ssi/ {
        ssi on;
        default_type text/html;
        root $Conduit::TMP;
    }
    location /rewritten/ {
        rewrite ^/rewritten/(.*) /open/\$1 last;
    }
    location /proxied/ {
        proxy_pass http://127.0.0.1:$port/open/;
    }
    location /unbuffered/ {
        proxy_pass http://127.0.0.1:$port/open/;
        proxy_http_version 1.1;
        proxy_request_buffering off;
    }");

my ($worker) = $nginx->workers;


# --- requests that http() does not make

sub bearer { return Authorization => 'Bearer ' . publish_token() }

sub post {
    my ($path, $body, %headers) = @_;

    return http($nginx, 'POST', $path, body => $body, headers => \%headers);
}

# what the suite asks of every message that is taken: its ID is the answer, its
# bytes are the entry

sub is_stored {
    my ($r, $channel, $body) = @_;

    is($r->{status}, 200, 'the answer is 200');
    is_deeply(redis('XRANGE', stream_key($ORG, $channel), '-', '+'),
              [[$r->{body}, ['data', $body]]], 'what was posted is stored');
}

sub connect_to {
    my $to = shift;

    return IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $to->port)
        || die "connect: $!";
}

sub raw {
    my $text = shift;
    my $s = connect_to($nginx);

    $s->syswrite($text);
    return $s;
}

# reads until a pattern matches, or to the end; returns what came

sub read_until {
    my ($s, $pattern, $got) = @_;
    my $select = IO::Select->new($s);
    my $deadline = time + 20;

    $got //= '';

    while (!($pattern && $got =~ $pattern) && time < $deadline) {
        next if !$select->can_read(1);
        $s->sysread($got, 65536, length $got) or last;
    }

    return $got;
}

# a request of HTTP/1.1 as text

sub request {
    my ($path, $body, %headers) = @_;

    %headers = (Host => 'localhost', 'Content-Length' => length $body,
                %headers);

    return join "\r\n", "POST $path HTTP/1.1",
        (map { "$_: $headers{$_}" } grep { defined $headers{$_} }
         sort keys %headers), '', $body;
}

sub big {
    my ($channel, $size) = @_;

    return message(channel_id => $channel, payload => { a => 'x' x $size });
}

# Runs curl with HTTP/2; returns the status and the body.

sub curl {
    my ($path, $body, @options) = @_;
    my $file = write_file("$Conduit::TMP/body", $body);

    open my $out, '-|', 'curl', '-sS', '--max-time', 30,
        '--http2-prior-knowledge', '-w', '\n%{http_code} %{http_version}',
        '-H', 'Authorization: Bearer ' . publish_token(),
        '-H', 'Content-Type: application/x-protobuf', @options,
        @options ? () : ('--data-binary', "\@$file"),
        "http://127.0.0.1:$h2_port$path" or die "curl: $!";

    local $/;
    my $text = <$out>;

    $text =~ s/\n(\d+) (\S+)\z//;
    return { status => $1, version => $2, body => $text };
}

# Publishes a file on so many streams of one connection of HTTP/2 at once.
# Returns the answers, a line each, or cancels the streams when all are sent and
# the server has acknowledged them ('cancel').

sub http2_streams {
    my ($n, $how, $channel, $file) = @_;

    my $script = write_file("$Conduit::TMP/streams.js", <<'EOS');
const [url, path, token, file, n, how] = process.argv.slice(2);
const body = require('fs').readFileSync(file);
const client = require('http2').connect(url);
let open = Number(n);

function publish() {
  const stream = client.request({
    ':method': 'POST', ':path': path, authorization: 'Bearer ' + token,
  });
  let text = '';

  stream.setEncoding('utf8');
  stream.on('data', (data) => { text += data; });
  stream.on('error', () => {});
  stream.on('close', () => {
    if (how === 'end') console.log(text);
    if (--open === 0) client.destroy();
  });
  stream.end(body);

  return new Promise((sent) => { stream.on('finish', () => sent(stream)); });
}

client.on('connect', async () => {
  const streams = await Promise.all(Array.from({ length: n }, publish));

  // frames are handled in order: behind the answer to a PING, all were read
  if (how === 'cancel') {
    client.ping(() => { for (const stream of streams) stream.close(8); });
  }
});
EOS

    open my $out, '-|', 'node', $script, "http://127.0.0.1:$h2_port",
        "/publish/$ORG/$channel", publish_token(), $file, $n, $how
        or die "node: $!";

    local $/;
    return scalar(<$out>) // '';
}

sub works {
    my $channel = uuid();
    my $r = post("/open/$ORG/$channel", message(channel_id => $channel));

    is($r->{status}, 200, 'the next message is taken');
    is_deeply([$nginx->workers], [$worker], 'the worker has not been replaced');
}


subtest 'TEST 1: other methods than POST are refused, with those allowed' => sub {
    for my $method (qw(GET PUT DELETE PATCH OPTIONS)) {
        my $r = http($nginx, $method, "/publish/$ORG/$CHANNEL",
                     $method eq 'PUT' ? (body => 'x') : ());

        is($r->{status}, 405, "$method: refused");
        is($r->{headers}{allow}, 'POST', "$method: Allow");
        is($r->{headers}{'content-type'}, 'text/plain', "$method: type");
        is($r->{body}, 'Method not allowed', "$method: body");
    }

    my $r = http($nginx, 'HEAD', "/publish/$ORG/$CHANNEL");

    is($r->{status}, 405, 'HEAD: refused');
    is($r->{headers}{allow}, 'POST', 'HEAD: Allow');
    is($r->{body}, '', 'HEAD: no body');
};


subtest 'TEST 2: a body in chunks, however they are cut' => sub {
    for my $size (1, 7, 100, 5000) {
        my $channel = uuid();
        my $body = big($channel, 300);
        my $chunks = join '', map { sprintf "%x;ext=1\r\n%s\r\n", length, $_ }
                     unpack "(a$size)*", $body;

        my $s = raw(request("/open/$ORG/$channel", "${chunks}0\r\n\r\n",
                            'Content-Length' => undef,
                            'Transfer-Encoding' => 'chunked',
                            Connection => 'close'));
        my $got = read_until($s);

        like($got, qr{\AHTTP/1\.1 200 }, "chunks of $size are taken");
        $got =~ /\r\n\r\n(.*)/s;
        is_deeply(redis('XRANGE', stream_key($ORG, $channel), '-', '+'),
                  [[$1, ['data', $body]]], "chunks of $size are stored");
    }
};


subtest 'TEST 3: a body that comes byte for byte' => sub {
    my $channel = uuid();
    my $body = message(channel_id => $channel);
    my $text = request("/open/$ORG/$channel", $body, Connection => 'close');
    my $s = raw('');

    setsockopt $s, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1;
    $s->syswrite($_) for split //, $text;

    my $got = read_until($s);

    like($got, qr{\AHTTP/1\.1 200 },
        'a message that comes byte by byte is taken');
    $got =~ /\r\n\r\n(.*)/s;
    is_deeply(redis('XRANGE', stream_key($ORG, $channel), '-', '+'),
              [[$1, ['data', $body]]], 'the message is stored');
};


subtest 'TEST 4: a body in a temporary file' => sub {
    my $channel = uuid();
    my $body = big($channel, 10000);

    is_stored(post("/file/$ORG/$channel", $body), $channel, $body);
};


subtest 'TEST 5: a body that is larger than its buffer' => sub {
    for my $size (500, 900, 1100, 10000) {
        my $channel = uuid();
        my $body = big($channel, $size);

        is_stored(post("/small/$ORG/$channel", $body), $channel, $body);
    }
};


subtest 'TEST 6: a body that comes with its header, and one that does not' => sub {
    for my $size (100, 14000) {
        my $channel = uuid();
        my $body = big($channel, $size);

        is_stored(post("/single/$ORG/$channel", $body), $channel, $body);
    }
};


subtest 'TEST 7: a mebibyte through a temporary file' => sub {
    my $channel = uuid();
    my $body = big($channel, 1048576 - 200);

    is_stored(post("/publish/$ORG/$channel", $body, bearer()), $channel, $body);
};


subtest 'TEST 8: Expect: 100-continue' => sub {
    my $channel = uuid();
    my $body = message(channel_id => $channel);
    my $header = request("/open/$ORG/$channel", '', Connection => 'close',
                         'Content-Length' => length $body,
                         Expect => '100-continue');
    my $s = raw($header);
    my $got = read_until($s, qr/\r\n\r\n/);

    is($got, "HTTP/1.1 100 Continue\r\n\r\n", 'the body is asked for');

    $s->syswrite($body);
    $got = read_until($s);

    like($got, qr{\AHTTP/1\.1 200 }, 'the message is taken');
    is(redis('XLEN', stream_key($ORG, $channel)), 1, 'the message is stored');
};


subtest 'TEST 9: HTTP/1.0' => sub {
    my $channel = uuid();
    my $body = message(channel_id => $channel);
    my $s = raw("POST /open/$ORG/$channel HTTP/1.0\r\n"
                . 'Content-Length: ' . length($body) . "\r\n\r\n$body");
    my $got = read_until($s);

    like($got, qr{\AHTTP/1\.1 200 .*\r\n\r\n\d+-\d+\z}s,
        'a message over HTTP/1.0 is taken');
    is(redis('XLEN', stream_key($ORG, $channel)), 1, 'the message is stored');
};


subtest 'TEST 10: requests of one connection, sent at once' => sub {
    my $channel = uuid();
    my @bodies = map { message(channel_id => $channel, sequence => $_) } 1 .. 20;

    my $s = raw(join '', map { request("/open/$ORG/$channel", $bodies[$_],
                                       $_ == 19 ? (Connection => 'close') : ()) }
                         0 .. 19);
    my $got = read_until($s);
    my @ids = $got =~ /\r\n\r\n(\d+-\d+)/g;

    is(scalar(() = $got =~ m{HTTP/1\.1 200 }g), 20, 'all are answered');
    is_deeply(redis('XRANGE', stream_key($ORG, $channel), '-', '+'),
              [map { [$ids[$_], ['data', $bodies[$_]]] } 0 .. 19],
              'all are stored, in order');
};


subtest 'TEST 11: a refused request leaves the next one of the connection' => sub {
    my $channel = uuid();
    my $good = message(channel_id => $channel);

    # a body that is skipped must not be read as a request
    my $evil = request("/open/$ORG/$channel", $good);

    my $s = raw(join '',
                request("/publish/$ORG/$channel", $evil),        # 401
                request("/open/$ORG/nowhere", $evil),            # 400
                request("/open/$ORG/$channel", $evil),           # 400
                request("/open/$ORG/$channel", 'x' x 20000),     # 413
                request("/open/$ORG/$channel", $good, Connection => 'close'));
    my $got = read_until($s);

    is_deeply([$got =~ m{HTTP/1\.1 (\d+)}g], [401, 400, 400, 413, 200],
              'each is answered by itself');
    is(redis('XLEN', stream_key($ORG, $channel)), 1, 'one is stored');
};


subtest 'TEST 12: HTTP/2' => sub {
    for my $size (10, 20000, 1000000) {
        my $channel = uuid();
        my $body = big($channel, $size);
        my $r = curl("/publish/$ORG/$channel", $body);

        is($r->{version}, '2', 'it is HTTP/2');
        is_stored($r, $channel, $body);
    }

    my $r = curl("/publish/$ORG/" . uuid(), '', '-X', 'GET');
    is($r->{status}, 405, 'GET is refused');
};


subtest 'TEST 13: HTTP/2 without Content-Length' => sub {
    for my $size (10, 20000) {
        my $channel = uuid();
        my $body = big($channel, $size);
        my $file = write_file("$Conduit::TMP/upload", $body);

        is_stored(curl("/publish/$ORG/$channel", '', '-X', 'POST',
                       '-H', 'Content-Length:', '-T', $file),
                  $channel, $body);
    }

    my $file = write_file("$Conduit::TMP/upload", big(uuid(), 1048576));
    my $r = curl("/publish/$ORG/" . uuid(), '', '-X', 'POST',
                 '-H', 'Content-Length:', '-T', $file);

    is($r->{status}, 413, 'over the limit it is refused');
    like($r->{body}, qr/over the limit of 1048576 bytes/,
         'the answer tells the limit');
};


subtest 'TEST 14: streams of one connection of HTTP/2' => sub {
    my $channel = uuid();
    my $file = write_file("$Conduit::TMP/body", message(channel_id => $channel));
    my @ids = split /\n/, http2_streams(50, 'end', $channel, $file);
    my $entries = redis('XRANGE', stream_key($ORG, $channel), '-', '+');

    is(scalar @$entries, 50, 'all are stored');
    is_deeply([sort { $a cmp $b } @ids],
              [sort { $a cmp $b } map { $_->[0] } @$entries],
              'each stream gets an ID of its own');
};


subtest 'TEST 15: a location that mirrors its requests elsewhere' => sub {
    my $channel = uuid();
    my $body = big($channel, 500);

    is_stored(post("/mirrored/$ORG/$channel", $body), $channel, $body);
};


subtest 'TEST 16: as the target of a mirror it publishes nothing' => sub {
    my $r = post('/mirror/', message(channel_id =>
                                     '00000000-0000-4000-8000-000000000001'));

    is($r->{status}, 200, 'the request that is mirrored is served');
    is($r->{body}, 'answered',
        'the response to the mirrored request is its own');

    ok(wait_for(20, sub {
        $nginx->error_log =~ /\[error\].*"conduit_publish" can't be used in a s/
    }), 'the log says why');
    is(redis('EXISTS', stream_key($ORG,
       '00000000-0000-4000-8000-000000000001')),
       0, 'nothing is stored');
    works();
};


subtest 'TEST 17: as the target of auth_request it fails' => sub {
    my $r = post('/auth/', message(channel_id =>
                                   '00000000-0000-4000-8000-000000000002'));

    is($r->{status}, 500, 'the request is not let through');
    is(redis('EXISTS', stream_key($ORG,
       '00000000-0000-4000-8000-000000000002')),
       0, 'nothing is stored');
    works();
};


subtest 'TEST 18: as the target of an SSI include it fails' => sub {
    mkdir "$Conduit::TMP/ssi";
    write_file("$Conduit::TMP/ssi/page.html",
               "before <!--#include virtual=\"/open/$ORG/" . uuid()
               . '" --> after');

    my $r = http($nginx, 'GET', '/ssi/page.html');

    is($r->{status}, 200, 'the page is served');
    like($r->{body}, qr/\Abefore .*after\z/s, 'around the include');
    unlike($r->{body}, qr/\d+-\d+/, 'the page has no ID');
    works();
};


subtest 'TEST 19: after a rewrite' => sub {
    my $channel = uuid();
    my $body = message(channel_id => $channel);

    is_stored(post("/rewritten/$ORG/$channel", $body), $channel, $body);
};


subtest 'TEST 20: behind a proxy' => sub {
    for my $path (qw(proxied unbuffered)) {
        my $channel = uuid();
        my $body = big($channel, 12000);

        is_stored(post("/$path/$ORG/$channel", $body), $channel, $body);
    }
};


subtest 'TEST 21: a client that goes away in the middle of its body' => sub {
    my $channel = uuid();
    my $body = message(channel_id => $channel);
    my $s = raw(substr request("/open/$ORG/$channel", $body), 0, -5);

    close $s;

    ok(wait_for(20, sub { $nginx->access_log =~ m{/$channel HTTP/1\.1" 400 } }),
       'the request is over');
    is(redis('EXISTS', stream_key($ORG, $channel)), 0, 'nothing is stored');
    works();
};


subtest 'TEST 22: a client that goes away while Redis is stalled' => sub {
    my $channel = uuid();
    my $body = message(channel_id => $channel);

    redis_pause();

    my $s = raw(request("/open/$ORG/$channel", $body));

    ok(wait_for(20, \&redis_input), 'the message is on its way to Redis');
    close $s;
    redis_resume();

    ok(wait_for(20, sub { $nginx->access_log =~ m{/$channel HTTP/1\.1" } }),
       'the request ends');
    is_deeply([map { $_->[1][1] }
               @{ redis('XRANGE', stream_key($ORG, $channel), '-', '+') }],
              [$body], 'the message is stored, nobody is told its ID');
    works();
};


subtest 'TEST 23: a client of HTTP/2 that goes away while Redis is stalled' => sub {
    my $channel = uuid();
    my $body = message(channel_id => $channel);
    my $file = write_file("$Conduit::TMP/body", $body);

    redis_pause();

    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        open STDOUT, '>', '/dev/null';
        open STDERR, '>', '/dev/null';
        exec 'curl', '-s', '--http2-prior-knowledge', '--data-binary', "\@$file",
            '-H', 'Authorization: Bearer ' . publish_token(),
            "http://127.0.0.1:$h2_port/publish/$ORG/$channel"
            or POSIX::_exit(127);
    }

    ok(wait_for(20, \&redis_input), 'the message is on its way to Redis');

    kill 'KILL', $pid;
    waitpid $pid, 0;

    redis_resume();

    ok(wait_for(20, sub { $nginx->access_log =~ m{/$channel HTTP/2\.0" } }),
       'the request ends');
    is(redis('XLEN', stream_key($ORG, $channel)), 1, 'the message is stored');
    works();
};


subtest 'TEST 24: streams of HTTP/2 that are cancelled while Redis is stalled' => sub {
    my $channel = uuid();
    my $file = write_file("$Conduit::TMP/body", message(channel_id => $channel));

    redis_pause();
    http2_streams(50, 'cancel', $channel, $file);
    ok(wait_for(20, \&redis_input), 'messages are on their way to Redis');
    redis_resume();

    ok(wait_for(20, sub {
        50 == (() = $nginx->access_log =~ m{/$channel HTTP/2\.0" }g)
    }), 'all requests end');
    works();
};


subtest 'TEST 25: many clients that go away while Redis is stalled' => sub {
    my $channel = uuid();
    my $n = 100;

    redis_pause();

    my @sockets = map {
        raw(request("/open/$ORG/$channel",
                    message(channel_id => $channel, sequence => $_)))
    } 1 .. $n;

    ok(wait_for(20, \&redis_input), 'messages are on their way to Redis');

    # every second is cut with a reset
    for my $i (0 .. $#sockets) {
        setsockopt $sockets[$i], Socket::SOL_SOCKET(), Socket::SO_LINGER(),
            pack 'ii', 1, 0 if $i % 2;
        close $sockets[$i];
    }

    redis_resume();

    ok(wait_for(20, sub {
        $n == (() = $nginx->access_log =~ m{/$channel HTTP/1\.1" }g)
    }), 'all requests end');
    works();
};


subtest 'TEST 26: a reload while Redis is stalled: the old worker answers' => sub {
    my $channel = uuid();
    my $body = message(channel_id => $channel);

    redis_pause();

    my $s = raw(request("/open/$ORG/$channel", $body, Connection => 'close'));

    ok(wait_for(20, \&redis_input), 'the message is on its way to Redis');
    $nginx->reload;
    redis_resume();

    my $got = read_until($s);

    like($got, qr{\AHTTP/1\.1 200 .*\r\n\r\n\d+-\d+\z}s,
         'the client has its ID');
    is(redis('XLEN', stream_key($ORG, $channel)), 1, 'the message is stored');
    ok(wait_for(20, sub { !grep { $_ == $worker } $nginx->workers }),
       'the old worker leaves');

    ($worker) = $nginx->workers;
    works();
};


subtest 'TEST 27: a worker that has no time to wait for Redis' => sub {
    # NGINX closes its connections in the order of their slots.  The one to Redis
    # mostly comes after the client's, or before it if another client came first;
    # which slots are free also depends on how soon earlier connections ended

    for my $comes_first (0, 1) {
        my $name = $comes_first ? 'Redis is mostly left first'
                                : 'the client is mostly cut';

        # the worker leaves long before it gives Redis up
        my $hasty = nginx_start(main => 'worker_shutdown_timeout 300ms;',
            server => publish_location('conduit_publish_timeout 60s;'));
        my ($old) = $hasty->workers;
        my $channel = uuid();
        my $request = request("/publish/$ORG/$channel",
                              message(channel_id => $channel), bearer());
        my $first;

        if ($comes_first) {
            $first = connect_to($hasty);
            $first->syswrite($request);
            $first->sysread(my $answer, 1024);
            like($answer, qr{\AHTTP/1\.1 200 }, "$name: a message is stored");
        }

        my $s = connect_to($hasty);

        redis_pause();
        $s->syswrite($request);

        ok(wait_for(20, \&redis_input),
           "$name: the message is on its way to Redis");
        $hasty->reload;

        like(read_until($s), qr{\A(?:HTTP/1\.1 503 |\z)},
             "$name: the request ends, with 503 or without an answer");
        ok(wait_for(20, sub { !grep { $_ == $old } $hasty->workers }),
           "$name: the old worker leaves");

        redis_resume();
        is(http($hasty, 'POST', "/publish/$ORG/$channel",
                body => message(channel_id => $channel),
                headers => { bearer() })->{status},
           200, "$name: the new worker works");
        $hasty->stop;
    }
};


subtest 'TEST 28: what a request says of a version it knows changes nothing' => sub {
    my @headers = (['If-Match' => '"x"'], ['If-None-Match' => '*'],
                   ['If-Unmodified-Since' => 'Thu, 01 Jan 2015 00:00:00 GMT'],
                   ['If-Modified-Since' => 'Thu, 01 Jan 2015 00:00:00 GMT']);

    for my $header (@headers) {
        my $channel = uuid();
        my $r = http($nginx, 'POST', "/open/$ORG/$channel",
                     body => message(channel_id => $channel),
                     headers => { @$header });

        is($r->{status}, 200, "$header->[0]: the message is taken");
        is($r->{body}, redis('XRANGE', stream_key($ORG, $channel), '-', '+')
                       ->[0][0], "$header->[0]: the answer tells the ID");
    }
};

done_testing();
