# Copyright (C) Conduit for NGINX authors
#
# A Redis that cannot save to disk: it refuses writes, and answers PING with
# MISCONF, but all that it holds can be read.

use strict;
use warnings;

use lib 't/lib', 't/faults';

use Conduit;
use Faults ();
use Test::More;
use Time::HiRes qw(sleep time);

my $BUSY = '503 Redis is busy, the message was not stored';

my $dir = "$Conduit::TMP/gone";

redis_stop();
mkdir $dir or die "$dir: $!";
redis_start('--stop-writes-on-bgsave-error', 'yes', '--dir', $dir);
# Redis 6 does not take it as an option of two words
redis('CONFIG', 'SET', 'save', '3600 1000000');

my @ids = map { xadd(sequence => $_) } 1 .. 3;

# what it is to write to is gone

unlink glob("$dir/*");
rmdir $dir or die "$dir: $!";
redis('BGSAVE');
wait_for(20, sub { !eval { redis('PING') } }) or die 'Redis can save';
like($@, qr/MISCONF/, 'Redis answers PING with MISCONF');

my $nginx = nginx_start(server =>
    publish_location('conduit_publish_auth off; conduit_publish_rate off;')
    . gateway_location('conduit_gateway_auth off;'
                       . 'conduit_gateway_drain 200ms;')
    . join '', map { <<"EOC" } qw(publish gateway));
    location = /ready/$_ { conduit_${_}_health ready; }
EOC

sub post {
    my $r = http($nginx, 'POST', "/publish/$ORG/$CHANNEL",
                 body => message(@_), timeout => 20);
    return "$r->{status} $r->{body}";
}

sub ready {
    return http($nginx, 'GET', "/ready/$_[0]", timeout => 20)->{status};
}

sub line_of { return join ' ', map { $_->{json}{sequence} } @_ }

sub lines {
    my $pattern = shift;

    return grep { $_ =~ $pattern } split /^/, $nginx->error_log;
}

my $client;

subtest 'TEST 1: what Redis has is sent' => sub {
    $client = sse_open($nginx);
    is(line_of($client->events(3)), '1 2 3', 'a client gets all entries');
    is(line_of(sse_open($nginx, last_event_id => $ids[1])->event), 3,
       'a client that resumes gets what follows');

    ok(wait_for(20, sub { Faults::peers($Faults::READER)
                          && Faults::peers($Faults::BELL) }),
       'Redis would ring');
};

subtest 'TEST 2: a publisher is told what is wrong' => sub {
    is(post(), $BUSY,
        'the answer tells that Redis takes no message') for 1 .. 3;
    is(scalar(lines(qr/\[error\].*refused to publish .*MISCONF/)), 1,
       'the log says why');
};

subtest 'TEST 3: ready is red' => sub {

    # the watch asks once a second, and is believed for some

    my $end = time + 5;
    my %seen;

    while (time < $end) {
        $seen{ready('publish')}++;
        $seen{ready('gateway')}++;
        sleep 0.2;
    }

    is(join(' ', keys %seen), '503',
       'the ready pages of both modules never turn green');
};

subtest 'TEST 4: connections stay' => sub {
    is(scalar(lines(qr/connect failed|connection lost/)), 0,
        'no connection is lost');

    my @before = sort(Faults::peers(qr//));
    post();
    is(join(' ', sort(Faults::peers(qr//))), "@before",
       'no connection is made anew');
};

subtest 'TEST 5: new workers connect' => sub {
    my ($old) = $nginx->workers;

    $nginx->reload;
    $client->close;
    ok(wait_for(20, sub { !grep { $_ == $old } $nginx->workers }),
       'a worker is replaced');

    $client = sse_open($nginx);
    is(line_of($client->events(3)), '1 2 3', 'streams are sent');
    is(post(), $BUSY, 'a publisher is told');
};

subtest 'TEST 6: Redis takes writes again' => sub {
    redis('CONFIG', 'SET', 'stop-writes-on-bgsave-error', 'no');

    like(post(sequence => 4), qr/^200 /, 'a message is taken');
    is(line_of($client->event), 4, 'the message arrives');

    for my $module (qw(publish gateway)) {
        ok(wait_for(20, sub { ready($module) == 200 }), "$module is ready");
    }

    is(scalar(lines(qr/connect failed|connection lost/)), 0,
       'no connection was lost');
};

is($nginx->stop('QUIT', 20), 0, 'NGINX quits');

# it would not go without a file

redis('CONFIG', 'SET', 'save', '');

done_testing();
