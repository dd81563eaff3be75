# Copyright (C) Conduit for NGINX authors

package Conduit::Nginx;

# An NGINX with both modules, for tests that reload, kill, or publish while a
# stream is open.
#
#     my $nginx = nginx_start(server => '...', http => '...', main => '...',
#                             events => '...', workers => 1,
#                             log_level => 'debug', expect => qr/.../);
#
# Lines of the error log with [alert], [emerg] or a signal make the suite fail,
# but those that "expect" matches.

use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();

my @started;


sub start {
    my ($class, %o) = @_;

    my $n = @started + 1;
    my $self = bless {
        port => $o{port} // Conduit::free_port(),
        root => "$Conduit::TMP/nginx-$n",
        expect => $o{expect},
        count => $o{workers} // 1,
    }, $class;

    mkdir $_ or die "$_: $!" for $self->{root}, "$self->{root}/logs";
    push @started, $self;

    Conduit::write_file("$self->{root}/nginx.conf", $self->conf(%o));
    $self->run;

    return $self;
}


sub conf {
    my ($self, %o) = @_;

    my $workers = $o{workers} // 1;
    my $user = $> == 0 ? 'user root;' : '';
    my $modules = join "\n",
        map { "load_module $Conduit::MODULES/ngx_conduit_${_}_module.so;" }
        qw(publish gateway);
    # a new binary is checked, too
    my $env = join "\n", map { "env $_;" } grep { defined $ENV{$_} }
                         qw(ASAN_OPTIONS LSAN_OPTIONS UBSAN_OPTIONS);
    my $temp = join "\n", map { "    ${_}_temp_path temp_$_;" }
        qw(client_body proxy fastcgi uwsgi scgi);

    my $level = $o{log_level} // 'debug';

    $_ //= '' for @o{qw(main http events server)};

    return <<"EOC";
$modules
$user
daemon off;
worker_processes $workers;
error_log logs/error.log $level;
pid nginx.pid;
$env
$o{main}

events {
    worker_connections 1024;
    $o{events}
}

http {
    access_log logs/access.log;
$temp
$o{http}

    server {
        listen 127.0.0.1:$self->{port};
$o{server}
    }
}
EOC
}


# Runs NGINX, also again after a stop or a kill, and waits until it accepts
# connections and all of its workers run.

sub run {
    my $self = shift;

    my @command = ($ENV{TEST_NGINX_BINARY}, '-p', $self->{root},
                   '-c', "$self->{root}/nginx.conf",
                   '-e', "$self->{root}/logs/error.log");

    unshift @command, 'valgrind', '-q', split ' ', $ENV{TEST_NGINX_USE_VALGRIND}
        if $ENV{TEST_NGINX_USE_VALGRIND};

    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{root}/logs/output.log";
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(127);
    }

    $self->{pid} = $pid;

    Conduit::wait_for(20, sub { $self->gone || $self->accepts });

    die "nginx did not start:\n" . $self->error_log
        if !$self->{pid} || !$self->accepts;
}


sub accepts {
    my $self = shift;

    return $self->workers >= $self->{count}
           && IO::Socket::INET->new(PeerAddr => "127.0.0.1:$self->{port}",
                                    Timeout => 1) ? 1 : 0;
}


sub gone {
    my $self = shift;

    return 1 if !$self->{pid};

    if (waitpid($self->{pid}, POSIX::WNOHANG()) != 0) {
        $self->{status} = $?;
        $self->{pid} = undef;
        return 1;
    }

    return 0;
}


sub port { $_[0]{port} }

sub pid { $_[0]{pid} }

sub root { $_[0]{root} }


# The process ids of the workers, old ones that shut down included.

sub workers {
    my $self = shift;

    return () if !$self->{pid};

    my $file = "/proc/$self->{pid}/task/$self->{pid}/children";
    my $pids = eval { Conduit::read_file($file) } // '';

    return split ' ', $pids;
}


