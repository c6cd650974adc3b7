// SPDX-License-Identifier: Apache-2.0

package classifier_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"autosa/classifier"
	"autosa/collector"
	"autosa/workload"
)

// known is a load whose kind is known from how it is made.
type known struct {
	name string
	args []string // of the load generator
	// want are the classes it may be taken for: one, where the kinds do not
	// overlap.
	want []workload.Class
	// min is the least confidence; 0 is minConfidence.
	min float64
}

// id is a name for the load's cgroup and subtest.
func (k known) id() string { return "autosa-" + strings.ReplaceAll(k.name, " ", "-") }

// observation is what was made of a load in its own cgroup.
type observation struct {
	group, host workload.Classification
	// mean are the mean features of the group, over the ticks it was seen in.
	mean  workload.Features
	ticks int
	// seen has a line for the host and for every group of the last sample.
	seen []string
}

// observe watches the cgroup of the given name for so many ticks.
func observe(t *testing.T, c *collector.Collector, group string, tick time.Duration, ticks int) observation {
	t.Helper()
	v := classifier.NewVoter(time.Duration(ticks) * tick)
	var o observation
	var sum [numColumns]float64
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for range ticks {
		now := <-ticker.C
		s, err := c.Collect(now)
		if errors.Is(err, collector.ErrTooSoon) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		out := v.Observe(&s)
		o.host = out[0]
		o.seen = o.seen[:0]
		for i, c := range out {
			g := &s.Host
			if i > 0 {
				g = &s.Groups[i-1]
			}
			one := observation{group: c, mean: workload.FeaturesOf(&s, g)}
			o.seen = append(o.seen, one.row(c.Group, list(c.Probabilities)))
		}
		for i := range s.Groups {
			if path.Base(s.Groups[i].Name) != group {
				continue
			}
			o.group = out[1+i]
			f := workload.FeaturesOf(&s, &s.Groups[i])
			o.mean = f
			o.ticks++
			for col, x := range columns(&f) {
				sum[col] += x
			}
		}
	}
	for col := range sum {
		sum[col] /= float64(max(o.ticks, 1))
	}
	setColumns(&o.mean, sum)
	return o
}

const numColumns = 10

// columns are the features that are shown, as numbers to average.
func columns(f *workload.Features) [numColumns]float64 {
	return [numColumns]float64{f.Util, f.Runnable, f.Wakeups, f.WakeRate, f.SleepP50.Seconds(), f.IOShare, f.IOWaiting,
		f.Periodicity, f.Involuntary, f.Burst.Seconds()}
}

func setColumns(f *workload.Features, x [numColumns]float64) {
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	f.Util, f.Runnable, f.Wakeups, f.WakeRate, f.SleepP50 = x[0], x[1], x[2], x[3], seconds(x[4])
	f.IOShare, f.IOWaiting, f.Periodicity, f.Involuntary, f.Burst = x[5], x[6], x[7], x[8], seconds(x[9])
}

const tableHead = "| load | scheduler | class | P | util | runnable/CPU | switches/s/CPU | per run-s | sleep p50 | I/O share | blocked | periodic | preempted | burst |\n" +
	"|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"

// row is the observation as a line of the table in docs/CLASSIFIER.md.
func (o *observation) row(load, scheduler string) string {
	f := &o.mean
	return fmt.Sprintf("| %s | %s | %s | %.2f | %.2f | %.2f | %.0f | %.0f | %v | %.2f | %.2f | %.2f | %.2f | %v |", load, scheduler, o.group.Class, o.group.Confidence,
		f.Util, f.Runnable, f.Wakeups, f.WakeRate, f.SleepP50.Round(10*time.Microsecond), f.IOShare, f.IOWaiting, f.Periodicity,
		f.Involuntary, f.Burst.Round(time.Microsecond))
}

// recognised says whether the group, or the host, was taken for what it is.
func (k known) recognised(c workload.Classification) bool {
	return slices.Contains(k.want, c.Class) && c.Confidence >= cmp.Or(k.min, minConfidence)
}

// minConfidence is the least with which a load must be recognised: the one on
// which autosa acts by default.
const minConfidence = 0.7

// watchUntilRecognised gives a load 20 s to be recognised: until a
// machine with other things to do, or an emulated one that waits for a real
// CPU, has a calm moment. The host is looked at where nothing else runs.
func watchUntilRecognised(t *testing.T, c *collector.Collector, k known, tick time.Duration, host bool) observation {
	t.Helper()
	// To calibrate, get a slot for the cgroup, learn rhythms.
	for range 3 {
		time.Sleep(tick)
		if _, err := c.Collect(time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	var o observation
	for end := time.Now().Add(time.Minute); ; {
		o = observe(t, c, k.id(), tick, 4)
		if (k.recognised(o.group) || k.want[0] == workload.Idle) && (k.recognised(o.host) || !host) || time.Now().After(end) {
			return o
		}
		t.Logf("not yet:\n%s", strings.Join(o.seen, "\n"))
	}
}

// maxMissed is the share of its own deadlines that a load may miss: one that
// misses more is not the work that it is named for.
const maxMissed = 0.1

// missed is the share of its deadlines that a load missed, by the line it
// printed at its end.
func missed(t *testing.T, out string) float64 {
	t.Helper()
	var r struct{ Iterations, Missed float64 }
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Errorf("the load printed %q: %v", out, err)
	}
	return r.Missed / max(r.Iterations+r.Missed, 1)
}

// check fails the test when the load was not taken for what it is.
func (o *observation) check(t *testing.T, k known) {
	t.Helper()
	if o.ticks == 0 {
		t.Fatalf("%s: its cgroup was in no sample", k.name)
	}
	if !k.recognised(o.group) {
		t.Errorf("%s was taken for %s with %.2f, want %v: %s", k.name, o.group.Class, o.group.Confidence, k.want, list(o.group.Probabilities))
	}
}

func list(p workload.Probabilities) string {
	var b strings.Builder
	for i, x := range p {
		if x >= 0.005 {
			fmt.Fprintf(&b, "%s %.2f ", workload.Class(i), x)
		}
	}
	return b.String()
}
