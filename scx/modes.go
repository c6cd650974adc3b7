// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Modes returns the names that a scheduler's modes may have, those of scx_loader,
// in the order in which they are shown.
func Modes() []string { return []string{"auto", "gaming", "lowlatency", "powersave", "server"} }

// Mode is a set of arguments that a scheduler has a name for.
type Mode struct {
	Name string
	Args []string
	// WhyNot is why the binary at hand does not take them; empty when it does, or
	// could not be asked (see [Entry.HelpNote]).
	WhyNot string
}

// Mode returns the mode of that name. The error says which there are, or why the
// binary at hand refuses it; it matches [ErrBadMode].
func (e *Entry) Mode(name string) (Mode, error) {
	var have []string
	for _, m := range e.Modes {
		if m.Name == name && m.WhyNot == "" {
			return m, nil
		}
		if m.Name == name {
			return m, fmt.Errorf("%w: mode %s of %s: %s; give arguments instead, or the mode others in the configuration ([scheduler.%s.modes])",
				ErrBadMode, name, e.Name, m.WhyNot, e.Name)
		}
		have = append(have, m.Name)
	}
	switch {
	case !slices.Contains(Modes(), name):
		return Mode{}, fmt.Errorf("%w: there is no mode %q, only %s", ErrBadMode, name, strings.Join(Modes(), ", "))
	case len(have) == 0:
		return Mode{}, fmt.Errorf("%w: %s has no modes", ErrBadMode, e.Name)
	}
	return Mode{}, fmt.Errorf("%w: %s has no mode %s, only %s", ErrBadMode, e.Name, name, strings.Join(have, ", "))
}

// help is what a binary says of its options.
type help struct {
	options options
	// note is why it could not be asked.
	note string
}

// modes are an entry's, in the order in which they are shown.
func (k *Known) modes() []Mode {
	var list []Mode
	for _, name := range Modes() {
		if args, ok := k.Modes[name]; ok {
			list = append(list, Mode{Name: name, Args: slices.Clone(args)})
		}
	}
	return list
}

// checkModes checks each mode against the binary's own help and notes in it what
// that does not know. The answer is why that could not be done.
func (c *Catalogue) checkModes(ctx context.Context, file fileID, flag string, modes []Mode) (note string) {
	if !slices.ContainsFunc(modes, func(m Mode) bool { return len(m.Args) > 0 }) {
		return "" // no arguments suit every binary
	}
	h := c.help(ctx, file, flag)
	if h.note != "" {
		return h.note
	}
	for i := range modes {
		if why := h.options.refuse(modes[i].Args); why != "" {
			modes[i].WhyNot = "this version " + why
		}
	}
	return ""
}

// help asks the binary once per file version. What the context cut short is not
// remembered.
func (c *Catalogue) help(ctx context.Context, file fileID, flag string) help {
	if flag == "" {
		flag = "--help"
	}
	c.mu.Lock()
	h, ok := c.helps[file]
	c.mu.Unlock()
	if ok {
		return h
	}
	text, a := ask(ctx, file.path, flag, helpOutput)
	if ctx.Err() != nil {
		return help{note: "its options were not asked for: " + ctx.Err().Error()}
	}
	switch h.options = parseHelp(text); {
	case a.broken != "":
		h.note = a.broken
	case len(h.options.known) > 0: // scx_lavd 1.1.4 says it all, and exits with status 255
	case a.failed != "":
		h.note = a.failed
	default:
		h.note = "its answer to " + flag + " names no options"
	}
	c.mu.Lock()
	c.helps[file] = h
	c.mu.Unlock()
	return h
}

// options are those that a help text names.
type options struct {
	known map[string]*option // by the option as it is written, -x or --name
	// operands is true when it takes arguments that are no options.
	operands bool
}

// option is one of them, under all its names.
type option struct {
	// value is true when it takes one; joined that it does so only behind "=".
	value, joined bool
	// values are those that it may have; empty when it does not say.
	values []string
}

// maxOptionIndent is where the options of a help text begin at the latest: clap
// indents short ones by 2 columns, long ones by 6, and what it says of them by 10.
const maxOptionIndent = 8

