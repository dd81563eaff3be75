# Copyright (C) Conduit for NGINX authors
#
# What publishers and clients get when Redis stops and comes back, and when
# NGINX is reloaded.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Test::More;
use Time::HiRes qw(time);

my $nginx = nginx_start(server =>
    publish_location("conduit_publish_rate off; conduit_publish_timeout 1s;")
    . gateway_location("conduit_gateway_keepalive 200ms;"
                       . "conduit_gateway_drain 1s;")
    . gateway_location("conduit_gateway_outage 1s;")
      =~ s{/events/}{/short/}r);


sub try_publish {
    return http($nginx, 'POST', "/publish/$ORG/$CHANNEL", body => message(@_),
                headers => { Authorization => 'Bearer ' . publish_token() });
}

sub published {
    my @fields = @_;

    return wait_for(20, sub { try_publish(@fields)->{status} == 200 });
}

# the connections of a worker, by what they do: the reader is the one for which
# Redis tracks keys

my %LINKS = (bell => qr/\bcmd=subscribe\b/, reader => qr/\bflags=[a-su-zA-Z]*t/);

sub connections {
    my $link = shift;

    return map { /\bid=(\d+)/ } grep { /$LINKS{$link}/ }
           split /\n/, redis('CLIENT', 'LIST');
}


# reads up to the event of a sequence number
sub reaches {
    my ($client, $sequence) = @_;

    return wait_for(20, sub {
        my $event = $client->event(1);
        return $event && ($event->{json}{sequence} // 0) == $sequence;
    });
}


# --- one connection pair for all

my @clients = map { sse_open($nginx) } 1 .. 20;

publish($nginx, sequence => 1);
is scalar(grep { $_->event } @clients), 20, 'all clients get a message';

is scalar(connections('bell')), 1, 'a worker has one bell';
is scalar(connections('reader')), 1, 'a worker has one reader';

my ($sse, @others) = @clients;
$_->close for @others;

ok $sse->comment, 'an idle response gets a comment line';


# --- links lost one by one

for my $kind (qw(bell reader)) {
    redis('CLIENT', 'KILL', 'ID', connections($kind));

    my $id = publish($nginx, sequence => 2);
    is $sse->event->{id}, $id, "nothing is lost with the $kind connection";
}


# --- Redis is killed and comes back empty

my $short = sse_open($nginx, path => events_path() =~ s/events/short/r);
is scalar(my @events = $short->events(3)), 3,
    'a second location reads the same stream';

redis_stop('KILL');

ok wait_for(20, sub { try_publish()->{status} == 503 }),
    'without Redis a publish is answered with 503';

my $r = try_publish();
is $r->{headers}{'retry-after'}, 1,
    'a 503 for want of Redis tells when to try again';
like $r->{body}, qr/not stored/,
    'a 503 for want of Redis tells that the message is not stored';

my $started = time;
my $late = sse_open($nginx, last_event_id => '1-0');
is $late->status, 200, 'a client that comes meanwhile gets a 200';

ok $short->end, 'an outage ends a response when conduit_gateway_outage is over';
like $short->body, qr/\nevent: error\nretry: 3000\ndata: Too many errors, closing stream\n\n\z/,
    'an outage ends a response with the error event';
cmp_ok time - $started, '<', 8,
    'an outage ends a response in about the time that was set';

redis_start();

ok published(sequence => 7), 'publishing works again by itself';

for my $client ($sse, $late) {
    ok reaches($client, 7),
        'an open response goes on with what is published then';
}

my $log = $nginx->error_log;
my $lost = () = $log =~ /\[error\].*conduit: redis \S+ publish: connection lost/g;
my $again = () = $log =~ /\[warn\].*conduit: redis \S+ publish: connected again/g;

is $lost, 1, 'an outage is one error';
is $again, 1, 'the end of an outage is one warning';


# --- Redis hangs

redis_pause();

$r = try_publish();
is $r->{status}, 504, 'a Redis that does not answer in time is a 504';
like $r->{body}, qr/may have been stored/,
    'a 504 tells that the message may have been stored';

redis_resume();
ok published(sequence => 8), 'publishing goes on when Redis answers again';
ok reaches($sse, 8), 'streaming goes on when Redis answers again';


# --- the stream is deleted and made anew with smaller IDs

redis('DEL', stream_key());
my $small = xadd(id => '5-1', sequence => 9);
is $sse->event->{id}, $small, 'a stream made anew with smaller IDs is followed';

redis('FLUSHALL');
my $id = xadd(id => '4-1', sequence => 10);
is $sse->event->{id}, $id, 'a stream made anew after a flush is followed';


# --- a wrong type at the key

redis('DEL', stream_key());
redis('SET', stream_key(), 'x');
is try_publish()->{status}, 500, 'a publish to a key of another type is a 500';

redis('DEL', stream_key());
$id = publish($nginx, sequence => 11);

# Redis 6 does not count what a stream had: clients may be told of a loss

my $event = $sse->event;
$event = $sse->event
    if redis_version() < 7_000_000
       && ($event->{json}{control_type} // '') eq 'history_lost';
is $event->{id}, $id, 'a stream goes on when the key of another type is gone';


# --- scripts and memory

redis('SCRIPT', 'FLUSH');
is try_publish()->{status}, 200, 'a flushed script is loaded again';

redis('CONFIG', 'SET', 'maxmemory', 1);
$r = try_publish();
is $r->{status}, 503, 'a publish to a full Redis is a 503';
like $r->{body}, qr/out of memory/, 'a 503 for a full Redis tells why';
redis('CONFIG', 'SET', 'maxmemory', 0);


# --- an entry that was delivered is deleted

my $deleted = uuid();
my @deleted = map { xadd(channel_id => $deleted, sequence => $_) } 1, 2;
my $reader = sse_open($nginx, channel_id => $deleted);

is scalar(my @two = $reader->events(2)), 2,
    'a client gets two entries, the last of which is deleted';
redis('XDEL', stream_key($ORG, $deleted), $deleted[1]);
$id = xadd(channel_id => $deleted, sequence => 3);
is $reader->event->{id}, $id, 'nothing is lost when the last entry is deleted';
$reader->close;


# --- reload

my ($old) = $nginx->workers;
$nginx->reload;

ok $sse->end(20), 'a reload ends the response cleanly';
like $sse->body, qr/\nretry: (?:37[5-9]|3[89]\d|[45]\d\d|6[01]\d|62[0-5])\n\n\z/,
    'a reload: the response ends with when to come back';
unlike $sse->body, qr/server_draining/,
    'a reload: a client with a good token is not told to get a new one';
$late->end(20);

ok wait_for(20, sub { !grep { $_ == $old } $nginx->workers }),
    'a reload: the old worker exits';

$sse = sse_open($nginx);
$id = publish($nginx, sequence => 12);
ok wait_for(20, sub { my $e = $sse->event(1); $e && $e->{id} eq $id }),
    'a reload: the new worker serves';

is $nginx->stop('QUIT'), 0, 'NGINX quits';
ok $sse->end, 'the response ends cleanly when NGINX quits';

done_testing();
