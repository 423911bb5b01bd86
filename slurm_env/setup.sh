#!/bin/bash
# Everything between a fresh clone and an open class, step by step: `make setup`, `make lab`,
# `make test` call it. Each step says how long it took; a failed one names its log and the remedy.
# Usage: slurm_env/setup.sh setup|lab|dev
set -u
cd "$(dirname "$0")/.." || exit 1
what=${1:-setup}
logs=.setup
mkdir -p "$logs"
browser_packages="chromium fonts-dejavu-core"
PATH=$PATH:/usr/sbin:/sbin
accounting=()

case $what in
    setup) steps=3 ;;
    dev) steps=5 ;;
    lab) steps=7 ;;
    *) echo "usage: slurm_env/setup.sh setup|lab|dev" >&2; exit 2 ;;
esac
number=0

# step TITLE REMEDY COMMAND...: run it with its output in a log; show time, and on a terminal the
# log's last line while it runs. A failed step ends the set-up, but for one whose REMEDY begins with
# "optional:".
step() {
    local title=$1 remedy=$2 log started line
    shift 2
    number=$((number + 1))
    log=$logs/$number-${title// /-}.log
    started=$SECONDS
    printf '[%d/%d] %s ...' "$number" "$steps" "$title"
    set -m # a process group of its own, so that an interrupt ends all of it
    "$@" >"$log" 2>&1 </dev/null &
    local job=$!
    set +m
    trap 'kill -- "-$job" 2>/dev/null; echo; echo "interrupted; log: $log"; exit 130' INT TERM
    while kill -0 "$job" 2>/dev/null; do
        if [ -t 1 ]; then
            line=$(tail -n 1 "$log" 2>/dev/null | tr -d '\r' | cut -c1-60)
            printf '\r\033[K[%d/%d] %s ... %d s  %s' "$number" "$steps" "$title" \
                $((SECONDS - started)) "$line"
        fi
        sleep 0.2
    done
    wait "$job"
    local code=$?
    trap - INT TERM
    [ -t 1 ] && printf '\r\033[K[%d/%d] %s ...' "$number" "$steps" "$title"
    if [ "$code" -eq 0 ]; then
        printf ' ok (%d s)\n' $((SECONDS - started))
        return 0
    fi
    printf ' FAILED after %d s\n' $((SECONDS - started))
    tail -n 15 "$log" | sed 's/^/    /'
    printf 'What failed: %s\nLog: %s\nRemedy: %s\n' "$title" "$PWD/$log" "$remedy"
    case $remedy in optional:*) return 0 ;; esac
    exit 1
}

fine() { # a step with nothing to do
    number=$((number + 1))
    printf '[%d/%d] %s ... %s\n' "$number" "$steps" "$1" "$2"
}

have() { command -v "$1" >/dev/null 2>&1; }

find_python() { # the distribution's own python first: other users of this machine can read it too
    local candidate
    for candidate in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
        have "$candidate" || continue
        "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
            2>/dev/null && { command -v "$candidate"; return 0; }
    done
    return 1
}

missing_packages() {
    local missing=""
    have slurmctld && have slurmd && have srun || missing="$missing slurm-wlm"
    have munged || missing="$missing munge"
    have ip && have tc || missing="$missing iproute2"
    have bwrap || missing="$missing bubblewrap"
    find_python >/dev/null || missing="$missing python3 python3-venv"
    have slurmdbd || missing="$missing slurmdbd"
    have mariadbd && have mariadb-install-db || missing="$missing mariadb-server"
    echo $missing
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

may_install() { # root, or sudo; on a terminal sudo may ask for the password once
    have apt-get || return 1
    [ "$(id -u)" -eq 0 ] && return 0
    have sudo || return 1
    sudo -n true 2>/dev/null && return 0
    [ -t 0 ] && sudo -v
}

system_packages() {
    local missing line
    missing=$(missing_packages)
    if [ -z "$missing" ]; then
        fine "system packages" "all there"
        return
    fi
    line="sudo apt-get install -y --no-install-recommends $missing"
    if may_install; then
        # shellcheck disable=SC2086 # a list of words
        step "system packages" "run: $line" install_packages $missing
        return
    fi
    printf 'Missing system packages, and no right to install them. Run this line, or ask for it:\n'
    printf '    %s\n' "$line"
    if ! have slurmctld || ! have slurmd || ! have srun || ! have munged; then
        echo "There is no SLURM here, and nothing works without it: stopped."
        exit 1
    fi
    if ! find_python >/dev/null; then
        echo "There is no Python 3.11 or newer with venv here: stopped."
        exit 1
    fi
    case $missing in
        *slurmdbd* | *mariadb-server*)
            echo "SLURM is there; going on without accounting (no sacct, no limits)."
            accounting=(--no-accounting) ;;
    esac
    case $missing in
        *bubblewrap*) echo "Without bubblewrap nobody's work can be graded (workshop class grade)." ;;
    esac
    case $missing in
        *iproute2*) echo "Without ip and tc nodes can't be hosts of their own: loopback mode." ;;
    esac
    fine "system packages" "without: $missing"
}

