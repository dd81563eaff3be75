# Copyright (C) Conduit for NGINX authors
#
# What conduit_publish accepts, what it refuses, and what is stored in Redis.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Conduit::Blocks;
use Test::Nginx::Socket 'no_plan';

our $MESSAGE_ID = '0b81efd9-1baa-4df1-a431-fdfef2fa14a4';


# payloads written by hand, as bytes of a Struct: message(payload => ...) makes
# no broken ones, and recursion is not for a mebibyte of nesting

sub field { Conduit::pb_bytes(@_) }

sub with_payload {
    my ($channel, $struct) = @_;

    return message(channel_id => $channel) . field(6, $struct);
}

# a Struct of one field

sub entry {
    my ($key, $value) = @_;

    return field(1, field(1, $key) . field(2, $value));
}

# so many objects, one in the other, the payload being the first

sub objects {
    my $depth = shift;
    my $struct = '';

    $struct = entry('a', field(5, $struct)) for 2 .. $depth;
    return $struct;
}

# lists in the payload; it is the first level

sub lists {
    my $depth = shift;
    my $list = '';

    $list = field(1, field(6, $list)) for 3 .. $depth;
    return entry('a', field(6, $list));
}

# objects and lists in turn

sub turns {
    my $depth = shift;
    my ($value, $list) = ('', 0);

    for (2 .. $depth) {
        $value = $list ? field(6, field(1, $value))
                       : field(5, entry('a', $value));
        $list = !$list;
    }

    return entry('a', $value);
}

# nothing but the heads of objects, as deep as a message of that size goes

sub nesting {
    my $size = shift;
    my @heads;

    for (my $inner = 0; $inner < $size; ) {
        my $value = Conduit::varint(5 << 3 | 2) . Conduit::varint($inner);
        my $in_entry = Conduit::varint(2 << 3 | 2) . Conduit::varint(length($value) + $inner);
        my $in_struct = Conduit::varint(1 << 3 | 2)
                        . Conduit::varint(length($in_entry) + length($value) + $inner);
        my $head = $in_struct . $in_entry . $value;

        push @heads, $head;
        $inner += length $head;
    }

    return join '', reverse @heads;
}

run_tests();

__DATA__

=== TEST 1: a message is stored byte for byte, the answer is the entry's ID
--- publish eval
{ phase => 'START', sequence => 7, client_timestamp => 1736467200,
  payload => { value => 'hello', list => [1, undef, JSON::PP::true()] } }
--- error_code: 200
--- response_headers
Content-Type: text/plain
--- response_body_like: \A\d{13}-\d+\z
--- stored
--- no_error_log
[error]
[warn]



=== TEST 2: Content-Length of the answer is the length of the ID
--- publish eval: {}
--- error_code: 200
--- raw_response_headers_like: Content-Length: 1[5-7]\r\n
--- stored



=== TEST 3: fields that nobody knows are kept
--- publish eval
{ body => message(channel_id => channel(3)) . Conduit::pb_bytes(99, "\0\xff\n")
          . Conduit::pb_varint(7, 1) . "\xa5\x06\1\2\3\4" . "\xa9\x06" . "x" x 8 }
--- error_code: 200
--- stored



=== TEST 4: an encoding that is not canonical is kept
--- publish eval
{ body => "\x28\x85\x80\x80\x00" . "\x20\x82\x80\x00"
          . "\x92\x80\x00\xa4\x80\x00$::MESSAGE_ID"
          . "\x0a\x24" . channel(4) . "\x20\x02" }
--- error_code: 200
--- stored



=== TEST 5: the last one counts of a field that is given twice
--- publish eval
{ body => message(channel_id => channel(500)) . message(channel_id => channel(5)) }
--- error_code: 200
--- stored



=== TEST 6: a payload in several pieces is kept in these pieces
--- publish eval
{ body => ::with_payload(channel(6), ::entry('a', Conduit::pb_varint(4, 1)))
          . Conduit::pb_bytes(6, '') . Conduit::pb_bytes(6, ::entry('b', '')) }
