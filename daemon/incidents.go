// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"autosa/api"
)

const (
	// maxIncidents is how many are kept; the oldest give way.
	maxIncidents = 100
	// maxIncidentOutput bounds the output kept of each, maxUnsavedOutput how many
	// outputs are kept in memory because the disk did not take them.
	maxIncidentOutput = 64 << 10
	maxUnsavedOutput  = 4
	// incidentSamples is how many samples before it an incident has.
	incidentSamples = 16

	incidentFormat  = 1
	incidentPattern = "incident-%06d.json"
)

// incidentFile is an incident as its file has it.
type incidentFile struct {
	// Format is the file's: version is the scheduler's.
	Format int `json:"format"`
	api.Incident
}

// incidents keeps what went wrong, a file each. It is safe for concurrent use.
type incidents struct {
	dir string

	mu   sync.Mutex
	list []api.Incident // guarded by mu; oldest first, without output unless unsaved
	next uint64         // guarded by mu; the next one's ID
}

func newIncidents(stateDir string) *incidents {
	return &incidents{dir: filepath.Join(stateDir, "incidents"), next: 1}
}

func (s *incidents) path(id uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf(incidentPattern, id))
}

// load reads those of earlier daemons. A file that cannot be understood is kept
// aside under another name; the error says which.
func (s *incidents) load(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read incidents: %w", err)
	}
	var errs []error
	for _, f := range files {
		var id uint64
		if n, _ := fmt.Sscanf(f.Name(), incidentPattern, &id); n != 1 || filepath.Base(s.path(id)) != f.Name() {
			continue
		}
		s.next = max(s.next, id+1)
		in, err := readIncident(s.path(id))
		if err == nil && in.ID != id {
			err = fmt.Errorf("it has the ID %d", in.ID)
		}
		if err != nil {
			errs = append(errs, keepAside("incident", s.path(id), now, err))
			continue
		}
		s.list = append(s.list, brieved(in))
	}
	slices.SortFunc(s.list, func(a, b api.Incident) int { return int(min(max(int64(a.ID-b.ID), -1), 1)) })
	errs = append(errs, s.prune())
	return errors.Join(errs...)
}

func readIncident(path string) (api.Incident, error) {
	f, err := os.Open(path)
	if err != nil {
		return api.Incident{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxStateBytes))
	if err != nil {
		return api.Incident{}, err
	}
	// Fields of a later version do no harm.
	var in incidentFile
	if err := json.Unmarshal(b, &in); err != nil {
		return api.Incident{}, err
	}
	if in.Format != incidentFormat {
		return api.Incident{}, fmt.Errorf("format version %d, this autosa reads %d", in.Format, incidentFormat)
	}
	in.Args, in.KernelLog, in.Samples = list(in.Args), list(in.KernelLog), list(in.Samples)
	return in.Incident, nil
}

// brieved is an incident without its output.
func brieved(in api.Incident) api.Incident {
	in.Output = ""
	return in
}

// add numbers and keeps an incident. Where the disk does not take it the error
// says so, and it is kept in memory.
func (s *incidents) add(in api.Incident) (api.Incident, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in.ID = s.next
	s.next++
	if over := len(in.Output) - maxIncidentOutput; over > 0 {
		in.Output = in.Output[over:]
	}
	err := replaceFile("incident", s.path(in.ID), 0o600, incidentFile{Format: incidentFormat, Incident: in})
	if err == nil {
		s.list = append(s.list, brieved(in))
	} else {
		s.list = append(s.list, in)
		s.dropUnsaved()
	}
	return brieved(in), errors.Join(err, s.prune())
}

// dropUnsaved bounds what is kept in memory. The caller holds mu.
func (s *incidents) dropUnsaved() {
	kept := 0
	for i := range slices.Backward(s.list) {
		if s.list[i].Output == "" {
			continue
		}
		if kept++; kept > maxUnsavedOutput {
			s.list[i].Output = ""
		}
	}
}

// prune removes the oldest. The caller holds mu.
func (s *incidents) prune() error {
	var errs []error
	for len(s.list) > maxIncidents {
		if err := os.Remove(s.path(s.list[0].ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove the oldest incident: %w", err))
		}
		s.list = slices.Delete(s.list, 0, 1)
	}
	return errors.Join(errs...)
}

// all returns them without their output, newest first.
func (s *incidents) all() []api.Incident {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]api.Incident, 0, len(s.list))
	for _, in := range slices.Backward(s.list) {
		out = append(out, brieved(in))
	}
	return out
}

// get returns one with its output; ok is false when there is none of that ID.
func (s *incidents) get(id uint64) (in api.Incident, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.list, func(in api.Incident) bool { return in.ID == id })
	if i < 0 {
		return api.Incident{}, false, nil
	}
	if s.list[i].Output != "" {
		return s.list[i], true, nil
	}
	in, err = readIncident(s.path(id))
	if errors.Is(err, fs.ErrNotExist) { // it never reached the disk
		return s.list[i], true, nil
	}
	return in, true, err
}

// Incidents lists what went wrong, newest first, without output.
func (d *Daemon) Incidents(context.Context) ([]api.Incident, error) { return d.incidents.all(), nil }

// Incident returns one with its output.
func (d *Daemon) Incident(_ context.Context, id uint64) (api.Incident, error) {
	in, ok, err := d.incidents.get(id)
	switch {
	case err != nil:
		return api.Incident{}, apiError(api.CodeFailed, "read incident %d: %v", id, err)
	case !ok:
		return api.Incident{}, apiError(api.CodeNotFound, "there is no incident %d", id)
	}
	return in, nil
}

// incident completes one, keeps it and shows it.
func (l *loop) incident(in api.Incident) {
	in.Time, in.Kernel, in.InCharge = time.Now(), l.st.Kernel.Release, l.st.Scheduler.Name
	in.Args, in.KernelLog, in.Samples = list(in.Args), list(in.KernelLog), list(l.ring)
	in.Version = cmp.Or(in.Version, l.versions[in.Scheduler])
	kept, err := l.incidents.add(in)
	l.trouble("incidents", err)
	kept.KernelLog, kept.Samples, kept.Counters = []string{}, []api.IncidentSample{}, nil
	l.st.Incidents++
	l.st.LastIncident = &kept
	l.log.Warn("incident", "id", kept.ID, "scheduler", kept.Scheduler, "ending", kept.Ending, "phase", kept.Phase, "reason", kept.Reason)
}
