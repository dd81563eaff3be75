# Copyright (C) Conduit for NGINX authors
#
# The cache of verified tokens: the signature of a token that is used again is
# not checked again, and the token grants no more than it did before.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Metrics;
use Test::More;
use Time::HiRes qw(sleep time);

my $STORM = 60;      # clients that come with one token
my $SIZE = 8;        # tokens of a small cache
my $tmp = $Conduit::TMP;
my $redis = "redis://127.0.0.1:$Conduit::REDIS_PORT";

my %secret = map { $_ => "the secret of publishers with the key $_" } qw(a b);

for my $key (qw(a b)) {
    write_file("$tmp/secret.$key", $secret{$key});
    system("openssl genrsa -out $tmp/$key.pem 2048 2>/dev/null"
           . " && openssl rsa -in $tmp/$key.pem -pubout -out $tmp/$key.pub"
           . ' 2>/dev/null') == 0 or die 'openssl failed';
}

# the files that are changed before a reload
sub use_key {
    my $key = shift;

    write_file("$tmp/current.$_->[0]", read_file("$tmp/$_->[1]"))
        for ['secret', "secret.$key"], ['pub', "$key.pub"];
}

sub publishing {
    my ($name, @directives) = @_;

    return "location /$name/ { conduit_publish $redis;"
           . ' conduit_publish_rate off;'
           . join('', map { "conduit_publish_$_;\n" } @directives) . '}';
}

sub listening {
    my ($name, @directives) = @_;

    return "location /$name/ { conduit_gateway $redis;"
           . join('', map { "conduit_gateway_$_;\n" } @directives) . '}';
}

use_key('a');

my $nginx = nginx_start(server => pages()
    . "conduit_publish_jwt_secret_file $tmp/current.secret;"
    . "conduit_gateway_jwt_key_file $tmp/current.pub;"
    . join '', (map { ("conduit_${_}_jwt_issuer sentry;",
                       "conduit_${_}_jwt_audience conduit;") }
                    qw(publish gateway)),

    publishing('publish'), listening('events'),
    publishing('same'), listening('events-same'),
    publishing('claim', 'org_claim on'),
    publishing('off', 'jwt_cache off'),
    listening('events-off', 'jwt_cache off'),
    publishing('small', "jwt_cache $SIZE"),
    publishing('other', "jwt_secret_file $tmp/secret.b"),
    listening('events-other', "jwt_key_file $tmp/b.pub"),
    publishing('issuer', 'jwt_issuer other'),
    listening('events-issuer', 'jwt_issuer other'),
    publishing('audience', 'jwt_audience other'),
    listening('events-audience', 'jwt_audience other'),
    publishing('any', 'jwt_issuer ""'),
    listening('events-any', 'jwt_issuer ""'),
    publishing('kids', map { "jwt_secret_file $tmp/secret.$_ kid=$_" }
                           qw(a b)),
    listening('events-kids', map { "jwt_key_file $tmp/$_.pub kid=$_" }
                                 qw(a b)));

