# Copyright (C) Conduit for NGINX authors
#
# JSON messages, batches and requests with an Idempotency-Key in a Redis Cluster
# while the slot of their channel moves: the keys of a channel are in one slot,
# but not always on one server.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Servers;
use JSON::PP ();
use Test::More;

# no failover here, whatever stands still for a while

my $cluster = Conduit::Servers->cluster(
    masters => 2, replicas => 0, options => ['--cluster-node-timeout', 60000]);
my ($from, $to) = $cluster->masters;

sub location {
    my ($path, $rate) = @_;

    return publish_location("conduit_publish_rate $rate;
                             conduit_publish_idempotency 1h;",
                            redis => $cluster->url($from, $to))
           =~ s{/publish/}{/$path/}r;
}

my $nginx = nginx_start(server => location('publish', '10000r/s')
                                  . location('free', 'off'));


sub new_channel {
    my $id = $cluster->channel_on($from);

    return { id => $id, key => stream_key($ORG, $id), sequences => [] };
}

sub post {
    my ($ch, $body, %o) = @_;

    my $r = http($nginx, 'POST', "/$o{path}/$ORG/$ch->{id}", body => $body,
                 headers => { Authorization => 'Bearer ' . publish_token(),
                              'Content-Type' => 'application/x-ndjson',
                              Accept => 'application/json',
                              %{ $o{headers} // {} } });

    push @{ $ch->{sequences} }, map { $_->{sequence} }
                                @{ JSON::PP->new->decode($r->{body}) }
        if $r->{status} == 200 && !$r->{headers}{'idempotency-replayed'};

    return $r;
}

# A batch of two and one of one in both ways; returns the status codes.

sub post_all {
    my $ch = shift;

    return join ' ', map { post($ch, "{}\n" x 2, path => $_)->{status},
                           post($ch, '{}', path => $_)->{status} }
                     qw(publish free);
}

my $OK = '200 200 200 200';

# A request with a key is stored, or it is not and the answer says so; sent
# again, it is not stored once more.

sub key_is_safe {
    my ($ch, $key, $title) = @_;

    my $r = key_is_stored($ch, $key, $title);

    return $r if $r->{status} != 200;

    my $before = entries($ch);
    my $again = key_is_stored($ch, $key, "$title, again");

    is(entries($ch), $before, "$title: a key is stored once");
    is($again->{body}, $r->{body}, "$title: with the same answer")
        if $again->{status} == 200;
    return $r;
}

sub key_is_stored {
    my ($ch, $key, $title) = @_;

    my $before = entries($ch);
    my $r = post($ch, '{}', path => 'publish',
                 headers => { 'Idempotency-Key' => $key });
    my $replayed = $r->{headers}{'idempotency-replayed'} ? 1 : 0;

    if ($r->{status} == 200) {
        is(entries($ch), $before + 1 - $replayed, "$title: a key is stored");

    } else {
        is("$r->{status} " . ($r->{headers}{'conduit-stored'} // ''), '503 no',
           "$title: a key is refused for now");
        is(entries($ch), $before, "$title: and not stored");
    }

    return $r;
}

# how many entries a channel's stream has at both servers, and at how many it is

sub lengths {
    my $ch = shift;

    return grep { $_ } map {
        my $port = $_;
        my $keys = $cluster->command($port, qw(CLUSTER GETKEYSINSLOT),
                                     $cluster->slot($ch->{key}), 1000);

        (grep { $_ eq $ch->{key} } @$keys)
            ? scalar @{ dumped($port, $ch->{key}) } : 0;
    } $from, $to;
}

# A server that is to get the slot answers for a key that it has when it is asked
# to; one that has the slot does so anyway.

sub dumped {
    my ($port, $key) = @_;

    $cluster->command($port, 'ASKING');
    return $cluster->command($port, 'XRANGE', $key, '-', '+');
}

sub entries { my $n = 0; $n += $_ for lengths(@_); return $n }

my $steps = {
    'at rest' => sub { },
    'the slot is open' => sub { $_[1]->open },
    'the counter has gone ahead' =>
        sub { $_[1]->open; $_[1]->move("conduit:rate:{$_[0]{key}}") },
    'the sequence has gone ahead' =>
        sub { $_[1]->open; $_[1]->move("conduit:sequence:{$_[0]{key}}") },
    'the stream has gone ahead' =>
        sub { $_[1]->open; $_[1]->move($_[0]{key}) },
    'all has gone ahead' => sub { $_[1]->open; $_[1]->move },
};

for my $where (sort keys %$steps) {
    my $ch = new_channel();
    my $step = $cluster->migration($ch->{key}, $to);

    is post_all($ch), $OK, "$where: a channel";

    my $known = key_is_safe($ch, 'known', $where);

    is $known->{status}, 200, "$where: a request with a key";

    # none expires meanwhile

    $cluster->command($from, 'SET', "conduit:rate:{$ch->{key}}", 1, 'PX',
                      600_000);
    $steps->{$where}->($ch, $step);

    is post_all($ch), $OK, "$where: messages are taken";
    is scalar(my @at = lengths($ch)), 1, "$where: there is one stream";

    # docs/redis.md: 503 while the keys are not all at the source

    my %status = map { $_ => key_is_safe($ch, $_, $where)->{status} }
                 qw(new known);

    is "$status{new} $status{known}",
        $where eq 'at rest' ? '200 200'
        : $where eq 'the slot is open' ? '503 200' : '503 503',
        "$where: a new key and a known one";

    ok eval { $step->open if $where eq 'at rest'; $step->move; 1 },
        "$where: what is left moves" or diag $@;
    $step->close;

    is post_all($ch), $OK, "$where: messages are taken at the target";
    is_deeply [sort { $a <=> $b } @{ $ch->{sequences} }],
        [1 .. @{ $ch->{sequences} }], "$where: sequences have no gap";
    is_deeply $ch->{sequences}, [1 .. @{ $ch->{sequences} }],
        "$where: and rise";
    is_deeply [lengths($ch)], [scalar @{ $ch->{sequences} }],
        "$where: each message is stored once";

    my $r = key_is_safe($ch, 'known', "$where, afterwards");

    is "$r->{status} $r->{headers}{'idempotency-replayed'}", '200 true',
        "$where: the key is known at the target";
    is $r->{body}, $known->{body}, "$where: with its entry";
}

is_deeply [grep { !/refused to publish/ } $nginx->error_log =~ /\[error\].*/g],
    [], 'no other error';

$nginx->stop;
done_testing();