--- error_code: 200
--- stored



=== TEST 7: a channel in upper case in the path is lower case in the key
--- publish eval
{ channel_id => 'ABCDEF00-0000-4000-8000-00000000000F',
  path => '/publish/123/ABCDEF00-0000-4000-8000-00000000000F' }
--- key: stream:123:abcdef00-0000-4000-8000-00000000000f
--- error_code: 200
--- stored



=== TEST 8: a channel in upper case in the message is the one of the path
--- publish eval
{ channel_id => 'ABCDEF00-0000-4000-8000-000000000008',
  path => '/publish/123/abcdef00-0000-4000-8000-000000000008' }
--- key: stream:123:abcdef00-0000-4000-8000-000000000008
--- error_code: 200
--- stored



=== TEST 9: the message of START has a stream that lives for the idle time
--- publish eval: { phase => 'START' }
--- error_code: 200
--- stored
--- ttl: 110000-120000



=== TEST 10: after END the stream lives for 120 s
--- publish eval: { phase => 'END' }
--- error_code: 200
--- stored
--- ttl: 110000-120000



=== TEST 11: ERROR does not end a stream
--- location
conduit_publish_idle_ttl 50s;
conduit_publish_end_ttl 1h;
--- publish eval: { phase => 'ERROR' }
--- error_code: 200
--- stored
--- ttl: 40000-50000



=== TEST 12: END has a life of its own
--- location
conduit_publish_idle_ttl 50s;
conduit_publish_end_ttl 1h;
--- publish eval: { phase => 'END' }
--- error_code: 200
--- stored
--- ttl: 3590000-3600000



=== TEST 13: a message without a phase lives for the idle time
--- location
conduit_publish_idle_ttl 50s;
conduit_publish_end_ttl 1h;
--- publish eval: { phase => undef }
--- error_code: 200
--- stored
--- ttl: 40000-50000



=== TEST 14: a phase that is not in the table counts as none
--- location
conduit_publish_idle_ttl 50s;
conduit_publish_end_ttl 1h;
--- publish eval: { phase => 77 }
--- error_code: 200
--- stored
--- ttl: 40000-50000



=== TEST 15: a negative phase counts as none
--- publish eval: { phase => -1 }
--- error_code: 200
--- stored



=== TEST 16: a phase beyond 32 bits is cut to them, as protobuf has it
--- location
conduit_publish_idle_ttl 50s;
conduit_publish_end_ttl 1h;
--- publish eval: { phase => (1 << 32) + 3 }
--- error_code: 200
--- stored
--- ttl: 3590000-3600000



=== TEST 17: a message renews the life of the stream
--- location
conduit_publish_idle_ttl 50s;
--- init
redis('XADD', stream_key(123, channel(1017)), '1-1', 'data', 'x');
redis('PEXPIRE', stream_key(123, channel(1017)), 5000);
--- publish eval
{ channel_id => channel(1017), path => '/publish/123/' . channel(1017) }
--- key: stream:123:00000000-0000-4000-8000-000000001017
--- error_code: 200
--- ttl: 40000-50000



=== TEST 18: org_id may be the greatest number of 64 bits
--- publish eval: { org => '18446744073709551615' }
--- key: stream:18446744073709551615:00000000-0000-4000-8000-000000000018
--- error_code: 200
--- stored



=== TEST 19: org_id over 64 bits is refused
--- publish eval: { org => '18446744073709551616' }
--- error_code: 400
--- response_headers
Content-Type: text/plain
--- response_body chop
Invalid org_id
--- not_stored



=== TEST 20: zeros in front of org_id do not make another stream
--- publish eval: { org => '00123' }
--- key: stream:123:00000000-0000-4000-8000-000000000020
--- error_code: 200
--- stored



=== TEST 21: org_id with a letter is refused
--- publish eval: { org => '12a' }
--- error_code: 400
--- response_body chop
Invalid org_id



=== TEST 22: a negative org_id is refused
--- publish eval: { org => '-1' }
--- error_code: 400
--- response_body chop
Invalid org_id



