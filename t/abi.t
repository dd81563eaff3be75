# Copyright (C) Conduit for NGINX authors
#
# What a build reports before it compiles: which hiredis it has found, and
# whether the installed NGINX would load the modules.

use strict;
use warnings;

use lib 't/lib';

use Conduit;
use Test::More;

my $BUILD = "$Conduit::MODULES/nginx";
my $BINARY = $ENV{TEST_NGINX_BINARY};

plan skip_all => "no build in $BUILD" if !-f "$BUILD/configure.log";


# --- the signature

my $binary = read_file($BINARY);
my ($version) = `$BINARY -v 2>&1` =~ m{/([\d.]+)};
my ($signature) = $binary =~ /([48],[48],[48],[01]{30,40})/;

is check($BINARY), "0\n", 'the NGINX that the modules were built for';

like check(changed($signature, $signature =~ s/1$/0/r)),
    qr/\A[1-9]\d*\n.*would\ not\ load\ the\ modules.*
       ^conduit:\ +its\ signature\ is\ +[\d,]+0\n.*
       ^conduit:\ +\(NGX_COMPAT\):\ 0\ there,\ 1\ here\n.*
       NGINX_CONF_FLAGS="[^"]*--with-compat/xms,
    'a build without --with-compat is named, with the option';

like check(changed("nginx/$version", 'nginx/' . $version =~ s/\d$/x/r
                                                         =~ s/x/9/r)),
    qr/\A[1-9]\d*\n.* is NGINX .*9, the sources are \Q$version\E:/s,
    'another version is named, with that of the sources';

like check('/bin/true'), qr/\A[1-9]\d*\nconduit: .* does not say its version/,
    'what is no NGINX';


# --- hiredis

like read_file("$BUILD/configure.log"),
    qr/^conduit: hiredis \d+\.\d+\.\d+ \(.+\), TLS to Redis: (?:yes|no)$/m,
    'a build says which hiredis it has';

like configured(HIREDIS_LINK => 'shared'),
    qr/\A0\nconduit: hiredis \S+ \(libhiredis\.so, shared\), TLS to Redis: /,
    'the shared library, where it is wanted';

like configured(HIREDIS_SRC => $Conduit::TMP),
    qr/\A[1-9]\d*\nconduit: HIREDIS_SRC: no sources of hiredis in "/,
    'a folder without sources of hiredis';

like configured(HIREDIS_LINK => 'dynamic'),
    qr/\A[1-9]\d*\nconduit: HIREDIS_LINK is "dynamic", it must be/,
    'a kind of link that is none';

done_testing();


# exit code and what was said

sub said {
    my $text = join '', map { s/^\s+//r } `@_ 2>&1`;

    return ($? >> 8) . "\n$text";
}

sub check { said("$Conduit::ROOT/tools/check-abi $BUILD $_[0]") }

sub configured {
    my ($name, $value) = @_;

    return said("$name='$value' $Conduit::ROOT/tools/configure",
                '/usr/share/nginx/src', "$Conduit::TMP/configured");
}

# a copy of NGINX in which some text is another of the same length

sub changed {
    my ($old, $new) = @_;

    my $file = "$Conduit::TMP/nginx-changed";

    die 'another length' if length $old != length $new;

    write_file($file, $binary =~ s/\Q$old\E/$new/gr);
    chmod 0755, $file or die "chmod: $!";

    return $file;
}
