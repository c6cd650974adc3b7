// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"autosa/api"
	"autosa/recording"
)

// jsonVerdict is what `autosa replay --verify --json` prints.
type jsonVerdict struct {
	// Complete is true when nothing is damaged, missing or cut off.
	Complete bool              `json:"complete"`
	Header   *recording.Header `json:"header"`
	Blocks   []jsonBlock       `json:"blocks"`
	Records  map[string]uint64 `json:"records"`
	Unknown  uint64            `json:"unknown_records"`
	Missing  uint64            `json:"missing_records"`
	Damaged  uint64            `json:"damaged"`
	Damages  []jsonDamage      `json:"damages"`
}

type jsonBlock struct {
	Number  uint32         `json:"number"`
	Offset  int64          `json:"offset"`
	Bytes   int            `json:"bytes"`
	Plain   int            `json:"unpacked_bytes"`
	Records map[string]int `json:"records"`
}

type jsonDamage struct {
	Offset int64  `json:"offset"`
	Block  int64  `json:"block"` // -1 where it is not known
	What   string `json:"what"`
}

// verify looks at a recording without replaying it.
func (a *app) verify(ctx context.Context, path string, f *os.File, asJSON bool) error {
	in, err := recording.NewReader(bufio.NewReader(f))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	out := bufio.NewWriter(a.stdout)
	v := jsonVerdict{Blocks: []jsonBlock{}, Records: map[string]uint64{}, Damages: []jsonDamage{}}
	if h, ok := in.Header(); ok {
		v.Header = &h
	}
	if !asJSON {
		writeHeader(out, v.Header)
		fmt.Fprintf(out, "%7s %11s %9s %9s  %s\n", "BLOCK", "OFFSET", "BYTES", "UNPACKED", "RECORDS")
	}
	in.OnBlock = func(b recording.Block) {
		if asJSON {
			v.Blocks = append(v.Blocks, newJSONBlock(b))
			return
		}
		fmt.Fprintf(out, "%7d %11d %9d %9d  %s\n", b.Number, b.Offset, b.PackedBytes, b.PlainBytes, listRecords(b.Records))
	}
	if first, ok := in.First(); ok {
		in.OnBlock(first)
	}
	for err == nil || errors.Is(err, recording.ErrDamaged) {
		if ctx.Err() != nil {
			return &exitError{api.ExitFailed, "interrupted"}
		}
		_, err = in.Next()
		var d *recording.DamageError
		if errors.As(err, &d) && !asJSON {
			fmt.Fprintf(out, "damaged: %s\n", clean(d.Error()))
		}
	}
	if !errors.Is(err, io.EOF) {
		return errors.Join(out.Flush(), fmt.Errorf("%s: %w", path, err))
	}
	sum := in.Summary()
	if err := errors.Join(v.write(out, &sum, asJSON), out.Flush()); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if !sum.Complete {
		return &exitError{code: api.ExitFailed}
	}
	return nil
}

// write prints the verdict.
func (v *jsonVerdict) write(out io.Writer, sum *recording.Summary, asJSON bool) error {
	v.Complete, v.Unknown, v.Missing, v.Damaged = sum.Complete, sum.Unknown, sum.Missing, sum.Damaged
	var counts []string
	for _, t := range recording.Types() {
		if n := sum.Records[t]; n > 0 {
			v.Records[t.String()] = n
			counts = append(counts, fmt.Sprintf("%d %s", n, t))
		}
	}
	for _, d := range sum.Damages {
		v.Damages = append(v.Damages, jsonDamage{d.Offset, d.Block, d.What})
	}
	if asJSON {
		return printJSON(out, v)
	}
	verdict := "complete and whole"
	if !v.Complete {
		verdict = fmt.Sprintf("NOT WHOLE: %s, at least %s missing", count(int(v.Damaged), "damage"), count(int(v.Missing), "record"))
	}
	_, err := fmt.Fprintf(out, "\n%s in %s: %s\n", strings.Join(counts, ", "), count(int(sum.Blocks), "block"), verdict)
	if v.Unknown > 0 {
		fmt.Fprintf(out, "%s of types that this autosa does not know\n", count(int(v.Unknown), "record"))
	}
	return err
}

func writeHeader(out io.Writer, h *recording.Header) {
	if h == nil {
		fmt.Fprintln(out, "the header is damaged")
		return
	}
	m := &h.Machine
	fmt.Fprintf(out, "recorded %s by autosa %s on %s: Linux %s, %s, %s, %s\n\n", recording.TimeOf(h.Start).Format("2006-01-02 15:04:05 UTC"),
		clean(h.Autosa), clean(m.Host), clean(m.Kernel), clean(m.Arch), count(m.CPUs, "CPU"), clean(m.CPUModel))
}

func newJSONBlock(b recording.Block) jsonBlock {
	out := jsonBlock{Number: b.Number, Offset: b.Offset, Bytes: b.PackedBytes, Plain: b.PlainBytes, Records: map[string]int{}}
	for t, n := range b.Records {
		out.Records[t.String()] = n
	}
	return out
}

// listRecords is "3 sample, 3 input", in the order of the types.
func listRecords(n map[recording.Type]int) string {
	var parts []string
	known := 0
	for _, t := range recording.Types() {
		if n[t] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[t], t))
			known += n[t]
		}
	}
	all := 0
	for _, k := range n {
		all += k
	}
	if all > known {
		parts = append(parts, fmt.Sprintf("%d unknown", all-known))
	}
	return strings.Join(parts, ", ")
}

// printLine prints v as one line of JSON.
func printLine(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
