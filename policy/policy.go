// SPDX-License-Identifier: Apache-2.0

// Package policy decides which scheduler should be in charge, and says why.
//
// [Decide] is a function of its arguments: no clock, no I/O, no randomness. The
// same configuration, state and input always give the same decision, so a
// recorded run can be replayed. Who speaks, strictly in this order:
//
//  1. the operator's order ([Input.Manual]),
//  2. a hold ([Input.Holds]), which keeps what is in charge,
//  3. the workload's class, through the table ([Config.Table]).
//
// Whatever they say, a scheduler that somebody else started is left alone, unless
// it is adopted, and nothing is done in [ModeObserve].
package policy

import (
	"errors"
	"fmt"
	"time"

	"autosa/workload"
)

// Mode says how much policy may do by itself. The values are those of the API.
type Mode string

const (
	ModeObserve   Mode = "observe"   // act on nothing, not even an order
	ModeAuto      Mode = "auto"      // act on the workload
	ModeRecommend Mode = "recommend" // say what auto would do; act on orders only
	ModeManual    Mode = "manual"    // act on orders only
)

// Owner says whose the scheduler in charge is. The values are those of the API.
type Owner string

const (
	OwnerKernel  Owner = "kernel"  // EEVDF
	OwnerAutosa  Owner = "autosa"  // started by this daemon
	OwnerForeign Owner = "foreign" // started by somebody else, and left alone
	OwnerAdopted Owner = "adopted" // started by somebody else; an arm like any other
)

// Action is what is to be done about a decision.
type Action string

const (
	ActionKeep      Action = "keep"      // leave the arm in charge
	ActionSwap      Action = "swap"      // put Decision.Arm in charge now
	ActionRecommend Action = "recommend" // auto would swap to Decision.Arm
	// ActionAdjust: put Decision.Arm in charge by a change of the built-in
	// scheduler's policy, which is in charge: no swap.
	ActionAdjust Action = "adjust"
)

// The defaults of [DefaultConfig].
const (
	DefaultMinConfidence     = 0.7
	DefaultMinSwitchInterval = 300 * time.Second
	DefaultMinClassAge       = 5 * time.Second
	DefaultBackoff           = time.Minute
	DefaultMaxBackoff        = 24 * time.Hour
)

// Config is what the operator configured. Start from [DefaultConfig].
type Config struct {
	Mode  Mode
	Table Table
	// MinConfidence is the least probability on which auto acts, 0 to 1: that of
	// the voted class, and of the classes that have the same arm.
	MinConfidence float64
	// MinSwitchInterval is the least time between the last swap, whoever ordered
	// it, and one that auto makes. A change of the built-in scheduler's policy
	// counts as none, and does not wait.
	MinSwitchInterval time.Duration
	// MinClassAge is how long the voted class must have asked for an arm before
	// auto puts it in charge.
	MinClassAge time.Duration
	// Backoff is how long an arm rests after its first failure; each further one
	// doubles it, up to MaxBackoff.
	Backoff, MaxBackoff time.Duration
}

// DefaultConfig is auto mode with the shipped table and thresholds.
func DefaultConfig() Config {
	return Config{
		Mode:              ModeAuto,
		Table:             DefaultTable(),
		MinConfidence:     DefaultMinConfidence,
		MinSwitchInterval: DefaultMinSwitchInterval,
		MinClassAge:       DefaultMinClassAge,
		Backoff:           DefaultBackoff,
		MaxBackoff:        DefaultMaxBackoff,
	}
}

