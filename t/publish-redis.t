# Copyright (C) Conduit for NGINX authors
#
# conduit_publish and Redis: how it connects and authenticates, what a message
# costs, and what publishers are told when Redis is away, does not answer, or
# refuses.

use strict;
use warnings;

use lib 't/lib', 't/faults';

use Conduit;
use Conduit::Metrics qw(metrics pages);
use Faults ();
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);

my $HOST = "127.0.0.1:$Conduit::REDIS_PORT";
my $SOCK = $Conduit::REDIS_SOCK;

my $PASSWORD_FILE = write_file("$Conduit::TMP/password", "from a file\r\n");
my $EVEN = write_file("$Conduit::TMP/password2", 'p@ss:w/rd %');


# locations without authentication: name => [URL, directives]

sub locations {
    my %l = @_;

    return join '', map {
        my ($url, $extra) = ref $l{$_} ? @{ $l{$_} } : $l{$_};
        $extra //= '';

        "location /$_/ {
            conduit_publish $url;
            conduit_publish_auth off;
            conduit_publish_rate off;
            $extra
        }\n"
    } sort keys %l;
}

sub post {
    my ($nginx, $location, $channel) = @_;

    $channel //= uuid();

    return http($nginx, 'POST', "/$location/$ORG/$channel", timeout => 20,
                body => message(channel_id => $channel));
}

# sends the request alone

sub post_start {
    my ($nginx, $location, $channel) = @_;

    return http_start($nginx, "/$location/$ORG/$channel",
                      message(channel_id => $channel));
}

sub becomes {
    my ($status, $nginx, $location, $seconds) = @_;

    return wait_for($seconds // 20,
                    sub { post($nginx, $location)->{status} == $status });
}

sub is_unavailable {
    my ($r, $text, $name) = @_;

    is($r->{status}, 503, "$name: 503");
    is($r->{headers}{'retry-after'}, '1', "$name: Retry-After");
    is($r->{headers}{'content-type'}, 'text/plain', "$name: type");
    is($r->{body}, $text, "$name: what happened");
}

sub log_lines {
    my ($nginx, $pattern) = @_;

    return grep { $_ =~ $pattern } split /^/, $nginx->error_log;
}

# what Redis counts of each command: calls by name, without those of the suite;
# Redis 6 does not tell subcommands

sub calls {
    my %calls = redis('INFO', 'commandstats') =~ /^cmdstat_(\S+):calls=(\d+)/mg;

    delete @calls{qw(info config|resetstat config client|list client xlen
                     script|flush script)};
    return \%calls;
}

# connections to Redis but that of the suite

sub connections {
    my $id = redis('CLIENT', 'ID');

    return grep { !/^id=$id / } split /\n/, redis('CLIENT', 'LIST');
}

