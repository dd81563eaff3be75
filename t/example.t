# Copyright (C) Conduit for NGINX authors
#
# nginx.conf.example as it is shipped, except for paths, ports and the values of
# its limits: it works, and a client over a limit is refused.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Test::More;

my $DIR = "$Conduit::TMP/conduit";

mkdir $_ or die "$_: $!" for $DIR, map { "$DIR/$_" }
    qw(locations conf.d sites-enabled);

write_file("$DIR/publish.secret", read_file("$Conduit::TMP/secret"));
write_file("$DIR/gateway.pem", read_file("$Conduit::TMP/key.pub"));
write_file("$DIR/mime.types", "types { text/html html; }\n");
write_file("$DIR/conf.d/temp.conf",
           join '', map { "${_}_temp_path $DIR/temp;\n" }
                    qw(client_body proxy fastcgi uwsgi scgi));

# a site that has nothing to do with the example

my $other_port = free_port();

write_file("$DIR/sites-enabled/other",
           "server { listen 127.0.0.1:$other_port;"
           . ' location / { return 200 "another site"; } }');

system("openssl genrsa -out $DIR/other.pem 2048 2>/dev/null") == 0
    or die 'openssl failed';

my $nginx;


# an NGINX with the example, changed in some places

sub start {
    my @changes = @_;

    $nginx->stop("TERM") if $nginx;
    $nginx = Example::Nginx->start(changes => \@changes);
}

sub client {
    my ($org, %o) = @_;

    my $sse = sse_open($nginx, org => $org, channel_id => uuid(), %o);

    $sse->until(20, sub { $sse->body =~ /\n\n/ || $sse->{ended} });
    $sse->close if !$o{open};

    return $sse;
}

sub post {
    my ($org, @claims) = @_;

    return http($nginx, 'POST', "/publish/$org/$CHANNEL", body => message(),
                headers => { Authorization => 'Bearer '
                             . publish_token(org_id => 0 + $org, @claims) });
}

sub post_json {
    my ($channel_id, $type, $body) = @_;

    return http($nginx, 'POST', "/publish/1/$channel_id", body => $body,
                headers => { Authorization => 'Bearer '
                             . publish_token(org_id => 1),
                             'Content-Type' => $type });
}

sub is_served {
    my ($sse, $name) = @_;

    is $sse->status . ' ' . $sse->body, "200 retry: 500\n\n", $name;
}

# what an EventSource comes back after, and a page of any origin may read

sub is_sent_away {
    my ($sse, $name) = @_;

    like $sse->status . ' ' . $sse->body, qr/\A200 retry: [3-7]000\n\n\z/,
        $name;
    is $sse->headers->{'content-type'}, 'text/event-stream',
        'the answer is an event stream';
    is $sse->headers->{'access-control-allow-origin'}, '*',
        'a page of another origin may read it';
}

sub is_denied {
    my ($sse, $name) = @_;

    is $sse->status, 401, $name;
}

sub is_quiet {
    is grep({ /\[(?:warn|error|crit|alert)\]/ } split /^/, $nginx->error_log),
        0, 'nothing of it is in a log of the level "warn"';
    unlike $nginx->access_log, qr/eyJ/, 'no token is in the access log';
}

my @forged = (token => gateway_token(org_id => 1, -key => "$DIR/other.pem"));


# --- as it is

start();

