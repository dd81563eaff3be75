# Copyright (C) Conduit for NGINX authors
#
# Redis over TLS: which certificates NGINX trusts, which one it presents, what
# the log says when they do not match, and that the rest works as it does
# without TLS.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Fake;
use Conduit::Servers;
use IO::Socket::INET;
use IO::Socket::SSL;
use POSIX ();
use Socket qw(IPPROTO_TCP TCP_CORK);
use Test::More;
use Time::HiRes qw(sleep time);

my $tmp = $Conduit::TMP;


# --- what is needed

{
    my $load = join '', map { "load_module $Conduit::MODULES/"
                              . "ngx_conduit_${_}_module.so;\n" }
                        qw(publish gateway);
    my $temp = join '', map { "${_}_temp_path $tmp/$_; " }
                        qw(client_body proxy fastcgi uwsgi scgi);

    write_file("$tmp/t.conf", "${load}pid $tmp/t.pid; error_log $tmp/t.log;\n"
               . "events {} http { access_log off; $temp server {\n"
               . "listen 127.0.0.1:1; location / { conduit_publish_auth off;\n"
               . "conduit_publish rediss://127.0.0.1; } } }\n");

    local $ENV{ASAN_OPTIONS} = "$ENV{ASAN_OPTIONS}:detect_leaks=0"
        if defined $ENV{ASAN_OPTIONS};

    my $out = `$ENV{TEST_NGINX_BINARY} -t -c $tmp/t.conf -e $tmp/t.log 2>&1`;

    plan skip_all => 'the modules are built without TLS to Redis'
        if $out =~ /"rediss" is not supported/;
}


sub openssl {
    system("cd $tmp && openssl @_ >>openssl.log 2>&1") == 0
        or die "openssl @_:\n" . read_file("$tmp/openssl.log");
}

my $new = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';

sub authority {
    my $name = shift;

    openssl("req $new -x509 -days 2 -subj '/CN=$name'"
            . " -keyout $name.key -out $name.crt");
}

# A certificate of an authority for the names given (as openssl writes them).

