# Copyright (C) Conduit for NGINX authors
#
# The status pages, and the metrics of the publish module: each event moves its
# counters by one, and no others.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Metrics;
use Conduit::Servers;
use IO::Socket::INET;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

my $TMP = $Conduit::TMP;
my $TYPE = 'text/plain; version=0.0.4; charset=utf-8';
my $NODE = "127.0.0.1:$Conduit::REDIS_PORT";

my ($VERSION) = read_file("$Conduit::ROOT/debian/changelog") =~ /\((.*?)\)/;

# links are between workers and Redis, over both of them
my $LINK = qq({node="$NODE",link="publish"});

# a location below another path; its URIs name org and channel as others do
sub place {
    my ($path, $extra) = @_;

    return publish_location($extra) =~ s{/publish/}{/$path/}r;
}

my $server = pages()
    . publish_location('conduit_publish_rate off;')
    . place('late', 'conduit_publish_rate off; conduit_publish_timeout 1s;')
    . place('rate', 'conduit_publish_rate 2r/m;')
    . place('once', 'conduit_publish_rate off; conduit_publish_idempotency 1m;')
    . place('org', 'conduit_publish_rate off; conduit_publish_org_claim on;')
    . place('kid', 'conduit_publish_rate off;')
      =~ s{(jwt_secret_file \S+);}{$1 kid=one;}r
    . gateway_location('conduit_gateway_auth off; conduit_gateway_drain 1s;')
    . 'location = /all.html { ssi on; root html; }';

my $nginx = nginx_start(main => 'worker_shutdown_timeout 500ms;',
                        server => $server);