my $checked = do {

    # "nginx -t" leaves without giving anything back
    local $ENV{ASAN_OPTIONS} = ($ENV{ASAN_OPTIONS} // '') . ':detect_leaks=0';

    `$ENV{TEST_NGINX_BINARY} -t -p $nginx->{root} -c nginx.conf \\
         -e logs/checked.log 2>&1`;
};

like $checked, qr/test is successful/, 'the example is accepted';
unlike $checked, qr/\[warn\]/, 'nothing in it is warned of';

my @many = map { client(1, open => 1) } 1 .. 60;

is grep({ $_->body eq "retry: 500\n\n" } @many), 60,
    'sixty clients that come at once from one address are let in';
$_->close for @many;

is_served client(1), 'a client';
is post(1)->{status}, 200, 'a publisher';
is post(1, org_id => 2)->{status}, 403, 'a publisher of another organization';

my $site = Conduit::SSE->open($other_port, 'GET', '/');

$site->end;
is $site->body, 'another site', 'a site of sites-enabled is served, too';
$site->close;
is_quiet;


# --- JSON

my $channel = uuid();
my $listener = sse_open($nginx, org => 1, channel_id => $channel);

my $hello = post_json($channel, 'application/json',
                      '{"payload": {"value": "hello"}}');
my $batch = post_json($channel, 'application/x-ndjson',
                      qq({"phase": "DELTA"}\n{"phase": "END"}\n));

is "$hello->{status} $hello->{headers}{'conduit-sequence'}", '200 1',
    'a message in JSON has the first sequence of its stream';
is $batch->{status}, 200, 'a batch in JSON';

is_deeply [map { [$_->{id}, @{ $_->{json} }{qw(phase sequence payload)}] }
               $listener->events(3)],
    [[$hello->{body}, 'PHASE_DELTA', 1, { value => 'hello' }],
     map { [(split /\n/, $batch->{body})[$_],
            ('PHASE_DELTA', 'PHASE_END')[$_], $_ + 2, undef] } 0, 1],
    'a client gets the messages, with the IDs of the replies';
$listener->close;

my $over = post_json($channel, 'application/json',
                     '{"payload": {"value": "' . 'x' x 20_000 . '"}}');

is $over->{status}, 413, 'a message in JSON that is too large';
like $over->{body}, qr/16384/, 'the module says the limit, not NGINX';

my $not = post_json($channel, 'application/json', '{"payload": ');

is $not->{status}, 400, 'what is no JSON';
like $not->{body}, qr/line 1/, 'the reply says where';
is_quiet;


# --- what a client keeps

SKIP: {
    skip 'NGINX is built without --with-debug', 3
        if `$ENV{TEST_NGINX_BINARY} -V 2>&1` !~ /--with-debug\b/;

    start([qr{error_log logs/error\.log info}, 'error_log logs/error.log debug']);

    my ($size) = read_file("$nginx->{root}/nginx.conf")
                 =~ /request_pool_size (\d+)/;
    my $org = '1234567890123456';
    my $resumed = uuid();
    my @add = (org => $org, channel_id => $resumed);

    xadd(@add, sequence => $_) for 1 .. 10;

    my $first = redis('XRANGE', stream_key($org, $resumed), '-', '+')->[0][0];
    my $sse = sse_open($nginx, org => $org, channel_id => $resumed, headers => {
        'Last-Event-ID' => $first,
        'Connection' => 'keep-alive',
        'Accept' => 'text/event-stream',
        'sec-ch-ua-platform' => '"Linux"',
        'User-Agent' => 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36'
                        . ' (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36',
        'sec-ch-ua' => '"Chromium";v="131", "Not_A Brand";v="24"',
        'sec-ch-ua-mobile' => '?0',
        'Cache-Control' => 'no-cache',
        'Origin' => 'https://app.example.com',
        'Sec-Fetch-Site' => 'same-site',
        'Sec-Fetch-Mode' => 'cors',
        'Sec-Fetch-Dest' => 'empty',
        'Referer' => 'https://app.example.com/',
        'Accept-Encoding' => 'gzip, deflate, br, zstd',
        'Accept-Language' => 'en-US,en;q=0.9',
    });

    is_deeply [map { $_->{json}{sequence} } $sse->events(9)], [2 .. 10],
        'a browser that comes back gets the history';
    xadd(@add, sequence => $_) for 11 .. 13;
    is_deeply [map { $_->{json}{sequence} } $sse->events(3)], [11 .. 13],
        'a browser that comes back gets what follows';

    my @blocks = $nginx->error_log
                 =~ /\*(\d+) posix_memalign: \w+:$size /g;

    is scalar(@blocks), 1, 'the request pool of a browser is one block';
    $sse->close;
}


# --- clients of an organization

start([qr/rate=1000r\/s/, 'rate=1r/m'], [qr/burst=10000/, 'burst=1']);

is_denied client(1, @forged), "forged client $_ of organization 1"
    for 1 .. 3;
is_served client(1), "client $_ of organization 1" for 1 .. 2;
is_sent_away client(1), 'the next one is told to come later';
is_served client(2), 'organization 2 is not concerned';
is post(1)->{status}, 200, 'publishers of organization 1 are not either';
is_quiet;

start([qr/limit_conn conduit_org 10000/, 'limit_conn conduit_org 1']);

my $open = client(1, open => 1);

is_served $open, 'a stream of organization 1';
is_sent_away client(1), 'a second one at the same time';
is_denied client(1, @forged), 'a forged one is told nothing';
is_served client(2), 'a stream of organization 2';
is_quiet;


# --- clients of an address

start([qr/rate=50r\/s/, 'rate=1r/m'], [qr/burst=400/, 'burst=1']);

is_denied client(1, @forged), "forged client $_ of an address" for 1 .. 2;
is_sent_away client(1, @forged), 'the next forged one is told to come later';
is_sent_away client(1), 'a good one of that address as well';
is_quiet;

is grep({ /sent an invalid token/ } split /^/, $nginx->error_log), 2,
    'those over the limit cost no signature';

start([qr/limit_conn conduit_addr 200/, 'limit_conn conduit_addr 1']);

$open = client(1, open => 1);

is_served $open, 'a stream of an address';
is_sent_away client(2), 'a second one of another organization';
is_quiet;


# --- publishers of an organization

start([qr/rate=2000r\/s/, 'rate=1r/m'], [qr/burst=2000/, 'burst=1']);

is post(1, -key => 'none of the keys of publishers')->{status}, 401,
    "forged message $_ of organization 1" for 1 .. 3;
is post(1)->{status}, 200, "message $_ of organization 1" for 1 .. 2;

my $r = post(1);

is "$r->{status} $r->{body}", '429 Rate limit of the organization exceeded',
    'the next one is over the limit';
is $r->{headers}{'retry-after'}, 1,
    'a publisher over the limit is told when to try again';
is $r->{headers}{'content-type'}, 'text/plain', 'in plain text';
is post(2)->{status}, 200, 'organization 2 can publish';
is_served client(1), 'clients of organization 1 can listen';
is_quiet;

done_testing();


package Example::Nginx;

use parent -norequire, 'Conduit::Nginx';

sub conf {
    my ($self, %o) = @_;

    my $text = Conduit::read_file("$Conduit::ROOT/nginx.conf.example");

    # what has to be found there, and what takes its place

    my @changes = (
        [qr{/usr/lib/nginx/modules/}, "$Conduit::MODULES/"],
        [qr{^user www-data;\n}m, $> == 0 ? "user root;\n" : ''],
        [qr{^worker_processes auto;}m, "worker_processes 1;\ndaemon off;"],
        [qr{^worker_rlimit_nofile .*\n}m, ''],
        [qr{worker_connections 16384;}, 'worker_connections 512;'],
        [qr{/run/nginx\.pid}, 'nginx.pid'],
        [qr{/etc/nginx/mime\.types}, "$DIR/mime.types"],
        [qr{error_log .*warn;}, 'error_log logs/error.log info;'],
        [qr{/var/log/nginx/}, 'logs/'],
        [qr{/etc/nginx/conduit/}, "$DIR/"],
        [qr{/etc/nginx/conf\.d/}, "$DIR/conf.d/"],
        [qr{/etc/nginx/sites-enabled/}, "$DIR/sites-enabled/"],
        [qr{redis://127\.0\.0\.1:6379},
         "redis://127.0.0.1:$Conduit::REDIS_PORT"],
        [qr{listen 127\.0\.0\.1:8080;}, "listen 127.0.0.1:$self->{port};"],
        @{ $o{changes} // [] },
    );

    for my $change (@changes) {
        my ($old, $new) = @$change;
        $text =~ s/$old/$new/g or die "no $old in nginx.conf.example";
    }

    return $text;
}
