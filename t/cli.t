# Copyright (C) Conduit for NGINX authors
#
# The command "conduit", run as a user runs it: keys, tokens, messages, events,
# the output of a program as a stream, and "conduit doctor".

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use JSON::PP ();
use MIME::Base64 ();
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

my $COMMAND = "$Conduit::ROOT/cli/conduit";
my $DIR = "$Conduit::TMP/cli";
my @running;

# a Python without what the command needs

plan skip_all => 'no python3-jwt, python3-cryptography, or Python 3.11'
    if system("/usr/bin/python3 -c 'import jwt, cryptography, tomllib'"
              . ' 2>/dev/null') != 0;

mkdir $DIR or die "$DIR: $!";
write_file("$DIR/conduit.toml", '');

# nothing of whoever runs the suite

delete @ENV{grep { /^CONDUIT_(?!MODULES)/ } keys %ENV};
$ENV{CONDUIT_CONFIG} = "$DIR/conduit.toml";
$ENV{HOME} = $DIR;

my ($keys, $n) = run('keys', $DIR, '--save', '--force');


# A program until its end, or for so long that something must be wrong: its
# stdout, its exit code, its stderr.

sub run { return run_with('', @_) }

sub run_with {
    my ($input, @args) = @_;

    my $p = begin(@args);

    print { $p->{in} } $input;
    close $p->{in};

    return finish($p);
}


sub begin {
    my @args = @_;

    my $n = @running;
    my ($in_r, $in_w);

    pipe $in_r, $in_w or die "pipe: $!";
    binmode $_ for $in_r, $in_w;

    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        close $in_w;
        open STDIN, '<&', $in_r or POSIX::_exit(126);
        open STDOUT, '>', "$DIR/out-$n" or POSIX::_exit(126);
        open STDERR, '>', "$DIR/err-$n" or POSIX::_exit(126);
        exec $COMMAND, @args or POSIX::_exit(127);
    }

    close $in_r;
    $in_w->autoflush(1);

    push @running, { pid => $pid, in => $in_w, n => $n };
    return $running[-1];
}


sub out { my $p = shift; return -e "$DIR/out-$p->{n}"
                                ? read_file("$DIR/out-$p->{n}") : '' }

sub err { my $p = shift; return -e "$DIR/err-$p->{n}"
                                ? read_file("$DIR/err-$p->{n}") : '' }


sub finish {
    my $p = shift;

    my $status;

    wait_for(120, sub { waitpid($p->{pid}, POSIX::WNOHANG()) == $p->{pid}
                        && defined($status = $?) });

    if (!defined $status) {
        kill 'KILL', $p->{pid};
        waitpid $p->{pid}, 0;
        diag("it does not end: " . err($p));
        $status = $?;
    }

    $p->{pid} = undef;

    return (out($p), $status & 127 ? -($status & 127) : $status >> 8, err($p));
}


