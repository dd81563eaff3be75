# Copyright (C) Conduit for NGINX authors
#
# Filters of other modules between a stream and its client: filters that change
# the end of a response, and filters that make subrequests, which block the
# response meanwhile.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::H2;
use Conduit::Metrics;
use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);

my $REDIS = "redis://127.0.0.1:$Conduit::REDIS_PORT";
my $MODULES = '/usr/lib/nginx/modules';

# packages of the distribution, for its own NGINX
my %module = map {
    my $file = "$MODULES/ngx_http_${_}_module.so";
    $_ => $ENV{TEST_NGINX_BINARY} eq '/usr/sbin/nginx' && -f $file
          ? "load_module $file;" : undef
} qw(lua echo);

my $options = `$ENV{TEST_NGINX_BINARY} -V 2>&1`;
my %built = map { $_ => $options =~ /--with-http_${_}_module/ }
            qw(addition sub);

my ($h2, $later) = (free_port(), free_port());
my $old = nginx_version() < 1025001 ? ' http2' : '';

# a server that answers when the test says so
my $backend = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$later",
                                    Listen => 64, ReuseAddr => 1)
    or die "listen: $!";

my $gateway = "conduit_gateway $REDIS; conduit_gateway_auth off;"
              . 'conduit_gateway_window 64k; conduit_gateway_read_count 4;';

my $locations = <<"EOC";
    location /events/ { $gateway }
    location /ssi/ {
        $gateway
        ssi on;
        ssi_types text/event-stream;
    }
    location /gzip/ { $gateway gzip on; gzip_types *; gzip_min_length 0; }
    location /charset/ {
        $gateway
        charset koi8-r;
        source_charset utf-8;
        charset_types *;
    }
    location /later {
        proxy_pass http://127.0.0.1:$later;
        proxy_buffering off;
    }
    location /answer { return 200 ": answer\\n"; }
EOC

$locations .= <<"EOC" if $built{addition};
    location /before/ {
        $gateway
        add_before_body /later;
        addition_types *;
        send_timeout 300ms;
        conduit_gateway_keepalive 100ms;
    }
    location /both/ {
        $gateway
        add_before_body /answer;
        add_after_body /answer;
        addition_types *;
    }
    location /short/ {
        $gateway
        add_before_body /later;
        addition_types *;
        conduit_gateway_max_duration 1s;
    }
EOC

$locations .= <<"EOC" if $built{sub};
    location /sub/ {
        $gateway
        sub_filter 'hello' 'goodbye';
        sub_filter_once off;
        sub_filter_types *;
    }
EOC

$locations .= <<"EOC" if $module{lua};
    location /lua/ {
        $gateway
        body_filter_by_lua_block {
            ngx.ctx.calls = (ngx.ctx.calls or 0) + 1
            ngx.arg[1] = string.gsub(ngx.arg[1], "hello", "goodbye")
            if ngx.arg[2] then
                ngx.arg[1] = ngx.arg[1] .. ": the end\\n"
            end
        }
    }
    location /lua-looks/ {
        $gateway
        body_filter_by_lua_block { local last = ngx.arg[2] }
    }
EOC

$locations .= <<"EOC" if $module{echo};
    location /echo/ {
        $gateway
        echo_before_body ": first";
        echo_after_body ": the end";
    }
EOC

my $ndk = $module{lua} ? "load_module $MODULES/ndk_http_module.so;" : '';

# a debug log of megabytes of events takes time
package Quiet {
    our @ISA = 'Conduit::Nginx';

    sub conf { return shift->SUPER::conf(@_) =~ s/log debug;/log info;/r }
}

my $nginx = Quiet->start(
    main => join("\n", $ndk, grep { defined } values %module),
    server => $locations . pages(), http => <<"EOC");
    @{[$old ? '' : 'http2 on;']}
    charset_map koi8-r utf-8 { C0 D18E; }
    server { listen 127.0.0.1:$h2$old; $locations }
EOC

my ($worker) = $nginx->workers;

# memory says nothing where a tool has its own
my $measures = !$ENV{TEST_NGINX_USE_VALGRIND}
               && read_file("/proc/$worker/maps") !~ /lib[a-z]san/;


sub path { return "/$_[0]/$ORG?channel_id=$_[1]" }

