# shellcheck shell=sh
export PATH=/opt/strsweep/venv/bin:"$PATH"
