// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"autosa/workload"
)

// small is a recording of a few blocks and where they begin.
func small(t testing.TB) (file []byte, records []Record, blocks []Block) {
	t.Helper()
	d := newDraw(11)
	for i := range 12 {
		if i%4 == 0 {
			s := d.sample()
			s.Sample.Groups, s.Sample.Events, s.Sample.Host = nil, workload.Events{}, workload.Group{Name: d.text(), RunHist: d.histogram()}
			records = append(records, s)
			continue
		}
		records = append(records, [...]Record{&Gap{At: int64(i), Lost: uint64(i)}, d.event(), d.total()}[i%3])
	}
	file = write(t, records, 3)
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	blocks = append(blocks, Block{Number: 0, Offset: int64(fileHeaderBytes)})
	r.OnBlock = func(b Block) { blocks = append(blocks, b) }
	for {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			return file, records, blocks
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// isWhole checks that got are records of want, each once and in order.
func isWhole(t *testing.T, what string, got, want []Record) {
	t.Helper()
	i := 0
	for _, g := range got {
		if g.Type() == TypeEnd {
			continue
		}
		for i < len(want) && !same(g, want[i]) {
			i++
		}
		if i == len(want) {
			t.Fatalf("%s: a record came back that was not written there: %+v", what, g)
		}
		i++
	}
}

func TestCutAtEveryByteKeepsTheBlocksBeforeAndSaysSo(t *testing.T) {
	file, records, blocks := small(t)
	for n := 0; n < len(file); n += stride {
		got, damages, sum := read(t, file[:n])
		if n < fileHeaderBytes {
			if len(damages) != 1 || !errors.Is(damages[0], ErrForeign) {
				t.Fatalf("cut at %d, within the magic: %v", n, damages)
			}
			continue
		}
		if sum.Complete || len(damages) == 0 || !errors.Is(damages[len(damages)-1], ErrCutOff) {
			t.Fatalf("cut at %d of %d: complete %t, damages %v", n, len(file), sum.Complete, damages)
		}
		isWhole(t, "cut", got, records)
		whole := 0
		for i, b := range blocks[1:] {
			if i < len(blocks)-2 && int64(n) >= b.Offset+int64(b.PackedBytes) {
				whole++
			}
		}
		if len(got) != whole*3 {
			t.Fatalf("cut at %d: %d blocks of 3 records are whole, %d records came back", n, whole, len(got))
		}
	}
}

// One changed byte costs at most its block, and is said with its place.
func TestEveryChangedByteCostsAtMostItsBlock(t *testing.T) {
	file, records, blocks := small(t)
	d := newDraw(17)
	for n := 0; n < len(file); n += stride {
		bad := slices.Clone(file)
		bad[n] ^= byte(1 + d.IntN(255))
		got, damages, sum := read(t, bad)
		if len(damages) == 0 || sum.Complete {
			t.Fatalf("byte %d of %d was changed and nobody says so", n, len(file))
		}
		if n < fileHeaderBytes {
			if !errors.Is(damages[0], ErrForeign) && !errors.Is(damages[0], ErrVersion) {
				t.Fatalf("byte %d of the magic was changed: %v", n, damages)
			}
			continue
		}
		isWhole(t, "changed", got, records)
		in := len(blocks) - 1
		for blocks[in].Offset > int64(n) {
			in--
		}
		want := len(records)
		if in > 0 && in < len(blocks)-1 {
			want -= 3
		}
		samples := slices.DeleteFunc(got, func(r Record) bool { return r.Type() == TypeEnd })
		if len(samples) < want {
			t.Fatalf("byte %d, in block %d: %d records came back of the %d outside it", n, in, len(samples), want)
		}
		var damage *DamageError
		if !errors.As(damages[0], &damage) || damage.Offset > int64(n) || damage.Offset < blocks[in].Offset {
			t.Fatalf("byte %d, in block %d from byte %d, was changed, and this is said: %v", n, in, blocks[in].Offset, damages)
		}
	}
}

func TestBytesLostAddedAndOverwrittenAnywhereAreSurvived(t *testing.T) {
	file, records, _ := small(t)
	for seed := range uint64(120) {
		d := newDraw(seed)
		bad := slices.Clone(file)
		at := fileHeaderBytes + d.IntN(len(bad)-fileHeaderBytes)
		n := 1 + d.IntN(min(400, len(bad)-at))
		junk := make([]byte, n)
		for i := range junk {
			junk[i] = byte(d.Uint32())
		}
		if d.IntN(4) == 0 {
			copy(junk, marker) // looks like a block
		}
		switch d.IntN(3) {
		case 0:
			bad = slices.Delete(bad, at, at+n)
		case 1:
			bad = slices.Insert(bad, at, junk...)
		case 2:
			copy(bad[at:], junk)
		}
		got, damages, sum := read(t, bad)
		isWhole(t, "altered", got, records)
		if len(damages) == 0 || sum.Complete {
			t.Fatalf("seed %d: nobody says that %d bytes at %d were altered", seed, n, at)
		}
		if len(got) < 3 {
			t.Errorf("seed %d: one alteration left %d records: %v", seed, len(got), damages)
		}
	}
}

func TestMissingBlocksAreSaid(t *testing.T) {
	file, _, blocks := small(t)
	bad := slices.Delete(slices.Clone(file), int(blocks[2].Offset), int(blocks[3].Offset))
	got, damages, sum := read(t, bad)
	if len(damages) != 1 || !strings.Contains(damages[0].Error(), "block 2 is missing") || sum.Missing != 3 || len(got) != 10 {
		t.Errorf("without block 2: %d records, %d missing, %v", len(got), sum.Missing, damages)
	}
	twice := slices.Insert(slices.Clone(file), int(blocks[3].Offset), file[blocks[2].Offset:blocks[3].Offset]...)
	got, damages, _ = read(t, twice)
	if len(damages) != 1 || !strings.Contains(damages[0].Error(), "after block 2") || len(got) != 13 {
		t.Errorf("with block 2 twice: %d records, %v", len(got), damages)
	}
	got, damages, sum = read(t, append(slices.Clone(file), file...))
	if len(damages) != 1 || sum.Complete || len(got) != 13 {
		t.Errorf("with something after the end: %d records, %v", len(got), damages)
	}
}

func TestWhatIsNoRecordingIsRefusedInClearWords(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("a text that goes on for longer than a magic"))
	_ = z.Close()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	file, _, _ := small(t)
	future := slices.Clone(file)
	binary.LittleEndian.PutUint32(future[len(magic):], Version+1)
	past := slices.Clone(file)
	binary.LittleEndian.PutUint32(past[len(magic):], 0)
	for _, c := range []struct {
		name string
		in   []byte
		is   error
		says string
	}{
		{"empty", nil, ErrForeign, "empty"},
		{"text", []byte("2026-03-01 a log of somebody else's\n"), ErrForeign, "text"},
		{"gzip", zipped.Bytes(), ErrForeign, "gzip"},
		{"ELF", self, ErrForeign, "ELF"},
		{"line ends", bytes.ReplaceAll(file, []byte("\r\n"), []byte("\n")), ErrForeign, "text mode"},
		{"noise", bytes.Repeat([]byte{0xde, 0xad, 0}, 50), ErrForeign, "something else"},
		{"the magic alone", []byte(magic), ErrForeign, "cut off"},
		{"a later version", future, ErrVersion, "newer autosa"},
		{"an earlier version", past, ErrVersion, "version 0"},
	} {
		r, err := NewReader(bytes.NewReader(c.in))
		if r != nil || !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v with %q", c.name, err, c.is, c.says)
		}
	}
}

