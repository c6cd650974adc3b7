// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"autosa/workload"
)

func TestTypicalShapesAreRecognised(t *testing.T) {
	for name, tt := range typical {
		t.Run(name, func(t *testing.T) {
			s := sample(4*time.Millisecond, tt.shape)
			p, reasons := Classify(workload.FeaturesOf(s, &s.Groups[0]))
			if c, conf := p.Best(); c != tt.class || conf < 0.7 {
				t.Errorf("%s with %.2f, want %s: %.3v\n%+v", c, conf, tt.class, p, reasons)
			}
		})
	}
}

// A scheduler's slice sets bursts, preemptions and the single waits. None of
// it may move the class.
func TestTheSliceOfTheSchedulerMovesNothing(t *testing.T) {
	for name, tt := range typical {
		t.Run(name, func(t *testing.T) {
			reference := sample(4*time.Millisecond, tt.shape)
			want, _ := Classify(workload.FeaturesOf(reference, &reference.Groups[0]))
			for slice := 500 * time.Microsecond; slice <= 20*time.Millisecond; slice += 250 * time.Microsecond {
				s := sample(slice, tt.shape)
				f := workload.FeaturesOf(s, &s.Groups[0])
				p, _ := Classify(f)
				if got, _ := p.Best(); got != tt.class {
					t.Fatalf("%s at a slice of %v", got, slice)
				}
				for c := range p {
					if math.Abs(p[c]-want[c]) > 0.02 {
						t.Fatalf("at a slice of %v P(%s) is %.3f, at 4 ms %.3f", slice, workload.Class(c), p[c], want[c])
					}
				}
				// Nor may what a scheduler makes of preemptions beyond that.
				for _, inv := range []float64{0, 0.5, 1} {
					f.Involuntary, f.Burst, f.RunP50, f.RunP90 = inv, slice, slice/2, 2*slice
					f.WaitP50, f.WaitP99 = slice, 10*slice
					if q, _ := Classify(f); q != p {
						t.Fatalf("an involuntary share of %v changes it", inv)
					}
				}
			}
		})
	}
}

// What a group gets is up to the scheduler and to others; what it asks for is
// not.
func TestWorkThatGetsLessOfTheCPUsIsTheSameWork(t *testing.T) {
	for _, name := range []string{"a spinner", "a spinner a CPU", "four spinners", "a parallel build", "a scan", "a web server", "a browser"} {
		t.Run(name, func(t *testing.T) {
			sh := typical[name].shape
			// A part of the run time, and the rest of it waited for.
			sh.load /= 3
			if sh.work == 0 || sh.runnable > cpus {
				sh.load /= 2 // throughput work may starve, and is what it is
			}
			s := sample(4*time.Millisecond, sh)
			p, reasons := Classify(workload.FeaturesOf(s, &s.Groups[0]))
			if c, conf := p.Best(); c != typical[name].class || conf < 0.7 {
				t.Errorf("%s with %.2f, want %s: %.3v\n%+v", c, conf, typical[name].class, p, reasons)
			}
		})
	}
}

func TestTotalsAloneAreSensibleAndLessSure(t *testing.T) {
	for name, tt := range typical {
		t.Run(name, func(t *testing.T) {
			s := sample(4*time.Millisecond, tt.shape)
			s.Source, s.Events = workload.SourceProcfs, workload.Events{}
			f := workload.FeaturesOf(s, &s.Groups[0])
			p, reasons := Classify(f)
			got, conf := p.Best()
			// Without sleeps and periods a player is not told from an editor.
			if got != tt.class && !(got.LatencySensitive() && tt.class.LatencySensitive()) {
				t.Errorf("%s with %.2f, want %s", got, conf, tt.class)
			}
			// The same evidence, were nothing missing.
			f.Distributions = true
			if sure, _ := Classify(f); conf >= sure[got] {
				t.Errorf("confidence %.3f from totals, %.3f from distributions", conf, sure[got])
			}
			for _, r := range reasons {
				if r.Feature == "sleep" || r.Feature == "periodicity" {
					t.Errorf("%s is given as a reason and is not known", r.Feature)
				}
			}
		})
	}
}

