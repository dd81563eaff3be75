# Copyright (C) Conduit for NGINX authors
#
# Each location of the modules inside each construct of NGINX's configuration
# language, alone and in random pairs and triples.  Good requests, bad requests
# and clients that leave at any moment are sent.  No worker crashes; each
# response has the status that t/lib/Conduit/Constructs.pm expects; nobody gets
# in without a token; no token and no payload is in a log; a configuration that
# NGINX refuses is refused with file and line.
#
#     CONDUIT_CONSTRUCTS    number of random constructs, 100 by default
#     CONDUIT_SEED          another seed; "random" draws one (draw_by_seed())
#     CONDUIT_CASES         runs only the cases whose names match

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Constructs;
use Conduit::Constructs::Client;
use Conduit::H2;
use List::Util qw(shuffle);
use Test::More;

my $draws = $ENV{CONDUIT_CONSTRUCTS} // 100;
my $only = $ENV{CONDUIT_CASES} // '';

draw_by_seed();
diag "CONDUIT_CONSTRUCTS=$draws";

logs_tokens(qr/\[info\]/, 'what NGINX has not come to is looked at after each case');

# a word of all payloads, which is nowhere else
my $secret = 'payload' . int rand 1e9;

my $secrets = write_file("$Conduit::TMP/users", "user:{PLAIN}pass\n");
my $other_key = other_key();

my ($nginx, $port, $h2_port, $worker, %seen);


# --- one request

