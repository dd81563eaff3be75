# Copyright (C) Conduit for NGINX authors
#
# Replies that nobody asked for, and data that is no reply: a server, or a proxy
# in between, that is out of step costs a connection, and nothing else.

use strict;
use warnings;

use lib 't/lib', 't/faults';

use Conduit;
use Faults;
use Test::More;
use Time::HiRes qw(sleep time);

my $INVALIDATE = '__redis__:invalidate';
my $PROTOCOL = 'Protocol error, got .* as reply type byte';

# hiredis before 1.0 knows no RESP3, and says so
my $UNEXPECTED = "an unexpected reply|$PROTOCOL";

my $way = Unasked->start($REDIS);


sub bulk { map { '$' . length($_) . "\r\n$_\r\n" } @_ }

sub array { '*' . @_ . "\r\n" . join '', @_ }

# an entry of a stream

sub entry {
    my ($id, %fields) = @_;

    return array(bulk($id), array(bulk(%fields)));
}

# Workers that have all their connections, of which none has anything under way,
# and a client that has had a message.

sub begin {
    my %o = @_;

    start(redis => $way->url, %o);

    my $client = client();
    goes_on(1, $client);

    return $client;
}

sub is_lost {
    my ($role, $why, $name) = @_;

    my $line = qr/\[error\].* $role: connection lost \((?:$why)\), next try in/;

    ok(wait_for(20, sub { lines($line) || died() }), "$role: $name");
}

sub all_goes_on {
    my ($sequence, $client, @roles) = @_;

    for my $role (@roles) {
        ok(wait_for(20, sub { lines(qr/ $role: connected again/) || died() }),
           "$role: it is back");
    }

    ok(!died(), 'the worker lives') or return;
    goes_on($sequence, $client);
}

sub died { join(' ', $nginx->workers) ne $worker }


subtest 'TEST 1: a reply while nothing is asked for' => sub {
    my %replies = (
        'a status' => "+OK\r\n",
        'a number' => ":1\r\n",
        'a string' => bulk('hello'),
        'an empty string' => bulk(''),
        'nil' => "\$-1\r\n",
        'a nil array' => "*-1\r\n",
        'an empty array' => "*0\r\n",
        'an array of one' => array(":1\r\n"),
        'an array of two' => array(bulk('message', $INVALIDATE)),
        'an array of four' => array(bulk(qw(message a b c))),
        'an array in an array' => array(array(":1\r\n")),
        'the start of an array' => "*3\r\n\$7\r\nmess",
        'two replies' => "+OK\r\n:1\r\n",
        'a map' => "%1\r\n+a\r\n:1\r\n",
        'a push' => array(bulk('message', $INVALIDATE, 'x')) =~ s/^\*/>/r,
        'a push of another kind' => array(bulk('invalidate', 'x')) =~ s/^\*/>/r,
        'a number with a point' => ",1.5\r\n",
        'a truth' => "#t\r\n",
    );

    for my $name (sort keys %replies) {
        my $client = begin();

        $way->tell('send', 'all', unpack 'H*', $replies{$name});
        is_lost($_, $UNEXPECTED, $name) for qw(publish reader bell);
        all_goes_on(2, $client, qw(publish reader bell));
        stop();
    }
};


