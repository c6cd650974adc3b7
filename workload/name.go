// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind says what a cgroup was made for.
type Kind string

// The kinds of cgroups.
const (
	KindRoot      Kind = "root"
	KindService   Kind = "service"   // a systemd service, or a cgroup below one
	KindScope     Kind = "scope"     // a systemd scope that is none of the others
	KindSlice     Kind = "slice"     // a systemd slice: the tasks directly in it
	KindSession   Kind = "session"   // a login session
	KindContainer Kind = "container" // of docker, podman, containerd, CRI-O, LXC
	KindMachine   Kind = "machine"   // registered with systemd-machined: a VM, a nspawn container
	KindOther     Kind = "other"     // made by hand or by an unknown manager
)

// Name is what a cgroup's path says about whom the cgroup belongs to. What the
// path does not say is empty.
type Name struct {
	Kind Kind
	// Unit is the innermost systemd unit, as systemctl takes it: escapes are kept.
	Unit string
	// Container is the first 12 digits of the container's id, or a name where
	// containers have no ids; Runtime is docker, podman, containerd, cri-o, lxc,
	// or cri where only Kubernetes is known.
	Container, Runtime string
	// Pod is the UID of the Kubernetes pod.
	Pod string
	// UID is the user in decimal, Session the number of the login session.
	UID, Session string
	// Label is short and for people; it is never empty. systemd's escapes are
	// undone in it, where that yields printable text.
	Label string
}

// ParseCgroup reads the path of a cgroup below the root of the v2 hierarchy. It
// knows the paths that systemd and the container runtimes make with either of
// their cgroup drivers, and looks nothing up. Any string will do.
func ParseCgroup(path string) Name {
	n := Name{Kind: KindOther, Label: path}
	if strings.Trim(path, "/") == "" {
		return Name{Kind: KindRoot, Label: "/"}
	}
	below := "" // what follows the part that names the cgroup
	parent := ""
	for rest := path; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
		if part == "" {
			continue
		}
		if n.part(part, parent) {
			below = rest
		}
		parent = part
	}
	if n.Kind != KindOther {
		n.Label = n.label(strings.Trim(below, "/"))
	}
	return n
}

// part takes one part of a path in, parent being the one above it. It says
// whether the part names the cgroup better than those above.
func (n *Name) part(part, parent string) bool {
	// systemd puts an underscore before names that would clash with files.
	if unit := strings.TrimPrefix(part, "_"); isUnit(unit) {
		part = unit
	}
	if uid, ok := pod(part); ok {
		n.Pod = uid
	}
	if id, runtime, ok := container(part, parent, n.Pod); ok {
		unit := ""
		if isUnit(part) {
			unit = part
		}
		*n = Name{Kind: KindContainer, Unit: unit, Container: id, Runtime: runtime, Pod: n.Pod, UID: n.UID}
		return true
	}
	if !isUnit(part) || n.Kind == KindContainer {
		return false
	}
	stem, suffix := part[:strings.LastIndexByte(part, '.')], part[strings.LastIndexByte(part, '.'):]
	before := *n
	*n = Name{Unit: part, Pod: before.Pod, UID: before.UID}
	switch {
	case suffix == ".slice":
		n.Kind = KindSlice
		if uid, ok := strings.CutPrefix(stem, "user-"); ok && isNumber(uid) {
			n.UID = uid
		}
	case suffix == ".service":
		n.Kind = KindService
		if uid, ok := strings.CutPrefix(stem, "user@"); ok && isNumber(uid) {
			n.UID = uid
		}
	case strings.HasPrefix(stem, "session-"):
		n.Kind, n.Session = KindSession, strings.TrimPrefix(stem, "session-")
	case strings.HasPrefix(stem, "machine-"):
		n.Kind = KindMachine
	default:
		n.Kind = KindScope
	}
	return true
}

