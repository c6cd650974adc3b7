// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"io"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"autosa/api"
	"autosa/api/client"
)

const nobody = 65534

// operatorGroup is one that every machine has, beside those of root and nobody.
func operatorGroup(t *testing.T) (name string, gid uint32) {
	t.Helper()
	g, err := user.LookupGroup("daemon")
	if err != nil {
		t.Skipf("no group to stand for the operators: %v", err)
	}
	n, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return g.Name, uint32(n)
}

func TestAnyoneReadsTheHostAndOnlyOperatorsReadTasksAndGiveOrders(t *testing.T) {
	name, gid := operatorGroup(t)
	many := make([]uint32, 300) // more than the first guess at their number
	for i := range many {
		many[i] = uint32(10000 + i)
	}
	for _, tt := range []struct {
		name  string
		group string
		cred  syscall.Credential
		may   bool
	}{
		{"nobody", name, syscall.Credential{Uid: nobody, Gid: nobody}, false},
		{"nobody in many groups", name, syscall.Credential{Uid: nobody, Gid: nobody, Groups: many}, false},
		{"member of the operator group", name, syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{7, gid}}, true},
		{"member of the operator group and many others", name, syscall.Credential{Uid: nobody, Gid: nobody, Groups: slices.Concat(many, []uint32{gid})}, true},
		{"operator group as the primary one", name, syscall.Credential{Uid: nobody, Gid: gid}, true},
		{"no operator group", "", syscall.Credential{Uid: nobody, Gid: 0, Groups: []uint32{0, gid}}, false},
		{"an operator group that does not exist", "no-such-group", syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{gid}}, false},
		{"root", "", syscall.Credential{Uid: 0, Gid: 0}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			backend := newFake()
			socket, _ := serve(t, Options{Backend: backend, OperatorGroup: tt.group})
			v := visitAs(t, socket, tt.cred)
			e := v.Status.Events
			if seen := len(e.Worst) == 1 && len(e.Periods) == 1 && !e.Withheld && v.Status.Scheduler.PID == 99; seen != tt.may {
				t.Errorf("per-task data seen: %v, want %v: %+v", seen, tt.may, e)
			}
			if !tt.may && (!e.Withheld || len(e.Worst)+len(e.Periods) > 0 || v.Status.Scheduler.PID != 0) {
				t.Errorf("not all of it is withheld: %+v", v.Status)
			}
			if v.Status.Scheduler.Name != "scx_lavd" || e.Received != 3 || len(e.WaitedFor) != 1 {
				t.Errorf("what anyone may see is missing: %+v", v.Status)
			}
			if _, ordered := backend.orders.Load("switch"); ordered != tt.may {
				t.Errorf("order reached the backend: %v, want %v", ordered, tt.may)
			}
			if want := map[bool]string{true: "yes", false: string(api.CodeForbidden)}[tt.may]; v.Traced != want {
				t.Errorf("traced: %s, want %s", v.Traced, want)
			}
			switch {
			case tt.may && v.Refusal != nil:
				t.Errorf("order refused: %v", v.Refusal)
			case !tt.may && (v.Refusal == nil || v.Refusal.Code != api.CodeForbidden || !strings.Contains(v.Refusal.Message, "65534")):
				t.Errorf("refusal = %v, want forbidden for 65534", v.Refusal)
			}
			if len(backend.status.Events.Worst) != 1 || backend.status.Scheduler.PID != 99 {
				t.Error("withholding changed the backend's own status")
			}
		})
	}
}

func TestEveryOrderAndEveryLookAtTasksIsForOperators(t *testing.T) {
	for _, r := range routes {
		want := map[string]permission{"GET": anyone, "POST": operators, "DELETE": operators}[r.method]
		if r.path == api.PathIncident || r.path == api.PathTrace || r.path == api.PathTasks || r.path == api.PathRecord {
			want = operators
		}
		if r.permission != want {
			t.Errorf("%s %s has permission %v, want %v", r.method, r.path, r.permission, want)
		}
	}
}

func TestOneUserCannotTakeTheConnectionsOfOthers(t *testing.T) {
	socket, _ := serve(t, Options{Limits: Limits{ConnsPerUID: 24, ReadTimeout: 20 * time.Second}})
	cmd := as(t, "hold", socket, syscall.Credential{Uid: nobody, Gid: nobody})
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var v visit
	if err := json.NewDecoder(stdout).Decode(&v); err != nil || v.Failure != "" {
		t.Fatal(err, v.Failure)
	}
	if v.Refused != 16 {
		t.Errorf("%d of 40 connections were turned away, want 16", v.Refused)
	}
	if other := visitAs(t, socket, syscall.Credential{Uid: nobody - 1, Gid: nobody}); other.Status.PID != 7 {
		t.Errorf("another user was not served: %+v", other)
	}
	if _, err := client.New(socket).Status(t.Context()); err != nil {
		t.Errorf("root was not served: %v", err)
	}
	_ = stdin.Close()
	_, _ = io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the user's places are free again", func() bool {
		return visitAs(t, socket, syscall.Credential{Uid: nobody, Gid: nobody}).Status.PID == 7
	})
}

func TestConnectionsAreKeptForRoot(t *testing.T) {
	socket, _ := serve(t, Options{Limits: Limits{Conns: 20, ReservedConns: 5, ConnsPerUID: 100, ReadTimeout: 20 * time.Second}})
	cmd := as(t, "hold", socket, syscall.Credential{Uid: nobody, Gid: nobody})
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var v visit
	if err := json.NewDecoder(stdout).Decode(&v); err != nil {
		t.Fatal(err)
	}
	if v.Refused != 25 {
		t.Errorf("%d of 40 connections were turned away, want 25", v.Refused)
	}
	for range 3 {
		if _, err := client.New(socket).Status(t.Context()); err != nil {
			t.Errorf("root was not served: %v", err)
		}
	}
	_ = stdin.Close()
	_ = cmd.Wait()
}
