#!/bin/sh
# Says how large a program is and shows that it is static, stripped and without faults on purpose (decision 0024); fails
# where it is not: static.sh PROGRAM
set -eu

program=$1
if readelf -lW "$program" | grep -E '^ +(INTERP|DYNAMIC) '; then
	echo "$program is linked dynamically" >&2
	exit 1
fi
if readelf -SW "$program" | grep -F ' .symtab '; then
	echo "$program is not stripped" >&2
	exit 1
fi
if grep -qF MINICON_FAULT "$program"; then
	echo "$program is built with the feature faults" >&2
	exit 1
fi
echo "$program: $(stat -c %s "$program") bytes, static (no interpreter, no dynamic section), stripped"
