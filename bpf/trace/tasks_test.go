// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
)

// tasksOf are the threads of a process, by id.
func tasksOf(t testing.TB, pid int) map[int]trace.Task {
	t.Helper()
	out := make(map[int]trace.Task)
	err := trace.Tasks(func(task *trace.Task) error {
		if task.TGID == pid {
			out[task.PID] = *task
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return out
}

func TestTasksAreAsProcShowsThem(t *testing.T) {
	tracetest.RequireTracer(t)
	c := tracetest.NewCgroup(t)
	l := tracetest.PingPong(t, c, quietCPU())
	l.Prefer()
	time.Sleep(100 * time.Millisecond)
	l.Settle() // now nothing moves
	got := tasksOf(t, l.PID())
	switches := l.SwitchesByThread()
	if len(got) != len(switches) || len(got) < 3 {
		t.Fatalf("%d threads, /proc has %d", len(got), len(switches))
	}
	for tid, task := range got {
		read := func(name string) string {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/%s", l.PID(), tid, name))
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(string(b))
		}
		if s := fmt.Sprintf("%d %d %d", task.Run.Nanoseconds(), task.Wait.Nanoseconds(), task.Arrivals); s != read("schedstat") {
			t.Errorf("run, wait and arrivals %s, /proc has %s", s, read("schedstat"))
		}
		if n := task.Voluntary + task.Involuntary; n != switches[tid] {
			t.Errorf("%d switches, /proc has %d", n, switches[tid])
		}
		if task.Comm.String() != read("comm") {
			t.Errorf("comm %q, /proc has %q", task.Comm, read("comm"))
		}
		stat := read("stat")
		f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // from field 3 on
		for what, pair := range map[string][2]string{
			"state":  {string(task.State), f[3-3]},
			"nice":   {strconv.Itoa(task.Nice), f[19-3]},
			"CPU":    {strconv.Itoa(task.CPU), f[39-3]},
			"policy": {strconv.Itoa(task.Policy), f[41-3]},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s is %s, /proc has %s", what, pair[0], pair[1])
			}
		}
		if task.Cgroup != c.ID || task.State != 'T' || task.Nice != -20 {
			t.Errorf("%+v in cgroup %d", task, c.ID)
		}
	}
}

func TestTheIteratorMeetsEveryTaskAndStopsWhenTold(t *testing.T) {
	tracetest.RequireTracer(t)
	states := make(map[byte]int)
	self, seen := false, 0
	if err := trace.Tasks(func(task *trace.Task) error {
		seen++
		states[task.State]++
		self = self || task.TGID == os.Getpid()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !self || states['R'] == 0 || states['S'] == 0 || states['I'] == 0 {
		t.Errorf("self seen: %v; states %v", self, states)
	}
	enough := errors.New("enough")
	calls := 0
	err := trace.Tasks(func(*trace.Task) error { calls++; return enough })
	if !errors.Is(err, enough) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

func TestTheBusiestTasksAreThoseThatRunAndWait(t *testing.T) {
	tracetest.RequireTracer(t)
	c := tracetest.NewCgroup(t)
	a, b := tracetest.Spin(t, c, quietCPU()), tracetest.Spin(t, c, quietCPU())
	pair := tracetest.PingPong(t, c, 0)
	w, err := trace.NewTaskWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	if first, err := w.Pull(5); err != nil || len(first.Top) > 0 || first.Interval != 0 || first.Tasks == 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	time.Sleep(500 * time.Millisecond)
	rep, err := w.Pull(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	use := make(map[int]trace.TaskUse) // the last of a process's threads in the order, summed
	for i, u := range rep.Top {
		if before := rep.Top[max(i-1, 0)]; u.RunShare+u.WaitShare > before.RunShare+before.WaitShare {
			t.Errorf("%+v comes after %+v", u, before)
		}
		sum := use[u.TGID]
		sum.RunShare += u.RunShare
		sum.WaitShare += u.WaitShare
		sum.WakeupsPerSecond += u.WakeupsPerSecond
		use[u.TGID] = sum
	}
	// Both want the CPU all the time: each second they run or wait one second.
	// What is under way when somebody looks is not in the accounts yet.
	for _, l := range []*tracetest.Load{a, b} {
		if sum := use[l.PID()].RunShare + use[l.PID()].WaitShare; sum < 0.5 || sum > 1.5 {
			t.Errorf("process %d ran and waited %.2f of the time: %+v", l.PID(), sum, use[l.PID()])
		}
	}
	if s := use[pair.PID()]; s.WakeupsPerSecond < 100 || s.WakeupsPerSecond < 10*use[a.PID()].WakeupsPerSecond {
		t.Errorf("the pair woke %.0f times a second, a spinner %.0f", s.WakeupsPerSecond, use[a.PID()].WakeupsPerSecond)
	}
	if rep, err = w.Pull(3); err != nil || len(rep.Top) != 3 {
		t.Errorf("%d of the three busiest: %v", len(rep.Top), err)
	}
}

func TestTheRhythmOfASleeperIsItsPeriod(t *testing.T) {
	const period = 10 * time.Millisecond
	tracetest.RequireTracer(t)
	l := tracetest.Sleep(t, tracetest.NewCgroup(t), quietCPU(), period)
	l.Prefer()
	// On a busy machine it sleeps through some periods: not in every window.
	eventually(t, "a rhythm of one wakeup a period", func() bool {
		got, err := trace.Rhythms(t.Context(), []int{l.PID()}, 400*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			if r.Comm.String() == tracetest.SleeperComm {
				t.Logf("%+v", r)
				return r.Wakeups > 20 && r.Mean > period*9/10 && r.Mean < period*11/10 && r.CV < 0.5
			}
		}
		return false
	})
}

func TestRhythmsEndWithTheirContext(t *testing.T) {
	tracetest.RequireTracer(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := trace.Rhythms(ctx, []int{os.Getpid()}, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
	var bad *trace.FilterError
	if _, err := trace.Rhythms(ctx, nil, time.Hour); !errors.As(err, &bad) {
		t.Errorf("nobody to follow: %v", err)
	}
}
