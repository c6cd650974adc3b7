// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"autosa/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// draw makes values from a seed, extreme ones among them.
type draw struct{ *rand.Rand }

func newDraw(seed uint64) draw { return draw{rand.New(rand.NewPCG(seed, 1))} }

func (d draw) float() float64 {
	odd := []float64{0, math.Copysign(0, -1), 1, math.NaN(), math.Float64frombits(0x7ff8000000000123), math.Inf(1), math.Inf(-1),
		math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1 + 0.2, math.Float64frombits(0x3ff0000000000001)}
	if d.IntN(3) == 0 {
		return odd[d.IntN(len(odd))]
	}
	return math.Float64frombits(d.Uint64())
}

func (d draw) text() string {
	odd := []string{"", "/", "host", "a<b>&c", "\u2028", "\xff\xfe", "käse", "\x00\x01", `{"base64":"x"}`, "bits:00", "\xed\xa0\x80"}
	if d.IntN(2) == 0 {
		return odd[d.IntN(len(odd))]
	}
	b := make([]byte, d.IntN(20))
	for i := range b {
		b[i] = byte(d.Uint32())
	}
	return string(b)
}

func (d draw) nanos() time.Duration { return time.Duration(d.Uint64()) }

func (d draw) histogram() workload.Histogram {
	var h workload.Histogram
	for range d.IntN(10) {
		h[d.IntN(len(h))] = d.Uint64()
	}
	return h
}

func (d draw) group() workload.Group {
	return workload.Group{
		ID: d.Uint64(), Name: d.text(), Switches: d.Uint64(), Voluntary: d.Uint64(), Involuntary: d.Uint64(),
		Run: d.nanos(), Wait: d.nanos(), Sleep: d.nanos(), IOWait: d.nanos(), Throttled: d.nanos(),
		WaitHist: d.histogram(), RunHist: d.histogram(), SleepHist: d.histogram(), IOHist: d.histogram(),
		Pressure: workload.PSI{CPUSome: d.float()}, Disk: workload.Disk{Reads: uint64(d.IntN(2))},
	}
}

// several is a list of up to n, sometimes empty and sometimes nil.
func several[T any](d draw, n int, one func() T) []T {
	if d.IntN(5) == 0 {
		return nil
	}
	out := make([]T, d.IntN(n+1))
	for i := range out {
		out[i] = one()
	}
	return out
}

func (d draw) sample() *Sample {
	s := workload.Sample{
		Time: time.Unix(0, d.Int64()).UTC(), Interval: 1 + time.Duration(d.Int64N(math.MaxInt64)), CPUs: 1 + d.IntN(4096),
		Source: workload.SourceBPF, Host: d.group(), Groups: several(d, 4, d.group),
		PSI: workload.PSI{Available: d.IntN(2) == 0, CPUSome: d.float(), CPUFull: d.float(), IOSome: d.float(), IOFull: d.float(),
			MemorySome: d.float(), MemoryFull: d.float()},
		CPU: workload.CPUTime{User: d.float(), System: d.float(), Idle: d.float(), IOWait: d.float(), IRQ: d.float(), SoftIRQ: d.float(), Steal: d.float()},
		Events: workload.Events{
			Worst: several(d, 3, func() workload.WaitEvent {
				return workload.WaitEvent{PID: int(d.Int32()), Comm: d.text(), Group: d.text(), CPU: int(d.Int32()), Wait: d.nanos(), IO: d.IntN(2) == 0,
					HolderPID: int(d.Int32()), HolderComm: d.text(), HolderGroup: d.text()}
			}),
			WaitedFor: several(d, 3, func() workload.Edge {
				return workload.Edge{Waiter: d.text(), Holder: d.text(), Count: d.Uint64(), Total: d.nanos()}
			}),
			Periods: several(d, 3, func() workload.Period {
				return workload.Period{PID: int(d.Int32()), Comm: d.text(), Group: d.text(), Mean: d.nanos(), CV: d.float(), Cycles: int(d.Int32())}
			}),
			Received: d.Uint64(),
		},
		Tracer: workload.TracerStats{Source: workload.SourceBPF, Reason: d.text(), Switches: d.Uint64(),
			Cost: workload.Cost{NanosPerSwitch: d.float(), BPFShare: d.float(), DaemonShare: d.float()}},
	}
	if d.IntN(2) == 0 {
		s.Tracer.Losses = map[string]uint64{"first_slice": d.Uint64(), "ring full": 0}
	}
	return &Sample{At: d.Int64(), Offset: d.Int64(), Skipped: []string{"", "swap"}[d.IntN(2)], Sample: s}
}

