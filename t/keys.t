# Copyright (C) Conduit for NGINX authors
#
# Keys of all types and forms, and their IDs: a token is verified with the key
# that its "kid" names, by the algorithm of that key, and with no other key.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use JSON::PP ();
use MIME::Base64 qw(decode_base64 encode_base64url);
use Test::More;

my @KIDS = qw(a ab abc);
my $tmp = $Conduit::TMP;

my %secret;

for my $kid (@KIDS) {
    $secret{$kid} = "the secret of the key with the ID $kid";
    write_file("$tmp/secret.$kid", $secret{$kid});
    system("openssl genrsa -out $tmp/$kid.pem 2048 2>/dev/null"
           . " && openssl rsa -in $tmp/$kid.pem -pubout -out $tmp/$kid.pub"
           . ' 2>/dev/null') == 0 or die 'openssl failed';
}

sub keys_of {
    my ($directive, @files) = @_;

    return join '', map { "$directive $_;\n" } @files;
}

# both modules, with these directives

sub start_with {
    my ($publish, $gateway) = @_;

    return nginx_start(server => <<"EOC");
    location /publish/ {
        conduit_publish redis://127.0.0.1:$Conduit::REDIS_PORT;
        conduit_publish_rate off;
        $publish
    }
    location /events/ {
        conduit_gateway redis://127.0.0.1:$Conduit::REDIS_PORT;
        $gateway
    }
EOC
}

# both modules, with the keys in an order

sub start {
    my @kids = @_;

    return start_with(keys_of('conduit_publish_jwt_secret_file',
                              map { "$tmp/secret.$_ kid=$_" } @kids),
                      keys_of('conduit_gateway_jwt_key_file',
                              map { "$tmp/$_.pub kid=$_" } @kids));
}

my $nginx;

sub publishes {
    my ($kid, $key) = @_;

    return http($nginx, 'POST', "/publish/$ORG/$CHANNEL", body => message(),
                headers => { Authorization => 'Bearer '
                             . publish_token(-kid => $kid,
                                             -key => $secret{$key}) })
           ->{status};
}

sub listens {
    my ($kid, $key) = @_;

    my $sse = sse_open($nginx, token => gateway_token(-kid => $kid,
                                                      -key => "$tmp/$key.pem"));
    my $status = $sse->status;

    $sse->close;
    return $status;
}

my %MODULES = (publish => \&publishes, gateway => \&listens);

sub reasons {
    return join ' ', $nginx->error_log =~ /an invalid token: (\w+)/g;
}

for my $order (\@KIDS, [reverse @KIDS], [@KIDS[1, 2, 0]]) {
    $nginx = start(@$order);

    my @reasons;

    for my $module (sort keys %MODULES) {
        my $status = $MODULES{$module};

        for my $kid (@KIDS) {
            is join(' ', map { $status->($kid, $_) } @KIDS),
                join(' ', map { $_ eq $kid ? 200 : 401 } @KIDS),
                "$module, keys @$order: $kid is verified with the key $kid";
            push @reasons, ('signature') x 2;
        }

        for my $kid ('', 'abcd', 'b', 'A') {
            is join(' ', map { $status->($kid, $_) } @KIDS), '401 401 401',
                "$module, keys @$order: \"$kid\" is no key's";
            push @reasons, ('kid') x 3;
        }
    }

    is http($nginx, 'GET', events_path(token => gateway_token(
               -kid => 'b', -key => "$tmp/$KIDS[0].pem")))->{body},
        'Invalid token', 'a client is told no more than that';
    push @reasons, 'kid';

    is reasons(), "@reasons", 'the log says what is wrong with each';
    is $nginx->stop, 0, 'NGINX quits';
}


# --- keys of all types

# what openssl makes, the algorithm, the curve of a JWK

my %TYPES = (
    rsa => ['genrsa 2048', 'RS256'],
    pss => ['genrsa 2048', 'PS256'],
    p256 => ['ecparam -genkey -noout -name prime256v1', 'ES256', 'P-256'],
    p384 => ['ecparam -genkey -noout -name secp384r1', 'ES384', 'P-384'],
    ed => ['genpkey -algorithm ed25519', 'EdDSA', 'Ed25519'],
);

my @TYPES = sort keys %TYPES;

for my $type (@TYPES) {
    system("openssl $TYPES{$type}[0] >$tmp/$type.pem 2>/dev/null"
           . " && openssl pkey -in $tmp/$type.pem -pubout -out $tmp/$type.pub")
        == 0 or die 'openssl failed';
}

# the members of a JWK, out of the end of the key's DER

