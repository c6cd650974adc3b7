// SPDX-License-Identifier: Apache-2.0

// Package config puts the daemon's configuration together from defaults, a
// TOML file, the environment and the command line, in that order, each
// overriding the one before it. The whole is validated before anything of it is
// used, and every mistake in it is reported at once, with the place it was made
// in: see [Errors].
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// DefaultFile is the file read when none is named; it need not exist.
const DefaultFile = "/etc/autosa/config.toml"

// EEVDF is how a configuration names the kernel's default scheduler.
const EEVDF = "eevdf"

// builtinPrefix begins the names of autosa's own scheduler, one of its policies
// follows.
const builtinPrefix = "builtin:"

var builtinPolicies = []string{"latency", "balanced", "throughput"}

// LogFormat says how log records are written.
type LogFormat string

// The log formats. LogAuto is LogText on a terminal and LogLogfmt elsewhere.
const (
	LogAuto   LogFormat = "auto"
	LogText   LogFormat = "text"
	LogLogfmt LogFormat = "logfmt"
	LogJSON   LogFormat = "json"
)

// Foreign says what becomes of a scheduler that somebody else started.
type Foreign string

// Foreign schedulers are left alone, or counted as arms that may be replaced where
// nobody else manages them.
const (
	ForeignLeave Foreign = "leave"
	ForeignAdopt Foreign = "adopt"
)

// Config is a complete, valid configuration.
type Config struct {
	// CollectionInterval is the time between two samples.
	CollectionInterval time.Duration
	// AggregationWindow is the time over which samples are voted on; never
	// shorter than CollectionInterval.
	AggregationWindow time.Duration
	// MinConfidence, 0 to 1, is what a class needs before autosa acts on it.
	MinConfidence float64
	// MinSwitchInterval is the least time between two swaps that autosa makes
	// by itself.
	MinSwitchInterval time.Duration
	// AutoSwitch is false where autosa only says what it would do.
	AutoSwitch bool

	// Socket is the absolute path of the socket, StateDir of the directory that
	// outlives the daemon.
	Socket   string
	StateDir string
	// OperatorGroup is the name of the group whose members may give orders
	// beside root; empty for none. It need not exist.
	OperatorGroup string

	LogLevel  slog.Level
	LogFormat LogFormat

	// StartTimeout bounds the time a scheduler may take until the kernel
	// confirms it, StopTimeout the time between SIGTERM and SIGKILL.
	StartTimeout time.Duration
	StopTimeout  time.Duration

	// Backoff is how long a scheduler rests after its first failure; each further
	// one doubles it, up to MaxBackoff, which is never shorter.
	Backoff    time.Duration
	MaxBackoff time.Duration

	Foreign    Foreign
	Schedulers Schedulers
	Tracer     Tracer
	// Arms overrides, class by class, which schedulers are tried in which
	// order. A class that is absent keeps the built-in table's answer.
	Arms map[string][]Arm

	// File is the configuration file that was read; empty when there was none.
	File string
	// Warnings are things that do not stop the daemon but that its operator
	// ought to hear of, one sentence each.
	Warnings []string
}

// Schedulers says where schedulers are installed.
type Schedulers struct {
	// Dirs are absolute directories searched before PATH.
	Dirs []string
	// Paths are absolute paths of single binaries by scheduler name; they
	// outrank any search.
	Paths map[string]string
	// Known adds to what autosa knows of schedulers, or overrides it, by their names.
	Known map[string]Known
}

// Tracer tunes what is observed.
type Tracer struct {
	// Groups is the greatest number of cgroups that a sample lists.
	Groups int
	// Slots is the greatest number of cgroups counted apart in the kernel; 0: as
	// many as fit 4 MiB, up to 255. Never fewer than Groups otherwise.
	Slots int
	// EventsPerSecond bounds the single events of each kind.
	EventsPerSecond int
	// RingBytes is the size of the buffer for events; rounded up to a power of 2.
	RingBytes int
	// WaitThreshold is the shortest wait that is ever reported as an event.
	WaitThreshold time.Duration
	// Budget, 0 to 1, is the share of the machine's CPU time that observing may
	// take; 0: no limit.
	Budget float64
}

// Arm is a scheduler with its arguments.
type Arm struct {
	// Scheduler is a full name such as "scx_lavd", one such as "builtin:latency", or
	// [EEVDF].
	Scheduler string
	Args      []string
}

// Default returns the configuration of a machine without any settings.
func Default() Config {
	return Config{
		CollectionInterval: time.Second,
		AggregationWindow:  60 * time.Second,
		MinConfidence:      0.7,
		MinSwitchInterval:  300 * time.Second,
		AutoSwitch:         true,
		Socket:             "/run/autosa/autosa.sock",
		StateDir:           "/var/lib/autosa",
		OperatorGroup:      "autosa",
		LogLevel:           slog.LevelInfo,
		LogFormat:          LogAuto,
		StartTimeout:       90 * time.Second,
		StopTimeout:        5 * time.Second,
		Backoff:            time.Minute,
		MaxBackoff:         24 * time.Hour,
		Foreign:            ForeignLeave,
		Tracer: Tracer{
			Groups: 64, EventsPerSecond: 2000, RingBytes: 256 << 10, WaitThreshold: time.Millisecond, Budget: 0.005,
		},
	}
}

// Sources is where a configuration comes from. The zero value reads
// [DefaultFile], if there is one, and nothing else.
type Sources struct {
	// Flags are the settings of the command line; may be nil.
	Flags *Flags
	// Environ is the environment as os.Environ returns it.
	Environ []string
	// Classes are the workload classes that may have arms.
	Classes []string
	// Words are those that [scheduler.NAME] may use.
	Words Words
}