sub request {
    my ($c, $method, $path, %o) = @_;

    my %headers = (Host => 'localhost', %{ $c->{headers} },
                   %{ $o{headers} // {} });
    my $body = $o{body} // '';

    if ($o{chunked}) {
        $headers{'Transfer-Encoding'} = 'chunked';
        $body = join '', (map { sprintf "%x\r\n%s\r\n", length, $_ }
                          unpack '(a7)*', $body), "0\r\n\r\n";
    } elsif ($method eq 'POST') {
        $headers{'Content-Length'} //= length $body;
    }

    return join "\r\n", "$method $path HTTP/1.1",
        (map { "$_: $headers{$_}" } sort keys %headers), '', $body;
}


sub ask {
    return Conduit::Constructs::Client->send($port, request(@_));
}


# a request that is answered after all that came before was looked at

sub alive {
    my $c = Conduit::Constructs::Client->send($port,
        "GET /alive HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");

    $c->header;
    $c->close;
    return $c->status == 204;
}


sub other_key {
    my $key = "$Conduit::TMP/other.pem";

    system("openssl genrsa -out $key 2048 2>/dev/null") == 0 or die 'openssl';
    return $key;
}


# a signature takes time: the faulty tokens are the same for all

my (%once, %bad);

sub bad_token {
    my ($name, $make) = @_;

    return $once{$name} //= $make->();
}


# the path and the options of a request: what is one of the names in expect

sub gateway_request {
    my ($c, $channel, $what) = @_;

    my $token = $what eq 'missing' ? undef
        : $what eq 'forged' ? bad_token(forged => sub {
              gateway_token(-key => $other_key) })
        : $what eq 'org' ? bad_token(org => sub { gateway_token(org_id => 7) })
        : ($c->{token}{$channel} //= gateway_token(channel_id => $channel));

    # a faulty token is for the usual channel

    my $asked = $what =~ /^(forged|org)$/ ? $CHANNEL : $channel;
    my $path = $c->{path} . ($c->{ids} ? "$ORG/$asked" : "events/$ORG");
    my @args = (defined $token ? "token=$token" : (),
                $c->{ids} ? () : "channel_id=$asked");

    return ($what eq 'method' ? 'POST' : 'GET',
            join '?', $path, @args ? join '&', @args : ());
}


sub publish_request_of {
    my ($c, $channel, $what) = @_;

    my $token = $what eq 'missing' ? undef
        : $what eq 'forged' ? bad_token(forged_p => sub {
              publish_token(org_id => 0 + $ORG, -key => 'x' x 32) })
        : $what eq 'org' ? bad_token(org_p => sub {
              publish_token(org_id => 7) })
        : bad_token(good_p => sub { publish_token(org_id => 0 + $ORG) });

    my $body = message(channel_id => $channel,
                       payload => { value => "$secret of $c->{n}" });

    return ($what eq 'method' ? 'GET' : 'POST', "$c->{path}$ORG/$channel",
            headers => { defined $token
                         ? (Authorization => "Bearer $token") : () },
            $what eq 'method' ? () : (body => $body,
                                      chunked => $c->{chunked}));
}


sub add {
    my ($channel, $text, %o) = @_;

    xadd(channel_id => $channel, payload => { value => "$secret $text" }, %o);
}


# --- what happens in a case; each returns a list of faults

sub status_fault {
    my ($c, $what, $got) = @_;

    my $expected = $c->{expect}{$what};

    return $got == $expected ? () : "$what: status $got, not $expected";
}


sub bad_requests {
    my ($c, $make, $channel, @whats) = @_;

    my @faults;

    for my $what (@whats) {
        my $r = ask($c, $make->($c, $channel, $what));

        # a route may turn a wrong method into a right one

        if ($what eq 'method' && $c->{delivers}
            && $c->{expect}{method} == $c->{expect}{good})
        {
            $r->header;
        } elsif (!$r->end) {
            push @faults, "$what: no end";
        }

        push @faults, status_fault($c, $what, $r->status);
        push @faults, "$what: served" if $what ne 'method'
                                         && $r->body =~ /$secret|event: stream/;
        $r->close;
    }

    return @faults;
}


# Clients that go: in the middle of the header, of the body, of the response,
# in order or with a RST.

sub leave {
    my ($c, $method, $path, @options) = @_;

    my $bytes = request($c, $method, $path, @options);
    my $client = 'Conduit::Constructs::Client';
    my ($head) = $bytes =~ /\A(.*?\r\n\r\n)/s;

    for my $way (qw(close reset)) {
        $client->send($port, substr $bytes, 0, length($head) / 2)->$way;
        $client->send($port, $bytes)->$way;

        my $half = length($bytes) > length($head)
            ? substr $bytes, 0, (length($head) + length($bytes)) / 2
            : $head =~ s/\r\n\r\n\z/\r\nContent-Length: 10\r\n\r\nabc/r;
        my $r = $client->send($port, $half);
        alive();
        $r->$way;
    }
}


sub gateway_case {
    my $c = shift;

    my ($channel, $left) = (uuid(), uuid());
    my @faults;
    my $aborts = sub {
        my @good = gateway_request($c, $left, 'good');

        add($left, 'kept');
        leave($c, @good);

        for my $way (qw(close reset)) {
            my $r = ask($c, @good);

            $r->header;
            $r->sees(qr/$secret/)
                if $c->{delivers} && $r->status == $c->{expect}{good};
            $r->$way;
            add($left, 'after one left');
        }

        alive();
        add($left, 'after all left');
        alive();
    };
    my $bad = sub {
        push @faults, bad_requests($c, \&gateway_request, $channel,
                                   qw(missing forged org method));
    };

    add($channel, "first $c->{n}");

    if (!$c->{first}) {
        $bad->();
        $aborts->();
    }

    my $r = ask($c, gateway_request($c, $channel, 'good'));

    push @faults, 'good: no answer' if !$r->header;
    push @faults, status_fault($c, 'good', $r->status);

    if ($c->{delivers} && !@faults) {
        push @faults, 'good: more than one Cache-Control'
            if $r->values_of('Cache-Control') > 1;
        push @faults, 'good: no event from before'
            if !$r->sees(qr/first $c->{n}\W/);

        my $r2 = ask($c, gateway_request($c, $channel, 'second'));

        $r2->header;
        push @faults, status_fault($c, 'second', $r2->status);
        $r2->close;

        add($channel, "live $c->{n}");
        push @faults, 'good: no live event' if !$r->sees(qr/live $c->{n}\W/);
        add($channel, 'end', phase => 'END');
        push @faults, 'good: no end' if !$r->end;

    } elsif ($c->{expect}{good} >= 300) {
        push @faults, 'good: no end' if !$r->end;
        push @faults, 'good: served' if $r->body =~ /$secret/;
    }

    $r->close;

    if ($c->{first}) {
        $bad->() if $c->{first} eq 'all';
        $aborts->();
    }

    return @faults;
}


sub publish_case {
    my $c = shift;

    my ($channel, $left) = (uuid(), uuid());
    my @faults;
    my $bad = sub {
        my $length = redis('XLEN', stream_key($ORG, $channel));

        push @faults, bad_requests($c, \&publish_request_of, $channel,
                                   qw(missing forged org method));
        push @faults, 'bad: stored'
            if redis('XLEN', stream_key($ORG, $channel)) != $length
               || redis('EXISTS', stream_key(7, $channel));
    };

    $bad->() if !$c->{first};

    my @good = publish_request_of($c, $channel, 'good');
    my %options = @good[2 .. $#good];
    my $r = ask($c, @good);

    push @faults, 'good: no end' if !$r->end;
    push @faults, status_fault($c, 'good', $r->status);
    $r->close;

    my $stored = redis('XRANGE', stream_key($ORG, $channel), '-', '+');

    if (!$c->{delivers}) {
        push @faults, 'good: stored' if @$stored;
    } elsif (@$stored != 1 || $stored->[0][1][1] ne $options{body}) {
        push @faults, 'good: not stored once and as it was';
    } else {
        push @faults, "good: the answer is not the ID: " . $r->body
            if $r->body !~ /$stored->[0][0]/;
    }

    $bad->() if $c->{first};

    leave($c, publish_request_of($c, $left, 'good'));
    alive();

    return @faults;
}


my %CONTENT = (
    'status' => qr/^# HELP conduit_/m,
    'status json' => qr/\{"conduit|\{.*"requests/s,
    'health live' => qr/"status":"ok","uptime":\d/,
    'health ready' => qr/"redis":"(?:ok|fail)"/,
);

sub page_case {
    my $c = shift;

    my @faults;
    my $path = "$c->{path}page";
    my $r = ask($c, 'GET', $path);
    my $content = $CONTENT{$c->{kind} =~ s/^\w+ //r};

    push @faults, 'good: no end' if !$r->end;
    push @faults, status_fault($c, 'good', $r->status);
    push @faults, 'good: not the page' if $c->{expect}{good} == 200
                                          && $r->body !~ $content;
    push @faults, 'good: more than one Cache-Control'
        if $r->values_of('Cache-Control') > 1;
    $r->close;

    $r = ask($c, 'POST', $path);
    push @faults, 'method: no end' if !$r->end;
    push @faults, status_fault($c, 'method', $r->status);
    $r->close;

    $r = ask($c, 'HEAD', $path);
    push @faults, 'HEAD: no end' if !$r->end;
    push @faults, 'HEAD: status ' . $r->status
        if !$c->{first} && $r->status != $c->{expect}{good};
    $r->close;

    leave($c, 'GET', $path);
    alive();

    return @faults;
}


# --- HTTP/2

sub h2_stream {
    my ($c, $h2, $method, $path, %o) = @_;

    my %headers = (%{ $c->{headers} }, %{ $o{headers} // {} },
                   defined $o{body} ? ('Content-Length' => length $o{body})
                                    : ());
    my $stream = $h2->get($path, method => $method, open => defined $o{body},
                          headers => [map { lc, $headers{$_} } keys %headers]);

    $h2->frame(Conduit::H2::DATA, Conduit::H2::END_STREAM, $stream->id,
               $o{body}) if defined $o{body};

    return $stream;
}


sub h2_case {
    my $c = shift;

    my $make = $c->{page} ? sub { ('GET', "$c->{path}page") }
             : $c->{kind} eq 'gateway' ? \&gateway_request
             : \&publish_request_of;
    my @whats = $c->{page} ? 'good' : qw(missing forged org good);
    my $h2 = Conduit::H2->connect($h2_port);
    my ($channel, $left) = (uuid(), uuid());
    my @faults;

    add($channel, "first $c->{n}") if $c->{kind} eq 'gateway';

    for my $what (@whats) {
        my $stream = h2_stream($c, $h2, $make->($c, $channel, $what));

        $stream->header;
        push @faults, map { "h2 $_" }
                      status_fault($c, $what, $stream->status // 0);
        push @faults, "h2 $what: served"
            if $what ne 'good' && $stream->body =~ /$secret/;

        if ($what eq 'good' && $c->{kind} eq 'gateway' && $c->{delivers}
            && !$c->{headers}{'Accept-Encoding'})
        {
            add($channel, "live $c->{n}");
            push @faults, 'h2 good: no live event' if !$stream->until(30,
                sub { $stream->body =~ /live $c->{n}\W/ });
            add($channel, 'end', phase => 'END');
            push @faults, 'h2 good: no end' if !$stream->end(30);
        }
    }

    # streams and connections that are given up

    h2_stream($c, $h2, $make->($c, $left, 'good'))->reset;
    h2_stream($c, $h2, $make->($c, $left, 'good'));
    alive();
    add($left, 'live') if $c->{kind} eq 'gateway';
    $h2->close;

    $h2 = Conduit::H2->connect($h2_port);
    h2_stream($c, $h2, $make->($c, $left, 'good'));
    alive();
    $h2->close(1);
    add($left, 'live') if $c->{kind} eq 'gateway';
    alive();

    return @faults;
}


# --- targets

sub target_case {
    my $c = shift;

    my @faults;
    my $channel = uuid();
    my $kind = $c->{kind};
    my $token = $kind eq 'gateway' ? gateway_token(channel_id => $channel)
                                   : publish_token(org_id => 0 + $ORG);
    my @options = (headers => { Authorization => "Bearer $token",
                                'X-Org' => $ORG, 'X-Channel' => $channel });

    push @options, body => message(channel_id => $channel,
                                   payload => { value => $secret })
        if $kind eq 'publish';

    add($channel, 'first') if $kind eq 'gateway';

    my @request = ($kind eq 'publish' ? 'POST' : 'GET', $c->{path}, @options);
    my $r = ask($c, @request);
    my $checked = $c->{checked};

    push @faults, 'no end' if !$r->end;
    push @faults, 'status ' . $r->status . ", not $checked->{status}"
        if $r->status != $checked->{status};
    push @faults, 'body: ' . $r->body if $r->body !~ $checked->{like};
    push @faults, 'served' if $r->body =~ /$secret/;

    # nothing follows the response

    add($channel, 'live') if $kind eq 'gateway';
    alive();
    $r->{socket}->blocking(0);
    $r->until(sub { $r->{eof} || !IO::Select->new($r->{socket})->can_read(0) });
    push @faults, 'after the response: ' . $r->rest if $r->rest ne '';
    $r->close;

    push @faults, 'stored'
        if $kind eq 'publish' && defined $c->{stored}
           && redis('XLEN', stream_key($ORG, $channel)) != $c->{stored};

    leave($c, @request);
    add($channel, 'live') if $kind eq 'gateway';
    alive();

    return @faults;
}


# A location inside of the module's has nothing of it.

sub below {
    my $c = shift;

    return () if !$c->{below};

    my $r = ask($c, 'GET', "$c->{below}events/$ORG");

    return $r->end && $r->status == 404 ? () : 'below: ' . $r->status;
}


# --- what must hold after each case

# NGINX itself quotes a request line before the module has seen it, at "info":
# what a client does in the middle of its header.  So the lines of that level
# are looked at when they are the modules'.  Of what is passed on by proxy_pass
# NGINX quotes the URI at every level.

sub log_faults {
    my @faults;

    for my $file (map { $nginx->root . "/logs/$_.log" }
                  qw(error shipped output))
    {
        open my $fh, '<:raw', $file or next;
        seek $fh, $seen{$file} // 0, 0;

        while (my $line = <$fh>) {
            push @faults, "log: $line"
                if $line =~ /\[(?:alert|crit|emerg)\]|exited on signal/;
            push @faults, "payload in the log: $line" if $line =~ /$secret/;

            next if $line =~ /\[info\]/ && $line !~ /conduit: /;

            $line =~ s/, upstream: "[^"]*"//;
            push @faults, "token in the log: $line" if $line =~ /eyJ/;
        }

        $seen{$file} = tell $fh;
    }

    return @faults;
}


sub worker_faults {
    my ($pid) = $nginx->workers;

    return () if defined $pid && $pid == $worker;

    wait_for(20, sub { $nginx->workers && alive() });
    ($worker) = $nginx->workers;
    return 'THE WORKER DIED';
}


sub run_case {
    my ($c, %o) = @_;

    my $run = $o{h2} ? \&h2_case
            : $c->{checked} ? \&target_case
            : $c->{page} ? \&page_case
            : $c->{kind} eq 'gateway' ? \&gateway_case : \&publish_case;
    my @faults = eval { $run->($c), below($c) };

    push @faults, "died: $@" if $@;
    push @faults, worker_faults(), log_faults();

    ok !@faults, $c->{name} . ($o{h2} ? ', over HTTP/2' : '')
        or diag join "\n", (map { substr s/\s+\z//r, 0, 300 } @faults),
                $c->{http} || (), "    $c->{conf}";
}


# --- NGINX with many cases

sub check {
    my $file = shift;

    my $output = `$ENV{TEST_NGINX_BINARY} -t -p $Conduit::TMP/t -c $file \\
                  -e $Conduit::TMP/t/error.log 2>&1`;

    return $? == 0 ? '' : $output;
}


sub modules {
    return join '', map {
        "load_module $Conduit::MODULES/ngx_conduit_${_}_module.so;\n"
    } qw(publish gateway);
}


sub http_of {
    my ($maker, @cases) = @_;

    return $maker->http_level
           . 'log_format shipped \'$remote_addr "$request_method $uri '
           . "\$server_protocol\" \$status \$bytes_sent "
           . "org=\$conduit_org_id channel=\$conduit_channel_id "
           . "close=\$conduit_gateway_close';\n"
           . join '', map { $_->{http} } @cases;
}


sub include {
    my ($maker, @cases) = @_;

    write_file("$Conduit::TMP/cases/$_->{n}.conf", "$_->{conf}\n") for @cases;

    return join "\n", 'access_log logs/shipped.log shipped;',
        $maker->server_level,
        map { "include $Conduit::TMP/cases/$_->{n}.conf;" } @cases;
}


# Leaves out those that NGINX refuses in its own words, with file and line;
# what is drawn may be so, what is listed may not.

sub accepted {
    my ($maker, @cases) = @_;

    my $tmp = $Conduit::TMP;

    while (1) {
        my $conf = write_file("$tmp/t/nginx.conf", modules()
            . "pid $tmp/t/pid;\nevents {}\nhttp {\n"
            . join('', map { "${_}_temp_path $tmp/t/temp;\n" }
                       qw(client_body proxy fastcgi uwsgi scgi))
            . http_of($maker, @cases) . "server { listen 127.0.0.1:1;\n"
            . include($maker, @cases) . "}}\n");
        my $output = check($conf) or return @cases;

        my ($n) = $output =~ m{\[emerg\].* in \S*/cases/(c\d+)\.conf:\d+}
            or die "nginx -t: $output";
        my ($c) = grep { $_->{n} eq $n } @cases;

        ok $c->{drawn}, "$c->{name}: accepted"
            or diag "$output    $c->{conf}";
        @cases = grep { $_ != $c } @cases;
    }
}


sub start {
    my ($maker, @cases) = @_;

    my $include = include($maker, @cases);
    my ($listen, $on) = nginx_version() >= 1_025_001 ? ('', 'http2 on;')
                                                     : (' http2', '');
    $h2_port = free_port();
    %seen = ();

    $nginx = nginx_start(
        port => $port, log_level => 'info', http => http_of($maker, @cases)
        . "server { listen 127.0.0.1:$h2_port$listen; $on\n$include\n}\n",
        server => $include,
    );

    ($worker) = $nginx->workers;
}


mkdir "$Conduit::TMP/$_" for qw(cases t t/logs);
$ENV{ASAN_OPTIONS} .= ':detect_leaks=0' if defined $ENV{ASAN_OPTIONS};

my $redis = "redis://127.0.0.1:$Conduit::REDIS_PORT";
my $maker = new_maker($redis);

sub new_maker {
    $port = free_port();
    return Conduit::Constructs->new(port => $port, secrets => $secrets,
                                    redis => shift, @_);
}


# --- refused

for my $refused (grep { $_->[0] =~ /$only/ } $maker->refused) {
    my ($name, $text) = @$refused;
    my $conf = write_file("$Conduit::TMP/t/nginx.conf", modules()
        . "events {}\nhttp {\n" . $maker->http_level
        . "server { listen 127.0.0.1:1; set \$memcached_key x;\n$text\n}}\n");
    my $output = check($conf);

    ok $output =~ /\[emerg\] .* in \S+:\d+(?: has .*)?$/m, "refused: $name"
        or diag "$output    $text";
}


# --- each route and each extra alone

my @cases;

for my $kind (@Conduit::Constructs::KINDS) {
    push @cases, grep { $_ } (map { $maker->make($kind, $_) } $maker->routes),
        (map { $maker->make($kind, 'direct', $_) } $maker->extras),
        map { $maker->make_target($kind, $_) } $maker->targets;
}

is join(', ', $maker->undecided), '', 'the status of each pair is certain';

# what was drawn, and found a fault

my @found = (
    ['publish', 'direct', 'internal', 'client_max_body_size'],
    ['publish', 'behind proxy_pass', 'client_max_body_size', 'internal'],
);

push @cases, map { $maker->make(@$_) // die "@$_" } @found;

# --- and what is drawn

my (@drawn, %drawn);
my @routes = $maker->routes;

while (@drawn < $draws) {
    my $kind = rand() < 0.3 ? $Conduit::Constructs::PAGES[
                                  rand @Conduit::Constructs::PAGES]
                            : (qw(publish gateway))[rand 2];
    my @extras = (shuffle($maker->extras))[0 .. rand 3];
    my $route = $routes[rand @routes];

    next if $drawn{"$kind $route @extras"}++;

    my $c = $maker->make($kind, $route, @extras) or next;

    $c->{drawn} = 1;
    push @drawn, $c;
}

# decided before any of them runs: what these draw is not always as much

$_->{h2} = !$_->{checked} && !$_->{first} && !$_->{chunked}
           && ($_->{drawn} || !$_->{page} || rand() < 0.1) for @cases, @drawn;

@cases = accepted($maker, grep { $_->{name} =~ /$only/ } @cases, @drawn);
start($maker, @cases);

ok wait_for(20, sub { my $r = ask({ headers => {} }, 'GET', "/ready/$_");
                      $r->end; $r->status == 200 }), "Redis is found by $_"
    for 'publish', 'gateway';

run_case($_) for @cases;

run_case($_, h2 => 1) for grep { $_->{h2} } @cases;

ok defined $nginx->stop, 'NGINX leaves when it is told to';
is_deeply [log_faults()], [], 'the logs of the end are clean';


# --- and without Redis

$maker = new_maker('redis://127.0.0.1:' . free_port(), dead => 1);
@cases = ();

for my $kind ('publish', 'gateway', 'publish health ready',
              'gateway health ready')
{
    push @cases, grep { $_ } (map { $maker->make($kind, $_) } $maker->routes),
        (map { $maker->make($kind, 'direct', $_) } $maker->extras),
        map { $maker->make_target($kind, $_) } $maker->targets;
}

@cases = accepted($maker, grep { $_->{name} =~ /$only/ } @cases);
start($maker, @cases);

for (@cases) {
    $_->{name} .= ', without Redis';
    run_case($_);
}

ok defined $nginx->stop, 'NGINX leaves when it is told to, without Redis';
is_deeply [log_faults()], [], 'the logs of the end are clean, without Redis';

done_testing();
