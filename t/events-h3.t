# Copyright (C) Conduit for NGINX authors
#
# HTTP/3, where NGINX is built with it: publishing, streams, and how they end.
# The client is curl.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Metrics;
use Conduit::SSE;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);

my $TMP = $Conduit::TMP;

plan skip_all => 'needs NGINX and curl with HTTP/3'
    if `$ENV{TEST_NGINX_BINARY} -V 2>&1` !~ /with-http_v3_module/
       || `curl -V` !~ /\bHTTP3\b/;

system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
       . " -keyout $TMP/tls.key -out $TMP/tls.crt 2>/dev/null") == 0
    or die 'openssl failed';

# QUIC is on UDP; the ports are free there, too
my @quic = map {
    IO::Socket::INET->new(LocalAddr => '127.0.0.1:0', Proto => 'udp')
        or die "no free port: $!"
} 1 .. 2;
my ($port, $patient) = map { $_->sockport } @quic;
$_->close for @quic;

my $locations = pages()
    . publish_location('conduit_publish_auth off; conduit_publish_rate off;')
    . gateway_location('conduit_gateway_auth off; conduit_gateway_drain 1s;'
                       . 'conduit_gateway_keepalive off;'
                       . 'conduit_gateway_after_end stop;');

# NGINX forgets a client from which nothing comes for the keepalive_timeout, a
# stopped one as well
my %timeout = ($port => '10s', $patient => '10m');

my $nginx = nginx_start(server => $locations, http => join '', map { <<"EOC" }
    server {
        listen 127.0.0.1:$_ quic;
        ssl_certificate $TMP/tls.crt;
        ssl_certificate_key $TMP/tls.key;
        keepalive_timeout $timeout{$_};
        send_timeout 10m;
        $locations
    }
EOC
    sort keys %timeout);


# a response that curl writes, with its header
package H3 {
    our @ISA = 'Conduit::SSE';

    sub open {
        my ($class, $to, $path, @options) = @_;

        my $self = bless({ raw => '', body => '', parsed => 0, events => [],
                           taken => 0, comments => [], method => 'GET' },
                         $class);

        $self->{pid} = CORE::open($self->{socket}, '-|', 'curl', '-sS', '-k',
                                  '-N', '-i', '--http3-only', '--max-time', 600,
                                  @options, "https://127.0.0.1:$to$path")
            // die "curl: $!";

        $self->until(20, sub { $self->parse_header }) or die 'no response';
        return $self;
    }

    # as curl says, by its exit status
    sub end {
        my ($self, $seconds) = @_;

        return $self->eof($seconds) && CORE::close(delete $self->{socket}) ? 1
                                                                           : 0;
    }
}

sub stream {
    my ($path, @options) = @_;

    return H3->open($port, $path, @options);
}

sub post {
    my %f = @_;

    my $body = write_file("$TMP/body", message(%f));

    return stream("/publish/$ORG/$f{channel_id}", '--data-binary', "\@$body",
                  '-H', 'Content-Type: application/x-protobuf');
}

sub subscribers { metrics($nginx, 'gateway')->{subscribers} }

# waits until so many clients are there
sub are_there {
    my ($n, $title) = @_;

    my $now;

    wait_for(20, sub { ($now = subscribers()) == $n });
    is $now, $n, $title;
}


# --- a stream from its first message to its last

my $path = events_path();

for my $n (1 .. 2) {
    my $r = post(channel_id => $CHANNEL, sequence => $n);

    is $r->status, 200, 'a message is accepted over HTTP/3';
    ok $r->end, 'the response to a message ends';
}

my $sse = stream($path);

is_deeply [$sse->status, @{ $sse->headers }{qw(content-type cache-control)}],
    [200, 'text/event-stream', 'no-cache, no-transform'],
    'a stream is opened over HTTP/3';
is_deeply [map { $_->{json}{sequence} } $sse->events(2)], [1, 2],
    'a stream starts with the events that are stored';

for my $n (3 .. 5) {
    post(channel_id => $CHANNEL, sequence => $n,
         payload => { value => 'x' x 10_000 })->end;
    is $sse->event->{json}{sequence}, $n,
        'an event of 10,000 bytes is sent as it comes';
}

post(channel_id => $CHANNEL, sequence => 6, phase => 'END')->end;
ok $sse->end, 'after END the response ends cleanly';

my $plain = sse_open($nginx);
ok $plain->end, 'the response ends after END over HTTP/1.1 as well';
ok $sse->body eq $plain->body, 'HTTP/3 and HTTP/1.1 carry the same bytes';

my $last = ($sse->events(10))[-1]{id};
is stream($path, '-H', "Last-Event-ID: $last")->status, 204,
    'a client that has had END gets 204';
is stream('/events/x?channel_id=y')->status, 400,
    'a wrong request is refused with 400';
is stream($path, '-X', 'DELETE')->status, 405,
    'a wrong method is refused with 405';


# --- a client that goes

my $idle = uuid();
my $gone = stream(events_path(channel_id => $idle), '--max-time', 3);

are_there(1, 'a client that only waits is counted');
ok !$gone->end, 'a client that leaves has no clean end';
are_there(0, 'a client that left is noticed, though nothing is sent');


# --- a client that does not read for a while

my $much = uuid();
my $slow = H3->open($patient, events_path(channel_id => $much));

are_there(1, 'a client that will stop reading is counted');
kill 'STOP', $slow->{pid};
stopped($slow->{pid});

xadd(channel_id => $much, sequence => $_,
     payload => { value => 'y' x 8_000 }) for 1 .. 1000;
kill 'CONT', $slow->{pid};

$slow->events(1000, 60);
is_deeply [map { $_->{json}{sequence} } @{ $slow->{events} }], [1 .. 1000],
    'a client that stopped reading for a while gets all events';
xadd(channel_id => $much, sequence => 1001, phase => 'END');
ok $slow->end, 'a client that stopped reading for a while gets the end';


# --- many, and a reload

my @channels = map { uuid() } 1 .. 20;
my @streams = map { stream(events_path(channel_id => $_)) } @channels;

are_there(20, '20 clients are counted before a reload');
my ($old) = $nginx->workers;
$nginx->reload;

# what a client sends now may reach either worker, so that none is promised a
# clean end; what it gets is one, and no more than its connection is lost

my ($told, $ended) = (0, 0);

for my $sse (@streams) {
    $ended++ if $sse->end(20);
    $told++ if $sse->body =~ /\A(?:retry: \d+\n\n){2}\z/;
}

cmp_ok $told, '>=', 15, 'a reload tells clients when to come back';
is $ended, $told, 'a reload ends the responses of these clients cleanly';

ok wait_for(40, sub { !grep { $_ == $old } $nginx->workers }),
    'a reload: the old worker exits';

$sse = stream(events_path(channel_id => $channels[0]));
xadd(channel_id => $channels[0], sequence => 1, phase => 'END');
ok $sse->end, 'a reload: the new worker serves';

is $nginx->stop, 0, 'NGINX quits';

done_testing;
