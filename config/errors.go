// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
)

// Error is one mistake in a configuration.
type Error struct {
	// Source is the file's path, the environment variable or the flag.
	Source string
	// Line and Column are 1-based; 0 where they mean nothing.
	Line, Column int
	// Key is the setting's dotted key in the file; empty outside files and for
	// errors of syntax.
	Key     string
	Problem string
}

// place is the error's source with its position.
func (e *Error) place() string {
	switch {
	case e.Line > 0 && e.Column > 0:
		return fmt.Sprintf("%s:%d:%d", e.Source, e.Line, e.Column)
	case e.Line > 0:
		return fmt.Sprintf("%s:%d", e.Source, e.Line)
	}
	return e.Source
}

func (e *Error) Error() string {
	if e.Key == "" {
		return e.place() + ": " + e.Problem
	}
	return e.place() + ": " + e.Key + ": " + e.Problem
}

// Errors is every mistake of a configuration in the order of its sources:
// file, environment, flags.
type Errors []*Error

// Error has one line for each mistake.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a single *Error.
func (es Errors) Unwrap() []error {
	all := make([]error, len(es))
	for i, e := range es {
		all[i] = e
	}
	return all
}
