# Copyright (C) Conduit for NGINX authors
#
# The reason of an outage is logged as an error when it changes, and the end as
# a warning: an operator who reads only errors learns what to repair.

use strict;
use warnings;

use lib 't/lib', 't/faults';

use Conduit;
use Conduit::Fake;
use Errno qw(ECONNREFUSED);
use Faults;
use Test::More;

my @ROLES = qw(publish bell reader);

# Each connection fails for this reason three times; that is one error.
sub is_one_error {
    my ($why, @roles) = @_;

    for my $role (@roles) {
        ok(wait_for(30, sub { lines(qr/ $role: .*\($why/) >= 3 }),
           "$role: tries again and again");
        is(scalar(lines(qr/\[error\].* $role: connect failed \($why/)), 1,
           "$role: one error says why");
    }
}

sub begin {
    start(@_, events => 'conduit_gateway_outage 300s;');
    my $client = client();
    goes_on(1, $client);
    return $client;
}

sub it_ends {
    my ($client, $sequence) = @_;

    goes_on($sequence, $client);

    for my $role (@ROLES) {
        ok(wait_for(20, sub {
            lines(qr/\[warn\].* $role: connected again after \d+ms/)
        }), "$role: a warning says how long it was");
    }

    stop();
}

# Closes the connections of NGINX, not the one of the tests.
sub kill_links {
    redis('CLIENT', 'KILL', 'TYPE', 'pubsub');
    redis('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
}


subtest 'TEST 1: Redis begins to want a password' => sub {
    my $client = begin();

    redis('CONFIG', 'SET', 'requirepass', 'x');
    kill_links();
    is_one_error('PING refused: NOAUTH', @ROLES);

    redis('CONFIG', 'SET', 'requirepass', '');
    it_ends($client, 2);
};


subtest 'TEST 2: Redis takes no more clients' => sub {
    my $client = begin();

    redis('CONFIG', 'SET', 'maxclients', 1);
    kill_links();
    is_one_error('PING refused: ERR max number of clients reached', 'publish');

    redis('CONFIG', 'SET', 'maxclients', 1000);
    it_ends($client, 2);
};


subtest 'TEST 3: Redis goes' => sub {
    my $client = begin();

    redis_stop();
    is_one_error(ECONNREFUSED . ': Connection refused', @ROLES);

    redis_start();
    it_ends($client, 2);
};


subtest 'TEST 4: one reason follows the other' => sub {
    my $client = begin(proxy => 1);
    my @reasons = ('LOADING Redis is loading the dataset in memory',
                   'NOAUTH Authentication required.');

    for my $reason (@reasons) {
        $proxy->tell('close');
        $proxy->tell('answer', 'PING', $reason);
        is_one_error("PING refused: $reason", @ROLES);
    }

    # the first one, again: it was said less than a minute ago, or is said again

    my $times = lines(qr/ publish: .*PING refused: LOADING/);
    $proxy->tell('answer', 'PING', $reasons[0]);
    ok(wait_for(30, sub {
        lines(qr/ publish: .*PING refused: LOADING/) > $times
    }), 'the first one again');
    ok(lines(qr/\[info\].* publish: .*PING refused: LOADING/), 'is at info');

    $proxy->tell('pass');
    it_ends($client, 2);
};


subtest 'TEST 5: reasons that are ever others' => sub {
    my $client = begin(proxy => 1);

    for my $n (1 .. 8) {
        $proxy->tell('close') if $n == 1;
        $proxy->tell('answer', 'PING', "ERR number $n");
        ok(wait_for(30, sub { lines(qr/ publish: .*refused: ERR number $n\)/) }),
           'another one');
    }

    # four at most within a minute, however long this took

    my @times = map { /^\S+ (\d+):(\d+):(\d+)/ ? $1 * 3600 + $2 * 60 + $3 : () }
                lines(qr/\[error\].* publish: /);
    my $most = 0;

    for my $time (@times) {
        my $n = grep { $_ >= $time && $_ < $time + 59 } @times;
        $most = $n if $n > $most;
    }

    cmp_ok($most, '<=', 4, 'not more than four are errors');
    $proxy->tell('pass');
    it_ends($client, 2);
};


# --- who tells where a key is

subtest 'TEST 6: a cluster that tells nothing, for one reason and another'
    => sub
{
    my $slots = "-LOADING Redis is loading the dataset in memory\r\n";
    my $file = write_file("$Conduit::TMP/slots", $slots);
    my $seed = Conduit::Fake->start(sub {
        return $_[0] eq 'PING' ? "+PONG\r\n"
             : $_[0] eq 'CLUSTER' ? read_file($file) : undef;
    });

    start(redis => 'redis+cluster://127.0.0.1:' . $seed->port);
    is(post()->{status}, 503, 'a message is not taken');

    my $error = qr/\[error\].*: CLUSTER SLOTS failed:/;

    ok(wait_for(20, sub { lines(qr/$error LOADING/) }), 'an error says why');
    write_file("$file.new", "-CLUSTERDOWN Hash slot not served\r\n");
    rename "$file.new", $file;
    ok(wait_for(20, sub { lines(qr/$error CLUSTERDOWN/) }),
       'an error tells the next reason');
    is(scalar(lines($error)), 2, 'each reason is logged once');

    write_file("$file.new", join "\r\n", '*1', '*3', ':0', ':16383', '*3',
               '$9', '127.0.0.1', ":$Conduit::REDIS_PORT", '$40', '0' x 40, '');
    rename "$file.new", $file;
    ok(wait_for(20, sub { post()->{status} == 200 }), 'a message is taken');
    ok(scalar(lines(qr/\[warn\].*: CLUSTER SLOTS works again after \d+ms/)),
       'a warning says how long it was');
    stop();
    $seed->stop;
};


done_testing();
