// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// value is a setting's value before anybody looked at it: text from the
// environment or a flag, or a value of a TOML file.
type value struct {
	text      string
	fromText  bool
	appending bool // adds to the list that an earlier value began
	node      *node
}

// String shows the value as it was written.
func (v value) String() string {
	if v.fromText {
		return strconv.Quote(v.text)
	}
	return v.node.String()
}

func (v value) wrongType(want string) error {
	if v.fromText {
		return fmt.Errorf("%q is not %s", v.text, want)
	}
	return fmt.Errorf("want %s, got %s", want, v.node.describe())
}

// number reads an integer or a float; in a file never from a string.
func (v value) number() (float64, error) {
	if v.fromText {
		f, err := strconv.ParseFloat(v.text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return 0, v.wrongType("a number")
		}
		return f, nil
	}
	switch n := v.node.value.(type) {
	case int64:
		return float64(n), nil
	case float64:
		if !math.IsNaN(n) && !math.IsInf(n, 0) {
			return n, nil
		}
	}
	return 0, v.wrongType("a number")
}

func (v value) integer() (int64, error) {
	if v.fromText {
		n, err := strconv.ParseInt(v.text, 10, 64)
		if err != nil {
			return 0, v.wrongType("a whole number")
		}
		return n, nil
	}
	if n, ok := v.node.value.(int64); ok {
		return n, nil
	}
	return 0, v.wrongType("a whole number")
}

// duration reads a number of seconds or a Go duration such as "1m30s".
func (v value) duration() (time.Duration, error) {
	const want = `seconds as a number, or a duration such as "1m30s"`
	text, fromText := v.text, v.fromText
	if !fromText {
		text, fromText = v.node.value.(string)
	}
	if fromText {
		if d, err := time.ParseDuration(text); err == nil {
			return d, nil
		}
		if !v.fromText {
			return 0, v.wrongType(want)
		}
	}
	secs, err := v.number()
	if err != nil {
		return 0, v.wrongType(want)
	}
	// Saturated: no setting allows as much.
	if limit := float64(math.MaxInt64 / 2); math.Abs(secs*float64(time.Second)) > limit {
		return time.Duration(math.Copysign(limit, secs)), nil
	}
	return time.Duration(math.Round(secs * float64(time.Second))), nil
}

func (v value) boolean() (bool, error) {
	if v.fromText {
		switch strings.ToLower(v.text) {
		case "true", "yes", "on", "1":
			return true, nil
		case "false", "no", "off", "0":
			return false, nil
		}
		return false, v.wrongType("true or false")
	}
	if b, ok := v.node.value.(bool); ok {
		return b, nil
	}
	return false, v.wrongType("true or false")
}

func (v value) str() (string, error) {
	text := v.text
	if !v.fromText {
		s, ok := v.node.value.(string)
		if !ok {
			return "", v.wrongType("a string")
		}
		text = s
	}
	if strings.ContainsRune(text, 0) {
		return "", errors.New("contains a NUL character")
	}
	return text, nil
}

// strings reads an array of strings; text is a list separated by colons, as in
// PATH, except that a flag is repeated instead.
func (v value) strings() ([]string, error) {
	if v.fromText {
		if strings.ContainsRune(v.text, 0) {
			return nil, errors.New("contains a NUL character")
		}
		return strings.Split(v.text, ":"), nil
	}
	items, ok := v.node.value.([]*node)
	if !ok {
		return nil, v.wrongType("an array of strings")
	}
	list := make([]string, 0, len(items))
	var errs []error
	for i, n := range items {
		s, err := value{node: n}.str()
		if err != nil {
			errs = append(errs, &itemError{line: n.line, index: i, err: err})
		}
		list = append(list, s)
	}
	return list, errors.Join(errs...)
}

// each checks the items of a list that strings returned.
func (v value) each(list []string, check func(string) error) error {
	var errs []error
	for i, s := range list {
		err := check(s)
		switch {
		case err == nil:
		case !v.fromText:
			errs = append(errs, &itemError{line: v.node.value.([]*node)[i].line, index: i, err: err})
		case len(list) > 1:
			errs = append(errs, &itemError{index: i, err: err})
		default:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// itemError is a mistake in one item of a list; line is 0 outside files.
type itemError struct {
	line, index int
	err         error
}

func (e *itemError) Error() string { return fmt.Sprintf("item %d: %v", e.index+1, e.err) }
func (e *itemError) Unwrap() error { return e.err }
