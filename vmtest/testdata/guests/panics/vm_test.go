// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package panics

import "testing"

func TestVMPasses(*testing.T) {}

func TestVMPanics(*testing.T) { panic("lost") }

func TestVMComesTooLate(*testing.T) {}
