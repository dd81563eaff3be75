# Copyright (C) Conduit for NGINX authors
#
# A slow connection to Redis: a reply takes longer than conduit_gateway_timeout,
# and NGINX waits for it as long as it is coming in.

use strict;
use warnings;

use lib 't/lib', 't/faults';

use Conduit;
use Faults;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep);

my $TIMEOUT = 3;                    # seconds, conduit_gateway_timeout
my $PIECE = 16_384;                 # bytes, a quarter of a second each
my $PAUSE = 0.25;

my $hang = "$Conduit::TMP/hang";
my $way = way();

END { kill 'TERM', $way->{pid} if $way && $way->{pid} }


# Each connection through it is a process that sends replies piece by piece.
# Where the file "hang" is, the first one that has sent four pieces removes it,
# and sends nothing any more.

sub way {
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1:0',
                                       Listen => 64) or die "listen: $!";
    my $pid = fork() // die "fork: $!";

    return { pid => $pid, port => $listen->sockport } if $pid;

    $SIG{TERM} = sub { POSIX::_exit(0) };
    $SIG{CHLD} = 'IGNORE';

    while (1) {
        my $client = $listen->accept or next;

        next if fork();

        close $listen;
        carry($client, IO::Socket::INET->new($REDIS));
        POSIX::_exit(0);
    }
}

sub carry {
    my ($client, $server) = @_;

    my $select = IO::Select->new($client, $server);
    my $pieces = 0;

    while (1) {
        for my $s ($select->can_read) {
            my $n = sysread $s, my $data, $PIECE or return;

            if ($s == $client) {
                $server->print($data);
                $server->flush;
                next;
            }

            $client->print($data);
            $client->flush;
            $pieces++ if $n == $PIECE;
            $select->remove($server) if $pieces == 4 && unlink $hang;
            sleep $PAUSE if $n == $PIECE;
        }
    }
}


my @options = (redis => "redis://127.0.0.1:$way->{port}",
               events => "conduit_gateway_timeout ${TIMEOUT}s;");

my @ids;

# More than half a megabyte, 8 seconds; start() empties the channel.

sub begin {
    start(@options);
    @ids = map { xadd(sequence => $_, payload => { text => 'x' x 12_000 }) }
           1 .. 44;
}

sub all_arrives {
    my $name = shift;
    my $client = client();

    is_deeply [map { $_->{id} } $client->events(scalar @ids, 60)], \@ids,
        $name;
    $client->close;
}


begin();
all_arrives('a reply that comes slowly is waited for');
stop();

# Another client's position is looked up behind that reply, in the same
# connection: the header is sent after conduit_gateway_timeout.

begin();
my $other = uuid();
my $at = xadd(channel_id => $other, sequence => 1);
my $early = client(channel_id => $other);
is $early->event->{id}, $at, 'a first client has its event';
$early->close;

my $third = uuid();
$at = xadd(channel_id => $third, sequence => 1);
my $first = client();
my $resumes = client(channel_id => $third, last_event_id => $at);

is $resumes->status, 200, 'a client that resumes meanwhile has its header';
is_deeply [$first->events(1, 0.5)], [], 'the slow reply is not there by then';

my $next = xadd(channel_id => $third, sequence => 2);

is_deeply [map { $_->{id} } $resumes->events(1, 60)], [$next],
    'the client that resumes goes on from its position';
is_deeply [map { $_->{id} } $first->events(scalar @ids, 60)], \@ids,
    'the client before it has all';
is scalar(lines(qr/no reply in time/)), 0, 'the slow connection was kept';
stop();

begin();
write_file($hang, '');
all_arrives('one that stops to come is asked for again');
ok !-e $hang, 'the reply did stop';
is scalar(lines(qr/ reader: connection lost \(no reply in time\)/)), 1,
    'the connection was given up';
stop();

done_testing();
