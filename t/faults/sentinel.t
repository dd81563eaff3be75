# Copyright (C) Conduit for NGINX authors
#
# A master with Sentinels: NGINX uses the master that they name, whatever
# happens to the other servers.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Servers;
use Test::More;
use Time::HiRes qw(sleep time);

my $set = Conduit::Servers->sentinel;
my @sentinels = $set->sentinels;

# s, from the moment that a Sentinel names the new master until a message
# arrives; less than one at rest
my $SOON = $ENV{CONDUIT_CHECKED} ? 50 : 10;

sub locations {
    my ($url, $events) = @_;

    $events //= '';

    return publish_location('conduit_publish_rate 10000r/s;'
                            . 'conduit_publish_timeout 2s;', redis => $url)
           . gateway_location("conduit_gateway_drain 500ms;$events",
                              redis => $url);
}

my $nginx = nginx_start(server => locations($set->url(@sentinels[0, 1]),
                                            'conduit_gateway_outage 30s;'));
my $sequence = 0;
my @acked;
my %unknown;

sub try_publish {
    my ($server) = @_;

    $sequence++;

    my $r = http($server // $nginx, 'POST', "/publish/$ORG/$CHANNEL",
                 body => message(sequence => $sequence),
                 headers => { Authorization => 'Bearer ' . publish_token() });

    if ($r->{status} == 200) {
        push @acked, "$r->{body} $sequence";

    } elsif ($r->{body} =~ /may have been stored/) {
        $unknown{$sequence} = 1;
    }

    return $r;
}


# Takes what has arrived: messages, and what else.

my @got;
my @other;

sub take {
    for my $event (@_) {
        if (defined $event->{id}) {
            push @got, "$event->{id} $event->{json}{sequence}";
        } else {
            push @other, $event->{data};
        }
    }
}

# Reads until the last acknowledged message has arrived.

