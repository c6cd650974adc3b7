// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Writer writes a recording. It is not safe for concurrent use. What it writes
// is only ever appended, a whole block with each call of Write, so that whatever
// was written stays readable however the writing ends. After an error of the
// writer below every method returns that error.
type Writer struct {
	w       io.Writer
	enc     *zstd.Encoder
	block   []byte // records of the block that is being filled
	out     []byte // scratch: a block as written
	number  uint32
	seq     uint64
	records [numTypes]uint64
	written int64
	err     error
	closed  bool
}

// NewWriter begins a recording: its magic and its header are written at once.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, fmt.Errorf("compressor: %w", err)
	}
	rw := &Writer{w: w, enc: enc}
	rw.write(binary.LittleEndian.AppendUint32([]byte(magic), Version))
	payload, err := marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	if err := errors.Join(rw.append(TypeHeader, payload), rw.Flush()); err != nil {
		return nil, err
	}
	return rw, nil
}

// Write adds a record. It reaches the file with its block: when that is full,
// with Flush, or with Close. An [*End] is written by Close alone.
func (w *Writer) Write(r Record) error {
	if w.closed {
		return errors.New("write to a recording that was closed")
	}
	t := r.Type()
	if t == TypeEnd || t == TypeHeader {
		return fmt.Errorf("a record of type %s is not for Write", t)
	}
	payload, err := marshal(r)
	if err != nil {
		return fmt.Errorf("encode %s: %w", t, err)
	}
	return w.append(t, payload)
}

// append frames a record into the block.
func (w *Writer) append(t Type, payload []byte) error {
	if w.err != nil {
		return w.err
	}
	if len(payload) > MaxRecordBytes {
		return fmt.Errorf("a %s of %d bytes is more than the %d that the format allows", t, len(payload), MaxRecordBytes)
	}
	if len(w.block)+frameBytes+len(payload) > MaxBlockBytes {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	start := len(w.block)
	w.block = binary.LittleEndian.AppendUint32(w.block, uint32(len(payload)))
	w.block = append(w.block, byte(t))
	w.block = binary.LittleEndian.AppendUint64(w.block, w.seq)
	sum := crc32.Update(crc32.Checksum(w.block[start:], castagnoli), castagnoli, payload)
	w.block = binary.LittleEndian.AppendUint32(w.block, sum)
	w.block = append(w.block, payload...)
	w.seq++
	w.records[t]++
	if len(w.block) >= blockTarget {
		return w.Flush()
	}
	return nil
}

// Flush ends the block that is being filled and writes it.
func (w *Writer) Flush() error {
	if w.err != nil || len(w.block) == 0 {
		return w.err
	}
	out := append(w.out[:0], marker...)
	out = append(out, make([]byte, blockHeaderBytes-len(marker))...)
	out = w.enc.EncodeAll(w.block, out)
	packed := out[blockHeaderBytes:]
	fields := out[len(marker):len(marker)]
	fields = binary.LittleEndian.AppendUint32(fields, w.number)
	fields = binary.LittleEndian.AppendUint32(fields, uint32(len(packed)))
	fields = binary.LittleEndian.AppendUint32(fields, uint32(len(w.block)))
	fields = binary.LittleEndian.AppendUint32(fields, crc32.Checksum(packed, castagnoli))
	binary.LittleEndian.AppendUint32(fields, crc32.Checksum(out[:blockHeaderBytes-4], castagnoli))
	w.out, w.block = out, w.block[:0]
	w.number++
	w.write(out)
	return w.err
}

func (w *Writer) write(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.w.Write(b)
	w.written += int64(n)
	if err != nil {
		w.err = fmt.Errorf("write recording: %w", err)
	}
}

// Bytes is how much has been written, Records how many records of a type were
// given to Write.
func (w *Writer) Bytes() int64 { return w.written }

// Records counts the records of a type that were taken.
func (w *Writer) Records(t Type) uint64 { return w.records[t] }

// Close ends the recording with its end record; at is the time of the steady
// clock. It does not close the writer below.
func (w *Writer) Close(at int64) error {
	if w.closed {
		return w.err
	}
	w.closed = true
	end := End{At: at, Records: make(map[string]uint64)}
	for t, n := range w.records {
		if n > 0 {
			end.Records[Type(t).String()] = n
		}
	}
	payload, err := marshal(&end)
	return errors.Join(err, w.append(TypeEnd, payload), w.Flush(), w.enc.Close())
}