func (d draw) arm() Arm {
	return Arm{Scheduler: Text(d.text()), Args: several(d, 2, func() Text { return Text(d.text()) })}
}

func (d draw) track() Track {
	return Track{ID: d.Uint64(), Name: Text(d.text()), Sum: several(d, 8, func() Float { return Float(d.float()) }), Weight: Float(d.float()),
		Class: workload.Class(d.IntN(workload.NumClasses)), Since: d.Int64(), Seen: Float(d.float())}
}

func (d draw) event() *Event {
	e := EventOf(d.Int64(), &workload.WaitEvent{PID: 7, Comm: d.text(), Group: d.text(), Wait: d.nanos(), IO: d.IntN(2) == 0, HolderGroup: d.text()})
	e.Time, e.TGID, e.Blocked, e.Queued, e.Run = d.Int64(), int(d.Int32()), d.Int64(), d.Int64(), d.Int64()
	e.Before, e.Left, e.Arrivals, e.LostBefore, e.NextPID, e.NextComm = "sleep", "preempted", d.Uint64(), d.Uint64(), int(d.Int32()), Text(d.text())
	return &e
}

func (d draw) total() *Total {
	return &Total{At: d.Int64(), Time: d.Int64(), Events: d.Uint64(), Lost: d.Uint64(), LeftOut: d.Uint64(), Unremembered: d.Uint64(), Missed: d.Uint64(), Error: Text(d.text())}
}

// record is one of any type that Write takes.
func (d draw) record() Record {
	texts := func() List[Text] { return several(d, 3, func() Text { return Text(d.text()) }) }
	switch d.IntN(9) {
	case 0:
		return &State{At: d.Int64(), Config: Config{Window: d.Int64(), Mode: "auto", MinConfidence: Float(d.float()),
			Table: List[Preference]{{Class: workload.IO, Arms: several(d, 2, d.arm)}}},
			Host:  Host{Class: workload.Media, Confidence: Float(d.float()), Since: d.Int64()},
			Voter: Voter{Clock: Float(d.float()), Host: d.track(), Groups: several(d, 3, d.track)},
			Resting: several(d, 2, func() Rest {
				return Rest{Arm: d.arm(), Failures: d.IntN(9), At: d.Int64(), Until: d.Int64(), Reason: Text(d.text())}
			}),
			Choice: Choice{Arm: d.arm(), Since: d.Int64()}}
	case 1:
		in := &Input{At: d.Int64(), Offset: d.Int64(), Mode: "auto", InCharge: d.arm(), Owner: "kernel", LastSwap: d.Int64(),
			Failures: several(d, 2, func() Failure { return Failure{Arm: d.arm(), At: d.Int64(), Reason: Text(d.text())} })}
		if d.IntN(2) == 0 {
			in.Holds = []Hold{{Reason: Text(d.text()), Since: d.Int64(), Until: d.Int64()}}
			in.Manual, in.WhyNot = &Order{Arm: d.arm(), Since: d.Int64()}, map[string]Text{"scx_rusty": Text(d.text())}
		}
		return in
	case 2:
		return &Decision{At: d.Int64(), Arm: d.arm(), Action: "keep", Manual: d.IntN(2) == 0, Reasons: texts(), WouldChange: texts(),
			Alternatives: several(d, 2, func() Alternative { return Alternative{d.arm(), Text(d.text())} }),
			Class:        workload.Server, Confidence: Float(d.float())}
	case 3:
		return &Swap{At: d.Int64(), From: Text(d.text()), To: d.arm(), OK: d.IntN(2) == 0, Error: Text(d.text()), EnableSeq: d.Uint64(), Gap: d.Int64()}
	case 4:
		return d.event()
	case 5:
		return &Gap{At: d.Int64(), Lost: d.Uint64()}
	case 6:
		return d.total()
	default:
		return d.sample()
	}
}

