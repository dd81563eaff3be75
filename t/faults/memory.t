# Memory that is out while a worker publishes: each allocation fails in turn.
# What fails is answered with an error, and a reply never goes to another
# message: hiredis sends a command even if it has no memory for its callback.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Test::More;

plan skip_all => 'allocations are the sanitizer\'s, or valgrind\'s'
    if $ENV{CONDUIT_CHECKED} || $ENV{TEST_NGINX_USE_VALGRIND};

my $library = "$Conduit::TMP/no_memory.so";
my $countdown = "$Conduit::TMP/countdown";

system(qw(cc -Wall -Wextra -Werror -O1 -shared -fPIC -o), $library,
       't/no_memory.c') == 0 or die 'cc failed';

write_file($countdown, pack 'i', 0);

my $nginx = do {
    local $ENV{LD_PRELOAD} = $library;
    local $ENV{CONDUIT_NO_MEMORY} = $countdown;

    nginx_start(expect => qr/\[emerg\].* (?:malloc|posix_memalign)\(/);
};

my ($worker) = $nginx->workers;

open my $file, '+<', $countdown or die "$countdown: $!";

# the allocation of that number fails, none if it is 0
sub fail_at {
    sysseek $file, 0, 0;
    syswrite $file, pack 'i', $_[0];
}

sub has_failed {
    sysseek $file, 0, 0;
    sysread $file, my $left, 4;
    return unpack('i', $left) == 0;
}

# the milliseconds of the IDs that each channel's messages get: in the future, so
# that Redis goes on with them
my %starts = (uuid() => '9000000000000', uuid() => '9100000000000');
my $token = publish_token();

redis('XADD', stream_key($ORG, $_), "$starts{$_}-0", 'data', '')
    for keys %starts;

sub begin {
    my $channel = shift;

    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $nginx->port)
        or die "connect: $!";
    my $body = message(channel_id => $channel, sequence => 1);

    $socket->print("POST /publish/$ORG/$channel HTTP/1.0\r\n",
                   "Authorization: Bearer $token\r\n",
                   'Content-Length: ', length $body, "\r\n\r\n", $body);

    return $socket;
}

# the status of a response, "cut" if there is none, "mixed up" if the message of
# another channel was confirmed
sub result {
    my ($channel, $socket) = @_;

    my $response = do { local $/; <$socket> } // '';
    my ($status) = $response =~ m{^HTTP/1\.1 (\d+)} or return 'cut';

    return $status != 200 || $response =~ /\b$starts{$channel}-\d+\b/
           ? $status : 'mixed up';
}

sub publish_one { return result($_[0], begin($_[0])) }

my ($channel, $other) = sort keys %starts;

is publish_one($channel), 200, 'a message is stored';

my (%results, $n, $alone);

for ($n = 1; ; $n++) {

    # both are sent to Redis before the first is answered

    kill 'STOP', $worker;
    stopped($worker) or die 'the worker does not stop';

    my @sockets = map { begin($_) } $channel, $other;

    fail_at($n);
    kill 'CONT', $worker;

    $results{$_}++ for result($channel, $sockets[0]),
                       result($other, $sockets[1]);

    last if !has_failed();

    $alone++ if !wait_for(20, sub { publish_one($channel) == 200 });
}

fail_at(0);

note join ', ', map { "$_: $results{$_}" } sort keys %results;

cmp_ok $n, '>', 10, 'many allocations have failed';
is_deeply [grep { !/^(?:200|500|503|cut)$/ } sort keys %results], [],
    'no message is confirmed by the reply to another one';
cmp_ok $results{500}, '>', 0, 'some requests end with 500';
cmp_ok $results{503}, '>', 0, 'some with 503';
is $alone, undef, 'messages are stored again after each of them';
is_deeply [$nginx->workers], [$worker], 'the worker lives';
is publish_one($other), 200, 'and publishes';

done_testing();
