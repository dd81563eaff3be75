# Copyright (C) Conduit for NGINX authors

package Conduit::Metrics;

# Reads the metrics of both modules from their status pages.
#
#     my $nginx = nginx_start(server => pages() . ...);
#     my $metrics = metrics($nginx, 'publish');
#     $metrics->{'requests_total{outcome="accepted"}'}
#
#     moves($nginx, 'publish', 'a message is counted', sub { ... },
#           'requests_total{outcome="accepted"}' => 1, bytes_total => 42);

use strict;
use warnings;

use Conduit;
use Exporter 'import';
use Test::More ();
use Time::HiRes qw(time);

our @EXPORT = qw(pages metrics series moves becomes buckets);

# counters that also move without a request, or by amounts: moves() compares
# them only if they are expected
my $BACKGROUND
    = qr/^(?:redis_commands|sweeps|canaries|keepalives|bytes
             |jwt_cache_(?:hits|misses))_total$/x;


# Locations: /status/publish, /json/publish, /live/publish, and for the gateway.

sub pages {
    return join '', map { <<"EOC" } qw(publish gateway);
    location = /status/$_ { conduit_${_}_status; }
    location = /json/$_ { conduit_${_}_status json; }
    location = /live/$_ { conduit_${_}_health live; }
EOC
}


# All series of a page as a hash, named without the module's prefix.  The series
# with the version numbers is left out.

sub metrics {
    my ($nginx, $module) = @_;

    my $r = http($nginx, 'GET', "/status/$module", timeout => 20);

    die "status of $module: $r->{status}" if $r->{status} != 200;
    return series($r->{body}, $module);
}

sub series {
    my ($text, $module) = @_;

    return { map { /^conduit_${module}_(\S+) ([\d.]+)$/ ? ($1 => 0 + $2)
                   : die "not a series: $_\n" }
             grep { !/^#|^conduit_build_info\{/ } split /\n/, $text };
}


# Runs some code, and waits until exactly the expected counters have gone up.
# Of a histogram only its count is compared.  Gauges are not compared.

sub moves {
    my ($nginx, $module, $title, $code, %expected) = @_;

    my $before = metrics($nginx, $module);

    $code->();

    delete $expected{$_} for grep { !$expected{$_} } keys %expected;

    my $is = sub {
        return join "\n", map { "$_ $_[0]{$_}" } sort keys %{ $_[0] };
    };
    my $now;

    wait_for(20, sub {
        $now = moved($before, metrics($nginx, $module), %expected);
        $is->($now) eq $is->(\%expected);
    });

    Test::More::is($is->($now), $is->(\%expected), $title);
}

sub moved {
    my ($before, $now, %expected) = @_;

    # reads of a sweep are not counted, as it may come at any time
    my ($from, $to) = map { my %m = %$_;
                            $m{reads_total} -= $m{sweeps_total}
                                if exists $m{reads_total};
                            \%m } $before, $now;

    my %moved = map { $_ => $to->{$_} - ($from->{$_} // 0) }
                grep { exists $expected{$_}
                       || /_(?:total(?:\{.*)?|count)$/ && $_ !~ $BACKGROUND }
                keys %$to;

    delete $moved{$_} for grep { !$moved{$_} } keys %moved;

    return \%moved;
}


# Waits until a series has a value.

sub becomes {
    my ($nginx, $module, $name, $value, $title) = @_;

    my $now;

    wait_for(20, sub {
        $now = metrics($nginx, $module)->{$name} // 'none';
        $now eq $value;
    });

    Test::More::is($now, $value, $title // "$name is $value");
}


# The buckets of a histogram by their bounds, with the count of each (not
# cumulative).

sub buckets {
    my ($metrics, $name) = @_;

    my %le = map { /^\Q$name\E_bucket\{le="(.*)"\}$/
                   ? ($1 eq '+Inf' ? 9**9**9 : $1 => $metrics->{$_}) : () }
             keys %$metrics;
    my $below = 0;

    return map { my $n = $le{$_} - $below; $below = $le{$_}; [$_, $n] }
           sort { $a <=> $b } keys %le;
}

1;