// write makes a recording of records, with so many of them a block.
func write(t testing.TB, records []Record, perBlock int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{Autosa: "test", Machine: Machine{Host: "h", CPUs: 2}})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
		if (i+1)%perBlock == 0 {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(1); err != nil {
		t.Fatal(err)
	}
	if w.Bytes() != int64(b.Len()) {
		t.Errorf("Bytes says %d of %d", w.Bytes(), b.Len())
	}
	return b.Bytes()
}

// read reads all there is: the records that are whole and what is said to be wrong.
func read(t testing.TB, in []byte) (records []Record, damages []error, sum Summary) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(in))
	if err != nil {
		return nil, []error{err}, Summary{}
	}
	for range 10*len(in) + 10 {
		rec, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return records, damages, r.Summary()
		case errors.Is(err, ErrDamaged):
			damages = append(damages, err)
		case err != nil:
			t.Fatalf("Next: %v", err)
		default:
			records = append(records, rec)
		}
	}
	t.Fatal("reading does not end")
	return
}

// same compares to the bit, floats that are no numbers included.
func same(a, b Record) bool {
	x, errX := marshal(a)
	y, errY := marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// bits compares the samples' memory, which JSON does not see, to the bit.
func bits(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Float64:
		return math.Float64bits(a.Float()) == math.Float64bits(b.Float())
	case reflect.Struct:
		if at, ok := a.Interface().(time.Time); ok {
			return at == b.Interface().(time.Time)
		}
		for i := range a.NumField() {
			if !bits(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() || a.Kind() == reflect.Slice && a.IsNil() != b.IsNil() {
			return false
		}
		for i := range a.Len() {
			if !bits(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return bits(a.Elem(), b.Elem())
	default:
		return reflect.DeepEqual(a.Interface(), b.Interface())
	}
}

func TestEveryRecordComesBackToTheBit(t *testing.T) {
	for seed := range uint64(20) {
		d := newDraw(seed)
		records := make([]Record, 40)
		for i := range records {
			records[i] = d.record()
		}
		got, damages, sum := read(t, write(t, records, 1+d.IntN(20)))
		if len(damages) > 0 || !sum.Complete || len(got) != len(records)+1 {
			t.Fatalf("seed %d: %d records of %d and the end, complete %t, damages %v", seed, len(got), len(records), sum.Complete, damages)
		}
		for i, want := range records {
			if !bits(reflect.ValueOf(want), reflect.ValueOf(got[i])) {
				t.Fatalf("seed %d, record %d:\nwrote %+v\nread  %+v", seed, i, want, got[i])
			}
		}
		if end, ok := got[len(records)].(*End); !ok || end.At != 1 {
			t.Errorf("seed %d: the last record is %+v", seed, got[len(records)])
		}
	}
}

// fill sets every field of a value to something else than its zero value, those
// that somebody adds to the sample tomorrow among them.
func fill(v reflect.Value, n *uint64) {
	*n++
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint64:
		v.SetUint(*n)
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.1)
	case reflect.String:
		v.SetString(fmt.Sprint("s", *n))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(0, int64(*n)).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]uint64{"a": *n}))
	default:
		panic(v.Kind())
	}
}

func TestNoFieldOfASampleIsForgotten(t *testing.T) {
	var s Sample
	fill(reflect.ValueOf(&s).Elem(), new(uint64))
	got, _, _ := read(t, write(t, []Record{&s}, 1))
	if diff := cmp.Diff(&s, got[0]); diff != "" {
		t.Error(diff)
	}
}

