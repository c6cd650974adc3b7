// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"os"

	"autosa/scx"
)

// claim takes the machine for this daemon. One that only watches needs no
// claim: any number of those may run, beside the one that acts.
func (d *Daemon) claim() error {
	if d.opts.ObserveOnly != "" {
		return nil
	}
	l, err := acquireLock(lockPath(os.Geteuid()))
	if err != nil {
		return err
	}
	d.lock = l
	return nil
}

// whyObserve says why schedulers cannot, or shall not, be changed here; "" when
// they can.
func (d *Daemon) whyObserve() string {
	if why := d.opts.ObserveOnly; why != "" {
		return why
	}
	if !d.kernel.Supported() {
		return "this kernel has no sched_ext (it takes Linux 6.12 or newer with CONFIG_SCHED_CLASS_EXT=y)"
	}
	if err := scx.CheckPermission(); err != nil {
		return err.Error()
	}
	return ""
}
