# Copyright (C) Conduit for NGINX authors
#
# The health pages: "live" answers 200 whatever Redis does; "ready" answers 200
# when publishing and streaming work in each worker, and 503 when they do not.

use strict;
use warnings;

use lib 't/lib', 't/faults';

use Conduit;
use Conduit::Metrics;
use Conduit::Servers;
use Faults ();
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

my $REDIS = "127.0.0.1:$Conduit::REDIS_PORT";
my $OK = '200 {"status":"ok","dependencies":{"redis":"ok"}}';
my $FAIL = '503 {"status":"fail","dependencies":{"redis":"fail"}}';

# s; what is red within some seconds is looked for a little longer
my $SLACK = 5;

my $ready = join '', map { <<"EOC" } qw(publish gateway);
    location = /ready/$_ { conduit_${_}_health ready; }
EOC

sub server {
    my ($extra, %o) = @_;

    return pages() . $ready
           . publish_location('conduit_publish_auth off;'
                              . 'conduit_publish_rate off;', %o)
           . gateway_location('conduit_gateway_auth off;'
                              . 'conduit_gateway_drain 200ms;'
                              . ($extra // ''), %o);
}

sub probe {
    my ($nginx, $module, $page) = @_;

    my $r = http($nginx, 'GET', '/' . ($page // 'ready') . "/$module",
                 timeout => 20);
    return "$r->{status} $r->{body}";
}

# A page says so within some seconds; returns how many it took.
sub turns {
    my ($nginx, $module, $answer, $seconds, $title) = @_;

    my $start = time;
    my $last;

    wait_for($seconds + $SLACK, sub {
        ($last = probe($nginx, $module)) eq $answer;
    });

    is $last, $answer, "$module: $title";
    return time - $start;
}

sub both {
    my ($nginx, $answer, $seconds, $title) = @_;

    turns($nginx, $_, $answer, $seconds, $title) for qw(publish gateway);
}

sub post {
    my ($nginx, $channel) = @_;

    return http($nginx, 'POST', "/publish/$ORG/$channel", timeout => 20,
                body => message(channel_id => $channel))->{status};
}

# Looks at both pages all the time, until some code (called in between) returns
# true; returns all answers, each once, and how many there were.  Whether the
# machine stood still meanwhile, for about as long as makes a page red, is in
# $still.
my $still;

sub watch {
    my ($nginx, $seconds, $code) = @_;

    my (%seen, $done);

    for (my $end = time + $seconds; time < $end && !($done = $code->());) {
        my $from = time;
        $seen{probe($nginx, $_)}++ for qw(publish gateway);
        redis('PING');
        sleep 0.02;
        $still = 1 if time - $from > 0.7;
    }

    diag 'the time was up' if !$done;
    return $done ? %seen : ();
}

# Looks at both for some seconds, again if the machine stood still.
sub watch_for {
    my ($nginx, $seconds) = @_;

    my %seen;

    for my $try (1 .. 5) {
        my $until = time + $seconds;

        $still = 0;
        %seen = watch($nginx, $seconds + 20, sub { time > $until });
        last if !$still;
    }
    return %seen;
}


# --- Redis is not there yet

redis_stop();

my $nginx = nginx_start(server => server());
my $poll = nginx_start(server => server('conduit_gateway_wakeup poll 20ms;'));

both($_, $FAIL, 0, 'without Redis') for $nginx, $poll;

for my $module (qw(publish gateway)) {
    my $r = http($nginx, 'GET', "/live/$module");

    is $r->{status}, 200, "$module is alive";
    like $r->{body}, qr/\A\{"status":"ok","uptime":\d+\}\z/,
        "$module: the page live has the uptime";
    is $r->{headers}{'content-type'}, 'application/json',
        "$module: the page live is JSON";
    is $r->{headers}{'cache-control'}, 'no-store',
        "$module: the page live is not cached";

    for my $name (qw(content-type cache-control)) {
        is http($nginx, 'GET', "/ready/$module")->{headers}{$name},
            $r->{headers}{$name},
                "$module: $name is the same on the page ready with 503";
    }

    my $head = http($nginx, 'HEAD', "/ready/$module");
    is "$head->{status} $head->{body}", '503 ',
        "$module: HEAD of the page ready has the status and no body";
    is $head->{headers}{'content-length'}, length($FAIL) - 4,
        "$module: HEAD of the page ready has the length of GET";

    my $post = http($nginx, 'POST', "/ready/$module", body => 'x');
    is "$post->{status} $post->{headers}{allow}", '405 GET, HEAD',
        "$module: POST is not allowed on the page ready";
}

my ($uptime) = probe($nginx, 'gateway', 'live') =~ /(\d+)\}/;
ok wait_for(20, sub {
    my ($now) = probe($nginx, 'gateway', 'live') =~ /(\d+)\}/;
    $now > $uptime;
}), 'the uptime grows';

redis_start();
both($_, $OK, 10, 'Redis has come') for $nginx, $poll;


# --- the canary's keys are few and do not stay

my @keys = @{ redis('KEYS', 'conduit:canary:*') };
is scalar(@keys), 2, 'a worker has one key';

for my $key (@keys) {
    like $key, qr/\Aconduit:canary:[0-9a-f]{16}\z/,
        'the canary has a random name';
    is redis('XLEN', $key), 1, 'the canary has one entry';
    my $ttl = redis('PTTL', $key);
    ok $ttl > 0 && $ttl <= 60_000, "the canary expires in a minute ($ttl ms)";
}

for ($nginx, $poll) {
    my $n = metrics($_, 'gateway')->{canaries_total};
    my $nginx = $_;

    ok wait_for(20, sub { metrics($nginx, 'gateway')->{canaries_total} > $n }),
        'the canary is sent again and again';
}


# --- many probes

sub calls {
    return eval { my $n = 0; $n += $_ for redis('INFO', 'commandstats')
                  =~ /calls=(\d+)/g; $n };
}

my ($start, $calls) = (time, calls());
my %answers;

for (1 .. 100) {
    $answers{probe($nginx, $_)}++ for qw(publish gateway);
}

my $took = time - $start;

is_deeply \%answers, { $OK => 200 }, 'all of many probes are answered';
cmp_ok calls() - $calls, '<=', 20 * ($took + 2),
    'many probes cost Redis no commands of their own';


# --- Redis goes

redis_stop('KILL');
$took = turns($nginx, 'publish', $FAIL, 3, 'Redis was killed');
turns($nginx, 'gateway', $FAIL, 3, 'Redis was killed');
turns($poll, 'gateway', $FAIL, 3, 'Redis was killed, with polling');
is probe($nginx, $_, 'live') =~ s/\d+\}//r, '200 {"status":"ok","uptime":',
    "$_ is alive without Redis" for qw(publish gateway);

