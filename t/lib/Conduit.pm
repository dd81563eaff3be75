# Copyright (C) Conduit for NGINX authors

package Conduit;

# What the suites share: a Redis of their own, tokens, messages, an NGINX for
# the tests that Test::Nginx cannot run, a reader of event streams.
#
#     use lib 't/lib';
#     use Conduit;
#     use Test::Nginx::Socket 'no_plan';     # or Test::More
#
# Loading it starts a redis-server on a free port of 127.0.0.1 and sets what a
# Test::Nginx block can use in its configuration:
#
#     $TEST_NGINX_REDIS_PORT    the port of Redis
#     $TEST_NGINX_REDIS_SOCK    its unix socket
#     $TEST_NGINX_SECRET_FILE   HS256 secret of publish_token()
#     $TEST_NGINX_KEY_FILE      RS256 public key of gateway_token()
#     $TEST_NGINX_TMP           a folder for files of the suite
#
# and, unless they are set, TEST_NGINX_LOAD_MODULES (both modules), a free
# TEST_NGINX_SERVER_PORT and a TEST_NGINX_SERVROOT of the suite's own.  So it
# comes before Test::Nginx.  Everything is stopped at the end, and a suite fails
# with an [alert] in an error log, or with a token in any log, of a level above
# "debug".  Lines that a suite wants are named by logs_tokens().

use strict;
use warnings;

use B ();
use Cwd ();
use Digest::SHA qw(hmac_sha256);
use Exporter 'import';
use feature 'state';
use File::Basename qw(basename dirname);
use File::Path qw(make_path remove_tree);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use JSON::PP ();
use MIME::Base64 qw(encode_base64url);
use POSIX ();
use Test::More ();
use Time::HiRes qw(sleep time);

use Conduit::Nginx;
use Conduit::SSE;

our @EXPORT = qw(
    $ORG $CHANNEL
    redis redis_version redis_start redis_stop redis_pause redis_resume
    redis_input unread
    stream_key xadd
    publish_token gateway_token jwt logs_tokens
    message publish_request uuid
    publish_location gateway_location
    nginx_start nginx_version http http_start http_end publish sse_open
    events_path
    free_port read_file write_file wait_for stopped draw_by_seed ranges
);

our $ORG = 123;
our $CHANNEL = '97f58c19-ce38-4c6b-8a5b-47f3405691f0';

our $ISSUER = 'sentry';
our $AUDIENCE = 'conduit';

our $ROOT = Cwd::abs_path(dirname(__FILE__) . '/../..');
our $MODULES = $ENV{CONDUIT_MODULES} || "$ROOT/build";
our $TMP;
our ($REDIS_PORT, $REDIS_SOCK);

my $owner = $$;
my $redis_pid;
my $redis_socket;
my $alert_log;
my %token_parts;      # payloads and signatures of all tokens => 1
my @token_lines;      # what lines with a token have to match

my %PHASES = (UNSPECIFIED => 0, START => 1, DELTA => 2, END => 3, ERROR => 4);


# --- Redis

# Starts Redis, at the port it had before if it ran already, and waits until it
# answers.  Extra arguments are options of redis-server.

sub redis_start {
    my @options = @_;

    for my $try (1 .. 3) {
        my $port = $REDIS_PORT || free_port();

        redis_spawn($port, @options);

        if (wait_for(20, sub { redis_answers($port) || redis_gone() })
            && redis_answers($port))
        {
            $REDIS_PORT = $port;
            return;
        }

        redis_stop();
    }

    die "redis-server did not start:\n" . read_file("$TMP/redis.log");
}


sub redis_spawn {
    my ($port, @options) = @_;

    my @command = ($ENV{REDIS_SERVER} || '/usr/bin/redis-server',
                   '--port', $port, '--bind', '127.0.0.1',
                   '--unixsocket', $REDIS_SOCK, '--unixsocketperm', '777',
                   '--save', '', '--appendonly', 'no', '--dir', $TMP,
                   redis_debug(), @options);

    $redis_pid = fork() // die "fork: $!";

    if ($redis_pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$TMP/redis.log";
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(127);
    }
}


