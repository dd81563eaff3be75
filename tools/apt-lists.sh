# Copyright (C) Conduit for NGINX authors
#
# Lists of Debian packages in a folder of their own, read with the machine's
# mirrors and Debian's keys: apt's own configuration stays as it is.  Sourced.
#
#     apt_lists DIR LINE...     sets the array lists_opts, options of apt-get;
#                               a LINE is one of sources.list without the key
#     apt_mirror LABEL          prints the mirror of Debian or Debian-Security

# shellcheck shell=bash disable=SC2034

apt_keyring=/usr/share/keyrings/debian-archive-keyring.gpg


apt_mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        'Origin: Debian' "Label: $1" | head -n 1
}


apt_lists() {
    local dir=$1 line
    shift

    [ -f $apt_keyring ] || { echo "$apt_keyring is missing" >&2; return 1; }

    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"

    for line in "$@"; do
        echo "${line%% *} [signed-by=$apt_keyring] ${line#* }"
    done > "$dir/sources.list"

    lists_opts=(-o "Dir::Etc::sourcelist=$dir/sources.list"
                -o Dir::Etc::sourceparts=-
                -o Dir::Etc::preferencesparts=-
                -o "Dir::State::lists=$dir/lists"
                -o "Dir::Cache=$dir/cache"
                -o APT::Sandbox::User=root
                -o Acquire::Languages=none
                -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
                -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false)
}
