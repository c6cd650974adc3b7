// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
)

// Bounds on what is kept of a scheduler's output.
const (
	tailBytes = 64 << 10
	lineBytes = 4 << 10
)

// output keeps the end of what a scheduler printed and forwards it line by line
// at debug level. It is safe for concurrent use.
type output struct {
	log *slog.Logger

	mu    sync.Mutex
	total int64  // guarded by mu; bytes written so far
	tail  []byte // guarded by mu; at most 2*tailBytes, of which the end counts
	line  []byte // guarded by mu; a line not yet ended
	cut   bool   // guarded by mu; the current line was forwarded up to its bound
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(p)
	o.total += int64(n)
	if over := n - tailBytes; over > 0 {
		o.tail = append(o.tail[:0], p[over:]...)
	} else {
		o.tail = append(o.tail, p...)
		if len(o.tail) > 2*tailBytes {
			o.tail = append(o.tail[:0], o.tail[len(o.tail)-tailBytes:]...)
		}
	}
	if !o.log.Enabled(context.Background(), slog.LevelDebug) {
		return n, nil
	}
	for len(p) > 0 {
		part, rest, ended := bytes.Cut(p, []byte("\n"))
		p = rest
		if !o.cut {
			o.line = append(o.line, part[:min(len(part), lineBytes-len(o.line))]...)
			if ended || len(o.line) == lineBytes {
				o.flush()
				o.cut = !ended
			}
		} else if ended {
			o.cut = false
		}
	}
	return n, nil
}

// flush forwards the current line. The caller holds mu.
func (o *output) flush() {
	if text := strings.TrimSpace(stripEscapes(string(o.line))); text != "" {
		o.log.Debug("scheduler output", "line", text)
	}
	o.line = o.line[:0]
}

// close forwards what was not ended by a newline.
func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flush()
}

// text returns the last tailBytes of the output without colours.
func (o *output) text() string { return o.since(0) }

// written is how much was printed so far.
func (o *output) written() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total
}

// since is text, without what was printed before a mark that written returned.
func (o *output) since(mark int64) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	kept := min(int64(len(o.tail)), tailBytes, o.total-mark)
	return stripEscapes(string(o.tail[int64(len(o.tail))-kept:]))
}

// stripEscapes removes terminal escape sequences and other control characters
// but newlines and tabs, and what is not UTF-8.
func stripEscapes(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '[' {
			// CSI: parameters and intermediates, then one final byte.
			for i += 2; i < len(s) && (s[i] < 0x40 || s[i] > 0x7e); i++ {
			}
			i++
			continue
		}
		if c := s[i]; c >= 0x20 && c != 0x7f || c == '\n' || c == '\t' {
			b.WriteByte(c)
		}
		i++
	}
	return strings.ToValidUTF8(b.String(), "")
}

// exitReason is what the scheduler itself says of its end: what follows "EXIT: "
// on the last line that has it. Schedulers built on the scx crates print the
// kernel's exit information so, on a clean end and on an ejection alike.
func exitReason(text string) string {
	reason := ""
	for line := range strings.Lines(text) {
		if _, after, ok := strings.Cut(line, "EXIT: "); ok {
			reason = strings.TrimSpace(after)
		}
	}
	return reason
}

// cleanEnd is the exit reason of a scheduler that left of its own accord.
const cleanEnd = "unregistered from user space"

// complaint is one line that says best why a scheduler ended: its exit reason,
// else its last "Error:" with what stands under it, else, where it failed by
// itself, its last line; empty where it did not complain.
func complaint(text string, failed bool) string {
	if r := exitReason(text); r != "" && !strings.HasPrefix(r, cleanEnd) {
		return oneLine(r)
	}
	text, _, _ = strings.Cut(text, "\nStack backtrace:")
	for _, mark := range []string{"\nError: ", "\nerror: "} {
		if i := strings.LastIndex("\n"+text, mark); i >= 0 {
			return oneLine(("\n" + text)[i+1:])
		}
	}
	if !failed {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return oneLine(lines[len(lines)-1])
}

// oneLine folds white space and bounds the length, for messages.
func oneLine(s string) string {
	const bound = 400
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > bound {
		s = strings.ToValidUTF8(s[:bound], "") + " …"
	}
	return s
}
