// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"strings"
	"testing"
	"time"
)

// added is what kernel 7.2 sends when scx_rusty has come up.
const added = "add@/kernel/sched_ext/root\x00ACTION=add\x00DEVPATH=/kernel/sched_ext/root\x00SUBSYSTEM=sched_ext\x00SCXOPS=rusty_1.1.4_x86_64_unknown_linux_gnu\x00SEQNUM=1234\x00"

func TestUeventsOfSchedExtAreToldFromOthers(t *testing.T) {
	for msg, want := range map[string]uevent{
		added: {"add", "rusty_1.1.4_x86_64_unknown_linux_gnu"},
		"remove@/kernel/sched_ext/root\x00ACTION=remove\x00SUBSYSTEM=sched_ext\x00": {"remove", ""},
		"add@/devices/x\x00ACTION=add\x00SUBSYSTEM=block\x00":                       {},
		"libudev\x00\xfe\xed\xca\xfe\x00ACTION=add\x00SUBSYSTEM=sched_ext\x00":      {},
		"add@/kernel/sched_ext/root\x00SUBSYSTEM=sched_ext\x00":                     {},
		"":  {},
		"@": {},
	} {
		got, ok := parseUevent([]byte(msg))
		if ok != (want != uevent{}) || ok && got != want {
			t.Errorf("%q: %+v, %v", msg, got, ok)
		}
	}
}

func TestListeningEndsWithItsContext(t *testing.T) {
	u, err := listenUevents()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- u.each(ctx, func(uevent) {}) }()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
	closed, err := listenUevents()
	if err != nil {
		t.Fatal(err)
	}
	closed.file.Close()
	if err := closed.each(t.Context(), func(uevent) {}); err == nil {
		t.Error("a closed socket ended it without an error")
	}
}

func FuzzUevent(f *testing.F) {
	for _, seed := range []string{added, "", "@\x00SUBSYSTEM=sched_ext\x00ACTION=", "a@b\x00=\x00==\x00SUBSYSTEM=sched_ext\x00ACTION=x"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		e, ok := parseUevent(msg)
		if ok && (e.action == "" || !strings.Contains(string(msg), "SUBSYSTEM=sched_ext") || strings.Contains(e.action+e.ops, "\x00")) {
			t.Fatalf("%+v from %q", e, msg)
		}
	})
}
