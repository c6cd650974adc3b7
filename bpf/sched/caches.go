// SPDX-License-Identifier: Apache-2.0

package sched

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// maxCaches bounds the caches told apart, and with them the program's work:
// beyond, several share a queue.
const maxCaches = 128

// readCaches numbers the last-level cache of each possible CPU, from 0 up by the
// first CPU of each. A CPU that is offline, or that tells nothing of its caches,
// counts to the first: where it is queued costs time at worst, since any CPU
// takes from any queue.
func readCaches(sys string) ([]int, error) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count possible CPUs: %w", err)
	}
	return cachesOf(sys, cpus)
}

func cachesOf(sys string, cpus int) ([]int, error) {
	caches := make([]int, cpus)
	known := map[string]int{}
	for cpu := range cpus {
		shared, err := lastCache(filepath.Join(sys, "devices/system/cpu", fmt.Sprintf("cpu%d", cpu), "cache"))
		if err != nil {
			return nil, fmt.Errorf("find the last-level cache of CPU %d: %w", cpu, err)
		}
		if shared == "" {
			continue
		}
		if _, ok := known[shared]; !ok {
			known[shared] = len(known) % maxCaches
		}
		caches[cpu] = known[shared]
	}
	return caches, nil
}

// lastCache returns the CPUs that share the cache of the highest level below
// dir, in the kernel's words; empty when nothing is told.
func lastCache(dir string) (string, error) {
	indices, err := filepath.Glob(filepath.Join(dir, "index[0-9]*"))
	if err != nil {
		return "", err
	}
	highest, shared := -1, ""
	for _, index := range indices {
		read := func(name string) (string, error) {
			b, err := os.ReadFile(filepath.Join(index, name))
			return strings.TrimSpace(string(b)), err
		}
		text, err := read("level")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		level, err := strconv.Atoi(text)
		if err != nil {
			return "", fmt.Errorf("%s: level: %w", index, err)
		}
		if level <= highest {
			continue
		}
		list, err := read("shared_cpu_list")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		highest, shared = level, list
	}
	return shared, nil
}

// countCaches counts the CPUs of each cache.
func countCaches(caches []int) []uint64 {
	var n []uint64
	for _, c := range caches {
		for len(n) <= c {
			n = append(n, 0)
		}
		n[c]++
	}
	return n
}
