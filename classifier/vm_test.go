// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package classifier_test

import (
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"autosa/collector"
	"autosa/vmtest/guest"
	"autosa/workload"
)

// The class of a load may not depend on the scheduler that runs it. The
// machine is emulated and about ten times slower than a real one; the amounts
// of work are calibrated in it.
func TestVMLoadsAreRecognisedUnderEEVDF(t *testing.T) {
	guest.Tracing(t)
	guest.Long(t) // the native test is of the same loads
	recognise(t, "EEVDF")
}

func TestVMLoadsAreRecognisedUnderRusty(t *testing.T) {
	guest.Long(t)
	recogniseUnder(t, "scx_rusty", "rusty")
}

func TestVMLoadsAreRecognisedUnderLavd(t *testing.T) {
	guest.Long(t)
	recogniseUnder(t, "scx_lavd", "lavd")
}

func recogniseUnder(t *testing.T, scheduler, ops string) {
	guest.SchedExt(t)
	p := guest.Start(t, guest.Scheduler(t, scheduler))
	guest.Await(t, 2*time.Minute, scheduler+" in charge", func() bool {
		if p.Ended() {
			t.Fatalf("%s ended by itself", scheduler)
		}
		return guest.State(t) == "enabled" && strings.HasPrefix(guest.Ops(t), ops)
	})
	recognise(t, scheduler)
	if guest.State(t) != "enabled" {
		t.Errorf("%s is no longer in charge", scheduler)
	}
	if err := p.Stop(); err != nil {
		t.Errorf("stop %s: %v", scheduler, err)
	}
	guest.Await(t, time.Minute, scheduler+" gone", func() bool { return guest.State(t) == "disabled" })
}

func recognise(t *testing.T, scheduler string) {
	c, err := collector.New(collector.Options{Source: workload.SourceBPF})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	dev := guest.NullBlock(t)
	latency := []workload.Class{workload.Interactive, workload.Media, workload.Server}
	t.Log("\n" + tableHead)
	for _, k := range []known{
		{"spin a CPU", []string{"spin"}, []workload.Class{workload.Compute}, 0},
		{"spin 3 a CPU", []string{"spin", "-n", strconv.Itoa(3 * runtime.NumCPU())}, []workload.Class{workload.Batch}, 0},
		{"server", []string{"server", "-n", "4", "-think", "10ms"}, []workload.Class{workload.Server}, 0},
		// Short periods are missed here, and even longer ones are not even:
		// emulated CPUs wait for real ones.
		{"periodic 50 ms", []string{"periodic", "-n", "3", "-period", "50ms", "-work", "2ms"}, latency, 0},
		{"read", []string{"read", "-file", dev}, []workload.Class{workload.IO}, 0},
		{"sleep", []string{"sleep"}, []workload.Class{workload.Idle}, 0},
	} {
		t.Run(k.id(), func(t *testing.T) {
			p := guest.Load(t, append(k.args, "-cgroup", filepath.Join("/sys/fs/cgroup", k.id()))...)
			o := watchUntilRecognised(t, c, k, time.Second, true)
			if err := p.Stop(); err != nil {
				t.Errorf("stop %s: %v", k.name, err)
			}
			t.Log(o.row(k.name, scheduler))
			t.Logf("in the last second:\n%s", strings.Join(o.seen, "\n"))
			if late := missed(t, p.Output()); late > maxMissed && !k.recognised(o.host) {
				t.Skipf("the machine is too busy: the load missed %.0f %% of its own deadlines", 100*late)
			}
			if k.want[0] != workload.Idle { // nothing runs in its cgroup
				o.check(t, k)
			}
			// There is nothing else to do in this machine: the host is what the load is.
			if !k.recognised(o.host) {
				t.Errorf("%s: the host was taken for %s with %.2f: %s", k.name, o.host.Class, o.host.Confidence, list(o.host.Probabilities))
			}
		})
	}
}
