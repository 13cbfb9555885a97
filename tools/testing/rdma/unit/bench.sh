#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Instructions per call of the list's functions, and of all they call, on
# average over a list and as many lookups in it; of a walk through the list, per
# range, of those that take arrays of pages, per page. Argument: the bench program.

set -eu
bench=$1

# count FUNCTION NR PAGES STRIDE
count() {
	function=$1
	shift
	valgrind --tool=callgrind --callgrind-out-file=/dev/null \
		--toggle-collect="$function" "$bench" "$@" 2>&1 |
		awk -v nr="$1" '/Collected/ { printf "%.1f", $NF / nr; found = 1 }
				END { exit !found }'
}

row() {
	name=$1
	shift
	printf '%-28s' "$name"
	for function in append seek walk at append_pages next_pages; do
		case $function in
		append*) function=phyr_list_$function ;;
		walk) ;;
		*) function=phyr_$function ;;
		esac
		printf ' %12s' "$(count $function "$@")"
	done
	echo
}

printf '%-28s %12s %12s %12s %12s %12s %12s\n' 'instructions per call, page' \
	append seek walk at append_pages next_pages
row '64 Ki scattered pages' 65536 1 2
row '512 scattered pages' 512 1 2
row '64 Ki ranges of 512 pages' 65536 512 1024
row '128 ranges of 512 pages' 128 512 1024
row '64 Ki neighbouring pages' 65536 1 1