sub cli_fails {
    my ($code, $stderr, $what, @args) = @_;

    my ($out, $status, $err) = run(@args);

    is($status, $code, "$what: exit code $code");
    like($err, $stderr, "$what: said");
    is(($err =~ tr/\n//), 1, "$what: in one line");
}


sub entries {
    my $channel = shift;

    return redis('XRANGE', stream_key($ORG, $channel), '-', '+');
}


# the events of a channel, as listen prints them

sub events {
    my ($channel, @args) = @_;

    my ($out) = run('listen', '-c', $channel, '--json', @args);

    return map { JSON::PP::decode_json($_) } split /\n/, $out;
}


sub decode { return JSON::PP::decode_json($_[0]) }


my $back = nginx_start(server =>
    (publish_location('conduit_publish_rate off;
                       conduit_publish_idempotency 120s;')
     . gateway_location('conduit_gateway_keepalive 300ms;'))
        =~ s{\Q$Conduit::TMP\E/secret}{$DIR/publish.secret}r
        =~ s{\Q$Conduit::TMP\E/key\.pub}{$DIR/gateway.pem}r
    . publish_location() =~ s{/publish/}{/slow/publish/}r
        =~ s{\Q$Conduit::TMP\E/secret}{$DIR/publish.secret}r
    . publish_location('conduit_publish_rate 5r/m;')
        =~ s{/publish/}{/rare/publish/}r
        =~ s{\Q$Conduit::TMP\E/secret}{$DIR/publish.secret}r);

my $url = 'http://127.0.0.1:' . $back->port;

sub front {
    my ($directives, %o) = @_;

    $o{version} //= 1.1;

    return <<"EOC";
    location $o{at}/ {
        proxy_pass $url/;
        proxy_http_version $o{version};
        proxy_set_header Connection "";
        $directives
    }
EOC
}

# NGINX as it is by default, with HTTP/1.0, holds back what fills no buffer

my $front = nginx_start(server =>
    front('proxy_buffering off;', at => '/good')
    . front('proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;',
            at => '/buffers', version => '1.0')
    . front('proxy_buffering off; proxy_set_header Last-Event-ID "";',
            at => '/forgets')
    . front('proxy_buffering off; proxy_hide_header '
            . 'Access-Control-Allow-Origin;', at => '/private')
    . front('proxy_buffering off; add_header Access-Control-Allow-Origin *;',
            at => '/twice')
    . '    location /page/ { return 200 "<html>hello</html>"; }
           location /busy/ { return 503 busy; }'
    . gateway_location('conduit_gateway_cors https://app.example.com;')
        =~ s{/events/}{/listed/events/}r
        =~ s{\Q$Conduit::TMP\E/key\.pub}{$DIR/gateway.pem}r
    . gateway_location('conduit_gateway_outage 300ms;',
                       redis => 'redis://127.0.0.1:1')
        =~ s{/events/}{/away/events/}r
        =~ s{\Q$Conduit::TMP\E/key\.pub}{$DIR/gateway.pem}r);

my $front_url = 'http://127.0.0.1:' . $front->port;

write_file("$DIR/conduit.toml", read_file("$DIR/conduit.toml") . <<"EOC");
url = "$url"
org = $ORG
EOC


subtest 'keys have the modes that they must have' => sub {
    my %mode = map { $_ => (stat "$DIR/$_")[2] & 07777 }
               qw(publish.secret gateway.key gateway.pem conduit.toml);

    is($n, 0, 'made');
    is_deeply(\%mode, { 'publish.secret' => 0600, 'gateway.key' => 0600,
                        'gateway.pem' => 0644, 'conduit.toml' => 0600 },
              'the secret and the private key are for the owner alone');
    is($keys, "conduit_publish_jwt_secret_file $DIR/publish.secret;\n"
              . "conduit_gateway_jwt_key_file $DIR/gateway.pem;\n",
       'what to write into the configuration of NGINX is printed');
    like(read_file("$DIR/publish.secret"), qr/^[0-9a-f]{64}\n\z/, '32 bytes');

    my $before = read_file("$DIR/gateway.key");

    cli_fails(2, qr/^conduit: \S+ exists; --force replaces it$/,
              'keys that are there', 'keys', $DIR);
    is(read_file("$DIR/gateway.key"), $before, 'keys that are there are kept');

    umask 0;
    run('keys', "$DIR/new");
    umask 022;
    is((stat "$DIR/new/gateway.key")[2] & 07777, 0600, 'whatever the umask');
};


subtest 'a message, by arguments and by stdin' => sub {
    my $channel = uuid();
    my ($out, $code, $err) = run('publish', '-c', $channel, 'hello',
                                 '{"a": [1, null]}');

    is($code, 0, 'published') or diag($err);
    like($out, qr/^\d+-\d+\n\d+-\d+\n\z/, 'an ID for each');
    is($err, '', 'nothing else is said');

    ($out, $code) = run_with("one\n\n{\"n\":2}\n", 'publish', '-c', $channel,
                             '--json');
    is($code, 0, 'lines published');
    is_deeply([map { decode($_)->{sequence} } split /\n/, $out], [3, 4],
              'an object for each, an empty line is none');

    ($out, $code) = run('publish', '-c', $channel, '--text', '--phase', 'end',
                        '{"a":1}');
    is($code, 0, 'text that looks like JSON');

    my @events = events($channel);

    is_deeply([map { $_->{data}{payload} } @events],
              [{ value => 'hello' }, { a => [1, undef] }, { value => 'one' },
               { n => 2 }, { value => '{"a":1}' }], 'payloads as they were');
    is($events[-1]{data}{phase}, 'PHASE_END', 'the phase is the one given');
};


subtest 'a batch is stored in one request' => sub {
    my $channel = uuid();
    my ($out, $code) = run_with(join('', map { "$_\n" } 1 .. 45), 'publish',
                                '-c', $channel, '--batch');
    my @ids = split /\n/, $out;

    is($code, 0, 'published');
    is_deeply([map { $_->[0] } @{ entries($channel) }], \@ids,
              'an ID for each line, in order');
    is(scalar @ids, 45, 'all are there');

    my $log = read_file($front->root =~ s/nginx-\d+$/nginx-1/r
                        . '/logs/access.log');

    is(scalar(() = $log =~ m{POST /publish/$ORG/$channel }g), 3,
       '20 go in a request');
    is(scalar(split /\n/, (run_with("a\nb\nc\n", 'publish', '-c', $channel,
                                    '--batch', '--batch-size', 2))[0]), 3,
       'another size');
};


subtest 'a message over the rate waits' => sub {
    my $channel = uuid();
    my ($out, $code, $err) = run_with(
        join('', map { "$_\n" } 1 .. 25), 'publish', '-c', $channel,
        '--url', "$url/slow");

    is($code, 0, '429 is tried again') or diag($err);
    is(scalar @{ entries($channel) }, 25, 'all are stored, once');

    cli_fails(6, qr/^conduit: publish: 429 Rate limit of/,
              'a rate that is not waited for', 'publish', '-c', uuid(),
              '--url', "$url/rare", '--retry-for', 0,
              map { "$_" } 1 .. 11);
};


subtest 'errors have a line and a code' => sub {
    my $channel = uuid();
    my $closed = free_port();
    my @p = ('publish', '-c', $channel);

    cli_fails(2, qr/the following arguments are required: COMMAND/,
              'no command');
    cli_fails(2, qr/no channel: --channel UUID/, 'no channel', 'publish', 'a');
    cli_fails(2, qr/the channel is not a UUID/, 'a bad channel', 'publish', '-c',
              'x', 'a');
    cli_fails(2, qr/not JSON: .*line 1, column 6; --text/, 'bad JSON', @p,
              '{"a":x}');
    cli_fails(2, qr/NaN is not a JSON number/, 'NaN', @p, '{"a":NaN}');
    cli_fails(2, qr/no such file/, 'no settings', @p, '--config',
              "$DIR/none", 'a');
    cli_fails(2, qr/no time: "soon"/, 'no time', @p, '--retry-for', 'soon',
              'a');
    cli_fails(2, qr/the URL is not http/, 'no URL', @p, '--url', 'ftp://x',
              'a');
    cli_fails(3, qr/^conduit: publish: 401 .*audience of the token is missing/,
              'another audience', @p, '--audience', 'other', 'a');
    cli_fails(3, qr/^conduit: listen: 401 Invalid token$/,
              'a subscriber of another issuer', 'listen', '-c', $channel,
              '--issuer', 'other');
    cli_fails(4, qr/^conduit: publish: 413 /, 'too long', @p, 'x' x 17000);
    cli_fails(4, qr/not Conduit's; is the URL right\?/, 'not Conduit', @p,
              '--url', "$front_url/page", 'a');
    cli_fails(4, qr/no text\/event-stream; is the URL right\?/,
              'no stream', 'listen', '-c', $channel, '--url',
              "$front_url/page");
    # one that is tried again says so, and does not end for an hour
    cli_fails(5, qr/^conduit: cannot connect to \S+:$closed: Connection refused$/,
              'a server never reached is not tried again', @p, '--url',
              "http://127.0.0.1:$closed", '--retry-for', '1h', 'a');
    cli_fails(2, qr/^conduit: $DIR\/none: No such file/, 'no secret', @p,
              '--url', "http://127.0.0.1:$closed", '--secret-file',
              "$DIR/none", 'a');
    cli_fails(2, qr/gateway\.key: a PEM file, not a secret$/,
              'the private key for a secret', @p, '--secret-file',
              "$DIR/gateway.key", 'a');
    cli_fails(5, qr/cannot connect to 127.0.0.1:$closed: Connection refused/,
              'no gateway', 'listen', '-c', $channel, '--url',
              "http://127.0.0.1:$closed");
    cli_fails(6, qr/^conduit: publish: 503 busy$/, 'an outage', @p, '--url',
              "$front_url/busy", '--retry-for', 0, 'a');
    is((run(@p, '--url', "$front_url/busy", '--retry-for', '2s', 'a'))[2],
       "conduit: publish: 503 busy; trying again for up to 2 s\n"
       . "conduit: publish: 503 busy\n", 'what is waited for is told, once');
    is(redis('EXISTS', stream_key($ORG, $channel)), 0, 'nothing is stored');

    my ($events, $gone, $why) = run('listen', '-c', $channel, '--url',
                                    "$front_url/away", '--give-up', '2s');
    is($gone, 6, 'responses that tell of an outage only are given up');
    like($why, qr/\nconduit: listen: Too many errors, closing stream\n\z/,
         'the reason is the last line');

    write_file("$DIR/bad.toml", "orgg = 1\n");
    cli_fails(2, qr/bad\.toml: no setting "orgg"/, 'a setting misspelt', @p,
              '--config', "$DIR/bad.toml", 'a');

    my ($out, $code, $err) = run_with("ok\n\xff\n", @p);
    is($code, 2, 'a line that is not UTF-8');
    is($err, "conduit: line 2 is not UTF-8\n",
        'the line that is not UTF-8 is named');
};


subtest 'settings: an option, the environment, the file' => sub {
    my $channel = uuid();

    write_file("$DIR/env.toml", "url = \"http://127.0.0.1:1\"\norg = $ORG\n"
               . "channel = \"$channel\"\nsecret_file = \"publish.secret\"\n");

    local $ENV{CONDUIT_CONFIG} = "$DIR/env.toml";

    cli_fails(5, qr/127\.0\.0\.1:1: /, 'the file', 'publish', 'a');

    local $ENV{CONDUIT_URL} = $url;
    is((run('publish', 'a'))[1], 0, 'the environment is before the file');
    is(scalar @{ entries($channel) }, 1, 'its channel');

    cli_fails(5, qr/127\.0\.0\.1:1: /, 'an option is first', 'publish',
              '--url', 'http://127.0.0.1:1', 'a');
};


subtest 'a token is made, and checked in words' => sub {
    my $channel = uuid();

    my ($publish) = run('token', 'publish');
    my ($subscribe) = run('token', 'subscribe', '-c', $channel);

    # one that this suite has not made is looked for in logs by its form

    like($_, qr/^eyJ[\w-]+\.[\w-]+\.[\w-]+\n\z/, 'a token') for $publish,
                                                               $subscribe;

    my $claims = decode(MIME::Base64::decode_base64url(
        (split /\./, $subscribe)[1]));

    is($claims->{channel_id}, $channel, 'it is for the channel');
    is($claims->{org_id}, $ORG, 'the organization');
    is($claims->{exp} - $claims->{iat}, 600, 'lives ten minutes');

    for ([$publish, 'publish'], [$subscribe, 'subscribe']) {
        my ($token, $side) = @$_;

        my ($out, $code) = run_with($token, qw(token check));
        is($code, 0, "$side: valid");
        like($out, qr/^the token is valid, it expires at .* s from now$/,
             "$side: until when");

        ($out, $code, my $err) = run_with($token, qw(token check --ask));
        is($out, "the server takes the token\n", "$side: the server agrees")
            or diag($err);

        for my $fault ([audience => qr/the audience is "conduit", the server/],
                       [issuer => qr/the issuer is "sentry", the server wants/],
                       [org => qr/for the organization $ORG, not for 9/])
        {
            my ($name, $text) = @$fault;

            ($out, $code, $err) = run_with($token, qw(token check), "--$name",
                                           9);
            is($code, 1, "$side: another $name");
            like($err, $text, "$side: in words");
            unlike("$out$err", qr/eyJ/, "$side: the token is not printed");
        }
    }

    write_file("$DIR/other.secret", "another secret\n");
    my ($out, $code, $err) = run_with($publish, qw(token check --secret-file),
                                      "$DIR/other.secret");
    is($code, 1, 'another key');
    like($err, qr/the signature is wrong.* \(401 Token validation failed\)$/m,
         'a wrong key is told from the signature');

    my ($other) = run(qw(token publish --audience else));

    ($out, $code, $err) = run_with($other, qw(token check --ask));
    is($code, 1, 'the server refuses another audience');
    like($err, qr/401 .*the audience of the token is missing or does not/,
         'the reason of the server is shown');

    my $secret = read_file("$DIR/publish.secret") =~ s/\n\z//r;
    my %old = (-alg => 'HS256', -key => $secret, iss => 'sentry',
               aud => 'conduit', sub => 'x', org_id => 0 + $ORG);

    for (['expired', qr/^conduit: the token has expired at .*, \d+ s ago \(/,
          jwt(%old, exp => int(time) - 100)],
         ['not expired for 60 s', undef, jwt(%old, exp => int(time) - 30)],
         ['not valid yet', qr/not valid before/,
          jwt(%old, exp => int(time) + 900, nbf => int(time) + 500)],
         ['no exp', qr/"exp" is missing/, jwt(%old)],
         ['aud in a list', undef,
          jwt(%old, aud => ['a', 'conduit'], exp => int(time) + 60)],
         ['no sub', qr/"sub" is missing/,
          jwt(%old, sub => undef, exp => int(time) + 60)],
         ['no algorithm', qr/signed with "none"/,
          jwt(%old, -alg => 'none', exp => int(time) + 60)],
         ['two parts', qr/malformed: it does not have three parts/, 'a.b'])
    {
        my ($name, $text, $token) = @$_;
        my $side = 'publish';

        ($out, $code, $err) = run_with($token, qw(token check --json --side),
                                       $side);
        my $found = decode($out);

        is($code, defined $text ? 1 : 0, "$name: verdict");

        next if !defined $text;
        ($out, $code, $err) = run_with($token, qw(token check --side), $side);
        like($err, $text, "$name: words");

        # the server has the same status

        is(http($back, 'POST', "/publish/$ORG/$channel", body => '{}',
                headers => { Authorization => "Bearer $token",
                             'Content-Type' => 'application/json' })->{status},
           $found->{status}, "$name: the server's status");
    }
};


subtest 'subscribers have keys of other types' => sub {
    my %types = (ES256 => 'ecparam -genkey -noout -name prime256v1',
                 ES384 => 'ecparam -genkey -noout -name secp384r1',
                 EdDSA => 'genpkey -algorithm ed25519');

    my $gateway = nginx_start(server => gateway_location(join '', map {
        system("openssl $types{$_} >$DIR/$_.key 2>/dev/null && openssl pkey"
               . " -in $DIR/$_.key -pubout -out $DIR/$_.pem") == 0 or die;
        "conduit_gateway_jwt_key_file $DIR/$_.pem;"
    } sort keys %types));

    for my $alg (sort keys %types) {
        my $channel = uuid();
        my ($token) = run(qw(token subscribe -c), $channel, '--key-file',
                          "$DIR/$alg.key");

        is(decode(MIME::Base64::decode_base64url((split /\./, $token)[0]))
           ->{alg}, $alg, "$alg: the algorithm of the key");

        my ($out, $code, $err) = run_with($token, qw(token check),
                                          '--public-key-file',
                                          "$DIR/$alg.pem");
        is($code, 0, "$alg: valid") or diag($err);

        chomp $token;
        my $sse = sse_open($gateway, channel_id => $channel, token => $token);

        is($sse->status, 200, "$alg: the gateway takes it");
        $sse->close;

        ($out, $code, $err) = run_with($token, qw(token check));
        is($code, 1, "$alg: another type of key");
        like($err, qr/is signed with "$alg", the key is for RS256/,
             "$alg: both are named");
    }

    system("openssl ecparam -genkey -noout -name secp521r1 >$DIR/p521.key")
        == 0 or die;
    cli_fails(2, qr/p521\.key: no private key in PEM \(RSA, P-256, P-384/,
              'a key that the modules do not take', qw(token subscribe -c new),
              '--key-file', "$DIR/p521.key");
    $gateway->stop;
};


subtest 'listen prints what is new, and goes on after a cut' => sub {
    my $channel = uuid();
    my @ids = split /\n/, (run('publish', '-c', $channel, 1, 2))[0];

    my $p = begin('listen', '-c', $channel, '--url', "$front_url/good");

    ok(wait_for(30, sub { out($p) =~ tr/\n// == 2 }), 'what was there')
        or diag(err($p));

    $front->crash;
    ok(wait_for(30, sub { err($p) =~ /going on after \Q$ids[1]\E/ }),
       'the connection is cut');

    push @ids, split /\n/, (run('publish', '-c', $channel, 3, 4))[0];
    $front->run;
    push @ids, split /\n/, (run('publish', '-c', $channel, 5))[0];
    push @ids, split /\n/, (run('publish', '-c', $channel, '--phase', 'END',
                                '{}'))[0];

    my ($out, $code, $err) = finish($p);

    is($code, 0, 'it ends after END');
    is($out, "$ids[0] DELTA 1 {\"value\": \"1\"}\n"
             . "$ids[1] DELTA 2 {\"value\": \"2\"}\n"
             . "$ids[2] DELTA 3 {\"value\": \"3\"}\n"
             . "$ids[3] DELTA 4 {\"value\": \"4\"}\n"
             . "$ids[4] DELTA 5 {\"value\": \"5\"}\n"
             . "$ids[5] END 6 {}\n", 'without gap and repeat');
    unlike($err, qr/eyJ/, 'no token is printed');
};


subtest 'listen begins where it is told to' => sub {
    my $channel = uuid();
    my $now = int(time * 1000);
    my @ids = map { ($now - $_ * 1000) . '-0' } 600, 100, 5;

    xadd(channel_id => $channel, id => $ids[$_], sequence => $_ + 1,
         payload => {}) for 0 .. 2;

    my $from = sub {
        return [map { $_->{id} } events($channel, @_)];
    };

    is_deeply($from->('--count', 3), \@ids, 'the oldest');
    is_deeply($from->('--since', '3m', '--count', 2), [@ids[1, 2]],
              'three minutes ago');
    is_deeply($from->('--since', '60s', '--count', 1), [$ids[2]],
              'a minute ago');
    is_deeply($from->('--last-id', $ids[1], '--count', 1), [$ids[2]],
              'after an event');
    cli_fails(2, qr/exclude each other/, 'both', 'listen', '-c', $channel,
              '--since', 1, '--last-id', '1-1');
};


subtest 'pipe: what a program writes arrives byte for byte' => sub {
    my $binary = join '', map { chr } 0 .. 255;
    my $text = "l\xc3\xafne \xf0\x9f\x98\x80\r\n" x 700;

    for (['text', $text], ['binary', $binary x 20],
         ['no line end', 'a' x 9000], ['one byte', 'x'], ['nothing', ''],
         ['text and binary', "$text\xc3\x28$binary$text"])
    {
        my ($name, $bytes) = @$_;

        for my $lines ([], ['--lines']) {
            my $channel = uuid();
            my $file = write_file("$DIR/bytes", $bytes);

            # as lines, it is many messages
            next if @$lines && length $bytes > 9000;

            my ($out, $code, $err) = run('pipe', '-c', $channel, @$lines,
                                         '--interval', '0s', '--', 'cat',
                                         $file);
            is($code, 0, "$name @$lines: done") or diag($err);
            is($out, '', "$name @$lines: prints nothing");
            ok((run('listen', '-c', $channel, '--raw'))[0] eq $bytes,
               "$name @$lines: the same bytes");

            my @phases = map { $_->{data}{phase} } events($channel);

            is_deeply([@phases[0, -1]], ['PHASE_START', 'PHASE_END'],
                      "$name @$lines: START and END");
        }
    }

    my $channel = uuid();
    my ($out) = run_with("a\nb\nc", 'pipe', '-c', $channel, '--lines',
                         '--tee', '--interval', '0s');

    is($out, "a\nb\nc", 'stdin, with --tee');
    is_deeply([map { "$_->{data}{phase} "
                     . ($_->{data}{payload}{value} // '') } events($channel)],
              ['PHASE_START ', "PHASE_DELTA a\n", "PHASE_DELTA b\n",
               'PHASE_DELTA c', 'PHASE_END '], 'a DELTA for each line');
};


subtest 'pipe: a line comes while the program runs' => sub {
    my $channel = uuid();
    my $p = begin('pipe', '-c', $channel, '--lines', '--', 'sh', '-c',
                  'echo first; read x; echo "$x"');

    ok(wait_for(30, sub { redis('XLEN', stream_key($ORG, $channel)) == 2 }),
       'START and the first line') or diag(err($p));
    print { $p->{in} } "second\n";
    is((finish($p))[1], 0, 'done');
    is((run('listen', '-c', $channel, '--raw'))[0], "first\nsecond\n", 'all');
};


subtest 'pipe: a program that fails is an ERROR, then END' => sub {
    for (['exit 3', qr/exit status 3/], ['kill -9 $$', qr/killed by SIGKILL/]) {
        my ($script, $text) = @$_;
        my $channel = uuid();
        my ($out, $code, $err) = run('pipe', '-c', $channel, '--', 'sh', '-c',
                                     "echo before; $script");

        is($code, 1, "$script: exit code");
        like($err, qr/^conduit: sh: $text$/, "$script: said");

        my @events = events($channel);

        is_deeply([map { $_->{data}{phase} =~ s/PHASE_//r } @events],
                  [qw(START DELTA ERROR END)], "$script: phases");
        like($events[2]{data}{payload}{error}, $text, "$script: why");
    }

    my $channel = uuid();

    cli_fails(2, qr/^conduit: no-such-program: No such file/, 'no program',
              'pipe', '-c', $channel, '--', 'no-such-program');
    is_deeply([map { $_->{data}{phase} =~ s/PHASE_//r } events($channel)],
              [qw(START ERROR END)],
                  'clients are told that there is no program');
};


sub doctor {
    my ($path, @args) = @_;

    my ($out, $code, $err) = run('doctor', $path, '--json', '--samples', 5,
                                 @args);

    diag($err) if $out eq '';

    my $found = decode($out);

    return ($code, { map { $_->{check} => $_ } @{ $found->{checks} } });
}


subtest 'doctor finds nothing wrong where nothing is' => sub {
    for my $path ($url, "$front_url/good") {
        my ($code, $checks) = doctor($path);

        is($code, 0, 'exit code');
        is($checks->{$_}{verdict}, 'ok', "$_: $checks->{$_}{text}")
            for qw(dns tcp cors events buffering latency resume keepalive end);
        is($checks->{$_}{verdict}, 'warn', "$_: $checks->{$_}{text}")
            for qw(tls http2);
        is($checks->{drain}{verdict}, 'skip', 'drain is not seen');
        like($checks->{latency}{$_}, qr/^[\d.]+$/, $_) for qw(p50_ms p99_ms);
    }

    my ($out) = run('doctor', $url, '--samples', 1, '--keepalive', 0);

    like($out, qr/^ok +buffering +[\d.]+ ms  none: .*^0 faults\n\z/ms, 'words');
    unlike($out, qr/eyJ/, 'no token is printed');
};


subtest 'doctor finds what is wrong' => sub {
    my ($code, $checks) = doctor("$front_url/buffers", '--wait', '2s');

    is($code, 1, 'a buffering proxy: exit code');
    is($checks->{buffering}{verdict}, 'fail', 'a buffering proxy');
    like($checks->{buffering}{text},
         qr/^a proxy is buffering: events come when the response ends/,
         'said in words');

    ($code, $checks) = doctor("$front_url/forgets", '--keepalive', 0);
    is($checks->{resume}{verdict}, 'fail', 'Last-Event-ID that is removed');
    is($code, 1, 'exit code of it');

    ($code, $checks) = doctor("$front_url/private", '--keepalive', 0);
    is($checks->{cors}{verdict}, 'fail', 'CORS header that is removed');
    is($checks->{buffering}{verdict}, 'ok', 'the rest is looked at');

    ($code, $checks) = doctor("$front_url/twice", '--keepalive', 0);
    like($checks->{cors}{text}, qr/comes twice/, 'CORS header that is doubled');

    ($code, $checks) = doctor("$front_url/listed", '--keepalive', 0);
    is($checks->{cors}{verdict}, 'skip', 'a list of origins is no fault');
    is($checks->{events}{verdict}, 'ok',
       'a list of origins is no fault of the stream');

    ($code, $checks) = doctor($url, '--audience', 'else');
    like($checks->{events}{text}, qr/^401 Invalid token/, 'a wrong audience');
    is($checks->{latency}{verdict}, 'skip', 'what needs a stream is left out');

    ($code, $checks) = doctor('http://127.0.0.1:' . free_port());
    is($checks->{tcp}{verdict}, 'fail', 'no server');

    ($code, $checks) = doctor($url, '--wait', '1s', '--keepalive', '100ms');
    is($checks->{keepalive}{verdict}, 'fail', 'no comment in time');
};


subtest 'doctor speaks TLS' => sub {
    system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256"
           . " -nodes -subj /CN=localhost -days 90 -keyout $DIR/tls.key"
           . " -addext subjectAltName=IP:127.0.0.1 -out $DIR/tls.crt"
           . " 2>/dev/null") == 0 or die 'openssl failed';

    my %port = map { $_ => free_port() } qw(h2 h1);
    my $h2 = nginx_version() >= 1_025_001 ? ['', 'http2 on;'] : ['http2', ''];

    nginx_start(http => join '', map { my $x = $_; <<"EOC" } qw(h2 h1));
    server {
        listen 127.0.0.1:$port{$x} ssl @{[ $x eq 'h2' ? $h2->[0] : '' ]};
        @{[ $x eq 'h2' ? $h2->[1] : '' ]}
        ssl_certificate $DIR/tls.crt;
        ssl_certificate_key $DIR/tls.key;
@{[ front('proxy_buffering off;', at => '') ]}
    }
EOC

    my @options = ('--samples', 1, '--keepalive', 0);
    my ($code, $checks) = doctor("https://127.0.0.1:$port{h2}", @options,
                                 '--ca-file', "$DIR/tls.crt");

    is($code, 0, 'exit code');
    is($checks->{$_}{verdict}, 'ok', "$_: $checks->{$_}{text}")
        for qw(tls http2 events buffering resume end);

    ($code, $checks) = doctor("https://127.0.0.1:$port{h1}", @options,
                              '--ca-file', "$DIR/tls.crt");
    is($checks->{http2}{verdict}, 'warn', 'without HTTP/2');

    ($code, $checks) = doctor("https://127.0.0.1:$port{h2}", @options);
    is($checks->{tls}{verdict}, 'fail', 'a certificate of nobody');
    like($checks->{tls}{text}, qr/^certificate: self/, 'said');
};


subtest 'docs/cli.md and the manual page have every command and option' => sub {
    my $page = read_file("$Conduit::ROOT/docs/cli.md");
    my $manual = read_file("$Conduit::ROOT/cli/conduit.1");

    $manual =~ s/\\-/-/g;

    for my $command ('keys', 'token publish', 'token subscribe', 'token check',
                     'publish', 'listen', 'pipe', 'doctor')
    {
        my ($help, $code) = run(split(/ /, $command), '--help');

        is($code, 0, "$command --help");

        my %options = map { $_ => 1 } $help =~ /(?<![\w-])(--[a-z][a-z-]+)/g;
        my @missing = grep { $page !~ /`\Q$_\E[ `,]/ && $_ ne '--help' }
                      sort keys %options;

        is_deeply(\@missing, [], "$command: its options in docs/cli.md");

        @missing = grep { $manual !~ /^\.BI? (?:"?|.*, )\Q$_\E(?= |$)/m
                          && $_ ne '--help' } sort keys %options;

        is_deeply(\@missing, [], "$command: its options in the manual page");

        my @bare = $help =~ /^ {2}(--[a-z-]+(?: \S+)?)\n(?! {10})/gm;

        is_deeply(\@bare, [], "$command: each option has an explanation");
    }

    my ($section) = $page =~ /^## Settings$(.*?)^## /ms;
    my ($names) = read_file("$Conduit::ROOT/cli/conduit_cli/settings.py")
                  =~ /^DEFAULTS = \{(.*?)^\}/ms;

    like($section, qr/^\| `$_` \|/m, "setting $_") for $names =~ /"(\w+)":/g;
};


subtest 'nothing of a token is left behind' => sub {
    my @files = grep { read_file($_) =~ /eyJ[\w-]{10,}\.eyJ/ }
                glob "$DIR/err-*";

    is_deeply(\@files, [], 'on stderr');
};


done_testing();