// Validate names everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch c.Mode {
	case ModeObserve, ModeAuto, ModeRecommend, ModeManual:
	default:
		bad("unknown mode %q", c.Mode)
	}
	if !(c.MinConfidence >= 0 && c.MinConfidence <= 1) {
		bad("minimum confidence %v is not between 0 and 1", c.MinConfidence)
	}
	if c.MinSwitchInterval < 0 || c.MinClassAge < 0 {
		bad("minimum switch interval %v and class age %v must not be negative", c.MinSwitchInterval, c.MinClassAge)
	}
	if c.Backoff <= 0 || c.MaxBackoff < c.Backoff {
		bad("backoff %v must be positive and at most the maximum backoff %v", c.Backoff, c.MaxBackoff)
	}
	if len(c.Table[workload.Idle]) > 0 {
		bad("the table has an arm for idle: an idle machine keeps the scheduler it has")
	}
	for _, class := range workload.Classes() {
		for _, a := range c.Table[class] {
			if a.Scheduler == "" {
				bad("the table has an arm without a scheduler for %s", class)
			}
			if (a.Scheduler == EEVDF || IsBuiltin(a.Scheduler)) && len(a.Args) > 0 {
				bad("the table gives %s arguments for %s: it takes none", a.Scheduler, class)
			}
		}
	}
	return errors.Join(errs...)
}

// Order is the operator's choice of an arm. It holds until it is withdrawn.
type Order struct {
	Arm   Arm
	Since time.Time
}

// Veto is the operator's word, given to the kernel by SysRq-S, that no scheduler
// shall be in charge. It holds until an order later than it, or its withdrawal.
type Veto struct {
	// Arm was taken out.
	Arm   Arm
	Since time.Time
}

// Hold keeps auto from changing anything while somebody measures, presents or
// plays.
type Hold struct {
	Reason string
	Since  time.Time
	// Until is when it ends; zero for one that ends with its holder.
	Until time.Time
}

// InCharge is the arm that the kernel says is in charge, and whose it is. Of a
// foreign scheduler only the name need be known.
type InCharge struct {
	Arm   Arm
	Owner Owner
}

// Failure is one attempt to put an arm in charge that did not come about, or an
// arm that was in charge and went down by itself.
type Failure struct {
	Arm Arm
	// Version is the scheduler's; empty where it is not known.
	Version string
	At      time.Time
	Reason  string
}

// Input is what is the case now. All its times are of the clock that Now is of.
type Input struct {
	Now time.Time
	// Host is the host's classification after the vote, with the time since
	// which its class has been the voted one.
	Host     workload.Classification
	InCharge InCharge
	// WhyNot has an entry for every scheduler at hand: why it cannot be used, or
	// "" when it can. A scheduler without an entry is not installed. EEVDF needs
	// no entry and ignores one.
	WhyNot map[string]string
	// Manual is the operator's order in force; nil when there is none.
	Manual *Order
	// Holds are those in force. One whose end has come counts no more.
	Holds []Hold
	// LastSwap is when the last swap ended, or the last attempt at one; zero
	// when there was none.
	LastSwap time.Time
	// Failures are those since the last decision. One that is given again
	// counts once.
	Failures []Failure
	// Versions are those of the schedulers at hand: what failed in one version
	// does not rest in another. Only those of schedulers that failed are needed.
	Versions map[string]string
	// Forgive names schedulers whose failures so far, in any version and with any
	// arguments, are to be forgotten.
	Forgive []string
	// Veto is in force; nil when there is none.
	Veto *Veto
}

// State is what policy remembers from one decision to the next. The zero value
// is a fresh start. It is a value: Decide returns a new one and leaves the one
// it was given as it was.
type State struct {
	// Resting are the arms that failed, in the order of their first failure.
	Resting []Rest
	// Choice is what the host's class asks for; zero when it asks for nothing.
	Choice Choice
}

// Choice is an arm and since when the work asks for it.
type Choice struct {
	Arm   Arm
	Since time.Time
}

// Alternative is an arm that was not chosen.
type Alternative struct {
	Arm    Arm
	WhyNot string
}

// Decision is the arm that should be in charge, what to do about it, and why.
type Decision struct {
	Time time.Time
	// Arm is the one in charge for ActionKeep, else the one to put there.
	Arm    Arm
	Action Action
	// Manual is true when the decision follows the operator's order.
	Manual bool
	// Reasons say why, in plain words with figures; never empty.
	Reasons []string
	// Alternatives are the other arms of the table, and EEVDF.
	Alternatives []Alternative
	// WouldChange says what would lead to another decision; empty only when
	// nothing that policy knows of would.
	WouldChange []string
	// Class and Confidence are those of the host at the time.
	Class      workload.Class
	Confidence float64
}
