# Copyright (C) Conduit for NGINX authors
#
# "if" and "limit_except" make a location of their own: inside a location of the
# modules, such a block does what the location around it does.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use JSON::PP ();
use Test::More;

logs_tokens(qr/ does not match /,
            'rewrite_log writes before the module has the request');

my $REDIS = "redis://127.0.0.1:$Conduit::REDIS_PORT";
my $OK = '200 {"status":"ok","dependencies":{"redis":"ok"}}';
my $FAIL = '503 {"status":"fail","dependencies":{"redis":"fail"}}';

# the condition of every "if" here
my %MET = ('X-If' => 1);

# what people write into an "if"
my $if = 'set $y 0; if ($http_x_if) { set $y 1; add_header X-Met yes always; }';
my $deny = sub { "limit_except $_[0] { deny all; }" };
my $allow = sub { "limit_except $_[0] { allow 127.0.0.1; deny all; }" };

# no field that the requests come to has its default
my $publish = <<"EOC";
    conduit_publish $REDIS;
    conduit_publish_jwt_secret_file $Conduit::TMP/secret;
    conduit_publish_jwt_issuer $Conduit::ISSUER;
    conduit_publish_jwt_audience $Conduit::AUDIENCE;
    conduit_publish_org_claim on;
    conduit_publish_org_id \$http_x_org;
    conduit_publish_max_size 300;
    conduit_publish_rate 4r/m;
    conduit_publish_batch 2;
    conduit_publish_idempotency 30s;
    conduit_publish_idle_ttl 50s;
    conduit_publish_end_ttl 20s;
    conduit_publish_connect_timeout 7s;
EOC

my $gateway = <<"EOC";
    conduit_gateway $REDIS;
    conduit_gateway_jwt_key_file $Conduit::TMP/key.pub;
    conduit_gateway_jwt_issuer $Conduit::ISSUER;
    conduit_gateway_jwt_audience $Conduit::AUDIENCE;
    conduit_gateway_retry 700ms;
    conduit_gateway_keepalive 300ms;
    conduit_gateway_drain 200ms;
    add_header X-Org "\$conduit_org_id";
EOC

sub blocks {
    my ($x, $directives) = @_;

    return <<"EOC";
    location /$x/if/ {
        $directives
        $if

        location /$x/if/below/ { $if }
    }
    location /$x/above/ { $if $directives }
    location /$x/break/ {
        $directives
        if (\$http_x_if) { rewrite ^(.*)/old/(.*)\$ \$1/\$2 break; }
    }
    location /$x/deny-get/ { $directives @{[$deny->('POST')]} }
    location /$x/deny-post/ { $directives @{[$deny->('GET')]} }
    location /$x/allow-get/ { $directives @{[$allow->('POST')]} }
    location /$x/allow-post/ { @{[$allow->('GET')]} $directives }
EOC
}

sub page_blocks {
    my $x = shift;

    return join '', map { <<"EOC" }
    location /page/$x/$_->[0]/if { conduit_${x}_$_->[1]; $if }
    location /page/$x/$_->[0]/deny { conduit_${x}_$_->[1]; @{[$deny->('GET')]} }
    location /page/$x/$_->[0]/allow {
        conduit_${x}_$_->[1];
        @{[$allow->('POST')]}
    }
EOC
        ['status', 'status'], ['json', 'status json'], ['live', 'health live'],
        ['ready', 'health ready'];
}

my $nginx = nginx_start(
    http => 'log_format line "$request $conduit_org_id $conduit_gateway_close";',
    server => 'access_log logs/access.log line;'
              . blocks('publish', $publish) . blocks('gateway', $gateway));

my @workers = $nginx->workers;


# status and text, also of a worker that dies of it
sub answer {
    my $r = eval { http(@_) } // { status => 'none', body => '' };

    return "$r->{status} $r->{body}";
}

