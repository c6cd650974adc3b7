// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"cmp"
	"errors"
	"os"
	"sync"
	"time"

	"autosa/bpf/trace"
	"autosa/workload"
)

// eventReader owns the goroutine that reads the ring buffer: on demand, and by
// itself when the kernel wakes it because the buffer fills.
type eventReader struct {
	tracer  *trace.Tracer
	flushed chan struct{}
	done    chan struct{}
	err     error // once done is closed

	mu  sync.Mutex
	agg *aggregator
}

func readEvents(tracer *trace.Tracer) *eventReader {
	r := &eventReader{
		tracer: tracer, agg: newAggregator(), flushed: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go r.run()
	return r
}

func (r *eventReader) run() {
	defer close(r.done)
	var (
		rec trace.Record
		e   trace.Event
	)
	for {
		switch err := r.tracer.ReadEvent(&rec, &e); {
		case err == nil:
			r.mu.Lock()
			r.agg.add(&e)
			r.mu.Unlock()
		case errors.Is(err, trace.ErrFlushed):
			select {
			case r.flushed <- struct{}{}:
			default:
			}
		case errors.Is(err, os.ErrClosed):
			return
		default:
			r.err = err
			return
		}
	}
}

// flush reads what is in the ring buffer and sets the sample's events. held says
// which groups' own quotas made them wait.
func (r *eventReader) flush(s *workload.Sample, name func(uint64) string, held func(string) bool) error {
	select {
	case <-r.flushed: // of a flush that was not waited for
	default:
	}
	if err := r.tracer.Flush(); err != nil {
		return err
	}
	select {
	case <-r.flushed:
	case <-r.done:
		return cmp.Or(r.err, os.ErrClosed)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Events = r.agg.take(name, held)
	return nil
}

// wait waits until the goroutine ended, after the tracer was closed.
func (r *eventReader) wait() error {
	<-r.done
	return r.err
}

// sampling follows the load with the share of tasks whose cycles are reported:
// one in 2^shift, all of them in turn.
type sampling struct {
	shift, phase uint
	ticks        int
	lost         uint64
}

const (
	maxShift = 12
	// phaseTicks is for how many ticks the same tasks are followed.
	phaseTicks = 2
	// tolerated is how many cycles a second may go beyond the rate.
	tolerated = 50
)

func (a *sampling) adapt(t *trace.Tracer, losses map[string]uint64, interval time.Duration) error {
	lost := losses[trace.LossCycleRate] - a.lost
	a.lost = losses[trace.LossCycleRate]
	a.ticks++
	shift, phase := a.shift, a.phase
	switch {
	case float64(lost) > tolerated*interval.Seconds():
		shift = min(shift+1, maxShift)
	case lost == 0 && shift > 0 && a.ticks%phaseTicks == 0:
		shift--
	}
	if a.ticks%phaseTicks == 0 {
		phase++
	}
	if phase &= 1<<shift - 1; shift == a.shift && phase == a.phase {
		return nil
	}
	a.shift, a.phase = shift, phase
	return t.SampleTasks(shift, phase)
}
