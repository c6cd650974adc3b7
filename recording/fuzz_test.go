// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"reflect"
	"testing"
)

// Whatever a file holds, reading it ends, without a panic, and what came of it
// can be written again.
func FuzzReader(f *testing.F) {
	file, _, blocks := small(f)
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add(file[:blocks[1].Offset])
	for _, in := range hostile(f) {
		if len(in) < 1<<16 {
			f.Add(in)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, damages, sum := read(t, in)
		if sum.Complete && len(damages) > 0 {
			t.Errorf("complete, with damages %v", damages)
		}
		for _, r := range got {
			if _, err := marshal(r); err != nil {
				t.Errorf("%s cannot be written again: %v", r.Type(), err)
			}
		}
	})
}

// What can be read of any type is read the same after it was written again.
func FuzzRecord(f *testing.F) {
	for seed := range uint64(20) {
		r := newDraw(seed).record()
		b, err := marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(r.Type()), b)
	}
	f.Add(byte(TypeEnd), []byte(`{"at":1,"records":{"sample":3}}`))
	f.Add(byte(TypeEvent), []byte(`{"comm":{"base64":"//4="},"wait_ns":-1,"time_ns":9223372036854775807}`))
	f.Fuzz(func(t *testing.T, kind byte, in []byte) {
		r, err := decode(Type(kind), in)
		if err != nil {
			return
		}
		b, err := marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(Type(kind), b)
		if err != nil || !same(r, again) {
			t.Errorf("%s: read %+v, written and read again %+v, %v", r.Type(), r, again, err)
		}
	})
}

// A sample that can be read is read the same after it was written again.
func FuzzSample(f *testing.F) {
	for seed := range uint64(5) {
		b, err := marshal(newDraw(seed).sample())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"interval_ns":1,"cpus":1}`))
	f.Add([]byte(`{"interval_ns":1,"cpus":1,"host":{"name":{"base64":"//4="},"wait_h":[0,1,47,2]},"psi":{"cpu_some":"bits:7ff8000000000001"}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := decodeSample(in)
		if err != nil {
			return
		}
		b, err := marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeSample(b)
		if err != nil {
			t.Fatalf("%v in what was written: %s", err, b)
		}
		if !bits(reflect.ValueOf(s), reflect.ValueOf(again)) {
			t.Errorf("read %+v, written and read again %+v", s, again)
		}
	})
}
