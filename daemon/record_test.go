// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"autosa/api"
	"autosa/engine"
	"autosa/recording"
	"autosa/scx"
	"autosa/workload"
)

// serving is a sample of a machine that answers requests.
func serving() (workload.Sample, error) {
	s := workload.Sample{Interval: time.Second, CPUs: 2, Source: workload.SourceBPF}
	s.Host = workload.Group{Name: workload.HostName, Switches: 20000, Voluntary: 19900, Involuntary: 100, Run: 700 * time.Millisecond, Wait: 50 * time.Millisecond}
	for range 20000 {
		s.Host.RunHist.Observe(35 * time.Microsecond)
		s.Host.WaitHist.Observe(5 * time.Microsecond)
		s.Host.SleepHist.Observe(400 * time.Microsecond)
	}
	s.Groups = []workload.Group{s.Host}
	s.Groups[0].ID, s.Groups[0].Name = 7, "/web"
	return s, nil
}

// tapeOf records into w until end is called. It returns when the recording has
// begun.
func tapeOf(b *bench, w *gate) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Record(ctx, api.RecordRequest{}, w) }()
	var once sync.Once
	end = func() {
		once.Do(func() {
			select {
			case <-b.ended: // so does the recording, once it has written what it was given
			default:
				cancel()
			}
			err := <-done
			cancel()
			if err != nil {
				b.t.Errorf("Record: %v", err)
			}
		})
	}
	b.t.Cleanup(end)
	const begun = 3 // writes: the magic, the header, the first state
	for deadline := time.Now().Add(2 * time.Minute); w.writes.Load() < begun; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatal("the recording did not begin within two minutes")
		}
	}
	return end
}

// replay replays a recording and wants it to be the run's own decisions.
func replay(t *testing.T, in []byte) (engine.Result, recording.Summary, []recording.Swap) {
	t.Helper()
	r, err := recording.NewReader(bytes.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	l := listing{Reader: r}
	res, err := engine.Replay(&l, engine.ReplayOptions{})
	if err != nil || res.Different+res.DifferentStates > 0 {
		t.Errorf("replay: %+v %v", res, err)
	}
	return res, r.Summary(), l.swaps
}

// listing reads a recording and keeps its swaps.
type listing struct {
	*recording.Reader
	swaps []recording.Swap
}

func (l *listing) Next() (recording.Record, error) {
	rec, err := l.Reader.Next()
	if s, ok := rec.(*recording.Swap); ok {
		l.swaps = append(l.swaps, *s)
	}
	return rec, err
}

// A run with auto's swaps, an order, one that fails and a scheduler that dies is
// recorded from amid it and replayed to its own decisions.
func TestRecordedRunIsReplayedToItsDecisions(t *testing.T) {
	b := newBench(t, benchConfig(t)).run()
	b.await("a run under way", func(st api.Status) bool { return st.Swaps > 0 && st.Samples > 10 })
	tape := newGate()
	end := tapeOf(b, tape)
	samples := func() { b.more(20) }
	samples()
	b.source.set(serving)
	b.await("scx_lavd", inCharge("scx_lavd"))
	if _, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "bpfland", Args: []string{"-x"}}); err != nil {
		t.Fatal(err)
	}
	samples()
	now, _ := b.hands.InCharge()
	b.hands.set(now, func(context.Context, scx.Target) error { return scx.ErrTimeout })
	if _, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "rusty"}); err == nil {
		t.Error("a swap that fails succeeded")
	}
	b.hands.set(now, nil)
	if _, err := b.Auto(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.await("scx_lavd again", inCharge("scx_lavd"))
	b.hands.set(scx.InCharge{Name: api.EEVDF, Owner: scx.OwnerKernel, Kernel: scx.KernelState{Supported: true, State: scx.StateDisabled, EnableSeq: 1}}, nil)
	b.hands.events <- scx.Event{Kind: scx.EventEjected, Target: scx.Target{Name: "scx_lavd", Args: now.Args}, Reason: "stall"}
	samples()
	b.more(stateEvery)
	b.end()
	end()
	res, sum, swaps := replay(t, tape.bytes())
	if !sum.Complete || res.Compared < stateEvery || res.States == 0 || res.Unsure > 0 {
		t.Errorf("complete %t, replay %+v, damages %v", sum.Complete, res, sum.Damages)
	}
	if len(swaps) < 4 || !swaps[0].OK || swaps[0].To.Scheduler != "scx_lavd" || swaps[1].To.Args[0] != "-x" || !swaps[1].Manual || swaps[2].OK || swaps[2].Error == "" {
		t.Errorf("swaps %+v", swaps)
	}
}

