// SPDX-License-Identifier: Apache-2.0

package config

import (
	"reflect"
)

// Reloaded is what a running daemon makes of a configuration read anew: live is
// c with what can change without a restart taken from next, pending the keys of
// what differs otherwise, in the order of their documentation.
func (c Config) Reloaded(next Config) (live Config, pending []string) {
	live = c
	live.MinConfidence, live.MinSwitchInterval, live.AutoSwitch = next.MinConfidence, next.MinSwitchInterval, next.AutoSwitch
	live.LogLevel, live.Arms = next.LogLevel, next.Arms
	live.Backoff, live.MaxBackoff = next.Backoff, next.MaxBackoff
	live.File, live.Warnings = next.File, next.Warnings
	for _, s := range []struct {
		key      string
		old, new any
	}{
		{"collection_interval_secs", c.CollectionInterval, next.CollectionInterval},
		{"aggregation_window_secs", c.AggregationWindow, next.AggregationWindow},
		{"socket", c.Socket, next.Socket},
		{"state_dir", c.StateDir, next.StateDir},
		{"operator_group", c.OperatorGroup, next.OperatorGroup},
		{"log_format", c.LogFormat, next.LogFormat},
		{"start_timeout_secs", c.StartTimeout, next.StartTimeout},
		{"stop_timeout_secs", c.StopTimeout, next.StopTimeout},
		{"foreign", c.Foreign, next.Foreign},
		{"schedulers", c.Schedulers.places(), next.Schedulers.places()},
		{"scheduler", c.Schedulers.Known, next.Schedulers.Known},
		{"tracer", c.Tracer, next.Tracer},
	} {
		if !reflect.DeepEqual(s.old, s.new) {
			pending = append(pending, s.key)
		}
	}
	return live, pending
}

// places are s without what is known of single schedulers.
func (s Schedulers) places() Schedulers { return Schedulers{Dirs: s.Dirs, Paths: s.Paths} }