redis_start();
both($_, $OK, 10, 'Redis is back') for $nginx, $poll;

redis_pause();
turns($nginx, 'publish', $FAIL, 3, 'Redis hangs');
turns($nginx, 'gateway', $FAIL, 7, 'Redis hangs');
turns($poll, 'gateway', $FAIL, 7, 'Redis hangs, with polling');

redis_resume();
both($_, $OK, 15, 'Redis answers again') for $nginx, $poll;
is $poll->stop, 0, 'the NGINX that polls quits';


# --- connections that do not stay

# one that is away for a second is; a machine that stands still so long is given
# another try

my %seen;

for my $try (1 .. 10) {
    my $killed = time;
    my $back;

    redis('CLIENT', 'KILL', 'TYPE', 'pubsub');
    %seen = watch($nginx, 20, sub {
        $back ||= time if redis('CLIENT', 'LIST', 'TYPE', 'pubsub') ne '';
        $back && time > $killed + 1.5;
    });
    last if !$still && $back && $back < $killed + 0.8;
    $still = 0;
}

is_deeply [keys %seen], [$OK],
    'a bell that is connected again at once is no reason for a 503';

my %by;
ok wait_for(7 + $SLACK, sub {
    redis('CLIENT', 'KILL', 'TYPE', 'pubsub');
    sleep 0.05;
    $by{$_}{probe($nginx, $_)}++ for qw(publish gateway);
    $by{gateway}{$FAIL};
}), 'bells that are killed again and again are a reason for a 503';
is_deeply [keys %{ $by{publish} }], [$OK],
    'the publisher is ready while the bells are killed';
turns($nginx, 'gateway', $OK, 15, 'the bells stay connected again');


# --- a stream whose IDs go back

@keys = @{ redis('KEYS', 'conduit:canary:*') };
redis('XADD', $_, '99999999999999-0', 't', '') for @keys;

my $n = metrics($nginx, 'gateway')->{canaries_total};
wait_for(30, sub { metrics($nginx, 'gateway')->{canaries_total} > $n + 1 });
redis('DEL', @keys);

%seen = watch_for($nginx, 8);
is_deeply [keys %seen], [$OK],
    'IDs that are smaller than before are no reason for a 503';


# --- reloads

