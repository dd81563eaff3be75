# Copyright (C) Conduit for NGINX authors

package Conduit::Constructs;

# Locations of the modules inside the constructs of NGINX's configuration
# language, and the status that each request must get.  A case is one location:
#
#     my $maker = Conduit::Constructs->new(port => ..., redis => ...);
#     my $case = $maker->make('gateway', 'named', 'if met', 'gzip');
#
# made of a kind (publish, gateway, or a page), of a route, which is the way in
# which a request gets there, and of any number of extras, which are directives
# beside the module's own.  It is undef if these can't be combined.  A target
# is a location that something else refers to, as "mirror" does.
#
# A case is a hash: name, conf (locations of a server), http (directives of
# the http level), path, headers (of each request), and expect, the status of
#
#     good      valid token, right method
#     missing   no token              forged    a token of another key
#     org       a token for another organization
#     method    a wrong method, and a valid token
#     second    another client of the same channel, while the first is there
#
# delivers: whether the good request is to be published, or to get events; and
# first, when a limit makes the order matter: the good request comes before the
# bad ones ("all"), or no bad ones are sent ("good").
#
# In the tables a status above 0 is one that the module sends, which "error_page
# 404 @name" and "error_page 404 =203 @name" replace; one below 0 is returned to
# NGINX, or is NGINX's own.

use strict;
use warnings;

our @PAGES = map { my $x = $_; map { "$x $_" } 'status', 'status json',
                   'health live', 'health ready' } qw(publish gateway);
our @KINDS = ('publish', 'gateway', @PAGES);

# headers of each request of a case, so that an "if" can test them
my %HEADERS = ('X-A' => 1);

my %EXPECT = (
    publish => { good => 200, missing => 401, forged => 401, org => 403,
                 method => 405 },
    gateway => { good => 200, missing => 400, forged => 401, org => 403,
                 method => 405, second => 200 },
    page => { good => 200, method => -405 },
);


# port is the server's that the cases will be in, for what goes through a proxy;
# secrets is the name of a file for auth_basic; redis a URL; dead: nobody
# listens there.

sub new {
    my ($class, %o) = @_;

    my $options = `$ENV{TEST_NGINX_BINARY} -V 2>&1`;

    return bless { %o, id => 0, options => $options }, $class;
}


sub has {
    my ($self, $what) = @_;

    return $self->{options} =~ /--with-$what\b/;
}


# What the whole server needs: the keys, some backends.

sub http_level {
    my $self = shift;

    my ($tmp, $iss, $aud)
        = ($Conduit::TMP, $Conduit::ISSUER, $Conduit::AUDIENCE);

    return <<"EOC";
variables_hash_max_size 65536;
conduit_publish_jwt_secret_file $tmp/secret;
conduit_publish_jwt_issuer $iss;
conduit_publish_jwt_audience $aud;
conduit_publish_org_claim on;
conduit_publish_timeout 2s;
conduit_gateway_jwt_key_file $tmp/key.pub;
conduit_gateway_jwt_issuer $iss;
conduit_gateway_jwt_audience $aud;
conduit_gateway_retry 100ms;
conduit_gateway_keepalive 1s;
conduit_gateway_outage 1s;
limit_req_zone \$binary_remote_addr zone=plenty_req:1m rate=10000r/s;
limit_conn_zone \$binary_remote_addr zone=plenty_conn:1m;
limit_req_zone \$conduit_verified_org_id zone=plenty_req_org:1m rate=10000r/s;
limit_conn_zone \$conduit_verified_org_id zone=plenty_conn_org:1m;
map \$conduit_org_id \$mapped_org { default other; 123 known; }
map \$conduit_gateway_close \$mapped_close { default other; '' none; }
charset_map koi8-r utf-8 { 80 E282AC; }
EOC
}

sub server_level { return <<"EOC" }
location = /alive { access_log off; return 204; }
location = /ready/publish { conduit_publish_health ready; }
location = /ready/gateway { conduit_gateway_health ready; }
location = /any/publish { conduit_publish $_[0]{redis}; }
location = /any/gateway { conduit_gateway $_[0]{redis}; }
location /ok/ { return 200 ok; }
EOC


