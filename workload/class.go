// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"encoding/json"
	"fmt"
	"time"
)

// Class is a kind of work, as the scheduler would have to care about it.
type Class int

// The classes; their order is the index into [Probabilities].
const (
	Idle        Class = iota // nothing worth scheduling differently
	Interactive              // human-paced, short bursts, long-tailed sleeps
	Media                    // periodic frames or audio buffers with deadlines
	Server                   // request/response, many wakeups
	Compute                  // long-running threads, fewer than 1.5 runnable a CPU
	Batch                    // 1.5 or more runnable a CPU, latency irrelevant
	IO                       // waits for storage most of its time
	Mixed                    // latency and throughput work contend for the CPUs
	NumClasses  = int(Mixed) + 1
)

var classNames = [NumClasses]string{"idle", "interactive", "media", "server", "compute", "batch", "io", "mixed"}

// Classes returns every class, in order.
func Classes() []Class {
	all := make([]Class, NumClasses)
	for i := range all {
		all[i] = Class(i)
	}
	return all
}

func (c Class) String() string {
	if c < 0 || int(c) >= NumClasses {
		return fmt.Sprintf("class(%d)", int(c))
	}
	return classNames[c]
}

// LatencySensitive says whether the class cares for wake-up latency first.
func (c Class) LatencySensitive() bool { return c == Interactive || c == Media || c == Server }

// ParseClass is the inverse of String.
func ParseClass(s string) (Class, error) {
	for i, n := range classNames {
		if n == s {
			return Class(i), nil
		}
	}
	return 0, fmt.Errorf("unknown workload class %q (known: %v)", s, classNames)
}

// MarshalText writes the class's name.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the class's name.
func (c *Class) UnmarshalText(b []byte) error {
	p, err := ParseClass(string(b))
	if err == nil {
		*c = p
	}
	return err
}

// Probabilities holds one probability a class; those of a classification are
// at least 0 and sum to 1. In JSON it is an object keyed by class name.
type Probabilities [NumClasses]float64

// Best returns the most probable class and its probability; of equals the
// first.
func (p Probabilities) Best() (Class, float64) {
	best := 0
	for i := range p {
		if p[i] > p[best] {
			best = i
		}
	}
	return Class(best), p[best]
}

// MarshalJSON writes an object keyed by class name.
func (p Probabilities) MarshalJSON() ([]byte, error) {
	m := make(map[string]float64, NumClasses)
	for i, v := range p {
		m[classNames[i]] = v
	}
	return json.Marshal(m)
}

// UnmarshalJSON reads an object keyed by class name; classes not named are 0.
func (p *Probabilities) UnmarshalJSON(b []byte) error {
	var m map[string]float64
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	*p = Probabilities{}
	for n, v := range m {
		c, err := ParseClass(n)
		if err != nil {
			return err
		}
		p[c] = v
	}
	return nil
}

// Reason is one feature's word for or against a class.
type Reason struct {
	// Feature is the name of the feature, in snake case.
	Feature string `json:"feature"`
	// Text says it in words, with the value: "on-CPU bursts of 3.9 ms (p50)".
	Text string `json:"text"`
	// Weight is the evidence in nats: positive speaks for the class.
	Weight float64 `json:"weight"`
}

// Classification is the classifier's judgement of one group or the host.
type Classification struct {
	Time          time.Time     `json:"time"`
	Group         string        `json:"group"`
	Class         Class         `json:"class"`
	Confidence    float64       `json:"confidence"`
	Probabilities Probabilities `json:"probabilities"`
	// Since is when Class became the voted class.
	Since time.Time `json:"since"`
	// Reasons speak for and against Class, strongest first.
	Reasons []Reason `json:"reasons"`
}
