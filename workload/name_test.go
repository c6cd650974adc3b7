// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	id64   = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f809"
	id12   = "1a2b3c4d5e6f"
	podUID = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"
)

var podSlice = "kubepods-burstable-pod" + strings.ReplaceAll(podUID, "-", "_") + ".slice"

func TestParseCgroup(t *testing.T) {
	for _, tt := range []struct {
		path string
		want Name
	}{
		{"/", Name{Kind: KindRoot, Label: "/"}},
		{"", Name{Kind: KindRoot, Label: "/"}},
		{"/system.slice", Name{Kind: KindSlice, Unit: "system.slice", Label: "system.slice"}},
		{"/system.slice/nginx.service", Name{Kind: KindService, Unit: "nginx.service", Label: "nginx.service"}},
		{"/system.slice/system-getty.slice/getty@tty1.service", Name{Kind: KindService, Unit: "getty@tty1.service", Label: "getty@tty1.service"}},
		{`/system.slice/system-systemd\x2dfsck.slice/systemd-fsck@dev-disk-by\x2duuid-AB\x2d12.service`,
			Name{Kind: KindService, Unit: `systemd-fsck@dev-disk-by\x2duuid-AB\x2d12.service`, Label: "systemd-fsck@dev-disk-by-uuid-AB-12.service"}},
		{`/system.slice/evil\x1b\x0a.service`, Name{Kind: KindService, Unit: `evil\x1b\x0a.service`, Label: `evil\x1b\x0a.service`}},
		{"/system.slice/caddy.service/worker/1", Name{Kind: KindService, Unit: "caddy.service", Label: "caddy.service/worker/1"}},
		{"/system.slice/_cpu.service", Name{Kind: KindService, Unit: "cpu.service", Label: "cpu.service"}},
		{"/init.scope", Name{Kind: KindScope, Unit: "init.scope", Label: "init.scope"}},
		{"/user.slice/user-1000.slice", Name{Kind: KindSlice, Unit: "user-1000.slice", UID: "1000", Label: "user-1000.slice"}},
		{"/user.slice/user-1000.slice/session-3.scope", Name{Kind: KindSession, Unit: "session-3.scope", UID: "1000", Session: "3", Label: "session 3 of uid 1000"}},
		{"/user.slice/user-0.slice/session-c1.scope", Name{Kind: KindSession, Unit: "session-c1.scope", UID: "0", Session: "c1", Label: "session c1 of uid 0"}},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-123.scope",
			Name{Kind: KindScope, Unit: "app-gnome-firefox-123.scope", UID: "1000", Label: "app-gnome-firefox-123.scope of uid 1000"}},
		{`/user.slice/user-1000.slice/user@1000.service/app.slice/app-dbus\x2d:1.2\x2dorg.gnome.Maps.slice/dbus-:1.2-org.gnome.Maps@0.service`,
			Name{Kind: KindService, Unit: "dbus-:1.2-org.gnome.Maps@0.service", UID: "1000", Label: "dbus-:1.2-org.gnome.Maps@0.service of uid 1000"}},
		{"/user.slice/user-1000.slice/user@1000.service/session.slice/pipewire.service",
			Name{Kind: KindService, Unit: "pipewire.service", UID: "1000", Label: "pipewire.service of uid 1000"}},
		{"/system.slice/docker-" + id64 + ".scope", Name{Kind: KindContainer, Unit: "docker-" + id64 + ".scope", Container: id12, Runtime: "docker", Label: "docker:" + id12}},
		{"/docker/" + id64, Name{Kind: KindContainer, Container: id12, Runtime: "docker", Label: "docker:" + id12}},
		{"/docker/" + id64 + "/system.slice/cron.service", Name{Kind: KindContainer, Container: id12, Runtime: "docker", Label: "docker:" + id12}},
		{"/docker/" + strings.Repeat("f", 64) + "/docker/" + id64, Name{Kind: KindContainer, Container: id12, Runtime: "docker", Label: "docker:" + id12}},
		{"/machine.slice/libpod-" + id64 + ".scope/container", Name{Kind: KindContainer, Unit: "libpod-" + id64 + ".scope", Container: id12, Runtime: "podman", Label: "podman:" + id12}},
		{"/machine.slice/libpod-conmon-" + id64 + ".scope", Name{Kind: KindScope, Unit: "libpod-conmon-" + id64 + ".scope", Label: "libpod-conmon-" + id64 + ".scope"}},
		{"/libpod_parent/libpod-" + id64 + "/ctr", Name{Kind: KindContainer, Container: id12, Runtime: "podman", Label: "podman:" + id12}},
		{"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id64 + ".scope",
			Name{Kind: KindContainer, Unit: "libpod-" + id64 + ".scope", Container: id12, Runtime: "podman", UID: "1000", Label: "podman:" + id12}},
		{"/kubepods.slice/kubepods-burstable.slice/" + podSlice + "/cri-containerd-" + id64 + ".scope",
			Name{Kind: KindContainer, Unit: "cri-containerd-" + id64 + ".scope", Container: id12, Runtime: "containerd", Pod: podUID, Label: "containerd:" + id12}},
		{"/kubepods.slice/" + podSlice + "/crio-" + id64 + ".scope/container",
			Name{Kind: KindContainer, Unit: "crio-" + id64 + ".scope", Container: id12, Runtime: "cri-o", Pod: podUID, Label: "cri-o:" + id12}},
		{"/kubepods/besteffort/pod" + podUID + "/" + id64, Name{Kind: KindContainer, Container: id12, Runtime: "cri", Pod: podUID, Label: "cri:" + id12}},
		{"/kubepods/pod" + podUID + "/crio-" + id64, Name{Kind: KindContainer, Container: id12, Runtime: "cri-o", Pod: podUID, Label: "cri-o:" + id12}},
		{"/system.slice/containerd.service/" + podSlice + ":cri-containerd:" + id64,
			Name{Kind: KindContainer, Container: id12, Runtime: "containerd", Pod: podUID, Label: "containerd:" + id12}},
		{"/default/" + id64, Name{Kind: KindContainer, Container: id12, Runtime: "containerd", Label: "containerd:" + id12}},
		{"/lxc.payload.web/system.slice/nginx.service", Name{Kind: KindContainer, Container: "web", Runtime: "lxc", Label: "lxc:web"}},
		{`/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator`, Name{Kind: KindMachine, Unit: `machine-qemu\x2d1\x2dvm.scope`, Label: "machine qemu-1-vm"}},
		{"/my/own/group", Name{Kind: KindOther, Label: "/my/own/group"}},
		{"/" + id64, Name{Kind: KindOther, Label: "/" + id64}},
		{"/docker/" + id64[1:], Name{Kind: KindOther, Label: "/docker/" + id64[1:]}},
		{"/.service", Name{Kind: KindOther, Label: "/.service"}},
		{HostName, Name{Kind: KindOther, Label: HostName}},
	} {
		if got := ParseCgroup(tt.path); got != tt.want {
			t.Errorf("%s\n got %+v\nwant %+v", tt.path, got, tt.want)
		}
	}
}

func FuzzParseCgroup(f *testing.F) {
	for _, s := range []string{"/", `/a\x2d.service`, "/docker/" + id64, "/kubepods.slice/" + podSlice + "/x:cri-containerd:" + id64, "/_._.slice//x", "/lxc/", `/\x.scope`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		n := ParseCgroup(path)
		if n.Label == "" || n.Kind == "" {
			t.Errorf("%q: %+v", path, n)
		}
		if (n.Kind == KindContainer) != (n.Container != "") || (n.Container == "") != (n.Runtime == "") {
			t.Errorf("%q: a container without an id, or an id without a container: %+v", path, n)
		}
		if n.Unit != "" && !strings.Contains(path, n.Unit) {
			t.Errorf("%q: unit %q is not in it", path, n.Unit)
		}
		if utf8.ValidString(path) && !utf8.ValidString(n.Label) {
			t.Errorf("%q: label %q is no UTF-8", path, n.Label)
		}
		if len(n.Label) > len(path)+len(" of uid 4294967295")+len("containerd:session ") {
			t.Errorf("%q: label %q grew", path, n.Label)
		}
	})
}
