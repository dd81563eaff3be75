# Copyright (C) Conduit for NGINX authors
#
# "Accept: application/json" at conduit_gateway: the events after a position as
# a JSON array, at once, or with "wait" when the first one comes.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::H2;
use Conduit::Metrics;
use Conduit::Proxy;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

my $REDIS = "redis://127.0.0.1:$Conduit::REDIS_PORT";
my $JSON = JSON::PP->new->utf8->allow_nonref;
my $proxy = Conduit::Proxy->start($Conduit::REDIS_PORT);
my $old = nginx_version() < 1025001 ? ' http2' : '';
my $h2_port = free_port();

sub location {
    my ($path, @directives) = @_;

    my $redis = $path =~ /^held/ ? $proxy->url : $REDIS;

    return "location /$path/ { conduit_gateway $redis;"
           . 'conduit_gateway_auth off; conduit_gateway_key "s:$arg_run";'
           . 'conduit_gateway_drain 300ms;'
           . join('', map { "conduit_gateway_$_;" } @directives) . "}\n";
}

my $SERVER = join '', pages(), map { location(@$_) }
    (map { [$_, "format $_"] } qw(conduit payload json text)),
    ['turn', 'format text', 'start turn'],
    ['latest', 'format text', 'start latest'],
    ['stop', 'format text', 'after_end stop'],
    ['resume', 'format text', 'resume_only on'],
    ['small', 'format text', 'buffer_size 100'],
    ['tiny', 'format text', 'window 1', 'read_count 1', 'buffer_size 60'],
    ['coalesce', 'format text', 'coalesce 200ms'],
    ['polls', 'format text', 'wakeup poll 50ms'],
    ['short', 'format text', 'max_wait 300ms'],
    ['no-wait', 'format text', 'max_wait 0'],
    ['no-cors', 'format text', 'cors off'],
    ['held', 'format text', 'outage 500ms'],
    ['held-long', 'format text', 'outage 60s'];

my $nginx = nginx_start(
    log_level => 'info',
    http => ($old ? '' : 'http2 on;') . <<'EOC'
    log_format ends '$arg_n $status $conduit_gateway_events '
                    '$conduit_gateway_bytes $conduit_gateway_losses '
                    '$conduit_gateway_close';
    access_log logs/ends.log ends;
    limit_conn_zone $arg_limit zone=limit:1m;
    limit_conn limit 1;
EOC
    . "server { listen 127.0.0.1:$h2_port$old; $SERVER }",
    server => $SERVER . gateway_location('conduit_gateway_expire on;'));

my ($runs, $requests) = (0, 0);

# the argument of a new stream, and its key
sub run {
    my $run = 'run-' . ++$runs;

    return ($run, "s:$run");
}

sub add { return redis('XADD', @_) }

# entries N-0, those whose N is negative end a turn
sub fill {
    my ($key, @n) = @_;

    add($key, abs($_) . '-0', data => abs $_, $_ < 0 ? (end => 1) : ())
        for @n;
}

# sends a request; its response is read with answer()
sub ask {
    my ($path, $run, %o) = @_;

    my $n = ++$requests;
    my $args = join '', map { defined $o{$_} ? "&$_=$o{$_}" : () }
               qw(wait since last_event_id limit);

    my $c = Conduit::SSE->open(
        $nginx->port, $o{method} // 'GET', "/$path/x?run=$run&n=$n$args",
        later => 1,
        headers => { Accept => $o{accept} // 'application/json',
                     defined $o{id} ? ('Last-Event-ID' => $o{id}) : (),
                     %{ $o{headers} // {} } });

    $c->{n} = $n;
    return $c;
}

# its status, headers, body, the decoded array, the data of the events
sub answer {
    my $c = shift;

    $c->end(30) or die 'no answer';

    my %a = (n => $c->{n}, status => $c->status, headers => $c->headers,
             body => $c->body);

    $c->close;

    if (($a{headers}{'content-type'} // '') eq 'application/json'
        && $c->{method} ne 'HEAD')
    {
        $a{events} = $JSON->decode($a{body});
        $a{data} = join ' ', map { ref $_->{data} ? '{}' : $_->{data} }
                   @{ $a{events} };
    }

    $a{next} = $a{headers}{'conduit-next-id'};
    $a{all} = $a{headers}{'conduit-up-to-date'} // '';
    $a{ended} = $a{headers}{'conduit-stream-ended'} // '';

    return \%a;
}

sub pull { return answer(ask(@_)) }

# waits until a worker has so many pulls that wait
sub waiting {
    my ($n, $title) = @_;

    becomes($nginx, 'gateway', $title // "$n wait", pulls => $n);
}

# what the log says of a request: status, events, bytes, losses, close
sub logged {
    my $a = shift;
    my $line;

    wait_for(20, sub {
        ($line) = read_file($nginx->root . '/logs/ends.log')
                  =~ /^$a->{n} (.*)$/m;
    });

    return $line;
}


# --- an answer at once

my ($run, $key) = run();

my $a = pull('text', $run);

is $a->{status}, 200, 'no stream: 200';
is $a->{body}, "[]\n", 'no stream: an empty array';
is $a->{next}, '0-0', 'no stream: the next position is the beginning';
is $a->{all}, 'true', 'no stream: that is all';
is $a->{headers}{'content-length'}, 3, 'the length is known';
is $a->{headers}{'cache-control'}, 'no-store', 'no cache keeps an answer';
is $a->{headers}{'vary'}, 'Accept', 'caches are told that Accept decides';
is $a->{headers}{'access-control-allow-origin'}, '*',
    'pages of any origin may read an answer';
like $a->{headers}{'access-control-expose-headers'}, qr/\bConduit-Next-Id\b/,
    'pages of any origin may read where to go on';
is $a->{headers}{'content-encoding'}, undef, 'an answer is not compressed';
is logged($a), '200 0 3 0 answered', 'the log says what was sent';

fill($key, 1, 2, 3);
$a = pull('text', $run);

is_deeply $a->{events}, [map { { id => "$_-0", data => "$_" } } 1 .. 3],
    'without a position: all that is kept';
is $a->{next}, '3-0', 'the next position is the last event';
is $a->{all}, 'true', 'all: there is no more';
is $a->{ended}, '', 'a stream without END has not ended';
is logged($a), '200 3 ' . length($a->{body}) . ' 0 answered',
    'the log says how many events were sent';

is pull('text', $run, id => '1-0')->{data}, '2 3', 'after Last-Event-ID';
is pull('text', $run, last_event_id => '2-0')->{data}, '3',
    'after the argument last_event_id';
is pull('text', $run, last_event_id => '0-0')->{data}, '1 2 3',
    'after 0-0: all';
is pull('text', $run, id => '3-0')->{body}, "[]\n", 'after the last: none';
is pull('text', $run, id => '3-0')->{next}, '3-0',
    'no event: the position stays';
is pull("text", $run, since => "1h")->{body}, "[]\n",
    "the argument since: nothing is that new";

done_testing;