# more than reloads take
ok wait_for(60, sub {
    ($uptime) = probe($nginx, 'gateway', 'live') =~ /(\d+)\}/;
    $uptime >= 20;
}), 'NGINX has been alive for a while';

# whether there are workers, and none of those given
sub all_new {
    my %old = map { $_ => 1 } @_;
    my @now = $nginx->workers;

    return @now && !grep { $old{$_} } @now;
}

sub reload {
    my @old = $nginx->workers;

    $nginx->signal('HUP');
    my %s = watch($nginx, 20, sub { all_new(@old) });
    $seen{$_} += $s{$_} for keys %s;

    # what the next one starts from
    my $settled = time + 0.3;
    %s = watch($nginx, 20, sub { time > $settled });
    $seen{$_} += $s{$_} for keys %s;
}

for my $try (1 .. 5) {
    %seen = ();
    $still = 0;
    reload() for 1 .. 3;
    last if !$still;
}

is_deeply [keys %seen], [$OK],
    'both pages are ready all the time over three reloads';
cmp_ok $seen{$OK}, '>=', 30,
    'both pages were asked often enough over three reloads';
cmp_ok +(probe($nginx, 'gateway', 'live') =~ /(\d+)\}/)[0], '>=', $uptime,
    'the uptime counts from the start of NGINX, not from a reload';


# --- a worker that starts while Redis is slow has as much time as an old one

# seconds for which a check of the publisher counts
my $COUNTS = 2;

my ($answer, $valid);

for my $try (1 .. 10) {
    both($nginx, $OK, 10, 'ready before a reload without Redis');

    my @old = $nginx->workers;
    my $from = time;
    redis_pause();
    sleep 0.5;

    # the last check of the old workers is about a second older than $from at
    # most, so that it still counts when a worker starts soon

    my $reload = time;
    $nginx->signal('HUP');
    my $new = wait_for(20, sub { all_new(@old) }) && time;

    # now it does not count any more, but the new workers still wait

    sleep 0.01 while time < $from + $COUNTS + 0.2;
    $answer = probe($nginx, 'publish');
    my $asked = time;
    redis_resume();

    $valid = $new && $new < $from + $COUNTS - 1.2
             && $asked < $reload + $COUNTS;
    last if $valid;
}

SKIP: {
    skip 'a reload takes too long here', 1 if !$valid;

    is $answer, $OK, 'new workers have some time for their own first check';
}

both($nginx, $OK, 10, 'ready when Redis goes on after a reload');

redis_pause();
ok wait_for(30, sub {
    my @old = $nginx->workers;

    $nginx->signal('HUP');
    wait_for(20, sub { all_new(@old) });
    return probe($nginx, 'publish') eq $FAIL;
}), 'reloads without Redis do not prolong that time again and again';
redis_resume();
both($nginx, $OK, 15, 'ready when Redis goes on after many reloads');


# --- a worker that has not started when the next reload comes

# a large table of connections takes its time
my $conf = $nginx->root . '/nginx.conf';
my $text = read_file($conf);
write_file($conf, $text =~ s/worker_connections \K\d+/300000/r);

my %old = map { $_ => 1 } $nginx->workers;
my ($late, $next);
my $new = sub { return grep { !$old{$_} } $nginx->workers };

$nginx->signal('HUP');
for (my $end = time + 10; !$late && time < $end;) { ($late) = $new->() }
kill 'STOP', $late;
$old{$late} = 1;

write_file($conf, $text);
$nginx->signal('HUP');
ok wait_for(30, sub { ($next) = $new->() }),
    'a worker that is still starting is overtaken by the next reload';
both($nginx, $OK, 10, 'a worker was overtaken by another one');

kill 'CONT', $late;
ok wait_for(20, sub { "@{[$nginx->workers]}" eq $next }),
    'a worker that was overtaken starts and quits';

%seen = watch_for($nginx, 1);
is_deeply [keys %seen], [$OK], 'the worker that overtook it still counts';


# --- a flood of clients that come and go

my $pid = fork() // die "fork: $!";

if ($pid == 0) {
    eval {
        for (1 .. 20) {
            my @clients = map { Conduit::SSE->open($nginx->port, 'GET',
                                    "/events/$ORG?channel_id=" . uuid()) }
                          1 .. 100;
            $_->close for @clients;
        }
        POSIX::_exit(0);
    };
    POSIX::_exit(1);
}

my $gone;
%seen = watch($nginx, 120, sub { $gone ||= waitpid $pid, POSIX::WNOHANG() });

if (!$gone) {
    kill 'KILL', $pid;
    waitpid $pid, 0;
}