sub add {
    my ($channel, $sequence, $text) = @_;

    return xadd(channel_id => $channel, sequence => $sequence,
                payload => { value => $text // 'hello' });
}

# A client that has sent its request, and has got nothing yet.
sub client {
    my $path = shift;

    my $s = Conduit::SSE::plain_socket($nginx->port);

    $s->syswrite("GET $path HTTP/1.1\r\nHost: localhost\r\n\r\n");

    return bless { raw => '', body => '', parsed => 0, events => [],
                   taken => 0, comments => [], method => 'GET',
                   socket => $s }, 'Waiting';
}

# a response whose header may take its time
package Waiting {
    our @ISA = 'Conduit::SSE';

    sub until {
        my ($self, $seconds, $condition) = @_;

        return $self->SUPER::until($seconds, sub {
            $self->parse_header && $condition->() });
    }
}

# The request of a subrequest, as the other server has it.
sub asked {
    IO::Select->new($backend)->can_read(20) or die 'nothing is asked';

    my $s = $backend->accept;
    my $got = '';

    while ($got !~ /\r\n\r\n/) {
        $s->sysread($got, 4096, length $got) or die 'no request';
    }

    return $s;
}

sub answer {
    my ($s, $text) = @_;

    $s->syswrite("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n$text");
    close $s;
}

sub sequences { return [map { $_->{json}{sequence} } @_] }

sub memory {
    return read_file("/proc/$worker/status") =~ /^VmRSS:\s+(\d+)/m ? $1 : die;
}

sub slow { return metrics($nginx, 'gateway')->{slow_subscribers} }


# --- filters that look for the end

# Events arrive one by one, as they come, up to the END, and the response ends.
sub arrives {
    my ($title, $location, $text, $make) = @_;

    my $channel = uuid();
    my $sse = ($make // \&client)->(path($location, $channel));
    my @got;

    for my $n (1 .. 3) {
        add($channel, $n);
        push @got, $sse->event(30);
    }

    is_deeply [map { [$_->{json}{sequence}, $_->{json}{payload}{value}] }
               @got], [map { [$_, $text] } 1 .. 3],
        "$title: each event arrives when it comes";

    xadd(channel_id => $channel, phase => 'END', sequence => 4);
    is_deeply sequences($sse->events(1, 30)), [4], "$title: END arrives";
    ok $sse->end(30), "$title: the response ends with the stream";

    return $sse;
}

SKIP: {
    skip 'no Lua module (libnginx-mod-http-lua) for this NGINX', 7
        if !$module{lua};

    my $sse = arrives('body_filter_by_lua', 'lua', 'goodbye');
    my $ends = () = $sse->body =~ /: the end\n/g;

    is $ends, 1, 'body_filter_by_lua: it sees the end once';
    like $sse->body, qr/: the end\n\z/, 'body_filter_by_lua: at the end';

    arrives('body_filter_by_lua that changes nothing', 'lua-looks', 'hello');
}

SKIP: {
    skip 'no echo module (libnginx-mod-http-echo) for this NGINX', 4
        if !$module{echo};

    my $sse = arrives('echo_after_body', 'echo', 'hello');
    my @lines = map { s/^ //r } grep { /first|end/ } $sse->comments;

    is_deeply \@lines, ['first', 'the end'],
        'echo_after_body: its text comes after the last event';
}

SKIP: {
    skip 'NGINX was built without sub_filter', 3 if !$built{sub};
    arrives('sub_filter', 'sub', 'goodbye');
}

arrives('charset', 'charset', 'hello');
arrives('gzip for a client that takes none', 'gzip', 'hello');

SKIP: {
    skip 'NGINX was built without add_before_body', 4 if !$built{addition};

    my $sse = arrives('add_before_body and add_after_body', 'both', 'hello');

    like $sse->body, qr/\A: answer\nretry: .*: answer\n\z/s,
        'add_before_body and add_after_body: each text has its place';
}


# --- a subrequest that takes its time

sub before_body {
    my $way = shift;

    my $channel = uuid();
    my $client;
    my $make = $way eq 'HTTP/1.1' ? \&client : sub {
        $client = Conduit::H2->connect($h2);
        return $client->get($_[0]);
    };

    # more than send_timeout and several keepalives
    add($channel, $_) for 1, 2;
    my $sse = $make->(path('before', $channel));
    my $s = asked();
    my $from = time;

    add($channel, 3);
    wait_for(20, sub { time > $from + 1 });
    is metrics($nginx, 'gateway')->{subscribers}, 1,
        "$way, a subrequest: send_timeout is not for its time";
    is slow(), 1, "$way, a subrequest: its subscriber counts as slow";

    answer($s, ": before\n");
    is_deeply sequences($sse->events(3, 30)), [1, 2, 3],
        "$way, a subrequest: the events come after it";
    like $sse->body, qr/\A: before\nretry: /,
        "$way, a subrequest: its text comes first";
    becomes($nginx, 'gateway', 'slow_subscribers', 0,
            "$way, a subrequest: its end is noticed");

    add($channel, 4);
    is_deeply sequences($sse->events(1, 30)), [4],
        "$way, a subrequest: events go on afterwards";
    ok $sse->comment(30), "$way, a subrequest: keepalives go on, too";

    xadd(channel_id => $channel, phase => 'END');
    ok $sse->end(30), "$way, a subrequest: the response ends";
    $client->close if $client;

    # a position is looked up, so that the response begins with Redis' reply

    my $path = path('both', $channel) . '&last_event_id='
               . redis('XRANGE', stream_key(undef, $channel), '-', '+',
                       'COUNT', 1)->[0][0];

    $sse = $make->($path);
    is_deeply sequences($sse->events(3, 30)), [2, 3, 4],
        "$way, a position: events come after the subrequest";
    like $sse->body, qr/\A: answer\nretry: /,
        "$way, a position: the subrequest's text comes first";
    $client->close if $client;
}

# the client leaves meanwhile
sub leaves {
    my $sse = client(path('before', uuid()));
    my $s = asked();

    $sse->close;
    becomes($nginx, 'gateway', 'subscribers', 0,
            'a client that leaves during a subrequest is noticed');
    close $s;
}

# the stream ends, or its time is over, meanwhile
sub is_over {
    my $location = shift;

    my $channel = uuid();

    add($channel, 1);
    xadd(channel_id => $channel, phase => 'END', sequence => 2)
        if $location eq 'before';

    my $sse = client(path($location, $channel));
    my $s = asked();

    becomes($nginx, 'gateway', 'subscribers', 0,
            'a response is over during a subrequest')
        if $location eq 'short';
    answer($s, ": before\n");

    # what was not sent by then is for the next response
    my $expected = $location eq 'before' ? [1, 2] : [];
    is_deeply sequences($sse->events(scalar @$expected, 10)), $expected,
        "$location: the events that were due arrive after the subrequest";
    ok $sse->end(30), "$location: the response ends after the subrequest";
    is scalar $sse->events(1, 0), undef, "$location: no other event has come"
        if $location eq 'short';
}

# a response whose events are counted, not decoded, which takes time
package Counting {
    our @ISA = 'Waiting';

    sub parse_events {
        my $self = shift;

        $self->{seen} .= $self->{body};
        $self->{body} = '';
        push @{ $self->{sequences} }, $1
            while $self->{seen} =~ s/\A.*?"sequence":(\d+).*?\n\n//s;
    }

    sub counted {
        my ($self, $n) = @_;

        $self->until(120, sub { @{ $self->{sequences} // [] } >= $n });
        return $self->{sequences} // [];
    }
}

sub counting { return bless client(@_), 'Counting' }

# what waits takes no memory
sub takes_no_memory {
    my $channel = uuid();
    my $n = 1200;
    my $text = 'x' x 30_000;

    add($channel, $_, $text) for 1 .. $n;

    # as much memory as reading takes
    my $reader = counting(path('events', $channel));
    is_deeply $reader->counted($n), [1 .. $n], 'a deep stream is read';
    $reader->close;

    my $before = memory();
    my $sse = counting(path('before', $channel));
    my $s = asked();

    wait_for(20, sub { slow() == 1 });

    # what comes now is not held for it, either
    add($channel, $n + $_, $text) for 1 .. 50;
    $reader = counting(path('events', $channel));
    is_deeply $reader->counted($n + 50), [1 .. $n + 50],
        'a deep stream is read meanwhile';
    $reader->close;

    SKIP: {
        skip 'memory of a build with a checker', 1 if !$measures;

        cmp_ok memory() - $before, '<', 8192,
            'KB: 36 MB of events wait in Redis for a subrequest that hangs';
    }

    answer($s, ": before\n");
    is_deeply $sse->counted($n + 50), [1 .. $n + 50],
        'all of them arrive after it';
    $sse->close;
}

SKIP: {
    skip 'NGINX was built without add_before_body', 31 if !$built{addition};

    before_body($_) for 'HTTP/1.1', 'HTTP/2';
    leaves();
    is_over($_) for 'before', 'short';
    takes_no_memory();
}

# a subrequest in the middle, made by what an event holds
{
    my $channel = uuid();
    my $sse = client(path('ssi', $channel));

    add($channel, 1);
    is_deeply sequences($sse->events(1, 30)), [1], 'SSI: events arrive';

    add($channel, 2, "<!--# include virtual='/later' -->");
    my $s = asked();
    add($channel, 3);
    wait_for(20, sub { slow() });
    is slow(), 1, 'SSI: events wait for what an event includes';

    answer($s, 'included');
    is_deeply [map { $_->{json}{payload}{value} } $sse->events(2, 30)],
        ['included', 'hello'], 'SSI: they come after it, in order';

    # nothing waits when it ends
    add($channel, 4, "<!--# include virtual='/later' -->");
    answer(asked(), 'again');
    is_deeply [map { $_->{json}{payload}{value} } $sse->events(1, 30)],
        ['again'], 'SSI: an event alone is completed';
    add($channel, 5);
    is_deeply sequences($sse->events(1, 30)), [5], 'SSI: events go on';
    $sse->close;
}

becomes($nginx, 'gateway', 'subscribers', 0, 'nobody is left');
is_deeply [$nginx->workers], [$worker], 'the worker is the same all the time';

done_testing();
