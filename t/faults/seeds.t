# Of the servers that a URL names, not every worker asks the first one.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use IO::Select;
use IO::Socket::INET;
use Test::More;

my $SEEDS = 4;
my $SCOUTS = 24;    # chance takes the same seed for all: 1 in 4^23

my $child;

END { kill 'KILL', $child if $child; }

# Servers that all tell the same, in a process of their own; returns their ports.
sub seeds {
    my ($answer) = @_;

    my @listen = map {
        IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64)
            or die "listen: $!"
    } 1 .. $SEEDS;

    $child = fork() // die "fork: $!";
    return map { $_->sockport } @listen if $child;

    my $select = IO::Select->new(@listen);

    while (1) {
        for my $s ($select->can_read) {
            if (grep { $_ == $s } @listen) {
                $select->add($s->accept);

            } elsif (!$s->sysread(my $data, 65536)) {
                $select->remove($s);
                $s->close;

            } else {
                $s->syswrite($_ eq 'PING' ? "+PONG\r\n" : $answer)
                    for $data =~ /^(PING|SLOTS|GET-MASTER-ADDR-BY-NAME)\r$/mg;
            }
        }
    }
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

sub ask {
    my ($title, $url, @ports) = @_;

    my $list = join ',', map { "127.0.0.1:$_" } @ports;

    # locations with times of their own have scouts of their own

    my $nginx = nginx_start(server => join '', map {
        publish_location('conduit_publish_auth off; conduit_publish_rate off;'
                         . 'conduit_publish_timeout ' . (10000 + $_) . 'ms;',
                         redis => $url =~ s/LIST/$list/r)
            =~ s{/publish/}{/publish-$_/}r
    } 1 .. $SCOUTS);

    is scalar(grep {
        http($nginx, 'POST', "/publish-$_/$ORG/$CHANNEL", body => message(),
             timeout => 20)->{status} == 200
    } 1 .. $SCOUTS), $SCOUTS, "$title: messages are taken";

    my @connections = sort { $a <=> $b } connections(@ports);

    note "$title: @connections";
    cmp_ok $connections[-1], '>', 0, "$title: somebody is asked";
    cmp_ok $connections[-1], '<', $SCOUTS,
        "$title: not the same one by each worker";

    is $nginx->stop, 0, 'NGINX quits';
    kill 'KILL', $child;
    waitpid $child, 0;
    $child = undef;
}

ask('a cluster', 'redis+cluster://LIST',
    seeds(join "\r\n", '*1', '*3', ':0', ':16383', '*3', '$9', '127.0.0.1',
          ":$Conduit::REDIS_PORT", '$40', '0' x 40, ''));

ask('Sentinels', 'redis+sentinel://LIST/main',
    seeds(join "\r\n", '*2', '$9', '127.0.0.1',
          '$' . length $Conduit::REDIS_PORT, $Conduit::REDIS_PORT, ''));

done_testing();
