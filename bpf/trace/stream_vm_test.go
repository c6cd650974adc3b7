// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package trace_test

import (
	"testing"

	"autosa/vmtest/guest"
)

func TestVMStreamIsTheKernelsCount(t *testing.T) {
	guest.On(t, "6.12", "7.2")
	TestEverySwitchOfAPingPongAppearsExactlyOnce(t)
	TestWhatAFullRingLostPlusWhatGotThroughIsTheKernelsCount(t)
}

func TestVMStreamFiltersChooseExactlyThoseTasks(t *testing.T) {
	guest.On(t, "7.2")
	TestFiltersChooseExactlyThoseTasks(t)
	TestACgroupMadeLaterIsBelowItsParent(t)
}

func TestVMTasksAreAsProcShowsThem(t *testing.T) {
	guest.On(t, "6.12", "7.2")
	TestTasksAreAsProcShowsThem(t)
}

func TestVMProbesSampleAndLeave(t *testing.T) {
	guest.On(t, "6.12", "7.2")
	TestWakeupsNameTheTaskOrTheInterrupt(t)
	TestASampleThatIsCalledOffLeavesNothingAttached(t)
}
