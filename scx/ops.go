// SPDX-License-Identifier: Apache-2.0

package scx

import "strings"

// EEVDF names the kernel's default scheduler: no sched_ext scheduler at all.
const EEVDF = "eevdf"

// opsBase is the scheduler's own name within an ops name: what stands before
// "_" and a version. Schedulers built on the scx crates append both version and
// build target ("rusty_1.1.4_x86_64_unknown_linux_gnu"); others ("cake",
// "simple") append nothing.
func opsBase(ops string) string {
	for i := 1; i+1 < len(ops); i++ {
		if ops[i] == '_' && ops[i+1] >= '0' && ops[i+1] <= '9' && isVersion(ops[i+1:]) {
			return ops[:i]
		}
	}
	return ops
}

// isVersion reports whether s begins with digits, a dot and a digit.
func isVersion(s string) bool {
	rest := strings.TrimLeft(s, "0123456789")
	return len(rest) < len(s) && len(rest) >= 2 && rest[0] == '.' && rest[1] >= '0' && rest[1] <= '9'
}

// OpsVersion is the version within an ops name, e.g. "1.1.4"; empty if it has none.
func OpsVersion(ops string) string {
	rest := strings.TrimPrefix(ops[len(opsBase(ops)):], "_")
	version, _, _ := strings.Cut(rest, "_")
	return version
}

// SchedulerName turns the kernel's ops name into the catalogue's name:
// "rusty_1.1.4_x86_64_unknown_linux_gnu" is "scx_rusty". Ops that the catalogue
// does not know are kept verbatim; the empty name is [EEVDF].
func SchedulerName(ops string) string {
	if ops == "" {
		return EEVDF
	}
	return schedulerName(known(), ops)
}

// opsMatch reports whether ops is one that a scheduler with this own name would
// register.
func opsMatch(ops, base string) bool { return base != "" && opsBase(ops) == base }
