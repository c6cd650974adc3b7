// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
	"autosa/bpf/trace/tracetest/reference"
	"autosa/workload"
)

// finest is from where on the tracer and the reference must agree: the clock of
// the one is read earlier in a switch than that of the other.
const finest = 16 * time.Microsecond

func TestWaitsAreThoseOfTheReference(t *testing.T) { compare(t, 30_000) }

// compare runs the tracer and the reference on the same load, whose threads are
// forced from CPU to CPU, until the machine has switched n times and some of them
// have followed.
func compare(t *testing.T, n uint64) {
	t.Helper()
	tracer := load(t, trace.Options{})
	ref, err := reference.Load()
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer ref.Close()
	l := tracetest.Mix(t, tracetest.NewCgroup(t))
	l.Yield()
	turn := 0
	shuffleUntil := func(switches, migrations uint64) {
		migrations += cell(t, tracer, 0).Migrations
		tracetest.Await(t, "the machine's switches", func() bool {
			l.Shuffle(turn)
			turn++
			return ref.Switches() >= switches && cell(t, tracer, 0).Migrations >= migrations
		})
	}
	// A while, so that both have seen what is under way.
	shuffleUntil(n/10, 0)
	for attempt := 1; ; attempt++ {
		before, beforeRef := watch(t, tracer, ref)
		shuffleUntil(beforeRef.switches+n, 50)
		after, afterRef := watch(t, tracer, ref)
		said, wrong := disagreements(after.since(before), afterRef.since(beforeRef))
		if wrong == nil {
			t.Logf("counted: %s", said)
			return
		}
		t.Log(said)
		// A CPU that the hypervisor does not run amid a switch ends many waits late.
		t.Logf("attempt %d: %s", attempt, strings.Join(wrong, "; "))
		if attempt == attempts {
			t.Fatal("the tracer and the reference disagree")
		}
	}
}

// disagreements puts the two side by side, and says in what the tracer differs
// from the reference by more than it may.
func disagreements(got, want view) (said string, wrong []string) {
	differ := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	said = fmt.Sprintf("%d switches, the reference's %d; %d and %d waits, %d and %d lost",
		got.switches, want.switches, got.wait.Count(), want.wait.Count(), got.lost, want.lost)
	if apart(got.switches+got.lost, want.switches) > 0.005 {
		differ("%d switches, the reference has %d", got.switches, want.switches)
	}
	if apart(got.wait.Count()+got.lost, want.wait.Count()+want.lost) > 0.005 {
		differ("%d waits, the reference has %d", got.wait.Count(), want.wait.Count())
	}
	if float64(got.lost) > 0.005*float64(want.switches) {
		differ("%d of %d switches lost", got.lost, want.switches)
	}
	for _, q := range []float64{0.5, 0.9, 0.99, 0.999} {
		g, w := got.wait.Quantile(q), want.wait.Quantile(q)
		octaves := math.Abs(math.Log2(float64(max(g, finest)) / float64(max(w, finest))))
		said += fmt.Sprintf("; p%g %v and %v", 100*q, g, w)
		if q >= 0.9 && octaves > 1 {
			differ("p%g of the waits is %v, the reference's %v", 100*q, g, w)
		}
	}
	return said, wrong
}

// view is what one of the two has counted on the machine.
type view struct {
	switches uint64
	lost     uint64
	wait     workload.Histogram
}

func (v view) since(before view) view {
	v.switches -= before.switches
	v.lost -= before.lost
	for i, n := range before.wait {
		v.wait[i] -= n
	}
	return v
}

// watch reads both as much at the same time as it can. No cgroup has a slot.
func watch(t *testing.T, tracer *trace.Tracer, ref *reference.Reference) (own, other view) {
	t.Helper()
	c := cell(t, tracer, 0)
	wait, err := ref.Wait()
	if err != nil {
		t.Fatal(err)
	}
	own.switches, other.switches = c.Switches, ref.Switches()
	for i, n := range c.Wait {
		own.wait[i] = uint64(n)
	}
	lost := losses(t, tracer)
	for _, name := range []string{"switch_no_storage", "switch_first_slice", "switch_backwards", trace.LossRecursion} {
		own.lost += lost[name]
	}
	other.wait, other.lost = wait, ref.Lost()
	return own, other
}

// apart is the distance of two numbers as a share of the second.
func apart(a, b uint64) float64 { return math.Abs(float64(a)/float64(b) - 1) }
