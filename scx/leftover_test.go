// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	latency    = "devices/system/cpu/cpu1/power/pm_qos_resume_latency_us"
	preference = "devices/system/cpu/cpu1/cpufreq/energy_performance_preference"
)

// machine gives the fake host files that schedulers change, and returns what reads one.
func (k *fakeKernel) settings() func(path string) string {
	k.t.Helper()
	write(k.t, filepath.Join(k.host.Sys, latency), "0\n")
	write(k.t, filepath.Join(k.host.Sys, preference), "balance_performance\n")
	return func(path string) string {
		b, err := os.ReadFile(filepath.Join(k.host.Sys, path))
		if err != nil {
			k.t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
}

// sets is a part of a scheduler's script that changes a file.
func (k *fakeKernel) sets(path, value string) string {
	return "echo " + value + " >" + filepath.Join(k.host.Sys, path) + "\n"
}

func awaitValue(t *testing.T, read func(string) string, path, want string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); read(path) != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s is %q, want %q", filepath.Base(path), read(path), want)
		}
	}
}

func TestWhatAKilledSchedulerLeavesBehindIsPutBack(t *testing.T) {
	k := newFakeKernel(t)
	read := k.settings()
	k.scheduler("scx_one", "one", k.sets(latency, "5")+k.sets(preference, "power"))
	file := filepath.Join(t.TempDir(), "leftovers.json")
	s := k.switcher(Options{Leftovers: file})
	res, err := s.Switch(context.Background(), Target{Name: "scx_one"})
	if err != nil {
		t.Fatal(err)
	}
	if read(latency) != "5" || read(preference) != "power" {
		t.Fatalf("the scheduler's own settings: %q, %q", read(latency), read(preference))
	}
	write(t, filepath.Join(k.host.Sys, preference), "performance") // somebody else's word
	if err := unix.Kill(res.InCharge.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitValue(t, read, latency, "0")
	if got := read(preference); got != "performance" {
		t.Errorf("what somebody else has set since is %q now", got)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(file); os.IsNotExist(err) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it is remembered still")
		}
	}
}

// The settings from before the first scheduler count, also for one that was loaded while another was in charge.
func TestSettingsOfBeforeTheFirstSchedulerOutliveASwap(t *testing.T) {
	needGate(t)
	k := newFakeKernel(t)
	read := k.settings()
	k.scheduler("scx_one", "one", k.sets(latency, "5"))
	k.scheduler("scx_two", "two", k.sets(latency, "9")+k.sets(preference, "power"))
	s := k.switcher(Options{})
	for _, name := range []string{"scx_one", "scx_two"} {
		if res, err := s.Switch(context.Background(), Target{Name: name}); err != nil || res.Ungated != "" {
			t.Fatalf("%+v %v", res, err)
		}
	}
	if got := read(latency); got != "9" {
		t.Errorf("the second scheduler's setting is %q, want 9", got)
	}
	if _, err := s.Switch(context.Background(), Target{Name: EEVDF}); err != nil {
		t.Fatal(err)
	}
	if read(latency) != "0" || read(preference) != "balance_performance" {
		t.Errorf("after the last: %q, %q", read(latency), read(preference))
	}
}

func TestFailedSchedulerLeavesTheSettingsOfTheOneInCharge(t *testing.T) {
	needGate(t)
	k := newFakeKernel(t)
	read := k.settings()
	k.scheduler("scx_one", "one", k.sets(latency, "5"))
	k.scheduler("scx_bad", "bad", "exit 1")
	s := k.switcher(Options{})
	if _, err := s.Switch(context.Background(), Target{Name: "scx_one"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Switch(context.Background(), Target{Name: "scx_bad"}); err == nil {
		t.Fatal("scx_bad came up")
	}
	if got := read(latency); got != "5" {
		t.Errorf("the setting of the one in charge is %q, want 5", got)
	}
	if _, err := s.Switch(context.Background(), Target{Name: EEVDF}); err != nil {
		t.Fatal(err)
	}
	if got := read(latency); got != "0" {
		t.Errorf("after it: %q, want 0", got)
	}
}

func TestNextProcessPutsBackWhatTheLastCouldNot(t *testing.T) {
	k := newFakeKernel(t)
	read := k.settings()
	secret := filepath.Join(k.host.Sys, "devices/system/cpu/secret")
	write(t, secret, "5")
	boot := Host{}.bootID()
	for _, tt := range []struct {
		name, boot string
		set        string // of the latency, when it was remembered
		want       string
	}{
		{"as it was left", boot, "5", "0"},
		{"changed since", boot, "7", "5"},
		{"another boot", "other", "5", "5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write(t, filepath.Join(k.host.Sys, latency), "5")
			file := filepath.Join(t.TempDir(), "leftovers.json")
			both := map[string]string{latency: tt.set, "devices/system/cpu/secret": "5", "../secret": "5"}
			b, err := json.Marshal(remembered{Boot: tt.boot, Before: map[string]string{latency: "0", "devices/system/cpu/secret": "1", "../secret": "1"}, Set: both})
			if err != nil {
				t.Fatal(err)
			}
			write(t, file, string(b))
			if err := k.switcher(Options{Leftovers: file}).Recover(); err != nil {
				t.Fatal(err)
			}
			if got := read(latency); got != tt.want {
				t.Errorf("it is %q, want %q", got, tt.want)
			}
			if got, _ := os.ReadFile(secret); string(got) != "5" {
				t.Errorf("a file that is none of the settings was written: %q", got)
			}
			if _, err := os.Stat(file); !os.IsNotExist(err) {
				t.Errorf("it is remembered still: %v", err)
			}
		})
	}
}

func TestDamagedMemoryOfLeftoversIsSetAside(t *testing.T) {
	k := newFakeKernel(t)
	file := filepath.Join(t.TempDir(), "leftovers.json")
	s := k.switcher(Options{Leftovers: file})
	if err := s.Recover(); err != nil {
		t.Errorf("no file: %v", err)
	}
	write(t, file, "{")
	if err := s.Recover(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(file + ".damaged"); err != nil {
		t.Error(err)
	}
}