// Evidence is soft: the class may change only where two are about as likely.
func TestNoFigureFlipsAClassByItself(t *testing.T) {
	for tasks := 2.0; tasks < 5; tasks += 0.01 {
		at := func(tasks float64) workload.Probabilities {
			s := sample(4*time.Millisecond, shape{load: 2, runnable: tasks})
			p, _ := Classify(workload.FeaturesOf(s, &s.Groups[0]))
			return p
		}
		a, b := at(tasks), at(tasks+0.01)
		if d := math.Abs(a[workload.Batch] - b[workload.Batch]); d > 0.06 {
			t.Fatalf("P(batch) jumps by %.2f at %.2f tasks on 2 CPUs", d, tasks)
		}
	}
}

func TestReasonsAddUpToTheScores(t *testing.T) {
	for name, tt := range typical {
		s := sample(4*time.Millisecond, tt.shape)
		f := workload.FeaturesOf(s, &s.Groups[0])
		var score workload.Probabilities
		for _, c := range workload.Classes() {
			score[c] = prior[c]
			var last = math.Inf(1)
			for _, r := range Explain(s, &s.Groups[0], c) {
				score[c] += r.Weight
				if math.Abs(r.Weight) > last {
					t.Errorf("%s: reasons for %s are not strongest first", name, c)
				}
				last = math.Abs(r.Weight)
				if r.Text == "" || strings.Contains(r.Text, "%!") {
					t.Errorf("%s: %q", name, r.Text)
				}
			}
		}
		softmax(&score)
		p, _ := Classify(f)
		for c := range p {
			// Weights too small to mention are left out of the reasons.
			if math.Abs(p[c]-score[c]) > 0.08 {
				t.Errorf("%s: the reasons give P(%s) = %.3f, it is %.3f", name, workload.Class(c), score[c], p[c])
			}
		}
	}
}

// valid holds probabilities to what is promised of them.
func valid(p workload.Probabilities) bool {
	sum := 0.0
	for _, x := range p {
		if !(x >= 0 && x <= 1) {
			return false
		}
		sum += x
	}
	return math.Abs(sum-1) < 1e-9
}

func TestProbabilitiesAreProbabilitiesForAnyFeatures(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	odd := []float64{0, -1, 1, 1e-300, 1e300, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64}
	for range 100_000 {
		var f workload.Features
		v := reflect.ValueOf(&f).Elem()
		for i := range v.NumField() {
			x := odd[r.IntN(len(odd))]
			if r.IntN(2) == 0 {
				x = math.Exp(r.NormFloat64() * 5)
			}
			switch field := v.Field(i); field.Kind() {
			case reflect.Bool:
				field.SetBool(r.IntN(2) == 0)
			case reflect.Float64:
				field.SetFloat(x)
			default:
				field.SetInt([]int64{0, 1, -1, math.MaxInt64, math.MinInt64, r.Int64()}[r.IntN(6)])
			}
		}
		p, reasons := Classify(f)
		if !valid(p) {
			t.Fatalf("%+v gives %v", f, p)
		}
		for _, reason := range reasons {
			if math.IsNaN(reason.Weight) || math.IsInf(reason.Weight, 0) {
				t.Fatalf("%+v gives %+v", f, reason)
			}
		}
	}
}

func TestClassifyIsDeterministic(t *testing.T) {
	s := sample(4*time.Millisecond, typical["a browser"].shape)
	f := workload.FeaturesOf(s, &s.Groups[0])
	p, why := Classify(f)
	q, because := Classify(f)
	if p != q || !reflect.DeepEqual(why, because) {
		t.Error("the same features were judged differently")
	}
}

func BenchmarkClassifyGroup(b *testing.B) {
	s := sample(4*time.Millisecond, typical["a browser"].shape)
	f := workload.FeaturesOf(s, &s.Groups[0])
	var e evidence
	b.ReportAllocs()
	for b.Loop() {
		e.weigh(&f)
		_ = e.probabilities()
	}
}
