#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Build and run each variant of the tests, and the fuzzer, as one KTAP report.
# What cannot be built is a failed test. Called by "make check".
#
# Arguments: O KSRC RUNS VARIANT...

O=$1 KSRC=$2 RUNS=$3
shift 3
number=0
status=0

# result STATUS NAME [DIRECTIVE]
result() {
	number=$((number + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $number $2${3+ # $3}"
	else
		echo "not ok $number $2"
		status=1
	fi
}

# The end of a log, for a person
show() {
	tail -n 40 "$O/$1.log" | sed 's/^/# /'
}

# build NAME TARGET
build() {
	"$MAKE" -s O="$O" KSRC="$KSRC" "$2" >"$O/$1.log" 2>&1
}

# A 32-bit build needs the host's 32-bit libraries, which not every host has.
can_build() {
	[ "$1" != m32 ] || echo 'int main(void) { return 0; }' |
		gcc -m32 -fsanitize=address -x c -o "$O/m32-probe" - 2>/dev/null
}

run_tests() {
	if ! can_build "$1"; then
		result 0 "$1" "SKIP gcc has no 32-bit libraries here"
	elif ! build "$1" "$O/phyr-$1"; then
		show "$1"
		result 1 "$1"
	else
		"$O/phyr-$1" >"$O/$1.log" 2>&1
		passed=$?
		sed 's/^/    /' "$O/$1.log"
		result $passed "$1"
	fi
}

run_fuzzer() {
	if build fuzz "$O/fuzz" &&
		"$O/fuzz" -seed=1 -runs="$RUNS" -max_len=400 -len_control=0 \
			-artifact_prefix="$O/fuzz-" >"$O/fuzz.log" 2>&1 &&
		grep -q "^Done $RUNS runs" "$O/fuzz.log"; then
		grep -h "DONE\|^Done" "$O/fuzz.log" | sed 's/^/# /'
		result 0 fuzz
	else
		show fuzz
		result 1 fuzz
	fi
}

mkdir -p "$O"
# All at once; what fails here fails again below, and is shown there.
"$MAKE" -s -k -j"$(nproc)" O="$O" KSRC="$KSRC" all fuzz >/dev/null 2>&1
echo "KTAP version 1"
echo "1..$(($# + 1))"
for variant; do
	run_tests "$variant"
done
run_fuzzer
exit $status
