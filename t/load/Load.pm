# Copyright (C) Conduit for NGINX authors

package Load;

# What the suites of this folder share: their two sizes, an NGINX that takes
# many clients, the load generator, and what a process has used.
#
#     CONDUIT_LOAD=full     the sizes of a busy edge; otherwise small ones
#
# The generator is compiled from t/load/sse_load.c.  It holds at most as many
# connections as RLIMIT_NOFILE lets a process have; so does a worker, which is
# why no suite has more than 19,500.

use strict;
use warnings;

use Conduit;
use Exporter 'import';
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Test::More ();
use Time::HiRes qw(time);

our @EXPORT = qw(
    full size load_nginx warm_up load settled
    channel_name load_path publish_many calls reads links
    cpu_us user_us rss_kb peak_kb pss_kb connections_of log_is_quiet
);

our $ORG_ID = 1;

my $owner = $$;
my $program;
my @running;


# --- sizes

sub full { return ($ENV{CONDUIT_LOAD} // '') eq 'full' }

sub size {
    my ($small, $full) = @_;

    return full() ? $full : $small;
}


# --- NGINX

# As nginx_start(), with one worker that takes many connections, a log without
# debug lines, and no access log.  "listen" is more of the first server's
# directive, "config" a function that changes the whole text.

sub load_nginx {
    my %o = @_;

    $o{server} //= publish_location('conduit_publish_rate off;')
                   . gateway_location('conduit_gateway_auth off;'
                                      . ($o{gateway} // ''));

    return Load::Nginx->start(%o);
}


# Has one client get one event, so that the worker is connected to Redis;
# returns how many sockets it has when nobody is there.

sub warm_up {
    my ($nginx, %o) = @_;

    my $sse = sse_open($nginx, path => $o{path} // load_path(0xffff));

    publish_many(first => 1, last => 1, channels => [0xffff]) if !$o{path};
    die 'no event' if !$o{path} && !$sse->event(10);

    $sse->close;
    redis('FLUSHALL');

    my ($worker) = $nginx->workers;

    return settled(sub { connections_of($worker) });
}


sub log_is_quiet {
    my ($nginx, $title) = @_;

    my @lines = grep { /\[(?:error|crit|alert|emerg)\]|exited on signal/ }
                split /^/, $nginx->error_log;

    return Test::More::is(join('', @lines[0 .. ($#lines > 4 ? 4 : $#lines)]),
                          '', $title);
}


# --- the generator

# load($nginx, -n => 1000, '-x' => undef, ...): starts it with commands on, and
# options of t/load/sse_load.c.  Methods: tell(letter), stat(), ends().

sub load {
    my ($nginx, %o) = @_;

    $program //= compile();
    $o{-t} //= 600;

    my @command = ($program, '-x', '-p', $nginx->port,
                   map { defined $o{$_} ? ($_, $o{$_}) : $_ } sort keys %o);

    pipe my $in, my $to or die "pipe: $!";
    pipe my $from, my $out or die "pipe: $!";

    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        open STDIN, '<&', $in or POSIX::_exit(127);
        open STDOUT, '>&', $out or POSIX::_exit(127);
        close $_ for $to, $from;
        exec @command or POSIX::_exit(127);
    }

    $to->autoflush(1);

    my $self = bless { pid => $pid, to => $to, from => $from,
                       clients => $o{-n} }, 'Load::Generator';

    push @running, $self;
    return $self;
}


sub compile {
    my $binary = "$Conduit::TMP/sse_load";

    system($ENV{CC} // 'cc', '-O2', '-o', $binary,
           "$Conduit::ROOT/t/load/sse_load.c") == 0 or die 'no sse_load';

    return $binary;
}


# Waits until a number stays the same for some looks in a row: returns it.

sub settled {
    my ($value, $looks) = @_;

    my ($last, $same) = ('', 0);

    wait_for(20, sub {
        my $now = $value->();
        $same = $now eq $last ? $same + 1 : 0;
        $last = $now;
        return $same >= ($looks // 50);
    });

    return $last;
}


# --- channels and messages

sub channel_name { return sprintf '00000000-0000-4000-8000-%012x', shift }

sub load_path {
    my ($channel, %o) = @_;

    return events_path(org => $ORG_ID, token => '',
                       channel_id => channel_name($channel), %o)
           =~ s/token=&//r;
}


# Adds a message to each of some channels, to each sequence numbers from first
# to last, pipelined; "payload", "phase" as in message().

sub publish_many {
    my %o = @_;

    my $pipe = '';
    my $n = 0;

    for my $sequence ($o{first} .. $o{last}) {
        for my $k (@{ $o{channels} // [0] }) {
            my $channel = channel_name($k);
            my $data = message(channel_id => $channel, sequence => $sequence,
                               phase => $o{phase} // 'DELTA',
                               payload => $o{payload} // { value => 'x' });

            $pipe .= command('XADD', stream_key($ORG_ID, $channel),
                             ($o{trim} ? ('MAXLEN', '~', $o{trim}) : ()),
                             '*', 'data', $data);
            $n++;
        }

        if (length $pipe > 100_000) {
            flush_pipe($pipe, $n);
            ($pipe, $n) = ('', 0);
        }
    }

    flush_pipe($pipe, $n) if $n;
}


sub command {
    return join '', '*' . @_ . "\r\n",
           map { '$' . length($_) . "\r\n$_\r\n" } @_;
}


my $socket;

sub flush_pipe {
    my ($pipe, $n) = @_;

    $socket //= IO::Socket::INET->new(
        PeerAddr => "127.0.0.1:$Conduit::REDIS_PORT") // die "redis: $!";

    $socket->print($pipe);
    $socket->flush;

    for (1 .. $n) {
        my $reply = Conduit::redis_reply($socket);
        die "XADD: $reply" if $reply !~ /^\d+-\d+$/;
    }
}


# How many times Redis has served a command.

sub calls {
    my $command = shift;

    my ($n) = redis('INFO', 'commandstats')
              =~ /^cmdstat_$command(?:\|stream)?:calls=(\d+)/m;

    return $n // 0;
}


# all that a gateway sends to read streams

sub reads {
    my $n = 0;

    $n += calls($_) for qw(xread xrange xinfo);
    return $n;
}


# How many connections a gateway has to Redis, all that are not the suite's.

sub links {
    my $own = $socket ? $socket->sockport : 0;

    return scalar grep { !/cmd=client\|list/ && !/addr=127\.0\.0\.1:$own / }
           split /\n/, redis('CLIENT', 'LIST');
}


# --- processes

# microseconds of the processor, user and system

sub cpu_us {
    my $pid = shift;

    my ($ns) = split ' ', read_file("/proc/$pid/schedstat");

    return $ns / 1000;
}


# the part in user mode, in steps of a clock tick

sub user_us {
    my $pid = shift;

    my ($stat) = read_file("/proc/$pid/stat") =~ /\) (.*)/s;

    return (split ' ', $stat)[11] * 1e6 / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}


sub rss_kb { return memory_of(shift, 'VmRSS') }

sub peak_kb { return memory_of(shift, 'VmHWM') }


sub memory_of {
    my ($pid, $what) = @_;

    read_file("/proc/$pid/status") =~ /^$what:\s+(\d+)/m or die "no process";
    return $1;
}


sub pss_kb {
    my $pid = shift;

    read_file("/proc/$pid/smaps_rollup") =~ /^Pss:\s+(\d+)/m
        or die "no process";
    return $1;
}


# open files of a process that are sockets

sub connections_of {
    my $pid = shift;

    return scalar grep { (readlink($_) // '') =~ /^socket/ }
           glob "/proc/$pid/fd/*";
}


END {
    if ($$ == $owner) {
        my $status = $?;
        $_->ends for @running;
        $? = $status;
    }
}


package Load::Generator;

use strict;
use warnings;


sub tell {
    my ($self, $letter) = @_;

    return syswrite $self->{to}, $letter;
}


# The counts of now, a reference to a hash.

sub stat {
    my $self = shift;

    $self->tell('s');

    my $line = readline $self->{from};
    die "sse_load is gone" if !defined $line;

    return JSON::PP::decode_json($line);
}


# Waits until a count has reached a number; returns all counts.

sub reaches {
    my ($self, $name, $number, $seconds) = @_;

    my $stat;

    Conduit::wait_for($seconds // 60, sub {
        $stat = $self->stat;
        return 1 if $stat->{$name} >= $number;
        Time::HiRes::sleep(0.02);
        return 0;
    });

    return $stat;
}


sub pid { return $_[0]{pid} }


sub ends {
    my $self = shift;

    return if !$self->{pid};

    close $self->{to};
    waitpid $self->{pid}, 0;
    $self->{pid} = undef;
}


package Load::Nginx;

use strict;
use warnings;

use parent -norequire, 'Conduit::Nginx';


sub conf {
    my ($self, %o) = @_;

    my $text = $self->SUPER::conf(%o);
    my $listen = $o{listen} // 'backlog=4096';

    $text =~ s/error\.log debug;/error.log warn;/;
    $text =~ s/access_log .*;/access_log off;/;
    $text =~ s/worker_connections \d+;/worker_connections 22000;/;
    $text =~ s/(listen 127\.0\.0\.1:\d+);/$1 $listen;/;
    $text =~ s/^http \{/http {\n    keepalive_requests 100000000;/m;
    $text = "worker_rlimit_nofile 20000;\n$text";

    return $o{config} ? $o{config}->($text) : $text;
}

1;