subtest 'TEST 2: a message that is none of the channel' => sub {
    my $key = array(bulk(stream_key()));

    my %messages = (
        'a number in front' => array(":1\r\n", bulk($INVALIDATE), $key),
        'nil in front' => array("\$-1\r\n", bulk($INVALIDATE), $key),
        'a nil array in front' => array("*-1\r\n", bulk($INVALIDATE), $key),
        'an array in front' => array(array(), bulk($INVALIDATE), $key),
        'a status in front' => array("+message\r\n", bulk($INVALIDATE), $key),
        'an error in front' => array("-message\r\n", bulk($INVALIDATE), $key),
        'another word in front' => array(bulk('massage', $INVALIDATE), $key),
        'a word in front that is later in the alphabet' =>
            array(bulk('messagf', $INVALIDATE), $key),
        'an empty word in front' => array(bulk('', $INVALIDATE), $key),
        'a longer word in front' => array(bulk("message\0", $INVALIDATE), $key),
        'no channel' => array(bulk('message'), "\$-1\r\n", $key),
        'no channel to subscribe to' => array(bulk('subscribe'), "\$-1\r\n",
                                              ":1\r\n"),
        'another channel' => array(bulk('message', 'other'), $key),
        'another channel to subscribe to' => array(bulk('subscribe', 'other'),
                                                   ":1\r\n"),
        'a channel that is later in the alphabet' =>
            array(bulk('message', $INVALIDATE =~ s/e\z/f/r), $key),
        'a channel that is earlier in the alphabet' =>
            array(bulk('message', $INVALIDATE =~ s/e\z/d/r), $key),
        'a number as channel' => array(bulk('message'), ":1\r\n", $key),
        'a pattern' => array(bulk('pmessage', $INVALIDATE, 'a')),
        'a pattern, four parts' =>
            array(bulk('pmessage', '*', $INVALIDATE, 'a')),
        'an end without its number' =>
            array(bulk('unsubscribe', $INVALIDATE, 'x')),
        'the end of another channel' =>
            array(bulk('unsubscribe', 'other'), ":1\r\n"),
        'the end of the channel' =>
            array(bulk('unsubscribe', $INVALIDATE), ":0\r\n"),
        'the end of none' => array(bulk('unsubscribe'), "\$-1\r\n", ":0\r\n"),
        'a pong' => array(bulk('pong', '')),
    );

    for my $name (sort keys %messages) {
        my $client = begin();

        $way->tell('send', 'bell', unpack 'H*', $messages{$name});
        is_lost('bell', 'an unexpected reply', $name);
        all_goes_on(2, $client, 'bell');
        errors_are(lost('bell', 'an unexpected reply'));
        stop();
    }
};


subtest 'TEST 3: messages of the channel, whatever they carry' => sub {
    my $client = begin();

    for my $what ("\$-1\r\n", "*-1\r\n", "*0\r\n", ":1\r\n", bulk(''),
                  array("\$-1\r\n", ":1\r\n", array(bulk('x')), bulk('x')),
                  array((array(bulk('x'))) x 3))
    {
        $way->tell('send', 'bell', unpack 'H*',
                   array(bulk('message', $INVALIDATE), $what));
        $way->tell('send', 'bell', unpack 'H*',
                   array(bulk('subscribe', $INVALIDATE), $what));
    }

    # byte by byte
    my $ring = array(bulk('message', $INVALIDATE), array(bulk(stream_key())));
    $way->tell('send', 'bell', unpack 'H*', $_) for split //, $ring;

    all_goes_on(2, $client);
    errors_are();
    stop();
};


# --- replies that come with others

