// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"autosa/workload"
)

// at is the sample, moved to a time and stretched to an interval with the same
// shape.
func at(s *workload.Sample, now time.Time, dt time.Duration) *workload.Sample {
	c := *s
	scale := dt.Seconds() / s.Interval.Seconds()
	c.Time, c.Interval = now, dt
	c.Groups = nil
	for _, g := range append([]workload.Group{s.Host}, s.Groups...) {
		for _, d := range []*time.Duration{&g.Run, &g.Wait, &g.Sleep, &g.IOWait} {
			*d = time.Duration(float64(*d) * scale)
		}
		for _, n := range []*uint64{&g.Switches, &g.Voluntary, &g.Involuntary} {
			*n = uint64(math.Round(float64(*n) * scale))
		}
		c.Groups = append(c.Groups, g)
	}
	c.Host, c.Groups = c.Groups[0], c.Groups[1:]
	return &c
}

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// run feeds n seconds of s and returns the last classification of the host.
func run(v *Voter, s *workload.Sample, start time.Time, n int) (workload.Classification, time.Time) {
	var c workload.Classification
	for range n {
		start = start.Add(time.Second)
		c = v.Observe(at(s, start, time.Second))[0]
	}
	return c, start
}

func slice4(name string) *workload.Sample { return sample(4*time.Millisecond, typical[name].shape) }

func TestVoteGivesHostThenGroupsInOrder(t *testing.T) {
	s := sample(4*time.Millisecond, typical["a spinner"].shape, typical["nothing"].shape, typical["a scan"].shape)
	out := NewVoter(0).Observe(s)
	var got []string
	for _, c := range out {
		got = append(got, c.Group+" "+c.Class.String())
		if !valid(c.Probabilities) || c.Confidence != c.Probabilities[c.Class] || !c.Time.Equal(s.Time) || !c.Since.Equal(s.Time) {
			t.Errorf("%+v", c)
		}
	}
	if want := []string{"host compute", "a compute", "b idle", "c io"}; !reflect.DeepEqual(got[1:], want[1:]) {
		t.Errorf("got %v, want %v", got, want)
	}
	if out[0].Group != workload.HostName || len(out[0].Reasons) == 0 {
		t.Errorf("the host comes first and with reasons: %+v", out[0])
	}
}

func TestAChangeIsBelievedWithinHalfAWindow(t *testing.T) {
	for _, window := range []time.Duration{6 * time.Second, time.Minute} {
		v := NewVoter(window)
		_, now := run(v, slice4("a spinner a CPU"), t0, 3*int(window.Seconds()))
		begin := now
		var c workload.Classification
		for c.Class != workload.Server || c.Confidence < 0.7 {
			c, now = run(v, slice4("a web server"), now, 1)
			if now.Sub(begin) > window {
				t.Fatalf("not believed within the window of %v: %+v", window, c.Probabilities)
			}
		}
		if took := now.Sub(begin); took > window/2 {
			t.Errorf("window %v: believed after %v", window, took)
		}
		// The class became the voted one earlier than it became sure.
		if c.Since.Before(begin) || c.Since.After(now) || now.Sub(c.Since) < window/20 {
			t.Errorf("since %v, change at %v, sure at %v", c.Since, begin, now)
		}
	}
}

func TestOneOddSecondChangesNothing(t *testing.T) {
	v := NewVoter(time.Minute)
	before, now := run(v, slice4("a spinner a CPU"), t0, 60)
	c, now := run(v, slice4("a web server"), now, 1)
	if c.Class != workload.Compute || c.Confidence < 0.9 {
		t.Errorf("after one odd second: %s with %.2f", c.Class, c.Confidence)
	}
	if !slices.ContainsFunc(c.Reasons, func(r workload.Reason) bool { return r.Feature == "vote" && r.Weight > 0 }) {
		t.Errorf("no reason says that the vote overrules the second: %+v", c.Reasons)
	}
	c, _ = run(v, slice4("a spinner a CPU"), now, 1)
	if !c.Since.Equal(before.Since) {
		t.Error("it forgot since when the class holds")
	}
}

func TestIntervalsCountByTheirLength(t *testing.T) {
	one, two := NewVoter(time.Minute), NewVoter(time.Minute)
	a, b := slice4("a spinner a CPU"), slice4("a scan")
	now, _ := t0, 0
	one.Observe(at(a, now, time.Second))
	two.Observe(at(a, now, time.Second))
	for range 20 {
		for range 4 {
			now = now.Add(500 * time.Millisecond)
			one.Observe(at(b, now, 500*time.Millisecond))
		}
		two.Observe(at(b, now, 2*time.Second))
	}
	x := one.Observe(at(b, now.Add(time.Second), time.Second))[0]
	y := two.Observe(at(b, now.Add(time.Second), time.Second))[0]
	for c := range x.Probabilities {
		if math.Abs(x.Probabilities[c]-y.Probabilities[c]) > 1e-3 {
			t.Errorf("P(%s): %.5f from short intervals, %.5f from long ones", workload.Class(c), x.Probabilities[c], y.Probabilities[c])
		}
	}
}

