// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Job is one command to run in a machine of its own.
type Job struct {
	Series string
	Memory string
	CPUs   int
	Icount string // see Machine
	// Args is the command. @autosa, @load and @demo stand for the programs of the module.
	Args []string
	// Output gets the command's standard output and standard error as they come.
	Output io.Writer
	// Interrupt, once closed, sends SIGINT to the command.
	Interrupt <-chan struct{}
}

// RunJob boots a machine for the job and returns its command's exit code. An error says why there is none, or with a code that
// something else went wrong. src is a directory in the module.
func (c Cache) RunJob(ctx context.Context, stage *Stage, src string, j Job) (int, error) {
	kernel, err := c.Kernel(j.Series)
	if err != nil {
		return 1, err
	}
	programs, err := stage.BuildPrograms(ctx, src)
	if err != nil {
		return 1, err
	}
	args, err := stage.place(ctx, src, programs, j.Args)
	if err != nil {
		return 1, err
	}
	results, err := stage.Mkdir("results", j.Series)
	if err != nil {
		return 1, err
	}
	script := filepath.Join(stage.files(), "job.sh")
	if err := os.WriteFile(script, []byte(jobScript(environment(c, kernel, programs, results), results, args)), 0o755); err != nil {
		return 1, fmt.Errorf("stage a run: %w", err)
	}
	ended := make(chan struct{})
	interrupted := make(chan error, 1)
	go func() {
		select {
		case <-j.Interrupt:
			interrupted <- os.WriteFile(filepath.Join(results, "interrupt"), nil, 0o644)
		case <-ended:
			interrupted <- nil
		}
	}()
	var console tail
	runErr := c.Run(ctx, Machine{
		Kernel: kernel, Command: "sh " + script, TempDir: stage.Dir, CPUs: j.CPUs, Memory: j.Memory, Icount: j.Icount,
		ReadWrite: []string{results}, ReadOnly: []string{stage.files(), c.Schedulers()},
		Stdout: j.Output, Console: &console,
	})
	close(ended)
	if err := <-interrupted; err != nil {
		return 1, fmt.Errorf("interrupt the command: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(results, "code"))
	if err != nil {
		return 1, fmt.Errorf("the guest did not finish the command: %w\nthe end of its console:\n%s", errors.Join(runErr, err), &console)
	}
	code, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 1, fmt.Errorf("read the command's exit code: %w", err)
	}
	return code, nil
}

// place replaces the names of the module's programs by paths that the guest sees.
func (s *Stage) place(ctx context.Context, src string, p Programs, args []string) ([]string, error) {
	placed := make([]string, len(args))
	for i, a := range args {
		switch a {
		case "@autosa":
			a = p.Autosa
		case "@load":
			a = p.Load
		case "@demo":
			a = filepath.Join(s.files(), "bin", "demo")
			if err := Build(ctx, src, a, "autosa/vmtest/demo"); err != nil {
				return nil, err
			}
		}
		placed[i] = a
	}
	return placed, nil
}

// jobScript runs the command in the foreground's place and passes on an interrupt that is asked for with a file.
func jobScript(env, results string, args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = quote(a)
	}
	// A shell makes what it puts into the background ignore SIGINT: env gives the default back.
	return `export ` + env + `
R=` + quote(results) + `
cd /
exec 2>&1
env --default-signal=INT ` + strings.Join(quoted, " ") + ` </dev/null &
job=$!
(until [ -e $R/interrupt ]; do sleep 0.3; done; kill -INT $job) >/dev/null 2>&1 &
wait $job
echo $? >$R/code.new && mv $R/code.new $R/code
kill $! 2>/dev/null || true
`
}
