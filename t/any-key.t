# conduit_gateway_key: any Redis stream, and who may read it.

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

is first('/open/x?run=1'), 'of run 1', 'a key with an argument';
is first('/open/x'), 'of no run', 'an argument that is missing is empty';
is first('/fixed/'), 'fixed', 'a key without one';
is first('/bare/?key=stream:1:x'), 'like one of ours', 'any key';

is status('/bare/'), '400 Missing stream key', 'an empty key';
is status('/bare/?key='), '400 Missing stream key', 'likewise';

redis('XADD', 'k' x 1024, '1-0', 'data', 'long');
is first('/bare/?key=' . 'k' x 1024), 'long', 'a key of a KiB';
is status('/bare/?key=' . 'k' x 1025), '400 Stream key too long',
    'a longer key';

# NGINX does not decode arguments, but raw bytes come as they are

for my $byte ("\x01", "\x1b", "\x7f") {
    my $status = status("/bare/?key=a${byte}b");

    like $status, qr/^400 /, sprintf 'a key with the byte %d', ord $byte;
}

redis('XADD', "\xc3\xa9\xff%00", '1-0', 'data', 'bytes');
is first("/bare/?key=\xc3\xa9\xff%00"), 'bytes', 'a key of any other bytes';

# a stream that is not there yet is waited for, one that is no stream is too

my $waits = reply('/open/x?run=later');
redis('XADD', 'run:later', '*', 'data', 'here');
is $waits->event->{data}, 'here', 'a stream that comes later';

redis('SET', 'run:string', 'x');
my $wrong = reply('/open/x?run=string');
ok wait_for(10, sub { $nginx->error_log =~
       /reading "run:\$arg_run" failed: WRONGTYPE/ }),
    'a key of another type is in the log, by the pattern';
redis('DEL', 'run:string');
redis('XADD', 'run:string', '*', 'data', 'mended');
is $wrong->event->{data}, 'mended', 'its clients wait for a stream';

unlike join("\n", grep { /conduit: redis/ } split /\n/, $nginx->error_log),
    qr/run:(?:string|later)/, 'no key is in the log';


# --- claims

my $P = '/run/x?run=1';

is first($P, run => '1'), 'of run 1', 'a claim that is a string';
is first($P, run => 1), 'of run 1', 'one that is a number';
is first($P, run => 1.0), 'of run 1', 'however it is written';

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

is status('/run/x?run=01', run => 1), $denied, 'a number has one spelling';
is status('/run/x?run=-5', run => -5), 200, 'a negative number';
is status('/run/x?run=18446744073709551615', run => 18446744073709551615), 200,
    'a number of 64 bits';
is status('/run/x', run => ''), $denied, 'an empty value is no claim';

is status($P), '400 Missing token', 'no token';
is status($P, run => '1', exp => time - 100), '401 Token expired', 'expired';
is status($P, run => '1', iss => 'x'), '401 Invalid token', 'another issuer';
is status('/run/x?run=' . 'k' x 1024, run => 'k'), '400 Stream key too long',
    'the key comes before the claims';

my %two = (run => '1', tenant => 't-9');

is first('/two/x?run=1&tenant=9', %two), 'of run 1', 'two claims';
is status('/two/x?run=1&tenant=8', %two), $denied, 'the second is another';
is status('/two/x?run=2&tenant=9', %two), $denied, 'the first is another';
is status('/two/x?run=1&tenant=9', run => '1'), $denied, 'the second is none';

moves($nginx, 'gateway', 'a claim is counted', sub { status($P, run => 2) },
      'auth_failures_total{reason="required_claim"}' => 1,
      'requests_total{outcome="forbidden"}' => 1);
like $nginx->error_log, qr/a token whose claim "run" is not the one that/,
    'the log names the claim';

# with the contract's keys, both hold

my $C = "/contract/$ORG?channel_id=$CHANNEL";
my @IDS = (org_id => 0 + $ORG, channel_id => $CHANNEL);

is status($C, @IDS, role => 'reader'), 200, 'the contract, and a claim';
is status($C, @IDS, role => 'writer'), $denied, 'the claim is another';
is status($C, @IDS), $denied, 'there is no claim';
is status($C, @IDS, org_id => 7, role => 'reader'), $denied,
    'the organization is another';
is status($C, role => 'reader'), '401 Invalid token',
    'there is no organization';


# --- what else a location has

my $guarded = sse_open($nginx, path => '/guarded/x?run=1',
                       headers => { 'X-Pass' => 'yes' });
is $guarded->event->{data}, 'of run 1', 'auth_request lets in';
is http($nginx, 'GET', '/guarded/x?run=1')->{status}, 403,
    'auth_request refuses';

my $asked = sse_open($nginx, path => '/asked/x?run=1');
is $asked->event->{data}, 'of run 1', 'the application is asked of the run';
$asked->close;
is http($nginx, 'GET', '/asked/x?run=2')->{status}, 403, 'of the one meant';

my $sse = reply($P, run => '1');
is_deeply [@{ $sse->headers }{qw(x-org x-channel)}], [undef, undef],
    'a token without ids has no verified ones';

$sse = reply($P, run => '1', @IDS);
is_deeply [@{ $sse->headers }{qw(x-org x-channel)}], [$ORG, $CHANNEL],
    'of a token with ids these are';

# a redirect leads to a location with the same keys and other claims: they are
# looked at anew

is status('/first/x?run=1', a => 1), 200, 'the claims of the first';
is status('/first/x?run=1', a => 1, run => '1', org_id => 7), 200,
    'those of the second';
is status('/first/x?run=1', a => 1, run => '2', org_id => 7), $denied,
    'those of the first, at the second';

# it resumes like any other

redis('XADD', 'run:1', '2-0', 'data', 'more');
$sse = sse_open($nginx, path => '/open/x?run=1&last_event_id=1-0');
is $sse->event->{data}, 'more', 'last_event_id';

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
    is $listens->event(20)->{data}, $key, "cluster: $key";
    $listens->close;
}

unlike $cnginx->error_log, qr/MOVED/, 'cluster: nobody was asked in vain';
is $cnginx->stop, 0, 'NGINX quits';

done_testing();
