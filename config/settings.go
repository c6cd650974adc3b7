// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// setting is one thing that can be set: by its key in the file, by its flag,
// and by the environment variable that the flag's name gives.
type setting struct {
	key  string // dotted; empty where the file has none
	flag string // without dashes; empty where there is none
	// sets is the key that the setting changes where key is empty.
	sets  string
	kind  string // what the flag's help calls its value; empty for a switch
	usage string
	set   func(*Config, value) error
	// show is the default as the flag's help prints it.
	show string
}

func (s *setting) target() string {
	if s.key != "" {
		return s.key
	}
	return s.sets
}

// env is the environment variable of a flag.
func envOf(flag string) string {
	return "AUTOSA_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// settings are all of them, in the order of their documentation. Their dotted
// keys are a contract with operators: add, never rename.
var settings = []*setting{
	{
		key: "collection_interval_secs", flag: "collection-interval", kind: "seconds", show: "1",
		usage: "time between two samples",
		set:   duration(func(c *Config) *time.Duration { return &c.CollectionInterval }, 100*time.Millisecond, time.Minute),
	}, {
		key: "aggregation_window_secs", flag: "aggregation-window", kind: "seconds", show: "60",
		usage: "time over which samples are voted on",
		set:   duration(func(c *Config) *time.Duration { return &c.AggregationWindow }, 100*time.Millisecond, 24*time.Hour),
	}, {
		key: "min_confidence_threshold", flag: "min-confidence", kind: "ratio", show: "0.7",
		usage: "confidence, 0 to 1, that a class needs before autosa acts on it",
		set:   ratio(func(c *Config) *float64 { return &c.MinConfidence }),
	}, {
		key: "min_switch_interval_secs", flag: "min-switch-interval", kind: "seconds", show: "300",
		usage: "least time between two swaps that autosa makes by itself",
		set:   duration(func(c *Config) *time.Duration { return &c.MinSwitchInterval }, 0, 7*24*time.Hour),
	}, {
		key: "enable_auto_switch",
		set: func(c *Config, v value) (err error) { return assign(&c.AutoSwitch)(v.boolean()) },
	}, {
		flag: "no-auto-switch", sets: "enable_auto_switch",
		usage: "only say what would be done",
		set: func(c *Config, v value) error {
			no, err := v.boolean()
			if err != nil {
				return err
			}
			c.AutoSwitch = !no
			return nil
		},
	}, {
		key: "socket", flag: "socket", kind: "path", show: Default().Socket,
		usage: "the daemon's socket",
		set: func(c *Config, v value) error {
			p, err := v.absolute()
			if err != nil {
				return err
			}
			// sockaddr_un has room for 108 bytes, the last of them NUL.
			if len(p) > 107 {
				return fmt.Errorf("is %d bytes long, a socket's path may have 107", len(p))
			}
			c.Socket = p
			return nil
		},
	}, {
		key: "state_dir", flag: "state-dir", kind: "path", show: Default().StateDir,
		usage: "directory for what outlives the daemon",
		set:   func(c *Config, v value) error { return assign(&c.StateDir)(v.absolute()) },
	}, {
		key: "operator_group",
		set: func(c *Config, v value) error {
			s, err := v.str()
			if err != nil {
				return err
			}
			if s != "" && !validName(s, "_-.") {
				return fmt.Errorf("%q is not a group's name", s)
			}
			c.OperatorGroup = s
			return nil
		},
	}, {
		key: "log_level", flag: "log-level", kind: "level", show: "info",
		usage: "debug, info, warn or error",
		set: func(c *Config, v value) error {
			s, err := v.oneOf("debug", "info", "warn", "error")
			if err != nil {
				return err
			}
			return c.LogLevel.UnmarshalText([]byte(s))
		},
	}, {
		key: "log_format", flag: "log-format", kind: "format", show: "auto",
		usage: "auto, text, logfmt or json; auto is text on a terminal, else logfmt",
		set: func(c *Config, v value) error {
			s, err := v.oneOf("auto", "text", "logfmt", "json")
			if err != nil {
				return err
			}
			c.LogFormat = LogFormat(s)
			return nil
		},
	}, {
		key: "start_timeout_secs",
		set: duration(func(c *Config) *time.Duration { return &c.StartTimeout }, time.Second, 10*time.Minute),
	}, {
		key: "stop_timeout_secs",
		set: duration(func(c *Config) *time.Duration { return &c.StopTimeout }, 100*time.Millisecond, 2*time.Minute),
	}, {
		key: "quarantine.first_secs",
		set: duration(func(c *Config) *time.Duration { return &c.Backoff }, time.Second, 7*24*time.Hour),
	}, {
		key: "quarantine.longest_secs",
		set: duration(func(c *Config) *time.Duration { return &c.MaxBackoff }, time.Second, 7*24*time.Hour),
	}, {
		key: "foreign",
		set: func(c *Config, v value) error {
			s, err := v.oneOf("leave", "adopt")
			if err != nil {
				return err
			}
			c.Foreign = Foreign(s)
			return nil
		},
	}, {
		key: "schedulers.dirs", flag: "scheduler-dir", kind: "directory",
		usage: "directory searched for schedulers before PATH; repeatable",
		set: func(c *Config, v value) error {
			list, err := v.strings()
			if err != nil {
				return err
			}
			if err := v.each(list, absolute); err != nil {
				return err
			}
			for i := range list {
				list[i] = filepath.Clean(list[i])
			}
			if v.appending {
				list = append(c.Schedulers.Dirs, list...)
			}
			c.Schedulers.Dirs = list
			return nil
		},
	}, {
		key: "tracer.groups",
		set: whole(func(c *Config) *int { return &c.Tracer.Groups }, 1, 1024),
	}, {
		key: "tracer.slots",
		set: whole(func(c *Config) *int { return &c.Tracer.Slots }, 0, 16384),
	}, {
		key: "tracer.events_per_second",
		set: whole(func(c *Config) *int { return &c.Tracer.EventsPerSecond }, 10, 100_000),
	}, {
		key: "tracer.ring_bytes",
		set: whole(func(c *Config) *int { return &c.Tracer.RingBytes }, 4<<10, 64<<20),
	}, {
		key: "tracer.budget", flag: "tracer-budget", kind: "ratio", show: "0.005",
		usage: "share of the machine's CPU time, 0 to 1, that observing may take; 0 for no limit",
		set:   ratio(func(c *Config) *float64 { return &c.Tracer.Budget }),
	}, {
		key: "tracer.wait_threshold",
		set: duration(func(c *Config) *time.Duration { return &c.Tracer.WaitThreshold }, 10*time.Microsecond, 10*time.Second),
	},
}

func settingByFlag(flag string) *setting {
	for _, s := range settings {
		if s.flag == flag {
			return s
		}
	}
	return nil
}

func settingByKey(key string) *setting {
	for _, s := range settings {
		if s.key == key && key != "" {
			return s
		}
	}
	return nil
}

// assign stores a value that was read without error.
func assign[T any](to *T) func(T, error) error {
	return func(v T, err error) error {
		if err == nil {
			*to = v
		}
		return err
	}
}

// ratio sets a number from 0 to 1.
func ratio(field func(*Config) *float64) func(*Config, value) error {
	return func(c *Config, v value) error {
		f, err := v.number()
		if err != nil {
			return err
		}
		if f < 0 || f > 1 {
			return fmt.Errorf("must be from 0 to 1, not %s", v)
		}
		*field(c) = f
		return nil
	}
}

// whole sets a whole number within [lo, hi].
func whole(field func(*Config) *int, lo, hi int64) func(*Config, value) error {
	return func(c *Config, v value) error {
		n, err := v.integer()
		if err != nil {
			return err
		}
		if n < lo || n > hi {
			return fmt.Errorf("must be from %d to %d, not %s", lo, hi, v)
		}
		*field(c) = int(n)
		return nil
	}
}

// duration sets one that must lie within [lo, hi].
func duration(field func(*Config) *time.Duration, lo, hi time.Duration) func(*Config, value) error {
	return func(c *Config, v value) error {
		d, err := v.duration()
		if err != nil {
			return err
		}
		if d < lo || d > hi {
			return fmt.Errorf("must be from %s to %s seconds, not %s", seconds(lo), seconds(hi), v)
		}
		*field(c) = d
		return nil
	}
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// absolute reads the path of something, cleaned.
func (v value) absolute() (string, error) {
	s, err := v.str()
	if err != nil {
		return "", err
	}
	if err := absolute(s); err != nil {
		return "", err
	}
	return filepath.Clean(s), nil
}

func absolute(path string) error {
	switch {
	case path == "":
		return errors.New("is empty")
	case !filepath.IsAbs(path):
		return fmt.Errorf("%q is not an absolute path", path)
	case filepath.Clean(path) == "/":
		return errors.New("is the root directory")
	}
	return nil
}

func (v value) oneOf(words ...string) (string, error) {
	s, err := v.str()
	if err != nil {
		return "", err
	}
	for _, w := range words {
		if s == w {
			return s, nil
		}
	}
	last := len(words) - 1
	return "", fmt.Errorf("%q is not %s or %s%s", s, strings.Join(words[:last], ", "), words[last], didYouMean(s, words))
}

// validName says whether s is made of ASCII letters, digits and the extra
// characters, and starts with neither a digit nor a dash.
func validName(s, extra string) bool {
	for i, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '_' && strings.ContainsRune(extra, '_'):
		case r >= '0' && r <= '9', strings.ContainsRune(extra, r):
			if i == 0 {
				return false
			}
		default:
			return false
		}
	}
	return s != "" && len(s) <= 64
}
