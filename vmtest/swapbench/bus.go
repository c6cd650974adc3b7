// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	busDir    = "/run/dbus"
	busSocket = busDir + "/system_bus_socket"
	busConfig = busDir + "/swapbench.conf"
	actions   = "/usr/share/polkit-1/actions"
)

// A bus on which everybody may do everything: it is that of a machine that lives for this measurement.
const openBus = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=` + busSocket + `</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*" eavesdrop="true"/>
  </policy>
</busconfig>
`

// The action that scx_loader asks polkit about. Root is allowed whatever it says.
const loaderAction = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE policyconfig PUBLIC "-//freedesktop//DTD PolicyKit Policy Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/PolicyKit/1/policyconfig.dtd">
<policyconfig>
  <action id="org.scx.loader.manage-schedulers">
    <description>Manage schedulers</description>
    <message>Authentication is required to manage schedulers</message>
    <defaults><allow_any>auth_admin</allow_any><allow_inactive>auth_admin</allow_inactive><allow_active>auth_admin</allow_active></defaults>
  </action>
</policyconfig>
`

// prepareBus writes what the bus and polkit read, in a guest whose own files are read-only.
func prepareBus() error {
	if os.Getenv("AUTOSA_VM") == "" {
		return errors.New("this is for a virtual machine: it covers files of the system's")
	}
	if err := os.MkdirAll(busDir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(busConfig, []byte(openBus), 0o644); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", actions, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("cover %s: %w", actions, err)
	}
	return os.WriteFile(filepath.Join(actions, "org.scx.loader.policy"), []byte(loaderAction), 0o644)
}