func TestNoFieldOfAnEventIsForgotten(t *testing.T) {
	for _, r := range []Record{&Event{}, &Total{}} {
		fill(reflect.ValueOf(r).Elem(), new(uint64))
		got, _, sum := read(t, write(t, []Record{r}, 1))
		if diff := cmp.Diff(r, got[0]); diff != "" || sum.Records[r.Type()] != 1 {
			t.Errorf("%v %s", sum.Records, diff)
		}
	}
}

// A sample's worst waits are written without the fields of recorded events.
func TestTheWorstWaitsOfASampleAreShort(t *testing.T) {
	b, err := marshal(EventOf(0, &workload.WaitEvent{}))
	if err != nil || bytes.Contains(b, []byte("time_ns")) || bytes.Contains(b, []byte("next")) {
		t.Errorf("%s %v", b, err)
	}
}

func TestTheZeroTimeComesBackAsItself(t *testing.T) {
	s := newDraw(1).sample()
	s.Sample.Time = time.Time{}
	got, _, _ := read(t, write(t, []Record{s}, 1))
	if at := got[0].(*Sample).Sample.Time; !at.IsZero() {
		t.Errorf("the zero time came back as %v", at)
	}
}

func TestWritingTheSameTwiceGivesTheSameBytes(t *testing.T) {
	records := make([]Record, 30)
	d := newDraw(3)
	for i := range records {
		records[i] = d.record()
	}
	if !bytes.Equal(write(t, records, 7), write(t, records, 7)) {
		t.Error("two recordings of the same records differ")
	}
}

func TestWriterSaysWhatItDoesNotTake(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(&End{}); err == nil {
		t.Error("an end record was taken")
	}
	long := &Swap{Error: Text(bytes.Repeat([]byte("x"), MaxRecordBytes))}
	if err := w.Write(long); err == nil {
		t.Error("a record beyond the bound was taken")
	}
	if err := w.Write(&Gap{Lost: 1}); err != nil {
		t.Errorf("after a record that was refused: %v", err)
	}
	if err := w.Close(0); err != nil {
		t.Error(err)
	}
	if err := w.Write(&Gap{}); err == nil {
		t.Error("a record after the end was taken")
	}
	if got, damages, sum := read(t, b.Bytes()); len(got) != 2 || len(damages) > 0 || !sum.Complete {
		t.Errorf("%d records, %v", len(got), damages)
	}
}

// fullDisk takes so many bytes and no more.
type fullDisk struct {
	bytes.Buffer
	room int
}

var errFull = errors.New("no space left on device")

func (f *fullDisk) Write(b []byte) (int, error) {
	if n := f.room - f.Len(); n < len(b) {
		f.Buffer.Write(b[:max(n, 0)])
		return max(n, 0), errFull
	}
	return f.Buffer.Write(b)
}

func TestFullDiskIsSaidAndWhatIsWholeStays(t *testing.T) {
	disk := &fullDisk{room: 4000}
	w, err := NewWriter(disk, Header{})
	if err != nil {
		t.Fatal(err)
	}
	d := newDraw(5)
	var wrote []Record
	for err == nil {
		r := d.record()
		wrote = append(wrote, r)
		if err = w.Write(r); err == nil {
			err = w.Flush()
		}
	}
	if !errors.Is(err, errFull) || !errors.Is(w.Write(&Gap{}), errFull) || !errors.Is(w.Close(0), errFull) {
		t.Errorf("a full disk was met with %v", err)
	}
	got, damages, sum := read(t, disk.Bytes())
	if len(got) != len(wrote)-1 || sum.Complete {
		t.Errorf("%d records were whole on the disk, %d came back", len(wrote)-1, len(got))
	}
	if len(damages) == 0 || !errors.Is(damages[len(damages)-1], ErrCutOff) {
		t.Errorf("the end is missing and this is said: %v", damages)
	}
	for i := range got {
		if !same(got[i], wrote[i]) {
			t.Errorf("record %d differs", i)
		}
	}
}
