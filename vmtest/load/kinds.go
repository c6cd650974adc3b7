// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// result is the line of JSON that a load ends with.
type result struct {
	Load       string  `json:"load"`
	Workers    int     `json:"workers"`
	Seconds    float64 `json:"seconds"`
	Iterations uint64  `json:"iterations"`
	PerSecond  float64 `json:"iterations_per_second"`
	// Of what the times are: how late a wakeup was (periodic, interactive), how
	// long an answer took (server, pingpong, read) or a process lived (build).
	P50 float64 `json:"p50_seconds"`
	P99 float64 `json:"p99_seconds"`
	Max float64 `json:"max_seconds"`
	// Missed counts the periods that passed unused.
	Missed uint64 `json:"missed"`
	// StepsPerSecond is the calibrated speed.
	StepsPerSecond float64 `json:"steps_per_second"`
}

// kind is a kind of work.
type kind struct {
	workers   func() int // by default
	work      time.Duration
	think     time.Duration
	needsFile bool
	// prepare opens what a worker of index i needs, in the parent.
	prepare func(r *resources, w *worker, i int) error
	// each is how many processes a worker is, with their bodies.
	bodies []func(*worker)
}

func fixed(n int) func() int  { return func() int { return n } }
func perCPU(n int) func() int { return func() int { return n * cpus() } }

var kinds = map[string]kind{
	"spin":        {workers: perCPU(1), work: time.Millisecond, bodies: []func(*worker){spinBody}},
	"build":       {workers: perCPU(2), work: 60 * time.Millisecond, bodies: []func(*worker){buildBody}},
	"periodic":    {workers: fixed(3), work: time.Millisecond, bodies: []func(*worker){periodicBody}},
	"interactive": {workers: fixed(4), work: 3 * time.Millisecond, think: 60 * time.Millisecond, bodies: []func(*worker){interactiveBody}},
	"pingpong":    {workers: perCPU(1), prepare: pipes, bodies: []func(*worker){pingBody, pongBody}},
	"server": {workers: fixed(8), work: 100 * time.Microsecond, think: 2 * time.Millisecond, prepare: sockets,
		bodies: []func(*worker){clientBody, serverBody}},
	"read":  {workers: fixed(1), needsFile: true, prepare: device, bodies: []func(*worker){readBody}},
	"sleep": {workers: fixed(0)},
}

// run does the work until its duration is over or ctx ends.
func (k kind) run(ctx context.Context, name string, p params, s speed) (result, error) {
	n := p.workers
	if n == 0 {
		n = k.workers()
	}
	if p.work == 0 {
		p.work = k.work
	}
	if p.think == 0 {
		p.think = k.think
	}
	if len(k.bodies) == 0 {
		n = 0
	}
	c, err := newCrew(n * len(k.bodies))
	if err != nil {
		return result{}, err
	}
	defer c.close()
	// Orphans of a worker come here to be waited for.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return result{}, fmt.Errorf("become subreaper: %w", err)
	}
	var r resources
	defer r.close()
	start := time.Now()
	startAll := func() error {
		for i := range n {
			w := worker{p: p, speed: s}
			for part, body := range k.bodies {
				if part == 0 && k.prepare != nil {
					if err := k.prepare(&r, &w, i); err != nil {
						return err
					}
				}
				if part == 1 {
					w.fds = r.other(w.fds)
				}
				if err := c.start(w, body); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := startAll(); err != nil {
		c.kill()
		c.reap(make(chan error, 1))
		return result{}, err
	}
	if err := c.wait(ctx, p.duration); err != nil {
		return result{}, err
	}
	res := result{Load: name, Workers: n, Seconds: time.Since(start).Seconds(), StepsPerSecond: float64(s) * 1e9}
	var h histogram
	for i := range c.slots {
		res.Iterations += c.slots[i].iterations
		res.Missed += c.slots[i].missed
		h.add(&c.slots[i].times)
	}
	res.PerSecond = float64(res.Iterations) / res.Seconds
	res.P50, res.P99, res.Max = h.quantile(0.5), h.quantile(0.99), h.quantile(1)
	return res, nil
}

// resources are what workers need and the parent closes.
type resources struct {
	fds  []int
	bufs [][]byte
	pair map[[2]int][2]int
}

func (r *resources) close() {
	for _, fd := range r.fds {
		_ = unix.Close(fd)
	}
	for _, b := range r.bufs {
		_ = unix.Munmap(b)
	}
}

// other is the far end of a pair of descriptors: what it reads, this writes.
func (r *resources) other(fds [2]int) [2]int { return r.pair[fds] }

func (r *resources) join(a, b [2]int) {
	if r.pair == nil {
		r.pair = make(map[[2]int][2]int)
	}
	r.pair[a] = b
}

func pipes(r *resources, w *worker, _ int) error {
	var there, back [2]int
	for _, p := range []*[2]int{&there, &back} {
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("make pipe: %w", err)
		}
		r.fds = append(r.fds, p[:]...)
	}
	w.fds = [2]int{back[0], there[1]}
	r.join(w.fds, [2]int{there[0], back[1]})
	return nil
}

func sockets(r *resources, w *worker, _ int) error {
	s, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket pair: %w", err)
	}
	r.fds = append(r.fds, s[:]...)
	w.fds = [2]int{s[0], s[0]}
	r.join(w.fds, [2]int{s[1], s[1]})
	return nil
}

