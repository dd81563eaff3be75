# Copyright (C) Conduit for NGINX authors
#
# conduit_gateway_format: what is sent of an entry in each format, where a
# client resumes, how a stream ends, and which entries are skipped.  The
# encoders have their own tables in t/unit/test_format.c.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Metrics;
use Test::More;

my $REDIS = "redis://127.0.0.1:$Conduit::REDIS_PORT";

sub location {
    my ($path, @directives) = @_;

    return "location /$path/ { conduit_gateway $REDIS;"
           . 'conduit_gateway_auth off; conduit_gateway_key "f:$arg_run";'
           . 'conduit_gateway_drain 300ms;'
           . join('', map { "conduit_gateway_$_;" } @directives) . "}\n";
}

my $nginx = nginx_start(log_level => 'info', server => pages()
    . join '', map { location(@$_) }
      ['conduit'], (map { [$_, "format $_"] } qw(payload json text)),
      (map { ["stop-$_", "format $_", 'after_end stop',
              'resume_only $arg_resume'] }
       qw(payload json text)),
      ['token', 'format text', 'field token'],
      ['last', 'format text', 'end_field last'],
      ['endless', 'format text', 'end_field off'],
      ['small', 'format json', 'max_size 10'],
      ['short', 'format text', 'max_size 10'],
      ['brief', 'format payload', 'max_size 100'],
      ['alive', 'format text', 'keepalive 100ms'],
      ['tiny', 'format text', 'window 1', 'read_count 1', 'buffer_size 1']);

my $runs = 0;

# the argument of a new stream, and its key
sub run {
    my $run = 'run-' . ++$runs;

    return ($run, "f:$run");
}

sub listen_to {
    my ($path, $run, $id) = @_;

    return sse_open($nginx, path => "/$path/x?run=$run",
                    headers => defined $id ? { 'Last-Event-ID' => $id } : {});
}

sub add { return redis('XADD', @_) }

# all that a stream which has ended sends, without the first line
sub sent {
    my ($path, $run, $id) = @_;

    my $sse = listen_to($path, $run, $id);

    $sse->end or die "no end of $path";
    return $sse->body =~ s/\Aretry: 500\n\n//r;
}

sub status {
    my $sse = listen_to(@_);

    $sse->end;
    return $sse->status;
}


# --- each format, from the start, and after each event

my %MESSAGE = (
    START => message(phase => 'START'),
    first => message(payload => { type => 'text-delta', delta => "a\nb" }),
    second => message(payload => {}),
    END => message(phase => 'END', payload => { not => 'sent' }),
);

my %STREAM = (
    payload => [
        [[data => $MESSAGE{START}], ''],
        [[data => $MESSAGE{first}], 'id: 2-0', <<'E'],
data: {"delta":"a\nb","type":"text-delta"}
E
        [[data => $MESSAGE{second}], 'id: 3-0', "data: {}\n"],
        [[data => $MESSAGE{END}], 'id: 4-0', "data: [DONE]\n"],
    ],
    json => [
        [[data => qq({ "a" :\r\n [1.0, "x\\n"] }\n)], 'id: 1-0',
         qq(data: {"a":[1.0,"x\\n"]}\n)],
        [[other => 1, data => 'null', data => '2'], 'id: 2-0',
         "data: null\n"],
        [[data => '"last"', end => ''], 'id: 3-0', qq(data: "last"\n)],
    ],
    text => [
        [[data => "hello\n\nworld\r\n"], 'id: 1-0',
         "data: hello\ndata: \ndata: world\ndata: \n"],
        [[data => ''], 'id: 2-0', "data: \n"],
        [[data => "a\rb\0c\xff"], 'id: 3-0',
         "data: a\ndata: b\0c\xef\xbf\xbd\n"],
        [[end => 1], 'id: 4-0', ''],
    ],
);

