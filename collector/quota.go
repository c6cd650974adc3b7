// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"bytes"
	"path"
	"time"
)

const (
	// noControllerTicks is for how many ticks a cgroup without the CPU controller
	// is not looked at again.
	noControllerTicks = 16
	// heldTicks is for how many ticks a cgroup counts as held back after it was:
	// the wait for a quota shows after the slice that follows it.
	heldTicks = 4
	// forgetQuotas is after how many ticks a cgroup not asked for is forgotten.
	forgetQuotas = 64
)

// quotas follows which cgroups are held back by their CPU quotas.
type quotas struct {
	cg     *cgroups
	tick   uint64
	byName map[string]*quota
}

// quota is what is known of one cgroup's.
type quota struct {
	looked uint64 // tick of the last look
	next   uint64 // tick from which it is worth another

	limited bool
	total   time.Duration // throttled time since it was made
	known   bool          // total is
	grew    time.Duration // in this tick
	held    uint64        // last tick in which it grew; 0: never
}

func newQuotas(cg *cgroups) *quotas {
	return &quotas{cg: cg, tick: 1, byName: make(map[string]*quota)}
}

// since returns for how long a cgroup's own quota held it back since the tick
// before; 0 when it was not asked for then.
func (q *quotas) since(name string) time.Duration {
	q.held(name) // follows those above it, too
	if e := q.byName[name]; e != nil && e.looked == q.tick {
		return e.grew
	}
	return 0
}

// held says whether a cgroup was held back lately, by its own quota or that of
// a cgroup above it.
func (q *quotas) held(name string) bool {
	if q.cg == nil {
		return false
	}
	held := false
	for ; len(name) > 1 && name[0] == '/'; name = path.Dir(name) {
		e := q.look(name)
		if e.held != 0 && q.tick-e.held < heldTicks {
			held = true
		}
	}
	return held
}

// look reads a cgroup's quota, once a tick.
func (q *quotas) look(name string) *quota {
	e := q.byName[name]
	if e == nil {
		q.forget()
		e = &quota{}
		q.byName[name] = e
	}
	if e.looked == q.tick || q.tick < e.next {
		return e
	}
	consecutive := e.looked+1 == q.tick
	e.looked, e.grew = q.tick, 0
	b, err := q.cg.read(name, "cpu.max")
	if err != nil {
		// Removed meanwhile, or no controller: no quota to be held back by.
		*e = quota{next: q.tick + noControllerTicks}
		return e
	}
	limited := !bytes.HasPrefix(b, []byte("max"))
	if !limited && !e.limited {
		return e // cpu.stat is dearer to read
	}
	e.limited = limited
	if b, err = q.cg.read(name, "cpu.stat"); err != nil {
		return e
	}
	usec, _ := cpuStatField(b, "throttled_usec")
	total := time.Duration(min(usec, uint64(maxMicros))) * time.Microsecond
	switch {
	case e.known && total > e.total:
		if consecutive {
			e.grew = total - e.total
		}
		e.held = q.tick
	case !e.known && total > 0:
		// Lately or long ago: rather blame nobody.
		e.held = q.tick
	}
	e.total, e.known = total, true
	return e
}

// forget makes room where there are too many.
func (q *quotas) forget() {
	if len(q.byName) < maxNames {
		return
	}
	for name, e := range q.byName {
		if max(e.looked, e.next)+forgetQuotas < q.tick {
			delete(q.byName, name)
		}
	}
	if len(q.byName) >= maxNames {
		clear(q.byName)
	}
}
