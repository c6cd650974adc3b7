// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Circumstances are the lines that belong beside every figure: where, when and
// how it was taken.
func Circumstances(command string) (string, error) {
	machine, err := Machine()
	if err != nil {
		return "", err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "", err
	}
	statistics := "off"
	on, err := RunTimeStatistics()
	if err != nil {
		statistics = "not readable: " + err.Error()
	} else if on {
		statistics = "on"
	}
	f := strings.Fields(string(load))
	return fmt.Sprintf("- command: `%s`\n- date: %s, revision %s\n- machine: %s\n- before: load average %s, kernel.bpf_stats_enabled %s\n",
		command, time.Now().UTC().Format("2006-01-02 15:04 UTC"), revision(), machine,
		strings.Join(f[:min(3, len(f))], " "), statistics), nil
}

// Machine names the kernel and the processors.
func Machine() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %d CPUs (%s)", unix.ByteSliceToString(u.Release[:]), runtime.NumCPU(), cpuModel()), nil
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "model not readable"
	}
	for line := range strings.Lines(string(b)) {
		if k, v, _ := strings.Cut(line, ":"); strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return "model unknown"
}

// revision names the tree that is measured.
func revision() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// Replace puts text between the lines <!-- name --> and <!-- /name --> of a
// document. Measuring commands keep their parts of a page that has more to say.
func Replace(document, name, text string) error {
	b, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	open, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	before, rest, ok := strings.Cut(string(b), open)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		return fmt.Errorf("%s has no place for figures: put the lines %q and %q where they belong", document, strings.TrimSpace(open), end)
	}
	return WriteFile(document, []byte(before+open+"\n"+strings.Trim(text, "\n")+"\n\n"+end+after))
}

// WriteFile replaces a file as a whole or not at all.
func WriteFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// Table lays rows out as Markdown; the first row is the heading. Every column
// after the first is aligned to the right.
func Table(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString("|---|" + strings.Repeat("--:|", len(row)-1) + "\n")
		}
	}
	return b.String()
}
