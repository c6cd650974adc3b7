// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"os"
	"runtime"
	"testing"
	"time"

	"autosa/bpf/trace/tracetest"
	"autosa/workload"
)

// soak says whether tests may take their time.
func soak() bool { return os.Getenv("AUTOSA_SOAK") != "" }

// verdicts counts what the ticks of a noisy neighbourhood said.
type verdicts struct {
	ticks, named int
	// wrong counts ticks in which another than the culprit was the first named
	// for the victim's waits, blamed those in which the bystander or the
	// throttled group was named for the victim's at all, excused those in which
	// somebody was named for the throttled group's.
	wrong, blamed, excused int
}

// neighbourhood has the roles of a noisy neighbour's tale played by the cgroups,
// starting with another one each round, and judges what the samples say:
//
//   - the culprit: three spinners on the victim's CPU,
//   - the victim: two threads that hand a byte to and fro,
//   - the bystander: a spinner alone on the other CPU,
//   - the throttled group, if limit is set: a spinner beside the bystander,
//     whose cgroup limit gives a quota.
func neighbourhood(t *testing.T, rounds, ticksEach int, tick time.Duration, limit func(*tracetest.Cgroup, bool)) verdicts {
	t.Helper()
	if runtime.NumCPU() < 2 {
		t.Skip("needs two CPUs")
	}
	// What else goes on leaves room for the tale's events.
	c := traced(t, Options{EventsPerSecond: 20_000})
	var groups [4]*tracetest.Cgroup
	for i := range groups {
		groups[i] = tracetest.NewCgroup(t)
	}
	var v verdicts
	for round := range rounds {
		role := func(i int) *tracetest.Cgroup { return groups[(round+i)%len(groups)] }
		culprit, victim, bystander, throttled := role(0), role(1), role(2), role(3)
		here, there := lastCPU()-round%2, lastCPU()-1+round%2
		var loads []*tracetest.Load
		for range 3 {
			loads = append(loads, tracetest.Spin(t, culprit, here))
		}
		loads = append(loads, tracetest.PingPong(t, victim, here), tracetest.Spin(t, bystander, there))
		if limit != nil {
			limit(throttled, true)
			loads = append(loads, tracetest.Spin(t, throttled, there))
		}
		for _, l := range loads {
			// Before the machine's other tasks, of which the test is one: it must still get to its ticks.
			l.Nice(-6)
		}
		// What the start was like is not the tale.
		time.Sleep(tick)
		sample(t, c)
		time.Sleep(tick)
		sample(t, c)
		for range ticksEach {
			time.Sleep(tick)
			s := sample(t, c)
			v.judge(t, &s, culprit.Name, victim.Name, bystander.Name, throttled.Name)
		}
		for _, l := range loads {
			l.Kill()
		}
		if limit != nil {
			limit(throttled, false)
		}
	}
	t.Logf("counted: %d ticks in %d rounds, in %d the culprit was named, in %d another first, in %d a bystander at all, in %d somebody for the throttled group's",
		v.ticks, rounds, v.named, v.wrong, v.blamed, v.excused)
	return v
}

func (v *verdicts) judge(t *testing.T, s *workload.Sample, culprit, victim, bystander, throttled string) {
	v.ticks++
	first := true
	for _, e := range s.Events.WaitedFor {
		if e.Waiter == throttled {
			v.excused++
		}
		if e.Waiter != victim {
			continue
		}
		switch {
		case e.Holder == culprit && first:
			v.named++
		case first:
			v.wrong++
			t.Logf("the victim waited most for %s: %+v", e.Holder, s.Events.WaitedFor)
		}
		if e.Holder == bystander || e.Holder == throttled {
			v.blamed++
		}
		first = false
	}
	if first {
		t.Logf("the victim waited for nobody: %d events from %v on, %+v", s.Events.Received, s.Events.WaitThreshold, s.Events.WaitedFor)
	}
}

func (v *verdicts) check(t *testing.T, least float64) {
	t.Helper()
	if share := float64(v.named) / float64(v.ticks); share < least {
		t.Errorf("the culprit was named in %d of %d ticks, want %.0f %%", v.named, v.ticks, 100*least)
	}
	if v.blamed > 0 {
		t.Errorf("bystanders were named in %d ticks", v.blamed)
	}
	if v.excused > 0 {
		t.Errorf("others were named for what a quota did in %d ticks", v.excused)
	}
}

func TestCulpritIsNamedAndBystandersAreNot(t *testing.T) {
	rounds, each, tick, least := 4, 4, 250*time.Millisecond, 0.5
	if soak() {
		rounds, each, tick, least = 8, 10, 500*time.Millisecond, 0.95
	}
	v := neighbourhood(t, rounds, each, tick, nil)
	v.check(t, least)
}
