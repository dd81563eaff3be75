# Copyright (C) Conduit for NGINX authors

package Conduit::ConfFuzz;

# Random configurations: directives of both modules and of NGINX, in random
# blocks, with arguments that are right, wrong or at an edge.
#
#     my $conf = Conduit::ConfFuzz->new(port => 8000, log => 'error.log');
#
#     $conf->text       the configuration
#     $conf->free       whether it breaks rules of the form of a configuration
#     $conf->paths      paths that its locations are for
#     $conf->names      names of its servers
#     $conf->quick      has a time so short that NGINX is busy with it
#
# Names of directives, their blocks and kinds of arguments are read from the
# tables in the sources of the modules, so are the variables: what is new there
# is tried here, too.  Values come from rand(): the same srand() and options
# give the same configuration.

use strict;
use warnings;

use Conduit qw(read_file write_file);

# the folder of files that directives name, made once
my $files;

my (@directives, @variables, @messages, $built);


sub new {
    my ($class, %o) = @_;

    read_tables() if !@directives;
    make_files() if !defined $files;

    my $self = bless { %o, lines => [], paths => ['/'], names => ['localhost'],
                       n => 0, quick => 0 }, $class;

    $self->{built} //= $built //= `$ENV{TEST_NGINX_BINARY} -V 2>&1`;

    $self->{wild} = pick(0, 0, 0, 0, 0, 0, 0.005, 0.01, 0.03, 0.1, 0.4);
    $self->{modules} = pick(['publish', 'gateway'], ['publish', 'gateway'],
                            ['gateway', 'publish'], ['gateway', 'publish'],
                            ['publish'], ['gateway']);

    if (chance(0.15)) {
        $self->{mutated} = 1;
        $self->mutate;
    } else {
        $self->main;
    }

    return $self;
}


sub text { join '', map { "$_\n" } @{ $_[0]{lines} } }

sub free { $_[0]{mutated} || $_[0]{wild} > 0 }

sub paths { @{ $_[0]{paths} } }

sub names { @{ $_[0]{names} } }

sub quick { $_[0]{quick} }

# of both modules: { name, contexts, counts, setter, kind, module }
sub directives { read_tables() if !@directives; return @directives }


# Whether a line of "nginx -t" is one of the modules', by its words.
sub is_ours {
    my $line = shift;

    return grep { $line =~ $_ } @messages;
}


# --- chance

sub pick { return $_[rand @_] }

sub chance { return rand() < $_[0] }

# true now and then, in a configuration that may break rules ("wild")
sub odd { return chance($_[0]{wild}) }


# --- what the modules have