// Words are what only the catalogue of schedulers knows.
type Words struct {
	// Modes are the names of modes, Needs what a scheduler may need of the kernel.
	Modes, Needs []string
	// Ops has the scheduler that registers under each name.
	Ops map[string]string
}

// Load returns the configuration that the sources add up to. Its error is of
// type [Errors] and names every mistake in all of them; the Config returned
// with it is then zero.
func Load(src Sources) (Config, error) {
	l := gather(src)
	l.crossCheck()
	if len(l.errs) > 0 {
		return Config{}, l.errs
	}
	return l.cfg, nil
}

// Socket returns the path of the socket alone, for those who only talk to a
// daemon: mistakes in other settings, and a default file that cannot be read, do
// not matter to them. Its error is of type [Errors].
func Socket(src Sources) (string, error) {
	l := gather(src)
	errs := slices.DeleteFunc(l.errs, func(e *Error) bool {
		return e.Key != "socket" && !slices.Contains([]string{"--socket", envOf("socket"), "--config", envOf("config")}, e.Source)
	})
	if len(errs) > 0 {
		return "", errs
	}
	return l.cfg.Socket, nil
}

// gather applies all sources.
func gather(src Sources) *loader {
	l := &loader{cfg: Default(), origins: make(map[string]string), doubtful: make(map[string]bool), classes: src.Classes, words: src.Words}
	env := l.environment(src.Environ)
	path, named := DefaultFile, ""
	if v, ok := env["config"]; ok {
		path, named = v.text, v.origin
	}
	if src.Flags != nil && src.Flags.file != nil {
		path, named = *src.Flags.file, "--config"
	}
	l.file(path, named)
	for _, s := range settings {
		if v, ok := env[s.flag]; ok && s.flag != "" {
			l.apply(s, value{text: v.text, fromText: true}, Error{Source: v.origin})
		}
	}
	if src.Flags != nil {
		l.flags(src.Flags)
	}
	return l
}

// loader collects a configuration and what is wrong with it.
type loader struct {
	cfg     Config
	errs    Errors
	classes []string
	words   Words
	ops     map[string]string // words.Ops with what the file adds; nil before the first
	// origins says where each key that is not at its default was set.
	origins map[string]string
	// doubtful are the keys with a mistake in one of the sources.
	doubtful map[string]bool
	// lists holds the keys of lists that the current source has begun, so that
	// a repeated flag adds to its own list and not to the file's.
	lists map[string]bool
}

// apply sets one setting from one source; at says where the value stands.
func (l *loader) apply(s *setting, v value, at Error) {
	if !v.fromText && v.node.value == (malformed{}) {
		l.doubtful[s.target()] = true
		return
	}
	if err := s.set(&l.cfg, v); err != nil {
		l.report(at, err)
		l.doubtful[s.target()] = true
		return
	}
	l.origins[s.target()] = at.place()
}

// report adds what err holds: itself, or each of a list's.
func (l *loader) report(at Error, err error) {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range many.Unwrap() {
			l.report(at, one)
		}
		return
	}
	var item *itemError
	if errors.As(err, &item) && item.line > 0 {
		at.Line = item.line
	}
	at.Problem = err.Error()
	l.errs = append(l.errs, &at)
}

func (l *loader) flags(f *Flags) {
	l.lists = make(map[string]bool)
	for _, fv := range f.given {
		s := settingByFlag(fv.name)
		v := value{text: fv.text, fromText: true, appending: l.lists[s.target()]}
		l.apply(s, v, Error{Source: "--" + fv.name})
		l.lists[s.target()] = true
	}
}

// crossCheck holds keys against each other once each of them is fine.
func (l *loader) crossCheck() {
	l.checkSlots()
	l.checkBackoff()
	const window, interval = "aggregation_window_secs", "collection_interval_secs"
	if l.doubtful[window] || l.doubtful[interval] {
		return
	}
	if l.cfg.AggregationWindow < l.cfg.CollectionInterval {
		l.errs = append(l.errs, &Error{Source: l.origin(window), Key: window, Problem: "the window of " +
			l.cfg.AggregationWindow.String() + " is shorter than the collection interval of " +
			l.cfg.CollectionInterval.String() + " (" + l.origin(interval) + ")"})
	}
}

// checkBackoff: a rest only grows.
func (l *loader) checkBackoff() {
	const first, longest = "quarantine.first_secs", "quarantine.longest_secs"
	if l.doubtful[first] || l.doubtful[longest] || l.cfg.MaxBackoff >= l.cfg.Backoff {
		return
	}
	l.errs = append(l.errs, &Error{Source: l.origin(longest), Key: longest, Problem: fmt.Sprintf(
		"the longest rest of %v is shorter than the first of %v (%s of %s)", l.cfg.MaxBackoff, l.cfg.Backoff, first, l.origin(first))})
}

// checkSlots: a group without a slot cannot be listed.
func (l *loader) checkSlots() {
	const slots, groups = "tracer.slots", "tracer.groups"
	t := l.cfg.Tracer
	if l.doubtful[slots] || l.doubtful[groups] || t.Slots == 0 || t.Slots >= t.Groups {
		return
	}
	l.errs = append(l.errs, &Error{Source: l.origin(slots), Key: slots, Problem: fmt.Sprintf(
		"%d are too few to list %d groups (%s of %s)", t.Slots, t.Groups, groups, l.origin(groups))})
}

// origin says where a key was set.
func (l *loader) origin(key string) string {
	if o, ok := l.origins[key]; ok {
		return o
	}
	return "default"
}

func (l *loader) warn(text string) {
	if !slices.Contains(l.cfg.Warnings, text) {
		l.cfg.Warnings = append(l.cfg.Warnings, text)
	}
}
