// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Reader reads a recording. It is not safe for concurrent use. It holds at most
// a block and its content in memory, whatever the file says.
type Reader struct {
	in    window
	dec   *zstd.Decoder
	block content
	plain []byte // the content's memory, used again

	header    *Header
	sum       Summary
	nextBlock uint32
	nextSeq   uint64
	pending   []error // damage found together with something whole
	end       *End
	done      bool

	first *Block // what NewReader has read

	// OnBlock, if set, is called with each whole block that Next unpacks, before
	// its records are returned. NewReader unpacks the first one, see First.
	OnBlock func(Block)
}

// Block is one block of a recording.
type Block struct {
	Number                  uint32
	Offset                  int64
	PackedBytes, PlainBytes int
	// Records is how many there are, of what types: those up to the first that
	// is damaged.
	Records map[Type]int
}

// content is what remains to be read of a block.
type content struct {
	number uint32
	offset int64
	rest   []byte
}

// maxDamages bounds the damages that a summary lists; all are counted.
const maxDamages = 1000

// Summary says what was read so far.
type Summary struct {
	// Records counts whole records by type, Unknown those of a type that this
	// version does not know.
	Records [numTypes]uint64
	Unknown uint64
	Blocks  uint64
	Bytes   int64
	// Missing counts the records that are not there, by the numbers of those
	// that are.
	Missing uint64
	// Damages lists the damages found, the first thousand of Damaged.
	Damages []*DamageError
	Damaged uint64
	// Complete is true when the recording's end was reached in good order.
	Complete bool
}

// NewReader reads the beginning of a recording. What is none is [ErrForeign],
// one in another version a [*VersionError]. Where the header is damaged there is
// a Reader all the same: Header says so, and Next what is wrong.
func NewReader(r io.Reader) (*Reader, error) {
	in := window{r: r}
	head, err := in.peek(fileHeaderBytes)
	if err != nil {
		return nil, err
	}
	if len(head) < fileHeaderBytes || string(head[:len(magic)]) != magic {
		return nil, foreign(head)
	}
	if v := binary.LittleEndian.Uint32(head[len(magic):]); v != Version {
		return nil, &VersionError{Version: v}
	}
	in.skip(fileHeaderBytes)
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(MaxBlockBytes),
		zstd.WithDecoderMaxWindow(MaxBlockBytes))
	if err != nil {
		return nil, fmt.Errorf("decompressor: %w", err)
	}
	rd := &Reader{in: in, dec: dec}
	rd.OnBlock = func(b Block) { rd.first = &b }
	err = rd.readHeader()
	rd.OnBlock = nil
	return rd, err
}

// foreign says what a file is instead, as far as its first bytes tell.
func foreign(head []byte) error {
	what := "it begins with something else"
	switch {
	case len(head) == 0:
		what = "it is empty"
	case bytes.HasPrefix([]byte(magic), head), bytes.HasPrefix(head, []byte(magic)):
		what = "it was cut off within its first bytes"
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		what = "it is compressed with gzip"
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		what = "it is compressed with zstd"
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		what = "it is an ELF file"
	case bytes.HasPrefix(head, []byte("\x89AUTOSA")):
		what = "its line ends were changed, as a transfer in text mode does"
	case !bytes.ContainsFunc(head, func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0xfffd }):
		what = "it is text"
	}
	return fmt.Errorf("%w: %s", ErrForeign, what)
}

// readHeader reads the first record where it is whole.
func (r *Reader) readHeader() error {
	err := r.nextContent()
	var damage *DamageError
	switch {
	case errors.As(err, &damage):
		r.pending = append(r.pending, damage)
		return nil
	case errors.Is(err, io.EOF):
		return nil // Next says that it was cut off
	case err != nil:
		return err
	}
	if r.block.number == 0 && len(r.block.rest) > 4 && Type(r.block.rest[4]) == TypeHeader {
		var h Header
		t, payload, err := r.frame()
		if err == nil && t == TypeHeader {
			err = json.Unmarshal(payload, &h)
		}
		if err != nil {
			r.pending = append(r.pending, r.damaged("header: %v", err))
			r.block.rest = nil
			return nil
		}
		r.header = &h
		r.sum.Records[TypeHeader]++
	}
	return nil
}

// Header is the recording's header; false where it is damaged.
func (r *Reader) Header() (Header, bool) {
	if r.header == nil {
		return Header{}, false
	}
	return *r.header, true
}

// First is the block that NewReader has read; false where it is damaged.
func (r *Reader) First() (Block, bool) {
	if r.first == nil {
		return Block{}, false
	}
	return *r.first, true
}

// Summary says what has been read so far.
func (r *Reader) Summary() Summary { return r.sum }

