// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeKernel stands in for sched_ext: shell scripts register with it by the
// files that the kernel would show, and it takes a scheduler out when its
// process is gone, as the kernel does.
type fakeKernel struct {
	t    *testing.T
	host Host
	dir  string // kernel/sched_ext
	bin  string // the schedulers
}

func newFakeKernel(t *testing.T) *fakeKernel {
	t.Helper()
	h := fakeHost(t)
	k := &fakeKernel{t: t, host: h, dir: filepath.Join(h.Sys, "kernel/sched_ext"), bin: trustedDir(t)}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				b, err := os.ReadFile(k.dir + "/owner")
				if pid, _ := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && pid > 0 && !exists(pid) {
					_ = os.Remove(k.dir + "/owner")
					k.disable()
				}
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return k
}

func (k *fakeKernel) put(name, text string) {
	path := filepath.Join(k.dir, name)
	_ = os.MkdirAll(filepath.Dir(path), 0o755)
	_ = os.WriteFile(path+".put", []byte(text), 0o644)
	_ = os.Rename(path+".put", path)
}

func (k *fakeKernel) disable() {
	k.put("state", "disabling")
	_ = os.RemoveAll(k.dir + "/root")
	k.put("state", "disabled")
}

// enable registers what no process of ours is.
func (k *fakeKernel) enable(ops string, seq int) {
	k.put("root/ops", ops)
	k.put("state", "enabled")
	k.put("enable_seq", strconv.Itoa(seq))
}

func (k *fakeKernel) state() string {
	b, _ := os.ReadFile(k.dir + "/state")
	return strings.TrimSpace(string(b))
}

// scheduler installs a script that registers under ops after body has run, and
// stays until SIGTERM. As real loaders do, it looks at the kernel's state, then
// makes a link: body may do that much with "link".
func (k *fakeKernel) scheduler(name, ops, body string) {
	k.t.Helper()
	install(k.t, k.bin, name, fmt.Sprintf(`[ "$1" = --version ] && { echo %[1]s 1.0.0; exit 0; }
[ "$1" = --help ] && { echo "  -p, --performance"; exit 0; }
K=%[2]s
put() { echo "$2" > "$K/$1.$$" && mv "$K/$1.$$" "$K/$1"; }
linked=
link() {
	[ -n "$linked" ] && return
	[ "$(cat $K/state)" = disabled ] || { echo "Error: another sched_ext scheduler is already running" >&2; exit 1; }
	%[5]s %[6]s
	linked=yes
}
leave() { put left yes; put state disabling; rm -rf $K/root $K/owner; put state disabled; echo "EXIT: unregistered from user space"; exit 0; }
register() {
	link
	trap leave TERM
	put state enabling; mkdir -p $K/root; put root/ops %[3]s; put owner $$; put state enabled
	put enable_seq $(($(cat $K/enable_seq) + 1))
}
%[4]s
register
while :; do sleep 0.02; done`, name, k.dir, ops, body, self(k.t), linkWord))
}

// self is the path of this test's binary.
func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (k *fakeKernel) switcher(o Options) *Switcher {
	k.t.Helper()
	o.Catalogue = catalogue(k.t, CatalogueOptions{Dirs: []string{k.bin}})
	o.Catalogue.host = k.host
	o.Kernel, o.Log = Kernel{Root: k.host.Sys}, testLog(k.t)
	if o.ReadyTimeout == 0 {
		o.ReadyTimeout = 20 * time.Second
	}
	s, err := NewSwitcher(o)
	if err != nil {
		k.t.Fatal(err)
	}
	s.host = k.host
	k.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			k.t.Error(err)
		}
		for range s.Events() {
		}
	})
	return s
}

func mustSwitch(t *testing.T, s *Switcher, name string, args ...string) Result {
	t.Helper()
	res, err := s.Switch(t.Context(), Target{Name: name, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func inCharge(t *testing.T, s *Switcher) InCharge {
	t.Helper()
	in, err := s.InCharge()
	if err != nil {
		t.Fatal(err)
	}
	return in
}
