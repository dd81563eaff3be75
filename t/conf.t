# Copyright (C) Conduit for NGINX authors
#
# What nginx -t accepts, refuses and warns of: every directive, at every level,
# with every kind of fault.  Each error names the file and the line.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use POSIX ();
use Test::More;

my $tmp = $Conduit::TMP;
my $modules = join '', map { "load_module $Conduit::MODULES/"
                             . "ngx_conduit_${_}_module.so;\n" }
                       qw(publish gateway);

my $publish = "conduit_publish redis://127.0.0.1:6379;";
my $gateway = "conduit_gateway redis://127.0.0.1:6379;";
my $keys = "conduit_publish_jwt_secret_file $tmp/secret;"
           . "conduit_gateway_jwt_key_file $tmp/key.pub;";


# "nginx -t" leaves without giving anything back
$ENV{ASAN_OPTIONS} .= ':detect_leaks=0' if defined $ENV{ASAN_OPTIONS};

# the output of nginx -t, with a directive of the main context if there is one
sub output {
    my ($http, $location, $main) = @_;

    write_file("$tmp/t.conf", <<"EOC");
${modules}pid $tmp/t.pid;
error_log $tmp/t.log;
events {}
@{[$main // '']}
http {
access_log off;
client_body_temp_path $tmp/b; proxy_temp_path $tmp/p;
fastcgi_temp_path $tmp/f; uwsgi_temp_path $tmp/u; scgi_temp_path $tmp/s;
$http
server { listen 127.0.0.1:1; location /x { $location } }
}
EOC

    return `$ENV{TEST_NGINX_BINARY} -t -c $tmp/t.conf -e $tmp/t.log 2>&1`;
}

# the same, empty when NGINX is satisfied
sub check {
    my $out = output(@_);

    return $? == 0 ? '' : $out;
}

sub is_fine {
    my ($http, $location, $name) = @_;

    is check($http, $location), '', $name;
}

sub is_refused {
    my ($http, $location, $text, $name) = @_;

    my $out = check($http, $location);

    like $out, qr/\[emerg\] .*$text/, $name;
    like $out, qr/ in \Q$tmp\E\/t\.conf:\d+/,
        "$name: the error names file and line";
}


# what is warned of, a line each, where nothing is refused
sub warnings_are {
    my ($http, $location, $texts, $name, $main) = @_;

    my $out = output($http, $location, $main);

    is $? >> 8, 0, "$name: accepted" or diag $out;

    my @lines = $out =~ /^nginx: \[warn\] (.*)/mg;

    is scalar @lines, scalar @$texts, "$name: how many warnings"
        or diag $out;

    for my $i (0 .. $#$texts) {
        like $lines[$i] // '', qr/^$texts->[$i]/, "$name: warning $i";
        like $lines[$i] // '', qr/ in \Q$tmp\E\/t\.conf:\d+/,
            "$name: warning $i names file and line";
    }
}


# --- URLs

for my $x (qw(publish gateway)) {

    for my $url (qw(redis://127.0.0.1 redis://localhost:6379/3 redis://[::1]:7
                    redis://:pass@127.0.0.1 redis://user:p%40ss@127.0.0.1/1
                    unix:/tmp/redis.sock unix:/tmp/redis.sock?db=2
                    redis+cluster://user:p%40ss@127.0.0.1
                    redis+sentinel://:pass@[::1]/my-master/2),
                 'redis+cluster://127.0.0.1:7000,[::1]:7001,localhost',
                 'redis+sentinel://127.0.0.1:26379,localhost/mymaster')
    {
        is_fine $keys, "conduit_$x $url;", "$x: $url";
    }

    for my $case (['http://127.0.0.1', 'unknown scheme, it must be "redis://"'],
                  ['redis://::1:6379', 'an IPv6 address needs brackets'],
                  ['127.0.0.1', 'unknown scheme'],
                  ['redis://', 'no host'],
                  ['redis://127.0.0.1:0', 'invalid port'],
                  ['redis://127.0.0.1:65536', 'invalid port'],
                  ['redis://127.0.0.1:x', 'invalid port'],
                  ['redis://127.0.0.1/x', 'invalid database'],
                  ['redis://a,b', 'more than one host'],
                  ['redis://no-such-host.invalid', 'host not found'],
                  ['unix:relative', 'is not absolute'],
                  ['rediss://127.0.0.1:0', 'invalid port'],
                  ['redis+cluster://127.0.0.1/0', 'only database 0'],
                  ['redis+cluster://127.0.0.1,', 'no host'],
                  ['redis+cluster://no-such-host.invalid', 'host not found'],
                  ['redis+sentinel://127.0.0.1', 'no Sentinel master name'],
                  ['redis+sentinel://127.0.0.1/m/x', 'invalid database'])
    {
        my ($url, $text) = @$case;

        is_refused $keys, "conduit_$x $url;", $text, "$x: $url";
    }

    is_refused $keys, "conduit_$x redis://u\@127.0.0.1;",
        'a Redis user without a password', "$x: a user without a password";

    unlike check($keys, "conduit_$x redis://:secret\@127.0.0.1:0;"), qr/secret/,
        "$x: a password is not shown";
}


# --- TLS to Redis, with hiredis 1.0 and newer

sub openssl {
    system("cd $tmp && openssl @_ >>openssl.log 2>&1") == 0
        or die read_file("$tmp/openssl.log");
}

my $new = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -x509 -days 2 -subj /CN=x';

openssl("req $new -nodes -keyout tls.key -out tls.crt");
openssl("req $new -nodes -keyout other.key -out other.crt");
openssl("req $new -passout pass:secret -keyout locked.key -out locked.crt");
write_file("$tmp/no.pem", 'garbage');

my $tls = check($keys, 'conduit_publish rediss://127.0.0.1;')
          !~ /"rediss" is not supported: it needs hiredis 1\.0/;

my @secure = ('rediss://127.0.0.1', 'rediss://user:p@[::1]:7/2',
              'rediss+cluster://127.0.0.1,localhost:7001',
              'rediss+sentinel://127.0.0.1/mymaster/1');

for my $x (qw(publish gateway)) {

    my $ssl = "conduit_${x}_redis_ssl";
    my $pair = sub { "${ssl}_certificate $tmp/$_[0];"
                     . "${ssl}_certificate_key $tmp/$_[1];" };
    my $trusted = sub { "${ssl}_trusted_certificate $tmp/$_[0];" };

    for my $url (@secure) {
        next if $tls;
        is_refused $keys, "conduit_$x $url;",
            '"rediss" is not supported: it needs hiredis 1.0',
            "$x: $url without TLS in hiredis";
    }

    is_fine $keys . $trusted->('none') . $pair->('none', 'no.pem'),
        "conduit_$x redis://127.0.0.1;",
        "$x: certificates are of no concern without TLS";

    next if !$tls;

    for my $url (@secure) {
        is_fine $keys, "conduit_$x $url;", "$x: $url";
    }

    my $on = "conduit_$x rediss://127.0.0.1;";

    is_fine $keys, $on . $trusted->('tls.crt') . $pair->('tls.crt', 'tls.key'),
        "$x: own certificates";
    is_fine $keys . $pair->('tls.crt', 'tls.key'),
        "$on ${ssl}_verify off; ${ssl}_name redis.example;",
        "$x: certificates of http";
    is_fine $keys . $pair->('none', 'none'),
        qq{$on ${ssl}_certificate ""; ${ssl}_certificate_key "";},
        "$x: none in a location";
    is_fine "$keys ${ssl}_trusted_certificate tls.crt;", $on,
        "$x: a relative name counts from the configuration";

    for my $case (["${ssl}_certificate $tmp/tls.crt;",
                   'no key is defined for certificate ".*tls.crt"'],
                  ["${ssl}_certificate_key $tmp/tls.key;",
                   'no certificate is defined for key ".*tls.key"'],
                  [$pair->('tls.crt', 'other.key'),
                   'other.key" \\(key values mismatch\\)'],
                  [$pair->('locked.crt', 'locked.key'),
                   'cannot load certificate key ".*locked.key"'],
                  [$pair->('none', 'tls.key'),
                   'certificate ".*none" \\(No such file or directory\\)'],
                  [$pair->('tls.crt', 'none'),
                   'key ".*none" \\(No such file or directory\\)'],
                  [$pair->('no.pem', 'tls.key'),
                   'cannot load certificate ".*no.pem" \\(no start line'],
                  [$trusted->('none'), 'cannot load certificates of ".*none"'],
                  [$trusted->('no.pem'), 'certificates of ".*no.pem"'])
    {
        my ($directives, $text) = @$case;

        is_refused $keys, "$on $directives", $text, "$x: $text";
    }
}


# --- keys

is_refused '', $publish, 'no "conduit_publish_jwt_secret_file" or '
    . '"conduit_publish_jwt_key_file" is defined for "conduit_publish"',
    'publishing needs a secret or a key';
is_fine "conduit_publish_jwt_key_file $tmp/key.pub;", $publish,
    'publishing with a key needs no secret';
is_refused '', $gateway, 'no "conduit_gateway_jwt_key_file"',
    'the gateway needs a key';
is_fine '', "$publish conduit_publish_auth off;",
    'publishing without authentication needs no key';
is_fine '', "$gateway conduit_gateway_auth off;",
    'the gateway needs no key when its authentication is off';

write_file("$tmp/empty", '');
write_file("$tmp/garbage", 'garbage');

my $pem = read_file("$tmp/key.pub");
my $jwk = '"kty":"OKP","crv":"Ed25519",'
          . '"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"';

write_file("$tmp/jwk", "{$jwk}");
write_file("$tmp/jwk.private", qq({$jwk,"d":"AA"}));
write_file("$tmp/jwks.enc", qq({"keys":[{$jwk,"use":"enc"}]}));
write_file("$tmp/jwks.two", qq({"keys":[{$jwk},{"kty":"EC","crv":"P-256"}]}));
write_file("$tmp/jwks.cut", qq({"keys":[{$jwk}));
write_file("$tmp/one-line", $pem =~ s/\n/\\n/gr);
write_file("$tmp/quoted", qq("$pem"));
write_file("$tmp/bom.pub", "\xef\xbb\xbf$pem");
write_file("$tmp/bom", "\xef\xbb\xbf{$jwk}");
write_file("$tmp/weak.pub", scalar `openssl genrsa 1024 2>/dev/null | \\
                                    openssl rsa -pubout 2>/dev/null`);
write_file("$tmp/two.pub", $pem . read_file("$tmp/weak.pub"));

for my $x (qw(publish gateway)) {
    is_fine "conduit_${x}_jwt_key_file $tmp/$_;", '', "$x: a file of keys, $_"
        for qw(jwk key.pub bom.pub), "jwk kid=a";

    for my $case (['jwk.private', 'jwk.private": is a private key; use'],
                  ['jwks.enc', 'jwks.enc": has no key that can be used'],
                  ['jwks.two', 'jwks.two", key 2: has no valid "x" and "y"'],
                  ['jwks.cut', 'jwks.cut": is not JSON'],
                  ['weak.pub', 'weak.pub": is an RSA key of less than 2048'],
                  ['two.pub', 'two.pub", key 2: is an RSA key of less than'],
                  ['one-line', 'one-line": is not a public key in PEM; it has '
                   . 'a backslash and an "n" where a line should end'],
                  ['quoted', 'quoted": is not a public key in PEM; it is in '
                   . 'quotes, which are part of it'],
                  ['bom', 'bom": is neither a public key in PEM nor a JWK; it '
                   . 'begins with a byte order mark, which is part of it'],
                  ['secret', 'secret": is neither a public key in PEM nor a '
                   . 'JWK'])
    {
        my ($file, $text) = @$case;

        is_refused "conduit_${x}_jwt_key_file $tmp/$file;", '',
            "key file \".*$text", "$x: a file of keys, $file";
    }
}

is_refused "conduit_publish_jwt_secret_file $tmp/jwk;", '',
    'jwk": is a JWK, not a secret', 'a JWK as a secret';

my $short = 'the secret in ".*odd" has 31 bytes, HS256 needs 32 or more';
my $unlike = 'the secret in ".*odd" probably contains a mistake: it';
my ($s31, $s32) = map { 'x' x $_ } 31, 32;

for my $case ([$s32], ["$s32\n"], ["$s32\r\n"], ["\\n$s32"],
              [$s31, $short], ["$s31\n", $short], ["$s31\r\n", $short],
              [qq("$s32"), "$unlike is in quotes"],
              ["'$s32'\n", "$unlike is in quotes"],
              ["\xef\xbb\xbf$s32", "$unlike begins with a byte order mark"],
              ["$s32\n\n", "$unlike ends with several line ends"],
              ["$s32\\n", "$unlike ends with a backslash"],
              ['"' . 'x' x 29 . '"', "$unlike is in quotes", $short])
{
    my ($content, @texts) = @$case;

    write_file("$tmp/odd", $content);
    warnings_are "conduit_publish_jwt_secret_file $tmp/odd;", '', \@texts,
        'a secret ' . ($content =~ s/\n/\\n/gr =~ s/x+/x/gr);
}

for my $case (['publish_jwt_secret_file', 'none', 'none. failed'],
              ['publish_jwt_secret_file', 'empty', 'empty. must be a file'],
              ['publish_jwt_secret_file', 'key.pub', 'key.pub.: is a PEM file'],
              ['gateway_jwt_key_file', 'none', 'none. failed'],
              ['gateway_jwt_key_file', 'garbage', 'garbage.: .*PEM'],
              ['gateway_jwt_key_file', 'key.pem', 'key.pem.: is a private key'],
              ['publish_redis_password_file', 'none', 'none. failed'],
              ['gateway_redis_password_file', 'empty', 'empty. must be a'])
{
    my ($directive, $file, $text) = @$case;

    is_refused "conduit_$directive $tmp/$file;", '', $text,
        "$directive names a file that does not do";
}

POSIX::mkfifo("$tmp/fifo", 0600) or die "mkfifo: $!";

{
    # an open() that waits for a writer is ended by the alarm

    local $SIG{ALRM} = sub { open my $fh, '+<', "$tmp/fifo"; };

    for my $directive (qw(publish_jwt_secret_file publish_redis_password_file
                          gateway_jwt_key_file gateway_redis_password_file))
    {
        alarm 20;
        is_refused "conduit_$directive $tmp/fifo;", '',
            'fifo" must be a file of 1 to 65536 bytes',
            "$directive does not wait for a FIFO";
        cmp_ok alarm(0), '>', 0, "$directive with a FIFO is refused at once";
    }
}

# files of the kernel, whose size is not what can be read from them

SKIP: {
    my $dir = '/sys/class/net/lo';

    my %fails = (
        speed => ' failed \(22: Invalid argument\) in',
        mtu => ' failed in',
    );

    for my $file (sort keys %fails) {
        my $size = -s "$dir/$file";

        skip "no $dir/$file", 2 if !$size || $size < 16;
        is_refused "conduit_publish_jwt_secret_file $dir/$file;", '',
            "read\\(\\) \"$dir/$file\"$fails{$file}",
            "a file that can't be read, or is shorter than its size, $file";
    }
}

is_refused "conduit_publish_jwt_secret_file $tmp/secret id=1;", '',
    'invalid parameter "id=1"', 'a parameter that is no kid';
is_refused "conduit_publish_jwt_secret_file $tmp/secret kid=1;"
           . "conduit_publish_jwt_secret_file $tmp/secret kid=1;", '',
    'secret.: has the same kid as another key', 'a kid given twice';
is_fine "conduit_publish_jwt_secret_file $tmp/secret kid=1;"
        . "conduit_publish_jwt_secret_file $tmp/secret kid=2;", $publish,
    'several keys';


my $off = "$publish conduit_publish_auth off;";
my $claim = 'conduit_publish_org_claim';
my $neither = qq("$claim on" requires "conduit_publish_auth on" for )
              . '"conduit_publish"';

is_refused '', "$off $claim on;", $neither, 'a claim of no token';
is_refused "$claim on;", $off, $neither, 'a claim of http and no token';
is_refused "conduit_publish_auth off;", "$publish $claim on;", $neither,
    'a claim and no token in http';
is_refused "conduit_publish_auth off; $claim on;", $publish, $neither,
    'a claim of http and no token in http';
is_fine "$claim on;", "$off $claim off;", 'a claim that is switched off';
is_fine "conduit_publish_auth off; $claim on; conduit_gateway_auth off;",
    $gateway, 'a claim and no token where nothing is published';
is_fine "$keys conduit_publish_auth off; $claim on;",
    "$publish conduit_publish_auth on;", 'a claim of a token';


# --- every directive that takes one value, at every level

write_file("$tmp/password", "secret\n");

my @both = ([redis_user => 'u'], [redis_password_file => "$tmp/password"],
            [redis_ssl_trusted_certificate => "$tmp/tls.crt"],
            [redis_ssl_verify => 'off', 'x'], [redis_ssl_name => 'redis.a'],
            [redis_ssl_certificate => "$tmp/tls.crt"],
            [redis_ssl_certificate_key => "$tmp/tls.key"],
            [connect_timeout => '1s', 'x', 0], [timeout => '1s', 'x', 0],
            [org_id => '$arg_o'], [channel_id => '$arg_c'],
            [auth => 'off', 'x'], [jwt_issuer => 'i'], [jwt_audience => 'a'],
            [jwt_cache => '100', 'x', 0, -1, '1000001', '1k', 'off off'],
            [jwt_cache => 'off'], [jwt_cache => '1000000']);

my @directives = (
    (map { my $x = $_; map { ["${x}_$_->[0]", @$_[1 .. $#$_]] } @both }
     qw(publish gateway)),
    ['publish_org_claim', 'on', 'x'],
    ['publish_max_size', '64k', 'x'],
    ['publish_rate', '5r/m', 'x', '5', 'r/s', '0r/s', '-1r/s'],
    ['publish_rate', 'off'],
    ['publish_max_len', '10', 'x', '0'],
    ['publish_batch', '10', 'x', '0', '1001', '-1'],
    ['publish_idempotency', '120s', 'x', '0', '-1s', '3651d', 'off off'],
    ['publish_idempotency', 'off'],
    ['publish_idle_ttl', '10s', 'x', '0', '3651d', '9000000000000000s'],
    ['publish_end_ttl', '3650d', 'x', '0', '3651d', '9223372036854775807ms'],
    ['gateway_wakeup', 'tracking', 'x', 'poll x', 'poll 0', 'tracking 1s'],
    ['gateway_wakeup', 'poll'],
    ['gateway_wakeup', 'poll 50ms'],
    ['gateway_read_count', '10', 'x', '0', '10001'],
    ['gateway_window', '1m', 'x'],
    ['gateway_buffer_size', '4k', 'x'],
    ['gateway_coalesce', '50ms', 'x', '1001ms', '2s', '-1'],
    ['gateway_coalesce', '1s'],
    ['gateway_coalesce', '0'],
    ['gateway_coalesce', 'off'],
    ['gateway_retry', '1s', 'x', '0'],
    ['gateway_keepalive', '1s', 'x'],
    ['gateway_keepalive', 'off'],
    ['gateway_outage', '1s', 'x'],
    ['gateway_drain', '1s', 'x'],
    ['gateway_max_duration', '1h', 'x'],
    ['gateway_max_duration', 'off'],
    ['gateway_max_wait', '25s', 'x', '-1s'],
    ['gateway_max_wait', '0'],
    ['gateway_expire', 'on', 'x'],
    ['gateway_gzip', 'on', 'x', '6', 'on off'],
    ['gateway_gzip', 'off'],
    ['gateway_token', '$cookie_conduit'],
    ['gateway_token', '""'],
    ['gateway_cors', '*', 'x', '* off', 'off *', 'null', '""',
     'https://app.example.com *', 'https://app.example.com/',
     'https://app.example.com x', 'https://*.example.com', 'app.example.com',
     'https://App.example.com', 'https://app.example.com:443'],
    ['gateway_cors', 'off'],
    ['gateway_cors', 'https://app.example.com http://[::1]:8080'],
    ['gateway_cors_credentials', 'off', 'x'],
    ['gateway_after_end', 'stop', 'x', 'on', 'wait stop'],
    ['gateway_after_end', 'wait'],
    ['gateway_resume_only', 'on', 'x', '""', '0', 'on off'],
    ['gateway_resume_only', 'off'],
    ['gateway_resume_only', '$arg_resume'],
    ['gateway_start', 'turn', 'x', 'on', 'turn latest'],
    ['gateway_start', 'latest'],
    ['gateway_start', 'oldest'],
    ['gateway_drain_event', 'on', 'x', 'on off'],
    ['gateway_drain_event', 'off'],
    ['gateway_drain_event', 'auto'],
);

for my $d (@directives) {
    my ($name, $good, @bad) = @$d;
    my $directive = "conduit_$name";

    # a user needs a password with it
    my $on = $name =~ /redis_user/ ? ''
             : $name =~ /^publish/ ? $publish : $gateway;

    is_fine "$keys $directive $good;", "$on $directive $good;",
        "$directive $good in http and location";
    is_fine "$keys server { listen 127.0.0.1:2; $directive $good; }", '',
        "$directive $good in server";
    is_refused "$directive $good; $directive $good;", '',
        "\"$directive\" directive is duplicate", "$directive twice";

    for my $bad (@bad) {
        is_refused "$directive $bad;", '', qr/"$directive" directive.* in /,
            "$directive $bad";
    }
}

# the page of channels is the gateway's

is_fine '', 'conduit_gateway_status channels;', 'conduit_gateway_status channels';
is_refused '', 'conduit_gateway_status channel;',
    'it must be "prometheus", "json" or "channels"',
        'a page that the gateway does not have';
is_refused '', 'conduit_publish_status channels;',
    'it must be "prometheus" or "json"',
        'a page that the publisher does not have';

# cookies and any origin

my $cors = 'conduit_gateway_cors https://app.example.com;';
my $credentials = 'conduit_gateway_cors_credentials on;';

is_fine "$keys $credentials", "$gateway $cors",
    'credentials with a list of origins';
is_fine "$keys $credentials $cors", $gateway,
    'credentials with a list of origins of http';
is_fine "$keys $credentials", "$gateway conduit_gateway_cors off;",
    'credentials where no origin is allowed';
is_fine "$keys $credentials", $publish, 'credentials where nobody listens';

for my $case (['', $credentials], [$credentials, ''],
              [$cors, "conduit_gateway_cors *; $credentials"])
{
    my ($http, $location) = @$case;

    is_refused "$keys $http", "$gateway $location",
        '"conduit_gateway_cors_credentials on" needs a list of origins',
        "credentials for all: $http $location";
}

is_refused $keys, "$publish $publish", '"conduit_publish" directive is dupl',
    'conduit_publish twice';
is_refused $keys, "$gateway $gateway", '"conduit_gateway" directive is dupl',
    'conduit_gateway twice';
is_refused $keys, "$publish $gateway", '"conduit_gateway" directive is in a '
    . 'location that has another content handler',
        'conduit_publish and conduit_gateway in one location';
is_refused $keys, "$gateway $publish", '"conduit_publish" directive is in a '
    . 'location that has another content handler',
        'conduit_gateway and conduit_publish in one location';
is_refused $keys, "stub_status; $publish", 'another content handler',
    'a handler of NGINX in the location';
is_refused "$keys $publish", '', 'not allowed here',
    'conduit_publish outside of a location';
is_refused "$keys $gateway", '', 'not allowed here',
    'conduit_gateway outside of a location';
is_refused $keys, "$publish conduit_publish_max_size 0;", 'must not be zero',
    'conduit_publish_max_size 0';
is_refused $keys, "$gateway conduit_gateway_buffer_size 0;",
    '"conduit_gateway_buffer_size" directive must not be zero',
        'conduit_gateway_buffer_size 0';
is_refused "conduit_gateway_buffer_size 0;", '',
    '"conduit_gateway_buffer_size" directive must not be zero',
    'conduit_gateway_buffer_size 0 in http, where no location is a gateway';
is_refused $keys, "$gateway conduit_gateway_wakeup sometimes 1s;",
    'invalid parameter "sometimes"',
        'conduit_gateway_wakeup with an unknown way';
is_refused $keys, "$gateway conduit_gateway_wakeup tracking 1s;",
    'invalid parameter "1s"', 'conduit_gateway_wakeup tracking with a time';

# what a value should look like

my $time = 'a time such as "500ms", "10s" or "5m"';

for my $case (['publish_rate 20', 'rate "20"', 'a number with "r/s" or "r/m", '
               . 'as in "20r/s", or "off"'],
              ['publish_timeout x', 'time "x"', $time],
              ['publish_idempotency x', 'time "x"', qq($time, or "off")],
              ['gateway_keepalive 5x', 'time "5x"', qq($time, or "off")],
              ['gateway_drain -1s', 'time "-1s"', $time],
              ['publish_max_size 1x', 'size "1x"',
               'a number of bytes such as "500", "16k" or "1m"'],
              ['publish_max_len 0', 'number "0"', 'a number, 1 or more'],
              ['publish_max_len x', 'number "x"', 'a number, 1 or more'],
              ['publish_batch 1001', 'number "1001"', 'a number from 1 to 1000'],
              ['gateway_jwt_cache on', 'number "on"',
               'a number from 1 to 1000000, or "off"'],
              ['publish_jwt_cache 0', 'number "0"',
               'a number from 1 to 1000000, or "off"'],
              ['gateway_read_count -1', 'number "-1"',
               'a number from 1 to 10000'],
              ['gateway_after_end x', 'value "x"', '"wait" or "stop"'],
              ['gateway_start x', 'value "x"',
               '"oldest", "turn" or "latest"'],
              ['gateway_drain_event onn', 'value "onn"',
               '"auto", "on" or "off"'],
              ['gateway_wakeup x', 'parameter "x"', '"tracking", "poll", or '
               . '"poll" and a time, as in "poll 100ms"'],
              ['gateway_wakeup poll x', 'time "x"', '"tracking", "poll", or '
               . '"poll" and a time, as in "poll 100ms"'])
{
    my ($text, $value, $form) = @$case;
    my ($name) = $text =~ /(\w+)/;

    is_refused "conduit_$text;", '',
        quotemeta(qq(invalid $value in "conduit_$name" directive, it must be )
                  . $form) . ' in ', "conduit_$text";
}


# --- what works, and is hardly what was meant

for my $case (['publish', $publish], ['gateway', $gateway]) {
    my ($x, $on) = @$case;

    my @none = map {
        qq(no "conduit_${x}_jwt_$_" is defined for "conduit_$x" in \\S+: )
        . "tokens with any $_ are accepted; if that is meant, write "
        . "conduit_${x}_jwt_$_ \"\"\$"
    } qw(issuer audience);

    my ($issuer, $audience) = map { "conduit_${x}_jwt_$_;" }
                              'issuer a', 'audience b';

    warnings_are $keys, $on, \@none, "$x: no issuer, no audience";
    warnings_are "$keys $issuer", $on, [$none[1]], "$x: no audience";
    warnings_are "$keys $audience", $on, [$none[0]], "$x: no issuer";
    warnings_are "$keys $issuer", "$on $audience", [], "$x: both";
    warnings_are $keys, qq($on conduit_${x}_jwt_issuer "";)
        . qq(conduit_${x}_jwt_audience "";), [], "$x: any, as is written";
    warnings_are qq($keys conduit_${x}_jwt_issuer "";)
        . qq(conduit_${x}_jwt_audience "";), $on, [], "$x: any, in http";
    warnings_are $keys, "$on conduit_${x}_auth off;", [], "$x: no token";
    warnings_are $keys, "$on if (\$arg_x) { set \$y 1; } limit_except GET "
        . '{ deny all; }', \@none, "$x: blocks in the location";

    my $ssl = "conduit_${x}_redis_ssl";
    my $ignored = qq("${ssl}_..." directives are ignored for "conduit_$x" in );

    warnings_are $keys, "$on $issuer $audience ${ssl}_$_;", [$ignored],
        "$x: ${ssl}_$_ without TLS"
        for "trusted_certificate $tmp/tls.crt", 'verify off', 'verify on',
            'name redis.a', "certificate $tmp/tls.crt",
            "certificate_key $tmp/tls.key";
    warnings_are "$keys ${ssl}_verify off;", "$on $issuer $audience", [],
        "$x: TLS in http";
    warnings_are $keys, "conduit_$x rediss://127.0.0.1; $issuer $audience"
        . "${ssl}_verify off;", [], "$x: TLS where the URL has it" if $tls;
}

my $claims = join '', map { my $x = $_; map { "conduit_${x}_jwt_$_ a;" }
                                        qw(issuer audience) }
                      qw(publish gateway);
my $body = '"client_max_body_size" of \d+ bytes is less than '
           . '"conduit_publish_max_size" of \d+ for "conduit_publish" in ';

for my $case (['client_max_body_size 16383;', $body],
              ['client_max_body_size 16384;'], ['client_max_body_size 0;'],
              ['conduit_publish_max_size 1m;'],
              ['conduit_publish_max_size 1025k;', $body],
              ['client_max_body_size 1k; conduit_publish_max_size 1k;'])
{
    my ($sizes, @texts) = @$case;

    warnings_are "$keys $claims", "$publish $sizes", \@texts, $sizes;
    warnings_are "$keys $claims $sizes", $publish, \@texts, "$sizes in http";
    warnings_are "$keys $claims $sizes", $gateway, [], "$sizes, the gateway";
}

my $drain = '"worker_shutdown_timeout" of 4000ms is less than '
            . '"conduit_gateway_drain" of \d+ms for "conduit_gateway" in ';

for my $case (['', $drain], ['conduit_gateway_drain 4s;'],
              ['conduit_gateway_drain 4001ms;', $drain],
              ['conduit_gateway_drain 0;'])
{
    my ($value, @texts) = @$case;

    for my $location ($gateway, "$gateway if (\$arg_x) { set \$y 1; }") {
        warnings_are "$keys $claims", "$location $value", \@texts,
            "worker_shutdown_timeout 4s; $location $value",
            'worker_shutdown_timeout 4s;';
    }

    warnings_are "$keys $claims", "$gateway $value", [],
        "no worker_shutdown_timeout; $value";
}

warnings_are "$keys $claims", $publish, [], 'no gateway, nothing to drain',
    'worker_shutdown_timeout 1s;';
warnings_are '', 'conduit_gateway_status;', [], 'a page, nothing to drain',
    'worker_shutdown_timeout 1s;';


# --- blocks that make a location of their own

for my $case (['publish', $publish], ['gateway', $gateway]) {
    my ($x, $on) = @$case;

    is_fine $keys, "$on $_", "$x: $_"
        for 'if ($arg_x) { set $y 1; }', 'if ($arg_x) { return 403; }',
            'limit_except GET POST { deny all; }',
            'location /x/y { proxy_pass http://127.0.0.1:1; }';

    is_refused $keys, "$_ { $on }", qq("conduit_$x" directive is not allowed),
        "conduit_$x in $_" for 'if ($arg_x)', 'limit_except GET';

    for my $d (grep { $_->[0] =~ /^$x/ } @directives,
               ["${x}_status", ''], ["${x}_health", 'live'])
    {
        my $directive = "conduit_$d->[0]";

        is_refused $keys, "$on $_ { $directive $d->[1]; }",
            qq("$directive" directive is not allowed here), "$directive in $_"
            for 'if ($arg_x)', 'limit_except GET';
    }
}


# --- any stream, and formats

{
    my $key = 'conduit_gateway_key "run:$arg_run";';
    my $claim = 'conduit_gateway_require_claim run $arg_run;';
    my $off = 'conduit_gateway_auth off;';
    my $k = 'conduit_gateway_key';
    my $text = 'conduit_gateway_format text;';

    is_fine $keys, "$gateway $key $claim", 'a key and a claim';
    is_fine $keys, "$gateway $key $off", 'a key, and no token';
    is_fine "$keys $claim", "$gateway $key", 'a claim of http';
    is_fine "$keys $key $claim", $gateway, 'a key and a claim of http';
    is_fine "$keys $claim", "$gateway $key $off",
        'a claim of http where no token is asked for';
    is_fine $keys, "$gateway $claim conduit_gateway_require_claim b 1;",
        'claims without a key';
    is_fine "$keys conduit_gateway_org_id 1;", "$gateway $key $claim",
        'ids of http with a key';

    is_refused $keys, "$gateway $key", 'does not limit who may read the stream',
        'a key without a claim';
    is_refused "$keys $key", $gateway, 'does not limit who may read the stream',
        'a key of http without a claim';
    is_refused '', "$gateway $key $claim", 'no "conduit_gateway_jwt_key_file"',
        'a claim without keys of tokens';
    is_refused $keys, "$gateway $key $claim $off",
        '"conduit_gateway_require_claim" is incompatible with '
        . '"conduit_gateway_auth off"', 'a claim without a token';
    is_refused "$keys $off $claim", "$gateway $key",
        '"conduit_gateway_require_claim" is incompatible with '
        . '"conduit_gateway_auth off"', 'a claim of http and no token in http';
    is_refused "$keys $off", "$gateway $key $claim",
        '"conduit_gateway_require_claim" is incompatible with '
        . '"conduit_gateway_auth off"', 'a claim where http asks for no token';
    is_refused $keys, "$gateway $key $claim conduit_gateway_org_id 1;",
        '"conduit_gateway_org_id" or "conduit_gateway_channel_id" is '
        . 'incompatible with "conduit_gateway_key"', 'ids with a key';

    is_refused $keys, "$gateway $off $k '@{['k' x 1025]}';",
        'must have 1 to 1024 bytes', 'a constant key that is too long';
    is_refused $keys, qq($gateway $off $k "a\tb";),
        'no control characters', 'a constant key with a tab';
    is_refused $keys, qq($gateway $off $k "";), 'must have 1 to 1024 bytes',
        'an empty key';
    is_refused $keys, "$gateway $key $key $off", 'duplicate', 'two keys';
    is_refused $keys, "$gateway $claim $claim",
        'names a claim that another directive', 'a claim given twice';
    is_refused $keys, "$gateway conduit_gateway_require_claim a '';",
        'requires a name and a value', 'a claim without a value';
    is_refused $keys, "$gateway conduit_gateway_require_claim '' a;",
        'requires a name and a value', 'a claim without a name';

    is_fine $keys, "$gateway conduit_gateway_format $_;", "format $_"
        for qw(conduit payload json text durable);
    is_refused $keys, "$gateway conduit_gateway_format xml;",
        'must be "conduit", "payload", "json", "text" or "durable"',
        'format xml';

    is_fine $keys, "$gateway conduit_gateway_format durable;"
                   . "conduit_gateway_durable_type $_;"
                   . 'conduit_gateway_durable_wait 1s;',
        "a stream of $_" for 'text/plain', '"text/plain; charset=utf-8"', 'a/b',
                             q('text/plain ;x="a/b";y=z'), '"text/plain;"',
                             q('text/plain; x="a; b";;y=""'),
                             "image/svg+xml";
    is_fine "$keys conduit_gateway_durable_type text/plain;"
            . 'conduit_gateway_durable_wait 1s;',
        $gateway, 'a type and a time in http, of no use to a location';
    is_refused $keys, "$gateway conduit_gateway_format durable;"
                      . "conduit_gateway_durable_type $_;",
        'must be as in "application/json"', "no media type: $_"
        for 'text', '/plain', 'text/', '""', qq("text/pl\tain"), 'text/é',
            '"text/ plain"', '"text /plain"', 'a/b/c', '"text/;x=y"',
            '"text; x=a/b"', 'text/plain,a/b', '"text/plain; charset"',
            '"text/plain; charset="', '"text/plain; =utf-8"',
            '"text/plain; charset =utf-8"', '"text/plain; charset= utf-8"',
            '"text/plain; x=a/b"', '"text/plain; x=y z"',
            q('text/plain; x="y'), q('text/plain; x="y"z'),
            q('text/plain; x="é"');
    is_refused $keys, "$gateway conduit_gateway_format durable;"
                      . 'conduit_gateway_durable_type a/b;'
                      . 'conduit_gateway_durable_type a/b;',
        'is duplicate', 'two types';
    is_refused $keys, "$gateway conduit_gateway_format durable;"
                      . 'conduit_gateway_durable_wait 0;',
        'must not be zero', 'a long poll without time';

    for my $directive ('type text/plain', 'wait 1s') {
        my ($name) = "durable_$directive" =~ /(\w+)/;

        is_refused $keys, "$gateway $text conduit_gateway_durable_$directive;",
            qq("conduit_gateway_$name" is incompatible with )
            . '"conduit_gateway_format" other than "durable"',
            "$name of another format";
    }

    is_fine $keys, "$gateway $text conduit_gateway_field a;"
                   . 'conduit_gateway_end_field b; conduit_gateway_max_size 1k;',
        'a field, an end field and a limit for the format text';
    is_fine "$keys conduit_gateway_end_field b; conduit_gateway_max_size 1k;",
        $gateway, 'an end field and a limit in http, of no use to a location';
    is_fine $keys, "$gateway conduit_gateway_field a;",
        'another field of messages';
    is_fine "$keys conduit_gateway_after_end stop;", "$gateway $text",
        'to stop after the end in the format text';
    is_fine $keys, "$gateway conduit_gateway_format payload;"
                   . 'conduit_gateway_max_size 1k;',
                       'a limit for the format payload';

    for my $format (qw(conduit payload)) {
        is_refused $keys, "$gateway conduit_gateway_format $format;"
                          . 'conduit_gateway_end_field x;',
            '"conduit_gateway_end_field" is incompatible with '
            . '"conduit_gateway_format conduit" or "payload"',
            "$format: messages say themselves when a stream ends";
    }

    is_refused $keys, "$gateway conduit_gateway_max_size 1k;",
        '"conduit_gateway_max_size" is incompatible with '
        . '"conduit_gateway_format conduit"', 'a limit for the format conduit';
    is_refused $keys, "$gateway $text conduit_gateway_max_size 0;",
        'must not be zero', 'a limit of 0';
    is_refused $keys, "$gateway $text conduit_gateway_end_field off;"
                      . 'conduit_gateway_after_end stop;',
        '"conduit_gateway_after_end stop" is incompatible with '
        . '"conduit_gateway_end_field off"',
            'to stop after an end without a field for it';
    is_refused "$keys conduit_gateway_after_end stop;",
        "$gateway $text conduit_gateway_end_field off;",
        '"conduit_gateway_after_end stop" is incompatible',
            'to stop after an end without a field for it, in http';
    is_refused $keys, "$gateway $text conduit_gateway_field end;",
        'are both "end" .* each entry would end its stream',
            'one field for the data and the end';
    is_refused $keys, "$gateway conduit_gateway_field '';", 'needs a name',
        'a field without a name';
}


# --- other content handlers

my @handlers = ('empty_gif;', 'stub_status;', 'proxy_pass http://127.0.0.1:1;',
                map { "${_}_pass 127.0.0.1:1;" } qw(fastcgi memcached scgi uwsgi));

# refused, and the line that is named is that of our directive
sub is_taken {
    my ($location, $on, $where, $name) = @_;

    my ($directive) = $on =~ /(\w+)/;
    my $out = check($keys, $location);
    my @lines = split /\n/, read_file("$tmp/t.conf");
    my ($line) = grep { $lines[$_ - 1] eq $on } 1 .. @lines;

    my $text = qq(${where}the location of "$directive" in $tmp/t.conf:$line )
               . 'has another content handler';

    like $out, qr/\[emerg\].* \Q$text\E$/m, $name;
}

for my $x (qw(publish gateway)) {
    for my $on ("conduit_$x redis://127.0.0.1;", "conduit_${x}_status;",
                "conduit_${x}_status json;", "conduit_${x}_health live;",
                "conduit_${x}_health ready;")
    {
        my ($directive) = $on =~ /(\w+)/;

        for my $handler (@handlers) {
            is_taken("\n$on\n$handler\n", $on, '', "$on $handler");
            is_refused $keys, "$handler\n$on\n", qq("$directive" directive is )
                . 'in a location that has another content handler',
                "$handler $on";
        }

        for my $handler (grep { /_pass/ } @handlers) {
            is_taken($_, $on, 'an "if" block in ', "$on if { $handler }")
                for "\n$on\nif (\$arg_x) {\n$handler\n}\n",
                    "if (\$arg_x) {\n$handler\n}\n$on\n";
        }

        is_taken($_, $on, 'a "limit_except" block in ', "limit_except in $on")
            for "\n$on\nlimit_except GET { proxy_pass http://127.0.0.1:1; }\n",
                "limit_except POST { proxy_pass http://\$arg_x; }\n$on\n";
    }
}


# --- pages

for my $case (['publish', $publish], ['gateway', $gateway]) {
    my ($x, $on) = @$case;

    is_fine '', "conduit_$x$_;", "conduit_$x$_ stands by itself"
        for '_status', '_status prometheus', '_status json', '_health live',
            '_health ready';

    for my $bad (['_status xml', 'prometheus', 'json'],
                 ['_status live', 'prometheus', 'json'],
                 ['_health json', 'live', 'ready'])
    {
        my ($directive, @values) = @$bad;
        my ($parameter) = $directive =~ / (.*)/;

        # which only the gateway has
        push @values, 'channels' if $x eq 'gateway' && $values[1] eq 'json';

        my $last = pop @values;
        my $values = join ', ', map { qq("$_") } @values;

        is_refused '', "conduit_$x$directive;",
            qq(invalid parameter "$parameter", it must be $values or "$last"),
            "conduit_$x$directive";
    }

    is_refused '', "conduit_$x$_;", 'invalid number of arguments',
        "conduit_$x$_" for '_status json json', '_health', '_health live live';

    my @pages = ("conduit_${x}_status;", "conduit_${x}_status json;",
                 "conduit_${x}_health live;", "conduit_${x}_health ready;",
                 $x eq 'gateway' ? "conduit_${x}_status channels;" : ());

    for my $page (@pages) {
        my ($name) = $page =~ /(\w+)/;

        for my $second (@pages) {
            my ($other) = $second =~ /(\w+)/;

            is_refused '', "$page $second", qq("$other" directive is )
                . ($other eq $name ? 'duplicate' : 'in a location that has '
                   . 'another content handler'), "$page $second";
        }

        is_refused $page, '', 'not allowed here', "$page outside of a location";
        is_refused $keys, "$_ $page",
            qq("$name" directive is in a location that has another content)
            . ' handler', "$_ $page"
            for $on, 'proxy_pass http://127.0.0.1:1;', 'stub_status;';
        is_refused $keys, "$page $on", 'is in a location that has another'
            . ' content handler', "$page $on";
    }
}

is_refused '', 'conduit_publish_status; conduit_gateway_status;',
    'another content handler', 'pages of both modules';


# --- values reach the locations below

my $nginx = nginx_start(
    http => "conduit_publish_rate 3r/s; conduit_gateway_retry 700ms;"
            . "conduit_publish_batch 2; conduit_publish_idempotency 50s;"
            . "conduit_publish_auth off; conduit_gateway_auth off;",
    server => <<"EOC");
    conduit_publish_max_size 300;
    conduit_publish_idle_ttl 50s;

    location /publish/ {
        conduit_publish redis://127.0.0.1:$Conduit::REDIS_PORT;
        conduit_publish_rate 2r/s;

        location ~ ^/publish/own/(\\d+)/(.*) {
            conduit_publish redis://127.0.0.1:$Conduit::REDIS_PORT;
            conduit_publish_org_id \$1;
            conduit_publish_channel_id \$2;
            conduit_publish_max_size 500;
            conduit_publish_rate off;
            conduit_publish_batch 3;
            conduit_publish_idempotency off;
        }

        location /publish/below/ { return 200 "below"; }
    }

    location /events/ {
        conduit_gateway redis://127.0.0.1:$Conduit::REDIS_PORT;
    }
EOC

sub post {
    my ($path, %f) = @_;

    return http($nginx, 'POST', $path, body => message(%f))->{status};
}

my $c = uuid();
my %big = (channel_id => $c, payload => { v => 'x' x 300 });

is post("/publish/9/$c", %big), 413,
    'a size limit of the server holds in its locations';
is post("/publish/own/9/$c", %big), 200,
    'a size limit of the server is replaced in a location';
is join(' ', map { post("/publish/9/$c", channel_id => $c) } 1 .. 3),
    '200 200 429', 'a rate of the location replaces that of http';
is join(' ', map { post("/publish/own/9/$c", channel_id => $c) } 1 .. 9),
    join(' ', (200) x 9), 'a rate of http is switched off in a nested location';

my $ttl = redis('PTTL', "stream:9:$c");
ok $ttl > 20_000 && $ttl <= 50_000,
    "a lifetime of the server holds in its locations: $ttl ms";

sub batch {
    my ($path, $n) = @_;

    return http($nginx, 'POST', $path, body => "{}\n" x $n, headers => {
                'Content-Type' => 'application/x-ndjson',
                'Idempotency-Key' => 'k' });
}

my $other = uuid();
is batch("/publish/9/$other", 3)->{status}, 413, 'a batch over the limit of http';
is batch("/publish/9/$other", 2)->{status}, 200,
    'a batch within the limit of http';
is batch("/publish/9/$other", 2)->{headers}{'idempotency-replayed'}, 'true',
    'an idempotency key is remembered as long as http says';
is batch("/publish/own/9/$other", 3)->{status}, 200,
    'a batch within the limit of the location';
is batch("/publish/own/9/$other", 3)->{headers}{'idempotency-replayed'}, undef,
    'a location forgets idempotency keys where they are off';
is redis('XLEN', "stream:9:$c"), 12, 'all messages are in one stream';
is http($nginx, 'GET', '/publish/below/')->{body}, 'below',
    'a location below does not publish by itself';

my $sse = sse_open($nginx, path => "/events/9?channel_id=$c");
$sse->events(1);
is $sse->retry, 700, 'a value of http reaches the gateway';

done_testing();
