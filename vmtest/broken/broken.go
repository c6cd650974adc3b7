// SPDX-License-Identifier: Apache-2.0

// Package broken is a sched_ext scheduler that goes wrong on purpose, for tests of what becomes of such ones.
package broken

// One source, two objects: see bpf/include/sched_ext.h.
//go:generate go tool -modfile=../../go.tools.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types broken broken.bpf.c -- -std=gnu11 -mcpu=v3 -Wall -Wextra -Werror -nostdinc -I../../bpf/include
//go:generate go tool -modfile=../../go.tools.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types brokenv2 broken.bpf.c -- -std=gnu11 -mcpu=v3 -Wall -Wextra -Werror -nostdinc -I../../bpf/include -DV2

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Ops is its name in /sys/kernel/sched_ext/root/ops.
const Ops = "broken"

// Forgotten is the name (comm) of the tasks that [Stall] never runs again.
const Forgotten = "forgotten"

// Modes of [Main]: how it goes wrong.
const (
	Good    = "good"    // it does not
	Rejects = "rejects" // the verifier refuses it
	Stall   = "stall"   // from SIGUSR1 on it does not run tasks named [Forgotten]
	Error   = "error"   // on SIGUSR1 it calls scx_bpf_error
	Dies    = "dies"    // on SIGUSR1, and a second after it was registered, it exits with status 3
)

// modes are those that there are.
var modes = []string{Good, Rejects, Stall, Error, Dies}

// Main is the loader of the scheduler: it registers it, goes wrong, and returns the exit code. It ends in good order on SIGTERM and
// SIGINT, and with code 1 when the kernel takes the scheduler out. It prints as the scx schedulers do.
func Main(mode string, out io.Writer) int {
	if err := run(mode, out); err != nil {
		var verifier *ebpf.VerifierError
		if errors.As(err, &verifier) {
			fmt.Fprintf(out, "%+v\n", verifier)
		}
		fmt.Fprintln(out, "Error:", err)
		if errors.Is(err, errDies) {
			return 3
		}
		return 1
	}
	return 0
}

var errDies = errors.New("it was told to die")

func run(mode string, out io.Writer) error {
	if !slices.Contains(modes, mode) {
		return fmt.Errorf("there is no way to go wrong named %q: %s", mode, strings.Join(modes, ", "))
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGUSR1)
	coll, err := load(mode == Rejects)
	if err != nil {
		return err
	}
	defer coll.Close()
	l, err := link.AttachStructOps(link.StructOpsOptions{Map: coll.Maps[Ops]})
	if err != nil {
		return fmt.Errorf("failed to attach struct_ops: %w", err)
	}
	defer func() { _ = l.Close() }() // the process ends with it
	fmt.Fprintln(out, "registered, to be:", mode)
	var dies <-chan time.Time
	if mode == Dies {
		dies = time.After(time.Second)
	}
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-dies:
			return errDies
		case sig := <-signals:
			if sig != unix.SIGUSR1 {
				return nil
			}
			switch mode {
			case Dies:
				return errDies
			case Stall:
				err = coll.Variables["forget"].Set(true)
			case Error:
				err = coll.Variables["give_up"].Set(true)
			}
			if err != nil {
				return err
			}
		case <-look.C:
			if err := exited(coll); err != nil {
				return err
			}
		}
	}
}

// exited is the kernel's exit information as the scx schedulers print it; nil while it is in charge.
func exited(coll *ebpf.Collection) error {
	var kind uint32
	var reason [64]byte
	var message [128]byte
	if err := errors.Join(coll.Variables["exit_kind"].Get(&kind), coll.Variables["exit_reason"].Get(&reason),
		coll.Variables["exit_message"].Get(&message)); err != nil {
		return err
	}
	if kind == 0 {
		return nil
	}
	return fmt.Errorf("EXIT: %s (%s)", unix.ByteSliceToString(reason[:]), unix.ByteSliceToString(message[:]))
}

func load(reject bool) (*ebpf.Collection, error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, err
	}
	read := loadBroken
	var second *btf.Func
	if kernel.TypeByName("scx_bpf_dsq_insert___v2", &second) == nil {
		read = loadBrokenv2
	}
	spec, err := read()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables["reject"].Set(reject); err != nil {
		return nil, err
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("failed to load BPF program: %w", err)
	}
	return coll, nil
}
