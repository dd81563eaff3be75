# Copyright (C) Conduit for NGINX authors
#
# Tokens in lines that NGINX itself logs: nginx.conf.example, the demo and the
# proxy of docs/deploy.md get all kinds of bad requests with a token in the
# query, and no token is in a log.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Constructs::Client;
use Conduit::H2;
use IO::Socket::INET;
use Test::More;

my $tmp = $Conduit::TMP;
my $token = gateway_token();
my $query = "token=$token&channel_id=$CHANNEL";


# --- requests that go astray

my @PATHS = (
    "/event/$ORG", "/events", "/Events/$ORG", "/events$ORG", "/", "/event/",
    "/a/events/$ORG", "/events/$ORG/", "/events/x", "/events/", "/favicon.ico",
    "/publish/$ORG/$CHANNEL", "/publish/", "/publish", "/conduit/events/$ORG",
    "/conduit/", "/conduit/gateway", "/conduit/gateway/ready/x", "/%00", "/..",
    "/events/../../x", "/./event//x", '/' . 'a' x 300, '/' . 'a/' x 600,
    "/index.html/x", "/x.html/",
);


# Sends bytes as they are, and returns the status of the answer.  from is the
# address to send from; half: nothing follows; leave: without waiting.

sub raw {
    my ($port, $bytes, %o) = @_;

    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 20,
                                  LocalAddr => $o{from} // '127.0.0.1')
        or die "connect: $!";

    # the server may close before it has read all

    my $sent = 0;

    while ($sent < length $bytes) {
        my $n = $s->syswrite($bytes, 65536, $sent) or last;
        $sent += $n;
    }

    shutdown $s, 1 if $o{half};

    my $answer = '';
    my $select = IO::Select->new($s);

    while (!$o{leave} && $select->can_read(20)
           && $s->sysread($answer, 65536, length $answer))
    {
        last if $answer =~ /\r\n\r\n/;
    }

    close $s;
    return $answer =~ m{^HTTP/1\.\d (\d+)} ? $1 : 0;
}


sub request {
    my ($method, $target, @headers) = @_;

    return join "\r\n", "$method $target HTTP/1.1", 'Host: localhost',
        'Connection: close', @headers, '', '';
}


# All of it to one server; returns the statuses of the misspelt paths.  "but" are
# paths to leave out.

sub go_astray {
    my ($port, %o) = @_;

    my %status;

    for my $path (grep { !$o{but} || $_ !~ $o{but} } @PATHS) {
        my $target = "$path?$query";

        $status{$path} = raw($port, request('GET', $target));
        raw($port, request('GET', $target), from => '127.0.0.2');
        raw($port, request($_, $target)) for qw(HEAD DELETE OPTIONS TRACE);

        # bodies that are too large (what is below /publish/ has them read), and
        # one that makes no sense (below /conduit/, too)

        my $read = $path =~ m{^/publish/};

        raw($port, request('POST', $target, "Content-Length: $_")
                   . 'x' x ($_ < 100000 ? $_ : 0), half => 1)
            for 10, $read ? () : (40000, 5000000);
        raw($port, request('POST', $target, 'Transfer-Encoding: chunked')
                   . $_, half => 1)
            for "ffffff\r\nabc",
                $read || $path =~ m{^/conduit/} ? () : "no length\r\n";

        # the client leaves

        raw($port, substr(request('GET', $target), 0, -20), leave => 1);
        raw($port, request('GET', $target), leave => 1);
    }

    # what is wrong before there is a location

    my $events = "/events/$ORG?$query";

    raw($port, $_, half => 1) for
        request('GET', $events . '&x=' . 'x' x 40000),
        request('GET', $events, 'X: ' . 'x' x 40000),
        request('GET', $events, map { "X-$_: " . 'x' x 7000 } 1 .. 8),
        request('GET', $events, 'no header'),
        request('GET', $events, 'Content-Length: x'),
        request('GET', $events, 'Host: other'),
        request('GET', $events, "Authorization: Bearer $token",
                "Authorization: Bearer $token"),
        request('GET', $events, 'Transfer-Encoding: gzip'),
        request('get', $events), request('F?O', $events),
        "GET $events HTTP/1.1\r\n\r\n", "GET $events HTTP/3.0\r\n\r\n",
        "GET $events\r\n", "GET $events \0 HTTP/1.1\r\n\r\n";

    return \%status;
}


# Lines of the logs in a folder that have a token, or a part of one.

sub leaks {
    return map { my $file = $_;
                 map { "$file: $_" } grep { /eyJ[\w-]{8}/ }
                 split /^/, read_file($file) } glob "$_[0]/*.log";
}


# --- nginx.conf.example

package Example;

use parent -norequire, 'Conduit::Nginx';

