// SPDX-License-Identifier: Apache-2.0

package sched

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"
)

// Watchdog is after how long without a turn for some task the kernel ejects the
// scheduler, as its program asks for it.
const Watchdog = 10 * time.Second

// Version tells one form of the program from another: the first digits of its
// objects' digest. What failed in one version need not fail in the next.
func Version() string { return version() }

var version = sync.OnceValue(func() string {
	h := sha256.New()
	h.Write(_SchedBytes) // hash.Hash never returns an error
	h.Write(_Schedv2Bytes)
	return hex.EncodeToString(h.Sum(nil)[:4])
})
