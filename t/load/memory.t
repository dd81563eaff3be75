# Copyright (C) Conduit for NGINX authors
#
# What an idle subscriber costs with nginx.conf.example: memory of the worker,
# its connections to Redis, and its CPU time.  A request is like a browser's: a
# token of 800 bytes, and 600 bytes of headers.

use strict;
use warnings;

use lib 't/lib', 't/load';

use Conduit;
use IO::Socket::INET;
use Load;
use Test::More;

my $CLIENTS = size(1000, 19_500);

# all on one channel; the small size has a larger share of what is there anyway
my $MOST = size(9600, 8832);
my $KEEPALIVE = 15;

my $tls_port = free_port();
my $token = padded_token(800);
my $OWN = length "Host: localhost\r\nAccept: text/event-stream\r\n";
my $headers = browser_headers(600 - $OWN);


# --- the example, with other paths, one worker, and no limit below $CLIENTS

my $DIR = "$Conduit::TMP/conduit";

mkdir $_ or die "$_: $!" for $DIR, "$DIR/locations", "$DIR/conf.d";

write_file("$DIR/publish.secret", read_file("$Conduit::TMP/secret"));
write_file("$DIR/gateway.pem", read_file("$Conduit::TMP/key.pub"));
write_file("$DIR/conf.d/temp.conf",
           join '', map { "${_}_temp_path $DIR/temp;\n" }
                    qw(client_body proxy fastcgi uwsgi scgi));

system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
       . " -subj /CN=localhost -days 2 -keyout $DIR/tls.key -out $DIR/tls.crt"
       . " 2>/dev/null") == 0 or die 'openssl failed';


