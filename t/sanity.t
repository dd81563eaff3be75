# Copyright (C) Conduit for NGINX authors
#
# The modules load: together, alone, and next to a module that brings its own
# hiredis, in either order.

use strict;
use warnings;

use lib 't/lib';

# each block loads what it is about
BEGIN { $ENV{TEST_NGINX_LOAD_MODULES} = ' ' }

use Conduit;
use Test::Nginx::Socket 'no_plan';

our $PUBLISH = "load_module $Conduit::MODULES/ngx_conduit_publish_module.so;\n";
our $GATEWAY = "load_module $Conduit::MODULES/ngx_conduit_gateway_module.so;\n";

our $nchan_file = '/usr/lib/nginx/modules/ngx_nchan_module.so';
our $NCHAN = "load_module $nchan_file;\n";

# for "--- skip_eval": nchan is another package, and of another NGINX when the
# binary under test is not the distribution's
our $no_nchan = !-f $nchan_file
                || $ENV{TEST_NGINX_BINARY} ne '/usr/sbin/nginx';

run_tests();

__DATA__

=== TEST 1: both modules load together
--- main_config eval: $::PUBLISH . $::GATEWAY
--- config eval: publish_location() . gateway_location()
--- raw_request eval: publish_request()
--- error_code: 200
--- response_body_like: \A\d+-\d+\z
--- no_error_log
[error]



=== TEST 2: the order of the two does not matter
--- main_config eval: $::GATEWAY . $::PUBLISH
--- config eval: publish_location() . gateway_location()
--- raw_request eval: publish_request()
--- error_code: 200
--- response_body_like: \A\d+-\d+\z
--- no_error_log
[error]



=== TEST 3: the publish module works alone
--- main_config eval: $::PUBLISH
--- config eval: publish_location()
--- raw_request eval: publish_request()
--- error_code: 200
--- response_body_like: \A\d+-\d+\z
--- no_error_log
[error]



=== TEST 4: the gateway module works alone
--- main_config eval: $::GATEWAY
--- config eval: gateway_location()
--- init
xadd(channel_id => '00000000-0000-4000-8000-000000000004', phase => 'END');
--- request eval
"GET " . events_path(channel_id => '00000000-0000-4000-8000-000000000004')
--- error_code: 200
--- response_headers
Content-Type: text/event-stream
--- response_body_like: event: stream\nid: \d+-\d+\ndata: \{.*"PHASE_END"
--- no_error_log
[error]



=== TEST 5: nchan before the modules, each with its own hiredis
--- skip_eval: 3: $::no_nchan
--- main_config eval: $::NCHAN . $::PUBLISH . $::GATEWAY
--- config eval: publish_location() . gateway_location()
--- raw_request eval: publish_request()
--- error_code: 200
--- response_body_like: \A\d+-\d+\z
--- no_error_log
[error]



=== TEST 6: nchan after the modules, each with its own hiredis
--- skip_eval: 3: $::no_nchan
--- main_config eval: $::PUBLISH . $::GATEWAY . $::NCHAN
--- config eval: publish_location() . gateway_location()
--- raw_request eval: publish_request()
--- error_code: 200
--- response_body_like: \A\d+-\d+\z
--- no_error_log
[error]



=== TEST 7: events flow with nchan before the modules
--- skip_eval: 3: $::no_nchan
--- main_config eval: $::NCHAN . $::PUBLISH . $::GATEWAY
--- config eval: publish_location() . gateway_location()
--- init
xadd(channel_id => '00000000-0000-4000-8000-000000000007', phase => 'END');
--- request eval
"GET " . events_path(channel_id => '00000000-0000-4000-8000-000000000007')
--- error_code: 200
--- response_body_like: event: stream\nid: \d+-\d+\ndata: \{.*"PHASE_END"
--- no_error_log
[error]



=== TEST 8: a location without a key is refused when the file is read
--- main_config eval: $::PUBLISH . $::GATEWAY
--- config
    location /publish/ {
        conduit_publish redis://127.0.0.1:$TEST_NGINX_REDIS_PORT;
    }
--- must_die
--- suppress_stderr
--- error_log
[emerg]
