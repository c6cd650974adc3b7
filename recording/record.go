// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"fmt"

	"autosa/workload"
)

// Type is the kind of a record. Its numbers are part of the format.
type Type uint8

// The types of records.
const (
	TypeHeader   Type = 1
	TypeState    Type = 2
	TypeSample   Type = 3
	TypeInput    Type = 4
	TypeDecision Type = 5
	TypeSwap     Type = 6
	TypeEvent    Type = 7
	TypeGap      Type = 8
	TypeEnd      Type = 9
	TypeTotal    Type = 10

	numTypes = 11
)

var typeNames = [numTypes]string{
	TypeHeader: "header", TypeState: "state", TypeSample: "sample", TypeInput: "input", TypeDecision: "decision",
	TypeSwap: "swap", TypeEvent: "event", TypeGap: "gap", TypeEnd: "end", TypeTotal: "total",
}

func (t Type) String() string {
	if int(t) < numTypes && typeNames[t] != "" {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Types returns every type of record, in order.
func Types() []Type {
	var all []Type
	for t := TypeHeader; t < numTypes; t++ {
		all = append(all, t)
	}
	return all
}

// Record is one of [*State], [*Sample], [*Input], [*Decision], [*Swap],
// [*Event], [*Total], [*Gap] and [*End].
type Record interface{ Type() Type }

// Times, named At, Since or Until, are of the recording's steady clock:
// nanoseconds that began as those since 1970 by the wall clock and have gone on
// without a jump since. 0 is no time. Offset, where a record has it, is what has
// to be added to get to the wall clock of the moment.

// Header says where and how a recording was made.
type Header struct {
	// Autosa is the version that wrote it.
	Autosa  string  `json:"autosa"`
	Machine Machine `json:"machine"`
	// Start is the wall clock at the beginning, in nanoseconds since 1970.
	Start int64 `json:"start_ns"`
	// Interval is the time between two samples.
	Interval int64  `json:"interval_ns"`
	Config   Config `json:"config"`
	// Events is true when single events were asked for, and Filter which.
	Events bool    `json:"events"`
	Filter *Filter `json:"event_filter,omitempty"`
}

// Filter chooses single events.
type Filter struct {
	// MinWait is the shortest wait that counts.
	MinWait int64 `json:"min_wait_ns"`
	// Cgroups are names as they were given; none: all.
	Cgroups List[Text] `json:"cgroups"`
}

// Machine describes the machine that was recorded. What could not be found out
// is empty.
type Machine struct {
	Host     string `json:"host"`
	Kernel   string `json:"kernel"`
	Arch     string `json:"arch"`
	CPUModel string `json:"cpu_model"`
	// CPUs is the number on line, Topology has one entry for each of them.
	CPUs        int          `json:"cpus"`
	Topology    List[CPU]    `json:"topology"`
	MemoryBytes uint64       `json:"memory_bytes"`
	SchedExt    bool         `json:"sched_ext"`
	Features    List[string] `json:"features"`
	// Clock is the kernel's clock source.
	Clock string `json:"clock"`
}

// CPU is where one logical CPU is. LLC is the lowest CPU that it shares its
// last-level cache with; -1 stands for what the kernel does not say.
type CPU struct {
	CPU     int `json:"cpu"`
	Package int `json:"package"`
	Core    int `json:"core"`
	LLC     int `json:"llc"`
	Node    int `json:"node"`
}

// Config is the part of the configuration that decisions depend on.
type Config struct {
	Window            int64            `json:"window_ns"`
	Mode              string           `json:"mode"`
	MinConfidence     Float            `json:"min_confidence"`
	MinSwitchInterval int64            `json:"min_switch_interval_ns"`
	MinClassAge       int64            `json:"min_class_age_ns"`
	Backoff           int64            `json:"backoff_ns"`
	MaxBackoff        int64            `json:"max_backoff_ns"`
	Table             List[Preference] `json:"table"`
}

// Preference names the arms for a class, best first.
type Preference struct {
	Class workload.Class `json:"class"`
	Arms  List[Arm]      `json:"arms"`
}

// Arm is a scheduler with its arguments.
type Arm struct {
	Scheduler Text       `json:"scheduler"`
	Args      List[Text] `json:"args"`
}

// State is everything that what follows depends on and that came before. Each
// recording begins with one; further ones let a reader that lost something take
// up again.
type State struct {
	At     int64  `json:"at"`
	Offset int64  `json:"offset_ns"`
	Config Config `json:"config"`
	// Host is the newest classification of the machine; its Since is 0 and its
	// confidence 0 when there is none yet.
	Host    Host       `json:"host"`
	Voter   Voter      `json:"voter"`
	Resting List[Rest] `json:"resting"`
	Choice  Choice     `json:"choice"`
}

// Host is a classification of the machine.
type Host struct {
	Class         workload.Class `json:"class"`
	Confidence    Float          `json:"confidence"`
	Probabilities List[Float]    `json:"probabilities"`
	Since         int64          `json:"since"`
}

// Voter is the memory of the vote over time.
type Voter struct {
	Clock  Float       `json:"clock"`
	Host   Track       `json:"host"`
	Groups List[Track] `json:"groups"`
}

// Track is the vote of one group.
type Track struct {
	ID     uint64         `json:"id"`
	Name   Text           `json:"name"`
	Sum    List[Float]    `json:"sum"`
	Weight Float          `json:"weight"`
	Class  workload.Class `json:"class"`
	Since  int64          `json:"since"`
	Seen   Float          `json:"seen"`
}

// Rest is an arm that rests after failures.
type Rest struct {
	Arm      Arm   `json:"arm"`
	Version  Text  `json:"version,omitempty"`
	Failures int   `json:"failures"`
	At       int64 `json:"at"`
	Until    int64 `json:"until"`
	Reason   Text  `json:"reason"`
}

// Choice is an arm that the work asks for.
type Choice struct {
	Arm   Arm   `json:"arm"`
	Since int64 `json:"since"`
}

// Sample is one sample with the time it has on the steady clock.
type Sample struct {
	At     int64
	Offset int64
	// Skipped says why the sample was kept from the classifier; empty when it
	// was not.
	Skipped string
	// Sample is what was measured; its Time is the wall clock's.
	Sample workload.Sample
}

// Input is what policy was given beside the classification.
type Input struct {
	At     int64  `json:"at"`
	Offset int64  `json:"offset_ns"`
	Mode   string `json:"mode"`
	// WhyNot names the schedulers at hand, and why each cannot be used, empty
	// where it can.
	WhyNot   map[string]Text `json:"why_not"`
	InCharge Arm             `json:"in_charge"`
	Owner    string          `json:"owner"`
	Manual   *Order          `json:"manual"`
	LastSwap int64           `json:"last_swap"`
	Failures List[Failure]   `json:"failures"`
	Holds    []Hold          `json:"holds,omitempty"`
	// Versions are of schedulers that failed, Forgive names those whose failures
	// were to be forgotten.
	Versions map[string]Text `json:"versions,omitempty"`
	Forgive  List[Text]      `json:"forgive,omitempty"`
	Veto     *Order          `json:"veto,omitempty"`
}

// Hold kept policy from changing anything; Until is 0 where it had no end of its own.
type Hold struct {
	Reason Text  `json:"reason"`
	Since  int64 `json:"since"`
	Until  int64 `json:"until"`
}

// Order is the operator's choice, or veto.
type Order struct {
	Arm   Arm   `json:"arm"`
	Since int64 `json:"since"`
}

// Failure is an arm that did not come up or went down.
type Failure struct {
	Arm     Arm   `json:"arm"`
	Version Text  `json:"version,omitempty"`
	At      int64 `json:"at"`
	Reason  Text  `json:"reason"`
}

// Decision is what policy said to the input before it.
type Decision struct {
	At           int64             `json:"at"`
	Arm          Arm               `json:"arm"`
	Action       string            `json:"action"`
	Manual       bool              `json:"manual"`
	Reasons      List[Text]        `json:"reasons"`
	Alternatives List[Alternative] `json:"alternatives"`
	WouldChange  List[Text]        `json:"would_change"`
	Class        workload.Class    `json:"class"`
	Confidence   Float             `json:"confidence"`
}

// Alternative is an arm that was not chosen.
type Alternative struct {
	Arm    Arm  `json:"arm"`
	WhyNot Text `json:"why_not"`
}

// Swap is how a swap ended.
type Swap struct {
	At        int64  `json:"at"`
	From      Text   `json:"from"`
	To        Arm    `json:"to"`
	Manual    bool   `json:"manual"`
	OK        bool   `json:"ok"`
	Error     Text   `json:"error"`
	Ops       Text   `json:"ops"`
	EnableSeq uint64 `json:"enable_seq"`
	Gap       int64  `json:"gap_ns"`
	Total     int64  `json:"total_ns"`
}

// Event is one run-queue or, where IO is set, I/O wait past the threshold. The
// fields from Time on are those of recorded events; the worst waits of a sample
// have none of them.
type Event struct {
	At          int64 `json:"at"`
	PID         int   `json:"pid"`
	Comm        Text  `json:"comm"`
	Group       Text  `json:"group"`
	CPU         int   `json:"cpu"`
	Wait        int64 `json:"wait_ns"`
	IO          bool  `json:"io"`
	HolderPID   int   `json:"holder_pid"`
	HolderComm  Text  `json:"holder_comm"`
	HolderGroup Text  `json:"holder_group"`
	// Time is the wall clock when the task left the CPU that it had waited for.
	Time int64 `json:"time_ns,omitempty"`
	TGID int   `json:"tgid,omitempty"`
	// Blocked is how long it was off the run queues before a run-queue wait,
	// Queued how long it was on one after an I/O wait, Run how long it then ran.
	Blocked int64 `json:"blocked_ns,omitempty"`
	Queued  int64 `json:"queued_ns,omitempty"`
	Run     int64 `json:"run_ns,omitempty"`
	// Before says why it was off the CPU, Left why it left it, in a trace's words.
	Before string `json:"before,omitempty"`
	Left   string `json:"left,omitempty"`
	// Arrivals numbers the task's slices.
	Arrivals uint64 `json:"arrivals,omitempty"`
	// LostBefore is how many events of this CPU are missing since the one before.
	LostBefore uint64 `json:"lost_before,omitempty"`
	NextPID    int    `json:"next_pid,omitempty"`
	NextComm   Text   `json:"next_comm,omitempty"`
}

// Total says what became of the events. It follows the last of them.
type Total struct {
	At   int64 `json:"at"`
	Time int64 `json:"time_ns"`
	// Events is how many are in the recording, Lost how many are not, and LeftOut
	// how many of these because there were more than a recording takes.
	Events  uint64 `json:"events"`
	Lost    uint64 `json:"lost"`
	LeftOut uint64 `json:"left_out"`
	// Unremembered are slices of tasks for which the kernel had no memory, Missed
	// switches of any task at which it did not run the tracer.
	Unremembered uint64 `json:"unremembered"`
	Missed       uint64 `json:"missed"`
	// Error says why the events ended before the recording did.
	Error Text `json:"error"`
}

// Gap says that records are missing: whoever was to take them was too slow. A
// [*State] follows it.
type Gap struct {
	At   int64  `json:"at"`
	Lost uint64 `json:"lost"`
}

// End is the last record of a recording that was ended and not cut off.
type End struct {
	At int64 `json:"at"`
	// Records counts the records before this one, by type, the header included.
	Records map[string]uint64 `json:"records"`
}

// Type is [TypeState].
func (*State) Type() Type { return TypeState }

// Type is [TypeSample].
func (*Sample) Type() Type { return TypeSample }

// Type is [TypeInput].
func (*Input) Type() Type { return TypeInput }

// Type is [TypeDecision].
func (*Decision) Type() Type { return TypeDecision }

// Type is [TypeSwap].
func (*Swap) Type() Type { return TypeSwap }

// Type is [TypeEvent].
func (*Event) Type() Type { return TypeEvent }

// Type is [TypeTotal].
func (*Total) Type() Type { return TypeTotal }

// Type is [TypeGap].
func (*Gap) Type() Type { return TypeGap }

// Type is [TypeEnd].
func (*End) Type() Type { return TypeEnd }

// decode makes the record of a payload.
func decode(t Type, payload []byte) (Record, error) {
	switch t {
	case TypeState:
		return unmarshal(payload, &State{})
	case TypeSample:
		return decodeSample(payload)
	case TypeInput:
		return unmarshal(payload, &Input{})
	case TypeDecision:
		return unmarshal(payload, &Decision{})
	case TypeSwap:
		return unmarshal(payload, &Swap{})
	case TypeEvent:
		return unmarshal(payload, &Event{})
	case TypeTotal:
		return unmarshal(payload, &Total{})
	case TypeGap:
		return unmarshal(payload, &Gap{})
	case TypeEnd:
		return unmarshal(payload, &End{})
	}
	return nil, fmt.Errorf("unknown %s", t)
}
