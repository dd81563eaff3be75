# Copyright (C) Conduit for NGINX authors
#
# The users of docs/redis.md in a cluster, with exactly the permissions that it
# lists, and without those that only a cluster needs.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Servers;
use Test::More;

my $docs = read_file("$Conduit::ROOT/docs/redis.md");

# the docs have two lines for a gateway: of Redis 7, and of 6 without "%R"
my $is_6 = redis_version() < 7_000_000;
my %grants = map { /^    ACL SETUSER (\w+) on >PASSWORD (.+)$/ ? ($1 => $2) : () }
             grep { / SETUSER publisher / || ($is_6 xor /%R/) }
             split /\n/, $docs;
my $SLOTS = $is_6 ? 'cluster' : 'cluster|slots';

my ($canary) = $docs =~ /^    ACL SETUSER gateway (~.+)$/m;
my ($more) = $docs =~ /^In a cluster both need `([^`]+)` in addition/m;

ok $more, "the docs say what a cluster takes in addition: $more";

my $cluster = Conduit::Servers->cluster(masters => 2, replicas => 0);
my ($one, $other) = $cluster->masters;

sub user {
    my ($name, @rules) = @_;

    $cluster->command($_, 'ACL', 'SETUSER', $name, 'reset', 'on', '>secret',
                      @rules) for $cluster->masters;
}

sub start {
    my %users = @_;

    my %url = map {
        $_ => $cluster->url($one) =~ s{//}{//$users{$_}:secret\@}r
    } keys %users;

    return nginx_start(server =>
        publish_location('conduit_publish_auth off; conduit_publish_rate off;',
                         redis => $url{publisher})
        . gateway_location('conduit_gateway_auth off;',
                           redis => $url{gateway})
        . join '', map { "location = /$_ { conduit_${_}_health ready; }" }
                   qw(publish gateway));
}

sub post {
    my ($nginx, %f) = @_;

    return http($nginx, 'POST', "/publish/$ORG/$f{channel_id}",
                body => message(%f))->{status};
}

sub errors {
    my $nginx = shift;

    return grep { /\[(?:error|warn|crit|alert)\]/ }
           split /\n/, $nginx->error_log;
}

sub is_ready {
    my $nginx = shift;

    for my $module (qw(publish gateway)) {
        ok wait_for(20, sub {
            http($nginx, 'GET', "/$module")->{status} == 200
        }), "$module is ready";
    }
}

# A slot moves while messages come: each is to be taken and to arrive.
sub moves {
    my $nginx = shift;

    my $channel = $cluster->channel_on($one);
    my $step = $cluster->migration(stream_key($ORG, $channel), $other);
    my $n = 0;
    my @statuses;

    my $say = sub { push @statuses,
                    post($nginx, channel_id => $channel, sequence => ++$n) };

    $say->();
    my $sse = sse_open($nginx, channel_id => $channel);
    my @events = $sse->events(1);

    $step->open;
    $step->move;
    $say->();
    push @events, $sse->events(1);
    $step->close;
    $say->();
    push @events, $sse->events(1);

    $sse->close;
    return "@statuses: " . join ' ', map { $_->{json}{sequence} } @events;
}


user('publisher', split ' ', "$grants{publisher} $more");
user('gateway', split ' ', "$grants{gateway} $canary $more");

my $nginx = start(publisher => 'publisher', gateway => 'gateway');

is_ready($nginx);
is moves($nginx), '200 200 200: 1 2 3',
    'messages are taken and sent while a slot moves';
is_deeply [errors($nginx)], [], 'the users of docs/redis.md lack no permission';
is $nginx->stop, 0, 'NGINX quits';


# --- a gateway that may run no script: it sends two commands in place of one

user('less', grep { !/^\+eval/ } split ' ', "$grants{gateway} $canary $more");
$nginx = start(publisher => 'publisher', gateway => 'less');

is_ready($nginx);
is moves($nginx), '200 200 200: 1 2 3',
    'without scripts: messages are sent while a slot moves';
is scalar(my @refused = grep { /ASKING refused/ } errors($nginx)), 0,
    'without scripts: ASKING is not refused';
is $nginx->stop, 0, 'NGINX quits';


# --- without one of the two, for either module

for my $module (qw(publisher gateway)) {
    my %users = (publisher => 'publisher', gateway => 'gateway',
                 $module => 'less');
    my $grants = "$grants{$module} "
                 . ($module eq 'gateway' ? "$canary $more" : $more);

    user('less', grep { $_ ne '+cluster|slots' } split ' ', $grants);
    $nginx = start(%users);

    if ($module eq 'publisher') {
        is post($nginx, channel_id => uuid()), 503,
            'without +cluster|slots: no message is taken';

    } else {
        my $waiting = sse_open($nginx, channel_id => uuid());

        ok $waiting->end(20), 'without +cluster|slots: a stream ends';
        like $waiting->body, qr/^event: error$/m,
            'without +cluster|slots: a stream ends with the error event';
    }

    ok wait_for(20, sub { errors($nginx) }),
        "$module without +cluster|slots: the log has an error";
    is scalar(errors($nginx)), 1,
        "$module without +cluster|slots: the log has one line";
    like +(errors($nginx))[0], qr/NOPERM.*'\Q$SLOTS\E'/,
        "$module without +cluster|slots: the log names the permission";
    is $nginx->stop, 0, 'NGINX quits';

    user('less', grep { $_ ne '+asking' } split ' ', $grants);
    $nginx = start(%users);
    is_ready($nginx);

    my $channel = $cluster->channel_on($one);
    my $step = $cluster->migration(stream_key($ORG, $channel), $other);
    my $sse = sse_open($nginx, channel_id => $channel);

    is post($nginx, channel_id => $channel, sequence => 1), 200,
        'without +asking: a message is taken';
    is $sse->event->{json}{sequence}, 1,
        "$module without +asking: a message is sent";

    $step->open;
    $step->move;
    my $status = post($nginx, channel_id => $channel, sequence => 2);
    is $status, $module eq 'publisher' ? 503 : 200,
        "$module without +asking: a message while its slot moves";

    ok wait_for(20, sub { grep { /ASKING refused/ } errors($nginx) }),
        "$module without +asking: the log has an error";
    is scalar(my @l = grep { /ASKING refused: NOPERM.*'asking'/ }
              errors($nginx)), 1,
                  "$module without +asking: the log names the permission once";

    $step->close;
    ok wait_for(20, sub {
        post($nginx, channel_id => $channel, sequence => 3) == 200
    }), "$module without +asking: a message is taken when its slot has moved";
    ok wait_for(20, sub {
        my $e = $sse->event(1);
        $e && $e->{json}{sequence} == 3;
    }), "$module without +asking: a message arrives when its slot has moved";
    $sse->close;
    is $nginx->stop, 0, 'NGINX quits';
}

done_testing;
