# Copyright (C) Conduit for NGINX authors
#
# How long a publisher waits: it is answered within the time of one command,
# even where its message takes more than one; and for as long as that, even from
# a server that has no slots yet.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Fake;
use Test::More;
use Time::HiRes qw(sleep time);

my $TIMEOUT = 4;                    # seconds, conduit_publish_timeout

# A server that answers to each command with what a function says, if anything;
# returns its port.
sub server { return Conduit::Fake->start(@_)->port }

sub publish_to {
    my ($url, $timeout) = @_;

    my $nginx = nginx_start(
        http => 'log_format took "$status $request_time";'
                . 'access_log logs/took.log took;',
        server => publish_location('conduit_publish_rate off;'
                                   . ($timeout // ''), redis => $url));

    my $r = http($nginx, 'POST', "/publish/$ORG/$CHANNEL", body => message(),
                 headers => { Authorization => 'Bearer ' . publish_token() });

    wait_for(20, sub {
        ($r->{took}) = read_file($nginx->root . '/logs/took.log')
                       =~ /^\d+ ([\d.]+)$/m;
    });
    is $nginx->stop, 0, 'NGINX quits';

    return $r;
}

sub is_in_time {
    my ($title, $took, $timeout) = @_;

    cmp_ok $took, '>', $timeout - 0.5, "$title: not before the time is over";

    # two commands, each with a deadline of its own, would take 1.75 times that
    cmp_ok $took, '<', 1.7 * $timeout, "$title: nor long after it";
}

my $set = "conduit_publish_timeout ${TIMEOUT}s;";


# --- a server that does not answer

my $mute = server(sub { return $_[0] eq 'PING' ? "+PONG\r\n" : undef });

my $r = publish_to("redis://127.0.0.1:$mute");
is $r->{status}, 504, 'a server that hangs: 504';
is_in_time('by default', $r->{took}, 4);


# --- a cluster of which no server tells who has the key

my @mute = map { server(sub { undef }) } 1 .. 12;

$r = publish_to('redis+cluster://'
                . join(',', map { "127.0.0.1:$_" } @mute), $set);
is $r->{status}, 503, 'a server that is not found: 503';
like $r->{body}, qr/not stored/,
    'a server that is not found: the message is not stored';
is_in_time('twelve servers that hang', $r->{took}, $TIMEOUT);


# --- one that has lost the script, and says so late

my $empty = server(sub {
    return "+PONG\r\n" if $_[0] eq 'PING';
    return undef if $_[0] ne 'EVALSHA';

    sleep 0.75 * $TIMEOUT;
    return "-NOSCRIPT No matching script. Please use EVAL.\r\n";
});

$r = publish_to("redis://127.0.0.1:$empty", $set);
is $r->{status}, 504, 'a server that wants the script, and hangs: 504';
is_in_time('two commands', $r->{took}, $TIMEOUT);


# --- one that sends the message to another one, late

my $slots = join '', "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n\$9\r\n127.0.0.1\r\n",
                     ":PORT\r\n\$40\r\n" . '0' x 40 . "\r\n";

my $late = server(sub {
    return "+PONG\r\n" if $_[0] eq 'PING';
    return undef if $_[0] ne 'EVALSHA';

    sleep 0.75 * $TIMEOUT;
    return "-MOVED 0 127.0.0.1:$mute\r\n";
});
my $seed = server(sub {
    return "+PONG\r\n" if $_[0] eq 'PING';
    return $_[0] eq 'CLUSTER' ? $slots =~ s/PORT/$late/r : undef;
});

$r = publish_to("redis+cluster://127.0.0.1:$seed", $set);
is $r->{status}, 504, 'a server that is found late, and hangs: 504';
like $r->{body}, qr/may have been stored/,
    'a server that hangs: the message may have been stored';
is_in_time('two servers', $r->{took}, $TIMEOUT);


# --- two that send it to each other

my $sent = write_file("$Conduit::TMP/sent", '');
my @ports = (free_port(), free_port());

for my $i (0, 1) {
    Conduit::Fake->start(sub {
        return "+PONG\r\n" if $_[0] eq 'PING';
        return $slots =~ s/PORT/$ports[0]/r if $_[0] eq 'CLUSTER';

        open my $fh, '>>', $sent or die "$sent: $!";
        print $fh $i;
        close $fh;

        return "-MOVED 0 127.0.0.1:$ports[1 - $i]\r\n";
    }, port => $ports[$i]);
}

$r = publish_to("redis+cluster://127.0.0.1:$ports[0]", $set);
is $r->{status}, 503, 'servers that send a message to each other: 503';
is read_file($sent), '010101', 'a message is redirected five times at most';


# --- one that has no slots yet, while the first one moves to it

# A server that has lost its slots has 10 s for its replies.  The slot is on its
# way for longer than that, and there is always a message without a reply: each
# one is answered when the next one comes.

my $id = "\$3\r\n1-1\r\n";
my $asked = 0;

my $target = server(sub {
    return "+PONG\r\n" if $_[0] eq 'PING';

    return ($asked++ ? $id : '') . "+OK\r\n" if $_[0] eq 'ASKING';
    return (grep { /the last one/ } @_) ? $id : undef;
});
my $source = free_port();

server(sub {
    return "+PONG\r\n" if $_[0] eq 'PING';
    return $slots =~ s/PORT/$source/r if $_[0] eq 'CLUSTER';
    return "-ASK 0 127.0.0.1:$target\r\n";
}, port => $source);

my $nginx = nginx_start(server => publish_location(
    'conduit_publish_auth off; conduit_publish_rate off;'
    . 'conduit_publish_timeout 60s;',
    redis => "redis+cluster://127.0.0.1:$source"));

my $begin = time;
my @posts;

while (time - $begin < 14) {
    push @posts, http_start($nginx, "/publish/$ORG/$CHANNEL", message());
    sleep 2;
}

push @posts, http_start($nginx, "/publish/$ORG/$CHANNEL",
                        message(payload => { text => 'the last one' }));

is_deeply [map { $_->{status} } map { http_end($_) } @posts],
    [(200) x @posts],
    'a slot that moves for more than 10 s: each message is stored';
is $nginx->stop, 0, 'NGINX quits';

done_testing();