// more waits for so many further samples, however slow the machine is.
func (b *bench) more(n uint64) {
	b.t.Helper()
	from := b.Status().Samples
	for deadline := time.Now().Add(2 * time.Minute); b.Status().Samples < from+n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("not %d samples within two minutes", n)
		}
	}
}

// gate is a writer that takes nothing after it was shut, until it is opened.
type gate struct {
	mu     sync.Mutex
	buf    bytes.Buffer // guarded by mu
	isShut atomic.Bool
	opened chan struct{}
	once   sync.Once
	writes atomic.Int64
}

func newGate() *gate { return &gate{opened: make(chan struct{})} }

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

func (g *gate) Write(p []byte) (int, error) {
	if g.isShut.Load() {
		<-g.opened
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writes.Add(1)
	return g.buf.Write(p)
}

// bytes is what was written.
func (g *gate) bytes() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return bytes.Clone(g.buf.Bytes())
}

// Whoever takes records too slowly loses some and delays nobody; the loss is in
// the recording, and what follows it is replayed from a state of its own.
func TestSlowTapeLosesRecordsSaysSoAndDelaysNobody(t *testing.T) {
	b := newBench(t, benchConfig(t)).run()
	tape := newGate()
	end := tapeOf(b, tape)
	t.Cleanup(tape.open) // before the end of the recording is awaited
	tape.isShut.Store(true)
	b.more(2 * tapeRecords)
	tape.open()
	b.more(3 * tapeRecords / 2)
	b.end()
	end()
	res, sum, _ := replay(t, tape.bytes())
	if sum.Records[recording.TypeGap] == 0 || res.Lost == 0 || sum.Records[recording.TypeState] < 2 || !sum.Complete {
		t.Errorf("records %v, replay %+v", sum.Records, res)
	}
	if res.Compared < 50 || res.Unsure > 0 {
		t.Errorf("%d decisions could be compared, %d could not; want a state right behind the gap", res.Compared, res.Unsure)
	}
}

