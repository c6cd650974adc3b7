// SPDX-License-Identifier: Apache-2.0

// Package bucket is the tracer's histogram layout as a BPF program, for the
// test that compares it with workload.BucketOf.
package bucket

//go:generate go tool -modfile=../../../../go.tools.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel bucket bucket.bpf.c -- -std=gnu11 -mcpu=v3 -Wall -Wextra -Werror -nostdinc -I../../../include

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Program computes buckets in the kernel.
type Program struct{ objs bucketObjects }

// Load loads the program. Close it.
func Load() (*Program, error) {
	p := &Program{}
	if err := loadBucketObjects(&p.objs, nil); err != nil {
		return nil, err
	}
	return p, nil
}

// Of returns the bucket of a duration in ns.
func (p *Program) Of(ns uint64) (int, error) {
	bucket, err := p.objs.Bucket.Run(&ebpf.RunOptions{Context: ns})
	if err != nil {
		return 0, fmt.Errorf("run the program: %w", err)
	}
	return int(bucket), nil
}

// Close unloads the program.
func (p *Program) Close() error { return p.objs.Close() }
