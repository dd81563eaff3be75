# Copyright (C) Conduit for NGINX authors

package Conduit::Blocks;

# Sections for Test::Nginx blocks that publish one message:
#
#     --- publish eval
#     { payload => { a => 1 } }
#
# makes the request, from the arguments of publish_request() or a function that
# returns them, and gives the block a location.  Each block has a channel of its
# own, channel(<number of the test>), which is the default of the path and of
# the message.  "wire" is what is sent as the body when it is not the message
# itself, such as chunks of it.
#
#     --- location               directives inside of the location
#     --- stored                 the stream has one entry, whose ID is the
#                                response and whose data are the bytes posted
#     --- not_stored             there is no stream
#     --- key: stream:1:...      the stream, when it is another one
#     --- ttl: 119000-120000     how long it lives, in milliseconds
#     --- length: 10-15          how many entries it has

use strict;
use warnings;

use Conduit;
use Exporter 'import';
use Test::More ();

our @EXPORT = qw(channel chunked);

my %posted;


sub channel { return sprintf '00000000-0000-4000-8000-%012d', shift }


# A body in the chunked transfer encoding, with chunks of so many bytes.

sub chunked {
    my ($body, $size) = @_;

    return join '', (map { sprintf "%x\r\n%s\r\n", length, $_ }
                     unpack "(a$size)*", $body), "0\r\n\r\n";
}


sub prepare {
    my $block = shift;

    my $publish = $block->publish // return;
    my ($n) = $block->name =~ /TEST (\d+)/ or die "no number: " . $block->name;

    my %f = (channel_id => channel($n),
             %{ ref $publish eq 'CODE' ? $publish->() : $publish });

    my %o = map { $_ => delete $f{$_} } grep { exists $f{$_} }
            qw(org path token headers body wire);

    my $body = $o{body} // message(%f);
    my $wire = delete $o{wire} // sub { $_[0] };

    $o{path} //= sprintf '/publish/%s/%s', $o{org} // $ORG, channel($n);
    $o{body} = ref $wire ? $wire->($body) : $wire;

    $posted{channel($n)} = $body;
    $block->set_value('key', $block->key
                             // stream_key($o{org} // $ORG, channel($n)));
    $block->set_value('channel', channel($n));
    $block->set_value('raw_request', publish_request(%o));
    $block->set_value('config', publish_location($block->location))
        if !defined $block->config;
}


sub check {
    my ($block, $response) = @_;

    return if !defined $block->publish;

    my $name = $block->name;
    my $key = $block->key;

    Test::More::is_deeply(redis('XRANGE', $key, '-', '+'),
                          [[$response, ['data', $posted{$block->channel}]]],
                          "$name - stored as it was posted")
        if defined $block->stored;

    Test::More::is(redis('EXISTS', $key), 0, "$name - nothing is stored")
        if defined $block->not_stored;

    in_range($block->ttl, redis('PTTL', $key), "$name - life in ms")
        if defined $block->ttl;

    in_range($block->length, redis('XLEN', $key), "$name - entries")
        if defined $block->length;
}


sub in_range {
    my ($range, $value, $what) = @_;
    my ($min, $max) = split /-/, $range;

    Test::More::ok($value >= $min && $value <= $max,
                   "$what: $value is $min to $max");
}


INIT {
    Test::Nginx::Util::add_block_preprocessor(\&prepare);
    Test::Nginx::Socket::add_response_body_check(\&check);
    Exporter::export('Conduit::Blocks', $_, @EXPORT)
        for qw(Test::Base::Filter Test::Nginx::Util);
}

1;
