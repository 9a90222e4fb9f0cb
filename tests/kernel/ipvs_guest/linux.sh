#!/bin/sh
# Stands for the kernel's binary, which is beside it, and preloads what xstate.c says.
here=$(dirname "$0")
LD_PRELOAD="$here/xstate.so" exec "$here/linux.uml" "$@"
