// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Machine is a virtual machine that boots a kernel on a read-only view of this machine's files, runs one command as
// root and powers off.
type Machine struct {
	Kernel  Kernel
	Command string // for the guest's shell

	// ReadWrite directories can be written by the guest, whose writes are seen here at once. ReadOnly ones are passed
	// by themselves, which makes them visible also where the guest has mounts of its own, such as below /tmp.
	ReadWrite, ReadOnly []string

	CPUs   int    // 2 if zero
	Memory string // "2G" if empty

	// Icount, if not empty, has the guest's clock count instructions, with these options of the emulator's -icount: what this machine does
	// meanwhile does not show in it. Hardware virtualisation is not used then.
	Icount string

	// Stdout gets what the command prints, Console what the kernel says, mixed with what the command prints on its
	// standard error. Both may be nil.
	Stdout, Console io.Writer

	// TempDir is where the emulator keeps its temporary files.
	TempDir string
}

// Run boots the machine and returns when it has powered off. The error is an *exec.ExitError with the command's exit
// code if that was not zero. When ctx ends, the machine is killed and the error is the context's cause. A machine does not outlive
// this process, however that ends.
func (c Cache) Run(ctx context.Context, m Machine) error {
	if m.Icount != "" {
		return c.run(ctx, m, false)
	}
	kvm, err := c.kvmWorks(ctx, m.Kernel, m.TempDir)
	if err != nil {
		return err
	}
	return c.run(ctx, m, kvm)
}

func (c Cache) run(ctx context.Context, m Machine, kvm bool) error {
	cmd := exec.Command(c.vng(), m.args(kvm)...)
	cmd.Dir = "/" // where the guest starts, too
	cmd.Env = c.environ(m.TempDir)
	// Pipes in any case: the emulator reopens what it is given by name, and would truncate a file.
	cmd.Stdout, cmd.Stderr = orDiscard(m.Stdout), orDiscard(m.Console)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("boot %s: %w", m.Kernel.Release, err)
	}
	guard, err := guardGroup(cmd.Process.Pid)
	if err != nil {
		killGroup(cmd.Process.Pid)
		return errors.Join(err, cmd.Wait())
	}
	defer guard.release()
	ended := make(chan struct{})
	go func() {
		err = cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		killGroup(cmd.Process.Pid)
		<-ended
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", m.Kernel.Release, err)
	}
	return nil
}

func (m Machine) args(kvm bool) []string {
	cpus, memory := m.CPUs, m.Memory
	if cpus == 0 {
		cpus = 2
	}
	if memory == "" {
		memory = "2G"
	}
	// Without --verbose there is no console. Warnings and worse appear on it, to be seen when a guest dies.
	args := []string{"--verbose", "--force-9p", "--user", "root", "--cpus", strconv.Itoa(cpus), "--memory", memory,
		"-r", m.Kernel.Image, "--append", "loglevel=5", "--append", "modprobe.blacklist=" + useless, "--exec", m.cached() + m.Command}
	if !kvm {
		// An emulated timer that comes late, because its machine had to wait for its turn, is taken for a broken one otherwise.
		args = append(args, "--disable-kvm", "--append", "no_timer_check")
	}
	if m.Icount != "" {
		args = append(args, "--append", "nokaslr", "--qemu-opts=-icount "+m.Icount)
	}
	for _, d := range m.ReadWrite {
		args = append(args, "--rwdir="+d)
	}
	for _, d := range m.ReadOnly {
		args = append(args, "--rodir="+d)
	}
	return args
}

// useless are modules that udev would load for the emulator's devices, at half the time that a guest takes to boot, and that no test wants.
const useless = "ahci,libahci,libata,sr_mod,cdrom,sg,scsi_mod,kvm,kvm_amd,kvm_intel,ccp,iTCO_wdt,i6300esb,lpc_ich,i2c_i801,i2c_smbus,psmouse,serio_raw," +
	"pcspkr,evdev,button,qemu_fw_cfg,aesni_intel,ghash_clmulni_intel,bochs,cirrus,intel_agp,floppy,parport_pc,ppdev,e1000,e1000e"

// cached has the guest's shell mount the read-only directories anew, with a page cache: without one, which is the default
// because files may change here, programs come a page at a time, each a round trip to the emulator.
func (m Machine) cached() string {
	var b strings.Builder
	for _, d := range m.ReadOnly {
		fmt.Fprintf(&b, `d=%s; tag=$(awk -v d="$d" '$2 == d { print $1 }' /proc/mounts); umount "$d" && `+
			`mount -t 9p -o ro,version=9p2000.L,trans=virtio,access=any,msize=524288,cache=loose "$tag" "$d" || exit; `, quote(d))
	}
	return b.String()
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return struct{ io.Writer }{w} // hides *os.File from os/exec, which would pass the file itself
}

func killGroup(pid int) {
	// ESRCH, the only error there can be, means that all of it has ended.
	_ = syscall.Kill(-pid, syscall.SIGKILL)
}

// groupGuard is a process that kills a process group when this process is gone.
type groupGuard struct {
	cmd  *exec.Cmd
	line io.WriteCloser
}

func guardGroup(pgid int) (*groupGuard, error) {
	cmd := exec.Command("/bin/sh", "-c", `read -r _ || kill -s KILL -- "-$0"`, strconv.Itoa(pgid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // out of reach of a terminal's Ctrl-C
	line, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("guard the machine: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("guard the machine: %w", err)
	}
	return &groupGuard{cmd: cmd, line: line}, nil
}

// release ends the guard, which then leaves the group alone.
func (g *groupGuard) release() {
	_, _ = io.WriteString(g.line, "\n")
	_ = g.line.Close()
	_ = g.cmd.Wait()
}
