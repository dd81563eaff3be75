# Copyright (C) Conduit for NGINX authors

package Faults;

# What the suites of one Redis and its faults share: an NGINX with a location
# for publishers and one for clients, checks of both, and a proxy in front of
# Redis that fails as it is told.

use strict;
use warnings;

use Conduit;
use Conduit::Metrics ();
use Exporter 'import';
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = qw(
    $REDIS $UNREACHABLE $LOST $LATE $ERROR_EVENT $BELL $READER
    $nginx $worker $proxy start stop post post_start client line_of
    is_told goes_on kept got_all lines is_logged_once errors_are lost
    refused failed unanswered connections_made peers held nothing_is_left
);

our $REDIS = "127.0.0.1:$Conduit::REDIS_PORT";

our $UNREACHABLE = 'Redis is not reachable, the message was not stored';
our $LOST = 'Connection to Redis lost, the message may have been stored';
our $LATE = 'Redis did not answer in time, the message may have been stored';
our $ERROR_EVENT = "event: error\nretry: 3000\n"
                   . "data: Too many errors, closing stream\n\n";

our ($nginx, $worker, @workers, $proxy);

# the connections of a gateway, as Redis lists them
our $BELL = qr/ flags=P /;
our $READER = qr/ redir=[1-9]/;


# A script for TEST_NGINX_BINARY that runs NGINX with another /etc/hosts; undef
# if mounting is not allowed.

sub with_hosts {
    my ($lines) = @_;

    my $hosts = write_file("$Conduit::TMP/hosts", $lines);
    my $script = write_file("$Conduit::TMP/nginx-hosts", <<"EOC");
#!/bin/sh
exec unshare -m sh -c '
    mount --bind $hosts /etc/hosts || exit 1
    exec $ENV{TEST_NGINX_BINARY} "\$\@"
' sh "\$\@"
EOC
    chmod 0755, $script;

    return system("$script -v > /dev/null 2>&1") == 0 ? $script : undef;
}


# NGINX with a location for publishers and one for clients, which reach Redis at
# a URL, or through a proxy.

sub start {
    my (%o) = @_;

    $proxy = $o{proxy} ? Faults::Proxy->start($REDIS) : undef;

    my $url = $o{redis} // ($proxy ? $proxy->url : "redis://$REDIS");
    my $publish = $o{publish} // '';
    my $events = $o{events} // '';

    $nginx = nginx_start(workers => $o{workers}, server =>
        publish_location('conduit_publish_auth off; conduit_publish_rate off;'
                         . $publish, redis => $url)
        . gateway_location('conduit_gateway_auth off;'
                           . 'conduit_gateway_drain 200ms;' . $events,
                           redis => $url)
        . ($o{pages} ? Conduit::Metrics::pages() : ''));

    @workers = $nginx->workers;
    $worker = $workers[0];
    redis('DEL', stream_key());
}

sub stop {
    is($nginx->stop('QUIT', 20), 0, 'NGINX quits');
    $proxy->stop if $proxy;
}

sub post {
    my %f = @_;

    my $channel = $f{channel_id} // $CHANNEL;

    return http($nginx, 'POST', "/publish/$ORG/$channel", body => message(%f),
                timeout => 20);
}

# Publishes a message without waiting for the answer, which http_end() returns.

sub post_start {
    my %f = @_;

    my $channel = $f{channel_id} // $CHANNEL;

    return http_start($nginx, "/publish/$ORG/$channel", message(%f));
}

sub client {
    my %o = @_;

    my $channel = $o{channel_id} // $CHANNEL;
    my $id = $o{last_event_id};

    return sse_open($nginx, path => "/events/$ORG?channel_id=$channel",
                    headers => defined $id ? { 'Last-Event-ID' => $id } : {});
}

