// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"log/slog"
	"time"

	"autosa/api"
	"autosa/config"
	"autosa/policy"
	"autosa/scx"
	"autosa/workload"
)

// Options are what a daemon is made of. Config must come from config.Load.
type Options struct {
	Config  config.Config
	Version string
	// Logger must not be nil.
	Logger *slog.Logger
	// OnTick, if set, is called in the daemon's loop after every published tick:
	// that it is called says that the loop lives. It must not block.
	OnTick func(api.Status)
	// OnReload, if set, is called in the daemon's loop with the configuration in
	// force after one that was reloaded. It must not block.
	OnReload func(config.Config)
	// ObserveOnly, if not empty, is why this daemon shall only watch. It then
	// takes no lock, touches no state directory and has no way to change a
	// scheduler, so it may run beside another daemon; its mode is
	// [api.ModeObserve] with this reason.
	ObserveOnly string
}

// sampler is where samples come from: the collector, or a test's script.
type sampler interface {
	Collect(now time.Time) (workload.Sample, error)
	Close() error
}

// hands change the scheduler in charge: the switcher, or a test's script for
// faults that a real one cannot be made to have.
type hands interface {
	Switch(ctx context.Context, target scx.Target) (scx.Result, error)
	// Adjust changes the built-in scheduler's policy, at once; Builtin is what that
	// says of itself.
	Adjust(target scx.Target) (scx.InCharge, error)
	Builtin() *scx.BuiltinState
	InCharge() (scx.InCharge, error)
	Events() <-chan scx.Event
	Changes() <-chan struct{}
	Close(ctx context.Context) error
}

// lister knows which schedulers are installed.
type lister interface {
	List(ctx context.Context) []scx.Entry
	Lookup(ctx context.Context, name string) (scx.Entry, error)
}

// policyConfig is the policy's view of the configuration; the mode is set at
// each decision.
func policyConfig(c config.Config) (policy.Config, error) {
	pc := policy.DefaultConfig()
	pc.MinConfidence = c.MinConfidence
	pc.MinSwitchInterval = c.MinSwitchInterval
	pc.Backoff, pc.MaxBackoff = c.Backoff, c.MaxBackoff
	pc.MinClassAge = min(pc.MinClassAge, c.AggregationWindow)
	for name, arms := range c.Arms {
		class, err := workload.ParseClass(name)
		if err != nil {
			return pc, err
		}
		list := make([]policy.Arm, 0, len(arms))
		for _, a := range arms {
			list = append(list, policy.Arm{Scheduler: a.Scheduler, Args: a.Args})
		}
		pc.Table[class] = list
	}
	return pc, pc.Validate()
}