func TestWhatIsOlderThanTheWindowHasFivePercent(t *testing.T) {
	v := NewVoter(30 * time.Second)
	_, now := run(v, slice4("a spinner a CPU"), t0, 300)
	c, _ := run(v, slice4("a scan"), now, 30)
	if p := c.Probabilities[workload.Compute]; p < 0.03 || p > 0.07 {
		t.Errorf("after a window of other work compute has %.3f of the vote", p)
	}
}

func TestVotesAreDeterministic(t *testing.T) {
	play := func() (out [][]workload.Classification) {
		v := NewVoter(10 * time.Second)
		for i := range 50 {
			s := sample(4*time.Millisecond, typical["a player"].shape, typical["four spinners"].shape, typical["an editor"].shape)
			if i%3 == 0 {
				s = slice4("a scan")
			}
			out = append(out, v.Observe(at(s, t0.Add(time.Duration(i)*time.Second), time.Second)))
		}
		return out
	}
	if !reflect.DeepEqual(play(), play()) {
		t.Error("the same samples gave other classifications")
	}
}

func TestGroupsThatAreGoneAreForgotten(t *testing.T) {
	v := NewVoter(10 * time.Second)
	now := t0
	for i := range 5000 {
		s := sample(4*time.Millisecond, typical["a spinner"].shape, typical["a scan"].shape)
		s.Groups[0].ID, s.Groups[1].ID = uint64(2*i+10), uint64(2*i+11)
		now = now.Add(time.Second)
		v.Observe(at(s, now, time.Second))
		if len(v.groups) > 2*11 {
			t.Fatalf("%d groups remembered after %d s", len(v.groups), i)
		}
	}
	// In one burst there may be more, but no more than the bound and the
	// sample's own.
	for i := range 10_000 {
		s := sample(4*time.Millisecond, typical["a spinner"].shape)
		s.Groups[0].ID = uint64(1_000_000 + i)
		now = now.Add(time.Millisecond)
		v.Observe(at(s, now, time.Millisecond))
	}
	if len(v.groups) > maxTracks+1 {
		t.Errorf("%d groups remembered", len(v.groups))
	}
}

func TestAGroupThatIsRecreatedStartsAnew(t *testing.T) {
	v := NewVoter(time.Minute)
	_, now := run(v, slice4("a spinner"), t0, 60)
	s := slice4("a scan")
	s.Groups[0].ID = 99
	c := v.Observe(at(s, now.Add(time.Second), time.Second))[1]
	if c.Class != workload.IO || c.Confidence < 0.7 {
		t.Errorf("judged by its predecessor: %+v", c)
	}
}

func TestAGroupThatWasAwayFadesButIsKnown(t *testing.T) {
	v := NewVoter(60 * time.Second)
	_, now := run(v, slice4("a spinner"), t0, 60)
	_, now = run(v, sample(4*time.Millisecond), now, 30)
	s := at(slice4("a scan"), now.Add(time.Second), time.Second)
	c := v.Observe(s)[1]
	// e^-1.5 of the old vote, 1 s of the new one: still compute.
	if c.Class != workload.Compute || c.Confidence > 0.9 {
		t.Errorf("%s with %.2f", c.Class, c.Confidence)
	}
	if !valid(c.Probabilities) {
		t.Errorf("%v", c.Probabilities)
	}
}

func TestOddIntervalsAreNoTrouble(t *testing.T) {
	v := NewVoter(time.Minute)
	for _, dt := range []time.Duration{0, -time.Second, time.Nanosecond, time.Second, 100000 * time.Hour, 0, time.Second} {
		s := *slice4("a spinner")
		s.Interval = dt
		for _, c := range v.Observe(&s) {
			if !valid(c.Probabilities) || math.IsNaN(c.Confidence) {
				t.Errorf("after an interval of %v: %+v", dt, c)
			}
		}
	}
}

func TestAnIdleHostIsIdle(t *testing.T) {
	v := NewVoter(0)
	c, _ := run(v, sample(4*time.Millisecond, typical["a few timers"].shape), t0, 10)
	if c.Class != workload.Idle || c.Confidence < 0.9 {
		t.Errorf("%s with %.2f", c.Class, c.Confidence)
	}
	c, _ = run(NewVoter(0), &workload.Sample{Interval: time.Second, CPUs: 2, Source: workload.SourceBPF}, t0, 1)
	if c.Class != workload.Idle || c.Confidence < 0.9 {
		t.Errorf("an empty sample: %s with %.2f", c.Class, c.Confidence)
	}
}

