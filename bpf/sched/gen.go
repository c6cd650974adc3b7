// SPDX-License-Identifier: Apache-2.0

package sched

// One source, two objects: see bpf/include/sched_ext.h.
//go:generate go tool -modfile=../../go.tools.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -type policy -type knobs -type cpu_state -type llc -type exit_record sched sched.bpf.c -- -std=gnu11 -mcpu=v3 -Wall -Wextra -Werror -nostdinc -I../include
//go:generate go tool -modfile=../../go.tools.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types schedv2 sched.bpf.c -- -std=gnu11 -mcpu=v3 -Wall -Wextra -Werror -nostdinc -I../include -DV2