sub conf {
    my ($self, %o) = @_;

    my $text = Conduit::read_file("$Conduit::ROOT/nginx.conf.example");
    my $root = $self->root;
    my $port = $self->port;
    my $temp = join '', map { "${_}_temp_path $root/temp;\n" }
                        qw(client_body proxy fastcgi uwsgi scgi);

    Conduit::write_file("$root/mime.types", "types { text/html html; }\n");

    for ($text) {
        s{/usr/lib/nginx/modules/}{$Conduit::MODULES/}g;
        s{^user .*\n}{}m;
        s{^worker_processes .*}{worker_processes 1;}m;
        s{^worker_rlimit_nofile .*}{worker_rlimit_nofile 4096;}m;
        s{worker_connections \d+}{worker_connections 1024};
        s{^pid .*}{pid nginx.pid;}m;
        s{/var/log/nginx/}{$root/logs/}g;
        s{/etc/nginx/mime\.types}{$root/mime.types};
        s{/etc/nginx/conduit/publish\.secret}{$Conduit::TMP/secret};
        s{/etc/nginx/conduit/gateway\.pem}{$Conduit::TMP/key.pub};
        s{/etc/nginx/}{$root/etc/}g;
        s{redis://127\.0\.0\.1:6379}{redis://127.0.0.1:$Conduit::REDIS_PORT}g;
        s{listen 127\.0\.0\.1:8080;}{listen 127.0.0.1:$port;};
        s{^http \{\n}{http \{\n$temp}m;

        $o{change}->() if $o{change};
    }

    return "daemon off;\n" . ($> == 0 ? "user root;\n" : '') . $text;
}

package main;


my $nginx = Example->start;
my $status = go_astray($nginx->port);

is_deeply [leaks($nginx->root . '/logs')], [],
          'the example: no token of a request that went astray is in a log';

is $status->{$_}, 404, "the example: GET $_ is a 404"
    for "/event/$ORG", '/events', "/publish/$ORG/$CHANNEL", '/conduit/';

my $access = read_file($nginx->root . '/logs/access.log');
my $error = read_file($nginx->root . '/logs/error.log');

like $access, qr{"GET /event/$ORG HTTP/1\.1" 404 }, 'its access log has them';
is join('', grep { !/client sent invalid chunked body/ } split /^/, $error), '',
   'its error log has nothing but lines about bodies';

my $sse = sse_open($nginx, path => "/events/$ORG?$query");
is $sse->status, 200, 'a subscriber is served';
$sse->close;

# what is to be logged still is: who may not publish, with a request line

is raw($nginx->port, request('POST', "/publish/$ORG/$CHANNEL",
                             'Content-Length: 0'), from => '127.0.0.2'), 403,
   'a publisher whose address is not allowed may not publish';
ok wait_for(20, sub { read_file($nginx->root . '/logs/error.log')
                      =~ m{access forbidden.*"POST /publish/$ORG/} }),
   'that address has a line in the error log';
is $nginx->stop, 0, 'the example stops';


# Limits that are reached, and at a level that is logged: the line has the
# request, and the request has no token any more.

$nginx = Example->start(change => sub {
    s/limit_(conn|req)_log_level \w+/limit_$1_log_level error/g;
    s/limit_conn conduit_addr \d+/limit_conn conduit_addr 1/g;
});

$sse = sse_open($nginx, path => "/events/$ORG?$query");

my $second = sse_open($nginx, path => "/events/$ORG?$query");
is $second->status, 200, 'a second client of an address is told to come again';
like $second->until(20, sub { $second->body =~ /retry: \d/ }) && $second->body,
     qr/^retry: [3-7]\d{3}$/m, 'later';
ok wait_for(20, sub { read_file($nginx->root . '/logs/error.log')
                      =~ /limiting connections.*token=xxxx/ }),
   'the line about the second client has a token that is masked';
$_->close for $sse, $second;
is_deeply [leaks($nginx->root . '/logs')], [],
          'the example, over its limits: no token is in a log';
is $nginx->stop, 0, 'the example stops again';


# --- the proxy of docs/deploy.md, without the servers behind it

my ($proxy) = read_file("$Conduit::ROOT/docs/deploy.md")
              =~ /^```nginx\n(upstream conduit .*?)^```$/ms;

my $port = free_port();
my $dead = free_port();

for ($proxy) {
    s{127\.0\.0\.1:808\d}{127.0.0.1:$dead}g;
    s{listen 443 .*;}{listen 127.0.0.1:$port;};
    s{^\s*ssl_.*\n}{}mg;
    s{/var/log/nginx/}{logs/}g;
}

# the levels are those that an edge has
$nginx = nginx_start(log_level => 'warn', http => $proxy);

is raw($port, request('GET', "/events/$ORG?$query")), 200,
   'the proxy of the documentation tells to come again';
go_astray($port, but => qr{^/publish});
is_deeply [leaks($nginx->root . '/logs')], [],
          'the proxy has no token in a log when nobody is behind it';
is $nginx->stop, 0, 'the proxy stops';


# --- the demo

SKIP: {
    my @missing = grep { my $tool = $_;
                         !grep { -x "$_/$tool" } split /:/, $ENV{PATH} }
                  qw(curl openssl redis-server);

    skip "the demo needs @missing", 3 if @missing;

    mkdir "$tmp/demo" or die "$tmp/demo: $!";
    chmod 0755, "$tmp/demo";

    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        $ENV{TMPDIR} = "$tmp/demo";

        # it runs "nginx -t", which leaves without giving anything back
        $ENV{ASAN_OPTIONS} .= ':detect_leaks=0' if defined $ENV{ASAN_OPTIONS};

        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$tmp/demo.out";
        open STDERR, '>&', \*STDOUT;
        exec "$Conduit::ROOT/demo/run" or POSIX::_exit(127);
    }

    my $said = sub { eval { read_file("$tmp/demo.out") } // '' };
    my $left;

    wait_for(120, sub { $said->() =~ /demo page is ready/
                        || ($left = waitpid $pid, POSIX::WNOHANG()) });

    my ($port) = $said->() =~ /NGINX on 127\.0\.0\.1:(\d+)/;
    my ($dir) = glob "$tmp/demo/conduit-demo.*";

    ok !$left && $port, 'the demo runs' or do { diag $said->(); last };

    # its own tokens are gone astray, too

    my ($own) = read_file("$dir/www/demo.json") =~ /(eyJ[^"]+)/;
    raw($port, request('GET', "/event/1?token=$own"));
    go_astray($port);

    is_deeply [leaks("$dir/log")], [],
              'the demo: no token of a request that went astray is in a log';

    kill 'TERM', $pid;
    ok wait_for(60, sub { waitpid($pid, POSIX::WNOHANG()) }), 'it stops';
}


done_testing();
