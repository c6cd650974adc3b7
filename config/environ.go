// SPDX-License-Identifier: Apache-2.0

package config

import "strings"

// variable is a setting found in the environment.
type variable struct{ text, origin string }

// environment returns the settings of environ by flag name, "config" among
// them. An empty variable counts as unset. A variable that starts with AUTOSA_
// and is no setting is warned about and ignored: the environment is shared, and
// one that belongs to somebody else must not keep the daemon from starting.
func (l *loader) environment(environ []string) map[string]variable {
	known := map[string]string{envOf("config"): "config"}
	names := []string{envOf("config")}
	for _, s := range settings {
		if s.flag != "" {
			known[envOf(s.flag)] = s.flag
			names = append(names, envOf(s.flag))
		}
	}
	found := make(map[string]variable)
	for _, kv := range environ {
		name, text, ok := strings.Cut(kv, "=")
		if !ok || !strings.HasPrefix(name, "AUTOSA_") || text == "" {
			continue
		}
		flag, ok := known[name]
		if !ok {
			l.warn("environment variable " + name + " is no setting of autosa" + didYouMean(name, names) + "; it is ignored")
			continue
		}
		found[flag] = variable{text: text, origin: name}
	}
	return found
}
