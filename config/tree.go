// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// node is a TOML value with the line it stands on. value is a string, int64,
// float64, bool, *table, []*node, or other.
type node struct {
	line  int
	value any
}

// other is a value of a kind that no setting takes, named by its kind.
type other string

// malformed is a value that was reported already.
type malformed struct{}

// table is a TOML table; keys are in the order of the file.
type table struct {
	entries []*entry
	// header is true once a [header] or an inline table has defined it.
	header bool
	// sealed is true for an inline table, which nothing may add to.
	sealed bool
}

type entry struct {
	key  string
	line int
	node *node
	// array is true for an array made by [[headers]].
	array bool
}

func (t *table) find(key string) *entry {
	i := slices.IndexFunc(t.entries, func(e *entry) bool { return e.key == key })
	if i < 0 {
		return nil
	}
	return t.entries[i]
}

// String shows a scalar as a file would spell it.
func (n *node) String() string {
	switch v := n.value.(type) {
	case string:
		return strconv.Quote(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	return n.describe()
}

// describe names the value's type, with the value where that helps.
func (n *node) describe() string {
	switch v := n.value.(type) {
	case string:
		return "the string " + n.String()
	case int64, float64:
		return "the number " + n.String()
	case bool:
		return n.String()
	case *table:
		return "a table"
	case []*node:
		return "an array"
	case other:
		return string(v)
	}
	return "something else"
}

// parser builds the tree of one file and collects what is wrong with it.
type parser struct {
	path string
	toml unstable.Parser
	errs Errors
}

// parse returns the tree of a TOML document. After an error of syntax it holds
// what stood before it.
func parse(path string, data []byte) (*table, Errors) {
	// Positions are reckoned from the slice's capacity.
	data = slices.Clip(data)
	p := &parser{path: path}
	root := &table{header: true}
	current := root
	p.toml.Reset(data)
	for p.toml.NextExpression() {
		n := p.toml.Expression()
		switch n.Kind {
		case unstable.Table:
			current = p.header(root, p.key(n.Key()), false)
		case unstable.ArrayTable:
			current = p.header(root, p.key(n.Key()), true)
		case unstable.KeyValue:
			p.keyValue(current, n)
		}
	}
	if err := p.toml.Error(); err != nil {
		e := &Error{Source: path, Problem: err.Error()}
		var syntax *unstable.ParserError
		if errors.As(err, &syntax) {
			at := p.toml.Shape(p.toml.Range(syntax.Highlight)).Start
			e.Line, e.Column, e.Problem = at.Line, at.Column, "syntax: "+syntax.Message
		}
		p.errs = append(p.errs, e)
	} else if len(p.errs) == 0 {
		p.strict(data)
	}
	return root, p.errs
}

// strict has the library judge the whole document, for the rules of TOML that
// the tree does not enforce.
func (p *parser) strict(data []byte) {
	var whole map[string]any
	err := toml.Unmarshal(data, &whole)
	if err == nil {
		return
	}
	e := &Error{Source: p.path, Problem: strings.TrimPrefix(err.Error(), "toml: ")}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		e.Line, e.Column = decode.Position()
	}
	p.errs = append(p.errs, e)
}

// part is one part of a dotted key.
type part struct {
	name string
	line int
}

func (p *parser) key(it unstable.Iterator) []part {
	var parts []part
	for it.Next() {
		n := it.Node()
		parts = append(parts, part{string(n.Data), p.toml.Shape(n.Raw).Start.Line})
	}
	return parts
}

func dotted(parts []part) string {
	var name string
	for _, part := range parts {
		name = join(name, part.name)
	}
	return name
}

func (p *parser) fail(parts []part, format string, args ...any) {
	p.errs = append(p.errs, &Error{Source: p.path, Line: parts[len(parts)-1].line, Key: dotted(parts),
		Problem: fmt.Sprintf(format, args...)})
}

// header returns the table that a [header], or with array a [[header]],
// opens. After an error it returns one that belongs to nothing.
func (p *parser) header(root *table, parts []part, array bool) *table {
	t := p.descend(root, parts[:len(parts)-1], parts)
	if t == nil {
		return &table{}
	}
	last := parts[len(parts)-1]
	e := t.find(last.name)
	opened := &table{header: true}
	switch {
	case e == nil && array:
		item := &node{line: last.line, value: opened}
		t.entries = append(t.entries, &entry{key: last.name, line: last.line, array: true,
			node: &node{line: last.line, value: []*node{item}}})
		return opened
	case e == nil:
		t.entries = append(t.entries, &entry{key: last.name, line: last.line, node: &node{line: last.line, value: opened}})
		return opened
	case array && e.array:
		e.node.value = append(e.node.value.([]*node), &node{line: last.line, value: opened})
		return opened
	case !array:
		if have, ok := e.node.value.(*table); ok && !have.header && !have.sealed {
			have.header = true
			return have
		}
	}
	p.fail(parts, "is already set on line %d", e.line)
	return opened
}

// descend walks down parts from t and makes the tables that are missing. It
// returns nil after an error, which it reports for the key whole.
func (p *parser) descend(t *table, parts, whole []part) *table {
	for _, part := range parts {
		e := t.find(part.name)
		if e == nil {
			next := &table{}
			t.entries = append(t.entries, &entry{key: part.name, line: part.line, node: &node{line: part.line, value: next}})
			t = next
			continue
		}
		switch v := e.node.value.(type) {
		case *table:
			t = v
		case []*node:
			if !e.array {
				p.fail(whole, "%s on line %d is an array, not a table", part.name, e.line)
				return nil
			}
			t = v[len(v)-1].value.(*table)
		default:
			p.fail(whole, "%s on line %d is no table", part.name, e.line)
			return nil
		}
		if t.sealed {
			p.fail(whole, "the inline table %s on line %d cannot be added to", part.name, e.line)
			return nil
		}
	}
	return t
}

func (p *parser) keyValue(t *table, n *unstable.Node) {
	parts := p.key(n.Key())
	last := parts[len(parts)-1]
	t = p.descend(t, parts[:len(parts)-1], parts)
	value := p.value(n.Value(), parts, last.line)
	if t == nil {
		return
	}
	if e := t.find(last.name); e != nil {
		p.fail(parts, "is already set on line %d", e.line)
		return
	}
	t.entries = append(t.entries, &entry{key: last.name, line: last.line, node: value})
}

// value converts a value of the key parts; line is where it stands unless it
// says so itself.
func (p *parser) value(n *unstable.Node, parts []part, line int) *node {
	if n.Raw.Length > 0 {
		line = p.toml.Shape(n.Raw).Start.Line
	}
	out := &node{line: line}
	switch n.Kind {
	case unstable.String:
		out.value = string(n.Data)
	case unstable.Array:
		items := []*node{}
		for it := n.Children(); it.Next(); {
			if it.Node().Kind != unstable.Comment {
				items = append(items, p.value(it.Node(), parts, line))
			}
		}
		out.value = items
	case unstable.InlineTable:
		t := &table{header: true}
		for it := n.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				p.keyValue(t, it.Node())
			}
		}
		t.sealed = true
		out.value = t
	case unstable.Bool, unstable.Integer, unstable.Float:
		var scalar struct{ V any }
		if err := toml.Unmarshal(slices.Concat([]byte("V = "), n.Data), &scalar); err != nil {
			p.errs = append(p.errs, &Error{Source: p.path, Line: line, Key: dotted(parts),
				Problem: strings.TrimPrefix(err.Error(), "toml: ")})
			out.value = malformed{}
			return out
		}
		out.value = scalar.V
	default:
		out.value = other("a date or time")
	}
	return out
}
