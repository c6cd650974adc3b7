// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"autosa/api"
)

func TestHoldForATimeAndRelease(t *testing.T) {
	f := &fake{}
	socket := serve(t, f)
	out, errOut, code := autosa(t, nil, "hold", "--for", "10m", "--reason", "live demo", "--socket", socket)
	until := noon.Add(600e9).Local().Format("2006-01-02 15:04:05")
	if want := "held until " + until + "; `autosa hold --release 1` ends it before\n"; code != 0 || errOut != "" || out != want {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	if diff := cmp.Diff([]api.HoldRequest{{Seconds: 600, Reason: "live demo"}}, f.holds); diff != "" {
		t.Error(diff)
	}
	out, _, code = autosa(t, nil, "hold", "--release", "3", "12", "--socket", socket)
	if code != 0 || out != "released 3: demo\nreleased 12: demo\n" {
		t.Errorf("exit %d: %s", code, out)
	}
	out, _, code = autosa(t, nil, "hold", "--release", "--socket", socket)
	if code != 0 || out != "no hold was in force\n" {
		t.Errorf("exit %d: %s", code, out)
	}
	if diff := cmp.Diff([]uint64{3, 12, 0}, f.released); diff != "" {
		t.Error(diff)
	}
}

func TestHoldWhileACommandRunsEndsWithItsCode(t *testing.T) {
	for _, tt := range []struct {
		script string
		code   int
		out    string
	}{
		{"echo done", 0, "done\n"},
		{"exit 7", 7, ""},
		{"kill -TERM $$", 128 + 15, ""},
	} {
		f := &fake{}
		out, errOut, code := autosa(t, nil, "hold", "--socket", serve(t, f), "--", "sh", "-c", tt.script)
		if code != tt.code || out != tt.out || errOut != "" {
			t.Errorf("%s: exit %d, want %d: %q %q", tt.script, code, tt.code, out, errOut)
		}
		if len(f.holds) != 1 || f.holds[0].Seconds != 0 || f.holds[0].Reason != "running sh -c "+tt.script {
			t.Errorf("holds %+v", f.holds)
		}
	}
}

func TestHoldThatEndsBeforeItsCommandIsSaid(t *testing.T) {
	f := &fake{holdEnd: make(chan struct{})}
	close(f.holdEnd)
	// The command waits for what the test never closes until the hold's end was said.
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	if err := unix.SetNonblock(int(read.Fd()), false); err != nil { // as a command expects its input
		t.Fatal(err)
	}
	said := &closing{write}
	var out strings.Builder
	a := &app{stdin: read, stdout: &out, stderr: said, now: nil}
	if code := a.run(t.Context(), []string{"hold", "--socket", serve(t, f), "--", "cat"}); code != 0 {
		t.Errorf("exit %d", code)
	}
	if want := "autosa: the hold has ended, cat goes on without it\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// closing hands one message on and closes.
type closing struct{ file *os.File }

func (c *closing) Write(b []byte) (int, error) {
	n, err := c.file.Write(b)
	_ = c.file.Close()
	return n, err
}

func TestHoldThatMakesNoSenseIsAUsageError(t *testing.T) {
	socket := serve(t, &fake{})
	for _, tt := range []struct{ args, says string }{
		{"", "for how long? --for 10m, or -- and a command"},
		{"--for 0s", "--for 0s: the hold would be over at once"},
		{"--for 200h", "a hold of 200h0m0s is too long: at most 168h0m0s"},
		{"--for 1m -- true", "--for and a command exclude each other: whose end is to count?"},
		{"--release --for 1m", "--release goes with nothing but the numbers of holds"},
		{"--release x", "\"x\" is not the number of a hold; `autosa status` shows them"},
		{"true", "unexpected argument \"true\": a command follows --"},
		{"--", "no command follows --"},
		{"--json -- true", "--json does not go with a command, whose output is its own"},
	} {
		args := append([]string{"hold", "--socket", socket}, strings.Fields(tt.args)...)
		if out, errOut, code := autosa(t, nil, args...); code != 2 || out != "" || errOut != "autosa: "+tt.says+"; see `autosa hold --help`\n" {
			t.Errorf("%s: exit %d: %s%s", tt.args, code, out, errOut)
		}
	}
	if _, errOut, code := autosa(t, nil, "hold", "--socket", socket, "--", "no-such-command"); code != 1 || !strings.HasSuffix(errOut, "; nothing was held\n") {
		t.Errorf("exit %d: %s", code, errOut)
	}
}

func TestLongCommandsNameIsCutToAReason(t *testing.T) {
	r := runningReason([]string{strings.Repeat("ä", 500)})
	if len(r) > api.MaxHoldReasonBytes || !strings.HasSuffix(r, "ä…") || (api.HoldRequest{Reason: r}).Check() != nil {
		t.Errorf("%d bytes: %q", len(r), r)
	}
}

func TestSwitchWithoutWaitingSaysSo(t *testing.T) {
	f := &fake{}
	out, _, code := autosa(t, nil, "switch", "--no-wait", "--socket", serve(t, f), "rusty")
	if code != 0 || out != "ordered, and not yet done: `autosa status` shows how it ends\n" {
		t.Errorf("exit %d: %s", code, out)
	}
	if len(f.orders) != 1 || !f.orders[0].NoWait {
		t.Errorf("orders %+v", f.orders)
	}
}
