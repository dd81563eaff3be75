# Copyright (C) Conduit for NGINX authors
#
# Who may publish: the Authorization header, the token in it, and the keys.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Blocks;
use Digest::SHA qw(hmac_sha256 hmac_sha512);
use MIME::Base64 qw(encode_base64url);
use Test::Nginx::Socket 'no_plan';

our $SECRET = read_file("$Conduit::TMP/secret");
our $KEY = read_file("$Conduit::TMP/key.pub");

our $OLD = "$Conduit::TMP/secret-old";
our $NEW = "$Conduit::TMP/secret-new";

write_file($OLD, "the secret of last year\n");
write_file($NEW, "the secret of this year\n");

our ($GOOD, $BAD, $OTHER);   # tokens that must not be logged

our $CLAIMS = '"iss":"sentry","aud":"conduit","sub":"publisher"';


# the function for "--- publish": tokens are made when the block runs, as they
# have their times

sub with {
    my @args = @_;

    return sub { +{ token => publish_token(@args) } };
}

# a token of any text, signed as asked for

sub token {
    my ($header, $claims, $sign) = @_;

    my $text = encode_base64url($header) . '.' . encode_base64url($claims);
    my $signature = ($sign // sub { hmac_sha256($_[0], $SECRET) })->($text);

    return $text . '.' . encode_base64url($signature);
}

sub hs256 {
    my $claims = shift;

    return token('{"alg":"HS256"}', $claims);
}

sub in { return int(time) + shift }

# a good token with more members in its header and in its claims

sub more {
    my ($header, $claims) = @_;

    return sub { +{ token => token("{\"alg\":\"HS256\"$header}",
                                   "{$CLAIMS,\"exp\":" . in(600)
                                   . "$claims}") } };
}

run_tests();

__DATA__

=== TEST 1: a good token
--- publish eval: {}
--- error_code: 200
--- stored
--- no_error_log
[error]



=== TEST 2: no Authorization header
--- publish eval: { token => undef }
--- error_code: 401
--- response_headers
Content-Type: text/plain
WWW-Authenticate: Bearer
--- response_body chop
Missing authorization header
--- not_stored
--- no_error_log
[error]



=== TEST 3: another scheme than Bearer
--- publish eval
{ token => undef, headers => { Authorization => 'Basic dXNlcjpwYXNz' } }
--- error_code: 401
--- response_headers
Content-Type: text/plain
WWW-Authenticate: Bearer
--- response_body chop
Invalid authorization format
--- not_stored



=== TEST 4: a token without a scheme
--- publish eval
sub { +{ token => undef, headers => { Authorization => publish_token() } } }
--- error_code: 401
--- response_headers
WWW-Authenticate: Bearer
--- response_body chop
Invalid authorization format
--- not_stored



=== TEST 5: the scheme alone
--- publish eval
{ token => undef, headers => { Authorization => 'Bearer' } }
--- error_code: 401
--- response_body chop
Invalid authorization format
--- not_stored



=== TEST 6: an empty header
--- publish eval
{ token => undef, headers => { Authorization => '' } }
--- error_code: 401
--- response_body chop
Invalid authorization format
--- not_stored



=== TEST 7: the scheme's case is free
--- publish eval
sub { +{ token => undef,
         headers => { Authorization => 'bEARER ' . publish_token() } } }
--- error_code: 200
--- stored



=== TEST 8: expired for 61 s
--- publish eval: sub { +{ token => publish_token(exp => int(time) - 61) } }
--- error_code: 401
--- response_headers
Content-Type: text/plain
WWW-Authenticate: Bearer error="invalid_token", error_description="the token has expired"
--- response_body chop
Token expired
--- not_stored
--- no_error_log
[error]



=== TEST 9: expired for 30 s is within the tolerance
--- publish eval: sub { +{ token => publish_token(exp => int(time) - 30) } }
--- error_code: 200
--- stored



=== TEST 10: expired, and signed by somebody else: not told that it expired
--- publish eval
sub { +{ token => publish_token(exp => int(time) - 61, -key => 'wrong') } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 11: signed by somebody else
--- publish eval: ::with(-key => 'another secret that is long enough')
--- error_code: 401
--- response_headers
Content-Type: text/plain
WWW-Authenticate: Bearer error="invalid_token", error_description="the signature of the token is wrong"
--- response_body chop
Token validation failed
--- not_stored
--- error_log
invalid token: signature
--- no_error_log
[error]



=== TEST 12: signed with an empty secret
--- publish eval: ::with(-key => '')
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 13: claims changed after signing
--- publish eval
sub { my @t = split /\./, publish_token(sub => 'one');
      my @other = split /\./, publish_token(sub => 'two');
      +{ token => "$t[0].$other[1].$t[2]" } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 14: algorithm none, without a signature
--- publish eval: ::with(-alg => 'none')
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 15: algorithm none, with a signature of the secret
--- publish eval
sub { +{ token => ::token('{"alg":"none"}',
                          "{$::CLAIMS,\"exp\":" . ::in(600) . '}') } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored
--- error_log
invalid token: algorithm



=== TEST 16: RS256, rightly signed with the gateway's key
--- publish eval: ::with(-alg => 'RS256')
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored
--- error_log
invalid token: algorithm



=== TEST 17: RS256 in the header, signed with the secret
--- publish eval
sub { +{ token => ::token('{"alg":"RS256"}',
                          "{$::CLAIMS,\"exp\":" . ::in(600) . '}') } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 18: HS256 with the gateway's public key as the secret
--- publish eval: ::with(-key => $::KEY)
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 19: HS512, rightly signed
--- publish eval
sub { +{ token => ::token('{"alg":"HS512"}',
                          "{$::CLAIMS,\"exp\":" . ::in(600) . '}',
                          sub { ::hmac_sha512($_[0], $::SECRET) }) } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 20: the algorithm's case is not free
--- publish eval
sub { +{ token => ::token('{"alg":"hs256"}',
                          "{$::CLAIMS,\"exp\":" . ::in(600) . '}') } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 21: a header that has to be understood is not
--- publish eval
sub { +{ token => ::token('{"alg":"HS256","crit":["b64"],"b64":false}',
                          "{$::CLAIMS,\"exp\":" . ::in(600) . '}') } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 22: the issuer is another
--- publish eval: ::with(iss => 'sentry2')
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored
--- error_log
invalid token: issuer



=== TEST 23: no issuer
--- publish eval: ::with(iss => undef)
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 24: the issuer in a list is none
--- publish eval: ::with(iss => ['sentry'])
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 25: the audience is another
--- publish eval: ::with(aud => 'condui')
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored
--- error_log
invalid token: audience



=== TEST 26: no audience
--- publish eval: ::with(aud => undef)
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 27: the audience is one of a list
--- publish eval: ::with(aud => ['web', 'conduit'])
--- error_code: 200
--- stored



=== TEST 28: the audience is not in the list
--- publish eval: ::with(aud => ['web', 'conduit2', ['conduit'], 1])
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 29: an empty list of audiences
--- publish eval: ::with(aud => [])
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 30: without issuer and audience configured, the claims are not asked
--- config eval
"location /publish/ {
    conduit_publish redis://127.0.0.1:$Conduit::REDIS_PORT;
    conduit_publish_jwt_secret_file $Conduit::TMP/secret;
}"
--- publish eval: ::with(iss => undef, aud => 'whoever')
--- error_code: 200
--- stored



=== TEST 31: no sub
--- publish eval: ::with(sub => undef)
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored
--- error_log
invalid token: claim



=== TEST 32: sub is a number
--- publish eval: ::with(sub => 7)
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 33: sub may be empty, being a string
--- publish eval: ::with(sub => '')
--- error_code: 200
--- stored



=== TEST 34: no exp
--- publish eval: ::with(exp => undef)
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 35: exp is a string
--- publish eval: sub { +{ token => ::hs256("{$::CLAIMS,\"exp\":\"" . ::in(600) . '"}') } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 36: exp with a fraction
--- publish eval: sub { +{ token => ::hs256("{$::CLAIMS,\"exp\":" . ::in(600) . '.75}') } }
--- error_code: 200
--- stored



=== TEST 37: exp beyond all numbers of 64 bits does not turn into the past
--- publish eval: { token => ::hs256("{$::CLAIMS,\"exp\":9223372036854775807}") }
--- error_code: 200
--- stored



=== TEST 38: exp before the epoch
--- publish eval: { token => ::hs256("{$::CLAIMS,\"exp\":-9223372036854775808}") }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 39: nbf in ten minutes
--- publish eval: sub { +{ token => publish_token(nbf => ::in(600)) } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 40: nbf in 30 s is within the tolerance
--- publish eval: sub { +{ token => publish_token(nbf => ::in(30)) } }
--- error_code: 200
--- stored



=== TEST 41: a claim given twice
--- publish eval
sub { +{ token => ::hs256("{$::CLAIMS,\"exp\":1,\"exp\":" . ::in(600) . '}') } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 42: no token at all behind Bearer, but a word
--- publish eval: { token => 'letmein' }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 43: a token of four parts
--- publish eval: sub { +{ token => publish_token() . '.x' } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 44: a character behind the signature
--- publish eval: sub { +{ token => publish_token() . '=' } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 45: claims that are no object
--- publish eval: { token => ::hs256('["iss","sentry"]') }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 46: claims nested without end
--- publish eval: { token => ::hs256('[' x 5000) }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored
--- no_error_log
exited on signal



=== TEST 47: a token of one org may publish to another, as upstream lets it
--- publish eval: ::with(org_id => 7)
--- error_code: 200
--- stored



=== TEST 48: org_claim: the org of the token must be that of the path
--- location: conduit_publish_org_claim on;
--- publish eval: ::with(org_id => 123)
--- error_code: 200
--- stored



=== TEST 49: org_claim: a token of another org is forbidden
--- location: conduit_publish_org_claim on;
--- publish eval: ::with(org_id => 7)
--- error_code: 403
--- response_headers
Content-Type: text/plain
! WWW-Authenticate
--- response_body chop
Invalid token claims
--- not_stored
--- error_log
token of org 7 in a request for org 123
--- no_error_log
[error]



=== TEST 50: org_claim: a token without an org is not valid
--- location: conduit_publish_org_claim on;
--- publish eval: {}
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 51: org_claim: an org that is a string is none
--- location: conduit_publish_org_claim on;
--- publish eval: ::with(org_id => '123')
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 52: two secrets, each with an ID: the new one
--- location
conduit_publish_jwt_secret_file $TEST_NGINX_TMP/secret-new kid=new;
conduit_publish_jwt_secret_file $TEST_NGINX_TMP/secret-old kid=old;
--- publish eval: ::with(-kid => 'new', -key => 'the secret of this year')
--- error_code: 200
--- stored



=== TEST 53: two secrets, each with an ID: the old one
--- location
conduit_publish_jwt_secret_file $TEST_NGINX_TMP/secret-new kid=new;
conduit_publish_jwt_secret_file $TEST_NGINX_TMP/secret-old kid=old;
--- publish eval: ::with(-kid => 'old', -key => 'the secret of last year')
--- error_code: 200
--- stored



=== TEST 54: a token that names one secret and is signed with the other
--- location
conduit_publish_jwt_secret_file $TEST_NGINX_TMP/secret-new kid=new;
conduit_publish_jwt_secret_file $TEST_NGINX_TMP/secret-old kid=old;
--- publish eval: ::with(-kid => 'new', -key => 'the secret of last year')
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 55: a token that names no secret is tried with all of them
--- location
conduit_publish_jwt_secret_file $TEST_NGINX_TMP/secret-new kid=new;
conduit_publish_jwt_secret_file $TEST_NGINX_TMP/secret-old kid=old;
--- publish eval: ::with(-key => 'the secret of last year')
--- error_code: 200
--- stored



=== TEST 56: an ID that nobody knows, with secrets that all have one
--- config eval
"location /publish/ {
    conduit_publish redis://127.0.0.1:$Conduit::REDIS_PORT;
    conduit_publish_jwt_secret_file $::NEW kid=new;
    conduit_publish_jwt_secret_file $::OLD kid=old;
}"
--- publish eval: ::with(-kid => 'next', -key => 'the secret of this year')
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored
--- error_log
invalid token: kid



=== TEST 57: an ID that nobody knows, and a secret without one
--- publish eval: ::with(-kid => 'next')
--- error_code: 200
--- stored



=== TEST 58: kid is a number
--- publish eval
sub { +{ token => ::token('{"alg":"HS256","kid":1}',
                          "{$::CLAIMS,\"exp\":" . ::in(600) . '}') } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 59: auth off: no token is asked for
--- location: conduit_publish_auth off;
--- publish eval: { token => undef }
--- error_code: 200
--- stored



=== TEST 60: auth off: a token that is not valid does not matter
--- location: conduit_publish_auth off;
--- publish eval: { token => 'letmein' }
--- error_code: 200
--- stored



=== TEST 61: the path is looked at before the token
--- publish eval: { token => undef, path => '/publish/x/' . channel(61) }
--- error_code: 400
--- response_body chop
Invalid org_id



=== TEST 62: the token is looked at before the size
--- publish eval: { token => undef, body => 'x' x 100000 }
--- error_code: 401
--- response_body chop
Missing authorization header



=== TEST 63: a token that is taken is in no log
--- log_level: info
--- publish eval: { token => $::GOOD = publish_token(sub => 'somebody') }
--- error_code: 200
--- stored
--- no_error_log eval
[split /\./, $::GOOD]



=== TEST 64: a token that is refused is in no log, what is wrong with it is
--- log_level: info
--- publish eval: { token => $::BAD = publish_token(-key => 'wrong') }
--- error_code: 401
--- error_log
client sent an invalid token: signature
--- no_error_log eval
[split /\./, $::BAD]



=== TEST 65: a token of another org is in no log
--- log_level: info
--- location: conduit_publish_org_claim on;
--- publish eval: { token => $::OTHER = publish_token(org_id => 7) }
--- error_code: 403
--- error_log
client sent a token of org 7
--- no_error_log eval
[split /\./, $::OTHER]



=== TEST 66: org_id may be the greatest number of 64 bits
--- location: conduit_publish_org_claim on;
--- publish eval
sub { +{ org => '18446744073709551615',
         %{ ::more('', ',"org_id":18446744073709551615')->() } } }
--- key: stream:18446744073709551615:00000000-0000-4000-8000-000000000066
--- error_code: 200
--- stored



=== TEST 67: org_id of 64 bits is not another of 64 bits
--- location: conduit_publish_org_claim on;
--- publish eval
sub { +{ org => '9223372036854775808',
         %{ ::more('', ',"org_id":9223372036854775807')->() } } }
--- error_code: 403
--- response_body chop
Invalid token claims
--- not_stored



=== TEST 68: org_id over 64 bits is none
--- location: conduit_publish_org_claim on;
--- publish eval: ::more('', ',"org_id":18446744073709551739')
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 69: org_id with a fraction is none
--- location: conduit_publish_org_claim on;
--- publish eval: ::more('', ',"org_id":123.0')
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 70: a negative org_id is none
--- location: conduit_publish_org_claim on;
--- publish eval: ::more('', ',"org_id":-18446744073709551493')
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 71: org_id given twice
--- location: conduit_publish_org_claim on;
--- publish eval: ::more('', ',"org_id":123,"org\u005fid":123')
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 72: other claims may be numbers of any size
--- publish eval
::more('', ',"a":18446744073709551616,"b":[-9223372036854775809,1e400],'
           . '"c":{"d":-1e400},"e":' . 9 x 400)
--- error_code: 200
--- stored



=== TEST 73: other claims may be strings of any character
--- publish eval
::more('', ',"a":"\u0000","b":{"\u0000":1,"\u0001":2},"c":"\ud83d",'
           . '"d":["\ude00\ud83d"]')
--- error_code: 200
--- stored



=== TEST 74: members of the header may be any value too
--- publish eval: ::more(',"a":1e400,"b":18446744073709551616,"c":"\u0000"', '')
--- error_code: 200
--- stored



=== TEST 75: kid, crit and nbf that are null are not there
--- publish eval: ::more(',"kid":null,"crit":null', ',"nbf":null')
--- error_code: 200
--- stored



=== TEST 76: exp that is null is missing
--- publish eval
sub { +{ token => ::hs256("{$::CLAIMS,\"exp\":null}") } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 77: exp of 1e400 is no time
--- publish eval
sub { +{ token => ::hs256("{$::CLAIMS,\"exp\":1e400}") } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored



=== TEST 78: an issuer with a zero character behind it is another
--- publish eval
sub { +{ token => ::hs256('{"iss":"sentry\u0000","aud":"conduit","sub":"p",'
                          . '"exp":' . ::in(600) . '}') } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored
--- error_log
invalid token: issuer



=== TEST 79: a zero byte in the claims makes them no JSON
--- publish eval
sub { +{ token => ::hs256("{$::CLAIMS,\"exp\":" . ::in(600) . "\0}") } }
--- error_code: 401
--- response_body chop
Token validation failed
--- not_stored