sub post {
    my %f = @_;

    my %o = map { $_ => delete $f{$_} } grep { exists $f{$_} }
            qw(at org token auth body headers timeout);

    my $channel = $f{channel_id} // $CHANNEL;
    my $at = $o{at} // 'publish';
    my $org = $o{org} // $ORG;
    my $auth = exists $o{auth} ? $o{auth}
                               : 'Bearer ' . ($o{token} // publish_token());

    return http($nginx, 'POST', "/$at/$org/$channel",
                body => $o{body} // message(%f), timeout => 20,
                headers => { defined $auth ? (Authorization => $auth) : (),
                             %{ $o{headers} // {} } })->{status};
}

sub outcome { return qq(requests_total{outcome="$_[0]"}) }

sub reason { return qq($_[0]_total{reason="$_[1]"}) }

sub counts {
    my ($title, $code, %expected) = @_;

    moves($nginx, 'publish', $title, $code, %expected);
}

# a message that is accepted: Redis has the script
is post(), 200, 'a message is taken';
is post(at => 'late'), 200,
    'a message is taken by a server with a link of its own';


# --- pages

for my $module (qw(publish gateway)) {
    my $r = http($nginx, 'GET', "/status/$module");

    is $r->{status}, 200, "$module: the status page is answered with 200";
    is $r->{headers}{'content-type'}, $TYPE,
        "$module: the status page is text for Prometheus";
    is $r->{headers}{'cache-control'}, 'no-store',
        "$module: the status page is not cached";

    my %types = $r->{body} =~ /^# TYPE (\S+) (\S+)$/mg;
    my @helps = $r->{body} =~ /^# HELP (\S+) [A-Z].*\.$/mg;

    is_deeply [sort keys %types], [sort @helps],
        "$module: each metric has its help";
    is join(' ', grep { !/^conduit_${module}_/ } keys %types),
        'conduit_build_info',
            "$module: all metrics but the build have the module's prefix";
    is scalar(keys %{ { map { $_ => 1 } @helps } }), scalar(@helps),
        "$module: no metric is there twice";
    is((substr $r->{body}, -1), "\n",
        "$module: the last byte of the status page is a line end");

    my $j = http($nginx, 'GET', "/json/$module");
    my $json = eval { JSON::PP->new->utf8->decode($j->{body}) };

    is $j->{headers}{'content-type'}, 'application/json',
        "$module: the JSON page is JSON";
    is $j->{headers}{'cache-control'}, 'no-store',
        "$module: the JSON page is not cached";
    is_deeply [sort grep { $_ ne 'redis_links' } keys %$json],
        [sort grep { !/^redis_links/ }
         map { s/^conduit_(?:${module}_)?//r } keys %types],
        "$module: the JSON page has the same names";

    # versions

    my $build = delete $json->{build_info};
    my $label = join ',', map { qq($_="$build->{$_}") }
                          qw(module version nginx hiredis);

    like $r->{body}, qr/^conduit_build_info\{\Q$label\E\} 1$/m,
        "$module: the status page has the versions ($label)";
    is $build->{module}, $module, "$module: the build names the module";
    is $build->{version}, $VERSION,
        "$module: the version is that of the package";
    is $build->{nginx}, sprintf('%vd', pack 'U*', map { $_ % 1000 }
        nginx_version() / 1_000_000, nginx_version() / 1000, nginx_version()),
        "$module: the build names this NGINX";
    like $build->{hiredis}, qr/\A\d+\.\d+\.\d+\z/,
        "$module: the build names a version of hiredis";

    my $name = "conduit_$module/$VERSION";
    like read_file("$Conduit::MODULES/ngx_conduit_${module}_module.so"),
        qr/\0\Q$name\E\0/, "$module: the module has its version in it";
    like $nginx->error_log, qr/\[notice\] .*: \Q$name, built for nginx\E/,
        "$module: NGINX has logged the version of the module";
    unlike $r->{body}, qr/^conduit_${module}_ready/m,
        "$module: without a health page there is no metric for it";

    # the same numbers, but for what the pages themselves may move

    my $metrics = series($r->{body}, $module);
    my %flat;

    for my $name (grep { !/^redis_links/ } keys %$json) {
        my $v = $json->{$name};

        if (ref $v && $v->{buckets}) {
            $flat{"${name}_bucket{le=\"$_\"}"} = $v->{buckets}{$_}
                for keys %{ $v->{buckets} };
            $flat{"${name}_$_"} = $v->{$_} for qw(sum count);

        } elsif (ref $v) {
            my ($label) = map { /^\Q$name\E\{(\w+)=/ } keys %$metrics;
            $flat{"$name\{$label=\"$_\"}"} = $v->{$_} for keys %$v;

        } else {
            $flat{$name} = $v;
        }
    }

    delete $metrics->{$_} for grep { /^redis_links/ } keys %$metrics;
    is_deeply \%flat, $metrics, "$module: the JSON page has the same numbers";

    for my $page (qw(status json live)) {
        my $path = "/$page/$module";
        my $get = http($nginx, 'GET', $path);
        my $head = http($nginx, 'HEAD', $path);

        is "$head->{status} $head->{body}", '200 ', "HEAD $path";
        is $head->{headers}{$_}, $get->{headers}{$_},
            "HEAD $path has the $_ of GET"
            for qw(content-type content-length cache-control);

        for my $method (qw(POST PUT DELETE OPTIONS)) {
            my $r = http($nginx, $method, $path, body => 'x');

            is "$r->{status} $r->{headers}{allow}", '405 GET, HEAD',
                "$method $path is refused";
        }
    }

    is http($nginx, 'GET', "/status/$module", body => 'x' x 10000)->{status},
        200, "$module: the status page ignores a body";

    # NGINX has the word for it; the test does not do without

    write_file("$TMP/page", $r->{body});
    my $said = `promtool check metrics < $TMP/page 2>&1`;

    is "$? $said", '0 ', "promtool has nothing to say about $module";
}

mkdir $nginx->root . '/html' or die;
write_file($nginx->root . '/html/all.html', join '|',
           (map { qq(<!--# include virtual="/live/$_" -->) } qw(publish gateway)),
           'the end');
like http($nginx, 'GET', '/all.html')->{body},
    qr/\A(?:\{"status":"ok","uptime":\d+\}\|){2}the end\z/,
    'pages can be parts of another page';

my $links = JSON::PP->new->decode(http($nginx, 'GET', '/json/publish')->{body});
is_deeply $links->{redis_links},
    [{ node => $NODE, link => 'publish', open => 2, up => 2 }],
    'the JSON page has the links';


# --- what comes of a message

my $message = message(payload => { text => 'a message' });

counts('a message that is accepted', sub { is post(body => $message), 200 },
       outcome('accepted') => 1, messages_total => 1,
       bytes_total => length $message,
       redis_commands_total => 1,
       redis_duration_seconds_count => 1, request_duration_seconds_count => 1);

for my $case (
    [ids => { org => 'x' }],
    [protobuf => { body => "\x08" }],
    [utf8 => { payload => { a => "\xff\xfe" } }],
    [depth => { body => message() . nested(101) }],
    [channel_id => { body => message(channel_id => 'x') }],
    [message_id => { message_id => 'x' }],
    [channel_mismatch => { body => message(channel_id => uuid()) }])
{
    my ($name, $o) = @$case;

    counts("invalid: $name", sub { is post(%$o), 400 },
           outcome('invalid') => 1, reason(invalid => $name) => 1);
}

# a payload of so many objects, one in the other
sub nested {
    my $depth = shift;
    my $struct = '';

    $struct = Conduit::pb_bytes(1, Conduit::pb_bytes(1, 'a')
        . Conduit::pb_bytes(2, Conduit::pb_bytes(5, $struct))) for 2 .. $depth;
    return Conduit::pb_bytes(6, $struct);
}

for my $case (
    [missing => { auth => undef }],
    [format => { auth => 'Basic eDp5' }],
    [expired => { token => publish_token(exp => int(time) - 3600) }],
    [not_yet_valid => { token => publish_token(nbf => int(time) + 3600) }],
    [malformed => { token => 'a.b' }],
    [algorithm => { token => publish_token(-alg => 'HS384') }],
    [kid => { at => 'kid', token => publish_token(-kid => 'two') }],
    [signature => { token => publish_token(-key => 'x' x 32) }],
    [issuer => { token => publish_token(iss => 'another') }],
    [audience => { token => publish_token(aud => 'another') }],
    [claim => { token => publish_token(sub => 1) }],
    [claim => { token => publish_token(exp => undef) }])
{
    my ($name, $o) = @$case;

    counts("unauthorized: $name", sub { is post(%$o), 401 },
           outcome('unauthorized') => 1, reason(auth_failures => $name) => 1);
}

counts('a token of another org',
       sub { is post(at => 'org', token => publish_token(org_id => 9)), 403 },
       outcome('forbidden') => 1, reason(auth_failures => 'org') => 1);

counts('a wrong method',
       sub { is http($nginx, 'GET', "/publish/$ORG/$CHANNEL")->{status}, 405 },
       outcome('method') => 1);

counts('a size that is announced', sub { is post(body => 'x' x 16385), 413 },
       outcome('too_large') => 1);

counts('a size that is not', sub {
    my $chunks = sprintf "%x\r\n%s\r\n0\r\n\r\n", 16385, 'x' x 16385;
    my $s = IO::Socket::INET->new('127.0.0.1:' . $nginx->port) or die;

    $s->print("POST /publish/$ORG/$CHANNEL HTTP/1.1\r\nHost: a\r\n"
              . 'Authorization: Bearer ' . publish_token() . "\r\n"
              . "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
              . $chunks);
    $s->flush;
    like scalar(<$s>), qr/ 413 /;
}, outcome('too_large') => 1);

my $channel = uuid();

is post(at => 'rate', channel_id => $channel), 200 for 1 .. 2;
counts('a rate', sub { is post(at => 'rate', channel_id => $channel), 429 },
       outcome('rate_limited') => 1, redis_commands_total => 1,
       redis_duration_seconds_count => 1);

redis('SET', stream_key(undef, $channel), 'no stream');
counts('a refusal of Redis', sub { is post(channel_id => $channel), 500 },
       outcome('failed') => 1, redis_commands_total => 1,
       redis_duration_seconds_count => 1);


# the script that knows keys and sequences, and what it refuses

$channel = uuid();

my %once = (at => 'once', channel_id => $channel,
            headers => { 'Idempotency-Key' => 'a' });
my %json = (channel_id => $channel,
            headers => { 'Content-Type' => 'application/json' });

is post(%once), 200, 'a message with an idempotency key is taken';
counts('a key with another body', sub { is post(%once, sequence => 7), 422 },
       outcome('conflict') => 1, redis_commands_total => 1,
       redis_duration_seconds_count => 1);

is post(%json, body => '{"sequence":"9007199254740990"}'), 200,
    'a message with a sequence is taken';
is post(%json, body => '{}'), 200, 'a message with the last sequence is taken';
counts('a sequence beyond the last one',
       sub { is post(%json, body => '{}'), 409 },
       outcome('conflict') => 1, redis_commands_total => 1,
       redis_duration_seconds_count => 1);


# --- clients that go, and a Redis that does

sub connection {
    return IO::Socket::INET->new('127.0.0.1:' . $nginx->port)
           // die "connect: $!";
}

# Sends a message on a connection; returns the answer, but with "later".
sub send_on {
    my ($s, %o) = @_;
    my $body = message();

    $s->print("POST /publish/$ORG/$CHANNEL HTTP/1.1\r\nHost: a\r\n"
              . 'Authorization: Bearer ' . publish_token() . "\r\n"
              . 'Content-Length: ' . length($body) . "\r\n\r\n$body");
    $s->flush;

    return $o{later} ? undef : answer($s);
}

# "none" is the status of a connection that is closed without a word
sub answer {
    my $s = shift;
    my $header = '';

    while (defined(my $line = <$s>)) {
        $header .= $line;
        last if $line eq "\r\n";
    }

    read $s, my ($body), $header =~ /^Content-Length: (\d+)/mi ? $1 : 0;
    return { status => ($header =~ m{\AHTTP/1\.1 (\d+) })[0] // 'none',
             body => $body };
}

# a request that Redis has not answered; Redis is stopped
sub unanswered {
    my $s = connection();

    send_on($s, later => 1);
    wait_for(20, \&redis_input) or die 'nothing came to Redis';
    return $s;
}

# NGINX closes the connections of a worker whose time is over in the order of
# its table.  In a worker that has served nobody, the first place that is free
# is that of the first client, and the next one that of the link to Redis, which
# is made for its message.

for my $last (0, 1) {
    my %old = map { $_ => 1 } $nginx->workers;
    my ($first, $other, $told);

    $nginx->reload;
    wait_for(20, sub { !grep { $old{$_} } $nginx->workers })
        or die 'the old worker stays';

    is send_on($first = connection())->{status}, 200,
        'a first message is taken by a new worker';

    # the place of the first client stays taken, a second one comes later

    $other = connection() if $last;

    counts('a request that is cut off before the answer, '
           . ($last ? 'its client told: the link closes first'
                    : 'its client gone: the link closes last'), sub {
        redis_pause();
        my $s = $last ? $other : $first;
        send_on($s, later => 1);
        wait_for(20, \&redis_input) or die 'nothing came to Redis';

        $nginx->reload;
        $told = answer($s);
    }, redis_commands_total => 1,
       $last ? (outcome('unavailable') => 1, reason(unavailable => 'lost') => 1,
                redis_duration_seconds_count => 1)
             : (outcome('aborted') => 1));

    is $told->{status}, $last ? 503 : 'none',
        'a client that is cut off got what is counted';
    redis_resume();
}

redis_resume();
is post(at => $_), 200,
    'Redis answers again after a reload' for qw(publish late);

redis_pause();
counts('a Redis that does not answer', sub { is post(at => 'late'), 504 },
       outcome('timeout') => 1, redis_timeouts_total => 1,
       redis_connections_lost_total => 1, redis_commands_total => 1,
       redis_duration_seconds_count => 1);
redis_resume();

ok wait_for(20, sub { post(at => 'late') == 200 }),
    'Redis answers again after a timeout';
becomes($nginx, 'publish', "redis_links_up$LINK", 2, 'both links are up');

my $before = metrics($nginx, 'publish');
redis_stop('KILL');

becomes($nginx, 'publish', "redis_links_up$LINK", 0,
        'no link is up without Redis');
is metrics($nginx, 'publish')->{"redis_links$LINK"}, 2,
    'two links are wanted without Redis';
is metrics($nginx, 'publish')->{redis_connections_lost_total},
    $before->{redis_connections_lost_total} + 2,
        'two links were lost with Redis';

ok wait_for(20, sub {
    metrics($nginx, 'publish')->{redis_connect_failures_total}
    > $before->{redis_connect_failures_total}
}), 'attempts that fail are counted';

$before = metrics($nginx, 'publish');
is post(), 503, 'a message is refused without Redis';
my $now = metrics($nginx, 'publish');

is $now->{$_}, $before->{$_} + 1, $_ for outcome('unavailable');
is $now->{$_}, $before->{$_}, "$_ stays"
    for outcome('failed'), qw(bytes_total redis_timeouts_total
                              redis_commands_total
                              redis_connections_lost_total
                              redis_connects_total);

redis_start();
becomes($nginx, 'publish', "redis_links_up$LINK", 2, 'both links are up again');
is metrics($nginx, 'publish')->{redis_connects_total},
    $before->{redis_connects_total} + 2, 'each link was made once';
ok post() == 200, 'a message is taken when Redis is back';


# --- times

$before = metrics($nginx, 'publish');
redis_pause();
my $client = unanswered();

# the time is that of Redis, not of the look at the clock before it
my $start = time;
select undef, undef, undef, 0.3;
redis_resume();
like scalar(<$client>), qr/ 200 /, 'a message that takes its time is taken';
my $took = time - $start;
close $client;

becomes($nginx, 'publish', outcome('accepted'),
        $before->{outcome('accepted')} + 1);
$now = metrics($nginx, 'publish');

for my $name (qw(redis_duration_seconds request_duration_seconds)) {
    my $sum = $now->{"${name}_sum"} - $before->{"${name}_sum"};

    cmp_ok $sum, '>=', 0.25, "$name has the time that was taken";
    cmp_ok $sum, '<=', $took + 2,
        "$name has no more than the time that was taken";

    my @b = buckets($before, $name);
    my @n = buckets($now, $name);
    my ($in) = grep { $n[$_][1] != $b[$_][1] } 0 .. $#n;

    is scalar(@n), 15, "$name has 15 buckets";
    cmp_ok $n[$in][0], '>=', $sum,
        "$name counts in a bucket that is not below the time";
    cmp_ok $in ? $n[$in - 1][0] : 0, '<', $sum,
        "$name counts in the lowest bucket for the time";
    is $now->{"${name}_count"}, $n[-1][1] + $now->{"${name}_bucket{le=\"10\"}"},
        "$name has all in its last bucket";
}


# --- workers that come and go

sub counters {
    my $m = metrics($nginx, 'publish');

    return { map { $_ => $m->{$_} } grep { !/^redis_links/ } keys %$m };
}

$before = counters();
my %old = map { $_ => 1 } $nginx->workers;

for my $n (1 .. 3) {
    $nginx->reload;
    wait_for(20, sub { !grep { $old{$_} } $nginx->workers })
        or die 'old workers stay';
    %old = map { $_ => 1 } $nginx->workers;

    is_deeply counters(), $before, "reload $n: counters stay";
}

becomes($nginx, 'publish', "redis_links$LINK", 'none',
        'links of old workers are gone');
is post(), 200, 'a message is taken after reloads';
is metrics($nginx, 'publish')->{outcome('accepted')},
    $before->{outcome('accepted')} + 1,
        'a message after reloads is counted on top';

$nginx->stop;


# two workers, each with its link; the connection chooses the worker

$nginx = nginx_start(workers => 2, expect => qr/exited on signal 9/,
                     server => $server . <<'EOC');
    location = /worker { return 200 "$pid"; }
EOC

# Sends requests over one connection until both workers had some; returns
# sockets by worker.

sub connections {
    my %by;

    wait_for(30, sub {
        my $s = IO::Socket::INET->new('127.0.0.1:' . $nginx->port) or die;

        my $r = ask($s, "GET /worker HTTP/1.1\r\nHost: a\r\n\r\n");
        $by{$r} //= $s;
        keys %by == 2;
    }) or die 'one worker has it all';

    return \%by;
}

sub ask {
    my ($s, $request) = @_;

    $s->print($request);
    $s->flush;

    my $header = '';
    $header .= <$s> // die 'no answer' while $header !~ /\r\n\r\n/;
    my ($length) = $header =~ /^Content-Length: (\d+)/mi;
    read $s, my ($body), $length;

    return $body;
}

my $by = connections();
my ($one, $other) = keys %$by;
my $n = 0;

for my $s (values %$by) {
    for (1 .. 3 + $n++) {
        my $body = message();

        ask($s, "POST /publish/$ORG/$CHANNEL HTTP/1.1\r\nHost: a\r\n"
            . 'Authorization: Bearer ' . publish_token() . "\r\n"
            . 'Content-Length: ' . length($body) . "\r\n\r\n$body");
    }
}

for my $pid ($one, $other) {
    my $page = series(ask($by->{$pid},
                          "GET /status/publish HTTP/1.1\r\nHost: a\r\n\r\n"),
                      'publish');

    is $page->{outcome('accepted')}, 7,
        'each worker tells the messages of both';
    is $page->{"redis_links$LINK"}, 2, 'each worker tells the links of both';
}

$before = counters();
kill 'KILL', $one;
ok wait_for(20, sub { my @w = $nginx->workers;
                      @w == 2 && !grep { $_ == $one } @w }),
    'a worker is killed, another one comes';

is_deeply counters(), $before, 'counters keep what a killed worker has counted';
becomes($nginx, 'publish', "redis_links$LINK", 1,
        'the link of a killed worker is gone');

$by = connections();
ok !$by->{$one}, 'the killed worker is replaced by another one';

for my $s (values %$by) {
    my $body = message();

    ask($s, "POST /publish/$ORG/$CHANNEL HTTP/1.1\r\nHost: a\r\n"
        . 'Authorization: Bearer ' . publish_token() . "\r\n"
        . 'Content-Length: ' . length($body) . "\r\n\r\n$body");
}

is metrics($nginx, 'publish')->{outcome('accepted')}, 9,
    'the new worker counts on';
is metrics($nginx, 'publish')->{"redis_links_up$LINK"}, 2,
    'the new worker has a link';

$nginx->stop;


# --- a message that has not reached Redis

redis_stop();
$nginx = nginx_start(server => $server);

is post(), 503, 'a first message without Redis is refused';
$now = metrics($nginx, 'publish');
is $now->{outcome('unavailable')}, 1,
    'a first message without Redis is counted';
is $now->{'unavailable_total{reason="unreachable"}'}, 1,
    'a first message without Redis is counted by its reason';
is $now->{redis_duration_seconds_count}, 0, 'Redis took no time for it';

$nginx->stop;
redis_start();


# --- a cluster: each server is a node, redirections are counted

my $cluster = Conduit::Servers->cluster(masters => 2, replicas => 0);
my @masters = $cluster->masters;

$nginx = nginx_start(server => pages() . publish_location(
    'conduit_publish_rate off;', redis => $cluster->url($masters[0])));

for my $port (@masters) {
    is post(channel_id => $cluster->channel_on($port)), 200,
        "a message is taken by the master at port $port";
}

my $m = metrics($nginx, 'publish');

is $m->{qq(redis_links_up{node="127.0.0.1:$_",link="publish"})}, 1,
    "a link to the master at port $_ is up" for @masters;
is $m->{redis_redirects_total}, 0, 'no message was redirected';

$channel = $cluster->channel_on($masters[0]);
my $step = $cluster->migration(stream_key($ORG, $channel), $masters[1]);
$step->open;

counts('a redirection of a slot that moves',
       sub { is post(channel_id => $channel), 200 },
       outcome('accepted') => 1, redis_redirects_total => 1,
       messages_total => 1,
       bytes_total => length message(channel_id => $channel),
       redis_duration_seconds_count => 1, request_duration_seconds_count => 1);

$step->move;
$step->close;

$nginx->stop;


# --- many servers, as of a large cluster: none is left out

$nginx = nginx_start(workers => 2, server => pages()
    . 'location = /ready { conduit_publish_health ready; }'
    . join '', map { "location /$_/ { conduit_publish unix:/nowhere/$_;"
                     . 'conduit_publish_auth off; }' } 1 .. 100);

my %links;
ok wait_for(20, sub {
    my $m = metrics($nginx, 'publish');

    %links = map { $_ => $m->{$_} } grep { /^redis_links\{/ } keys %$m;
    keys %links == 100 && !grep { $_ != 2 } values %links;
}), 'all links of all workers are there';
is_deeply \%links, { map { +qq(redis_links{node="/nowhere/$_",)
                           . 'link="publish"}' => 2 } 1 .. 100 },
    'each link has its own name';

$nginx->stop;


# --- more workers than the page has places for

SKIP: {
    skip 'so many workers are too much for a sanitizer, or valgrind', 2
        if $ENV{CONDUIT_CHECKED} || $ENV{TEST_NGINX_USE_VALGRIND};

    my $PLACES = 128;
    my $WARNING = qr/\[warn\] .* conduit: more than $PLACES workers, /;

    $nginx = nginx_start(workers => $PLACES + 2, log_level => 'notice',
        server => 'location = /status { conduit_publish_status; }');

    my @lines;

    ok wait_for(60, sub {
        @lines = grep { $_ =~ $WARNING } split /^/, $nginx->error_log;
        return @lines >= 2;
    }), 'each worker without a place is logged';
    is_deeply [map { s/.*workers, //r } @lines],
        [("this one is not counted\n") x 2],
        'workers without a place say that they are not counted';
}

done_testing;
