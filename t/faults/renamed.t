# Copyright (C) Conduit for NGINX authors
#
# A Redis with commands renamed away (rename-command): a gateway that cannot run
# its script reads by XREAD and XINFO, and logs that once.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Test::More;

my $is_6 = redis_version() < 7_000_000;

# Redis 6 has no commands for scripts that only read

my @cases = ([EVALSHA => 'EVAL'],
             $is_6 ? () : ([EVALSHA_RO => 'EVAL_RO'],
                           [qw(EVALSHA EVAL EVALSHA_RO EVAL_RO)]));

for my $case (@cases) {
    my %removed = map { $_ => 1 } @$case;
    my $name = "without @$case";
    my $falls_back = $removed{EVALSHA} && ($is_6 || $removed{EVALSHA_RO});

    redis_stop();
    redis_start(map { ('--rename-command', $_, '') } @$case);

    my $nginx = nginx_start(server => gateway_location(
        'conduit_gateway_read_count 5; conduit_gateway_window 1k;'));
    my $channel = uuid();
    my @ids = map { xadd(channel_id => $channel, sequence => $_) } 1 .. 30;

    my $client = sse_open($nginx, channel_id => $channel);
    is_deeply [map { $_->{id} } $client->events(30)], \@ids,
        "$name: all of the history";

    my $resumed = sse_open($nginx, channel_id => $channel,
                           last_event_id => $ids[2]);
    is_deeply [map { $_->{id} } $resumed->events(27)], [@ids[3 .. 29]],
        "$name: what follows a position";

    my $id = xadd(channel_id => $channel, sequence => 31);
    is $_->event(20)->{id}, $id, "$name: what is live" for $client, $resumed;

    # a look at the number of entries needs XINFO: trimming is told

    redis('XTRIM', stream_key($ORG, $channel), 'MAXLEN', 5);

    my $late = sse_open($nginx, channel_id => $channel,
                        last_event_id => $ids[2]);
    is $late->event(20)->{event}, 'control', "$name: what was trimmed is told";

    my @lines = grep { /\[error\]/ }
                split /\n/, read_file($nginx->root . '/logs/error.log');

    is scalar(@lines), $falls_back ? 1 : 0, "$name: lines at error";
    like $lines[0], qr/not allowed to run its script .*unknown command/i,
        "$name: the line says why" if $falls_back;

    $_->close for $client, $resumed, $late;
    is $nginx->stop('QUIT'), 0, "$name: NGINX quits";
}

done_testing();