is $?, 0, '2,000 clients came and went';
is_deeply [keys %seen], [$OK],
    'both pages are ready while many clients come and go';
is metrics($nginx, 'gateway')->{'requests_total{outcome="accepted"}'}, 2000,
    'all of many clients were accepted';

is $nginx->stop, 0, 'NGINX quits';


# --- a bell that is silent

my $proxy = Faults::Proxy->start($REDIS);

$nginx = nginx_start(workers => 2, server => server(
    'conduit_gateway_timeout 60s;', redis => $proxy->url));
both($nginx, $OK, 10, 'two workers are ready');

$proxy->tell('bell');
$start = time;
turns($nginx, 'gateway', $FAIL, 7, 'the bells are silent');
cmp_ok time - $start, '>=', 3,
    'silent bells turn the page red only after some seconds';
is probe($nginx, 'publish'), $OK,
    'the publisher is ready while the bells are silent';
is post($nginx, uuid()), 200, 'messages are taken while the bells are silent';

$proxy->tell('pass');
turns($nginx, 'gateway', $OK, 10, 'the bells ring again');


# --- workers that are not

my ($worker) = $nginx->workers;
kill 'STOP', $worker;
stopped($worker);

# the other one answers
ok wait_for(60, sub {
    my $r = eval { http($nginx, 'GET', '/ready/gateway', timeout => 2) };
    $r && $r->{status} == 503;
}), 'a worker that hangs turns the page of the other one red';

kill 'CONT', $worker;
both($nginx, $OK, 10, 'the worker goes on');

is $nginx->stop('QUIT', 20), 0, 'NGINX quits';
$proxy->stop;


# --- more workers than there is room for, most of them about to leave

