# Copyright (C) Conduit for NGINX authors

package Conduit::Way;

# A process between NGINX and Redis that does what a test tells it: the part
# that all kinds of it share.  A kind has
#
#     first            the words that it is told at the start
#     tell WORD...     sends it words through $self->{control}, and waits until
#                      they are obeyed
#     run              listens on $self->{port}; obeys $self->{control} until it
#                      is closed

use strict;
use warnings;

use POSIX ();
use Socket qw(AF_UNIX PF_UNSPEC SOCK_STREAM);


sub start {
    my ($class, $redis) = @_;

    my $self = bless { port => Conduit::free_port(), redis => $redis }, $class;

    socketpair my $here, my $there, AF_UNIX, SOCK_STREAM, PF_UNSPEC
        or die "socketpair: $!";

    $self->{pid} = fork() // die "fork: $!";

    if (!$self->{pid}) {
        close $here;
        $self->{control} = $there;
        eval { $self->run; 1 } or warn "proxy: $@";
        POSIX::_exit(0);
    }

    close $there;
    $self->{control} = $here;
    $self->tell($self->first);

    return $self;
}


sub port { $_[0]{port} }

sub url { "redis://127.0.0.1:$_[0]{port}" }


sub stop {
    my $self = shift;

    close $self->{control};
    waitpid $self->{pid}, 0;
}


1;