sub signal {
    my ($self, $signal) = @_;

    kill $signal, $self->{pid} or die "kill $signal: $!";
}


# Reloads the configuration; returns when all new workers run.  The old ones may
# still be there.

sub reload {
    my $self = shift;

    my %old = map { $_ => 1 } $self->workers;

    $self->signal('HUP');

    Conduit::wait_for(20, sub {
        $self->{count} <= grep { !$old{$_} } $self->workers
    })
        or die "nginx did not reload:\n" . $self->error_log;
}


# Waits until NGINX has left by itself, or after a signal given here; returns
# its exit status, or undef if it is still there.

sub stop {
    my ($self, $signal, $seconds) = @_;

    return $self->{status} if !$self->{pid};

    $self->signal($signal // 'QUIT');

    return Conduit::wait_for($seconds // 30, sub { $self->gone })
        ? $self->{status} : undef;
}


# Kills the master and its workers, each by its id, as a crash would.

sub crash {
    my $self = shift;

    my @pids = ($self->{pid}, $self->workers);

    kill 'KILL', @pids;
    Conduit::wait_for(20, sub { $self->gone });
    Conduit::wait_for(20, sub { !grep { kill 0, $_ } @pids });

    $self->{status} = undef;
}


# The whole log.  Tests ask for it many times, and a debug log is long, so only
# what is new is read.

sub error_log {
    my $self = shift;

    my $log = $self->{log} //= { text => '', file => '' };

    open my $fh, '<:raw', "$self->{root}/logs/error.log" or return '';

    my ($file, $size) = (join(' ', (stat $fh)[0, 1]), -s _);

    # the file was replaced, or truncated
    @$log{qw(text file)} = ('', $file)
        if $file ne $log->{file} || $size < length $log->{text};

    seek $fh, length $log->{text}, 0;
    1 while read $fh, $log->{text}, 1 << 20, length $log->{text};

    return $log->{text};
}


# The error lines of workers about Redis, from an offset of the log on; and those
# among them that say too early what was said before.  A connection says a reason
# once a minute until it is connected again; anything else may be said once in
# 10 s.  It is read from the times of the lines, so it holds on a slow machine.

sub redis_errors {
    my ($self, $from) = @_;

    my (%said, @errors, @again);

    for (split /\n/, substr $self->error_log, $from) {
        my ($h, $m, $s, $level, $pid, $text) =
            m{^\S+ (\d+):(\d+):(\d+) \[(\w+)\] (\d+)\S* .*?conduit: (redis .*)}
            or next;
        my $now = 3600 * $h + 60 * $m + $s;

        if ($text =~ /^(redis \S+ \S+): connected again/) {
            delete $said{"$pid $1"};
            next;
        }

        next if $level ne 'error' || $text =~ / client: /;

        my ($who) = $text =~ /^(redis \S+ \S+):/;
        my $wait = $text =~ s/, next try in \d+ms// ? 60 : 10;
        my $before = \$said{"$pid " . ($who // '')}{$text};

        push @errors, $_;

        # a second is lost in the times; a day has 86400
        push @again, $_
            if defined $$before && ($now - $$before) % 86400 < $wait - 1;

        $$before = $now;
    }

    return (\@errors, \@again);
}


sub access_log {
    my $self = shift;

    return eval { Conduit::read_file("$self->{root}/logs/access.log") } // '';
}


# Stops every NGINX that still runs; returns the log lines that make a suite
# fail.

sub tear_down {
    my @bad;

    for my $self (@started) {
        if ($self->{pid} && !$self->gone && !defined $self->stop('QUIT', 30)) {
            push @bad, "nginx $self->{pid} did not quit within 30s\n";
            $self->crash;
        }

        push @bad, grep { /\[alert\]|\[emerg\]|signal 11/
                          && !($self->{expect} && $_ =~ $self->{expect}) }
                   split /^/, $self->error_log;
    }

    return @bad;
}

1;
