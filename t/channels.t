# Copyright (C) Conduit for NGINX authors
#
# "conduit_gateway_status channels": a page in JSON that shows what the channels
# of a worker are doing.  It shows a limited number of them, and never a token.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Metrics;
use JSON::PP ();
use Test::More;

my $nginx = nginx_start(
    http => 'conduit_gateway_keepalive off; send_timeout 600s;',
    server => pages()
    . 'location = /channels { conduit_gateway_status channels; }'
    . gateway_location()
    . gateway_location('conduit_gateway_auth off; conduit_gateway_window 4m;'
                       . 'conduit_gateway_buffer_size 16k;')
      =~ s{/events/}{/open/}r
    . gateway_location('conduit_gateway_auth off; conduit_gateway_format text;'
                       . 'conduit_gateway_key run:$arg_run;')
      =~ s{/events/}{/run/}r);

sub page {
    my $r = http($nginx, 'GET', '/channels');

    is $r->{status}, 200, 'the page of channels is there';
    is $r->{headers}{'content-type'}, 'application/json',
        'the page of channels is JSON';
    is $r->{headers}{'cache-control'}, 'no-store',
        'the page of channels is not cached';
    is $r->{headers}{connection}, 'close',
        'the page of channels closes the connection, so that the next request '
        . 'may come to another worker';
    unlike $r->{body}, qr/eyJ|token/, 'no token is in the page of channels';

    return JSON::PP->new->utf8->decode($r->{body});
}

sub becomes_page {
    my ($title, $code) = @_;

    my $json;

    ok wait_for(20, sub {
        $json = JSON::PP->new->utf8->decode(
            http($nginx, 'GET', '/channels')->{body});
        $code->($json);
    }), $title or diag explain $json;
    return $json;
}

sub subscribe { sse_open($nginx, path => "/open/$ORG?channel_id=$_[0]") }


# --- nobody is there

my $json = page();

is_deeply [@$json{qw(worker workers channels)}], [0, 1, 0],
    'a worker without clients has no channel';
is_deeply $json->{shown}, [], 'a worker without clients shows no channel';
is $json->{pid}, ($nginx->workers)[0], 'the page has the process of the worker';
cmp_ok abs($json->{time} - time), '<', 60,
    'the page has the time of the worker';


# --- clients

my $channel = uuid();
my @clients = map { subscribe($channel) } 1 .. 3;
my $with = sse_open($nginx);
my $id = xadd(channel_id => $channel);

$_->event(20) for @clients;

$json = becomes_page('a channel that is up to date', sub {
    my @shown = @{ $_[0]{shown} };

    @shown == 2 && $shown[0]{position} eq $id && $shown[0]{behind} == 0;
});

is $json->{channels}, 2, 'both channels are counted';
is_deeply $json->{shown}[0],
    { stream => stream_key($ORG, $channel), clients => 3, behind => 0,
      redis => "127.0.0.1:$Conduit::REDIS_PORT", blocked => 0,
      position => $id, lag_ms => 0 },
          'the channel with the most clients is shown first';
is_deeply [@{ $json->{shown}[1] }{qw(stream clients position)}],
    [stream_key($ORG, $CHANNEL), 1, '0-0'],
        'the channel with fewer clients is shown second';
page();


# --- a client that takes nothing

my $slow = Conduit::SSE->open($nginx->port, 'GET',
                              "/open/$ORG?channel_id=$channel",
                              rcvbuf => 4096, later => 1);

becomes_page('the fourth client is counted',
             sub { $_[0]{shown}[0]{clients} == 4 });

for my $n (1 .. 400) {
    $id = xadd(channel_id => $channel, sequence => $n, payload =>
               { text => 'x' x 12_000 });
}

is scalar(map { $_->events(400, 120) } @clients), 3 * 400,
    'the others have it all';

$json = becomes_page('a client that takes nothing is seen', sub {
    my $c = $_[0]{shown}[0];

    $c->{behind} == 1 && $c->{blocked} == 1 && $c->{position} eq $id
        && $c->{lag_ms} > 0;
});
cmp_ok $json->{shown}[0]{lag_ms}, '<', 600_000,
    'a channel whose client takes nothing has a lag';

$slow->close;
becomes_page('a client that is gone is not counted',
             sub { $_[0]{shown}[0]{clients} == 3 });


# --- many channels

my @many = map { subscribe(uuid()) } 1 .. 110;

$json = page();
is $json->{channels}, 112, '112 channels: all are counted';
is scalar @{ $json->{shown} }, 100, '112 channels: 100 are shown';
is $json->{shown}[0]{clients}, 3,
    '112 channels: the one with the most clients is shown first';
is scalar(keys %{ { map { $_->{stream} => 1 } @{ $json->{shown} } } }), 100,
    '112 channels: none is shown twice';

$_->close for @many, @clients, $with;
becomes_page('channels without clients are not shown',
             sub { $_[0]{channels} == 0 && !@{ $_[0]{shown} } });


# --- a key that a client chose

my $odd = sse_open($nginx, path => qq{/run/?run=a","clients":9\\\xff\xc3\xa9\xe2});

$json = becomes_page('a channel with a quote in its key is counted',
                     sub { $_[0]{channels} == 1 });
is $json->{shown}[0]{stream},
    qq{run:a","clients":9\\\x{fffd}\x{e9}\x{fffd}},
    'a key is shown as it is, but for bytes that are no UTF-8';
is $json->{shown}[0]{clients}, 1,
    'a key with a quote does not change the fields after it';
$odd->close;


# --- the page over HTTP

is http($nginx, 'HEAD', '/channels')->{status}, 200,
    'the page of channels takes HEAD';
is http($nginx, 'POST', '/channels', body => 'x')->{status}, 405,
    'the page of channels refuses POST';

done_testing();
