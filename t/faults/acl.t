# Copyright (C) Conduit for NGINX authors
#
# The users of docs/redis.md, with exactly the permissions that it lists, and
# without each of them.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Test::More;
use Time::HiRes qw(sleep time);

# Redis 6 has no keys for reading alone, and its line of a gateway stands apart;
# of a subcommand it says "'client' command or its subcommand"
my $is_6 = redis_version() < 7_000_000;
my $key = $is_6 ? '~stream:*' : '%R~stream:*';

my %grants = map { /^    ACL SETUSER (\w+) on >PASSWORD (.+)$/ ? ($1 => $2) : () }
             grep { / SETUSER publisher / || ($is_6 xor /%R/) }
             split /\n/, read_file("$Conduit::ROOT/docs/redis.md");

# what a publisher of JSON, batches and requests with a key needs in addition
my ($entries) = read_file("$Conduit::ROOT/docs/redis.md")
                =~ /^    ACL SETUSER publisher (~.+)$/m;

# what "conduit_gateway_health ready" needs in addition
my ($canary) = read_file("$Conduit::ROOT/docs/redis.md")
               =~ /^    ACL SETUSER gateway (~.+)$/m;

is_deeply [sort keys %grants], ['gateway', 'publisher'],
    'the docs have a user for each module';

redis('ACL', 'SETUSER', $_, 'on', '>secret', split ' ', $grants{$_})
    for sort keys %grants;

my $nginx = start('publisher', 'gateway');