subtest 'TEST 4: more than was asked for, in every state of a connection'
    => sub
{
    my $other = array(bulk('message', 'other', 'x'));
    my $ended = array(bulk('unsubscribe', $INVALIDATE, 'x'));

    for my $state (
        ['before the log-in', greet => "+OK\r\n"],
        ['before the log-in, a push', greet => $other],
        ['before the log-in, a message', greet => array(":1\r\n")],
        ['at AUTH', after => 'AUTH', "+OK\r\n"],
        ['at AUTH, many', after => 'AUTH', "+OK\r\n" x 20],
        ['at PING', after => 'PING', "+PONG\r\n"],
        ['at PING, an array', after => 'PING', array(":1\r\n")],
        ['at CLIENT ID', after => "\r\nID\r\n", ":7\r\n"],
        ['at CLIENT ID, a message', after => "\r\nID\r\n", $other],
        ['at CLIENT ID, an end', after => "\r\nID\r\n", $ended],
        ['at SUBSCRIBE', after => 'SUBSCRIBE', $other],
        ['at SUBSCRIBE, an empty array', after => 'SUBSCRIBE', array()],
        ['at CLIENT TRACKING', after => 'TRACKING', "+OK\r\n"],
        ['at a question', after => 'EVALSHA_RO', array(array())],
        ['at a message', after => "\r\nEVALSHA\r\n", bulk('1-1')],
        ['at a message, nil', after => "\r\nEVALSHA\r\n", "*-1\r\n"],
    ) {
        my ($name, @mode) = @$state;

        # with a log-in

        redis('ACL', 'SETUSER', 'one', 'reset', 'on', '>x', '~*', '&*',
              '+@all');
        $way->tell(@mode[0 .. $#mode - 1], unpack 'H*', $mode[-1]);
        start(redis => $way->url =~ s{//}{//one:x@}r);

        my $client = client();
        is($client->status, 200, "$name: a client gets 200");
        my @statuses = map { post(sequence => 1)->{status} } 1 .. 3;
        is(scalar(grep { /^(?:200|500|503)$/ } @statuses), 3,
           'publishers get an answer');

        my $line = qr/ (?:publish|reader|bell): con.*unexpected reply/;
        ok(wait_for(20, sub { lines($line) || died() }),
           'connections are given up');

        $way->tell('pass');

        # on a slow machine a connection may have had the next command under way
        # when a reply too many came: each command then gets the reply to the
        # one before, of which not all can be told from its own

        eval { redis('CLIENT', 'KILL', 'TYPE', $_, 'SKIPME', 'yes') }
            for 'pubsub', 'normal';

        $client = client(channel_id => my $channel = uuid());

        ok(wait_for(20, sub {
            post(channel_id => $channel, sequence => 2)->{status} == 200 }),
           "$name: messages are taken again");
        is(line_of($client->event(20) // ()), 2, "$name: messages arrive");
        ok(!died(), 'the worker lives');
        $nginx->stop;
    }

    redis('ACL', 'DELUSER', 'one');
};


subtest 'TEST 5: an error while nothing is asked for' => sub {
    my $client = begin();
    my $error = 'ERR max number of clients reached';

    $way->tell('send', 'all', unpack 'H*', "-$error\r\n");
    is_lost($_, $error, 'its text is the reason') for qw(publish reader bell);
    all_goes_on(2, $client, qw(publish reader bell));
    stop();
};


# --- whatever comes

subtest 'TEST 6: replies made up at random' => sub {
    my $seed = draw_by_seed();

    # several workers, as each waits longer and longer before it tries again

    start(redis => $way->url, workers => 4,
          events => 'conduit_gateway_keepalive 100ms;');
    my @before = $nginx->workers;
    my @clients = map { client(channel_id => uuid()) } 1 .. 8;
    $way->tell('fuzz', int $seed);

    # a slow machine has more time for fewer of them

    my $deadline = time + 20;
    my $lost = 0;

    while ($lost < 400 && (time < $deadline
                           || $lost <= 20 && time < $deadline + 60))
    {
        post(sequence => 1);
        xadd(sequence => 1);
        client(last_event_id => '1-1')->close;
        sleep 0.01;
        $lost = lines(qr/connection lost|connect failed/);
    }

    note "$lost connections were lost";
    cmp_ok($lost, '>', 20, 'connections are lost');
    $way->tell('pass');

    my $channel = uuid();
    ok(wait_for(20, sub {
        post(channel_id => $channel, sequence => 2)->{status} == 200 }),
       'messages are taken again');

    # by whatever workers; one may have to wait for its next try

    my $arrived = 0;
    wait_for(20, sub {
        $arrived += line_of(client(channel_id => $channel)->event(3) // ())
                    eq 2;
        return $arrived >= 8;
    });
    is($arrived, 8, 'messages arrive');
    is(join(' ', sort $nginx->workers), join(' ', sort @before),
       'the workers live');
    $nginx->stop;
};


# --- of no stream

subtest 'TEST 7: an answer that can be of no stream is refused' => sub {
    my $entry = sub { entry($_[0], data => 'x') };
    my $xinfo = array(bulk('length'), ":1\r\n",
                      bulk('last-generated-id', '9-1', 'first-entry'),
                      $entry->('9-1'), bulk('last-entry'), "\$-1\r\n");

    # rights that are missing: what a question is asked by; the answer

    my @answers = (
        ['an entry without an ID of its own', '',
         EVALSHA_RO => array(":1\r\n", '{key}', ":1\r\n",
                             bulk('1-1', '0-0'), ":-1\r\n", bulk(''), array($entry->('0-0')),
                             array())],
        ['a stream that has a first entry and no last one', '-@scripting',
         XREAD => "*-1\r\n", XINFO => $xinfo],
        ['a last ID that is none', '-@scripting',
         XREAD => "*-1\r\n",
         XINFO => array(bulk('length'), ":0\r\n",
                        bulk('last-generated-id', '9-x'))],
        ['IDs that do not grow', '-@scripting -xinfo',
         XREAD => array(array('{key}', array($entry->('9-2'),
                                             $entry->('9-1'))))],
    );

    for my $case (@answers) {
        my ($name, $rights, @replies) = @$case;
        my $channel = uuid();

        redis('ACL', 'SETUSER', 'one', 'reset', 'on', '>x', '~*', '&*',
              '+@all', split ' ', $rights);
        start(redis => $way->url =~ s{//}{//one:x@}r);
        $way->tell('reply', map { unpack 'H*', $_ } @replies);

        my $client = client(channel_id => $channel, last_event_id => '5-1');

        # a server's errors are told every ten seconds at most, and once for a
        # channel; the first one may be that XINFO is refused

        my $other = client(channel_id => uuid(), last_event_id => '5-1');

        ok(wait_for(30, sub {
            lines(qr/reading "\S+" failed: unexpected reply/) || died() }),
           "$name: the log says so");
        ok(!died(), 'the worker lives');

        $way->tell('pass');
        my $id = xadd(channel_id => $channel, sequence => 1);

        my $event;

        do { $event = $client->event(20) } until !$event || $event->{id} eq $id;
        ok($event, 'its client goes on');
        ok(!died(), 'the worker lives');
        $nginx->stop;
    }

    redis('ACL', 'DELUSER', 'one');
};


# --- of another stream

subtest 'TEST 8: an answer about another key costs the connection, and no '
        . 'client gets it' => sub
{
    my $entries = array(entry('9-1', data => message(sequence => 9)));
    my $xread = array(array('{other}', $entries));
    my $full = redis_version() >= 7_000_000 ? 'EVALSHA_RO' : 'EVALSHA';

    # rights that are missing: what a question is asked by; the answer

    my @answers = (
        ['an answer of XREAD', '', XREAD => $xread],
        ['an answer of the script', '',
         $full => array(":1\r\n", '{other}', ":1\r\n", bulk('9-1', '9-1'),
                        ":1\r\n", bulk('0-0'), $entries, array())],
        ['an answer of the script without a stream', '',
         $full => array(":0\r\n", '{other}')],
        ['an answer of XREAD and XINFO', '-@scripting', XREAD => $xread],
        ['an answer of XREAD without XINFO', '-@scripting -xinfo', XREAD => $xread],
    );

    for my $case (@answers) {
        my ($name, $rights, $word, $answer) = @$case;

        redis('ACL', 'SETUSER', 'one', 'reset', 'on', '>x', '~*', '&*',
              '+@all', split ' ', $rights);
        $way->tell('pass');
        start(redis => $way->url =~ s{//}{//one:x@}r);

        my $channel = uuid();
        my $client = client(channel_id => $channel);

        xadd(channel_id => $channel, sequence => 1);
        is(line_of($client->event(20) // ()), 1, "$name: a client has a place");

        # a channel that is read goes on by XREAD; a new one, of another client,
        # begins with the script

        $way->tell('reply', map { unpack 'H*', $_ } $word, $answer);

        my $other = uuid();
        xadd(channel_id => $other, sequence => 1);
        $client = client(channel_id => $other) if $word ne 'XREAD' || $rights;
        xadd(channel_id => $channel, sequence => 2);

        is_lost('reader', 'a reply of another key', $name);
        $way->tell('pass');

        is(line_of($client->event(20) // ()), $word eq 'XREAD' && !$rights
                                              ? 2 : 1,
           'the first event is of its channel');
        ok(!died(), 'the worker lives');
        $nginx->stop;
    }

    redis('ACL', 'DELUSER', 'one');
};

$way->stop;
done_testing();


# A way to Redis that says more than Redis does; bytes are in hexadecimal.
#
#   send ROLE BYTES      at once, on the connections of that role, or on all
#   after WORD BYTES     once in each connection, together with the reply to a
#                        command that has the word in it
#   greet BYTES          as the first of each connection
#   reply WORD BYTES ... instead of Redis' reply to each command that has the
#                        word in it; the word in hexadecimal, too; {key} and
#                        {other} in an answer are the key that was asked for,
#                        and another one
#   fuzz SEED            something else than Redis' reply, now and then

package Unasked;

use strict;
use warnings;

our @ISA;

BEGIN { @ISA = 'Faults::Proxy' }


sub mode {
    my ($self, @mode) = @_;

    if ($mode[0] eq 'send') {
        my %seen;

        for my $pair (values %{ $self->{ends} }) {
            next if $seen{$pair}++;
            $self->send($pair->{client}, pack 'H*', $mode[2])
                if $mode[1] eq ($pair->{role} // '') || $mode[1] eq 'all';
        }

        return;
    }

    srand $mode[1] if $mode[0] eq 'fuzz';

    return $self->SUPER::mode(@mode);
}


sub accept {
    my $self = shift;

    my %before = map { $_ => 1 } values %{ $self->{ends} };

    $self->SUPER::accept;
    return if $self->{mode}[0] ne 'greet';

    my ($pair) = grep { !$before{$_} } values %{ $self->{ends} };
    $self->send($pair->{client}, pack 'H*', $self->{mode}[1]) if $pair;
}


sub commands {
    my ($self, $pair) = @_;

    my ($mode, @o) = @{ $self->{mode} };

    while (my ($command, @words)
               = Conduit::Fake::take_command(\$pair->{input}))
    {
        $pair->{role} = 'bell' if $words[0] eq 'SUBSCRIBE';

        $pair->{more} //= pack 'H*', $o[1]
            if $mode eq 'after' && index($command, $o[0]) >= 0;

        # in the order of the commands; what is pushed comes on a connection
        # that asks nothing else

        my %instead = $mode eq 'reply' ? map { pack 'H*', $_ } @o : ();
        my ($word) = grep { index($command, $_) >= 0 } keys %instead;

        push @{ $pair->{instead} },
             defined $word ? of_key($instead{$word}, @words) : undef;

        $self->send($pair->{server}, $command);
    }
}


# EVALSHA sha 1 key ..., XREAD ... STREAMS key id

sub of_key {
    my ($answer, @words) = @_;

    my $key = $words[0] eq 'XREAD' ? $words[-2] : $words[3] // '';

    $answer =~ s/\{key\}/join '', main::bulk($key)/ge;
    $answer =~ s/\{other\}/join '', main::bulk("$key.")/ge;

    return $answer;
}


sub answers {
    my ($self, $pair) = @_;

    while (defined(my $answer = Conduit::Fake::take_reply(\$pair->{output}))) {
        $answer = shift(@{ $pair->{instead} }) // $answer;

        if (length($pair->{more} // '')) {
            $answer .= $pair->{more};
            $pair->{more} = '';
        }

        $answer = fuzzed($answer) if $self->{mode}[0] eq 'fuzz';

        $self->send($pair->{client}, $answer);
    }
}


sub fuzzed {
    my $data = shift;

    my $dice = int rand 8;

    return $dice == 0 ? random_reply()
         : $dice == 1 ? $data . random_reply()
         : $dice == 2 ? random_reply() . $data
         : $dice == 3 ? substr($data, 0, rand length $data) . random_reply()
         : $data;
}


sub random_reply {
    my $depth = shift // 0;

    my @words = ('message', 'subscribe', 'unsubscribe', 'pmessage', 'OK',
                 'PONG', '', '1-1', '9999999999999-1', 'data', 'length',
                 'last-generated-id', 'first-entry', 'last-entry',
                 'entries-added', '__redis__:invalidate',
                 'MOVED 1 127.0.0.1:1', 'ASK 1 :1', 'NOSCRIPT x', 'TRYAGAIN',
                 'NOPERM x', 'ERR no such key', "\0", 'x' x 5000);
    my $word = $words[rand @words];
    my $dice = int rand($depth > 3 ? 7 : 12);
    my $n = 1 + int rand 4;

    return $dice == 0 ? "+$word\r\n"
         : $dice == 1 ? "-$word\r\n"
         : $dice == 2 ? ':' . int(rand 5) . "\r\n"
         : $dice == 3 ? (('$-1', '*-1', '*0', '$0', '%1', '>2', '_')[rand 7]
                         . "\r\n")
         : $dice <= 6 ? '$' . length($word) . "\r\n$word\r\n"
         : "*$n\r\n"
           . join '', map { random_reply($depth + 1) } 1 .. $n;
}
