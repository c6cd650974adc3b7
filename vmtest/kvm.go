// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	kvmTrialTimeout = 60 * time.Second
	kvmTrialWord    = "hardware-virtualization-works"
)

// kvmWorks tells whether the kernel boots under KVM here. A device file proves nothing: nested virtualisation can be
// there and fail on the first instruction it does not emulate, so the kernel is booted once and the result remembered
// in the cache, by the releases of host and guest.
func (c Cache) kvmWorks(ctx context.Context, k Kernel, tempDir string) (bool, error) {
	dev, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false, nil
	}
	_ = dev.Close()
	var host unix.Utsname
	if err := unix.Uname(&host); err != nil {
		return false, fmt.Errorf("uname: %w", err)
	}
	memory := filepath.Join(c.dir, "kvm", unix.ByteSliceToString(host.Release[:])+"_"+k.Release)
	switch known, err := os.ReadFile(memory); {
	case err == nil:
		return strings.HasPrefix(string(known), "yes"), nil
	case !errors.Is(err, os.ErrNotExist):
		return false, fmt.Errorf("read what is known of KVM: %w", err)
	}
	verdict, err := c.tryKVM(ctx, k, tempDir)
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(memory), 0o755); err != nil {
		return false, fmt.Errorf("remember what is known of KVM: %w", err)
	}
	if err := os.WriteFile(memory, []byte(verdict+"\n"), 0o644); err != nil {
		return false, fmt.Errorf("remember what is known of KVM: %w", err)
	}
	return strings.HasPrefix(verdict, "yes"), nil
}

// clock is the [Machine.Icount] for a guest: virtual time where its processors are emulated.
func (c Cache) clock(ctx context.Context, k Kernel, tempDir string) (string, error) {
	if kvm, err := c.kvmWorks(ctx, k, tempDir); kvm || err != nil {
		return "", err
	}
	return VirtualTime, nil
}

// tryKVM returns "yes" or "no" with the reason; its error is for trials that say nothing, because ctx ended.
func (c Cache) tryKVM(ctx context.Context, k Kernel, tempDir string) (string, error) {
	trial, cancel := context.WithTimeout(ctx, kvmTrialTimeout)
	defer cancel()
	out := &watcher{word: "KVM internal error", seen: cancel} // the emulator says so and stops, but does not end
	err := c.run(trial, Machine{Kernel: k, Command: "echo " + kvmTrialWord, Stdout: out, Console: out, TempDir: tempDir}, true)
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("try KVM: %w", context.Cause(ctx))
	case out.contains(kvmTrialWord):
		return "yes", nil
	case out.contains(out.word):
		return "no: " + out.word, nil
	case err != nil:
		return "no: " + err.Error(), nil
	default:
		return "no: the trial ended without a word", nil
	}
}

// watcher keeps what is written and calls seen when word is in it. It is safe for concurrent use.
type watcher struct {
	word string
	seen func()

	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if bytes.Contains(w.buf.Bytes(), []byte(w.word)) {
		w.seen()
	}
	return len(p), nil
}

func (w *watcher) contains(s string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(w.buf.String(), s)
}