sub line_of {
    return join ' ', map { $_->{json}{sequence} // $_->{json}{control_type}
                           // $_->{event} } @_;
}

sub is_told {
    my ($r, $status, $text, $name) = @_;

    is("$r->{status} $r->{body}", "$status $text", $name);
    is($r->{headers}{'retry-after'}, 1, "$name: when to try again")
        if $status == 503;
}

# Publishes until a message is accepted, and reads up to it: no other event may
# come, except for messages whose reply was lost on the way to the publisher.

sub goes_on {
    my ($sequence, @clients) = @_;

    my $taken = wait_for(20, sub {
        post(sequence => $sequence)->{status} == 200
    });

    ok($taken, 'messages are taken again');

    for my $client (@clients) {
        is(line_of($client->event(20) // ()), $sequence,
           'messages arrive again');
    }
}

# The IDs of the entries that Redis has of the stream.

sub kept { map { $_->[0] } @{ redis('XRANGE', stream_key(), '-', '+') } }

# Ends the stream: a client that was connected all the time has got these
# entries and the last one, each once and in this order.

sub got_all {
    my ($client, @ids) = @_;

    my $end = post(phase => 'END', sequence => 1000);

    is($end->{status}, 200, 'the last message is taken');
    ok($client->end(20), 'the response ends with the last message');
    is_deeply([$client->body =~ /^id: (\S+)$/mg], [@ids, $end->{body}],
              'the response has each entry once and in order');
    $client->close;
}

sub lines {
    my $pattern = shift;

    return grep { $_ =~ $pattern } split /^/, $nginx->error_log;
}

# The lines, without those that say, once for each reason, why a lost connection
# can't be opened again.

sub but_reasons {
    my (%lost, %said);

    return grep {
        my ($who, $why) = /( \d+#\d+: .*conduit: redis \S+ \S+): (.*), next/;
        my $first = 1;

        if (defined $why) {
            ($lost{$who}, $said{$who}) = (1, {}) if $why =~ /^connection lost/;
            $first = $why !~ /^connect failed/ || !$lost{$who}
                     || $said{$who}{$why}++;
        }

        $first;
    } @_;
}

# each of these connections was lost once

sub is_logged_once {
    for my $role (@_) {
        wait_for(20, sub { lines(qr/\[warn\].* $role: connected again/) });
        is(scalar(but_reasons(lines(qr/\[error\].* $role: /))), 1,
           "$role: one error");
        is(scalar(lines(qr/\[warn\].* $role: connected again/)), 1,
           "$role: one warning that it is over");
    }
}

# The log has one error for each of these patterns, and no other errors except
# for the reasons of an outage.

sub errors_are {
    my @patterns = @_;

    my @lines = but_reasons lines(qr/\[(?:error|crit|alert|emerg)\]/);

    for my $pattern (@patterns) {
        is(scalar(grep { $_ =~ $pattern } @lines), 1, 'one error of its kind')
            or diag($pattern);
        @lines = grep { $_ !~ $pattern } @lines;
    }

    is(join('', @lines), '', 'no other errors');
}

# the errors of a connection that was lost, of a message that was refused, of a
# read that was, of a message without an answer

sub error_of { my $text = shift; return qr/\[error\] .* conduit: $text/ }

sub lost {
    my ($role, $why) = @_;

    return error_of("redis \\S+ $role: connection lost \\($why\\),"
                    . ' next try in \d+ms$');
}

sub refused {
    # Redis 6 puts something before an error of a command in a script
    return error_of('redis \S+ refused to publish to "stream:[^"]+": '
                    . '(?:ERR Error running script .*\@user_script:\s?\d+: -?)?'
                    . quotemeta $_[0]);
}

sub failed {
    return error_of('redis \S+: reading "stream:[^"]+" failed: '
                    . quotemeta $_[0]);
}

sub unanswered {
    return error_of('redis \S+ did not reply to publishing to "stream:[^"]+"'
                    . ' within \d+ms, the message may have been stored');
}

sub connections_made {
    return redis('INFO', 'stats') =~ /^total_connections_received:(\d+)/m
           ? $1 : 0;
}

# the ids of connections at Redis
sub peers {
    my $what = shift;

    return map { /^id=(\d+)/ } grep { $_ =~ $what }
           split /\n/, redis('CLIENT', 'LIST');
}

# The resources that workers and Redis hold, without HTTP connections, because
# the server closes these some time after a test has closed them.

sub held {
    my $port = sprintf '%04X', $nginx->port;
    my %http = map { ("socket:[" . (split)[9] . ']' => 1) }
               grep { /^\s*\d+: [0-9A-F]{8}:$port / }
               split /^/, read_file('/proc/net/tcp');

    my $fds = grep { !$http{$_} } map { readlink // () }
              map { glob "/proc/$_/fd/*" } $nginx->workers;
    my $id = redis('CLIENT', 'ID');
    my $peers = grep { $_ != $id } peers(qr//);

    return "$fds descriptors, $peers connections";
}

sub nothing_is_left {
    my $before = shift;

    my $now;
    wait_for(20, sub { ($now = held()) eq $before });

    is($now, $before, 'nothing is left behind');
    is(join(' ', $nginx->workers), join(' ', @workers),
       'no worker was replaced');
}


package Faults::Proxy;

# A proxy in front of Redis that fails as it is told:
#
#   pass             it does not fail
#   close            new connections are refused, existing ones closed
#   swallow          connections stay open, but nothing comes through
#   bell             the same, but only on present connections of a bell
#   cut TEXT         half of the next answer with TEXT in it is sent, and the
#                    connection closed; then as with pass
#   break TEXT       as with pass until a command with TEXT in it is sent, then
#                    as with close
#   answer COMMAND ERROR
#                    a command is answered with an error; COMMAND is one word,
#                    or two words, such as "CLIENT TRACKING"
#   once COMMAND ERROR
#                    the same, but only for the next such command
#   before N WORD COMMAND...
#                    just before the N-th command from now on that has WORD
#                    among its words, another command is executed
#
# It reads whole commands and answers, however they arrive.  A command to be
# answered with an error becomes a script that makes the error, so that answers
# come in order.

use strict;
use warnings;

use parent 'Conduit::Way';

use Conduit::Fake ();
use IO::Select;
use IO::Socket::INET;


sub first { 'pass' }


# returns when it is done
sub tell {
    my ($self, @mode) = @_;

    syswrite $self->{control}, join("\t", @mode) . "\n";
    sysread $self->{control}, my $done, 1 or die 'no proxy';
}


sub run {
    my $self = shift;

    @$self{qw(mode select ends)} = (['pass'], IO::Select->new, {});
    $self->{select}->add($self->{control});
    $self->listen;

    while (my @ready = $self->{select}->can_read) {
        for my $s (@ready) {
            if ($s == $self->{control}) {
                sysread $s, my $line, 4096 or return;
                chomp $line;
                $self->mode(split /\t/, $line);
                syswrite $s, '.';

            } elsif ($self->{listener} && $s == $self->{listener}) {
                $self->accept;

            } elsif ($self->{ends}{$s}) {
                $self->data($self->{ends}{$s}, $s);
            }
        }
    }
}


sub mode {
    my ($self, @mode) = @_;

    $self->{mode} = \@mode;

    for my $pair (values %{ $self->{ends} }) {
        $pair->{dead} = $mode[0] eq 'bell' && $pair->{bell};
    }

    if ($mode[0] ne 'close') {
        $self->listen if !$self->{listener};
        return;
    }

    my @pairs = values %{ $self->{ends} };

    $self->close($_) for @pairs;
    $self->{select}->remove($self->{listener});
    close delete $self->{listener};
}


sub listen {
    my $self = shift;

    $self->{listener} = IO::Socket::INET->new(
        LocalAddr => "127.0.0.1:$self->{port}", Listen => 64,
        ReuseAddr => 1) or die "listen: $!";
    $self->{select}->add($self->{listener});
}


sub accept {
    my $self = shift;

    my $client = $self->{listener}->accept or return;
    my $server = IO::Socket::INET->new($self->{redis}) or return;
    my $pair = { client => $client, server => $server, input => '',
                 output => '' };

    $self->{ends}{$_} = $pair for $client, $server;
    $self->{select}->add($client, $server);
}


sub close {
    my ($self, $pair) = @_;

    for my $s (@$pair{qw(client server)}) {
        next if !delete $self->{ends}{$s};
        $self->{select}->remove($s);
        close $s;
    }
}


sub data {
    my ($self, $pair, $from) = @_;

    sysread $from, my $data, 1 << 20 or return $self->close($pair);

    if ($from == $pair->{client}) {
        $pair->{input} .= $data;
        $self->commands($pair);

    } else {
        $pair->{output} .= $data;
        $self->answers($pair);
    }
}


sub commands {
    my ($self, $pair) = @_;

    while (my ($command, @words)
               = Conduit::Fake::take_command(\$pair->{input}))
    {
        my ($mode, $what) = @{ $self->{mode} };

        $pair->{bell} = 1 if $words[0] eq 'SUBSCRIBE';

        next if $mode eq 'swallow' || $pair->{dead};

        return $self->mode('close')
            if $mode eq 'break' && index($command, $what) >= 0;

        $command = $self->command($command, @words);
        $self->send($pair->{server}, $command);
    }
}


# What Redis gets for a command.
sub command {
    my ($self, $command, @words) = @_;
    my ($mode, @o) = @{ $self->{mode} };

    if ($mode eq 'answer' || $mode eq 'once') {
        my ($name, $error) = @o;

        return $command if $words[0] ne $name
                           && (@words < 2 || "@words[0, 1]" ne $name);

        $self->{mode} = ['pass'] if $mode eq 'once';
        return encode('EVAL', 'return {err=ARGV[1]}', 0, $error);
    }

    if ($mode eq 'before') {
        my ($n, $word, @other) = @o;

        return $command if !grep { $_ eq $word } @words;

        $self->{mode} = $n > 1 ? ['before', $n - 1, $word, @other] : ['pass'];

        # on the same connection, for the order, and with no reply
        return encode(qw(CLIENT REPLY SKIP)) . encode(@other) . $command
            if $n == 1;
    }

    return $command;
}


sub encode {
    return join '', '*' . @_ . "\r\n",
                map { '$' . length($_) . "\r\n$_\r\n" } @_;
}


sub answers {
    my ($self, $pair) = @_;

    while (defined(my $answer = Conduit::Fake::take_reply(\$pair->{output}))) {
        my ($mode, $text) = @{ $self->{mode} };

        next if $mode eq 'swallow' || $pair->{dead};

        if ($mode eq 'cut' && index($answer, $text) >= 0) {
            $self->send($pair->{client},
                        substr $answer, 0, length($answer) / 2);
            $self->{mode} = ['pass'];
            return $self->close($pair);
        }

        $self->send($pair->{client}, $answer);
    }
}


sub send {
    my ($self, $to, $data) = @_;

    while (length $data) {
        my $n = syswrite $to, $data or return;
        substr $data, 0, $n, '';
    }
}
1;
