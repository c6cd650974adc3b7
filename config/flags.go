// SPDX-License-Identifier: Apache-2.0

package config

import "github.com/spf13/pflag"

// Flags are the settings given on a command line. They are kept as written:
// [Load] judges them together with everything else. The zero value has none.
type Flags struct {
	file  *string
	given []flagValue // in order
}

type flagValue struct{ name, text string }

// Register adds -c/--config and a flag for each setting that has one to fs,
// which fills f when it parses.
func (f *Flags) Register(fs *pflag.FlagSet) {
	fs.VarP(&fileFlag{f}, "config", "c", "configuration file")
	for _, s := range settings {
		if s.flag == "" {
			continue
		}
		flag := fs.VarPF(&rawFlag{flags: f, setting: s}, s.flag, "", s.usage)
		if s.kind == "" {
			flag.NoOptDefVal = "true"
		}
	}
}

// RegisterSocket adds -c/--config and --socket alone, for commands that only
// talk to a daemon. See [Socket].
func (f *Flags) RegisterSocket(fs *pflag.FlagSet) {
	fs.VarP(&fileFlag{f}, "config", "c", "configuration file")
	s := settingByFlag("socket")
	fs.Var(&rawFlag{flags: f, setting: s}, s.flag, s.usage)
}

// rawFlag notes a setting's flag without judging it.
type rawFlag struct {
	flags   *Flags
	setting *setting
}

func (r *rawFlag) Set(text string) error {
	r.flags.given = append(r.flags.given, flagValue{name: r.setting.flag, text: text})
	return nil
}

func (r *rawFlag) String() string {
	if r.setting == nil { // pflag asks the type's zero value
		return ""
	}
	return r.setting.show
}

func (r *rawFlag) Type() string {
	if r.setting == nil || r.setting.kind == "" {
		return "bool"
	}
	return r.setting.kind
}

type fileFlag struct{ flags *Flags }

func (f *fileFlag) Set(path string) error { f.flags.file = &path; return nil }
func (f *fileFlag) String() string        { return DefaultFile }
func (f *fileFlag) Type() string          { return "path" }
