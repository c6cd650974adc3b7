// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"autosa/config"
	"autosa/scx"
)

// NewCatalogue is the catalogue of schedulers that a configuration asks for.
func NewCatalogue(c config.Config) (*scx.Catalogue, error) {
	known := make(map[string]scx.Override, len(c.Schedulers.Known))
	for name, k := range c.Schedulers.Known {
		known[name] = scx.Override{
			Description: k.Description, Ops: k.Ops, VersionFlag: k.VersionFlag, HelpFlag: k.HelpFlag, MinKernel: k.MinKernel,
			Classes: k.Classes, Needs: k.Needs, LeavesBehind: k.LeavesBehind, Notes: k.Notes,
			Watchdog: k.Watchdog, CPUWeight: k.CPUWeight, CPUMax: k.CPUMax, Modes: k.Modes,
		}
	}
	return scx.NewCatalogue(scx.CatalogueOptions{Dirs: c.Schedulers.Dirs, Paths: c.Schedulers.Paths, Known: known})
}

// Words are those that a configuration may use of schedulers.
func Words() config.Words {
	return config.Words{Modes: scx.Modes(), Needs: scx.Needs(), Ops: scx.KnownOps()}
}