SKIP: {
    skip 'that many processes', 5 if $ENV{TEST_NGINX_USE_VALGRIND};

    my $port = Conduit::free_port();

    # each has its connections
    $nginx = nginx_start(workers => 65, server => server(), http => <<"EOC");
    server {
        listen 127.0.0.1:$port reuseport;
        location / { return 200 "\$pid"; }
    }
EOC
    both($nginx, $OK, 20, '65 workers are ready');

    my @held;

    for (1 .. 2) {
        my %old = map { $_ => 1 } $nginx->workers;
        my %by;

        # a request that has begun keeps a worker
        wait_for(60, sub {
            my $s = IO::Socket::INET->new("127.0.0.1:$port") or die;

            $s->syswrite("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            $s->sysread(my $r, 4096);
            my ($pid) = $r =~ /(\d+)\z/;

            if ($old{$pid} && !$by{$pid}) {
                $s->syswrite('GET');
                push @held, $by{$pid} = $s;
            }
            return keys %by == 65;
        }) or die 'a worker gets nothing';

        $nginx->signal('HUP');
        wait_for(30, sub { 65 == grep { !$old{$_} } $nginx->workers })
            or die 'no new workers';
    }

    ok wait_for(30, sub { $nginx->error_log =~ /is not counted/ }),
        'there are more workers than there is room for';

    watch_for($nginx, 6);
    both($nginx, $OK, 0, 'more workers than there is room for');

    $nginx->stop;
}


# --- a worker that leaves does not count

{
    my $gone = free_port();

    $nginx = nginx_start(server => server(undef,
        redis => "redis://127.0.0.1:$gone"));
    both($nginx, $FAIL, 0, 'the Redis of the only worker is not there');

    # a request that has begun keeps the worker
    my $held = IO::Socket::INET->new('127.0.0.1:' . $nginx->port) or die;

    $held->syswrite("GET /live/gateway HTTP/1.1\r\nHost: a\r\n\r\n");
    $held->sysread(my $answer, 4096);
    $held->syswrite('GET');

    my ($old) = $nginx->workers;
    my $conf = $nginx->root . '/nginx.conf';

    write_file($conf, read_file($conf) =~ s/127\.0\.0\.1:$gone/$REDIS/gr);
    $nginx->signal('HUP');

    both($nginx, $OK, 10, 'the next worker has a Redis that works');
    is scalar(grep { $_ == $old } $nginx->workers), 1,
        'the first worker is still there';

    close $held;
    is $nginx->stop, 0, 'NGINX quits';
}


# --- what may not be written

for my $case ([xadd => qr/the check.*NOPERM.*xadd/],
              [pexpire => qr/the check.*NOPERM.*pexpire/]) {
    my ($command, $why) = @$case;

    redis('ACL', 'SETUSER', 'less', 'reset', 'on', '>secret', '~*', '&*',
          '+@all', "-$command");
    $nginx = nginx_start(server => server(
        undef, redis => "redis://less:secret\@$REDIS"));

    my $lines = sub {
        return grep { /\[error\].*"conduit_gateway_health" failed/ }
               split /\n/, $nginx->error_log;
    };

    ok wait_for(20, sub { $lines->() }),
        "without the right to $command the log has an error";
    like +($lines->())[0], qr/redis 127\.0\.0\.1:\d+: $why/,
        "without the right to $command the log says where and why";

    # another one is sent after 3 s
    sleep 4.5;

    is scalar(my @l = $lines->()), 1,
        "without the right to $command the log has one line";

    turns($nginx, 'gateway', $FAIL, 0, "without the right to $command");
    turns($nginx, 'publish', $OK, 5, "the gateway has no right to $command");

    redis('ACL', 'SETUSER', 'less', "+$command");
    turns($nginx, 'gateway', $OK, 5, "the right to $command is there");

    is $nginx->stop, 0, 'NGINX quits';
}


# --- two deployments: each of them counts

{
    my $servers = Conduit::Servers->new;
    my @port = map { $servers->start } 1 .. 2;
    my $prefix = sub {
        my ($n, $text) = @_;
        return $text =~ s{location \K/}{/$n/}gr;
    };

    # the first one of the configuration, and the last
    my $both = pages() . $ready . join '', map {
        $prefix->($_, publish_location(
            'conduit_publish_auth off; conduit_publish_rate off;',
            redis => "redis://127.0.0.1:$port[$_]")
        . gateway_location(
            'conduit_gateway_auth off; conduit_gateway_drain 200ms;',
            redis => "redis://127.0.0.1:$port[$_]"))
    } 0, 1;

    my $taken = sub {
        my $n = shift;
        my $channel = uuid();
        return http($nginx, 'POST', "/$n/publish/$ORG/$channel",
                    body => message(channel_id => $channel),
                    timeout => 20)->{status};
    };

    for my $dead (0, 1) {
        my $title = 'two deployments, the ' . ($dead ? 'last' : 'first')
                    . ' of them';

        # one that was never there; the other one proves itself over and over

        $servers->kill($port[$dead]);
        $nginx = nginx_start(server => $both);

        for my $module (qw(publish gateway)) {
            my $count = $module eq 'publish' ? 'redis_commands_total'
                                             : 'canaries_total';
            my $n = metrics($nginx, $module)->{$count};

            ok wait_for(30, sub {
                metrics($nginx, $module)->{$count} >= $n + 4;
            }), "$title is dead from the start: the other one works";
            is probe($nginx, $module), $FAIL, "$module: not ready";
        }

        is $taken->(1 - $dead), 200,
            "$title is not there: messages to the other one are taken";
        $servers->run($port[$dead]);
        both($nginx, $OK, 15, "$title comes");

        $servers->kill($port[$dead]);
        both($nginx, $FAIL, 10, "$title dies");
        is $taken->($dead), 503, "$title dies: messages to it are refused";
        is $taken->(1 - $dead), 200,
            "$title dies: messages to the other one are taken";

        $servers->run($port[$dead]);
        both($nginx, $OK, 15, "$title is back");
        is $nginx->stop, 0, 'NGINX quits';
    }
}


# --- a cluster: every master counts

my $cluster = Conduit::Servers->cluster(
    masters => 3, replicas => 0,
    options => ['--cluster-require-full-coverage', 'no']);
my ($one, $other, $third) = $cluster->masters;

my $channel = $cluster->channel_on($one);

$nginx = nginx_start(server => server(undef, redis => $cluster->url($one)));
both($nginx, $OK, 15, 'all masters work');
is scalar(@{ $cluster->command($_, 'KEYS', 'conduit:canary:*') }), 1,
    'each master has a canary' for $one, $other, $third;

# the canary's slot is on its way, and its key is there already
my ($key) = @{ $cluster->command($one, 'KEYS', 'conduit:canary:*') };
my $step = $cluster->migration($key, $other);
$step->open;
$step->move;

%seen = watch_for($nginx, 8);
is_deeply [keys %seen], [$OK], 'a slot that moves is no reason for a 503';
$step->close;

$cluster->pause($other);
both($nginx, $FAIL, 10, 'one master hangs');
is post($nginx, $channel), 200,
    'messages to another master are taken while one hangs';

$cluster->resume($other);
both($nginx, $OK, 20, 'the master that hung goes on');

$cluster->kill($other);
both($nginx, $FAIL, 10, 'one master is gone');

$cluster->run($other);
both($nginx, $OK, 20, 'the master that was gone is back');

done_testing;
