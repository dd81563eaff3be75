# Redis goes and comes back, NGINX reloads: what publishers and clients see.

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
is scalar(connections('reader')), 1, 'and one reader';

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
is $r->{headers}{'retry-after'}, 1, 'and when to try again';
like $r->{body}, qr/not stored/, 'and that it was not stored';

my $started = time;
my $late = sse_open($nginx, last_event_id => '1-0');
is $late->status, 200, 'a client that comes meanwhile gets a 200';

ok $short->end, 'after an outage the response ends';
like $short->body, qr/\nevent: error\nretry: 3000\ndata: Too many errors, closing stream\n\n\z/,
    'with the error event';
cmp_ok time - $started, '<', 8, 'in about the time that was set';

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
is $again, 1, 'and its end one warning';


# --- Redis hangs

redis_pause();

$r = try_publish();
is $r->{status}, 504, 'a Redis that does not answer in time is a 504';
like $r->{body}, qr/may have been stored/, 'which tells that nobody knows';

redis_resume();
ok published(sequence => 8), 'publishing goes on when Redis does';
ok reaches($sse, 8), 'streaming, too';


# --- the stream is deleted and made anew with smaller IDs

redis('DEL', stream_key());
my $small = xadd(id => '5-1', sequence => 9);
is $sse->event->{id}, $small, 'a new life of the stream is followed';

redis('FLUSHALL');
my $id = xadd(id => '4-1', sequence => 10);
is $sse->event->{id}, $id, 'after a flush, too';


# --- a wrong type at the key

redis('DEL', stream_key());
redis('SET', stream_key(), 'x');
is try_publish()->{status}, 500, 'a key of another type is a 500';

redis('DEL', stream_key());
$id = publish($nginx, sequence => 11);

# Redis 6 does not count what a stream had: clients may be told of a loss

my $event = $sse->event;
$event = $sse->event
    if redis_version() < 7_000_000
       && ($event->{json}{control_type} // '') eq 'history_lost';
is $event->{id}, $id, 'and passes with the key';


# --- scripts and memory

redis('SCRIPT', 'FLUSH');
is try_publish()->{status}, 200, 'a flushed script is loaded again';

redis('CONFIG', 'SET', 'maxmemory', 1);
$r = try_publish();
is $r->{status}, 503, 'a full Redis is a 503';
like $r->{body}, qr/out of memory/, 'that tells why';
redis('CONFIG', 'SET', 'maxmemory', 0);


# --- an entry that was delivered is deleted

my $deleted = uuid();
my @deleted = map { xadd(channel_id => $deleted, sequence => $_) } 1, 2;
my $reader = sse_open($nginx, channel_id => $deleted);

is scalar(my @two = $reader->events(2)), 2, 'entries are delivered';
redis('XDEL', stream_key($ORG, $deleted), $deleted[1]);
$id = xadd(channel_id => $deleted, sequence => 3);
is $reader->event->{id}, $id, 'nothing is lost with the last one of them';
$reader->close;


# --- reload

my ($old) = $nginx->workers;
$nginx->reload;

ok $sse->end(20), 'a reload ends the response cleanly';
like $sse->body, qr/\nretry: (?:37[5-9]|3[89]\d|[45]\d\d|6[01]\d|62[0-5])\n\n\z/,
    'its last words say when to come back';
unlike $sse->body, qr/server_draining/, 'as its token is good for that';
$late->end(20);

ok wait_for(20, sub { !grep { $_ == $old } $nginx->workers }),
    'the old worker leaves';

$sse = sse_open($nginx);
$id = publish($nginx, sequence => 12);
ok wait_for(20, sub { my $e = $sse->event(1); $e && $e->{id} eq $id }),
    'the new one serves';

is $nginx->stop('QUIT'), 0, 'NGINX quits';
ok $sse->end, 'and the response ends with it, cleanly';

done_testing();
