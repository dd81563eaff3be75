# Copyright (C) Conduit for NGINX authors
#
# Workers do not all ask the first server that a URL names.  A seed is asked
# once a second, and at once when a server does not hold what it should.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Fake;
use Test::More;
use Time::HiRes qw(time);

my $SEEDS = 4;
my $RUNS = 24;    # chance takes the same seed for all: 1 in 4^23

# Servers that all tell the same.
sub seeds {
    my ($answer) = @_;

    return Conduit::Fake->start(sub {
        return $_[0] eq 'PING' ? "+PONG\r\n"
             : $_[0] =~ /^(?:CLUSTER|SENTINEL)$/ ? $answer : undef;
    }, ports => $SEEDS);
}

# how many connections there are to each port
sub connections {
    my %n = map { (sprintf('0100007F:%04X', $_) => 0) } @_;

    for (split /^/, read_file('/proc/net/tcp')) {
        my (undef, undef, $to, $state) = split;
        $n{$to}++ if exists $n{$to} && $state eq '01';
    }

    return values %n;
}

# returns the log, and the list of seeds in the URL
sub ask {
    my ($title, $url, $seeds) = @_;

    my @ports = $seeds->ports;
    my $list = join ',', map { "127.0.0.1:$_" } @ports;

    # locations with times of their own have topologies of their own

    my $nginx = nginx_start(server => join '', map {
        publish_location('conduit_publish_auth off; conduit_publish_rate off;'
                         . 'conduit_publish_timeout ' . (10000 + $_) . 'ms;',
                         redis => $url =~ s/LIST/$list/r)
            =~ s{/publish/}{/publish-$_/}r
    } 1 .. $RUNS);

    is scalar(grep {
        http($nginx, 'POST', "/publish-$_/$ORG/$CHANNEL", body => message(),
             timeout => 20)->{status} == 200
    } 1 .. $RUNS), $RUNS, "$title: messages are taken";

    my @connections = sort { $a <=> $b } connections(@ports);

    note "$title: @connections";
    cmp_ok $connections[-1], '>', 0, "$title: somebody is asked";
    cmp_ok $connections[-1], '<', $RUNS,
        "$title: not the same one by each worker";

    is $nginx->stop, 0, 'NGINX quits';
    $seeds->stop;

    return ($nginx->error_log, $list);
}

ask('a cluster', 'redis+cluster://LIST',
    seeds(join "\r\n", '*1', '*3', ':0', ':16383', '*3', '$9', '127.0.0.1',
          ":$Conduit::REDIS_PORT", '$40', '0' x 40, ''));

my ($log, $list) = ask('Sentinels', 'redis+sentinel://LIST/main',
    seeds(join "\r\n", '*2', '$9', '127.0.0.1',
          '$' . length $Conduit::REDIS_PORT, $Conduit::REDIS_PORT, ''));

my $master = "127.0.0.1:$Conduit::REDIS_PORT";
my @lines = $log =~ m{ conduit: redis (\S+): the master is (\S+)$}mg;

is_deeply \@lines, [("$list/main", $master) x $RUNS],
    'Sentinels: the log names all of them, the service and the master';


# --- MOVED

# a seed that goes on to name the server that had the slots before

my $asked = write_file("$Conduit::TMP/asked", '');
my $former = Conduit::Fake->start(sub {
    return $_[0] eq 'PING' ? "+PONG\r\n"
         : "-MOVED 8000 127.0.0.1:$Conduit::REDIS_PORT\r\n";
});
my $slots = Conduit::Fake::encode([
    [0, 16383, [\'127.0.0.1', $former->port, \('0' x 40)]]]);
my $seed = Conduit::Fake->start(sub {
    return $_[0] eq 'PING' ? "+PONG\r\n" : undef if $_[0] ne 'CLUSTER';

    open my $fh, '>>', $asked or die "$asked: $!";
    print $fh '.';
    close $fh;

    return $slots;
});

my $nginx = nginx_start(server => publish_location(
    'conduit_publish_rate off; conduit_publish_auth off;',
    redis => 'redis+cluster://127.0.0.1:' . $seed->port));

# the time that some questions take, with something done before each

sub questions {
    my ($before) = @_;

    my $started = time;

    for (1 .. 4) {
        my $n = -s $asked;

        $before->();
        wait_for(20, sub { -s $asked > $n }) or die 'nothing is asked';
    }

    return time - $started;
}

my @statuses;

sub post { push @statuses, http($nginx, 'POST', "/publish/$ORG/$CHANNEL",
                                body => message())->{status} }

post();

my $by_itself = questions(sub { });
my $moved = questions(\&post);

is "@statuses", '200 200 200 200 200', 'messages go where MOVED says';
note "asked four times in $by_itself s, after MOVED in $moved s";
cmp_ok $moved, '<', 0.7 * $by_itself, 'MOVED brings another question';
is $nginx->stop, 0, 'NGINX quits';

done_testing();
