# Copyright (C) Conduit for NGINX authors
#
# contrib/conduit.conf among the other sites of an NGINX that has its own
# nginx.conf: Debian's, where that is installed unchanged.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Test::More;

my $SITE = read_file("$Conduit::ROOT/contrib/conduit.conf");
my $EXAMPLE = read_file("$Conduit::ROOT/nginx.conf.example");
my $STOCK = '/etc/nginx/nginx.conf';

# what another site sees of the one of Conduit: nothing

my $OTHER = <<'EOC';
server {
    listen 127.0.0.1:OTHER_PORT default_server;
    location / { return 200 "other $server_name"; }
    location /big { client_max_body_size 1m; return 200 big; }
}
EOC


# --- the same as in the example

my $part = $SITE =~ s/\A(?:#.*\n)+\n//r;

like $SITE, qr/\A# Conduit for NGINX: a site/, 'the site has a head';

$part =~ s/^(?=.)/    /mg;

isnt index($EXAMPLE, $part), -1,
    'what follows the head is in nginx.conf.example, word for word';


# --- with another nginx.conf

my $stock = stock();

# newer ones hide the version themselves, but the test is whether the site does

$stock =~ s/^\s*server_tokens off;.*\n//m if defined $stock;

serves(Site::Nginx->start(main => $stock), "Debian's nginx.conf")
    if defined $stock;

serves(Site::Nginx->start(main => "events {}\n"
                                  . "http {\n    include conf.d/*.conf;\n}\n"),
       'the least nginx.conf that there is');

done_testing();


# The file as the package has it, or nothing: one that was changed is nobody
# else's.

sub stock {
    my ($sum) = (`dpkg-query -W -f '\${Conffiles}' nginx-common 2>/dev/null`)
                =~ m{^ \Q$STOCK\E (\w{32})$}m;

    my $is = -r $STOCK ? (split / /, `md5sum $STOCK`)[0] : '';

    return read_file($STOCK) if defined $sum && $sum eq $is;

    diag("$STOCK is not that of Debian's nginx-common: not tried");
    return undef;
}


sub serves {
    my ($nginx, $name) = @_;

    # "nginx -t" leaves without giving anything back
    local $ENV{ASAN_OPTIONS} = ($ENV{ASAN_OPTIONS} // '') . ':detect_leaks=0';

    my $checked = `$ENV{TEST_NGINX_BINARY} -t -p $nginx->{root} \\
                   -c nginx.conf -e logs/checked.log 2>&1`;

    like $checked, qr/test is successful/, "$name: nginx -t passes";
    unlike $checked, qr/\[warn\]/, "$name: nothing is warned of";

    my $channel = uuid();
    my $sse = sse_open($nginx, org => 1, channel_id => $channel);
    my $r = http($nginx, 'POST', "/publish/1/$channel",
                 body => '{"phase": "END", "payload": {"value": "hello"}}',
                 headers => { 'Content-Type' => 'application/json',
                              Authorization => 'Bearer '
                                  . publish_token(org_id => 1) });

    is $r->{status}, 200, "$name: a message is taken";

    my ($event) = $sse->events(1);

    is_deeply [$event->{id}, $event->{json}{payload}],
        [$r->{body}, { value => 'hello' }], "$name: it arrives";

    $sse->until(20, sub { $sse->{ended} });
    $sse->close;

    # a token in a request that goes astray

    is http($nginx, 'GET', '/event/1?token=' . gateway_token())->{status}, 404,
        "$name: another path";

    # the site sets nothing for others

    my $other = http(bless({ %$nginx, port => $nginx->{other} }, ref $nginx),
                     'GET', '/');

    is "$other->{status} $other->{body}", '200 other ',
        "$name: the other site is there";
    like $other->{headers}{server}, qr{^nginx/\d},
        "$name: the other site has its own server_tokens";

    is $nginx->stop, 0, "$name: NGINX quits";

    like $nginx->access_log, qr/ events=1 close=end$/m,
        "$name: the client is in the log in the site's form";
    unlike $nginx->access_log . $nginx->error_log, qr/eyJ/,
        "$name: no token is in a log";
    is grep({ /\[(?:warn|error|crit|alert)\]/ } split /^/, $nginx->error_log),
        0, "$name: nothing is logged at the level warn";
}


package Site::Nginx;

use parent -norequire, 'Conduit::Nginx';

sub conf {
    my ($self, %o) = @_;

    my $root = $self->{root};
    my $port = $self->{other} = Conduit::free_port();
    my ($text, $site) = ($o{main}, $SITE);

    mkdir "$root/$_" or die "$_: $!"
        for qw(conf.d sites-enabled modules-enabled);

    # what the packages put there

    Conduit::write_file("$root/modules-enabled/50-$_.conf",
                        "load_module $Conduit::MODULES/$_.so;\n")
        for map { "ngx_conduit_${_}_module" } qw(publish gateway);

    Conduit::write_file("$root/mime.types", "types { text/html html; }\n");
    Conduit::write_file("$root/conf.d/temp.conf",
                        join '', map { "${_}_temp_path $root/temp;\n" }
                                 qw(client_body proxy fastcgi uwsgi scgi));

    $site =~ s{/etc/nginx/conduit/publish\.secret}{$Conduit::TMP/secret};
    $site =~ s{/etc/nginx/conduit/gateway\.pem}{$Conduit::TMP/key.pub};
    $site =~ s{redis://127\.0\.0\.1:6379}
              {redis://127.0.0.1:$Conduit::REDIS_PORT}g;
    $site =~ s{listen 127\.0\.0\.1:8080;}{listen 127.0.0.1:$self->{port};}
        or die "no place for the port in contrib/conduit.conf";

    # a file of the stock one's two folders, or of the only one

    my $dir = $text =~ /sites-enabled/ ? 'sites-enabled' : 'conf.d';

    Conduit::write_file("$root/$dir/conduit.conf", paths($site, $root));
    Conduit::write_file("$root/$dir/other.conf",
                        $OTHER =~ s/OTHER_PORT/$port/r);

    $text =~ s{^user .*\n}{}m;
    $text =~ s{^pid .*}{}m;
    $text =~ s{^worker_processes .*}{}m;
    $text = "include $root/modules-enabled/*.conf;\n$text"
        if $text !~ /modules-enabled/;

    # the log of a start is NGINX's own

    return join '', "daemon off;\n", $> == 0 ? "user root;\n" : '',
        "pid nginx.pid;\n", "worker_processes 1;\n",
        $text =~ /^error_log/m ? '' : "error_log logs/error.log;\n",
        paths($text, $root);
}


sub paths {
    my ($text, $root) = @_;

    $text =~ s{/var/log/nginx/}{$root/logs/}g;
    $text =~ s{/etc/nginx/}{$root/}g;

    return $text;
}