# --- routes
#
# Each returns the locations with the directives in $c->{body}, and sets
# $c->{path}, which leads there.  redirects: the location may be internal; get:
# the method becomes GET on the way; named: the location has no path; error: an
# error_page has been used already; sends: the status that is sent instead of
# one.

my %ROUTES = (

    direct => { make => sub {
        my ($c) = @_;
        return "location /$c->{n}/ { $c->{body} }";
    } },

    'exact' => { kinds => \@PAGES, make => sub {
        my ($c) = @_;
        return "location = /$c->{n}/page { $c->{body} }";
    } },

    'nested' => { make => sub {
        my ($c) = @_;
        $c->{path} = "/$c->{n}/in/";
        return "location /$c->{n}/ { add_header X-Outer 1;"
               . " location /$c->{n}/in/ { $c->{body} } }";
    } },

    'nested regex' => { make => sub {
        my ($c) = @_;
        return "location /$c->{n}/ { location ~ ^/$c->{n}/. { $c->{body} } }";
    } },

    'regex with captures' => { make => sub {
        my ($c) = @_;
        my ($n, $k) = @$c{qw(n module)};
        $c->{ids} = 1;
        return $c->{page}
            ? "location ~ ^/$n/(?<${n}_p>page)\$ { $c->{body} }"
            : "location ~ ^/$n/(?<${n}_o>\\d+)/(?<${n}_c>[^/]+)\$ {"
              . " $c->{body} conduit_${k}_org_id \$${n}_o;"
              . " conduit_${k}_channel_id \$${n}_c; }";
    } },

    'named by error_page =' => {
        named => 1, redirects => 1, error => 1, make => sub {
        my ($c) = @_;
        return "location /$c->{n}/ { error_page 404 = \@$c->{n}; return 404; }"
               . " location \@$c->{n} { $c->{body} }";
    } },

    'named by error_page' => {
        named => 1, redirects => 1, error => 1, sends => 404, make => sub {
        my ($c) = @_;
        return "location /$c->{n}/ { error_page 404 \@$c->{n}; return 404; }"
               . " location \@$c->{n} { $c->{body} }";
    } },

    'named by error_page =203' => {
        named => 1, redirects => 1, error => 1, sends => 203, make => sub {
        my ($c) = @_;
        return "location /$c->{n}/ { error_page 404 =203 \@$c->{n};"
               . " return 404; } location \@$c->{n} { $c->{body} }";
    } },

    'a path by error_page =' => {
        redirects => 1, error => 1, get => 1, make => sub {
        my ($c) = @_;
        my $n = $c->{n};
        return "location ~ ^/$n/(.*)\$ { error_page 404 = /${n}t/\$1?\$args;"
               . " return 404; } location /${n}t/ { $c->{body} }";
    } },

    'named by try_files' => { named => 1, redirects => 1, make => sub {
        my ($c) = @_;
        return "location /$c->{n}/ { try_files /none-$c->{n} \@$c->{n}; }"
               . " location \@$c->{n} { $c->{body} }";
    } },

    'a path by try_files' => { redirects => 1, make => sub {
        my ($c) = @_;
        my $n = $c->{n};
        return "location ~ ^/$n/(.*)\$ {"
               . " try_files /none-$n /${n}t/\$1?\$args; }"
               . " location /${n}t/ { $c->{body} }";
    } },

    'rewrite last' => { redirects => 1, make => sub {
        my ($c) = @_;
        my $n = $c->{n};
        return "location /$n/ { rewrite ^/$n/(.*)\$ /${n}t/\$1 last; }"
               . " location /${n}t/ { $c->{body} }";
    } },

    'rewrite of the server' => { redirects => 1, make => sub {
        my ($c) = @_;
        my $n = $c->{n};
        return "rewrite ^/$n/(.*)\$ /${n}t/\$1 last;"
               . " location /${n}t/ { $c->{body} }";
    } },

    'behind proxy_pass' => { make => sub {
        my ($c, $self) = @_;
        my $n = $c->{n};
        return "location /$n/ { proxy_pass http://127.0.0.1:$self->{port}"
               . "/${n}t/; proxy_http_version 1.1; error_log logs/error.log"
               . " crit; } location /${n}t/ { $c->{body} }";
    } },

    'X-Accel-Redirect to a path' => {
        redirects => 1, get => 1, make => sub {
        my ($c, $self) = @_;
        my $n = $c->{n};
        return "location /$n/ { proxy_pass http://127.0.0.1:$self->{port}"
               . "/${n}b/; error_log logs/error.log crit; }"
               . " location ~ ^/${n}b/(.*)\$ {"
               . " add_header X-Accel-Redirect /${n}t/\$1?\$args;"
               . " return 200; } location /${n}t/ { $c->{body} }";
    } },

    'X-Accel-Redirect to a name' => {
        named => 1, redirects => 1, make => sub {
        my ($c, $self) = @_;
        my $n = $c->{n};
        return "location /$n/ { proxy_pass http://127.0.0.1:$self->{port}"
               . "/${n}b/; error_log logs/error.log crit; }"
               . " location /${n}b/ { add_header X-Accel-Redirect \@$n;"
               . " return 200; } location \@$n { $c->{body} }";
    } },
);