sub publishes {
    my ($name, $token, %o) = @_;

    return http($nginx, 'POST', "/$name/" . ($o{org} // $ORG) . "/$CHANNEL",
                body => message(),
                headers => { Authorization => "Bearer $token" });
}

sub listens {
    my ($name, $token, %o) = @_;

    my $path = events_path(token => $token, %o) =~ s{/events/}{/$name/}r;
    my $sse = sse_open($nginx, path => $path);
    my $status = $sse->status;

    $sse->end(20) if $status != 200;

    my $body = $sse->body;

    $sse->close;

    return { status => $status, body => $body };
}

my %MODULES = (publish => [\&publishes, '', \&new_publisher],
               gateway => [\&listens, 'events-', \&new_client]);

sub new_publisher { publish_token(-key => $secret{a}, @_) }

sub new_client { gateway_token(-key => "$tmp/a.pem", @_) }

# what the counters of a module have gone up by: "hits misses"
my %counted;

sub counted {
    my $module = shift;

    my $now = metrics($nginx, $module);
    my @now = map { $now->{"jwt_cache_${_}_total"} } qw(hits misses);
    my $before = $counted{$module} // [0, 0];

    $counted{$module} = \@now;

    return join ' ', map { $now[$_] - $before->[$_] } 0, 1;
}

sub is_counted {
    my ($module, $hits, $misses, $name) = @_;

    is counted($module), "$hits $misses", "$module: $name";
}


# --- once verified, in all locations that verify alike

for my $module (sort keys %MODULES) {
    my ($ask, $prefix, $new) = @{ $MODULES{$module} };
    my $own = $module eq 'publish' ? 'publish' : 'events';
    my $token = $new->();

    is_counted($module, 0, 0, 'nothing is counted before a token comes');

    is $ask->($own, $token)->{status}, 200, "$module: a token is good";
    is_counted($module, 0, 1, 'its signature is verified');

    is join(' ', map { $ask->($own, $token)->{status} } 1 .. $STORM),
        join(' ', (200) x $STORM), "$module: a storm with one token";
    is_counted($module, $STORM, 0, 'no signature is verified again');

    is $ask->("${prefix}same", $token)->{status}, 200,
        "$module: another location with the same keys";
    is_counted($module, 1, 0, 'the token is known there');

    is join(' ', map { $ask->("${prefix}off", $token)->{status} } 1, 2),
        '200 200', "$module: a location without a cache";
    is_counted($module, 0, 0, 'nothing is counted there');


    # --- what is not the same token, or not the same question

    for my $name (qw(other issuer audience)) {
        is $ask->("$prefix$name", $token)->{status}, 401,
            "$module: a token that is known is refused by another "
            . ($name eq 'other' ? 'key' : $name);
        is $ask->("$prefix$name", $token)->{status}, 401, 'each time';
        is_counted($module, 0, 2, 'the token is verified each time');
    }

    is $ask->("${prefix}any", $token)->{status}, 200,
        "$module: a location that accepts any issuer";
    is_counted($module, 0, 1,
        'a location that accepts any issuer verifies the token itself');

    my $stranger = $new->(iss => 'stranger');

    is join(' ', map { $ask->($_, $stranger)->{status} }
                 "${prefix}any", "${prefix}any", $own), '200 200 401',
        "$module: a token that is known there is refused here";
    is_counted($module, 1, 2,
        'the token of another issuer is verified in both locations');

    my $forged = $token =~ s/(.)(.)$/($1 eq 'A' ? 'B' : 'A') . $2/er;

    is join(' ', map { $ask->($own, $forged)->{status} } 1 .. 3), '401 401 401',
        "$module: another signature of a token that is known";
    is_counted($module, 0, 3, 'a token that is refused is not kept');

    my $long = $new->(x => 'x' x 3500);

    is join(' ', map { $ask->($own, $long)->{status} } 1, 2), '200 200',
        "$module: a token of more than 4096 bytes";
    is_counted($module, 0, 2, 'a token of more than 4096 bytes is not kept');


    # --- kid

    my %of = map { $_ => $new->(-kid => $_, -key => $module eq 'publish'
                                ? $secret{$_} : "$tmp/$_.pem") } qw(a b);
    my $wrong = $new->(-kid => 'b');

    is join(' ', map { $ask->("${prefix}kids", $_)->{status} }
                 (@of{qw(a b)}, $wrong) x 2), '200 200 401 200 200 401',
        "$module: keys with a kid";
    is_counted($module, 2, 4, 'the good tokens are known the second time');
    is $ask->($own, $of{b})->{status}, 401,
        "$module: a token that is known there is refused by the key here";
    is_counted($module, 0, 1, 'a token with a kid of another key is verified');


    # --- nbf and exp

    my $early = $new->(nbf => int(time) + 40);

    is join(' ', map { $ask->($own, $early)->{status} } 1, 2), '200 200',
        "$module: nbf within the tolerance";
    is_counted($module, 1, 1, 'a token with nbf within the tolerance is kept');

    my $exp = int(time) - 52;
    my $late = $new->(exp => $exp);
    my $r;

    is join(' ', map { $ask->($own, $late)->{status} } 1, 2), '200 200',
        "$module: exp within the tolerance";
    is_counted($module, 1, 1, 'a token with exp within the tolerance is kept');

    wait_for(30, sub { ($r = $ask->($own, $late))->{status} != 200 });

    is $r->{status}, 401, "$module: exp passes while the token is known";
    like $r->{body}, qr/Token expired/, 'the answer says so';
    cmp_ok time, '>=', $exp + 60,
        'a token is not refused before the tolerance is over';
    counted($module);
    is $ask->($own, $late)->{status}, 401,
        'a token whose exp has passed stays refused';
    is_counted($module, 0, 1, 'a token whose exp has passed is forgotten');
}


# --- organization and channel are looked at each time

my $token = new_client();

for my $known (0, 1) {
    is listens('events', $token, channel_id => uuid())->{status}, 403,
        'gateway: another channel, the token ' . ($known ? 'known' : 'new');
    is listens('events', $token, org => 124)->{status}, 403,
        'gateway: another organization';
}

is_counted('gateway', 3, 1,
    'a client of another channel or organization has a good token');
is listens('events', $token)->{status}, 200, 'gateway: its own channel';

$token = new_publisher();

is publishes('publish', $token)->{status}, 200,
    'publish: a token without an organization';
is publishes('claim', $token)->{status}, 401,
    'publish: a token that is known is refused where one is asked for';

$token = new_publisher(org_id => 0 + $ORG);

is join(' ', map { publishes('claim', $token, org => $_)->{status} }
             $ORG, 124, $ORG, 124), '200 403 200 403',
    'publish: another organization with a token that is known';
counted($_) for qw(publish gateway);


# --- the bound

my @tokens = map { new_publisher(jti => $_) } 0 .. $SIZE;

is join(' ', map { publishes('small', $_)->{status} } @tokens),
    join(' ', (200) x @tokens), 'publish: one token more than there is room';
is_counted('publish', 0, $SIZE + 1, 'all are verified');

is join(' ', map { publishes('small', $_)->{status} } @tokens[1 .. $SIZE]),
    join(' ', (200) x $SIZE), 'publish: the last ones again';
is_counted('publish', $SIZE, 0, 'the last tokens are known');

is publishes('small', $tokens[0])->{status}, 200, 'publish: the first one';
is_counted('publish', 0, 1, 'the first token made room for the last one');


# --- a reload: nothing outlives its key

sub reload {
    my %old = map { $_ => 1 } $nginx->workers;

    $nginx->reload;
    wait_for(30, sub { !grep { $old{$_} } $nginx->workers })
        or die 'the old worker stays';
}

my %known = (publish => new_publisher(), gateway => new_client());

sub both { join ' ', publishes('publish', $known{publish})->{status},
                     listens('events', $known{gateway})->{status} }

is both(), '200 200', 'tokens of a key';
is both(), '200 200', 'tokens of a key are known';
counted($_) for qw(publish gateway);

use_key('b');
reload();
is both(), '401 401', 'a reload with another key: refused at once';
is_counted($_, 0, 1,
    'after a reload with another key, tokens are '
    . 'verified') for qw(publish gateway);

use_key('a');
reload();
is both(), '200 200', 'a reload with the first key';
is_counted($_, 0, 1,
    'after a reload with the first key, tokens are '
    . 'verified') for qw(publish gateway);

reload();
is both(), '200 200', 'a reload without a change';
is_counted($_, 0, 1,
    'after a reload without a change, tokens are '
    . 'verified') for qw(publish gateway);
is both(), '200 200',
    'after a reload without a change, tokens are accepted again';
is_counted($_, 1, 0,
    'tokens are known when they are used again after a '
    . 'reload') for qw(publish gateway);
is $nginx->stop, 0, 'NGINX quits';


# --- workers have a cache each

$nginx = nginx_start(workers => 2, server => pages() . gateway_location());
%counted = ();
$token = gateway_token();

my @clients = map { sse_open($nginx, token => $token) } 1 .. $STORM;

is scalar(grep { $_->status == 200 } @clients), $STORM,
    'two workers: a storm with one token';

my ($hits, $misses) = split ' ', counted('gateway');

is $hits + $misses, $STORM, 'each client is counted once';
cmp_ok $misses, '<=', 2, 'the signature is verified once a worker';

done_testing();