// label is the name for people; below is the path from the named cgroup on.
func (n *Name) label(below string) string {
	var s string
	switch n.Kind {
	case KindContainer:
		// What runtimes make below a container tells nothing.
		return n.Runtime + ":" + unescape(n.Container)
	case KindSession:
		s = "session " + unescape(n.Session)
	case KindMachine:
		s = "machine " + unescape(strings.TrimSuffix(strings.TrimPrefix(n.Unit, "machine-"), ".scope"))
	default:
		s = unescape(n.Unit)
		if below != "" {
			s += "/" + below
		}
	}
	if n.UID != "" && n.Unit != "user-"+n.UID+".slice" && n.Unit != "user@"+n.UID+".service" {
		s += " of uid " + n.UID
	}
	return s
}

// isUnit says whether a part is named like a systemd unit that has a cgroup.
func isUnit(part string) bool {
	for _, suffix := range []string{".service", ".scope", ".slice"} {
		if len(part) > len(suffix) && strings.HasSuffix(part, suffix) {
			// A slice of one runtime may carry a container: see container.
			return !strings.Contains(part, ":cri-")
		}
	}
	return false
}

// runtimes are the prefixes that runtimes put before a container's id.
var runtimes = []struct{ prefix, runtime string }{
	{"docker-", "docker"},
	{"cri-containerd-", "containerd"},
	{"nerdctl-", "containerd"},
	{"crio-", "cri-o"},
	{"libpod-", "podman"},
}

// container finds a container's id in a part of a path.
func container(part, parent, pod string) (id, runtime string, ok bool) {
	bare := strings.TrimSuffix(part, ".scope")
	for _, r := range runtimes {
		if id, ok := strings.CutPrefix(bare, r.prefix); ok && isContainerID(id) {
			return id[:shortID], r.runtime, true
		}
	}
	// The systemd name, slice:prefix:id, taken for a directory by the other
	// cgroup driver.
	if f := strings.Split(part, ":"); len(f) == 3 && isContainerID(f[2]) {
		for _, r := range runtimes {
			if f[1]+"-" == r.prefix {
				return f[2][:shortID], r.runtime, true
			}
		}
	}
	if isContainerID(part) {
		switch {
		case parent == "docker":
			return part[:shortID], "docker", true
		case pod != "":
			return part[:shortID], "cri", true
		case parent == "default" || parent == "k8s.io" || parent == "moby":
			return part[:shortID], "containerd", true // its namespaces
		}
	}
	if name, ok := strings.CutPrefix(part, "lxc.payload."); ok && name != "" {
		return name, "lxc", true
	}
	if parent == "lxc" || parent == "lxc.payload" {
		return part, "lxc", true
	}
	return "", "", false
}

const (
	shortID = 12
	fullID  = 64
)

func isContainerID(s string) bool {
	if len(s) != fullID {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// pod finds the UID of a Kubernetes pod: pod<uid>, or with systemd
// kubepods[-class]-pod<uid>.slice, where dashes have become underscores.
func pod(part string) (string, bool) {
	s, systemd := strings.CutSuffix(part, ".slice")
	// Names of the systemd driver, in front of a container's.
	if before, _, ok := strings.Cut(s, ".slice:"); ok {
		s, systemd = before, true
	}
	if systemd {
		i := strings.LastIndex(s, "-pod")
		if i < 0 || !strings.HasPrefix(s, "kubepods") && !strings.HasPrefix(s, "kubelet-kubepods") {
			return "", false
		}
		s = strings.ReplaceAll(s[i+1:], "_", "-")
	}
	uid, ok := strings.CutPrefix(s, "pod")
	if !ok || len(uid) < 32 || strings.Trim(uid, "0123456789abcdef-") != "" {
		return "", false
	}
	return uid, true
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

// unescape undoes systemd's \xNN. Where the outcome cannot be printed the text
// stays as it was.
func unescape(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			if c, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b = append(b, byte(c))
				i += 3
				continue
			}
		}
		b = append(b, s[i])
	}
	if !utf8.Valid(b) || strings.ContainsFunc(string(b), func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	return string(b)
}
