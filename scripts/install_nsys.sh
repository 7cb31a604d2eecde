#!/usr/bin/env bash
# Install a complete Nsight Systems command line (profile, export, stats) on Debian, without a GPU.
#
#     scripts/install_nsys.sh [PREFIX]     PREFIX defaults to /opt/nsight-systems; needs root for apt and PREFIX
#
# Prints the path of nsys as the only line on stdout. A working installation is kept, so running it again is cheap.
#
# Debian carries Nsight Systems in its non-free component, split over two trees in which nsys does not find its own
# importer. This unpacks the packages and puts both trees side by side, as NVIDIA's own installer does:
# PREFIX/VERSION/{bin,host-linux-x64,target-linux-x64}. The machine's apt configuration is not touched.
set -euo pipefail

prefix=${1:-/opt/nsight-systems}
libdir=usr/lib/x86_64-linux-gnu

say() { echo "install_nsys: $*" >&2; }
die() { say "error: $*"; exit 1; }

# nsys alone is not enough: without a running importer it records and then cannot write a report.
complete() {
    "$1/bin/nsys" --version > /dev/null 2>&1 && "$1/host-linux-x64/QdstrmImporter" --version > /dev/null 2>&1
}

installed() {
    local candidate
    for candidate in "$prefix"/*/; do
        if complete "${candidate%/}"; then
            echo "${candidate%/}/bin/nsys"
            return 0
        fi
    done
    return 1
}

mirror_uri() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' 2> /dev/null |
        grep -v security | head -n 1 || true
}

if installed; then exit 0; fi

[ "$(uname -m)" = x86_64 ] || die "only x86-64 is supported"
command -v apt-get dpkg-deb > /dev/null || die "this needs Debian (apt-get, dpkg-deb)"
mkdir -p "$prefix" 2> /dev/null && [ -w "$prefix" ] || die "cannot write to $prefix (run as root, or give another PREFIX)"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch"/{lists,archives}/partial

mirror=$(mirror_uri)
if [ -z "$mirror" ]; then
    apt-get update -qq > /dev/null || die "apt-get update failed"
    mirror=$(mirror_uri)
fi
[ -n "$mirror" ] || die "apt knows no package mirror"

private=(
    -o "Dir::Etc::sourcelist=$scratch/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::Lists=$scratch/lists" -o "Dir::Cache::archives=$scratch/archives"
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root
)

newest_version() {
    apt-cache "${private[@]}" madison nsight-systems 2> /dev/null |
        awk -F'|' '{ gsub(/ /, "", $2); print $2 }' | sort -V | tail -n 1
}

fetch() { # VERSION: unpack every package into $scratch/root
    rm -rf "$scratch/debs" "$scratch/root"
    mkdir -p "$scratch/debs" "$scratch/root"
    (
        cd "$scratch/debs"
        apt-get -qq "${private[@]}" download "nsight-systems=$1" "nsight-systems-target=$1"
        # Its importer is linked to one old Arrow, which only the suite of the package has.
        apt-get -qq "${private[@]}" download libarrow500 libparquet500 2> /dev/null || true
    ) > /dev/null || return 1
    local package
    for package in "$scratch"/debs/*.deb; do dpkg-deb -x "$package" "$scratch/root"; done
}

assemble() { # DESTINATION
    local host=$1/host-linux-x64 library ssh
    rm -rf "$1"
    mkdir -p "$1/bin"
    cp -a "$scratch/root/$libdir/nsight-systems/target-linux-x64" "$1/"
    cp -a "$scratch/root/usr/lib/nsight-systems/host-linux-x64" "$1/"
    for library in "$scratch/root/$libdir"/lib{arrow,parquet}.so.*; do
        if [ -e "$library" ]; then cp -L "$library" "$host/"; fi
    done
    # The host tree links to the system's libssh by a path of its own, which other suites do not have.
    rm -f "$host"/libssh.so*
    # Read to its end: under pipefail, what quits early ends this script if ldconfig still has something to write.
    ssh=$(ldconfig -p | awk '/libssh\.so\.4 / && !found { found = $NF } END { print found }')
    if [ -n "$ssh" ]; then
        cp -L "$ssh" "$host/libssh.so.4"
        ln -s libssh.so.4 "$host/libssh.so"
    fi
    # `nsys stats` looks for these in the host tree.
    mkdir -p "$host/python/lib"
    cp -n "$1"/target-linux-x64/python/lib/*.py "$host/python/lib/" 2> /dev/null || true
    ln -s ../target-linux-x64/nsys "$1/bin/nsys"
}

say "installing the libraries that nsys needs"
apt-get install -y -qq libssh-4 libpfm4 libdw1 libelf1 > /dev/null 2>&1 ||
    { apt-get update -qq > /dev/null && apt-get install -y -qq libssh-4 libpfm4 libdw1 libelf1 > /dev/null 2>&1; } ||
    say "note: apt-get could not install libssh-4 libpfm4 libdw1 libelf1"

for suite in experimental trixie sid bookworm; do
    echo "deb $mirror $suite main non-free" > "$scratch/sources.list"
    if [ "$suite" = experimental ]; then echo "deb $mirror sid main non-free" >> "$scratch/sources.list"; fi
    apt-get -qq "${private[@]}" update > /dev/null 2>&1 || continue
    version=$(newest_version)
    [ -n "$version" ] || continue
    say "unpacking nsight-systems $version from $suite"
    fetch "$version" || continue
    destination="$prefix/${version%%~*}"
    assemble "$destination"
    if complete "$destination"; then
        echo "$destination/bin/nsys"
        exit 0
    fi
    say "note: nsight-systems $version does not run here; trying the next suite"
    rm -rf "$destination"
done
die "no Nsight Systems package of $mirror runs here"
