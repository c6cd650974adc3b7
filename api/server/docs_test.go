// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"autosa/api"
)

func TestEveryRouteErrorAndLimitIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/API.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	for _, r := range routes {
		who := map[permission]string{anyone: "anyone", operators: "operators"}[r.permission]
		found := false
		for line := range strings.Lines(doc) {
			found = found || strings.HasPrefix(line, fmt.Sprintf("| `%s %s` ", r.method, r.path)) && strings.HasSuffix(line, "| "+who+" |\n")
		}
		if !found {
			t.Errorf("%s %s, for %s, is not documented", r.method, r.path, who)
		}
	}
	for _, c := range []api.Code{api.CodeBadRequest, api.CodeNotFound, api.CodeForbidden, api.CodeConflict, api.CodeUnsupported, api.CodeFailed, api.CodeUnavailable} {
		e := api.Error{Code: c}
		if !strings.Contains(doc, fmt.Sprintf("| `%s` | %d", c, e.HTTPStatus())) {
			t.Errorf("%s with %d is not documented", c, e.HTTPStatus())
		}
		for line := range strings.Lines(doc) {
			if strings.HasPrefix(line, fmt.Sprintf("| `%s` ", c)) && !strings.HasSuffix(line, fmt.Sprintf("| %d |\n", e.ExitCode())) {
				t.Errorf("%s ends with %d: %s", c, e.ExitCode(), line)
			}
		}
	}
	l := Limits{}.withDefaults()
	for _, row := range []string{
		fmt.Sprintf("| connections | %d; %d of them only for operators; %d of one other user |", l.Conns, l.ReservedConns, l.ConnsPerUID),
		fmt.Sprintf("| watchers | %d |", l.Watchers),
		fmt.Sprintf("| request headers, body | %d KiB, %d KiB |", l.HeaderBytes>>10, l.BodyBytes>>10),
		fmt.Sprintf("| time for a request to arrive | %d s |", int(l.ReadTimeout.Seconds())),
		fmt.Sprintf("| time for an answer, or a line of a stream, to be taken | %d s |", int(l.WriteTimeout.Seconds())),
		fmt.Sprintf("| time between two requests on a connection | %d s |", int(l.IdleTimeout.Seconds())),
		fmt.Sprintf("| arguments of a scheduler | %d |", maxArgs),
	} {
		if !strings.Contains(doc, row) {
			t.Errorf("not in the documentation: %s", row)
		}
	}
}
