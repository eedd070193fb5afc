#!/usr/bin/env bash
# For cron: the database backups that are due; silent when all is well, else what happened and what to do next.
#
#   */10 * * * *  /opt/drkit/scripts/db-backup.sh            every policy of the folder
#   */10 * * * *  /opt/drkit/scripts/db-backup.sh shop       these policies alone
#
# The schedule stands in the policies; cron only asks often enough. The exit code is drkit's:
# 0 fine, 3 configuration, 4 PostgreSQL, 5 store (committed, not copied), 6 another run, 8 damaged.
#   DRKIT       the program; else beside this script, else on the PATH
#   DRKIT_POLICIES  the folder of policies; else ./policies, else /etc/drkit/policies
#   DRKIT_LOG   a file that gets a line a run
set -euo pipefail
export LC_ALL=C.UTF-8

drkit=${DRKIT:-$(dirname "$0")/../.venv/bin/drkit}
[[ -x $drkit ]] || drkit=$(command -v drkit) || {
    echo "db-backup: error: no drkit beside this script nor on the PATH" >&2
    echo "db-backup: hint: set DRKIT=/path/to/drkit in the crontab" >&2
    exit 3
}
where=()
[[ -z ${DRKIT_POLICIES:-} ]] || where=(--policy-dir "$DRKIT_POLICIES")

begun=$SECONDS
code=0
"$drkit" backup --quiet "${where[@]}" -- "$@" || code=$?
if [[ -n ${DRKIT_LOG:-} ]]; then
    printf '%s db-backup %s: exit %d in %d s\n' "$(date -u +%FT%TZ)" "${*:-all}" "$code" $((SECONDS - begun)) >> "$DRKIT_LOG"
fi
if ((code)); then
    printf 'db-backup: exit %d; what could be wrong is checked by: %s doctor%s\n' \
        "$code" "$drkit" "${where:+ --policy-dir ${where[1]@Q}}" >&2
fi
exit "$code"
