# Copyright (C) Conduit for NGINX authors
#
# Random configurations: "nginx -t" accepts each or says why it does not.  With
# one that is accepted, NGINX runs, answers requests, and reloads to another.
#
#     CONF_FUZZ=2000 CONF_FUZZ_SEED=7 prove -It/lib t/conf-fuzz.t
#
# CONF_FUZZ is the number of configurations.  Configuration n of a seed is the
# first one of seed + n, so that CONF_FUZZ=1 tries it alone.  The seed is the
# same each time; CONF_FUZZ_SEED=random draws one, as "make conf-fuzz" does.
# Configurations that fail are kept in build/conf-fuzz/.  With
# CONF_FUZZ_VERBOSE, the reasons of refusals are printed.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::ConfFuzz;
use File::Path qw(make_path);
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);

my $CHECKED = $ENV{CONDUIT_CHECKED} // '';

# among others, what a regular expression of a configuration was compiled with
plan skip_all => 'NGINX itself loses memory with some of these configurations'
    if $CHECKED eq 'valgrind';

my $SEED = draw_by_seed('CONF_FUZZ_SEED');
my $COUNT = $ENV{CONF_FUZZ} || ($CHECKED ? 150 : 300);
my $SLOW = $CHECKED ? 10 : 1;

# s in which NGINX reads a configuration, starts, quits
my $PATIENCE = 20 * $SLOW;

# s in which an answer is waited for; there may be none, with a Redis that is
# away and long timeouts
my $ANSWER = 0.4 * ($CHECKED ? 2 : 1);

my $dir = "$Conduit::TMP/fuzz";
my $conf = "$dir/nginx.conf";
my $log = "$dir/error.log";
my $output = "$dir/output";
my $port = free_port();
my $stream = (grep { -f } "$Conduit::MODULES/ngx_stream_module.so",
              $ENV{TEST_NGINX_BINARY} eq '/usr/sbin/nginx'
              ? '/usr/lib/nginx/modules/ngx_stream_module.so' : ())[0];

# names of hosts that do not exist must not take long, wherever they are asked for
$ENV{RES_OPTIONS} = 'timeout:1 attempts:1';

# a report of a sanitizer goes to one of these files, those of a process that
# has none to the error log
my @reports = map { m{log_path=([^:]+)} ? $1 : () } $ENV{ASAN_OPTIONS} // '';
push @reports, $ENV{CONDUIT_UBSAN_LOG} if $ENV{CONDUIT_UBSAN_LOG};

mkdir $dir or die "$dir: $!";
chmod 0777, $dir;

my %is = map { $_ => 0 } qw(accepted refused ran reloaded requests answers);
my (%codes, %why);
my $faults = 0;

# connections that stay open
my @held;


# --- one configuration

# Runs NGINX in the background; its output is in a file.

sub spawn {
    my @args = @_;

    my @command = ($ENV{TEST_NGINX_BINARY}, '-p', $dir, '-c', $conf,
                   '-e', $log, @args);
    my $t = grep { $_ eq '-t' } @args;

    # "nginx -t" leaves without giving anything back
    local $ENV{ASAN_OPTIONS} = ($ENV{ASAN_OPTIONS} // '')
                               . ($t ? ':detect_leaks=0' : '');

    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', $output;
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(127);
    }

    return $pid;
}


# The status of a process; undef if it does not end.

sub ended {
    my ($pid, $seconds) = @_;

    my $until = time + $seconds;

    while (waitpid($pid, POSIX::WNOHANG()) == 0) {
        return undef if time > $until;
        sleep 0.003;
    }

    return $?;
}


sub children {
    my $pid = shift;

    return split ' ', eval { read_file("/proc/$pid/task/$pid/children") } // '';
}


# Those of a pid file that is not gone would be taken for others.

sub killed {
    my $pid = shift;

    my @pids = ($pid, children($pid));

    kill 'KILL', @pids;
    waitpid $pid, 0;
}


# What "nginx -t" must not do; the empty string if it did nothing of that.
# Also returns whether it accepts the configuration.