sub jwk {
    my ($type, %more) = @_;

    my (undef, $alg, $crv) = @{ $TYPES{$type} };
    my $der = decode_base64(read_file("$tmp/$type.pub") =~ s/^-.*\n//mgr);

    if (!$crv) {
        my ($n) = `openssl rsa -pubin -in $tmp/$type.pub -noout -modulus`
                  =~ /=(\w+)/;

        return { kty => 'RSA', n => encode_base64url(pack 'H*', $n),
                 e => 'AQAB', alg => $alg, %more };
    }

    my $size = $crv eq 'P-384' ? 48 : 32;

    return { kty => 'OKP', crv => $crv,
             x => encode_base64url(substr $der, -$size), %more }
        if $crv eq 'Ed25519';

    return { kty => 'EC', crv => $crv,
             x => encode_base64url(substr $der, -2 * $size, $size),
             y => encode_base64url(substr $der, -$size), %more };
}

sub write_jwks {
    my ($name, @keys) = @_;

    write_file("$tmp/$name", JSON::PP->new->encode({ keys => \@keys }));
    return "$tmp/$name";
}

# the statuses of both modules for a token that says and is signed so

sub statuses {
    my ($alg, $type, %f) = @_;

    my $key = $alg =~ /^HS/ ? read_file("$tmp/$type.pub") : "$tmp/$type.pem";

    my $publish = http($nginx, 'POST', "/publish/$ORG/$CHANNEL",
                       body => message(), headers => { Authorization =>
                       'Bearer ' . publish_token(-alg => $alg, -key => $key,
                                                 %f) });
    my $sse = sse_open($nginx, token => gateway_token(-alg => $alg,
                                                      -key => $key, %f));
    my $status = $sse->status;

    $sse->close;

    return "$publish->{status} $status";
}

write_file("$tmp/all.pem", join '', map { read_file("$tmp/$_.pub") }
                                    grep { $_ ne 'pss' } @TYPES);
write_file("$tmp/long", "a secret of publishers, longer than 32 bytes\n");

my %files = (
    'a JWK set' => write_jwks('all.json', map { jwk($_, kid => $_, use => 'sig') }
                                          @TYPES),
    'a PEM file' => "$tmp/all.pem",
);

for my $form (sort keys %files) {
    $nginx = start_with(
        "conduit_publish_jwt_secret_file $tmp/long kid=secret;"
        . "conduit_publish_jwt_key_file $files{$form};",
        "conduit_gateway_jwt_key_file $files{$form};");

    for my $type (grep { $form =~ /JWK/ || $_ ne 'pss' } @TYPES) {
        my $alg = $TYPES{$type}[1];

        is statuses($alg, $type), '200 200', "$form: $alg without a kid";
        is statuses($alg, $type, -kid => $type),
            '200 200', "$form: $alg with its kid";
        is statuses($alg, $type, -kid => 'other'),
            $form =~ /JWK/ ? '401 401' : '200 200',
            "$form: $alg with another kid";
        is statuses('HS256', $type), '401 401',
            "$form: the public key of $alg as a secret";
    }

    is statuses('PS256', 'rsa'), '401 401', "$form: PS256 with a key for RS256";
    is statuses('RS256', 'pss'), '401 401', "$form: RS256 with another key";

    is http($nginx, 'POST', "/publish/$ORG/$CHANNEL", body => message(),
            headers => { Authorization => 'Bearer ' . publish_token(
                -key => 'a secret of publishers, longer than 32 bytes') })
       ->{status}, 200, "$form: HS256 beside it";

    my %reasons = map { $_ => 1 } $nginx->error_log
                  =~ /an invalid token: (\w+)/g;

    is join(' ', sort keys %reasons), $form =~ /JWK/
        ? 'algorithm kid signature' : 'algorithm signature',
        "$form: the log says why";
    is $nginx->stop, 0, 'NGINX quits';
}


# --- sets of which one key fits, rotation, inheritance

my $one = write_jwks('one.json', jwk('rsa', use => 'enc'),
                     jwk('p384', key_ops => ['deriveKey']),
                     { kty => 'EC', crv => 'P-521', x => 'AA', y => 'AA' },
                     jwk('p256', kid => 'p256'));
my $two = write_jwks('two.json', jwk('ed', kid => 'ed'));

$nginx = nginx_start(
    http => "conduit_publish_jwt_secret_file $tmp/long;",
    server => <<"EOC");
    conduit_gateway_jwt_key_file $one;
    conduit_gateway_jwt_key_file $two;
    conduit_gateway_jwt_key_file $tmp/a.pub kid=a;

    location /publish/ {
        conduit_publish redis://127.0.0.1:$Conduit::REDIS_PORT;
        conduit_publish_jwt_key_file $tmp/p256.pub;
    }
    location /events/ {
        conduit_gateway redis://127.0.0.1:$Conduit::REDIS_PORT;
    }
EOC

is statuses('ES256', 'p256', -kid => 'p256'), '200 200', 'a key of one file';
is statuses('EdDSA', 'ed', -kid => 'ed'), '401 200', 'a key of another one';
is statuses('RS256', 'a', -kid => 'a'), '401 200', 'a key of PEM beside them';
is statuses('RS256', 'rsa'), '401 401', 'a key for encryption';
is statuses('ES384', 'p384'), '401 401', 'a key for something else';
is http($nginx, 'POST', "/publish/$ORG/$CHANNEL", body => message(),
        headers => { Authorization => 'Bearer ' . publish_token(
            -key => 'a secret of publishers, longer than 32 bytes') })
   ->{status}, 401, 'a secret of http where the location has a key';

done_testing();
