# Copyright (C) Conduit for NGINX authors
#
# conduit_gateway_key: a location can serve any Redis stream.  Claims of the
# token (conduit_gateway_require_claim) or auth_request decide who may read it.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Metrics;
use Conduit::Servers;
use Test::More;

my $REDIS = "redis://127.0.0.1:$Conduit::REDIS_PORT";
my $JWT = "conduit_gateway_jwt_key_file $Conduit::TMP/key.pub;"
          . "conduit_gateway_jwt_issuer $Conduit::ISSUER;"
          . "conduit_gateway_jwt_audience $Conduit::AUDIENCE;";

# what is looked at when somebody reads the error log
logs_tokens(qr/"GET /, 'where no token is asked for nothing is masked');

sub location {
    my ($path, $key, @directives) = @_;

    return "location /$path/ { conduit_gateway $REDIS;"
           . (grep({ /^format/ } @directives)
              ? '' : 'conduit_gateway_format text;')
           . ($key ? qq(conduit_gateway_key "$key";) : '')
           . join('', map { "conduit_gateway_$_;" } @directives) . "}\n";
}

# an application that knows of run 1 alone
my $app_port = free_port();

my $nginx = nginx_start(log_level => 'info',
    http => "server { listen 127.0.0.1:$app_port;"
    . ' if ($args != run=1) { return 403; } return 204; }',
    server => pages() . $JWT
    . 'add_header X-Org "$conduit_verified_org_id";'
    . 'add_header X-Channel "$conduit_verified_channel_id";'
    . location('open', 'run:$arg_run', 'auth off')
    . location('bare', '$arg_key', 'auth off')
    . location('fixed', 'the stream', 'auth off')
    . location('run', 'run:$arg_run', 'require_claim run $arg_run')
    . location('two', 'run:$arg_run', 'require_claim run $arg_run',
               'require_claim tenant "t-$arg_tenant"')
    . location('contract', '', 'require_claim role reader', 'format conduit')
    . location('guarded', 'run:$arg_run', 'auth off')
      =~ s/\{/{ auth_request \/ask;/r
    . 'location = /ask { internal; if ($http_x_pass != yes) { return 403; }'
    . ' return 204; }'
    . location('asked', 'run:$run', 'auth off')
      =~ s/\{/{ set \$run \$arg_run; auth_request \/ask-run;/r
    . "location = /ask-run { internal;"
    . " proxy_pass http://127.0.0.1:$app_port/?run=\$run; }"
    . location('first', 'run:$arg_run', 'require_claim a 1')
      =~ s/\{/{ error_page 418 = \/second\/x?run=\$arg_run;
               if (\$conduit_verified_org_id = 7) { return 418; }/r
    . location('second', 'run:$arg_run', 'require_claim run $arg_run'));

sub reply {
    my ($path, %claims) = @_;

    my $token = gateway_token(org_id => undef, channel_id => undef, %claims);
    my $sse = sse_open($nginx, path => $path, headers => %claims
                       ? { Authorization => "Bearer $token" } : {});

    return $sse;
}

sub status {
    my $sse = reply(@_);

    $sse->end if $sse->status != 200;
    my $status = $sse->status . ($sse->status == 200 ? '' : ' ' . $sse->body);
    $sse->close;

    return $status;
}

sub first { return (reply(@_)->event // {})->{data} }


# --- keys

redis('XADD', 'run:1', '1-0', 'data', 'of run 1');
redis('XADD', 'run:', '1-0', 'data', 'of no run');
redis('XADD', 'the stream', '1-0', 'data', 'fixed');
redis('XADD', 'stream:1:x', '1-0', 'data', 'like one of ours');

is first('/open/x?run=1'), 'of run 1', 'a key can have an argument in it';
is first('/open/x'), 'of no run',
    'an argument that is missing is empty in the key';
is first('/fixed/'), 'fixed', 'a key can be a constant';
is first('/bare/?key=stream:1:x'), 'like one of ours',
    'a key can be an argument alone';

is status('/bare/'), '400 Missing stream key',
    'an argument that is missing makes no key';
is status('/bare/?key='), '400 Missing stream key',
    'an argument that is empty makes no key';

redis('XADD', 'k' x 1024, '1-0', 'data', 'long');
is first('/bare/?key=' . 'k' x 1024), 'long', 'a key of 1024 bytes is taken';
is status('/bare/?key=' . 'k' x 1025), '400 Stream key too long',
    'a key of 1025 bytes is refused';

# NGINX does not decode arguments, but raw bytes come as they are

for my $byte ("\x01", "\x1b", "\x7f") {
    my $status = status("/bare/?key=a${byte}b");

    like $status, qr/^400 /,
        sprintf 'a key with the byte %d is refused', ord $byte;
}

redis('XADD', "\xc3\xa9\xff%00", '1-0', 'data', 'bytes');
is first("/bare/?key=\xc3\xa9\xff%00"), 'bytes',
    'a key may have any other bytes';

# a stream that is not there yet is waited for, one that is no stream is too

my $waits = reply('/open/x?run=later');
redis('XADD', 'run:later', '*', 'data', 'here');
is $waits->event->{data}, 'here',
    'a stream that does not exist yet is waited for';

redis('SET', 'run:string', 'x');
my $wrong = reply('/open/x?run=string');
ok wait_for(10, sub { $nginx->error_log =~
       /reading "run:\$arg_run" failed: WRONGTYPE/ }),
    'a key that is no stream is logged, by the pattern of the location';
redis('DEL', 'run:string');
redis('XADD', 'run:string', '*', 'data', 'mended');
is $wrong->event->{data}, 'mended',
    'the clients of a key that is no stream wait for a stream';

unlike join("\n", grep { /conduit: redis/ } split /\n/, $nginx->error_log),
    qr/run:(?:string|later)/, 'no key is in the log';


# --- claims

my $P = '/run/x?run=1';

is first($P, run => '1'), 'of run 1', 'a claim can be a string';
is first($P, run => 1), 'of run 1', 'a claim can be a number';
is first($P, run => 1.0), 'of run 1',
    'a claim is the same however its number is written';

my $denied = '403 Invalid token claims';

for my $case (['another string', run => '2'], ['another number', run => 2],
              ['a longer one', run => '11'], ['a shorter one', run => ''],
              ['true', run => JSON::PP::true], ['a list', run => ['1']],
              ['an object', run => { 1 => '1' }], ['a fraction', run => 1.5],
              ['no such claim', ruN => '1'],
              ['a string with a zero byte', run => "1\0"])
{
    my ($name, @claims) = @$case;

    is status($P, @claims), $denied, "refused: $name";
}

is status('/run/x?run=01', run => 1), $denied,
    'an argument must be spelled as the number in the claim is';
is status('/run/x?run=-5', run => -5), 200, 'a claim can be a negative number';
is status('/run/x?run=18446744073709551615', run => 18446744073709551615), 200,
    'a claim can be a number of 64 bits';
is status('/run/x', run => ''), $denied, 'an empty argument matches no claim';

is status($P), '400 Missing token', 'a claim needs a token';
is status($P, run => '1', exp => time - 100), '401 Token expired',
    'an expired token is refused';
is status($P, run => '1', iss => 'x'), '401 Invalid token',
    'a token of another issuer is refused';
is status('/run/x?run=' . 'k' x 1024, run => 'k'), '400 Stream key too long',
    'the length of the key is checked before the claims';

my %two = (run => '1', tenant => 't-9');

is first('/two/x?run=1&tenant=9', %two), 'of run 1',
    'a token that has both claims is taken';
is status('/two/x?run=1&tenant=8', %two), $denied,
    'a token with another second claim is refused';
is status('/two/x?run=2&tenant=9', %two), $denied,
    'a token with another first claim is refused';
is status('/two/x?run=1&tenant=9', run => '1'), $denied,
    'a token without the second claim is refused';

moves($nginx, 'gateway', 'a claim that is refused is counted',
      sub { status($P, run => 2) },
      'auth_failures_total{reason="required_claim"}' => 1,
      'requests_total{outcome="forbidden"}' => 1);
like $nginx->error_log, qr/a token whose claim "run" is missing or does not/,
    'the log names the claim';

# with the contract's keys, both hold

my $C = "/contract/$ORG?channel_id=$CHANNEL";
my @IDS = (org_id => 0 + $ORG, channel_id => $CHANNEL);

is status($C, @IDS, role => 'reader'), 200,
    'a location of the contract can require a claim';
is status($C, @IDS, role => 'writer'), $denied,
    "the contract's keys: another claim is refused";
is status($C, @IDS), $denied,
    "the contract's keys: a missing claim is refused";
is status($C, @IDS, org_id => 7, role => 'reader'), $denied,
    "the contract's keys: another organization is refused";
is status($C, role => 'reader'), '401 Invalid token',
    "the contract's keys: a token without organization is refused";


# --- what else a location has

my $guarded = sse_open($nginx, path => '/guarded/x?run=1',
                       headers => { 'X-Pass' => 'yes' });
is $guarded->event->{data}, 'of run 1', 'auth_request lets a request in';
is http($nginx, 'GET', '/guarded/x?run=1')->{status}, 403,
    'auth_request refuses a request';

my $asked = sse_open($nginx, path => '/asked/x?run=1');
is $asked->event->{data}, 'of run 1',
    'an application lets a request in by its run';
$asked->close;
is http($nginx, 'GET', '/asked/x?run=2')->{status}, 403,
    'an application refuses a request by its run';

my $sse = reply($P, run => '1');
is_deeply [@{ $sse->headers }{qw(x-org x-channel)}], [undef, undef],
    'a token without ids: the verified variables are empty';

$sse = reply($P, run => '1', @IDS);
is_deeply [@{ $sse->headers }{qw(x-org x-channel)}], [$ORG, $CHANNEL],
    'a token with ids: the verified variables are these';

# a redirect leads to a location with the same keys and other claims: they are
# looked at anew

is status('/first/x?run=1', a => 1), 200,
    'before a redirect, the claims of the first location count';
is status('/first/x?run=1', a => 1, run => '1', org_id => 7), 200,
    'after a redirect, the claims of the second location count';
is status('/first/x?run=1', a => 1, run => '2', org_id => 7), $denied,
    'after a redirect, a wrong claim for the second location is refused';

# a stream of any key resumes like one of the contract

redis('XADD', 'run:1', '2-0', 'data', 'more');
$sse = sse_open($nginx, path => '/open/x?run=1&last_event_id=1-0');
is $sse->event->{data}, 'more',
    'a stream of any key resumes from last_event_id';

is $nginx->stop, 0, 'NGINX quits';


# --- in a cluster, the slot follows the key, its hash tag included

my $cluster = Conduit::Servers->cluster(replicas => 0);

my $cnginx = nginx_start(server => '
    location /open/ { conduit_gateway ' . $cluster->url . ';
        conduit_gateway_auth off; conduit_gateway_format text;
        conduit_gateway_key "$arg_key"; }');

for my $key ('a', 'b', 'c', 'run:{user}:1', 'x{}y{z}', '{}a', 'a{b', 'a}b{c}')
{
    my $listens = sse_open($cnginx, path => "/open/?key=$key");

    $cluster->command($cluster->owner($key), 'XADD', $key, '*', 'data', $key);
    is $listens->event(20)->{data}, $key,
        "cluster: the key $key is read where its slot is";
    $listens->close;
}

unlike $cnginx->error_log, qr/MOVED/,
    'cluster: no command went to a wrong server';
is $cnginx->stop, 0, 'NGINX quits';

done_testing();