sub check {
    my $fuzz = shift;

    unlink $log;
    write_file($conf, $fuzz->text);

    my $pid = spawn('-t');
    my $status = ended($pid, $PATIENCE);

    if (!defined $status) {
        killed($pid);
        return "nginx -t hangs";
    }

    # the same lines are in both

    my $text = read_file($output);
    my $fault = $status & 127 ? 'nginx -t died of signal ' . ($status & 127)
                : reports($text) || alerts($text);

    return $fault if $fault;
    return ('', 1) if $status == 0;

    my @lines = grep { /\[emerg\]/ } split /^nginx: /m, $text;

    return "nginx -t fails and does not say why: status $status, $text"
        if !@lines;

    my @conf = split /\n/, $fuzz->text, -1;

    $why{ $lines[0] =~ s/ in \S+:\d+.*//sr =~ s/"[^"]*"/"..."/gr }++;

    for my $line (@lines) {
        return "a secret is shown: $line"
            if $line =~ /marked-secret/
               && $line !~ /directive|unexpected|parameter|argument|variable/;

        my ($n) = $line =~ / in \Q$dir\E\/nginx\.conf:(\d+)/;

        return "no file and line: $line"
            if !$n && Conduit::ConfFuzz::is_ours($line);
        next if !$n;

        return "line $n is not there: $line" if $n > @conf;

        # a ";" or a quote that is missing takes what follows in

        return "line $n is not the one at fault: $line"
            if $line =~ /"conduit_|Redis|key file/ && !$fuzz->free
               && ($conf[$n - 1] // '') !~ /conduit_/;
    }

    return ('', 0);
}


sub reports {
    my $text = shift;

    for my $file (map { glob "$_.*" } @reports) {
        my $report = read_file($file);

        # what is lost when NGINX leaves: only what the modules lost
        next if $report !~ /ERROR: AddressSanitizer|runtime error:/
                && $report !~ /leak of[^\n]*\n(?: +#[^\n]*\n)*? +#[^\n]*conduit/;

        rename $file, "$file-seen";
        return $report;
    }

    return $text =~ /(^.*(?:Sanitizer: |runtime error:).*(?:\n.*){0,30})/m
        ? $1 : '';
}


# Workers that do not leave within 1 s of a TERM are killed by the master.

sub leaving {
    my ($text, $signal) = @_;

    return $signal eq 'TERM' ? $text =~ s/^.*exited on signal 9$//gmr : $text;
}


# Too few connections are NGINX's own alert, and the configuration's fault.  A
# worker that was out of files when it was told to leave closes the socket it
# listens at, and still tries to accept there half a second later.

sub alerts {
    my $text = shift;

    my $out = $text =~ /Too many open files/;

    for (split /^/, $text) {
        next if /worker_connections are not enough|Too many open files/;
        next if $out && /accept4?\(\) failed \(9: Bad file descriptor\)/;

        return $_ if /\[alert\]|exited on signal|exited with code [1-9]/;
    }

    return '';
}


# --- requests

# The five: a good one, a bad one, one of another method, one of a path that is
# unknown, and a part of one.

sub requests {
    my $fuzz = shift;

    my @paths = $fuzz->paths;
    my ($publish) = grep { m{^/publish/$} } @paths;
    my ($events) = grep { m{^/events/$} } @paths;
    my @ours = grep { defined } $publish, $events;
    my $any = sub { @ours && rand() < 0.4 ? $ours[rand @ours]
                                          : $paths[rand @paths] };
    my $host = ($fuzz->names)[rand $fuzz->names];
    my $query = "token=" . gateway_token() . "&channel_id=$CHANNEL";
    my $post = sub { publish_request(path => $_[0] . "$ORG/$CHANNEL",
                                     phase => rand() < 0.1 ? 'END' : 'DELTA',
                                     headers => { Host => $host },
                                     @_[1 .. $#_]) };
    my $get = sub {
        my ($path, $method, $version) = @_;

        return join "\r\n", ($method // 'GET') . " $path HTTP/"
            . ($version // '1.1'), "Host: $host",
            rand() < 0.5 ? 'Connection: close' : 'X-Org: 5',
            rand() < 0.3 ? 'Last-Event-ID: 0-1' : 'Accept: */*', '', '';
    };

    my @good = ($post->($publish // $any->()),
                $get->(($events // $any->()) . "$ORG?$query"));
    my @bad = ($post->($publish // $any->(), token => undef),
               $post->($publish // $any->(), body => 'x' x 100),
               $post->($any->(), headers => { 'Transfer-Encoding' => 'chunked',
                                              'Content-Length' => undef },
                       body => "zz\r\n"),
               $get->(($events // $any->()) . '?token=x&channel_id='),
               $get->($any->() . "1?$query&last_event_id=x", 'GET', '1.0'));
    my $method = (qw(PUT DELETE OPTIONS HEAD PATCH TRACE X POST))[rand 8];
    my $part = $post->($publish // $any->());

    return ($good[rand @good], $bad[rand @bad],
            $get->($any->() . "$ORG/$CHANNEL?$query", $method),
            $get->("/unknown" . $any->() . "?a=1"),
            substr($part, 0, int rand length $part));
}


# Sends all of them at once, each on its own connection; the part of one is cut
# off a little later.  Returns what is wrong with an answer.

sub ask {
    my ($fuzz, $hold) = @_;

    my @open;

    for my $request (requests($fuzz)) {
        my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port",
                                      Timeout => 5)
            or return "connect: $!";

        $s->blocking(0);
        syswrite $s, $request;
        push @open, { s => $s, text => '', n => scalar @open };
        $is{requests}++;
    }

    my $part = $open[-1];
    my $until = time + $ANSWER;
    my $fault = '';

    while ((@open > 1 || @open == 1 && $open[0] != $part) && time < $until) {
        my $set = '';

        vec($set, fileno $_->{s}, 1) = 1 for @open;
        select $set, undef, undef, $until - time > 0 ? $until - time : 0;

        for my $c (grep { vec $set, fileno $_->{s}, 1 } @open) {
            my $n = sysread $c->{s}, $c->{text}, 65536, length $c->{text};

            next if !defined $n && $!{EAGAIN};

            # a stream of events has no end; its header is enough
            $c->{done} = 1 if !$n || $c->{text} =~ /\n\r\n/;
            next if !$c->{done};

            my ($status) = $c->{text} =~ m{\AHTTP/1.1 (\d{3}) };

            $is{answers}++ if $c->{text} ne '';
            $codes{$status}++ if defined $status;
            $codes{"good $status"}++ if defined $status && $c->{n} == 0;
            $fault ||= "an answer that is none: " . substr $c->{text}, 0, 200
                if $c->{text} ne '' && !defined $status
                   && $c->{text} !~ /\A</;
        }

        # those that came to their end, but for one of a client that stays

        @open = grep { !$_->{done} || $hold && $_->{text} =~ /event-stream/ }
                @open;
        last if $hold && @open <= 2 && grep { $_->{done} } @open;
    }

    $fault ||= spins($fuzz, $hold) if $hold;

    # some stay while NGINX reloads or is stopped
    push @held, map { $_->{s} } @open if rand() < 0.5;

    return $fault;
}


# A worker that has nothing to do but to wait must not be busy.

sub ticks {
    my $pid = shift;

    my @stat = split ' ', (eval { read_file("/proc/$pid/stat") } // '')
                          =~ s/^.*\)//r;

    return ($stat[11] // 0) + ($stat[12] // 0);
}

sub spins {
    my ($fuzz, $pid) = @_;

    return '' if $fuzz->quick;

    for my $wait (0.3, 1.5, 5) {
        my $from = time;
        my %before = map { $_ => ticks($_) } $pid, children($pid);

        sleep $wait;

        # a busy machine wakes this process up late
        my ($busy) = grep { ticks($_) - $before{$_} > 30 * (time - $from) }
                     sort keys %before;

        return '' if !defined $busy;
    }

    return 'a worker is busy with nothing';
}


# --- NGINX with it

sub run {
    my ($fuzz, $next) = @_;

    unlink $log;

    my $pid = spawn();
    my $single = $fuzz->text =~ /^master_process off/m;
    my ($status, $fault) = (undef, '');
    my $until = time + $PATIENCE;

    my ($workers) = $single ? 0 : $fuzz->text =~ /^worker_processes (\d)/m;

    until (children($pid) == $workers
           && IO::Socket::INET->new("127.0.0.1:$port"))
    {
        # the server may be one of the things that are gone

        if ($workers && children($pid) == $workers && $fuzz->free) {
            kill 'TERM', $pid;
            return defined ended($pid, $PATIENCE) ? '' : 'does not leave';
        }

        if (waitpid($pid, POSIX::WNOHANG()) != 0) {
            return reports(logged())
                   || "does not start, status $?: " . logged();
        }

        if (time > $until) {
            killed($pid);
            return 'does not listen: ' . logged();
        }

        sleep 0.005;
    }

    $is{ran}++;

    my @workers = children($pid);

    $fault = ask($fuzz, rand() < 0.15 ? $pid : 0);

    $fault ||= 'workers changed: ' . logged()
        if "@workers" ne join ' ', children($pid);

    $fault ||= reload($pid, $next) if $next && !$single;

    # with TERM, clients and commands are left; QUIT waits for them.  A worker
    # that shuts down already calls a client that it leaves an alert

    my $signal = !$next && rand() < 0.5 ? 'TERM' : 'QUIT';

    @held = () if $signal eq 'QUIT';
    kill $signal, $pid;
    $status = ended($pid, $PATIENCE);
    @held = ();

    if (!defined $status) {
        $fault ||= "does not leave after $signal: " . logged();
        killed($pid);
    }

    $fault ||= "died of signal " . ($status & 127)
        if $status && $status & 127;

    return $fault || reports(logged()) || alerts(leaving(logged(), $signal));
}


sub logged {
    return (-f $output ? read_file($output) : '')
           . (-f $log ? read_file($log) : '');
}


# To another configuration, that is accepted or not.

sub reload {
    my ($pid, $next) = @_;

    my ($fuzz, $accepted) = @$next;
    my %old = map { $_ => 1 } children($pid);
    my $size = -s $log;
    my $seen = sub { substr logged(), $size + (-s $output) };

    write_file($conf, $fuzz->text);
    kill 'HUP', $pid;

    my $done = wait_for($PATIENCE, sub {
        $accepted ? grep({ !$old{$_} } children($pid))
                    || $seen->() =~ /\[emerg\]/
                  : $seen->() =~ /\[emerg\]/ || !kill 0, $pid
    });

    return 'does not reload: ' . logged() if !$done;
    return 'refuses on a reload what it accepts: ' . $seen->()
        if $accepted && $seen->() =~ /\[emerg\]/;

    $is{reloaded}++;

    return ask($fuzz, 0);
}


# --- all of them

for my $n (0 .. $COUNT - 1) {
    srand($SEED + $n);

    my %o = (port => $port, log => $log, stream => $stream);
    my $fuzz = Conduit::ConfFuzz->new(%o);

    my ($fault, $accepted) = check($fuzz);
    my ($next, $other);

    if (!$fault && $accepted) {

        if (rand() < 0.2) {
            $other = Conduit::ConfFuzz->new(%o);
            $next = [$other, (check($other))[1]];
            $next = undef if !defined $next->[1];
            write_file($conf, $fuzz->text);
        }

        $fault = run($fuzz, $next);
    }

    $is{ $accepted ? 'accepted' : 'refused' }++;

    next if !$fault;

    $faults++;

    my $kept = "$Conduit::ROOT/build/conf-fuzz";

    make_path($kept);
    write_file("$kept/" . ($SEED + $n) . '.conf', $fuzz->text);
    write_file("$kept/" . ($SEED + $n) . '.next.conf', $other->text) if $other;
    fail('configuration ' . ($SEED + $n) . ' is read, runs, and is left');
    diag("CONF_FUZZ_SEED=" . ($SEED + $n) . " CONF_FUZZ=1\n"
         . substr $fault, 0, 6000);

    last if $faults >= 20;
}

note(join ', ', map { "$is{$_} $_" } sort keys %is);
note(join "\n", map { "refused $why{$_}: $_" }
                sort { $why{$b} <=> $why{$a} || $a cmp $b } keys %why)
    if $ENV{CONF_FUZZ_VERBOSE};
note('statuses: ' . join ', ', map { "$codes{$_} of $_" } sort keys %codes);

is $faults, 0, "$COUNT random configurations, seed $SEED";


# --- that it does try something

# Whatever the seed: about one in six is run, and one in thirty reloaded, so that
# in 300 too few of the first are once in 10^8 seeds, and none of the second once
# in 20,000.

if ($COUNT >= 300) {
    cmp_ok $is{refused}, '>', $COUNT / 10, 'some are refused';
    cmp_ok $is{ran}, '>', $COUNT / 20, 'many are run';
    cmp_ok $is{reloaded}, '>', 0, 'some are reloaded';
    cmp_ok $is{answers}, '>', 0, 'requests are answered';
    cmp_ok $codes{200} // 0, '>', 0, 'some of them well';
}

# The rarest directive is in one of fifty, so that it is missing in 2000 once in
# 10^17 seeds.

my %tried;

for my $n (0 .. 1999) {
    srand($SEED + $n);
    $tried{$_}++ for Conduit::ConfFuzz->new(port => $port, log => $log,
                                            stream => $stream)->text
                     =~ /\b(conduit_\w+)/g;
}

is join(' ', grep { !$tried{$_} }
        map { $_->{name} } Conduit::ConfFuzz->directives), '',
    'each directive of the modules is among them';

done_testing();
