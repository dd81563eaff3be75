# Key IDs of which one is the beginning of the other: a token is verified with
# the key that it names, and with no other.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
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

# both modules, with the keys in an order

sub start {
    my @kids = @_;

    return nginx_start(server => <<"EOC");
    location /publish/ {
        conduit_publish redis://127.0.0.1:$Conduit::REDIS_PORT;
        conduit_publish_rate off;
@{[keys_of('conduit_publish_jwt_secret_file',
           map { "$tmp/secret.$_ kid=$_" } @kids)]}
    }
    location /events/ {
        conduit_gateway redis://127.0.0.1:$Conduit::REDIS_PORT;
@{[keys_of('conduit_gateway_jwt_key_file',
           map { "$tmp/$_.pub kid=$_" } @kids)]}
    }
EOC
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
    return join ' ', $nginx->error_log =~ /a token that is not valid: (\w+)/g;
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

done_testing();