sub example {
    my $port = shift;

    my $text = read_file("$Conduit::ROOT/nginx.conf.example");

    # what has to be found there, and what takes its place

    my @changes = (
        [qr{/usr/lib/nginx/modules/}, "$Conduit::MODULES/"],
        [qr{^user www-data;\n}m, $> == 0 ? "user root;\n" : ''],
        [qr{^worker_processes auto;}m, "worker_processes 1;\ndaemon off;"],
        [qr{/run/nginx\.pid}, 'nginx.pid'],
        [qr{worker_connections 16384;}, 'worker_connections 22000;'],
        [qr{/var/log/nginx/}, 'logs/'],
        [qr{/etc/nginx/conduit/}, "$DIR/"],
        [qr{/etc/nginx/conf\.d/}, "$DIR/conf.d/"],
        [qr{/etc/nginx/sites-enabled/}, "$DIR/sites-enabled/"],
        [qr{redis://127\.0\.0\.1:6379},
         "redis://127.0.0.1:$Conduit::REDIS_PORT"],
        [qr{listen 127\.0\.0\.1:8080;}, "listen 127.0.0.1:$port backlog=4096;"],
        [qr{\# listen 443 ssl http2;}, "listen 127.0.0.1:$tls_port ssl http2;"],
        [qr{\# (?=ssl_)}, ''],
        [qr{limit_conn conduit_org 10000;}, 'limit_conn conduit_org 60000;'],
        [qr{limit_conn conduit_addr 200;}, 'limit_conn conduit_addr 60000;'],
        [qr{conduit_addr_rate burst=400}, 'conduit_addr_rate burst=60000'],
        [qr{conduit_org_rate burst=10000}, 'conduit_org_rate burst=60000'],
    );

    for my $change (@changes) {
        my ($old, $new) = @$change;
        $text =~ s/$old/$new/g or die "no $old in nginx.conf.example";
    }

    return $text;
}


sub start {
    my $nginx = load_nginx(config => sub {
        my ($port) = $_[0] =~ /listen 127\.0\.0\.1:(\d+)/;
        return example($port);
    });

    warm_up($nginx, path => path());

    return $nginx;
}


sub path { return load_path(0) . "&token=$token" }


# --- a token and headers of some length

sub padded_token {
    my $length = shift;

    my @claims = (org_id => 1, channel_id => channel_name(0),
                  exp => int(time) + 3600);
    my $pad = int(($length - length gateway_token(@claims, pad => '')) * 3 / 4);

    return gateway_token(@claims, pad => 'x' x $pad);
}


# What Chrome sends for an EventSource of another origin, without the two that
# the generator has by itself; the page's address fills it up.

sub browser_headers {
    my $length = shift;

    my $text = join '', map { "$_\r\n" }
        'Connection: keep-alive',
        'sec-ch-ua-platform: "Linux"',
        'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36'
            . ' (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36',
        'sec-ch-ua: "Chromium";v="131", "Not_A Brand";v="24"',
        'sec-ch-ua-mobile: ?0',
        'Origin: https://app.example.com',
        'Sec-Fetch-Site: same-site',
        'Sec-Fetch-Mode: cors',
        'Sec-Fetch-Dest: empty',
        'Accept-Encoding: gzip, deflate, br, zstd',
        'Accept-Language: en-US,en;q=0.9',
        'Cache-Control: no-cache';

    my $page = 'Referer: https://app.example.com/';
    my $left = $length - length($text) - length "$page\r\n";

    return $text . $page . 'p' x $left . "\r\n";
}


# --- HTTP/1.1

cmp_ok abs(800 - length $token), '<=', 2, 'a token has 800 bytes';
is length($headers) + $OWN, 600, 'the headers of a request have 600 bytes';

my $nginx = start();
my ($worker) = $nginx->workers;
my $before = pss_kb($worker);

my $load = load($nginx, -n => $CLIENTS, -r => 4000, -q => "token=$token",
                -H => $headers, -a => 4);

my $stat = $load->reaches('connected', $CLIENTS);
is $stat->{connected}, $CLIENTS, "$CLIENTS subscribers are connected";

settled(sub { pss_kb($worker) });
my $each = (pss_kb($worker) - $before) * 1024 / $CLIENTS;

diag sprintf 'HTTP/1.1: %d subscribers, %.0f bytes each', $CLIENTS, $each;
cmp_ok $each, '<=', $MOST, "a subscriber takes $MOST bytes at most";

# one more is the publisher's, which the page of its health keeps
wait_for(20, sub { links() == 3 });
is links(), 3, 'the worker has two connections to Redis for all of them';

# a whole interval of comments in the full size, else just that nothing spins

my $seconds = size(3, $KEEPALIVE);
my $bytes = $load->stat->{bytes};
my ($cpu, $user) = (cpu_us($worker), user_us($worker));

sleep $seconds;

$cpu = (cpu_us($worker) - $cpu) / 1e4 / $seconds;
$user = (user_us($worker) - $user) / 1e4 / $seconds;
$bytes = $load->stat->{bytes} - $bytes;

# of a comment over loopback, the kernel's part holds the receiver's as well

diag sprintf 'idle worker: %.2f%% of a processor over %d s, %.2f%% its own and '
     . 'the rest the kernel\'s for %d bytes of comments',
     $cpu, $seconds, $user, $bytes;
cmp_ok $user, '<', 1, 'an idle worker takes less than 1% of a processor';
cmp_ok $cpu, '<', 4,
    'an idle worker and the kernel take less than 4% of a processor';
cmp_ok $bytes, '>=', $CLIENTS,
    'an idle worker sends each client a comment in that time' if full();

publish_many(first => 1, last => 1);
$stat = $load->reaches('events', $CLIENTS);

is $stat->{events}, $CLIENTS, 'all subscribers get an event';

settled(sub { pss_kb($worker) });
$each = (pss_kb($worker) - $before) * 1024 / $CLIENTS;

diag sprintf 'after an event: %.0f bytes each', $each;
cmp_ok $each, '<=', $MOST, 'an event leaves nothing behind in a subscriber';

is_deeply [@$stat{qw(refused broken ended gaps repeats)}], [0, 0, 0, 0, 0],
    'all subscribers get it once, and none is refused or cut off';

$load->ends;
log_is_quiet($nginx, 'nothing is wrong in the log');
is $nginx->stop, 0, 'NGINX quits';


# --- TLS, and HTTP/2 over it: figures

encrypted() if full();

done_testing();


sub encrypted {
    if (!eval { require IO::Socket::SSL; 1 }) {
        diag 'no IO::Socket::SSL: TLS is left out';
        return;
    }

    my $request = 'GET ' . path() . " HTTP/1.1\r\nHost: localhost\r\n"
                  . "Accept: text/event-stream\r\n$headers\r\n";

    measure('TLS, HTTP/1.1', 2000, 1, sub {
        my $s = shift;

        print $s $request;
        sysread $s, my $answer, 4096;
        return $answer =~ m{^HTTP/1\.1 200 } ? 1 : 0;
    }, 'http/1.1');

    measure('TLS, HTTP/2', 2000, 100, \&streams, 'h2');
}


# Opens connections until there are so many subscribers, some on each.

sub measure {
    my ($name, $subscribers, $on_each, $subscribe, $protocol) = @_;

    my $nginx = start();
    my ($worker) = $nginx->workers;
    my $before = pss_kb($worker);
    my $context = IO::Socket::SSL::SSL_Context->new(
        SSL_verify_mode => 0, SSL_alpn_protocols => [$protocol]);

    my ($answers, @sockets) = (0);

    for (1 .. $subscribers / $on_each) {
        my $s = IO::Socket::SSL->new(PeerAddr => "127.0.0.1:$tls_port",
                                     SSL_reuse_ctx => $context)
            or die "TLS: $! " . IO::Socket::SSL::errstr();

        $answers += $subscribe->($s);
        push @sockets, $s;
    }

    is $answers, $subscribers, "$name: $subscribers subscribers are connected";

    settled(sub { pss_kb($worker) });

    diag sprintf '%s: %d subscribers, %d on a connection, %.0f bytes each',
         $name, $subscribers, $on_each,
         (pss_kb($worker) - $before) * 1024 / $subscribers;

    $_->close for @sockets;
    is $nginx->stop, 0, "$name: NGINX quits";
}


# A hundred streams on a connection of HTTP/2; returns how many got a 200.

sub streams {
    my $s = shift;

    my @fields = ([':method', 'GET'], [':scheme', 'https'],
                  [':authority', 'localhost'], [':path', path()],
                  ['accept', 'text/event-stream'],
                  map { /^([^:]+): (.*)/ ? [lc $1, $2] : () }
                  split /\r\n/, $headers);
    my $block = join '', map { "\0" . hpack($_->[0]) . hpack($_->[1]) } @fields;

    print $s "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(4, 0, 0, ''),
        map { frame(1, 0x5, 2 * $_ + 1, $block) } 0 .. 99;

    my ($in, $good) = ('', 0);

    while ($good < 100) {
        sysread $s, $in, 65536, length $in or last;

        while (length $in >= 9) {
            my ($high, $low, $type) = unpack 'CnC', $in;
            my $length = $high << 16 | $low;

            last if length $in < 9 + $length;

            # the first field of a header block: 0x88 is ":status: 200"

            $good++ if $type == 1 && ord(substr $in, 9) == 0x88;
            substr $in, 0, 9 + $length, '';
        }
    }

    return $good;
}


sub frame {
    my ($type, $flags, $stream, $data) = @_;

    return pack('CnCCN', length($data) >> 16, length($data) & 0xffff, $type,
                $flags, $stream) . $data;
}


# a string of HPACK, not compressed

sub hpack {
    my $text = shift;

    my $n = length $text;
    return chr($n) . $text if $n < 127;

    my $out = chr 127;

    for ($n -= 127; $n > 127; $n >>= 7) {
        $out .= chr($n & 127 | 128);
    }

    return $out . chr($n) . $text;
}
