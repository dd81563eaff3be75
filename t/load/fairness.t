# Copyright (C) Conduit for NGINX authors
#
# A channel with many subscribers gets messages, or clients replay channels of
# large messages: no other user of the same worker waits for long, neither a
# publisher nor a subscriber of another channel.

use strict;
use warnings;

use lib 't/lib', 't/load';

use Conduit;
use IO::Socket::INET;
use Load;
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

my $CLIENTS = size(1000, 10_000);
my $MESSAGES = size(40, 60);
my $PAUSE = size(0.1, 0.25);
my $LONGEST_MS = 250;

# beside how many messages it may be exceeded: a machine stands still now and
# then, a worker that is kept busy by each message exceeds it beside all
my $EXCEPT = $MESSAGES / 10;

# the channel of the probe
my $OTHER = 7;

my $nginx = load_nginx();
my ($worker) = $nginx->workers;

warm_up($nginx);

my $load = load($nginx, -n => $CLIENTS, -r => 4000);

is $load->reaches('connected', $CLIENTS)->{connected}, $CLIENTS,
    "$CLIENTS subscribers of a channel are connected";

my $listener = sse_open($nginx, path => load_path($OTHER));
my $publisher = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $nginx->port)
    or die "connect: $!";

my $body = message(channel_id => channel_name($OTHER),
                   payload => { value => 'probe' });
my $request = join "\r\n", "POST /publish/1/" . channel_name($OTHER)
    . ' HTTP/1.1', 'Host: localhost', 'Authorization: Bearer '
    . publish_token(), 'Content-Type: application/x-protobuf',
    'Content-Length: ' . length $body, '', $body;


# Publishes and listens, one after the other; returns ms until the answer and
# until the event, and whether they belong together.

sub probe {
    my $started = time;

    $publisher->print($request);
    $publisher->flush;

    my $answer = '';

    until ($answer =~ /Content-Length: (\d+).*?\r\n\r\n/s
           && length $answer == $+[0] + $1)
    {
        sysread $publisher, $answer, 4096, length $answer or die 'no answer';
    }

    my $published = time;
    my ($id) = $answer =~ /(\d+-\d+)\z/;
    my $event = $listener->event(30);
    my $listened = time;

    return (1000 * ($published - $started), 1000 * ($listened - $started),
            $answer =~ m{^HTTP/1\.1 200 } && $event && $event->{id} eq $id);
}


# Probes for a while; returns the numbers in order, and counts what went wrong.

my $wrong = 0;

sub probes {
    my ($until, $publish, $listen) = @_;

    do {
        my ($published, $listened, $good) = probe();

        push @$publish, $published;
        push @$listen, $listened;
        $wrong++ if !$good;
    } while (time < $until);
}


sub summary {
    my @ms = sort { $a <=> $b } @_;

    return sprintf '%.2f, %.2f, %.2f ms', map { $ms[$#ms * $_] } 0.5, 0.99, 1;
}


sub longest { return (sort { $b <=> $a } @_)[0] }


# --- alone, then with messages to all

my (@quiet, @alone, @publish, @listen);
my (@longest_publish, @longest_listen);     # beside each message

probes(time + 1, \@quiet, \@alone);

my $payload = { value => 'm' x 200 };
$load->tell('m');

for my $n (1 .. $MESSAGES) {
    publish_many(first => $n, last => $n, payload => $payload);

    my (@published, @listened);
    probes(time + $PAUSE, \@published, \@listened);

    push @publish, @published;
    push @listen, @listened;
    push @longest_publish, longest(@published);
    push @longest_listen, longest(@listened);
}

my $stat = $load->reaches('events', $CLIENTS * $MESSAGES);

is $stat->{events}, $CLIENTS * $MESSAGES,
    "each of them got each of $MESSAGES messages";
is_deeply [@$stat{qw(gaps repeats ended refused)}], [0, 0, 0, 0],
    'once, in order';

is $wrong, 0, 'every probe was published and heard';

diag sprintf '%d subscribers, %d messages: median, 99%%, longest of a'
     . ' message to them: %d, %d, %d ms', $CLIENTS, $MESSAGES,
     @$stat{qw(p50_ms p99_ms max_ms)};
diag 'a publish beside it: ', summary(@publish), ' (alone ', summary(@quiet),
     ')';
diag 'another channel: ', summary(@listen), ' (alone ', summary(@alone), ')';

cmp_ok scalar(grep { $_ >= $LONGEST_MS } @longest_publish), '<=', $EXCEPT,
    "publishes beside it take less than $LONGEST_MS ms";
cmp_ok scalar(grep { $_ >= $LONGEST_MS } @longest_listen), '<=', $EXCEPT,
    "events of another channel take less than $LONGEST_MS ms";

# --- then with clients that replay channels of large messages

{
    my @channels = map { 100 + $_ } 1 .. size(3, 20);
    my $n = size(200, 600);
    my $data = message(channel_id => channel_name(100),
                       payload => { v => [map { $_ / 7 } 1 .. 1479] });

    cmp_ok length $data, '>', 16_000, 'messages have 16 KB, in doubles';

    for my $key (map { stream_key($Load::ORG_ID, channel_name($_)) } @channels) {
        redis('EVAL', "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*',"
              . "'data', ARGV[2]) end", 1, $key, $n, $data);
    }

    my ($reads, $used) = (calls('xread') + calls('xrange'), cpu_us($worker));
    my %left = map { replays($_, $n) => 1 } @channels;
    my (@published, @listened);

    while (%left) {
        probes(time, \@published, \@listened);

        while ((my $pid = waitpid -1, POSIX::WNOHANG()) > 0) {
            is $?, 0, "a client has replayed $n messages"
                if delete $left{$pid};
        }
    }

    my $total = $n * @channels;

    # each probe is read, too

    $reads = calls('xread') + calls('xrange') - $reads - @listened;
    $used = (cpu_us($worker) - $used) / 1000;

    is $wrong, 0, 'every probe beside replays was published and heard';

    diag sprintf '%d messages were replayed, %d a read, with %.2f ms of the'
         . ' processor for each', $total, $total / $reads, $used / $total;
    diag 'a publish beside it: ', summary(@published);
    diag 'another channel: ', summary(@listened);

    # a reply with more would keep those for other channels waiting; the first one
    # of a channel has as many as the configuration says

    cmp_ok $total / $reads, '<=', 20,
        'the replies of Redis have about 128 KB, whatever a message has';
    cmp_ok scalar(grep { $_ >= $LONGEST_MS } @listened), '<=', @listened / 10,
        "events of another channel take less than $LONGEST_MS ms";
}


# A client that reads n messages of a channel from its oldest one on.

sub replays {
    my ($channel, $n) = @_;

    my $pid = fork() // die "fork: $!";
    return $pid if $pid;

    my $client = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $nginx->port);

    $client->print('GET ' . load_path($channel)
                   . " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    $client->flush;

    my ($got, $end, $bytes) = (0, '');

    while ($got < $n && sysread $client, $bytes, 1 << 18) {
        $bytes = $end . $bytes;
        $got++ while $bytes =~ /\nid: /g;
        $end = substr $bytes, -4;
    }

    POSIX::_exit($got == $n ? 0 : 1);
}


is_deeply [$nginx->workers], [$worker], 'the worker has not been replaced';

$listener->close;
$load->ends;
log_is_quiet($nginx, 'nothing is wrong in the log');

done_testing();