for my $format (sort keys %STREAM) {
    my ($run, $key) = run();
    my @entries = @{ $STREAM{$format} };
    my $waits = listen_to($format, $run);
    my @events;

    is $waits->headers->{'content-type'}, 'text/event-stream',
        "$format: the type of the response";

    for my $i (0 .. $#entries) {
        my ($fields, $id, $data) = @{ $entries[$i] };

        add($key, ($i + 1) . '-0', @$fields);
        push @events, $id ? "$id\n$data\n" : '';
    }

    ok $waits->end, "$format: the response ends";
    is $waits->body, join('', "retry: 500\n\n", @events),
        "$format: events as they come";

    for my $i (0 .. $#entries) {
        is sent($format, $run, $i ? "$i-0" : undef),
            join('', @events[$i .. $#events]), "$format: after $i";
    }

    my $last = scalar(@entries) . '-0';

    is status("stop-$format", $run, $last), 204,
        "$format: nothing follows the end";
    is status("stop-$format", $run, '1-0'), 200,
        "$format: something is before it";
    is status("stop-$format", "$run&resume=1"), 204,
        "$format: there is nothing to resume";
    is sent("stop-$format", $run), join('', @events),
        "$format: who does not ask for that gets all of it";

    # the next turn, in the same stream

    my $after = listen_to($format, $run, $last);

    add($key, (@entries + 1) . '-0', @{ $entries[1][0] });
    is $after->event->{id}, (@entries + 1) . '-0',
        "$format: who had the end waits for what follows";
    $after->close;
}


# --- one key, several formats and fields: nobody gets the frames of another

my ($run, $key) = run();
my %both = map { $_ => listen_to($_, $run) }
           qw(conduit payload json text token last);

my $message = message(payload => { n => 1 });

add($key, '1-0', data => $message, token => 'T');
add($key, '2-0', data => '[ 2 ]', token => 'U');
add($key, '3-0', data => message(phase => 'END'), token => 'V', end => 1,
    last => 1);

ok $both{$_}->end, "$_: ends" for sort keys %both;

is_deeply [map { $_->{event} . $_->{id} } $both{conduit}->events(9, 1)],
    ['stream1-0', 'stream3-0'], 'conduit: messages';
is_deeply [map { $_->{id} . $_->{data} } $both{payload}->events(9, 1)],
    ['1-0{"n":1}', '3-0[DONE]'], 'payload: payloads';
is_deeply [map { $_->{id} . $_->{data} } $both{json}->events(9, 1)],
    ['2-0[2]'], 'json: the field of JSON';
is_deeply [map { $_->{data} } $both{token}->events(9, 1)], [qw(T U V)],
    'another field';
is_deeply [map { $_->{id} } $both{text}->events(9, 1)], [qw(1-0 2-0 3-0)],
    'text: any bytes';
is_deeply [map { $_->{id} } $both{last}->events(9, 1)], [qw(1-0 2-0 3-0)],
    'another field ends the stream';
is $both{json}->body =~ /^id: 3-0\n\n\z/m, 1,
    'json: a last entry whose value is no JSON is an id alone';

# with "off", nothing ends a stream

my $endless = listen_to('endless', $run, '2-0');

is $endless->event->{id}, '3-0', 'off: the entry is one like any other';
add($key, '4-0', data => 'more');
is $endless->event->{data}, 'more', 'off: the response goes on';
$endless->close;


# --- what is skipped is counted, and told of once a stream

sub skips { return metrics($nginx, 'gateway')->{skipped_total} }

sub told {
    my $id = shift;

    return scalar grep { /entry \Q$id\E of / }
                  split /\n/, $nginx->error_log;
}

sub skips_of {
    my ($path, $reason, @values) = @_;

    my ($run, $key) = run();
    my $before = skips();
    my $sse = listen_to($path, $run);
    my $n = @values;

    add($key, 1000 * $runs + $_ . '-0', @{ $values[$_ - 1] }) for 1 .. $n - 1;
    my $last = add($key, 1000 * $runs + $n . '-0', @{ $values[-1] });

    is $sse->event->{id}, $last, "$path: the entry after them arrives";
    # what is asked for twice is counted twice

    cmp_ok skips() - $before, '>=', $n - 1, "$path: each is counted";

    my @lines = grep { /is skipped/ && /entry @{[1000 * $runs + 1]}-0 / }
                split /\n/, $nginx->error_log;

    is scalar @lines, 1, "$path: the first is told of";
    like $lines[0] // '', qr/of "f:\$arg_run" is skipped: $reason$/,
        "$path: by the pattern of the key, with a reason";
    is told(1000 * $runs + 2 . '-0'), 0, "$path: the second is not";
    unlike $nginx->error_log, qr/$run\b.* is skipped/, "$path: no key";
    $sse->close;
}

my $no_data = 'no field "data"';
my $too_large = 'larger than "conduit_gateway_max_size"';

skips_of('json', 'not JSON', [data => 'x'], [data => '{"a":1'], [data => '1']);
skips_of('json', $no_data, [x => '1'], [data => ''], [data => '1']);
skips_of('text', $no_data, [x => '1'], [Data => 'a'], [data => 'a']);
skips_of('token', 'no field "token"', [data => '1'], [data => '1'],
         [token => 'a']);
skips_of('payload', $no_data, [x => '1'], [data => 'x'], [data => $message]);
skips_of('payload', 'not a PublishRequest', [data => 'x'], [data => 'x'],
         [data => $message]);
skips_of('small', $too_large, [data => '"' . 'x' x 9 . '"'],
         [data => '1' . ' ' x 10], [data => '"' . 'x' x 8 . '"']);
skips_of('short', $too_large, [data => 'x' x 11], [data => 'x' x 1000],
         [data => 'x' x 10]);
skips_of('brief', $too_large, [data => message(payload => { a => 'x' x 200 })],
         [data => message(payload => { a => 'x' x 200 })],
         [data => $message]);

# by default, a value has a megabyte

skips_of('text', $too_large, [data => 'x' x (1024 * 1024 + 1)],
         [data => 'x' x (1024 * 1024 + 1)], [data => 'x' x (1024 * 1024)]);


# --- what all formats have

for my $format (qw(payload json text)) {
    my ($run, $key) = run();
    my @fields = (data => $format eq 'payload' ? $message : '1');

    add($key, "$_-0", @fields) for 1 .. 4;

    my $sse = listen_to($format, $run, '1-0');
    $sse->events(3);
    $sse->close;

    redis('XTRIM', $key, 'MAXLEN', 1);
    $sse = listen_to($format, $run, '1-0');

    my ($lost, $event) = $sse->events(2);

    is "$lost->{event} $lost->{id} $lost->{json}{control_type}"
       . " $lost->{json}{reason}", 'control 1-0 history_lost trimmed',
        "$format: history_lost";
    is "$event->{event} $event->{id}", 'message 4-0',
        "$format: the oldest that is left";
    $sse->close;
}

my $alive = listen_to('alive', (run())[0]);
ok $alive->comment, 'keepalives';
$alive->close;

($run, $key) = run();
my @values = map { join "\n", map { 'x' x rand 50 } 0 .. rand 20 } 1 .. 300;

redis('XADD', $key, '*', data => $_) for @values;

is_deeply [map { $_->{data} } listen_to($_, $run)->events(300)], \@values,
    "$_: values of many lines arrive as they are" for qw(text tiny);


# --- a worker that quits: clients go on where they were, at the next one

my %drained;

for my $format (qw(payload json text)) {
    my ($run, $key) = run();
    my @fields = (data => $format eq 'payload' ? $message : '1');

    add($key, '1-0', @fields);

    my $sse = listen_to($format, $run);
    is $sse->event->{id}, '1-0', "$format: before the drain";
    $drained{$format} = [$sse, $run, $key, \@fields];
}

my ($old) = $nginx->workers;
$nginx->reload;

for my $format (sort keys %drained) {
    my ($sse, $run, $key, $fields) = @{ $drained{$format} };

    ok $sse->end, "$format: the response ends";
    like $sse->body, qr/\n\nretry: \d+\n\n\z/, "$format: it says when to return";

    add($key, '2-0', @$fields);
    $sse = listen_to($format, $run, '1-0');
    is $sse->event->{id}, '2-0', "$format: after the drain";
    $sse->close;
}

done_testing();
