# Copyright (C) Conduit for NGINX authors
#
# Lines that a client or a publisher can provoke at will are logged once in 10
# seconds, not once each.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Metrics;
use Test::More;

my $nginx = nginx_start(
    server => pages()
    . publish_location('conduit_publish_rate 1r/m;')
    . publish_location('conduit_publish_rate 1r/m;') =~ s{/publish/}{/other/}r
    . gateway_location('conduit_gateway_auth off;'));

# how many lines there may be since then, on a machine that is as slow as that

sub most {
    my $started = shift;

    return 1 + int((time - $started) / 9);
}


# --- messages over the rate

my $started = time;
my $refused = 0;

sub over {
    my $location = shift;

    my $r = http($nginx, 'POST', "/$location/$ORG/$CHANNEL", body => message(),
                 headers => { Authorization => 'Bearer ' . publish_token() });

    $refused++ if $r->{status} == 429 && $location eq 'publish';

    return grep { /\[warn\].* message over the rate of 1 in 60000ms per channel/
                  && m{"POST /$location/} }
           split /^/, $nginx->error_log;
}

my @lines;

@lines = over('publish') for 1 .. 50;

ok $refused > 40, 'messages over the rate are refused';
ok @lines >= 1 && @lines <= most($started),
    'one refusal in 10 seconds is logged';
like $lines[0], qr/ per channel refused, 0 others since the last such line,/,
    'the first refusal is logged';

my $before = @lines;

ok wait_for(60, sub { (@lines = over('publish')) > $before }),
    'after a while there is another line';

my $more = 0;
$more += $_ for map { / (\d+) others since the last / } @lines;

is @lines + $more, $refused, 'the lines tell of all of them';

over('other');
$started = time;
@lines = over('other');

ok @lines >= 1 && @lines <= most($started),
    'another location has a line of its own';


# --- entries that are no messages, which each client has read anew

redis('XADD', stream_key(7, $CHANNEL), '*', 'data', 'junk') for 1 .. 3;

$started = time;

for my $n (1 .. 3) {
    my $sse = sse_open($nginx, path => "/events/7?channel_id=$CHANNEL");

    wait_for(20, sub {
        my @skipped = $nginx->error_log =~ /entry \S+ of "\S+" is skipped/g;
        @skipped >= 3 * $n;
    }) or die 'nothing is skipped';

    $sse->close;

    # the channel goes with its last client

    becomes($nginx, 'gateway', 'channels', 0, "client $n has left");
}

@lines = grep { /entry \S+ of "\S+" is skipped/ } split /^/, $nginx->error_log;

my $errors = grep { /\[error\]/ } @lines;

is @lines, 9, 'each client finds what is no message';
ok $errors >= 1 && $errors <= most($started),
    'one error in 10 seconds is logged';
is grep({ /\[info\]/ } @lines), 9 - $errors,
    'the other lines are logged at info';

done_testing();
