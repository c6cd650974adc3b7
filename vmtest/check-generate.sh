#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs `go generate` on a copy of the working tree, from which it has removed what is generated, and compares the result
# with the tree byte for byte.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

is_generated='^(.*/)?[a-z0-9]+_(bpfel|bpfeb)\.(go|o)$'
mapfile -t files < <(git ls-files --cached --others --exclude-standard | while read -r f; do [[ ! -e $f ]] || echo "$f"; done)
mapfile -t generated < <(printf '%s\n' "${files[@]}" | grep -E "$is_generated" || true)
if ((${#generated[@]} == 0)); then
	echo "check-generate: no generated file was found" >&2
	exit 1
fi
printf '%s\n' "${files[@]}" | grep -vE "$is_generated" | xargs -d '\n' cp --parents -t "$copy"

(cd "$copy" && go generate ./...)

status=0
for f in "${generated[@]}"; do
	if ! cmp "$f" "$copy/$f"; then status=1; fi
done
while read -r f; do
	if [[ ! -e $f ]]; then
		echo "check-generate: $f is generated and not in the tree" >&2
		status=1
	fi
done < <(cd "$copy" && find . -type f | sed 's|^\./||' | grep -E "$is_generated")
if ((status == 0)); then
	echo "check-generate: ${#generated[@]} generated files are what \`make generate\` makes of their sources"
else
	echo 'check-generate: run "make generate" and commit what it changes' >&2
fi
exit "$status"