// forge makes a block of any content whose checksums are right.
func forge(number uint32, packed []byte, plain uint32) []byte {
	b := []byte(marker)
	b = binary.LittleEndian.AppendUint32(b, number)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(packed)))
	b = binary.LittleEndian.AppendUint32(b, plain)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(packed, castagnoli))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return append(b, packed...)
}

func forgeFrame(t Type, seq uint64, payload string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	b = append(b, byte(t))
	b = binary.LittleEndian.AppendUint64(b, seq)
	sum := crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, []byte(payload))
	return append(binary.LittleEndian.AppendUint32(b, sum), payload...)
}

func pack(t testing.TB, plain []byte) []byte {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return e.EncodeAll(plain, nil)
}

func begin() []byte { return binary.LittleEndian.AppendUint32([]byte(magic), Version) }

// hostile are files made by somebody who knows the format, with right checksums.
func hostile(t testing.TB) map[string][]byte {
	block := func(frames ...[]byte) []byte {
		plain := slices.Concat(frames...)
		return append(begin(), forge(0, pack(t, plain), uint32(len(plain)))...)
	}
	bomb := pack(t, make([]byte, 128<<20))
	huge := binary.LittleEndian.AppendUint32(nil, 1<<32-1)
	lengths := forge(0, nil, 0)
	binary.LittleEndian.PutUint32(lengths[len(marker)+4:], 1<<31)
	binary.LittleEndian.PutUint32(lengths[blockHeaderBytes-4:], crc32.Checksum(lengths[:blockHeaderBytes-4], castagnoli))
	groups := `{"interval_ns":1,"cpus":1,"groups":[` + strings.Repeat("{},", 500000) + `{}]}`
	return map[string][]byte{
		"a decompression bomb":         append(begin(), forge(0, bomb, 100)...),
		"a bomb that says its size":    append(begin(), forge(0, bomb, 128<<20)...),
		"a block of 2 GiB":             append(begin(), lengths...),
		"a record of 4 GiB":            block(append(huge, make([]byte, 100)...)),
		"half a million groups":        block(forgeFrame(TypeSample, 0, groups)),
		"a bucket that is not there":   block(forgeFrame(TypeSample, 0, `{"interval_ns":1,"cpus":1,"host":{"run_h":[4000000000,1]}}`)),
		"a deep nest":                  block(forgeFrame(TypeState, 0, strings.Repeat(`{"config":`, 1<<18))),
		"no interval":                  block(forgeFrame(TypeSample, 0, `{"interval_ns":0,"cpus":1}`)),
		"a class that is not there":    block(forgeFrame(TypeDecision, 0, `{"class":"frantic"}`)),
		"the last number of a record":  block(forgeFrame(TypeGap, 1<<64-1, `{}`)),
		"two headers":                  block(forgeFrame(TypeHeader, 0, `{}`), forgeFrame(TypeHeader, 1, `{}`)),
		"numbers that go back":         block(forgeFrame(TypeGap, 5, `{}`), forgeFrame(TypeGap, 4, `{}`)),
		"a header that is none":        block(forgeFrame(TypeHeader, 0, `[]`)),
		"an end that counts otherwise": block(forgeFrame(TypeEnd, 0, `{"records":{"sample":7}}`)),
	}
}