// Next returns the next whole record. A [*DamageError] says what is missing
// before it; call Next again to go on. The end of a recording is [io.EOF]; one
// that was cut off says so first, with an error that is [ErrCutOff]. Any other
// error is the reader's below, and is final.
func (r *Reader) Next() (Record, error) {
	for {
		if len(r.pending) > 0 {
			err := r.pending[0]
			r.pending = r.pending[1:]
			return nil, r.note(err)
		}
		if r.done {
			return nil, io.EOF
		}
		if len(r.block.rest) == 0 {
			if err := r.nextContent(); err != nil {
				return nil, r.finish(err)
			}
			continue
		}
		t, payload, err := r.frame()
		if err != nil {
			r.block.rest = nil
			return nil, r.note(r.damaged("%v; the rest of the block is left out", err))
		}
		if t == TypeHeader {
			return nil, r.note(r.damaged("a second header"))
		}
		if int(t) >= numTypes || t == 0 {
			r.sum.Unknown++
			continue
		}
		rec, err := decode(t, payload)
		if err != nil {
			return nil, r.note(r.damaged("%s: %v", t, err))
		}
		r.sum.Records[t]++
		if end, ok := rec.(*End); ok {
			r.ended(end)
		}
		return rec, nil
	}
}

// finish handles what comes instead of a block.
func (r *Reader) finish(err error) error {
	if !errors.Is(err, io.EOF) {
		return r.note(err)
	}
	r.done = true
	if r.end == nil {
		return r.note(&DamageError{Offset: r.in.offset, Block: -1, CutOff: true,
			What: "the recording was cut off here: its end is missing, what came before is kept"})
	}
	return io.EOF
}

// ended checks the counts of the end record and that nothing follows it.
func (r *Reader) ended(end *End) {
	r.end = end
	r.sum.Complete = r.sum.Damaged == 0 && r.sum.Missing == 0
	if len(r.block.rest) > 0 {
		r.pending = append(r.pending, r.damaged("records follow the end"))
		r.block.rest = nil
	}
	if more, _ := r.in.peek(1); len(more) > 0 {
		r.pending = append(r.pending, &DamageError{Offset: r.in.offset, Block: -1, What: "something follows the recording's end; it is left out"})
	}
	for _, t := range Types() {
		want, got := end.Records[t.String()], r.sum.Records[t]
		if t != TypeEnd && want != got && r.sum.Damaged == 0 && len(r.pending) == 0 {
			r.pending = append(r.pending, r.damaged("the end counts %d records of type %s, there are %d", want, t, got))
		}
	}
	if len(r.pending) > 0 {
		r.sum.Complete = false
	}
	r.done = true
}

// note counts a damage.
func (r *Reader) note(err error) error {
	var d *DamageError
	if errors.As(err, &d) {
		r.sum.Damaged++
		r.sum.Complete = false
		if len(r.sum.Damages) < maxDamages {
			r.sum.Damages = append(r.sum.Damages, d)
		}
	}
	return err
}

func (r *Reader) damaged(format string, args ...any) *DamageError {
	return &DamageError{Offset: r.block.offset, Block: int64(r.block.number), What: fmt.Sprintf(format, args...)}
}

// frame takes the next record off the block.
func (r *Reader) frame() (Type, []byte, error) {
	t, seq, payload, rest, err := splitFrame(r.block.rest)
	if err != nil {
		return 0, nil, err
	}
	if seq < r.nextSeq {
		return 0, nil, fmt.Errorf("record %d comes after record %d", seq, r.nextSeq-1)
	}
	r.sum.Missing += seq - r.nextSeq
	r.nextSeq = seq + 1
	r.block.rest = rest
	return t, payload, nil
}

// splitFrame checks and splits the first record off a block's content.
func splitFrame(b []byte) (t Type, seq uint64, payload, rest []byte, err error) {
	if len(b) < frameBytes {
		return 0, 0, nil, nil, fmt.Errorf("%d bytes where a record should be", len(b))
	}
	n := binary.LittleEndian.Uint32(b)
	if n > MaxRecordBytes || int(n) > len(b)-frameBytes {
		return 0, 0, nil, nil, fmt.Errorf("a record of %d bytes where %d are left", n, len(b)-frameBytes)
	}
	t, seq = Type(b[4]), binary.LittleEndian.Uint64(b[5:])
	payload, rest = b[frameBytes:frameBytes+n], b[frameBytes+n:]
	sum := crc32.Update(crc32.Checksum(b[:frameBytes-4], castagnoli), castagnoli, payload)
	if sum != binary.LittleEndian.Uint32(b[frameBytes-4:]) {
		return 0, 0, nil, nil, fmt.Errorf("record %d has the wrong checksum", seq)
	}
	if seq == 1<<64-1 {
		return 0, 0, nil, nil, errors.New("record numbers are used up")
	}
	return t, seq, payload, rest, nil
}
