// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"autosa/api"
)

// notifier tells systemd how the daemon is, where it was started by it.
type notifier struct {
	log *slog.Logger
	// watchdog is the time within which systemd wants to hear; 0 for never.
	watchdog time.Duration

	mu    sync.Mutex // guards what follows
	text  string     // as last told
	fed   time.Time
	ended bool
}

func newNotifier(log *slog.Logger, interval time.Duration) *notifier {
	n := &notifier{log: log}
	var err error
	if n.watchdog, err = sd.SdWatchdogEnabled(false); err != nil {
		log.Warn("the watchdog's interval cannot be read", "err", err)
	}
	if n.watchdog > 0 && n.watchdog < 3*interval {
		log.Warn("the service manager's watchdog is shorter than three collection intervals: it may take the daemon for dead",
			"watchdog", n.watchdog, "collection_interval", interval)
	}
	return n
}

// ready tells that the socket answers.
func (n *notifier) ready(st api.Status) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fed = time.Now()
	n.send(sd.SdNotifyReady, n.status(st))
}

// tick is called by the daemon's loop: that it is called at all is what the
// watchdog wants to know.
func (n *notifier) tick(st api.Status) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return
	}
	var lines []string
	if now := time.Now(); n.watchdog > 0 && now.Sub(n.fed) >= n.watchdog/4 {
		n.fed = now
		lines = append(lines, sd.SdNotifyWatchdog)
	}
	if text := n.status(st); text != "" {
		lines = append(lines, text)
	}
	n.send(lines...)
}

// stopping tells that the end has begun, once.
func (n *notifier) stopping() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return
	}
	n.ended = true
	n.send(sd.SdNotifyStopping)
}

// status returns the line for `systemctl status` if it has changed.
func (n *notifier) status(st api.Status) string {
	text := fmt.Sprintf("STATUS=%s: %s in charge, workload %s", st.Mode, command(st.Scheduler.Name, nil), st.Workload.Class)
	if st.Workload.Confidence == 0 {
		text = fmt.Sprintf("STATUS=%s: %s in charge", st.Mode, command(st.Scheduler.Name, nil))
	}
	if text == n.text {
		return ""
	}
	n.text = text
	return text
}

func (n *notifier) send(lines ...string) {
	for _, l := range lines {
		if l == "" {
			continue
		}
		if _, err := sd.SdNotify(false, l); err != nil {
			n.log.Warn("tell the service manager", "err", err)
			return
		}
	}
}
