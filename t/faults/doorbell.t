# Copyright (C) Conduit for NGINX authors
#
# The doorbell (notifications of Redis that a stream has changed) under rare
# conditions: notifications that are lost, that come without a change, or that
# Redis does not allow; streams that are trimmed unnoticed; positions that
# cannot be looked up.

use strict;
use warnings;

use lib 't/lib', 't/faults';

use Conduit;
use Faults ();
use IO::Socket::INET;
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;
use Time::HiRes qw(sleep time);

my $REDIS = "127.0.0.1:$Conduit::REDIS_PORT";

# what a gateway may do, in words of ACL SETUSER
my $SHA = redis_version() >= 7_000_000 ? 'evalsha_ro' : 'evalsha';
my @RIGHTS = (qw(on >pw resetkeys resetchannels -@all ~stream:*
                 &__redis__:invalidate +ping +select +subscribe +xread +xrange
                 +xinfo|stream +script|load +client|id +client|tracking),
              "+$SHA", '+' . $SHA =~ s/sha//r);

# One at a time: tests look at the connections to Redis.

my $last;

sub gateway {
    my ($extra, %o) = @_;

    my $redis = $o{redis} // ($o{user} ? "redis://$o{user}:pw\@$REDIS"
                                       : "redis://$REDIS");

    $last->stop if $last;
    $last = nginx_start(server => gateway_location(
        'conduit_gateway_auth off; conduit_gateway_drain 200ms;'
        . ($extra // ''), redis => $redis));

    return $last;
}

sub user {
    my ($name, @rules) = @_;

    redis('ACL', 'SETUSER', $name, 'reset', @rules);
}

sub log_lines {
    my ($nginx, $pattern) = @_;

    return grep { $_ =~ $pattern } split /^/, $nginx->error_log;
}

# a number of INFO
sub info {
    my ($section, $name) = @_;

    return redis('INFO', $section) =~ /^$name:(\d+)/m ? $1 : 0;
}

sub calls {
    my $command = shift;

    return redis('INFO', 'commandstats') =~ /^cmdstat_\Q$command\E:calls=(\d+)/m
           ? $1 : 0;
}

sub kill_clients {
    my @filter = @_;

    eval { redis('CLIENT', 'KILL', @filter, 'SKIPME', 'yes') };
}

# events in a line: sequence numbers and types of control
sub line_of {
    return join ' ', map { $_->{json}{sequence} // $_->{json}{control_type} }
                     @_;
}

subtest 'TEST 1: a worker without a stream falls back to polling' => sub {
    user('one', @RIGHTS);

    my $nginx = gateway('', user => 'one');
    my ($worker) = $nginx->workers;
    my @clients = map { sse_open($nginx, channel_id => uuid()) } 1 .. 30;

    # the slow sweep has been at work, and has a rest to make up for

    my $reads = calls('xread');
    ok(wait_for(20, sub { calls('xread') > $reads }), 'streams are swept');

    $_->close for @clients;
    ok(wait_for(20, sub { $nginx->access_log =~ tr/\n// >= 30 }),
       'all clients leave');

    # Redis 6 takes a command back as a whole only

    redis('ACL', 'SETUSER', 'one', redis_version() >= 7_000_000
          ? '-client|tracking' : ('-client', '+client|id'));
    kill_clients('USER', 'one');

    ok(wait_for(20, sub { log_lines($nginx, qr/has no CLIENT TRACKING/) }),
       'polling starts');

    # it has nothing to show for itself
    sleep 0.5;

    my $sse = sse_open($nginx);
    my $id = xadd(sequence => 1);

    is(($sse->event // {})->{id}, $id, 'a stream is polled');
    is_deeply([$nginx->workers], [$worker], 'the worker has not been replaced');
};


subtest 'TEST 2: a user without the channel of invalidations is polled' => sub {

    # from Redis 7 on that is what a new user is

    user('two', qw(on >pw ~* +@all resetchannels));

    redis('DEL', stream_key());

    my $nginx = gateway('', user => 'two');
    my $sse = sse_open($nginx);

    my $id = xadd(sequence => 1);
    is(($sse->event // {})->{id}, $id, 'a message arrives');

    my $before = info('stats', 'total_connections_received');
    sleep 2;
    cmp_ok(info('stats', 'total_connections_received') - $before, '<=', 1,
           'there is no storm of connections');

    is(scalar(log_lines($nginx, qr/has no CLIENT TRACKING \(NOPERM/)), 1,
       'one line says so');
    cmp_ok(scalar(log_lines($nginx, qr/\[error\].* conduit: /)), '<=', 1,
           'beside that of the lost connection');

    $id = xadd(sequence => 2);
    is(($sse->event // {})->{id}, $id, 'further messages arrive');
};


subtest 'TEST 3: a tracking table that is too small starts no storm' => sub {
    redis(qw(CONFIG SET tracking-table-max-keys 10));

    my $nginx = gateway();
    my @channels = map { uuid() } 1 .. 12;
    my @clients = map { sse_open($nginx, channel_id => $_) } @channels;

    # once they have seen that rings are for nothing; the lines of INFO are
    # commands, too

    my $rate;
    my $quiet = wait_for(20, sub {
        my $before = info('stats', 'total_commands_processed');
        sleep 1;
        $rate = info('stats', 'total_commands_processed') - $before;
        return $rate < 300;
    });

    ok($quiet, "idle streams cost few commands: $rate a second");

    my %ids = map { $_ => xadd(channel_id => $_) } @channels;

    is(scalar(grep { ($clients[$_]->event(30) // {})->{id}
                     eq $ids{$channels[$_]} } 0 .. $#channels),
       12, 'messages arrive nevertheless');

    redis(qw(CONFIG SET tracking-table-max-keys 1000000));
};


subtest 'TEST 4: who is behind a gap is told' => sub {
    my $nginx = gateway();
    my ($worker) = $nginx->workers;

    redis('DEL', stream_key());
    my $sse = sse_open($nginx);
    my @ids = map { xadd(sequence => $_) } 1 .. 3;

    is(line_of($sse->events(3)), '1 2 3', 'a client is at the end');

    # the worker does not run while more passes than the stream keeps

    kill 'STOP', $worker;
    stopped($worker);

    xadd(sequence => $_) for 4 .. 503;
    redis('XTRIM', stream_key(), 'MAXLEN', '=', 50);

    kill 'CONT', $worker;

    my $kept = join ' ', 454 .. 503;

    is(line_of($sse->events(51)), "history_lost $kept", 'live');

    # 2 and 3 may be in memory

    $sse = sse_open($nginx, last_event_id => $ids[0]);
    my @got;
    push @got, $sse->event // last
        while !@got || ($got[-1]{json}{sequence} // 0) < 503;
    like(line_of(@got), qr/\A(?:2 3 )?history_lost $kept\z/,
         'when it resumes before the gap');

    $sse = sse_open($nginx, last_event_id => $ids[2]);
    is(line_of($sse->events(51)), "history_lost $kept",
       'when it resumes at the gap');

    my $id = xadd(sequence => 504);
    is(line_of($sse->event), '504', 'nobody is told twice');
};


subtest 'TEST 5: entries trimmed during an outage are told of' => sub {
    my $proxy = Faults::Proxy->start($REDIS);
    my $nginx = gateway('', redis => $proxy->url);

    redis('DEL', stream_key());
    my @ids = map { xadd(sequence => $_) } 1 .. 5;

    # one that has the channel read, so that the other one is behind

    my $first = sse_open($nginx, last_event_id => $ids[3]);
    is(line_of($first->event), '5', 'one client is at the end');

    # the way to Redis breaks when the history is asked for

    $proxy->tell('break', 'EVALSHA');
    my $second = sse_open($nginx, last_event_id => $ids[0]);

    ok(wait_for(20, sub { log_lines($nginx, qr/reader: connection lost/) }),
       'the connection is lost when another one resumes');

    redis('XTRIM', stream_key(), 'MAXLEN', '=', 2);
    $proxy->tell('pass');

    is(line_of($second->events(3, 15)), 'history_lost 4 5',
       'a client that resumes gets what is kept, and is told');

    my $id = xadd(sequence => 6);
    is(line_of($first->event), '6', 'the first goes on');
    is(line_of($second->event), '6', 'the second, too');

    $nginx->stop;
    $proxy->stop;
};


subtest 'TEST 6: a position of the future that nobody may look up' => sub {
    user('six', grep { $_ ne '+xinfo|stream' } @RIGHTS);

    my $nginx = gateway('', user => 'six');

    redis('DEL', stream_key());
    xadd(sequence => $_) for 1 .. 3;

    my $lost = sse_open($nginx, last_event_id => '99999999999999-0');
    my $sse = sse_open($nginx);

    is(line_of($sse->events(3)), '1 2 3', 'another client gets the history');
    xadd(sequence => 4);
    is(line_of($sse->event), '4', 'another client gets what is live');
};


subtest 'TEST 7: an error of look-ups is logged once' => sub {
    user('seven', grep { $_ ne '+xinfo|stream' } @RIGHTS);

    my $nginx = gateway('', user => 'seven');

    redis('DEL', stream_key());
    my $sse = sse_open($nginx);

    # each EXPIRE is a ring for nothing, and so a look-up

    for my $n (1 .. 20) {
        xadd(sequence => $n);
        is(line_of($sse->event), $n, "message $n");
        redis('EXPIRE', stream_key(), 100);
    }

    # clients that resume have their positions looked up; what is in the same
    # connection is done, too

    my @others = map { sse_open($nginx, channel_id => uuid(),
                                last_event_id => '5-1') } 1 .. 5;

    is(scalar(grep { $_->status == 200 } @others), 5, 'clients are served');
    is(scalar(log_lines($nginx, qr/\[error\].*reading .* failed: NOPERM/)), 1,
       'one line tells why it cannot be looked up');
    is(scalar(log_lines($nginx, qr/\[error\].*not allowed to run its script/)),
       1, 'another line tells that the script is refused');
    is(scalar(log_lines($nginx, qr/\[error\]/)), 2, 'no other error is logged');
};


subtest 'TEST 8: limit_rate loses no wake-up' => sub {
    my $nginx = gateway('limit_rate 4k; conduit_gateway_keepalive 200ms;');

    redis('DEL', stream_key());
    my $sse = sse_open($nginx);

    xadd(sequence => 1, payload => { text => 'x' x 6000 });
    is(line_of($sse->event(20)), '1', 'a message over the rate arrives');

    ok($sse->comment(30), 'an idle client gets a comment');

    xadd(sequence => 2);
    is(line_of($sse->event(30)), '2', 'an idle client gets the next message');

    # the suite fails with an [alert], such as of sockets that are left

    is($nginx->stop('QUIT', 20), 0, 'NGINX quits');
    ok($sse->end, 'the response ends');
    like($sse->body, qr/\nretry: \d+\n\n\z/,
         'the response says when to come back');
};


sub start_second_redis {
    my $host = shift;

    my $pid = fork() // die "fork: $!";

    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', '/dev/null';
        exec $ENV{REDIS_SERVER} || '/usr/bin/redis-server',
             '--port', $Conduit::REDIS_PORT, '--bind', $host, '--save', '',
             '--appendonly', 'no', '--dir', $Conduit::TMP
            or POSIX::_exit(127);
    }

    wait_for(20, sub { eval { tell_second($host, 'PING') } });
    return $pid;
}

sub tell_second {
    my ($host, @args) = @_;

    my $s = IO::Socket::INET->new(PeerAddr => $host,
                                  PeerPort => $Conduit::REDIS_PORT)
        or die "connect: $!";

    print $s join '', '*' . @args . "\r\n",
                  map { '$' . length($_) . "\r\n$_\r\n" } @args;

    return Conduit::redis_reply($s);
}


subtest 'TEST 9: bell and reader are connections of one server' => sub {
    my $second = '127.0.0.2';
    my $binary = Faults::with_hosts("127.0.0.1 localhost twofold\n"
                                    . "$second twofold\n")
        or plan(skip_all => 'needs the right to mount');

    my $pid = start_second_redis($second);
    my $nginx = do {
        local $ENV{TEST_NGINX_BINARY} = $binary;
        gateway('', redis => "redis://twofold:$Conduit::REDIS_PORT");
    };

    my $ask = sub {
        my ($host, @args) = @_;

        return $host eq $second ? tell_second($host, @args) : redis(@args);
    };

    # the server where the reader's rings go to a bell, and the bell

    my ($bell, $known) = (0, '');
    my $home = sub {
        for my $host ('127.0.0.1', $second) {
            my $list = $ask->($host, 'CLIENT', 'LIST');

            for my $id ($list =~ / redir=(\d+)\b/g) {
                next if "$host $id" eq $known;
                next if $list !~ /^id=$id .* flags=P /m;

                ($bell, $known) = ($id, "$host $id");
                return $host;
            }
        }
    };

    redis('DEL', stream_key());
    my $sse = sse_open($nginx);

    for my $n (1 .. 4) {
        my $host = wait_for(20, $home);

        ok($host, "both are at one server: $host") or last;

        $ask->($host, 'XADD', stream_key(), '*', 'data',
               message(sequence => $n));

        # a stream of another life is sent from its oldest entry

        ok(wait_for(30, sub { line_of($sse->event(1) // ()) eq $n }),
           'a message arrives at once');

        $ask->($host, 'CLIENT', 'KILL', 'ID', $bell);
    }

    # the reader follows the bell, and no pair is tried that does not fit

    ok(wait_for(20, $home), 'the links are at one address again');
    is(scalar(log_lines($nginx, qr/\[error\]/)), 4, 'each loss is one error');

    $nginx->stop;
    kill 'TERM', $pid;
    waitpid $pid, 0;
};


subtest 'TEST 10: a stream that nobody waits for is not read on' => sub {
    my $nginx = gateway('conduit_gateway_read_count 10;');
    my $channel = uuid();
    my $warm = sse_open($nginx, channel_id => uuid());

    xadd(channel_id => $channel, sequence => $_) for 1 .. 1000;
    redis('CONFIG', 'RESETSTAT');
    redis_pause();

    my $requests = $nginx->access_log =~ tr/\n//;

    my $s = IO::Socket::INET->new('127.0.0.1:' . $nginx->port)
        or die "connect: $!";

    $s->syswrite("GET /events/$ORG?channel_id=$channel HTTP/1.1\r\n"
                 . "Host: x\r\n\r\n");
    ok(wait_for(20, \&redis_input), 'a stream is read');

    setsockopt $s, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
    close $s;

    ok(wait_for(20, sub { $nginx->access_log =~ tr/\n// > $requests }),
       'the only client leaves');

    redis_resume();

    ok(wait_for(20, sub { calls($SHA) }), 'the answer comes');

    my $last = -1;
    wait_for(20, sub {
        my $now = calls($SHA);
        my $same = $now == $last;

        $last = $now;
        sleep 0.2;
        return $same;
    });

    cmp_ok(calls($SHA), '<=', 3, 'no look-up follows');
};


subtest 'TEST 11: look-ups that a busy Redis refuses are made again' => sub {
    redis('CONFIG', 'SET', 'lua-time-limit', 1);

    my $nginx = gateway();
    my $warm = sse_open($nginx, channel_id => uuid());

    redis('DEL', stream_key());
    my @ids = map { xadd(sequence => $_) } 1 .. 6;
    redis('XTRIM', stream_key(), 'MAXLEN', '=', 2);

    my $slow = IO::Socket::INET->new($REDIS) or die "connect: $!";

    $slow->syswrite("EVAL \"while true do end\" 0\r\n");
    ok(wait_for(20, sub { !eval { redis('PING') } }), 'Redis is busy');

    my $behind = sse_open($nginx, last_event_id => $ids[0]);
    my $ahead = sse_open($nginx, last_event_id => '99999999999999-0');

    is($_->status, 200, 'a client that resumes is answered')
        for $behind, $ahead;

    redis('SCRIPT', 'KILL');
    ok(wait_for(20, sub { eval { redis('PING') } }), 'Redis is back');
    xadd(sequence => 7);

    is(line_of($behind->events(4)), 'history_lost 5 6 7',
       'a client behind the oldest entry is told');
    is(line_of($ahead->events(4)), 'history_lost 5 6 7',
       'a client with a future position starts with the oldest entry, and is '
       . 'told');
};


subtest 'TEST 12: a message too large to be decoded is skipped' => sub {
    my $nginx = gateway();

    redis('DEL', stream_key());

    # a Struct of empty fields: two bytes each, and some hundred in memory

    my $data = message(sequence => 1)
               . Conduit::pb_bytes(6, "\x0a\x00" x 2_200_000);

    redis('XADD', stream_key(), '*', 'data', $data);
    my $id = xadd(sequence => 2);

    my $sse = sse_open($nginx);

    is(line_of($sse->event(20)), '2', 'the one behind it arrives');

    like(join('', log_lines($nginx, qr/\[error\]/)),
         qr/\A[^\n]*entry \d+-\d+ of "[^"]*" is skipped: [^\n]*\n\z/,
         'one line tells');

    redis('DEL', stream_key());
};


subtest 'TEST 13: CLIENT TRACKING refused again and again' => sub {
    my $refused
        = qr/\[warn\].*\ keeps\ refusing\ CLIENT\ TRACKING\ \(ERR\ The\ .*\),
            \ streams\ are\ polled,\ next\ try\ in\ 15000ms$/mx;
    my $works = qr/\[warn\].*: CLIENT TRACKING works again/;

    # as from two servers behind one address

    my $proxy = Faults::Proxy->start($REDIS);

    $proxy->tell('answer', 'CLIENT TRACKING',
                 'ERR The client ID you want redirect to does not exist');
    redis('CONFIG', 'RESETSTAT');
    redis('DEL', stream_key());

    my $nginx = gateway('', redis => $proxy->url);
    my $sse = sse_open($nginx);

    ok(wait_for(20, sub { log_lines($nginx, $refused) }),
        'the refusal is logged');
    is(calls('eval'), 3, 'after a few times');

    my $id = xadd(sequence => 1);
    is(($sse->event(30) // {})->{id}, $id, 'streams are polled');

    # a trial on a connection of its own disturbs nobody

    my $resets = () = log_lines($nginx, qr/ reader: connection lost/);
    my $made = info('stats', 'total_connections_received');

    ok(wait_for(60, sub { calls('eval') == 4 }), 'the script is tried again');
    $id = xadd(sequence => 2);
    is(($sse->event(30) // {})->{id}, $id, 'streams are still polled');

    $proxy->tell('pass');
    ok(wait_for(60, sub { log_lines($nginx, $works) }),
        'the script is tried until it works');

    ok(wait_for(20, sub { Faults::peers(qr/ redir=[1-9]/) }),
       'Redis rings again');
    is(scalar(Faults::peers(qr/ flags=P /)), 1, 'one connection is subscribed');

    my $before = calls('xread');

    $id = xadd(sequence => 3);
    is(($sse->event(30) // {})->{id}, $id, 'a message arrives');
    cmp_ok(calls('xread') - $before, '<=', 2, 'nothing is polled any more');

    is(scalar(log_lines($nginx, qr/ reader: connection lost/)), $resets,
       'no trial costs the connection that reads');
    cmp_ok(info('stats', 'total_connections_received') - $made, '<=', 3,
           'few connections are made for the trials');
    is(scalar(log_lines($nginx, $refused)), 1, 'one line says what is wrong');
    is(scalar(log_lines($nginx, $works)), 1,
        'one line says that it works again');

    # a bell that is lost is had again as ever

    my ($bell) = Faults::peers(qr/ flags=P /);
    redis('CLIENT', 'KILL', 'ID', $bell);

    ok(wait_for(20, sub { my ($new) = Faults::peers(qr/ flags=P /);
                          $new && $new != $bell
                              && Faults::peers(qr/ redir=$new\b/) }),
       'a bell that is lost comes back');

    $id = xadd(sequence => 4);
    is(($sse->event(30) // {})->{id}, $id, 'the new bell rings');

    $nginx->stop;
    $last = undef;
    $proxy->stop;
};


subtest 'TEST 14: an error that passes is no refusal of CLIENT TRACKING' => sub {
    my $proxy = Faults::Proxy->start($REDIS);

    $proxy->tell('answer', 'CLIENT TRACKING', 'LOADING Redis is loading');
    redis('CONFIG', 'RESETSTAT');
    redis('DEL', stream_key());

    my $nginx = gateway('', redis => $proxy->url);
    my $sse = sse_open($nginx);

    ok(wait_for(20, sub { calls('eval') >= 5 }),
        'the script is tried again and again');
    is(scalar(log_lines($nginx, qr/polled/)), 0, 'nothing is polled');

    $proxy->tell('pass');
    ok(wait_for(20, sub { Faults::peers(qr/ redir=[1-9]/) }), 'Redis rings');

    my $id = xadd(sequence => 1);
    is(($sse->event(30) // {})->{id}, $id, 'a message arrives');
    is(scalar(log_lines($nginx, qr/polled/)), 0, 'by its ring');

    $nginx->stop;
    $last = undef;
    $proxy->stop;
};

# The bell's ID is refused once: by an error in place of the answer, and by Redis
# itself, as the bell is lost between its ID and its use.  In the last case Redis
# gets to the command when the next bell is there, which is to be kept.

for my $case (
    ['refused', 'once', 'CLIENT TRACKING',
     'ERR The client ID you want redirect to does not exist'],
    ['too late for its bell', 'before', 1, 'TRACKING',
     qw(CLIENT KILL TYPE pubsub)],
    ['late, with the next bell there,', 'before', 1, 'TRACKING',
     qw(BLPOP tracking 0)])
{
    my ($name, @mode) = @$case;

    subtest "TEST 15: CLIENT TRACKING that is $name once" => sub {
        my $proxy = Faults::Proxy->start($REDIS);

        redis('CONFIG', 'RESETSTAT');
        redis('DEL', stream_key());

        # the connections are made for the first client
        my $nginx = gateway('conduit_gateway_keepalive 300ms;'
                            . 'conduit_gateway_timeout 30s;',
                            redis => $proxy->url);
        $proxy->tell(@mode);

        my $sse = sse_open($nginx);

        if ("@mode" =~ /BLPOP/) {
            ok(wait_for(20, sub { Faults::peers(qr/ flags=b / ) }),
               'the reader waits');
            redis(qw(CLIENT KILL TYPE pubsub));
            ok(wait_for(20, sub { Faults::peers($Faults::BELL) }),
               'there is another bell');
            redis(qw(LPUSH tracking 1));
        }

        ok(wait_for(20, sub {
            my ($bell) = Faults::peers(qr/ flags=P /);
            $bell && Faults::peers(qr/ redir=$bell\b/);
        }), 'the script is tried again with a new bell, and works');
        is(scalar(log_lines($nginx, qr/ bell: connection lost /)), 1,
           'the first bell is lost, and no other');
        is(scalar(log_lines($nginx, qr/ reader: connection lost \(ERR The/)), 1,
           'the log has the refusal once') if $mode[0] eq 'once';
        is(scalar(log_lines($nginx, qr/ reader: connection lost /)), 0,
           'the reader is not lost') if $mode[0] eq 'before';

        my $id = xadd(sequence => 1);
        is(($sse->event(30) // {})->{id}, $id, 'a message arrives');
        is(scalar(log_lines($nginx, qr/polled/)), 0, 'nothing is polled');

        # a poll would ask a dozen times between three comments
        my $reads = calls('xread');
        ok($sse->comment(20), 'a comment') for 1 .. 3;
        cmp_ok(calls('xread') - $reads, '<=', 1,
               'an idle stream is not asked for, but by a sweep');

        $id = xadd(sequence => 2);
        is(($sse->event(30) // {})->{id}, $id, 'Redis rings');
        is(scalar(Faults::peers($_)), 1, 'one connection of each kind is left')
            for qr/ flags=P /, qr/ redir=[1-9]/;

        $nginx->stop;
        $last = undef;
        $proxy->stop;
    };
}

done_testing();
