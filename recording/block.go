// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// window is the part of the input that is looked at.
type window struct {
	r      io.Reader
	buf    []byte
	offset int64 // of buf[0] in the input
	eof    bool
}

// chunk is how much is asked of the input at a time: memory grows with what is
// there, not with what is promised.
const chunk = 64 << 10

// maxIdleReads bounds the reads in a row that return nothing, not even an error.
const maxIdleReads = 100

// peek returns the next n bytes without taking them, fewer at the input's end.
// They are valid until the next call.
func (w *window) peek(n int) ([]byte, error) {
	for idle := 0; len(w.buf) < n && !w.eof; {
		have := len(w.buf)
		if cap(w.buf)-have < chunk {
			grown := make([]byte, have, max(2*cap(w.buf), have+chunk))
			copy(grown, w.buf)
			w.buf = grown
		}
		m, err := w.r.Read(w.buf[have : have+min(chunk, cap(w.buf)-have)])
		w.buf = w.buf[:have+m]
		if errors.Is(err, io.EOF) {
			w.eof = true
		} else if err != nil {
			return nil, fmt.Errorf("read recording: %w", err)
		}
		if idle++; m > 0 {
			idle = 0
		} else if idle == maxIdleReads {
			return nil, fmt.Errorf("read recording: %w", io.ErrNoProgress)
		}
	}
	return w.buf[:min(n, len(w.buf))], nil
}

// skip takes n bytes that peek returned.
func (w *window) skip(n int) {
	w.buf = w.buf[n:]
	w.offset += int64(n)
}

// blockHeader is a block's header, less its marker and checksum.
type blockHeader struct {
	number        uint32
	packed, plain int
	sum           uint32
}

// parseBlockHeader returns false for what is no block's header.
func parseBlockHeader(b []byte) (blockHeader, bool) {
	if len(b) < blockHeaderBytes || string(b[:len(marker)]) != marker {
		return blockHeader{}, false
	}
	if crc32.Checksum(b[:blockHeaderBytes-4], castagnoli) != binary.LittleEndian.Uint32(b[blockHeaderBytes-4:]) {
		return blockHeader{}, false
	}
	f := b[len(marker):]
	packed, plain := binary.LittleEndian.Uint32(f[4:]), binary.LittleEndian.Uint32(f[8:])
	if packed > MaxBlockBytes || plain > MaxBlockBytes {
		return blockHeader{}, false
	}
	return blockHeader{number: binary.LittleEndian.Uint32(f), packed: int(packed), plain: int(plain), sum: binary.LittleEndian.Uint32(f[12:])}, true
}

// nextContent makes the next whole block the current one. A [*DamageError]
// says that something was left out, and the call can be repeated; [io.EOF] is
// the input's end.
func (r *Reader) nextContent() error {
	head, err := r.in.peek(blockHeaderBytes)
	if err != nil {
		return err
	}
	if len(head) == 0 {
		return io.EOF
	}
	h, ok := parseBlockHeader(head)
	if !ok {
		return r.resync(0, -1, "no block begins here")
	}
	whole, err := r.in.peek(blockHeaderBytes + h.packed)
	if err != nil {
		return err
	}
	at := r.in.offset
	packed := whole[blockHeaderBytes:]
	if len(packed) < h.packed || crc32.Checksum(packed, castagnoli) != h.sum {
		// Said below: this block is accounted for.
		r.nextBlock = max(r.nextBlock, h.number+1)
	}
	switch {
	case len(packed) < h.packed:
		return r.resync(blockHeaderBytes, int64(h.number), fmt.Sprintf("the block should have %d bytes, %d are there", h.packed, len(packed)))
	case crc32.Checksum(packed, castagnoli) != h.sum:
		return r.resync(blockHeaderBytes, int64(h.number), "the block has the wrong checksum")
	}
	// The checksum has vouched for the length: the block is what was written.
	defer r.in.skip(len(whole))
	r.plain, err = r.dec.DecodeAll(packed, r.plain[:0])
	bad := func(format string, args ...any) error {
		return &DamageError{Offset: at, Block: int64(h.number), What: fmt.Sprintf(format, args...)}
	}
	switch {
	case err != nil:
		return bad("the block cannot be unpacked: %v", err)
	case len(r.plain) != h.plain:
		return bad("the block should have %d bytes unpacked, it has %d", h.plain, len(r.plain))
	case h.number < r.nextBlock:
		return bad("block %d comes after block %d", h.number, r.nextBlock-1)
	}
	if h.number > r.nextBlock {
		r.missing(at, r.nextBlock, h.number-1)
	}
	r.nextBlock = h.number + 1
	r.sum.Blocks++
	r.sum.Bytes += int64(len(whole))
	r.block = content{number: h.number, offset: at, rest: r.plain}
	if r.OnBlock != nil {
		r.OnBlock(Block{Number: h.number, Offset: at, PackedBytes: len(whole), PlainBytes: h.plain, Records: countRecords(r.plain)})
	}
	return nil
}

// missing notes the blocks from first to last that are not there.
func (r *Reader) missing(at int64, first, last uint32) {
	what := fmt.Sprintf("block %d is missing before this one", first)
	if last > first {
		what = fmt.Sprintf("blocks %d to %d are missing before this one", first, last)
	}
	r.pending = append(r.pending, &DamageError{Offset: at, Block: int64(last) + 1, What: what})
}

// resync leaves out what lies between the next byte after skip and the next
// block that could be whole, and says what was wrong there.
func (r *Reader) resync(skip int, block int64, what string) error {
	at := r.in.offset
	take := max(skip, 1)
	for {
		r.in.skip(min(take, len(r.in.buf)))
		b, err := r.in.peek(chunk)
		if err != nil {
			return err
		}
		i := bytes.Index(b, []byte(marker))
		if i < 0 && len(b) < len(marker) {
			r.in.skip(len(b))
			break
		}
		if i < 0 {
			take = len(b) - len(marker) + 1
			continue
		}
		r.in.skip(i)
		b, err = r.in.peek(blockHeaderBytes)
		if err != nil {
			return err
		}
		if _, ok := parseBlockHeader(b); ok {
			break
		}
		take = 1
	}
	return &DamageError{Offset: at, Block: block, What: fmt.Sprintf("%s; %d bytes are left out", what, r.in.offset-at)}
}

// countRecords counts the whole records of a block by type.
func countRecords(plain []byte) map[Type]int {
	n := make(map[Type]int)
	for len(plain) > 0 {
		t, _, _, rest, err := splitFrame(plain)
		if err != nil {
			break
		}
		n[t]++
		plain = rest
	}
	return n
}