# --- extras
#
# Each returns directives for the location.  Extras of the same group are not
# combined; alone, unnamed and not_get limit the routes.  all: every request
# gets this status; phase: of two such extras, that of the earlier phase counts.
# NGINX checks whether the location is internal (0), then the length of the body
# (1), and then runs rewrite (2), limits (3), access (4), try_files (5).

sub all {
    my ($c, $status) = @_;

    $_ = $status for values %{ $c->{expect} };
}

# a location that is there for one case
sub beside {
    my ($c, $text) = @_;

    $c->{beside} .= " $text";
}

my %EXTRAS = (

    'if met' => { group => ['if'], make => sub {
        my ($c) = @_;
        return "if (\$http_x_a) { set \$$c->{n}_y 1; }";
    } },

    'if not met' => { group => ['if'], make => sub {
        my ($c) = @_;
        return "if (\$http_x_b) { set \$$c->{n}_y 1; }";
    } },

    'if met, empty' => { group => ['if'], make => sub {
        return 'if ($http_x_a) { }';
    } },

    'if met, with settings' => { group => ['if'], make => sub {
        my ($c) = @_;
        return 'if ($http_x_a) { add_header X-If yes; gzip off; expires off; }';
    } },

    'if met and then another' => { group => ['if'], make => sub {
        my ($c) = @_;
        my $v = "\$$c->{n}_y";
        return "if (\$http_x_a) { set $v 1; } if ($v = 1) { set $v 2; }";
    } },

    'if with return' => { group => ['if', 'rewrite'], phase => 2, all => -418,
                          make => sub {
        return 'if ($http_x_a) { return 418; }';
    } },

    'if with rewrite' => { group => ['if', 'rewrite'], phase => 2, all => 202,
                           make => sub {
        my ($c) = @_;
        beside($c, "location = /$c->{n}r { return 202 elsewhere; }");
        return "if (\$http_x_a) { rewrite ^ /$c->{n}r last; }";
    } },

    'limit_except of other methods' => { group => ['access', 'rewrite'],
                                         make => sub {
        my ($c) = @_;
        my $method = $c->{kind} eq 'publish' ? 'POST' : 'GET';
        $c->{expect}{method} = -403;
        return "limit_except $method { deny all; }";
    } },

    'limit_except that allows' => { group => ['access', 'rewrite'],
                                    make => sub {
        my ($c) = @_;
        my $method = $c->{kind} eq 'publish' ? 'GET' : 'POST';
        return "limit_except $method { allow all; }";
    } },

    # the nested location inherits access rules, and they answer its requests,
    # too
    'a location below' => { group => ['below', 'access'], unnamed => 1,
                            make => sub {
        my ($c) = @_;
        return '' if $c->{routed} !~ /^(?:direct|nested)$/;

        # a nested location does not inherit the module's handler
        $c->{below} = "$c->{path}below/";
        return "location $c->{below} { add_header X-Below 1; }";
    } },

    'internal' => { group => ['internal'], phase => 0, make => sub {
        my ($c) = @_;
        all($c, -404) if !$c->{route}{redirects};
        return 'internal;';
    } },

    'satisfy any, met' => { group => ['access'], make => sub {
        my ($c, $self) = @_;
        return 'satisfy any; allow 127.0.0.1; deny all; auth_basic x;'
               . " auth_basic_user_file $self->{secrets};";
    } },

    'satisfy any, not met' => { group => ['access'], phase => 4, all => -401,
                                make => sub {
        my ($c, $self) = @_;
        return 'satisfy any; deny all; auth_basic x;'
               . " auth_basic_user_file $self->{secrets};";
    } },

    'auth_basic' => { group => ['access'], kinds => ['gateway', @PAGES],
                      make => sub {
        my ($c, $self) = @_;
        $c->{headers}{Authorization} = 'Basic dXNlcjpwYXNz';    # user:pass
        return "auth_basic x; auth_basic_user_file $self->{secrets};";
    } },

    'deny' => { group => ['access'], phase => 4, all => -403, make => sub {
        return 'deny all;';
    } },

    'error_page from it' => { group => ['access'], phase => 4, make => sub {
        my ($c) = @_;
        all($c, $c->{route}{error} ? -403 : 202);
        beside($c, "location \@$c->{n}d { return 202 denied; }");
        return "deny all; error_page 403 =202 \@$c->{n}d;";
    } },

    'error_page to a second one' => { group => ['access'], phase => 4,
                                      kinds => [qw(publish gateway)],
                                      make => sub {
        my ($c, $self) = @_;
        all($c, -403) if $c->{route}{error};
        beside($c, "location \@$c->{n}d { " . $self->inner($c)
                   . ids($c) . ' }');
        return "deny all; error_page 403 = \@$c->{n}d;";
    } },

    'error_page without use' => { group => ['access'], make => sub {
        my ($c) = @_;
        beside($c, "location \@$c->{n}d { return 202 denied; }");
        return "error_page 400 401 403 404 500 502 503 504 \@$c->{n}d;";
    } },

    'auth_request, met' => { group => ['access'], make => sub {
        my ($c) = @_;
        beside($c, "location = /$c->{n}g { internal; return 204; }");
        return "auth_request /$c->{n}g; auth_request_set \$$c->{n}_s \$status;";
    } },

    'auth_request, not met' => { group => ['access'], phase => 4, all => -401,
                                 make => sub {
        my ($c) = @_;
        beside($c, "location = /$c->{n}g { internal; return 401; }");
        return "auth_request /$c->{n}g;";
    } },

    'auth_request to a proxy' => { group => ['access'], make => sub {
        my ($c, $self) = @_;
        beside($c, "location = /$c->{n}g { internal; proxy_pass"
                   . " http://127.0.0.1:$self->{port}/ok/;"
                   . ' proxy_pass_request_body off;'
                   . ' proxy_set_header Content-Length ""; }');
        return "auth_request /$c->{n}g;";
    } },

    'mirror' => { group => ['mirror'], make => sub {
        my ($c) = @_;
        beside($c, "location = /$c->{n}m { internal; return 200; }");
        return "mirror /$c->{n}m;";
    } },

    'mirror to a proxy' => { group => ['mirror'], make => sub {
        my ($c, $self) = @_;
        beside($c, "location = /$c->{n}m { internal; proxy_pass"
                   . " http://127.0.0.1:$self->{port}/ok/; }");
        return "mirror /$c->{n}m;";
    } },

    'mirror without body' => { group => ['mirror'], make => sub {
        my ($c) = @_;
        beside($c, "location = /$c->{n}m { internal; return 200; }");
        return "mirror /$c->{n}m; mirror_request_body off;";
    } },

    'post_action' => { group => ['post_action'], make => sub {
        my ($c) = @_;
        beside($c, "location = /$c->{n}p { return 200; }");
        return "post_action /$c->{n}p;";
    } },

    # not with add_before_body from a proxy: when a client leaves, NGINX
    # miscounts the references to the request, with its own handlers, too
    'post_action to a proxy' => { group => ['post_action', 'proxy twice'],
                                  make => sub {
        my ($c, $self) = @_;
        beside($c, "location \@$c->{n}p { rewrite ^ /ok/ break; proxy_pass"
                   . " http://127.0.0.1:$self->{port}; }");
        return "post_action \@$c->{n}p;";
    } },

    'ssi on' => { group => ['ssi'], make => sub {
        return 'ssi on; ssi_types *;';
    } },

    'add_before_body' => { group => ['addition'],
                           needs => 'http_addition_module', make => sub {
        my ($c) = @_;
        beside($c, "location = /$c->{n}s { internal;"
                   . ' return 200 ":added\n\n"; }');
        return "add_before_body /$c->{n}s; add_after_body /$c->{n}s;"
               . ' addition_types *;';
    } },

    'add_before_body by a proxy' => { group => ['addition', 'proxy twice'],
                                      needs => 'http_addition_module',
                                      make => sub {
        my ($c, $self) = @_;
        beside($c, "location = /$c->{n}s { internal; proxy_pass"
                   . " http://127.0.0.1:$self->{port}/ok/; }");
        return "add_before_body /$c->{n}s; addition_types *;";
    } },

    'charset' => { group => ['charset'], make => sub {
        return 'charset utf-8;';
    } },

    'charset with a conversion' => { group => ['charset'], make => sub {
        return 'charset koi8-r; source_charset utf-8; charset_types *;'
               . ' override_charset on;';
    } },

    'gzip' => { group => ['gzip'], make => sub {
        my ($c) = @_;
        $c->{headers}{'Accept-Encoding'} = 'gzip';
        return 'gzip on; gzip_types *; gzip_min_length 0; gzip_proxied any;'
               . ' gzip_http_version 1.0; gzip_vary on;';
    } },

    'sub_filter' => { group => ['sub'], needs => 'http_sub_module',
                      make => sub {
        return q(sub_filter '"sequence":' '"sequence":'; sub_filter_types *;)
               . q( sub_filter_once off;);
    } },

    'expires' => { group => ['expires'], make => sub {
        return 'expires 1h;';
    } },

    'root and index' => { group => ['root'], make => sub {
        return 'root /; index page a; autoindex on;';
    } },

    'alias' => { group => ['root'], unnamed => 1, make => sub {
        return 'alias /;';
    } },

    'try_files in it' => { group => ['if', 'access', 'try_files'], phase => 5,
                           all => -404, make => sub {
        return 'try_files /none =404;';
    } },

    'variables' => { group => ['variables'], make => sub {
        my ($c) = @_;
        my $v = "\$$c->{n}_v";
        return "set $v \"\$conduit_org_id \$conduit_channel_id"
               . ' $conduit_verified_org_id $conduit_verified_channel_id'
               . ' $conduit_gateway_events $conduit_gateway_bytes'
               . ' $conduit_gateway_losses $conduit_gateway_close'
               . ' $conduit_publish_id $conduit_publish_phase'
               . " \$conduit_redis_time \$mapped_org \$mapped_close\";"
               . " add_header X-V \"$v \$conduit_gateway_events"
               . ' $conduit_publish_id $mapped_org $mapped_close" always;'
               . ' uninitialized_variable_warn off;';
    } },

    'client_max_body_size' => { group => ['body'], phase => 1, make => sub {
        my ($c) = @_;
        if ($c->{kind} eq 'publish' && !$c->{route}{named}) {
            $c->{expect}{$_} = -413 for qw(good missing forged org);
        }
        return 'client_max_body_size 16;';
    }, not_get => 1 },

    'client_body_in_file_only' => { group => ['body'], make => sub {
        return 'client_body_in_file_only clean;';
    } },

    'client_body_buffer_size' => { group => ['body'], make => sub {
        return 'client_body_buffer_size 8; client_body_in_single_buffer on;';
    } },

    'a chunked body' => { group => ['body'], kinds => ['publish'],
                          make => sub {
        my ($c) = @_;
        $c->{chunked} = 1;
        return '';
    } },

    'limit_req' => { group => ['limit_req'], make => sub {
        return 'limit_req zone=plenty_req burst=1000 nodelay;';
    } },

    'limits of a verified organization' => {
        group => ['limit_req', 'limit_conn'], make => sub {
        return 'limit_req zone=plenty_req burst=1000 nodelay;'
               . ' limit_req zone=plenty_req_org burst=1000 nodelay;'
               . ' limit_conn plenty_conn_org 1000;';
    } },

    'limit_req, over it' => { group => ['limit_req'], phase => 3,
                              make => sub {
        my ($c) = @_;
        my $good = $c->{expect}{good};
        all($c, -503);
        $c->{expect}{good} = $good;
        $c->{first} = 'all';
        $c->{http} .= "limit_req_zone \$binary_remote_addr zone=$c->{n}:32k"
                      . " rate=1r/m;\n";
        return "limit_req zone=$c->{n};";
    }, alone => 1 },

    'limit_conn' => { group => ['limit_conn'], make => sub {
        return 'limit_conn plenty_conn 1000;';
    } },

    'limit_conn, over it' => { group => ['limit_conn'], phase => 3,
                               kinds => ['gateway'], make => sub {
        my ($c) = @_;
        $c->{first} = 'good';
        $c->{expect}{second} = -503;
        $c->{http} .= "limit_conn_zone \$binary_remote_addr"
                      . " zone=$c->{n}:32k;\n";
        return "limit_conn $c->{n} 1;";
    }, alone => 1 },

    'limit_rate' => { group => ['limit_rate'], kinds => ['gateway'],
                      make => sub {
        return 'limit_rate 5k; limit_rate_after 1;';
    } },

    'return' => { group => ['rewrite'], phase => 2, all => -418, make => sub {
        return 'return 418;';
    } },

    'return of a redirect' => { group => ['rewrite'], phase => 2, all => -301,
                                make => sub {
        return 'return 301 https://$host$request_uri;';
    } },

    'rewrite redirect' => { group => ['rewrite'], phase => 2, all => -302,
                            make => sub {
        return 'rewrite ^ /elsewhere redirect;';
    } },

    'rewrite break' => { group => ['rewrite'], make => sub {
        return 'rewrite ^(.*)$ $1 break;';
    } },

    'keepalive_timeout 0' => { group => ['keepalive'], make => sub {
        return 'keepalive_timeout 0; lingering_close always;'
               . ' lingering_time 2s; lingering_timeout 1s;';
    } },

    'reset_timedout_connection' => { group => ['timeouts'], make => sub {
        return 'reset_timedout_connection on; send_timeout 20s;'
               . ' client_body_timeout 10s; lingering_close off;';
    } },

    'files' => { group => ['files'], make => sub {
        my ($c, $self) = @_;
        return 'sendfile on; tcp_nopush on; directio 1; open_file_cache max=9;'
               . ($self->has('threads') ? ' aio threads;' : '');
    } },

    'output buffers' => { group => ['output'], make => sub {
        return 'chunked_transfer_encoding off; postpone_output 0;'
               . ' output_buffers 1 64; tcp_nodelay off; max_ranges 0;';
    } },

    'logs' => { group => ['logs'], make => sub {
        return 'log_subrequest on; access_log off; log_not_found off;';
    } },

    'headers' => { group => ['headers'], make => sub {
        return 'add_header X-H 1 always; add_trailer X-T 1 always; userid on;'
               . ' default_type a/b; etag on; if_modified_since before;';
    } },

    'real_ip' => { group => ['real_ip'], needs => 'http_realip_module',
                   make => sub {
        my ($c) = @_;
        $c->{headers}{'X-Real-IP'} = '127.0.0.1';
        return 'set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;';
    } },

    'other handlers of files' => { group => ['handlers'], make => sub {
        my ($c, $self) = @_;
        return join ' ', map { $self->has("http_$_->[0]_module") ? $_->[1] : ()
                             } ['dav', 'dav_methods PUT DELETE;'],
                               ['random_index', 'random_index on;'],
                               ['gzip_static', 'gzip_static always;'],
                               ['gunzip', 'gunzip on;'], ['slice', 'slice 1k;'];
    } },
);


