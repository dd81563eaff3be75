# Copyright (C) Conduit for NGINX authors
#
# With polling, a stream without new entries is read less often, down to an
# eighth of the rounds, and not less.
#
# Time is counted in rounds of the poll: a second stream gets a message in each
# round, and is therefore read in each round.  MONITOR shows the order of all
# commands.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);

my $nginx = nginx_start(server => gateway_location(
    'conduit_gateway_auth off; conduit_gateway_drain 200ms;'
    . 'conduit_gateway_keepalive off; conduit_gateway_wakeup poll 10ms;'));

my ($idle, $busy) = (uuid(), uuid());
my $waits = sse_open($nginx, channel_id => $idle);
my $reads = sse_open($nginx, channel_id => $busy);

my $monitor = IO::Socket::INET->new("127.0.0.1:$Conduit::REDIS_PORT")
    or die "connect: $!";
my $lines = '';

$monitor->syswrite("MONITOR\r\n");
<$monitor> =~ /^\+OK/ or die 'no MONITOR';
$monitor->blocking(0);

# Goes through the commands until some code, which gets "idle" or "busy" for a
# poll of that stream, and "xadd" for a message to the idle one, returns true.
sub follow {
    my $code = shift;
    my $select = IO::Select->new($monitor);

    for (my $end = time + 300; time < $end;) {
        while ($lines =~ s/\A([^\n]*)\n//) {
            my $line = $1;

            next if $line =~ /^\S+ \[\d+ lua\]/;
            my ($which) = $line =~ /\Q$idle\E/ ? 'idle'
                          : $line =~ /\Q$busy\E/ ? 'busy' : next;

            if ($line =~ /"xadd"/i) {
                next if $which eq 'busy';
                $which = 'xadd';

            } elsif ($which eq 'busy') {
                xadd(channel_id => $busy);
            }

            return 1 if $code->($which);
        }

        $select->can_read(1) or next;
        sysread $monitor, $lines, 65536, length $lines or return 0;

        # what is not to fill the socket
        $reads->until(0, sub { 0 });
    }

    return 0;
}

# How often the busy stream is polled between two polls of the idle one, so many
# times.
sub gaps {
    my $n = shift;
    my ($rounds, @gaps) = (0);

    follow(sub {
        $rounds++ if $_[0] eq 'busy';
        (push(@gaps, $rounds), $rounds = 0) if $_[0] eq 'idle';
        @gaps > $n;
    });

    shift @gaps;                       # that began before
    return sort { $a <=> $b } @gaps;
}

# 16 of each step, up to where an eighth is no more the limit
my @gaps = gaps(140);
is scalar(@gaps), 140, 'an idle stream is polled on and on';

@gaps = gaps(8);
diag "rounds between polls: @gaps";
cmp_ok $gaps[-1], '<=', 10, 'at least in every eighth round';
cmp_ok $gaps[4], '>', 2, 'most polls are more than two rounds apart';

# a message comes at once after a poll of its stream, the worst time

for my $n (1 .. 3) {
    my ($rounds, $done) = (0);

    follow(sub { $_[0] eq 'idle' });
    xadd(channel_id => $idle, sequence => $n);

    follow(sub {
        $done = 1 if $_[0] eq 'xadd';
        $rounds++ if $done && $_[0] eq 'busy';
        return $done && $_[0] eq 'idle';
    });

    cmp_ok $rounds, '<=', 10, "message $n is read within $rounds rounds";
    is(($waits->event(20) // { json => {} })->{json}{sequence}, $n,
       "message $n arrives");

    # from here on each round asks for it again
    @gaps = gaps(10);
    cmp_ok $gaps[4], '<=', 2, 'messages end the pauses between polls';
    gaps(130) if $n < 3;
}

$monitor->close;
is $nginx->stop, 0, 'NGINX quits';
done_testing;