// A recording that is given up, and one whose writer fails, leave nothing behind.
func TestRecordingEndsWithItsWriterItsContextAndTheDaemon(t *testing.T) {
	b := newBench(t, benchConfig(t)).run()
	broken := errors.New("no space left on device")
	if err := b.Record(context.Background(), api.RecordRequest{}, writerFunc(func([]byte) (int, error) { return 0, broken })); !errors.Is(err, broken) {
		t.Errorf("a writer that fails: %v", err)
	}
	given := newGate()
	end := tapeOf(b, given)
	end()
	if _, sum, _ := replay(t, given.bytes()); sum.Complete || sum.Records[recording.TypeState] != 1 {
		t.Errorf("given up: %+v", sum.Records)
	}
	b.end()
	if err := b.Record(context.Background(), api.RecordRequest{}, io.Discard); err == nil {
		t.Error("a recording after the daemon's end")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestMachineIsDescribedFromSysfs(t *testing.T) {
	root := t.TempDir()
	write := func(path, content string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/cpuinfo", "processor\t: 0\nmodel name\t: Example 3000\nprocessor\t: 1\nmodel name\t: Other")
	write("proc/meminfo", "MemTotal:        2048 kB\nMemFree: 7 kB")
	write("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc")
	write("sys/devices/system/cpu/online", "0-1,3")
	for cpu, where := range map[string][3]string{"cpu0": {"0", "0", "0-1"}, "cpu1": {"0", "1", "0-1"}, "cpu3": {"1", "0", "2-3"}} {
		dir := "sys/devices/system/cpu/" + cpu
		write(dir+"/topology/physical_package_id", where[0])
		write(dir+"/topology/core_id", where[1])
		write(dir+"/cache/index0/level", "1")
		write(dir+"/cache/index0/type", "Data")
		write(dir+"/cache/index0/shared_cpu_list", cpu[3:])
		write(dir+"/cache/index1/level", "3")
		write(dir+"/cache/index1/type", "Unified")
		write(dir+"/cache/index1/shared_cpu_list", where[2])
	}
	write("sys/devices/system/cpu/cpu3/node1/cpulist", "3")
	write("sys/kernel/sched_ext/hotplug_seq", "0")
	got := describeMachine(root, scx.Kernel{})
	want := recording.Machine{
		Host: got.Host, Kernel: got.Kernel, Arch: got.Arch, SchedExt: got.SchedExt,
		CPUModel: "Example 3000", CPUs: 3, MemoryBytes: 2 << 20, Clock: "tsc", Features: recording.List[string]{"hotplug_seq"},
		Topology: recording.List[recording.CPU]{
			{CPU: 0, Package: 0, Core: 0, LLC: 0, Node: -1},
			{CPU: 1, Package: 0, Core: 1, LLC: 0, Node: -1},
			{CPU: 3, Package: 1, Core: 0, LLC: 2, Node: 1},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := describeMachine(t.TempDir(), scx.Kernel{}); got.CPUs != 0 || got.CPUModel != "" {
		t.Errorf("a machine that says nothing: %+v", got)
	}
	for _, s := range []string{"", "x", "3-1", "0-", "-1", "0-99999999999", "9000"} {
		if got := parseCPUList(s); got != nil {
			t.Errorf("%q is the CPUs %v", s, got)
		}
	}
}

// FuzzMachine describes a machine from any text.
func FuzzMachine(f *testing.F) {
	root := f.TempDir()
	for _, dir := range []string{"proc", "sys/devices/system/cpu/cpu0/topology", "sys/devices/system/cpu/cpu0/cache/index0"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			f.Fatal(err)
		}
	}
	f.Add("processor\t: 0\nmodel name\t: Example 3000\n", "MemTotal:        2048 kB\n", "0-1,3\n", "0\n")
	f.Add("model name", "MemTotal: -1 kB", "0-99999999999", "-1")
	f.Add("model name:\xff", "MemTotal:18446744073709551615", "3-1,0", "1-")
	f.Fuzz(func(t *testing.T, cpuinfo, meminfo, online, number string) {
		if len(online) > 64 {
			online = online[:64] // each CPU is looked for in sysfs
		}
		for name, text := range map[string]string{
			"proc/cpuinfo": cpuinfo, "proc/meminfo": meminfo, "sys/devices/system/cpu/cpu0/topology/core_id": number,
			"sys/devices/system/cpu/cpu0/cache/index0/level": number, "sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list": online,
		} {
			if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		m := describeMachine(root, scx.Kernel{})
		if !strings.Contains(cpuinfo, m.CPUModel) || m.MemoryBytes != 0 && !strings.Contains(meminfo, "MemTotal") {
			t.Fatalf("%+v from %q and %q", m, cpuinfo, meminfo)
		}
		if c := describeCPU(root, 0); c.CPU != 0 || c.LLC < -1 || c.LLC >= maxCPU || c.Node != -1 {
			t.Fatalf("%+v from %q and %q", c, number, online)
		}
		for _, cpu := range parseCPUList(online) {
			if cpu < 0 || cpu >= maxCPU {
				t.Fatalf("CPU %d from %q", cpu, online)
			}
		}
	})
}