# the directives that take the IDs from variables, if the path has no IDs

sub ids {
    my $c = shift;

    return '' if !$c->{ids};

    return " conduit_$c->{module}_org_id \$$c->{n}_o;"
           . " conduit_$c->{module}_channel_id \$$c->{n}_c;";
}


sub routes { sort keys %ROUTES }

sub extras { sort keys %EXTRAS }


# The directive that makes a location of this kind.

sub inner {
    my ($self, $c) = @_;

    return $c->{page} ? "conduit_$c->{kind};" =~ s/ /_/r
                      : "conduit_$c->{kind} $self->{redis};";
}


sub blank {
    my ($self, $kind, $name) = @_;

    my $page = $kind =~ / /;
    my $n = 'c' . ++$self->{id};

    my $c = {
        kind => $kind, n => $n, page => $page, path => "/$n/", conf => '',
        http => '', beside => '', headers => { %HEADERS },
        module => $kind =~ /^(\w+)/, name => "$kind: $name",
        expect => { %{ $EXPECT{$page ? 'page' : $kind} } },
    };

    if ($self->{dead}) {
        $c->{expect}{good} = 503 if $kind =~ /^publish$|ready/;
    }

    return $c;
}


sub make {
    my ($self, $kind, $route, @extras) = @_;

    my $r = $ROUTES{$route} or die "no route $route";
    my @e = map { $EXTRAS{$_} // die "no extra $_" } @extras;
    my %groups;

    for my $e ($r, @e) {
        return if $e->{kinds} && !grep { $_ eq $kind } @{ $e->{kinds} };
        return if $e->{needs} && !$self->has($e->{needs});
        return if $e->{unnamed} && $r->{named};
        return if $e->{not_get} && $r->{get};
        return if $e->{alone} && ($route ne 'direct' || @e > 1);
        return if grep { $groups{$_}++ } @{ $e->{group} // [] };
    }

    my $c = $self->blank($kind, join ' + ', $route, @extras);

    @$c{qw(route routed)} = ($r, $route);

    # the first call sets the path, which extras may need

    $c->{body} = '';
    $r->{make}->($c, $self);

    my ($before, $after) = ('', '');
    my %texts;

    # the status of the earliest phase counts, so its extra is made last

    for my $e (sort { ($b->{phase} // 9) <=> ($a->{phase} // 9) } @e) {
        $texts{$e} = $e->{make}->($c, $self);
        all($c, $e->{all}) if $e->{all};
    }

    $c->{delivers} = $c->{expect}{good} == 200 && !$c->{page}
                     && !$self->{dead};

    $c->{body} = join ' ', map { $texts{$_} } @e;

    # an extra stands before the module's directive or after it

    $c->{body} = $c->{n} =~ /[02468]$/ ? "$c->{body} " . $self->inner($c)
                                       : $self->inner($c) . " $c->{body}";
    $c->{conf} = $r->{make}->($c, $self) . $c->{beside};

    if ($r->{get}) {
        if ($kind eq 'publish') {
            all($c, $c->{expect}{method});
            $c->{delivers} = 0;
        } else {
            $c->{expect}{method} = $c->{expect}{good};
        }
    }

    $_ = $_ > 0 ? $r->{sends} // $_ : -$_ for values %{ $c->{expect} };

    return $c;
}


# Pairs of extras that can be combined although their phases do not tell whose
# status counts: there must be none.

sub undecided {
    my $self = shift;

    my @e = grep { defined $EXTRAS{$_}{phase} } $self->extras;
    my @pairs;

    for my $first (@e) {
        push @pairs, map { "$first + $_" } grep {
            my $second = $_;

            $first lt $second
                && $EXTRAS{$first}{phase} == $EXTRAS{$second}{phase}
                && grep { $self->make($_, 'direct', $first, $second) } @KINDS;
        } @e;
    }

    return @pairs;
}


# --- targets
#
# A location that a directive of another one refers to.  checks are requests to
# main: method, status, like (what the body has), stored (whether the message is
# published, when that is certain).

my %TARGETS = (

    'auth_request to it' => sub {
        my ($c) = @_;
        my $open = $c->{page} && $c->{expect}{good} == 200;
        return ("auth_request $c->{target};", $open ? 200 : 500);
    },

    'mirror to it' => sub {
        my ($c) = @_;
        return ("mirror $c->{target};", 200);
    },

    'post_action to it' => sub {
        my ($c) = @_;
        $c->{stored} = undef;
        return ("post_action $c->{target};", 200);
    },

    'add_before_body to it' => sub {
        my ($c) = @_;
        return ("add_before_body $c->{target}; add_after_body $c->{target};"
                . ' addition_types *;', 200, qr/ok/);
    },

    'SSI to it' => sub {
        my ($c) = @_;
        $c->{handler} = "return 200 'A<!--# include virtual=\"$c->{target}\""
                        . " -->Z';";
        return ('ssi on; ssi_types *;', 200, qr/A.*Z/s);
    },
);

sub targets { sort keys %TARGETS }

sub make_target {
    my ($self, $kind, $target) = @_;

    return if $target eq 'add_before_body to it'
              && !$self->has('http_addition_module');

    my $c = $self->blank($kind, $target);
    my $n = $c->{n};

    $c->{target} = "/${n}t/page";
    $c->{path} = "/$n/main";
    $c->{stored} = 0;
    $c->{handler} = "proxy_pass http://127.0.0.1:$self->{port}/ok/;";

    my ($text, $status, $like) = $TARGETS{$target}->($c);
    my $ids = $c->{page} ? ''
        : "conduit_$c->{kind}_org_id \$http_x_org;"
          . " conduit_$c->{kind}_channel_id \$http_x_channel;";

    $c->{checked} = { status => $status, like => $like // qr// };
    $c->{conf} = "location = $c->{path} { $text $c->{handler} }"
                 . " location /${n}t/ { " . $self->inner($c) . " $ids }";

    return $c;
}


# --- what is refused

# Parts of a server in which a directive of the modules is not alone, or is at a
# wrong place: [name, text].

sub refused {
    my $self = shift;

    my @handlers = (
        'proxy_pass http://127.0.0.1:1', 'fastcgi_pass 127.0.0.1:1',
        'uwsgi_pass 127.0.0.1:1', 'scgi_pass 127.0.0.1:1',
        'memcached_pass 127.0.0.1:1', 'empty_gif',
        $self->has('http_v2_module') ? 'grpc_pass 127.0.0.1:1' : (),
        $self->has('http_stub_status_module') ? 'stub_status' : (),
        $self->has('http_flv_module') ? 'flv' : (),
        $self->has('http_mp4_module') ? 'mp4' : ());
    my @refused;

    for my $kind ('publish', 'gateway', 'publish status json',
                  'gateway health ready')
    {
        my $inner = $self->inner({ kind => $kind, page => scalar $kind =~ / / });
        my @others = grep { "$_;" ne $inner }
            @handlers, "conduit_gateway $self->{redis}", 'conduit_gateway_status',
            "conduit_publish $self->{redis}", 'conduit_publish_health live';

        for my $handler (@others) {
            my ($word) = $handler =~ /^(\S+)/;

            push @refused,
                ["$kind, $word after it", "location /x { $inner $handler; }"],
                ["$kind, $word before it", "location /x { $handler; $inner }"];

            push @refused,
                ["$kind, $word in an if",
                 "location /x { $inner if (\$http_x) { $handler; } }"],
                ["$kind, $word in a limit_except",
                 "location /x { $inner limit_except GET { $handler; } }"]
                if $word =~ /_pass$/;
        }

        push @refused,
            ["$kind in an if", "location /x { if (\$http_x) { $inner } }"],
            ["$kind in a limit_except",
             "location /x { limit_except GET { $inner } }"],
            ["$kind in the server", $inner],
            ["$kind twice", "location /x { $inner $inner }"];
    }

    return @refused;
}

1;
