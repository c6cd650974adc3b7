// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Float is a float64 that survives JSON to the bit: what JSON has no number for
// is written as a string of its bits, "bits:7ff8000000000001".
type Float float64

const floatBits = "bits:"

// MarshalJSON writes the shortest number that reads as f, or f's bits.
func (f Float) MarshalJSON() ([]byte, error) {
	if x := float64(f); math.IsNaN(x) || math.IsInf(x, 0) {
		return fmt.Appendf(nil, `"%s%016x"`, floatBits, math.Float64bits(x)), nil
	}
	return strconv.AppendFloat(nil, float64(f), 'g', -1, 64), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (f *Float) UnmarshalJSON(b []byte) error {
	if hex, ok := strings.CutPrefix(string(b), `"`+floatBits); ok {
		bits, err := strconv.ParseUint(strings.TrimSuffix(hex, `"`), 16, 64)
		*f = Float(math.Float64frombits(bits))
		return err
	}
	x, err := strconv.ParseFloat(string(b), 64)
	*f = Float(x)
	return err
}

// Text is a string that survives JSON to the byte: names of tasks and cgroups
// need not be UTF-8. Those that are not are written as {"base64": "…"}.
type Text string

type encodedText struct {
	Base64 *string `json:"base64"`
}

// MarshalJSON writes a string, or an object for what is not UTF-8.
func (t Text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return marshal(string(t))
	}
	s := base64.StdEncoding.EncodeToString([]byte(t))
	return json.Marshal(encodedText{&s})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Text) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '{' {
		return json.Unmarshal(b, (*string)(t))
	}
	var e encodedText
	if err := json.Unmarshal(b, &e); err != nil {
		return err
	}
	if e.Base64 == nil {
		return errors.New("text is an object without base64")
	}
	s, err := base64.StdEncoding.DecodeString(*e.Base64)
	*t = Text(s)
	return err
}

// List is a slice whose length is checked while it is read. A nil one is null.
type List[T any] []T

// UnmarshalJSON reads an array of at most 8192 elements, or null.
func (l *List[T]) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*l = nil
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if first, err := d.Token(); err != nil || first != json.Delim('[') {
		return fmt.Errorf("no array begins with %.10q", b)
	}
	out := List[T]{}
	for d.More() {
		if len(out) == maxList {
			return fmt.Errorf("a list of more than %d elements", maxList)
		}
		var v T
		if err := d.Decode(&v); err != nil {
			return err
		}
		out = append(out, v)
	}
	*l = out
	return nil
}

// marshal is json.Marshal without escapes meant for HTML, and without a newline.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// unmarshal decodes the one JSON value that a payload is. Fields that are not
// known are those of a later autosa and are left out.
func unmarshal[T Record](payload []byte, into T) (Record, error) {
	if err := json.Unmarshal(payload, into); err != nil {
		return nil, err
	}
	return into, nil
}
