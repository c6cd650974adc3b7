// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"

	"autosa/engine"
	"autosa/recording"
)

// replayLine is a line of `autosa replay --json`, a decision's or the last one.
type replayLine struct {
	Decision *recording.Decision `json:"decision"`
	Same     *bool               `json:"same"`

	Samples, Decisions, Compared, Different, Lost uint64
}

// replayTwice replays a file with the binary, wants the same bytes both times
// and every decision as recorded, and returns the decisions and the summary.
func replayTwice(t *testing.T, bin, file string) ([]recording.Decision, replayLine) {
	t.Helper()
	var outs [2][]byte
	for i := range outs {
		var errOut bytes.Buffer
		cmd := exec.Command(bin, "replay", "--json", file)
		cmd.Env, cmd.Stderr = withoutSettings(), &errOut
		var err error
		if outs[i], err = cmd.Output(); err != nil {
			t.Errorf("replay: %v\n%s%s", err, tail(string(outs[i]), 3), errOut.String())
		}
	}
	if !bytes.Equal(outs[0], outs[1]) {
		t.Error("two replays of one recording differ")
	}
	var decisions []recording.Decision
	var last replayLine
	for d := json.NewDecoder(bytes.NewReader(outs[0])); ; {
		var line replayLine
		if err := d.Decode(&line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("replay --json: %v", err)
		}
		if line.Decision == nil {
			last = line
			continue
		}
		if line.Same != nil && !*line.Same {
			t.Errorf("decided otherwise: %+v", line.Decision)
		}
		decisions = append(decisions, *line.Decision)
	}
	return decisions, last
}

// survivesAlteration changes a recording at random places, one at a time, and
// cuts it off at some: replay may lose decisions by that, and never has others.
func survivesAlteration(t *testing.T, file string, times int) {
	t.Helper()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	compared := uint64(0)
	for i := range times {
		at := 64 + r.IntN(len(whole)-64)
		bad := slices.Clone(whole)
		if bad[at] ^= byte(1 + r.IntN(255)); i%5 == 0 {
			bad = bad[:at]
		}
		in, err := recording.NewReader(bytes.NewReader(bad))
		if err != nil {
			t.Errorf("altered at %d: %v", at, err)
			continue
		}
		res, err := engine.Replay(in, engine.ReplayOptions{})
		if err != nil && !errors.Is(err, engine.ErrNoState) || res.Different+res.DifferentStates > 0 {
			t.Errorf("altered at %d: %+v %v", at, res, err)
		}
		if res.Lost == 0 || in.Summary().Complete {
			t.Errorf("altered at %d, and nothing is said to be lost: %+v", at, res)
		}
		compared += res.Compared
	}
	if compared == 0 {
		t.Errorf("in none of %d altered recordings anything could be compared", times)
	}
}