sub start {
    my ($publisher, $gateway, $more) = @_;

    my $url = sub { "redis://$_[0]:secret\@127.0.0.1:$Conduit::REDIS_PORT" };

    return nginx_start(server =>
        join('', map { $_ =~ s{redis://[^;]+}{$url->($publisher)}er }
            publish_location('conduit_publish_timeout 5s;'),
            publish_location('conduit_publish_timeout 5s;'
                             . 'conduit_publish_rate 5r/m;')
                =~ s{/publish/}{/few/}r)
        . gateway_location('conduit_gateway_timeout 3s;'
                           . 'conduit_gateway_read_count 5;'
                           . 'conduit_gateway_window 1k;'
                           . 'conduit_gateway_after_end stop;')
            =~ s{redis://[^;]+}{$url->($gateway)}er
        . ($more // ''));
}

# "at" is another location: /few/, where few messages are more than the rate
sub post {
    my ($nginx, %o) = @_;
    my $at = delete $o{at} // 'publish';
    my $channel = $o{channel_id};

    return http($nginx, 'POST', "/$at/$ORG/$channel", body => message(%o),
                headers => { Authorization => 'Bearer ' . publish_token() });
}

sub errors {
    my $nginx = shift;

    return grep { /\[(?:error|warn|crit|alert)\]/ }
           split /\n/, read_file($nginx->root . '/logs/error.log');
}


# --- everything works

redis('SCRIPT', 'FLUSH');

my $channel = uuid();
my @ids;

for my $sequence (1 .. 12) {
    my $r = post($nginx, channel_id => $channel, sequence => $sequence);

    is $r->{status}, 200, "message $sequence is taken";
    push @ids, $r->{body};
}

my $live = sse_open($nginx, channel_id => $channel);
is_deeply [map { $_->{id} } $live->events(12)], \@ids, 'history';

my $resumed = sse_open($nginx, channel_id => $channel,
                       last_event_id => $ids[1]);
is_deeply [map { $_->{id} } $resumed->events(10)], [@ids[2 .. 11]],
    'from a position below the window';

my $last = post($nginx, channel_id => $channel, phase => 'END')->{body};
is $_->event->{id}, $last, 'live' for $live, $resumed;

is http($nginx, 'GET', events_path(channel_id => $channel,
                                   last_event_id => $last))->{status}, 204,
    'at the end';

redis('XTRIM', stream_key($ORG, $channel), 'MAXLEN', '=', 2);
is http($nginx, 'POST', "/publish/$ORG/$channel", body => 'x',
        headers => { Authorization => 'Bearer ' . publish_token() })->{status},
    400, 'a message that is none is refused';

my $few = uuid();
is_deeply [map { post($nginx, at => 'few', channel_id => $few)->{status} }
           1 .. 6], [(200) x 5, 429], 'the rate is counted';

is_deeply [grep { !/over the rate of/ } errors($nginx)], [],
    'no permission is missed';


# --- without one of a gateway's permissions

# What is left: "all" of history, resuming and live messages; whether streams
# are polled; what the log says.  An answer to PING is a sign of life whatever
# it says, so that PING alone is not missed.

my %POLLED = (history => 1, resume => 1, live => 1, polled => 1);

my ($XINFO, $ID, $TRACKING) = map { $is_6 ? s/\|.*//r : $_ }
                              'xinfo|stream', 'client|id', 'client|tracking';

# who may not run the script reads by other commands, which tell the same
my ($SHA, $EVAL) = $is_6 ? qw(+evalsha +eval) : qw(+evalsha_ro +eval_ro);
my %ALL = (history => 1, resume => 1, live => 1);

my %left = (
    $SHA => { %ALL, line => qr/not allowed to run its .*NOPERM .*'evalsha'/ },
    $EVAL => { %ALL },
    '+script|load' => { %ALL },
    # before Redis 7, the script is refused first, and reading by XREAD then
    $key => { lines => $is_6 ? 2 : 1,
              line => qr/reading "[^"]+" failed: NOPERM .*key/ },
    '+xread' => { %ALL, line => qr/reading "[^"]+" failed: NOPERM .*'xread'/ },
    '+xrange' => { %ALL, line =>
        qr{not allowed to run its .*(?:can't run this|ACL failure)} },
    '+xrevrange' => { %ALL },     # conduit_gateway_start alone needs it
    '+xinfo|stream' => { %ALL, lines => 2,
        line => qr/reading "[^"]+" failed: NOPERM .*'\Q$XINFO\E'/ },
    '&__redis__:invalidate' => { %POLLED, bell => 1, line =>
        qr/has no CLIENT TRACKING \(NOPERM .*\), streams are polled/ },
    '+subscribe' => { %POLLED, bell => 1, line =>
        qr/has no CLIENT TRACKING \(NOPERM .*'subscribe'.*are polled/ },
    '+client|id' => { %POLLED, line =>
        qr/has no CLIENT TRACKING \(NOPERM .*'\Q$ID\E'.*are polled/ },
    '+client|tracking' => { %POLLED, line =>
        qr/has no CLIENT TRACKING \(NOPERM .*'\Q$TRACKING\E'.*are polled/ },
    '+ping' => { history => 1, resume => 1, live => 1 },
);

is_deeply [sort keys %left],
    [sort grep { !/^(?:reset|-)/ } split ' ', $grants{gateway}],
    'every permission of a gateway is looked at';

sub user_without {
    my ($module, $grant) = @_;

    redis('ACL', 'SETUSER', 'less', 'reset', 'on', '>secret',
          grep { $_ ne $grant } split ' ', $grants{$module});
}

sub connections_made {
    return redis('INFO', 'stats') =~ /^total_connections_received:(\d+)/m
           ? $1 : 0;
}

# the first event, of which nothing is known when it does not come soon
sub arrives {
    my ($client, $id, $expected) = @_;

    my $event = $client->event($expected ? 10 : 0.5);

    return $event && $event->{id} eq $id ? 1 : 0;
}

for my $grant (sort keys %left) {
    my $expected = $left{$grant};

    user_without('gateway', $grant);

    my $nginx = start('publisher', 'less');
    my $channel = uuid();
    my @ids = map { xadd(channel_id => $channel, sequence => $_) } 1 .. 30;
    my $connections = connections_made();

    my $client = sse_open($nginx, channel_id => $channel);
    is arrives($client, $ids[0], $expected->{history}),
        $expected->{history} // 0, "without $grant: history";
    $client->events(29) if $expected->{history};

    my $resumed = sse_open($nginx, channel_id => $channel,
                           last_event_id => $ids[2]);
    is arrives($resumed, $ids[3], $expected->{resume}),
        $expected->{resume} // 0, 'a client that resumes';

    my $id = xadd(channel_id => $channel, sequence => 31);
    is arrives($client, $id, $expected->{live}), $expected->{live} // 0,
        'what is live';

    # enough for some tries
    wait_for(20, sub { errors($nginx) >= ($expected->{lines} // 1) })
        if $expected->{line};
    sleep 1;

    my @errors = errors($nginx);

    # hiredis ends a connection that may not subscribe, which are lines, too
    @errors = grep { !/bell: connect(?:ion lost \(NOPERM|ed again)/ } @errors
        if $expected->{bell};

    is scalar(@errors), $expected->{lines} // ($expected->{line} ? 1 : 0),
        'each fallback is logged once';
    like $errors[-1], $expected->{line}, "the last line says what is missing"
        if $expected->{line};
    is scalar(grep { /streams are polled/ } @errors),
        $expected->{polled} // 0, 'polled or not';
    cmp_ok connections_made() - $connections, '<=', 3, 'no storm';

    $_->close for $client, $resumed;
    is $nginx->stop('QUIT'), 0, 'NGINX quits';
}


# --- a gateway that may run its script by EVALSHA, not by EVALSHA_RO

SKIP: {
    skip 'Redis before 7 has no EVALSHA_RO', 5 if $is_6;

    redis('ACL', 'SETUSER', 'less', 'reset', 'on', '>secret',
          grep({ $_ ne '+evalsha_ro' } split ' ', $grants{gateway}),
          qw(+evalsha +eval ~*));
    redis('CONFIG', 'RESETSTAT');

    my $nginx = start('publisher', 'less');

    for my $n (1 .. 3) {
        my $channel = uuid();
        my $id = xadd(channel_id => $channel);
        my $client = sse_open($nginx, channel_id => $channel);

        is arrives($client, $id, 1), 1, "by EVALSHA: the history of stream $n";
        $client->close;
    }

    my ($refused) = redis('INFO', 'commandstats')
                    =~ /^cmdstat_evalsha_ro:.*rejected_calls=(\d+)/m;

    is $refused, 1, 'EVALSHA_RO is not sent again after it was refused';
    is_deeply [errors($nginx)], [], 'EVALSHA in its place is not logged';
    $nginx->stop;
}


# --- without one of a publisher's permissions

for my $grant (grep { !/^(?:reset|-)/ } split ' ', $grants{publisher}) {
    user_without('publisher', $grant);
    redis('SCRIPT', 'FLUSH');

    my $nginx = start('less', 'gateway');
    my $channel = uuid();
    my $connections = connections_made();
    my $start = time;
    my %statuses;

    # some permissions are for a message over the rate
    $statuses{post($nginx, at => 'few', channel_id => $channel)->{status}} = 1
        for 1 .. 10;

    my @errors = grep { !/over the rate of/ } errors($nginx);

    if ($grant eq '+ping') {
        is join(' ', sort keys %statuses), '200 429', "without $grant: all";
        is scalar(@errors), 0, "without $grant: nothing is logged";

    } else {
        ok $statuses{500}, "without $grant: messages are refused";
        cmp_ok scalar(@errors), '>=', 1, "without $grant: an error is logged";
        cmp_ok scalar(@errors), '<=', 1 + (time - $start) / 10,
            "without $grant: one line in 10 s";
        like $errors[0], qr/refused to publish to .*(?:NOPERM|ACL|can't run)/,
            "without $grant: the line says why";
    }

    is connections_made() - $connections, 1, 'no storm';
    $nginx->stop;
}


# --- what JSON, batches and an Idempotency-Key need

for my $without ('', '+get', '+set', '+incrby', '+xrevrange',
                 '~conduit:sequence:{stream:*', '~conduit:request:{stream:*')
{
    redis('ACL', 'SETUSER', 'less', 'reset', 'on', '>secret',
          grep { $_ ne $without } split ' ', "$grants{publisher} $entries");

    my $nginx = nginx_start(server => publish_location('
            conduit_publish_idempotency 10s; conduit_publish_timeout 5s;')
        =~ s{redis://}{redis://less:secret@}r);
    my $channel = uuid();
    my $r = http($nginx, 'POST', "/publish/$ORG/$channel", body => "{}\n{}\n",
                 headers => { Authorization => 'Bearer ' . publish_token(),
                              'Content-Type' => 'application/x-ndjson',
                              'Idempotency-Key' => 'k' });

    is $r->{status}, $without ? 500 : 200,
        "a batch with a key, without @{[$without || 'nothing']}";
    is redis('XLEN', stream_key($ORG, $channel)), $without ? 0 : 2,
        'all of it is stored, or nothing';
    is post($nginx, channel_id => $channel)->{status}, 200,
        'a plain message needs nothing of that';

    my @errors = errors($nginx);

    is scalar(@errors), $without ? 1 : 0, 'lines in the log';
    like $errors[0], qr/refused to publish to .*(?:NOPERM|ACL|can't run)/,
        'the log says why' if $without;
    $nginx->stop;
}

is_deeply [sort split ' ', $entries],
    [sort qw(+get +set +incrby +xrevrange ~conduit:sequence:{stream:*
             ~conduit:request:{stream:*)],
    'every one of these permissions is looked at';


# --- with pages that tell whether Redis works

my $pages = join '', map { "location = /$_ { conduit_${_}_health ready; }\n" }
            qw(publish gateway);

sub says {
    my ($nginx, $module, $status) = @_;

    my $last;
    wait_for(20, sub {
        ($last = http($nginx, 'GET', "/$module")->{status}) == $status;
    });

    is $last, $status, "the page of $module";
}

for my $without ('', split(' ', $canary), $canary) {
    my %lacks = map { $_ => 1 } split ' ', $without;

    redis('ACL', 'SETUSER', 'less', 'reset', 'on', '>secret',
          grep { !$lacks{$_} } split ' ', "$grants{gateway} $canary");

    my $nginx = start('publisher', 'less', $pages);

    says($nginx, 'publish', 200);

    if ($without eq '') {
        says($nginx, 'gateway', 200);
        is_deeply [errors($nginx)], [], 'no permission is missed';

    } else {
        ok wait_for(20, sub { grep { /_health" failed: NOPERM/ }
                              errors($nginx) }),
            "without $without: the log says why";
        says($nginx, 'gateway', 503);
    }

    is $nginx->stop('QUIT'), 0, 'NGINX quits';
}


# --- a database that the user may not select

my ($database, $zero) = (3, 0);

redis('ACL', 'SETUSER', 'less', 'reset', 'resetchannels', 'on', '>secret',
      grep { !/^(?:reset|-|%R)/ }
      map { split ' ' } @grants{qw(publisher gateway)}, $canary);

# what a database has of a stream

sub stored {
    my ($db, $channel) = @_;

    redis('SELECT', $db);
    my $n = redis('XLEN', stream_key($ORG, $channel));
    redis('SELECT', 0);

    return $n;
}

{
    my $url = "redis://less:secret\@127.0.0.1:$Conduit::REDIS_PORT/$database";
    my $channel = uuid();
    my $stray = xadd(channel_id => $channel, sequence => 1);

    my $nginx = nginx_start(server => publish_location('', redis => $url)
                            . gateway_location('', redis => $url) . $pages);

    my $client = sse_open($nginx, channel_id => $channel);
    is $client->status, 200, 'without +select: a client gets 200';

    for (1 .. 5) {
        my $r = post($nginx, channel_id => $channel, sequence => 2);
        is $r->{status}, 503, 'without +select: a message is refused';
        like $r->{body}, qr/not stored/,
            'without +select: the answer says that the message is not stored';
    }

    for my $role (qw(publish bell reader)) {
        ok wait_for(20, sub {
            grep { / $role: connect failed \(SELECT refused: NOPERM/ }
                 split /\n/, $nginx->error_log }), "$role: does not connect";
        is scalar(grep { / $role: / } errors($nginx)), 1,
            "$role: one line says so";
    }

    says($nginx, $_, 503) for qw(publish gateway);
    ok !$client->event(0.5),
        'without +select: no entry of another database is sent';
    is stored($zero, $channel), 1,
        'without +select: database 0 gets no message';
    is stored($database, $channel), 0,
        'without +select: the database of the URL gets no message';

    redis('ACL', 'SETUSER', 'less', '+select');

    my $id;
    ok wait_for(20, sub {
        my $r = post($nginx, channel_id => $channel, sequence => 3);
        $id = $r->{body};
        return $r->{status} == 200;
    }), '+select: messages are taken';

    my $event = $client->event(20);
    is $event && "$event->{id} $event->{json}{sequence}", "$id 3",
        '+select: the first event is the first of these messages';
    is stored($database, $channel), 1,
        '+select: the message is in the database of the URL';
    is stored($zero, $channel), 1, '+select: database 0 has what it had';
    says($nginx, $_, 200) for qw(publish gateway);

    $client->close;
    is $nginx->stop('QUIT'), 0, 'NGINX quits';
}


# --- a user who lacks all

redis('ACL', 'SETUSER', 'nobody', 'on', '>secret', 'resetkeys', '-@all',
      '+ping');

my $barred = start('nobody', 'nobody');

is post($barred, channel_id => $channel)->{status}, 500,
    'a publisher that may not publish gets 500';
ok wait_for(20, sub { grep { /NOPERM/ } errors($barred) }),
    'the log says why a publisher gets 500';

my ($before) = redis('INFO', 'stats') =~ /total_connections_received:(\d+)/;
my $waiting = sse_open($barred, channel_id => $channel);
is $waiting->status, 200, 'a client of a user without rights gets 200';
ok wait_for(20, sub { grep { /reading .* failed: NOPERM/ } errors($barred) }),
    'the log says why a client gets no events';

my ($after) = redis('INFO', 'stats') =~ /total_connections_received:(\d+)/;
cmp_ok $after - $before, '<', 20,
    'a user without rights causes no storm of connections';


# --- a wrong password

my $wrong = nginx_start(server => gateway_location('conduit_gateway_auth off;')
    =~ s{redis://}{redis://gateway:wrong\@}r);

$waiting = sse_open($wrong, channel_id => $channel);
is $waiting->status, 200, 'a wrong password is an outage for a client';
ok $waiting->end(20), 'a wrong password ends a response as an outage does';

for my $role ('bell', 'reader') {
    is scalar(grep { /$role: connect failed \(AUTH refused: WRONGPASS/ }
              errors($wrong)), 1,
                  "a wrong password is logged once for the $role";
}

done_testing;
