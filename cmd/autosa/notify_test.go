// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"autosa/api"
	"autosa/workload"
)

func TestTheServiceManagerHearsEachChangeOnceAndTheWatchdogInTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "40000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	n := newNotifier(slog.New(slog.DiscardHandler), time.Millisecond)
	st := api.Status{Mode: api.ModeAuto, Scheduler: api.InCharge{Name: api.EEVDF}}
	n.ready(st)
	n.tick(st)
	st.Workload = api.Workload{Class: workload.Compute, Confidence: 0.9}
	n.tick(st)
	n.tick(st)
	time.Sleep(15 * time.Millisecond) // more than a quarter of the watchdog's time
	n.tick(st)
	n.stopping()
	n.stopping()
	n.tick(st)
	var got []string
	buf := make([]byte, 4096)
	for {
		_ = l.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		k, err := l.Read(buf)
		if err != nil {
			break
		}
		got = append(got, string(buf[:k]))
	}
	want := []string{
		"READY=1", "STATUS=auto: eevdf in charge", "STATUS=auto: eevdf in charge, workload compute", "WATCHDOG=1", "STOPPING=1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestATooShortWatchdogIsWarnedAbout(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "1000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	var b strings.Builder
	newNotifier(slog.New(slog.NewTextHandler(&b, nil)), time.Second)
	if !strings.Contains(b.String(), "shorter than three collection intervals") {
		t.Errorf("log: %s", &b)
	}
}
