// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// catalogue looks in dirs alone, on a machine on which everything is well.
func catalogue(t *testing.T, o CatalogueOptions) *Catalogue {
	t.Helper()
	return catalogueOn(t, fakeHost(t), o)
}

func catalogueOn(t *testing.T, h Host, o CatalogueOptions) *Catalogue {
	t.Helper()
	c, err := NewCatalogue(o)
	if err != nil {
		t.Fatal(err)
	}
	c.dirs, c.host = c.dirs[:len(o.Dirs)], h
	return c
}

func install(t *testing.T, dir, name, body string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	write(t, path, "#!/bin/sh\n"+body+"\n")
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLookupFindsAnInstalledSchedulerWithItsVersion(t *testing.T) {
	dir := trustedDir(t)
	path := install(t, dir, "scx_rusty", `echo "scx_rusty 1.1.4 x86_64-unknown-linux-gnu"; echo ran >> `+dir+`/runs`)
	c := catalogue(t, CatalogueOptions{Dirs: []string{dir}})
	for _, name := range []string{"scx_rusty", "rusty"} {
		e, err := c.Lookup(t.Context(), name)
		if err != nil || !e.Usable || !e.Installed || !e.Known || e.Name != "scx_rusty" || e.Version != "1.1.4" || e.Path != path || e.Watchdog != 10*time.Second {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	if b, _ := os.ReadFile(dir + "/runs"); string(b) != "ran\n" {
		t.Errorf("asked for its version %d times", strings.Count(string(b), "ran"))
	}
	// A new version is asked anew.
	install(t, dir, "scx_rusty", `echo "scx_rusty v1.2.0-rc1"`)
	if e, _ := c.Lookup(t.Context(), "rusty"); e.Version != "1.2.0-rc1" {
		t.Errorf("after the upgrade: %+v", e)
	}
	if e, err := c.Lookup(t.Context(), EEVDF); err != nil || !e.Usable || e.Name != EEVDF {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestListShowsKnownMissingAndUncataloguedSchedulers(t *testing.T) {
	dir, other := trustedDir(t), trustedDir(t)
	mark := filepath.Join(dir, "ran")
	install(t, dir, "scx_lavd", "echo scx_lavd 1.1.4")
	install(t, dir, "scx_own", "touch "+mark)
	install(t, dir, "scx_loader", "touch "+mark)
	install(t, dir, "other", "touch "+mark)
	install(t, other, "scx_lavd", "echo scx_lavd 0.0.1")
	c := catalogue(t, CatalogueOptions{Dirs: []string{dir, other}, Paths: map[string]string{"special": "/nonexistent/special"}})
	got := map[string]Entry{}
	var names []string
	for _, e := range c.List(t.Context()) {
		got[e.Name] = e
		names = append(names, e.Name)
	}
	if names[0] != EEVDF || len(got) != len(names) {
		t.Errorf("names %v", names)
	}
	if e := got["scx_lavd"]; e.Version != "1.1.4" || !e.Usable {
		t.Errorf("%+v", e)
	}
	if e := got["scx_rusty"]; e.Installed || e.Usable || e.WhyNot != "not installed" || e.Remedy == "" || e.Description == "" {
		t.Errorf("%+v", e)
	}
	if e := got["scx_own"]; !e.Installed || !e.Usable || e.Known || e.Version != "" {
		t.Errorf("%+v", e)
	}
	if e := got["scx_special"]; e.Installed || e.Usable || !strings.Contains(e.WhyNot, "/nonexistent") {
		t.Errorf("%+v", e)
	}
	if _, ok := got["scx_loader"]; ok {
		t.Error("scx_loader is no scheduler")
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("a program that is not in the catalogue was executed")
	}
}

func TestLookupOfAnUnknownNameListsCloseOnes(t *testing.T) {
	c := catalogue(t, CatalogueOptions{})
	for name, want := range map[string]string{"lavdd": "scx_lavd", "bpfl": "scx_bpfland", "scx_rsty": "scx_rusty", "Rusty": "scx_rusty", "cosmo": "scx_cosmos"} {
		_, err := c.Lookup(t.Context(), name)
		var u *UnknownError
		if !errors.As(err, &u) || !errors.Is(err, ErrUnknown) || !slices.Contains(u.Close, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"../../bin/sh", "scx_", "", "zzzzzzzzzz", "loader", "a/b", "-x y", strings.Repeat("a", 500), "nul\x00"} {
		if e, err := c.Lookup(t.Context(), name); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %+v, %v", name, e, err)
		}
	}
}

func TestRelativePathsAreRefused(t *testing.T) {
	_, err := NewCatalogue(CatalogueOptions{Dirs: []string{"bin", "/ok"}, Paths: map[string]string{"lavd": "./scx_lavd"}})
	if err == nil || !strings.Contains(err.Error(), `"bin"`) || !strings.Contains(err.Error(), "lavd") {
		t.Errorf("got %v", err)
	}
}

func TestBinariesThatCannotAnswerAreNotedOrRefused(t *testing.T) {
	dir := trustedDir(t)
	for name, c := range map[string]struct {
		body         string
		usable       bool
		note, whyNot string
	}{
		"scx_lavd":    {"exit 2", true, "did not answer --version: exit status 2", ""},
		"scx_rusty":   {"echo hello", true, "names no version", ""},
		"scx_bpfland": {`echo "error while loading shared libraries: libbpf.so.1" >&2; exit 127`, false, "", "libbpf.so.1"},
	} {
		install(t, dir, name, c.body)
		e, err := catalogue(t, CatalogueOptions{Dirs: []string{dir}}).Lookup(t.Context(), name)
		if err != nil || e.Usable != c.usable || !strings.Contains(e.Note, c.note) || !strings.Contains(e.WhyNot, c.whyNot) || !e.Installed {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	noProgram := filepath.Join(dir, "scx_flash")
	if err := os.WriteFile(noProgram, []byte{0, 1}, 0o755); err != nil {
		t.Fatal(err)
	}
	if e, _ := catalogue(t, CatalogueOptions{Dirs: []string{dir}}).Lookup(t.Context(), "flash"); e.Usable || !strings.Contains(e.WhyNot, "exec format error") {
		t.Errorf("%+v", e)
	}
}

func TestVersionIsBoundedInTimeAndOutput(t *testing.T) {
	dir := trustedDir(t)
	install(t, dir, "scx_lavd", "sleep 1000 & echo $! > "+dir+"/child; exec sleep 1000")
	install(t, dir, "scx_rusty", `echo 1.2.3; yes | head -c 10000000`)
	c := catalogue(t, CatalogueOptions{Dirs: []string{dir}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	e, err := c.Lookup(ctx, "lavd")
	if took := time.Since(began); err != nil || e.Version != "" || e.Note == "" || took > time.Minute {
		t.Errorf("%+v, %v after %v", e, err, took)
	}
	if b, err := os.ReadFile(dir + "/child"); err == nil {
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		await(t, time.Minute, "the end of what it started", func() bool { return !exists(pid) })
	} else {
		t.Errorf("it had no time to start: %v", err)
	}
	if len(c.versions) != 0 {
		t.Error("what the context cut short was remembered")
	}
	if e, err := c.Lookup(t.Context(), "rusty"); err != nil || e.Version != "1.2.3" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestRootRefusesWhatOthersCanReplace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of other owners")
	}
	const other = 12345
	chown := func(path string) func(*testing.T) {
		return func(t *testing.T) {
			if err := os.Lchown(path, other, other); err != nil {
				t.Fatal(err)
			}
		}
	}
	chmod := func(path string, mode uint32) func(*testing.T) {
		return func(t *testing.T) {
			if err := unix.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(dir, file string) func(*testing.T)
		want   string // empty: accepted
		remedy string
	}{
		"as it should be":      {func(d, f string) func(*testing.T) { return func(*testing.T) {} }, "", ""},
		"file of another user": {func(d, f string) func(*testing.T) { return chown(f) }, "belongs to user 12345", "chown root"},
		"file for all":         {func(d, f string) func(*testing.T) { return chmod(f, 0o757) }, "others than root can write", "chmod go-w"},
		"file for the group":   {func(d, f string) func(*testing.T) { return chmod(f, 0o775) }, "others than root can write", "chmod go-w"},
		"set-user-ID":          {func(d, f string) func(*testing.T) { return chmod(f, 0o4755) }, "set-user-ID", "chmod ug-s"},
		"not executable":       {func(d, f string) func(*testing.T) { return chmod(f, 0o644) }, "not executable", "chmod +x"},
		"directory for all":    {func(d, f string) func(*testing.T) { return chmod(d, 0o777) }, "others than root can write", "chmod go-w"},
		"directory of another": {func(d, f string) func(*testing.T) { return chown(d) }, "belongs to user 12345", "chown root"},
		"parent for the group": {func(d, f string) func(*testing.T) { return chmod(filepath.Dir(d), 0o775) }, "others than root can write", "chmod go-w"},
		"sticky directory":     {func(d, f string) func(*testing.T) { return chmod(d, 0o1777) }, "", ""},
		"a directory of that name": {func(d, f string) func(*testing.T) {
			return func(t *testing.T) {
				if err := os.Remove(f); err != nil {
					t.Fatal(err)
				}
				if err := os.Mkdir(f, 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}, "not a regular file", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(trustedDir(t), "bin")
			file := install(t, dir, "scx_rusty", "echo scx_rusty 1.0.0; touch "+dir+"/ran")
			link := filepath.Join(trustedDir(t), "scx_rusty")
			if err := os.Symlink(file, link); err != nil {
				t.Fatal(err)
			}
			c.change(dir, file)(t)
			// By its own path and through a link from a sound directory.
			for _, path := range []string{file, link} {
				e, err := catalogue(t, CatalogueOptions{Paths: map[string]string{"rusty": path}}).Lookup(t.Context(), "rusty")
				if err != nil {
					t.Fatal(err)
				}
				if c.want == "" {
					if !e.Usable || e.Path != file {
						t.Errorf("refused: %+v", e)
					}
					continue
				}
				if e.Usable || !e.Installed || !strings.Contains(e.WhyNot, c.want) || !strings.Contains(e.Remedy, c.remedy) {
					t.Errorf("%+v", e)
				}
				if _, err := os.Stat(dir + "/ran"); err == nil {
					t.Error("it was executed")
				}
			}
		})
	}
}

func TestRootRefusesALinkThatOthersCanReplace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of other owners")
	}
	file := script(t, "scx_rusty", "true")
	dir := trustedDir(t)
	hop := filepath.Join(dir, "hop")
	link := filepath.Join(trustedDir(t), "scx_rusty")
	for _, l := range [][2]string{{file, hop}, {hop, link}} {
		if err := os.Symlink(l[0], l[1]); err != nil {
			t.Fatal(err)
		}
	}
	if got, ref := checkExecutable(link, true); ref != nil || got.path != file {
		t.Fatalf("%+v, %+v", got, ref)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, ref := checkExecutable(link, true); ref == nil || !strings.Contains(ref.why, dir) {
		t.Errorf("a link in the middle that all can replace: %+v", ref)
	}
	if _, ref := checkExecutable(link, false); ref != nil {
		t.Errorf("another user than root need not mind: %+v", ref)
	}
	if err := unix.Chmod(dir, 0o1777); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(hop, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, ref := checkExecutable(link, true); ref == nil || !strings.Contains(ref.why, "symbolic link") {
		t.Errorf("another user's link in a sticky directory: %+v", ref)
	}
}

func TestPathsThatLeadNowhereAreRefused(t *testing.T) {
	dir := trustedDir(t)
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	file := install(t, dir, "file", "")
	relative := filepath.Join(dir, "relative")
	if err := os.Symlink("../"+filepath.Base(dir)+"/./file", relative); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		loop: "too many symbolic links", dir + "/none": "does not exist", file + "/x": "not a directory", dir: "not a regular file", "/dev/null": "not a regular file", relative: "",
	} {
		got, ref := checkExecutable(path, false)
		if want == "" {
			if ref != nil || got.path != file {
				t.Errorf("%s: %+v, %+v", path, got, ref)
			}
			continue
		}
		if ref == nil || !strings.Contains(ref.why, want) {
			t.Errorf("%s: %+v", path, ref)
		}
	}
}