# Redis 7 refuses DEBUG unless this option allows it; Redis 6 has no such
# option.

sub redis_debug {
    return redis_version() >= 7_000_000
        ? ('--enable-debug-command', 'local') : ();
}


# The version of the server under test: 6.2.14 is 6_002_014.  Valkey prints its
# own version after "v=", which can't be compared with that of a Redis.

sub redis_version {
    my $server = $ENV{REDIS_SERVER} || '/usr/bin/redis-server';

    state $version = do {
        my ($major, $minor, $patch)
            = `$server --version` =~ /v=(\d+)\.(\d+)\.(\d+)/
            or die "$server --version tells no version";
        $major * 1_000_000 + $minor * 1_000 + $patch;
    };

    return $version;
}


# Stops Redis; its data is lost.  With TERM it closes its connections in order,
# with KILL it can't.

sub redis_stop {
    my $signal = shift // 'TERM';

    $redis_socket = undef;
    return if !$redis_pid;

    kill 'CONT', $redis_pid;
    kill $signal, $redis_pid;

    if (!wait_for(20, \&redis_gone)) {
        kill 'KILL', $redis_pid;
        waitpid $redis_pid, 0;
        $redis_pid = undef;
    }
}


# A Redis that keeps its connections and answers nothing.

sub redis_pause {
    kill 'STOP', $redis_pid;
    stopped($redis_pid) or die 'redis-server does not stop';
}

sub redis_resume { kill 'CONT', $redis_pid }


# How many bytes in the connections to Redis it has not read yet.  While Redis
# is stopped or busy, this shows whether a command was sent.

sub redis_input { return unread($REDIS_PORT) }


# How many bytes a server has not read yet that were sent to this port of
# 127.0.0.1, over connections that it has not accepted, too.

sub unread {
    my $local = sprintf '0100007F:%04X', shift;
    my $bytes = 0;

    open my $fh, '<', '/proc/net/tcp' or die "/proc/net/tcp: $!";

    while (<$fh>) {
        my (undef, $from, undef, undef, $queues) = split;
        $bytes += hex((split /:/, $queues)[1]) if $from eq $local;
    }

    return $bytes;
}


sub redis_gone {
    return 1 if !$redis_pid;

    if (waitpid($redis_pid, POSIX::WNOHANG()) != 0) {
        $redis_pid = undef;
        return 1;
    }

    return 0;
}


sub redis_answers {
    my $port = shift;

    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 1)
        or return 0;

    print $s "PING\r\n";
    return (<$s> // '') =~ /^\+PONG/;
}


# Sends a command, returns its reply: a string or number, undef for nil, a
# reference to an array; dies with the text of an error reply.

sub redis {
    my @args = map { my $arg = "$_"; utf8::encode($arg) if utf8::is_utf8($arg);
                     $arg } @_;

    $redis_socket //= IO::Socket::INET->new(
        PeerAddr => "127.0.0.1:$REDIS_PORT", Timeout => 20)
        // die "redis: $!";

    my $data = join '', '*' . @args . "\r\n",
        map { '$' . length($_) . "\r\n$_\r\n" } @args;

    $redis_socket->syswrite($data);

    my $reply = eval { redis_reply($redis_socket) };

    if ($@) {
        $redis_socket = undef if $@ =~ /^redis: connection/;
        die $@;
    }

    return $reply;
}


sub redis_reply {
    my $s = shift;

    defined(my $line = <$s>) or die "redis: connection closed\n";
    $line =~ s/\r\n\z//;

    my $type = substr $line, 0, 1, '';

    return $line if $type eq '+' || $type eq ':';
    die "redis: $line\n" if $type eq '-';

    if ($type eq '$') {
        return undef if $line < 0;
        read($s, my $data, $line + 2) == $line + 2
            or die "redis: connection closed\n";
        return substr $data, 0, $line;
    }

    if ($type eq '*') {
        return undef if $line < 0;
        return [map { redis_reply($s) } 1 .. $line];
    }

    die "redis: connection out of step: $type$line\n";
}


