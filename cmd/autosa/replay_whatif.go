// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"autosa/policy"
	"autosa/workload"
)

// adjustment changes a configuration.
type adjustment func(*policy.Config)

// armsKey begins the keys that name the scheduler for a class.
const armsKey = "arms."

// whatIfSettings are what policy can be asked to decide with instead.
var whatIfSettings = map[string]func(value string) (adjustment, error){
	"min_confidence": func(v string) (adjustment, error) {
		x, err := strconv.ParseFloat(v, 64)
		if err != nil || !(x >= 0 && x <= 1) {
			return nil, fmt.Errorf("%q is not a number from 0 to 1", v)
		}
		return func(c *policy.Config) { c.MinConfidence = x }, nil
	},
	"min_switch_interval": duration(func(c *policy.Config, d time.Duration) { c.MinSwitchInterval = d }),
	"min_class_age":       duration(func(c *policy.Config, d time.Duration) { c.MinClassAge = d }),
}

func duration(set func(*policy.Config, time.Duration)) func(string) (adjustment, error) {
	return func(v string) (adjustment, error) {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return nil, fmt.Errorf("%q is not a duration such as 30s", v)
		}
		return func(c *policy.Config) { set(c, d) }, nil
	}
}

// whatIfKeys are the keys that --set takes.
func whatIfKeys() []string {
	return append(slices.Sorted(maps.Keys(whatIfSettings)), armsKey+"CLASS")
}

// whatIf understands --set; it returns nil where there is none.
func whatIf(set []string) (adjustment, error) {
	if len(set) == 0 {
		return nil, nil
	}
	var all []adjustment
	for _, s := range set {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("--set %s: it takes KEY=VALUE", s)
		}
		parse := whatIfSettings[key]
		if class, isArm := strings.CutPrefix(key, armsKey); isArm {
			parse = func(v string) (adjustment, error) { return arm(class, v) }
		}
		if parse == nil {
			return nil, fmt.Errorf("--set %s: the keys are %s", s, strings.Join(whatIfKeys(), ", "))
		}
		one, err := parse(value)
		if err != nil {
			return nil, fmt.Errorf("--set %s: %w", s, err)
		}
		all = append(all, one)
	}
	return func(c *policy.Config) {
		c.Table = maps.Clone(c.Table)
		for _, one := range all {
			one(c)
		}
	}, nil
}

// arm makes a scheduler, with its arguments behind spaces, the choice for a class.
func arm(class, value string) (adjustment, error) {
	c, err := workload.ParseClass(class)
	if err != nil {
		return nil, err
	}
	words := strings.Fields(value)
	if len(words) == 0 || c == workload.Idle {
		return nil, fmt.Errorf("it takes a scheduler, for any class but %s", workload.Idle)
	}
	return func(cfg *policy.Config) { cfg.Table[c] = []policy.Arm{{Scheduler: words[0], Args: words[1:]}} }, nil
}