sub read_tables {
    my %source;

    for my $file (sort glob "$Conduit::ROOT/*.c $Conduit::ROOT/*/*.c") {
        my $text = read_file($file);

        next if $file =~ m{/(?:build|t|bench|demo)/};
        $source{$file} = $text;

        while ($text =~ /^static ngx_http_variable_t .*? = \{(.*?)^\};/gsm) {
            push @variables, $1 =~ /ngx_string\("(\w+)"\)/g;
        }
    }

    my $all = join "\n", map { $source{$_} } sort keys %source;

    # those that begin with words; others begin with the name of a call

    while ($all =~ /\(NGX_LOG_EMERG,\ [\w>-]+,\ \w+,\s*
                    ((?:"(?:\\.|[^"\\])*"\s*)+)/gx)
    {
        my $text = join '', $1 =~ /"((?:\\.|[^"\\])*)"/g;

        $text =~ s/\\"/"/g;
        $text =~ s/ in %s:%ui.*//;
        $text = join '.*', map { quotemeta } split /%(?:\*s|ui|[sVdi])/, $text;
        push @messages, qr/\[emerg\] $text/ if $text =~ /\w{3}/;
    }

    die 'no messages' if @messages < 10;

    for my $x (qw(publish gateway)) {
        my ($table) = $source{"$Conduit::ROOT/ngx_conduit_${x}_module.c"}
                      =~ /^static ngx_command_t [^{]*\{(.*?)^\};/sm
            or die "no table of directives of $x";

        my $before = @directives;

        while ($table =~ / \{\s* ngx_string\("(\w+)"\), \s* ([\w|\s]+?), \s*
                           (\w+), \s* \w+, \s* .*?, \s* (&?\w+) \s* \} /gsx)
        {
            my %d = (name => $1, flags => $2, setter => $3, post => $4,
                     module => $x);

            $d{contexts} = { map { $_ => 1 }
                             $d{flags} =~ /NGX_HTTP_(\w+)_CONF/g };
            $d{counts} = counts($d{flags});
            $d{words} = words($all, $d{setter}, $d{post});
            $d{kind} = kind($all, \%d);
            push @directives, \%d;
        }

        my $entries = () = $table =~ /ngx_string\(/g;

        die "entries of the directives of $x that are not understood"
            if @directives - $before != $entries || !$entries;
    }

    die 'no variables' if !@variables;
}


# How many arguments a directive takes.

sub counts {
    my $flags = shift;

    my @counts = $flags =~ /NGX_CONF_NOARGS/ ? 0 : ();

    push @counts, split //, $1 if $flags =~ /NGX_CONF_TAKE(\d+)/;
    push @counts, 1 if $flags =~ /NGX_CONF_FLAG/;
    push @counts, $1, $1 + 1 if $flags =~ /NGX_CONF_(\d)MORE/;
    push @counts, 0 .. 3 if $flags =~ /NGX_CONF_ANY/;

    return @counts ? \@counts : [1];
}


# The body of a function of the modules.

sub body {
    my ($all, $function) = @_;

    return $all =~ /^\Q$function\E\([^;{]*\)\n\{(.*?)^\}/sm ? $1 : '';
}


# The words that the function of a directive, or its table, compares with.

sub words {
    my ($all, $setter, $post) = @_;

    my ($table) = $post =~ /^&?(\w+)/ && $1 ne 'NULL'
                  ? $all =~ /^static ngx_conf_(?:enum|bitmask)_t\s+\Q$1\E\[\]
                             \s* = (.*?)^\};/smx : ();

    return [grep { m{^[a-z][a-z/]*=?$} }
            (body($all, $setter) . ($table // '')) =~ /"([^"\s\\]+)"/g];
}


sub kind {
    my ($all, $d) = @_;

    my %kinds = (flag => 'flag', msec => 'time', sec => 'time', size => 'size',
                 off => 'size', num => 'number', str => 'string',
                 complex_value => 'value', enum => 'word', bitmask => 'word');

    return 'url' if $d->{name} eq "conduit_$d->{module}";
    return 'file' if $d->{name} =~ /_file$|certificate/;
    return 'origin' if $d->{name} =~ /_cors$/;

    # one of NGINX's functions, or one of ours that ends with it

    return $kinds{$1}
        if ($d->{setter} . body($all, $d->{setter}))
           =~ /\bngx_(?:conf|http)_set_(\w+)_slot\b/ && $kinds{$1};

    return @{ $d->{words} } ? 'word' : 'any';
}


# --- files that directives name

sub make_files {
    $files = "$Conduit::TMP/files";

    mkdir $_ or die "$_: $!" for $files, map { "$files/$_" } qw(dir html logs);

    write_file("$files/password", "marked-secret\n");
    write_file("$files/empty", '');
    write_file("$files/newline", "\n");
    write_file("$files/garbage", "garbage\n");
    write_file("$files/zeros", "\0" x 100);
    write_file("$files/binary", join '', map { chr(255 - $_) } 0 .. 255);
    write_file("$files/long", 'x' x 65537);
    write_file("$files/pem", "-----BEGIN PUBLIC KEY-----\nMIIB\n"
                             . "-----END PUBLIC KEY-----\n");
    write_file("$files/jwks", '{"keys":[{"kty":"OKP","crv":"Ed25519","x":'
               . '"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}');
    write_file("$files/cut", substr read_file("$Conduit::TMP/key.pub"), 0, 200);
    write_file("$files/html/index.html", "index\n");
    write_file("$files/mime.types", "types { text/html html; }\n");
    write_file("$files/unreadable", 'x' x 40);
    chmod 0, "$files/unreadable";
    POSIX::mkfifo("$files/fifo", 0600) or die "mkfifo: $!";

    system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256"
           . " -nodes -subj /CN=localhost -days 2 -keyout $files/tls.key"
           . " -out $files/tls.crt 2>/dev/null") == 0 or die 'openssl failed';
}


sub right_file {
    my $name = shift;

    return $name =~ /jwt_secret_file$/ ? "$Conduit::TMP/secret"
         : $name =~ /jwt_key_file$/
           ? pick("$Conduit::TMP/key.pub", "$files/jwks")
         : $name =~ /password_file$/ ? "$files/password"
         : $name =~ /_key$/ ? "$files/tls.key"
         : $name =~ /certificate$/ ? "$files/tls.crt" : "$files/garbage";
}


# --- arguments

my %RIGHT = (
    flag => [qw(on off)],
    time => [qw(20ms 100ms 1s 5s 60s 1h 2d)],
    size => [qw(100 512 4k 16k 64k 1m)],
    number => [qw(1 2 10 100 1000)],
    string => ['sentry', 'conduit', 'a b', "\xc3\xa9", 'user'],
    origin => [qw(* off https://app.example.com http://[::1]:8080)],
    value => ['$arg_org', '$arg_channel_id', '123', '$1', '$http_x_org',
              '$conduit_org_id', '$conduit_channel_id', '$uri', '$host$arg_a'],
);

# values that a parser accepts, though nobody would choose them
my %LARGE = (
    time => [qw(1ms 365d 24855d 24856d 49711d 106751991167d
                9223372036854775807ms 9223372036854775806ms)],
    size => [qw(1 2 2g 4g 8796093022207m 9223372036854775807)],
    number => [qw(1 3 65536 2147483647 2147483648 4294967296
                  9223372036854775807)],
);

# the largest numbers that a parser accepts, the first that it refuses, and so
# on
my %EDGE = (
    flag => ['1', 'yes', 'ON', '', 'on off', 'of'],
    time => [qw(0 0s 1ms 1 -1 1.5s s 1s1s 1d1h 365d 24855d 24856d 49711d
                9223372036854775807ms 9223372036854775807 106751991167d
                106751991168d 9223372036854775808 18446744073709551615ms
                99999999999999999999s 10y 292277024y 1M), '', ' 1s', 'off'],
    size => [qw(0 1 -1 1g 2g 4g 8g 4K 4kb k 1.5k 9223372036854775807
                9223372036854775808 9007199254740991k 9007199254740992k
                8796093022207m 18446744073709551616), ''],
    number => [qw(0 -1 +1 2147483647 2147483648 4294967295 4294967296
                  9223372036854775807 9223372036854775808 1e3 0x10 10000
                  10001), '', ' 5'],
    string => ['', '$', '${', '$conduit_org_id', "\x01\x7f\x80\xff", '%s%n%V',
               'x' x 300, 'x' x 4000, 'x' x 5000, "a\r", "a\tb", '"', "'", '\\',
               "\0", "a\0b", '#', '*', 'kid=', "\n"],
    origin => [qw(null https:// ://a https://* https://[ https://a:443 a),
               'https://' . 'a' x 4000, '', "https://a\0"],
    value => ['', '$', '${', '${}', '${arg_a', '$none', '$0', '$9', 'x' x 3000,
              '$arg_a' x 100, '$conduit_publish_id', '$request_body',
              "\xff\xfe", '18446744073709551616', '-1', '$args$1${2}'],
    file => [qw(none none/none empty newline garbage zeros binary long pem cut
                unreadable dir fifo tls.crt tls.key html/index.html)],
);


# An argument of a kind for a directive; right, or else anything.

sub argument {
    my ($self, $kind, $d, $n) = @_;

    my $edge = $self->odd || chance(0.02);

    $kind = pick(sort keys %RIGHT, 'file', 'url', 'word') if $kind eq 'any'
                                                            || $self->odd;

    $kind = 'word' if @{ $d->{words} // [] } && $kind ne 'file' && chance(0.2);

    return $edge ? $self->url_edge : $self->url if $kind eq 'url';

    if ($kind eq 'word') {
        my @words = @{ $d->{words} // [] };

        return pick(@{ $EDGE{string} }, @{ $EDGE{time} }) if $edge || !@words;

        my $word = pick(@words);

        return pick(@{ $RIGHT{time} }, @{ $LARGE{time} })
            if $n && $word !~ /=$/;
        return pick(@{ $RIGHT{number} }, @{ $LARGE{number} }) . $word if $word =~ m{/};
        return $word . pick('a', 'b', '2026-01') if $word =~ /=$/;
        return $word;
    }

    if ($kind eq 'file') {
        $edge ||= chance(0.05);
        return pick(map { "kid=$_" } 'a', 'b', 'c', $self->{n}++)
            if $n && !$edge;
        return pick(@{ $EDGE{string} }) if $edge && ($n || chance(0.2));
        return right_file($d->{name} // '') if !$edge;
        return pick("$files/", '', '/dev/') . pick(@{ $EDGE{file} }, 'null');
    }

    my $value = pick(@{ $edge ? $EDGE{$kind}
                        : $LARGE{$kind} && chance(0.15) ? $LARGE{$kind}
                        : $RIGHT{$kind} });

    $self->{quick} = 1 if $kind eq 'time' && $value =~ /^(?:0s?|1|1ms)$/;

    return $value;
}


sub host {
    my $self = shift;

    return pick("127.0.0.1:$Conduit::REDIS_PORT",
                "localhost:$Conduit::REDIS_PORT", '127.0.0.1:1', '[::1]:1');
}


sub url {
    my $self = shift;

    return "redis://127.0.0.1:$Conduit::REDIS_PORT" if chance(0.5);
    return "unix:$Conduit::REDIS_SOCK" . pick('', '?db=2') if chance(0.3);
    return "unix:$Conduit::TMP/none.sock" if chance(0.2);

    my $credentials = pick('', '', ':marked-secret@', 'user:marked-secret@');

    return 'redis+cluster://' . $credentials
           . join ',', map { $self->host } 1 .. 1 + rand 3 if chance(0.3);
    return 'redis+sentinel://' . $credentials
           . join(',', map { $self->host } 1 .. 1 + rand 3) . '/mymaster'
           . pick('', '/1') if chance(0.3);
    return "redis://$credentials" . $self->host . pick('', '/0', '/15');
}


# Host names are such that no name server is ever asked for them.

sub url_edge {
    my $self = shift;

    my $url = chance(0.5) ? $self->url
        : pick('redis', 'rediss', 'redis+cluster', 'rediss+cluster', 'unix',
               'redis+sentinel', 'rediss+sentinel', 'http', 'REDIS', '', 'tcp')
          . pick('://', '://', ':', ':/', '', ':///')
          . pick('', ':@', '@', 'u@', ':marked-secret@', 'u:p%40@', 'u:%zz@',
                 'u:%00@', 'u:@', 'a@b@', 'u:' . 'p' x 3000 . '@', "u:\xff@")
          . join(pick(',', ',', ',,', ';'),
                 map { pick(qw(127.0.0.1 localhost [::1] [::] 0.0.0.0 [ [] []:1
                               [127.0.0.1] 127.0.0.1.invalid), '', '*',
                            'x' x 300, join '.', ('y' x 64) x 4)
                       . pick('', ':6379', ':0', ':65535', ':65536', ':-1', ':',
                              ':x', ':1:1', ":$Conduit::REDIS_PORT") }
                     1 .. pick(1, 1, 2, 3, 40))
          . pick('', '', '/', '/0', '/16', '/2147483648', '/-1', '/m', '/m/1',
                 '/m/x', '//', '/?', '?db=1', '#', '/' . 'm' x 3000);

    # a part of the URL is doubled, removed or replaced

    if (chance(0.3) && length $url) {
        my $at = int rand length $url;
        my $n = 1 + int rand 8;

        substr($url, $at, $n) =~ s/(.*)/$1$1/s if chance(0.5);
        substr($url, $at, $n, '') if chance(0.3);
        substr($url, $at, 1, pick("\0", "\x7f", '%', '@', ',', '/', '$', '{'))
            if chance(0.3) && $at < length $url;
    }

    return $url;
}


# As it is written: with quotes where it needs them.

sub quoted {
    my ($self, $value) = @_;

    return $value if $value =~ m{\A[\w/.:+@%,=~\$\[\]?&-]+\z} || $self->odd;

    $value =~ s/(["\\])/\\$1/g;
    return chance(0.2) && $value !~ /'/ ? "'$value'" : qq("$value");
}


# --- lines

sub add { push @{ $_[0]{lines} }, @_[1 .. $#_] }


# A directive of the modules with arguments; nothing if it is not allowed here.

sub conduit {
    my ($self, $context, $seen, $d) = @_;

    my $once = $d->{name} !~ /jwt_\w+_file$/;
    my $handler = keys %{ $d->{contexts} } == 1;

    return if !$self->odd && (!$d->{contexts}{uc $context}
                              || $once && $seen->{$d->{name}}
                              || $handler && $seen->{handler}
                              || $d->{name} =~ /redis_user$/
                                 && !$self->{password}
                              || !grep { $_ eq $d->{module} }
                                       @{ $self->{modules} });

    my $n = $self->odd ? int rand 4 : pick(@{ $d->{counts} });

    # what stands by itself is tried in ways that are right, mostly
    $n = $d->{counts}[0] if $d->{kind} eq 'word' && $n > 1 && chance(0.7);

    my @args = map { $self->quoted($self->argument($d->{kind}, $d, $_)) }
               0 .. $n - 1;

    @args = ('poll', $self->argument('time', {}, 0))
        if $n == 2 && $d->{name} =~ /wakeup$/ && !$self->odd;

    $seen->{$d->{name}} = 1;
    $seen->{handler} = 1 if $handler;

    $self->add(join(' ', $d->{name}, @args) . ($self->odd ? '' : ';'));
}


# Directives of NGINX.  In them, %V is a variable of the modules, %P a path, %N
# a named location, %A an address, %T a time, %S a size, %F a folder.

my @HTTP = split /\n/, <<'EOC';
add_header X-A %V always
add_header Cache-Control public
expires 1h
error_page 401 403 404 405 413 429 500 502 503 504 %P
error_page 400 413 503 = %N
error_page 404 =200 %P
root %F/html
client_max_body_size %S
client_body_buffer_size %S
client_body_in_file_only on
client_body_in_single_buffer on
client_body_timeout %T
send_timeout %T
keepalive_timeout %T
lingering_close always
lingering_timeout %T
reset_timedout_connection on
sendfile on
tcp_nodelay off
tcp_nopush on
postpone_output 0
output_buffers 1 100
chunked_transfer_encoding off
limit_rate %S
limit_rate_after %S
gzip on
gzip_types *
gzip_min_length 0
gzip_http_version 1.0
gunzip on
charset utf-8
ssi on
ssi_types *
sub_filter data:event x%V
sub_filter_types *
sub_filter_once off
addition_types *
add_before_body %P
add_after_body %P
limit_req zone=z_%v
limit_req zone=z_addr burst=5 nodelay
limit_conn c_%v 1
limit_conn c_addr 2
limit_conn_dry_run on
limit_req_status 503
auth_request %P
auth_request off
auth_request_set $authorized %V
mirror %P
mirror_request_body off
access_log %F/logs/access.log all
access_log off
access_log %F/logs/access.log all buffer=4k flush=%T
access_log %F/logs/%V.log all
log_subrequest on
recursive_error_pages on
proxy_buffering off
proxy_request_buffering off
proxy_intercept_errors on
proxy_ignore_client_abort on
proxy_connect_timeout %T
proxy_set_header X-A %V
proxy_hide_header X-A
fastcgi_param A %V
satisfy any
allow 127.0.0.1
deny all
auth_basic x
auth_basic_user_file %F/garbage
default_type text/plain
etag off
if_modified_since before
max_ranges 0
server_tokens off
absolute_redirect off
port_in_redirect off
server_name_in_redirect on
log_not_found off
directio 512
open_file_cache max=10
resolver 127.0.0.1
resolver_timeout %T
msie_padding off
set_real_ip_from 127.0.0.1
real_ip_header X-A
subrequest_output_buffer_size 4k
types_hash_max_size 512
read_ahead 1
EOC

# directives that are allowed only in http
my @ONLY_HTTP = split /\n/, <<'EOC';
server_names_hash_bucket_size 128
variables_hash_bucket_size 128
variables_hash_max_size 64
EOC

# directives that are not allowed in a location
my @HTTP_SERVER = split /\n/, <<'EOC';
client_header_buffer_size 1k
ignore_invalid_headers off
underscores_in_headers on
merge_slashes off
request_pool_size 1k
connection_pool_size 512
large_client_header_buffers 2 2k
EOC

my @SERVER = split /\n/, <<'EOC';
set $a %V
set $b $a%V
rewrite ^/r/(.*)$ /publish/$1 last
rewrite ^/(events|publish)/x(.*)$ /$1/$2
rewrite_log on
uninitialized_variable_warn off
EOC

my @LOCATION = split /\n/, <<'EOC';
set $a %V
rewrite ^/(.*)$ %P last
rewrite ^/x/(.*)$ /events/$1?a=%V break
return 200 "%V\n"
return 444
return 302 %P?%V
internal
try_files $uri %P =404
try_files /none %N
try_files %V %P
post_action %P
autoindex on
dav_methods PUT DELETE
secure_link %V
random_index on
slice 1m
alias %F/html/
EOC

my @HANDLERS = split /\n/, <<'EOC';
proxy_pass http://%A
proxy_pass http://%A%P
proxy_pass http://$host%P
proxy_pass http://up
fastcgi_pass %A
scgi_pass %A
uwsgi_pass %A
memcached_pass %A
stub_status
empty_gif
flv
mp4
EOC

# what an "if" in a location takes
my @IF = split /\n/, <<'EOC';
return 403
return 200 %V
set $a %V
rewrite ^ %P
rewrite ^ %P break
break
add_header X-A %V
expires max
limit_rate %S
root %F/html
error_page 404 = %N
access_log off
gzip on
sendfile on
proxy_pass http://%A
charset utf-8
EOC

my @LIMIT_EXCEPT = split /\n/, <<'EOC';
deny all
allow 127.0.0.1
proxy_pass http://%A
auth_basic x
auth_basic_user_file %F/garbage
access_log off
EOC

my %CORE = (
    main => [map { [$_] } 'worker_shutdown_timeout %T', 'timer_resolution 10ms',
                          'pcre_jit on', 'worker_rlimit_nofile 400',
                          'env A=b', 'thread_pool x threads=1',
                          'worker_priority 1', 'debug_points stop'],
    events => [map { [$_] } 'worker_connections 100', 'worker_connections 20',
                            'multi_accept on', 'accept_mutex on', 'use epoll',
                            'worker_aio_requests 1'
                            , 'debug_connection 127.0.0.1'],
    http => [map { [$_] } @HTTP, @HTTP_SERVER, @ONLY_HTTP],
    server => [map { [$_] } @HTTP, @HTTP_SERVER, @SERVER],
    location => [map { [$_] } @HTTP, @LOCATION, @LOCATION],
    if => [map { [$_] } @IF],
    limit_except => [map { [$_] } @LIMIT_EXCEPT],
    upstream => [map { [$_] } 'server 127.0.0.1:1', 'server %A', 'keepalive 2',
                              'ip_hash', 'hash %V', 'least_conn', 'random',
                              'zone up 64k'],
    map => [map { [$_] } 'default a', '1 %V', '~^(a)$ $1', '"" b', 'hostnames',
                         'volatile', '~( x'],
    types => [['text/html html'], ['a/b']],
    stream => [['server { listen 127.0.0.1:2; proxy_pass %A; }']],
);

my $REPEATED = qr/^(?:add_header|error_page|set|rewrite|allow|deny|mirror
                     |sub_filter|proxy_set_header|server|set_real_ip_from
                     |auth_request_set|fastcgi_param|env|default)\b/x;


# of modules that an NGINX may be built without
my %OPTIONAL = (
    addition => qr/^add(?:ition_types|_before_body|_after_body)$/,
    sub => qr/^sub_filter/,
    secure_link => qr/^secure_link/,
    random_index => qr/^random_index/,
    flv => qr/^flv$/,
    mp4 => qr/^mp4$/,
    gunzip => qr/^gunzip$/,
    slice => qr/^slice$/,
    dav => qr/^dav_/,
    auth_request => qr/^auth_request/,
    realip => qr/real_ip/,
    stub_status => qr/^stub_status/,
);


sub core {
    my ($self, $context, $seen, @templates) = @_;

    my $text = pick(@templates ? @templates
                    : map { @$_ } @{ $CORE{$self->odd ? pick(sort keys %CORE)
                                           : $context} // $CORE{http} });

    my ($name) = $text =~ /^(\S+)/;
    my ($module) = grep { $name =~ $OPTIONAL{$_} } sort keys %OPTIONAL;

    return if !$self->odd
              && ($module && $self->{built} !~ /_${module}_module/
                  || $seen->{$name}++ && $name !~ $REPEATED
                  || $name =~ /^access_log$/ && $context eq 'main');

    $self->add($self->filled($text) . ($self->odd ? '' : ';'));
}


sub filled {
    my ($self, $text) = @_;

    my %value = (
        V => sub { '$' . $self->variable },
        v => sub { $self->zone },
        P => sub { pick('/x', '/publish/1/a', '/events/1', $self->paths) },
        N => sub { $self->{named} || $self->odd ? '@named' : '/x' },
        A => sub { pick('127.0.0.1:1', "127.0.0.1:$self->{port}",
                        '127.0.0.1:1', "unix:$files/none.sock") },
        T => sub { $self->argument('time', {}, 0) =~ s/^$/1s/r },
        S => sub { $self->argument('size', {}, 0) =~ s/^$/1k/r },
        F => sub { $files },
    );

    return $text =~ s/%([VvPNATSF])/$value{$1}->()/ger;
}


# A variable of the modules that are loaded, or any one where rules are broken.

sub variable {
    my $self = shift;

    my %x = map { $_ => 1 } @{ $self->{modules} };
    my @known = grep { $self->odd
                       || (/^conduit_(publish|gateway)_/ ? $x{$1}
                           : /redis_time/ ? $x{publish} : 1) } @variables;

    return pick(@known);
}


# Zones are made for each of these variables.

sub zone {
    my $self = shift;

    return $self->{zones} ? pick(@{ $self->{zones} }) : 'addr';
}


# --- blocks

sub main {
    my $self = shift;

    $self->add(map { "load_module $Conduit::MODULES/"
                     . "ngx_conduit_${_}_module.so;" } @{ $self->{modules} });
    $self->add(grep { -f } map { "load_module $_;" } $self->{stream})
        if $self->{stream};
    $self->add($self->frame);

    my %seen = (pid => 1);

    $self->some('main', \%seen, 2);

    if (!$self->odd) {
        $self->add('events {');
        $self->some('events', {}, 2);
        $self->add('}');
    }

    $self->add('stream {', 'server { listen 127.0.0.1:2;'
               . " proxy_pass 127.0.0.1:1; }", '}')
        if chance($self->{stream} ? 0.2 : $self->{wild} / 4);

    $self->http;
    $self->http if chance($self->{wild} / 10);
}


# What every configuration begins with, so that it can be run here.

sub frame {
    my $self = shift;

    return ($> == 0 ? 'user root;' : (), 'daemon off;',
            'worker_processes ' . pick(1, 1, 1, 2) . ';',
            "pid $Conduit::TMP/fuzz.pid;",
            "error_log $self->{log} " . pick(('info') x 5, 'debug') . ';',
            chance(0.04) ? 'master_process off;' : ());
}


sub http {
    my $self = shift;

    $self->add('http {');

    $self->add("access_log off;") if chance(0.6);
    $self->add(map { "${_}_temp_path $files/temp_$_;" }
               qw(client_body proxy fastcgi uwsgi scgi));

    # zones of the same name have the same key, also after a reload

    $self->{zones} = [map { $self->variable } 1 .. 2];
    push @{ $self->{zones} }, 'addr';

    for my $v (sort keys %{{ map { $_ => 1 } @{ $self->{zones} } }}) {
        my $key = $v eq 'addr' ? 'binary_remote_addr' : $v;

        $self->add("limit_req_zone \$$key zone=z_$v:64k rate="
                   . pick('1r/s', '10r/m', '1000r/s') . ';',
                   "limit_conn_zone \$$key zone=c_$v:64k;");
    }

    $self->add('log_format all '
               . join(' ', map { "'\$$_ '" } map { $self->variable } 1 .. 6)
               . q( '$request $status';));

    # a Redis user needs a password
    $self->{password} = chance(0.05);

    # a location without keys is refused: most configurations have some

    for my $x (@{ $self->{modules} }) {
        my ($d) = grep { $_->{name} =~ /^conduit_${x}_jwt_\w+_file$/ }
                  @directives;

        $self->add("$d->{name} " . right_file($d->{name}) . ';')
            if chance(0.7) || !$self->odd;
        $self->add("conduit_${x}_redis_password_file $files/password;")
            if $self->{password};
    }

    my %seen = map { $_ => 1 } 'access_log',
               map { "conduit_${_}_redis_password_file" } qw(publish gateway);

    $self->some('http', \%seen, 5);

    if (chance(0.3)) {
        $self->add('upstream up {', 'server 127.0.0.1:1;');
        $self->some('upstream', { handler => 1 }, 1);
        $self->add('}');
        $self->{up} = 1;
    }

    if (chance(0.2)) {
        $self->add('map $' . $self->variable . ' $mapped {');
        $self->some('map', {}, 2);
        $self->add('}');
    }

    $self->server($_) for 0 .. pick(0, 0, 0, 1, 2);
    $self->add('}') if !$self->odd;
}


sub server {
    my ($self, $n) = @_;

    my $name = $n ? "s$n.example" : 'localhost';

    push @{ $self->{names} }, $name;
    $self->{named} = chance(0.5);
    $self->add('server {', "listen 127.0.0.1:$self->{port};",
               "server_name $name;", 'set $memcached_key $uri;');

    $self->some('server', {}, 4);

    my %at;

    # most of the time, the locations that the requests are sent to

    $self->location(0, '', '/publish/', 'publish') if chance(0.8);
    $self->location(0, '', '/events/', 'gateway') if chance(0.8);
    $at{'/publish/'} = $at{'/events/'} = 1;

    $self->location(0, '', '@named') if $self->{named};
    $self->any_location(0, '', \%at) for 1 .. rand 5;
    $self->add('}') if !$self->odd;
}


sub any_location {
    my ($self, $depth, $parent, $at) = @_;

    my $name = pick('/x/', '/', '/a', '= /health', '= /status', '/x/y',
                    '^~ /publish/z', '~ ^/publish/(\d+)/(.+)$', '/internal',
                    '~* \.(gif|html)$', '~ ^/events/(?<org>\d+)$', '~ (',
                    '/long' . 'x' x 200, '"/a b"', '~ ^/([a-z]+)/', '= /',
                    '@named', '= /r', '/%61', '/*', '/é');

    return if !$self->odd && ($at->{$name}++ || $name eq '~ ('
                              || $name eq '@named');

    # the path of a nested location begins with that of the location around it

    if ($parent ne '' && $name !~ /^~/ && !$self->odd) {
        $name = $parent . pick('a', 'b/', 'c') . $self->{n}++;
    }

    $self->location($depth, $parent, $name);
}


sub location {
    my ($self, $depth, $parent, $name, $module) = @_;

    my %seen = (alias => $name !~ m{^/});
    my ($path) = $name =~ m{(/[\w/.%]*)};

    push @{ $self->{paths} }, $path if defined $path;
    $self->add("location $name {");

    if (defined $module && (!$self->odd)) {
        my ($d) = grep { $_->{name} eq "conduit_$module" } @directives;
        $self->conduit('loc', \%seen, $d);
    }

    # NGINX's content handler, or one of the modules'

    if (!$seen{handler} && chance(0.5) || $self->odd) {
        if (chance(0.5)) {
            my @handlers = grep { !/\/up$/ || $self->{up} } @HANDLERS;

            # named and regex locations may not have a URI in proxy_pass and the
            # like
            @handlers = grep { !/%P/ } @handlers
                if $name =~ /^[~@]/ && !$self->odd;
            $self->core('location', \%seen, @handlers);
            $seen{handler} = 1;
        } else {
            $self->conduit('loc', \%seen,
                           pick(grep { keys %{ $_->{contexts} } == 1 }
                                @directives));
        }
    }

    $self->some('location', \%seen, 5);
    $self->if_block if chance(0.2);

    if (chance(0.15)) {
        $self->add('limit_except ' . pick('GET', 'POST', 'GET POST', 'PUT')
                   . ' {');
        $self->some('limit_except', {}, 2);
        $self->add('}');
    }

    $self->any_location($depth + 1, $name =~ m{^/} ? $name : '~', {})
        if $depth < 3 && $name !~ /^[=@~"]/ && chance(0.2) || $self->odd
           && $depth < 6;

    $self->add('}') if !$self->odd;
}


sub if_block {
    my $self = shift;

    my $v = $self->variable;

    $self->add("if (" . pick('$arg_a', '$request_method = POST', "\$$v",
                             "\$$v = 1", '-f $request_filename',
                             '$uri ~ "(\d+)"', '$args ~* token',
                             $self->odd ? '$none' : '$host') . ') {');
    $self->some('if', {}, 2);
    $self->add('}');
}


# Adds some directives of NGINX and of the modules to a block.  $seen are the
# modules' directives that the block already has.

sub some {
    my ($self, $context, $seen, $n) = @_;

    my %our = (http => 'main', server => 'srv', location => 'loc');

    for (1 .. rand($n + 1)) {
        if (($our{$context} || $self->odd) && chance(0.5)) {
            $self->conduit($our{$context} // $context, $seen,
                           pick(grep { $_->{kind} ne 'url' || $self->odd }
                                grep { keys %{ $_->{contexts} } > 1
                                       || $self->odd } @directives));

        } else {
            $self->core($context, $seen);
        }
    }
}


# --- configurations that people use, changed in places

my @real;


sub mutate {
    my $self = shift;

    @real = real() if !@real;

    my @lines = split /\n/, $self->here(pick(@real));

    for (1 .. pick(0, 1, 1, 2, 3, 8)) {
        my $at = int rand @lines;
        my $what = int rand 7;

        if ($what == 0) {
            splice @lines, $at, 1;

        } elsif ($what == 1) {
            splice @lines, $at, 0, $lines[rand @lines] // '';

        } elsif ($what == 2) {
            my $to = int rand @lines;
            @lines[$at, $to] = @lines[$to, $at];

        } elsif ($what == 3) {
            my @words = split /( +)/, $lines[$at] // '';
            next if !@words;
            $words[rand @words] = $self->quoted(
                $self->argument(pick(sort keys %RIGHT, 'url'), {}, 0));
            $lines[$at] = join '', @words;

        } elsif ($what == 4) {
            my $line = $lines[$at] // '';
            substr $line, rand(1 + length $line), 1,
                   pick(';', '{', '}', '"', '$', "\0", ' ', 'x', "\xff", '');
            $lines[$at] = $line;

        } else {
            $self->{lines} = [];
            if ($what == 5) {
                $self->conduit(pick('main', 'srv', 'loc'), {},
                               pick(@directives));
            } else {
                $self->core(pick('http', 'server', 'location'), {});
            }
            splice @lines, $at, 0, @{ $self->{lines} };
        }

        @lines = ('') if !@lines;
    }

    # the lines that a test needs to run it may have been removed: add them
    # again

    $self->{lines} = [$self->frame, grep { !/^\s*(?:user|daemon|pid|error_log
                                                |worker_processes
                                                |master_process)\b/x } @lines];
    push @{ $self->{paths} }, '/publish/', '/events/';
}


# nginx.conf.example, and the configurations in the documentation that are
# complete or belong into a server.

sub real {
    my @found = read_file("$Conduit::ROOT/nginx.conf.example");

    for my $page ("$Conduit::ROOT/README.md",
                  sort glob "$Conduit::ROOT/docs/*.md")
    {
        my $text = read_file($page);

        while ($text =~ /^( *)```nginx\n(.*?)^ *```$/gsm) {
            my $conf = $2;

            next if $conf =~ /^ *# \.\.\.$/m;

            $conf = "server {\nlisten 80;\n$conf}\n"
                if $conf !~ /^ *(?:server|http|map|log_format|upstream)\b/m
                   && $conf =~ /location/;
            $conf =~ s/^server \{\n/server {\nlisten 80;\n/mg
                if $conf !~ /listen/;
            $conf = "events {}\nhttp {\n$conf}\n" if $conf !~ /^http\b/m;
            $conf = "events {}\n$conf" if $conf !~ /^events\b/m;
            $conf = join '', map({ "load_module x/ngx_conduit_${_}_module.so;\n"
                                 } qw(publish gateway)), $conf
                if $conf !~ /^load_module/m;
            push @found, $conf;
        }
    }

    return @found;
}


# Replaces files, ports and Redis by those of this test.

sub here {
    my ($self, $text) = @_;

    for ($text) {
        s{^\s*#.*\n}{}mg;
        s{(load_module)\s+\S*?(\w+_module\.so)}{$1 $Conduit::MODULES/$2}g;
        s{^(\s*worker_rlimit_nofile)\s+.*;}{$1 1024;}mg;
        s{^(\s*worker_connections)\s+.*;}{$1 512;}mg;
        s{(error_log|access_log)\s+/\S*/}{$1 $files/logs/}g;
        s{include\s+\S*mime\.types}{include $files/mime.types}g;
        s{include\s+/[^;]*;}{}g;
        s{(conduit_\w+)\s+/[^\s;]+}{"$1 " . right_file($1)}ge;
        s{(ssl_certificate_key)\s+[^\s;]+}{$1 $files/tls.key}g;
        s{(ssl_(?:trusted_|client_)?certificate)\s+[^\s;]+}
         {$1 $files/tls.crt}g;
        s{\brediss\b}{redis}g;
        s{(redis(?:\+\w+)?://(?:[^\s;/@]*@)?)[^\s;/]+}
         {${1}127.0.0.1:$Conduit::REDIS_PORT}g;
        s{^(\s*)listen\s+\[::\].*\n}{}mg;
        s{listen\s+(?:[\d.]+:)?\d+}{listen 127.0.0.1:$self->{port}}g;
        s{\d+\.\d+\.\d+\.\d+(?=[:;])|\b[\w-]+\.(?:example|internal)\b[.\w]*}
         {127.0.0.1}g;

        my $temp = join '', map { "${_}_temp_path $files/temp_$_;\n" }
                            qw(client_body proxy fastcgi uwsgi scgi);
        s{^http\s*\{}{http \{\n$temp}m;
        s{^(http \{\n)}{$1access_log off;\n}m if !/access_log/;
    }

    return $text;
}

1;
