// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
	"autosa/bpf/trace/tracetest/reference"
)

// BenchmarkSwitch reports the mean time of the tracer's program and, beside it,
// of an empty program at the same tracepoint, on a pipe ping-pong: hot caches,
// hundreds of thousands of switches a second. Both include what the kernel's
// statistics themselves take.
func BenchmarkSwitch(b *testing.B) {
	tracer := load(b, trace.Options{})
	empty := attachEmpty(b)
	c := assign(b, tracer, 1)
	tracetest.PingPong(b, c, quietCPU()).Prefer()
	closer, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer closer.Close()
	time.Sleep(100 * time.Millisecond)

	before, emptyBefore := stats(b, tracer.Program()), emptyStats(b, empty)
	b.ResetTimer()
	for b.Loop() {
		time.Sleep(time.Second)
	}
	b.StopTimer()
	after, emptyAfter := stats(b, tracer.Program()), emptyStats(b, empty)
	b.ReportMetric(mean(before, after), "ns/switch")
	b.ReportMetric(mean(emptyBefore, emptyAfter), "ns/empty")
	b.ReportMetric(float64(after.RunCount-before.RunCount)/b.Elapsed().Seconds(), "switches/s")
	b.ReportMetric(0, "ns/op") // the time of a sleep
}

func stats(t testing.TB, p *ebpf.Program) *ebpf.ProgramStats {
	t.Helper()
	s, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func emptyStats(t testing.TB, e *reference.Empty) *ebpf.ProgramStats {
	t.Helper()
	runs, nanos, err := e.RunStats()
	if err != nil {
		t.Fatal(err)
	}
	return &ebpf.ProgramStats{RunCount: runs, Runtime: time.Duration(nanos)}
}

func mean(before, after *ebpf.ProgramStats) float64 {
	return float64(after.Runtime-before.Runtime) / float64(after.RunCount-before.RunCount)
}

// attachEmpty attaches a program that does nothing.
func attachEmpty(t testing.TB) *reference.Empty {
	t.Helper()
	e, err := reference.LoadEmpty()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}