func device(r *resources, w *worker, _ int) error {
	fd, err := unix.Open(w.p.file, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open for direct reads", Path: w.p.file, Err: err}
	}
	r.fds = append(r.fds, fd)
	size, err := unix.Seek(fd, 0, unix.SEEK_END)
	if err != nil {
		return &os.PathError{Op: "seek", Path: w.p.file, Err: err}
	}
	if size < int64(w.p.bs) {
		return &os.PathError{Op: "read", Path: w.p.file, Err: errors.New("smaller than one read")}
	}
	// Anonymous memory is aligned as direct reads want it.
	buf, err := unix.Mmap(-1, 0, w.p.bs, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("map read buffer: %w", err)
	}
	r.bufs = append(r.bufs, buf)
	w.fds[0], w.size, w.buf = fd, size, buf
	return nil
}

// The bodies. Each runs in a fork and obeys worker's rules.

func spinBody(w *worker) {
	steps := w.speed.steps(w.p.work)
	for {
		spin(steps)
		w.iterations++
	}
}

// buildBody is one job slot of a build: it starts a process, waits for it and
// starts the next. Processes work for 0.2 to 1.8 times the given time.
func buildBody(w *worker) {
	pid, _, _ := syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
	for {
		steps := w.speed.steps(time.Duration(float64(w.p.work) * (0.2 + 1.6*w.uniform())))
		begin := now()
		child, errno := fork(int(pid))
		if errno != 0 {
			w.fail(opFork, errno)
		}
		if child == 0 {
			spin(steps)
			exit(0)
		}
		for {
			_, _, e := syscall.RawSyscall6(unix.SYS_WAIT4, uintptr(child), 0, 0, 0, 0, 0)
			if e == 0 {
				break
			}
			if e != unix.EINTR {
				w.fail(opWait, e)
			}
		}
		w.times.observe(now() - begin)
		w.iterations++
	}
}

func periodicBody(w *worker) {
	steps := w.speed.steps(w.p.work)
	period := int64(w.p.period)
	// Workers start at different times, as unrelated players do.
	next := now() + period + int64(w.uniform()*float64(period))
	for {
		w.sleepUntil(next)
		late := now() - next
		w.times.observe(late)
		spin(steps)
		w.iterations++
		next += period
		if behind := now() - next; behind > 0 {
			skip := behind/period + 1
			w.missed += uint64(skip)
			next += skip * period
		}
	}
}

// interactiveBody pauses like a person: log-normal, with the given median and
// a factor of e^1.2 for one standard deviation, at most 5 s. Then it works for
// 0.2 to 1.8 times the given time.
func interactiveBody(w *worker) {
	for {
		// Sum of 12 uniform numbers: normal enough.
		z := -6.0
		for range 12 {
			z += w.uniform()
		}
		pause := math.Min(float64(w.p.think)*math.Exp(1.2*z), float64(5*time.Second))
		next := now() + int64(pause)
		w.sleepUntil(next)
		w.times.observe(now() - next)
		spin(w.speed.steps(time.Duration(float64(w.p.work) * (0.2 + 1.6*w.uniform()))))
		w.iterations++
	}
}

func pingBody(w *worker) {
	var b [1]byte
	for {
		begin := now()
		w.write(w.fds[1], b[:])
		w.read(w.fds[0], b[:])
		w.times.observe(now() - begin)
		w.iterations++
	}
}

func pongBody(w *worker) {
	var b [1]byte
	for {
		w.read(w.fds[0], b[:])
		w.write(w.fds[1], b[:])
	}
}

// clientBody sends requests at random times; its answers' times count from
// when it meant to send.
func clientBody(w *worker) {
	var msg [64]byte
	for {
		next := now() + int64(-math.Log(w.uniform())*float64(w.p.think))
		w.sleepUntil(next)
		w.write(w.fds[1], msg[:])
		w.read(w.fds[0], msg[:])
		w.times.observe(now() - next)
		w.iterations++
	}
}

func serverBody(w *worker) {
	var msg [64]byte
	steps := w.speed.steps(w.p.work)
	for {
		w.read(w.fds[0], msg[:])
		spin(steps)
		w.write(w.fds[1], msg[:])
	}
}

func readBody(w *worker) {
	blocks := uint64(w.size / int64(w.p.bs))
	for {
		off := w.random() % blocks * uint64(w.p.bs)
		begin := now()
		n, _, e := syscall.RawSyscall6(unix.SYS_PREAD64, uintptr(w.fds[0]), uintptr(unsafe.Pointer(&w.buf[0])), uintptr(len(w.buf)), uintptr(off), 0, 0)
		if e == unix.EINTR {
			continue
		}
		if n == 0 && e == 0 {
			e = unix.EIO // shrunk
		}
		if e != 0 {
			w.fail(opRead, e)
		}
		w.times.observe(now() - begin)
		w.iterations++
	}
}