func TestTheDaemonsOwnWorkIsNotTheMachines(t *testing.T) {
	s := sample(4*time.Millisecond, shape{load: 0.15, runnable: 0.15, work: 3 * time.Millisecond, sleep: 30 * time.Millisecond})
	s.Groups = nil
	if c := NewVoter(0).Observe(s)[0]; c.Class != workload.Interactive {
		t.Fatalf("somebody else's work is %s", c.Class)
	}
	s.Tracer.Cost.DaemonShare = 0.145 / cpus
	if c := NewVoter(0).Observe(s)[0]; c.Class != workload.Idle || c.Confidence < 0.7 {
		t.Errorf("the daemon's own work is %s with %.2f", c.Class, c.Confidence)
	}
	for _, share := range []float64{2, -1, math.NaN()} {
		s.Tracer.Cost.DaemonShare = share
		if c := NewVoter(0).Observe(s)[0]; !valid(c.Probabilities) {
			t.Errorf("a share of %v gives %v", share, c.Probabilities)
		}
	}
}

func TestHostIsMixedWhereLatencyAndThroughputContend(t *testing.T) {
	build := shape{load: 1.8, runnable: 5, work: 30 * time.Millisecond, sleep: 5 * time.Millisecond}
	for _, tt := range []struct {
		name   string
		shapes []shape
		want   workload.Class
	}{
		{"a call during a build", []shape{typical["a player"].shape, build}, workload.Mixed},
		{"a web server during a build", []shape{build, typical["a web server"].shape}, workload.Mixed},
		{"an editor beside two full CPUs", []shape{{load: 1.95, runnable: 2}, typical["an editor"].shape}, workload.Mixed},
		{"two builds", []shape{build, build}, workload.Batch},
		{"a build and idle groups", []shape{build, typical["nothing"].shape, typical["a few timers"].shape}, workload.Batch},
		{"a player and a web server", []shape{typical["a player"].shape, typical["a web server"].shape}, workload.Server},
		{"a build alone", []shape{build}, workload.Batch},
		{"a scan beside idle groups", []shape{typical["a scan"].shape, typical["nothing"].shape}, workload.IO},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := NewVoter(0).Observe(sample(4*time.Millisecond, tt.shapes...))[0]
			if c.Class != tt.want {
				t.Errorf("%s with %.2f, want %s: %.2v", c.Class, c.Confidence, tt.want, c.Probabilities)
			}
			if tt.want == workload.Mixed && (c.Confidence < 0.7 || c.Reasons[0].Feature != "contending_groups" || c.Reasons[0].Weight <= 0) {
				t.Errorf("confidence %.2f, reasons %+v", c.Confidence, c.Reasons)
			}
		})
	}
}

func TestOneGroupAlwaysGoesWithAnother(t *testing.T) {
	// A group that is half latency, half throughput is no pair with itself.
	half := workload.Probabilities{workload.Server: 0.5, workload.Batch: 0.5}
	idle := workload.Probabilities{workload.Idle: 0.4, workload.IO: 0.6}
	host := workload.Features{CPUs: 2, Runnable: 3}
	groups := []workload.Group{{Name: "a"}, {Name: "b"}}
	if c := contend(&host, groups, []workload.Probabilities{half, idle}); c.probability > 1e-9 {
		t.Errorf("contends with itself: %+v", c)
	}
	if c := contend(&host, groups, []workload.Probabilities{half, half}); math.Abs(c.probability-0.25) > 1e-6 || c.latency == c.throughput {
		t.Errorf("two halves: %+v", c)
	}
}

func TestRoomForBothIsNoContention(t *testing.T) {
	c := NewVoter(0).Observe(sample(4*time.Millisecond, typical["a spinner"].shape, typical["a player"].shape))[0]
	if p := c.Probabilities[workload.Mixed]; p > 0.1 {
		t.Errorf("a spinner and a player on two CPUs are mixed with %.2f", p)
	}
}

// A session's cgroup may hold a call and a build alike.
func TestOneBusyGroupCanBeAMixtureOfItsOwn(t *testing.T) {
	session := shape{load: 2, runnable: 3, work: 8 * time.Millisecond, sleep: 8 * time.Millisecond, even: 0.8, period: 16667 * time.Microsecond}
	out := NewVoter(0).Observe(sample(4*time.Millisecond, session, typical["nothing"].shape))
	for _, c := range out[:2] {
		if c.Class != workload.Mixed {
			t.Errorf("%s is %s with %.2f, want mixed: %.2v", c.Group, c.Class, c.Confidence, c.Probabilities)
		}
	}
}

// Kernel threads and the like have the shape of latency work.
func TestTheRootGroupMakesNothingMixed(t *testing.T) {
	s := sample(4*time.Millisecond, shape{load: 1.9, runnable: 2}, typical["an editor"].shape)
	s.Groups[1].Name = "/"
	if c := NewVoter(0).Observe(s)[0]; c.Class != workload.Compute {
		t.Errorf("%s with %.2f, want compute: %+v", c.Class, c.Confidence, c.Reasons)
	}
}

func BenchmarkObserve64Groups(b *testing.B) {
	shapes := make([]shape, 64)
	for i := range shapes {
		shapes[i] = []shape{typical["a browser"].shape, typical["four spinners"].shape, typical["a scan"].shape, typical["a player"].shape}[i%4]
	}
	s := sample(4*time.Millisecond, shapes...)
	v := NewVoter(0)
	b.ReportAllocs()
	for b.Loop() {
		v.Observe(s)
	}
}
