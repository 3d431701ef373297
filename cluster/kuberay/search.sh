#!/usr/bin/env bash
# The entry point of rayjob.yaml: `raysl tune` with the given arguments, on the head.  KubeRay makes a fresh cluster after every
# exit code but 0, which helps only where the cluster was lost.  So this ends with 0 as well after a mistake in the arguments
# (2), at a limit (3), and if trials have failed (1) while the cluster is there; the log and the results say how it ended.
set -uo pipefail

raysl tune "$@"
code=$?
case $code in
    0) exit 0 ;;
    1) timeout 60 ray status > /dev/null 2>&1 || exit "$code" ;;
    2 | 3) ;;
    *) exit "$code" ;; # killed, or ended by a signal
esac
echo "raysl tune ended with exit code $code; a fresh cluster would not help, so this is not tried again"
