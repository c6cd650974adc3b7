// SPDX-License-Identifier: Apache-2.0

// Package recording reads and writes autosa's recordings: what was measured,
// what policy was given and what it decided, exactly enough for a run to be
// replayed to the same decisions. docs/RECORDING.md describes the format for
// those who read it with something else.
//
// A recording is a row of blocks, each compressed and checked by itself, of
// records, each checked and numbered. What is damaged costs its block and no
// other; what was cut off costs the block it was cut in. A [Reader] takes every
// byte it reads for hostile: nothing is allocated before its bound was checked.
package recording

import (
	"errors"
	"fmt"
	"hash/crc32"
)

// Version is the version of the format that this package writes, and the only
// one it reads. Types of records that a reader does not know do not need a new
// one: they are skipped.
const Version = 1

// The bounds of the format.
const (
	// MaxRecordBytes bounds one record's payload.
	MaxRecordBytes = 4 << 20
	// MaxBlockBytes bounds a block's content, compressed or not.
	MaxBlockBytes = 8 << 20
	// maxList bounds every list within a record.
	maxList = 8192
)

// blockTarget is the content at which a [Writer] ends a block by itself.
const blockTarget = 256 << 10

// magic begins every recording. Its first byte is no text and its line ends
// show a transfer that changed them.
const magic = "\x89AUTOSA\r\n\x1a\n\x00"

// fileHeaderBytes is the magic and the version.
const fileHeaderBytes = len(magic) + 4

// marker begins every block: eight bytes of no meaning, unlikely in anything else.
const marker = "\xf7\xb1\x0c\x4b\x9e\xd3\x55\xe8"

// A block's header after its marker: number, compressed and plain length,
// checksum of the compressed content, checksum of the header from the marker on.
const blockHeaderBytes = len(marker) + 5*4

// A record's frame: length, type, sequence number, checksum of these and the payload.
const frameBytes = 4 + 1 + 8 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrForeign is returned by [NewReader] for what is no recording of autosa's.
var ErrForeign = errors.New("not an autosa recording")

// ErrVersion matches every [VersionError].
var ErrVersion = errors.New("recording of another format version")

// VersionError is returned by [NewReader] for a recording in a version of the
// format that this autosa does not read.
type VersionError struct{ Version uint32 }

func (e *VersionError) Error() string {
	way := "read it with the autosa that wrote it"
	if e.Version > Version {
		way = "read it with a newer autosa"
	}
	return fmt.Sprintf("the recording is in version %d of the format, this autosa reads version %d: %s", e.Version, Version, way)
}

// Is reports whether target is [ErrVersion].
func (e *VersionError) Is(target error) bool { return target == ErrVersion }

// ErrDamaged matches every [DamageError], ErrCutOff those that say that the
// recording's end is missing.
var (
	ErrDamaged = errors.New("recording damaged")
	ErrCutOff  = errors.New("recording cut off")
)

// DamageError says what could not be read, and where. After it reading goes on
// with the next thing that is whole.
type DamageError struct {
	// Offset is the place in the file, in bytes.
	Offset int64
	// Block is the number of the block concerned, -1 where that is unknown.
	Block int64
	// What says what is wrong, in words.
	What string
	// CutOff is true when the recording ends before its end record.
	CutOff bool
}

func (e *DamageError) Error() string {
	where := fmt.Sprintf("at byte %d", e.Offset)
	if e.Block >= 0 {
		where = fmt.Sprintf("block %d, %s", e.Block, where)
	}
	return fmt.Sprintf("%s: %s", where, e.What)
}

// Is reports whether target is [ErrDamaged], or [ErrCutOff] where it fits.
func (e *DamageError) Is(target error) bool {
	return target == ErrDamaged || target == ErrCutOff && e.CutOff
}