func TestHostileFilesAreRefusedWithinBoundedMemory(t *testing.T) {
	const bound = 256 << 20
	for name, in := range hostile(t) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		_, damages, sum := read(t, in)
		runtime.ReadMemStats(&after)
		if len(damages) == 0 || sum.Complete {
			t.Errorf("%s: nothing is said to be wrong", name)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > bound {
			t.Errorf("%s: %d MiB were allocated", name, took>>20)
		}
	}
}

func TestTypesOfALaterAutosaAreSkippedAndCounted(t *testing.T) {
	plain := slices.Concat(forgeFrame(TypeHeader, 0, `{"autosa":"later","colour":"red"}`), forgeFrame(200, 1, "\x00\x01 not even JSON"),
		forgeFrame(TypeGap, 2, `{"lost":3,"mood":"bad"}`), forgeFrame(TypeEnd, 3, `{"records":{"header":1,"type 200":1,"gap":1}}`))
	got, damages, sum := read(t, append(begin(), forge(0, pack(t, plain), uint32(len(plain)))...))
	if len(damages) > 0 || len(got) != 2 || sum.Unknown != 1 || !sum.Complete || got[0].(*Gap).Lost != 3 {
		t.Errorf("%d records, %d unknown, %v", len(got), sum.Unknown, damages)
	}
}

// idle is a reader that never returns anything.
type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestReaderBelowThatFailsOrNeverReturnsAnythingIsSaid(t *testing.T) {
	file, _, blocks := small(t)
	if _, err := NewReader(idle{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that returns nothing: %v", err)
	}
	broken := errors.New("the cable was pulled")
	r, err := NewReader(io.MultiReader(bytes.NewReader(file[:blocks[2].Offset+5]), failing{broken}))
	for err == nil {
		_, err = r.Next()
	}
	if !errors.Is(err, broken) || errors.Is(err, ErrDamaged) {
		t.Errorf("a reader that fails: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
