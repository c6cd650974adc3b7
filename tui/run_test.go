// SPDX-License-Identifier: Apache-2.0

package tui

func child() bool { return false }
