# Sourced by demo and test: which Python, which Debian packages, waiting for apt, virtual environments.
# POSIX sh; defines functions and nothing else. Callers set `self` to their name for messages.

say() { printf '%s\n' "$*"; }
fail() { printf '%s: %s\n' "${self:-nova0}" "$*" >&2; exit 1; }
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }
is_root() { [ "$(id -u)" = 0 ]; }
has() { command -v "$1" >/dev/null 2>&1; }

# The interpreter to use: Debian's own first, since Debian's python3-libvirt fits it.
find_python() {
    for candidate in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
        if has "$candidate" && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# Those of the packages given that are not installed, on one line.
missing_packages() {
    for package in "$@"; do
        case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
            installed) ;;
            *) printf '%s ' "$package" ;;
        esac
    done
}

# apt-get with patience: another apt (unattended upgrades on a new machine) is waited for.
apt_patiently() {
    tries=0
    while :; do
        if output=$(DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
            -o Acquire::Retries=3 "$@" 2>&1); then
            return 0
        fi
        tries=$((tries + 1))
        case $output in
            *"Could not get lock"*|*"Unable to lock"*|*"is another process using it"*)
                if [ $tries -gt 120 ]; then break; fi
                if [ $tries = 1 ]; then say "  waiting for another apt to finish"; fi
                sleep 5 ;;
            *) break ;;
        esac
    done
    printf '%s\n' "$output" | tail -n 15 >&2
    return 1
}

# Install what is missing of the packages given, saying what; without recommended ones.
install_packages() {
    wanted=$(missing_packages "$@")
    [ -n "$wanted" ] || return 0
    is_root || fail "missing packages: ${wanted}: as root, apt-get install --no-install-recommends $wanted"
    say "  installing: $wanted"
    if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mmin -1440 2>/dev/null | head -n 1)" ]; then
        apt_patiently update || fail "apt-get update failed: see above"
    fi
    # shellcheck disable=SC2086
    apt_patiently install --no-install-recommends $wanted ||
        { apt_patiently update && apt_patiently install --no-install-recommends $wanted; } ||
        fail "apt-get could not install $wanted: see above"
}

# What a host of real guests needs. A libvirtd that is there already is used as it is.
host_packages() {
    printf '%s ' qemu-utils dnsmasq-base nftables iproute2 mount util-linux openssh-client libvirt0
    case $(dpkg --print-architecture) in
        arm64) printf '%s ' qemu-system-arm qemu-efi-aarch64 ;;
        *) printf '%s ' qemu-system-x86 ;;
    esac
    [ -S /run/libvirt/libvirt-sock ] || printf '%s ' libvirt-daemon libvirt-daemon-driver-qemu
}

# Debian's libvirtd looks up the user and group libvirt-qemu before it reads its settings; they come with
# the package of its services, which nova0 does not need. Made as that package would make them.
libvirt_user() {
    getent group kvm >/dev/null || groupadd --system kvm
    getent group libvirt-qemu >/dev/null || groupadd --system libvirt-qemu
    getent passwd libvirt-qemu >/dev/null || useradd --system --gid kvm --groups libvirt-qemu --no-create-home \
        --home-dir /var/lib/libvirt --shell /usr/sbin/nologin libvirt-qemu
}

# Make the virtual environment $1 for python $2.
make_venv() {
    if [ ! -x "$1/bin/python" ]; then
        "$2" -m venv "$1" 2>/dev/null || {
            rm -rf "$1"
            fail "$2 cannot make a virtual environment: as root, apt-get install python3-venv"
        }
    fi
}

# pip install in the environment $1 what follows, quietly unless it fails.
pip_install() {
    venv=$1
    shift
    if ! output=$("$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" 2>&1); then
        printf '%s\n' "$output" | tail -n 15 >&2
        fail "pip could not install $*: see above"
    fi
}

# libvirt's Python module for the environment $1: Debian's where it fits, else built.
give_libvirt() {
    "$1/bin/python" -c 'import libvirt' 2>/dev/null && return 0
    if "$1/bin/python" -c 'import sys; sys.exit(sys.base_prefix != "/usr")'; then
        install_packages python3-libvirt
        site=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
        for file in /usr/lib/python3/dist-packages/libvirt*; do
            ln -sf "$file" "$site/"
        done
        "$1/bin/python" -c 'import libvirt' 2>/dev/null && return 0
        rm -f "$site"/libvirt*
    fi
    say "  building libvirt's Python module (Debian's does not fit this Python)"
    install_packages libvirt-dev gcc libc6-dev pkg-config python3-dev
    pip_install "$1" libvirt-python
}

# A checksum of what the package is made of, to know when to install anew.
source_mark() {
    (cd "$1" && find setup.py pyproject.toml nova0 agents -type f ! -name '*.pyc' -exec cksum {} + | sort | cksum)
}