// parseHelp reads a help text as clap prints it, and getopt programs in the style
// of the kernel's: lines that begin with options, then words in capitals or
// brackets for their value, then, after two spaces or on the next line, prose.
func parseHelp(text string) options {
	o := options{known: map[string]*option{}}
	var current *option
	var prose strings.Builder // of the current option
	finish := func() {
		if current != nil {
			current.values = possibleValues(prose.String())
		}
		prose.Reset()
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n\t ")
		body := strings.TrimLeft(line, " \t")
		if strings.TrimSpace(line) == "Arguments:" {
			o.operands = true
		}
		indent := 0
		for _, r := range line[:len(line)-len(body)] {
			if r == '\t' {
				indent += 7
			}
			indent++
		}
		spec, rest := body, ""
		if i := strings.Index(body, "  "); i >= 0 {
			spec, rest = body[:i], body[i:]
		}
		if i := strings.IndexByte(spec, '\t'); i >= 0 {
			spec, rest = spec[:i], body[i:]
		}
		names, parsed := parseOption(spec)
		if indent > maxOptionIndent || len(names) == 0 {
			prose.WriteString(body + "\n")
			continue
		}
		finish()
		current = parsed
		for _, n := range names {
			o.known[n] = parsed
		}
		prose.WriteString(rest + "\n")
	}
	finish()
	return o
}

// parseOption reads "-s, --slice-us <SLICE_US>": no names when it is none.
func parseOption(spec string) (names []string, o *option) {
	o = &option{}
	for i, word := range strings.Fields(spec) {
		word = strings.TrimSuffix(word, ",")
		if !strings.HasPrefix(word, "-") {
			if i == 0 {
				return nil, nil
			}
			o.value = true
			break
		}
		end := strings.IndexAny(word, "=[<.")
		name, tail := word, ""
		if end >= 0 {
			name, tail = word[:end], word[end:]
		}
		if !isOption(name) {
			return nil, nil
		}
		names = append(names, name)
		if strings.ContainsAny(tail, "=<") {
			o.value, o.joined = true, strings.Contains(tail, "=")
		}
	}
	return names, o
}

// isOption reports whether s is -x or --name.
func isOption(s string) bool {
	name, ok := strings.CutPrefix(s, "-")
	if !ok || len(s) > 64 {
		return false
	}
	if rest, long := strings.CutPrefix(name, "-"); long {
		name = rest
	} else if len(name) != 1 {
		return false
	}
	return name != "" && name[0] != '-' && name[0] != '_' &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

// possibleValues finds clap's "[possible values: a, b]", and the list that it
// makes where each has an explanation. Nothing where there is neither.
func possibleValues(prose string) []string {
	var values []string
	if _, after, ok := strings.Cut(prose, "[possible values:"); ok {
		list, _, closed := strings.Cut(after, "]")
		if !closed {
			return nil
		}
		for v := range strings.SplitSeq(list, ",") {
			if v = strings.Join(strings.Fields(v), ""); v != "" {
				values = append(values, v)
			}
		}
		return values
	}
	_, after, ok := strings.Cut(prose, "Possible values:\n")
	if !ok {
		return nil
	}
	for line := range strings.Lines(after) {
		item, ok := strings.CutPrefix(strings.TrimSpace(line), "- ")
		if !ok {
			continue // an explanation goes on
		}
		v, _, _ := strings.Cut(item, ":")
		values = append(values, strings.TrimSpace(v))
	}
	return values
}

// refuse says what of args a program with these options would not take, as in
// "does not know --x"; empty when it would take them.
func (o options) refuse(args []string) string {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--" || !strings.HasPrefix(arg, "-") || arg == "-":
			if !o.operands {
				return fmt.Sprintf("takes no argument %q there", arg)
			}
			if arg == "--" {
				return ""
			}
			continue
		}
		name, value, joined := strings.Cut(arg, "=")
		if !strings.HasPrefix(arg, "--") {
			name, value, joined = arg[:2], arg[2:], len(arg) > 2
			value = strings.TrimPrefix(value, "=")
		}
		opt := o.known[name]
		switch {
		case opt == nil:
			return "does not know " + name
		case opt.value && !joined && opt.joined:
			continue // its value may be left out, and stands behind "=" if there is one
		case opt.value && !joined:
			if i++; i == len(args) {
				return "takes a value for " + name
			}
			value = args[i]
		case !opt.value && strings.HasPrefix(arg, "--") && joined:
			return "takes no value for " + name
		case !opt.value && joined:
			// Several short ones in one word: go on with the next.
			args = slices.Concat(args[:i+1], []string{"-" + arg[2:]}, args[i+1:])
			continue
		case !opt.value:
			continue
		}
		if len(opt.values) > 0 && !slices.Contains(opt.values, value) {
			return fmt.Sprintf("takes no %q for %s, only %s", value, name, strings.Join(opt.values, ", "))
		}
	}
	return ""
}