sub stream_key {
    my ($org, $channel) = @_;

    return sprintf 'stream:%s:%s', $org // $ORG, $channel // $CHANNEL;
}


# Adds a message to its stream without the publish module, as any publisher
# would; returns the entry's ID.  org, id and data (raw bytes) may be given,
# the rest are the fields of message().

sub xadd {
    my %f = @_;

    my $org = delete $f{org};
    my $id = delete $f{id} // '*';
    my $data = delete $f{data} // message(%f);

    return redis('XADD', stream_key($org, $f{channel_id}), $id, 'data', $data);
}


# --- tokens

# An HS256 token of a publisher.  A claim given as undef is left out; "-kid",
# "-alg" and "-key" (the secret) change the header and the signature.

sub publish_token {
    return jwt(-alg => 'HS256', iss => $ISSUER, aud => $AUDIENCE,
               sub => 'publisher', exp => int(time) + 600, @_);
}


# An RS256 token of a subscriber; "-key" is the file of a private key, "-alg"
# another algorithm.

sub gateway_token {
    return jwt(-alg => 'RS256', iss => $ISSUER, aud => $AUDIENCE,
               org_id => 0 + $ORG, channel_id => $CHANNEL,
               exp => int(time) + 600, @_);
}


sub jwt {
    my %claims = @_;

    my $alg = delete $claims{-alg};
    my $kid = delete $claims{-kid};
    my $key = delete $claims{-key};

    my $json = JSON::PP->new->canonical->utf8;
    my %header = (alg => $alg, typ => 'JWT', defined $kid ? (kid => $kid) : ());

    delete $claims{$_} for grep { !defined $claims{$_} } keys %claims;

    my $text = encode_base64url($json->encode(\%header)) . '.'
               . encode_base64url($json->encode(\%claims));

    my $signature = $alg eq 'none' ? ''
        : $alg =~ /^HS/ ? hmac_sha256($text, $key // read_file("$TMP/secret"))
        : key_sign($alg, $text, $key // "$TMP/key.pem");

    $signature = encode_base64url($signature);

    $token_parts{$_} = 1 for grep { length > 19 } $signature,
                             (split /\./, $text)[1];

    return "$text.$signature";
}


# Lines of the logs that match ("FILE: LINE") may hold a token, for the reason
# given: NGINX itself writes these lines, where the module can't mask the token.

sub logs_tokens {
    my ($lines, $reason) = @_;

    die 'no reason' if !$reason;
    push @token_lines, $lines;
    return;
}


# The lines of all logs with a token: one that was made here, or what looks like
# one (JSON in base64).

sub leaked_tokens {
    my @leaks;

    for my $file (glob "$TMP/{nginx-*,servroot}/logs/*.log $TMP/*.log") {
        open my $fh, '<:raw', $file or next;
        my $level = '';

        # a message may have several lines

        while (my $line = <$fh>) {
            $level = $1 if $line =~ m{^\d+/\d\d/\d\d [\d:]+ \[(\w+)\]};

            next if $level eq 'debug'
                    || !grep { /^eyJ/ || $token_parts{$_} }
                        $line =~ /([\w-]{20,})/g;
            next if grep { "$file: $line" =~ $_ } @token_lines;

            push @leaks, $line;
        }
    }

    return @leaks;
}


sub key_sign {
    my ($alg, $text, $key) = @_;

    write_file("$TMP/to-sign", $text);

    my @digest = ('dgst', $alg =~ /384/ ? '-sha384' : '-sha256', '-sign', $key);
    my @pss = map { ('-sigopt', $_) } 'rsa_padding_mode:pss',
                                      'rsa_pss_saltlen:digest';

    my @command = $alg =~ /^Ed/ ? ('pkeyutl', '-sign', '-rawin', '-inkey', $key,
                                   '-in')
                : $alg =~ /^PS/ ? (@digest, @pss) : @digest;

    open my $fh, '-|:raw', 'openssl', @command, "$TMP/to-sign"
        or die "openssl: $!";

    local $/;
    my $signature = <$fh>;
    close $fh or die "openssl $command[0] failed";

    return $alg =~ /^ES(\d+)/ ? two_numbers($signature, $1 / 8) : $signature;
}


# An ECDSA signature in DER as tokens have it: two numbers of so many bytes.

sub two_numbers {
    my ($der, $bytes) = @_;

    my (undef, $r, undef, $s) = unpack 'x2 C C/a C C/a', $der;

    return join '', map { substr "\0" x $bytes . $_, -$bytes } $r, $s;
}


# --- messages

# A serialized PublishRequest.  Fields: channel_id, message_id, phase (a name
# or a number), sequence, client_timestamp (seconds), payload (a reference to a
# hash; JSON::PP::true and false are its booleans, undef its null).  A field
# given as undef is left out.

sub message {
    my %f = (channel_id => $CHANNEL, message_id => uuid(), phase => 'DELTA',
             sequence => 1, @_);

    my $phase = $f{phase};
    $phase = $PHASES{$phase =~ s/^PHASE_//r}
        if defined $phase && $phase =~ /[A-Z]/;

    return join '',
        pb_bytes(1, $f{channel_id}),
        pb_bytes(2, $f{message_id}),
        defined $f{client_timestamp}
            ? pb_bytes(3, pb_varint(1, int $f{client_timestamp})) : '',
        pb_varint(4, $phase),
        pb_varint(5, $f{sequence}),
        defined $f{payload} ? pb_bytes(6, pb_struct($f{payload})) : '';
}


sub varint {
    my $n = $_[0] & ~0;
    my $out = '';

    while ($n > 127) {
        $out .= chr($n & 127 | 128);
        $n >>= 7;
    }

    return $out . chr $n;
}


sub pb_varint {
    my ($field, $n) = @_;

    return defined $n ? varint($field << 3) . varint($n) : '';
}


sub pb_bytes {
    my ($field, $bytes) = @_;

    return '' if !defined $bytes;
    utf8::encode($bytes) if utf8::is_utf8($bytes);

    return varint($field << 3 | 2) . varint(length $bytes) . $bytes;
}


sub pb_struct {
    my $hash = shift;

    return join '', map { pb_bytes(1, pb_bytes(1, $_)
                                      . pb_bytes(2, pb_value($hash->{$_}))) }
                    sort keys %$hash;
}


sub pb_value {
    my $value = shift;

    return pb_varint(1, 0) if !defined $value;
    return pb_varint(4, $value ? 1 : 0) if JSON::PP::is_bool($value);
    return pb_bytes(5, pb_struct($value)) if ref $value eq 'HASH';
    return pb_bytes(6, join '', map { pb_bytes(1, pb_value($_)) } @$value)
        if ref $value eq 'ARRAY';

    my $flags = B::svref_2object(\$value)->FLAGS;

    return varint(2 << 3 | 1) . pack 'd<', $value
        if $flags & (B::SVp_IOK | B::SVp_NOK) && !($flags & B::SVp_POK);

    return pb_bytes(3, $value);
}


sub uuid {
    return join '-', map { join '', map { sprintf '%x', rand 16 } 1 .. $_ }
                     8, 4, 4, 4, 12;
}


# The "--- raw_request eval" of a Test::Nginx block that publishes a message.
# Takes the fields of message(), and org, path, token (undef: none), body (raw
# bytes) and headers.  It is a raw request because Test::Nginx trims the body
# of others, and a message begins with a line feed.

sub publish_request {
    my %f = @_;

    my %o = map { $_ => delete $f{$_} } grep { exists $f{$_} }
            qw(org path token body headers);

    my $channel = $f{channel_id} // $CHANNEL;
    my $path = $o{path} // "/publish/" . ($o{org} // $ORG) . "/$channel";
    my $token = exists $o{token} ? $o{token} : publish_token();
    my $body = $o{body} // message(%f);

    my %headers = (
        'Host' => 'localhost',
        'Connection' => 'close',
        'Content-Type' => 'application/x-protobuf',
        'Content-Length' => length $body,
        defined $token ? ('Authorization' => "Bearer $token") : (),
        %{ $o{headers} // {} },
    );

    return join "\r\n", "POST $path HTTP/1.1",
        (map { "$_: $headers{$_}" } grep { defined $headers{$_} }
         sort keys %headers), '', $body;
}


# --- configuration

# Locations as the contract has them, with the suite's Redis and keys.  The
# argument is added inside; "redis" replaces the URL.

sub publish_location {
    my ($extra, %o) = @_;

    my $redis = $o{redis} // "redis://127.0.0.1:$REDIS_PORT";
    $extra //= '';

    return <<"EOC";
    location /publish/ {
        conduit_publish $redis;
        conduit_publish_jwt_secret_file $TMP/secret;
        conduit_publish_jwt_issuer $ISSUER;
        conduit_publish_jwt_audience $AUDIENCE;
        $extra
    }
EOC
}


sub gateway_location {
    my ($extra, %o) = @_;

    my $redis = $o{redis} // "redis://127.0.0.1:$REDIS_PORT";
    $extra //= '';

    return <<"EOC";
    location /events/ {
        conduit_gateway $redis;
        conduit_gateway_jwt_key_file $TMP/key.pub;
        conduit_gateway_jwt_issuer $ISSUER;
        conduit_gateway_jwt_audience $AUDIENCE;
        $extra
    }
EOC
}


# --- NGINX and HTTP, for tests without Test::Nginx

# Starts NGINX with both modules; see Conduit::Nginx.  Without "server" it gets
# both locations.

sub nginx_start {
    my %o = @_;

    $o{server} //= publish_location('conduit_publish_rate off;')
                   . gateway_location();

    my $nginx = Conduit::Nginx->start(%o);

    logs_tokens(qr{^\Q${\$nginx->root}\E/},
                'where no token is asked for nothing is masked')
        if "$o{server} @{[ $o{http} // '' ]}" =~ /conduit_gateway_auth off/;

    return $nginx;
}


sub nginx_version {
    my $binary = $ENV{TEST_NGINX_BINARY} || '/usr/sbin/nginx';

    `$binary -v 2>&1` =~ m{nginx/(\d+)\.(\d+)\.(\d+)} or die "no $binary";
    return $1 * 1_000_000 + $2 * 1000 + $3;
}


# "1..5 lost 9" for what a client got: sequence numbers, and words for what else
# there was, "other" for undef.

sub ranges {
    my @out;

    for my $n (map { $_ // 'other' } @_) {
        my $last = @out ? $out[-1][1] : 'none';

        if ("$last$n" !~ /\D/ && $n == $last + 1) {
            $out[-1][1] = $n;
        } else {
            push @out, [$n, $n];
        }
    }

    return join ' ', map { $_->[0] eq $_->[1] ? $_->[0] : "$_->[0]..$_->[1]" }
                     @out;
}


# Sends a POST with a body and does not wait for the response, which
# http_end() returns, as http() does; "none" is the status if there is none.

sub http_start {
    my ($nginx, $path, $body) = @_;

    my $s = IO::Socket::INET->new('127.0.0.1:' . $nginx->port)
        or die "connect: $!";

    $s->syswrite("POST $path HTTP/1.1\r\nHost: a\r\n"
                 . "Connection: close\r\nContent-Length: " . length($body)
                 . "\r\n\r\n$body");
    return $s;
}

sub http_end {
    my $s = shift;

    local $/;
    my ($header, $body) = split /\r\n\r\n/, <$s> // '', 2;
    close $s;

    my ($status) = ($header // '') =~ m{\AHTTP/1\.1 (\d+)};

    return {
        status => $status // 'none', body => $body // '',
        headers => { map { /^([^:]+): (.*)/ ? (lc $1 => $2) : () }
                     split /\r\n/, $header // '' },
    };
}


# One HTTP/1.1 request on a connection of its own:
# http($nginx, 'GET', '/path', headers => {...}, body => '...', timeout => 20).
# Returns a reference to a hash: status, headers (lower case), body.

sub http {
    my ($nginx, $method, $path, %o) = @_;

    my $sse = Conduit::SSE->open($nginx->port, $method, $path, %o);
    my $ended = $sse->end($o{timeout} // 20);

    $sse->close;
    die "no end of $method $path" if !$ended;

    return { status => $sse->status, headers => $sse->headers,
             body => $sse->body };
}


# Publishes through the publish module; fields as in xadd().  Returns the
# entry's ID.

sub publish {
    my ($nginx, %f) = @_;

    my $org = delete $f{org} // $ORG;
    my $channel = $f{channel_id} // $CHANNEL;

    my $r = http($nginx, 'POST', "/publish/$org/$channel",
                 body => message(%f),
                 headers => { 'Content-Type' => 'application/x-protobuf',
                              Authorization => 'Bearer ' . publish_token() });

    die "publish: $r->{status} $r->{body}" if $r->{status} != 200;
    return $r->{body};
}


# The path of a channel's events, with a token for it.

sub events_path {
    my %o = @_;

    my $org = $o{org} // $ORG;
    my $channel = $o{channel_id} // $CHANNEL;
    my $token = $o{token}
                // gateway_token(org_id => 0 + $org, channel_id => $channel);

    return "/events/$org?token=$token&channel_id=$channel"
           . (defined $o{last_event_id}
              ? "&last_event_id=$o{last_event_id}" : '');
}


# Opens an event stream and waits for its response header; see Conduit::SSE.
# Options are those of events_path(), and path, headers, timeout, rcvbuf.

sub sse_open {
    my ($nginx, %o) = @_;

    my $path = $o{path} // events_path(%o);

    return Conduit::SSE->open($nginx->port, 'GET', $path,
                              map { $_ => $o{$_} }
                                  qw(headers timeout rcvbuf));
}


# --- small things

# A free port, another one each time.  Suites that run at the same time have
# separate ranges, and each reserves its range by listening at the first port of
# it.  All ranges are below the ports that the kernel gives to connections, and
# the port of a cluster's bus, 10000 above, is in no range.

my ($PORT, $PORTS, $RANGES) = (10_000, 250, 40);

sub free_port {
    state ($holder, $next, $end);

    for (1 .. 1000) {
        if (!$holder || $next == $end) {
            $holder = port_range();
            $next = $holder->sockport + 1;
            $end = $holder->sockport + $PORTS;
        }

        my $port = $next++;

        return $port if listener($port);
    }

    die 'no free port';
}


# The listener that reserves a range.  The search begins at a random range, so
# that the next suite does not get the ports of one that has just ended.

sub port_range {
    my $start = int rand $RANGES;

    for (0 .. $RANGES - 1) {
        my $first = $PORT + ($start + $_) % $RANGES * $PORTS;
        my $holder = listener($first);

        return $holder if $holder;
    }

    die 'no free range of ports';
}


sub listener {
    my $port = shift;

    return IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 1,
                                 ReuseAddr => 1);
}


# The seed of a suite that makes random choices: the same in each run, so that a
# failure is due to a change and not to chance.  The environment variable of
# that name, or CONDUIT_SEED for all suites, sets another seed; "random" draws
# one.  The seed is printed in any case, and set.

sub draw_by_seed {
    my $name = shift // 'CONDUIT_SEED';

    my $seed = $ENV{$name} // $ENV{CONDUIT_SEED} // 1;
    $seed = int(time * 1000) % 1_000_000_000 if $seed eq 'random';

    Test::More::diag("$name=$seed");
    srand $seed;

    return $seed;
}


# Waits until a process that got a SIGSTOP has stopped.

sub stopped {
    my $pid = shift;

    return wait_for(20, sub { read_file("/proc/$pid/stat") =~ /\) [Tt] / });
}


sub read_file {
    my $name = shift;

    open my $fh, '<:raw', $name or die "$name: $!";
    local $/;
    return scalar(<$fh>) // '';
}


sub write_file {
    my ($name, $content) = @_;

    open my $fh, '>:raw', $name or die "$name: $!";
    print $fh $content;
    close $fh or die "$name: $!";
    return $name;
}


# Waits until a condition holds, at most so many seconds; returns its value.

sub wait_for {
    my ($seconds, $condition) = @_;

    my $deadline = time + $seconds * ($ENV{TEST_NGINX_USE_VALGRIND} ? 10 : 1);

    while (1) {
        my $value = $condition->();
        return $value if $value;
        return 0 if time > $deadline;
        sleep 0.01;
    }
}


sub set_up {
    $TMP = tempdir('conduit-XXXXXX', TMPDIR => 1, CLEANUP => 0);
    chmod 0755, $TMP;

    $REDIS_SOCK = "$TMP/redis.sock";
    $alert_log = "$TMP/alerts.log";

    write_file("$TMP/secret", 'a secret that is long enough for HMAC-SHA256');

    system("openssl genrsa -out $TMP/key.pem 2048 2>/dev/null"
           . " && openssl rsa -in $TMP/key.pem -pubout -out $TMP/key.pub"
           . " 2>/dev/null") == 0 or die "openssl failed";

    redis_start();

    $ENV{TEST_NGINX_REDIS_PORT} = $REDIS_PORT;
    $ENV{TEST_NGINX_REDIS_SOCK} = $REDIS_SOCK;
    $ENV{TEST_NGINX_SECRET_FILE} = "$TMP/secret";
    $ENV{TEST_NGINX_KEY_FILE} = "$TMP/key.pub";
    $ENV{TEST_NGINX_TMP} = $TMP;

    $ENV{TEST_NGINX_BINARY} ||= '/usr/sbin/nginx';
    # Test::Nginx would skip its blocks
    -x $ENV{TEST_NGINX_BINARY}
        or die "TEST_NGINX_BINARY: no program $ENV{TEST_NGINX_BINARY}\n";
    $ENV{TEST_NGINX_SERVROOT} ||= "$TMP/servroot";
    $ENV{TEST_NGINX_SERVER_PORT} ||= free_port();
    $ENV{TEST_NGINX_MASTER_PROCESS} //= 'on';
    $ENV{TEST_NGINX_WORKER_USER} //= 'root' if $> == 0;
    # s, of a client, and for NGINX to quit: beyond that it is killed
    $ENV{TEST_NGINX_TIMEOUT} ||= 30;
    $ENV{TEST_NGINX_LOAD_MODULES} //= join ' ',
        map { "$MODULES/ngx_conduit_${_}_module.so" } qw(publish gateway);
}


# Test::Nginx removes its logs with each block, so the suite writes logs of its
# own.

sub watch_logs {
    Test::Nginx::Util::add_block_preprocessor(sub {
        my $block = shift;

        $block->set_value('main_config', "error_log $alert_log info;\n"
                                         . ($block->main_config // ''));
        $block->set_value('http_config', "access_log $TMP/access.log;\n"
                                         . ($block->http_config // ''));
    });
}


# Test::Nginx runs the Perl of a block ("eval", "--- init") in its own packages.
# Two names already exist there, and are not exported.

sub export_to_blocks {
    my @names = grep { !/^(?:read|write)_file$/ } @EXPORT;

    Exporter::export('Conduit', $_, @names)
        for qw(Test::Base::Filter Test::Nginx::Util);
}


sub tear_down {
    my $status = shift;

    my @alerts = Conduit::Nginx->tear_down;
    redis_stop();

    # [emerg] is left out: a block may want NGINX not to start
    push @alerts, grep { /\[alert\]/ } split /^/, read_file($alert_log)
        if -f $alert_log;

    my @tokens = leaked_tokens();

    if (@alerts || @tokens) {
        print STDERR map({ "# error log: $_" } @alerts),
                     map { "# token in a log: $_" } @tokens;
        $status ||= 1;
    }

    if ($status && $ENV{CONDUIT_KEEP}) {
        print STDERR "# kept: $TMP\n";
    } else {
        remove_tree($TMP);
    }

    return $status;
}


$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);
$SIG{PIPE} = 'IGNORE';

set_up();

INIT {
    if ($INC{'Test/Nginx/Util.pm'}) {
        watch_logs();
        export_to_blocks();
    }
}

END {
    if ($$ == $owner && defined $TMP) {
        my $status = $?;
        $? = tear_down($status);
    }
}

1;
