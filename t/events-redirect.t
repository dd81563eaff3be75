# Copyright (C) Conduit for NGINX authors
#
# Internal redirects: a token that was taken out of the request goes with it; a
# token that the gateway has no use for stays where it is.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Test::More;

logs_tokens(qr/[?&]t=eyJ/, 'an argument of a guard, which is not ours');

my $redis = "redis://127.0.0.1:$Conduit::REDIS_PORT";
my $key = "$Conduit::TMP/other.pem";

system("openssl genrsa -out $key 2048 2>/dev/null && openssl rsa -in $key"
       . " -pubout -out $key.pub 2>/dev/null") == 0 or die 'openssl failed';

# a token that is part of the configuration

my $fixed = "channel_id=$CHANNEL&token=" . gateway_token();

# a location with the name and keys of the contract, which is somewhere else

sub location {
    my ($name, $extra) = @_;

    return gateway_location($extra) =~ s{/events/}{$name}r;
}

my $nginx = nginx_start(
    http => 'limit_req_zone $server_port zone=full:1m rate=1r/m;'
            . 'log_format line \'$request_uri "$request" $args $status\';'
            . 'access_log logs/lines.log line;',
    server => gateway_location()
    . location('@second')
    . location('@other') =~ s{\S*key\.pub}{$key.pub}r
    . location('/limited/', 'limit_req zone=full; limit_req_status 429;
                             error_page 429 = @second;')
    . location('/named/', 'deny all; error_page 403 = @second;')
    . location('/uri/', 'deny all; error_page 403 = /events/123?$args;')
    . location('/try/', 'try_files /none /events/123?$args;')
    . location('/try-named/', 'try_files /none @second;')
    . location('/thrice/', 'deny all; error_page 403 = /named/123?$args;
                            recursive_error_pages on;')
    . location('/other/', 'deny all; error_page 403 = @other;')
    . location('/fresh/', 'deny all; error_page 403 =
                           /events/123?channel_id=$arg_channel_id&token=$arg_t;')
    . location('/after/', 'conduit_gateway_max_duration 200ms;
                           post_action @second;')
    . location('/set/', "set \$args $fixed;")
    . "
    location /text/ {
        return 404;
        error_page 404 = '/events/123?$fixed';
    }
    location /app/ {
        proxy_pass http://127.0.0.1:\$server_port/answer/\$is_args\$args;
    }
    location /answer/ {
        add_header X-Accel-Redirect
                   /events/123?channel_id=$CHANNEL&token=\$arg_t;
        return 200;
    }
    location /open-first/ {
        conduit_gateway $redis;
        conduit_gateway_auth off;
        try_files /none \@second;
    }
    location /guarded/ {
        conduit_gateway $redis;
        conduit_gateway_auth off;
        auth_request /guard;
    }
    location = /guard {
        internal;
        if (\$request_uri !~ '[?&]token=let-me-in(&|\$)') {
            return 403;
        }
        return 204;
    }");

# the token of every request that is made here

my @tokens = map { (split /\./)[2] } $fixed =~ /token=(.*)/;

sub token {
    my $token = gateway_token(@_);

    push @tokens, (split /\./, $token)[2];
    return $token;
}

sub path {
    my ($name, $token) = @_;

    return "/$name/123?token=$token&channel_id=$CHANNEL";
}

sub is_streamed {
    my ($path, $name) = @_;

    my $sse = sse_open($nginx, path => $path);

    is $sse->status, 200, $name;
    ok $sse->status == 200 && $sse->event, 'events arrive';
    $sse->close;
}

sub is_refused {
    my ($path, $status, $body, $name) = @_;

    my $r = http($nginx, 'GET', $path);

    is "$r->{status} $r->{body}", "$status $body", $name;
}

xadd();


is_streamed path('limited', token()), 'a request within a limit is served';

for my $name (qw(limited named uri try try-named thrice)) {
    is_streamed path($name, token()),
        "a token goes with the request that /$name/ redirects";
    is_refused path($name, token(exp => time - 100)), 401, 'Token expired',
        "an expired token stays expired behind /$name/";
    is_refused path($name, 'xxx'), 401, 'Invalid token',
        "a token of x is none behind /$name/";
    is_refused "/$name/123?channel_id=$CHANNEL", 400, 'Missing token',
        "no token is a missing token behind /$name/"
}

is_streamed path('other', token(-key => $key)),
    'the keys are those of the location that a request comes to';
is_refused path('other', token()), 401, 'Invalid token',
    'the keys of the location that it came from do not count there';

is_streamed path('fresh', 'x.y.z') . '&t=' . token(),
    'a token in the URI of a redirect goes before the one that was taken';
is_refused path('fresh', token()) . '&t=a.b.c', 401, 'Invalid token',
    'a bad one in the URI of a redirect is not made good by the first';

for my $n (1 .. 3) {
    is_streamed '/text/', "a token of the configuration, time $n";
    is_streamed '/set/123', "a token that is set, time $n";
}

is_streamed '/app/?t=' . token(), 'a token that an application redirects to';
is_streamed path('open-first', token()),
    'a token is taken where it is asked for first';

is_streamed path('guarded', 'let-me-in'),
    'a guard gets the token of a location without authentication';
is http($nginx, 'GET', path('guarded', 'let-me-not'))->{status}, 403,
    'a guard refuses another one';

my $r = http($nginx, 'GET', path('after', token()));

like "$r->{status} $r->{body}", qr/\A200 .*\n\nretry: \d+\n\n\z/s,
    'a stream that ended is not opened again by "post_action"';

# the last stream that was closed is logged when NGINX has noticed

my $log;

ok wait_for(20, sub {
    $log = read_file($nginx->root . '/logs/lines.log');
    $log =~ m{^/guarded/.* 200$}m;
}), 'requests are logged';

like $log, qr{^/named/123\?token=x+&channel_id=}m,
    'what is logged of a request has the token masked';
like $log, qr{^/open-first/123\?token=x+&channel_id=}m,
    'a token that is taken late is masked as well';
like $log, qr{^/guarded/123\?token=let-me-in&}m,
    'a location without authentication masks nothing';

# what these tests call "t" is not the module's argument

my $tokens = join '|', map { quotemeta } @tokens;
my @lines = grep { !/[?&]t=|\[debug\]/ && /^\d{4}\// }
            split /^/, $nginx->error_log;

ok @lines > 50, 'the error log has lines';
is grep({ /$tokens/ } @lines), 0, 'no token is in the error log';
is grep({ /$tokens/ && !/[?&]t=/ } split /^/, $log), 0,
    'no token is in the access log';

done_testing();
