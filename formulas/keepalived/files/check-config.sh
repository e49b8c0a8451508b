#!/bin/sh
# Managed by Salt: local changes are overwritten.
# Exit 0 when keepalived has nothing to say about the configuration file $1.
# keepalived 2.2 ends its own process group when it tests a file with a vrrp_script (exit code
# 143), so it gets a session of its own and what it says decides.
said=$(setsid --wait keepalived --config-test --use-file "$1" 2>&1)
code=$?
[ -z "$said" ] && { [ $code -eq 0 ] || [ $code -eq 143 ]; } && exit 0
echo "keepalived refuses $1 (exit code $code): $said" >&2
exit 1