=== TEST 23: no org_id in the path
--- config eval: publish_location() . "merge_slashes off;"
--- publish eval: { path => '/publish//' . channel(23) }
--- error_code: 400
--- response_body chop
Missing org_id



=== TEST 24: no channel_id in the path
--- publish eval: { path => '/publish/123/' }
--- error_code: 400
--- response_body chop
Missing channel_id



=== TEST 25: a channel_id in the path that is no UUID
--- publish eval: { path => '/publish/123/97f58c19-ce38-4c6b-8a5b-47f3405691fg' }
--- error_code: 400
--- response_body chop
Invalid channel_id



=== TEST 26: a channel_id in the path without hyphens has them in the key
--- publish eval: { path => '/publish/123/' . channel(26) =~ s/-//gr }
--- error_code: 200
--- stored



=== TEST 27: a slash after channel_id leaves none
--- publish eval: { path => '/publish/123/' . channel(27) . '/' }
--- error_code: 400
--- response_body chop
Invalid org_id



=== TEST 28: arguments are no part of channel_id
--- publish eval: { path => '/publish/123/' . channel(28) . '?a=b' }
--- error_code: 200
--- stored



=== TEST 29: an escaped path is the path it stands for
--- publish eval: { path => '/publish/%31%323/' . channel(29) =~ s/-/%2D/gr }
--- error_code: 200
--- stored



=== TEST 30: a message of another channel than the path's is refused
--- publish eval: { channel_id => channel(99) }
--- error_code: 400
--- response_body chop
Channel_id of the message is not the one of the path
--- not_stored
--- error_log
channel_id differs from the path
--- no_error_log
[error]



=== TEST 31: a message without channel_id is refused
--- publish eval: { channel_id => undef, path => '/publish/123/' . channel(31) }
--- error_code: 400
--- response_body chop
Invalid channel_id in the message
--- not_stored



=== TEST 32: a channel_id in the message that is no UUID is refused
--- publish eval: { channel_id => 'general' }
--- error_code: 400
--- response_body chop
Invalid channel_id in the message
--- not_stored



=== TEST 33: a message_id that is no UUID is refused
--- publish eval: { message_id => '0b81efd9-1baa-4df1-a431-fdfef2fa14a' }
--- error_code: 400
--- response_headers
Content-Type: text/plain
--- response_body chop
Invalid message_id in the message
--- not_stored



=== TEST 34: a message without message_id is refused
--- publish eval: { message_id => undef }
--- error_code: 400
--- response_body chop
Invalid message_id in the message
--- not_stored



=== TEST 35: a body that is no protobuf is refused
--- publish eval: { body => '{"channel_id": "x"}' }
--- error_code: 400
--- response_headers
Content-Type: text/plain
--- response_body chop
Invalid protobuf
--- not_stored
--- no_error_log
[error]



=== TEST 36: a message that was cut off is refused
--- publish eval: { body => substr message(payload => { a => 'b' }), 0, -1 }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored



=== TEST 37: a field of another type than the definition's is refused
--- publish eval: { body => message(channel_id => channel(37)) . "\x30\x01" }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored



=== TEST 38: an empty body is refused: it has no ids
--- publish eval: { body => '' }
--- error_code: 400
--- response_headers
Content-Type: text/plain
--- response_body chop
Invalid channel_id in the message
--- not_stored



=== TEST 39: a POST without Content-Length is an empty body
--- publish eval: { body => '', headers => { 'Content-Length' => undef } }
--- error_code: 400
--- response_body chop
Invalid channel_id in the message
--- not_stored



=== TEST 40: 100 objects, one in the other, are stored
--- publish eval: { body => ::with_payload(channel(40), ::objects(100)) }
--- error_code: 200
--- stored



=== TEST 41: 101 objects, one in the other, are refused
--- publish eval: { body => ::with_payload(channel(41), ::objects(101)) }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored
--- error_log
nested too deeply



=== TEST 42: 100 levels of lists are stored
--- publish eval: { body => ::with_payload(channel(42), ::lists(100)) }
--- error_code: 200
--- stored



=== TEST 43: 101 levels of lists are refused
--- publish eval: { body => ::with_payload(channel(43), ::lists(101)) }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored
--- error_log
nested too deeply



=== TEST 44: 1 MiB of nothing but nesting is refused, and not by a crash
--- location
conduit_publish_max_size 1m;
client_max_body_size 2m;
client_body_buffer_size 2m;
--- publish eval
{ body => ::with_payload(channel(44), ::nesting(1048576 - 200)) }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored
--- error_log
nested too deeply
--- no_error_log
[error]
exited on signal



=== TEST 45: 1 MiB of nesting in fields that nobody knows is no nesting
--- location
conduit_publish_max_size 1m;
client_max_body_size 2m;
client_body_buffer_size 2m;
--- publish eval
{ body => message(channel_id => channel(45))
          . Conduit::pb_bytes(99, ::nesting(1048576 - 300)) }
--- error_code: 200
--- stored



=== TEST 46: a string that is not UTF-8 is refused
--- publish eval
{ body => ::with_payload(channel(46), ::entry('a', ::field(3, "caf\xe9"))) }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored
--- error_log
a string is not UTF-8



=== TEST 47: a key that is not UTF-8 is refused
--- publish eval
{ body => ::with_payload(channel(47), ::entry("\xff", ::field(3, 'b'))) }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored
--- error_log
a string is not UTF-8



=== TEST 48: a surrogate is no UTF-8, in a list in an object
--- publish eval
{ body => ::with_payload(channel(48), ::entry('a', ::field(6,
          ::field(1, ::field(5, ::entry('b', ::field(3, "\xed\xa0\x80"))))))) }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored



=== TEST 49: an overlong zero is no UTF-8
--- publish eval
{ body => ::with_payload(channel(49), ::entry('a', ::field(3, "\xc0\x80"))) }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored



=== TEST 50: a message_id that is not UTF-8 is refused
--- publish eval: { message_id => "0b81efd9-1baa-4df1-a431-fdfef2fa14\xa4\xff" }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored



=== TEST 51: text of any script is stored, U+0000 and U+10FFFF too
--- publish eval
{ body => ::with_payload(channel(51), ::entry("\0k\xc3\xa9y", ::field(3,
          "\0 \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf \0"))) }
--- error_code: 200
--- stored



=== TEST 52: an empty payload and values of no kind are stored
--- publish eval
{ body => ::with_payload(channel(52), ::entry('', '') . ::entry('a', '')) }
--- error_code: 200
--- stored



=== TEST 53: NaN and the infinities are stored
--- publish eval
{ body => ::with_payload(channel(53), CORE::join '', map {
          ::entry($_, "\x11" . pack 'd<', $_) } 'NaN', 'Inf', '-Inf') }
--- error_code: 200
--- stored



=== TEST 54: another Content-Type is no reason to refuse
--- publish eval: { headers => { 'Content-Type' => 'application/octet-stream' } }
--- error_code: 200
--- stored



=== TEST 55: a stream is cut to conduit_publish_max_len, by whole blocks of it
--- location
conduit_publish_max_len 10;
--- init
redis('CONFIG', 'SET', 'stream-node-max-entries', 5);
xadd(channel_id => channel(55)) for 1 .. 100;
redis('CONFIG', 'SET', 'stream-node-max-entries', 100);
--- publish eval: {}
--- error_code: 200
--- length: 10-15



=== TEST 56: a stream is cut to 1200 entries unless set
--- init
xadd(channel_id => channel(56)) for 1 .. 1400;
--- publish eval: {}
--- error_code: 200
--- length: 1200-1300



=== TEST 57: 100 objects and lists in turn are stored
--- publish eval
{ body => ::with_payload(channel(57), ::turns(100)) }
--- error_code: 200
--- stored



=== TEST 58: 101 objects and lists in turn are refused
--- publish eval
{ body => ::with_payload(channel(58), ::turns(101)) }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored



=== TEST 59: a channel_id in braces, in both places
--- publish eval
{ channel_id => '{ABCDEF00-0000-4000-8000-000000000059}',
  path => '/publish/123/{abcdef00-0000-4000-8000-000000000059}' }
--- key: stream:123:abcdef00-0000-4000-8000-000000000059
--- error_code: 200
--- stored



=== TEST 60: braces may be escaped in the path
--- publish eval: { path => '/publish/123/%7B' . channel(60) . '%7d' }
--- error_code: 200
--- stored



=== TEST 61: a channel_id that is a URN, in both places
--- publish eval
{ channel_id => 'urn:uuid:ABCDEF00-0000-4000-8000-000000000061',
  path => '/publish/123/URN:uuid:abcdef00-0000-4000-8000-000000000061' }
--- key: stream:123:abcdef00-0000-4000-8000-000000000061
--- error_code: 200
--- stored



=== TEST 62: each spelling of a message_id is stored as it was posted
--- publish eval
{ message_id => '{0B81EFD9-1baa-4df1-a431-fdfef2fa14a4}' }
--- error_code: 200
--- stored



=== TEST 63: a message_id without hyphens, as Sentry's uuid4().hex
--- publish eval: { message_id => '0b81efd91baa4df1a431fdfef2fa14a4' }
--- error_code: 200
--- stored



=== TEST 64: braces around a channel_id without hyphens make it none
--- publish eval: { path => '/publish/123/{' . channel(64) =~ s/-//gr . '}' }
--- error_code: 400
--- response_body chop
Invalid channel_id
--- not_stored



=== TEST 65: one brace is not enough
--- publish eval: { channel_id => '{' . channel(65) }
--- error_code: 400
--- response_body chop
Invalid channel_id in the message
--- not_stored



=== TEST 66: a URN of another kind is no channel_id
--- publish eval: { path => '/publish/123/urn:guid:' . channel(66) }
--- error_code: 400
--- response_body chop
Invalid channel_id
--- not_stored



=== TEST 67: groups that nobody knows are kept
--- publish eval
{ body => message(channel_id => channel(67)) . "\x7b\x08\x01\x7c"
          . Conduit::pb_bytes(6, "\x7b\x7b\x0a\x01\xff\x7c\x7c"
                                 . ::entry('a', "\x3b\x3c" . Conduit::pb_varint(4, 1))) }
--- error_code: 200
--- stored



=== TEST 68: a group without an end is refused
--- publish eval: { body => message(channel_id => channel(68)) . "\x7b\x08\x01" }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored



=== TEST 69: the end of a group that did not begin is refused
--- publish eval: { body => message(channel_id => channel(69)) . "\x7c" }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored



=== TEST 70: 100 groups, one in the other, are stored
--- publish eval
{ body => message(channel_id => channel(70)) . "\x7b" x 100 . "\x7c" x 100 }
--- error_code: 200
--- stored



=== TEST 71: 101 groups, one in the other, are refused
--- publish eval
{ body => message(channel_id => channel(71)) . "\x7b" x 101 . "\x7c" x 101 }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored



=== TEST 72: 1 MiB of the beginnings of groups is refused, and not by a crash
--- location
conduit_publish_max_size 2m;
client_max_body_size 2m;
client_body_buffer_size 2m;
--- publish eval: { body => message(channel_id => channel(72)) . "\x7b" x (1 << 20) }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored



=== TEST 73: a group in place of the payload is refused
--- publish eval: { body => message(channel_id => channel(73)) . "\x33\x34" }
--- error_code: 400
--- response_body chop
Invalid protobuf
--- not_stored



=== TEST 74: objects and lists in several pieces are kept in these pieces
--- publish eval
{ body => ::with_payload(channel(74),
                         ::entry('a', ::field(5, ::entry('x', ''))
                                      . ::field(5, ::entry('y', '')))
                         . ::entry('b', ::field(6, ::field(1, ''))
                                        . ::field(6, ::field(1, '')))) }
--- error_code: 200
--- stored
