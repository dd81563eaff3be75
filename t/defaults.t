# Copyright (C) Conduit for NGINX authors
#
# The defaults: what holds where no directive says otherwise.  They are part of
# the interface.  Times are checked to be no shorter than they should be; on a
# busy machine they may be longer.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Fake;
use Conduit::Metrics qw(metrics pages);
use Test::More;
use Time::HiRes qw(time);

my $CLIENTS = 40;    # that all leave in the first half of a drain: 1 in 2^40
my $asked = write_file("$Conduit::TMP/asked", '');

# what the script is called with, behind the message
my $scripts = Conduit::Fake->start(sub {
    my ($name, @arguments) = @_;

    return "+PONG\r\n" if $name eq 'PING';
    return undef if $name ne 'EVALSHA';

    open my $fh, '>>', $asked or die "$asked: $!";
    print $fh "@arguments[-4 .. -1]\n";
    close $fh;

    return "\$3\r\n1-1\r\n";
});
my $mute = Conduit::Fake->start(sub { undef });

my %url = (
    script => 'redis://127.0.0.1:' . $scripts->port,
    mute => 'redis://127.0.0.1:' . $mute->port,
    nowhere => 'redis://127.0.0.1:' . free_port(),
);

my $nginx = nginx_start(server =>
    pages() . gateway_location() . publish_location()
    . gateway_location('', redis => $url{nowhere}) =~ s{/events/}{/nowhere/}r
    . publish_location('conduit_publish_rate off;') =~ s{/publish/}{/free/}r
    . join '', map {
        publish_location('', redis => $url{$_}) =~ s{/publish/}{/$_/}r
    } qw(script mute));

sub post {
    my ($path, $body, @headers) = @_;

    return http($nginx, 'POST', "/$path/$ORG/$CHANNEL", body => $body,
                headers => { Authorization => 'Bearer ' . publish_token(),
                             @headers });
}

my $began = time;
my $quiet = sse_open($nginx, channel_id => uuid());
my $lost = sse_open($nginx, path => events_path() =~ s/events/nowhere/r);


# --- conduit_publish_rate, _max_len, _idle_ttl, _end_ttl, _batch

is post('script', message())->{status}, 200, 'a message';
is post('script', message(phase => 'END'))->{status}, 200, 'an END';
is read_file($asked), "20 1000 1200 120000\n" x 2,
    'a channel: 20 messages a second, 1200 kept, for 120 s';

is_deeply [map { my $r = post('free', "{}\n" x $_,
                              'Content-Type' => 'application/x-ndjson');
                 "$r->{status} $r->{body}" =~ s/(?<=200 ).*/taken/sr }
           100, 101],
    ['200 taken', '413 Batch exceeds the limit of 100 messages'],
    'a batch has 100 messages at most';


# --- conduit_publish_connect_timeout

my $started = time;
my $r = post('mute', message());

is $r->{status}, 503, 'Redis does not answer: 503';
cmp_ok time - $started, '>', 1.5, 'Redis has 2 s to answer on a new connection';
like $nginx->error_log, qr/publish: connect failed \(timed out\)/,
    'a connection that took too long is logged';


# --- conduit_gateway_retry, _outage, _keepalive, _max_duration

ok $lost->end(60), 'a response without Redis ends';
cmp_ok time - $began, '>', 9, 'an outage lasts 10 s until responses end';
is $lost->body, "retry: 500\n\nevent: error\nretry: 3000\n"
                . "data: Too many errors, closing stream\n\n",
    'a response that ends for an outage says so';

ok $quiet->comment(60), 'a response in which nothing happens has a comment';
cmp_ok time - $began, '>', 14, 'a comment comes after 15 s';
is $quiet->body, "retry: 500\n\n:\n", 'nothing else comes in 15 s';

# a sweep costs a command for each stream

my $sweeps = metrics($nginx, 'gateway')->{sweeps_total};

cmp_ok $sweeps, '<=', int((time - $began) / 20), 'a stream is swept in 20 s';
$_->close for $quiet, $lost;


# --- conduit_gateway_drain

my @clients = map { sse_open($nginx) } 1 .. $CLIENTS;

$nginx->signal('QUIT');
$started = time;

is scalar(grep { $_->end(60) } @clients), $CLIENTS,
    'responses of a worker that quits end';
cmp_ok time - $started, '>', 2.5, 'they end within 5 s, some in the second half';
$_->close for @clients;

is $nginx->stop, 0, 'NGINX quits';

done_testing();
