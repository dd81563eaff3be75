# Copyright (C) Conduit for NGINX authors
#
# contrib/: Prometheus itself checks the alert rules and their tests, Grafana's
# schema the dashboard, and Prometheus the queries of its panels.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use JSON::PP ();
use Test::More;

my $DIR = "$Conduit::ROOT/contrib";


# --- alerts

for my $command ('check rules alerts.yml', 'test rules alerts_test.yml') {
    my $said = `cd $DIR/prometheus && promtool $command 2>&1`;

    is $?, 0, "promtool $command" or diag $said;
}

my $said;
my $rules = read_file("$DIR/prometheus/alerts.yml");
my $tests = read_file("$DIR/prometheus/alerts_test.yml");
my @alerts = $rules =~ /^\s+- alert: (\w+)$/mg;

cmp_ok scalar @alerts, '>', 10, 'there are alerts';

# each is described, and leads to what to do; tools/check-docs looks at links
my $monitoring = read_file("$Conduit::ROOT/docs/monitoring.md");
my $troubleshooting = read_file("$Conduit::ROOT/docs/troubleshooting.md");

for my $alert (@alerts) {
    my ($rule) = $rules =~ /^\s+- alert: $alert\n(.*?)(?=^\s+- alert:|\z)/ms;
    my $anchor = lc $alert;

    like $rule, qr{^\s+runbook_url:\ docs/troubleshooting\.md\#$anchor$}m,
        "$alert has its runbook";
    like $troubleshooting, qr/^### $alert$/m,
        "$alert has its section in the troubleshooting page";
    like $tests, qr/alertname: $alert\n\s+exp_alerts:/,
        "$alert has a case in which it fires";
    like $rule, qr/^\s+summary: /m, "$alert has a summary";
    like $rule, qr/^\s+severity: (?:critical|warning)$/m,
        "$alert has a severity";

    my ($severity) = $rule =~ /severity: (\w+)/;
    like $monitoring,
        qr/^\| \[$alert\]\(troubleshooting\.md#$anchor\) \| $severity \|/m,
        "$alert has its row in the monitoring page";
}

is_deeply [sort $monitoring =~ /^\| \[(Conduit\w+)\]\(troubleshooting/mg],
    [sort @alerts],
        'each row of the monitoring page is of an alert that exists';
is_deeply [sort $troubleshooting =~ /^### (Conduit\w+)$/mg],
    [sort @alerts],
        'each section of the troubleshooting page is of an alert that exists';


# --- as it is installed: modules are made already, so nothing is built

my $dest = "$Conduit::TMP/installed";
my $docs = "$dest/usr/share/doc/conduit-nginx";

for my $case (['' => '/usr/share/doc/conduit-nginx'],
              ['RUNBOOKS=https://wiki.example.com/'
                   => 'https://wiki.example.com'])
{
    my ($variable, $base) = @$case;

    my $make = "make -o all BUILD=$Conduit::MODULES DESTDIR=$dest";

    my $said = `cd $Conduit::ROOT && $make $variable install 2>&1`;
    is $?, 0, "make install $variable" or diag $said;

    my @runbooks = read_file("$docs/contrib/prometheus/alerts.yml")
        =~ m{^\s+runbook_url: \Q$base\E/docs/troubleshooting\.md#}mg;
    is scalar @runbooks, scalar @alerts, "runbooks are of $base";

    $said = `cd $docs/contrib/prometheus && promtool test rules *_test.yml 2>&1`;
    is $?, 0, "tests of the rules pass with runbooks of $base" or diag $said;
}

$said = `$Conduit::ROOT/tools/check-docs --links $docs 2>&1`;
is $?, 0, 'links of the installed documentation' or diag $said;

ok -s "$docs/contrib/live/channels.html", 'the live view is installed';


# --- dashboard

my $dashboard = eval {
    JSON::PP->new->utf8->decode(read_file("$DIR/grafana/conduit.json"))
};
ok $dashboard, 'the dashboard is JSON' or diag $@;

# members that Grafana's schema wants, and their types

sub is_text { return defined $_[0] && !ref $_[0] && $_[0] ne '' }

sub is_whole { return defined $_[0] && !ref $_[0] && $_[0] =~ /\A\d+\z/ }

ok is_text($dashboard->{title}), 'title';
like $dashboard->{uid}, qr/\A[\w-]{1,40}\z/, 'uid';
cmp_ok $dashboard->{schemaVersion}, '>=', 36, 'schemaVersion';
ok !defined $dashboard->{id}, 'no id: Grafana gives it one';
is ref $dashboard->{$_}, 'ARRAY', "$_ is a list" for qw(panels tags links);
is ref $dashboard->{$_}{list}, 'ARRAY', "$_ have a list"
    for qw(templating annotations);
ok is_text($dashboard->{time}{$_}), "time has $_" for qw(from to);

my %variables = map { $_->{name} => $_ } @{ $dashboard->{templating}{list} };
is $variables{datasource}{type}, 'datasource', 'the data source is chosen';

my (%ids, %taken, @asked);

for my $panel (@{ $dashboard->{panels} }) {
    my $name = "panel $panel->{id} ($panel->{title})";
    my $grid = $panel->{gridPos};
    my $twice;

    ok is_whole($panel->{id}) && !$ids{$panel->{id}}++, "$name: an id";
    like $panel->{type}, qr/\A(?:row|stat|timeseries|heatmap)\z/,
        "$name: a type that Grafana brings with it";
    ok !(grep { !is_whole($grid->{$_}) } qw(x y w h)), "$name: a place";
    ok $grid->{w} > 0 && $grid->{h} > 0 && $grid->{x} + $grid->{w} <= 24,
        "$name: within 24 columns";

    for my $y ($grid->{y} .. $grid->{y} + $grid->{h} - 1) {
        $twice ||= $taken{"$_ $y"}++
            for $grid->{x} .. $grid->{x} + $grid->{w} - 1;
    }

    ok !$twice, "$name: on nobody else";

    if ($panel->{type} eq 'row') {
        is_deeply $panel->{panels}, [], "$name: it is open";
        next;
    }

    ok is_text($panel->{description}), "$name: a description";
    is $panel->{datasource}{uid}, '${datasource}', "$name: a data source";
    is ref $panel->{options}, 'HASH', "$name: options";
    is ref $panel->{fieldConfig}{defaults}, 'HASH', "$name: defaults";
    is ref $panel->{fieldConfig}{overrides}, 'ARRAY', "$name: overrides";
    ok @{ $panel->{targets} } > 0, "$name: it shows something";

    my %refs;

    for my $target (@{ $panel->{targets} }) {
        ok is_text($target->{refId}) && !$refs{$target->{refId}}++,
            "$name: a refId";
        ok is_text($target->{expr}), "$name: an expression";
        is $target->{datasource}{uid}, '${datasource}', "$name: its source";
        push @asked, $target->{expr};

        ok exists $variables{$_}, "$name: \$$_ is a variable"
            for grep { !/^__/ } $target->{expr} =~ /\$\{?(\w+)/g;
    }
}

# promtool reads expressions in rules

my $file = write_file("$Conduit::TMP/panels.yml", JSON::PP->new->canonical
    ->encode({ groups => [{ name => 'panels', rules => [map { {
        record => "panel:$_",
        expr => $asked[$_] =~ s/\$__rate_interval/5m/gr =~ s/\$instance/a/gr,
    } } 0 .. $#asked] }] }));

$said = `promtool check rules $file 2>&1`;
is $?, 0, 'Prometheus reads what panels ask for' or diag $said;

done_testing();