sub certificate {
    my ($name, $ca, $names, $dates) = @_;

    write_file("$tmp/$name.ext", $names ? "subjectAltName=$names\n" : '');
    openssl("req $new -subj '/CN=$name' -keyout $name.key -out $name.csr");
    openssl("x509 -req -in $name.csr -CA $ca.crt -CAkey $ca.key"
            . " -CAcreateserial -extfile $name.ext -out $name.crt "
            . ($dates // '-days 2'));
}

authority($_) for qw(ca stranger);
certificate('server', 'ca', 'DNS:localhost,IP:127.0.0.1');
certificate('local', 'ca', 'DNS:localhost');
certificate('named', 'ca', 'DNS:redis.example,DNS:*.redis.example');
certificate('client', 'ca');
certificate('unknown', 'stranger');

eval {
    certificate('expired', 'ca', 'DNS:localhost,IP:127.0.0.1',
                '-not_before 20200101000000Z -not_after 20200102000000Z');
    1;
} or certificate('expired', 'ca', 'DNS:localhost,IP:127.0.0.1', '-days -1');


# A server with TLS, and without it for the suite, at another port.

my $servers = Conduit::Servers->new;

sub options {
    my ($name, @more) = @_;

    return ('--bind', '127.0.0.1', '-::1', '--tls-port', 'TLS_PORT',
            '--tls-cert-file', "$tmp/$name.crt",
            '--tls-key-file', "$tmp/$name.key",
            '--tls-ca-cert-file', "$tmp/ca.crt",
            '--tls-auth-clients', 'no', @more);
}

my $server = eval { $servers->start(options('server')) };

plan skip_all => "redis-server has no TLS: $@" if !$server;

sub url {
    my ($port, $host) = @_;

    return 'rediss://' . ($host // '127.0.0.1') . ':'
           . $servers->tls_port($port);
}


# An NGINX whose locations have these directives of TLS, as
# "trusted_certificate FILE; verify off;".

sub edge {
    my ($url, $ssl, %o) = @_;

    my $more = $o{more} // '';

    $ssl =~ s{(\S+) (\S+);}{conduit_X_redis_ssl_$1 $2;}g;
    $ssl =~ s{ (\w+\.(?:crt|key));}{ $tmp/$1;}g;
    $ssl .= $o{both} // '';

    return nginx_start(
        http => $o{http}, events => $o{events},
        server => publish_location('conduit_publish_rate off;' . $more
                                   . $ssl =~ s/_X_/_publish_/gr, redis => $url)
                  . gateway_location('conduit_gateway_drain 200ms;'
                                     . $ssl =~ s/_X_/_gateway_/gr,
                                     redis => $url)
                  . ($o{server} // ''));
}

sub try_publish {
    my ($nginx, %f) = @_;

    return http($nginx, 'POST', "/publish/$ORG/" . ($f{channel_id} // $CHANNEL),
                body => message(%f), timeout => 20,
                headers => { Authorization => 'Bearer ' . publish_token() });
}

sub lines {
    my ($nginx, $level, $role) = @_;

    return grep { /\[$level\].* conduit: redis \S+ $role: / }
           split /\n/, $nginx->error_log;
}

my $TRUST = 'trusted_certificate ca.crt;';


# --- what works

# Under memcheck, a handshake may well take longer than it is given.

sub no_error {
    my $nginx = shift;

    my @lines = grep { /\[error\].* conduit: / }
                split /\n/, $nginx->error_log;

    @lines = grep { !/timed out|in time/ } @lines if $ENV{CONDUIT_CHECKED};

    is join("\n", @lines), '', 'no error is logged with TLS that works';
}


# A message that is published arrives.

sub works {
    my ($nginx, $name) = @_;

    my $id = uuid();
    my $sse = sse_open($nginx, channel_id => $id);
    my $r = try_publish($nginx, channel_id => $id);

    is $r->{status}, 200, "$name: a message is taken";
    is eval { $sse->event(30)->{id} }, $r->{body}, "$name: a message arrives";
    is $nginx->stop, 0, 'NGINX quits';
    no_error($nginx);
}

works(edge(url($server), $TRUST), 'an address');
works(edge(url($server, 'localhost'), $TRUST), 'a name');
works(edge(url($server), 'verify off;'), 'no verification');
works(edge(url($server, 'localhost'), "$TRUST name 127.0.0.1;"),
      'a name that is an address');

works(edge(url($servers->start(options('server', '--tls-protocols',
                                        'TLSv1.2'))), $TRUST), 'TLS 1.2');

my $named = $servers->start(options('named'));

works(edge(url($named), "$TRUST name redis.example;"), 'another name');
works(edge(url($named), "$TRUST name a.redis.example;"), 'any name of a domain');

{
    local $ENV{SSL_CERT_FILE} = "$tmp/ca.crt";

    works(edge(url($server), ''), "the system's authorities");
}


# --- what does not

# Publishing is refused, clients wait; the log says why, once for each
# connection, and it is not tried more often than it should.

sub fails {
    my ($url, $ssl, $why, $name) = @_;

    my $nginx = edge($url, $ssl,
                     both => 'conduit_X_connect_timeout 2s;');
    my $started = time;
    my $r = try_publish($nginx);

    is $r->{status}, 503, "$name: a message is not taken";
    like $r->{body}, qr/not stored/, "$name: a message is not stored";

    my $sse = sse_open($nginx);
    is $sse->status, 200, "$name: a client may wait";

    wait_for(20, sub { lines($nginx, 'error', $_) or return 0
                       for qw(publish reader bell); 1 });
    sleep 1.5;

    for my $role (qw(publish reader bell)) {
        my @lines = lines($nginx, 'error', $role);

        # a server may refuse in more than one way

        my %reasons = map { /\((.+)\), next try in/ ? ($1 => 1) : () } @lines;

        is scalar(@lines), scalar(keys %reasons),
            "$name: $role has one error line for each reason";
        is join("\n", grep { !/connect failed \($why\), next try in/ } @lines),
            '', "$name: $role logs why";
        cmp_ok scalar(lines($nginx, 'info', $role)), '<', 20,
            "$name: $role does not try again too often";
    }

    note +(lines($nginx, 'error', 'publish'))[0];

    $sse->close;
    is $nginx->stop, 0, 'NGINX quits';
}

fails(url($server), 'trusted_certificate stranger.crt;',
      'certificate verify failed: (?:unable|self).*', 'an unknown authority');
fails(url($server), '',
      'certificate verify failed: (?:unable|self).*', 'an unknown authority');
fails(url($named), $TRUST, 'certificate verify failed: IP address mismatch',
      'another address');
fails(url($named, 'localhost'), $TRUST,
      'certificate verify failed: host ?name mismatch', 'another host');
fails(url($server), "$TRUST name redis.example;",
      'certificate verify failed: host ?name mismatch', 'another name is set');

my $expired = $servers->start(options('expired'));

fails(url($expired), $TRUST,
      'certificate verify failed: certificate has expired', 'an old one');

my $strict = $servers->start(options('server', '--tls-auth-clients', 'yes'));

# the connection may be reset before the alert is read

my $refused = '(?:TLS: .*(?:alert|certificate).*|Server closed the connection'
              . '|(?:\d+: )?(?:Connection reset by peer|Broken pipe))';

fails(url($strict), $TRUST, $refused, 'a client without a certificate');
fails(url($strict), "$TRUST certificate unknown.crt;"
                    . 'certificate_key unknown.key;', $refused,
      'a client of an unknown authority');
works(edge(url($strict), "$TRUST certificate client.crt;"
                         . 'certificate_key client.key;'),
      'a client with its certificate');

# what Redis makes of a handshake is up to the bytes

fails("rediss://127.0.0.1:$server", $TRUST,
      '(?:no TLS handshake in time|TLS: .*|Server closed the connection)',
      'a server without TLS');

my $pretender = IO::Socket::INET->new(LocalAddr => '127.0.0.1:0', Listen => 99)
    or die "no port: $!";

fails('rediss://127.0.0.1:' . $pretender->sockport, $TRUST,
      'no TLS handshake in time', 'a server that says nothing');

# its queue is full: what comes then is not answered

my $full = IO::Socket::INET->new(LocalAddr => '127.0.0.1:0', Listen => 1)
    or die "no port: $!";
my @queued = map {
    IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $full->sockport,
                          Blocking => 0)
} 1 .. 4;

fails('rediss://127.0.0.1:' . $full->sockport, $TRUST, 'timed out',
      'a server that takes no connection');

fails('rediss://127.0.0.1:' . free_port(), $TRUST, '.*Connection refused',
      'a server that is not there');


# --- one place in the configuration, two kinds of trust

my $two = nginx_start(server => join '', map {
    my ($path, $ssl) = @$_;

    publish_location("conduit_publish_redis_ssl_trusted_certificate $tmp/$ssl;",
                     redis => url($server)) =~ s{/publish/}{/$path/}r;
} (['publish', 'ca.crt'], ['doubt', 'stranger.crt']));

my %statuses = map {
    my $path = $_;

    $path => http($two, 'POST', "/$path/$ORG/$CHANNEL", body => message(),
                  headers => { Authorization => 'Bearer ' . publish_token() })
             ->{status}
} qw(publish doubt);

is_deeply \%statuses, { publish => 200, doubt => 503 },
    'locations that trust differently have connections of their own';
is $two->stop, 0, 'NGINX quits';


# --- NGINX's own TLS, which shares OpenSSL's queue of errors

for my $trusted (qw(ca stranger)) {
    my $port = free_port();
    my $nginx = edge(url($server), "trusted_certificate $trusted.crt;",
                     http => "ssl_certificate $tmp/server.crt;"
                             . "ssl_certificate_key $tmp/server.key;",
                     server => "listen 127.0.0.1:$port ssl;");

    my @clients = map { sse_open($nginx) } 1 .. 3;
    my $status = join ' ', map {
        `curl -sk -o /dev/null -w '%{http_code}' https://127.0.0.1:$port/none`
    } 1 .. 20;

    is $status, join(' ', (404) x 20), "HTTPS goes on, trust in $trusted";
    unlike $nginx->error_log, qr/stale global SSL error/,
        "HTTPS leaves no error of OpenSSL, trust in $trusted";
    $_->close for @clients;
    is $nginx->stop, 0, 'NGINX quits';
}


# --- much data

my $nginx = edge(url($server), $TRUST, more => 'conduit_publish_max_size 8m;'
                 . 'client_max_body_size 8m; client_body_buffer_size 8m;');

my $id = uuid();
my @acked = map { try_publish($nginx, channel_id => $id, sequence => $_,
                              payload => { v => 'x' x 12_000 })->{body} }
            1 .. 60;
my $sse = sse_open($nginx, channel_id => $id, last_event_id => '0-1');

# the first event says that the position is of no stream that is there

is_deeply [map { $_->{id} } $sse->events(61)], ['0-1', @acked],
    'replies of many records arrive';
$sse->close;

$servers->pause_for($server, 0.5);

my $r = try_publish($nginx, channel_id => uuid(),
                    payload => { v => 'x' x 6_000_000 });

is $r->{status}, 200, 'a command that meets a full socket is sent';
is try_publish($nginx)->{status}, 200,
    'a command after one that met a full socket is sent';


# --- two records that come in one segment

# Answers when it has two messages, each in a record.  OpenSSL must leave the
# second one in the socket, or nobody is told that it is there.

sub answer_in_pairs {
    my ($listener) = @_;

    my $s = $listener->accept or die "accept: $!";
    my ($input, @answers) = '';

    while ($s->sysread($input, 65536, length $input)) {
        while (my (undef, $name) = Conduit::Fake::take_command(\$input)) {
            if ($name eq 'PING') {
                $s->syswrite("+PONG\r\n");
                next;
            }

            push @answers, sprintf "\$3\r\n1-%d\r\n", 1 + @answers;
            next if @answers != 2;

            setsockopt $s, IPPROTO_TCP, TCP_CORK, 1 or die "cork: $!";
            $s->syswrite($_) for @answers;
            setsockopt $s, IPPROTO_TCP, TCP_CORK, 0 or die "cork: $!";
        }
    }
}

my $pairs = IO::Socket::SSL->new(LocalAddr => '127.0.0.1:0', Listen => 5,
                                 SSL_server => 1,
                                 SSL_cert_file => "$tmp/server.crt",
                                 SSL_key_file => "$tmp/server.key")
    or die "no port: $!";
my $answering = fork() // die "fork: $!";

if ($answering == 0) {
    eval { answer_in_pairs($pairs); 1 } or warn $@;
    POSIX::_exit(0);
}

my $edge = edge('rediss://127.0.0.1:' . $pairs->sockport, $TRUST);
my @posts = map {
    my $s = IO::Socket::INET->new('127.0.0.1:' . $edge->port)
        or die "connect: $!";
    $s->syswrite(publish_request());
    $s;
} 1 .. 2;

is_deeply [sort map { local $/; <$_> =~ /\A\S+ (\d+) .*\r\n\r\n(.*)\z/s
                      ? "$1 $2" : 'none' } @posts],
    ['200 1-1', '200 1-2'], 'the second of two records in a segment is read';
is $edge->stop, 0, 'NGINX quits';

kill 'KILL', $answering;
waitpid $answering, 0;


# --- a server that restarts

$id = uuid();
$sse = sse_open($nginx, channel_id => $id);
@acked = ();

for my $sequence (1 .. 3) {
    push @acked, try_publish($nginx, channel_id => $id)->{body};
}

is_deeply [map { $_->{id} } $sse->events(3)], \@acked,
    'messages arrive before the server restarts';
@acked = ();

$servers->kill($server);

ok wait_for(20, sub {
    try_publish($nginx, channel_id => $id)->{status} == 503
}),
    'without the server, messages are refused';
like +(lines($nginx, 'error', 'publish'))[0],
    qr/connection lost \((?:Server closed the connection|Connection reset)/,
    'the log says why messages are refused without the server';

$servers->run($server);

ok wait_for(20, sub {
    my $r = try_publish($nginx, channel_id => $id);

    push @acked, $r->{body} if $r->{status} == 200;
    return @acked == 5;
}), 'the server is back: messages are taken';

is_deeply [map { $_->{id} } $sse->events(5)], \@acked,
    'the server is back: messages arrive in the same response';
ok wait_for(20, sub { 3 == lines($nginx, 'warn', '\S+') }),
    'the server is back: each connection is up again';


# --- reloads

for (1 .. 5) {
    my $waiting = sse_open($nginx, channel_id => $id);

    $nginx->reload;
    ok $waiting->end(20), 'a reload ends a response';
    $waiting->close;
}

is try_publish($nginx, channel_id => $id)->{status}, 200,
    'after reloads a message is taken';
is $nginx->stop, 0, 'NGINX quits';


# --- a cluster

my $cluster = Conduit::Servers->cluster(replicas => 0,
                                        options => [options('server')]);
my @ports = $cluster->masters;

$nginx = edge('rediss+cluster://127.0.0.1:' . $cluster->tls_port($ports[0]),
              $TRUST);

for my $port (@ports) {
    $id = $cluster->channel_on($port);

    $sse = sse_open($nginx, channel_id => $id);
    $r = try_publish($nginx, channel_id => $id);

    is $r->{status}, 200, 'a master of a cluster takes a message';
    is eval { $sse->event(30)->{id} }, $r->{body},
        'a message to a master of a cluster arrives';
    $sse->close;
}

# the key, its slot on the way, is followed from port to port of TLS

my $step = $cluster->migration(stream_key($ORG, $id), $ports[0]);

$step->open;
$step->move;
$step->close;

ok wait_for(20, sub {
    try_publish($nginx, channel_id => $id)->{status} == 200
}), 'a slot that has moved is followed to the TLS port of its new master';
is $nginx->stop, 0, 'NGINX quits';
no_error($nginx);


# its nodes are checked by the names they announce

$cluster = Conduit::Servers->cluster(
    replicas => 0,
    options => [options('local', '--cluster-announce-hostname', 'localhost',
                        '--cluster-preferred-endpoint-type', 'hostname')]);
@ports = $cluster->masters;

$nginx = edge('rediss+cluster://localhost:' . $cluster->tls_port($ports[0]),
              $TRUST);

is_deeply [map {
    my $port = $_;

    $id = $cluster->channel_on($port);
    try_publish($nginx, channel_id => $id)->{status};
} @ports], [200, 200, 200], 'certificates of names, in a cluster of names';

# the seed is gone, and one of the others is asked

sleep 1.5;
$cluster->kill($ports[0]);

ok wait_for(20, sub {
    my @up = grep { /topology: connected again/ } split /\n/, $nginx->error_log;

    return scalar @up;
}), 'another node is asked';
unlike $nginx->error_log, qr/certificate verify failed/,
    'the other node is trusted';
is $nginx->stop, 0, 'NGINX quits';


# --- Sentinels

{
    my $port = Conduit::Servers::unused_port();
    my $dir = "$tmp/sentinel-$port";
    my $master = $servers->tls_port($server);

    my $tls = Conduit::Servers::unused_port();

    mkdir $dir or die "$dir: $!";
    write_file("$dir/sentinel.conf", <<"EOC");
port $port
bind 127.0.0.1 -::1
dir $dir
tls-port $tls
tls-cert-file $tmp/server.crt
tls-key-file $tmp/server.key
tls-ca-cert-file $tmp/ca.crt
tls-auth-clients no
tls-replication yes
sentinel monitor mymaster 127.0.0.1 $master 1
EOC

    $servers->{servers}{$port} = { dir => $dir,
                                   command => ["$dir/sentinel.conf",
                                               '--sentinel'] };
    $servers->run($port);

    works(edge("rediss+sentinel://localhost:$tls/mymaster", $TRUST),
          'a master that a Sentinel names');

    $nginx = edge("rediss+sentinel://localhost:$tls/mymaster",
                  'trusted_certificate stranger.crt;');
    is try_publish($nginx)->{status}, 503,
        'a Sentinel that is not trusted: a message is not taken';
    like +(lines($nginx, 'error', 'topology'))[0],
        qr/certificate verify failed/,
            'the log says that a Sentinel is not trusted';
    is $nginx->stop, 0, 'NGINX quits';
}

done_testing();
