# "conduit_gateway_status channels": what a worker's channels are doing, as JSON;
# a limited number of them, and never a token.

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

    is $r->{status}, 200, 'the page';
    is $r->{headers}{'content-type'}, 'application/json', 'is JSON';
    is $r->{headers}{'cache-control'}, 'no-store', 'that is not cached';
    is $r->{headers}{connection}, 'close',
        'the next request may come to another worker';
    unlike $r->{body}, qr/eyJ|token/, 'no token is in it';

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

is_deeply [@$json{qw(worker workers channels)}], [0, 1, 0], 'one worker';
is_deeply $json->{shown}, [], 'no channels';
is $json->{pid}, ($nginx->workers)[0], 'its process';
cmp_ok abs($json->{time} - time), '<', 60, 'its time';


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

is $json->{channels}, 2, 'two channels';
is_deeply $json->{shown}[0],
    { stream => stream_key($ORG, $channel), clients => 3, behind => 0,
      redis => "127.0.0.1:$Conduit::REDIS_PORT", blocked => 0,
      position => $id, lag_ms => 0 }, 'the one with the most clients is first';
is_deeply [@{ $json->{shown}[1] }{qw(stream clients position)}],
    [stream_key($ORG, $CHANNEL), 1, '0-0'], 'then the others';
page();


# --- a client that takes nothing

my $slow = Conduit::SSE->open($nginx->port, 'GET',
                              "/open/$ORG?channel_id=$channel",
                              rcvbuf => 4096, later => 1);

becomes_page('it is there', sub { $_[0]{shown}[0]{clients} == 4 });

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
cmp_ok $json->{shown}[0]{lag_ms}, '<', 600_000, 'with its lag';

$slow->close;
becomes_page('it goes', sub { $_[0]{shown}[0]{clients} == 3 });


# --- many channels

my @many = map { subscribe(uuid()) } 1 .. 110;

$json = page();
is $json->{channels}, 112, 'all are counted';
is scalar @{ $json->{shown} }, 100, 'some are shown';
is $json->{shown}[0]{clients}, 3, 'those with the most clients';
is scalar(keys %{ { map { $_->{stream} => 1 } @{ $json->{shown} } } }), 100,
    'each once';

$_->close for @many, @clients, $with;
becomes_page('they go', sub { $_[0]{channels} == 0 && !@{ $_[0]{shown} } });


# --- the key is of a client

my $odd = sse_open($nginx, path => qq{/run/?run=a","clients":9\\\xff\xc3\xa9\xe2});

$json = becomes_page('a key with a quote', sub { $_[0]{channels} == 1 });
is $json->{shown}[0]{stream},
    qq{run:a","clients":9\\\x{fffd}\x{e9}\x{fffd}},
    'is shown as it is, but for bytes that are no UTF-8';
is $json->{shown}[0]{clients}, 1, 'and says nothing else';
$odd->close;


# --- as a page

is http($nginx, 'HEAD', '/channels')->{status}, 200, 'HEAD';
is http($nginx, 'POST', '/channels', body => 'x')->{status}, 405, 'POST';

done_testing();
