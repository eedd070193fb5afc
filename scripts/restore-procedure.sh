#!/usr/bin/env bash
# For people: a database back from its backups, step by step; each command is shown before it runs, and nothing is overwritten.
#
#   scripts/restore-procedure.sh POLICY DIR IDENTITY [options of drkit restore]
#   scripts/restore-procedure.sh shop /srv/restored ~/keys/operations.txt --at '2 hours ago'
#
#   POLICY    its name, or - with --repository URL among the options when no policy file is left
#   DIR       a new folder on a disk with room for the whole cluster
#   IDENTITY  the file with the private key, from the place where keys are kept
#   DRKIT     the program; else beside this script, else on the PATH
# Asks before it writes anything; --yes does not ask.
set -euo pipefail
export LC_ALL=C.UTF-8

usage() { sed -n '4,12s/^# \{0,3\}//p' "$0" >&2 && exit 2; }
(($# >= 3)) || usage
policy=$1 into=$2 identity=$3
shift 3
options=() ask=1 reading=()
while (($#)); do
    case $1 in
        --yes | -y) ask=0 && options+=(--yes) ;;
        --repository | --signer | --store | --policy-dir)
            (($# > 1)) || usage
            reading+=("$1" "$2") && shift
            ;;
        *) options+=("$1") ;;
    esac
    shift
done
[[ $policy == - ]] && names=() || names=("$policy")

drkit=${DRKIT:-$(dirname "$0")/../.venv/bin/drkit}
[[ -x $drkit ]] || drkit=$(command -v drkit) || {
    echo "restore: error: no drkit beside this script nor on the PATH" >&2
    echo "restore: hint: set DRKIT=/path/to/drkit" >&2
    exit 3
}
[[ -r $identity ]] || {
    echo "restore: error: $identity can't be read" >&2
    echo "restore: hint: the key sheet says where the private keys are kept" >&2
    exit 7
}

step() { printf '\n=== %s\n' "$*"; }
run() {
    printf '$'
    printf ' %q' "$@"
    printf '\n'
    "$@"
}
go() {
    ((ask)) || return 0
    local answer
    read -r -p "$1 [y/N] " answer < /dev/tty || answer=n
    [[ $answer == [yY]* ]] || {
        echo "stopped; nothing was changed" >&2
        exit 130
    }
}

step "1 of 4: what there is to restore"
run "$drkit" list "${names[@]}" "${reading[@]}" --identity "$identity"

step "2 of 4: what would be done, how much it is and how long it takes; nothing is written"
run "$drkit" restore "${names[@]}" --into "$into" --identity "$identity" "${reading[@]}" "${options[@]}" --dry-run

step "3 of 4: the restore"
go "Restore into $into now?"
begun=$SECONDS
run "$drkit" restore "${names[@]}" --into "$into" --identity "$identity" "${reading[@]}" "${options[@]}"

step "4 of 4: done in $((SECONDS - begun)) s; now look at it, then put it to use"
cat << END
$into holds the copy; the original and its backups were not touched.
  - Start it as shown above, and look at it before anybody else does.
  - It archives and replicates nowhere until: $drkit restore --rearm $(printf '%q' "$into")
  - The next backup of a server that goes on from here must be a full one.
END
