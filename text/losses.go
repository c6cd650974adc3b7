// SPDX-License-Identifier: Apache-2.0

package text

import (
	"slices"
	"strings"
)

// notableLoss is the share of switches lost from which it is a warning. Each
// task's first slice is lost by design.
const notableLoss = 0.01

// Losses is what a tracer's loss counters come to.
type Losses struct {
	// Uncounted names what is missing from the figures, Events the single events
	// that were left out: those are sampled and limited in rate, their loss is
	// no reason to worry. Each is a name and a count; sorted.
	Uncounted, Events []string
	// Total is the number of switches not counted.
	Total uint64
	// Notable is true where Total is a share of all switches worth a warning.
	Notable bool
}

// LossesOf sorts the loss counters of a tracer that has seen so many switches.
func LossesOf(losses map[string]uint64, switches uint64) Losses {
	var l Losses
	for name, n := range losses {
		line := Clean(name) + " " + Grouped(n)
		switch {
		case n == 0:
		case strings.HasPrefix(name, "event_"):
			l.Events = append(l.Events, line)
		default:
			l.Total += n
			l.Uncounted = append(l.Uncounted, line)
		}
	}
	slices.Sort(l.Uncounted)
	slices.Sort(l.Events)
	l.Notable = float64(l.Total) > notableLoss*float64(switches)
	return l
}
