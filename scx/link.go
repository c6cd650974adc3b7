// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// holdsLink reports whether the process pid, or else another of the process
// group, holds a struct_ops link: the descriptor whose life is the scheduler's.
// The kernel gives it out only when the registration succeeded, so it proves
// whose a scheduler is where names could mislead. known is false where
// descriptors may not be looked at.
//
// fdinfo names the link's type since 5.12. A loader that registers without a
// link (none of the scx schedulers) is not recognised.
func holdsLink(proc string, pid, group int) (holds, known bool) {
	holds, known = linkOf(proc, pid)
	if holds {
		return true, true
	}
	others := processes(proc, func(s procStat) bool { return s.pgrp == group && s.pid != pid && s.pid != group })
	for _, other := range others {
		h, k := linkOf(proc, other)
		if h {
			return true, true
		}
		known = known || k
	}
	return false, known
}

// linkOf looks at one process.
func linkOf(proc string, pid int) (holds, known bool) {
	dir := filepath.Join(proc, strconv.Itoa(pid), "fdinfo")
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false, false
	}
	for _, fd := range fds {
		b, err := os.ReadFile(filepath.Join(dir, fd.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		for line := range strings.Lines(string(b)) {
			if kind, ok := strings.CutPrefix(line, "link_type:"); ok && strings.TrimSpace(kind) == "struct_ops" {
				return true, true
			}
		}
	}
	return false, true
}
