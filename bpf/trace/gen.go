// SPDX-License-Identifier: Apache-2.0

package trace

// The headers include nothing from the system, so that the object depends on
// the compiler only and comes out the same on every machine.
//go:generate go tool -modfile=../../go.tools.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -type cell -type cpu_state -type event -type knobs -type loss -type event_kind trace trace.bpf.c -- -std=gnu11 -mcpu=v3 -Wall -Wextra -Werror -nostdinc -I../include
//go:generate go tool -modfile=../../go.tools.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -type stream_event -type stream_cpu -type stream_flag stream stream.bpf.c -- -std=gnu11 -mcpu=v3 -Wall -Wextra -Werror -nostdinc -I../include
//go:generate go tool -modfile=../../go.tools.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -type task_record tasks tasks.bpf.c -- -std=gnu11 -mcpu=v3 -Wall -Wextra -Werror -nostdinc -I../include
//go:generate go tool -modfile=../../go.tools.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -type wake_edge wakeups probes_wakeups.bpf.c -- -std=gnu11 -mcpu=v3 -Wall -Wextra -Werror -nostdinc -I../include
//go:generate go tool -modfile=../../go.tools.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -type block_latency -type block_op block probes_block.bpf.c -- -std=gnu11 -mcpu=v3 -Wall -Wextra -Werror -nostdinc -I../include