sub post {
    my ($location, %o) = @_;

    my $channel = $o{channel} // uuid();
    my $token = exists $o{token} ? $o{token} : publish_token(org_id => 9);
    my $message = $o{message} // {};

    return answer($nginx, $o{method} // 'POST',
                  "/publish/$location/-/$channel",
                  body => $o{body} // message(channel_id => $channel, %$message),
                  headers => { 'X-Org' => 9, %{ $o{headers} // {} },
                               defined $token
                               ? (Authorization => "Bearer $token") : () });
}

sub path {
    my ($location, %o) = @_;

    return events_path(org => 9, %o) =~ s{^/events}{/gateway/$location}r;
}

# an answer that is no stream of events
sub refusal {
    my ($location, %o) = @_;

    return answer($nginx, $o{method} // 'GET',
                  $o{path} // path($location, %o),
                  headers => $o{headers} // {});
}

# there are so many connections to Redis, the suite's own left out
sub has_connections {
    my ($n, $title) = @_;

    my $id = redis('CLIENT', 'ID');
    my @list;

    wait_for(30, sub {
        @list = grep { !/^id=$id / } split /\n/, redis('CLIENT', 'LIST');
        @list == $n;
    });

    is scalar(@list), $n, $title;
}


# --- publishing

my $STORED = qr/\A200 \d+-\d+\z/;

like post('if'), $STORED, 'a message is stored where no condition is met';
has_connections 1, 'publishing has a connection';

for my $location (qw(if above break)) {
    my $channel = uuid();

    like post($location, channel => $channel, headers => \%MET), $STORED,
        "publish/$location: a message is stored where a condition is met";
    is redis('XLEN', "stream:9:$channel"), 1,
        "publish/$location: it is in the stream of its channel";

    my $ttl = redis('PTTL', "stream:9:$channel");
    ok $ttl > 20_000 && $ttl <= 50_000,
        "publish/$location: the stream lives as long as set ($ttl ms)";

    post($location, channel => $channel, headers => \%MET,
         message => { phase => 'END' });
    cmp_ok redis('PTTL', "stream:9:$channel"), '<=', 20_000,
        "publish/$location: END shortens its life";

    like post($location, channel => $channel,
              headers => $_ % 2 ? \%MET : {}), $STORED,
        "publish/$location: message $_ is within the rate" for 3, 4;
    like post($location, channel => $channel, headers => \%MET), qr/\A429 /,
        "publish/$location: another one is not";

    for my $case ([undef, '401 Missing authorization header'],
                  ['x', '401 Token validation failed'],
                  [publish_token(org_id => 9, -key => 'another secret, as long'
                                                      . ' as it should be'),
                   '401 Token validation failed'],
                  [publish_token(org_id => 9, iss => 'x'),
                   '401 Token validation failed'],
                  [publish_token(org_id => 9, exp => 1), '401 Token expired'],
                  [publish_token(), '401 Token validation failed'],
                  [publish_token(org_id => 8), '403 Invalid token claims'])
    {
        my ($token, $answer) = @$case;

        is post($location, token => $token, headers => \%MET), $answer,
            "publish/$location: $answer";
    }

    like post($location, headers => \%MET,
              message => { payload => { v => 'x' x 300 } }), qr/\A413 /,
        "publish/$location: a message over the limit is refused";

    for my $n (2, 3) {
        like post($location, body => "{}\n" x $n, headers => {
                  %MET, 'Content-Type' => 'application/x-ndjson' }),
            $n == 2 ? qr/\A200 [\d-]+\n[\d-]+\n\z/ : qr/\A413 .* limit of 2 /,
            "publish/$location: a batch of $n";
    }

    $channel = uuid();
    my @replies = map { post($location, channel => $channel, body => '{}',
                             headers => { %MET, 'Idempotency-Key' => 'k',
                                          'Content-Type' => 'application/json'
                                        }) } 1, 2;

    like $replies[0], $STORED, "publish/$location: a request with a key";
    is $replies[1], $replies[0], "publish/$location: is stored once";
    cmp_ok redis('PTTL', "conduit:request:{stream:9:$channel}:k"), '<=', 30_000,
        "publish/$location: and remembered as long as set";
}

like post('break/old', headers => \%MET), $STORED,
    'a message is stored after a rewrite in an "if"';

like post('if/below'), qr/\A40[45] /, 'a location below does not publish';
like post('if/below', headers => \%MET), qr/\A40[45] /,
    'a condition that is met does not make a location below publish';

has_connections 1, 'publishing has the same connection for all';


# --- events

my $channel = uuid();
my $last = 0;

sub stream_ok {
    my ($location, $headers, $title) = @_;

    my $sse = sse_open($nginx, path => path($location, channel_id => $channel),
                       headers => $headers);
    my $event;

    is $sse->status, 200, "$title: the stream is answered" or return $sse;
    is $sse->headers->{'x-met'}, 'yes', "$title: it is that of the block"
        if %$headers && $location =~ /if|above/;

    $last = xadd(org => 9, channel_id => $channel);

    while ($event = $sse->event) {
        last if $event->{id} eq $last;
    }

    is $event->{id}, $last, "$title: an event arrives";
    is $sse->retry, 700, "$title: it has the times of the location";
    ok $sse->comment, "$title: it has comments";
    is $sse->headers->{'x-org'}, 9, "$title: variables are set"
        if $location !~ /if|above/ || !%$headers;

    return $sse;
}

my @open = stream_ok('if', {}, 'a condition that is not met');
has_connections 3, 'events have two connections';

push @open, stream_ok($_, \%MET, "gateway/$_") for qw(if above break);
has_connections 3, 'events have the same connections for all';

for my $location (qw(if above break)) {

    for my $case ([{ token => 'x' }, '401 Invalid token'],
                  [{ token => gateway_token(iss => 'x') }, '401 Invalid token'],
                  [{ token => gateway_token(exp => 1) }, '401 Token expired'],
                  [{ token => gateway_token() }, '403 Invalid token claims'],
                  [{ path => "/gateway/$location/9?channel_id=$channel" },
                   '400 Missing token'])
    {
        my ($o, $answer) = @$case;

        is refusal($location, %$o, channel_id => $channel, headers => \%MET),
            $answer, "gateway/$location: $answer";
    }

    is refusal($location, method => 'OPTIONS', headers => \%MET), '204 ',
        "gateway/$location: a preflight is answered";
}

like refusal('if', path => '/gateway/if/below/9', headers => \%MET), qr/\A404 /,
    'a condition that is met does not make a location below send events';


# --- methods: POST or GET is in the block, or the rest is

my $big = { payload => { v => 'x' x 300 } };

like post('deny-get'), $STORED, 'publish/deny-get: POST is stored';
like post('deny-get', method => 'GET'), qr/\A403 /,
    'publish/deny-get: GET is denied';
is post('deny-get', token => 'x'), '401 Token validation failed',
    'publish/deny-get: POST with a bad token is refused';

like post('deny-post'), qr/\A403 /, 'publish/deny-post: POST is denied';

like post('allow-post'), $STORED, 'publish/allow-post: POST is stored';
is post('allow-post', token => undef), '401 Missing authorization header',
    'publish/allow-post: POST without a token is refused';
like post('allow-post', message => $big), qr/\A413 /,
    'publish/allow-post: a message over the limit is refused';

like post('allow-get'), $STORED, 'publish/allow-get: POST is stored';
is post('allow-get', method => 'GET'), '405 Method not allowed',
    'publish/allow-get: GET is no way to publish';

push @open, stream_ok($_, {}, "gateway/$_")
    for qw(deny-post allow-get allow-post);

like refusal('deny-post', method => $_), qr/\A403 /,
    "gateway/deny-post: $_ is denied" for qw(POST OPTIONS);
like refusal('deny-get'), qr/\A403 /, 'gateway/deny-get: GET is denied';

is refusal('allow-get', token => 'x'), '401 Invalid token',
    'gateway/allow-get: GET with a bad token is refused';
is refusal('allow-get', path => "/gateway/allow-get/9?channel_id=$channel"),
    '400 Missing token', 'gateway/allow-get: GET without a token is refused';

is refusal('allow-post', method => 'POST'), '405 Method not allowed',
    'gateway/allow-post: POST is no way to listen';
is refusal('allow-post', method => 'OPTIONS'), '204 ',
    'gateway/allow-post: a preflight is answered';

has_connections 3, 'no block has a connection of its own';


# --- a worker that quits finds all streams, the log no token

is join(' ', $nginx->workers), "@workers", 'the worker lives';

$nginx->reload;

my @more = map { $_->end(20) ? 1 : 0 } @open;
is "@more", join(' ', (1) x @open), 'every stream ends in order';
$_->close for @open;

ok wait_for(20, sub { !grep { kill 0, $_ } @workers }), 'the old worker leaves';

my @log = split /\n/, $nginx->access_log;

cmp_ok scalar(grep { m{/gateway/} } @log), '>', 30, 'the requests were logged';
is_deeply [grep { /token=(?!x+[& ])/ } @log], [], 'no line has a token in it';
is scalar(grep { m{^GET /gateway/\S+ HTTP/1\.1 9 drain$} } @log),
    scalar(@open), 'lines of streams say whose they were, and why they ended';

$nginx->stop;


# --- pages

my $pages = nginx_start(
    server => page_blocks('publish') . page_blocks('gateway')
              . publish_location('if ($http_x_if) { return 200 back; }')
              . gateway_location('if ($http_x_if) { rewrite ^ /old$uri last; }')
              . 'location /old/ { return 200 "$uri $arg_token"; }');

sub page {
    my ($path, $headers, $method) = @_;

    return eval {
        http($pages, $method // 'GET', "/page/$path",
             headers => $headers // {})
    } // { status => 'none', headers => {}, body => '' };
}

sub is_ready {
    my ($answer, $title) = @_;

    for my $x (qw(publish gateway)) {
        for my $case (["$x/ready/if"], ["$x/ready/if", \%MET],
                      ["$x/ready/allow"])
        {
            my $page;

            wait_for(20, sub {
                my $r = page(@$case);
                ($page = "$r->{status} $r->{body}") eq $answer;
            });

            is $page, $answer, "@$case[0]: $title";
        }
    }
}

@workers = $pages->workers;
is_ready($OK, 'Redis works');

redis_stop('KILL');
is_ready($FAIL, 'Redis is gone');

for my $x (qw(publish gateway)) {
    for my $case (['status', qr{^text/plain; version=}, qr/^# HELP conduit_$x/m],
                  ['json', qr{^application/json$}, qr/^\{\s*"\w+":/],
                  ['live', qr{^application/json$},
                   qr/^\{"status":"ok","uptime":\d+\}$/])
    {
        my ($name, $type, $body) = @$case;

        for my $r (page("$x/$name/if"), page("$x/$name/if", \%MET),
                   page("$x/$name/allow"))
        {
            is $r->{status}, 200, "$x/$name: the page is there";
            like $r->{headers}{'content-type'}, $type, "$x/$name: the page has its type";
            like $r->{body}, $body, "$x/$name: the page has its text";
        }

        is page("$x/$name/if", \%MET)->{headers}{'x-met'}, 'yes',
            "$x/$name: the condition was met";
        is page("$x/$name/if", \%MET, 'POST')->{status}, 405,
            "$x/$name: POST is not allowed where a condition is met";
        is page("$x/$name/deny", {}, 'POST')->{status}, 403,
            "$x/$name: POST is denied";
        is page("$x/$name/allow", {}, 'HEAD')->{status}, 200, "$x/$name: HEAD";
    }

    ok eval { JSON::PP::decode_json(page("$x/json/if", \%MET)->{body}) },
        "$x: JSON where a condition is met";
}

# --- requests that leave a location before it looks at them

is http($pages, 'GET', '/events/9?token=kept', headers => \%MET)->{body},
    '/old/events/9 kept', 'a rewrite leads out of a location, with the token';
is http($pages, 'GET', '/events/9?token=kept')->{status}, 400,
    'a request that no rewrite leads out stays';
is http($pages, 'POST', "/publish/9/$CHANNEL", body => message(),
        headers => \%MET)->{body}, 'back', 'a return answers without a token';

is join(' ', $pages->workers), "@workers", 'the worker of the pages lives';
$pages->stop;


# --- a reload to a configuration that is refused

redis_start();

my $refused = qr/an "if" block in the location of .* has another content/;
my $reloads = nginx_start(server => publish_location(), expect => $refused);
my $conf = $reloads->root . '/nginx.conf';
my $text = read_file($conf);

publish($reloads);
@workers = $reloads->workers;

write_file($conf, $text =~ s/(conduit_publish redis:\S+)/
                            $1 if (\$arg_x) { proxy_pass http:\/\/\$arg_x; }/r);
$reloads->signal('HUP');
ok wait_for(20, sub { $reloads->error_log =~ $refused }),
    'a second handler is refused at a reload';
is join(' ', $reloads->workers), "@workers", 'the workers before it stay';
ok publish($reloads), 'messages are stored after it';

write_file($conf, $text);
$reloads->reload;
ok publish($reloads), 'messages are stored after a reload that is not refused';

done_testing();