install_python_packages() { # extras
    local python
    python=$(find_python) || { echo "no Python 3.11 or newer with venv"; return 1; }
    # A venv that is half made, or whose Python has gone (an upgraded system), is made anew.
    .venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv || return 1
    .venv/bin/python -m pip install --disable-pip-version-check -e ".$1" || return 1
    stamp "$1" >.venv/stamp
}

stamp() { { cat pyproject.toml; echo "$1"; .venv/bin/python -V; pwd; } 2>&1 | sha256sum; }

python_packages() { # extras; what `dev` installed serves `lab` too
    local extras
    for extras in "[dev]" "$1"; do
        if [ -f .venv/stamp ] && [ "$(stamp "$extras")" = "$(cat .venv/stamp)" ]; then
            fine "python packages" "all there (.venv)"
            return
        fi
    done
    step "python packages" \
        "check network and disk (.venv takes 2 GB, 7 with torch's CUDA build); run it again" \
        install_python_packages "$1"
}

check_installation() {
    .venv/bin/python -c 'import jupyterlab, torch, course_lib, slurm_env; print(torch.__version__)'
}

system_packages
if [ "$what" = dev ]; then
    python_packages "[dev]"
else
    python_packages ""
fi
if [ "$what" = dev ]; then
    if have chromium || ! may_install; then
        fine "browser for tests" "$(have chromium && echo there || echo "none: those tests are skipped")"
    else
        # shellcheck disable=SC2086
        step "browser for tests" \
            "optional: without chromium the browser tests are skipped (Ubuntu has it as a snap only)" \
            install_packages $browser_packages
    fi
fi
if [ "$what" = dev ]; then
    step "packages of the slides" \
        "optional: without them no slides are built: check the network, then make slides" \
        .venv/bin/python -m slides.packages
fi
step "installation check" "remove .venv and run the same command again" check_installation
[ "$what" = lab ] || exit 0

step "corpus and tokenizer" "run .venv/bin/workshop data and read what it says" \
    .venv/bin/workshop data
step "class cluster" "run .venv/bin/workshop doctor" \
    .venv/bin/workshop up "${accounting[@]}"
step "JupyterLab" "run .venv/bin/workshop doctor" \
    .venv/bin/workshop up "${accounting[@]}" --wait-jupyter
step "hello from two nodes" "run .venv/bin/workshop doctor" \
    .venv/bin/workshop shell -c \
    'srun --nodes=2 --ntasks-per-node=1 --time=1 bash -c "echo hello from \$(hostname), rank \$SLURM_PROCID of \$SLURM_NTASKS"'
sed 's/^/      /' "$logs/$number-hello-from-two-nodes.log"
echo
echo "The class is open ($SECONDS s). Open this link in a browser on this machine:"
echo
.venv/bin/workshop status --json |
    .venv/bin/python -c 'import json, sys; print("    " + json.load(sys.stdin)["jupyter"])'
echo
echo "In JupyterLab: start_here.ipynb. In this terminal: .venv/bin/workshop --help"
echo "Stop everything: make down"