sub is_stored {
    my ($r, $channel, $db) = @_;

    is($r->{status}, 200, 'the message is taken');

    redis('SELECT', $db // 0);
    my $entries = redis('XRANGE', stream_key($ORG, $channel), '-', '+');
    redis('SELECT', 0);

    is_deeply([map { $_->[0] } @$entries], [$r->{body}],
              'the message is stored');
}


subtest 'TEST 1: the script is sent once, then its name' => sub {
    redis('SCRIPT', 'FLUSH');

    my $nginx = nginx_start(server => locations(a => "redis://$HOST"));

    redis('CONFIG', 'RESETSTAT');

    my $channel = uuid();
    is(post($nginx, 'a', $channel)->{status}, 200, 'a message is taken')
        for 1 .. 10;

    is(redis('XLEN', stream_key($ORG, $channel)), 10, 'all are stored');

    is_deeply(calls(), { ping => 1, eval => 1, evalsha => 10, xadd => 10,
                         pexpire => 10 },
              'one command a message, beside the script and the greeting');
};


subtest 'TEST 2: a message with a rate is one command, too' => sub {
    my $nginx = nginx_start(server => publish_location());

    publish($nginx, channel_id => uuid());
    redis('CONFIG', 'RESETSTAT');
    publish($nginx, channel_id => uuid());

    is_deeply(calls(), { evalsha => 1, incr => 1, xadd => 1, pexpire => 2 },
              'one EVALSHA is sent');
};


subtest 'TEST 3: a script that Redis has forgotten is sent again' => sub {
    my $nginx = nginx_start(server => locations(a => "redis://$HOST"));
    my $channel = uuid();

    is(post($nginx, 'a')->{status}, 200,
        'a message is taken before the script is forgotten');
    redis('SCRIPT', 'FLUSH');

    is_stored(post($nginx, 'a', $channel), $channel);
    is_deeply([log_lines($nginx, qr/\[error\]/)], [], 'nothing is logged');
};


subtest 'TEST 4: one connection a worker, for all requests and locations' => sub {
    my $before = connections();
    my $nginx = nginx_start(server => locations(a => "redis://$HOST",
                                                b => "redis://$HOST",
                                                c => "redis://$HOST/0"));

    is(scalar(connections()), $before,
        'no connection is made before the first message');

    redis_pause();

    my @channels = map { uuid() } 1 .. 60;
    my @sockets = map { post_start($nginx, (qw(a b c))[$_ % 3], $channels[$_]) }
                  0 .. 59;

    redis_resume();

    is(scalar(grep { http_end($_)->{status} eq '200' } @sockets), 60,
       'messages of 60 clients at once are taken');
    is(scalar(connections()), $before + 1, 'on one connection');

    is($nginx->stop, 0, 'NGINX stops');
    ok(wait_for(20, sub { connections() == $before }),
        'the connection is closed when NGINX stops');
};


subtest 'TEST 5: workers have their own connections' => sub {
    my $before = connections();
    my $nginx = nginx_start(workers => 2,
                            server => locations(a => "redis://$HOST"));

    # which worker accepts is up to the system

    ok(wait_for(20, sub {
        post($nginx, 'a');
        connections() == $before + 2;
    }), 'each has one');

    post($nginx, 'a') for 1 .. 20;
    is(scalar(connections()), $before + 2, 'no other connections are made');
};


subtest 'TEST 6: a database' => sub {
    my $nginx = nginx_start(server => locations(three => "redis://$HOST/3"));
    my $channel = uuid();

    is_stored(post($nginx, 'three', $channel), $channel, 3);
    is(redis('EXISTS', stream_key($ORG, $channel)), 0, 'in that one alone');
};


subtest 'TEST 7: a database that Redis does not have' => sub {
    my $nginx = nginx_start(server => locations(far => "redis://$HOST/99"));

    is_unavailable(post($nginx, 'far'),
                   'Redis is not reachable, the message was not stored', 'far');
    like(join('', log_lines($nginx, qr/\[error\]/)),
         qr/connect failed \(SELECT refused: ERR DB index is out of range\)/,
         'the log says why');
};


subtest 'TEST 8: a UNIX-domain socket' => sub {
    my $nginx = nginx_start(server => locations(a => "unix:$SOCK",
                                                b => "unix:$SOCK?db=2"));
    my $channel = uuid();

    is_stored(post($nginx, 'a', $channel), $channel);
    is_stored(post($nginx, 'b', $channel), $channel, 2);
};


subtest 'TEST 9: a UNIX-domain socket that is not there' => sub {
    my $nginx = nginx_start(
        server => locations(a => "unix:$Conduit::TMP/none.sock"));

    is_unavailable(post($nginx, 'a'),
                   'Redis is not reachable, the message was not stored', 'a');
    like(join('', log_lines($nginx, qr/\[error\]/)),
         qr{redis \Q$Conduit::TMP\E/none\.sock publish: connect failed \(.*No such file},
         'the log says which, and why');
};


subtest 'TEST 10: a name with several addresses' => sub {
    my $nginx = nginx_start(
        server => locations(a => "redis://localhost:$Conduit::REDIS_PORT"));

    ok(becomes(200, $nginx, 'a'), 'one of them does');
};


subtest 'TEST 11: a password' => sub {
    redis('CONFIG', 'SET', 'requirepass', 'open sesame');

    my $nginx = nginx_start(server => locations(
        good => "redis://:open%20sesame\@$HOST",
        none => "redis://$HOST",
        sock => "'unix:$SOCK'",
        ));
    my $channel = uuid();

    is_stored(post($nginx, 'good', $channel), $channel);

    is_unavailable(post($nginx, $_),
                   'Redis is not reachable, the message was not stored', $_)
        for qw(none sock);

    is(scalar(log_lines($nginx, qr/\[error\].*PING refused: NOAUTH/)), 2,
       'the log says that a password is missing');

    redis('CONFIG', 'SET', 'requirepass', '');

    ok(becomes(200, $nginx, $_), "$_: taken when no password is needed")
        for qw(none sock);
};


subtest 'TEST 12: a user and a password, from the URL or from a file' => sub {
    redis('ACL', 'SETUSER', 'one', 'reset', 'on', '>p@ss:w/rd %', '~*', '+@all');
    redis('ACL', 'SETUSER', 'two', 'reset', 'on', '>from a file', '~*', '+@all');
    redis('CONFIG', 'SET', 'requirepass', 'from a file');

    my $file = "conduit_publish_redis_password_file $PASSWORD_FILE;";
    my $even = "conduit_publish_redis_password_file $EVEN;";
    my $nginx = nginx_start(server => locations(
        url => "redis://one:p%40ss%3aw%2Frd%20%25\@$HOST/11",
        file => ["redis://$HOST/12", "$even conduit_publish_redis_user one;"],
        both => ["redis://two\@$HOST/13", $file],
        lines => ["redis://$HOST/14", $file],
        first => ["redis://one:p%40ss%3aw%2Frd%20%25\@$HOST/15",
                  "$file conduit_publish_redis_user two;"],
        ));

    my %users = (url => 'one', file => 'one', both => 'two',
                 lines => 'default', first => 'one');
    my $db = 10;

    for my $location (qw(url file both lines first)) {
        $db++;
        is(post($nginx, $location)->{status}, 200, "$location: taken");

        my ($line) = grep { / db=$db / } connections();
        like($line, qr/ user=$users{$location} /,
            "$location: the connection is of the right user");
    }

    unlike($nginx->error_log, qr/p\@ss|from a file/,
           'passwords are not logged');

    redis('CONFIG', 'SET', 'requirepass', '');
    redis('ACL', 'DELUSER', 'one', 'two');
};


subtest 'TEST 13: a wrong password' => sub {
    redis('ACL', 'SETUSER', 'one', 'reset', 'on', '>right', '~*', '+@all');

    my $nginx = nginx_start(server => locations(a => "redis://one:hushhush\@$HOST"));

    is_unavailable(post($nginx, 'a'),
                   'Redis is not reachable, the message was not stored', 'a');

    ok(wait_for(20, sub {
        log_lines($nginx, qr/AUTH refused: WRONGPASS/) >= 4
    }),
       'a refused connection is tried again and again');
    is(scalar(log_lines($nginx, qr/\[error\]/)), 1, 'one error is logged');
    unlike($nginx->error_log, qr/hushhush/, 'the password is not logged');

    redis('ACL', 'SETUSER', 'one', '>hushhush');

    ok(becomes(200, $nginx, 'a'),
       'messages are taken when the password is right');
    is(scalar(log_lines($nginx, qr/\[warn\].*connected again after \d+ms/)), 1,
       'a connection that is made again is logged');

    redis('ACL', 'DELUSER', 'one');
};


subtest 'TEST 14: the rights that the documentation asks for are enough' => sub {
    my ($rule) = read_file("$Conduit::ROOT/docs/security.md")
                 =~ /ACL SETUSER publisher (on .*)/;

    ok(defined $rule, 'the documentation has them');
    redis('ACL', 'SETUSER', 'publisher', 'reset', split ' ', $rule);
    redis('SCRIPT', 'FLUSH');

    my $nginx = nginx_start(server =>
        locations(none => "redis://publisher:password\@$HOST/1")
        . publish_location('', redis => "redis://publisher:password\@$HOST/1"));

    for (1 .. 2) {
        my $channel = uuid();
        my $id = publish($nginx, channel_id => $channel);

        is_stored({ status => 200, body => $id }, $channel, 1);
    }

    is(post($nginx, 'none')->{status}, 200, 'without a rate as well');
    redis('ACL', 'DELUSER', 'publisher');
};


subtest 'TEST 15: rights that are not enough' => sub {
    redis('ACL', 'SETUSER', 'reader', 'reset', 'on', '>x', '~*', '+eval',
          '+evalsha', '+pexpire');

    my $nginx = nginx_start(server => locations(a => "redis://reader:x\@$HOST"));
    my $r = post($nginx, 'a');

    is($r->{status}, 500, 'the message is refused, though PING is not allowed');
    is($r->{body}, 'Redis refused the message', 'without internals');
    like(join('', log_lines($nginx, qr/\[error\]/)),
         qr/redis \S+ refused to publish to "stream:\d+:[0-9a-f-]+": .*(?:NOPERM|ACL|can't run this command)/,
         'the log says why');

    redis('ACL', 'DELUSER', 'reader');
};


subtest 'TEST 16: a key that is no stream' => sub {
    my $nginx = nginx_start(server => locations(a => "redis://$HOST"));
    my $channel = uuid();

    redis('SET', stream_key($ORG, $channel), 'x');

    my $r = post($nginx, 'a', $channel);

    is($r->{status}, 500, 'the message is refused');
    is($r->{headers}{'content-type'}, 'text/plain', 'the answer is a text');
    is($r->{body}, 'Redis refused the message', 'without internals');
    like(join('', log_lines($nginx, qr/\[error\]/)),
         qr/redis \S+ refused to publish to "stream:123:$channel": .*WRONGTYPE/,
         'the log says why');
    is(redis('GET', stream_key($ORG, $channel)), 'x', 'the key is as it was');

    redis('DEL', stream_key($ORG, $channel));
    is_stored(post($nginx, 'a', $channel), $channel);
};


subtest 'TEST 17: a counter that is no number' => sub {
    my $nginx = nginx_start(server => publish_location('conduit_publish_auth off;'));
    my $channel = uuid();

    redis('SET', 'conduit:rate:{' . stream_key($ORG, $channel) . '}', 'x');
    is(post($nginx, 'publish', $channel)->{status}, 500,
        'a message is refused with 500');
    is(redis('EXISTS', stream_key($ORG, $channel)), 0, 'nothing is stored');
};


subtest 'TEST 18: Redis is out of memory' => sub {
    my $nginx = nginx_start(server => locations(a => "redis://$HOST"));
    my $channel = uuid();

    redis('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    redis('CONFIG', 'SET', 'maxmemory', 1);

    is_unavailable(post($nginx, 'a', $channel),
                   'Redis is out of memory, the message was not stored', 'full');

    redis('CONFIG', 'SET', 'maxmemory', 0);

    is(redis('EXISTS', stream_key($ORG, $channel)), 0, 'nothing is stored');
    like(join('', log_lines($nginx, qr/\[error\]/)), qr/OOM /,
         'the log says why');
    is_stored(post($nginx, 'a', $channel), $channel);
};


subtest 'TEST 19: Redis has become a replica' => sub {
    my $nginx = nginx_start(server => locations(a => "redis://$HOST"));
    my $channel = uuid();

    is(post($nginx, 'a')->{status}, 200, 'a message is taken');
    redis('REPLICAOF', '127.0.0.1', free_port());

    is_unavailable(post($nginx, 'a', $channel),
                   'Redis is busy, the message was not stored', 'replica');

    redis('REPLICAOF', 'NO', 'ONE');
    is_stored(post($nginx, 'a', $channel), $channel);
};


subtest 'TEST 20: Redis refuses the expiry of a stream' => sub {
    redis('ACL', 'SETUSER', 'writer', 'reset', 'on', '>x', '~*', '+ping',
          '+eval', '+evalsha', '+xadd');

    my $nginx = nginx_start(server => pages()
                            . locations(a => "redis://writer:x\@$HOST"));
    my $channel = uuid();

    is_stored(post($nginx, 'a', $channel), $channel);
    is(redis('TTL', stream_key($ORG, $channel)), -1,
       'the stream has no expiry');
    is(post($nginx, 'a')->{status}, 200, 'another message is stored');

    my @lines = log_lines($nginx, qr/\[error\]/);
    is(scalar(@lines), 1, 'one line tells of the missing expiry');
    like($lines[0], qr/redis \S+ stored a message in "stream:123:$channel", but refused to set the expiry of the stream: .*(?:pexpire|can't run this command|ACL)/i,
         'the line names the reason');
    is(metrics($nginx, 'publish')->{no_expiry_total}, 2,
       'both messages without expiry are counted');

    redis('ACL', 'DELUSER', 'writer');
};


subtest 'TEST 21: Redis runs a slow script' => sub {
    my $nginx = nginx_start(server => locations(a => "redis://$HOST"));
    my $channel = uuid();

    is(post($nginx, 'a')->{status}, 200, 'a message is taken');

    redis('CONFIG', 'SET', 'lua-time-limit', 50);

    my $slow = IO::Socket::INET->new(PeerAddr => $HOST) or die "connect: $!";
    $slow->syswrite("EVAL \"while true do end\" 0\r\n");

    ok(wait_for(20, sub { !eval { redis('PING') } }), 'Redis is busy');
    is_unavailable(post($nginx, 'a', $channel),
                   'Redis is busy, the message was not stored', 'busy');

    redis('SCRIPT', 'KILL');
    ok(wait_for(20, sub { eval { redis('PING') } }), 'Redis is back');
    is_stored(post($nginx, 'a', $channel), $channel);
};


subtest 'TEST 22: Redis does not answer' => sub {
    my $nginx = nginx_start(server => locations(
        a => ["redis://$HOST", 'conduit_publish_timeout 1s;']));
    my $channel = uuid();

    is(post($nginx, 'a')->{status}, 200, 'a message is taken');
    redis_pause();

    my $started = time;
    my $r = post($nginx, 'a', $channel);
    my $took = time - $started;

    is($r->{status}, 504, 'the message is given up');
    is($r->{headers}{'content-type'}, 'text/plain', 'the answer is a text');
    is($r->{body},
       'Redis did not answer in time, the message may have been stored',
       'the text says what is known');
    cmp_ok($took, '>=', 0.99,
        'the message is not given up before its time is over');
    cmp_ok($took, '<', 10, 'soon after the time that is set');

    like(join('', log_lines($nginx, qr/\[error\]/)),
         qr/connection lost \(no reply in time\).*redis \S+ did not reply to publishing to "stream:123:$channel" within \d+ms/s,
         'the log says so');

    redis_resume();

    ok(wait_for(20, sub { redis('XLEN', stream_key($ORG, $channel)) }),
       'the message was stored all the same');
    ok(becomes(200, $nginx, 'a'), 'messages are taken again');
};


subtest 'TEST 23: messages behind one that is not answered' => sub {
    my $nginx = nginx_start(server => locations(
        a => ["redis://$HOST", 'conduit_publish_timeout 1s;']));

    is(post($nginx, 'a')->{status}, 200, 'a message is taken');
    redis_pause();

    my @sockets = map { post_start($nginx, 'a', uuid()) } 1 .. 30;
    my %statuses;

    $statuses{ http_end($_)->{status} }++ for @sockets;

    redis_resume();

    is_deeply(\%statuses, { 504 => 30 }, 'are given up with it');
    is(scalar(log_lines($nginx, qr/\[error\].*connection lost/)), 1,
       'one connection was lost');
    ok(becomes(200, $nginx, 'a'), 'messages are taken again');
};


subtest 'TEST 24: Redis accepts a connection and says nothing' => sub {
    my $nginx = nginx_start(server => locations(
        a => ["redis://$HOST", 'conduit_publish_connect_timeout 1s;'
                               . 'conduit_publish_timeout 60s;'],
        b => ["redis://$HOST", 'conduit_publish_timeout 1s;'
                               . 'conduit_publish_connect_timeout 60s;']));

    redis_pause();

    for my $location (qw(a b)) {
        my $started = time;

        is_unavailable(post($nginx, $location),
                       'Redis is not reachable, the message was not stored',
                       $location);
        my $took = time - $started;

        cmp_ok($took, '>=', 0.9, "$location: not before the time is over");
        cmp_ok($took, '<', 20, "$location: nor after the other time");
    }

    ok(log_lines($nginx, qr/connect failed \(timed out\)/), 'the log says why');
    redis_resume();
    ok(becomes(200, $nginx, $_), "$_: taken again") for qw(a b);
};


subtest 'TEST 25: the connection breaks before the answer' => sub {
    my $proxy = Faults::Proxy->start($HOST);
    my $nginx = nginx_start(server => locations(a => $proxy->url));
    my $channel = uuid();

    is(post($nginx, 'a')->{status}, 200, 'a message is taken');

    # closed when all of the command has come

    $proxy->tell('break', $channel);

    my $r = post($nginx, 'a', $channel);

    is_unavailable($r,
                   'Connection to Redis lost, the message may have been stored',
                   'without an answer');
    is(scalar(log_lines($nginx, qr/\[error\].*redis \S+ did not reply to publishing to "stream:123:$channel"/)),
       1, 'the log has the stream');

    is_unavailable(post($nginx, 'a'),
                   'Redis is not reachable, the message was not stored',
                   'while it is away');

    $proxy->tell('pass');
    ok(becomes(200, $nginx, 'a'), 'messages are taken when it is back');
    is(redis('EXISTS', stream_key($ORG, $channel)), 0,
       'the message was not sent again');
    $proxy->stop;
};


subtest 'TEST 26: Redis comes later than NGINX' => sub {
    redis_stop();

    my $nginx = nginx_start(server => locations(a => "redis://$HOST"));
    my ($worker) = $nginx->workers;

    is_unavailable(post($nginx, 'a'),
                   'Redis is not reachable, the message was not stored', 'a');

    # those that come meanwhile do not wait for a try, which would add up to a
    # minute

    my $started = time;
    is(post($nginx, 'a')->{status}, 503, 'the next one, too') for 1 .. 20;
    cmp_ok(time - $started, '<', 15, 'at once');

    ok(wait_for(20, sub { log_lines($nginx, qr/connect failed/) >= 4 }),
       'a refused connection is tried again and again');
    is(scalar(log_lines($nginx, qr/\[error\].*connect failed \(.*refused/)), 1,
       'one error is logged');

    redis_start();

    ok(becomes(200, $nginx, 'a'), 'messages are taken when Redis is there');
    is_deeply([$nginx->workers], [$worker], 'the worker has not been replaced');
    is(scalar(log_lines($nginx, qr/\[warn\].*connected again/)), 1,
       'the log says so');
};


subtest 'TEST 27: Redis closes connections' => sub {
    my $nginx = nginx_start(server => locations(a => "redis://$HOST"));

    is(post($nginx, 'a')->{status}, 200, 'a message is taken');

    for my $n (1 .. 3) {
        redis('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
        ok(wait_for(20, sub {
            log_lines($nginx, qr/connected again/) >= $n
        }), 'the connection is made again by itself');
        is(post($nginx, 'a')->{status}, 200, 'the next message is taken');
    }

    # an error, unless a second passed before it

    is(scalar(log_lines($nginx, qr/\[error\].*connection lost|closed while idle/)),
       3, 'each loss is one line');
};


subtest 'TEST 28: times between tries grow' => sub {
    redis_stop();

    my $nginx = nginx_start(server => locations(a => "redis://$HOST"));

    post($nginx, 'a');
    ok(wait_for(20, sub { log_lines($nginx, qr/next try in/) >= 6 }),
       'six tries fail');

    my @times = map { /next try in (\d+)ms/ } log_lines($nginx, qr/next try in/);

    # 50 ms, doubled each time, from half of it to one and a half
    for my $i (0 .. 5) {
        my $delay = 50 * 2 ** $i;

        ok($times[$i] >= $delay / 2 - 1 && $times[$i] <= $delay * 1.5 + 1,
           "try $i: $times[$i] ms");
    }

    redis_start();
};

done_testing();
