// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestOutputKeepsTheEndAndForwardsBoundedLines(t *testing.T) {
	var logged bytes.Buffer
	o := &output{log: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for i := range 40_000 {
		fmt.Fprintf(o, "line %d\n", i)
	}
	fmt.Fprintf(o, "%s\nshort\n", strings.Repeat("x", 3*lineBytes))
	fmt.Fprint(o, "\x1b[31munended\x1b[0m")
	o.close()
	text := o.text()
	if len(text) > tailBytes || len(text) < tailBytes/2 || !strings.HasSuffix(text, "unended") || strings.Contains(text, "\x1b") {
		t.Errorf("kept %d bytes, ending %q", len(text), text[len(text)-20:])
	}
	if len(o.tail) > 2*tailBytes || cap(o.tail) > 8*tailBytes {
		t.Errorf("holds %d of %d bytes", len(o.tail), cap(o.tail))
	}
	if n := strings.Count(logged.String(), "line=\"line "); n != 40_000 {
		t.Errorf("%d lines forwarded", n)
	}
	for _, want := range []string{"line=short", "line=unended", "line=" + strings.Repeat("x", lineBytes) + "\n"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("%.20q… not forwarded", want)
		}
	}
}

func TestOutputOfOneGreatWriteKeepsItsEnd(t *testing.T) {
	o := &output{log: slog.New(slog.DiscardHandler)}
	n, err := o.Write(append(bytes.Repeat([]byte{'a'}, 3*tailBytes), 'z'))
	if text := o.text(); err != nil || n != 3*tailBytes+1 || len(text) != tailBytes || text[tailBytes-1] != 'z' {
		t.Errorf("%d, %v, %d bytes", n, err, len(text))
	}
}

func TestComplaintSaysBestWhySomethingEnded(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"ejected":    {"…dump…\nError: EXIT: runnable task stall (sh[12] failed to run for 30.1s)\n", "runnable task stall (sh[12] failed to run for 30.1s)"},
		"clean":      {"09:20 [INFO] x\nEXIT: unregistered from user space\n", "EXIT: unregistered from user space"},
		"error":      {"[WARN] limit\nError: Failed to load BPF program\n\nCaused by:\n    Invalid argument (os error 22)\n", "Error: Failed to load BPF program Caused by: Invalid argument (os error 22)"},
		"backtrace":  {"Error: too old?\n\nStack backtrace:\n 0: anyhow\n 1: main\n", "Error: too old?"},
		"usage":      {"error: unexpected argument '--x' found\n\nUsage: scx_x\n", "error: unexpected argument '--x' found Usage: scx_x"},
		"last line":  {"one\ntwo\n\n", "two"},
		"no output":  {"", ""},
		"in a word":  {"no MirrorError: here\nlast", "last"},
		"very long":  {strings.Repeat("y", 5000), strings.Repeat("y", 400) + " …"},
		"two errors": {"Error: first\nError: second", "Error: second"},
	} {
		if got := complaint(c.text, true); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	if got := complaint("[INFO] all is well\n", false); got != "" {
		t.Errorf("no complaint, but %q", got)
	}
}

func TestKmsgRecordsOfSchedExtOnly(t *testing.T) {
	for record, want := range map[string]string{
		"6,1234,5678,-;sched_ext: BPF scheduler \"rusty_1\" disabled (runtime error)\n SUBSYSTEM=x\n": `BPF scheduler "rusty_1" disabled (runtime error)`,
		"3,1,2,-;sched_ext: Not compatible with \"isolcpus=\" domain isolation\n":                     `Not compatible with "isolcpus=" domain isolation`,
		"6,1,2,-;usb 1-1: sched_ext: no\n":                                                            "",
		"garbage":                                                                                     "",
		"6,1,2,-;sched_ext: \n":                                                                       "",
	} {
		if got, ok := parseKmsg(record); got != want && ok {
			t.Errorf("%q: got %q", record, got)
		}
	}
	got := kernelReason([]string{
		`BPF scheduler "lavd_1" enabled`, `BPF scheduler "lavd_1" disabled (unregistered from user space)`,
		`BPF scheduler "x" disabled (runnable task stall)`, `x: sh[1] failed to run`,
	})
	if want := `BPF scheduler "x" disabled (runnable task stall); x: sh[1] failed to run`; got != want {
		t.Errorf("got %q", got)
	}
}

func TestKmsgTellsOnlyWhatCameAfterItsOpening(t *testing.T) {
	w, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("the kernel's log cannot be written here: %v", err)
	}
	defer w.Close()
	say := func(s string) {
		if _, err := w.WriteString("<7>sched_ext: " + s + "\n"); err != nil {
			t.Skipf("the kernel's log cannot be written here: %v", err)
		}
	}
	say("autosa test, before")
	k, err := openKmsg("/dev/kmsg")
	if err != nil {
		t.Skipf("the kernel's log cannot be read here: %v", err)
	}
	defer k.close()
	mark := fmt.Sprint("autosa test ", time.Now().UnixNano())
	say(mark)
	got := strings.Join(k.collect(), "\n")
	if !strings.Contains(got, mark) || strings.Contains(got, "before") {
		t.Errorf("got %q", got)
	}
	if again := strings.Join(k.collect(), "\n"); strings.Contains(again, mark) {
		t.Errorf("twice: %q", again)
	}
}

func TestKmsgThatMayNotBeReadSaysNothing(t *testing.T) {
	k, err := openKmsg("/nonexistent/kmsg")
	if err == nil {
		t.Fatal("no error")
	}
	if got := k.collect(); got != nil {
		t.Errorf("got %v", got)
	}
	k.close()
}

func FuzzStripEscapes(f *testing.F) {
	f.Add("\x1b[31mred\x1b[0m\x1b[")
	f.Add("\x1b\xff\x00")
	f.Fuzz(func(t *testing.T, s string) {
		got := stripEscapes(s)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\x1b\x00\r\x7f") {
			t.Errorf("%q became %q", s, got)
		}
		if got := oneLine(got); strings.Contains(got, "\n") || len(got) > 450 {
			t.Errorf("one line of %q is %q", s, got)
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add("12 (a) b) S 1 2 3")
	f.Add("x (")
	f.Fuzz(func(t *testing.T, s string) { parseStat(s) })
}

func TestStatOfACommandWithParentheses(t *testing.T) {
	got, ok := parseStat("12 (a) R 7 (b) S 34 56 7\n")
	if want := (procStat{pid: 12, ppid: 34, pgrp: 56, comm: got.comm}); !ok || got != want {
		t.Errorf("got %+v, %v", got, ok)
	}
}
