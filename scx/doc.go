// SPDX-License-Identifier: Apache-2.0

// Package scx is autosa's hands on the kernel's scheduler: it reads which
// sched_ext scheduler is in charge, knows which ones are installed, and starts,
// proves, stops and swaps them.
//
// The kernel's word is the only truth here. A scheduler is in charge when
// /sys/kernel/sched_ext says so, never because its process runs; a swap has
// succeeded when the kernel has proved it and at no other time.
//
//   - [Kernel] reads the kernel's state.
//   - [Catalogue] finds the installed schedulers and says which are usable.
//   - [Switcher] puts one in charge, one swap at a time, and returns to the one
//     before, else to EEVDF, when the new one does not come up.
//   - [Preflight] checks what this machine allows, for people to read.
//
// # The gap between two schedulers
//
// The kernel has one scheduler at a time, and unregisters the one before it
// registers the next. The next is loaded and verified beforehand, and held at its
// last step: see gate.go.
//
// # What is left behind when autosa dies
//
// Nothing. A scheduler runs under a supervisor process, this same executable
// under the name [SuperviseWord], which holds a pipe from the daemon. See
// [SuperviseMain] for why every way to die is covered.
package scx
