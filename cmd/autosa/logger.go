// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"log/slog"
	"time"

	"github.com/charmbracelet/log"

	"autosa/config"
)

// newLogger returns the logger that a configuration asks for, and what changes
// its level.
func newLogger(w io.Writer, cfg config.Config) (*slog.Logger, func(slog.Level)) {
	format := cfg.LogFormat
	if format == config.LogAuto {
		format = config.LogLogfmt
		if _, _, ok := terminal(w); ok {
			format = config.LogText
		}
	}
	opts := log.Options{
		Level:           log.Level(cfg.LogLevel), // the same numbers as slog's
		ReportTimestamp: true,
		TimeFormat:      "2006-01-02T15:04:05.000Z07:00",
	}
	switch format {
	case config.LogJSON:
		opts.Formatter = log.JSONFormatter
	case config.LogLogfmt:
		opts.Formatter = log.LogfmtFormatter
	default:
		opts.Formatter = log.TextFormatter
		opts.TimeFormat = time.TimeOnly
	}
	l := log.NewWithOptions(w, opts)
	return slog.New(l), func(level slog.Level) { l.SetLevel(log.Level(level)) }
}