sub read_on {
    my $sse = shift;

    while (!@got || $got[-1] ne $acked[-1]) {
        take($sse->event(30) // last);
    }
}

# Whether all acknowledged messages arrive, once and in order, in a response
# that stays open.  Those that may have been stored may be among them.

sub all_arrive {
    my ($sse, $title) = @_;

    read_on($sse);

    is_deeply [grep { !$unknown{(split)[1]} } @got], \@acked, $title;
    is_deeply [splice @other], [], 'no loss is told of';
    ok !$sse->{eof}, 'the client has stayed';
}

sub has {
    my ($port, $line) = @_;

    my ($id) = split ' ', $line;
    my $entries = $set->command($port, 'XRANGE', stream_key(), $id, $id);

    return scalar @$entries;
}


# Publishes until a message that the new master has was taken, and arrived.

sub publish_through {
    my ($sse, $old, $new, $how) = @_;

    my ($named, $taken, $arrived);
    my %since;

    wait_for(90, sub {
        $named //= time if $set->master != $old;

        if (try_publish()->{status} == 200 && $named && has($new, $acked[-1])) {
            $taken //= time;
            $since{$acked[-1]} = 1;
        }

        $sse->until(0.02, sub { @{ $sse->{events} } > $sse->{taken} });

        take($sse->events(1000, 0));
        $arrived //= time if @got && $since{$got[-1]};

        return $arrived;
    });

    my $seconds = $arrived ? $arrived - $named : 1000;

    cmp_ok $seconds, '<', $SOON, "$how: messages arrive from the new master";
    note sprintf '%s: taken %.2fs, arrived %.2fs after a Sentinel named the '
                 . 'new master', $how, ($taken // 0) - ($named // 0), $seconds;
}


sub links {
    my $port = shift;

    return grep { $_->{flags} !~ /[SM]/
                  && $_->{cmd} =~ /^(?:subscribe|xread|xinfo|ping|eval)/
                  && ($_->{name} // '') !~ /^sentinel/ }
           $set->clients($port);
}

# Each error is said once: a connection that is down says why, not how often it
# tried.

sub said_once {
    my ($from, $how) = @_;

    my ($errors, $again) = $nginx->redis_errors($from);

    is_deeply $again, [], "$how: no error line says what was said before";
    note substr $_, 0, 200 for @$errors;
}


# --- the master that is named

my $master = $set->master;
my ($replica) = grep { $_ != $master } $set->data;

is try_publish()->{status}, 200, 'a message is taken' for 1 .. 3;
is $set->command($master, 'XLEN', stream_key()), 3,
    'messages are stored on the master';

my $sse = sse_open($nginx);
all_arrive($sse, 'the messages are streamed');

is try_publish()->{status}, 200, 'another message is taken';
all_arrive($sse, 'the message is streamed live');

is scalar(links($replica)), 0, 'the replica has no connection';
is scalar(links($master)), 3,
    'the master has a bell, a reader and one to publish';


# --- a failover by hand

my $at = length $nginx->error_log;

$set->settle($master);
$set->command($sentinels[2], 'SENTINEL', 'FAILOVER', 'mymaster');
publish_through($sse, $master, $replica, 'a failover by hand');

# until it is told, NGINX uses the old master: what that took since is lost with
# the failover, and a client that has it may get the rest once more

read_on($sse);

my %seen;
my @kept = grep { has($replica, $_) } @acked;

is_deeply [grep { has($replica, $_) && !$unknown{(split)[1]} && !$seen{$_}++ }
           @got],
    \@kept, 'nothing that the new master has is missing';
is_deeply [splice @other], [],
    'no history_lost is sent, as nothing was trimmed';
ok !$sse->{eof}, 'the response stays open during a failover by hand';
note sprintf '%d acknowledged, %d lost by Redis', scalar @acked, @acked - @kept;

is $set->master, $replica, 'a failover by hand makes the replica the master';

ok wait_for(20, sub {
    $set->info($master, 'replication')->{role} eq 'slave'
}), 'a failover by hand makes the old master a replica';
ok wait_for(20, sub { !links($master) }),
    'a failover by hand: the connections to the old master are closed';

said_once($at, 'a failover by hand');


# --- masters that are killed or hang

# On a slow machine Sentinels take a server for dead that is none.

sub who_is_who {
    ($master, $replica) = ($replica, $master) if $set->master != $master;
}

for my $how ('a killed master', 'a hung master') {
    who_is_who();
    $at = length $nginx->error_log;

    ok wait_for(20, sub {
        my $info = $set->info($replica, 'replication');

        return $info->{role} eq 'slave' && $info->{master_link_status} eq 'up';
    }), "$how: the replica follows its master before";

    # what the failover before has lost is no matter here

    @acked = @got = ();
    $sse->close;
    is try_publish()->{status}, 200, "$how: a message is taken before";
    $sse = sse_open($nginx, last_event_id => (split ' ', $acked[0])[0]);
    shift @acked;
    is try_publish()->{status}, 200, "$how: messages are taken before"
        for 1 .. 5;
    all_arrive($sse, 'the messages are streamed');

    who_is_who();
    $set->settle($master);

    if ($how =~ /killed/) {
        $set->kill($master);
    } else {
        $set->pause($master);
    }

    publish_through($sse, $master, $replica, $how);
    all_arrive($sse, 'nothing acknowledged is missing, or came twice');

    my $late = sse_open($nginx, last_event_id => (split ' ', $acked[0])[0]);

    is_deeply [map { "$_->{id} $_->{json}{sequence}" }
               $late->events($#got)], [@got[1 .. $#got]],
        "$how: the new master serves old positions";
    $late->close;

    # the old one is back as a master, until the Sentinels see it

    if ($how =~ /killed/) {
        $set->run($master);
    } else {
        $set->resume($master);
    }

    my %statuses;

    ok wait_for(20, sub {
        $statuses{try_publish()->{status}}++;
        sleep 0.05;

        return eval {
            $set->info($master, 'replication')->{role} eq 'slave'
        };
    }), "$how: the old master comes back, and is made a replica";

    is_deeply [keys %statuses], [200],
        "$how: messages are taken while the old master comes back";
    is scalar(grep { !has($replica, $_) } @acked), 0,
        "$how: the new master has all of these messages";
    all_arrive($sse, 'the client, too');

    said_once($at, $how);
}


# --- Sentinels that are gone

$set->kill($sentinels[0]);

ok wait_for(20, sub { $nginx->error_log =~ /topology: connect(?:ion)? / }),
    'the log tells that a Sentinel is gone';
is try_publish()->{status}, 200, 'a message is taken though a Sentinel is gone';
all_arrive($sse, 'the messages are streamed');

is $nginx->stop, 0, 'NGINX quits';

$nginx = nginx_start(server => locations($set->url(@sentinels[0, 1])));
$sse = sse_open($nginx, last_event_id => (split ' ', $acked[-1])[0]);
@acked = @got = ();

is $sse->status, 200, 'the first Sentinel is gone: a stream is opened';
is try_publish()->{status}, 200,
    'the first Sentinel is gone: a message is taken';
ok wait_for(20, sub { try_publish()->{status} == 200 }),
    'the first Sentinel is gone: more messages are taken';
is $sse->event->{id}, (split ' ', $acked[0])[0],
    'the first Sentinel is gone: the messages are streamed';
is $nginx->stop, 0, 'NGINX quits';


# --- a Sentinel that has lost touch, and names the master that was

who_is_who();

ok wait_for(20, sub {
    my $info = $set->info($replica, 'replication');

    return $info->{role} eq 'slave' && $info->{master_link_status} eq 'up';
}), 'the replica follows its master before the Sentinel loses touch';

my $pretender = Conduit::Servers->new->pretender(
    SENTINEL => ['127.0.0.1', \"$master"]);

$nginx = nginx_start(server => locations($set->url($pretender, $sentinels[1]),
                                         'conduit_gateway_outage 60s;'));
$sse = sse_open($nginx, last_event_id => (split ' ', $acked[-1])[0]);
@acked = @got = ();

is try_publish()->{status}, 200,
    'a message is taken before the Sentinel loses touch';
all_arrive($sse, 'the messages are streamed');

$set->settle($master);
$set->kill($master);
publish_through($sse, $master, $replica, 'a Sentinel that has lost touch');
all_arrive($sse, 'nothing acknowledged is missing, or came twice');

is $nginx->stop, 0, 'NGINX quits';


# --- a name that no Sentinel knows

$nginx = nginx_start(server => locations(
    'redis+sentinel://' . join(',', map { "127.0.0.1:$_" } @sentinels[1, 2])
    . '/nobody', 'conduit_gateway_outage 1s;'));

$sse = sse_open($nginx);
is $sse->status, 200, 'without a master, a stream is opened';

my $r = try_publish();
is $r->{status}, 503, 'without a master, a message is refused';
is $r->{headers}{'retry-after'}, 1,
    'without a master, the answer tells when to try again';
like $r->{body}, qr/not stored/,
    'without a master, the answer tells that the message is not stored';

ok $sse->end(20), 'without a master, the response ends';
like $sse->body, qr/\nevent:\ error\nretry:\ 3000\n
                    data:\ Too\ many\ errors,\ closing\ stream\n\n\z/x,
    'without a master, the response ends with the error event';

my @lines = $nginx->error_log =~ /^.*\[error\].*no master of that name.*$/mg;
is scalar(@lines), 2, 'the log says why, once for publishing, once for reading';
like $lines[0], qr/nobody/, 'the log says which name no Sentinel knows';
note $_ for @lines;

is $nginx->stop, 0, 'NGINX quits';


# --- a master that is named by its host's name, from Redis 6.2 on; see names.t

my $named = Conduit::Servers->sentinel(replicas => 0, sentinels => 1);
my ($sentinel) = $named->sentinels;
my ($data) = $named->data;

SKIP: {
    for my $option ('resolve-hostnames', 'announce-hostnames') {
        eval { $named->command($sentinel, qw(SENTINEL CONFIG SET), $option,
                               'yes') }
            or skip 'this Sentinel resolves no names', 7;
    }

    $named->command($sentinel, qw(SENTINEL REMOVE mymaster));
    $named->command($sentinel, qw(SENTINEL MONITOR mymaster localhost), $data,
                    1);

    is $named->command($sentinel, qw(SENTINEL GET-MASTER-ADDR-BY-NAME),
                       'mymaster')->[0], 'localhost', 'a name is told';

    $nginx = nginx_start(server => locations($named->url));
    is try_publish()->{status}, 503,
        'a URL of addresses: no message is taken';
    is scalar(my @l = $nginx->error_log
              =~ /\[error\].* conduit: redis \S+ server "localhost" is neither/g),
        1, 'a URL of addresses: the log tells why';
    is $nginx->stop, 0, 'NGINX quits';

    $nginx = nginx_start(server => locations(
        $named->url =~ s/127\.0\.0\.1/localhost/r));
    is try_publish()->{status}, 200,
        'the name in the URL: a message is taken';
    is sse_open($nginx)->status, 200,
        'the name in the URL: a stream is opened';
    is $nginx->stop, 0, 'NGINX quits';
}

done_testing();
