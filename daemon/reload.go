// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"strings"
	"time"

	"autosa/config"
)

// reload is a configuration read anew, or why it could not be.
type reload struct {
	config config.Config
	err    error
}

// Reload takes a configuration that was read anew, or the error that it met. What
// can change while the daemon runs does so between two samples, during a swap too;
// the status says what waits for a restart. With an error, or where the
// configuration is none that a policy can be made of, everything stays as it was,
// and the status says so until the next reload. It returns when the loop has the
// order, or is no more.
func (d *Daemon) Reload(ctx context.Context, c config.Config, err error) {
	select {
	case d.reloads <- reload{config: c, err: err}:
	case <-d.ended:
	case <-ctx.Done():
	}
}

func (l *loop) reload(r reload) {
	now := time.Now()
	err := r.err
	if err == nil {
		live, pending := l.config.Reloaded(r.config)
		pc, bad := policyConfig(live)
		if err = bad; err == nil {
			l.config = live
			l.policy.Store(&pc)
			l.engine.Configure(pc)
			if len(l.rec.tapes) > 0 {
				l.put(now, false, l.state(now))
			}
			l.log.Info("configuration reloaded", "file", live.File, "restart_for", strings.Join(pending, ", "))
			for _, w := range live.Warnings {
				l.log.Warn("configuration", "warning", w)
			}
			if l.opts.OnReload != nil {
				l.opts.OnReload(live)
			}
			l.pending(pending)
		}
	}
	l.trouble("the configuration could not be reloaded, the one before goes on", err)
	l.emit(now)
}

// pending says what of the configuration waits for a restart.
func (l *loop) pending(keys []string) {
	const what = "changed in the configuration, and waiting for a restart"
	delete(l.troubles, what)
	if len(keys) > 0 {
		l.troubles[what] = strings.Join(keys, ", ")
	}
}
