// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds on reading the kernel's log.
const (
	kmsgRecords = 50_000 // read in one go
	kmsgKept    = 32     // lines kept
	kmsgBytes   = 8 << 10
)

// kmsg collects what the kernel's log says of sched_ext from its opening on. A
// nil *kmsg, where the log may not be read, says nothing.
type kmsg struct {
	fd int
	// victims are the processes that were killed for want of memory meanwhile.
	victims []int
}

// openKmsg starts at the log's end. It is opened without permission to wait.
func openKmsg(path string) (*kmsg, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &kmsg{fd: fd}, nil
}

func (k *kmsg) close() {
	if k != nil && k.fd >= 0 {
		_ = unix.Close(k.fd) // it was only read
		k.fd = -1
	}
}

// collect returns sched_ext's lines since the last call, bounded. Records that
// the kernel dropped meanwhile are passed over.
func (k *kmsg) collect() []string {
	if k == nil || k.fd < 0 {
		return nil
	}
	var lines []string
	size := 0
	buf := make([]byte, 8<<10) // a record is at most 8 KiB, see Documentation/ABI/testing/dev-kmsg
	for range kmsgRecords {
		n, err := unix.Read(k.fd, buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EPIPE) {
			continue // EPIPE: overtaken; the next read is at the oldest record left
		}
		if err != nil || n == 0 {
			break // EAGAIN: no more
		}
		if pid, ok := oomVictim(string(buf[:n])); ok && len(k.victims) < kmsgKept {
			k.victims = append(k.victims, pid)
		}
		line, ok := parseKmsg(string(buf[:n]))
		if ok && len(lines) < kmsgKept && size+len(line) <= kmsgBytes {
			lines = append(lines, line)
			size += len(line)
		}
	}
	return lines
}

// killed reports whether one of pids was killed for want of memory, as far as
// the log was collected.
func (k *kmsg) killed(pids ...int) bool {
	return k != nil && slices.ContainsFunc(k.victims, func(pid int) bool { return slices.Contains(pids, pid) })
}

// oomLine is the kernel's news of a process killed for want of memory, of the
// machine or of a cgroup, see __oom_kill_process() in mm/oom_kill.c.
var oomLine = regexp.MustCompile(`^[^;]*;(?:Memory cgroup out|Out) of memory[^:\n]*: Killed process (\d+) `)

// oomVictim reads the PID out of such a record. It is that of the machine's own
// PID namespace.
func oomVictim(record string) (pid int, ok bool) {
	m := oomLine.FindStringSubmatch(record)
	if m == nil {
		return 0, false
	}
	pid, err := strconv.Atoi(m[1])
	return pid, err == nil && pid > 0
}

// parseKmsg takes sched_ext's text out of a record "PRIORITY,SEQ,TIME,FLAGS;TEXT";
// further lines of the record are its dictionary.
func parseKmsg(record string) (string, bool) {
	_, text, ok := strings.Cut(record, ";")
	if !ok {
		return "", false
	}
	text, _, _ = strings.Cut(text, "\n")
	text, ok = strings.CutPrefix(text, "sched_ext: ")
	text = strings.TrimSpace(stripEscapes(text))
	return text, ok && text != ""
}

// kernelReason is what lines of the log say about why a scheduler is not in
// charge, in one line: everything but the news of a start and of a regular end.
func kernelReason(lines []string) string {
	var said []string
	for _, l := range lines {
		if strings.HasSuffix(l, `" enabled`) || strings.HasSuffix(l, "disabled ("+cleanEnd+")") {
			continue
		}
		said = append(said, l)
	}
	return oneLine(strings.Join(said, "; "))
}
