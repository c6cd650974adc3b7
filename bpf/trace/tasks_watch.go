// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// maxWatched bounds the tasks that a watch remembers: 4 MiB or so.
const maxWatched = 1 << 16

// TaskWatch finds the busiest tasks between two pulls. It is for one goroutine.
type TaskWatch struct {
	it          *taskIterator
	before, now map[taskKey]taskCounts
	at          time.Time
}

// taskKey tells tasks apart also where a process id is used again.
type taskKey struct {
	pid   int
	start time.Duration
}

type taskCounts struct {
	run, wait              time.Duration
	voluntary, involuntary uint64
}

// TaskUse is what a task did between two pulls.
type TaskUse struct {
	Task
	// RunShare and WaitShare are times on a CPU and on run queues per time: 1 is
	// the whole of one CPU, or always waiting.
	RunShare, WaitShare float64
	// SwitchesPerSecond is how often it left a CPU, WakeupsPerSecond how often it
	// did so to block: each of these ends with a wakeup.
	SwitchesPerSecond, WakeupsPerSecond float64
}

// TaskReport is what a pull found.
type TaskReport struct {
	// Interval is the time since the pull before, 0 at the first.
	Interval time.Duration
	// Tasks is the number of threads there are, Unwatched how many of them were
	// too many to be remembered.
	Tasks, Unwatched int
	// Top are the busiest: those that ran or waited longest, in that order.
	Top []TaskUse
}

// NewTaskWatch loads the task iterator; nothing is attached. Its errors are
// those of [Load]. Close it.
func NewTaskWatch() (*TaskWatch, error) {
	it, err := newTaskIterator()
	if err != nil {
		return nil, err
	}
	return &TaskWatch{it: it, before: make(map[taskKey]taskCounts), now: make(map[taskKey]taskCounts)}, nil
}

// Close frees the iterator.
func (w *TaskWatch) Close() error { return w.it.close() }

// Pull looks at every task and reports the n busiest since the pull before. The
// first pull has nothing to compare with and reports none.
func (w *TaskWatch) Pull(n int) (TaskReport, error) {
	var (
		rep   TaskReport
		first = w.at.IsZero()
		at    = time.Now()
	)
	if !first {
		rep.Interval = at.Sub(w.at)
	}
	clear(w.now)
	err := w.it.each(func(t *Task) error {
		rep.Tasks++
		key := taskKey{t.PID, t.Start}
		counts := taskCounts{t.Run, t.Wait, t.Voluntary, t.Involuntary}
		if len(w.now) < maxWatched {
			w.now[key] = counts
		} else {
			rep.Unwatched++
		}
		before, known := w.before[key]
		if first || !known && len(w.before) >= maxWatched {
			return nil // a stranger: its past is no news
		}
		// One that was not there before was born since and has no past.
		use := TaskUse{
			Task:              *t,
			RunShare:          share(t.Run-before.run, rep.Interval),
			WaitShare:         share(t.Wait-before.wait, rep.Interval),
			SwitchesPerSecond: rate(counts.voluntary+counts.involuntary-before.voluntary-before.involuntary, rep.Interval),
			WakeupsPerSecond:  rate(counts.voluntary-before.voluntary, rep.Interval),
		}
		rep.Top = append(rep.Top, use)
		// Never many more than asked for.
		if len(rep.Top) >= 2*n+64 {
			rep.Top = busiest(rep.Top, n)
		}
		return nil
	})
	if err != nil {
		return TaskReport{}, err
	}
	rep.Top = busiest(rep.Top, n)
	w.before, w.now, w.at = w.now, w.before, at
	return rep, nil
}

// busiest sorts and returns the first n.
func busiest(uses []TaskUse, n int) []TaskUse {
	slices.SortFunc(uses, func(a, b TaskUse) int {
		return cmp.Or(
			cmp.Compare(b.RunShare+b.WaitShare, a.RunShare+a.WaitShare),
			cmp.Compare(b.SwitchesPerSecond, a.SwitchesPerSecond),
			cmp.Compare(a.PID, b.PID),
		)
	})
	return uses[:min(n, len(uses))]
}

func share(part, whole time.Duration) float64 { return max(part.Seconds(), 0) / whole.Seconds() }

func rate(n uint64, d time.Duration) float64 { return float64(n) / d.Seconds() }

// Rhythm is how regularly a task wakes up.
type Rhythm struct {
	PID  int
	Comm Comm
	// Wakeups is the number of distances between two wakeups that went in.
	Wakeups int
	// Mean is their mean and CV their standard deviation over it: 0 is a
	// metronome, 1 as good as chance.
	Mean time.Duration
	CV   float64
	// m2 is the sum of squared differences, in ns².
	m2 float64
}

// Rhythms follows the tasks of pids, thread or process ids, for a window of
// time and returns those that woke at least three times, by their ids. It does
// so with a [Stream] of its own. Distances with a lost event between them are
// left out. It ends early, with what there is and ctx's error, when ctx does.
func Rhythms(ctx context.Context, pids []int, window time.Duration) (_ []Rhythm, err error) {
	if len(pids) == 0 {
		return nil, &FilterError{"no process was named to follow"}
	}
	s, err := OpenStream(StreamOptions{PIDs: pids, Switches: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	timed, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	defer context.AfterFunc(timed, func() { _ = s.Stop() })()

	type last struct {
		arrivals uint64 // of the latest event; a wakeup is known while they are contiguous
		wakeup   time.Duration
	}
	seen := make(map[int]last)
	rhythms := make(map[int]*Rhythm)
	for {
		e, err := s.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		l := seen[e.PID]
		if l.arrivals+1 != e.Arrivals || e.Partial {
			l.wakeup = 0
		}
		l.arrivals = e.Arrivals
		if e.Woken && !e.Partial {
			if l.wakeup != 0 {
				r := rhythms[e.PID]
				if r == nil {
					r = &Rhythm{PID: e.PID}
					rhythms[e.PID] = r
				}
				r.Comm = e.Comm
				r.add(e.Wakeup() - l.wakeup)
			}
			l.wakeup = e.Wakeup()
		}
		seen[e.PID] = l
	}
	var out []Rhythm
	for _, r := range rhythms {
		if r.Wakeups < 2 || r.Mean <= 0 {
			continue
		}
		r.CV = math.Sqrt(r.m2/float64(r.Wakeups)) / float64(r.Mean)
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Rhythm) int { return cmp.Compare(a.PID, b.PID) })
	if ctx.Err() != nil {
		return out, fmt.Errorf("follow the tasks' wakeups: %w", context.Cause(ctx))
	}
	return out, nil
}

// add takes in a distance, by Welford's method.
func (r *Rhythm) add(d time.Duration) {
	r.Wakeups++
	delta := float64(d - r.Mean)
	r.Mean += time.Duration(delta / float64(r.Wakeups))
	r.m2 += delta * float64(d-r.Mean)
}
