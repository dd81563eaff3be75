# Copyright (C) Conduit for NGINX authors
#
# The contract with publishers and clients: each status, body, header, Redis key
# and event that they rely on.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Test::More;

my $nginx = nginx_start(server => publish_location() . gateway_location());

my $C = $CHANNEL;
my $E = 'stream:123:';


sub post {
    my %o = @_;

    my $token = exists $o{token} ? $o{token} : publish_token();

    return http($nginx, 'POST', $o{path} // "/publish/$ORG/$C",
                body => $o{body} // message(),
                headers => { defined $token
                                 ? (Authorization => "Bearer $token") : (),
                             %{ $o{headers} // {} } });
}


sub is_reply {
    my ($r, $status, $body, $name) = @_;

    is "$r->{status} $r->{body}", "$status $body", $name;
}


sub get {
    my ($path, %headers) = @_;

    return http($nginx, 'GET', $path, headers => \%headers);
}


# --- publish

my $body = message(payload => { value => 'hello' });
my $r = post(body => $body);

is $r->{status}, 200, 'a good message is accepted';
like $r->{body}, qr/\A\d+-\d+\z/, 'the answer is the ID of the entry';
is $r->{headers}{'content-type'}, 'text/plain', 'the answer is plain text';

is_deeply redis('XRANGE', "$E$C", '-', '+'), [[$r->{body}, ['data', $body]]],
    'the entry holds the message byte for byte in one field';

my $ttl = redis('PTTL', "$E$C");
ok $ttl > 115_000 && $ttl <= 120_000, 'a stream lives 120 s after a message';

$r = post(path => "/publish/$ORG/" . uc $C);
is $r->{status}, 200, 'a channel in upper case is taken';
is redis('XLEN', "$E$C"), 2, 'a channel in upper case is the same channel';

my @SPELLINGS = map { ($_, uc, "{$_}", '{' . uc . '}', "urn:uuid:$_",
                       "urn:uuid:" . uc, s/-//gr, uc s/-//gr) } $C;

for my $spelling (@SPELLINGS) {
    redis('DEL', "$E$C");
    $r = post(path => "/publish/$ORG/$spelling", body => $body);

    is $r->{status}, 200, "the channel $spelling in a path is taken";
    is redis('XLEN', "$E$C"), 1,
        "the channel $spelling in a path is the same channel";

    $r = post(body => $body = message(channel_id => $spelling,
                                      message_id => $spelling));

    is $r->{status}, 200, "the channel $spelling in a message is taken";
    is_deeply redis('XRANGE', "$E$C", '-', '+')->[1],
        [$r->{body}, ['data', $body]],
            "a message with the channel $spelling is stored as it was posted";
}

$r = post(path => "/publish/18446744073709551615/$C",
          token => publish_token(org_id => 18446744073709551615));
is $r->{status}, 200, 'the greatest organization is taken';
is redis('XLEN', "stream:18446744073709551615:$C"), 1,
    'the greatest organization has a stream';

is_reply post(token => undef), 401, 'Missing authorization header',
    'a request without a token';
is_reply post(token => undef, headers => { Authorization => 'Basic eA==' }),
    401, 'Invalid authorization format',
        'an Authorization header that is not Bearer';
is_reply post(token => publish_token(exp => time - 70)),
    401, 'Token expired', 'an expired token';
is post(token => publish_token(exp => time - 50))->{status}, 200,
    'an expired token within the leeway';

for my $case (['another issuer', iss => 'x'], ['another audience', aud => 'x'],
              ['no subject', sub => undef], ['a number as subject', sub => 1],
              ['no expiry', exp => undef], ['an expiry in text', exp => 'x'],
              ['another secret', -key => 'x'], ['no algorithm', -alg => 'none'],
              ['an audience list without ours', aud => ['x', 'y']])
{
    my ($name, @claims) = @$case;

    is_reply post(token => publish_token(@claims)), 401,
        'Token validation failed', "a token with $name";
}

is post(token => publish_token(aud => ['x', 'conduit']))->{status}, 200,
    'an audience list with ours';

$r = post(body => message(payload => { v => 'x' x 17000 }));
is $r->{status}, 413, 'a message over 16k is refused';
like $r->{body}, qr/\b170\d\d\b.*\b16384\b/,
    'the answer to a large message has its size and the limit';

is_reply post(body => "\x0a\xff"), 400, 'Invalid protobuf',
    'bytes that are no message are refused';
is_reply post(body => 'hello'), 400, 'Invalid protobuf', 'a text is refused';

for my $case (['/publish/x/' . $C, 'org_id'], ['/publish/-1/' . $C, 'org_id'],
              ['/publish/18446744073709551616/' . $C, 'org_id'],
              ["/publish/1/x", 'channel_id'],
              ["/publish/1/{" . $C =~ s/-//gr . '}', 'channel_id'],
              ["/publish/1/", 'channel_id'])
{
    $r = post(path => $case->[0]);
    is $r->{status}, 400, "$case->[0] is refused";
    like $r->{body}, qr/\b$case->[1]\b/, "the answer names $case->[1]";
}

for my $case (['another channel than the path', channel_id => uuid()],
              ['a channel that is no UUID', channel_id => 'x'],
              ['a message_id that is no UUID', message_id => 'x'],
              ['no message_id', message_id => undef],
              ['text that is not UTF-8', payload => { v => "\xff" }])
{
    my ($name, @fields) = @$case;

    is post(body => message(@fields))->{status}, 400, "a message with $name";
}

# sent at once, since they count that come within a second; a machine that is too
# slow for them has other tries

my @sent;

for (1 .. 20) {
    my $channel = uuid();
    my %request = (
        later => 1,
        body => message(channel_id => $channel),
        headers => { Authorization => 'Bearer ' . publish_token() });

    @sent = map { Conduit::SSE->open($nginx->port, 'POST',
                                     "/publish/7/$channel", %request) } 1 .. 21;
    $_->end for @sent;
    @sent = sort { $a->status <=> $b->status } @sent;

    last if $sent[-1]->status == 429;
}

is join(' ', map { $_->status } @sent), '200 ' x 20 . 429,
    'twenty messages a second are taken, one more is not';
is $sent[-1]->headers->{'retry-after'}, 1, 'a 429 tells when to try again';
like $sent[-1]->body, qr/\b20\b/, 'a 429 tells the limit';

my $end = uuid();
post(path => "/publish/7/$end",
     body => message(channel_id => $end, phase => 'END'));
$ttl = redis('PTTL', "stream:7:$end");
ok $ttl > 115_000 && $ttl <= 120_000, 'a stream lives 120 s after END';


# --- events: refusals

my $path = "/events/$ORG";
my $good = gateway_token();

for my $case (["/events/x?token=$good&channel_id=$C", 'org_id'],
              ["/events/?token=$good&channel_id=$C", 'org_id'],
              ["$path?token=$good", 'channel_id'],
              ["$path?token=$good&channel_id=", 'channel_id'],
              ["$path?token=$good&channel_id=x", 'channel_id'],
              ["$path?token=$good&channel_id=$C&channel_id=$C", 'channel_id'],
              ["$path?channel_id=$C", 'token'],
              ["$path?channel_id=$C&token=", 'token'],
              ["$path?channel_id=$C&token=a&token=b", 'token'],
              ["$path?channel_id=x&token=x", 'channel_id'])
{
    $r = get($case->[0]);
    is $r->{status}, 400, "$case->[0] is refused" =~ s/token=ey[^&]+/token=T/r;
    like $r->{body}, qr/\b$case->[1]\b/, "the answer names $case->[1]";
    is $r->{headers}{'access-control-allow-origin'}, '*',
        'a page of another origin may read it';
}

for my $id ('$', '+', '-', '1-', '-1', '1-2-3', '99999999999999999999-0', 'x',
            "\xe2\x82\xac")
{
    is sse_open($nginx, headers => { 'Last-Event-ID' => $id })->status, 200,
        "Last-Event-ID: $id is no position, and no reason to refuse";
}

sub claims {
    return get("$path?channel_id=$C&token=" . gateway_token(@_));
}

is_reply claims(exp => time - 70), 401, 'Token expired',
    'a client with an expired token is refused';
is claims(exp => time - 70)->{headers}{'www-authenticate'},
    'Bearer error="invalid_token"', 'a 401 for a client has a challenge';
is_reply claims(org_id => 7), 403, 'Invalid token claims',
    'a client with a token of another organization is refused';
is_reply claims(channel_id => uuid()), 403, 'Invalid token claims',
    'a client with a token of another channel is refused';

sub claims_opened {
    return sse_open($nginx, path => "$path?channel_id=$C&token="
                                    . gateway_token(@_))->status;
}

for my $case (['another issuer', iss => 'x'], ['another audience', aud => 'x'],
              ['no expiry', exp => undef], ['no org', org_id => undef],
              ['an org in text', org_id => '123'],
              ['no channel', channel_id => undef],
              ['a channel that is no UUID', channel_id => 'x'])
{
    my ($name, @claims) = @$case;

    is_reply claims(@claims), 401, 'Invalid token', "a token with $name";
}

is_reply get("$path?channel_id=$C&token=x.y.z"), 401, 'Invalid token',
    'a token that is no JWT is refused';
is_reply get("$path?channel_id=$C&token=" . publish_token(
                 org_id => 123, channel_id => $C,
                 -key => read_file("$Conduit::TMP/key.pub"))),
    401, 'Invalid token', 'the public key as an HS256 secret is refused';


for my $spelling (@SPELLINGS) {
    my $escaped = $spelling =~ s/([{}])/sprintf '%%%02X', ord $1/ger;

    for my $asked ($spelling, $escaped) {
        my $sse = sse_open($nginx, path => "$path?channel_id=$asked&token="
                                           . gateway_token());

        is $sse->status, 200, "the channel $asked in a query is taken";
        is $sse->event->{json}{channel_id}, $C,
            "the channel $asked is written in one way in the event";
    }

    is claims_opened(channel_id => $spelling), 200,
        "the channel $spelling in a claim is taken";
}

my $HIGH = '18446744073709551615';

is sse_open($nginx, path => "/events/$HIGH?channel_id=$C&token="
                            . gateway_token(org_id => 0 + $HIGH))->status,
    200, 'the greatest organization is taken';
is get("$path?channel_id=$C&token=" . gateway_token(org_id => 0 + $HIGH))
       ->{status},
    403, 'the greatest organization is not taken for another';


# --- events: the stream

my $s = uuid();

sub add { return xadd(channel_id => $s, @_) }

my $m = uuid();
my $id = add(phase => 'START', sequence => 0, message_id => uc $m);

redis('XADD', "$E$s", '*', 'data', 'junk');
redis('XADD', "$E$s", '*', 'other', 'field');
add(message_id => 'x');

my $sse = sse_open($nginx, channel_id => $s);

is $sse->status, 200, 'a good request is answered with 200';
is $sse->headers->{'content-type'}, 'text/event-stream',
    'the response is an event stream';
is $sse->headers->{'cache-control'}, 'no-cache, no-transform',
    'the response is neither cached nor compressed on the way';
is $sse->headers->{'access-control-allow-origin'}, '*',
    'the response may be read by any origin';

my $event = $sse->event;

is $sse->body, "retry: 500\n\nevent: stream\nid: $id\n"
    . qq(data: {"event_type":"stream","message_id":"$m","channel_id":"$s",)
    . qq("phase":"PHASE_START","sequence":0,"payload":null}\n\n),
    'the first bytes are those of the contract';

my @live = map { add(sequence => $_, payload => { value => "t$_" }) } 1 .. 3;

is_deeply [map { $_->{id} } $sse->events(3)], \@live,
    'junk is skipped, later entries arrive live and in order';

add(phase => 'ERROR', sequence => 4);
add(phase => 9, sequence => 5, payload => {});
my $last = add(phase => 'END', sequence => 6);

my @rest = $sse->events(3);

is_deeply [map { $_->{json}{phase} } @rest],
    [qw(PHASE_ERROR PHASE_UNSPECIFIED PHASE_END)],
    'ERROR does not end the stream, an unknown phase is unspecified';
is_deeply $rest[1]{json}{payload}, {}, 'an empty payload is {}';
ok $sse->end, 'after END the response ends cleanly';

my $resumed = sse_open($nginx, channel_id => $s,
                       headers => { 'Last-Event-ID' => $live[1] });

is_deeply [map { $_->{json}{sequence} } $resumed->events(4)], [3, 4, 5, 6],
    'Last-Event-ID resumes strictly after it';

$resumed = sse_open($nginx, channel_id => $s, last_event_id => $live[2],
                    headers => { 'Last-Event-ID' => $live[0] });

is $resumed->event->{id}, $live[1], 'the header wins over the argument';

$resumed = sse_open($nginx, channel_id => $s, last_event_id => $live[2]);

is $resumed->event->{json}{phase}, 'PHASE_ERROR',
    'the argument last_event_id resumes';

$resumed = sse_open($nginx, path => events_path(channel_id => $s)
                                    . "&lastEventId=$live[2]");

is $resumed->event->{json}{phase}, 'PHASE_ERROR',
    'the argument lastEventId of event-source-polyfill resumes';

# what follows an END: the next turn of a run, in the same channel
my $stays = sse_open($nginx, channel_id => $s,
                     headers => { 'Last-Event-ID' => $last });
is $stays->status, 200, 'a client that has seen END waits for what may follow';

my $next = add(phase => 'START', sequence => 7);
is $stays->event->{id}, $next,
    'a client that has seen END gets what follows it';
is $stays->body, "retry: 500\n\nevent: stream\nid: $next\n"
    . 'data: ' . $stays->{events}[0]{data} . "\n\n",
        'a client that has seen END gets the first line, and no event twice';
$stays->close;

# what protobuf says of fields given twice and of groups, by both modules: the
# message, with a payload of these bytes, is stored and sent

sub in { return Conduit::pb_bytes(@_) }
sub item { return in(1, in(1, $_[0]) . in(2, $_[1])) }

my $yes = Conduit::pb_varint(4, 1);
my $no = Conduit::pb_varint(4, 0);
my $group = "\x7b\x83\x01\x0a\x01\xff\x84\x01\x7c";

for my $case (
    ['objects are merged', item('k', in(5, item('a', $yes) . item('b', $yes))
                                     . in(5, item('b', $no) . item('c', ''))),
     '{"k":{"a":true,"b":false,"c":null}}'],
    ['lists are merged', item('k', in(6, in(1, $yes)) . in(6, in(1, $no))),
     '{"k":[true,false]}'],
    ['another kind drops what was before',
     item('k', in(6, in(1, $yes)) . $no . in(6, in(1, $no))),
     '{"k":[false]}'],
    ['values of an entry are merged',
     in(1, in(2, in(6, in(1, $yes))) . in(1, 'k') . in(2, in(6, in(1, $no)))),
     '{"k":[true,false]}'],
    ['of a key given twice the last value is taken, not merged',
     item('k', in(5, item('a', $yes))) . item('k', in(5, item('b', $yes))),
     '{"k":{"b":true}}'],
    ['groups are skipped wherever they are',
     $group . in(1, $group . in(1, 'k') . $group . in(2, $group
         . in(6, $group . in(1, $group . $yes) . $group) . $group) . $group),
     '{"k":[true]}'])
{
    my ($name, $payload, $json) = @$case;
    my $channel = uuid();

    $r = post(path => "/publish/$ORG/$channel",
              body => $group . message(channel_id => $channel)
                      . in(6, $payload) . $group);

    is $r->{status}, 200, "$name: taken";
    like sse_open($nginx, channel_id => $channel)->event->{data},
        qr/"payload":\Q$json\E\}\z/, "$name: sent";
}

is_reply post(body => message() . "\x7b"), 400, 'Invalid protobuf',
    'a group without an end';

my $waiting = uuid();
$sse = sse_open($nginx, channel_id => $waiting);
add(channel_id => $waiting, phase => 'END');
is $sse->event->{json}{phase}, 'PHASE_END',
    'a stream that does not exist yet is waited for';

is_deeply [grep { /\[error\]/ } map { s/^\S+ \S+ //r }
           split /^/, $nginx->error_log],
    [grep { /\[error\].*conduit: redis \S+ entry \d+-\d+ of "$E$s" is skipped/ }
     map { s/^\S+ \S+ //r } split /^/, $nginx->error_log],
    'nothing but the junk is an error';

my $tokens = join '|', map { quotemeta((split /\./)[2]) } $good;
unlike join('', grep { !/\[debug\]/ } split /^/, $nginx->error_log),
    qr/$tokens/, 'no token is in the error log';
unlike $nginx->access_log, qr/$tokens/, 'no token is in the access log';

done_testing();
