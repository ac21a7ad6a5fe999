#!/usr/bin/env bash
# Installs what the tests use beyond Python: Chromium for tests/browser, PostgreSQL for the MLflow
# service, ssh and network tools for tests/cluster. Only what is absent, only as root and only where apt-get is; otherwise it says what is
# missing, and the tests that need it skip. Always exits 0: a laptop without them is no fault.
set -uo pipefail

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v chromedriver >/dev/null || missing+=(chromium-driver)
[ -n "$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null)" ] || command -v initdb >/dev/null ||
    missing+=(postgresql)
command -v ip >/dev/null || [ -x /sbin/ip ] || missing+=(iproute2)
command -v rsync >/dev/null || missing+=(rsync)
[ -x /usr/sbin/sshd ] || missing+=(openssh-server)

if [ ${#missing[@]} -eq 0 ]; then
    echo "system packages: all there"
elif [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "system packages: ${missing[*]} missing, and only root can install them with apt-get:" \
        "tests that need them skip"
else
    log=$(mktemp)
    # A package that starts a server would meet one that runs already: nothing is started.
    if { apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        echo "system packages: installed ${missing[*]}"
    else
        echo "system packages: apt-get could not install ${missing[*]}: $(grep -v '^$' "$log" | tail -n 1)"
    fi
    rm -f "$log"
fi
exit 0
